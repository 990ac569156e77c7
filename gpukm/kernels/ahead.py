"""ahead: iterations of Lloyd's algorithm that an engine does by itself; of the host's, Numba where steps are short."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels.bounds import may_pay

RUNNING, SETTLED, WITHIN_TOL, HOST = range(4)  # why it ended
FEW, ASIDE = 1 << 23, 32  # products of a step that is short however wide the rows; what a row costs besides


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


def short_steps(engine: str, n_samples: int, n_features: int, n_clusters: int) -> bool:
    """Whether the interpreter takes a good part of a step: of few rows, and of those for which bounds never pay."""
    few = n_samples * row_products(n_clusters, n_features) <= FEW
    return engine == "numba" and (few or not may_pay(engine, n_clusters, n_features))


def runner(*rows: Any) -> Any:
    """A `gpukm.kernels.ahead_numba.Runner`."""
    from gpukm.kernels.ahead_numba import Runner

    return Runner(*rows)
