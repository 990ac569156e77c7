"""assign, Numba engine: scores in registers, the certificate from the two least, what is open settled by D.

Rows are taken ROWS at a time: centred and transposed into a strip (in the first-level cache), scored against all
centroids by `score_tile`, certified from the least and the second least score (`gpukm.exact`, point 2). For the few
rows whose second is too near scores are computed once more, and the centroids within the margin compared.

Cost of a strip: 2 ROWS k d FLOP; nothing of n x k is stored.
"""

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpukm.kernels.bounds import DOWN, FARTHEST, NEVER, NOTHING, SMALLEST, Part, factors, may_pay
from gpukm.kernels.boxes_numba import MOST_FEATURES, STRIPS, box_of, survivors
from gpukm.kernels.jit_numba import ANY_ORDER, FUSED, jit
from gpukm.kernels.strips_numba import FAR, Packed, fill_listed, fill_strip, strip_for
from gpukm.kernels.vectors_numba import (
    GROUP,
    LANES,
    ROWS,
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

    `threshold` (ROWS,) is below all scores in lanes that have no row.
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
                        exact[i] = distance(x, centroids[labels[open_rows[i]]])
                    D = distance(x, c)
                    if D >= exact[i]:
                        continue
                    exact[i] = D
                nearest[i] = min(other, nearest[i])
                labels[open_rows[i]] = at + u


NO_FLOATS, IN_ORDER = np.empty(0, np.float32), np.empty(0, np.int64)
NO_LIMITS = NO_FLOATS, NO_FLOATS, NO_FLOATS, factors(1)


def keep_of(bounds: Part | None, n_clusters: int, n_features: int) -> tuple | None:
    """What `assign_rows` takes to write limits and reach: None where they never are, empty where they are not now."""
    if not may_pay("numba", n_clusters, n_features):
        return None
    if bounds is None:
        return NO_LIMITS
    return bounds.limits, bounds.reach, bounds.drift, factors(n_features)


def scratch_for(d: int, k: int, dtype: DTypeLike) -> tuple:
    """What `assign_rows` writes to; made by NumPy, since Numba takes a tenth of a second to compile each `np.empty`."""
    strips = strip_for.py_func(d), strip_for.py_func(d), np.empty((GROUP, ROWS), np.float32)
    of_rows = np.empty((4, ROWS), np.float32), np.empty((3, ROWS), np.int64)
    beside = np.empty(LANES * d, dtype), np.empty(LANES * d, dtype)
    sides = np.zeros((3, max(d, MOST_FEATURES)), np.float32)
    of_boxes = np.empty(k + LANES, np.float32), np.empty(LANES, np.float32), sides, beside
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


@jit(FUSED)
def assign_rows(X, rows, first, last, packed, labels, keep, between, cluster, scratch):
    """Label the rows `first` to `last` of X (m, d) float32|float64; returns how many had to be settled.

    `packed` is `Packed.arguments`; `labels` (m,) as in `assign`; `keep` as from `keep_of`. Only if that is not None the
    others are looked at: if `rows` is not empty, it lists the rows of X that `first` and `last` count. Where `between`
    (k, k) is not empty, all rows had the label `cluster`, and centroids farther from that one than twice a row are left
    out. Numba compiles what a keep of None needs without the rest, and what another needs without the boxes.
    """
    shift, scale, _, tiles, base, centroids, of_scores, boxes, operand = packed
    kappa20, most, factor, per_square, tiny = of_scores
    (strip, waiting, scores), (of_rows, numbers), (at, bars, sides, (lows, highs)), listed = scratch
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
    ask, survived, waits, undecided = boxes[0].shape[1] > 0, 0, 0, 0
    few, left, beyond = False, k, FARTHEST
    for start in range(first, last, ROWS):
        count = min(ROWS, last - start)
        best[:] = FAR
        second[:] = FAR
        label[:] = 0
        if keep is None:
            fill_strip(X, packed, start, strip)
            if ask and (start - first) % (STRIPS * ROWS) == 0:
                box_of(X, packed, start, min(start + STRIPS * ROWS, last), sides, lows, highs)
                left = survivors(sides, boxes, at, bars, listed)
                listed[left : left + GROUP] = k
                survived += left
                ask = 2 * survived * STRIPS * ROWS <= k * (start + STRIPS * ROWS - first)
                few = ask
        elif len(rows):
            fill_listed(X, packed, rows, start, count, strip, place)
        else:
            fill_strip(X, packed, start, strip)
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
                    tiles[g].ctypes.data,
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
        if keep is None or len(rows) == 0:
            found = labels[start : start + count]  # indices cannot be negative
            if count == ROWS:
                for i in range(ROWS):
                    found[i] = label[i]
            else:
                for i in range(count):
                    found[i] = label[i]
        else:
            for i in range(count):
                labels[rows[start + i]] = label[i]
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
        if several == 0:
            continue
        for i in range(count):
            if second[i] > best[i]:
                continue
            undecided += 1
            row = start + i
            if keep is not None:
                row = rows[start + i] if len(rows) else start + i
            open_rows[waits], threshold[waits] = row, best[i]
            for f in range(d):
                waiting[f, waits] = np.float32((np.float64(X[row, f]) - shift[f]) * scale)
            waits += 1
            if waits == ROWS:
                settle(X, open_rows, threshold, waiting, tiles, base, centroids, factor, scores, labels)
                waits = 0
    if waits:
        threshold[waits:] = -FAR
        settle(X, open_rows[:waits], threshold, waiting, tiles, base, centroids, factor, scores, labels)
    return undecided


def assign(X: NDArray, packed: Packed, labels: NDArray[np.int32]) -> int:
    """Label a block of rows X (m, d) float32|float64, C-contiguous; returns how many had to be settled."""
    scratch = scratch_for(X.shape[1], len(packed.centroids), X.dtype)
    keep = keep_of(None, len(packed.centroids), X.shape[1])
    return int(assign_rows(X, IN_ORDER, 0, len(X), packed.arguments, labels, keep, NOTHING, -1, scratch))
