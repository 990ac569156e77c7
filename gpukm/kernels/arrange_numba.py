"""arrange, Numba engine: rows brought into an order in which near ones follow each other.

Each row has a place along a curve (Morton 1966), of which the leading bits are its part of the space. Some rows tell
how many are in each part: those of many rows are divided into cells, by further bits of the place, and those of few
share one, so that cells have about as many rows each. One pass counts the rows of each cell, one deals their numbers
out to the cells, in the order in which they come, and rows are fetched in that order: to deal out rows takes three
times as long, but blocks that are copies of rows elsewhere do not come twice.
"""

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels.arrange import steps
from gpukm.kernels.jit_numba import jit

BITS, DIGIT = 24, 12  # of a place; of a part
PARTS = 1 << DIGIT
CELLS = 1 << 13  # about so many: a cache holds the lines to which rows are dealt
SAMPLE = 8191  # rows that tell where the others are; a prime, so that they are not all of one column of an image


def curve(low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple:
    """What `count` makes places with, of rows within [low, high]: of the leading bits of all features in turn."""
    d = len(low)
    bits = min(BITS // d, DIGIT)
    values = np.minimum(np.arange((1 << bits) + 1), (1 << bits) - 1)  # the highest is within, too
    spread = np.zeros((d, len(values)), np.uint64)  # the bits of a value, d apart
    for b in range(bits):
        for f in range(d):
            spread[f] |= (((values >> b) & 1) << (b * d + f + BITS - bits * d)).astype(np.uint64)
    return low, steps(low, high, bits), spread


def cells(few: NDArray, along: tuple) -> tuple[NDArray[np.uint64], NDArray[np.uint64], int]:
    """((PARTS,) the first cell of each part, how many last bits of a place its cells have in common, number of cells).

    `few` are some of the rows, `along` is as from `curve`.
    """
    counts, each = np.zeros(PARTS, np.int64), np.arange(PARTS, dtype=np.uint64)
    count(few, *along, each, np.full_like(each, DIGIT), np.empty(len(few), np.uint16), counts)
    wanted = counts * (CELLS / len(few))
    bits = np.minimum(np.rint(np.log2(np.maximum(wanted, 1))), DIGIT)
    ends = np.cumsum(np.where(bits > 0, 2**bits, np.minimum(wanted, 1)))
    first = np.append(0, ends[:-1]).astype(np.uint64)
    return first, (DIGIT - bits).astype(np.uint64), int(ends[-1]) + 2


@jit()
def count(X, low, scale, spread, first, shift, out, counts):
    """Write the cell of each row of X (m, d) to `out` (m,), and add up how many are in each."""
    m, d = X.shape
    for i in range(m):
        place = np.uint64(0)
        for f in range(d):
            place |= spread[f, np.uint64(np.int64((np.float64(X[i, f]) - low[f]) * scale[f]))]
        part = place >> np.uint64(DIGIT)
        cell = first[part] + ((place & np.uint64(PARTS - 1)) >> shift[part])
        out[i] = cell
        counts[cell] += 1


@jit()
def begin(counts):
    """Turn the rows of each cell in each block, (blocks, cells), into the places of the first."""
    blocks, cells = counts.shape
    total = counts.sum(axis=0)
    at = 0
    for cell in range(cells):
        own = total[cell]
        total[cell] = at
        at += own
    for block in range(blocks):
        for cell in range(cells):
            own = counts[block, cell]
            counts[block, cell] = total[cell]
            total[cell] += own


@jit()
def deal(first, cells, at, order):
    """Write the numbers of rows, `first` and on, to their `cells`; `at` says where the next of each cell goes."""
    for i in range(len(cells)):
        to = at[cells[i]]
        at[cells[i]] = to + 1
        order[to] = first + i


@jit()
def deal_rows(X, first, cells, at, order, rows):
    """`deal`, with the rows of X (m, d) beside their numbers."""
    d = X.shape[1]
    for i in range(len(X)):
        to = at[cells[i]]
        at[cells[i]] = to + 1
        for f in range(d):
            rows[to, f] = X[i, f]
        order[to] = first + i


@jit()
def fetch(X, order, out):
    """Write the rows of X (n, 1 to 4) that `order` names to `out`: a loop over so few features takes thrice as long."""
    d = X.shape[1]
    if d == 1:
        for i in range(len(order)):
            out[i, 0] = X[np.uint64(order[i]), 0]
    elif d == 2:
        for i in range(len(order)):
            row = np.uint64(order[i])
            out[i, 0], out[i, 1] = X[row, 0], X[row, 1]
    elif d == 3:
        for i in range(len(order)):
            row = np.uint64(order[i])
            out[i, 0], out[i, 1], out[i, 2] = X[row, 0], X[row, 1], X[row, 2]
    else:
        for i in range(len(order)):
            row = np.uint64(order[i])
            out[i, 0], out[i, 1], out[i, 2], out[i, 3] = X[row, 0], X[row, 1], X[row, 2], X[row, 3]


@jit()
def put_back(labels, order, out):
    """Write the labels of rows in order to where the rows came from."""
    for i in range(len(order)):
        out[order[i]] = labels[i]
