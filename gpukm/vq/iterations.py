"""SciPy's Lloyd: empty clusters are not filled, and the mean distance, not squared, tells when to stop.

`gpukm.lloyd` fills empty clusters and stops on the moves of the centroids; the steps and their sums are the same.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm import kernels
from gpukm._arrays import to_numpy
from gpukm.array_source import ArraySource
from gpukm.exact import BLOCK_ROWS, Grid, sums_like


def update(source: ArraySource, centroids: NDArray) -> tuple[NDArray, NDArray[np.bool_], int]:
    """One iteration of Lloyd's: (means, or the old centroid of an empty cluster; which are empty; labels changed)."""
    step = source.step(centroids)
    empty = step.sums.empty
    means = step.sums.means().astype(source.dtype)
    return np.where(empty[:, None], centroids, means), empty, step.changed


def run(source: ArraySource, code_book: NDArray, thresh: float) -> tuple[NDArray, float]:
    """Iterate until the distortion changes by at most `thresh`; return the code book and its distortion."""
    source.reset()
    before = np.inf
    while True:
        new, empty, changed = update(source, code_book)
        distortion = _distortion(source, code_book)
        if abs(before - distortion) <= thresh:
            break
        before, code_book = distortion, new[~empty]
        if not changed:  # the next iteration would find the same
            return code_book, distortion
    if empty.any() or not np.array_equal(new, code_book):
        code_book = new[~empty]
        source.step(code_book)
        distortion = _distortion(source, code_book)
    return code_book, distortion


def _distortion(source: ArraySource, centroids: NDArray) -> float:
    """The mean distance of the rows to the centroids of their labels: an exact sum, so that no order shows."""
    low, high = source.bounds()
    span = np.maximum(high, centroids.max(axis=0)) - np.minimum(low, centroids.min(axis=0))
    grid = Grid.of(1.01 * np.sqrt(np.sum(span**2)), source.n_samples)
    D = to_numpy(source.own_distances(centroids, source.labels))

    def visit(start: int, stop: int, scratch: dict) -> Any:
        sums = sums_like(grid, 1)
        kernels.accumulate_scalars(np.sqrt(D[start:stop]), np.zeros(stop - start, np.int32), None, sums, scratch)
        return sums

    total = sums_like(grid, 1)
    for part in source.visit(visit, rows=BLOCK_ROWS):
        total.add(part)
    return float(total.totals()[0, 0]) / source.n_samples
