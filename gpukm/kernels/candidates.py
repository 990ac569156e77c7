"""candidates: potentials to many centres at once, and how much weight is nearest to each, for k-means||.

    X (n, d)    centres (m, d), in rounds    ->    D (n,), owner (n,) int32, weight of each centre (m,)

A round labels all rows by its own centres and takes D to that one, both by the engine of the source; the rows that came
nearer change owner, of equally near centres the earliest stays. So D and owners are those of one assignment to all
centres together, at the price of one. Memory: 22 bytes a row beside those of the potential.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._arrays import to_numpy
from gpukm.exact import Grid, sums_like
from gpukm.kernels.accumulate import accumulate_scalars


class Candidates:
    """A `Potential` that takes its centres many at a time, and knows which row is nearest to which.

    Parameters
    ----------
    source : ArraySource, for its potential and its assignments
    """

    def __init__(self, source: Any) -> None:
        self._source = source
        self._potential = source.potential()
        self._owner: Any = None  # (n,) int32, where the source has its labels
        self._count = 0

    def draw(self, fractions: NDArray[np.float64]) -> NDArray[np.int64]:
        """Rows at these quantiles of the potential; see `Potential.draw`."""
        return self._potential.draw(fractions)

    def commit_all(self, centroids: NDArray) -> None:
        """Lower D by the centres `centroids` (m, d)."""
        labels, D = self._source.nearest(centroids)
        nearer = self._potential.take(D)
        if nearer is None:
            self._owner = labels
        else:
            self._owner[nearer] = labels[nearer] + np.int32(self._count)
        self._count += len(centroids)

    @property
    def covered(self) -> bool:
        """Whether every row with weight coincides with a centre."""
        return not self._potential._bucket_sums().any()

    def weights(self) -> NDArray[np.float64]:
        """(centres,) the weight of the rows nearest to each, an exact sum rounded once."""
        weights: NDArray[np.float64] | None = self._source.sample_weight
        if weights is None:
            sizes: NDArray[np.int64] = self._source.sizes(self._owner, self._count)
            return sizes.astype(np.float64)
        owner = to_numpy(self._owner)
        sums = sums_like(Grid.of(float(weights.max()), len(weights)), self._count)
        for start in range(0, len(weights), 1 << 15):
            part = slice(start, start + (1 << 15))
            accumulate_scalars(np.ones(len(weights[part])), owner[part], weights[part], sums)
        return sums.totals()[:, 0]
