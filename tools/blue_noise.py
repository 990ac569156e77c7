"""Make gpukm/color/blue_noise.npy: a mask for dithering whose thresholds have no low frequencies.

Void and cluster (Ulichney 1993, "The void-and-cluster method for dither array generation", SPIE 1913): pixels are
ranked so that those up to any rank lie as evenly as can be, by a Gaussian filter that wraps around.

    python tools/blue_noise.py gpukm/color/blue_noise.npy
"""

import sys

import numpy as np
from numpy.typing import NDArray

SIZE, SIGMA, SEED = 64, 1.9, 0


def void_and_cluster(size: int, sigma: float, seed: int) -> NDArray[np.uint16]:
    """(size, size) ranks from 0 to size**2 - 1."""
    n = size * size
    away = np.minimum(np.arange(size), size - np.arange(size))
    kernel = np.exp(-(away[:, None] ** 2 + away[None, :] ** 2) / (2 * sigma**2))

    def around(pixel: int) -> NDArray[np.float64]:
        return np.roll(kernel, divmod(pixel, size), axis=(0, 1)).ravel()

    pattern = np.zeros(n, bool)
    pattern[np.random.default_rng(seed).choice(n, n // 10, replace=False)] = True
    density = sum(around(pixel) for pixel in np.flatnonzero(pattern))
    while True:  # move the tightest cluster's pixel into the largest void, until it is one and the same
        cluster = int(np.where(pattern, density, -np.inf).argmax())
        pattern[cluster], density = False, density - around(cluster)
        void = int(np.where(pattern, np.inf, density).argmin())
        pattern[void], density = True, density + around(void)
        if void == cluster:
            break

    ranks = np.empty(n, np.uint16)
    first, left = pattern.copy(), density.copy()
    for rank in range(int(first.sum()) - 1, -1, -1):
        cluster = int(np.where(first, left, -np.inf).argmax())
        first[cluster], left = False, left - around(cluster)
        ranks[cluster] = rank
    for rank in range(int(pattern.sum()), n):
        void = int(np.where(pattern, np.inf, density).argmin())
        pattern[void], density = True, density + around(void)
        ranks[void] = rank
    return ranks.reshape(size, size)


if __name__ == "__main__":
    np.save(sys.argv[1], void_and_cluster(SIZE, SIGMA, SEED))
