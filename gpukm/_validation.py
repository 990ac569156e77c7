"""Every user-facing check and its message: what was given, what is allowed, what to do.

Nothing here copies or casts an array of samples: a uint8 data set stays uint8, and the source converts its blocks.
The compute dtype follows from the dtype of X, so that no value is ever rounded on the way in:

=============================================  ============
dtype of X                                     computed in
=============================================  ============
float32, float16, bool, (u)int8, (u)int16      float32
float64, (u)int32                              float64
(u)int64, values within 2**53                  float64
objects that are numbers, as lists of Decimal  float64
=============================================  ============
"""

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpukm import _arrays
from gpukm._containers import as_array, as_csr, as_float64, check_integers, dtype_name
from gpukm._nonfinite import nonfinite
from gpukm._places import check_beside, device_name

Array = Any

_FLOAT32 = frozenset({"float32", "float16", "bool", "int8", "uint8", "int16", "uint16"})
_FLOAT64 = frozenset({"float64", "int32", "uint32", "int64", "uint64"})
_CHECK_BYTES = 1 << 22  # of X looked at in one go, so that a check's temporaries stay small

INITS = ("k-means++", "k-means||", "random", "random-partition", "maximin")
_WEIGHTS = 2.0**100  # and its inverse: weights within them leave room for 124 bits of X in the sums of `gpukm.exact`
ALGORITHMS = ("lloyd", "elkan", "hartigan-wong", "macqueen")


class InvalidParameterError(ValueError, TypeError):
    """An argument of a kind or value that is not allowed; both a ValueError and a TypeError, as in scikit-learn."""


class Samples(NamedTuple):
    """X as the layers below take it."""

    array: Array  # (n_samples, n_features), at least one of each; its own namespace, dtype, strides and byte order
    xp: Any
    dtype: np.dtype[Any]  # to compute in: float32 or float64


def check_samples(X: Any, *, name: str = "X", sparse: bool = False) -> Samples:
    """Return X, of any supported kind, as a 2-D array of numbers, neither copied nor cast; NaN are not looked for."""
    array = as_csr(X) if sparse and _arrays.is_sparse(X) else as_array(X, name)
    xp = _arrays.array_namespace(array)
    dtype = compute_dtype(array, name)
    shape = tuple(int(length) for length in array.shape)
    if len(shape) < 2:
        got = "scalar array" if len(shape) == 0 else "1D array"
        raise ValueError(
            f"Expected 2D array, got {got} instead: {name} has shape {shape}, but takes a row per sample.\n"
            f"Reshape your data either using {name}.reshape(-1, 1) if your data has a single feature "
            f"or {name}.reshape(1, -1) if it contains a single sample."
        )
    if len(shape) > 2:
        raise ValueError(
            f"Found array with dim {len(shape)}, while dim <= 2 is required: {name} has shape {shape}.\n"
            f"Reshape your data so that each row is one sample, for example {name}.reshape({shape[0]}, -1); "
            f"for the pixels of an image of shape (height, width, 3), use {name}.reshape(-1, 3)."
        )
    for length, what in zip(shape, ("sample(s)", "feature(s)"), strict=True):
        if length == 0:
            raise ValueError(
                f"Found array with 0 {what} (shape={shape}) while a minimum of 1 is required. "
                f"Check how {name} was selected or read."
            )
    check_integers(array.data if _arrays.is_sparse(array) else array, xp, name)
    return Samples(array, xp, dtype)


def compute_dtype(array: Array, name: str = "X") -> np.dtype[Any]:
    """float32 or float64, see the table above; raises for what is not a number of at most 64 bits."""
    text, kind = dtype_name(array), getattr(array.dtype, "kind", "")
    if text in _FLOAT32:
        return np.dtype(np.float32)
    if text in _FLOAT64:
        return np.dtype(np.float64)
    if text.startswith(("complex", "clongdouble")):
        raise ValueError(
            f"Complex data not supported: {name} has dtype {text}.\n"
            f"Pass real numbers, for example the real and imaginary parts as two features each."
        )
    if kind in ("U", "S"):
        text = "str" if kind == "U" else "bytes"  # without the length of the longest
    if kind in ("M", "m"):
        way = "Convert dates to numbers first, for example to seconds: (X - X.min()) / numpy.timedelta64(1, 's')."
    elif kind in ("U", "S", "T", "O"):
        way = "Encode strings as numbers first, or leave such columns out."
    elif getattr(array.dtype, "names", None):
        way = "Make columns of its fields with numpy.lib.recfunctions.structured_to_unstructured."
    else:
        way = f"Convert it yourself, which may round: {as_float64(array, name)}."
    raise InvalidParameterError(
        f"{name} has dtype {text}; allowed are float16, float32, float64, bool and integers of 8 to 64 bits. {way}"
    )


def check_finite(samples: Samples, *, name: str = "X", first_row: int = 0) -> None:
    """Raise for a NaN or an infinity, naming the first; its row is counted from `first_row`."""
    array, xp, _ = samples
    if not xp.isdtype(array.dtype, "real floating"):
        return
    rows = max(1, _CHECK_BYTES // (8 * array.shape[1]))
    for start in range(0, array.shape[0], rows):
        block = array[start : min(start + rows, array.shape[0]), :]
        if not bool(xp.all(xp.isfinite(block))):
            host = np.asarray(_arrays.to_numpy(block), dtype=np.float64)
            row, column = (int(index) for index in np.argwhere(~np.isfinite(host))[0])
            raise nonfinite(name, first_row + start + row, column, float(host[row, column]))


def check_sample_weight(sample_weight: Any, n_samples: int, X: Any = None) -> NDArray[np.float64] | None:
    """None, or float64 weights on the host: finite, not negative, not all zero. A number is the weight of each row.

    Weights of the namespace of X must lie on its device.
    """
    if sample_weight is None:
        return None
    if isinstance(sample_weight, Real):
        weight = np.full(n_samples, float(sample_weight))
    else:
        if isinstance(sample_weight, str):
            raise TypeError(
                f"sample_weight is a str, {sample_weight!r}: weights are numbers, one for each row of X, or one number."
            )
        check_beside(sample_weight, X, "sample_weight")
        given = as_array(sample_weight, "sample_weight")
        compute_dtype(given, "sample_weight")
        check_integers(given, _arrays.array_namespace(given), "sample_weight")
        weight = np.asarray(_arrays.to_numpy(given), dtype=np.float64)
    if weight.shape != (n_samples,):
        raise ValueError(
            f"sample_weight.shape == {weight.shape}, expected {(n_samples,)}: one weight for each row of X."
        )
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any():
        row = int(bad.argmax())
        value = weight[row]
        what = "NaN" if np.isnan(value) else "infinity" if np.isinf(value) else "a negative weight"
        raise ValueError(
            f"Input sample_weight contains {what}: {value} at position {row}. "
            f"Weights are finite and not negative; 0 leaves a row out."
        )
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number; here each of the weights is zero.")
    largest, least = float(weight.max()), float(weight[weight > 0].min())
    if largest > _WEIGHTS or least < 1 / _WEIGHTS:
        raise ValueError(
            f"sample_weight goes from {least:.3g} to {largest:.3g}; sums of weights beyond {1 / _WEIGHTS:.0e} and "
            f"{_WEIGHTS:.0e} are not kept exact. Divide the weights by a power of two, or set the least ones to 0."
        )
    return weight


def check_enough_samples(n_samples: int, n_clusters: int, sample_weight: NDArray[np.float64] | None) -> None:
    """Raise where there are fewer rows (of weight above zero) than clusters."""
    counted = n_samples if sample_weight is None else int(np.count_nonzero(sample_weight))
    if counted < n_clusters:
        which = "" if counted == n_samples else f" Of {n_samples} rows, only those with sample_weight > 0 count."
        raise ValueError(
            f"n_samples={counted} should be >= n_clusters={n_clusters}.{which} "
            f"Pass more rows, or an n_clusters of at most {counted}."
        )


def check_centroids(
    centroids: Any, n_clusters: int, n_features: int, dtype: np.dtype[Any], *, name: str = "init", X: Any = None
) -> NDArray[Any]:
    """Return centroids as a new NumPy array of the compute dtype, of the right shape, and finite in that dtype.

    Those of the namespace of X must lie on its device.
    """
    check_beside(centroids, X, name)
    given = check_samples(centroids, name=name)
    shape = tuple(given.array.shape)
    if shape[0] != n_clusters:
        raise ValueError(
            f"The shape of the initial centers {shape} does not match the number of clusters {n_clusters}. "
            f"Pass {name} of shape {(n_clusters, n_features)}, or n_clusters={shape[0]}."
        )
    if shape[1] != n_features:
        raise ValueError(
            f"The shape of the initial centers {shape} does not match the number of features of the data {n_features}. "
            f"Pass {name} of shape {(n_clusters, n_features)}."
        )
    check_finite(given, name=name)
    with np.errstate(over="ignore"):
        host = np.array(_arrays.to_numpy(given.array), dtype=dtype, order="C")
    if not np.isfinite(host).all():
        raise ValueError(f"{name} has values beyond the range of {dtype}, in which X is computed. Pass X as float64.")
    return host


def check_n_features(n_given: int, n_expected: int, estimator: str) -> None:
    """Raise where new samples have another number of features than those of the fit."""
    if n_given != n_expected:
        raise ValueError(
            f"X has {n_given} features, but {estimator} is expecting {n_expected} features as input: "
            f"those it was fitted with, in the same order."
        )


def check_device(device: str, X: Array) -> None:
    """Raise where `device`, valid by itself, is not to be had for this X."""
    if device == "cpu" and not _arrays.on_host(X):
        raise ValueError(
            f"device='cpu', but X lies on {device_name(X)}. Use device='auto', which computes where X is, "
            f"or copy X to the host first."
        )


def check_random_state(random_state: Any) -> np.random.Generator:
    """Return a Generator: new from None, an int or a SeedSequence; itself; or seeded by a draw from a RandomState."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**32, size=4, dtype=np.uint32))
    return np.random.default_rng(random_state)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool | np.bool_)


def _is_int(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Integral) and not _is_bool(value) and int(value) >= least


def _is_real(least: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Real) and not _is_bool(value) and least <= float(value) < np.inf


def _is_device(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"auto|cpu|cuda(:\d+)?", value) is not None


def _is_init(value: Any) -> bool:
    if isinstance(value, str):
        return value in INITS
    return callable(value) or hasattr(value, "__array__") or hasattr(value, "__len__") or _arrays.is_array(value)


def _is_random_state(value: Any) -> bool:
    kinds = (np.random.Generator, np.random.RandomState, np.random.SeedSequence, np.random.BitGenerator)
    return value is None or isinstance(value, kinds) or _is_int(0)(value)


def _one_of(values: Iterable[str | None]) -> str:
    return "a str among {" + ", ".join(repr(value) for value in values) + "}"


def words(*values: str | None) -> tuple[Callable[[Any], bool], str]:
    """The rule of a parameter that is one of some strings, or None where that is among them."""
    return lambda value: (value is None or isinstance(value, str)) and value in values, _one_of(values)


_GENERATORS = "None, an int in the range [0, inf), or a numpy.random Generator, RandomState, SeedSequence, BitGenerator"

_PARAMETERS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("n_clusters", "batch_size"), (_is_int(1), "an int in the range [1, inf)")),
    "init": (_is_init, _one_of(INITS) + ", a callable, or an array of shape (n_clusters, n_features)"),
    "n_init": (lambda n: words("auto")[0](n) or _is_int(1)(n), "'auto' or an int in the range [1, inf)"),
    **dict.fromkeys(("max_iter", "refine"), (_is_int(0), "an int in the range [0, inf)")),
    **dict.fromkeys(
        ("max_no_improvement", "n_swaps"),
        (lambda value: value is None or _is_int(0)(value), "None or an int in the range [0, inf)"),
    ),
    **dict.fromkeys(("tol", "reassignment_ratio"), (_is_real(0), "a finite float in the range [0.0, inf)")),
    "verbose": (lambda value: _is_bool(value) or _is_int(0)(value), "a bool or an int in the range [0, inf)"),
    "random_state": (_is_random_state, _GENERATORS),
    **dict.fromkeys(("copy_x", "compute_labels"), (_is_bool, "a bool")),
    "algorithm": words(*ALGORITHMS),
    "device": (_is_device, _one_of(("auto", "cpu", "cuda")) + " or 'cuda:N' with a device number N"),
    "max_memory": (_is_real(1), "a number of bytes in the range [1, inf)"),
    "callback": (lambda value: value is None or callable(value), "None or a callable that takes one Iteration"),
    "checkpoint": (lambda value: value is None or isinstance(value, str | os.PathLike), "None or the path of a file"),
    "checkpoint_every": (_is_real(0), "a number of seconds in the range [0, inf)"),
    "max_seconds": (lambda value: value is None or _is_real(0)(value), "None or a number of seconds in [0, inf)"),
    "n_local_trials": (lambda value: value is None or _is_int(1)(value), "None or an int in the range [1, inf)"),
    "init_size": (lambda value: value is None or _is_int(1)(value), "None or an int in the range [1, inf)"),
}


def check_parameters(owner: str, parameters: Mapping[str, Any], own: Mapping[str, Any] | None = None) -> None:
    """Raise InvalidParameterError for the first parameter whose value is not allowed; `own` rules go first."""
    for name, value in parameters.items():
        allowed, text = (own or {}).get(name) or _PARAMETERS[name]
        if allowed(value):
            continue
        given = repr(value)
        given = given if len(given) <= 100 else given[:97] + "..."
        close = difflib.get_close_matches(value, re.findall("'([^']*)'", text), 1) if isinstance(value, str) else []
        meant = f" Did you mean {close[0]!r}?" if close else ""
        raise InvalidParameterError(f"The {name!r} parameter of {owner} must be {text}. Got {given} instead.{meant}")
