"""assign, Numba engine: scores in registers, the certificate from the two least, what is open settled by D.

Rows are taken ROWS at a time: centred and transposed into a strip (in the first-level cache), scored against all
centroids by `score_tile`, certified from the least and the second least score (`gpukm.exact`, point 2). For the few
rows whose second is too near scores are computed once more, and the centroids within the margin compared.

Cost of a strip: 2 ROWS k d FLOP; nothing of n x k is stored.
"""

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels.bounds import DOWN, FARTHEST, NEVER, SMALLEST, UP, Part, factors
from gpukm.kernels.boxes_numba import STRIPS, box_of, survivors
from gpukm.kernels.jit_numba import ANY_ORDER, FUSED, jit
from gpukm.kernels.strips_numba import FAR, Packed, fill_strip, strip_for
from gpukm.kernels.vectors_numba import GROUP, ROWS, score_listed, score_tile, square_strip, store_tile


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

    Centroids come in order of number. One that is clearly nearer than the nearest so far, by a sum in any order,
    replaces it, one clearly farther is passed over; between the two D decides, and of equal D the first stays.
    """
    count, k, d = len(open_rows), len(centroids), X.shape[1]
    nearest = np.full(count, np.inf)  # any_order
    exact = np.full(count, -1.0)  # D, once it was needed
    found = np.empty(count + 1, np.int64)
    for g in range(len(tiles)):
        at = g * GROUP
        store_tile(strip.ctypes.data, tiles[g].ctypes.data, base[at:].ctypes.data, scores.ctypes.data, d)
        for u in range(min(GROUP, k - at)):
            hits = 0
            for i in range(count):
                found[hits] = i
                hits += scores[u, i] <= threshold[i]
            for i in found[:hits]:
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


NO_FLOATS = np.empty(0, np.float32)
NO_LIMITS = NO_FLOATS, NO_FLOATS, NO_FLOATS, NO_FLOATS, factors(1)


def keep_of(bounds: Part | None, n_features: int) -> tuple:
    """What `assign_rows` takes to write limits and reach, or that it writes none."""
    if bounds is None:
        return NO_LIMITS
    return bounds.limits, bounds.reach, bounds.drift, bounds.own, factors(n_features)


@jit()
def scratch_for(d, k):
    """What `assign_rows` writes to."""
    strips = strip_for(d), strip_for(d), np.empty((GROUP, ROWS), np.float32)
    of_rows = (
        np.empty(ROWS, np.float32),
        np.empty(ROWS, np.float32),
        np.empty(ROWS, np.int32),
        np.empty(ROWS, np.float32),
    )
    waiting = np.empty(ROWS, np.int64), np.empty(ROWS, np.float32)
    of_boxes = np.empty(k, np.float32), np.empty(k, np.float32), np.empty((3, d), np.float32)
    return strips, of_rows, waiting, of_boxes, np.empty(k + GROUP, np.int32)


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
def assign_rows(X, first, last, packed, labels, keep, around, radii, scratch):
    """Label the rows `first` to `last` of X (m, d) float32|float64; returns how many had to be settled.

    `packed` is `Packed.arguments`; `labels` (m,) as in `assign`; `keep` as from `keep_of`. Where
    `around` (k,) is not empty, it holds the distances from some centroid to all, at most, and `radii` (m,) the rows'
    to that one, at least.
    """
    shift, scale, _, tiles, base, centroids, limits_of_scores, boxes, operand = packed
    kappa20, most, factor, per_square, tiny = limits_of_scores
    limits, reach, drift, own, (half, less, off) = keep
    (strip, waiting, scores), (best, second, label, rows_part), (open_rows, threshold), (at, cost, sides), listed = (
        scratch
    )
    d, k = X.shape[1], len(centroids)
    ask, survived, waits, undecided = boxes[0].shape[1] > 0, 0, 0, 0
    left, beyond = k, FARTHEST
    for start in range(first, last, ROWS):
        count = min(ROWS, last - start)
        best[:] = FAR
        second[:] = FAR
        label[:] = 0
        fill_strip(X, packed, start, strip)
        if ask and (start - first) % (STRIPS * ROWS) == 0:
            box_of(X, packed, start, min(start + STRIPS * ROWS, last), sides)
            left = survivors(sides, boxes, at, cost, listed)
            listed[left : left + GROUP] = k
            survived += left
            ask = 2 * survived * STRIPS * ROWS <= k * (start + STRIPS * ROWS - first)
        if len(around):
            radius = radii[start]
            for i in range(start, start + count):
                radius = max(radius, radii[i])
            radius = np.float32(2.000004) * radius
            left, beyond = within(around, radius, listed)
            listed[left : left + GROUP] = k
            beyond = beyond - radius if left < k else FARTHEST
        if ask or len(around):
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
        several = 0
        found = labels[start : start + count]  # indices cannot be negative
        square_strip(strip.ctypes.data, rows_part.ctypes.data, d)
        for i in range(count):
            rows_part[i] = rows_part[i] * per_square + tiny
            centroid_part = best[i] * kappa20 + np.float32(12.5) * rows_part[i]
            centroid_part = centroid_part if centroid_part < most else most
            best[i] += centroid_part + np.float32(1.25) * rows_part[i]
            found[i] = label[i]
            several += second[i] <= best[i]
        if len(limits):
            own_limits, own_reach = limits[start : start + count], reach[start : start + count]
            for i in range(count):  # see `bounds.Part.write`
                g, h = max(second[i] - best[i], np.float32(0)), max(rows_part[i] * half + best[i], np.float32(0))
                wide = np.sqrt(g + h)
                gap = less * (g / max(wide + np.sqrt(h), SMALLEST)) - off * wide
                gap = gap if gap < beyond else beyond
                decided = g > np.float32(0)
                own_limits[i] = (gap + drift[found[i]]) * DOWN if decided and not ask else NEVER
                own_reach[i] = np.sqrt(h + h) * UP - own[found[i]] * DOWN if decided else FARTHEST
        if several == 0:
            continue
        undecided += several
        for i in range(count):
            if second[i] > best[i]:
                continue
            open_rows[waits], threshold[waits] = start + i, best[i]
            for f in range(d):
                waiting[f, waits] = np.float32((np.float64(X[start + i, f]) - shift[f]) * scale)
            waits += 1
            if waits == ROWS:
                settle(X, open_rows, threshold, waiting, tiles, base, centroids, factor, scores, labels)
                waits = 0
    if waits:
        settle(X, open_rows[:waits], threshold, waiting, tiles, base, centroids, factor, scores, labels)
    return undecided


def assign(X: NDArray, packed: Packed, labels: NDArray[np.int32]) -> int:
    """Label a block of rows X (m, d) float32|float64, C-contiguous; returns how many had to be settled."""
    scratch = scratch_for(X.shape[1], len(packed.centroids))
    return int(assign_rows(X, 0, len(X), packed.arguments, labels, NO_LIMITS, NO_FLOATS, NO_FLOATS, scratch))
