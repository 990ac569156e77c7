"""Everything that only a GPU can show, in one unattended command of less than nine minutes.

python -m bench.gpu [--stages a,b] [--again] [--minutes 9] [--out FILE] [--smoke] [--list]

Each stage appends JSON lines to gpu-DEVICE-DATE.jsonl in bench/results. A run goes on where the last one stopped: those
done are left out (--again repeats them). The table beside it is written after every stage. Exit status 1 where
something failed, or where there is no GPU.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # the scripts import each other by name, and gpukm beside them

import gpu_table  # noqa: E402


class Record:
    """The results file: rows of one stage after the other, and which stages are done."""

    def __init__(self, path: Path):
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.rows = [json.loads(line) for line in lines]

    def done(self) -> set[str]:
        """Stages that came to their end without an error."""
        return {row["stage"] for row in self.rows if row.get("done")}

    def of(self, stage: str) -> list[dict]:
        """The rows of a stage."""
        return [row for row in self.rows if row["stage"] == stage]

    def begin(self, stage: str) -> None:
        """Forget what an earlier run of this stage has found."""
        self.rows = [row for row in self.rows if row["stage"] != stage]
        self._write()

    def add(self, stage: str, **row) -> None:
        """Append a row; the file holds it when this returns."""
        self.rows.append({"stage": stage, **row})
        self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(self.path.name + ".part")
        unfinished.write_text("".join(json.dumps(row) + "\n" for row in self.rows), encoding="utf-8")
        os.replace(unfinished, self.path)


def run(record: Record, stages: dict, chosen: list[str], minutes: float, again: bool, **options) -> bool:
    """Run stages in their order, each with the rows it yields; True if nothing failed and nothing was left.

    A stage is a function of the record, the time at which to stop, and the options. What it raises is recorded, and
    the next stage begins. No stage begins after the time is over.
    """
    end = time.monotonic() + 60 * minutes
    well = True
    for name in chosen:
        if name in record.done() and not again:
            print(f"{name}: done before", flush=True)
            well = well and not any(row.get("failed") for row in record.of(name))
            continue
        if time.monotonic() > end:
            print(f"{name}: no time left; run the command again", flush=True)
            well = False
            continue
        begin = time.monotonic()
        record.begin(name)
        print(f"{name} ...", flush=True)
        try:
            for row in stages[name](record=record, end=end, **options):
                record.add(name, **row)
                print("  " + gpu_table.line(row), flush=True)
            failed = any(row.get("failed") for row in record.of(name))
            record.add(name, done=True, seconds=round(time.monotonic() - begin, 1))
        except Exception as error:
            failed = True
            record.add(
                name, failed=True, error=f"{type(error).__name__}: {error}", where=traceback.format_exc()[-1500:]
            )
            print(f"  {type(error).__name__}: {error}", flush=True)
        well = well and not failed
        gpu_table.write(record.rows, record.path.with_suffix(".md"))
    return well


def machine(gpu) -> dict:
    """What a reader needs to judge the numbers. No host name, no path."""
    import timing

    runtime = gpu.xp.cuda.runtime
    return {
        "device": gpu.facts.name,
        "arch": gpu.facts.arch,
        "multiprocessors": gpu.facts.multiprocessors,
        "driver": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
        "date": str(datetime.date.today()),
        "python": sys.version.partition(" ")[0],
        "packages": {
            name: version
            for name in ("gpukm", "numpy", "cupy-cuda13x", "cupy-cuda12x", "torch", "flash-kmeans", "fastkmeans")
            if (version := timing.version(name))
        },
    }


def main(argv: list[str] | None = None) -> int:
    import gpu_stages

    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__.splitlines()[0])
    parser.add_argument("--stages", metavar="A,B", help=f"of {', '.join(gpu_stages.STAGES)} (default: all)")
    parser.add_argument("--again", action="store_true", help="repeat stages that are done")
    parser.add_argument("--minutes", type=float, default=9.0, help="begin no stage after so many (default: 9)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: gpu-DEVICE-DATE.jsonl in bench/results")
    parser.add_argument("--smoke", action="store_true", help="tiny shapes: does it run?")
    parser.add_argument("--list", action="store_true", help="say what the stages do, and end")
    args = parser.parse_args(argv)
    if args.list:
        for name, stage in gpu_stages.STAGES.items():
            print(f"{name:12} {stage.__doc__.splitlines()[0]}")
        return 0
    chosen = list(gpu_stages.STAGES) if args.stages is None else args.stages.split(",")
    if unknown := sorted(set(chosen) - set(gpu_stages.STAGES)):
        parser.error(f"unknown stage {', '.join(unknown)}; there are {', '.join(gpu_stages.STAGES)}")
    from gpukm.kernels._cuda import Gpu

    try:
        gpu = Gpu()
    except (ImportError, RuntimeError, ValueError) as error:
        print(
            f"bench.gpu needs a CUDA device, and there is none here: {error}\n"
            "Without one, `python -m pytest` compiles every kernel and runs it on an emulator.",
            file=sys.stderr,
        )
        return 1
    device = re.sub(r"[^a-z0-9]+", "-", gpu.facts.name.lower()).strip("-")
    smoke = "smoke-" if args.smoke else ""
    out = args.out or HERE / "results" / f"gpu-{smoke}{device}-{datetime.date.today()}.jsonl"
    record = Record(out)
    record.begin("machine")
    record.add("machine", **machine(gpu))
    well = run(record, gpu_stages.STAGES, chosen, args.minutes, args.again, gpu=gpu, smoke=args.smoke)
    print(f"wrote {out.name} and {out.with_suffix('.md').name}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
