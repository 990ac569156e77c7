"""device="auto": a fit goes to a GPU only where it is long, and the GPU faster, roomy and right; on the emulator."""

import numpy as np
import pytest
from emulator import EmulatedGpu

from gpukm import KMeans, placing, trial
from gpukm.device_source import DeviceSource


def blobs(n=600, d=3):
    """Rows about 5 centres, float32."""
    rng = np.random.default_rng(n)
    return (rng.integers(0, 5, (n, 1)) * 10 + rng.normal(size=(n, d))).astype(np.float32)


@pytest.fixture
def gpu(monkeypatch):
    """An emulated device that CuPy would find, which any fit is long enough for, and which may be as slow as it is."""
    gpu = EmulatedGpu()
    monkeypatch.setattr(placing, "cuda_works", lambda: True)
    monkeypatch.setattr(placing, "gpu", lambda number=None: gpu)
    monkeypatch.setattr(trial, "LEAST", 0)
    monkeypatch.setattr(trial, "MARGIN", 0.0)
    return gpu


def fitted(X, **options):
    """A fit with the same start."""
    return KMeans(5, random_state=0, max_iter=8, **options).fit(X)


@pytest.mark.parametrize("weighted", [False, True])
def test_a_fit_that_is_faster_there_goes_to_the_gpu(gpu, weighted):
    """And gives NumPy arrays with the bits of the CPU."""
    X = blobs()
    weights = np.random.default_rng(0).random(len(X)) if weighted else None
    here = KMeans(5, random_state=0, device="cpu").fit(X, sample_weight=weights)
    there = KMeans(5, random_state=0).fit(X, sample_weight=weights)
    assert there.engine_ == "cuda" and here.engine_ != "cuda"
    assert isinstance(there.labels_, np.ndarray) and isinstance(there.cluster_centers_, np.ndarray)
    for name in ("labels_", "cluster_centers_", "inertia_", "n_iter_"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name), name)
    np.testing.assert_array_equal(there.predict(X), here.labels_)


def test_a_slower_gpu_is_left_alone(gpu, monkeypatch):
    """The emulator is hundreds of times slower than the CPU."""
    monkeypatch.setattr(trial, "MARGIN", 2.0)
    assert fitted(blobs()).engine_ != "cuda"


@pytest.mark.parametrize("options", [{"device": "cpu"}, {"algorithm": "macqueen"}, {"refine": "random-swap"}])
def test_what_has_to_stay_on_the_cpu_asks_no_gpu(gpu, monkeypatch, options):
    """Where the user says so, and searches that move one row at a time."""
    monkeypatch.setattr(placing, "faster_on", None)  # calling it would fail
    assert fitted(blobs(), **options).engine_ != "cuda"


def test_a_short_fit_does_not_look_for_a_gpu(monkeypatch):
    """Looking for one loads CuPy, which takes a second."""
    monkeypatch.setattr(placing, "cuda_works", None)  # calling it would fail
    assert fitted(blobs()).engine_ != "cuda"
    X, many = np.zeros((1, 1), np.float32), 10**9
    source = placing.ArraySource(X, dtype=np.float32)
    source.n_samples = many
    monkeypatch.setattr(trial, "available_threads", lambda: 2)
    source.n_features = 9
    assert trial.worth_a_trial(source, 1000, 300) and not trial.worth_a_trial(source, many, 300)
    source.n_samples = 10**7
    assert trial.worth_a_trial(source, 1000, 300)
    source.n_features = 4  # of which the CPU compares each row with few
    assert not trial.worth_a_trial(source, 1000, 300)


def test_rows_that_its_memory_does_not_hold_stay(gpu, monkeypatch):
    """They and what a fit needs besides: twice the rows."""
    X = blobs()
    monkeypatch.setattr(EmulatedGpu, "free_bytes", 2 * X.nbytes - 2, raising=False)
    assert fitted(X).engine_ != "cuda"


def test_a_gpu_that_finds_something_else_is_not_trusted(gpu, monkeypatch):
    """A warning says so, and the CPU does the fit."""
    step = DeviceSource.step

    def wrong(source, centroids):
        result = step(source, centroids)
        source._labels[7] = (source._labels[7] + 1) % len(centroids)
        return result

    monkeypatch.setattr(DeviceSource, "step", wrong)
    with pytest.warns(UserWarning, match="gave other labels or sums"):
        model = fitted(blobs())
    assert model.engine_ != "cuda"


def test_a_gpu_that_fails_is_left_alone(gpu, monkeypatch):
    """As with a driver that is too old for CuPy."""

    def failing(*arguments):
        raise RuntimeError("CUDA driver version is insufficient")

    monkeypatch.setattr(DeviceSource, "step", failing)
    with pytest.warns(UserWarning, match=r"failed at a trial: CUDA driver version"):
        model = fitted(blobs())
    assert model.engine_ != "cuda"
