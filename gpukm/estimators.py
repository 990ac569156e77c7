"""KMeans: parameters, checks, which source, the runs, and the attributes. No arithmetic on X."""

import os
import warnings
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gpukm import _validation as validation
from gpukm._arrays import from_numpy, to_numpy
from gpukm._containers import feature_names
from gpukm._fitted import FittedCentroids
from gpukm._sklearn import ConvergenceWarning, exception_class
from gpukm.array_source import ArraySource
from gpukm.lloyd import LloydResult, lloyd
from gpukm.placing import source_of
from gpukm.seeding import seed
from gpukm.sources import Iteration
from gpukm.summary import Summary

Array = Any  # an array of any array-API namespace


class KMeans(FittedCentroids):
    """K-means clustering (Lloyd 1982), exact: the same bits on any array, device and number of threads.

    Parameters, defaults and attributes are those of scikit-learn's ``KMeans``; those only gpukm has come last.

    Parameters
    ----------
    n_clusters : int, default=8
        Clusters to find.
    init : {"k-means++", "random", "random-partition", "maximin"}, callable or array, default="k-means++"
        Starting centroids:

        * "k-means++": greedy k-means++ (Arthur & Vassilvitskii 2007)
        * "random": rows drawn by weight, without replacement (Forgy 1965)
        * "random-partition": the means of a random partition of the rows
        * "maximin": a random row, then always the row farthest from those chosen (Gonzalez 1985)
        * an array of shape (n_clusters, n_features), rounded to the dtype X is computed in
        * a callable ``init(X, n_clusters, random_state)``, which gets X as an array in its own dtype and a
          ``numpy.random.Generator``, and returns such an array
    n_init : "auto" or int, default="auto"
        Runs from different starting centroids, of which that of least inertia is kept. "auto" is 1 for "k-means++",
        "maximin" and an array, 10 for "random", "random-partition" and a callable. An array is run once.
    max_iter : int, default=300
        Iterations of a run at most; 0 leaves the starting centroids and labels the rows by them.
    tol : float, default=1e-4
        A run ends when the sum of the squared moves of the centroids is at most ``tol`` times the mean variance of the
        features (weighted), or when nothing moves.
    verbose : int, default=0
        Print a line for each start and iteration.
    random_state : None, int, numpy.random.Generator, RandomState, SeedSequence or BitGenerator, default=None
        Source of the random draws, which are the same on every engine. A Generator is advanced; from a RandomState one
        seed is drawn. None takes fresh entropy.
    copy_x : bool, default=True
        For scikit-learn's sake: X is never changed, and never copied as a whole, either way.
    algorithm : {"lloyd", "elkan"}, default="lloyd"
        Results do not depend on it. This version has no separate engine for "elkan": it warns and runs Lloyd's.
    device : {"auto", "cpu", "cuda", "cuda:N"}, default="auto"
        Where to compute. "auto" is where X is: CuPy arrays, and torch's on a GPU where CuPy is installed, run on the
        CUDA engine. "cuda" and "cuda:N" copy an X on the host to that GPU.
    max_memory : int, default=64 MiB
        Bytes that temporaries may take up beside X, labels and distances. Where it pays, and within these bytes, a copy
        of X is made with its rows sorted in space (for up to 4 features and from 64 clusters on).
    callback : callable or None, default=None
        Called with each `Iteration` of each run; something true ends the run.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features), float32 or float64
        Centroids. They belong to the same state as ``labels_`` and ``inertia_``, also where a run stopped early.
    labels_ : int32 array of shape (n_samples,)
        Cluster of each row: that of the nearest centroid, of equally near ones the first.
    inertia_ : float
        Weighted sum of the squared distances of the rows to their centroids.
    n_iter_ : int
        Iterations of the best run.
    n_features_in_ : int
        Features of X.
    feature_names_in_ : ndarray of str objects, of shape (n_features,)
        Column names of X; only where X is a data frame and all its names are strings.
    converged_ : bool
        Whether the best run ended by itself, within ``tol``.
    engine_ : str
        The engine that ran: "numpy", "numba", "cuda", or "array-api:torch" and the like.
    history_ : list of Iteration
        Inertia, shift, seconds, changed, undecided and relocated rows of each iteration of the best run.
    withinss_ : float64 array of shape (n_clusters,)
        Weighted sum of squared distances of each cluster.
    totss_ : float
        Weighted sum of the squared distances of all rows to their mean.
    size_ : int64 array of shape (n_clusters,)
        Rows in each cluster.

    Notes
    -----
    X may be a NumPy array of any strides and byte order, a list, a pandas or polars DataFrame, a pyarrow Table, or an
    array of any array-API namespace; arrays come back in the namespace and on the device of X. float32, float16, bool
    and integers of up to 16 bits are computed in float32, which holds them exactly, the rest in float64. X is converted
    block by block, so that a uint8 data set stays uint8.

    A fit that fails leaves the attributes of an earlier one as they are. Ctrl-C during the iterations leaves the best
    state so far in the attributes, then raises KeyboardInterrupt.

    Examples
    --------
    >>> import numpy as np
    >>> from gpukm import KMeans
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> kmeans = KMeans(n_clusters=2, random_state=0).fit(X)
    >>> sorted(kmeans.cluster_centers_.tolist())
    [[1.0, 2.0], [10.0, 2.0]]
    >>> kmeans.inertia_
    16.0
    """

    labels_: Array
    inertia_: float
    n_iter_: int
    n_features_in_: int
    feature_names_in_: NDArray[Any]
    converged_: bool
    engine_: str
    history_: list[Iteration]
    withinss_: Array
    totss_: float
    size_: Array

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: Any = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        copy_x: bool = True,
        algorithm: str = "lloyd",
        device: str = "auto",
        max_memory: int = 64 * 2**20,
        callback: Callable[[Iteration], Any] | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.device = device
        self.max_memory = max_memory
        self.callback = callback

    # fitting

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Cluster the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite numbers; see the notes of the class.
        y : ignored
            For scikit-learn's sake.
        sample_weight : array-like of shape (n_samples,), a number or None, default=None
            Weights, finite and not negative. Weight 2 is the same as a repeated row, to the bit; 0 leaves it out.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For parameters or data that are not allowed; the message says what is.
        """
        self._fit(X, sample_weight)
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Array:
        """Cluster the rows of X and return ``labels_``; see `fit` and `predict`."""
        self._fit(X, sample_weight)
        return self.labels_

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Cluster the rows of X and return their distances to the centroids; see `fit` and `transform`."""
        return self._wrap_output(self._distances(self._fit(X, sample_weight)), X)

    def _fit(self, X: Any, sample_weight: Any) -> validation.Samples:
        name = type(self).__name__
        validation.check_parameters(name, self.get_params(deep=False))
        names = feature_names(X)
        samples = validation.check_samples(X)
        validation.check_device(self.device, samples.array)
        n_samples, n_features = samples.array.shape
        weight = validation.check_sample_weight(sample_weight, n_samples)
        validation.check_enough_samples(n_samples, self.n_clusters, weight)
        rng = validation.check_random_state(self.random_state)
        start, n_init = self._start(samples, rng)
        if self.algorithm == "elkan":
            warnings.warn(
                "algorithm='elkan' has no engine of its own in this version: Lloyd's runs, with the same result. "
                "Use algorithm='lloyd'.",
                stacklevel=3,
            )

        source = source_of(samples, weight, device=self.device, max_memory=int(self.max_memory))
        stats = source.stats()  # the first look at the values: raises for NaN and infinity
        source.arrange(int(self.n_clusters))
        tol = float(self.tol) * stats.totss / (stats.total_weight * n_features)
        best: LloydResult | None = None
        interrupted = False
        try:
            for run in range(n_init):
                if run:
                    source.reset()  # so that a run's history does not depend on the run before
                centroids = start(source)
                if self.verbose:
                    print("Initialization complete")
                result = lloyd(
                    source,
                    centroids,
                    max_iter=int(self.max_iter),
                    tol=tol,
                    callback=self.callback,
                    verbose=bool(self.verbose),
                )
                if best is None or result.inertia < best.inertia:
                    best = result
                if result.interrupted:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            if best is None:
                raise
            interrupted = True
        assert best is not None

        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.n_features_in_ = int(n_features)
        self.cluster_centers_ = from_numpy(best.centroids, samples.array)
        self.labels_ = from_numpy(source.as_given(best.labels), samples.array)
        self.inertia_ = float(best.inertia)
        self.n_iter_ = int(best.n_iter)
        self.converged_ = bool(best.converged)
        self.engine_ = source.engine
        self.history_ = list(best.history)
        self.withinss_ = from_numpy(best.withinss, samples.array)
        self.totss_ = float(stats.totss)
        self.size_ = from_numpy(best.sizes, samples.array)
        if interrupted:
            raise KeyboardInterrupt("the best state so far is in the estimator's attributes")
        found = int(np.count_nonzero(best.sizes))
        if found < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({found}) found smaller than n_clusters ({self.n_clusters}). "
                f"Possibly due to duplicate points in X.",
                exception_class(ConvergenceWarning),
                stacklevel=3,
            )
        return samples

    def _start(
        self, samples: validation.Samples, rng: np.random.Generator
    ) -> tuple[Callable[[ArraySource], NDArray[Any]], int]:
        """Return what makes the starting centroids of a run, and the number of runs."""
        init, k, n_features = self.init, int(self.n_clusters), int(samples.array.shape[1])
        if isinstance(init, str):
            runs = 10 if init in ("random", "random-partition") else 1
            return lambda source: seed(source, k, init, rng)[0], runs if self.n_init == "auto" else int(self.n_init)
        if callable(init):
            return (
                lambda source: validation.check_centroids(
                    init(samples.array, k, random_state=rng), k, n_features, source.dtype, name="init(...)"
                ),
                10 if isinstance(self.n_init, str) else int(self.n_init),
            )
        given = validation.check_centroids(init, k, n_features, samples.dtype)
        if self.n_init not in ("auto", 1):
            warnings.warn(
                f"Explicit initial center position passed: performing only one init in {type(self).__name__} "
                f"instead of n_init={self.n_init}.",
                RuntimeWarning,
                stacklevel=4,
            )
        return lambda source: given, 1

    # the result

    def summary(self) -> Summary:
        """Return the result in the words of R's kmeans: sizes, means, sums of squares. ``print`` it to read it."""
        self._check_is_fitted()
        names = getattr(self, "feature_names_in_", None)
        return Summary(
            size=to_numpy(self.size_),
            centers=to_numpy(self.cluster_centers_),
            withinss=to_numpy(self.withinss_),
            tot_withinss=self.inertia_,
            totss=self.totss_,
            iter=self.n_iter_,
            converged=self.converged_,
            feature_names=None if names is None else tuple(names),
        )

    def save(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write the fitted model to a file that `gpukm.load` reads; see `gpukm.model_io.save`."""
        from gpukm.model_io import save

        save(self, path, **options)
