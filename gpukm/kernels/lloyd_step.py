"""lloyd_step: assign and accumulate in one visit to a block. Reference engine.

    X (m, d)    centroids    ->    labels (in place), sums of the rows whose label changed, counts of changed and
    undecided

The first visit (labels -1) adds every row; later ones only move the rows that changed cluster.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._arrays import from_numpy, is_numpy
from gpukm.exact import BLOCK_ROWS, Sums, buffer
from gpukm.kernels.accumulate import accumulate
from gpukm.kernels.assign import Scorer, assign
from gpukm.kernels.bounds import MOST_OPEN, Part

Array = Any
VALUES = 1 << 18  # float64 values that `accumulate` takes at once, so that they stay in the cache


def lloyd_step(
    X: Array,
    xp: Any,
    scorer: Scorer,
    labels: NDArray[np.int32],
    sums: Sums,
    *,
    rows: int,
    weights: NDArray[np.float64] | None = None,
    slack: NDArray[np.float32] | None = None,
    bounds: Part | None = None,
    around: tuple[NDArray[np.float32], NDArray[np.int32]] | None = None,
    scratch: dict,
) -> tuple[int, int, int]:
    """Label a block and bring `sums` along.

    Parameters
    ----------
    X : (m, d) C-contiguous block in the compute dtype
    labels : (m,) int32, those that `sums` belong to, -1 throughout when `sums` do not hold these rows yet; written
    rows : rows to score at once, from `block_rows`; the sums are brought up to date once for the whole block, since a
        call of `accumulate` costs as much as a few hundred rows
    slack : (m,) float32 from ``scorer.frame.slack``, for the reference engine, or None
    bounds : what is known of the rows from steps before, and written for those that this one looks at; or None
    around : for the Numba engine, the boxes around the rows and the labels of those that have one; see `assign_rows`

    Returns
    -------
    changed, undecided, standing : int
        `standing` rows were not looked at: their labels cannot have changed.
    """
    if scorer.packed is not None:
        from gpukm.kernels.lloyd_step_numba import lloyd_step as fused

        return fused(X, scorer.packed, labels, sums, weights, bounds, around, scratch)
    m, d = X.shape
    new_labels = buffer(scratch, "new labels", (1, m), np.int32)[0]
    undecided, standing = 0, 0
    found = bounds.open_rows(labels) if bounds is not None and bounds.known else None
    if found is not None and bounds is not None and slack is not None and len(found) <= MOST_OPEN * m:
        new_labels[...] = labels
        undecided, standing = _label_some(X, scorer, found, rows, slack, new_labels, bounds, scratch), m - len(found)
    else:
        for start in range(0, m, rows):
            part = slice(start, min(start + rows, m))
            own = None if slack is None else slack[part]
            own_bounds = None if bounds is None else bounds.of(part)
            undecided += assign(X[part, :], xp, scorer, own, new_labels[part], scratch, own_bounds)
    at_once = min(max(VALUES // d, 16), BLOCK_ROWS)
    if m and labels[0] < 0:
        for start in range(0, m, at_once):
            part = slice(start, min(start + at_once, m))
            w = None if weights is None else weights[part]
            accumulate(X[part, :], xp, new_labels[part], sums, weights=w, scratch=scratch)
        labels[...] = new_labels
        return m, undecided, standing
    moved = np.flatnonzero(new_labels != labels)
    for start in range(0, len(moved), at_once):
        few = moved[start : start + at_once]
        accumulate(
            _taken(X, xp, few, scratch),
            xp,
            new_labels[few],
            sums,
            old_labels=labels[few],
            weights=None if weights is None else weights[few],
            scratch=scratch,
        )
    labels[...] = new_labels
    return len(moved), undecided, standing


def _label_some(
    X: NDArray,
    scorer: Scorer,
    found: NDArray[np.intp],
    rows: int,
    slack: NDArray[np.float32],
    labels: NDArray[np.int32],
    bounds: Part,
    scratch: dict,
) -> int:
    """Label the rows `found` of a block, `rows` at a time; returns how many had to be settled."""
    undecided = 0
    for start in range(0, len(found), rows):
        few = found[start : start + rows]
        some, own = np.empty(len(few), np.int32), bounds.of(few)
        undecided += assign(_taken(X, np, few, scratch), np, scorer, slack[few], some, scratch, own)
        labels[few], bounds.limits[few], bounds.reach[few] = some, own.limits, own.reach
    return undecided


def _taken(X: Array, xp: Any, rows: NDArray, scratch: dict) -> Array:
    """Some rows of a block."""
    if not is_numpy(xp):
        return xp.take(X, from_numpy(rows, X), axis=0)
    return np.take(X, rows, axis=0, out=buffer(scratch, "taken", (len(rows), X.shape[1]), X.dtype), mode="clip")
