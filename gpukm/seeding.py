"""Starting centroids: few random numbers, drawn on the host; what they pick depends on the rows' contents alone."""

from queue import LifoQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm import kernels
from gpukm.array_source import ArraySource
from gpukm.exact import sums_like
from gpukm.lloyd import lloyd
from gpukm.oversampling import oversample

Source = Any  # a SampleSource that can make potentials

INITS = ("k-means++", "k-means||", "random", "random-partition", "maximin")
RECLUSTER = 20  # Lloyd iterations on the candidates of k-means||; more change little, as there are few of them


def seed(
    source: Source, n_clusters: int, init: str, rng: np.random.Generator, *, n_local_trials: int | None = None
) -> tuple[NDArray, NDArray[np.int64] | None]:
    """Choose `n_clusters` starting centroids.

    Parameters
    ----------
    source : the samples
    n_clusters : k
    init : one of

        * "k-means++": greedy k-means++ (Arthur & Vassilvitskii 2007), rows drawn by weight times squared distance
        * "k-means||": five rounds of many candidates, which weighted k-means++ and Lloyd's algorithm make k (Bahmani
          et al. 2012)
        * "random": Forgy, rows drawn by weight without replacement, all different as long as there are enough
        * "random-partition": means of a random partition of the rows
        * "maximin": a row drawn by weight, then always the row farthest from the centroids so far (Gonzalez 1985)
    rng : the random numbers
    n_local_trials : candidates a round of k-means++; None for 2 + floor(log k), as in scikit-learn

    Returns
    -------
    centroids : (k, d) in the source's dtype
    indices : (k,) int64 of rows equal to them; None for "random-partition" and "k-means||"
    """
    if init == "random-partition":
        return _random_partition(source, n_clusters, rng), None
    if init == "k-means||":
        return _kmeans_parallel(source, n_clusters, rng), None
    potential = source.potential()
    if init == "random":
        indices = kernels.sample(potential, n_clusters, rng)
    elif init == "maximin":
        indices = _maximin(source, potential, n_clusters, rng)
    else:
        indices = _kmeans_plusplus(source, potential, n_clusters, rng, n_local_trials)
    return source.rows(indices), indices


def _kmeans_plusplus(
    source: Source, potential: kernels.Potential, k: int, rng: np.random.Generator, trials: int | None
) -> NDArray[np.int64]:
    trials = 2 + int(np.log(k)) if trials is None else trials
    chosen = [int(potential.draw(rng.random(1))[0])]
    fractions = rng.random((k - 1, trials))
    while len(chosen) < k:
        chosen += potential.ahead(chosen[-1], fractions[len(chosen) - 1 :])
        if len(chosen) < k:
            potential.commit(source.rows(np.array(chosen[-1:]))[0])
            candidates = potential.draw(fractions[len(chosen) - 1])
            chosen.append(int(candidates[potential.best(source.rows(candidates))]))
    return np.array(chosen, np.int64)


def _kmeans_parallel(source: Source, k: int, rng: np.random.Generator) -> NDArray:
    rows, weights = oversample(source, k, rng)
    candidates = ArraySource(rows, weights, dtype=source.dtype)
    start = candidates.rows(_kmeans_plusplus(candidates, candidates.potential(), k, rng, None))
    result = lloyd(candidates, start, max_iter=RECLUSTER, tol=0.0)
    if result.interrupted:
        raise KeyboardInterrupt
    return result.centroids


def _maximin(source: Source, potential: kernels.Potential, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    chosen = [int(potential.draw(rng.random(1))[0])]
    for _ in range(k - 1):
        potential.commit(source.rows(np.array(chosen[-1:]))[0])
        chosen.append(potential.farthest())
    return np.array(chosen, np.int64)


def _random_partition(source: Source, k: int, rng: np.random.Generator) -> NDArray:
    """Means of clusters to which rows are dealt by a hash of content and seed, so that equal rows stay together."""
    salt = rng.integers(2**64, dtype=np.uint64)
    sums = sums_like(source.grid, k)

    def deal(start: int, stop: int, scratch: dict) -> None:
        if "sums" not in scratch:
            scratch["sums"] = sums_like(sums.grid, k)
        X = source.host_block(start, stop)
        labels = (kernels.mix(kernels.hash_rows(X) ^ salt) % np.uint64(k)).astype(np.int32)
        weights = None if source.sample_weight is None else source.sample_weight[start:stop]
        kernels.accumulate(X, np, labels, scratch["sums"], weights=weights, scratch=scratch)

    pool: LifoQueue = LifoQueue()
    source.visit(deal, scratch=pool)
    while not pool.empty():
        sums.add(pool.get()["sums"])
    centroids = sums.means().astype(source.dtype)
    missing = np.flatnonzero(sums.empty)
    if len(missing):
        centroids[missing] = source.rows(kernels.sample(source.potential(), len(missing), rng))
    return centroids
