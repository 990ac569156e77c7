"""Samples on a CUDA device. No convergence logic here."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpukm import kernels
from gpukm._nonfinite import nonfinite
from gpukm.array_source import ArraySource
from gpukm.exact import Grid, Sums
from gpukm.kernels import cuda
from gpukm.sources import Ahead, Step

Array = Any  # on the device


@cuda.on_its_device
class DeviceSource(ArraySource):
    """Samples on a CUDA device, where kernels visit all rows at once.

    Parameters
    ----------
    gpu : the device, see `gpukm.kernels._cuda.Gpu`
    X : (n, d) array on it, or on the host, from where it is copied. uint8, float32 and float64 rows are used as they
        are; other dtypes become a copy in the compute dtype
    sample_weight, dtype, max_memory : as for `ArraySource`
    """

    _device_sums: cuda.DeviceSums | None
    _counts: tuple[int, int] | None  # changed and undecided rows of a step that is done already
    _fresh: bool  # whether the sums hold no rows yet

    def __init__(
        self,
        gpu: Any,
        X: Array,
        sample_weight: NDArray[np.float64] | None = None,
        *,
        dtype: DTypeLike,
        max_memory: int = 64 << 20,
    ) -> None:
        own = X.dtype if X.dtype == np.uint8 and np.dtype(dtype) == np.float32 else np.dtype(dtype)
        self.gpu = gpu
        with gpu.device:
            self.device_rows = gpu.to_device(X).astype(own, copy=False)
        super().__init__(self.device_rows, sample_weight, dtype=dtype, max_memory=max_memory)
        self.device_weights = None if sample_weight is None else gpu.to_device(sample_weight)

    def _best_engine(self) -> str:
        return "cuda"

    # -- statistics --------------------------------------------------------------------------------

    def _extremes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        low, high, bad = cuda.extremes(self.gpu, self.device_rows)
        if bad < self.n_samples * self.n_features:
            row, column = divmod(bad, self.n_features)
            value = float(self.gpu.to_host(self.device_rows[row, column]))
            raise nonfinite("X", row, column, value)
        return low, high

    def _column_sums(self) -> Sums:
        columns = cuda.DeviceSums.zeros(self.gpu, self.grid, 1)
        cuda.column_sums(self.gpu, self.device_rows, self.device_weights, columns)
        return columns.to_host(self.gpu)

    def arrange(self, n_clusters: int, often: bool = False, max_iter: int = 0) -> None:
        """Get ready for steps with `n_clusters` centroids: sort a copy of the rows if that helps."""
        if self._order is not None or not cuda.worth_arranging(self.device_rows, n_clusters, self._memory):
            return
        rows, order = cuda.arranged(self.gpu, self.device_rows, *self.bounds())
        self._X = self.device_rows = rows
        self._order = order
        if self.sample_weight is not None:
            self.sample_weight = self.sample_weight[self.gpu.to_host(order)]
            self.device_weights = self.gpu.to_device(self.sample_weight)
        self.reset()

    def as_given(self, labels: Array) -> Array:
        """Labels in the order of the rows as they were given."""
        if self._order is None:
            return labels
        out = self.gpu.empty(self.n_samples, np.int32)
        out[self._order] = labels
        return out

    # -- Lloyd -------------------------------------------------------------------------------------

    def step(self, centroids: NDArray) -> Step:
        """Label all rows for `centroids` (k, d); only rows that change label touch the sums."""
        sums = self._sums_for(len(centroids))
        counts, self._counts = self._counts, None
        if counts is None:
            own = (self._labels, self.device_weights, sums, self._memory)
            counts = cuda.lloyd_step(self.gpu, self.device_rows, self.frame, centroids, *own, fresh=self._fresh)
            self._fresh = False
        return Step(sums.to_host(self.gpu), *counts)

    def ahead(self, centroids: NDArray, iterations: int, tol: Callable[[], float]) -> Ahead:
        """Up to `iterations` of Lloyd's algorithm without the host; it may be none."""
        if self._counts is not None:  # the host's turn
            return Ahead(centroids, [])
        began, stats = time.perf_counter(), self.stats()
        sums = self._sums_for(len(centroids))
        ran = cuda.run_ahead(
            self.gpu,
            self.device_rows,
            centroids,
            self.frame,
            stats.mean,
            stats.totss,
            self._labels,
            self.device_weights,
            sums,
            iterations=iterations,
            tol=tol(),
            memory=self._memory,
            fresh=self._fresh,
        )
        self._fresh = False
        self._counts = ran.left  # the next call of `step` only has to fetch the sums
        return Ahead.of(ran, ran.records[:, 0].tolist(), began)

    def _sums_for(self, n_clusters: int) -> cuda.DeviceSums:
        if self._device_sums is None or self._device_sums.limbs.shape[1] != n_clusters:
            self._device_sums = cuda.DeviceSums.zeros(self.gpu, replace(self.grid, whole=False), n_clusters)
            self._labels.fill(-1)
            self._fresh = True
        return self._device_sums

    def reset(self) -> None:
        """Forget labels and sums: the next step starts anew."""
        self._labels = self.gpu.empty(self.n_samples, np.int32)
        self._device_sums = self._counts = None

    def assign(self, centroids: NDArray) -> Array:
        """(n,) int32 labels for `centroids` on the device, leaving the state of the fit alone."""
        labels = self.gpu.empty(self.n_samples, np.int32)
        labels.fill(-1)
        frame = self._frame_about(centroids)
        cuda.lloyd_step(self.gpu, self.device_rows, frame, centroids, labels, None, None, self._memory, fresh=True)
        return labels

    def sizes(self, labels: Array, n_clusters: int) -> NDArray[np.int64]:
        """(k,) rows of each label."""
        return self.gpu.to_host(self.gpu.xp.bincount(labels, minlength=n_clusters))

    # -- distances ---------------------------------------------------------------------------------

    def _distance_sums(self, grid: Grid, centroids: NDArray, labels: Array | None) -> Sums:
        spread = cuda.DeviceSums.zeros(self.gpu, grid, len(centroids))
        own = None if labels is None else self.gpu.to_device(labels)
        cuda.add_inertia(self.gpu, self.device_rows, centroids, own, self.device_weights, spread)
        return spread.to_host(self.gpu)

    def distances(self, centroids: NDArray) -> Array:
        """(n, k) Euclidean distances sqrt(D) on the device, in the compute dtype."""
        out = self.gpu.empty((self.n_samples, len(centroids)), self.dtype)
        cuda.distances(self.gpu, self.device_rows, centroids, out)
        return out

    def own_distances(self, centroids: NDArray, labels: Array) -> Array:
        """(n,) float64 D of each row to the centroid of its label, on the device."""
        return cuda.own_distances(self.gpu, self.device_rows, centroids, self.gpu.to_device(labels))

    def potential(self) -> kernels.Potential:
        """Fresh potentials for a seeding."""
        return cuda.DevicePotential(self)
