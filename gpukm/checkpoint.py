"""Checkpoints: the state of a fit in a file, replaced atomically, from which it goes on to the same bits.

The file is an .npz archive without pickles, like a model's: ``header.json`` with the format, the fit it belongs to, the
run, the state of the random numbers and the history; ``centroids.npy`` after the last iteration and ``before.npy``
before it; ``best.npy``, the centroids of the best finished run. Labels and sums follow from the centroids, so that the
file is small and may be read on another engine. It stays when the fit has ended: fitting again only labels the rows.
"""

import dataclasses
import glob
import hashlib
import json
import logging
import os
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gpukm
from gpukm._arrays import to_numpy
from gpukm._containers import as_array
from gpukm._files import DAMAGED, PathLike, atomic_write, check_target, open_zip, read_entry
from gpukm.lloyd import LloydResult
from gpukm.sources import Iteration

log = logging.getLogger("gpukm")

FORMAT, FORMAT_VERSION = "gpukm-checkpoint", 1
_HEADER = "header.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclasses.dataclass(frozen=True)
class State:
    """Where a fit stands.

    Attributes
    ----------
    run : runs that are finished
    generator : state of the bit generator, after the starting centroids of the current run were drawn
    best : the best finished run; read from a file it has no labels
    centroids, before : of the current run, after and before its last iteration; None where there is none
    history : iterations of the current run
    """

    run: int = 0
    generator: dict[str, Any] | None = None
    best: LloydResult | None = None
    centroids: NDArray | None = None
    before: NDArray | None = None
    history: list[Iteration] = dataclasses.field(default_factory=list)


class Checkpoint:
    """A file that holds the latest `State` of one fit.

    Parameters
    ----------
    path : the file; if it exists it must hold a state of the same fit, from which to go on
    every : seconds between two writings at least

    Attributes
    ----------
    state : the state to begin with, after `match`

    Raises
    ------
    ValueError
        If the file is no checkpoint or is damaged. It is left as it is.
    OSError
        If it cannot be read, or its folder does not exist.
    """

    def __init__(self, path: PathLike, every: float) -> None:
        self._path, self._every = path, every
        self._exists = os.path.exists(check_target(path, force=True))
        self._found = self._read() if self._exists else None
        self._identity: dict[str, Any] = {}
        self._written = time.monotonic()
        self._waiting: State | None = None
        self.state = State()

    def match(self, identity: Mapping[str, Any]) -> None:
        """Say which fit this is, in plain values; raises ValueError if the file belongs to another."""
        self._identity = json.loads(json.dumps(dict(identity)))
        if self._found is not None:
            header, arrays = self._found
            self._check_identity(header.get("fit"))
            try:
                self.state = self._state(header, arrays)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise self._refused(f"holds wrong values ({error!r}); the file is damaged") from None
            log.info("%s: going on after run %d, iteration %d", self._path, self.state.run, len(self.state.history))
        self._remove_leftovers()

    def keep(self, state: State) -> None:
        """Write the state if the last writing was long enough ago; else remember it."""
        self._waiting = state
        if time.monotonic() - self._written >= self._every:
            self.flush()

    def flush(self) -> None:
        """Write the state that waits, if one does."""
        if self._waiting is not None:
            self.write(self._waiting)

    def write(self, state: State) -> None:
        """Replace the file by one that holds `state`."""
        self._waiting = None  # also when writing fails: it is not tried again while that error is on its way
        best = state.best
        header = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "gpukm_version": gpukm.__version__,
            "fit": self._identity,
            "run": state.run,
            "generator": _plain(state.generator),
            "history": [dataclasses.asdict(iteration) for iteration in state.history],
            "best": None
            if best is None
            else {
                "inertia": best.inertia,
                "n_iter": best.n_iter,
                "converged": best.converged,
                "history": [dataclasses.asdict(iteration) for iteration in best.history],
            },
        }
        arrays = {
            "centroids": state.centroids,
            "before": state.before,
            "best": None if best is None else best.centroids,
        }
        with atomic_write(self._path, force=self._exists) as file, zipfile.ZipFile(file, "w") as archive:
            archive.writestr(zipfile.ZipInfo(_HEADER, _EPOCH), json.dumps(header, allow_nan=False))
            for name, array in arrays.items():
                if array is not None:
                    with archive.open(zipfile.ZipInfo(f"{name}.npy", _EPOCH), "w", force_zip64=True) as entry:
                        np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
        self._exists = True
        self._written = time.monotonic()

    def _remove_leftovers(self) -> None:
        """Unfinished files of a process that was killed while it wrote this checkpoint."""
        target = Path(os.path.realpath(self._path))
        for path in target.parent.glob(f".{glob.escape(target.name[:100])}.????????.gpukm-tmp"):
            path.unlink(missing_ok=True)

    def _read(self) -> tuple[dict[str, Any], dict[str, NDArray]]:
        if os.path.getsize(self._path) == 0:
            raise self._refused("is empty")
        try:
            with open_zip(self._path) as archive:
                names = archive.namelist()
                header = json.loads(archive.read(_HEADER)) if _HEADER in names else None
                if not isinstance(header, dict) or header.get("format") != FORMAT:
                    raise self._refused("is not a checkpoint of gpukm")
                arrays = {
                    name: read_entry(archive, f"{name}.npy", f"{self._path}, array {name!r}")
                    for name in ("centroids", "before", "best")
                    if f"{name}.npy" in names
                }
        except (ValueError, RecursionError, *DAMAGED) as error:
            if isinstance(error, _Refused) or (isinstance(error, OSError) and error.errno is not None):
                raise
            raise self._refused(f"is not a checkpoint of gpukm, or a damaged one ({error})") from None
        if header.get("format_version") != FORMAT_VERSION:
            version = header.get("format_version")
            raise self._refused(f"has format version {version!r}; gpukm {gpukm.__version__} reads {FORMAT_VERSION}")
        return header, arrays

    def _state(self, header: dict[str, Any], arrays: dict[str, NDArray]) -> State:
        shape, dtype = (self._identity["n_clusters"], self._identity["n_features"]), self._identity["dtype"]
        for name, array in arrays.items():
            if array.shape != shape or array.dtype != dtype or not np.isfinite(array).all():
                raise ValueError(f"{name} of shape {array.shape} and dtype {array.dtype}")
        best, found = header["best"], None
        if best is not None:
            none = np.empty(0)
            found = LloydResult(
                arrays["best"],
                none.astype(np.int32),
                float(best["inertia"]),
                none,
                none.astype(np.int64),
                int(best["n_iter"]),
                bool(best["converged"]),
                _history(best["history"]),
            )
        history = _history(header["history"])
        run, generator = int(header["run"]), _restored(header["generator"])
        if run < 0 or not isinstance(generator, dict) or (run > 0) != (found is not None):
            raise ValueError("run, generator or best")
        return State(run, generator, found, arrays.get("centroids"), arrays.get("before"), history)

    def _check_identity(self, found: Any) -> None:
        if not isinstance(found, dict):
            raise self._refused("does not say which fit it belongs to; the file is damaged")
        for name, value in self._identity.items():
            if found.get(name) != value:
                theirs, ours = str(found.get(name))[:60], str(value)[:60]
                raise self._refused(f"belongs to another fit: {name} is {theirs} there and {ours} here")

    def _refused(self, reason: str) -> ValueError:
        return _Refused(f"{self._path}: {reason}. It is left as it is: name another file as checkpoint, or remove it")


class _Refused(ValueError):
    pass


def fit_identity(model: Any, source: Any, n_init: int, generator: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the bits of a fit: data, by their exact statistics and in any order, and parameters.

    Parameters
    ----------
    model : KMeans
    source : SampleSource
    n_init : runs
    generator : state of the bit generator before anything was drawn
    """
    stats, init = source.stats(), model.init
    if callable(init):
        init = f"callable {getattr(init, '__qualname__', type(init).__qualname__)}"
    elif not isinstance(init, str):
        init = f"array {digest(np.asarray(to_numpy(as_array(init, 'init')), source.dtype))}"
    seed = "None" if model.random_state is None else json.dumps(_plain(dict(generator)), sort_keys=True)
    return {
        "estimator": type(model).__name__,
        "n_clusters": int(model.n_clusters),
        "init": init,
        "n_init": n_init,
        "max_iter": int(model.max_iter),
        "tol": float(model.tol),
        "random_state": seed,
        "n_samples": source.n_samples,
        "n_features": source.n_features,
        "dtype": source.dtype.name,
        "the data": digest(stats.minimum, stats.maximum, stats.mean, stats.total_weight, stats.totss),
    }


def digest(*arrays: NDArray | float) -> str:
    """A short text that stands for these values; -0.0 is 0.0."""
    sha = hashlib.sha256()
    for array in arrays:
        values = np.asarray(array)
        sha.update(f"{values.shape}{values.dtype.str}".encode())
        sha.update(np.ascontiguousarray(values + values.dtype.type(0)).tobytes())
    return sha.hexdigest()[:32]


def _history(entries: list[dict[str, Any]]) -> list[Iteration]:
    kinds: dict[str, Any] = {field.name: field.type for field in dataclasses.fields(Iteration)}
    return [Iteration(**{name: kind(entry[name]) for name, kind in kinds.items()}) for entry in entries]


def _plain(value: Any) -> Any:
    """The state of a bit generator as JSON has it; arrays of integers (MT19937, Philox, SFC64) are marked."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": str(value.dtype)}
    return value.item() if isinstance(value, np.generic) else value


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"array", "dtype"}:
            return np.array(value["array"], value["dtype"])
        return {name: _restored(each) for name, each in value.items()}
    return value
