"""update, CUDA: several iterations of Lloyd's algorithm launched at once, without the host. Kernels in update.cu.

The device divides the sums, compares and counts by itself; what it cannot settle (an empty cluster, a quotient or a
shift too close to call) stops it, and the host does that iteration.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import U32, margin
from gpukm.kernels._nvrtc import Configuration, Kernel
from gpukm.kernels.accumulate_cuda import DeviceSums, value_define
from gpukm.kernels.assign import Frame, slack_terms
from gpukm.kernels.assign_cuda import Operands, Workspace, launch_step, plan

Array = Any  # on the device
AT_ONCE = 16  # iterations launched before the host looks: a look costs about as much as a launch
RUNNING, SETTLED, WITHIN_TOL, HOST = range(4)  # what `stop` says

CONFIGURATIONS = [
    Configuration(Kernel("update", name, (("VALUE", size),)), 75, 64, 64)
    for name in ("prepare", "update", "finish")
    for size in (1, 4, 8)
]


@dataclass(frozen=True)
class Ahead:
    """What a device did by itself.

    Attributes
    ----------
    centroids : (k, d) after the last finished iteration
    records : (iterations, 2) float64: inertia and shift of each finished iteration
    counts : (iterations or one more, 2) int64: changed and undecided rows; one more where `stop` is HOST, whose labels
        and sums are done
    stop : RUNNING, SETTLED, WITHIN_TOL or HOST
    """

    centroids: NDArray
    records: NDArray[np.float64]
    counts: NDArray[np.int64]
    stop: int


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
) -> Ahead:
    """Up to AT_ONCE `iterations` from `centroids` (k, d); `mean` and `totss` of all rows are for the inertia."""
    (n, d), k = X.shape, len(centroids)
    iterations = max(min(iterations, AT_ONCE, memory // centroids.nbytes), 1)
    chosen = plan(n, k, d, X.dtype.itemsize, gpu.facts, memory)
    space = Workspace.of(gpu, chosen, n, iterations)
    limits = np.zeros((iterations, 4), np.float32)
    kappa = margin(d, U32)
    limits[:, :2] = slack_terms(d)
    limits[:, 2] = 20 * kappa * (1 + 40 * kappa)
    all_limits = gpu.to_device(limits)
    states = gpu.empty((iterations + 1, k, d), centroids.dtype)
    states[0] = gpu.to_device(centroids)
    operand, exact = gpu.empty((k, d + 1), np.float32), gpu.empty((k, d), np.float64)
    shift, scale, centre = gpu.to_device(frame.shift), np.float64(frame.scale), gpu.to_device(mean)
    partial, flags = gpu.empty((k, 2), np.float64), gpu.zeros((iterations, 1), np.int32)
    records, stop = gpu.zeros((iterations, 2), np.float64), gpu.zeros(2, np.int32)
    prepare, update, finish = (Kernel("update", name, (value_define(X),)) for name in ("prepare", "update", "finish"))
    for i in range(iterations):
        own = Operands(shift, scale, operand, exact, all_limits[i])
        framed = (states[i], np.int32(d), shift, scale, np.float64(kappa))
        gpu.launch(prepare, (k,), (128,), (*framed, operand, exact, all_limits[i], stop))
        launch_step(gpu, chosen, X, own, labels, weights, sums, space, i, stop)
        totals = (sums.limbs.view(np.int64), sums.used, np.int32(sums.grid.bits), sums.units)
        gpu.launch(
            update, (k,), (128,), (states[i], np.int32(d), *totals, centre, states[i + 1], partial, flags[i], stop)
        )
        verdict = (np.int32(k), np.int32(d), np.float64(totss), np.float64(tol), flags[i], records[i], stop)
        gpu.launch(finish, (1,), (128,), (partial, *verdict))
    why, ran = (int(value) for value in gpu.to_host(stop))
    finished = ran - (why == HOST)
    return Ahead(gpu.to_host(states[finished]), gpu.to_host(records)[:finished], space.totals(gpu)[:ran], why)
