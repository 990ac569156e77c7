"""Exact sums of columns whose bounds are not known before they are read: the grid grows with them."""

from queue import LifoQueue

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import MAX_LIMBS, Grid, Sums, exponent, integer, sums_like

BITS = 27  # of a limb: room for 2^33 rows on one grid, and still 243 bits for values of one column
HEADROOM = 2  # powers of two between the bounds so far and the grid, so that it seldom has to grow
_UNKNOWN = 1 << 20
_SCALE = 400 + BITS * MAX_LIMBS  # totals count units of 2^-_SCALE, of which the unit of every grid is a multiple


class ColumnSums:
    """Sums of the columns of unweighted rows that come with their bounds, a chunk at a time.

    Each time the bounds leave the grid, what it holds becomes Python's integers, one for each column.

    Parameters
    ----------
    n_features : d
    """

    def __init__(self, n_features: int) -> None:
        self._totals = [0] * n_features
        self._exponents = np.full(n_features, -400, np.int64)
        self._used = np.zeros(n_features, np.bool_)  # columns that are not all zeros
        self._lowest = np.full(n_features, np.iinfo(np.int64).max)  # all values are multiples of 2^lowest
        self._sums: Sums | None = None
        self._rows = 0

    def grid(self, bounds: NDArray[np.float64], n_rows: int) -> Grid:
        """The grid for sums of `n_rows` more rows with magnitudes up to `bounds` (d,), and their number."""
        needed = exponent(bounds)
        if self._sums is None or self._rows + n_rows > 1 << 33 or (needed > self._exponents).any():
            self._settle()
            grown = np.where(needed > self._exponents, needed + HEADROOM, self._exponents)
            self._exponents, self._rows = grown, 0
            self._sums = sums_like(Grid(np.append(grown, 1), BITS), 1)
        self._used |= bounds > 0
        self._rows += n_rows
        return self._sums.grid

    def add(self, parts: LifoQueue) -> None:
        """Add sums on the last grid, which threads left under "sums" in what they put here."""
        assert self._sums is not None
        while not parts.empty():
            self._sums.add(parts.get()["sums"])

    def _settle(self) -> None:
        if self._sums is None:
            return
        used = self._sums.used
        unit = self._exponents - BITS * used if used < MAX_LIMBS else -_UNKNOWN  # the last limb may have been rounded
        self._lowest = np.where(self._used, np.minimum(self._lowest, unit), self._lowest)
        for column in range(len(self._totals)):
            value, shift = integer(self._sums, 0, column)
            self._totals[column] += value << (shift + _SCALE)
        self._sums = None

    def means(self, n_samples: int, grid: Grid) -> tuple[NDArray[np.float64], bool] | None:
        """((d,) exact sums over `n_samples`, rounded once; whether all values are whole on `grid`).

        None where `grid`, that of all rows, would round a value, or where that is not known.
        """
        self._settle()
        if (self._lowest < grid.exponents[:-1] - grid.bits * MAX_LIMBS).any():
            return None
        divisor = n_samples << _SCALE
        means = np.array([total / divisor for total in self._totals])  # int / int rounds once, to nearest, ties to even
        return means, bool((self._lowest >= grid.exponents[:-1] - grid.bits).all())
