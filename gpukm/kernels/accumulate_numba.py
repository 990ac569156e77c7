"""accumulate, Numba engine: rows go to the limbs one after the other.

Each value is scaled to units of limb 0 and rounded; that is almost always all of it. What is left goes to the limbs
below, value by value. Rows that change cluster are cut once, added to the new one and subtracted from the old.
"""

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import Sums
from gpukm.kernels.jit_numba import jit

NO_WEIGHTS = np.empty(0)


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
def _move_weighted_row(X, row, weight, new, old, scale, bits, store):
    """Move one row that has a weight: exact products w x, and w in the last column."""
    d = X.shape[1]
    used = spill(weight * scale[d], 0, bits, store, new, old, d)
    for f in range(d):
        p, e = product(np.float64(X[row, f]), weight)
        used = max(used, spill(p * scale[f], 0, bits, store, new, old, f))
        if e != 0.0:
            used = max(used, spill(e * scale[f], 0, bits, store, new, old, f))
    return used


@jit()
def move_rows(X, changes, count, weights, labels, scale, bits, store):
    """Give `count` rows of X (m, d) new labels, and bring `store` (limbs, k, d + 1) there; returns the limbs in use.

    `changes` are row numbers and their new labels; a label of -1 so far says that the row is not in `store` yet.
    `weights` (m,) float64, or (0,) for ones; `scale` (d + 1,) is 1 / unit of limb 0, `bits` 2 ** bits of a limb.
    Rows without weights are moved here, by a loop for those that leave a cluster and another for those that leave none:
    one loop took 1.4 times as long, a function for a row eight times.
    """
    d = X.shape[1]
    one = np.int64(scale[d])
    used = 1
    rest = np.empty(d)
    rows, new_labels = changes
    for change in range(count):
        i, new = rows[change], new_labels[change]
        old = labels[i]
        labels[i] = new
        if len(weights):
            used = max(used, _move_weighted_row(X, i, weights[i], new, old, scale, bits, store))
            continue
        target = store[0, new]
        left = 0
        if old >= 0:
            source = store[0, old]
            for f in range(d):
                term = np.float64(X[i, f]) * scale[f]
                q = np.rint(term)
                rest[f] = (term - q) * bits
                left += term != q
                target[f] += np.int64(q)
                source[f] -= np.int64(q)
            source[d] -= one
        else:
            for f in range(d):
                term = np.float64(X[i, f]) * scale[f]
                q = np.rint(term)
                rest[f] = (term - q) * bits
                left += term != q
                target[f] += np.int64(q)
        target[d] += one
        if left:
            for f in range(d):
                if rest[f] != 0.0:
                    used = max(used, spill(rest[f], 1, bits, store, new, old, f))
    return used


def accumulate(
    X: NDArray,
    labels: NDArray[np.int32],
    old_labels: NDArray[np.int32],
    weights: NDArray[np.float64] | None,
    sums: Sums,
) -> None:
    """Bring `sums` from `old_labels` to `labels`. See `gpukm.kernels.accumulate`."""
    scale, bits = 1 / sums.grid.unit(0), 2.0**sums.grid.bits
    w = NO_WEIGHTS if weights is None else weights
    changes = np.arange(len(X)), labels
    used = move_rows(X, changes, len(X), w, old_labels.copy(), scale, bits, sums.store)
    sums.used = max(sums.used, used)
