"""Every kernel of the library once on the emulator: as it is, and under sanitizers and with planted mistakes."""

from dataclasses import replace

import numpy as np
import pytest
from emulator import FACTS, EmulatedGpu, build

from gpukm.array_source import ArraySource
from gpukm.device_source import DeviceSource
from gpukm.kernels.arrange_cuda import BITS, arranged
from gpukm.lloyd import lloyd
from gpukm.seeding import seed

build.require()
CASES = {  # n, d, k, dtype, weighted, compute capability
    "one kernel": (300, 3, 5, np.uint8, False, 90),
    "one kernel, boxes": (600, 2, 70, np.float32, True, 90),
    "tensor cores": (140, 19, 70, np.float32, False, 90),
    "tensor cores, float64": (70, 40, 5, np.float64, True, 90),
    "tensor cores, a far row": (140, 17, 66, np.float32, False, 90),
    "float32 cores": (140, 18, 66, np.float32, True, 75),
}
SANITIZED = {"one kernel, boxes", "tensor cores, float64"}  # each compiles some ten files anew


@pytest.mark.parametrize("case", [pytest.param(c, marks=[pytest.mark.sanitized] * (c in SANITIZED)) for c in CASES])
def test_all_kernels_agree_with_the_reference(case):
    """Statistics, seeds, iterations with and without the host, distances, predictions."""
    n, d, k, dtype, weighted, arch = CASES[case]
    rng = np.random.default_rng(len(case))
    X = rng.integers(0, 9, (n, d)).astype(dtype) if dtype == np.uint8 else rng.normal(50, 2, (n, d)).astype(dtype)
    X[n // 2 : n // 2 + 9] = X[3]  # copies, which tie
    X = X[np.lexsort(X.T[:2])]  # so that rows of a block lie near each other
    if "far" in case:
        X[-1] = 1e7  # beside which fp16 would take the others for zero
    weights = rng.random(n) if weighted else None
    compute = np.float64 if dtype == np.float64 else np.float32
    reference = ArraySource(X, weights, dtype=compute)
    gpu = EmulatedGpu(facts=replace(FACTS, arch=arch, multiprocessors=1))  # ThreadSanitizer bears few blocks
    device = DeviceSource(gpu, X, weights, dtype=compute)
    expected, found = reference.stats(), device.stats()
    for name in ("minimum", "maximum", "mean", "total_weight", "totss"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    few = min(k, 6)  # rounds cost ThreadSanitizer a second each
    chosen = seed(reference, few, "k-means++", np.random.default_rng(1))[1]
    np.testing.assert_array_equal(seed(device, few, "k-means++", np.random.default_rng(1))[1], chosen)
    start = seed(reference, k, "k-means++", np.random.default_rng(1))[0]
    start[-1], start[-2] = start[0], start[-2] + 1000  # one that ties, one that gets no row
    for options in ({}, {"callback": lambda step: False}):  # launched ahead, and one at a time
        reference.reset()
        device.reset()
        one, other = (lloyd(source, start, max_iter=3, tol=0.0, **options) for source in (reference, device))
        np.testing.assert_array_equal(other.labels, one.labels)
        np.testing.assert_array_equal(other.centroids, one.centroids)
        assert other.inertia == one.inertia and [s.changed for s in other.history] == [s.changed for s in one.history]
        np.testing.assert_allclose([s.inertia for s in other.history], [s.inertia for s in one.history], rtol=1e-12)
        np.testing.assert_allclose([s.shift for s in other.history], [s.shift for s in one.history], rtol=1e-12)
    np.testing.assert_array_equal(device.distances(start), reference.distances(start))
    np.testing.assert_array_equal(device.assign(start), reference.assign(start))
    np.testing.assert_array_equal(
        device.own_distances(start, device.labels), reference.own_distances(start, reference.labels)
    )


def test_rows_along_a_line_are_put_in_its_order():
    """The greatest value, which ends the last cell, is in it."""
    X = np.random.default_rng(0).normal(size=(700, 1)).astype(np.float32)
    low, high = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
    rows, order = arranged(EmulatedGpu(), X, low, high)
    np.testing.assert_array_equal(np.sort(order), np.arange(len(X)))
    np.testing.assert_array_equal(rows, X[order])
    assert np.all(np.diff(np.minimum((rows[:, 0] - low) * (2.0**BITS / (high - low)), 2**BITS - 1).astype(int)) >= 0)
