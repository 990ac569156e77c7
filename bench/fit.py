"""Whole fits by gpukm and its peers on the named workloads, interleaved, at equal work or not at all.

python bench/fit.py [--workloads a,b] [--peers a,b] [--rounds 3] [--threads 2] [--scale 1] [--out FILE] [--smoke]
"""

from __future__ import annotations

import sys
from functools import partial
from statistics import median

import harness


def main(argv=None) -> None:
    args = harness.arguments("fit", __doc__, argv, peers=True)
    import peers  # after the threads are limited, because it imports NumPy
    import shapes

    names = peers.select(args.peers)
    report = harness.Report("fit", args)
    run(report, shapes.select(args.workloads, args.scale, args.smoke), names, args.rounds)


def run(report, workloads, names: list[str], rounds: int, prepared=lambda workload, X, centroids: workload) -> None:
    """Measure workload after workload; one on which nothing can be compared costs only itself, but status 1 at the end.

    ``prepared`` may change a workload once its rows are there.
    """
    import peers
    import shapes

    failed = []
    for workload in workloads:
        X = shapes.make(workload)
        centroids = shapes.start(workload, X)
        try:
            workload = prepared(workload, X, centroids)
            report.add(workload, **measure(workload, X, centroids, names, rounds))
        except peers.UnequalError as error:
            print(error, file=sys.stderr, flush=True)
            failed.append(workload.name)
    report.done()
    if failed:
        raise SystemExit(f"no results for {', '.join(failed)}: see above")


def measure(workload, X, centroids, names: list[str], rounds: int) -> dict:
    """Time the contestants on one workload, print the outcome, and return it for the results file."""
    import peers
    import timing

    refused: dict[str, str] = {}
    known: dict[bytes, float] = {}

    def check(fits):
        reasons = peers.refused(workload, fits)
        refused.update(reasons)
        return reasons

    tasks = {name: partial(peers.fit, name, X, centroids, workload.iterations, known) for name in names}
    fits = timing.interleave(tasks, rounds, check)
    print(f"{workload.name}: {len(X)} rows, {workload.iterations} iterations")
    base = [fit.seconds for fit in fits[names[0]]]
    for name, each in fits.items():
        seconds = [fit.seconds for fit in each]
        faster, least, most = timing.ratio(base, seconds)
        times = f"{faster:.2f} times as fast as {names[0]} ({least:.2f} to {most:.2f})"
        print(f"  {name:22}{median(seconds) / workload.iterations * 1e3:10.3f} ms/iteration   {times}", flush=True)
    for name, reason in refused.items():
        print(f"  {name:22}refused: {reason}", flush=True)
    contestants = {
        name: {
            "seconds": [fit.seconds for fit in each],
            "iterations": each[0].iterations,
            "inertia": each[0].inertia,
            "undecided": each[0].undecided,
        }
        for name, each in fits.items()
    }
    return {"contestants": contestants, "refused": refused}


if __name__ == "__main__":
    main()
