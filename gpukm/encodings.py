"""Features from centroids (Coates, Lee & Ng 2011; Coates & Ng 2011, 2012): a row seen from a dictionary.

Centroids learned from many small pieces, of images or of anything else, make a dictionary; a linear classifier on the
encoded rows then does what it could not do on the rows themselves. Let z_k = |x - c_k|, the exact distance:

=============  ================================  ======================================================================
encoding       f_k(x)
=============  ================================  ======================================================================
"distance"     z_k                               what `KMeans.transform` gives
"onehot"       1 for the nearest, else 0         hard assignment, as for a bag of words
"triangle"     max(0, mean(z) - z_k)             0 for about half of the centroids, those farther than the average
"rbf"          exp(-gamma z_k^2)                 a radial basis function around each centroid
"threshold"    max(0, x . c_k / |c_k| - alpha)   the thresholded product with the dictionary's direction
=============  ================================  ======================================================================
"""

import os
from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gpukm import _validation as validation
from gpukm._arrays import from_numpy, to_numpy
from gpukm._fitted import FittedCentroids
from gpukm._fitting import interrupted_as
from gpukm.array_source import ArraySource
from gpukm.estimators import KMeans
from gpukm.placing import source_of

Array = Any  # an array of any array-API namespace

ENCODINGS = ("distance", "onehot", "triangle", "rbf", "threshold")


class KMeansFeatures(FittedCentroids):
    """A transformer: learns centroids by k-means, and encodes rows by them; see `gpukm.encodings`.

    Parameters
    ----------
    n_clusters : int, default=8
        Centroids, and features that come out.
    encoding : {"triangle", "distance", "onehot", "rbf", "threshold"}, default="triangle"
        How a row is encoded.
    gamma : float or None, default=None
        Of "rbf": the inverse of a squared length, above 0. None is 1 / n_features, as in scikit-learn's `rbf_kernel`.
    alpha : float, default=0.25
        Of "threshold": what a product must exceed, at least 0, in units of the rows.
    init, n_init, max_iter, tol, random_state, max_memory
        As for `gpukm.KMeans`.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features), float32 or float64
        The dictionary.
    inertia_ : float
        Weighted sum of the squared distances of the rows of the fit to their centroids.
    n_iter_ : int
        Iterations of the fit.
    n_features_in_ : int
        Features of X.
    feature_names_in_ : ndarray of str objects, of shape (n_features,)
        Column names of X, where it is a data frame and all its names are strings.

    Notes
    -----
    "distance", "onehot" and "triangle" are the same bits everywhere. "rbf" takes NumPy's exponential and "threshold" a
    matrix product, whose last digits may depend on the processor.

    Examples
    --------
    >>> import numpy as np
    >>> from gpukm.encodings import KMeansFeatures
    >>> X = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> features = KMeansFeatures(2, encoding="triangle", init=[[0.0], [10.0]]).fit(X)
    >>> features.transform([[2.5], [10.5]]).tolist()
    [[3.0, 0.0], [0.0, 5.0]]
    """

    inertia_: float
    n_iter_: int
    n_features_in_: int
    feature_names_in_: NDArray[Any]

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        encoding: str = "triangle",
        gamma: float | None = None,
        alpha: float = 0.25,
        init: Any = "k-means++",
        n_init: Any = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        random_state: Any = None,
        max_memory: int = 64 * 2**20,
    ) -> None:
        self.n_clusters = n_clusters
        self.encoding = encoding
        self.gamma = gamma
        self.alpha = alpha
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.max_memory = max_memory

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Learn the centroids; see `gpukm.KMeans.fit`."""
        self._check_encoding()
        if not isinstance(X, str | os.PathLike):
            self._samples_of(X)  # no sparse rows, which KMeans would take
        own = ("encoding", "gamma", "alpha")
        parameters = {name: value for name, value in self.get_params().items() if name not in own}
        model = KMeans(**parameters)
        with interrupted_as("the attributes are as they were before fit"):
            model.fit(X, sample_weight=sample_weight)
        vars(self).pop("feature_names_in_", None)
        for name in ("cluster_centers_", "inertia_", "n_iter_", "n_features_in_", "feature_names_in_"):
            if hasattr(model, name):
                setattr(self, name, getattr(model, name))
        return self

    def fit_transform(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Learn the centroids from X and return X encoded by them."""
        return self.fit(X, sample_weight=sample_weight).transform(X)

    def transform(self, X: Any) -> Any:  # type: ignore[override]  # the whole of X in memory
        """Encode rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            In the namespace and on the device of the fit.

        Returns
        -------
        array of shape (n_samples, n_clusters), of the kind of X, or what `set_output` asks for
            float32 where X and the centroids are computed in float32, else float64.
        """
        samples = self._check_new(X, "transform")
        self._check_encoding()
        source, centroids = self._source(samples)
        encoded = _encode(source, centroids, self.encoding, self.gamma, float(self.alpha))
        return self._wrap_output(from_numpy(encoded, samples.array), X)

    def _check_encoding(self) -> None:
        _check(type(self).__name__, self.encoding, self.gamma, self.alpha)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.estimator_type = None
        return tags


def encode(
    X: Any, centroids: Any, encoding: str = "triangle", *, gamma: float | None = None, alpha: float = 0.25
) -> Array:
    """Encode rows by centroids from anywhere, such as ``KMeans().fit(X).cluster_centers_``.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows.
    centroids : array-like of shape (n_clusters, n_features)
        The dictionary.
    encoding, gamma, alpha
        As for `KMeansFeatures`.

    Returns
    -------
    array of shape (n_samples, n_clusters), of the kind of X

    Examples
    --------
    >>> from gpukm.encodings import encode
    >>> encode([[1.0], [9.0]], [[0.0], [10.0]], "onehot").tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    _check("encode", encoding, gamma, alpha)
    samples, book = validation.check_samples(X), validation.check_samples(centroids, name="centroids")
    k = int(book.array.shape[0])
    dtype = np.result_type(samples.dtype, book.dtype)
    host = validation.check_centroids(to_numpy(book.array), k, int(samples.array.shape[1]), dtype, name="centroids")
    source = source_of(samples, dtype=dtype, max_memory=64 * 2**20)
    source.bounds()  # raises for NaN and infinity
    return from_numpy(_encode(source, host, encoding, gamma, float(alpha)), samples.array)


def _check(owner: str, encoding: Any, gamma: Any, alpha: Any) -> None:
    def number(value: Any, least: float) -> bool:
        return isinstance(value, Real) and not isinstance(value, bool) and least <= float(value) < np.inf

    for name, value, allowed, text in (
        ("encoding", encoding, isinstance(encoding, str) and encoding in ENCODINGS, f"a str among {set(ENCODINGS)}"),
        ("gamma", gamma, gamma is None or number(gamma, np.nextafter(0, 1)), "None or a finite number above 0"),
        ("alpha", alpha, number(alpha, 0), "a finite number of at least 0"),
    ):
        if not allowed:
            raise validation.InvalidParameterError(
                f"The {name!r} parameter of {owner} must be {text}. Got {value!r} instead."
            )


def _encode(source: ArraySource, centroids: NDArray, encoding: str, gamma: float | None, alpha: float) -> NDArray:
    """(n, k) in the dtype of the source."""
    n, k = source.n_samples, len(centroids)
    if encoding == "onehot":
        out = np.zeros((n, k), source.dtype)
        out[np.arange(n), to_numpy(source.assign(centroids))] = 1
        return out
    if encoding == "threshold":
        lengths = np.sqrt((centroids.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
        units = centroids / np.where(lengths == 0, 1.0, lengths)
        out = np.empty((n, k), source.dtype)
    else:
        out = to_numpy(source.distances(centroids))
    scale = 1 / source.n_features if gamma is None else float(gamma)

    def visit(start: int, stop: int, scratch: dict) -> None:
        part = out[start:stop]
        if encoding == "threshold":
            part[...] = np.maximum(source.host_block(start, stop) @ units.T - alpha, 0)
        elif encoding == "triangle":
            part[...] = np.maximum(part.mean(axis=1, keepdims=True, dtype=np.float64) - part, 0)
        else:
            part[...] = np.exp(-scale * part.astype(np.float64) ** 2)

    if encoding != "distance":
        source.visit(visit, rows=max((1 << 18) // max(k, source.n_features), 1))
    return out
