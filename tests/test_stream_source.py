"""StreamSource: the same bits as in memory, whatever the rows come from and however they are cut."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukm import KMeans, open_rows
from gpukm._rows import MadeRows, SlicedRows
from gpukm._validation import check_sample_weight
from gpukm.array_source import ArraySource
from gpukm.chunks import Chunks
from gpukm.kernels.engine import cuda_works
from gpukm.readers import as_reader
from gpukm.seeding import INITS, seed
from gpukm.stream_source import StreamSource

SMALL = 1 << 15  # bytes of memory, so that the data take many chunks


@pytest.fixture(autouse=True)
def no_thread_stays():
    """Whatever a test does, the reading threads are joined afterwards."""
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name == "gpukm-ahead"]


def blobs(n=2000, d=5, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) + 4 * rng.integers(0, 4, (n, 1))).astype(dtype)


def cut(X, sizes):
    """A function that makes blocks of X of these sizes, over and over."""

    def make():
        start = number = 0
        while start < len(X):
            stop = start + sizes[number % len(sizes)]
            yield X[start:stop]
            start, number = stop, number + 1

    return make


def stream(X, memory=SMALL, sizes=(7, 501, 64), weight=None, **options):
    weigh = (lambda n: check_sample_weight(weight, n)) if weight is not None else (lambda n: None)
    return StreamSource(Chunks(MadeRows(cut(X, sizes)), memory // 2), weigh, max_memory=memory, **options)


def bits(model):
    return (
        model.cluster_centers_.tobytes(),
        model.labels_.tobytes(),
        np.float64(model.inertia_).tobytes(),
        model.n_iter_,
        np.float64(model.totss_).tobytes(),
        model.withinss_.tobytes(),
        model.size_.tobytes(),
        [(i.inertia, i.shift, i.changed, i.relocated) for i in model.history_],
    )


def everywhere(X, folder):
    """X as each kind of thing that holds rows outside memory."""
    rows = np.ascontiguousarray(X)
    np.save(folder / "X.npy", rows)
    np.save(folder / "F.npy", np.asfortranarray(X))
    np.savez(folder / "one.npz", X=rows)
    np.savez_compressed(folder / "two.npz", X=rows, y=np.arange(3))
    places = {
        "path": folder / "X.npy",
        "text": str(folder / "X.npy"),
        "fortran": folder / "F.npy",
        "memmap": np.load(folder / "X.npy", mmap_mode="r"),
        "memmap-strided": np.load(folder / "X.npy", mmap_mode="c")[:, :],
        "npz": folder / "one.npz",
        "npz-compressed": open_rows(folder / "two.npz", array="X"),
        "odd-blocks": cut(X, (1, 997, 30)),
        "huge-blocks": cut(X, (len(X),)),
        "lists": cut(X.tolist() if X.dtype == np.float64 else X, (500,)),
        "columns": open_rows(folder / "X.npy", columns=f"1-{X.shape[1]}"),
    }
    names = [f"c{j}" for j in range(X.shape[1])]
    pa = pytest.importorskip("pyarrow")
    feather, parquet = pytest.importorskip("pyarrow.feather"), pytest.importorskip("pyarrow.parquet")
    table = pa.table({name: X[:, j] for j, name in enumerate(names)})
    parquet.write_table(table, folder / "X.parquet", row_group_size=700)
    feather.write_feather(table, folder / "X.arrow", chunksize=333)
    places |= {"parquet": folder / "X.parquet", "arrow": folder / "X.arrow"}
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "X.h5", "w") as file:
        file.create_dataset("group/X", data=X, chunks=(256, X.shape[1]))
    places |= {"hdf5": folder / "X.h5"}
    zarr = pytest.importorskip("zarr")
    zarr.save_array(str(folder / "X.zarr"), X)
    group = zarr.open_group(str(folder / "G.zarr"), mode="w")
    group.create_array("a", data=X, chunks=(100, X.shape[1]))
    group.create_array("b", data=X[:5])
    places |= {
        "zarr": folder / "X.zarr",
        "zarr-group": open_rows(folder / "G.zarr", array="a"),
        "zarr-array": group["a"],
    }
    return places


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_one_model_from_any_place(engine, dtype, tmp_path):
    """Array, memory map, files of every format and iterators in odd blocks give the same bits."""
    X = blobs(dtype=dtype) if dtype != np.uint8 else np.random.default_rng(1).integers(0, 256, (2000, 5), dtype)
    wanted = bits(KMeans(4, random_state=3, max_iter=6).fit(X))
    for name, place in everywhere(X, tmp_path).items():
        model = KMeans(4, random_state=3, max_iter=6, max_memory=SMALL).fit(place)
        assert bits(model) == wanted, name
        assert model.engine_ == engine


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("weighted", [False, True])
def test_every_start_draws_the_same_rows(engine, init, weighted):
    """Seeding over a stream chooses what seeding in memory chooses, with and without weights and repeated rows."""
    X = np.repeat(blobs(700), 3, axis=0)
    weight = np.random.default_rng(0).integers(0, 4, len(X)).astype(float) if weighted else None
    wanted = seed(ArraySource(X, weight, dtype=np.float32), 9, init, np.random.default_rng(5))
    found = seed(stream(X, weight=weight), 9, init, np.random.default_rng(5))
    np.testing.assert_array_equal(found[0], wanted[0])
    if wanted[1] is not None:
        np.testing.assert_array_equal(found[1], wanted[1])


@settings(max_examples=50)
@given(data=st.data())
def test_any_cutting_agrees(data):
    """Statistics, steps, inertia, far rows and rows by index do not depend on blocks, chunks, threads or memory."""
    n, d, k = data.draw(st.integers(1, 120)), data.draw(st.integers(1, 9)), data.draw(st.integers(1, 6))
    dtype = data.draw(st.sampled_from([np.float32, np.float64, np.int16, np.float16, ">f4", bool]))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    X = (rng.integers(-3, 4, (n, d)) * data.draw(st.sampled_from([1, 0.25]))).astype(dtype)
    weight = rng.integers(1, 4, n) / 2 if data.draw(st.booleans()) else None
    sizes = data.draw(st.lists(st.integers(1, n + 3), min_size=1, max_size=3))
    memory, threads = data.draw(st.integers(1, 4000)), data.draw(st.integers(1, 3))
    compute = np.float64 if np.dtype(dtype) == np.float64 else np.float32
    wanted = ArraySource(X, weight, dtype=compute)
    found = stream(X, memory, sizes, weight, n_threads=threads)
    assert found.dtype == compute and found.n_samples == n
    for name in ("minimum", "maximum", "mean", "total_weight", "totss"):
        np.testing.assert_array_equal(getattr(found.stats(), name), getattr(wanted.stats(), name))
    for _ in range(2):
        centroids = rng.integers(-3, 4, (k, d)).astype(compute)
        one, other = wanted.step(centroids), found.step(centroids)
        assert one[1:] == other[1:]
        np.testing.assert_array_equal(one.sums.means(), other.sums.means())
        np.testing.assert_array_equal(found.labels, wanted.labels)
        np.testing.assert_array_equal(found.assign(centroids), wanted.assign(centroids))
        assert found.inertia(centroids, found.labels)[1] == wanted.inertia(centroids, wanted.labels)[1]
        far = [(row.row.tolist(), row.indices.tolist()) for row in wanted.farthest(centroids, 3)]
        assert [(row.row.tolist(), row.indices.tolist()) for row in found.farthest(centroids, 3)] == far
    indices = rng.integers(0, n, 40)
    np.testing.assert_array_equal(found.rows(indices), wanted.rows(indices))


@given(data=st.data())
def test_rows_by_index_from_readers_that_seek(data):
    """Rows asked for in any order, repeated or many, come back in that order."""
    n, d = data.draw(st.integers(1, 300)), data.draw(st.integers(1, 3))
    X = np.arange(n * d, dtype=np.int32).reshape(n, d)
    chunks = Chunks(SlicedRows(X, "X"), data.draw(st.integers(1, 3000)))
    assert sum(len(chunk) for _, chunk in chunks) == n
    indices = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=60)), np.int64)
    np.testing.assert_array_equal(chunks.rows(indices), X[indices])


def test_empty_clusters_duplicates_and_offsets(engine):
    """Relocation to far rows, ties and a huge offset: the same as in memory."""
    X = np.concatenate([blobs(900, 3), np.full((50, 3), 1e6), np.zeros((60, 3))]).astype(np.float32) + np.float32(1e4)
    start = np.full((5, 3), 1e9, np.float32)
    start[0] = X[0]
    wanted = KMeans(5, init=start, n_init=1).fit(X)
    assert sum(i.relocated for i in wanted.history_)
    assert bits(KMeans(5, init=start, n_init=1, max_memory=SMALL).fit(cut(X, (77,)))) == bits(wanted)


def test_weights_go_with_the_rows():
    """sample_weight is an array for the whole stream; weight 2 is a repeated row here, too."""
    X = blobs(800)
    weight = np.random.default_rng(2).integers(1, 4, len(X))
    found = KMeans(4, random_state=0, max_memory=SMALL).fit(cut(X, (100,)), sample_weight=weight)
    repeated = KMeans(4, random_state=0, max_memory=SMALL).fit(cut(np.repeat(X, weight, axis=0), (33,)))
    np.testing.assert_array_equal(found.cluster_centers_, repeated.cluster_centers_)
    assert found.inertia_ == repeated.inertia_
    with pytest.raises(ValueError, match="one weight for each row"):
        KMeans(4, max_memory=SMALL).fit(cut(X, (100,)), sample_weight=weight[1:])


def test_blocks_of_several_dtypes_are_one_array():
    """As numpy.concatenate has it: float64 where one block asks for it; integers beyond it are refused."""
    X = blobs(900).astype(np.int16)
    later = X[600:] + 0.1
    wanted = KMeans(3, random_state=0).fit(np.concatenate([X[:600], later]))
    found = KMeans(3, random_state=0, max_memory=SMALL).fit(lambda: iter([X[:600], X[:0], later]))
    assert bits(found) == bits(wanted) and found.cluster_centers_.dtype == np.float64
    large = np.full((4, 5), 2**53 + 1)
    with pytest.raises(ValueError, match="beyond 2"):
        KMeans(3, max_memory=SMALL).fit(lambda: iter([later, large]))


def test_a_maker_may_fill_its_block_again():
    """Blocks are copied before the next one is asked for."""
    X = blobs(1000)

    def make():
        block = np.empty((50, 5), np.float32)
        for start in range(0, 1000, 50):
            block[:] = X[start : start + 50]
            yield block

    assert bits(KMeans(4, random_state=1, max_memory=SMALL).fit(make)) == bits(KMeans(4, random_state=1).fit(X))


def test_size_decides_and_small_files_are_read(tmp_path):
    """Up to max_memory rows are brought into memory; a small memory map is used as it is."""
    X = blobs(200)
    np.save(tmp_path / "X.npy", X)
    for place in (tmp_path / "X.npy", np.load(tmp_path / "X.npy", mmap_mode="r")):
        assert bits(KMeans(3, random_state=0).fit(place)) == bits(KMeans(3, random_state=0).fit(X))
    from gpukm._opened import open_rows_of

    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert open_rows_of(mapped, 1 << 20)[0] is mapped
    assert isinstance(open_rows_of(mapped, 1000)[0], Chunks)
    assert isinstance(open_rows_of(tmp_path / "X.npy", 1 << 20)[0], np.ndarray)


def test_column_names_come_from_the_file(tmp_path):
    """A Parquet file's names are feature_names_in_, and are compared when predicting."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    X = blobs(2000, 2)
    parquet.write_table(pa.table({"a": X[:, 0], "b": X[:, 1], "t": ["x"] * 2000}), tmp_path / "X.parquet")
    both = open_rows(tmp_path / "X.parquet", columns="a,b")
    model = KMeans(3, random_state=0, max_memory=1 << 12).fit(both)
    assert list(model.feature_names_in_) == ["a", "b"]
    np.testing.assert_array_equal(model.predict(both), model.labels_)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(open_rows(tmp_path / "X.parquet", columns=["b", "a"]))
    with pytest.raises(ValueError, match="column 't' holds string, not numbers"):
        KMeans(3).fit(tmp_path / "X.parquet")


def test_a_callable_init_gets_what_was_passed():
    """For rows outside memory, init(X, k, random_state) gets X as the user gave it."""
    X, make = blobs(), cut(blobs(), (100,))
    seen = []

    def init(rows, n_clusters, random_state):
        seen.append(rows)
        return X[:n_clusters]

    KMeans(3, init=init, n_init=1, max_memory=SMALL, max_iter=2).fit(make)
    assert seen == [make]


def test_n_init_over_a_stream():
    """Several runs: the generator and the choice among them are those of the fit in memory."""
    X = blobs(600)
    wanted = KMeans(5, init="random", n_init=3, random_state=7).fit(X)
    found = KMeans(5, init="random", n_init=3, random_state=7, max_memory=SMALL).fit(cut(X, (100,)))
    assert bits(found) == bits(wanted)


def test_what_is_no_reader():
    """Arrays and frames are not read in blocks; iterators, which run dry, are refused with the way out."""
    assert as_reader(np.zeros((3, 2))) is None and as_reader([[1.0]]) is None
    with pytest.raises(TypeError, match="read once only.*Pass the function"):
        KMeans(2).fit(iter([np.zeros((3, 2))]))
    with pytest.raises(TypeError, match="generator, which can be read once only"):
        KMeans(2).fit(np.zeros((3, 2)) for _ in range(3))


@pytest.mark.skipif(cuda_works(), reason="there is a CUDA device")
def test_without_a_gpu_cuda_is_refused():
    """device="cuda" with rows larger than max_memory says that there is none; the CPU does not step in silently."""
    with pytest.raises((ValueError, ImportError), match=r"no CUDA device|gpukm\[cuda"):
        KMeans(3, device="cuda", max_memory=SMALL).fit(cut(blobs(), (100,)))
    model = KMeans(3, random_state=0).fit(blobs()).set_params(device="cuda", max_memory=SMALL)
    with pytest.raises((ValueError, ImportError), match=r"no CUDA device|gpukm\[cuda"):
        model.score(cut(blobs(), (100,)))


# -- memory ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's count of resident memory")
@pytest.mark.parametrize("kind", ["path", "memmap"])
def test_peak_memory_stays_under_the_cap(kind, tmp_path):
    """Fit, predict to a file and score of 6 times max_memory bytes: what is resident grows by less than max_memory."""
    code = f"""
import re, sys
import numpy as np
from gpukm import KMeans
def status(field):
    return int(re.search(field + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1]) << 10
path, cap = {str(tmp_path / "X.npy")!r}, 24 << 20
rng = np.random.default_rng(0)
X = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(6 * cap // 2048, 512))
for start in range(0, len(X), 1024):
    X[start:start + 1024] = rng.random(X[start:start + 1024].shape, np.float32)
del X
rows = rng.random((4000, 512), np.float32)
KMeans(5, random_state=0, max_iter=2).fit(rows).score(rows)  # loads the code that is needed
del rows
place = path if {kind!r} == "path" else np.load(path, mmap_mode="r")
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
before = status("VmRSS")
model = KMeans(5, random_state=0, max_iter=3, max_memory=cap).fit(place)
labels = model.predict(place, out=path + ".labels.npy")
assert (labels == model.labels_).all() and model.score(place) == -model.inertia_
print(status("VmHWM") - before, cap)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    grown, cap = map(int, done.stdout.split())
    assert 0 < grown < cap
