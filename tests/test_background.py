"""The Numba engine compiled in the background: which process does it when, and fits that change engines on the way."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gpukm import KMeans, MiniBatchKMeans
from gpukm.compiling import SHAPES
from gpukm.kernels import KINDS, background, engine

pytest.importorskip("numba")
from gpukm.kernels import jit_numba

ROOT = Path(__file__).parents[1]
F4 = np.dtype(np.float32)
rng = np.random.default_rng(0)
NARROW = rng.normal(size=(140_000, 3)).astype(np.float32)  # which are sorted into boxes
WIDE = rng.normal(size=(30_000, 20)).astype(np.float32)


@pytest.fixture
def later(monkeypatch):
    """Has compiled code appear when it has been asked for so many times."""

    def set_times(times):
        asked = iter(range(times))
        monkeypatch.setattr(engine, "compiled", lambda dtype, n_features: next(asked, None) is None)

    return set_times


def assert_same(a, b):
    """The same model, and the same iterations on the way to it."""
    np.testing.assert_array_equal(a.cluster_centers_, b.cluster_centers_)
    np.testing.assert_array_equal(a.labels_, b.labels_)
    np.testing.assert_array_equal(a.withinss_, b.withinss_)
    assert (a.inertia_, a.n_iter_, a.totss_) == (b.inertia_, b.n_iter_, b.totss_)
    assert [(h.inertia, h.shift, h.changed) for h in a.history_] == [
        (h.inertia, h.shift, h.changed) for h in b.history_
    ]


@pytest.mark.parametrize("times", [0, 1, 2, 3, 5, 9, 1000])
@pytest.mark.parametrize("X, k", [(NARROW, 40), (NARROW, 5), (WIDE, 8), (WIDE, 70), (WIDE.astype(np.float64), 9)])
def test_a_fit_goes_on_compiled(later, times, X, k):
    """Whenever compiled code appears, the result and each iteration are the same."""
    weights = None if k % 2 else rng.random(len(X))
    options = {"max_iter": 8, "tol": 0, "random_state": 0}
    later(0)
    expected = KMeans(k, **options).fit(X, sample_weight=weights)
    later(times)
    found = KMeans(k, **options).fit(X, sample_weight=weights)
    assert (expected.engine_, found.engine_) == ("numba", "numpy" if times == 1000 else "numba")
    assert_same(found, expected)


@pytest.mark.parametrize("times", [3, 6, 9, 12])
@pytest.mark.parametrize("X, k", [(NARROW, 40), (WIDE, 8)])
@pytest.mark.parametrize("more", [{"n_init": 3}, {"refine": "random-swap"}, {"refine": "hartigan-wong"}])
def test_several_runs_go_on_compiled(later, times, X, k, more):
    """What one run found stays what it was when the next one, or what refines it, has another engine."""
    if more.get("refine") == "hartigan-wong":
        X = X[:30_000]
    options = {"init": "random", "max_iter": 3, "tol": 0, "random_state": 0, "n_init": 1, **more}
    later(0)
    expected = KMeans(k, **options).fit(X)
    later(times)
    found = KMeans(k, **options).fit(X)
    assert found.engine_ == "numba" or times > 6  # some are over before
    assert_same(found, expected)
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))


@pytest.mark.parametrize("times", [1, 3, 4, 6, 1000])
def test_rows_in_chunks_go_on_compiled(later, times, tmp_path):
    """Streams change from pass to pass, and predictions from chunk to chunk."""
    np.save(tmp_path / "X.npy", WIDE)
    options = {"max_iter": 5, "tol": 0, "random_state": 0}
    expected = KMeans(9, **options).fit(WIDE)
    later(times)
    found = KMeans(9, max_memory=1 << 20, **options).fit(tmp_path / "X.npy")
    assert_same(found, expected)
    assert found.engine_ == ("numpy" if times == 1000 else "numba")
    later(times)
    np.testing.assert_array_equal(found.predict(tmp_path / "X.npy"), expected.labels_)


@pytest.mark.parametrize("times", [2, 5, 1000])
def test_mini_batches_go_on_compiled(later, times):
    """Each batch asks anew."""
    expected = MiniBatchKMeans(9, random_state=0, max_iter=2).fit(WIDE)
    later(times)
    found = MiniBatchKMeans(9, random_state=0, max_iter=2).fit(WIDE)
    np.testing.assert_array_equal(found.cluster_centers_, expected.cluster_centers_)
    assert (found.inertia_, found.n_steps_) == (expected.inertia_, expected.n_steps_)


def test_a_fit_that_is_interrupted_while_it_changes(later, monkeypatch):
    """Ctrl-C between one engine and the other: the last finished iteration is kept."""
    from gpukm.array_source import ArraySource

    later(5)
    suit = ArraySource._suit

    def interrupted(self, n_clusters):
        if self.engine == "numba":
            monkeypatch.setattr(ArraySource, "_suit", suit)
            raise KeyboardInterrupt
        suit(self, n_clusters)

    model = KMeans(40, random_state=0, max_iter=9, tol=0)
    monkeypatch.setattr(ArraySource, "_suit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.fit(NARROW)
    assert len(model.history_) == model.n_iter_ < 9
    expected = KMeans(40, random_state=0, max_iter=model.n_iter_, tol=0).fit(NARROW)
    assert_same(model, expected)


class Process:
    """What stands in for a process that compiles."""

    pid = 1

    def __init__(self, status):
        self.status = status

    def poll(self):
        return self.status


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The processes that were begun, with nothing compiled yet and notes in `tmp_path`."""
    processes = []

    def popen(command, **options):
        processes.append((command, options, Process(None)))
        return processes[-1][2]

    monkeypatch.setattr(jit_numba, "cache_folder", lambda: str(tmp_path))
    monkeypatch.setattr(background.subprocess, "Popen", popen)
    monkeypatch.setattr(background, "_here", set())
    monkeypatch.setattr(background, "_begun", {})
    monkeypatch.delenv("GPUKM_COMPILE")
    return processes


def test_one_process_compiles(started):
    """One for each kind of rows, and nobody waits: the answer is no until it has noted that it is done."""
    assert [background.compiled(F4, d) for d in (3, 3, 16, 4, 5)] == [False] * 5
    assert [command[-1] for command, _, _ in started] == ["float32-narrow", "float32-wide"]
    with background.compiling("float32-narrow"):
        assert not background.compiled(F4, 3)
    assert background.compiled(F4, 3) and not background.compiled(F4, 16)
    assert not background.compiled(np.dtype(np.float64), 3) and len(started) == 3


def test_another_process_is_at_work(started, tmp_path):
    """Then none is begun, unless it seems to have been killed."""
    with background.compiling("float32-wide"):
        assert not background.compiled(F4, 16) and not started
        (begun,) = tmp_path.iterdir()
        long_ago = time.time() - background.LONGEST - 1
        os.utime(begun, (long_ago, long_ago))
        assert not background.compiled(F4, 16) and len(started) == 1
    assert background.compiled(F4, 16)


def test_an_error_while_compiling_is_no_success(started, tmp_path):
    """Nothing is noted as done, and the next process tries again."""
    with pytest.raises(MemoryError), background.compiling("float32-wide"):
        raise MemoryError
    assert not list(tmp_path.iterdir())
    assert not background.compiled(F4, 16) and len(started) == 1


def test_a_process_that_fails(started, tmp_path):
    """It ends without a note: then this process compiles by itself, and asks no more."""
    assert not background.compiled(F4, 3)
    started[0][2].status = 1
    assert background.compiled(F4, 3) and background.compiled(F4, 3) and len(started) == 1
    assert not list(tmp_path.iterdir())  # nor does any other process wait


@pytest.mark.parametrize("why", ["no folder", "no processes", "frozen", "embedded", "no executable", "read-only"])
def test_where_no_process_can_be_begun(started, monkeypatch, tmp_path, why):
    """Code is compiled where it is called, as if nothing had been asked."""

    def refuse(*args, **options):
        raise PermissionError("no processes here")

    if why == "no folder":
        monkeypatch.setattr(jit_numba, "cache_folder", lambda: None)
    elif why == "no processes":
        monkeypatch.setattr(background.subprocess, "Popen", refuse)
    elif why == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    elif why == "read-only":
        monkeypatch.setattr(Path, "touch", refuse)
    else:
        monkeypatch.setattr(sys, "executable", "/opt/spreadsheet" if why == "embedded" else None)
    assert background.compiled(F4, 3) and not started
    assert not list(tmp_path.iterdir())


def test_nowhere_to_leave_notes(started, monkeypatch):
    """Compiling goes on without them."""
    monkeypatch.setattr(jit_numba, "cache_folder", lambda: None)
    with background.compiling("float32-narrow"):
        assert background.compiled(F4, 3) and not started


def test_the_environment_decides(started, monkeypatch):
    """GPUKM_COMPILE=now compiles here; what it may not be is said. GPUKM_ENGINE=numba does so, too."""
    monkeypatch.setenv("GPUKM_COMPILE", "now")
    assert background.compiled(F4, 3) and not started
    monkeypatch.setenv("GPUKM_COMPILE", "later")
    with pytest.raises(ValueError, match="GPUKM_COMPILE is 'later'; it may be 'background' or 'now'"):
        KMeans(8).fit(WIDE)
    monkeypatch.setenv("GPUKM_COMPILE", "background")
    monkeypatch.setenv("GPUKM_ENGINE", "numba")
    assert KMeans(8, random_state=0, max_iter=1).fit(WIDE).engine_ == "numba" and not started
    monkeypatch.delenv("GPUKM_ENGINE")
    assert KMeans(8, random_state=0, max_iter=1).fit(WIDE).engine_ == "numpy" and len(started) == 1


def test_few_rows_begin_nothing(started):
    """Nor do sparse ones, which compiled code does not read."""
    sparse = pytest.importorskip("scipy.sparse")
    assert KMeans(5, random_state=0).fit(WIDE[:500]).engine_ == "numpy"
    rows = sparse.random(20_000, 100, 0.01, format="csr", random_state=0, dtype=np.float32)
    assert KMeans(5, random_state=0, max_iter=2).fit(rows).engine_ == "numpy-csr"
    assert not started


def test_kinds_and_shapes_belong_together():
    assert KINDS == tuple(f"{dtype}-{width}" for dtype in ("float32", "float64") for width in SHAPES)


REAL = """
import os, time
import numpy as np
from gpukm.kernels import background

background.PROGRAM = "import sys; from gpukm.kernels import compiling\\nwith compiling(sys.argv[1]): print(sys.argv)"
end = time.monotonic() + 60
asked = 0
while not background.compiled(np.dtype(np.float32), 3):
    asked += 1
    assert time.monotonic() < end
    time.sleep(0.01)
notes = os.listdir(background._note("", "").parent)
print(asked > 0, [name.split("-")[:2] + [name.split(".")[1]] for name in notes])
"""


def test_a_real_process(tmp_path):
    """It finds gpukm where this process does, says nothing, and its note is seen."""
    environment = {
        **os.environ,
        "NUMBA_CACHE_DIR": str(tmp_path),
        "GPUKM_COMPILE": "background",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run([sys.executable, "-c", REAL], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "True [['float32', 'narrow', 'done']]"
