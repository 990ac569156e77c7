"""lloyd_step, Numba engine: rows are labelled, and those whose label changed are moved, while in cache.

Rows that stand (`bounds`) are passed over. Where centroids are known to be too far, the others come cluster by cluster,
nearest rows first: the rows of a strip then need the same few centroids.
"""

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import Sums, buffer
from gpukm.kernels.accumulate_numba import NO_WEIGHTS, move_rows
from gpukm.kernels.assign_numba import assign_rows
from gpukm.kernels.bounds import MOST_OPEN, NOTHING, Part
from gpukm.kernels.bounds_numba import keep_of
from gpukm.kernels.boxes_numba import BLOCK
from gpukm.kernels.int8_numba import NOT_KEPT
from gpukm.kernels.jit_numba import jit
from gpukm.kernels.stands_numba import no_limits
from gpukm.kernels.strips_numba import Packed, scratch_for

VALUES = 1 << 16  # of X between labelling and moving: half of a second-level cache of 512 KiB
LEVELS = 32  # of distance, by which rows of a cluster are sorted


@jit()
def _open_rows(limits, drift, labels, first, last, found):
    """Write the rows first to last whose labels may have changed to `found`; returns how many: see `bounds.Part`."""
    limits, labels = limits[first:last], labels[first:last]
    count = 0
    for i in range(last - first):
        found[count] = first + i
        count += limits[i] <= drift[labels[i]]
    return count


@jit()
def _sorted(keys, n_keys, order):
    """(`order` sorted by the keys of its rows, stably; where each key begins (n_keys + 1,))."""
    begins = np.zeros(n_keys + 1, np.int64)
    for row in order:
        begins[keys[row] + 1] += 1
    for key in range(n_keys):
        begins[key + 1] += begins[key]
    place, out = begins.copy(), np.empty_like(order)
    for row in order:
        out[place[keys[row]]] = row
        place[keys[row]] += 1
    return out, begins


@jit()
def _by_cluster(rows, labels, k, reach):
    """(`rows` by cluster and then by distance, where each cluster begins)."""
    longest = np.full(k, 1e-30, np.float32)
    for row in rows:
        longest[labels[row]] = max(longest[labels[row]], reach[row])
    keys = np.empty(len(labels), np.int32)
    for row in rows:
        keys[row] = labels[row] * LEVELS + np.int32(reach[row] / longest[labels[row]] * np.float32(LEVELS - 1))
    order, begins = _sorted(keys, k * LEVELS, rows)
    return order, begins[::LEVELS].copy()


@jit()
def step(X, begin, end, packed, labels, weights, scale, bits, store, keep, between, known, around, kept, stands, own):
    """Label the rows `begin` to `end` of X and move those that changed; returns (undecided, moved, limbs, standing).

    `begin` is the first row of a box. Limbs are those in use. `own` is scratch: room for the rows that are open, what
    `changes_for` and `scratch_for` give.
    """
    # `assign_rows` is called from here only: Numba would compile it anew for every function in between.
    undecided, moved, used, standing = 0, np.int64(0), 1, 0
    (found, changes, scratch), zero = own, np.int64(0)  # a literal would be a type of its own, to compile for
    near, rows = len(between) > 0, len(changes[0])
    for start in range(begin, end, rows):
        stop = min(start + rows, end)
        count, changed = stop - start, zero
        if keep is not None:
            if known:
                count = _open_rows(keep[0], keep[2], labels, start, stop, found)
            if near or count <= MOST_OPEN * (stop - start):
                standing += stop - start - count
                order, begins = found[:count], found[:0]
                if near:
                    order, begins = _by_cluster(order, labels, len(between), keep[1])
                for cluster in range(max(len(between), 1)):
                    first, last = (begins[cluster], begins[cluster + 1]) if near else (zero, count)
                    some = X, order, first, last, packed, labels, changes, changed
                    settled, changed = assign_rows(*some, keep, between, cluster, around, kept, stands, scratch)
                    undecided += settled
                count = 0
        if count:
            all_rows = X, found[:0], start, stop, packed, labels, changes, changed
            settled, changed = assign_rows(*all_rows, keep, between, zero, around, kept, stands, scratch)
            undecided += settled
        used = max(used, move_rows(X, changes, changed, weights, labels, scale, bits, store))
        moved += changed
    return undecided, moved, used, standing


def rows_at_once(n_features: int) -> int:
    """Rows between labelling and moving: whole boxes."""
    return max(VALUES // n_features // BLOCK, 4) * BLOCK


def changes_for(scratch: dict, rows: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Where `step` lists the rows that change, and their new labels: as many as it takes at once."""
    return buffer(scratch, "changed", (1, rows), np.int64)[0], buffer(scratch, "to", (1, rows), np.int32)[0]


def lloyd_step(
    X: NDArray,
    packed: Packed,
    labels: NDArray[np.int32],
    sums: Sums,
    weights: NDArray[np.float64] | None,
    bounds: Part | None,
    around: tuple[NDArray[np.float32], NDArray[np.int32]] | None,
    kept: tuple | None,
    scratch: dict,
) -> tuple[int, int, int]:
    """See `gpukm.kernels.lloyd_step`; the interpreter's lock is released."""
    scale, bits = 1 / sums.grid.unit(0), 2.0**sums.grid.bits
    w = NO_WEIGHTS if weights is None else weights
    between, known = (NOTHING, False) if bounds is None else (bounds.between, bounds.known)
    keep = keep_of(bounds, len(packed.centroids), X.shape[1])
    if around is not None and not packed.boxes.asked:
        around[1][:] = -1
        around = None
    found = np.empty(len(X) + 1 if known else 0, np.int64)
    changes = changes_for(scratch, len(X) if len(between) else rows_at_once(X.shape[1]))
    own = found, changes, scratch_for(X.shape[1], len(packed.centroids), X.dtype, len(between) > 0)
    exact = w, scale, bits, sums.store
    rows = X, 0, len(X), packed.arguments, labels
    beside = around, NOT_KEPT if kept is None else kept, no_limits(X.shape[1])
    undecided, moved, used, standing = step(*rows, *exact, keep, between, known, *beside, own)
    sums.used = max(sums.used, used)
    return moved, undecided, standing
