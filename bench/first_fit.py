"""A process' first fit: with nothing compiled, with everything compiled, and scikit-learn's.

python bench/first_fit.py [--workloads a,b] [--rounds 3] [--threads 2] [--scale 1] [--out FILE] [--smoke]

Each in a process of its own. The clock starts when the rows are in memory, before gpukm or scikit-learn is imported,
and stops after a fit with the start and the iterations of `fit.py`. `gpukm` without compiled code has another process
make it meanwhile (which is waited for, outside the clock, before the next contestant); `gpukm, compiling` waits for it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

WORKLOADS = ["colours-3-16", "features-16-64", "patches-64-256", "digits-784-10"]
COLD, NOW, WARM, BASE = "gpukm", "gpukm, compiling", "gpukm, compiled", "scikit-learn"


def main(argv=None) -> None:
    import harness

    args = harness.arguments("first_fit", __doc__, argv)
    import numpy as np
    import shapes
    import timing

    report = harness.Report("first_fit", args)
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "compiled"
        for workload in shapes.select(args.workloads or WORKLOADS, args.scale, args.smoke):
            X = shapes.make(workload)
            np.savez(Path(folder) / "rows.npz", X=X, start=shapes.start(workload, X))
            _child("gpukm", workload, compiled, "now")
            check = partial(_check, rtol=workload.rtol)
            results = timing.interleave(_contestants(workload, Path(folder), compiled), args.rounds, check)
            contestants = {
                name: {"seconds": [row["seconds"] for row in rows], "engine": rows[-1]["engine"]}
                for name, rows in results.items()
            }
            report.add(workload, contestants=contestants)
            of = "; ".join(f"{name} {median(c['seconds']):.2f} s" for name, c in contestants.items())
            print(f"{workload.name}: {of}", flush=True)
    report.done()


def _contestants(workload, folder: Path, compiled: Path) -> dict:
    def anew(compile_when):
        empty = folder / "empty"
        empty.mkdir()
        try:
            found = _child("gpukm", workload, empty, compile_when)
            while any(empty.rglob("*.begun")):
                time.sleep(0.2)
        finally:
            shutil.rmtree(empty)
        return found

    return {
        COLD: lambda: anew("background"),
        NOW: lambda: anew("now"),
        WARM: lambda: _child("gpukm", workload, compiled, "now"),
        BASE: lambda: _child("sklearn.cluster", workload, compiled, "now"),
    }


def _check(results: dict, rtol: float) -> list:
    """Raise unless all did the same work; gpukm's to the bit."""
    same = {results[name]["inertia"] for name in (COLD, NOW, WARM)}
    off = abs(results[BASE]["inertia"] - results[COLD]["inertia"]) > rtol * results[BASE]["inertia"]
    if len(same) > 1 or off or len({row["iterations"] for row in results.values()}) > 1:
        raise SystemExit(f"unequal work: {results}")
    return []


def _child(module: str, workload, cache: Path, compile_when: str) -> dict:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "GPUKM_COMPILE": compile_when}
    command = [sys.executable, __file__, "--child", module, str(cache.parent / "rows.npz"), str(workload.iterations)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout)


def child(module: str, path: str, iterations: str) -> dict:
    """In a process of its own: the seconds of its first import and fit."""
    import warnings
    from importlib import import_module

    import numpy as np

    warnings.simplefilter("ignore")  # that the fit has not converged
    with np.load(path) as rows:
        X, start = rows["X"], rows["start"]
    began = time.perf_counter()
    model = import_module(module).KMeans(len(start), init=start, n_init=1, max_iter=int(iterations), tol=0).fit(X)
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "inertia": float(model.inertia_),
        "iterations": int(model.n_iter_),
        "engine": getattr(model, "engine_", None),
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(*sys.argv[2:])))
    else:
        main()
