"""The loop: it descends, stops where it should, and ends in one consistent state."""

from itertools import pairwise

import faults
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukm.array_source import ArraySource
from gpukm.lloyd import lloyd, update
from gpukm.seeding import seed

pytestmark = pytest.mark.usefixtures("engine")


def blobs(n=500, d=3, k=6, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return (rng.random((k, d))[rng.integers(0, k, n)] * 10 + rng.standard_normal((n, d))).astype(dtype)


def run(X, C, weights=None, *, max_iter=100, tol=0.0, **options):
    return lloyd(ArraySource(X, weights, dtype=X.dtype), np.asarray(C, X.dtype), max_iter=max_iter, tol=tol, **options)


def assert_one_state(result, X, weights=None):
    """Labels, inertia, sizes and withinss are those of the centroids returned."""
    assert np.array_equal(result.labels, oracle.labels(X, result.centroids))
    assert result.inertia == oracle.inertia(X, result.centroids, weights)
    assert np.array_equal(result.sizes, np.bincount(result.labels, minlength=len(result.centroids)))
    assert np.isclose(result.withinss.sum(), result.inertia, rtol=1e-12)


def test_it_is_lloyds_algorithm():
    """Each iteration is the oracle's: label, average, round once."""
    X = blobs()
    C = X[:6].copy()
    for iterations in (1, 2, 5):
        expected = C
        for _ in range(iterations):
            expected = oracle.means(X, oracle.labels(X, expected), 6).astype(np.float32)
        assert np.array_equal(run(X, C, max_iter=iterations).centroids, expected)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([np.float32, np.float64]), st.booleans())
def test_inertia_never_rises(seed, k, dtype, weighted):
    """Along the history, up to the rounding it states, relocations of empty clusters included."""
    rng = np.random.default_rng(seed)
    X = np.round(rng.standard_normal((40, 2)) * 2).astype(dtype)
    weights = rng.integers(0, 3, 40).astype(float) + (np.arange(40) == 0) if weighted else None
    result = run(X, rng.standard_normal((k, 2)), weights, max_iter=20)
    inertias = [entry.inertia for entry in result.history] + [result.inertia]
    assert all(b <= a * (1 + 1e-9) + 1e-9 for a, b in pairwise(inertias))
    assert_one_state(result, X, weights)


@pytest.mark.parametrize("max_iter", [0, 1, 2, 3, 7])
def test_the_state_is_one_at_max_iter(max_iter):
    """Stopped by max_iter, labels and inertia still belong to the centroids."""
    X = blobs(seed=1)
    result = run(X, X[:5], max_iter=max_iter)
    assert_one_state(result, X)
    assert result.n_iter == len(result.history) == max_iter
    assert not result.converged


def test_a_local_optimum_is_a_fixed_point():
    """Started from its own result, Lloyd stops after one iteration and changes nothing."""
    X = blobs(seed=2)
    first = run(X, X[:6])
    again = run(X, first.centroids)
    assert first.converged
    assert again.n_iter == 1
    assert np.array_equal(again.centroids, first.centroids)
    assert again.inertia == first.inertia


def test_history_inertia_is_that_of_each_iteration():
    """Derived from the sums, it agrees with the distances to 1e-12 of the total sum of squares, at an offset of 1e4
    too.
    """
    X = blobs(seed=3, dtype=np.float64) + 1e4
    source = ArraySource(X, dtype=X.dtype)
    C = X[:6].copy()
    result = lloyd(source, C, max_iter=4, tol=0)
    for entry in result.history:
        assert abs(entry.inertia - oracle.inertia(X, C)) <= 1e-12 * source.stats().totss
        C = oracle.means(X, oracle.labels(X, C), 6)


def test_stops_at_the_tolerance():
    """The sum of squared moves at or below tol ends the run, with a last assignment to the new centroids."""
    X = blobs(seed=4)
    full = run(X, X[:6])
    tol = full.history[3].shift
    result = run(X, X[:6], tol=tol)
    assert result.converged
    assert result.n_iter == next(e.iteration for e in full.history if e.shift <= tol)
    assert_one_state(result, X)


def test_callback_stops_and_sees_every_iteration():
    """Whatever is true from the callback ends the run in a consistent state."""
    X = blobs(seed=5)
    seen = []
    result = run(X, X[:6], callback=lambda entry: seen.append(entry) or entry.iteration == 3)
    assert [entry.iteration for entry in seen] == [1, 2, 3]
    assert result.n_iter == 3
    assert not result.converged
    assert_one_state(result, X)


@pytest.mark.parametrize("at", [1, 3])
def test_ctrl_c_leaves_the_last_finished_state(at):
    """An interrupt during an iteration gives back the state before it."""
    X = blobs(seed=6)
    source = ArraySource(X, dtype=X.dtype)
    step, calls = source.step, []

    def interrupted(C):
        calls.append(C)
        if len(calls) == at:
            raise KeyboardInterrupt
        return step(C)

    source.step = interrupted
    result = lloyd(source, X[:6].copy(), max_iter=50, tol=0)
    assert result.interrupted
    assert result.n_iter == at - 1
    assert np.array_equal(result.centroids, run(X, X[:6], max_iter=at - 1).centroids)
    assert_one_state(result, X)


def test_a_step_after_one_that_was_broken_off_is_right():
    """Half a step leaves labels of both kinds; the next one starts anew."""
    X = blobs(n=3000, seed=7)
    source = ArraySource(X, dtype=X.dtype, block_rows=100, n_threads=1)
    source.step(X[:6])
    faults.break_off(source, X[6:12], 20)
    fresh = ArraySource(X, dtype=X.dtype)
    assert np.array_equal(source.step(X[6:12]).sums.means(), fresh.step(X[6:12]).sums.means())
    assert np.array_equal(source.labels, fresh.labels)


# -- empty clusters -------------------------------------------------------------------------------


def test_empty_clusters_get_the_farthest_rows():
    """Two empty clusters at once: the first gets the farthest row, the second the next; both leave their old
    cluster.
    """
    X = np.array([[0.0], [1.0], [2.0], [10.0], [20.0]])
    result = run(X, [[1.0], [100.0], [200.0]], max_iter=1)
    assert result.centroids.ravel().tolist() == [1.0, 20.0, 10.0]
    assert result.history[0].relocated == 2
    assert_one_state(result, X)


def test_equally_far_rows_are_taken_by_content():
    """Ties go to the least content, whatever the order of the rows; equal rows leave together."""
    X = np.array([[-5.0], [5.0], [5.0], [0.0], [0.0]])
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        result = run(X[order], [[0.0], [100.0]], max_iter=1)
        assert sorted(result.centroids.ravel()) == [-5.0, 2.5]
        result = run(X[order], [[0.0], [100.0], [200.0]], max_iter=1)
        assert result.centroids.ravel().tolist() == [0.0, -5.0, 5.0]


def test_rows_without_weight_are_no_rows():
    """A far row of weight 0 attracts no empty cluster."""
    X = np.array([[0.0], [1.0], [2.0], [50.0]])
    result = run(X, [[1.0], [100.0]], np.array([1.0, 1.0, 1.0, 0.0]), max_iter=1)
    assert 50.0 not in result.centroids


def test_fewer_different_rows_than_clusters():
    """With nothing left to relocate to, clusters stay where they are and the run still converges."""
    X = np.repeat(np.array([[1.0], [2.0]]), 5, axis=0)
    result = run(X, [[1.0], [2.0], [9.0], [9.5]])
    assert result.converged
    assert result.inertia == 0
    assert result.centroids[2:].ravel().tolist() == [9.0, 9.5]


def test_random_tiny_problems_end_in_one_state():
    """The 2,000 tiny cases in which a relocation in the last iteration leaves other implementations inconsistent."""
    rng = np.random.default_rng(8)
    relocated = 0
    for _ in range(2000):
        X = np.round(rng.standard_normal((rng.integers(3, 9), 1)) * 2)
        k = int(rng.integers(2, len(X) + 1))
        result = run(X, rng.standard_normal((k, 1)) * 4, max_iter=int(rng.integers(1, 6)))
        relocated += sum(entry.relocated for entry in result.history)
        assert np.array_equal(result.labels, oracle.labels(X, result.centroids))
        assert result.inertia == oracle.inertia(X, result.centroids)
    assert relocated > 200


@pytest.mark.parametrize("k", [3, 8, 20])
@pytest.mark.parametrize("weighted", [False, True])
def test_scikit_learn_goes_the_same_way(k, weighted):
    """Same start: the same number of iterations, the same labels, centres to float64 accuracy."""
    cluster = pytest.importorskip("sklearn.cluster")
    X = blobs(n=1000, d=4, k=8, seed=k, dtype=np.float64)
    weights = np.random.default_rng(k).random(1000) if weighted else None
    C, _ = seed(ArraySource(X, weights, dtype=X.dtype), k, "random", np.random.default_rng(0))
    theirs = cluster.KMeans(k, init=C, n_init=1, tol=0, max_iter=300).fit(X, sample_weight=weights)
    ours = run(X, C, weights, max_iter=300)
    assert ours.n_iter == theirs.n_iter_
    assert np.array_equal(ours.labels, theirs.labels_)
    np.testing.assert_allclose(ours.centroids, theirs.cluster_centers_, rtol=1e-12)
    assert np.isclose(ours.inertia, theirs.inertia_, rtol=1e-12)


def test_held_centroids_stay_where_they_are():
    """With `update` told to hold the first ones, empty or not, the others become the means of their rows."""
    X = np.array([[0.0], [1.0], [10.0], [11.0], [30.0]], np.float32)
    start = np.array([[0.25], [99.0], [12.0], [500.0]], np.float32)

    def move(source, step, centroids, means):
        return update(source, step, centroids, means, 2)

    result = lloyd(ArraySource(X, dtype=np.float32), start, max_iter=20, tol=0.0, move=move)
    np.testing.assert_array_equal(result.centroids, [[0.25], [99.0], [10.5], [30.0]])
    np.testing.assert_array_equal(result.labels, [0, 0, 2, 2, 3])
    assert result.converged
