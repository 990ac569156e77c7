"""Peak resident memory of a fit beyond the rows themselves, per workload, each in a process of its own.

python bench/memory.py [--workloads a,b] [--threads 2] [--scale 1] [--out FILE] [--smoke]

The rows are written to a file by one process and read, without a temporary copy, by another, so that making them
leaves no trace in the peak. Counted is everything a fit touches beyond what was resident after X was read and a fit of
a few rows was done (that loads compiled code): blocks, labels, bounds, seeding's potentials, BLAS's buffers.
Rows that are whole numbers of a byte, pixels, are measured once more as uint8. POSIX only (getrusage).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

MODULES = {"gpukm": "gpukm", "scikit-learn": "sklearn.cluster"}
MIB = 2**20
BYTES = "-uint8.npy"
FEW = 1 << 17  # values from which on gpukm runs compiled code


def main(argv=None) -> None:
    import harness

    args = harness.arguments("memory", __doc__, argv, rounds=False)  # the children inherit the limits on threads
    import shapes

    report = harness.Report("memory", args)
    for workload in shapes.select(args.workloads, args.scale, args.smoke):
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "X.npy")
            bytes_too = _child("make", workload, path)
            extra = {name: _child(name, workload, path) for name in MODULES}
            from_bytes = {name: _child(name, workload, path + BYTES) for name in MODULES} if bytes_too else {}
        report.add(workload, extra_bytes=extra, extra_bytes_of_uint8=from_bytes, label_bytes=4 * workload.n)
        of = ", ".join(f"{name} {b / MIB:.1f} MiB" for name, b in extra.items())
        of += "".join(f", {name} on uint8 {b / MIB:.1f} MiB" for name, b in from_bytes.items())
        x, labels = 4 * workload.n * workload.d / MIB, 4 * workload.n / MIB
        print(f"{workload.name}: beyond X of {x:.1f} MiB: {of}; int32 labels are {labels:.1f} MiB of it", flush=True)
    report.done()


def _child(task, workload, path):
    command = [sys.executable, __file__, "--child", task, json.dumps(asdict(workload)), path]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{workload.name}: the process measuring {task} failed with status {done.returncode}")
    return json.loads(done.stdout)


def child(task: str, workload: str, path: str) -> int:
    """In a process of its own: make the rows, or return the bytes a fit adds to what is resident before it.

    Making them returns whether they are whole numbers of a byte, and were written as such, too.
    """
    import numpy as np
    import shapes

    w = shapes.Workload(**json.loads(workload))
    if task == "make":
        X = shapes.make(w)
        np.save(path, X)
        narrow = X.clip(0, 255).astype(np.uint8)
        if whole := np.array_equal(narrow, X):
            np.save(path + BYTES, narrow)
        return int(whole)
    KMeans = import_module(MODULES[task]).KMeans
    X = np.load(path)
    KMeans(2, max_iter=2, random_state=0).fit(X[: -(-FEW // w.d)])
    before = _resident()
    KMeans(w.k, max_iter=3, random_state=0).fit(X)  # seeding and each step of the loop; more iterations add nothing
    return max(_peak() - before, 0)  # the two counters differ by a few pages


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _resident() -> int:
    """Bytes resident now; where the system does not say, the most there ever were, so the result is a lower bound."""
    try:
        fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return _peak()
    import resource

    return int(fields[1]) * resource.getpagesize()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(*sys.argv[2:])))
    else:
        main()
