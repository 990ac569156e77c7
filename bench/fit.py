"""Whole fits by gpukm and its peers on the named workloads, interleaved, at equal work or not at all.

python bench/fit.py [--workloads a,b] [--peers a,b] [--rounds 5] [--threads 2] [--scale 1] [--out FILE] [--smoke]
"""

from __future__ import annotations

from functools import partial
from statistics import median

import harness


def main(argv=None) -> None:
    args = harness.arguments("fit", __doc__, argv, peers=True)
    import peers  # after the threads are limited, because it imports NumPy
    import shapes
    import timing

    names = peers.select(args.peers)
    report = harness.Report("fit", args)
    for workload in shapes.select(args.workloads, args.scale, args.smoke):
        X = shapes.make(workload)
        centroids = shapes.start(workload, X)
        tasks = {name: partial(peers.fit, name, X, centroids, workload.iterations) for name in names}
        fits = timing.interleave(tasks, args.rounds, partial(peers.check_equal, workload))
        print(f"{workload.name}: {len(X)} rows, {workload.iterations} iterations")
        for name in names:
            ms = median(f.seconds for f in fits[name]) / workload.iterations * 1e3
            base = [f.seconds for f in fits[names[0]]]
            faster, least, most = timing.ratio(base, [f.seconds for f in fits[name]])
            times = f"{faster:.2f} times as fast as {names[0]} ({least:.2f} to {most:.2f})"
            print(f"  {name:22}{ms:10.3f} ms/iteration   {times}", flush=True)
        report.add(
            workload,
            contestants={
                name: {
                    "seconds": [f.seconds for f in each],
                    "iterations": each[0].iterations,
                    "inertia": each[0].inertia,
                    "undecided": each[0].undecided,
                }
                for name, each in fits.items()
            },
        )
    report.done()


if __name__ == "__main__":
    main()
