"""Observations as `gpukm.vq` takes them; whiten and vq, which look at each once."""

import warnings
from typing import Any

import numpy as np

from gpukm import _validation as validation
from gpukm import kernels, placing
from gpukm._arrays import array_namespace, from_numpy, to_numpy
from gpukm._containers import as_array, dtype_name
from gpukm.array_source import ArraySource
from gpukm.exact import Grid, sums_like

Array = Any  # an array of any array-API namespace
MEMORY = 64 * 2**20  # bytes that temporaries may take up, as in `gpukm.KMeans`


def rows_of(obs: Any, name: str) -> tuple[validation.Samples, Array]:
    """(`obs` as rows, a single number each where it is of one dimension; `obs` as an array)."""
    given = as_array(obs, name)
    rows = array_namespace(given).reshape(given, (-1, 1)) if given.ndim == 1 else given
    return validation.check_samples(rows, name=name), given


def source_of(obs: Any, name: str, dtype: Any = np.float32) -> tuple[ArraySource, Array, bool]:
    """(a source of `obs`, known to be finite, in a dtype no narrower than `dtype`; the array; whether it is 1-D)."""
    samples, given = rows_of(obs, name)
    source = placing.source_of(samples, dtype=np.result_type(samples.dtype, dtype), max_memory=MEMORY)
    try:
        source.bounds()
    except ValueError:
        validation.check_finite(samples, name=name)  # the same error under the right name
        raise
    return source, given, given.ndim == 1


def whiten(obs: Any, check_finite: bool | None = None) -> Array:
    """Divide each feature by its standard deviation over the observations (not centred; population, not sample).

    Parameters
    ----------
    obs : array-like of shape (n_samples, n_features) or (n_samples,)
        Observations, one a row.
    check_finite : bool or None, default=None
        For SciPy's sake: NaN and infinity are refused either way, since finding them costs nothing here. False only
        silences the warning for constant features, as in SciPy.

    Returns
    -------
    array of the shape and kind of `obs`
        Floating-point dtypes stay, integers become float64.

    Warns
    -----
    RuntimeWarning
        For a feature without variation, whose values stay as they are.

    Examples
    --------
    >>> from gpukm.vq import whiten
    >>> whiten([[2.0, 10.0], [4.0, 10.5], [6.0, 11.0]]).round(4).tolist()
    [[1.2247, 24.4949], [2.4495, 25.7196], [3.6742, 26.9444]]
    """
    source, given, _ = source_of(obs, "obs")
    stats = source.stats()
    bounds = np.append((stats.maximum - stats.minimum) ** 2 * 1.01, 1.0)
    grid = Grid.of(bounds, source.n_samples)

    def visit(start: int, stop: int, scratch: dict) -> Any:
        squares = (source.host_block(start, stop).astype(np.float64) - stats.mean) ** 2
        sums = sums_like(grid, 1)
        kernels.accumulate(squares, np, np.zeros(len(squares), np.int32), sums, scratch=scratch)
        return sums

    total = sums_like(grid, 1)
    for part in source.visit(visit):
        total.add(part)
    deviation = np.sqrt(total.means()[0])
    constant = stats.maximum == stats.minimum
    if constant.any() and check_finite is not False:
        warnings.warn(
            "Some columns have standard deviation zero. The values of these columns will not change.",
            RuntimeWarning,
            stacklevel=2,
        )
    deviation[constant] = 1.0
    xp = array_namespace(given)
    floating = xp.isdtype(given.dtype, "real floating")
    dtype = given.dtype if floating else xp.float64
    divisor = xp.astype(from_numpy(deviation if given.ndim == 2 else deviation[0], given), dtype)
    return (given if floating else xp.astype(given, dtype)) / divisor


def vq(obs: Any, code_book: Any, check_finite: bool = True) -> tuple[Array, Array]:
    """Find the nearest code of each observation, and the distance to it.

    Parameters
    ----------
    obs : array-like of shape (n_samples, n_features) or (n_samples,)
        Observations.
    code_book : array-like of shape (n_codes, n_features) or (n_codes,)
        Codes; of as many dimensions as `obs`, and as many features.
    check_finite : bool, default=True
        For SciPy's sake: NaN and infinity are refused either way.

    Returns
    -------
    code : int32 array of shape (n_samples,)
        Index of the nearest code; of equally near ones, the first.
    dist : array of shape (n_samples,)
        The Euclidean distance to it, not squared; float32 where NumPy promotes the two dtypes to it, else float64.

    Raises
    ------
    ValueError
        For NaN, infinity, and shapes that do not fit together.

    Examples
    --------
    >>> from gpukm.vq import vq
    >>> code, dist = vq([[1.9, 2.3, 1.7], [1.5, 2.5, 2.2], [0.8, 0.6, 1.7]], [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    >>> code.tolist(), dist.round(4).tolist()
    ([1, 1, 0], [0.4359, 0.7348, 0.8307])
    """
    book, book_given = rows_of(code_book, "code_book")
    given = as_array(obs, "obs")
    if given.ndim != book_given.ndim:
        raise ValueError(
            f"observation and code should have same number of dimensions: obs has shape {tuple(given.shape)}, "
            f"code_book has {tuple(book_given.shape)}. Pass both as rows of features, or both as single numbers."
        )
    if given.ndim == 2 and given.shape[1] != book.array.shape[1]:
        raise ValueError(
            f"obs and code_book should have same number of features (columns): obs has {given.shape[1]}, "
            f"code_book has {book.array.shape[1]}."
        )
    validation.check_finite(book, name="code_book")
    both = np.result_type(dtype_name(given), dtype_name(book_given))
    dist_dtype = np.dtype(np.float32 if both == np.float32 else np.float64)
    if given.shape[0] == 0:
        return from_numpy(np.empty(0, np.int32), given), from_numpy(np.empty(0, dist_dtype), given)
    source, given, _ = source_of(given, "obs", book.dtype)
    centroids = np.ascontiguousarray(to_numpy(book.array), source.dtype)
    code = source.assign(centroids)
    dist = np.sqrt(source.own_distances(centroids, code)).astype(dist_dtype, copy=False)
    return from_numpy(code, given), from_numpy(dist, given)
