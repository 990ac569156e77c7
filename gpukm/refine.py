"""What may follow Lloyd's algorithm, by name: each takes its result and returns one that is no worse."""

from collections.abc import Callable
from typing import Any

from gpukm.hartigan_wong import polish
from gpukm.lloyd import LloydResult
from gpukm.swap import random_swap

Refinement = Callable[..., LloydResult]  # (source, result, rng, *, max_iter, tol, callback, verbose)


def _hartigan_wong(source: Any, result: LloydResult, rng: Any, **options: Any) -> LloydResult:
    return polish(source, result, **options)


REFINEMENTS: dict[str, Refinement] = {"hartigan-wong": _hartigan_wong, "random-swap": random_swap}
