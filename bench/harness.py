"""What the benchmark scripts share: their options, and the results file they write."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import timing

RESULTS = Path(__file__).resolve().parent / "results"


def arguments(kind: str, doc: str, argv=None, *, peers=False, data=False, rounds=True) -> argparse.Namespace:
    """Parse the options and limit the threads: to be called before anything imports NumPy."""
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    add = parser.add_argument
    add("--workloads", type=_names, metavar="A,B", help="names from bench/shapes.py (default: all)")
    if peers:
        add("--peers", type=_names, metavar="A,B", help="names from bench/peers.py (default: see bench/README.md)")
    if data:
        add("--data", type=_names, metavar="A,B", help="kinds of data from bench/shapes.py (default: all)")
    if rounds:
        add("--rounds", type=int, default=3, help="counted rounds after the warm-up (default: 3)")
    add("--threads", type=int, default=min(2, timing.cores()), help="cores for every contestant (default: 2)")
    add(
        "--scale",
        type=float,
        default=1.0,
        help="multiply each n by this, for a quick look; writes a file only with --out",
    )
    add("--smoke", action="store_true", help="tiny data and one round: does it run? writes a file only with --out")
    add("--out", type=Path, metavar="FILE", help=f"default: bench/results/{kind}-YYYY-MM-DD.json")
    args = parser.parse_args(argv)
    if rounds and args.rounds < 1:
        raise SystemExit(f"--rounds {args.rounds} is not allowed: at least 1")
    if args.smoke or not rounds:
        args.rounds = 1
    if args.out is None and not args.smoke and args.scale == 1:
        args.out = RESULTS / f"{kind}-{datetime.date.today()}.json"
    args.command = command(kind, argv)
    timing.limit_threads(args.threads)
    return args


def _names(text: str) -> list[str]:
    return text.split(",")


def command(kind: str, argv: list[str]) -> str:
    """The command that makes all the results again; without --out, which may name a place on this machine."""
    kept, skip = [], False
    for word in argv:
        name, _, value = word.partition("=")
        if skip:
            skip = False
        elif name in ("--out", "--workloads", "--data"):
            skip = not value
        else:
            kept.append(word)
    return " ".join([f"python bench/{kind}.py", *kept])


class Report:
    """The results file, written after each workload, so that one that is refused costs only itself.

    A run of some workloads replaces theirs in a file of the same day and the same options and leaves the others.
    """

    def __init__(self, kind: str, args: argparse.Namespace, names: list[str] | None = None):
        """`names` are those of all rows that such a file may hold, in order; None: the named workloads'."""
        self.out, self.names = args.out, names
        options = {"scale": args.scale, "rounds": args.rounds, "threads": args.threads}
        self.data = {"kind": kind, "date": str(datetime.date.today()), "command": args.command, "smoke": args.smoke}
        self.data.update(options, load_before=timing.load(), machine={}, results=[])
        if (self.data["load_before"] or 0) > 0.5 and not args.smoke:
            print(
                f"load {self.data['load_before']}: others use this machine, the times will mean little", file=sys.stderr
            )
        if self.out is not None and self.out.exists():
            old = json.loads(self.out.read_text(encoding="utf-8"))
            for key in ("kind", "date", "smoke", *options):
                if old[key] != self.data[key]:
                    raise SystemExit(
                        f"{self.out.name} holds results with {key} {old[key]}, this run has {self.data[key]}; "
                        "move that file away or name another with --out"
                    )
            self.data["results"] = old["results"]

    def add(self, workload, **measured) -> None:
        """Put in the results of one workload and write the file."""
        from shapes import WORKLOADS

        names = list(self.names or WORKLOADS)
        rows = {row["name"]: row for row in self.data["results"]}
        rows[workload.name] = {**asdict(workload), **measured}
        self.data["results"] = sorted(rows.values(), key=lambda row: names.index(row["name"]))
        self.data["machine"] = timing.machine()  # now, when every library in play has been loaded
        if self.out is not None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            unfinished = self.out.with_name(self.out.name + ".part")
            unfinished.write_text(json.dumps(self.data, indent=1) + "\n", encoding="utf-8")
            os.replace(unfinished, self.out)

    def done(self) -> None:
        """Say where the results are."""
        print("not written: a trial run without --out" if self.out is None else f"wrote {self.out}")
