"""bounds: what the distances of one step leave to do for the next: rows that stand, and centroids too far to matter.

**Rows that stand** (after Hamerly 2010). Say a is the nearest centroid of a row, and u its distance. The scores that
proved so (`gpukm.exact`, point 2) also say how much farther all others are: with l_2 the second least lower bound and t
the threshold that it passed,

    |x - c_a|^2 <= 2 h,  h = |x'|^2 / 2 + t,    |x - c_k|^2 - |x - c_a|^2 >= 2 g,  g = l_2 - t,

and so |x - c_k| - |x - c_a| >= sqrt(2 h + 2 g) - sqrt(2 h) = gap. An iteration that moves each centroid c_k by delta_k
leaves all of that gap but delta_a + max delta_k, over k other than a. The sums of these are `drift`, one number for
each cluster; a row keeps gap + drift at the time, its `limit`: its label stands while drift < limit.

**Centroids too far** (Elkan 2003). Where |c_k - c_a| is above 2 u, k is farther than a. Rows are sorted by the u of the
step before, `reach`, so that those that need the same few centroids come together; the u that counts is found anew.
The Numba engine scores them in a frame about c_a, where both are short, and so is the margin.

*Rounding.* D of two centroids may come in the wrong order only if their distances differ by less than gamma_{d+4} of
their sum, which is at most 4 (u + gap) = 4 sqrt(2 h + 2 g) where it matters (else the farther is three times as far).
Five times gamma is taken off the gap, and 2^-16 of it for its own evaluation in float32; 2^-20 of the limit, for the
roundings of drift. What |c_k - c_a| exceeds 2 u by is at most the gap, too.

A sample of the rows tells before each step, or before several, whether either is worth its time.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import U32, U64, gamma, margin
from gpukm.kernels.arrange import LEAST_CENTROIDS, MOST_FEATURES

# Measured: writing and asking costs a row as much as COST products take, and pays where at least cost / (cost + k d) of
# the rows stand; more than MOST_STANDING hardly ever do. Lists pay where at most MOST_NEAR of the centroids are near.
COST = {"numba": 1500, "numpy": 2000}
LEAST_STANDING, MOST_STANDING = 1 / 16, 0.9
MOST_NEAR = 0.3
MOST_OPEN = 0.75  # of the rows of a block: a list of them costs as much as looking at the rest
LISTED, MANY = 1 << 12, 32  # products a row, and centroids, from which on lists of them may pay
SAMPLE, SPARSE, LEAST_SAMPLE = 128, 64, 32  # rows in the sample, at most one in SPARSE, and how many tell something
LOOK = 1 << 22  # products that a look at the sample may take
FARTHEST = np.float32(1e38)  # above all scores
NEVER = np.float32(-1)  # the limit of a row that has to be looked at
DOWN = np.float32(1 - 2.0**-20)
SMALLEST = np.float32(2.0**-100)
NOTHING = np.empty((0, 0), np.float32)


def may_pay(engine: str, n_clusters: int, n_features: int) -> bool:
    """Whether there are data of such a shape for which bounds would pay; boxes, where they are used, do better."""
    boxes = engine == "numba" and n_features <= MOST_FEATURES and n_clusters >= LEAST_CENTROIDS
    return engine in COST and not boxes and _share(engine, n_clusters, n_features) <= MOST_STANDING


def _share(engine: str, n_clusters: int, n_features: int) -> float:
    """Of the rows that have to stand for bounds to pay."""
    return max(COST[engine] / (COST[engine] + n_clusters * n_features), LEAST_STANDING)


class Part(NamedTuple):
    """What is known of a block of rows, in the frame's units.

    Attributes
    ----------
    limits, reach : (m,) float32, written by a step for the rows that it looks at
    drift : (k,) float32
    between : (k, k) float32, at most the distances between centroids; (0, 0) where they are not worth using
    known : whether limits and reach hold something yet
    """

    limits: NDArray[np.float32]
    reach: NDArray[np.float32]
    drift: NDArray[np.float32]
    between: NDArray[np.float32]
    known: bool

    def of(self, rows: slice | NDArray[np.intp]) -> "Part":
        """The same for some rows of the block: for a slice in the same memory, else a copy."""
        return self._replace(limits=self.limits[rows], reach=self.reach[rows])

    def open_rows(self, labels: NDArray[np.int32]) -> NDArray[np.intp]:
        """The rows that have to be looked at, whose labels were `labels` (m,)."""
        return np.flatnonzero(self.limits <= self.drift[labels])

    def write(
        self,
        labels: NDArray[np.int32],
        second: NDArray[np.float32],
        threshold: NDArray[np.float32],
        slack: NDArray[np.float32],
        n_features: int,
    ) -> None:
        """Set limits and reach from the scores, all (m,); a row whose second is within its threshold has no limit."""
        half, less, off = factors(n_features)
        g = np.maximum(second - threshold, 0)
        h = np.maximum(slack * half + threshold, 0)
        wide = np.sqrt(g + h)
        gap = less * (g / np.maximum(wide + np.sqrt(h), SMALLEST)) - off * wide
        self.limits[...] = np.where(g > 0, (gap + self.drift[labels]) * DOWN, NEVER)
        self.reach[...] = np.sqrt(2 * h)


def factors(n_features: int) -> tuple[np.float32, np.float32, np.float32]:
    """(half, less, off): slack * half is |x'|^2 / 2; less and off as in `Part.write`."""
    half = np.float32(0.5 / margin(n_features, U32) * (1 + 1e-6))
    off = np.float32(5 * 2**0.5 * gamma(n_features + 4, U64) * (1 + 1e-6))
    return half, np.float32(2**0.5 * (1 - 2.0**-16)), off


class Bounds:
    """Limits and reach of all rows of a source, and how far the centroids that its steps are called with have moved."""

    def __init__(self, n_samples: int, engine: str) -> None:
        self._n_samples, self._engine = n_samples, engine
        self._sample: Sample | None = None
        self._rows = np.empty((2, 0), np.float32)  # limits, reach
        self._before: NDArray | None = None
        self._drift = np.zeros(0)
        self._between = NOTHING
        self._wanted = self._known = self._asked = self._begun = self._listed = False

    @property
    def wanted(self) -> bool:
        """Whether the step to come uses bounds, or writes them."""
        return self._wanted

    @property
    def by_cluster(self) -> bool:
        """Whether rows are to be visited cluster by cluster: as many of them at once as can be."""
        return len(self._between) > 0

    @property
    def listed(self) -> bool:
        """Whether rows are to come cluster by cluster, now or once their reach is known."""
        return self._listed

    def may_pay(self, n_clusters: int, n_features: int) -> bool:
        """Whether steps with so many centroids should `follow` them."""
        return self._n_samples >= SPARSE * LEAST_SAMPLE and may_pay(self._engine, n_clusters, n_features)

    def follow(
        self, centroids: NDArray, scale: float, rows: Callable[[NDArray], NDArray], in_place: bool = True
    ) -> None:
        """A step for `centroids` (k, d) begins, or will; to say so twice changes nothing.

        `scale` brings them to the frame's units, `rows` gives rows by index; `in_place` says that rows can be visited
        in any order and number, without a copy.
        """
        n_clusters, n_features = centroids.shape
        few = min(SAMPLE, self._n_samples // SPARSE)
        before, self._before = self._before, centroids
        same = before is not None and np.array_equal(before, centroids)
        if same and self._begun:
            return
        self._begun = True
        self._asked, self._known = self._known, False  # until the step is over
        if same:  # that all rows would stand says nothing
            self._between = self._between if self._asked else NOTHING
            return
        if before is None:
            self._drift = np.zeros(n_clusters)
        else:
            moves = np.sqrt((((centroids.astype(np.float64) - before) * scale) ** 2).sum(axis=1)) * (1 + 1e-9)
            farthest = int(np.argmax(moves))
            others = np.full(n_clusters, moves[farthest])
            others[farthest] = np.delete(moves, farthest).max(initial=0.0)
            self._drift += moves + others
        if self._sample is None:
            few = max(min(few, LOOK // (n_clusters * n_features)), LEAST_SAMPLE)
            self._sample = Sample(rows(np.arange(few) * (self._n_samples // few)), scale)
        listed = self._engine == "numba" and in_place and n_clusters * n_features >= LISTED
        listed = listed and MANY <= n_clusters <= self._n_samples // 16
        standing = self._sample.look(centroids, self._drift)
        self._listed = listed and self._sample.near(centroids) <= MOST_NEAR
        self._between = distances_between(centroids, scale) if self._listed and self._asked else NOTHING
        self._wanted = self._listed or standing >= _share(self._engine, n_clusters, n_features)
        if self._wanted and not self._rows.size:
            self._rows = np.empty((2, self._n_samples), np.float32)

    def part(self, start: int, stop: int) -> Part | None:
        """What the step needs for the rows start:stop; None where it would not gain by it."""
        if not self._wanted:
            return None
        drift = np.nextafter(self._drift.astype(np.float32), np.float32(np.inf))
        limits, reach = self._rows[:, start:stop]
        return Part(limits, reach, drift, self._between, self._asked)

    def ahead(self) -> tuple[Part, NDArray[np.float64]] | None:
        """`part` of all rows, and the drift in float64: who does several steps brings both up to date."""
        part = self.part(0, self._n_samples)
        return None if part is None else (part, self._drift)

    def went_ahead(self, centroids: NDArray) -> None:
        """Several steps are over, the last of them for `centroids`."""
        self._before = centroids
        self.finish()
        if self._sample is not None:
            self._sample.look(centroids, self._drift)

    def finish(self) -> None:
        """The step is over: what it was to write is there."""
        self._known, self._begun = self._wanted, False


class Sample:
    """Some rows, whose distances to all centroids tell whether bounds would pay: no result depends on them."""

    def __init__(self, rows: NDArray, scale: float) -> None:
        self._scale = scale
        self._centre = rows.mean(axis=0, dtype=np.float64)
        self._rows = ((rows - self._centre) * scale).astype(np.float32)
        self._limit = self._least = np.zeros(len(rows))
        self._label = np.zeros(len(rows), np.intp)

    def look(self, centroids: NDArray, drift: NDArray[np.float64]) -> float:
        """The share of rows that stand since the last call, estimated."""
        standing = float(np.mean(self._limit > drift[self._label]))
        D, every = _distances(self._rows, self._framed(centroids)), np.arange(len(self._rows))
        self._label = np.argmin(D, axis=1)
        self._least = D[every, self._label]
        D[every, self._label] = np.inf
        self._limit = D.min(axis=1) - self._least + drift[self._label]
        return standing

    def near(self, centroids: NDArray) -> float:
        """The share of centroids near enough to matter, of those `look` was called with, estimated."""
        C = self._framed(centroids)
        return float(np.mean(_distances(C[self._label], C) <= 2 * self._least[:, None]))

    def _framed(self, centroids: NDArray) -> NDArray[np.float32]:
        return ((centroids - self._centre) * self._scale).astype(np.float32)


def _distances(A: NDArray, B: NDArray) -> NDArray:
    """(m, k) distances between the rows of A and B, about right."""
    squares = np.einsum("ij,ij->i", A, A)[:, None] + np.einsum("ij,ij->i", B, B)
    return np.sqrt(np.maximum(squares - 2 * (A @ B.T), 0))


def distances_between(centroids: NDArray, scale: float) -> NDArray[np.float32]:
    """(k, k) float32 distances between centroids, in the frame's units, rounded down."""
    C = centroids.astype(np.float64)
    C = (C - C.mean(axis=0)) * scale
    squares = np.einsum("ij,ij->i", C, C)
    both = squares[:, None] + squares
    D = both - 2 * (C @ C.T) - both * (4 * gamma(C.shape[1] + 4, U64))
    return (np.sqrt(np.maximum(D, 0)) * (1 - 1e-6)).astype(np.float32)
