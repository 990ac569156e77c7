"""Colour profiles (ICC): pixels of a PIL image converted to sRGB by LittleCMS, which Pillow brings."""

import io
from functools import lru_cache
from typing import Any

import numpy as np


def to_srgb(image: Any, profile: bytes | None, mode: str) -> tuple[Any, str | None]:
    """`image` in `mode`, "RGB" or "RGBA", in sRGB; and what was wrong with the profile, or None.

    Relative colorimetric with black point compensation, as usual for photographs. A profile that is sRGB within one
    level is passed over, so that a picture tagged as sRGB has the bytes of one without a tag.
    """
    if not profile:
        return image.convert(mode), None
    space, problem = _space(profile)
    grey = image.mode in ("1", "L", "LA")
    fits = {"RGB": image.mode != "CMYK", "GRAY": grey, "CMYK": image.mode == "CMYK"}.get(space, False)
    if problem is None and not fits:
        problem = f"its colour profile is for {space}, its pixels are {image.mode}"
    if problem is not None:
        return image.convert(mode), problem
    if space == "RGB":  # for palettes and grey, too
        converted = image.convert(mode)
        transform, problem = _transform(profile, mode, mode)
        return (converted if transform is None else _apply(transform, converted)), problem
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    plain = image.convert("L") if grey else image
    transform, problem = _transform(profile, plain.mode, "RGB")
    if transform is None:
        return image.convert(mode), problem
    converted = _apply(transform, plain)
    if alpha is not None:
        converted.putalpha(alpha)
    return converted.convert(mode), None


def _apply(transform: Any, image: Any) -> Any:
    from PIL import ImageCms

    return ImageCms.applyTransform(image, transform)


@lru_cache(maxsize=8)
def _space(profile: bytes) -> tuple[str, str | None]:
    """The colour space that the profile describes, and why it cannot be read, or None."""
    from PIL import ImageCms

    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip(), None
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError) as error:  # ImportError: no LittleCMS
        return "", _reason(error)


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str, target: str) -> tuple[Any, str | None]:
    """The transform to sRGB, or None where there is nothing to do; and why it cannot be had, or None."""
    from PIL import Image, ImageCms

    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            target,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, ImportError, OSError, ValueError, TypeError) as error:  # ImportError: no LittleCMS
        return None, _reason(error)
    if mode == target:
        levels = np.linspace(0, 255, 18).round().astype(np.uint8)
        grid = np.stack(np.meshgrid(*[levels] * 3), axis=-1).reshape(18, -1, 3)
        probe = Image.fromarray(grid).convert(mode)
        difference = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int) - np.asarray(probe)
        if np.abs(difference).max() <= 1:
            return None, None
    return transform, None


def _reason(error: Exception) -> str:
    return f"its colour profile cannot be used ({' '.join(str(error).split()) or 'damaged'})"
