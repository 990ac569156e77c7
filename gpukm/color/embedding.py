"""Colours as points, with or without alpha, and back to 8 bits; the nearest entry of a palette.

With alpha a colour of coordinates f in the fit's space and opacity a is the point (a (f - w / 2), a |w| / 2), where w
is white and black is 0: the squared distance of two such points is the mean of the squared distances of the two colours
laid over black and over white, mixed in that space. A fifth coordinate, `APART` for opaque colours and 0 for others,
keeps clusters from mixing the two, so that what is opaque stays opaque; it takes no part in mapping other pixels.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.array_source import ArraySource
from gpukm.color.keys import pack
from gpukm.color.spaces import QUANTUM, SPACES, ciede2000, embed, in_parts, lab_of, levels, unembed

APART = 1024.0  # more than any distance of two colours
NEIGHBOURS = 8  # other entries that may have less CIEDE2000 than the nearest in din99: 98 % exact, 0.4 % off at most

_STEPS = np.array([(0, 0, 0), *(step for step in product((0, -1, 1), repeat=3) if any(step))])


@dataclass(frozen=True)
class Embedding:
    """How colours become points.

    Attributes
    ----------
    space : one of `gpukm.color.spaces.SPACES`
    chroma : factor of the colour axes, None for the space's own
    alpha : whether colours have four channels, and points five coordinates; else three and three
    """

    space: str = "oklab"
    chroma: float | None = None
    alpha: bool = False

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise ValueError(f"space is {self.space!r}; it may be {', '.join(map(repr, SPACES))}")
        if self.chroma is not None and not 0 < self.chroma <= 16:
            raise ValueError(f"chroma is {self.chroma!r}; it must be above 0 and at most 16, or None")

    @property
    def perceptual(self) -> bool:
        """Whether a palette's entries are compared by CIEDE2000 in the end."""
        return self.space == "din99" and not self.alpha

    def points(self, colors: NDArray[Any]) -> NDArray[np.float32]:
        """(n, 3 or 5) points of colours (n, 3 or 4) of 8 or 16 bits."""
        points = np.empty((len(colors), 5 if self.alpha else 3), np.float32)

        def embed_some(part: slice) -> None:
            points[part] = self._points(colors[part])

        in_parts(embed_some, len(colors))
        return points

    def _points(self, colors: NDArray[Any]) -> NDArray[np.float32]:
        f = embed(colors[:, :3], self.space, self.chroma)
        if not self.alpha:
            return f
        white = self._white()
        opacity = levels(colors[:, 3])[:, None] / 255
        points = np.concatenate([opacity * (f - white / 2), opacity * _length(white) / 2], axis=1)
        points = np.rint(points / QUANTUM) * QUANTUM
        return np.concatenate([points, np.where(opacity == 1, APART, 0.0)], axis=1).astype(np.float32)

    def colors(self, points: NDArray[Any]) -> NDArray[np.uint8]:
        """(k, 3 or 4) of the 8-bit colours around each point the one nearest to it, in this space."""
        points = np.asarray(points, np.float64)
        if self.space == "srgb" and not self.alpha:
            return np.clip(np.rint(points), 0, 255).astype(np.uint8)
        if not self.alpha:
            return self._best(points, self._around(unembed(points, self.space, self.chroma)))
        white = self._white()
        opacity = np.where(points[:, 4] > APART / 2, 255, np.clip(np.rint(points[:, 3] / _length(white) * 510), 0, 254))
        candidates = []
        for step in (0, -1, 1):
            near = np.where(opacity == 255, 255, np.clip(opacity + step, 0, 254))
            f = points[:, :3] * (255 / np.maximum(near, 1))[:, None] + white / 2
            around = self._around(unembed(f, self.space, self.chroma))
            around[near == 0] = 0
            candidates.append(np.concatenate([around, np.broadcast_to(near[:, None, None], (*around.shape[:2], 1))], 2))
        return self._best(points, np.concatenate(candidates, axis=1))

    def _white(self) -> NDArray[np.float64]:
        return embed(np.array([[255, 255, 255]], np.uint8), self.space, self.chroma)[0].astype(np.float64)

    def _around(self, srgb: NDArray[np.float64]) -> NDArray[np.float64]:
        """(k, 27, 3) 8-bit colours around sRGB levels (k, 3), the nearest first."""
        return np.clip(np.rint(srgb)[:, None] + _STEPS, 0, 255)

    def _best(self, points: NDArray[np.float64], candidates: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Of `candidates` (k, m, channels) the ones nearest to `points`, the first of equals."""
        k, m, channels = candidates.shape
        colors = candidates.astype(np.uint8)
        distance = squared(self.points(colors.reshape(-1, channels)), np.repeat(points, m, axis=0)).reshape(k, m)
        best: NDArray[np.uint8] = colors[np.arange(k), distance.argmin(axis=1)]
        return best

    def nearest(self, colors: NDArray[Any], palette: NDArray[np.uint8]) -> NDArray[np.int32]:
        """(n,) the entry of `palette` nearest to each colour, of equally near ones the lowest by red, green, blue.

        Opaque colours go to opaque entries, if there are any. In din99 without alpha the nearest of a few is found by
        CIEDE2000 (Sharma, Wu & Dalal 2005).
        """
        order = np.argsort(pack(palette), kind="stable").astype(np.int32)
        entries, points = self.points(palette[order]), self.points(colors)
        if not self.alpha:
            labels = assign(points, entries)
            if self.perceptual and len(palette) > 1:
                gaps = np.stack([squared(entries, entry) for entry in entries])
                neighbours = np.argsort(gaps, axis=1, kind="stable")[:, 1 : NEIGHBOURS + 1]

                def compare(part: slice) -> None:
                    labels[part] = _by_difference(
                        colors[part], palette[order], points[part], entries, neighbours, labels[part]
                    )

                in_parts(compare, len(colors))
        else:
            labels = np.empty(len(colors), np.int32)
            opaque, solid = points[:, 4] == APART, np.flatnonzero(entries[:, 4] == APART)
            everything = np.arange(len(entries))
            for rows, among in ((opaque, solid if len(solid) else everything), (~opaque, everything)):
                if rows.any():
                    labels[rows] = among[assign(points[rows, :4], entries[among, :4])]
        found: NDArray[np.int32] = order[labels]
        return found


def assign(points: NDArray[np.float32], entries: NDArray[np.float32]) -> NDArray[np.int32]:
    """(n,) the nearest of `entries` by the canonical distance, the first of equals: what `gpukm.KMeans` predicts."""
    return ArraySource(np.ascontiguousarray(points), dtype=np.float32).assign(np.ascontiguousarray(entries))


def squared(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    """(n,) squared distances of the rows of a to those of b, or to one row."""
    total = np.zeros(len(a))
    for axis in range(a.shape[1]):
        difference = a[:, axis].astype(np.float64)
        difference -= b[..., axis]
        difference *= difference
        total += difference
    return total


def _length(vector: NDArray[np.float64]) -> float:
    return float(np.sqrt((vector**2).sum()))


def _by_difference(
    colors: NDArray[Any],
    palette: NDArray[np.uint8],
    points: NDArray[np.float32],
    entries: NDArray[np.float32],
    neighbours: NDArray[np.intp],
    labels: NDArray[np.int32],
) -> NDArray[np.int32]:
    """`labels` changed to that of the entry's `neighbours` (k, few) which has the least CIEDE2000."""
    own, theirs = lab_of(colors), lab_of(palette)
    least = ciede2000(own, theirs[labels])
    reach = 4 * squared(points, entries[labels])  # twice as far: CIEDE2000 and din99 do not differ by so much
    found = labels.copy()
    for column in range(neighbours.shape[1]):
        other = neighbours[labels, column]
        rows = np.flatnonzero(squared(points, entries[other]) < reach)
        difference = ciede2000(own[rows], theirs[other[rows]])
        better = (difference < least[rows]) | ((difference == least[rows]) & (other[rows] < found[rows]))
        rows, difference = rows[better], difference[better]
        least[rows], found[rows] = difference, other[rows]
    return found
