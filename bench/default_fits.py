"""`KMeans(k).fit(X)` as people call it, seeding and the default tolerance included: gpukm and scikit-learn.

python bench/default_fits.py [--workloads a,b] [--rounds 3] [--threads 2] [--scale 1] [--out FILE] [--smoke]

This is no equal work, and cannot be: both draw their seeds from `random_state` in their own way, so that either may
start better, need fewer iterations or end lower. Each round has another `random_state`, the same for both; iterations
and inertias are recorded besides the times, and the inertias are computed by one function of the harness.
"""

from __future__ import annotations

import time
import warnings
from functools import partial
from importlib import import_module
from statistics import mean, median

import harness

MODULES = {"scikit-learn": "sklearn.cluster", "gpukm": "gpukm"}


def main(argv=None) -> None:
    args = harness.arguments("default_fits", __doc__, argv)
    import shapes
    import timing

    report = harness.Report("default_fits", args)
    for workload in shapes.select(args.workloads, args.scale, args.smoke):
        X = shapes.make(workload)
        # The warm-up is one iteration, since a whole fit may take minutes: it imports, compiles and touches the rows.
        calls = {name: iter([{"max_iter": 1}] + [{}] * args.rounds) for name in MODULES}
        draws = {name: iter(range(args.rounds + 1)) for name in MODULES}
        tasks = {name: partial(_fit, name, X, workload.k, calls[name], draws[name]) for name in MODULES}
        rounds = timing.interleave(tasks, args.rounds)
        report.add(workload, **rounds)
        print(f"{workload.name}:")
        for name, each in rounds.items():
            seconds, iterations = (median(r[key] for r in each) for key in ("seconds", "iterations"))
            inertia = mean(r["inertia"] for r in each)
            print(f"  {name:14}{seconds:9.3f} s   {iterations:5g} iterations   inertia {inertia:.6g}", flush=True)
    report.done()


def _fit(name, X, k, calls, draws) -> dict:
    import peers

    KMeans = import_module(MODULES[name]).KMeans
    options, draw = next(calls), next(draws)
    time.sleep(peers.IDLE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one iteration does not converge
        began = time.perf_counter()
        model = KMeans(k, random_state=draw, **options).fit(X)
        seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "iterations": int(model.n_iter_),
        "inertia": peers.inertia(X, model.cluster_centers_),
        "random_state": draw,
    }


if __name__ == "__main__":
    main()
