"""gpukm/model_io.py: a saved model predicts the same bits, and a file that is not one is refused before it is used."""

import io
import json
import os
import re
import zipfile
from pathlib import Path

import array_api_strict
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import gpukm
from gpukm import KMeans, _files, load, model_io

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3)) + RNG.integers(0, 4, size=(200, 1)) * 5
NEW = RNG.normal(size=(500, 3)) * 10
FITTED = [name for name in KMeans.__annotations__ if name != "feature_names_in_"]


def fitted(data=X, **parameters) -> KMeans:
    return KMeans(4, **{"random_state": 0, **parameters}).fit(data)


@pytest.fixture
def saved(tmp_path) -> Path:
    path = tmp_path / "model.npz"
    fitted().save(path)
    return path


def parts(path: Path) -> tuple[dict, dict[str, bytes]]:
    """The header and the other entries of a model file."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    return json.loads(entries.pop("header.json")), entries


def rewrite(path: Path, header: object, entries: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", header if isinstance(header, bytes) else json.dumps(header))
        for name, content in entries.items():
            archive.writestr(name, content)


def npy(array: object) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array))
    return file.getvalue()


# -- round trips -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_a_loaded_model_is_the_saved_one_to_the_bit(tmp_path, dtype):
    """Every attribute and every parameter comes back; predict, transform and score give the same bits."""
    model = fitted(np.abs(X).astype(dtype))
    model.save(tmp_path / "m.npz")
    again = load(tmp_path / "m.npz")
    assert again.get_params() == model.get_params()
    for name in FITTED:
        assert_array_equal(getattr(again, name), getattr(model, name), err_msg=name)
        assert type(getattr(again, name)) is type(getattr(model, name)), name
    assert again.cluster_centers_.dtype == model.cluster_centers_.dtype
    for new in (NEW, NEW.astype(np.float32)):
        assert_array_equal(again.predict(new), model.predict(new))
        assert_array_equal(again.transform(new), model.transform(new))
        assert again.score(new) == model.score(new)
    assert str(again.summary()) == str(model.summary())


def test_extreme_numbers_keep_their_bits(tmp_path):
    """The header's decimal text holds a float64 exactly."""
    model = fitted(X * 1e-30, tol=0.1 + 0.2)
    model.save(tmp_path / "m.npz")
    again = load(tmp_path / "m.npz")
    assert (again.inertia_, again.totss_, again.tol) == (model.inertia_, model.totss_, 0.1 + 0.2)
    assert again.history_ == model.history_


def test_the_same_model_gives_the_same_bytes(tmp_path):
    """No dates, no random order in the file."""
    model = fitted()
    model.save(tmp_path / "a.npz")
    model.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_feature_names_come_back(tmp_path):
    """A model fitted on a data frame keeps its column names and checks them."""
    model = fitted(pd.DataFrame(X, columns=["a", "b", "größe"]))
    model.save(tmp_path / "m.npz")
    again = load(tmp_path / "m.npz")
    assert_array_equal(again.feature_names_in_, model.feature_names_in_)
    with pytest.raises(ValueError, match="feature names"):
        again.predict(pd.DataFrame(X, columns=["a", "c", "b"]))


def test_labels_can_be_left_out(tmp_path):
    """Without them the file does not grow with the data."""
    model = fitted()
    model.save(tmp_path / "m.npz", labels=False)
    again = load(tmp_path / "m.npz")
    assert not hasattr(again, "labels_")
    assert_array_equal(again.predict(NEW), model.predict(NEW))
    again.save(tmp_path / "n.npz")
    assert (tmp_path / "n.npz").read_bytes() == (tmp_path / "m.npz").read_bytes()


def test_models_of_other_array_libraries_are_saved_as_numpy(tmp_path):
    """A model fitted on a device loads where there is none."""
    model = fitted(array_api_strict.asarray(X))
    model.save(tmp_path / "m.npz")
    again = load(tmp_path / "m.npz")
    assert again.engine_ == model.engine_ == "array-api:array_api_strict"
    assert_array_equal(again.predict(NEW), np.asarray(model.predict(array_api_strict.asarray(NEW))))


def test_starting_centres_are_saved(tmp_path):
    """An array, or what NumPy makes of a list, as `init` is kept as an array."""
    for init in (X[:4], X[:4].tolist(), array_api_strict.asarray(X[:4])):
        model = fitted(init=init)
        model.save(tmp_path / "m.npz", force=True)
        assert_array_equal(load(tmp_path / "m.npz").init, X[:4])


def test_numpy_scalars_as_parameters_are_saved_as_numbers(tmp_path):
    """What get_params returns may be NumPy's; what comes back is Python's."""
    model = fitted(n_init=np.int64(2), tol=np.float64(1e-3), copy_x=np.bool_(True), random_state=np.uint8(3))
    model.save(tmp_path / "m.npz")
    again = load(tmp_path / "m.npz")
    assert again.get_params() == model.get_params() and type(again.tol) is float and type(again.random_state) is int


@pytest.mark.parametrize(
    ("parameters", "name", "value"),
    [
        ({"random_state": np.random.default_rng(0)}, "random_state", None),
        ({"random_state": np.random.RandomState(0)}, "random_state", None),
        ({"callback": lambda iteration: None}, "callback", None),
        ({"init": lambda X, k, random_state: X[:k]}, "init", "k-means++"),
    ],
)
def test_what_a_file_cannot_hold_is_replaced_with_a_warning_and_noted(tmp_path, parameters, name, value):
    """Code and generators are not saved; the warning says what stands in their place, and so does the header."""
    model = fitted(**parameters)
    with pytest.warns(UserWarning, match=f"{name}: .* is saved as {re.escape(repr(value))}, as a file cannot hold it"):
        model.save(tmp_path / "m.npz")
    assert list(parts(tmp_path / "m.npz")[0]["substituted"]) == [name]
    again = load(tmp_path / "m.npz")
    assert getattr(again, name) == value
    assert_array_equal(again.cluster_centers_, model.cluster_centers_)


# -- writing ---------------------------------------------------------------------------------------------


def test_only_fitted_kmeans_are_saved(tmp_path):
    """Not fitted, or another class: refused, and no file appears."""
    with pytest.raises(ValueError, match="not fitted"):
        KMeans().save(tmp_path / "m.npz")

    class Mine(KMeans):
        pass

    for other in (object(), Mine(2).fit(X)):
        with pytest.raises(TypeError, match="save takes a gpukm.KMeans or gpukm.MiniBatchKMeans, not"):
            model_io.save(other, tmp_path / "m.npz")
    with pytest.raises(TypeError, match=r"the parameter verbose=\{\} cannot be saved"):
        fitted().set_params(verbose={}).save(tmp_path / "m.npz")
    assert os.listdir(tmp_path) == []


def test_nothing_is_overwritten_unless_forced(saved):
    """An existing file is kept to the byte."""
    before = saved.read_bytes()
    with pytest.raises(FileExistsError, match=r"model\.npz: exists; choose another name, or force=True \(--force\)"):
        fitted(random_state=1).save(saved)
    assert saved.read_bytes() == before
    fitted(random_state=1).save(saved, force=True)
    assert saved.read_bytes() != before


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("step", ["write_array", "fsync", "replace"])
def test_a_failed_write_leaves_nothing_half_written(saved, monkeypatch, error, step):
    """Whatever fails, the old file is whole and no temporary file stays."""
    before = saved.read_bytes()

    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(np.lib.format if step == "write_array" else os, step, fail)
    for target in (saved, saved.with_name("new.npz")):
        with pytest.raises(type(error)):
            fitted().save(target, force=True)
    assert saved.read_bytes() == before and os.listdir(saved.parent) == [saved.name]


def test_a_killed_process_leaves_the_old_file_whole(saved):
    """Until the rename the target is not touched: what is written lies beside it under another name."""
    before = saved.read_bytes()
    with _files.atomic_write(saved, force=True) as file:
        file.write(b"half")
        file.flush()
        assert saved.read_bytes() == before
        beside = [name for name in os.listdir(saved.parent) if name != saved.name]
        assert len(beside) == 1 and beside[0].endswith(".gpukm-tmp")
    assert saved.read_bytes() == b"half" and os.listdir(saved.parent) == [saved.name]


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    """The check for an existing file is made again before the rename."""
    target = tmp_path / "m.npz"
    with pytest.raises(FileExistsError), _files.atomic_write(target) as file:
        file.write(b"mine")
        target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs" and os.listdir(tmp_path) == ["m.npz"]


def test_targets_that_cannot_be_files_are_refused(tmp_path):
    """A folder, a file in no folder, a device; a link is followed."""
    with pytest.raises(IsADirectoryError, match="is a folder"):
        fitted().save(tmp_path, force=True)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*none.*; create it first"):
        fitted().save(tmp_path / "none" / "m.npz")
    if os.path.exists(os.devnull) and not os.path.isfile(os.devnull):
        with pytest.raises(OSError, match="is not a regular file"):
            fitted().save(os.devnull, force=True)
    (tmp_path / "link.npz").symlink_to(tmp_path / "target.npz")
    fitted().save(tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink() and load(tmp_path / "target.npz").n_features_in_ == 3


# -- reading ---------------------------------------------------------------------------------------------


def test_files_that_are_no_models_are_refused(tmp_path, saved):
    """Absent, a folder, text, other archives, cut short at any length: the error names the file."""
    with pytest.raises(FileNotFoundError, match="no such file"):
        load(tmp_path / "none.npz")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        load(tmp_path)
    whole = saved.read_bytes()
    np.savez(tmp_path / "data.npz", X)
    cases = [(b"", "not an .npz file"), (b"a,b\n1,2\n", "not an .npz file"), (npy(X), "not an .npz file")]
    cases += [((tmp_path / "data.npz").read_bytes(), "not a model saved by gpukm .it has no header.json.")]
    cases += [(whole[:length], "not an .npz file, or cut short") for length in range(1, len(whole), 97)]
    for content, message in cases:
        saved.write_bytes(content)
        with pytest.raises(ValueError, match=message) as error:
            load(saved)
        assert str(error.value).startswith(str(saved))


def test_a_changed_byte_is_noticed(saved):
    """The archive's checksums are verified for all that is read."""
    whole = saved.read_bytes()
    for name in (b"centroids.npy", b"withinss.npy", b"size.npy", b"labels.npy", b"header.json"):
        position = whole.index(name) + 150
        saved.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(ValueError, match="damaged"):
            load(saved)


def test_newer_versions_are_named(saved):
    """The error says which version wrote the file and what to do."""
    header, entries = parts(saved)
    rewrite(saved, {**header, "format_version": 2, "gpukm_version": "9.1"}, entries)
    with pytest.raises(
        ValueError, match=rf"by gpukm 9\.1 in format version 2; gpukm {gpukm.__version__} reads up to 1"
    ):
        load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "its header does not say 'gpukm-model'"),
        ({"format_version": "1"}, "impossible format version '1'"),
        ({"format_version": True}, "impossible format version True"),
        ({"format_version": 0}, "impossible format version 0"),
        ({"estimator": "os.system"}, "holds a 'os.system', which gpukm .* cannot load"),
        ({"params": []}, "field 'params'"),
        ({"dtype": "float16"}, "field 'dtype'"),
        ({"n_clusters": -1}, "field 'n_clusters'"),
        ({"n_clusters": 10**30}, "shape .4, 3. and dtype float64, not the 10{30}x3"),
        ({"n_features": 2}, "not the 4x2 float64"),
        ({"n_iter": 1.5}, "field 'n_iter'"),
        ({"inertia": "1"}, "field 'inertia'"),
        ({"inertia": -1.0}, "field 'inertia'"),
        ({"inertia": float("nan")}, "field 'inertia'"),
        ({"totss": float("inf")}, "field 'totss'"),
        ({"converged": 1}, "field 'converged'"),
        ({"engine": None}, "field 'engine'"),
        ({"feature_names": ["a"]}, "field 'feature_names'"),
        ({"feature_names": [1, 2, 3]}, "field 'feature_names'"),
        ({"history": {}}, "field 'history'"),
        ({"history": [1]}, "wrong entries"),
        ({"history": [{"iteration": 1}]}, "wrong entries"),
        ({"dtype": "float32"}, "array 'centroids' has shape .4, 3. and dtype float64, not the 4x3 float32"),
    ],
)
def test_wrong_headers_are_refused(saved, change, message):
    """Each field has its type, and agrees with the arrays."""
    header, entries = parts(saved)
    rewrite(saved, {**header, **change}, entries)
    with pytest.raises(ValueError, match=message) as error:
        load(saved)
    assert str(error.value).startswith(str(saved))


def test_missing_fields_and_odd_headers_are_refused(saved):
    """No field has a default; text that is no JSON object is no header."""
    header, entries = parts(saved)
    for field in set(header) - {"gpukm_version", "substituted", "feature_names"}:
        rewrite(saved, {name: value for name, value in header.items() if name != field}, entries)
        with pytest.raises(ValueError, match=r"model\.npz: "):
            load(saved)
    for text in (
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"format": "gpukm-model", "format_version": ' + b"9" * 5000 + b"}",
    ):
        rewrite(saved, text, entries)
        with pytest.raises(ValueError, match="header"):
            load(saved)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_clusters": 0}, "'n_clusters' parameter of KMeans must be"),
        ({"init": "os.system"}, "'init' parameter of KMeans must be"),
        ({"cluster_centers_": 1}, "unknown parameters: cluster_centers_"),
        ({"init": {"array": "centroids"}}, "its header has init={'array': 'centroids'}"),
    ],
)
def test_wrong_parameters_are_refused(saved, params, message):
    """Parameters are checked as those of a fit are."""
    header, entries = parts(saved)
    rewrite(saved, {**header, "params": {**header["params"], **params}}, entries)
    with pytest.raises(ValueError, match=message):
        load(saved)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("centroids", X[:5], "array 'centroids' has shape .5, 3."),
        ("centroids", np.full((4, 3), np.nan), "centroids holds NaN or infinity"),
        ("centroids", X[:4].astype(complex), "dtype complex128"),
        ("withinss", np.full(4, np.inf), "withinss holds NaN or infinity"),
        ("withinss", np.ones(3), "array 'withinss' has shape .3,."),
        ("size", np.ones(4, dtype=np.int64), "sizes of the clusters do not agree with the labels"),
        ("size", np.full(4, -1, dtype=np.int64), "sizes of the clusters"),
        ("size", np.ones(4, dtype=np.int32), "array 'size' has shape .4,. and dtype int32"),
        ("labels", np.full(200, 4, dtype=np.int32), "labels are not all from 0 to 3"),
        ("labels", np.full(200, -1, dtype=np.int32), "labels are not all from 0 to 3"),
        ("labels", np.zeros((200, 1), dtype=np.int32), "array 'labels' has shape .200, 1."),
    ],
)
def test_wrong_arrays_are_refused(saved, name, array, message):
    """Shapes, dtypes and values are checked before a model is made of them."""
    header, entries = parts(saved)
    rewrite(saved, header, {**entries, f"{name}.npy": npy(array)})
    with pytest.raises(ValueError, match=message):
        load(saved)


def test_missing_arrays_are_named(saved):
    """Only the labels may be absent."""
    header, entries = parts(saved)
    for name in ("centroids", "withinss", "size"):
        rewrite(saved, header, {entry: content for entry, content in entries.items() if entry != f"{name}.npy"})
        with pytest.raises(ValueError, match=f"the array '{name}' is missing"):
            load(saved)
    rewrite(saved, {**header, "params": {**header["params"], "init": {"array": "init"}}}, entries)
    with pytest.raises(ValueError, match="the array 'init' is missing"):
        load(saved)


def test_no_memory_is_taken_for_a_lying_array_header(saved):
    """An array that claims terabytes is refused from its header, by the bytes that are there."""
    header, entries = parts(saved)
    text = b"{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000, 3), }"
    lying = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    rewrite(saved, {**header, "n_clusters": 10**10}, {**entries, "centroids.npy": lying})
    with pytest.raises(ValueError, match="array 'centroids': its header promises 240000000000 bytes"):
        load(saved)


def test_pickles_in_a_model_file_are_not_run(saved):
    """An object array is refused, never unpickled."""
    header, entries = parts(saved)
    file = io.BytesIO()
    np.save(file, np.array([[print] * 3] * 4), allow_pickle=True)
    rewrite(saved, header, {**entries, "centroids.npy": file.getvalue()})
    with pytest.raises(ValueError, match="holds Python objects"):
        load(saved)


def test_big_endian_files_load(saved):
    """A file from a machine of the other byte order gives native arrays."""
    header, entries = parts(saved)
    entries = {
        name: npy((a := np.load(io.BytesIO(data))).astype(a.dtype.newbyteorder(">"))) for name, data in entries.items()
    }
    rewrite(saved, header, entries)
    assert load(saved).cluster_centers_.dtype.isnative
    assert_array_equal(load(saved).predict(NEW), fitted().predict(NEW))
