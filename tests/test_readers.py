"""Readers, chunks and reading ahead: what is wrong with the rows is said, and no thread, file or hang is left."""

import os
import threading
import time
import zipfile

import numpy as np
import pytest

from gpukm import KMeans, open_rows
from gpukm._ahead import ahead
from gpukm._rows import Buffers, CastRows, MadeRows, SlicedRows
from gpukm.chunks import Chunks
from gpukm.readers import as_reader

MEMORY = 1 << 13


@pytest.fixture(autouse=True)
def no_thread_stays():
    """Whatever a test does, the reading threads are joined afterwards."""
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name == "gpukm-ahead"]


def rows(n=1000, d=4):
    return np.random.default_rng(0).normal(size=(n, d)).astype(np.float32)


def fit(place, **options):
    return KMeans(3, random_state=0, max_memory=MEMORY, **options).fit(place)


def blocks_of(X, size=100):
    return [X[start : start + size] for start in range(0, len(X), size)]


# -- reading ahead -----------------------------------------------------------------------------------------


def test_items_come_in_order_and_only_a_few_ahead():
    """All items arrive; no more than `depth` wait while one is made and one is in use."""
    made = []

    def make():
        for number in range(20):
            made.append(number)
            yield number

    for number in ahead(make(), depth=2):
        assert len(made) <= number + 4
        time.sleep(0.001)
    assert made == list(range(20)) and number == 19
    assert list(ahead(iter([]))) == []


def test_an_exception_arrives_after_the_items_before_it():
    """Raised where the items are used, as the same object."""
    error = OSError("the disk is gone")

    def make():
        yield 1
        raise error

    seen = []
    with pytest.raises(OSError) as raised:
        seen.extend(ahead(make()))
    assert raised.value is error


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_left_early_the_thread_is_joined_and_the_iterator_closed(taken):
    """Closing the generator stops the thread, even one that waits for room."""
    closed = []

    def make():
        try:
            yield from range(1000)
        finally:
            closed.append(threading.current_thread().name)

    items = ahead(make())
    for _ in range(taken):
        next(items)
    items.close()
    assert closed == (["gpukm-ahead"] if taken else [])


def test_buffers_go_round():
    """An array that was given back is filled again, by its beginning where fewer rows are asked for."""
    buffers = Buffers()
    first = buffers.take(10, 3, np.dtype(np.float32))
    second = buffers.take(10, 3, np.dtype(np.float32))
    assert not np.shares_memory(first, second)
    buffers.give_back(first[2:])
    assert not np.shares_memory(buffers.take(1000, 3, np.dtype(np.float64)), first)
    again = buffers.take(4, 3, np.dtype(np.float32))
    assert again.shape == (4, 3) and np.shares_memory(again, first)


# -- opening -----------------------------------------------------------------------------------------------


def test_options_and_names_that_do_not_fit(tmp_path):
    """Each error names the file, what is wrong, and what to do."""
    X = rows(20)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "flat.npy", X[:, 0])
    np.save(tmp_path / "text.npy", np.array([["a", "b"]]))
    np.save(tmp_path / "none.npy", X[:0])
    np.savez(tmp_path / "two.npz", a=X, b=X)
    np.savez(tmp_path / "order.npz", a=np.asfortranarray(X))
    KMeans(2, random_state=0).fit(X).save(tmp_path / "model.npz")
    (tmp_path / "x.csv").write_text("1,2\n")
    (tmp_path / "bad.npy").write_bytes(b"no")
    (tmp_path / "bad.npz").write_bytes(b"no")
    for name, options, error, match in (
        ("none-such.npy", {}, FileNotFoundError, "no such file"),
        ("x.csv", {}, ValueError, r"gpukm reads blocks of \.npy.*Text is read as a whole"),
        ("X.npy", {"array": "a"}, ValueError, "array has no meaning for a .npy file"),
        ("X.npy", {"columns": "5"}, ValueError, "positions are counted from 1 to 4"),
        ("flat.npy", {}, ValueError, r"has 1 dimension\(s\).*reshape"),
        ("text.npy", {}, ValueError, "is not one of numbers"),
        ("none.npy", {}, ValueError, "holds no numbers"),
        ("two.npz", {}, ValueError, "several arrays: a, b; choose one with array="),
        ("two.npz", {"array": "c"}, ValueError, "has no array 'c'; it holds a, b"),
        ("order.npz", {}, ValueError, "Fortran order.*save it again"),
        ("model.npz", {}, ValueError, "is a model saved by gpukm"),
        ("bad.npy", {}, ValueError, "not a .npy file"),
        ("bad.npz", {}, ValueError, "not an .npz file"),
    ):
        with pytest.raises(error, match=match) as raised:
            open_rows(tmp_path / name, **options)
        assert name in str(raised.value)
    with pytest.raises(IsADirectoryError):
        open_rows(_folder(tmp_path / "folder.npy"))
    assert open_rows(tmp_path / "two.npz", array="b").shape == (20, 4)
    assert "shape (20, 4), float32" in repr(open_rows(tmp_path / "X.npy"))


def _folder(path):
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [
        ("pyarrow", "x.parquet", "parquet"),
        ("pyarrow", "x.arrow", "parquet"),
        ("h5py", "x.h5", "hdf5"),
        ("zarr", "x.zarr", "zarr"),
    ],
)
def test_a_missing_package_is_named_with_its_command(package, name, extra, tmp_path, monkeypatch):
    """Each format says which extra of gpukm it needs."""
    monkeypatch.setitem(__import__("sys").modules, package, None)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ImportError, match=rf"needs {package}.*pip install 'gpukm\[{extra}\]'"):
        open_rows(tmp_path / name)


def test_files_of_other_formats_that_are_none(tmp_path):
    """A file that is not what its name says is named; so is one with nothing to read, or too much to choose from."""
    for package, name in (("pyarrow", "x.parquet"), ("pyarrow", "x.arrow"), ("h5py", "x.h5")):
        pytest.importorskip(package)
        (tmp_path / name).write_bytes(b"this is something else, and long enough")
        with pytest.raises(ValueError, match=rf"{name}: not an? \w+ file, or a damaged one"):
            open_rows(tmp_path / name)
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["a"], file["g/b"] = rows(), rows()
    with pytest.raises(ValueError, match="several arrays: a, g/b"):
        open_rows(tmp_path / "two.h5")
    assert open_rows(tmp_path / "two.h5", array="g/b", columns="2-3").shape == (1000, 2)
    zarr = pytest.importorskip("zarr")
    (tmp_path / "x.zarr").mkdir()
    with pytest.raises(ValueError, match="x.zarr: not a Zarr array or group"):
        open_rows(tmp_path / "x.zarr")
    zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    with pytest.raises(ValueError, match="holds no arrays"):
        open_rows(tmp_path / "g.zarr")


def test_parquet_with_gaps_and_mixed_types(tmp_path):
    """Columns of several types are float64; a missing value is an error that says where."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    n = 1000
    table = pa.table({"i": np.arange(n, dtype=np.int8), "f": np.linspace(0, 1, n, dtype=np.float32), "b": [True] * n})
    parquet.write_table(table, tmp_path / "mixed.parquet", row_group_size=100)
    reader = open_rows(tmp_path / "mixed.parquet")
    assert reader.dtype == np.float64 and reader.shape == (n, 3)
    X = np.column_stack([table.column(name).to_numpy() for name in table.column_names]).astype(np.float64)
    np.testing.assert_array_equal(np.concatenate([chunk.copy() for _, chunk in Chunks(reader, MEMORY)]), X)
    chunks = Chunks(reader, MEMORY)
    list(chunks)
    np.testing.assert_array_equal(chunks.rows(np.array([999, 0, 500, 500])), X[[999, 0, 500, 500]])
    gap = pa.table({"i": pa.array([*range(700), None, *range(99)], pa.int32()), "j": pa.array(range(800), pa.int32())})
    parquet.write_table(gap, tmp_path / "gap.parquet", row_group_size=64)
    with pytest.raises(ValueError, match="row 700, column 0"):
        fit(tmp_path / "gap.parquet")
    large = pa.table({"i": pa.array([2**60 + 1] * 800), "f": pa.array([0.5] * 800)})
    parquet.write_table(large, tmp_path / "large.parquet")
    with pytest.raises(ValueError, match="column 'i' cannot be read as double"):
        fit(tmp_path / "large.parquet")
    twice = pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], ["a", "a"])
    parquet.write_table(twice, tmp_path / "twice.parquet")
    with pytest.raises(ValueError, match="2 columns are called 'a'"):
        open_rows(tmp_path / "twice.parquet")


def test_a_cast_changes_the_dtype_of_the_blocks():
    """Values as astype gives them, by block."""
    X = rows().astype(np.float64)
    chunks = Chunks(CastRows(SlicedRows(X, "X"), np.float32), MEMORY)
    np.testing.assert_array_equal(np.concatenate([c.copy() for _, c in chunks]), X.astype(np.float32))


# -- faults ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named_by_its_row(value, tmp_path):
    """NaN in block 7: the row is counted from the beginning, in each kind of place."""
    X = rows()
    X[731, 2] = X[990, 0] = value
    np.save(tmp_path / "X.npy", X)
    for place in (lambda: iter(blocks_of(X)), tmp_path / "X.npy", np.load(tmp_path / "X.npy", mmap_mode="r")):
        with pytest.raises(ValueError, match="The first is at row 731, column 2"):
            fit(place)
        with pytest.raises(ValueError, match="The first is at row 731, column 2"):
            fit(rows(100)).predict(place)


def test_blocks_of_another_shape_or_kind(tmp_path):
    """Another number of columns, one dimension, text, no blocks at all: each is said, with the block's number."""
    X = blocks_of(rows())
    for wrong, match in (
        ([*X[:7], X[7][:, :3], *X[8:]], "block 7, which begins at row 700, has 3 columns, not 4"),
        ([*X[:2], X[2][:, 0]], "block 2 of X has shape"),
        ([*X[:2], [["a"] * 4]], "block 2 of X|could not convert"),
        ([], "gave no rows"),
        ([X[0][:0]], "gave no rows"),
        ([X[0][:, :0]], "0 feature"),
        ([X[0].astype(complex)], "Complex data"),
    ):
        with pytest.raises(ValueError, match=match):
            fit(lambda wrong=wrong: iter(wrong))
    with pytest.raises(TypeError, match="returned a int; it must return an iterator"):
        fit(lambda: 3)
    with pytest.raises(ValueError, match=r"has 3 columns, not 4"):
        fit(rows()).predict(lambda: iter([X[0][:, :3]]))


def test_an_iterator_that_raises(tmp_path):
    """Its own exception comes out, with a note on how far it got; in the first pass or a later one."""
    X = blocks_of(rows())
    for good_passes in (0, 1, 3):
        passes = []

        def make(good_passes=good_passes, passes=passes):
            passes.append(1)
            for number, block in enumerate(X):
                if number == 6 and len(passes) > good_passes:
                    raise ConnectionError("the network is gone")
                yield block

        with pytest.raises(ConnectionError, match="network") as raised:
            fit(make)
        assert raised.value.__notes__ == ["raised while X was read, after 600 rows"]


def test_other_rows_the_second_time():
    """Fewer, more or shuffled rows, and one iterator handed out twice, are noticed."""
    X = blocks_of(rows())
    for second, match in (
        (X[:-1], "gave only 900 rows, not 1000"),
        ([*X[:-1], X[-1][:-1]], "gave only 999 rows, not 1000"),
        ([*X[:-1], rows(200)], "gave (other rows than before from row|more than 1000 rows)"),
        ([*X, X[0]], "gave (other rows than before from row|more than 1000 rows)"),
        (X[::-1], "gave other rows than before from row 0 on"),
    ):
        given = [X]

        def make(given=given, second=second):
            return iter(given.pop() if given else second)

        with pytest.raises(ValueError, match=f"{match}.*same, in the same order"):
            fit(make)
    once = iter(X)
    with pytest.raises(ValueError, match="returned the same iterator twice"):
        fit(lambda: once)


def test_a_file_cut_short(tmp_path):
    """Before, or while it is read; as a path, a memory map or an archive: an error that names the file, no crash."""
    X = rows(4000)
    path = tmp_path / "X.npy"
    np.save(path, X)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ValueError, match="X.npy: its header promises .* bytes"):
        fit(path)
    path.write_bytes(whole)
    reader = open_rows(path)
    with pytest.raises(ValueError, match=r"X.npy: ends at row \d+ of 4000; it was cut short"):
        for start, _ in Chunks(reader, MEMORY):
            if start == 0:
                os.truncate(path, len(whole) // 2)
    with pytest.raises(ValueError, match="X.npy: was changed while it was in use"):
        list(Chunks(reader, MEMORY))
    path.write_bytes(whole)
    mapped = np.load(path, mmap_mode="r")

    def cut(iteration):
        os.truncate(path, len(whole) // 2)

    with pytest.raises(ValueError, match="X.npy: was cut short while it was in use, before row"):
        fit(mapped[5:, 1:], callback=cut)
    np.savez(tmp_path / "X.npz", X=X)
    content = (tmp_path / "X.npz").read_bytes()
    place = zipfile.ZipFile(tmp_path / "X.npz").infolist()[0].file_size // 2
    (tmp_path / "X.npz").write_bytes(content[:place] + b"?" + content[place + 1 :])
    with pytest.raises(ValueError, match="X.npz, array 'X': cannot be read .*the file is damaged"):
        fit(tmp_path / "X.npz")


def test_ctrl_c_in_any_pass_joins_the_thread():
    """KeyboardInterrupt in the reader (it reaches the main thread) or during the iterations leaves no thread."""
    X = blocks_of(rows())

    def interrupted():
        yield X[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(interrupted)

    def interrupt(iteration):
        raise KeyboardInterrupt

    model = KMeans(3, random_state=0, max_memory=MEMORY, callback=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(lambda: iter(X))
    assert model.n_iter_ == 1 and len(model.labels_) == 1000


def test_copy_on_write_maps_keep_their_changes(tmp_path):
    """Changes to a memory map of mode "c" are in memory alone and are not dropped while it is read."""
    np.save(tmp_path / "X.npy", rows())
    mapped = np.load(tmp_path / "X.npy", mmap_mode="c")
    mapped[:500] += 3
    wanted = KMeans(3, random_state=0).fit(np.array(mapped))
    assert fit(mapped).inertia_ == wanted.inertia_
    assert as_reader(mapped).nbytes == mapped.nbytes and not isinstance(as_reader(mapped), MadeRows)
