"""Centroids on a device, made ready for scores. The kernel is prepare.cu."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gpukm.exact import TINY, U32, U64, gamma, margin
from gpukm.kernels._nvrtc import Configuration, Kernel
from gpukm.kernels.accumulate_cuda import row_threads, value_define
from gpukm.kernels.assign import Frame

Array = Any  # on the device
FAR = 3e38  # the start of a sum that no score beats
COLUMNS = 64  # centroids of a tile of assign_mma.cu


@dataclass(frozen=True)
class Format:
    """What tensor cores multiply: numbers with 10 bits of mantissa.

    Attributes
    ----------
    size : bytes of one, for which kernels are compiled
    power : rows are scaled to lengths below 2**power
    tiny : absolute slack of the scores of such rows, see `threshold` in exact.cuh
    """

    size: int
    power: int
    tiny: float


# fp16 overflows at 2^16. Values below 2^-14 are off by up to 2^-25, products of vectors by 2^-25 sqrt(d) (|x'| + |c'|).
# A hundredth of kappa (|x'|^2 / 2 + |c'|^2) covers it from lengths of 1 on (d <= 2^14); what shorter ones add is within
# the slack.
HALF = Format(2, 14, 2.0**-16)
# TF32 has the range of float32, at half of fp16's rate. Should tensor cores take a number below 2^-126 for zero, such a
# product is off by 2^-126 sqrt(d) (|x'| + |c'|), where neither is longer than 2^60.
TF32 = Format(4, 30, 2.0**-56)

CONFIGURATIONS = [
    Configuration(Kernel("prepare", "prepare", (("VALUE", size), ("OPERAND", HALF.size), ("SLAB", slab))), 75, 64, 64)
    for size in (1, 4, 8)
    for slab in (16, 32)
]
CONFIGURATIONS += [
    Configuration(Kernel("prepare", "prepare", (("VALUE", 4), ("OPERAND", TF32.size), ("SLAB", 32))), 80, 64, 64)
]


def format_for(frame: Frame) -> Format:
    """fp16, unless the longest row is so far off that most others would be below its normal range."""
    return HALF if frame.typical > frame.power - HALF.power else TF32


def margin_tensor(n_features: int) -> float:
    """kappa of scores by products of fp16 or TF32 numbers added in float32; see `gpukm.exact`, point 2.

    Both operands are rounded to 10 bits (2u + u^2 with u = 2^-11, and another 2^-22 for the float32 before); the
    products are exact; sums are charged 2^-22 a term, four times float32's roundoff, since tensor cores cut off where
    IEEE rounds; 2^-19 is for the four bits of a score that carry its number (assign_mma.cu). A hundredth more is for
    values below fp16's normal range, see `HALF`. As scores of more than 2^14 features would need more, they get 1.
    """
    u = 2.0**-11
    if n_features > 1 << 14:
        return 1.0
    return 2.02 * u + u * u + 2.0**-22 + gamma(n_features + 12, 2.0**-22) + 2.0**-19 + gamma(n_features + 4, U64)


def slab_of(d: int) -> int:
    """Features of a slab of assign_mma.cu: whole steps of 16 features, two at a time where there are more."""
    return 16 if d <= 16 else 32


@dataclass
class Operands:
    """Centroids as kernels score them.

    Attributes
    ----------
    shift, scale : see `Frame`
    operand : (k, d + 1) float32, -c' and the start of the sum
    exact : (k, d) float64, the centroids
    limits : (iterations, 2, 4) float32: of float32 scores and those of tensor cores, see `threshold` in exact.cuh
    format : of what tensor cores multiply; None where they are not used
    narrow, bases : (K, D) uint16|uint32, (K,) float32: -c' in that format and the starts, padded; None likewise
    narrow_scale : power of two
    """

    shift: Array
    scale: np.float64
    operand: Array
    exact: Array
    limits: Array
    format: Format | None
    narrow: Array | None
    bases: Array | None
    narrow_scale: np.float64

    @classmethod
    def of(
        cls, gpu: Any, frame: Frame, k: int, d: int, *, tensor: Format | None = None, iterations: int = 1
    ) -> "Operands":
        """Room for k centroids of d features, prepared `iterations` times; for tensor cores, too, if they get some."""
        limits, own = np.zeros((iterations, 2, 4), np.float32), tensor or HALF
        for kind, (kappa, tiny) in enumerate(((margin(d, U32), TINY), (margin_tensor(d), own.tiny))):
            wider = kappa * (1 + 40 * kappa)
            limits[:, kind, :3] = wider * (1 + 2 * kappa), tiny, 20 * wider
        tiles, slab = -(-k // COLUMNS), slab_of(d)
        return cls(
            gpu.to_device(frame.shift),
            np.float64(frame.scale),
            gpu.empty((k, d + 1), np.float32),
            gpu.empty((k, d), np.float64),
            gpu.to_device(limits),
            tensor,
            gpu.zeros((tiles * COLUMNS, -(-d // slab) * slab), f"uint{8 * own.size}") if tensor else None,
            gpu.to_device(np.full(tiles * COLUMNS, FAR, np.float32)) if tensor else None,
            np.float64(np.ldexp(1.0, own.power - frame.power)),
        )

    def prepare(self, gpu: Any, X: Array, centroids: Array, iteration: int = 0, stop: Array | None = None) -> None:
        """Take over `centroids` (k, d), in the compute dtype on the device."""
        k, d = centroids.shape
        defines = value_define(X), ("OPERAND", (self.format or HALF).size), ("SLAB", slab_of(d))
        kappas = np.float64(margin(d, U32)), np.float64(margin_tensor(d))
        args = (centroids, np.int32(d), self.shift, self.scale, kappas[0], self.operand, self.exact)
        narrow = (self.narrow, self.bases, self.narrow_scale, kappas[1])
        kernel = Kernel("prepare", "prepare", defines)
        gpu.launch(kernel, (k,), row_threads(d), (*args, self.limits[iteration], *narrow, stop))
