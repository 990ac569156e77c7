"""Iterations without the interpreter, alone and by a team of threads: the states, labels and counts of the loop."""

import math
import threading
from dataclasses import replace

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukm import KMeans, _threads, array_source, k_means, kernels, random_swap
from gpukm.array_source import ArraySource
from gpukm.exact import quotient
from gpukm.lloyd import lloyd

pytest.importorskip("numba")

from gpukm.kernels import ahead_numba, bounds, quotients_numba


@pytest.fixture(autouse=True)
def compiled(monkeypatch):
    monkeypatch.setenv("GPUKM_ENGINE", "numba")


def both(X, C, weights=None, n_threads=None, **options):
    """(result of the loop, result with iterations done ahead) from centroids C."""
    results = []
    for ahead in (False, True):
        source = ArraySource(X, weights, dtype=X.dtype, n_threads=n_threads)
        if ahead:
            source.arrange(len(C))
            assert source._runner is not None
        result = lloyd(source, C, **({"max_iter": 50, "tol": 0.0} | options))
        results.append(replace(result, labels=source.as_given(result.labels)))
    return results


def check(loop, ahead):
    assert np.array_equal(loop.centroids, ahead.centroids)
    assert np.array_equal(loop.labels, ahead.labels)
    assert np.array_equal(loop.sizes, ahead.sizes)
    assert loop.inertia == ahead.inertia
    assert (loop.n_iter, loop.converged) == (ahead.n_iter, ahead.converged)
    for one, other in zip(loop.history, ahead.history, strict=True):
        assert (one.iteration, one.changed, one.relocated) == (other.iteration, other.changed, other.relocated)
        assert (one.inertia, one.shift) == (other.inertia, other.shift)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (47, 1, 3), (300, 2, 7), (1000, 5, 17), (700, 33, 9)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0, 1000])
def test_fits_equal_the_loop(dtype, n, d, k, weighted, offset):
    """Odd shapes, ties and duplicates on a grid, weights, rows far from the origin; converged, or stopped before."""
    rng = np.random.default_rng(n + d)
    weights = rng.integers(1, 5, n) / 4 if weighted else None
    for X in (rng.standard_normal((n, d)) + offset, rng.integers(0, 6, (n, d)) + offset):
        X = X.astype(dtype)
        C = X[rng.choice(n, k, replace=False)]
        for options in ({}, {"max_iter": 3}, {"max_iter": 0}, {"tol": 0.01}):
            check(*both(X, C, weights, **options))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "d", "k"), [(7000, 1, 3), (5000, 2, 9), (4001, 3, 70), (3000, 4, 64), (2999, 7, 33)])
@pytest.mark.parametrize("sorted_rows", [False, True])
def test_a_team_of_threads_changes_nothing(monkeypatch, dtype, n, d, k, sorted_rows):
    """Blocks that several threads take, with boxes around sorted rows and without."""
    monkeypatch.setattr(ahead_numba, "PRODUCTS", 1)
    monkeypatch.setattr(ahead_numba, "ALONE", 1)
    monkeypatch.setattr(kernels, "worth_arranging", lambda *args: sorted_rows and d <= 4)
    rng = np.random.default_rng(d)
    for X in (rng.standard_normal((n, d)), rng.integers(0, 9, (n, d))):
        X = X.astype(dtype)
        C = X[rng.choice(n, k, replace=False)]
        for n_threads in (2, 5):
            check(*both(X, C, n_threads=n_threads, max_iter=12))


def test_helpers_that_cannot_begin_are_done_without(monkeypatch):
    """Another fit keeps the threads busy: the leader takes all blocks."""
    monkeypatch.setattr(ahead_numba, "ALONE", 1)
    X = np.random.default_rng(0).standard_normal((20_000, 2))
    busy = threading.Event()
    waiting = [_threads._pool(2).submit(busy.wait) for _ in range(2)]
    try:
        check(*both(X, X[:40], n_threads=3, max_iter=5))
    finally:
        busy.set()
        for one in waiting:
            one.result()


def test_ctrl_c_ends_the_team():
    """Helpers that wait for the leader are let go, however it ends."""
    over, together, ended = threading.Event(), threading.Barrier(3), []

    def member(me):
        together.wait(60)
        if me == 0:
            raise KeyboardInterrupt
        if over.wait(60):
            ended.append(me)

    with pytest.raises(KeyboardInterrupt):
        _threads.run_team(member, 3, over.set)
    assert sorted(ended) == [1, 2]


@pytest.fixture
def bounded(monkeypatch):
    """Every run ahead: (whether it began with limits, the share of rows that stand after it), or None without any."""
    monkeypatch.setattr(kernels.ahead, "FEW", 0)
    runs, original = [], ahead_numba.Runner.run

    def watched(self, centroids, labels, *args):
        ran = original(self, centroids, labels, *args)
        if len(args) == 7:  # not from a step of the loop's
            runs.append(None)
            if args[-1] is not None:
                part, drift = args[-1]
                assert np.all(part.drift >= drift) and np.all(part.drift <= drift * (1 + 1e-6))
                runs[-1] = part.known, np.mean(part.limits > part.drift[labels])
        return ran

    monkeypatch.setattr(ahead_numba.Runner, "run", watched)
    return runs


@pytest.mark.parametrize("share", [0.0, 0.5, 2.0])
def test_bounds_are_taken_up_between_iterations(monkeypatch, bounded, share):
    """Where rows begin to stand, iterations keep limits: at once, after some, or never."""
    monkeypatch.setattr(bounds, "_share", lambda *args: share)
    monkeypatch.setattr(bounds, "MOST_STANDING", 3.0)
    rng = np.random.default_rng(5)
    X = (rng.standard_normal((6000, 6)) + 4 * rng.standard_normal((20, 6))[rng.integers(0, 20, 6000)]).astype(
        np.float32
    )
    source = ArraySource(X, dtype=X.dtype)
    source.arrange(20)
    found = lloyd(source, X[:20], max_iter=30, tol=0.0)
    kept = [run is not None for run in bounded]
    assert len(kept) > 1 and kept == sorted(kept)
    assert (kept[0], kept[-1]) == (share == 0, share < 1)
    if share < 1:
        began_with_some, standing = bounded[-1]
        assert began_with_some and standing > 0.5
    monkeypatch.setenv("GPUKM_ENGINE", "numpy")
    check(lloyd(ArraySource(X, dtype=X.dtype), X[:20], max_iter=30, tol=0.0), found)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_limits_kept_from_run_to_run_change_nothing(data):
    """Ties, repeats, far offsets, any scale, empty clusters, weights, threads; looks after every second iteration."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    d, k = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
    n, dtype = data.draw(st.sampled_from([64 + k, 300, 2001])), data.draw(st.sampled_from([np.float32, np.float64]))
    offset, scale = data.draw(st.sampled_from([0, 100])), 2.0 ** data.draw(st.sampled_from([-60, 0, 60]))
    rows = rng.integers(-3, 4, (n, d)) + data.draw(st.sampled_from([0, 1 / 8])) * rng.standard_normal((n, d))
    X = ((rows + offset) * scale).astype(dtype)
    weights = data.draw(st.sampled_from([None, rng.integers(0, 4, n) + 0.5]))
    C = X[rng.integers(0, n, k)]  # repeats among them, which leave clusters empty
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUKM_ENGINE", "numba")
        for module, name, value in [
            (kernels.ahead, "FEW", 0),
            (bounds, "COST", {"numba": 0, "numpy": 0}),
            (bounds, "LEAST_STANDING", -1),
            (bounds, "SPARSE", 1),
            (array_source, "UNTIL_NONE", 2),
            (ahead_numba, "PRODUCTS", 1),
            (ahead_numba, "ALONE", 1),
        ]:
            patch.setattr(module, name, value)
        loop, ahead = both(X, C, weights, n_threads=data.draw(st.sampled_from([1, 3])))
    check(loop, ahead)


def test_empty_clusters_are_the_loop_s():
    """A cluster that runs empty is given the farthest row, and iterations go on."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 2))
    C = np.concatenate([X[:5], [[50.0, 50.0], [60.0, 60.0]]])
    loop, ahead = both(X, C)
    check(loop, ahead)
    assert ahead.history[0].relocated == 2 and ahead.n_iter > 3


def test_centroids_out_of_reach_are_the_loop_s():
    """Where float32 scores prove nothing, nothing is done ahead."""
    X = np.random.default_rng(0).standard_normal((100, 2))
    check(*both(X, np.concatenate([X[:3], [[1e30, 0.0]]]), max_iter=4))


def test_ties_between_two_numbers_are_settled():
    """Means of few float64 rows often lie halfway between two numbers: these too are rounded once, ties to even."""
    rng = np.random.default_rng(0)
    X = np.repeat(np.arange(40.0) * 100, 20)[:, None] + rng.random((800, 2))
    C = X[::20].copy()
    source = ArraySource(X, dtype=X.dtype)
    source.arrange(40)
    source.step(C)
    ran = source.ahead(C, 1, lambda: -1.0)
    assert len(ran.iterations) == 1
    assert np.array_equal(ran.centroids, oracle.means(X, source.labels, 40, None))
    assert np.array_equal(ran.centroids, quotient(source._sums, slice(0, -1), slice(-1, None)))


HALVES = st.sampled_from([1.0, 2.0**-53, -(2.0**-54), 2.0**-106, 1e16, -1e16])


@settings(max_examples=300)
@given(st.lists(st.floats(-1e30, 1e30) | HALVES, max_size=30))
def test_rounded_sum_is_fsum(values):
    """The exact sum, rounded once: cancellation, halves, sticky tails."""
    array = np.array(values, np.float64)
    assert quotients_numba.rounded_sum(array, np.empty(len(array) + 1)) == math.fsum(values)


@pytest.mark.parametrize("weighted", [False, True])
def test_random_swap_is_the_same_without(monkeypatch, weighted):
    """The search takes the same swaps whoever does the iterations."""
    rng = np.random.default_rng(3)
    X = rng.standard_normal((3000, 2)) + 6 * rng.integers(0, 6, (3000, 2))
    weights = rng.random(3000) if weighted else None
    here = random_swap(X, 36, sample_weight=weights, n_swaps=30, random_state=0)
    monkeypatch.setenv("GPUKM_ENGINE", "numpy")
    there = random_swap(X, 36, sample_weight=weights, n_swaps=30, random_state=0)
    assert all(np.array_equal(one, other) for one, other in zip(here, there, strict=True))


def test_runs_do_not_depend_on_each_other():
    """n_init=3 is the best of three fits, and a source forgets a run."""
    X = np.random.default_rng(1).standard_normal((2000, 3))
    starts = [X[:6], X[6:12], X[12:18]]
    alone = [k_means(X, 6, init=start, n_init=1)[2] for start in starts]
    calls = iter(starts)
    model = KMeans(6, init=lambda *_, **__: next(calls), n_init=3).fit(X)
    assert model.inertia_ == min(alone)


def test_an_interrupt_after_going_ahead_is_forgotten():
    """Ctrl-C when steps ahead are done, but not handed over: labels and inertia are of the centroids that are kept."""
    rng = np.random.default_rng(16)
    X, C = rng.random((40, 2)), rng.random((12, 2))  # a cluster runs empty in the second iteration
    source = ArraySource(X, dtype=X.dtype)
    source.arrange(12)
    ahead = source.ahead

    def failing(*args):
        found = ahead(*args)
        if found.iterations and source._counts is not None:
            raise KeyboardInterrupt
        return found

    source.step(C)
    source.ahead = failing
    result = lloyd(source, C, max_iter=50, tol=0.0)
    assert result.interrupted and np.array_equal(result.centroids, C)
    assert np.array_equal(result.labels, oracle.labels(X, C))
    assert result.inertia == oracle.inertia(X, C)


def test_another_number_of_centroids_is_the_loop_s():
    """Sums of four clusters are not gone on with for six."""
    X = np.random.default_rng(0).standard_normal((500, 2))
    source = ArraySource(X, dtype=X.dtype)
    source.arrange(6)
    source.step(X[:4])
    assert len(source.ahead(X[:6], 5, lambda: 0.0).iterations) == 0
    assert np.array_equal(source.step(X[:6]).sums.means(), ArraySource(X, dtype=X.dtype).step(X[:6]).sums.means())
