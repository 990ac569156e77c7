"""Rows passed over and centroids left out of account: never a different label, and really fewer."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from gpukm import kernels
from gpukm.array_source import ArraySource
from gpukm.exact import squared_distances
from gpukm.kernels import bounds

ALWAYS = {"COST": {"numpy": 0, "numba": 0}, "LEAST_STANDING": -1, "MOST_NEAR": 1.0, "LISTED": 1, "MANY": 2, "SPARSE": 1}


@pytest.fixture
def always(engine, monkeypatch):
    """Bounds are used whether they pay or not, in one engine and then the other."""
    for name, value in ALWAYS.items():
        monkeypatch.setattr(bounds, name, value)
    return engine


def blobs(n, d, k, seed, spread=3.0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(k, d)) * spread
    return (rng.normal(size=(n, d)) + centres[rng.integers(0, k, n)]).astype(dtype)


def nearest(X, centroids):
    """Labels by the definition, with nothing filtered."""
    D = np.stack([squared_distances(X, c[None, :]) for c in centroids], axis=1)
    return np.argmin(D, axis=1).astype(np.int32)


def walk(source, centroids, rng, steps=6, size=0.1):
    """Step with centroids that move less and less, and compare with the definition each time."""
    X = source.rows(np.arange(source.n_samples))
    for i in range(steps):
        step = source.step(centroids)
        expected = nearest(X, centroids)
        assert_array_equal(source.labels, expected)
        fresh = ArraySource(X, source.sample_weight, dtype=X.dtype)
        assert_array_equal(step.sums.means(), fresh.step(centroids).sums.means())
        moves = rng.normal(size=centroids.shape) * size / 4**i
        centroids = (centroids + moves).astype(centroids.dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "d", "k"), [(700, 1, 2), (997, 2, 5), (1100, 7, 33), (640, 65, 40), (500, 130, 9), (300, 3, 1)]
)
def test_labels_are_those_of_the_definition(always, n, d, k, dtype):
    X = blobs(n, d, k, seed=n, dtype=dtype)
    source = ArraySource(X, dtype=dtype, block_rows=271)
    walk(source, X[:k].copy(), np.random.default_rng(k))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_ties_repeats_and_far_offsets_never_stand_wrongly(data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    offset = data.draw(st.sampled_from([0.0, 100.0, 1e6]))
    scale = data.draw(st.sampled_from([1.0, 2.0**-60, 2.0**60]))
    engine = data.draw(st.sampled_from(["numpy", "numba"] if kernels.engine_name(np) == "numba" else ["numpy"]))
    rng = np.random.default_rng(seed)
    n, d, k = int(rng.integers(64, 400)), int(rng.integers(1, 9)), int(rng.integers(1, 12))
    X = ((rng.integers(-3, 4, (n, d)) + offset) * scale).astype(np.float32)
    centroids = X[rng.integers(0, n, k)]  # repeats among them
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUKM_ENGINE", engine)
        for name, value in ALWAYS.items():
            patch.setattr(bounds, name, value)
        walk(ArraySource(X, dtype=np.float32), centroids, rng, steps=4, size=0.3 * scale)


def test_rows_that_stand_are_not_looked_at(always, monkeypatch):
    """Blobs far apart, whose centroids hardly move: most rows are read once; all of them where centroids move far."""
    X = blobs(2000, 5, 8, seed=1, spread=50.0)
    source = ArraySource(X, dtype=np.float32)
    centroids = np.stack([X[nearest(X, X[:8]) == i].mean(axis=0) for i in range(8)])
    standing, original = [], kernels.lloyd_step

    def counting(*arguments, **named):
        result = original(*arguments, **named)
        standing.append(result[2])
        return result

    monkeypatch.setattr(kernels, "lloyd_step", counting)
    source.step(centroids)
    assert sum(standing) == 0
    source.step(centroids + np.float32(1e-4))
    assert 0.9 * len(X) < sum(standing) <= len(X)  # but for rows between two centroids of one blob
    standing.clear()
    source.step(X[:8] + np.float32(100))
    assert sum(standing) == 0
    assert_array_equal(source.labels, nearest(X, X[:8] + np.float32(100)))


def test_a_step_that_was_broken_off_leaves_no_trace(always, monkeypatch):
    """Limits written by half a step belong to labels that were never taken over."""
    X = blobs(2000, 6, 7, seed=2, spread=1.0)
    source, start = ArraySource(X, dtype=np.float32, n_threads=1, block_rows=300), X[:7].copy()
    source.step(start)
    original, calls = kernels.lloyd_step, []

    def failing(*arguments, **named):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return original(*arguments, **named)

    monkeypatch.setattr(kernels, "lloyd_step", failing)
    with pytest.raises(KeyboardInterrupt):
        source.step(start[::-1].copy())
    monkeypatch.setattr(kernels, "lloyd_step", original)
    for centroids in (start[::-1].copy(), start):
        source.step(centroids)
        assert_array_equal(source.labels, nearest(X, centroids))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 3, 40, 700])
def test_limits_and_reach_hold_for_true_distances(always, d, dtype):
    X = blobs(600, d, 5, seed=d, dtype=dtype)
    source = ArraySource(X, dtype=dtype, block_rows=600)
    centroids = X[:5].copy()
    source.step(centroids)
    part = source._limits.part(0, 600)
    D = np.sqrt(((X[:, None, :].astype(np.longdouble) - centroids.astype(np.longdouble)) ** 2).sum(axis=2))
    D *= source.frame.scale
    order = np.sort(D, axis=1)
    gap = order[:, 1] - order[:, 0]
    assert np.all(part.limits <= gap)
    assert np.all(part.reach >= order[:, 0])
    assert np.mean(part.limits >= 0.9 * gap) > 0.5  # and most are worth having
    assert np.mean(part.reach <= 1.1 * order[:, 0] + 0.1) > 0.9


def test_distances_between_are_lower_bounds():
    rng = np.random.default_rng(3)
    C = rng.normal(size=(30, 17)) * np.logspace(-6, 0, 30)[:, None] + 1e5
    true = np.sqrt(((C[:, None, :].astype(np.longdouble) - C.astype(np.longdouble)) ** 2).sum(axis=2))
    between = bounds.distances_between(C, 1.0)
    assert between.dtype == np.float32
    assert np.all(between <= true)
    assert np.all(between[true > 1e-3] >= 0.999 * true[true > 1e-3])


def test_few_centroids_are_scored_where_the_others_are_too_far(monkeypatch):
    """The sample finds few centroids near, and the steps after the first use lists of them."""
    pytest.importorskip("numba")
    monkeypatch.setenv("GPUKM_ENGINE", "numba")
    X = blobs(6000, 110, 40, seed=4, spread=30.0)
    source = ArraySource(X, dtype=np.float32)
    source.step(X[:40].copy())
    source.step(X[:40] + np.float32(0.01))
    part = source._limits.part(0, 10)
    assert part is not None and part.between.shape == (40, 40)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [5, 16, 65])
def test_lists_are_scored_in_a_frame_of_their_cluster(monkeypatch, d, dtype):
    """Pairs of clusters whose distance counts for nothing beside that of the pairs, and rows between them, and ties."""
    pytest.importorskip("numba")
    monkeypatch.setenv("GPUKM_ENGINE", "numba")
    for name, value in ALWAYS.items():
        monkeypatch.setattr(bounds, name, value)
    rng = np.random.default_rng(d)
    C = np.repeat(np.rint(rng.normal(size=(20, d)) * 30_000), 2, axis=0)
    C[::2, 0] += 4
    X = (np.repeat(C, 100, axis=0) + rng.integers(-2, 3, (4000, d))).astype(dtype)
    X[::40, 0] = C[1::2, 0].repeat(5) + 2  # as far from the one as from the other
    C = C.astype(dtype)
    source, found = ArraySource(X, dtype=dtype, n_threads=1), []
    for move in (0, 1, 0.5, 1.5):
        found.append(source.step(C + dtype(move)).undecided)
        assert_array_equal(source.labels, nearest(X, C + dtype(move)))
    assert found[0] > 2000 and 0 < max(found[1:]) < 400


def test_centroids_are_brought_into_a_frame_once():
    """Those that are listed, less the centroid's share of the error; others stay too far for any row."""
    fast = pytest.importorskip("gpukm.kernels.bounds_numba")
    C = np.random.default_rng(0).normal(size=(9, 7)) + 1e4
    shift, operand, base = np.zeros(8), np.zeros((9, 7), np.float32), np.zeros(9, np.float32)
    fast.begin_about(4, C, shift, base)
    fast.bring_about(4, np.array([2, 4, 8, 5], np.int32), 3, C, 0.5, 1e-3, operand, base)
    fast.bring_about(4, np.array([4, 8], np.int32), 2, C * 2, 0.5, 1e-3, operand, base)
    assert_array_equal(shift, np.append(C[4], 0))
    listed, framed = [2, 4, 8], (C - C[4]) / 2
    assert_array_equal(operand[listed], -framed[listed].astype(np.float32))
    np.testing.assert_allclose(base[listed], (0.5 - 1e-3) * (framed[listed] ** 2).sum(axis=1), rtol=1e-6)
    assert np.all(base[[0, 1, 3, 5, 6, 7]] > 1e38)


def test_a_source_is_given_back_at_once(always):
    """Nothing refers to it in a circle: the rows of a fit that is over do not wait for the garbage collector."""
    source = ArraySource(blobs(500, 3, 4, seed=6), dtype=np.float32)
    source.step(source.rows(np.arange(4)))
    gc.disable()
    try:
        left = weakref.ref(source)
        del source
        assert left() is None
    finally:
        gc.enable()


def test_no_bounds_where_they_do_not_pay():
    """Few features and centroids: a row costs less than to ask whether it stands."""
    X = blobs(5000, 2, 8, seed=5)
    source = ArraySource(X, dtype=np.float32)
    for _ in range(3):
        source.step(X[:8].copy())
        assert source._limits.part(0, 10) is None
