"""The command ``gpukm``: arguments, exit codes and messages. What the subcommands do is in gpukm/_commands.py.

Results go to stdout or to files, messages to stderr. Exit codes: 0 done, 1 failed (one line on stderr says why),
2 wrong usage, 130 interrupted. ``python -X dev -m gpukm`` shows the traceback of a failure.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import gpukm
from gpukm import _commands
from gpukm._arguments import add_output_options, integer, number
from gpukm._usage import UsageError, message_of, names_in, one_line
from gpukm._validation import INITS
from gpukm.color.arguments import EXAMPLES as COLOR_EXAMPLES
from gpukm.color.arguments import add_commands as add_color_commands

_DATA = "a .npy, .npz, .csv, .tsv, .parquet, .arrow, .h5 or .zarr file: a row a sample, a column a feature"

_EXAMPLES = {
    "fit": "examples:\n"
    "  gpukm fit examples/penguins.csv -k 3 --columns bill_length_mm,bill_depth_mm --drop-missing -o penguins.npz\n"
    "  gpukm fit blobs.npy -k 64 --json > result.json",
    "predict": "example:\n  gpukm predict penguins.npz examples/penguins.csv --drop-missing -o labels.csv",
    "compile": "example:\n  gpukm compile --quiet",
    "info": "example:\n  gpukm info --json",
    **COLOR_EXAMPLES,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (by default that of the process) and return the exit code."""
    parser = _parser()
    try:
        if next(iter(sys.argv[1:] if argv is None else argv), None) == "quantize":
            parser.error("quantize is called colors now, see gpukm colors --help")
        options = parser.parse_args(argv)
    except SystemExit as exit_:  # argparse has printed usage, help or version
        return int(exit_.code or 0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for category in () if options.quiet else (UserWarning, RuntimeWarning):
                warnings.simplefilter("always", category)
            warnings.showwarning = _show_warning
            code = options.run(options)
            sys.stdout.flush()
    except UsageError as error:
        print(
            f"gpukm {options.command}: {message_of(error, *names_in(options))} (see gpukm {options.command} --help)",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        kept = getattr(options, "checkpoint", None)
        state = f"{kept} has the state: the same command goes on from it" if kept and os.path.exists(kept) else None
        print(f"gpukm: interrupted; {state or options.interrupted}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has what it wanted, as in `gpukm predict ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains again when it exits
        return 1
    except (ValueError, OSError, ImportError, MemoryError) as error:
        if sys.flags.dev_mode:
            raise
        print(f"gpukm: error: {message_of(error, *names_in(options))}", file=sys.stderr)
        return 1
    return int(code or 0)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"gpukm: warning: {one_line(str(message))}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gpukm",
        description="Exact k-means: the same answer, to the bit, on any engine and any number of threads.",
        epilog=f"{_EXAMPLES['fit']}\n\nEach subcommand has its own --help.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"gpukm {gpukm.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=text[0].lower() + text[1:],
            description=text + ".",
            epilog=_EXAMPLES[name],
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.set_defaults(run=run, interrupted="nothing was written")
        return command

    fit = add("fit", _commands.fit, "Cluster the rows of a data file and print a summary as R's kmeans does")
    fit.add_argument("data", metavar="DATA", help=_DATA)
    fit.add_argument("-k", "--clusters", metavar="K", type=integer(1), required=True, help="number of clusters")
    _add_table_options(fit)
    search = fit.add_argument_group("search")
    search.add_argument("--init", choices=INITS, default="k-means++", help="starting centroids (default: %(default)s)")
    _add_fit_options(search)
    saved = "keep the state of the fit in this file; the same command goes on from it to the same result"
    search.add_argument("--checkpoint", metavar="STATE.npz", help=saved)
    every = "seconds between checkpoints at least (default: %(default)s)"
    search.add_argument("--checkpoint-every", metavar="S", type=number(0), default=60.0, help=every)
    search.add_argument(
        "--dtype", choices=("float32", "float64"), help="convert the data first (by default text is float64)"
    )
    output = fit.add_argument_group("output")
    output.add_argument("-o", "--output", metavar="MODEL.npz", help="save the model, for gpukm predict and gpukm.load")
    labels = "write the cluster of each row, from 0, to FILE.npy or FILE.csv; -1 for rows left out"
    output.add_argument("--labels", metavar="FILE", help=labels)
    output.add_argument("--verbose", action="store_true", help="a line on stderr for each iteration")
    add_output_options(output)

    text = "Print the nearest cluster of each row, from 0, one a line; -1 for rows left out"
    predict = add("predict", _commands.predict, text)
    predict.add_argument("model", metavar="MODEL", help="a file written by gpukm fit -o")
    predict.add_argument("data", metavar="DATA", help=_DATA + "; by default the columns the model was fitted with")
    _add_table_options(predict)
    output = predict.add_argument_group("output")
    output.add_argument("-o", "--output", metavar="FILE", help="write to FILE.npy or FILE.csv instead of stdout")
    add_output_options(output, json=False)

    text = "Compile the Numba engine now, as when a container is built; else a process does it when it is first used"
    compiling = add("compile", _commands.compile_engine, text)
    compiling.add_argument("--quiet", action="store_true", help="no progress")

    info = add("info", _commands.info, "Say which engines and devices are here, what would run, and how to get faster")
    info.add_argument("--json", action="store_true", help="print JSON")
    info.set_defaults(quiet=False)

    add_color_commands(add)
    return parser


def _add_table_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("reading DATA")
    columns = "columns to use: names, or positions from 1, or ranges of them such as 3-6"
    group.add_argument("--columns", metavar="A,B", help=columns)
    missing = "leave out rows with a missing value (empty, NA, NaN, null)"
    group.add_argument("--drop-missing", action="store_true", help=missing)
    group.add_argument("--array", metavar="NAME", help="which array of an .npz, .h5 or .zarr file")
    delimiter = "between the fields of a text file (default: a comma; for .tsv a tab)"
    group.add_argument("--delimiter", metavar="C", help=delimiter)
    memory = "bytes for temporaries, such as 64M or 2G; larger files are read in blocks (default: 64M)"
    group.add_argument("--max-memory", metavar="SIZE", type=_size, default=64 << 20, help=memory)
    group.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        help="whether a text file's first line has the columns' names (default: if text stands there above numbers)",
    )


def _add_fit_options(group: argparse._ArgumentGroup) -> None:
    for flag, letter, kind, default, text in (
        ("--n-init", "N", _n_init, "auto", "starts, of which the best is kept"),
        ("--max-iter", "N", integer(0), 300, "iterations at most"),
        ("--tol", "T", number(0), 1e-4, "stop when the centroids shift by less, relative to the data's variance"),
        ("--seed", "N", integer(0), 0, "of the random starts"),
        ("--device", "D", str, "auto", "auto, cpu, cuda or cuda:N"),
    ):
        group.add_argument(flag, metavar=letter, type=kind, default=default, help=f"{text} (default: %(default)s)")


def _size(text: str) -> int:
    unit = "KMGT".find(text[-1:].upper()) + 1 if text else 0
    number = text[:-1] if unit else text
    if not number.isdecimal() or int(number) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes such as 500000, 64M or 2G")
    return int(number) << 10 * unit


def _n_init(text: str) -> int | str:
    return text if text == "auto" else int(integer(1)(text))
