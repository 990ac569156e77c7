"""Chunks from the host on a GPU: copying alone, computing alone, and a step that does both at once."""

from __future__ import annotations

import time
from functools import partial
from statistics import median

import numpy as np
from gpu_fits import Shape, clocked, rows

SHAPES = [Shape(20_000_000, 16, 64, 0), Shape(4_000_000, 128, 256, 0)]
CHUNKS = 32


def streams(gpu, end, smoke, **_):
    """GB/s of the copies, milliseconds of a step on rows that are there, and of one on chunks; equal labels."""
    from gpukm._rows import MadeRows
    from gpukm.chunks import Chunks
    from gpukm.device_source import DeviceSource
    from gpukm.device_stream import DeviceStreamSource
    from gpukm.stream_source import READING

    shapes = [Shape(3000, s.d, 8, 0) for s in SHAPES] if smoke else SHAPES
    for shape in shapes:
        if time.monotonic() > end:
            return
        X, start = rows(gpu, shape)
        there, here = DeviceSource(gpu, X, dtype=np.float32), gpu.to_host(X)
        memory = int(here.nbytes / CHUNKS * 4 / READING)  # a chunk is about a quarter of what is for reading
        made = MadeRows(lambda here=here: iter(np.array_split(here, CHUNKS)))
        source = DeviceStreamSource(gpu, Chunks(made, int(memory * READING)), max_memory=memory)
        there.step(start), source.step(start)
        equal = bool(np.array_equal(source.labels, gpu.to_host(there.labels)))

        tasks = {
            "copies": lambda source=source: list(source._on_device()),
            "computes": partial(there.step, start),
            "both": partial(source.step, start),
        }
        ms = {name: 1e3 * median(clocked(gpu, task) for _ in range(3)) for name, task in tasks.items()}
        yield {
            "shape": shape.name,
            "equal": equal,
            "GB/s": here.nbytes / ms["copies"] / 1e6,
            **{f"{name}, ms": value for name, value in ms.items()},
            "of the slower": max(ms["copies"], ms["computes"]) / ms["both"],
            "failed": not equal,
        }
        del X, here, there, source
