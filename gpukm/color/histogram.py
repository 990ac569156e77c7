"""An exact histogram of colours: counts that add up over strips, images, processes and machines.

8-bit opaque pixels are counted in a table of all 2^24 colours, others as sorted keys. What is counted does not depend on
strips or their order.
"""

import json
import os
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gpukm._files import PathLike, atomic_write, open_zip, read_entry
from gpukm.color.keys import pack, unpack, widen
from gpukm.color.pixels import Alpha, open_pixels

MAX_COLORS = 1 << 24  # different colours of a histogram with alpha or 16 bits: 400 MB of keys, counts and weights
UNIT = 255  # the weight of a pixel for which no importance is given: importance 1 is 255
BALANCED = 1 << 40  # the total weight of a balanced histogram

_TABLE_FROM = 1 << 18  # pixels from which on the table of 64 MB is worth it
_TABLE_FULL = (1 << 32) - 1  # pixels that its uint32 counts hold in any case
_FORMAT = "gpukm-histogram-1"


class Histogram:
    """How often each colour occurs.

    Pixels of 8 or 16 bits, with or without alpha, go into one histogram; it is as deep as its deepest pixels. There are at
    most 2^24 opaque 8-bit colours; of others `MAX_COLORS` (2^24) are counted, then `add` raises ValueError.

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

    def __init__(self) -> None:
        self._form = 8, False  # bits a channel, alpha
        self._keys: NDArray[Any] = np.empty(0, np.uint32)
        self._counts: NDArray[np.int64] = np.empty(0, np.int64)
        self._weights: NDArray[np.int64] | None = None  # None: the counts
        self._table: NDArray[np.uint32] | None = None  # counted, and not yet in keys and counts
        self._pending = 0

    # counting

    def add(self, image: Any, importance: Any = None, *, alpha: str = "keep", background: str = "#ffffff") -> Self:
        """Count the pixels of an image, or of a strip of one; returns the histogram itself.

        Parameters
        ----------
        image : str or path, PIL.Image.Image, or array
            As in `gpukm.color.quantize`.
        importance : array of shape (height, width), optional
            How much each pixel weighs in a fit: floats from 0 to 1 (rounded to 1/255), or uint8 from 0 to 255.
        alpha, background
            As in `gpukm.color.quantize`.

        Raises
        ------
        ValueError
            If the image or the importance is not of these kinds, or there are too many colours; nothing is added then.
        """
        treat = Alpha(alpha, background)
        part = Histogram()  # so that an image that turns out to be bad leaves this one as it was
        with open_pixels(image) as pixels:
            weights = None if importance is None else check_importance(importance, (pixels.height, pixels.width))
            many = pixels.height * pixels.width >= _TABLE_FROM
            start = 0
            for strip in pixels.strips():
                colors = treat.apply(strip)
                flat = np.ascontiguousarray(colors).reshape(-1, colors.shape[-1])
                own = None if weights is None else weights[start : start + len(strip)].ravel()
                part._count(flat, own, many)
                start += len(strip)
        self._merge(part)
        return self

    def _count(self, pixels: NDArray[Any], weights: NDArray[np.int64] | None, many: bool) -> None:
        """Add pixels (m, 3 or 4); `weights` (m,) or None. `many` pixels go into the table."""
        keys = pack(pixels)
        form = 8 * pixels.dtype.itemsize, pixels.shape[1] == 4
        if many and weights is None and form == self._form == (8, False) and self._weights is None:
            np.add.at(self._room(len(keys)), keys, np.uint32(1))
        elif weights is None:
            unique, counts = np.unique(keys, return_counts=True)
            self._add_sorted(unique, counts.astype(np.int64), None, form)
        else:
            unique, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
            sums = np.bincount(inverse, weights=weights, minlength=len(unique)).astype(np.int64)  # exact below 2^53
            self._add_sorted(unique, counts.astype(np.int64), sums, form)

    def _room(self, more: int) -> NDArray[np.uint32]:
        """The table, with room for `more` pixels."""
        if self._pending + more > _TABLE_FULL:
            self._compact()
        if self._table is None:
            self._table = np.zeros(1 << 24, np.uint32)
        self._pending += more
        return self._table

    def _merge(self, other: "Histogram") -> None:
        """Add another histogram to this one; the other's table may become this one's."""
        if other._table is not None and self._table is None and self._form == (8, False) and self._weights is None:
            self._table, self._pending, other._table, other._pending = other._table, other._pending, None, 0
        other._compact()
        self._add_sorted(other._keys, other._counts, other._weights, other._form)

    def _add_sorted(
        self, keys: NDArray[Any], counts: NDArray[np.int64], weights: NDArray[np.int64] | None, form: tuple[int, bool]
    ) -> None:
        """Add ascending keys with their counts and weights."""
        if weights is None and self._weights is None and form == self._form == (8, False):
            pixels = int(counts.sum())
            large = self._table is not None or len(self._keys) + len(keys) >= _TABLE_FROM
            if large and pixels <= _TABLE_FULL:
                self._room(pixels)[keys] += counts.astype(np.uint32)
                return
        self._compact()
        self._merge_sorted(keys, counts, weights, form)

    def _merge_sorted(
        self, keys: NDArray[Any], counts: NDArray[np.int64], weights: NDArray[np.int64] | None, form: tuple[int, bool]
    ) -> None:
        wide = max(self._form[0], form[0]), self._form[1] or form[1]
        merged = np.concatenate([_rekeyed(self._keys, self._form, wide), _rekeyed(keys, form, wide)])
        order = np.argsort(merged, kind="stable")
        merged = merged[order]
        first = np.flatnonzero(np.concatenate([[True], merged[1:] != merged[:-1]])) if len(merged) else order
        if len(first) > MAX_COLORS:
            raise ValueError(
                f"the histogram would have {len(first)} different colours; at most {MAX_COLORS} (2^24) are counted. "
                "Reduce the image to 8 bits a channel or flatten its alpha (alpha='flatten'), or use fewer images"
            )

        def added(ours: NDArray[np.int64], theirs: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.add.reduceat(np.concatenate([ours, theirs])[order], first) if len(first) else ours

        if weights is not None or self._weights is not None:
            ours = self._counts * UNIT if self._weights is None else self._weights
            self._weights = added(ours, counts * UNIT if weights is None else weights)
        self._counts = added(self._counts, counts)
        self._keys, self._form = merged[first], wide

    def _compact(self) -> None:
        """Move what is in the table to the keys."""
        if self._table is None:
            return
        keys = np.flatnonzero(self._table).astype(np.uint32)
        counts = self._table[keys].astype(np.int64)
        self._table, self._pending = None, 0
        if len(self._keys):
            self._merge_sorted(keys, counts, None, (8, False))
        else:
            self._keys, self._counts = keys, counts

    # what was counted

    @property
    def colors(self) -> NDArray[Any]:
        """(u, 3 or 4) the different colours, ascending."""
        self._compact()
        return unpack(self._keys, 4 if self.has_alpha else 3)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(u,) pixels of each colour."""
        self._compact()
        return self._counts

    @property
    def weights(self) -> NDArray[np.int64]:
        """(u,) what a fit weighs each colour by."""
        self._compact()
        return self._counts if self._weights is None else self._weights

    @property
    def keys(self) -> NDArray[Any]:
        """(u,) the colours as integers; see `gpukm.color.keys.pack`."""
        self._compact()
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
        total._merge(other.copy())
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
        self._compact()
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
        self._compact()
        header = {
            "format": _FORMAT,
            "depth": self.depth,
            "alpha": self.has_alpha,
            "weighted": self._weights is not None,
        }
        arrays = {"keys": self._keys, "counts": self._counts}
        if self._weights is not None:
            arrays["weights"] = self._weights
        with atomic_write(path, force=force) as file:
            np.savez_compressed(
                file, allow_pickle=False, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays
            )

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
        with open_zip(path) as archive:
            entries = set(archive.namelist())
            read = {
                name: read_entry(archive, f"{name}.npy", f"{path}: {name}")
                for name in _ENTRIES
                if f"{name}.npy" in entries
            }
        return _checked(read, os.fspath(path))


_ENTRIES = ("header", "keys", "counts", "weights")


def _checked(read: dict[str, NDArray[Any]], path: str) -> Histogram:
    """The histogram in the arrays of a file; raises ValueError unless they are one."""
    try:
        header = json.loads(read["header"].astype(np.uint8).tobytes())
        fits = header["format"] == _FORMAT
    except (KeyError, ValueError, TypeError):
        fits = False
    if not fits:
        raise ValueError(f"{path}: holds no histogram that this version reads; make one with Histogram.save")
    depth, alpha = header.get("depth"), header.get("alpha")
    keys, counts, weights = read.get("keys"), read.get("counts"), read.get("weights")
    kind = np.uint32 if depth == 8 else np.uint64
    sound = (
        depth in (8, 16)
        and isinstance(alpha, bool)
        and keys is not None
        and keys.dtype == kind
        and keys.ndim == 1
        and len(keys) <= MAX_COLORS
        and (keys[1:] > keys[:-1]).all()
        and (len(keys) == 0 or int(keys[-1]) < 1 << depth * (4 if alpha else 3))
        and _are_counts(counts, len(keys), 1)
        and (_are_counts(weights, len(keys), 0) if header.get("weighted") else weights is None)
    )
    if not sound:
        raise ValueError(f"{path}: its colours and counts do not belong together; the file is damaged")
    histogram = Histogram()
    histogram.__setstate__({"_form": (depth, alpha), "_keys": keys, "_counts": counts, "_weights": weights})
    return histogram


def _are_counts(values: NDArray[Any] | None, length: int, least: int) -> bool:
    return (
        values is not None
        and values.dtype == np.int64
        and values.shape == (length,)
        and bool((values >= least).all())
        and float(values.sum(dtype=np.float64)) < 2.0**62
    )


def _rekeyed(keys: NDArray[Any], form: tuple[int, bool], wide: tuple[int, bool]) -> NDArray[Any]:
    """Keys of the same colours in a form of more bits; they stay in order."""
    return keys if form == wide else pack(widen(unpack(keys, 4 if form[1] else 3), *wide))


def check_importance(importance: Any, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Importance as integers from 0 to 255; raises ValueError unless it is one for an image of (height, width)."""
    values = np.asarray(importance)
    if values.shape != shape:
        raise ValueError(f"importance has shape {values.shape}; the image has {shape} (height, width)")
    if values.dtype == bool:
        return values.astype(np.int64) * UNIT
    if values.dtype == np.uint8:
        return values.astype(np.int64)
    if values.dtype.kind != "f" or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"importance has dtype {values.dtype}; it must be uint8, bool, or floats from 0 to 1 without NaN"
        )
    return np.rint(values * UNIT).astype(np.int64)
