"""What an estimator with fitted centroids does with new samples: predict, transform, score."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm import _validation as validation
from gpukm._arrays import from_numpy, to_numpy
from gpukm._dask import DaskRows, answered_lazily, is_dask_array
from gpukm._files import PathLike
from gpukm._opened import answer_in_chunks, open_rows_of, stream_of
from gpukm._places import check_same_place
from gpukm._sklearn import SklearnProtocols
from gpukm.array_source import ArraySource
from gpukm.chunks import Chunks
from gpukm.placing import source_of
from gpukm.readers import as_reader

Array = Any  # an array of any array-API namespace


class FittedCentroids(SklearnProtocols):
    """The methods that need nothing of a fit but `cluster_centers_`; `max_memory` is a parameter of the subclass."""

    cluster_centers_: Array
    max_memory: int
    _takes_chunks = True  # whether rows that are read a few at a time will do

    def predict(self, X: Any, *, out: PathLike | None = None, force: bool = False) -> Array:
        """Return the nearest centroid of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path, or rows from `gpukm.open_rows`
            In the namespace and on the device of the fit, in any supported dtype: where X or the centroids are float64,
            distances are those of float64 numbers, and neither is rounded. A file is read once, a block at a time. For
            a dask array the answer is one, too, which is computed when it is asked for.
        out : str, path or None, default=None
            Write the labels to this .npy file, a block at a time, and return it memory-mapped. The file appears when it
            is whole.
        force : bool, default=False
            Replace `out` if it exists.

        Returns
        -------
        int32 array of shape (n_samples,), of the kind of X

        Raises
        ------
        NotFittedError
            Before fit.
        ValueError
            For other features, or another namespace or device, than those of the fit.
        OSError
            If `out` exists and `force` is not set, or cannot be written; nothing half-written is left.
        """
        if self._lazy(X, "predict", out):
            return answered_lazily(X, self, lambda model, rows: model.predict(rows), 0, np.int32)
        rows = self._check_new(X, "predict", whole=False)
        if isinstance(rows, Chunks) or out is not None:
            return self._in_chunks(rows, lambda source, C: source.assign(C), 4, out, force)
        source, centroids = self._source(rows)
        return from_numpy(source.assign(centroids), rows.array)

    def transform(self, X: Any, *, out: PathLike | None = None, force: bool = False) -> Any:
        """Return the Euclidean distances (not squared) of each row to each centroid.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), path, or rows from `gpukm.open_rows`
            As for `predict`.
        out, force
            As for `predict`: a .npy file for the distances.

        Returns
        -------
        array of shape (n_samples, n_clusters), of the kind of X, or what `set_output` asks for
            float32 where X and the centroids are computed in float32, else float64.
        """
        if self._lazy(X, "transform", out):
            dtype = np.result_type(validation.compute_dtype(np.empty(0, X.dtype)), self.cluster_centers_.dtype)
            width = self.cluster_centers_.shape[0]
            return answered_lazily(X, self, lambda model, rows: model.transform(rows), width, dtype)
        rows = self._check_new(X, "transform", whole=False)
        if isinstance(rows, Chunks) or out is not None:
            row_bytes = 8 * self.cluster_centers_.shape[0]
            distances = self._in_chunks(rows, lambda source, C: source.distances(C), row_bytes, out, force)
            return distances if out is not None else self._wrap_output(distances, X)
        source, centroids = self._source(rows)
        return self._wrap_output(from_numpy(source.distances(centroids), rows.array), X)

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
        rows = self._check_new(X, "score", whole=False)

        def weigh(n_samples: int) -> NDArray[np.float64] | None:
            return validation.check_sample_weight(sample_weight, n_samples)

        source: ArraySource
        if isinstance(rows, Chunks):
            fitted = to_numpy(self.cluster_centers_)
            source = stream_of(rows, weigh, device=self._device, max_memory=int(self.max_memory), least=fitted.dtype)
            centroids = np.ascontiguousarray(fitted, source.dtype)
        else:
            source, centroids = self._source(rows, self._weight(sample_weight, rows))
        return -float(source.labelled(centroids)[2])

    def _samples_of(self, X: Any) -> validation.Samples:
        """X as it is clustered."""
        return validation.check_samples(X, sparse=self._takes_sparse)

    def _weight(self, sample_weight: Any, samples: validation.Samples) -> NDArray[np.float64] | None:
        """Weights of the rows, or None for ones."""
        return validation.check_sample_weight(sample_weight, samples.array.shape[0], samples.array)

    def _check_new(self, X: Any, method: str, *, whole: bool = True) -> Any:
        """Return X as checked samples; unless they have to be in memory as a `whole`, `Chunks` where they are large."""
        self._check_is_fitted()
        d = int(self.cluster_centers_.shape[1])
        reader = None if whole or not self._takes_chunks else as_reader(X)
        self._check_feature_names(X if reader is None else reader)
        rows = X if reader is None else open_rows_of(reader, int(self.max_memory), d, self._device)[0]
        if isinstance(rows, Chunks):
            width, like = rows.n_features or d, np.empty(0)
        else:
            rows = self._samples_of(rows)
            width, like = rows.array.shape[1], rows.array
        self._check_width(int(width), like, method)
        return rows

    def _check_width(self, width: int, like: Array, method: str) -> None:
        """Raise unless rows with so many features, in the place of `like`, are such as those of the fit."""
        name = type(self).__name__
        validation.check_n_features(width, int(self.cluster_centers_.shape[1]), name)
        check_same_place(like, self.cluster_centers_, f"{name}.{method}")

    def _lazy(self, X: Any, method: str, out: PathLike | None) -> bool:
        """Whether the answer is a dask array, as X is; checks what can be checked of X before it is computed."""
        if out is not None or not self._takes_chunks or not is_dask_array(X):
            return False
        self._check_is_fitted()
        self._check_feature_names(X)
        self._check_width(int(DaskRows(X).shape[1] or 0), np.empty(0), method)
        return True

    @property
    def _device(self) -> str:
        return getattr(self, "device", "auto")

    def _in_chunks(self, rows: Any, answer: Any, row_bytes: int, out: PathLike | None, force: bool) -> NDArray:
        centroids, memory = to_numpy(self.cluster_centers_), int(self.max_memory)
        where: Any = {"device": self._device, "max_memory": memory, "out": out, "force": force}
        return answer_in_chunks(rows, centroids, answer, row_bytes=row_bytes, **where)

    def _source(
        self, samples: validation.Samples, weight: NDArray[np.float64] | None = None
    ) -> tuple[ArraySource, NDArray[Any]]:
        """Return a source of `samples`, known to be finite, and the centroids, both in the wider of their dtypes."""
        centroids = to_numpy(self.cluster_centers_)
        dtype = np.result_type(samples.dtype, centroids.dtype)
        source = source_of(samples, weight, dtype=dtype, device=self._device, max_memory=int(self.max_memory))
        source.bounds()
        return source, np.ascontiguousarray(centroids, dtype)
