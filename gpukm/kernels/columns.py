"""columns: the least and the greatest value of each column of a block. Reference engine."""

import numpy as np
from numpy.typing import NDArray


def extremes(X: NDArray, engine: str = "numpy") -> tuple[NDArray, NDArray]:
    """((d,) minima, (d,) maxima) of a block (m, d); one of them is not finite where the column is not.

    Several rows are taken side by side, as one long row: short ones reduce slowly.
    """
    if engine == "numba":
        from gpukm.kernels import columns_numba

        return columns_numba.extremes(X)
    m, d = X.shape
    beside = min(max(2048 // d, 1), m)
    even = m - m % beside
    wide = X[:even].reshape(-1, beside * d)
    low = np.min(np.concatenate([wide.min(axis=0).reshape(beside, d), X[even:]]), axis=0)
    high = np.max(np.concatenate([wide.max(axis=0).reshape(beside, d), X[even:]]), axis=0)
    return low, high
