"""Palettes in the file formats of other programs, written and read.

A reader takes the bytes of a file and raises ValueError, saying where, for anything that it does not understand:
a palette is never shorter than its file because a line was skipped.
"""

import json
import os
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from gpukm._files import PathLike, atomic_write, check_target
from gpukm.color.palette import Palette, parse_hex

_MOST_BYTES = 1 << 26  # no palette is larger; what claims to be one is something else
_FORMAT = "gpukm palette"
_TILE, _COLUMNS = 32, 16  # pixels and colours across in a swatch picture


def check_palette_name(path: PathLike) -> str:
    """The lower-case ending of `path`; raises ValueError unless palettes can be written to it."""
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in _WRITERS:
        raise ValueError(f"{path}: a palette's name must end in {', '.join(_WRITERS)}")
    return ending


def write_palette(palette: Palette, path: PathLike, *, force: bool = False) -> None:
    """Write the file; see `gpukm.color.palette.Palette.save`."""
    ending = check_palette_name(path)
    check_target(path, force=force)
    if ending in _OPAQUE_ONLY and not palette.is_opaque:
        raise ValueError(
            f"{path}: {ending} files hold no transparency, the palette does; use .json, .hex, .css or .png"
        )
    content = _WRITERS[ending](palette)
    with atomic_write(path, force=force) as file:
        file.write(content)


def read_palette(path: PathLike) -> Palette:
    """Read the file; see `gpukm.color.palette.Palette.load`."""
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in _READERS and ending not in _IMAGES:
        raise ValueError(f"{path}: cannot tell its format; a palette's name ends in {', '.join([*_READERS, *_IMAGES])}")
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path}: is a folder; give the name of a palette file")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file")
    if ending in _IMAGES:
        return _read_image(path)
    with open(path, "rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"{path}: is larger than {_MOST_BYTES >> 20} MiB, which no palette is")
    try:
        return _READERS[ending](content)
    except (ValueError, RecursionError, OverflowError) as error:
        raise ValueError(f"{path}: not a palette in {ending} form, or a damaged one: {error}") from None


# -- JSON ------------------------------------------------------------------------------------------------


def to_json(palette: Palette) -> dict[str, Any]:
    """The palette as what `json.dumps` takes: all that it holds."""
    shares = [None] * len(palette) if palette.weights is None else palette.weights.tolist()
    entries: list[dict[str, Any]] = []
    for color, rgb, share in zip(palette.hex, palette.colors.tolist(), shares):
        entries.append({"hex": color, ("rgb" if len(rgb) == 3 else "rgba"): rgb})
        if share is not None:
            entries[-1]["proportion"] = share
    return {
        "format": _FORMAT,
        "version": 1,
        "name": palette.name,
        "colors": entries,
        # JSON has no infinity, which is what the PSNR of a lossless palette is
        "errors": {key: value if np.isfinite(value) else None for key, value in palette.errors.items()},
        "metadata": dict(palette.metadata),
    }


def _write_json(palette: Palette) -> bytes:
    return (json.dumps(to_json(palette), indent=2, allow_nan=False) + "\n").encode()


def _read_json(content: bytes) -> Palette:
    data = json.loads(content.decode("utf-8"))
    if isinstance(data, dict) and isinstance(data.get("palette"), dict):
        data = data["palette"]  # what the commands print with --json
    if isinstance(data, list) and data and all(isinstance(entry, str) for entry in data):
        return Palette.from_hex(data)
    if not isinstance(data, dict) or data.get("format") != _FORMAT or not isinstance(data.get("colors"), list):
        raise ValueError(f'it must be a list of "#rrggbb", or an object with "format": "{_FORMAT}" and "colors"')
    if data.get("version") != 1:
        raise ValueError(f"its version is {data.get('version')!r}; this gpukm reads version 1")
    entries = data["colors"]
    if not all(isinstance(entry, dict) and isinstance(entry.get("hex"), str) for entry in entries):
        raise ValueError('each of "colors" must be an object with "hex"')
    palette = Palette.from_hex([entry["hex"] for entry in entries])
    if entries and "rgba" in entries[0] and palette.colors.shape[1] == 3:
        palette = Palette(palette.rgba)
    shares = [entry.get("proportion") for entry in entries]
    if any(share is not None and (isinstance(share, bool) or not isinstance(share, int | float)) for share in shares):
        raise ValueError('"proportion" must be a number from 0 to 1')
    errors, metadata, name = data.get("errors", {}), data.get("metadata", {}), data.get("name", "")
    if not isinstance(errors, dict) or not isinstance(metadata, dict) or not isinstance(name, str):
        raise ValueError('"errors" and "metadata" must be objects, "name" a text')
    if any(isinstance(value, bool | str | list | dict) for value in errors.values()):
        raise ValueError('each of "errors" must be a number, or null for infinity')
    return Palette(
        palette.colors,
        None if None in shares else np.array(shares, dtype=np.float64),
        {key: float("inf") if value is None else float(value) for key, value in errors.items()},
        name,
        metadata,
    )


# -- text ------------------------------------------------------------------------------------------------


def _write_hex(palette: Palette) -> bytes:
    return "".join(f"{color[1:]}\n" for color in palette.hex).encode()


def _read_hex(content: bytes) -> Palette:
    colors = []
    for number, line in enumerate(content.decode("utf-8-sig").splitlines(), start=1):
        if line.strip() and not line.startswith((";", "//")):
            try:
                parse_hex(line)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
            colors.append(line)
    return Palette.from_hex(colors)


def _write_gpl(palette: Palette) -> bytes:
    name = " ".join(palette.name.split()) or "gpukm"
    lines = ["GIMP Palette", f"Name: {name}", f"Columns: {min(len(palette), _COLUMNS)}", "#"]
    lines += [
        f"{red:3d} {green:3d} {blue:3d}\t#{red:02x}{green:02x}{blue:02x}"
        for red, green, blue in palette.colors[:, :3].tolist()
    ]
    return ("\n".join(lines) + "\n").encode()


def _read_gpl(content: bytes) -> Palette:
    lines = content.decode("utf-8-sig").splitlines()
    if not lines or lines[0].strip() != "GIMP Palette":
        raise ValueError("its first line is not 'GIMP Palette'")
    colors, name = [], ""
    for number, line in enumerate(lines[1:], start=2):
        if line.startswith("Name:"):
            name = line.partition(":")[2].strip()
        elif line.strip() and not line.lstrip().startswith("#") and not re.match(r"(Columns|Channels):", line):
            match = re.match(r"\s*(\d{1,3})\s+(\d{1,3})\s+(\d{1,3})(?:\s|$)", line)
            if match is None or max(map(int, match.groups())) > 255:
                raise ValueError(f"line {number}: {line.strip()[:40]!r} is not three numbers from 0 to 255")
            colors.append([int(channel) for channel in match.groups()])
    return Palette(np.array(colors, dtype=np.uint8).reshape(-1, 3), name="" if name == "gpukm" else name)


def _write_css(palette: Palette) -> bytes:
    shares = [""] * len(palette) if palette.weights is None else [f" /* {100 * x:.2f} % */" for x in palette.weights]
    width = len(str(len(palette)))
    rows = enumerate(zip(palette.hex, shares), start=1)
    lines = [f"  --color-{number:0{width}d}: {color};{share}\n" for number, (color, share) in rows]
    return (":root {\n" + "".join(lines) + "}\n").encode()


def _read_css(content: bytes) -> Palette:
    text = re.sub(r"/\*.*?\*/", "", content.decode("utf-8-sig"), flags=re.DOTALL)
    colors = re.findall(r"--[\w-]+\s*:\s*(#[^;}\s]*)\s*(?:;|\}|$)", text)
    if not colors:
        raise ValueError("no custom property such as '--color-1: #ff8800;' is in it")
    return Palette.from_hex(colors)


# -- Adobe's binary forms, big-endian --------------------------------------------------------------------


class _Bytes:
    """The bytes of a file, taken from the front."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def take(self, form: str) -> tuple[Any, ...]:
        size = struct.calcsize(">" + form)
        if self.at + size > len(self.content):
            raise ValueError(f"it ends after {len(self.content)} bytes, within the data; it may be cut short")
        self.at += size
        return struct.unpack_from(">" + form, self.content, self.at - size)

    def text(self, units: int) -> str:
        """UTF-16 text of `units` two-byte units, the last of which is zero."""
        return str(self.take(f"{2 * units}s")[0].decode("utf-16-be", "replace")).rstrip("\0")


def _utf16(text: str) -> bytes:
    return (text + "\0").encode("utf-16-be")


def _write_ase(palette: Palette) -> bytes:
    blocks = []
    for rgb, text in zip(palette.colors.tolist(), palette.hex):
        label = _utf16(text)
        body = struct.pack(">H", len(label) // 2) + label + b"RGB "
        body += struct.pack(">3fH", *(channel / 255 for channel in rgb[:3]), 2)  # 2: a colour that is not shared
        blocks.append(struct.pack(">HI", 1, len(body)) + body)
    return b"ASEF" + struct.pack(">HHI", 1, 0, len(blocks)) + b"".join(blocks)


def _read_ase(content: bytes) -> Palette:
    data = _Bytes(content)
    if data.take("4s") != (b"ASEF",):
        raise ValueError("it does not begin with ASEF")
    _, _, n_blocks = data.take("HHI")
    colors = []
    for _ in range(n_blocks):
        kind, size = data.take("HI")
        block = _Bytes(data.take(f"{size}s")[0])
        if kind != 1:  # the beginning or the end of a group
            continue
        label = block.text(block.take("H")[0])
        model = block.take("4s")[0]
        if model not in (b"RGB ", b"Gray"):
            shown = model.decode("latin-1").strip()
            raise ValueError(f"colour {label!r} is {shown}, not RGB; convert it where the palette was made")
        values = block.take("3f") if model == b"RGB " else block.take("f") * 3
        if not all(-0.001 <= value <= 1.001 for value in values):
            raise ValueError(f"colour {label!r} has the channels {values}, which are not from 0 to 1")
        colors.append([round(255 * min(max(value, 0), 1)) for value in values])
    return Palette(np.array(colors, dtype=np.uint8).reshape(-1, 3))


def _write_aco(palette: Palette) -> bytes:
    if len(palette) > 0xFFFF:
        raise ValueError(f".aco files hold at most 65535 colours, the palette has {len(palette)}")
    plain, named = struct.pack(">HH", 1, len(palette)), struct.pack(">HH", 2, len(palette))
    for rgb, text in zip(palette.colors.tolist(), palette.hex):
        entry = struct.pack(">5H", 0, *(257 * channel for channel in rgb[:3]), 0)
        plain += entry
        named += entry + struct.pack(">I", len(text) + 1) + _utf16(text)
    return plain + named  # old readers know the first part only


def _read_aco(content: bytes) -> Palette:
    data = _Bytes(content)
    version, n_colors = data.take("HH")
    if version not in (1, 2):
        raise ValueError(f"it begins with version {version}, not 1 or 2")
    colors = []
    for number in range(1, n_colors + 1):
        space, *values, _ = data.take("5H")
        if version == 2:
            data.text(data.take("I")[0])
        if space not in (0, 8):
            model = {1: "HSB", 2: "CMYK", 7: "Lab", 9: "wide CMYK"}.get(space, f"colour space {space}")
            raise ValueError(f"colour {number} is {model}, not RGB; convert it where the palette was made")
        # 8 bits are stored times 257, by some programs times 256: the upper byte is right for both
        colors.append(
            [value >> 8 for value in values] if space == 0 else [round(255 * min(values[0], 10000) / 1e4)] * 3
        )
    return Palette(np.array(colors, dtype=np.uint8).reshape(-1, 3))


# -- pictures --------------------------------------------------------------------------------------------


def _write_png(palette: Palette) -> bytes:
    from gpukm.color.outputs import encode_png

    columns = min(len(palette), _COLUMNS)
    rows = -(-len(palette) // columns)
    tiles = np.minimum(np.arange(rows * columns), len(palette) - 1).reshape(rows, columns)  # the last fills the row
    if len(palette) > 256:
        raise ValueError(f".png files hold at most 256 colours in a palette, this one has {len(palette)}; use .json")
    return encode_png(tiles.repeat(_TILE, axis=0).repeat(_TILE, axis=1).astype(np.uint8), palette.colors)


def _read_image(path: PathLike) -> Palette:
    """The colours of an image: those of its palette that are in use, in their order, else as they first occur."""
    from gpukm.color.load import load_colors

    return Palette(load_colors(path))


_WRITERS: dict[str, Callable[[Palette], bytes]] = {
    ".json": _write_json,
    ".hex": _write_hex,
    ".gpl": _write_gpl,
    ".ase": _write_ase,
    ".aco": _write_aco,
    ".css": _write_css,
    ".png": _write_png,
}
_READERS: dict[str, Callable[[bytes], Palette]] = {
    ".json": _read_json,
    ".hex": _read_hex,
    ".gpl": _read_gpl,
    ".ase": _read_ase,
    ".aco": _read_aco,
    ".css": _read_css,
}
_IMAGES = (".png", ".gif")
_OPAQUE_ONLY = (".gpl", ".ase", ".aco")
