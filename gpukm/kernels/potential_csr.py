"""potential, of rows of which only the values that are not zero are stored; see `potential`, whose draws these are."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import TINY
from gpukm.kernels import csr
from gpukm.kernels.potential import Potential


class PotentialCSR(Potential):
    """State of a seeding.

    Parameters
    ----------
    source : as for `Potential`; its ``compressed(start, stop)`` are rows as `csr.CSR`, ``visit_compressed`` visits such
    """

    def __init__(self, source: Any) -> None:
        super().__init__(_Compressed(source))

    def _look(self) -> tuple[NDArray[np.uint64], NDArray]:
        X: csr.CSR = self._source.host_block(0, self._n)
        return X.hashes(), X.squares(self._source.frame.scale) / 2

    def _visit(self, task: Callable[[int, int, dict], Any], compiled: bool = True) -> list[Any]:
        return self._source.visit_compressed(task)

    def _gains(self, X: Any, scorer: Any, start: int, stop: int, scratch: dict) -> tuple[NDArray, NDArray[np.float64]]:
        """As for dense rows, in float64."""
        own = csr.Scorer.of(self._source.frame.scale, scorer.centroids)
        kappa, half = own.kappa, self._half[start:stop]
        lower = own.lower - X.products(own.operand, own.scale)
        ceiling = self._nearest()[start:stop] * (own.scale**2 / 2) * (1 + kappa) - half * (1 - 6 * kappa) + TINY
        error = 4 * kappa * (own.squares + ceiling.max() + 4 * half.max()) + TINY
        return (ceiling[:, None] - lower).T, error

    def _improvable(self, scorer: Any, start: int, stop: int, scratch: dict) -> tuple[NDArray, NDArray]:
        X: csr.CSR = self._source.host_block(start, stop)
        rows = np.flatnonzero(self._gains(X, scorer, start, stop, scratch)[0][0] > 0)
        return rows + start, csr.squared_distances(X.take(rows), scorer.centroids[0], scratch)

    def commit(self, centroid: NDArray) -> None:
        """Lower D by the centre `centroid` (d,)."""
        if self._D is not None:
            super().commit(centroid)
            return
        D = np.empty(self._n)

        def visit(start: int, stop: int, scratch: dict) -> None:
            D[start:stop] = csr.squared_distances(self._source.host_block(start, stop), centroid, scratch)

        self._visit(visit)
        self.start(D)


class _Compressed:
    """A source whose blocks are compressed rows."""

    def __init__(self, source: Any) -> None:
        self._source, self.host_block = source, source.compressed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)
