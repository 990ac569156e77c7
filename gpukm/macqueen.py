"""MacQueen's k-means (1967), as R has it: Lloyd's with centroids that follow each row at once."""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from gpukm.array_source import ArraySource
from gpukm.lloyd import LloydResult
from gpukm.sources import Iteration
from gpukm.transfers import Transfers, run_transfers


def macqueen(
    source: ArraySource,
    centroids: NDArray,
    *,
    max_iter: int,
    tol: float = 0.0,
    callback: Callable[[Iteration], Any] | None = None,
    verbose: bool = False,
) -> LloydResult:
    """Run the algorithm of MacQueen (1967) from `centroids`: rows go to the nearest of the running means.

    Parameters
    ----------
    source, centroids, max_iter, callback, verbose : as for `gpukm.lloyd.lloyd`
    tol : not used: it ends with the first iteration that transfers no row

    Returns
    -------
    LloydResult
    """
    return run_transfers(source, centroids, _rounds, max_iter=max_iter, callback=callback, verbose=verbose)


def _rounds(state: Transfers) -> Callable[[], tuple[int, bool]]:
    arrays = state.X, state.weights, state.centroids, state.table, state.D, state.mass, state.count, state.first

    def one_round() -> tuple[int, bool]:
        moves = state.loop("nearest_transfer", *arrays)
        return moves, moves == 0

    return one_round
