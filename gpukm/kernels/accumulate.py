"""accumulate: exact sums of the rows of each cluster. Reference engine.

    X (m, d) float32|float64    labels (m,) int32    weights (m,) float64 or None    ->    Sums of d + 1 columns

Column j < d sums w x_j, column d sums w. Terms are cut into limbs and added as integers (`gpukm.exact`, point 3), so
any split of the rows gives the same sums. When labels change, rows are added to the new cluster and subtracted from
the old one: integers do not drift.

In NumPy an integer below 2^36 sums exactly in float64 over 2^16 rows. Measured: `bincount` a column, 1.8 ns a value,
for
narrow rows; one `bincount` over (label, feature), 1.5-1.9 ns, for wide ones; a reduction for each cluster over its rows
put together, 0.3-1.2 ns, where it has many. Other array namespaces have no `bincount`: a float64 product with a one-hot
matrix adds the same integers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._arrays import from_numpy, is_numpy, to_numpy
from gpukm.exact import BLOCK_ROWS, MAX_LIMBS, Sums, buffer, two_product

Array = Any
NARROW = 16
LOOP = 1500  # values a cluster must have in a block for a reduction of its own to pay


def accumulate(
    X: Array,
    xp: Any,
    labels: NDArray[np.int32],
    sums: Sums,
    *,
    old_labels: NDArray[np.int32] | None = None,
    weights: NDArray[np.float64] | None = None,
    scratch: dict | None = None,
    engine: str = "numpy",
) -> None:
    """Add the rows of a block to `sums` under `labels`, and subtract them under `old_labels`.

    Parameters
    ----------
    X : (m, d) block in the compute dtype, of namespace `xp`; m <= BLOCK_ROWS, but for the Numba engine
    labels, old_labels : (m,) int32 in [0, k)
    sums : k clusters, d + 1 columns; changed in place
    weights : (m,) float64 or None for ones
    scratch : buffers kept between blocks
    """
    scratch = {} if scratch is None else scratch
    m, d = X.shape
    assert (m <= BLOCK_ROWS or engine == "numba") and len(labels) == m and len(sums.grid.exponents) == d + 1
    if m == 0:
        return
    if not is_numpy(xp):
        _accumulate_array_api(X, xp, labels, sums, old_labels, weights)
        return
    if engine == "numba":
        from gpukm.kernels import accumulate_numba

        old = np.full(m, -1, np.int32) if old_labels is None else old_labels
        accumulate_numba.accumulate(X, labels, old, weights, sums)
        return
    k = sums.store.shape[1]
    if _cluster_by_cluster(m, d, k):  # sorted as they are, not each of their limbs
        order = sorted_order(labels, k)
        X = np.take(X, order, axis=0, out=buffer(scratch, "sorted", (m, d), X.dtype), mode="clip")
        labels = labels[order]
        old_labels = None if old_labels is None else old_labels[order]
        weights = None if weights is None else weights[order]
    # Columns first: narrow rows are transposed, so that loops run along m; wide ones are viewed, and loops run along d.
    T = buffer(scratch, "terms", (d, m), np.float64) if d < NARROW else buffer(scratch, "terms", (m, d), np.float64).T
    scale = 1 / sums.grid.unit(0)
    if weights is None:
        for own, sign in ((labels, 1), (old_labels, -1)):
            if own is not None:
                sums.limb(0)[:, d] += sign * int(scale[d]) * np.bincount(own, minlength=k)
        T[...] = X.T
        T *= scale[:d, None]
        if sums.grid.whole:
            _add(T, sums.limb(0)[:, :d], labels, old_labels, scratch)
        else:
            _add_limbs(T, slice(0, d), labels, old_labels, sums, scratch)
        return
    _add_limbs((weights * scale[d])[None, :], slice(d, d + 1), labels, old_labels, sums, scratch)
    T[...] = X.T
    for term in _terms(T, weights):
        term *= scale[:d, None]
        _add_limbs(term, slice(0, d), labels, old_labels, sums, scratch)


def accumulate_scalars(
    values: NDArray[np.float64],
    labels: NDArray[np.int32],
    weights: NDArray | None,
    sums: Sums,
    scratch: dict | None = None,
) -> None:
    """Add w * value to the one column of `sums`: the inertia. At most BLOCK_ROWS values."""
    for term in _terms(values[None, :], weights):
        term = term / sums.grid.unit(0)
        _add_limbs(term, slice(0, 1), labels, None, sums, {} if scratch is None else scratch)


def _terms(T: NDArray[np.float64], weights: NDArray[np.float64] | None) -> list[NDArray]:
    """The exact products w x as one or two arrays of float64 that add up to them."""
    if weights is None:
        return [T]
    product, error = two_product(T, weights)
    return [product, error] if error.any() else [product]


def _add_limbs(rest: NDArray, columns: slice, labels: NDArray, old: NDArray | None, sums: Sums, scratch: dict) -> None:
    """Cut the terms `rest` (c, m), in units of limb 0, into limbs until nothing is left, adding each.

    What is left of a block in few entries is added by these. `rest` is used up. Scaling a term to units of a limb
    underflows only far below the last limb.
    """
    shape = rest.shape if rest.flags.c_contiguous else rest.shape[::-1]
    q, nonzero = buffer(scratch, "limb", shape, np.float64), buffer(scratch, "nonzero", shape, np.bool_)
    if not rest.flags.c_contiguous:
        q, nonzero = q.T, nonzero.T
    for index in range(MAX_LIMBS):
        np.rint(rest, out=q)
        _add(q, sums.limb(index)[:, columns], labels, old, scratch)
        left = np.count_nonzero(np.not_equal(rest, q, out=nonzero))
        if left == 0:
            return
        if left < rest.size // 16:
            _add_sparse(rest, q, nonzero, index + 1, columns, labels, old, sums)
            return
        rest -= q
        rest *= 2.0**sums.grid.bits


def _add_sparse(
    rest: NDArray,
    done: NDArray,
    nonzero: NDArray[np.bool_],
    index: int,
    columns: slice,
    labels: NDArray,
    old: NDArray | None,
    sums: Sums,
) -> None:
    """The limbs from `index` on of rest - done, a block of few entries, in units of the limb before."""
    c, m = rest.shape
    positions = np.flatnonzero(nonzero.ravel(order="K"))
    cols, rows = np.divmod(positions, m) if rest.flags.c_contiguous else np.divmod(positions, c)[::-1]
    values = rest[cols, rows] - done[cols, rows]
    for limb in range(index, MAX_LIMBS):
        values *= 2.0**sums.grid.bits
        q = np.rint(values)
        integers = q.astype(np.int64)
        target = sums.limb(limb)[:, columns]
        np.add.at(target, (labels[rows], cols), integers)
        if old is not None:
            np.subtract.at(target, (old[rows], cols), integers)
        values -= q
        if not values.any():
            return


def _add(
    q: NDArray[np.float64], target: NDArray[np.int64], labels: NDArray, old: NDArray | None, scratch: dict
) -> None:
    """Add integers q (c, m) to target (k, c) by label, and subtract them by old label."""
    _add_signed(q, target, labels, scratch, 1)
    if old is not None:
        _add_signed(q, target, old, scratch, -1)


def _add_signed(q: NDArray[np.float64], target: NDArray[np.int64], labels: NDArray, scratch: dict, sign: int) -> None:
    """Add or subtract by label: exact, as every partial sum stays below 2^53."""
    c, m = q.shape
    k = len(target)
    if k == 1:
        target += sign * (q @ np.ones(m)).astype(np.int64)  # integers: BLAS may add them in any order
    elif k > 2 * m:  # few of many clusters are touched: number those
        touched, numbers = np.unique(labels, return_inverse=True)
        part = np.zeros((len(touched), c), np.int64)
        _add_signed(q, part, numbers, scratch, sign)
        target[touched] += part
    elif c < NARROW:
        for j, row in enumerate(q):
            target[:, j] += sign * np.bincount(labels, row, k).astype(np.int64)
    elif not _cluster_by_cluster(m, c, k):
        keys = buffer(scratch, "keys", (m, c), np.intp)
        np.add(labels.astype(np.intp)[:, None] * c, np.arange(c), out=keys)
        target += sign * np.bincount(keys.ravel(), q.T.ravel(), k * c).astype(np.int64).reshape(k, c)
    else:
        rows = q.T
        if (labels[1:] < labels[:-1]).any():
            order = sorted_order(labels, k)
            rows = np.take(rows, order, axis=0, out=buffer(scratch, "ordered", (m, c), np.float64), mode="clip")
            labels = labels[order]
        ends = np.searchsorted(labels, np.arange(k + 1)).tolist()
        ones, parts = np.ones(m), np.empty((k, c))
        for label in range(k):
            np.matmul(ones[ends[label] : ends[label + 1]], rows[ends[label] : ends[label + 1]], out=parts[label])
        target += sign * parts.astype(np.int64)


def _cluster_by_cluster(m: int, c: int, k: int) -> bool:
    """Whether m rows of c values, of k clusters, are added by a reduction for each."""
    return 1 < k <= 2 * m and c >= NARROW and c * m >= LOOP * k


def sorted_order(numbers: NDArray, below: int) -> NDArray[np.intp]:
    """Where numbers from 0 to `below` are to be found in order, equal ones as they come."""
    return np.argsort(numbers.astype(np.uint16) if below <= 1 << 16 else numbers, kind="stable")  # 16 bits: by radix


def _accumulate_array_api(
    X: Array, xp: Any, labels: NDArray, sums: Sums, old: NDArray | None, weights: NDArray | None
) -> None:
    """The same limbs in array-API terms, added by a float64 product with a one-hot matrix: exact in any order."""
    k = sums.store.shape[1]
    T = xp.astype(X, xp.float64)
    T = xp.concat([T, xp.ones_like(T[:, :1])], axis=1)
    terms = [T]
    if weights is not None:
        terms = list(two_product(T, from_numpy(weights, X)[:, None]))
    clusters = from_numpy(np.arange(k, dtype=np.int32), X)
    one_hot = xp.astype(from_numpy(labels, X)[None, :] == clusters[:, None], xp.float64)
    if old is not None:
        one_hot = one_hot - xp.astype(from_numpy(old, X)[None, :] == clusters[:, None], xp.float64)
    for rest in terms:
        for index in range(MAX_LIMBS):
            unit = sums.grid.unit(index)
            q = xp.round(rest * from_numpy(1 / unit, X))
            sums.limb(index)[...] += to_numpy(xp.astype(xp.matmul(one_hot, q), xp.int64))
            rest = rest - q * from_numpy(unit, X)
            if not bool(xp.any(rest != 0)):
                break
