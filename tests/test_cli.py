"""The command gpukm: what it prints, what it writes, how it fails."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import gpukm
from gpukm import KMeans, info, load
from gpukm.cli import main
from gpukm.tables import read_table

EXAMPLES = Path(__file__).parents[1] / "examples"
PENGUINS = str(EXAMPLES / "penguins.csv")
MEASURES = "bill_length_mm,bill_depth_mm,flipper_length_mm,body_mass_g"
FIT = ["fit", PENGUINS, "-k", "3", "--columns", MEASURES, "--drop-missing"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test runs in an empty folder of its own, where other processes find gpukm, too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(gpukm.__file__).parents[1]))
    return tmp_path


@pytest.fixture
def blobs(folder) -> str:
    rng = np.random.default_rng(0)
    np.save("blobs.npy", (rng.normal(size=(300, 4)) + rng.integers(5, size=(300, 1)) * 6).astype(np.float32))
    return "blobs.npy"


def fails(capsys, *argv: str, code: int = 1) -> str:
    """Run a command that must fail with one line on stderr and nothing on stdout; return that line."""
    assert main(list(argv)) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("gpukm"), err
    return err


# -- fit -------------------------------------------------------------------------------------------------


def test_fit_prints_what_the_library_finds(capsys):
    """The summary on stdout is KMeans's own; the message of rows left out goes to stderr."""
    assert main(FIT) == 0
    out, err = capsys.readouterr()
    model = KMeans(3, random_state=0).fit(read_table(PENGUINS, columns="3-6", drop_missing=True).values)
    model.feature_names_in_ = np.array(MEASURES.split(","), dtype=object)
    assert out == f"{model.summary()}\n" and "between_SS / total_SS" in out and "body_mass_g" in out
    assert err == "gpukm: left out 2 of 344 rows, which have missing values\n"


def test_fit_writes_a_model_and_labels_that_line_up_with_the_file(capsys):
    """Each row of the file has its label, -1 for rows left out; the model predicts the same."""
    assert main([*FIT, "-o", "m.npz", "--labels", "l.npy"]) == 0
    err = capsys.readouterr().err
    assert "gpukm: wrote m.npz: 3 clusters, 4 features\n" in err and "gpukm: wrote l.npy: 344 labels\n" in err
    labels = np.load("l.npy")
    assert labels.shape == (344,) and labels.dtype == np.int32 and list(np.flatnonzero(labels == -1)) == [3, 271]
    model = load("m.npz")
    table = read_table(PENGUINS, columns=MEASURES, drop_missing=True)
    del model.feature_names_in_
    assert_array_equal(model.predict(table.values), labels[labels >= 0])
    assert not hasattr(model, "labels_")
    assert sorted(os.listdir()) == ["l.npy", "m.npz"]


def test_fit_json_is_one_object_with_the_numbers_in_full(capsys, blobs):
    """Every number of the model, to the bit, and nothing else on stdout."""
    assert main(["fit", blobs, "-k", "5", "--seed", "3", "--json", "-o", "m.npz"]) == 0
    out, err = capsys.readouterr()
    facts = json.loads(out)
    model = KMeans(5, random_state=3).fit(np.load(blobs))
    assert facts["inertia"] == model.inertia_ and facts["totss"] == model.totss_ and facts["n_iter"] == model.n_iter_
    assert_array_equal(np.array(facts["cluster_centers"], dtype=np.float32), model.cluster_centers_)
    assert facts["size"] == model.size_.tolist() and facts["withinss"] == model.withinss_.tolist()
    assert (facts["n_samples"], facts["n_features"], facts["n_clusters"]) == (300, 4, 5)
    assert (facts["dtype"], facts["engine"], facts["seed"], facts["rows_left_out"]) == ("float32", "numpy", 3, 0)
    assert facts["betweenss"] == model.totss_ - model.inertia_ and facts["converged"] is True
    assert facts["model"] == "m.npz" and facts["labels"] is None and facts["feature_names"] is None
    assert err == "gpukm: wrote m.npz: 5 clusters, 4 features\n"


def test_fit_hands_its_options_to_kmeans(capsys, blobs, monkeypatch):
    """No option is accepted and ignored."""
    seen = []
    fit = KMeans.fit
    monkeypatch.setattr(KMeans, "fit", lambda self, X: (seen.append((self.get_params(), X.dtype)), fit(self, X))[1])
    options = ["--init", "random", "--n-init", "2", "--max-iter", "7", "--tol", "0.5", "--seed", "9", "--device", "cpu"]
    assert main(["fit", blobs, "-k", "2", *options, "--dtype", "float64"]) == 0
    (params, dtype), *_ = seen
    wanted = {
        "n_clusters": 2,
        "init": "random",
        "n_init": 2,
        "max_iter": 7,
        "tol": 0.5,
        "random_state": 9,
        "device": "cpu",
    }
    assert {name: params[name] for name in wanted} == wanted and dtype == np.float64
    assert main(["fit", blobs, "-k", "2"]) == 0
    defaults = KMeans(2).get_params()
    assert {**seen[1][0], "callback": None} == {**defaults, "random_state": 0} and seen[1][1] == np.float32


def test_fit_reads_the_array_the_columns_and_the_delimiter_asked_for(capsys, folder):
    """Options of reading reach the reader; \\t and tab are the tabulator."""
    X = np.arange(12.0).reshape(6, 2)
    np.savez("x.npz", a=X, b=-X)
    assert main(["fit", "x.npz", "--array", "b", "--columns", "2", "-k", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cluster_centers"] == [[-6.0]]
    for mark, option in ((";", ";"), ("\t", "tab"), ("\t", "\\t")):
        Path("x.csv").write_text(f"1{mark}2\n3{mark}4\n")
        assert main(["fit", "x.csv", "--delimiter", option, "--no-header", "-k", "1", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["cluster_centers"] == [[2.0, 3.0]]
    assert main(["fit", "x.csv", "--delimiter", "tab", "--header", "-k", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["feature_names"] == ["1", "2"]


def test_messages_go_to_stderr_and_can_be_silenced(capsys, blobs):
    """--verbose has a line an iteration; --quiet has none; stdout is the same."""
    outputs = []
    for options in ([], ["--verbose"], ["--quiet"]):
        assert main(["fit", blobs, "-k", "5", "--labels", "l.csv", "--force", *options]) == 0
        outputs.append(capsys.readouterr())
    assert outputs[0].out == outputs[1].out == outputs[2].out
    assert outputs[0].err == "gpukm: wrote l.csv: 300 labels\n" and outputs[2].err == ""
    assert outputs[1].err.startswith("Iteration 1, inertia ")


def test_warnings_are_single_lines_on_stderr(capsys, folder):
    """Fewer distinct rows than clusters is worth a warning, not a failure."""
    np.save("x.npy", np.ones((10, 2)))
    assert main(["fit", "x.npy", "-k", "2"]) == 0
    err = capsys.readouterr().err
    assert err.startswith("gpukm: warning: Number of distinct clusters (1) found") and err.count("\n") == 1
    assert main(["fit", "x.npy", "-k", "2", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_progress_is_shown_on_a_terminal_only(capsys, blobs, monkeypatch):
    """With rich and a terminal there is a status line; without rich, nothing is missing."""
    steps = []

    class Status:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def update(self, text):
            steps.append(text)

    class Console:
        def __init__(self, stderr):
            assert stderr

        def status(self, text):
            return Status()

    module = type(sys)("rich.console")
    module.Console = Console
    monkeypatch.setitem(sys.modules, "rich", type(sys)("rich"))
    monkeypatch.setitem(sys.modules, "rich.console", module)
    assert main(["fit", blobs, "-k", "5"]) == 0 and steps == []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["fit", blobs, "-k", "5", "--quiet"]) == 0 and steps == []
    assert main(["fit", blobs, "-k", "5", "-o", "m.npz"]) == 0
    assert steps and steps[0].startswith("iteration 1, inertia") and load("m.npz").callback is None
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["fit", blobs, "-k", "5"]) == 0


# -- predict ---------------------------------------------------------------------------------------------


def test_predict_prints_one_label_a_line_or_writes_them(capsys):
    """To stdout, to .csv and to .npy: the same labels, those of the fit, one for each row of the file."""
    main([*FIT, "-o", "m.npz", "--labels", "fit.npy", "--quiet"])
    capsys.readouterr()
    wanted = np.load("fit.npy")
    assert main(["predict", "m.npz", PENGUINS, "--drop-missing"]) == 0  # columns by the names in the model
    out, err = capsys.readouterr()
    assert_array_equal(np.array(out.split(), dtype=int), wanted)
    assert err == "gpukm: left out 2 of 344 rows, which have missing values\n"
    for name in ("l.npy", "l.csv"):
        assert main(["predict", "m.npz", PENGUINS, "--drop-missing", "--columns", "3-6", "-o", name]) == 0
        assert capsys.readouterr().out == ""
    assert_array_equal(np.load("l.npy"), wanted)
    lines = Path("l.csv").read_text().splitlines()
    assert lines[0] == "label" and lines[1:] == [str(label) for label in wanted]


def test_predict_says_which_columns_are_missing(capsys):
    """A file without the columns the model was fitted with is refused by name; so is another number of columns."""
    main([*FIT, "-o", "m.npz", "--quiet"])
    capsys.readouterr()
    Path("x.csv").write_text("a,b,c,d\n1,2,3,4\n")
    assert "no column 'bill_length_mm'; its columns are a, b, c, d" in fails(capsys, "predict", "m.npz", "x.csv")
    assert main(["predict", "m.npz", "x.csv", "--columns", "a,b,c,d"]) == 0
    capsys.readouterr()
    np.save("x.npy", np.zeros((2, 3)))
    assert "X has 3 features, but KMeans is expecting 4" in fails(capsys, "predict", "m.npz", "x.npy")


def test_a_pipe_that_closes_early_is_no_error(folder):
    """As in `gpukm predict ... | head -1`: no traceback, no message."""
    np.save("x.npy", np.zeros((200_000, 1)))
    main(["fit", "x.npy", "-k", "1", "-o", "m.npz", "--quiet"])
    command = [sys.executable, "-m", "gpukm", "predict", "m.npz", "x.npy"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 1


# -- info ------------------------------------------------------------------------------------------------


def test_info_says_what_is_here_and_what_would_run(capsys):
    """Versions, engines, extras and advice, as text and as JSON."""
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    assert (
        text.startswith(f"gpukm {gpukm.__version__}, ")
        and "NumPy: engine 'numba' on " in text
        and "'numpy' for fewer than 131,072 values" in text
    )
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["version"] == gpukm.__version__ and facts["numpy"] == np.__version__ and facts["threads"] >= 1
    assert facts["extras"]["image"]["Pillow"] and set(facts["extras"]) == set(info.EXTRAS)
    for name in facts["extras"]:
        assert f"  {name} " in text


def test_info_advises_what_is_missing(monkeypatch):
    """Each piece of advice is a command that would change something: pip's for an extra, or `gpukm compile`."""
    monkeypatch.setattr(info, "installed", lambda distribution: None)
    monkeypatch.setattr(info, "_nvidia_gpus", lambda: ([{"name": "GPU", "memory": 2**34}], "13.0"))
    text = info.report()
    assert "0: GPU, 16 GiB" in text and "pip install 'gpukm[cpu]'" in text and "pip install 'gpukm[cuda13]'" in text
    monkeypatch.setattr(info, "_nvidia_gpus", lambda: ([{"name": "GPU", "memory": 2**34}], "12.4"))
    assert "pip install 'gpukm[cuda12]'" in info.report()
    monkeypatch.setattr(info, "_nvidia_gpus", lambda: ([], None))
    monkeypatch.setattr(info, "installed", lambda distribution: "1.0")
    monkeypatch.setattr(info, "missing", lambda: True)
    assert "gpukm compile" in info.report()
    monkeypatch.setattr(info, "missing", lambda: False)
    text = info.report()
    assert "nothing to add" in text and "none seen" in text and "engine 'cuda' (CuPy 1.0)" in text


def test_gpus_are_asked_of_their_driver(monkeypatch):
    """Names, memory and CUDA version come from the driver's own functions; without a driver there are none."""

    class Driver:
        def __init__(self, status):
            self.cuInit = lambda flags: status

        def cuDriverGetVersion(self, version):
            version._obj.value = 12080
            return 0

        def cuDeviceGetCount(self, count):
            count._obj.value = 1
            return 0

        def cuDeviceGet(self, device, number):
            return number

        def cuDeviceGetName(self, name, length, device):
            name.value = b"Some GPU"
            return 0

        def cuDeviceTotalMem_v2(self, memory, device):
            memory._obj.value = 80 << 30
            return 0

    monkeypatch.setattr(info, "_load", lambda name: Driver(0))
    assert info._nvidia_gpus() == ([{"name": "Some GPU", "memory": 80 << 30}], "12.8")
    monkeypatch.setattr(info, "_load", lambda name: Driver(100))
    assert info._nvidia_gpus() == ([], None)
    monkeypatch.setattr(info, "_load", lambda name: None)
    assert info._nvidia_gpus() == ([], None)


# -- failures --------------------------------------------------------------------------------------------


def test_usage_errors_exit_with_2(capsys, blobs):
    """Unknown, abbreviated, missing and senseless options; the usage is shown."""
    for argv in (
        [],
        ["cluster"],
        ["fit"],
        ["fit", blobs],
        ["fit", blobs, "-k", "0"],
        ["fit", blobs, "-k", "two"],
        ["fit", blobs, "--cluster", "3"],
        ["fit", blobs, "-k", "3", "--verb"],
        ["fit", blobs, "-k", "3", "--tol", "-1"],
        ["fit", blobs, "-k", "3", "--tol", "nan"],
        ["fit", blobs, "-k", "3", "--max-iter", "-1"],
        ["fit", blobs, "-k", "3", "--n-init", "0"],
        ["fit", blobs, "-k", "3", "--init", "best"],
        ["fit", blobs, "-k", "3", "--dtype", "float16"],
        ["colors", "x.png", "-k", "257"],
        ["predict", "m.npz"],
        ["--vers"],
    ):
        assert main(argv) == 2, argv
        out, err = capsys.readouterr()
        assert out == "" and "usage: gpukm" in err and "error:" in err


def test_names_with_the_wrong_ending_are_usage_errors(capsys, blobs):
    """Before any work is done."""
    assert "-o m.txt: the name must end in .npz" in fails(capsys, "fit", blobs, "-k", "2", "-o", "m.txt", code=2)
    assert "--labels l.txt: the name must end in .npy or .csv" in fails(
        capsys, "fit", blobs, "-k", "2", "--labels", "l.txt", code=2
    )
    assert "-o l.npz: the name must end in .npy or .csv" in fails(capsys, "predict", "m", "d", "-o", "l.npz", code=2)


def test_one_file_is_not_input_and_output(capsys, blobs):
    """Nor two outputs, --force or not, whatever the spelling of the name."""
    assert "is the same file as blobs.npy" in fails(
        capsys, "fit", blobs, "-k", "2", "--labels", "./blobs.npy", "--force", code=2
    )


def test_what_exists_is_not_replaced_without_force(capsys, blobs, monkeypatch):
    """It is checked before any work is done, and again when the file is written."""
    monkeypatch.setattr(KMeans, "fit", None)
    for name in ("m.npz", "l.npy"):
        Path(name).write_bytes(b"old")
    for argv in (
        ["fit", blobs, "-k", "2", "-o", "m.npz"],
        ["fit", blobs, "-k", "2", "--labels", "l.npy"],
        ["predict", "none.npz", blobs, "-o", "l.npy"],
    ):
        assert f"gpukm: error: {argv[-1]}: exists; choose another name, or force=True (--force)\n" == fails(
            capsys, *argv
        )
        assert Path(argv[-1]).read_bytes() == b"old"
    assert "there is no folder" in fails(capsys, "fit", blobs, "-k", "2", "-o", "none/m.npz")
    monkeypatch.undo()
    os.chdir(Path(blobs).resolve().parent)


def test_force_replaces(capsys, blobs):
    """With --force an old file makes way."""
    Path("m.npz").write_bytes(b"old")
    assert main(["fit", blobs, "-k", "2", "-o", "m.npz", "--force"]) == 0
    assert load("m.npz").n_clusters == 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["fit", "none.csv", "-k", "2"], "none.csv: no such file"),
        (["fit", PENGUINS, "-k", "2"], "line 2, column 'species': 'Adelie' is not a number"),
        (["fit", PENGUINS, "-k", "2", "--columns", "3-6"], "line 5, column 'bill_length_mm': missing value ('NA')"),
        (["fit", "nan.npy", "-k", "2"], "nan.npy: row 2, column 1: missing value (nan)"),
        (["fit", "blobs.npy", "-k", "301"], "n_samples=300 should be >= n_clusters=301"),
        (["fit", "blobs.npy", "-k", "2", "--device", "cuda:99"], "CUDA"),
        (["fit", "blobs.npy", "-k", "2", "--device", "gpu"], "The 'device' parameter of KMeans must be"),
        (["fit", "blobs.npy", "-k", "2", "--header"], "header has no meaning for a .npy file"),
        (["predict", "blobs.npy", "blobs.npy"], "blobs.npy: not an .npz file"),
        (["predict", "none.npz", "blobs.npy"], "none.npz: no such file"),
        (["colors", "none.png"], "none.png: no such file"),
        (["colors", "blobs.npy"], "blobs.npy: not an image"),
    ],
)
def test_failures_are_one_line_and_exit_with_1(capsys, blobs, argv, message):
    """No traceback: what was given, and what to do."""
    np.save("nan.npy", np.array([[1.0], [np.nan], [2.0]]))
    before = sorted(os.listdir())
    assert message in fails(capsys, *argv)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "m.npz"), MemoryError()])
def test_a_failed_write_leaves_nothing_half_written(capsys, blobs, monkeypatch, error):
    """The message says why; no file and no temporary file stays."""

    def fail(*_):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    line = fails(capsys, "fit", blobs, "-k", "2", "-o", "m.npz")
    assert line in ("gpukm: error: m.npz: No space left on device\n", "gpukm: error: not enough memory\n")
    assert os.listdir() == [blobs]


def test_interrupts_exit_with_130_and_write_nothing(capsys, blobs, monkeypatch):
    """Ctrl-C during a fit: no traceback, no file."""

    def fit(self, X):
        raise KeyboardInterrupt

    monkeypatch.setattr(KMeans, "fit", fit)
    assert (
        fails(capsys, "fit", blobs, "-k", "2", "-o", "m.npz", code=130) == "gpukm: interrupted; nothing was written\n"
    )
    assert os.listdir() == [blobs]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent as on POSIX")
def test_a_real_interrupt_ends_a_real_fit(folder):
    """SIGINT to the process, in the middle of the iterations."""
    np.save("x.npy", np.random.default_rng(0).random((200_000, 8), dtype=np.float32))
    command = [
        sys.executable,
        "-m",
        "gpukm",
        "fit",
        "x.npy",
        "-k",
        "64",
        "--tol",
        "0",
        "--max-iter",
        "100000",
        "--verbose",
    ]
    with subprocess.Popen([*command, "-o", "m.npz"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr.readline().startswith(b"Iteration 1,")
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and out == b"" and err.endswith(b"gpukm: interrupted; nothing was written\n")
    assert b"Traceback" not in err and os.listdir() == ["x.npy"]


# -- the command itself ----------------------------------------------------------------------------------


def test_version_and_help_go_to_stdout(capsys):
    """Each subcommand's help has an example that starts with the command."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gpukm {gpukm.__version__}\n"
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n    {name} " in text for name in ("fit", "predict", "info", "colors", "palette", "apply"))
    for command in ("fit", "predict", "info", "colors", "palette", "apply"):
        assert main([command, "--help"]) == 0
        out, err = capsys.readouterr()
        assert f"\n  gpukm {command} " in out[out.index("\nexample") :] and err == ""


def test_the_examples_of_the_help_run(capsys, folder):
    """What --help shows works as it stands, from the root of the repository."""
    import shlex

    from gpukm.cli import _EXAMPLES

    os.symlink(EXAMPLES, "examples")
    np.save("blobs.npy", np.random.default_rng(0).normal(size=(500, 2)))
    for text in _EXAMPLES.values():
        for line in text.splitlines()[1:]:
            program, *argv = shlex.split(line.split(">")[0])
            assert program == "gpukm" and main(argv) == 0, line
    made = ["chelsea-16.png", "chelsea.html", "labels.csv", "out", "penguins.npz", "shared.gpl", "shared.json", "small"]
    assert sorted(os.listdir()) == sorted(["blobs.npy", "examples", *made])


def test_the_module_runs_as_a_program(folder):
    """python -m gpukm is the command, with its exit codes."""
    command = [sys.executable, "-m", "gpukm"]
    done = subprocess.run([*command, *FIT, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["n_samples"] == 342
    failed = subprocess.run([*command, "fit", "none.npy", "-k", "2"], capture_output=True, text=True)
    assert (failed.returncode, failed.stdout, failed.stderr) == (1, "", "gpukm: error: none.npy: no such file\n")
    assert subprocess.run([*command, "fit"], capture_output=True).returncode == 2


def test_make_blobs_writes_what_it_says(folder):
    """Rows, columns and dtype as asked, the same for the same seed; an existing file stays."""
    command = [sys.executable, str(EXAMPLES / "make_blobs.py"), "b.npy", "--rows", "70000", "-d", "3", "-k", "5"]
    subprocess.run(command, check=True)
    blobs = np.load("b.npy")
    assert blobs.shape == (70000, 3) and blobs.dtype == np.float32
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 2 and "b.npy exists" in again.stderr
    subprocess.run([*command, "--force", "--rows", "65537", "--dtype", "float64"], check=True)
    more = np.load("b.npy")
    assert more.dtype == np.float64 and os.listdir() == ["b.npy"]
    assert_array_equal(more[:65536].astype(np.float32), blobs[:65536])
    assert main(["fit", "b.npy", "-k", "5", "--quiet"]) == 0
