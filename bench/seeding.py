"""What seeding costs: greedy k-means++ against Lloyd's iterations, against a whole default fit, against scikit-learn's.

python bench/seeding.py [--workloads a,b] [--rounds 5] [--threads 2] [--scale 1] [--out FILE] [--smoke]

Both libraries try 2 + log(k) candidates a centroid. They draw different ones, so the potentials (sums of squared
distances to the nearest seed) are recorded too: the same within a few percent, or the work is not the same.
"""

from __future__ import annotations

import time
from statistics import median

import harness


def main(argv=None) -> None:
    args = harness.arguments("seeding", __doc__, argv)
    import shapes
    import timing

    report = harness.Report("seeding", args)
    for workload in shapes.select(args.workloads, args.scale, args.smoke):
        X = shapes.make(workload)
        rounds = timing.interleave(_tasks(X, workload.k), args.rounds)
        report.add(workload, **rounds)
        seeding, peer, fit = (median(r["seconds"] for r in rounds[name]) for name in ("gpukm", "scikit-learn", "fit"))
        iteration, count = median(r["iteration"] for r in rounds["fit"]), rounds["fit"][0]["iterations"]
        print(
            f"{workload.name}: seeding {seeding:.3f} s (scikit-learn {peer:.3f} s), iteration {iteration:.4f} s, "
            f"whole fit {fit:.3f} s in {count} iterations",
            flush=True,
        )
    report.done()


def _tasks(X, k) -> dict:
    import peers
    from sklearn.cluster import kmeans_plusplus

    import gpukm

    def seeding(function):
        time.sleep(peers.IDLE)
        began = time.perf_counter()
        centroids, _ = function(X, k, random_state=0)
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "potential": peers.inertia(X, centroids)}

    def fit():
        time.sleep(peers.IDLE)
        began = time.perf_counter()
        model = gpukm.KMeans(k, random_state=0).fit(X)
        seconds = time.perf_counter() - began
        iteration = median(step.seconds for step in model.history_)
        return {"seconds": seconds, "iterations": model.n_iter_, "iteration": iteration}

    return {
        "gpukm": lambda: seeding(gpukm.kmeans_plusplus),
        "scikit-learn": lambda: seeding(kmeans_plusplus),
        "fit": fit,
    }


if __name__ == "__main__":
    main()
