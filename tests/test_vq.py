"""gpukm.vq: SciPy's interface, SciPy's results."""

import re
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from gpukm import vq as ours

theirs = pytest.importorskip("scipy.cluster.vq", reason="SciPy, whose results are compared, is not installed")

RNG = np.random.default_rng(3)
X = np.concatenate([RNG.normal(c, 1.0, (60, 2)) for c in ([0, 0], [9, 1], [3, 8])])
WIDE = RNG.normal(size=(5, 9))


def same(a, b):
    """Arrays of equal shape and dtype with SciPy's values up to its rounding."""
    assert a.dtype == b.dtype and a.shape == b.shape
    assert_allclose(a, b, rtol=1e-5 if a.dtype == np.float32 else 1e-9)


# -- whiten ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("obs", [X, X.astype(np.float32), X[:, 0], np.arange(12).reshape(4, 3), X + 1e7])
def test_whiten_is_scipys(obs):
    """Each feature is divided by its population standard deviation; integers become float64."""
    same(ours.whiten(obs), theirs.whiten(obs))


def test_whiten_leaves_constant_features_and_says_so():
    """As in SciPy, which warns unless check_finite=False; 0.1 added up is not taken for a variation."""
    obs = np.full((10, 2), 0.1)
    obs[:, 1] = np.arange(10)
    with pytest.warns(RuntimeWarning, match="standard deviation zero"):
        white = ours.whiten(obs)
    assert_array_equal(white[:, 0], obs[:, 0])
    assert_array_equal(ours.whiten(obs, check_finite=False), white)


def test_whiten_does_not_depend_on_the_order_of_rows():
    """Exact sums: the same bits for permuted rows."""
    order = np.random.default_rng(0).permutation(len(X))
    assert_array_equal(ours.whiten(X)[order], ours.whiten(X[order]))


# -- vq --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("a", [np.float64, np.float32, np.float16, np.uint8])
@pytest.mark.parametrize("b", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("dimensions", [1, 2])
def test_vq_is_scipys(a, b, dimensions):
    """Codes and distances, in SciPy's dtypes; only integers, whose codes are int64 in SciPy, have int32 codes too."""
    obs, book = np.abs(X).astype(a), np.abs(X[::40]).astype(b)
    if dimensions == 1:
        obs, book = obs[:, 0], book[:, 0]
    code, dist = ours.vq(obs, book)
    expected, distances = theirs.vq(obs, book)
    assert code.dtype == np.int32
    assert_allclose(dist, distances, rtol=1e-6, atol=1e-6)
    assert dist.dtype == distances.dtype
    differ = code != expected  # only where a tie was broken by rounding
    assert np.count_nonzero(differ) <= (0 if a == np.float64 else 3)


def test_vq_breaks_ties_towards_the_first_code():
    """Also among equal codes."""
    code, dist = ours.vq([[0.0], [1.0], [2.0]], [[1.0], [1.0], [-1.0], [3.0]])
    assert code.tolist() == [0, 0, 0] and dist.tolist() == [1.0, 0.0, 1.0]


def test_vq_of_no_observations():
    """An empty batch has no codes."""
    code, dist = ours.vq(np.empty((0, 2)), X[:3])
    assert code.shape == dist.shape == (0,) and code.dtype == np.int32 and dist.dtype == np.float64


@pytest.mark.parametrize(
    ("obs", "book", "message"),
    [
        (X, X[0], "same number of dimensions"),
        (X[:, 0], X[:3], "same number of dimensions"),
        (X, X[:3, :1], "same number of features"),
        (X, X[:0], "0 sample"),
        ([[np.nan, 1.0]], X[:3], "obs contains NaN"),
        (X, [[np.inf, 1.0]], "code_book contains infinity"),
        (X[None], X[None], "dim 3"),
    ],
)
def test_vq_refuses(obs, book, message):
    """What does not fit together, or is not finite, is named."""
    with pytest.raises(ValueError, match=message):
        ours.vq(obs, book, check_finite=False)


# -- kmeans ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("obs", [X, X.astype(np.float32), X[:, 0], X + 1e5])
@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_kmeans_is_scipys(obs, k):
    """From the same generator the same code book; its distortion is what SciPy's own vq finds for it."""
    book, distortion = ours.kmeans(obs, k, iter=4, thresh=0, rng=5)
    expected, _ = theirs.kmeans(obs, k, iter=4, thresh=0, rng=5)
    same(book, expected)
    assert isinstance(distortion, float)
    assert distortion == pytest.approx(float(theirs.vq(obs, expected)[1].mean(dtype=np.float64)), rel=1e-5)


def test_kmeans_from_a_guess():
    """One run; codes that nothing is nearest to are dropped."""
    guess = np.array([[0.0, 0.0], [9.0, 1.0], [500.0, 500.0], [3.0, 8.0]])
    book, distortion = ours.kmeans(X, guess, iter=1)
    expected, theirs_distortion = theirs.kmeans(X, guess)
    assert book.shape == (3, 2)
    same(book, expected)
    assert distortion == pytest.approx(theirs_distortion)


def test_kmeans_returns_the_distortion_of_the_codes_it_returns():
    """Also when it stops early, where SciPy up to 1.17 returned that of the codes one update before."""
    for thresh in (10.0, 0.5, 0.05, 1e-5):
        book, distortion = ours.kmeans(X, X[:4], thresh=thresh)
        assert distortion == pytest.approx(ours.vq(X, book)[1].mean(), rel=1e-14)
        same(book, theirs.kmeans(X, X[:4], thresh=thresh)[0])


def test_kmeans_keeps_the_best_of_its_runs():
    """More runs never end with more distortion, as the first runs stay the same."""
    found = [ours.kmeans(X, 7, iter=runs, rng=1)[1] for runs in (1, 2, 5, 10)]
    assert found == sorted(found, reverse=True) and found[-1] < found[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k_or_guess": 181}, "larger sample than population"),
        ({"k_or_guess": 0}, "Asked for 0 clusters"),
        ({"k_or_guess": -1}, "Asked for -1 clusters"),
        ({"k_or_guess": []}, "Asked for 0 clusters"),
        ({"k_or_guess": 2.5}, "must be an integer"),
        ({"k_or_guess": 2, "iter": 0}, "iter must be at least 1"),
        ({"k_or_guess": 2, "thresh": -1.0}, "thresh must be at least 0"),
        ({"k_or_guess": X[:2, 0]}, "rank"),
        ({"k_or_guess": np.zeros((2, 3))}, "dimension"),
        ({"k_or_guess": [[0.0, np.nan], [1.0, 1.0]]}, "NaN"),
    ],
)
def test_kmeans_refuses(arguments, message):
    """Each with SciPy's words first."""
    with pytest.raises(ValueError, match=message):
        ours.kmeans(X, **arguments)


def test_numbers_of_clusters_as_arrays():
    """An array of a single number is a number of clusters, as in SciPy; of one dimension, too."""
    for k in (np.array(2), np.array([2]), np.array([[2.0]]), np.int64(2), 2.0):
        assert len(ours.kmeans(X, k, iter=1, rng=0)[0]) == 2
    assert ours.kmeans2(X[:, 0], np.array([4.0]), minit="matrix")[0].shape == (1,)


# -- kmeans2 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minit", ["random", "points", "++"])
@pytest.mark.parametrize("generator", ["rng", "seed", "RandomState"])
@pytest.mark.parametrize(("data", "k"), [(X, 3), (X[:, 0], 4), (X.astype(np.float32), 3), (WIDE, 2), (X, 1)])
@pytest.mark.filterwarnings("ignore:One of the clusters is empty")
def test_kmeans2_is_scipys(data, k, minit, generator):
    """From the same generator, new or old, the same start and so the same centroids and labels."""

    def options():
        return {"seed": np.random.RandomState(3)} if generator == "RandomState" else {generator: 3}

    centroid, label = ours.kmeans2(data, k, minit=minit, **options())
    expected, labels = theirs.kmeans2(data, k, minit=minit, **options())
    same(centroid, expected)
    assert_array_equal(label, labels)
    assert label.dtype == labels.dtype


@pytest.mark.parametrize("iterations", [1, 2, 3, 30])
def test_kmeans2_from_a_matrix(iterations):
    """After each number of iterations SciPy's centroids, and its labels, of which the centroids are the means."""
    centroid, label = ours.kmeans2(X, X[:5], iter=iterations, minit="matrix")
    expected, labels = theirs.kmeans2(X, X[:5], iter=iterations, minit="matrix")
    same(centroid, expected)
    assert_array_equal(label, labels)
    assert_allclose(centroid, [X[label == j].mean(axis=0) for j in range(5)])
    same(ours.kmeans2(X, X[:5], iter=iterations, minit="no such method")[0], expected)


def test_kmeans2_warns_of_empty_clusters_each_time():
    """The centroid stays where it was; "raise" raises."""
    start = np.array([[0.0, 0.0], [9.0, 1.0], [500.0, 500.0]])
    with pytest.warns(UserWarning, match="One of the clusters is empty") as caught:
        centroid, label = ours.kmeans2(X, start, iter=4)
    assert len(caught) == 4
    assert_array_equal(centroid[2], start[2])
    assert 2 not in label
    with pytest.raises(ours.ClusterError, match="One of the clusters is empty"):
        ours.kmeans2(X, start, missing="raise")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 2, "iter": 0}, "Invalid iter"),
        ({"k": 2, "iter": 2.5}, "Invalid iter"),
        ({"k": 0}, "Cannot ask kmeans2 for 0 clusters"),
        ({"k": 2, "minit": "k-means++"}, "Unknown init method"),
        ({"k": 2, "minit": "matrix"}, "rank"),
        ({"k": 2, "missing": "ignore"}, "Unknown missing method"),
        ({"k": X[:2, :1]}, "dimension"),
        ({"k": X[:2, 0]}, "rank"),
        ({"k": []}, "Empty input"),
        ({"k": 181, "minit": "points"}, "larger sample"),
        ({"k": 2, "data": X[:0]}, "Empty input"),
        ({"k": 1, "data": X[:1]}, "at least 2 observations"),
        ({"k": 1, "data": [[1.0, np.inf]], "check_finite": False}, "data contains infinity"),
    ],
)
def test_kmeans2_refuses(arguments, message):
    """Each with SciPy's words first."""
    with pytest.raises(ValueError, match=re.escape(message)):
        ours.kmeans2(**{"data": X, **arguments})


def test_kmeans2_says_why_it_cannot_draw():
    """A constant feature has no positive definite covariance."""
    with pytest.raises(np.linalg.LinAlgError, match="use minit='\\+\\+' or 'points'"):
        ours.kmeans2(np.column_stack([X, np.ones(len(X))]), 2)


def test_kmeans2_converts_k_aloud():
    """2.5 clusters are 2, as in SciPy."""
    with pytest.warns(UserWarning, match="k was not an integer"):
        assert len(ours.kmeans2(X, 2.5, minit="points", rng=0)[0]) == 2


def test_plusplus_with_more_clusters_than_values():
    """Nothing is left to draw by distance: no division by zero, and the rest repeat the first row."""
    data = np.repeat([[1.0, 2.0], [5.0, 6.0]], 10, axis=0)
    with pytest.warns(UserWarning, match="One of the clusters is empty"):
        centroid, _ = ours.kmeans2(data, 4, minit="++", rng=0)
    assert_array_equal(np.unique(centroid, axis=0), [[1.0, 2.0], [5.0, 6.0]])


def test_one_generator_at_a_time():
    """rng and seed are one parameter."""
    with pytest.raises(TypeError, match="Specify one of `rng` or `seed`"):
        ours.kmeans(X, 2, rng=0, seed=0)


# -- arrays of any kind ----------------------------------------------------------------------------------


def test_any_array(backend):
    """The reference's bits, as an array of the kind that was given."""
    obs = backend.array(X)
    book, distortion = ours.kmeans(obs, 3, rng=0)
    centroid, label = ours.kmeans2(obs, book, minit="matrix")
    code, dist = ours.vq(obs, book)
    white = ours.whiten(obs)
    expected, same_distortion = ours.kmeans(X, 3, rng=0)
    assert distortion == same_distortion
    results = [(book, expected), *zip((centroid, label), ours.kmeans2(X, expected), strict=True)]
    results += [*zip((code, dist), ours.vq(X, expected), strict=True), (white, ours.whiten(X))]
    for found, wanted in results:
        assert isinstance(found, type(obs))
        assert_array_equal(np.asarray(found), wanted)


def test_on_a_cuda_device(monkeypatch):
    """The bits of the reference from the CUDA engine, here on its emulator."""
    from emulator import EmulatedGpu

    from gpukm import placing
    from gpukm.array_source import ArraySource
    from gpukm.device_source import DeviceSource

    def all_results():
        runs = ours.kmeans(X, 3, iter=2, rng=0), ours.kmeans2(X, 3, minit="++", rng=0), ours.vq(X, X[:5])
        return [np.asarray(part) for run in runs for part in run] + [ours.whiten(X)]

    expected = all_results()
    gpu = EmulatedGpu()
    sources = []

    def on_device(samples, *, dtype, max_memory):
        sources.append(DeviceSource(gpu, samples.array, dtype=dtype, max_memory=max_memory))
        return sources[-1]

    monkeypatch.setattr(placing, "source_of", on_device)
    for found, wanted in zip(all_results(), expected, strict=True):
        assert_array_equal(found, wanted)
    assert len(sources) == 4 and all(isinstance(source, ArraySource) for source in sources)


def test_layouts_and_lists():
    """Fortran order, strides, byte order, read-only and lists are the same observations."""
    expected = ours.kmeans2(X, X[:3])
    strided = np.zeros((360, 4))
    strided[::2, 1:3] = X
    readonly = X.copy()
    readonly.flags.writeable = False
    for data in (np.asfortranarray(X), strided[::2, 1:3], X.astype(">f8"), X.tolist(), readonly):
        for found, wanted in zip(ours.kmeans2(data, X[:3].tolist()), expected, strict=True):
            assert_array_equal(found, wanted)


@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), d=st.integers(1, 4), k=st.integers(1, 6), narrow=st.booleans()
)
@settings(max_examples=40)
def test_engines_agree(seed, n, d, k, narrow):
    """The same bits from compiled code, with ties, duplicates and empty clusters."""
    pytest.importorskip("numba")
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 4, (n, d)).astype(np.float32 if narrow else np.float64) / 3
    start = rng.integers(0, 4, (max(k, 2), d)) / 3
    found = []
    for engine in ("numpy", "numba"):
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            patch.setenv("GPUKM_ENGINE", engine)
            runs = ours.kmeans(data, min(k, n), iter=2, rng=seed), ours.kmeans(data, start), ours.kmeans2(data, start)
            plus = ours.kmeans2(data, k, minit="++", rng=seed), ours.vq(data, start)
            found.append([part for result in (*runs, *plus) for part in result])
    for a, b in zip(*found, strict=True):
        assert_array_equal(a, b)
