"""ahead, Numba engine: iterations of Lloyd's algorithm on few rows, where the interpreter takes longer than they do.

Centroids are packed, rows labelled and moved, sums divided and compared in one compiled function. An empty cluster ends
it: the loop does that iteration.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import MAX_LIMBS, U32, Sums, margin
from gpukm.kernels.accumulate_numba import NO_WEIGHTS, product
from gpukm.kernels.ahead import HOST, RUNNING, SETTLED, WITHIN_TOL, Ran
from gpukm.kernels.assign import FAR as FARTHEST
from gpukm.kernels.assign import Frame
from gpukm.kernels.assign_numba import scratch_for
from gpukm.kernels.bounds import NOTHING
from gpukm.kernels.boxes_numba import NONE
from gpukm.kernels.jit_numba import jit
from gpukm.kernels.lloyd_step_numba import changes_for, rows_at_once, step
from gpukm.kernels.strips_numba import FAR, framed, row_limits
from gpukm.kernels.vectors_numba import GROUP

AT_ONCE = 64  # iterations: Ctrl-C waits for them
TERMS = 2 * MAX_LIMBS + 8  # of a sum, in `_settle`


@jit()
def _pack(centroids, shift, scale, kappa, operand, tiles, base, exact):
    """Write -c', |c'|^2 / 2 less its share of the error, and the centroids as float64; returns max |c'|^2."""
    k, d = centroids.shape
    longest = 0.0
    for j in range(k):
        squares = 0.0
        for f in range(d):
            exact[j, f] = centroids[j, f]
            c = (np.float64(centroids[j, f]) - shift[f]) * scale
            squares += c * c
            operand[j, f] = np.float32(-c)
            tiles[j // GROUP, f, j % GROUP] = operand[j, f]
        base[j] = np.float32(squares * (0.5 - kappa))
        longest = max(longest, squares)
    return longest


@jit()
def _sum(store, used, cluster, column, bits, unit):
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
def _divide(store, used, cluster, column, bits, unit, w_hi, w_lo, terms, partials):
    """The exact sum of a cell by w_hi + w_lo, rounded once: see `gpukm.exact.quotient`."""
    hi, lo = _sum(store, used, cluster, column, bits, unit)
    q = hi / w_hi
    p, e = product(q, w_hi)
    delta = (((hi - p) - e) + lo - q * w_lo) / w_hi
    mean = q + delta
    rest = abs((q - mean) + delta)
    close = rest > np.spacing(abs(mean)) * (0.5 - 2.0**-40)
    if close or (abs(math.frexp(mean)[0]) == 0.5 and rest > 0.0):
        return _settle(store, used, cluster, column, bits, unit, w_hi, w_lo, mean, terms, partials)
    return mean


@jit()
def _update(store, used, bits, units, centroids, mean, new, parts, terms, partials):
    """Write the next centroids to `new`; returns (whether there are any, whether they moved, shift, inner, spread).

    There are none where a cluster is empty. `inner` is what the inertia has more than the total sum of squares,
    `spread` the sum of W |mean - overall mean|^2.
    """
    k, d = centroids.shape
    spreads, moves, inners = parts
    moved = False
    for j in range(k):
        w_hi, w_lo = _sum(store, used, j, d, bits, units[d])
        if w_hi == 0.0:
            return False, moved, 0.0, 0.0, 0.0
        weight, within, between = _divide(store, used, j, d, bits, units[d], 1.0, 0.0, terms, partials), 0.0, 0.0
        for f in range(d):
            m = _divide(store, used, j, f, bits, units[f], w_hi, w_lo, terms, partials)
            new[j, f] = m
            off, far = np.float64(centroids[j, f]) - m, m - mean[f]
            move = np.float64(new[j, f]) - np.float64(centroids[j, f])
            moved |= new[j, f] != centroids[j, f]
            within += off * off
            between += far * far
            spreads[j * d + f], moves[j * d + f] = weight * (far * far), move * move
        inners[j] = weight * (within - between)
    return True, moved, rounded_sum(moves, partials), rounded_sum(inners, partials), rounded_sum(spreads, partials)


@jit()
def _run(X, frame, margins, labels, weights, sums, centroids, mean, tol, states, found, packed, changes, scratch):
    """Iterate from `centroids`; returns (why it ended, iterations begun, limbs in use)."""
    shift, scale, plain = frame
    kappa, within, factor, tiny, boxes = margins
    store, used, grid_scale, bits, units = sums
    operand, tiles, base, exact = packed
    records, counts, parts, terms, partials = found
    nothing = np.empty(0, np.int64)
    for i in range(len(states)):
        longest = _pack(centroids, shift, scale, kappa, operand, tiles, base, exact)
        if not longest < FARTHEST**2:
            return RUNNING, i, used
        wider = kappa * (1 + 40 * kappa)
        limits = np.float32(20 * wider), np.float32(2 * wider * longest * (1 + 1e-6)), within, factor, tiny
        arguments = shift, scale, plain, tiles, base, exact, limits, boxes, operand
        values = grid_scale, 2.0**bits, store
        undecided, changed, limbs, _ = step(
            X, arguments, labels, weights, *values, None, NOTHING, False, None, nothing, changes, scratch
        )
        used = max(used, limbs)
        counts[i, 0], counts[i, 1] = changed, undecided
        own = store, used, bits, units, centroids, mean, states[i], parts, terms, partials
        full, moved, moves, inner, spread = _update(*own)
        if not full:
            return HOST, i + 1, used
        records[i, 0], records[i, 1], records[i, 2] = inner, moves, spread
        centroids = states[i]
        if not moved:
            return SETTLED, i + 1, used
        if moves <= tol:
            return WITHIN_TOL, i + 1, used
    return RUNNING, len(states), used


class Runner:
    """Rows X (m, d), float32|float64 and C-contiguous, with `k` centroids; buffers are kept from run to run."""

    def __init__(self, X: NDArray, weights: NDArray[np.float64] | None, frame: Frame, k: int) -> None:
        d = X.shape[1]
        groups = -(-k // GROUP)
        self._X, self._weights, self._k = X, NO_WEIGHTS if weights is None else weights, k
        self._frame = framed(frame)
        kappa = margin(d, U32)
        self._margins = kappa, *row_limits(d), NONE.arguments
        operand, tiles = np.zeros((groups * GROUP + 1, d), np.float32), np.zeros((groups, d, GROUP), np.float32)
        self._packed = operand, tiles, np.full(groups * GROUP + 1, FAR, np.float32), np.empty((k, d))
        self._changes = changes_for({}, rows_at_once(d))
        self._scratch = scratch_for(d, k)
        parts = np.empty(k * d), np.empty(k * d), np.empty(k)
        of_sums = parts, np.empty(TERMS), np.empty(max(k * d, TERMS) + 1)
        self._found = np.empty((AT_ONCE, 3)), np.empty((AT_ONCE, 2), np.int64), *of_sums
        self.able = kappa < 0.01

    def run(
        self,
        centroids: NDArray,
        labels: NDArray[np.int32],
        sums: Sums,
        mean: NDArray[np.float64],
        iterations: int,
        tol: float,
    ) -> Ran:
        """Up to `iterations` from `centroids`; `labels` (m,) and `sums` belong together and are brought up to date.

        Records are the inertia less totss, the shift, and the sum of W |mean - overall mean|^2. Nothing is done for
        another number of centroids than was said, nor where scores would prove nothing.
        """
        if len(centroids) != self._k or not self.able:
            return Ran(centroids, np.empty((0, 3)), np.empty((0, 2), np.int64), RUNNING)
        iterations = min(iterations, AT_ONCE)
        states = np.empty((iterations, *centroids.shape), centroids.dtype)
        unit = sums.grid.unit(0)
        own: Any = sums.store, sums.used, 1 / unit, sums.grid.bits, unit
        data = self._X, self._frame, self._margins, labels, self._weights, own, np.ascontiguousarray(centroids), mean
        out = states, self._found, self._packed, self._changes, self._scratch
        stop, begun, sums.used = _run(*data, float(tol), *out)
        finished = begun - (stop == HOST and begun > 0)
        after = states[finished - 1] if finished else centroids
        records, counts = self._found[:2]
        return Ran(after, records[:finished].copy(), counts[:begun].copy(), stop)
