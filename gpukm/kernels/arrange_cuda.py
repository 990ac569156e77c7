"""arrange, CUDA: rows of few features put in order of cells of space, so that boxes of lloyd_step.cu are small.

No result depends on the order of rows. The kernels are `cells` of arrange.cu, and those of segments.cu that count.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels._nvrtc import Configuration, Kernel
from gpukm.kernels.accumulate_cuda import blocks, value_define
from gpukm.kernels.arrange import LEAST_ROWS, MOST_FEATURES, scale_to
from gpukm.kernels.assign_cuda import LEAST_CENTROIDS
from gpukm.kernels.segments_cuda import put_in_order

Array = Any  # on the device
BITS = 18  # of a cell: 2^18 int32 counts stay in the second-level cache
BYTES = 8  # a row that the order and the cells take, besides the rows

CONFIGURATIONS = [Configuration(Kernel("arrange", "cells", (("VALUE", size),)), 75, 40, 0) for size in (1, 4, 8)]


def worth_arranging(X: Array, n_clusters: int, max_memory: int) -> bool:
    """Whether boxes are used for X (n, d), and a copy in order fits `max_memory` bytes."""
    n, d = X.shape
    boxes = d <= MOST_FEATURES and n_clusters >= LEAST_CENTROIDS and LEAST_ROWS <= n < 2**31
    return boxes and n * (d * int(X.dtype.itemsize) + BYTES) <= max_memory


def arranged(gpu: Any, X: Array, low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple[Array, Array]:
    """(the rows of X (n, d), which lie within [low, high], in order; their numbers, (n,) int32)."""
    n, d = X.shape
    bits = BITS // d
    scale = scale_to(bits, low, high)
    cells, order = gpu.empty(n, np.int32), gpu.empty(n, np.int32)
    args = (X, np.int64(n), np.int32(d), np.int32(bits), gpu.to_device(low), gpu.to_device(scale), cells)
    gpu.launch(Kernel("arrange", "cells", (value_define(X),)), blocks(gpu.facts, -(-n // 256)), (256,), args)
    put_in_order(gpu, cells, 0, n, 1 << bits * d, order)
    return gpu.xp.take(X, order, axis=0), order
