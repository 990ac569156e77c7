"""gpukm compile: after it, nothing is left to compile for a fit, a prediction or a mini-batch."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from gpukm import KMeans, _commands, compiling
from gpukm.cli import main
from gpukm.kernels import KINDS, background, worth_keeping

pytest.importorskip("numba")

# What users call, with other shapes, weights, layouts and options than the command has; what it prints was compiled.
FITS = """
import numpy as np
from gpukm import KMeans, MiniBatchKMeans
from gpukm.kernels import compilations

rng = np.random.default_rng(1)
with compilations() as compiled:
    for n, d, k in ((9000, 2, 5), (140_000, 3, 50), (20_000, 4, 16), (7001, 30, 9), (5000, 70, 100), (4000, 8, 40)):
        for dtype in (np.uint8, np.float32, np.float64):
            X = (rng.random((n, d)) * 200).astype(dtype)
            for weights in (None, rng.random(n)):
                model = KMeans(k, random_state=0, max_iter=5).fit(X, sample_weight=weights)
                assert model.engine_ == "numba"
            model.predict(X), model.transform(X[:3000]), model.score(X)
            MiniBatchKMeans(k, random_state=0, max_iter=1).fit(X)
        KMeans(k, random_state=0, max_iter=3).fit(X.T.copy().T)
    for dtype in (np.float32, np.float64):
        KMeans(9, random_state=0, max_iter=3).fit(np.rint(9 * rng.random((9000, 120))).astype(dtype))
print(sorted(set(compiled)))
"""


def test_nothing_is_left_to_compile(capsys):
    """For a process that comes later; a second run of the command finds everything there, and says where."""
    assert main(["compile"]) == 0
    first = capsys.readouterr()
    assert "compiling for float32, 3000 x 3, 8 clusters" in first.err
    environment = {**os.environ, "GPUKM_ENGINE": "numba"}
    assert all(background._note(kind, "done").exists() for kind in KINDS)
    assert not any(background._note(kind, "begun").exists() for kind in KINDS)
    command = [sys.executable, "-W", "ignore", "-c", FITS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    done = subprocess.run(
        [sys.executable, "-c", background.PROGRAM, KINDS[1]], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert main(["compile", "--quiet"]) == 0
    again = capsys.readouterr()
    assert re.fullmatch(r"compiled 0 functions in \d+ s, kept in \S+numba-\w+\n", again.out) and not again.err


def test_the_copy_in_8_bits_is_compiled_too(monkeypatch):
    """One of the shapes is large enough for it, where the processor has what it needs."""
    monkeypatch.setattr("gpukm.kernels.int8_numba.pairs_pay", lambda: True)
    shapes = [(np.empty((n, d), np.float32), k) for n, d, k in compiling.SHAPES["wide"]]
    assert [worth_keeping("numba", X, k, KMeans(k).max_memory) for X, k in shapes] == [False, False, True]


def test_the_engine_that_was_asked_for_stays(monkeypatch):
    """GPUKM_ENGINE is set meanwhile, and what it was before comes back, also when something fails."""
    monkeypatch.setenv("GPUKM_ENGINE", "numpy")
    monkeypatch.setattr(compiling, "_call_everything", lambda X, k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compiling.compile_engine()
    assert os.environ["GPUKM_ENGINE"] == "numpy"


def test_what_stands_in_the_way_is_said(monkeypatch, capsys):
    """Numba is not installed; there is nowhere to keep what is compiled."""
    monkeypatch.setattr(compiling, "numba_works", lambda: False)
    assert main(["compile"]) == 1
    assert "compiling the engine needs Numba" in capsys.readouterr().err
    monkeypatch.setattr(_commands.compiling, "compile_engine", lambda say: (9, 1.0, None))
    assert main(["compile"]) == 1
    assert "Set NUMBA_CACHE_DIR to a folder" in capsys.readouterr().err
