"""SphericalKMeans: k-means of directions. Rows and centroids have length 1; the rest is KMeans."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm import _validation as validation
from gpukm import kernels
from gpukm._arrays import array_namespace, from_numpy, is_sparse, to_numpy
from gpukm._nonfinite import nonfinite
from gpukm.estimators import KMeans
from gpukm.exact import LARGEST, SMALLEST, squared_distances
from gpukm.lloyd import Projection
from gpukm.sources import Iteration

Array = Any  # an array of any array-API namespace

VALUES = 1 << 18  # of rows that are made to have length 1 at once


class SphericalKMeans(KMeans):
    """Spherical k-means (Dhillon & Modha 2001): clusters by cosine, exact, the same bits everywhere.

    Each row x becomes x / |x|, and after each update so does each centroid; labels, sums and starts are those of
    `gpukm.KMeans` on these rows. Of directions at an angle a the squared distance is 2 - 2 cos(a), so that the nearest
    centroid is that of the greatest cosine, and the inertia is twice the sum of w (1 - cos(a)).

    Parameters
    ----------
    n_clusters : int, default=8
        Clusters to find.
    init : {"k-means++", "random", "random-partition", "maximin"}, callable or array, default="k-means++"
        Starting centroids, see `gpukm.KMeans`; they are made to have length 1. A callable gets the rows at length 1.
    n_init : "auto" or int, default="auto"
        Runs from different starting centroids, see `gpukm.KMeans`.
    max_iter : int, default=300
        Iterations of a run at most.
    tol : float, default=1e-4
        As for `gpukm.KMeans`, relative to the variance of the rows at length 1.
    verbose, random_state, device, max_memory, callback
        See `gpukm.KMeans`.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features), float32 or float64
        Directions, of length 1 but for the rounding of their dtype.
    labels_, inertia_, withinss_, totss_, size_, n_iter_, converged_, history_, engine_
        As in `gpukm.KMeans`, of the rows at length 1.

    Notes
    -----
    The length |x| is the square root of the canonical distance of `gpukm.exact` to the origin, in float64; x_j / |x| is
    rounded to float64, then to the dtype X is computed in. So the rows are the same bits on every array, and what
    follows is exact for them. They are a copy of X in that dtype; of a sparse matrix, of its stored values.

    A row of zeros has no direction: it is left out, as by weight 0, and its label says nothing. A centroid whose rows
    cancel stays where it was.

    `transform` returns distances between points at length 1; the cosine is ``1 - distance ** 2 / 2``.

    Examples
    --------
    >>> import numpy as np
    >>> from gpukm import SphericalKMeans
    >>> X = np.array([[1.0, 0.1], [9.0, 1.0], [0.1, 3.0], [0.0, 0.2]])
    >>> SphericalKMeans(2, random_state=0).fit(X).predict([[100.0, 1.0], [0.0, 1e-3]]).tolist() in ([0, 1], [1, 0])
    True
    """

    algorithm, refine, checkpoint = "lloyd", None, None  # which are parameters of KMeans, and not of this
    _takes_chunks = False

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
        self.device = device
        self.max_memory = max_memory
        self.callback = callback

    @property
    def _project(self) -> Projection:
        return unit_centroids

    def _samples_of(self, X: Any) -> validation.Samples:
        return unit_rows(super()._samples_of(X))

    def _weight(self, sample_weight: Any, samples: validation.Samples) -> NDArray[np.float64]:
        weight = super()._weight(sample_weight, samples)
        X = samples.array
        some = (abs(X) @ np.ones(X.shape[1])) if is_sparse(X) else to_numpy(samples.xp.any(X != 0, axis=1))
        weight = np.where(some, 1.0 if weight is None else weight, 0.0)
        if not weight.any():
            raise ValueError("X has no row with a direction: rows of zeros, and those of weight 0, are left out.")
        return weight

    def _start(
        self, samples: validation.Samples, rng: np.random.Generator, stacklevel: int = 3
    ) -> tuple[Callable[..., NDArray[Any]], int]:
        start, n_init = super()._start(samples, rng, stacklevel + 1)

        def unit(source: Any, X: Array) -> NDArray[Any]:
            centroids = start(source, X)
            if not centroids.any(axis=1).all():
                row = int(np.argmin(centroids.any(axis=1)))
                raise ValueError(f"Starting centroid {row} is zero throughout: it has no direction. Leave it out.")
            return unit_centroids(centroids.astype(np.float64), centroids)

        return unit, n_init


def unit_centroids(means: NDArray[np.float64], before: NDArray[Any]) -> NDArray[Any]:
    """Means (k, d) divided by their lengths, in the dtype of the centroids `before`, which stay where a mean is 0."""
    lengths = np.sqrt(squared_distances(means, np.zeros((1, means.shape[1]))))[:, None]
    return np.where(lengths > 0, means / np.where(lengths > 0, lengths, 1.0), before).astype(before.dtype)


def unit_rows(samples: validation.Samples) -> validation.Samples:
    """Rows divided by their lengths, in the compute dtype, of the kind and on the device of X; zeros stay zero.

    Raises
    ------
    ValueError
        For NaN and infinity, and lengths whose squares float64 cannot hold.
    """
    X, dtype = samples.array, samples.dtype
    if is_sparse(X):
        rows = kernels.CSR(X.data.astype(dtype, copy=False), X.indices, X.indptr.astype(np.int64), X.shape[1])
        rows.check_finite(nonfinite)
        some = np.bincount(rows.rows, rows.values != 0, len(rows)) > 0
        lengths = _lengths(kernels.squared_distances_csr, rows, np.zeros(X.shape[1]), some, 0)
        data = (rows.values / np.repeat(lengths, np.diff(X.indptr))).astype(dtype)
        return samples._replace(array=type(X)((data, X.indices, X.indptr), shape=X.shape))
    validation.check_finite(samples)
    n, d = X.shape
    out, at_once = np.empty((n, d), dtype), max(VALUES // d, 1)
    for start in range(0, n, at_once):
        block = np.ascontiguousarray(to_numpy(X[start : min(start + at_once, n), :]), dtype)
        lengths = _lengths(squared_distances, block, np.zeros((1, d)), block.any(axis=1), start)
        out[start : start + at_once] = block / lengths[:, None]
    array = from_numpy(out, X)
    return validation.Samples(array, array_namespace(array), dtype)


def _lengths(
    distances: Callable[..., NDArray[np.float64]], rows: Any, origin: NDArray, some: Any, first: int
) -> NDArray[np.float64]:
    """Lengths to divide by, 1 for rows without `some` value; raise for those out of range, counting from `first`."""
    with np.errstate(over="ignore", under="ignore"):
        lengths = np.where(some, np.sqrt(distances(rows, origin)), 1.0)
    for row in np.flatnonzero(~((lengths >= SMALLEST) & (lengths <= LARGEST)))[:1]:
        raise ValueError(
            f"Row {first + row} of X has the length {lengths[row]:.3g}; allowed are {SMALLEST:.0e} to {LARGEST:.0e}, "
            f"or zeros throughout. Multiply that row by a power of two: its direction stays the same."
        )
    return lengths
