"""Dithering: what an image loses in colours it gets back as a pattern of those that there are.

"fs": Floyd & Steinberg 1976, every other row from right to left, in the space of the fit. Diffused in linear light
instead, the colours seen from afar were up to 10 % better (1 to 4 % as a rule) and the noise (mean squared error) 5 to
15 % more, on four photos with palettes of 16 to 256 colours. With few colours that are far apart light adds up as light
only: choose space="linear".
"bayer", "blue": each colour is mixed from two entries of the palette, in a share that a mask of thresholds turns into a
pattern: Bayer's 8 x 8 (1973), or blue noise (Ulichney 1993; tools/blue_noise.py made it), which shows no grid.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm import kernels
from gpukm.color.embedding import APART, Embedding, squared
from gpukm.color.keys import pack
from gpukm.color.spaces import in_parts

DITHERS = ("none", "fs", "bayer", "blue")
LEVEL = 0.8  # nearly the tones of level 1, a third less noise

_PARTNERS = 8  # entries near the nearest one that it may be mixed with
_NOISE = 0.15  # how much the contrast of a pattern counts against the tone it gains


@cache
def mask(name: str) -> NDArray[np.float64]:
    """(size, size) thresholds strictly between 0 and 1, to be laid side by side."""
    if name == "blue":
        ranks = np.load(Path(__file__).with_name("blue_noise.npy"), allow_pickle=False)
    else:
        ranks = np.zeros((1, 1), np.int64)
        for _ in range(3):
            ranks = np.block([[4 * ranks, 4 * ranks + 2], [4 * ranks + 3, 4 * ranks + 1]])
    thresholds: NDArray[np.float64] = (ranks + 0.5) / ranks.size
    thresholds.flags.writeable = False
    return thresholds


class Ordered:
    """Dithering by a mask: each pixel by itself.

    Parameters
    ----------
    name : "bayer" or "blue"
    level : 0 for none, 1 for the whole tone
    colors, palette, labels : the image's colours, and the entry of each
    embedding : where distances are taken
    """

    def __init__(
        self,
        name: str,
        level: float,
        colors: NDArray[Any],
        palette: NDArray[np.uint8],
        labels: NDArray[np.int32],
        embedding: Embedding,
    ) -> None:
        self._mask, self._labels = mask(name), labels
        self._partners, self._shares = _mixtures(colors, palette, labels, embedding)
        self._shares *= level

    def strip(self, index: NDArray[np.int32], first_row: int) -> NDArray[np.int32]:
        """(rows, width) entries of a strip, given by the number of each pixel's colour."""
        size = len(self._mask)
        rows = (first_row + np.arange(index.shape[0])) % size
        thresholds = self._mask[rows[:, None], np.arange(index.shape[1]) % size]
        return np.where(thresholds < self._shares[index], self._partners[index], self._labels[index])


def _mixtures(
    colors: NDArray[Any], palette: NDArray[np.uint8], labels: NDArray[np.int32], embedding: Embedding
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """(u,) the entry to mix each colour's own with, and its share, from 0 to 1/2."""
    entries = embedding.points(palette).astype(np.float64)
    rank = np.argsort(np.argsort(pack(palette), kind="stable"), kind="stable")  # ties do not depend on the order
    gaps = np.stack([squared(entries, entry) for entry in entries])
    near = np.stack([np.lexsort((rank, row))[1 : _PARTNERS + 1] for row in gaps])
    partners, shares = labels.copy(), np.zeros(len(colors))

    def mix(part: slice) -> None:
        label, partner, best_share = labels[part], partners[part], shares[part]
        points, own = embedding.points(colors[part]).astype(np.float64), entries[label]
        least, still = squared(points, own), _unmixed(points, embedding)
        for column in range(near.shape[1]):
            other = near[label, column]
            gap = np.maximum(squared(entries[other], own), np.finfo(np.float64).tiny)
            along = sum((points[:, i] - own[:, i]) * (entries[other, i] - own[:, i]) for i in range(points.shape[1]))
            share = np.clip(along / gap, 0.0, 0.5)
            missed = squared(points, own + share[:, None] * (entries[other] - own)) + _NOISE * share * (1 - share) * gap
            better = (missed < least) & ~still
            if embedding.alpha:  # opaque colours are mixed from opaque entries, invisible ones not at all
                better &= (points[:, 4] < APART) | (entries[other, 4] == APART)
            least[better], best_share[better], partner[better] = missed[better], share[better], other[better]

    in_parts(mix, len(colors))
    return partners, shares


def _unmixed(points: NDArray[Any], embedding: Embedding) -> NDArray[np.bool_]:
    """(u,) which colours are invisible: they stay as they are."""
    return points[:, 3] == 0 if embedding.alpha else np.zeros(len(points), bool)


class Diffusion:
    """Floyd-Steinberg: strips must come in order. The parameters are those of `Ordered`, with the image's width."""

    def __init__(
        self,
        width: int,
        level: float,
        colors: NDArray[Any],
        palette: NDArray[np.uint8],
        labels: NDArray[np.int32],
        embedding: Embedding,
        n_pixels: int,
    ) -> None:
        points, entries = embedding.points(colors), embedding.points(palette).astype(np.float64)
        order = np.argsort(pack(palette), kind="stable")  # of equally near entries the lowest colour
        kinds, n_solid = np.ones(len(points), np.uint8), 0
        if embedding.alpha:  # opaque entries first, so that opaque colours may be held to them
            solid = entries[order, 4] == APART
            order = np.concatenate([order[solid], order[~solid]])
            if solid.any():
                kinds[points[:, 4] == APART], n_solid = 2, int(solid.sum())
            kinds[_unmixed(points, embedding)] = 0
            points, entries = points[:, :4], entries[:, :4]
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order))
        low = np.minimum(points.min(axis=0).astype(np.float64), entries.min(axis=0))
        high = np.maximum(points.max(axis=0).astype(np.float64), entries.max(axis=0))
        self._order, self._level = order.astype(np.int32), float(level)
        self._points, self._labels = np.ascontiguousarray(points), place[labels]
        self._kinds, self._limits = kinds, np.array([0, len(entries), n_solid][: 2 + bool(n_solid)], np.int32)
        self._entries, self._low, self._high = np.ascontiguousarray(entries[order]), low, high
        self._carry = np.zeros((2, width + 2, points.shape[1]))
        self._scratch: dict[str, Any] = {}
        self._engine = kernels.engine_name(np, n_pixels * 16)

    def strip(self, index: NDArray[np.int32], first_row: int) -> NDArray[np.int32]:
        """(rows, width) entries of a strip, given by the number of each pixel's colour."""
        out = np.empty(index.shape, np.int32)
        kernels.diffuse(
            index,
            self._points,
            self._kinds,
            self._limits,
            self._labels,
            self._entries,
            self._low,
            self._high,
            self._level,
            first_row,
            self._carry,
            out,
            self._scratch,
            self._engine,
        )
        found: NDArray[np.int32] = self._order[out]
        return found
