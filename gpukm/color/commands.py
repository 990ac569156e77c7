"""The commands ``gpukm colors``, ``palette`` and ``apply``; their options are in arguments.py, the work in work.py.

Exit codes, as pngquant's where it has them: 0 all done, 1 failed, 2 wrong usage, or some images failed and the others
were done, 15 an output exists, 98 a result would be larger than its file, 99 a quality asked for is not reached.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any

from gpukm._files import check_target
from gpukm._usage import UsageError, check_outputs, message_of, names_in, say
from gpukm.color.arguments import MANY
from gpukm.color.batch import Failure, InputFile, find_inputs, name_outputs, refuse_links, run_all
from gpukm.color.journal import Journal
from gpukm.color.outputs import check_image_name
from gpukm.color.palette import Palette, parse_hex
from gpukm.color.palette_files import check_palette_name, read_palette, to_json
from gpukm.color.report import MOST_SHOWN, Shown, write_report
from gpukm.color.results import CODES, code_of, end, line, print_palette, print_results, quality, row
from gpukm.color.shared import shared_palette
from gpukm.color.terminal import progress
from gpukm.color.work import Settings, Task, convert

_SPECIAL = tuple(CODES)
_MOST = 256  # colours to be searched for a quality, unless -k is given


def run(name: str, options: argparse.Namespace) -> int:
    """Run the command and return its exit code; what fails as a whole is told on stderr."""
    try:
        _check_options(options)
        return {"colors": colors, "palette": palette, "apply": apply}[name](options)
    except _SPECIAL as error:
        print(f"gpukm: error: {message_of(error, *names_in(options))}", file=sys.stderr)
        return code_of(type(error))


def colors(options: argparse.Namespace) -> int:
    """Reduce images to few colours, each to its own or all to one palette."""
    settings = _settings(options)
    return _convert_all(options, settings, _find(options), palette=None, shared=options.shared)


def apply(options: argparse.Namespace) -> int:
    """Reduce images to the colours of a palette that is there."""
    settings = _settings(options)
    palette = read_palette(options.palette)
    if len(palette) > 256:
        raise UsageError(f"--palette {options.palette}: has {len(palette)} colours; an indexed image has at most 256")
    return _convert_all(options, settings, _find(options), palette=palette, shared=True)


def palette(options: argparse.Namespace) -> int:
    """Find one palette for all images together; print it, write it."""
    settings = _settings(options)
    outputs = options.output or []
    for output in outputs:
        _usage(check_palette_name, output)
        refuse_links(output)
    found = _find(options)
    read = [image.path for image in found] + ([options.importance] if options.importance else [])
    check_outputs(list(outputs), read, options.force)
    journal = _journal(options, settings, found, None)
    made, failures = shared_palette(
        found, settings, _jobs(options, found), options.balance, journal, options.importance, options
    )
    if made is not None:
        for output in outputs:
            made.save(output, force=options.force)
            say(options, f"wrote {output}: {len(made)} colours")
        if journal is not None:
            journal.remove()
        if options.json:
            failed = [{"input": one.path, "error": one.message} for one in failures]
            facts = {"images": len(found) - len(failures), "palette": to_json(made), "failed": failed}
            print(json.dumps(facts, indent=2, allow_nan=False))
        else:
            print_palette(made)
            print(quality(made.errors))
    return end(failures, len(found))


def _convert_all(
    options: argparse.Namespace,
    settings: Settings,
    found: list[InputFile],
    *,
    palette: Palette | None,
    shared: bool,
) -> int:
    outputs = _outputs(options, found)
    journal = _journal(options, settings, found, palette)
    if journal is not None and journal.left is not None:
        # A kill between writing an image and noting it leaves its file, and the same bytes come out again.
        settings = replace(settings, force=True)
    todo = _to_be_done(options, found, outputs, journal)
    failures: list[Failure] = []
    if palette is None and shared:
        palette, failures = shared_palette(
            found, settings, _jobs(options, found), options.balance, journal, options.importance, options
        )
        if palette is None:
            print_results(options, [], [], None, failures)
            return end(failures, len(found))
    unreadable = {failure.path for failure in failures}
    todo = [number for number in todo if found[number].path not in unreadable]
    tasks = [
        Task(
            found[number].path,
            outputs[number],
            settings,
            options.out_dir,
            palette,
            getattr(options, "importance", None),
            options.report is not None,
        )
        for number in todo
    ]
    figures: dict[int, dict[str, Any]] = {} if journal is None else dict(journal.done)
    palettes: dict[int, Palette] = {}
    shown: list[Shown] = []
    with progress("image", len(tasks), sys.stderr, quiet=options.quiet) as bar:
        for place, result in run_all(convert, tasks, [task.path for task in tasks], _jobs(options, found)):
            number = todo[place]
            if isinstance(result, Failure):
                failures.append(result)
                bar.step(f"failed: {result.message}")
                continue
            figures[number] = dict(result.figures)
            palettes[number] = result.palette
            if journal is not None:
                journal.finish(number, figures[number])
            bar.step(line(result))
            if result.shown is not None:
                shown = sorted([*shown, result.shown], key=lambda one: -one.error)[:MOST_SHOWN]
    in_order = [figures[number] for number in sorted(figures)]
    if options.report and in_order:
        title = in_order[0]["input"] if len(found) == 1 else f"{len(in_order)} images"
        rows, failed = [row(one) for one in in_order], [failure.message for failure in failures]
        write_report(options.report, shown, title=title, rows=rows, failed=failed, force=options.force)
        say(options, f"wrote {options.report}")
    if journal is not None:
        journal.remove()
    print_results(options, in_order, [palettes.get(number) for number in sorted(figures)], palette, failures)
    return end(failures, len(found))


# -- before the work -------------------------------------------------------------------------------------


def _check_options(options: argparse.Namespace) -> None:
    """Refuse options that would do nothing without another one, or against it; then fill in what was not given."""
    alone = (
        ("balance", getattr(options, "shared", True), "--balance is for one palette of all images; give --shared"),
        ("dither_level", getattr(options, "dither", "") != "none", "--dither-level needs --dither fs, bayer or blue"),
        ("background", options.alpha == "flatten", "--background needs --alpha flatten"),
        ("chroma", options.space not in ("srgb", "linear"), "--chroma needs --space oklab, lab or din99"),
        ("format", getattr(options, "out_dir", None), "--format is for --out-dir; with -o the name's ending decides"),
    )
    for name, needed, text in alone:
        if getattr(options, name, None) is not None and not needed:
            raise UsageError(text)
    if getattr(options, "frames", None) == "own" and options.shared:
        raise UsageError("--frames own is a palette for each frame, --shared one for all images; give one of them")
    if getattr(options, "importance", None) is not None and not os.path.exists(options.importance):
        raise FileNotFoundError(f"--importance {options.importance}: no such file")
    for name, default in (("balance", "pixels"), ("format", "png")):
        if getattr(options, name, default) is None:
            setattr(options, name, default)


def _settings(options: argparse.Namespace) -> Settings:
    given = {part.name: getattr(options, part.name, None) for part in fields(Settings)}
    settings = replace(Settings(), **{name: value for name, value in given.items() if value is not None})
    if options.command == "palette" and options.colors is None:
        has_target = any(value is not None for value in (options.target_de, options.target_de_p95, options.min_psnr))
        settings = replace(settings, colors=_MOST if has_target else 8)
    for color in (*settings.keep, settings.background):
        _usage(parse_hex, color)
    if len(settings.keep) > settings.colors:
        raise UsageError(f"--keep has {len(settings.keep)} colours, more than -k {settings.colors}")
    return settings


def _find(options: argparse.Namespace) -> list[InputFile]:
    out_dir = getattr(options, "out_dir", None)
    return find_inputs(options.inputs, recursive=options.recursive, skip=out_dir)


def _jobs(options: argparse.Namespace, found: list[InputFile]) -> int:
    if options.jobs is None:
        return 1 if len(found) < MANY or getattr(options, "device", "").startswith("cuda") else os.cpu_count() or 1
    return int(options.jobs)


def _outputs(options: argparse.Namespace, found: list[InputFile]) -> list[str | None]:
    """A name for each image; none of them an input, all with an ending that can be written."""
    if options.output and options.out_dir:
        raise UsageError("-o is for one image, --out-dir for many; give one of them")
    outputs: list[str | None] = [None] * len(found)
    if options.output:
        if len(found) > 1:
            raise UsageError(f"-o {options.output}: is one file for {len(found)} images; give --out-dir")
        _usage(check_image_name, options.output)
        refuse_links(options.output)
        outputs = [options.output]
    elif options.out_dir:
        if os.path.exists(options.out_dir) and not os.path.isdir(options.out_dir):
            raise UsageError(f"--out-dir {options.out_dir}: is not a folder")
        outputs = list(_usage(name_outputs, found, options.out_dir, "." + options.format))
        _say_renamed(options, found, outputs)
    read = [*(image.path for image in found), getattr(options, "importance", None), getattr(options, "palette", None)]
    sources = {os.path.realpath(path): path for path in read if path is not None}
    for output in [*outputs, options.report]:
        if output is not None and (source := sources.get(os.path.realpath(output))) is not None:
            raise UsageError(f"{output}: is the same file as the input {source}")
    if options.report:
        if not options.report.lower().endswith((".html", ".htm")):
            raise UsageError(f"--report {options.report}: the name must end in .html")
        refuse_links(options.report)
        check_target(options.report, force=options.force)
    return outputs


def _say_renamed(options: argparse.Namespace, found: list[InputFile], outputs: Sequence[str | None]) -> None:
    stems = [os.path.join(options.out_dir, os.path.splitext(image.relative)[0]) for image in found]
    renamed = [output for stem, output in zip(stems, outputs) if output != f"{stem}.{options.format}"]
    if renamed:
        text = f"{len(renamed)} images have the name of another, but for the ending or the folder"
        say(options, f"{text}; they are written with their own ending, too, such as {renamed[0]}")


def _to_be_done(
    options: argparse.Namespace, found: list[InputFile], outputs: Sequence[str | None], journal: Journal | None
) -> list[int]:
    """Numbers of the images that are not done yet; raises FileExistsError before any work if outputs are in the way."""
    if journal is not None and journal.left is not None:
        return [number for number in range(len(found)) if number not in journal.done and number not in journal.left]
    todo = list(range(len(found)))
    existing = [number for number, output in enumerate(outputs) if output is not None and os.path.lexists(output)]
    if existing and not options.force and not options.skip_existing:
        first = outputs[existing[0]]
        text = (
            f"{len(existing)} of {len(found)} outputs exist, such as {first}" if len(found) > 1 else f"{first}: exists"
        )
        raise FileExistsError(f"{text}; --force replaces, --skip-existing leaves what is there")
    if options.skip_existing:
        todo = sorted(set(todo) - set(existing))
        if existing:
            say(options, f"left {len(existing)} of {len(found)} images, whose outputs exist")
    if journal is not None:
        journal.leave(sorted(set(range(len(found))) - set(todo)))
    return todo


def _journal(
    options: argparse.Namespace, settings: Settings, found: list[InputFile], palette: Palette | None
) -> Journal | None:
    if options.resume is None:
        return None
    refuse_links(options.resume)
    names = ("command", "shared", "balance", "output", "out_dir", "format", "importance")
    given = {name: getattr(options, name, None) for name in names}
    given["palette"] = None if palette is None else palette.hex
    journal = Journal(options.resume, {**asdict(settings), **given}, found)
    if journal.counted or journal.done:
        say(options, f"going on with {options.resume}: {journal.counted} images counted, {len(journal.done)} written")
    return journal


def _usage(function: Any, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except ValueError as error:
        raise UsageError(str(error)) from None
