"""plusplus, CUDA: rounds of k-means++ launched many at once, without the host. Kernels in plusplus.cu and potential.cu.

The device draws, weighs and chooses with integers; a round that they leave open stops it, and the host does that round.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import TINY, U32, limb_bits, margin
from gpukm.kernels._nvrtc import Configuration, Kernel
from gpukm.kernels.accumulate_cuda import blocks, value_define
from gpukm.kernels.assign import Frame
from gpukm.kernels.operands_cuda import Operands

Array = Any  # on the device
BUCKETS = 1024  # of rows, by the leading bits of their hash, as in plusplus.cu
AT_ONCE = 64  # rounds launched before the host looks: a look costs about as much as a launch
REST_WEIGHTS, REST, OPEN = range(3)  # flags

CONFIGURATIONS = [
    Configuration(Kernel("plusplus", name, (("VALUE", size),)), 75, registers, shared)
    for name, registers, shared in (
        ("bucket_sums", 56, 16384),
        ("search", 72, 256),
        ("weigh", 88, 0),
        ("choose", 72, 64),
    )
    for size in (1, 4, 8)
]


@dataclass
class Rows:
    """What rounds need of all rows; everything but `n`, `heaviest` and `frame` on the device.

    Attributes
    ----------
    X : (n, d) uint8|float32|float64
    weights : (n,) float64 or None; `heaviest` of them, or 1
    hashes, half : (n,) uint64 and float32, from potential.cu
    order : (n,) int64, in order of hash
    ends : (BUCKETS,) int64, where in it the rows of each bucket end
    """

    X: Array
    weights: Array | None
    heaviest: float
    hashes: Array
    half: Array
    order: Array
    ends: Array
    frame: Frame


class Rounds:
    """Draws, comparisons and whole rounds; D and its maximum belong to the caller."""

    def __init__(self, gpu: Any, rows: Rows) -> None:
        self._gpu, self._rows = gpu, rows
        self.n, self._d = rows.X.shape
        self.bits = limb_bits(2 * self.n)
        self._flags = gpu.zeros(3, np.int32)
        self._weight_parts = gpu.zeros((2, BUCKETS), np.uint64)
        self._add_up(None, None, self._weight_parts)
        scalars = [rows.frame.scale**2 / 2, margin(self._d, U32), TINY]
        self._scalars = gpu.to_device(np.array(scalars))

    def _launch(self, name: str, grid: tuple[int, ...], args: tuple, file: str = "plusplus") -> None:
        self._gpu.launch(Kernel(file, name, (value_define(self._rows.X),)), grid, (256,), args)

    @property
    def _everywhere(self) -> tuple[int]:
        return blocks(self._gpu.facts, -(-self.n // 256))

    def _weighed(self, D: Array | None, largest: Array | None) -> tuple:
        """D and what turns w D into integers."""
        return D, self._rows.weights, np.float64(self._rows.heaviest), largest, np.int32(self.bits)

    def _add_up(self, D: Array | None, largest: Array | None, parts: Array, stop: Array | None = None) -> None:
        _, *weighed = self._weighed(D, largest)
        args = (D, np.int64(self.n), self._rows.hashes, *weighed, parts, self._flags, stop)
        self._launch("bucket_sums", self._everywhere, args)

    def parts(self, D: Array | None, largest: Array | None) -> Array:
        """(2, BUCKETS) potential of each bucket as integers, see plusplus.cu."""
        self._flags[REST] = 0
        parts = self._gpu.zeros((2, BUCKETS), np.uint64)
        self._add_up(D, largest, parts)
        return parts

    def _search(
        self, D: Array | None, largest: Array | None, parts: Array, fractions: Array, found: tuple, stop: Array | None
    ) -> None:
        tables = parts.view(np.int64), self._weight_parts.view(np.int64), self._rows.order, self._rows.ends
        head = (self._rows.X, np.int64(self.n), np.int32(self._d), *self._weighed(D, largest))
        self._launch("search", (len(fractions),), (*head, *tables, fractions, *found, self._flags, stop))

    def draw(self, D: Array | None, largest: Array | None, fractions: NDArray[np.float64]) -> NDArray[np.int64] | None:
        """(t,) rows at these quantiles of the potential; None where it is too close to call."""
        if len(fractions) == 0 or np.any(fractions * 2.0**53 % 1):
            return None
        gpu, parts = self._gpu, self._weight_parts if D is None else self.parts(D, largest)
        self._flags[OPEN] = 0
        drawn = gpu.empty(len(fractions), np.int64)
        self._search(D, largest, parts, gpu.to_device(fractions), (drawn, None), None)
        return None if gpu.to_host(self._flags)[OPEN] else gpu.to_host(drawn)

    def _weigh(
        self, D: Array, largest: Array, candidates: Array, own: Operands, gains: Array, stop: Array | None
    ) -> None:
        rows = self._rows
        own.prepare(self._gpu, rows.X, candidates, stop=stop)
        size = (np.int64(self.n), np.int32(self._d), np.int32(len(candidates)))
        scores = (own.shift, own.scale, own.operand, own.exact, own.limits[0], self._scalars, rows.half)
        tail = (*self._weighed(D, largest), gains, self._flags, stop)
        self._launch("weigh", self._everywhere, (rows.X, *size, *scores, *tail))

    def best(self, D: Array, largest: Array, candidates: Array) -> int | None:
        """Index of the candidate (t, d) that gains most, the first of equals; None where it is too close to call."""
        gpu, t = self._gpu, len(candidates)
        gains = gpu.zeros((2, t), np.uint64)
        self._flags[REST] = 0
        own = Operands.of(gpu, self._rows.frame, t, self._d)
        self._weigh(D, largest, candidates, own, gains, None)
        high, low = gpu.to_host(gains).view(np.int64).tolist()
        total = [(a << self.bits) + b for a, b in zip(high, low, strict=True)]
        best = total.index(max(total))
        doubt = 4 * self.n if gpu.to_host(self._flags)[REST] else -1
        values = gpu.to_host(candidates)
        close = (values[u] for u in range(t) if total[best] - total[u] <= doubt)
        return best if all(np.array_equal(row, values[best]) for row in close) else None

    def run(
        self, D: Array, centre: NDArray, fractions: NDArray[np.float64], *, initial: bool
    ) -> tuple[NDArray[np.int64], Array]:
        """Rounds with `fractions` (m, t) from the centre (d,) on, which D is to be lowered by first.

        Returns
        -------
        chosen : (r,) the rows chosen one after the other; r < m where a round is open. D is lowered by all but the
            last, and by the last too where r < m
        largest : (1,) uint64 on the device, bits of the greatest D
        """
        gpu, (m, t), d = self._gpu, fractions.shape, self._d
        own = Operands.of(gpu, self._rows.frame, t, d)
        dtype = np.float64 if self._rows.X.dtype == np.float64 else np.float32
        drawn, candidates = gpu.empty(t, np.int64), gpu.empty((t, d), dtype)
        parts, gains = gpu.zeros((2, BUCKETS), np.uint64), gpu.zeros((2, t), np.uint64)
        largest, chosen = gpu.zeros((m, 1), np.uint64), gpu.empty((m, 1), np.int64)
        stop, at = gpu.zeros(2, np.int32), gpu.to_device(centre.astype(np.float64))
        shares = gpu.to_device(fractions)
        self._flags[REST:] = 0
        head = (self._rows.X, np.int64(self.n), np.int32(d))
        size = (np.int64(self.n), np.int32(d), np.int32(t), np.int32(self.bits))
        for i in range(m):
            self._launch(
                "lower", self._everywhere, (*head, at, np.int32(initial and i == 0), D, largest[i], stop), "potential"
            )
            self._add_up(D, largest[i], parts, stop)
            self._search(D, largest[i], parts, shares[i], (drawn, candidates), stop)
            if t > 1:
                self._weigh(D, largest[i], candidates, own, gains, stop)
            sums = gains.view(np.int64), parts.view(np.int64)
            self._launch("choose", (1,), (*size, drawn, candidates, *sums, self._flags, chosen[i], at, stop))
        done = int(gpu.to_host(stop)[1])
        return gpu.to_host(chosen)[:done, 0], largest[min(done, m - 1)]
