"""How the Numba engine compiles: without the interpreter's lock, kept on disk where that is possible."""

import logging
from collections.abc import Callable
from typing import Any

from numba import njit

log = logging.getLogger("gpukm")

FUSED = {"contract", "nsz"}  # multiply-add may be fused: for filters, never for D
ANY_ORDER = FUSED | {"reassoc", "nnan"}  # sums may be taken in any order, too; nothing is NaN
_uncached: list[str] = []  # so that it is said once


def jit(allowed: set[str] | None = None) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called; `allowed` liberties with floating point, by default none.

    Compiled code goes to Numba's cache: beside the source, or in the user's cache folder. Where neither can be written
    it is compiled anew in each process.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": allowed or False}

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError as error:  # no folder to write to
            if not _uncached:
                log.debug("compiled code is not kept: %s", error)
            _uncached.append(function.__name__)
            return njit(**options)(function)

    return decorate
