"""Rows kept in 8 bits: the bar holds, nothing overflows, and labels are the oracle's, on any processor."""

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
from gpukm.kernels import kept

pytest.importorskip("numba")
int8 = import_module("gpukm.kernels.int8_numba")
GROUP, ROWS = int8.GROUP, int8.ROWS


@pytest.fixture(autouse=True)
def everywhere(monkeypatch):
    """Rows are kept here whether or not that pays on this processor, few and narrow as they may be."""
    monkeypatch.setenv("GPUKM_ENGINE", "numba")
    monkeypatch.setattr(int8, "pairs_pay", lambda: True)
    monkeypatch.setattr(kept, "LEAST_VALUES", 0)
    monkeypatch.setattr(kept, "LEAST_FEATURES", 5)


def pixels(X):
    """Whole numbers of 8 bits, 0 and 255 among them."""
    X = np.clip(np.rint(X * 40 + 128), 0, 255)
    X[0], X[-1] = 0, 255
    return X


def kept_rows(X, C):
    """(the copy, ready for the centroids; rows and centroids in the frame, float64)."""
    frame, *both = in_frame(X, C)
    low = X.min(axis=0).astype(float)
    ranges = X.max(axis=0).astype(float) - low
    copy = int8.KeptRows(len(X), frame, low, ranges, 2.0 ** np.ceil(np.log2(ranges.max() / 255)))
    copy.finish([copy.keep(X, 0)])
    copy.make_room(len(C))
    copy.follow(C)
    return copy, *both


def unpacked(copy, n, d, k):
    """(B (n, d), C (k, d), what products are added to (k,)): the integers."""
    strips, _, words, begun, *_ = copy.part(0, n)
    pairs = strips.view(np.int8).reshape(len(strips), strips.shape[1], ROWS, 2)
    B = pairs.transpose(0, 2, 1, 3).reshape(len(strips) * ROWS, -1)[:n]
    ints = words.astype(np.int64).transpose(0, 2, 1, 3).reshape(len(words) * GROUP, -1)[:k]
    assert not B[:, d:].any() and not ints[:, d:].any()
    return B[:, :d].astype(np.int64), ints[:, :d], begun[:k].astype(np.int64)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([5, 6, 7, 8, 16, 33, 64, 301]),
    st.sampled_from([1, 2, 7, 8, 9, 24]),
    st.sampled_from([0.01, 1.0, 30.0]),
    st.sampled_from(["normal", "far", "pixels", "offset"]),
)
def test_the_bar_holds(seed, d, k, spread, kind):
    """By integers that cannot overflow and float64, of any rows: what may be nearest is not above the bar."""
    rng = np.random.default_rng(seed)
    X, C = draw(rng, 2 * ROWS - 5, d, k, spread, kind == "far")
    if kind == "pixels":
        X = pixels(X)
    elif kind == "offset":
        X, C = X + np.float32(1000), C + np.float32(1000)
    copy, rows, centroids = kept_rows(X, C)
    B, ints, begun = unpacked(copy, len(X), d, k)
    _, squares, _, _, own, terms, *_ = copy.part(0, len(X))
    unit, top = terms.tolist()
    counts = begun + B @ ints.T
    assert np.abs(counts).max() < int8.NOBODY and np.abs(ints).max() < 2**15 and own.max() <= top
    if kind == "pixels":
        assert copy._sizes[1] < 1e-3 * np.linalg.norm(rows, axis=1).max()  # held exactly, but for what is not known
    # Scores l_k, as low or as high as naming them can make them.
    kappa = int8.KAPPA
    lower, lengths = counts * unit, np.linalg.norm(rows, axis=1)
    assert np.allclose(squares[: len(X)], lengths**2, rtol=1e-3)
    slack = kappa * (1 + 40 * kappa) * lengths**2 + TINY
    own = own.astype(np.float64)
    bars = lower.min(axis=1) + slack + 2 * GROUP * unit + own[lower.argmin(axis=1)]
    assert (lower[np.arange(len(X)), oracle.labels(X, C)] <= bars).all()
    true = (centroids**2).sum(axis=1) / 2 - rows @ centroids.T
    assert (true.min(axis=1) <= bars).all()
    assert (np.abs(lower + own / 2 - true) <= own / 2 + slack[:, None] + GROUP * unit).all()


@pytest.mark.parametrize("d", [5, 64, 4096, 1 << 14])
def test_the_longest_products_fit_an_int32(d):
    """Rows and centroids in one direction, as long as both may be, all entries alike: the largest there is."""
    C = np.ones((2, d), np.float32)
    C[0] *= -1
    X = np.tile(np.array([[-1], [1]], np.float32), (ROWS, d))
    copy, _, _ = kept_rows(X, C)
    B, ints, begun = unpacked(copy, len(X), d, 2)
    counts = np.abs(begun + B @ ints.T).max()
    assert np.abs(B).max() >= 64 and (d < 4096 or 2**28 < counts) and counts < int8.NOBODY
    assert not int8.can_keep((1 << 14) + 1) and not int8.can_keep(4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [5, 7, 8, 33, 100])
@pytest.mark.parametrize("k", [1, 2, 10, 24])
@pytest.mark.parametrize("n", [25, ROWS - 1, ROWS, 5 * ROWS + 1])
def test_labels_equal_the_oracle(dtype, d, k, n):
    """Odd sizes, pixels, ties on a grid, far centroids, offsets, extreme scales, rows that nobody may write to."""
    rng = np.random.default_rng(d * k + n)
    X, C = draw(rng, n, d, k, 1, False)
    X, C = pixels(X).astype(dtype), (C * 40 + 128).astype(dtype)
    far = C.copy()
    far[0] = 1e6
    grid = rng.integers(-1, 2, (n, d)).astype(dtype), rng.integers(-1, 2, (k, d)).astype(dtype)
    cases = [(X, C), (X, far), grid, (X / 2 + 10_000, C / 2 + 10_000), (X + 100_000, C + 100_000)]
    cases += [(X * dtype(s), C * dtype(s)) for s in (2.0**-100, 2.0**100)]
    for rows, centroids in cases:
        rows.flags.writeable = False
        source = ArraySource(rows, dtype=dtype, n_threads=1)
        source.step(centroids)
        assert source._kept is None
        for factor in (1.001, 1.0, 0.7):
            source.step(centroids * dtype(factor))
            assert source._kept
            assert np.array_equal(source.labels, oracle.labels(rows, centroids * dtype(factor)))


@pytest.mark.parametrize("kind", ["a tenth", "one other value", "constant", "256 steps"])
def test_other_rows_are_not_kept_or_right_all_the_same(kind):
    """Numbers that are not whole; some that are not, which neither ranges nor a sample shows; no range at all."""
    rng = np.random.default_rng(3)
    X = pixels(rng.standard_normal((40 * ROWS, 20))).astype(np.float32)
    if kind == "a tenth":
        X /= 10
    elif kind == "one other value":
        X[1, 3] += np.float32(0.37)
        X[2 * ROWS + 7] = X[2 * ROWS + 7] * np.float32(0.999)
    elif kind == "constant":
        X[...] = 3.0
    else:
        X[:, 0] += X[:, 0] > 100
    C = X[5:12] + np.float32(0.25)
    source = ArraySource(X, dtype=np.float32, n_threads=1)
    source.step(C)
    moved = C + np.float32(1.3)
    source.step(moved)
    assert bool(source._kept) == (kind == "one other value")
    assert np.array_equal(source.labels, oracle.labels(X, moved))


@pytest.mark.parametrize("kind", ["clear", "loose", "wide"])
@pytest.mark.parametrize("options", [{}, {"max_memory": 1 << 22}], ids=["default", "little memory"])
def test_fits_are_the_same_with_and_without(monkeypatch, kind, options):
    """Rows that soon settle, and rows that hardly cluster: all numbers, at any size of blocks."""
    rng = np.random.default_rng(0)
    d, k, spread, iterations = {"clear": (40, 20, 4, 30), "loose": (33, 24, 1, 8), "wide": (200, 10, 1, 12)}[kind]
    X = pixels(draw(rng, 20_000, d, k, spread, False)[0] / spread)
    models, sources = [], []
    monkeypatch.setattr("gpukm.kernels.keep_rows", lambda *own: sources.append(own) or kept.keep_rows(*own))
    for pays in (True, False):
        monkeypatch.setattr(int8, "pairs_pay", lambda pays=pays: pays)
        models.append(KMeans(k, init=X[:k].copy(), n_init=1, tol=0, max_iter=iterations, **options).fit(X))
    one, other = models
    assert len(sources) == 1
    assert np.array_equal(one.labels_, other.labels_)
    assert np.array_equal(one.cluster_centers_, other.cluster_centers_)
    assert [(h.inertia, h.shift, h.changed) for h in one.history_] == [
        (h.inertia, h.shift, h.changed) for h in other.history_
    ]


def test_rows_that_are_often_open_are_scored_in_float32():
    """Near ties everywhere: after a strip that bytes cannot decide come others without them; they are asked again."""
    rng = np.random.default_rng(1)
    X = pixels(rng.standard_normal((200 * ROWS, 8))).astype(np.float32)
    C = np.repeat(X[:6], 2, axis=0)
    C[1::2, 0] += np.float32(2.0**-10)  # pairs that float32 tells apart where rows are not far
    C[1::2, 1] = -1e5
    C[0, 1] = 1e7  # so far that what is left of the others is coarse
    source = ArraySource(X, dtype=np.float32, n_threads=1)
    source.step(C)
    moved = C * np.float32(1.001)
    left = source.step(moved).undecided
    plain = ArraySource(X, dtype=np.float32, n_threads=1)
    without = plain.step(moved).undecided
    assert np.array_equal(source.labels, plain.labels)
    assert without + ROWS <= left < without + 0.1 * len(X)


def test_memory_and_shapes_decide():
    """A copy is made where it fits, of rows that lie in memory as they are needed, for few enough centroids."""
    X = np.zeros((1000, 40), np.float32)
    X[:500] = 255
    assert kept.worth_keeping("numba", X, 10, 1000 * 44)
    assert not kept.worth_keeping("numba", X, 10, 1000 * 44 - 1)
    assert not kept.worth_keeping("numpy", X, 10, 1 << 30)
    assert not kept.worth_keeping("numba", X, kept.MOST_CENTROIDS + 1, 1 << 30)
    assert not kept.worth_keeping("numba", X[:, :4], 10, 1 << 30)
    C = np.eye(10, 40, dtype=np.float32)
    for rows, keeps in ((X, True), (X.astype(np.uint8), False), (np.asfortranarray(X), False)):
        source = ArraySource(rows, dtype=np.float32)
        source.step(C)
        source.step(C * 2)
        assert bool(source._kept) == keeps
