"""What people pass as an image, as strips of 8- or 16-bit sRGB pixels; what becomes of alpha."""

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gpukm._arrays import cuda_device, is_array, to_numpy
from gpukm.color.palette import parse_hex
from gpukm.kernels import cuda_works

STRIP_PIXELS = 1 << 19
UNIT = 255  # the weight of a pixel for which no importance is given: importance 1 is 255
ALPHA = ("keep", "flatten", "threshold")


class Pixels(Protocol):
    """An image that can be gone through several times: an opened file, or an array."""

    width: int
    height: int

    def strips(self) -> Iterator[NDArray[Any]]:
        """The pixels from top to bottom, in arrays of shape (rows, width, 3 or 4)."""
        ...


class ArrayPixels:
    """An array as an image.

    Parameters
    ----------
    image : array of shape (height, width, 3 or 4), or (height, width) for grey: uint8, uint16, or floats from 0 to 1,
    which
        are rounded to 16 bits; of any array library and device.

    Raises
    ------
    ValueError
        If it is of another shape or dtype, has no pixels, or floats that are not from 0 to 1.
    """

    def __init__(self, image: Any) -> None:
        pixels = np.asarray(to_numpy(image) if is_array(image) else image)
        known = pixels.dtype.kind == "f" or (pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2)
        if not known or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
            raise ValueError(
                f"image has shape {pixels.shape} and dtype {pixels.dtype}; it must be a file name, a PIL image, or an "
                "array of shape (height, width, 3 or 4), or (height, width) for grey, of uint8, uint16 or floats from "
                "0 to 1"
            )
        if pixels.size == 0:
            raise ValueError(f"image has shape {pixels.shape}: no pixels")
        if pixels.ndim == 2:
            pixels = np.broadcast_to(pixels[:, :, None], (*pixels.shape, 3))
        self._pixels = pixels
        self.height, self.width = pixels.shape[:2]

    def strips(self) -> Iterator[NDArray[Any]]:
        """The pixels from top to bottom; see `Pixels`."""
        rows = max(1, STRIP_PIXELS // self.width)
        for start in range(0, self.height, rows):
            strip = self._pixels[start : start + rows]
            yield _from_floats(strip) if strip.dtype.kind == "f" else strip.astype(strip.dtype.newbyteorder("="))


def _from_floats(strip: NDArray[Any]) -> NDArray[np.uint16]:
    if not ((strip >= 0) & (strip <= 1)).all():  # NaN fails, too
        raise ValueError("image has floats that are not from 0 to 1; divide by the greatest value that there can be")
    return np.rint(strip.astype(np.float64) * 65535).astype(np.uint16)


def open_pixels(image: Any) -> AbstractContextManager[Pixels]:
    """A file name, a PIL image or an array as an image, for a ``with`` statement, which closes what was opened here."""
    if isinstance(image, str | os.PathLike) or type(image).__module__.partition(".")[0] == "PIL":
        from gpukm.color.load import open_picture

        return open_picture(image)
    if hasattr(image, "strips") and hasattr(image, "width"):
        return nullcontext(image)
    return nullcontext(ArrayPixels(image))


def frames_of(pixels: Pixels) -> Iterator[Pixels]:
    """The frames of an animation, one after the other; of any other image the image itself."""
    if n_frames(pixels) == 1:
        yield pixels
        return
    for frame, _ in pixels.frames():  # type: ignore[attr-defined]
        yield ArrayPixels(frame)


def single_frame(pixels: Pixels, command: str) -> Pixels:
    """The image; of an animation the frame it is at, with a warning that names the command for animations."""
    count = n_frames(pixels)
    if count == 1:
        return pixels
    warnings.warn(
        f"{pixels.name}: is an animation of {count} frames, of which one alone is returned here; `gpukm {command}` "  # type: ignore[attr-defined]
        "converts all of them, Histogram().add counts all of them, and an array or a PIL image of one frame "
        "(image.copy()) has no others",
        stacklevel=3,
    )
    return ArrayPixels(pixels.array())  # type: ignore[attr-defined]


def n_frames(pixels: Pixels) -> int:
    """1 but for animations."""
    return int(getattr(pixels, "n_frames", 1))


def rgb_device(image: Any) -> int | None:
    """The number of the CUDA device on which an array of opaque 8-bit pixels (height, width, 3) can be counted."""
    number = cuda_device(image)
    if number is None or not cuda_works() or str(image.dtype).rpartition(".")[2] != "uint8":
        return None
    shape = tuple(image.shape)
    return number if len(shape) == 3 and shape[2] == 3 and 0 not in shape else None


class Alpha:
    """What becomes of alpha: "keep" it, "flatten" the image on a background, or "threshold" it at one half."""

    def __init__(self, mode: str = "keep", background: str = "#ffffff") -> None:
        if mode not in ALPHA:
            raise ValueError(f"alpha is {mode!r}; it may be {', '.join(map(repr, ALPHA))}")
        self.mode, self.background = mode, parse_hex(background)
        if len(self.background) != 3:
            raise ValueError(f"background is {background!r}, which has alpha; give an opaque colour, as '#ffffff'")

    def apply(self, strip: NDArray[Any]) -> NDArray[Any]:
        """The strip without an alpha channel where it is opaque; invisible colours become 0."""
        if strip.shape[-1] == 3:
            return strip
        top = np.iinfo(strip.dtype).max
        alpha = strip[..., 3:]
        if self.mode == "threshold":
            alpha = np.where(alpha > top // 2, top, 0).astype(strip.dtype)
        elif self.mode == "flatten" and not (alpha == top).all():
            behind = np.array(self.background, np.uint64) * np.uint64(top // 255)
            weight = alpha.astype(np.uint64)
            mixed = strip[..., :3] * weight + behind * (top - weight)
            return ((mixed + top // 2) // top).astype(strip.dtype)
        if (alpha == top).all():
            return strip[..., :3]
        return np.concatenate([np.where(alpha == 0, 0, strip[..., :3]), alpha], axis=-1).astype(strip.dtype, copy=False)


def check_importance(importance: Any, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Importance as integers from 0 to 255; raises ValueError unless it is one for an image of (height, width)."""
    values = np.asarray(importance)
    if values.shape != shape:
        raise ValueError(f"importance has shape {values.shape}; the image has {shape} (height, width)")
    if values.dtype == bool:
        return values.astype(np.int64) * UNIT
    if values.dtype == np.uint8:
        return values.astype(np.int64)
    if values.dtype.kind != "f" or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            f"importance has dtype {values.dtype}; it must be uint8, bool, or floats from 0 to 1 without NaN"
        )
    return np.rint(values * UNIT).astype(np.int64)
