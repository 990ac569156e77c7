"""BisectingKMeans: a tree of exact splits."""

import pickle
import warnings

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukm import BisectingKMeans, KMeans
from gpukm._sklearn import ConvergenceWarning, exception_class

ROWS = np.array([[1, 1], [10, 1], [3, 1], [10, 0], [2, 1], [10, 2], [10, 8], [10, 9], [10, 10]])
FITTED = ("cluster_centers_", "labels_", "inertia_", "withinss_", "size_", "totss_", "n_features_in_")


def blobs(n=200, d=3, k=6, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return (10 * rng.random((k, d))[rng.integers(0, k, n)] + rng.normal(size=(n, d))).astype(dtype)


def walk(model, X):
    """Labels by the definition: at each node to the child of the lesser D, ties to the left."""
    tree, labels = model._tree, []
    for x in np.asarray(X, np.float64):
        node = 0
        while tree.children[node][0] >= 0:
            D = [oracle.distance(x, tree.centroids[child]) for child in tree.children[node]]
            node = tree.children[node][int(D[1] < D[0])]
        labels.append(tree.labels[node])
    return labels


def assert_same(a, b, but=()):
    for name in FITTED:
        if name not in but:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@pytest.mark.parametrize("strategy", ["biggest_inertia", "largest_cluster"])
@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_three_clusters_are_found(strategy, init):
    """The example of scikit-learn's documentation, by either strategy."""
    model = BisectingKMeans(3, init=init, bisecting_strategy=strategy, random_state=0).fit(ROWS)
    assert sorted(model.cluster_centers_.tolist()) == [[2, 1], [10, 1], [10, 9]]
    np.testing.assert_array_equal(model.predict([[0, 0], [12, 3]]), model.labels_[[0, 1]])


def test_parameters_and_defaults_are_those_of_scikit_learn():
    """Each parameter of scikit-learn's class is here, with its default."""
    cluster = pytest.importorskip("sklearn.cluster")
    ours, theirs = BisectingKMeans().get_params(), cluster.BisectingKMeans().get_params()
    assert {name: ours[name] for name in theirs} == theirs


@pytest.mark.parametrize("strategy", ["biggest_inertia", "largest_cluster"])
def test_splits_are_those_of_scikit_learn(strategy):
    """Where each split starts from the same rows and runs to the end, the tree is scikit-learn's."""
    cluster = pytest.importorskip("sklearn.cluster")
    X = blobs(400, 4, 9, seed=3)

    def ends(X, n_clusters, random_state):
        return X[np.argsort(X[:, 0])[[0, -1]]]

    ours, theirs = (
        c(7, init=ends, tol=0, bisecting_strategy=strategy).fit(X) for c in (BisectingKMeans, cluster.BisectingKMeans)
    )
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_)
    assert ours.inertia_ == pytest.approx(theirs.inertia_)
    new = blobs(100, 4, 9, seed=4)
    np.testing.assert_array_equal(ours.predict(new), theirs.predict(new))
    np.testing.assert_allclose(ours.transform(new), theirs.transform(new))
    assert ours.score(new) == pytest.approx(theirs.score(new))


@pytest.mark.parametrize("fitted", [False, True])
def test_an_interrupt_leaves_what_was_there(fitted):
    """A tree that is not whole is no model: Ctrl-C says so, and the attributes are those of before, or none."""

    def interrupt(iteration):
        raise KeyboardInterrupt

    model = BisectingKMeans(5, random_state=0)
    if fitted:
        model.fit(blobs(seed=4))
    before = dict(vars(model), callback=interrupt)
    with pytest.raises(KeyboardInterrupt, match="the attributes are as they were before fit"):
        model.set_params(callback=interrupt).fit(blobs())
    assert vars(model) == before and hasattr(model, "labels_") == fitted


def test_two_clusters_are_those_of_k_means():
    """The one split is a fit of KMeans with the same draws."""
    X = blobs()
    model = BisectingKMeans(2, init="k-means++", random_state=1).fit(X)
    assert_same(model, KMeans(2, random_state=1).fit(X))


def test_one_cluster_is_the_mean():
    """Nothing is split: the mean, rounded once, and every row in cluster 0."""
    X = blobs(dtype=np.float32)
    model = BisectingKMeans(1).fit(X)
    np.testing.assert_array_equal(model.cluster_centers_, oracle.means(X, np.zeros(200, int), 1).astype(np.float32))
    assert not model.labels_.any() and not model.predict(X).any()


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 9), st.sampled_from(["biggest_inertia", "largest_cluster"]))
def test_labels_are_found_again_down_the_tree(seed, k, strategy):
    """fit's labels, predict's and those of a plain walk are the same, and inertia, sizes and withinss are theirs."""
    rng = np.random.default_rng(seed)
    X = np.round(2 * rng.standard_normal((30, 2)))
    weight = rng.integers(0, 3, 30) + (np.arange(30) < 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = BisectingKMeans(k, bisecting_strategy=strategy, random_state=seed).fit(X, sample_weight=weight)
    np.testing.assert_array_equal(model.labels_, walk(model, X))
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    new = 4 * rng.standard_normal((20, 2))
    np.testing.assert_array_equal(model.predict(new), walk(model, new))
    D = oracle.distances(X, model.cluster_centers_)[np.arange(30), model.labels_]
    assert model.inertia_ == float(oracle.exact_sum(D, weight))
    np.testing.assert_array_equal(model.size_, np.bincount(model.labels_, minlength=k))
    np.testing.assert_allclose(model.withinss_, np.bincount(model.labels_, D * weight, k), rtol=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from(["biggest_inertia", "largest_cluster"]))
def test_weights_are_repetitions_in_any_order(seed, strategy):
    """Weight 2 equals a repeated row to the bit, whatever the order of the rows; weight 0 leaves a row out."""
    rng = np.random.default_rng(seed)
    X = np.round(3 * rng.standard_normal((25, 2)))
    weight = rng.integers(0, 4, 25) + (np.arange(25) < 6)
    order = rng.permutation(weight.sum())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = BisectingKMeans(5, bisecting_strategy=strategy, random_state=7)
        weighted = pickle.loads(pickle.dumps(model.fit(X, sample_weight=weight)))
        repeated = model.fit(np.repeat(X, weight, axis=0)[order])
    assert_same(weighted, repeated, but=("labels_", "size_", "totss_"))
    np.testing.assert_array_equal(np.repeat(weighted.labels_, weight)[order], repeated.labels_)


def test_inertia_falls_with_every_split():
    """More clusters, less inertia; the greatest cluster was split, so none is left far greater than its twin."""
    X = blobs(500, 2, 12)
    inertias = [BisectingKMeans(k, random_state=0).fit(X).inertia_ for k in range(1, 12)]
    assert inertias == sorted(inertias, reverse=True)
    even = BisectingKMeans(16, bisecting_strategy="largest_cluster", random_state=0).fit(
        np.random.default_rng(0).random((512, 2))
    )
    assert even.size_.max() <= 4 * 512 / 16


def test_every_namespace_agrees(backend):
    """The same bits from arrays of any library, and results of its kind."""
    X = blobs(dtype=np.float32)
    expected = BisectingKMeans(6, random_state=0).fit(X)
    model = BisectingKMeans(6, random_state=0).fit(backend.array(X))
    assert type(model.labels_) is type(model.predict(backend.array(X))) is type(backend.array(expected.labels_))
    for name in FITTED:
        np.testing.assert_array_equal(np.asarray(getattr(model, name)), getattr(expected, name))
    np.testing.assert_array_equal(np.asarray(model.predict(backend.array(X + 1))), expected.predict(X + 1))


@pytest.mark.parametrize("max_memory", [1, 5000, 2**26])
def test_memory_changes_nothing(max_memory, engine):
    """Rows go down the tree in pieces, to the same leaves."""
    X = blobs(400, 2)
    model = BisectingKMeans(9, random_state=0, max_memory=max_memory).fit(X)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert_same(model, BisectingKMeans(9, random_state=0).fit(X))


def test_a_chain_of_splits_pickles():
    """A tree as deep as it has leaves is no problem."""
    X = 2.0 ** np.arange(400)[:, None]
    model = BisectingKMeans(390, init=lambda X, n_clusters, random_state: np.sort(X, axis=0)[[0, -1]]).fit(X)
    model.set_params(init="random")  # a lambda does not pickle
    assert_same(pickle.loads(pickle.dumps(model)), model)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.labels_)


@pytest.mark.parametrize("strategy", ["biggest_inertia", "largest_cluster"])
def test_fewer_different_rows_than_clusters(strategy):
    """Splitting ends where rows are all equal: the rest are empty twins, and a warning says how many were found."""
    X = np.repeat([[1.0, 2.0], [3.0, 4.0], [9.0, 9.0]], [5, 50, 2], axis=0)
    with pytest.warns(
        exception_class(ConvergenceWarning), match=r"distinct clusters \(3\) found smaller than .* \(6\)"
    ):
        model = BisectingKMeans(6, bisecting_strategy=strategy, random_state=0).fit(X)
    assert model.inertia_ == 0 and sorted(model.size_) == [0, 0, 0, 2, 5, 50]
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    np.testing.assert_array_equal(model.cluster_centers_[model.labels_], X)


def test_what_is_not_allowed_is_refused():
    """Given centres make no sense for every split; a strategy is one of two; new rows are checked like any."""
    X = blobs()
    with pytest.raises(ValueError, match="'init' parameter of BisectingKMeans must be a str or a callable.*use KMeans"):
        BisectingKMeans(2, init=X[:2]).fit(X)
    with pytest.raises(ValueError, match="Did you mean 'biggest_inertia'"):
        BisectingKMeans(2, bisecting_strategy="biggest_inertias").fit(X)
    with pytest.raises(ValueError, match="n_samples=3 should be >= n_clusters=8"):
        BisectingKMeans().fit(X[:3])
    model = BisectingKMeans(2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="X has 2 features, but BisectingKMeans is expecting 3"):
        model.predict(X[:, :2])
    with pytest.raises(ValueError, match="row 7, column 1"):
        model.predict(np.where(np.arange(600).reshape(200, 3) == 22, np.nan, X))
    before = model.labels_
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X * np.nan)
    assert model.labels_ is before


def test_its_summary_counts_all_splits():
    """Sizes and sums of squares of the leaves; iterations of every split, each of which ended by itself."""
    seen = []
    model = BisectingKMeans(4, random_state=0, callback=lambda each: seen.append(each) and None).fit(blobs())
    assert model.n_iter_ == len(seen) and model.converged_
    assert "clusters of sizes" in str(model.summary())
    assert not BisectingKMeans(4, random_state=0, max_iter=1, tol=0).fit(blobs()).converged_
    with pytest.raises(TypeError, match="pickle other estimators"):
        model.save("never.npz")


def test_verbose_prints_the_splits(capsys):
    """A line with the new centroids for each split, as in scikit-learn."""
    BisectingKMeans(4, random_state=0, verbose=1).fit(ROWS)
    assert capsys.readouterr().out.count("New centroids from bisection") == 3


def test_check_estimator_passes():
    """All of scikit-learn's checks, those of weights among them."""
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = checks.check_estimator(BisectingKMeans(4), on_fail=None, on_skip=None)
        checks.check_clustering("BisectingKMeans", BisectingKMeans())
        checks.check_transformer_get_feature_names_out("BisectingKMeans", BisectingKMeans())
    assert not {each["check_name"]: each["exception"] for each in results if each["status"] == "failed"}
    passed = {each["check_name"] for each in results if each["status"] == "passed"}
    assert {f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")} <= passed
