"""A better palette by merging and splitting: k-means stops at the first optimum, most of them a few percent off.

The clusters with most error along one axis are split, k-means runs a few iterations with more clusters than asked for,
those that are cheapest to merge are merged, k-means runs on; what has less squared error is kept. It starts with many
clusters at a time and ends with one. Nothing is drawn at random. (Splitting and merging: ISODATA, Ball & Hall 1965;
with more clusters in between: breathing k-means, Fritzke 2020.)
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.array_source import ArraySource
from gpukm.lloyd import LloydResult, lloyd, update

Floats = NDArray[np.float64]
Points = NDArray[np.float32]

BEGIN = 20  # iterations of k-means at first
WORTH = 1e-4  # an improvement by less does not earn the same step another try
SPREAD = 0.5  # standard deviations from the mean to each half; 0.8 would suit normal clusters, and measured worse


def refine(source: ArraySource, X: Points, weights: Floats, centroids: Points, fixed: int, effort: int) -> Points:
    """Centroids with less squared error than k-means finds from `centroids`, not yet converged.

    Parameters
    ----------
    source : the points X with their weights
    X, weights : (n, d), (n,)
    centroids : (k, d), of which the first `fixed` stay where they are
    effort : 0 for k-means alone; with each step more, splits are tried at four times as many places
    """
    best = settle(source, centroids, fixed, BEGIN)
    k, free = len(centroids), len(centroids) - fixed
    if effort == 0 or free < 2:
        return best.centroids
    tries = 4 ** (effort - 1) * max(1, 512 // k)
    apart, together = max(3, 160 // k), max(20, 1280 // k)  # iterations; with few clusters they are many and cheap
    size = free // 2
    while size:
        place = 0
        while place < min(tries, max(1, k // size)):
            result = settle(source, split(X, weights, best, fixed, size, place * size), fixed, apart)
            result = settle(source, merge(result, weights, fixed, k), fixed, together)
            worth = result.inertia < best.inertia * (1 - WORTH)
            if result.inertia < best.inertia:
                best = result
            place = 0 if worth else place + 1
        size = 2 * size // 3
    return best.centroids


def settle(
    source: ArraySource,
    centroids: Points,
    fixed: int,
    max_iter: int,
    adjust: Callable[[Points], Points] | None = None,
) -> LloydResult:
    """k-means with the first `fixed` centroids held, the others passed through `adjust` after each iteration."""

    def move(source: Any, step: Any, centroids: Points, means: Floats) -> tuple[Points, int]:
        new, relocated = update(source, step, centroids, means, fixed)
        if adjust is not None:
            new[fixed:] = adjust(new[fixed:])
        return new, relocated

    return lloyd(source, centroids, max_iter=max_iter, tol=0.0, move=move)


def split(X: Points, weights: Floats, state: LloydResult, fixed: int, count: int, skip: int) -> Points:
    """Centroids with up to `count` more: clusters cut in two across the axis along which they have most error.

    The `skip` clusters with most of it are left as they are.
    """
    centroids = state.centroids.astype(np.float64)
    totals, scatter = _scatter(X, weights, centroids, state.labels)
    axis = _main_axis(scatter)
    along = _product(scatter, axis)
    error = (along * axis).sum(axis=1)
    chosen = np.argsort(-error, kind="stable")[skip : skip + count]
    chosen = chosen[(error[chosen] > 0) & (totals[chosen] > 0)]
    offset = axis[chosen] * (SPREAD * np.sqrt(error[chosen] / totals[chosen]))[:, None]
    new = centroids[chosen] + offset
    held = chosen < fixed
    centroids[chosen[~held]] -= offset[~held]
    return np.concatenate([centroids, new]).astype(np.float32)


def _scatter(X: Points, weights: Floats, centroids: Floats, labels: NDArray[np.int32]) -> tuple[Floats, Floats]:
    """(k,) weight and (k, d, d) sum of w (x - c)(x - c)' of each cluster."""
    k, d = centroids.shape
    difference = [X[:, i] - centroids[labels, i] for i in range(d)]
    scatter = np.empty((k, d, d))
    for i in range(d):
        weighted = weights * difference[i]
        for j in range(i, d):
            scatter[:, i, j] = scatter[:, j, i] = np.bincount(labels, weights=weighted * difference[j], minlength=k)
    totals: Floats = np.bincount(labels, weights=weights, minlength=k).astype(np.float64)
    return totals, scatter


def _main_axis(scatter: Floats) -> Floats:
    """(k, d) unit vectors near the main axis of each matrix: a column of its 32nd power.

    Plain products and sums, whose bits do not depend on a library; where two axes are nearly as long, either will do.
    """
    power = scatter
    for _ in range(5):
        largest = np.abs(power).max(axis=(1, 2))[:, None, None]
        power = power / np.where(largest > 0, largest, 1.0)
        power = np.stack([_product(power, power[:, :, j]) for j in range(power.shape[2])], axis=2)
    column = power[np.arange(len(power)), :, np.diagonal(power, axis1=1, axis2=2).argmax(axis=1)]
    length = np.sqrt((column**2).sum(axis=1))[:, None]
    return np.where(length > 0, column / np.where(length > 0, length, 1.0), 0.0)


def _product(matrices: Floats, vectors: Floats) -> Floats:
    """(k, d) matrix times vector, for each of k."""
    total = matrices[:, :, 0] * vectors[:, None, 0]
    for j in range(1, matrices.shape[2]):
        total = total + matrices[:, :, j] * vectors[:, None, j]
    return total


def merge(state: LloydResult, weights: Floats, fixed: int, n_clusters: int) -> Points:
    """`n_clusters` centroids: pairs whose union costs least are merged, one after the other (Ward 1963).

    The first `fixed` stay where they are, so that what is merged into them moves all the way.
    """
    C = state.centroids.astype(np.float64)
    W = np.bincount(state.labels, weights=weights, minlength=len(C))
    gone, held = np.zeros(len(C), bool), np.arange(len(C)) < fixed

    def costs(i: NDArray[np.int64]) -> Floats:
        """Squared error that merging each of the clusters i with each other one adds."""
        distance = sum((C[:, axis] - C[i, axis, None]) ** 2 for axis in range(C.shape[1]))
        mine, theirs = W[i, None], W
        moved = mine * theirs / np.maximum(mine + theirs, np.finfo(np.float64).tiny)
        moved = np.where(held, mine, np.where(held[i, None], theirs, moved))
        return np.where(held & held[i, None], np.inf, distance * moved)

    cost = costs(np.arange(len(C)))
    cost[np.tril_indices(len(C))] = np.inf
    for _ in range(len(C) - n_clusters):
        i, j = divmod(int(cost.argmin()), len(C))  # i < j: a fixed one comes first
        if i >= fixed:
            total = W[i] + W[j]
            C[i] = (W[i] * C[i] + W[j] * C[j]) / total if total > 0 else C[i]
        W[i] += W[j]
        gone[j] = True
        cost[j, :] = cost[:, j] = np.inf
        fresh = costs(np.array([i]))[0]
        fresh[gone] = np.inf
        cost[i, i + 1 :], cost[:i, i] = fresh[i + 1 :], fresh[:i]
    return C[~gone].astype(np.float32)
