"""ahead: iterations of Lloyd's algorithm that an engine does by itself; of the host's, Numba where steps are short."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

RUNNING, SETTLED, WITHIN_TOL, HOST = range(4)  # why it ended
FEW, LONGEST = 1 << 23, 1 << 33  # products of a step that is over before a look at bounds, or before Ctrl-C waits long
ASIDE = 32  # what a row costs besides, in products


class Ran(NamedTuple):
    """What an engine did by itself.

    Attributes
    ----------
    centroids : (k, d) after the last finished iteration
    records : (iterations, ...) float64: what is known of each finished iteration
    counts : (iterations or one more, 2) int64: changed and undecided rows; one more where `stop` is HOST, whose labels
        and sums are done
    stop : RUNNING, SETTLED, WITHIN_TOL or HOST
    before : (k, d) before the last finished iteration, where that is of use
    """

    centroids: NDArray
    records: NDArray[np.float64]
    counts: NDArray[np.int64]
    stop: int
    before: NDArray | None = None

    @property
    def left(self) -> tuple[int, int] | None:
        """Changed and undecided rows of a step that is done, but whose iteration is left to the loop."""
        return (int(self.counts[-1, 0]), int(self.counts[-1, 1])) if self.stop == HOST else None

    @property
    def settled(self) -> bool:
        """Whether the last iteration moved nothing."""
        return self.stop == SETTLED

    @property
    def converged(self) -> bool:
        """Whether it did, or moved the centroids within `tol`."""
        return self.stop in (SETTLED, WITHIN_TOL)


def row_products(n_clusters: int, n_features: int) -> int:
    """What a row costs in a step, in products."""
    return n_clusters * n_features + ASIDE


def short_steps(engine: str, n_samples: int, n_features: int, n_clusters: int) -> tuple[bool, bool]:
    """(Whether steps are so short that iterations may be done by a `runner`, whether bounds are not worth a look)."""
    products = n_samples * row_products(n_clusters, n_features)
    return engine == "numba" and products <= LONGEST, products <= FEW


def runner(*rows: Any) -> Any:
    """A `gpukm.kernels.ahead_numba.Runner`."""
    from gpukm.kernels.ahead_numba import Runner

    return Runner(*rows)
