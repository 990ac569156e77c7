"""k-means++ on a GPU, milliseconds a centre, and colours counted a second: the same as on the CPU."""

from __future__ import annotations

import time
from statistics import median

import numpy as np
from gpu_fits import Shape, clocked, rows

SHAPES = [  # the last number, of Lloyd's iterations elsewhere, is not used
    Shape(1_000_000, 3, 256, 0),
    Shape(10_000_000, 3, 64, 0),
    Shape(1_000_000, 128, 256, 0),
    Shape(10_000_000, 32, 64, 0),
]
CHECKED = 100_000  # rows on which the CPU draws too
PIXELS = (1, 4096, 1 << 24)  # distinct colours of a picture


def seeding(gpu, end, smoke, **_):
    """k-means++: the CPU's rows on fewer of them, then milliseconds a centre."""
    from gpukm.array_source import ArraySource
    from gpukm.device_source import DeviceSource
    from gpukm.seeding import seed

    shapes = [Shape(700, s.d, 8, 0) for s in SHAPES[::2]] if smoke else SHAPES
    for shape in shapes:
        if time.monotonic() > end:
            return
        X, _ = rows(gpu, shape)
        few = X[:CHECKED]
        number = min(shape.k, 32)
        expected = seed(ArraySource(gpu.to_host(few), dtype=np.float32), number, "k-means++", np.random.default_rng(0))[
            1
        ]
        found = seed(DeviceSource(gpu, few, dtype=np.float32), number, "k-means++", np.random.default_rng(0))[1]
        equal = bool(np.array_equal(expected, found))
        source = DeviceSource(gpu, X, dtype=np.float32)
        times = {}
        for k in (shape.k // 2, shape.k):
            work = lambda k=k, s=source: seed(s, k, "k-means++", np.random.default_rng(0))  # noqa: E731
            work()
            times[k] = median(clocked(gpu, work) for _ in range(3))
        ms = 1e3 * (times[shape.k] - times[shape.k // 2]) / (shape.k - shape.k // 2)
        yield {
            "shape": shape.name,
            "equal": equal,
            "ms a centre": ms,
            "ms in all": 1e3 * times[shape.k],
            "failed": not equal,
        }
        del X, few, source


def colours(gpu, smoke, **_):
    """Pixels a second that go into a histogram, all colours to the host included; the counts are NumPy's."""
    from gpukm.kernels.colors_cuda import count_colors

    n = 1 << 12 if smoke else 1 << 26
    for distinct in PIXELS:
        rng = np.random.default_rng(distinct)
        keys = rng.integers(0, distinct, n, dtype=np.uint32) * np.uint32((1 << 24) // distinct)
        pixels = np.stack([keys >> 16 & 255, keys >> 8 & 255, keys & 255], axis=1).astype(np.uint8)
        on_device = gpu.to_device(pixels)
        [(found, counts)] = count_colors(gpu, on_device)
        expected = np.unique(keys, return_counts=True)
        equal = bool(np.array_equal(found, expected[0]) and np.array_equal(counts, expected[1]))
        seconds = median(clocked(gpu, lambda p=on_device: list(count_colors(gpu, p))) for _ in range(3))
        yield {
            "colours": distinct,
            "pixels": n,
            "equal": equal,
            "pixels a second": n / seconds,
            "failed": not equal,
        }
