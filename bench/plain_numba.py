"""gpukm's own Numba engine with nothing proved: the yardstick of what exactness costs it.

The same threads, order of the rows, boxes, strips and register tiles, sums brought up to date by the rows that changed
only. Left out is what exactness adds: tiles keep no second score, no margin is computed and no row settled, sums are
float64 in whatever order the threads come, the statistics are one pass for the mean, and the inertia is a plain sum.
Updating float sums by differences drifts, as summing anew would not; that would be slower, and flatter gpukm. It keeps
no bounds from one iteration to the next: where gpukm gains by these, the price may be below 1.
"""

from __future__ import annotations

from queue import Empty, LifoQueue
from types import SimpleNamespace

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from gpukm import kernels
from gpukm._threads import run_blocks
from gpukm.kernels import vectors_numba as vectors
from gpukm.kernels.boxes_numba import BLOCK, Boxes, survivors, survivors_for, survivors_of_several
from gpukm.kernels.inertia_numba import own_distances
from gpukm.kernels.jit_numba import FUSED, jit
from gpukm.kernels.strips_numba import FAR, pack_strip, pack_strip_float32, readable, strip_for
from gpukm.kernels.transpose_numba import QUAD
from gpukm.kernels.vectors_numba import GROUP, LANES, PANELS, ROWS, lanes_differ

MEMORY = 64 << 20  # bytes that gpukm may take for a sorted copy by default
CHANGES = 1 << 14  # rows that changed label until they are moved


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
def _move(X, rows, new, count, labels, sums):
    """Give rows of X new labels: `sums` (k, d + 1), sizes in the last column."""
    d = X.shape[1]
    for change in range(count):
        i = rows[change]
        target, before = sums[new[change]], labels[i]
        for f in range(d):
            target[f] += np.float64(X[i, f])
        target[d] += 1.0
        if before >= 0:
            source = sums[before]
            for f in range(d):
                source[f] -= np.float64(X[i, f])
            source[d] -= 1.0
        labels[i] = new[change]


@jit(FUSED)
def _step(X, frame, tiles, base, boxes, sides, same, labels, sums, rows, new, of_boxes):
    """`assign_rows` without margins: label the rows of X, and move those that changed."""
    d, k = X.shape[1], boxes[1].shape[0]
    strip = strip_for(d)
    best, label = np.empty(ROWS, np.float32), np.empty(ROWS, np.int32)
    columns, ask, survived, moved = boxes[0], len(sides) > 0, 0, 0
    index, united = np.empty(k + LANES, np.int32), 0
    _, at, limits, near, near_low, near_high, numbers = of_boxes
    few, few_base = (np.empty_like(tiles), np.empty_like(base)) if ask else (tiles, base)
    own, own_base, groups, listed = tiles, base, len(tiles), False
    (shift, scale), until = frame, readable(X, True)
    start = -ROWS
    while start + ROWS < len(X):
        start += ROWS
        count = min(ROWS, len(X) - start)
        if moved + BLOCK > len(rows):
            _move(X, rows, new, moved, labels, sums)
            moved = 0
        if len(sides) and start % BLOCK == 0:
            box = start // BLOCK
            own, own_base, groups, listed = tiles, base, len(tiles), ask
            if ask:
                if box >= united:
                    united, nearby = survivors_of_several(sides, box, boxes, of_boxes)
                left = survivors(sides, box, near, near_low, near_high, boxes[3], nearby, at, limits, index)
                for j in range(left):
                    index[j] = numbers[index[j]]
                survived += left
                ask = 2 * survived * BLOCK <= k * (start + BLOCK)
                if left == 1:
                    stop, only = min(start + BLOCK, len(X)), index[0]
                    if same[box] != only:
                        same[box] = only
                        for i in range(start, stop):
                            rows[moved], new[moved] = i, only
                            moved += labels[i] != only
                    start = stop - ROWS
                    continue
                own, own_base, groups = few, few_base, pack_survivors(index, left, columns, base, few, few_base)
            same[box] = -1
        best[:] = FAR
        label[:] = 0
        if start + ROWS <= until:
            pack_strip_float32(X.ctypes.data + 4 * d * start, shift.ctypes.data, strip.ctypes.data, d)
        else:
            pack_strip(X, shift, scale, start, count, strip)
        for g in range(groups):
            least_tile(
                strip.ctypes.data,
                own.ctypes.data + 4 * GROUP * d * g,
                own_base.ctypes.data + 4 * GROUP * g,
                best.ctypes.data,
                label.ctypes.data,
                np.int32(g * GROUP),
                d,
            )
        if listed:
            for i in range(count):
                label[i] = index[label[i]]
        for first in range(0, count, LANES):
            if first + LANES <= count:  # most often none of so many has changed
                if lanes_differ(label.ctypes.data + 4 * first, labels.ctypes.data + 4 * (start + first)) == 0:
                    continue
            for i in range(first, min(first + LANES, count)):
                rows[moved], new[moved] = start + i, label[i]
                moved += labels[start + i] != label[i]
    _move(X, rows, new, moved, labels, sums)


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
        rows = -(-rows // BLOCK) * BLOCK
        return run_blocks(lambda b: task(slice(b * rows, min((b + 1) * rows, n))), -(-n // rows), threads)

    few = max((1 << 18) // d, 64)
    columns = np.array(visit(lambda part: _statistics(X[part]), few))
    mean, low, high = columns[:, 0].sum(axis=0) / n, columns[:, 1].min(axis=0), columns[:, 2].max(axis=0)
    if not np.isfinite(mean).all():
        raise ValueError("X holds NaN or infinity")
    shift = np.zeros(-(-d // QUAD) * QUAD, np.float32)
    shift[:d] = mean
    frame = shift, 1.0
    order, sides = None, np.empty((0, 3, 4), np.float32)
    if kernels.worth_arranging("numba", X, X.dtype, k, MEMORY, iterations):

        def arranging(task):
            return visit(lambda part: task(part.start, part.stop, {}), max(n // (4 * threads), few))

        given, about = X, SimpleNamespace(shift=shift, scale=1.0)
        own = lambda i, j: given[i:j], lambda rows: given[rows], given, n, low, high, about
        X, order, sides = kernels.arranged(arranging, *own)
    same = np.full(len(sides), -1, np.int32)
    labels, sums = np.full(n, -1, np.int32), np.zeros((k, d + 1))
    centroids = centroids.copy()
    for i in range(iterations + 1):
        C = np.zeros((-(-k // GROUP) * GROUP, d), np.float32)
        C[:k] = shift[:d] - centroids
        base = np.full(len(C), FAR, np.float32)
        base[:k] = (C[:k].astype(np.float64) ** 2).sum(axis=1) / 2
        tiles = np.ascontiguousarray(C.reshape(-1, GROUP, d).transpose(0, 2, 1))
        room = np.float32(1e-6) * base[:k]  # `survivors` rounds as it likes, and must not lose the nearest
        around = Boxes.empty(k if len(sides) else 1, d)
        if around.asked:
            around.columns[:d, :k], around.low[:k], around.high[:k] = C[:k].T, base[:k] - room, base[:k] + room
        boxes = around.arguments
        pool: LifoQueue = LifoQueue()

        def work(part, tiles=tiles, base=base, boxes=boxes, pool=pool):
            try:
                own, *scratch = pool.get_nowait()
            except Empty:
                changes = np.empty(CHANGES, np.int64), np.empty(CHANGES, np.int32)
                own, *scratch = np.zeros((k, d + 1)), *changes, survivors_for(k)
            box = slice(part.start // BLOCK, -(-part.stop // BLOCK))
            _step(X[part], frame, tiles, base, boxes, sides[box], same[box], labels[part], own, *scratch)
            pool.put((own, *scratch))

        visit(work, min(1 << 18, max(n // (4 * threads), 2048), max(MEMORY // threads // (8 * d), 1)))
        if i < iterations:
            while not pool.empty():
                sums += pool.get()[0]
            full = sums[:, d] > 0.5
            centroids[full] = sums[full, :d] / sums[full, d:]

    def inertia(part):
        D = np.empty(len(labels[part]))
        own_distances(X[part], wide, labels[part], D)
        return D.sum()

    wide = centroids.astype(np.float64)
    sum(visit(inertia, few))
    if order is not None:
        out = np.empty_like(labels)
        visit(lambda part: kernels.put_back(labels[part], order[part], out), few)
    return centroids
