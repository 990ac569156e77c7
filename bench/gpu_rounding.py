"""How tensor cores add, measured: what the error bound of the filter rests on, and no document promises.

After Fasi, Higham, Mikaitis and Pranesh (2021), "Numerical behavior of NVIDIA tensor cores". d = a b + c by one
m16n8k16 instruction in half precision, float32 accumulator.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np

KERNELS = Path(__file__).resolve().parent.parent / "tests" / "emulator" / "kernels"
DEPTH = 16


def sums(gpu, a, b, c) -> np.ndarray:
    """c + a b for dot products of length 16: a, b (m, 16) float16, c (m,) float32; one instruction each."""
    from gpukm.kernels._cuda import Kernel

    m = len(c)
    A, B = np.zeros((m, 16, DEPTH), np.float16), np.zeros((m, 8, DEPTH), np.float16)
    C = np.zeros((m, 16, 8), np.float32)
    A[:, 0], B[:, 0], C[:, 0, 0] = a, b, c
    out = np.empty(m, np.float32)
    for i in range(0, m, 8):  # eight warps a launch
        part = slice(i, min(i + 8, m))
        given = [gpu.to_device(x[part]) for x in (A.view(np.uint16), B.view(np.uint16), C)]
        result = gpu.zeros(C[part].shape, "f4")
        gpu.launch(Kernel("tensor", "f16"), (1,), (32 * len(C[part]),), [*given, result])
        out[part] = gpu.to_host(result)[:, 0, 0]
    return out


def terms(*pairs) -> tuple[np.ndarray, np.ndarray]:
    """(a, b) whose products are the given numbers at the given places: (place, product's factors)."""
    a, b = np.zeros(DEPTH, np.float16), np.zeros(DEPTH, np.float16)
    for place, x, y in pairs:
        a[place], b[place] = x, y
    return a, b


def one(gpu, c: float, *pairs) -> float:
    """c plus these products."""
    a, b = terms(*pairs)
    return float(sums(gpu, a[None], b[None], np.array([c], np.float32))[0])


def direction(gpu) -> str:
    """How 1 + 3/4 and 1 + 1/4 of a unit in the last place come out, and their negatives."""
    up = [one(gpu, 1.0, (0, 2.0**-12, 2.0**-12 * x)) > 1 for x in (0.5, 1.5)]  # unit 2^-23
    down = [one(gpu, -1.0, (0, -(2.0**-12), 2.0**-12 * x)) < -1 for x in (0.5, 1.5)]
    known = {(False, True, False, True): "to nearest", (False, False, False, False): "toward zero"}
    known[False, False, True, True] = "down"
    return known.get((*up, *down), f"something else: {up} {down}")


def extra_bits(gpu) -> int:
    """Bits below the last place of the largest term that other terms keep: 2^e of 2^-(23 + e) then make one unit."""
    for bits in range(4, 0, -1):
        small = [(place, 2.0**-12, 2.0 ** -(11 + bits)) for place in range(2**bits)] if bits < 4 else []
        if small and one(gpu, 1.0, *small) > 1:
            return bits
    return 0


def products_at_once(gpu, bits: int) -> int:
    """How many products are added in one step: two that are cut beside a large one survive in a step before it."""
    factors = (1.5 * 2.0**-12, 2.0 ** -(12 + bits))  # 3/4 of what the finest bit beside 1 is worth
    start = 2.0**-23 - 2.0 ** -(23 + bits) if bits else 0.0
    small = [factors, factors]
    if not bits:
        small = [(1.5 * 2.0**-12, 2.0**-12)] * 2
    for place in range(2, DEPTH):
        pairs = [(i, *pair) for i, pair in enumerate(small)]
        if one(gpu, start, *pairs, (place, 1.0, 1.0)) > 1:
            return place
    return DEPTH


def worst(gpu, draws: int, seed: int = 0) -> float:
    """The largest error over random products, in units of 2^-24 of the sum of all magnitudes."""
    rng = np.random.default_rng(seed)
    spread = rng.integers(0, 7, draws)[:, None]

    def draw():
        return (rng.normal(size=(draws, DEPTH)) * 2.0 ** rng.integers(-spread, spread + 1, (draws, DEPTH))).astype("f2")

    a, b = draw(), draw()
    c = (rng.normal(size=draws) * 2.0 ** rng.integers(-8, 9, draws)).astype(np.float32)
    found = sums(gpu, a, b, c)
    largest = Fraction(0)
    for x, y, start, value in zip(a, b, c, found):
        products = [Fraction(float(p)) * Fraction(float(q)) for p, q in zip(x, y)]
        exact, size = sum(products) + Fraction(float(start)), sum(map(abs, products)) + abs(Fraction(float(start)))
        largest = max(largest, abs(Fraction(float(value)) - exact) / size)
    return float(largest * 2**24)


def measure(gpu, draws: int = 4096) -> dict:
    """All of it. `assumed` is what the emulator's model allows at worst, and the filter's bound must cover."""
    bits = extra_bits(gpu)
    return {
        "rounding": direction(gpu),
        "extra_bits": bits,
        "products_at_once": products_at_once(gpu, bits),
        "subnormal_products_kept": one(gpu, 0.0, (0, 2.0**-24, 1.0)) == 2.0**-24,
        "worst_error_in_2^-24_of_magnitudes": worst(gpu, draws),
        "draws": draws,
    }
