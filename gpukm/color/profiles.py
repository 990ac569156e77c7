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
    if image.mode in ("CMYK", "L"):
        transform, problem = _transform(profile, image.mode, "RGB")
        if transform is not None:
            with_alpha = image.info.get("transparency") is not None
            alpha = image.convert("RGBA").getchannel("A") if with_alpha else None
            image = _apply(transform, image)
            if alpha is not None:
                image.putalpha(alpha)
        return image.convert(mode), problem
    converted = image.convert(mode)
    if image.mode == "LA":
        transform, problem = _transform(profile, "L", "RGB")
        if transform is not None:
            grey = _apply(transform, image.getchannel("L"))
            grey.putalpha(image.getchannel("A"))
            converted = grey.convert(mode)
        return converted, problem
    transform, problem = _transform(profile, mode, mode)
    return (converted if transform is None else _apply(transform, converted)), problem


def _apply(transform: Any, image: Any) -> Any:
    from PIL import ImageCms

    return ImageCms.applyTransform(image, transform)


@lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str, target: str) -> tuple[Any, str | None]:
    """The transform to sRGB, or None where there is nothing to do; and why it cannot be had, or None."""
    from PIL import Image, ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            target,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        return None, f"its colour profile cannot be used ({reason or 'damaged'})"
    if mode == target:
        levels = np.linspace(0, 255, 18).round().astype(np.uint8)
        grid = np.stack(np.meshgrid(*[levels] * 3), axis=-1).reshape(18, -1, 3)
        probe = Image.fromarray(grid).convert(mode)
        difference = np.asarray(ImageCms.applyTransform(probe, transform)).astype(int) - np.asarray(probe)
        if np.abs(difference).max() <= 1:
            return None, None
    return transform, None
