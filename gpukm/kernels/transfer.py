"""transfer: rows that change their cluster one at a time, the centroids following at once. Reference engine.

    X (n, d) float32|float64         IN      rows, all different, in the order they are visited
    weights (n,) float64             IN      above 0
    centroids (k, d) float64         INOUT   running means
    table (d, k) float64             INOUT   the same, transposed: distances to many centroids are added side by side
    D (k,) float64                   OUT     scratch
    mass (k,) float64                INOUT   weight of each cluster
    count (k,) int64                 INOUT   rows of each cluster
    first, second (n,) int32         INOUT   cluster of each row, and the one it would go to
    loss (n,) float64                INOUT   what the inertia falls by when the row leaves its cluster, over its weight
    last (k,) int64                  INOUT   the time at which each cluster last changed
    clock (3,) int64                 INOUT   visits, which are the time; those since the last transfer; limits met

Loops over rows cannot be turned into array operations, since each row finds the centroids that the one before has left.
They are written once, in what both Python and Numba run, and every sum has its order: the same bits either way. Python
gets memoryviews, whose entries are plain floats, several times as fast as NumPy's.

A row of weight w leaves a cluster of weight W, D from its mean, and the inertia falls by w D W / (W - w); it joins one
and the inertia grows by w D W / (W + w) (Hartigan & Wong 1979; with weights: Telgarsky & Vattani 2010). A transfer has
to gain more than the roundings of these could feign, else rows might go round in circles.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

GAIN = 1 - 2.0**-40  # a transfer must lower the cost to this share of what it was
MANY = 8  # from one in so many clusters that have to be looked at, the distances to all are taken side by side
HOLDS = 2.0**-30  # a row stays where it holds all but this share of the weight: what is left is lost in rounding


def two_nearest(X, table, D, first, second):  # type: ignore[no-untyped-def]
    """Fill in the nearest and second nearest centroid of each row; ties go to the lower one."""
    n, d = X.shape
    for i in range(n):
        for k in range(table.shape[1]):
            D[k] = 0.0
        for j in range(d):
            x = X[i, j]
            for k in range(table.shape[1]):
                t = x - table[j, k]
                D[k] += t * t
        least = after = np.inf
        a = b = 0
        for k in range(table.shape[1]):
            if D[k] < least:
                after, b = least, a
                least, a = D[k], k
            elif D[k] < after:
                after, b = D[k], k
        first[i], second[i] = a, b


def optimal_transfer(X, weights, centroids, table, D, mass, count, first, second, loss, last, clock, previous):  # type: ignore[no-untyped-def]
    """Visit each row once and send it to the cluster where it costs least; return how many went.

    Only clusters that changed since the row was last visited by this stage, which began at the time `previous`, are
    looked at (the live set); all of them if its own did. Ends early after n visits without a transfer.
    """
    n, d = X.shape
    clusters = table.shape[1]
    moves = 0
    for i in range(n):
        clock[0] += 1
        clock[1] += 1
        a, w = first[i], weights[i]
        rest = mass[a] - w
        if count[a] > 1 and rest > mass[a] * HOLDS:
            total = 0.0
            for j in range(d):
                t = X[i, j] - centroids[a, j]
                total += t * t
            loss[i] = total * mass[a] / rest
            known = b = second[i]
            total = 0.0
            for j in range(d):
                t = X[i, j] - centroids[b, j]
                total += t * t
            cost = total * mass[b] / (mass[b] + w)
            visited = previous + i + 1
            every = last[a] > visited
            live = clusters if every else 0
            if not every:
                for k in range(clusters):
                    live += last[k] > visited
            many = live * MANY > clusters
            if many:
                for k in range(clusters):
                    D[k] = 0.0
                for j in range(d):
                    x = X[i, j]
                    for k in range(clusters):
                        t = x - table[j, k]
                        D[k] += t * t
            for k in range(clusters if live else 0):
                if k != a and k != known and (every or last[k] > visited):
                    limit = cost * (mass[k] + w)
                    if many:
                        total = D[k]
                    else:
                        total = 0.0
                        for j in range(d):
                            t = X[i, j] - centroids[k, j]
                            total += t * t
                            if total * mass[k] >= limit:
                                break
                    if total * mass[k] < limit:
                        cost, b = total * mass[k] / (mass[k] + w), k
            second[i] = b
            if cost < loss[i] * GAIN:
                out, into = w / rest, w / (mass[b] + w)
                for j in range(d):
                    table[j, a] = centroids[a, j] = centroids[a, j] - (X[i, j] - centroids[a, j]) * out
                    table[j, b] = centroids[b, j] = centroids[b, j] + (X[i, j] - centroids[b, j]) * into
                mass[a] = rest
                mass[b] += w
                count[a] -= 1
                count[b] += 1
                first[i], second[i] = b, a
                last[a] = last[b] = clock[0]
                clock[1] = 0
                moves += 1
        if clock[1] == n:
            break
    return moves


def quick_transfer(X, weights, centroids, table, mass, count, first, second, loss, last, clock, most):  # type: ignore[no-untyped-def]
    """Swap rows between their first and second cluster until n visits change nothing; return how many went.

    Only rows one of whose two clusters changed during the last n visits are looked at. At most `most` visits.
    """
    n, d = X.shape
    moves = quiet = visits = 0
    while True:
        for i in range(n):
            clock[0] += 1
            visits += 1
            quiet += 1
            a, b, w = first[i], second[i], weights[i]
            rest = mass[a] - w
            if count[a] > 1 and rest > mass[a] * HOLDS:
                visited = clock[0] - n
                if last[a] >= visited:
                    total = 0.0
                    for j in range(d):
                        t = X[i, j] - centroids[a, j]
                        total += t * t
                    loss[i] = total * mass[a] / rest
                if last[a] > visited or last[b] > visited:
                    limit = loss[i] * GAIN * (mass[b] + w)
                    total = 0.0
                    for j in range(d):
                        t = X[i, j] - centroids[b, j]
                        total += t * t
                        if total * mass[b] >= limit:
                            break
                    if total * mass[b] < limit:
                        out, into = w / rest, w / (mass[b] + w)
                        for j in range(d):
                            table[j, a] = centroids[a, j] = centroids[a, j] - (X[i, j] - centroids[a, j]) * out
                            table[j, b] = centroids[b, j] = centroids[b, j] + (X[i, j] - centroids[b, j]) * into
                        mass[a] = rest
                        mass[b] += w
                        count[a] -= 1
                        count[b] += 1
                        first[i], second[i] = b, a
                        last[a] = last[b] = clock[0]
                        clock[1] = quiet = 0
                        moves += 1
            if quiet == n:
                return moves
            if visits == most:
                clock[2] += 1
                return moves


def nearest_transfer(X, weights, centroids, table, D, mass, count, first):  # type: ignore[no-untyped-def]
    """Visit each row once and send it to its nearest centroid (MacQueen 1967); return how many went."""
    n, d = X.shape
    moves = 0
    for i in range(n):
        a, w = first[i], weights[i]
        rest = mass[a] - w
        if count[a] > 1 and rest > mass[a] * HOLDS:
            for k in range(table.shape[1]):
                D[k] = 0.0
            for j in range(d):
                x = X[i, j]
                for k in range(table.shape[1]):
                    t = x - table[j, k]
                    D[k] += t * t
            least, b = D[a] * GAIN, a
            for k in range(table.shape[1]):
                if D[k] < least:
                    least, b = D[k], k
            if b != a:
                out, into = w / rest, w / (mass[b] + w)
                for j in range(d):
                    table[j, a] = centroids[a, j] = centroids[a, j] - (X[i, j] - centroids[a, j]) * out
                    table[j, b] = centroids[b, j] = centroids[b, j] + (X[i, j] - centroids[b, j]) * into
                mass[a] = rest
                mass[b] += w
                count[a] -= 1
                count[b] += 1
                first[i] = b
                moves += 1
    return moves


def transfer_loop(name: str, engine: str) -> Callable[..., Any]:
    """One of the loops above, by name, for NumPy arrays: compiled, or run by Python on memoryviews."""
    if engine == "numba":
        from gpukm.kernels import transfer_numba

        return getattr(transfer_numba, name)
    loop = globals()[name]
    return lambda *arrays: loop(*[a.data if isinstance(a, np.ndarray) else a for a in arrays])
