"""potential: sum of w D over rows, D the squared distance to the nearest centre chosen so far. Reference engine.

The three questions of k-means++, each filtered in floating point and settled exactly, so that the answers depend on the
rows' contents alone: not on their order, their chunking, the threads, nor on repetition in place of weights.

* `draw`: the row at a quantile of the potential, rows ordered by a 64-bit hash of their content. (Rows of equal content
  are interchangeable. Two different rows with one hash would keep array order: probability below n^2 / 2^65.)
* `best`: of a few candidates, the one that lowers the potential most; ties go to the first.
* `commit`: lower D by a new centre.

Per row and round: a float32 product with the candidates, about 5 passes over their scores, one weighted bincount for
the draw; D itself only where a candidate may come nearer, about n/j rows for the j-th centre.
Memory: 26 bytes a row.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import TINY, U32, Grid, integer, margin, squared_distances, sums_like
from gpukm.kernels.accumulate import accumulate_scalars
from gpukm.kernels.assign import Scorer, scores
from gpukm.kernels.hashing import hash_rows

BITS = 10  # of a hash that number its bucket
BUCKETS = 1 << BITS
VALUES = 1 << 19  # values of a block: 1.5 times as fast as 2^17, where threads meet too often


class Potential:
    """State of a seeding: D of each row.

    Parameters
    ----------
    source : ArraySource, for its blocks of rows, its weights and its frame
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._n = source.n_samples
        self._weights = source.sample_weight
        self._D: NDArray[np.float64] | None = None  # before the first centre the potential is the weight
        self._parts: NDArray[np.float64] | None = None  # what `draw` needs of the potential, until it changes
        self._hashes, self._half = self._look()
        self._bucket = (self._hashes >> np.uint64(64 - BITS)).astype(np.uint16)
        index: Any = np.int32 if self._n < 2**31 else np.int64
        self._by_bucket = np.argsort(self._bucket, kind="stable").astype(index)  # 16 bits: by radix
        self._ends = np.cumsum(np.bincount(self._bucket, minlength=BUCKETS))
        self._order: NDArray[np.intp] | None = None

    def _look(self) -> tuple[NDArray[np.uint64], NDArray]:
        """((n,) hashes, (n,) |x'|^2 / 2)."""
        source, frame = self._source, self._source.frame
        hashes, half = np.empty(self._n, np.uint64), np.empty(self._n, np.float32)

        def visit(start: int, stop: int, scratch: dict) -> None:
            X = source.host_block(start, stop)
            hashes[start:stop] = hash_rows(X, source.engine)
            if source.engine == "numba":
                from gpukm.kernels.potential_numba import half_squares

                half[start:stop] = half_squares(X, frame.shift, frame.scale)
                return
            T = frame.apply(X)
            half[start:stop] = np.einsum("ij,ij->i", T, T) / 2

        self._visit(visit)
        return hashes, half

    def _visit(self, task: Callable[[int, int, dict], Any], compiled: bool = True) -> list[Any]:
        """Visit all rows, in blocks twice as long as usual: little is done with each value; longer by compiled code."""
        rows = self._source.long_visit if compiled else None
        return self._source.visit(task, rows=rows or max(VALUES // self._source.n_features, 64))

    # -- what a row weighs -------------------------------------------------------------------------

    def _terms(self, rows: Any) -> NDArray[np.float64]:
        """fl(w D) of some rows."""
        if self._D is None:
            return np.ones(len(self._hashes[rows])) if self._weights is None else self._weights[rows]
        D: NDArray[np.float64] = self._D[rows]
        return D if self._weights is None else D * self._weights[rows]

    def _exact(self, rows: NDArray | None = None) -> Fraction:
        """The exact potential of `rows` in units of the grid (of all rows when None)."""
        rows = np.arange(self._n) if rows is None else rows
        sums = sums_like(Grid.of(self._bound(), 2 * self._n), 1)
        for start in range(0, len(rows), 1 << 15):
            part = rows[start : start + (1 << 15)]
            D = self._D[part] if self._D is not None else np.ones(len(part))
            w = None if self._weights is None else self._weights[part]
            accumulate_scalars(D, np.zeros(len(part), np.int32), w, sums)
        value, shift = integer(sums, 0, 0)
        return Fraction(value) * Fraction(2) ** shift

    def _nearest(self) -> NDArray[np.float64]:
        assert self._D is not None, "commit a centre first"
        return self._D

    def _bound(self) -> float:
        largest = float(self._D.max()) if self._D is not None else 1.0
        return largest * (float(self._weights.max()) if self._weights is not None else 1.0)

    # -- the draw ----------------------------------------------------------------------------------

    def draw(self, fractions: NDArray[np.float64]) -> NDArray[np.int64]:
        """Rows at these quantiles of the potential: the first row, by hash, at which the running sum exceeds its share.

        When the whole potential is 0 (every row coincides with a centre) rows are drawn by weight alone.

        Parameters
        ----------
        fractions : (t,) float64 in [0, 1)

        Returns
        -------
        (t,) int64 indices
        """
        if self._parts is None:
            self._parts = self._bucket_sums()
        running = self._parts.cumsum()
        total = float(running[-1])
        if total == 0:
            D, self._D, self._parts = self._D, None, None
            by_weight = self.draw(fractions)
            self._D, self._parts = D, None
            return by_weight
        error, targets = self._doubt(total), fractions * total
        buckets = np.minimum(running.searchsorted(targets, side="right"), BUCKETS - 1)
        drawn = zip(fractions.tolist(), targets.tolist(), buckets.tolist(), strict=True)
        rows = [self._row(f, target, b, running[b - 1] if b else 0.0, error) for f, target, b in drawn]
        return np.array(rows, np.int64)

    def _doubt(self, total: float) -> float:
        """How much running sums of the potential, added in any order, may err."""
        return (self._n + BUCKETS + 64) * 2.0**-52 * total

    def _bucket_sums(self) -> NDArray[np.float64]:
        """(BUCKETS,) potential of the rows of each bucket, summed in any order."""
        parts = self._source.visit_numbers(
            lambda start, stop, _: np.bincount(self._bucket[start:stop], self._terms(slice(start, stop)), BUCKETS)
        )
        return np.sum(parts, axis=0)

    def _members(self, bucket: int) -> NDArray[np.signedinteger]:
        """The rows of a bucket, in order of hash."""
        rows = self._by_bucket[self._ends[bucket - 1] if bucket else 0 : self._ends[bucket]]
        return rows[self._hashes[rows].argsort(kind="stable")]

    def _row(self, fraction: float, target: float, bucket: int, before: float, error: float) -> int:
        """The row at `fraction` of the potential, which is `target`; `before` lies in the buckets before its own."""
        rows = self._members(bucket)
        sums = self._terms(rows).cumsum()
        sums += before
        at = int(sums.searchsorted(target, side="right"))
        below = sums[at - 1] if at else before
        if at < len(sums) and sums[at] - target > error and (target - below > error or below == 0):
            return int(rows[at])
        # Too close to call in floating point: bisect with exact sums.
        if self._order is None:
            self._order = np.argsort(self._hashes, kind="stable")
        goal = Fraction(fraction) * self._exact()
        low, high = 0, self._n - 1  # the first position whose inclusive exact sum exceeds the goal
        while low < high:
            middle = (low + high) // 2
            if self._exact(self._order[: middle + 1]) > goal:
                high = middle
            else:
                low = middle + 1
        return int(self._order[low])

    # -- the candidates ----------------------------------------------------------------------------

    def _gains(
        self, X: NDArray, scorer: Scorer, start: int, stop: int, scratch: dict
    ) -> tuple[NDArray, NDArray[np.float64]]:
        """Bounds on what candidates gain: (t, m) float32 upper bounds of (D - D(x, candidate)) / 2, (t,) their slack.

        Both in the frame's scale. Scores are lower bounds but for the row's part of the error, kappa |x'|^2 / 2; the
        stored |x'|^2 errs by less.
        """
        half = self._half[start:stop]
        kappa = margin(X.shape[1], U32)
        nearest = self._nearest()[start:stop] * (scorer.frame.scale**2 / 2)
        if scorer.hopeless:  # no candidate can gain more than all of D
            count = len(scorer.squares)
            return np.tile(np.float32(1 + 1e-6) * nearest.astype(np.float32), (count, 1)), np.full(
                count, 2 * nearest.max()
            )
        gains = scores(X, scorer, scratch)
        ceiling = nearest * (1 + kappa) - half * (1 - 6 * kappa) + TINY
        np.subtract(ceiling.astype(np.float32), gains, out=gains)
        return gains, 4 * kappa * (scorer.squares + ceiling.max() + 4 * float(half.max())) + TINY

    def best(self, candidates: NDArray) -> int:
        """Index of the candidate that leaves the least potential; ties go to the first.

        Parameters
        ----------
        candidates : (t, d) rows of the data
        """
        total, error = self._weigh(candidates, Scorer.of(self._source.frame, candidates, self._source.engine))
        rounding = (self._n + 64) * 2.0**-52 * total
        total, error = total + rounding, error + 2 * rounding
        leader = int(np.argmax(total - error))
        close = np.flatnonzero(total >= total[leader] - error[leader])
        close = np.sort(list({candidates[t].tobytes(): t for t in close[::-1]}.values()))  # of equal rows the first
        if len(close) == 1:
            return int(close[0])
        exact = [self._exact_gain(candidates[t]) for t in close]
        return int(close[exact.index(max(exact))])

    def _weigh(self, candidates: NDArray, scorer: Scorer) -> tuple[NDArray, NDArray]:
        """((t,) upper bounds of what each candidate gains, (t,) how much they may exceed it but for rounding)."""
        D = self._nearest()

        def visit(start: int, stop: int, scratch: dict) -> NDArray:
            if scorer.packed is not None:
                from gpukm.kernels.potential_numba import gains as weigh

                own = slice(start, stop)
                w = None if self._weights is None else self._weights[own]
                return weigh(self._source.host_block(start, stop), scorer, self._half[own], D[own], w)
            gains, error = self._gains(self._source.host_block(start, stop), scorer, start, stop, scratch)
            near = gains > 0
            np.maximum(gains, 0, out=gains)
            if self._weights is None:
                return np.stack([gains.sum(axis=1, dtype=np.float64), np.count_nonzero(near, axis=1) * error])
            w = self._weights[start:stop]
            return np.stack([gains.astype(np.float64) @ w, (near @ w) * error])

        total, error = np.sum(self._visit(visit), axis=0)
        return total, error

    def _improvable(self, scorer: Scorer, start: int, stop: int, scratch: dict) -> tuple[NDArray, NDArray]:
        """(rows of a block that a centre may come nearer to, their D to it)."""
        X = self._source.host_block(start, stop)
        rows = np.flatnonzero(self._gains(X, scorer, start, stop, scratch)[0][0] > 0)
        return rows + start, squared_distances(X if len(rows) == len(X) else X[rows], scorer.centroids, scratch)

    def _exact_gain(self, candidate: NDArray) -> int:
        """How much the candidate lowers the exact potential, in units of one grid."""
        scorer = Scorer.of(self._source.frame, candidate[None, :])
        grid = Grid.of(self._bound(), 2 * self._n)

        def visit(start: int, stop: int, scratch: dict) -> int:
            rows, D = self._improvable(scorer, start, stop, scratch)
            w = None if self._weights is None else np.tile(self._weights[rows], 2)
            sums = sums_like(grid, 2)
            old = self._nearest()[rows]
            labels = np.repeat(np.arange(2, dtype=np.int32), len(rows))
            accumulate_scalars(np.concatenate([old, np.minimum(old, D)]), labels, w, sums)
            return integer(sums, 0, 0)[0] - integer(sums, 1, 0)[0]

        return sum(self._visit(visit, compiled=False))

    def start(self, D: NDArray[np.float64]) -> None:
        """Begin with the distances (n,) to centres that were chosen in another way; kept, and lowered in place."""
        self._D, self._parts = D, None

    def take(self, D: NDArray[np.float64]) -> Any:
        """Lower D to the distances (n,) to other centres; (n,) whether that lowered it, None where there was none."""
        self._parts = None
        if self._D is None:
            self._D = D
            return None
        nearer = D < self._D
        np.minimum(self._D, D, out=self._D)
        return nearer

    def commit(self, centroid: NDArray) -> None:
        """Lower D by the centre `centroid` (d,)."""
        self._parts = None
        first, centre = self._D is None, centroid[None, :]
        D = np.empty(self._n) if self._D is None else self._D

        def fused(start: int, stop: int, scratch: dict) -> NDArray:
            from gpukm.kernels.potential_numba import lower

            own = slice(start, stop)
            w = None if self._weights is None else self._weights[own]
            return lower(self._source.host_block(start, stop), centre, first, D[own], w, self._bucket[own], BUCKETS)

        def begin(start: int, stop: int, scratch: dict) -> None:
            D[start:stop] = squared_distances(self._source.host_block(start, stop), centre, scratch)

        def visit(start: int, stop: int, scratch: dict) -> None:
            rows, new = self._improvable(scorer, start, stop, scratch)
            D[rows] = np.minimum(D[rows], new)

        if self._source.engine == "numba":
            self._parts = np.sum(self._visit(fused), axis=0)
        elif first:
            self._visit(begin)
        else:
            scorer = Scorer.of(self._source.frame, centre)
            self._visit(visit)
        self._D = D

    def ahead(self, row: int, fractions: NDArray[np.float64]) -> list[int]:
        """Centres of rounds of k-means++ that need not the caller, from `row` on: up to m for `fractions` (m, t).

        A round lowers D by the last centre, draws t candidates and makes the best the next centre. Here there are none.
        """
        return []

    def farthest(self) -> int:
        """The row with the greatest D among those with weight; ties go to the lowest hash."""
        D = self._nearest() if self._weights is None else np.where(self._weights > 0, self._nearest(), -1.0)
        ties = np.flatnonzero(D == D.max())
        return int(ties[np.argmin(self._hashes[ties])])

    def _exclude(self, rows: NDArray) -> None:
        self._nearest()[rows] = 0.0

    def _hashes_of(self, rows: NDArray) -> NDArray[np.uint64]:
        return self._hashes[rows]
