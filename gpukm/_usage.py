"""What all subcommands of ``gpukm`` share: wrong usage, messages, outputs that must not replace anything."""

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


def say(options: argparse.Namespace, message: str) -> None:
    """A message on stderr, unless --quiet is given."""
    if not options.quiet:
        print(f"gpukm: {message}", file=sys.stderr)
