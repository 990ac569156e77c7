"""The rates of a card: copies, and each arithmetic unit by itself. The kernels' bounds are counted in these."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import numpy as np

HERE = Path(__file__).resolve().parent
# name -> operations of a block of 256 threads in ROUNDS rounds; least architecture; unit
KERNELS = {
    "ffma": (lambda rounds: 256 * 32 * rounds, 75, "FMA"),
    "select": (lambda rounds: 256 * 16 * 2 * rounds, 75, "minimum with its place"),
    "minimum": (lambda rounds: 256 * 32 * rounds, 75, "minimum"),
    "float64_fma": (lambda rounds: 256 * 16 * (rounds // 8), 75, "FMA"),
    "tensor_f16": (lambda rounds: 8 * 8 * (rounds // 8) * 16 * 8 * 16, 80, "FMA"),
    "tensor_tf32": (lambda rounds: 8 * 8 * (rounds // 8) * 16 * 8 * 8, 80, "FMA"),
    "shared_atomics": (lambda rounds: 256 * (rounds // 8), 75, "addition"),
}


def seconds(gpu, work, repeat: int = 7) -> list[float]:
    """How long `work` takes on the device, each time, after one round that does not count."""
    work()
    if gpu.xp is np:  # the emulator
        begins = [(time.perf_counter(), work(), time.perf_counter()) for _ in range(repeat)]
        return [end - begin for begin, _, end in begins]
    found = []
    for _ in range(repeat):
        begin, end = gpu.xp.cuda.Event(), gpu.xp.cuda.Event()
        begin.record()
        work()
        end.record()
        end.synchronize()
        found.append(gpu.xp.cuda.get_elapsed_time(begin, end) / 1e3)
    return found


def measure(gpu, rounds: int = 2048, blocks: int | None = None, copy_bytes: int = 1 << 30):
    """A row for each rate: (name, units a second, unit). `gpu` launches from this folder."""
    from gpukm.kernels._cuda import Kernel

    blocks = 8 * gpu.facts.multiprocessors if blocks is None else blocks
    for where, size in (("memory", copy_bytes), ("level-2 cache", min(copy_bytes, gpu.facts.l2 // 4))):
        source, target = gpu.zeros(size // 4, "f4"), gpu.zeros(size // 4, "f4")

        def copy(source=source, target=target):
            target[...] = source

        times = seconds(gpu, copy)
        yield {"rate": f"copy in {where}", "per_second": 2 * size / median(times), "unit": "byte, read and written"}
    x, out = gpu.to_device(np.array([0.999, 0.001, 1.0, -1.0], "f4")), gpu.zeros(1, "f4")
    for name, (operations, arch, unit) in KERNELS.items():
        if gpu.facts.arch < arch:
            continue
        kernel = Kernel("rates_tensor" if name.startswith("tensor") else "rates", name, (("ROUNDS", rounds),))
        times = seconds(gpu, lambda kernel=kernel: gpu.launch(kernel, (blocks,), (256,), [x, out]))
        yield {"rate": name, "per_second": blocks * operations(rounds) / median(times), "unit": unit}
