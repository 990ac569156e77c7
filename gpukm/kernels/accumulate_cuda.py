"""accumulate, CUDA: exact sums on a device, and what other launchers share of it. The kernel is accumulate.cu."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gpukm.exact import MAX_LIMBS, Grid, Sums, sums_like
from gpukm.kernels._nvrtc import Configuration, Kernel

Array = Any  # on the device
NEAR_LIMBS = 2  # limbs that kernels keep for a block, as in exact.cuh

CONFIGURATIONS = [Configuration(Kernel("accumulate", "move_rows", (("VALUE", size),)), 75, 64, 0) for size in (1, 4, 8)]


def value_define(X: Array) -> tuple[str, int]:
    """The constant that names the dtype of rows: uint8, float32 or float64."""
    assert X.dtype in (np.uint8, np.float32, np.float64)
    return "VALUE", int(X.dtype.itemsize)


def blocks(facts: Any, wanted: int) -> tuple[int]:
    """A grid of at most as many blocks as keep the device busy, each of which takes its share of the work in turn."""
    return (max(min(wanted, 8 * facts.multiprocessors), 1),)


@dataclass
class DeviceSums:
    """Exact sums on a device: `gpukm.exact.Sums` there.

    Attributes
    ----------
    limbs : (MAX_LIMBS, k, columns) uint64 on the device, int64 by its bits
    used : (1,) int32 on the device: limbs in use
    units : (columns,) float64 on the device: 1 / unit of limb 0
    """

    grid: Grid
    limbs: Array
    used: Array
    units: Array

    @classmethod
    def zeros(cls, gpu: Any, grid: Grid, n_clusters: int) -> "DeviceSums":
        """Zero sums for `n_clusters` clusters."""
        limbs = gpu.zeros((MAX_LIMBS, n_clusters, len(grid.exponents)), np.uint64)
        used = gpu.zeros(1, np.int32)
        used += 1
        return cls(grid, limbs, used, gpu.to_device(1 / grid.unit(0)))

    @property
    def arguments(self) -> tuple:
        """What kernels take: units, 2^bits of a limb, limbs, used."""
        return self.units, np.float64(2.0**self.grid.bits), self.limbs, self.used

    def to_host(self, gpu: Any) -> Sums:
        """The sums on the host; waits for the kernels that fill them."""
        used = int(gpu.to_host(self.used)[0])
        sums = sums_like(self.grid, self.limbs.shape[1])
        sums.store[:used] = gpu.to_host(self.limbs[:used]).view(np.int64)
        sums.used = used
        return sums


def move_rows(
    gpu: Any,
    X: Array,
    first: int,
    n_rows: int,
    weights: Array | None,
    labels: Array,
    moved: Array,
    length: Array,
    sums: DeviceSums,
    stop: Array | None = None,
) -> None:
    """Add the rows in `moved` to the sums of their new clusters, take them from those of the old ones.

    Parameters
    ----------
    X, weights, labels : all rows: (n, d) uint8|float32|float64, (n,) float64 or None, (n,) int32
    first, n_rows : the rows that `moved` (n_rows, 2) int32 counts from, and how many it may hold
    length : (1,) int32, how many it does
    stop : (1,) int32 that turns the kernel into nothing, see update.cu
    """
    d, k = X.shape[1], sums.limbs.shape[1]
    at_once = max(256 // (d + 1), 1)
    kernel = Kernel("accumulate", "move_rows", (value_define(X),))
    args = (X, np.int64(first), np.int32(d), np.int32(k), weights, *sums.arguments, labels, moved, length, stop)
    gpu.launch(kernel, blocks(gpu.facts, -(-n_rows // at_once)), (256,), args)
