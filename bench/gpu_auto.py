"""device="auto" on rows in the host's memory: what it chooses, and how long it takes beside the CPU and the GPU."""

from __future__ import annotations

import time
from functools import partial
from statistics import median

from gpu_fits import Shape, clocked, fit, rows

# From a fit that is over before CuPy is loaded to one that keeps the processors busy for a minute.
SHAPES = [
    Shape(100_000, 16, 16, 0),
    Shape(2_000_000, 3, 256, 0),
    Shape(1_000_000, 64, 256, 0),
    Shape(1_000_000, 128, 1024, 0),
]


def auto(gpu, end, smoke, **_):
    """Seconds of a fit of 20 updates of rows on the host, by device; "auto" is to be no slower than the CPU."""
    for shape in SHAPES:
        if time.monotonic() > end:
            return
        few = Shape(2000, shape.d, 8, 0) if smoke else shape
        on_device, start = rows(gpu, few)
        X = gpu.to_host(on_device)
        del on_device
        updates, seconds = 2 if smoke else 20, {}
        for device in ("cpu", "cuda", "auto"):
            work = partial(fit, X, start, updates, device)
            chosen = work().engine_  # of "auto", in the end; it compiles, too
            seconds[device] = median(clocked(gpu, work) for _ in range(3))
        slower = seconds["auto"] / seconds["cpu"]
        row = {"shape": few.name, "chosen": chosen, **{f"{device}, s": value for device, value in seconds.items()}}
        yield {**row, "of the CPU": slower, "failed": not smoke and slower > 1.1}
