"""From pixels to indices: by a table of all 8-bit colours, or by searching the keys of others."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.color.dither import DITHERS, LEVEL, Diffusion, Ordered
from gpukm.color.embedding import Embedding
from gpukm.color.errors import Errors, measure
from gpukm.color.histogram import Histogram
from gpukm.color.keys import pack, widen
from gpukm.color.palette import Palette
from gpukm.color.pixels import Alpha, Pixels


def check_dither(dither: str, level: float) -> None:
    """Raise unless it is a kind of dithering, and a level from 0 to 1."""
    if dither not in DITHERS:
        raise ValueError(f"dither is {dither!r}; it may be {', '.join(map(repr, DITHERS))}")
    if isinstance(level, bool) or not isinstance(level, int | float | np.number) or not 0 <= level <= 1:
        raise ValueError(f"dither_level is {level!r}; it must be a number from 0 (none) to 1")


def map_pixels(
    pixels: Pixels,
    treat: Alpha,
    histogram: Histogram,
    palette: NDArray[np.uint8],
    embedding: Embedding,
    dither: str = "none",
    level: float = LEVEL,
    known: Errors | None = None,
) -> tuple[NDArray[Any], NDArray[np.int64], Errors]:
    """(indices of shape (height, width), pixels of each entry, errors).

    Parameters
    ----------
    pixels : the image, gone through once
    treat : what becomes of its alpha, as when it was counted
    histogram : of this image
    palette : (k, 3 or 4)
    embedding : where the nearest entry is sought; with alpha if the histogram or the palette has it
    known : the errors without dithering, where a fit has measured them
    """
    counts, k = histogram.counts, len(palette)
    colors = widen(histogram.colors, histogram.depth, embedding.alpha)
    entries = widen(palette, 8, embedding.alpha)
    labels = embedding.nearest(colors, entries)
    indices = np.empty((pixels.height, pixels.width), np.uint8 if k <= 256 else np.uint16)
    start = 0
    if dither == "none" or level == 0:
        find = _Finder(histogram, labels.astype(indices.dtype))
        for strip in pixels.strips():
            indices[start : start + len(strip)] = find(treat.apply(strip))
            start += len(strip)
        used = np.bincount(labels, weights=counts, minlength=k).astype(np.int64)  # exact below 2^53
        return indices, used, known or measure(colors, entries[labels], counts)
    find = _Finder(histogram, np.arange(len(colors), dtype=np.int32))
    worker: Any = (
        Diffusion(pixels.width, level, colors, entries, labels, embedding, indices.size)
        if dither == "fs"
        else Ordered(dither, level, colors, entries, labels, embedding)
    )
    pairs, times = [], []  # of colour and entry, and how often they occur
    for strip in pixels.strips():
        index = find(treat.apply(strip))
        found = worker.strip(index, start)
        indices[start : start + len(strip)] = found
        start += len(strip)
        pair, often = np.unique(index.astype(np.int64) * k + found, return_counts=True)
        pairs.append(pair)
        times.append(often)
    joined, often = np.concatenate(pairs), np.concatenate(times)
    replaced = entries[joined % k]
    used = np.bincount(joined % k, weights=often, minlength=k).astype(np.int64)
    return indices, used, measure(colors[joined // k], replaced, often)


def errors_of(histogram: Histogram, palette: Palette, space: str, chroma: float | None) -> Errors:
    """The errors of mapping the colours of a histogram to those of a palette; see `Histogram.error`."""
    if histogram.n_pixels == 0:
        raise ValueError("the histogram is empty; add an image first")
    embedding = Embedding(space, chroma, histogram.has_alpha or not palette.is_opaque)
    colors = widen(histogram.colors, histogram.depth, embedding.alpha)
    entries = palette.rgba if embedding.alpha else palette.colors[:, :3]
    return measure(colors, entries[embedding.nearest(colors, entries)], histogram.counts)


class _Finder:
    """Looks up a value for the colour of each pixel: `values` (u,) for the colours of a histogram."""

    def __init__(self, histogram: Histogram, values: NDArray[Any]) -> None:
        self._form, self._keys, self._values = (histogram.depth, histogram.has_alpha), histogram.keys, values
        self._table = None
        if self._form == (8, False):
            self._table = np.zeros(1 << 24, values.dtype)
            self._table[self._keys] = values

    def __call__(self, strip: NDArray[Any]) -> NDArray[Any]:
        """(rows, width) values for a strip (rows, width, 3 or 4)."""
        flat = np.ascontiguousarray(strip).reshape(-1, strip.shape[-1])
        keys = pack(widen(flat, *self._form))
        if self._table is not None:
            found = np.take(self._table, keys, mode="clip")
        else:
            found = self._values[np.searchsorted(self._keys, keys)]
        return found.reshape(strip.shape[:2])
