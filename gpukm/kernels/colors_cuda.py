"""colors, CUDA: an exact histogram of 24-bit colours. The kernel is colors.cu, the reference `gpukm.color.counts`."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels._nvrtc import Configuration, Kernel
from gpukm.kernels.accumulate_cuda import blocks

Array = Any  # on the device
COLORS = 1 << 24
MOST_PIXELS = (1 << 32) - 1  # that the table's uint32 counts hold in any case

CONFIGURATIONS = [Configuration(Kernel("colors", "count_colors"), 75, 48, 0)]


def count_colors(gpu: Any, pixels: Array) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.int64]]]:
    """The colours of pixels (n, 3) uint8 on the device, C-contiguous, part by part.

    Yields
    ------
    keys : (u,) 65536 red + 256 green + blue of the colours that occur, ascending
    counts : (u,) how often
    """
    for start in range(0, len(pixels), MOST_PIXELS):
        part = pixels[start : start + MOST_PIXELS]
        table = gpu.zeros(COLORS, np.uint32)
        gpu.launch(
            Kernel("colors", "count_colors"),
            blocks(gpu.facts, -(-len(part) // 256)),
            (256,),
            (part, np.int64(len(part)), table),
        )
        keys = gpu.xp.flatnonzero(table)
        yield gpu.to_host(keys).astype(np.uint32), gpu.to_host(table[keys]).astype(np.int64)
