"""How a fit is getting on, for people who wait: a line that changes on a terminal, or now and then a line of text."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gpukm.sources import Iteration

EVERY = 10.0  # seconds between lines where there is no terminal


class _Report:
    """Iterations as text. Rows are those of the data; an end is only known to be no later than `max_iter`."""

    def __init__(self, n_samples: int | None, max_iter: int) -> None:
        self._rows, self._most = n_samples, max_iter
        self._run = 0
        self._last = time.monotonic()

    def text(self, step: Iteration) -> str:
        """Such as "iteration 7, inertia 1.5e+06, 2e+07 rows/s, at most 0:04:12 left"."""
        self._run += step.iteration == 1
        run = f"start {self._run}, " if self._run > 1 else ""
        speed = "" if self._rows is None else f", {self._rows / max(step.seconds, 1e-9):.2g} rows/s"
        left = round((self._most - step.iteration) * step.seconds)
        hours, minutes, seconds = left // 3600, left // 60 % 60, left % 60
        text = f"{run}iteration {step.iteration}, inertia {step.inertia:.6g}{speed}"
        return f"{text}, at most {hours}:{minutes:02}:{seconds:02} left in this start"

    def now_and_then(self, step: Iteration) -> None:
        """A line on stderr, if the last one is long ago."""
        text = self.text(step)
        if time.monotonic() - self._last >= EVERY:
            print(f"gpukm: {text}", file=sys.stderr, flush=True)
            self._last = time.monotonic()


@contextmanager
def progress(
    *, verbose: bool, quiet: bool, n_samples: int | None, max_iter: int
) -> Iterator[Callable[[Iteration], None] | None]:
    """A callback that shows iterations on stderr.

    With `verbose` each is a line; with `quiet` there are none. Else a terminal has one line that changes, if rich is
    installed, and other places a line every ten seconds.
    """
    if verbose:
        yield lambda step: print(
            f"Iteration {step.iteration}, inertia {step.inertia:.6g}, {step.changed} rows changed", file=sys.stderr
        )
        return
    if quiet:
        yield None
        return
    report = _Report(n_samples, max_iter)
    if sys.stderr.isatty():
        try:
            from rich.console import Console
        except ImportError:
            pass
        else:
            with Console(stderr=True).status("reading the data, finding starting centroids") as status:
                yield lambda step: status.update(report.text(step))
            return
    yield report.now_and_then
