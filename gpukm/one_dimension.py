"""Exact k-means of numbers: in one dimension dynamic programming finds the best of all partitions.

Sorted, each cluster of an optimal partition is a run of neighbours. With cost(i, j) the sum of squared distances of the
numbers i to j - 1 to their mean, the best q clusters of the first j numbers cost

    B_q(j) = min over i < j of B_{q-1}(i) + cost(i, j)            (Fisher 1958; Wang & Song 2011)

and the best i never falls as j grows, so that each q takes O(n log n) by divide and conquer (Gronlund et al. 2017).
Natural breaks (Jenks & Caspall 1971) are these clusters; Otsu's threshold (1979) is the case of two.

cost(i, j) = S2 - S1^2 / W is a difference of nearly equal numbers. The sums over the first 0, 1, ..., n numbers are
added as exact integers (`gpukm.exact`, point 3) and kept in double-double, so that a cost is good to about 2^-98 of the
total sum of squares, and what is found costs as much as the optimum but for the rounding of its float64 sum.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpukm import _validation as validation
from gpukm._arrays import array_namespace, from_numpy, to_numpy
from gpukm._containers import as_array
from gpukm._nonfinite import nonfinite
from gpukm.array_source import ArraySource
from gpukm.exact import MAX_LIMBS, Grid, double_double, sums_like, two_product
from gpukm.lloyd import lloyd

__all__ = ["jenks_breaks", "kmeans_1d", "otsu_threshold"]

Array = Any  # an array of any array-API namespace
CHUNK = 1 << 15  # costs computed in one go, so that their temporaries stay in the cache


class _Sorted(NamedTuple):
    """The different numbers of positive weight, rising; where the clusters of the best partition begin; the data."""

    values: NDArray[np.float64]
    weights: NDArray[np.float64]
    starts: NDArray[np.int64]
    source: ArraySource
    given: Array


def kmeans_1d(x: Any, n_clusters: int, *, sample_weight: Any = None) -> tuple[Array, Array, float]:
    """Cluster numbers into `n_clusters` clusters of the least possible inertia: the global optimum.

    It takes O(k n log n) time and 8 k n bytes for n different numbers.

    Parameters
    ----------
    x : array-like of shape (n_samples,) or (n_samples, 1)
        Finite numbers, in any order.
    n_clusters : int
        Clusters; at most as many as there are different numbers.
    sample_weight : array-like of shape (n_samples,), a number or None, default=None
        Weights, finite and not negative; of a histogram, the counts.

    Returns
    -------
    centroids : float64 array of shape (n_clusters,)
        The means of the clusters, rising.
    labels : int32 array of shape (n_samples,)
        Cluster of each number.
    inertia : float
        Weighted sum of squared distances to the means.

    Raises
    ------
    ValueError, TypeError
        For data that are not allowed, or fewer different numbers than clusters.

    Examples
    --------
    >>> from gpukm.one_dimension import kmeans_1d
    >>> centroids, labels, inertia = kmeans_1d([4.0, 1.0, 20.0, 2.0, 23.0, 5.0], 3)
    >>> centroids.tolist(), labels.tolist(), inertia
    ([1.5, 4.5, 21.5], [1, 0, 2, 0, 2, 1], 5.5)
    """
    best = _partition(x, n_clusters, sample_weight)
    k = len(best.starts)
    cluster = np.searchsorted(best.starts, np.arange(len(best.values)), side="right") - 1
    middle = best.values[best.starts]  # means of differences: those of large numbers would round
    offsets = np.bincount(cluster, best.weights * (best.values - middle[cluster]), k)
    centroids = middle + offsets / np.bincount(cluster, best.weights, k)
    result = lloyd(best.source, centroids[:, None], max_iter=1, tol=0.0)
    like = best.given
    return from_numpy(result.centroids[:, 0], like), from_numpy(result.labels, like), result.inertia


def jenks_breaks(x: Any, n_clusters: int, *, sample_weight: Any = None) -> Array:
    """Natural breaks (Jenks & Caspall 1971): the bounds of classes that differ least within themselves.

    Parameters
    ----------
    x, sample_weight
        As for `kmeans_1d`.
    n_clusters : int
        Classes, at most as many as there are different numbers.

    Returns
    -------
    float64 array of shape (n_clusters + 1,)
        The least number, then the greatest number of each class: class c holds breaks[c] < x <= breaks[c + 1], the
        first also the least number.

    Examples
    --------
    >>> from gpukm.one_dimension import jenks_breaks
    >>> jenks_breaks([4.0, 1.0, 20.0, 2.0, 23.0, 5.0], 3).tolist()
    [1.0, 2.0, 5.0, 23.0]
    """
    best = _partition(x, n_clusters, sample_weight)
    ends = np.append(best.starts[1:], len(best.values)) - 1
    return from_numpy(best.values[np.append(0, ends)], best.given)


def otsu_threshold(x: Any, *, sample_weight: Any = None) -> float:
    """Otsu's threshold (1979): the number up to which an image is dark, so that both sides vary least.

    Parameters
    ----------
    x : array-like of any shape
        Grey values, one a pixel; or those of a histogram.
    sample_weight : array-like of the size of x, or None, default=None
        The counts of a histogram.

    Returns
    -------
    float
        One of the numbers in x: ``x <= threshold`` are the dark ones, ``x > threshold`` the bright ones.

    Examples
    --------
    >>> from gpukm.one_dimension import otsu_threshold
    >>> otsu_threshold([0, 1, 2, 200, 201, 202], sample_weight=[5, 9, 4, 2, 3, 1])
    2.0
    """
    array = as_array(x, "x")
    flat = array if array.ndim == 1 else array_namespace(array).reshape(array, (-1,))
    weight = None if sample_weight is None else np.ravel(to_numpy(as_array(sample_weight, "sample_weight")))
    best = _partition(flat, 2, weight, "a threshold tells two apart at least.")
    return float(best.values[best.starts[1] - 1])


def _partition(x: Any, k: Any, sample_weight: Any, too_few: str = "") -> _Sorted:
    """Check and sort the numbers, and find the best partition; `too_few` is what to say where they are fewer than k."""
    given = as_array(x, "x")
    column = array_namespace(given).reshape(given, (-1, 1)) if given.ndim == 1 else given
    validation.check_samples(column, name="x")
    if column.shape[1] != 1:
        raise ValueError(f"x has {column.shape[1]} features; numbers have one. For more, use gpukm.KMeans.")
    validation.check_parameters("kmeans_1d", {"n_clusters": k})
    n = int(column.shape[0])
    weight = validation.check_sample_weight(sample_weight, n, given)
    source = ArraySource(to_numpy(column), weight, dtype=np.float64)
    v = source.host_block(0, n)[:, 0] + 0.0
    for place in np.flatnonzero(~np.isfinite(v))[:1]:
        raise nonfinite("x", int(place), None, float(v[place]))
    if weight is None:
        values, counts = np.unique(v, return_counts=True)
        weights = counts.astype(np.float64)
    else:
        order = np.lexsort((weight, v))  # by weight, too, so that the sums of weights have one order
        order = order[weight[order] > 0]
        new = np.flatnonzero(np.append(True, v[order[1:]] != v[order[:-1]]))
        values, weights = v[order[new]], np.add.reduceat(weight[order], new)
    if len(values) < k:
        text = f"fewer than n_clusters={k}. Pass an n_clusters of at most {len(values)}."
        raise ValueError(f"x has {len(values)} different numbers (of positive weight); {too_few or text}")
    return _Sorted(values, weights, _best_starts(values, weights, int(k)), source, given)


# -- costs -----------------------------------------------------------------------------------------------


def _prefix_sums(*parts: NDArray[np.float64]) -> tuple[NDArray, NDArray]:
    """(hi, lo), each (n + 1,): the sums of the first 0, 1, ..., n terms, a term being the exact sum of its parts."""
    n = len(parts[0])
    sums = sums_like(Grid.of(max(float(np.abs(part).max()) for part in parts) or 1.0, len(parts) * n), n + 1)
    for rest in parts:
        for index in range(MAX_LIMBS):
            unit = float(sums.grid.unit(index)[0])
            q = np.rint(rest / unit)
            sums.limb(index)[1:, 0] += q.astype(np.int64)
            rest = rest - q * unit
            if not rest.any():
                break
    for limb in sums.limbs:
        np.cumsum(limb, axis=0, out=limb)
    hi, lo = double_double(sums, slice(None))
    return hi[:, 0], lo[:, 0]


class _Costs:
    """The inertia of runs of sorted numbers, in units of a power of two."""

    def __init__(self, values: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
        middle = values[len(values) // 2]
        x = values - middle
        if np.any(x + middle != values) or np.any(values - x != middle):  # not exact: the numbers are not that far off
            x = values
        x = np.ldexp(x, -int(np.frexp(np.abs(x).max())[1]))
        square, error = two_product(x, x)
        self._w = _prefix_sums(weights)
        self._s1 = _prefix_sums(*two_product(weights, x))
        self._s2 = _prefix_sums(*two_product(weights, square), *two_product(weights, error))

    def __call__(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> NDArray[np.float64]:
        """Cost of the numbers i, ..., j - 1, for each pair, in double-double and then rounded."""
        w, w_lo = _difference(self._w, i, j)
        s1, s1_lo = _difference(self._s1, i, j)
        s2, s2_lo = _difference(self._s2, i, j)
        p, e = two_product(s1, s1)
        e += 2 * s1 * s1_lo
        q = p / w
        r, r_lo = two_product(q, w)
        q_lo = ((p - r) - r_lo + e - q * w_lo) / w
        cost = s2 - q
        t = s2 - cost
        return np.maximum(cost + ((t - q) + (s2 - (cost + t)) + s2_lo - q_lo), 0.0)


def _difference(sums: tuple[NDArray, NDArray], i: NDArray, j: NDArray) -> tuple[NDArray, NDArray]:
    """sums[j] - sums[i] in double-double, normalized."""
    a, b = sums[0][j], sums[0][i]
    d = a - b
    t = d - a
    low = ((a - (d - t)) - (b + t)) + (sums[1][j] - sums[1][i])
    high = d + low
    return high, low - (high - d)


# -- dynamic programming ---------------------------------------------------------------------------------


def _best_starts(values: NDArray[np.float64], weights: NDArray[np.float64], k: int) -> NDArray[np.int64]:
    """(k,) where the clusters of the best partition begin; of equally good ones, the first that is found."""
    n = len(values)
    if n == k:
        return np.arange(n)
    costs = _Costs(values, weights)
    best = costs(np.zeros(n, np.int64), np.arange(1, n + 1))  # of one cluster, up to each j from 1
    best = np.append(0.0, best)
    choices = []
    for q in range(2, k + 1):
        ends = np.arange(q, n - (k - q) + 1) if q < k else np.array([n])
        chosen, cost = _layer(best, costs, ends, q - 1)
        choices.append((q if q < k else n, chosen))
        best = np.append(np.full(int(ends[0]), np.inf), cost)
    starts, end = [], n
    for first, chosen in reversed(choices):
        end = int(chosen[end - first])
        starts.append(end)
    return np.array([0, *starts[::-1]], np.int64)


def _layer(
    before: NDArray[np.float64], costs: _Costs, ends: NDArray[np.int64], least: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(where the last cluster begins, cost) of the best partition up to each of `ends`, rising by 1, from `least` on.

    The middle one first, then those between: the best beginning of each lies between those of its neighbours.
    """
    m = len(ends)
    choice, cost = np.empty(m, np.int64), np.empty(m)
    lowest = np.concatenate([[least], np.full(m, -1), [len(before) - 1]])  # of each end, once known, and of neighbours
    step = 1 << max(m.bit_length() - 1, 0)
    while step:
        mine = np.arange(step, m + 1, 2 * step)
        low = lowest[mine - step]
        high = np.minimum(lowest[np.minimum(mine + step, m + 1)], ends[mine - 1] - 1)
        for part in _chunks(high - low + 1):
            at = mine[part]
            found, value = _argmin(before, costs, low[part], high[part], ends[at - 1])
            lowest[at], choice[at - 1], cost[at - 1] = found, found, value
        step //= 2
    return choice, cost


def _chunks(lengths: NDArray[np.int64]) -> list[slice]:
    """Slices of about CHUNK together."""
    total = np.cumsum(lengths)
    cuts = np.searchsorted(total, np.arange(CHUNK, total[-1], CHUNK)) + 1
    bounds = np.unique([0, *cuts, len(lengths)])
    return [slice(int(a), int(b)) for a, b in pairwise(bounds)]


def _argmin(
    before: NDArray[np.float64], costs: _Costs, low: NDArray[np.int64], high: NDArray[np.int64], ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each end the first i in low..high with the least before[i] + cost(i, end), and that."""
    lengths = high - low + 1
    offsets = np.cumsum(lengths) - lengths
    i = np.arange(int(lengths.sum())) + np.repeat(low - offsets, lengths)
    values = before[i] + costs(i, np.repeat(ends, lengths))
    least = np.minimum.reduceat(values, offsets)
    hits = np.flatnonzero(values == np.repeat(least, lengths))
    return i[hits[np.searchsorted(hits, offsets)]], least
