"""An image in few colours, in one call: quantize and apply."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gpukm._files import PathLike
from gpukm.color.dither import LEVEL
from gpukm.color.embedding import Embedding
from gpukm.color.errors import Errors
from gpukm.color.fit import fit
from gpukm.color.histogram import Histogram
from gpukm.color.mapping import check_dither, map_pixels
from gpukm.color.palette import Palette
from gpukm.color.pixels import Alpha, Pixels, open_pixels, single_frame
from gpukm.color.targets import smallest


@dataclass(frozen=True, eq=False)
class Quantized:
    """An image and its palette, made by `quantize` and `apply`.

    Attributes
    ----------
    palette : Palette
    indices : ndarray of uint8 (uint16 beyond 256 colours) of shape (height, width)
        The position in the palette of each pixel's colour.
    counts : ndarray of int64 of shape (k,)
        Pixels of each colour.
    error : Errors
        Of the single pixels: dithering, which is better from afar, raises it.
    unique_colors : int
        Different colours of the image before.
    """

    palette: Palette
    indices: NDArray[Any]
    counts: NDArray[np.int64]
    error: Errors
    unique_colors: int

    def to_array(self) -> NDArray[np.uint8]:
        """The image in its few colours, of shape (height, width, 3), or 4 where the palette has alpha."""
        colors: NDArray[np.uint8] = self.palette.colors[self.indices]
        return colors

    def to_pil(self) -> Any:
        """A PIL image of mode P with the palette and its transparency; ValueError beyond 256 colours."""
        if len(self.palette) > 256:
            raise ValueError(f"the palette has {len(self.palette)} colours; a PIL image of mode P has at most 256")
        try:
            from PIL import Image
        except ImportError:
            from gpukm._extras import missing_extra

            raise missing_extra("Pillow", "image", "to_pil") from None
        image = Image.fromarray(self.indices)
        image.putpalette(self.palette.colors[:, :3].tobytes(), "RGB")
        if not self.palette.is_opaque:
            image.info["transparency"] = self.palette.colors[:, 3].tobytes()
        return image

    def save(self, path: PathLike, force: bool = False) -> None:
        """Write the image with its palette, as PNG (in as few bits as it needs), GIF or WebP, by the name's ending.

        Raises
        ------
        ValueError
            If the name ends otherwise, the palette has more than 256 colours, or the format cannot hold its alpha.
        OSError
            If the file exists and `force` is not set, or cannot be written. Nothing half-written is left.
        ImportError
            If Pillow is not installed.
        """
        if len(self.palette) > 256:
            raise ValueError(f"the palette has {len(self.palette)} colours; an indexed image holds at most 256")
        from gpukm.color.outputs import Frame, write_image

        write_image(path, [Frame(self.indices, self.palette.colors)], force=force)


def quantize(
    image: Any,
    colors: int = 256,
    *,
    space: str = "oklab",
    chroma: float | None = None,
    dither: str = "none",
    dither_level: float = LEVEL,
    keep: Any = (),
    importance: ArrayLike | None = None,
    alpha: str = "keep",
    background: str = "#ffffff",
    init: str = "wu",
    effort: int = 1,
    target_de: float | None = None,
    target_de_p95: float | None = None,
    min_psnr: float | None = None,
    random_state: Any = 0,
    device: str = "auto",
) -> Quantized:
    """Reduce an image to the palette of `colors` colours that fits it best.

    The palette has exactly `colors` different colours, each used by a pixel where there is no dithering and none to
    keep, whenever the image has that many; an image with fewer keeps all of its colours. The same image and settings
    give the same bytes on every engine.

    Parameters
    ----------
    image : str or path, PIL.Image.Image, or array of shape (height, width, 3 or 4), or (height, width) for grey
        Arrays of any library: uint8, uint16, or floats from 0 to 1, which are taken to 16 bits. Of an animation one
        frame is used, with a warning: the first of a file, the one that a PIL image is at.
    colors : int, default=256
        From 1 to 65536; image files hold 256 at most. With a target, the most that are allowed.
    space : {"oklab", "srgb", "din99", "lab", "linear"}, default="oklab"
        Where distances are taken: "srgb" for the least mean squared error; "din99" for the least mean CIEDE2000, which
        the last steps then minimise itself; "oklab" comes near that in less time.
    chroma : float, optional
        Factor for the two colour axes of oklab, lab and din99; 2 for oklab and 1 for the others unless given.
    dither : {"none", "fs", "bayer", "blue"}, default="none"
        Floyd-Steinberg error diffusion, Bayer's pattern, or blue noise, in `space`; for a few colours that are far
        apart, "linear" keeps the tones best.
    dither_level : float, default=0.8
        From 0, none, to 1, the whole tone with more noise.
    keep : "#rrggbb", rows of 8-bit numbers, or a list of such, default=()
        Colours that are in the palette exactly.
    importance : array of shape (height, width), optional
        How much the pixels count in the fit: floats from 0 to 1, or uint8.
    alpha : {"keep", "flatten", "threshold"}, default="keep"
        Keep it in the palette (invisible pixels stay invisible, opaque ones opaque); lay the image on `background`; or
        make each pixel opaque or invisible, whichever is nearer.
    background : str, default="#ffffff"
        For "flatten".
    init : {"wu", "k-means++"}, default="wu"
        The start of the fit.
    effort : int, default=1
        0 is k-means from one start; 1 to 4 search for better palettes at ever more places. How much longer each step
        takes depends on the image and on `colors`: up to 22 of them 1 tries all places, and more changes nothing.
    target_de, target_de_p95, min_psnr : float, optional
        The smallest palette is made whose mean CIEDE2000, its 95th percentile, and peak signal-to-noise ratio are at
        most and at least this, without dithering.
    random_state, device
        As in `gpukm.KMeans`; only k-means++ draws random numbers.

    Returns
    -------
    Quantized
        palette, indices, counts, error, to_array(), to_pil(), save(path).

    Raises
    ------
    QualityError
        If no palette of `colors` colours meets the target.
    ValueError
        If the image cannot be read, is of another kind, or a setting is not as above.
    ImportError
        If a file or a PIL image is given and Pillow is not installed.

    Warns
    -----
    UserWarning
        If the image is an animation, of which one frame is used; ``gpukm colors`` converts all of them.

    Examples
    --------
    >>> import numpy as np
    >>> from gpukm.color import quantize
    >>> stripes = np.repeat(np.array([[10, 20, 200, 210]], dtype=np.uint8), 3, axis=0)
    >>> quantize(stripes, 2, space="srgb").palette.hex
    ['#0f0f0f', '#cdcdcd']
    """
    check_dither(dither, dither_level)
    treat = Alpha(alpha, background)
    options = {"space": space, "chroma": chroma, "keep": keep, "init": init, "effort": effort}
    options |= {"random_state": random_state, "device": device}
    targets = {"target_de": target_de, "target_de_p95": target_de_p95, "min_psnr": min_psnr}
    with open_pixels(image) as opened:
        pixels = single_frame(opened, "colors")
        histogram = Histogram().add(pixels, importance, alpha=alpha, background=background)
        if all(value is None for value in targets.values()):
            palette = fit(histogram, colors, **options)
        else:
            palette = smallest(histogram, colors, **targets, **options)
        known = Errors.of(palette)
        return _mapped(pixels, treat, histogram, palette, space, chroma, dither, dither_level, known)


def apply(
    image: Any,
    palette: Any,
    *,
    space: str = "oklab",
    chroma: float | None = None,
    dither: str = "none",
    dither_level: float = LEVEL,
    alpha: str = "keep",
    background: str = "#ffffff",
) -> Quantized:
    """Map an image to the colours of a palette: each pixel to the nearest one in `space`.

    Parameters
    ----------
    image, space, chroma, dither, dither_level, alpha, background
        As in `quantize`.
    palette : Palette, array of uint8 of shape (k, 3 or 4), or list of "#rrggbb"
        Its order is kept. Of equally near colours the lowest by red, green, blue is taken.

    Returns
    -------
    Quantized
        Its palette is the given one.
    """
    check_dither(dither, dither_level)
    treat = Alpha(alpha, background)
    with open_pixels(image) as opened:
        pixels = single_frame(opened, "apply")
        histogram = Histogram().add(pixels, alpha=alpha, background=background)
        return _mapped(pixels, treat, histogram, as_palette(palette), space, chroma, dither, dither_level)


def as_palette(palette: Any) -> Palette:
    """A Palette, the rows of an array of uint8, or a list of "#rrggbb", as a Palette."""
    if isinstance(palette, Palette):
        return palette
    if isinstance(palette, list | tuple) and palette and all(isinstance(color, str) for color in palette):
        return Palette.from_hex(palette)
    return Palette(palette)


def _mapped(
    pixels: Pixels,
    treat: Alpha,
    histogram: Histogram,
    palette: Palette,
    space: str,
    chroma: float | None,
    dither: str,
    level: float,
    known: Errors | None = None,
) -> Quantized:
    embedding = Embedding(space, chroma, histogram.has_alpha or not palette.is_opaque)
    colors = palette.colors if embedding.alpha else palette.colors[:, :3]
    indices, counts, error = map_pixels(pixels, treat, histogram, colors, embedding, dither, level, known)
    return Quantized(palette, indices, counts, error, histogram.n_colors)
