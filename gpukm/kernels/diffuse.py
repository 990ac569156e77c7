"""diffuse: Floyd-Steinberg error diffusion (1976) over the rows of an image. Reference engine.

Each pixel, with the error it was handed, goes to the nearest entry of the palette, of equally near ones the first; what
is left, times `level`, goes on by 7/16 to the next pixel and by 3/16, 5/16 and 1/16 to the row below. Every other row
runs from right to left. Values with their errors are kept within [low, high], lest errors pile up where no entry is
near.

| argument | role | shape | dtype |
|---|---|---|---|
| index | IN, the colour of each pixel | (rows, width) | int32 |
| points | IN, colours as points, d = 3 or 4 | (u, d) | float32 |
| kinds | IN, 0: a colour has its label, errors pass it by; else it has one of `limits[kind]` entries | (u,) | uint8 |
| limits | IN, how many of the first entries a kind may have | (kinds,) | int32 |
| labels | IN, a colour's entry without diffusion | (u,) | int32 |
| entries | IN, the palette as points | (k, d) | float64 |
| low, high | IN | (d,) | float64 |
| carry | INOUT, errors for this row and the next, and for beyond their ends | (2, width + 2, d) | float64 |
| out | OUT, entries | (rows, width) | int32 |
| scratch | INOUT, what an engine keeps from strip to strip of an image; empty at first | dict | |

Cost: a pixel depends on the one before, and rows that turn around on the whole row above, so it is one thread's work.
The Numba engine compares the few entries that can be nearest in a pixel's cell of the space; the reference compares
all.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def diffuse(
    index: NDArray[np.int32],
    points: NDArray[np.float32],
    kinds: NDArray[np.uint8],
    limits: NDArray[np.int32],
    labels: NDArray[np.int32],
    entries: Floats,
    low: Floats,
    high: Floats,
    level: float,
    first_row: int,
    carry: Floats,
    out: NDArray[np.int32],
    scratch: dict[str, Any],
    engine: str,
) -> None:
    """Diffuse a strip of rows, of which the first is row `first_row` of the image; `carry` goes to the next strip."""
    if engine == "numba":
        from gpukm.kernels.diffuse_numba import diffuse as compiled

        compiled(index, points, kinds, limits, labels, entries, low, high, level, first_row, carry, out, scratch)
        return
    width = index.shape[1]
    for row in range(len(index)):
        step = -1 if (first_row + row) % 2 else 1
        own, below = carry
        for column in range(width)[::step]:
            colour = index[row, column]
            limit = limits[kinds[colour]]
            if limit == 0:
                out[row, column] = labels[colour]
                continue
            value = np.minimum(np.maximum(points[colour] + own[column + 1], low), high)
            difference = value - entries[:limit]
            distance = difference[:, 0] * difference[:, 0]
            for axis in range(1, difference.shape[1]):
                distance = distance + difference[:, axis] * difference[:, axis]
            nearest = int(distance.argmin())
            out[row, column] = nearest
            error = difference[nearest] * level
            own[column + 1 + step] += error * 0.4375
            below[column + 1 - step] += error * 0.1875
            below[column + 1] += error * 0.3125
            below[column + 1 + step] += error * 0.0625
        carry[0] = below
        carry[1] = 0.0
