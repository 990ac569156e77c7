"""Hartigan & Wong's k-means (1979, algorithm AS 136), the default of R's kmeans: transfers that lower the inertia.

A row is transferred where that lowers the inertia, the shift of both centroids taken into account; Lloyd's loop
compares distances to centroids that stand still, and stops at more partitions. So a result of Hartigan & Wong's is one
of Lloyd's as well, and from one of Lloyd's they often find a better one.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from gpukm.array_source import ArraySource
from gpukm.lloyd import LloydResult
from gpukm.sources import Iteration
from gpukm.transfers import Transfers, run_transfers

QUICK = 50  # visits of a quick-transfer stage at most, times the rows, as in R


def hartigan_wong(
    source: ArraySource,
    centroids: NDArray,
    *,
    max_iter: int,
    tol: float = 0.0,
    callback: Callable[[Iteration], Any] | None = None,
    verbose: bool = False,
) -> LloydResult:
    """Run the algorithm of Hartigan & Wong (1979) from `centroids`.

    An iteration is an optimal-transfer stage, in which each row may go to any cluster that changed lately, and a
    quick-transfer stage, in which rows change between their first and second cluster until none does. A cluster without
    rows takes in the first that comes by. Weights are those of the rows transferred: equal rows go together.

    Parameters
    ----------
    source, centroids, max_iter, callback, verbose : as for `gpukm.lloyd.lloyd`
    tol : not used: it ends when no transfer lowers the inertia

    Returns
    -------
    LloydResult
        Not `converged` where `max_iter` iterations were not enough. A quick-transfer stage ends after 50 visits to each
        row, as in R; an optimal-transfer stage then goes on.
    """
    return run_transfers(source, centroids, _rounds, max_iter=max_iter, callback=callback, verbose=verbose)


def polish(source: ArraySource, result: LloydResult, **options: Any) -> LloydResult:
    """`result`, or what `hartigan_wong` makes of it where that has less inertia; iterations are counted together."""
    better = hartigan_wong(source, result.centroids, **options)
    history = list(result.history)
    history += [replace(each, iteration=len(result.history) + each.iteration) for each in better.history]
    kept = better if better.inertia < result.inertia else result
    interrupted = result.interrupted or better.interrupted
    return replace(kept, n_iter=len(history), history=history, interrupted=interrupted)


def _rounds(state: Transfers) -> Callable[[], tuple[int, bool]]:
    n, k = len(state.X), len(state.centroids)
    rows, centroids = (state.X, state.weights), (state.centroids, state.table)
    rest = state.mass, state.count, state.first, state.second, state.loss, state.last, state.clock
    previous = -n - 1  # before the first stage all clusters have changed

    def one_round() -> tuple[int, bool]:
        nonlocal previous
        if k == 1:
            return 0, True
        began = int(state.clock[0])
        moves = state.loop("optimal_transfer", *rows, *centroids, state.D, *rest, previous)
        previous = began
        if state.clock[1] == n:
            return moves, True
        cut = int(state.clock[2])
        moves += state.loop("quick_transfer", *rows, *centroids, *rest, QUICK * n)
        # Of two clusters, the quick stage has looked at all there is.
        return moves, k == 2 and int(state.clock[2]) == cut

    return one_round
