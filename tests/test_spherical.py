"""SphericalKMeans: k-means of directions, exact on rows at length 1."""

import pickle
import warnings
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukm import KMeans, SphericalKMeans
from gpukm._validation import check_samples
from gpukm.spherical import unit_centroids, unit_rows

FITTED = ("cluster_centers_", "labels_", "inertia_", "n_iter_", "withinss_", "totss_", "size_")


def directions(n=200, d=5, k=4, seed=0, dtype=np.float64):
    """Rows of all lengths about k directions."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((k, d))[rng.integers(0, k, n)] + 0.2 * rng.standard_normal((n, d))
    return (X * 10.0 ** rng.uniform(-3, 3, (n, 1))).astype(dtype)


def unit(X):
    """x / |x| by the definition: a sum from left to right, one rounding a step, one to the dtype."""
    out = []
    for x in X:
        length = np.sqrt(oracle.distance(x, np.zeros(len(x))))
        out.append([float(value) / length if length else 0.0 for value in x])
    return np.array(out).astype(X.dtype)


def assert_same_fit(a, b, but=()):
    for name in FITTED:
        if name not in but:
            np.testing.assert_array_equal(np.asarray(getattr(a, name)), np.asarray(getattr(b, name)), err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_lloyd_on_rows_of_length_one(dtype):
    """Each iteration by the oracle: label the unit rows, average, divide by the length, round once."""
    X = directions(dtype=dtype)
    Y, weight = unit(X), np.random.default_rng(0).random(200)
    for iterations in (0, 1, 2, 5):
        C = Y[:4]
        for _ in range(iterations):
            C = unit_centroids(oracle.means(Y, oracle.labels(Y, C), 4, weight), C)
        model = SphericalKMeans(4, init=X[:4], max_iter=iterations, tol=0).fit(X, sample_weight=weight)
        np.testing.assert_array_equal(model.cluster_centers_, C)
        np.testing.assert_array_equal(model.labels_, oracle.labels(Y, C))
        assert model.inertia_ == oracle.inertia(Y, C, weight)
    np.testing.assert_allclose((model.cluster_centers_.astype(float) ** 2).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_rows_of_length_one_are_defined_to_the_bit(dtype):
    """By the sequential sum, whatever the width; rows of zeros stay zero."""
    rng = np.random.default_rng(1)
    for d in (1, 3, 20, 150):
        X = (rng.standard_normal((60, d)) * 50).astype(dtype)
        X[7] = 0
        computed = X.astype(np.float32 if dtype == np.uint8 else dtype)
        np.testing.assert_array_equal(unit_rows(check_samples(X)).array, unit(computed))


def test_labels_are_those_of_the_greatest_cosine():
    """For rows that are not on an edge; the inertia is twice the sum of 1 - cosine; scale does not matter."""
    X = directions(seed=3)
    model = SphericalKMeans(4, random_state=0).fit(X)
    cosine = X @ model.cluster_centers_.T / np.linalg.norm(X, axis=1)[:, None]
    clear = np.diff(np.sort(cosine, axis=1)[:, -2:], axis=1)[:, 0] > 1e-9
    assert clear.sum() > 190
    np.testing.assert_array_equal(model.labels_[clear], cosine.argmax(axis=1)[clear])
    assert model.inertia_ == pytest.approx(2 * (1 - cosine.max(axis=1)).sum())
    np.testing.assert_allclose(1 - model.transform(X) ** 2 / 2, cosine, atol=1e-9)
    scaled = X * 2.0 ** np.random.default_rng(0).integers(-20, 20, (200, 1))
    assert_same_fit(SphericalKMeans(4, random_state=0).fit(scaled), model)
    np.testing.assert_array_equal(model.predict(4 * X), model.labels_)
    assert model.score(X) == -model.inertia_


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([np.float32, np.float64]))
def test_weights_are_repetitions_in_any_order(seed, k, dtype):
    """To the bit, rows of zeros among them; one state; the inertia does not rise but for rounding."""
    rng = np.random.default_rng(seed)
    X = np.round(2 * rng.standard_normal((25, 3))).astype(dtype)
    weight = rng.integers(0, 4, 25) * (np.arange(25) > 0)
    if np.count_nonzero(X.any(axis=1) & (weight > 0)) < k:
        return
    order = rng.permutation(weight.sum())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        a = SphericalKMeans(k, random_state=seed).fit(X, sample_weight=weight)
        b = SphericalKMeans(k, random_state=seed).fit(np.repeat(X, weight, axis=0)[order])
    assert_same_fit(a, b, but=("labels_", "size_", "totss_"))
    np.testing.assert_array_equal(np.repeat(a.labels_, weight)[order], b.labels_)
    np.testing.assert_array_equal(a.labels_, oracle.labels(unit(X), a.cluster_centers_))
    assert a.cluster_centers_.any(axis=1).all()
    inertias = [each.inertia for each in a.history_]
    assert all(later <= before + 1e-5 * len(X) for before, later in pairwise(inertias))


def test_every_namespace_and_engine_agrees(backend, monkeypatch):
    """The same bits, and results of the kind of X."""
    X = directions(dtype=np.float32)
    expected = SphericalKMeans(4, random_state=0).fit(X)
    monkeypatch.setenv("GPUKM_ENGINE", "numba")
    model = SphericalKMeans(4, random_state=0).fit(backend.array(X))
    assert_same_fit(model, expected)
    assert type(model.cluster_centers_) is type(backend.array(X))
    np.testing.assert_array_equal(np.asarray(model.predict(backend.array(X[:9]))), expected.labels_[:9])


def test_sparse_rows_have_the_bits_of_dense_ones():
    """Documents by cosine, the main use: lengths of stored values, rows without any among them."""
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(0)
    for dtype in (np.float32, np.float64, np.int16):
        X = (9 * rng.random((120, 40)) * (rng.random((120, 40)) < 0.15)).astype(dtype)
        X[5] = 0
        M = sparse.csr_matrix(X)
        before = M.copy()
        dense, found = (SphericalKMeans(5, random_state=0).fit(each) for each in (X, M))
        assert_same_fit(found, dense)
        np.testing.assert_array_equal(found.predict(M), dense.predict(X))
        assert found.score(M) == dense.score(X)
        assert (M != before).nnz == 0
    M = sparse.csr_matrix(X.astype(float))
    M.data[7] = np.nan
    with pytest.raises(ValueError, match=rf"contains NaN.\nThe first is at row \d+, column {M.indices[7]}"):
        SphericalKMeans(5).fit(M)


def test_rows_of_zeros_are_left_out():
    """They move nothing, are no start, count for no inertia, and are not rows to be clustered."""
    X = directions()
    Z = np.concatenate([np.zeros((50, 5)), X])
    plain, padded = (SphericalKMeans(4, random_state=0).fit(each) for each in (X, Z))
    np.testing.assert_array_equal(padded.cluster_centers_, plain.cluster_centers_)
    np.testing.assert_array_equal(padded.labels_[50:], plain.labels_)
    assert padded.inertia_ == plain.inertia_ == -padded.score(Z)
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=3"):
        SphericalKMeans(3).fit([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="X has no row with a direction"):
        SphericalKMeans(1).fit(np.zeros((4, 2)))


def test_a_centroid_whose_rows_cancel_stays():
    """Opposite rows have no mean direction: the centroid keeps its own."""
    model = SphericalKMeans(1, init=[[3.0, 4.0]]).fit([[1.0, 0.0], [-5.0, 0.0]])
    np.testing.assert_array_equal(model.cluster_centers_, [[0.6, 0.8]])
    assert model.converged_


def test_lengths_out_of_range_are_refused():
    """By row, with a way out; a scale of the row changes nothing."""
    X, sparse = directions(), None if find_spec("scipy") is None else import_module("scipy.sparse")
    for factor in (1e200, 1e-200):
        Y = X.copy()
        Y[3] *= factor
        with pytest.raises(ValueError, match=r"Row 3 of X has the length .*; allowed are 3e-145 to"):
            SphericalKMeans(4).fit(Y)
        if sparse is not None:
            with pytest.raises(ValueError, match=r"Row 3 of X has the length .*; allowed are 3e-145 to"):
                SphericalKMeans(4).fit(sparse.csr_array(Y))
    with pytest.raises(ValueError, match="row 3, column 1"):
        SphericalKMeans(4).fit(np.where(X == X[3, 1], np.inf, X))
    with pytest.raises(ValueError, match="Starting centroid 1 is zero throughout"):
        SphericalKMeans(2, init=[[1.0] * 5, [0.0] * 5]).fit(X)


def test_starts_are_made_unit():
    """Given ones, drawn ones, and those of a callable, which sees the rows at length 1."""
    X, seen = directions(), []
    for init in ("k-means++", "random", "random-partition", "maximin", 7 * X[:4]):
        start = SphericalKMeans(4, init=init, n_init=1, max_iter=0, random_state=0).fit(X).cluster_centers_
        np.testing.assert_allclose(np.linalg.norm(start, axis=1), 1)
    SphericalKMeans(2, n_init=1, init=lambda X, n_clusters, random_state: seen.append(X) or 2 * X[:2]).fit(X)
    np.testing.assert_array_equal(seen[0], unit(X))


def test_it_is_an_estimator():
    """Parameters of its own only, clones and pickles; scikit-learn's checks, those of weights among them."""
    parameters = SphericalKMeans().get_params()
    assert set(KMeans().get_params()) - set(parameters) == {
        "copy_x",
        "algorithm",
        "refine",
        "checkpoint",
        "checkpoint_every",
    }
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    model = SphericalKMeans(3, random_state=0).fit(directions())
    assert_same_fit(pickle.loads(pickle.dumps(model)), model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = checks.check_estimator(SphericalKMeans(2), on_fail=None, on_skip=None)
    assert not {each["check_name"]: each["exception"] for each in results if each["status"] == "failed"}
    passed = {each["check_name"] for each in results if each["status"] == "passed"}
    assert {f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")} <= passed
