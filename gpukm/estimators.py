"""KMeans: parameters, which source, the runs, and the attributes. No arithmetic on X."""

import os
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np

from gpukm import _validation as validation
from gpukm._arrays import from_numpy
from gpukm._fitting import FittingCentroids
from gpukm._opened import open_samples
from gpukm.checkpoint import Checkpoint, fit_identity
from gpukm.hartigan_wong import hartigan_wong
from gpukm.lloyd import lloyd, update
from gpukm.macqueen import macqueen
from gpukm.placing import placed
from gpukm.refine import REFINEMENTS, Refinement
from gpukm.runs import best_run
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
    n_init : "auto" or int, default="auto" (R: nstart)
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
        seed is drawn. None takes fresh entropy. What is drawn depends on the rows' contents in the dtype they are
        computed in: float32 and float64 copies of the same values start from different rows, also with one seed.
    copy_x : bool, default=True
        For scikit-learn's sake: X is never changed, and never copied as a whole, either way.
    algorithm : {"lloyd", "elkan", "hartigan-wong", "macqueen"}, default="lloyd"
        "elkan" is Lloyd's here: Elkan's (2003) has the same result in exact arithmetic, and bounds that save work are
        kept anyway where they do. R's "hartigan-wong" (1979; R's default; better optima) moves one row at a time where
        that lowers the inertia, "macqueen" (1967) to the nearest of the running means: on the CPU, in a copy of the
        distinct rows, until none moves, whatever `tol`.
    device : {"auto", "cpu", "cuda", "cuda:N"}, default="auto"
        Where to compute. "auto" is where X is: CuPy arrays, and torch's on a GPU where CuPy is installed, run on the
        CUDA engine. An X on the host whose fit would take seconds goes to a GPU where CuPy finds one with room for it,
        and a trial with some of the rows shows that it is at least twice as fast, and gives the same labels and sums.
        "cuda" and "cuda:N" copy an X on the host to that GPU; "cpu" never does.
    max_memory : int, default=64 MiB
        Bytes that temporaries may take up beside X, labels and distances. Where it pays, and within these bytes, a copy
        of X is made with its rows sorted in space (for up to 4 features and from 32 clusters on, from 12 where
        `max_iter` is 40 or more; on a GPU from 64), or in 8 bits (whole numbers, 96 features or more, up to 31
        clusters). A process keeps the memory of its last sorted copy for the next one, up to 32 MiB. Rows in a file, in
        a memory map or made by a function are read in chunks if they take up more.
    callback : callable or None, default=None
        Called with each `Iteration` of each run; something true ends the run.
    refine : {"random-swap", "hartigan-wong"} or None, default=None
        A search that goes on from the best run and never raises the inertia: "random-swap" moves one centroid at a time
        elsewhere, followed by Lloyd's iterations, until 75 moves in a row are in vain (`gpukm.random_swap`);
        "hartigan-wong" moves one row at a time, as that algorithm does. `max_iter` counts anew.
    checkpoint : str, path or None, default=None
        A file for the state of a fit, replaced atomically. Where it exists, fit goes on from it to the bits that it
        would have reached without interruption; a file of another fit or of another kind is refused.
    checkpoint_every : float, default=60.0
        Seconds between two checkpoints at least.

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
        The engine that ran, the last of two where compiled code came in the middle: "numpy", "numba", "numpy-csr"
        (sparse), "cuda", or "array-api:torch" and the like.
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
    X may be a NumPy array of any strides and byte order, a list, a pandas or polars DataFrame, a pyarrow Table, a SciPy
    sparse matrix (clustered as it is stored, in compressed rows, to the bits of the dense matrix), or an array of any
    array-API namespace; arrays come back in the namespace and on the device of X. float32, float16, bool
    and integers of up to 16 bits are computed in float32, which holds them exactly, the rest in float64. X is converted
    block by block, so that a uint8 data set stays uint8.

    X may also be the path of a file, rows from `gpukm.open_rows`, an array of h5py or Zarr, or a function that returns
    a fresh iterator of blocks each time. What takes up more than ``max_memory`` bytes is never in memory as a whole;
    kept for each row are its label and, during the fit, up to 34 bytes. The results are the same bits.

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

    _takes_sparse = True
    _rules: ClassVar = {"refine": validation.words(None, *REFINEMENTS)}

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
        refine: str | None = None,
        device: str = "auto",
        max_memory: int = 64 * 2**20,
        callback: Callable[[Iteration], Any] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: float = 60.0,
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
        self.refine = refine
        self.device = device
        self.max_memory = max_memory
        self.callback = callback
        self.checkpoint = checkpoint
        self.checkpoint_every = checkpoint_every

    def _fit(self, X: Any, sample_weight: Any, refine: Refinement | None = None) -> None:
        validation.check_parameters(type(self).__name__, self.get_params(deep=False), self._rules)
        search: Any = {"hartigan-wong": hartigan_wong, "macqueen": macqueen}.get(self.algorithm)
        checkpoint = None
        if self.checkpoint is not None:
            if search is not None:
                raise ValueError(f"checkpoint goes with algorithm='lloyd', not with algorithm={self.algorithm!r}")
            checkpoint = Checkpoint(self.checkpoint, float(self.checkpoint_every))
        one_by_one = search is not None
        if search is None:
            search = lloyd if self._project is None else partial(lloyd, move=partial(update, project=self._project))
        source, samples, names, given = open_samples(self, X, sample_weight)
        rng = validation.check_random_state(self.random_state)
        drawn_from = rng.bit_generator.state
        start, n_init = self._start(samples, rng)
        source.look()  # raises for NaN and infinity
        refine = REFINEMENTS.get(self.refine or "", refine)
        if not one_by_one and refine is None:
            source = placed(source, self.device, int(self.n_clusters), int(self.max_iter), int(self.max_memory))
        source.arrange(int(self.n_clusters), often=refine is not None, max_iter=int(self.max_iter))
        if checkpoint is not None:
            checkpoint.match(fit_identity(self, source, n_init, drawn_from))
        best = best_run(
            source,
            lambda source: start(source, given),
            n_init,
            rng,
            max_iter=int(self.max_iter),
            tol=self._tolerance,
            callback=self.callback,
            verbose=bool(self.verbose),
            search=search,
            refine=refine,
            checkpoint=checkpoint,
        )

        self._set_features(names, source.n_features)
        self.cluster_centers_ = from_numpy(best.centroids, samples.array)
        of_rows = best.labels, best.withinss, best.inertia, best.sizes
        vars(self).update(self._of_rows(source, *of_rows, samples.array))
        self.n_iter_ = int(best.n_iter)
        self.converged_ = bool(best.converged)
        self.engine_ = source.engine
        self.history_ = list(best.history)
        if best.interrupted:
            raise KeyboardInterrupt("the best state so far is in the estimator's attributes")
        self._warn_if_few(int(np.count_nonzero(best.sizes)), stacklevel=3)
