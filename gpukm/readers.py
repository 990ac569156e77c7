"""Files and other things whose rows are read when they are needed: which reader serves what."""

import inspect
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gpukm import _format_rows
from gpukm._columns import find_columns, split_columns
from gpukm._dask import DaskRows, is_dask_array
from gpukm._files import DAMAGED, NpyHeader, PathLike, open_zip, read_npy_header
from gpukm._past_cache import LEAST, PAGE, past_cache
from gpukm._rows import Buffers, ChosenColumns, MadeRows, RowReader, SlicedRows

SUFFIXES = (".npy", ".npz", ".parquet", ".arrow", ".feather", ".h5", ".hdf5", ".zarr")

_PIECE = 1 << 20  # bytes of an archive asked for at once: zipfile makes a copy of each piece


def open_rows(
    path: PathLike, *, columns: str | Sequence[str | int] | None = None, array: str | None = None
) -> RowReader:
    """Open a data file for `KMeans.fit`, `predict`, `transform` and `score`, which read it a block at a time.

    Where a file needs no options, its path can be given to these methods as it is.

    Parameters
    ----------
    path : str or path
        A name ending in .npy, .npz, .parquet, .arrow or .feather (Arrow IPC files), .h5 or .hdf5, or .zarr. Parquet and
        Arrow need ``gpukm[parquet]``, HDF5 ``gpukm[hdf5]``, Zarr ``gpukm[zarr]``.
    columns : str or sequence of str and int, optional
        The columns to read, in this order: names, or positions counted from 1, or ranges of them such as "3-6". A
        string is split at commas. All columns by default.
    array : str, optional
        Which array of an .npz, HDF5 or Zarr file; needed when it holds several.

    Returns
    -------
    RowReader
        The rows; nothing but the file's description has been read.

    Raises
    ------
    ValueError
        If the file is not what its name says or is cut short, or an option does not fit it; the message names it.
    OSError
        If it cannot be opened.
    ImportError
        If the extra for its format is not installed; the message names it.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        text = (
            " Text is read as a whole: by gpukm fit, or pandas.read_csv" if suffix in (".csv", ".tsv", ".txt") else ""
        )
        raise ValueError(f"{path}: unknown kind of file {suffix!r}; gpukm reads blocks of {', '.join(SUFFIXES)}.{text}")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file")
    if os.path.isdir(path) and suffix != ".zarr":
        raise IsADirectoryError(f"{path}: is a folder; give the name of a file")
    if array is not None and suffix in (".npy", ".parquet", ".arrow", ".feather"):
        raise ValueError(f"{path}: array has no meaning for a {suffix} file; leave it out")
    wanted = split_columns(columns)
    if suffix in (".parquet", ".arrow", ".feather"):
        kind = _format_rows.ParquetRows if suffix == ".parquet" else _format_rows.ArrowRows
        return kind(path, wanted)
    reader = _open_plain(path, suffix, array)
    if len(reader.shape) != 2:
        raise ValueError(
            f"{reader.name}: shape {reader.shape} has {len(reader.shape)} dimension(s); 2 are needed, (n_samples, "
            f"n_features). Reshape it, a single feature with reshape(-1, 1)"
        )
    if reader.dtype is None or reader.dtype.kind not in "biuf":
        raise ValueError(f"{reader.name}: dtype {reader.dtype} is not one of numbers; integers, floats, booleans are")
    if 0 in reader.shape:
        raise ValueError(f"{reader.name}: holds no numbers (shape {reader.shape})")
    if wanted is None:
        return reader
    return ChosenColumns(reader, find_columns(path, wanted, None, int(reader.shape[1] or 0)))


def as_reader(X: Any) -> RowReader | None:
    """A reader for what is no array in memory: paths, arrays on disk or of dask, functions; None for the rest.

    Raises TypeError for an iterator, which can be read once only.
    """
    if isinstance(X, RowReader):
        return X
    if isinstance(X, str | os.PathLike):
        return open_rows(X)
    if isinstance(X, np.memmap):
        return SlicedRows(X, "X") if X.ndim == 2 and X.dtype.kind in "biuf" and X.size else None
    if is_dask_array(X):
        return DaskRows(X)
    module = type(X).__module__.partition(".")[0]
    if module in ("h5py", "zarr") and hasattr(X, "shape") and hasattr(X, "dtype"):
        return SlicedRows(X, "X") if len(X.shape) == 2 and X.dtype.kind in "biuf" and X.size else None
    if hasattr(X, "__array__") or hasattr(X, "__array_namespace__") or hasattr(X, "__dlpack__"):
        return None
    if inspect.isgenerator(X) or hasattr(X, "__next__"):
        raise TypeError(
            f"X is a {type(X).__name__}, which can be read once only, and k-means reads its rows many times. Pass the "
            f"function that makes it, without calling it."
        )
    return MadeRows(X) if callable(X) else None


class NpyRows(RowReader):
    """The array of a .npy file, or of a member of an .npz archive, read in order; nothing is mapped into memory.

    So a file cut short while it is read is an error, not a crash of the process.
    """

    direct = True

    def __init__(self, path: PathLike, member: str | None = None) -> None:
        self._path, self._member = path, member
        self.name = str(path) if member is None else f"{path}, array {member.removesuffix('.npy')!r}"
        self.seekable = member is None
        self._seen = self._identity()
        with self._open() as file:
            self._header = self._read_header(file)
        self.shape = self._header.shape  # type: ignore[assignment]
        self.dtype = self._header.dtype

    def _identity(self) -> tuple[int, int]:
        status = os.stat(self._path)
        return status.st_size, status.st_mtime_ns

    def _open(self) -> BinaryIO:
        if self._member is None:
            return open(self._path, "rb", buffering=0)
        return open_zip(self._path).open(self._member)  # type: ignore[return-value]

    def _read_header(self, file: BinaryIO) -> NpyHeader:
        size = self._seen[0]
        if self._member is not None:
            with open_zip(self._path) as archive:
                size = archive.getinfo(self._member).file_size
        header = read_npy_header(file, size, self.name)
        if self._member is not None and header.header_bytes + header.data_bytes != size:
            raise ValueError(
                f"{self.name}: there is data behind the array of shape {header.shape}; the file is damaged"
            )
        return header

    @property
    def fortran_order(self) -> bool:
        """Whether the file holds column after column."""
        return self._header.fortran_order

    def blocks(self, rows: int, start: int, buffers: Buffers) -> Generator[NDArray, None, None]:
        """See `RowReader`."""
        n, d = self._header.shape
        row_bytes = d * self._header.dtype.itemsize
        if self._identity() != self._seen:
            raise ValueError(f"{self.name}: was changed while it was in use; leave it alone until the fit has ended")
        file = past_cache(self._path, self._seen[0]) if self._aligned(rows * row_bytes) else None
        unit = 1 if file is None else PAGE
        with file or self._open() as file:
            if not self.seekable:
                read_npy_header(file, self._header.header_bytes + self._header.data_bytes, self.name)
            for first in range(start if self.seekable else 0, n, rows):
                place = self._header.header_bytes + first * row_bytes
                lead = place % unit
                block = buffers.take(min(rows, n - first), d, self._header.dtype, lead)
                if self.seekable:
                    file.seek(place - lead)
                self._fill(file, block, first, lead, unit)
                if first + len(block) > start:
                    yield block[max(start - first, 0) :]

    def _aligned(self, n_bytes: int) -> bool:
        """Whether so many bytes may be read past the cache, so that rows lie in memory as they do in the file."""
        return self.seekable and n_bytes >= LEAST and self._header.header_bytes % self._header.dtype.itemsize == 0

    def _fill(self, file: BinaryIO, block: NDArray, first: int, lead: int, unit: int) -> None:
        """Read whole units into the memory of `block`, rows from `first` on, which begin `lead` bytes behind."""
        needed, done = lead + block.nbytes, 0
        memory = Buffers.memory(block).data[: -(-needed // unit) * unit]
        most = len(memory) if self.seekable else _PIECE
        try:
            while done < needed:
                count = file.readinto(memory[done : done + most])  # type: ignore[attr-defined]
                done += count
                if done < needed and (not count or done % unit):
                    row = first + max(done - lead, 0) // (block.nbytes // len(block))
                    raise ValueError(f"{self.name}: ends at row {row} of {self.shape[0]}; it was cut short")
        except DAMAGED as error:
            raise ValueError(f"{self.name}: cannot be read ({error}); the file is damaged") from None


def _open_plain(path: PathLike, suffix: str, array: str | None) -> RowReader:
    """The reader of a format without column names."""
    if suffix == ".npy":
        reader = NpyRows(path)
        if not reader.fortran_order or len(reader.shape) != 2:
            return reader
        return SlicedRows(np.load(path, mmap_mode="r", allow_pickle=False), reader.name)
    if suffix == ".npz":
        with open_zip(path) as archive:
            if "header.json" in archive.namelist():
                raise ValueError(f"{path}: is a model saved by gpukm, not data; to use it: gpukm predict MODEL DATA")
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        reader = NpyRows(path, f"{_format_rows.choose_array(path, names, array)}.npy")
        if reader.fortran_order and len(reader.shape) == 2 and 1 not in reader.shape:
            raise ValueError(
                f"{reader.name}: is stored column after column (Fortran order), so its rows cannot be read in order; "
                f"save it again with numpy.ascontiguousarray(...)"
            )
        return reader
    return (_format_rows.open_hdf5 if suffix in (".h5", ".hdf5") else _format_rows.open_zarr)(path, array)
