"""background: the Numba engine is compiled by a process of its own, while the reference runs.

Engines give the same bits, so a fit may begin on the reference and go on with compiled code when that is there. Nobody
waits for the compiler, and nobody pays for it twice: what it made is kept on disk, and so is the note that it is done.
"""

import hashlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gpukm.kernels.arrange import MOST_FEATURES

log = logging.getLogger("gpukm")

KINDS = tuple(f"{dtype}-{width}" for dtype in ("float32", "float64") for width in ("narrow", "wide"))
LONGEST = 900  # seconds for which another process that began to compile is thought to be at it
PROGRAM = "import sys; from gpukm.compiling import compile_engine; compile_engine(kinds=sys.argv[1:])"

_lock = threading.Lock()
_here: set[str] = set()  # kinds that are compiled, or that this process compiles itself
_begun: dict[tuple[int, str], subprocess.Popen] = {}  # by process: one that was forked has no children yet


def compiled(dtype: np.dtype, n_features: int) -> bool:
    """Whether the compiled engine may be used for such rows now; where not, a process is at work on it.

    It may as well where nothing can be done in the background: then it compiles where it is called. The environment
    variable GPUKM_COMPILE, "now" or "background", chooses.

    Raises
    ------
    ValueError
        GPUKM_COMPILE is something else.
    """
    kind = f"{dtype.name}-{'narrow' if n_features <= MOST_FEATURES else 'wide'}"
    when = os.environ.get("GPUKM_COMPILE", "")
    if when not in ("", "background", "now"):
        raise ValueError(f"GPUKM_COMPILE is {when!r}; it may be 'background' or 'now', or unset for 'background'")
    if when == "now" or kind in _here:
        return True
    with _lock:
        done = _note(kind, "done")
        if done is None or done.exists() or not _at_work(kind):
            _here.add(kind)
    return kind in _here


def missing() -> bool:
    """Whether the functions for some kind of rows could be on disk, and are not yet."""
    notes = [_note(kind, "done") for kind in KINDS]
    return not all(note is None or note.exists() for note in notes)


@contextmanager
def compiling(kind: str) -> Iterator[None]:
    """Note that this process compiles for a kind, so that no other does, and in the end that it is done."""
    begun, done = _note(kind, "begun"), _note(kind, "done")
    if begun is None or done is None:
        yield
        return
    begun.touch()
    try:
        yield
        done.touch()
    finally:
        begun.unlink(missing_ok=True)


def _at_work(kind: str) -> bool:
    """Whether a process compiles for a kind; one is started if none is."""
    own, begun = (os.getpid(), kind), _note(kind, "begun")
    assert begun is not None
    if own in _begun:
        if _begun[own].poll() is None:
            return True
        begun.unlink(missing_ok=True)  # where it did not come so far
        return False
    try:
        if time.time() - begun.stat().st_mtime < LONGEST:
            return True
    except FileNotFoundError:
        pass
    except OSError:
        return False
    python = sys.executable or ""
    if getattr(sys, "frozen", False) or "python" not in Path(python).name.lower():
        return False  # another program, which has Python in it
    quiet: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    path = [*filter(None, sys.path), str(Path(__file__).parents[2])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "GPUKM_COMPILE": "now"}
    try:
        begun.touch()
        command = [python, "-c", PROGRAM, kind]
        _begun[own] = subprocess.Popen(command, env=environment, start_new_session=True, **quiet)
    except OSError as error:
        log.debug("no process to compile in: %s", error)
        begun.unlink(missing_ok=True)
        return False
    log.info("process %d compiles the Numba engine; until then the NumPy engine runs", _begun[own].pid)
    return True


def _note(kind: str, what: str) -> Path | None:
    """The file that tells of a kind, for this processor and installation; None if nothing can be kept."""
    from gpukm.kernels.jit_numba import cache_folder

    folder = cache_folder()
    return None if folder is None else Path(folder) / f"{kind}-{_compiler()}.{what}"


@cache
def _compiler() -> str:
    """What Numba looks at before it takes a function from disk: the processor, the versions, the files."""
    import numba
    from numba.core.registry import cpu_target

    machine = cpu_target.target_context.codegen().magic_tuple()
    files = [f"{file} {file.stat().st_mtime_ns}" for file in sorted(Path(__file__).parent.glob("*_numba.py"))]
    names = [numba.__version__, sys.implementation.cache_tag, *machine, *files]
    return hashlib.sha256("\n".join(map(str, names)).encode()).hexdigest()[:16]
