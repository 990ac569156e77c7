"""The benchmarks: their data, their refusal of unequal work, their report. No assertion on times."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")  # its photos, its digits, and the one all are compared with
pytest.importorskip("scipy")
pytest.importorskip("threadpoolctl")

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))  # the scripts import each other by name, as they do when run

import harness  # noqa: E402
import minibatch  # noqa: E402
import oversampling  # noqa: E402
import peers  # noqa: E402
import plain  # noqa: E402
import report  # noqa: E402
import shapes  # noqa: E402
import timing  # noqa: E402

WORKLOADS = shapes.select(None, smoke=True)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda w: w.name)
def test_a_workload_is_the_same_rows_and_start_every_time(workload):
    """A name and a seed stand for one data set; its start is k distinct rows of it."""
    if workload.kind in ("photo", "patches"):
        pytest.importorskip("PIL")
    X, again = shapes.make(workload), shapes.make(workload)
    np.testing.assert_array_equal(X, again)
    centroids = shapes.start(workload, X)
    np.testing.assert_array_equal(centroids, shapes.start(workload, again))
    assert len(np.unique(centroids, axis=0)) == workload.k
    assert {row.tobytes() for row in centroids} <= {row.tobytes() for row in X}


def test_pixels_are_whole_numbers_of_a_byte():
    """Photo workloads hold what an image file holds, as float32."""
    pytest.importorskip("PIL")
    X = shapes.make(next(w for w in WORKLOADS if w.kind == "photo"))
    assert X.dtype == np.float32
    np.testing.assert_array_equal(X, X.astype(np.uint8))


def test_selection_by_name_and_scale():
    """--scale multiplies n and nothing else; an unknown name is answered with the known ones."""
    (w,) = shapes.select(["geo-2-8"], scale=0.01)
    assert w == replace(shapes.WORKLOADS["geo-2-8"], n=10_000)
    with pytest.raises(SystemExit, match=r"nonsense.*geo-2-8"):
        shapes.select(["nonsense"])
    with pytest.raises(SystemExit, match=r"nonsense.*scikit-learn"):
        peers.select(["nonsense"])


def test_inertia_of_the_harness_is_the_sum_of_squared_distances():
    """The one inertia all are judged by: against the definition, far from the origin, over several blocks."""
    rng = np.random.default_rng(0)
    X = (rng.random((300, 5)) + 1000).astype(np.float32)
    centroids = X[:7]
    wanted = ((X[:, None].astype(float) - centroids[None].astype(float)) ** 2).sum(axis=2).min(axis=1).sum()
    assert peers.inertia(X, centroids, rows=64) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("d", [2, 16])
def test_the_plain_yardstick_is_lloyd(d):
    """numpy-plain, on both of its ways to add, does the same updates as the definition."""
    rng = np.random.default_rng(d)
    X = (rng.standard_normal((3000, d)) + 50).astype(np.float32)
    centroids = X[:5].astype(float)
    for _ in range(4):
        labels = ((X[:, None] - centroids[None]) ** 2).sum(axis=2).argmin(axis=1)
        centroids = np.stack([X[labels == j].mean(axis=0, dtype=float) for j in range(5)])
    np.testing.assert_allclose(plain.fit(X, X[:5], 4, threads=2), centroids, rtol=1e-5)


def _fit(inertia, iterations=10):
    return peers.Fit(np.zeros((2, 2)), iterations, inertia, 1.0)


def test_unequal_work_is_refused():
    """Another inertia or another number of updates ends the benchmark, with both named; rounding does not."""
    workload = shapes.WORKLOADS["uniform-16-64"]
    peers.check_equal(workload, {"a": _fit(1000.0), "b": _fit(1000.05), "c": _fit(999.95)})
    with pytest.raises(SystemExit, match=r"uniform-16-64.*a has inertia 1000 and b has 1001\.5"):
        peers.check_equal(workload, {"a": _fit(1000.0), "b": _fit(1001.5)})
    with pytest.raises(SystemExit, match=r"a did 10 updates.*b did 9"):
        peers.check_equal(workload, {"a": _fit(1000.0), "b": _fit(1000.0, 9)})
    with pytest.raises(SystemExit, match="unequal work"):
        peers.check_equal(workload, {"a": _fit(1000.0), "b": _fit(float("nan"))})


def test_a_worse_result_is_refused():
    """Mini-batches and k-means|| are only timed where they end as well as what they are compared with."""
    minibatch.check("w", {"gpukm": [100.9, 300, 50], "scikit-learn": [100.0, 99, 101]}, 0.01)
    with pytest.raises(SystemExit, match=r"w: unequal work.*is 102, scikit-learn's 100"):
        minibatch.check("w", {"gpukm": [102.0], "scikit-learn": [100.0]}, 0.01)
    rounds = {"k-means++": [{"inertia": 100.0}], "k-means||": [{"inertia": 104.0}]}
    oversampling.check("w", rounds, 0.05)
    with pytest.raises(SystemExit, match=r"w: unequal work.*k-means\|\| is 104, after greedy k-means\+\+ 100"):
        oversampling.check("w", rounds, 0.03)


def test_rounds_are_interleaved_and_the_warm_up_is_checked_but_not_counted():
    """A B A B A B, the first A B being the warm-up."""
    calls, checked = [], []
    tasks = {name: lambda name=name: calls.append(name) or len(calls) for name in "ab"}
    assert timing.interleave(tasks, 2, checked.append) == {"a": [3, 5], "b": [4, 6]}
    assert calls == list("ababab")
    assert checked == [{"a": 1, "b": 2}, {"a": 3, "b": 4}, {"a": 5, "b": 6}]
    assert timing.ratio([2.0, 3.0, 8.0], [1.0, 1.0, 2.0]) == (3.0, 2.0, 4.0)


def _run(script, *words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(ROOT / "bench" / script), "--smoke", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_fit_runs_at_equal_work_on_every_workload(tmp_path):
    """Every contestant installed here finishes the same work, and the results say what was run."""
    pytest.importorskip("PIL")
    out = tmp_path / "fit.json"
    _run("fit.py", "--out", out)
    text = out.read_text(encoding="utf-8")
    data = json.loads(text)
    assert [row["name"] for row in data["results"]] == list(shapes.WORKLOADS)
    for row in data["results"]:
        assert {"scikit-learn", "scipy", "numpy-plain", "gpukm-numpy", "gpukm"} <= row["contestants"].keys()
        assert {c["iterations"] for c in row["contestants"].values()} == {row["iterations"]}
    assert data["command"] == "python bench/fit.py --smoke"
    assert str(ROOT) not in text and str(tmp_path) not in text and os.uname().nodename not in data["machine"].values()


@pytest.mark.parametrize("script", ["seeding.py", "memory.py", "minibatch.py", "oversampling.py"])
def test_the_other_scripts_run(script, tmp_path):
    """A trial run ends well and writes its results."""
    _run(script, "--workloads", "geo-2-8,digits-784-10", "--out", tmp_path / "out.json")
    data = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert len(data["results"]) == 2
    assert report.TABLES[data["kind"]](data).count("\n| `") == 2


def test_a_run_of_some_workloads_keeps_the_others(tmp_path, monkeypatch):
    """Same file and options: its rows are replaced, the others stay, all in order; other options are refused."""
    monkeypatch.setattr(timing, "limit_threads", lambda threads: None)  # of the process that runs the tests
    out = tmp_path / "fit.json"
    words = ["--threads", "1", f"--out={out}"]
    args = harness.arguments("fit", "Doc.", [*words, "--workloads", "geo-2-8"], peers=True)
    assert args.workloads == ["geo-2-8"] and args.command == "python bench/fit.py --threads 1"
    for name, value in (("uniform-16-64", 1), ("geo-2-8", 2), ("uniform-16-64", 3)):
        harness.Report("fit", args).add(shapes.WORKLOADS[name], value=value)
    rows = json.loads(out.read_text(encoding="utf-8"))["results"]
    assert [(row["name"], row["value"]) for row in rows] == [("geo-2-8", 2), ("uniform-16-64", 3)]
    args.rounds = 7
    with pytest.raises(SystemExit, match=r"fit\.json holds results with rounds 5, this run has 7"):
        harness.Report("fit", args)


def _results(folder, name, **changed):
    w = shapes.WORKLOADS["geo-2-8"]
    contestants = {
        "scikit-learn": {"seconds": [4.0, 4.0, 6.0], "undecided": None},
        "numpy-plain": {"seconds": [1.0, 2.0, 2.0], "undecided": None},
        "gpukm-numpy": {"seconds": [2.0, 4.0, 3.0], "undecided": 40_000},
        "gpukm": {"seconds": [0.5, 0.4, 0.5], "undecided": 40_000},
    }
    row = {"name": w.name, "n": w.n, "d": w.d, "k": w.k, "iterations": w.iterations, "contestants": contestants}
    machine = {"cpu": "A CPU", "cores": 4, "cores_used": 2, "os": "An OS", "python": "3", "packages": {"numpy": "2"}}
    data = {"kind": "fit", "date": name[4:14], "command": "python bench/fit.py", "smoke": False, "scale": 1.0}
    data.update(machine=machine, results=[row], **changed)
    (folder / name).write_text(json.dumps(data), encoding="utf-8")


def test_report_round_trip(tmp_path):
    """The newest full results replace what is between the markers, and nothing else; twice is the same as once."""
    _results(tmp_path, "fit-2020-01-01.json")
    _results(tmp_path, "fit-2020-01-02.json")
    _results(tmp_path, "fit-2020-01-03.json", smoke=True)
    text = "before\n<!-- bench:fit -->\nold\n<!-- /bench -->\nbetween\n<!-- bench:memory -->\nkept\n<!-- /bench -->\n"
    filled = report.fill(text, report.tables(tmp_path))
    assert filled.startswith("before\n<!-- bench:fit -->\n| workload |")
    assert "| `geo-2-8` | 1,000,000 × 2 | 8 | 200 | 3.00 | 2.00 | 10.00 | 2.00 | 0.20% |" in filled
    assert "2020-01-02, A CPU, 2 of 4 cores" in filled and "`python bench/fit.py`" in filled
    assert filled.endswith("<!-- /bench -->\nbetween\n<!-- bench:memory -->\nkept\n<!-- /bench -->\n")
    assert report.fill(filled, report.tables(tmp_path)) == filled


def test_report_check_notices_a_page_out_of_date(tmp_path, monkeypatch):
    """--check writes nothing and exits 1; without it the page is written, and --check is content."""
    page = tmp_path / "README.md"
    page.write_text("<!-- bench:fit -->\n<!-- /bench -->\n", encoding="utf-8")
    _results(tmp_path, "fit-2020-01-01.json")
    for name, value in {"ROOT": tmp_path, "RESULTS": tmp_path, "PAGES": (page,)}.items():
        monkeypatch.setattr(report, name, value)
    assert report.main(["--check"]) == 1
    assert "workload" not in page.read_text(encoding="utf-8")
    assert report.main([]) == 0
    assert report.main(["--check"]) == 0


def test_the_committed_tables_are_those_of_the_committed_results():
    """README.md and bench/README.md are up to date."""
    if not report.tables():
        pytest.skip("no results yet")
    assert report.main(["--check"]) == 0
