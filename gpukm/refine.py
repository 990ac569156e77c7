"""What may follow Lloyd's algorithm, by name: each takes its result and returns one that is no worse."""

from collections.abc import Callable

from gpukm.lloyd import LloydResult
from gpukm.swap import random_swap

Refinement = Callable[..., LloydResult]  # (source, result, rng, *, max_iter, tol, callback, verbose)

REFINEMENTS: dict[str, Refinement] = {"random-swap": random_swap}
