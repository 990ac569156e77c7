"""arrange, Numba engine: rows brought into an order in which near ones follow each other.

Each row has a place along a curve (Morton 1966), of which the leading bits are a cell. One pass counts the rows of each
cell, one deals the rows out to the cells, in the order in which they come, and cells of many rows are then sorted by
the remaining bits, one by one, so that rows are moved within what a cache holds: by way of a copy of the cell, or where
they lie.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels.jit_numba import jit

BITS, DIGIT = 24, 12  # of a place; of a cell
CELLS = 1 << DIGIT
FEW = 128  # rows of a cell that are left as they came
TASKS = 16  # that the cells are divided among
SPARE = 1 << 16  # rows of a cell that are sorted by way of a copy: twice as fast, as long as caches hold it


@jit()
def _places(X, low, scale, spread, out, counts):
    m, d = X.shape
    most = len(spread) - 1
    for i in range(m):
        place = 0
        for f in range(d):
            place |= spread[min(np.int64((np.float64(X[i, f]) - low[f]) * scale[f]), most)] << f
        out[i] = place
        counts[place >> DIGIT] += 1


def places(X: NDArray, low: NDArray[np.float64], high: NDArray[np.float64], out: NDArray[np.uint32]) -> NDArray:
    """Write the place of each row of X (m, d), which lie within [low, high], to `out`; returns the rows of each cell.

    A place is made of the leading bits of all features in turn.
    """
    d = X.shape[1]
    bits = min(BITS // d, DIGIT)
    values = np.arange(1 << bits)
    spread = np.zeros(len(values), np.int64)  # the bits of a value, d apart
    for b in range(bits):
        spread |= ((values >> b) & 1) << (b * d + BITS - bits * d)
    counts = np.zeros(CELLS, np.int64)
    _places(X, low, len(values) / np.where(high > low, high - low, 1.0), spread, out, counts)
    return counts


@jit()
def deal(X, first, places, at, rows, order, rest):
    """Write the rows of X, numbers `first` and on, with their numbers and the rest of their places, to their cells.

    `at` (CELLS,) int64 is where the next row of each cell goes, brought up to date.
    """
    d = X.shape[1]
    for i in range(len(X)):
        cell = places[i] >> DIGIT
        to = at[cell]
        at[cell] = to + 1
        for f in range(d):
            rows[to, f] = X[i, f]
        order[to] = first + i
        rest[to] = places[i] & (CELLS - 1)


@jit()
def _sort_cells(rows, order, rest, begins, first, last, spare, spare_order):
    """Sort each of the cells first to last by as many bits as pay: the largest where they lie (McIlroy et al. 1993)."""
    d = rows.shape[1]
    at, ends = np.empty(CELLS, np.int64), np.empty(CELLS, np.int64)
    for cell in range(first, last):
        begin, end = begins[cell], begins[cell + 1]
        if end - begin <= FEW:
            continue
        shift = DIGIT
        while shift > 0 and (end - begin) >> (DIGIT - shift) > FEW // 2:
            shift -= 1
        parts = CELLS >> shift
        at[:parts] = 0
        for i in range(begin, end):
            at[rest[i] >> shift] += 1
        total = begin
        for part in range(parts):
            count = at[part]
            at[part] = total
            total += count
            ends[part] = total
        if end - begin <= len(spare):
            for i in range(begin, end):
                j = at[rest[i] >> shift]
                at[rest[i] >> shift] = j + 1
                for f in range(d):
                    spare[j - begin, f] = rows[i, f]
                spare_order[j - begin] = order[i]
            for i in range(begin, end):
                for f in range(d):
                    rows[i, f] = spare[i - begin, f]
                order[i] = spare_order[i - begin]
            continue
        for part in range(parts):
            while at[part] < ends[part]:
                i = at[part]
                digit = rest[i] >> shift
                j = at[digit]
                at[digit] = j + 1
                if i != j:
                    for f in range(d):
                        rows[i, f], rows[j, f] = rows[j, f], rows[i, f]
                    order[i], order[j] = order[j], order[i]
                    rest[i], rest[j] = rest[j], rest[i]


def sort_cells(
    rows: NDArray,
    order: NDArray[Any],
    rest: NDArray[np.uint16],
    counts: NDArray[np.int64],
    run: Callable[[Callable[[int], Any], int], Any],
) -> None:
    """Bring the rows of each cell into the order of their places; `counts` (CELLS,) says how many there are.

    ``run(task, count)`` does task(0), ..., task(count - 1).
    """
    begins = np.zeros(CELLS + 1, np.int64)
    np.cumsum(counts, out=begins[1:])
    cuts = np.searchsorted(begins, np.linspace(0, len(rows), TASKS + 1))  # about as many rows each

    def task(index: int) -> None:
        spare = np.empty((SPARE, rows.shape[1]), rows.dtype), np.empty(SPARE, order.dtype)
        _sort_cells(rows, order, rest, begins, cuts[index], cuts[index + 1], *spare)

    run(task, TASKS)


@jit()
def put_back(labels, order, out):
    """Write the labels of rows in order to where the rows came from."""
    for i in range(len(order)):
        out[order[i]] = labels[i]
