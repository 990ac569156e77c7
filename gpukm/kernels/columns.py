"""columns: the least and the greatest value of each column of a block. Reference engine."""

import numpy as np
from numpy.typing import NDArray


def extremes(X: NDArray, engine: str = "numpy") -> tuple[NDArray, NDArray]:
    """((d,) minima, (d,) maxima) of a block (m, d); one of them is not finite where the column is not.

    Several rows are taken side by side, as one long row: short ones reduce slowly.
    """
    m, d = X.shape
    beside = min(max(2048 // d, 1), m)
    even = m - m % beside
    wide = X[:even].reshape(-1, beside * d)
    if engine == "numba":
        from gpukm.kernels import columns_numba

        least, greatest = columns_numba.extremes(wide)
    else:
        least, greatest = wide.min(axis=0), wide.max(axis=0)
    low = np.min(np.concatenate([least.reshape(beside, d), X[even:]]), axis=0)
    high = np.max(np.concatenate([greatest.reshape(beside, d), X[even:]]), axis=0)
    return low, high
