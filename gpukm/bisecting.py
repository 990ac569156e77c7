"""BisectingKMeans: a cluster is split in two, again and again; new rows go down the tree that this leaves."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gpukm import _validation as validation
from gpukm._arrays import from_numpy, take_rows, to_numpy
from gpukm._fitting import FittingCentroids, interrupted_as
from gpukm._sklearn import ConvergenceWarning, exception_class
from gpukm.estimators import KMeans
from gpukm.placing import source_of
from gpukm.sources import Iteration

Array = Any  # an array of any array-API namespace


@dataclass
class _Leaf:
    """A cluster that may be split: its node in the tree, its rows, and what `bisecting_strategy` looks at."""

    node: int
    rows: NDArray[np.intp]
    inertia: float
    weight: float
    counted: int  # rows with weight


class BisectingKMeans(FittingCentroids):
    """Bisecting k-means (Steinbach, Karypis & Kumar 2000), exact: the same bits on any array and number of threads.

    It starts from one cluster and splits one in two by `gpukm.KMeans` until there are `n_clusters`. Each row is
    compared with two centroids per level of the tree instead of with all, and clusters have a hierarchy.

    Parameters, defaults and attributes are those of scikit-learn's ``BisectingKMeans``; those only gpukm has come last.

    Parameters
    ----------
    n_clusters : int, default=8
        Clusters to find.
    init : {"k-means++", "random", "random-partition", "maximin"} or callable, default="random"
        Starting centroids of each split, see `gpukm.KMeans`. A callable is called as ``init(X, 2, random_state)`` with
        the rows of the cluster to be split.
    n_init : int or "auto", default=1
        Runs for each split, of which that of least inertia is kept.
    random_state : None, int, numpy.random.Generator, RandomState, SeedSequence or BitGenerator, default=None
        Source of the random draws, see `gpukm.KMeans`.
    max_iter : int, default=300
        Iterations of a run at most.
    verbose : int, default=0
        Print a line for each start, iteration and split.
    tol : float, default=1e-4
        As for `gpukm.KMeans`, relative to the variance of the rows of the cluster to be split.
    copy_x : bool, default=True
        For scikit-learn's sake: X is never changed, either way.
    algorithm : {"lloyd", "elkan"}, default="lloyd"
        Of each split, see `gpukm.KMeans`.
    bisecting_strategy : {"biggest_inertia", "largest_cluster"}, default="biggest_inertia"
        Which cluster to split next: that of the greatest inertia, or that of the greatest total weight of rows (of
        most rows, without weights). Clusters whose rows are all equal are not split. Of equals, the first.
    device : {"auto", "cpu", "cuda", "cuda:N"}, default="auto"
        As in `gpukm.KMeans`, but "auto" is always where X is.
    max_memory : int, default=64 MiB
        Bytes that temporaries may take up beside X, labels, distances and a copy of the rows of the cluster to be
        split, in the dtype of X.
    callback : callable or None, default=None
        Called with each `Iteration` of each run; something true ends the run.

    Attributes
    ----------
    cluster_centers_ : array of shape (n_clusters, n_features), float32 or float64
        Centroids of the leaves of the tree, from left to right.
    labels_ : int32 array of shape (n_samples,)
        Leaf of each row, the same as `predict` finds.
    inertia_ : float
        Weighted sum of the squared distances of the rows to the centroids of their leaves.
    n_iter_, converged_ : int and bool
        Iterations of all splits together, and whether each of them ended by itself.
    n_features_in_, feature_names_in_, engine_, totss_, withinss_, size_ : as in `gpukm.KMeans`

    Notes
    -----
    The labels of neighbouring leaves need not be those of the nearest of all centroids: rows go down the tree. `score`
    measures to the nearest centroid, as in scikit-learn.

    Where there are fewer different rows than clusters, the last clusters repeat a centroid and stay empty, with a
    ConvergenceWarning.

    Ctrl-C leaves the attributes as they were before the fit, since a tree that is not whole has too few clusters.

    Examples
    --------
    >>> from gpukm import BisectingKMeans
    >>> X = [[1, 1], [10, 1], [3, 1], [10, 0], [2, 1], [10, 2], [10, 8], [10, 9], [10, 10]]
    >>> sorted(BisectingKMeans(n_clusters=3, random_state=0).fit(X).cluster_centers_.tolist())
    [[2.0, 1.0], [10.0, 1.0], [10.0, 9.0]]
    """

    _tree: "_Tree"

    _takes_sparse, _takes_chunks = True, False
    _rules: ClassVar = {"bisecting_strategy": validation.words("biggest_inertia", "largest_cluster")}

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "random",
        n_init: Any = 1,
        random_state: Any = None,
        max_iter: int = 300,
        verbose: int = 0,
        tol: float = 1e-4,
        copy_x: bool = True,
        algorithm: str = "lloyd",
        bisecting_strategy: str = "biggest_inertia",
        device: str = "auto",
        max_memory: int = 64 * 2**20,
        callback: Callable[[Iteration], Any] | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.random_state = random_state
        self.max_iter = max_iter
        self.verbose = verbose
        self.tol = tol
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.bisecting_strategy = bisecting_strategy
        self.device = device
        self.max_memory = max_memory
        self.callback = callback

    def _fit(self, X: Any, sample_weight: Any) -> None:
        names, samples, weight, rng = self._checked(X, sample_weight)
        if not (isinstance(self.init, str) or callable(self.init)):
            raise validation.InvalidParameterError(
                f"The 'init' parameter of {type(self).__name__} must be a str or a callable, since each split needs a "
                f"start of its own. Got {type(self.init).__name__} instead. To start from given centroids, use KMeans."
            )
        n_samples, n_features = samples.array.shape
        source = source_of(samples, weight, device=self.device, max_memory=int(self.max_memory))
        stats = source.stats()  # the first look at the values: raises for NaN and infinity

        every = np.arange(n_samples)
        tree = _Tree.of(stats.mean.astype(samples.dtype))
        n_iter, converged = 0, True
        leaves = [_leaf(0, every, stats.totss, weight)]
        while len(leaves) < self.n_clusters:
            place = self._choose(leaves)
            leaf = leaves[place]
            if leaf.counted < 2 or leaf.inertia == 0:  # nothing is left to split: an empty twin
                parts, centroids, inertias = [leaf.rows, leaf.rows[:0]], tree.centroids[[leaf.node] * 2], [0.0, 0.0]
            else:
                whole = len(leaf.rows) == n_samples
                part = samples.array if whole else take_rows(samples.array, leaf.rows)
                split = self._split(part, None if weight is None else weight[leaf.rows], rng)
                n_iter, converged = n_iter + split.n_iter_, converged and split.converged_
                labels = to_numpy(split.labels_)
                parts = [leaf.rows[labels == side] for side in (0, 1)]
                centroids, inertias = to_numpy(split.cluster_centers_), to_numpy(split.withinss_).tolist()
                if self.verbose:
                    print(f"New centroids from bisection: {centroids}")
            nodes = tree.split(leaf.node, centroids)
            leaves[place : place + 1] = [
                _leaf(node, rows, inertia, weight) for node, rows, inertia in zip(nodes, parts, inertias, strict=True)
            ]
        labels = np.empty(n_samples, np.int32)
        for label, leaf in enumerate(leaves):
            labels[leaf.rows] = label
            tree.labels[leaf.node] = label
        centroids = np.ascontiguousarray(tree.centroids[[leaf.node for leaf in leaves]])
        withinss, inertia = source.inertia(centroids, labels)

        self._tree = tree
        self._set_features(names, n_features)
        self.cluster_centers_ = from_numpy(centroids, samples.array)
        self.labels_ = from_numpy(labels, samples.array)
        self.inertia_ = float(inertia)
        self.n_iter_ = n_iter
        self.converged_ = converged
        self.engine_ = source.engine
        self.withinss_ = from_numpy(withinss, samples.array)
        self.totss_ = float(stats.totss)
        self.size_ = from_numpy(np.array([len(leaf.rows) for leaf in leaves], np.int64), samples.array)
        self._warn_if_few(sum(len(leaf.rows) > 0 for leaf in leaves), stacklevel=3)

    def _choose(self, leaves: list[_Leaf]) -> int:
        """Position of the leaf to split: the first of the greatest among those that can be split."""
        by_inertia = self.bisecting_strategy == "biggest_inertia"

        def score(leaf: _Leaf) -> tuple[bool, float]:
            return leaf.counted > 1 and leaf.inertia > 0, leaf.inertia if by_inertia else leaf.weight

        return max(range(len(leaves)), key=lambda place: score(leaves[place]))

    def _split(self, X: Array, weight: NDArray[np.float64] | None, rng: np.random.Generator) -> KMeans:
        inner = KMeans(
            2,
            init=self.init,
            n_init=self.n_init,
            max_iter=self.max_iter,
            tol=self.tol,
            verbose=self.verbose,
            random_state=rng,
            algorithm=self.algorithm,
            device=self.device,
            max_memory=self.max_memory,
            callback=self.callback,
        )
        with warnings.catch_warnings():  # that a split left a side empty is said of the whole, at the end
            warnings.simplefilter("ignore", exception_class(ConvergenceWarning))
            with interrupted_as("the tree is not whole: the attributes are as they were before fit"):
                return inner.fit(X, sample_weight=weight)

    def predict(self, X: Any) -> Array:  # type: ignore[override]  # the whole of X in memory
        """Return the leaf of each row, found by going down the tree to the nearer of two centroids at each node.

        Parameters and errors are those of `gpukm.KMeans.predict`.

        Returns
        -------
        int32 array of shape (n_samples,), of the kind of X
        """
        samples = self._check_new(X, "predict")
        source, _ = self._source(samples)  # raises for NaN and infinity
        labels = np.empty(source.n_samples, np.int32)
        at_once = max(int(self.max_memory) // (16 * source.n_features), 1)
        for start in range(0, source.n_samples, at_once):
            open_nodes = [(0, np.arange(start, min(start + at_once, source.n_samples)))]
            while open_nodes:
                node, rows = open_nodes.pop()
                pair = self._tree.children[node]
                if pair[0] < 0:
                    labels[rows] = self._tree.labels[node]
                elif len(rows):
                    part = samples.array if len(rows) == source.n_samples else take_rows(samples.array, rows)
                    few = source_of(
                        samples._replace(array=part),
                        dtype=source.dtype,
                        device=self.device,
                        max_memory=int(self.max_memory),
                    )
                    side = few.assign(np.ascontiguousarray(self._tree.centroids[pair], source.dtype))
                    side = to_numpy(from_numpy(side, part))
                    open_nodes += [(int(child), rows[side == which]) for which, child in enumerate(pair)]
        return from_numpy(labels, samples.array)


@dataclass
class _Tree:
    """A binary tree of centroids in arrays, which pickle whatever its depth.

    Attributes
    ----------
    centroids : (nodes, d); children : (nodes, 2) int32, -1 for leaves; labels : (nodes,) int32, -1 for inner nodes
    """

    centroids: NDArray
    children: NDArray[np.int32]
    labels: NDArray[np.int32]

    @classmethod
    def of(cls, root: NDArray) -> "_Tree":
        return cls(root[None, :], np.full((1, 2), -1, np.int32), np.full(1, -1, np.int32))

    def split(self, node: int, centroids: NDArray) -> tuple[int, int]:
        """Give a leaf two children with these centroids (2, d); return their nodes."""
        left = len(self.centroids)
        self.children[node] = left, left + 1
        self.centroids = np.concatenate([self.centroids, centroids])
        self.children = np.concatenate([self.children, np.full((2, 2), -1, np.int32)])
        self.labels = np.concatenate([self.labels, np.full(2, -1, np.int32)])
        return left, left + 1


def _leaf(node: int, rows: NDArray[np.intp], inertia: float, weight: NDArray[np.float64] | None) -> _Leaf:
    if weight is None:
        return _Leaf(node, rows, inertia, float(len(rows)), len(rows))
    own = weight[rows]
    return _Leaf(node, rows, inertia, math.fsum(own), int(np.count_nonzero(own)))  # one rounding, in any order
