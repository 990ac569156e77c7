"""The plot of the README: how many times as fast as scikit-learn each contestant of bench/fit.py is.

Drawn by bench/report.py. The file says in its description which numbers it shows, so that whether it is up to date does
not depend on the version of Matplotlib.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from timing import ratio

BASE, OURS = "scikit-learn", "gpukm"
# Not shown: yardsticks that prove nothing, and what is slower by design.
LEFT_OUT = {"numpy-plain", "numba-plain", "gpukm-numpy"}
MARKERS = "os^vDPX<>"
COLOURS = ("#777777", "#b07aa1", "#4e79a7", "#59a14f", "#9c755f", "#f28e2b", "#76b7b2")


def numbers(data: dict) -> dict[str, dict[str, float]]:
    """{contestant: {workload: times as fast as scikit-learn}}."""
    found: dict[str, dict[str, float]] = {}
    for row in data["results"]:
        seconds = {name: each["seconds"] for name, each in row["contestants"].items()}
        for name in seconds.keys() - LEFT_OUT if BASE in seconds else ():
            found.setdefault(name, {})[row["name"]] = round(ratio(seconds[BASE], seconds[name])[0], 2)
    return {name: found[name] for name in sorted(found, key=lambda name: (name == OURS, name))}


def digest(data: dict) -> str:
    """What a plot of these results carries."""
    return hashlib.sha256(json.dumps(numbers(data)).encode()).hexdigest()


def is_current(data: dict, path: Path) -> bool:
    """Whether the file shows these results."""
    return path.exists() and digest(data) in path.read_text(encoding="utf-8")


def draw(data: dict, path: Path) -> None:
    """Write the plot: a line a workload, a marker a contestant."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit(f"{path.name} cannot be drawn without Matplotlib: pip install matplotlib") from None
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    found = numbers(data)
    names = [row["name"] for row in data["results"]]
    with matplotlib.rc_context({"svg.hashsalt": "gpukm", "font.size": 9, "svg.fonttype": "none"}):
        figure = Figure(figsize=(7.5, 0.42 * len(names) + 1.4), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        for index, (name, values) in enumerate(found.items()):
            ours = name == OURS
            at = [names.index(workload) for workload in values]
            axes.plot(
                list(values.values()),
                at,
                MARKERS[0 if ours else 1 + index % (len(MARKERS) - 1)],
                color="#d62728" if ours else COLOURS[index % len(COLOURS)],
                markersize=9 if ours else 5.5,
                label=name,
                zorder=3 if ours else 2,
            )
        for workload, value in found.get(OURS, {}).items():
            place = (value, names.index(workload))
            axes.annotate(f"{value:.1f}", place, (7, -3), textcoords="offset points", color="#d62728")
        axes.set_xscale("log")
        ticks = [t for t in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if _within(t, found)]
        axes.set_xticks(ticks, [f"{t:g}×" for t in ticks])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
        axes.axvline(1, color="#777777", linewidth=1)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.grid(axis="both", color="#e5e5e5", linewidth=0.7)
        axes.set_axisbelow(True)
        cores = data["machine"]["cores_used"]
        axes.set_xlabel(
            f"times as fast as scikit-learn's lloyd: whole fits, equal work, {cores} cores (right is faster)"
        )
        axes.margins(x=0.12)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside right upper", frameon=False)
        about = {"Date": None, "Description": f"made by bench/report.py from results {digest(data)}"}
        unfinished = path.with_name(path.name + ".part")
        figure.savefig(unfinished, format="svg", metadata=about)
    unfinished.replace(path)


def _within(tick: float, found: dict) -> bool:
    values = [value for each in found.values() for value in each.values()]
    return min(values) / 1.5 <= tick <= max(values) * 1.5
