"""Centroids on a device, made ready for scores. The kernel is prepare.cu."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gpukm.exact import TINY, U32, U64, gamma, margin
from gpukm.kernels._nvrtc import Configuration, Kernel
from gpukm.kernels.accumulate_cuda import value_define
from gpukm.kernels.assign import Frame

Array = Any  # on the device
FAR = 3e38  # the start of a sum that no score beats
COLUMNS = 64  # centroids of a tile of assign_mma.cu
HALF_RADIUS = 14  # fp16 rows are scaled to lengths below 2^14: fp16 overflows at 2^16 and is coarse below 2^-14
# Absolute slack: fp16 rows are scaled to lengths up to 2^14. A value below 2^-14 is off by up to 2^-25, a product
# of vectors by 2^-25 sqrt(d) (|x'| + |c'|). A hundredth of kappa (|x'|^2 / 2 + |c'|^2) covers it from lengths of 1 on
# (d <= 2^14); what shorter ones add is below this.
TINY_HALF = 2.0**-16

CONFIGURATIONS = [
    Configuration(Kernel("prepare", "prepare", (("VALUE", size), ("SLAB", slab))), 75, 64, 64)
    for size in (1, 4, 8)
    for slab in (16, 32)
]


def margin_half(n_features: int) -> float:
    """kappa of scores by products of fp16 numbers added in float32 on tensor cores; see `gpukm.exact`, point 2.

    Both operands are rounded to fp16 (2u + u^2 with u = 2^-11, and another 2^-22 for the float32 before); the products
    are exact; sums are charged 2^-22 a term, four times float32's roundoff, since tensor cores cut off where IEEE
    rounds; 2^-19 is for the four bits of a score that carry its number (assign_mma.cu). A hundredth more is for values
    below fp16's normal range, see `TINY_HALF`. As scores of more than 2^14 features would need more, they get 1.
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
    limits : (iterations, 2, 4) float32: of float32 and of fp16 scores, see `threshold` in exact.cuh
    halves, bases : (K, D) uint16, (K,) float32: the same for fp16, padded; None where fp16 is not used
    half_scale : power of two of fp16 scores
    """

    shift: Array
    scale: np.float64
    operand: Array
    exact: Array
    limits: Array
    halves: Array | None
    bases: Array | None
    half_scale: np.float64

    @classmethod
    def of(cls, gpu: Any, frame: Frame, k: int, d: int, *, halves: bool, iterations: int = 1) -> "Operands":
        """Room for k centroids of d features, prepared `iterations` times."""
        limits = np.zeros((iterations, 2, 4), np.float32)
        for kind, (kappa, tiny) in enumerate(((margin(d, U32), TINY), (margin_half(d), TINY_HALF))):
            wider = kappa * (1 + 40 * kappa)
            limits[:, kind, :3] = wider * (1 + 2 * kappa), tiny, 20 * wider
        tiles, slab = -(-k // COLUMNS), slab_of(d)
        return cls(
            gpu.to_device(frame.shift),
            np.float64(frame.scale),
            gpu.empty((k, d + 1), np.float32),
            gpu.empty((k, d), np.float64),
            gpu.to_device(limits),
            gpu.zeros((tiles * COLUMNS, -(-d // slab) * slab), np.uint16) if halves else None,
            gpu.to_device(np.full(tiles * COLUMNS, FAR, np.float32)) if halves else None,
            np.float64(np.ldexp(1.0, HALF_RADIUS - frame.power)),
        )

    def prepare(self, gpu: Any, X: Array, centroids: Array, iteration: int = 0, stop: Array | None = None) -> None:
        """Take over `centroids` (k, d), in the compute dtype on the device."""
        k, d = centroids.shape
        kernel = Kernel("prepare", "prepare", (value_define(X), ("SLAB", slab_of(d))))
        kappas = np.float64(margin(d, U32)), np.float64(margin_half(d))
        args = (centroids, np.int32(d), self.shift, self.scale, kappas[0], self.operand, self.exact)
        half = (self.halves, self.bases, self.half_scale, kappas[1])
        gpu.launch(kernel, (k,), (128,), (*args, self.limits[iteration], *half, stop))
