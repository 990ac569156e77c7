"""An image in few colours: exact weighted k-means on its different colours, and an indexed PNG.

An 8-bit image has at most 2^24 different colours. Clustering these, each weighted by its number of pixels, gives what
clustering all pixels gives, to the bit (a weight is a repetition, see `gpukm.exact`), with far fewer rows.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._files import PathLike
from gpukm._images import read_pixels, write_png

_STRIP_PIXELS = 1 << 22  # pixels packed and counted at a time: 16 MiB of packed colours


@dataclass(frozen=True, eq=False)
class Quantized:
    """An image and its palette, made by `quantize`.

    Attributes
    ----------
    palette : ndarray of uint8 of shape (k, 3)
        Different colours, red, green, blue, the most used first.
    indices : ndarray of uint8 of shape (height, width)
        The position in `palette` of each pixel's colour.
    counts : ndarray of int64 of shape (k,)
        Pixels of each colour, at least 1.
    unique_colors : int
        Different colours of the image before.
    mse : float
        Mean squared error per channel, in squared 8-bit sRGB levels.
    n_iter : int
        Iterations of k-means; 0 if the image has no more colours than were asked for.
    icc_profile : bytes or None
        The colour profile of the image file, kept in what `save` writes.
    """

    palette: NDArray[np.uint8]
    indices: NDArray[np.uint8]
    counts: NDArray[np.int64]
    unique_colors: int
    mse: float
    n_iter: int
    icc_profile: bytes | None = None

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in decibels; infinite where nothing was lost."""
        return math.inf if self.mse == 0 else 10 * math.log10(255**2 / self.mse)

    @property
    def proportions(self) -> NDArray[np.float64]:
        """The share of each colour in the image, from 0 to 1, of shape (k,)."""
        return self.counts / self.counts.sum()

    @property
    def hex(self) -> list[str]:
        """The palette as "#rrggbb"."""
        return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in self.palette.tolist()]

    def to_array(self) -> NDArray[np.uint8]:
        """The image in its few colours, of shape (height, width, 3)."""
        colors: NDArray[np.uint8] = self.palette[self.indices]
        return colors

    def save(self, path: PathLike, force: bool = False) -> None:
        """Write a PNG file with a palette, 1, 2, 4 or 8 bits a pixel, as few as the palette needs.

        Parameters
        ----------
        path : str or path
            Its name must end in .png.
        force : bool, default=False
            Replace the file if it exists.

        Raises
        ------
        ValueError
            If the name does not end in .png.
        OSError
            If the file exists and `force` is not set, or cannot be written. Nothing half-written is left.
        ImportError
            If Pillow is not installed.
        """
        write_png(path, self.indices, self.palette, self.icc_profile, force=force)


def quantize(
    image: Any,
    n_colors: int = 16,
    *,
    random_state: Any = 0,
    n_init: int | str = "auto",
    max_iter: int = 300,
    tol: float = 1e-4,
    background: str | None = None,
    device: str = "auto",
) -> Quantized:
    """Reduce an image to `n_colors` colours with the least squared error that k-means finds.

    The palette has exactly `n_colors` different colours, each used by a pixel, whenever the image has that many; an
    image with fewer keeps all of its colours. No dithering.

    Parameters
    ----------
    image : str or path, PIL.Image.Image, or ndarray of uint8 of shape (height, width, 3) or (height, width)
        A file may be PNG, JPEG, WebP, GIF (of one frame), BMP, TIFF or PPM, 8 bits a channel; its EXIF rotation is
        applied.
    n_colors : int, default=16
        From 1 to 256.
    random_state : int, Generator or None, default=0
        For the k-means++ starts; the same image and the same seed give the same bytes.
    n_init, max_iter, tol, device
        As in `gpukm.KMeans`.
    background : str, optional
        A colour "#rrggbb" on which images with transparent pixels are laid. Without it, they raise ValueError: a
        palette with transparency is not made yet. An alpha channel that is opaque everywhere is dropped.

    Returns
    -------
    Quantized
        palette, indices, counts, mse, psnr, save(path).

    Raises
    ------
    ValueError
        If the image cannot be read, is of another kind, or has transparent pixels and no `background` is given.
    ImportError
        If a file or a PIL image is given and Pillow is not installed.

    Notes
    -----
    Centroids are rounded to 8 bits. Where two round to the same colour, or one ends up with no pixel nearest to it, the
    colour of the image with the largest error (squared distance times pixels) takes the free place in the palette; of
    equal ones that with the lowest (red, green, blue). A pixel as near to two palette colours gets the one with the
    lower (red, green, blue).

    Examples
    --------
    >>> import numpy as np
    >>> stripes = np.repeat(np.array([[10, 20, 200, 210]], dtype=np.uint8), 3, axis=0)
    >>> quantize(stripes, 2).hex
    ['#0f0f0f', '#cdcdcd']
    """
    if isinstance(n_colors, bool) or not isinstance(n_colors, int | np.integer) or not 1 <= n_colors <= 256:
        raise ValueError(f"n_colors is {n_colors!r}; it must be an integer from 1 to 256, the most a palette holds")
    pixels = read_pixels(image, background)
    packed, counts = _count_colors(pixels.values)
    colors = _unpack(packed)
    n_iter = 0
    palette = colors
    if len(colors) > n_colors:
        from gpukm.estimators import KMeans

        model = KMeans(n_colors, n_init=n_init, max_iter=max_iter, tol=tol, random_state=random_state, device=device)
        model.fit(colors, sample_weight=counts.astype(np.float64))
        n_iter = int(model.n_iter_)
        palette = np.rint(model.cluster_centers_).astype(np.uint8)
    palette, labels, squared = _settle_palette(palette, min(int(n_colors), len(colors)), colors, counts)

    used = np.bincount(labels, weights=counts, minlength=len(palette)).astype(np.int64)  # exact: pixels < 2^53
    order = np.argsort(-used, kind="stable")
    rank = np.empty(len(order), dtype=np.uint8)
    rank[order] = np.arange(len(order))
    total = sum((squared * counts).tolist())  # Python's integers: exact for any number of pixels
    mse = total / (3 * int(counts.sum()))
    indices = _map_pixels(pixels.values, packed, rank[labels])
    return Quantized(palette[order], indices, used[order], len(colors), mse, n_iter, pixels.icc_profile)


def _pack(pixels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    packed = pixels[..., 0].astype(np.uint32)
    for channel in (1, 2):
        packed <<= 8
        packed |= pixels[..., channel]
    return packed


def _unpack(packed: NDArray[np.uint32]) -> NDArray[np.uint8]:
    return np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1).astype(np.uint8)


def _strips(pixels: NDArray[np.uint8]) -> list[slice]:
    height, width = pixels.shape[:2]
    rows = max(1, _STRIP_PIXELS // width)
    return [slice(start, start + rows) for start in range(0, height, rows)]


def _count_colors(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The different colours, packed and ascending, and how often each occurs."""
    colors = np.empty(0, dtype=np.uint32)
    counts = np.empty(0, dtype=np.int64)
    for strip in _strips(pixels):
        more, times = np.unique(_pack(pixels[strip]), return_counts=True)
        merged: NDArray[np.uint32] = np.concatenate([colors, more])
        order = np.argsort(merged, kind="stable")
        merged = merged[order]
        first = np.flatnonzero(np.concatenate([[True], merged[1:] != merged[:-1]]))
        colors = merged[first]
        counts = np.add.reduceat(np.concatenate([counts, times])[order], first)
    return colors, counts


def _settle_palette(
    palette: NDArray[np.uint8], n_colors: int, colors: NDArray[np.uint8], counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.int64]]:
    """`n_colors` different entries, each nearest to a colour of the image; the colours' labels and squared distances.

    It ends: an entry is only ever replaced by a colour of the image, and that colour keeps such an entry in use.
    """
    while True:
        palette = np.unique(palette, axis=0)  # ascending: the lowest label among equals is then the lowest colour
        labels = _nearest(colors, palette)
        squared = _squared_distances(colors, palette[labels])
        if len(palette) == n_colors:
            used = np.bincount(labels, minlength=n_colors) > 0
            if used.all():
                return palette, labels, squared
            palette = palette[used]
            continue
        for _ in range(n_colors - len(palette)):
            worst = colors[np.argmax(squared * counts)]  # not in the palette yet: its distance is not 0
            palette = np.concatenate([palette, worst[None]])
            squared = np.minimum(squared, _squared_distances(colors, worst))


def _nearest(colors: NDArray[np.uint8], palette: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The label of the nearest palette entry, the lowest among equals: what `gpukm.KMeans.predict` returns."""
    from gpukm.array_source import ArraySource

    labels: NDArray[np.int32] = ArraySource(colors, dtype=np.float32).assign(palette.astype(np.float32))
    return labels


def _squared_distances(colors: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.int64]:
    difference = colors.astype(np.int64) - others
    squared: NDArray[np.int64] = (difference * difference).sum(axis=1)
    return squared


def _map_pixels(pixels: NDArray[np.uint8], packed: NDArray[np.uint32], index: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The palette index of each pixel, from a table over all 2^24 colours: one load a pixel."""
    table = np.zeros(1 << 24, dtype=np.uint8)
    table[packed] = index
    indices = np.empty(pixels.shape[:2], dtype=np.uint8)
    for strip in _strips(pixels):
        indices[strip] = table[_pack(pixels[strip])]
    return indices
