"""potential, CUDA: what k-means++ asks of all rows, on the device; `Potential` chooses. Kernels in potential.cu.

D, hashes and their order stay on the device; the host sees 1,024 sums a draw, the rows of a bucket, and the gains.
"""

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import TINY, U32, Grid, integer, margin
from gpukm.kernels._nvrtc import Configuration, Kernel
from gpukm.kernels.accumulate_cuda import DeviceSums, blocks, value_define
from gpukm.kernels.assign import Scorer
from gpukm.kernels.hashing import hash_factors
from gpukm.kernels.inertia_cuda import add_scalars
from gpukm.kernels.potential import BUCKETS, Potential

Array = Any  # on the device

CONFIGURATIONS = [
    Configuration(Kernel("potential", name, (("VALUE", size),)), 75, 128, 8192)
    for name in ("hash_rows", "lower", "bucket_sums", "gains")
    for size in (1, 4, 8)
]


class DevicePotential(Potential):
    """State of a seeding of rows on a device: `Potential`, whose questions to all rows kernels answer.

    Parameters
    ----------
    source : DeviceSource
    """

    def __init__(self, source: Any) -> None:
        self._source, self._gpu, self._X = source, source.gpu, source.device_rows
        self._n = source.n_samples
        self._weights = source.sample_weight
        self._device_weights = source.device_weights
        self._order = None
        self._parts = None
        self._device_D: Array | None = None
        self._largest = 1.0
        gpu, d = self._gpu, source.n_features
        self._device_hashes, self._half = gpu.empty(self._n, np.uint64), gpu.empty(self._n, np.float32)
        factors = gpu.to_device(hash_factors(d))
        self._frame = gpu.to_device(source.frame.shift), np.float64(source.frame.scale)
        self._launch("hash_rows", (*self._frame, factors, self._device_hashes, self._half))
        order = gpu.xp.argsort(self._device_hashes, kind="stable")
        self._device_order = order
        counts = gpu.zeros(BUCKETS, np.uint64)
        self._launch_values("bucket_sums", (self._device_hashes, None, np.float64(1.0), counts), None)
        self._ends = np.cumsum(gpu.to_host(counts).astype(np.int64))

    def _launch(self, name: str, args: tuple) -> None:
        head = (self._X, np.int64(self._n), np.int32(self._X.shape[1]))
        kernel = Kernel("potential", name, (value_define(self._X),))
        self._gpu.launch(kernel, blocks(self._gpu.facts, -(-self._n // 256)), (256,), head + args)

    def _launch_values(self, name: str, args: tuple, D: Array | None) -> None:
        kernel = Kernel("potential", name, (value_define(self._X),))
        self._gpu.launch(kernel, blocks(self._gpu.facts, -(-self._n // 256)), (256,), (D, np.int64(self._n), *args))

    # D and the hashes on the host, for the rare questions that `Potential` answers there

    @property
    def _D(self) -> NDArray[np.float64] | None:
        return None if self._device_D is None else self._gpu.to_host(self._device_D)

    @_D.setter
    def _D(self, D: NDArray[np.float64] | None) -> None:
        self._device_D = None if D is None else self._gpu.to_device(D)
        self._largest = 1.0 if D is None else float(D.max())

    @property
    def _hashes(self) -> NDArray[np.uint64]:  # type: ignore[override]
        return self._gpu.to_host(self._device_hashes)

    def _hashes_of(self, rows: NDArray) -> NDArray[np.uint64]:
        return self._gpu.to_host(self._device_hashes[self._gpu.to_device(rows)])

    def _terms(self, rows: Any) -> NDArray[np.float64]:
        index = self._gpu.to_device(np.asarray(rows, np.int64))
        D = np.ones(len(rows)) if self._device_D is None else self._gpu.to_host(self._device_D[index])
        return D if self._weights is None else D * self._weights[rows]

    def _all_D(self) -> Array:
        assert self._device_D is not None, "commit a centre first"
        return self._device_D

    def _exclude(self, rows: NDArray) -> None:
        self._all_D()[self._gpu.to_device(rows)] = 0.0

    def _members(self, bucket: int) -> NDArray[np.signedinteger]:
        start = self._ends[bucket - 1] if bucket else 0
        return self._gpu.to_host(self._device_order[start : self._ends[bucket]]).astype(np.int64)

    def _bound(self) -> float:
        return self._largest * (float(self._weights.max()) if self._weights is not None else 1.0)

    def _exact(self, rows: NDArray | None = None) -> Fraction:
        if rows is not None:
            return super()._exact(rows)
        value, shift = integer(self._exact_sum(self._device_D), 0, 0)
        return Fraction(value) * Fraction(2) ** shift

    def _exact_sum(self, D: Array | None) -> Any:
        sums = DeviceSums.zeros(self._gpu, Grid.of(self._bound(), 2 * self._n), 1)
        add_scalars(self._gpu, D, self._n, self._device_weights, sums)
        return sums.to_host(self._gpu)

    # the questions

    def _unit(self) -> float:
        """What one of the integer parts of the potential counts: n of them and their roundings fit an int64."""
        power = int(np.frexp(self._bound())[1]) + self._n.bit_length() + 1 - 62
        return float(np.ldexp(1.0, max(power, -1000)))

    def _bucket_sums(self) -> NDArray[np.float64]:
        parts, unit = self._gpu.zeros(BUCKETS, np.uint64), self._unit()
        args = (self._device_hashes, self._device_weights, np.float64(1 / unit), parts)
        self._launch_values("bucket_sums", args, self._device_D)
        return self._gpu.to_host(parts).view(np.int64) * unit

    def _doubt(self, total: float) -> float:
        return super()._doubt(total) + self._n * self._unit()

    def _weigh(self, candidates: NDArray, scorer: Scorer) -> tuple[NDArray, NDArray]:
        t = len(candidates)
        kappa = margin(self._X.shape[1], U32)
        gpu = self._gpu
        if scorer.hopeless:  # nothing is known: all are settled exactly
            return np.zeros(t), np.ones(t)
        totals, highest = gpu.zeros((2, t), np.float64), gpu.zeros(2, np.uint32)
        scalars = gpu.to_device(np.array([scorer.frame.scale**2 / 2, kappa, TINY]))
        operand = gpu.to_device(scorer.operand)
        args = (np.int32(t), *self._frame, operand, scalars, self._half, self._device_D, self._device_weights)
        self._launch("gains", (*args, totals, highest))
        total, near = gpu.to_host(totals)
        ceiling, longest = gpu.to_host(highest).view(np.float32).astype(np.float64)
        return total, near * (4 * kappa * (scorer.squares + ceiling + 4 * longest) + TINY)

    def _exact_gain(self, candidate: NDArray) -> int:
        D = self._all_D().copy()
        self._lower(candidate, False, D)
        before, after = (integer(self._exact_sum(values), 0, 0)[0] for values in (self._device_D, D))
        return before - after

    def _lower(self, centroid: NDArray, initial: bool, D: Array) -> float:
        largest = self._gpu.zeros(1, np.uint64)
        centre = self._gpu.to_device(centroid.astype(np.float64))
        self._launch("lower", (centre, np.int32(initial), D, largest))
        return float(self._gpu.to_host(largest).view(np.float64)[0])

    def commit(self, centroid: NDArray) -> None:
        """Lower D by the centre `centroid` (d,)."""
        self._parts = None
        initial = self._device_D is None
        D = self._gpu.empty(self._n, np.float64) if initial else self._device_D
        self._largest = self._lower(centroid, initial, D)
        self._device_D = D

    def farthest(self) -> int:
        """The row with the greatest D among those with weight; ties go to the lowest hash."""
        xp, D = self._gpu.xp, self._all_D()
        if self._device_weights is not None:
            D = xp.where(self._device_weights > 0, D, -1.0)
        (ties,) = xp.nonzero(D == D.max())
        return int(ties[xp.argmin(self._device_hashes[ties])])
