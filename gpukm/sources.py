"""Where the samples are: `SampleSource` is all that Lloyd's loop and the seeding know of them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import Sums


@dataclass(frozen=True)
class ColumnStats:
    """What one look at the data tells.

    Attributes
    ----------
    minimum, maximum, mean : (d,) float64; the mean is weighted
    total_weight : sum of the weights (the number of rows without)
    totss : weighted sum of squared distances to the mean, as R's kmeans calls it
    """

    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    mean: NDArray[np.float64]
    total_weight: float
    totss: float


class Step(NamedTuple):
    """Result of one Lloyd step: exact sums by label, rows that changed label, rows that had to be settled."""

    sums: Sums
    changed: int
    undecided: int


class Far(NamedTuple):
    """A row far from its centroid, with all rows equal to it."""

    row: NDArray
    indices: NDArray[np.int64]


@dataclass(frozen=True)
class Iteration:
    """One iteration of Lloyd's algorithm, as kept in ``history_`` and handed to callbacks.

    Attributes
    ----------
    iteration : from 1
    inertia : weighted sum of squared distances of the rows to the centroids the iteration started from, derived from
        the exact sums: its error is about 1e-15 of the total sum of squares
    shift : sum of the squared moves of the centroids
    seconds : wall time of the iteration
    changed : rows whose label changed
    undecided : rows whose nearest centroid the filter could not certify, settled by the exact distance
    relocated : empty clusters moved to a far row
    """

    iteration: int
    inertia: float
    shift: float
    seconds: float
    changed: int
    undecided: int
    relocated: int


@dataclass(frozen=True)
class Ahead:
    """Iterations that a source did by itself: none where it leaves them to the loop.

    Attributes
    ----------
    centroids : (k, d) after the last of them
    iterations : what each did, numbered from 1
    settled : whether the last moved nothing, so that the labels belong to `centroids`
    converged : whether it did, or moved them within `tol`
    spreads : for each, the sum of W |mean - overall mean|^2, rounded once, where a source knows it
    """

    centroids: NDArray
    iterations: list[Iteration]
    settled: bool = False
    converged: bool = False
    spreads: Sequence[float] = ()

    @classmethod
    def of(cls, ran: Any, inertias: Sequence[float], began: float, spreads: Sequence[float] = ()) -> "Ahead":
        """From a `gpukm.kernels.ahead.Ran` that began at a time of `time.perf_counter`."""
        seconds = (time.perf_counter() - began) / max(len(ran.counts), 1)
        shifts, counts = ran.records[:, 1].tolist(), ran.counts.tolist()
        iterations = [
            Iteration(index + 1, inertia, shift, seconds, changed, undecided, 0)
            for index, (inertia, shift, (changed, undecided)) in enumerate(zip(inertias, shifts, counts, strict=False))
        ]
        return cls(ran.centroids, iterations, ran.settled, ran.converged, spreads)


class SampleSource(Protocol):
    """Samples, wherever they are: in memory, in a file, on a cluster."""

    n_samples: int
    n_features: int
    dtype: np.dtype

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(minimum, maximum) of each column; raises ValueError on NaN, infinity or an unusable range."""

    def stats(self) -> ColumnStats:
        """Column statistics."""

    def reset(self) -> None:
        """Forget the labels: the next step starts anew."""

    def step(self, centroids: NDArray) -> Step:
        """Label all rows and return the sums for these labels."""

    def ahead(self, centroids: NDArray, iterations: int, tol: Callable[[], float]) -> Ahead:
        """Do up to so many iterations at once, as `lloyd` would, where that is faster; it may be none."""

    @property
    def labels(self) -> NDArray[np.int32]:
        """Labels of the last finished step, wherever the samples are."""

    def inertia(self, centroids: NDArray, labels: NDArray[np.int32]) -> tuple[NDArray[np.float64], float]:
        """(sum of w D of each cluster, their total)."""

    def sizes(self, labels: NDArray[np.int32], n_clusters: int) -> NDArray[np.int64]:
        """(k,) rows of each label."""

    def farthest(self, centroids: NDArray, count: int) -> list[Far]:
        """Up to `count` rows of different content and positive D, farthest from their centroids first."""

    def without(self, sums: Sums, indices: NDArray[np.int64]) -> Sums:
        """`sums` without the rows `indices`, which are taken out of the clusters of the last step."""

    def rows(self, indices: NDArray) -> NDArray:
        """Rows by index, on the host, in the compute dtype."""


class BatchSource(Protocol):
    """What a step of mini-batch k-means asks of its batch; every `ArraySource` has it."""

    n_samples: int
    sample_weight: NDArray[np.float64] | None

    def step(self, centroids: NDArray) -> Step:
        """Label all rows and return the sums for these labels."""

    @property
    def labels(self) -> NDArray[np.int32]:
        """Labels of the last finished step."""

    def sizes(self, labels: NDArray[np.int32], n_clusters: int) -> NDArray[np.int64]:
        """(k,) rows of each label."""

    def total_inertia(self, centroids: NDArray, labels: NDArray[np.int32]) -> float:
        """Sum of w D of each row to the centroid of its label."""

    def rows(self, indices: NDArray) -> NDArray:
        """Rows by index, on the host, in the compute dtype."""
