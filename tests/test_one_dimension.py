"""Exact k-means of numbers, natural breaks and Otsu's threshold: against all partitions there are."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from gpukm import KMeans
from gpukm.one_dimension import jenks_breaks, kmeans_1d, otsu_threshold


def cost(x, w):
    """The exact weighted sum of squared distances of numbers to their mean."""
    x, w = [Fraction(float(a)) for a in x], [Fraction(float(a)) for a in w]
    total = sum(w)
    return (
        sum(b * a * a for a, b in zip(x, w, strict=True)) - sum(b * a for a, b in zip(x, w, strict=True)) ** 2 / total
    )


def least(x, k, w=None):
    """The cost of the best of all partitions of the different numbers into k runs."""
    w = np.ones(len(x)) if w is None else np.asarray(w)
    values = np.unique(np.asarray(x)[w > 0])
    mass = [sum(Fraction(float(b)) for a, b in zip(x, w, strict=True) if a == v) for v in values]
    n = len(values)
    runs = {(i, j): cost(values[i:j], mass[i:j]) for i, j in itertools.combinations(range(n + 1), 2)}
    cuts = itertools.combinations(range(1, n), k - 1)
    return min(sum(runs[pair] for pair in itertools.pairwise((0, *cut, n))) for cut in cuts)


@st.composite
def numbers(draw):
    """Few numbers with ties, near the origin or far off, spread evenly or over many magnitudes; with weights or not."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 11))
    kind = draw(st.sampled_from(["integers", "normal", "far", "magnitudes", "outlier"]))
    x = {
        "integers": rng.integers(-5, 6, n).astype(float),
        "normal": rng.normal(size=n),
        "far": 1e9 + rng.integers(0, 50, n) / 7,
        "magnitudes": rng.choice([-1, 1], n) * 10.0 ** rng.integers(-12, 12, n),
        "outlier": np.append(rng.normal(size=n - 1) * 1e-6 + 0.3, 1e6),
    }[kind]
    w = draw(
        st.sampled_from([None, rng.integers(0, 4, n).astype(float), rng.random(n), 10.0 ** rng.integers(-9, 9, n)])
    )
    if w is not None and not w.any():
        w = None
    distinct = len(np.unique(x if w is None else x[w > 0]))
    return x, w, draw(st.integers(1, distinct))


@given(problem=numbers())
@settings(max_examples=300)
def test_no_partition_is_better(problem):
    """The inertia is that of the best partition, up to the rounding of one float64; labels and means are its own."""
    x, w, k = problem
    centroids, labels, inertia = kmeans_1d(x, k, sample_weight=w)
    mass = np.ones(len(x)) if w is None else w
    best = float(least(x, k, w))
    found = float(sum(cost(x[labels == j], mass[labels == j]) for j in range(k)))
    assert found <= best * (1 + 1e-13)
    assert inertia == pytest.approx(found, rel=1e-9, abs=1e-20 + 1e-30 * float(np.abs(x).max()) ** 2 * mass.sum())
    assert len(centroids) == k and np.all(np.diff(centroids) > 0)
    assert_array_equal(np.abs(x[:, None] - centroids).argmin(axis=1)[mass > 0], labels[mass > 0])


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 300), k=st.integers(1, 40))
@settings(max_examples=60)
def test_divide_and_conquer_is_the_whole_table(seed, n, k):
    """The same inertia as by trying every beginning of every cluster."""
    rng = np.random.default_rng(seed)
    x = np.unique(rng.integers(0, 10**6, n).astype(float))
    k = min(k, len(x))
    sums, squares = np.append(0, np.cumsum(x)), np.append(0, np.cumsum(x * x))  # integers below 2^53: exact
    with np.errstate(divide="ignore", invalid="ignore"):
        i, j = np.indices((len(x) + 1,) * 2)
        table = np.where(i < j, (squares[j] - squares[i]) - (sums[j] - sums[i]) ** 2 / (j - i), np.inf)
    best = np.append(0.0, np.full(len(x), np.inf))
    for _ in range(k):
        best = (best[:, None] + table).min(axis=0)
    assert kmeans_1d(x, k)[2] == pytest.approx(best[-1], rel=1e-9, abs=1e-3)


def test_it_is_never_worse_than_kmeans():
    """Lloyd's from many starts does not beat it, and finds it sometimes."""
    x = np.random.default_rng(0).gamma(0.5, size=2000)
    inertia = kmeans_1d(x, 6)[2]
    found = [KMeans(6, random_state=seed, tol=0).fit(x[:, None]).inertia_ for seed in range(20)]
    assert inertia <= min(found) * (1 + 1e-14)
    assert min(found) == pytest.approx(inertia, rel=1e-3)


def test_large_inputs_go_through_chunks():
    """Many more numbers than costs computed in one go; the clusters are those that are plain to see."""
    rng = np.random.default_rng(0)
    x = (rng.permutation(60_000) % 5) * 1000.0 + rng.random(60_000)
    centroids, labels, inertia = kmeans_1d(x, 5)
    assert_array_equal(labels, x // 1000)
    assert inertia == pytest.approx(KMeans(5, init=centroids[:, None]).fit(x[:, None]).inertia_)


def test_neither_order_nor_repetition_show():
    """The same bits for permuted numbers and for weights instead of repetition."""
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=50).round(1), rng.integers(0, 4, 50)
    order = rng.permutation(50)
    centroids, labels, inertia = kmeans_1d(x, 5, sample_weight=w)
    for again, weight, rows in ((x[order], w[order], order), (np.repeat(x, w), None, np.repeat(np.arange(50), w))):
        found = kmeans_1d(again, 5, sample_weight=weight)
        assert_array_equal(found[0], centroids)
        assert_array_equal(found[1], labels[rows])
        assert found[2] == inertia


def test_any_array(backend):
    """Results are arrays like x, which may be a column."""
    x = np.random.default_rng(0).normal(size=40)
    expected = kmeans_1d(x, 4)
    for given_x in (backend.array(x), backend.array(x[:, None])):
        centroids, labels, inertia = kmeans_1d(given_x, 4)
        assert isinstance(centroids, type(given_x)) and isinstance(labels, type(given_x))
        assert_array_equal(np.asarray(centroids), expected[0])
        assert_array_equal(np.asarray(labels), expected[1])
        assert inertia == expected[2]
    assert_array_equal(np.asarray(jenks_breaks(backend.array(x), 4)), jenks_breaks(x.tolist(), 4))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, ">f8", np.float16])
def test_any_dtype(dtype):
    """Computed in float64, which holds all of them."""
    x = np.array([4, 1, 20, 2, 23, 5], dtype)
    centroids, labels, inertia = kmeans_1d(x, 3)
    assert centroids.dtype == np.float64 and centroids.tolist() == [1.5, 4.5, 21.5]
    assert labels.dtype == np.int32 and labels.tolist() == [1, 0, 2, 0, 2, 1] and inertia == 5.5


def test_breaks_bound_the_classes():
    """Each class is what lies between two breaks; the ends are the least and the greatest number."""
    x = np.random.default_rng(5).exponential(size=300)
    breaks = jenks_breaks(x, 5)
    labels = kmeans_1d(x, 5)[1]
    assert breaks[0] == x.min() and breaks[-1] == x.max() and len(breaks) == 6
    assert_array_equal(np.searchsorted(breaks[1:], x), labels)


@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(2, 256))
@settings(max_examples=60)
def test_otsu_maximizes_the_variance_between(seed, levels):
    """By its own definition, with exact fractions, over all thresholds; an image and its histogram agree."""
    rng = np.random.default_rng(seed)
    histogram = rng.integers(0, 50, levels) * (rng.random(levels) < 0.7)
    histogram[[0, -1]] += 1
    grey = np.arange(levels)

    def between(threshold):
        dark, n = grey <= threshold, int(histogram.sum())
        n0, s0, s = int(histogram[dark].sum()), int((grey * histogram)[dark].sum()), int((grey * histogram).sum())
        return Fraction((s0 * n - s * n0) ** 2, n0 * (n - n0))

    threshold = otsu_threshold(grey, sample_weight=histogram)
    assert between(threshold) == max(between(t) for t in grey[:-1])
    image = rng.permutation(np.repeat(grey, histogram)).astype(np.uint8)
    assert otsu_threshold(image) == otsu_threshold(np.stack([image, image])) == threshold


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        ([1.0, 1.0, 2.0], {"n_clusters": 3}, "2 different numbers .*; fewer than n_clusters=3"),
        ([1.0, 2.0], {"n_clusters": 2, "sample_weight": [1.0, 0.0]}, "1 different numbers"),
        ([1.0, np.nan], {"n_clusters": 1}, "x contains NaN"),
        ([[1.0, 2.0]], {"n_clusters": 1}, "x has 2 features"),
        ([1.0, 2.0], {"n_clusters": 0}, "n_clusters"),
        ([1.0, 2.0], {"n_clusters": 1, "sample_weight": [1.0]}, "sample_weight"),
        ([], {"n_clusters": 1}, "0 sample"),
    ],
)
def test_it_refuses(x, options, message):
    """What was given, what is allowed, what to do."""
    with pytest.raises(ValueError, match=message):
        kmeans_1d(x, **options)


def test_a_constant_image_has_no_threshold():
    """There is nothing to tell apart."""
    with pytest.raises(ValueError, match="1 different numbers .*; a threshold tells two apart") as error:
        otsu_threshold(np.full((4, 4), 7))
    assert "n_clusters" not in str(error.value)


@pytest.mark.parametrize("x", [[1.0, np.nan, 2.0, np.inf], [[3.0], [-np.inf], [4.0]]])
def test_what_is_not_finite_is_named_by_its_position(x):
    """And the advice given works on what was given, numbers in one column too."""
    x = np.array(x)
    with pytest.raises(ValueError, match=r"position 1, counted from 0.* x\[numpy.isfinite\(x\)\]"):
        kmeans_1d(x, 2)
    assert kmeans_1d(x[np.isfinite(x)], 2)[2] == 0
    with pytest.raises(ValueError, match="position 3,"):
        otsu_threshold([[1, 2, 3], [np.nan, 4, 5]])
