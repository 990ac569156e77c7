"""Fitted models as files: an .npz archive without pickles, checked before use, written whole or not at all.

The archive holds, uncompressed:

* ``header.json``: the format's name and version, the estimator, its parameters, feature names, history, and the
  numbers of the fit;
* ``centroids.npy`` (k, d) float32 or float64; ``withinss.npy`` (k,) float64; ``size.npy`` (k,) int64;
* ``labels.npy`` (n,) int32, unless it was left out; ``init.npy`` where the parameter `init` is an array;
* of a `MiniBatchKMeans` ``counts.npy`` (k,) float64, and in the header what the next `partial_fit` goes on from. What
  such a model has not, as `compute_labels` or a fit was left out, is not in the file.

JSON keeps a float64 to the bit: Python writes the shortest text that reads back as the same number.
"""

import dataclasses
import json
import math
import os
import warnings
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gpukm
from gpukm._arrays import to_numpy
from gpukm._containers import as_array
from gpukm._files import PathLike, atomic_write, open_zip, read_entry
from gpukm._fitting import FittingCentroids
from gpukm._validation import check_parameters
from gpukm.estimators import KMeans
from gpukm.minibatch_kmeans import MiniBatchKMeans
from gpukm.sources import Iteration

FORMAT, FORMAT_VERSION = "gpukm-model", 1

_HEADER = "header.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the date of every entry: the same model gives the same bytes
_ESTIMATORS: dict[str, type[FittingCentroids]] = {"KMeans": KMeans, "MiniBatchKMeans": MiniBatchKMeans}
_INT_FIELDS = ("n_clusters", "n_features", "n_iter")
_FLOAT_FIELDS = ("inertia", "totss")
_SPARED = ("n_iter", "inertia", "totss", "converged", "history")  # which a MiniBatchKMeans may not have


def save(model: FittingCentroids, path: PathLike, *, labels: bool = True, force: bool = False) -> None:
    """Write a fitted model to a file that `load` reads, on any machine.

    Parameters
    ----------
    model : KMeans or MiniBatchKMeans
        Fitted. Arrays on a device are written as NumPy arrays.
    path : str or path
        Written as given, usually ending in .npz.
    labels : bool, default=True
        Whether to keep `labels_`, 4 bytes a sample.
    force : bool, default=False
        Replace the file if it exists.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    TypeError
        If `model` is neither, or a parameter cannot be written.
    OSError
        If the file exists and `force` is not set, or cannot be written; nothing half-written is left.

    Warns
    -----
    UserWarning
        For parameters that a file cannot hold, and what is saved instead: a generator as `random_state` (None), a
        callable `init` ("k-means++"), a `callback` (None). The header notes it. The fitted centroids are not affected.
    """
    if _ESTIMATORS.get(type(model).__name__) is not type(model):
        known = " or ".join(f"gpukm.{name}" for name in _ESTIMATORS)
        raise TypeError(f"save takes a {known}, not {type(model).__name__}; pickle other estimators")
    model._check_is_fitted()
    centroids = to_numpy(model.cluster_centers_)
    arrays: dict[str, NDArray[Any]] = {"centroids": centroids}
    for name in ("withinss", "size", "counts", *(["labels"] if labels else [])):
        if hasattr(model, f"{name}_"):
            arrays[name] = to_numpy(getattr(model, f"{name}_"))
    params, substituted = _plain_parameters(model, arrays)
    names = getattr(model, "feature_names_in_", None)
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "gpukm_version": gpukm.__version__,
        "estimator": type(model).__name__,
        "params": params,
        "substituted": substituted,
        "dtype": str(centroids.dtype),
        "n_clusters": centroids.shape[0],
        "n_features": centroids.shape[1],
        "feature_names": None if names is None else [str(name) for name in names],
        "engine": model.engine_,
        **{name: getattr(model, f"{name}_", None) for name in _SPARED},
    }
    if header["history"] is not None:
        header["history"] = [dataclasses.asdict(iteration) for iteration in header["history"]]
    if isinstance(model, MiniBatchKMeans):
        header["minibatch"] = model._progress()
    text = json.dumps(header, indent=1, allow_nan=False).encode()
    with atomic_write(path, force=force) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(_HEADER, _EPOCH), text)
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", _EPOCH), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
    for name, note in substituted.items():
        warnings.warn(f"{name}: {note}, as a file cannot hold it", stacklevel=2)


def load(path: PathLike) -> Any:
    """Read a model written by `save` (or by the ``save`` of a model).

    Everything is checked before it is used, and nothing in the file is ever run: files of unknown origin are safe.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    KMeans or MiniBatchKMeans
        Fitted, with NumPy arrays; it predicts the same bits as the model that was saved, and goes on with the same bits
        in `partial_fit`. It has no `labels_` if they were left out.

    Raises
    ------
    ValueError
        If the file is not a model of gpukm, is cut short or damaged, or was written by a newer version; the message
        names it.
    OSError
        If the file cannot be opened.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path}: is a folder; give the name of a model file")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path}: no such file")
    with open_zip(path) as archive:
        header = _read_header(archive, path)
        k, d = header["n_clusters"], header["n_features"]
        centroids = _array(archive, path, "centroids", (k, d), header["dtype"])
        arrays = {"centroids": centroids}
        for name, dtype in (("withinss", "float64"), ("size", "int64"), ("counts", "float64"), ("labels", "int32")):
            if f"{name}.npy" in archive.namelist() or name in _needed(header):
                arrays[name] = _array(archive, path, name, (None if name == "labels" else k,), dtype)
        params = dict(header["params"])
        if params.get("init") == {"array": "init"}:
            params["init"] = _array(archive, path, "init", (None, d), None)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{path}: {name} holds NaN or infinity; the file is damaged")
    labels, size, counts = (arrays.get(name) for name in ("labels", "size", "counts"))
    if labels is not None and ((labels < 0) | (labels >= k)).any():
        raise ValueError(f"{path}: labels are not all from 0 to {k - 1}; the file is damaged")
    wrong = size is not None and labels is not None and not np.array_equal(np.bincount(labels, minlength=k), size)
    if wrong or (size is not None and (size < 0).any()):
        raise ValueError(f"{path}: the sizes of the clusters do not agree with the labels; the file is damaged")
    if counts is not None and (counts < 0).any():
        raise ValueError(f"{path}: counts holds negative numbers; the file is damaged")

    estimator = header["estimator"]
    model = _ESTIMATORS[estimator](**_checked_parameters(params, path, estimator))
    model.cluster_centers_ = arrays.pop("centroids")
    vars(model).update({f"{name}_": array for name, array in arrays.items()})
    for name, of in (("n_iter", int), ("inertia", float), ("totss", float), ("converged", bool), ("engine", str)):
        if header[name] is not None:
            setattr(model, f"{name}_", of(header[name]))
    model.n_features_in_ = d
    if header["history"] is not None:
        model.history_ = _history(header["history"], path)
    if header["feature_names"] is not None:
        model.feature_names_in_ = np.array(header["feature_names"], dtype=object)
    if isinstance(model, MiniBatchKMeans):
        try:
            model._resume(header["minibatch"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{path}: what partial_fit goes on from is wrong ({error}); the file is damaged") from None
    return model


def _needed(header: dict[str, Any]) -> tuple[str, ...]:
    return ("withinss", "size") if header["estimator"] == "KMeans" else ("counts",)


def _plain_parameters(
    model: FittingCentroids, arrays: dict[str, NDArray[Any]]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The parameters as JSON has them, and what stands in for those it cannot hold. An array goes to `arrays`."""
    plain: dict[str, Any] = {}
    substituted: dict[str, str] = {}
    for name, value in model.get_params().items():
        scalar = value.item() if isinstance(value, np.generic) else value
        if scalar is None or isinstance(scalar, bool | int | float | str):
            plain[name] = scalar
        elif name == "random_state":
            plain[name] = None
            substituted[name] = f"a {type(value).__name__} is saved as None"
        elif callable(value):
            plain[name] = "k-means++" if name == "init" else None
            substituted[name] = f"a callable is saved as {plain[name]!r}"
        elif name == "init":
            arrays["init"] = np.asarray(to_numpy(as_array(value, "init")))
            plain[name] = {"array": "init"}
        else:
            raise TypeError(f"the parameter {name}={value!r} cannot be saved; set it to a number or text by set_params")
    return plain, substituted


def _read_header(archive: zipfile.ZipFile, path: PathLike) -> dict[str, Any]:
    """The header, with the fields of this version, each of its type."""
    if _HEADER not in archive.namelist():
        raise ValueError(f"{path}: not a model saved by gpukm (it has no {_HEADER})")
    try:
        header = json.loads(archive.read(_HEADER).decode())
    except (ValueError, RecursionError, zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        raise ValueError(f"{path}: its header cannot be read ({error}); the file is damaged") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ValueError(f"{path}: not a model saved by gpukm (its header does not say {FORMAT!r})")
    version = header.get("format_version")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"{path}: its header has the impossible format version {version!r}; the file is damaged")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"{path}: written by gpukm {header.get('gpukm_version')} in format version {version}; gpukm "
            f"{gpukm.__version__} reads up to {FORMAT_VERSION}. Upgrade: pip install -U gpukm"
        )
    estimator = header.get("estimator")
    if estimator not in _ESTIMATORS:
        raise ValueError(
            f"{path}: holds a {estimator!r}, which gpukm {gpukm.__version__} cannot load, only {list(_ESTIMATORS)}"
        )
    names = header.get("feature_names")
    checks = {
        **{field: _is_count(header.get(field)) for field in _INT_FIELDS},
        **{field: _is_amount(header.get(field)) for field in _FLOAT_FIELDS},
        "params": isinstance(header.get("params"), dict),
        "dtype": header.get("dtype") in ("float32", "float64"),
        "converged": isinstance(header.get("converged"), bool),
        "engine": isinstance(header.get("engine"), str),
        "history": isinstance(header.get("history"), list),
        **({"minibatch": isinstance(header.get("minibatch"), dict)} if estimator == "MiniBatchKMeans" else {}),
        "feature_names": names is None or (_is_text_list(names) and len(names) == header.get("n_features")),
    }
    for field, fine in checks.items():
        spared = estimator == "MiniBatchKMeans" and field in _SPARED and header.get(field) is None
        if not fine and not spared:
            raise ValueError(f"{path}: the field {field!r} of its header is missing or wrong; the file is damaged")
    return header


def _is_text_list(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _array(
    archive: zipfile.ZipFile, path: PathLike, name: str, shape: tuple[int | None, ...], dtype: str | None
) -> NDArray[Any]:
    """The array `name`, of that shape (None: any length) and dtype (None: any number), in native byte order."""
    if f"{name}.npy" not in archive.namelist():
        raise ValueError(f"{path}: the array {name!r} is missing; the file is damaged")
    array = read_entry(archive, f"{name}.npy", f"{path}, array {name!r}")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    agrees = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape))
    if not agrees or (str(array.dtype) != dtype if dtype else array.dtype.kind not in "biuf"):
        wanted = "x".join("n" if length is None else str(length) for length in shape)
        raise ValueError(
            f"{path}: the array {name!r} has shape {array.shape} and dtype {array.dtype}, not the {wanted} "
            f"{dtype or 'numbers'} of the header; the file is damaged"
        )
    return array


def _checked_parameters(params: dict[str, Any], path: PathLike, estimator: str) -> dict[str, Any]:
    unknown = sorted(set(params) - set(_ESTIMATORS[estimator]().get_params()))
    if unknown:
        raise ValueError(f"{path}: its header has unknown parameters: {', '.join(unknown)}; the file is damaged")
    if not isinstance(params.get("init", ""), str | np.ndarray):
        raise ValueError(f"{path}: its header has init={params['init']!r}; the file is damaged")
    try:
        check_parameters(estimator, params)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return params


def _history(entries: list[Any], path: PathLike) -> list[Iteration]:
    fields = {field.name: field.type for field in dataclasses.fields(Iteration)}
    for entry in entries:
        if not isinstance(entry, dict) or entry.keys() != fields.keys():
            raise ValueError(f"{path}: the history in its header has wrong entries; the file is damaged")
        for name, kind in fields.items():
            if not (_is_count(entry[name]) if kind is int else _is_amount(entry[name])):
                raise ValueError(f"{path}: the history in its header has {name}={entry[name]!r}; the file is damaged")
    return [Iteration(**entry) for entry in entries]
