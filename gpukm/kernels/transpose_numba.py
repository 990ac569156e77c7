"""Rows turned around: Numba intrinsics that bring rows of features into vectors of rows, LANES rows at a time.

`transpose` takes QUAD features of rows that follow each other, `transpose_listed` of rows anywhere, `transpose_narrow`
all features of narrow rows.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from gpukm.kernels.vectors_numba import (
    _F32,
    _FLOATS,
    _I32,
    _I64,
    LANES,
    ROWS,
    _at,
    _counted,
    _less,
    _load,
    _splat,
    _store,
)

QUAD = 4  # features that `transpose` takes at once
_F64 = ir.DoubleType()


def by_depth(builder: Any, depth: Any, emit: Callable[[int], Any], nothing: Any) -> Any:
    """Emit a switch: what `emit` makes for a `depth` of 1 to QUAD features, `nothing` for any other."""
    done = builder.append_basic_block("done")
    cases, results = builder.switch(depth, done), [(nothing, builder.block)]
    for d in range(1, QUAD + 1):
        cases.add_case(_I64(d), block := builder.append_basic_block(f"features_{d}"))
        builder.position_at_end(block)
        results.append((emit(d), builder.block))
        builder.branch(done)
    builder.position_at_end(done)
    out = builder.phi(nothing.type)
    for value, block in results:
        out.add_incoming(value, block)
    return out


def as_doubles(builder: Any, itemsize: Any, load: Callable[[Any], list[Any]]) -> list[Any]:
    """Emit what `load` gives for rows of float64, where `itemsize` is 8, or of float32: values of the same types."""
    wide, narrow, both = (builder.append_basic_block(name) for name in ("double", "single", "both"))
    builder.cbranch(builder.icmp_signed("==", itemsize, _I64(8)), wide, narrow)
    loaded, ends = [], []
    for block, kind in (wide, _F64), (narrow, _F32):
        builder.position_at_end(block)
        loaded.append(load(kind))
        ends.append(builder.block)
        builder.branch(both)
    builder.position_at_end(both)
    out = [builder.phi(value.type) for value in loaded[0]]
    for phi, *values in zip(out, *loaded, strict=True):
        for value, end in zip(values, ends, strict=True):
            phi.add_incoming(value, end)
    return out


def _joined(builder: Any, vectors: list[Any]) -> Any:
    """Vectors of 4 floats as one."""
    while len(vectors) > 1:
        width = 2 * vectors[0].type.count
        order = ir.Constant(ir.VectorType(_I32, width), list(range(width)))
        vectors = [builder.shuffle_vector(a, b, order) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    return vectors[0]


def _turn(builder: Any, loaded: list[Any], shift: Any, out: Any) -> None:
    """Write QUAD features of LANES rows, `loaded` one by one, less those at `shift`, as QUAD vectors of rows."""
    centre = _joined(builder, [_load(builder, shift, 0, loaded[0].type)] * (LANES // QUAD))
    # Vector j holds rows j, j + 4, j + 8, ...; a 4 x 4 transpose within each quarter puts the rows in order.
    a, b, c, e = (builder.fsub(_joined(builder, loaded[j::QUAD]), centre) for j in range(QUAD))

    def mixed(x: Any, y: Any, picks: tuple[int, ...]) -> Any:
        order = [p % QUAD + q + LANES * (p // QUAD) for q in range(0, LANES, QUAD) for p in picks]
        return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(_I32, LANES), order))

    low, high, left, right = (0, 4, 1, 5), (2, 6, 3, 7), (0, 1, 4, 5), (2, 3, 6, 7)
    ab, ce = (mixed(a, b, low), mixed(a, b, high)), (mixed(c, e, low), mixed(c, e, high))
    for f in range(QUAD):
        _store(builder, mixed(ab[f // 2], ce[f // 2], right if f % 2 else left), out, 4 * ROWS * f)


@intrinsic
def transpose(typing: Any, rows: Any, shift: Any, out: Any, pitch: Any) -> Any:
    """Write QUAD features of LANES rows, less `shift`, as QUAD vectors of rows.

    `rows` is the address of the first row's first feature, `pitch` the bytes from row to row, `shift` the address of
    QUAD floats; vector f goes to `out` + 4 ROWS f.
    """
    signature = types.void(types.int64, types.int64, types.int64, types.int64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, shift, out, pitch = arguments
        loaded = []
        for _ in range(LANES):
            loaded.append(_load(builder, rows, 0, ir.VectorType(_F32, QUAD)))
            rows = builder.add(rows, pitch)
        _turn(builder, loaded, shift, out)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def transpose_listed(typing: Any, rows: Any, offset: Any, shift: Any, out: Any) -> Any:
    """`transpose` for any LANES rows: `rows` is where their addresses are, to which `offset` bytes are added."""
    signature = types.void(types.int64, types.int64, types.int64, types.int64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, offset, shift, out = arguments
        places = [builder.add(_load(builder, rows, 8 * i, _I64), offset) for i in range(LANES)]
        _turn(builder, [_load(builder, place, 0, ir.VectorType(_F32, QUAD)) for place in places], shift, out)
        return context.get_dummy_value()

    return signature, emit


def turned_narrow(builder: Any, vectors: list[Any]) -> list[Any]:
    """Vectors of rows, one for each feature, of LANES rows that `vectors` hold as they are stored."""
    d, out = len(vectors), []
    for f in range(d):
        found = vectors[0]
        for i in range(1, d):  # lane l is value l d + f of all; those of vectors before this one are in place
            places = [divmod(lane * d + f, LANES) for lane in range(LANES)]
            before = [at if i == 1 else lane for lane, (_, at) in enumerate(places)]
            picks = [LANES + at if v == i else b for (v, at), b in zip(places, before, strict=True)]
            found = builder.shuffle_vector(found, vectors[i], ir.Constant(ir.VectorType(_I32, LANES), picks))
        out.append(found)
    return out


@intrinsic
def transpose_narrow(typing: Any, rows: Any, shift: Any, out: Any, depth: Any) -> Any:
    """`transpose` for all of 1 to QUAD features of LANES rows that follow each other: nothing beside them is read."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, shift, out, depth = arguments

        def turn(d: int) -> Any:
            vectors = [_load(builder, rows, 4 * LANES * i, _FLOATS) for i in range(d)]
            for f, feature in enumerate(turned_narrow(builder, vectors)):
                centre = _splat(builder, _load(builder, shift, 4 * f, _F32), _FLOATS)
                _store(builder, builder.fsub(feature, centre), out, 4 * ROWS * f)
            return context.get_dummy_value()

        return by_depth(builder, depth, turn, context.get_dummy_value())

    return types.void(types.int64, types.int64, types.int64, types.int64), emit


@intrinsic
def transpose_narrow_float64(typing: Any, rows: Any, shift: Any, scale: Any, out: Any, depth: Any) -> Any:
    """`transpose_narrow` for float64 rows and `shift` (QUAD,): less that, times `scale`, rounded to float32."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, shift, scale, out, depth = arguments
        doubles = ir.VectorType(_F64, LANES)
        factor = _splat(builder, scale, doubles)
        centre = _load(builder, shift, 0, ir.VectorType(_F64, QUAD))

        def turn(d: int) -> Any:
            vectors = []
            for i in range(d):
                order = ir.Constant(ir.VectorType(_I32, LANES), [(i * LANES + lane) % d for lane in range(LANES)])
                values = _load(builder, rows, 8 * LANES * i, doubles)
                values = builder.fsub(values, builder.shuffle_vector(centre, centre, order))
                vectors.append(builder.fptrunc(builder.fmul(values, factor), _FLOATS))
            for f, feature in enumerate(turned_narrow(builder, vectors)):
                _store(builder, feature, out, 4 * ROWS * f)
            return context.get_dummy_value()

        return by_depth(builder, depth, turn, context.get_dummy_value())

    return types.void(types.int64, types.int64, types.float64, types.int64, types.int64), emit


@intrinsic
def extremes_narrow(typing: Any, rows: Any, blocks: Any, lows: Any, highs: Any, depth: Any) -> Any:
    """Write the least and the greatest of what comes LANES rows apart to `lows` and `highs` (LANES depth,).

    `rows` is the address of `blocks` LANES rows, one or more, of 1 to QUAD features.
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, blocks, lows, highs, depth = arguments

        def compare(d: int) -> Any:
            def widen(i: Any, found: list[Any]) -> list[Any]:
                block = _at(builder, rows, i, 4 * LANES * d)
                values = [_load(builder, block, 4 * LANES * j, _FLOATS) for j in range(d)]
                least = [_less(builder, v, a) for v, a in zip(values, found[:d], strict=True)]
                more = [builder.fcmp_ordered(">", v, a) for v, a in zip(values, found[d:], strict=True)]
                return least + [builder.select(*each) for each in zip(more, values, found[d:], strict=True)]

            begun = [_load(builder, rows, 4 * LANES * j, _FLOATS) for j in range(d)]
            found = _counted(builder, begun + begun, 1, blocks, widen)
            for j in range(d):
                _store(builder, found[j], lows, 4 * LANES * j)
                _store(builder, found[d + j], highs, 4 * LANES * j)
            return context.get_dummy_value()

        return by_depth(builder, depth, compare, context.get_dummy_value())

    return types.void(*[types.int64] * 5), emit


def _prefetch(builder: Any, address: Any) -> None:
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
    function = get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    flags = [ir.Constant(_I32, value) for value in (0, 2, 1)]  # read, second level, data
    builder.call(function, [builder.inttoptr(address, byte), *flags])


@intrinsic
def prefetch(typing: Any, address: Any) -> Any:
    """Ask for the cache line at `address`, in the second-level cache; an address outside the data does no harm."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _prefetch(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64), emit
