"""The fits of bench/fit.py in the same shapes on other data: uniform, overlapping, separated, image patches, clustered.

python bench/data.py [--workloads a,b] [--data a,b] [--peers a,b] [--rounds 3] [--threads 2] [--scale 1] [--out FILE]
                     [--smoke]

Clear clusters are found in few iterations, and libraries that stop when nothing changes would stop where their own
rounding lets them. So where gpukm would converge within a workload's iterations, all do three quarters of those it
needs: the same number on every machine, since its results are.
"""

from __future__ import annotations

from dataclasses import replace

import fit
import harness

# The fastest on most workloads, and the one that others are compared with. SciPy and OpenCV are in bench/fit.py.
PEERS = ["scikit-learn", "scikit-learn-intelex", "faiss", "gpukm"]


def main(argv=None) -> None:
    args = harness.arguments("data", __doc__, argv, peers=True, data=True)
    import peers
    import shapes

    names = peers.select(args.peers or [name for name in PEERS if peers.installed(name)])
    report = harness.Report("data", args, [w.name for w in shapes.select(None, data=shapes.DATA)])
    workloads = shapes.select(args.workloads, args.scale, args.smoke, args.data or shapes.DATA)
    fit.run(report, workloads, names, args.rounds, unfinished)


def unfinished(workload, X, centroids):
    """The workload, with fewer iterations if it would converge within them."""
    from gpukm import KMeans

    model = KMeans(len(centroids), init=centroids, n_init=1, max_iter=workload.iterations, tol=0).fit(X)
    return replace(workload, iterations=max(model.n_iter_ * 3 // 4, 1)) if model.converged_ else workload


if __name__ == "__main__":
    main()
