"""assign and lloyd_step against the oracle: every namespace, odd shapes, ties, offsets, extreme scales."""

from importlib import import_module

import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpukm import KMeans, kernels
from gpukm.array_source import ArraySource
from gpukm.exact import MAX_LIMBS, Grid, sums_like
from gpukm.seeding import seed

pytestmark = pytest.mark.usefixtures("engine")


WIDE = st.floats(-1e30, 1e30).filter(lambda v: v == 0 or abs(v) > 1e-30)


def assigned(X, C, **options):
    """(labels, undecided) of one step."""
    source = ArraySource(X, dtype=C.dtype, **options)
    step = source.step(C)
    return source.labels, step.undecided


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 2, 3, 15, 16, 17, 33, 100])
@pytest.mark.parametrize("k", [1, 2, 7, 63, 64, 65, 131])
def test_labels_equal_the_oracle(dtype, d, k):
    """Any number of features and centroids around the sizes where formulations change, any block size."""
    rng = np.random.default_rng(d * k)
    X = rng.standard_normal((257, d)).astype(dtype)
    C = rng.standard_normal((k, d)).astype(dtype)
    expected = oracle.labels(X, C)
    for block_rows in (None, 1, 64, 101):
        assert np.array_equal(assigned(X, C, block_rows=block_rows)[0], expected)
    assert np.array_equal(ArraySource(X, dtype=dtype).assign(C), expected)


def test_every_namespace_agrees(backend):
    """NumPy, read-only NumPy, array-api-strict, torch, CuPy: one answer."""
    rng = np.random.default_rng(0)
    X = np.round(rng.standard_normal((300, 4)) * 4).astype(np.float32)
    C = np.round(rng.standard_normal((9, 4)) * 4).astype(np.float32)
    labels, undecided = assigned(backend.array(X), C)
    assert np.array_equal(labels, oracle.labels(X, C))
    assert undecided > 0


@given(
    hnp.arrays(np.float32, (30, 2), elements=st.integers(-3, 3).map(float)),
    hnp.arrays(np.float32, (6, 2), elements=st.integers(-3, 3).map(float)),
)
def test_ties_go_to_the_lowest_label(X, C):
    """On a small grid of integers nearly everything ties, duplicates among the centroids included."""
    assert np.array_equal(assigned(X, C)[0], oracle.labels(X, C))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [5, 80])
@pytest.mark.parametrize("d", [3, 20])
@pytest.mark.parametrize(("scale", "offset"), [(1e-30, 0), (1e30, 0), (1, 1e7), (1e-3, 1e4), (1e15, -1e19), (1e37, 0)])
def test_scale_and_offset_do_not_matter(dtype, k, d, scale, offset):
    """Data far from the origin, tiny or near the largest float32: still the oracle's labels."""
    rng = np.random.default_rng(k * d)
    X = (rng.standard_normal((200, d)) * scale + offset).astype(dtype)
    C = X[rng.choice(200, k, replace=False)]
    assert np.array_equal(assigned(X, C)[0], oracle.labels(X, C))


def test_very_large_float64_is_served():
    """Magnitudes no float32 holds are scaled, not lost."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((100, 3)) * 1e120
    assert np.array_equal(assigned(X, X[:7].copy())[0], oracle.labels(X, X[:7]))


def test_centroids_far_from_all_rows():
    """Starting centroids absurdly far away overflow no score."""
    X = np.random.default_rng(2).standard_normal((50, 3)).astype(np.float32)
    C = np.array([[1e30, 0, 0], [1e30, 1e20, 0], [0, 0, 0]], np.float32)
    assert np.array_equal(assigned(X, C)[0], np.full(50, 2))
    assert np.array_equal(assigned(X, C[:2])[0], oracle.labels(X, C[:2]))


def test_one_far_row_loosens_nothing():
    """A single outlier (and the centroid on it) does not make the filter give up on all other rows."""
    X = np.random.default_rng(9).standard_normal((5000, 3)).astype(np.float32)
    X[0] = 1000
    C = X[:8].copy()
    labels, undecided = assigned(X, C)
    assert np.array_equal(labels, oracle.labels(X, C))
    assert undecided < 50


def test_rows_too_long_for_float32_scores():
    """With so many features that a float32 product proves nothing, D alone decides, in seeding too."""
    X = np.random.default_rng(10).standard_normal((12, 200_000)).astype(np.float32)
    labels, undecided = assigned(X, X[:3].copy())
    assert np.array_equal(labels, oracle.labels(X, X[:3]))
    assert undecided == 12
    C, _ = seed(ArraySource(X, dtype=X.dtype), 12, "k-means++", np.random.default_rng(0))
    assert len(np.unique(C[:, 0])) == 12


def test_identical_rows_and_centroids():
    """Nothing can be certified: everything is settled, and label 0 wins every tie."""
    X = np.full((100, 20), 3.3, np.float32)
    labels, undecided = assigned(X, X[:70].copy())
    assert not labels.any()
    assert undecided == 100


@pytest.mark.parametrize("layout", ["F", "strided", "big-endian", "memmap", "reversed", "uint8", "int16", "float16"])
def test_layout_does_not_matter(layout, tmp_path):
    """Blocks are brought into shape one at a time; the labels are those of a plain array."""
    X = np.random.default_rng(3).integers(0, 200, (500, 5))
    plain = X.astype(np.float32)
    if layout == "memmap":
        np.save(tmp_path / "x.npy", plain)
        A = np.load(tmp_path / "x.npy", mmap_mode="r")
    else:
        A = {
            "F": lambda: np.asfortranarray(plain),
            "strided": lambda: np.repeat(np.repeat(plain, 2, axis=0), 3, axis=1)[::2, ::3],
            "big-endian": lambda: plain.astype(">f4"),
            "reversed": lambda: np.ascontiguousarray(plain[::-1, ::-1])[::-1, ::-1],
            "uint8": lambda: X.astype(np.uint8),
            "int16": lambda: X.astype(np.int16),
            "float16": lambda: X.astype(np.float16),
        }[layout]()
    before = np.array(A)
    C = plain[:11].copy()
    source, reference = ArraySource(A, dtype=np.float32), ArraySource(plain, dtype=np.float32)
    assert np.array_equal(source.step(C).sums.means(), reference.step(C).sums.means())
    assert np.array_equal(source.labels, reference.labels)
    assert np.array_equal(np.array(A), before)


def test_moved_rows_leave_the_sums_of_a_fresh_start():
    """Adding to the new and subtracting from the old cluster, ten times over, equals summing anew, to the bit."""
    rng = np.random.default_rng(4)
    X = rng.standard_normal((2000, 3)).astype(np.float32)
    w = rng.random(2000)
    moving = ArraySource(X, w, dtype=np.float32, block_rows=300)
    for _ in range(10):
        C = X[rng.choice(2000, 40, replace=False)]
        moved = moving.step(C).sums
    fresh = ArraySource(X, w, dtype=np.float32).step(C).sums
    assert np.array_equal(moved.means(), fresh.means())
    assert np.array_equal(moved.totals(), fresh.totals())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data())
def test_sums_are_exact(engine, dtype, data):
    """Sums of w x and of w D, moved about, over 60 decades and with any weights: the exact sums, rounded once."""
    X = data.draw(hnp.arrays(np.float64, (9, 2), elements=WIDE)).astype(dtype)
    weights = data.draw(
        st.none() | hnp.arrays(np.float64, 9, elements=st.sampled_from([0.0, 1e-12, 0.1, 1.0, 3.0, 1e12]))
    )
    old, new = (data.draw(hnp.arrays(np.int32, 9, elements=st.integers(0, 2))) for _ in range(2))
    w = np.ones(9) if weights is None else weights
    bounds = np.append(np.abs(X.astype(np.float64)).max(axis=0), 1.0) * max(w.max(), 1e-12)
    sums = sums_like(Grid.of(bounds, 9), 3)
    kernels.accumulate(X, np, old, sums, weights=weights, engine=engine)
    kernels.accumulate(X, np, new, sums, old_labels=old, weights=weights, engine=engine)
    inertia = sums_like(Grid.of([1e61 * max(w.max(), 1e-12)], 9), 3)
    centroids = X[:3]
    kernels.add_inertia(X, centroids, new, weights, inertia, {}, engine)
    D = np.array([oracle.distance(x, c) for x, c in zip(X, centroids[new], strict=True)])
    for k in range(3):
        own = np.flatnonzero(new == k)
        assert sums.weights()[k] == float(oracle.exact_sum(w[own]))
        columns = [(sums, j, X[own, j]) for j in range(2)] + [(inertia, 0, D[own])]
        for store, j, terms in columns:
            found, expected = store.totals()[k, j], oracle.exact_sum(terms, w[own])
            lowest = 9 * store.grid.unit(MAX_LIMBS - 1)[j]  # 324 bits below the largest; the rest is cut
            assert found == float(expected) or abs(found - expected) <= lowest


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 2, 3, 4])
@pytest.mark.parametrize("offset", [0, 1000])
def test_rows_in_order(dtype, d, offset):
    """Rows sorted in space, where boxes spare most centroids, with ties on a grid and a duplicate of each centroid."""
    X = np.random.default_rng(d).integers(0, 40, (3000, d)) / 4 + offset
    X = X[np.lexsort(X.T // 2)].astype(dtype)
    C = np.concatenate([X[::75], X[::75]])
    assert np.array_equal(assigned(X, C)[0], oracle.labels(X, C))
    C = (C + np.random.default_rng(1).standard_normal(C.shape) / 8).astype(dtype)
    labels, undecided = assigned(X, C)
    assert np.array_equal(labels, oracle.labels(X, C))
    assert undecided < 1000


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("m", [1, 48, 49, 100])
@pytest.mark.parametrize("d", [1, 3, 17])
def test_distances_to_all_centroids(dtype, m, d):
    """transform's distances are the square roots of D, in the compute dtype."""
    X = np.random.default_rng(m * d).standard_normal((m, d)).astype(dtype)
    C = X[:5] + dtype(0.5)
    expected = np.sqrt([[oracle.distance(x, c) for c in C] for x in X]).astype(dtype)
    for centroids in (C, np.asfortranarray(C, np.float64)):
        assert np.array_equal(ArraySource(X, dtype=dtype).distances(centroids), expected)


@pytest.mark.parametrize("d", [1, 3, 4, 5, 16, 47])
@pytest.mark.parametrize("m", [1, 2, 47, 48, 49, 96, 97, 150])
def test_blocks_around_the_tile(d, m):
    """Any number of rows and features around the sizes of vectors and tiles; nothing beside the rows is read."""
    X = np.random.default_rng(m * d).standard_normal((m, d)).astype(np.float32)
    C = X[: min(m, 5)] + np.float32(0.25)
    guarded = np.full(m * d + 64, np.nan, np.float32)
    guarded[: m * d] = X.ravel()
    assert np.array_equal(assigned(guarded[: m * d].reshape(m, d), C)[0], oracle.labels(X, C))


def test_more_than_2_to_the_31_scores():
    """n k beyond 2^31: no index wraps around."""
    n, k = (1 << 16) + 1, (1 << 15) + 1
    X = np.linspace(0, 1, n)[:, None]
    C = np.linspace(0, 1, k)[:, None]
    labels, _ = assigned(X, C)
    assert n * k > 2**31
    assert np.array_equal(labels[[0, 1, -2, -1]], oracle.labels(X[[0, 1, -2, -1]], C))
    assert np.all(np.diff(labels) >= 0)
    assert labels[-1] == k - 1


def test_more_than_2_to_the_31_elements():
    """n d beyond 2^31, cheaply: uint8 rows that share one piece of memory."""
    n, d = (1 << 16) + 5, (1 << 15) + 3
    X = np.broadcast_to(np.arange(n, dtype=np.uint32)[:, None].astype(np.uint8), (n, d))
    C = np.stack([np.full(d, 10.0, np.float32), np.full(d, 200.0, np.float32)])
    source = ArraySource(X, dtype=np.float32)
    last = source.rows(np.array([n - 1]))
    assert X.size > 2**31
    assert last[0, -1] == (n - 1) % 256
    frame = kernels.Frame(np.zeros(d, np.float32), 1.0, 16, 16)
    scorer = kernels.Scorer.of(frame, C, source.engine)
    labels = np.empty(100, np.int32)
    kernels.assign(source.block(n - 100, n), np, scorer, None, labels, {}, rows=64)
    assert np.array_equal(labels, (X[n - 100 :, 0] > 105).astype(np.int32))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_matter(threads):
    """Any number of threads gives the same labels, sums, inertia."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((5000, 20)).astype(np.float32)
    C = X[:90].copy()
    one = ArraySource(X, dtype=np.float32, n_threads=1, block_rows=5000)
    many = ArraySource(X, dtype=np.float32, n_threads=threads, block_rows=77)
    assert np.array_equal(one.step(C).sums.means(), many.step(C).sums.means())
    assert np.array_equal(one.labels, many.labels)
    assert one.inertia(C, one.labels)[1] == many.inertia(C, many.labels)[1] == oracle.inertia(X, C)
    assert one.stats().totss == many.stats().totss


@pytest.mark.parametrize("k", [2, 7, 300])
def test_rows_that_are_held_back_do_not_matter(monkeypatch, k):
    """However few open rows are settled at once, and however few moved rows are added: the same labels and sums."""
    rng = np.random.default_rng(k)
    X = rng.integers(-3, 4, (2000, 3)).astype(np.float32)
    C = np.unique(X, axis=0)[:k]
    expected = KMeans(len(C), init=C, n_init=1, max_iter=6, tol=0).fit(X)
    monkeypatch.setattr(import_module("gpukm.kernels.settle"), "PAIRS", 5)
    monkeypatch.setattr(import_module("gpukm.kernels.lloyd_step"), "VALUES", 60)
    found = KMeans(len(C), init=C, n_init=1, max_iter=6, tol=0).fit(X)
    assert np.array_equal(found.cluster_centers_, expected.cluster_centers_)
    assert np.array_equal(found.labels_, expected.labels_)
    assert np.array_equal(found.labels_, oracle.labels(X, found.cluster_centers_))


def test_a_step_broken_off_leaves_no_margins_of_some_rows_behind(monkeypatch):
    """The next one, in blocks of another length, finds those of the other rows."""
    X = np.random.default_rng(0).integers(-3, 4, (3000, 3)).astype(np.float32)
    C = np.unique(X, axis=0)[:90]
    reference = import_module("gpukm.kernels.assign")
    monkeypatch.setattr(reference, "SCORES", 2000)  # 512 rows of 90 scores, 1000 of 2
    scores, calls = reference.scores, []

    def broken(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return scores(*args)

    source = ArraySource(X, dtype=np.float32, n_threads=1, block_rows=3000)
    monkeypatch.setattr(reference, "scores", broken)
    if source.engine == "numpy":
        with pytest.raises(KeyboardInterrupt):
            source.step(C)
    monkeypatch.setattr(reference, "scores", scores)
    source.step(C[:2])
    assert np.array_equal(source.labels, oracle.labels(X, C[:2]))


def test_memory_cap_bounds_the_block():
    """Rows a block shrink with the number of centroids and features, down to one, never to none."""
    assert kernels.block_rows(10**6, 4096, 32 << 20) * 10**6 * 5 <= 32 << 20
    assert kernels.block_rows(10**9, 4096, 1 << 20) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("m", "d"), [(1, 1), (5, 3), (700, 3), (2049, 1), (40, 100), (3, 2500)])
def test_extremes_of_columns(request, dtype, m, d):
    """Least and greatest values; a NaN or an infinity anywhere shows in its column, and in no other."""
    engine = request.getfixturevalue("engine")
    X = np.random.default_rng(m * d).standard_normal((m, d)).astype(dtype)
    low, high = kernels.extremes(X, engine)
    assert np.array_equal(low, X.min(axis=0)) and np.array_equal(high, X.max(axis=0))
    for bad in (np.nan, np.inf, -np.inf):
        for row in {0, m // 2, m - 1}:
            Y = X.copy()
            Y[row, d // 2] = bad
            with np.errstate(invalid="ignore"):
                low, high = kernels.extremes(Y, engine)
            finite = np.isfinite(low) & np.isfinite(high)
            assert not finite[d // 2] and np.count_nonzero(finite) == d - 1
