"""arrange: an order of the rows in which near ones follow each other, where an engine gains by that.

No result depends on it: sums are exact, and k-means++ draws rows by their content.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_FEATURES, LEAST_CENTROIDS, LEAST_ROWS = 4, 64, 1 << 17  # measured: from where on boxes repay the sorting
BYTES = 24  # a row that sorting takes at most, besides the rows


def worth_arranging(engine: str, X: Any, dtype: np.dtype, n_clusters: int, max_memory: int) -> bool:
    """Whether steps gain by X (n, d) in order, and a copy in `dtype` fits `max_memory` bytes."""
    n, d = X.shape
    boxes = d <= MOST_FEATURES and n_clusters >= LEAST_CENTROIDS and n >= LEAST_ROWS
    return engine == "numba" and boxes and n * (d * dtype.itemsize + BYTES) <= max_memory


def codes(X: NDArray, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.uint32]:
    """(m,) 24 bits by which to sort the rows of X (m, d), all within [low, high]."""
    from gpukm.kernels import arrange_numba

    return arrange_numba.codes(X, low, high)


def order_of(places: NDArray[np.uint32]) -> NDArray[Any]:
    """The rows sorted by 24-bit codes, int32 (int64 from 2^31 rows on)."""
    from gpukm.kernels import arrange_numba

    return arrange_numba.order_of(places)


def gather(X: NDArray, order: NDArray[Any], out: NDArray) -> None:
    """Write the rows `order` of X (n, d) to `out`, in its dtype."""
    from gpukm.kernels import arrange_numba

    arrange_numba.gather(X, order, out)
