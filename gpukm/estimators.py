"""KMeans: parameters, which source, the runs, and the attributes. No arithmetic on X."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from gpukm import _validation as validation
from gpukm._arrays import from_numpy
from gpukm._fitting import FittingCentroids
from gpukm.lloyd import LloydResult, lloyd
from gpukm.placing import source_of
from gpukm.sources import Iteration

Array = Any  # an array of any array-API namespace


class KMeans(FittingCentroids):
    """K-means clustering (Lloyd 1982), exact: the same bits on any array, device and number of threads.

    Parameters, defaults and attributes are those of scikit-learn's ``KMeans``; those only gpukm has come last.

    Parameters
    ----------
    n_clusters : int, default=8
        Clusters to find.
    init : {"k-means++", "k-means||", "random", "random-partition", "maximin"}, callable or array, default="k-means++"
        Starting centroids:

        * "k-means++": greedy k-means++ (Arthur & Vassilvitskii 2007)
        * "k-means||": for many clusters of many rows: as good, in a few passes over X (Bahmani et al. 2012)
        * "random": rows drawn by weight, without replacement (Forgy 1965)
        * "random-partition": the means of a random partition of the rows
        * "maximin": a random row, then always the row farthest from those chosen (Gonzalez 1985)
        * an array of shape (n_clusters, n_features), rounded to the dtype X is computed in
        * a callable ``init(X, n_clusters, random_state)``, which gets X as an array in its own dtype and a
          ``numpy.random.Generator``, and returns such an array
    n_init : "auto" or int, default="auto"
        Runs from different starting centroids, of which that of least inertia is kept. "auto" is 1 for "k-means++",
        "k-means||", "maximin" and an array, 10 for "random", "random-partition" and a callable. An array is run once.
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

    def _fit(self, X: Any, sample_weight: Any) -> validation.Samples:
        names, samples, weight, rng = self._checked(X, sample_weight)
        n_features = samples.array.shape[1]
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
                centroids = start(source, samples.array)
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

        self._set_features(names, n_features)
        self.cluster_centers_ = from_numpy(best.centroids, samples.array)
        vars(self).update(self._of_rows(source, best.labels, best.withinss, best.inertia, samples.array))
        self.n_iter_ = int(best.n_iter)
        self.converged_ = bool(best.converged)
        self.engine_ = source.engine
        self.history_ = list(best.history)
        if interrupted:
            raise KeyboardInterrupt("the best state so far is in the estimator's attributes")
        self._warn_if_few(int(np.count_nonzero(best.sizes)), stacklevel=3)
        return samples
