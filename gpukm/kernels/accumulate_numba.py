"""accumulate, Numba engine: rows go to the limbs one after the other.

Each value is scaled to units of limb 0 and rounded; that is almost always all of it. What is left goes to the limbs
below, value by value. Rows that change cluster are cut once, added to the new one and subtracted from the old.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from gpukm.exact import Sums
from gpukm.kernels.jit_numba import jit
from gpukm.kernels.transpose_numba import _F64, QUAD, as_doubles, by_depth
from gpukm.kernels.vectors_numba import _I32, _I64, _load, _store

NO_WEIGHTS = np.empty(0)
ROUND = 1.5 * 2.0**52  # what is added to it, below 2^51, is rounded to an integer: of the sum's bits, the lowest


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


@intrinsic
def move_narrow(
    typing: Any, row: Any, itemsize: Any, scale: Any, weight: Any, target: Any, source: Any, depth: Any
) -> Any:
    """Cut all of 1 to QUAD features of a row once: add them and its weight at `target`, subtract them at `source`.

    Returns whether something is left for the limbs below. Addresses: of (depth,) features of `itemsize` 4 or 8 bytes,
    of `scale` and cells, (depth + 1,) each; for `source` 0, if there is nothing to subtract. `weight` is in units.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        row, itemsize, scale, weight, target, source, depth = arguments

        def one(d: int) -> Any:
            lanes = d + 1 if d == 3 else d  # a power of two: the weight is one of them, or comes by itself
            doubles, cells = ir.VectorType(_F64, lanes), ir.VectorType(_I64, lanes)

            def load(kind: Any) -> list[Any]:
                values = _load(builder, row, 0, ir.VectorType(kind, d))
                return [values if kind is _F64 else builder.fpext(values, ir.VectorType(_F64, d))]

            (values,) = as_doubles(builder, itemsize, load)
            order = ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes)))
            values = builder.shuffle_vector(values, ir.Constant(values.type, [1.0] * d), order)
            terms, big = builder.fmul(values, _load(builder, scale, 0, doubles)), ir.Constant(doubles, [ROUND] * lanes)
            sums = builder.fadd(terms, big)
            q = builder.sub(builder.bitcast(sums, cells), builder.bitcast(big, cells))
            left = builder.fcmp_unordered("!=", builder.fsub(sums, big), terms)

            def change(at: Any, operation: Callable[[Any, Any], Any]) -> None:
                _store(builder, operation(_load(builder, at, 0, cells), q), at, 0)
                if lanes == d:
                    _store(builder, operation(_load(builder, at, 8 * d, _I64), weight), at, 8 * d)

            change(target, builder.add)
            with builder.if_then(builder.icmp_signed("!=", source, _I64(0))):
                change(source, builder.sub)
            return builder.icmp_unsigned("!=", builder.bitcast(left, ir.IntType(lanes)), ir.IntType(lanes)(0))

        return by_depth(builder, depth, one, ir.IntType(1)(0))

    return types.boolean(*[types.int64] * 7), emit


@jit()
def move_rows(X, changes, count, weights, labels, scale, bits, store):
    """Give `count` rows of X (m, d) new labels, and bring `store` (limbs, k, d + 1) there; returns the limbs in use.

    `changes` are row numbers and their new labels; a label of -1 so far says that the row is not in `store` yet.
    `weights` (m,) float64, or (0,) for ones; `scale` (d + 1,) is 1 / unit of limb 0, `bits` 2 ** bits of a limb.
    Narrow rows are moved by `move_narrow`; wider ones here, by a loop for those that leave a cluster and another for
    those that leave none: one loop took 1.4 times as long, a function for a row eight times.
    """
    d = X.shape[1]
    one = np.int64(scale[d])
    used = 1
    rows, new_labels = changes
    row_at, cells_at, scale_at = X.ctypes.data, store.ctypes.data, scale.ctypes.data
    for change in range(count):
        i, new = rows[change], new_labels[change]
        old = labels[i]
        labels[i] = new
        if len(weights):
            used = max(used, _move_weighted_row(X, i, weights[i], new, old, scale, bits, store))
            continue
        left = False
        if d <= QUAD:
            target = cells_at + 8 * (d + 1) * new
            source = cells_at + 8 * (d + 1) * old if old >= 0 else 0
            left = move_narrow(row_at + X.itemsize * d * i, X.itemsize, scale_at, one, target, source, d)
        elif old >= 0:
            for f in range(d):
                term = np.float64(X[i, f]) * scale[f]
                q = np.rint(term)
                left |= term != q
                store[0, new, f] += np.int64(q)
                store[0, old, f] -= np.int64(q)
            store[0, new, d] += one
            store[0, old, d] -= one
        else:
            for f in range(d):
                term = np.float64(X[i, f]) * scale[f]
                q = np.rint(term)
                left |= term != q
                store[0, new, f] += np.int64(q)
            store[0, new, d] += one
        if left:
            for f in range(d):
                term = np.float64(X[i, f]) * scale[f]
                rest = (term - np.rint(term)) * bits
                if rest != 0.0:
                    used = max(used, spill(rest, 1, bits, store, new, old, f))
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
