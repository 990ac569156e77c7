"""update, CUDA: several iterations of Lloyd's algorithm launched at once, without the host. Kernels in update.cu.

The device divides the sums, compares and counts by itself; what it cannot settle (an empty cluster, a quotient or a
shift too close to call) stops it, and the host does that iteration.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels._nvrtc import Configuration, Kernel
from gpukm.kernels.accumulate_cuda import DeviceSums, row_threads, value_define
from gpukm.kernels.ahead import HOST, Ran
from gpukm.kernels.assign import Frame
from gpukm.kernels.assign_cuda import Workspace, launch_step, plan
from gpukm.kernels.operands_cuda import Operands, format_for

Array = Any  # on the device
AT_ONCE = 16  # iterations launched before the host looks: a look costs about as much as a launch

CONFIGURATIONS = [
    Configuration(Kernel("update", name, (("VALUE", size),)), 75, 64, 64)
    for name in ("update", "finish")
    for size in (1, 4, 8)
]


def run_ahead(
    gpu: Any,
    X: Array,
    centroids: NDArray,
    frame: Frame,
    mean: NDArray[np.float64],
    totss: float,
    labels: Array,
    weights: Array | None,
    sums: DeviceSums,
    *,
    iterations: int,
    tol: float,
    memory: int,
    fresh: bool,
) -> Ran:
    """Up to AT_ONCE `iterations` from `centroids` (k, d); `mean` and `totss` of all rows are for the inertia.

    Records are inertia and shift of each finished iteration; `fresh`: see `launch_step`.
    """
    (n, d), k = X.shape, len(centroids)
    iterations = max(min(iterations, AT_ONCE, memory // centroids.nbytes), 1)
    chosen = plan(n, k, d, X.dtype.itemsize, gpu.facts, memory, tensor=format_for(frame))
    space = Workspace.of(gpu, chosen, n, iterations)
    own = Operands.of(gpu, frame, k, d, tensor=chosen.tensor, iterations=iterations)
    states = gpu.empty((iterations + 1, k, d), centroids.dtype)
    states[0] = gpu.to_device(centroids)
    centre, partial = gpu.to_device(mean), gpu.empty((k, 2), np.float64)
    flags, records = gpu.zeros((iterations, 1), np.int32), gpu.zeros((iterations, 2), np.float64)
    stop = gpu.zeros(2, np.int32)
    update, finish = (Kernel("update", name, (value_define(X),)) for name in ("update", "finish"))
    totals = (sums.limbs.view(np.int64), sums.used, np.int32(sums.grid.bits), sums.units)
    for i in range(iterations):
        own.prepare(gpu, X, states[i], i, stop)
        launch_step(gpu, chosen, X, own, labels, weights, sums, space, i, stop, fresh=fresh and i == 0)
        args = (states[i], np.int32(d), *totals, centre, states[i + 1], partial, flags[i], stop)
        gpu.launch(update, (k,), row_threads(d), args)
        verdict = (np.int32(k), np.int32(d), np.float64(totss), np.float64(tol), flags[i], records[i], stop)
        gpu.launch(finish, (1,), (128,), (partial, *verdict))
    why, ran = (int(value) for value in gpu.to_host(stop))
    finished = ran - (why == HOST)
    return Ran(gpu.to_host(states[finished]), gpu.to_host(records)[:finished], space.totals(gpu)[:ran], why)
