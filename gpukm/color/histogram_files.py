"""Histograms in .npz files, without pickle; what is read is checked before it is used."""

import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._files import PathLike, atomic_write, open_zip, read_entry

FORMAT = "gpukm-histogram-1"
_ENTRIES = ("header", "keys", "counts", "weights")


def write(state: dict[str, Any], path: PathLike, *, force: bool) -> None:
    """Write the state of a `Histogram`; see `Histogram.save`."""
    (depth, alpha), weights = state["_form"], state["_weights"]
    header = {"format": FORMAT, "depth": depth, "alpha": alpha, "weighted": weights is not None}
    arrays = {"keys": state["_keys"], "counts": state["_counts"]} | ({} if weights is None else {"weights": weights})
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    with atomic_write(path, force=force) as file:
        np.savez_compressed(file, allow_pickle=False, header=text, **arrays)


def read(path: PathLike, most: int) -> dict[str, Any]:
    """The state of the `Histogram` in a file, of up to `most` colours; see `Histogram.load`."""
    with open_zip(path) as archive:
        names = [name for name in _ENTRIES if f"{name}.npy" in archive.namelist()]
        arrays = {name: read_entry(archive, f"{name}.npy", f"{path}: {name}") for name in names}
    name = os.fspath(path)
    try:
        header = json.loads(arrays["header"].astype(np.uint8).tobytes())
        known = header["format"] == FORMAT
    except (KeyError, ValueError, TypeError):
        known = False
    if not known:
        raise ValueError(f"{name}: holds no histogram that this version reads; make one with Histogram.save")
    depth, alpha, weighted = header.get("depth"), header.get("alpha"), header.get("weighted")
    keys, counts, weights = (arrays.get(part) for part in ("keys", "counts", "weights"))
    sound = (
        depth in (8, 16)
        and isinstance(alpha, bool)
        and _are_keys(keys, depth, alpha, most)
        and _are_integers(counts, keys, 1)
        and (_are_integers(weights, keys, 0) if weighted is True else weights is None)
    )
    if not sound:
        raise ValueError(f"{name}: its colours and counts do not belong together; the file is damaged")
    return {"_form": (depth, alpha), "_keys": keys, "_counts": counts, "_weights": weights}


def _are_keys(keys: NDArray[Any] | None, depth: int, alpha: bool, most: int) -> bool:
    if keys is None or keys.dtype != (np.uint32 if depth == 8 else np.uint64) or keys.ndim != 1 or len(keys) > most:
        return False
    below = 1 << depth * (4 if alpha else 3)
    return len(keys) == 0 or (bool((keys[1:] > keys[:-1]).all()) and int(keys[-1]) < below)


def _are_integers(values: NDArray[Any] | None, keys: NDArray[Any] | None, least: int) -> bool:
    if values is None or keys is None or values.dtype != np.int64 or values.shape != keys.shape:
        return False
    return bool((values >= least).all()) and float(values.sum(dtype=np.float64)) < 2.0**62
