"""ahead: iterations of Lloyd's algorithm that an engine does by itself; of the host's, Numba on few rows."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels.assign import Frame

RUNNING, SETTLED, WITHIN_TOL, HOST = range(4)  # why it ended
FEW, ASIDE = 1 << 23, 32  # products that a step takes at most, on one thread; what a row costs besides


class Ran(NamedTuple):
    """What an engine did by itself.

    Attributes
    ----------
    centroids : (k, d) after the last finished iteration
    records : (iterations, ...) float64: what is known of each finished iteration
    counts : (iterations or one more, 2) int64: changed and undecided rows; one more where `stop` is HOST, whose labels
        and sums are done
    stop : RUNNING, SETTLED, WITHIN_TOL or HOST
    """

    centroids: NDArray
    records: NDArray[np.float64]
    counts: NDArray[np.int64]
    stop: int


def row_products(n_clusters: int, n_features: int) -> int:
    """What a row costs in a step, in products."""
    return n_clusters * n_features + ASIDE


def few_rows(engine: str, n_samples: int, n_features: int, n_clusters: int) -> bool:
    """Whether a step is so short that the interpreter is what takes time."""
    return engine == "numba" and n_samples * row_products(n_clusters, n_features) <= FEW


def runner(X: NDArray, weights: NDArray[np.float64] | None, frame: Frame, n_clusters: int) -> Any:
    """A `gpukm.kernels.ahead_numba.Runner` for rows X (m, d), float32|float64 and C-contiguous."""
    from gpukm.kernels.ahead_numba import Runner

    return Runner(X, weights, frame, n_clusters)
