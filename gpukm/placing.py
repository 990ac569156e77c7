"""Where a computation runs: the source for some samples, on the CPU or on a CUDA device."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpukm import _arrays
from gpukm._validation import Samples
from gpukm.array_source import ArraySource
from gpukm.kernels import cuda_works, gpu


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
    device : "auto" computes where X is: arrays on a CUDA device by the CUDA engine where CuPy is installed, by the
        array-API engine otherwise. "cuda" and "cuda:N" copy an X on the host to that device
    max_memory : bytes for temporaries

    Raises
    ------
    ImportError, ValueError
        `device` asks for CUDA, and CuPy or the device is missing; X lies on another CUDA device than the one asked for.
    """
    X = samples.array
    options: Any = {"dtype": samples.dtype if dtype is None else dtype, "max_memory": max_memory}
    where = _arrays.cuda_device(X)
    number = None if device in ("auto", "cpu", "cuda") else int(device.partition(":")[2])
    if not device.startswith("cuda") and (where is None or not cuda_works()):
        return ArraySource(X, sample_weight, **options)
    if where is not None and number not in (None, where):
        raise ValueError(f"device={device!r}, but X lies on cuda:{where}. Use device='auto', or move X there first.")
    from gpukm.device_source import DeviceSource

    chosen = gpu(where if number is None else number)
    if where is None:
        X = _arrays.to_numpy(X)
    return DeviceSource(chosen, chosen.adopt(X), sample_weight, **options)
