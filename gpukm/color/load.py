"""Image files as strips of 8-bit sRGB pixels, whatever the file holds. Hostile files are refused safely.

A picture is decoded once by Pillow and handed out strip by strip: rotation, colour profile and conversion are done on
the strips. A large PNG is decoded by rows; another large picture is put into a temporary file once it is decoded.
"""

import math
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._extras import missing_extra
from gpukm._files import PathLike
from gpukm.color.metadata import loops, orientation, read_metadata
from gpukm.color.pixels import frames_of
from gpukm.color.png_rows import Header, read_rows, row_header
from gpukm.color.profiles import to_srgb

# The formats Pillow may try on a file that nobody vouches for: common ones, with decoders that are looked after.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
ENDINGS = (".png", ".apng", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")

MAX_PIXELS = 1 << 28  # 268 megapixels, a GiB in Pillow; a small file can claim to be larger than any memory
MAX_FRAMES = 10_000
_IN_ALL = 4  # times the pixels of one image that all frames of an animation may have
_STRIP_PIXELS = 1 << 19  # 2 MiB in Pillow; a strip is in memory several times, as pixels, keys and positions
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N")  # grey of 16 bits
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", *_DEEP})
_ONE_BYTE = ("1", "L", "P")  # modes that take a byte a pixel in Pillow, others take 4
_LARGE = 1 << 25  # pixels from which on memory is saved: decoded by rows, or kept in a file; 128 MiB in Pillow
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

    def __init__(self, image: Any, name: str, png: Header | None = None, sequence: Any = None) -> None:
        self.name, self._image, self._png, self._users = name, image, png, 0
        self._sequence = image if sequence is None else sequence  # which is moved from frame to frame
        self._spool: Any = None
        turn, self._across, self._far = _TURNS.get(1 if png else orientation(image), ("", False, False))
        self._turn = getattr(_pillow().Transpose, turn) if turn else None
        width, height = image.size
        self.width, self.height = (height, width) if self._across else (width, height)
        # an MPO file is a JPEG photo
        self.n_frames = 1 if image.format == "MPO" else int(getattr(self._sequence, "n_frames", 1))
        # Frames of an animation are laid over each other: whether a later one has holes is not known yet.
        self.channels = 4 if image.has_transparency_data or self.n_frames > 1 else 3
        self.metadata = read_metadata(image, turned=self._turn is not None, exif=png is None)
        self.loop = loops(image)  # how often an animation is played; 0 for ever
        self._profile = image.info.get("icc_profile")

    def __enter__(self) -> "Picture":
        self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        if self._users == 0:
            self._image.close()
            if self._spool is not None:
                self._spool.close()

    def strips(self, rows: int | None = None) -> Iterator[NDArray[np.uint8]]:
        """The pixels from top to bottom, in arrays of shape (at most `rows`, width, channels)."""
        rows = rows or max(1, _STRIP_PIXELS // self.width)
        if self._spool is not None:
            yield from self._spooled(rows)
            return
        parts = iter(self._crops(rows) if self._png is None else read_rows(self.name, self._png, rows))
        while True:
            with _decoding(self.name, "the image"):
                part = next(parts, None)
            if part is None:
                return
            yield self._converted(part)

    def array(self) -> NDArray[np.uint8]:
        """All pixels, of shape (height, width, channels)."""
        pixels = np.empty((self.height, self.width, self.channels), dtype=np.uint8)
        start = 0
        for strip in self.strips():
            pixels[start : start + len(strip)] = strip
            start += len(strip)
        return pixels

    def frames(self) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """Each frame, as `array` returns it, with the milliseconds it is shown."""
        opened, place = self._image, self._sequence.tell()
        try:
            for number in range(self.n_frames):
                with _decoding(self.name, f"frame {number + 1} of {self.n_frames}"):
                    self._sequence.seek(number)
                    self._image = self._sequence.copy()
                yield self.array(), float(self._image.info.get("duration") or 0)
        finally:
            self._image = opened
            with _decoding(self.name, f"frame {place + 1} of {self.n_frames}"):
                self._sequence.seek(place)
                self._sequence.load()

    def spool(self) -> None:
        """Put the pixels into a file without a name and free the decoded image: what comes next needs the memory."""
        file = tempfile.TemporaryFile()
        for strip in self.strips():
            file.write(np.ascontiguousarray(strip).data)
        self._spool = file
        self._image.close()

    def _spooled(self, rows: int) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, self.height, rows):
            shape = min(rows, self.height - start), self.width, self.channels
            self._spool.seek(start * self.width * self.channels)
            yield np.frombuffer(self._spool.read(math.prod(shape)), dtype=np.uint8).reshape(shape)

    def _crops(self, rows: int) -> Iterator[Any]:
        width, height = self._image.size
        for first in range(0, self.height, rows):
            start, stop = first, min(first + rows, self.height)
            if self._far:
                start, stop = self.height - stop, self.height - start
            part = self._image.crop((start, 0, stop, height) if self._across else (0, start, width, stop))
            yield part if self._turn is None else part.transpose(self._turn)

    def _converted(self, part: Any) -> NDArray[np.uint8]:
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
        copied.format = image.format
        return Picture(copied, "image", sequence=image)
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
        large = opened.width * opened.height >= _LARGE
        with _decoding(name, "the image"):
            header = row_header(name) if large and opened.format == "PNG" else None
            if header is None:
                opened.load()
            picture = Picture(opened, name, header)
        if large and header is None and opened.mode not in _ONE_BYTE and picture.n_frames == 1:
            picture.spool()
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
        for strip in (strip for frame in frames_of(picture) for strip in frame.strips()):
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
        size = f"{width} x {height} = {width * height / 1e6:.9g} megapixels"
        raise ImageError(f"{name}: is {size}, more than the {max_pixels / 1e6:.9g} allowed (--max-megapixels)")
    if image.mode not in _MODES:
        raise ImageError(f"{name}: its pixels are of mode {image.mode}, not 8 or 16 bits a channel; convert it to RGB")
    with _decoding(name, "its frames"):
        frames = getattr(image, "n_frames", 1)
        if image.format in ("TIFF", "PPM") and frames > 1:
            raise ImageError(f"{name}: has {frames} pages; save the one you want as a picture of its own")
        if frames > MAX_FRAMES:
            raise ImageError(f"{name}: has {frames} frames, more than {MAX_FRAMES}")
        if frames * width * height > _IN_ALL * max_pixels and image.format != "MPO":
            size = f"{frames} frames of {width} x {height}"
            raise ImageError(f"{name}: has {size}, more than {_IN_ALL} times what one may have (--max-megapixels)")
    # Pillow's own modes of colour have 8 bits; how many the file has is known by the decoder only
    return image.mode in _DEEP or any("16" in str(tile[-1]) for tile in getattr(image, "tile", ()))
