"""Samples that do not fit memory, on a CUDA device: chunks are copied there while it works on the last ones.

Three threads work at once: one reads a chunk, one copies the chunk before it to the device, this one launches what is
to be done with the one before that. Device memory holds three chunks, the host three more. Labels stay on the host.
"""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpukm._ahead import ahead
from gpukm._arrays import to_numpy
from gpukm.chunks import Chunks
from gpukm.device_source import DeviceSource
from gpukm.exact import Grid, Sums, sums_like
from gpukm.kernels import cuda
from gpukm.sources import Step
from gpukm.stream_source import StreamSource

Array = Any  # on the device


@cuda.on_its_device
class DeviceStreamSource(StreamSource):
    """`StreamSource` with its steps, labels and distances to labels on a CUDA device; all else is done on the host.

    Parameters
    ----------
    gpu : the device, see `gpukm.kernels._cuda.Gpu`
    chunks, sample_weight, least, max_memory : as for `StreamSource`
    """

    _device_sums: cuda.DeviceSums | None

    def __init__(
        self,
        gpu: Any,
        chunks: Chunks,
        sample_weight: Callable[[int], NDArray[np.float64] | None] = lambda n_samples: None,
        *,
        least: DTypeLike = np.float32,
        max_memory: int = 64 << 20,
    ) -> None:
        self.gpu = gpu
        super().__init__(chunks, sample_weight, least=least, max_memory=max_memory)

    def _best_engine(self) -> str:
        return "cuda"

    def reset(self) -> None:
        """Forget labels and sums: the next step starts anew."""
        super().reset()
        self._device_sums = None

    def arrange(self, n_clusters: int, often: bool = False, max_iter: int = 0) -> None:
        """Leave the rows in the order in which they come."""
        self._n_clusters = n_clusters

    def step(self, centroids: NDArray) -> Step:
        """Label all rows for `centroids` (k, d); only rows that change label touch the sums."""
        k = len(centroids)
        if self._device_sums is None or self._device_sums.limbs.shape[1] != k:
            self.reset()
        sums = self._device_sums or cuda.DeviceSums.zeros(self.gpu, replace(self.grid, whole=False), k)
        self._device_sums = None  # until the step is over: one that is broken off leaves them halfway
        looked, self._looked = self._looked, False
        squares = mean = None
        if looked and self._stats is None:
            grid, mean, _ = self._about_mean()
            squares = cuda.DeviceSums.zeros(self.gpu, grid, 1)
        counts = np.zeros(2, np.int64)
        for own, rows, weights in self._on_device():
            fresh, labels = bool(self._labels[own.start] < 0), self.gpu.to_device(self._labels[own])
            part = labels, weights, sums, self._memory
            counts += cuda.lloyd_step(self.gpu, rows, self.frame, centroids, *part, fresh=fresh)
            if squares is not None and mean is not None:
                cuda.add_inertia(self.gpu, rows, mean, None, weights, squares)
            self._labels[own] = self.gpu.to_host(labels)
        if squares is not None:
            self._stats = self._stats_of(squares.to_host(self.gpu))
        self._device_sums = sums
        return Step(sums.to_host(self.gpu), int(counts[0]), int(counts[1]))

    def assign(self, centroids: NDArray) -> NDArray[np.int32]:
        """(n,) int32 labels for `centroids`, leaving the state of the fit alone."""
        return self._of_parts(np.int32, lambda part, _: part.assign(centroids))

    def own_distances(self, centroids: NDArray, labels: NDArray[np.int32]) -> NDArray[np.float64]:
        """(n,) D of each row to the centroid of its label."""
        return self._of_parts(np.float64, lambda part, own: part.own_distances(centroids, labels[own]))

    def _of_parts(self, dtype: DTypeLike, answer: Callable[[DeviceSource, slice], Array]) -> NDArray:
        """(n,) what each part answers for its rows, which are `own` of all."""
        out = np.empty(self.n_samples, dtype)
        with closing(self._parts()) as parts:
            for own, part in parts:
                out[own] = to_numpy(answer(part, own))
        return out

    def _distance_sums(self, grid: Grid, centroids: NDArray, labels: NDArray[np.int32] | None) -> Sums:
        sums = sums_like(grid, len(centroids))
        with closing(self._parts()) as parts:
            for own, part in parts:
                sums.add(part._distance_sums(grid, centroids, None if labels is None else labels[own]))
        return sums

    def _parts(self) -> Generator[tuple[slice, DeviceSource], None, None]:
        """Each chunk as samples of their own on the device, which know the bounds of all."""
        for own, rows, _ in self._on_device():
            w = None if self.sample_weight is None else self.sample_weight[own]
            part = DeviceSource(self.gpu, rows, w, dtype=self.dtype, max_memory=self._memory)
            part._bounds, part._frame = self.bounds(), self.frame
            yield own, part

    def _on_device(self) -> Generator[tuple[slice, Array, Array | None], None, None]:
        """(which rows, the rows on the device, their weights there): good until the next is asked for."""
        own_dtype = np.dtype(np.uint8 if self._chunks.dtype == np.uint8 and self.dtype == np.float32 else self.dtype)
        with closing(ahead(self.gpu.uploads(iter(self._chunks), own_dtype))) as uploads:
            for first, rows, copied in uploads:
                self.gpu.wait_for(copied)
                own = slice(first, first + len(rows))
                weights = None if self.sample_weight is None else self.gpu.to_device(self.sample_weight[own])
                yield own, rows, weights
                self.gpu.finish()
