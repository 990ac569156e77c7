"""Strips of narrow rows that are passed over: never a different label, limits that hold, and really fewer looks."""

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukm.array_source import ArraySource
from gpukm.lloyd import lloyd

pytest.importorskip("numba")

from gpukm.kernels import Scorer, ahead_numba
from gpukm.kernels.assign_numba import IN_ORDER, assign_rows
from gpukm.kernels.bounds import NEVER, NOTHING, factors
from gpukm.kernels.bounds_numba import add_moves, keep_of
from gpukm.kernels.int8_numba import NOT_KEPT
from gpukm.kernels.strips_numba import Packed, scratch_for
from gpukm.kernels.vectors_numba import ROWS

NO_DRIFT = np.empty(0), np.empty(0, np.float32)


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """Limits are asked for whether few rows change or many, and threads share small blocks."""
    monkeypatch.setenv("GPUKM_ENGINE", "numba")
    for name in ("CALM", "PRODUCTS", "ALONE"):
        monkeypatch.setattr(ahead_numba, name, 1)


def source_of(X, k, weights=None, n_threads=1):
    source = ArraySource(X, weights, dtype=X.dtype, n_threads=n_threads)
    source.arrange(k)
    assert len(source._runner._limits) == -(-len(X) // ROWS)
    return source


def gone_ahead(X, C, iterations):
    """(what `ahead` gave, the limits of the strips)."""
    source = source_of(X, len(C))
    source.step(C)
    ran = source.ahead(C, iterations, lambda: -1.0)
    return ran, source._runner._limits.copy()


def blobs(n, d, k, dtype, spread=6.0):
    rng = np.random.default_rng(n + d)
    centres = rng.normal(size=(k, d)) * spread
    return (rng.normal(size=(n, d)) + centres[rng.integers(0, k, n)]).astype(dtype)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_fits_are_those_without_limits(data):
    """Ties, repeats, far offsets, any scale, weights, threads; numbers that fill nothing evenly."""
    d, k = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 64))
    n = data.draw(st.sampled_from([k, k + 1, ROWS + k, 4 * ROWS + 63, 30 * ROWS + 1]))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    offset, scale = data.draw(st.sampled_from([0, 100, 10**6])), 2.0 ** data.draw(st.sampled_from([-60, 0, 60]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    clear = rng.normal(size=(n, d)) / 8 + rng.integers(-3, 4, (n, d))
    X = ((clear if data.draw(st.booleans()) else rng.integers(-5, 6, (n, d))) + offset) * scale
    X, weights = X.astype(dtype), data.draw(st.sampled_from([None, rng.integers(0, 4, n) + 0.5]))
    C = X[rng.choice(n, k, replace=False)]
    found = lloyd(source_of(X, k, weights, data.draw(st.sampled_from([1, 3]))), C, max_iter=40, tol=0.0)
    expected = lloyd(ArraySource(X, weights, dtype=dtype), C, max_iter=40, tol=0.0)
    for name in ("centroids", "labels", "sizes", "withinss"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    for one, other in zip(found.history, expected.history, strict=True):
        assert (one.changed, one.shift, one.inertia) == (other.changed, other.shift, other.inertia)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 2, 3, 4])
@pytest.mark.parametrize("k", [2, 9])
def test_limits_hold_for_true_distances(d, k, dtype):
    X = blobs(40 * ROWS - 5, d, k, dtype)
    C = X[:k].copy()
    (after, _), (_, limits) = gone_ahead(X, C, 1), gone_ahead(X, C, 2)
    D = np.sqrt(((X[:, None, :].astype(np.longdouble) - after.centroids.astype(np.longdouble)) ** 2).sum(axis=2))
    order = np.sort(D * source_of(X, k).frame.scale, axis=1)
    moved = add_moves(C, after.centroids, source_of(X, k).frame.scale, *NO_DRIFT)
    gaps = np.minimum.reduceat(order[:, 1] - order[:, 0], np.arange(0, len(X), ROWS))
    assert np.all(limits - moved <= gaps)
    assert np.mean(limits - moved >= 0.49 * gaps) > 0.9  # and are worth having: half of it, or more near a border


def test_strips_that_stand_are_not_looked_at_again():
    """Centroids move with every iteration, and yet most limits are those of an early look."""
    X = blobs(9600, 2, 8, np.float32, spread=3.0)
    C = gone_ahead(X, X[:8].copy(), 16)[0].centroids
    (_, before), (late, limits) = gone_ahead(X, C, 2), gone_ahead(X, C, 10)
    assert len(late.iterations) == 10 and all(one.shift > 0 for one in late.iterations)
    assert np.mean((limits == before) & (limits != NEVER)) > 0.5


def test_only_open_strips_are_labelled_and_get_limits():
    rng, C = np.random.default_rng(0), np.array([[0, 0, 0], [8, 0, 0], [0, 8, 0], [0, 0, 8], [8, 8, 8]], np.float32)
    X = (C[rng.integers(0, 5, 6 * ROWS + 7)] + rng.normal(size=(6 * ROWS + 7, 3))).astype(np.float32)
    X[2 * ROWS] = (C[0] + C[1]) / 2  # as far from one centroid as from another: its strip has no gap
    packed, drift = Packed.of(Scorer.of(source_of(X, 5).frame, C, "numba")), np.float32(3)
    limits = np.array([4, 3, NEVER, np.inf, 2, 3.5, 0], np.float32)
    labels, stands = np.full(len(X), 77, np.int32), limits > drift
    written = limits.copy()
    known = keep_of(None, 5, 3), NOTHING, -1, None, NOT_KEPT, (written, drift, True, factors(3))
    rows = X, IN_ORDER, 0, len(X), packed.arguments, labels, None, 0
    assign_rows(*rows, *known, scratch_for(3, 5, X.dtype))
    passed = np.repeat(stands, ROWS)[: len(X)]
    assert np.array_equal(labels, np.where(passed, 77, oracle.labels(X, C)))
    assert np.array_equal(written[stands], limits[stands])
    D = np.sort(oracle.distances(X, C), axis=1)[:, :2]
    tied = np.logical_or.reduceat(D[:, 0] == D[:, 1], np.arange(0, len(X), ROWS))
    assert tied[2] and np.array_equal(written[~stands & tied] == NEVER, tied[~stands & tied])
    assert np.all(written[~stands & ~tied] > drift) and np.any(~stands & ~tied)


@pytest.mark.parametrize("moves", [[0.0], [3.0], [1.0, 5.0, 2.0], [5.0, 1.0], [0.0, 0.0], [4.0, 4.0, 4.0]])
def test_moves_are_added_up(moves):
    """The two greatest; and for each cluster its own and the greatest of the others, upwards."""
    before = np.arange(2.0 * len(moves)).reshape(-1, 2)
    after = before + np.array([0.6, -0.8]) * np.array(moves)[:, None]
    assert add_moves(before, after, 0.5, *NO_DRIFT) == pytest.approx(sum(sorted(moves)[-2:]) / 2, rel=1e-8)
    drift, rounded = np.full(len(moves), 0.1), np.zeros(len(moves), np.float32)
    add_moves(before, after, 0.5, drift, rounded)
    others = [max(moves[:i] + moves[i + 1 :], default=0) for i in range(len(moves))]
    assert drift == pytest.approx(0.1 + (np.array(moves) + others) / 2, rel=1e-8)
    assert np.all(rounded >= drift) and np.all(rounded <= drift * (1 + 1e-6))
