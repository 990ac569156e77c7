"""Random swap: never worse, better where Lloyd is stuck, the same on every engine and in any order of the rows."""

import math
import warnings
from itertools import pairwise

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpukm
import gpukm.swap
from gpukm import KMeans, random_swap
from gpukm.array_source import ArraySource
from gpukm.lloyd import lloyd
from gpukm.swap import merge_costs
from gpukm.swap import random_swap as search


def grid(side=5, each=20, seed=0, dtype=np.float64):
    """side x side clusters on a grid, well apart."""
    rng = np.random.default_rng(seed)
    centres = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    return (np.repeat(centres, each, axis=0) + 0.08 * rng.normal(size=(side * side * each, 2))).astype(dtype)


def stuck(X, k):
    """A start from which Lloyd alone cannot get out: all centres in a corner."""
    return X[np.argsort(X.sum(axis=1))[:k]]


def test_it_gets_out_where_lloyd_is_stuck(engine):
    """From the worst of starts every cluster of a grid is found, to the inertia of the true partition."""
    X, k = grid(), 25
    truth = lloyd(ArraySource(X, dtype=X.dtype), X.reshape(k, -1, 2).mean(axis=1), max_iter=50, tol=0).inertia
    alone = KMeans(k, init=stuck(X, k)).fit(X)
    found = KMeans(k, init=stuck(X, k), refine="random-swap", random_state=0).fit(X)
    assert alone.inertia_ > 1.5 * truth
    assert found.inertia_ == pytest.approx(truth, rel=1e-9)
    assert random_swap(X, k, init=stuck(X, k), random_state=0)[2] == found.inertia_


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 7), st.sampled_from([0, 1, 5, None]), st.booleans())
def test_it_never_raises_the_inertia(seed, k, n_swaps, weighted):
    """Ties, duplicates, weights of zero and all: no worse than Lloyd, and one state."""
    rng = np.random.default_rng(seed)
    X = np.round(2 * rng.standard_normal((20, 2)))
    weight = rng.integers(0, 3, 20) + (np.arange(20) < 7.0) if weighted else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = KMeans(k, init="random", n_init=1, random_state=seed).fit(X, sample_weight=weight)
        C, labels, inertia = random_swap(
            X, k, init="random", n_init=1, random_state=seed, n_swaps=n_swaps, sample_weight=weight
        )
    assert inertia <= plain.inertia_
    np.testing.assert_array_equal(labels, oracle.labels(X, C))
    assert inertia == oracle.inertia(X, C, weight)
    if n_swaps == 0:
        np.testing.assert_array_equal(C, plain.cluster_centers_)


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_weights_are_repetitions_in_any_order(seed):
    """Repeated and shuffled rows lead to the same bits as weights."""
    rng = np.random.default_rng(seed)
    X = np.round(4 * rng.standard_normal((40, 2)))
    weight = rng.integers(0, 4, 40) + (np.arange(40) < 8)
    order = rng.permutation(weight.sum())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a = random_swap(X, 8, sample_weight=weight, n_swaps=15, random_state=1)
        b = random_swap(np.repeat(X, weight, axis=0)[order], 8, n_swaps=15, random_state=1)
    np.testing.assert_array_equal(a[0], b[0])
    assert a[2] == b[2]
    np.testing.assert_array_equal(np.repeat(a[1], weight)[order], b[1])


def test_every_namespace_and_engine_agrees(backend, monkeypatch):
    """The same bits from arrays of any library, and from compiled code."""
    X = grid(dtype=np.float32)
    expected = random_swap(X, 25, init="random", n_init=1, n_swaps=40, random_state=3)
    monkeypatch.setenv("GPUKM_ENGINE", "numba")
    for found in (
        random_swap(backend.array(X), 25, init="random", n_init=1, n_swaps=40, random_state=3),
        random_swap(X, 25, init="random", n_init=1, n_swaps=40, random_state=3, max_memory=20_000),
    ):
        np.testing.assert_array_equal(np.asarray(found[0]), expected[0])
        np.testing.assert_array_equal(np.asarray(found[1]), expected[1])
        assert found[2] == expected[2]


def test_more_swaps_find_no_worse():
    """One search goes on where the shorter one ended."""
    X = grid()
    inertias = [random_swap(X, 25, init=stuck(X, 25), n_swaps=n, random_state=2)[2] for n in (0, 5, 20, 60)]
    assert inertias == sorted(inertias, reverse=True) and inertias[-1] < inertias[0]


def test_history_goes_on(capsys):
    """Iterations are numbered on, inertia falls along them, and verbose tells of each swap that helped."""
    X = grid()
    model = KMeans(25, init=stuck(X, 25), refine="random-swap", random_state=0, verbose=1).fit(X)
    assert [each.iteration for each in model.history_] == list(range(1, model.n_iter_ + 1))
    inertias = [each.inertia for each in model.history_]
    assert all(b <= a * (1 + 1e-9) for a, b in pairwise(inertias))
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("Swap ") for line in lines)
    alone = KMeans(25, init=stuck(X, 25)).fit(X)
    assert [each.inertia for each in alone.history_] == inertias[: alone.n_iter_]


def test_merge_costs_are_what_merging_costs():
    """The rise of the inertia when a cluster is united with the one that makes it least, by the definition."""
    rng = np.random.default_rng(0)
    X, labels, weight = rng.normal(size=(60, 3)), np.arange(60) % 5, rng.uniform(0.5, 2, 60)

    def inertia(labels):
        means = oracle.means(X, labels, 5, weight)
        return sum(w * oracle.distance(x, means[c]) for x, c, w in zip(X, labels, weight, strict=True))

    costs = merge_costs(oracle.means(X, labels, 5, weight), np.bincount(labels, weight))
    for i in range(5):
        united = [inertia(np.where(labels == i, j, labels)) for j in range(5) if j != i]
        assert costs[i] == pytest.approx(min(united) - inertia(labels))


def test_an_empty_cluster_is_the_first_to_move():
    """A cluster without rows costs nothing, nor does the double of another."""
    costs = merge_costs(np.array([[0.0], [5.0], [5.0], [9.0]]), np.array([2.0, 1.0, 3.0, 0.0]))
    np.testing.assert_array_equal(costs, [0, 0, 0, 0])
    costs = merge_costs(np.array([[0.0], [5.0], [6.0]]), np.array([2.0, 1.0, 3.0]))
    assert costs[0] == pytest.approx(2 / 3 * 25) and costs[1] == costs[2] == pytest.approx(0.75)


def test_nothing_to_gain_ends_at_once():
    """One cluster, and rows that all lie on their centres, are left as they are."""
    X = grid(2, 3)
    source = ArraySource(X, dtype=X.dtype)
    for C in (X[:1], np.unique(X, axis=0)):
        result = lloyd(source, C, max_iter=300, tol=0)
        assert search(source, result, np.random.default_rng(0)).centroids is result.centroids


def test_the_time_is_kept(monkeypatch):
    """No swap is tried once the time is over: without any, Lloyd's result comes back; with little, fewer are tried."""
    X, clock, tried = grid(), iter(range(10**6)), []
    plain = KMeans(25, init=stuck(X, 25)).fit(X)
    draws = gpukm.swap._settle
    monkeypatch.setattr("gpukm.swap._settle", lambda *given: tried.append(0) or draws(*given))
    monkeypatch.setattr("gpukm.swap.time.perf_counter", lambda: next(clock))  # each look at it is a second
    lloyds = 2 * plain.n_iter_
    for seconds, most in ((0, 0), (lloyds + 5, 5), (lloyds + 50, 50)):
        tried.clear()
        found = random_swap(X, 25, init=stuck(X, 25), max_seconds=seconds, random_state=0)
        assert found[2] <= plain.inertia_ and len(tried) <= most and bool(tried) == (seconds > 0)
    assert found[2] < plain.inertia_


def test_a_callback_ends_the_search():
    """Something true ends the run and the search after it, in one state."""
    X, calls = grid(), []
    first = KMeans(25, init=stuck(X, 25)).fit(X).n_iter_
    C, labels, inertia = random_swap(
        X, 25, init=stuck(X, 25), random_state=0, callback=lambda each: calls.append(each) or len(calls) > first
    )
    assert len(calls) == first + 1
    np.testing.assert_array_equal(labels, oracle.labels(X, C))
    assert inertia == oracle.inertia(X, C)


@pytest.mark.parametrize("at", [1, 30, 200])
def test_ctrl_c_leaves_the_best_so_far(at):
    """An interrupt within the search gives back a consistent state, no worse than Lloyd's."""
    X = grid()
    source = ArraySource(X, dtype=X.dtype)
    result = lloyd(source, stuck(X, 25), max_iter=300, tol=0)
    step, calls = source.step, []

    def interrupted(C):
        calls.append(C)
        if len(calls) == at:
            raise KeyboardInterrupt
        return step(C)

    source.step = interrupted
    found = search(source, result, np.random.default_rng(0), n_swaps=1000)
    assert found.interrupted and found.inertia <= result.inertia
    np.testing.assert_array_equal(found.labels, oracle.labels(X, found.centroids))


def test_parameters_are_checked():
    """What a budget and a refinement may be."""
    X = grid()
    with pytest.raises(ValueError, match="'n_swaps' parameter of random_swap must be None or an int"):
        random_swap(X, 3, n_swaps=-1)
    with pytest.raises(ValueError, match="'max_seconds' parameter of random_swap must be None or a number of seconds"):
        random_swap(X, 3, max_seconds=math.nan)
    with pytest.raises(ValueError, match="'refine' parameter of KMeans must be .* Did you mean 'random-swap'?"):
        KMeans(3, refine="random swap").fit(X)
    assert gpukm.KMeans().get_params()["refine"] is None


def test_a_refined_model_is_saved(tmp_path):
    """The parameter goes into the file and comes back."""
    model = KMeans(4, refine="random-swap", random_state=0).fit(grid(2))
    model.save(tmp_path / "m.npz")
    assert gpukm.load(tmp_path / "m.npz").refine == "random-swap"
