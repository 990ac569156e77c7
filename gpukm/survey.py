"""The first look at rows that are read in chunks: how many, whether finite, their bounds and sums, in one pass."""

from contextlib import closing
from queue import Empty, LifoQueue
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpukm import kernels
from gpukm._threads import run_blocks
from gpukm._validation import Samples, check_finite, compute_dtype
from gpukm.chunks import LOOKED_AT, Chunks
from gpukm.column_sums import ColumnSums
from gpukm.exact import BLOCK_ROWS, Grid, sums_like

VALUES = 1 << 18  # of a chunk that a thread looks at in one go


class Survey(NamedTuple):
    """What the first pass finds.

    Attributes
    ----------
    low, high : (d,) bounds of the columns
    sums : of the columns, without weights
    square : the mean of |x|^2 of some rows
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    sums: ColumnSums
    square: float


def survey(chunks: Chunks, n_threads: int, max_memory: int) -> Survey:
    """Look at all rows once; raises ValueError for the first NaN or infinity."""
    lows, highs, squares = [], [], []
    sums = None
    with closing(iter(chunks)) as passing, np.errstate(all="ignore"):
        for start, chunk in passing:
            d = chunk.shape[1]
            look = _Look(chunk, n_threads, max_memory, max(chunks.n_samples or 0, start + len(chunk)) * d)
            low, high = look.bounds()
            if not (np.isfinite(low).all() and np.isfinite(high).all()):
                check_finite(Samples(chunk, np, look.dtype), first_row=start)
            sums = ColumnSums(d) if sums is None else sums
            sums.add(look.sums(sums.grid(np.maximum(-low, high), len(chunk))))
            some = chunk[:: max(len(chunk) // LOOKED_AT, 1)].astype(np.float64)
            squares.append(float(np.mean(np.sum(some**2, axis=1))))
            lows.append(low)
            highs.append(high)
            del chunk, look, some
    assert sums is not None
    return Survey(np.min(lows, axis=0), np.max(highs, axis=0), sums, float(np.mean(squares)))


class _Look:
    """One chunk, in blocks on the threads."""

    def __init__(self, chunk: NDArray, n_threads: int, max_memory: int, n_values: int) -> None:
        m, d = chunk.shape
        self.dtype = compute_dtype(chunk)
        self._chunk, self._threads = chunk, n_threads
        self._engine = kernels.engine_name(np, n_values)
        self._rows = max(min(VALUES // d, max_memory // n_threads // (48 * (d + 1)), BLOCK_ROWS), 1)
        self._count = -(-m // self._rows)

    def _block(self, index: int) -> NDArray:
        return np.ascontiguousarray(self._chunk[index * self._rows : (index + 1) * self._rows], self.dtype)

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        def visit(index: int) -> Any:
            return kernels.extremes(self._block(index), self._engine)

        low, high = zip(*run_blocks(visit, self._count, self._threads), strict=True)
        return np.min(low, axis=0).astype(np.float64), np.max(high, axis=0).astype(np.float64)

    def sums(self, grid: Grid) -> LifoQueue:
        pool: LifoQueue = LifoQueue()

        def visit(index: int) -> None:
            try:
                own = pool.get_nowait()
            except Empty:
                own = {"sums": sums_like(grid, 1)}
            X = self._block(index)
            kernels.accumulate(X, np, np.zeros(len(X), np.int32), own["sums"], scratch=own, engine=self._engine)
            pool.put(own)

        run_blocks(visit, self._count, self._threads)
        return pool
