"""What kernels are made of, on the emulator and on a GPU alike: each intrinsic against its meaning in NumPy."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from gpukm.kernels._cuda import Kernel

FOLDER = Path(__file__).parent / "emulator" / "kernels"
pytestmark = pytest.mark.sanitized
RNG = np.random.default_rng(0)
TINY = np.float32(2.0**-149)
F32 = np.concatenate(
    [
        [0.0, -0.0, 1.0, -1.5, 2.5, 3.5, -2.5, 0.1, np.inf, -np.inf, 3.4e38, -3.4e38, 65504, 65519.99, 65520, -65536],
        [TINY, -TINY, 5 * TINY, 2.0**-126, TINY - 2.0**-126, 2.0**-24, 2.0**-25, 1.5 * 2.0**-25, 2.0**-14 - TINY],
        [1 + 2.0**-11, 1 + 3 * 2.0**-11, 1 + 2.0**-10, 1 + 2.0**-12, 1 + 2.0**-23, 6.1e-5, 5.96e-8],
        RNG.normal(size=200) * 2.0 ** RNG.integers(-140, 120, 200),
    ]
).astype(np.float32)
F64 = np.concatenate(
    [F32.astype("f8") * (1 + 2.0**-25), RNG.normal(size=F32.size) * 2.0 ** RNG.integers(-155, 127, F32.size)]
)
F64 = F64[: F32.size]


@pytest.fixture
def rng():
    """The same numbers for a test whatever ran before it."""
    return np.random.default_rng(1)


@pytest.fixture
def gpu(make_gpu):
    """The emulator, and a GPU where there is one, with the kernels under tests/."""
    return make_gpu(folder=FOLDER)


def run(gpu, file, name, block, arrays, outputs, grid=(1,), shared=0):
    """Launch with inputs, NumPy arrays or scalars, then outputs, (shape, dtype) or arrays to start from."""
    inputs = [gpu.to_device(a) if isinstance(a, np.ndarray) else a for a in arrays]
    results = [gpu.to_device(o.copy()) if isinstance(o, np.ndarray) else gpu.empty(*o) for o in outputs]
    gpu.launch(Kernel(file, name), grid, block, [*inputs, *results], shared)
    return [gpu.to_host(r) for r in results]


def by_value(gpu, file, name, arrays, outputs):
    """The same with one thread a value, in blocks of 64."""
    n = len(arrays[0])
    return run(gpu, file, name, (64,), [*arrays, np.int32(n)], outputs, (-(-n // 64),))


def same(found, wanted):
    """Equal to the bit, but for the bits of a NaN."""
    np.testing.assert_array_equal(found, wanted)
    if np.asarray(wanted).dtype.kind == "f":
        there = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(found)[there], np.signbit(wanted)[there])


def rounded_tf32(x):
    """To 10 bits of mantissa, to nearest, ties away from zero."""
    bits = x.view(np.uint32)
    return np.where(np.isfinite(x), (bits + np.uint32(0x1000)) & ~np.uint32(0x1FFF), bits & ~np.uint32(0x1FFF))


# -- values ----------------------------------------------------------------------------------------------


def test_conversions_are_exact_or_rounded_once_subnormal_numbers_included(gpu):
    """No number is taken for zero: in float32, in half precision, on the way to float64 and back."""
    n = len(F32)
    shapes = [(2 * n, "f8"), (2 * n, "f4"), (n, "u2"), (n, "f4"), (n, "u4"), (3 * n, "u4")]
    wide, narrowed, halves, values, tf32, bits = run(
        gpu, "arithmetic", "conversions", (64,), [F32, F64, np.int32(n)], shapes, (-(-n // 64),)
    )
    with np.errstate(over="ignore", under="ignore"):
        half, single = F32.astype(np.float16), F64.astype(np.float32)
    same(wide.reshape(2, n), [F32.astype("f8")] * 2)
    same(narrowed.reshape(2, n), [single] * 2)
    same(halves, half.view(np.uint16))
    same(values, half.astype("f4"))
    same(tf32, rounded_tf32(F32))
    packed = half.view(np.uint16).astype("u4") | (-half).view(np.uint16).astype("u4") << np.uint32(16)
    same(bits.reshape(3, n), [packed, F32.view("u4"), F32.view("u4")])


def test_float32_operations_round_once_and_are_not_contracted(gpu):
    """As NumPy rounds; x * y + z is two operations, __fmaf_rn one; minimum and maximum prefer numbers to NaN."""
    a, b, c = F32, np.roll(F32, 7), np.roll(F32, 31)
    (out,) = by_value(gpu, "arithmetic", "float_operations", [a, b, c], [((17, len(a)), "f4")])
    with np.errstate(all="ignore"):
        fused = np.array([_fma(x, y, z) for x, y, z in zip(a, b, c)], "f4")
        wanted = [a + b, a - b, a * b, fused, a * b + c, a / b, np.sqrt(np.abs(a)), np.fmin(a, b), np.fmax(a, b)]
        wanted += [np.fmin(a, b), np.fmax(a, b), np.rint(a), np.floor(a), a, b, a < b, a == b]
    for found, expected in zip(out, wanted):
        np.testing.assert_array_equal(found, np.asarray(expected, "f4"))  # the sign of zeros is nobody's promise


def _fma(x, y, z):
    """x y + z rounded once to float32."""
    if not np.isfinite([x, y, z]).all():
        return np.float32(x.astype("f8") * y + z)
    exact = Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
    size = abs(exact)
    exponent = -149
    if exact:
        exponent = max(size.numerator.bit_length() - size.denominator.bit_length() - 24, -149)
        exponent += size >= Fraction(2) ** (exponent + 24)
    return np.float32(np.ldexp(float(round(exact / Fraction(2) ** exponent)), exponent))  # rounds ties to even


def test_float64_operations_round_once_and_are_not_contracted(gpu):
    """What the canonical distance is made of."""
    a, b, c = F64, np.roll(F64, 5), np.roll(F64, 17)
    (out,) = by_value(gpu, "arithmetic", "double_operations", [a, b, c], [((15, len(a)), "f8")])
    with np.errstate(all="ignore"):
        mantissa, exponent = np.frexp(a)
        finite = np.isfinite(a)
        wanted = [a + b, a - b, a * b, None, a * b + c, a / b, np.sqrt(np.abs(a)), np.fmin(a, b), np.fmax(a, b)]
        wanted += [np.rint(a), np.floor(a), mantissa, a * 8, a, None]
    for found, expected in zip(out, wanted):
        if expected is not None:
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(out[14][finite], exponent[finite])
    fused = np.isfinite(out[3]) & np.isfinite(a * b + c)
    for i in np.flatnonzero(fused)[:60]:
        exact = Fraction(a[i]) * Fraction(b[i]) + Fraction(c[i])
        assert out[3][i] == exact.numerator / exact.denominator  # Python divides integers with one rounding


def test_integer_operations(gpu, rng):
    """Counting bits, high words of products, conversions to nearest."""
    a = np.concatenate([rng.integers(-(2**31), 2**31, 100), [0, 1, -1, 2**31 - 1, -(2**31)]]).astype("i4")
    b = np.concatenate([rng.integers(-(2**62), 2**62, 100), [0, 1, -1, 2**62, -(2**62)]])
    (out,) = by_value(gpu, "arithmetic", "integer_operations", [a, b], [((13, len(a)), "i8")])

    def leading(values, width):
        return [width - int(v).bit_length() for v in values]

    def first(values):
        return [(int(v) & -int(v)).bit_length() for v in values]

    u, w = a.view("u4"), b.view("u8")
    high = [(int(v) * 0x9E3779B97F4A7C15) >> 64 for v in w]
    wanted = [
        [int(v).bit_count() for v in u],
        [int(v).bit_count() for v in w],
        leading(u, 32),
        leading(w, 64),
        first(u),
        first(w),
        [(int(v) * 0x9E3779B9) >> 32 for v in u],
        np.array(high, "u8").view("i8"),
        np.minimum(a, 7),
        np.maximum(a, 7),
        np.rint(b * 0.25 / 2**20),
        np.rint(a.astype("f4") * np.float32(0.25)),
        a,
    ]
    for found, expected in zip(out, wanted):
        np.testing.assert_array_equal(found, expected)


# -- threads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [32, 16, 4])
def test_lanes_see_each_others_values(gpu, width, rng):
    """Shuffles within segments of a warp, votes over all of it."""
    n = 64
    x = rng.integers(0, 50, n).astype("i4")
    y = rng.normal(size=n)
    out, moved = run(gpu, "warps", "shuffles", (n,), [x, y, np.int32(width)], [((8, n), "i4"), (n, "f8")])
    i = np.arange(n)
    lane, warp = i % 32, i - i % 32
    segment = lane - lane % width
    down = np.where(lane % width + 2 < width, lane + 2, lane)
    up = np.where(lane % width >= 2, lane - 2, lane)
    other = np.where((lane ^ 5) >= segment + width, lane, lane ^ 5)
    np.testing.assert_array_equal(out[0], x[warp + segment + (lane + 3) % width])
    np.testing.assert_array_equal(out[1], x[warp + other])
    np.testing.assert_array_equal(out[2], x[warp + down])
    np.testing.assert_array_equal(out[3], x[warp + up])
    np.testing.assert_array_equal(moved, y[i ^ 1])

    def mask(condition):
        return np.repeat((condition.reshape(-1, 32) << np.arange(32, dtype="u8")).sum(1).astype("u4").view("i4"), 32)

    np.testing.assert_array_equal(out[4], mask(x % 3 == 0))
    np.testing.assert_array_equal(out[5], np.repeat((x == x[0]).reshape(-1, 32).any(1), 32))
    np.testing.assert_array_equal(out[6], 1)
    for kind in range(4):
        np.testing.assert_array_equal(out[7][x % 4 == kind], mask(x % 4 == kind)[x % 4 == kind])


def test_parts_of_a_warp_go_different_ways_and_meet_again(gpu, rng):
    """An exchange concerns the lanes of its mask and no others, however many each has had before."""
    x = rng.integers(0, 1000, 32).astype("i4")
    (out,) = run(gpu, "warps", "parted", (32,), [x], [(32, "i4")])
    wanted = x.copy()
    wanted[:8] = x[:8].sum()
    odd = np.arange(9, 32, 2)
    wanted[odd] = x[odd] + x[odd ^ 2]
    np.testing.assert_array_equal(out, wanted[::-1])


def test_reductions_of_a_warp_and_votes_of_a_block(gpu, rng):
    """One value for all lanes, one for all threads; 90 threads are two warps and a part."""
    x = rng.integers(-1000, 1000, 64).astype("i4")
    (out,) = run(gpu, "warps", "reductions", (64,), [x], [((5, 64), "i4")])
    rows, unsigned = x.reshape(2, 32), x.view("u4").reshape(2, 32)
    wanted = [rows.sum(1), rows.min(1), unsigned.max(1).view("i4")]
    wanted += [np.bitwise_or.reduce(rows, 1), np.bitwise_and.reduce(rows, 1)]
    np.testing.assert_array_equal(out, np.repeat(np.array(wanted), 32, axis=1))
    x = rng.integers(-1000, 1000, 90).astype("i4")
    (out,) = run(gpu, "warps", "votes", (90,), [x], [((3, 90), "i4")])
    np.testing.assert_array_equal(out != 0, [[(x > 0).any()] * 90, [False] * 90, [(x > -1000).all()] * 90])
    np.testing.assert_array_equal(out[0], (x > 0).sum())


# -- memory ----------------------------------------------------------------------------------------------


def test_vectors_are_read_and_written_whole(gpu, rng):
    """float4, int4, uint4, int2 and longlong2."""
    n = 40
    x, y, z = (
        rng.normal(size=4 * n).astype("f4"),
        rng.integers(-99, 99, 4 * n).astype("i4"),
        rng.integers(-(2**60), 2**60, 2 * n),
    )
    a, b, c = run(gpu, "memory", "vectors", (n,), [x, y, z], [(4 * n, "f4"), (2 * n, "i4"), (n, "i8")])
    np.testing.assert_array_equal(a.reshape(n, 4), x.reshape(n, 4)[:, ::-1])
    v = y.reshape(n, 4)
    np.testing.assert_array_equal(b.reshape(n, 2), np.stack([v[:, 0] + v[:, 3], v[:, 1] + v[:, 2]], 1))
    np.testing.assert_array_equal(c, z[::2] - z[1::2])


def test_atomics_lose_nothing(gpu, rng):
    """Sums, extremes, products by compare and swap, places in a queue: as if one thread had done it all."""
    x = rng.integers(-1000, 1000, 500).astype("i4")
    starts = [np.array([0, 9999, -9999, 0], "i4"), np.zeros(4 + 500, "u4"), np.array([0, 2**63, 1], "u8")]
    starts += [np.zeros(1, "f4"), np.zeros(1, "f8")]
    i32, u32, u64, f32, f64 = run(gpu, "memory", "atomics", (64,), [x, np.int32(500)], starts, (3,))
    np.testing.assert_array_equal(i32, [x.sum(), x.min(), x.max(), 500])
    u = x.view("u4")
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(
            u32[:4], [u.sum(dtype="u4"), u.max(), np.bitwise_or.reduce(u), np.bitwise_xor.reduce(u)]
        )
    np.testing.assert_array_equal(np.sort(u32[4:]), np.sort(u))
    least = (int((x & 0xFFFF).min())) << 32
    np.testing.assert_array_equal(u64, np.array([int(x.sum()) % 2**64, least, pow(3, 500, 2**64)], "u8"))
    assert f32[0] == f64[0] == x.sum()  # whole numbers below 2^24: exact in any order


def test_shared_memory_is_fresh_for_every_block(gpu, rng):
    """Static and dynamic; what nobody wrote is no number that a kernel could go on with (on a GPU it is anything)."""
    x = rng.normal(size=5 * 100).astype("f4")
    out, untouched = run(gpu, "memory", "reversed", (100,), [x], [(500, "f4"), (5, "f4")], (5,), shared=400)
    np.testing.assert_array_equal(out, x.reshape(5, 100)[:, ::-1].ravel())
    if gpu.xp is np:
        assert np.isnan(untouched).all()


@pytest.mark.parametrize("n", [1, 31, 33, 200])
def test_copies_go_on_while_a_tile_is_used(gpu, n, rng):
    """Rows past the end arrive as zeros."""
    x = rng.integers(-4, 5, (n, 64)).astype("f4")
    (out,) = run(gpu, "memory", "row_sums", (128,), [x, np.int32(n)], [(n, "f4")], shared=2 * 32 * 64 * 4)
    np.testing.assert_array_equal(out, x.sum(1))


# -- tensor cores ------------------------------------------------------------------------------------------


def tensor_inputs(rng, kind, warps, whole):
    """(A, B by columns, C) for so many warps: whole numbers small enough to be exact, or of very different sizes."""
    depth = 16 if kind != "tf32" else 8
    shapes = [(warps, 16, depth), (warps, 8, depth), (warps, 16, 8)]
    draw = rng.integers if whole else rng.normal
    arrays = [draw(-9, 10, s) if whole else rng.normal(size=s) * 2.0 ** rng.integers(-4, 4, s) for s in shapes]
    dtype = np.float32 if kind == "tf32" else np.float16
    return arrays[0].astype(dtype), arrays[1].astype(dtype), arrays[2].astype(np.float32)


@pytest.mark.parametrize("kind", ["f16", "f16_from_shared", "tf32"])
def test_products_of_small_whole_numbers_are_exact(gpu, kind, rng):
    """Every element of every fragment is where the instruction expects it."""
    warps = 1 if kind == "f16_from_shared" else 3
    a, b, c = tensor_inputs(rng, kind, warps, whole=True)
    view = (lambda m: m) if kind == "tf32" else (lambda m: m.view(np.uint16))
    (out,) = run(gpu, "tensor", kind, (32 * warps,), [view(a), view(b), c], [(c.shape, "f4")])
    np.testing.assert_array_equal(out, np.einsum("wik,wjk->wij", a.astype("f8"), b.astype("f8")) + c)


@pytest.mark.parametrize("kind", ["f16", "tf32"])
def test_sums_of_tensor_cores_err_within_the_model(gpu, kind, rng):
    """At most one unit of 2^-23 of twice the largest term for each of them, and no worse than the emulator is."""
    warps = 4
    a, b, c = tensor_inputs(rng, kind, warps, whole=False)
    if kind == "tf32":
        a, b = rounded_tf32(a).view("f4"), rounded_tf32(b).view("f4")
    view = (lambda m: m) if kind == "tf32" else (lambda m: m.view(np.uint16))
    (out,) = run(gpu, "tensor", kind, (32 * warps,), [view(a), view(b), c], [(c.shape, "f4")])
    products = np.abs(a.astype("f8")[:, :, None] * b.astype("f8")[:, None])
    exact = np.einsum("wik,wjk->wij", a.astype("f8"), b.astype("f8")) + c
    terms = products.sum(-1) + np.abs(c)  # no partial sum is larger
    assert (np.abs(out - exact) <= (products.shape[-1] + 2) * 2.0**-22 * terms).all()
    assert np.abs(out - exact).max() > 0


def test_infinite_and_missing_values_stay_what_they_are(gpu, rng):
    """In a product with tensor cores: NaN in, NaN out, infinity in, infinity out, in that row and column only."""
    a, b, c = tensor_inputs(rng, "f16", 1, whole=True)
    a[0, 3, 5], a[0, 7, 2], b[0, :, 5], b[0, :, 2] = np.nan, np.inf, 1, 1
    (out,) = run(gpu, "tensor", "f16", (32,), [a.view("u2"), b.view("u2"), c], [(c.shape, "f4")])
    assert (
        np.isnan(out[0, 3]).all() and np.isposinf(out[0, 7]).all() and np.isfinite(np.delete(out[0], [3, 7], 0)).all()
    )
