"""Where mini-batches come from: rows drawn from the samples, wherever these are."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gpukm import kernels
from gpukm.array_source import ArraySource


class Batch(ArraySource):
    """Rows drawn from a source, each of weight 1, on the host; bounds, and `frame`, need no new look.

    Parameters
    ----------
    source : what they are drawn from
    rows : (m, d) in its dtype, with repetition
    frame : None for one about these rows
    """

    def __init__(self, source: ArraySource, rows: NDArray, frame: kernels.Frame | None = None) -> None:
        super().__init__(rows, dtype=source.dtype, max_memory=source._memory, n_threads=source._threads)
        self.engine = host_engine(source)  # that of all batches together: one alone would be few values
        self._bounds, self._frame = source.bounds(), frame


def host_engine(source: ArraySource) -> str:
    """The engine for rows of a source that are brought to the host."""
    return kernels.engine_name(np, source.n_samples * source.n_features)


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
        hashes, engine = np.empty(n, np.uint64), host_engine(source)

        def visit(start: int, stop: int, scratch: dict) -> None:
            hashes[start:stop] = kernels.hash_rows(source.host_block(start, stop), engine)

        source.visit(visit)
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

    def batch(self, rng: np.random.Generator, count: int) -> Batch:
        """Draw `count` rows as samples of their own, each of weight 1."""
        return self._batch(self._source.rows(self.indices(rng, count)))

    def batches(self, rng: np.random.Generator, count: int, most: int) -> Iterator[Batch]:
        """Draw `most` batches of `count` rows: what `batch` would draw from `rng` one by one, but not when.

        As many as fit in the memory for it are fetched from a stream at once.
        """
        at_once = max(self._source.fetched // count, 1)
        for first in range(0, most, at_once):
            rows = self._source.rows(self.indices(rng, min(at_once, most - first) * count))
            for start in range(0, len(rows), count):
                yield self._batch(rows[start : start + count])

    def _batch(self, rows: NDArray) -> Batch:
        part = Batch(self._source, rows, self._frame)
        self._frame = part.frame  # centred on the first rows drawn: near enough for all
        return part
