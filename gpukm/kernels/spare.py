"""Memory that one fit leaves to the next.

The system clears each page that it gives to a process. For the sorted copy of a million pixels that takes an eighth of
a whole fit, again in each fit where the heap happens to lie so that malloc gives the memory back in between.
"""

import weakref
from math import prod

import numpy as np
from numpy.typing import NDArray

MOST = 32 << 20  # bytes that are kept, of one array; malloc keeps as much where it can
_kept: list[memoryview] = []


def _keep(memory: memoryview) -> None:
    if memory.nbytes <= MOST:
        _kept[:] = [memory]


def empty(shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    """An array of any values, whose memory is kept for a later one when it and all views of it are gone."""
    size = prod(shape) * dtype.itemsize
    try:
        memory = _kept.pop()
    except IndexError:
        memory = memoryview(b"")
    if memory.nbytes < size:
        memory = np.empty(size, np.uint8).data
    out: NDArray = np.frombuffer(memory, dtype, prod(shape))
    # Views of `out` keep it, not what is below it: NumPy looks for the owner of memory among arrays alone.
    weakref.finalize(out, _keep, memory).atexit = False
    return out.reshape(shape)
