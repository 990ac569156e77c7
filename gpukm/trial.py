"""trial: would a fit be faster on a CUDA device? Some of its rows are clustered on both, their transfer included.

What a GPU, its bus and the processors do differs a hundredfold from machine to machine, so the machine itself is asked.
A device is trusted with a fit only after it has given the CPU's labels and sums for these rows.
"""

import logging
import time
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._threads import available_threads
from gpukm.array_source import ArraySource
from gpukm.kernels import compared, row_products
from gpukm.sources import Step

log = logging.getLogger("gpukm")

ROWS = 1 << 18  # of a trial: enough to keep a GPU busy
LEAST = 1 << 38  # products for each thread, some 3 s: below, loading CuPy and its kernels takes as long as the fit
USUAL = 20  # iterations of a fit
MARGIN = 2.0  # times as fast as the CPU at least, which gains from bounds and sorted rows in later iterations


def worth_a_trial(source: ArraySource, n_clusters: int, max_iter: int) -> bool:
    """Whether a fit of rows in the host's memory takes so long that a GPU, and asking it, may pay."""
    d = source.n_features
    products = source.n_samples * row_products(compared(n_clusters, d), d) * min(max_iter, USUAL)
    enough = products >= LEAST * available_threads() and min(ROWS, source.n_samples) >= 2 * n_clusters
    return enough and type(source) is ArraySource and isinstance(source.given, np.ndarray)


def faster_on(gpu: Any, source: ArraySource, n_clusters: int, max_iter: int, max_memory: int) -> bool:
    """Whether `gpu` has room for the rows, and would do the fit MARGIN times as fast as the CPU and to the same bits.

    Where it fails or finds something else, a warning says so.
    """
    from gpukm.device_source import DeviceSource

    rows, iterations = source.host_block(0, min(ROWS, source.n_samples)), min(max_iter, USUAL)
    own: Any = {"dtype": source.dtype, "max_memory": max_memory}
    here = ArraySource(rows, **own)
    try:
        if source.given.nbytes > gpu.free_bytes // 2:
            return False
        DeviceSource(gpu, rows[:1], **own)  # the first transfer waits for the device to wake up
        began = time.perf_counter()
        there = DeviceSource(gpu, rows, **own)
        copied = time.perf_counter() - began
        found, taken = _second_step(there, rows, n_clusters)
    except (RuntimeError, MemoryError, OSError) as error:
        warnings.warn(f"the fit stays on the CPU, as the CUDA device failed at a trial: {error}", stacklevel=5)
        return False
    expected, needed = _second_step(here, rows, n_clusters)
    same = np.array_equal(gpu.to_host(there.as_given(there.labels)), here.as_given(here.labels))
    if not (same and np.array_equal(found.sums.means(), expected.sums.means())):
        warnings.warn(
            "the fit stays on the CPU, as the CUDA device gave other labels or sums for some of the rows: an error in "
            "gpukm or in the device. Please report it, with what `gpukm info` prints.",
            stacklevel=5,
        )
        return False
    log.debug("trial of %d rows: copied in %.3g s, a step %.3g s there, %.3g s here", len(rows), copied, taken, needed)
    return MARGIN * (copied + taken * iterations) <= needed * iterations


def _second_step(source: ArraySource, rows: NDArray, n_clusters: int) -> tuple[Step, float]:
    """(A step after the first one, which compiles and adds up all rows; its seconds)."""
    source.arrange(n_clusters)
    apart = len(rows) // n_clusters
    source.step(rows[::apart][:n_clusters])
    began = time.perf_counter()
    step = source.step(rows[1::apart][:n_clusters])
    return step, time.perf_counter() - began
