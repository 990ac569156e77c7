"""The stages of bench.gpu: each yields rows, takes up what earlier ones wrote, and stops when its time is over."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import gpu_auto
import gpu_fits
import gpu_rates
import gpu_rounding
import gpu_seeding
import gpu_streams

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LAUNCHERS = sorted(p.stem for p in (ROOT / "gpukm" / "kernels").glob("*_cuda.py") if p.stem != "_cuda")


def compiles(gpu, **_):
    """Every kernel configuration, compiled for this device: seconds, registers, spills."""
    from gpukm.kernels._nvrtc import compile_text, options, source, usage

    for launcher in LAUNCHERS:
        for configuration in importlib.import_module(f"gpukm.kernels.{launcher}").CONFIGURATIONS:
            kernel = configuration.kernel
            if configuration.min_arch > gpu.facts.arch:
                continue
            begin = time.perf_counter()
            choices = (*options(kernel, gpu.facts.arch), "--ptxas-options=-v")
            _, log = compile_text(source(kernel.file), choices, f"{kernel.file}.cu")
            used = usage(log)[kernel.name]
            yield {
                "kernel": f"{kernel.file}.{kernel.name}",
                "defines": dict(kernel.defines),
                "seconds": round(time.perf_counter() - begin, 3),
                "registers": used.registers,
                "shared": used.shared,
                "spilled": used.spilled,
                "failed": bool(used.spilled or used.stack or "warning" in log),
            }


def pytest_rows(words: list[str], limit: float):
    """What a run of pytest says, by its own report: a row of counts, and one for each test that failed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *words]
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the suite needs none of them
        options = {"capture_output": True, "text": True, "cwd": ROOT, "env": environment, "timeout": max(limit, 1)}
        try:
            done = subprocess.run(command, check=False, **options)
        except subprocess.TimeoutExpired:
            yield {"tests": " ".join(words), "failed": True, "error": f"not done after {limit:.0f} s"}
            return
        if not report.exists():
            yield {"tests": " ".join(words), "failed": True, "error": (done.stdout + done.stderr)[-800:]}
            return
        cases = list(ElementTree.parse(report).iter("testcase"))
    wrong = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    passed = len(cases) - len(wrong) - len(skipped)
    yield {"passed": passed, "skipped": len(skipped), "wrong": len(wrong), "failed": bool(wrong) or passed == 0}
    for case in wrong[:20]:
        said = case.find("failure") if case.find("failure") is not None else case.find("error")
        yield {"test": f"{case.get('classname')}::{case.get('name')}", "error": (said.get("message") or "")[:300]}


def suite(end, **_):
    """The tests that have a device to run on, against NumPy to the bit."""
    files = [
        str(p) for p in sorted((ROOT / "tests").glob("test_*.py")) if re.search("cuda|make_gpu|backend", p.read_text())
    ]
    words = ["-k", "(cuda or cupy or gpu) and not emulator and not mutant", "--maxfail=20", *files]
    yield from pytest_rows(words, min(end - time.monotonic(), 180))


def sanitizer(end, **_):
    """compute-sanitizer's memcheck and racecheck over small fits of odd shapes."""
    program = shutil.which("compute-sanitizer") or shutil.which("compute-sanitizer", path="/usr/local/cuda/bin")
    if program is None:
        yield {"tool": "compute-sanitizer", "skipped": "it is not installed here; it comes with the CUDA toolkit"}
        return
    for tool in ("memcheck", "racecheck"):
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, str(HERE / "gpu_small.py")]
        begin = time.monotonic()
        try:
            limit = max(min(end - begin, 90), 1)
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=limit, check=False)
            said = re.findall(r"=+ (?:ERROR|RACECHECK) SUMMARY: .*", done.stdout) or [
                (done.stdout + done.stderr)[-300:]
            ]
            row = {"said": said[-1].strip("= "), "failed": done.returncode != 0}
        except subprocess.TimeoutExpired:
            row = {"said": f"not done after {limit:.0f} s", "failed": True}
        yield {"tool": tool, "seconds": round(time.monotonic() - begin, 1), **row}


def conformance(gpu, end, smoke, **_):
    """Each intrinsic against its meaning in NumPy, and how the tensor cores really add."""
    words = ["-k", "cuda and not emulator", "tests/test_intrinsics.py"]
    yield from pytest_rows(words, min(end - time.monotonic(), 90))
    if gpu.facts.arch >= 80:
        yield gpu_rounding.measure(type(gpu)(gpu.device.id, folder=gpu_rounding.KERNELS), 256 if smoke else 4096)


def rates(gpu, smoke, **_):
    """Copies on the device and to it, launches, and each arithmetic unit by itself."""
    size = {"rounds": 64, "copy_bytes": 1 << 24} if smoke else {}
    yield from gpu_rates.measure(type(gpu)(gpu.device.id, folder=HERE), **size)


STAGES = {
    "compile": compiles,
    "suite": suite,
    "conformance": conformance,
    "sanitizer": sanitizer,
    "rates": rates,
    "bits": gpu_fits.bits,
    "kernels": gpu_fits.kernels,
    "seeding": gpu_seeding.seeding,
    "colours": gpu_seeding.colours,
    "streams": gpu_streams.streams,
    "auto": gpu_auto.auto,
    "fits": gpu_fits.fits,
}
