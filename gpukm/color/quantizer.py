"""An image in few colours, in one call: quantize, apply, and the transformer ColorQuantizer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Errors:
    """How far an image in few colours is from the original, over all pixels.

    Attributes
    ----------
    mse : mean squared error per channel, in squared 8-bit sRGB levels; with alpha, the mean over black and white
    psnr : peak signal-to-noise ratio in decibels; infinite where nothing was lost
    de_mean, de_p95, de_max : CIEDE2000: mean, 95th percentile (the least value that 95 % of the pixels do not exceed), greatest
    """

    mse: float
    psnr: float
    de_mean: float
    de_p95: float
    de_max: float


@dataclass(frozen=True, eq=False)
class Quantized:
    """An image and its palette, made by `quantize` and `apply`.

    Attributes
    ----------
    palette : Palette
    indices : ndarray of uint8 (uint16 beyond 256 colours) of shape (height, width)
    counts : ndarray of int64 of shape (k,), pixels of each colour
    error : Errors, with dither those of the single pixels
    """

    palette: Any
    indices: NDArray[Any]
    counts: NDArray[np.int64]
    error: Errors

    def to_array(self) -> NDArray[np.uint8]:
        """(height, width, 3 or 4) uint8: the image in its few colours."""
        raise NotImplementedError

    def to_pil(self) -> Any:
        """A PIL image of mode P, with the palette (and its transparency)."""
        raise NotImplementedError

    def save(self, path: Any, force: bool = False) -> None:
        """Write an indexed PNG (outputs.py)."""
        raise NotImplementedError


def quantize(
    image: Any,  # path, PIL image, array HWC or HW of uint8, uint16, or float in 0..1, any array library
    colors: int = 256,  # 1 .. 65536
    *,
    space: str = "oklab",  # srgb, oklab, lab, din99, linear
    chroma: float | None = None,  # weight of the colour axes; None: 2 for oklab, 1 for the others
    dither: str = "none",  # none, fs, bayer, blue
    dither_level: float = 1.0,  # 0 .. 1
    keep: Any = (),  # colours kept exactly: "#rrggbb", "#rrggbbaa", or rows of numbers
    importance: Any = None,  # (H, W) weights of the pixels: integers, or floats in 0..1
    alpha: str = "keep",  # keep, flatten (on `background`), threshold (at 50 %: transparent or opaque)
    background: str = "#ffffff",
    effort: int = 2,  # refinement: 0 k-means from one start; each step more searches about four times as long
    init: str = "wu",  # wu, k-means++
    target_de: float | None = None,  # smallest palette, up to `colors`, whose mean CIEDE2000 is at most this
    target_de_p95: float | None = None,
    min_psnr: float | None = None,
    random_state: Any = 0,
    device: str = "auto",
) -> Quantized:
    """Reduce an image to a palette of `colors` colours."""
    raise NotImplementedError


def apply(image: Any, palette: Any, *, space: str = "oklab", chroma: float | None = None, dither: str = "none",
          dither_level: float = 1.0, alpha: str = "keep", background: str = "#ffffff") -> Quantized:  # fmt: skip
    """Map an image to the colours of a palette."""
    raise NotImplementedError


class Histogram:
    """Exact counts of an image's colours (histogram.py).

    h = Histogram(); h.add(strip, importance=None) -> h; h1 + h2; h.balanced() (total weight 2**40, to weigh images alike);
    h.colors (u, 3|4) uint8|uint16; h.counts (u,) int64; h.weights (u,) int64; h.n_pixels; h.n_colors; h.depth 8|16; h.has_alpha;
    h.save(path, force=False), Histogram.load(path) (.npz); h.fit(colors=256, space=..., keep=..., effort=..., init=..., random_state=...)
    -> Palette; h.error(palette, space=...) -> Errors; h.smallest(target_de=, target_de_p95=, min_psnr=, max_colors=256, ...)
    -> Palette or raises QualityError (what was reached); h.curve(ks, ...) -> list[(k, Errors)].
    """


class QualityError(ValueError):
    """No palette of the allowed size meets the target."""
