"""settle, Numba engine: rows for which several centroids are within the threshold get the nearest by D."""

import numpy as np

from gpukm.kernels.jit_numba import ANY_ORDER, jit
from gpukm.kernels.vectors_numba import GROUP, LANES, ROWS, lanes_within, lowest_bit, store_tile


@jit(ANY_ORDER)
def any_order(X, row, centroids, k):
    """Squared distance of a row and a centroid, summed in any order."""
    total = 0.0
    for f in range(centroids.shape[1]):
        difference = np.float64(X[row, f]) - centroids[k, f]
        total += difference * difference
    return total


@jit()
def add_square(total, difference):
    """A term of D more: as rounded, whatever its caller is allowed."""
    return total + difference * difference


@jit()
def distance(X, row, centroids, k):
    """The canonical squared distance D: see `gpukm.exact`, point 1. A view of X would be counted in and out."""
    total = 0.0
    for f in range(centroids.shape[1]):
        total = add_square(total, np.float64(X[row, f]) - centroids[k, f])
    return total


@jit()
def settle(X, open_rows, threshold, strip, operand, tiles, base, centroids, within, scores, labels):
    """Label rows of X (`open_rows`), packed in `strip`: of the centroids within their `threshold`, the nearest by D.

    `threshold` (ROWS,) is below all scores in lanes that have no row; `labels` (ROWS,) int32 is written. `operand` is
    what is to be brought to `tiles` first, or (0, d).
    Centroids come in order of number. One that is clearly nearer than the nearest so far, by a sum in any order,
    replaces it, one clearly farther is passed over; between the two D decides, and of equal D the first stays.
    """
    count, k, d = len(open_rows), len(centroids), X.shape[1]
    nearest = np.full(count, np.inf)  # any_order
    exact = np.full(count, -1.0)  # D, once it was needed
    for j in range(len(operand) - 1):
        for f in range(d):
            tiles[j // GROUP, f, j % GROUP] = operand[j, f]
    for g in range(len(tiles)):
        at = g * GROUP
        store_tile(strip.ctypes.data, tiles[g].ctypes.data, base[at:].ctypes.data, scores.ctypes.data, d)
        for lane in range(0, min(GROUP, k - at) * ROWS, LANES):
            u, first = lane // ROWS, lane % ROWS
            bits = lanes_within(scores.ctypes.data + 4 * lane, threshold.ctypes.data + 4 * first)
            while bits:
                i = first + lowest_bit(bits)
                bits &= bits - 1
                row = open_rows[i]
                other = any_order(X, row, centroids, at + u)
                if other > nearest[i] * within:
                    continue
                if other * within < nearest[i]:
                    exact[i] = -1.0
                else:
                    if exact[i] < 0.0:
                        exact[i] = distance(X, row, centroids, labels[i])
                    D = distance(X, row, centroids, at + u)
                    if D >= exact[i]:
                        continue
                    exact[i] = D
                nearest[i] = min(other, nearest[i])
                labels[i] = at + u


@jit()
def take_settled(open_rows, found, labels, changes, changed):
    """Bring the labels `found` of `open_rows` to `labels`, or to the list of `changes`; returns how many that holds."""
    for i in range(len(open_rows)):
        row = open_rows[i]
        if changes is None:
            labels[row] = found[i]
        elif labels[row] != found[i]:
            changes[0][changed], changes[1][changed] = row, found[i]
            changed += 1
    return changed
