"""columns, Numba engine: minimum, maximum and a search for NaN in one pass, where NumPy makes two.

X (m, d) float32|float64, C order    ->    minimum (d,), maximum (d,)

Rows side by side are one long row, of which four are looked at together. Reads X once, at the speed of memory.
"""

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels.jit_numba import jit

BESIDE = 2048  # values of a long row


@jit()
def _extremes(values, low, high, rest, d):
    """Bring low, high and rest (w,) up to date with long rows of w values, and then the first d with all others."""
    w = len(low)
    whole = len(values) - len(values) % (4 * w)
    for i in range(0, whole, 4 * w):
        first, second = values[i : i + w], values[i + w : i + 2 * w]
        third, fourth = values[i + 2 * w : i + 3 * w], values[i + 3 * w : i + 4 * w]
        for j in range(w):
            a, b, c, e = first[j], second[j], third[j], fourth[j]
            low[j] = _less(low[j], _less(_less(a, b), _less(c, e)))
            high[j] = _more(high[j], _more(_more(a, b), _more(c, e)))
            rest[j] += ((a - a) + (b - b)) + ((c - c) + (e - e))  # 0; NaN, if one is not finite
    for i in range(whole, len(values), w):
        beside = values[i : i + w]
        for j in range(len(beside)):
            x = beside[j]
            low[j], high[j] = _less(low[j], x), _more(high[j], x)
            rest[j] += x - x
    for j in range(d, w):
        low[j % d], high[j % d] = _less(low[j % d], low[j]), _more(high[j % d], high[j])
        rest[j % d] += rest[j]


@jit()
def _less(a, b):
    return a if a < b else b  # one instruction, where min(a, b) looks for NaN


@jit()
def _more(a, b):
    return a if a > b else b


def extremes(X: NDArray) -> tuple[NDArray, NDArray]:
    """(minimum, maximum) of the columns of X (m, d), m >= 1; the minimum is NaN where a column is not finite."""
    d = X.shape[1]
    beside = X[: max(BESIDE // d, 1)].ravel()
    low, high, rest = beside.copy(), beside.copy(), np.zeros_like(beside)
    _extremes(X.ravel(), low, high, rest, d)
    return low[:d] + rest[:d], high[:d].copy()  # no views: there may be many blocks
