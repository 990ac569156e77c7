"""Every CUDA kernel compiles for every architecture without a warning, within what its launcher says it costs."""

import importlib
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpukm.kernels._cuda import Configuration, Facts, Kernel, source
from gpukm.kernels._nvrtc import (
    KERNELS,
    CompileError,
    compile_text,
    compiled_file,
    options,
    signatures,
    usage,
)

pytest.importorskip("cupy", reason="CuPy, which calls NVRTC, is not installed")
from cupy.cuda import nvrtc

try:
    nvrtc.getVersion()
except (ImportError, RuntimeError) as error:  # CuPy without the library
    pytest.skip(f"NVRTC is not installed: {error}", allow_module_level=True)

ROOT = Path(__file__).parents[1]
TRIALS = ROOT / "tests" / "emulator" / "kernels"
ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
LAUNCHERS = sorted(path.stem for path in (ROOT / "gpukm" / "kernels").glob("*_cuda.py") if path.stem != "_cuda")
CONFIGURATIONS = [
    (KERNELS, configuration)
    for launcher in LAUNCHERS
    for configuration in importlib.import_module(f"gpukm.kernels.{launcher}").CONFIGURATIONS
]
# The emulator's own kernels, which are compiled as strictly.
CONFIGURATIONS += [
    (TRIALS, Configuration(Kernel(file, name), arch, registers, shared))
    for file, name, arch, registers, shared in (
        ("arithmetic", "float_operations", 80, 40, 0),
        ("memory", "reversed", 80, 32, 528),
        ("nearest", "nearest", 75, 48, 1280),
        ("nearest", "label_sums", 75, 48, 0),
        ("tensor", "f16_from_shared", 80, 40, 768),
        ("warps", "reductions", 80, 40, 0),
    )
]
# What measures a card.
CONFIGURATIONS += [
    (ROOT / "bench", Configuration(Kernel("rates", "shared_atomics"), 75, 40, 2048)),
    (ROOT / "bench", Configuration(Kernel("rates_tensor", "tensor_f16"), 80, 64, 0)),
]
# What is compiled together: one file with one set of defines.
MODULES = {}
for folder, configuration in CONFIGURATIONS:
    MODULES.setdefault((folder, configuration.kernel.file, configuration.kernel.defines), []).append(configuration)


def _name(module):
    _, file, defines = module
    return "-".join([file, *(f"{name}={value}" for name, value in defines)])


def _compiled(module, arch):
    """What each kernel takes on an architecture, and what NVRTC complains of."""
    folder, file, _ = module
    choices = (*options(MODULES[module][0].kernel, arch), "--ptxas-options=-v")
    _, log = compile_text(source(file, folder), choices, f"{file}.cu")
    return usage(log), [f"sm_{arch}: {line}" for line in log.splitlines() if re.search("warning|error", line)]


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_compiles_everywhere_within_its_budget(module):
    """No warning, no spilled register, no stack frame, no more registers and static shared memory than stated."""
    archs = [arch for arch in ARCHITECTURES if any(c.min_arch <= arch for c in MODULES[module])]
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(archs, pool.map(lambda arch: _compiled(module, arch), archs)))
    wrong = [line for _, complaints in found.values() for line in complaints]
    for stated in MODULES[module]:
        name = stated.kernel.name
        used = {arch: found[arch][0][name] for arch in archs if arch >= stated.min_arch}
        for what, most in (
            ("stack", 0),
            ("spilled", 0),
            ("registers", stated.max_registers),
            ("shared", stated.shared),
        ):
            values = {f"sm_{arch}": getattr(usage, what) for arch, usage in used.items()}
            if max(values.values()) > most:
                wrong.append(f"{name}: {what} {values}; at most {most}")
    assert not wrong, "\n".join(wrong)


def test_every_kernel_of_the_package_is_some_launchers():
    """A kernel without a Configuration would be compiled by nobody but users."""
    written = {
        (path.name.removesuffix(".cu"), name)
        for path in KERNELS.iterdir()
        if path.name.endswith(".cu")
        for name in signatures(path.read_text(encoding="utf-8"))
    }
    launched = {(c.kernel.file, c.kernel.name) for folder, c in CONFIGURATIONS if folder is KERNELS}
    assert written == launched


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_a_budget_is_one_that_a_multiprocessor_has(module):
    """Registers of a thread up to 255, static shared memory within 48 KiB, an architecture that is compiled for."""
    for configuration in MODULES[module]:
        assert 1 <= configuration.max_registers <= 255 and 0 <= configuration.shared <= 48 << 10
        assert configuration.min_arch in ARCHITECTURES


def test_arithmetic_is_neither_contracted_nor_flushed():
    """In the machine-independent code: no .ftz anywhere; a fused operation only where the text asks for one."""
    kernel = Kernel("arithmetic", "float_operations")
    choices = ("-arch=compute_90", *options(kernel, 90)[1:])
    code = compile_text(source("arithmetic", TRIALS), choices)[0].decode()
    assert "add.rn.f64" in code or "add.f64" in code
    assert ".ftz" not in code
    assert len(re.findall(r"\bfma\.rn\.f32\b.*", _entry(code, "float_operations"))) == 1
    assert len(re.findall(r"\bfma\.rn\.f64\b.*", _entry(code, "conversions"))) == 0


def _entry(code, name):
    return re.search(rf"\.entry {name}\(.*?^}}", code, re.S | re.M)[0]


def test_what_nvrtc_refuses_is_told_with_its_line():
    """CompileError carries the log, with the line of the kernel file."""
    with pytest.raises(CompileError, match=r"broken\.cu\(2\): error"):
        compile_text('extern "C" __global__ void f()\n{ return 1; }', options(Kernel("broken", "f"), 80), "broken.cu")


def test_compiled_code_is_kept(tmp_path, monkeypatch):
    """In CuPy's cache folder, under a name that changes with text, defines and architecture; nothing half-written."""
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    kernel = Kernel("nearest", "nearest")
    first = compiled_file(kernel, 80, TRIALS)
    assert first.parent == tmp_path and first.suffix == ".cubin" and first.read_bytes()[:4] == b"\x7fELF"
    stamp = first.stat().st_mtime_ns
    assert compiled_file(kernel, 80, TRIALS) == first and first.stat().st_mtime_ns == stamp
    others = {compiled_file(kernel, 90, TRIALS), compiled_file(Kernel("nearest", "nearest", (("A", 1),)), 80, TRIALS)}
    assert len(others | {first}) == 3
    assert sorted(tmp_path.iterdir()) == sorted(others | {first})


def test_a_gpu_newer_than_nvrtc_gets_code_that_its_driver_translates(tmp_path, monkeypatch):
    """PTX for the newest architecture that is known; one that is too old is refused."""
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path))
    newest = max(nvrtc.getSupportedArchs())
    file = compiled_file(Kernel("nearest", "nearest"), newest + 10, TRIALS)
    assert file.suffix == ".ptx" and f".target sm_{newest}" in file.read_text()
    with pytest.raises(CompileError, match=r"compute capability 3\.5"):
        compiled_file(Kernel("nearest", "nearest"), 35, TRIALS)


def test_where_nothing_can_be_kept_the_code_is_compiled_for_this_process(tmp_path, monkeypatch):
    """A cache folder that cannot be made is no error."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "file" / "folder"))
    assert compiled_file(Kernel("nearest", "nearest"), 80, TRIALS).read_bytes()[:4] == b"\x7fELF"


def test_facts_are_plain():
    """What a plan depends on can be written down for a device that is not there."""
    assert Facts(90, 132, 49152, 232448, 50 << 20, "H100").shared_optin == 227 << 10
