"""arrange: an order of the rows in which near ones follow each other, where an engine gains by that.

No result depends on it: sums are exact, and k-means++ draws rows by their content.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Measured: from where on boxes repay the sorting; with more features too many centroids survive.
MOST_FEATURES, LEAST_CENTROIDS, LEAST_ROWS = 4, 32, 1 << 17
BYTES = 10  # a row that sorting takes at most, besides the rows


def worth_arranging(engine: str, X: Any, dtype: np.dtype, n_clusters: int, max_memory: int) -> bool:
    """Whether steps gain by X (n, d) in order, and a copy in `dtype` fits `max_memory` bytes."""
    n, d = X.shape
    boxes = d <= MOST_FEATURES and n_clusters >= LEAST_CENTROIDS and n >= LEAST_ROWS
    return engine == "numba" and boxes and n * (d * dtype.itemsize + BYTES) <= max_memory


def compared(n_clusters: int, n_features: int) -> int:
    """About how many of the centroids rows are compared with in each step, where many rows would be arranged."""
    return min(n_clusters, LEAST_CENTROIDS) if n_features <= MOST_FEATURES else n_clusters


def arranged(
    visit: Callable[[Callable[[int, int, dict], Any]], list[Any]],
    run: Callable[[Callable[[int], Any], int], Any],
    block: Callable[[int, int], NDArray],
    shape: tuple[int, int],
    dtype: np.dtype,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> tuple[NDArray, NDArray[Any]]:
    """(the rows in order, their numbers: int32, or int64 from 2^31 rows on).

    Parameters
    ----------
    visit, run, block : as of a source, whose blocks are the same in every visit
    shape, dtype : of the rows
    low, high : (d,) within which they lie
    """
    from gpukm.kernels import arrange_numba as fast

    n = shape[0]
    places = np.empty(n, np.uint32)
    counts = visit(lambda i, j, _: (i, fast.places(block(i, j), low, high, places[i:j])))
    totals = np.array([own for _, own in counts])
    begins = np.cumsum(totals.sum(axis=0)) - totals.sum(axis=0) + np.cumsum(totals, axis=0) - totals
    at = {first: own for (first, _), own in zip(counts, begins, strict=True)}
    rows, order = np.empty(shape, dtype), np.empty(n, np.int32 if n < 2**31 else np.int64)
    rest = np.empty(n, np.uint16)
    visit(lambda i, j, _: fast.deal(block(i, j), i, places[i:j], at[i], rows, order, rest))
    fast.sort_cells(rows, order, rest, totals.sum(axis=0), run)
    return rows, order


def put_back(labels: NDArray[np.int32], order: NDArray[Any], out: NDArray[np.int32]) -> None:
    """Write labels of rows in order to `out` (n,), where the rows came from."""
    from gpukm.kernels import arrange_numba

    arrange_numba.put_back(labels, order, out)


def boxes_of(X: NDArray, frame: Any) -> NDArray[np.float32]:
    """What `lloyd_step` of the Numba engine asks about the rows of X, a box for each `box_rows`."""
    from gpukm.kernels import boxes_numba

    return boxes_numba.boxes_of(X, frame.shift, frame.scale)


def box_rows() -> int:
    """Rows in a box."""
    from gpukm.kernels.boxes_numba import BLOCK

    return BLOCK
