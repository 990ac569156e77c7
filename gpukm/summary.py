"""The result of a fit in the words of R's kmeans: sizes, means, and how much of the scatter the clusters explain."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH = 100  # characters a line
MOST, LAST = 20, 3  # with more clusters than MOST, the first MOST - LAST and the LAST are shown


@dataclass(frozen=True)
class Summary:
    """What a fit found, under the names of R's ``kmeans``; ``print`` shows it as R does, with clusters counted from 0.

    Attributes
    ----------
    size : ndarray of int64, of shape (n_clusters,)
        Rows in each cluster, not weighted.
    centers : ndarray of shape (n_clusters, n_features)
        Cluster means, on the host.
    withinss : ndarray of float64, of shape (n_clusters,)
        Weighted sum of squared distances of each cluster's rows to its centre.
    tot_withinss : float
        Their total: the inertia.
    totss : float
        Weighted sum of squared distances of all rows to their mean.
    betweenss : float
        ``totss - tot_withinss``.
    iter : int
        Iterations of the run.
    converged : bool
        Whether the run ended because nothing, or less than ``tol``, moved.
    feature_names : tuple of str, or None
        Names of the columns of ``centers``, where known.
    """

    size: NDArray[np.int64]
    centers: NDArray
    withinss: NDArray[np.float64]
    tot_withinss: float
    totss: float
    iter: int
    converged: bool
    feature_names: tuple[str, ...] | None = None

    @property
    def betweenss(self) -> float:
        """``totss - tot_withinss``, a squared distance."""
        return self.totss - self.tot_withinss

    def __str__(self) -> str:
        k = len(self.size)
        sizes = _join([str(size) for size in self.size], ", ")
        if self.totss > 0:
            share = f"(between_SS / total_SS = {100 * self.betweenss / self.totss:5.1f} %)"
        else:
            share = "(total_SS is 0: all rows are equal)"
        ended = "converged" if self.converged else "stopped before converging"
        withinss = _join([_number(value) for value in self.withinss], "  ")
        return "\n".join(
            [
                _wrap(f"K-means clustering with {k} cluster{'s' * (k != 1)} of size{'s' * (k != 1)} {sizes}", ""),
                "",
                "Cluster means:",
                *self._means(),
                "",
                "Within cluster sum of squares by cluster:",
                _wrap(withinss, "  ", "  "),
                f"  {share}",
                "",
                f"Total sum of squares (totss):            {_number(self.totss)}",
                f"Within clusters, summed (tot_withinss):  {_number(self.tot_withinss)}",
                f"Between clusters (betweenss):            {_number(self.betweenss)}",
                f"Iterations (iter):                       {self.iter}, {ended}",
            ]
        )

    def _means(self) -> list[str]:
        """Lines of the table of means: as many features as a line holds, the first and last clusters."""
        k, d = self.centers.shape
        rows = _ends(k)
        names = self.feature_names or tuple(f"x{j}" for j in range(d))
        columns = [[""] + ["..." if row is None else str(row) for row in rows]]
        width = max(len(cell) for cell in columns[0])
        for j, name in enumerate(names):
            title = name if len(name) <= 24 else name[:23] + "…"
            cells = [title] + ["..." if row is None else _number(self.centers[row, j]) for row in rows]
            width += 2 + max(len(cell) for cell in cells)
            if width > WIDTH and j:
                break
            columns.append(cells)
        widths = [max(len(cell) for cell in cells) for cells in columns]
        lines = [
            "  ".join(cell.rjust(size) for cell, size in zip(line, widths, strict=True))
            for line in zip(*columns, strict=True)
        ]
        left = d - (len(columns) - 1)
        if left:
            lines.append(f"(and {left} more feature{'s' * (left > 1)}: see centers)")
        return lines


def _ends(count: int) -> list[int | None]:
    """Return the indices to show of `count`; None stands for those left out."""
    if count <= MOST:
        return list(range(count))
    return [*range(MOST - LAST), None, *range(count - LAST, count)]


def _join(words: Sequence[str], separator: str) -> str:
    return separator.join("..." if index is None else words[index] for index in _ends(len(words)))


def _number(value: float) -> str:
    return f"{float(value):.6g}"


def _wrap(text: str, indent: str, separator: str = " ") -> str:
    """Break `text` at its separators into lines of at most WIDTH."""
    lines = [indent]
    for word in text.split(separator):
        joined = lines[-1] + (separator if lines[-1] != indent else "") + word
        if len(joined) > WIDTH and lines[-1] != indent:
            lines.append(indent + word)
        else:
            lines[-1] = joined
    return "\n".join(lines)
