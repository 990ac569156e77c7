"""Fits of a file larger than memory: reading alone, computing alone, both at once, and the peak of resident memory.

python bench/stream.py [--gib 20] [--max-memory 256] [--rounds 3] [--threads 2] [--folder DIR] [--keep-cache]
                       [--out FILE] [--smoke]

For each shape a .npy file of `--gib` GiB is made (and removed at the end). One pass, a Lloyd step, is timed three ways,
in turn: *read*, the chunks are read and thrown away; *compute*, the same number of chunks is computed with, all of them
one and the same array in memory; *both*, the pass as a fit makes it. Before each pass the file's pages are dropped from
the system's cache, so that reading means the disk (`--keep-cache` leaves them: a file larger than memory is
read past the cache anyway, and dropping pages has a price of its own). Overlap is good where *both* takes little
longer than the longer of the other two; it cannot take less than the processors' time of both, shared among them
("cpu" in the results). Disks of virtual machines may vary threefold from round to round. Then a process of its own fits
the file; what is resident may grow by max_memory and by what is kept for each row: 12 bytes during the iterations, 4
for the labels. Linux only.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import timing

RESULTS = Path(__file__).resolve().parent / "results"
SHAPES = {"embeddings-64-64": (64, 64), "wide-256-16": (256, 16)}  # name -> features, clusters
MIB = 2**20
ROW_STATE = 16  # bytes kept for each row by a fit from given centroids
ITERATIONS = 3


def main(argv=None) -> None:
    args = _arguments(argv)
    timing.limit_threads(args.threads)
    results = []
    for name, (d, k) in SHAPES.items():
        n = 4000 if args.smoke else int(args.gib * 2**30 / (4 * d))
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            path = Path(folder) / "X.npy"
            make(path, n, d)
            for engine in ("numba", "numpy"):
                row = {"name": name, "engine": engine, "n": n, "d": d, "k": k, "max_memory": args.max_memory}
                row |= measure(path, k, engine, args)
                row["peak_bytes"] = _child(path, k, engine, args.max_memory)
                results.append(row)
                shown = {key: f"{statistics.median(row[key]):.3g} s" for key in ("read", "compute", "both")}
                share, busy = efficiency(row), statistics.median(row["cpu"]["both"])
                shown = f"{shown}, {share:.0%} of the slower, {busy:.3g} s of {args.threads} processors"
                print(f"{name}, {engine}: {shown}; peak {row['peak_bytes'] / MIB:.0f} MiB")
    data = {
        "kind": "stream",
        "date": str(datetime.date.today()),
        "command": args.command,
        "smoke": args.smoke,
        "scale": 1,
    }
    data |= {"rounds": args.rounds, "threads": args.threads, "cache": "kept" if args.keep_cache else "dropped"}
    data |= {"machine": timing.machine(), "results": results}
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print("not written: a trial run without --out" if args.out is None else f"wrote {args.out}")


def _arguments(argv) -> argparse.Namespace:
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--gib", type=float, default=20.0, help="size of the file (default: 20)")
    add("--max-memory", type=float, default=256.0, metavar="MIB", help="of the fit (default: 256)")
    add("--rounds", type=int, default=3)
    add("--threads", type=int, default=min(2, timing.cores()))
    add("--folder", type=Path, help="where the file is made (default: the system's folder for temporary files)")
    add("--keep-cache", action="store_true", help="leave the file's pages in the system's cache")
    add("--out", type=Path, metavar="FILE", help="default: stream-YYYY-MM-DD.json under bench/results")
    add("--smoke", action="store_true", help="tiny data and one round: does it run? writes a file only with --out")
    args = parser.parse_args(argv)
    if args.smoke:
        args.rounds, args.max_memory = 1, 0.25
    elif args.out is None:
        args.out = RESULTS / f"stream-{datetime.date.today()}.json"
    args.max_memory = int(args.max_memory * MIB)
    from harness import command

    named = {i + j for i, word in enumerate(argv) if word == "--folder" for j in (0, 1)}  # a path of this machine
    kept = [word for i, word in enumerate(argv) if i not in named and not word.startswith("--folder=")]
    args.command = command("stream", kept)
    return args


def make(path: Path, n: int, d: int) -> None:
    """Blobs around 100 centres, float32, written a block at a time."""
    import numpy as np

    rng = np.random.default_rng(0)
    centres = rng.standard_normal((100, d), dtype=np.float32)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (n, d)})
        for start in range(0, n, 1 << 16):
            m = min(1 << 16, n - start)
            (rng.standard_normal((m, d), dtype=np.float32) + centres[rng.integers(0, 100, m)]).tofile(file)
        file.flush()
        os.fsync(file.fileno())


def drop_cache(path: Path) -> None:
    """Let the system forget what it keeps of a file."""
    if hasattr(os, "posix_fadvise"):
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(path: Path, k: int, engine: str, args) -> dict:
    """Seconds of a pass, three ways, round by round."""
    import numpy as np

    from gpukm._rows import RowReader
    from gpukm.chunks import Chunks
    from gpukm.readers import open_rows
    from gpukm.stream_source import READING, StreamSource

    os.environ["GPUKM_ENGINE"] = engine
    reading = int(args.max_memory * READING)

    class Resident(RowReader):
        """The file's first chunk instead of each of its chunks: nothing is read."""

        direct = True

        def __init__(self, reader):
            self.name, self.shape, self.dtype = "a chunk", reader.shape, reader.dtype
            self.chunk = None

        def blocks(self, rows, start, buffers):
            if self.chunk is None:
                self.chunk = next(iter(open_rows(path).blocks(rows, 0, buffers)))
            for first in range(start, self.shape[0], rows):
                yield self.chunk[: self.shape[0] - first]

    disk, memory = open_rows(path), Resident(open_rows(path))
    sources = {
        "compute": StreamSource(Chunks(memory, reading), max_memory=args.max_memory),
        "both": StreamSource(Chunks(disk, reading), max_memory=args.max_memory),
    }
    passes = Chunks(disk, reading)
    start = sources["both"].rows(np.arange(k))
    for source in sources.values():
        source.stats()

    def once(name):
        if not args.keep_cache:
            drop_cache(path)
        began, busy = time.perf_counter(), time.process_time()
        if name == "read":
            for _ in passes:
                pass
        else:
            sources[name].step(start)
        cpu[name].append(time.process_time() - busy)
        return time.perf_counter() - began

    cpu: dict = {name: [] for name in ("read", "compute", "both")}
    for name in cpu:
        once(name)  # the first step adds every row; later ones are what most of a fit is
    rounds = timing.interleave({name: lambda name=name: once(name) for name in cpu}, args.rounds)
    return rounds | {"cpu": {name: seconds[-args.rounds :] for name, seconds in cpu.items()}}


def efficiency(row: dict) -> float:
    """The slower of reading and computing over both at once: 1 where one hides the other."""
    pairs = zip(row["read"], row["compute"], row["both"], strict=True)
    return statistics.median(max(read, compute) / both for read, compute, both in pairs)


def _child(path: Path, k: int, engine: str, max_memory: int) -> int:
    command = [sys.executable, __file__, "--child", str(path), str(k), str(max_memory)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "GPUKM_ENGINE": engine}
    )
    return json.loads(done.stdout)


def child(path: str, k: int, max_memory: int) -> int:
    """Bytes by which a fit grows what is resident, less what is kept for each row."""
    import numpy as np

    from gpukm import KMeans, open_rows

    reader = open_rows(path)
    n, d = reader.shape
    X = np.random.default_rng(0).random((max(4000, 2 * k), d), np.float32)
    KMeans(k, init=X[:k], n_init=1, max_iter=2).fit(X)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _status("VmRSS")
    KMeans(k, init=X[:k] * 2 - 1, n_init=1, max_iter=ITERATIONS, max_memory=max_memory).fit(path)
    return max(_status("VmHWM") - before - ROW_STATE * n, 0)


def _status(field: str) -> int:
    """Bytes that Linux counts for this process (getrusage counts those of the process that started it, too)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(child(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    else:
        main()
