"""lloyd_step, Numba engine: rows are labelled, and those whose label changed are moved, while in cache."""

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import Sums
from gpukm.kernels.accumulate_numba import NO_WEIGHTS, move_rows
from gpukm.kernels.assign_numba import Packed, assign_rows
from gpukm.kernels.jit_numba import jit
from gpukm.kernels.vectors_numba import ROWS

VALUES = 1 << 15  # of X between labelling and moving: half of a second-level cache of 256 KiB


@jit()
def _step(X, packed, slack, labels, old_labels, weights, scale, bits, store):
    undecided, moved, used = 0, 0, 1
    rows = max(VALUES // X.shape[1] // ROWS, 16) * ROWS
    for start in range(0, len(X), rows):
        stop = min(start + rows, len(X))
        undecided += assign_rows(X, start, stop, packed, slack, labels)
        part = move_rows(X, start, stop, weights, labels, old_labels, scale, bits, store)
        moved, used = moved + part[0], max(used, part[1])
    return undecided, moved, used


def lloyd_step(
    X: NDArray,
    packed: Packed,
    labels: NDArray[np.int32],
    new_labels: NDArray[np.int32],
    sums: Sums,
    weights: NDArray[np.float64] | None,
    slack: NDArray[np.float32],
) -> tuple[int, int]:
    """See `gpukm.kernels.lloyd_step`; the interpreter's lock is released."""
    scale, bits = 1 / sums.grid.unit(0), 2.0**sums.grid.bits
    w = NO_WEIGHTS if weights is None else weights
    undecided, moved, used = _step(X, packed.arguments, slack, new_labels, labels, w, scale, bits, sums.store)
    sums.used = max(sums.used, used)
    return moved, undecided
