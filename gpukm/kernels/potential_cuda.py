"""potential, CUDA: what k-means++ asks of all rows, on the device; `Potential` chooses. Kernels in potential.cu.

D, hashes and their order stay on the device, where plusplus.cu answers in integers; what these leave open `Potential`
settles, which asks for more: the rows of a bucket, exact sums.
"""

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import Grid, integer
from gpukm.kernels._cuda import on_its_device
from gpukm.kernels._nvrtc import Configuration, Kernel
from gpukm.kernels.accumulate_cuda import DeviceSums, blocks, value_define
from gpukm.kernels.assign import Scorer
from gpukm.kernels.hashing import hash_factors
from gpukm.kernels.inertia_cuda import add_scalars
from gpukm.kernels.plusplus_cuda import AT_ONCE, BUCKETS, Rounds, Rows
from gpukm.kernels.potential import Potential

Array = Any  # on the device

CONFIGURATIONS = [
    Configuration(Kernel("potential", name, (("VALUE", size),)), 75, 64, 0)
    for name in ("hash_rows", "lower")
    for size in (1, 4, 8)
]


@on_its_device
class DevicePotential(Potential):
    """State of a seeding of rows on a device: `Potential`, whose questions to all rows kernels answer.

    Parameters
    ----------
    source : DeviceSource
    """

    def __init__(self, source: Any) -> None:
        self._source, self.gpu, self._X = source, source.gpu, source.device_rows
        self._n = source.n_samples
        self._weights = source.sample_weight
        self._device_weights = source.device_weights
        self._heaviest = 1.0 if self._weights is None else float(self._weights.max())
        self._order = None
        self._parts = None
        self._device_D: Array | None = None
        self._largest: Array | None = None  # (1,) bits of the greatest D
        gpu, d = self.gpu, source.n_features
        self._device_hashes, half = gpu.empty(self._n, np.uint64), gpu.empty(self._n, np.float32)
        factors = gpu.to_device(hash_factors(d))
        frame = gpu.to_device(source.frame.shift), np.float64(source.frame.scale)
        self._launch("hash_rows", (*frame, factors, self._device_hashes, half))
        self._device_order = gpu.xp.argsort(self._device_hashes, kind="stable")
        counts = gpu.xp.bincount((self._device_hashes >> np.uint64(54)).astype(np.int64), minlength=BUCKETS)
        ends = gpu.xp.cumsum(counts)
        self._ends = gpu.to_host(ends)
        own = (self._device_hashes, half, self._device_order, ends)
        self._rounds = Rounds(gpu, Rows(self._X, self._device_weights, self._heaviest, *own, source.frame))

    def _launch(self, name: str, args: tuple) -> None:
        head = (self._X, np.int64(self._n), np.int32(self._X.shape[1]))
        kernel = Kernel("potential", name, (value_define(self._X),))
        self.gpu.launch(kernel, blocks(self.gpu.facts, -(-self._n // 256)), (256,), head + args)

    # D and the hashes on the host, for the rare questions that `Potential` answers there

    @property
    def _D(self) -> NDArray[np.float64] | None:
        return None if self._device_D is None else self.gpu.to_host(self._device_D)

    @_D.setter
    def _D(self, D: NDArray[np.float64] | None) -> None:
        self._device_D = self._largest = None
        if D is not None:
            self._set(self.gpu.to_device(D))

    def _set(self, D: Array) -> None:
        self._device_D, self._largest = D, D.max().reshape(1).view(np.uint64)

    @property
    def _hashes(self) -> NDArray[np.uint64]:  # type: ignore[override]
        return self.gpu.to_host(self._device_hashes)

    def _hashes_of(self, rows: NDArray) -> NDArray[np.uint64]:
        return self.gpu.to_host(self._device_hashes[self.gpu.to_device(rows)])

    def _terms(self, rows: Any) -> NDArray[np.float64]:
        index = self.gpu.to_device(np.asarray(rows, np.int64))
        D = np.ones(len(rows)) if self._device_D is None else self.gpu.to_host(self._device_D[index])
        return D if self._weights is None else D * self._weights[rows]

    def _all_D(self) -> Array:
        assert self._device_D is not None, "commit a centre first"
        return self._device_D

    def _exclude(self, rows: NDArray) -> None:
        self._all_D()[self.gpu.to_device(rows)] = 0.0

    def _members(self, bucket: int) -> NDArray[np.signedinteger]:
        start = self._ends[bucket - 1] if bucket else 0
        return self.gpu.to_host(self._device_order[start : self._ends[bucket]]).astype(np.int64)

    def _bound(self) -> float:
        largest = 1.0 if self._largest is None else float(self.gpu.to_host(self._largest).view(np.float64)[0])
        return largest * self._heaviest

    def _exact(self, rows: NDArray | None = None) -> Fraction:
        D, w, n = self._device_D, self._device_weights, self._n if rows is None else len(rows)
        if rows is not None:
            index = self.gpu.to_device(rows)
            D, w = (None if values is None else values[index] for values in (D, w))
        value, shift = integer(self._exact_sum(D, w, n), 0, 0)
        return Fraction(value) * Fraction(2) ** shift

    def _exact_sum(self, D: Array | None, weights: Array | None, n: int) -> Any:
        sums = DeviceSums.zeros(self.gpu, Grid.of(self._bound(), 2 * self._n), 1)
        add_scalars(self.gpu, D, n, weights, sums)
        return sums.to_host(self.gpu)

    # the questions

    def draw(self, fractions: NDArray[np.float64]) -> NDArray[np.int64]:
        """Rows at these quantiles of the potential; see `Potential.draw`."""
        rows = self._rounds.draw(self._device_D, self._largest, fractions)
        return super().draw(fractions) if rows is None else rows

    def best(self, candidates: NDArray) -> int:
        """Index of the candidate that leaves the least potential; see `Potential.best`."""
        found = self._rounds.best(self._all_D(), self._largest, self.gpu.to_device(candidates))
        return super().best(candidates) if found is None else found

    def ahead(self, row: int, fractions: NDArray[np.float64]) -> list[int]:
        """Rounds that the device does by itself; see `Potential.ahead`."""
        initial = self._device_D is None
        D = self.gpu.empty(self._n, np.float64) if initial else self._device_D
        centre = self._source.rows(np.array([row]))[0]
        chosen, self._largest = self._rounds.run(D, centre, fractions[:AT_ONCE], initial=initial)
        self._device_D, self._parts = D, None
        return [int(row) for row in chosen]

    def _bucket_sums(self) -> NDArray[np.float64]:
        high, low = self.gpu.to_host(self._rounds.parts(self._device_D, self._largest)).view(np.int64)
        unit = Grid.of(self._bound(), 1).exponents[0] - self._rounds.bits
        return np.ldexp(high.astype(np.float64), unit) + np.ldexp(low.astype(np.float64), unit - self._rounds.bits)

    def _doubt(self, total: float) -> float:
        unit = Grid.of(self._bound(), 1).exponents[0] - 2 * self._rounds.bits
        return super()._doubt(total) + float(np.ldexp(self._n, unit))

    def _weigh(self, candidates: NDArray, scorer: Scorer) -> tuple[NDArray, NDArray]:
        """Nothing is known: all are settled exactly."""
        return np.zeros(len(candidates)), np.ones(len(candidates))

    def _exact_gain(self, candidate: NDArray) -> int:
        D = self._all_D().copy()
        self._lower(candidate, False, D)
        sums = (self._exact_sum(values, self._device_weights, self._n) for values in (self._device_D, D))
        before, after = (integer(sum_, 0, 0)[0] for sum_ in sums)
        return before - after

    def take(self, D: Array) -> Array:
        """Lower D to the distances (n,) to other centres, on the device; see `Potential.take`."""
        before, self._parts = self._device_D, None
        nearer = None if before is None else D < before
        self._set(D if before is None else self.gpu.xp.minimum(D, before))
        return nearer

    def _lower(self, centroid: NDArray, initial: bool, D: Array) -> Array:
        largest = self.gpu.zeros(1, np.uint64)
        centre = self.gpu.to_device(centroid.astype(np.float64))
        self._launch("lower", (centre, np.int32(initial), D, largest, None))
        return largest

    def commit(self, centroid: NDArray) -> None:
        """Lower D by the centre `centroid` (d,)."""
        self._parts = None
        initial = self._device_D is None
        D = self.gpu.empty(self._n, np.float64) if initial else self._device_D
        self._largest = self._lower(centroid, initial, D)
        self._device_D = D

    def farthest(self) -> int:
        """The row with the greatest D among those with weight; ties go to the lowest hash."""
        xp, D = self.gpu.xp, self._all_D()
        if self._device_weights is not None:
            D = xp.where(self._device_weights > 0, D, -1.0)
        (ties,) = xp.nonzero(D == D.max())
        return int(ties[xp.argmin(self._device_hashes[ties])])
