"""What bench.gpu found, as a page of tables."""

from __future__ import annotations

from pathlib import Path
from statistics import median

HEADS = {
    "compile": ("kernel", "defines", "registers", "shared", "spilled", "seconds"),
    "suite": ("passed", "skipped", "wrong", "test", "error"),
    "conformance": (
        *("passed", "skipped", "wrong", "test", "error", "rounding", "extra_bits", "products_at_once"),
        *("subnormal_products_kept", "worst_error_in_2^-24_of_magnitudes"),
    ),
    "sanitizer": ("tool", "said", "seconds"),
    "rates": ("rate", "per_second", "unit"),
    "bits": ("shape", "equal", "unequal"),
    "kernels": ("shape", "ms", "goal", "of_bound", "bound", "by_kernel", "skipped"),
    "seeding": ("shape", "equal", "ms a centre", "ms in all"),
    "colours": ("colours", "pixels", "equal", "pixels a second"),
    "streams": ("shape", "equal", "GB/s", "copies, ms", "computes, ms", "both, ms", "of the slower"),
    "auto": ("shape", "chosen", "cpu, s", "cuda, s", "auto, s", "of the CPU"),
    "fits": ("shape", "contestant", "updates", "ms an update", "inertia", "skipped"),
}


def cell(value) -> str:
    """A value as it is read in a table."""
    if value is None or value == "" or value == [] or value == {}:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {cell(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(cell, value))
    return str(value).replace("|", "\\|").replace("\n", " ")


def line(row: dict) -> str:
    """A row on one line of a terminal."""
    return "  ".join(f"{key} {cell(value)}" for key, value in row.items() if key not in ("stage", "where"))


def page(rows: list[dict]) -> str:
    """All stages that have rows, each as a table, in the order of `HEADS`; then what failed."""
    machine = next((row for row in rows if row["stage"] == "machine"), {})
    text = [f"# {machine.get('device', 'A GPU')}\n", cell({k: v for k, v in machine.items() if k != "stage"}) + "\n"]
    for stage, heads in HEADS.items():
        found = [row for row in rows if row["stage"] == stage and not row.get("done") and "where" not in row]
        used = [head for head in heads if any(_value(row, head) is not None for row in found)]
        if not used:
            continue
        text += [f"\n## {stage}\n", f"| {' | '.join(used)} |", f"|{' --- |' * len(used)}"]
        text += [f"| {' | '.join(cell(_value(row, head)) for head in used)} |" for row in found]
    failed = [row for row in rows if row.get("failed")]
    text += ["\n## failed\n", *(f"* {line(row)}" for row in failed)] if failed else []
    return "\n".join(text) + "\n"


def _value(row: dict, head: str):
    if head == "ms an update":
        return 1e3 * median(row["seconds"]) / row["updates"] if "seconds" in row else None
    return row.get(head)


def write(rows: list[dict], path: Path) -> None:
    """The page as a file."""
    path.write_text(page(rows), encoding="utf-8")
