"""columns, CUDA: extremes, the first value that is not finite, exact sums of the columns. Kernels in columns.cu."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels._nvrtc import Configuration, Kernel
from gpukm.kernels.accumulate_cuda import DeviceSums, blocks, value_define

Array = Any  # on the device

CONFIGURATIONS = [
    Configuration(Kernel("columns", name, (("VALUE", size),)), 75, 64, 4096)
    for name in ("extremes", "column_sums")
    for size in (1, 4, 8)
]


def _grid(gpu: Any, n: int, columns: int) -> tuple[int, int]:
    return (*blocks(gpu.facts, -(-n // max(256 // columns, 1))), -(-columns // 256))


def extremes(gpu: Any, X: Array) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """((d,) least, (d,) greatest value of each column, first flat index that is NaN or infinite, or n d).

    X : (n, d) uint8|float32|float64 on the device, C-contiguous. Where a value is not finite the first two say nothing.
    """
    n, d = X.shape
    limits = np.iinfo(np.int64)
    low, high = gpu.to_device(np.full(d, limits.max)), gpu.to_device(np.full(d, limits.min))
    bad = gpu.to_device(np.full(1, n * d, np.uint64))
    kernel = Kernel("columns", "extremes", (value_define(X),))
    gpu.launch(kernel, _grid(gpu, n, d), (256,), (X, np.int64(n), np.int32(d), low, high, bad))
    return _values(gpu.to_host(low), X.dtype), _values(gpu.to_host(high), X.dtype), int(gpu.to_host(bad)[0])


def _values(keys: NDArray[np.int64], dtype: np.dtype) -> NDArray[np.float64]:
    """The values of keys that order as they do; see `key_of` in columns.cu."""
    if dtype == np.uint8:
        return keys.astype(np.float64)
    bits: NDArray[Any] = keys.astype(np.int64 if dtype == np.float64 else np.int32)
    flipped: NDArray[Any] = np.where(bits < 0, bits ^ np.iinfo(bits.dtype).max, bits)
    return flipped.view(dtype).astype(np.float64)


def column_sums(gpu: Any, X: Array, weights: Array | None, sums: DeviceSums) -> None:
    """Add w x of each column, and w in the last, to `sums` of one cluster and d + 1 columns."""
    n, d = X.shape
    kernel = Kernel("columns", "column_sums", (value_define(X),))
    args = (X, np.int64(n), np.int32(d), weights, *sums.arguments)
    gpu.launch(kernel, _grid(gpu, n, d + 1), (256,), args)
