"""Every CUDA kernel on few rows, against the reference to the bit: small enough for the sanitizers and the mutants."""

from dataclasses import replace

import emulator
import numpy as np
import pytest
from emulator import FACTS, EmulatedGpu

from gpukm.array_source import ArraySource
from gpukm.device_source import DeviceSource
from gpukm.lloyd import lloyd
from gpukm.seeding import seed

emulator.build.require()
SANITIZED = {"fused", "tensor"}  # each compiles some ten files anew

CASES = {  # which kernels: n, d, k, dtype, weighted, architecture
    "fused": (150, 3, 5, np.float32, True, 90),
    "fused-bytes": (140, 2, 9, np.uint8, False, 75),
    "tiles": (70, 19, 6, np.float32, True, 75),
    "tensor": (67, 18, 5, np.float32, False, 90),
    "float64": (45, 35, 4, np.float64, True, 75),
}


def rows(n, d, dtype, rng):
    """Rows on a coarse grid, some of them equal, so that labels tie; columns of different sizes."""
    X = rng.integers(0, 12, (n, d)) if dtype == np.uint8 else rng.integers(-9, 10, (n, d)) * 0.37 + 100
    X[n // 2] = X[0]
    return X.astype(dtype)


@pytest.mark.parametrize("seed_of_threads", [0, 1])
@pytest.mark.parametrize("case", [pytest.param(c, marks=[pytest.mark.sanitized] * (c in SANITIZED)) for c in CASES])
def test_a_small_run_has_the_bits_of_the_reference(case, seed_of_threads):
    """Statistics, seeds, three iterations, inertia, distances; a centroid that ties with another, one that is empty."""
    n, d, k, dtype, weighted, arch = CASES[case]
    rng = np.random.default_rng(0)
    X = rows(n, d, dtype, rng)
    weights = rng.random(n) * 3 if weighted else None
    compute = np.float64 if dtype == np.float64 else np.float32
    gpu = EmulatedGpu(replace(FACTS, arch=arch, multiprocessors=1), seed=1000 * seed_of_threads)
    reference, device = ArraySource(X, weights, dtype=compute), DeviceSource(gpu, X, weights, dtype=compute)
    expected, found = reference.stats(), device.stats()
    for name in ("minimum", "maximum", "mean", "total_weight", "totss"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    start = seed(reference, k, "k-means++", np.random.default_rng(2))[0]
    np.testing.assert_array_equal(seed(device, k, "k-means++", np.random.default_rng(2))[0], start)
    start[-1] = start[0]
    start[-2] += 1000
    expected, found = (lloyd(source, start, max_iter=3, tol=0.0) for source in (reference, device))
    np.testing.assert_array_equal(gpu.to_host(found.labels), expected.labels)
    for name in ("centroids", "withinss", "sizes"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    assert (found.inertia, found.n_iter) == (expected.inertia, expected.n_iter)
    np.testing.assert_array_equal(gpu.to_host(device.distances(found.centroids)), reference.distances(found.centroids))
    used = {kernel.file for kernel in gpu.launched}
    assert {"columns", "potential", "inertia", "distances"} <= used
    assert ({"lloyd_step"} if case.startswith("fused") else {"assign", "accumulate"}) <= used
    assert ("assign_mma" in used) == (case == "tensor")


@pytest.mark.sanitized
def test_rows_that_a_filter_leaves_open_are_settled():
    """Centroids a rounding apart: fp16 leaves nearly all rows open, float32 many; two rows of three are copies."""
    rng = np.random.default_rng(3)
    X = np.repeat(rng.normal(size=(20, 18)).astype(np.float32), 3, axis=0)
    start = np.concatenate([X[:6:3], X[:6:3] * np.float32(1 + 2.0**-22)])
    gpu = EmulatedGpu(replace(FACTS, multiprocessors=1))
    expected, found = (
        lloyd(s(X), start, max_iter=2, tol=0.0) for s in (source(ArraySource), source(DeviceSource, gpu))
    )
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.centroids, expected.centroids)
    assert "settle" in {kernel.file for kernel in gpu.launched}
    assert expected.history[0].undecided


def source(kind, *first):
    """Makes a float32 source of a kind."""
    return lambda X: kind(*first, X, None, dtype=np.float32)
