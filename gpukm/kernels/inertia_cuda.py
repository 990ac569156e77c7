"""inertia, CUDA: D of rows to their own centroids, its exact sums, all distances. In inertia.cu and distances.cu."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels._nvrtc import Configuration, Kernel
from gpukm.kernels.accumulate_cuda import NEAR_LIMBS, DeviceSums, blocks, value_define

Array = Any  # on the device

CONFIGURATIONS = [
    *(
        Configuration(Kernel("inertia", "add_inertia", (("VALUE", size), ("NEAR", near))), 75, 72, 20000)
        for size in (1, 4, 8)
        for near in (0, 1)
    ),
    *(
        Configuration(Kernel("inertia", "own_distances", (("VALUE", size), ("NEAR", 0))), 75, 72, 20000)
        for size in (1, 4, 8)
    ),
    Configuration(Kernel("inertia", "add_scalars", (("VALUE", 8), ("NEAR", 0))), 75, 64, 0),
    *(Configuration(Kernel("distances", "distances", (("VALUE", size),)), 75, 64, 5000) for size in (1, 4, 8)),
]


def add_inertia(
    gpu: Any, X: Array, centroids: NDArray, labels: Array | None, weights: Array | None, sums: DeviceSums
) -> None:
    """Add w D of each row to the cluster of its label in `sums`, which has one column.

    Parameters
    ----------
    X : (n, d) uint8|float32|float64 on the device; centroids : (k, d) on the host
    labels : (n,) int32 on the device; None where k is 1
    """
    n, d = X.shape
    k = len(centroids)
    near = 8 * NEAR_LIMBS * k <= gpu.facts.shared // 2
    kernel = Kernel("inertia", "add_inertia", (value_define(X), ("NEAR", int(near))))
    exact = gpu.to_device(centroids.astype(np.float64))
    args = (X, np.int64(n), np.int32(d), np.int32(k), exact, labels, weights, *sums.arguments)
    gpu.launch(kernel, blocks(gpu.facts, -(-n // 128)), (128,), args, 8 * NEAR_LIMBS * k * near)


def own_distances(gpu: Any, X: Array, centroids: NDArray, labels: Array) -> Array:
    """(n,) float64 on the device: D of each row to the centroid of its label."""
    n, d = X.shape
    D = gpu.empty(n, np.float64)
    kernel = Kernel("inertia", "own_distances", (value_define(X), ("NEAR", 0)))
    args = (X, np.int64(n), np.int32(d), gpu.to_device(centroids.astype(np.float64)), labels, D)
    gpu.launch(kernel, blocks(gpu.facts, -(-n // 128)), (128,), args)
    return D


def add_scalars(gpu: Any, D: Array | None, n: int, weights: Array | None, sums: DeviceSums) -> None:
    """Add w D of `n` values D (ones where None) to `sums` of one cluster and one column."""
    kernel = Kernel("inertia", "add_scalars", (("VALUE", 8), ("NEAR", 0)))
    args = (D, np.int64(n), weights, *sums.arguments)
    gpu.launch(kernel, blocks(gpu.facts, -(-n // 128)), (128,), args)


def distances(gpu: Any, X: Array, centroids: NDArray, out: Array) -> None:
    """Euclidean distances of the rows of X (n, d) to all centroids (k, d), into `out` (n, k) of the compute dtype."""
    n, d = X.shape
    kernel = Kernel("distances", "distances", (value_define(X),))
    args = (X, np.int64(n), np.int32(d), np.int32(len(centroids)), gpu.to_device(centroids.astype(np.float64)), out)
    gpu.launch(kernel, blocks(gpu.facts, -(-n // 16)), (256,), args)
