"""predict, transform and score of rows outside memory, and into files."""

import os
import resource

import numpy as np
import pytest

from gpukm import KMeans, open_rows
from gpukm._files import atomic_npy

MEMORY = 1 << 13


def rows(n=1000, d=4, dtype=np.float32):
    return np.random.default_rng(0).normal(size=(n, d)).astype(dtype)


@pytest.fixture
def model():
    return KMeans(5, random_state=0, max_memory=MEMORY).fit(rows())


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_answers_are_those_in_memory(engine, dtype, tmp_path):
    """From a file or blocks, into memory or a file: labels, distances and the score have the same bits."""
    X = (rows(1500) * 9).astype(dtype)
    model = KMeans(7, random_state=0, max_iter=5).fit(rows() * 9)
    labels, distances, score = model.predict(X), model.transform(X), model.score(X)
    np.save(tmp_path / "X.npy", X)
    model.set_params(max_memory=4 * MEMORY)
    places = {
        "array": X,
        "strided": np.asfortranarray(X)[:, ::1],
        "path": tmp_path / "X.npy",
        "rows": open_rows(tmp_path / "X.npy"),
        "blocks": lambda: (X[start : start + 70] for start in range(0, len(X), 70)),
    }
    for name, place in places.items():
        assert model.score(place) == score, name
        for method, wanted in (("predict", labels), ("transform", distances)):
            out = tmp_path / f"{name}-{method}.npy"
            found, written = getattr(model, method)(place), getattr(model, method)(place, out=out)
            np.testing.assert_array_equal(found, wanted)
            np.testing.assert_array_equal(np.load(out), wanted)
            np.testing.assert_array_equal(written, wanted)
            assert found.dtype == written.dtype == wanted.dtype and isinstance(written, np.memmap)


def test_weighted_score_of_a_file(model, tmp_path):
    """sample_weight counts as in memory."""
    X, weight = rows(900), np.random.default_rng(1).random(900)
    np.save(tmp_path / "X.npy", X)
    assert model.score(tmp_path / "X.npy", sample_weight=weight) == model.score(X, sample_weight=weight)


def test_arrays_of_other_libraries_go_to_files(tmp_path):
    """Labels of a torch tensor are written by blocks, too."""
    torch = pytest.importorskip("torch")
    X = torch.asarray(rows())
    model = KMeans(4, random_state=0).fit(X)
    np.testing.assert_array_equal(model.predict(X, out=tmp_path / "l.npy"), model.predict(X).numpy())


def test_fit_transform_and_fit_predict_of_a_file(tmp_path):
    """The one-call forms take what fit takes."""
    X = rows()
    np.save(tmp_path / "X.npy", X)
    small, large = KMeans(3, random_state=0, max_memory=MEMORY), KMeans(3, random_state=0)
    np.testing.assert_array_equal(small.fit_transform(tmp_path / "X.npy"), large.fit_transform(X))
    np.testing.assert_array_equal(small.fit_predict(tmp_path / "X.npy"), large.fit_predict(X))


def test_an_existing_file_is_replaced_by_force_only(model, tmp_path):
    """Without force nothing is read or touched; with it the file is replaced in one step."""
    out = tmp_path / "l.npy"
    out.write_text("precious")
    read = []

    def make():
        read.append(1)
        return iter([rows()])

    with pytest.raises(FileExistsError, match="l.npy: exists"):
        model.predict(make, out=out)
    assert out.read_text() == "precious" and not read
    np.testing.assert_array_equal(model.predict(make, out=out, force=True), model.predict(rows()))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        model.predict(make, out=tmp_path / "no" / "l.npy")


@pytest.mark.parametrize("bad", ["raises", "nan", "columns"])
def test_rows_that_fail_half_way_leave_no_file(bad, model, tmp_path):
    """An error after the first blocks leaves neither the file nor an unfinished one."""

    def make():
        yield from [rows()] * 3
        if bad == "raises":
            raise ConnectionError("gone")
        yield np.full((2, 4), np.nan, np.float32) if bad == "nan" else rows(5, 3)

    match = {"raises": "gone", "nan": "row 3000, column 0", "columns": "row 3000, has 3 columns, not 4"}[bad]
    with pytest.raises((ConnectionError, ValueError), match=match):
        model.predict(make, out=tmp_path / "l.npy")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_no_file(model, tmp_path):
    """A file that may not grow: the system's error comes out, nothing half-written stays, an old file is kept."""
    out = tmp_path / "d.npy"
    np.save(out, np.zeros(3))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            model.transform(lambda: iter([rows()]), out=out, force=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == ["d.npy"] and len(np.load(out)) == 3


def test_distances_of_one_dtype_only(model, tmp_path):
    """Blocks that turn from float32 to float64 have no distances of one dtype; they have labels."""

    def make():
        return iter([rows(1000), rows(1000).astype(np.float64)])

    np.testing.assert_array_equal(model.predict(make, out=tmp_path / "l.npy"), np.tile(model.predict(rows()), 2))
    for out in (None, tmp_path / "d.npy"):
        with pytest.raises(ValueError, match="first rows have answers of float32.*on of float64"):
            model.transform(make, out=out)
    assert os.listdir(tmp_path) == ["l.npy"]


def test_appending_writes_what_numpy_reads(tmp_path):
    """Blocks of any lengths, of one or two dimensions, as one array."""
    for name, blocks in (
        ("one", [np.arange(5), np.arange(0), np.arange(7)]),
        ("two", [np.ones((3, 2)), np.zeros((1, 2))]),
    ):
        with atomic_npy(tmp_path / f"{name}.npy") as append:
            for block in blocks:
                append(block)
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), np.concatenate(blocks))
