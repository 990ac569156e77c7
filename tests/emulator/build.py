"""A shared library for each kernel file, kept by the contents of all that went into it."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

from gpukm.kernels._nvrtc import signatures

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("GPUKM_EMULATOR_CACHE") or Path(tempfile.gettempdir()) / f"gpukm-emulator-{os.getuid()}")
SANITIZE = os.environ.get("GPUKM_SANITIZE", "")  # of launches that do not say
CHECKS = "alignment,bounds,shift,signed-integer-overflow,integer-divide-by-zero"
MODES = {
    "": [f"-fsanitize={CHECKS}", "-fno-sanitize-recover=all"],
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g"],
    "thread": ["-fsanitize=thread", "-g"],
}
PRELOAD = {"": [], "address": ["asan", "ubsan"], "thread": ["tsan"]}
FLAGS = ["-std=c++17", "-O1", "-march=native", "-ffp-contract=off", "-fno-strict-aliasing", "-fno-gnu-unique", "-fPIC"]
WARNINGS = ["-Wall", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-function"]
# Dynamic shared memory declared in a kernel; the size of the block's own is known to the scheduler.
_EXTERN = re.compile(r"extern\s+__shared__\s+(?:__align__\(\d+\)\s*)?([\w ]*?\w)\s+(\w+)\s*\[\s*\]\s*;")

_C = re.compile(r'extern\s+"C"\s+(?=__global__)')


def unavailable() -> str | None:
    """Why kernels cannot be emulated here, or None."""
    if not (sys.platform == "linux" and os.uname().machine == "x86_64"):
        return "the emulator switches stacks as Linux on x86-64 does"
    return None if shutil.which("g++") else "the emulator needs g++"


def require() -> None:
    """Skip a test, or all of a module, where kernels cannot be emulated."""
    if (reason := unavailable()) is not None:
        pytest.skip(reason, allow_module_level=True)


def run_python(words: list[str], sanitize: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python so that launches in it are under a sanitizer, which has to be loaded first; skip if there is none."""
    preload = [_output("gcc", f"-print-file-name=lib{name}.so") for name in PRELOAD[sanitize]]
    if missing := [name for name in preload if not os.path.isabs(name)]:
        pytest.skip(f"{missing[0]}, which comes with gcc on most systems, is not installed")
    environment = {
        **os.environ,
        "GPUKM_SANITIZE": sanitize,
        "LD_PRELOAD": " ".join(preload),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "TSAN_OPTIONS": "halt_on_error=1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE.parent)]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # what is not imported need not be instrumented
    }
    command = [sys.executable, *words]
    if sanitize == "thread" and _runs(["setarch", "-R", "true"]):
        command = ["setarch", "-R", *command]  # gcc's ThreadSanitizer knows fewer layouts of memory than kernels make
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False)


def _runs(command: list[str]) -> bool:
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


def library(text: str, file: str, defines, sanitize: str) -> Path:
    """The library of a kernel file, compiled if there is none yet."""
    names = list(signatures(text))
    unit = "\n".join(
        [
            '#include "cuda.h"',
            '#include "intrinsics.h"',
            "namespace kernels { namespace {",  # no name is shared with C's library, or with other defines
            f'#line 1 "{file}.cu"',
            _EXTERN.sub(r"\1* const \2 = reinterpret_cast<\1*>(emulator::dynamic_shared());", _C.sub("", text)),
            "} }",
            *(f"EMULATED_KERNEL({name})" for name in names),
        ]
    )
    flags = [*FLAGS, *WARNINGS, *MODES[sanitize], *(f"-D{name}={value}" for name, value in defines), f"-I{HERE}"]
    runtime = MODES[sanitize][:1] if sanitize else []  # what the plain checks call is in the scheduler
    link = ["-shared", *runtime, "kernels.o", str(scheduler(sanitize)), f"-Wl,-T,{HERE / 'shared.ld'}"]
    return _made(unit, flags, link, ".so")


@cache
def scheduler(sanitize: str) -> Path:
    """The compiled scheduler, without the sanitizer's instrumentation."""
    unit = f'#include "{HERE / "scheduler.cpp"}"\n'
    return _made(unit, [*FLAGS, "-O2", "-Wall", "-Werror", *([] if sanitize else ["-DPLAIN"])], [], ".o")


def _made(unit: str, flags: list[str], link: list[str], suffix: str) -> Path:
    parts = [unit, *flags, *link, *_headers(), _compiler()]
    target = CACHE / (hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24] + suffix)
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            Path(folder, "kernels.cpp").write_text(unit, encoding="utf-8")
            _compile(["g++", *flags, "-c", "kernels.cpp", "-o", "kernels.o"], folder)
            if link:
                _compile(["g++", *link, "-o", "linked"], folder)
            os.replace(Path(folder, "linked" if link else "kernels.o"), target)
    return target


def _compile(command: list[str], folder: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_unsanitized(), cwd=folder)
    if done.returncode:
        raise RuntimeError(f"g++ refuses the kernels:\n{done.stderr}")


@cache
def _headers() -> tuple[str, ...]:
    return tuple(
        path.read_text(encoding="utf-8") for path in sorted(HERE.glob("*")) if path.suffix in (".h", ".cpp", ".ld")
    )


@cache
def _compiler() -> str:
    machine = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")][:1]
    return _output("g++", "--version") + "".join(machine)


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, env=_unsanitized()).stdout.strip()


def _unsanitized() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
