"""Samples of which only the values that are not zero are stored, such as TF-IDF documents: a SciPy sparse matrix."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpukm import kernels
from gpukm._nonfinite import nonfinite
from gpukm._threads import run_blocks
from gpukm.array_source import ArraySource
from gpukm.exact import Grid, Sums, sums_like
from gpukm.sources import Step

BYTES = 80  # that the steps take for each stored value of a block, at most


class SparseSource(ArraySource):
    """Rows of a SciPy sparse matrix, clustered as they are stored; every result has the bits of the dense matrix.

    It keeps the stored values in the compute dtype with their places; and of the rest what `ArraySource` keeps for each
    row. Centroids and sums are dense: they take (n_clusters, n_features) as ever.

    Parameters
    ----------
    X : (n, d) scipy.sparse matrix or array in compressed rows, each place stored once
    sample_weight, dtype, max_memory, n_threads : as for `ArraySource`
    """

    def __init__(
        self,
        X: Any,
        sample_weight: NDArray[np.float64] | None = None,
        *,
        dtype: DTypeLike,
        max_memory: int = 64 << 20,
        n_threads: int | None = None,
    ) -> None:
        super().__init__(X, sample_weight, dtype=dtype, max_memory=max_memory, n_threads=n_threads)
        self._csr = kernels.CSR(
            X.data.astype(self.dtype, copy=False), X.indices, X.indptr.astype(np.int64), self.n_features
        )

    def _best_engine(self) -> str:
        return "numpy-csr"

    # -- rows --------------------------------------------------------------------------------------

    def compressed(self, start: int, stop: int) -> kernels.CSR:
        """Rows start:stop as they are stored."""
        return self._csr.part(start, stop)

    def block(self, start: int, stop: int) -> NDArray:
        """Rows start:stop with their zeros."""
        return self._csr.part(start, stop).dense()

    def rows(self, indices: NDArray) -> NDArray:
        """Rows by index, with their zeros; -0.0 becomes 0.0, which it equals."""
        return self._csr.take(indices).dense() + self.dtype.type(0)

    def stored(self, indices: NDArray) -> Any:
        """Rows by index as a SciPy matrix in the compute dtype, of which the zeros are not stored."""
        return self._csr.take(indices).matrix()

    def hashes(self, engine: str) -> NDArray[np.uint64]:
        """See `ArraySource.hashes`: those of the rows with their zeros, from the stored values."""
        return np.concatenate(self.visit_compressed(lambda start, stop, _: self.compressed(start, stop).hashes()))

    def visit_compressed(self, task: Callable[[int, int, dict], Any], width: int = 1) -> list[Any]:
        """[task(start, stop, scratch) for each block], on the threads; `width` is how many scores a row gets."""
        stored = len(self._csr.values) // self.n_samples + 1
        rows = max(self._memory // self._threads // (BYTES * stored + 24 * width), 1)
        rows = min(rows, max(-(-self.n_samples // (4 * self._threads)), 256))

        def run(index: int) -> Any:
            return task(index * rows, min((index + 1) * rows, self.n_samples), {})

        return run_blocks(run, -(-self.n_samples // rows), self._threads)

    # -- statistics --------------------------------------------------------------------------------

    def _extremes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        self._csr.check_finite(nonfinite)
        low, high = (bound.astype(np.float64) for bound in self._csr.extremes())
        return low, high

    def _column_sums(self) -> Sums:
        sums = sums_like(self.grid, 1)
        self._add(sums, np.zeros(self.n_samples, np.int32), None)
        return sums

    @property
    def frame(self) -> kernels.Frame:
        """A scale without a shift, which would make zeros something else."""
        if self._frame is None:
            low, high = self.bounds()
            self._frame = kernels.Frame.of(low, high, np.zeros(self.n_features, self.dtype), np.inf)
        return self._frame

    # -- Lloyd -------------------------------------------------------------------------------------

    def step(self, centroids: NDArray) -> Step:
        """Label all rows for `centroids` (k, d); only rows that change label touch the sums."""
        if self._sums is not None and self._sums.store.shape[1] != len(centroids):
            self.reset()
        labels = np.empty(self.n_samples, np.int32)
        undecided = self._label(centroids, labels)
        if self._sums is None:
            self._sums = sums_like(self.grid, len(centroids))
            self._add(self._sums, labels, None)
            changed = self.n_samples
        else:
            moved = np.flatnonzero(labels != self._labels)
            self._add(self._sums, labels, moved)
            changed = len(moved)
        self._labels = labels
        return Step(self._sums, changed, undecided)

    def _label(self, centroids: NDArray, labels: NDArray[np.int32]) -> int:
        """Write the label of each row; return how many had to be settled."""
        scorer = kernels.ScorerCSR.of(self.frame.scale, centroids)

        def visit(start: int, stop: int, scratch: dict) -> int:
            return kernels.assign_csr(self.compressed(start, stop), scorer, labels[start:stop], scratch)

        return sum(self.visit_compressed(visit, len(centroids)))

    def _add(self, sums: Sums, labels: NDArray[np.int32], moved: NDArray | None, sign: int = 1) -> None:
        """Add all rows under `labels`, or move those of index `moved` there from the labels of the last step."""
        count = self.n_samples if moved is None else len(moved)
        at_once = max(self._memory // (BYTES * (len(self._csr.values) // self.n_samples + 1)), 1)
        for start in range(0, count, at_once):
            part = slice(start, min(start + at_once, count))
            rows = part if moved is None else moved[part]
            X = self._csr.part(part.start, part.stop) if moved is None else self._csr.take(moved[part])
            old = None if moved is None else self._labels[rows]
            w = None if self.sample_weight is None else self.sample_weight[rows]
            kernels.accumulate_csr(X, labels[rows], sums, old_labels=old, weights=w)

    def assign(self, centroids: NDArray) -> NDArray[np.int32]:
        """(n,) int32 labels for `centroids`, leaving the state of the fit alone."""
        labels = np.empty(self.n_samples, np.int32)
        self._label(centroids, labels)
        return labels

    def _add_rows(
        self, indices: NDArray[np.int64], labels: NDArray[np.int32], weights: NDArray[np.float64] | None, sums: Sums
    ) -> None:
        kernels.accumulate_csr(self._csr.take(indices), labels, sums, weights=weights)

    # -- distances ---------------------------------------------------------------------------------

    def own_distances(self, centroids: NDArray, labels: NDArray[np.int32]) -> NDArray[np.float64]:
        """(n,) D of each row to the centroid of its label."""
        D, order = np.empty(self.n_samples), np.argsort(labels, kind="stable")

        def visit(start: int, stop: int, scratch: dict) -> None:
            rows = order[start:stop]
            D[rows] = kernels.own_distances_csr(self._csr.take(rows), centroids, labels[rows], scratch)

        self.visit_compressed(visit)
        return D

    def _distance_sums(self, grid: Grid, centroids: NDArray, labels: NDArray[np.int32] | None) -> Sums:
        """See `Measured`; one pass over all places of the matrix."""
        labels = np.zeros(self.n_samples, np.int32) if labels is None else labels
        D, sums = self.own_distances(centroids, labels), sums_like(grid, len(centroids))
        for start in range(0, self.n_samples, 1 << 14):
            part = slice(start, min(start + (1 << 14), self.n_samples))
            kernels.accumulate_scalars(D[part], labels[part], self._weights(part.start, part.stop), sums)
        return sums

    def distances(self, centroids: NDArray) -> NDArray:
        """(n, k) Euclidean distances sqrt(D), in the compute dtype."""
        out = np.empty((self.n_samples, len(centroids)), self.dtype)

        def visit(start: int, stop: int, scratch: dict) -> None:
            for k, centroid in enumerate(centroids):
                D = kernels.squared_distances_csr(self.compressed(start, stop), centroid, scratch)
                out[start:stop, k] = np.sqrt(D)

        self.visit_compressed(visit)
        return out

    def potential(self) -> kernels.Potential:
        """Fresh potentials for a seeding."""
        return kernels.PotentialCSR(self)
