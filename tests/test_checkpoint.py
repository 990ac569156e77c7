"""Checkpoints: a fit that is stopped anywhere goes on to the same bits; foreign and damaged files are left alone."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from gpukm import KMeans, load
from gpukm.checkpoint import Checkpoint

ROOT = Path(__file__).parents[1]


def blobs(n=600, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def bits(model):
    history = [(i.iteration, i.inertia, i.shift, i.changed, i.relocated) for i in model.history_]
    results = model.cluster_centers_, model.labels_, model.withinss_, model.size_
    return [*(a.tobytes() for a in results), model.inertia_, model.n_iter_, model.converged_, history]


class Stop(Exception):
    pass


def stop_after(calls):
    """A callback that ends the fit by an exception after so many iterations, of all runs together."""
    left = [calls]

    def callback(iteration):
        left[0] -= 1
        if left[0] == 0:
            raise Stop

    return callback


SETTINGS = [
    {"n_clusters": 5, "random_state": 0},
    {"n_clusters": 5, "random_state": 3, "init": "random", "n_init": 4},
    {"n_clusters": 4, "random_state": 1, "init": "random-partition", "n_init": 3, "max_iter": 4},
    {"n_clusters": 4, "init": blobs(4), "n_init": 1, "tol": 0.0},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_stopped_after_any_iteration_it_goes_on_to_the_same_bits(engine, settings, tmp_path):
    """Stopped again and again, a few iterations further each time: bits, iterations and history are as in one go."""
    X, path = blobs(), tmp_path / "run.npz"
    wanted = KMeans(**settings).fit(X)
    stops = 0
    for calls in [1, 2, 3, 5] * 100:
        model = KMeans(**settings, checkpoint=path, checkpoint_every=0, callback=stop_after(calls))
        try:
            model.fit(X)
            break
        except Stop:
            stops += 1
    assert stops >= 3
    assert bits(model) == bits(wanted)
    # finished, it only labels the rows
    again = KMeans(**settings, checkpoint=path, callback=stop_after(1)).fit(X)
    assert bits(again) == bits(wanted)


@pytest.mark.parametrize("kind", ["PCG64", "MT19937", "Philox", "SFC64"])
def test_generators_are_kept(kind, tmp_path):
    """The state of any bit generator goes to the file, so that the starts of later runs are those of one go."""
    X, path = blobs(), tmp_path / "run.npz"

    def fit(**options):
        rng = np.random.Generator(getattr(np.random, kind)(5))
        return KMeans(4, init="random", n_init=3, random_state=rng, **options).fit(X)

    with pytest.raises(Stop):
        fit(checkpoint=path, checkpoint_every=0, callback=stop_after(2))
    assert bits(fit(checkpoint=path)) == bits(fit())


def test_fresh_entropy_goes_on_too(tmp_path):
    """With random_state=None the file has the numbers: what goes on from it ends alike, however often."""
    X, path = blobs(), tmp_path / "run.npz"
    with pytest.raises(Stop):
        KMeans(4, n_init=3, checkpoint=path, checkpoint_every=0, callback=stop_after(2)).fit(X)
    state = path.read_bytes()
    found = []
    for _ in range(2):
        path.write_bytes(state)
        found.append(bits(KMeans(4, n_init=3, checkpoint=path).fit(X)))
    assert found[0] == found[1]


def test_another_place_of_the_same_rows_goes_on(tmp_path):
    """A checkpoint of a fit in memory is continued from a file, in chunks, in another order of rows."""
    X, path = blobs(900), tmp_path / "run.npz"
    np.save(tmp_path / "X.npy", X[::-1])
    wanted = KMeans(5, random_state=0).fit(X)
    with pytest.raises(Stop):
        KMeans(5, random_state=0, checkpoint=path, checkpoint_every=0, callback=stop_after(3)).fit(X)
    found = KMeans(5, random_state=0, checkpoint=path, max_memory=1 << 13).fit(tmp_path / "X.npy")
    np.testing.assert_array_equal(found.cluster_centers_, wanted.cluster_centers_)
    np.testing.assert_array_equal(found.labels_[::-1], wanted.labels_)
    assert (found.inertia_, found.n_iter_) == (wanted.inertia_, wanted.n_iter_)


def test_ctrl_c_keeps_the_last_state(tmp_path):
    """Interrupted long before checkpoint_every has passed, the file has the last finished iteration."""
    X, path = blobs(), tmp_path / "run.npz"

    def interrupt(iteration):
        if iteration.iteration == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        KMeans(5, random_state=0, checkpoint=path, callback=interrupt).fit(X)
    with zipfile.ZipFile(path) as archive:
        assert len(json.loads(archive.read("header.json"))["history"]) == 4
    assert bits(KMeans(5, random_state=0, checkpoint=path).fit(X)) == bits(KMeans(5, random_state=0).fit(X))


def test_time_between_checkpoints(tmp_path, monkeypatch):
    """Between the first and the last one a file is written only when checkpoint_every seconds have passed."""
    writes, clock = [], [0.0]
    monkeypatch.setattr("gpukm.checkpoint.time.monotonic", lambda: clock[0])
    write = Checkpoint.write
    monkeypatch.setattr(
        Checkpoint, "write", lambda self, state: (writes.append(len(state.history)), write(self, state))
    )

    def tick(iteration):
        clock[0] += 4

    model = KMeans(5, random_state=0, checkpoint=tmp_path / "c.npz", checkpoint_every=10, callback=tick).fit(blobs())
    assert model.n_iter_ > 8
    assert writes[:3] == [0, 4, 7] and writes[-1] == 0 and len(writes) < model.n_iter_


@pytest.fixture
def stopped(tmp_path):
    """The checkpoint of a stopped fit."""
    path = tmp_path / "run.npz"
    with pytest.raises(Stop):
        KMeans(5, random_state=0, checkpoint=path, checkpoint_every=0, callback=stop_after(3)).fit(blobs())
    return path


def refused(path, match, X=None, **options):
    before = path.read_bytes()
    settings = {"n_clusters": 5, "random_state": 0} | options
    with pytest.raises(ValueError, match=match) as raised:
        KMeans(**settings, checkpoint=path, checkpoint_every=0).fit(blobs() if X is None else X)
    assert str(path) in str(raised.value) and "left as it is" in str(raised.value)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"n_clusters": 6}, "n_clusters is 5 there and 6 here"),
        ({"random_state": 1}, "random_state"),
        ({"random_state": None}, "random_state"),
        ({"tol": 1e-3}, "tol is 0.0001 there and 0.001 here"),
        ({"max_iter": 7}, "max_iter"),
        ({"init": "random"}, "init is k-means"),
        ({"init": blobs(5)}, "init is k-means"),
        ({"n_init": 2}, "n_init is 1 there and 2 here"),
    ],
)
def test_another_fit_is_refused(stopped, options, name):
    """Parameters that decide the bits are compared; the message says which differ."""
    refused(stopped, f"belongs to another fit: {name}", **options)


def test_other_data_are_refused(stopped):
    """Another value anywhere, dtype or weight, another number of rows or columns: not this fit."""
    X = blobs()
    changed = X.copy()
    changed[77, 1] = np.nextafter(changed[77, 1], 9, dtype=np.float32)
    refused(stopped, "the data is", changed)
    refused(stopped, "dtype is float32 there and float64 here", X.astype(np.float64))
    refused(stopped, "n_samples is 600 there and 599 here", X[1:])
    refused(stopped, "n_features is 3 there and 2 here", X[:, :2])
    with pytest.raises(ValueError, match="the data is"):
        KMeans(5, random_state=0, checkpoint=stopped).fit(X, sample_weight=np.full(len(X), 2.0))


def test_torn_and_foreign_files_are_refused_and_kept(stopped):
    """Cut at any length, or with any byte changed, the file is refused or gives the right bits; so are other files."""
    whole, X = stopped.read_bytes(), blobs()
    wanted = bits(KMeans(5, random_state=0).fit(X))
    rng = np.random.default_rng(0)
    for length in [0, 1, 21, *rng.integers(0, len(whole), 12)]:
        stopped.write_bytes(whole[:length])
        refused(stopped, "is empty" if length == 0 else "not a checkpoint of gpukm")
    kept = 0
    for place in rng.integers(0, len(whole), 40):
        torn = bytearray(whole)
        torn[place] ^= 1 << int(rng.integers(8))
        stopped.write_bytes(torn)
        try:  # some bytes of an archive mean nothing, such as dates
            assert bits(KMeans(5, random_state=0, checkpoint=stopped).fit(X)) == wanted
        except ValueError as error:
            assert "left as it is" in str(error)
            assert stopped.read_bytes() == torn
            kept += 1
    assert kept > 20
    for content in (b"hello, this is my diary", b"PK\x03\x04", b"\x93NUMPY"):
        stopped.write_bytes(content)
        refused(stopped, "not a checkpoint of gpukm")
    np.savez(stopped, centroids=np.zeros((5, 3)))
    refused(stopped, "not a checkpoint of gpukm")
    KMeans(5, random_state=0).fit(X).save(stopped, force=True)
    refused(stopped, "not a checkpoint of gpukm")


def test_a_newer_format_is_refused(stopped):
    """A checkpoint of a later version says so."""
    with zipfile.ZipFile(stopped) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(entries["header.json"]) | {"format_version": 2}
    with zipfile.ZipFile(stopped, "w") as archive:
        for name, content in (entries | {"header.json": json.dumps(header)}).items():
            archive.writestr(name, content)
    refused(stopped, "has format version 2; gpukm .* reads 1")


def test_refused_before_the_rows_are_read(tmp_path):
    """A file that is no checkpoint, or a missing folder, is noticed at once."""
    (tmp_path / "diary.npz").write_text("dear diary")
    calls = []
    for path, error in ((tmp_path / "diary.npz", ValueError), (tmp_path / "no" / "c.npz", FileNotFoundError)):
        with pytest.raises(error):
            KMeans(2, checkpoint=path).fit(lambda: calls.append(1))
    assert calls == []


def test_a_full_disk_is_an_error_and_the_last_checkpoint_stays(stopped, monkeypatch):
    """What cannot be written is said; the file keeps the state before, and nothing lies beside it."""
    before = stopped.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gpukm._files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        KMeans(5, random_state=0, checkpoint=stopped, checkpoint_every=0).fit(blobs())
    assert stopped.read_bytes() == before and os.listdir(stopped.parent) == [stopped.name]


def test_leftovers_of_a_killed_process_go(stopped):
    """An unfinished file beside the checkpoint is removed when its fit goes on; others stay."""
    mine, other = stopped.with_name(".run.npz.0a1b2c3d.gpukm-tmp"), stopped.with_name(".other.npz.0a1b2c3d.gpukm-tmp")
    mine.write_bytes(b"half"), other.write_bytes(b"half")
    KMeans(5, random_state=0, checkpoint=stopped).fit(blobs())
    assert not mine.exists() and other.exists()


def test_a_saved_model_names_no_checkpoint(stopped, tmp_path):
    """A model file does not say where a later fit would write."""
    model = KMeans(5, random_state=0, checkpoint=stopped).fit(blobs())
    model.save(tmp_path / "model.npz")
    assert load(tmp_path / "model.npz").checkpoint is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill")
def test_killed_at_random_moments_it_ends_in_the_same_bits(tmp_path):
    """kill -9 at 24 moments of seeding, iterating and writing, then let it end, three times over: the same bits."""
    code = """
import hashlib, os, random, signal, sys, time
import numpy as np
from gpukm import KMeans
from gpukm.lloyd import lloyd
folder = sys.argv[1]
path, result = folder + "/run.npz", folder + "/result"
X = np.random.default_rng(0).normal(size=(1500, 4)).astype(np.float32)
def fit(**options):
    model = KMeans(12, random_state=4, init="random", n_init=3, tol=0, **options).fit(X)
    parts = model.cluster_centers_, model.labels_, np.array([model.inertia_, model.n_iter_])
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
wanted = fit()
random.seed(1)
kills = fits = 0
for most in (0.02, 0.05, 0.1):
    for _ in range(8):
        child = os.fork()
        if child == 0:
            found = fit(checkpoint=path, checkpoint_every=0)
            with open(result, "w") as file:
                file.write(found)
            os._exit(0)
        time.sleep(random.uniform(0, most))
        os.kill(child, signal.SIGKILL)
        kills += 1
        os.waitpid(child, 0)
        if os.path.exists(result):  # it was quicker; or killed between the two
            assert open(result).read() in (wanted, "")
            os.remove(result)
    assert fit(checkpoint=path) == wanted
    fits += 1
    if fits < 3:
        os.remove(path)
print(kills, fits, *sorted(os.listdir(folder)))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GPUKM_ENGINE": "numpy", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr
    kills, fits, *left = done.stdout.split()
    assert int(kills) == 24 and int(fits) == 3 and left == ["run.npz"]
