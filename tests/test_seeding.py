"""Seeding: exact draws, exact choices, and starts that depend on the rows' contents alone."""

import itertools
import tracemalloc
from fractions import Fraction

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukm import kernels
from gpukm.array_source import ArraySource
from gpukm.lloyd import lloyd
from gpukm.oversampling import oversample
from gpukm.seeding import INITS, seed

pytestmark = pytest.mark.usefixtures("engine")


def data(n=300, d=3, dtype=np.float32, duplicates=True):
    rng = np.random.default_rng(n + d)
    X = (rng.standard_normal((n, d)) * 3 + 5).astype(dtype)
    if duplicates:
        X[::7] = X[1]
    return X


def fit(X, weights=None, *, init, k=7, **options):
    source = ArraySource(X, weights, dtype=options.pop("dtype", X.dtype), **options)
    C, _ = seed(source, k, init, np.random.default_rng(3))
    return lloyd(source, C, max_iter=30, tol=0)


def assert_same(a, b):
    assert np.array_equal(a.centroids, b.centroids)
    assert (a.inertia, a.n_iter) == (b.inertia, b.n_iter)


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("d", [1, 3, 20])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
class TestWholeFits:
    """Seed and Lloyd together, for every start."""

    def test_order_does_not_matter(self, init, d, dtype):
        """Permuting rows permutes labels and leaves the centres' bits alone."""
        X = data(d=d, dtype=dtype)
        order = np.random.default_rng(0).permutation(len(X))
        a, b = fit(X, init=init), fit(X[order], init=init)
        assert_same(a, b)
        assert np.array_equal(a.labels[order], b.labels)

    def test_blocks_and_threads_do_not_matter(self, init, d, dtype):
        """Any chunk size, any number of threads: the same bits."""
        X = data(d=d, dtype=dtype)
        weights = np.random.default_rng(1).random(len(X)) * 10.0 ** np.random.default_rng(2).integers(-12, 12, len(X))
        a = fit(X, weights, init=init)
        for options in ({"block_rows": 13}, {"block_rows": 100, "n_threads": 3}, {"max_memory": 1000}):
            assert_same(a, fit(X, weights, init=init, **options))

    def test_weights_are_repetition(self, init, d, dtype):
        """An integer weight equals so many copies of the row, to the bit."""
        X = data(d=d, dtype=dtype)
        weights = np.random.default_rng(1).integers(0, 5, len(X)).astype(float)
        repeats = weights.astype(int)
        a, b = fit(X, weights, init=init), fit(np.repeat(X, repeats, axis=0), init=init)
        assert_same(a, b)
        assert np.array_equal(np.repeat(a.labels, repeats), b.labels)

    def test_powers_of_two_scale_weights_freely(self, init, d, dtype):
        """Weights times 2^p change the inertia by 2^p and nothing else."""
        X = data(d=d, dtype=dtype)
        weights = np.random.default_rng(1).random(len(X))
        a, b = fit(X, weights, init=init), fit(X, weights * 2.0**-30, init=init)
        assert np.array_equal(a.centroids, b.centroids)
        assert a.inertia == b.inertia * 2.0**30


@pytest.mark.parametrize("init", INITS)
def test_every_namespace_agrees(backend, init):
    """Arrays of any namespace give the bits of NumPy's."""
    X = data()
    a, b = fit(X, init=init), fit(backend.array(X), init=init, dtype=X.dtype)
    assert_same(a, b)
    assert np.array_equal(a.labels, b.labels)


@pytest.mark.parametrize("init", INITS)
def test_uint8_is_float32_without_the_copy(init):
    """The same values in another dtype are the same rows to the hash, too."""
    X = np.random.default_rng(0).integers(0, 255, (400, 3)).astype(np.uint8)
    assert_same(fit(X, init=init, dtype=np.float32), fit(X.astype(np.float32), init=init))


# -- the draw -------------------------------------------------------------------------------------


def potential_of(X, weights, centres):
    potential = ArraySource(X, weights, dtype=X.dtype, block_rows=50).potential()
    for centre in centres:
        potential.commit(centre)
    return potential


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.booleans(), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5))
def test_draws_are_exact_quantiles(seed, weighted, quantiles):
    """The row drawn is the first, by hash, at which the exact running potential exceeds its share of the exact
    total.
    """
    rng = np.random.default_rng(seed)
    X = np.round(rng.standard_normal((60, 2)) * 2)
    weights = rng.integers(0, 3, 60) * rng.random(60) + (np.arange(60) == 0) if weighted else None
    potential = potential_of(X, weights, X[:2])
    order = np.argsort(kernels.hash_rows(X), kind="stable")
    D = oracle.distances(X, X[:2]).min(axis=1)
    terms = [Fraction(float(D[i])) * Fraction(float(1 if weights is None else weights[i])) for i in order]
    running = list(itertools.accumulate(terms))
    quantiles = [*quantiles, *(float(r / running[-1]) for r in running[:-1:7] if r < running[-1])]  # boundaries, too
    quantiles = [q for q in quantiles if q < 1]
    for row, q in zip(potential.draw(np.array(quantiles)), quantiles, strict=True):
        expected = next(i for i, r in enumerate(running) if r > Fraction(q) * running[-1])
        assert np.array_equal(X[row], X[order[expected]])


def test_draws_follow_the_potential():
    """Over 20,000 quantiles each row appears in proportion to w D."""
    X = data(n=40, duplicates=False)
    weights = np.random.default_rng(0).random(40)
    drawn = potential_of(X, weights, X[:1]).draw(np.random.default_rng(1).random(20000))
    expected = weights * oracle.distances(X, X[:1])[:, 0]
    expected *= 20000 / expected.sum()
    counts = np.bincount(drawn, minlength=40)
    assert counts[0] == 0
    assert (((counts - expected) ** 2)[1:] / expected[1:]).sum() < 39 + 5 * np.sqrt(2 * 39)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([2, 30]))
def test_the_best_candidate_is_the_best(seed, weighted, d):
    """Of candidates, the one with the least exact potential; the first of equals. Integers make ties common."""
    rng = np.random.default_rng(seed)
    X = np.round(rng.standard_normal((80, d)) * 2).astype(np.float32)
    weights = rng.integers(0, 4, 80).astype(float) + (np.arange(80) == 0) if weighted else None
    candidates = X[rng.integers(0, 80, 6)]
    D = np.minimum(oracle.distances(X, X[:1]), oracle.distances(X, candidates))
    potentials = [oracle.exact_sum(column, weights) for column in D.T]
    best = potential_of(X, weights, X[:1]).best(candidates)
    assert np.array_equal(candidates[best], candidates[potentials.index(min(potentials))])
    assert best == potentials.index(min(potentials))


# -- the starts -----------------------------------------------------------------------------------


def test_random_rows_are_all_different():
    """Forgy draws without replacement, by content: half the rows being equal does not give equal centres."""
    X = data(n=60)
    X[::2] = X[0]
    different = len(np.unique(X, axis=0))
    C, indices = seed(ArraySource(X, dtype=X.dtype), different, "random", np.random.default_rng(0))
    assert len(np.unique(C, axis=0)) == different
    assert np.array_equal(X[indices], C)
    C, _ = seed(ArraySource(X, dtype=X.dtype), 50, "random", np.random.default_rng(0))
    assert len(np.unique(C, axis=0)) == different


@pytest.mark.parametrize("init", INITS)
def test_weightless_rows_are_never_centres(init):
    """Rows of weight 0 take part in no start."""
    X = np.concatenate([data(n=50), np.full((50, 3), 1e6, np.float32)])
    weights = np.repeat([1.0, 0.0], 50)
    C, _ = seed(ArraySource(X, weights, dtype=X.dtype), 20, init, np.random.default_rng(0))
    assert C.max() < 1e5


@pytest.mark.parametrize("init", INITS)
def test_fewer_different_rows_than_clusters(init):
    """More centres than different rows: all rows are found, the rest repeats them, nothing hangs."""
    X = np.repeat(np.array([[1.0], [2.0], [4.0]]), 10, axis=0)
    C, _ = seed(ArraySource(X, dtype=X.dtype), 9, init, np.random.default_rng(0))
    assert C.shape == (9, 1)
    if init != "random-partition":
        assert set(C.ravel()) == {1.0, 2.0, 4.0}


def test_maximin_takes_the_farthest_row():
    """After the first, each centre is the row farthest from those before."""
    X = data(n=100, duplicates=False)
    C, _ = seed(ArraySource(X, dtype=X.dtype), 10, "maximin", np.random.default_rng(0))
    for j in range(1, 10):
        D = oracle.distances(X, C[:j]).min(axis=1)
        assert np.array_equal(C[j], X[D.argmax()])


def test_greedy_seeding_is_as_good_as_scikit_learns():
    """Median potential over 30 seeds within 3 % of scikit-learn's greedy k-means++, on blobs and on uniform data."""
    cluster = pytest.importorskip("sklearn.cluster")
    for X in (data(n=1000, d=2, dtype=np.float64, duplicates=False), np.random.default_rng(0).random((1000, 3))):
        ours, theirs = [], []
        for s in range(30):
            C, _ = seed(ArraySource(X, dtype=X.dtype), 15, "k-means++", np.random.default_rng(s))
            ours.append(oracle.distances(X, C).min(axis=1).sum())
            theirs.append(oracle.distances(X, cluster.kmeans_plusplus(X, 15, random_state=s)[0]).min(axis=1).sum())
        assert np.median(ours) < 1.03 * np.median(theirs)


# -- k-means|| ------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.booleans(), st.sampled_from([2, 30]))
def test_candidates_are_one_assignment_to_all(seed, weighted, d):
    """In rounds or at once: D, and the exact weight of the rows nearest to each candidate, ties to the first."""
    rng = np.random.default_rng(seed)
    X = np.round(rng.standard_normal((80, d)) * 2).astype(np.float32)
    weights = rng.integers(0, 4, 80) * rng.random(80) + (np.arange(80) == 0) if weighted else None
    C = X[rng.integers(0, 80, 12)]
    candidates = kernels.Candidates(ArraySource(X, weights, dtype=X.dtype, block_rows=23))
    for part in np.split(C, [1, 4, 5]):
        candidates.commit_all(part)
    labels, w = oracle.labels(X, C), np.ones(80) if weights is None else weights
    assert np.array_equal(candidates._potential._D, oracle.distances(X, C).min(axis=1))
    expected = [float(oracle.exact_sum(np.ones((labels == k).sum()), w[labels == k])) for k in range(12)]
    assert np.array_equal(candidates.weights(), expected)
    assert not candidates.covered
    candidates.commit_all(X)
    assert candidates.covered


def test_candidates_are_different_rows_that_carry_all_weight():
    """At most one and five rounds of 2 k; their weights are those of the rows, but for a power of two."""
    X, weights = data(n=500), np.random.default_rng(0).integers(0, 4, 500).astype(float)
    rows, weight = oversample(ArraySource(X, weights, dtype=X.dtype), 4, np.random.default_rng(0))
    assert 4 <= len(rows) <= 1 + 5 * 8 and len(np.unique(rows, axis=0)) == len(rows) == len(weight)
    assert {row.tobytes() for row in rows} <= {row.tobytes() for row in X[weights > 0]}
    scale = weights.sum() / weight.sum()
    assert np.frexp(scale)[0] == 0.5 and (weight > 0).all()


def test_rounds_go_on_until_there_are_enough_candidates():
    """One row outweighs all others a million times, again and again: five rounds would find too few."""
    X = (10.0 ** np.arange(0, 100, 2))[:, None]
    rows, _ = oversample(ArraySource(X, dtype=X.dtype), 30, np.random.default_rng(0))
    assert len(rows) >= 30
    C, _ = seed(ArraySource(X, dtype=X.dtype), 30, "k-means||", np.random.default_rng(0))
    assert len(np.unique(C)) == 30


def test_many_candidates_start_as_well_as_greedy_seeding():
    """After Lloyd, the median inertia over 15 seeds is within 5 % of that from greedy k-means++."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(0, 1e6, (15, 2))
    s_set = centres[rng.integers(0, 15, 1500)] + rng.normal(0, 4e4, (1500, 2))  # as S1 to S4 of Fränti & Virmajoki
    blobs = rng.normal(0, 3, (20, 6))[rng.integers(0, 20, 1500)] + rng.normal(size=(1500, 6))
    for X, k in ((s_set, 15), (blobs, 20)):
        medians = []
        for init in ("k-means||", "k-means++"):
            inertias = []
            for s in range(15):
                source = ArraySource(X, dtype=X.dtype)
                C, _ = seed(source, k, init, np.random.default_rng(s))
                inertias.append(lloyd(source, C, max_iter=100, tol=0).inertia)
            medians.append(np.median(inertias))
        assert medians[0] <= 1.05 * medians[1]


def test_hash_sees_every_column_and_value():
    """Rows of small integers, whose floats end in zeros, do not collide; -0.0 is 0.0."""
    for d in (2, 20):
        rows = np.zeros((256 * 256, d), np.float32)
        rows[:, 0], rows[:, -1] = np.divmod(np.arange(256 * 256), 256)
        for dtype in (np.float32, np.float64):
            assert len(np.unique(kernels.hash_rows(rows.astype(dtype)))) == 256 * 256
    assert kernels.hash_rows(np.array([[-0.0]])) == kernels.hash_rows(np.array([[0.0]]))


@pytest.mark.parametrize("init", INITS)
def test_zeros_of_either_sign_are_one_value(init):
    """-0.0 equals 0.0: whichever row is drawn, the centre is 0.0, so order and repetition stay invisible."""
    X = np.array([[0.0], [-0.0]] * 5 + [[3.0]])
    for rows in (X, X[::-1], -X[:-1]):
        assert not np.signbit(seed(ArraySource(rows, dtype=X.dtype), 2, init, np.random.default_rng(0))[0]).any()


def test_weightless_rows_leave_the_statistics_alone():
    """Rows of weight 0 move neither mean nor total sum of squares, to the bit."""
    for s in range(50):
        rng = np.random.default_rng(s)
        X = rng.standard_normal((9, 2)) * 10
        a = ArraySource(X, np.repeat([0.0, 1.0], [4, 5]), dtype=X.dtype).stats()
        b = ArraySource(X[4:], dtype=X.dtype).stats()
        assert a.totss == b.totss
        assert np.array_equal(a.mean, b.mean)


def test_max_memory_bounds_seeding():
    """Rows that are visited as they lie are visited in short blocks all the same: their float64 values take memory."""
    X = np.random.default_rng(0).standard_normal((60_000, 100)).astype(np.float32)

    def start(rows):
        return seed(ArraySource(rows, dtype=X.dtype, max_memory=1 << 18), 8, "k-means++", np.random.default_rng(0))

    start(X[:3000])  # what it needs is loaded and compiled now
    tracemalloc.start()
    try:
        start(X)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30 * 8 * len(X)  # some numbers for each row, not its 100 features
