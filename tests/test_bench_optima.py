"""The sets and the table of bench/optima.py. No assertion on times or shares."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("threadpoolctl")

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))

import optima  # noqa: E402
import report  # noqa: E402


@pytest.mark.parametrize("name", optima.SETS)
def test_a_set_is_the_same_rows_every_time(name):
    """As many rows as it says, about as many centres, every cluster with rows, and no chance in it."""
    (chosen,) = optima.select([name], scale=0.1)
    X, centres = optima.make(chosen)
    assert X.shape == (chosen.n, chosen.d) and centres.shape == (chosen.k, chosen.d)
    np.testing.assert_array_equal(X, optima.make(chosen)[0])
    gaps = np.sqrt(((centres[:, None] - centres) ** 2).sum(axis=2)) + np.eye(chosen.k) * 9
    assert gaps.min() > max(chosen.gap, 2 * chosen.spread)


def test_a_hit_is_within_a_thousandth():
    """Not the least of a contestant's runs counts, but how many of them are good."""
    runs = [{"inertia": value} for value in (1.0, 1.0009, 1.002, 3.0)]
    assert optima.hits(runs, 1.0) == 0.5


def test_unknown_sets_are_answered_with_the_known():
    """A typo ends the script, not the evening."""
    with pytest.raises(SystemExit, match="unknown set s9; there are s1, s2"):
        optima.select(["s9"])


def test_it_runs_and_its_table_is_made(tmp_path):
    """A trial run writes every contestant's runs, none of them better than the best known, and a table of them."""
    command = [sys.executable, "bench/optima.py", "--smoke", "--workloads", "unbalance,dim32", "--out", tmp_path / "o"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / "o").read_text())
    assert [row["name"] for row in data["results"]] == ["unbalance", "dim32"]
    for row in data["results"]:
        assert len(row["contestants"]) == 4
        assert all(run["inertia"] >= row["best"] for runs in row["contestants"].values() for run in runs)
    table = report.TABLES["optima"][1](data)
    assert "| `dim32` |" in table and "random swap" in table
