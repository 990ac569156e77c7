"""Lloyd's loop: assign, average, until nothing changes. No device, no kernels, no data."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import squared_distances
from gpukm.sources import Iteration, SampleSource, Step

log = logging.getLogger("gpukm")

Projection = Callable[[NDArray[np.float64], NDArray], NDArray]  # (means, centroids before) -> centroids, in their dtype
# (source, step, centroids, means) -> (new centroids, how many were relocated), as `update`
Move = Callable[[SampleSource, Step, NDArray, NDArray[np.float64]], tuple[NDArray, int]]


@dataclass
class LloydResult:
    """The state a run ended in; labels, centroids, inertia belong together. `sizes` counts the rows of each cluster."""

    centroids: NDArray
    labels: NDArray[np.int32]
    inertia: float
    withinss: NDArray[np.float64]
    sizes: NDArray[np.int64]
    n_iter: int
    converged: bool
    history: list[Iteration] = field(default_factory=list)
    interrupted: bool = False


def lloyd(
    source: SampleSource,
    centroids: NDArray,
    *,
    max_iter: int,
    tol: float | Callable[[SampleSource], float],
    callback: Callable[[Iteration], Any] | None = None,
    verbose: bool = False,
    done: Sequence[Iteration] = (),
    keep: Callable[[NDArray, NDArray, list[Iteration]], None] | None = None,
    move: Move | None = None,
) -> LloydResult:
    """Run Lloyd's algorithm (Lloyd 1982) from `centroids`.

    It ends when an iteration leaves every centroid as it was (strict convergence), when the sum of their squared
    moves is at most `tol`, after `max_iter` iterations, or when `callback` returns something true.

    Parameters
    ----------
    source : the samples
    centroids : (k, d) starting centroids in the source's dtype
    max_iter : iterations at most; 0 only labels the rows
    tol : absolute, squared distance; or what finds it, asked when a step has brought the statistics it may need
    callback : called with each `Iteration`
    verbose : print a line an iteration
    done : iterations of an earlier, interrupted call, which ended in `centroids`
    keep : called after each iteration with the centroids before and after it and the iterations so far
    move : what follows from the means in place of `update`, for centroids that are not free

    Returns
    -------
    LloydResult
        After Ctrl-C in the loop, `interrupted` is set and the state is that of the last finished iteration.
    """
    history = list(done)
    settled = interrupted = False
    limit = cache(lambda: tol(source) if callable(tol) else tol)
    converged = bool(history) and history[-1].shift <= limit()
    try:
        while len(history) < max_iter and not converged:
            began = time.perf_counter()
            if callback is None and keep is None and move is None and not verbose:
                ahead = source.ahead(centroids, max_iter - len(history), limit)
                if ahead.iterations:
                    history += [replace(one, iteration=len(history) + one.iteration) for one in ahead.iterations]
                    centroids, settled, converged = ahead.centroids, ahead.settled, ahead.converged
                    continue
            step = source.step(centroids)
            means = step.sums.means()
            new, relocated = (move or update)(source, step, centroids, means)
            moves = (new.astype(np.float64) - centroids) ** 2
            shift = fsum(moves.ravel())
            state = _inertia(source, step, centroids, means)
            seconds = time.perf_counter() - began
            history.append(Iteration(len(history) + 1, state, shift, seconds, step.changed, step.undecided, relocated))
            settled = np.array_equal(new, centroids)  # then the labels just found belong to these centroids
            converged = settled or shift <= limit()
            before, centroids = centroids, new
            if keep is not None:
                keep(before, centroids, history)
            if verbose:
                print(f"Iteration {len(history)}, inertia {state}")
                if converged:
                    why = "strict convergence" if settled else f"center shift {shift} within tolerance {limit()}"
                    print(f"Converged at iteration {len(history)}: {why}.")
            log.debug("%s", history[-1])
            if callback is not None and callback(history[-1]):
                break
    except KeyboardInterrupt:
        interrupted = True
    if interrupted:
        source.reset()  # it may have gone ahead of these centroids
    if not settled or interrupted:
        source.step(centroids)
    sizes = source.sizes(source.labels, len(centroids))
    labels = source.labels.copy()
    withinss, inertia = source.inertia(centroids, labels)
    return LloydResult(centroids, labels, inertia, withinss, sizes, len(history), converged, history, interrupted)


def update(
    source: SampleSource,
    step: Step,
    centroids: NDArray,
    means: NDArray[np.float64],
    fixed: int = 0,
    project: Projection | None = None,
) -> tuple[NDArray, int]:
    """(new centroids, how many were relocated): means, and for clusters without weight the farthest rows.

    As in scikit-learn the n-th empty cluster gets the n-th farthest row, which leaves its old cluster, with all rows
    equal to it. A cluster for which no row is left (all coincide with their centroids) stays where it was, and so do
    the first `fixed` centroids in any case. `project` makes centroids of the means and those before, where they are not
    the means themselves.
    """
    empty = np.flatnonzero(step.sums.empty)
    empty = empty[empty >= fixed]
    if len(empty) == 0:
        return _moved(means, centroids, step.sums.empty, fixed, project), 0
    far = source.farthest(centroids, len(empty))
    sums = step.sums
    if far:
        sums = source.without(sums, np.concatenate([row.indices for row in far]))
        means = sums.means()
    new = _moved(means, centroids, sums.empty, fixed, project)
    for cluster, row in zip(empty, far, strict=False):
        new[cluster] = row.row
    return new, len(far)


def _moved(
    means: NDArray[np.float64],
    centroids: NDArray,
    empty: NDArray[np.bool_],
    fixed: int,
    project: Projection | None,
) -> NDArray:
    found = means.astype(centroids.dtype) if project is None else project(means, centroids)
    new = np.where(empty[:, None], centroids, found)
    new[:fixed] = centroids[:fixed]
    return new


def _inertia(source: SampleSource, step: Step, centroids: NDArray, means: NDArray[np.float64]) -> float:
    """sum w |x - c|^2 = totss + sum_k W_k (|c_k - mean_k|^2 - |mean_k - mean|^2): no pass over the rows."""
    stats = source.stats()
    W = step.sums.weights()
    inner = squared_distances(centroids, means) - squared_distances(means, stats.mean[None, :])
    return max(stats.totss + fsum(W * inner), 0.0)
