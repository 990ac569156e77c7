"""Interleaved timing, and the machine it was taken on. Standard library only: threads are set before NumPy loads."""

from __future__ import annotations

import os
import platform
import statistics
from importlib import import_module, metadata

os.environ.setdefault("GPUKM_COMPILE", "now")  # no process that compiles while others are timed


def cores() -> int:
    """The cores this process may use (not those the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_threads(threads: int) -> None:
    """Give every library ``threads`` threads. Call it before NumPy is imported: pools are sized when they are loaded.

    The affinity mask is the limit that no contestant can ignore (oneDAL's TBB reads nothing else).
    """
    if not 1 <= threads <= cores():
        raise SystemExit(f"--threads {threads} is not allowed: this process may use 1 to {cores()} cores")
    for pool in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMBA"):
        os.environ[f"{pool}_NUM_THREADS"] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def load() -> float | None:
    """Processes that wanted a core during the last minute, besides this one. Above 0.5, times mean little."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def interleave(tasks: dict, rounds: int, check=lambda results: ()) -> dict:
    """Run the tasks A B C A B C ... and return ``{name: [result of each round]}``.

    One round before these is a warm-up (imports, compilation, page faults, caches) and is not returned. ``check`` sees
    the results of every round, the warm-up included, and names those to leave out from then on: unequal work is refused
    before an hour is spent on it. Interleaving makes a machine that slows down or is shared slow for all alike.
    """
    results: dict = {name: [] for name in tasks}
    for counted in [False] + [True] * rounds:
        this_round = {name: tasks[name]() for name in results}
        for name in check(this_round) or ():
            del results[name]
        if counted:
            for name, result in results.items():
                result.append(this_round[name])
    return results


def ratio(base: list[float], other: list[float]) -> tuple[float, float, float]:
    """How many times faster ``other`` is than ``base``: the median, least and greatest of the ratios round by round."""
    pairs = [b / o for b, o in zip(base, other, strict=True)]
    return statistics.median(pairs), min(pairs), max(pairs)


def version(package: str) -> str | None:
    """The installed version of a package on PyPI, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        pass
    try:  # a gpukm that is on the path without having been installed
        return import_module(package).__version__
    except ImportError:
        return None


def machine() -> dict:
    """What a reader needs to judge the numbers. No host name, no path."""
    from threadpoolctl import threadpool_info

    packages = ("gpukm", "numpy", "numba", "scipy", "scikit-learn", "scikit-learn-intelex", "faiss-cpu")
    packages += ("opencv-python-headless",)
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "cores_used": cores(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30)
        if hasattr(os, "sysconf")
        else None,
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {p: v for p in packages if (v := version(p))},
        "blas": sorted({f"{i['internal_api']} {i['version']}" for i in threadpool_info() if i["user_api"] == "blas"}),
    }


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
