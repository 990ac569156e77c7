"""assign, Numba engine: scores in registers, the certificate from the two least, what is open settled by D.

Rows are taken ROWS at a time: centred and transposed into a strip (in the first-level cache), scored against all
centroids by `score_tile`, certified from the least and the second least score (`gpukm.exact`, point 2). For the few
rows whose second is too near scores are computed once more, and the centroids within the margin compared.

Cost of a strip: 2 ROWS k d FLOP; nothing of n x k is stored.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import U64, gamma
from gpukm.kernels.assign import slack_terms
from gpukm.kernels.boxes_numba import STRIPS, Boxes, box_of, pack_survivors, survivors
from gpukm.kernels.jit_numba import ANY_ORDER, FUSED, jit
from gpukm.kernels.vectors_numba import GROUP, LANES, QUAD, ROWS, prefetch, score_tile, store_tile, transpose

FAR = np.float32(3e38)


@dataclass(frozen=True)
class Packed:
    """Centroids as the kernels read them.

    Attributes
    ----------
    tiles : (groups, d, GROUP) float32, -c', padded with zeros
    base : (groups * GROUP,) float32, |c'|^2 / 2 less the centroid's share of the error; FAR in the padding
    centroids : (k, d) float64, as they are
    shift : (d or up to 3 more,) in the compute dtype, padded with zeros
    scale : power of two
    plain : whether rows are float32 and need no scale
    boxes : the same for `survivors`
    limits : kappa20, most (see `Scorer`), and the factor within which D summed in any order holds the nearest
    """

    tiles: NDArray[np.float32]
    base: NDArray[np.float32]
    centroids: NDArray[np.float64]
    shift: NDArray
    scale: float
    plain: bool
    limits: tuple[np.float32, np.float32, float]
    boxes: Boxes

    @property
    def arguments(self) -> tuple:
        """What the compiled functions take."""
        tiles = self.tiles, self.base, self.centroids
        return self.shift, self.scale, self.plain, *tiles, self.limits, self.boxes.arguments

    @classmethod
    def of(cls, scorer: Any) -> "Packed":
        """Pack the centroids of a `Scorer`."""
        operand = scorer.operand
        k, d = operand.shape[0], operand.shape[1] - 1
        groups = -(-k // GROUP)
        padded = np.zeros((groups * GROUP, d), np.float32)
        padded[:k] = operand[:, :d]
        base = np.full(groups * GROUP, FAR, np.float32)
        base[:k] = operand[:, d]
        tiles = np.ascontiguousarray(padded.reshape(groups, GROUP, d).transpose(0, 2, 1))
        within = 1 + 4 * gamma(d + 4, U64)
        limits = (scorer.kappa20, scorer.most, within)
        centroids = scorer.centroids.astype(np.float64)
        shift = np.zeros(-(-d // QUAD) * QUAD, scorer.frame.shift.dtype)
        shift[:d] = scorer.frame.shift
        plain = bool(shift.dtype == np.float32 and scorer.frame.scale == 1.0)
        return cls(tiles, base, centroids, shift, scorer.frame.scale, plain, limits, Boxes.of(scorer))


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
def pack_strip_float32(X, shift, start, strip):
    """`pack_strip` for ROWS float32 rows and scale 1, four features at a time in registers.

    Up to 12 bytes after the last row are read; `shift` and `strip` are padded to whole quads.
    """
    d = X.shape[1]
    pitch = 4 * d
    source, centre, out = X.ctypes.data + start * pitch, shift.ctypes.data, strip.ctypes.data
    for i in range(0, ROWS, LANES):
        for f in range(0, d, QUAD):
            if d >= 16 and f % 16 == 0:  # narrower rows come fast enough
                for j in range(i, i + LANES):
                    prefetch(source + (j + ROWS) * pitch + 4 * f)
            transpose(source + i * pitch + 4 * f, centre + 4 * f, out + 4 * (f * ROWS + i), pitch)


@jit()
def strip_for(d):
    """An empty strip for rows of d features."""
    return np.zeros((-(-d // QUAD) * QUAD, ROWS), np.float32)


@jit()
def fill_strip(X, packed, start, strip):
    """Bring up to ROWS rows of X from `start` on into `strip`; `packed` is `Packed.arguments`."""
    shift, scale, plain = packed[:3]
    if plain and start + ROWS < len(X):
        pack_strip_float32(X, shift, start, strip)
    else:
        pack_strip(X, shift, scale, start, min(ROWS, len(X) - start), strip)


@jit(ANY_ORDER)
def any_order(x, c):
    """Squared distance, summed in any order."""
    total = 0.0
    for f in range(len(c)):
        difference = np.float64(x[f]) - c[f]
        total += difference * difference
    return total


@jit()
def distance(x, c):
    """The canonical squared distance D: see `gpukm.exact`, point 1."""
    total = 0.0
    for f in range(len(c)):
        difference = np.float64(x[f]) - c[f]
        total += difference * difference
    return total


@jit()
def settle(X, open_rows, threshold, strip, tiles, base, centroids, within, scores, labels):
    """Label rows of X (`open_rows`), packed in `strip`: of the centroids within their `threshold`, the nearest by D.

    Centroids come in order of number. One that is clearly nearer than the nearest so far, by a sum in any order,
    replaces it, one clearly farther is passed over; between the two D decides, and of equal D the first stays.
    """
    count, k, d = len(open_rows), len(centroids), X.shape[1]
    nearest = np.full(count, np.inf)  # any_order
    exact = np.full(count, -1.0)  # D, once it was needed
    found = np.empty(count + 1, np.int64)
    for g in range(len(tiles)):
        at = g * GROUP
        store_tile(strip.ctypes.data, tiles[g].ctypes.data, base[at:].ctypes.data, scores.ctypes.data, d)
        for u in range(min(GROUP, k - at)):
            hits = 0
            for i in range(count):
                found[hits] = i
                hits += scores[u, i] <= threshold[i]
            for i in found[:hits]:
                x, c = X[open_rows[i]], centroids[at + u]
                other = any_order(x, c)
                if other > nearest[i] * within:
                    continue
                if other * within < nearest[i]:
                    exact[i] = -1.0
                else:
                    if exact[i] < 0.0:
                        exact[i] = distance(x, centroids[labels[open_rows[i]]])
                    D = distance(x, c)
                    if D >= exact[i]:
                        continue
                    exact[i] = D
                nearest[i] = min(other, nearest[i])
                labels[open_rows[i]] = at + u


@jit(FUSED)
def assign_rows(X, first, last, packed, slack, labels):
    """Label the rows `first` to `last` of X (m, d) float32|float64; returns how many had to be settled.

    `packed` is `Packed.arguments`; `slack` (m,) and `labels` (m,) as in `assign`.
    """
    shift, scale, _, tiles, base, centroids, (kappa20, most, within), boxes = packed
    d, k = X.shape[1], len(centroids)
    strip, waiting = strip_for(d), strip_for(d)
    scores = np.empty((GROUP, ROWS), np.float32)
    best, second = np.empty(ROWS, np.float32), np.empty(ROWS, np.float32)
    label = np.empty(ROWS, np.int32)
    open_rows, threshold, waits = np.empty(ROWS, np.int64), np.empty(ROWS, np.float32), 0
    columns, ask, survived = boxes[0], boxes[0].shape[1] > 0, 0
    at, reach, sides = np.empty(k, np.float32), np.empty(k, np.float32), np.empty((3, d), np.float32)
    index = np.empty(k + 1, np.int32)
    few, few_base = (np.empty_like(tiles), np.empty_like(base)) if ask else (tiles, base)
    own, own_base, groups = tiles, base, len(tiles)
    undecided = 0
    for start in range(first, last, ROWS):
        count = min(ROWS, last - start)
        best[:] = FAR
        second[:] = FAR
        label[:] = 0
        fill_strip(X, packed, start, strip)
        if ask and (start - first) % (STRIPS * ROWS) == 0:
            box_of(X, packed, start, min(start + STRIPS * ROWS, last), sides)
            left = survivors(sides, boxes, at, reach, index)
            own, own_base, groups = few, few_base, pack_survivors(index, left, columns, base, few, few_base)
            survived += left
            if 2 * survived * STRIPS * ROWS > k * (start + STRIPS * ROWS - first):
                ask, own, own_base, groups = False, tiles, base, len(tiles)
        for g in range(groups):
            score_tile(
                strip.ctypes.data,
                own[g].ctypes.data,
                own_base.ctypes.data + 4 * GROUP * g,
                best.ctypes.data,
                second.ctypes.data,
                label.ctypes.data,
                np.int32(g * GROUP),
                d,
            )
        several = 0
        found, rows_part = (
            labels[start : start + count],
            slack[start : start + count],
        )  # indices that cannot be negative
        for i in range(count):
            centroid_part = best[i] * kappa20 + np.float32(12.5) * rows_part[i]
            centroid_part = centroid_part if centroid_part < most else most
            best[i] += centroid_part + np.float32(1.25) * rows_part[i]
            found[i] = label[i]
            several += second[i] <= best[i]
        if ask:
            for i in range(count):
                found[i] = index[found[i]]
        if several == 0:
            continue
        undecided += several
        for i in range(count):
            if second[i] > best[i]:
                continue
            open_rows[waits], threshold[waits] = start + i, best[i]
            for f in range(d):
                waiting[f, waits] = np.float32((np.float64(X[start + i, f]) - shift[f]) * scale)
            waits += 1
            if waits == ROWS:
                settle(X, open_rows, threshold, waiting, tiles, base, centroids, within, scores, labels)
                waits = 0
    if waits:
        settle(X, open_rows[:waits], threshold, waiting, tiles, base, centroids, within, scores, labels)
    return undecided


@jit(ANY_ORDER)
def row_squares(X, shift, scale, factor, tiny, out):
    """|x'|^2 times `factor` plus `tiny`, into `out` (m,) float32."""
    for i in range(len(X)):
        total = np.float32(0)
        for f in range(X.shape[1]):
            value = np.float32((np.float64(X[i, f]) - shift[f]) * scale)
            total += value * value
        out[i] = total * factor + tiny


def slack(X: NDArray, frame: Any) -> NDArray[np.float32]:
    """`Frame.slack` of the rows of X (m, d)."""
    out = np.empty(len(X), np.float32)
    row_squares(X, frame.shift, frame.scale, *slack_terms(X.shape[1]), out)
    return out


def assign(X: NDArray, packed: Packed, slack: NDArray[np.float32], labels: NDArray[np.int32]) -> int:
    """Label a block of rows X (m, d) float32|float64, C-contiguous; returns how many had to be settled."""
    return int(assign_rows(X, 0, len(X), packed.arguments, slack, labels))
