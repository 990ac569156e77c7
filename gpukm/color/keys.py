"""Colours as integers: red, green, blue and perhaps alpha, in this order, 8 or 16 bits each."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack(colors: NDArray[Any]) -> NDArray[Any]:
    """(m,) keys of colours (m, 3 or 4): uint32 of 8-bit ones, uint64 of 16-bit ones. They sort as the colours do."""
    kind: Any = np.uint32 if colors.dtype == np.uint8 else np.uint64
    keys = colors[:, 0].astype(kind)
    for channel in range(1, colors.shape[1]):
        keys <<= kind(8 * colors.dtype.itemsize)
        keys |= colors[:, channel]
    return keys


def unpack(keys: NDArray[Any], channels: int) -> NDArray[Any]:
    """(m, `channels`) uint8 or uint16 colours of keys."""
    kind: Any = np.uint8 if keys.dtype == np.uint32 else np.uint16
    bits = 8 * np.dtype(kind).itemsize
    colors = np.empty((len(keys), channels), kind)
    for channel in range(channels):
        colors[:, channel] = keys >> keys.dtype.type(bits * (channels - 1 - channel)) & keys.dtype.type(2**bits - 1)
    return colors


def widen(colors: NDArray[Any], depth: int, alpha: bool) -> NDArray[Any]:
    """Colours with 8 or 16 bits a channel and perhaps alpha, from such with as much or less."""
    if depth == 16 and colors.dtype == np.uint8:
        colors = colors.astype(np.uint16) * np.uint16(257)
    if alpha and colors.shape[1] == 3:
        opaque = np.full((len(colors), 1), np.iinfo(colors.dtype).max, colors.dtype)
        colors = np.concatenate([colors, opaque], axis=1)
    return colors


def round_to_8_bits(colors: NDArray[Any]) -> NDArray[np.uint8]:
    """Colours in 8 bits a channel, to nearest."""
    if colors.dtype == np.uint8:
        return colors
    return ((colors.astype(np.uint32) + 128) // 257).astype(np.uint8)
