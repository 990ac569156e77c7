"""KMeans as its users see it: results, attributes, what is taken, what stays untouched."""

import copy
import inspect
import pickle
import warnings

import array_api_strict
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gpukm._sklearn import ConvergenceWarning, NotFittedError
from gpukm.estimators import KMeans
from gpukm.functions import k_means, kmeans_plusplus, random_swap
from gpukm.lloyd import Iteration

FITTED = ("cluster_centers_", "labels_", "inertia_", "n_iter_", "withinss_", "totss_", "size_", "converged_")
STRICT_DEVICE1 = array_api_strict.Device("device1")


def blobs(n=200, d=3, k=4, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) + 6 * rng.normal(size=(k, d))[rng.integers(k, size=n)]).astype(dtype)


def assert_same_fit(a, b, but=()):
    for name in FITTED:
        if name not in but:
            np.testing.assert_array_equal(np.asarray(getattr(a, name)), np.asarray(getattr(b, name)), err_msg=name)


# results


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(200, 3, 4), (500, 10, 7), (60, 1, 3), (150, 40, 12), (50, 2, 1), (20, 2, 20)])
def test_results_are_those_of_scikit_learn(shape, dtype):
    """From the same start scikit-learn's Lloyd comes to the same labels, centroids, inertia and iterations."""
    cluster = pytest.importorskip("sklearn.cluster")
    n, d, k = shape
    X = blobs(n, d, k, seed=n, dtype=dtype)
    weight = np.random.default_rng(1).integers(1, 4, size=n).astype(float)
    for tol, sample_weight in ((1e-4, None), (0.0, weight)):
        ours, theirs = (
            class_(k, init=X[:k], n_init=1, tol=tol).fit(X, sample_weight=sample_weight)
            for class_ in (KMeans, cluster.KMeans)
        )
        np.testing.assert_array_equal(ours.labels_, theirs.labels_)
        scale = np.abs(X).max()
        u = 1e-5 if dtype == np.float32 else 1e-12  # scikit-learn's rounding, not ours
        np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=u, atol=u * scale)
        np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=u, atol=n * (u * scale) ** 2)
        # with n = k and weights the starting centroids are the means; scikit-learn's rounded means still move, once
        assert ours.n_iter_ == theirs.n_iter_ or (n == k and ours.n_iter_ == 1)
        new = blobs(80, d, k, seed=99, dtype=dtype)
        np.testing.assert_array_equal(ours.predict(new), theirs.predict(new))
        np.testing.assert_allclose(ours.transform(new), theirs.transform(new), rtol=1e-3, atol=10 * u * scale)
        np.testing.assert_allclose(ours.score(new), theirs.score(new), rtol=10 * u)


def test_parameters_and_defaults_are_those_of_scikit_learn():
    """Each parameter of scikit-learn's KMeans and k_means is here, in the same place, with the same default."""
    cluster = pytest.importorskip("sklearn.cluster")
    for ours, theirs in ((KMeans, cluster.KMeans), (k_means, cluster.k_means), (KMeans.fit, cluster.KMeans.fit)):
        mine, others = inspect.signature(ours).parameters, inspect.signature(theirs).parameters
        for name, parameter in others.items():
            assert (mine[name].default, mine[name].kind) == (parameter.default, parameter.kind) or name == "verbose"


@settings(max_examples=40, deadline=None)
@given(
    X=arrays.arrays(np.float64, st.tuples(st.integers(4, 25), st.integers(1, 3)), elements=st.integers(-4, 4)),
    k=st.integers(1, 4),
    data=st.data(),
)
def test_weights_are_repetitions(X, k, data):
    """Weight 2 is the same as a repeated row and weight 0 the same as none, to the bit, seeding included."""
    weight = data.draw(arrays.arrays(np.int64, len(X), elements=st.integers(0, 3)).filter(lambda w: np.sum(w > 0) >= k))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for init in ("k-means++", "random", "maximin"):
            weighted = KMeans(k, init=init, n_init=2, random_state=3).fit(X, sample_weight=weight)
            repeated = KMeans(k, init=init, n_init=2, random_state=3).fit(np.repeat(X, weight, axis=0))
            assert_same_fit(weighted, repeated, but=("labels_", "size_", "totss_"))
            assert weighted.totss_ == pytest.approx(repeated.totss_, rel=1e-14)
            np.testing.assert_array_equal(np.repeat(weighted.labels_, weight), repeated.labels_)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), k=st.integers(1, 6))
def test_the_order_of_the_rows_does_not_matter(seed, k):
    """Permuted rows give permuted labels and the same centroids, to the bit."""
    X = blobs(60, 2, seed=seed)
    order = np.random.default_rng(seed).permutation(60)
    plain, permuted = (KMeans(k, random_state=seed).fit(each) for each in (X, X[order]))
    assert_same_fit(plain, permuted, but=("labels_",))
    np.testing.assert_array_equal(plain.labels_[order], permuted.labels_)


@pytest.mark.parametrize("max_iter", [0, 1, 2, 300])
def test_the_attributes_belong_to_one_state(max_iter):
    """Labels are those predict gives, inertia and sizes are those of the labels, wherever a run stops."""
    X = blobs(300, 4, seed=5)
    weight = np.random.default_rng(0).uniform(0.5, 2, size=300)
    model = KMeans(6, init="random", max_iter=max_iter, random_state=0).fit(X, sample_weight=weight)
    np.testing.assert_array_equal(model.labels_, model.predict(X))
    D = ((X - model.cluster_centers_[model.labels_]) ** 2).sum(axis=1) * weight
    assert model.inertia_ == pytest.approx(D.sum(), rel=1e-12)
    assert model.inertia_ == -model.score(X, sample_weight=weight)
    np.testing.assert_allclose(model.withinss_, np.bincount(model.labels_, D, minlength=6), rtol=1e-12)
    np.testing.assert_array_equal(model.size_, np.bincount(model.labels_, minlength=6))
    mean = np.average(X, axis=0, weights=weight)
    assert model.totss_ == pytest.approx((((X - mean) ** 2).sum(axis=1) * weight).sum(), rel=1e-12)
    assert model.n_iter_ == len(model.history_) <= max_iter


def test_no_iterations_leave_the_starting_centroids():
    """max_iter=0 labels the rows by the starting centroids."""
    X = blobs()
    model = KMeans(3, init=X[:3], max_iter=0).fit(X)
    np.testing.assert_array_equal(model.cluster_centers_, X[:3])
    assert (model.n_iter_, model.converged_, model.history_) == (0, False, [])


def test_attributes_have_the_documented_types():
    """Scalars are Python's, arrays are X's kind, labels are int32."""
    model = KMeans(3, random_state=0).fit(blobs(dtype=np.float32))
    scalars = {"inertia_": float, "totss_": float, "n_iter_": int, "n_features_in_": int, "converged_": bool}
    assert {name: type(getattr(model, name)) for name in scalars} == scalars
    assert model.cluster_centers_.dtype == np.float32 and model.labels_.dtype == np.int32
    assert model.withinss_.dtype == np.float64 and model.size_.dtype == np.int64
    assert model.engine_ == "numpy" and all(isinstance(each, Iteration) for each in model.history_)
    assert type(model.score(blobs())) is float


def test_the_methods_agree():
    """fit_predict is fit, predict; fit_transform is fit, transform; and the nearest distance is at the label."""
    X = blobs()
    model = KMeans(4, random_state=0)
    labels = model.fit_predict(X)
    np.testing.assert_array_equal(labels, KMeans(4, random_state=0).fit(X).predict(X))
    distances = model.fit_transform(X)
    np.testing.assert_array_equal(distances, model.transform(X))
    np.testing.assert_array_equal(distances.argmin(axis=1), labels)
    assert distances.shape == (200, 4)


def test_the_best_run_is_kept():
    """n_init runs start one after the other from one generator; the least inertia wins."""
    X = blobs(120, 2, 9, seed=3)
    rng = np.random.default_rng(7)
    runs = [KMeans(9, init="random", n_init=1, random_state=rng).fit(X) for _ in range(6)]
    best = KMeans(9, init="random", n_init=6, random_state=np.random.default_rng(7)).fit(X)
    assert len({run.inertia_ for run in runs}) > 1
    winner = min(runs, key=lambda run: run.inertia_)
    assert_same_fit(best, winner)
    assert [each.changed for each in best.history_] == [each.changed for each in winner.history_]


@pytest.mark.parametrize(("init", "runs"), [("k-means++", 1), ("maximin", 1), ("random", 10), ("random-partition", 10)])
def test_automatic_number_of_runs(init, runs, capsys):
    """n_init="auto" starts ten times where a start is cheap and chancy, once where it is not."""
    KMeans(3, init=init, random_state=0, verbose=1).fit(blobs())
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("Initialization complete") == runs
    assert any(line.startswith("Iteration 1, inertia ") for line in lines)


def test_a_callable_start_is_given_x_and_a_generator():
    """It is called once for each run with X in its own dtype, and what it returns is checked."""
    X, calls = blobs().astype(np.int8), []

    def init(X, n_clusters, random_state):
        calls.append((X.dtype, n_clusters, type(random_state)))
        return X[random_state.choice(len(X), n_clusters, replace=False)]

    KMeans(3, init=init, random_state=0).fit(X)
    assert calls == [(np.dtype(np.int8), 3, np.random.Generator)] * 10
    with pytest.raises(ValueError, match=r"initial centers \(2, 3\) does not match the number of clusters 5"):
        KMeans(5, init=lambda X, n_clusters, random_state: X[:2], n_init=1).fit(X)


def test_given_centroids_run_once():
    """More runs from the same start would be the same: said, not done, in scikit-learn's words."""
    X = blobs()
    with pytest.warns(RuntimeWarning, match="performing only one init in KMeans instead of n_init=5"):
        KMeans(3, init=X[:3], n_init=5).fit(X)
    with pytest.raises(ValueError, match=r"initial centers \(2, 3\) does not match the number of clusters 3"):
        KMeans(3, init=X[:2]).fit(X)


def test_random_states_repeat_or_advance():
    """An int repeats; a Generator and a RandomState go on, so that two fits differ."""
    X = blobs(300, 2, 12)

    def start(state):
        return KMeans(8, init="random", n_init=1, max_iter=0, random_state=state).fit(X).cluster_centers_

    np.testing.assert_array_equal(start(5), start(5))
    for state in (np.random.default_rng(5), np.random.RandomState(5), None):
        assert (start(state) != start(state)).any()


@pytest.mark.parametrize("n_clusters", [1, 3])
def test_elkan_is_lloyd(n_clusters):
    """scikit-learn's other algorithm has the same result, and nothing is said of it."""
    X = blobs()
    model = KMeans(n_clusters, algorithm="elkan", random_state=0).fit(X)
    assert_same_fit(model, KMeans(n_clusters, random_state=0).fit(X))


def test_too_few_distinct_rows_are_warned_of():
    """As in scikit-learn: a ConvergenceWarning with the number of clusters found."""
    sklearn = pytest.importorskip("sklearn.exceptions")
    with pytest.warns(sklearn.ConvergenceWarning, match=r"distinct clusters \(2\) found smaller than n_clusters \(3\)"):
        KMeans(3, random_state=0).fit([[0.0], [0.0], [1.0], [1.0]])
    assert issubclass(ConvergenceWarning, UserWarning)


# what is taken


def containers(X, tmp_path):
    big = np.zeros((2 * len(X), 3 * X.shape[1]), X.dtype)
    big[::2, ::3] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    mapped = np.memmap(tmp_path / "x.bin", X.dtype, "w+", shape=X.shape)
    mapped[:] = X
    names = [f"x{j}" for j in range(X.shape[1])]
    columns = {name: X[:, j] for j, name in enumerate(names)}
    return {
        "fortran": np.asfortranarray(X),
        "strided": big[::2, ::3],
        "reversed": X[::-1][::-1],
        "read-only": frozen,
        "big-endian": X.astype(X.dtype.newbyteorder(">")),
        "memmap": mapped,
        "pandas": pd.DataFrame(X, columns=names),
        "polars": pl.DataFrame(columns),
        "pyarrow": pa.table(columns),
        "strict": array_api_strict.asarray(X),
        "strict-elsewhere": array_api_strict.asarray(X, device=STRICT_DEVICE1),
    }


def host(a):
    if isinstance(a, type(array_api_strict.asarray(0))):
        a = array_api_strict.asarray(a, device=array_api_strict.Device("CPU_DEVICE"))
    return np.asarray(a)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize(
    "kind",
    "fortran strided reversed read-only big-endian memmap pandas polars pyarrow strict strict-elsewhere torch".split(),
)
def test_one_answer_for_every_container(kind, dtype, tmp_path):
    """However X comes, fit, predict, transform and score give the same bits, and leave X as it is."""
    X = np.abs(blobs(150, 3) * 8).astype(dtype)
    given = pytest.importorskip("torch").asarray(X) if kind == "torch" else containers(X, tmp_path)[kind]
    plain, model = (KMeans(4, n_init=2, init="random", random_state=1).fit(each) for each in (X, given))
    for name in FITTED:
        np.testing.assert_array_equal(getattr(plain, name), host(getattr(model, name)), err_msg=name)
    np.testing.assert_array_equal(plain.predict(X), host(model.predict(given)))
    np.testing.assert_array_equal(plain.transform(X), host(model.transform(given)))
    assert plain.score(X) == model.score(given)
    np.testing.assert_array_equal(X, containers(X, tmp_path)["fortran"])
    if kind not in ("pandas", "polars", "pyarrow"):
        np.testing.assert_array_equal(host(given), X)


@pytest.mark.parametrize("device", [None, STRICT_DEVICE1])
def test_arrays_come_back_where_x_is(device):
    """Fitted arrays, labels and distances are of the namespace and on the device of X."""
    X = array_api_strict.asarray(blobs(dtype=np.float32), device=device)
    model = KMeans(3, random_state=0).fit(X)
    fitted = model.cluster_centers_, model.labels_, model.withinss_, model.size_
    for a in (*fitted, model.predict(X), model.transform(X)):
        assert type(a) is type(X) and a.device == X.device
    assert model.labels_.dtype == array_api_strict.int32 and model.cluster_centers_.dtype == array_api_strict.float32
    assert model.engine_ == ("numpy" if device is None else "array-api:array_api_strict")
    with pytest.raises(ValueError, match=r"KMeans.predict\(\) must use the same namespace and the same device"):
        model.predict(blobs())


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.float16, bool])
def test_small_dtypes_are_float32_without_rounding(dtype):
    """Fitting them is fitting their float32 copy, to the bit."""
    X = (np.abs(blobs()) // 2).astype(dtype)
    small, wide = (KMeans(2, random_state=0).fit(each) for each in (X, X.astype(np.float32)))
    assert_same_fit(small, wide)
    assert small.cluster_centers_.dtype == np.float32
    assert KMeans(2, random_state=0).fit(blobs().astype(np.int32)).cluster_centers_.dtype == np.float64


def test_other_dtypes_than_that_of_the_fit_can_be_predicted():
    """A float64 predict on a float32 fit works, and the reverse, and neither rounds: scikit-learn refuses the first."""
    X = blobs(dtype=np.float32)
    narrow, wide = KMeans(4, random_state=0).fit(X), KMeans(4, random_state=0).fit(X.astype(np.float64))
    for model in (narrow, wide):
        np.testing.assert_array_equal(model.predict(X), model.predict(X.astype(np.float64)))
        assert model.transform(X.astype(np.float64)).dtype == np.float64
    assert narrow.transform(X).dtype == np.float32 and wide.transform(X).dtype == np.float64
    pair = KMeans(2, init=narrow.cluster_centers_[:2], max_iter=0).fit(X)
    between, step = np.mean(pair.cluster_centers_, axis=0, dtype=np.float64), np.diff(pair.cluster_centers_, axis=0)[0]
    assert list(pair.predict(np.stack([between - 1e-9 * step, between + 1e-9 * step]))) == [0, 1]


def test_lists_of_weights_and_single_weights_are_taken():
    """One weight for all changes nothing but the scale of the inertia."""
    X = blobs()
    plain = KMeans(3, random_state=0).fit(X)
    for weight in (2, [2.0] * 200, np.full(200, 2, np.int8), pd.Series([2.0] * 200)):
        doubled = KMeans(3, random_state=0).fit(X, sample_weight=weight)
        np.testing.assert_array_equal(plain.cluster_centers_, doubled.cluster_centers_)
        assert doubled.inertia_ == 2 * plain.inertia_


# what is refused


def test_use_before_fit_is_refused():
    """NotFittedError, scikit-learn's where it is loaded, a ValueError and AttributeError in any case."""
    for use in (KMeans().predict, KMeans().transform, KMeans().score):
        with pytest.raises((ValueError, AttributeError), match="This KMeans instance is not fitted yet"):
            use(blobs())
    for use in (KMeans().summary, KMeans().get_feature_names_out):
        with pytest.raises(ValueError, match="not fitted"):
            use()
    assert issubclass(NotFittedError, ValueError) and issubclass(NotFittedError, AttributeError)


@pytest.mark.parametrize("method", ["predict", "transform", "score"])
def test_new_samples_are_checked(method):
    """Other features, NaN, infinity and 1-D input are refused with their place."""
    model = KMeans(2, random_state=0).fit(blobs(d=4))
    use = getattr(model, method)
    with pytest.raises(ValueError, match="X has 1 features, but KMeans is expecting 4 features as input"):
        use(np.ones((3, 1)))
    X = np.ones((3, 4))
    X[2, 1] = np.inf
    with pytest.raises(ValueError, match=r"(?s)Input X contains infinity \(inf\).*row 2, column 1"):
        use(X)
    with pytest.raises(ValueError, match="Reshape your data"):
        use(np.ones(4))


@pytest.mark.parametrize(
    ("parameters", "X", "message"),
    [
        ({"n_clusters": 0}, blobs(), "'n_clusters' parameter of KMeans"),
        ({"n_clusters": 9}, blobs(5), "n_samples=5 should be >= n_clusters=9"),
        ({}, [[1.0, np.nan]] * 9, r"(?s)contains NaN.*row 0, column 1"),
        ({}, [["a"]] * 9, "Encode strings"),
        ({"init": np.ones((8, 2))}, blobs(), "number of features of the data 3"),
        ({"init": lambda X, k, random_state: X[0]}, blobs(), r"init\(\.\.\.\)"),
        ({"callback": lambda iteration: 1 / 0}, blobs(), "division"),
    ],
)
def test_a_failed_fit_leaves_the_last_one(parameters, X, message):
    """Attributes change only when everything has worked."""
    model = KMeans(3, random_state=0).fit(blobs())
    before = copy.copy(vars(model))
    model.set_params(**{"n_clusters": 8, **parameters})
    with pytest.raises((ValueError, TypeError, ZeroDivisionError), match=message):
        model.fit(X)
    for name in (*FITTED, "n_features_in_", "history_"):
        assert getattr(model, name) is before[name]


def test_unknown_parameters_are_refused_by_name():
    """The constructor and set_params name the wrong one; set_params sets nothing then."""
    with pytest.raises(TypeError, match="n_cluster"):
        KMeans(n_cluster=3)
    model = KMeans()
    message = r"Invalid parameter 'n_cluster' for estimator KMeans\. Did you mean 'n_clusters'\? Valid parameters are"
    with pytest.raises(ValueError, match=message):
        model.set_params(tol=1, n_cluster=3)
    assert model.tol == 1e-4 and model.set_params(tol=1, n_clusters=3).get_params()["n_clusters"] == 3


# stopping


def test_a_callback_sees_and_stops():
    """It is called with each iteration, and something true ends the run in a consistent state."""
    X, seen = blobs(500, 2, 9), []

    def stop(iteration):
        seen.append(iteration)
        return iteration.iteration == 2

    model = KMeans(9, init="random", n_init=1, random_state=0, callback=stop).fit(X)
    assert (model.n_iter_, model.converged_) == (2, False) and model.history_ == seen
    np.testing.assert_array_equal(model.labels_, model.predict(X))


@pytest.mark.parametrize("run", [1, 2])
def test_ctrl_c_leaves_the_best_state_so_far(run):
    """KeyboardInterrupt is raised, and the attributes are those of the best run there was, consistent."""
    X, iterations = blobs(500, 2, 9), []

    def interrupt(iteration):
        iterations.append(iteration)
        if sum(each.iteration == 1 for each in iterations) == run and iteration.iteration == 2:
            raise KeyboardInterrupt

    model = KMeans(9, init="random", n_init=5, random_state=0, callback=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    np.testing.assert_array_equal(model.labels_, model.predict(X))
    assert model.inertia_ == -model.score(X)
    assert (model.n_iter_ == 2) == (run == 1)


def test_ctrl_c_before_any_state_leaves_the_last_fit():
    """While the first run is being seeded there is nothing new to keep."""

    def init(X, n_clusters, random_state):
        raise KeyboardInterrupt

    model = KMeans(3, random_state=0).fit(blobs())
    before = model.cluster_centers_
    with pytest.raises(KeyboardInterrupt):
        model.set_params(init=init).fit(blobs(seed=1))
    assert model.cluster_centers_ is before


# copies, text, names


@pytest.mark.parametrize("device", [None, STRICT_DEVICE1])
def test_pickles_hold_numpy_arrays(device):
    """A model fitted elsewhere opens on a host with NumPy alone; copies stay where they are."""
    X = array_api_strict.asarray(blobs(), device=device)
    model = KMeans(np.int64(3), tol=np.float64(1e-3), init=X[:3, :]).fit(X)
    loaded = pickle.loads(pickle.dumps(model))
    assert type(loaded.cluster_centers_) is type(loaded.init) is np.ndarray
    assert (type(loaded.n_clusters), type(loaded.tol)) == (np.int64, np.float64)
    np.testing.assert_array_equal(loaded.predict(blobs()), host(model.predict(X)))
    assert loaded.history_ == model.history_
    for other in (copy.copy(model), copy.deepcopy(model)):
        assert type(other.cluster_centers_) is type(X) and other.cluster_centers_.device == X.device
        assert other.get_params()["n_clusters"] == 3
    assert copy.deepcopy(model).labels_ is not model.labels_ and copy.copy(model).labels_ is model.labels_


def test_the_repr_shows_what_was_changed():
    """Parameters that differ from their defaults, arrays by shape."""
    assert repr(KMeans()) == "KMeans()"
    assert repr(KMeans(3)) == "KMeans(n_clusters=3)"
    assert repr(KMeans(init=np.ones((2, 3)), tol=0)) == "KMeans(init=<array of shape (2, 3), float64>, tol=0)"
    assert len(repr(KMeans(init=[list(range(1000))]))) < 120


def test_feature_names_are_kept_and_compared():
    """Names come from the frame of the fit, later frames must match, and a fit without names forgets them."""
    X = pd.DataFrame(blobs(), columns=["a", "b", "c"])
    model = KMeans(3, random_state=0).fit(X)
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    model.predict(X)
    model.predict(pl.from_pandas(X))
    with pytest.raises(ValueError, match=r"passed during fit.\nFeature names must be in the same order"):
        model.predict(X[["c", "a", "b"]])
    with pytest.raises(ValueError, match=r"unseen at fit time:\n- d\nFeature names seen at fit .* now missing:\n- a"):
        model.predict(X.rename(columns={"a": "d"}))
    with pytest.warns(UserWarning, match="does not have valid feature names, but KMeans was fitted with feature names"):
        model.predict(X.to_numpy())
    model.fit(X.to_numpy())
    assert not hasattr(model, "feature_names_in_")
    with pytest.warns(UserWarning, match="X has feature names, but KMeans was fitted without feature names"):
        model.predict(X)
    assert list(model.get_feature_names_out()) == ["kmeans0", "kmeans1", "kmeans2"]


def test_a_warning_points_at_the_caller():
    """The line that warnings name is the user's."""
    model = KMeans(2, random_state=0).fit(pd.DataFrame({"a": [0.0, 1.0, 2.0]}))
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        model.predict(np.ones((2, 1)))
        KMeans(3, random_state=0).fit(np.zeros((4, 1)))
        KMeans(3, random_state=0).fit_predict(np.zeros((4, 1)))
        KMeans(1, init=[[0.0]], n_init=2).fit(np.zeros((4, 1)))
    assert [each.filename for each in record] == 4 * [__file__]


# functions


def test_k_means_is_the_estimator_in_one_call():
    """The function returns the attributes of the fit."""
    X, weight = blobs(), np.arange(200.0)
    model = KMeans(4, random_state=2, max_iter=3, tol=0).fit(X, sample_weight=weight)
    found = k_means(X, 4, random_state=2, max_iter=3, tol=0, sample_weight=weight, return_n_iter=True)
    for mine, name in zip(found, ("cluster_centers_", "labels_", "inertia_", "n_iter_")):
        np.testing.assert_array_equal(mine, getattr(model, name))
    assert len(k_means(X, 4)) == 3


@pytest.mark.parametrize("as_array", [np.asarray, array_api_strict.asarray])
def test_kmeans_plusplus_chooses_rows(as_array):
    """The centers are the rows at the indices, all different, drawn by weight, of X's kind; a seed repeats."""
    X = blobs(dtype=np.float32)
    centers, indices = kmeans_plusplus(as_array(X), 5, random_state=0)
    assert type(centers) is type(indices) is type(as_array(X))
    np.testing.assert_array_equal(np.asarray(centers), X[np.asarray(indices)])
    assert len(set(np.asarray(indices).tolist())) == 5 and np.asarray(indices).dtype == np.int64
    np.testing.assert_array_equal(np.asarray(kmeans_plusplus(as_array(X), 5, random_state=0)[1]), np.asarray(indices))
    weight = np.zeros(200)
    weight[[3, 50, 120]] = 1
    drawn = kmeans_plusplus(as_array(X), 3, sample_weight=weight, random_state=1, n_local_trials=4)[1]
    assert sorted(np.asarray(drawn).tolist()) == [3, 50, 120]


@pytest.mark.parametrize("function", [k_means, random_swap])
def test_an_interrupted_call_says_that_nothing_is_left(function):
    """There is no estimator of the caller's in which a state could be."""

    def interrupt(iteration):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"nothing is returned; an estimator, KMeans\(\.\.\.\)\.fit, keeps"):
        function(blobs(), 3, random_state=0, callback=interrupt)


def test_kmeans_plusplus_takes_norms_and_needs_none():
    """As scikit-learn's is called by its users, with the same draws."""
    X = blobs()
    found = kmeans_plusplus(X, 3, x_squared_norms=(X**2).sum(axis=1), random_state=2)
    np.testing.assert_array_equal(found[1], kmeans_plusplus(X, 3, random_state=2)[1])


def test_kmeans_plusplus_checks_what_it_is_given():
    """The messages are those of the estimator, in the function's name."""
    with pytest.raises(ValueError, match="'n_clusters' parameter of kmeans_plusplus"):
        kmeans_plusplus(blobs(), 0)
    with pytest.raises(ValueError, match="'n_local_trials' parameter of kmeans_plusplus"):
        kmeans_plusplus(blobs(), 2, n_local_trials=0)
    with pytest.raises(ValueError, match="n_samples=2 should be >= n_clusters=3"):
        kmeans_plusplus(blobs(2), 3)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        kmeans_plusplus([[np.nan], [1.0]], 1)


def test_kmeans_fits_are_the_same_for_any_memory():
    """max_memory decides how X is visited, not what is found."""
    X = blobs(3000, 5)
    assert_same_fit(*(KMeans(7, random_state=0, max_memory=memory).fit(X) for memory in (1, 64 << 20)))
