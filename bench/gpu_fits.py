"""Fits on a GPU: the same bits as on the CPU, milliseconds an iteration against what the card could do, and peers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from importlib.util import find_spec
from statistics import median

import numpy as np


@dataclass(frozen=True)
class Shape:
    """A problem, and the milliseconds an iteration that are hoped for on an H100."""

    n: int
    d: int
    k: int
    goal: float

    @property
    def name(self) -> str:
        """As tables show it."""
        return f"{self.n:.0e} x {self.d}, k = {self.k}".replace("e+0", "e")


SHAPES = [
    Shape(10_000_000, 3, 16, 0.055),
    Shape(10_000_000, 3, 256, 0.20),
    Shape(1_000_000, 128, 1024, 0.60),
    Shape(1_000_000, 128, 64, 0.25),
    Shape(10_000_000, 32, 256, 0.70),
    Shape(1_000_000, 768, 4096, 13.0),
    Shape(100_000_000, 16, 64, 3.0),
    Shape(3_000_000, 3, 256, 0.06),  # rows that are put in order, as a copy fits the default max_memory
]
SMALL = Shape(100_000, 16, 16, 2.0 / 20)  # 20 iterations in 2 ms
RTOL = 1e-3  # peers round data to half precision or TF32: their inertia may differ by so much and no more


def rows(gpu, shape: Shape):
    """(X on the device, start on the host): blobs that overlap; blocks of rows are copies, each shifted by its own."""
    rng = np.random.default_rng([shape.n, shape.d, shape.k])
    block = min(shape.n, max(10_000, 50_000_000 // shape.d))
    # centres 1.7 standard deviations apart, whatever d, so that no fit converges in the few iterations it is given
    centres = (rng.normal(size=(shape.k, shape.d)) * 1.2 / np.sqrt(shape.d)).astype(np.float32)
    base = centres[rng.integers(0, shape.k, block)]
    base += rng.standard_normal(base.shape, dtype=np.float32)
    on_device = gpu.to_device(base)
    X = gpu.empty((shape.n, shape.d), "f4")
    for i, begin in enumerate(range(0, shape.n, block)):
        X[begin : begin + block] = on_device[: min(block, shape.n - begin)] + np.float32(0.001 * i)
    return X, base[: shape.k].copy()


def fit(X, start, iterations: int, device: str = "auto"):
    """A fit of so many updates from a given start; raises if it did another number."""
    from gpukm import KMeans

    model = KMeans(len(start), init=start, n_init=1, max_iter=iterations, tol=0, device=device).fit(X)
    if model.n_iter_ != iterations:
        raise RuntimeError(f"converged after {model.n_iter_} of {iterations} updates: give it fewer")
    return model


def clocked(gpu, work) -> float:
    """Seconds until the device has done its work."""
    wait(gpu)
    begin = time.perf_counter()
    work()
    wait(gpu)
    return time.perf_counter() - begin


def wait(gpu) -> None:
    """Until the device has nothing left to do (the emulator never has)."""
    if gpu.xp is not np:
        gpu.xp.cuda.Device(gpu.device.id).synchronize()


def scaled(smoke: bool) -> list[Shape]:
    """The shapes, or tiny ones."""
    return [Shape(2000, s.d, min(s.k, 32), s.goal) for s in SHAPES[:4]] if smoke else SHAPES


def bits(gpu, end, smoke, **_):
    """Centres, labels, inertia and iterations on the device are those of the CPU, to the bit."""
    for shape in [SMALL, *scaled(smoke)]:
        if time.monotonic() > end:
            return
        few = Shape(min(shape.n, 200_000 if shape.d * shape.k < 1e5 else 20_000), shape.d, shape.k, 0)
        X, start = rows(gpu, few)
        device, cpu = fit(X, gpu.to_device(start), 3), fit(gpu.to_host(X), start, 3, "cpu")
        names = ("cluster_centers_", "labels_", "inertia_", "n_iter_")
        pairs = [(gpu.to_host(getattr(device, name)), np.asarray(getattr(cpu, name))) for name in names]
        unequal = [name for name, (a, b) in zip(names, pairs) if not np.array_equal(a, b)]
        yield {"shape": few.name, "equal": not unequal, "unequal": unequal, "failed": bool(unequal)}


def bound(shape: Shape, rates: dict[str, float]) -> dict[str, float]:
    """Milliseconds an iteration that each unit needs at the rates measured: X once, and a minimum for each pair."""
    n, d, k = shape.n, shape.d, shape.k
    bounds = {"memory": 4 * n * d / rates["copy in memory"], "minimum": n * k / rates["minimum"]}
    products = [n * d * k / rates[name] for name in ("ffma", "tensor_f16") if name in rates]
    return {name: 1e3 * value for name, value in {**bounds, "products": min(products)}.items()}


def kernels(gpu, record, end, smoke, **_):
    """Milliseconds a Lloyd iteration, by kernel too, beside what the rates of the card allow."""
    rates = {row["rate"]: row["per_second"] for row in record.of("rates") if "rate" in row}
    for shape in [SMALL, *scaled(smoke)]:
        if time.monotonic() > end:
            return
        if 4 * shape.n * shape.d > 0.4 * gpu.xp.cuda.runtime.memGetInfo()[1]:
            yield {"shape": shape.name, "skipped": "X takes more than 40 % of the device's memory"}
            continue
        X, start = rows(gpu, shape)
        start = gpu.to_device(start)
        few, many = (2, 4) if smoke else (5, 25 if shape.n * shape.d * shape.k < 1e12 else 10)
        try:
            fit(X, start, many)  # compiles, and shows whether it converges
        except RuntimeError as error:
            yield {"shape": shape.name, "skipped": str(error), "failed": True}
            continue
        times = {m: [clocked(gpu, lambda m=m, X=X, s=start: fit(X, s, m)) for _ in range(3)] for m in (few, many)}
        ms = 1e3 * (median(times[many]) - median(times[few])) / (many - few)
        row = {"shape": shape.name, "ms": ms, "goal": shape.goal, "fit_ms": 1e3 * median(times[many]), "updates": many}
        if rates:
            row["bound"] = bound(shape, rates)
            row["of_bound"] = max(row["bound"].values()) / ms if ms > 0 else None
        yield {**row, "by_kernel": by_kernel(gpu, lambda X=X, s=start, m=few: fit(X, s, m))}
        del X


def by_kernel(gpu, work) -> dict[str, float]:
    """Milliseconds of each kernel during some work, by events around every launch."""
    from unittest import mock

    launch, events = type(gpu).launch, []

    def timed(self, kernel, *args, **options):
        begin, end = self.xp.cuda.Event(), self.xp.cuda.Event()
        begin.record()
        launch(self, kernel, *args, **options)
        end.record()
        events.append((f"{kernel.file}.{kernel.name}", begin, end))

    with mock.patch.object(type(gpu), "launch", timed):
        work()
    wait(gpu)
    total: dict[str, float] = {}
    for name, begin, end in events:
        total[name] = total.get(name, 0.0) + gpu.xp.cuda.get_elapsed_time(begin, end)
    return {name: round(ms, 4) for name, ms in sorted(total.items(), key=lambda item: -item[1])}


# -- peers -------------------------------------------------------------------------------------------------


def plain_cupy(gpu, X, start, iterations):
    """Lloyd as one writes it with CuPy: scores by matrix products in blocks, sums by atomics in float."""
    xp = gpu.xp
    C, n = gpu.to_device(start), len(X)
    step = max(1, min(n, (1 << 28) // len(C)))
    labels = xp.empty(n, "i8")
    for i in range(iterations + 1):
        half = (C * C).sum(axis=1) / 2
        for begin in range(0, n, step):
            labels[begin : begin + step] = (half - X[begin : begin + step] @ C.T).argmin(axis=1)
        if i < iterations:
            sums = xp.zeros_like(C)
            xp.add.at(sums, labels, X)
            counts = xp.bincount(labels, minlength=len(C)).astype("f4")
            C = xp.where(counts[:, None] > 0, sums / xp.maximum(counts, 1)[:, None], C)
    return C


def flash_kmeans(gpu, X, start, iterations):
    """flash-kmeans on the same float32 rows, by DLPack; it is spared the last assignment that gpukm makes."""
    import torch
    from flash_kmeans import batch_kmeans_Euclid

    rows_, first = torch.from_dlpack(X)[None], torch.from_dlpack(gpu.to_device(start))[None]
    _, centroids, _ = batch_kmeans_Euclid(rows_, len(start), max_iters=iterations, tol=-1.0, init_centroids=first)
    return gpu.xp.from_dlpack(centroids[0].contiguous())


def fast_kmeans(gpu, X, start, iterations):
    """fastkmeans, which starts at the rows its seed draws, see `fast_start`, and keeps its rows on the host."""
    from fastkmeans import FastKMeans

    model = FastKMeans(X.shape[1], len(start), niter=iterations, tol=-1.0, seed=0, max_points_per_centroid=None)
    model.train(gpu.to_host(X))
    return gpu.to_device(np.ascontiguousarray(model.centroids, np.float32))


def gpukm(gpu, X, start, iterations):
    """The project's own, on the device."""
    return fit(X, gpu.to_device(start), iterations).cluster_centers_


def scikit_learn(gpu, X, start, iterations):
    """scikit-learn on all cores of the CPU; the copy to the host is not timed."""
    from sklearn.cluster import KMeans

    return (
        KMeans(len(start), init=start, n_init=1, max_iter=iterations, tol=0, algorithm="lloyd").fit(X).cluster_centers_
    )


CONTESTANTS = {
    "gpukm": (gpukm, "gpukm"),
    "plain CuPy": (plain_cupy, "cupy"),
    "flash-kmeans": (flash_kmeans, "flash_kmeans"),
    "fastkmeans": (fast_kmeans, "fastkmeans"),
    "scikit-learn, CPU": (scikit_learn, "sklearn"),
}


def fast_start(n: int, k: int) -> np.ndarray | None:
    """The rows at which fastkmeans starts with seed 0, so that all can start there; None without PyTorch."""
    if find_spec("torch") is None:
        return None
    import torch

    torch.manual_seed(0)
    return torch.randperm(n)[:k].numpy()


def inertia(gpu, X, centroids) -> float:
    """Sum of squared distances to the nearest centroid, in float64."""
    C = gpu.to_device(centroids).astype("f8")
    step = max(1, (1 << 26) // (len(C) + X.shape[1]))
    half, total = (C * C).sum(axis=1) / 2, 0.0
    for begin in range(0, len(X), step):
        block = X[begin : begin + step].astype("f8")
        total += float((2 * (half - block @ C.T).min(axis=1) + (block * block).sum(axis=1)).sum())
    return total


def fits(gpu, end, smoke, **_):
    """Whole fits from the same start with the same number of updates: gpukm, its peers, and scikit-learn on the CPU."""
    for shape in scaled(smoke) if smoke else [SMALL, SHAPES[0], SHAPES[4], SHAPES[2]]:
        X, start = rows(gpu, shape)
        drawn = fast_start(shape.n, shape.k)
        if drawn is not None:
            start = gpu.to_host(X[gpu.to_device(drawn)])
        yield from contest(gpu, shape, X, start, 4 if smoke else 10, end)
        del X


def contest(gpu, shape, X, start, iterations, end):
    """A row for each contestant: seconds, or why there are none."""
    reference = None
    for name, (run, package) in CONTESTANTS.items():
        row = {"shape": shape.name, "contestant": name, "updates": iterations}
        if find_spec(package) is None:
            yield {**row, "skipped": "not installed"}
            continue
        if time.monotonic() > end:
            yield {**row, "skipped": "no time left"}
            continue
        try:
            given = gpu.to_host(X) if run is scikit_learn else X
            found: list = []
            times = [
                clocked(gpu, lambda run=run, given=given, found=found: found.append(run(gpu, given, start, iterations)))
                for _ in range(1 if run is scikit_learn else 4)
            ][-3:]
            value = inertia(gpu, X, found[-1])
        except Exception as error:  # a peer's failure is a result, ours is a failure
            yield {**row, "skipped": f"{type(error).__name__}: {error}"[:300], "failed": run is gpukm}
            continue
        reference = value if reference is None else reference
        if abs(value - reference) > RTOL * reference:
            yield {**row, "inertia": value, "skipped": f"unequal work: gpukm's inertia is {reference:.9g}"}
        else:
            yield {**row, "inertia": value, "seconds": times}
