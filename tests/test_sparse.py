"""Sparse matrices are clustered as they are stored, to the bits of the dense ones."""

import tracemalloc
import warnings

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpukm
from gpukm import BisectingKMeans, KMeans, MiniBatchKMeans, kernels
from gpukm.array_source import ArraySource
from gpukm.exact import Grid, squared_distances, sums_like
from gpukm.kernels import csr
from gpukm.sparse_source import SparseSource

sparse = pytest.importorskip("scipy.sparse")

FITTED = ("cluster_centers_", "labels_", "inertia_", "n_iter_", "withinss_", "totss_", "size_")


def documents(n=200, d=60, seed=0, dtype=np.float64, share=0.1):
    """Rows with few values that are not zero; two are equal, one has none."""
    rng = np.random.default_rng(seed)
    X = (9 * rng.random((n, d)) * (rng.random((n, d)) < share * rng.random(d) * 2)).astype(dtype)
    X[:, seed % d] += (np.arange(n) % 3 * 5).astype(dtype)
    X[n // 2], X[n // 3] = X[0], 0
    return X


def compressed(X):
    M = sparse.csr_array(X)
    return csr.CSR(M.data, M.indices, M.indptr.astype(np.int64), X.shape[1])


def assert_same_fit(a, b):
    for name in FITTED:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


# -- kernels --------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.integers(1, 70),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([4, 50, 1 << 18]),
)
def test_distances_have_the_bits_of_the_dense_ones(seed, n, d, share, dtype, values):
    """D of rows and of centroids of any sparsity, however the columns are cut into pieces."""
    rng = np.random.default_rng(seed)
    X = (rng.standard_normal((n, d)) * 10.0 ** rng.integers(-6, 6, d) * (rng.random((n, d)) < share)).astype(dtype)
    C = (rng.standard_normal((3, d)) * (rng.random((3, d)) < [[0.0], [0.1], [1.0]])).astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csr, "VALUES", values)
        patch.setattr(csr, "FEW", 1 + seed % 9)
        for c in C:
            found = csr.squared_distances(compressed(X), c)
            np.testing.assert_array_equal(found, squared_distances(X, c[None, :]))
            np.testing.assert_array_equal(found, oracle.distances(X, c[None, :])[:, 0])
        labels = rng.integers(0, 3, n).astype(np.int32)
        own = csr.own_distances(compressed(X), C, labels, {})
        np.testing.assert_array_equal(own, oracle.distances(X, C)[np.arange(n), labels])


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.booleans(), st.booleans(), st.sampled_from([np.float32, np.float64]))
def test_sums_are_the_same_integers(seed, weighted, moved, dtype):
    """Limb by limb, with values of all magnitudes, weights, and rows that leave a cluster for another."""
    rng = np.random.default_rng(seed)
    n, d, k = 30, 12, 4
    X = documents(n, d, seed, dtype) * (10.0 ** rng.integers(-12, 12, (n, d))).astype(dtype)
    weights = rng.random(n) * 10.0 ** rng.integers(-6, 6, n) if weighted else None
    labels, old = rng.integers(0, k, (2, n)).astype(np.int32)
    bound = np.append(np.abs(X).max(axis=0), 1.0) * (1 if weights is None else weights.max())
    grid = Grid.of(bound.astype(np.float64), n)
    dense, found = sums_like(grid, k), sums_like(grid, k)
    kernels.accumulate(X, np, labels, dense, old_labels=old if moved else None, weights=weights)
    csr.accumulate(compressed(X), labels, found, old_labels=old if moved else None, weights=weights)
    np.testing.assert_array_equal(found.store, dense.store)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_hashes_bounds_and_norms_are_those_of_the_dense_rows(dtype):
    """Zeros count in the bounds, and stored zeros of either sign as zeros; a column may be full or empty."""
    X = documents(50, 20, 3, dtype)
    X[:, 4], X[:, 5] = 1 + np.arange(50), 0
    X[:, 6] = -X[:, 4]
    stored = compressed(X)
    stored.values[::7] = [0.0, -0.0][stored.values.size % 2]
    X = stored.dense()
    np.testing.assert_array_equal(stored.hashes(), kernels.hash_rows(X))
    np.testing.assert_array_equal(stored.extremes(), (X.min(axis=0), X.max(axis=0)))
    np.testing.assert_allclose(stored.squares(2.0), 4 * (X.astype(float) ** 2).sum(axis=1), rtol=1e-12)
    rows = np.array([3, 3, 0, 49, 16])
    np.testing.assert_array_equal(stored.take(rows).dense(), X[rows])
    np.testing.assert_array_equal(stored.part(5, 9).dense(), X[5:9])
    assert len(stored.part(7, 7)) == len(stored.take(rows[:0])) == 0


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 9), st.sampled_from([2.0**-470, 1.0, 2.0**490]))
def test_labels_equal_the_oracle(seed, k, scale):
    """Ties, equal centroids and rows of zeros among them, near the ends of the range too."""
    rng = np.random.default_rng(seed)
    X = np.round(2 * rng.standard_normal((60, 8))) * (rng.random((60, 8)) < 0.4) * scale
    C = np.round(rng.standard_normal((k, 8))) * scale
    source = SparseSource(sparse.csr_array(X), dtype=X.dtype)
    np.testing.assert_array_equal(source.assign(C), oracle.labels(X / scale, C / scale))


# -- fits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["k-means++", "random", "random-partition", "maximin"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, np.int64, bool])
def test_fits_have_the_bits_of_dense_fits(init, dtype):
    """Whatever the start and the dtype, with weights and without; and so do predict, transform and score."""
    X = documents(dtype=dtype)
    weight = np.random.default_rng(1).integers(0, 4, len(X)) / 3
    for sample_weight in (None, weight):
        model = KMeans(6, init=init, n_init=2, random_state=5)
        dense = {name: getattr(model.fit(X, sample_weight=sample_weight), name) for name in FITTED}
        new = documents(40, seed=9, dtype=dtype)
        expected = model.predict(new), model.transform(new), model.score(new)
        model.fit(sparse.csr_array(X), sample_weight=sample_weight)
        assert model.engine_ == "numpy-csr"
        for name, value in dense.items():
            np.testing.assert_array_equal(getattr(model, name), value, err_msg=name)
        for given_ in (new, sparse.csr_array(new)):
            np.testing.assert_array_equal(model.predict(given_), expected[0])
            np.testing.assert_array_equal(model.transform(given_), expected[1])
            assert model.score(given_) == expected[2]


def stored_in_other_ways(X):
    M = sparse.csr_matrix(X)
    shuffled = M.copy()
    for row in range(len(X)):
        own = slice(*M.indptr[row : row + 2])
        shuffled.indices[own], shuffled.data[own] = M.indices[own][::-1], M.data[own][::-1]
    shuffled.has_sorted_indices = False
    twice = sparse.coo_array((np.repeat(M.tocoo().data / 2, 2), [np.repeat(at, 2) for at in M.nonzero()]), M.shape)
    zeros = M.copy()
    zeros[X == 0] = 1
    zeros.data[zeros.data == 1] = -0.0
    wide = sparse.csr_array((M.data, M.indices.astype(np.int64), M.indptr.astype(np.int64)), M.shape)
    frozen = M.copy()
    for part in (frozen.data, frozen.indices, frozen.indptr):
        part.flags.writeable = False
    formats = {name: getattr(M, f"to{name}")() for name in ("coo", "csc", "bsr", "lil", "dok", "dia")}
    return {"shuffled": shuffled, "twice": twice, "zeros": zeros, "wide": wide, "frozen": frozen, **formats}


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
def test_how_it_is_stored_does_not_matter():
    """Unsorted, twice, zeros too, wide indices, read-only, in any format of SciPy's: one answer, X not changed."""
    X = documents(80, 30)
    X[X == 1] = 2
    expected = KMeans(5, random_state=0).fit(X)
    for name, M in stored_in_other_ways(X).items():
        before = M.copy()
        assert_same_fit(KMeans(5, random_state=0).fit(M), expected)
        assert (M != before).nnz == 0 and M.nnz == before.nnz, name


@pytest.mark.parametrize("max_memory", [1, 3000, 2**26])
def test_memory_changes_nothing(max_memory):
    """Blocks of any size, a row at a time at the least."""
    X = documents(60, 30)
    expected = KMeans(5, random_state=0).fit(X)
    assert_same_fit(KMeans(5, random_state=0, max_memory=max_memory).fit(sparse.csr_array(X)), expected)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(2, 12))
def test_empty_clusters_are_filled_alike(seed, k):
    """Far rows, taken out of their clusters with all equal ones, are the same rows."""
    rng = np.random.default_rng(seed)
    X = np.round(2 * rng.standard_normal((25, 4)) * (rng.random((25, 4)) < 0.5))
    init = np.round(5 * rng.standard_normal((k, 4)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dense, found = (KMeans(k, init=init).fit(M) for M in (X, sparse.csr_array(X)))
    assert_same_fit(found, dense)
    assert [each.relocated for each in found.history_] == [each.relocated for each in dense.history_]


def test_what_is_built_upon_it_takes_it_too():
    """Bisecting k-means, random swap, k-means++ and k_means: the dense bits."""
    X = documents()
    M = sparse.csr_array(X)
    a, b = (BisectingKMeans(6, random_state=0).fit(each) for each in (X, M))
    for name in ("cluster_centers_", "labels_", "inertia_", "totss_"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_array_equal(b.predict(M), a.predict(X))
    for function, options in (
        (gpukm.random_swap, {"n_swaps": 12}),
        (gpukm.k_means, {"n_init": 2}),
        (gpukm.kmeans_plusplus, {}),
    ):
        for dense, found in zip(*(function(each, 6, random_state=3, **options) for each in (X, M)), strict=True):
            np.testing.assert_array_equal(found, dense)


def test_documents_are_told_apart():
    """TF-IDF of sentences on two subjects, through a pipeline: each subject is a cluster."""
    pytest.importorskip("sklearn")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    texts = ["stars shine at night", "the night sky has stars", "a star in the sky", "bread needs yeast and flour"]
    texts += ["flour, water and yeast", "we bake bread of flour", "the yeast makes bread rise"]
    labels = make_pipeline(TfidfVectorizer(stop_words="english"), KMeans(2, n_init=5, random_state=0)).fit_predict(
        texts
    )
    assert len(set(labels[:3])) == len(set(labels[3:])) == 1 and labels[0] != labels[3]


@pytest.mark.parametrize("class_", [KMeans, MiniBatchKMeans])
def test_memory_is_that_of_the_stored_values(class_):
    """3,000 documents over 100,000 words would take 2.4 GB, a batch of 1,000 of them 800 MB; centroids are dense."""
    rng = np.random.default_rng(0)
    columns = rng.integers(0, 100_000, 3000 * 20)
    M = sparse.csr_array((rng.random(len(columns)), (np.repeat(np.arange(3000), 20), columns)), shape=(3000, 100_000))
    options = {"max_iter": 2} if class_ is KMeans else {"max_iter": 1, "batch_size": 1000}
    tracemalloc.start()
    try:
        class_(2, random_state=0, max_memory=2**24, **options).fit(M).predict(M)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 120e6


# -- what is refused ------------------------------------------------------------------------------


def test_bad_values_are_named_by_their_place():
    """The first NaN by row and column; values out of range; integers that float64 skips."""
    X = documents(50, 20)
    X[7, 3] = X[9, 1] = np.nan
    for call in (KMeans(2).fit, KMeans(2).fit(documents(50, 20)).predict):
        with pytest.raises(ValueError, match=r"contains NaN.\nThe first is at row 7, column 3"):
            call(sparse.csr_array(X))
    with pytest.raises(ValueError, match="overflow"):
        KMeans(2).fit(sparse.csr_array(documents() * 1e200))
    with pytest.raises(ValueError, match=r"integer 9007199254740993, beyond 2\*\*53"):
        KMeans(1).fit(sparse.csr_array(np.array([[0, 2**53 + 1]])))


def test_shapes_and_starts_are_checked():
    """One row per sample; centroids are dense; as many rows as clusters; the features of the fit."""
    M = sparse.csr_array(documents(50, 20))
    with pytest.raises(ValueError, match=r"Expected 2D array, got 1D array instead: X has shape \(20,\)"):
        KMeans(2).fit(sparse.coo_array(documents(50, 20)[0]))
    with pytest.raises(TypeError, match="Sparse data was passed for init, but dense data is required"):
        KMeans(2, init=M[:2]).fit(M)
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=8"):
        KMeans().fit(M[:2])
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        KMeans().fit(M[:0])
    with pytest.raises(ValueError, match="expecting 20 features"):
        KMeans(2).fit(M).predict(M[:, :5])
    with pytest.raises(TypeError, match="Sparse data was passed for sample_weight"):
        KMeans(2).fit(M, sample_weight=M[:, [0]])


def test_rows_of_zeros_only():
    """A matrix without any stored value is one cluster of zeros."""
    with pytest.warns(UserWarning, match=r"distinct clusters \(1\) found smaller than n_clusters \(2\)"):
        model = KMeans(2, random_state=0).fit(sparse.csr_array((5, 3)))
    assert model.inertia_ == 0 and not model.cluster_centers_.any()
    assert ArraySource(np.zeros((5, 3)), dtype=np.float64).stats().totss == model.totss_
