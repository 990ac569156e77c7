"""Wu's start: boxes of colours, cut again and again where that lowers the squared error most (Wu 1992).

Colours are put into a grid of `CELLS` per axis between the least and the greatest coordinate; with cumulative moments
of the grid the best cut of a box costs a few sums, whatever the number of colours.

References
----------
Wu 1991, "Efficient statistical computations for optimal color quantization", Graphics Gems II; Wu 1992, "Color
quantization by dynamic programming and principal analysis", ACM Transactions on Graphics 11.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

CELLS = 32  # an axis; 64 measured no better after the refinement, at eight times the memory

Floats = NDArray[np.float64]


class _Cut(NamedTuple):
    """The best cut of a box: how much squared error it saves, and where."""

    saved: float
    axis: int
    at: int


def wu(X: NDArray[Any], weights: Floats, n_colors: int) -> Floats:
    """Up to `n_colors` starting centroids, (k, 3) float64: the means of Wu's boxes.

    Parameters
    ----------
    X : (n, 3) coordinates of different colours
    weights : (n,) not negative, not all 0
    n_colors : boxes to make; fewer come back where no cell is left to cut
    """
    moments = _moments(X, weights)
    boxes = [np.array([[0, 0, 0], [CELLS, CELLS, CELLS]])]
    cuts = [_best_cut(moments, boxes[0])]
    while len(boxes) < n_colors:
        index = max(range(len(cuts)), key=lambda i: cuts[i].saved)  # the first of equals
        cut = cuts[index]
        if cut.saved <= 0:
            break
        low, high = boxes[index].copy(), boxes[index].copy()
        low[1, cut.axis] = high[0, cut.axis] = cut.at
        boxes[index] = low
        boxes.append(high)
        cuts[index] = _best_cut(moments, low)
        cuts.append(_best_cut(moments, high))
    sums = np.array([_inside(moments, box) for box in boxes])
    sums = sums[sums[:, 0] > 0]
    means: Floats = sums[:, 1:] / sums[:, :1]
    return means


def _moments(X: NDArray[Any], weights: Floats) -> Floats:
    """(4, CELLS + 1, CELLS + 1, CELLS + 1): cumulative sums of w and of w times each coordinate."""
    low, high = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
    scale = CELLS / np.where(high > low, high - low, 1.0)  # greys have axes on which they do not differ
    cells = np.minimum(((X - low) * scale).astype(np.int64), CELLS - 1)
    index = (cells[:, 0] * CELLS + cells[:, 1]) * CELLS + cells[:, 2]
    moments = np.zeros((4, CELLS + 1, CELLS + 1, CELLS + 1))
    for row, values in enumerate([weights, *(weights * X[:, axis] for axis in range(3))]):
        moments[row, 1:, 1:, 1:] = np.bincount(index, weights=values, minlength=CELLS**3).reshape(CELLS, CELLS, CELLS)
    for axis in (1, 2, 3):
        np.cumsum(moments, axis=axis, out=moments)
    return moments


def _inside(moments: Floats, box: NDArray[np.int64]) -> Floats:
    """(4,) moments of a box."""
    return _below(moments, box, 0)[:, -1]


def _below(moments: Floats, box: NDArray[np.int64], axis: int) -> Floats:
    """(4, length) moments of the part of a box up to each cut across `axis`; the last is the whole box."""
    (a, b), (c, d) = ((box[0, other], box[1, other]) for other in range(3) if other != axis)
    along = np.moveaxis(moments, axis + 1, 1)[:, box[0, axis] : box[1, axis] + 1]
    face: Floats = along[:, :, b, d] - along[:, :, a, d] - along[:, :, b, c] + along[:, :, a, c]
    return face[:, 1:] - face[:, :1]


def _best_cut(moments: Floats, box: NDArray[np.int64]) -> _Cut:
    """The cut that leaves least squared error: most of sum |sum wx|^2 / w over both sides."""
    best = _Cut(0.0, 0, 0)
    for axis in range(3):
        low = _below(moments, box, axis)
        whole, low = low[:, -1:], low[:, :-1]
        high = whole - low
        possible = (low[0] > 0) & (high[0] > 0)
        if not possible.any():
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            gain = (low[1:] ** 2).sum(axis=0) / low[0] + (high[1:] ** 2).sum(axis=0) / high[0]
        gain = np.where(possible, gain - float((whole[1:] ** 2).sum() / whole[0, 0]), 0.0)
        at = int(gain.argmax())
        if gain[at] > best.saved:
            best = _Cut(float(gain[at]), axis, int(box[0, axis]) + at + 1)
    return best
