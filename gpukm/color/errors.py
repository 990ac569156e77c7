"""How far an image in few colours is from the original: squared error, signal to noise, CIEDE2000."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.color.keys import widen
from gpukm.color.palette import Palette
from gpukm.color.spaces import ciede2000, in_parts, lab_of, levels

_UNITS = 2.0**20  # of CIEDE2000, in a sum of integers; 2^36 pixels of one colour are within 64 bits
_STEPS = 2.0**12
_MOST = 256  # more than any CIEDE2000 of two sRGB colours


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
        CIEDE2000: its mean, the least value that 95 % of the pixels do not exceed (rounded to 2^-12), and the greatest.
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


class Tally:
    """Errors that add up over the parts of an image, each a set of colours for which entries of a palette stand.

    Integers are summed, whatever the parts and their order: squared levels where there is no alpha, and CIEDE2000 in
    units of 2^-20; its 95th percentile is counted in steps of 2^-12. Memory depends neither on pixels nor on colours.

    Parameters
    ----------
    entries : (k, 3 or 4) uint8
    alpha : whether the image or the palette has alpha
    """

    def __init__(self, entries: NDArray[np.uint8], alpha: bool) -> None:
        self._alpha = alpha
        self._entries = [(seen, lab_of(seen)) for seen in _over(entries, alpha)]
        self._exact = entries.astype(np.int64)
        self._pixels = self._difference = 0
        self._squares: float = 0
        self._steps = np.zeros(int(_MOST * _STEPS), np.int64)  # pixels by their difference
        self._greatest = 0.0

    def add(self, colors: NDArray[Any], labels: NDArray[Any], counts: NDArray[np.int64]) -> None:
        """Colours (n, 3 or 4), each replaced by the entry `labels` (n,) in `counts` (n,) pixels."""

        def of(part: slice) -> tuple[slice, float, int, NDArray[np.int32], float]:
            """(part, squares, sum of differences in their unit, (n,) steps, the greatest difference)."""
            original, label, count = colors[part], labels[part], counts[part]
            grounds = list(zip(_over(original, self._alpha), self._entries))
            found = [ciede2000(lab_of(seen), lab[label]) for seen, (_, lab) in grounds]
            difference = (found[0] + found[-1]) / 2  # over black and over white, or the only one
            if original.dtype == np.uint8 and not self._alpha:
                gap = original.astype(np.int64) - self._exact[label]
                squares: float = int(((gap * gap).sum(axis=1) * count).sum())
            else:
                error = sum(((seen - rgb[label]) ** 2).sum(axis=1) for seen, (rgb, _) in grounds) / len(grounds)
                squares = float((error * count).sum())
            units = np.rint(difference * _UNITS).astype(np.int64)
            steps = np.rint(difference * _STEPS).astype(np.int32)
            return part, squares, int((units * count).sum()), steps, float(difference.max())

        for part, squares, units, steps, greatest in in_parts(of, len(colors)):
            self._squares += squares
            self._difference += units
            self._greatest = max(self._greatest, greatest)
            np.add.at(self._steps, steps, counts[part])
        self._pixels += int(counts.sum())

    def errors(self) -> Errors:
        """Those of all pixels that were added."""
        mse = self._squares / (3 * self._pixels)
        reached = np.cumsum(self._steps)
        p95 = int(np.searchsorted(reached, math.ceil(0.95 * self._pixels))) / _STEPS
        mean = self._difference / self._pixels / _UNITS
        return Errors(mse, psnr(mse), mean, min(p95, self._greatest), self._greatest)


def measure(
    colors: NDArray[Any], entries: NDArray[np.uint8], labels: NDArray[Any], counts: NDArray[np.int64]
) -> Errors:
    """The errors of colours (n, 3 or 4), each replaced by the entry `labels` (n,) in `counts` (n,) pixels."""
    tally = Tally(entries, colors.shape[1] == 4 or entries.shape[1] == 4)
    tally.add(colors, labels, counts)
    return tally.errors()


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio, in decibels, of a mean squared error in squared 8-bit levels."""
    return math.inf if mse == 0 else 10 * math.log10(255**2 / mse)


def _over(colors: NDArray[Any], alpha: bool) -> list[NDArray[np.float64]]:
    """sRGB levels of colours as they are seen; with alpha, over black and over white."""
    if not alpha:
        return [levels(colors)]
    values = levels(widen(colors, 8 * colors.dtype.itemsize, alpha=True))
    opacity = values[:, 3:] / 255
    return [values[:, :3] * opacity + behind * (1 - opacity) for behind in (0.0, 255.0)]
