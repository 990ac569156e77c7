"""Launching CUDA kernels on one GPU: every argument checked, host code never sees an address.

`Gpu` compiles the .cu files of this folder for its device and runs them by CuPy. The tests run the same files on the
CPU, by another class with the same interface.
"""

import math
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import wraps
from importlib.util import find_spec
from inspect import isfunction, isgeneratorfunction
from operator import gt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._extras import missing_extra
from gpukm.kernels._nvrtc import (
    KERNELS,
    Configuration,
    Kernel,
    Parameter,
    body,
    compiled_file,
    options,
    signature,
    source,
)

__all__ = ["Configuration", "Facts", "Gpu", "Kernel", "check_launch", "options", "source"]

MOST_BLOCKS = (2**31 - 1, 65535, 65535)
MOST_THREADS = (1024, 1024, 64)


@dataclass(frozen=True)
class Facts:
    """What a launch depends on.

    Attributes
    ----------
    arch : compute capability, 90 for 9.0
    multiprocessors : how many there are
    shared, shared_optin : bytes of shared memory that a block may have without asking, and at most
    l2 : bytes of the level-2 cache
    name : the device's
    """

    arch: int
    multiprocessors: int
    shared: int
    shared_optin: int
    l2: int
    name: str


def on_its_device(cls: type) -> type:
    """Make the device of its `gpu` CuPy's current one while a method of a class runs, be it inherited.

    CuPy's own functions run on the current device, which need not be where the arrays of a fit are.
    """
    for name in dir(cls):
        method = getattr(cls, name)
        if isfunction(method) and not isgeneratorfunction(method) and not name.startswith("__"):
            setattr(cls, name, _guarded(method))
    return cls


def _guarded(method: Any) -> Any:
    @wraps(method)
    def guarded(self: Any, *args: Any, **options: Any) -> Any:
        with self.gpu.device:
            return method(self, *args, **options)

    return guarded


@dataclass
class _Loaded:
    """A kernel on the device, and what the driver says of it."""

    function: Any
    parameters: tuple[Parameter, ...]
    most_threads: int  # of a block
    static_shared: int
    dynamic_shared: int  # that it may have as things stand


class Gpu:
    """One CUDA device.

    Parameters
    ----------
    device : its number; None for CuPy's current device
    folder : where the .cu files lie

    Attributes
    ----------
    xp : CuPy
    facts : Facts of the device

    Raises
    ------
    ImportError, ValueError
        CuPy is not installed; there is no such device.
    """

    def __init__(self, device: int | None = None, folder: Any = KERNELS) -> None:
        if find_spec("cupy") is None:
            raise missing_extra("CuPy", "cuda13", "a GPU")
        import cupy

        if not cupy.cuda.is_available():
            raise ValueError("no CUDA device: CuPy finds no driver or no GPU; choose device='cpu'")
        count = cupy.cuda.runtime.getDeviceCount()
        number = cupy.cuda.runtime.getDevice() if device is None else device
        if not 0 <= number < count:
            raise ValueError(f"no CUDA device {number}: there are {count}, counted from 0")
        self.xp = cupy
        self.device = cupy.cuda.Device(number)
        self.folder = folder
        self._loaded: dict[Kernel, _Loaded] = {}
        properties = cupy.cuda.runtime.getDeviceProperties(number)
        self.facts = Facts(
            arch=int(self.device.compute_capability),
            multiprocessors=int(properties["multiProcessorCount"]),
            shared=int(properties["sharedMemPerBlock"]),
            shared_optin=int(properties["sharedMemPerBlockOptin"]),
            l2=int(properties["l2CacheSize"]),
            name=properties["name"].decode(),
        )

    def launch(
        self, kernel: Kernel, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], shared: int = 0
    ) -> None:
        """Run a kernel on the caller's current stream; returns before it is done.

        Parameters
        ----------
        grid, block : one to three extents
        args : C-contiguous arrays on this device, or None for a null pointer; NumPy scalars of the parameters' types
        shared : bytes of dynamic shared memory of a block

        Raises
        ------
        TypeError, ValueError
            The launch does not fit the kernel's signature or the device.
        """
        with self.device:
            if kernel not in self._loaded:
                self._loaded[kernel] = self._load(kernel)
            loaded, number = self._loaded[kernel], self.device.id
            check_launch(self.facts, kernel, loaded.parameters, grid, block, args, shared, self.xp.ndarray)
            check_shared(self.facts, kernel, loaded.static_shared, shared)
            for parameter, value in zip(loaded.parameters, args):
                if parameter.pointer and value is not None and value.data.device_id != number:
                    raise ValueError(
                        f"{kernel.name}: {parameter.name} is on device {value.data.device_id}, this is {number}"
                    )
            threads = math.prod(block)
            if threads > loaded.most_threads:
                raise ValueError(
                    f"{kernel.name}: a block of {threads} threads; as it is compiled it can have "
                    f"{loaded.most_threads}; state __launch_bounds__"
                )
            if shared > loaded.dynamic_shared:  # more than any kernel may have must be asked for, once
                loaded.function.max_dynamic_shared_size_bytes = loaded.dynamic_shared = shared
            values = tuple(np.uintp(0) if value is None else value for value in args)
            loaded.function(tuple(grid), tuple(block), values, shared_mem=shared)

    def _load(self, kernel: Kernel) -> "_Loaded":
        parameters = signature(kernel, body(kernel.file, self.folder))
        module = self.xp.RawModule(path=str(compiled_file(kernel, self.facts.arch, self.folder)))
        function = module.get_function(kernel.name)
        return _Loaded(
            function,
            parameters,
            function.max_threads_per_block,
            function.shared_size_bytes,
            function.max_dynamic_shared_size_bytes,
        )

    @property
    def free_bytes(self) -> int:
        """Bytes of the device's memory that nobody has."""
        with self.device:
            return int(self.xp.cuda.runtime.memGetInfo()[0])

    def empty(self, shape: Any, dtype: Any) -> Any:
        """An array on the device, of any values."""
        with self.device:
            return self.xp.empty(shape, dtype)

    def zeros(self, shape: Any, dtype: Any) -> Any:
        """An array on the device, of zeros."""
        with self.device:
            return self.xp.zeros(shape, dtype)

    def to_device(self, array: Any) -> Any:
        """A C-contiguous array on the device: the given one if it is that already."""
        with self.device:
            return self.xp.ascontiguousarray(self.xp.asarray(array))

    def uploads(
        self, chunks: Generator[tuple[int, NDArray], None, None], dtype: np.dtype
    ) -> Generator[tuple[int, Any, Any], None, None]:
        """(first row, rows on the device in `dtype`, what `wait_for` waits for) of each (first row, rows on the host).

        Rows are copied by a stream of their own, from memory that the system does not move. Those of a chunk are good
        until the next but one is asked for; `finish` first.
        """
        places: list[tuple[Any, Any]] = []
        with closing(chunks), self.device:
            stream = self.xp.cuda.Stream(non_blocking=True)
            for index, (first, rows) in enumerate(chunks):
                if index < 3:
                    pinned = self.xp.cuda.alloc_pinned_memory(rows.size * dtype.itemsize)
                    flat = np.frombuffer(pinned, dtype, rows.size)
                    places.append((flat.reshape(rows.shape), self.xp.empty(rows.shape, dtype)))
                here, there = (place[: len(rows)] for place in places[index % 3])
                here[...] = rows  # this place's last copy is over: `finish` came after it
                there.set(here, stream=stream)
                yield first, there, stream.record()

    def wait_for(self, copied: Any) -> None:
        """Let the caller's current stream wait for a copy of `uploads`."""
        with self.device:
            self.xp.cuda.get_current_stream().wait_event(copied)

    def finish(self) -> None:
        """Wait for what the caller's current stream has to do."""
        with self.device:
            self.xp.cuda.get_current_stream().synchronize()

    def adopt(self, array: Any) -> Any:
        """An array of another library that lies on this device, without a copy; one on the host, copied."""
        with self.device:
            if hasattr(array, "__dlpack_device__") and array.__dlpack_device__()[0] in (2, 13):
                return self.xp.from_dlpack(array)
            return self.to_device(array)

    def to_host(self, array: Any) -> Any:
        """A NumPy array with the values of one on the device; waits for what computes them."""
        with self.device:
            return self.xp.asnumpy(array)


def check_launch(
    facts: Facts,
    kernel: Kernel,
    parameters: tuple[Parameter, ...],
    grid: Sequence[int],
    block: Sequence[int],
    args: Sequence[Any],
    shared: int,
    array: Any,
) -> None:
    """Raise TypeError or ValueError unless grid, block and arguments are what the kernel and any device can take."""
    for what, extents, most in (("grid", grid, MOST_BLOCKS), ("block", block, MOST_THREADS)):
        if not 1 <= len(extents) <= 3 or min(extents) < 1 or any(map(gt, extents, most)):
            allowed = " x ".join(map(str, most))
            raise ValueError(f"{kernel.name}: {what} {tuple(extents)}; one to three extents from 1 to {allowed}")
    if math.prod(block) > 1024:
        raise ValueError(f"{kernel.name}: block {tuple(block)} has {math.prod(block)} threads; at most 1024")
    if len(args) != len(parameters):
        names = ", ".join(parameter.name for parameter in parameters)
        raise TypeError(f"{kernel.name} takes {len(parameters)} arguments ({names}), not {len(args)}")
    for parameter, value in zip(parameters, args):
        if value is None and parameter.pointer:
            continue
        own_type, kind = isinstance(value, array if parameter.pointer else np.generic), parameter.kind
        if not own_type or (kind is not None and value.dtype != kind):
            raise _other_type(kernel, parameter, value, array)
        if parameter.pointer and not value.flags.c_contiguous:
            raise ValueError(f"{kernel.name}: {parameter.name} is not C-contiguous")


def _other_type(kernel: Kernel, parameter: Parameter, value: Any, array: Any) -> TypeError:
    """What is wrong with an argument that is no `array`, for a pointer, or no NumPy scalar, or of another dtype."""
    if isinstance(value, array if parameter.pointer else np.generic):
        return TypeError(f"{kernel.name}: {parameter.name} has dtype {value.dtype.name}; it must be {parameter.dtype}")
    if parameter.pointer:
        wanted = f"{array.__module__.partition('.')[0]}.ndarray or None"
    else:
        wanted = f"np.{parameter.dtype}" if parameter.dtype else "a NumPy scalar"
    return TypeError(f"{kernel.name}: {parameter.name} is {type(value).__name__}; it must be {wanted}")


def check_shared(facts: Facts, kernel: Kernel, static: int, dynamic: int) -> None:
    """Raise ValueError if a block asks for more shared memory than the device has for one."""
    if dynamic < 0 or static + dynamic > facts.shared_optin:
        raise ValueError(
            f"{kernel.name}: {static} + {dynamic} bytes of static and dynamic shared memory a block; "
            f"{facts.name} has {facts.shared_optin}"
        )
