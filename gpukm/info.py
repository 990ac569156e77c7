"""What gpukm would run on this machine, and how to make it faster: `gpukm info`."""

import ctypes
import platform
import sys
from typing import Any

import numpy as np

import gpukm
from gpukm import _threads
from gpukm._extras import EXTRAS, installed
from gpukm.kernels import FEW, MANY, engine_name, missing

_LIBRARIES = ("libcuda.so.1", "nvcuda.dll")


def describe() -> dict[str, Any]:
    """Facts about this machine and installation, as JSON has them; imports nothing optional.

    Returns
    -------
    dict
        version, python, platform, numpy, threads, engines, gpus (of NVIDIA, seen by their driver), extras, advice.
    """
    gpus, cuda = _nvidia_gpus()
    extras = {name: {package: installed(package) for package in packages} for name, (_, packages) in EXTRAS.items()}
    threads = _threads.available_threads()
    return {
        "version": gpukm.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "numpy": np.__version__,
        "threads": threads,
        "engines": _engines(threads, extras),
        "gpus": gpus,
        "cuda_driver": cuda,
        "extras": extras,
        "advice": _advice(extras, gpus, cuda),
    }


def report() -> str:
    """The facts of `describe` as text, for people."""
    facts = describe()
    lines = [
        f"gpukm {facts['version']}, Python {facts['python']}, NumPy {facts['numpy']}, {facts['platform']}",
        "",
        "What runs on which arrays",
        *(f"  {arrays}: {what}" for arrays, what in facts["engines"].items()),
        "",
        "GPUs",
        *(f"  {number}: {gpu['name']}, {gpu['memory'] / 2**30:.0f} GiB" for number, gpu in enumerate(facts["gpus"])),
    ]
    if not facts["gpus"]:
        lines.append("  none seen (no NVIDIA driver answers)")
    lines += ["", "Extras"]
    for name, packages in facts["extras"].items():
        have = ", ".join(f"{package} {version or 'missing'}" for package, version in packages.items())
        lines.append(f"  {name:<8} {have}: {EXTRAS[name][0]}")
    advice = facts["advice"] or ["nothing to add: all that this version can use is here"]
    lines += ["", "How to get faster", *(f"  {line}" for line in advice)]
    return "\n".join(lines)


def _engines(threads: int, extras: dict[str, dict[str, str | None]]) -> dict[str, str]:
    """What would run, by kind of array."""
    engine = engine_name(np)
    fewer = f"; 'numpy' for fewer than {FEW:,} values, or less in proportion with more than {MANY} clusters"
    few = fewer if engine_name(np, 1) != engine else ""
    runs = {"NumPy": f"engine {engine!r} on {threads} thread{'s' if threads > 1 else ''}{few}"}
    cupy = next((version for name in ("cuda12", "cuda13") for version in extras[name].values() if version), None)
    if cupy:
        runs["CuPy, and others on a GPU"] = f"engine 'cuda' (CuPy {cupy}), on the GPU of the array"
        runs["NumPy, fits of some seconds"] = "engine 'cuda', where a trial finds the GPU twice as fast"
    runs["other libraries' arrays on the host"] = "the same, without a copy"
    runs["arrays on other devices"] = "engine 'array-api:<library>', where they are"
    return runs


def _advice(extras: dict[str, dict[str, str | None]], gpus: list[dict[str, Any]], cuda: str | None) -> list[str]:
    advice = []
    if not all(extras["cpu"].values()):
        advice.append("pip install 'gpukm[cpu]': compiled code on all threads for NumPy arrays, to the same bits")
    elif engine_name(np) == "numba" and missing():
        advice.append(
            "gpukm compile: makes the Numba engine now; else it is compiled while the first fits run without it"
        )
    if gpus and cuda and not any(version for name in ("cuda12", "cuda13") for version in extras[name].values()):
        extra = "cuda13" if int(cuda.split(".")[0]) >= 13 else "cuda12"
        advice.append(
            f"pip install 'gpukm[{extra}]' (the driver runs CUDA {cuda}), and pass CuPy arrays, or device='cuda' with "
            "arrays on the host: they are clustered on the GPU"
        )
    return advice


def _nvidia_gpus() -> tuple[list[dict[str, Any]], str | None]:
    """Name and memory (bytes) of each GPU, and the newest CUDA the driver runs; asked of the driver itself."""
    library = next((loaded for name in _LIBRARIES if (loaded := _load(name)) is not None), None)
    if library is None or library.cuInit(0) != 0:
        return [], None
    version, count = ctypes.c_int(), ctypes.c_int()
    if library.cuDriverGetVersion(ctypes.byref(version)) != 0 or library.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return [], None
    gpus = []
    for number in range(count.value):
        device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_size_t()
        if library.cuDeviceGet(ctypes.byref(device), number) == 0:
            library.cuDeviceGetName(name, len(name), device)
            library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
            gpus.append({"name": name.value.decode(errors="replace"), "memory": memory.value})
    return gpus, f"{version.value // 1000}.{version.value % 1000 // 10}"


def _load(name: str) -> Any:
    if name.endswith(".dll") != (sys.platform == "win32"):
        return None
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None
