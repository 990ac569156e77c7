"""A palette: colours, how much of the image each takes, and how well they fit. Its files are in palette_files.py."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gpukm._files import PathLike

_HEX = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")


def parse_hex(color: str) -> tuple[int, ...]:
    """Red, green, blue, and alpha where it is given, from "#rrggbb", "#rrggbbaa", "#rgb" or "#rgba" (# optional).

    Raises
    ------
    ValueError
        If it is none of these.
    """
    match = _HEX.fullmatch(color.strip()) if isinstance(color, str) else None
    if match is None:
        raise ValueError(f"{color!r} is not a colour; write it as '#rrggbb', or '#rrggbbaa' with alpha")
    digits = match[1] if len(match[1]) > 4 else "".join(digit * 2 for digit in match[1])
    return tuple(int(digits[at : at + 2], 16) for at in range(0, len(digits), 2))


def to_hex(color: Iterable[int]) -> str:
    """The colour as "#rrggbb", or "#rrggbbaa" where it has an alpha of its own."""
    return "#" + "".join(f"{int(channel):02x}" for channel in color)


@dataclass(frozen=True, eq=False)
class Palette:
    """Colours in 8-bit sRGB, in an order that is kept by every file format.

    Parameters
    ----------
    colors : array-like of uint8 of shape (k, 3) or (k, 4)
        Red, green, blue, and alpha (0 transparent, 255 opaque; not premultiplied). Kept as a read-only copy.
    weights : array-like of float64 of shape (k,), optional
        The share of each colour in what the palette was made from, from 0 to 1; None where it is not known, as in
        palettes from files that do not say.
    errors : mapping of str to float, optional
        How well the palette fits what it was made from, such as {"mse": 24.6, "de_mean": 2.1, "psnr": 34.2}.
    name : str, default=""
        What it is called.
    metadata : mapping, optional
        Anything else worth keeping that JSON can hold, such as the space it was fitted in.

    Raises
    ------
    ValueError
        If there is no colour, or shapes and values are not as above.
    """

    colors: NDArray[np.uint8]
    weights: NDArray[np.float64] | None = None
    errors: Mapping[str, float] = field(default_factory=dict)
    name: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "colors", _check_colors(self.colors))
        if self.weights is not None:
            object.__setattr__(self, "weights", _check_weights(self.weights, len(self.colors)))
        object.__setattr__(self, "errors", dict(self.errors))
        object.__setattr__(self, "metadata", dict(self.metadata))

    def __len__(self) -> int:
        return len(self.colors)

    @classmethod
    def from_hex(cls, colors: Iterable[str], *, name: str = "") -> "Palette":
        """A palette of colours such as "#ff8800" or "#ff880080"; where one has alpha, those without are opaque."""
        rows = [parse_hex(color) for color in colors]
        channels = max(map(len, rows), default=3)
        return cls(np.array([(*row, 255)[:channels] for row in rows], dtype=np.uint8).reshape(-1, channels), name=name)

    @property
    def hex(self) -> list[str]:
        """The colours as "#rrggbb"; as "#rrggbbaa" where the palette has alpha and the colour is not opaque."""
        return [to_hex(color[:3] if len(color) == 4 and color[3] == 255 else color) for color in self.colors.tolist()]

    @property
    def rgba(self) -> NDArray[np.uint8]:
        """The colours with alpha, of shape (k, 4)."""
        if self.colors.shape[1] == 4:
            return self.colors
        return np.column_stack([self.colors, np.full(len(self), 255, dtype=np.uint8)])

    @property
    def is_opaque(self) -> bool:
        """Whether no colour lets anything through."""
        return self.colors.shape[1] == 3 or bool((self.colors[:, 3] == 255).all())

    def save(self, path: PathLike, *, force: bool = False) -> None:
        """Write the palette to a file, in the format that the ending of its name says.

        Parameters
        ----------
        path : str or path
            .json has everything; .hex, .css and .png (a picture of the colours) have the colours, with alpha; .gpl
            (GIMP), .ase and .aco (Adobe) hold opaque colours only.
        force : bool, default=False
            Replace the file if it exists.

        Raises
        ------
        ValueError
            If the ending is another, or the format cannot hold the palette's transparent colours.
        OSError
            If the file exists and `force` is not set, or cannot be written. Nothing half-written is left.
        """
        from gpukm.color.palette_files import write_palette

        write_palette(self, path, force=force)

    @classmethod
    def load(cls, path: PathLike) -> "Palette":
        """Read a palette from a file that `save` or another program wrote: the same colours in the same order.

        Parameters
        ----------
        path : str or path
            A .json, .hex, .gpl, .ase, .aco or .css file, or an image of at most 256 colours (.png, .gif).

        Raises
        ------
        ValueError
            If it is damaged, of another kind, or holds colours that are not RGB; the message says where.
        OSError
            If it cannot be read.
        """
        from gpukm.color.palette_files import read_palette

        return read_palette(path)


def _check_colors(colors: ArrayLike) -> NDArray[np.uint8]:
    values = np.array(colors)  # a copy: nobody else can change the palette
    if values.ndim != 2 or values.shape[1] not in (3, 4) or len(values) == 0:
        raise ValueError(f"colors has shape {values.shape}; it must be (k, 3), or (k, 4) with alpha, k at least 1")
    if values.dtype != np.uint8:
        if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 255:
            raise ValueError(f"colors has dtype {values.dtype}; it must be integers from 0 to 255 (uint8)")
        values = values.astype(np.uint8)
    values.flags.writeable = False
    return values


def _check_weights(weights: ArrayLike, n_colors: int) -> NDArray[np.float64]:
    shares = np.array(weights, dtype=np.float64)
    if shares.shape != (n_colors,):
        raise ValueError(f"weights has shape {shares.shape}; it must be ({n_colors},), one for each colour")
    if not ((shares >= 0) & (shares <= 1)).all():
        raise ValueError("weights holds a share below 0, above 1 or NaN; shares are from 0 to 1")
    shares.flags.writeable = False
    return shares
