"""lloyd_step: assign and accumulate in one visit to a block. Reference engine.

    X (m, d)    centroids    ->    labels (in place), sums of the rows whose label changed, counts of changed and
    undecided

The first visit (labels -1) adds every row; later ones only move the rows that changed cluster.
"""

from dataclasses import dataclass, field
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
    scratch: dict,
) -> tuple[int, int, int]:
    """Label a block and bring `sums` along; `move_held` has to follow the last block.

    Parameters
    ----------
    X : (m, d) C-contiguous block in the compute dtype
    labels : (m,) int32, those that `sums` belong to, -1 throughout when `sums` do not hold these rows yet; written
    rows : rows to score at once, from `block_rows`
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
    standing = 0
    found = bounds.open_rows(labels) if bounds is not None and bounds.known else None
    if found is not None and len(found) <= MOST_OPEN * m:
        new_labels[...] = labels
        standing = m - len(found)
    else:
        found = None
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
    start = 0
    while start < len(moved):
        held = scratch.setdefault("held", Held())
        few = moved[start : start + at_once - held.count]
        w = None if weights is None else weights[few]
        held.rows.append((taken(X, xp, few), new_labels[few], labels[few], w))
        held.count += len(few)
        start += len(few)
        if held.count == at_once:
            move_held(xp, sums, scratch)
    labels[...] = new_labels
    return len(moved), undecided, standing


@dataclass
class Held:
    """Rows that changed cluster, until there are as many as `accumulate` takes at once: a call costs as much as some.

    Attributes
    ----------
    rows : (rows, new labels, old labels, weights or None) of some visits
    count : how many rows these are
    """

    rows: list[tuple[Array, NDArray[np.int32], NDArray[np.int32], NDArray[np.float64] | None]] = field(
        default_factory=list
    )
    count: int = 0


def move_held(xp: Any, sums: Sums, scratch: dict) -> Sums:
    """`sums`, with the rows moved that `lloyd_step` left in `scratch`."""
    held = scratch.pop("held", None)
    if held is None:
        return sums
    rows, labels, old_labels, weights = zip(*held.rows, strict=True)
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
