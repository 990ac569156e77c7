"""Counts of colours as they grow: a table of all 2^24 opaque 8-bit colours, or ascending keys of any."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.color.keys import pack, unpack, widen
from gpukm.color.pixels import UNIT

MAX_COLORS = 1 << 24  # different colours of a histogram with alpha or 16 bits: 400 MB of keys, counts and weights
TABLE_FROM = 1 << 18  # pixels, or colours, from which on the table of 64 MB is worth it

_TABLE_FULL = (1 << 32) - 1  # pixels that its uint32 counts hold in any case


class Counts:
    """What `gpukm.color.histogram.Histogram` holds: keys, counts and weights, and a table not yet among them.

    The table is only in use while all colours are opaque, of 8 bits, and weighed by their counts.
    """

    def __init__(self) -> None:
        self._form = 8, False  # bits a channel, alpha
        self._keys: NDArray[Any] = np.empty(0, np.uint32)
        self._counts: NDArray[np.int64] = np.empty(0, np.int64)
        self._weights: NDArray[np.int64] | None = None  # None: the counts
        self._table: NDArray[np.uint32] | None = None  # counted, and not yet in keys and counts
        self._pending = 0

    def count(self, pixels: NDArray[Any], weights: NDArray[np.int64] | None, many: bool) -> None:
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
            self.compact()
        if self._table is None:
            self._table = np.zeros(1 << 24, np.uint32)
        self._pending += more
        return self._table

    def merge(self, other: "Counts") -> None:
        """Add another histogram to this one; the other's table may become this one's."""
        if other._table is not None and self._table is None and self._form == (8, False) and self._weights is None:
            self._table, self._pending, other._table, other._pending = other._table, other._pending, None, 0
        other.compact()
        self._add_sorted(other._keys, other._counts, other._weights, other._form)

    def _add_sorted(
        self, keys: NDArray[Any], counts: NDArray[np.int64], weights: NDArray[np.int64] | None, form: tuple[int, bool]
    ) -> None:
        """Add ascending keys with their counts and weights."""
        if weights is None and self._weights is None and form == self._form == (8, False):
            pixels = int(counts.sum())
            large = self._table is not None or len(self._keys) + len(keys) >= TABLE_FROM
            if large and pixels <= _TABLE_FULL:
                self._room(pixels)[keys] += counts.astype(np.uint32)
                return
        self.compact()
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

    def compact(self) -> None:
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


def _rekeyed(keys: NDArray[Any], form: tuple[int, bool], wide: tuple[int, bool]) -> NDArray[Any]:
    """Keys of the same colours in a form of more bits; they stay in order."""
    return keys if form == wide else pack(widen(unpack(keys, 4 if form[1] else 3), *wide))
