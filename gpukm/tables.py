"""Data files as arrays: .npy, .npz, .csv, .tsv and Parquet.

Everything is checked before it is used: what a header promises against the bytes that are there, every cell of a text
file.
No pickled object is ever loaded.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpukm._columns import find_columns, shortened, split_columns
from gpukm._csv import read_csv
from gpukm._extras import missing_extra
from gpukm._files import PathLike, open_zip, read_entry, read_npy_header

SUFFIXES = (".npy", ".npz", ".csv", ".tsv", ".parquet")

# First bytes of compressed files. A zip archive is left out: an .npz file is one.
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class Table(NamedTuple):
    """The numbers of a data file.

    Attributes
    ----------
    values : ndarray of shape (n_samples, n_features)
        In the file's own dtype, where it has one; float64 for text. A .npy file is a read-only memory map, not a copy.
        The command line puts the reader of a file here that is larger than memory.
    names : list of str, or None
        The columns' names, where the file has them.
    kept : ndarray of bool of shape (rows of the file,), or None
        Which rows of the file are in `values`; None when all are.
    """

    values: Any
    names: list[str] | None
    kept: np.ndarray | None


def read_table(
    path: PathLike,
    *,
    columns: str | Sequence[str | int] | None = None,
    array: str | None = None,
    delimiter: str | None = None,
    header: bool | None = None,
    drop_missing: bool = False,
) -> Table:
    """Read the numeric columns of a data file.

    Parameters
    ----------
    path : str or path
        A file whose name ends in .npy, .npz, .csv, .tsv or .parquet.
    columns : str or sequence of str and int, optional
        The columns to read, in this order: names, or positions counted from 1, or ranges of them such as "3-6". A
        string is split at commas. All columns by default.
    array : str, optional
        Which array of an .npz file; needed when it holds several.
    delimiter : str, optional
        The character between the fields of a .csv file (default ",") or .tsv file (default: tab).
    header : bool, optional
        Whether the first line of a text file holds the columns' names. By default it does if none of its fields is a
        number, or if one is text where the next line has a number.
    drop_missing : bool, default=False
        Leave out rows with a missing value (an empty field, NA, NaN, null and the like) in one of the columns, instead
        of raising ValueError.

    Returns
    -------
    Table
        values, names and kept.

    Raises
    ------
    ValueError
        If the file is not what its name says, is cut short, or holds something that is not a number; the message names
        the file and the line or row.
    OSError
        If the file cannot be opened.
    ImportError
        If a .parquet file is given and pyarrow is not installed.
    """
    suffix = check_file(path)
    text = suffix in (".csv", ".tsv")
    for name, value, meant in (
        ("array", array, suffix == ".npz"),
        ("delimiter", delimiter, text),
        ("header", header, text),
    ):
        if value is not None and not meant:
            raise ValueError(f"{path}: {name} has no meaning for a {suffix} file; leave it out")
    wanted = split_columns(columns)
    if text:
        default = "," if suffix == ".csv" else "\t"
        mark = default if delimiter is None else delimiter
        return Table(*read_csv(path, wanted, mark, header, drop_missing))
    if suffix == ".parquet":
        return _read_parquet(path, wanted, drop_missing)
    values = _open_npy(path) if suffix == ".npy" else _read_npz(path, array)
    return _numeric(path, values, wanted, drop_missing)


def check_file(path: PathLike, others: Sequence[str] = ()) -> str:
    """The suffix of a file that exists, is not empty and not compressed; `others` are read, too, but not by these."""
    known = ", ".join(dict.fromkeys((*SUFFIXES, *others)))
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path}: is a folder; give the name of a file, one of {known}")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file")
    suffix = Path(path).suffix.lower()
    with open(path, "rb") as file:
        first = file.read(8)
    for magic, how in _COMPRESSED.items():
        if first.startswith(magic):
            raise ValueError(f"{path}: is compressed with {how}; decompress it first")
    if suffix not in SUFFIXES:
        way = ". Save the sheet as .csv" if suffix in (".xlsx", ".xls", ".ods") else ""
        raise ValueError(f"{path}: unknown kind of file {suffix!r}; gpukm reads {known}{way}")
    if not first:
        raise ValueError(f"{path}: is empty (0 bytes)")
    return suffix


def _open_npy(path: PathLike) -> np.ndarray:
    """The array of a .npy file, mapped into memory: rows are read from disk when they are used."""
    with open(path, "rb") as file:
        header = read_npy_header(file, os.path.getsize(path), str(path))
    if header.data_bytes == 0:
        raise ValueError(f"{path}: holds no numbers (shape {header.shape})")
    values: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return values


def _read_npz(path: PathLike, array: str | None) -> np.ndarray:
    with open_zip(path) as archive:
        if "header.json" in archive.namelist():
            raise ValueError(f"{path}: is a model saved by gpukm, not data; to use it: gpukm predict MODEL DATA")
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        if not names:
            raise ValueError(f"{path}: holds no arrays")
        if array is None and len(names) > 1:
            raise ValueError(f"{path}: holds several arrays: {', '.join(names)}; choose one with array= (--array NAME)")
        if array is not None and array not in names:
            raise ValueError(f"{path}: has no array {array!r}; it holds {', '.join(names)}")
        name = names[0] if array is None else array
        return read_entry(archive, f"{name}.npy", f"{path}, array {name!r}")


def _numeric(path: PathLike, values: np.ndarray, columns: list[str | int] | None, drop_missing: bool) -> Table:
    """A table of a plain array, which has no column names."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{path}: dtype {values.dtype} is not one of numbers; integers, floats and booleans are")
    if values.ndim != 2:
        raise ValueError(
            f"{path}: shape {values.shape} has {values.ndim} dimension(s); 2 are needed, (n_samples, n_features). "
            "Reshape it, a single feature with reshape(-1, 1)"
        )
    if columns is not None:
        chosen = find_columns(path, columns, None, values.shape[1])
        if chosen == list(range(chosen[0], chosen[0] + len(chosen))):
            values = values[:, chosen[0] : chosen[0] + len(chosen)]  # a view: a memory map stays one
        else:
            values = values[:, chosen]
    if not drop_missing or values.dtype.kind != "f":
        return Table(values, None, None)
    return _without_missing(path, values, None)


def _without_missing(path: PathLike, values: np.ndarray, names: list[str] | None) -> Table:
    kept = np.empty(len(values), dtype=bool)
    block = max(1, (1 << 22) // max(1, values.shape[1]))  # about 4 million numbers at a time
    for start in range(0, len(values), block):
        kept[start : start + block] = ~np.isnan(values[start : start + block]).any(axis=1)
    if kept.all():
        return Table(values, names, None)
    if not kept.any():
        raise ValueError(f"{path}: every row has a missing value; choose other columns")
    return Table(values[kept], names, kept)


def _read_parquet(path: PathLike, columns: list[str | int] | None, drop_missing: bool) -> Table:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise missing_extra("pyarrow", "parquet", f"{path}: reading Parquet") from None
    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
        every = list(schema.names)
        checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
        numeric = [name for name, kind in zip(every, schema.types) if any(check(kind) for check in checks)]
        chosen = range(len(every)) if columns is None else find_columns(path, columns, every, len(every))
        names = [every[position] for position in chosen]
        for name in names:
            if name not in numeric:
                raise ValueError(
                    f"{path}: column {name!r} holds {schema.field(name).type}, not numbers; choose numeric columns "
                    f"with columns= (--columns): {shortened(numeric) or 'it has none'}"
                )
        table = file.read(columns=names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not a Parquet file, or a damaged one ({reason})") from None
    if table.num_rows == 0 or not names:
        raise ValueError(f"{path}: has no rows")
    values = _fill(path, pa, table, names)
    if values.dtype.kind != "f":
        return Table(values, names, None)
    if not drop_missing:
        for column, name in enumerate(names):
            missing = np.flatnonzero(np.isnan(values[:, column]))
            if missing.size:
                raise ValueError(
                    f"{path}: row {missing[0] + 1}, column {name!r}: missing value; "
                    "drop_missing=True (--drop-missing) leaves such rows out"
                )
        return Table(values, names, None)
    return _without_missing(path, values, names)


def _fill(path: PathLike, pa: Any, table: Any, names: list[str]) -> np.ndarray:
    """The columns side by side: in their dtype if they share one and nothing is missing, else in float64."""
    types = {table.column(name).type for name in names}
    complete = not any(table.column(name).null_count for name in names)
    shared = types.pop() if complete and len(types) == 1 else pa.float64()
    values = np.empty((table.num_rows, len(names)), dtype=shared.to_pandas_dtype(), order="F")
    for position, name in enumerate(names):
        try:
            column = table.column(name).cast(shared)  # raises where an integer is too large to be a float64 exactly
        except pa.ArrowException as error:
            raise ValueError(f"{path}: column {name!r} cannot be read as {shared}: {error}") from None
        values[:, position] = column.to_numpy()
    return values
