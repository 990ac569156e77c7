"""Samples that do not fit memory: the arithmetic of `ArraySource`, on rows that are read a chunk at a time.

Beside `max_memory` it keeps for each row 12 bytes (two labels, the margin of the filter), 26 more while k-means++ runs,
and 8 if there are weights. Each question to the source is one pass over the rows.
"""

from collections.abc import Callable
from contextlib import closing
from queue import LifoQueue
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpukm import kernels
from gpukm._threads import available_threads, run_blocks
from gpukm._validation import Samples, check_finite, compute_dtype
from gpukm.array_source import ArraySource
from gpukm.chunks import Chunks

READING = 0.5  # of max_memory, for chunks; the rest is for what is computed with one of them
_KEPT = 1 / 16  # of max_memory, for rows that were asked for by their index
_FETCHED = 1 / 8  # of max_memory, for rows that are asked for at once; making them takes as much again
_VALUES = 1 << 18  # of a chunk that a thread looks at in one go


class StreamSource(ArraySource):
    """Samples in chunks that are read ahead by a thread while the last ones are computed with.

    One pass when it is made: it counts the rows, finds their bounds, and raises for what is not finite.

    Parameters
    ----------
    chunks : the rows
    sample_weight : makes the weights, (n,) float64 or None, once the number of rows is known
    least : compute in this dtype at least
    max_memory : bytes for the chunks and the temporaries, all threads together
    """

    def __init__(
        self,
        chunks: Chunks,
        sample_weight: Callable[[int], NDArray[np.float64] | None] = lambda n_samples: None,
        *,
        least: DTypeLike = np.float32,
        max_memory: int = 64 << 20,
        n_threads: int | None = None,
    ) -> None:
        bounds = survey(chunks, n_threads or available_threads())
        assert chunks.n_samples is not None and chunks.n_features is not None and chunks.dtype is not None
        shape = chunks.n_samples, chunks.n_features
        self.stand_in = np.broadcast_to(np.zeros((), chunks.dtype), shape)  # of no size; chunks take its place
        dtype = np.result_type(compute_dtype(self.stand_in), least)
        super().__init__(
            self.stand_in,
            sample_weight(chunks.n_samples),
            dtype=dtype,
            max_memory=max(int(max_memory * (1 - READING - _KEPT)), 1),
            n_threads=n_threads,
        )
        self._surveyed = bounds
        self.bounds()
        self._chunks = chunks
        self._first = 0  # the number of the chunk's first row
        self._known: dict[int, NDArray] = {}  # rows that were asked for
        row_bytes = self.n_features * self.dtype.itemsize
        self._most_known = int(max_memory * _KEPT) // row_bytes
        self.fetched = int(max_memory * _FETCHED) // (row_bytes + 32)  # 32: of their numbers, sorted

    def _extremes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self._surveyed

    def visit(
        self, task: Callable[[int, int, dict], Any], *, rows: int | None = None, scratch: LifoQueue | None = None
    ) -> list[Any]:
        """See `Blocks.visit`: one pass, chunk by chunk."""
        pool: LifoQueue = LifoQueue() if scratch is None else scratch
        results: list[Any] = []
        try:
            with closing(iter(self._chunks)) as chunks:
                for self._first, self._X in chunks:
                    results += self._visit(task, self._first, self._first + len(self._X), rows, pool)
        finally:
            self._first, self._X = 0, self.stand_in
        return results

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

    def arrange(self, n_clusters: int) -> None:
        """Leave the rows in the order in which they come."""


def survey(chunks: Chunks, n_threads: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(minimum, maximum) of each column, in one pass; raises ValueError for the first NaN or infinity."""
    lows, highs = [], []
    with closing(iter(chunks)) as passing:
        for start, chunk in passing:
            dtype, rows = compute_dtype(chunk), max(_VALUES // chunk.shape[1], 1)

            def look(index: int, chunk: NDArray = chunk, dtype: np.dtype = dtype, rows: int = rows) -> Any:
                return kernels.extremes(np.ascontiguousarray(chunk[index * rows : (index + 1) * rows], dtype))

            with np.errstate(invalid="ignore"):
                low, high = zip(*run_blocks(look, -(-len(chunk) // rows), n_threads), strict=True)
            lows.append(np.min(low, axis=0).astype(np.float64))
            highs.append(np.max(high, axis=0).astype(np.float64))
            if not (np.isfinite(lows[-1]).all() and np.isfinite(highs[-1]).all()):
                check_finite(Samples(chunk, np, dtype), first_row=start)
    return np.min(lows, axis=0), np.max(highs, axis=0)
