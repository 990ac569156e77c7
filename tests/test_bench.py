"""The benchmarks: their data, their refusal of unequal work, their report. No assertion on times."""

import json
import os
import re
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

import fit  # noqa: E402
import harness  # noqa: E402
import minibatch  # noqa: E402
import oversampling  # noqa: E402
import peers  # noqa: E402
import plain  # noqa: E402
import plot  # noqa: E402
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
    with pytest.raises(SystemExit, match=r"nonsense.*clustered"):
        shapes.select(None, data=["nonsense"])
    with pytest.raises(SystemExit, match=r"nonsense.*scikit-learn"):
        peers.select(["nonsense"])


def test_other_data_in_the_same_shape():
    """Each kind keeps n, d and k; patches come where d is a square, or three of them; nothing is there twice."""
    found = shapes.select(None, data=shapes.DATA)
    for w in found:
        named = shapes.WORKLOADS[w.name.partition("/")[0]]
        assert (w.n, w.d, w.k) == (named.n, named.d, named.k)
    assert len({(w.n, w.d, w.k, w.kind, w.spread, w.iterations) for w in found}) == len(found)
    images = {w.d: w.iterations for w in found if w.name.endswith("/images")}
    assert images == {16: 20, 64: 20, 768: 20, 784: 20}
    assert {w.iterations for w in found if w.name.endswith("/clustered")} == {50}
    assert list(shapes.DATA) == report.KINDS


@pytest.mark.parametrize("kind", shapes.DATA)
def test_other_data_are_the_same_rows_every_time(kind):
    """As for the named workloads; patches of 768 values are of three colours."""
    if kind == "images":
        pytest.importorskip("PIL")
    for w in shapes.select(["patches-64-256", "embeddings-768-256"], smoke=True, data=[kind]):
        X = shapes.make(w)
        np.testing.assert_array_equal(X, shapes.make(w))
        assert len(np.unique(shapes.start(w, X), axis=0)) == w.k
        if kind == "images" and w.d == 768:  # every third value: one colour, smooth along a line of 16 pixels
            lines = X.reshape(-1, 3, 16, 16)
            assert np.abs(np.diff(lines, axis=3)).mean() < np.abs(lines[:, 0] - lines.mean()).mean()


def test_blobs_overlap_or_not_as_they_are_called():
    """Of separated blobs a row's own centre is the nearest; of overlapping ones often another's is."""
    share = {}
    for kind in ("overlapping", "separated"):
        (w,) = shapes.select(["features-16-64"], scale=0.01, data=[kind])
        rng = np.random.default_rng(w.seed)
        centres = rng.standard_normal((w.k, w.d), dtype=np.float32) * np.float32(w.spread)
        labels = ((shapes.make(w)[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        rng.standard_normal((w.n, w.d), dtype=np.float32)
        share[kind] = np.mean(labels == rng.integers(0, w.k, w.n))
    assert share["separated"] == 1.0 and share["overlapping"] < 0.95


def test_inertia_of_the_harness_is_the_sum_of_squared_distances():
    """The one inertia all are judged by: against the definition, far from the origin, over several blocks."""
    rng = np.random.default_rng(0)
    X = (rng.random((300, 5)) + 1000).astype(np.float32)
    centroids = X[:7]
    wanted = ((X[:, None].astype(float) - centroids[None].astype(float)) ** 2).sum(axis=2).min(axis=1).sum()
    assert peers.inertia(X, centroids, scores=64 * 7) == pytest.approx(wanted, rel=1e-12)


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


@pytest.mark.parametrize("n, d, k", [(3000, 2, 5), (140_000, 3, 80), (2000, 37, 11)])
def test_the_plain_yardstick_on_tiles_is_lloyd(n, d, k):
    """numba-plain, with boxes and without, ends where gpukm ends, but for rounding."""
    pytest.importorskip("numba")
    import plain_numba

    from gpukm import KMeans

    rng = np.random.default_rng(d)
    X = (rng.standard_normal((n, d)) + 50).astype(np.float32)
    wanted = KMeans(k, init=X[:k], max_iter=3, tol=0).fit(X).cluster_centers_
    for threads in (1, 2):
        np.testing.assert_allclose(plain_numba.fit(X, X[:k], 3, threads), wanted, atol=2e-2)


def test_opencv_does_the_same_updates(monkeypatch):
    """From labels by OpenCV: the centroids of gpukm; what it cannot do equally is refused."""
    pytest.importorskip("cv2")
    X = np.random.default_rng(0).standard_normal((4000, 6), dtype=np.float32)
    for iterations in (2, 3, 8):
        ours, theirs = (peers.fit(name, X, X[:9], iterations) for name in ("gpukm", "opencv"))
        np.testing.assert_allclose(theirs.centroids, ours.centroids, atol=1e-3)
    for iterations in (1, 101):
        assert isinstance(peers.fit("opencv", X, X[:9], iterations), peers.UnequalError)
    few = np.repeat(np.eye(6, dtype=np.float32), 20, axis=0)
    assert "converged" in str(peers.fit("opencv", few, few[::20].copy(), 5))


def _fit(inertia, iterations=10):
    return peers.Fit(np.zeros((2, 2)), iterations, inertia, 1.0)


def test_unequal_work_is_refused():
    """Another inertia or another number of updates is named with both and left out; rounding is not."""
    workload = shapes.WORKLOADS["uniform-16-64"]
    assert peers.refused(workload, {"a": _fit(1000.0), "b": _fit(1000.05), "c": _fit(999.95)}) == {}
    reasons = peers.refused(
        workload,
        {
            "a": _fit(1000.0),
            "b": _fit(1001.5),
            "c": _fit(1000.0, 9),
            "d": _fit(float("nan")),
            "e": peers.UnequalError("no"),
            "f": _fit(1000.0),
        },
    )
    assert reasons.keys() == {"b", "c", "d", "e"}
    assert "a has inertia 1000 and b has 1001.5" in reasons["b"]
    assert "a did 10 updates" in reasons["c"] and "c did 9" in reasons["c"]
    assert reasons["e"] == "no"


@pytest.mark.parametrize("name", ["gpukm", "gpukm-numpy"])
def test_nothing_is_compared_with_gpukm_at_fault(name):
    """Where gpukm, or the one all are compared with, did other work, there are no results."""
    workload = shapes.WORKLOADS["uniform-16-64"]
    with pytest.raises(peers.UnequalError, match=r"uniform-16-64: unequal work.*1001\.5"):
        peers.refused(workload, {"a": _fit(1000.0), name: _fit(1001.5)})
    with pytest.raises(peers.UnequalError, match=r"unequal work: no\."):
        peers.refused(workload, {"a": peers.UnequalError("no"), "b": _fit(1000.0)})


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
    assert timing.interleave(tasks, 2, lambda found: checked.append(found) or ()) == {"a": [3, 5], "b": [4, 6]}
    assert calls == list("ababab")
    assert checked == [{"a": 1, "b": 2}, {"a": 3, "b": 4}, {"a": 5, "b": 6}]
    assert timing.ratio([2.0, 3.0, 8.0], [1.0, 1.0, 2.0]) == (3.0, 2.0, 4.0)


def test_a_workload_without_results_costs_only_itself(tmp_path, monkeypatch, capsys):
    """The others are measured and written all the same; the run ends with an error that names it."""
    monkeypatch.setattr(timing, "limit_threads", lambda threads: None)  # of the process that runs the tests
    run = fit.measure

    def measure(workload, *rest):
        if workload.name == "geo-2-8":
            raise peers.UnequalError("geo-2-8: unequal work: a, b")
        return run(workload, *rest)

    monkeypatch.setattr(fit, "measure", measure)
    out = tmp_path / "fit.json"
    words = ["--smoke", "--peers", "scikit-learn,gpukm", "--workloads", "geo-2-8,uniform-16-64", f"--out={out}"]
    with pytest.raises(SystemExit, match="no results for geo-2-8"):
        fit.main(words)
    assert [row["name"] for row in json.loads(out.read_text(encoding="utf-8"))["results"]] == ["uniform-16-64"]
    assert "unequal work: a, b" in capsys.readouterr().err


def test_who_is_refused_runs_no_more():
    """Left out in one round, a contestant is not called again and has no results."""
    calls = []
    tasks = {name: lambda name=name: calls.append(name) or len(calls) for name in "abc"}
    assert timing.interleave(tasks, 1, lambda found: [n for n in found if n == "b"]) == {"a": [4], "c": [5]}
    assert calls == list("abcac")


def _run(script, *words):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # One thread: pools of several libraries that spin for work are slow where others use the machine, too.
    command = [sys.executable, str(ROOT / "bench" / script), "--smoke", "--threads", "1", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
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
    assert data["command"] == "python bench/fit.py --smoke --threads 1"
    assert str(ROOT) not in text and str(tmp_path) not in text and os.uname().nodename not in data["machine"].values()


@pytest.mark.parametrize(
    "script, workloads",
    [
        ("seeding.py", ["geo-2-8", "digits-784-10"]),
        ("memory.py", ["digits-784-10"]),
        ("default_fits.py", ["geo-2-8", "digits-784-10"]),
        ("first_fit.py", ["geo-2-8"]),
        ("predict.py", ["geo-2-8", "digits-784-10"]),
        ("minibatch.py", ["geo-2-8", "digits-784-10"]),
        ("oversampling.py", ["geo-2-8", "digits-784-10"]),
        ("vq.py", ["geo-2-8", "digits-784-10"]),
        ("refine.py", ["geo-2-8", "digits-784-10"]),
    ],
)
def test_the_other_scripts_run(script, workloads, tmp_path):
    """A trial run ends well and writes its results, of which the report makes a table."""
    _run(script, "--workloads", ",".join(workloads), "--out", tmp_path / "out.json")
    data = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in data["results"]] == workloads
    assert report.TABLES[data["kind"]][1](data).count("\n") == 2 + len(workloads)


def test_other_data_and_sizes_run(tmp_path):
    """Kinds of data by name, and points of the scaling table each in a process with its own threads."""
    pytest.importorskip("PIL")
    words = ["--peers", "scikit-learn,gpukm", "--workloads"]
    _run("data.py", *words, "geo-2-8,patches-64-256", "--data", "images,clustered", "--out", tmp_path / "data.json")
    data = json.loads((tmp_path / "data.json").read_text(encoding="utf-8"))
    names = ["geo-2-8/clustered", "patches-64-256/images", "patches-64-256/clustered"]
    assert [row["name"] for row in data["results"]] == names
    assert data["command"] == "python bench/data.py --smoke --threads 1 --peers scikit-learn,gpukm"
    table = report.TABLES["data"][1](data).splitlines()
    assert [line.split(" | ")[0] for line in table[2:]] == ["| images", "| clustered", "| clustered"]
    _run("scaling.py", *words, "threads=1,k=4", "--out", tmp_path / "scaling.json")
    data = json.loads((tmp_path / "scaling.json").read_text(encoding="utf-8"))
    assert [(row["name"], row["fit_threads"]) for row in data["results"]] == [
        ("k=4", data["threads"]),
        ("threads=1", 1),
    ]
    assert "| threads = 1 |" in report.TABLES["scaling"][1](data)


def test_fits_that_would_converge_are_cut_short():
    """Nobody stops before the others: fewer iterations than gpukm needs to converge."""
    import data

    (w,) = shapes.select(["geo-2-8"], scale=0.002, data=["clustered"])
    X = shapes.make(w)
    start = shapes.start(w, X)
    cut = data.unfinished(w, X, start)
    assert 1 <= cut.iterations < w.iterations and replace(cut, iterations=w.iterations) == w
    assert data.unfinished(replace(w, iterations=1), X, start).iterations == 1


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
    with pytest.raises(SystemExit, match=r"fit\.json holds results with rounds 3, this run has 7"):
        harness.Report("fit", args)


def _results(folder, name, **changed):
    w = shapes.WORKLOADS["geo-2-8"]
    contestants = {
        "scikit-learn": {"seconds": [4.0, 4.0, 6.0], "undecided": None},
        "numpy-plain": {"seconds": [1.0, 2.0, 2.0], "undecided": None},
        "numba-plain": {"seconds": [0.4, 0.4, 0.4], "undecided": None},
        "gpukm-numpy": {"seconds": [2.0, 4.0, 3.0], "undecided": 40_000},
        "gpukm": {"seconds": [0.5, 0.4, 0.5], "undecided": 40_000},
    }
    row = {"name": w.name, "n": w.n, "d": w.d, "k": w.k, "iterations": w.iterations}
    row.update(contestants=contestants, refused={"faiss": "its reason"})
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
    wanted = "| `geo-2-8` | 1,000,000 × 2 | 8 | 200 | refused | 3.00 | 10.00 | 2.00 | 10.00 | 1.25 | 2.00 | 0.20% |"
    assert wanted in filled
    assert "2020-01-02, A CPU, 2 of 4 cores" in filled and "`python bench/fit.py`" in filled
    assert filled.endswith("<!-- /bench -->\nbetween\n<!-- bench:memory -->\nkept\n<!-- /bench -->\n")
    assert report.fill(filled, report.tables(tmp_path)) == filled


def test_the_short_table_names_the_fastest_other_library(tmp_path):
    """Neither a yardstick nor gpukm itself; none, where none was measured."""
    _results(tmp_path, "fit-2020-01-01.json")
    assert "| `geo-2-8` | 1,000,000 × 2 | 8 | 200 | – | 10.00 | 1.25 |" in report.tables(tmp_path)["fit-short"]
    data = report.newest("fit", tmp_path)
    for name, seconds in {"scipy": [8.0, 8.0, 8.0], "faiss": [2.0, 2.0, 2.0]}.items():
        data["results"][0]["contestants"][name] = {"seconds": seconds, "undecided": None}
    data["results"][0]["refused"] = {}
    assert "| 200 | faiss 2.00 | 10.00 | 1.25 |" in report.TABLES["fit-short"][1](data)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A page and results of its own for the report."""
    page = tmp_path / "README.md"
    page.write_text("<!-- bench:fit -->\n<!-- /bench -->\n", encoding="utf-8")
    _results(tmp_path, "fit-2020-01-01.json")
    for name, value in {"ROOT": tmp_path, "RESULTS": tmp_path, "PAGES": (page,)}.items():
        monkeypatch.setattr(report, name, value)
    return page


def test_report_check_notices_a_page_out_of_date(desk, monkeypatch):
    """--check writes nothing and exits 1; without it the page is written, and --check is content."""
    monkeypatch.setattr(plot, "is_current", lambda data, path: True)
    assert report.main(["--check"]) == 1
    assert "workload" not in desk.read_text(encoding="utf-8")
    assert report.main([]) == 0
    assert report.main(["--check"]) == 0


def test_report_draws_the_plot_when_numbers_change(desk, tmp_path):
    """An SVG with the workloads and contestants as text; drawn anew for other numbers only, whatever the version."""
    pytest.importorskip("matplotlib", reason="the extra bench has Matplotlib")
    assert report.main([]) == 0
    text = (tmp_path / "fit.svg").read_text(encoding="utf-8")
    for word in ("geo-2-8", "gpukm", "scikit-learn", "<svg"):
        assert word in text
    assert "numpy-plain" not in text and str(tmp_path) not in text
    assert report.main(["--check"]) == 0
    assert report.main([]) == 0
    assert (tmp_path / "fit.svg").read_text(encoding="utf-8") == text
    data = report.newest("fit", tmp_path)
    data["results"][0]["contestants"]["gpukm"]["seconds"] = [0.1, 0.1, 0.1]
    (tmp_path / "fit-2020-01-02.json").write_text(json.dumps(data), encoding="utf-8")
    assert report.main(["--check"]) == 1
    assert report.main([]) == 0
    assert (tmp_path / "fit.svg").read_text(encoding="utf-8") != text


def test_without_matplotlib_the_report_says_what_is_missing(desk, monkeypatch, tmp_path):
    """The tables are written all the same; no half of a plot is."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match="pip install matplotlib"):
        report.main([])
    assert "| `geo-2-8`" in desk.read_text(encoding="utf-8")
    assert not list(tmp_path.glob("fit.svg*"))


def test_results_that_are_missing_are_no_trouble(tmp_path):
    """Without any results there is no table, and pages stay as they are."""
    assert report.tables(tmp_path) == {}
    text = "<!-- bench:predict -->\nNot measured yet.\n<!-- /bench -->\n"
    assert report.fill(text, {}) == text


def test_every_table_has_its_place():
    """Each table the report makes stands in bench/README.md, a short one in README.md; no block lacks its maker."""
    blocks = {page: set(re.findall(r"<!-- bench:([\w-]+) -->", page.read_text("utf-8"))) for page in report.PAGES}
    readme, full = blocks.values()
    assert full == set(report.TABLES) - {"fit-short"}
    assert "fit-short" in readme and readme <= set(report.TABLES)


def test_the_committed_tables_are_those_of_the_committed_results():
    """README.md, bench/README.md and the plot are up to date."""
    if not report.tables():
        pytest.skip("no results yet")
    assert report.main(["--check"]) == 0


def test_stream_runs_and_has_a_table(tmp_path):
    """A trial run ends well; its results make a table with a row for each shape and engine."""
    pytest.importorskip("numba")
    out = tmp_path / "stream-2020-01-01.json"
    _run("stream.py", "--threads", "1", "--out", out)
    data = json.loads(out.read_text(encoding="utf-8"))
    assert [(row["d"], row["engine"]) for row in data["results"]] == [
        (d, engine) for d in (64, 256) for engine in ("numba", "numpy")
    ]
    out.write_text(json.dumps(data | {"smoke": False}), encoding="utf-8")
    lines = report.tables(tmp_path)["stream"].splitlines()
    assert len([line for line in lines if "| numba |" in line or "| numpy |" in line]) == 4
