"""Hartigan & Wong's and MacQueen's algorithms, and the polish of Lloyd's result by the first."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from gpukm import KMeans, MiniBatchKMeans, kernels
from gpukm.array_source import ArraySource
from gpukm.hartigan_wong import hartigan_wong, polish
from gpukm.lloyd import lloyd
from gpukm.macqueen import macqueen

ALGORITHMS = ("hartigan-wong", "macqueen")
OPTIONS = ({"algorithm": "hartigan-wong"}, {"algorithm": "macqueen"}, {"refine": "hartigan-wong"})
FOUND = ("cluster_centers_", "labels_", "inertia_", "n_iter_", "withinss_", "size_", "converged_")


def fit(X, k, weight=None, **options):
    return KMeans(k, random_state=0, **options).fit(X, sample_weight=weight)


def assert_same_bits(a, b, names=FOUND):
    for name in names:
        assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def as_136(X, centroids):
    """Hartigan & Wong's AS 136 as the paper tells it, with its counters NCP, ITRAN and LIVE: the final clusters."""
    X, n, k = X.astype(float), len(X), len(centroids)
    D = ((X[:, None] - centroids[None]) ** 2).sum(axis=2)
    ic1, ic2 = np.argsort(D, axis=1, kind="stable")[:, :2].T.copy()
    c = np.array([X[ic1 == j].mean(axis=0) for j in range(k)])
    nc = np.bincount(ic1, minlength=k).astype(float)
    ncp, itran, live, d, indx = np.full(k, -1), np.ones(k, bool), np.zeros(k, int), np.zeros(n), 0

    def squared(i, j):
        return float(((X[i] - c[j]) ** 2).sum())

    def transfer(i, here, there):
        c[here] = (c[here] * nc[here] - X[i]) / (nc[here] - 1)
        c[there] = (c[there] * nc[there] + X[i]) / (nc[there] + 1)
        nc[here], nc[there] = nc[here] - 1, nc[there] + 1
        ic1[i], ic2[i] = there, here

    for _ in range(100):
        live[itran] = n + 1
        for i in range(1, n + 1):  # the optimal-transfer stage, its steps counted from 1
            row, indx = i - 1, indx + 1
            here = ic1[row]
            if nc[here] > 1:
                if ncp[here] != 0:
                    d[row] = squared(row, here) * nc[here] / (nc[here] - 1)
                there = ic2[row]
                least = squared(row, there) * nc[there] / (nc[there] + 1)
                for j in range(k):
                    if (i < live[here] or i < live[j]) and j not in (here, ic2[row]):
                        cost = squared(row, j) * nc[j] / (nc[j] + 1)
                        if cost < least:
                            least, there = cost, j
                ic2[row] = there
                if least < d[row]:
                    indx = 0
                    live[[here, there]], ncp[[here, there]] = n + i, i
                    transfer(row, here, there)
            if indx == n:
                return ic1
        itran[:] = False
        live -= n
        steps = quiet = 0
        while quiet < n:  # the quick-transfer stage
            for row in range(n):
                quiet, steps = quiet + 1, steps + 1
                here, there = ic1[row], ic2[row]
                if nc[here] > 1:
                    if steps <= ncp[here]:
                        d[row] = squared(row, here) * nc[here] / (nc[here] - 1)
                    moved = squared(row, there) * nc[there] / (nc[there] + 1) < d[row]
                    if (steps < ncp[here] or steps < ncp[there]) and moved:
                        quiet = indx = 0
                        itran[[here, there]], ncp[[here, there]] = True, steps + n
                        transfer(row, here, there)
                if quiet == n:
                    break
        if k == 2:
            return ic1
        ncp[:] = 0
    raise AssertionError("AS 136 did not end")


@pytest.mark.parametrize("seed", range(12))
def test_it_is_algorithm_as_136(seed):
    """The clusters of the published algorithm, when that is given the rows in the order they are visited in."""
    rng = np.random.default_rng(seed)
    n, d, k = int(rng.integers(20, 150)), int(rng.integers(1, 5)), int(rng.integers(2, 7))
    X = rng.normal(size=(n, d))
    X = X[np.argsort(kernels.hash_rows(X))]
    start = X[rng.choice(n, k, replace=False)]
    model = KMeans(k, init=start, algorithm="hartigan-wong").fit(X)
    assert_array_equal(model.labels_, as_136(X, start))
    assert model.converged_


@pytest.mark.parametrize("engine", ["numpy", "numba"], indirect=True)
@pytest.mark.parametrize("options", OPTIONS)
def test_iris_is_rs_iris(engine, options):
    """R 4: kmeans(iris[, 1:4], 3) has withinss 15.15100, 39.82097, 23.87947 in some order, 78.85144 together."""
    X = pytest.importorskip("sklearn.datasets").load_iris().data
    model = fit(X, 3, n_init=5, **options)
    assert np.round(np.sort(model.withinss_), 5).tolist() == [15.151, 23.87947, 39.82097]
    assert round(model.inertia_, 5) == 78.85144
    assert sorted(model.size_.tolist()) == [38, 50, 62]
    assert_array_equal(model.predict(X), model.labels_)


@st.composite
def problems(draw):
    """Rows with ties and duplicates, weights with zeros, far from the origin or not, in both dtypes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, d, k = draw(st.integers(1, 40)), draw(st.integers(1, 3)), draw(st.integers(1, 6))
    X = rng.integers(0, draw(st.sampled_from([2, 5, 1000])), (n, d)) / draw(st.sampled_from([1.0, 3.0]))
    X = (X + draw(st.sampled_from([0.0, 1e6]))).astype(draw(st.sampled_from([np.float32, np.float64])))
    weight = draw(
        st.sampled_from([None, rng.integers(0, 4, n) + 0.0, rng.random(n) * 10.0 ** rng.integers(-12, 12, n)])
    )
    if weight is not None and np.count_nonzero(weight) < min(k, n):
        weight = weight + 1
    start = X[rng.integers(0, n, min(k, n))]
    return X, weight, start


def runs(X, weight, start, **options):
    source = ArraySource(X, weight, dtype=X.dtype)
    source.stats()
    found = [search(source, start, max_iter=100, tol=0.0) for search in (hartigan_wong, macqueen)]
    source.reset()
    plain = lloyd(source, start, max_iter=100, tol=0.0)
    return [*found, polish(source, plain, max_iter=100), plain]


@given(problem=problems())
@settings(max_examples=150)
def test_it_ends_in_one_state_no_worse_than_lloyds(problem):
    """Labels are nearest, the inertia is theirs, refining never raises it, and one more iteration changes nothing."""
    X, weight, start = problem
    *others, refined, plain = runs(X, weight, start)
    for result in (*others, refined):
        source = ArraySource(X, weight, dtype=X.dtype)
        assert_array_equal(result.labels, source.assign(result.centroids))
        assert result.inertia == source.inertia(result.centroids, result.labels)[1]
        assert result.sizes.sum() == len(X) and result.converged and not result.interrupted
        assert result.n_iter == len(result.history) and [h.iteration for h in result.history] == [
            *range(1, result.n_iter + 1)
        ]
    assert refined.inertia <= plain.inertia


@given(problem=problems())
@settings(max_examples=50)
def test_engines_agree(problem):
    """Python and compiled code make the same transfers, to the bit."""
    pytest.importorskip("numba")
    found = []
    for engine in ("numpy", "numba"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GPUKM_ENGINE", engine)
            found.append(runs(*problem))
    for a, b in zip(*found, strict=True):
        assert_array_equal(a.centroids, b.centroids)
        assert_array_equal(a.labels, b.labels)
        assert (a.inertia, a.n_iter, a.converged) == (b.inertia, b.n_iter, b.converged)
        assert [(h.inertia, h.shift, h.changed) for h in a.history] == [
            (h.inertia, h.shift, h.changed) for h in b.history
        ]


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(2, 5))
@settings(max_examples=15)
def test_no_transfer_lowers_the_inertia(seed, k):
    """Hartigan & Wong's optimum: no distinct row, with its weight, is better off in another cluster."""
    rng = np.random.default_rng(seed)
    X, weight = rng.normal(size=(30, 2)), rng.integers(1, 4, 30)
    result = fit(X, k, weight, algorithm="hartigan-wong")
    assert result.converged_

    def inertia(labels):
        means = np.array([np.average(X[labels == j], axis=0, weights=weight[labels == j]) for j in labels])
        return float((weight * ((X - means) ** 2).sum(axis=1)).sum())

    least = inertia(result.labels_)
    assert least == pytest.approx(result.inertia_, rel=1e-12)
    for row in range(len(X)):
        for j in range(k):
            labels = result.labels_.copy()
            labels[row] = j
            assert inertia(labels) >= least * (1 - 1e-11)


@pytest.mark.parametrize("options", OPTIONS)
def test_neither_order_nor_repetition_nor_chunks_show(options):
    """The same bits for permuted rows, for weights instead of repeated rows, and for any memory limit."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 3)).round(1)
    weight = rng.integers(0, 4, 200)
    weighted = fit(X, 6, weight, **options)
    order = rng.permutation(200)
    shuffled = fit(X[order], 6, weight[order], **options)
    assert_same_bits(weighted, shuffled, [name for name in FOUND if name != "labels_"])
    assert_array_equal(weighted.labels_[order], shuffled.labels_)
    repeated = fit(np.repeat(X, weight, axis=0), 6, **options)
    assert_same_bits(weighted, repeated, ["cluster_centers_", "inertia_", "withinss_", "n_iter_"])
    assert_array_equal(np.repeat(weighted.labels_, weight), repeated.labels_)
    assert_same_bits(weighted, fit(X, 6, weight, max_memory=2000, **options))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_any_array(backend, algorithm):
    """Other array libraries get the reference's bits back."""
    X = np.random.default_rng(0).normal(size=(60, 2))
    found, expected = fit(backend.array(X), 4, algorithm=algorithm), fit(X, 4, algorithm=algorithm)
    assert_array_equal(np.asarray(found.labels_), expected.labels_)
    assert_array_equal(np.asarray(found.cluster_centers_), expected.cluster_centers_)


@pytest.mark.parametrize("options", OPTIONS)
def test_on_a_cuda_device(options, monkeypatch):
    """Rows on a device, here the emulated one, end in the same bits; the transfers themselves are the host's."""
    from emulator import EmulatedGpu

    from gpukm import placing

    X = np.random.default_rng(0).normal(size=(120, 2)).astype(np.float32)
    weight = np.arange(120) % 3
    expected = fit(X, 5, weight, **options)
    monkeypatch.setattr(placing, "gpu", lambda number=None: EmulatedGpu())
    found = fit(X, 5, weight, device="cuda", **options)
    assert found.engine_ == "cuda"
    assert_same_bits(found, expected)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("k", [1, 2, 7])
def test_small_cases(algorithm, k):
    """One cluster, two, and as many as rows."""
    X = np.arange(7.0)[:, None] ** 2
    model = fit(X, k, algorithm=algorithm)
    assert len(np.unique(model.labels_)) == k
    assert model.inertia_ == pytest.approx({1: ((X - X.mean()) ** 2).sum(), 7: 0.0}.get(k, model.inertia_))


def test_an_empty_cluster_takes_in_a_row():
    """A start far from all rows is not left empty, whichever row comes by first."""
    X = np.random.default_rng(0).normal(size=(50, 2))
    start = np.array([[0.0, 0.0], [1.0, 0.0], [1e3, 1e3], [-1e3, 0.0]])
    model = KMeans(4, init=start, algorithm="hartigan-wong").fit(X)
    assert model.size_.min() > 0 and model.converged_


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_fewer_values_than_clusters(algorithm):
    """As with Lloyd's: a warning, and no inertia."""
    with pytest.warns(UserWarning, match="Number of distinct clusters"):
        model = fit(np.repeat([[0.0], [1.0]], 5, axis=0), 4, algorithm=algorithm)
    assert model.inertia_ == 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_it_stops_when_told(algorithm, capsys):
    """After max_iter rounds, or by the callback; both leave labels, centroids and inertia of one state."""
    X = np.random.default_rng(2).normal(size=(400, 2))
    full = fit(X, 12, algorithm=algorithm, verbose=1)
    assert capsys.readouterr().out.count("Iteration") == full.n_iter_ > 2
    assert full.history_[-1].inertia == pytest.approx(full.inertia_)
    falls = [h.inertia for h in full.history_]
    assert falls == sorted(falls, reverse=True) or algorithm == "macqueen"
    seen = []
    for options in ({"max_iter": 1}, {"callback": lambda iteration: seen.append(iteration) or True}):
        model = fit(X, 12, algorithm=algorithm, **options)
        assert model.n_iter_ == 1 and not model.converged_
        assert_array_equal(model.predict(X), model.labels_)
        assert -model.score(X) == model.inertia_ >= full.inertia_
    assert seen == model.history_
    assert_same_bits(
        fit(X, 12, algorithm=algorithm, max_iter=0), fit(X, 12, max_iter=0), ["cluster_centers_", "labels_", "inertia_"]
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_interrupt_leaves_the_last_finished_state(algorithm):
    """Ctrl-C in the second round: the attributes are there, then KeyboardInterrupt is raised."""
    X = np.random.default_rng(2).normal(size=(400, 2))

    def stop(iteration):
        if iteration.iteration == 2:
            raise KeyboardInterrupt

    model = KMeans(12, random_state=0, algorithm=algorithm, callback=stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X)
    assert model.n_iter_ == 2
    assert_array_equal(model.predict(X), model.labels_)


def test_inputs_are_not_changed():
    """X, read-only and in Fortran order, and the weights stay as they are."""
    X = np.asfortranarray(np.random.default_rng(0).normal(size=(50, 3)))
    weight = np.arange(50.0)
    before = X.copy(), weight.copy()
    X.flags.writeable = weight.flags.writeable = False
    fit(X, 4, weight, algorithm="hartigan-wong", refine="hartigan-wong")
    assert_array_equal(X, before[0])
    assert_array_equal(weight, before[1])


def test_what_may_be_asked_for():
    """Unknown names are answered with the known ones."""
    with pytest.raises(ValueError, match="'refine' parameter of KMeans must be a str among {None, 'hartigan-wong'"):
        fit(np.eye(3), 2, refine="lloyd")
    with pytest.raises(ValueError, match="'refine' parameter of KMeans must be a str"):
        fit(np.eye(3), 2, refine=5)
    with pytest.raises(ValueError, match="'refine' parameter of MiniBatchKMeans must be an int"):
        MiniBatchKMeans(2, refine="hartigan-wong").fit(np.eye(3))
    with pytest.raises(ValueError, match="Did you mean 'hartigan-wong'"):
        fit(np.eye(3), 2, algorithm="Hartigan-Wong")


def test_fitted_is_rs(backend):
    """The centroid of each row's cluster, or the cluster; X less the first has the inertia as its sum of squares."""
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = fit(backend.array(X), 4)
    centers = model.fitted()
    assert isinstance(centers, type(model.cluster_centers_))
    assert_array_equal(np.asarray(model.fitted(method="classes")), np.asarray(model.labels_))
    assert_array_equal(np.asarray(centers), np.asarray(model.cluster_centers_)[np.asarray(model.labels_)])
    assert ((X - np.asarray(centers)) ** 2).sum() == pytest.approx(model.inertia_)
    with pytest.raises(ValueError, match="it may be 'centers' or 'classes'"):
        model.fitted("residuals")
    with pytest.raises(ValueError, match="not fitted yet"):
        KMeans(2).fitted()
