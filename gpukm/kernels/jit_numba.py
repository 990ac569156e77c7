"""How the Numba engine compiles: without the interpreter's lock, kept on disk where that is possible.

Numba takes compiled code from its cache as long as the file of the function is the same. It does not see that another
file has changed, from which a function was compiled into this one. So the cache is in a folder named after the
contents of all of them: an update of gpukm, or an edit, never runs what was compiled from older files.
"""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import njit

from gpukm import exact

log = logging.getLogger("gpukm")

FUSED = {"contract", "nsz"}  # multiply-add may be fused: for filters, never for D
ANY_ORDER = FUSED | {"reassoc", "nnan"}  # sums may be taken in any order, too; nothing is NaN


@cache
def cache_folder() -> str | None:
    """Where compiled code is kept: in NUMBA_CACHE_DIR, beside the source, or in the user's cache; None if nowhere."""
    here = Path(__file__).parent
    files = [*sorted(here.glob("*_numba.py")), Path(exact.__file__)]
    fingerprint = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    bases = [Path(numba.config.CACHE_DIR)] if numba.config.CACHE_DIR else [here / "__pycache__", user / "gpukm"]
    for base in bases:
        folder = base / f"numba-{fingerprint}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return str(folder)
        except OSError as error:
            log.debug("compiled code cannot be kept in %s: %s", folder, error)
    return None


def jit(allowed: set[str] | None = None) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function when it is first called; `allowed` liberties with floating point, by default none."""
    folder = cache_folder()

    def decorate(function: Callable[..., Any]) -> Any:
        before = numba.config.CACHE_DIR
        numba.config.CACHE_DIR = folder or before
        try:
            return njit(cache=folder is not None, nogil=True, fastmath=allowed or False)(function)
        finally:
            numba.config.CACHE_DIR = before

    return decorate
