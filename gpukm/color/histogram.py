"""An exact histogram of colours: counts that add up over strips, images, processes and machines.

8-bit opaque pixels are counted in a table of all 2^24 colours, others as sorted keys. What is counted does not depend
on strips or their order.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from gpukm import kernels
from gpukm._files import PathLike
from gpukm.color.counts import MAX_COLORS, TABLE_FROM, Counts
from gpukm.color.keys import unpack
from gpukm.color.pixels import Alpha, check_importance, frames_of, n_frames, open_pixels, rgb_device

if TYPE_CHECKING:
    from gpukm.color.errors import Errors
    from gpukm.color.palette import Palette

BALANCED = 1 << 40  # the total weight of a balanced histogram


class Histogram(Counts):
    """How often each colour occurs.

    Pixels of 8 or 16 bits, with or without alpha, go into one histogram; it is as deep as its deepest pixels. There are
    at most 2^24 opaque 8-bit colours; of others `MAX_COLORS` (2^24) are counted, then `add` raises ValueError.

    Attributes
    ----------
    colors : ndarray of uint8 or uint16 of shape (u, 3) or (u, 4)
        The different colours, in ascending order of red, green, blue, alpha. Invisible pixels are all (0, 0, 0, 0).
    counts : ndarray of int64 of shape (u,)
        Pixels of each colour.
    weights : ndarray of int64 of shape (u,)
        What a fit weighs them by: the counts, or 255 times the importance of the pixels, summed, where that was given.
    n_pixels : int
        Pixels added.
    n_colors : int
        u.
    depth : int
        8 or 16 bits a channel.
    has_alpha : bool
        Whether some pixel is not opaque.

    Examples
    --------
    >>> import numpy as np
    >>> from gpukm.color import Histogram
    >>> stripes = np.repeat(np.array([[10, 10, 200, 200, 200]], dtype=np.uint8), 2, axis=0)
    >>> h = Histogram().add(stripes) + Histogram().add(stripes)
    >>> h.colors.tolist(), h.counts.tolist()
    ([[10, 10, 10], [200, 200, 200]], [8, 12])
    """

    # counting

    def add(self, image: Any, importance: Any = None, *, alpha: str = "keep", background: str = "#ffffff") -> Self:
        """Count the pixels of an image, of a strip of one, or of all frames of an animation; returns the histogram.

        Parameters
        ----------
        image : str or path, PIL.Image.Image, or array
            As in `gpukm.color.quantize`, but all frames of an animated file or PIL image are counted (of a PIL image
            that is at the frame you want, pass ``image.copy()``). Opaque 8-bit pixels on a CUDA device are counted
            there, where CuPy is installed and no importance is given; others are copied to the host.
        importance : array of shape (height, width), optional
            How much each pixel, of each frame, weighs in a fit: floats from 0 to 1 (rounded to 1/255), or uint8 from 0
            to 255.
        alpha, background
            As in `gpukm.color.quantize`.

        Raises
        ------
        ValueError
            If the image or the importance is not of these kinds, or there are too many colours; nothing is added then.
        """
        treat = Alpha(alpha, background)
        part = Histogram()  # so that an image that turns out to be bad leaves this one as it was
        device = rgb_device(image) if importance is None else None
        if device is not None:
            for keys, counts in kernels.count_colors_on_device(image, device):
                part._add_sorted(keys, counts, None, (8, False))
            self.merge(part)
            return self
        with open_pixels(image) as pixels:
            weights = None if importance is None else check_importance(importance, (pixels.height, pixels.width))
            many = n_frames(pixels) * pixels.height * pixels.width >= TABLE_FROM
            for frame in frames_of(pixels):
                start = 0
                for strip in frame.strips():
                    colors = treat.apply(strip)
                    flat = np.ascontiguousarray(colors).reshape(-1, colors.shape[-1])
                    own = None if weights is None else weights[start : start + len(strip)].ravel()
                    part.count(flat, own, many)
                    start += len(strip)
        self.merge(part)
        return self

    # what was counted

    @property
    def colors(self) -> NDArray[Any]:
        """(u, 3 or 4) the different colours, ascending."""
        self.compact()
        return unpack(self._keys, 4 if self.has_alpha else 3)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(u,) pixels of each colour."""
        self.compact()
        return self._counts

    @property
    def weights(self) -> NDArray[np.int64]:
        """(u,) what a fit weighs each colour by."""
        self.compact()
        return self._counts if self._weights is None else self._weights

    @property
    def keys(self) -> NDArray[Any]:
        """(u,) the colours as integers; see `gpukm.color.keys.pack`."""
        self.compact()
        return self._keys

    @property
    def n_pixels(self) -> int:
        """Pixels added."""
        return self._pending + int(self._counts.sum())

    @property
    def n_colors(self) -> int:
        """Different colours."""
        return len(self.keys)

    @property
    def depth(self) -> int:
        """8 or 16 bits a channel."""
        return self._form[0]

    @property
    def has_alpha(self) -> bool:
        """Whether some pixel is not opaque."""
        return self._form[1]

    def __repr__(self) -> str:
        alpha = ", with alpha" if self.has_alpha else ""
        return f"<Histogram: {self.n_pixels} pixels, {self.n_colors} colours of {self.depth} bits{alpha}>"

    # adding up

    def __add__(self, other: Any) -> "Histogram":
        if isinstance(other, int) and other == 0:  # so that sum() works
            return self.copy()
        if not isinstance(other, Histogram):
            return NotImplemented
        total = self.copy()
        total.merge(other.copy())
        return total

    __radd__ = __add__

    def copy(self) -> "Histogram":
        """A histogram of the same pixels."""
        new = Histogram()
        new.__setstate__(self.__getstate__())
        return new

    def balanced(self) -> "Histogram":
        """The same colours with a total weight of 2^40: balanced histograms of images count alike in a sum."""
        weights = self.weights
        total = int(weights.sum())
        if total == 0:
            raise ValueError("the histogram has no weight to balance: no pixels, or importance 0 everywhere")
        new = self.copy()
        scaled = np.rint(weights * (BALANCED / total)).astype(np.int64)
        new._weights = np.where(weights > 0, np.maximum(scaled, 1), 0)
        return new

    def __getstate__(self) -> dict[str, Any]:
        self.compact()
        return vars(self).copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    # files

    def save(self, path: PathLike, *, force: bool = False) -> None:
        """Write the histogram to an .npz file, without pickle.

        Raises
        ------
        OSError
            If the file exists and `force` is not set, or cannot be written. Nothing half-written is left.
        """
        from gpukm.color.histogram_files import write

        write(self.__getstate__(), path, force=force)

    @classmethod
    def load(cls, path: PathLike) -> "Histogram":
        """Read a histogram that `save` wrote.

        Raises
        ------
        ValueError
            If the file is of another kind or damaged.
        OSError
            If it cannot be read.
        """
        from gpukm.color.histogram_files import read

        histogram = cls()
        histogram.__setstate__(read(path, MAX_COLORS))
        return histogram

    # what follows from the counts

    def fit(self, colors: int = 256, **options: Any) -> "Palette":
        """The palette of `colors` colours that fits best; see `gpukm.color.fit.fit` for the options."""
        from gpukm.color.fit import fit

        return fit(self, colors, **options)

    def smallest(self, max_colors: int = 256, **options: Any) -> "Palette":
        """The smallest palette that meets a target; see `gpukm.color.targets.smallest` for the options."""
        from gpukm.color.targets import smallest

        return smallest(self, max_colors, **options)

    def curve(
        self, sizes: Iterable[int] = (2, 4, 8, 16, 32, 64, 128, 256), **options: Any
    ) -> "list[tuple[int, Errors]]":
        """[(size, errors of the palette of that size), …]; see `gpukm.color.targets.curve`."""
        from gpukm.color.targets import curve

        return curve(self, sizes, **options)

    def error(self, palette: Any, *, space: str = "oklab", chroma: float | None = None) -> "Errors":
        """The errors of mapping each colour to the nearest of a palette, without dithering; see `gpukm.color.apply`."""
        from gpukm.color.mapping import errors_of
        from gpukm.color.quantizer import as_palette

        return errors_of(self, as_palette(palette), space, chroma)
