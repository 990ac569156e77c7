"""k-means|| against greedy k-means++: time of the seeding, and inertia before and after Lloyd's iterations.

python bench/oversampling.py [--workloads a,b] [--rounds 5] [--threads 2] [--scale 1] [--out FILE] [--smoke]

Each round has a seed of its own; Lloyd's algorithm runs to its default tolerance, 100 iterations at most. Where the
median inertia from k-means|| is more than 5 % above that from k-means++, the workload is refused.
"""

from __future__ import annotations

import time
from itertools import count
from statistics import median

import harness

NAMES = ["rows-16-100", "features-16-64", "patches-64-256", "embeddings-128-1024", "colours-3-256"]
INITS = ("k-means++", "k-means||")
WORSE = 0.05


def main(argv=None) -> None:
    args = harness.arguments("oversampling", __doc__, argv)
    import shapes
    import timing

    report = harness.Report("oversampling", args)
    for workload in shapes.select(args.workloads or NAMES, args.scale, args.smoke):
        X = shapes.make(workload)
        rounds = timing.interleave({init: _starts(init, X, workload.k) for init in INITS}, args.rounds)
        check(workload.name, rounds, 1.0 if args.smoke else WORSE)
        report.add(workload, **rounds)
        (greedy, before), (ours, after) = (
            (median(r["seconds"] for r in rounds[init]), median(r["inertia"] for r in rounds[init])) for init in INITS
        )
        print(
            f"{workload.name}: k-means|| {ours:.3f} s, greedy k-means++ {greedy:.3f} s; "
            f"inertia after Lloyd {after / before - 1:+.2%}",
            flush=True,
        )
    report.done()


def _starts(init: str, X, k: int):
    """A task that starts with seed 0, 1, ... each time it is called."""
    seeds = count()
    return lambda: _seed(init, X, k, next(seeds))


def _seed(init: str, X, k: int, seed: int) -> dict:
    import numpy as np
    import peers

    from gpukm.array_source import ArraySource
    from gpukm.lloyd import lloyd
    from gpukm.seeding import seed as start

    source = ArraySource(X, dtype=X.dtype)
    stats = source.stats()
    time.sleep(peers.IDLE)
    began = time.perf_counter()
    centroids, _ = start(source, k, init, np.random.default_rng(seed))
    seconds = time.perf_counter() - began
    tol = 1e-4 * stats.totss / (stats.total_weight * X.shape[1])
    result = lloyd(source, centroids, max_iter=100, tol=tol)
    return {
        "seconds": seconds,
        "potential": peers.inertia(X, centroids),
        "inertia": result.inertia,
        "iterations": result.n_iter,
    }


def check(what: str, rounds: dict[str, list[dict]], worse: float) -> None:
    """Raise SystemExit where k-means|| starts too badly for its time to count."""
    greedy, ours = (median(r["inertia"] for r in rounds[init]) for init in INITS)
    if not ours <= greedy * (1 + worse):
        raise SystemExit(
            f"{what}: unequal work: the median inertia after k-means|| is {ours:.6g}, after greedy k-means++ "
            f"{greedy:.6g}; at most {worse:.0%} more is allowed"
        )


if __name__ == "__main__":
    main()
