"""Where mini-batch k-means starts: centroids chosen on some rows, judged on others."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.array_source import ArraySource
from gpukm.batches import Draws

FACTOR = 3  # rows for a start, in batches, or in clusters where that would not be enough


def start_size(init_size: int | None, batch_size: int, n_clusters: int, n_rows: int, *, stacklevel: int) -> int:
    """Return how many rows a start is chosen on, as in scikit-learn; warns where `init_size` is below `n_clusters`."""
    if init_size is None:
        size = FACTOR * min(batch_size, n_rows)
        return min(size if size >= n_clusters else FACTOR * n_clusters, n_rows)
    if init_size >= n_clusters:
        return min(init_size, n_rows)
    size = min(FACTOR * n_clusters, n_rows)
    warnings.warn(
        f"init_size={init_size} should be larger than n_clusters={n_clusters}. Setting it to "
        f"min(3*n_clusters, n_samples) = {size}.",
        RuntimeWarning,
        stacklevel=stacklevel + 1,
    )
    return size


def best_start(
    source: ArraySource,
    draws: Draws,
    start: Callable[[ArraySource], NDArray],
    size: int,
    runs: int,
    rng: np.random.Generator,
    verbose: bool,
) -> NDArray[Any]:
    """Return the best of `runs` starts: that of least inertia on rows drawn once, the same for all.

    Parameters
    ----------
    source, draws : the samples, and rows drawn from them
    start : chooses centroids on the samples given
    size : rows to choose on and to judge by; where that is all of them, nothing is drawn to choose on
    """
    whole = size == draws.n_rows
    judge, *drawn = draws.batches(rng, size, 1 if whole else 2)  # at once, which is one pass over a stream
    best, least = None, np.inf
    for run in range(runs):
        part = source if whole else drawn.pop() if drawn else draws.batch(rng, size)
        centroids = start(part)
        inertia = judge.total_inertia(centroids, judge.assign(centroids))
        if verbose:
            print(f"Init {run + 1}/{runs}, inertia of {size} rows: {inertia}")
        if best is None or inertia < least:
            best, least = centroids, inertia
    assert best is not None
    return best
