"""The report: one HTML page that shows what a palette does to images. It loads nothing from anywhere.

Each picture is seen before and after under a slider, with the palette, the map of its error in CIEDE2000 and the
figures. Of many pictures the worst are shown and all are listed.
"""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._files import PathLike, atomic_write, check_target
from gpukm._usage import printable
from gpukm.color.outputs import encode_png
from gpukm.color.page import PAGE, PICTURE
from gpukm.color.palette import Palette, to_hex
from gpukm.color.spaces import ciede2000, lab_of

MOST_SHOWN = 12  # pictures in a page; each takes some megabytes
_SIDE = 1400  # pixels of the longer side, at most
_HOTTEST = 10.0  # CIEDE2000 at the end of the scale; about 1 is just seen, 10 is another colour
_CHECKS = "repeating-conic-gradient(#bbb 0 25%, #eee 0 50%) 0 0 / 20px 20px"
_STOPS = ((0, "#0b0724"), (0.2, "#3b1274"), (0.4, "#a02c6c"), (0.6, "#e8593a"), (0.8, "#fbb32f"), (1, "#fcfdc0"))


@dataclass(frozen=True)
class Shown:
    """A picture as the page has it.

    Attributes
    ----------
    name : str
    before, after, heat : bytes
        PNG files of one size, at most 1400 pixels wide and high.
    step : int
        A pixel of theirs stands for `step` x `step` pixels of the image.
    size : (int, int)
        Width and height of the image.
    palette : Palette
    figures : mapping of str to str
        What the table says.
    error : float
        Mean CIEDE2000, by which the worst come first.
    """

    name: str
    before: bytes
    after: bytes
    heat: bytes
    step: int
    size: tuple[int, int]
    palette: Palette
    figures: Mapping[str, str]
    error: float


def show(
    name: str,
    strips: Iterable[NDArray[np.uint8]],
    indices: NDArray[Any],
    palette: Palette,
    figures: Mapping[str, str],
    error: float,
) -> Shown:
    """Reduce an image and what became of it to what the page shows.

    Parameters
    ----------
    name : str
        What the page calls it.
    strips : iterable of uint8 arrays of shape (rows, width, 3 or 4)
        The image from top to bottom, in strips of any heights.
    indices : ndarray of unsigned integers of shape (height, width)
        The position in `palette` of each pixel.
    palette : Palette
    figures : mapping of str to str
    error : float
        Mean CIEDE2000 of the image.
    """
    height, width = indices.shape
    step = max(1, -(-max(height, width) // _SIDE))
    originals, start = [], 0
    for strip in strips:
        # one pixel of each block, not their mean: the map then shows the error of pixels that are there
        originals.append(_rgba(strip[(step // 2 - start) % step :: step, step // 2 :: step]))
        start += len(strip)
    before = np.concatenate(originals)
    after = palette.rgba[indices[step // 2 :: step, step // 2 :: step]]
    levels = np.minimum(differences(before, after) * (255 / _HOTTEST), 255).astype(np.uint8)
    return Shown(
        name, _png(before), _png(after), encode_png(levels, _heat()), step, (width, height), palette, figures, error
    )


def differences(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CIEDE2000 of each pixel of two RGBA images; with alpha, the mean of what is seen over black and over white."""
    pairs = np.concatenate([before, after], axis=-1).reshape(-1, 8)
    packed = np.ascontiguousarray(pairs).view(np.uint64).ravel()
    _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)  # an image has few different pairs
    old, new = pairs[first, :4], pairs[first, 4:]
    found = np.zeros(len(first))
    for ground in (0.0, 255.0):
        found += 0.5 * ciede2000(lab_of(_over(old, ground)), lab_of(_over(new, ground)))
    return found[inverse].reshape(before.shape[:2])


def write_report(
    path: PathLike,
    shown: Sequence[Shown],
    *,
    title: str,
    rows: Sequence[Mapping[str, str]] = (),
    failed: Sequence[str] = (),
    force: bool = False,
) -> None:
    """Write the page.

    Parameters
    ----------
    path : str or path
    shown : sequence of Shown
        The worst `MOST_SHOWN` of them are on the page.
    title : str
    rows : sequence of mappings, optional
        A table of all images, one a row, with the same columns; an entry for each image, shown or not.
    failed : sequence of str, optional
        What is said of the images that could not be done; all of them are listed.
    force : bool, default=False
        Replace the file if it exists.

    Raises
    ------
    OSError
        If the file exists and `force` is not set, or cannot be written. Nothing half-written is left.
    """
    check_target(path, force=force)
    worst = sorted(shown, key=lambda one: (-one.error, one.name))[:MOST_SHOWN]
    pictures = "\n".join(_picture(one) for one in worst)
    stops = ", ".join(f"{color} {100 * at:.0f}%" for at, color in _STOPS)
    note = f"the worst {len(worst)} of {len(rows)} images." if worst else "none; they were done before this run."
    alone = [one.name for one in worst] == [title]  # its own heading says it
    fields = {
        "title": _text(title),
        "heading": "" if alone else f"<h1>{_text(title)}</h1>",
        "failed": _failed(failed),
        "table": "" if len(rows) == len(worst) == 1 else _table(rows),
        "note": f"<p>Shown below: {note}</p>" if len(rows) > len(worst) else "",
        "pictures": pictures,
        "scale": stops,
    }
    with atomic_write(path, force=force) as file:
        file.write(_fill(PAGE, fields).encode())


def _picture(one: Shown) -> str:
    width, height = one.size
    scale = "" if one.step == 1 else f" One pixel of each {one.step} × {one.step} is shown."
    fields = {
        "name": _text(one.name),
        "size": f"{width} × {height} pixels.{scale}",
        "width": str(-(-(width - one.step // 2) // one.step)),
        "before": _embed(one.before),
        "after": _embed(one.after),
        "heat": _embed(one.heat),
        "swatches": _swatches(one.palette),
        "figures": "".join(
            f"<tr><th>{_text(key)}</th><td>{_text(value)}</td></tr>" for key, value in one.figures.items()
        ),
        "count": f"{len(one.palette)} colour{'s' if len(one.palette) != 1 else ''}",
    }
    return _fill(PICTURE, fields)


def _swatches(palette: Palette) -> str:
    parts = []
    shares = [None] * len(palette) if palette.weights is None else palette.weights.tolist()
    for color, text, share in zip(palette.rgba.tolist(), palette.hex, shares):
        # black or white, whichever is read better on it
        ink = "#000" if 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] > 140 or color[3] < 128 else "#fff"
        label = text if share is None else f"{text} {100 * share:.2f} %"
        weight = "" if share is None else f";flex-grow:{max(1, round(1000 * share))}"
        ground = to_hex(color[:3]) if color[3] == 255 else f"linear-gradient({to_hex(color)} 0 0), {_CHECKS}"
        style = f"background:{ground};color:{ink}{weight}"
        shown = f"<b>{text}</b>" if share is None else f"<b>{text}</b><span>{100 * share:.1f} %</span>"
        parts.append(f'<i style="{style}" title="{label}">{shown}</i>')
    return "".join(parts)


def _text(text: str) -> str:
    return html.escape(printable(text))


def _failed(messages: Sequence[str]) -> str:
    if not messages:
        return ""
    entries = "".join(f"<li>{_text(message)}</li>" for message in messages)
    return f"<p>Failed, {len(messages)} image{'s' if len(messages) != 1 else ''}:</p><ul>{entries}</ul>"


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{_text(key)}</th>" for key in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{_text(value)}</td>" for value in row.values()) + "</tr>" for row in rows)
    return f"<table class=list><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _fill(template: str, fields: Mapping[str, str]) -> str:
    """`template` with each {{name}} replaced, in one pass: what stands in a field is never a field itself."""
    parts = template.split("{{")
    filled = [parts[0]]
    for part in parts[1:]:
        name, _, rest = part.partition("}}")
        filled += [fields[name], rest]
    return "".join(filled)


def _embed(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    opaque = bool((pixels[..., 3] == 255).all())
    Image.fromarray(np.ascontiguousarray(pixels[..., :3] if opaque else pixels)).save(file, format="PNG")
    return file.getvalue()


def _rgba(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.shape[2] == 4:
        return pixels
    return np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, dtype=np.uint8)], axis=2)


def _over(colors: NDArray[np.uint8], ground: float) -> NDArray[np.float64]:
    alpha = colors[:, 3:] / 255
    return colors[:, :3] * alpha + ground * (1 - alpha)


def _heat() -> NDArray[np.uint8]:
    at = np.linspace(0, 1, 256)
    known = np.array([Palette.from_hex([color]).colors[0] for _, color in _STOPS], dtype=np.float64)
    places = [place for place, _ in _STOPS]
    channels = [np.interp(at, places, known[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)
