"""Chunks of a stream on a CUDA device, against rows in memory: the same bits; on the emulator always."""

import numpy as np
import pytest
from emulator import EmulatedGpu

from gpukm import KMeans, MiniBatchKMeans, device_stream, placing, stream_source
from gpukm._arrays import to_numpy
from gpukm._rows import MadeRows
from gpukm.array_source import ArraySource
from gpukm.chunks import Chunks
from gpukm.device_source import DeviceSource
from gpukm.device_stream import DeviceStreamSource
from gpukm.kernels.engine import cuda_works
from gpukm.lloyd import lloyd

CAP = 8_000  # bytes, for a few chunks of the rows below


@pytest.fixture(params=["emulator", "gpu"])
def gpu(request, monkeypatch):
    """What device="cuda" means."""
    if request.param == "emulator":
        found = EmulatedGpu()
    elif not cuda_works():
        pytest.skip("no CUDA device")
    else:
        from gpukm.kernels._cuda import Gpu

        found = Gpu()
    monkeypatch.setattr(placing, "gpu", lambda number=None: found)
    return found


def rows(n, d, dtype, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, d)) * 20 + 100
    return np.ascontiguousarray(X.clip(0, 255).astype(dtype))


def made(X, pieces=7):
    return lambda: iter(np.array_split(X, pieces))


def stream(gpu, X, weights=None):
    return DeviceStreamSource(gpu, Chunks(MadeRows(made(X)), CAP // 2), lambda n: weights, max_memory=CAP)


@pytest.mark.parametrize(
    ("n", "d", "k", "dtype", "weighted"),
    [
        (1500, 3, 5, np.float32, False),
        (1500, 3, 5, np.uint8, True),
        (700, 20, 40, np.float32, True),
        (700, 20, 40, np.float16, False),
        (601, 5, 7, np.float64, True),
        (601, 5, 7, np.int16, False),
        (1, 2, 1, np.float32, False),
    ],
)
def test_lloyd_has_the_bits_of_memory(gpu, n, d, k, dtype, weighted):
    """Every question of the loop: steps, inertia, sizes; an empty cluster to relocate."""
    X = rows(n, d, dtype)
    weights = np.random.default_rng(1).integers(0, 4, n).astype(np.float64) + 0.25 if weighted else None
    source = stream(gpu, X, weights)
    plain = ArraySource(X, weights, dtype=source.dtype)
    start = plain.rows(np.arange(k))
    if k > 1:
        start[-1] = 10_000  # far from all rows
    source.look()
    expected, found = (lloyd(each, start, max_iter=5, tol=0.0) for each in (plain, source))
    for name in ("centroids", "labels", "withinss", "sizes"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    for one, other in zip(found.history, expected.history, strict=True):
        assert (one.inertia, one.shift, one.changed, one.relocated) == (
            other.inertia,
            other.shift,
            other.changed,
            other.relocated,
        )
    assert (found.inertia, source.stats().totss) == (expected.inertia, plain.stats().totss)
    np.testing.assert_array_equal(source.assign(start), plain.assign(start))
    for one, other in zip(source.nearest(start), plain.nearest(start), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random"])
def test_estimators(gpu, init, tmp_path):
    """Files and functions with device="cuda": the model of memory, its answers too."""
    X = rows(3000, 4, np.float32)
    np.save(tmp_path / "rows.npy", X)
    options = {"init": init, "n_init": 1, "random_state": 0, "max_iter": 6}
    plain = KMeans(6, **options).fit(X)
    for given in (made(X), tmp_path / "rows.npy"):
        model = KMeans(6, device="cuda", max_memory=CAP, **options).fit(given)
        assert model.engine_ == "cuda"
        np.testing.assert_array_equal(model.cluster_centers_, plain.cluster_centers_)
        np.testing.assert_array_equal(model.labels_, plain.labels_)
        assert (model.inertia_, model.n_iter_, model.totss_) == (plain.inertia_, plain.n_iter_, plain.totss_)
        np.testing.assert_array_equal(model.predict(given), plain.labels_)
        assert model.score(given) == plain.score(X)


def test_mini_batches(gpu):
    """Batches are few rows: they are computed with on the host."""
    X = rows(3000, 4, np.float32)
    options = {"batch_size": 64, "max_iter": 3, "random_state": 0}
    model = MiniBatchKMeans(6, device="cuda", max_memory=CAP, **options).fit(made(X))
    np.testing.assert_array_equal(model.cluster_centers_, MiniBatchKMeans(6, **options).fit(X).cluster_centers_)


def test_a_checkpoint_goes_on_anywhere(gpu, tmp_path):
    """Begun on a device, ended on the host."""
    X = rows(2000, 3, np.float32)
    options = {"init": X[:4], "max_memory": CAP, "tol": 0, "checkpoint": tmp_path / "run.npz", "checkpoint_every": 0}

    def stop(iteration):
        if iteration.iteration == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        KMeans(4, max_iter=9, device="cuda", callback=stop, **options).fit(made(X))
    plain = KMeans(4, init=X[:4], tol=0, max_iter=9).fit(X)
    again = KMeans(4, max_iter=9, **options).fit(made(X))
    assert again.n_iter_ == plain.n_iter_ > 3
    np.testing.assert_array_equal(again.cluster_centers_, plain.cluster_centers_)


def test_a_step_that_breaks_off_leaves_nothing_behind(gpu):
    """The next step begins with all rows."""
    X = rows(2000, 3, np.float32)
    source, plain = stream(gpu, X), ArraySource(X, dtype=np.float32)
    source.step(X[:4])
    launch, count = gpu.launch, [0]

    def fails(*args, **kwargs):
        count[0] += 1
        if count[0] == 6:
            raise RuntimeError("the device is gone")
        return launch(*args, **kwargs)

    gpu.launch = fails
    with pytest.raises(RuntimeError, match="is gone"):
        source.step(X[4:8])
    del gpu.launch
    np.testing.assert_array_equal(source.step(X[4:8]).sums.means(), plain.step(X[4:8]).sums.means())
    np.testing.assert_array_equal(source.labels, plain.labels)


def test_answers_of_a_device_are_brought_to_the_host(gpu, monkeypatch):
    """A GPU's arrays do not go into those of the host by themselves, as the emulator's do."""

    class There:
        def __init__(self, array):
            self.array = array

    X = rows(2000, 3, np.float32)
    source, plain = stream(gpu, X), ArraySource(X, dtype=np.float32)
    assign = DeviceSource.assign
    monkeypatch.setattr(DeviceSource, "assign", lambda self, C: There(assign(self, C)))
    for module in (device_stream, stream_source):
        monkeypatch.setattr(module, "to_numpy", lambda a: to_numpy(a.array if isinstance(a, There) else a))
    np.testing.assert_array_equal(source.assign(X[:4]), plain.assign(X[:4]))
    for one, other in zip(source.labelled(X[:4]), plain.labelled(X[:4]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_memory_map_goes_whole_where_there_is_room(gpu, tmp_path, monkeypatch):
    """Else a chunk at a time."""
    X = rows(3000, 4, np.float32)
    np.save(tmp_path / "rows.npy", X)
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    sizes = []
    to_device = gpu.to_device
    monkeypatch.setattr(gpu, "to_device", lambda array: sizes.append(array.nbytes) or to_device(array))
    models = []
    for free in (1 << 30, 2 * X.nbytes - 1):
        monkeypatch.setattr(type(gpu), "free_bytes", free)
        models.append(KMeans(3, init=X[:3], device="cuda", max_memory=CAP, max_iter=2).fit(mapped))
        assert (max(sizes) >= X.nbytes) == (free == 1 << 30)
        sizes.clear()
    np.testing.assert_array_equal(models[0].labels_, models[1].labels_)
