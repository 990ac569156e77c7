"""lloyd_step: assign and accumulate in one visit to a block. Reference engine.

    X (m, d)    centroids    ->    labels (in place), sums of the rows whose label changed, counts of changed and
    undecided

The first visit (labels -1) adds every row; later ones only move the rows that changed cluster.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._arrays import from_numpy, is_numpy
from gpukm.exact import Sums
from gpukm.kernels.accumulate import accumulate
from gpukm.kernels.assign import Scorer, assign

Array = Any


def lloyd_step(
    X: Array,
    xp: Any,
    scorer: Scorer,
    labels: NDArray[np.int32],
    new_labels: NDArray[np.int32],
    sums: Sums,
    *,
    rows: int,
    weights: NDArray[np.float64] | None = None,
    radii: NDArray[np.float32] | None = None,
    scratch: dict,
) -> tuple[int, int]:
    """Label a block and bring `sums` from `labels` to `new_labels`.

    Parameters
    ----------
    X : (m, d) C-contiguous block in the compute dtype, m <= BLOCK_ROWS
    labels : (m,) int32, the labels that `sums` belong to; -1 throughout when `sums` do not hold these rows yet
    new_labels : (m,) int32, written
    rows : rows scored at a time, from `block_rows`

    Returns
    -------
    changed, undecided : int
    """
    m = X.shape[0]
    undecided = 0
    for start in range(0, m, rows):
        stop = min(start + rows, m)
        part = None if radii is None else radii[start:stop]
        new_labels[start:stop], count = assign(X[start:stop, :], xp, scorer, part, scratch)
        undecided += count
    if m and labels[0] < 0:
        accumulate(X, xp, new_labels, sums, weights=weights, scratch=scratch)
        return m, undecided
    moved = np.flatnonzero(new_labels != labels)
    if len(moved):
        taken = X[moved] if is_numpy(xp) else xp.take(X, from_numpy(moved, X), axis=0)
        accumulate(
            taken,
            xp,
            new_labels[moved],
            sums,
            old_labels=labels[moved],
            weights=None if weights is None else weights[moved],
            scratch=scratch,
        )
    return len(moved), undecided
