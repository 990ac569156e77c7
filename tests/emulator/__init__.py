"""CUDA kernels on the CPU: g++ instead of NVRTC, fibers instead of a GPU, the same text and the same interface."""

import ctypes
import mmap
from contextlib import closing, nullcontext
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from gpukm.kernels._cuda import Facts, Kernel, check_launch, check_shared
from gpukm.kernels._nvrtc import KERNELS, body, signature

from . import build

TRIALS = Path(__file__).parent / "kernels"  # the emulator's own kernels
FACTS = Facts(90, 4, 48 << 10, 227 << 10, 1 << 20, "emulator")


TSAN_THREADS = 4000
mutation: tuple[str, str, str, int] | None = None  # file, old text, new text, which occurrence: a planted mistake


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
    free_bytes = 1 << 33
    device = nullcontext()

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
        text = mutated(kernel.file, body(kernel.file, self.folder))
        parameters = signature(kernel, text)
        check_launch(self.facts, kernel, parameters, grid, block, args, shared, np.ndarray)
        check_shared(self.facts, kernel, 0, shared)
        library = load(text, kernel.file, kernel.defines, self.facts.arch, self.sanitize)
        check_types(library, kernel, parameters, args)
        values = [np.asarray(_address(value)) for value in args]
        pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
        blocks = prod(grid)
        first = 0 if self.last_blocks is None else max(0, blocks - self.last_blocks)
        if self.sanitize == "thread" and (blocks - first) * prod(block) > TSAN_THREADS:
            raise ValueError(f"{kernel.name}: ThreadSanitizer bears {TSAN_THREADS} CUDA threads a launch; test less")
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

    def uploads(self, chunks, dtype):
        """Copies in three places that are used in turn, as on a GPU; what was there before is gone."""
        places = []
        with closing(chunks):
            for index, (first, rows) in enumerate(chunks):
                if index < 3:
                    places.append(self.empty(rows.shape, dtype))
                there = places[index % 3][: len(rows)]
                there[...] = rows
                yield first, there, index

    def wait_for(self, copied) -> None:
        """Nothing is under way."""

    def finish(self) -> None:
        """Nothing is under way."""

    def adopt(self, array) -> np.ndarray:
        """The same as `to_device`."""
        return self.to_device(array)

    def to_host(self, array) -> np.ndarray:
        """A copy, as from a GPU."""
        return np.array(array)


def mutated(file: str, text: str) -> str:
    """The text with the mistake that is planted in it, if one is."""
    if mutation is None or not (mutation[0] == file or f'#line 1 "{mutation[0]}.cuh"' in text):
        return text
    _, old, new, occurrence = mutation
    at = -1
    for _ in range(occurrence):
        at = text.index(old, at + 1)
    return text[:at] + new + text[at + len(old) :]


def vast(shape: tuple[int, ...], dtype) -> np.ndarray:
    """Zeros of any size, which take memory only where they are written to."""
    size = prod(shape) * np.dtype(dtype).itemsize
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE, which Python names from 3.13 on
    return np.frombuffer(mmap.mmap(-1, size, flags=flags), dtype).reshape(shape)


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
