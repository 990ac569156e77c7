"""gpukm.vq against scipy.cluster.vq on the named workloads: vq, kmeans and kmeans2, equal results or none.

python bench/vq.py [--workloads a,b] [--rounds 5] [--threads 2] [--scale 1] [--out FILE] [--smoke]

vq labels the rows by the workload's start; kmeans iterates from it until the mean distance changes by less than 0.3 %;
kmeans2 makes the workload's iterations from it. The code books of both must have the same inertia, and kmeans must make
the same iterations, or the workload is refused. gpukm's kmeans looks at the rows once more, for the distortion is that
of the code book it returns; SciPy up to 1.17 does not, so that is asked of it, inside the clock, by its own vq.
"""

from __future__ import annotations

import time
from functools import partial
from statistics import median
from unittest import mock

import harness

STOP = 3e-3  # of the first mean distance: kmeans then makes about five to ten iterations


def main(argv=None) -> None:
    args = harness.arguments("vq", __doc__, argv)
    import shapes
    import timing

    report = harness.Report("vq", args)
    slower = []
    for workload in shapes.select(args.workloads, args.scale, args.smoke):
        X = shapes.make(workload)
        found = {}
        for function, tasks in _tasks(workload, X, shapes.start(workload, X)).items():
            rounds = timing.interleave(tasks, args.rounds, partial(_check_equal, workload))
            seconds = {name: [r["seconds"] for r in each] for name, each in rounds.items()}
            found[function] = {name: {**each[0], "seconds": seconds[name]} for name, each in rounds.items()}
            faster, least, most = timing.ratio(seconds["scipy"], seconds["gpukm"])
            print(
                f"{workload.name:22}{function:9}{median(seconds['gpukm']):9.4f} s, {faster:.2f} times as fast as "
                f"SciPy ({least:.2f} to {most:.2f})",
                flush=True,
            )
            if faster < 1:
                slower.append(f"{workload.name} {function}")
        report.add(workload, functions=found)
    report.done()
    print(f"slower than SciPy: {', '.join(slower) or 'none'}")


def _tasks(workload, X, start) -> dict:
    import peers
    import scipy.cluster.vq

    import gpukm.vq
    from gpukm.array_source import ArraySource

    thresh = STOP * float(gpukm.vq.vq(X, start)[1].mean())
    # Where one iteration ends and the next begins: SciPy's calls of vq, gpukm's steps.
    counted = {"gpukm": (gpukm.vq, ArraySource, "step"), "scipy": (scipy.cluster.vq, scipy.cluster.vq, "vq")}

    def kmeans(module):
        book, distortion = module.kmeans(X, start, thresh=thresh)
        if module is scipy.cluster.vq and tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 18):
            distortion = module.vq(X, book)[1].mean()
        return book, distortion

    def task(name, function):
        module, owner, method = counted[name]
        run = {
            "vq": lambda: (start, module.vq(X, start)),
            "kmeans": lambda: kmeans(module),
            "kmeans2": lambda: module.kmeans2(X, start, iter=workload.iterations, minit="matrix"),
        }[function]

        def timed():
            time.sleep(peers.IDLE)
            with mock.patch.object(owner, method, autospec=True, side_effect=getattr(owner, method)) as calls:
                began = time.perf_counter()
                centroids, _ = run()
                seconds = time.perf_counter() - began
            return {"seconds": seconds, "calls": calls.call_count, "inertia": peers.inertia(X, centroids)}

        return timed

    return {f: {name: task(name, f) for name in ("scipy", "gpukm")} for f in ("vq", "kmeans", "kmeans2")}


def _check_equal(workload, results) -> None:
    scipy, gpukm = results["scipy"], results["gpukm"]
    if not abs(scipy["inertia"] - gpukm["inertia"]) <= workload.rtol * scipy["inertia"]:
        raise SystemExit(f"{workload.name}: unequal work: inertia {scipy['inertia']:.9g} and {gpukm['inertia']:.9g}")
    if scipy["calls"] > 1 and abs(gpukm["calls"] - scipy["calls"]) > 1:  # by one: whether it had settled before
        raise SystemExit(f"{workload.name}: unequal work: {scipy['calls']} iterations and {gpukm['calls']}")


if __name__ == "__main__":
    main()
