"""Sums of D of narrow rows to their own centroids: a Numba intrinsic that takes SIDE rows at once, as doubles.

    rows, a vector each, less their centroids, squared     D = the features' squares, added in order: `gpukm.exact`
    turned around, a vector for each feature         ->    cut into DEEP limbs, a vector each
                                                           turned around, a vector for each row, added to its cluster

Limbs of a cluster lie side by side in `cells`, so that a row is one addition; twice, so that rows that follow each
other, which are often of one cluster, do not wait for each other.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from gpukm.kernels.accumulate_numba import ROUND, spill
from gpukm.kernels.jit_numba import jit
from gpukm.kernels.transpose_numba import _F64, as_doubles, by_depth
from gpukm.kernels.vectors_numba import _I32, _I64, _at, _bits, _load, _splat, _store

SIDE, DEEP, TWICE = 4, 3, 2  # rows; limbs that hold almost every D; sums of each cluster
_DOUBLES, _CELLS = ir.VectorType(_F64, SIDE), ir.VectorType(_I64, SIDE)


def _turned(builder: Any, vectors: list[Any]) -> list[Any]:
    """SIDE vectors of SIDE lanes turned around."""

    def mixed(x: Any, y: Any, *picks: int) -> Any:
        return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_I32, SIDE), list(picks)))

    a, b, c, e = vectors
    low, high = (mixed(a, b, 0, 4, 1, 5), mixed(c, e, 0, 4, 1, 5)), (mixed(a, b, 2, 6, 3, 7), mixed(c, e, 2, 6, 3, 7))
    return [mixed(*half, *picks) for half in (low, high) for picks in ((0, 1, 4, 5), (2, 3, 6, 7))]


def _rows(builder: Any, first: Any, kind: Any, d: int) -> list[Any]:
    """SIDE rows of d features of `kind` as doubles, zeros after them."""
    out, order = [], ir.Constant(ir.VectorType(_I32, SIDE), [min(lane, d) for lane in range(SIDE)])
    for row in range(SIDE):
        values = _load(builder, first, (8 if kind is _F64 else 4) * d * row, ir.VectorType(kind, d))
        if kind is not _F64:
            values = builder.fpext(values, ir.VectorType(_F64, d))
        out.append(builder.shuffle_vector(values, ir.Constant(values.type, [0.0] * d), order))
    return out


def _added(builder: Any, rows: list[Any], arguments: Any, d: int) -> Any:
    """Emit the rest, for rows as from `_rows`."""
    _, _, labels, centroids, scale, bits, cells, _ = arguments
    owns, squares = [], []
    for row, values in enumerate(rows):
        owns.append(builder.sext(_load(builder, labels, 4 * row, _I32), _I64))
        off = builder.fsub(values, _load(builder, _at(builder, centroids, owns[-1], 8 * SIDE), 0, _DOUBLES))
        squares.append(builder.fmul(off, off))
    features = _turned(builder, squares)[:d]
    D = features[0]
    for more in features[1:]:
        D = builder.fadd(D, more)

    rest, factor, big, limbs = (
        builder.fmul(D, _splat(builder, scale, _DOUBLES)),
        _splat(builder, bits, _DOUBLES),
        ir.Constant(_DOUBLES, [ROUND] * SIDE),
        [],
    )
    for _ in range(DEEP):
        rounded = builder.fadd(rest, big)
        limbs.append(builder.sub(builder.bitcast(rounded, _CELLS), builder.bitcast(big, _CELLS)))
        rest = builder.fmul(builder.fsub(rest, builder.fsub(rounded, big)), factor)
    left = builder.fcmp_unordered("!=", rest, ir.Constant(_DOUBLES, [0.0] * SIDE))

    turned = _turned(builder, [*limbs, ir.Constant(_CELLS, [0] * SIDE)])
    for row, (own, terms) in enumerate(zip(owns, turned, strict=True)):
        at, offset = _at(builder, cells, own, 8 * SIDE * TWICE), 8 * SIDE * (row % TWICE)
        _store(builder, builder.add(_load(builder, at, offset, _CELLS), terms), at, offset)
    return _bits(builder, left)


@intrinsic
def add_spread(
    typing: Any,
    rows: Any,
    itemsize: Any,
    labels: Any,
    centroids: Any,
    scale: Any,
    bits: Any,
    cells: Any,
    depth: Any,
) -> Any:
    """Add D of SIDE rows to `cells`; returns the rows of which something is left for the limbs below, as bits.

    Addresses: `rows` (SIDE, depth) of `itemsize` 4 or 8 bytes, `labels` (SIDE,) int32, `centroids` (k, SIDE) float64,
    zeros beyond `depth`, `cells` (k, TWICE, SIDE) int64. 1 <= `depth` <= QUAD. `scale` is 1 / unit of limb 0, `bits`
    2 ** bits of a limb.
    """
    signature = types.int64(*[types.int64] * 4, types.float64, types.float64, types.int64, types.int64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        first, itemsize, depth = arguments[0], arguments[1], arguments[-1]

        def one(d: int) -> Any:
            rows = as_doubles(builder, itemsize, lambda kind: _rows(builder, first, kind, d))
            return _added(builder, rows, arguments, d)

        return by_depth(builder, depth, one, _I64(0))

    return signature, emit


@jit()
def add_narrow(X, centroids, labels, scale, bits, store, cells):
    """Add D of the rows of X (m, d <= QUAD) to the clusters of their labels; returns (how many rows, limbs in use).

    `centroids` (k, SIDE) and `cells` (k TWICE, SIDE), zeros, are as in `add_spread`. What is left of m / SIDE is not
    done.
    """
    m, d = X.shape
    used, left = DEEP, 0
    m -= m % SIDE
    for i in range(0, m, SIDE):
        left = add_spread(
            X.ctypes.data + X.itemsize * d * i,
            X.itemsize,
            labels.ctypes.data + 4 * i,
            centroids.ctypes.data,
            scale,
            bits,
            cells.ctypes.data,
            d,
        )
        if left:
            for row in range(i, i + SIDE):
                own = labels[row]
                rest = 0.0
                for f in range(d):
                    t = np.float64(X[row, f]) - centroids[own, f]
                    rest += t * t
                rest *= scale
                for _ in range(DEEP):
                    rest = (rest - np.rint(rest)) * bits
                used = max(used, spill(rest, DEEP, bits, store, own, -1, 0))
    for limb in range(DEEP):
        for own in range(len(centroids)):
            for part in range(TWICE):
                store[limb, own, 0] += cells[TWICE * own + part, limb]
    return m, used
