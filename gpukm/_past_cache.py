"""Files that memory cannot hold, read past the system's cache.

What the cache keeps of such a file is gone before the next pass asks for it, and to keep it there takes the processors
more time than to read it: time that the computation beside it lacks.
"""

import mmap
import os
from pathlib import Path
from typing import BinaryIO

PAGE = 4096  # bytes, of which places, lengths and memory are multiples then; devices ask for 512 or for this
LEAST = 1 << 20  # bytes to read at once; fewer are found in the cache, or bring their neighbours there


def past_cache(path: str | os.PathLike, size: int) -> BinaryIO | None:
    """The file of `size` bytes, open for reading whole pages into whole pages, unbuffered and not cached.

    None where memory can hold it, or where its file system (or the operating system: all but Linux) cannot do that.
    """
    if not hasattr(os, "O_DIRECT") or size <= _available():
        return None
    try:
        file = open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_DIRECT))
    except OSError:
        return None
    try:
        file.readinto(mmap.mmap(-1, PAGE))  # not all that open it so read it so
        file.seek(0)
    except OSError:
        file.close()
        return None
    return file


def _available() -> int:
    """Bytes of memory that programs or the cache could have; without end where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return 1 << 63
