"""accumulate, Numba engine: rows go to the limbs one after the other.

Each value is scaled to units of limb 0 and rounded; that is almost always all of it. What is left goes to the limbs
below, value by value. Rows that change cluster are cut once, added to the new one and subtracted from the old.
"""

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import Sums
from gpukm.kernels.jit_numba import jit


@jit()
def spill(rest, first, bits, store, new, old, column):
    """Add what is left of a term, in units of limb `first`, to the limbs from there on; returns the limbs in use."""
    limb = first
    while rest != 0.0 and limb < len(store):
        q = np.rint(rest)
        store[limb, new, column] += np.int64(q)
        if old >= 0:
            store[limb, old, column] -= np.int64(q)
        rest = (rest - q) * bits
        limb += 1
    return limb


@jit()
def product(a, b):
    """(p, e) with p = fl(a b) and p + e = a b exactly (Dekker 1971)."""
    p = a * b
    a1, b1 = a * 134217729.0, b * 134217729.0
    a1, b1 = a1 - (a1 - a), b1 - (b1 - b)
    a2, b2 = a - a1, b - b1
    return p, ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2


@jit()
def move_rows(X, labels, old_labels, scale, bits, store):
    """Bring `store` (limbs, k, d + 1) from `old_labels` (-1: not in it) to `labels`, for rows of weight 1.

    `scale` (d + 1,) is 1 / unit of limb 0, `bits` 2 ** bits of a limb. Returns (rows that moved, limbs in use).
    """
    m, d = X.shape
    count = np.int64(scale[d])
    moved, used = 0, 1
    rest = np.empty(d)
    for i in range(m):
        new, old = labels[i], old_labels[i]
        if new == old:
            continue
        moved += 1
        target = store[0, new]
        left = 0
        if old >= 0:
            source = store[0, old]
            for f in range(d):
                term = np.float64(X[i, f]) * scale[f]
                q = np.rint(term)
                rest[f] = (term - q) * bits
                left += term != q
                integer = np.int64(q)
                target[f] += integer
                source[f] -= integer
            source[d] -= count
        else:
            for f in range(d):
                term = np.float64(X[i, f]) * scale[f]
                q = np.rint(term)
                rest[f] = (term - q) * bits
                left += term != q
                target[f] += np.int64(q)
        target[d] += count
        if left:
            for f in range(d):
                if rest[f] != 0.0:
                    used = max(used, spill(rest[f], 1, bits, store, new, old, f))
    return moved, used


@jit()
def move_weighted_rows(X, weights, labels, old_labels, scale, bits, store):
    """`move_rows` for rows with weights (m,) float64: exact products w x, and w in the last column."""
    m, d = X.shape
    moved, used = 0, 1
    for i in range(m):
        new, old = labels[i], old_labels[i]
        if new == old:
            continue
        moved += 1
        weight = weights[i]
        for f in range(d):
            p, e = product(np.float64(X[i, f]), weight)
            used = max(used, spill(p * scale[f], 0, bits, store, new, old, f))
            if e != 0.0:
                used = max(used, spill(e * scale[f], 0, bits, store, new, old, f))
        used = max(used, spill(weight * scale[d], 0, bits, store, new, old, d))
    return moved, used


def accumulate(
    X: NDArray,
    labels: NDArray[np.int32],
    old_labels: NDArray[np.int32],
    weights: NDArray[np.float64] | None,
    sums: Sums,
) -> int:
    """Bring `sums` from `old_labels` to `labels`; returns how many rows moved. See `gpukm.kernels.accumulate`."""
    scale, bits = 1 / sums.grid.unit(0), 2.0**sums.grid.bits
    if weights is None:
        moved, used = move_rows(X, labels, old_labels, scale, bits, sums.store)
    else:
        moved, used = move_weighted_rows(X, weights, labels, old_labels, scale, bits, sums.store)
    sums.used = max(sums.used, used)
    return int(moved)
