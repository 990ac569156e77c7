"""Samples in memory and what is known of their columns: bounds, statistics, and the grids and the frame they give.

With these the distances of all rows are added up.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from queue import LifoQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm import kernels
from gpukm._blocks import Blocks
from gpukm._nonfinite import nonfinite
from gpukm.exact import Grid, Sums, check_range, sums_like
from gpukm.sources import ColumnStats

Array = Any
LONG = 1 << 22  # values of a visit in which compiled code looks at rows in place: to hand out a block takes 0.1 ms
SAMPLE = 128  # rows that tell where the others are
FAR_OFF = 64  # times the median squared distance: a row beyond it has pulled their mean away from most of them


class Measured(Blocks):
    """Blocks of weighted samples whose columns have been looked at; the parameters are those of `ArraySource`."""

    def __init__(
        self,
        X: Array,
        sample_weight: NDArray[np.float64] | None,
        dtype: np.dtype,
        max_memory: int,
        n_threads: int | None,
        block_rows: int | None,
    ) -> None:
        super().__init__(X, dtype, max_memory, n_threads, block_rows)
        self.sample_weight = sample_weight
        self._compared = kernels.MANY  # centroids, over and over
        self.engine = self._best_engine()
        self._stats: ColumnStats | None = None
        self._bounds: tuple[NDArray, NDArray] | None = None
        self._frame: kernels.Frame | None = None
        self._n_clusters: int | None = None  # of the steps to come, where that is known
        self._whole = False  # until the statistics know better
        self._grid: Grid | None = None

    def _best_engine(self) -> str:
        """The engine for these rows as things stand: compiled code may be there later."""
        n_values, rows = self.n_samples * self.n_features, (self.dtype, self.n_features)
        return kernels.engine_name(self._xp, n_values, self._compared, rows)

    @property
    def long_visit(self) -> int | None:
        """Rows of a visit to which the engine's own code takes no memory; None where it does."""
        return max(LONG // self.n_features, 64) if self.engine == "numba" and self._in_place else None

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(minimum, maximum) of each column, (d,) float64; raises ValueError on NaN, infinity or an unusable range."""
        if self._bounds is None:
            low, high = self._extremes()
            if self.dtype == np.float64:
                check_range(float(np.maximum(-low, high).max()), float((high - low).max()))
            self._bounds = low, high
        return self._bounds

    def _extremes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """`bounds` of finite rows of any range; raises ValueError on NaN and infinity."""

        def visit(start: int, stop: int, scratch: dict) -> tuple[NDArray, NDArray]:
            return kernels.extremes(self.host_block(start, stop), self.engine)

        with np.errstate(invalid="ignore"):
            lows, highs = zip(*self.visit(visit, rows=self.long_visit), strict=True)
        low, high = np.min(lows, axis=0).astype(np.float64), np.max(highs, axis=0).astype(np.float64)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            self._raise_nonfinite()
        return low, high

    def _raise_nonfinite(self) -> None:
        """Name the first row and column that is NaN or infinite."""
        for start in range(0, self.n_samples, 4096):
            X = self.host_block(start, min(start + 4096, self.n_samples))
            for row, column in np.argwhere(~np.isfinite(X))[:1]:
                raise nonfinite("X", start + int(row), int(column), float(X[row, column]))

    def look(self) -> None:
        """Look at the values: raises as `bounds` does. The statistics will be wanted."""
        self.bounds()

    def stats(self) -> ColumnStats:
        """Column statistics, kept: one pass for the sums, one for the distances to the mean."""
        if self._stats is None:
            self._stats = self._stats_of(self._distance_sums(*self._about_mean()))
        return self._stats

    def _about_mean(self) -> tuple[Grid, NDArray[np.float64], None]:
        """What `_distance_sums` makes totss of."""
        low, high = self.bounds()
        grid = Grid.of(float(np.sum((high - low) ** 2)) * 1.01 * self._w_max, self.n_samples)
        return grid, self._mean[0][None, :], None

    def _stats_of(self, squares: Sums) -> ColumnStats:
        return ColumnStats(*self.bounds(), *self._mean, float(squares.totals()[0, 0]))

    @cached_property
    def _mean(self) -> tuple[NDArray[np.float64], float]:
        """((d,) the mean, total weight)."""
        return self._summed()

    def _summed(self) -> tuple[NDArray[np.float64], float]:
        sums = self._column_sums()
        self._whole = sums.used == 1 and self.sample_weight is None
        return sums.means()[0], float(sums.weights()[0])

    def _column_sums(self) -> Sums:
        """The sums of all rows as one cluster."""

        def visit(start: int, stop: int, scratch: dict) -> None:
            if "sums" not in scratch:
                scratch["sums"] = sums_like(self.grid, 1)
            X, w = self.host_block(start, stop), self._weights(start, stop)
            zeros = np.zeros(len(X), np.int32)
            kernels.accumulate(X, np, zeros, scratch["sums"], weights=w, scratch=scratch, engine=self.engine)

        return self._collect(visit)

    def inertia(self, centroids: NDArray, labels: NDArray[np.int32]) -> tuple[NDArray[np.float64], float]:
        """((k,) sum of w D of each cluster, their total), each an exact sum rounded once."""
        return rounded(self._inertia_sums(centroids, labels))

    def total_inertia(self, centroids: NDArray, labels: NDArray[np.int32]) -> float:
        """The total alone: rounding it takes a fifth of the time, which small batches notice."""
        return float(self._inertia_sums(centroids, labels).whole().totals()[0, 0])

    def _inertia_sums(self, centroids: NDArray, labels: NDArray[np.int32]) -> Sums:
        return self._distance_sums(self._inertia_grid(centroids), centroids, labels)

    def _distance_sums(self, grid: Grid, centroids: NDArray, labels: Any) -> Sums:
        """w D of the rows to the centroids of their `labels`, added by cluster; labels None: all of the first."""
        return self._collect(self._adding_distances(grid, centroids, labels))

    def _adding_distances(self, grid: Grid, centroids: NDArray, labels: Any) -> Callable[[int, int, dict], None]:
        def visit(start: int, stop: int, scratch: dict) -> None:
            if "sums" not in scratch:
                scratch["sums"] = sums_like(grid, len(centroids))
            X, w = self.host_block(start, stop), self._weights(start, stop)
            own = np.zeros(len(X), np.int32) if labels is None else labels[start:stop]
            kernels.add_inertia(X, centroids, own, w, scratch["sums"], scratch, self.engine)

        return visit

    def _collect(self, visit: Callable[[int, int, dict], Any]) -> Sums:
        """Run `visit` on all blocks and add up what each thread left in ``scratch["sums"]``."""
        pool: LifoQueue = LifoQueue()
        self.visit(visit, rows=self.long_visit, scratch=pool)
        return collected(pool)

    def _weights(self, start: int, stop: int) -> NDArray[np.float64] | None:
        return None if self.sample_weight is None else self.sample_weight[start:stop]

    @property
    def grid(self) -> Grid:
        """The grid of the sums w x_j, and of w in the last column."""
        if self._grid is None or self._grid.whole != self._whole:
            low, high = self.bounds()
            grid = Grid.of(np.append(np.maximum(-low, high), 1.0) * self._w_max, self.n_samples)
            self._grid = replace(grid, whole=self._whole)
        return self._grid

    @property
    def _w_max(self) -> float:
        return 1.0 if self.sample_weight is None else float(self.sample_weight.max())

    def distances(self, centroids: NDArray) -> NDArray:
        """(n, k) Euclidean distances sqrt(D), in the compute dtype."""
        out = np.empty((self.n_samples, len(centroids)), self.dtype)

        def visit(start: int, stop: int, scratch: dict) -> None:
            kernels.all_distances(self.host_block(start, stop), centroids, out[start:stop], scratch, self.engine)

        self.visit(visit, rows=self.long_visit)
        return out

    def own_distances(self, centroids: NDArray, labels: NDArray[np.int32]) -> NDArray[np.float64]:
        """(n,) D of each row to the centroid of its label."""

        def visit(i: int, j: int, scratch: dict) -> NDArray:
            return kernels.own_distances(self.host_block(i, j), centroids, labels[i:j], scratch, self.engine)

        return np.concatenate(self.visit(visit, rows=self.long_visit))

    @property
    def frame(self) -> kernels.Frame:
        """Shift and scale for the filters, about the middle of some rows: no result depends on it."""
        if self._frame is None:
            few = min(SAMPLE, self.n_samples)
            rows = self.rows(np.arange(few) * (self.n_samples // few))
            self._frame = self._frame_of(rows, self._n_clusters)
        return self._frame

    def _frame_about(self, centroids: NDArray) -> kernels.Frame:
        """A frame for these alone, which asks for no rows."""
        return self._frame_of(centroids, len(centroids))

    def _frame_of(self, rows: NDArray, n_clusters: int | None) -> kernels.Frame:
        centre = rows.mean(axis=0, dtype=np.float64)
        squares = ((rows - centre) ** 2).sum(axis=1)
        if squares.max() > FAR_OFF * np.median(squares):
            centre = np.median(rows, axis=0).astype(np.float64)  # else squares could overflow
            squares = ((rows - centre) ** 2).sum(axis=1)
        return kernels.Frame.of(*self.bounds(), centre.astype(self.dtype), float(np.median(squares)), n_clusters)

    def _inertia_grid(self, centroids: NDArray) -> Grid:
        """The grid of the sums w D."""
        low, high = self.bounds()
        reach = np.maximum(np.abs(high - centroids.min(axis=0)), np.abs(low - centroids.max(axis=0)))
        return Grid.of(float(np.sum(np.maximum(reach, high - low) ** 2) * 1.01) * self._w_max, self.n_samples)


def collected(pool: LifoQueue) -> Sums:
    """The sums that each thread left in ``scratch["sums"]``, added up."""
    sums: Sums = pool.get()["sums"]
    while not pool.empty():
        sums.add(pool.get()["sums"])
    return sums


def rounded(sums: Sums) -> tuple[NDArray[np.float64], float]:
    """((k,) sum of w D of each cluster, their total), each rounded once."""
    return sums.totals()[:, 0], float(sums.whole().totals()[0, 0])
