"""Mini-batch k-means against scikit-learn's: time of whole fits, and inertia over many seeds.

python bench/minibatch.py [--workloads a,b] [--rounds 3] [--threads 2] [--scale 1] [--out FILE] [--smoke]

Both with their defaults, labels included, each round with a seed of its own. They draw different rows and stop where
their smoothed inertia stops falling, so the steps differ; what must not differ is how good the result is. The inertia
of the centroids, by the harness, is compared over 20 seeds on at most 100,000 rows of each workload, where a fit of
scikit-learn's takes less than a second, and over the rounds at full size. If the median of gpukm's is more than 1 %
above scikit-learn's, the times are not comparable, and nothing is written.
"""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import count
from statistics import median

import harness

NAMES = ["rows-16-100", "geo-2-8", "sensors-8-64", "features-16-64", "colours-3-16", "digits-784-10"]
CONTESTANTS = ("gpukm", "scikit-learn")
SEEDS, ROWS = 20, 100_000
WORSE = 0.01


def main(argv=None) -> None:
    args = harness.arguments("minibatch", __doc__, argv)
    import shapes
    import timing

    report = harness.Report("minibatch", args)
    worse = 1.0 if args.smoke else WORSE  # 500 rows say nothing about quality
    for workload in shapes.select(args.workloads or NAMES, args.scale, args.smoke):
        few = replace(workload, n=min(workload.n, ROWS))
        seeds = range(3 if args.smoke else SEEDS)
        X = shapes.make(few)
        quality = {
            name: [_fit(name, X, few.k, seed)["inertia"] for seed in seeds] for name in ("gpukm", "scikit-learn")
        }
        check(f"{workload.name}, {few.n} rows", quality, worse)
        X = shapes.make(workload)
        rounds = timing.interleave({name: _fits(name, X, workload.k) for name in CONTESTANTS}, args.rounds)
        check(workload.name, {name: [r["inertia"] for r in results] for name, results in rounds.items()}, worse)
        report.add(workload, quality={"rows": few.n, **quality}, **rounds)
        (ours, steps), (theirs, others) = (
            (median(r["seconds"] for r in rounds[name]), median(r["steps"] for r in rounds[name])) for name in quality
        )
        print(
            f"{workload.name}: gpukm {ours:.3f} s in {steps:.0f} steps, scikit-learn {theirs:.3f} s in {others:.0f}; "
            f"inertia over {len(seeds)} seeds {excess(quality):+.2%}",
            flush=True,
        )
    report.done()


def _fits(name: str, X, k: int):
    """A task that fits with seed 0, 1, ... each time it is called."""
    seeds = count()
    return lambda: _fit(name, X, k, next(seeds))


def _fit(name: str, X, k: int, seed: int) -> dict:
    import peers
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits
    from timing import cores

    import gpukm

    estimator = {"gpukm": gpukm.MiniBatchKMeans, "scikit-learn": MiniBatchKMeans}[name]
    with threadpool_limits(cores()):
        time.sleep(peers.IDLE)
        began = time.perf_counter()
        model = estimator(k, random_state=seed).fit(X)
        seconds = time.perf_counter() - began
    return {"seconds": seconds, "steps": model.n_steps_, "inertia": peers.inertia(X, model.cluster_centers_)}


def excess(inertias: dict[str, list[float]]) -> float:
    """How far the median of gpukm's inertias is above scikit-learn's, relative."""
    return median(inertias["gpukm"]) / median(inertias["scikit-learn"]) - 1


def check(what: str, inertias: dict[str, list[float]], worse: float) -> None:
    """Raise SystemExit where gpukm's result is too much worse for its time to count."""
    if not excess(inertias) <= worse:
        ours, theirs = median(inertias["gpukm"]), median(inertias["scikit-learn"])
        raise SystemExit(
            f"{what}: unequal work: gpukm's median inertia is {ours:.6g}, scikit-learn's {theirs:.6g}, which is "
            f"{excess(inertias):.1%} less; at most {worse:.0%} is allowed"
        )


if __name__ == "__main__":
    main()
