"""PNG files of any height, some rows at a time: Pillow decodes an image as a whole, at 4 bytes a pixel.

The compressed rows are inflated as far as they are needed and given to Pillow as small PNG files of their own. Rows are
filtered by the row above: each small file begins with that one, decoded, and it is cut off again.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from gpukm._files import PathLike

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 6: 4}  # colour type -> bytes a pixel: RGB and RGBA of 8 bits
_READ = 1 << 20  # bytes of a chunk that are taken at a time


class Header(NamedTuple):
    """What small files need to know of the large one."""

    width: int
    height: int
    kind: int
    transparency: bytes | None  # the chunk tRNS


def row_header(path: PathLike) -> Header | None:
    """The header of a PNG file that can be read by rows; None for others.

    These have RGB or RGBA of 8 bits, one frame, no interlacing, and no EXIF, which may ask for a rotation.
    """
    with open(path, "rb") as file:
        if file.read(8) != _SIGNATURE:
            return None
        header, transparency, pixels = None, None, False
        for name, length in _chunks(file):
            if name == b"IHDR" and length == 13:
                width, height, depth, kind, _, _, interlace = struct.unpack(">IIBBBBB", file.read(13))
                if depth != 8 or kind not in _CHANNELS or interlace:
                    return None
                header = (width, height, kind)
            elif name == b"tRNS" and length <= 6:
                transparency = file.read(length)
            elif name in (b"acTL", b"eXIf") or (name in (b"zTXt", b"tEXt", b"iTXt") and b"exif" in file.read(32)):
                return None
            pixels |= name == b"IDAT"
    return Header(*header, transparency) if header is not None and pixels else None


def read_rows(path: PathLike, header: Header, rows: int) -> Iterator[Any]:
    """PIL images of `rows` rows each, from top to bottom; raises ValueError where the file is damaged."""
    from PIL import Image

    length = 1 + header.width * _CHANNELS[header.kind]
    above = bytes(length)
    with open(path, "rb") as file:
        inflated = _inflate(file, length * rows)
        for start in range(0, header.height, rows):
            n_rows = min(rows, header.height - start)
            filtered = bytearray()
            while len(filtered) < length * n_rows:
                part = next(inflated, b"")
                if not part:
                    raise ValueError(f"it ends after {start + len(filtered) // length} of {header.height} rows")
                filtered += part
                if len(filtered) > length * n_rows:
                    inflated = _before(filtered[length * n_rows :], inflated)
                    del filtered[length * n_rows :]
            with Image.open(io.BytesIO(_small(header, n_rows + 1, above + bytes(filtered))), formats=["PNG"]) as image:
                image.load()
                above = b"\0" + image.crop((0, n_rows, header.width, n_rows + 1)).tobytes()
                yield image.crop((0, 1, header.width, n_rows + 1))
        next(inflated, None)  # to the end of the last chunk, whose checksum comes then


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Name and length of each chunk, the file standing at its content; goes on wherever that was read to."""
    at = 8
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return
        length, name = struct.unpack(">I4s", head)
        yield name, length
        at += 12 + length


def _inflate(file: BinaryIO, most: int) -> Iterator[bytes]:
    """The filtered rows in parts of at most `most` bytes; raises ValueError for a chunk with a wrong checksum."""
    stream = zlib.decompressobj()
    for name, length in _chunks(file):
        if name == b"IEND":
            return
        if name != b"IDAT":
            continue
        check = zlib.crc32(name)
        while length:
            content = file.read(min(length, _READ))
            if not content:
                return
            check = zlib.crc32(content, check)
            length -= len(content)
            while content:
                part = stream.decompress(content, most)
                content = stream.unconsumed_tail
                if part:
                    yield part
                elif not content or stream.eof:
                    break
        if struct.pack(">I", check) != file.read(4):
            raise ValueError("the checksum of its pixels is wrong")


def _before(first: bytearray, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield bytes(first)
    yield from rest


def _small(header: Header, height: int, filtered: bytes) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    parts = chunk(b"IHDR", struct.pack(">IIBBBBB", header.width, height, 8, header.kind, 0, 0, 0))
    if header.transparency is not None:
        parts += chunk(b"tRNS", header.transparency)
    return _SIGNATURE + parts + chunk(b"IDAT", zlib.compress(filtered, 0)) + chunk(b"IEND", b"")
