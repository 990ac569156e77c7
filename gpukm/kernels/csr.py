"""csr: the steps on rows of which only the values that are not zero are stored. To the bits of the dense steps.

A zero adds nothing to a sum, to a dot product, or to a row's hash; only to D it adds c_j^2, in its place. So all but D
cost O(stored values). D is taken over the columns in which the centroid or some row of a few is not zero, in order:
the others would add 0.0. The filter is a sparse product in float64 (`gpukm.exact`, point 2), which leaves next to
nothing but true ties to be settled by D.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import MAX_LIMBS, TINY, U64, Sums, buffer, margin
from gpukm.kernels.accumulate import _add_limbs, _terms
from gpukm.kernels.hashing import GOLDEN, _scramble, mix

VALUES = 1 << 18  # float64 terms of D summed at once, so that they stay in the cache
FEW, MANY = 32, 512  # rows whose D is taken together: few share columns best, many share the work on a dense centroid


@dataclass(frozen=True)
class CSR:
    """Rows in compressed form.

    Attributes
    ----------
    values : (stored,) compute dtype
    columns : (stored,) integers below `n_features`, each once a row
    starts : (m + 1,) int64; row i is values[starts[i]:starts[i + 1]]
    n_features : d
    """

    values: NDArray
    columns: NDArray
    starts: NDArray[np.int64]
    n_features: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def rows(self) -> NDArray[np.intp]:
        """(stored,) the row of each value."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def part(self, start: int, stop: int) -> "CSR":
        """Rows start:stop, without a copy of their values."""
        first, last = self.starts[start], self.starts[stop]
        return CSR(
            self.values[first:last], self.columns[first:last], self.starts[start : stop + 1] - first, self.n_features
        )

    def take(self, rows: NDArray) -> "CSR":
        """Rows by index."""
        counts = np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(counts)])
        where = np.arange(starts[-1]) + np.repeat(self.starts[:-1][rows] - starts[:-1], counts)
        return CSR(self.values[where], self.columns[where], starts, self.n_features)

    def dense(self) -> NDArray:
        """(m, d) with the zeros."""
        out = np.zeros((len(self), self.n_features), self.values.dtype)
        out[self.rows, self.columns] = self.values
        return out

    def check_finite(self, error: Callable[[str, int, int, float], Exception]) -> None:
        """Raise for the first NaN or infinity what `error` makes of a name, row, column and value."""
        for place in np.flatnonzero(~np.isfinite(self.values))[:1]:
            raise error("X", int(self.rows[place]), int(self.columns[place]), float(self.values[place]))

    def products(self, C: NDArray[np.float64], scale: float = 1.0) -> NDArray[np.float64]:
        """(m, k) float64 of scale x.c for the columns c of C (d, k)."""
        return self.matrix(self.values.astype(np.float64) * scale) @ C

    def matrix(self, values: NDArray | None = None) -> Any:
        """The same as a SciPy matrix, or with other values at their places."""
        from scipy.sparse import csr_array

        values = self.values if values is None else values
        return csr_array((values, self.columns, self.starts), shape=(len(self), self.n_features))

    def squares(self, scale: float = 1.0) -> NDArray[np.float64]:
        """(m,) float64 of |scale x|^2."""
        values = self.values.astype(np.float64) * scale
        return np.bincount(self.rows, values * values, len(self)).astype(np.float64)

    def extremes(self) -> tuple[NDArray, NDArray]:
        """(minimum, maximum) of each column, zeros among them."""
        count = np.bincount(self.columns, minlength=self.n_features)
        some_zero = count < len(self)
        low = np.where(some_zero, self.values.dtype.type(0), self.values.dtype.type(np.inf))
        high = np.where(some_zero, self.values.dtype.type(0), -self.values.dtype.type(np.inf))
        np.minimum.at(low, self.columns, self.values)
        np.maximum.at(high, self.columns, self.values)
        return low, high

    def hashes(self) -> NDArray[np.uint64]:
        """(m,) the hash that `hash_rows` gives these rows."""
        factors = mix(np.arange(1, self.n_features + 1, dtype=np.uint64) * GOLDEN) | np.uint64(1)
        bits = (self.values + self.values.dtype.type(0)).view(
            np.uint32 if self.values.dtype == np.float32 else np.uint64
        )
        running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(_scramble(bits) * factors[self.columns])])
        return mix(running[self.starts[1:]] - running[self.starts[:-1]])


def squared_distances(X: CSR, centroid: NDArray, scratch: dict | None = None) -> NDArray[np.float64]:
    """(m,) D of each row to one centroid (d,): the bits of `gpukm.exact.squared_distances`."""
    c = centroid.astype(np.float64)
    stored = max(len(X.values) // max(len(X), 1), 1)
    at_once = min(max(int(np.count_nonzero(c)) // stored, FEW), MANY)
    scratch = {} if scratch is None else scratch
    return np.concatenate(
        [_distances(X.part(i, min(i + at_once, len(X))), c, scratch) for i in range(0, len(X), at_once)]
        or [np.empty(0)]
    )


def _distances(X: CSR, c: NDArray[np.float64], scratch: dict) -> NDArray[np.float64]:
    used = c != 0
    used[X.columns] = True
    columns = np.flatnonzero(used)  # all others would add (0 - 0)^2
    place = np.empty(X.n_features, np.intp)
    place[columns] = np.arange(len(columns))
    places = place[X.columns]
    order = np.argsort(places, kind="stable")
    places, rows = places[order], X.rows[order]
    terms = (X.values.astype(np.float64) - c[X.columns])[order]
    terms *= terms
    squares = c[columns] ** 2
    # Rows of T are added one after the other, as in `gpukm.exact`: in order of columns, all rows of X at once. Of a
    # single column NumPy would add in another order, hence two.
    m = max(len(X), 2)
    at_once = max(VALUES // m, 1)
    D = np.zeros(m)
    for start in range(0, len(columns), at_once):
        stop = min(start + at_once, len(columns))
        T = buffer(scratch, "columns", (stop - start + 1, m), np.float64)
        T[0] = D
        T[1:] = squares[start:stop, None]
        few = slice(*np.searchsorted(places, (start, stop)))
        T[places[few] - start + 1, rows[few]] = terms[few]
        D = np.add.reduce(T, axis=0)
    return D[: len(X)]


def own_distances(X: CSR, centroids: NDArray, labels: NDArray[np.int32], scratch: dict) -> NDArray[np.float64]:
    """(m,) D of each row to the centroid of its label."""
    D = np.empty(len(X))
    order = np.argsort(labels, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        if len(rows):
            D[rows] = squared_distances(X.take(rows), centroids[labels[rows[0]]], scratch)
    return D


@dataclass(frozen=True)
class Scorer:
    """Centroids made ready for the filter: shifted by nothing, scaled by a power of two.

    `lower` (k,) is |c'|^2 / 2 less the centroid's share of the error; `operand` (d, k) is c' by columns.
    """

    centroids: NDArray
    scale: float
    operand: NDArray[np.float64]
    lower: NDArray[np.float64]
    squares: NDArray[np.float64]
    kappa: float

    @classmethod
    def of(cls, scale: float, centroids: NDArray) -> "Scorer":
        """`centroids` (k, d) in the compute dtype."""
        C = centroids.astype(np.float64) * scale
        squares = (C * C).sum(axis=1)
        kappa = 2 * margin(C.shape[1], U64)  # twice: |c'|^2 is a sum in float64 like the product, not rounded once
        return cls(centroids, scale, np.ascontiguousarray(C.T), squares * (0.5 - kappa), squares, kappa)


def assign(X: CSR, scorer: Scorer, labels: NDArray[np.int32], scratch: dict) -> int:
    """Label the rows, into `labels` (m,); return how many had to be settled by D."""
    S = X.products(scorer.operand, -scorer.scale)
    S += scorer.lower
    labels[...] = S.argmin(axis=1)
    threshold = S.min(axis=1) * (1 + 20 * scorer.kappa) + X.squares(scorer.scale) * (14 * scorer.kappa) + TINY
    near = threshold[:, None] >= S
    (rows,) = np.nonzero(near.sum(axis=1) != 1)
    if len(rows):
        which, ks = np.nonzero(near[rows])
        D = np.empty(len(which))
        for k in np.unique(ks):
            pairs = np.flatnonzero(ks == k)
            D[pairs] = squared_distances(X.take(rows[which[pairs]]), scorer.centroids[k], scratch)
        first = np.flatnonzero(np.diff(which, prepend=-1))
        least = np.flatnonzero(D == np.repeat(np.minimum.reduceat(D, first), np.diff(first, append=len(D))))
        labels[rows] = ks[least[np.flatnonzero(np.diff(which[least], prepend=-1))]]  # of equal ones the first
    return len(rows)


def accumulate(
    X: CSR,
    labels: NDArray[np.int32],
    sums: Sums,
    *,
    old_labels: NDArray[np.int32] | None = None,
    weights: NDArray[np.float64] | None = None,
) -> None:
    """Add the rows to `sums` under `labels`, and subtract them under `old_labels`: the integers of the dense step."""
    d = X.n_features
    scratch: dict = {}
    scale = 1 / sums.grid.unit(0)
    w = np.ones(len(X)) if weights is None else weights
    _add_limbs((w * scale[d])[None, :], slice(d, d + 1), labels, old_labels, sums, scratch)
    to = labels.astype(np.int64)[X.rows] * (d + 1) + X.columns
    old = None if old_labels is None else old_labels.astype(np.int64)[X.rows] * (d + 1) + X.columns
    values = X.values.astype(np.float64)[None, :]
    for term in _terms(values, None if weights is None else weights[X.rows]):
        rest, places, from_ = term[0] * scale[X.columns], to, old
        for index in range(MAX_LIMBS):
            q = np.rint(rest)
            integers, limb = q.astype(np.int64), sums.limb(index).reshape(-1)
            np.add.at(limb, places, integers)
            if from_ is not None:
                np.subtract.at(limb, from_, integers)
            rest = (rest - q) * 2.0**sums.grid.bits
            left = np.flatnonzero(rest)
            if len(left) == 0:
                break
            rest, places, from_ = rest[left], places[left], None if from_ is None else from_[left]
