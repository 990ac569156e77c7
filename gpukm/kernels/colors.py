"""colors: how often each 24-bit colour occurs among pixels on a CUDA device. Not of Lloyd: for `gpukm.color`.

image (height, width, 3) uint8 on a device    ->    keys (u,) uint32 ascending, counts (u,) int64, part by part
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels.engine import gpu


def count_colors_on_device(image: Any, device: int) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.int64]]]:
    """Count where the pixels are; see `gpukm.kernels.colors_cuda.count_colors`.

    Parameters
    ----------
    image : of any library and strides, on the CUDA device with this number
    """
    from gpukm.kernels.colors_cuda import count_colors

    chosen = gpu(device)
    yield from count_colors(chosen, chosen.to_device(chosen.adopt(image)).reshape(-1, 3))
