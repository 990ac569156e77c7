"""Which engine runs, and that a user who never asked for one is told when it is not the fast one."""

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest

from gpukm import KMeans, kernels
from gpukm._threads import available_threads
from gpukm.kernels import engine, jit_numba

ROOT = Path(__file__).parents[1]
X = np.random.default_rng(0).standard_normal((44_000, 3)).astype(np.float32)
FIT = """
import numpy as np, gpukm
X = np.random.default_rng(0).standard_normal((44_000, 3)).astype(np.float32)
model = gpukm.KMeans(5, random_state=0).fit(X)
print(model.engine_, model.inertia_.hex(), model.labels_.sum())
"""
IN_16_BITS = """
from gpukm.kernels import int16_numba
int16_numba.pairs_pay = lambda: True
rows = X.reshape(-1, 6)
model = gpukm.KMeans(40, init=rows[:40], n_init=1, max_iter=5).fit(rows)
print(model.inertia_.hex(), model.labels_.sum(), len(int16_numba.words_for(40, 6)[0]) > 0)
from gpukm.array_source import ArraySource
from gpukm.kernels import int8_numba, kept
int8_numba.pairs_pay, kept.LEAST_VALUES, kept.LEAST_FEATURES = lambda: True, 0, 5
rows = np.rint(rows * 40)
source = ArraySource(rows, dtype=rows.dtype)
for shift in (0, 3):
    source.step(rows[:7] + np.float32(shift))
print(source.labels.tobytes().hex()[:999], bool(source._kept))
"""


def double(x):
    return 2 * x


def run(code: str, **environment: str) -> str:
    """What Python prints."""
    everything = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run([sys.executable, "-c", code], env=everything, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_size_decides():
    """Few values do not load compiled code, many do; both give the same bits."""
    assert KMeans(5, random_state=0).fit(X[:5000]).engine_ == "numpy"
    assert KMeans(5, random_state=0).fit(X).engine_ == "numba"
    assert kernels.engine_name(np) == "numba"


def test_the_environment_decides(monkeypatch):
    """GPUKM_ENGINE overrides the size; what it may not be is said."""
    monkeypatch.setenv("GPUKM_ENGINE", "numpy")
    reference = KMeans(5, random_state=0).fit(X)
    monkeypatch.setenv("GPUKM_ENGINE", "numba")
    fast = KMeans(5, random_state=0).fit(X)
    assert (reference.engine_, fast.engine_) == ("numpy", "numba")
    assert np.array_equal(reference.cluster_centers_, fast.cluster_centers_)
    assert np.array_equal(reference.labels_, fast.labels_)
    assert (reference.inertia_, reference.n_iter_) == (fast.inertia_, fast.n_iter_)
    assert np.array_equal(reference.withinss_, fast.withinss_)
    assert [h.inertia for h in reference.history_] == [h.inertia for h in fast.history_]
    monkeypatch.setenv("GPUKM_ENGINE", "fortran")
    with pytest.raises(ValueError, match="'fortran'; it may be 'numpy' or 'numba'"):
        KMeans(5).fit(X)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("name", ["numpy", "numba"])
def test_a_forked_process_fits(name):
    """After a fit has started threads, a fork of the process has none of them, and starts its own."""
    code = FIT + (
        "import os\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if gpukm.KMeans(5, random_state=0).fit(X).inertia_ == model.inertia_ else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert run(code, GPUKM_ENGINE=name).splitlines()[-1] == "0"


def test_fits_in_several_threads_at_once(engine):
    """Fits that share the threads do not disturb each other, and an error in one stays there."""
    expected = KMeans(5, random_state=0).fit(X).inertia_
    bad = np.where(np.arange(len(X))[:, None] == 40_000, np.float32(np.nan), X)

    def fit(index):
        if index % 3 == 2:
            with pytest.raises(ValueError, match="40000"):
                KMeans(5, random_state=0).fit(bad)
            return expected
        return KMeans(5, random_state=0).fit(X).inertia_

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(fit, range(12))) == {expected}


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "NUMBA_NUM_THREADS"])
def test_threads_can_be_limited(monkeypatch, name):
    """The variables that other libraries read are read here too; nonsense in them is passed over."""
    before = available_threads()
    monkeypatch.setenv(name, "1")
    assert available_threads() == 1
    monkeypatch.setenv(name, "many")
    assert available_threads() == before


def test_numba_that_is_missing_or_broken(monkeypatch):
    """Missing: the reference runs. Broken: it runs, and a warning names the reason. Asked for by name: an error."""
    monkeypatch.setattr(engine, "find_spec", lambda name: None)
    engine.numba_works.cache_clear()
    try:
        assert kernels.engine_name(np) == "numpy"
        monkeypatch.setenv("GPUKM_ENGINE", "numba")
        with pytest.raises(ImportError, match="pip install 'gpukm\\[cpu\\]'"):
            kernels.engine_name(np)
        monkeypatch.delenv("GPUKM_ENGINE")
        engine.numba_works.cache_clear()

        def broken(name):
            raise ImportError("Numba needs NumPy 1.0")

        monkeypatch.setattr(engine, "find_spec", lambda name: object())
        monkeypatch.setattr(engine, "import_module", broken)
        with pytest.warns(UserWarning, match="needs NumPy 1.0.*slower NumPy engine"):
            assert kernels.engine_name(np) == "numpy"
    finally:
        engine.numba_works.cache_clear()


def test_nowhere_to_keep_compiled_code(monkeypatch, caplog, tmp_path):
    """Without a folder that can be written to, nothing is kept; that is said once, for those who debug."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file"))
    jit_numba.cache_folder.cache_clear()
    try:
        with caplog.at_level(logging.DEBUG, "gpukm"):
            assert jit_numba.jit()(double)(2) == 4
            assert jit_numba.jit()(double)(3) == 6
        assert [record.message.partition(" in ")[0] for record in caplog.records] == ["compiled code cannot be kept"]
    finally:
        jit_numba.cache_folder.cache_clear()


def test_compiled_code_of_other_sources_is_not_used(monkeypatch, tmp_path):
    """The cache is named after the contents of all files that are compiled into each other."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    jit_numba.cache_folder.cache_clear()
    try:
        folder = jit_numba.cache_folder()
        assert jit_numba.jit()(double)(2) == 4
        assert list(Path(folder).rglob("*.nbi")) and numba.config.CACHE_DIR == str(tmp_path)
        other = tmp_path / "exact.py"
        other.write_text("changed")
        monkeypatch.setattr(jit_numba.exact, "__file__", str(other))
        jit_numba.cache_folder.cache_clear()
        assert jit_numba.cache_folder() != folder
    finally:
        jit_numba.cache_folder.cache_clear()


@pytest.mark.parametrize("features", ["+avx2,+fma", "+sse4.2"], ids=["AVX2", "SSE"])
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="names x86 instructions")
def test_narrow_vectors_give_the_same_bits(features, tmp_path):
    """Processors without AVX-512, or without AVX, run other tiles to the same result."""
    narrow = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    assert run(FIT + IN_16_BITS, **narrow) == run(FIT + IN_16_BITS)
    shape = "from gpukm.kernels import vectors_numba as v; print(v.LANES, v.GROUP)"
    assert run(shape, **narrow) == {"+avx2,+fma": "8 4", "+sse4.2": "4 4"}[features]


GUARDED = """
import ctypes, mmap
import numpy as np
from gpukm.array_source import ArraySource
from gpukm.kernels import bounds
from gpukm.kernels.vectors_numba import ROWS
libc = ctypes.CDLL(None)
for usual in (True, False):
    if not usual:  # rows by list, too
        bounds.COST, bounds.LEAST_STANDING, bounds.SPARSE = {"numba": 0}, -1, 1
    for d in (1, 2, 3, 5):
        for n in range(4 * ROWS, 5 * ROWS + 1):
            size = -(-4 * n * d // mmap.PAGESIZE) * mmap.PAGESIZE
            room = mmap.mmap(-1, size + mmap.PAGESIZE)
            behind = ctypes.addressof(ctypes.c_char.from_buffer(room)) + size
            assert libc.mprotect(ctypes.c_void_p(behind), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
            X = np.frombuffer(room, np.float32, n * d, size - 4 * n * d).reshape(n, d)
            X[...] = np.random.default_rng(n).random((n, d))
            source = ArraySource(X, dtype=np.float32, n_threads=1, block_rows=n)
            for move in (0, 1e-3, 2e-3):
                source.step(X[:3] + np.float32(move))
            source.inertia(X[:3], source.labels)
            source.stats()
            source.distances(X[:3])
            source.potential().commit(X[0])
            if usual and d < 5:
                source._arrange()  # reads X for the last time
print("not a byte too far")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs mprotect")
def test_nothing_behind_the_rows_is_read():
    """Rows may end where a memory map does: the page behind them is forbidden here, and reading it ends the process."""
    assert run(GUARDED, GPUKM_ENGINE="numba") == "not a byte too far"
