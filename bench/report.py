"""Write the newest results into README.md and bench/README.md, between <!-- bench:NAME --> and <!-- /bench -->.

python bench/report.py [--check]        --check writes nothing and exits 1 if a table or the plot is out of date

A table whose script has not been run yet stays as it is.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from statistics import median

import plot
from timing import ratio

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
PAGES = (ROOT / "README.md", ROOT / "bench" / "README.md")
BLOCK = re.compile(r"(<!-- bench:([\w-]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)
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
    """The Markdown of each table for which there are results."""
    found = {name: newest(kind, results) for name, (kind, _) in TABLES.items()}
    return {name: TABLES[name][1](data) + _origin(data) for name, data in found.items() if data}


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


def _names(data: dict, but: set[str] = frozenset()) -> list[str]:
    """All contestants of any row but scikit-learn and those in `but`, in their order."""
    names = {name: None for row in data["results"] for name in (*row["contestants"], *row.get("refused", {}))}
    last = [name for name in names if name.startswith(("numpy", "numba", "gpukm"))]  # one may be missing in some rows
    return [name for name in (*(n for n in names if n not in last), *last) if name not in {BASE, *but}]


def _faster(row: dict, name: str, base: str = BASE) -> str:
    """How many times as fast as `base` a contestant was."""
    if name in row.get("refused", {}):
        return "refused"
    seconds = {key: c["seconds"] for key, c in row["contestants"].items()}
    return f"{ratio(seconds[base], seconds[name])[0]:.2f}" if {base, name} <= seconds.keys() else NONE


def _iteration(row: dict, name: str) -> str:
    """Milliseconds an iteration."""
    contestant = row["contestants"].get(name)
    return f"{median(contestant['seconds']) / row['iterations'] * 1e3:.3g}" if contestant else NONE


def _undecided(row: dict) -> str:
    count = row["contestants"].get("gpukm", {}).get("undecided")
    return NONE if count is None else f"{count / (row['n'] * row['iterations']):.2%}"


PRICES = {"price of exactness": ("numba-plain", "gpukm"), "the same, NumPy": ("numpy-plain", "gpukm-numpy")}


def _fit(data: dict) -> str:
    names = _names(data)
    rows = [
        [
            *_shape(row),
            _iteration(row, BASE),
            *(_faster(row, name) for name in names),
            *(_faster(row, plain, exact) for plain, exact in PRICES.values()),
            _undecided(row),
        ]
        for row in data["results"]
    ]
    return _table(["workload", "rows", "k", f"{BASE}, ms per iteration", *names, *PRICES, "undecided rows"], rows)


def _fit_short(data: dict) -> str:
    peers = _names(data, {*plot.LEFT_OUT, plot.OURS})
    rows = []
    for row in data["results"]:
        there = [name for name in peers if name in row["contestants"] and BASE in row["contestants"]]
        best = max(there, key=lambda name: float(_faster(row, name)), default=None)
        best = f"{best} {_faster(row, best)}" if best else NONE
        price = _faster(row, *PRICES["price of exactness"])
        rows.append([*_shape(row), _iteration(row, BASE), best, _faster(row, "gpukm"), price])
    head = ["workload", "rows", "k", f"{BASE}, ms per iteration", "fastest other peer", "gpukm", "price of exactness"]
    return _table(head, rows)


def _data(data: dict) -> str:
    names = _names(data)
    rows = []
    for row in sorted(data["results"], key=lambda row: KINDS.index(row["name"].partition("/")[2])):
        workload, _, kind = row["name"].partition("/")
        line = [kind, *_shape({**row, "name": workload}), str(row["iterations"]), _iteration(row, BASE)]
        rows.append([*line, *(_faster(row, name) for name in names), _undecided(row)])
    head = ["data", "shape of", "rows", "k", "iterations", f"{BASE}, ms per iteration", *names, "undecided rows"]
    return _table(head, rows)


def _default_fits(data: dict) -> str:
    rows = []
    for row in data["results"]:
        ours, peer = ({key: [r[key] for r in row[name]] for key in row[name][0]} for name in ("gpukm", BASE))
        iterations = [f"{median(each['iterations']):g}" for each in (peer, ours)]
        seconds = [f"{median(each['seconds']):.3g}" for each in (peer, ours)]
        faster = f"{sum(peer['seconds']) / sum(ours['seconds']):.2f}"
        inertia = f"{sum(ours['inertia']) / sum(peer['inertia']):.4f}"
        rows.append([*_shape(row), *seconds, faster, *iterations, inertia])
    head = ["workload", "rows", "k", f"{BASE}, s", "gpukm, s", "times as fast", f"iterations of {BASE}"]
    return _table([*head, "iterations of gpukm", f"gpukm's inertia / {BASE}'s"], rows)


def _predict(data: dict) -> str:
    rows = []
    for row in data["results"]:
        line = _shape(row)
        for method in ("predict", "transform"):
            seconds = row[method]["seconds"]
            line += [f"{median(seconds[name]) * 1e3:.3g}" for name in (BASE, "gpukm")]
            line += [f"{ratio(seconds[BASE], seconds['gpukm'])[0]:.2f}"]
        rows.append([*line, f"{row['transform']['rows']:,}"])
    head = ["workload", "rows", "k", f"predict: {BASE}, ms", "gpukm, ms", "times as fast"]
    return _table([*head, f"transform: {BASE}, ms", "gpukm, ms", "times as fast", "rows of it"], rows)


def _scaling(data: dict) -> str:
    names = _names(data)
    rows = []
    for row in data["results"]:
        faster = [f(row, name) for name in names for f in (_iteration, _faster)]
        rows.append([f"{row['axis']} = {row['value']:,}", _iteration(row, BASE), *faster])
    head = [x for name in names for x in (f"{name}, ms per iteration", "times as fast")]
    return _table(["changed", f"{BASE}, ms per iteration", *head], rows)


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
        narrow = row.get("extra_bytes_of_uint8") or {}
        sizes = [4 * row["n"] * row["d"], labels, extra["gpukm"], extra["gpukm"] - labels, extra[BASE]]
        sizes += [narrow.get("gpukm"), narrow.get(BASE)]
        rows.append([*_shape(row), *(NONE if size is None else f"{max(size, 0) / 2**20:.0f}" for size in sizes)])
    head = ["workload", "rows", "k", "X, MiB", "labels, MiB", "gpukm, MiB", "gpukm less labels, MiB", f"{BASE}, MiB"]
    return _table([*head, "gpukm on uint8, MiB", f"{BASE} on uint8, MiB"], rows)


def _first_fit(data: dict) -> str:
    names = list(data["results"][0]["contestants"])
    rows = []
    for row in data["results"]:
        seconds = [median(row["contestants"][name]["seconds"]) for name in names]
        rows.append([*_shape(row), *(f"{s:.2f}" for s in seconds)])
    return _table(["workload", "rows", "k", *(f"{name}, s" for name in names)], rows)


def _optima(data: dict) -> str:
    from optima import hits

    names = list(data["results"][0]["contestants"])
    rows = []
    for row in data["results"]:
        runs = [row["contestants"][name] for name in names]
        shares = [f"{hits(found, row['best']):.0%}" for found in runs]
        longest = max(median(run["seconds"] for run in found) for found in runs)
        rows.append([*_shape(row), f"{row['seconds']:.3g}", *shares, f"{longest / row['seconds']:.2f}"])
    return _table(["set", "rows", "k", "time, s", *names, "longest median time / time"], rows)


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


def _stream(data: dict) -> str:
    rows = []
    for row in data["results"]:
        read, compute, both = (median(row[way]) for way in ("read", "compute", "both"))
        share = median(max(r, c) / b for r, c, b in zip(row["read"], row["compute"], row["both"], strict=True))
        sizes = [4 * row["n"] * row["d"] / 2**30, row["max_memory"] / 2**20, row["peak_bytes"] / 2**20]
        times = [f"{seconds:.3g}" for seconds in (read, compute, both)]
        gib, cap, peak = f"{sizes[0]:.1f}", f"{sizes[1]:.0f}", f"{sizes[2]:.0f}"
        rows.append([*_shape(row), row["engine"], gib, *times, f"{share:.0%}", cap, peak])
    head = ["workload", "rows", "k", "engine", "file, GiB", "read alone, s", "compute alone, s", "a pass, s"]
    return _table([*head, "of the slower", "max_memory, MiB", "peak beyond rows' state, MiB"], rows)


def _vq(data: dict) -> str:
    rows = []
    for row in data["results"]:
        line = _shape(row)
        for each in row["functions"].values():
            ours, theirs = each["gpukm"]["seconds"], each["scipy"]["seconds"]
            line += [f"{median(ours) * 1e3:.3g}", f"{ratio(theirs, ours)[0]:.2f}"]
        rows.append(line)
    functions = [head for name in data["results"][0]["functions"] for head in (f"{name}, ms", "SciPy's time / its")]
    return _table(["workload", "rows", "k", *functions], rows)


def _refine(data: dict) -> str:
    rows = []
    for row in data["results"]:
        plain = row["contestants"]["lloyd"]
        line = [f"`{row['name']}`", f"{row['rows']:,} × {row['d']}", str(row["clusters"])]
        for name in ("refined", "hartigan-wong"):
            runs = row["contestants"][name]
            gains = [1 - run["inertia"] / base["inertia"] for run, base in zip(runs, plain, strict=True)]
            line += [f"{sum(gain > 0 for gain in gains)} of {len(gains)}", f"{median(gains):.3%}"]
            line.append(f"{ratio([r['seconds'] for r in runs], [r['seconds'] for r in plain])[0]:.2f}")
        rows.append(line)
    polish = ["refined: lower in", "by, median", "time, Lloyd's is 1"]
    return _table(["workload", "rows", "k", *polish, "Hartigan-Wong alone: lower in", *polish[1:]], rows)


KINDS = ["uniform", "overlapping", "separated", "images", "clustered"]
# Name between the markers: (kind of results, what makes the table of them).
TABLES = {
    "fit": ("fit", _fit),
    "fit-short": ("fit", _fit_short),
    "data": ("data", _data),
    "default_fits": ("default_fits", _default_fits),
    "seeding": ("seeding", _seeding),
    "predict": ("predict", _predict),
    "scaling": ("scaling", _scaling),
    "memory": ("memory", _memory),
    "first_fit": ("first_fit", _first_fit),
    "minibatch": ("minibatch", _minibatch),
    "oversampling": ("oversampling", _oversampling),
    "vq": ("vq", _vq),
    "refine": ("refine", _refine),
    "optima": ("optima", _optima),
    "stream": ("stream", _stream),
}


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if something is out of date")
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
    data, path = newest("fit", RESULTS), RESULTS / "fit.svg"
    if data and not plot.is_current(data, path):
        if args.check:
            print(f"{path.relative_to(ROOT)} is out of date; run: python bench/report.py", file=sys.stderr)
            stale = 1
        else:
            plot.draw(data, path)
            print(f"wrote {path.relative_to(ROOT)}")
    return stale


if __name__ == "__main__":
    sys.exit(main())
