"""k_means() and kmeans_plusplus(), as scikit-learn has them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gpukm import _validation as validation
from gpukm._arrays import from_numpy
from gpukm.estimators import KMeans
from gpukm.placing import source_of
from gpukm.seeding import seed
from gpukm.sources import Iteration

Array = Any  # an array of any array-API namespace


def k_means(
    X: Any,
    n_clusters: int,
    *,
    sample_weight: Any = None,
    init: Any = "k-means++",
    n_init: Any = "auto",
    max_iter: int = 300,
    verbose: int = 0,
    tol: float = 1e-4,
    random_state: Any = None,
    copy_x: bool = True,
    algorithm: str = "lloyd",
    device: str = "auto",
    max_memory: int = 64 * 2**20,
    callback: Callable[[Iteration], Any] | None = None,
    return_n_iter: bool = False,
) -> tuple[Any, ...]:
    """Cluster the rows of X in one call; the parameters are those of `gpukm.KMeans` and of its fit.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows to cluster.
    n_clusters : int
        Clusters to find.
    sample_weight : array-like of shape (n_samples,), a number or None, default=None
        Weights of the rows.
    init, n_init, max_iter, verbose, tol, random_state, copy_x, algorithm, device, max_memory, callback
        See `gpukm.KMeans`.
    return_n_iter : bool, default=False
        Whether to return the number of iterations, too.

    Returns
    -------
    centroids : array of shape (n_clusters, n_features), float32 or float64
    labels : int32 array of shape (n_samples,)
    inertia : float
        Weighted sum of squared distances.
    n_iter : int
        Only with `return_n_iter`.

    Examples
    --------
    >>> from gpukm import k_means
    >>> centroids, labels, inertia = k_means([[0.0], [1.0], [9.0]], 2, random_state=0)
    >>> sorted(centroids.tolist()), inertia
    ([[0.5], [9.0]], 0.5)
    """
    model = KMeans(
        n_clusters,
        init=init,
        n_init=n_init,
        max_iter=max_iter,
        tol=tol,
        verbose=verbose,
        random_state=random_state,
        copy_x=copy_x,
        algorithm=algorithm,
        device=device,
        max_memory=max_memory,
        callback=callback,
    ).fit(X, sample_weight=sample_weight)
    result = model.cluster_centers_, model.labels_, model.inertia_
    return (*result, model.n_iter_) if return_n_iter else result


def kmeans_plusplus(
    X: Any,
    n_clusters: int,
    *,
    sample_weight: Any = None,
    random_state: Any = None,
    n_local_trials: int | None = None,
    max_memory: int = 64 * 2**20,
) -> tuple[Array, Array]:
    """Choose rows of X as starting centroids by greedy k-means++ (Arthur & Vassilvitskii 2007).

    scikit-learn's `x_squared_norms` is left out: the distances here are not computed from norms.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows to choose from.
    n_clusters : int
        Rows to choose.
    sample_weight : array-like of shape (n_samples,), a number or None, default=None
        Weights of the rows: a row is drawn by its weight times its squared distance to those chosen.
    random_state : as in `gpukm.KMeans`, default=None
        Source of the random draws.
    n_local_trials : int or None, default=None
        Candidates drawn for each centroid but the first; the best is kept. None is 2 + floor(log(n_clusters)).
    max_memory : int, default=64 MiB
        Bytes that temporaries may take up beside X.

    Returns
    -------
    centers : array of shape (n_clusters, n_features), float32 or float64, of the kind of X
    indices : int64 array of shape (n_clusters,)
        ``centers[i]`` is ``X[indices[i]]``.
    """
    parameters = {"n_clusters": n_clusters, "random_state": random_state, "n_local_trials": n_local_trials}
    validation.check_parameters("kmeans_plusplus", parameters | {"max_memory": max_memory})
    samples = validation.check_samples(X)
    weight = validation.check_sample_weight(sample_weight, samples.array.shape[0])
    validation.check_enough_samples(samples.array.shape[0], n_clusters, weight)
    rng = validation.check_random_state(random_state)
    source = source_of(samples, weight, max_memory=int(max_memory))
    source.stats()  # raises for NaN and infinity
    trials = None if n_local_trials is None else int(n_local_trials)
    centers, indices = seed(source, int(n_clusters), "k-means++", rng, n_local_trials=trials)
    return from_numpy(centers, samples.array), from_numpy(np.asarray(indices, np.int64), samples.array)
