"""bounds, Numba engine: what `assign_rows` keeps of the distances it has found, and the centroids it passes over."""

import numpy as np

from gpukm.kernels.bounds import DOWN, FARTHEST, NEVER, SMALLEST, Part, factors, may_pay
from gpukm.kernels.boxes_numba import FAR
from gpukm.kernels.jit_numba import ANY_ORDER, FUSED, jit

NO_FLOATS = np.empty(0, np.float32)
NO_LIMITS = NO_FLOATS, NO_FLOATS, NO_FLOATS, factors(1)


def keep_of(bounds: Part | None, n_clusters: int, n_features: int) -> tuple | None:
    """What `assign_rows` takes to write limits and reach: None where they never are, empty where they are not now."""
    if not may_pay("numba", n_clusters, n_features):
        return None
    if bounds is None:
        return NO_LIMITS
    return bounds.limits, bounds.reach, bounds.drift, factors(n_features)


@jit()
def _move(before, after, cluster):
    """How far a centroid moved, rounded up."""
    square = 0.0
    for f in range(before.shape[1]):
        move = np.float64(after[cluster, f]) - np.float64(before[cluster, f])
        square += move * move
    return np.sqrt(square) * (1 + 1e-9)


@jit()
def add_moves(before, after, scale, drift, rounded):
    """The two greatest moves from `before` to `after` (k, d), together, in units of the frame.

    Each cluster's own and the greatest of the others are added to its `drift` (k,) float64, and that is rounded up to
    `rounded` (k,) float32; or both are (0,).
    """
    first, other = 0.0, 0.0
    for j in range(len(before)):
        move = _move(before, after, j) * scale
        first, other = max(first, move), max(other, min(first, move))
    for j in range(len(drift)):
        move = _move(before, after, j) * scale
        drift[j] += move + (first if move < first else other)
        rounded[j] = drift[j] * (1 + 2.0**-22)
    return first + other


@jit()
def within(between, cluster, radius, listed):
    """List the centroids within `radius` of one of them, ascending; returns (how many, the least distance of others).

    `between` (k, k) are distances.
    """
    count, beyond, around = 0, FARTHEST, between[cluster]
    for k in range(len(around)):
        listed[count] = k
        near = around[k] <= radius
        count += near
        beyond = beyond if near or beyond < around[k] else around[k]
    return count, beyond


@jit()
def begin_about(cluster, centroids, shift, base):
    """Begin a frame about one of the centroids, into which `bring_about` has brought none."""
    for f in range(centroids.shape[1]):
        shift[f] = centroids[cluster, f]
    base[:] = FAR


@jit()
def _about(c, centre, scale):
    """A centroid's feature in a frame: as rounded, whatever the caller is allowed."""
    return (c - centre) * scale


@jit(ANY_ORDER)
def bring_about(cluster, listed, count, centroids, scale, kappa, operand, base):
    """Bring centroids that are not there yet, base being FAR, into the frame about one of them.

    `listed` names them, `centroids` (k, d) are float64; `operand` (k, d) and `base` (k,) are as in `Packed`, for shares
    of `kappa`.
    """
    for j in range(count):
        k = listed[j]
        if base[k] == FAR:
            squares = 0.0
            for f in range(centroids.shape[1]):
                c = _about(centroids[k, f], centroids[cluster, f], scale)
                operand[k, f] = np.float32(-c)
                squares += c * c
            base[k] = np.float32(squares * (0.5 - kappa))


@jit(FUSED)
def strip_limits(best, second, squares, label, count, drift, half, less, off, beyond, limits, reach):
    """Write limits and reach of the first `count` rows of a strip, as `bounds.Part.write` does.

    `best` are thresholds, `squares` slacks; no centroid that was passed over is nearer than `beyond`.
    """
    for i in range(count):
        g, h = max(second[i] - best[i], np.float32(0)), max(squares[i] * half + best[i], np.float32(0))
        wide = np.sqrt(g + h)
        gap = less * (g / max(wide + np.sqrt(h), SMALLEST)) - off * wide
        gap = gap if gap < beyond else beyond
        limits[i] = (gap + drift[label[i]]) * DOWN if g > np.float32(0) else NEVER
        reach[i] = np.sqrt(h + h)
