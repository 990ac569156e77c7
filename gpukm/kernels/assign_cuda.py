"""assign, CUDA: which kernel labels the rows, its constants, and the launches. In lloyd_step.cu, assign.cu, settle.cu.

Few features (up to FUSED): one kernel reads X once, labels, settles and brings the sums up to date. More: `assign`
scores tiles, `settle` decides the rows it left open, `move_rows` the sums, on parts of the rows, so that the lists that
pass between them stay small.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels._nvrtc import Configuration, Kernel
from gpukm.kernels.accumulate_cuda import NEAR_LIMBS, DeviceSums, blocks, move_rows, value_define
from gpukm.kernels.assign import Scorer, slack_terms

Array = Any  # on the device
FUSED = 16  # features up to which a row fits a thread's registers
TILE_ROWS, TILE_THREADS = 128, 256  # of assign.cu
LIST_BYTES = 16  # of a row in the lists: moved (8), open (4), margin (4)


@dataclass(frozen=True)
class Plan:
    """How a step is launched: a function of n, k, d, the dtype and the device's facts.

    Attributes
    ----------
    kernel : that labels the rows
    threads, rows : of a block
    shared : bytes of dynamic shared memory
    part : rows of a launch; all of them where the kernel does everything
    fused : whether it does
    """

    kernel: Kernel
    threads: int
    rows: int
    shared: int
    part: int
    fused: bool


def plan(n: int, k: int, d: int, value: int, facts: Any, memory: int, sums: bool = True) -> Plan:
    """Choose by cost: reading X once binds where rows and centroids are small, multiply-adds elsewhere.

    Parameters
    ----------
    value : bytes of a value
    facts : of the device, see `_cuda.Facts`
    memory : bytes that lists may take
    sums : whether sums are asked for
    """
    group = 1 if k <= 32 else 8
    stride = (d + 4) // 4 * 4
    packed = 4 * stride * (-(-k // group) * group)
    near = 8 * NEAR_LIMBS * k * (d + 1)
    if d <= FUSED and packed <= facts.shared:
        rows = 4 if d <= 4 else 2
        keep = sums and packed + near <= facts.shared
        kernel = fused_kernel(value, d, group, rows, keep)
        return Plan(kernel, 128, 128 * rows, packed + near * keep, n, True)
    kernel = Kernel("assign", "assign", (("VALUE", value),))
    part = min(max(memory // LIST_BYTES, 1 << 16), 1 << 26, n)
    return Plan(kernel, TILE_THREADS, TILE_ROWS, 0, part, False)


def fused_kernel(value: int, d: int, group: int, rows: int, near: bool) -> Kernel:
    """lloyd_step.cu with its constants."""
    constants = {"VALUE": value, "FEATURES": d, "GROUP": group, "ROWS": rows, "THREADS": 128, "NEAR": int(near)}
    return Kernel("lloyd_step", "lloyd_step", tuple(constants.items()))


@dataclass(frozen=True)
class Operands:
    """A `Scorer` on the device.

    Attributes
    ----------
    shift : (d,) compute dtype; scale : float64
    operand : (k, d + 1) float32; centroids : (k, d) float64; limits : (4,) float32, see `threshold` in exact.cuh
    """

    shift: Array
    scale: np.float64
    operand: Array
    centroids: Array
    limits: Array

    @classmethod
    def of(cls, gpu: Any, scorer: Scorer) -> "Operands":
        """Bring a scorer to the device. Where scores can prove nothing, limits leave every row open."""
        factor, tiny = slack_terms(scorer.centroids.shape[1])
        limits = np.array([factor, np.inf if scorer.hopeless else tiny, scorer.kappa20, scorer.most], np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            return cls(
                gpu.to_device(scorer.frame.shift),
                np.float64(scorer.frame.scale),
                gpu.to_device(scorer.operand),
                gpu.to_device(scorer.centroids.astype(np.float64)),
                gpu.to_device(limits),
            )


@dataclass
class Workspace:
    """What a step writes beside labels and sums, for one or several iterations launched at once.

    Attributes
    ----------
    counts : (iterations, 2) uint64: changed, undecided rows, where the step is one kernel
    lengths : (iterations, parts, 2) int32: of the lists `open` and `moved`, where it is three
    moved, open, margins : the lists, see assign.cu; empty where the step is one kernel
    """

    counts: Array
    lengths: Array
    moved: Array
    open: Array
    margins: Array

    @classmethod
    def of(cls, gpu: Any, chosen: Plan, n: int, iterations: int = 1) -> "Workspace":
        """Fresh counters and lists."""
        parts, length = (0, 0) if chosen.fused else (-(-n // chosen.part), chosen.part)
        return cls(
            gpu.zeros((iterations, 2), np.uint64),
            gpu.zeros((iterations, parts, 2), np.int32),
            gpu.empty((length, 2), np.int32),
            gpu.empty(length, np.int32),
            gpu.empty(length, np.float32),
        )

    def totals(self, gpu: Any) -> NDArray[np.int64]:
        """(iterations, 2): changed and undecided rows."""
        return (
            gpu.to_host(self.counts).astype(np.int64) + gpu.to_host(self.lengths).sum(axis=1, dtype=np.int64)[:, ::-1]
        )


def launch_step(
    gpu: Any,
    chosen: Plan,
    X: Array,
    own: Operands,
    labels: Array,
    weights: Array | None,
    sums: DeviceSums | None,
    space: Workspace,
    iteration: int = 0,
    stop: Array | None = None,
) -> None:
    """Launch what labels all rows, and brings the sums up to date for those whose label changed.

    Parameters
    ----------
    X : (n, d) uint8|float32|float64 on the device, C-contiguous
    labels : (n,) int32, changed in place; -1 throughout when `sums` do not hold the rows yet
    weights : (n,) float64 or None
    sums : None where labels are all that is asked for
    iteration : which of the workspace's counters to use
    stop : (1,) int32 that turns the kernels into nothing, see update.cu
    """
    n, d = X.shape
    k = len(own.centroids)
    if chosen.fused:
        centroids = (np.int32(k), own.shift, own.scale, own.operand, own.centroids, own.limits)
        totals = sums.arguments if sums else (None, np.float64(0), None, None)
        args = (X, np.int64(n), *centroids, weights, *totals, labels, space.counts[iteration], stop)
        gpu.launch(chosen.kernel, blocks(gpu.facts, -(-n // chosen.rows)), (chosen.threads,), args, chosen.shared)
        return
    framed = (np.int32(d), np.int32(k), own.shift, own.scale, own.operand)
    for index, first in enumerate(range(0, n, chosen.part)):
        m = min(chosen.part, n - first)
        lengths = space.lengths[iteration, index]
        head, lists = (X, np.int64(first)), (space.moved, space.open, space.margins)
        args = (*head, np.int32(m), *framed, own.limits, labels, *lists, lengths, stop)
        gpu.launch(chosen.kernel, (-(-m // chosen.rows),), (chosen.threads,), args)
        args = (*head, *framed, own.centroids, space.open, space.margins, labels, space.moved, lengths, stop)
        gpu.launch(Kernel("settle", "settle_rows", (value_define(X),)), blocks(gpu.facts, -(-m // 4)), (128,), args)
        if sums is not None:
            move_rows(gpu, X, first, m, weights, labels, space.moved, lengths, sums, stop)


def lloyd_step(
    gpu: Any, X: Array, scorer: Scorer, labels: Array, weights: Array | None, sums: DeviceSums | None, memory: int
) -> tuple[int, int]:
    """One step from centroids on the host; see `launch_step`. Returns how many rows changed and were undecided."""
    n, d = X.shape
    chosen = plan(n, len(scorer.centroids), d, X.dtype.itemsize, gpu.facts, memory, sums is not None)
    space = Workspace.of(gpu, chosen, n)
    launch_step(gpu, chosen, X, Operands.of(gpu, scorer), labels, weights, sums, space)
    changed, undecided = space.totals(gpu)[0]
    return int(changed), int(undecided)


CONFIGURATIONS = [
    *(
        Configuration(fused_kernel(value, d, group, rows, bool(near)), 75, 128, 0)
        for value, d, group, rows, near in [
            (1, 3, 1, 4, 1),
            (1, 3, 8, 4, 1),
            (4, 1, 1, 4, 1),
            (4, 2, 1, 4, 1),
            (4, 3, 8, 4, 0),
            (4, 8, 8, 2, 1),
            (4, 16, 8, 2, 1),
            (8, 3, 8, 4, 1),
            (8, 16, 8, 2, 0),
        ]
    ),
    *(Configuration(Kernel("assign", "assign", (("VALUE", value),)), 75, 128, 13328) for value in (1, 4, 8)),
    *(Configuration(Kernel("settle", "settle_rows", (("VALUE", value),)), 75, 64, 0) for value in (1, 4, 8)),
]
