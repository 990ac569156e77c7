"""assign: the nearest centroid of each row of a block. Reference engine.

Filter and settle (`gpukm.exact`, point 2): scores by one matrix product, the least of each row, and every centroid
whose score is within the certified margin of it. Rows with one such centroid are done; the others are settled by D.

    X (m, d) float32|float64    centroids (k, d) as X    ->    labels (m,) int32, number of undecided rows

`_block_numpy` is the formulation measured fastest in plain NumPy (float32 product, scores k x m, buffers reused);
`_block_array_api` runs on any namespace, in float64, which no library silently replaces by TF32 or bfloat16. Cost of
a block: 2 m k d FLOP, about 3 passes over the m k scores.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._arrays import from_numpy, is_numpy, to_numpy
from gpukm.exact import TINY, U32, U64, buffer, margin
from gpukm.kernels.bounds import FARTHEST, NEVER, Part
from gpukm.kernels.settle import Several, taken

Array = Any
NUMBERS = np.arange(255, dtype=np.uint8)[:, None]  # of the centroids of a group; 255 of them count without overflow
NARROW = 12  # up to here rows are transposed and centred into a buffer, with a row of ones; above, BLAS reads X itself
FEW = 256  # clusters, of which the scores of a row cost less than some copies of it
SCORES = 1 << 20  # scores a block: smaller ones fit caches better, but threads then meet too often
FAR = 2.0**60  # centroids this far off (in the frame's scale) would overflow float32 scores: D alone settles


@dataclass(frozen=True)
class Frame:
    """Shift and scale that bring the rows of a data set near the origin, where the margin is small.

    Attributes
    ----------
    shift : (d,) compute dtype; zeros where centring would gain less than it costs
    scale : a power of two
    power : rows are at most 2**power long before they are scaled
    typical : most rows are about 2**typical long
    """

    shift: NDArray
    scale: float
    power: int
    typical: int

    @classmethod
    def of(
        cls,
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        centre: NDArray,
        scatter: float,
        n_clusters: int | None = None,
    ) -> "Frame":
        """The frame for rows within [low, high] about `centre` (d,), in the compute dtype.

        `scatter` is the squared distance to it that most have. Wide rows have to be copied to be centred, which pays
        where it makes their squares half as long at least; with few clusters, where a copy weighs more, less often.
        """
        longer = max(FEW / (n_clusters or FEW), 1.0)
        if len(low) > NARROW and float(np.sum(centre.astype(np.float64) ** 2)) <= longer * scatter:
            scatter += float(np.sum(centre.astype(np.float64) ** 2))
            centre = np.zeros_like(centre)
        radius = float(np.sqrt(np.sum(np.maximum(high - centre, centre - low) ** 2)))
        power = int(np.frexp(radius)[1])
        typical = int(np.frexp(np.sqrt(scatter))[1])
        return cls(centre, 1.0 if abs(power) <= 30 or radius == 0 else 2.0**-power, power, typical)

    @property
    def length(self) -> float:
        """About how long most rows are, once they are scaled."""
        return 0.75 * 2.0**self.typical * self.scale

    @property
    def plain(self) -> bool:
        """Whether rows may be used as they are."""
        return self.scale == 1.0 and not self.shift.any()

    def apply(self, X: NDArray, scratch: dict | None = None) -> NDArray[np.float32]:
        """(m, d) float32: rows shifted in their own dtype, scaled, rounded once; X itself where nothing is to do."""
        if self.plain:
            return X.astype(np.float32, copy=False)
        if self.scale != 1.0:  # in float64, where neither the shift nor the scale can overflow
            return ((X.astype(np.float64) - self.shift) * self.scale).astype(np.float32)
        out = buffer({} if scratch is None else scratch, "framed", X.shape, np.float32)
        return np.subtract(X, self.shift, out=out, casting="same_kind")

    def slack(self, X: NDArray) -> NDArray[np.float32]:
        """(m,) float32: kappa |x'|^2, rounded up, from which the margin is made; see `gpukm.exact`, point 2."""
        T = self.apply(X)
        factor, tiny = slack_terms(X.shape[1])
        squares = np.einsum("ij,ij->i", T, T)
        squares *= factor
        squares += tiny
        return squares


def slack_terms(n_features: int) -> tuple[np.float32, np.float32]:
    """(factor, constant) that make the margin's kappa |x'|^2, rounded up, of a computed |x'|^2."""
    kappa = margin(n_features, U32)
    return np.float32(kappa * (1 + 40 * kappa) * (1 + 2 * kappa)), np.float32(TINY)


@dataclass(frozen=True)
class Scorer:
    """Centroids made ready to score blocks: once an iteration.

    Attributes
    ----------
    operand : (k, d + 1) float32: -c' and |c'|^2 / 2 - kappa |c'|^2, so that scores are lower bounds up to the row's
    part
    squares : (k,) float64 |c'|^2
    kappa20, most : 20 kappa' and 2 kappa' max |c'|^2, for how much the best centroid itself may err
    hopeless : whether float32 scores can prove nothing: too many features, or centroids too far from all rows
    packed : the same for the Numba engine; None for others, and where hopeless
    """

    frame: Frame
    centroids: NDArray
    operand: NDArray[np.float32]
    squares: NDArray[np.float64]
    kappa20: np.float32
    most: np.float32
    hopeless: bool
    packed: Any = None

    @classmethod
    def of(cls, frame: Frame, centroids: NDArray, engine: str = "numpy") -> "Scorer":
        """Frame the centroids; `centroids` (k, d) in the compute dtype."""
        kappa = margin(centroids.shape[1], U32)
        with np.errstate(over="ignore", invalid="ignore"):
            C = frame.apply(centroids)
            C64 = (centroids.astype(np.float64) - frame.shift) * frame.scale
            squares = (C64 * C64).sum(axis=1)
            lower = (squares * (0.5 - kappa)).astype(np.float32)
        hopeless = not (squares.max() < FAR**2 and kappa < 0.01)
        wider = kappa * (1 + 40 * kappa)
        with np.errstate(over="ignore"):
            most = np.float32(2 * wider * squares.max() * (1 + 1e-6))
        operand = np.concatenate([-C, lower[:, None]], axis=1)
        scorer = cls(frame, centroids, operand, squares, np.float32(20 * wider), most, hopeless)
        if engine != "numba" or hopeless:
            return scorer
        from gpukm.kernels.strips_numba import Packed

        return replace(scorer, packed=Packed.of(scorer))


def assign(
    X: Array,
    xp: Any,
    scorer: Scorer,
    slack: NDArray[np.float32] | None,
    labels: NDArray[np.int32],
    scratch: dict,
    bounds: Part | None = None,
    *,
    rows: int,
    some: NDArray[np.intp] | None = None,
) -> int:
    """Label rows: choose the formulation.

    Parameters
    ----------
    X : (m, d) C-contiguous rows in the compute dtype, of namespace `xp`
    scorer : the centroids
    slack : (m,) float32 from ``scorer.frame.slack``, for the reference engine, written where it is -1; may be None
    labels : (m,) int32 NumPy, written
    scratch : buffers kept between calls, one dict a thread
    bounds : whose limits are written, for the engines that keep some
    rows : to score at once, from `block_rows`
    some : numbers of the rows to label, ascending, for the reference engine; None for all

    Returns
    -------
    How many rows had to be settled.
    """
    if scorer.packed is not None:
        from gpukm.kernels import assign_numba as fast

        return fast.assign(X, scorer.packed, labels)
    several = Several(X, xp, scorer.centroids, labels)
    count = X.shape[0] if some is None else len(some)
    for start in range(0, count, rows):
        part: Any = slice(start, min(start + rows, count)) if some is None else some[start : start + rows]
        own_labels, own_bounds = labels[part], None if bounds is None else bounds.of(part)
        block = X[part, :] if some is None else taken(X, xp, part, scratch)
        if scorer.hopeless:
            found, near = np.arange(len(own_labels)), np.ones((len(scorer.centroids), len(own_labels)), np.bool_)
            if own_bounds is not None:
                own_bounds.limits[...] = NEVER
        elif is_numpy(xp):
            own_slack = None if slack is None else slack[part]
            if own_slack is None or own_slack[0] < 0:
                own_slack = scorer.frame.slack(block)
                if slack is not None:
                    slack[part] = own_slack
            found, near = _block_numpy(block, scorer, own_slack, own_labels, scratch, own_bounds)
        else:
            found, near = _block_array_api(block, xp, scorer, own_labels)
        if some is not None:  # copies so far
            labels[part] = own_labels
            if bounds is not None and own_bounds is not None:
                bounds.limits[part], bounds.reach[part] = own_bounds.limits, own_bounds.reach
        several.add(found + start if some is None else part[found], near)
    return several.settle()


def block_rows(n_clusters: int, n_features: int, max_memory: int) -> int:
    """Rows a block: SCORES scores or values, 512 rows for the product's sake, in `max_memory` bytes a thread."""
    within = max_memory // (5 * n_clusters + 20 * n_features)
    return int(max(min(max(SCORES // max(n_clusters, n_features), 512), within, 1 << 15), 1))


def scores(X: NDArray, scorer: Scorer, scratch: dict) -> NDArray[np.float32]:
    """(k, m) float32 scores, in a reused buffer: reductions over centroids then run along rows, a block at once."""
    m, d = X.shape
    out = buffer(scratch, "scores", (len(scorer.operand), m), np.float32)
    if d > NARROW:
        np.matmul(scorer.operand[:, :d], scorer.frame.apply(X, scratch).T, out=out)
        out += scorer.operand[:, d:]
        return out
    T = buffer(scratch, "rows", (d + 1, m), np.float32)
    if scorer.frame.scale == 1.0:
        np.subtract(X.T, scorer.frame.shift[:, None], out=T[:d], casting="same_kind")
    else:
        T[:d] = scorer.frame.apply(X).T
    T[d] = 1.0
    return np.matmul(scorer.operand, T, out=out)


def _block_numpy(
    X: NDArray,
    scorer: Scorer,
    slack: NDArray[np.float32],
    labels: NDArray[np.int32],
    scratch: dict,
    bounds: Part | None,
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Label the rows that one centroid is near enough to; returns the others and which centroids are, (k, others)."""
    S = scores(X, scorer, scratch)
    k, m = S.shape
    least = np.minimum.reduce(S, axis=0)
    threshold = least * scorer.kappa20
    threshold += np.float32(12.5) * slack
    np.minimum(threshold, scorer.most, out=threshold)
    threshold += np.float32(1.25) * slack
    threshold += least
    near = np.less_equal(S, threshold, out=buffer(scratch, "near", (k, m), np.bool_))
    open_rows = _label(near, labels, scratch)
    if bounds is not None:
        S[labels, np.arange(m)] = FARTHEST
        second = np.minimum.reduce(S, axis=0)
        second[open_rows] = threshold[open_rows]
        bounds.write(labels, second, threshold, slack, X.shape[1])
    return open_rows, np.take(near, open_rows, axis=1)


def _label(near: NDArray[np.bool_], labels: NDArray[np.int32], scratch: dict) -> NDArray[np.intp]:
    """Write the number of the one centroid near each row of `near` (k, m), 0 for rows with several; return those.

    Bytes are counted and combined by the vector; that is five times as fast as searching for positions.
    """
    counts, numbers = _count(near[: len(NUMBERS)], scratch)
    for first in range(len(NUMBERS), len(near), len(NUMBERS)):
        count, number = _count(near[first : first + len(NUMBERS)], scratch)
        counts = counts + count.astype(np.int32)
        numbers = numbers + (number + np.int32(first) * count)
    labels[...] = numbers
    open_rows = np.flatnonzero(counts != 1)
    labels[open_rows] = 0
    return open_rows


def _count(near: NDArray[np.bool_], scratch: dict) -> tuple[NDArray, NDArray]:
    """How many of at most 255 centroids are near each row, and the number of the one, (m,) uint8."""
    ones = near.view(np.uint8)
    numbered = np.multiply(ones, NUMBERS[: len(ones)], out=buffer(scratch, "numbered", ones.shape, np.uint8))
    return np.add.reduce(ones, axis=0, dtype=np.uint8), np.bitwise_or.reduce(numbered, axis=0)


def _block_array_api(X: Array, xp: Any, scorer: Scorer, labels: NDArray[np.int32]) -> tuple[NDArray, NDArray]:
    """The same in array-API terms, in float64; the few open rows, and what is near them, come to the host."""
    kappa = margin(X.shape[1], U64)
    shift = from_numpy(scorer.frame.shift.astype(np.float64), X)
    C = (scorer.centroids.astype(np.float64) - scorer.frame.shift) * scorer.frame.scale
    T = (xp.astype(X, xp.float64) - shift) * scorer.frame.scale
    lower = from_numpy(scorer.squares * (0.5 - kappa), X)
    S = lower - xp.matmul(T, from_numpy(np.ascontiguousarray(C.T), X))
    slack = xp.sum(T * T, axis=1) * (14 * kappa) + TINY  # so fine that the minimum with max |c'|^2 would gain nothing
    near = (xp.min(S, axis=1) * (1 + 20 * kappa) + slack)[:, None] >= S
    labels[...] = to_numpy(xp.astype(xp.argmin(S, axis=1), xp.int32))
    (rows,) = xp.nonzero(xp.sum(xp.astype(near, xp.int32), axis=1) != 1)
    return to_numpy(rows), to_numpy(xp.take(near, rows, axis=0)).T
