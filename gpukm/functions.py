"""k_means() and kmeans_plusplus(), as scikit-learn has them; and random_swap()."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gpukm import _validation as validation
from gpukm._arrays import from_numpy
from gpukm._fitting import interrupted_as
from gpukm.estimators import KMeans
from gpukm.placing import source_of
from gpukm.seeding import seed
from gpukm.sources import Iteration
from gpukm.swap import random_swap as swap

Array = Any  # an array of any array-API namespace
INTERRUPTED = "nothing is returned; an estimator, KMeans(...).fit, keeps the best state so far"


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
    refine: str | None = None,
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
    init, n_init, max_iter, verbose, tol, random_state, copy_x, algorithm, refine, device, max_memory, callback
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
        refine=refine,
        device=device,
        max_memory=max_memory,
        callback=callback,
    )
    with interrupted_as(INTERRUPTED):
        model.fit(X, sample_weight=sample_weight)
    result = model.cluster_centers_, model.labels_, model.inertia_
    return (*result, model.n_iter_) if return_n_iter else result


def random_swap(
    X: Any,
    n_clusters: int,
    *,
    n_swaps: int | None = None,
    max_seconds: float | None = None,
    sample_weight: Any = None,
    init: Any = "k-means++",
    n_init: Any = "auto",
    max_iter: int = 300,
    tol: float = 1e-4,
    verbose: int = 0,
    random_state: Any = None,
    device: str = "auto",
    max_memory: int = 64 * 2**20,
    callback: Callable[[Iteration], Any] | None = None,
) -> tuple[Array, Array, float]:
    """Cluster the rows of X, then move single centroids elsewhere as long as that helps (Fränti 2018).

    Where Lloyd's algorithm ends depends on where it starts: two centroids may share a cluster while another serves two.
    Moving one across, and then a few iterations, mends that; restarting (`n_init`) seldom does when clusters are many.
    Where to is chosen as in k-means++, which one is drawn by what its loss would cost (`gpukm.swap`).

    ``KMeans(refine="random-swap")`` is the same search with the default budget.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows to cluster.
    n_clusters : int
        Clusters to find.
    n_swaps : int or None, default=None
        Moves to try: a budget that gives the same result everywhere.
    max_seconds : float or None, default=None
        Time for the whole call; the runs of `n_init` are finished in any case, and so is the move at hand. What is
        found depends on the speed of the machine. Without either budget the search ends when 75 moves in a row were in
        vain.
    sample_weight, init, n_init, max_iter, tol, verbose, random_state, device, max_memory, callback
        See `gpukm.KMeans`.

    Returns
    -------
    centroids : array of shape (n_clusters, n_features), float32 or float64
    labels : int32 array of shape (n_samples,)
    inertia : float
        Weighted sum of squared distances, never more than that of `gpukm.k_means` with the same arguments.

    Examples
    --------
    >>> from gpukm import random_swap
    >>> X = [[0.0], [1.0], [9.0], [10.0], [40.0], [41.0]]
    >>> random_swap(X, 3, init=[[0.0], [1.0], [20.0]], random_state=0)[2]
    1.5
    """
    began = time.perf_counter()
    validation.check_parameters("random_swap", {"n_swaps": n_swaps, "max_seconds": max_seconds})
    deadline = None if max_seconds is None else began + float(max_seconds)
    model = KMeans(
        n_clusters,
        init=init,
        n_init=n_init,
        max_iter=max_iter,
        tol=tol,
        verbose=verbose,
        random_state=random_state,
        device=device,
        max_memory=max_memory,
        callback=callback,
    )
    with interrupted_as(INTERRUPTED):
        model._fit(X, sample_weight, refine=partial(swap, n_swaps=n_swaps, deadline=deadline))
    return model.cluster_centers_, model.labels_, model.inertia_


def kmeans_plusplus(
    X: Any,
    n_clusters: int,
    *,
    sample_weight: Any = None,
    x_squared_norms: Any = None,
    random_state: Any = None,
    n_local_trials: int | None = None,
    max_memory: int = 64 * 2**20,
) -> tuple[Array, Array]:
    """Choose rows of X as starting centroids by greedy k-means++ (Arthur & Vassilvitskii 2007).

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows to choose from.
    n_clusters : int
        Rows to choose.
    sample_weight : array-like of shape (n_samples,), a number or None, default=None
        Weights of the rows: a row is drawn by its weight times its squared distance to those chosen.
    x_squared_norms : ignored
        For scikit-learn's sake: the distances here are not computed from norms.
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
    samples = validation.check_samples(X, sparse=True)
    weight = validation.check_sample_weight(sample_weight, samples.array.shape[0], samples.array)
    validation.check_enough_samples(samples.array.shape[0], n_clusters, weight)
    rng = validation.check_random_state(random_state)
    source = source_of(samples, weight, max_memory=int(max_memory))
    source.stats()  # raises for NaN and infinity
    trials = None if n_local_trials is None else int(n_local_trials)
    centers, indices = seed(source, int(n_clusters), "k-means++", rng, n_local_trials=trials)
    return from_numpy(centers, samples.array), from_numpy(np.asarray(indices, np.int64), samples.array)
