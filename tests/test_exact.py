"""The contract of gpukm/exact.py, held against Python's own floats, integers and fractions."""

from fractions import Fraction

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gpukm import exact, kernels
from gpukm.exact import Grid, check_range, limb_bits, margin, squared_distances, sums_like, two_product

WIDE = st.floats(-1e30, 1e30).filter(lambda v: v == 0 or abs(v) > 1e-30)


def fractions(sums, column):
    """The exact sums of a column as fractions."""
    pairs = [exact.integer(sums, row, column) for row in range(sums.store.shape[1])]
    return [Fraction(i) * Fraction(2) ** s for i, s in pairs]


@given(hnp.arrays(np.float64, (4, 3), elements=WIDE), hnp.arrays(np.float64, (4, 3), elements=WIDE))
def test_distance_is_its_definition(X, C):
    """D is the left-to-right float64 sum of squared differences, to the bit."""
    assert squared_distances(X, C).tolist() == [oracle.distance(x, c) for x, c in zip(X, C, strict=True)]


@pytest.mark.parametrize("m", [1, 2, 7, 256])
@pytest.mark.parametrize("d", [1, 2, 15, 17, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distance_at_odd_shapes(m, d, dtype):
    """No shape makes NumPy add in another order."""
    rng = np.random.default_rng(m * d)
    X, C = rng.standard_normal((2, m, d)).astype(dtype)
    assert squared_distances(X, C).tolist() == [oracle.distance(x, c) for x, c in zip(X, C, strict=True)]
    assert squared_distances(X, C[:1]).tolist() == [oracle.distance(x, C[0]) for x in X]


@given(st.floats(-1e100, 1e100), st.floats(1e-12, 1e12))
def test_two_product_is_exact(a, b):
    """p + e is the product without error (for products that do not underflow)."""
    p, e = two_product(np.array([a]), np.array([b]))
    if a == 0 or abs(a) > 1e-200:
        assert Fraction(p[0]) + Fraction(e[0]) == Fraction(a) * Fraction(b)


@settings(max_examples=60)
@given(
    hnp.arrays(np.float64, (12, 2), elements=WIDE),
    hnp.arrays(np.int32, 12, elements=st.integers(0, 2)),
    st.none() | hnp.arrays(np.float64, 12, elements=st.floats(1e-12, 1e12)),
)
def test_sums_are_exact_over_sixty_decades(X, labels, weights):
    """Magnitudes from 1e-30 to 1e30 in one column, weights from 1e-12 to 1e12: the sums err by nothing."""
    sums = sums_like(Grid.of(np.append(np.abs(X).max(axis=0), 1.0) * (1 if weights is None else weights.max()), 12), 3)
    kernels.accumulate(X, np, labels, sums, weights=weights)
    for cluster in range(3):
        own = labels == cluster
        w = None if weights is None else weights[own]
        assert fractions(sums, 0)[cluster] == oracle.exact_sum(X[own, 0], w)
        assert fractions(sums, 2)[cluster] == oracle.exact_sum(np.ones(own.sum()), w)
    assert np.array_equal(sums.means(), oracle.means(X, labels, 3, weights))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0.0, 1e6, -1e15])
@pytest.mark.parametrize("d", [1, 5, 16, 40])
@pytest.mark.parametrize("k", [1, 4, 30, 3000])
def test_means_are_rounded_once(dtype, offset, d, k):
    """Large offsets cost nothing: a centroid is the exact mean rounded to nearest."""
    rng = np.random.default_rng(d)
    X = (rng.standard_normal((200, d)) + offset).astype(dtype)
    labels = rng.integers(0, min(k, 20), 200).astype(np.int32)
    sums = sums_like(Grid.of(np.append(np.abs(X).max(axis=0), 1.0), 200), k)
    kernels.accumulate(X, np, labels, sums)
    assert np.array_equal(sums.means()[:20], oracle.means(X, labels, min(k, 20)))


def test_means_settle_exact_ties():
    """A mean halfway between two floats goes to the even one, whatever lies far below."""
    u = 2.0**-52
    for low, expected in [(0.0, 1.0), (1e-30, 1 + u), (-1e-30, 1.0)]:
        X = np.array([[1.0], [1.0 + u], [low * 2]])
        sums = sums_like(Grid.of([2.0, 1.0], 3), 1)
        kernels.accumulate(X, np, np.zeros(3, np.int32), sums, weights=np.array([1.0, 1.0, 1.0]))
        kernels.accumulate(np.zeros((1, 1)), np, np.zeros(1, np.int32), sums, weights=np.array([2.0**-300]))
        whole = sums.copy()
        exact_mean = Fraction(1, 1) * fractions(whole, 0)[0] / fractions(whole, 1)[0]
        assert sums.means()[0, 0] == float(exact_mean)
        sums = sums_like(Grid.of([2.0, 1.0], 3), 1)
        kernels.accumulate(X[:2], np, np.zeros(2, np.int32), sums)
        sums.add(_single(sums.grid, low * 2))
        assert sums.totals()[0, 0] / 2 == expected


def _single(grid, value):
    sums = sums_like(grid, 1)
    kernels.accumulate(np.array([[value]]), np, np.zeros(1, np.int32), sums)
    sums.store *= np.array([1, 0])
    return sums


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=9), st.integers(1, 5))
def test_quotients_round_to_nearest(values, repeats):
    """Sums and means of arbitrary float64 values equal Python's correctly rounded fractions."""
    X = np.array(values * repeats)[:, None]
    sums = sums_like(Grid.of([2.5, 1.0], len(X)), 1)
    kernels.accumulate(X, np, np.zeros(len(X), np.int32), sums)
    total = oracle.exact_sum(X[:, 0])
    assert sums.totals()[0, 0] == float(total)
    assert sums.means()[0, 0] == float(total / len(X))


@pytest.mark.parametrize("power", range(0, 41))
def test_no_sum_can_overflow(power):
    """n rows with two parts of at most 2^b each stay below 2^61, on paper, up to 2^40 rows; a block below 2^53."""
    for n in {2**power - 1, 2**power, 2**power + 1} - {0}:
        assert n * 2 ** (limb_bits(n) + 1) <= 2**61 or n > 2**40
        assert exact.BLOCK_ROWS * 2 ** limb_bits(n) <= 2**53
    assert limb_bits(2**power) * exact.MAX_LIMBS >= (300 if power <= 24 else 180)


def test_full_limbs_do_not_overflow():
    """A full block of the largest terms, moved from one cluster to another, keeps exact integers."""
    X = np.full((exact.BLOCK_ROWS, 2), np.nextafter(2.0, 0))
    sums = sums_like(Grid.of([2.0 - 2**-52, 2.0 - 2**-52, 1.0], 2**24), 2)
    zeros = np.zeros(len(X), np.int32)
    kernels.accumulate(X, np, zeros, sums)
    assert fractions(sums, 1)[0] == Fraction(X[0, 0]) * len(X)
    kernels.accumulate(X, np, zeros + 1, sums, old_labels=zeros)
    assert fractions(sums, 0) == [0, Fraction(X[0, 0]) * len(X)]


@pytest.mark.parametrize("namespace", ["array_api_strict", "torch"])
def test_other_namespaces_add_the_same_integers(namespace):
    """The one-hot product in array-API terms gives the limbs of the NumPy formulations."""
    xp = pytest.importorskip(namespace)
    import array_api_compat

    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 6)) * 10.0 ** rng.integers(-9, 9, (300, 6))
    labels, old = rng.integers(0, 5, (2, 300)).astype(np.int32)
    weights = rng.random(300)
    grid = Grid.of(np.append(np.abs(X).max(axis=0), 1.0), 300)
    ours, theirs = sums_like(grid, 5), sums_like(grid, 5)
    kernels.accumulate(X, np, labels, ours, old_labels=old, weights=weights)
    A = xp.asarray(X)
    kernels.accumulate(A, array_api_compat.array_namespace(A), labels, theirs, old_labels=old, weights=weights)
    for column in range(7):
        assert fractions(ours, column) == fractions(theirs, column)


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1), st.sampled_from([np.float32, np.float64]), st.floats(0, 30))
def test_filter_scores_stay_within_the_margin(d, seed, dtype, offset):
    """Scores err by at most kappa (|x'|^2/2 + |c'|^2), at any offset: the bound of the contract, in exact
    arithmetic.
    """
    rng = np.random.default_rng(seed)
    X = (rng.standard_normal((20, d)) * 10.0 ** rng.uniform(-3, 3, d) + offset).astype(dtype)
    C = X[:4]
    low, high = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
    frame = kernels.Frame.of(low, high, X.mean(axis=0, dtype=np.float64).astype(dtype), float(offset > 1) * 1e20)
    scores = kernels.scores(X, kernels.Scorer.of(frame, C), {})
    kappa = Fraction(margin(d, exact.U32))
    shift = [Fraction(float(v)) for v in frame.shift]
    slack = frame.slack(X)
    for i, x in enumerate(X):
        xs = [Fraction(float(v)) - s for v, s in zip(x, shift, strict=True)]
        r2 = sum(a * a for a in xs)
        assert Fraction(float(slack[i])) >= kappa * r2 * Fraction(frame.scale) ** 2
        for k, c in enumerate(C):
            cs = [Fraction(float(v)) - s for v, s in zip(c, shift, strict=True)]
            c2 = sum(b * b for b in cs)
            true = c2 / 2 - sum(a * b for a, b in zip(xs, cs, strict=True))
            found = Fraction(float(scores[k, i])) / Fraction(frame.scale) ** 2 + kappa * c2
            assert abs(found - true) <= kappa * (r2 / 2 + c2)


def test_margin_gives_up_where_it_must():
    """A dot product too long for the filter's precision certifies nothing, rather than something false."""
    assert margin(2**24, exact.U32) == 1
    assert margin(4096, exact.U32) < 3e-4


@pytest.mark.parametrize(("largest", "spread", "words"), [(1e200, 1.0, "overflow"), (1.0, 1e-200, "vanish")])
def test_unusable_range_is_refused(largest, spread, words):
    """Data whose squares leave float64 are refused with the power of two that helps."""
    with pytest.raises(ValueError, match=words) as error:
        check_range(largest, spread)
    assert "power of two" in str(error.value)
