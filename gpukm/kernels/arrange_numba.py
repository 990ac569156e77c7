"""arrange, Numba engine: places on a curve, rows sorted by them, rows brought into that order."""

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels.jit_numba import jit

BITS = 24  # of a place; sorted in two passes
DIGIT = 12


@jit()
def _codes(X, low, scale, spread, out):
    m, d = X.shape
    most = len(spread) - 1
    for i in range(m):
        code = 0
        for f in range(d):
            code |= spread[min(np.int64((np.float64(X[i, f]) - low[f]) * scale[f]), most)] << f
        out[i] = code


def codes(X: NDArray, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.uint32]:
    """(m,) the place of each row along a curve that keeps near rows near: the leading bits of all features in turn."""
    d = X.shape[1]
    bits = min(BITS // d, DIGIT)
    values = np.arange(1 << bits)
    spread = np.zeros(len(values), np.int64)  # the bits of a value, d apart (Morton 1966)
    for b in range(bits):
        spread |= ((values >> b) & 1) << (b * d)
    out = np.empty(len(X), np.uint32)
    _codes(X, low, len(values) / np.where(high > low, high - low, 1.0), spread, out)
    return out


@jit()
def _order(places, first, second):
    """Sort row numbers by the low digit of their places into `first`, then by the high one into `second`."""
    size = 1 << DIGIT
    begins = np.zeros((2, size), np.int64)
    for place in places:
        begins[0, place & (size - 1)] += 1
        begins[1, place >> DIGIT] += 1
    for digit in range(2):
        total = 0
        for value in range(size):
            count = begins[digit, value]
            begins[digit, value] = total
            total += count
    for i in range(len(places)):
        value = places[i] & (size - 1)
        first[begins[0, value]] = i
        begins[0, value] += 1
    for i in first:
        value = places[i] >> DIGIT
        second[begins[1, value]] = i
        begins[1, value] += 1


def order_of(places: NDArray[np.uint32]) -> NDArray:
    """The rows sorted by their places, those of equal places as they were."""
    index = np.int32 if len(places) < 2**31 else np.int64
    first, second = np.empty(len(places), index), np.empty(len(places), index)
    _order(places, first, second)
    return second


@jit()
def _gather(X, order, out):
    for j in range(len(order)):
        for f in range(X.shape[1]):
            out[j, f] = X[order[j], f]


def gather(X: NDArray, order: NDArray, out: NDArray) -> None:
    """Bring the rows `order` of X (n, d) into `out`."""
    if X.dtype == out.dtype and X.flags.c_contiguous:
        _gather(X, order, out)
    else:
        out[...] = X[order]
