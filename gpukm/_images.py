"""Image files as pixels, and back. The only file that imports Pillow."""

import os
import struct
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpukm._extras import missing_extra
from gpukm._files import PathLike, atomic_write, check_target

# The formats Pillow may try on a file that nobody vouches for: common ones, with decoders that are looked after.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")

# What Pillow's decoders raise for broken files.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, struct.error)

_OPAQUE_MODES = frozenset({"1", "L", "P", "RGB", "CMYK", "YCbCr"})
_ALPHA_MODES = frozenset({"RGBA", "LA", "PA"})


class UnusableImageError(ValueError):
    """A readable image of a kind that has no palette of 8-bit colours."""


class Pixels(NamedTuple):
    """An image as k-means sees it."""

    values: NDArray[np.uint8]  # (height, width, 3)
    icc_profile: bytes | None


def read_pixels(image: Any, background: str | None) -> Pixels:
    """The pixels of a file, a PIL image or an array; transparent ones laid on `background`, "#rrggbb"."""
    color = None if background is None else _parse_hex(background)
    if isinstance(image, str | os.PathLike):
        return _read_file(image, color)
    if type(image).__module__.partition(".")[0] == "PIL":
        _check_kind(image, "image")
        return _from_pillow(image, "image", color)
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise ValueError(
            f"image has shape {pixels.shape} and dtype {pixels.dtype}; it must be a file name, a PIL image, or a uint8 "
            "array of shape (height, width, 3), or (height, width) for grey"
        )
    if pixels.size == 0:
        raise ValueError(f"image has shape {pixels.shape}: no pixels")
    if pixels.ndim == 2:
        pixels = np.broadcast_to(pixels[:, :, None], (*pixels.shape, 3))
    return Pixels(_flatten(pixels, "image", color), None)


def _read_file(path: PathLike, background: NDArray[np.int64] | None) -> Pixels:
    image_module = _pillow()
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path}: is a folder; give the name of an image file")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", image_module.DecompressionBombWarning)
            with image_module.open(path, formats=FORMATS) as image:
                _check_kind(image, str(path))  # before load(), which forgets how many bits a channel has in the file
                image.load()
    except UnusableImageError:
        raise
    except (image_module.DecompressionBombWarning, image_module.DecompressionBombError):
        limit = f"{image_module.MAX_IMAGE_PIXELS:,} pixels"
        raise ValueError(f"{path}: has more than {limit}, the most Pillow decodes safely; scale it down") from None
    except image_module.UnidentifiedImageError:
        raise ValueError(f"{path}: not an image, or not one of {', '.join(FORMATS)}") from None
    except _DAMAGED as error:
        raise ValueError(f"{path}: the image cannot be read ({error}); it may be cut short") from None
    return _from_pillow(image, str(path), background)


def _check_kind(image: Any, name: str) -> None:
    """Raise unless it is one picture of 8 bits a channel."""
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # an MPO file is a JPEG photo with extras behind it
        raise UnusableImageError(f"{name}: has {image.n_frames} frames; give one frame as a picture of its own")
    if image.mode not in _OPAQUE_MODES | _ALPHA_MODES:
        raise UnusableImageError(f"{name}: mode {image.mode} cannot be quantized; convert it to 8-bit RGB first")
    if any("16" in str(tile[-1]) for tile in getattr(image, "tile", [])):  # RGB;16B and the like: Pillow drops low bits
        raise UnusableImageError(f"{name}: has 16 bits a channel; convert it to 8-bit RGB first")


def _from_pillow(image: Any, name: str, background: NDArray[np.int64] | None) -> Pixels:
    from PIL import ImageOps

    profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P") else None
    image = ImageOps.exif_transpose(image)
    pixels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    return Pixels(_flatten(pixels, name, background), profile)


def _flatten(pixels: NDArray[np.uint8], name: str, background: NDArray[np.int64] | None) -> NDArray[np.uint8]:
    """Drop the alpha channel where it is opaque; else lay the image on the background, rounding to nearest."""
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3]
    if bool((alpha == 255).all()):
        return pixels[..., :3]
    if background is None:
        raise ValueError(
            f"{name}: has transparent pixels, which a palette cannot hold yet; give a colour to lay the image on, such "
            "as background='#ffffff' (--background '#ffffff')"
        )
    flat = np.empty((*alpha.shape, 3), dtype=np.uint8)
    for channel in range(3):
        blend = pixels[..., channel].astype(np.uint32) * alpha
        blend += np.uint32(background[channel]) * (255 - alpha.astype(np.uint32))
        flat[..., channel] = (2 * blend + 255) // 510
    return flat


def _pillow() -> Any:
    try:
        import PIL.Image
    except ImportError:
        raise missing_extra("Pillow", "image", "reading and writing images") from None
    return PIL.Image


def check_png_name(path: PathLike) -> None:
    """Raise ValueError unless the name ends in .png."""
    if not os.fspath(path).lower().endswith(".png"):
        raise ValueError(f"{path}: the name must end in .png, the only format written")


def write_png(
    path: PathLike, indices: NDArray[np.uint8], palette: NDArray[np.uint8], icc_profile: bytes | None, *, force: bool
) -> None:
    """Write a PNG with a palette, as `gpukm.quantize.Quantized.save` says; Pillow takes as few bits as it needs."""
    image_module = _pillow()
    check_png_name(path)
    check_target(path, force=force)
    image = image_module.fromarray(indices)
    image.putpalette(palette.tobytes(), "RGB")
    keep = {} if icc_profile is None else {"icc_profile": icc_profile}
    with atomic_write(path, force=force) as file:
        image.save(file, format="PNG", optimize=True, **keep)


def _parse_hex(color: str) -> NDArray[np.int64]:
    digits = str(color).removeprefix("#")
    if len(digits) != 6 or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
        raise ValueError(f"background is {color!r}; it must be a colour such as '#ffffff'")
    return np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)])
