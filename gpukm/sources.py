"""Where the samples are: `SampleSource` is all that Lloyd's loop and the seeding know of them."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

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
