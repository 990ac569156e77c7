"""From pixels to indices: by a table of all 8-bit colours, or by searching the keys of others."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._heap import trim
from gpukm.color.dither import DITHERS, LEVEL, Diffusion, Ordered
from gpukm.color.embedding import Embedding
from gpukm.color.errors import Errors, Tally, measure
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
    used = np.bincount(labels, weights=counts, minlength=k).astype(np.int64)  # exact below 2^53
    kind: Any = np.uint8 if k <= 256 else np.uint16
    trim()
    indices = np.empty((pixels.height, pixels.width), kind)
    start = 0
    if dither == "none" or level == 0:
        find = _Finder(histogram, labels.astype(kind))
        for strip in pixels.strips():
            indices[start : start + len(strip)] = find(treat.apply(strip))
            start += len(strip)
        return indices, used, known or measure(colors, entries, labels, counts)
    find = _Finder(histogram)
    worker: Any = (
        Diffusion(pixels.width, level, colors, entries, labels, embedding, indices.size)
        if dither == "fs"
        else Ordered(dither, level, colors, entries, labels, embedding)
    )
    del labels
    used[...] = 0
    tally = Tally(entries, embedding.alpha)
    wide: Any = np.uint32 if len(colors) * k < 1 << 32 else np.int64

    def count(index: NDArray[np.int32], found: NDArray[Any]) -> None:
        """How often each colour became which entry in a strip."""
        pairs = index.astype(wide).ravel()
        pairs *= wide(k)
        pairs += found.ravel().astype(wide)
        pairs, often = np.unique(pairs, return_counts=True)
        color, entry = np.divmod(pairs, wide(k))
        np.add.at(used, entry, often)
        tally.add(colors[color], entry, often)

    # Error diffusion is one thread's work: the strip before is counted meanwhile.
    with ThreadPoolExecutor(1) as pool:
        counted: Future[None] | None = None
        for strip in pixels.strips():
            index = find(treat.apply(strip))
            found = indices[start : start + len(strip)]
            found[...] = worker.strip(index, start)
            start += len(strip)
            if counted is not None:
                counted.result()
            counted = pool.submit(count, index, found)
        if counted is not None:
            counted.result()
    return indices, used, tally.errors()


def errors_of(histogram: Histogram, palette: Palette, space: str, chroma: float | None) -> Errors:
    """The errors of mapping the colours of a histogram to those of a palette; see `Histogram.error`."""
    if histogram.n_pixels == 0:
        raise ValueError("the histogram is empty; add an image first")
    embedding = Embedding(space, chroma, histogram.has_alpha or not palette.is_opaque)
    colors = widen(histogram.colors, histogram.depth, embedding.alpha)
    entries = palette.rgba if embedding.alpha else palette.colors[:, :3]
    return measure(colors, entries, embedding.nearest(colors, entries), histogram.counts)


class _Finder:
    """Looks up a value for the colour of each pixel: `values` (u,) for the colours of a histogram, or their numbers.

    A number is the first one among the 256 keys around it, plus the place there: a table of bytes instead of int32.
    """

    def __init__(self, histogram: Histogram, values: NDArray[Any] | None = None) -> None:
        self._form, self._keys, self._values = (histogram.depth, histogram.has_alpha), histogram.keys, values
        self._table: NDArray[Any] | None = None
        if self._form != (8, False):
            return
        if values is None:
            self._first = np.searchsorted(self._keys, np.arange(1 << 16, dtype=np.uint32) << np.uint32(8)).astype(
                np.int32
            )
            values = (np.arange(len(self._keys), dtype=np.int32) - self._first[self._keys >> np.uint32(8)]).astype(
                np.uint8
            )
        self._table = np.zeros(1 << 24, values.dtype)
        self._table[self._keys] = values

    def __call__(self, strip: NDArray[Any]) -> NDArray[Any]:
        """(rows, width) values for a strip (rows, width, 3 or 4)."""
        flat = np.ascontiguousarray(strip).reshape(-1, strip.shape[-1])
        keys = pack(widen(flat, *self._form))
        if self._table is not None:
            found = np.take(self._table, keys, mode="clip")
            if self._values is None:
                keys >>= np.uint32(8)
                found = np.take(self._first, keys, mode="clip") + found
        else:
            found = np.searchsorted(self._keys, keys)
            found = found.astype(np.int32) if self._values is None else self._values[found]
        return found.reshape(strip.shape[:2])
