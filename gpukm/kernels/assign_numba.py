"""assign, Numba engine: scores in registers, the certificate from the two least, what is open settled by D.

Rows are taken ROWS at a time: centred and transposed into a strip (in the first-level cache), scored against all
centroids by `score_tile`, certified from the least and the second least score (`gpukm.exact`, point 2). For the few
rows whose second is too near scores are computed once more, and the centroids within the margin compared.

Cost of a strip: 2 ROWS k d FLOP; nothing of n x k is stored.
"""

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels.bounds import DOWN, FARTHEST, NEVER, NOTHING, SMALLEST, Part, factors, may_pay
from gpukm.kernels.boxes_numba import BLOCK, boxes_of, survivors
from gpukm.kernels.jit_numba import ANY_ORDER, FUSED, jit
from gpukm.kernels.strips_numba import FAR, Packed, fill_listed, pack_rows, pack_strip, readable, strip_for
from gpukm.kernels.vectors_numba import (
    GROUP,
    LANES,
    ROWS,
    lanes_differ,
    lanes_within,
    lowest_bit,
    score_listed,
    score_tile,
    square_strip,
    store_tile,
)


@jit(ANY_ORDER)
def any_order(x, c):
    """Squared distance, summed in any order."""
    total = 0.0
    for f in range(len(c)):
        difference = np.float64(x[f]) - c[f]
        total += difference * difference
    return total


@jit()
def distance(x, c):
    """The canonical squared distance D: see `gpukm.exact`, point 1."""
    total = 0.0
    for f in range(len(c)):
        difference = np.float64(x[f]) - c[f]
        total += difference * difference
    return total


@jit()
def settle(X, open_rows, threshold, strip, tiles, base, centroids, within, scores, labels):
    """Label rows of X (`open_rows`), packed in `strip`: of the centroids within their `threshold`, the nearest by D.

    `threshold` (ROWS,) is below all scores in lanes that have no row; `labels` (ROWS,) int32 is written.
    Centroids come in order of number. One that is clearly nearer than the nearest so far, by a sum in any order,
    replaces it, one clearly farther is passed over; between the two D decides, and of equal D the first stays.
    """
    count, k, d = len(open_rows), len(centroids), X.shape[1]
    nearest = np.full(count, np.inf)  # any_order
    exact = np.full(count, -1.0)  # D, once it was needed
    for g in range(len(tiles)):
        at = g * GROUP
        store_tile(strip.ctypes.data, tiles[g].ctypes.data, base[at:].ctypes.data, scores.ctypes.data, d)
        for lane in range(0, min(GROUP, k - at) * ROWS, LANES):
            u, first = lane // ROWS, lane % ROWS
            bits = lanes_within(scores.ctypes.data + 4 * lane, threshold.ctypes.data + 4 * first)
            while bits:
                i = first + lowest_bit(bits)
                bits &= bits - 1
                x, c = X[open_rows[i]], centroids[at + u]
                other = any_order(x, c)
                if other > nearest[i] * within:
                    continue
                if other * within < nearest[i]:
                    exact[i] = -1.0
                else:
                    if exact[i] < 0.0:
                        exact[i] = distance(x, centroids[labels[i]])
                    D = distance(x, c)
                    if D >= exact[i]:
                        continue
                    exact[i] = D
                nearest[i] = min(other, nearest[i])
                labels[i] = at + u


LEAST_CENTROIDS = 64  # from which on boxes pay that are found for one look at the rows
NO_FLOATS, IN_ORDER = np.empty(0, np.float32), np.empty(0, np.int64)
NO_LIMITS = NO_FLOATS, NO_FLOATS, NO_FLOATS, factors(1)


def keep_of(bounds: Part | None, n_clusters: int, n_features: int) -> tuple | None:
    """What `assign_rows` takes to write limits and reach: None where they never are, empty where they are not now."""
    if not may_pay("numba", n_clusters, n_features):
        return None
    if bounds is None:
        return NO_LIMITS
    return bounds.limits, bounds.reach, bounds.drift, factors(n_features)


def scratch_for(d: int, k: int) -> tuple:
    """What `assign_rows` writes to; made by NumPy, since Numba takes a tenth of a second to compile each `np.empty`."""
    strips = strip_for.py_func(d), strip_for.py_func(d), np.empty((GROUP, ROWS), np.float32)
    of_rows = np.empty((4, ROWS), np.float32), np.empty((3, ROWS), np.int64), np.empty(ROWS, np.int32)
    of_boxes = np.empty(k + LANES, np.float32), np.empty(LANES, np.float32)
    return strips, of_rows, of_boxes, np.empty(k + max(GROUP, LANES), np.int32)


@jit()
def within(around, radius, listed):
    """List the centroids within `radius`, ascending; returns (how many, the least distance of the others)."""
    count, beyond = 0, FARTHEST
    for k in range(len(around)):
        listed[count] = k
        near = around[k] <= radius
        count += near
        beyond = beyond if near or beyond < around[k] else around[k]
    return count, beyond


@jit()
def take_settled(open_rows, found, labels, changes, changed):
    """Bring the labels `found` of `open_rows` to `labels`, or to the list of `changes`; returns how many that holds."""
    for i in range(len(open_rows)):
        row = open_rows[i]
        if changes is None:
            labels[row] = found[i]
        elif labels[row] != found[i]:
            changes[0][changed], changes[1][changed] = row, found[i]
            changed += 1
    return changed


@jit(FUSED)
def assign_rows(X, rows, first, last, packed, labels, changes, changed, keep, between, cluster, around, scratch):
    """Label the rows `first` to `last` of X (m, d) float32|float64; returns (how many had to be settled, `changed`).

    `packed` is `Packed.arguments`. The labels are written to `labels` (m,); or, where `changes` is not None but a row
    number and a label for each row at most, only those that differ from `labels` are, to places `changed` and on.
    `keep` is as from `keep_of`. Only if that is not None the others are looked at: if `rows` is not empty, it lists the
    rows of X that `first` and `last` count. Where `between` (k, k) is not empty, all rows had the label `cluster`, and
    centroids farther from that one than twice a row are left out. `around` is None or (boxes, as from `boxes_of`; the
    label of each BLOCK rows of X, -1 where they may differ: brought up to date); then `first` begins one of them, and
    `keep` is None. Numba compiles what a None needs without the rest.
    """
    shift, scale, plain, tiles, base, centroids, of_scores, boxes, operand = packed
    kappa20, most, factor, per_square, tiny = of_scores
    (strip, waiting, scores), (of_rows, numbers, settled), (at, bars), listed = scratch
    # Made here, so that the compiler knows that none of them is part of another.
    best, second, squares, label = (
        np.empty(ROWS, np.float32),
        np.empty(ROWS, np.float32),
        np.empty(ROWS, np.float32),
        np.empty(ROWS, np.int32),
    )
    threshold, own_limits, own_reach, u = of_rows[0], of_rows[1], of_rows[2], of_rows[3]
    open_rows, place = numbers[0], numbers[1:].ravel()
    d, k = X.shape[1], len(centroids)
    until = readable(X, plain)
    ask, survived, waits, undecided = True, 0, 0, 0
    few, left, beyond = False, k, FARTHEST
    start = first - ROWS
    while start + ROWS < last:
        start += ROWS
        count = min(ROWS, last - start)
        if around is not None and start % BLOCK == 0:
            box = start // BLOCK
            few = ask
            if ask:
                left = survivors(around[0], box, boxes, at, bars, listed)
                listed[left : left + GROUP] = k
                survived += left
                ask = 2 * survived * BLOCK <= k * (start + BLOCK - first)
                if left == 1:
                    stop, only = min(start + BLOCK, last), listed[0]
                    if around[1][box] != only:
                        around[1][box] = only
                        for row in range(start, stop):
                            if changes is None:
                                labels[row] = only
                            elif labels[row] != only:
                                changes[0][changed], changes[1][changed] = row, only
                                changed += 1
                    start = stop - ROWS
                    continue
            around[1][box] = -1
        best[:] = FAR
        second[:] = FAR
        label[:] = 0
        if keep is not None and len(rows):
            fill_listed(X, packed, rows, start, count, strip, place)
        elif start + ROWS <= until:
            at_row = X.ctypes.data + X.itemsize * d * start
            pack_rows(at_row, X.itemsize, shift.ctypes.data, scale, strip.ctypes.data, d)
        else:
            pack_strip(X, shift, scale, start, count, strip)
        square_strip(strip.ctypes.data, operand[k].ctypes.data, squares.ctypes.data, d)
        if keep is not None:
            few = len(between) > 0
            if few:
                square_strip(strip.ctypes.data, operand[cluster].ctypes.data, u.ctypes.data, d)
                radius = np.float32(0)
                for i in range(ROWS):  # the last row is in all lanes that have none
                    radius = max(radius, np.sqrt(u[i]) + per_square * (np.sqrt(u[i]) + np.sqrt(squares[i])))
                radius *= np.float32(2.00001)
                left, beyond = within(between[cluster], radius, listed)
                listed[left : left + GROUP] = k
                beyond = beyond - radius if left < k else FARTHEST
        if few:
            for g in range(0, left, GROUP):
                score_listed(
                    strip.ctypes.data,
                    operand.ctypes.data,
                    base.ctypes.data,
                    best.ctypes.data,
                    second.ctypes.data,
                    label.ctypes.data,
                    listed.ctypes.data + 4 * g,
                    d,
                )
        else:
            for g in range(len(tiles)):
                score_tile(
                    strip.ctypes.data,
                    tiles.ctypes.data + 4 * GROUP * d * g,
                    base.ctypes.data + 4 * GROUP * g,
                    best.ctypes.data,
                    second.ctypes.data,
                    label.ctypes.data,
                    np.int32(g * GROUP),
                    d,
                )
        several = np.int32(0)
        for i in range(ROWS):  # not count: a few vectors, then; the last row is in all lanes that have none
            squares[i] = squares[i] * per_square + tiny
            centroid_part = best[i] * kappa20 + np.float32(12.5) * squares[i]
            centroid_part = centroid_part if centroid_part < most else most
            best[i] += centroid_part + np.float32(1.25) * squares[i]
            several = np.int32(several + np.int32(second[i] <= best[i]))
        if keep is not None:
            limits, reach, drift, (half, less, off) = keep
            if len(limits):
                for i in range(count):  # see `bounds.Part.write`
                    g, h = max(second[i] - best[i], np.float32(0)), max(squares[i] * half + best[i], np.float32(0))
                    wide = np.sqrt(g + h)
                    gap = less * (g / max(wide + np.sqrt(h), SMALLEST)) - off * wide
                    gap = gap if gap < beyond else beyond
                    own_limits[i] = (gap + drift[label[i]]) * DOWN if g > np.float32(0) else NEVER
                    own_reach[i] = np.sqrt(h + h)
                for i in range(count):
                    row = rows[start + i] if len(rows) else start + i
                    limits[row], reach[row] = own_limits[i], own_reach[i]
        if changes is None:
            found = labels[start : start + count]  # indices cannot be negative
            if count == ROWS:
                for i in range(ROWS):
                    found[i] = label[i]
            else:
                for i in range(count):
                    found[i] = label[i]
        if several:
            for i in range(count):
                if second[i] > best[i]:
                    continue
                undecided += 1
                row = start + i
                if keep is not None:
                    row = rows[start + i] if len(rows) else start + i
                if changes is not None:
                    label[i] = labels[row]  # until it is settled
                open_rows[waits], threshold[waits] = row, best[i]
                for f in range(d):
                    waiting[f, waits] = np.float32((np.float64(X[row, f]) - shift[f]) * scale)
                waits += 1
                if waits == ROWS:
                    settle(X, open_rows, threshold, waiting, tiles, base, centroids, factor, scores, settled)
                    changed = take_settled(open_rows, settled, labels, changes, changed)
                    waits = 0
        if changes is None:
            continue
        if (keep is not None and len(rows)) or count < ROWS:
            for i in range(count):
                row = start + i
                if keep is not None:
                    row = rows[start + i] if len(rows) else start + i
                if label[i] != labels[row]:
                    changes[0][changed], changes[1][changed] = row, label[i]
                    changed += 1
        else:
            for lane in range(0, ROWS, LANES):
                bits = lanes_differ(label.ctypes.data + 4 * lane, labels.ctypes.data + 4 * (start + lane))
                while bits:
                    i = lane + lowest_bit(bits)
                    bits &= bits - 1
                    changes[0][changed], changes[1][changed] = start + i, label[i]
                    changed += 1
    if waits:
        threshold[waits:] = -FAR
        settle(X, open_rows[:waits], threshold, waiting, tiles, base, centroids, factor, scores, settled)
        changed = take_settled(open_rows[:waits], settled, labels, changes, changed)
    return undecided, changed


def assign(X: NDArray, packed: Packed, labels: NDArray[np.int32]) -> int:
    """Label a block of rows X (m, d) float32|float64, C-contiguous; returns how many had to be settled."""
    scratch = scratch_for(X.shape[1], len(packed.centroids))
    keep = keep_of(None, len(packed.centroids), X.shape[1])
    rows, around = (X, IN_ORDER, 0, len(X)), None
    if packed.boxes.asked and len(packed.centroids) >= LEAST_CENTROIDS:
        around = boxes_of(X, packed.shift, packed.scale), np.full(-(-len(X) // BLOCK), -1, np.int32)
    return int(assign_rows(*rows, packed.arguments, labels, None, 0, keep, NOTHING, -1, around, scratch)[0])
