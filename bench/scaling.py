"""How the time of a fit grows with rows, clusters, features, iterations and threads: one changes, the rest stays.

python bench/scaling.py [--workloads d=64,k=16] [--peers a,b] [--rounds 3] [--threads 2] [--scale 1] [--out FILE]
                        [--smoke]

Every point is a process of its own, since pools of threads are sized once. Start, iterations and checks are those of
bench/fit.py; the rows are overlapping blobs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace

import harness

PEERS = ["scikit-learn", "gpukm"]
AXES = {
    "n": (25_000, 100_000, 400_000, 1_600_000),
    "d": (2, 4, 8, 16, 32, 64, 128, 256),
    "k": (4, 16, 64, 256, 1024),
    "iterations": (5, 10, 20, 40),
    "threads": (1, 2),
}


def main(argv=None) -> None:
    args = harness.arguments("scaling", __doc__, argv, peers=True)
    import shapes

    points = {f"{axis}={value}": (axis, value) for axis, values in AXES.items() for value in values}
    if unknown := set(args.workloads or ()) - set(points):
        raise SystemExit(f"unknown point {', '.join(sorted(unknown))}; there are {', '.join(points)}")
    report, failed = harness.Report("scaling", args, list(points)), []
    for name, (axis, value) in points.items():
        threads = value if axis == "threads" else args.threads
        if threads > args.threads or name not in (args.workloads or points):
            continue
        workload = replace(point(shapes, axis, value), name=name)
        small = {"n": max(500, 8 * workload.k), "iterations": 2, "rtol": 1e-2} if args.smoke else {}
        workload = replace(workload, **(small or {"n": max(round(workload.n * args.scale), 8 * workload.k)}))
        given = {"workload": asdict(workload), "threads": threads, "peers": args.peers or PEERS, "rounds": args.rounds}
        done = subprocess.run(
            [sys.executable, __file__, "--child", json.dumps(given)], stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            failed.append(name)
            continue
        *lines, measured = done.stdout.splitlines()
        print(*lines, sep="\n", flush=True)
        report.add(workload, axis=axis, value=value, fit_threads=threads, **json.loads(measured))
    report.done()
    if failed:
        raise SystemExit(f"no results for {', '.join(failed)}: see above")


def point(shapes, axis: str, value: int):
    """The workload in the middle, with one of its sizes changed."""
    sizes = {"n": 400_000, "d": 16, "k": 64, "iterations": 10, axis: value}
    sizes.pop("threads", None)
    return shapes.on("overlapping", shapes.Workload(name="", kind="", seed=11, **sizes))


def child(given: str) -> None:
    """In a process of its own: one point, its outcome printed as the last line."""
    import timing

    asked = json.loads(given)
    timing.limit_threads(asked["threads"])
    import fit
    import peers
    import shapes

    workload = shapes.Workload(**asked["workload"])
    X = shapes.make(workload)
    names = peers.select(asked["peers"])
    print(json.dumps(fit.measure(workload, X, shapes.start(workload, X), names, asked["rounds"])))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2])
    else:
        main()
