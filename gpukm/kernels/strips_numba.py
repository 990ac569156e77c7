"""strips: rows and centroids as the Numba kernels read them, and what they write to.

Rows come ROWS at a time, centred and transposed into a strip that stays in the first-level cache; centroids are packed
once an iteration.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import U64, gamma
from gpukm.kernels.assign import Frame, slack_terms
from gpukm.kernels.boxes_numba import Boxes, survivors_for
from gpukm.kernels.int16_numba import packed_words, rounded_for
from gpukm.kernels.jit_numba import FUSED, jit
from gpukm.kernels.narrow_numba import MOST, ONE
from gpukm.kernels.transpose_numba import (
    QUAD,
    prefetch,
    transpose,
    transpose_listed,
    transpose_narrow,
    transpose_narrow_float64,
)
from gpukm.kernels.vectors_numba import GROUP, LANES, ROWS

FAR = np.float32(3e38)


def framed(frame: Frame) -> tuple[NDArray, float, bool]:
    """(shift padded to whole quads, scale, whether rows are float32 and need no scale)."""
    shift = np.zeros(-(-len(frame.shift) // QUAD) * QUAD, frame.shift.dtype)
    shift[: len(frame.shift)] = frame.shift
    return shift, frame.scale, bool(shift.dtype == np.float32 and frame.scale == 1.0)


def row_limits(n_features: int) -> tuple[float, np.float32, np.float32]:
    """What `Packed.limits` ends with: how far sums in any order may differ, and the terms of the rows' slack."""
    return 1 + 4 * gamma(n_features + 4, U64), *slack_terms(n_features)


@dataclass(frozen=True)
class Packed:
    """Centroids as the kernels read them.

    Attributes
    ----------
    tiles : (groups, d, GROUP) float32, -c', padded with zeros
    operand : (groups * GROUP + 1, d) float32, the same one after the other
    base : (groups * GROUP + 1,) float32, |c'|^2 / 2 less the centroid's share of the error; FAR in the padding
    centroids : (k, d) float64, as they are
    shift : (d or up to 3 more,) in the compute dtype, padded with zeros
    scale : power of two
    plain : whether rows are float32 and need no scale
    boxes : the same for `survivors`
    words : the same in 16 bits, see `int16_numba.words_for`
    limits : kappa20, most (see `Scorer`), the factor within which D summed in any order holds the nearest, and factor
        and constant of the rows' slack (see `slack_terms`)
    """

    tiles: NDArray[np.float32]
    operand: NDArray[np.float32]
    base: NDArray[np.float32]
    centroids: NDArray[np.float64]
    shift: NDArray
    scale: float
    plain: bool
    limits: tuple[np.float32, np.float32, float, np.float32, np.float32]
    boxes: Boxes
    words: tuple

    @property
    def arguments(self) -> tuple:
        """What the compiled functions take."""
        tiles = self.tiles, self.base, self.centroids
        return self.shift, self.scale, self.plain, *tiles, self.limits, self.boxes.arguments, self.operand, self.words

    @classmethod
    def of(cls, scorer: Any) -> "Packed":
        """Pack the centroids of a `Scorer`."""
        k, d = scorer.operand.shape[0], scorer.operand.shape[1] - 1
        groups = -(-k // GROUP)
        operand = np.zeros((groups * GROUP + 1, d), np.float32)
        operand[:k] = scorer.operand[:, :d]
        base = np.full(groups * GROUP + 1, FAR, np.float32)
        base[:k] = scorer.operand[:, d]
        tiles = np.ascontiguousarray(operand[:-1].reshape(groups, GROUP, d).transpose(0, 2, 1))
        limits = (scorer.kappa20, scorer.most, *row_limits(d))
        centroids = scorer.centroids.astype(np.float64)
        shift, scale, plain = framed(scorer.frame)
        words = packed_words(centroids, shift, scale, scorer.frame.length)
        return cls(tiles, operand, base, centroids, shift, scale, plain, limits, Boxes.of(scorer), words)


@jit(FUSED)
def pack_strip(X, shift, scale, start, count, strip):
    """Centre and transpose rows of X (m, d) into `strip` (d, ROWS) float32; lanes without a row repeat the last."""
    d = X.shape[1]
    for f in range(d):
        centre = np.float64(shift[f])
        for i in range(count):
            strip[f, i] = np.float32((np.float64(X[start + i, f]) - centre) * scale)
        for i in range(count, ROWS):
            strip[f, i] = strip[f, count - 1]


@jit()
def readable(X, plain):
    """How many rows of X, from the first on, `pack_rows` may read: those that are `plain`, and narrow float64 ones.

    Rows of more than QUAD features are read in whole quads, which end beyond the row: the last row's beyond X.
    """
    d = X.shape[1]
    if X.itemsize == 8 and d <= QUAD:
        return len(X)
    return len(X) - np.int64(d > QUAD and d % QUAD > 0) if plain else 0


@jit()
def pack_strip_float32(rows, shift, strip, d):
    """`pack_strip` for ROWS float32 rows and scale 1, by vectors.

    `rows`, `shift` and `strip` are addresses, the last two of whole quads: in a loop over strips, arrays handed to a
    function cost more than what it does, since each is counted in and out.
    """
    pitch = 4 * d
    for i in range(0, ROWS, LANES):
        if d <= QUAD:
            transpose_narrow(rows + i * pitch, shift, strip + 4 * i, d)
            continue
        for f in range(0, d, QUAD):
            if d >= 16 and f % 16 == 0:  # narrower rows come fast enough
                for j in range(i, i + LANES):
                    prefetch(rows + (j + ROWS) * pitch + 4 * f)
            transpose(rows + i * pitch + 4 * f, shift + 4 * f, strip + 4 * (f * ROWS + i), pitch)


@jit()
def pack_rows(rows, itemsize, shift, scale, strip, d):
    """`pack_strip` for ROWS rows as far as they are `readable`; the rest as in `pack_strip_float32`."""
    if itemsize == 4:
        pack_strip_float32(rows, shift, strip, d)
    else:
        for i in range(0, ROWS, LANES):
            transpose_narrow_float64(rows + 8 * d * i, shift, scale, strip + 4 * i, d)


@jit()
def fill_listed(X, shift, scale, plain, rows, first, count, strip, at):
    """Bring `count` rows of X that are listed in `rows` from `first` on into `strip`.

    `shift`, `scale` and `plain` are as in `Packed`; `at` (2 ROWS,) int64 is scratch.
    """
    d = X.shape[1]
    fast = plain
    begin, own, centre, out = X.ctypes.data, at.ctypes.data, shift.ctypes.data, strip.ctypes.data
    for i in range(ROWS):
        row, later = rows[first + min(i, count - 1)], rows[min(first + ROWS + i, len(rows) - 1)]
        fast &= row * d + len(strip) <= len(X) * d  # its quads end within X
        at[i], at[ROWS + i] = begin + 4 * d * row, begin + 4 * d * later
    if fast:
        for i in range(0, ROWS, LANES):
            for f in range(0, d, QUAD):
                if f % 16 == 0:
                    for j in range(i, i + LANES):
                        prefetch(at[ROWS + j] + 4 * f)
                transpose_listed(own + 8 * i, 4 * f, centre + 4 * f, out + 4 * (f * ROWS + i))
    else:
        for f in range(d):
            middle = np.float64(shift[f])
            for i in range(ROWS):
                strip[f, i] = np.float32((np.float64(X[rows[first + min(i, count - 1)], f]) - middle) * scale)


@jit()
def strip_for(d):
    """An empty strip for rows of d features."""
    return np.zeros((-(-d // QUAD) * QUAD, ROWS), np.float32)


def scratch_for(d: int, k: int, dtype: np.dtype, by_cluster: bool = False) -> tuple:
    """What `assign_rows` writes to, for rows of a dtype that come cluster by cluster or not.

    It is made by NumPy, since Numba takes a tenth of a second to compile each `np.empty`.
    """
    groups = -(-k // GROUP) if by_cluster else 0
    of_frame = np.zeros((groups, d, GROUP), np.float32), np.zeros((groups * GROUP + 1, d), np.float32)
    strips = strip_for.py_func(d), strip_for.py_func(d), np.empty((GROUP, ROWS), np.float32)
    of_rows = np.empty((3, ROWS), np.float32), np.empty((3, ROWS), np.int64), np.empty(ROWS, np.int32)
    names = np.arange(ONE, ONE + MOST, dtype=np.int32)
    of_few = np.zeros(QUAD * MOST, np.float32), np.empty(MOST, np.float32), names.copy()
    return (
        (strips, rounded_for(d, k)),
        of_rows,
        survivors_for(k),
        np.empty(k + max(GROUP, LANES), np.int32),
        (of_few, names, np.empty((MOST, ROWS), np.float32)),
        (np.zeros(-(-d // QUAD) * QUAD, dtype), *of_frame, np.empty(groups * GROUP + 1, np.float32)),
    )
