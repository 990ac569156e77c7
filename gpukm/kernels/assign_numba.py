"""assign, Numba engine: scores in registers, the certificate from the two least, what is open settled by D.

Rows are taken ROWS at a time: centred and transposed into a strip (in the first-level cache), scored against all
centroids by `score_tile`, certified from the least and the second least score (`gpukm.exact`, point 2); narrow rows
against few centroids by `label_narrow`, others in 16-bit integers first where that pays (`int16_numba`). For the few
rows whose second is too near scores are computed once more, and the centroids within the margin compared (`settle`).

Cost of a strip: 2 ROWS k d FLOP; nothing of n x k is stored.
"""

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels.bounds import DOWN, FARTHEST, NEVER, NOTHING
from gpukm.kernels.bounds_numba import begin_about, bring_about, keep_of, strip_limits, within
from gpukm.kernels.boxes_numba import BLOCK, boxes_of, survivors, survivors_of_several
from gpukm.kernels.int8_numba import NOT_KEPT, score_kept
from gpukm.kernels.int16_numba import KAPPA, MOST_UNITS, score_strip
from gpukm.kernels.jit_numba import FUSED, jit
from gpukm.kernels.narrow_numba import MOST, NUMBERS, ONE, SIDE, label_narrow
from gpukm.kernels.pairs_numba import copy_strip, greatest_of_strip, lanes_left
from gpukm.kernels.settle_numba import add_square, settle, take_settled
from gpukm.kernels.stands_numba import limit_of_strip, no_limits
from gpukm.kernels.strips_numba import FAR, Packed, fill_listed, pack_rows, pack_strip, readable, scratch_for
from gpukm.kernels.transpose_numba import QUAD, prefetch
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
)

LEAST_CENTROIDS = 64  # from which on boxes pay that are found for one look at the rows
SPARED = ROWS // 4  # rows of a strip that may be open after it was scored in 16 bits, for that to be faster
FAR_OFF = np.float32(2.0**60)  # rows so long might overflow what is made of scores in 16 bits
ALL = (1 << ROWS) - 1  # rows of a strip, as bits
IN_ORDER = np.empty(0, np.int64)


@jit(FUSED)
def assign_rows(
    X, rows, first, last, packed, labels, changes, changed, keep, between, cluster, around, kept, stands, scratch
):
    """Label the rows `first` to `last` of X (m, d) float32|float64; returns (how many had to be settled, `changed`).

    `packed` is `Packed.arguments`. The labels are written to `labels` (m,); or, where `changes` is not None but a row
    number and a label for each row at most, only those that differ from `labels` are, to places `changed` and on.
    `keep` is as from `keep_of`. Only if that is not None the others are looked at: if `rows` is not empty, it lists the
    rows of X that `first` and `last` count. Where `between` (k, k) is not empty, all rows had the label `cluster`, and
    centroids farther from that one than twice a row are left out. `around` is None or (boxes, as from `boxes_of`; the
    label of each BLOCK rows of X, -1 where they may differ: brought up to date); then `first` begins one of them, and
    `keep` is None. `kept` is NOT_KEPT, or as from `int8_numba.KeptRows.part` and `first` a multiple of ROWS. `stands`
    are as from `no_limits`, or hold limits, and nothing else is known of rows. Numba compiles what a None needs without
    the rest.
    """
    shift, scale, plain, tiles, base, centroids, of_scores, boxes, operand, of_words = packed
    fresh = operand[:0]  # not in tiles yet
    words, begins, own_part, far, terms = of_words
    strips, kept_squares, kept_words, kept_begun, kept_own, kept_terms, _, _ = kept
    kappa20, most, factor, per_square, tiny = of_scores
    of_strips, (of_rows, numbers, settled), of_boxes, listed, narrow, about = scratch
    (strip, waiting, scores), (rounded, begun, least) = of_strips
    # Made here, so that the compiler knows that none of them is part of another.
    best, second, squares, label = (
        np.empty(ROWS, np.float32),
        np.empty(ROWS, np.float32),
        np.empty(ROWS, np.float32),
        np.empty(ROWS, np.int32),
    )
    threshold, own_limits, own_reach = of_rows[0], of_rows[1], of_rows[2]
    open_rows, place = numbers[0], numbers[1:].ravel()
    d, k = X.shape[1], len(centroids)
    until = readable(X, plain)
    ask, survived, waits, undecided, several = True, 0, 0, 0, 0
    few, left, beyond = False, k, FARTHEST
    in_words, credit, longest, unit, of_strip = False, 0, FAR, FAR, FAR
    of_few, names, stored = narrow
    # Addresses, as to choose between arrays would count them in and out.
    of_all = operand.ctypes.data, base.ctypes.data, names.ctypes.data
    words_at = words.ctypes.data, begins.ctypes.data, rounded.ctypes.data, begun.ctypes.data, least.ctypes.data
    found_at = best.ctypes.data, second.ctypes.data, label.ctypes.data
    near, few_at = of_all, (of_few[0].ctypes.data, of_few[1].ctypes.data, of_few[2].ctypes.data)
    most_narrow = MOST if d <= QUAD and k <= NUMBERS else 0
    if around is not None:
        sides, same = around
        share, united = boxes[3], 0
        _, at, bars, near_columns, near_low, near_high, numbered = of_boxes
    exact_share = np.float32(1.01 * KAPPA / per_square)  # of what is allowed for roundings
    has_words, has_kept = len(words) > 0, len(strips) > 0
    limit_of, drifted, asked, of_gaps = stands
    if keep is not None:
        limits, reach, drift, (half, less, off) = keep
        has_kept &= len(rows) == 0
        if len(between):  # in the frame about that centroid, where rows are short, hardly any is left open
            kappa, most = np.float64(kappa20) * (0.05 * (1 + 1e-6)), FAR
            (shift, tiles, operand, base), fresh = about, about[2]
            begin_about(cluster, centroids, shift, base)
    own_part, top = (kept_own, kept_terms[1]) if has_kept else (own_part, terms[3])
    kept_at = strips.ctypes.data, kept_squares.ctypes.data, kept_words.ctypes.data, kept_begun.ctypes.data
    kept_sizes = len(kept_words), strips.shape[1]
    start = first - ROWS
    while start + ROWS < last:
        start += ROWS
        count = min(ROWS, last - start)
        if asked and limit_of[start // ROWS] > drifted:
            continue
        if around is not None and start % BLOCK == 0:
            box = start // BLOCK
            few, left, near = ask, k, of_all
            if ask:
                if box >= united:
                    united, nearby = survivors_of_several(sides, box, boxes, of_boxes)
                left = survivors(sides, box, near_columns, near_low, near_high, share, nearby, at, bars, listed)
                for j in range(left):
                    listed[j] = numbered[listed[j]]
                listed[left : left + GROUP] = k
                survived += left
                ask = 2 * survived * BLOCK <= k * (start + BLOCK - first)
                if left == 1:
                    stop, only = min(start + BLOCK, last), listed[0]
                    if same[box] != only:
                        same[box] = only
                        for row in range(start, stop):
                            if changes is None:
                                labels[row] = only
                            elif labels[row] != only:
                                changes[0][changed], changes[1][changed] = row, only
                                changed += 1
                    start = stop - ROWS
                    continue
            same[box] = -1
            if few and left <= most_narrow:
                near = few_at
                for j in range(-(-left // SIDE) * SIDE):  # those at the end of the list, beyond the survivors, are FAR
                    z = listed[j]
                    for f in range(d):
                        of_few[0][j * d + f] = operand[z, f]
                    of_few[1][j], of_few[2][j] = base[z], z + ONE
        in_bytes = has_kept and credit >= 0
        if keep is not None and len(rows):
            fill_listed(X, shift, scale, plain, rows, start, count, strip, place)
        elif in_bytes:
            pass
        elif start + ROWS <= until:
            at_row = X.ctypes.data + X.itemsize * d * start
            if around is not None:  # boxes that are passed over make the processor lose track
                pitch = X.itemsize * d
                for line in range(BLOCK * pitch, (BLOCK + ROWS) * pitch, 64):
                    prefetch(at_row + line)
            pack_rows(at_row, X.itemsize, shift.ctypes.data, scale, strip.ctypes.data, d)
        else:
            pack_strip(X, shift, scale, start, count, strip)
        scored = keep is None and left <= most_narrow
        if scored:
            padded, own = -(-left // SIDE) * SIDE, (stored.ctypes.data, label.ctypes.data, best.ctypes.data)
            several = label_narrow(strip.ctypes.data, *near, padded, kappa20, most, per_square, tiny, *own, d)
            if asked:
                found = strip.ctypes.data, own[0], own[2], padded, per_square, tiny
                limit = NEVER if several else limit_of_strip(*found, of_gaps, drifted, second.ctypes.data, d)
                limit_of[start // ROWS] = limit
        else:
            best[:] = FAR
            second[:] = FAR
            label[:] = 0
            if in_bytes:
                copy_strip(kept_at[1] + 4 * start, squares.ctypes.data)
            else:
                square_strip(strip.ctypes.data, operand.ctypes.data + 4 * d * k, squares.ctypes.data, d)
            if keep is not None:
                few = len(between) > 0
                if few:
                    longest = np.sqrt(greatest_of_strip(squares.ctypes.data))
                    radius = (longest + np.float32(2) * per_square * longest) * np.float32(2.00001)
                    left, beyond = within(between, cluster, radius, listed)
                    bring_about(cluster, listed, left, centroids, scale, kappa, operand, base)
                    listed[left : left + GROUP] = k
                    beyond = beyond - radius if left < k else FARTHEST
            in_words = in_bytes or (has_words and not has_kept and not few and credit >= 0)
            if in_bytes:
                unit, of_strip = kept_terms[0], np.float32(0)
            elif in_words:
                longest = max(np.sqrt(greatest_of_strip(squares.ctypes.data)), terms[0])
                unit = longest * terms[1]
                in_words = longest < FAR_OFF and terms[4] < MOST_UNITS * unit
                of_strip = terms[2] * longest * longest
            credit = min(credit + (SPARED if in_words else 1), ROWS)  # each row left open costs one, below
            to_listed, n_listed = listed.ctypes.data, left if few else 0
            if in_bytes:
                own_strip = kept_at[0] + 2 * kept_sizes[1] * start
                score_kept(own_strip, unit, kept_at[2], kept_at[3], least.ctypes.data, *kept_sizes, *found_at)
            elif in_words:
                sizes = len(words), words.shape[1]
                score_strip(strip.ctypes.data, longest, unit, *words_at, *sizes, *found_at)
                to_listed, n_listed = far.ctypes.data, far[k + GROUP]
            elif not few:
                for g in range(len(tiles)):
                    own = tiles.ctypes.data + 4 * GROUP * d * g, base.ctypes.data + 4 * GROUP * g
                    score_tile(strip.ctypes.data, *own, *found_at, np.int32(g * GROUP), d)
            for g in range(0, n_listed, GROUP):
                own = operand.ctypes.data, base.ctypes.data
                score_listed(strip.ctypes.data, *own, *found_at, to_listed + 4 * g, d)
            several = 0
            if in_words:
                of_strip += np.float32(2 * GROUP) * unit + top
                own_bars = second.ctypes.data, best.ctypes.data, squares.ctypes.data
                several = lanes_left(*own_bars, per_square, tiny, exact_share, of_strip)
            else:
                for i in range(ROWS):  # not count: a few vectors, then; the last row is in all lanes that have none
                    squares[i] = squares[i] * per_square + tiny
                    centroid_part = best[i] * kappa20 + np.float32(12.5) * squares[i]
                    centroid_part = centroid_part if centroid_part < most else most
                    best[i] += centroid_part + np.float32(1.25) * squares[i]
                for lane in range(0, ROWS, LANES):
                    several |= lanes_within(second.ctypes.data + 4 * lane, best.ctypes.data + 4 * lane) << lane
        if keep is not None:
            if len(limits):
                strip_limits(best, second, squares, label, count, drift, half, less, off, beyond, own_limits, own_reach)
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
        while several:
            i = lowest_bit(several)
            several &= several - 1
            if in_words:  # not the greatest of all centroids' shares, but its own
                best[i] -= (top - own_part[label[i]]) * DOWN
            if i < count and (not in_words or second[i] <= best[i]):
                undecided += 1
                credit -= in_words
                row = start + i
                if keep is not None:
                    row = rows[start + i] if len(rows) else start + i
                elif scored:  # the scores are there: settled at once
                    nearest = np.inf
                    for j in range(left):
                        if stored[j, i] <= best[i]:
                            z, D = listed[j] if few else j, 0.0
                            for f in range(d):
                                D = add_square(D, np.float64(X[row, f]) - centroids[z, f])
                            if D < nearest:
                                nearest, label[i] = D, z
                    if changes is None:
                        labels[row] = label[i]
                    continue
                if changes is not None:
                    label[i] = labels[row]  # until it is settled
                open_rows[waits], threshold[waits] = row, best[i]
                if in_words:
                    threshold[waits] += squares[i]  # as scores in float32 err by more
                for f in range(d):
                    waiting[f, waits] = np.float32((np.float64(X[row, f]) - shift[f]) * scale)
                waits += 1
                if waits == ROWS:
                    settle(X, open_rows, threshold, waiting, fresh, tiles, base, centroids, factor, scores, settled)
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
            bits = 0  # of all lanes at once: each loop whose length varies costs as much as scoring some centroids
            for lane in range(0, ROWS, LANES):
                bits |= lanes_differ(label.ctypes.data + 4 * lane, labels.ctypes.data + 4 * (start + lane)) << lane
            if bits == ALL:
                listed_rows, to = changes[0][changed : changed + ROWS], changes[1][changed : changed + ROWS]
                for i in range(ROWS):  # of which the compiler knows that indices are not negative
                    listed_rows[i], to[i] = start + i, label[i]
                changed += ROWS
                bits = 0
            while bits:
                i = lowest_bit(bits)
                bits &= bits - 1
                changes[0][changed], changes[1][changed] = start + i, label[i]
                changed += 1
    if waits:
        threshold[waits:] = -FAR
        settle(X, open_rows[:waits], threshold, waiting, fresh, tiles, base, centroids, factor, scores, settled)
        changed = take_settled(open_rows[:waits], settled, labels, changes, changed)
    return undecided, changed


def assign(X: NDArray, packed: Packed, labels: NDArray[np.int32]) -> int:
    """Label a block of rows X (m, d) float32|float64, C-contiguous; returns how many had to be settled."""
    scratch = scratch_for(X.shape[1], len(packed.centroids), X.dtype)
    keep = keep_of(None, len(packed.centroids), X.shape[1])
    rows, around = (X, IN_ORDER, 0, len(X)), None
    if packed.boxes.asked and len(packed.centroids) >= LEAST_CENTROIDS:
        around = boxes_of(X, packed.shift, packed.scale), np.full(-(-len(X) // BLOCK), -1, np.int32)
    nothing = NOTHING, -1, around, NOT_KEPT, no_limits(X.shape[1])
    return int(assign_rows(*rows, packed.arguments, labels, None, 0, keep, *nothing, scratch)[0])
