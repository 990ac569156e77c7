"""What an estimator does around its fit: checks, starts, the attributes every fit sets, and the result's methods."""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gpukm import _validation as validation
from gpukm._arrays import array_namespace, from_numpy, to_numpy
from gpukm._containers import feature_names
from gpukm._fitted import FittedCentroids
from gpukm._sklearn import ConvergenceWarning, exception_class
from gpukm.array_source import ArraySource
from gpukm.lloyd import Projection
from gpukm.seeding import seed
from gpukm.sources import Iteration
from gpukm.summary import Summary

Array = Any  # an array of any array-API namespace


@contextmanager
def interrupted_as(text: str) -> Iterator[None]:
    """Say `text` with a Ctrl-C in a fit whose estimator is not the user's own."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(text) from None


class FittingCentroids(FittedCentroids):
    """What KMeans and its kin share: subclasses have the parameters of `KMeans` used here, and `_fit`."""

    n_clusters: int
    init: Any
    n_init: Any
    random_state: Any
    tol: float
    device: str

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

    _restarts = 10  # of an `init` that draws evenly
    _rules: ClassVar[dict[str, Any]] = {}  # of parameters that mean something else, or nothing, elsewhere

    @property
    def _project(self) -> Projection | None:
        """What makes centroids of means, where they are not the means themselves."""
        return None

    def _fit(self, X: Any, sample_weight: Any) -> None:
        """Fit; a warning's stacklevel reckons with two callers above this."""
        raise NotImplementedError

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
        self._fit(X, sample_weight)
        return self.transform(X)

    def _checked(
        self, X: Any, sample_weight: Any
    ) -> tuple[NDArray[Any] | None, validation.Samples, NDArray[np.float64] | None, np.random.Generator]:
        """Return column names, samples, weights and random numbers of a fit."""
        validation.check_parameters(type(self).__name__, self.get_params(deep=False), self._rules)
        names = feature_names(X)
        samples = self._samples_of(X)
        validation.check_device(self.device, samples.array)
        n_samples = samples.array.shape[0]
        weight = self._weight(sample_weight, samples)
        validation.check_enough_samples(n_samples, self.n_clusters, weight)
        return names, samples, weight, validation.check_random_state(self.random_state)

    def _set_features(self, names: NDArray[Any] | None, n_features: int) -> None:
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self.n_features_in_ = int(n_features)

    def _of_rows(
        self,
        source: ArraySource,
        labels: Array,
        withinss: NDArray[np.float64],
        inertia: float,
        sizes: NDArray[np.int64],
        like: Array,
    ) -> dict[str, Any]:
        """Return the attributes that belong to the rows of the fit."""
        return {
            "labels_": from_numpy(source.as_given(labels), like),
            "inertia_": float(inertia),
            "withinss_": from_numpy(withinss, like),
            "size_": from_numpy(sizes, like),
            "totss_": float(source.stats().totss),
        }

    def _forget(self) -> None:
        """Delete the attributes that belong to the rows of an earlier fit."""
        for name in ("labels_", "inertia_", "withinss_", "size_", "totss_"):
            vars(self).pop(name, None)

    def _warn_if_few(self, found: int, stacklevel: int) -> None:
        if found < self.n_clusters:
            warnings.warn(
                f"Number of distinct clusters ({found}) found smaller than n_clusters ({self.n_clusters}). "
                f"Possibly due to duplicate points in X.",
                exception_class(ConvergenceWarning),
                stacklevel=stacklevel + 1,
            )

    def _start(
        self, samples: validation.Samples, rng: np.random.Generator, stacklevel: int = 3
    ) -> tuple[Callable[[ArraySource, Array], NDArray[Any]], int]:
        """Return what makes the starting centroids of a run from its samples, and the number of runs."""
        init, k, n_features = self.init, int(self.n_clusters), int(samples.array.shape[1])
        if isinstance(init, str):
            runs = self._restarts if init in ("random", "random-partition") else 1
            return lambda source, _: seed(source, k, init, rng)[0], runs if self.n_init == "auto" else int(self.n_init)
        if callable(init):
            return (
                lambda source, X: validation.check_centroids(
                    init(X, k, random_state=rng), k, n_features, source.dtype, name="init(...)", X=X
                ),
                self._restarts if isinstance(self.n_init, str) else int(self.n_init),
            )
        given = validation.check_centroids(init, k, n_features, samples.dtype, X=samples.array)
        if self.n_init not in ("auto", 1):
            warnings.warn(
                f"Explicit initial center position passed: performing only one init in {type(self).__name__} "
                f"instead of n_init={self.n_init}.",
                RuntimeWarning,
                stacklevel=stacklevel + 1,
            )
        return lambda source, _: given, 1

    def _tolerance(self, source: ArraySource) -> float:
        """Return the sum of squared moves that ends a fit, from `tol`, a share of the mean variance of the features."""
        if self.tol == 0:
            return 0.0
        stats = source.stats()
        return float(self.tol) * stats.totss / (stats.total_weight * source.n_features)

    # the result

    def summary(self) -> Summary:
        """Return the result in the words of R's kmeans: sizes, means, sums of squares. ``print`` it to read it."""
        self._check_is_fitted()
        for name in ("size_", "n_iter_"):
            if not hasattr(self, name):
                way = "with compute_labels=True" if name == "size_" else "by fit, not partial_fit alone"
                raise AttributeError(f"summary() needs {name}: this model has none. Fit it {way}.")
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

    def fitted(self, method: str = "centers") -> Array:
        """Return, for each row of the fit, its centroid or its cluster, as R's ``fitted()`` does.

        Parameters
        ----------
        method : {"centers", "classes"}, default="centers"
            "centers": the centroid of its cluster, so that X less this is what the clusters leave unexplained;
            "classes": the number of its cluster, from 0 (in R from 1), which is ``labels_``.

        Returns
        -------
        array of shape (n_samples, n_features), or int32 array of shape (n_samples,)
            Of the kind of X.

        Raises
        ------
        NotFittedError, ValueError

        Examples
        --------
        >>> from gpukm import KMeans
        >>> KMeans(2, init=[[0.0], [9.0]]).fit([[0.0], [1.0], [9.0]]).fitted().tolist()
        [[0.5], [0.5], [9.0]]
        """
        self._check_is_fitted()
        if method not in ("centers", "classes"):
            raise ValueError(f"method is {method!r}; it may be 'centers' or 'classes'")
        if not hasattr(self, "labels_"):
            raise AttributeError("fitted() needs labels_: this model has none. Fit it with compute_labels=True.")
        if method == "classes":
            return self.labels_
        xp = array_namespace(self.cluster_centers_)
        return xp.take(self.cluster_centers_, xp.astype(self.labels_, xp.int64), axis=0)

    def save(self, path: str | os.PathLike[str], **options: Any) -> None:
        """Write the fitted model to a file that `gpukm.load` reads; see `gpukm.model_io.save`."""
        from gpukm.model_io import save

        save(self, path, **options)
