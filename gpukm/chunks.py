"""The rows of a reader in chunks of one length, read ahead by a thread, checked to be the same in every pass."""

import zlib
from collections.abc import Generator
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm import _validation as validation
from gpukm._ahead import ahead
from gpukm._arrays import to_numpy
from gpukm._containers import check_integers
from gpukm._rows import Buffers, RowReader

FEW = 16  # rows of a chunk up to which they are read one by one
LOOKED_AT = 32  # rows of a chunk by which it is recognized in the next pass
IN_FLIGHT = 4  # chunks in memory at once: one in use, one waiting, one being read, and the block it is cut from


class Chunks:
    """Passes over the rows of `reader`, in chunks that take up at most `max_memory` bytes all together.

    Attributes
    ----------
    name, column_names : as of the reader
    n_samples, n_features : None until they are known, after the first pass at the latest
    dtype : of all rows together, as numpy.concatenate would choose it; None until the first chunk was read
    """

    def __init__(self, reader: RowReader, max_memory: int, n_features: int | None = None) -> None:
        self._reader, self._memory = reader, max_memory
        self.name, self.column_names = reader.name, reader.column_names
        self.n_samples, self.n_features = reader.shape
        self._expected = n_features
        self.dtype = reader.dtype
        self._rows = 0  # of a chunk
        self._buffers = Buffers()
        self._marks: list[int] | None = None  # of the chunks of the first pass

    def __iter__(self) -> Generator[tuple[int, NDArray], None, None]:
        """(number of its first row, chunk (m, d) in the reader's dtype), in order; the next one may take its place.

        Raises
        ------
        ValueError, TypeError
            For what is no block of rows of numbers, for another number of columns, for rows that are missing, too many,
            or not those of the first pass. What the reader raises is passed on.
        """
        start, marks = 0, []
        known = self._marks
        with closing(ahead(self._gathered())) as chunks:
            for chunk in chunks:
                mark = _mark(chunk)
                if known is None:
                    marks.append(mark)
                elif len(marks) >= len(known) or mark != known[len(marks)]:
                    raise self._other_rows(start, len(chunk))
                else:
                    marks.append(mark)
                yield start, chunk
                start += len(chunk)
                self._buffers.give_back(chunk)
                del chunk
        if known is not None and len(marks) < len(known):
            raise self._other_rows(start, 0)
        if self.n_samples is not None and start != self.n_samples:
            raise ValueError(f"{self.name}: gave {start} rows, not {self.n_samples}")
        if start == 0:
            raise ValueError(
                f"Found array with 0 sample(s) while a minimum of 1 is required: {self.name} gave no rows. "
                f"Check how it was selected or read."
            )
        self.n_samples, self._marks = start, marks

    def _other_rows(self, start: int, count: int) -> ValueError:
        n = self.n_samples or 0
        if start >= n:
            what = f"more than {n} rows"
        elif count < self._rows and start + count < n:  # the last chunk
            what = f"only {start + count} rows, not {n},"
        else:
            what = f"other rows than before from row {start} on"
        return ValueError(
            f"{self.name}: gave {what} when it was read again. k-means reads its rows many times: they must be the "
            f"same, in the same order, each time (a shuffling iterator needs a fixed seed)."
        )

    def _gathered(self) -> Generator[NDArray, None, None]:
        """Chunks of `_rows` rows each but the last, from blocks of any lengths."""
        held: NDArray | None = None
        count = 0
        with closing(self._checked()) as blocks:
            for block in blocks:
                if self._reader.direct:
                    yield block
                    continue
                while len(block):
                    if held is None:
                        held, count = self._buffers.take(self._rows, block.shape[1], block.dtype), 0
                    elif held.dtype != block.dtype:
                        held = held.astype(np.result_type(held, block), copy=False)
                    part = block[: self._rows - count]
                    held[count : count + len(part)] = part  # copied: the maker of a block may fill it again
                    count += len(part)
                    block = block[len(part) :]
                    if count == self._rows:
                        full, held, count = held, None, 0
                        yield full
                        del full
        if held is not None and count:
            yield held[:count]

    def _checked(self) -> Generator[NDArray, None, None]:
        """Blocks as arrays (m, d) of numbers with the right number of columns; a reader's own exceptions say where."""
        rows = self._rows
        if rows == 0 and self.n_features is not None and self.dtype is not None:
            rows = self._rows = self._chunk_rows(self.n_features, self.dtype)
        done = number = 0
        blocks = self._reader.blocks(rows, 0, self._buffers)
        try:
            for block in blocks:
                array = self._as_rows(block, number, done)
                number += 1
                if array is None:
                    continue
                done += len(array)
                yield array
                del array, block
        except Exception as error:
            error.add_note(f"raised while {self.name} was read, after {done} rows")
            raise
        finally:
            blocks.close()

    def _as_rows(self, block: Any, number: int, done: int) -> NDArray | None:
        """A block as an array; None where it has no rows."""
        if self._reader.dtype is None:
            if hasattr(block, "shape") and len(block.shape) == 2 and block.shape[0] == 0:
                return None
            block = to_numpy(validation.check_samples(block, name=f"block {number} of {self.name}").array)
        d = self.n_features or self._expected
        if d is not None and block.shape[1] != d:
            raise ValueError(
                f"{self.name}: block {number}, which begins at row {done}, has {block.shape[1]} columns, not {d}; "
                f"all blocks must have the same columns"
            )
        if self._marks is None:
            check_integers(block, np, self.name)
        if self.n_features is None or self.dtype is None:
            self.n_features, self.dtype = int(block.shape[1]), block.dtype
        if self.dtype != block.dtype:
            self.dtype = np.result_type(self.dtype, block.dtype)
        if self._rows == 0:
            self._rows = self._chunk_rows(self.n_features, self.dtype)
        return block

    def _chunk_rows(self, n_features: int, dtype: np.dtype) -> int:
        return max(self._memory // IN_FLIGHT // (n_features * dtype.itemsize), 1)

    def rows(self, indices: NDArray[np.int64]) -> NDArray:
        """Rows by index, in the reader's dtype: by a pass over all where they are many, or cannot be sought."""
        assert self.n_features is not None
        out = np.empty((len(indices), self.n_features), self.dtype)
        order = np.argsort(indices, kind="stable")
        wanted, places = indices[order], 0
        if not self._reader.seekable or len(wanted) * self._rows > FEW * (self.n_samples or 0):
            with closing(iter(self)) as chunks:
                for start, chunk in chunks:
                    stop = int(np.searchsorted(wanted, start + len(chunk)))
                    out[order[places:stop]] = chunk[wanted[places:stop] - start]
                    places = stop
                    if places == len(wanted):
                        break
            return out
        while places < len(wanted):
            start = int(wanted[places])
            stop = int(np.searchsorted(wanted, start + self._rows))
            if stop - places <= FEW:
                stop = int(np.searchsorted(wanted, start + 1))
            count = int(wanted[stop - 1]) - start + 1
            with closing(self._reader.blocks(count, start, Buffers())) as blocks:
                for block in blocks:
                    end = min(int(np.searchsorted(wanted, start + len(block))), stop)
                    out[order[places:end]] = block[wanted[places:end] - start]
                    places, start = end, start + len(block)
                    if places == stop:
                        break
        return out


def _mark(chunk: NDArray) -> int:
    """A checksum of some rows of a chunk: the first, the last and about `LOOKED_AT` between them."""
    some = chunk[:: max(len(chunk) // LOOKED_AT, 1)]
    return zlib.crc32(chunk[-1].tobytes(), zlib.crc32(some.tobytes(), len(chunk)))
