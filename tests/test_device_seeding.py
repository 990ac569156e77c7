"""Rounds of k-means++ on a device, without the host: the reference's draws and choices, to the bit."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from emulator import FACTS, EmulatedGpu, build, vast
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukm import KMeans, placing
from gpukm.array_source import ArraySource
from gpukm.device_source import DeviceSource
from gpukm.kernels import Frame, hash_rows, plusplus_cuda
from gpukm.seeding import seed

build.require()


class Watched(EmulatedGpu):
    """An emulated device that counts how often the host waits for it."""

    waits = 0

    def to_host(self, array):
        self.waits += 1
        return super().to_host(array)


def sources(X, weights=None, gpu=None):
    """The reference's and the device's."""
    dtype = np.float64 if X.dtype == np.float64 else np.float32
    gpu = Watched() if gpu is None else gpu
    return ArraySource(X, weights, dtype=dtype), DeviceSource(gpu, X, weights, dtype=dtype)


def assert_same_seeds(reference, device, k, number=0, **options):
    """The same rows are chosen, and the generators go on alike."""
    one, other = np.random.default_rng(number), np.random.default_rng(number)
    expected = seed(reference, k, "k-means++", one, **options)
    found = seed(device, k, "k-means++", other, **options)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])
    assert one.random() == other.random()


def test_the_host_waits_no_more_often_for_many_centres():
    """One wait for up to AT_ONCE rounds."""
    X = np.random.default_rng(0).normal(50, 2, (400, 3)).astype(np.float32)
    waits = []
    for k in (3, plusplus_cuda.AT_ONCE + 1):
        reference, device = sources(X)
        assert_same_seeds(reference, device, k)
        waits.append(device.gpu.waits)
    assert waits[0] == waits[1]
    reference, device = sources(X)
    assert_same_seeds(reference, device, plusplus_cuda.AT_ONCE + 2)
    assert waits[0] < device.gpu.waits <= waits[0] + 8  # a second launch of a single round


@settings(max_examples=20)
@given(
    n=st.integers(1, 700),
    d=st.integers(1, 9),
    k=st.integers(1, 12),
    trials=st.one_of(st.none(), st.integers(1, 11)),
    levels=st.integers(1, 6),
    kind=st.sampled_from(["uint8", "float32", "float64"]),
    weighted=st.booleans(),
    number=st.integers(0, 2**32),
)
def test_few_distinct_rows_and_ties_give_the_reference_s_seeds(n, d, k, trials, levels, kind, weighted, number):
    """Whole numbers, so that candidates tie and potentials reach 0, with fewer distinct rows than centres."""
    rng = np.random.default_rng(number)
    X = rng.integers(0, levels, (n, d)).astype(kind)
    weights = rng.integers(0, 4, n) * rng.random(n) + (np.arange(n) == 0) if weighted else None
    assert_same_seeds(*sources(X, weights, EmulatedGpu(seed=number % 1000)), k, number, n_local_trials=trials)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_values_of_very_different_size(dtype, weighted):
    """An outlier whose D is 10^12 times the others', rows that all but coincide, weights from 10^-9 to 10^9."""
    rng = np.random.default_rng(1)
    X = (rng.standard_normal((500, 4)) * 10.0 ** rng.integers(-6, 1, (500, 1))).astype(dtype)
    X[7] = 1e6
    X[100:200] = X[99] * (1 + 1e-6 * rng.random((100, 1)))
    weights = 10.0 ** rng.integers(-9, 10, 500) * rng.random(500) if weighted else None
    for number in range(3):
        assert_same_seeds(*sources(X, weights), 20, number)


@pytest.mark.parametrize("bits", [3, 6, 8, 12])
def test_rounds_that_are_too_close_to_call_are_the_host_s(bits, monkeypatch):
    """With integers of a few bits the device knows less and less, and never chooses wrong."""
    rng = np.random.default_rng(2)
    X = rng.normal(3, 2, (300, 3)).astype(np.float32)
    X[150:] = X[:150][:, ::-1]  # mirrored: gains that all but tie
    for weights in (None, rng.random(300)):
        monkeypatch.undo()
        reference, device = sources(X, weights)
        seed(device, 30, "k-means++", np.random.default_rng(3))
        usual = device.gpu.waits
        monkeypatch.setattr(plusplus_cuda, "limb_bits", lambda n: bits)
        device = sources(X, weights)[1]
        assert_same_seeds(reference, device, 30, 3)
        assert device.gpu.waits > usual or bits == 12


def test_candidates_that_all_but_tie_are_the_host_s(monkeypatch):
    """Two candidates whose gains differ by less than integers of 8 bits show: the first is not always the better."""
    monkeypatch.setattr(plusplus_cuda, "limb_bits", lambda n: 8)
    X = np.array([[0.0], [1.0], [-1 - 2.0**-18]])
    for number in range(20):
        assert_same_seeds(*sources(X), 2, number, n_local_trials=4)


def test_more_features_than_float32_scores_can_tell():
    """Where scores prove nothing every row is settled."""
    X = np.random.default_rng(4).random((5, 170_000)).astype(np.float32)
    assert_same_seeds(*sources(X), 3)


def device_potential(X, weights, centres):
    potential = sources(X, weights)[1].potential()
    for centre in centres:
        potential.commit(centre)
    return potential


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.booleans(), st.booleans(), st.lists(st.integers(0, 2**53 - 1), max_size=5))
def test_draws_are_exact_quantiles(number, weighted, whole, quantiles):
    """The first row, by hash, at which the exact running potential exceeds its share, at its boundaries too."""
    rng = np.random.default_rng(number)
    X = rng.standard_normal((300, 2)) * 4
    X = np.round(X) if whole else X * 10.0 ** rng.integers(-5, 5, (300, 1))
    weights = rng.integers(0, 3, 300) * rng.random(300) + (np.arange(300) == 0) if weighted else None
    potential = device_potential(X, weights, X[:2])
    order = np.argsort(hash_rows(X), kind="stable")
    D = potential._D
    terms = [Fraction(float(D[i])) * Fraction(float(1 if weights is None else weights[i])) for i in order]
    running = list(itertools.accumulate(terms))
    edges = [int(r / running[-1] * 2**53) + step for r in running[::29] for step in (0, 1)]
    q = np.array([e for e in [*quantiles, *edges] if e < 2**53]) * 2.0**-53
    for row, share in zip(potential.draw(q), q, strict=True):
        expected = next(i for i, r in enumerate(running) if r > Fraction(float(share)) * running[-1])
        assert np.array_equal(X[row], X[order[expected]])


def test_shares_that_no_generator_draws():
    """A quantile that is no multiple of 2^-53 is settled on the host, as the reference does it."""
    X = np.random.default_rng(5).standard_normal((200, 3)).astype(np.float32)
    shares = np.array([1e-20, 0.1, 0.3, 2.0**-60, np.nextafter(1, 0)])
    reference, device = (source.potential() for source in sources(X))
    for potential in (reference, device):
        potential.commit(X[3])
    np.testing.assert_array_equal(device.draw(shares), reference.draw(shares))


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.booleans(), st.integers(1, 20))
def test_the_best_candidate_is_the_reference_s(number, weighted, count):
    """The first of those that gain most; whole numbers make ties common."""
    rng = np.random.default_rng(number)
    X = np.round(rng.standard_normal((280, 3)) * 2).astype(np.float32)
    weights = rng.integers(0, 4, 280) * rng.random(280) + (np.arange(280) == 0) if weighted else None
    candidates = X[rng.integers(0, 280, count)]
    reference, device = (source.potential() for source in sources(X, weights))
    for potential in (reference, device):
        potential.commit(X[0])
    assert device.best(candidates) == reference.best(candidates)


@pytest.mark.parametrize("init", ["k-means++", "k-means||"])
def test_the_best_of_several_runs_is_the_reference_s(init, monkeypatch):
    """n_init runs with rows on the device: equal to the CPU's, weights included."""
    monkeypatch.setattr(placing, "gpu", lambda number=None: EmulatedGpu())
    rng = np.random.default_rng(6)
    X = rng.normal(0, 1, (500, 2)).astype(np.float32)
    options = {"n_clusters": 7, "init": init, "n_init": 3, "random_state": 1}
    for weights in (None, rng.integers(0, 3, 500)):
        cpu, cuda = (KMeans(**options, device=where).fit(X, sample_weight=weights) for where in ("cpu", "cuda"))
        assert cuda.engine_ == "cuda" and cuda.inertia_ == cpu.inertia_
        np.testing.assert_array_equal(cuda.cluster_centers_, cpu.cluster_centers_)
        np.testing.assert_array_equal(cuda.labels_, cpu.labels_)


def test_the_last_rows_of_more_than_two_to_the_31():
    """Potentials and gains of the rows of the last block, with offsets beyond 32 bits; nothing else is in memory."""
    n, first = 2**31 + 100, 2**31  # the last block's
    gpu = EmulatedGpu(facts=replace(FACTS, multiprocessors=1 << 24), last_blocks=3)  # a block for each candidate
    rng = np.random.default_rng(7)
    last = rng.integers(0, 9, (100, 2)).astype(np.float32)
    X, D, hashes, half = vast((n, 2), np.float32), vast((n,), np.float64), vast((n,), np.uint64), vast((n,), np.float32)
    X[first:], D[first:], half[first:] = last, rng.integers(0, 40, 100), (last**2).sum(axis=1) / 2
    hashes[first:] = np.arange(100, dtype=np.uint64) << np.uint64(57)
    frame = Frame.of(np.zeros(2), np.full(2, 8.0), np.zeros(2, np.float32), np.inf)
    half[first:] *= np.float32(frame.scale**2)
    rounds = plusplus_cuda.Rounds(gpu, plusplus_cuda.Rows(X, None, 1.0, hashes, half, None, None, frame))
    largest = D[first:].max().reshape(1).view(np.uint64)
    high, low = rounds.parts(D, largest).view(np.int64)
    unit = 2.0 ** (np.frexp(D[first:].max())[1] - rounds.bits)
    expected = np.bincount(np.arange(100) << 3 & 1023, D[first:], 1024)
    np.testing.assert_array_equal((high + low * 2.0**-rounds.bits) * unit, expected)
    candidates = last[[3, 50, 77]]
    gains = [(D[first:] - np.minimum(D[first:], ((last - c) ** 2).sum(axis=1))).sum() for c in candidates]
    assert rounds.best(D, largest, candidates) == np.argmax(gains)
