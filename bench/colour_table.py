"""The tables of bench/README.md on images in few colours, from the newest results of colour.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def write(results: Path, tools: list[str]) -> None:
    """Replace what stands between the marks of each table; `tools` are those of the table of quality, in order."""
    page = results.parent / "README.md"
    text = page.read_text()
    tables = {"quality": lambda rows: quality(rows, tools), "speed": speed, "memory": memory}
    for what, lines in tables.items():
        newest = json.loads(max(results.glob(f"colour-{what}-*.json")).read_text())
        made = f"{_machine(newest)}Made by `python bench/colour.py {what}`, then `table`."
        before, _, rest = text.partition(f"<!-- colour:{what} -->")
        after = rest.partition("<!-- /colour -->")[2]
        text = "\n".join(
            [f"{before}<!-- colour:{what} -->", *lines(newest["rows"]), "", made, f"<!-- /colour -->{after}"]
        )
    page.write_text(text)


def quality(rows: list[dict], tools: list[str]) -> list[str]:
    """Geometric means over the images, the best of each column bold."""
    sizes = sorted({row["k"] for row in rows})
    columns = [(what, k) for what in ("mse", "de") for k in sizes]

    def mean(tool: str, what: str, k: int) -> float:
        return float(np.exp(np.mean([np.log(row[what]) for row in rows if (row["tool"], row["k"]) == (tool, k)])))

    means = {tool: [mean(tool, what, k) for what, k in columns] for tool in tools}
    least = np.min(list(means.values()), axis=0)
    names = {"mse": "MSE", "de": "dE"}
    lines = _head(["tool", *(f"{names[what]}, k = {k}" for what, k in columns)])
    for tool, values in means.items():
        cells = [f"{value:.2f}" if value > best else f"**{value:.2f}**" for value, best in zip(values, least)]
        lines.append(f"| {tool} | " + " | ".join(cells) + " |")
    return lines


def speed(rows: list[dict]) -> list[str]:
    """Seconds and errors of each tool; then what twice the pixels add, where their different colours are the same."""
    lines = _head(["24 megapixels, k = 256", "s", "MSE", "dE"])
    for row in rows:
        if "seconds" in row:
            tool = row["tool"] + (f", {row['iterations']} iterations: extrapolated" if "iterations" in row else "")
            de = f"{row['de']:.2f}" if "de" in row else "–"
            lines.append(
                f"| {tool} | {row['seconds']:.{2 if row['seconds'] < 100 else 0}f} | {row['mse']:.2f} | {de} |"
            )
    parts = [row for row in rows if "histogram" in row]
    names = ["histogram", "fit", "apply", "apply, fs"]
    lines += ["", *_head(["gpukm oklab, s", *names])]
    for row in parts:
        lines.append(f"| {row['what']} | " + " | ".join(f"{row[name]:.2f}" for name in names) + " |")
    return lines


def memory(rows: list[dict]) -> list[str]:
    """Peak resident memory."""
    lines = _head([f"{rows[0]['what']} pixels, k = 256", "peak, MB"])
    return lines + [f"| {row['tool']} | {row['peak_bytes'] / 1e6:.0f} |" for row in rows]


def _head(names: list[str]) -> list[str]:
    return ["| " + " | ".join(names) + " |", "| --- |" + " ---: |" * (len(names) - 1)]


def _machine(newest: dict) -> str:
    found = newest.get("machine")
    if found is None:
        return ""
    return f"{found['cpu']}, {found['cores_used']} of {found['cores']} cores, {found['os']}, Python {found['python']}. "
