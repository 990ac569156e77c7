"""Palettes for a quality that is asked for: the smallest that meets it, and the curve from size to error."""

from collections.abc import Iterable
from typing import Any

from gpukm.color.errors import Errors
from gpukm.color.fit import fit
from gpukm.color.histogram import Histogram
from gpukm.color.palette import Palette


class QualityError(ValueError):
    """No palette of the allowed size meets the target.

    Attributes
    ----------
    palette : Palette
        The best that was found, of the greatest allowed size.
    """

    def __init__(self, message: str, palette: Palette) -> None:
        super().__init__(message)
        self.palette = palette


def smallest(
    histogram: Histogram,
    max_colors: int = 256,
    *,
    target_de: float | None = None,
    target_de_p95: float | None = None,
    min_psnr: float | None = None,
    **options: Any,
) -> Palette:
    """The palette with the fewest colours, up to `max_colors`, that meets all targets.

    Sizes are tried by bisection on the same histogram, as if the error never rose with the size; where it does, by a
    little, a slightly smaller palette may meet the targets too.

    Parameters
    ----------
    histogram : Histogram
    max_colors : int, default=256
    target_de, target_de_p95 : float, optional
        The mean CIEDE2000, and the value that 95 % of the pixels do not exceed, must be at most this.
    min_psnr : float, optional
        The peak signal-to-noise ratio must be at least this, in decibels.
    **options
        Those of `gpukm.color.fit.fit`.

    Raises
    ------
    QualityError
        If `max_colors` are too few.
    ValueError
        If no target is given, one is not a positive number, or for an option that is not allowed.
    """
    targets = {"target_de": target_de, "target_de_p95": target_de_p95, "min_psnr": min_psnr}
    check_targets(targets)

    def met(palette: Palette) -> bool:
        errors = palette.errors
        return (
            (target_de is None or errors["de_mean"] <= target_de)
            and (target_de_p95 is None or errors["de_p95"] <= target_de_p95)
            and (min_psnr is None or errors.get("psnr", float("inf")) >= min_psnr)  # infinite ones are left out
        )

    best = fit(histogram, max_colors, **options)
    if not met(best):
        reached = f"mean CIEDE2000 {best.errors['de_mean']:.3f}, 95 % within {best.errors['de_p95']:.3f}"
        wanted = ", ".join(f"{name}={value}" for name, value in targets.items() if value is not None)
        raise QualityError(
            f"{len(best)} colours reach {reached}, PSNR {best.errors.get('psnr', float('inf')):.2f} dB, which does not "
            f"meet {wanted}; allow more colours, or ask for less",
            best,
        )
    too_few, enough = 0, len(best)
    while enough - too_few > 1:
        size = (too_few + enough) // 2
        try:
            palette = fit(histogram, size, **options)
        except ValueError:  # no room for the colours to keep
            too_few = size
            continue
        if met(palette):
            best, enough = palette, size
        else:
            too_few = size
    return best


def check_targets(targets: dict[str, float | None]) -> None:
    """Raise ValueError unless some target is given, and all that are are positive numbers."""
    if all(value is None for value in targets.values()):
        raise ValueError(f"no target is given; set one of {', '.join(targets)}")
    for name, value in targets.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and 0 < value < float("inf")):
            raise ValueError(f"{name} is {value!r}; it must be a positive number")


def curve(
    histogram: Histogram, sizes: Iterable[int] = (2, 4, 8, 16, 32, 64, 128, 256), **options: Any
) -> list[tuple[int, Errors]]:
    """[(size, errors of the palette of that size), …], without dithering; the options are those of a fit."""
    points = []
    for size in sizes:
        palette = fit(histogram, size, **options)
        points.append((size, Errors.of(palette)))
    return points
