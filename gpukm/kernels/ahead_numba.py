"""ahead, Numba engine: iterations of Lloyd's algorithm without the interpreter, which takes longer than short ones.

Centroids are packed, rows labelled and moved, sums divided and compared in one compiled function, by a team of threads
(`team_numba`); rows that stand (`bounds`), and strips (`stands_numba`), are passed over. An empty cluster ends it: the
loop does that iteration.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import U32, Sums, margin
from gpukm.kernels.accumulate_numba import NO_WEIGHTS
from gpukm.kernels.ahead import HOST, LONGEST, RUNNING, SETTLED, WITHIN_TOL, Ran, row_products
from gpukm.kernels.assign import FAR as FARTHEST
from gpukm.kernels.assign import Frame
from gpukm.kernels.bounds import NEVER, NOTHING, Part, may_pay
from gpukm.kernels.bounds_numba import add_moves, keep_of
from gpukm.kernels.boxes_numba import BLOCK, Boxes
from gpukm.kernels.int8_numba import NOT_KEPT, pack_kept
from gpukm.kernels.int16_numba import pack_words, words_for
from gpukm.kernels.jit_numba import jit
from gpukm.kernels.lloyd_step_numba import changes_for, rows_at_once, step
from gpukm.kernels.narrow_numba import MOST
from gpukm.kernels.quotients_numba import TERMS, divide, exact_sum, rounded_sum
from gpukm.kernels.stands_numba import CALM, no_limits
from gpukm.kernels.strips_numba import FAR, framed, row_limits, scratch_for
from gpukm.kernels.team_numba import DONE, NEXT, STOP, all_done, board_for, publish, raised, taken, work_comes
from gpukm.kernels.transpose_numba import QUAD
from gpukm.kernels.vectors_numba import GROUP, ROWS

AT_ONCE = 64  # iterations at most, as long as all together are short
BLOCKS, PRODUCTS = 8, 1 << 18  # for each thread, at most, and at least that many products in each
MANY = 4  # times as many rows between labelling and moving where most stand: those that are open fill their strips then
ALONE, LIKELY = 1 << 23, 4  # products that one thread does before others begin; iterations that are to be expected


@jit()
def _pack(centroids, shift, scale, kappa, operand, tiles, base, exact, boxes):
    """Write -c', |c'|^2 / 2 less its share of the error, and the centroids as float64; returns max |c'|^2."""
    columns, low, high, share = boxes
    k, d = centroids.shape
    longest = 0.0
    for j in range(k):
        squares = 0.0
        for f in range(d):
            exact[j, f] = centroids[j, f]
            c = (np.float64(centroids[j, f]) - shift[f]) * scale
            squares += c * c
            operand[j, f] = np.float32(-c)
            tiles[j // GROUP, f, j % GROUP] = operand[j, f]
            if share > 0.0:
                columns[f, j] = operand[j, f]
        base[j] = np.float32(squares * (0.5 - kappa))
        if share > 0.0:
            low[j], high[j] = np.float32((0.5 - share) * squares), np.float32((0.5 + share) * squares)
        longest = max(longest, squares)
    return longest


@jit()
def _update(store, used, bits, units, centroids, mean, new, parts, terms, partials):
    """Write the next centroids to `new`; returns (whether there are any, whether they moved, shift, inner, spread).

    There are none where a cluster is empty. `inner` is what the inertia has more than the total sum of squares,
    `spread` the sum of W |mean - overall mean|^2.
    """
    k, d = centroids.shape
    spreads, moves, inners = parts
    moved = False
    for j in range(k):
        w_hi, w_lo = exact_sum(store, used, j, d, bits, units[d])
        if w_hi == 0.0:
            return False, moved, 0.0, 0.0, 0.0
        weight, within, between = divide(store, used, j, d, bits, units[d], 1.0, 0.0, terms, partials), 0.0, 0.0
        for f in range(d):
            m = divide(store, used, j, f, bits, units[f], w_hi, w_lo, terms, partials)
            new[j, f] = m
            off, far = np.float64(centroids[j, f]) - m, m - mean[f]
            move = np.float64(new[j, f]) - np.float64(centroids[j, f])
            moved |= new[j, f] != centroids[j, f]
            within += off * off
            between += far * far
            spreads[j * d + f], moves[j * d + f] = weight * (far * far), move * move
        inners[j] = weight * (within - between)
    return True, moved, rounded_sum(moves, partials), rounded_sum(inners, partials), rounded_sum(spreads, partials)


@jit()
def _merge(store, used, stores, tallies):
    """Add up what the team found, and clear it; returns (changed rows, undecided rows, limbs in use)."""
    changed, undecided = 0, 0
    for me in range(len(tallies)):
        changed += tallies[me, 0]
        undecided += tallies[me, 1]
        limbs = tallies[me, 2]
        used = max(used, limbs)
        if me > 0:
            for limb in range(limbs):
                for cluster in range(store.shape[1]):
                    for column in range(store.shape[2]):
                        store[limb, cluster, column] += stores[me - 1, limb, cluster, column]
                        stores[me - 1, limb, cluster, column] = 0
        for count in range(tallies.shape[1]):
            tallies[me, count] = 0
    return changed, undecided, used


@jit()
def _run(
    me, team, X, frame, margins, labels, weights, sums, centroids, mean, tol, states, found, packed, around, known, own
):
    """Iterate from `centroids`; returns (why it ended, iterations begun, limbs in use).

    `me` is 0 for the thread that leads; what it returns counts. The others take their part of the rows.
    """
    # One function for both, as `step` is compiled anew for each place that calls it.
    board, rows, blocks, stores, tallies, shared = team
    shift, scale, plain = frame
    kappa, within, factor, tiny, boxes, typical = margins
    store, used, grid_scale, bits, units = sums
    operand, tiles, base, exact, words = packed
    records, counts, parts, terms, partials = found
    (keep, far, drifts), kept, (limit_of, of_gaps, calm) = known
    drift = 0.0
    wider = kappa * (1 + 40 * kappa)
    i = 0
    while True:
        if me == 0:
            longest = _pack(centroids, shift, scale, kappa, operand, tiles, base, exact, boxes)
            if not longest < FARTHEST**2:
                return RUNNING, i, used
            if len(words[0]):
                pack_words(exact, shift, scale, typical, words)
            if len(kept[0]):
                pack_kept(exact, shift, scale, kept)
            shared[0] = np.float32(2 * wider * longest * (1 + 1e-6))
            board[DONE] = 0
            publish(board.ctypes.data + 8 * NEXT, 0)
        elif not work_comes(board, blocks):
            return RUNNING, i, used
        values = grid_scale, 2.0**bits, store if me == 0 else stores[me - 1]
        while True:
            block = taken(board, blocks)
            if block < 0:
                break
            # Not before: the block may be of a later iteration than the one that `work_comes` saw.
            limits = np.float32(20 * wider), shared[0], within, factor, tiny
            arguments = shift, scale, plain, tiles, base, exact, limits, boxes, operand, words
            some = X, block * rows, min((block + 1) * rows, len(X)), arguments, labels, weights
            stands = limit_of, shared[1], shared[2] > 0, of_gaps
            undecided, changed, limbs, _ = step(*some, *values, keep, far, shared[3] > 0, around, kept, stands, own)
            tallies[me, 0] += changed
            tallies[me, 1] += undecided
            tallies[me, 2] = max(tallies[me, 2], limbs)
            raised(board.ctypes.data + 8 * DONE)
        if me > 0:
            continue
        all_done(board, blocks)
        counts[i, 0], counts[i, 1], used = _merge(store, used, stores, tallies)
        result = store, used, bits, units, centroids, mean, states[i], parts, terms, partials
        full, moved, moves, inner, spread = _update(*result)
        i += 1
        if not full:
            return HOST, i, used
        records[i - 1, 0], records[i - 1, 1], records[i - 1, 2] = inner, moves, spread
        before, centroids = centroids, states[i - 1]
        if not moved:
            return SETTLED, i, used
        if moves <= tol:
            return WITHIN_TOL, i, used
        if i == len(states):
            return RUNNING, i, used
        drift += add_moves(before, centroids, scale, *drifts)
        shared[1], shared[2] = drift * (1 + 2.0**-22), counts[i - 1, 0] < calm
        shared[3] = len(drifts[0])


class Runner:
    """Rows X (m, d), float32|float64 and C-contiguous, with `k` centroids; buffers are kept from run to run.

    ``together(task, n, end)`` does task(0) beside task(1), ..., task(n - 1), which `end` ends, on up to `n_threads`
    threads, and returns what task(0) gave.
    """

    def __init__(
        self,
        X: NDArray,
        weights: NDArray[np.float64] | None,
        frame: Frame,
        k: int,
        together: Callable[[Callable[[int], Any], int, Callable[[], None]], Any],
        n_threads: int,
    ) -> None:
        m, d = X.shape
        groups = -(-k // GROUP)
        self._X, self._weights, self._k = X, NO_WEIGHTS if weights is None else weights, k
        self._frame = framed(frame)
        kappa = margin(d, U32)
        boxes = Boxes.empty(k, d)
        self._margins, self._asked = (kappa, *row_limits(d), boxes.arguments, frame.length), boxes.asked
        operand, tiles = np.zeros((groups * GROUP + 1, d), np.float32), np.zeros((groups, d, GROUP), np.float32)
        base = np.full(groups * GROUP + 1, FAR, np.float32)
        self._packed = operand, tiles, base, np.empty((k, d)), words_for(k, d)
        self._rows = rows_of_blocks(m, d, k, n_threads)
        self._blocks = -(-m // self._rows)
        self._team, self._together = min(n_threads, self._blocks), together
        most = rows_at_once(d) * (MANY if may_pay("numba", k, d) else 1)
        self._own = [
            (np.empty(most + 1, np.int64), changes_for({}, most), scratch_for(d, k, X.dtype)) for _ in range(self._team)
        ]
        parts = np.empty(k * d), np.empty(k * d), np.empty(k)
        of_sums = parts, np.empty(TERMS), np.empty(max(k * d, TERMS) + 1)
        self._found = np.empty((AT_ONCE, 3)), np.empty((AT_ONCE, 2), np.int64), *of_sums
        self._products = m * row_products(k, d)  # of an iteration
        self._at_once = max(min(LONGEST // self._products, AT_ONCE), 1)
        self._limits = np.empty(-(-m // ROWS) if d <= QUAD and k <= MOST else 0, np.float32)
        self._calm = m // CALM
        self.able = kappa < 0.01

    def run(
        self,
        centroids: NDArray,
        labels: NDArray[np.int32],
        sums: Sums,
        mean: NDArray[np.float64],
        iterations: int,
        tol: float,
        around: tuple[NDArray[np.float32], NDArray[np.int32]] | None = None,
        kept: tuple | None = None,
        bounds: tuple[Part, NDArray[np.float64]] | None = None,
    ) -> Ran:
        """Up to `iterations` from `centroids`; `labels` (m,) and `sums` belong together and are brought up to date.

        Records are the inertia less totss, the shift, and the sum of W |mean - overall mean|^2. Nothing is done for
        another number of centroids than was said, nor where scores would prove nothing. `bounds` are as `Bounds.ahead`
        gives them, and brought up to date.
        """
        if len(centroids) != self._k or not self.able:
            return Ran(centroids, np.empty((0, 3)), np.empty((0, 2), np.int64), RUNNING)
        if around is not None and not self._asked:
            around[1][:] = -1
            around = None
        iterations = min(iterations, self._at_once)
        states = np.empty((iterations, *centroids.shape), centroids.dtype)
        unit = sums.grid.unit(0)
        own: Any = sums.store, sums.used, 1 / unit, sums.grid.bits, unit
        size = self._team if min(iterations, LIKELY) * self._products >= ALONE else 1
        board = board_for(self._blocks)
        found = np.zeros((size - 1, *sums.store.shape), np.int64), np.zeros((size, 3), np.int64)
        part, drift = (None, np.empty(0)) if bounds is None else bounds
        shared = np.array([0, 0, 0, part is not None and part.known], np.float32)
        team = board, self._rows, self._blocks, *found, shared
        data = self._X, self._frame, self._margins, labels, self._weights, own, np.ascontiguousarray(centroids), mean
        known = self._of_rows(part, drift), NOT_KEPT if kept is None else kept, self._of_strips(around is None)
        out = float(tol), states, self._found, self._packed, around, known
        at_once = rows_at_once(self._X.shape[1]) * (1 if part is None else MANY)

        def member(me: int) -> Any:
            found, (changed, to), scratch = self._own[me]
            return _run(me, team, *data, *out, (found, (changed[:at_once], to[:at_once]), scratch))

        def end() -> None:
            board[STOP] = 1

        stop, begun, sums.used = self._together(member, size, end)
        finished = begun - (stop == HOST and begun > 0)
        before, after = [centroids, centroids, *states[:finished]][-2:]
        records, counts = self._found[:2]
        return Ran(after, records[:finished].copy(), counts[:begun].copy(), stop, before)

    def _of_rows(self, part: Part | None, drift: NDArray[np.float64]) -> tuple:
        """The limits of rows, if any, and what becomes of their drift."""
        # An array that is an argument, not a global, is what `lloyd_step` has `step` compiled for.
        rounded = drift.astype(np.float32) if part is None else part.drift
        return keep_of(part, self._k, self._X.shape[1]), NOTHING, (drift, rounded)

    def _of_strips(self, wanted: bool) -> tuple:
        """Limits of strips, unknown yet, and fewer than how many rows have to change for them; beside boxes, none."""
        limits, _, _, of_gaps = no_limits(self._X.shape[1])
        if wanted:
            limits = self._limits
        limits[:] = NEVER
        return limits, of_gaps, self._calm if len(limits) else -1


def rows_of_blocks(n_samples: int, n_features: int, n_clusters: int, n_threads: int) -> int:
    """Rows that a thread takes at once: whole boxes; all of them where there is one thread."""
    even = -(-n_samples // (BLOCKS * n_threads)) if n_threads > 1 else n_samples
    return -(-max(even, PRODUCTS // row_products(n_clusters, n_features)) // BLOCK) * BLOCK
