"""Pairs of int16 in vectors of rows: Numba intrinsics that round a strip and score it in integers; see `int16_numba`.

A vector of LANES int32 holds two features of each row, the first in the lower half. Score and name of the centroid are
one integer, so that its least is a minimum alone.
"""

from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from gpukm.kernels.transpose_numba import _prefetch
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
    _features,
    _fma,
    _less,
    _load,
    _splat,
    _store,
)

_BELOW_TOP = 2.0**31 - 128  # the greatest float32 that an int32 holds
_PAIRS = ir.VectorType(ir.IntType(16), 2 * LANES)
_INTEGERS = 1.5 * 2.0**23  # added to a float32, it leaves the nearest integer in the lowest bits
_ADD_PRODUCTS = {16: ("avx512bw", "llvm.x86.avx512.pmaddw.d.512"), 8: ("avx2", "llvm.x86.avx2.pmadd.wd")}


@cache
def pairs_pay() -> bool:
    """Whether products of int16 are faster than of float32 on this processor: whether it has VNNI."""
    features = _features()
    wide = features.get("avx512vnni") and features.get("avx512bw")
    return bool(wide if LANES == 16 else LANES == 8 and features.get("avxvnni"))


def _pair_products(builder: Any, a: Any, b: Any) -> Any:
    """Products of pairs of int16, in vectors of int32, the two of each pair added."""
    needed, name = _ADD_PRODUCTS.get(LANES, ("", ""))
    if not _features().get(needed):  # never chosen, and right
        sixteen = _integers(16)
        high = builder.mul(builder.ashr(a, sixteen), builder.ashr(b, sixteen))
        low = (builder.ashr(builder.shl(x, sixteen), sixteen) for x in (a, b))
        return builder.add(high, builder.mul(*low))
    products = get_or_insert_function(builder.module, ir.FunctionType(_INTS, [_PAIRS] * 2), name)
    return builder.call(products, [builder.bitcast(a, _PAIRS), builder.bitcast(b, _PAIRS)])


def _integers(value: int) -> Any:
    return ir.Constant(_INTS, [value] * LANES)


@intrinsic
def round_strip(typing: Any, rows: Any, factor: Any, out: Any, pairs: Any) -> Any:
    """Round ROWS rows, times `factor` (float32), to pairs of int16 of two features that follow each other.

    Addresses: `rows` (2 pairs, ROWS) of float32, `out` (pairs, ROWS) of int32.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, factor, out, pairs = arguments
        multiply_add, factors = _fma(builder, _FLOATS), _splat(builder, factor, _FLOATS)
        integers = ir.Constant(_FLOATS, [_INTEGERS] * LANES)

        def rounded(features: Any, at: int) -> Any:
            value = _load(builder, features, 4 * at, _FLOATS)
            return builder.bitcast(builder.call(multiply_add, [value, factors, integers]), _INTS)

        def pair(i: Any, values: list[Any]) -> list[Any]:
            features, place = _at(builder, rows, i, 8 * ROWS), _at(builder, out, i, 4 * ROWS)
            for lane in range(0, ROWS, LANES):
                first = builder.and_(rounded(features, lane), _integers(0xFFFF))
                second = builder.shl(rounded(features, ROWS + lane), _integers(16))
                _store(builder, builder.or_(first, second), place, 4 * lane)
            return []

        _counted(builder, [], 1, pairs, pair)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32, types.int64, types.int64), emit


def _score(builder: Any, arguments: list[Any], narrow: bool) -> None:
    """What `score_words` does, and, where rows are `narrow`, `score_bytes`."""
    rows, words, begun, best, second, label, first, pairs = arguments
    size = 2 if narrow else 4

    def pair_of(features: Any, p: int) -> Any:
        if not narrow:
            return _load(builder, features, 4 * LANES * p, _INTS)
        both = _load(builder, features, 2 * LANES * p, ir.VectorType(ir.IntType(16), LANES))
        both = builder.bitcast(both, ir.VectorType(ir.IntType(8), 2 * LANES))
        return builder.bitcast(builder.sext(both, _PAIRS), _INTS)

    def add(i: Any, sums: list[Any]) -> list[Any]:
        features, own = _at(builder, rows, i, size * ROWS), _at(builder, words, i, 4 * GROUP)
        vectors = [pair_of(features, p) for p in range(PANELS)]
        if narrow:  # the rows that come next: only the first group waits for memory, then
            later = builder.add(features, builder.mul(pairs, _I64(size * ROWS)))
            for line in range(0, size * ROWS, 64):
                _prefetch(builder, builder.add(later, _I64(line)))
        longer = []
        for u in range(GROUP):
            factor = _splat(builder, _load(builder, own, 4 * u, _I32), _INTS)
            for p in range(PANELS):
                longer.append(builder.add(sums[PANELS * u + p], _pair_products(builder, vectors[p], factor)))
        return longer

    def less(a: Any, b: Any) -> Any:
        return builder.select(builder.icmp_signed("<", a, b), a, b)

    starts = [_splat(builder, _load(builder, begun, 4 * u, _I32), _INTS) for u in range(GROUP) for _ in range(PANELS)]
    scores, name = _counted(builder, starts, 1, pairs, add), _splat(builder, first, _INTS)
    for p in range(PANELS):
        at = 4 * LANES * p
        before, runner_up = _load(builder, best, at, _INTS), _load(builder, second, at, _INTS)
        least = before
        for u in range(GROUP):
            score = builder.or_(builder.and_(scores[PANELS * u + p], _integers(-GROUP)), _integers(u))
            loser = builder.select(builder.icmp_signed(">", score, least), score, least)
            runner_up, least = less(loser, runner_up), less(score, least)
        winner = builder.select(builder.icmp_signed("!=", least, before), name, _load(builder, label, at, _INTS))
        for value, address in ((least, best), (runner_up, second), (winner, label)):
            _store(builder, value, address, at)


@intrinsic
def score_words(
    typing: Any, rows: Any, words: Any, begun: Any, best: Any, second: Any, label: Any, first: Any, pairs: Any
) -> Any:
    """Score ROWS rows against GROUP centroids, numbers `first` and on, and update their best, second and label.

    Addresses of pairs of int16: `rows` (pairs, ROWS), `words` (pairs, GROUP); of int32: `begun` (GROUP,), to which the
    products are added, `best` and `second` (ROWS,), whose lowest bits say which of a GROUP it was, and `label` (ROWS,),
    the `first` of that.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _score(builder, arguments, False)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6, types.int32, types.int64), emit


@intrinsic
def score_bytes(
    typing: Any, rows: Any, words: Any, begun: Any, best: Any, second: Any, label: Any, first: Any, pairs: Any
) -> Any:
    """`score_words` for rows in pairs of int8."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _score(builder, arguments, True)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6, types.int32, types.int64), emit


@intrinsic
def begin_words(typing: Any, base: Any, unit: Any, begun: Any, groups: Any) -> Any:
    """Bring `base` (groups GROUP,) float32 to int32 of `unit` (float32): `begun`, another address."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        base, unit, begun, groups = arguments
        kind, integers = ir.VectorType(_F32, GROUP), ir.VectorType(_I32, GROUP)
        inverse = _splat(builder, builder.fdiv(ir.Constant(_F32, 1.0), unit), kind)

        def convert(g: Any, values: list[Any]) -> list[Any]:
            scaled = builder.fmul(_load(builder, _at(builder, base, g, 4 * GROUP), 0, kind), inverse)
            below = _less(builder, scaled, ir.Constant(kind, [_BELOW_TOP] * GROUP))
            _store(builder, builder.fptosi(below, integers), _at(builder, begun, g, 4 * GROUP), 0)
            return []

        _counted(builder, [], 1, groups, convert)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32, types.int64, types.int64), emit


@intrinsic
def keep_in_floats(typing: Any, found: Any, unit: Any, best: Any, second: Any, label: Any) -> Any:
    """Bring what `score_words` `found`, best and second (2, ROWS), to float32, and label to numbers; all addresses."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found, unit, best, second, label = arguments
        units = _splat(builder, unit, _FLOATS)
        for at in range(0, 4 * ROWS, 4 * LANES):
            least, runner_up = (_load(builder, found, at + row * 4 * ROWS, _INTS) for row in (0, 1))
            for score, out in ((least, best), (runner_up, second)):
                _store(builder, builder.fmul(builder.sitofp(score, _FLOATS), units), out, at)
            own = builder.add(_load(builder, label, at, _INTS), builder.and_(least, _integers(GROUP - 1)))
            _store(builder, own, label, at)
        return context.get_dummy_value()

    return types.void(types.int64, types.float32, *[types.int64] * 3), emit


@intrinsic
def forget_strip(typing: Any, found: Any) -> Any:
    """No score yet: `found` (2, ROWS) int32, an address."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        for at in range(0, 8 * ROWS, 4 * LANES):
            _store(builder, _integers(2**31 - 1), arguments[0], at)
        return context.get_dummy_value()

    return types.void(types.int64), emit


@intrinsic
def copy_strip(typing: Any, values: Any, out: Any) -> Any:
    """Copy ROWS float32 from one address to another."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        for at in range(0, 4 * ROWS, 4 * LANES):
            _store(builder, _load(builder, arguments[0], at, _FLOATS), arguments[1], at)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def greatest_of_strip(typing: Any, values: Any) -> Any:
    """The greatest of ROWS float32 at the address `values`, none of them negative or NaN."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, name = ir.FunctionType(_I32, [_INTS]), f"llvm.vector.reduce.umax.v{LANES}i32"
        greatest = _integers(0)  # as the bits of such numbers are in the same order
        for at in range(0, 4 * ROWS, 4 * LANES):
            own = _load(builder, arguments[0], at, _INTS)
            greatest = builder.select(builder.icmp_unsigned(">", own, greatest), own, greatest)
        return builder.bitcast(builder.call(get_or_insert_function(builder.module, kind, name), [greatest]), _F32)

    return types.float32(types.int64), emit


@intrinsic
def lanes_left(
    typing: Any, second: Any, best: Any, squares: Any, per_square: Any, tiny: Any, share: Any, of_strip: Any
) -> Any:
    """Which of ROWS rows may have a nearer centroid than the `best`, as bits; that is raised to the bar they pass.

    Addresses of float32 (ROWS,). A row's square times `per_square` plus `tiny` replaces the square; its part of the
    bar is a `share` of that, that of all rows `of_strip`.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        second, best, squares, *terms = arguments
        multiply_add, bits = _fma(builder, _FLOATS), _I64(0)
        per_square, tiny, share, of_strip = (_splat(builder, term, _FLOATS) for term in terms)
        for lane in range(0, ROWS, LANES):
            own = _load(builder, squares, 4 * lane, _FLOATS)
            slack = builder.call(multiply_add, [own, per_square, tiny])
            part = builder.call(multiply_add, [slack, share, of_strip])
            bar = builder.fadd(_load(builder, best, 4 * lane, _FLOATS), part)
            _store(builder, slack, squares, 4 * lane)
            _store(builder, bar, best, 4 * lane)
            left = builder.fcmp_ordered("<=", _load(builder, second, 4 * lane, _FLOATS), bar)
            bits = builder.or_(bits, builder.shl(_bits(builder, left), _I64(lane)))
        return bits

    return types.int64(*[types.int64] * 3, *[types.float32] * 4), emit
