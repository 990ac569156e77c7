"""segments, CUDA: exact sums of rows that are in none yet, cluster by cluster. The kernels are in segments.cu."""

from typing import Any

import numpy as np

from gpukm.kernels._nvrtc import Configuration, Kernel
from gpukm.kernels.accumulate_cuda import DeviceSums, blocks, value_define

Array = Any  # on the device
SEGMENT = 256  # rows that a thread adds up, as in segments.cu

CONFIGURATIONS = [
    *(
        Configuration(Kernel("segments", name, (("VALUE", 4),)), 75, 40, 1024)
        for name in ("count_labels", "begin_clusters", "place_rows")
    ),
    *(Configuration(Kernel("segments", "add_segments", (("VALUE", size),)), 75, 64, 0) for size in (1, 4, 8)),
]


def add_rows(
    gpu: Any,
    X: Array,
    first: int,
    n_rows: int,
    weights: Array | None,
    labels: Array,
    order: Array,
    sums: DeviceSums,
    stop: Array | None = None,
) -> None:
    """Add `n_rows` rows to the sums of their clusters, of which none has them yet.

    Parameters
    ----------
    X, weights, labels : all rows: (n, d) uint8|float32|float64, (n,) float64 or None, (n,) int32
    first, n_rows : which of them
    order : (n_rows,) int32, written
    stop : (1,) int32 that turns the kernels into nothing, see update.cu
    """
    d, k = X.shape[1], sums.limbs.shape[1]
    cursors = gpu.zeros(k, np.int32)
    part = labels, np.int64(first), np.int32(n_rows)
    grid, block = blocks(gpu.facts, -(-n_rows // 256)), (256,)

    def kernel(name: str) -> Kernel:
        return Kernel("segments", name, (value_define(X),))

    gpu.launch(kernel("count_labels"), grid, block, (*part, cursors, stop))
    gpu.launch(kernel("begin_clusters"), (1,), block, (cursors, np.int32(k), stop))
    gpu.launch(kernel("place_rows"), grid, block, (*part, cursors, order, stop))
    at_once = max(256 // (d + 1), 1) * SEGMENT
    args = (X, *part[1:], np.int32(d), np.int32(k), weights, *sums.arguments, labels, order, stop)
    gpu.launch(kernel("add_segments"), (-(-n_rows // at_once), -(-(d + 1) // 256)), block, args)
