"""What an estimator with fitted centroids does with new samples: predict, transform, score."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm import _validation as validation
from gpukm._arrays import from_numpy, to_numpy
from gpukm._sklearn import SklearnProtocols
from gpukm.array_source import ArraySource
from gpukm.placing import source_of

Array = Any  # an array of any array-API namespace


class FittedCentroids(SklearnProtocols):
    """The methods that need nothing of a fit but `cluster_centers_`; `max_memory` is a parameter of the subclass."""

    cluster_centers_: Array
    max_memory: int

    def predict(self, X: Any) -> Array:
        """Return the nearest centroid of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            In the namespace and on the device of the fit, in any supported dtype: where X or the centroids are float64,
            distances are those of float64 numbers, and neither is rounded.

        Returns
        -------
        int32 array of shape (n_samples,), of the kind of X

        Raises
        ------
        NotFittedError
            Before fit.
        ValueError
            For other features, or another namespace or device, than those of the fit.
        """
        samples = self._check_new(X, "predict")
        source, centroids = self._source(samples)
        return from_numpy(source.assign(centroids), samples.array)

    def transform(self, X: Any) -> Any:
        """Return the Euclidean distances (not squared) of each row to each centroid.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            As for `predict`.

        Returns
        -------
        array of shape (n_samples, n_clusters), of the kind of X, or what `set_output` asks for
            float32 where X and the centroids are computed in float32, else float64.
        """
        return self._wrap_output(self._distances(self._check_new(X, "transform")), X)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return minus the inertia of X: the weighted sum of squared distances to the nearest centroids.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            As for `predict`.
        y : ignored
            For scikit-learn's sake.
        sample_weight : array-like of shape (n_samples,), a number or None, default=None
            As for `fit`.
        """
        samples = self._check_new(X, "score")
        weight = validation.check_sample_weight(sample_weight, samples.array.shape[0])
        source, centroids = self._source(samples, weight)
        return -float(source.inertia(centroids, source.assign(centroids))[1])

    def _check_new(self, X: Any, method: str) -> validation.Samples:
        self._check_is_fitted()
        name = type(self).__name__
        self._check_feature_names(X)
        samples = validation.check_samples(X)
        validation.check_n_features(samples.array.shape[1], self.cluster_centers_.shape[1], name)
        validation.check_same_place(samples.array, self.cluster_centers_, f"{name}.{method}")
        return samples

    def _source(
        self, samples: validation.Samples, weight: NDArray[np.float64] | None = None
    ) -> tuple[ArraySource, NDArray[Any]]:
        """Return a source of `samples`, known to be finite, and the centroids, both in the wider of their dtypes."""
        centroids = to_numpy(self.cluster_centers_)
        dtype = np.result_type(samples.dtype, centroids.dtype)
        device = getattr(self, "device", "auto")
        source = source_of(samples, weight, dtype=dtype, device=device, max_memory=int(self.max_memory))
        source.bounds()
        return source, np.ascontiguousarray(centroids, dtype)

    def _distances(self, samples: validation.Samples) -> Array:
        source, centroids = self._source(samples)
        return from_numpy(source.distances(centroids), samples.array)
