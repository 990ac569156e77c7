"""How often, and by how much, Hartigan & Wong's algorithm lowers what Lloyd's ends with, and what that costs.

python bench/refine.py [--workloads a,b] [--rounds 20] [--threads 2] [--scale 1] [--out FILE] [--smoke]

At most 20,000 rows of each workload, a round for each seed: a fit by Lloyd's to the very end (tol=0), the same fit with
refine="hartigan-wong", and algorithm="hartigan-wong" from the same start. No round is a warm-up: compiled code is
loaded by a first fit that is not counted.
"""

from __future__ import annotations

import time
from statistics import median

import harness

ROWS = 20_000
CONTESTANTS = {"lloyd": {}, "refined": {"refine": "hartigan-wong"}, "hartigan-wong": {"algorithm": "hartigan-wong"}}


def main(argv=None) -> None:
    args = harness.arguments("refine", __doc__, argv)
    import shapes

    import gpukm

    report = harness.Report("refine", args)
    for workload in shapes.select(args.workloads, args.scale, args.smoke):
        k = min(workload.k, max(min(workload.n, ROWS) // 20, 2))
        X = shapes.make(workload)
        X = X[:: max(len(X) // ROWS, 1)][:ROWS].copy()
        found = {name: [] for name in CONTESTANTS}
        for name in CONTESTANTS:
            gpukm.KMeans(2, max_iter=1, **CONTESTANTS[name]).fit(X)
        for seed in range(args.rounds):
            for name, options in CONTESTANTS.items():
                began = time.perf_counter()
                model = gpukm.KMeans(k, random_state=seed, tol=0.0, max_iter=1000, **options).fit(X)
                seconds = time.perf_counter() - began
                found[name].append({"inertia": model.inertia_, "iterations": model.n_iter_, "seconds": seconds})
        report.add(workload, rows=len(X), clusters=k, contestants=found)
        plain = [run["inertia"] for run in found["lloyd"]]
        print(f"{workload.name}: {len(X)} rows, k = {k}, {args.rounds} starts")
        for name in ("refined", "hartigan-wong"):
            gains = [1 - run["inertia"] / base for run, base in zip(found[name], plain, strict=True)]
            lower = sum(gain > 0 for gain in gains)
            cost = median(run["seconds"] for run in found[name]) / median(run["seconds"] for run in found["lloyd"])
            print(
                f"  {name:14} lower inertia in {lower} of {len(gains)}, higher in {sum(gain < 0 for gain in gains)}; "
                f"by {100 * median(gains):.3f} % (median), {100 * max(gains):.3f} % at most; {cost:.2f} times the time",
                flush=True,
            )
        if any(run["inertia"] > base for run, base in zip(found["refined"], plain, strict=True)):
            raise SystemExit(f"{workload.name}: refining raised the inertia")
    report.done()


if __name__ == "__main__":
    main()
