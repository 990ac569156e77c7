"""CUDA text to machine code by NVRTC, alike on a machine with a GPU and on one without.

CuPy's own compiler adds -ftz=true: float32 subnormals would be taken for zero, in comparisons and conversions too, and
a GPU would find other minima and other distances than a CPU. So NVRTC is called here, through CuPy's binding, and CuPy
loads the result.
"""

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

KERNELS = files("gpukm.kernels")  # where the .cu files lie; tests have some of their own


@dataclass(frozen=True)
class Kernel:
    """One function of a .cu file, compiled with its constants.

    Attributes
    ----------
    file : "assign" for assign.cu
    name : of the function, which is declared extern "C" __global__ void
    defines : pairs (NAME, value), compiled in as -DNAME=value
    """

    file: str
    name: str
    defines: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Configuration:
    """A kernel as a launcher may choose it, and what it may cost: the tests compile it for every architecture.

    Attributes
    ----------
    kernel : what is compiled
    min_arch : the least compute capability that has its instructions, 80 for 8.0
    max_registers : of a thread
    shared : bytes of static shared memory of a block
    """

    kernel: Kernel
    min_arch: int
    max_registers: int
    shared: int


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel: `dtype` is NumPy's name for its type, None if the text names a type of its own."""

    name: str
    dtype: str | None
    pointer: bool
    const: bool

    @cached_property
    def kind(self) -> np.dtype | None:
        """The same as a dtype, which is compared twenty times as fast as its name is made."""
        return None if self.dtype is None else np.dtype(self.dtype)


@dataclass(frozen=True)
class Usage:
    """What ptxas says that a kernel takes: registers of a thread, bytes of stack, spills and static shared memory."""

    registers: int
    stack: int
    spilled: int
    shared: int


class CompileError(RuntimeError):
    """NVRTC refused the text of a kernel."""


TYPES = {
    "bool": "bool",
    "char": "int8",
    "signed char": "int8",
    "unsigned char": "uint8",
    "short": "int16",
    "unsigned short": "uint16",
    "int": "int32",
    "unsigned": "uint32",
    "unsigned int": "uint32",
    "long long": "int64",
    "unsigned long long": "uint64",
    "float": "float32",
    "double": "float64",
}
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
_INCLUDE = re.compile(r'^#include "([\w.]+)"$', re.M)
_BRACKETS = r"\((?:[^()]|\([^()]*\))*\)"
_ENTRY = re.compile(
    rf'extern\s+"C"\s+__global__\s+(?:__launch_bounds__\s*{_BRACKETS}\s*)?void\s+'
    rf"(?:__launch_bounds__\s*{_BRACKETS}\s*)?(\w+)\s*\(([^()]*)\)"
)
_USAGE = re.compile(
    r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
    r".*?Used (\d+) registers([^\n]*)",
    re.S,
)


def body(file: str, folder: Any = KERNELS) -> str:
    """The text of a .cu file, with that of each file it includes in place of the line that says so."""
    path = folder / f"{file}.cu"
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in folder.iterdir() if p.name.endswith(".cu"))) or "none"
        raise FileNotFoundError(f"there is no kernel file {file}.cu in {folder}; there are: {there}")
    text = str(path.read_text(encoding="utf-8"))
    for found in _INCLUDE.finditer(text):
        line = text[: found.start()].count("\n") + 2
        pasted = (KERNELS / found[1]).read_text(encoding="utf-8")
        text = text.replace(found[0], f'#line 1 "{found[1]}"\n{pasted}\n#line {line} "{file}.cu"')
    return text


def source(file: str, folder: Any = KERNELS) -> str:
    """What is compiled for a .cu file: the intrinsics, then its text; messages have the line numbers of that."""
    # pasted, not included: a compiler's cache that knows the text knows all of it
    intrinsics = (KERNELS / "intrinsics.cuh").read_text(encoding="utf-8")
    return f'#line 1 "intrinsics.cuh"\n{intrinsics}\n#line 1 "{file}.cu"\n{body(file, folder)}'


def options(kernel: Kernel, arch: int) -> tuple[str, ...]:
    """The options of NVRTC for a kernel on an architecture (90 for compute capability 9.0).

    Floating point is IEEE's: nothing is contracted to a fused multiply-add unless the text says __fmaf_rn, subnormal
    numbers are numbers, division and square root are rounded to nearest.
    """
    return (
        f"-arch=sm_{arch}",
        "--std=c++17",
        "--device-as-default-execution-space",
        "--fmad=false",
        "--ftz=false",
        "--prec-div=true",
        "--prec-sqrt=true",
        *(f"-D{name}={value}" for name, value in kernel.defines),
    )


@cache
def signatures(text: str) -> dict[str, tuple[Parameter, ...]]:
    """The parameters of each extern "C" kernel in a text."""
    return {name: _parameters(name, inside) for name, inside in _ENTRY.findall(_COMMENT.sub(" ", text))}


def signature(kernel: Kernel, text: str) -> tuple[Parameter, ...]:
    """The parameters of a kernel; ValueError if the text has no such kernel."""
    known = signatures(text)
    if kernel.name not in known:
        raise ValueError(
            f'{kernel.file}.cu has no kernel extern "C" __global__ void {kernel.name}(...); '
            f"it has: {', '.join(known) or 'none'}"
        )
    return known[kernel.name]


def _parameters(kernel: str, inside: str) -> tuple[Parameter, ...]:
    found = []
    for declaration in filter(None, (" ".join(part.split()) for part in inside.split(","))):
        kept = re.sub(r"\b(const|volatile)\b|__restrict__", " ", declaration)
        match = re.fullmatch(r"\s*([\w ]+?)\s*(\*?)\s*(\w+)\s*", kept)
        if match is None:
            raise ValueError(f"{kernel}: {declaration!r} is no parameter; write a plain type or a pointer to one")
        pointer = match[2] == "*"
        const = pointer and re.search(r"\bconst\b", declaration.partition("*")[0]) is not None
        found.append(Parameter(match[3], TYPES.get(" ".join(match[1].split())), pointer, const))
    return tuple(found)


def compile_text(text: str, choices: tuple[str, ...], name: str = "kernel.cu") -> tuple[bytes, str]:
    """(machine code, NVRTC's log), or CompileError with the log. Needs NVRTC, but no GPU and no driver."""
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(text, name, (), ())
    try:
        nvrtc.compileProgram(program, choices)
        ptx = any(choice.startswith("-arch=compute_") for choice in choices)
        return (nvrtc.getPTX if ptx else nvrtc.getCUBIN)(program), nvrtc.getProgramLog(program)
    except nvrtc.NVRTCError as error:
        raise CompileError(f"{name}: {error}\n{nvrtc.getProgramLog(program)}") from None
    finally:
        nvrtc.destroyProgram(program)


def usage(log: str) -> dict[str, Usage]:
    """What each kernel takes, from the log of a compilation with --ptxas-options=-v."""
    found = {}
    for name, stack, stores, loads, registers, rest in _USAGE.findall(log):
        shared = re.search(r"(\d+) bytes smem", rest)
        found[name] = Usage(int(registers), int(stack), int(stores) + int(loads), int(shared[1]) if shared else 0)
    return found


def _cache_folder() -> Path:
    return Path(os.environ.get("CUPY_CACHE_DIR") or Path("~/.cupy/kernel_cache")).expanduser()


def compiled_file(kernel: Kernel, arch: int, folder: Any = KERNELS) -> Path:
    """A file with the kernel's machine code, kept in CuPy's cache folder (CUPY_CACHE_DIR) between processes.

    Where NVRTC is older than the GPU, it holds PTX for the newest architecture it knows; the driver translates that.
    """
    from cupy.cuda import nvrtc

    known = [supported for supported in nvrtc.getSupportedArchs() if supported <= arch]
    if not known:
        raise CompileError(f"NVRTC {nvrtc.getVersion()} cannot compile for compute capability {arch / 10}")
    text, choices = source(kernel.file, folder), options(kernel, arch)
    if arch not in known:
        choices = (f"-arch=compute_{max(known)}", *choices[1:])
    key = hashlib.sha256(repr((text, choices, nvrtc.getVersion())).encode()).hexdigest()[:32]
    name = f"gpukm-{key}.{'ptx' if arch not in known else 'cubin'}"
    target = _cache_folder() / name
    if not target.is_file():
        code, _ = compile_text(text, choices, f"{kernel.file}.cu")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError:  # nowhere to keep it: compiled again by the next process
            target = Path(tempfile.mkdtemp(prefix="gpukm-")) / name
        _write(target, code)
    return target


def _write(target: Path, code: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".gpukm-", delete=False) as file:
        file.write(code)
    os.replace(file.name, target)  # another process sees all of it or nothing
