"""MiniBatchKMeans: parameters, where the batches come from, and the attributes. No arithmetic on X."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gpukm import _validation as validation
from gpukm._arrays import from_numpy, to_numpy
from gpukm._fitting import FittingCentroids
from gpukm._opened import open_samples
from gpukm._sklearn import _UNCHANGED
from gpukm.array_source import ArraySource
from gpukm.batches import Draws, all_rows
from gpukm.lloyd import LloydResult, lloyd
from gpukm.minibatch import State, kept, minibatch, taken_up, update
from gpukm.minibatch_start import best_start, start_size
from gpukm.placing import source_of
from gpukm.sources import Iteration

Array = Any  # an array of any array-API namespace


class MiniBatchKMeans(FittingCentroids):
    """Mini-batch k-means (Sculley 2010): the same bits on any array, any number of threads, in any order of the rows.

    For many rows, or rows that arrive in parts. With scikit-learn's parameters and defaults; those only gpukm has last.

    Parameters
    ----------
    n_clusters : int, default=8
        Clusters to find.
    init : {"k-means++", "k-means||", "random", "random-partition", "maximin"}, callable or array, default="k-means++"
        Starting centroids, of `init_size` rows drawn; see `gpukm.KMeans`. A callable gets these rows.
    max_iter : int, default=100
        Passes over X at most: ``max_iter * n_samples // batch_size`` steps.
    batch_size : int, default=1024
        Rows of a mini-batch; at most n_samples.
    verbose : int, default=0
        Print a line for each start and step.
    compute_labels : bool, default=True
        Whether to label all rows at the end: for ``labels_``, ``withinss_``, ``totss_``, ``size_``, exact ``inertia_``.
    random_state : None, int, numpy.random.Generator, RandomState, SeedSequence or BitGenerator, default=None
        Source of the random draws; as in `gpukm.KMeans`.
    tol : float, default=0.0
        If above 0, the fit also ends with a step whose sum of squared moves is at most ``tol`` times the mean variance
        of the features.
    max_no_improvement : int or None, default=10
        The fit ends after so many steps on end without a new low of the smoothed inertia of the batches, an
        exponentially weighted mean over about half a pass (over 4096 batches at most). None never ends it so.
    init_size : int or None, default=None
        Rows drawn for the start. None is 3 times `batch_size`, or 3 times `n_clusters` where that is more than the
        former; all rows where there are not so many.
    n_init : "auto" or int, default="auto"
        Starts tried, of which that with the least inertia on another `init_size` rows is kept. "auto" is 1 for
        "k-means++", "k-means||", "maximin" and an array, 3 for "random", "random-partition" and a callable.
    reassignment_ratio : float, default=0.01
        A centroid that has averaged less than this share of what the heaviest has moves to a random row of the batch;
        0 never moves one.
    refine : int, default=0
        Iterations of Lloyd's algorithm over all of X at most, from where the mini-batches ended.
    device : {"auto", "cpu", "cuda", "cuda:N"}, default="auto"
        As in `gpukm.KMeans`, but "auto" is always where X is.
    max_memory : int, default=64 MiB
        Bytes that temporaries may take up beside X, labels, distances, the order of the draws (16 bytes a row), and a
        mini-batch or the rows of a start. Rows that are no array in memory and take up more are read in chunks.
    callback : callable or None, default=None
        Called with an `Iteration` for each step of a fit, then for each iteration of `refine`; something true ends the
        one or the other.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features), float32 or float64
        Centroids.
    labels_ : int32 array of shape (n_samples,)
        Cluster of each row, by the final centroids; only with `compute_labels`. After `partial_fit`, of its rows.
    inertia_ : float
        Weighted sum of the squared distances of the rows to their centroids; an estimate from the smoothed inertia of
        the batches without `compute_labels`, and absent if there was no batch.
    n_iter_ : int
        Passes over X, the last one counted in full, and iterations of `refine`.
    n_steps_ : int
        Mini-batches taken, those of `partial_fit` included.
    counts_ : float64 array of shape (n_clusters,)
        Weight that each centroid has averaged: the more, the less the next batch moves it.
    n_features_in_, feature_names_in_, engine_, withinss_, totss_, size_
        As in `gpukm.KMeans`; the last three only with `compute_labels`.
    converged_ : bool
        Whether the fit ended by `tol` or `max_no_improvement`; with `refine`, whether Lloyd's algorithm converged.
    history_ : list of Iteration
        One for each step: its inertia is the smoothed one, scaled to all of X; ``changed`` counts the rows of the batch
        and ``relocated`` the centroids moved to a random row. Then those of `refine`.

    Notes
    -----
    Rows are drawn by weight, with replacement, in the order of a hash of their content. So the result depends neither
    on the order of the rows nor on the machine; where all weights are whole, 2 is a repeated row, to the bit. (Others
    only say how often rows are drawn.) In `partial_fit` the batch is what it is given, and the order of its rows only
    matters where a centroid moves to a random one. Batches are brought to the host; those of a SciPy sparse matrix
    stay sparse, with the bits of dense ones, and a callable `init` gets sparse rows.

    X may be a file, rows from `gpukm.open_rows` or a function making blocks, with the bits of a fit in memory: the same
    rows are drawn. A pass over X fetches as many batches as an eighth of `max_memory` holds; where these are few rows,
    and X can be sought in, they are read one by one.

    Examples
    --------
    >>> import numpy as np
    >>> from gpukm import MiniBatchKMeans
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> model = MiniBatchKMeans(n_clusters=2, batch_size=6, random_state=0, refine=10).fit(X)
    >>> sorted(model.cluster_centers_.tolist())
    [[1.0, 2.0], [10.0, 2.0]]
    >>> model = MiniBatchKMeans(n_clusters=2, random_state=0)
    >>> for batch in np.split(X, 2):
    ...     model = model.partial_fit(batch)
    >>> model.n_steps_
    2
    """

    n_steps_: int
    counts_: Array

    _takes_sparse, _restarts = True, 3
    _weighted_methods = ("fit", "partial_fit", "score")

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        max_iter: int = 100,
        batch_size: int = 1024,
        verbose: int = 0,
        compute_labels: bool = True,
        random_state: Any = None,
        tol: float = 0.0,
        max_no_improvement: int | None = 10,
        init_size: int | None = None,
        n_init: Any = "auto",
        reassignment_ratio: float = 0.01,
        refine: int = 0,
        device: str = "auto",
        max_memory: int = 64 * 2**20,
        callback: Callable[[Iteration], Any] | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.compute_labels = compute_labels
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio
        self.refine = refine
        self.device = device
        self.max_memory = max_memory
        self.callback = callback

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> Array:
        """Cluster the rows of X and return their labels, whether or not `compute_labels` keeps them; see `fit`."""
        self._fit(X, sample_weight)
        return self.labels_ if self.compute_labels else self.predict(X)

    def _fit(self, X: Any, sample_weight: Any) -> None:
        validation.check_parameters(type(self).__name__, self.get_params(deep=False))
        source, samples, names, _ = open_samples(self, X, sample_weight)
        rng = validation.check_random_state(self.random_state)
        source.bounds()  # the first look at the values: raises for NaN and infinity
        if self.compute_labels or self.refine or self.tol > 0:
            source.look()  # the pass for the draws brings the statistics
        draws, tol = Draws(source), self._tolerance(source)
        state = State.of(self._first(samples, source, draws, rng))
        batch_size = min(int(self.batch_size), draws.n_rows)
        steps = int(self.max_iter) * draws.n_rows // batch_size
        ahead = np.random.default_rng(rng.integers(2**63))  # of batches that are drawn before the steps draw from `rng`
        options: dict[str, Any] = {"callback": self.callback, "verbose": bool(self.verbose)}
        result = minibatch(
            draws.batches(ahead, batch_size, steps),
            state,
            rng=rng,
            n_samples=draws.n_rows,
            total_weight=draws.total_weight,
            max_steps=steps,
            tol=tol,
            max_no_improvement=self.max_no_improvement,
            reassignment_ratio=float(self.reassignment_ratio),
            **options,
        )
        centroids, n_iter = result.state.centroids, -(-result.n_steps * batch_size // draws.n_rows)
        history, converged, interrupted = result.history, result.converged, result.interrupted
        refined = None
        if self.refine and not interrupted:
            source.arrange(int(self.n_clusters))
            refined = lloyd(source, centroids, max_iter=int(self.refine), tol=tol, **options)
            centroids, n_iter = refined.centroids, n_iter + refined.n_iter
            history += [replace(each, iteration=result.n_steps + each.iteration) for each in refined.history]
            converged, interrupted = refined.converged, refined.interrupted
        found = self._describe(source, centroids, samples.array, refined)
        if "inertia_" not in found and result.inertia is not None:
            found["inertia_"] = result.inertia * draws.total_weight
        self._forget()
        self._set_features(names, source.n_features)
        vars(self).update(found, n_iter_=int(n_iter), n_steps_=int(result.n_steps), history_=history)
        self._keep(result.state._replace(centroids=centroids), rng, samples.array, source)
        self.converged_ = bool(converged)
        if interrupted:
            raise KeyboardInterrupt("the best state so far is in the estimator's attributes")
        if self.compute_labels:
            self._warn_if_few(int(np.count_nonzero(to_numpy(self.size_))), stacklevel=3)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Take one step with X as the mini-batch: from a start chosen among its rows, or from where the model is.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Finite numbers; for the first batch at least `n_clusters` rows.
        y : ignored
            For scikit-learn's sake.
        sample_weight : array-like of shape (n_samples,), a number or None, default=None
            Weights of the rows, finite and not negative: 2 is the same as a repeated row.

        Returns
        -------
        self
            With ``n_iter_``, ``converged_`` and ``history_`` as they were. Centroids become float64 with the first
            batch of float64.

        Raises
        ------
        ValueError, TypeError
            For parameters or data that are not allowed; the model is then as it was before.
        """
        first = not self.__sklearn_is_fitted__()
        if first:
            names, samples, weight, rng = self._checked(X, sample_weight)
            source = self._samples(samples, weight)
            state = State.of(self._first(samples, source, Draws(source), rng, 1, 2))
        else:
            validation.check_parameters(type(self).__name__, self.get_params(deep=False))
            samples = self._check_new(X, "partial_fit")
            weight = self._weight(sample_weight, samples)
            centroids, rng = to_numpy(self.cluster_centers_), self._rng
            dtype = np.result_type(samples.dtype, centroids.dtype)
            source = self._samples(samples._replace(dtype=dtype), weight)
            state = State(np.ascontiguousarray(centroids, dtype), to_numpy(self.counts_), self._since)
        state = update(source, state, reassignment_ratio=float(self.reassignment_ratio), rng=rng).state
        found = self._describe(source, state.centroids, samples.array)
        self._forget()
        if first:
            self._set_features(names, source.n_features)
            self.n_steps_ = 0
        vars(self).update(found)
        self._keep(state, rng, samples.array, source)
        self.n_steps_ += 1
        return self

    def _samples(self, samples: validation.Samples, weight: NDArray[np.float64] | None) -> ArraySource:
        source = source_of(samples, weight, device=self.device, max_memory=int(self.max_memory))
        source.bounds()  # the first look at the values: raises for NaN and infinity
        return source

    def _first(
        self,
        samples: validation.Samples,
        source: ArraySource,
        draws: Draws,
        rng: np.random.Generator,
        n_init: int | None = None,
        stacklevel: int = 3,
    ) -> NDArray[Any]:
        """Choose the starting centroids."""
        start, runs = self._start(samples, rng, stacklevel + 1)
        k = int(self.n_clusters)
        size = start_size(self.init_size, int(self.batch_size), k, draws.n_rows, stacklevel=stacklevel + 1)

        def on(part: ArraySource) -> NDArray[Any]:
            same = not callable(self.init) or (part is source and not source.fetched)
            return start(part, samples.array if same else all_rows(part, samples.array))

        return best_start(source, draws, on, size, n_init or runs, rng, bool(self.verbose))

    # attributes

    def _describe(
        self, source: ArraySource, centroids: NDArray[Any], like: Array, result: LloydResult | None = None
    ) -> dict[str, Any]:
        """Return what `compute_labels` asks for, from the result of Lloyd's algorithm where it ran."""
        if not self.compute_labels:
            return {} if result is None else {"inertia_": float(result.inertia)}
        if result is not None:
            return self._of_rows(source, result.labels, result.withinss, result.inertia, result.sizes, like)
        labels, withinss, inertia = source.labelled(centroids)
        return self._of_rows(source, labels, withinss, inertia, source.sizes(labels, len(centroids)), like)

    def _keep(self, state: State, rng: np.random.Generator, like: Array, source: ArraySource) -> None:
        """Set what the next `partial_fit` goes on from."""
        self.cluster_centers_ = from_numpy(state.centroids, like)
        self.counts_ = from_numpy(state.counts, like)
        self.engine_ = source.engine
        self._since, self._rng = int(state.since), rng

    def _progress(self) -> dict[str, Any]:
        """Return what a model file keeps for `partial_fit`."""
        return kept(self.n_steps_, self._since, self._rng)

    def _resume(self, progress: dict[str, Any]) -> None:
        """Take what `_progress` returned."""
        self.n_steps_, self._since, self._rng = taken_up(progress)

    def set_partial_fit_request(self, *, sample_weight: bool | str | None = _UNCHANGED) -> Self:
        """Say whether a scikit-learn meta-estimator passes sample_weight to partial_fit; see `set_fit_request`."""
        return self._set_request("partial_fit", sample_weight)
