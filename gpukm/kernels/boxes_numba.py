"""boxes: which centroids can be nearest to any of some rows that follow each other, Numba engine.

Rows that follow each other are often near each other: pixels, readings, and rows that `arrange` has sorted. Let m be
the middle of the box around some of them, h half its sides, and z the centroid nearest to m. For x in the box, with
scores s as in `gpukm.exact`, point 2,

    s_k(x) - s_z(x) >= s_k(m) - s_z(m) - sum_f h_f |c_kf - c_zf|.

Scores stand for D but for kappa (|x'|^2 / 2 + |c'|^2) each, and so do the computed s(m) for the true ones. So k has a
greater D than z for every row in the box, and need not be scored, where the right side exceeds

    2 kappa (|c_k|^2 + |c_z|^2 + max |x'|^2).

Survivors are sought once for STRIPS strips, at about 4 k d operations. Where many survive, as in rows
of random order, nothing is gained: `assign_rows` then stops asking. (A second search among the survivors, strip by
strip, took longer than it spared.)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import TINY, U32, margin
from gpukm.kernels.jit_numba import ANY_ORDER, jit

MOST_FEATURES, LEAST_CENTROIDS = 4, 64  # measured: with more features too many centroids survive
STRIPS = 16
FAR = np.float32(3e38)


@dataclass(frozen=True)
class Boxes:
    """Centroids as `survivors` reads them: features first.

    Attributes
    ----------
    columns : (d, k) float32, -c'; (d, 0) where boxes are not worth asking
    low, high : (k,) float32, |c'|^2 / 2 less and plus the centroid's share of the error
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
        kappa = 2 * margin(d, U32) * (1 + 1e-3)
        worth = d <= MOST_FEATURES and k >= LEAST_CENTROIDS
        columns = np.ascontiguousarray(scorer.operand[: k if worth else 0, :d].T)
        low, high = (((0.5 + sign * kappa) * scorer.squares).astype(np.float32) for sign in (-1, 1))
        return cls(columns, low, high, np.float32(kappa))

    @property
    def arguments(self) -> tuple:
        """What the compiled functions take."""
        return self.columns, self.low, self.high, self.share


@jit(ANY_ORDER)
def box_of(X, packed, first, last, sides):
    """Write middle, half sides and max x'^2 of the box around framed rows of X into `sides` (3, d) float32."""
    shift, scale = packed[0], packed[1]
    for f in range(X.shape[1]):
        lo, hi = X[first, f], X[first, f]
        for i in range(first, last):
            x = X[i, f]
            lo = x if x < lo else lo
            hi = x if x > hi else hi
        low = np.float32((np.float64(lo) - shift[f]) * scale)
        high = np.float32((np.float64(hi) - shift[f]) * scale)
        m = np.float32(0.5) * low + np.float32(0.5) * high
        sides[0, f] = m
        sides[1, f] = max(high - m, m - low) * np.float32(1.00001)
        sides[2, f] = max(low * low, high * high)


@jit(ANY_ORDER)
def survivors(sides, boxes, at, reach, index):
    """Find the centroids that may be nearest to a row in a box: their numbers, ascending, in `index` (k + 1,).

    Returns how many. `sides` as from `box_of`; `boxes` is `Boxes.arguments`; `at` and `reach` (k,) float32 are scratch.
    """
    columns, low, high, share = boxes
    k = columns.shape[1]
    for j in range(k):
        at[j] = low[j]
        reach[j] = np.float32(0)
    longest = np.float32(0)
    for f in range(len(columns)):
        m = sides[0, f]
        longest += sides[2, f]
        for j in range(k):
            at[j] += m * columns[f, j]
    nearest = at[0]
    for j in range(k):
        nearest = at[j] if at[j] < nearest else nearest
    z = 0
    while at[z] > nearest:
        z += 1
    for f in range(len(columns)):
        own, h = columns[f, z], sides[1, f]
        for j in range(k):
            reach[j] += h * abs(columns[f, j] - own)
    limit = at[z] + (high[z] - low[z]) + share * longest * np.float32(1.001) + np.float32(TINY)
    count = 0
    for j in range(k):
        index[count] = j
        count += at[j] - reach[j] * np.float32(1.001) <= limit
    return count
