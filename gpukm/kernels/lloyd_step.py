"""lloyd_step: assign and accumulate in one visit to a block. Reference engine.

    X (m, d)    centroids    ->    labels (in place), sums of the rows whose label changed, counts of changed and
    undecided

The first visit (labels -1) adds every row; later ones only move the rows that changed cluster.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import BLOCK_ROWS, Sums, buffer
from gpukm.kernels.accumulate import accumulate
from gpukm.kernels.assign import Scorer, assign
from gpukm.kernels.bounds import MOST_OPEN, Part
from gpukm.kernels.settle import taken

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
    kept: tuple | None = None,
    scratch: dict,
) -> tuple[int, int, int]:
    """Label a block and bring `sums` along; `move_held` has to follow the last block.

    Parameters
    ----------
    X : (m, d) C-contiguous block in the compute dtype
    labels : (m,) int32, those that `sums` belong to, -1 throughout when `sums` do not hold these rows yet; written
    rows : rows to score at once, from `block_rows`
    slack : (m,) float32 from ``scorer.frame.slack``, for the reference engine, written where it is -1; or None
    bounds : what is known of the rows from steps before, and written for those that this one looks at; or None
    around : for the Numba engine, the boxes around the rows and the labels of those that have one; see `assign_rows`
    kept : for the Numba engine, a copy of the rows in 8 bits, as from `kept.KeptRows.part`

    Returns
    -------
    changed, undecided, standing : int
        `standing` rows were not looked at: their labels cannot have changed.
    """
    if scorer.packed is not None:
        from gpukm.kernels.lloyd_step_numba import lloyd_step as fused

        return fused(X, scorer.packed, labels, sums, weights, bounds, around, kept, scratch)
    m, d = X.shape
    new_labels = buffer(scratch, "new labels", (1, m), np.int32)[0]
    found = bounds.open_rows(labels) if bounds is not None and bounds.known else None
    if found is not None and len(found) > MOST_OPEN * m:
        found = None
    if found is not None:
        new_labels[...] = labels
    standing = 0 if found is None else m - len(found)
    undecided = assign(X, xp, scorer, slack, new_labels, scratch, bounds, rows=rows, some=found)
    at_once = min(max(VALUES // d, 16), BLOCK_ROWS, rows)
    if m and labels[0] < 0:
        for start in range(0, m, at_once):
            part = slice(start, min(start + at_once, m))
            w = None if weights is None else weights[part]
            accumulate(X[part, :], xp, new_labels[part], sums, weights=w, scratch=scratch)
        labels[...] = new_labels
        return m, undecided, standing
    moved = np.flatnonzero(new_labels != labels)
    held, start = scratch.setdefault("held", []), 0
    while start < len(moved):  # held until they are as many as are added at once: a call costs as much as some rows
        stop = start + at_once - sum(len(own) for _, own, _, _ in held)
        few = moved[start:stop]
        held.append((taken(X, xp, few), new_labels[few], labels[few], None if weights is None else weights[few]))
        if stop <= len(moved):
            move_held(xp, sums, scratch)
        start = stop
    labels[...] = new_labels
    return len(moved), undecided, standing


def move_held(xp: Any, sums: Sums, scratch: dict) -> Sums:
    """`sums`, with the rows moved that `lloyd_step` left in `scratch`."""
    held = scratch.get("held")
    if not held:
        return sums
    rows, labels, old_labels, weights = zip(*held, strict=True)
    held.clear()
    accumulate(
        xp.concat(rows),
        xp,
        np.concatenate(labels),
        sums,
        old_labels=np.concatenate(old_labels),
        weights=None if weights[0] is None else np.concatenate(weights),
        scratch=scratch,
    )
    return sums
