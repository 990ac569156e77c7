"""The last steps of a perceptual palette: less mean CIEDE2000 itself, from entries that are near its optimum.

Each colour goes to the entry with the least CIEDE2000 of those nearby; each entry moves to the mean of its colours,
weighed so that squared distances add up to CIEDE2000 (iteratively reweighted least squares, Weiszfeld 1937), rounded to
8 bits.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.color.embedding import Embedding, squared
from gpukm.color.spaces import AT_ONCE, differences

ROUNDS = 4  # more gain less than 0.1 %
LEAST = 0.3  # differences below are taken as this, so that no colour pins its entry


def polish(
    entries: NDArray[np.uint8], held: int, colors: NDArray[Any], weights: NDArray[np.float64], embedding: Embedding
) -> NDArray[np.uint8]:
    """`entries` (k, 3), but for the first `held` moved to less mean CIEDE2000; never worse than they were."""
    points = embedding.points(colors)
    best, least = entries, np.inf
    for _ in range(ROUNDS + 1):
        labels = embedding.nearest(colors, entries)
        difference = differences(colors, entries, labels)
        total = float((weights * difference).sum())
        if total >= least:
            break
        best, least = entries, total
        places = embedding.points(entries).astype(np.float64)
        pull = np.maximum(difference, LEAST, out=difference)
        pull *= weights
        for start in range(0, len(pull), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            pull[part] /= np.maximum(squared(points[part], places[labels[part]]), LEAST**2)
        sums = np.bincount(labels, weights=pull, minlength=len(entries))
        means = np.stack(
            [np.bincount(labels, weights=pull * points[:, i], minlength=len(entries)) for i in range(3)], 1
        )
        places = np.where(sums[:, None] > 0, means / np.where(sums > 0, sums, 1.0)[:, None], places)
        entries = np.concatenate([entries[:held], embedding.colors(places[held:])])
    return best
