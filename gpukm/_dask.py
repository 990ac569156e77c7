"""Dask arrays: read chunk by chunk for a fit, answered lazily by predict and transform. Nothing here imports dask."""

import copy
import math
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpukm._arrays import to_numpy
from gpukm._rows import Buffers, RowReader

Array = Any


def is_dask_array(X: Any) -> bool:
    """Whether X is a dask array, whose values are computed when they are asked for."""
    return type(X).__module__.partition(".")[0] == "dask" and hasattr(X, "chunks") and hasattr(X, "map_blocks")


class DaskRows(RowReader):
    """The rows of a two-dimensional dask array: each pass computes one chunk of rows after the other.

    Dask's scheduler computes them where it is set up to; the fit holds one chunk at a time besides its own memory. What
    costs much to compute is better kept by ``X.persist()``, since k-means reads its rows many times.
    """

    name = "X"

    def __init__(self, X: Any) -> None:
        if X.ndim != 2 or X.dtype.kind not in "biuf":
            raise ValueError(
                f"X is a dask array of shape {X.shape} and dtype {X.dtype}; real numbers in 2 dimensions are needed, "
                f"(n_samples, n_features). Reshape it, a single feature with reshape(-1, 1), or convert it with astype."
            )
        if any(math.isnan(length) for length in X.shape):
            raise ValueError(
                f"X is a dask array of shape {X.shape}, whose chunks have unknown lengths. "
                f"Call X.compute_chunk_sizes() first."
            )
        self._X = X
        self.shape, self.dtype = (int(X.shape[0]), int(X.shape[1])), np.dtype(X.dtype)

    def blocks(self, rows: int, start: int, buffers: Buffers) -> Generator[NDArray, None, None]:
        """See `RowReader`; begins with the chunk that holds `start`."""
        end = 0
        for index, length in enumerate(self._X.chunks[0]):
            first, end = end, end + int(length)
            if end > start:
                chunk = to_numpy(self._X.blocks[index].compute())
                for at in range(max(start - first, 0), len(chunk), rows):
                    yield chunk[at : at + rows]


def answered_lazily(X: Any, model: Any, answer: Callable[[Any, Array], Array], width: int, dtype: DTypeLike) -> Any:
    """The dask array of ``answer(model, rows)`` for the rows of X, computed chunk by chunk when it is asked for.

    Parameters
    ----------
    X : dask array (n_samples, n_features)
    model : a fitted estimator; what it holds of the rows of its fit is left behind
    width : values that it answers to a row, 0 for a single one
    dtype : of the answer
    """
    slim = copy.copy(model)
    vars(slim).pop("labels_", None)
    shape: dict[str, Any] = {"chunks": (X.chunks[0], (width,))} if width else {"drop_axis": 1}
    meta = np.empty((0, 0) if width else 0, dtype)
    return X.rechunk({1: -1}).map_blocks(lambda rows: answer(slim, rows), dtype=dtype, meta=meta, **shape)
