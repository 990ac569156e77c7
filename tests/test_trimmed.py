"""k-means--: outliers set aside."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from gpukm import KMeans
from gpukm.trimmed import TrimmedKMeans

RNG = np.random.default_rng(0)
CLEAN = np.concatenate([RNG.normal(c, 0.5, (60, 2)) for c in ([0, 0], [8, 0], [0, 8])])
FAR = RNG.uniform(-60, 60, (9, 2)) * np.array([5, 1]) + [0, 300]
X = np.concatenate([CLEAN, FAR])


def same(a, b, rows=slice(None)):
    assert_array_equal(a.cluster_centers_, b.cluster_centers_)
    assert_array_equal(a.labels_[rows], b.labels_)
    assert (a.inertia_, a.n_iter_) == (b.inertia_, b.n_iter_)


def test_outliers_do_not_move_the_means():
    """The far rows are found, and the centroids are those of the data without them; plain k-means loses a cluster."""
    model = TrimmedKMeans(3, n_outliers=9, random_state=0).fit(X)
    assert_array_equal(model.labels_[-9:], -1)
    assert np.count_nonzero(model.labels_ == -1) == 9
    clean = KMeans(3, n_init=10, random_state=0, tol=0).fit(CLEAN)
    order, expected = (np.lexsort(m.cluster_centers_.T) for m in (model, clean))
    assert_array_equal(model.cluster_centers_[order], clean.cluster_centers_[expected])
    assert model.inertia_ == pytest.approx(clean.inertia_, rel=1e-14)
    plain = KMeans(3, n_init=10, random_state=0).fit(X)
    assert len(np.unique(plain.labels_[:-9])) < 3


def test_without_outliers_it_is_kmeans():
    """n_outliers=0 is Lloyd's, from the same start to the same bits."""
    start = CLEAN[:4]
    model = TrimmedKMeans(4, n_outliers=0, init=start).fit(CLEAN)
    plain = KMeans(4, init=start, tol=0).fit(CLEAN)
    assert_array_equal(model.cluster_centers_, plain.cluster_centers_)
    assert_array_equal(model.labels_, plain.labels_)
    assert model.inertia_ == plain.inertia_


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 40), k=st.integers(1, 5), trim=st.integers(0, 10))
@settings(max_examples=100)
def test_a_result_is_a_fixed_point_and_never_rises(seed, n, k, trim):
    """Each iteration lowers the inertia; in the end the outliers are the farthest rows, the centroids means."""
    rng = np.random.default_rng(seed)
    k = min(k, n)
    trim = min(trim, n - k)
    data = rng.integers(-6, 7, (n, 2)) / 2.0
    start = data[rng.choice(n, k, replace=False)]
    falls = [TrimmedKMeans(k, n_outliers=trim, init=start, max_iter=m).fit(data).inertia_ for m in range(6)]
    assert falls == sorted(falls, reverse=True)
    model = TrimmedKMeans(k, n_outliers=trim, init=start).fit(data)
    assert model.converged_
    D = ((data[:, None] - model.cluster_centers_) ** 2).sum(axis=2)
    out = model.labels_ == -1
    assert out.sum() == trim
    assert_array_equal(model.labels_[~out], D.argmin(axis=1)[~out])
    assert not trim or D.min(axis=1)[out].min() >= D.min(axis=1)[~out].max()
    assert model.inertia_ == pytest.approx(D.min(axis=1)[~out].sum())
    for j in np.unique(model.labels_[~out]):
        assert np.allclose(model.cluster_centers_[j], data[model.labels_ == j].mean(axis=0))


def test_many_starts_find_the_best_trimming():
    """On few rows, the optimum over all choices of outliers and clusters."""
    data = np.array([0.0, 1.0, 1.5, 7.0, 8.0, 30.0, -40.0, 8.5])[:, None]

    def best(k, trim):
        keeps = itertools.combinations(range(8), 8 - trim)
        return min(
            sum(((part - part.mean()) ** 2).sum() for part in np.split(np.sort(data[list(keep), 0]), cuts))
            for keep in keeps
            for cuts in itertools.combinations(range(1, 8 - trim), k - 1)
        )

    for k, trim in ((2, 2), (2, 1), (1, 2), (3, 1)):
        model = TrimmedKMeans(k, n_outliers=trim, n_init=60, random_state=0).fit(data)
        assert model.inertia_ == pytest.approx(best(k, trim))


def test_order_chunks_and_engines_do_not_show(monkeypatch):
    """The same bits for permuted rows, little memory, and compiled code."""
    data = np.round(X, 0)
    options = {"n_outliers": 0.1, "random_state": 0, "n_init": 3}
    model = TrimmedKMeans(5, **options).fit(data)
    order = np.random.default_rng(1).permutation(len(data))
    shuffled = TrimmedKMeans(5, **options).fit(data[order])
    assert_array_equal(model.cluster_centers_, shuffled.cluster_centers_)
    assert model.inertia_ == shuffled.inertia_
    same(TrimmedKMeans(5, max_memory=2000, **options).fit(data), model)
    pytest.importorskip("numba")
    monkeypatch.setenv("GPUKM_ENGINE", "numba")
    same(TrimmedKMeans(5, **options).fit(data), model)


def test_any_array(backend):
    """The reference's bits in arrays of the kind of X; predict and transform know no outliers."""
    model = TrimmedKMeans(3, n_outliers=9, random_state=0).fit(backend.array(X))
    expected = TrimmedKMeans(3, n_outliers=9, random_state=0).fit(X)
    assert isinstance(model.labels_, type(backend.array(X)))
    assert_array_equal(np.asarray(model.labels_), expected.labels_)
    assert_array_equal(np.asarray(model.cluster_centers_), expected.cluster_centers_)
    assert_array_equal(np.asarray(model.predict(backend.array(X)))[:-9], expected.labels_[:-9])
    assert np.asarray(model.transform(backend.array(X))).shape == (len(X), 3)


def test_on_a_cuda_device(monkeypatch):
    """The bits of the reference from the CUDA engine, here on its emulator."""
    from emulator import EmulatedGpu

    from gpukm import trimmed
    from gpukm.device_source import DeviceSource

    expected = TrimmedKMeans(3, n_outliers=9, random_state=0, n_init=3).fit(X)
    gpu = EmulatedGpu()
    monkeypatch.setattr(trimmed, "source_of", lambda s, max_memory: DeviceSource(gpu, s.array, dtype=s.dtype))
    same(TrimmedKMeans(3, n_outliers=9, random_state=0, n_init=3).fit(X), expected)


def test_shares_and_numbers():
    """A float is a share, rounded down; a whole number counts rows."""
    for given_n, trim in ((0.05, 9), (0.0, 0), (9, 9), (np.int64(2), 2)):
        labels = TrimmedKMeans(2, n_outliers=given_n, random_state=0).fit_predict(X)
        assert np.count_nonzero(labels == -1) == trim


@pytest.mark.parametrize("bad", [-1, 1.0, -0.1, "0.1", None, float("nan"), True])
def test_bad_numbers_of_outliers(bad):
    """What is allowed is said."""
    with pytest.raises(ValueError, match="'n_outliers' parameter of TrimmedKMeans must be"):
        TrimmedKMeans(2, n_outliers=bad).fit(X)


def test_it_refuses():
    """Fewer rows kept than clusters, weights, unknown starts."""
    with pytest.raises(ValueError, match="n_samples=1 should be >= n_clusters=2"):
        TrimmedKMeans(2, n_outliers=188).fit(X)
    with pytest.raises(TypeError):
        TrimmedKMeans(2).fit(X, sample_weight=np.ones(len(X)))
    with pytest.raises(ValueError, match="'init' parameter"):
        TrimmedKMeans(2, init="first").fit(X)
    with pytest.raises(TypeError, match="may be a name or an array"):
        TrimmedKMeans(2, init=lambda X, k, random_state: X[:k]).fit(X)


def test_it_is_a_scikit_learn_estimator():
    """scikit-learn's own checks."""
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = checks.check_estimator(TrimmedKMeans(), on_fail=None, on_skip=None)
    assert not [(r["check_name"], r["exception"]) for r in results if r["status"] == "failed"]
