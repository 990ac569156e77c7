"""Colour spaces in which Euclidean distance stands for difference: sRGB to and from each, and CIEDE2000.

Everything is NumPy float64, on the few different colours of an image. Coordinates are then rounded to `QUANTUM`, so
that the last bits of a platform's cube root or logarithm do not reach k-means: the same bytes come out everywhere.

Each space has black at (0, 0, 0) and a scale on which lightness runs from 0 to about 100 (sRGB and linear: 0 to 255).

References
----------
IEC 61966-2-1:1999 (sRGB); CIE 15:2004 (L*a*b*, white D65); Ottosson 2020 (Oklab); Cui, Luo, Rigg, Roesner & Witt 2002,
Color Research & Application 27 (DIN99b); Sharma, Wu & Dalal 2005, ibid. 30 (CIEDE2000).
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpukm._threads import available_threads, run_blocks

Floats = NDArray[np.float64]
Result = TypeVar("Result")

AT_ONCE = 1 << 14  # colours that a thread converts or compares at once: some 30 temporaries of 128 KiB

SPACES = ("oklab", "srgb", "din99", "lab", "linear")
CHROMA = {"oklab": 2.0}  # weight of a and b unless given: the knee of measured CIEDE2000 against lost MSE
QUANTUM = 2.0**-14

_TO_XYZ = np.array(
    [
        [0.4123907992659595, 0.35758433938387796, 0.1804807884018343],
        [0.21263900587151036, 0.7151686787677559, 0.07219231536073371],
        [0.01933081871559185, 0.11919477979462599, 0.9505321522496607],
    ]
)
_FROM_XYZ = np.linalg.inv(_TO_XYZ)
_WHITE = _TO_XYZ.sum(axis=1)  # so that greys have a = b = 0

_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_FROM_LMS, _FROM_OKLAB = np.linalg.inv(_TO_LMS), np.linalg.inv(_TO_OKLAB)

_EPSILON, _KAPPA = 216 / 24389, 24389 / 27  # CIE's, as fractions
_COS26, _SIN26 = np.cos(np.deg2rad(26.0)), np.sin(np.deg2rad(26.0))


def embed(colors: NDArray[Any], space: str, chroma: float | None = None) -> NDArray[np.float32]:
    """Coordinates of colours in `space`, rounded to multiples of `QUANTUM`, which float32 holds exactly.

    Parameters
    ----------
    colors : (n, 3) uint8, uint16, or floats in units of an 8-bit level, 0 to 255
    space : one of `SPACES`
    chroma : factor for the two colour axes of oklab, lab and din99; None for the space's own
    """
    coordinates = forward(levels(colors), space)
    if space not in ("srgb", "linear"):
        coordinates[:, 1:] *= CHROMA.get(space, 1.0) if chroma is None else chroma
    coordinates /= QUANTUM
    np.rint(coordinates, out=coordinates)
    coordinates *= QUANTUM
    return coordinates.astype(np.float32)


def unembed(coordinates: NDArray[Any], space: str, chroma: float | None = None) -> Floats:
    """(n, 3) float64 sRGB levels, 0 to 255, of coordinates made by `embed`; those outside the cube are clipped."""
    values = np.array(coordinates, dtype=np.float64)
    if space not in ("srgb", "linear"):
        values[:, 1:] /= CHROMA.get(space, 1.0) if chroma is None else chroma
    clipped: Floats = np.clip(inverse(values, space), 0.0, 255.0)
    return clipped


def levels(colors: NDArray[Any]) -> Floats:
    """Colours in units of an 8-bit level, float64: 16-bit values are divided by 257."""
    colors = np.asarray(colors)
    return colors / 257.0 if colors.dtype == np.uint16 else colors.astype(np.float64)


def forward(srgb: Floats, space: str) -> Floats:
    """(n, 3) coordinates, without chroma weight, of sRGB levels 0 to 255."""
    if space == "srgb":
        return srgb.copy()
    light = linear_light(srgb / 255)
    if space == "linear":
        return light * 255
    if space == "oklab":
        return _times(_TO_OKLAB, np.cbrt(_times(_TO_LMS, light))) * 100
    lab = _lab(light)
    return lab if space == "lab" else _din99b(lab)


def inverse(coordinates: Floats, space: str) -> Floats:
    """sRGB levels of coordinates without chroma weight; beyond 0 to 255 where the colour is outside of sRGB."""
    if space == "srgb":
        return coordinates.copy()
    if space == "linear":
        light = coordinates / 255
    elif space == "oklab":
        light = _times(_FROM_LMS, _times(_FROM_OKLAB, coordinates / 100) ** 3)
    else:
        light = _from_lab(coordinates if space == "lab" else _from_din99b(coordinates))
    return companded(light) * 255


def linear_light(srgb: Floats) -> Floats:
    """Linear light 0 to 1 of sRGB values 0 to 1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0.04045) + 0.055) / 1.055) ** 2.4)


def companded(light: Floats) -> Floats:
    """sRGB values 0 to 1 of linear light 0 to 1."""
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * np.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055)


def lab_of(colors: NDArray[Any]) -> Floats:
    """(n, 3) CIE L*a*b* (D65) of sRGB colours, as `embed` takes them."""
    return forward(levels(colors), "lab")


def _times(matrix: Floats, rows: Floats) -> Floats:
    """rows @ matrix.T, each product and sum rounded in one order: a matrix product differs from BLAS to BLAS."""
    columns = [rows[:, 0] * a + rows[:, 1] * b + rows[:, 2] * c for a, b, c in matrix.tolist()]
    return np.stack(columns, axis=1)


def _lab(light: Floats) -> Floats:
    ratio = _times(_TO_XYZ, light) / _WHITE
    f = np.where(ratio > _EPSILON, np.cbrt(ratio), (_KAPPA * ratio + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def _from_lab(lab: Floats) -> Floats:
    y = (lab[:, 0] + 16) / 116
    f = np.stack([y + lab[:, 1] / 500, y, y - lab[:, 2] / 200], axis=1)
    ratio = np.where(f**3 > _EPSILON, f**3, (116 * f - 16) / _KAPPA)
    return _times(_FROM_XYZ, ratio * _WHITE)


def _din99b(lab: Floats) -> Floats:
    e = lab[:, 1] * _COS26 + lab[:, 2] * _SIN26
    f = 0.83 * (lab[:, 2] * _COS26 - lab[:, 1] * _SIN26)
    radius = np.hypot(e, f)
    chroma = 23.0 * np.log1p(0.066 * radius)
    hue = np.arctan2(f, e) + np.deg2rad(26.0)
    return np.stack([303.67 * np.log1p(0.0039 * lab[:, 0]), chroma * np.cos(hue), chroma * np.sin(hue)], axis=1)


def _from_din99b(coordinates: Floats) -> Floats:
    radius = np.expm1(np.hypot(coordinates[:, 1], coordinates[:, 2]) / 23.0) / 0.066
    hue = np.arctan2(coordinates[:, 2], coordinates[:, 1]) - np.deg2rad(26.0)
    e, f = radius * np.cos(hue), radius * np.sin(hue) / 0.83
    lightness = np.expm1(coordinates[:, 0] / 303.67) / 0.0039
    return np.stack([lightness, e * _COS26 - f * _SIN26, e * _SIN26 + f * _COS26], axis=1)


def ciede2000(lab1: Floats, lab2: Floats) -> Floats:
    """(n,) CIEDE2000 differences of two (n, 3) arrays of CIE L*a*b*, with all weights 1."""
    L1, a1, b1 = lab1.T
    L2, a2, b2 = lab2.T
    mean7 = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(mean7 / (mean7 + 25.0**7))
    a1, a2 = a1 * stretch, a2 * stretch
    C1, C2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360, np.degrees(np.arctan2(b2, a2)) % 360
    grey = C1 * C2 == 0
    turn = np.where(grey, 0.0, (h2 - h1 + 180) % 360 - 180)
    turn = np.where(h2 - h1 == 180, 180.0, turn)
    dL, dC, dH = L2 - L1, C2 - C1, 2 * np.sqrt(C1 * C2) * np.sin(np.radians(turn) / 2)

    L, C = (L1 + L2) / 2, (C1 + C2) / 2
    apart = np.abs(h1 - h2) > 180
    h = np.where(grey, h1 + h2, np.where(apart, (h1 + h2 + np.where(h1 + h2 < 360, 360, -360)) / 2, (h1 + h2) / 2))
    T = 1 - 0.17 * _cos(h - 30) + 0.24 * _cos(2 * h) + 0.32 * _cos(3 * h + 6) - 0.20 * _cos(4 * h - 63)
    S_L = 1 + 0.015 * (L - 50) ** 2 / np.sqrt(20 + (L - 50) ** 2)
    S_C, S_H = 1 + 0.045 * C, 1 + 0.015 * C * T
    R_C = 2 * np.sqrt(C**7 / (C**7 + 25.0**7))
    R_T = -np.sin(np.radians(60 * np.exp(-(((h - 275) / 25) ** 2)))) * R_C
    light, c, H = dL / S_L, dC / S_C, dH / S_H
    difference: Floats = np.sqrt(np.maximum(light * light + c * c + H * H + R_T * c * H, 0.0))
    return difference


def differences(colors: NDArray[Any], entries: NDArray[Any], labels: NDArray[Any]) -> Floats:
    """(n,) CIEDE2000 differences of colours (n, 3) and the entries (k, 3) that `labels` (n,) names."""
    theirs, found = lab_of(entries), np.empty(len(colors))

    def compare(part: slice) -> None:
        found[part] = ciede2000(lab_of(colors[part]), theirs[labels[part]])

    in_parts(compare, len(colors))
    return found


def in_parts(task: Callable[[slice], Result], count: int) -> list[Result]:
    """[task(part) for each part of `count` colours, AT_ONCE of them], on the threads."""

    def run(index: int) -> Result:
        return task(slice(index * AT_ONCE, min((index + 1) * AT_ONCE, count)))

    return run_blocks(run, -(-count // AT_ONCE), available_threads())


def _cos(degrees: Floats) -> Floats:
    cosine: Floats = np.cos(np.radians(degrees))
    return cosine
