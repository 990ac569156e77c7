"""bench.gpu without a GPU: it says so; its stages, resumption, tables and yardsticks are tested by themselves."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))  # the scripts import each other by name, as they do when run

import emulator  # noqa: E402
import gpu  # noqa: E402
import gpu_auto  # noqa: E402
import gpu_fits  # noqa: E402
import gpu_rates  # noqa: E402
import gpu_rounding  # noqa: E402
import gpu_seeding  # noqa: E402
import gpu_small  # noqa: E402
import gpu_stages  # noqa: E402
import gpu_streams  # noqa: E402
import gpu_table  # noqa: E402

from gpukm import placing, trial  # noqa: E402


@pytest.fixture
def device():
    """The emulator with the kernels of bench/."""
    emulator.build.require()
    return emulator.EmulatedGpu(folder=gpu_rates.HERE)


# -- the command -------------------------------------------------------------------------------------------


def test_without_a_gpu_it_says_so_and_fails(tmp_path):
    """Nothing is measured, nothing is written."""
    cupy = pytest.importorskip("cupy")
    if cupy.cuda.is_available():
        pytest.skip("there is one")
    command = [sys.executable, "-m", "bench.gpu", "--out", str(tmp_path / "out.jsonl")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs a CUDA device, and there is none here" in done.stderr and "pytest" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_stages_are_listed_and_an_unknown_one_is_refused(capsys):
    """--list needs no GPU; the names in an error are those there are."""
    assert gpu.main(["--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == list(gpu_stages.STAGES) == list(gpu_table.HEADS)
    with pytest.raises(SystemExit):
        gpu.main(["--stages", "rates,nonsense"])
    assert "unknown stage nonsense; there are compile, suite" in capsys.readouterr().err


def stages(log, fail=()):
    """Three stages that take notes."""

    def make(name):
        def stage(record, end, **_):
            log.append(name)
            yield {"value": len(log)}
            if name in fail:
                raise ValueError(f"{name} broke")
            yield {"value": -len(log)}

        return stage

    return {name: make(name) for name in "abc"}


def test_a_run_goes_on_where_the_last_one_stopped(tmp_path):
    """What is done is left out, what failed is begun again from nothing, --again repeats all."""
    path, log = tmp_path / "r.jsonl", []
    assert not gpu.run(gpu.Record(path), stages(log, fail="b"), ["a", "b", "c"], 1, False)
    assert log == ["a", "b", "c"]
    record = gpu.Record(path)
    assert record.done() == {"a", "c"}
    (value, failure) = record.of("b")
    assert value["value"] == 2 and failure["failed"] and failure["error"] == "ValueError: b broke"
    assert gpu.run(record, stages(log), ["a", "b", "c"], 1, False)
    assert log == ["a", "b", "c", "b"]
    assert [row.get("value") for row in gpu.Record(path).of("b")] == [4, -4, None]
    assert gpu.run(gpu.Record(path), stages(log), ["b"], 1, True)
    assert [row.get("value") for row in gpu.Record(path).of("b")] == [5, -5, None]
    assert [json.loads(line)["stage"] for line in path.read_text("utf-8").splitlines()].count("a") == 3


def test_no_stage_begins_when_the_time_is_over(tmp_path):
    """What was not begun is no success, and is left for the next run."""
    log = []
    assert not gpu.run(gpu.Record(tmp_path / "r.jsonl"), stages(log), ["a", "b"], -1, False)
    assert log == []


def test_a_row_that_says_failed_fails_the_run(tmp_path):
    """Now and when the stage is left out as done."""

    def stage(record, end, **_):
        yield {"failed": True}

    record = gpu.Record(tmp_path / "r.jsonl")
    assert not gpu.run(record, {"a": stage}, ["a"], 1, False)
    assert not gpu.run(record, {"a": stage}, ["a"], 1, False)


def test_tables_hold_what_was_found():
    """A table for each stage that has rows, columns that hold something, failures at the end."""
    rows = [
        {"stage": "machine", "device": "A GPU", "arch": 90},
        {"stage": "rates", "rate": "ffma", "per_second": 3.2e13, "unit": "FMA"},
        {"stage": "rates", "done": True, "seconds": 1.0},
        {"stage": "fits", "shape": "s", "contestant": "gpukm", "updates": 10, "seconds": [0.02, 0.01, 0.03]},
        {"stage": "fits", "shape": "s", "contestant": "a|b", "updates": 10, "skipped": "not installed"},
        {"stage": "bits", "failed": True, "error": "E: broke", "where": "traceback"},
    ]
    page = gpu_table.page(rows)
    assert page.startswith("# A GPU\n")
    assert "| rate | per_second | unit |\n| --- | --- | --- |\n| ffma | 3.2e+13 | FMA |" in page
    assert "| s | gpukm | 10 | 2 | – |" in page and "| s | a\\|b | 10 | – | not installed |" in page
    assert "## bits" not in page and page.endswith("## failed\n\n* failed yes  error E: broke\n")


def test_a_report_of_pytest_is_read(tmp_path):
    """Counts, names of what failed; no test at all is a failure too."""
    test = tmp_path / "test_x.py"
    test.write_text("import pytest\ndef test_a(): pass\ndef test_b(): assert 1 == 2\ndef test_c(): pytest.skip('no')\n")
    counts, wrong = gpu_stages.pytest_rows([str(test), "--rootdir", str(tmp_path), "-c", "/dev/null"], 60)
    assert counts == {"passed": 1, "skipped": 1, "wrong": 1, "failed": True}
    assert wrong["test"].endswith("test_b") and "assert 1 == 2" in wrong["error"]
    (none,) = gpu_stages.pytest_rows([str(test), "-k", "nothing", "--rootdir", str(tmp_path), "-c", "/dev/null"], 60)
    assert none["failed"]


# -- the yardsticks, on the emulator -----------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [4, 8, 16])
def test_the_experiments_find_how_the_emulator_adds(at_once):
    """Toward zero, no bit more than a float's, so many products at once: what the model is, is what is measured."""
    emulator.build.require()

    class Fixed(emulator.EmulatedGpu):
        def launch(self, *args):
            self.seed = {4: 0, 8: 2, 16: 3}[at_once]  # the number of products follows from the seed of a launch
            super().launch(*args)

    found = gpu_rounding.measure(Fixed(folder=gpu_rounding.KERNELS), draws=64)
    worst = found.pop("worst_error_in_2^-24_of_magnitudes")
    assert found == {
        "rounding": "toward zero",
        "extra_bits": 0,
        "products_at_once": at_once,
        "subnormal_products_kept": True,
        "draws": 64,
    }
    assert 1 < worst < 2 * 17


def test_every_rate_is_measured(device):
    """Copies, each unit, and what a launch costs; a card without tensor cores of that kind leaves them out."""
    found = list(gpu_rates.measure(device, rounds=8, blocks=1, copy_bytes=1 << 16))
    transfers = ["copy to the device", "copy to the host"]
    names = ["copy in memory", "copy in level-2 cache", *transfers, *gpu_rates.KERNELS, "launches", "looks of the host"]
    assert [row["rate"] for row in found] == names and all(row["per_second"] > 0 for row in found)
    old = emulator.EmulatedGpu(emulator.Facts(75, 1, 48 << 10, 64 << 10, 1 << 20, "old"), gpu_rates.HERE)
    assert "tensor_f16" not in [row["rate"] for row in gpu_rates.measure(old, rounds=8, blocks=1, copy_bytes=1 << 16)]


def test_bounds_count_bytes_pairs_and_products():
    """The figures of KERNELS at the rates of an H100: 0.33 ms for 1e6 x 128, k = 1024 on tensor cores."""
    rates = {"copy in memory": 3e12, "minimum": 16.7e12, "ffma": 33.5e12, "tensor_f16": 400e12}
    found = gpu_fits.bound(gpu_fits.Shape(1_000_000, 128, 1024, 0), rates)
    assert found == pytest.approx({"memory": 0.1707, "minimum": 0.0613, "products": 0.3277}, rel=1e-3)


def test_shapes_are_named_and_their_rows_differ(device):
    """Blocks of rows are shifted copies: no row twice, whatever the number of blocks."""
    shape = gpu_fits.Shape(25_000, 5_000_000 // 500, 2, 0)
    assert shape.name == "2e4 x 10000, k = 2" and gpu_fits.SHAPES[0].name == "1e7 x 3, k = 16"
    X, start = gpu_fits.rows(device, gpu_fits.Shape(30_000, 3, 4, 0))
    assert X.shape == (30_000, 3) and start.shape == (4, 3) and len(np.unique(X, axis=0)) == 30_000


def test_unequal_work_and_absent_peers_are_said(device, monkeypatch):
    """A contestant with another inertia gets no time, one that fails gives its reason, one that is absent is absent."""
    shape = gpu_fits.Shape(500, 3, 4, 0)
    X, start = gpu_fits.rows(device, shape)
    right = gpu_fits.plain_cupy

    def wrong(gpu_, X_, start_, iterations):
        return right(gpu_, X_, start_, iterations) + 1

    def broken(*_):
        raise ValueError("no")

    contestants = {"right": (right, "numpy"), "wrong": (wrong, "numpy"), "broken": (broken, "numpy")}
    monkeypatch.setattr(gpu_fits, "CONTESTANTS", {**contestants, "absent": (right, "a_package_that_is_not_there")})
    rows = {row["contestant"]: row for row in gpu_fits.contest(device, shape, X, start, 3, time.monotonic() + 60)}
    assert len(rows["right"]["seconds"]) == 3 and "skipped" not in rows["right"]
    assert "unequal work" in rows["wrong"]["skipped"] and "seconds" not in rows["wrong"]
    assert rows["broken"]["skipped"] == "ValueError: no" and rows["absent"]["skipped"] == "not installed"
    late = list(gpu_fits.contest(device, shape, X, start, 3, time.monotonic() - 1))
    assert [row["skipped"] for row in late] == ["no time left"] * 3 + ["not installed"]


def test_the_plain_baseline_is_lloyd(device):
    """The same centres as the project's own after a few updates, and the inertia that both are judged by is theirs."""
    X, start = gpu_fits.rows(device, gpu_fits.Shape(400, 3, 5, 0))
    model = gpu_fits.fit(X, start, 4, "cpu")
    np.testing.assert_allclose(gpu_fits.plain_cupy(device, X, start, 4), model.cluster_centers_, rtol=1e-4)
    assert gpu_fits.inertia(device, X, model.cluster_centers_) == pytest.approx(model.inertia_, rel=1e-9)
    with pytest.raises(RuntimeError, match="converged after"):
        gpu_fits.fit(X[:6], X[:5].copy(), 50, "cpu")


def test_seeds_and_colours_are_compared_with_the_cpu_s(monkeypatch):
    """A row a shape, which fails where the device draws other rows or counts other colours."""
    emulator.build.require()
    device, end = emulator.EmulatedGpu(), time.monotonic() + 60
    for row in gpu_seeding.seeding(device, end, True):
        assert row["equal"] and not row["failed"] and row["ms in all"] > 0
    found = list(gpu_seeding.colours(device, True))
    assert [row["colours"] for row in found] == [1, 4096, 1 << 24] and all(row["equal"] for row in found)
    monkeypatch.setattr(gpu_seeding.np.random, "default_rng", Restless(np.random.default_rng))
    assert any(row["failed"] and not row["equal"] for row in gpu_seeding.seeding(device, end, True))


def test_chunks_are_labelled_as_rows_that_are_there():
    """A row a shape, with the share of the slower of copying and computing."""
    emulator.build.require()
    found = list(gpu_streams.streams(emulator.EmulatedGpu(), time.monotonic() + 60, True))
    assert len(found) == len(gpu_streams.SHAPES) and all(row["equal"] and row["of the slower"] > 0 for row in found)


def test_what_auto_chooses_is_timed_beside_both(monkeypatch):
    """A row a shape; where a fit is long enough and the device is not slower it goes there, elsewhere it stays."""
    emulator.build.require()
    device = emulator.EmulatedGpu()
    monkeypatch.setattr(placing, "cuda_works", lambda: True)
    monkeypatch.setattr(placing, "gpu", lambda number=None: device)
    for least, goes in ((1 << 60, False), (0, True)):
        monkeypatch.setattr(trial, "LEAST", least)
        monkeypatch.setattr(trial, "MARGIN", 0.0)
        found = list(gpu_auto.auto(device, time.monotonic() + 60, True))
        assert len(found) == len(gpu_auto.SHAPES) and {row["chosen"] == "cuda" for row in found} == {goes}
        assert all(min(row["cpu, s"], row["cuda, s"], row["auto, s"]) > 0 and not row["failed"] for row in found)


class Restless:
    """Makes generators, with another seed each time where the seed is 0."""

    def __init__(self, make):
        self.make, self.calls = make, 0

    def __call__(self, seed):
        self.calls += 1
        return self.make(self.calls if seed == 0 else seed)


def test_the_small_fits_are_equal_to_themselves(capsys):
    """What compute-sanitizer watches runs, here with the CPU as the device."""
    assert gpu_small.main("cpu") == 0
    assert capsys.readouterr().out == "equal\n"
