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
        for name in ("count_labels", "begin_labels", "place_rows")
    ),
    *(Configuration(Kernel("segments", "add_segments", (("VALUE", size),)), 75, 64, 0) for size in (1, 4, 8)),
]


def put_in_order(
    gpu: Any, labels: Array, first: int, n_rows: int, n_labels: int, order: Array, stop: Array | None = None
) -> None:
    """Write the numbers of `n_rows` rows, counted from `first`, to `order` (n_rows,) int32, so that labels ascend.

    `labels` (n,) int32 in [0, n_labels) are of all rows; `stop` as in `add_rows`.
    """
    cursors = gpu.zeros(n_labels, np.int32)
    part = labels, np.int64(first), np.int32(n_rows)
    grid, block = blocks(gpu.facts, -(-n_rows // 256)), (256,)
    count, begin, place = (
        Kernel("segments", name, (("VALUE", 4),)) for name in ("count_labels", "begin_labels", "place_rows")
    )
    gpu.launch(count, grid, block, (*part, cursors, stop))
    gpu.launch(begin, (1,), block, (cursors, np.int32(n_labels), stop))
    gpu.launch(place, grid, block, (*part, cursors, order, stop))


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
    put_in_order(gpu, labels, first, n_rows, k, order, stop)
    at_once = max(256 // (d + 1), 1) * SEGMENT
    size = np.int64(first), np.int32(n_rows), np.int32(d), np.int32(k)
    kernel = Kernel("segments", "add_segments", (value_define(X),))
    args = (X, *size, weights, *sums.arguments, labels, order, stop)
    gpu.launch(kernel, (-(-n_rows // at_once), -(-(d + 1) // 256)), (256,), args)
