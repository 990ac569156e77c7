"""What people pass as samples, as an array: frames, lists and objects through NumPy, arrays of any namespace as is."""

from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm import _arrays
from gpukm._extras import missing_extra

Array = Any

EXACT = 2**53  # integers up to here are float64 numbers


def as_array(X: Any, name: str = "X") -> Array:
    """X as an array, neither copied nor cast where it is one; objects that are numbers become float64.

    Raises TypeError or ValueError for what cannot be read as a dense array of numbers, or would lose digits on the way.
    """
    _refuse_container(X, name)
    if _arrays.is_array(X):
        if not isinstance(X, np.ndarray | np.generic):
            return X
        array = np.asarray(X)  # a view: strips np.memmap and np.matrix
    elif hasattr(X, "__cuda_array_interface__") or type(X).__module__.startswith("cudf"):
        return _as_cupy(X, name)
    elif hasattr(X, "to_numpy") and hasattr(X, "columns"):  # pandas, polars
        array = X.to_numpy()
        if array.dtype.kind == "O" and hasattr(X, "iloc"):  # pandas: missing values of nullable dtypes are NaN
            try:
                array = X.to_numpy(dtype=np.float64, na_value=np.nan)
            except (TypeError, ValueError):
                pass  # not all numbers: looked at one by one below
    else:
        try:
            array = np.asarray(X)
        except ValueError as error:
            if "inhomogeneous" not in str(error):
                raise
            raise ValueError(f"The rows of {name} differ in length: {error} Give each row as many values.") from None
    if array.dtype.kind in "OUS" and array.ndim == 0:
        raise TypeError(
            f"{name} is a {type(X).__name__}, which holds no rows of numbers. Pass an array, a data frame or a list of "
            f"rows; read a file first, as with numpy.load or pandas.read_csv."
        )
    if array.dtype.kind == "O":
        return _object_numbers(array, name)
    if array.dtype == np.float64 and not isinstance(X, np.ndarray | np.generic):
        _check_converted(X, array, name)
    return array


def as_csr(X: Any) -> Any:
    """A SciPy sparse matrix of any format in compressed rows, each place stored once; no copy where it is that already.

    Of other formats, and where places are stored twice, the stored values are copied.
    """
    if X.ndim != 2:
        raise ValueError(f"Expected 2D array, got 1D array instead: X has shape {X.shape}, but takes a row per sample.")
    X = X.tocsr()
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def feature_names(X: Any) -> NDArray[Any] | None:
    """Return the column names of a pandas or polars DataFrame or a pyarrow Table, if all are strings; else None."""
    names = getattr(X, "columns", None) if hasattr(X, "to_numpy") else getattr(X, "column_names", None)
    if names is None or callable(names):
        return None
    found = np.asarray(list(names), dtype=object)
    strings = sum(isinstance(name, str) for name in found)
    if 0 < strings < len(found):
        types = sorted({type(name).__qualname__ for name in found})
        raise TypeError(
            f"Feature names are only supported if all input features have string names, but your input has {types} as "
            f"feature name / column name types. Convert them all with X.columns = X.columns.astype(str), "
            f"or pass X without names: X.to_numpy()."
        )
    return found if strings else None


def dtype_name(array: Array) -> str:
    """'float32' and the like, for the dtypes of any namespace and byte order."""
    return str(getattr(array.dtype, "name", array.dtype)).rsplit(".", 1)[-1]


def as_float64(array: Array, name: str) -> str:
    """How to write the conversion of an array to float64, in the words of its library."""
    if type(array).__module__.split(".")[0] == "torch":
        return f"{name}.double()"
    if hasattr(array, "astype"):
        return f"{name}.astype('float64')"
    library = _arrays.namespace_name(_arrays.array_namespace(array))
    return f"{library}.astype({name}, {library}.float64)"


def check_integers(array: Array, xp: Any, name: str) -> None:
    """Raise for int64 or uint64 values that float64 cannot hold."""
    if dtype_name(array) in ("int64", "uint64") and array.shape[0]:
        for value in (int(xp.max(array)), int(xp.min(array))):
            if abs(value) > EXACT:
                raise _too_large(value, name, as_float64(array, name))


def _refuse_container(X: Any, name: str) -> None:
    """Raise for what has a length and a shape, but cannot be read as a dense array as it is."""
    module, kind = type(X).__module__, type(X).__name__
    sparse = module.startswith(("scipy.sparse", "cupyx.scipy.sparse", "sparse."))
    torch = str(getattr(X, "layout", "")).startswith("torch.sparse")
    if sparse or torch:
        way = "to_dense" if torch else "todense" if module.startswith("sparse.") else "toarray"
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required. Use {name}.{way}() to convert it to a "
            f"dense array if that fits in memory; else reduce it first, as with sklearn.decomposition.TruncatedSVD."
        )
    if isinstance(X, np.ma.MaskedArray):
        raise ValueError(
            f"{name} is a masked array, and k-means cannot leave single values out. "
            f"Fill them in with {name}.filled(value), or drop their rows with numpy.ma.compress_rows({name})."
        )
    ways = {"dask": "compute() if it fits in memory"}
    package = module.split(".")[0]
    if package == "polars" and kind == "LazyFrame":
        ways["polars"] = "collect()"
    if package in ways:
        raise TypeError(f"{name} is a {package} {kind}, which gpukm cannot read. Pass {name}.{ways[package]}.")


def _as_cupy(X: Any, name: str) -> Array:
    """CuPy's array for what a library without an array namespace has on a GPU: Numba's in place, cuDF's a copy."""
    try:
        import cupy
    except ImportError:
        raise missing_extra(
            "CuPy", "cuda13", f"{name}, a {type(X).__module__.partition('.')[0]} array on a GPU,"
        ) from None
    return X.to_cupy() if hasattr(X, "to_cupy") else cupy.asarray(X)


def _too_large(value: int, name: str, way: str | None = None) -> ValueError:
    return ValueError(
        f"{name} holds the integer {value}, beyond 2**53 = {EXACT}, where float64 skips integers, and gpukm does not "
        f"round unasked. Subtract an offset from that column (distances stay), or pass "
        f"{way or as_float64(np.empty(0), name)}."
    )


def _check_converted(X: Any, array: NDArray[np.float64], name: str) -> None:
    """Raise where NumPy turned integers of a list, or of one column among others, into float64 and lost digits."""
    highest = np.fmax.reduce(array, axis=None, initial=0.0)
    lowest = np.fmin.reduce(array, axis=None, initial=0.0)
    if max(highest, -lowest) < EXACT:
        return
    if hasattr(X, "iloc"):  # pandas
        columns = [X.iloc[:, j].tolist() for j in range(X.shape[1])] if array.ndim == 2 else [X.tolist()]
    elif hasattr(X, "get_columns"):  # polars
        columns = [column.to_list() for column in X.get_columns()]
    elif hasattr(X, "to_pydict"):  # pyarrow
        columns = list(X.to_pydict().values())
    else:
        columns = [np.asarray(X, dtype=object).ravel().tolist()]
    for column in columns:
        for value in column:
            if isinstance(value, int) and abs(value) > EXACT:
                raise _too_large(value, name)


def _object_numbers(array: NDArray[Any], name: str) -> NDArray[np.float64]:
    """Convert an array of objects to float64, if float() takes each of them."""
    try:
        numbers: NDArray[np.float64] = array.astype(np.float64)
    except (TypeError, ValueError):
        for index, value in np.ndenumerate(array):
            place = f"{name}[{', '.join(map(str, index))}] is {value!r}"
            if isinstance(value, complex | np.complexfloating):
                raise ValueError(f"Complex data not supported: {place}. Pass real numbers.") from None
            try:
                float(value)
            except (TypeError, ValueError) as error:
                way = "k-means takes numbers only: encode such a column, or leave it out."
                raise type(error)(f"{error}: {place}. {way}") from None
        raise
    for value in array[np.abs(numbers) >= EXACT]:
        if isinstance(value, Integral) and abs(int(value)) > EXACT:
            raise _too_large(int(value), name)
    return numbers
