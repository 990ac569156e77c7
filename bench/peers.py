"""The contestants, behind one call: same rows, same start, same number of centroid updates.

What is equal: a fit is ``iterations`` centroid updates followed by one assignment of the rows to the final centroids.
Libraries count the last assignment differently. scikit-learn, scikit-learn-intelex and gpukm make it themselves after
``max_iter`` updates, so that their labels belong to their centroids. SciPy and faiss end on an update and would hand
back labels one update old (or none), so that assignment is asked of them here, inside the clock, by their own means.
OpenCV starts from labels: see `_opencv`. None may converge early: ``tol=0``, and `refused` leaves out who stopped
before the others or ends elsewhere.
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


class UnequalError(Exception):
    """A contestant cannot do, or did not do, what the others did."""


def fit(
    name: str, X: np.ndarray, centroids: np.ndarray, iterations: int, known: dict[bytes, float] | None = None
) -> Fit | UnequalError:
    """One timed fit by the contestant called ``name``; the inertia is computed after the clock has stopped.

    ``known`` keeps the inertias of these X by centroids: most contestants end each round at the same.
    """
    from threadpoolctl import threadpool_limits

    given = centroids.copy()
    # A contestant that leaves the BLAS pool at one thread behind it must not slow down the next one.
    with threadpool_limits(cores()):
        time.sleep(IDLE)
        began = time.perf_counter()
        try:
            found, done, undecided = CONTESTANTS[name].run(X, given, iterations)
        except UnequalError as error:
            return error
        seconds = time.perf_counter() - began
    found, known = np.asarray(found), {} if known is None else known
    if (key := found.tobytes()) not in known:
        known[key] = inertia(X, found)
    return Fit(found, int(done), known[key], seconds, undecided)


def inertia(X: np.ndarray, centroids: np.ndarray, scores: int = 1 << 17) -> float:
    """Sum of squared distances to the nearest centroid, in float64, in blocks of about so many ``scores``."""
    mean = centroids.mean(axis=0, dtype=np.float64)
    C = centroids - mean
    half = (C * C).sum(axis=1) / 2
    total, rows = 0.0, max(scores // len(C), 64)
    for i in range(0, len(X), rows):
        block = X[i : i + rows] - mean
        block -= C[np.argmin(half - block @ C.T, axis=1)]
        total += float(np.einsum("ij,ij->", block, block))
    return total


def refused(workload: Workload, fits: dict[str, Fit | UnequalError]) -> dict[str, str]:
    """Those that did not do the work of the first, with the reason: other updates, or another inertia at their end.

    Not bit for bit: all but gpukm decide near ties and round sums in their own way. ``workload.rtol`` bounds that.

    Raises UnequalError if gpukm or the first is among them: then there is nothing to compare.
    """
    first = next(iter(fits))
    reasons = {name: str(each) for name, each in fits.items() if isinstance(each, UnequalError)}
    for name in fits.keys() - reasons.keys() - {first}:
        if first in reasons:
            break
        a, b = fits[first], fits[name]
        if a.iterations != b.iterations:
            reasons[name] = (
                f"{first} did {a.iterations} updates (inertia {a.inertia:.9g}), {name} did {b.iterations} "
                f"(inertia {b.inertia:.9g}): one has converged"
            )
        elif not abs(a.inertia - b.inertia) <= workload.rtol * max(a.inertia, b.inertia):
            reasons[name] = (
                f"after {a.iterations} updates from the same start, {first} has inertia {a.inertia:.9g} and {name} has "
                f"{b.inertia:.9g}, more than {workload.rtol:g} apart (relative)"
            )
    if fatal := [reasons[name] for name in reasons if name in (first, "gpukm", "gpukm-numpy")]:
        raise UnequalError(
            f"{workload.name}: unequal work: {fatal[0]}. Find out why, give the workload fewer iterations if one has "
            "converged, or leave one out with --peers."
        )
    return reasons


def _scikit_learn(X, centroids, iterations, algorithm="lloyd"):
    from sklearn.cluster import KMeans

    model = KMeans(len(centroids), init=centroids, n_init=1, max_iter=iterations, tol=0, algorithm=algorithm).fit(X)
    return model.cluster_centers_, model.n_iter_, None


def _scikit_learn_elkan(X, centroids, iterations):
    return _scikit_learn(X, centroids, iterations, "elkan")


def _scikit_learn_intelex(X, centroids, iterations):
    # Imported directly: patch_sklearn() would replace scikit-learn's own KMeans for the other contestant too.
    from sklearnex.cluster import KMeans

    model = KMeans(len(centroids), init=centroids, n_init=1, max_iter=iterations, tol=0, algorithm="lloyd").fit(X)
    if not hasattr(model, "_onedal_estimator"):
        raise UnequalError("scikit-learn-intelex fell back to scikit-learn here")
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


def _opencv(X, centroids, iterations):
    """OpenCV starts from centroids of its own, or from labels: those nearest to ``centroids``, found by OpenCV.

    ``maxCount`` then counts updates, 2 to 100 of them. kmeans() labels the rows after each update but the last, where
    it only adds up the distances. Both assignments that are missing at its ends are asked of OpenCV's brute-force
    matcher, inside the clock, as SciPy's and faiss's last one is of them. It does not say whether it stopped early,
    which it does when no centroid moves: then no row would change its label at the end.
    """
    import cv2

    if not 2 <= iterations <= 100 or len(centroids) == 1:
        raise UnequalError(f"OpenCV does 2 to 100 updates, not {iterations}, and with one centroid always 2")
    cv2.setNumThreads(cores())

    def nearest(centroids):
        return cv2.batchDistance(X, centroids, cv2.CV_32F, normType=cv2.NORM_L2SQR, K=1)[1].ravel()

    until = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, iterations, 0.0)
    start = nearest(centroids)
    _, before, found = cv2.kmeans(X, len(centroids), start, until, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    if np.array_equal(nearest(found), before.ravel()):
        raise UnequalError("OpenCV has converged, after an unknown number of updates")
    return found, iterations, None


def _numpy_plain(X, centroids, iterations):
    return plain.fit(X, centroids, iterations, threads=cores()), iterations, None


def _numba_plain(X, centroids, iterations):
    import plain_numba

    return plain_numba.fit(X, centroids, iterations, threads=cores()), iterations, None


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
    "scikit-learn-elkan": Contestant("scikit-learn", "sklearn", _scikit_learn_elkan),
    "scikit-learn-intelex": Contestant("scikit-learn-intelex", "sklearnex", _scikit_learn_intelex),
    "scipy": Contestant("scipy", "scipy", _scipy),
    "faiss": Contestant("faiss-cpu", "faiss", _faiss),
    "opencv": Contestant("opencv-python-headless", "cv2", _opencv),
    "numpy-plain": Contestant("numpy scipy", "scipy", _numpy_plain),
    "numba-plain": Contestant("numba", "numba", _numba_plain),
    "gpukm-numpy": Contestant("-e .", "gpukm", _gpukm_numpy),
    "gpukm": Contestant("-e .", "gpukm", _gpukm),
}


def installed(name: str) -> bool:
    """Whether a contestant can run here."""
    return find_spec(CONTESTANTS[name].module) is not None


def select(names=None) -> list[str]:
    """The contestants called ``names``, which must be installed; None: gpukm, and all that are installed."""
    unknown = [name for name in names or () if name not in CONTESTANTS]
    if unknown:
        raise SystemExit(f"unknown peer {', '.join(unknown)}; there are {', '.join(CONTESTANTS)}")
    missing = [name for name in CONTESTANTS if not installed(name)]
    for name in ["gpukm"] if names is None else names:
        if name in missing:
            raise SystemExit(f"{name} is not installed: pip install {CONTESTANTS[name].package}")
    # In the order above, so that scikit-learn is the first and the one the others are compared with.
    return [name for name in CONTESTANTS if name not in missing and (names is None or name in names)]
