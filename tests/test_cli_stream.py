"""The command line on files larger than --max-memory: the same results, checkpoints, progress."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gpukm import KMeans, _progress, load
from gpukm.cli import main
from gpukm.sources import Iteration

ROOT = Path(__file__).parents[1]


@pytest.fixture
def X(tmp_path, monkeypatch):
    """A folder to work in, with the same rows in several formats."""
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32)
    np.save("X.npy", rows)
    np.savez("X.npz", X=rows, y=rows[:3])
    return rows


def run(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_large_files_give_the_model_of_small_ones(X, capsys):
    """Each format, read in blocks: model, labels and JSON are those of the fit in memory."""
    wanted = KMeans(4, random_state=0).fit(X)
    pa, h5py, zarr = (pytest.importorskip(name) for name in ("pyarrow", "h5py", "zarr"))
    parquet, feather = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow.feather")
    table = pa.table({name: X[:, j] for j, name in enumerate("abcd")})
    parquet.write_table(table, "X.parquet", row_group_size=300)
    feather.write_feather(table, "X.arrow", chunksize=300)
    with h5py.File("X.h5", "w") as file:
        file["X"] = X
    zarr.save_array("X.zarr", X)
    for data, *options in (
        ["X.npy"],
        ["X.npz", "--array", "X"],
        ["X.parquet"],
        ["X.arrow", "--columns", "a,b,c,d"],
        ["X.h5", "--array", "X"],
        ["X.zarr"],
    ):
        words = [data, *options, "--max-memory", "16K"]
        code, out, err = run(capsys, "fit", *words, "-k", 4, "-o", "m.npz", "--labels", "l.npy", "--json", "--force")
        assert code == 0, err
        facts = json.loads(out)
        assert (facts["n_samples"], facts["inertia"], facts["n_iter"]) == (2000, wanted.inertia_, wanted.n_iter_)
        assert facts["feature_names"] == (list("abcd") if data in ("X.parquet", "X.arrow") else None)
        np.testing.assert_array_equal(np.load("l.npy"), wanted.labels_)
        np.testing.assert_array_equal(load("m.npz").cluster_centers_, wanted.cluster_centers_)
        code, out, err = run(capsys, "predict", "m.npz", *words, "-o", "p.npy", "--force")
        assert (code, out, err) == (0, "", "gpukm: wrote p.npy: 2000 labels\n")
        np.testing.assert_array_equal(np.load("p.npy"), wanted.labels_)
        code, out, err = run(capsys, "predict", "m.npz", *words, "--force")
        assert code == 0 and out.split() == [str(label) for label in wanted.labels_]
    code, _, err = run(capsys, "predict", "m.npz", "X.npy", "--max-memory", "16K", "-o", "p.csv")
    assert code == 0 and Path("p.csv").read_text().split()[1:] == [str(label) for label in wanted.labels_]


def test_columns_and_dtype_of_a_large_file(X, capsys):
    """Chosen columns and another dtype are taken block by block."""
    wanted = KMeans(3, random_state=0).fit(X[:, [3, 1]].astype(np.float64))
    words = ["X.npy", "--columns", "4,2", "--dtype", "float64", "-k", 3, "--json"]
    for memory in ("16K", "64M"):
        code, out, err = run(capsys, "fit", *words, "--max-memory", memory)
        assert code == 0, err
        assert json.loads(out)["inertia"] == wanted.inertia_ and json.loads(out)["dtype"] == "float64"


def test_options_that_make_no_sense(X, capsys):
    """Sizes, names and formats: exit 2, and what is allowed."""
    for words, match in (
        (["--max-memory", "0"], "not a number of bytes such as"),
        (["--max-memory", "many"], "not a number of bytes such as"),
        (["--checkpoint", "run.txt"], "must end in .npz"),
        (["--checkpoint", "X.npy"], "must end in .npz"),
        (["--checkpoint", "m.npz", "-o", "m.npz"], "is the same file as"),
        (["--checkpoint-every", "-1"], "not a number of at least 0"),
    ):
        code, _, err = run(capsys, "fit", "X.npy", "-k", 2, *words)
        assert code == 2 and match in err
    Path("x.arrow").write_bytes(b"x")
    code, _, err = run(capsys, "fit", "x.arrow", "-k", 2, "--delimiter", ";")
    assert code == 2 and "have no meaning for .arrow files" in err


def test_missing_values_of_a_large_file(X, capsys):
    """Rows with NaN are left out block by block: model, labels and message are those of a file read as a whole."""
    X[[0, 5, 6, 999, 1999], [0, 1, 2, 3, 0]] = np.nan
    np.save("gaps.npy", X)
    results = []
    for memory in ("64M", "16K"):
        words = ["gaps.npy", "--drop-missing", "--max-memory", memory, "--force"]
        code, out, err = run(capsys, "fit", *words, "-k", 4, "--json", "--labels", "l.npy", "-o", "m.npz")
        assert code == 0 and "left out 5 of 2000 rows" in err
        labels = np.load("l.npy")
        assert json.loads(out)["rows_left_out"] == 5 and json.loads(out)["n_samples"] == 1995
        code, _, err = run(capsys, "predict", "m.npz", *words, "-o", "p.npy")
        assert code == 0 and "left out 5 of 2000 rows" in err
        np.testing.assert_array_equal(np.load("p.npy"), labels)
        results.append((json.loads(out)["inertia"], labels.tolist()))
    assert results[0] == results[1] and results[0][1].count(-1) == 5


def test_a_fault_writes_nothing(X, capsys):
    """NaN late in a large file: one line, exit 1, no file."""
    X[1777, 3] = np.nan
    np.save("bad.npy", X)
    main(["fit", "X.npy", "-k", "3", "-o", "m.npz", "--quiet"])
    before = sorted(os.listdir())
    capsys.readouterr()
    for words in (
        ["fit", "bad.npy", "-k", 3, "-o", "n.npz", "--labels", "l.npy"],
        ["predict", "m.npz", "bad.npy", "-o", "l.npy"],
    ):
        code, out, err = run(capsys, *words, "--max-memory", "16K")
        assert (code, out) == (1, "") and "bad.npy: row 1778, column 4" in err and err.count("\n") == 1
        assert sorted(os.listdir()) == before


def test_a_checkpoint_goes_on(X, capsys, monkeypatch):
    """Interrupted, the command says what to do; the same command ends in the same model; another one is refused."""
    words = ["fit", "X.npy", "-k", 5, "--max-memory", "16K", "--checkpoint", "run.npz", "-o", "m.npz", "--json"]
    from gpukm import lloyd as module

    step, calls = module._inertia, []

    def interrupt(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(module, "_inertia", interrupt)
    code, out, err = run(capsys, *words)
    assert (code, out) == (130, "") and "run.npz has the state: the same command goes on from it" in err
    assert not os.path.exists("m.npz")
    code, out, err = run(capsys, *words)
    assert code == 0 and err.startswith("gpukm: going on from run.npz\n")
    wanted = KMeans(5, random_state=0).fit(X)
    assert json.loads(out)["n_iter"] == wanted.n_iter_
    np.testing.assert_array_equal(load("m.npz").cluster_centers_, wanted.cluster_centers_)
    code, _, err = run(capsys, *[6 if word == 5 else word for word in words], "--force")
    assert code == 1 and "belongs to another fit: n_clusters is 5 there and 6 here" in err


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name == "nt", reason="needs POSIX signals")
def test_a_real_interrupt_of_a_large_fit_ends_at_once(X):
    """Ctrl-C while rows are read ahead: exit 130, the state is kept, no thread holds the process up."""
    rng = np.random.default_rng(1)
    np.save("large.npy", rng.normal(size=(60_000, 8)).astype(np.float32))
    command = [sys.executable, "-m", "gpukm", "fit", "large.npy", "-k", "40", "--tol", "0", "--verbose"]
    command += ["--max-memory", "256K", "--checkpoint", "run.npz"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        for _ in range(3):
            assert process.stderr.readline().startswith(b"Iteration ")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == b"" and b"run.npz has the state" in err


# -- progress ----------------------------------------------------------------------------------------------


def iteration(number, seconds=0.5):
    return Iteration(number, 1234567.0, 0.1, seconds, 10, 0, 0)


def lines(capsys, **options):
    with _progress.progress(
        **({"verbose": False, "quiet": False, "n_samples": 1000, "max_iter": 300} | options)
    ) as show:
        if show is not None:
            for number in (1, 2, 3, 1):
                show(iteration(number))
    return capsys.readouterr().err.splitlines()


def test_lines_come_now_and_then(capsys, monkeypatch):
    """Not on a terminal: a line where ten seconds have passed, with speed and the time left at most; quiet has none."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    assert lines(capsys) == []
    monkeypatch.setattr(time, "monotonic", lambda: clock.__setitem__(0, clock[0] + 6) or clock[0])
    assert lines(capsys) == [
        "gpukm: iteration 2, inertia 1.23457e+06, 2e+03 rows/s, at most 0:02:29 left in this start",
        "gpukm: start 2, iteration 1, inertia 1.23457e+06, 2e+03 rows/s, at most 0:02:30 left in this start",
    ]
    assert lines(capsys, quiet=True) == []
    assert len(lines(capsys, verbose=True)) == 4


def test_a_terminal_has_one_line_that_changes(monkeypatch, capsys):
    """With rich's real console, on something that says it is a terminal."""
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = "\n".join(lines(capsys))
    assert "iteration" in shown or "starting centroids" in shown
