"""Image files as strips of 8-bit sRGB pixels, whatever the file holds. Hostile files are refused safely.

A picture is decoded once by Pillow and handed out strip by strip: rotation, colour profile and conversion are done on
the strips, so that a large photo takes Pillow's own memory (4 bytes a pixel; 1 for grey and palettes) and little more.
"""

import os
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._extras import missing_extra
from gpukm._files import PathLike
from gpukm.color.profiles import to_srgb

# The formats Pillow may try on a file that nobody vouches for: common ones, with decoders that are looked after.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
ENDINGS = (".png", ".apng", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")

MAX_PIXELS = 1 << 28  # 268 megapixels, a GiB in Pillow; a small file can claim to be larger than any memory
MAX_FRAMES = 10_000
_STRIP_PIXELS = 1 << 21  # 6 or 8 MiB as an array
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N")  # grey of 16 bits
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", *_DEEP})
_limit = threading.Lock()  # Pillow's limit of pixels is one for the process

# EXIF orientation -> the name in PIL.Image.Transpose, whether rows are the file's columns, counted from its far end
_TURNS = {
    2: ("FLIP_LEFT_RIGHT", False, False),
    3: ("ROTATE_180", False, True),
    4: ("FLIP_TOP_BOTTOM", False, True),
    5: ("TRANSPOSE", True, False),
    6: ("ROTATE_270", True, False),
    7: ("TRANSVERSE", True, True),
    8: ("ROTATE_90", True, True),
}


class ImageError(ValueError):
    """The file is no image, is damaged, or is one that cannot be reduced to a palette; the message names it."""


@dataclass(frozen=True)
class Metadata:
    """What a file says of its picture and may be written again: EXIF (less the rotation, which is applied), XMP, dpi.

    The colour profile is not among it, because the pixels are in sRGB now.
    """

    exif: bytes = b""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None


class Picture:
    """An opened image; use it in a ``with`` statement, the outermost of which frees it.

    Attributes
    ----------
    name : str
        The file, as errors call it.
    width, height : int
        After the rotation that EXIF asks for.
    channels : int
        3, or 4 where the image may have transparent pixels.
    n_frames : int
        1, or the number of frames of an animation.
    metadata : Metadata
    """

    def __init__(self, image: Any, name: str) -> None:
        self.name, self._image, self._users = name, image, 0
        orientation = _orientation(image)
        turn, self._across, self._far = _TURNS.get(orientation, ("", False, False))
        self._turn = getattr(_pillow().Transpose, turn) if turn else None
        width, height = image.size
        self.width, self.height = (height, width) if self._across else (width, height)
        self.n_frames = (
            1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
        )  # an MPO file is a JPEG photo
        # Frames of an animation are laid over each other: whether a later one has holes is not known yet.
        self.channels = 4 if image.has_transparency_data or self.n_frames > 1 else 3
        self.metadata = _metadata(image, self._turn is not None)
        self.loop = _loop(image)  # how often an animation is played; 0 for ever
        self._profile = image.info.get("icc_profile")

    def __enter__(self) -> "Picture":
        self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        if self._users == 0:
            self._image.close()

    def strips(self, rows: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """The pixels from top to bottom, in arrays of shape (at most `rows`, width, channels)."""
        rows = rows or max(1, _STRIP_PIXELS // self.width)
        for start in range(0, self.height, rows):
            yield self._rows(start, min(start + rows, self.height))

    def array(self) -> NDArray[np.uint8]:
        """All pixels, of shape (height, width, channels)."""
        pixels = np.empty((self.height, self.width, self.channels), dtype=np.uint8)
        start = 0
        for strip in self.strips():
            pixels[start : start + len(strip)] = strip
            start += len(strip)
        return pixels

    def frames(self) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """Each frame, as `array` returns it, with the milliseconds it is shown. Can be gone through once."""
        for number in range(self.n_frames):
            with _decoding(self.name, f"frame {number + 1} of {self.n_frames}"):
                self._image.seek(number)
                self._image.load()
            yield self.array(), float(self._image.info.get("duration") or 0)

    def _rows(self, start: int, stop: int) -> NDArray[np.uint8]:
        width, height = self._image.size
        if self._far:
            start, stop = (width if self._across else height) - stop, (width if self._across else height) - start
        part = self._image.crop((start, 0, stop, height) if self._across else (0, start, width, stop))
        if self._turn is not None:
            part = part.transpose(self._turn)
        if part.mode in _DEEP:
            grey = (np.asarray(part).astype(np.uint32) * 255 + 32767) // 65535
            return np.repeat(grey.astype(np.uint8)[:, :, None], self.channels, axis=2)
        with _decoding(self.name, "its colours"):
            converted, problem = to_srgb(part, self._profile, "RGBA" if self.channels == 4 else "RGB")
        if problem is not None:
            self._profile = None
            warnings.warn(f"{self.name}: {problem}; its colours are taken as sRGB", stacklevel=2)
        return np.asarray(converted)


def open_picture(image: Any, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Open and decode an image file, or take an opened PIL image.

    Parameters
    ----------
    image : str, path or PIL.Image.Image
        PNG, JPEG, WebP, GIF, BMP, TIFF or PPM; the content decides, not the name. Grey, palettes, CMYK, 1 bit, 16 bits
        (reduced to 8, with a warning) and alpha are taken to 8-bit sRGB; a colour profile is converted.
    max_pixels : int, default=2**28
        What claims to have more is refused before it is decoded.

    Raises
    ------
    ImageError
        If it is no image of these formats, is damaged, too large, empty or of a kind without 8-bit colours.
    OSError
        If the file cannot be read.
    ImportError
        If Pillow is not installed.

    Warns
    -----
    UserWarning
        If 16 bits a channel are reduced to 8, or the colour profile cannot be used.
    """
    if not isinstance(image, str | os.PathLike):
        _check(image, "image", max_pixels)
        copied = image.copy()  # closing it must not close the caller's
        copied.format, copied.n_frames = image.format, 1
        return Picture(copied, "image")
    name = os.fspath(image)
    if os.path.isdir(image):
        raise IsADirectoryError(f"{name}: is a folder; give the name of an image file")
    if not os.path.exists(image):
        raise FileNotFoundError(f"{name}: no such file")
    if not os.path.isfile(image):
        raise OSError(f"{name}: is not a regular file")
    opened = _open(image, name)
    try:
        is_deep = _check(opened, name, max_pixels)
        with _decoding(name, "the image"):
            opened.load()
            picture = Picture(opened, name)
    except BaseException:
        opened.close()
        raise
    if is_deep:
        warnings.warn(f"{name}: has 16 bits a channel; they are reduced to 8", stacklevel=2)
    return picture


def load_colors(path: PathLike) -> NDArray[np.uint8]:
    """The colours of an image of at most 256: in the order of its palette, those in use, else as they first occur."""
    with open_picture(path) as picture:
        if picture._image.mode == "P" and picture._profile is None and picture.n_frames == 1:
            used = np.unique(np.asarray(picture._image))
            mode = "RGBA" if picture.channels == 4 else "RGB"
            entries = picture._image.im.getpalette("RGB", "RGB")
            if len(used) and int(used[-1]) * 3 >= len(entries):
                raise ImageError(f"{path}: has pixels beyond its palette; the file is damaged")
            row = _pillow().new("P", (len(used), 1))
            row.putdata(used.tolist())
            row.putpalette(entries)
            row.info = dict(picture._image.info)
            return np.asarray(row.convert(mode))[0]
        found: dict[tuple[int, ...], None] = {}
        for strip in picture.strips(rows=max(1, (1 << 16) // picture.width)):
            pixels = strip.reshape(-1, picture.channels)
            changes = np.concatenate([[True], (pixels[1:] != pixels[:-1]).any(axis=1)])
            found |= dict.fromkeys(map(tuple, pixels[changes].tolist()))
            if len(found) > 256:
                raise ImageError(f"{path}: has more than 256 colours, so it is no palette; make one by gpukm palette")
    return np.array(list(found), dtype=np.uint8)


def _pillow() -> Any:
    try:
        import PIL.Image
    except ImportError:
        raise missing_extra("Pillow", "image", "reading and writing images") from None
    return PIL.Image


class _decoding:
    """Pillow at work on a file: whatever it raises becomes an ImageError, whatever it warns of is not for the user."""

    def __init__(self, name: str, part: str) -> None:
        self.name, self.part, self._warnings = name, part, warnings.catch_warnings()

    def __enter__(self) -> None:
        self._warnings.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        self._warnings.__exit__(kind, error, trace)
        # Decoders raise whatever a broken byte leads to: struct.error, KeyError, zlib.error, SyntaxError, ...
        if isinstance(error, Exception) and not isinstance(error, MemoryError | ImageError):
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ImageError(f"{self.name}: {self.part} cannot be read ({reason}); the file may be damaged") from None


def _open(path: PathLike, name: str) -> Any:
    """Read the header of the file, with a limit that is ours instead of Pillow's (which stops at 179 megapixels)."""
    module = _pillow()
    with _limit:
        before, module.MAX_IMAGE_PIXELS = module.MAX_IMAGE_PIXELS, None
        try:
            with _decoding(name, "its header"):
                try:
                    return module.open(path, formats=FORMATS)
                except module.UnidentifiedImageError:
                    listed = ", ".join(FORMATS)
                    raise ImageError(f"{name}: not an image, damaged, or not one of {listed}") from None
                except OSError as error:
                    if error.errno is None:
                        raise
                    unreadable = error
        finally:
            module.MAX_IMAGE_PIXELS = before
    raise OSError(unreadable.errno, unreadable.strerror, name)


def _check(image: Any, name: str, max_pixels: int) -> bool:
    """Raise unless it is of a size and kind that can be decoded; return whether it has 16 bits a channel."""
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: is {width} x {height}, so it has no pixels")
    if width * height > max_pixels:
        size = f"{width} x {height} = {width * height / 1e6:.0f} megapixels"
        raise ImageError(f"{name}: is {size}, more than the {max_pixels / 1e6:.0f} allowed (--max-megapixels)")
    if image.mode not in _MODES:
        raise ImageError(f"{name}: its pixels are of mode {image.mode}, not 8 or 16 bits a channel; convert it to RGB")
    with _decoding(name, "its frames"):
        frames = getattr(image, "n_frames", 1)
        if image.format in ("TIFF", "PPM") and frames > 1:
            raise ImageError(f"{name}: has {frames} pages; save the one you want as a picture of its own")
        if frames > MAX_FRAMES:
            raise ImageError(f"{name}: has {frames} frames, more than {MAX_FRAMES}")
    # Pillow's own modes of colour have 8 bits; how many the file has is known by the decoder only
    return image.mode in _DEEP or any("16" in str(tile[-1]) for tile in getattr(image, "tile", ()))


def _loop(image: Any) -> int:
    loop = image.info.get("loop")
    if image.format != "GIF":
        return loop if isinstance(loop, int) else 0
    return 1 if loop is None else loop + 1 if loop else 0  # GIF counts the repetitions


def _orientation(image: Any) -> int:
    try:
        value = image.getexif().get(0x0112, 1)
    except Exception:  # EXIF is read by the same kind of code as images, and is broken as often; it is not the picture
        return 1
    return value if isinstance(value, int) else 1


def _metadata(image: Any, turned: bool) -> Metadata:
    try:
        exif = image.getexif()
        exif.pop(0x0112, None)
        content = exif.tobytes() if len(exif) else b""
    except Exception:
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
