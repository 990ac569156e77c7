"""D of rows to their own centroids, and its sums for narrow ones: Numba intrinsics that take several rows at once.

`add_spread` takes SIDE rows, of any clusters:

    rows, a vector each, less their centroids, squared     D = the features' squares, added in order: `gpukm.exact`
    turned around, a vector for each feature         ->    cut into DEEP limbs, a vector each
                                                           turned around, a vector for each row, added to its cluster

Limbs of a cluster lie side by side in `cells`, so that a row is one addition; twice, so that rows that follow each
other, which are often of one cluster, do not wait for each other. `add_about` takes LANES rows of one cluster, whose
features are turned around before they are doubles; each lane has a sum of its own. `add_quads` finds D alone, of SIDE
rows of any width.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from gpukm.kernels.accumulate_numba import ROUND, spill
from gpukm.kernels.jit_numba import jit
from gpukm.kernels.transpose_numba import _F64, QUAD, as_doubles, by_depth, turned_narrow
from gpukm.kernels.vectors_numba import (
    _I32,
    _I64,
    LANES,
    _at,
    _bits,
    _counted,
    _load,
    _splat,
    _store,
    lowest_bit,
)

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
    """SIDE rows of d features of `kind` as doubles, anything after them; nothing beside the rows is read."""
    out, values = [], ir.VectorType(kind, SIDE)
    for row in range(SIDE):
        begin = min(row * d, SIDE * d - SIDE)
        vector = _load(builder, first, (8 if kind is _F64 else 4) * begin, values)
        if begin < row * d:
            order = [min(lane + row * d - begin, SIDE - 1) for lane in range(SIDE)]
            vector = builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(_I32, SIDE), order))
        out.append(vector if kind is _F64 else builder.fpext(vector, _DOUBLES))
    return out


def _sum(builder: Any, squares: list[Any]) -> Any:
    """D of vectors of rows, feature by feature."""
    D = squares[0]
    for more in squares[1:]:
        D = builder.fadd(D, more)
    return D


def _cut(builder: Any, D: Any, scale: Any, bits: Any) -> tuple[list[Any], Any]:
    """(DEEP limbs of each D, whether something is left)."""
    doubles, cells, limbs = D.type, ir.VectorType(_I64, D.type.count), []
    rest, big = builder.fmul(D, _splat(builder, scale, doubles)), ir.Constant(doubles, [ROUND] * doubles.count)
    factor = _splat(builder, bits, doubles)
    for _ in range(DEEP):
        rounded = builder.fadd(rest, big)
        limbs.append(builder.sub(builder.bitcast(rounded, cells), builder.bitcast(big, cells)))
        rest = builder.fmul(builder.fsub(rest, builder.fsub(rounded, big)), factor)
    return limbs, builder.fcmp_unordered("!=", rest, ir.Constant(doubles, [0.0] * doubles.count))


def _added(builder: Any, rows: list[Any], arguments: Any, d: int) -> Any:
    """Emit the rest, for rows as from `_rows`."""
    _, _, labels, centroids, scale, bits, cells, _ = arguments
    owns, squares = [], []
    for row, values in enumerate(rows):
        owns.append(builder.sext(_load(builder, labels, 4 * row, _I32), _I64))
        off = builder.fsub(values, _load(builder, _at(builder, centroids, owns[-1], 8 * SIDE), 0, _DOUBLES))
        squares.append(builder.fmul(off, off))
    limbs, left = _cut(builder, _sum(builder, _turned(builder, squares)[:d]), scale, bits)
    terms_of = _turned(builder, [*limbs, ir.Constant(_CELLS, [0] * SIDE)])
    for row, (own, terms) in enumerate(zip(owns, terms_of, strict=True)):
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


@intrinsic
def add_about(
    typing: Any, rows: Any, itemsize: Any, centroid: Any, scale: Any, bits: Any, cells: Any, depth: Any
) -> Any:
    """`add_spread` for LANES rows and one `centroid` (depth,) float64; `cells` (DEEP, LANES) int64."""
    signature = types.int64(*[types.int64] * 3, types.float64, types.float64, types.int64, types.int64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, itemsize, centroid, scale, bits, cells, depth = arguments
        wide = ir.VectorType(_F64, LANES)

        def features(kind: Any, d: int) -> list[Any]:
            size = 8 if kind is _F64 else 4
            stored = [_load(builder, rows, size * LANES * i, ir.VectorType(kind, LANES)) for i in range(d)]
            found = turned_narrow(builder, stored)
            return found if kind is _F64 else [builder.fpext(vector, wide) for vector in found]

        def one(d: int) -> Any:
            squares = []
            for f, vector in enumerate(as_doubles(builder, itemsize, lambda kind: features(kind, d))):
                off = builder.fsub(vector, _splat(builder, _load(builder, centroid, 8 * f, _F64), wide))
                squares.append(builder.fmul(off, off))
            limbs, left = _cut(builder, _sum(builder, squares), scale, bits)
            for limb, terms in enumerate(limbs):
                offset = 8 * LANES * limb
                _store(builder, builder.add(_load(builder, cells, offset, terms.type), terms), cells, offset)
            return _bits(builder, left)

        return by_depth(builder, depth, one, _I64(0))

    return signature, emit


@intrinsic
def add_quads(
    typing: Any, rows: Any, itemsize: Any, labels: Any, centroids: Any, depth: Any, quads: Any, out: Any
) -> Any:
    """Write D of SIDE rows to their own centroids, of `quads` times QUAD features, one at least.

    Addresses: `rows` (SIDE, depth) of `itemsize` 4 or 8 bytes, `labels` (SIDE,) int32, `centroids` (k, depth) and `out`
    (SIDE,) float64. Squares of a row lie side by side; they are turned around, since sums grow feature by feature.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, itemsize, labels, centroids, depth, quads, out = arguments

        def summed(kind: Any) -> list[Any]:
            size, owns = 8 if kind is _F64 else 4, []
            for row in range(SIDE):
                own = builder.mul(builder.sext(_load(builder, labels, 4 * row, _I32), _I64), depth)
                first = _at(builder, rows, builder.mul(depth, _I64(row)), size)
                owns.append((first, _at(builder, centroids, own, 8)))

            def add(quad: Any, sums: list[Any]) -> list[Any]:
                squares = []
                for row, own in owns:
                    x = _load(builder, _at(builder, row, quad, QUAD * size), 0, ir.VectorType(kind, QUAD))
                    c = _load(builder, _at(builder, own, quad, QUAD * 8), 0, _DOUBLES)
                    off = builder.fsub(x if kind is _F64 else builder.fpext(x, _DOUBLES), c)
                    squares.append(builder.fmul(off, off))
                D = sums[0]
                for feature in _turned(builder, squares):
                    D = builder.fadd(D, feature)
                return [D]

            return _counted(builder, [ir.Constant(_DOUBLES, [0.0] * SIDE)], 1, quads, add)

        _store(builder, as_doubles(builder, itemsize, summed)[0], out, 0)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), emit


@jit()
def _spill_row(x, centroid, scale, bits, store, own):
    """Add what DEEP limbs leave of D of a row x (d,) to those below; returns the limbs in use."""
    rest = 0.0
    for f in range(len(x)):
        t = np.float64(x[f]) - centroid[f]
        rest += t * t
    rest *= scale
    for _ in range(DEEP):
        rest = (rest - np.rint(rest)) * bits
    return spill(rest, DEEP, bits, store, own, -1, 0)


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
        while left:
            row = i + lowest_bit(left)
            left &= left - 1
            used = max(used, _spill_row(X[row], centroids[labels[row]], scale, bits, store, labels[row]))
    for limb in range(DEEP):
        for own in range(len(centroids)):
            for part in range(TWICE):
                store[limb, own, 0] += cells[TWICE * own + part, limb]
    return m, used


@jit()
def add_narrow_about(X, centroid, scale, bits, store, cells):
    """`add_narrow` for one centroid (1, d) and `cells` (DEEP, LANES), zeros; what is left of m / LANES is not done."""
    m, d = X.shape
    used, left = DEEP, 0
    m -= m % LANES
    for i in range(0, m, LANES):
        rows, sums = X.ctypes.data + X.itemsize * d * i, cells.ctypes.data
        left = add_about(rows, X.itemsize, centroid.ctypes.data, scale, bits, sums, d)
        while left:
            row = i + lowest_bit(left)
            left &= left - 1
            used = max(used, _spill_row(X[row], centroid[0], scale, bits, store, 0))
    for limb in range(DEEP):
        store[limb, 0, 0] += cells[limb].sum()
    return m, used
