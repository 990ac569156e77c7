"""boxes: which centroids can be nearest to any of some rows that follow each other, Numba engine.

Rows that follow each other are often near each other: pixels, readings, and rows that `arrange` has sorted. Let m be
the middle of the box around some of them, h half its sides, and z the centroid nearest to m. For x in the box, with
scores s as in `gpukm.exact`, point 2,

    s_k(x) - s_z(x) >= s_k(m) - s_z(m) - sum_f h_f |c_kf - c_zf|.

Scores stand for D but for kappa (|x'|^2 / 2 + |c'|^2) each, and so do the computed s(m) for the true ones. So k has a
greater D than z for every row in the box, and need not be scored, where the right side exceeds

    2 kappa (|c_k|^2 + |c_z|^2 + max |x'|^2).

Survivors are sought for BLOCK rows at a time, at about 4 k d operations, in boxes that are found once for all steps.
Where one survives, the rows need not be looked at; nor have their labels to be, if all were the same before. Where many
survive, as in rows of random order, nothing is gained: `assign_rows` then stops asking.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import TINY, U32, margin
from gpukm.kernels.arrange import LEAST_CENTROIDS, MOST_FEATURES
from gpukm.kernels.arrange_numba import fetch
from gpukm.kernels.jit_numba import ANY_ORDER, jit
from gpukm.kernels.transpose_numba import extremes_narrow
from gpukm.kernels.vectors_numba import LANES, ROWS, lanes_within, least_of, lowest_bit

BLOCK = 4 * ROWS  # rows in a box: with fewer, and fewer survivors, asking takes longer than it spares
AT_ONCE = 32  # boxes whose rows are fetched together
SEVERAL = 16  # boxes that are asked about together first
FAR = np.float32(3e38)


@dataclass(frozen=True)
class Boxes:
    """Centroids as `survivors` reads them: features first.

    Attributes
    ----------
    columns : (MOST_FEATURES, k) float32, -c', zeros where there are fewer features; k is rounded up to a whole number
        of LANES, or 0 where boxes are not worth asking
    low, high : (k,) float32, |c'|^2 / 2 less and plus the centroid's share of the error; FAR where there is none
    share : the rows' share, relative to max |x'|^2
    """

    columns: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    share: np.float32

    @classmethod
    def of(cls, scorer: Any) -> "Boxes":
        """From a `Scorer`."""
        k, d = scorer.centroids.shape
        out = cls.empty(k, d)
        if out.asked:
            kappa = float(out.share)
            out.columns[:d, :k] = scorer.operand[:, :d].T
            out.low[:k], out.high[:k] = (0.5 - kappa) * scorer.squares, (0.5 + kappa) * scorer.squares
        return out

    @classmethod
    def empty(cls, k: int, d: int) -> "Boxes":
        """For k centroids of d features that are not known yet; nothing, where they will not be asked."""
        padded = -(-k // LANES) * LANES if d <= MOST_FEATURES and k >= LEAST_CENTROIDS else 0
        columns, limits = np.zeros((MOST_FEATURES, padded), np.float32), np.full((2, padded), FAR)
        share = np.float32(2 * margin(d, U32) * (1 + 1e-3) if padded else 0)
        return cls(columns, limits[0], limits[1], share)

    @property
    def asked(self) -> bool:
        """Whether they may be: `survivors` needs at least one."""
        return self.columns.shape[1] > 0

    @property
    def arguments(self) -> tuple:
        """What the compiled functions take."""
        return self.columns, self.low, self.high, self.share


@jit(ANY_ORDER)
def _boxes(X, shift, scale, plain, sides, lows, highs):
    d = X.shape[1]
    for box in range(len(sides)):
        values = X[box * BLOCK : (box + 1) * BLOCK].ravel()
        width = min(LANES * d, len(values))
        if plain and width == LANES * d:
            done = len(values) // width
            extremes_narrow(values.ctypes.data, done, lows.ctypes.data, highs.ctypes.data, d)
            done *= width
        else:
            done = 0
            for j in range(width):
                lows[j] = values[j]
                highs[j] = values[j]
        for at in range(done, len(values), width):
            beside = values[at : at + width]
            for j in range(len(beside)):
                x = beside[j]
                lows[j] = x if x < lows[j] else lows[j]
                highs[j] = x if x > highs[j] else highs[j]
        for f in range(d):
            lo, hi = lows[f], highs[f]
            for j in range(f, width, d):
                lo = min(lo, lows[j])
                hi = max(hi, highs[j])
            low = np.float32((np.float64(lo) - shift[f]) * scale)
            high = np.float32((np.float64(hi) - shift[f]) * scale)
            m = np.float32(0.5) * low + np.float32(0.5) * high
            sides[box, 0, f] = m
            sides[box, 1, f] = max(high - m, m - low) * np.float32(1.00001)
            sides[box, 2, f] = max(low * low, high * high)


@jit()
def _fetched_boxes(source, order, X, shift, scale, plain, sides, lows, highs):
    for box in range(0, len(sides), AT_ONCE):
        first, last = box * BLOCK, (box + AT_ONCE) * BLOCK
        fetch(source, order[first:last], X[first:last])
        _boxes(X[first:last], shift, scale, plain, sides[box : box + AT_ONCE], lows, highs)


def boxes_of(
    X: NDArray, shift: NDArray, scale: float, source: NDArray | None = None, order: NDArray[Any] | None = None
) -> NDArray[np.float32]:
    """(boxes, 3, MOST_FEATURES) float32: middle, half sides and max x'^2 of the box around each BLOCK rows of X.

    `shift` and `scale` are the frame's. LANES rows side by side are one long row, whose values are compared as vectors.
    Where there is a `source`, X is where the rows go that `order` names in it, and read while they are in the cache.
    """
    d = X.shape[1]
    sides = np.zeros((-(-len(X) // BLOCK), 3, MOST_FEATURES), np.float32)
    plain = bool(X.dtype == np.float32 and scale == 1.0)
    own = X, shift, scale, plain, sides, np.empty(LANES * d, X.dtype), np.empty(LANES * d, X.dtype)
    if source is None:
        _boxes(*own)
    else:
        _fetched_boxes(source, order, *own)
    return sides


@jit(ANY_ORDER)
def survivors(sides, box, columns, low, high, share, k, at, limits, index):
    """Find the centroids that may be nearest to a row in a box: their numbers, ascending, in `index` (k + LANES,).

    Returns how many. `sides` as from `boxes_of`, `box` numbers one of them; `columns`, `low`, `high` and `share` are
    `Boxes.arguments`, of which the first `k` are asked; `at` (k,) and `limits` (LANES,) float32 are scratch.
    """
    ma, mb, mc, me = sides[box, 0, 0], sides[box, 0, 1], sides[box, 0, 2], sides[box, 0, 3]
    ha, hb, hc, he = sides[box, 1, 0], sides[box, 1, 1], sides[box, 1, 2], sides[box, 1, 3]
    for j in range(k):
        products = (ma * columns[0, j] + mb * columns[1, j]) + (mc * columns[2, j] + me * columns[3, j])
        at[j] = low[j] + products
    nearest = np.float32(least_of(at.ctypes.data, k))
    z, bits = -LANES, 0
    limits[:] = nearest
    while bits == 0:
        z += LANES
        bits = lanes_within(at.ctypes.data + 4 * z, limits.ctypes.data)
    z += lowest_bit(bits)
    za, zb, zc, ze = columns[0, z], columns[1, z], columns[2, z], columns[3, z]
    for j in range(k):
        first = ha * abs(columns[0, j] - za) + hb * abs(columns[1, j] - zb)
        last = hc * abs(columns[2, j] - zc) + he * abs(columns[3, j] - ze)
        at[j] -= (first + last) * np.float32(1.001)
    longest = (sides[box, 2, 0] + sides[box, 2, 1]) + (sides[box, 2, 2] + sides[box, 2, 3])
    limits[:] = nearest + (high[z] - low[z]) + share * longest * np.float32(1.001) + np.float32(TINY)
    count = 0
    for j in range(0, k, LANES):
        bits = lanes_within(at.ctypes.data + 4 * j, limits.ctypes.data)
        while bits:
            index[count] = j + lowest_bit(bits)
            count += 1
            bits &= bits - 1
    return count


@jit(ANY_ORDER)
def unite(sides, first, last, union):
    """Write the box around the boxes `first` to `last` to `union` (1, 3, MOST_FEATURES)."""
    for f in range(MOST_FEATURES):
        lo, hi, longest = FAR, -FAR, np.float32(0)
        for box in range(first, last):
            m, h = sides[box, 0, f], sides[box, 1, f]
            lo, hi, longest = min(lo, m - h), max(hi, m + h), max(longest, sides[box, 2, f])
        m = np.float32(0.5) * lo + np.float32(0.5) * hi
        union[0, 0, f] = m
        union[0, 1, f] = max(hi - m, m - lo) * np.float32(1.00001) + max(-lo, hi) * np.float32(2.0**-21)
        union[0, 2, f] = longest


@jit()
def gather(columns, low, high, index, count, few, few_low, few_high):
    """Bring what `survivors` asks of the centroids in `index` together; returns how many there are with padding."""
    padded = (count + LANES - 1) // LANES * LANES
    for j in range(count):
        z = index[j]
        for f in range(MOST_FEATURES):
            few[f, j] = columns[f, z]
        few_low[j], few_high[j] = low[z], high[z]
    for j in range(count, padded):
        few_low[j] = FAR
    return padded


@jit()
def survivors_of_several(sides, first, boxes, own):
    """Bring the centroids together that may be nearest to a row in SEVERAL boxes, `first` and on.

    Returns (the box after these, how many centroids there are with padding). `boxes` is `Boxes.arguments`, `own` as
    from `survivors_for`: its last array has the numbers of these centroids, and those before what `survivors` asks.
    """
    columns, low, high, share = boxes
    union, at, limits, few, few_low, few_high, numbers = own
    last = min(first + SEVERAL, len(sides))
    unite(sides, first, last, union)
    count = survivors(union, 0, columns, low, high, share, len(low), at, limits, numbers)
    return last, gather(columns, low, high, numbers, count, few, few_low, few_high)


def survivors_for(k: int) -> tuple:
    """Arrays for `unite`, `gather` and `survivors`, by NumPy: Numba takes a tenth of a second for each `np.empty`."""
    padded = k + LANES
    of_boxes = np.empty((1, 3, MOST_FEATURES), np.float32), np.empty(padded, np.float32), np.empty(LANES, np.float32)
    few = np.zeros((MOST_FEATURES, padded), np.float32), np.empty(padded, np.float32), np.empty(padded, np.float32)
    return *of_boxes, *few, np.empty(padded, np.int32)
