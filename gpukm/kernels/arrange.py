"""arrange: an order of the rows in which near ones follow each other, where an engine gains by that.

No result depends on it: sums are exact, and k-means++ draws rows by their content.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import SMALLEST
from gpukm.kernels.spare import empty

# Measured: from where on boxes pay, and repay the sorting within LEAST_STEPS or SOON; with more features too many
# centroids survive.
MOST_FEATURES, LEAST_CENTROIDS, LEAST_ROWS = 4, 12, 1 << 17
LEAST_STEPS, SOON = 40, 32  # the latter is of centroids
BYTES = 10  # a row that sorting takes at most, besides the rows


def worth_arranging(engine: str, X: Any, dtype: np.dtype, n_clusters: int, max_memory: int, max_iter: int = 0) -> bool:
    """Whether up to `max_iter` steps gain by X (n, d) in order, and a copy in `dtype` fits `max_memory` bytes."""
    n, d = X.shape
    least = LEAST_CENTROIDS if max_iter >= LEAST_STEPS else SOON
    boxes = d <= MOST_FEATURES and n_clusters >= least and n >= LEAST_ROWS
    return engine == "numba" and boxes and n * (d * dtype.itemsize + BYTES) <= max_memory


def compared(n_clusters: int, n_features: int) -> int:
    """About how many of the centroids rows are compared with in each step, where many rows would be arranged."""
    return min(n_clusters, SOON) if n_features <= MOST_FEATURES else n_clusters


def scale_to(bits: int, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """(d,) what differences from `low` are multiplied with to be within [0, 2^bits]: finite for any range."""
    return np.asarray(2.0**bits / np.maximum(high - low, SMALLEST))


def arranged(
    visit: Callable[[Callable[[int, int, dict], Any]], list[Any]],
    block: Callable[[int, int], NDArray],
    rows: Callable[[NDArray], NDArray],
    X: NDArray | None,
    n_samples: int,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    frame: Any,
) -> tuple[NDArray, NDArray[Any], NDArray[np.float32]]:
    """(the rows in order; their numbers: int32, or int64 from 2^31 rows on; a box around each `box_rows` in order).

    Parameters
    ----------
    visit, block, rows : as of a source, whose blocks are the same in every visit, and whole boxes
    X : the rows, if they are in memory as blocks are
    low, high : (d,) within which the rows lie
    frame : of the rows
    """
    from gpukm.kernels import arrange_numba as fast
    from gpukm.kernels.boxes_numba import boxes_of

    few = rows(np.linspace(0, n_samples - 1, min(fast.SAMPLE, n_samples)).astype(np.int64))
    along = fast.curve(low, high)
    first, shift, n_cells = fast.cells(few, along)
    out = empty((n_samples, few.shape[1]), few.dtype)
    cells = np.empty(n_samples, np.uint16) if X is None else out.view(np.uint16).ravel()[:n_samples]  # until rows come

    def count(start: int, stop: int, scratch: dict) -> tuple[int, NDArray[np.int64]]:
        counts = np.zeros(n_cells, np.int64)
        fast.count(block(start, stop), along, first, shift, cells[start:stop], counts)
        return start, counts

    starts, counts = zip(*visit(count), strict=True)
    begins = np.stack(counts)
    fast.begin(begins)
    at = dict(zip(starts, begins, strict=True))
    order = np.empty(n_samples, np.int32 if n_samples < 2**31 else np.int64)
    visit(lambda i, j, _: fast.deal(block(i, j) if X is None else None, i, cells[i:j], at[i], order, out))

    def surround(start: int, stop: int, scratch: dict) -> NDArray[np.float32]:
        from_where = () if X is None else (X, order[start:stop])
        return boxes_of(out[start:stop], frame.shift, frame.scale, *from_where)

    return out, order, np.concatenate(visit(surround))


def put_back(labels: NDArray[np.int32], order: NDArray[Any], out: NDArray[np.int32]) -> None:
    """Write labels of rows in order to `out` (n,), where the rows came from."""
    from gpukm.kernels import arrange_numba

    arrange_numba.put_back(labels, order, out)


def box_rows() -> int:
    """Rows in a box."""
    from gpukm.kernels.boxes_numba import BLOCK

    return BLOCK
