"""int8, Numba engine: scores of rows that are kept in 8 bits, which they are whole numbers of.

With few centroids and many features most of a step is to read the rows and to turn them around. A copy in bytes is a
quarter as long, lies as the kernels read it, and is read instead: LANES rows at a time, two features to a word, which
are widened to 16 bits on their way to the products of `int16_numba`. With x', c' as in `gpukm.exact`, point 2,

    x' = m + u B + delta,    B in -128 ... 127,    C_k = rint(c'_k / q),    and scores count in units of u q:

m (d,) is the middle of each feature's values, u the unit of which they are multiples. delta is what the frame's shift
rounds, and whatever is not as it was expected to be. (Rows of any numbers in 8 bits were left open too often: 6 to 17 %
of blobs.)

*Overflow.* b is the length of the longest B, L of the longest c'_k. q is at least (b L + base / u) / 2^30, where base
is the greatest |c'_k|^2 / 2 + |m.c'_k| and what is taken off that. By Cauchy and Schwarz |B.C_k| is at most
b (L / q + sqrt(d)/2): with what it is added to less than 2^31, as features are at most MOST. Partial sums may wrap
around: integers do not mind. No entry reaches 2^15.

*Error.* x'.c'_k is m.c'_k + u q B.C_k but for h_k = eta |c'_k| + u b e_k, where eta is the length of the longest delta
and e_k of c'_k - q C_k; both are measured. eta is found in float32, from terms that are each within 2^-22 of what they
are made of. Half of o_k = 2 h_k + 2 KAPPA |c'_k|^2 is taken off the score; let b have the least of these. Then k can
have D no greater than b's only if, in words as in `int16_numba`,

    l_k <= l_b + KAPPA' |x'|^2 + 2 GROUP u q + o_b + TINY.

What is left open is scored in float32, from the rows themselves.
"""

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels.assign import Frame
from gpukm.kernels.int16_numba import KAPPA, MOST
from gpukm.kernels.jit_numba import FUSED, jit
from gpukm.kernels.pairs_numba import forget_strip, keep_in_floats, pairs_pay, score_bytes
from gpukm.kernels.strips_numba import framed, pack_rows, pack_strip, readable, strip_for
from gpukm.kernels.transpose_numba import QUAD
from gpukm.kernels.vectors_numba import GROUP, ROWS

NOT_KEPT = (
    np.empty((0, 0, ROWS), np.int16),
    np.empty(0, np.float32),
    np.empty((0, 0, GROUP, 2), np.int16),
    np.empty(0, np.int32),
    np.empty(0, np.float32),
    np.zeros(2, np.float32),
    np.empty(0, np.float32),
    np.zeros(3),
)
NOBODY = 2**31 - 128  # the score of no centroid


def can_keep(n_features: int) -> bool:
    """Whether rows of so many features may be kept in bytes, and this processor gains by it."""
    return QUAD < n_features <= MOST and pairs_pay()


@jit(FUSED)
def _round_strip(strip, m, u, d, out, squares, errors, lengths):
    """Round a strip; write |x'|^2, |delta|^2 and |B|^2 of its rows."""
    one, least, most = np.float32(1) / u, np.float32(-128), np.float32(127)
    squares[:] = 0
    errors[:] = 0
    lengths[:] = 0
    for p in range(len(out)):
        first, second, both = m[2 * p], m[2 * p + 1], 2 * p + 1 < d
        for i in range(ROWS):
            x, y = strip[2 * p, i], strip[2 * p + 1, i] if both else np.float32(0)
            B, C = np.rint((x - first) * one), np.rint((y - second) * one)
            B = B if B < most else most
            B = B if B > least else least
            C = C if C < most else most
            C = C if C > least else least
            e, g = x - first - B * u, y - second - C * u
            squares[i] += x * x + y * y
            errors[i] += e * e + g * g
            lengths[i] += B * B + C * C
            out[p, i] = np.int16((np.int32(B) & 255) | (np.int32(C) << 8))


@jit()
def keep_rows(X, shift, scale, plain, m, u, strip, of_strip, strips, squares):
    """Round the rows of X (n, d) to `strips` (n / ROWS, pairs of features, ROWS) int16, the first of a pair below.

    Writes |x'|^2 to `squares`; returns the greatest |delta|^2, |B|^2 and |x'|^2 that were found.
    """
    n, d = X.shape
    until = readable(X, plain)
    found = np.zeros(3, np.float32)
    for s in range(len(strips)):
        start = s * ROWS
        if start + ROWS <= until:
            at = X.ctypes.data + X.itemsize * d * start
            pack_rows(at, X.itemsize, shift.ctypes.data, scale, strip.ctypes.data, d)
        else:
            pack_strip(X, shift, scale, start, min(ROWS, n - start), strip)
        own = squares[start : start + ROWS]
        _round_strip(strip, m, u, d, strips[s], own, of_strip[0], of_strip[1])
        found[0] = max(found[0], of_strip[0].max())
        found[1] = max(found[1], of_strip[1].max())
        found[2] = max(found[2], own.max())
    return found


@jit()
def pack_kept(centroids, shift, scale, kept):
    """Round the `centroids` (k, d) float64; `kept` is from `KeptRows.part`."""
    _, _, words, begun, own, terms, m, sizes = kept
    u, eta, b = sizes
    k, d = centroids.shape
    longest, greatest, base = 0.0, 0.0, 0.0
    for j in range(k):
        squares, middle = 0.0, 0.0
        for f in range(d):
            c = (centroids[j, f] - shift[f]) * scale
            squares += c * c
            middle += np.float64(m[f]) * c
            greatest = max(greatest, abs(c))
        longest = max(longest, squares)
        base = max(base, (0.5 + KAPPA) * squares + abs(middle) + eta * np.sqrt(squares))
    q = max(greatest / 32767, (b * np.sqrt(longest) + base / u) / 2.0**30, 2.0**-60) * (1 + 2.0**-20)
    top = 0.0
    for j in range(k):
        squares, middle, apart = 0.0, 0.0, 0.0
        for f in range(d):
            c = (centroids[j, f] - shift[f]) * scale
            rounded = np.rint(c / q)
            words[j // GROUP, f // 2, j % GROUP, f % 2] = np.int16(-rounded)
            squares += c * c
            middle += np.float64(m[f]) * c
            apart += (c - q * rounded) ** 2
        h = eta * np.sqrt(squares) + u * b * np.sqrt(apart)
        o = (2 * h + 2 * KAPPA * squares) * (1 + 2.0**-16)
        own[j] = np.float32(o)
        begun[j] = np.int32(np.rint((0.5 * (squares - o) - middle) / (u * q)))
        top = max(top, o)
    terms[0], terms[1] = u * q, top


@jit()
def score_kept(strip, unit, words, begun, found, groups, pairs, best, second, label):
    """Score a strip of kept rows against all centroids; all but `unit`, u q, are addresses and sizes."""
    forget_strip(found)
    for g in range(groups):
        own = words + 4 * GROUP * pairs * g
        score_bytes(strip, own, begun + 4 * GROUP * g, found, found + 4 * ROWS, label, np.int32(g * GROUP), pairs)
    keep_in_floats(found, unit, best, second, label)


class KeptRows:
    """The copy: strips, and what is known of all of them. See `gpukm.kernels.kept`."""

    def __init__(
        self, n_samples: int, frame: Frame, low: NDArray[np.float64], ranges: NDArray[np.float64], unit: float
    ) -> None:
        d = len(low)
        self._shift, self._scale, self._plain = framed(frame)
        self._m, self._u = np.zeros(-(-d // 2) * 2, np.float32), np.float32(unit * self._scale)
        self._m[:d] = (low + unit * np.ceil(ranges / (2 * unit)) - self._shift[:d]) * self._scale
        whole = -(-n_samples // ROWS)
        self._strips = np.empty((whole, (d + 1) // 2, ROWS), np.int16)
        self._squares = np.empty(whole * ROWS, np.float32)
        self._sizes = np.array([self._u, 0, 0])
        self._packed: tuple = NOT_KEPT[2:6]

    def keep(self, X: NDArray, start: int) -> NDArray[np.float32]:
        """Copy the rows X, the first of which is number `start`, a multiple of ROWS; returns what `finish` takes."""
        first, last = start // ROWS, -(-(start + len(X)) // ROWS)
        own = self._strips[first:last], self._squares[first * ROWS : last * ROWS]
        grid = self._shift, self._scale, self._plain, self._m, self._u
        scratch = strip_for.py_func(X.shape[1]), np.empty((2, ROWS), np.float32)
        return keep_rows(X, *grid, *scratch, *own)

    def finish(self, found: list[NDArray[np.float32]]) -> None:
        """All rows are copied."""
        error, length, square = (float(value) for value in np.max(found, axis=0) * (1 + 2.0**-9))
        b, u = length**0.5, float(self._u)
        sizes = square**0.5 + float(np.linalg.norm(self._m.astype(np.float64))) + u * b
        self._sizes = np.array([u, error**0.5 + 2.0**-20 * sizes, b])

    def make_room(self, n_clusters: int) -> None:
        """The next steps are for so many centroids, which they pack themselves."""
        groups, pairs = -(-n_clusters // GROUP), self._strips.shape[1]
        if len(self._packed[2]) != n_clusters:
            words, begun = np.zeros((groups, pairs, GROUP, 2), np.int16), np.full(groups * GROUP, NOBODY, np.int32)
            self._packed = words, begun, np.empty(n_clusters, np.float32), np.empty(2, np.float32)

    def follow(self, centroids: NDArray) -> None:
        """The next step is for `centroids` (k, d), for which there is room."""
        pack_kept(centroids.astype(np.float64), self._shift, self._scale, self.part(0, 0))

    def part(self, start: int, stop: int) -> tuple:
        """What is known of the rows start:stop, the first a multiple of ROWS.

        Returns
        -------
        strips : (strips, pairs of features, ROWS) int16, B, the first of a pair below
        squares : (strips ROWS,) float32, |x'|^2
        words : (groups, pairs, GROUP, 2) int16, -C in tiles
        begun : (groups GROUP,) int32, to which products are added
        own : (k,) float32, o
        terms : (2,) float32, u q and the greatest o
        m : (2 pairs,) float32
        sizes : (3,) float64, u, eta and b
        """
        first, last = start // ROWS, -(-stop // ROWS)
        own = self._strips[first:last], self._squares[first * ROWS : last * ROWS]
        return *own, *self._packed, self._m, self._sizes
