"""Write the newest results into README.md and bench/README.md, between <!-- bench:NAME --> and <!-- /bench -->.

python bench/report.py [--check]        --check writes nothing and exits 1 if a table is out of date
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from statistics import median

from timing import ratio

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PAGES = (ROOT / "README.md", ROOT / "bench" / "README.md")
BLOCK = re.compile(r"(<!-- bench:(\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)
BASE = "scikit-learn"
NONE = "–"


def newest(kind: str, results: Path = RESULTS) -> dict | None:
    """The last results of a kind by file name, which holds the date. Trial runs (--smoke, --scale) do not count."""
    for path in sorted(results.glob(f"{kind}-*.json"), reverse=True):
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["kind"] == kind and not data["smoke"] and data["scale"] == 1 and data["results"]:
            return data
    return None


def tables(results: Path = RESULTS) -> dict[str, str]:
    """The Markdown for each kind of results there is."""
    found = {kind: newest(kind, results) for kind in TABLES}
    return {kind: TABLES[kind](data) + _origin(data) for kind, data in found.items() if data}


def fill(text: str, found: dict[str, str]) -> str:
    """``text`` with the tables between its markers. A block for which there are no results stays as it is."""
    return BLOCK.sub(lambda m: m[1] + found[m[2]] + m[3] if m[2] in found else m[0], text)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _origin(data: dict) -> str:
    m = data["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in m["packages"].items())
    return (
        f"\n{data['date']}, {m['cpu']}, {m['cores_used']} of {m['cores']} cores, {m['os']}, Python {m['python']}, "
        f"{packages}. Made again by `{data['command']}` and `python bench/report.py`.\n"
    )


def _shape(row: dict) -> list[str]:
    return [f"`{row['name']}`", f"{row['n']:,} × {row['d']}", str(row["k"])]


def _fit(data: dict) -> str:
    peers = [name for name in data["results"][0]["contestants"] if name != BASE]
    rows = []
    for row in data["results"]:
        seconds = {name: c["seconds"] for name, c in row["contestants"].items()}
        gpukm = row["contestants"].get("gpukm", {})
        line = _shape(row)
        line.append(f"{median(seconds[BASE]) / row['iterations'] * 1e3:.3g}" if BASE in seconds else NONE)
        for name in peers:
            both = BASE in seconds and name in seconds
            line.append(f"{ratio(seconds[BASE], seconds[name])[0]:.2f}" if both else NONE)
        priced = {"gpukm-numpy", "numpy-plain"} <= seconds.keys()
        line.append(f"{ratio(seconds['gpukm-numpy'], seconds['numpy-plain'])[0]:.2f}" if priced else NONE)
        share = gpukm.get("undecided")
        line.append(NONE if share is None else f"{share / (row['n'] * row['iterations']):.2%}")
        rows.append(line)
    head = ["workload", "rows", "k", f"{BASE}, ms per iteration", *peers, "price of exactness", "undecided rows"]
    return _table(head, rows)


def _seeding(data: dict) -> str:
    rows = []
    for row in data["results"]:
        gpukm, peer, fit = ([r["seconds"] for r in row[name]] for name in ("gpukm", BASE, "fit"))
        iteration = median(r["iteration"] for r in row["fit"])
        rows.append(
            [
                *_shape(row),
                f"{median(gpukm):.3g}",
                f"{ratio(peer, gpukm)[0]:.2f}",
                f"{median(gpukm) / iteration:.1f}",
                str(row["fit"][0]["iterations"]),
                f"{ratio(gpukm, fit)[0]:.0%}",
            ]
        )
    head = ["workload", "rows", "k", "seeding, s", f"{BASE}'s time / gpukm's", "in Lloyd iterations"]
    return _table([*head, "iterations of a default fit", "share of that fit"], rows)


def _memory(data: dict) -> str:
    rows = []
    for row in data["results"]:
        extra, labels = row["extra_bytes"], row["label_bytes"]
        sizes = [4 * row["n"] * row["d"], labels, extra["gpukm"], extra["gpukm"] - labels, extra[BASE]]
        rows.append([*_shape(row), *(f"{max(size, 0) / 2**20:.0f}" for size in sizes)])
    head = ["workload", "rows", "k", "X, MiB", "labels, MiB", "gpukm, MiB", "gpukm less labels, MiB", f"{BASE}, MiB"]
    return _table(head, rows)


def _minibatch(data: dict) -> str:
    rows = []
    for row in data["results"]:
        ours, theirs = row["gpukm"], row[BASE]
        quality = {name: median(row["quality"][name]) for name in ("gpukm", BASE)}
        rows.append(
            [
                *_shape(row),
                f"{median(r['seconds'] for r in ours):.3g}",
                f"{ratio([r['seconds'] for r in theirs], [r['seconds'] for r in ours])[0]:.1f}",
                f"{median(r['steps'] for r in ours):,.0f}",
                f"{median(r['steps'] for r in theirs):,.0f}",
                f"{quality['gpukm'] / quality[BASE] - 1:+.2%}",
            ]
        )
    head = ["workload", "rows", "k", "gpukm, s", f"{BASE}'s time / gpukm's", "steps", f"{BASE}'s steps"]
    return _table(
        [*head, f"inertia against {BASE}'s, median of {len(data['results'][0]['quality'][BASE])} seeds"], rows
    )


def _oversampling(data: dict) -> str:
    rows = []
    for row in data["results"]:
        greedy, ours = row["k-means++"], row["k-means||"]
        change = [median(r[key] for r in ours) / median(r[key] for r in greedy) for key in ("potential", "inertia")]
        rows.append(
            [
                *_shape(row),
                f"{median(r['seconds'] for r in ours):.3g}",
                f"{ratio([r['seconds'] for r in greedy], [r['seconds'] for r in ours])[0]:.2f}",
                *(f"{value - 1:+.2%}" for value in change),
            ]
        )
    head = ["workload", "rows", "k", "k-means\\|\\|, s", "greedy k-means++'s time / its"]
    return _table([*head, "inertia of the start", "inertia after Lloyd"], rows)


TABLES = {
    "fit": _fit,
    "seeding": _seeding,
    "memory": _memory,
    "minibatch": _minibatch,
    "oversampling": _oversampling,
}


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a table is out of date")
    args = parser.parse_args(argv)
    found = tables(RESULTS)
    stale = 0
    for page in PAGES:
        old = page.read_text(encoding="utf-8") if page.exists() else ""
        new = fill(old, found)
        if new != old and args.check:
            print(f"{page.relative_to(ROOT)} is out of date; run: python bench/report.py", file=sys.stderr)
            stale = 1
        elif new != old:
            page.write_text(new, encoding="utf-8")
            print(f"wrote {page.relative_to(ROOT)}")
    return stale


if __name__ == "__main__":
    sys.exit(main())
