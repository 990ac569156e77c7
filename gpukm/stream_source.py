"""Samples that do not fit memory: the arithmetic of `ArraySource`, on rows that are read a chunk at a time.

Beside `max_memory` it keeps for each row 12 bytes (two labels, the margin of the filter), 26 more while k-means++ runs,
and 8 if there are weights. Each question to the source is one pass over the rows.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from functools import cached_property
from queue import LifoQueue
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpukm import kernels
from gpukm._arrays import to_numpy
from gpukm._threads import available_threads
from gpukm._validation import compute_dtype
from gpukm.array_source import ArraySource
from gpukm.chunks import Chunks
from gpukm.exact import sums_like
from gpukm.measured import collected, rounded
from gpukm.sources import ColumnStats
from gpukm.survey import survey

READING = 0.5  # of max_memory, for chunks; the rest is for what is computed with one of them
_KEPT = 1 / 16  # of max_memory, for rows that were asked for by their index
_FETCHED = 1 / 8  # of max_memory, for rows that are asked for at once; making them takes as much again


class StreamSource(ArraySource):
    """Samples in chunks that are read ahead by a thread while the last ones are computed with.

    One pass when it is made: it counts the rows, finds their bounds and sums, and raises for what is not finite. The
    total sum of squares cannot be had there: its terms are rounded one by one, as D to the mean. After `look` it is
    found in the next pass, whatever that is for.

    Parameters
    ----------
    chunks : the rows
    sample_weight : makes the weights, (n,) float64 or None, once the number of rows is known
    least : compute in this dtype at least
    max_memory : bytes for the chunks and the temporaries, all threads together
    """

    _bounded = False  # passes are as long as reading takes, and rows by index may cost one more

    def __init__(
        self,
        chunks: Chunks,
        sample_weight: Callable[[int], NDArray[np.float64] | None] = lambda n_samples: None,
        *,
        least: DTypeLike = np.float32,
        max_memory: int = 64 << 20,
        n_threads: int | None = None,
    ) -> None:
        computing = max(int(max_memory * (1 - READING - _KEPT)), 1)
        self._survey = survey(chunks, n_threads or available_threads(), computing)
        assert chunks.n_samples is not None and chunks.n_features is not None and chunks.dtype is not None
        shape = chunks.n_samples, chunks.n_features
        self.stand_in = np.broadcast_to(np.zeros((), chunks.dtype), shape)  # of no size; chunks take its place
        dtype = np.result_type(compute_dtype(self.stand_in), least)
        super().__init__(
            self.stand_in,
            sample_weight(chunks.n_samples),
            dtype=dtype,
            max_memory=computing,
            n_threads=n_threads,
        )
        self.bounds()
        self._chunks = chunks
        self._looked = False  # so that the next pass brings the statistics
        self._first = 0  # the number of the chunk's first row
        self._known: dict[int, NDArray] = {}  # rows that were asked for
        row_bytes = self.n_features * self.dtype.itemsize
        self._most_known = int(max_memory * _KEPT) // row_bytes
        self.fetched = int(max_memory * _FETCHED) // (row_bytes + 32)  # 32: of their numbers, sorted

    def _extremes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self._survey.low, self._survey.high

    def look(self) -> None:
        """See `Measured.look`: the values have been looked at, and the next pass brings the statistics."""
        self._looked = True

    def stats(self) -> ColumnStats:
        """See `Measured.stats`."""
        self._looked = False
        return super().stats()

    @cached_property
    def _mean(self) -> tuple[NDArray[np.float64], float]:
        found = None if self.sample_weight is not None else self._survey.sums.means(self.n_samples, self.grid)
        if found is None:
            return self._summed()
        mean, self._whole = found
        return mean, float(self.n_samples)

    @property
    def frame(self) -> kernels.Frame:
        """See `Measured.frame`; from about the scatter, as the statistics may be still to come."""
        if self._frame is None:
            mean = self._mean[0]
            scatter = max(self._survey.square - float(np.sum(mean**2)), 0.0)
            self._frame = kernels.Frame.of(*self.bounds(), mean.astype(self.dtype), scatter)
        return self._frame

    def visit(
        self,
        task: Callable[[int, int, dict], Any],
        *,
        rows: int | None = None,
        scratch: LifoQueue | None = None,
        least: int | None = None,
        lean: bool = False,
    ) -> list[Any]:
        """See `Blocks.visit`: one pass, chunk by chunk."""
        pool: LifoQueue = LifoQueue() if scratch is None else scratch
        results: list[Any] = []
        squared: LifoQueue = LifoQueue()
        looked, self._looked = self._looked, False  # so that a pass for the mean is one without this
        squares = self._adding_distances(*self._about_mean()) if looked and self._stats is None else None
        try:
            with closing(iter(self._chunks)) as chunks:
                for self._first, self._X in chunks:
                    last = self._first + len(self._X)
                    results += self._visit(task, self._first, last, rows, pool, least, lean)
                    if squares is not None:
                        self._visit(squares, self._first, last, None, squared)
        finally:
            self._first, self._X = 0, self.stand_in
        if squares is not None:
            self._stats = self._stats_of(collected(squared))
        return results

    def nearest(self, centroids: NDArray) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """See `ArraySource.nearest`: one pass."""
        labels, D = np.empty(self.n_samples, np.int32), np.empty(self.n_samples)
        with closing(self._parts()) as parts:
            for own, part in parts:
                labels[own], D[own] = map(to_numpy, part.nearest(centroids))
        return labels, D

    def labelled(self, centroids: NDArray) -> tuple[NDArray[np.int32], NDArray[np.float64], float]:
        """See `ArraySource.labelled`: one pass."""
        labels, sums = np.empty(self.n_samples, np.int32), sums_like(self._inertia_grid(centroids), len(centroids))
        with closing(self._parts()) as parts:
            for own, part in parts:
                labels[own] = to_numpy(part.assign(centroids))
                sums.add(part._distance_sums(sums.grid, centroids, labels[own]))
        return labels, *rounded(sums)

    def _parts(self) -> Generator[tuple[slice, ArraySource], None, None]:
        """Each chunk as samples of their own, which know the bounds of all."""
        with closing(iter(self._chunks)) as chunks:
            for first, X in chunks:
                own = slice(first, first + len(X))
                w = None if self.sample_weight is None else self.sample_weight[own]
                part = ArraySource(X, w, dtype=self.dtype, max_memory=self._memory, n_threads=self._threads)
                part.engine, part._bounds = self._best_engine(), self.bounds()
                yield own, part

    def _part(self, start: int, stop: int) -> NDArray:
        return self._X[start - self._first : stop - self._first]

    def rows(self, indices: NDArray) -> NDArray:
        """See `Blocks.rows`. Few rows are kept: k-means++ asks for its candidates twice."""
        wanted = np.asarray(indices, np.int64)
        if len(wanted) > self._most_known:
            return self._read(wanted)
        missing = [index for index in set(wanted.tolist()) if index not in self._known]
        if len(self._known) + len(missing) > self._most_known:
            self._known.clear()
            missing = list(set(wanted.tolist()))
        if missing:
            self._known.update(zip(missing, self._read(np.array(missing)), strict=True))
        return np.array([self._known[index] for index in wanted.tolist()], self.dtype).reshape(-1, self.n_features)

    def _read(self, indices: NDArray[np.int64]) -> NDArray:
        rows = np.ascontiguousarray(self._chunks.rows(indices), self.dtype)
        rows += self.dtype.type(0)
        return rows

    def arrange(self, n_clusters: int, often: bool = False, max_iter: int = 0) -> None:
        """Leave the rows in the order in which they come."""
