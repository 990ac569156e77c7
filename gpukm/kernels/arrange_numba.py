"""arrange, Numba engine: rows brought into an order in which near ones follow each other.

The leading bits of all features in turn (Morton 1966) say in which part of the space a row is; parts follow each other
along a curve without leaps (Hilbert 1891). Some rows tell how many are in each part: those of many rows are divided
into cells, by further bits, and those of few share one, so that cells have about as many rows each. One pass counts the
rows of each cell, one deals their numbers out to the cells, in the order in which they come, and rows are fetched in
that order. To deal out rows takes three times as long, but those that have to be converted do not come twice.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels.arrange import scale_to
from gpukm.kernels.jit_numba import jit

BITS, DIGIT = 24, 12  # of a place; of a part
PARTS = 1 << DIGIT
CELLS = 1 << 14  # about so many: a cache holds the lines to which rows are dealt
AT_ONCE = 64  # rows whose values are rounded together, by vectors
SAMPLE = 16_381  # rows that tell where the others are; a prime, so that they are not all of one column of an image


@cache
def _hilbert(d: int) -> NDArray[np.int64]:
    """(PARTS,) the parts of a space of `d` dimensions along Hilbert's curve (by way of Skilling 2004)."""
    parts, levels = np.arange(PARTS), range(DIGIT // d)
    at = np.array([sum((parts >> (b * d + f) & 1) << b for b in levels) for f in range(d)])
    for b in reversed(levels[1:]):  # each cube is turned, and those in it with it
        for f in range(d):
            far, below = at[f] >> b & 1 > 0, (1 << b) - 1
            swapped = np.where(far, 0, (at[0] ^ at[f]) & below)
            at[0] ^= np.where(far, below, swapped)
            at[f] ^= swapped
    at = np.bitwise_xor.accumulate(at)
    at ^= np.bitwise_xor.reduce([np.where(at[-1] >> b & 1, (1 << b) - 1, 0) for b in levels[1:]], axis=0)
    rank = sum((at[f] >> b & 1) << (b * d + d - 1 - f) for b in levels for f in range(d))
    return np.argsort(rank)


def curve(low: NDArray[np.float64], high: NDArray[np.float64]) -> tuple:
    """What `count` makes places with, of rows within [low, high]: of the leading bits of all features in turn."""
    d = len(low)
    bits = min(BITS // d, DIGIT)
    values = np.arange(1 << bits)
    spread = np.zeros((d, len(values)), np.uint32)  # the bits of a value, d apart
    for b in range(bits):
        for f in range(d):
            spread[f] |= (((values >> b) & 1) << (b * d + f + BITS - bits * d)).astype(np.uint32)
    return np.tile(low, AT_ONCE), np.tile(scale_to(bits, low, high), AT_ONCE), spread


def cells(few: NDArray, along: tuple) -> tuple[NDArray[np.uint16], NDArray[np.uint8], int]:
    """((PARTS,) the first cell of each part, how many last bits of a place its cells have in common, number of cells).

    `few` are some of the rows, `along` is as from `curve`.
    """
    counts, each = np.zeros(PARTS, np.int64), np.arange(PARTS, dtype=np.uint16)
    count(few, along, each, np.full(PARTS, DIGIT, np.uint8), np.empty(len(few), np.uint16), counts)
    wanted = counts * (CELLS / len(few))
    bits = np.minimum(np.rint(np.log2(np.maximum(wanted, 1))), DIGIT)
    order, sizes = _hilbert(few.shape[1]), np.where(bits > 0, 2**bits, np.minimum(wanted, 1))
    first, ends = np.empty(PARTS, np.uint16), np.cumsum(sizes[order])
    first[order] = ends - sizes[order]
    return first, (DIGIT - bits).astype(np.uint8), int(ends[-1]) + 2


@jit()
def _count(X, lows, scales, spread, first, shift, out, counts, rounded, places):
    m, d = X.shape
    flat, most = X.ravel(), np.uint32(spread.shape[1] - 1)
    for start in range(0, m, AT_ONCE):
        own = out[start : start + AT_ONCE]
        values = flat[start * d : (start + AT_ONCE) * d]
        for j in range(len(values)):  # the highest is one too many; and rows may change meanwhile
            rounded[j] = min(np.uint32(np.int32((np.float64(values[j]) - lows[j]) * scales[j])), most)
        places[:] = 0
        for f in range(d):
            bits = spread[f]
            for i in range(len(own)):
                places[i] |= bits[rounded[np.uint64(d) * np.uint64(i) + np.uint64(f)]]
        for i in range(len(own)):
            part = np.uint64(places[i] >> np.uint32(DIGIT))
            cell = first[part] + ((places[i] & np.uint32(PARTS - 1)) >> np.uint32(shift[part]))
            own[i] = cell
            counts[cell] += 1


def count(
    X: NDArray,
    along: tuple,
    first: NDArray[np.uint16],
    shift: NDArray[np.uint8],
    out: NDArray[np.uint16],
    counts: NDArray[np.int64],
) -> None:
    """Write the cell of each row of X (m, d) to `out` (m,), and add up how many are in each."""
    scratch = np.empty(AT_ONCE * X.shape[1], np.uint32), np.empty(AT_ONCE, np.uint32)
    _count(X, *along, first, shift, out, counts, *scratch)


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
def deal(X, first, cells, at, order, rows):
    """Write the numbers of rows, `first` and on, to their `cells`; and the rows X (m, d) beside them, if not None.

    `at` says where the next of each cell goes, and is brought up to date.
    """
    for i in range(len(cells)):
        to = at[cells[i]]
        at[cells[i]] = to + 1
        order[to] = first + i
        if X is not None:
            for f in range(X.shape[1]):
                rows[to, f] = X[i, f]


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
