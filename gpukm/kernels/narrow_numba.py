"""Narrow rows against few centroids: a Numba intrinsic that labels a strip in two passes over stored scores.

`vectors_numba.score_tile` keeps the least, its centroid and the second least, in five operations a score: more than the
products of a narrow row take. Here scores go to memory, MOST of them a row, which stay in the first-level cache:

    first pass    score, least = min(least, score)                       one operation besides the products
    between       threshold = least + what the certificate asks for      (`gpukm.exact`, point 2)
    second pass   found += name of each centroid within the threshold    two

A name has ONE above the centroid's number: its sum over those found says whether there is more than one, and if not,
which it is.
"""

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from gpukm.kernels.transpose_numba import by_depth
from gpukm.kernels.vectors_numba import (
    _F32,
    _FLOATS,
    _I32,
    _I64,
    _INTS,
    GROUP,
    LANES,
    PANELS,
    ROWS,
    _at,
    _bits,
    _counted,
    _fma,
    _less,
    _load,
    _splat,
    _store,
)

MOST = 64  # centroids that rows are scored against
ONE = 1 << 24  # of a name: the numbers below are so small that MOST of them do not add up to it
NUMBERS = ONE // MOST  # there may be
SIDE = GROUP // 2  # centroids scored side by side


def _thresholds(builder: Any, least: list[Any], rows: list[list[Any]], terms: Any) -> list[Any]:
    """What a score may be at most, for its centroid to be nearest: see `gpukm.exact`, point 2, and `Packed.limits`."""
    kappa20, most, per_square, tiny = (_splat(builder, term, _FLOATS) for term in terms)
    multiply_add, out = _fma(builder, _FLOATS), []
    for p in range(PANELS):
        square = ir.Constant(_FLOATS, [0.0] * LANES)
        for features in rows:
            square = builder.call(multiply_add, [features[p], features[p], square])
        slack = builder.call(multiply_add, [square, per_square, tiny])
        own = builder.call(multiply_add, [least[p], kappa20, builder.fmul(slack, ir.Constant(_FLOATS, [12.5] * LANES))])
        own = _less(builder, own, most)
        more = builder.call(multiply_add, [slack, ir.Constant(_FLOATS, [1.25] * LANES), own])
        out.append(builder.fadd(least[p], more))
    return out


def _labelled(builder: Any, arguments: Any, d: int) -> Any:
    strip, operand, base, names, count, kappa20, most, per_square, tiny, scores, label, bar, _ = arguments
    multiply_add = _fma(builder, _FLOATS)
    rows = [[_load(builder, strip, 4 * (ROWS * f + LANES * p), _FLOATS) for p in range(PANELS)] for f in range(d)]

    def score(i: Any, least: list[Any]) -> list[Any]:
        own, bases = _at(builder, operand, i, 4 * d), _at(builder, base, i, 4)
        out = _at(builder, scores, i, 4 * ROWS)
        for u in range(SIDE):
            begun = _splat(builder, _load(builder, bases, 4 * u, _F32), _FLOATS)
            sums = [begun] * PANELS
            for f in range(d):
                factor = _splat(builder, _load(builder, own, 4 * (d * u + f), _F32), _FLOATS)
                sums = [builder.call(multiply_add, [rows[f][p], factor, sums[p]]) for p in range(PANELS)]
            for p in range(PANELS):
                _store(builder, sums[p], out, 4 * (ROWS * u + LANES * p))
            least = [_less(builder, value, other) for value, other in zip(sums, least, strict=True)]
        return least

    far = ir.Constant(_FLOATS, [3e38] * LANES)
    least = _counted(builder, [far] * PANELS, SIDE, count, score)
    limits = _thresholds(builder, least, rows, (kappa20, most, per_square, tiny))

    def find(i: Any, found: list[Any]) -> list[Any]:
        out = list(found)
        own, stored = _at(builder, names, i, 4), _at(builder, scores, i, 4 * ROWS)
        for u in range(SIDE):
            name = _splat(builder, _load(builder, own, 4 * u, _I32), _INTS)
            for p in range(PANELS):
                within = builder.fcmp_ordered(
                    "<=", _load(builder, stored, 4 * (ROWS * u + LANES * p), _FLOATS), limits[p]
                )
                out[p] = builder.select(within, builder.add(out[p], name), out[p])
        return out

    nothing = ir.Constant(_INTS, [0] * LANES)
    found = _counted(builder, [nothing] * PANELS, SIDE, count, find)
    bits = _I64(0)
    for p in range(PANELS):
        _store(builder, builder.and_(found[p], ir.Constant(_INTS, [ONE - 1] * LANES)), label, 4 * LANES * p)
        _store(builder, limits[p], bar, 4 * LANES * p)
        several = builder.icmp_signed(">=", found[p], ir.Constant(_INTS, [2 * ONE] * LANES))
        bits = builder.or_(bits, builder.shl(_bits(builder, several), ir.Constant(_I64, LANES * p)))
    return bits


@intrinsic
def label_narrow(
    typing: Any,
    strip: Any,
    operand: Any,
    base: Any,
    names: Any,
    count: Any,
    kappa20: Any,
    most: Any,
    per_square: Any,
    tiny: Any,
    scores: Any,
    label: Any,
    bar: Any,
    depth: Any,
) -> Any:
    """Label ROWS rows; returns those for which more than one centroid is within the threshold, as bits.

    Addresses of float32: `strip` (depth, ROWS), `operand` (count, depth), `base` (count,), `scores` (count, ROWS),
    scratch, and `bar` (ROWS,), where the thresholds go; of int32: `names` (count,), ONE more than centroids' numbers,
    and `label` (ROWS,). `count` is a multiple of SIDE, 1 <= `depth` <= QUAD. The rest is as in `Packed.limits`.
    """
    signature = types.int64(*[types.int64] * 5, *[types.float32] * 4, *[types.int64] * 4)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return by_depth(builder, arguments[-1], lambda d: _labelled(builder, arguments, d), _I64(0))

    return signature, emit
