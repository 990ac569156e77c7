"""What the commands do to one image, in this process or another: count, fit, map, write."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.color.batch import make_folder, refuse_links
from gpukm.color.dither import LEVEL
from gpukm.color.errors import Errors, psnr
from gpukm.color.fit import fit as fit_palette
from gpukm.color.histogram import Histogram
from gpukm.color.load import MAX_PIXELS, Picture, open_picture
from gpukm.color.metadata import Metadata
from gpukm.color.outputs import Frame, write_image
from gpukm.color.palette import Palette
from gpukm.color.quantizer import Quantized, apply, quantize
from gpukm.color.report import Shown, show
from gpukm.color.targets import QualityError, smallest

_TARGETS = ("target_de", "target_de_p95", "min_psnr")


class LargerError(ValueError):
    """The result has more bytes than the file it was made from."""


@dataclass(frozen=True)
class Settings:
    """Options of the commands; those that quantize has, too, have its names."""

    colors: int = 256
    space: str = "oklab"
    chroma: float | None = None
    dither: str = "none"
    dither_level: float = LEVEL
    keep: tuple[str, ...] = ()
    alpha: str = "keep"
    background: str = "#ffffff"
    effort: int = 1
    init: str = "wu"
    target_de: float | None = None
    target_de_p95: float | None = None
    min_psnr: float | None = None
    seed: int = 0
    device: str = "auto"
    frames: str = "shared"
    require_de: float | None = None
    skip_if_larger: bool = False
    strip: bool = False
    max_pixels: int = MAX_PIXELS
    force: bool = False


@dataclass(frozen=True)
class Task:
    """One image to be converted.

    Attributes
    ----------
    path : str
    output : str or None
        The file to be written; None to write nothing.
    out_dir : str or None
        The folder that the output must stay in; its folders are made.
    palette : Palette or None
        The palette to be used; None to fit one.
    importance : str or None
        A grey image of the same size: how much each pixel, of each frame, counts in a fit.
    report : bool
        Whether the result holds what a report shows.
    """

    path: str
    output: str | None
    settings: Settings
    out_dir: str | None = None
    palette: Palette | None = None
    importance: str | None = None
    report: bool = False


@dataclass(frozen=True)
class Done:
    """An image that was converted: its figures, as JSON has them, its palette, what a report shows."""

    figures: Mapping[str, Any]
    palette: Palette
    shown: Shown | None = field(default=None, repr=False)


def convert(task: Task) -> Done:
    """Convert one image; raises what opening, fitting and writing raise, QualityError and LargerError."""
    settings = task.settings
    if task.output is not None and task.out_dir is None:
        refuse_links(task.output)
    with open_picture(task.path, max_pixels=settings.max_pixels) as picture:
        if picture.n_frames > 1:
            results, durations, unique = _animation(picture, task)
        else:
            results, durations = [_still(picture, task)], [0.0]
            unique = results[0].unique_colors
        errors = _together([result.error for result in results])
        if settings.require_de is not None and errors.de_mean > settings.require_de:
            reached = f"mean CIEDE2000 {errors.de_mean:.3f} is above --require-de {settings.require_de:g}"
            raise QualityError(
                f"{task.path}: {reached} with {len(results[0].palette)} colours; nothing is written", results[0].palette
            )
        size = None if task.output is None else _write(picture, task, results, durations)
        first = results[0]
        figures = {
            "input": task.path,
            "output": task.output,
            "width": picture.width,
            "height": picture.height,
            "frames": picture.n_frames,
            "unique_colors": unique,
            "colors": len(first.palette),
            **{name: value if np.isfinite(value) else None for name, value in asdict(errors).items()},
            "bytes_before": os.path.getsize(task.path),
            "bytes": size,
        }
        shown = _show(picture, first, figures, errors) if task.report else None
    palette = first.palette
    if task.palette is None:
        shares = first.counts / max(1, int(first.counts.sum()))
        known = {name: value for name, value in asdict(errors).items()}
        made = {"space": settings.space, "made_from": [os.path.basename(task.path)]}
        palette = Palette(palette.colors, shares, known, palette.name or _stem(task.path), {**palette.metadata, **made})
    return Done(figures, palette, shown)


def count(task: Task) -> Histogram:
    """The exact histogram of an image, or of all frames of an animation."""
    with open_picture(task.path, max_pixels=task.settings.max_pixels) as picture:
        return _histogram(picture, task)


def fit(histogram: Histogram, settings: Settings) -> Palette:
    """The palette that the settings ask for: of so many colours, or the smallest that meets the targets."""
    targets = {name: getattr(settings, name) for name in _TARGETS if getattr(settings, name) is not None}
    if targets:
        return smallest(histogram, settings.colors, **targets, **_search(settings))
    return fit_palette(histogram, settings.colors, **_search(settings))


def _search(settings: Settings) -> dict[str, Any]:
    options = {name: getattr(settings, name) for name in ("space", "chroma", "keep", "effort", "init", "device")}
    return options | {"random_state": settings.seed}


def _mapping(settings: Settings) -> dict[str, Any]:
    names = ("space", "chroma", "dither", "dither_level", "alpha", "background")
    return {name: getattr(settings, name) for name in names}


def _histogram(picture: Picture, task: Task) -> Histogram:
    """The colours of the image, or of all frames of an animation."""
    weights = _importance(task, picture)
    return Histogram().add(picture, weights, alpha=task.settings.alpha, background=task.settings.background)


def _still(picture: Picture, task: Task) -> Quantized:
    if task.palette is not None:
        return apply(picture, task.palette, **_mapping(task.settings))
    weights = _importance(task, picture)
    targets = {name: getattr(task.settings, name) for name in _TARGETS}
    options = _search(task.settings) | _mapping(task.settings) | targets
    return quantize(picture, task.settings.colors, importance=weights, **options)


def _animation(picture: Picture, task: Task) -> tuple[list[Quantized], list[float], int | None]:
    """The frames with one palette for all of them, or each with its own."""
    settings, palette, unique = task.settings, task.palette, None
    if palette is None and settings.frames == "shared":
        histogram = _histogram(picture, task)
        palette, unique = fit(histogram, settings), histogram.n_colors
    weights = _importance(task, picture) if palette is None else None
    results, durations = [], []
    for pixels, duration in picture.frames():
        own = palette
        if own is None:
            own = fit(Histogram().add(pixels, weights, alpha=settings.alpha, background=settings.background), settings)
        results.append(apply(pixels, own, **_mapping(settings)))
        durations.append(duration)
    return results, durations, unique


def _importance(task: Task, picture: Picture) -> NDArray[np.uint8] | None:
    path = task.importance
    if path is None:
        return None
    with open_picture(path, max_pixels=task.settings.max_pixels) as weights:
        if (weights.width, weights.height) != (picture.width, picture.height):
            theirs, own = f"{weights.width} x {weights.height}", f"{picture.width} x {picture.height}"
            raise ValueError(f"{path}: is {theirs}, the image {own}; the importance must be of the image's size")
        if weights.n_frames > 1:
            raise ValueError(f"{path}: has {weights.n_frames} frames; the importance must be one grey image")
        parts = []
        for strip in weights.strips():
            # a colour profile may leave grey off by rounding
            if (strip[..., 3:] != 255).any() or (np.ptp(strip[..., :3].astype(np.int16), axis=-1) > 2).any():
                raise ValueError(
                    f"{path}: has colours or transparent pixels; the importance must be an opaque grey image"
                )
            parts.append(strip[..., 0])
        return np.concatenate(parts)


def _write(picture: Picture, task: Task, results: list[Quantized], durations: list[float]) -> int:
    assert task.output is not None
    settings = task.settings
    if task.out_dir is not None:
        make_folder(task.output, task.out_dir)
    before = os.path.getsize(task.path)

    def accept(size: int) -> None:
        if settings.skip_if_larger and size >= before:
            raise LargerError(f"{task.path}: the result has {size} bytes, not fewer than the {before} of the file")

    return write_image(
        task.output,
        [Frame(one.indices, one.palette.colors, duration) for one, duration in zip(results, durations)],
        metadata=Metadata() if settings.strip else picture.metadata,
        loop=picture.loop,
        force=settings.force,
        accept=accept,
    )


def _show(picture: Picture, result: Quantized, figures: Mapping[str, Any], errors: Errors) -> Shown:
    if picture.n_frames > 1:
        strips: Iterator[NDArray[np.uint8]] = (pixels for pixels, _ in [next(picture.frames())])
    else:
        strips = picture.strips()
    table = {
        "mean CIEDE2000": f"{errors.de_mean:.3f}",
        "95th percentile": f"{errors.de_p95:.3f}",
        "greatest": f"{errors.de_max:.2f}",
        "MSE per channel": f"{errors.mse:.2f}",
        "PSNR": f"{errors.psnr:.2f} dB" if np.isfinite(errors.psnr) else "infinite",
        "colours": str(figures["colors"]),
        "bytes before": f"{figures['bytes_before']:,}",
    }
    if figures["unique_colors"] is not None:
        table["different colours before"] = f"{figures['unique_colors']:,}"
    if figures["bytes"] is not None:
        table["bytes"] = f"{figures['bytes']:,}"
    shares = Palette(result.palette.colors, result.counts / max(1, int(result.counts.sum())))
    return show(figures["input"], strips, result.indices, shares, table, errors.de_mean)


def _together(errors: list[Errors]) -> Errors:
    """Of frames: means of the means, the worst of the rest."""
    if len(errors) == 1:
        return errors[0]
    mse = float(np.mean([error.mse for error in errors]))
    de_mean = float(np.mean([error.de_mean for error in errors]))
    return Errors(mse, psnr(mse), de_mean, max(error.de_p95 for error in errors), max(error.de_max for error in errors))


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]
