"""k-means|| (Bahmani, Moseley, Vattani, Kumar & Vassilvitskii 2012): candidates for centroids in a few rounds."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm import kernels

Source = Any  # a SampleSource that can make potentials

ROUNDS = 5
FACTOR = 2  # rows drawn a round, in units of k; the paper's experiments find 5 rounds of 2 k as good as k-means++


def oversample(source: Source, n_clusters: int, rng: np.random.Generator) -> tuple[NDArray, NDArray[np.float64]]:
    """Draw rows by weight times squared distance to those drawn before, 2 k a round, and weigh them.

    k-means++ looks at all rows k times, this a fixed number of times. Each round draws a fixed number of quantiles of
    the exact potential (the paper draws each row by itself), so that neither chunks nor repetition matter. Rounds go on
    beyond the fifth only while there are fewer than k candidates and rows away from all of them.

    Returns
    -------
    candidates : (m, d) rows of different content, in the source's dtype; m < k only where that is all there are
    weights : (m,) float64, above 0: the weight of the rows nearest to each, times a power of two that brings it near 1
    """
    potential = kernels.Candidates(source)
    found = [source.rows(potential.draw(rng.random(1)))]
    potential.commit_all(found[0])
    rounds = 0
    while not potential.covered and (rounds < ROUNDS or sum(map(len, found)) < n_clusters):
        drawn = source.rows(potential.draw(rng.random(FACTOR * n_clusters)))
        found.append(np.unique(drawn, axis=0))
        potential.commit_all(found[-1])
        rounds += 1
    weights = potential.weights()
    weights *= 2.0 ** -np.frexp(weights.max())[1]
    return np.concatenate(found)[weights > 0], weights[weights > 0]
