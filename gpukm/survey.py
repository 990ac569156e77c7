"""The first look at rows that are read in chunks: how many, whether finite, their bounds and sums, in one pass."""

from contextlib import closing
from queue import LifoQueue
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpukm import kernels
from gpukm._blocks import Blocks
from gpukm._validation import Samples, check_finite, compute_dtype
from gpukm.chunks import LOOKED_AT, Chunks
from gpukm.column_sums import ColumnSums
from gpukm.exact import Grid, sums_like


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
            blocks = Blocks(chunk, compute_dtype(chunk), max_memory, n_threads, None)
            n_values = max(chunks.n_samples or 0, start + len(chunk)) * d
            engine = kernels.engine_name(np, n_values, rows=(blocks.dtype, d))
            low, high = _bounds(blocks, engine)
            if not (np.isfinite(low).all() and np.isfinite(high).all()):
                check_finite(Samples(chunk, np, blocks.dtype), first_row=start)
            sums = ColumnSums(d) if sums is None else sums
            sums.add(_sums(blocks, engine, sums.grid(np.maximum(-low, high), len(chunk))))
            some = chunk[:: max(len(chunk) // LOOKED_AT, 1)].astype(np.float64)
            squares.append(float(np.mean(np.sum(some**2, axis=1))))
            lows.append(low)
            highs.append(high)
            del chunk, blocks, some
    assert sums is not None
    return Survey(np.min(lows, axis=0), np.max(highs, axis=0), sums, float(np.mean(squares)))


def _bounds(blocks: Blocks, engine: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    low, high = zip(
        *blocks.visit(lambda start, stop, _: kernels.extremes(blocks.host_block(start, stop), engine)), strict=True
    )
    return np.min(low, axis=0).astype(np.float64), np.max(high, axis=0).astype(np.float64)


def _sums(blocks: Blocks, engine: str, grid: Grid) -> LifoQueue:
    """What `ColumnSums.add` takes."""

    def visit(start: int, stop: int, scratch: dict) -> None:
        if "sums" not in scratch:
            scratch["sums"] = sums_like(grid, 1)
        labels = np.zeros(stop - start, np.int32)
        X = blocks.host_block(start, stop)
        kernels.accumulate(X, np, labels, scratch["sums"], scratch=scratch, engine=engine)

    pool: LifoQueue = LifoQueue()
    blocks.visit(visit, scratch=pool)
    return pool
