"""CUDA kernels on the CPU: g++ instead of NVRTC, fibers instead of a GPU, the same text and the same interface."""

import ctypes
from functools import cache
from typing import Any

import numpy as np

from gpukm.kernels._cuda import Facts, Kernel, check_launch, check_shared
from gpukm.kernels._nvrtc import KERNELS, body, signature

from . import build

FACTS = Facts(90, 4, 48 << 10, 227 << 10, 1 << 20, "emulator")


class EmulationError(RuntimeError):
    """A kernel did what a GPU would not forgive: where, and what its threads were doing."""


class EmulatedGpu:
    """Like `gpukm.kernels._cuda.Gpu`, with NumPy in the place of CuPy.

    Parameters
    ----------
    facts : what the device claims to be
    folder : where the .cu files lie
    seed : of the order in which threads run; each launch takes the next one
    sanitize : "" or "address" or "thread", see `build`; only in a process that loaded the sanitizer first
    last_blocks : run only so many of each grid's last blocks

    Attributes
    ----------
    launched : the kernels launched so far
    """

    xp = np

    def __init__(
        self,
        facts: Facts = FACTS,
        folder: Any = KERNELS,
        seed: int = 0,
        sanitize: str | None = None,
        last_blocks: int | None = None,
    ) -> None:
        self.facts = facts
        self.folder = folder
        self.seed = seed
        self.sanitize = build.SANITIZE if sanitize is None else sanitize
        self.last_blocks = last_blocks
        self.launched: list[Kernel] = []

    def launch(self, kernel: Kernel, grid, block, args, shared: int = 0) -> None:
        """Run a kernel and wait for it."""
        text = body(kernel.file, self.folder)
        parameters = signature(kernel, text)
        check_launch(self.facts, kernel, parameters, grid, block, args, shared, np.ndarray)
        check_shared(self.facts, kernel, 0, shared)
        library = load(text, kernel.file, kernel.defines, self.facts.arch, self.sanitize)
        check_types(library, kernel, parameters, args)
        values = [np.asarray(_address(value)) for value in args]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        blocks = int(np.prod(grid, dtype=object))
        first = 0 if self.last_blocks is None else max(0, blocks - self.last_blocks)
        shape = (ctypes.c_uint * 6)(*[*grid, 1, 1][:3], *[*block, 1, 1][:3])
        thread = ctypes.c_void_p.in_dll(library, f"thread_{kernel.name}")
        self.launched.append(kernel)
        self.seed += 1
        wrong = library.emulator_run(
            shape, shared, ctypes.c_uint64(self.seed), ctypes.c_uint64(first), ctypes.c_uint64(blocks), thread, pointers
        )
        if wrong is not None:
            raise EmulationError(f"{kernel.name}: {wrong.decode()}")

    def empty(self, shape, dtype) -> np.ndarray:
        """An array of NaN, or of values far out of range."""
        array = np.empty(shape, dtype)
        array.view(np.uint8).reshape(-1)[...] = 0xFF if array.size else 0
        return array

    def zeros(self, shape, dtype) -> np.ndarray:
        """An array of zeros."""
        return np.zeros(shape, dtype)

    def to_device(self, array) -> np.ndarray:
        """A C-contiguous array."""
        return np.ascontiguousarray(array)

    def adopt(self, array) -> np.ndarray:
        """The same as `to_device`."""
        return self.to_device(array)

    def to_host(self, array) -> np.ndarray:
        """A copy, as from a GPU."""
        return np.array(array)


@cache
def load(text: str, file: str, defines: tuple[tuple[str, int], ...], arch: int, sanitize: str) -> ctypes.CDLL:
    """The library of a kernel file with its defines."""
    library = ctypes.CDLL(str(build.library(text, file, (*defines, ("__CUDA_ARCH__", arch * 10)), sanitize)))
    library.emulator_run.restype = ctypes.c_char_p
    return library


def check_types(library: ctypes.CDLL, kernel: Kernel, parameters, args) -> None:
    """Compare arguments with the types that the compiler saw: it knows those that the text gives a name of its own."""
    ask = getattr(library, f"signature_{kernel.name}")
    ask.restype = ctypes.c_char_p
    described = ask().decode()
    for index, (parameter, value) in enumerate(zip(parameters, args)):
        kind, size, pointer, const = described[4 * index : 4 * index + 4]
        assert (pointer == "*") == parameter.pointer and (const == "c") == parameter.const
        if value is None or kind == "?":  # a vector such as float4: its alignment is checked where it is read
            continue
        if f"{value.dtype.kind}{value.dtype.itemsize}" != kind + size:
            raise TypeError(
                f"{kernel.name}: {parameter.name} has dtype {value.dtype.name}, the kernel takes {kind}{size}"
            )
        if pointer == "*" and const == " " and not value.flags.writeable:
            raise ValueError(f"{kernel.name}: {parameter.name} is read-only, and the kernel may write to it")


def _address(value):
    if value is None:
        return np.uintp(0)
    return np.uintp(value.ctypes.data) if isinstance(value, np.ndarray) else value
