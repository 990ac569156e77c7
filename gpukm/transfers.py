"""Algorithms that move one row at a time: what Hartigan & Wong's and MacQueen's have in common.

They visit rows one after another, so the order of the rows could show. It does not: rows are visited in the order of a
hash of their content, and equal rows together, as one of their total weight. So these algorithms, too, give one answer
for any order of the rows, and weight 2 is a repeated row.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm import kernels
from gpukm.array_source import ArraySource
from gpukm.exact import sums_like
from gpukm.lloyd import LloydResult, lloyd, log
from gpukm.sources import Iteration


@dataclass
class Transfers:
    """The state of a run; the arrays are described in `gpukm.kernels.transfer`."""

    X: NDArray
    weights: NDArray[np.float64]
    engine: str
    centroids: NDArray[np.float64]
    table: NDArray[np.float64]
    D: NDArray[np.float64]
    mass: NDArray[np.float64]
    count: NDArray[np.int64]
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    loss: NDArray[np.float64]
    last: NDArray[np.int64]
    clock: NDArray[np.int64]

    def loop(self, name: str, *arguments: Any) -> int:
        """Run a loop of `gpukm.kernels.transfer` over the rows; return how many were transferred."""
        return int(kernels.transfer_loop(name, self.engine)(*arguments))


def run_transfers(
    source: ArraySource,
    centroids: NDArray,
    make_round: Callable[[Transfers], Callable[[], tuple[int, bool]]],
    *,
    max_iter: int,
    callback: Callable[[Iteration], Any] | None,
    verbose: bool,
) -> LloydResult:
    """Assign the rows to `centroids`, then make rounds of transfers until one says that it was the last.

    Parameters
    ----------
    source, centroids, max_iter, callback, verbose : as for `gpukm.lloyd.lloyd`
    make_round : given the state, returns what makes a round and returns (rows transferred, whether that is all)

    Returns
    -------
    LloydResult
        Of an iteration of Lloyd's from the centroids found: its centroids are means rounded once, its labels and its
        inertia are theirs, and the inertia is no greater for it.
    """
    history: list[Iteration] = []
    converged = interrupted = False
    found = centroids
    try:
        if max_iter > 0:
            rows = _distinct(source)
            state = _start(rows, centroids)
            transfer = make_round(state)
            while len(history) < max_iter and not converged:
                began = time.perf_counter()
                changed, converged = transfer()
                means = _settle(rows, state)
                shift = fsum(((means - found.astype(np.float64)) ** 2).ravel())
                found = means
                inertia = rows.inertia(means.astype(source.dtype), state.first)[1]
                seconds = time.perf_counter() - began
                history.append(Iteration(len(history) + 1, inertia, shift, seconds, changed, 0, 0))
                if verbose:
                    print(f"Iteration {len(history)}, inertia {inertia}")
                log.debug("%s", history[-1])
                if callback is not None and callback(history[-1]):
                    break
    except KeyboardInterrupt:
        interrupted = True
    result = lloyd(source, found.astype(source.dtype), max_iter=min(max_iter, 1), tol=0.0)
    interrupted = interrupted or result.interrupted
    return replace(result, n_iter=len(history), converged=converged, history=history, interrupted=interrupted)


def _distinct(source: ArraySource) -> ArraySource:
    """The different rows of positive weight, with their total weights, in the order of their hashes."""
    X = source.host_block(0, source.n_samples)
    weights = np.ones(len(X)) if source.sample_weight is None else source.sample_weight
    hashes = kernels.hash_rows(X)
    order = np.lexsort((weights, hashes))  # by weight, too, so that the sums of weights have one order
    order = order[weights[order] > 0]
    new = np.ones(len(order), np.bool_)
    same = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
    new[same + 1] = np.any(X[order[same + 1]] != X[order[same]], axis=1)
    starts = np.flatnonzero(new)
    totals = np.add.reduceat(weights[order], starts)
    return ArraySource(X[order[starts]] + X.dtype.type(0), totals, dtype=source.dtype)


def _start(rows: ArraySource, centroids: NDArray) -> Transfers:
    n, k = rows.n_samples, len(centroids)
    state = Transfers(
        X=rows.host_block(0, n),
        weights=np.ascontiguousarray(rows.sample_weight),
        engine=kernels.engine_name(np, n * rows.n_features * k),  # Python takes 0.3 s from where that loads Numba
        centroids=centroids.astype(np.float64),
        table=np.array(centroids.T, np.float64, order="C"),
        D=np.empty(k),
        mass=np.zeros(k),
        count=np.zeros(k, np.int64),
        first=np.zeros(n, np.int32),
        second=np.zeros(n, np.int32),
        loss=np.zeros(n),
        last=np.zeros(k, np.int64),
        clock=np.zeros(3, np.int64),
    )
    kernels.transfer_loop("two_nearest", state.engine)(state.X, state.table, state.D, state.first, state.second)
    _settle(rows, state)
    return state


def _settle(rows: ArraySource, state: Transfers) -> NDArray[np.float64]:
    """Replace the running means and weights by exact ones, so that roundings do not add up; return a copy."""
    sums = sums_like(rows.grid, len(state.centroids))
    step = 1 << 14
    for start in range(0, rows.n_samples, step):
        own = slice(start, start + step)
        kernels.accumulate(state.X[own], np, state.first[own], sums, weights=state.weights[own])
    state.centroids[...] = np.where(sums.empty[:, None], state.centroids, sums.means())
    state.table[...] = state.centroids.T
    state.mass[...] = sums.weights()
    state.count[...] = np.bincount(state.first, minlength=len(state.count))
    return state.centroids.copy()
