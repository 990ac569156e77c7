"""diffuse: Floyd-Steinberg error diffusion (1976) over the rows of an image. Reference engine.

Each pixel, with the error it was handed, goes to the nearest entry of the palette, of equally near ones the first; what
is left, times `level`, goes on by 7/16 to the next pixel and by 3/16, 5/16 and 1/16 to the row below. Every other row
runs from right to left. Values with their errors are kept within [low, high], lest errors pile up where no entry is
near.

| argument | role | shape | dtype |
|---|---|---|---|
| index | IN, the colour of each pixel | (rows, width) | int32 |
| points | IN, colours as points | (u, d) | float64 |
| limits | IN, of the first how many entries a colour may have; 0: it has its label, errors pass it by | (u,) | int32 |
| labels | IN, its entry without diffusion | (u,) | int32 |
| entries | IN, the palette as points | (k, d) | float64 |
| low, high | IN | (d,) | float64 |
| carry | INOUT, errors for this row and the next, two zeros at each end | (2, width + 2, d) | float64 |
| out | OUT, entries | (rows, width) | int32 |

Cost: a pixel depends on the one before, so it is one thread's work. The Numba engine visits a few entries a pixel,
since those farther than twice the distance to a first guess from that guess cannot be nearer; the reference compares
all.
"""

import numpy as np
from numpy.typing import NDArray

MOST_ORDERED = 2048  # entries whose distances to each other are kept in order: 48 MB

Floats = NDArray[np.float64]


def diffuse(
    index: NDArray[np.int32],
    points: Floats,
    limits: NDArray[np.int32],
    labels: NDArray[np.int32],
    entries: Floats,
    low: Floats,
    high: Floats,
    level: float,
    first_row: int,
    carry: Floats,
    out: NDArray[np.int32],
    engine: str,
) -> None:
    """Diffuse a strip of rows, of which the first is row `first_row` of the image; `carry` goes to the next strip."""
    if engine == "numba":
        from gpukm.kernels.diffuse_numba import diffuse as compiled

        compiled(index, points, limits, labels, entries, low, high, level, first_row, carry, out)
        return
    width = index.shape[1]
    for row in range(len(index)):
        step = -1 if (first_row + row) % 2 else 1
        own, below = carry
        for column in range(width)[::step]:
            colour = index[row, column]
            if limits[colour] == 0:
                out[row, column] = labels[colour]
                continue
            value = np.minimum(np.maximum(points[colour] + own[column + 1], low), high)
            difference = value - entries[: limits[colour]]
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
