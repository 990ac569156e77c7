"""kept: a copy of the rows in 8 bits beside them, where they are whole numbers of 8 bits: pixels, grades, counts.

Steps read it instead of the rows, and fewer bars leave something open. No result depends on it: what it leaves open is
settled by the rows.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels.bounds import MANY

# Measured: with fewer features rows are turned around fast enough; with more centroids `bounds` may spare most of them.
LEAST_FEATURES, MOST_CENTROIDS = 96, MANY - 1
LEAST_VALUES = 1 << 20
BYTES = 4  # of a row, besides its features
LEVELS, SAMPLE = 255, 128  # values of a feature but one; rows that are looked at before all are copied


def worth_keeping(engine: str, X: NDArray, n_clusters: int, max_memory: int) -> bool:
    """Whether steps would gain by a copy of X (n, d) if it were of whole numbers, and it fits `max_memory` bytes."""
    n, d = X.shape
    if engine != "numba" or d < LEAST_FEATURES or n_clusters > MOST_CENTROIDS or n * d < LEAST_VALUES:
        return False
    from gpukm.kernels import int8_numba

    return n * (d + BYTES) <= max_memory and int8_numba.can_keep(d)


def keep_rows(
    visit: Callable[..., list[Any]],
    block: Callable[[int, int], NDArray],
    rows: Callable[[NDArray], NDArray],
    n_samples: int,
    frame: Any,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> Any:
    """The copy, `int8_numba.KeptRows`; None where rows are no whole numbers of 8 bits, times a power of two.

    Parameters
    ----------
    visit, block, rows : as of a source whose blocks begin with a multiple of `strip_rows`
    frame : of the filters
    low, high : (d,) within which rows lie
    """
    widest, few = float(np.max(high - low)), min(SAMPLE, n_samples)
    if not 0 < widest < np.inf:
        return None
    unit = 2.0 ** np.ceil(np.log2(widest / LEVELS))
    some = rows(np.arange(few) * (n_samples // few)) - low
    if (some % unit).any() or ((high - low) % unit).any():
        return None
    from gpukm.kernels.int8_numba import KeptRows

    kept = KeptRows(n_samples, frame, low, high - low, unit)
    kept.finish(visit(lambda start, stop, _: kept.keep(block(start, stop), start), rows=1 << 13))
    return kept


def strip_rows() -> int:
    """Rows that the copy holds together."""
    from gpukm.kernels.vectors_numba import ROWS

    return ROWS
