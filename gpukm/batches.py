"""Where mini-batches come from: rows drawn from the samples, wherever these are."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm import kernels
from gpukm._arrays import from_numpy, is_sparse
from gpukm.array_source import ArraySource
from gpukm.sparse_source import SparseSource


def host_engine(source: ArraySource) -> str:
    """The engine for rows of a source that are brought to the host."""
    return kernels.engine_name(np, source.n_samples * source.n_features, rows=(source.dtype, source.n_features))


def all_rows(source: ArraySource, like: Any) -> Any:
    """All rows as an array of the kind of `like`, or as a sparse matrix where they are stored as one."""
    rows = source.stored(np.arange(source.n_samples))
    return rows if is_sparse(rows) else from_numpy(rows, like)


class Draws:
    """Rows of a source drawn by weight, with replacement.

    A draw is a quantile of the weight over the rows in the order of a hash of their content: neither the order of the
    rows nor whether they are repeated or weighted matters. 4 bytes a row, 8 more with weights.

    Parameters
    ----------
    source : the samples

    Attributes
    ----------
    n_rows : rows, where weights are whole numbers each counted as often as it weighs, so that weight 2 is a repeated
        row; where they are not, each row with weight counts once
    total_weight : the sum of the weights
    """

    def __init__(self, source: ArraySource) -> None:
        self._source = source
        self._frame: kernels.Frame | None = None
        n, weights = source.n_samples, source.sample_weight
        hashes = source.hashes(host_engine(source))
        order = np.argsort(hashes) if weights is None else np.lexsort((weights, hashes))
        self._order: NDArray[np.integer] = order.astype(np.int32 if n < 2**31 else np.int64)
        self._running: NDArray[np.float64] | None = None
        self.n_rows, self.total_weight = n, float(n)
        if weights is not None:
            self._running = np.cumsum(weights[order])
            self.total_weight = float(self._running[-1])
            whole = np.array_equal(weights, np.rint(weights))
            self.n_rows = int(self.total_weight) if whole else int(np.count_nonzero(weights))

    def indices(self, rng: np.random.Generator, count: int) -> NDArray[np.integer]:
        """Draw `count` rows."""
        u = rng.random(count)
        if self._running is None:
            return self._order[(u * len(self._order)).astype(np.int64)]
        at = np.searchsorted(self._running, u * self._running[-1], side="right")
        return self._order[np.minimum(at, len(self._order) - 1)]

    def batch(self, rng: np.random.Generator, count: int) -> ArraySource:
        """Draw `count` rows as samples of their own, on the host, each of weight 1."""
        return self._batch(self._source.stored(self.indices(rng, count)))

    def batches(self, rng: np.random.Generator, count: int, most: int) -> Iterator[ArraySource]:
        """Draw `most` batches of `count` rows: what `batch` would draw from `rng` one by one, but not when.

        As many as fit in the memory for it are fetched from a stream at once.
        """
        at_once = max(self._source.fetched // count, 1)
        for first in range(0, most, at_once):
            rows = self._source.stored(self.indices(rng, min(at_once, most - first) * count))
            for start in range(0, rows.shape[0], count):
                yield self._batch(rows[start : start + count])

    def _batch(self, rows: Any) -> ArraySource:
        source = self._source
        options: Any = {"dtype": source.dtype, "max_memory": source._memory, "n_threads": source._threads}
        if is_sparse(rows):
            part: ArraySource = SparseSource(rows, **options)
        else:
            part = ArraySource(rows, **options)
            part.engine = host_engine(source)  # that of all batches together: one alone would be few values
        part._bounds, part._frame = source.bounds(), self._frame  # which need no new look
        self._frame = part.frame  # centred on the first rows drawn: near enough for all
        return part
