"""k-means with outliers: the rows farthest from all centroids are left out of the means (k-means--, trimmed k-means).

One far row moves a mean as far as it likes, and takes a cluster of its own. Here each iteration sets the `n_outliers`
rows of the greatest distance aside before it averages (Chawla & Gionis 2013, k-means--; the criterion is that of
trimmed k-means, Cuesta-Albertos, Gordaliza & Matran 1997). Like Lloyd's loop, it never raises the inertia of the rows
that are kept.
"""

from numbers import Integral, Real
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from gpukm import _validation as validation
from gpukm import kernels
from gpukm._arrays import from_numpy, to_numpy
from gpukm._containers import feature_names
from gpukm._fitted import FittedCentroids
from gpukm.array_source import ArraySource
from gpukm.exact import BLOCK_ROWS, Grid, sums_like
from gpukm.placing import source_of
from gpukm.seeding import seed

Array = Any  # an array of any array-API namespace


class TrimmedKMeans(FittedCentroids):
    """K-means that leaves a given number of outliers out (Chawla & Gionis 2013: k-means--).

    Parameters
    ----------
    n_clusters : int, default=8
        Clusters to find.
    n_outliers : int or float, default=0.05
        Rows to leave out; below 1 and a float, their share of all rows, rounded down. 0 is Lloyd's k-means.
    init : {"random", "k-means++", "random-partition", "maximin"} or array, default="random"
        Starting centroids, as in `gpukm.KMeans`. "k-means++" and "maximin" look for far rows, and so for outliers.
    n_init : "auto" or int, default="auto"
        Runs, of which that of least inertia is kept. "auto" is 10, and 1 for an array.
    max_iter : int, default=300
        Iterations of a run at most. A run ends when nothing moves; there is no tolerance, which outliers would set.
    random_state : None, int, numpy.random.Generator, RandomState, SeedSequence or BitGenerator, default=None
        Source of the random draws.
    max_memory : int, default=64 MiB
        Bytes that temporaries may take up beside X, labels and one distance a row.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features), float32 or float64
        Centroids: the means of the rows that are kept.
    labels_ : int32 array of shape (n_samples,)
        Cluster of each row, -1 for outliers. Of equal rows some may be outliers and some not.
    inertia_ : float
        Sum of the squared distances of the rows that are kept to their centroids.
    n_iter_ : int
        Iterations of the best run.
    converged_ : bool
        Whether the best run ended by itself.
    n_features_in_ : int
        Features of X.
    feature_names_in_ : ndarray of str objects, of shape (n_features,)
        Column names of X, where it is a data frame and all its names are strings.

    Notes
    -----
    `predict` and `transform` know no outliers: they give the nearest centroid, and the distances, of any row. Weights
    are not taken: a heavy row would have to be an outlier in part.

    Examples
    --------
    >>> from gpukm.trimmed import TrimmedKMeans
    >>> X = [[0.0], [1.0], [10.0], [11.0], [1000.0]]
    >>> model = TrimmedKMeans(2, n_outliers=1, random_state=0).fit(X)
    >>> sorted(model.cluster_centers_.tolist()), model.labels_[4].item(), model.inertia_
    ([[0.5], [10.5]], -1, 1.0)
    """

    labels_: Array
    inertia_: float
    n_iter_: int
    converged_: bool
    n_features_in_: int
    feature_names_in_: NDArray[Any]
    _weighted_methods = ("score",)

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_outliers: float = 0.05,
        init: Any = "random",
        n_init: Any = "auto",
        max_iter: int = 300,
        random_state: Any = None,
        max_memory: int = 64 * 2**20,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_outliers = n_outliers
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.random_state = random_state
        self.max_memory = max_memory

    def fit(self, X: Any, y: Any = None) -> Self:
        """Cluster the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite numbers of any kind that `gpukm.KMeans` takes.
        y : ignored
            For scikit-learn's sake.

        Raises
        ------
        ValueError, TypeError
            For parameters or data that are not allowed; the message says what is.
        """
        parameters = {name: value for name, value in self.get_params().items() if name != "n_outliers"}
        validation.check_parameters(type(self).__name__, parameters)
        names = feature_names(X)
        samples = validation.check_samples(X)
        n, n_features = (int(length) for length in samples.array.shape)
        k, trim = int(self.n_clusters), self._trim(n)
        validation.check_enough_samples(n - trim, k, None)
        rng = validation.check_random_state(self.random_state)
        source = source_of(samples, max_memory=int(self.max_memory))
        source.stats()  # the first look at the values: raises for NaN and infinity
        if isinstance(self.init, str):
            runs = 10 if self.n_init == "auto" else int(self.n_init)
            starts = [lambda: seed(source, k, self.init, rng)[0]] * runs
        elif callable(self.init):
            raise TypeError("init of TrimmedKMeans may be a name or an array; call the function, and pass its result.")
        else:
            given = validation.check_centroids(self.init, k, n_features, samples.dtype, X=samples.array)
            starts = [lambda: given]
        best = min((_run(source, start(), trim, int(self.max_iter)) for start in starts), key=lambda run: run.inertia)

        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.n_features_in_ = n_features
        self.cluster_centers_ = from_numpy(best.centroids, samples.array)
        self.labels_ = from_numpy(best.labels, samples.array)
        self.inertia_ = best.inertia
        self.n_iter_ = best.n_iter
        self.converged_ = best.converged
        return self

    def fit_predict(self, X: Any, y: Any = None) -> Array:
        """Cluster the rows of X and return ``labels_``, -1 for outliers."""
        return self.fit(X).labels_

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Cluster the rows of X and return their distances to the centroids."""
        return self.fit(X).transform(X)

    def _trim(self, n: int) -> int:
        """How many of n rows to leave out."""
        given = self.n_outliers
        if isinstance(given, Integral) and not isinstance(given, bool) and given >= 0:
            return int(given)
        if isinstance(given, Real) and not isinstance(given, Integral) and 0 <= given < 1:
            return int(given * n)
        raise validation.InvalidParameterError(
            f"The 'n_outliers' parameter of TrimmedKMeans must be an int in the range [0, inf), rows, or a float "
            f"in the range [0.0, 1.0), a share of the rows. Got {given!r} instead."
        )


class _Run(NamedTuple):
    centroids: NDArray
    labels: NDArray[np.int32]
    inertia: float
    n_iter: int
    converged: bool


def _run(source: ArraySource, centroids: NDArray, trim: int, max_iter: int) -> _Run:
    """Assign, set `trim` rows aside, average; until nothing moves."""
    source.reset()
    n_iter, converged = 0, False
    while True:
        step = source.step(centroids)
        D = to_numpy(source.own_distances(centroids, source.labels)).copy()
        outliers = _greatest(source, D, trim)
        if converged or n_iter == max_iter:
            break
        sums = source.without(step.sums, outliers)
        new = np.where(sums.empty[:, None], centroids, sums.means().astype(source.dtype))
        empty = np.flatnonzero(sums.empty)
        if len(empty):  # they take the farthest rows that are kept
            D[outliers] = 0.0
            far = _greatest(source, D, len(empty))
            far = far[D[far] > 0]
            new[empty[: len(far)]] = source.rows(far)
        converged = np.array_equal(new, centroids)
        centroids, n_iter = new, n_iter + 1
    labels = to_numpy(source.labels).copy()
    D[outliers], labels[outliers] = 0.0, -1
    return _Run(centroids, labels, _total(D), n_iter, converged)


def _greatest(source: ArraySource, D: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Indices of the `count` greatest D, falling; equal ones by the hashes of their rows, so that no order shows."""
    if count == 0:
        return np.empty(0, np.int64)
    bound = np.partition(D, len(D) - count)[len(D) - count]
    found = np.flatnonzero(D >= bound)
    return found[np.lexsort((kernels.hash_rows(source.rows(found)), -D[found]))[:count]]


def _total(D: NDArray[np.float64]) -> float:
    """The exact sum, rounded once."""
    sums = sums_like(Grid.of(float(D.max()), len(D)), 1)
    for start in range(0, len(D), BLOCK_ROWS):
        part = D[start : start + BLOCK_ROWS]
        kernels.accumulate_scalars(part, np.zeros(len(part), np.int32), None, sums)
    return float(sums.totals()[0, 0])
