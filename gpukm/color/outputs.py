"""Indexed images as files: PNG with as few bits a pixel as the palette needs, GIF, WebP; animations of them.

Everything is written beside its target and renamed, so that no file is ever half-written (see gpukm/_files.py).
"""

import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gpukm._files import PathLike, atomic_write, check_target
from gpukm.color.load import _pillow
from gpukm.color.metadata import Metadata

ENDINGS = (".png", ".apng", ".gif", ".webp")


@dataclass(frozen=True, eq=False)
class Frame:
    """An image as it is written.

    Attributes
    ----------
    indices : ndarray of uint8 of shape (height, width)
    colors : ndarray of uint8 of shape (k, 3) or (k, 4), k at most 256
    duration : float, default=0
        How long it is shown, in milliseconds.
    """

    indices: NDArray[np.uint8]
    colors: NDArray[np.uint8]
    duration: float = 0


def check_image_name(path: PathLike) -> str:
    """The lower-case ending of `path`; raises ValueError unless images can be written to it."""
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in ENDINGS:
        raise ValueError(f"{path}: the name must end in {', '.join(ENDINGS)}, the formats that are written")
    return ending


def write_image(
    path: PathLike,
    frames: Sequence[Frame],
    *,
    metadata: Metadata | None = None,
    loop: int = 0,
    force: bool = False,
    accept: Callable[[int], None] | None = None,
) -> int:
    """Write one frame as an image, or several as an animation, in the format that the ending of the name says.

    Parameters
    ----------
    path : str or path
        .png or .apng: indexed, 1, 2, 4 or 8 bits a pixel, PLTE and tRNS; an animation whose frames have palettes of
        their own is in full colour, because PNG has one palette. .gif: a palette for each frame where they differ; no
        partly transparent colours. .webp: lossless.
    frames : sequence of Frame
        All of one size.
    metadata : Metadata, optional
        EXIF, XMP and dpi to be kept, as far as the format has places for them: GIF has none.
    loop : int, default=0
        How often an animation is played; 0 is for ever.
    force : bool, default=False
        Replace the file if it exists.
    accept : callable, optional
        Called with the file's size in bytes before it appears under its name; what it raises leaves nothing behind.

    Returns
    -------
    int
        Bytes written.

    Raises
    ------
    ValueError
        If the name ends otherwise, a palette has more than 256 colours, or a GIF would lose partial transparency.
    OSError
        If the file exists and `force` is not set, or cannot be written. Nothing half-written is left.
    """
    ending = check_image_name(path)
    check_target(path, force=force)
    _check(frames, ending, path)
    with atomic_write(path, force=force) as file:
        _SAVERS[ending](file, frames, metadata or Metadata(), loop)
        file.seek(0, os.SEEK_END)
        size = file.tell()
        if accept is not None:
            accept(size)
    return size


def encode_png(indices: NDArray[np.uint8], colors: NDArray[np.uint8]) -> bytes:
    """The bytes of an indexed PNG."""
    file = io.BytesIO()
    _save_png(file, [Frame(indices, colors)], Metadata(), 0)
    return file.getvalue()


def to_pillow(frame: Frame) -> Any:
    """A PIL image of mode P that shares the memory of `frame.indices` where it can."""
    image = _pillow().fromarray(np.ascontiguousarray(frame.indices))
    image.putpalette(np.ascontiguousarray(frame.colors[:, :3]).tobytes(), "RGB")
    if (transparency := _transparency(frame.colors)) is not None:
        image.info["transparency"] = transparency
    return image


def _transparency(colors: NDArray[np.uint8]) -> bytes | None:
    """The alphas up to the last that is not 255, which is all that tRNS needs; None for opaque palettes."""
    if colors.shape[1] == 3 or (colors[:, 3] == 255).all():
        return None
    return bytes(colors[: int(np.flatnonzero(colors[:, 3] != 255)[-1]) + 1, 3])


def _check(frames: Sequence[Frame], ending: str, path: PathLike) -> None:
    if len(frames) == 0:
        raise ValueError(f"{path}: no frames to write")
    any_holes = _has_holes(frames)
    for frame in frames:
        if frame.indices.shape != frames[0].indices.shape:
            raise ValueError(f"{path}: the frames differ in size: {frames[0].indices.shape} and {frame.indices.shape}")
        if frame.indices.ndim != 2 or frame.indices.size == 0:
            raise ValueError(f"{path}: indices has shape {frame.indices.shape}; it must be (height, width)")
        if len(frame.colors) > 256 or frame.indices.dtype != np.uint8:
            raise ValueError(f"{path}: the palette has {len(frame.colors)} colours; an indexed image has at most 256")
        if ending == ".gif":
            if max(frame.indices.shape) > 65535:
                raise ValueError(f"{path}: a GIF is at most 65535 pixels wide and high; write a .png")
            if frame.colors.shape[1] == 4 and not np.isin(frame.colors[:, 3], (0, 255)).all():
                raise ValueError(
                    f"{path}: GIF has no partly transparent colours; use --alpha threshold, or write a .png"
                )
            if any_holes and len(frame.colors) == 256 and not _has_holes([frame]):
                raise ValueError(
                    f"{path}: a GIF frame of 256 opaque colours has no room for the transparency of the other frames; "
                    "use 255 colours, or write a .png"
                )
        if ending == ".webp" and max(frame.indices.shape) > 16383:
            raise ValueError(f"{path}: a WebP image is at most 16383 pixels wide and high; write a .png")


def _save_png(file: Any, frames: Sequence[Frame], metadata: Metadata, loop: int) -> None:
    images = [to_pillow(frame) for frame in frames]
    keep: dict[str, Any] = {"exif": metadata.exif} if metadata.exif else {}
    if metadata.dpi:
        keep["dpi"] = metadata.dpi
    if metadata.xmp:
        from PIL.PngImagePlugin import PngInfo

        keep["pnginfo"] = PngInfo()
        keep["pnginfo"].add_itxt("XML:com.adobe.xmp", metadata.xmp.decode("utf-8", "replace"))
    if len(frames) > 1:
        if any(not np.array_equal(frame.colors, frames[0].colors) for frame in frames):
            alpha = any(image.has_transparency_data for image in images)
            images = [image.convert("RGBA" if alpha else "RGB") for image in images]
        # disposal 1 and blend 0: each frame replaces what was there, and what it leaves is the next one's ground
        durations = [frame.duration for frame in frames]
        keep |= {"save_all": True, "append_images": images[1:], "duration": durations, "loop": loop, "blend": 0}
    images[0].save(file, format="PNG", optimize=True, **keep)


def _save_gif(file: BinaryIO, frames: Sequence[Frame], metadata: Metadata, loop: int) -> None:
    images, any_holes = [], _has_holes(frames)
    for frame in frames:
        holes = np.flatnonzero(frame.colors[:, 3] == 0) if frame.colors.shape[1] == 4 else np.empty(0, dtype=np.intp)
        indices = frame.indices
        if len(holes) > 1:  # GIF has one transparent entry; the others look the same
            indices = np.where(np.isin(indices, holes[1:]), np.uint8(holes[0]), indices)
        image = to_pillow(Frame(indices, frame.colors[:, :3]))
        if len(holes):
            image.info["transparency"] = int(holes[0])
        elif any_holes:
            # what is left of a frame is transparent only if it has a transparent entry, be it unused
            image.putpalette([*frame.colors[:, :3].ravel().tolist(), 0, 0, 0], "RGB")
            image.info["transparency"] = len(frame.colors)
        images.append(image)
    keep: dict[str, Any] = {}
    if len(frames) > 1:
        keep = {"save_all": True, "append_images": images[1:], "disposal": 2 if any_holes else 1}
        keep["duration"] = [max(20, round(frame.duration / 10) * 10) for frame in frames]  # browsers slow down below 20
        if loop != 1:
            keep["loop"] = 0 if loop == 0 else loop - 1  # GIF counts repetitions
    images[0].save(file, format="GIF", optimize=False, **keep)


def _save_webp(file: BinaryIO, frames: Sequence[Frame], metadata: Metadata, loop: int) -> None:
    images = [image.convert("RGBA" if image.has_transparency_data else "RGB") for image in map(to_pillow, frames)]
    keep: dict[str, Any] = {"exif": metadata.exif} if metadata.exif else {}
    if metadata.xmp:
        keep["xmp"] = metadata.xmp
    if len(frames) > 1:
        durations = [max(1, round(frame.duration)) for frame in frames]
        keep |= {"save_all": True, "append_images": images[1:], "duration": durations, "loop": loop}
    # exact: else the colour of transparent pixels is changed
    images[0].save(file, format="WEBP", lossless=True, quality=100, exact=True, **keep)


def _has_holes(frames: Sequence[Frame]) -> bool:
    return any(_transparency(frame.colors) is not None for frame in frames)


_SAVERS: dict[str, Callable[[Any, Sequence[Frame], Metadata, int], None]] = {
    ".png": _save_png,
    ".apng": _save_png,
    ".gif": _save_gif,
    ".webp": _save_webp,
}
