"""Samples in memory, on any device. No convergence logic here."""

import time
from collections.abc import Callable
from functools import partial
from queue import LifoQueue
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpukm import kernels
from gpukm._arrays import from_numpy, is_numpy, to_numpy
from gpukm._threads import run_team, single_threaded_blas
from gpukm.exact import Sums, sums_like
from gpukm.measured import Measured
from gpukm.sources import Ahead, Far, Step

Array = Any
LONG = 1 << 18  # rows of a visit that labels: many, since each visit has to bring the sums up to date
SORTED = 1 << 15  # rows of a visit that sorts: more than cells, which it counts
PRODUCTS = 1 << 22  # in a visit that is worth a thread's while
UNTIL_BOUNDS, UNTIL_NONE = 4, 16  # iterations before another look whether bounds would pay, or still do


class ArraySource(Measured):
    """Samples in memory, on any device, visited in blocks.

    Parameters
    ----------
    X : (n, d) array of any array-API namespace, in its own dtype and layout; blocks are converted one at a time
    sample_weight : (n,) float64 NumPy, or None for ones
    dtype : compute dtype, float32 or float64; X's values must be exact in it
    max_memory : bytes for the blocks' temporaries, all threads together
    n_threads : threads for NumPy data; None for what the process may use
    block_rows : rows of a block; None for what suits the cache
    """

    _labels: Array
    _sums: Sums | None
    _limits: kernels.Bounds
    _halfway: bool  # whether a step was broken off
    _counts: tuple[int, int] | None  # changed and undecided rows of a step that is done already
    _runner: Any = None  # of short steps
    _bounded = True  # whether a step is worth a look at bounds

    def __init__(
        self,
        X: Array,
        sample_weight: NDArray[np.float64] | None = None,
        *,
        dtype: DTypeLike,
        max_memory: int = 64 << 20,
        n_threads: int | None = None,
        block_rows: int | None = None,
    ) -> None:
        super().__init__(X, sample_weight, np.dtype(dtype), max_memory, n_threads, block_rows)
        self._order: NDArray | None = None  # of the rows as given, once they are arranged
        self._boxes: NDArray | None = None  # around them then
        self._slack: NDArray[np.float32] | None = None
        self._kept: Any = None  # a copy of the rows in 8 bits; False where there can be none
        self.reset()

    def arrange(self, n_clusters: int, often: bool = False, max_iter: int = 0) -> None:
        """Get ready for steps with `n_clusters` centroids: choose the engine, sort a copy of the rows if that helps.

        `often`: hundreds of them, not tens; `max_iter`: at most so many. `as_given` brings labels to the order of X.
        """
        self._n_clusters, self._compared = n_clusters, n_clusters * (8 if often else 1)
        if self.engine == "numpy":
            self.engine = self._best_engine()
            self.reset()
        own = self.engine, self._X, self.dtype, n_clusters, self._memory
        if self._order is None and kernels.worth_arranging(*own, max_iter):
            self._arrange()
        self._suit(n_clusters)

    def _suit(self, n_clusters: int) -> None:
        """Choose who does the steps."""
        short, very = kernels.short_steps(self.engine, self.n_samples, self.n_features, n_clusters)
        self._runner, self._bounded = None, True
        if short and self._in_place:
            self._bounded = not very
            self._runner = kernels.runner(self._X, self.sample_weight, self.frame, n_clusters, run_team, self._threads)

    def _change_engine(self) -> None:
        """Take a better engine if there is one by now, as labels and sums are any engine's; rows keep their order."""
        engine = self._best_engine()
        if engine == self.engine or self._halfway:
            return
        sums, self.engine, self._slack = self._sums, engine, None
        self._forget()
        self._sums = sums
        if self._n_clusters is not None:
            self._suit(self._n_clusters)

    def _arrange(self) -> None:
        """Put a sorted copy of the rows in their place."""
        self._multiple = kernels.box_rows()
        visit, X = partial(self.visit, rows=self.long_visit, least=SORTED), self._X if self._in_place else None
        own = visit, self.host_block, self.rows, X, self.n_samples
        self._X, self._order, self._boxes = kernels.arranged(*own, *self.bounds(), self.frame)
        (self.reset if self._halfway or self._sums is not None else self._forget)()
        if self.sample_weight is not None:
            self.sample_weight = self.sample_weight[self._order]

    def _column_sums(self) -> Sums:
        """See `Measured`; a finished step has added up all rows already."""
        if self._sums is None:
            return super()._column_sums()
        return self._sums.whole()

    def as_given(self, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """Labels in the order of the rows as they were given."""
        if self._order is None:
            return labels
        order, out = self._order, np.empty_like(labels)
        self.visit_numbers(lambda i, j, _: kernels.put_back(labels[i:j], order[i:j], out))
        return out

    def stored(self, indices: NDArray) -> Any:
        """`rows`, as they are stored: a sparse matrix where the samples are one."""
        return self.rows(indices)

    def hashes(self, engine: str) -> NDArray[np.uint64]:
        """(n,) uint64: a hash of each row's content, by an engine of the host."""
        return np.concatenate(self.visit(lambda i, j, _: kernels.hash_rows(self.host_block(i, j), engine)))

    # -- Lloyd -------------------------------------------------------------------------------------

    @property
    def labels(self) -> NDArray[np.int32]:
        """(n,) int32 labels of the last finished step."""
        return self._labels

    def step(self, centroids: NDArray) -> Step:
        """Label all rows for `centroids` (k, d); only rows that change label touch the sums."""
        k = len(centroids)
        if self.engine == "numpy":
            self._change_engine()
        if self._counts is not None and self._sums is not None:
            counts, self._counts = self._counts, None
            return Step(self._sums, *counts)
        if self._halfway or (self._sums is not None and self._sums.store.shape[1] != k):
            self.reset()
        self._halfway = True  # until the step is over: one that is broken off leaves labels of both kinds
        grid, bounds = self.grid, self._limits
        sums = sums_like(grid, k) if self._sums is None else self._sums
        sums.grid = grid  # more may be known of it by now
        bounded, kept = self._follow(centroids), self._kept or None
        if self._runner is not None and not bounded:
            own = centroids, self._labels, sums, np.zeros(self.n_features), 1, -1.0
            ran = self._runner.run(*own, self._around(0, self.n_samples), kept and kept.part(0, self.n_samples))
            if len(ran.counts):
                bounds.finish()
                self._sums, self._halfway = sums, False
                return Step(sums, *ran.counts[0].tolist())
        scorer = kernels.Scorer.of(self.frame, centroids, self.engine)
        rows = kernels.block_rows(k, self.n_features, self._memory // self._threads)
        slack = self._slack
        if kept is not None:
            kept.follow(centroids)
        if slack is None and self.engine == "numpy":
            slack = np.full(self.n_samples, -1, np.float32)

        def visit(start: int, stop: int, scratch: dict) -> tuple[int, int, int]:
            if "sums" not in scratch:
                scratch["sums"] = sums_like(grid, k)
            return kernels.lloyd_step(
                self.block(start, stop),
                self._xp,
                scorer,
                self._labels[start:stop],
                scratch["sums"],
                weights=self._weights(start, stop),
                rows=rows,
                slack=None if slack is None else slack[start:stop],
                around=self._around(start, stop),
                bounds=bounds.part(start, stop) if is_numpy(self._xp) else None,
                kept=kept and kept.part(start, stop),
                scratch=scratch,
            )

        pool: LifoQueue = LifoQueue()
        visits = self._visit_evenly(visit, pool) if bounds.by_cluster else self._visit_labelling(visit, pool, k)
        changed, undecided, _ = np.sum(visits, axis=0)
        bounds.finish()
        while not pool.empty():
            own = pool.get()
            sums.add(kernels.move_held(self._xp, own["sums"], own))
        self._sums, self._slack, self._halfway = sums, slack, False
        return Step(sums, int(changed), int(undecided))

    def _visit_labelling(self, visit: Callable[[int, int, dict], Any], pool: LifoQueue, n_clusters: int) -> list[Any]:
        """`visit` with blocks that suit tasks which compare all rows with the centroids."""
        least = PRODUCTS // kernels.row_products(n_clusters, self.n_features)
        return self.visit(visit, rows=LONG, scratch=pool, least=max(least, 1), lean=True)

    def _keep(self, n_clusters: int) -> None:
        """Copy the rows in 8 bits where that pays, but not for a first step; make room for so many centroids there."""
        if self._kept is None and self._sums is not None and self._in_place:
            if kernels.worth_keeping(self.engine, self._X, n_clusters, self._memory):
                self._multiple = kernels.strip_rows()
                own = self.visit, self.host_block, self.rows, self.n_samples, self.frame
                self._kept = kernels.keep_rows(*own, *self.bounds()) or False
        if self._kept:
            self._bounded = False  # reading it costs less than they do
            self._kept.make_room(n_clusters)

    def _follow(self, centroids: NDArray) -> bool:
        """Get ready for a step with `centroids`; whether it is one with bounds."""
        self._keep(len(centroids))
        if self._bounded and self._limits.may_pay(*centroids.shape):
            with single_threaded_blas():
                self._limits.follow(centroids, self.frame.scale, self.rows, self._in_place)
        return self._limits.wanted

    def _around(self, start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.int32]] | None:
        """The boxes around rows start:stop, and which label all rows of each have, or -1."""
        if self._boxes is None:
            return None
        own = slice(start // self._multiple, -(-stop // self._multiple))
        return self._boxes[own], self._same[own]

    def ahead(self, centroids: NDArray, iterations: int, tol: Callable[[], float]) -> Ahead:
        """Iterations of short steps, without the interpreter; none where each is the loop's."""
        sums = self._sums
        if self._runner is None or sums is None or self._halfway or self._counts is not None:  # the loop's turn
            return Ahead(centroids, [])
        began, stats = time.perf_counter(), self.stats()
        if sums.store.shape[1] != len(centroids):
            return Ahead(centroids, [])
        bounds, wanted = self._limits, self._follow(centroids)
        if bounds.listed:
            return Ahead(centroids, [])
        self._halfway = True
        if self._bounded and bounds.may_pay(*centroids.shape):
            iterations = min(iterations, UNTIL_NONE if wanted else UNTIL_BOUNDS)
        own, kept = (centroids, self._labels, sums, stats.mean, iterations, tol()), self._kept or None
        beside = self._around(0, self.n_samples), kept and kept.part(0, self.n_samples)
        ran = self._runner.run(*own, *beside, bounds.ahead())
        self._halfway = False
        if len(ran.counts):  # so that the next look is at a single move
            if wanted:
                bounds.went_ahead(ran.before if ran.left is None else ran.centroids)
            else:
                self._follow(ran.before)
        self._counts = ran.left  # what the next call of `step` only hands over
        inertias = np.maximum(stats.totss + ran.records[:, 0], 0).tolist()
        return Ahead.of(ran, inertias, began, ran.records[:, 2].tolist())

    def reset(self) -> None:
        """Forget labels and sums: the next step starts anew."""
        self._labels = np.full(self.n_samples, -1, np.int32)
        self._forget()

    def _forget(self) -> None:
        """`reset` but for the labels, where these are as new or stay."""
        self._sums, self._halfway, self._counts = None, False, None
        self._limits = kernels.Bounds(self.n_samples, self.engine)
        self._same = np.full(0 if self._boxes is None else len(self._boxes), -1, np.int32)  # labels of whole boxes

    def assign(self, centroids: NDArray) -> NDArray[np.int32]:
        """(n,) int32 labels for `centroids`, leaving the state of the fit alone."""
        scorer = kernels.Scorer.of(self._frame_about(centroids), centroids, self.engine)
        rows = kernels.block_rows(len(centroids), self.n_features, self._memory // self._threads)
        labels = np.empty(self.n_samples, np.int32)

        def visit(start: int, stop: int, scratch: dict) -> None:
            kernels.assign(self.block(start, stop), self._xp, scorer, None, labels[start:stop], scratch, rows=rows)

        self._visit_labelling(visit, LifoQueue(), len(centroids))
        return labels

    def sizes(self, labels: NDArray[np.int32], n_clusters: int) -> NDArray[np.int64]:
        """(k,) rows of each label."""
        if labels is self._labels and self._sums is not None and not self._halfway and self.sample_weight is None:
            return self._sums.weights().astype(np.int64)
        counts = self.visit_numbers(lambda i, j, _: np.bincount(labels[i:j], minlength=n_clusters))
        return np.sum(counts, axis=0)

    # -- distances ---------------------------------------------------------------------------------

    def labelled(self, centroids: NDArray) -> tuple[Array, NDArray[np.float64], float]:
        """((n,) labels, and their `inertia`), as `assign` and `inertia` find them."""
        labels = self.assign(centroids)
        return labels, *self.inertia(centroids, labels)

    def nearest(self, centroids: NDArray) -> tuple[Array, Array]:
        """((n,) labels, (n,) D of each row to the centroid of its label), as `assign` and `own_distances` find them."""
        labels = self.assign(centroids)
        return labels, self.own_distances(centroids, labels)

    def farthest(self, centroids: NDArray, count: int) -> list[Far]:
        """Up to `count` rows of different content, farthest first; equal D by content, least first."""
        D = self.own_distances(centroids, self._labels)
        if self.sample_weight is not None:
            D[from_numpy(self.sample_weight == 0, D)] = 0.0  # a row without weight is no row
        return self._farthest(D, count)

    def without(self, sums: Sums, indices: NDArray[np.int64]) -> Sums:
        """`sums` without the rows `indices`, taken out of the clusters of the last step."""
        out = sums_like(sums.grid, sums.store.shape[1])
        for start in range(0, len(indices), 4096):
            part = indices[start : start + 4096]
            w = None if self.sample_weight is None else self.sample_weight[part]
            self._add_rows(part, to_numpy(self._labels[from_numpy(part, self._labels)]), w, out)
        rest = sums.copy()
        rest.add(out, sign=-1)
        return rest

    def _add_rows(
        self, indices: NDArray[np.int64], labels: NDArray[np.int32], weights: NDArray[np.float64] | None, sums: Sums
    ) -> None:
        """Add a few rows to `sums` under `labels`."""
        kernels.accumulate(self.rows(indices), np, labels, sums, weights=weights)

    def potential(self) -> kernels.Potential:
        """Fresh potentials for a seeding."""
        return kernels.Potential(self)
