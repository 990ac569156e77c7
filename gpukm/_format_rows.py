"""Readers of Parquet, Arrow, HDF5 and Zarr: each a few lines over the library of its format, imported when used."""

from collections.abc import Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._columns import find_columns, shortened
from gpukm._extras import missing_extra
from gpukm._files import PathLike
from gpukm._rows import Buffers, RowReader, SlicedRows

BUFFER = 1 << 16  # bytes of a Parquet column read at once: 64 columns took 60 MiB less than with 1 MiB
LEAST = 4096  # rows of a batch: a row asked for alone is cut from one


class ArrowRows(RowReader):
    """The record batches of an Arrow IPC file (Feather version 2 is one).

    Columns of one type stay what they are; of several, and where values are missing, they are float64 with NaN.
    """

    def __init__(self, path: PathLike, columns: list[str | int] | None) -> None:
        try:
            import pyarrow as pa
        except ImportError:
            raise missing_extra("pyarrow", "parquet", f"{path}: reading Parquet or Arrow") from None
        self._pa, self._path, self.name = pa, path, str(path)
        with self._open() as file:
            schema, n_rows = self._describe(file)
        checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
        every = list(schema.names)
        chosen = range(len(every)) if columns is None else find_columns(path, columns, every, len(every))
        numeric = [name for name, kind in zip(every, schema.types) if any(check(kind) for check in checks)]
        self._names = [every[position] for position in chosen]
        self.column_names = list(self._names)
        for name in self._names:
            if name not in numeric:
                raise ValueError(
                    f"{path}: column {name!r} holds {schema.field(name).type}, not numbers; choose numeric columns "
                    f"with columns= (--columns): {shortened(numeric) or 'it has none'}"
                )
            if every.count(name) > 1:
                raise ValueError(f"{path}: {every.count(name)} columns are called {name!r}; give them different names")
        if n_rows == 0 or not self._names:
            raise ValueError(f"{path}: has no rows")
        types = {schema.field(name).type for name in self._names}
        self._type = types.pop() if len(types) == 1 else pa.float64()
        self.dtype, self.shape = np.dtype(self._type.to_pandas_dtype()), (n_rows, len(self._names))

    def _open(self) -> Any:
        return self._guard(lambda: self._pa.ipc.open_file(self._pa.OSFile(str(self._path))))

    def _describe(self, file: Any) -> tuple[Any, int]:
        """(schema, number of rows)."""
        sizes = [file.get_batch(index).num_rows for index in range(file.num_record_batches)]
        self._starts = np.cumsum([0, *sizes])
        return file.schema, int(self._starts[-1])

    def _batches(self, file: Any, first: int, rows: int) -> Generator[Any, None, None]:
        """The batches from number `first` on."""
        for index in range(first, file.num_record_batches):
            batch = self._guard(lambda index=index: file.get_batch(index))
            for start in range(0, batch.num_rows, rows):
                yield batch.slice(start, rows)

    def _guard(self, read: Any) -> Any:
        try:
            return read()
        except (self._pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if isinstance(error, FileNotFoundError | PermissionError):
                raise
            reason = " ".join(str(error).split())
            raise ValueError(f"{self.name}: not a {self._kind} file, or a damaged one ({reason})") from None

    _kind = "Arrow"

    def blocks(self, rows: int, start: int, buffers: Buffers) -> Generator[NDArray, None, None]:
        """See `RowReader`; begins at the record batch or row group that holds `start`."""
        group = int(np.searchsorted(self._starts, start, side="right")) - 1
        first = int(self._starts[group])
        with self._open() as file:
            batches = self._batches(file, group, rows)
            while (batch := self._guard(lambda: next(batches, None))) is not None:
                if first + batch.num_rows > start:
                    yield self._matrix(batch.slice(max(start - first, 0)))
                first += batch.num_rows
                del batch
        self._pa.default_memory_pool().release_unused()  # else it grows from pass to pass

    def _matrix(self, batch: Any) -> NDArray:
        columns = [batch.column(batch.schema.get_field_index(name)) for name in self._names]
        kind = self._pa.float64() if any(column.null_count for column in columns) else self._type
        out = np.empty((batch.num_rows, len(columns)), kind.to_pandas_dtype())
        for position, column in enumerate(columns):
            try:
                column = column.cast(kind)  # raises where an integer is too large to be a float64 exactly
            except self._pa.ArrowException as error:
                name = self._names[position]
                raise ValueError(f"{self.name}: column {name!r} cannot be read as {kind}: {error}") from None
            out[:, position] = column.to_numpy(zero_copy_only=False)
        return out


class ParquetRows(ArrowRows):
    """The row groups of a Parquet file.

    Arrow holds a page of each column, compressed and decoded: measured for 64 float32 columns, 22 MiB with row groups
    of 20,000 rows and 145 MiB with a single one of 590,000. Small groups are also quicker to take single rows from.
    """

    _kind = "Parquet"

    def _open(self) -> Any:
        import pyarrow.parquet as pq

        return self._guard(lambda: pq.ParquetFile(self._path, buffer_size=BUFFER, pre_buffer=False))

    def _describe(self, file: Any) -> tuple[Any, int]:
        meta = file.metadata
        self._starts = np.cumsum([0, *(meta.row_group(index).num_rows for index in range(meta.num_row_groups))])
        return file.schema_arrow, int(meta.num_rows)

    def _batches(self, file: Any, first: int, rows: int) -> Generator[Any, None, None]:
        groups = list(range(first, file.num_row_groups))
        yield from file.iter_batches(max(rows, LEAST), row_groups=groups, columns=self._names, use_threads=False)


def open_hdf5(path: PathLike, array: str | None) -> SlicedRows:
    """The rows of a dataset of an HDF5 file."""
    try:
        import h5py
    except ImportError:
        raise missing_extra("h5py", "hdf5", f"{path}: reading HDF5") from None
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: not an HDF5 file, or a damaged one ({error})") from None
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    name = choose_array(path, names, array)
    return SlicedRows(file[name], f"{path}, array {name!r}", file)


def open_zarr(path: PathLike, array: str | None) -> SlicedRows:
    """The rows of a Zarr array, which may lie in a group."""
    try:
        import zarr
    except ImportError:
        raise missing_extra("zarr", "zarr", f"{path}: reading Zarr") from None
    try:
        found = zarr.open(str(path), mode="r")
    except Exception as error:  # each version of zarr has its own
        raise ValueError(f"{path}: not a Zarr array or group, or a damaged one ({error})") from None
    if isinstance(found, zarr.Array):
        if array is not None:
            raise ValueError(f"{path}: is a single array; array has no meaning for it, leave it out")
        return SlicedRows(found, str(path))
    name = choose_array(path, sorted(found.array_keys()), array)
    return SlicedRows(found[name], f"{path}, array {name!r}")


def choose_array(path: PathLike, names: list[str], array: str | None) -> str:
    """The name of the array asked for, or of the only one."""
    if not names:
        raise ValueError(f"{path}: holds no arrays")
    if array is None and len(names) > 1:
        raise ValueError(f"{path}: holds several arrays: {', '.join(names)}; choose one with array= (--array NAME)")
    if array is not None and array not in names:
        raise ValueError(f"{path}: has no array {array!r}; it holds {', '.join(names)}")
    return names[0] if array is None else array
