"""inertia, Numba engine: D and its limbs, CHUNK rows at a time."""

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import Sums
from gpukm.kernels.accumulate_numba import NO_WEIGHTS, product, spill
from gpukm.kernels.jit_numba import jit
from gpukm.kernels.spread_numba import DEEP, SIDE, TWICE, add_narrow, add_narrow_about, add_quads
from gpukm.kernels.strips_numba import pack_strip_float32, readable, strip_for
from gpukm.kernels.transpose_numba import QUAD
from gpukm.kernels.vectors_numba import LANES, ROWS

CHUNK = 5 * ROWS + 1  # one row more than strips: where the quads of a strip's last row reach into the next


@jit()
def own_distances(X, centroids, labels, out):
    """D of each row of X (m, d) to the centroid of its label, all C-contiguous; `centroids` float64, `labels` int32."""
    m, d = X.shape
    quads, begun = d // QUAD, 0
    if quads:
        begun = m - m % SIDE
        for i in range(0, begun, SIDE):
            rows, own = X.ctypes.data + X.itemsize * d * i, labels.ctypes.data + 4 * i
            add_quads(rows, X.itemsize, own, centroids.ctypes.data, d, quads, out.ctypes.data + 8 * i)
    for i in range(0 if d % QUAD else begun, m):
        done, total = (QUAD * quads, out[i]) if i < begun else (0, 0.0)
        for f in range(done, d):
            t = np.float64(X[i, f]) - centroids[labels[i], f]
            total += t * t
        out[i] = total


@jit()
def _strip_distances(strip, centroids, k, total):
    """D of the ROWS rows in `strip`, which are not centred, to centroid k: their sums grow side by side."""
    total[:ROWS] = 0.0
    for f in range(centroids.shape[1]):
        c = centroids[k, f]
        for i in range(ROWS):
            t = np.float64(strip[f, i]) - c
            total[i] += t * t


@jit()
def distances_to(X, centroid, narrow, strip, out):
    """D of each row of X (m, d) to one centroid (1, d) float64, into `out` (m or more,).

    `narrow` says that X is float32; then rows are transposed into `strip` (see `strips_numba.strip_for`).
    """
    m, d = X.shape
    done = 0
    if narrow:
        nothing = np.zeros(len(strip), np.float32)
        until = readable(X, True)
        while done + ROWS <= until:
            pack_strip_float32(X.ctypes.data + 4 * d * done, nothing.ctypes.data, strip.ctypes.data, d)
            _strip_distances(strip, centroid, 0, out[done:])
            done += ROWS
    for i in range(done, m):
        total = 0.0
        for f in range(d):
            t = np.float64(X[i, f]) - centroid[0, f]
            total += t * t
        out[i] = total


@jit()
def _all_distances(X, centroids, narrow, out):
    """The square root of D of each row of X (m, d) to each centroid (k, d) float64, into `out` (m, k)."""
    m, d = X.shape
    strip, nothing, D = strip_for(d), np.zeros(d + QUAD, np.float32), np.empty(ROWS)
    labels = np.zeros(ROWS, np.int32)
    until = readable(X, True) if narrow else 0
    for start in range(0, m, ROWS):
        rows = min(ROWS, m - start)
        packed = start + ROWS <= until
        if packed:
            pack_strip_float32(X.ctypes.data + 4 * d * start, nothing.ctypes.data, strip.ctypes.data, d)
        for k in range(len(centroids)):
            if packed:
                _strip_distances(strip, centroids, k, D)
            else:
                own_distances(X[start : start + rows], centroids[k : k + 1], labels, D)
            for i in range(rows):
                out[start + i, k] = np.sqrt(D[i])


def all_distances(X: NDArray, centroids: NDArray, out: NDArray) -> None:
    """Euclidean distances of the rows of X to all centroids, into `out` (m, k)."""
    _all_distances(X, np.ascontiguousarray(centroids, np.float64), X.dtype == np.float32, out)


@jit()
def _add_chunk(terms, labels, bits, store, q):
    """Add terms in units of limb 0 to column 0 of `store` (limbs, k, 1); `q` (DEEP, CHUNK) int64 is scratch."""
    m, left = len(terms), 0
    if store.shape[1] == 1:  # side by side, where additions to one place would wait for each other
        first = second = third = np.int64(0)
        for i in range(m):
            rest = terms[i]
            whole = np.rint(rest)
            first += np.int64(whole)
            rest = (rest - whole) * bits
            whole = np.rint(rest)
            second += np.int64(whole)
            rest = (rest - whole) * bits
            whole = np.rint(rest)
            third += np.int64(whole)
            terms[i] = (rest - whole) * bits
            left += rest != whole
        store[0, 0, 0] += first
        store[1, 0, 0] += second
        store[2, 0, 0] += third
    else:
        for i in range(m):
            rest = terms[i]
            for limb in range(DEEP):
                whole = np.rint(rest)
                q[limb, i] = np.int64(whole)
                rest = (rest - whole) * bits
            terms[i] = rest
        for i in range(m):
            left += terms[i] != 0.0
            label = labels[i]
            for limb in range(DEEP - 1):
                store[limb, label, 0] += q[limb, i]
            if q[DEEP - 1, i]:  # most often there is none
                store[DEEP - 1, label, 0] += q[DEEP - 1, i]
    used = DEEP
    if left:
        for i in range(m):
            if terms[i] != 0.0:
                used = max(used, spill(terms[i], DEEP, bits, store, labels[i], -1, 0))
    return used


@jit()
def _add_inertia(X, centroids, narrow, labels, weights, scale, bits, store, strip, D, error, q):
    """Add w D of each row to the cluster of its label; `weights` (m,), or (0,) for ones. Returns the limbs in use."""
    used = 1
    for start in range(0, len(X), CHUNK):
        stop = min(start + CHUNK, len(X))
        own, terms = labels[start:stop], D[: stop - start]
        if len(centroids) == 1:
            distances_to(X[start:stop], centroids, narrow, strip, terms)
        else:
            own_distances(X[start:stop], centroids, own, terms)
        if len(weights):
            for i in range(stop - start):
                p, e = product(terms[i], weights[start + i])
                terms[i], error[i] = p * scale, e * scale
            used = max(used, _add_chunk(error[: stop - start], own, bits, store, q))
        else:
            for i in range(stop - start):
                terms[i] *= scale
        used = max(used, _add_chunk(terms, own, bits, store, q))
    return used


def add_inertia(
    X: NDArray, centroids: NDArray, labels: NDArray[np.int32], weights: NDArray[np.float64] | None, sums: Sums
) -> None:
    """Add w D of each row of X to the cluster of its label; see `gpukm.kernels.inertia`."""
    grid, w = sums.grid, NO_WEIGHTS if weights is None else weights
    narrow = X.dtype == np.float32
    C, labels = np.ascontiguousarray(centroids, np.float64), np.ascontiguousarray(labels, np.int32)
    own = 1 / float(grid.unit(0)[0]), 2.0**grid.bits, sums.store
    if weights is None and X.shape[1] <= QUAD and len(C) <= len(X):
        if len(C) == 1:
            done, used = add_narrow_about(X, C, *own, np.zeros((DEEP, LANES), np.int64))
        else:
            padded, cells = np.zeros((len(C), SIDE)), np.zeros((TWICE * len(C), SIDE), np.int64)
            padded[:, : X.shape[1]] = C
            done, used = add_narrow(X, padded, labels, *own, cells)
        sums.used = max(sums.used, used)
        X, labels = X[done:], labels[done:]
    scratch = strip_for.py_func(X.shape[1]), np.empty(CHUNK), np.empty(CHUNK), np.empty((DEEP, CHUNK), np.int64)
    used = _add_inertia(X, C, narrow, labels, w, *own, *scratch)
    sums.used = max(sums.used, used)
