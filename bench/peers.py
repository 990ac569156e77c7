"""The contestants, behind one call: same rows, same start, same number of centroid updates.

What is equal: a fit is ``iterations`` centroid updates followed by one assignment of the rows to the final centroids.
Libraries count the last assignment differently. scikit-learn, scikit-learn-intelex and gpukm make it themselves after
``max_iter`` updates, so that their labels belong to their centroids. SciPy and faiss end on an update and would hand
back labels one update old (or none), so that assignment is asked of them here, inside the clock, by their own means.
None may converge early: ``tol=0``, and `check_equal` refuses the round if one stopped before the others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from unittest import mock

import numpy as np
import plain
from shapes import Workload
from timing import cores

# Seconds before each fit. OpenBLAS's threads spin for 2^26 cycles (some 25 ms) after their last product, OpenMP's for a
# shorter while: those of the contestant before, or of the harness's inertia, would hold the cores this one needs.
IDLE = 0.05


@dataclass(frozen=True)
class Fit:
    """What one contestant did, and how long it took."""

    centroids: np.ndarray
    iterations: int  # centroid updates done
    inertia: float  # of these centroids over X, float64, by `inertia` below and by nobody else
    seconds: float
    undecided: int | None = None  # rows that the filter left to be settled, over all iterations (gpukm only)


def fit(name: str, X: np.ndarray, centroids: np.ndarray, iterations: int) -> Fit:
    """One timed fit by the contestant called ``name``; the inertia is computed after the clock has stopped."""
    from threadpoolctl import threadpool_limits

    given = centroids.copy()
    # A contestant that leaves the BLAS pool at one thread behind it must not slow down the next one.
    with threadpool_limits(cores()):
        time.sleep(IDLE)
        began = time.perf_counter()
        found, done, undecided = CONTESTANTS[name].run(X, given, iterations)
        seconds = time.perf_counter() - began
    found = np.asarray(found)
    return Fit(found, int(done), inertia(X, found), seconds, undecided)


def inertia(X: np.ndarray, centroids: np.ndarray, rows: int = 1 << 14) -> float:
    """Sum of squared distances to the nearest centroid, in float64, in blocks of ``rows``."""
    mean = centroids.mean(axis=0, dtype=np.float64)
    C = centroids - mean
    half = (C * C).sum(axis=1) / 2
    total = 0.0
    for i in range(0, len(X), rows):
        block = X[i : i + rows] - mean
        block -= C[np.argmin(half - block @ C.T, axis=1)]
        total += float(np.einsum("ij,ij->", block, block))
    return total


def check_equal(workload: Workload, fits: dict[str, Fit]) -> None:
    """Raise SystemExit unless all contestants did the same number of updates and reached the same inertia.

    Not bit for bit: all but gpukm decide near ties and round sums in their own way. ``workload.rtol`` bounds that.
    """
    first, *others = fits
    for other in others:
        a, b = fits[first], fits[other]
        if a.iterations != b.iterations:
            raise SystemExit(
                f"{workload.name}: unequal work: {first} did {a.iterations} updates (inertia {a.inertia:.9g}), "
                f"{other} did {b.iterations} (inertia {b.inertia:.9g}); one has converged. "
                "Give the workload fewer iterations, or leave one out with --peers."
            )
        if not abs(a.inertia - b.inertia) <= workload.rtol * max(a.inertia, b.inertia):
            raise SystemExit(
                f"{workload.name}: unequal work: after {a.iterations} updates from the same start, {first} has inertia "
                f"{a.inertia:.9g} and {other} has {b.inertia:.9g}, more than {workload.rtol:g} apart (relative). "
                "Find out why, or leave one out with --peers."
            )


def _scikit_learn(X, centroids, iterations):
    from sklearn.cluster import KMeans

    model = KMeans(len(centroids), init=centroids, n_init=1, max_iter=iterations, tol=0, algorithm="lloyd").fit(X)
    return model.cluster_centers_, model.n_iter_, None


def _scikit_learn_intelex(X, centroids, iterations):
    # Imported directly: patch_sklearn() would replace scikit-learn's own KMeans for the other contestant too.
    from sklearnex.cluster import KMeans

    model = KMeans(len(centroids), init=centroids, n_init=1, max_iter=iterations, tol=0, algorithm="lloyd").fit(X)
    if not hasattr(model, "_onedal_estimator"):
        raise SystemExit("scikit-learn-intelex fell back to scikit-learn here; leave it out with --peers")
    return model.cluster_centers_, model.n_iter_, None


def _scipy(X, centroids, iterations):
    from scipy.cluster.vq import kmeans2, vq

    found, _ = kmeans2(X, centroids, iter=iterations, minit="matrix", missing="warn")  # iter updates, never fewer
    vq(X, found)
    return found, iterations, None


def _faiss(X, centroids, iterations):
    import faiss

    # Without the two limits faiss clusters a sample of 256 rows a centroid, and complains below 39.
    model = faiss.Kmeans(
        X.shape[1],
        len(centroids),
        niter=iterations,
        nredo=1,
        spherical=False,
        max_points_per_centroid=len(X),
        min_points_per_centroid=1,
    )
    model.train(X, init_centroids=centroids)
    model.assign(X)
    return model.centroids, len(model.obj), None


def _numpy_plain(X, centroids, iterations):
    return plain.fit(X, centroids, iterations, threads=cores()), iterations, None


def _gpukm_numpy(X, centroids, iterations):
    with mock.patch.dict(os.environ, GPUKM_ENGINE="numpy"):
        return _gpukm(X, centroids, iterations)


def _gpukm(X, centroids, iterations):
    from gpukm import KMeans

    model = KMeans(len(centroids), init=centroids, n_init=1, max_iter=iterations, tol=0).fit(X)
    undecided = [step.undecided for step in model.history_]
    return model.cluster_centers_, model.n_iter_, None if None in undecided else sum(undecided)


@dataclass(frozen=True)
class Contestant:
    """A library and how it is called."""

    package: str  # what to install
    module: str  # what is there once it is
    run: Callable  # (X, centroids, iterations) -> (centroids, updates done, undecided rows or None)


CONTESTANTS = {
    "scikit-learn": Contestant("scikit-learn", "sklearn", _scikit_learn),
    "scikit-learn-intelex": Contestant("scikit-learn-intelex", "sklearnex", _scikit_learn_intelex),
    "scipy": Contestant("scipy", "scipy", _scipy),
    "faiss": Contestant("faiss-cpu", "faiss", _faiss),
    "numpy-plain": Contestant("numpy scipy", "scipy", _numpy_plain),
    "gpukm-numpy": Contestant("-e .", "gpukm", _gpukm_numpy),
    "gpukm": Contestant("-e .", "gpukm", _gpukm),
}


def select(names=None) -> list[str]:
    """The contestants called ``names``, which must be installed; None: gpukm, and all that are installed."""
    unknown = [name for name in names or () if name not in CONTESTANTS]
    if unknown:
        raise SystemExit(f"unknown peer {', '.join(unknown)}; there are {', '.join(CONTESTANTS)}")
    missing = [name for name, c in CONTESTANTS.items() if find_spec(c.module) is None]
    for name in ["gpukm"] if names is None else names:
        if name in missing:
            raise SystemExit(f"{name} is not installed: pip install {CONTESTANTS[name].package}")
    # In the order above, so that scikit-learn is the first and the one the others are compared with.
    return [name for name in CONTESTANTS if name not in missing and (names is None or name in names)]
