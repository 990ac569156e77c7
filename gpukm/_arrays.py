"""What kind of array is it, and where: the only file that asks."""

from typing import Any

import array_api_compat
import numpy as np

Array = Any


def array_namespace(*arrays: Array) -> Any:
    """The array-API namespace of `arrays`; raises TypeError when they do not share one."""
    return array_api_compat.array_namespace(*arrays)


def is_array(X: object) -> bool:
    """Whether `X` belongs to some array-API namespace (NumPy's arrays among them)."""
    return bool(array_api_compat.is_array_api_obj(X))


def is_numpy(xp: Any) -> bool:
    """Whether the namespace is NumPy's, for which the tuned formulations run."""
    return bool(array_api_compat.is_numpy_namespace(xp))


def namespace_name(xp: Any) -> str:
    """A short name such as "numpy", "torch", "array_api_strict"."""
    return str(xp.__name__).removeprefix("array_api_compat.")


def to_numpy(a: Array) -> np.ndarray:
    """`a` as a NumPy array on the host, without a copy where it is there already."""
    if array_api_compat.is_torch_array(a):
        return np.asarray(a.detach().cpu())
    if array_api_compat.is_cupy_array(a):
        return a.get()
    if not on_host(a):
        xp = array_namespace(a)
        a = array_api_compat.to_device(a, xp.Device("CPU_DEVICE") if hasattr(xp, "Device") else "cpu")
    return np.asarray(a)


def from_numpy(a: Array, like: Array) -> Array:
    """`a`, NumPy's or CuPy's, in the namespace and on the device of `like`, with a's dtype; no copy on one device."""
    if isinstance(a, np.ndarray):
        xp = array_namespace(like)
        return a if is_numpy(xp) else xp.asarray(a, device=array_api_compat.device(like))
    if array_api_compat.is_cupy_array(like):
        return a
    if cuda_device(like) is None:
        return from_numpy(to_numpy(a), like)
    return array_namespace(like).from_dlpack(a)


def cuda_device(X: Array) -> int | None:
    """The number of the CUDA device that `X` lies on, or None."""
    if isinstance(X, np.ndarray) or not hasattr(X, "__dlpack_device__"):
        return None
    kind, number = X.__dlpack_device__()
    return int(number) if kind in (2, 13) else None  # kDLCUDA, kDLCUDAManaged


def on_host(X: Array) -> bool:
    """Whether `X` lies in the memory of the host."""
    return "cpu" in str(array_api_compat.device(X)).lower()
