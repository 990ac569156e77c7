"""potential, Numba engine: one pass to lower D and sum it by bucket, one pass to weigh all candidates."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import TINY, U32, margin
from gpukm.kernels.accumulate_numba import NO_WEIGHTS
from gpukm.kernels.inertia_numba import CHUNK, distances_to
from gpukm.kernels.jit_numba import ANY_ORDER, jit
from gpukm.kernels.strips_numba import pack_rows, pack_strip, readable, strip_for
from gpukm.kernels.vectors_numba import GROUP, ROWS, store_tile


@jit()
def _hash(bits, minus_zero, golden, factors, out):
    for i in range(len(bits)):
        h = np.uint64(0)
        for j in range(len(factors)):
            value = bits[i, j]
            b = np.uint64(0) if value == minus_zero else np.uint64(value)
            b *= golden
            b ^= b >> np.uint64(32)
            h += b * factors[j]
        out[i] = h


def linear_hash(X: NDArray, golden: np.uint64, factors: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """(m,) the sum of factors times scrambled bits, of which `hash_rows` makes its hash."""
    bits = X.view(np.uint32 if X.dtype == np.float32 else np.uint64)
    out = np.empty(len(X), np.uint64)
    _hash(bits, X.dtype.type(-0.0).view(bits.dtype), golden, factors, out)
    return out


@jit(ANY_ORDER)
def _half_squares(X, shift, scale, out):
    for i in range(len(X)):
        total = np.float32(0)
        for f in range(X.shape[1]):
            value = np.float32((np.float64(X[i, f]) - shift[f]) * scale)
            total += value * value
        out[i] = np.float32(0.5) * total


def half_squares(X: NDArray, shift: NDArray, scale: float) -> NDArray[np.float32]:
    """(m,) |x'|^2 / 2."""
    out = np.empty(len(X), np.float32)
    _half_squares(X, shift, scale, out)
    return out


@jit()
def _lower(X, centroid, narrow, first, D, weights, bucket, parts):
    new, strip = np.empty(CHUNK), strip_for(X.shape[1])
    for start in range(0, len(X), CHUNK):
        stop = min(start + CHUNK, len(X))
        distances_to(X[start:stop], centroid, narrow, strip, new)
        for i in range(start, stop):
            value = new[i - start]
            if not first:
                value = min(value, D[i])
            D[i] = value
            parts[bucket[i]] += value * weights[i] if len(weights) else value


def lower(
    X: NDArray,
    centroid: NDArray,
    first: bool,
    D: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    bucket: NDArray[np.uint16],
    n_buckets: int,
) -> NDArray[np.float64]:
    """Lower D (m,) by the centre (1, d), or set it if this is the first; returns the potential of each bucket."""
    parts = np.zeros(n_buckets)
    _lower(
        X,
        centroid.astype(np.float64),
        X.dtype == np.float32,
        first,
        D,
        NO_WEIGHTS if weights is None else weights,
        bucket,
        parts,
    )
    return parts


@jit(ANY_ORDER)
def _gains(X, packed, squares, nearer, kappa, half, D, weights, totals, errors):
    m = len(X)
    d, count = X.shape[1], len(totals)
    strip, scores = strip_for(d), np.empty((GROUP, ROWS), np.float32)
    shift, scale, plain, tiles, base = packed[:5]
    until = readable(X, plain)
    ceiling = np.empty(ROWS, np.float32)
    highest, longest = 0.0, 0.0
    near = np.zeros(count)
    for start in range(0, m, ROWS):
        rows = min(ROWS, m - start)
        if start + ROWS <= until:
            at_row = X.ctypes.data + X.itemsize * d * start
            pack_rows(at_row, X.itemsize, shift.ctypes.data, scale, strip.ctypes.data, d)
        else:
            pack_strip(X, shift, scale, start, rows, strip)
        for i in range(rows):
            own = np.float64(half[start + i])
            value = D[start + i] * nearer * (1 + kappa) - own * (1 - 6 * kappa) + TINY
            highest, longest = max(highest, value), max(longest, own)
            ceiling[i] = np.float32(value)
        for g in range(len(tiles)):
            at = g * GROUP
            store_tile(strip.ctypes.data, tiles[g].ctypes.data, base.ctypes.data + 4 * at, scores.ctypes.data, d)
            for u in range(min(GROUP, count - at)):
                total, weight = 0.0, 0.0
                if len(weights):
                    for i in range(rows):
                        gain = ceiling[i] - scores[u, i]
                        w = weights[start + i] if gain > 0 else 0.0
                        total += gain * w
                        weight += w
                else:
                    for i in range(rows):
                        gain = ceiling[i] - scores[u, i]
                        total += gain if gain > 0 else np.float32(0)
                        weight += np.float32(1) if gain > 0 else np.float32(0)
                totals[at + u] += total
                near[at + u] += weight
    for u in range(count):
        errors[u] = near[u] * (4 * kappa * (squares[u] + highest + 4 * longest) + TINY)


def gains(
    X: NDArray, scorer: Any, half: NDArray[np.float32], D: NDArray[np.float64], weights: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """(2, t): upper bounds of what each candidate gains on these rows, and how much they may exceed the gains."""
    out = np.zeros((2, len(scorer.squares)))
    nearer, kappa = scorer.frame.scale**2 / 2, margin(X.shape[1], U32)
    w = NO_WEIGHTS if weights is None else weights
    _gains(X, scorer.packed.arguments, scorer.squares, nearer, kappa, half, D, w, out[0], out[1])
    return out
