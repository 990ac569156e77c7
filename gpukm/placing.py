"""Where a computation runs: the source for some samples, on the CPU or on a CUDA device."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpukm import _arrays
from gpukm._validation import Samples
from gpukm.array_source import ArraySource
from gpukm.kernels import cuda_works, gpu
from gpukm.trial import faster_on, worth_a_trial


def source_of(
    samples: Samples,
    sample_weight: NDArray[np.float64] | None = None,
    *,
    dtype: DTypeLike | None = None,
    device: str = "auto",
    max_memory: int,
) -> ArraySource:
    """The source for checked samples.

    Parameters
    ----------
    samples : from `validation.check_samples`
    sample_weight : (n,) float64 on the host, or None
    dtype : compute dtype; None for that of the samples
    device : "auto" computes where X is (but see `placed`): arrays of any library on the host as NumPy's, without a
        copy; SciPy's sparse matrices as they are stored; arrays on a CUDA device by the CUDA engine where CuPy is
        installed, by the array-API engine otherwise. "cuda" and "cuda:N" copy an X on the host to that device
    max_memory : bytes for temporaries

    Raises
    ------
    ImportError, ValueError
        `device` asks for CUDA, and CuPy or the device is missing; X lies on another CUDA device than the one asked for,
        or is sparse.
    """
    X = samples.array
    options: Any = {"dtype": samples.dtype if dtype is None else dtype, "max_memory": max_memory}
    if _arrays.is_sparse(X):
        if device.startswith("cuda"):
            raise ValueError(f"device={device!r}, but X is a sparse matrix, which runs on the CPU. Use device='auto'.")
        from gpukm.sparse_source import SparseSource

        return SparseSource(X, sample_weight, **options)
    where = _arrays.cuda_device(X)
    if where is None and _arrays.on_host(X):
        X = _arrays.to_numpy(X)  # the memory of a library's array on the host, in place: it gets NumPy's engines
    if not device.startswith("cuda") and (where is None or not cuda_works()):
        return ArraySource(X, sample_weight, **options)
    if where is not None and _number(device) not in (None, where):
        raise ValueError(f"device={device!r}, but X lies on cuda:{where}. Use device='auto', or move X there first.")
    from gpukm.device_source import DeviceSource

    chosen = device_of(device) if where is None else gpu(where)
    return DeviceSource(chosen, chosen.adopt(X), sample_weight, **options)


def placed(source: ArraySource, device: str, n_clusters: int, max_iter: int, max_memory: int) -> ArraySource:
    """`source`, or its rows on CUDA's current device where `device` is "auto" and a trial finds that faster."""
    if device != "auto" or not worth_a_trial(source, n_clusters, max_iter) or not cuda_works():
        return source
    chosen = gpu(None)
    if not faster_on(chosen, source, n_clusters, max_iter, max_memory):
        return source
    from gpukm.device_source import DeviceSource

    return DeviceSource(chosen, source.given, source.sample_weight, dtype=source.dtype, max_memory=max_memory)


def device_of(device: str) -> Any:
    """The CUDA device that is called "cuda" or "cuda:N"; raises as `gpu` does."""
    return gpu(_number(device))


def _number(device: str) -> int | None:
    return int(device.partition(":")[2]) if ":" in device else None
