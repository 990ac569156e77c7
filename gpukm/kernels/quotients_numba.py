"""quotients, Numba engine: exact sums divided and rounded once, number by number; see `gpukm.exact.quotient`."""

import math

import numpy as np

from gpukm.exact import MAX_LIMBS
from gpukm.kernels.accumulate_numba import product
from gpukm.kernels.jit_numba import jit

TERMS = 2 * MAX_LIMBS + 8  # of a sum, in `_settle`


@jit()
def exact_sum(store, used, cluster, column, bits, unit):
    """(hi, lo): see `gpukm.exact.double_double`; `unit` is that of limb 0."""
    hi, lo, carry = 0.0, 0.0, np.int64(0)
    unit *= 2.0 ** (-bits * (used - 1))
    for limb in range(used - 1, -1, -1):
        value = store[limb, cluster, column] + carry
        if limb > 0:
            carry = (value + (1 << (bits - 1))) >> bits
            value -= carry << bits
        low = value & 0x7FFFFFFF
        for part in (low * unit, (value - low) * unit):
            s = part + hi
            t = s - part
            lo += (part - (s - t)) + (hi - t)
            hi = s + lo
            lo -= hi - s
        unit *= 2.0**bits
    return hi, lo


@jit()
def rounded_sum(values, partials):
    """The exact sum of `values`, rounded once, as ``math.fsum`` (Shewchuk 1997); `partials` is as long, scratch."""
    count = 0
    for x in values:
        kept = 0
        for j in range(count):
            y = partials[j]
            if abs(x) < abs(y):
                x, y = y, x
            hi = x + y
            lo = y - (hi - x)
            if lo != 0.0:
                partials[kept] = lo
                kept += 1
            x = hi
        partials[kept] = x
        count = kept + 1
    hi, lo = 0.0, 0.0
    while count > 0 and lo == 0.0:
        count -= 1
        x = hi
        hi = x + partials[count]
        lo = partials[count] - (hi - x)
    if count > 0 and ((lo < 0.0 and partials[count - 1] < 0.0) or (lo > 0.0 and partials[count - 1] > 0.0)):
        y = lo * 2.0  # halfway, but for what lies below
        x = hi + y
        if y == x - hi:
            hi = x
    return hi


@jit()
def _excess(terms, count, x, w_hi, w_lo, partials):
    """The exact sum of `count` terms, less x (w_hi + w_lo), rounded once; `terms` grows by four."""
    terms[count], terms[count + 1] = product(-x, w_hi)
    terms[count + 2], terms[count + 3] = product(-x, w_lo)
    return rounded_sum(terms[: count + 4], partials)


@jit()
def _settle(store, used, cluster, column, bits, unit, w_hi, w_lo, m, terms, partials):
    """The exact sum of a cell by w_hi + w_lo, rounded once; m is one of the two numbers that it may be."""
    count = 0
    for limb in range(used):
        value = store[limb, cluster, column]
        low = value & 0x7FFFFFFF
        terms[count], terms[count + 1] = low * unit, (value - low) * unit
        unit *= 2.0**-bits
        count += 2
    above = _excess(terms, count, m, w_hi, w_lo, partials)
    if above == 0.0:
        return m
    other = np.nextafter(m, np.inf if above > 0.0 else -np.inf)
    beyond = _excess(terms, count + 4, (other - m) * 0.5, w_hi, w_lo, partials)  # what lies beyond the middle of both
    if beyond == 0.0:
        return other if np.int64(math.frexp(m)[0] * 2.0**53) & 1 else m
    return other if (beyond > 0.0) == (above > 0.0) else m


@jit()
def divide(store, used, cluster, column, bits, unit, w_hi, w_lo, terms, partials):
    """The exact sum of a cell by w_hi + w_lo, rounded once: see `gpukm.exact.quotient`."""
    hi, lo = exact_sum(store, used, cluster, column, bits, unit)
    q = hi / w_hi
    p, e = product(q, w_hi)
    delta = (((hi - p) - e) + lo - q * w_lo) / w_hi
    mean = q + delta
    rest = abs((q - mean) + delta)
    close = rest > np.spacing(abs(mean)) * (0.5 - 2.0**-40)
    if close or (abs(math.frexp(mean)[0]) == 0.5 and rest > 0.0):
        return _settle(store, used, cluster, column, bits, unit, w_hi, w_lo, mean, terms, partials)
    return mean
