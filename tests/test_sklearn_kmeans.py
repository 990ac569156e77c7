"""What scikit-learn's KMeans does, this one does: each behaviour its users rely on, beside it where both can run."""

import io
import warnings
from contextlib import redirect_stdout

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import cluster
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

import gpukm
from gpukm import KMeans


def blobs(n=150, d=3, k=5, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return (8 * rng.random((k, d))[rng.integers(0, k, n)] + rng.normal(size=(n, d))).astype(dtype)


def printed(function):
    out = io.StringIO()
    with redirect_stdout(out):
        function()
    return out.getvalue().splitlines()


@pytest.mark.parametrize(("tol", "max_iter"), [(0.0, 300), (1e-2, 300), (0.0, 2)])
def test_verbose_says_why_a_run_ended(tol, max_iter):
    """A line for the start, one an iteration, and one on how it converged, if it did: as many as scikit-learn's."""
    X = blobs(300, 2, 6)
    ours, theirs = (
        printed(lambda c=c: c(6, init=X[:6], n_init=1, tol=tol, max_iter=max_iter, verbose=1).fit(X))
        for c in (KMeans, cluster.KMeans)
    )
    assert ours[0] == theirs[0] == "Initialization complete"
    # scikit-learn prints an iteration that ends in strict convergence like any other, as is done here
    assert sum(line.startswith("Iteration ") for line in ours) == sum(line.startswith("Iteration ") for line in theirs)
    converged = "strict convergence" if tol == 0 else "within tolerance"
    assert any(converged in line for line in ours) == any(converged in line for line in theirs) == (max_iter == 300)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("algorithm", ["lloyd", "elkan"])
def test_empty_clusters_go_where_scikit_learn_puts_them(dtype, algorithm):
    """Two centres far from all rows move to the two farthest rows; a heavy row stays, the light one leaves."""
    X = np.array([[-10.0, 0], [-9, 0], [-8, 0], [-7, 0], [-3, 0], [4, 0], [5, 0], [6, 0], [7, 0], [20, 0]], dtype)
    init = np.array([[-6.0, 0], [5, 0], [100, 0], [200, 0]], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = (c(4, n_init=1, init=init, algorithm=algorithm).fit(X) for c in (KMeans, cluster.KMeans))
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-6)
    assert ours.n_iter_ == theirs.n_iter_
    weighted = KMeans(2, init=[[-1], [10]], n_init=1).fit(np.array([[-1.0], [1.0]]), sample_weight=[1.9, 0.1])
    np.testing.assert_array_equal(weighted.cluster_centers_, [[-1], [1]])


def test_duplicates_are_never_torn_apart_to_fill_clusters():
    """With fewer distinct rows than clusters it warns by scikit-learn's class, and equal rows share their label."""
    X = np.array([[3, 3], [3, 3], [5, 5], [5, 5], [1, 1], [1, 1]], np.float64)
    with pytest.warns(
        ConvergenceWarning, match=r"Number of distinct clusters \(3\) found smaller than n_clusters \(5\)"
    ):
        model = KMeans(5, random_state=0).fit(X)
    assert len(set(model.labels_)) == 3 and model.inertia_ == 0
    np.testing.assert_array_equal(model.labels_[::2], model.labels_[1::2])


def test_weights_of_one_and_scaled_weights_change_nothing():
    """Unit weights are no weights; weights times a power of two give the same bits, times anything the same labels."""
    X, weight = blobs(), np.random.default_rng(1).uniform(0.2, 3, 150)
    none, ones = (KMeans(4, random_state=0).fit(X, sample_weight=w) for w in (None, np.ones(150)))
    np.testing.assert_array_equal(none.cluster_centers_, ones.cluster_centers_)
    assert none.inertia_ == ones.inertia_
    plain, twice, thrice = (KMeans(4, random_state=0).fit(X, sample_weight=c * weight) for c in (1, 2, 3))
    np.testing.assert_array_equal(plain.cluster_centers_, twice.cluster_centers_)
    np.testing.assert_array_equal(plain.labels_, thrice.labels_)
    assert twice.inertia_ == 2 * plain.inertia_


@pytest.mark.parametrize("copy_x", [True, False])
@pytest.mark.parametrize("order", ["C", "F"])
def test_nothing_given_is_changed(copy_x, order):
    """Neither X, nor the weights, nor the starting centres, nor by predict the centres; copy_x=False copies no less."""
    X, weight = np.asarray(blobs() + 1e3, order=order), np.ones(150)
    init = X[:4].copy()
    before = X.copy(), weight.copy(), init.copy()
    model = KMeans(4, init=init, copy_x=copy_x).fit(X, sample_weight=weight)
    centers = model.cluster_centers_.copy()
    model.predict(X), model.transform(X), model.score(X)
    for now, then in zip((X, weight, init, model.cluster_centers_), (*before, centers), strict=True):
        np.testing.assert_array_equal(now, then)
    assert not np.shares_memory(model.cluster_centers_, init)


def test_fitted_centres_are_a_fixed_point():
    """A fit started from the centres of another has converged after one iteration, as its 1-iteration fit shows."""
    X = blobs()
    first = KMeans(4, random_state=0, tol=0).fit(X)
    again = KMeans(4, init=first.cluster_centers_, max_iter=1).fit(X)
    np.testing.assert_array_equal(first.cluster_centers_, again.cluster_centers_)
    assert again.n_iter_ == 1 and again.converged_


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_integers_are_float64(dtype):
    """As in scikit-learn, whose centres of integers are float64, with int32 labels."""
    X = np.round(blobs()).astype(dtype)
    ours, theirs = (c(4, init=X[:4], n_init=1).fit(X) for c in (KMeans, cluster.KMeans))
    assert ours.cluster_centers_.dtype == theirs.cluster_centers_.dtype == np.float64
    assert ours.labels_.dtype == theirs.labels_.dtype == np.int32
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)


def test_more_iterations_and_more_runs_score_no_worse():
    """score rises with max_iter, and inertia falls with n_init."""
    X = blobs(300, 2, 12)
    scores = [KMeans(8, init=X[:8], max_iter=m, tol=0).fit(X).score(X) for m in (1, 3, 10)]
    assert scores == sorted(scores) and scores[0] < scores[-1]
    inertias = [KMeans(8, init="random", n_init=m, random_state=4).fit(X).inertia_ for m in (1, 5, 10)]
    assert inertias == sorted(inertias, reverse=True) and inertias[0] > inertias[-1]


X = blobs(20)
BAD = {
    "few rows": (dict(n_clusters=30), X),
    "few centres": (dict(n_clusters=4, init=X[:3]), X),
    "narrow centres": (dict(n_clusters=4, init=X[:4, :2]), X),
    "few called": (dict(n_clusters=4, n_init=1, init=lambda X, n_clusters, random_state: X[:3]), X),
    "narrow called": (dict(n_clusters=4, n_init=1, init=lambda X, n_clusters, random_state: X[:4, :2]), X),
    "flat": ({}, X[0]),
    "deep": ({}, X[None, None]),
    "no rows": ({}, X[:0]),
    "NaN": ({}, np.where(X == X[2, 2], np.nan, X)),
    "infinity": ({}, np.where(X == X[2, 2], np.inf, X)),
    "complex": ({}, X * 1j),
    "init": (dict(init="k-mean++"), X),
    "algorithm": (dict(algorithm="loyd"), X),
    "n_clusters": (dict(n_clusters=0), X),
    "n_init": (dict(n_init="warn"), X),
    "tol": (dict(tol=-1), X),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_as_scikit_learn_does(case):
    """The same class of error, opening with the same words."""
    parameters, data = BAD[case]
    raised = []
    for class_ in (KMeans, cluster.KMeans):
        with pytest.raises((ValueError, TypeError)) as error, np.errstate(all="ignore"):
            class_(**parameters).fit(data)
        raised.append(error)
    ours, theirs = raised
    assert isinstance(ours.value, ValueError) == isinstance(theirs.value, ValueError)
    words = str(ours.value).split()[:3]
    assert words == str(theirs.value).split()[:3], f"{ours.value}\n{theirs.value}"


def test_starts_of_any_container_and_callables_of_scikit_learns_signature():
    """Lists, frames and scalars of NumPy do; a callable may draw with the generator it is given."""
    pandas = pytest.importorskip("pandas")
    X = blobs()
    expected = KMeans(4, init=X[:4]).fit(X).labels_
    for init in (X[:4].tolist(), pandas.DataFrame(X[:4]), tuple(map(tuple, X[:4]))):
        np.testing.assert_array_equal(KMeans(np.int64(4), init=init, tol=np.float32(1e-4)).fit(X).labels_, expected)
    seeds = gpukm.kmeans_plusplus(X, 4, random_state=0)[0]
    drawn = KMeans(4, init=lambda X, n_clusters, random_state: seeds, n_init=1).fit(X)
    np.testing.assert_array_equal(drawn.labels_, KMeans(4, random_state=0).fit(X).labels_)


def test_elkan_is_searched_beside_lloyd():
    """A grid over `algorithm`, as scikit-learn's users write it, finds equal scores."""
    X = blobs()
    grid = {"algorithm": ["lloyd", "elkan"]}
    search = GridSearchCV(KMeans(4, random_state=0), grid, cv=3, refit=False).fit(X)
    for split in range(3):
        scores = search.cv_results_[f"split{split}_test_score"]
        assert scores[0] == scores[1]
