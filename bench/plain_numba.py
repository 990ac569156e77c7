"""gpukm's own Numba engine with nothing proved: the yardstick of what exactness costs it.

The same threads, order of the rows, boxes, strips and register tiles, sums brought up to date by the rows that changed
only. Left out is what exactness adds: tiles keep no second score, no margin is computed and no row settled, sums are
float64 in whatever order the threads come, the statistics are one pass for the mean, and the inertia is a plain sum.
Updating float sums by differences drifts, as summing anew would not; that would be slower, and flatter gpukm. It keeps
no bounds from one iteration to the next: where gpukm gains by these, the price may be below 1.
"""

from __future__ import annotations

from queue import Empty, LifoQueue

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from gpukm import kernels
from gpukm._threads import run_blocks
from gpukm.kernels import vectors_numba as vectors
from gpukm.kernels.boxes_numba import MOST_FEATURES, STRIPS, Boxes, box_of, survivors
from gpukm.kernels.inertia_numba import own_distances
from gpukm.kernels.jit_numba import FUSED, jit
from gpukm.kernels.lloyd_step_numba import VALUES
from gpukm.kernels.strips_numba import FAR, fill_strip, strip_for
from gpukm.kernels.transpose_numba import QUAD
from gpukm.kernels.vectors_numba import GROUP, LANES, PANELS, ROWS

MEMORY = 64 << 20  # bytes that gpukm may take for a sorted copy by default


@intrinsic
def least_tile(typing, rows, operand, base, best, label, first, depth):
    """`score_tile` without the second least score."""
    signature = types.void(*[types.int64] * 5, types.int32, types.int64)

    def emit(context, builder, signature, arguments):
        rows, operand, base, best, label, first, depth = arguments
        sums = vectors._tile(builder, rows, operand, base, depth)
        for p in range(PANELS):
            at = 4 * LANES * p
            least = vectors._load(builder, best, at, vectors._FLOATS)
            winner = vectors._load(builder, label, at, vectors._INTS)
            for u in range(GROUP):
                nearer = builder.fcmp_ordered("<", sums[u][p], least)
                least = builder.select(nearer, sums[u][p], least)
                number = vectors._splat(builder, builder.add(first, ir.Constant(vectors._I32, u)), vectors._INTS)
                winner = builder.select(nearer, number, winner)
            vectors._store(builder, least, best, at)
            vectors._store(builder, winner, label, at)
        return context.get_dummy_value()

    return signature, emit


@jit()
def pack_survivors(index, count, columns, base, tiles, own_base):
    """Put `count` centroids into `tiles` (groups, d, GROUP) and `own_base`; returns the groups."""
    groups = (count + GROUP - 1) // GROUP
    for q in range(groups * GROUP):
        g, u = q // GROUP, q % GROUP
        own_base[q] = base[index[q]] if q < count else FAR
        for f in range(tiles.shape[1]):
            tiles[g, f, u] = columns[f, index[q]] if q < count else np.float32(0)
    return groups


@jit(FUSED)
def _label(X, first, last, frame, tiles, base, boxes, labels):
    """`assign_rows` without margins."""
    d, k = X.shape[1], boxes[1].shape[0]
    strip = strip_for(d)
    best, label = np.empty(ROWS, np.float32), np.empty(ROWS, np.int32)
    columns, ask, survived = boxes[0], boxes[0].shape[1] > 0, 0
    at, index = np.empty(k + LANES, np.float32), np.empty(k + LANES, np.int32)
    limits = np.empty(LANES, np.float32)
    sides = np.zeros((3, max(d, MOST_FEATURES)), np.float32)
    lows, highs = np.empty(LANES * d, np.float32), np.empty(LANES * d, np.float32)
    few, few_base = (np.empty_like(tiles), np.empty_like(base)) if ask else (tiles, base)
    own, own_base, groups = tiles, base, len(tiles)
    for start in range(first, last, ROWS):
        count = min(ROWS, last - start)
        best[:] = FAR
        label[:] = 0
        fill_strip(X, frame, start, strip)
        if ask and (start - first) % (STRIPS * ROWS) == 0:
            box_of(X, frame, start, min(start + STRIPS * ROWS, last), sides, lows, highs)
            left = survivors(sides, boxes, at, limits, index)
            own, own_base, groups = few, few_base, pack_survivors(index, left, columns, base, few, few_base)
            survived += left
            if 2 * survived * STRIPS * ROWS > k * (start + STRIPS * ROWS - first):
                ask, own, own_base, groups = False, tiles, base, len(tiles)
        for g in range(groups):
            least_tile(
                strip.ctypes.data,
                own[g].ctypes.data,
                own_base.ctypes.data + 4 * GROUP * g,
                best.ctypes.data,
                label.ctypes.data,
                np.int32(g * GROUP),
                d,
            )
        found = labels[start : start + count]
        for i in range(count):
            found[i] = index[label[i]] if ask else label[i]


@jit(FUSED)
def _step(X, frame, tiles, base, boxes, old, labels, sums):
    """Label the rows of X and move those that changed: `sums` (k, d + 1), sizes in the last column."""
    d = X.shape[1]
    rows = max(VALUES // d // ROWS, 16) * ROWS
    for start in range(0, len(X), rows):
        stop = min(start + rows, len(X))
        _label(X, start, stop, frame, tiles, base, boxes, labels)
        part, new, before = X[start:stop], labels[start:stop], old[start:stop]
        for i in range(stop - start):
            if new[i] == before[i]:
                continue
            target = sums[new[i]]
            for f in range(d):
                target[f] += np.float64(part[i, f])
            target[d] += 1.0
            if before[i] >= 0:
                source = sums[before[i]]
                for f in range(d):
                    source[f] -= np.float64(part[i, f])
                source[d] -= 1.0


@jit(FUSED)
def _columns(X, out):
    """Add the columns of X to `out` (3, d) float64: sum, least and greatest."""
    for i in range(len(X)):
        for f in range(X.shape[1]):
            x = np.float64(X[i, f])
            out[0, f] += x
            out[1, f] = min(out[1, f], x)
            out[2, f] = max(out[2, f], x)


def _statistics(X):
    """(3, d): sum, least and greatest of each column, several narrow rows side by side."""
    d = X.shape[1]
    beside = max(min(128 // d, len(X)), 1)
    even = len(X) - len(X) % beside
    nothing = np.array([[0.0], [np.inf], [-np.inf]])
    wide, rest = np.repeat(nothing, beside * d, axis=1), np.repeat(nothing, d, axis=1)
    _columns(X[:even].reshape(-1, beside * d), wide)
    _columns(X[even:], rest)
    parts = np.concatenate([wide.reshape(3, beside, d), rest[:, None]], axis=1)
    return np.stack([parts[0].sum(axis=0), parts[1].min(axis=0), parts[2].max(axis=0)])


def fit(X: np.ndarray, centroids: np.ndarray, iterations: int, threads: int) -> np.ndarray:
    """``iterations`` updates, a last assignment, and the inertia. An empty cluster stays where it is."""
    n, d = X.shape
    k = len(centroids)

    def visit(task, rows):
        return run_blocks(lambda b: task(slice(b * rows, min((b + 1) * rows, n))), -(-n // rows), threads)

    few = max((1 << 18) // d, 64)
    columns = np.array(visit(lambda part: _statistics(X[part]), few))
    mean, low, high = columns[:, 0].sum(axis=0) / n, columns[:, 1].min(axis=0), columns[:, 2].max(axis=0)
    if not np.isfinite(mean).all():
        raise ValueError("X holds NaN or infinity")
    order = None
    if kernels.worth_arranging("numba", X, X.dtype, k, MEMORY):
        order = kernels.order_of(np.concatenate(visit(lambda part: kernels.codes(X[part], low, high), few)))
        arranged = np.empty_like(X)
        visit(lambda part: kernels.gather(X, order[part], arranged[part]), few)
        X = arranged
    shift = np.zeros(-(-d // QUAD) * QUAD, np.float32)
    shift[:d] = mean
    frame = shift, 1.0, True
    labels, spare, sums = np.full(n, -1, np.int32), np.empty(n, np.int32), np.zeros((k, d + 1))
    centroids = centroids.copy()
    for i in range(iterations + 1):
        C = np.zeros((-(-k // GROUP) * GROUP, d), np.float32)
        C[:k] = shift[:d] - centroids
        base = np.full(len(C), FAR, np.float32)
        base[:k] = (C[:k].astype(np.float64) ** 2).sum(axis=1) / 2
        tiles = np.ascontiguousarray(C.reshape(-1, GROUP, d).transpose(0, 2, 1))
        spare_room = np.float32(1e-6) * base[:k]  # `survivors` rounds as it likes, and must not lose the nearest
        boxes = Boxes.around(C[:k], base[:k] - spare_room, base[:k] + spare_room, 1e-6).arguments
        pool: LifoQueue = LifoQueue()

        def work(part, tiles=tiles, base=base, boxes=boxes, old=labels, new=spare, pool=pool):
            try:
                own = pool.get_nowait()
            except Empty:
                own = np.zeros((k, d + 1))
            _step(X[part], frame, tiles, base, boxes, old[part], new[part], own)
            pool.put(own)

        visit(work, min(1 << 18, max(n // (4 * threads), 2048), max(MEMORY // threads // (8 * d), 1)))
        labels, spare = spare, labels
        if i < iterations:
            while not pool.empty():
                sums += pool.get()
            full = sums[:, d] > 0.5
            centroids[full] = sums[full, :d] / sums[full, d:]

    def inertia(part):
        D = np.empty(len(labels[part]))
        own_distances(X[part], wide, labels[part], D)
        return D.sum()

    wide = centroids.astype(np.float64)
    sum(visit(inertia, few))
    if order is not None:
        given = np.empty_like(labels)
        given[order] = labels
    return centroids
