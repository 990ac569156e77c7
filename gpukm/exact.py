"""The contract: what every engine must return, to the bit. Read this first.

**1. The distance is defined once.** For a row x and a centroid c, both held exactly in float64,

    D(x, c) = ((x_0 - c_0)^2 + (x_1 - c_1)^2) + ... + (x_{d-1} - c_{d-1})^2

evaluated in float64 from left to right, each subtraction, square and addition rounded to nearest, with no fused
multiply-add. The label of x is the k with the least D(x, c_k); of equal D, the lowest k. Centroids have the compute
dtype of X (float32 or float64). `squared_distances` is this definition; everything else may only agree with it.

**2. Any arithmetic may filter.** With a shift m, x' = x - m and c' = c - m, the score s_k = |c'_k|^2/2 - x'.c'_k
differs from |x - c_k|^2 / 2 by |x'|^2 / 2, which no k changes. An engine may evaluate s_k in a unit roundoff u, in
any order of summation, with or without fused multiply-add. With gamma_m = m u / (1 - m u):

* rounding x' and c' to the filter's precision moves x'.c' by at most (2u + u^2) |x'| |c'|;
* a dot product of length d + 1, of (x', 1) with (-c', |c'|^2/2), errs by at most gamma_{d+1} (|x'||c'| + |c'|^2/2),
  and |c'|^2/2, rounded once, by u |c'|^2/2 more (Higham 2002, Accuracy and Stability, section 3.1);
* D itself differs from |x - c|^2 by at most gamma_{d+2}(2^-53) |x - c|^2, and |x - c| <= |x'| + |c'|.

So every score is within kappa (|x'||c'_k| + |c'_k|^2/2) <= kappa (|x'|^2/2 + |c'_k|^2) of D/2 - |x'|^2/2, where kappa =
margin(d, u) = gamma_{d+12}(u) + gamma_{d+4}(2^-53); the spare terms of gamma cover the roundings of norms and
thresholds. The centroid's share is taken off its score, l_k = s_k - kappa |c'_k|^2; let b have the least. Then k can
have D no greater than b's only if l_k <= l_b + kappa |x'|^2 + 2 kappa |c'_b|^2. And |c'_b| <= |x'| + |x - c_b|, so that
|c'_b|^2 <= 5/4 |x'|^2 + 5 |x - c_b|^2, where |x - c_b|^2 = |x'|^2 + 2 l_b but for the same error; nor is it more than
max |c'_k|^2. With kappa < 1/100 and kappa' = kappa (1 + 40 kappa), all of that is within

    l_k <= l_b + 5/4 kappa' |x'|^2 + 2 kappa' min(25/4 |x'|^2 + 10 l_b, max |c'_k|^2) + TINY

(1 would do for the first 5/4; the rest covers the evaluation of this line): only the row and its best centroid enter,
so a far centroid loosens nothing. Where b alone passes, the row is decided; else `squared_distances` settles between
those that do. Shift and a power-of-two scale keep x', c' near 1, so that what may underflow is below `TINY`.

**3. Sums are exact.** The sums S = sum w x and W = sum w of a cluster, the inertia sum w D, and the potentials of
k-means++ are sums of exact products, added without any rounding. A product w x is p + e with p = fl(w x) and e its
exact error (Dekker 1971; e = 0 without weights). Each part is cut into limbs: with |w x_j| < 2^E_j, limb l of t is

    q_l = rint(r_l 2^(b (l+1) - E_j)),    r_0 = t,    r_{l+1} = r_l - q_l 2^(E_j - b (l+1))      (exact in float64)

and q_l goes to an int64 sum. Integers add associatively: no chunk, thread, block, worker or order of arrival shows.

*Overflow.* |q_0| <= 2^b and |q_l| <= 2^(b-1); n rows with two parts each keep |sum| <= n 2^(b+1) <= 2^61, as
b = min(36, 60 - ceil(log2 n)): b = 36 up to n = 2^24 rows, and 20 at n = 2^40. While a label moves from one cluster to
another both are within twice that. Float64 partial sums of at most 2^16 such q (a block) stay below 2^53: exact too.

*Range.* `MAX_LIMBS` limbs reach 324 bits (n <= 2^24) below E_j: every float32 data set (277 bits from least to
largest), weights from 1e-12 to 1e12 (weights are refused beyond 2^-100 and 2^100) and magnitudes from 1e-30 to 1e30
within one column are summed without any rounding. What lies still lower is rounded to nearest at the last limb, which
is 2^-324 of the column's largest term (2^-180 at n = 2^40), or 2^-724 where that is larger. Float64 sums of n terms
err by up to n 2^-53 of sum |w x|; these do not err. Float64 data whose squares would overflow or vanish are refused
by `check_range`.

**4. One rounding at the end.** A centroid is S/W rounded once to float64, to nearest, ties to even, then to the dtype
of X; the inertia is its exact sum rounded once. `quotient` filters in double-double and settles what is too close to
call with integers. Since nothing else rounds, weight 2 is a repeated row, weight 3 too, and weights scaled by 2^p
change nothing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

U32, U64 = 2.0**-24, 2.0**-53
TINY = 2.0**-100  # absolute slack for underflow in the filter, whose operands are scaled to about 1
BLOCK_ROWS = 1 << 16  # rows whose limbs a float64 sum can hold exactly
MAX_LIMBS = 9
WIDE = 128  # features from which on differences are taken along rows: 1.2 to 1.5 times as fast
LARGEST, SMALLEST = 2.0**500, 2.0**-480  # magnitudes of float64 data whose squares are safe, see check_range

Array = Any  # an array of any array-API namespace


def buffer(scratch: dict, name: str, shape: tuple[int, int], dtype: Any) -> NDArray:
    """A C-contiguous array kept in `scratch` between blocks: fresh memory costs more than the arithmetic done in it."""
    size = shape[0] * shape[1]
    if name not in scratch or scratch[name].size < size or scratch[name].dtype != dtype:
        scratch[name] = np.empty(size, dtype)
    return scratch[name][:size].reshape(shape)


def squared_distances(X: NDArray, C: NDArray, scratch: dict | None = None) -> NDArray[np.float64]:
    """D(X[i], C[i]) for pairs of rows: the canonical squared distance.

    Parameters
    ----------
    X, C : (m, d) or (1, d) arrays of float32 or float64, broadcast against each other by rows
    scratch : where to keep a buffer for the next call

    Returns
    -------
    (m,) float64
    """
    d, m = X.shape[1], len(X) if len(C) == 1 else len(C)
    # Transposed, so that each addition takes one feature of all rows: sequential in j, fast along m. NumPy reduces the
    # first axis of a C-contiguous array row by row (a test holds it to that); of a single column it would not.
    scratch = {} if scratch is None else scratch
    T = buffer(scratch, "differences", (d, m), np.float64)
    if d < WIDE:
        np.subtract(X.T, C.T, out=T, dtype=np.float64)
        T *= T
    else:  # transposed last
        R = buffer(scratch, "squares", (m, d), np.float64)
        np.copyto(R, X)
        R -= C
        R *= R
        T[...] = R.T
    if d >= 16 and m > 1:
        return np.add.reduce(T, axis=0)
    D = T[0].copy()
    for j in range(1, d):
        D += T[j]
    return D


def gamma(m: int, u: float) -> float:
    """Higham's gamma_m = m u / (1 - m u); infinite where m u reaches 1/2."""
    return m * u / (1 - m * u) if m * u < 0.5 else np.inf


def margin(n_features: int, u: float) -> float:
    """kappa: how much scores evaluated in unit roundoff `u` may err, relative to |x'||c'| + |c'|^2/2; see point 2.

    From 1/100 on it is of no use, and never more than 1.
    """
    return min(gamma(n_features + 12, u) + gamma(n_features + 4, U64), 1.0)


def two_product(a: NDArray, b: NDArray) -> tuple[NDArray, NDArray]:
    """(p, e) with p = fl(a b) and p + e = a b exactly, for float64 below 2^996 (Dekker 1971)."""
    p = a * b
    a1, b1 = a * 134217729.0, b * 134217729.0  # 2^27 + 1 splits 53 bits in two halves
    a1, b1 = a1 - (a1 - a), b1 - (b1 - b)
    a2, b2 = a - a1, b - b1
    return p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2


def exponent(bound: NDArray | float) -> NDArray[np.int64]:
    """The least E >= -400 with |bound| < 2^E."""
    return np.maximum(np.frexp(bound)[1], -400).astype(np.int64)


@dataclass(frozen=True)
class Grid:
    """Where the limbs of exact sums lie.

    Attributes
    ----------
    exponents : (columns,) int64; every term t of column j has |t| < 2**exponents[j]
    bits : width of a limb
    whole : whether every term is known to be an integer in units of limb 0, so that there is nothing to cut
    """

    exponents: NDArray[np.int64]
    bits: int
    whole: bool = False

    @classmethod
    def of(cls, bounds: Any, n_samples: int) -> "Grid":
        """The grid for sums of `n_samples` terms with magnitudes up to `bounds`, one for each column."""
        return cls(exponent(np.atleast_1d(np.asarray(bounds, np.float64))), limb_bits(n_samples))

    def unit(self, limb: int) -> NDArray[np.float64]:
        """(columns,) float64: the power of two that an integer of `limb` counts."""
        return np.ldexp(1.0, self.exponents - self.bits * (limb + 1))


def limb_bits(n_samples: int) -> int:
    """Bits of a limb so that no int64 sum over `n_samples` rows can overflow: see point 3 of the contract."""
    return min(36, 60 - max(n_samples - 1, 0).bit_length())


@dataclass
class Sums:
    """Exact sums on a grid: what `accumulate` fills and `quotient` rounds.

    Attributes
    ----------
    store : (MAX_LIMBS, k, columns) int64, most significant limb first; the system gives memory when it is written to
    used : how many of these limbs are in use
    """

    grid: Grid
    store: NDArray[np.int64]
    used: int = 1

    @property
    def limbs(self) -> NDArray[np.int64]:
        """(used, k, columns): the limbs in use."""
        return self.store[: self.used]

    def limb(self, index: int) -> NDArray[np.int64]:
        """(k, columns): one limb, in use from now on."""
        self.used = max(self.used, index + 1)
        return self.store[index]

    def add(self, other: "Sums", sign: int = 1) -> None:
        """Add (or subtract) sums on the same grid."""
        for index, limb in enumerate(other.limbs):
            self.limb(index)[...] += sign * limb

    def copy(self) -> "Sums":
        """Sums that may be changed without changing these."""
        copy = sums_like(self.grid, self.store.shape[1])
        copy.add(self)
        return copy

    def whole(self) -> "Sums":
        """The sum over all clusters, as one cluster."""
        one = sums_like(self.grid, 1)
        for index, limb in enumerate(self.limbs):
            one.limb(index)[...] = limb.sum(axis=0)
        return one

    @property
    def empty(self) -> NDArray[np.bool_]:
        """(k,) which clusters have no weight (the last column)."""
        return np.logical_not(np.any(self.limbs[:, :, -1], axis=0))

    def means(self) -> NDArray[np.float64]:
        """(k, columns - 1) float64: each sum divided by the last column's, rounded once; 0 where that is 0."""
        return quotient(self, slice(0, -1), slice(-1, None))

    def weights(self) -> NDArray[np.float64]:
        """(k,) float64: the last column's sums, each rounded once."""
        return quotient(self, slice(-1, None), None)[:, 0]

    def totals(self) -> NDArray[np.float64]:
        """(k, columns) float64: each sum rounded once."""
        return quotient(self, slice(None), None)


def sums_like(grid: Grid, n_clusters: int) -> Sums:
    """Zero sums for `n_clusters` clusters."""
    return Sums(grid, np.zeros((MAX_LIMBS, n_clusters, len(grid.exponents)), np.int64))


def double_double(sums: Sums, columns: slice) -> tuple[NDArray, NDArray]:
    """(hi, lo), each (k, columns): the sums to a relative 2^-98, hi + lo unevaluated."""
    bits, limbs = sums.grid.bits, sums.limbs[:, :, columns]
    limbs = limbs.copy() if limbs[1:].any() else limbs[:1]
    for upper, lower in zip(limbs[-2::-1], limbs[:0:-1], strict=True):  # carry: all but the first within half a unit
        carry = (lower + (1 << (bits - 1))) >> bits
        lower -= carry << bits
        upper += carry
    parts = [limb * sums.grid.unit(index)[columns] for index, limb in enumerate(limbs)]
    if np.abs(limbs[0]).max(initial=0) > 1 << 53:  # no float64 holds it: two do
        low, unit = limbs[0] & 0x7FFFFFFF, sums.grid.unit(0)[columns]
        parts[:1] = (limbs[0] - low) * unit, low * unit
    hi, lo = parts.pop(), np.zeros(limbs[0].shape)
    while parts:
        part = parts.pop()
        s = part + hi
        t = s - part
        lo += (part - (s - t)) + (hi - t)
        hi = s + lo
        lo -= hi - s
    return hi, lo


def quotient(sums: Sums, columns: slice, divisor: slice | None) -> NDArray[np.float64]:
    """The exact sums of `columns`, divided by that of `divisor` (1 if None), rounded once to the nearest float64.

    Returns (k, columns) float64; 0 where the divisor is 0.
    """
    hi, lo = double_double(sums, columns)
    if divisor is None and not lo.any():
        return hi
    w_hi, w_lo = (np.ones((1, 1)), np.zeros((1, 1))) if divisor is None else double_double(sums, divisor)
    q = hi / (w_hi := np.where(w_hi == 0, 1.0, w_hi))
    if sums.used == 1 and not (lo.any() or w_lo.any()):
        return q  # exact until here, rounded once
    p, e = two_product(q, w_hi)
    delta = (((hi - p) - e) + lo - q * w_lo) / w_hi
    mean = q + delta
    rest = np.abs((q - mean) + delta)
    # How far the quotient lies from `mean`, to 2^-48 of an ulp. Halfway to the next number, integers decide.
    close = rest > np.spacing(np.abs(mean)) * (0.5 - 2.0**-40)
    close |= (np.abs(np.frexp(mean)[0]) == 0.5) & (rest > 0)  # a power of two: the next number below is nearer
    for row, column in np.argwhere(close):
        mean[row, column] = _settle_quotient(sums, row, np.arange(len(sums.grid.exponents))[columns][column], divisor)
    return mean


def _settle_quotient(sums: Sums, row: int, column: int, divisor: slice | None) -> float:
    """One quotient by integers: Python's int / int rounds once, to nearest, ties to even."""
    numerator, shift = integer(sums, row, column)
    denominator, shift_w = (1, 0) if divisor is None else integer(sums, row, -1)
    shift -= shift_w
    return (numerator << shift) / denominator if shift >= 0 else numerator / (denominator << -shift)


def integer(sums: Sums, row: int, column: int) -> tuple[int, int]:
    """(i, s) with the exact sum equal to i 2^s; s depends on the grid and the column alone."""
    bits = sums.grid.bits
    value = sum(int(limb[row, column]) << (bits * (MAX_LIMBS - 1 - index)) for index, limb in enumerate(sums.limbs))
    return value, int(sums.grid.exponents[column]) - bits * MAX_LIMBS


def check_range(largest: float, spread: float, name: str = "X") -> None:
    """Refuse float64 data whose squared distances would overflow or vanish in float64.

    Parameters
    ----------
    largest : the greatest magnitude; spread : the greatest difference within a column

    Raises
    ------
    ValueError
    """
    if largest > LARGEST:
        raise ValueError(
            f"{name} holds values up to {largest:.3g}; squared distances of values above {LARGEST:.0e} overflow "
            f"float64. Divide {name} by a power of two such as 2.0**{int(np.frexp(largest)[1])}: no label changes."
        )
    if 0 < spread < SMALLEST:
        raise ValueError(
            f"{name} varies by at most {spread:.3g}; squared distances of differences below {SMALLEST:.0e} vanish in "
            f"float64. Multiply {name} by a power of two such as 2.0**{-int(np.frexp(spread)[1])}: no label changes."
        )
