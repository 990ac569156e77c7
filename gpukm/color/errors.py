"""How far an image in few colours is from the original: squared error, signal to noise, CIEDE2000."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._threads import available_threads, run_blocks
from gpukm.color.keys import widen
from gpukm.color.palette import Palette
from gpukm.color.spaces import ciede2000, lab_of, levels

_AT_ONCE = 1 << 16  # colours whose CIEDE2000 a thread computes at once: some 30 temporaries of 512 KiB


@dataclass(frozen=True)
class Errors:
    """How far an image in few colours is from the original, over all pixels.

    With alpha each is the mean of the errors over black and over white.

    Attributes
    ----------
    mse : float
        Mean squared error per channel, in squared 8-bit sRGB levels.
    psnr : float
        Peak signal-to-noise ratio in decibels; infinite where nothing was lost.
    de_mean, de_p95, de_max : float
        CIEDE2000: its mean, the least value that 95 % of the pixels do not exceed, and the greatest.
    """

    mse: float
    psnr: float
    de_mean: float
    de_p95: float
    de_max: float

    @classmethod
    def of(cls, palette: Palette) -> "Errors":
        """Those that a fit has written into its palette."""
        return cls(**{"psnr": math.inf, **palette.errors})

    def as_dict(self) -> dict[str, float]:
        """The figures by name, as `Palette.errors` has them; infinite ones, which JSON lacks, are left out."""
        return {name: value for name, value in asdict(self).items() if math.isfinite(value)}


def measure(original: NDArray[Any], replaced: NDArray[np.uint8], counts: NDArray[np.int64]) -> Errors:
    """The errors of colours (n, 3 or 4) for which others (n, 3 or 4) stand, each `counts` (n,) times."""
    n_pixels = int(counts.sum())
    alpha = original.shape[1] == 4 or replaced.shape[1] == 4
    difference = np.empty(len(original))

    def squared_error(block: int) -> float:
        """That of a block of colours, whose CIEDE2000 is written down."""
        part = slice(block * _AT_ONCE, (block + 1) * _AT_ONCE)
        pairs = _laid(original[part], replaced[part], alpha)
        difference[part] = sum(ciede2000(lab_of(a), lab_of(b)) for a, b in pairs) / len(pairs)
        if original.dtype == np.uint8 and not alpha:
            gap = original[part].astype(np.int64) - replaced[part]
            return int(((gap * gap).sum(axis=1) * counts[part]).sum())  # exact
        squares = sum(((a - b) ** 2).sum(axis=1) for a, b in pairs) / len(pairs)
        return float((squares * counts[part]).sum())

    blocks = -(-len(original) // _AT_ONCE)
    mse = sum(run_blocks(squared_error, blocks, available_threads())) / (3 * n_pixels)
    order = np.argsort(difference, kind="stable")
    reached = np.cumsum(counts[order])
    p95 = difference[order[np.searchsorted(reached, math.ceil(0.95 * n_pixels))]]
    mean = float((difference * counts).sum() / n_pixels)
    return Errors(mse, psnr(mse), mean, float(p95), float(difference.max()))


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio, in decibels, of a mean squared error in squared 8-bit levels."""
    return math.inf if mse == 0 else 10 * math.log10(255**2 / mse)


def _laid(original: NDArray[Any], replaced: NDArray[Any], alpha: bool) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Both as they are; with alpha, as sRGB levels over black and over white."""
    if not alpha:
        return [(levels(original), levels(replaced))]
    pairs = []
    for behind in (0.0, 255.0):
        over = []
        for colors in (original, replaced):
            values = levels(widen(colors, 8 * colors.dtype.itemsize, alpha=True))
            opacity = values[:, 3:] / 255
            over.append(values[:, :3] * opacity + behind * (1 - opacity))
        pairs.append((over[0], over[1]))
    return pairs
