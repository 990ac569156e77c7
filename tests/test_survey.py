"""The first pass over a stream: the statistics of memory, to the bit, and no pass more than they need."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_stream_source import blobs, stream

from gpukm import KMeans, MiniBatchKMeans
from gpukm._rows import MadeRows
from gpukm.array_source import ArraySource
from gpukm.chunks import Chunks
from gpukm.column_sums import ColumnSums
from gpukm.exact import Grid
from gpukm.seeding import seed
from gpukm.stream_source import StreamSource


def spread(seed, dtype, powers):
    """Rows of several magnitudes, among them zeros, and columns of zeros or of one tiny value."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 60)), int(rng.integers(1, 5))
    X = rng.normal(size=(n, d)) * 2.0 ** rng.integers(-powers, powers, (n, d)) * (rng.random((n, d)) < 0.7)
    X[:, rng.random(d) < 0.2] = 0
    X[rng.integers(n), rng.integers(d)] = 2.0**-powers
    return X.astype(dtype)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([(np.float32, 60), (np.float64, 30), (np.float64, 200)]), st.booleans())
def test_statistics_are_those_of_memory(seed, kind, weighted):
    """Means and totals are the same bits, also where the grid of all rows rounds and the rows have to be read again."""
    X = spread(seed, *kind)
    weight = np.random.default_rng(seed).random(len(X)) + 0.1 if weighted else None
    wanted = ArraySource(X, weight, dtype=X.dtype).stats()
    source = stream(X, memory=1 << 9, weight=weight)
    source.look()
    source.visit(lambda start, stop, scratch: None)
    assert source._stats is not None
    for name in ("minimum", "maximum", "mean", "total_weight", "totss"):
        np.testing.assert_array_equal(getattr(source.stats(), name), getattr(wanted, name))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 70))
def test_means_are_exact_however_the_bounds_grow(rows_seed, powers):
    """Sums on a grid that grows are those of rational numbers, rounded once."""
    X = spread(rows_seed, np.float32, powers)
    source = stream(X, memory=1 << 8, sizes=(1, 3))
    means = source._survey.sums.means(len(X), source.grid)
    assert means is not None
    for column, mean in zip(X.T, means[0], strict=True):
        assert mean == float(sum(map(Fraction, column.tolist()), Fraction(0)) / len(X))
    units = np.asarray([float(unit) for unit in source.grid.unit(0)[:-1]])
    assert not means[1] or (X.astype(np.float64) % units == 0).all()


def test_whole_values_are_known_to_be_whole():
    """Integers need one limb, in a stream as in memory."""
    X = np.random.default_rng(0).integers(-1000, 1000, (500, 3)).astype(np.float32)
    X[400:] *= 30
    X[:, 2] = 0
    source = stream(X, memory=1 << 9)
    assert source._survey.sums.means(500, source.grid)[1]
    assert source._mean[0].tobytes() == ArraySource(X, dtype=X.dtype).stats().mean.tobytes()
    assert source.grid.whole


def test_columns_may_be_zero_for_long():
    """A column of zeros says nothing of how fine its values are: no second pass, once it holds others."""
    X = np.zeros((300, 2), np.float32)
    X[:, 0] = np.arange(300)
    X[250:, 1] = 0.1
    source = stream(X, memory=1 << 9)
    assert source._survey.sums.means(300, source.grid) is not None


def test_many_rows_begin_a_new_grid():
    """No int64 overflows: beyond 2^33 rows what there is becomes Python's integers."""
    sums = ColumnSums(1)
    first = sums.grid(np.ones(1), 1 << 33)
    assert first.bits == 27 and 2 ** (first.bits + 1) * 2**33 <= 2**61
    sums._sums.limb(0)[0, 0] = 1 << 60
    sums.grid(np.ones(1), 1)
    assert sums._rows == 1 and not sums._sums.store.any()
    (mean,), _ = sums.means(1 << 33, Grid.of([1.0, 1.0], 1 << 34))
    assert mean == 2.0**60 * float(first.unit(0)[0]) / 2**33


@pytest.mark.parametrize("init", ["given", "random", "k-means||"])
@pytest.mark.parametrize("tol", [0.0, 1e-4])
def test_passes_up_to_the_first_iteration(init, tol):
    """One pass looks at the rows; the total sum of squares comes with the next one: of a start, or of the iteration."""
    X, passes, seen = blobs(1500), [0], []

    def make():
        passes[0] += 1
        yield from np.array_split(X, 7)

    options = {"n_init": 1, "max_iter": 2, "tol": tol, "random_state": 0, "callback": lambda _: seen.append(passes[0])}
    model = KMeans(4, init=X[:4] if init == "given" else init, max_memory=1 << 13, **options).fit(make)
    starting = 0
    if init != "given":
        passes[0] = 0
        seed(StreamSource(Chunks(MadeRows(make), 1 << 12), max_memory=1 << 13), 4, init, np.random.default_rng(0))
        starting = passes[0] - 1
    assert seen[0] == 1 + starting + 1
    assert model.totss_ == ArraySource(X, dtype=X.dtype).stats().totss


def test_passes_of_mini_batches():
    """Bounds, draws, the start, the batches; labels with the inertia."""
    X, passes = blobs(1500), [0]

    def make():
        passes[0] += 1
        yield from np.array_split(X, 7)

    options = {"batch_size": 10, "max_iter": 1, "max_memory": 1 << 15, "random_state": 0}
    model = MiniBatchKMeans(4, compute_labels=False, **options).fit(make)
    before, passes[0] = passes[0], 0
    assert before == 3 + -(-model.n_steps_ // ((1 << 15) // 8 // 52 // 10))
    MiniBatchKMeans(4, **options).fit(make)
    assert passes[0] == before + 1
