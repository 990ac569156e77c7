"""Freed memory, handed back to the system."""

import ctypes
import sys
from functools import cache
from typing import Any


def trim() -> None:
    """Give back what the C library keeps of freed memory, before a phase of other needs; where it can be told to.

    glibc keeps up to 64 MB at the end of its heap once blocks of 32 MB were freed, and all that lies between blocks in
    use: 100 MB after compiled code was loaded and a palette fitted, where 100 MB are then needed for an image.
    """
    if (release := _malloc_trim()) is not None:
        release(0)


@cache
def _malloc_trim() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):  # musl has none
        return None
