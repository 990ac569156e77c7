"""hashing: 64 bits for the content of a row, by which the draws of k-means++ order rows."""

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(h: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread the bits of 64-bit integers (the finalizer of splitmix64, Steele et al. 2014)."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


def hash_factors(n_features: int) -> NDArray[np.uint64]:
    """(d,) the odd multipliers of the columns."""
    return mix(np.arange(1, n_features + 1, dtype=np.uint64) * GOLDEN) | np.uint64(1)


def hash_rows(X: NDArray, engine: str = "numpy") -> NDArray[np.uint64]:
    """(m,) a 64-bit hash of each row: a fixed random linear form of its values' scrambled bits; -0.0 is 0.0."""
    factors = hash_factors(X.shape[1])
    if engine == "numba":
        from gpukm.kernels.potential_numba import linear_hash

        return mix(linear_hash(X, GOLDEN, factors))
    bits = (X + X.dtype.type(0)).view(np.uint32 if X.dtype == np.float32 else np.uint64)
    if X.shape[1] < 16:
        h = np.zeros(len(X), np.uint64)
        for j, factor in enumerate(factors):
            h += _scramble(bits[:, j]) * factor
        return mix(h)
    return mix(np.einsum("ij,j->i", _scramble(bits), factors))


def _scramble(bits: NDArray) -> NDArray[np.uint64]:
    """Bring the high bits of floats down: round values end in zeros, and a product moves nothing down."""
    b = bits.astype(np.uint64)
    b *= GOLDEN
    b ^= b >> np.uint64(32)
    return b
