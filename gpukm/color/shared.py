"""One palette for many images: their colours are counted in one pass, which can go on where it was killed."""

import argparse
import sys
import time
from dataclasses import replace

from gpukm._usage import say
from gpukm.color.batch import Failure, InputFile, run_all
from gpukm.color.histogram import Histogram
from gpukm.color.journal import Journal
from gpukm.color.palette import Palette
from gpukm.color.terminal import progress
from gpukm.color.work import Settings, Task, count, fit

_SECONDS = 20.0  # between two savings of the counts: what a kill costs at most, and far more than a saving takes


def shared_palette(
    found: list[InputFile],
    settings: Settings,
    jobs: int,
    balance: str,
    journal: Journal | None,
    importance: str | None,
    options: argparse.Namespace,
) -> tuple[Palette | None, list[Failure]]:
    """The palette for all images together, and those that could not be read; None if none could.

    Parameters
    ----------
    found : list of InputFile
    settings : Settings
    jobs : int
        Processes that read images.
    balance : str
        "pixels": a large image counts for more; "images": all count alike.
    journal : Journal or None
        Where the counts are kept meanwhile.
    importance : str or None
        A grey image, of the size of all the images: how much each pixel counts.
    options : argparse.Namespace
        quiet.
    """
    sums = [Histogram()]
    start, failures = 0, list[Failure]()
    if journal is not None and journal.histogram is not None:
        sums, start = [Histogram.load(journal.histogram)], journal.counted
        failures = [Failure(path, message, ValueError) for path, message in journal.unreadable]
    tasks = [Task(image.path, None, settings, importance=importance) for image in found[start:]]
    ready: dict[int, Histogram | Failure] = {}
    following, saved = 0, time.monotonic()
    with progress("counting image", len(tasks), sys.stderr, quiet=options.quiet) as bar:
        for place, result in run_all(count, tasks, [task.path for task in tasks], jobs):
            ready[place] = result
            while following in ready:  # in order: the journal knows how many are counted, not which
                one = ready.pop(following)
                following += 1
                if isinstance(one, Failure):
                    failures.append(one)
                    bar.step(f"failed: {one.message}")
                    continue
                _add(sums, one.balanced() if balance == "images" else one)
                bar.step(f"{found[start + following - 1].path}: {one.n_colors} different colours")
            if journal is not None and time.monotonic() - saved > _SECONDS:
                sums = [sum(sums, Histogram())]
                _save(journal, sums[0], start + following, failures)
                saved = time.monotonic()
    total = sum(sums, Histogram())
    if total.n_colors == 0:
        return None, failures
    if journal is not None and following:
        _save(journal, total, start + following, failures)
    palette = fit(total, settings)
    say(options, f"{len(palette)} colours for {total.n_colors} different ones")
    facts = {**palette.metadata, "space": settings.space, "balance": balance, "images": len(found) - len(failures)}
    return replace(palette, metadata=facts), failures


def _add(sums: list[Histogram], one: Histogram) -> None:
    """Add a histogram, such that each of many is merged few times: sums of one size are put together."""
    sums.append(one)
    while len(sums) > 1 and sums[-2].n_colors < 2 * sums[-1].n_colors:
        last = sums.pop()
        sums[-1] = sums[-1] + last


def _save(journal: Journal, total: Histogram, counted: int, failures: list[Failure]) -> None:
    path = f"{journal.path}.{counted}.npz"
    total.save(path, force=True)
    journal.count(counted, path, [(failure.path, failure.message) for failure in failures])
