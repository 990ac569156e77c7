"""What the colour commands say when they are done: figures, palettes, what failed, and the exit code."""

import argparse
import json
import sys
from typing import Any

from gpukm._usage import printable, say
from gpukm.color.batch import Failure
from gpukm.color.palette import Palette
from gpukm.color.palette_files import to_json
from gpukm.color.targets import QualityError
from gpukm.color.terminal import color_depth, palette_grid, palette_lines
from gpukm.color.work import Done, LargerError

CODES: dict[type[Exception], int] = {QualityError: 99, LargerError: 98, FileExistsError: 15}
_WORST = 10  # images named at the end of a batch
_LONG = 32  # colours that a terminal shows one a line


def print_results(
    options: argparse.Namespace,
    figures: list[dict[str, Any]],
    palettes: list[Palette | None],
    palette: Palette | None,
    failures: list[Failure],
) -> None:
    """The figures on stdout, as text or as JSON."""
    if options.json:
        images = [dict(one) for one in figures]
        if palette is None:
            for image, own in zip(images, palettes):
                image["palette"] = None if own is None else to_json(own)
        facts: dict[str, Any] = {"images": images}
        if palette is not None:
            facts["palette"] = to_json(palette)
        facts["failed"] = [{"input": one.path, "error": one.message} for one in failures]
        print(json.dumps(facts, indent=2, allow_nan=False))
        return
    if palette is not None and len(figures) > 1:
        print(f"one palette of {len(palette)} colours for {len(figures)} images")
        print_palette(palette)
    if len(figures) == 1:
        own = palettes[0] or palette
        one = figures[0]
        unique = "" if one["unique_colors"] is None else f", {one['unique_colors']} different colours"
        print(f"{printable(one['input'])}: {one['width']} x {one['height']} pixels{unique}, now {one['colors']}")
        if own is not None:
            print_palette(own)
        print(quality(one))
        if one["bytes"] is not None:
            say(options, f"wrote {one['output']}: {one['colors']} colours, {one['bytes']} bytes")
    elif figures:
        worst = sorted(figures, key=lambda one: -one["de_mean"])[:_WORST]
        print(f"{len(figures)} images; the worst, by mean CIEDE2000:")
        for one in worst:
            print(f"  {one['de_mean']:7.3f}  {one['colors']:3d} colours  {printable(one['input'])}")
    if figures and all(one["output"] is None for one in figures):
        say(options, "no image is written; give -o FILE or --out-dir FOLDER")


def print_palette(palette: Palette) -> None:
    """A line for each colour, with a swatch on a terminal that shows colours; there, a long palette is a grid."""
    depth = color_depth(sys.stdout)
    lines = palette_lines if depth == "none" or len(palette) <= _LONG else palette_grid
    for text in lines(palette, depth):
        print(text)


def quality(errors: Any) -> str:
    """The errors in one line."""
    psnr = errors.get("psnr")
    level = "infinite" if psnr is None or psnr == float("inf") else f"{psnr:.2f} dB"
    text = f"CIEDE2000 {errors['de_mean']:.3f} on average, 95 % up to {errors['de_p95']:.3f}"
    return f"{text}; MSE {errors['mse']:.2f} per channel in 8-bit sRGB, PSNR {level}"


def line(done: Done) -> str:
    """An image in one line, for the progress."""
    one = done.figures
    size = "" if one["bytes"] is None else f", {one['bytes']} bytes"
    return f"{one['output'] or one['input']}: {one['colors']} colours, mean CIEDE2000 {one['de_mean']:.3f}{size}"


def row(one: dict[str, Any]) -> dict[str, str]:
    """An image as a row of the report's table."""
    return {
        "image": one["input"],
        "colours": str(one["colors"]),
        "mean CIEDE2000": f"{one['de_mean']:.3f}",
        "95 %": f"{one['de_p95']:.3f}",
        "MSE": f"{one['mse']:.2f}",
        "PSNR": "infinite" if one["psnr"] is None else f"{one['psnr']:.2f} dB",
        "bytes before": f"{one['bytes_before']:,}",
        "bytes": "" if one["bytes"] is None else f"{one['bytes']:,}",
    }


def end(failures: list[Failure], n_images: int) -> int:
    """Name what failed, at the end where it is seen; return the exit code."""
    for failure in failures:
        print(f"gpukm: error: {failure.message}", file=sys.stderr)
    if not failures:
        return 0
    if n_images > 1:
        print(f"gpukm: {len(failures)} of {n_images} images failed", file=sys.stderr)
    codes = {code_of(failure.kind) for failure in failures}
    if len(codes) == 1 and codes != {1}:
        return codes.pop()
    return 1 if len(failures) == n_images else 2


def code_of(kind: type[BaseException]) -> int:
    """The exit code for a kind of failure."""
    return next((code for known, code in CODES.items() if issubclass(kind, known)), 1)
