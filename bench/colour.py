"""Colour quantization beside Pillow, scikit-learn and libimagequant: quality, speed, memory.

    python bench/colour.py quality                  # the error of every tool on four photographs: no clock involved
    python bench/colour.py speed --rounds 3         # 24 megapixels at 256 colours, and twice the pixels, when idle
    python bench/colour.py memory                   # peak memory of 100 megapixels
    python bench/colour.py table                    # the results into bench/README.md

Quality: no dithering, palettes of 8 bits, default settings of every tool but where its name says otherwise. MSE is per
channel in sRGB, dE the mean CIEDE2000, both over all pixels by one function. `goal` is what this project set out to
reach: MSE with space="srgb", dE with space="din99". china and flower come with scikit-learn, chelsea and rocket with
scikit-image (pip install scikit-learn scikit-image libimagequant Pillow).

Speed: a photograph resampled to 6000 x 4000 with noise of one level, so that its different colours stay as many as a
camera's. From an array to palette and indices; scikit-learn's KMeans runs on all pixels for as many iterations as
`--sklearn-iterations` says, so that its whole time is an extrapolation by those of a fit on a tenth of the pixels.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

RESULTS = Path(__file__).resolve().parent / "results"
SIZES = (16, 64, 256)
GOALS = {  # (MSE at 16, 64, 256), (dE at 16, 64, 256)
    "china": ((114.40, 37.26, 14.20), (5.19, 3.09, 1.96)),
    "flower": ((72.00, 24.63, 9.03), (3.70, 2.10, 1.23)),
    "chelsea": ((51.40, 15.30, 5.41), (3.40, 2.04, 1.28)),
    "rocket": ((53.81, 14.08, 5.01), (2.94, 1.76, 1.11)),
}


def photograph(name: str) -> np.ndarray:
    """(height, width, 3) uint8."""
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        return np.ascontiguousarray(load_sample_image(f"{name}.jpg"))
    from skimage import data

    return np.ascontiguousarray(getattr(data, name)())


# -- the tools: each takes an image and a number of colours and returns (palette, indices) -------------------


def ours(space: str, effort: int = 1):
    def run(image, k):
        from gpukm.color import quantize

        found = quantize(image, k, space=space, effort=effort)
        return found.palette.colors, found.indices

    return run


def pillow(method: str, kmeans: int = 0):
    def run(image, k):
        from PIL import Image

        found = Image.fromarray(image).quantize(k, method=getattr(Image.Quantize, method), kmeans=kmeans)
        return np.array(found.getpalette()[: 3 * k], np.uint8).reshape(-1, 3), np.asarray(found)

    return run


def scikit_learn(image, k):
    """Weighted different colours: what scikit-learn does best; its gallery fits 1,000 pixels."""
    from sklearn.cluster import KMeans

    colors, inverse, counts = np.unique(image.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    model = KMeans(k, random_state=0, n_init=1).fit(colors.astype(np.float32), sample_weight=counts)
    palette = np.rint(model.cluster_centers_).astype(np.uint8)
    return palette, nearest(colors, palette)[inverse.ravel()].reshape(image.shape[:2])


def libimagequant(speed: int):
    def run(image, k):
        import libimagequant as liq

        settings = liq.Attr()
        settings.speed, settings.max_colors = speed, k
        height, width = image.shape[:2]
        rgba = np.dstack([image, np.full((height, width), 255, np.uint8)]).tobytes()
        picture = settings.create_rgba(rgba, width, height, 0)
        found = picture.quantize(settings)
        found.dithering_level = 0.0
        indices = np.frombuffer(bytes(found.remap_image(picture)), np.uint8).reshape(height, width)
        return np.array([(c.r, c.g, c.b) for c in found.get_palette()], np.uint8), indices

    return run


TOOLS = {
    "gpukm srgb": ours("srgb"),
    "gpukm oklab (default)": ours("oklab"),
    "gpukm din99": ours("din99"),
    "scikit-learn KMeans": scikit_learn,
    "libimagequant speed 4 (default)": libimagequant(4),
    "libimagequant speed 1": libimagequant(1),
    "Pillow median cut (default)": pillow("MEDIANCUT"),
    "Pillow median cut, kmeans=1": pillow("MEDIANCUT", 1),
    "Pillow octree": pillow("FASTOCTREE"),
}


def nearest(colors, palette):
    """(n,) by brute force."""
    out = np.empty(len(colors), np.int64)
    for start in range(0, len(colors), 4096):
        part = colors[start : start + 4096, None].astype(np.int32) - palette.astype(np.int32)
        out[start : start + 4096] = (part * part).sum(axis=2).argmin(axis=1)
    return out


def errors(image, palette, indices):
    """(MSE, mean CIEDE2000) over all pixels."""
    from gpukm.color.errors import measure

    original = image.reshape(-1, 3)
    found = measure(original, palette, indices.ravel(), np.ones(len(original), np.int64))
    return found.mse, found.de_mean


def quality(args) -> list[dict]:
    rows = []
    for name in args.images:
        image = photograph(name)[:: args.step, :: args.step]
        image = np.ascontiguousarray(image)
        for at, k in enumerate(args.sizes):
            for tool, run in TOOLS.items():
                mse, de = errors(image, *run(image, k))
                rows.append({"image": name, "k": k, "tool": tool, "mse": mse, "de": de})
                print(f"{name:8} k={k:<4} {tool:32} MSE {mse:8.3f}  dE {de:6.3f}", flush=True)
            if args.step == 1 and tuple(args.sizes) == SIZES:
                goal = GOALS[name][0][at], GOALS[name][1][at]
                last = {row["tool"]: row for row in rows[-len(TOOLS) :]}
                reached = last["gpukm srgb"]["mse"], last["gpukm din99"]["de"]
                verdict = ["reached" if round(have, 2) <= want else "MISSED" for have, want in zip(reached, goal)]
                print(f"{name:8} k={k:<4} goal: MSE {goal[0]} {verdict[0]}, dE {goal[1]} {verdict[1]}", flush=True)
    return rows


# -- speed and memory ----------------------------------------------------------------------------------------


def large(width: int, height: int) -> np.ndarray:
    """A photograph of that size, with noise of a standard deviation of one level."""
    from PIL import Image

    image = np.asarray(Image.fromarray(photograph("china")).resize((width, height), Image.Resampling.BICUBIC))
    rng, out = np.random.default_rng(0), np.empty((height, width, 3), np.uint8)
    for start in range(0, height, 256):
        part = image[start : start + 256]
        noise = np.rint(rng.normal(0, 1, part.shape).astype(np.float32))
        out[start : start + 256] = np.clip(part + noise, 0, 255)
    return out


def clock(run, rounds: int) -> tuple[float, object]:
    """Median seconds of several rounds, and the last result."""
    times, result = [], None
    for _ in range(rounds):
        began = time.perf_counter()
        result = run()
        times.append(time.perf_counter() - began)
    return float(np.median(times)), result


def speed(args) -> list[dict]:
    from gpukm.color import Histogram, apply, quantize

    width, height = (600, 400) if args.smoke else (6000, 4000)
    image, k, rows = large(width, height), 256, []
    quantize(image[:64, :64], 16)  # compiled code is loaded
    Histogram().add(image).fit(k, effort=0)
    contestants = {
        f"gpukm {space} effort {effort}": ours(space, effort) for space in ("srgb", "oklab") for effort in (0, 1, 2)
    } | {"libimagequant speed 4": libimagequant(4), "Pillow median cut": pillow("MEDIANCUT")}
    for tool, run in contestants.items():
        seconds, found = clock(lambda run=run: run(image, k), args.rounds)
        mse, de = errors(image[::4, ::4], found[0], found[1][::4, ::4])
        rows.append({"what": "24 MP, k=256", "tool": tool, "seconds": seconds, "mse": mse, "de": de})
        print(f"{tool:28} {seconds:8.2f} s  MSE {mse:.3f}  dE {de:.3f} (of every 16th pixel)", flush=True)
    seconds, model = sklearn_seconds(image, k, args)
    rows.append({"what": "24 MP, k=256", "tool": "scikit-learn KMeans, all pixels", "seconds": seconds, **model})
    print(f"scikit-learn KMeans on all pixels: {seconds:.1f} s, extrapolated: {model}", flush=True)
    twice = np.concatenate([image, image])
    for what, one in (("24 MP", image), ("48 MP, the same colours", twice)):
        counting, histogram = clock(lambda one=one: Histogram().add(one), args.rounds)
        fitting, palette = clock(lambda h=histogram: h.fit(k), args.rounds)
        mapping, _ = clock(lambda one=one, p=palette: apply(one, p), args.rounds)
        diffusing, _ = clock(lambda one=one, p=palette: apply(one, p, dither="fs"), 1)
        row = {"histogram": counting, "fit": fitting, "apply": mapping, "apply, fs": diffusing}
        rows.append({"what": what, "tool": "gpukm oklab", "colors": histogram.n_colors, **row})
        print(what, histogram.n_colors, "colours", {name: round(value, 2) for name, value in row.items()}, flush=True)
    return rows


def sklearn_seconds(image, k: int, args) -> tuple[float, dict]:
    """Seconds of KMeans' fit and predict on all pixels: seeding and iterations as many as a fit of a tenth takes."""
    from sklearn.cluster import KMeans

    X = image.reshape(-1, 3).astype(np.float32)
    tenth = KMeans(k, random_state=0, n_init=1).fit(X[::10])
    start = tenth.cluster_centers_
    few = args.sklearn_iterations
    timed = clock(lambda: KMeans(k, init=start, n_init=1, max_iter=few, tol=0).fit(X), 1)[0]
    palette = np.rint(start).astype(np.uint8)
    colors = X[::160].astype(np.uint8)
    difference = (colors.astype(float) - palette[nearest(colors, palette)]) ** 2
    facts = {"iterations": int(tenth.n_iter_), "timed_iterations": few, "mse": float(difference.mean())}
    return timed / few * tenth.n_iter_, facts


MEMORY = {  # the first run after an update compiles, too: about 100 MB more
    "compiling": "--dither fs",
    "PNG": "",
    "JPEG": "",
    "--dither fs": "--dither fs",
    "--dither blue": "--dither blue",
    "--space srgb": "--space srgb",
    "--space din99": "--space din99",
}

# Linux tells the peak of this program alone; getrusage's also has that of the process that started it.
_PEAK = """
import re, sys
from gpukm.cli import main
assert main(sys.argv[1:]) == 0
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def memory(args) -> list[dict]:
    """Peak resident memory of quantizing 100 megapixels from a file, each time in a process of its own."""
    from PIL import Image

    width, height = (1000, 1000) if args.smoke else (10_000, 10_000)
    folder = Path(args.folder)
    source, target = folder / "large.png", folder / "small.png"
    Image.fromarray(large(width, height)).save(source, compress_level=1)
    Image.open(source).save(folder / "large.jpg", quality=92)
    rows = []
    for name, options in MEMORY.items():
        file = source.with_suffix(".jpg") if name == "JPEG" else source
        command = ["colors", str(file), "-k", "256", "-o", str(target), "--force", "--quiet", *options.split()]
        done = subprocess.run([sys.executable, "-c", _PEAK, *command], check=True, capture_output=True, text=True)
        peak = int(done.stdout.split()[-1]) * 1024
        print(f"{width * height / 1e6:.0f} megapixels, {name}: peak {peak / 1e6:.0f} MB", flush=True)
        rows.append({"what": f"{width} x {height}", "tool": f"gpukm colors, {name}", "peak_bytes": peak})
    return rows


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["quality", "speed", "memory", "table"])
    parser.add_argument("--images", type=lambda text: text.split(","), default=list(GOALS))
    parser.add_argument("--sizes", type=lambda text: [int(k) for k in text.split(",")], default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sklearn-iterations", type=int, default=3)
    parser.add_argument("--folder", default=".", help="for the files of `memory`")
    parser.add_argument("--smoke", action="store_true", help="tiny images: does it run? writes a file only with --out")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(argv)
    from timing import machine

    if args.what == "table":
        import colour_table

        return colour_table.write(RESULTS, list(TOOLS))
    args.step = 8 if args.smoke else 1
    if args.smoke:
        args.sizes, args.rounds = args.sizes[:1], 1
    elif args.out is None:
        args.out = RESULTS / f"colour-{args.what}-{datetime.date.today()}.json"
    rows = {"quality": quality, "speed": speed, "memory": memory}[args.what](args)
    if args.out is not None:
        args.out.write_text(json.dumps({"what": args.what, "machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
