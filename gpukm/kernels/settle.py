"""settle: the nearest centroid of rows for which the filter leaves several, by D. Reference engine.

A call costs as much as scoring hundreds of rows, so rows are held until there are many.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._arrays import from_numpy, is_numpy, to_numpy
from gpukm.exact import U64, buffer, gamma, squared_distances
from gpukm.kernels.accumulate import sorted_order

Array = Any
PAIRS = 1 << 17  # of rows and centroids that are held, and float64 elements that comparing them may take at once


class Several:
    """Rows of `X` (m, d), of namespace `xp`, with the centroids that may be their nearest.

    Parameters
    ----------
    X : in the compute dtype
    centroids : (k, d)
    labels : (m,) int32, of which those of such rows are written
    """

    def __init__(self, X: Array, xp: Any, centroids: NDArray, labels: NDArray[np.int32]) -> None:
        self._X, self._xp, self._centroids, self._labels = X, xp, centroids, labels
        self._rows: list[NDArray[np.intp]] = []
        self._near: list[NDArray[np.bool_]] = []
        self._held = self._settled = 0

    def add(self, rows: NDArray[np.intp], near: NDArray[np.bool_]) -> None:
        """Rows that are added once, and which centroids may be their nearest: near (k, rows), one at least."""
        self._rows.append(rows)
        self._near.append(near)
        self._held += near.size
        if self._held >= PAIRS:
            self.settle()

    def settle(self) -> int:
        """Write the labels; returns how many rows had to be settled so far."""
        if self._held:
            rows, near = np.concatenate(self._rows), np.concatenate(self._near, axis=1)
            ks, which = np.divmod(np.flatnonzero(near), len(rows))
            order = sorted_order(which, len(rows))  # by row, then by centroid
            self._labels[rows] = self._nearest(rows[which[order]], ks[order])
            self._settled += len(rows)
            self._rows, self._near, self._held = [], [], 0
        return self._settled

    def _nearest(self, rows: NDArray, ks: NDArray) -> NDArray[np.intp]:
        """The centroid with the least D of each row, the first of equal ones, among its pairs, ordered by row.

        D summed in any order is within gamma_{d+2}(2^-53) of D, which leaves few pairs to compare by D itself, three
        times as slow.
        """
        d = self._X.shape[1]
        limit = max(PAIRS // d, 1)
        for distance, slack in [(_any_order, 1 + 4 * gamma(d + 4, U64)), (squared_distances, 1.0)]:
            D = np.empty(len(rows))
            for start in range(0, len(rows), limit):
                part = slice(start, start + limit)
                X = to_numpy(taken(self._X, self._xp, rows[part])).astype(np.float64)
                D[part] = distance(X, self._centroids[ks[part]])
            first = np.flatnonzero(np.diff(rows, prepend=-1))
            least = np.minimum.reduceat(D, first) * slack
            kept = np.flatnonzero(D <= np.repeat(least, np.diff(first, append=len(rows))))
            rows, ks = rows[kept], ks[kept]
            if len(rows) == len(first):
                break
        return ks[np.flatnonzero(np.diff(rows, prepend=-1))]


def _any_order(X: NDArray[np.float64], C: NDArray) -> NDArray[np.float64]:
    """(m,) D but for the order of the sum."""
    T = X - C
    return np.einsum("ij,ij->i", T, T)


def taken(X: Array, xp: Any, rows: NDArray, scratch: dict | None = None) -> Array:
    """Some rows of `X`; in a reused buffer where `scratch` has one."""
    if not is_numpy(xp):
        return xp.take(X, from_numpy(rows, X), axis=0)
    out = None if scratch is None else buffer(scratch, "taken", (len(rows), X.shape[1]), X.dtype)
    return np.take(X, rows, axis=0, out=out, mode="clip")
