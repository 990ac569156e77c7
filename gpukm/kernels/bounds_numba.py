"""bounds, Numba engine: what `assign_rows` keeps of the distances it has found, and the centroids it passes over."""

import numpy as np

from gpukm.kernels.bounds import DOWN, FARTHEST, NEVER, SMALLEST, Part, factors, may_pay
from gpukm.kernels.jit_numba import FUSED, jit

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
def within(around, radius, listed):
    """List the centroids within `radius`, ascending; returns (how many, the least distance of the others)."""
    count, beyond = 0, FARTHEST
    for k in range(len(around)):
        listed[count] = k
        near = around[k] <= radius
        count += near
        beyond = beyond if near or beyond < around[k] else around[k]
    return count, beyond


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
