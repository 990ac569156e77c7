"""Which engine serves an array."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from gpukm._arrays import is_numpy, namespace_name
from gpukm._extras import missing_extra
from gpukm.kernels.background import compiled

# Values, with up to MANY centroids; with more of them, fewer values. Loading compiled code takes 0.3 s, and the
# reference fits these in 0.05 to 0.2.
FEW, MANY = 1 << 17, 8


def engine_name(
    xp: Any, n_values: int | None = None, n_clusters: int = MANY, rows: tuple[np.dtype, int] | None = None
) -> str:
    """The engine for an array: "numba", "numpy", or "array-api:<namespace>" for arrays that are not NumPy's.

    Parameters
    ----------
    xp : its namespace
    n_values : how many values it holds; None for many. The environment variable GPUKM_ENGINE, "numpy" or "numba",
        decides for NumPy arrays of any size.
    n_clusters : how many centroids its rows are compared with, over and over
    rows : (compute dtype, features), where the answer may be "numpy" for now, while a process compiles what such rows
        need, see `background.compiled`; None where compiling now is best

    Raises
    ------
    ValueError, ImportError
        GPUKM_ENGINE names an engine that does not exist, or is not installed; GPUKM_COMPILE is unknown.
    """
    if not is_numpy(xp):
        return f"array-api:{namespace_name(xp)}"
    wanted = os.environ.get("GPUKM_ENGINE", "")
    if wanted not in ("", "numpy", "numba"):
        raise ValueError(f"GPUKM_ENGINE is {wanted!r}; it may be 'numpy' or 'numba', or unset to choose by itself")
    if wanted == "numba" and not numba_works():
        raise missing_extra("Numba", "cpu", "GPUKM_ENGINE=numba")
    if wanted:
        return wanted
    many = n_values is None or n_values * max(n_clusters, MANY) >= FEW * MANY
    return "numba" if many and numba_works() and (rows is None or compiled(*rows)) else "numpy"


@cache
def numba_works() -> bool:
    """Whether Numba is installed and can be imported; if it fails to (with too new a NumPy, say), a warning says so."""
    try:
        if find_spec("numba") is None:
            return False
        import_module("numba")
    except ModuleNotFoundError:
        return False
    except ImportError as error:
        warnings.warn(f"Numba is installed but fails to import ({error}); the slower NumPy engine runs", stacklevel=2)
        return False
    return True


def compiled_folder() -> str | None:
    """Where compiled code of the Numba engine is kept, see `cache_folder` in jit_numba.py; None if nowhere."""
    from gpukm.kernels.jit_numba import cache_folder

    return cache_folder()


@contextmanager
def compilations() -> Iterator[list[str]]:
    """The names of the functions that Numba compiles meanwhile; of those it takes from disk, none."""
    from numba.core import event

    names: list[str] = []
    recorded = event.RecordingListener()
    with event.install_listener("numba:compile", recorded):
        yield names
    names += [entry.data["dispatcher"].py_func.__name__ for _, entry in recorded.buffer if entry.is_start]


def cuda_works() -> bool:
    """Whether CuPy is installed and sees a CUDA device."""
    if find_spec("cupy") is None:
        return False
    import cupy

    return bool(cupy.cuda.is_available())


@cache
def gpu(number: int | None = None) -> Any:
    """The CUDA device `number`, CuPy's current one when None; its compiled kernels are kept.

    Raises
    ------
    ImportError, ValueError
        CuPy is not installed; there is no such device.
    """
    from gpukm.kernels._cuda import Gpu

    return Gpu(number)
