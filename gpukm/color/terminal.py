"""Colours on a terminal: swatches where it can show them, plain text where it cannot or NO_COLOR is set."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol, TextIO

from gpukm._usage import printable
from gpukm.color.palette import Palette

Depth = Literal["truecolor", "256", "none"]

_ACROSS = 32  # swatches in a line of a grid
_CUBE = (0, 95, 135, 175, 215, 255)  # the levels of colours 16 to 231 of 256


def color_depth(stream: TextIO, environment: Mapping[str, str] = os.environ) -> Depth:
    """How many colours `stream` shows, by the customs of terminals: NO_COLOR, FORCE_COLOR, COLORTERM and TERM."""
    if environment.get("NO_COLOR"):
        return "none"
    term = environment.get("TERM", "")
    if environment.get("FORCE_COLOR", "0") in ("", "0") and (not stream.isatty() or term in ("", "dumb")):
        return "none"
    if environment.get("COLORTERM") in ("truecolor", "24bit") or term.endswith("-direct"):
        return "truecolor"
    return "256" if "256color" in term or environment.get("FORCE_COLOR") else "none"


def palette_lines(palette: Palette, depth: Depth) -> Iterator[str]:
    """A line for each colour: a swatch, "#rrggbb", its share."""
    shares = [None] * len(palette) if palette.weights is None else palette.weights.tolist()
    width = max(len(text) for text in palette.hex)
    for color, text, share in zip(palette.colors.tolist(), palette.hex, shares):
        block = "" if depth == "none" else swatch(color, depth, 6) + " "
        line = f"  {block}{text:{width}}"
        yield line.rstrip() if share is None else f"{line}  {100 * share:6.2f} %"


def palette_grid(palette: Palette, depth: Depth) -> Iterator[str]:
    """Lines of swatches alone, for palettes that are longer than a terminal."""
    colors = palette.colors.tolist()
    for start in range(0, len(colors), _ACROSS):
        yield "  " + "".join(swatch(color, depth, 2) for color in colors[start : start + _ACROSS])


def swatch(color: list[int], depth: Depth, width: int) -> str:
    """A block of the colour, or nothing; transparent colours are dots."""
    if depth == "none":
        return ""
    if len(color) == 4 and color[3] == 0:
        return "." * width
    red, green, blue = color[:3]
    code = f"2;{red};{green};{blue}" if depth == "truecolor" else f"5;{_nearest(red, green, blue)}"
    return f"\x1b[48;{code}m{' ' * width}\x1b[0m"


def _nearest(red: int, green: int, blue: int) -> int:
    """The nearest of the 256 colours, leaving out the first 16, which users redefine."""
    places = [min(range(6), key=lambda place: abs(_CUBE[place] - level)) for level in (red, green, blue)]
    grey = min(range(24), key=lambda place: abs(8 + 10 * place - (red + green + blue) / 3))

    def distance(*other: int) -> int:
        return sum((a - b) ** 2 for a, b in zip((red, green, blue), other))

    if distance(*[8 + 10 * grey] * 3) < distance(*[_CUBE[place] for place in places]):
        return 232 + grey
    return 16 + 36 * places[0] + 6 * places[1] + places[2]


class Progress(Protocol):
    """Where a batch is."""

    def step(self, message: str) -> None:
        """One more of them is done."""


class _Bar:
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task

    def step(self, message: str) -> None:
        self._bar.advance(self._task)


class _Lines:
    def __init__(self, title: str, total: int, stream: TextIO) -> None:
        self._title, self._total, self._stream, self._done = title, total, stream, 0

    def step(self, message: str) -> None:
        self._done += 1
        print(f"gpukm: {self._title} {self._done} of {self._total}: {printable(message)}", file=self._stream)


class _Silent:
    def step(self, message: str) -> None:
        pass


@contextmanager
def progress(title: str, total: int, stream: TextIO, *, quiet: bool) -> Iterator[Progress]:
    """A bar on a terminal that has rich, a line for each step where there is none; nothing when quiet or for one."""
    if quiet or total < 2:
        yield _Silent()
        return
    if stream.isatty():
        try:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars
        except ImportError:
            pass
        else:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Bars(*columns, console=Console(file=stream), transient=True) as bars:
                yield _Bar(bars, bars.add_task(title, total=total))
            return
    yield _Lines(title, total, stream)
