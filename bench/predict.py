"""predict and transform of gpukm and scikit-learn, for the same rows and centroids.

python bench/predict.py [--workloads a,b] [--rounds 3] [--threads 2] [--scale 1] [--out FILE] [--smoke]

Both have the start centroids of the workload. Labels must be as good (the same inertia within the workload's
tolerance), distances the same within 1e-3 of the greatest. transform is given as many rows as make 2^27 distances,
512 MiB.
"""

from __future__ import annotations

import time
from functools import partial
from importlib import import_module

import harness

MODULES = {"scikit-learn": "sklearn.cluster", "gpukm": "gpukm"}
DISTANCES = 1 << 27


def main(argv=None) -> None:
    args = harness.arguments("predict", __doc__, argv)
    import shapes
    import timing

    report = harness.Report("predict", args)
    for workload in shapes.select(args.workloads, args.scale, args.smoke):
        X = shapes.make(workload)
        models = _models(shapes.start(workload, X))
        measured, line = {}, f"{workload.name}:"
        for method, check in CHECKS.items():
            rows = X[: DISTANCES // workload.k] if method == "transform" else X
            tasks = {name: partial(_timed, getattr(model, method), rows) for name, model in models.items()}
            found = timing.interleave(tasks, args.rounds, partial(check, workload, rows, models["gpukm"]))
            seconds = {name: [each[0] for each in results] for name, results in found.items()}
            measured[method] = {"rows": len(rows), "seconds": seconds}
            line += f" {method} {timing.ratio(*seconds.values())[0]:.2f} times as fast as scikit-learn;"
        report.add(workload, **measured)
        print(line, flush=True)
    report.done()


def _models(centroids) -> dict:
    models = {}
    for name, module in MODULES.items():
        model = import_module(module).KMeans(len(centroids), init=centroids, n_init=1, max_iter=1).fit(centroids)
        model.cluster_centers_ = centroids.copy()  # scikit-learn has centred and rounded them
        models[name] = model
    return models


def _timed(method, rows) -> list:
    """[seconds, result]; the result is taken out once it was checked, so that none is kept."""
    import peers

    time.sleep(peers.IDLE)
    began = time.perf_counter()
    result = method(rows)
    return [time.perf_counter() - began, result]


def _labels_agree(workload, X, model, found) -> tuple:
    """Refuse labels that are worse than rounding explains."""
    import numpy as np

    inertias = {}
    for name, each in found.items():
        labels, total = each.pop(), 0.0
        for i in range(0, len(X), 1 << 14):
            difference = X[i : i + (1 << 14)].astype(np.float64) - model.cluster_centers_[labels[i : i + (1 << 14)]]
            total += float(np.einsum("ij,ij->", difference, difference))
        inertias[name] = total
    if max(inertias.values()) - min(inertias.values()) > workload.rtol * max(inertias.values()):
        raise SystemExit(f"{workload.name}: unequal work: labels with inertias {inertias}")
    return ()


def _distances_agree(workload, X, model, found) -> tuple:
    """Refuse distances that differ: looked at are every so many rows."""
    import numpy as np

    few = [each.pop()[:: max(len(X) // 1000, 1)] for each in found.values()]
    if not np.allclose(*few, rtol=0, atol=1e-3 * few[0].max()):
        raise SystemExit(f"{workload.name}: unequal work: distances {np.abs(few[0] - few[1]).max():.3g} apart")
    return ()


CHECKS = {"predict": _labels_agree, "transform": _distances_agree}

if __name__ == "__main__":
    main()
