"""int16, Numba engine: a filter before the filter, for processors that multiply and add pairs of 16-bit integers.

Such a processor (VNNI) adds products of two pairs of int16 to an int32 in one instruction, LANES rows at a time: twice
as many products as of float32, and exact. What is more, scores are integers: least and second least are kept by minima
alone, as the lowest bits of a score name its centroid. With x', c' as in `gpukm.exact`, point 2, r for the ROWS rows of
a strip, and q for all centroids, the integers are

    X = rint(x' N / r),    C_k = rint(c'_k / q),    and scores count in units of r q / N.

Centroids much longer than most (alone with a far row, say) would make q, and every error, too large. They are `far`:
scored in float32. Let L be the length of the longest of the others.

*Overflow.* r is at least L and the longest of the rows, but for 2^-11 of it, as features are at most MOST; q is at
least L / M. By Cauchy and Schwarz |X.C_k| <= (N (1 + 2^-11) + sqrt(d)/2) (M + sqrt(d)/2), and |c'_k|^2 / 2 counts at
most N M / 2: together less than 2^31. Partial sums may wrap around: integers do not mind. No entry reaches 2^15. What
is taken off scores (o_k / 2, below) counts less than MOST_UNITS, or the strip is scored in float32.

*Error.* x' is (r / N) X but for (r / N) sqrt(d)/2 in length, and c'_k is q C_k but for e_k, which is measured. So
x'.c'_k is (r q / N) X.C_k but for r h_k, with h_k = sqrt(d)/2 (|c'_k| + e_k) / N + e_k (1 + 2^-11). Sums are exact:
what is rounded to float32, the row, the score and the bar, is within 6u (|x'|^2 + |c'_k|^2) of what it should be,
whatever d, and kappa is KAPPA here, 16u, which covers D's own roundings, too. To cut |c'_k|^2 / 2 to an integer and to
name a score takes GROUP units. For any tau, r h_k <= (tau r^2 + h_k^2 / tau) / 2. Half of o_k = h_k^2 / tau + 2 kappa
|c'_k|^2 is taken off the score: l_k = s_k - o_k / 2, as is done in float32 with h_k = 0; let b have the least. Then k
can have D no greater than b's only if

    l_k <= l_b + tau r^2 + kappa' |x'|^2 + 2 GROUP r q / N + o_b + TINY.

tau is about h / r of most. What is left open is scored again in float32 (`settle`), where that bar holds, too, once it
allows for the roundings of scores in float32: b's score cannot truly be above it. Rows whose distances differ by less,
of what there are many among image patches, would all be scored twice: `assign_rows` goes back to float32 where many are
left open.
"""

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import U32, margin
from gpukm.kernels.boxes_numba import FAR
from gpukm.kernels.jit_numba import jit
from gpukm.kernels.pairs_numba import begin_words, forget_strip, keep_in_floats, pairs_pay, round_strip, score_words
from gpukm.kernels.transpose_numba import QUAD
from gpukm.kernels.vectors_numba import GROUP, ROWS

N, M = 26700, 53400
KAPPA = margin(4, U32)
FARTHER = 4  # times as long as most: such a centroid is far
LEAST_CENTROIDS = 32  # with fewer, rounding a row costs what it spares
MOST = 1 << 14  # features
MOST_UNITS = np.float32(2.0**24)


def words_for(k: int, d: int) -> tuple:
    """What `pack_words` writes to; nothing, where float32 is to score all rows.

    Returns
    -------
    words : (groups, pairs of features, GROUP, 2) int16, -C in tiles
    begins : (groups * GROUP,) float32, |c'|^2 / 2 - o / 2
    own_part : (k,) float32, o
    far : (k + GROUP + 1,) int32, the far centroids, then k as often as makes a GROUP; how many they are comes last
    terms : (5,) float32: L, q / N, tau, the greatest o, and the greatest of centroids that are not far
    """
    groups = -(-k // GROUP) if QUAD < d <= MOST and k >= LEAST_CENTROIDS and pairs_pay() else 0
    words, begins = np.zeros((groups, (d + 1) // 2, GROUP, 2), np.int16), np.full(groups * GROUP, FAR)
    return words, begins, np.zeros(k, np.float32), np.full(k + GROUP + 1, k, np.int32), np.zeros(5, np.float32)


def rounded_for(d: int, k: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Scratch of `score_strip`: a strip of pairs for rows of d features, k integers, and best and second of a strip."""
    whole = -(-k // GROUP) * GROUP
    return np.zeros(((d + 1) // 2, ROWS), np.int32), np.zeros(whole, np.int32), np.zeros((2, ROWS), np.int32)


@jit()
def pack_words(centroids, shift, scale, typical, packed):
    """Round the `centroids` (k, d) float64, where most rows are about `typical` long; `packed` is from `words_for`."""
    words, begins, own, far, terms = packed
    k, d = centroids.shape
    roots = 0.0
    for j in range(k):
        squares = 0.0
        for f in range(d):
            squares += ((centroids[j, f] - shift[f]) * scale) ** 2
        own[j] = np.float32(squares)
        roots += np.sqrt(np.sqrt(squares))
    most = (roots / k) ** 2  # are about so long
    limit, longest, greatest, n_far = (FARTHER * most) ** 2, 0.0, 0.0, 0
    for j in range(k):
        if own[j] > limit:
            far[n_far] = j
            n_far += 1
            continue
        longest = max(longest, np.float64(own[j]))
        for f in range(d):
            greatest = max(greatest, abs((centroids[j, f] - shift[f]) * scale))
    far[n_far : n_far + GROUP], far[k + GROUP] = k, n_far
    L = max(np.sqrt(longest) * (1 + 2.0**-20), 2.0**-40)
    q = max(L / M, greatest / 32767)
    tau = max(np.sqrt(d) * (0.5 * most / N + 0.3 * q) / max(typical, L), 2.0**-60)
    top, top_near, n_far = 0.0, 0.0, 0
    for j in range(k):
        squares, apart, is_far = np.float64(own[j]), 0.0, far[n_far] == j
        n_far += is_far
        for f in range(d):
            c = (centroids[j, f] - shift[f]) * scale
            rounded = 0.0 if is_far else np.rint(c / q)
            words[j // GROUP, f // 2, j % GROUP, f % 2] = np.int16(-rounded)
            apart += (c - q * rounded) ** 2
        e = np.sqrt(apart)
        h = 0.0 if is_far else 0.5 * np.sqrt(d) * (np.sqrt(squares) + e) / N + e
        o = (h * h / tau + 2 * KAPPA * squares) * (1 + 2.0**-8)
        own[j] = np.float32(o)
        begins[j] = FAR if is_far else np.float32(0.5 * (squares - o))
        top, top_near = max(top, o), top_near if is_far else max(top_near, o)
    terms[0], terms[1], terms[2], terms[3], terms[4] = L, q / N, tau * (1 + 2.0**-8), top, top_near


def packed_words(centroids: NDArray[np.float64], shift: NDArray, scale: float, typical: float) -> tuple:
    """`words_for` these centroids, packed."""
    k, d = centroids.shape
    packed = words_for(k, d)
    if len(packed[0]):
        pack_words(centroids, shift, scale, typical, packed)
    return packed


@jit()
def score_strip(strip, longest, unit, words, base, rounded, begun, found, groups, pairs, best, second, label):
    """Score a strip against all centroids that are not far; all but `longest` and `unit` are addresses and sizes.

    `longest` is r, `unit` r q / N, the rest is as in `words_for`, `rounded_for` and `vectors_numba.score_tile`.
    """
    forget_strip(found)
    round_strip(strip, np.float32(N) / longest, rounded, pairs)
    begin_words(base, unit, begun, groups)
    for g in range(groups):
        own = words + 4 * GROUP * pairs * g
        score_words(rounded, own, begun + 4 * GROUP * g, found, found + 4 * ROWS, label, np.int32(g * GROUP), pairs)
    keep_in_floats(found, unit, best, second, label)
