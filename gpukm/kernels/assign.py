"""assign: the nearest centroid of each row of a block. Reference engine.

Filter and settle (`gpukm.exact`, point 2): scores by one matrix product, the least of each row, and every centroid
whose score is within the certified margin of it. Rows with one such centroid are done; the others are settled by D.

    X (m, d) float32|float64    centroids (k, d) as X    ->    labels (m,) int32, number of undecided rows

`_block_numpy` is the formulation measured fastest in plain NumPy (float32 product, scores k x m, buffers reused);
`_block_array_api` runs on any namespace, in float64, which no library silently replaces by TF32 or bfloat16. Cost of
a block: 2 m k d FLOP, about 3 passes over the m k scores.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._arrays import from_numpy, is_numpy, to_numpy
from gpukm.exact import TINY, U32, U64, buffer, margin, squared_distances

Array = Any
FEW = 64  # up to here a product with (1, k) finds count and label; above, the positions do (measured crossover 50-100)
NARROW = 16  # up to here rows are transposed and centred into a buffer, with a row of ones; above, BLAS reads X itself
SCORES = 1 << 18  # scores a block, so that they stay in the second-level cache
FAR = 2.0**60  # centroids this far off (in the frame's scale) would overflow float32 scores: D alone settles
PAIRS = 1 << 17  # float64 elements a settling step may hold


@dataclass(frozen=True)
class Frame:
    """Shift and scale that bring the rows of a data set near the origin, where the margin is small.

    Attributes
    ----------
    shift : (d,) compute dtype; zeros where centring would gain less than it costs
    scale : a power of two
    """

    shift: NDArray
    scale: float

    @classmethod
    def of(cls, low: NDArray[np.float64], high: NDArray[np.float64], centre: NDArray) -> "Frame":
        """The frame for rows within [low, high], with their mean (or so) at `centre` in the compute dtype."""
        radius = float(np.sqrt(np.sum(np.maximum(high - centre, centre - low) ** 2)))
        offset = float(np.sqrt(np.sum(np.maximum(np.abs(low), np.abs(high)) ** 2)))
        if len(low) > NARROW and offset <= 2 * radius:  # narrow rows are copied anyway, so centring is free
            centre, radius = np.zeros_like(centre), offset
        power = int(np.frexp(radius)[1])
        return cls(centre, 1.0 if abs(power) <= 30 or radius == 0 else 2.0**-power)

    @property
    def plain(self) -> bool:
        """Whether rows may be used as they are."""
        return self.scale == 1.0 and not self.shift.any()

    def apply(self, X: NDArray) -> NDArray[np.float32]:
        """(m, d) float32: rows shifted in their own dtype, scaled, rounded once."""
        if self.plain:
            return X.astype(np.float32, copy=False)
        if self.scale != 1.0:  # in float64, where neither the shift nor the scale can overflow
            return ((X.astype(np.float64) - self.shift) * self.scale).astype(np.float32)
        return (X - self.shift).astype(np.float32, copy=False)

    def radii(self, X: NDArray) -> NDArray[np.float32]:
        """(m,) float32: upper bounds of the norms of framed rows."""
        T = self.apply(X)
        return np.sqrt(np.einsum("ij,ij->i", T, T)) * np.float32(1 + 2 * margin(T.shape[1], U32)) + np.float32(2.0**-60)


@dataclass(frozen=True)
class Scorer:
    """Centroids made ready to score blocks: once an iteration."""

    frame: Frame
    centroids: NDArray
    operand: NDArray[np.float32]  # (k, d + 1): -c' and |c'|^2 / 2
    reach: float  # max |c'|, rounded up

    @classmethod
    def of(cls, frame: Frame, centroids: NDArray) -> "Scorer":
        """Frame the centroids; `centroids` (k, d) in the compute dtype."""
        with np.errstate(over="ignore"):  # centroids that far off are not scored: see FAR
            C = frame.apply(centroids)
            C64 = (centroids.astype(np.float64) - frame.shift) * frame.scale
            half = (C64 * C64).sum(axis=1) / 2
            reach = float(np.sqrt(2 * half.max()) * (1 + 1e-12))
            return cls(frame, centroids, np.concatenate([-C, half.astype(np.float32)[:, None]], axis=1), reach)

    def slack(self, radii: NDArray[np.float32]) -> NDArray[np.float32]:
        """2E for each row: a centroid this much behind the best cannot win."""
        return slack(radii, self.reach, self.centroids.shape[1])


def slack(radii: NDArray[np.float32], reach: float, n_features: int) -> NDArray[np.float32]:
    """2E of the contract for float32 scores of rows with norms up to `radii` and centroids up to `reach`."""
    kappa = np.float32(margin(n_features, U32) * (1 + 2.0**-20))
    return (radii + np.float32(reach * (1 + 1e-6))) ** 2 * kappa + np.float32(TINY)


def assign(X: Array, xp: Any, scorer: Scorer, radii: NDArray[np.float32] | None, scratch: dict) -> tuple[NDArray, int]:
    """Labels of one block of rows: choose the formulation.

    Parameters
    ----------
    X : (m, d) C-contiguous block in the compute dtype, of namespace `xp`
    scorer : the centroids
    radii : (m,) float32 from ``scorer.frame.radii``; computed here when None
    scratch : buffers kept between blocks, one dict a thread

    Returns
    -------
    labels : (m,) int32 NumPy
    undecided : rows that had to be settled
    """
    if scorer.reach > FAR:
        return settle(to_numpy(X), scorer.centroids, np.ones((len(scorer.centroids), X.shape[0]), np.bool_)), X.shape[0]
    if not is_numpy(xp):
        return _block_array_api(X, xp, scorer)
    return _block_numpy(X, scorer, scorer.frame.radii(X) if radii is None else radii, scratch)


def block_rows(n_clusters: int, n_features: int, max_memory: int) -> int:
    """Rows a block: SCORES scores, at least 256 rows for the product's sake, and within `max_memory` bytes a thread."""
    rows = max(SCORES // n_clusters, 256)
    within = max_memory // (5 * n_clusters + 20 * n_features)
    return int(max(min(rows, within, 1 << 15), 1))


def scores(X: NDArray, scorer: Scorer, scratch: dict) -> NDArray[np.float32]:
    """(k, m) float32 scores, in a reused buffer: reductions over centroids then run along rows, a block at once."""
    m, d = X.shape
    out = buffer(scratch, "scores", (len(scorer.operand), m), np.float32)
    if d > NARROW:
        np.matmul(scorer.operand[:, :d], scorer.frame.apply(X).T, out=out)
        out += scorer.operand[:, d:]
        return out
    T = buffer(scratch, "rows", (d + 1, m), np.float32)
    if scorer.frame.scale == 1.0:
        for j in range(d):
            np.subtract(X[:, j], scorer.frame.shift[j], out=T[j], casting="same_kind")
    else:
        T[:d] = scorer.frame.apply(X).T
    T[d] = 1.0
    return np.matmul(scorer.operand, T, out=out)


def _block_numpy(X: NDArray, scorer: Scorer, radii: NDArray[np.float32], scratch: dict) -> tuple[NDArray, int]:
    """Labels from scores: certified where one centroid is near enough, settled where several are."""
    S = scores(X, scorer, scratch)
    k, m = S.shape
    threshold = np.minimum.reduce(S, axis=0)
    threshold += scorer.slack(radii)
    near = np.less_equal(S, threshold, out=buffer(scratch, "near", (k, m), np.bool_))
    if k <= FEW:
        np.copyto(S, near)
        ones_and_labels = np.stack([np.ones(k, np.float32), np.arange(k, dtype=np.float32)])
        counts, found = ones_and_labels @ S
        labels = found.astype(np.int32)
        rows = np.flatnonzero(counts != 1)
    else:
        positions = np.flatnonzero(near)
        found, which = (
            (positions >> (m.bit_length() - 1), positions & (m - 1)) if m & (m - 1) == 0 else divmod(positions, m)
        )
        labels = np.empty(m, np.int32)
        labels[which] = found
        rows = np.flatnonzero(np.bincount(which, minlength=m) != 1) if len(positions) != m else positions[:0]
    if len(rows):
        labels[rows] = settle(X[rows], scorer.centroids, near[:, rows])
    return labels, len(rows)


def settle(X: NDArray, centroids: NDArray, near: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Labels of X (m, d) by D among the centroids marked in `near` (k, m), one or more a row; ties: lowest k."""
    labels = np.empty(len(X), np.int32)
    counts = np.count_nonzero(near, axis=0)
    limit = max(PAIRS // X.shape[1], 1)
    start = 0
    while start < len(X):
        stop = start + max(int(np.searchsorted(np.cumsum(counts[start:]), limit, side="right")), 1)
        rows, ks = np.nonzero(near[:, start:stop].T)  # by row, then by k
        D = np.concatenate(
            [
                squared_distances(X[start + rows[a : a + limit]], centroids[ks[a : a + limit]])
                for a in range(0, len(rows), limit)
            ]
        )
        first = np.searchsorted(rows, np.arange(stop - start))
        least = np.flatnonzero(np.minimum.reduceat(D, first)[rows] == D)
        labels[start:stop] = ks[least[np.searchsorted(rows[least], np.arange(stop - start))]]
        start = stop
    return labels


def _block_array_api(X: Array, xp: Any, scorer: Scorer) -> tuple[NDArray, int]:
    """The same steps in array-API terms, in float64; the few undecided rows are settled on the host."""
    shift = from_numpy(scorer.frame.shift.astype(np.float64), X)
    C = (scorer.centroids.astype(np.float64) - scorer.frame.shift) * scorer.frame.scale
    half = (C * C).sum(axis=1) / 2
    T = (xp.astype(X, xp.float64) - shift) * scorer.frame.scale
    S = from_numpy(half, X) - xp.matmul(T, from_numpy(np.ascontiguousarray(C.T), X))
    radii = xp.sqrt(xp.sum(T * T, axis=1)) * (1 + 1e-6)
    slack = (radii + scorer.reach) ** 2 * margin(X.shape[1], U64) + TINY
    near = S <= (xp.min(S, axis=1) + slack)[:, None]
    labels = to_numpy(xp.astype(xp.argmin(S, axis=1), xp.int32)).copy()
    (rows,) = xp.nonzero(xp.sum(xp.astype(near, xp.int32), axis=1) != 1)
    if rows.shape[0]:
        labels[to_numpy(rows)] = settle(
            to_numpy(xp.take(X, rows, axis=0)), scorer.centroids, to_numpy(xp.take(near, rows, axis=0)).T
        )
    return labels, int(rows.shape[0])
