"""Arguments that the subcommands of ``gpukm`` share: numbers within limits, where results and messages go."""

import argparse
import math
from collections.abc import Callable


def add_output_options(group: argparse._ArgumentGroup, *, json: bool = True) -> None:
    """Add --json, --force and --quiet."""
    if json:
        group.add_argument("--json", action="store_true", help="print JSON instead of text")
    group.add_argument("--force", action="store_true", help="replace files that exist")
    group.add_argument("--quiet", action="store_true", help="no messages on stderr, except errors")


def integer(least: int, most: int | None = None) -> Callable[[str], int]:
    """A parser of integers from `least` to `most`."""
    allowed = f"an integer from {least} to {most}" if most else f"an integer of at least {least}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{text!r} is not {allowed}")
        return value

    return parse


def number(least: float, most: float = math.inf, *, above: bool = False) -> Callable[[str], float]:
    """A parser of numbers from `least`, or above it, to `most`."""
    allowed = f"a number above {least:g}" if above else f"a number of at least {least:g}"
    allowed = allowed if most == math.inf else f"a number from {least:g} to {most:g}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or value == math.inf or (above and value == least):
            raise argparse.ArgumentTypeError(f"{text!r} is not {allowed}")
        return value

    return parse
