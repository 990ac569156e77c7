"""Files written whole or not at all; .npy headers checked against the bytes that are there, before those are read."""

import lzma
import math
import os
import secrets
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

PathLike = str | os.PathLike[str]

# Deflate cannot do better than 1032 to 1; an archive that claims more lies about its sizes.
_BEST_COMPRESSION = 1032

# What NumPy raises for headers it cannot parse.
_BAD_HEADER = (ValueError, TypeError, SyntaxError, tokenize.TokenError, OverflowError, RecursionError)

# What zipfile and the decompressors raise for damaged entries, or for methods that they do not know.
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, OSError)


def check_target(path: PathLike, *, force: bool) -> Path:
    """`path` as the file to be written; raises OSError when it must not or cannot be, before any work is done.

    A link is followed, so that its target is replaced and not the link.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{path}: is a folder; give the name of a file in it")
    if target.exists() and not target.is_file():
        raise OSError(f"{path}: is not a regular file, so it cannot be replaced; give another name")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {str(target.parent)!r}; create it first")
    if target.exists() and not force:
        raise FileExistsError(f"{path}: exists; choose another name, or force=True (--force)")
    return target


@contextmanager
def atomic_write(path: PathLike, *, force: bool = False) -> Iterator[BinaryIO]:
    """A binary file that appears as `path` when the block ends without an exception; otherwise nothing is left behind.

    It is written beside its target, in the same folder, so that the last step is a rename on one file system.
    """
    target = check_target(path, force=force)
    temporary = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.gpukm-tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # else a crash could leave a renamed but empty file
        check_target(path, force=force)  # another process may have written it meanwhile
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_npy(path: PathLike, *, force: bool = False) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends blocks to a .npy file, which appears as `path` when the block ends without an exception.

    All blocks have the dtype and, but for their length, the shape of the first.
    """
    first: np.ndarray | None = None
    rows = 0
    with atomic_write(path, force=force) as file:

        def append(block: np.ndarray) -> None:
            nonlocal first, rows
            if first is None:
                first = block[:0].copy()
                _write_header(file, first, 0)
            assert block.dtype == first.dtype and block.shape[1:] == first.shape[1:]
            file.write(np.ascontiguousarray(block).data.cast("B"))
            rows += len(block)

        yield append
        assert first is not None, "nothing was appended"
        size = file.tell() - rows * math.prod(first.shape[1:]) * first.itemsize
        file.seek(0)
        _write_header(file, first, rows)
        assert file.tell() == size, "NumPy leaves room in a header for any number of rows"


def _write_header(file: BinaryIO, block: np.ndarray, rows: int) -> None:
    fields = {"descr": np.lib.format.dtype_to_descr(block.dtype), "fortran_order": False}
    np.lib.format.write_array_header_1_0(file, {**fields, "shape": (rows, *block.shape[1:])})


class NpyHeader(NamedTuple):
    """What the header of a .npy file says of the array behind it."""

    shape: tuple[int, ...]
    dtype: np.dtype
    header_bytes: int
    fortran_order: bool = False

    @property
    def data_bytes(self) -> int:
        """Bytes that the array must take, exactly: Python's integers do not overflow."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy_header(file: BinaryIO, available: int, name: str) -> NpyHeader:
    """Read the .npy header at the start of `file`, and check it against the `available` bytes of the whole file.

    `name` is how errors call the file. Raises ValueError when it is not a .npy file, holds pickled objects, or
    promises more data than there is.
    """
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        else:
            # 3.0 is for field names outside Latin-1: structured arrays only, which nobody here can use
            raise ValueError(f"its format version {version[0]}.{version[1]} is not one for plain arrays")
    except _BAD_HEADER as error:
        raise ValueError(f"{name}: not a .npy file, or a damaged one ({error})") from None
    if dtype.hasobject:
        raise ValueError(f"{name}: holds Python objects (dtype object), which gpukm never loads; save plain numbers")
    header = NpyHeader(tuple(int(length) for length in shape), dtype, file.tell(), fortran)
    if any(length < 0 for length in header.shape):
        raise ValueError(f"{name}: its header gives the impossible shape {header.shape}")
    if header.header_bytes + header.data_bytes > available:
        raise ValueError(
            f"{name}: its header promises {header.data_bytes} bytes (shape {header.shape}, {dtype}), but "
            f"{max(0, available - header.header_bytes)} are there; the file is cut short or damaged"
        )
    return header


def open_zip(path: PathLike) -> zipfile.ZipFile:
    """Open an .npz file; raises ValueError, naming it, when it is no readable archive or lies about its sizes."""
    size = os.path.getsize(path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise ValueError(f"{path}: not an .npz file, or cut short ({error})") from None
    try:
        names = [entry.filename for entry in archive.infolist()]
        if len(set(names)) != len(names):
            raise ValueError(f"{path}: two of its entries have the same name; the file is damaged")
        for entry in archive.infolist():
            if entry.flag_bits & 1:
                raise ValueError(f"{path}: entry {entry.filename!r} is encrypted; save the file without a password")
            if entry.compress_size > size or entry.file_size > _BEST_COMPRESSION * entry.compress_size + 64:
                claim = f"entry {entry.filename!r} claims {entry.file_size} bytes"
                raise ValueError(f"{path}: {claim}, more than the file can hold; it is damaged")
    except BaseException:
        archive.close()
        raise
    return archive


def read_entry(archive: zipfile.ZipFile, entry: str, name: str) -> np.ndarray:
    """Read the array in `entry` of an opened .npz file, its header first: no more is allocated than is there."""
    try:
        with archive.open(entry) as file:
            header = read_npy_header(file, archive.getinfo(entry).file_size, name)  # type: ignore[arg-type]
        with archive.open(entry) as file:
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
            if file.read(1):
                raise ValueError(f"{name}: there is data behind the array of shape {header.shape}; the file is damaged")
    except DAMAGED as error:
        raise ValueError(f"{name}: cannot be read ({error}); the file is damaged") from None
    return array
