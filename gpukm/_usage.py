"""What all subcommands of ``gpukm`` share: wrong usage, messages, outputs that must not replace anything.

Messages go through `printable`: names of files may hold whatever moves the cursor or changes what was said before.
"""

import argparse
import os
import sys

from gpukm._files import check_target


class UsageError(Exception):
    """Options that make no sense together, or a name with the wrong ending: exit code 2."""


def check_outputs(outputs: list[str | None], inputs: list[str], force: bool) -> None:
    """Before any work: no output twice, none onto an input, none that exists unless --force is given."""
    seen = {os.path.realpath(path): path for path in inputs}
    for output in outputs:
        if output is None:
            continue
        if (other := seen.setdefault(os.path.realpath(output), "")) != "":
            raise UsageError(f"{output}: is the same file as {other}")
        seen[os.path.realpath(output)] = output
        check_target(output, force=force)


def printable(text: str) -> str:
    """The text with backslashes and codes for what does not print: control characters, bytes that are no text."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def one_line(text: str) -> str:
    """The lines of a text as one that can be printed."""
    return " ".join(" ".join(map(printable, text.split("\n"))).split())


def message_of(error: BaseException, *names: str) -> str:
    """What the error says, in one line that can be printed, with the `names` of files as `printable` has them."""
    text = str(error) or type(error).__name__
    if isinstance(error, MemoryError):
        text = f"not enough memory: {error}" if str(error) else "not enough memory"
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    for name in names:
        text = text.replace(name, printable(name))
    return one_line(text)


def names_in(options: argparse.Namespace) -> list[str]:
    """The texts among the options: what may be the name of a file."""
    values = [value if isinstance(value, list) else [value] for value in vars(options).values()]
    return [text for some in values for text in some if isinstance(text, str) and text]


def say(options: argparse.Namespace, message: str) -> None:
    """A message on stderr, unless --quiet is given."""
    if not options.quiet:
        print(f"gpukm: {printable(message)}", file=sys.stderr)
