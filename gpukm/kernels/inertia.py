"""inertia: w D of each row to its own centroid, by cluster; and distances to all. Reference engine.

    X (m, d)    centroids (k, d)    labels (m,) int32    weights (m,) or None    ->    Sums of one column

D and its sums are exact (`gpukm.exact`): the total does not depend on how the rows are cut into blocks. With one
centroid, the mean, this is the total sum of squares.
"""

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import Sums, buffer, squared_distances
from gpukm.kernels.accumulate import accumulate_scalars


def own_distances(
    X: NDArray, centroids: NDArray, labels: NDArray[np.int32], scratch: dict, engine: str = "numpy"
) -> NDArray[np.float64]:
    """(m,) D of each row of X (m, d) to the centroid of its label."""
    if engine == "numba":
        from gpukm.kernels import inertia_numba

        out = np.empty(len(X))
        own = np.ascontiguousarray(centroids, np.float64), np.ascontiguousarray(labels, np.int32)
        inertia_numba.own_distances(X, *own, out)
        return out
    if len(centroids) == 1:
        return squared_distances(X, centroids, scratch)
    C = buffer(scratch, "own", X.shape, centroids.dtype)
    np.take(centroids, labels, axis=0, out=C, mode="clip")
    return squared_distances(X, C, scratch)


def all_distances(X: NDArray, centroids: NDArray, out: NDArray, scratch: dict, engine: str = "numpy") -> None:
    """Euclidean distances, sqrt(D), of the rows of X (m, d) to all centroids (k, d), into `out` (m, k)."""
    if engine == "numba":
        from gpukm.kernels import inertia_numba

        inertia_numba.all_distances(X, centroids, out)
        return
    for k in range(len(centroids)):
        out[:, k] = np.sqrt(squared_distances(X, centroids[k : k + 1], scratch))


def add_inertia(
    X: NDArray,
    centroids: NDArray,
    labels: NDArray[np.int32],
    weights: NDArray[np.float64] | None,
    sums: Sums,
    scratch: dict,
    engine: str = "numpy",
) -> None:
    """Add w D of each row of X (m, d), m <= BLOCK_ROWS but for the Numba engine, to its label's cluster in `sums`."""
    if engine == "numba":
        from gpukm.kernels import inertia_numba

        inertia_numba.add_inertia(X, centroids, labels, weights, sums)
    else:
        accumulate_scalars(own_distances(X, centroids, labels, scratch), labels, weights, sums, scratch)
