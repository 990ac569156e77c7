"""Mini-batch k-means: exact steps, one answer everywhere, and what users of scikit-learn's know."""

import inspect
import pickle
import warnings

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gpukm
from gpukm import KMeans, MiniBatchKMeans
from gpukm._arrays import to_numpy
from gpukm.array_source import ArraySource
from gpukm.batches import Draws
from gpukm.minibatch import State, minibatch, update


def data(n=400, d=3, dtype=np.float32, seed=0, clusters=6):
    rng = np.random.default_rng(seed)
    centres = rng.normal(0, 6, (clusters, d))
    return (centres[rng.integers(0, clusters, n)] + rng.normal(size=(n, d))).astype(dtype)


def small(k=6, **options):
    return MiniBatchKMeans(k, **{"random_state": 0, "batch_size": 64, "max_iter": 20, **options})


def assert_same(a, b, *, order=None):
    assert np.array_equal(to_numpy(a.cluster_centers_), to_numpy(b.cluster_centers_))
    assert (a.inertia_, a.n_steps_, a.n_iter_) == (b.inertia_, b.n_steps_, b.n_iter_)
    assert np.array_equal(to_numpy(a.counts_), to_numpy(b.counts_))
    labels = to_numpy(a.labels_)
    assert np.array_equal(labels if order is None else labels[order], to_numpy(b.labels_))


# -- one answer everywhere ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_engines_memory_and_threads_do_not_matter(dtype, monkeypatch):
    """The same bits on every engine, with any memory, on any number of threads, whole history included."""
    X = data(3000, 5, dtype, clusters=10)
    X[:, 1] += 1e4
    models = []
    for environment in ({"GPUKM_ENGINE": "numpy"}, {"GPUKM_ENGINE": "numba"}, {"OMP_NUM_THREADS": "1"}):
        if "numba" in environment.values():
            pytest.importorskip("numba")
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            models += [small(10, max_memory=memory, refine=2).fit(X) for memory in (2000, 1 << 26)]
    for other in models[1:]:
        assert_same(models[0], other)
        for a, b in zip(models[0].history_, other.history_, strict=True):
            assert (a.inertia, a.shift, a.relocated, a.changed) == (b.inertia, b.shift, b.relocated, b.changed)


def test_every_namespace_agrees(backend):
    """Arrays of any library give NumPy's bits, in their own kind."""
    X = data()
    model = small().fit(backend.array(X))
    assert type(model.cluster_centers_) is type(backend.array(X)) or backend.name.startswith("numpy")
    assert_same(model, small().fit(X))
    partial = MiniBatchKMeans(4, random_state=0).partial_fit(backend.array(X[:99])).partial_fit(backend.array(X[99:]))
    expected = MiniBatchKMeans(4, random_state=0).partial_fit(X[:99]).partial_fit(X[99:])
    assert_same_state(partial, expected)


def assert_same_state(a, b):
    assert np.array_equal(to_numpy(a.cluster_centers_), to_numpy(b.cluster_centers_))
    assert np.array_equal(to_numpy(a.counts_), to_numpy(b.counts_))
    assert a.n_steps_ == b.n_steps_


@pytest.mark.parametrize(
    "change",
    [
        np.asfortranarray,
        lambda X: np.repeat(X, 2, axis=0)[::2],
        lambda X: X.astype(X.dtype.newbyteorder()),
        lambda X: X.astype(np.int16),
        lambda X: X.astype(np.uint8).astype(bool),
    ],
    ids=["F", "strided", "byteorder", "int16", "bool"],
)
def test_the_layout_does_not_matter(change):
    """Any strides, byte order and kind of number: the values alone count, and X is not written to."""
    X = np.rint(data()).astype(np.float32)
    given = change(X)
    before = np.array(given)
    expected = small(4).fit(np.array(given, np.float32)).cluster_centers_
    assert np.array_equal(small(4).fit(given).cluster_centers_, expected)
    assert np.array_equal(before, given)
    as_list = np.array(given, np.float64)
    assert np.array_equal(small(4).fit(as_list.tolist()).cluster_centers_, small(4).fit(as_list).cluster_centers_)


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random"])
def test_the_order_of_rows_does_not_matter(init):
    """Permuted rows are drawn as they were, equal rows among them."""
    X = data()
    X[::5] = X[0]
    order = np.random.default_rng(1).permutation(len(X))
    assert_same(small(init=init).fit(X), small(init=init).fit(X[order]), order=order)


@pytest.mark.parametrize("options", [{}, {"init_size": 100_000}, {"batch_size": 100_000}, {"tol": 0.01}])
def test_whole_weights_are_repetition(options):
    """A whole weight is so many copies of the row, in the starts, the steps and their number; 0 is none."""
    X = data(300)
    weights = np.random.default_rng(2).integers(0, 5, 300)
    a, b = small(**options).fit(X, sample_weight=weights), small(**options).fit(np.repeat(X, weights, axis=0))
    assert np.array_equal(np.repeat(a.labels_, weights), b.labels_)
    a.labels_ = b.labels_
    assert_same(a, b)


def test_powers_of_two_scale_weights_freely():
    """Weights times 2^p change the inertia by 2^p and nothing else."""
    X, weights = data(), np.random.default_rng(1).random(400)
    a, b = small().fit(X, sample_weight=weights), small().fit(X, sample_weight=weights * 2.0**-40)
    assert np.array_equal(a.cluster_centers_, b.cluster_centers_) and a.inertia_ == b.inertia_ * 2.0**40
    assert a.n_steps_ == b.n_steps_


def test_large_whole_weights_end_soon():
    """Weights of a billion, which count as so many rows, do not make the fit last for ever."""
    weights = np.random.default_rng(0).integers(1, 10**9, 400)
    assert small(max_iter=100).fit(data(), sample_weight=weights).n_steps_ < 40_000


# -- a step ---------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([np.float32, np.float64]))
def test_a_step_is_the_documented_formula(seed, weighted, dtype):
    """c + (m - c) W / (N + W) with exact m and W, from labels of least D; the inertia is that before the step."""
    rng = np.random.default_rng(seed)
    X = np.round(rng.normal(size=(40, 2)) * 2, 1).astype(dtype)
    weights = rng.integers(0, 3, 40) * rng.random(40) + (np.arange(40) == 0) if weighted else None
    C, counts = X[:5] + dtype(0.25), rng.integers(0, 3, 5) * 10.0
    state = State(C, counts, 0)
    batch = ArraySource(X, weights, dtype=X.dtype)
    found = update(batch, state, reassignment_ratio=0.0, rng=rng)
    labels = oracle.labels(X, C)
    means = oracle.means(X, labels, 5, weights)
    w = np.ones(40) if weights is None else weights
    W = np.array([float(oracle.exact_sum(np.ones((labels == k).sum()), w[labels == k])) for k in range(5)])
    total = np.where(counts + W > 0, counts + W, 1)
    expected = C.astype(np.float64) + (means - C) * (W / total)[:, None]
    expected[(counts == 0) & (W > 0)] = means[(counts == 0) & (W > 0)]
    assert np.array_equal(found.state.centroids, expected.astype(dtype))
    assert np.array_equal(found.state.counts, counts + W)
    assert found.inertia == oracle.inertia(X, C, weights)
    assert np.array_equal(state.centroids, C) and found.reassigned == 0


def test_the_first_batch_gives_the_means():
    """From counts of zero, a step with all rows is an iteration of Lloyd's algorithm."""
    X = data()
    found = update(ArraySource(X, dtype=X.dtype), State.of(X[:4]), reassignment_ratio=0, rng=np.random.default_rng(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert np.array_equal(found.state.centroids, KMeans(4, init=X[:4], max_iter=1).fit(X).cluster_centers_)


def test_light_centroids_move_to_rows_of_the_batch():
    """Those below the ratio get different rows of weight, and the least count of the others; the heaviest stays."""
    X = data(100, 2)
    weights = np.repeat([0.0, 1.0], 50)
    C = np.concatenate([X[60:62], np.full((3, 2), 1e3, np.float32)])
    state = State(C, np.array([500.0, 300, 2, 1, 0]), 0)
    for ratio, lost in ((0.01, [2, 3, 4]), (0.0, []), (0.003, [3, 4]), (7.0, [1, 2, 3, 4])):
        batch = ArraySource(X, weights, dtype=X.dtype)
        found = update(batch, state, reassignment_ratio=ratio, rng=np.random.default_rng(0))
        assert found.reassigned == len(lost) and found.state.since == 0
        kept = [k for k in range(5) if k not in lost]
        new = found.state.centroids[lost]
        assert len(np.unique(new, axis=0)) == len(lost)
        assert all((X[50:] == row).all(axis=1).any() for row in new)
        if lost:
            assert (found.state.counts[lost] == found.state.counts[kept].min()).all()
        assert (found.state.counts[kept] >= state.counts[kept]).all()


def test_at_most_half_a_batch_is_reassigned():
    """The lightest come first, and a batch of one row moves none."""
    X = data(9, 2)
    for rows, expected in ((9, 4), (4, 2), (1, 0)):
        C = np.concatenate([np.full((11, 2), 50, np.float32), X[:1]])
        state = State(C, np.append(np.arange(11.0), 1e5), 0)
        found = update(ArraySource(X[:rows], dtype=X.dtype), state, reassignment_ratio=1, rng=np.random.default_rng(0))
        moved = (found.state.centroids[:11] != 50).any(axis=1)
        assert found.reassigned == expected and moved[:expected].all() and not moved[expected:].any()


def test_centroids_are_looked_at_once_in_a_while():
    """Once each has averaged something, only every 10 k rows."""
    X = data(100, 2)
    state, looked = State(X[:20], np.full(20, 5.0), 0), []
    for _ in range(6):
        state = update(ArraySource(X, dtype=X.dtype), state, reassignment_ratio=0.5, rng=np.random.default_rng(0)).state
        looked.append(state.since == 0)
    assert looked == [False, True, False, True, False, True]


# -- the end --------------------------------------------------------------------------------------


def test_max_iter_counts_passes():
    """Without a criterion exactly max_iter * n // batch_size steps are taken, and each leaves an entry."""
    model = small(max_no_improvement=None, max_iter=3, batch_size=70).fit(data())
    assert (model.n_steps_, model.n_iter_, model.converged_) == (3 * 400 // 70, 3, False)
    assert [each.iteration for each in model.history_] == list(range(1, model.n_steps_ + 1))
    assert all(each.changed == 70 for each in model.history_)


@pytest.mark.parametrize("patience", [0, 1, 4])
def test_no_improvement_ends_the_fit(patience):
    """It ends at the first run of so many steps, after the first, without a new low of the smoothed inertia."""
    model = small(max_no_improvement=patience, max_iter=1000).fit(data())
    smoothed = [each.inertia for each in model.history_][1:]
    lows = [i == 0 or value < min(smoothed[:i]) for i, value in enumerate(smoothed)]
    runs = [patience == 0 or not any(lows[max(i - patience + 1, 0) : i + 1]) for i in range(len(lows))]
    assert model.converged_ and runs.index(True) == len(lows) - 1


def test_a_small_move_ends_the_fit():
    """With tol, in units of the mean variance; 0 switches it off."""
    X = data()
    limit = 0.05 * np.var(X, axis=0).mean()
    model = small(tol=0.05, max_no_improvement=None).fit(X)
    shifts = [each.shift for each in model.history_]
    assert model.converged_ and shifts[-1] <= limit and all(shift > limit for shift in shifts[1:-1])
    assert not small(tol=0.0, max_no_improvement=None, max_iter=2).fit(X).converged_


def test_the_smoothed_inertia_is_the_exponential_mean():
    """Batches of a known inertia: the second starts the mean, then 2 batch / (n + 1) of each is added."""
    X = data(200, 2)
    batches = [ArraySource(X[i : i + 40], dtype=X.dtype) for i in range(0, 200, 40)]
    state, means = State.of(X[:3]), []
    for batch in batches:
        found = update(batch, state, reassignment_ratio=0.01, rng=np.random.default_rng(0))
        state, means = found.state, [*means, found.inertia / 40]
    result = minibatch(
        iter(batches),
        State.of(X[:3]),
        rng=np.random.default_rng(0),
        n_samples=200,
        total_weight=1.0,
        max_steps=99,
        tol=0.0,
        max_no_improvement=None,
        reassignment_ratio=0.01,
    )
    share, mean = 80 / 201, means[1]
    expected = [means[0], mean]
    for value in means[2:]:
        mean = mean * (1 - share) + value * share
        expected.append(mean)
    assert [each.inertia for each in result.history] == expected and result.inertia == mean
    assert result.n_steps == 5 and not result.converged


def test_callback_and_interrupt():
    """A callback sees every step and may end it; Ctrl-C leaves the last finished state, and says so."""
    X, seen = data(), []
    model = small(callback=lambda each: seen.append(each) or len(seen) == 3).fit(X)
    assert model.n_steps_ == 3 and seen == model.history_ and not model.converged_

    def interrupt(each):
        if each.iteration == 3:
            raise KeyboardInterrupt

    stopped = small(callback=interrupt, refine=5)
    with pytest.raises(KeyboardInterrupt, match="attributes"):
        stopped.fit(X)
    assert_same(stopped, model)


def test_verbose_tells_the_steps(capsys):
    """A line for each start and step, and why it ended."""
    small(verbose=1, n_init=2, refine=1).fit(data())
    out = capsys.readouterr().out
    assert "Init 2/2, inertia of 192 rows" in out and "Minibatch step 2/" in out and "ewa inertia" in out
    assert "Converged (lack of improvement in inertia) at step" in out and "Iteration 1, inertia" in out


# -- the estimator --------------------------------------------------------------------------------


def test_parameters_and_defaults_are_scikit_learns():
    """All of its parameters with its defaults, ours last."""
    cluster = pytest.importorskip("sklearn.cluster")
    ours, theirs = (inspect.signature(c.__init__).parameters for c in (MiniBatchKMeans, cluster.MiniBatchKMeans))
    assert list(ours)[: len(theirs)] == list(theirs)
    assert all(ours[name].default == theirs[name].default for name in theirs if name != "self")


def test_check_estimator_passes():
    """All of scikit-learn's checks, among them that weights are repetitions, which its own is excused from."""
    checks = pytest.importorskip("sklearn.utils.estimator_checks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = checks.check_estimator(MiniBatchKMeans(), on_fail=None, on_skip=None)
        for check in (checks.check_clustering, checks.check_estimators_partial_fit_n_features):
            check("MiniBatchKMeans", MiniBatchKMeans())
    failed = {each["check_name"]: each["exception"] for each in results if each["status"] == "failed"}
    assert not failed
    passed = {each["check_name"] for each in results if each["status"] == "passed"}
    weights = "check_sample_weight_equivalence_on_"
    assert {weights + "dense_data", weights + "sparse_data", "check_estimator_sparse_tag"} <= passed
    assert {"check_estimator_sparse_array", "check_estimator_sparse_matrix"} <= passed


def test_metadata_routing_knows_partial_fit():
    """Weights can be requested for partial_fit, as for fit and score."""
    sklearn = pytest.importorskip("sklearn")
    with sklearn.config_context(enable_metadata_routing=True):
        model = MiniBatchKMeans().set_partial_fit_request(sample_weight=True)
    assert model.get_metadata_routing().partial_fit.requests == {"sample_weight": True}
    assert model.get_metadata_routing().fit.requests == {"sample_weight": None}


def test_quality_is_scikit_learns():
    """The median inertia over 20 seeds within 1 % of its, on blobs and on uniform data."""
    cluster = pytest.importorskip("sklearn.cluster")
    for X, k in ((data(1500, 4, clusters=9), 9), (np.random.default_rng(0).random((1500, 2), np.float32), 7)):
        medians = [
            np.median([c(k, random_state=s, batch_size=200).fit(X).inertia_ for s in range(20)])
            for c in (MiniBatchKMeans, cluster.MiniBatchKMeans)
        ]
        assert medians[0] <= 1.01 * medians[1]


def test_labels_centres_and_inertia_belong_together():
    """Labels are those of predict, inertia and sizes those of the labels, the score its negative."""
    X = data()
    for options in ({}, {"refine": 3}):
        model = small(**options).fit(X)
        assert np.array_equal(model.labels_, oracle.labels(X, model.cluster_centers_))
        assert np.array_equal(model.labels_, model.predict(X))
        assert model.inertia_ == oracle.inertia(X, model.cluster_centers_) == -model.score(X)
        assert np.array_equal(model.size_, np.bincount(model.labels_, minlength=6))
        assert "totss" in str(model.summary())
        assert model.transform(X).shape == (400, 6)


def test_without_labels_the_inertia_is_an_estimate():
    """compute_labels=False gives the same centres, no labels, and about the same inertia."""
    X = data(5000)
    full, brief = small(batch_size=500).fit(X), small(batch_size=500).fit(X)
    brief.set_params(compute_labels=False).fit(X)
    assert np.array_equal(full.cluster_centers_, brief.cluster_centers_)
    assert not any(hasattr(brief, name) for name in ("labels_", "size_", "withinss_", "totss_"))
    assert brief.inertia_ == pytest.approx(full.inertia_, rel=0.3) and brief.inertia_ == brief.history_[-1].inertia
    assert np.array_equal(brief.fit_predict(X), full.labels_)
    with pytest.raises(AttributeError, match="compute_labels=True"):
        brief.summary()
    refined = small(compute_labels=False, refine=2).fit(X)
    assert refined.inertia_ == small(refine=2).fit(X).inertia_


def test_refine_is_lloyd_from_there():
    """refine=5 is KMeans started at the centres of the mini-batches, with at most 5 iterations."""
    X = data(500, 2, clusters=9)
    plain, refined = small(9).fit(X), small(9, refine=5).fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lloyd = KMeans(9, init=plain.cluster_centers_, n_init=1, max_iter=5, tol=0).fit(X)
    assert np.array_equal(refined.cluster_centers_, lloyd.cluster_centers_)
    assert np.array_equal(refined.labels_, lloyd.labels_) and refined.inertia_ == lloyd.inertia_ <= plain.inertia_
    assert refined.n_iter_ == plain.n_iter_ + lloyd.n_iter_ and refined.n_steps_ == plain.n_steps_
    assert [each.iteration for each in refined.history_] == list(range(1, len(refined.history_) + 1))


def test_refine_with_sorted_rows(monkeypatch):
    """Where Lloyd's steps sort the rows in space, labels come back in the order given."""
    pytest.importorskip("numba")
    monkeypatch.setenv("GPUKM_ENGINE", "numba")
    X = data(3000, 2, clusters=70)
    model = small(70, refine=2).fit(X, sample_weight=np.arange(3000) % 3)
    assert np.array_equal(model.labels_, oracle.labels(X, model.cluster_centers_))


@pytest.mark.parametrize(
    ("X", "k"),
    [
        (data(6, 2), 6),
        (data(1, 3), 1),
        (np.arange(10.0)[:, None], 3),
        (data(50, 2) + np.float32(1e6), 4),
        (data(50, 2, np.float64) * 1e120, 4),
        (data(50, 2, np.float64) * 1e-120, 4),
        (data(9, 200), 2),
    ],
    ids=["n=k", "n=1", "d=1", "offset", "huge", "tiny", "wide"],
)
def test_odd_shapes_and_ranges(X, k):
    """Few rows, one feature, many features, far from the origin, large and small: a state that belongs together."""
    model = small(k, refine=1).fit(X)
    assert np.isfinite(model.cluster_centers_).all()
    assert np.array_equal(model.labels_, oracle.labels(X, model.cluster_centers_))
    assert model.n_steps_ >= 1


def test_fewer_different_rows_than_clusters_warn():
    """Three different rows for five clusters: all are found, and a warning says so."""
    X = np.repeat(np.array([[1.0], [2.0], [4.0]]), 20, axis=0)
    with pytest.warns(UserWarning, match=r"Number of distinct clusters \(3\) found smaller than n_clusters \(5\)"):
        model = small(5).fit(X)
    assert model.inertia_ == 0 and set(model.cluster_centers_.ravel()) == {1.0, 2.0, 4.0}


def test_no_steps_are_the_start():
    """max_iter=0 labels the rows by the start."""
    X = data()
    model = small(init=X[:6], max_iter=0).fit(X)
    assert np.array_equal(model.cluster_centers_, X[:6]) and (model.n_steps_, model.n_iter_) == (0, 0)
    assert model.history_ == [] and model.inertia_ == oracle.inertia(X, X[:6])
    assert not hasattr(small(max_iter=0, compute_labels=False).fit(X), "inertia_")


def test_a_callable_start_gets_the_rows_drawn():
    """Of X's kind, init_size of them; all of X where it has no more. It is called n_init times, 3 by default."""
    X, calls = np.rint(data()).astype(np.int16), []

    def init(rows, n_clusters, random_state):
        calls.append(rows)
        return rows[random_state.integers(0, len(rows), n_clusters)]

    small(init=init, init_size=50).fit(X)
    assert len(calls) == 3 and all(rows.shape == (50, 3) for rows in calls)
    assert all((X == row).all(axis=1).any() for row in calls[0])
    small(init=init, init_size=1000, n_init=1).fit(X)
    assert calls[3] is X


def test_what_is_not_allowed_is_refused():
    """Parameters, data and weights: what was given, what is allowed."""
    X = data()
    for bad in ({"batch_size": 0}, {"init_size": 0}, {"max_no_improvement": -1}, {"reassignment_ratio": -0.1}):
        with pytest.raises(ValueError, match=f"The {next(iter(bad))!r} parameter of MiniBatchKMeans must be"):
            MiniBatchKMeans(**bad).fit(X)
    for bad in ({"compute_labels": 1}, {"refine": 1.5}, {"max_iter": -1}):
        with pytest.raises(TypeError, match=f"The {next(iter(bad))!r} parameter of MiniBatchKMeans must be"):
            MiniBatchKMeans(**bad).partial_fit(X)
    with pytest.raises(ValueError, match=r"n_samples=400 should be >= n_clusters=401"):
        MiniBatchKMeans(401).fit(X)
    for value, what in ((np.nan, "NaN"), (np.inf, "infinity")):
        Y = X.copy()
        Y[7, 1] = value
        with pytest.raises(ValueError, match=f"{what}[^$]*row 7, column 1"):
            small().fit(Y)
    with pytest.warns(RuntimeWarning, match=r"init_size=3 should be larger than n_clusters=6.*18") as caught:
        small(init_size=3).fit(X)
    assert caught[0].filename == __file__
    with pytest.warns(RuntimeWarning, match="performing only one init in MiniBatchKMeans") as caught:
        small(init=X[:6], n_init=2).fit(X)
    assert caught[0].filename == __file__


# -- partial_fit ----------------------------------------------------------------------------------


def test_partial_fit_averages_what_it_gets():
    """A single cluster ends at the weighted mean of all batches, up to one rounding a batch."""
    X, weights = data(300, 2, np.float64), np.random.default_rng(0).random(300)
    model = MiniBatchKMeans(1, random_state=0)
    for part in np.split(np.arange(300), 10):
        model.partial_fit(X[part], sample_weight=weights[part])
    np.testing.assert_allclose(model.cluster_centers_[0], np.average(X, axis=0, weights=weights), rtol=1e-13)
    assert model.n_steps_ == 10 and model.counts_[0] == pytest.approx(weights.sum(), rel=1e-14)
    assert len(model.labels_) == 30 and model.inertia_ == -model.score(X[-30:], sample_weight=weights[-30:])


@pytest.mark.parametrize("keep", ["pickle", "file"])
def test_a_kept_model_goes_on_with_the_same_bits(keep, tmp_path):
    """Pickled or saved between two batches, starts, counts and random numbers included."""
    batches = np.split(data(600, 2, clusters=12), 20)
    straight = MiniBatchKMeans(15, random_state=3, reassignment_ratio=0.3, init_size=20)
    for batch in batches:
        straight.partial_fit(batch)
    model = MiniBatchKMeans(15, random_state=3, reassignment_ratio=0.3, init_size=20)
    for i, batch in enumerate(batches):
        model.partial_fit(batch)
        if keep == "pickle":
            model = pickle.loads(pickle.dumps(model))
        else:
            model.save(tmp_path / f"{i}.npz")
            model = gpukm.load(tmp_path / f"{i}.npz")
    assert_same_state(model, straight)
    assert np.array_equal(model.labels_, straight.labels_)
    assert not hasattr(model, "n_iter_")


def test_partial_fit_goes_on_after_fit():
    """The centres keep what they have averaged, so that a batch moves them little."""
    X = data()
    model = small().fit(X)
    before, counts = model.cluster_centers_.copy(), model.counts_.sum()
    model.partial_fit(X[:50])
    assert 0 < np.abs(model.cluster_centers_ - before).max() < 1 and model.counts_.sum() == counts + 50
    assert len(model.labels_) == 50 and model.n_iter_ >= 1


def test_a_batch_that_fails_changes_nothing():
    """NaN, other features, weights that are none: the model, its random numbers too, is as before."""
    X = data()
    model = small().partial_fit(X)
    kept = pickle.dumps(model)
    for bad, weight in ((np.full((3, 3), np.nan), None), (X[:, :2], None), (X[:3], [-1, 1, 1]), (X[:3], [0, 0, 0])):
        with pytest.raises(ValueError):
            model.partial_fit(bad, sample_weight=weight)
    assert pickle.dumps(model) == kept
    with pytest.raises(ValueError, match=r"n_samples=3 should be >= n_clusters=6"):
        small().partial_fit(X[:3])


def test_a_batch_of_float64_makes_it_float64():
    """Neither the batch nor the centres are rounded."""
    X = data(dtype=np.float64)
    model = small().partial_fit(X[:200].astype(np.float32))
    assert model.cluster_centers_.dtype == np.float32
    assert model.partial_fit(X[200:]).cluster_centers_.dtype == np.float64
    assert model.partial_fit(X[:10].astype(np.float32)).cluster_centers_.dtype == np.float64


# -- model files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"compute_labels": False}, {"refine": 2}, {"random_state": None}])
def test_saved_and_loaded_it_is_the_same(options, tmp_path):
    """Parameters, attributes and predictions; without labels there are none."""
    X = data()
    model = small(**options).fit(X)
    model.save(tmp_path / "m.npz")
    again = gpukm.load(tmp_path / "m.npz")
    assert type(again) is MiniBatchKMeans and again.get_params() == model.get_params()
    assert np.array_equal(again.predict(X), model.predict(X)) and again.history_ == model.history_
    missing = {name for name in vars(model) if name.endswith("_")} ^ {
        name for name in vars(again) if name.endswith("_")
    }
    assert not missing
    assert_same_state(again.partial_fit(X[:9]), model.partial_fit(X[:9]))


def test_a_damaged_state_is_refused(tmp_path, monkeypatch):
    """What partial_fit goes on from is checked like the rest of a file; another generator is left out."""
    X = data()
    model = small().fit(X)
    good = model._progress()
    rng = good["rng"]
    for bad in (
        {**good, "n_steps": -1},
        {**good, "since": "many"},
        {**good, "rng": {**rng, "bit_generator": "MT19937"}},
        {**good, "rng": {**rng, "state": {"state": "x", "inc": 1}}},
        {**good, "rng": 5},
        {"n_steps": 1},
    ):
        monkeypatch.setattr(model, "_progress", lambda bad=bad: bad, raising=False)
        model.save(tmp_path / "bad.npz", force=True)
        with pytest.raises(ValueError, match=r"bad\.npz: what partial_fit goes on from is wrong .*damaged"):
            gpukm.load(tmp_path / "bad.npz")
    other = small(random_state=np.random.Generator(np.random.Philox(0))).fit(X)
    with pytest.warns(UserWarning, match="random_state"):
        other.save(tmp_path / "other.npz")
    assert gpukm.load(tmp_path / "other.npz").partial_fit(X).n_steps_ == other.n_steps_ + 1


# -- batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_rows_are_drawn_by_weight(weighted):
    """Over 40,000 draws each row appears in proportion to its weight; one without weight never."""
    X = np.arange(40.0)[:, None]
    weights = np.random.default_rng(0).random(40) * (np.arange(40) != 7) if weighted else None
    drawn = Draws(ArraySource(X, weights, dtype=X.dtype)).indices(np.random.default_rng(1), 40_000)
    expected = (np.ones(40) if weights is None else weights) * 40_000
    expected /= 40 if weights is None else weights.sum()
    counts = np.bincount(drawn, minlength=40)
    assert not weighted or counts[7] == 0
    used = expected > 0
    assert (((counts - expected)[used] ** 2) / expected[used]).sum() < 39 + 5 * np.sqrt(2 * 39)
