"""The rates of a card: copies, and each arithmetic unit by itself. The kernels' bounds are counted in these."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import numpy as np
from gpu_fits import clocked

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
    yield from transfers(gpu, min(copy_bytes, 1 << 28))
    x, out = gpu.to_device(np.array([0.999, 0.001, 1.0, -1.0], "f4")), gpu.zeros(1, "f4")
    for name, (operations, arch, unit) in KERNELS.items():
        if gpu.facts.arch < arch:
            continue
        kernel = Kernel("rates_tensor" if name.startswith("tensor") else "rates", name, (("ROUNDS", rounds),))
        times = seconds(gpu, lambda kernel=kernel: gpu.launch(kernel, (blocks,), (256,), [x, out]))
        yield {"rate": name, "per_second": blocks * operations(rounds) / median(times), "unit": unit}
    yield from latencies(gpu, Kernel("rates", "ffma", (("ROUNDS", 8),)), [x, out])


def transfers(gpu, size: int):
    """Rows for copies between host and device as gpukm makes them, and to the device from pinned memory."""
    host, device = np.zeros(size, "u1"), gpu.zeros(size, "u1")
    copies = {"to the device": lambda: gpu.to_device(host), "to the host": lambda: gpu.to_host(device)}
    if gpu.xp is not np:
        import cupyx

        pinned = cupyx.zeros_pinned(size, "u1")
        copies["to the device, from pinned memory"] = lambda: gpu.to_device(pinned)
    for name, copy in copies.items():
        yield {"rate": f"copy {name}", "per_second": size / median(elapsed(gpu, copy)), "unit": "byte"}


def latencies(gpu, kernel, args):
    """Rows for how many launches the host gets rid of a second, and how often it can look at the device."""
    many = 1 if gpu.xp is np else 1000

    def launches():
        for _ in range(many):
            gpu.launch(kernel, (1,), (256,), args)

    for name, work, count in (("launches", launches, many), ("looks of the host", lambda: gpu.to_host(args[1]), 1)):
        yield {"rate": name, "per_second": count / median(elapsed(gpu, work)), "unit": "one after the other"}


def elapsed(gpu, work, repeat: int = 7) -> list[float]:
    """How long `work` takes the host, until the device is done, each time, after one round that does not count."""
    clocked(gpu, work)
    return [clocked(gpu, work) for _ in range(repeat)]
