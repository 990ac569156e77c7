"""Rows that are read when they are needed: what a reader is, and the readers that need no library of a format."""

import mmap
import os
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._past_cache import PAGE

_PRIVATE: Any = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}


class Buffers:
    """Arrays for blocks, filled again once they are given back.

    Their memory is mapped and goes back to the system with them: what one thread allocates and another one frees stays
    with the allocator, and piles up there.
    """

    def __init__(self) -> None:
        self._free: list[NDArray] = []  # of bytes

    def take(self, rows: int, columns: int, dtype: np.dtype | None, lead: int = 0) -> NDArray:
        """An array of this shape and dtype with any contents, `lead` bytes behind the begin of its `memory`."""
        shape = rows, columns
        needed = -(-(lead + rows * columns * np.dtype(dtype).itemsize) // PAGE) * PAGE
        fitting = (index for index, memory in enumerate(self._free) if len(memory) >= needed)
        index = next(fitting, None)
        if index is None:
            pages = mmap.mmap(-1, max(needed, PAGE), **_PRIVATE)
            if hasattr(mmap, "MADV_HUGEPAGE"):
                with suppress(OSError):  # a system built without them
                    pages.madvise(mmap.MADV_HUGEPAGE)  # what is read past the cache comes twice as fast
            memory = np.frombuffer(pages, np.uint8)
        else:
            memory = self._free.pop(index)
        return np.ndarray(shape, dtype, memory, lead)

    @staticmethod
    def memory(array: NDArray) -> NDArray[np.uint8]:
        """The whole pages in which an array from `take` lies."""
        assert isinstance(array.base, np.ndarray)
        return array.base

    def give_back(self, array: NDArray) -> None:
        """Say that nobody looks at an array from `take`, or some rows of one, any more."""
        memory = array.base
        if isinstance(memory, np.ndarray) and memory.dtype == np.uint8 and memory.ndim == 1 and len(self._free) < 4:
            self._free.append(memory)


class RowReader:
    """Rows of numbers outside memory, or too many for it. Made by `open_rows`.

    Attributes
    ----------
    name : what errors call it
    shape : (rows, columns); None where it is not known before they are read
    dtype : of the blocks; None where it is not known
    column_names : the columns' names, where the format has them
    seekable : whether `blocks` may begin anywhere at no great cost
    direct : whether blocks are arrays from the buffers, all of `rows` rows but the last
    """

    name: str
    shape: tuple[int | None, int | None]
    dtype: np.dtype | None
    column_names: list[str] | None = None
    seekable: bool = True
    direct: bool = False

    def blocks(self, rows: int, start: int, buffers: Buffers) -> Generator[Any, None, None]:
        """Consecutive blocks, of `rows` rows if the reader can choose, from the row `start` on."""
        raise NotImplementedError

    @property
    def nbytes(self) -> int | None:
        """Bytes of all rows in memory; None where that is not known."""
        n, d = self.shape
        return None if n is None or d is None or self.dtype is None else n * d * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"<rows of {self.name}: shape {self.shape}, {self.dtype}>"


class SlicedRows(RowReader):
    """An array on disk that gives rows by slices: a memory map, a dataset of HDF5, an array of Zarr."""

    direct = True

    def __init__(self, X: Any, name: str, keep_open: Any = None) -> None:
        self.array, self.name, self._keep_open = X, name, keep_open
        self.shape = tuple(int(length) for length in X.shape)  # type: ignore[assignment]
        self.dtype = np.dtype(X.dtype)

    def blocks(self, rows: int, start: int, buffers: Buffers) -> Generator[NDArray, None, None]:
        """See `RowReader`."""
        for first in range(start, int(self.shape[0] or 0), rows):
            self._check_file(first)
            few = self.array[first : first + rows]
            block = buffers.take(len(few), few.shape[1], self.dtype)
            block[...] = few  # here the rows of a memory map are read
            self._forget_pages()
            yield block

    def _check_file(self, first: int) -> None:
        """Reading a memory map beyond the end of its file kills the process."""
        path, pages = getattr(self.array, "filename", None), getattr(self.array, "_mmap", None)
        if path is None or not isinstance(pages, mmap.mmap) or not os.path.exists(path):
            return  # a deleted file stays whole as long as it is mapped
        mapped = self.array.offset - self.array.offset % mmap.ALLOCATIONGRANULARITY + len(pages)
        if os.path.getsize(path) < mapped:
            raise ValueError(f"{path}: was cut short while it was in use, before row {first} was read")

    def _forget_pages(self) -> None:
        """Pages of a file that have been read would count as memory of this process; the system keeps them anyway."""
        pages = getattr(self.array, "_mmap", None)
        if isinstance(pages, mmap.mmap) and self.array.mode != "c" and hasattr(pages, "madvise"):
            pages.madvise(mmap.MADV_DONTNEED)  # not for mode "c", whose changes are in memory alone


class ChosenColumns(RowReader):
    """Some columns of the rows of another reader."""

    def __init__(self, reader: RowReader, columns: list[int]) -> None:
        self._reader, self._columns = reader, columns
        self.name, self.dtype = reader.name, reader.dtype
        self.shape = (reader.shape[0], len(columns))
        self.seekable, self.direct = reader.seekable, reader.direct

    def blocks(self, rows: int, start: int, buffers: Buffers) -> Generator[NDArray, None, None]:
        """See `RowReader`."""
        for block in self._reader.blocks(rows, start, buffers):
            out = buffers.take(len(block), len(self._columns), block.dtype)
            np.take(block, self._columns, axis=1, out=out, mode="clip")
            if self._reader.direct:
                buffers.give_back(block)
            yield out


class CastRows(RowReader):
    """The rows of another reader in a dtype of one's choice."""

    def __init__(self, reader: RowReader, dtype: Any) -> None:
        self._reader = reader
        self.name, self.shape, self.column_names = reader.name, reader.shape, reader.column_names
        self.dtype, self.seekable, self.direct = np.dtype(dtype), reader.seekable, reader.direct

    def blocks(self, rows: int, start: int, buffers: Buffers) -> Generator[NDArray, None, None]:
        """See `RowReader`."""
        for block in self._reader.blocks(rows, start, buffers):
            out = buffers.take(len(block), block.shape[1], self.dtype)
            out[...] = block
            if self._reader.direct:
                buffers.give_back(block)
            yield out


class WithoutMissing(RowReader):
    """The rows of another reader that have no NaN; `kept` says of each row of the last whole pass if it is one."""

    seekable = False

    def __init__(self, reader: RowReader) -> None:
        self._reader = reader
        self.name, self.column_names, self.dtype = reader.name, reader.column_names, reader.dtype
        self.shape = (None, reader.shape[1])
        self.kept = np.empty(0, np.bool_)

    def blocks(self, rows: int, start: int, buffers: Buffers) -> Generator[NDArray, None, None]:
        """See `RowReader`; all blocks from the first."""
        kept = []
        for block in self._reader.blocks(rows, 0, buffers):
            kept.append(~np.isnan(block).any(axis=1))
            whole = block[kept[-1]]
            if self._reader.direct:
                buffers.give_back(block)
            yield whole
        self.kept = np.concatenate(kept)


class MadeRows(RowReader):
    """What a function yields: it is called for each pass over the rows and returns a fresh iterator of blocks."""

    shape = (None, None)
    dtype = None
    seekable = False

    def __init__(self, make: Callable[[], Any], name: str = "X") -> None:
        self._make, self.name = make, name
        self._last: Any = None

    def blocks(self, rows: int, start: int, buffers: Buffers) -> Generator[Any, None, None]:
        """See `RowReader`; all blocks from the first, as they are."""
        made = self._make()
        if not hasattr(made, "__iter__"):
            raise TypeError(f"{self.name}() returned a {type(made).__name__}; it must return an iterator of blocks")
        if hasattr(made, "__next__") and made is self._last:
            raise ValueError(f"{self.name}() returned the same iterator twice; it must make a new one each time")
        self._last = made
        try:
            yield from made
        finally:
            close = getattr(made, "close", None)
            if close is not None:
                close()
