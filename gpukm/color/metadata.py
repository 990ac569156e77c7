"""What an image file says of its picture: EXIF, XMP, dpi, how it is turned, how often an animation is played."""

from dataclasses import dataclass
from typing import Any

_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Metadata:
    """What may be written again: EXIF (less the rotation, which is applied), XMP, dpi.

    The colour profile is not among it, because the pixels are in sRGB now.
    """

    exif: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None


def read_metadata(image: Any, *, turned: bool, exif: bool = True) -> Metadata:
    """The metadata of an opened PIL image; damaged parts are left out.

    `turned` says that a rotation is applied. Without `exif`, EXIF is not looked for, which may decode the image.
    """
    content = b""
    if exif:
        try:
            found = image.getexif()
            found.pop(_ORIENTATION, None)
            content = found.tobytes() if len(found) else b""
        except Exception:  # EXIF is read by the same kind of code as images, and broken as often; it is not the picture
            content = b""
    xmp = image.info.get("xmp", b"")
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    dpi = image.info.get("dpi")
    try:
        dpi = (float(dpi[0]), float(dpi[1]))
    except (TypeError, ValueError, LookupError, ArithmeticError):
        dpi = None
    if dpi is not None and not (0 < dpi[0] < 1e6 and 0 < dpi[1] < 1e6):
        dpi = None
    # XMP may repeat the rotation in ways that only an XML editor can undo
    return Metadata(content, b"" if turned or not isinstance(xmp, bytes) else xmp, dpi)


def orientation(image: Any) -> int:
    """1 to 8, as EXIF has it; 1, as the pixels are, where it says nothing."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:
        return 1
    return value if isinstance(value, int) else 1


def loops(image: Any) -> int:
    """How often an animation is played; 0 for ever."""
    loop = image.info.get("loop")
    if image.format != "GIF":
        return loop if isinstance(loop, int) else 0
    return 1 if loop is None else loop + 1 if loop else 0  # GIF counts the repetitions
