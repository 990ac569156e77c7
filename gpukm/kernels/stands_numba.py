"""stands: strips of narrow rows in which no label can have changed, Numba engine.

A limit for each row, as `bounds` keeps it, is more to read than a narrow row. A strip has one: the least gap of its
rows, which an iteration makes smaller by the two greatest moves of all centroids at most. In the terms of `bounds`,

    gap = sqrt(2 h + 2 g) - sqrt(2 h) >= g / sqrt(2 (g + h)),

nearly equal for the rows near a border, which decide; so a strip takes one square root. What is taken off for roundings
is the same: with w = g + h, off sqrt(w). Then gap^2 >= (g less / 2 - off w)^2 / w.

It pays where so few rows change that most strips stand, as at the end of a long fit.
"""

from functools import reduce
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from gpukm.kernels.bounds import DOWN, factors
from gpukm.kernels.jit_numba import FUSED, jit
from gpukm.kernels.narrow_numba import SIDE
from gpukm.kernels.transpose_numba import by_depth
from gpukm.kernels.vectors_numba import (
    _FLOATS,
    _I64,
    LANES,
    PANELS,
    ROWS,
    _at,
    _counted,
    _fma,
    _less,
    _load,
    _splat,
    _store,
    least_of,
)

CALM = 4 * ROWS  # of so many rows at most one changed, where limits pay
FARTHEST = 1e18  # a score beyond counts as this: its square is finite
LEAST = 2.0**-60  # what is shorter is taken for nothing, as its square may be rounded up


def no_limits(n_features: int) -> tuple:
    """What `assign_rows` takes: limits of the strips, here none; drift; whether to ask for them; `factors`."""
    return np.empty(0, np.float32), np.float32(0), False, factors(n_features)


def _gaps(builder: Any, arguments: Any, d: int) -> Any:
    strip, scores, bar, count, half, more, less, off, out, _ = arguments
    half, more, less, off = (_splat(builder, term, _FLOATS) for term in (half, more, less, off))
    zeros, least, far = (ir.Constant(_FLOATS, [value] * LANES) for value in (0.0, LEAST, FARTHEST))
    multiply_add, limits = _fma(builder, _FLOATS), [_load(builder, bar, 4 * LANES * p, _FLOATS) for p in range(PANELS)]

    def compare(i: Any, second: list[Any]) -> list[Any]:
        stored, second = _at(builder, scores, i, 4 * ROWS), list(second)
        for u in range(SIDE):
            for p in range(PANELS):
                score = _load(builder, stored, 4 * (ROWS * u + LANES * p), _FLOATS)
                other = builder.select(builder.fcmp_ordered(">", score, limits[p]), score, far)
                second[p] = _less(builder, other, second[p])
        return second

    second, squares = _counted(builder, [far] * PANELS, SIDE, count, compare), []
    for p in range(PANELS):
        length = zeros
        for f in range(d):
            features = _load(builder, strip, 4 * (ROWS * f + LANES * p), _FLOATS)
            length = builder.call(multiply_add, [features, features, length])
        g = builder.fsub(second[p], limits[p])
        h = builder.call(multiply_add, [length, half, builder.fadd(limits[p], more)])
        wide = builder.fadd(g, builder.select(builder.fcmp_ordered(">", h, zeros), h, zeros))
        gap = builder.fsub(builder.fmul(g, less), builder.fmul(wide, off))
        any_ = builder.fcmp_ordered(">", gap, least)
        squares.append(builder.select(any_, builder.fdiv(builder.fmul(gap, gap), wide), zeros))
    _store(builder, reduce(lambda a, b: _less(builder, a, b), squares), out, 0)
    return _I64(0)


@intrinsic
def squared_gaps(
    typing: Any,
    strip: Any,
    scores: Any,
    bar: Any,
    count: Any,
    half: Any,
    more: Any,
    less: Any,
    off: Any,
    out: Any,
    depth: Any,
) -> Any:
    """Write to `out` (LANES,), whose least is below the squared gaps of all ROWS rows.

    Addresses as of `label_narrow`, which has run: `bar` (ROWS,) are the thresholds, one score of each row is within.
    `half` |x'|^2 + `more` is above half of a row's squared length, `less` and `off` are half of and as in `factors`.
    """
    signature = types.int64(*[types.int64] * 4, *[types.float32] * 4, *[types.int64] * 2)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return by_depth(builder, arguments[-1], lambda d: _gaps(builder, arguments, d), _I64(0))

    return signature, emit


@jit(FUSED)
def limit_of_strip(strip, scores, bar, count, per_square, tiny, factors, drift, out, d):
    """The limit of a strip that `label_narrow` has found a single centroid for in each row: see there, and `Packed`."""
    half, less, off = factors
    terms = half * per_square, half * tiny, np.float32(0.5) * less, off
    squared_gaps(strip, scores, bar, count, *terms, out, d)
    return (np.sqrt(least_of(out, LANES)) + drift) * DOWN
