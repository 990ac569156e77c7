"""An array cut into blocks of rows, visited by threads."""

from collections.abc import Callable
from queue import Empty, LifoQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._arrays import array_namespace, from_numpy, is_numpy, to_numpy
from gpukm._half import widened
from gpukm._threads import available_threads, run_blocks
from gpukm.exact import BLOCK_ROWS
from gpukm.sources import Far

Array = Any
# Where a row or a column is added to a block whose rows are shorter than this, NumPy copies it bit by bit to make them
# longer. Measured: by default, 8192, that takes three times as long as the addition; with 256, rows of 16 are slow.
BUFFERED = 1024
NUMBERS = 1 << 17  # rows of a block in which only what is known of them is looked at
VISIT = 1 << 18  # values of a block, so that a few float64 copies of it stay in the second-level cache
LEAST = 1 << 16  # values that are worth a thread's while: to hand it a block takes 0.15 ms


class Blocks:
    """Rows of `X`, a (n, d) array of any namespace and dtype, in the compute dtype, a block at a time.

    `max_memory` bytes bound what visits to blocks may take, all threads together; `n_threads` and `block_rows` are
    chosen when None.
    """

    fetched = 0  # rows that `rows` is better asked for at once, where asking takes a pass

    def __init__(
        self, X: Array, dtype: np.dtype, max_memory: int, n_threads: int | None, block_rows: int | None
    ) -> None:
        self._X = X
        self._xp = array_namespace(X)
        self.n_samples, self.n_features = (int(size) for size in X.shape)
        self.dtype = dtype
        self._memory = max_memory
        self._threads = (n_threads or available_threads()) if is_numpy(self._xp) else 1
        self._block_rows = block_rows
        self._multiple = 1

    @property
    def given(self) -> Array:
        """The rows as they were given, or as they are stored since."""
        return self._X

    def block(self, start: int, stop: int) -> Array:
        """Rows start:stop, C-contiguous in the compute dtype; no copy where they are so already."""
        part = self._part(start, stop)
        if is_numpy(self._xp):
            if part.dtype.kind == "f" and part.dtype.itemsize == 2 and self.dtype == np.float32:
                return widened(part)
            return np.ascontiguousarray(part, self.dtype)
        return self._xp.astype(part, getattr(self._xp, self.dtype.name), copy=False)

    def _part(self, start: int, stop: int) -> Array:
        """Rows start:stop as they were given."""
        return self._X[start:stop, :]

    def host_block(self, start: int, stop: int) -> NDArray:
        """The same as NumPy array on the host."""
        return to_numpy(self.block(start, stop))

    def rows(self, indices: NDArray) -> NDArray:
        """Rows by index, on the host, in the compute dtype; -0.0 becomes 0.0, which it equals."""
        if is_numpy(self._xp):
            in_rows = self._X.flags.c_contiguous  # then `take` is three times as fast; else it copies all of X
            taken = self._X.take(indices, axis=0) if in_rows else self._X[indices]
        else:
            taken = to_numpy(self._xp.take(self._X, from_numpy(np.asarray(indices, np.int64), self._X), axis=0))
        return np.ascontiguousarray(taken, self.dtype) + self.dtype.type(0)

    def _farthest(self, D: Array, count: int) -> list[Far]:
        """The rows of greatest positive D, of whatever namespace; D is used up."""
        found: list[Far] = []
        while len(found) < count and (greatest := D.max()) > 0:
            ties = to_numpy(D == greatest).nonzero()[0]
            contents, inverse = np.unique(self.rows(ties), axis=0, return_inverse=True)  # in order of content
            for index in range(min(len(contents), count - len(found))):
                found.append(Far(contents[index], ties[inverse.ravel() == index]))
            D[from_numpy(ties, D)] = 0.0
        return found

    def visit(
        self,
        task: Callable[[int, int, dict], Any],
        *,
        rows: int | None = None,
        scratch: LifoQueue | None = None,
        least: int | None = None,
        lean: bool = False,
    ) -> list[Any]:
        """[task(start, stop, scratch) for each block], on the threads.

        Blocks have `rows` rows, or what suits the cache; fewer where memory asks for it, but not for rows in place of
        which a `lean` task makes no copies; or where an even load of the threads does, for the sake of which they are
        not made smaller than `least` rows; but always a multiple of `_multiple`.
        """
        return self._visit(task, 0, self.n_samples, rows, LifoQueue() if scratch is None else scratch, least, lean)

    @property
    def _in_place(self) -> bool:
        """Whether blocks are views of the rows as they are."""
        return isinstance(self._X, np.ndarray) and self._X.dtype == self.dtype and self._X.flags.c_contiguous

    def _visit_evenly(self, task: Callable[[int, int, dict], Any], scratch: LifoQueue) -> list[Any]:
        """`visit` with one block for each thread, however long: for tasks that take little memory, of rows in place."""
        rows = self._block_rows or -(-self.n_samples // self._threads)
        return self._run(task, 0, self.n_samples, rows, scratch)

    def run(self, task: Callable[[int], Any], count: int) -> list[Any]:
        """[task(0), ..., task(count - 1)], on the threads."""
        return run_blocks(task, count, self._threads)

    def visit_numbers(self, task: Callable[[int, int, dict], Any]) -> list[Any]:
        """The same for a task that needs no rows, only which they are: none is read."""
        return self._visit(task, 0, self.n_samples, NUMBERS, LifoQueue())

    def _visit(
        self,
        task: Callable[[int, int, dict], Any],
        first: int,
        last: int,
        rows: int | None,
        pool: LifoQueue,
        least: int | None = None,
        lean: bool = False,
    ) -> list[Any]:
        """`visit` for the rows first:last."""
        own = self._memory // self._threads
        if rows is None:
            rows = min(max(VISIT // self.n_features, 64), own // (48 * (self.n_features + 1)), BLOCK_ROWS)
        least = max(LEAST // self.n_features, 2048) if least is None else least
        if not (lean and self._in_place):
            rows = min(rows, own // (8 * self.n_features))
        rows = min(rows, max(-(-(last - first) // (4 * self._threads)), least))
        rows = -(-(self._block_rows or max(rows, 1)) // self._multiple) * self._multiple
        return self._run(task, first, last, rows, pool)

    def _run(
        self, task: Callable[[int, int, dict], Any], first: int, last: int, rows: int, pool: LifoQueue
    ) -> list[Any]:
        def run(index: int) -> Any:
            try:
                own = pool.get_nowait()
            except Empty:
                own = {}
            start = first + index * rows
            with np.errstate():  # which brings the size of buffers back
                np.setbufsize(BUFFERED)
                result = task(start, min(start + rows, last), own)
            pool.put(own)
            return result

        return self.run(run, -(-(last - first) // rows))
