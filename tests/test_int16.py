"""The filter in 16-bit integers: its bar holds, nothing overflows, and labels are the oracle's, on any processor."""

from importlib import import_module

import numpy as np
import oracle
import pytest
from blobs import draw, in_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukm import KMeans
from gpukm.array_source import ArraySource
from gpukm.exact import TINY
from gpukm.kernels import Scorer

pytest.importorskip("numba")
int16 = import_module("gpukm.kernels.int16_numba")
GROUP, ROWS = int16.GROUP, int16.ROWS


@pytest.fixture(autouse=True)
def everywhere(monkeypatch):
    """The filter runs here whether or not it pays on this processor."""
    monkeypatch.setenv("GPUKM_ENGINE", "numba")
    monkeypatch.setattr(int16, "pairs_pay", lambda: True)


def framed(X, C):
    """(rows and centroids in the frame, float64; the centroids packed)."""
    frame, *both = in_frame(X, C)
    return *both, Scorer.of(frame, C, "numba").packed


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([5, 6, 7, 8, 16, 33, 64, 301]),
    st.sampled_from([32, 33, 64, 71]),
    st.sampled_from([0.01, 1.0, 30.0]),
    st.booleans(),
)
def test_the_bar_holds(seed, d, k, spread, far):
    """By integers that cannot overflow and float64: no centroid that may be nearest is above the bar, as derived."""
    rng = np.random.default_rng(seed)
    X, C = draw(rng, 96, d, k, spread, far)
    rows, centroids, packed = framed(X, C)
    words, begins, own, far_ones, terms = packed.words
    own = own.astype(np.float64)
    L, q_by_n, tau, top, top_near = terms.tolist()
    n_far = far_ones[k + GROUP]
    assert (far_ones[n_far : k + GROUP] == k).all()
    lengths = np.linalg.norm(rows, axis=1)
    r = max(float(lengths.max()), L)  # one strip
    unit = r * q_by_n
    rounded = np.rint(rows * (int16.N / r)).astype(np.int64)
    ints = words.astype(np.int64).transpose(0, 2, 1, 3).reshape(len(words) * GROUP, -1)[:k, :d]
    near = np.setdiff1d(np.arange(k), far_ones[:n_far])
    assert len(near) > 0
    begun = np.trunc(begins[:k].astype(np.float64) / unit)
    counts = begun[near] + rounded @ ints[near].T
    assert np.abs(rounded).max() < 2**15 and np.abs(counts).max() < 2**31 and top_near <= top
    # Scores l_k, as low or as high as naming them can make them.
    kappa = int16.KAPPA
    lower = (centroids**2).sum(axis=1) * (0.5 - kappa) - rows @ centroids.T
    lower[:, near] = counts * unit
    slack = kappa * (1 + 40 * kappa) * lengths**2 + TINY
    bars = lower.min(axis=1) + tau * r**2 + slack + 2 * GROUP * unit + own[lower.argmin(axis=1)]
    nearest = oracle.labels(X, C)
    assert (lower[np.arange(len(X)), nearest] <= bars).all()
    true = (centroids**2).sum(axis=1) / 2 - rows @ centroids.T
    assert (true.min(axis=1) <= bars).all()
    error = np.abs(lower + own / 2 - true)[:, near]
    assert (error <= tau * r**2 / 2 + own[near] / 2 + slack[:, None] + GROUP * unit).all()


@pytest.mark.parametrize("d", [5, 16, 4096, 1 << 14])
def test_the_longest_products_fit_an_int32(d):
    """A row and a centroid in one direction, as long as both may be, and all entries alike: the largest there is."""
    C = np.ones((32, d), np.float32)
    C[:16] *= -1
    rows, _, packed = framed(C * 3, C)
    words, begins, _, far, terms = packed.words
    r = max(float(np.linalg.norm(rows, axis=1).max()), float(terms[0]))
    ints = words.astype(np.int64).transpose(0, 2, 1, 3).reshape(len(words) * GROUP, -1)[:32, :d]
    rounded = np.rint(rows * (int16.N / r) * (1 + 2.0**-11)).astype(np.int64)
    counts = begins[:32].astype(np.float64) / (r * terms[1]) + rounded @ ints.T
    assert far[32 + GROUP] == 0 and 2**30 < np.abs(counts).max() < 2**31 - 128
    assert len(int16.words_for(32, (1 << 14) + 1)[0]) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [5, 7, 8, 16, 17, 100])
@pytest.mark.parametrize("k", [32, 64, 71])
@pytest.mark.parametrize("n", [1, ROWS - 1, ROWS, 5 * ROWS + 1])
def test_labels_equal_the_oracle(dtype, d, k, n):
    """Odd sizes, random rows, ties on a grid of integers, far rows and centroids, offsets, extreme scales."""
    rng = np.random.default_rng(d * k + n)
    X, C = draw(rng, n, d, k, 1, True)
    grid = rng.integers(-1, 2, (n, d)).astype(dtype), rng.integers(-1, 2, (k, d)).astype(dtype)
    cases = [(X.astype(dtype), C.astype(dtype)), grid]
    cases += [(cases[0][0] * dtype(s), cases[0][1] * dtype(s)) for s in (1e-30, 1e30)]
    cases += [((X + 1e5).astype(dtype), (C + 1e5).astype(dtype)), (np.zeros((n, d), dtype), np.zeros((k, d), dtype))]
    for rows, centroids in cases:
        source = ArraySource(rows, dtype=dtype, n_threads=1)
        source.step(centroids)
        expected = oracle.labels(rows, centroids)
        assert np.array_equal(source.labels, expected)
        source.step(centroids * dtype(1.001))
        assert np.array_equal(source.labels, oracle.labels(rows, centroids * dtype(1.001)))
        assert np.array_equal(ArraySource(rows, dtype=dtype).assign(centroids), expected)


def fits(monkeypatch, X, k, **options):
    """(a fit with the filter, the same without): models."""
    models = []
    for pays in (True, False):
        monkeypatch.setattr(int16, "pairs_pay", lambda pays=pays: pays)
        models.append(KMeans(k, init=X[:k].copy(), n_init=1, tol=0, **options).fit(X))
    return models


@pytest.mark.parametrize("watched", [False, True], ids=["ahead", "step by step"])
def test_fits_are_the_same_with_and_without(monkeypatch, watched):
    """Clear clusters, whose rows soon stand by their bounds, and rows that hardly cluster: all numbers."""
    rng = np.random.default_rng(0)
    for d, k, spread, iterations in ((8, 64, 4, 30), (33, 40, 1, 8)):
        X, _ = draw(rng, 20_000, d, k, spread, False)
        options = {"max_iter": iterations, "callback": (lambda step: False) if watched else None}
        one, other = fits(monkeypatch, X, k, **options)
        assert np.array_equal(one.labels_, other.labels_)
        assert np.array_equal(one.cluster_centers_, other.cluster_centers_)
        assert [(h.inertia, h.shift, h.changed) for h in one.history_] == [
            (h.inertia, h.shift, h.changed) for h in other.history_
        ]


def test_far_centroids_are_scored_in_float32():
    """One centroid on a far row neither makes the others' integers small nor leaves all rows open."""
    X, C = draw(np.random.default_rng(2), 50 * ROWS, 16, 40, 1, False)
    X[7] = C[3] = 1e4
    source = ArraySource(X, dtype=np.float32, n_threads=1)
    undecided = source.step(C).undecided
    assert np.array_equal(source.labels, oracle.labels(X, C))
    packed = Scorer.of(source.frame, C, "numba").packed
    far = packed.words[3]
    assert far[-1] == 1 and far[0] == 3 and not packed.words[0][0, :, 3].any()
    assert undecided < 5 * ROWS


def test_rows_that_are_often_open_are_scored_in_float32(monkeypatch):
    """Near ties everywhere: after a strip that the filter cannot decide come others without it; it is asked again."""
    rng = np.random.default_rng(1)
    C = np.repeat(rng.standard_normal((16, 8)), 2, axis=0).astype(np.float32)
    C[1::2, 0] += np.float32(1e-3)  # pairs that 16 bits hardly tell apart
    X = (C[rng.integers(0, 32, 200 * ROWS)] + 0.1 * rng.standard_normal((200 * ROWS, 8))).astype(np.float32)
    source = ArraySource(X, dtype=np.float32, n_threads=1)
    left = source.step(C).undecided
    assert np.array_equal(source.labels, oracle.labels(X, C))
    monkeypatch.setattr(int16, "pairs_pay", lambda: False)
    without = ArraySource(X, dtype=np.float32, n_threads=1).step(C).undecided
    assert without + ROWS <= left < without + 0.1 * len(X)
