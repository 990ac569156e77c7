"""Peak memory of `gpukm colors` grows by a byte a pixel, the result, and by so many bytes a colour."""

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from gpukm.array_source import ArraySource

image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

FIXED = 96 << 20  # strips, and the table that counts 2^24 colours, or that of their entries
PER_PIXEL = 1  # the indices; a decoded image would be 4 more
PER_COLOR = 128  # keys, counts, weights, points, labels and what is computed of them
COLORS = 1_000_000
SIZES = {"pixels": (24_000_000, 4096), "colors": (COLORS, COLORS)}  # pixels and colours

# Linux tells the peak of this program alone, and begins it anew; getrusage's also has that of the process above.
CODE = """
import re, sys
from gpukm.cli import main
from gpukm.color import load
load._LARGE = 0
def status(field):
    return int(re.search(field + r":\\s+(\\d+) kB", open("/proc/self/status").read())[1]) << 10
small, *command = sys.argv[1:]
assert main(["colors", small, *command[1:]]) == 0  # loads and compiles what the command needs
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
assert main(["colors", *command]) == 0
print(status("VmHWM") - before)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A large picture of few colours, one of as many as pixels, and a small one, of enough for the compiled engine."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    keys = rng.choice(1 << 24, COLORS, replace=False).astype(np.uint32)
    many = np.stack([keys >> 16, keys >> 8 & 255, keys & 255], axis=1).astype(np.uint8)
    tile = rng.integers(0, 16, (300, 500, 3), np.uint8) * np.uint8(16)
    large = np.tile(tile, (14, 12, 1))[:4000]
    colors = many.reshape(1000, -1, 3)
    for name, pixels in {"pixels": large, "colors": colors, "small": colors[:200]}.items():
        image.fromarray(pixels).save(folder / f"{name}.png", compress_level=1)
    return folder


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's count of resident memory")
@pytest.mark.parametrize("large", ["pixels", "colors"])
@pytest.mark.parametrize("options", ["--space oklab", "--space din99", "--dither fs", "--dither blue"])
def test_peak_memory(files, large, options):
    """Fit, mapping and writing stay under FIXED + PER_PIXEL + PER_COLOR, whatever the space and the dithering."""
    if "fs" in options:
        pytest.importorskip("numba", reason="the reference takes minutes for so many pixels")
    command = [files / "small.png", files / f"{large}.png", "-k", "16", "--effort", "0", *options.split()]
    command += ["-o", files / "out.png", "--force", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    pixels, colors = SIZES[large]
    limit = FIXED + PER_PIXEL * pixels + PER_COLOR * colors
    for compiled in (False, True):  # what compiling takes is not the image's; a second process finds it compiled
        done = subprocess.run(
            [sys.executable, "-c", CODE, *map(str, command)],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        grown = int(done.stdout.split()[-1])
        if compiled or grown < limit:
            break
    assert 0 < grown < limit


def test_rows_are_freed_with_their_source():
    """No cycle keeps them: what follows a fit needs the memory."""
    gc.disable()
    try:
        source = ArraySource(np.random.default_rng(0).random((1000, 3)), dtype=np.float32)
        source.step(np.eye(3, dtype=np.float32))
        gone = weakref.ref(source)
        del source
        assert gone() is None
    finally:
        gc.enable()
