"""Vectors of rows: how wide they are on this machine, and Numba intrinsics that score them.

`score_tile` scores PANELS x LANES rows against GROUP centroids and keeps, for each row, the least score, its centroid
and the second least, so that no score is stored:

                    GROUP centroids                        operand  depth x GROUP, one load and splat each
    depth    +---------------------------+                 rows     depth x ROWS, PANELS vectors
    features | PANELS x GROUP registers  |  += row * operand        2 PANELS GROUP LANES FLOP a feature
             +---------------------------+

Sizes fill the register file: 32 registers of 16 floats (AVX-512), 16 of 8 (AVX2), 32 of 4 (NEON), 16 of 4 (SSE).
"""

from functools import cache
from typing import Any

from llvmlite import binding, ir
from numba.core import config, types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic


@cache
def _features() -> dict[str, bool]:
    """CPU features that Numba compiles for: those of this machine, or what NUMBA_CPU_FEATURES says."""
    if config.CPU_FEATURES is not None:
        return {name[1:]: name[0] == "+" for name in config.CPU_FEATURES.split(",") if name}
    return dict(binding.get_host_cpu_features())


def _shape() -> tuple[int, int, int]:
    features = _features()
    if features.get("avx512f"):
        return 16, 3, 8
    if features.get("avx2") and features.get("fma"):
        return 8, 3, 4
    return (4, 3, 8) if features.get("neon") or features.get("fp-armv8") else (4, 3, 4)


LANES, PANELS, GROUP = _shape()
ROWS = LANES * PANELS

_F32, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_FLOATS, _INTS = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)


def _address(builder: Any, base: Any, offset: int, kind: Any) -> Any:
    return builder.inttoptr(builder.add(base, ir.Constant(_I64, offset)), ir.PointerType(kind))


def _load(builder: Any, base: Any, offset: int, kind: Any) -> Any:
    value = builder.load(_address(builder, base, offset, kind))
    value.align = 4
    return value


def _store(builder: Any, value: Any, base: Any, offset: int) -> None:
    builder.store(value, _address(builder, base, offset, value.type)).align = 4


def _splat(builder: Any, scalar: Any, kind: Any) -> Any:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count))


def _less(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered("<", a, b), a, b)


def _at(builder: Any, address: Any, index: Any, size: int) -> Any:
    return builder.add(address, builder.mul(index, ir.Constant(_I64, size)))


def _counted(builder: Any, begun: list[Any], step: int, last: Any, body: Any) -> list[Any]:
    """Emit ``for i in range(0, last, step): values = body(i, values)``, at least once; returns the last values."""
    entry, loop, done = builder.block, *(builder.append_basic_block(name) for name in ("loop", "done"))
    builder.branch(loop)
    builder.position_at_end(loop)
    zero = ir.Constant(_I64, 0)
    i, values = builder.phi(_I64), [builder.phi(value.type) for value in begun]
    after = [builder.add(i, ir.Constant(_I64, step)), *body(i, values)]
    for phi, start, following in zip((i, *values), (zero, *begun), after, strict=True):
        phi.add_incoming(start, entry)
        phi.add_incoming(following, builder.block)
    builder.cbranch(builder.icmp_signed("<", after[0], last), loop, done)
    builder.position_at_end(done)
    return after[1:]


def _fma(builder: Any, kind: Any) -> Any:
    return get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), f"llvm.fmuladd.v{LANES}f32")


def _bits(builder: Any, lanes: Any) -> Any:
    """Lanes that are true or not, as the bits of an int64."""
    return builder.zext(builder.bitcast(lanes, ir.IntType(lanes.type.count)), _I64)


@intrinsic
def lanes_within(typing: Any, values: Any, limits: Any) -> Any:
    """The lanes of LANES float32 at the address `values` that are at most those at `limits`, as bits."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, limits = (_load(builder, address, 0, _FLOATS) for address in arguments)
        return _bits(builder, builder.fcmp_ordered("<=", values, limits))

    return types.int64(types.int64, types.int64), emit


@intrinsic
def lanes_differ(typing: Any, a: Any, b: Any) -> Any:
    """The lanes of LANES int32 at the address `a` that differ from those at `b`, as bits."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b = (_load(builder, address, 0, _INTS) for address in arguments)
        return _bits(builder, builder.icmp_signed("!=", a, b))

    return types.int64(types.int64, types.int64), emit


@intrinsic
def least_of(typing: Any, values: Any, count: Any) -> Any:
    """The least of `count` float32 at the address `values`, none of them NaN; `count` is a multiple of LANES."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values, count = arguments

        def compare(i: Any, least: list[Any]) -> list[Any]:
            return [_less(builder, _load(builder, _at(builder, values, i, 4), 0, _FLOATS), least[0])]

        (after,) = _counted(builder, [_load(builder, values, 0, _FLOATS)], LANES, count, compare)
        width = LANES
        while width > 1:  # the upper half against the lower
            width //= 2
            order = ir.Constant(ir.VectorType(_I32, LANES), [(lane + width) % LANES for lane in range(LANES)])
            after = _less(builder, builder.shuffle_vector(after, after, order), after)
        return builder.extract_element(after, ir.Constant(_I32, 0))

    return types.float32(types.int64, types.int64), emit


@intrinsic
def lowest_bit(typing: Any, bits: Any) -> Any:
    """The number of the lowest bit that is set, of an int64 that is not 0."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), emit


def _products(builder: Any, rows: Any, operands: list[Any], step: int, bases: list[Any], depth: Any) -> list[list[Any]]:
    """Emit the loop over features: scores [GROUP][PANELS], vectors of rows.

    `operands` are GROUP addresses of the first feature, `step` the bytes from one feature to the next, `bases` scalars.
    """
    multiply_add = _fma(builder, _FLOATS)
    begun = [_splat(builder, base, _FLOATS) for base in bases]
    entry = builder.block
    loop = builder.append_basic_block("features")
    done = builder.append_basic_block("scores")
    builder.branch(loop)
    builder.position_at_end(loop)
    f, x, c = builder.phi(_I64), builder.phi(_I64), builder.phi(_I64)
    scores = [[builder.phi(_FLOATS) for _ in range(PANELS)] for _ in range(GROUP)]
    vectors = [_load(builder, x, 4 * LANES * p, _FLOATS) for p in range(PANELS)]
    sums = []
    for u in range(GROUP):
        factor = _splat(builder, _load(builder, builder.add(operands[u], c), 0, _F32), _FLOATS)
        sums.append([builder.call(multiply_add, [vectors[p], factor, scores[u][p]]) for p in range(PANELS)])
    following = [builder.add(value, ir.Constant(_I64, by)) for value, by in ((f, 1), (x, 4 * ROWS), (c, step))]
    zero = ir.Constant(_I64, 0)
    for phi, start, after in zip((f, x, c), (zero, rows, zero), following, strict=True):
        phi.add_incoming(start, entry)
        phi.add_incoming(after, loop)
    for u in range(GROUP):
        for p in range(PANELS):
            scores[u][p].add_incoming(begun[u], entry)
            scores[u][p].add_incoming(sums[u][p], loop)
    builder.cbranch(builder.icmp_signed("<", following[0], depth), loop, done)
    builder.position_at_end(done)
    return sums


def _tile(builder: Any, rows: Any, operand: Any, base: Any, depth: Any) -> list[list[Any]]:
    """`_products` for GROUP centroids that are stored side by side, (depth, GROUP)."""
    operands = [builder.add(operand, ir.Constant(_I64, 4 * u)) for u in range(GROUP)]
    bases = [_load(builder, base, 4 * u, _F32) for u in range(GROUP)]
    return _products(builder, rows, operands, 4 * GROUP, bases, depth)


def _keep_least(builder: Any, scores: list[list[Any]], numbers: list[Any], best: Any, second: Any, label: Any) -> None:
    """Bring best, second and label of ROWS rows up to date with their scores of the centroids `numbers`."""
    names = [_splat(builder, number, _INTS) for number in numbers]
    for p in range(PANELS):
        at = 4 * LANES * p
        least, runner_up = _load(builder, best, at, _FLOATS), _load(builder, second, at, _FLOATS)
        winner = _load(builder, label, at, _INTS)
        for u in range(GROUP):
            score = scores[u][p]
            nearer = builder.fcmp_ordered("<", score, least)
            loser = builder.select(nearer, least, score)
            runner_up = _less(builder, loser, runner_up)
            least = builder.select(nearer, score, least)
            winner = builder.select(nearer, names[u], winner)
        for value, address in ((least, best), (runner_up, second), (winner, label)):
            _store(builder, value, address, at)


@intrinsic
def score_tile(
    typing: Any, rows: Any, operand: Any, base: Any, best: Any, second: Any, label: Any, first: Any, depth: Any
) -> Any:
    """Score ROWS rows against GROUP centroids, numbers `first` and on, and update their best, second and label.

    Addresses of float32: `rows` (depth, ROWS), `operand` (depth, GROUP), `base` (GROUP,), to which the products of rows
    and operand are added, `best` and `second` (ROWS,); of int32: `label` (ROWS,). `depth` >= 1.
    """
    signature = types.void(*[types.int64] * 6, types.int32, types.int64)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, operand, base, best, second, label, first, depth = arguments
        numbers = [builder.add(first, ir.Constant(_I32, u)) for u in range(GROUP)]
        _keep_least(builder, _tile(builder, rows, operand, base, depth), numbers, best, second, label)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def score_listed(
    typing: Any, rows: Any, operand: Any, base: Any, best: Any, second: Any, label: Any, listed: Any, depth: Any
) -> Any:
    """`score_tile` for GROUP centroids of any numbers, `listed` (GROUP,) int32; `operand` (k, depth), `base` (k,)."""
    signature = types.void(*[types.int64] * 8)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, operand, base, best, second, label, listed, depth = arguments
        numbers = [_load(builder, listed, 4 * u, _I32) for u in range(GROUP)]
        places = [builder.mul(builder.zext(number, _I64), ir.Constant(_I64, 4)) for number in numbers]
        bases = [_load(builder, builder.add(base, place), 0, _F32) for place in places]
        operands = [builder.add(operand, builder.mul(place, depth)) for place in places]
        scores = _products(builder, rows, operands, 4, bases, depth)
        _keep_least(builder, scores, numbers, best, second, label)
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def store_tile(typing: Any, rows: Any, operand: Any, base: Any, scores: Any, depth: Any) -> Any:
    """The scores themselves, to `scores` (GROUP, ROWS) float32; the rest as in `score_tile`."""
    signature = types.void(*[types.int64] * 5)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, operand, base, scores, depth = arguments
        for u, vectors in enumerate(_tile(builder, rows, operand, base, depth)):
            for p, vector in enumerate(vectors):
                _store(builder, vector, scores, 4 * (ROWS * u + LANES * p))
        return context.get_dummy_value()

    return signature, emit


@intrinsic
def square_strip(typing: Any, rows: Any, operand: Any, out: Any, depth: Any) -> Any:
    """Squared lengths of ROWS rows plus `operand` (depth,), summed feature by feature.

    Addresses of float32: `rows` (depth, ROWS) and `out` (ROWS,).
    """

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, operand, out, depth = arguments
        multiply_add = _fma(builder, _FLOATS)

        def add(f: Any, sums: list[Any]) -> list[Any]:
            features, longer = _at(builder, rows, f, 4 * ROWS), []
            more = _splat(builder, _load(builder, _at(builder, operand, f, 4), 0, _F32), _FLOATS)
            for p in range(PANELS):
                value = builder.fadd(_load(builder, features, 4 * LANES * p, _FLOATS), more)
                longer.append(builder.call(multiply_add, [value, value, sums[p]]))
            return longer

        zeros = [ir.Constant(_FLOATS, [0.0] * LANES)] * PANELS
        for p, length in enumerate(_counted(builder, zeros, 1, depth, add)):
            _store(builder, length, out, 4 * LANES * p)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), emit
