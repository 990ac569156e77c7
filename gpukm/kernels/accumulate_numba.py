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
from gpukm.kernels.vectors_numba import _I32, _I64, _at, _counted, _load, _store

NO_WEIGHTS = np.empty(0)
MANY = 16  # rows for each cluster, from which on sums of every second one are added up apart
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
    typing: Any,
    X: Any,
    itemsize: Any,
    rows: Any,
    new_labels: Any,
    count: Any,
    labels: Any,
    scale: Any,
    weight: Any,
    cells: Any,
    others: Any,
    depth: Any,
) -> Any:
    """Move rows of 1 to QUAD features as `move_rows` does, all of what limb 0 holds; returns how many have more.

    These are the first in `rows` (count,) then, with the labels they had in `new_labels`. `count` is at least 1.
    Addresses: `X` (m, depth) of `itemsize` 4 or 8 bytes, `scale` (depth + 1,), `cells` (k, depth + 1), limb 0, and
    `others`, the same or as many, where every second row goes: rows of one cluster that follow each other wait for each
    other. `weight` is that of a row, in units.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        X, itemsize, rows, new_labels, count, labels, scale, weight, store, others, depth = arguments

        def moved(kind: Any, d: int) -> list[Any]:
            lanes = d + 1 if d == 3 else d  # a power of two: the weight is one of them, or comes by itself
            doubles, cells = ir.VectorType(_F64, lanes), ir.VectorType(_I64, lanes)
            factors, big = _load(builder, scale, 0, doubles), ir.Constant(doubles, [ROUND] * lanes)
            order = ir.Constant(ir.VectorType(_I32, lanes), list(range(lanes)))

            def move(i: Any, left: list[Any]) -> list[Any]:
                row_at, label_at = (_at(builder, list_, i, size) for list_, size in ((rows, 8), (new_labels, 4)))
                row, new = _load(builder, row_at, 0, _I64), _load(builder, label_at, 0, _I32)
                own = _at(builder, labels, row, 4)
                old = _load(builder, own, 0, _I32)
                _store(builder, new, own, 0)
                size = 8 if kind is _F64 else 4
                values = _load(builder, _at(builder, X, row, d * size), 0, ir.VectorType(kind, d))
                values = builder.shuffle_vector(values, ir.Constant(values.type, [1.0] * d), order)
                if kind is not _F64:  # not before: vectors of 3 are made doubles lane by lane
                    values = builder.fpext(values, doubles)
                terms = builder.fmul(values, factors)
                sums = builder.fadd(terms, big)
                q = builder.sub(builder.bitcast(sums, cells), builder.bitcast(big, cells))
                more = builder.fcmp_unordered("!=", builder.fsub(sums, big), terms)

                second = builder.icmp_unsigned("!=", builder.and_(i, _I64(1)), _I64(0))
                half = builder.select(second, others, store)

                def change(label: Any, operation: Callable[[Any, Any], Any]) -> None:
                    at = _at(builder, half, builder.sext(label, _I64), 8 * (d + 1))
                    _store(builder, operation(_load(builder, at, 0, cells), q), at, 0)
                    if lanes == d:
                        _store(builder, operation(_load(builder, at, 8 * d, _I64), weight), at, 8 * d)

                change(new, builder.add)
                with builder.if_then(builder.icmp_signed(">=", old, _I32(0))):
                    change(old, builder.sub)
                _store(builder, row, _at(builder, rows, left[0], 8), 0)
                _store(builder, old, _at(builder, new_labels, left[0], 4), 0)
                any_ = builder.icmp_unsigned("!=", builder.bitcast(more, ir.IntType(lanes)), ir.IntType(lanes)(0))
                return [builder.add(left[0], builder.zext(any_, _I64))]

            return _counted(builder, [_I64(0)], 1, count, move)

        def one(d: int) -> Any:
            return as_doubles(builder, itemsize, lambda kind: moved(kind, d))[0]

        return by_depth(builder, depth, one, _I64(0))

    return types.int64(*[types.int64] * 11), emit


@jit()
def move_rows(X, changes, count, weights, labels, scale, bits, store):
    """Give `count` rows of X (m, d) new labels, and bring `store` (limbs, k, d + 1) there; returns the limbs in use.

    `changes` are row numbers and their new labels, and are used up; a label of -1 so far says that the row is not in
    `store` yet. `weights` (m,) float64, or (0,) for ones; `scale` (d + 1,) is 1 / unit of limb 0, `bits` 2 ** bits of a
    limb. Narrow rows are moved by `move_narrow`; wider ones here, by a loop for those that leave a cluster and another
    for those that leave none: one loop took 1.4 times as long, a function for a row eight times.
    """
    d = X.shape[1]
    one = np.int64(scale[d])
    used, several = 1, 0  # rows with more than limb 0 holds
    rows, new_labels = changes
    if d <= QUAD and not len(weights) and count:
        lists = rows.ctypes.data, new_labels.ctypes.data, count, labels.ctypes.data
        cells, many = store[0], count >= MANY * len(store[0])
        others = np.zeros_like(cells) if many else cells
        own = scale.ctypes.data, one, cells.ctypes.data, others.ctypes.data
        several = move_narrow(X.ctypes.data, X.itemsize, *lists, *own, d)
        if many:
            cells += others
        count = 0
    for change in range(count):
        i, new = rows[change], new_labels[change]
        old = labels[i]
        labels[i] = new
        if len(weights):
            used = max(used, _move_weighted_row(X, i, weights[i], new, old, scale, bits, store))
            continue
        left = False
        if old >= 0:
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
        rows[several], new_labels[several] = i, old
        several += left
    for change in range(several):
        i, old = rows[change], new_labels[change]
        for f in range(d):
            term = np.float64(X[i, f]) * scale[f]
            rest = (term - np.rint(term)) * bits
            if rest != 0.0:
                used = max(used, spill(rest, 1, bits, store, labels[i], old, f))
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
    changes = np.arange(len(X)), labels.copy()
    used = move_rows(X, changes, len(X), w, old_labels.copy(), scale, bits, sums.store)
    sums.used = max(sums.used, used)
