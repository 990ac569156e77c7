"""assign, CUDA: which kernels label the rows, their constants, and the launches.

* lloyd_step.cu: few features (up to FUSED) and centroids: X is read once, rows are labelled and settled, sums updated.
* assign_mma.cu: fp16 or TF32 scores on tensor cores; what they leave open goes to
* assign.cu: float32 scores, of those rows, or of all where there are no tensor cores or too little shared memory;
* settle.cu: D of the rows still open;
* segments.cu in a first step, then accumulate.cu: the sums of all rows, of those whose label changed.

All but the first work on parts of the rows, so that the lists that pass between them stay small.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels._nvrtc import Configuration, Kernel
from gpukm.kernels.accumulate_cuda import NEAR_LIMBS, DeviceSums, blocks, move_rows, value_define
from gpukm.kernels.arrange import MOST_FEATURES
from gpukm.kernels.assign import Frame
from gpukm.kernels.operands_cuda import COLUMNS, HALF, TF32, Format, Operands, format_for, slab_of
from gpukm.kernels.segments_cuda import add_rows

Array = Any  # on the device
LEAST_CENTROIDS = 64  # from which on boxes pay
FUSED = 16  # features up to which a row fits a thread's registers
CORES_ROWS, CORES_THREADS = 128, 256  # of assign.cu
LIST_BYTES = 24  # of a row in the lists: moved (8), twice open and margin (8)


@dataclass(frozen=True)
class Plan:
    """How a step is launched: a function of n, k, d, the dtype and the device's facts.

    Attributes
    ----------
    kernel : that labels the rows first
    threads, rows : of a block
    shared : bytes of dynamic shared memory
    part : rows of a launch; all of them where the kernel does everything
    tensor : what tensor cores multiply; None where they do not score
    """

    kernel: Kernel
    threads: int
    rows: int
    shared: int
    part: int
    tensor: Format | None = None

    @property
    def fused(self) -> bool:
        """Whether one kernel does everything."""
        return self.kernel.file == "lloyd_step"


def plan(n: int, k: int, d: int, value: int, facts: Any, memory: int, sums: bool = True, tensor: Format = HALF) -> Plan:
    """Choose by cost: reading X once binds where rows and centroids are small, multiply-adds and minima elsewhere.

    A pair costs d + 2 operations of the CUDA cores in lloyd_step.cu; on tensor cores three minima, at half the rate,
    but X is read again for the rows that move and rows are passed in lists, so few centroids stay with the first.

    Parameters
    ----------
    value : bytes of a value
    facts : of the device, see `_cuda.Facts`
    memory : bytes that lists may take
    sums : whether sums are asked for
    tensor : what tensor cores are to multiply, if they score
    """
    part = min(max(memory // LIST_BYTES, 1 << 16), 1 << 26, n)
    warps = tensor_warps(d, facts, tensor)
    group = 1 if k <= 32 else 8
    packed = 4 * ((d + 4) // 4 * 4) * (-(-k // group) * group)
    near = 8 * NEAR_LIMBS * k * (d + 1)
    if d <= FUSED and packed <= facts.shared and (d <= 4 or k * (d + 2) <= 600 or not warps):
        rows = 4 if d <= 4 else 2
        boxes = d <= MOST_FEATURES and k >= LEAST_CENTROIDS
        if boxes:  # a group more, and the list of those that survive
            packed += 4 * ((d + 4) // 4 * 4 + 2) * group + 4 * k
        keep = sums and packed + near <= facts.shared
        kernel = fused_kernel(value, d, group, rows, keep, boxes)
        return Plan(kernel, 128, 128 * rows, packed + near * keep, n)
    if warps:
        shared = tensor_bytes(d, warps, tensor)
        return Plan(tensor_kernel(value, slab_of(d), warps, tensor), 32 * warps, 32 * warps, shared, part, tensor)
    return Plan(Kernel("assign", "assign", (("VALUE", value),)), CORES_THREADS, CORES_ROWS, 0, part)


def fused_kernel(value: int, d: int, group: int, rows: int, near: bool, boxes: bool) -> Kernel:
    """lloyd_step.cu with its constants."""
    constants = {"VALUE": value, "FEATURES": d, "GROUP": group, "ROWS": rows, "THREADS": 128}
    return Kernel("lloyd_step", "lloyd_step", (*constants.items(), ("NEAR", int(near)), ("BOXES", int(boxes))))


def tensor_kernel(value: int, slab: int, warps: int, tensor: Format = HALF) -> Kernel:
    """assign_mma.cu with its constants."""
    constants = {"VALUE": value, "OPERAND": tensor.size, "SLAB": slab, "WARPS": warps}
    return Kernel("assign_mma", "assign_mma", tuple(constants.items()))


def tensor_bytes(d: int, warps: int, tensor: Format) -> int:
    """Shared memory of assign_mma.cu: a block's rows, and three slabs of centroids, each row a word longer."""
    slab = slab_of(d)
    return tensor.size * (32 * warps * -(-d // slab) * slab + 3 * COLUMNS * slab) + 16 * (32 * warps + 3 * COLUMNS)


def tensor_warps(d: int, facts: Any, tensor: Format) -> int:
    """Warps of a block of assign_mma.cu: as many as leave room for two blocks, or for one; 0 where it cannot run."""
    if facts.arch < 80 or d > 1 << 14:
        return 0
    for blocks_at_once in (2, 1):
        for warps in (4, 2, 1):
            own = tensor_bytes(d, warps, tensor) + 1024  # a block has some besides
            if own * blocks_at_once <= facts.shared_optin:
                return warps
    return 0


@dataclass
class Workspace:
    """What a step writes beside labels and sums, for one or several iterations launched at once.

    Attributes
    ----------
    counts : (iterations, 2) uint64: changed, undecided rows, where the step is one kernel
    lengths : (iterations, parts, 3, 1) int32: rows left open by tensor cores and by float32, rows in `moved`
    moved : (part, 2) int32; open, margins : two of (part,) int32 and float32: see assign.cu; empty where not needed
    """

    counts: Array
    lengths: Array
    moved: Array
    open: tuple[Array, Array]
    margins: tuple[Array, Array]

    @classmethod
    def of(cls, gpu: Any, chosen: Plan, n: int, iterations: int = 1) -> "Workspace":
        """Fresh counters and lists."""
        parts, length = (0, 0) if chosen.fused else (-(-n // chosen.part), chosen.part)
        first = length if chosen.tensor else 0
        return cls(
            gpu.zeros((iterations, 2), np.uint64),
            gpu.zeros((iterations, parts, 3, 1), np.int32),
            gpu.empty((length, 2), np.int32),
            (gpu.empty(first, np.int32), gpu.empty(length, np.int32)),
            (gpu.empty(first, np.float32), gpu.empty(length, np.float32)),
        )

    def totals(self, gpu: Any) -> NDArray[np.int64]:
        """(iterations, 2): changed and undecided rows, the latter those that D settled."""
        lists: NDArray[np.int64] = gpu.to_host(self.lengths)[..., 0].sum(axis=1, dtype=np.int64)
        counts: NDArray[np.int64] = gpu.to_host(self.counts).astype(np.int64)
        return counts + lists[:, [2, 1]]


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
    *,
    fresh: bool,
) -> None:
    """Launch what labels all rows, and brings the sums up to date for those whose label changed.

    Parameters
    ----------
    X : (n, d) uint8|float32|float64 on the device, C-contiguous
    own : the centroids, prepared for this iteration
    labels : (n,) int32, changed in place; -1 throughout when the step is `fresh`: `sums` do not hold the rows yet
    weights : (n,) float64 or None
    sums : None where labels are all that is asked for
    iteration : which of the workspace's counters and of the operands' limits to use
    stop : (2,) int32 that turns the kernels into nothing, see update.cu
    """
    n, d = X.shape
    size = (np.int32(d), np.int32(len(own.exact)))
    plain, narrow = own.limits[iteration]
    framed = (own.shift, own.scale, own.operand)
    if chosen.fused:
        totals = sums.arguments if sums else (None, np.float64(0), None, None)
        args = (
            X,
            np.int64(n),
            size[1],
            *framed,
            own.exact,
            plain,
            weights,
            *totals,
            labels,
            space.counts[iteration],
            stop,
        )
        gpu.launch(chosen.kernel, blocks(gpu.facts, -(-n // chosen.rows)), (chosen.threads,), args, chosen.shared)
        return
    cores = Kernel("assign", "assign", (value_define(X),))
    settle = Kernel("settle", "settle_rows", (value_define(X),))
    for index, first in enumerate(range(0, n, chosen.part)):
        m = min(chosen.part, n - first)
        lengths = space.lengths[iteration, index]
        moved = (space.moved, lengths[2])
        rest = (None, None)
        if chosen.tensor:
            left = (space.open[0], space.margins[0], lengths[0])
            args = (X, np.int64(first), np.int32(m), *size, own.shift, own.narrow_scale, own.narrow, own.bases, narrow)
            grid = (-(-m // chosen.rows),)
            gpu.launch(chosen.kernel, grid, (chosen.threads,), (*args, labels, *left, *moved, stop), chosen.shared)
            rest = (space.open[0], lengths[0])
        left = (space.open[1], space.margins[1], lengths[1])
        args = (X, np.int64(first), np.int32(m), *rest, *size, *framed, plain, labels, *left, *moved, stop)
        gpu.launch(cores, (-(-m // CORES_ROWS),), (CORES_THREADS,), args)
        args = (X, np.int64(first), *size, *framed, own.exact, *left, labels, *moved, stop)
        gpu.launch(settle, blocks(gpu.facts, -(-m // 4)), (128,), args)
        if sums is not None and fresh:  # the list of moved rows has told how many there are: its place is free
            add_rows(gpu, X, first, m, weights, labels, space.moved.reshape(-1)[:m], sums, stop)
        elif sums is not None:
            move_rows(gpu, X, first, m, weights, labels, *moved, sums, stop)


def lloyd_step(
    gpu: Any,
    X: Array,
    frame: Frame,
    centroids: NDArray,
    labels: Array,
    weights: Array | None,
    sums: DeviceSums | None,
    memory: int,
    *,
    fresh: bool,
) -> tuple[int, int]:
    """One step from `centroids` (k, d) on the host; see `launch_step`. Returns how many changed, were undecided."""
    (n, d), k = X.shape, len(centroids)
    chosen = plan(n, k, d, X.dtype.itemsize, gpu.facts, memory, sums is not None, format_for(frame))
    own = Operands.of(gpu, frame, k, d, tensor=chosen.tensor)
    own.prepare(gpu, X, gpu.to_device(centroids))
    space = Workspace.of(gpu, chosen, n)
    launch_step(gpu, chosen, X, own, labels, weights, sums, space, fresh=fresh)
    changed, undecided = space.totals(gpu)[0]
    return int(changed), int(undecided)


CONFIGURATIONS = [
    *(
        Configuration(fused_kernel(value, d, group, rows, bool(near), d <= 4 and group > 1), 75, 128, 256)
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
    *(Configuration(tensor_kernel(value, 32, 4), 80, 128, 1024) for value in (1, 4, 8)),
    *(Configuration(tensor_kernel(4, slab, warps), 80, 128, 1024) for slab, warps in ((16, 4), (32, 2), (32, 1))),
    *(Configuration(tensor_kernel(4, slab, warps, TF32), 80, 144, 1024) for slab, warps in ((16, 4), (32, 4), (32, 1))),
]
