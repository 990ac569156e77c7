"""Where mini-batches come from: rows drawn from an array, or the shuffled blocks of a stream."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from gpukm import kernels
from gpukm.array_source import ArraySource

WINDOW = 64  # batches among which the rows of a stream are shuffled


class Batch(ArraySource):
    """Rows drawn from a source, each of weight 1, on the host; bounds, and `frame`, need no new look.

    Parameters
    ----------
    source : what they are drawn from
    indices : (m,) of rows, with repetition
    frame : None for one about these rows
    """

    def __init__(self, source: ArraySource, indices: NDArray[np.integer], frame: kernels.Frame | None = None) -> None:
        rows = source.rows(indices)
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
        part = Batch(self._source, self.indices(rng, count), self._frame)
        self._frame = part.frame  # centred on the first rows drawn: near enough for all
        return part

    def batches(self, rng: np.random.Generator, count: int) -> Iterator[Batch]:
        """Draw batches without end."""
        while True:
            yield self.batch(rng, count)


def shuffled(
    blocks: Iterable[tuple[NDArray, NDArray[np.float64] | None]],
    batch_size: int,
    rng: np.random.Generator,
    *,
    dtype: np.dtype,
    max_memory: int = 64 << 20,
) -> Iterator[ArraySource]:
    """Mini-batches of the rows of a stream, read once: each row comes once, in an order shuffled within a window.

    A window is as many batches as fit into half of `max_memory`, 64 at most and 1 at least. It does not matter how the
    stream is cut into blocks. A stream that is sorted by what is to be clustered should be shuffled beforehand, or its
    blocks read in another order: the first rows of all move the centroids most.

    Parameters
    ----------
    blocks : (X, weights) one by one, X (m, d) finite on the host, weights (m,) or None in all of them
    batch_size : rows of a batch; the last may have fewer. Rows without weight are left out
    rng : the order
    dtype : to compute in, float32 or float64
    max_memory : bytes for the window and for the batches' temporaries

    Yields
    ------
    ArraySource
    """
    rows: NDArray | None = None
    weights: NDArray[np.float64] | None = None
    filled = 0

    def window(count: int) -> Iterator[ArraySource]:
        assert rows is not None
        order = rng.permutation(count)
        for start in range(0, count, batch_size):
            own = order[start : start + batch_size]
            w = None if weights is None else weights[own]
            yield ArraySource(rows[own], w, dtype=dtype, max_memory=max(max_memory // 2, 1))

    for X, w in blocks:
        if w is not None:
            X, w = X[w > 0], w[w > 0]
        if rows is None:
            row_bytes = X.shape[1] * np.dtype(dtype).itemsize + 8
            size = batch_size * min(max(max_memory // 2 // (batch_size * row_bytes), 1), WINDOW)
            rows = np.empty((size, X.shape[1]), dtype)
            weights = None if w is None else np.empty(size)
        at = 0
        while at < len(X):
            count = min(len(X) - at, len(rows) - filled)
            rows[filled : filled + count] = X[at : at + count]
            if weights is not None and w is not None:
                weights[filled : filled + count] = w[at : at + count]
            at, filled = at + count, filled + count
            if filled == len(rows):
                yield from window(filled)
                filled = 0
    if filled:
        yield from window(filled)
