"""Mini-batches of sparse rows: the bits of the dense ones, in memory that grows with the stored values."""

import numpy as np
import pytest

from gpukm import MiniBatchKMeans

sparse = pytest.importorskip("scipy.sparse")

FITTED = ("cluster_centers_", "labels_", "inertia_", "n_steps_", "n_iter_", "counts_", "withinss_", "totss_", "size_")


def documents(n=300, d=40, seed=0, dtype=np.float64):
    """Rows with few values that are not zero, negative ones among them; many are equal, one has none."""
    rng = np.random.default_rng(seed)
    X = 9 * rng.random((n, d)) * (rng.random((n, d)) < 0.2 * rng.random(d))
    X[:, seed % d] = np.arange(n) % 5 * 6
    if np.dtype(dtype).kind == "f":
        X[:, (seed + 1) % d] = np.arange(n) % 3 * -4
    X[::7], X[n // 3] = X[0], 0
    return X.astype(dtype)


def small(k=7, **options):
    return MiniBatchKMeans(k, **{"random_state": 1, "batch_size": 40, "max_iter": 6, **options})


def assert_same(a, b, names=FITTED):
    for name in names:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        assert type(getattr(a, name)) is type(getattr(b, name))


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random", "random-partition", "maximin"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_fits_have_the_bits_of_dense_fits(init, dtype):
    """Whatever the start, with whole weights, others and none, to the last step; so have predict, transform, score."""
    X, new, rng = documents(dtype=dtype), documents(50, seed=1, dtype=dtype), np.random.default_rng(0)
    weights = rng.integers(0, 4, len(X))
    for weight in (None, weights, weights / 3):
        a, b = (small(init=init, n_init=2).fit(M, sample_weight=weight) for M in (X, sparse.csr_array(X)))
        assert_same(a, b)
        assert b.engine_ == "numpy-csr"
        for one, other in zip(a.history_, b.history_, strict=True):
            assert (one.inertia, one.shift, one.relocated) == (other.inertia, other.shift, other.relocated)
        for M in (new, sparse.csr_array(new)):
            np.testing.assert_array_equal(b.predict(M), a.predict(new))
            np.testing.assert_array_equal(b.transform(M), a.transform(new))
            assert b.score(M, sample_weight=2) == a.score(new, sample_weight=2)


@pytest.mark.parametrize(
    "options",
    [
        {"refine": 3, "tol": 1e-5},
        {"init_size": 10_000, "reassignment_ratio": 0.5},
        {"compute_labels": False},
        {"max_memory": 1},
        {"batch_size": 10_000},
        {"init": documents(7, seed=3)},
    ],
    ids=["refine", "whole", "unlabelled", "memory", "batch", "array"],
)
def test_options_change_nothing_of_that(options):
    """Starts on all rows, batches of all rows, given-up centroids, Lloyd's iterations at the end, a byte of memory."""
    X = documents()
    a, b = (small(**options).fit(M) for M in (X, sparse.csr_array(X)))
    assert_same(a, b, FITTED if options.get("compute_labels", True) else ("cluster_centers_", "inertia_", "counts_"))
    if "reassignment_ratio" in options:
        assert sum(each.relocated for each in b.history_) > 0


@pytest.mark.parametrize("weighted", [False, True])
def test_partial_fits_have_the_bits_of_dense_ones(weighted):
    """Batch by batch, also where sparse and dense ones alternate; float64 after float32."""
    parts = [documents(60, seed=s, dtype=np.float32 if s < 2 else np.float64) for s in range(4)]
    weights = [np.random.default_rng(s).integers(0, 3, 60) / 2 if weighted else None for s in range(4)]
    dense, stored, mixed = (MiniBatchKMeans(6, random_state=0) for _ in range(3))
    for number, (X, weight) in enumerate(zip(parts, weights, strict=True)):
        dense.partial_fit(X, sample_weight=weight)
        stored.partial_fit(sparse.csr_matrix(X), sample_weight=weight)
        mixed.partial_fit(sparse.csc_array(X) if number % 2 else X, sample_weight=weight)
        for model in (stored, mixed):
            assert_same(dense, model, ("cluster_centers_", "counts_", "labels_", "inertia_", "n_steps_"))


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
def test_how_it_is_stored_does_not_matter():
    """Any format, zeros stored and not, read-only, in any order of the rows: one answer, and X is as it was."""
    X = documents()
    X[-1] = 0
    M = sparse.csr_matrix(X)
    ends = M.indptr.copy()
    ends[-1] += 2
    zeros = sparse.csr_matrix((np.append(M.data, [0.0, -0.0]), np.append(M.indices, [0, 1]), ends), X.shape)
    frozen = M.copy()
    for part in (frozen.data, frozen.indices, frozen.indptr):
        part.flags.writeable = False
    expected = small().fit(X)
    formats = [getattr(M, f"to{name}")() for name in ("coo", "csc", "bsr", "lil", "dok", "dia")]
    for each in (zeros, frozen, *formats):
        before = each.copy()
        assert_same(small().fit(each), expected)
        assert (each != before).nnz == 0 and each.nnz == before.nnz
    order = np.random.default_rng(0).permutation(len(X))
    shuffled = small().fit(M[order])
    np.testing.assert_array_equal(shuffled.cluster_centers_, expected.cluster_centers_)
    np.testing.assert_array_equal(shuffled.labels_, expected.labels_[order])


@pytest.mark.parametrize("init_size", [30, 10_000])
def test_a_callable_start_gets_sparse_rows(init_size):
    """Those drawn, or X as it is; and with them the same start as on dense rows."""
    X, seen = documents(), []

    def first(rows, n_clusters, random_state):
        seen.append(rows)
        few = rows[:n_clusters]
        return few.toarray() if sparse.issparse(few) else few

    a, b = (small(init=first, init_size=init_size).fit(M) for M in (X, sparse.csr_array(X)))
    assert_same(a, b)
    for dense, stored in zip(seen[:3], seen[3:], strict=True):
        assert sparse.issparse(stored)
        np.testing.assert_array_equal(stored.toarray(), dense)


def test_bad_input_is_named():
    """NaN by its place; sparse starts; the features of the fit; a GPU; a model is as it was after a refused batch."""
    X = documents()
    model = small().fit(sparse.csr_array(X))
    before = model.cluster_centers_.copy()
    X[7, 3] = np.nan
    for call in (model.fit, model.partial_fit, model.predict):
        with pytest.raises(ValueError, match=r"contains NaN.\nThe first is at row 7, column 3"):
            call(sparse.csr_array(X))
    with pytest.raises(ValueError, match="expecting 40 features"):
        model.partial_fit(sparse.csr_array(X[:, :5]))
    with pytest.raises(TypeError, match="Sparse data was passed for init"):
        small(init=sparse.csr_array(documents(7))).fit(sparse.csr_array(documents()))
    with pytest.raises(ValueError, match="X is a sparse matrix, which runs on the CPU"):
        small(device="cuda").fit(sparse.csr_array(documents()))
    np.testing.assert_array_equal(model.cluster_centers_, before)
