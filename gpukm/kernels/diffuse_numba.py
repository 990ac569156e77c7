"""diffuse, Numba engine: see `gpukm.kernels.diffuse`."""

import numpy as np

from gpukm.kernels.diffuse import MOST_ORDERED
from gpukm.kernels.jit_numba import jit

SLACK = 1.0 + 1e-9  # for the roundings of distances: an entry is only passed by where it is surely farther


@jit()
def nearest_entry(value, entries, limit, guess, order, gaps):
    """The nearest of the first `limit` entries to `value` (d,), the first of equals; `order` (k, k) may be empty."""
    d = len(value)
    best, nearest = np.inf, -1
    if len(order) == 0 or guess >= limit:
        for j in range(limit):
            distance = 0.0
            for f in range(d):
                difference = value[f] - entries[j, f]
                distance += difference * difference
            if distance < best:
                best, nearest = distance, j
        return nearest
    for f in range(d):
        difference = value[f] - entries[guess, f]
        best = difference * difference if f == 0 else best + difference * difference
    nearest = guess
    radius = np.sqrt(best)
    reach = 4.0 * best * SLACK  # the square of how far from the guess an entry can be that is nearer than the best
    for place in range(1, len(order)):
        j = order[guess, place]
        if gaps[guess, place] > reach:
            break
        if j >= limit:
            continue
        distance = 0.0
        for f in range(d):
            difference = value[f] - entries[j, f]
            distance += difference * difference
        if distance < best or (distance == best and j < nearest):
            best, nearest = distance, j
            reach = (radius + np.sqrt(best)) ** 2 * SLACK
    return nearest


@jit()
def diffuse_rows(index, points, limits, labels, entries, low, high, level, first_row, carry, out, order, gaps):
    """`diffuse`, with the entries in the order of their squared distance to each one, and these (k, k)."""
    rows, width = index.shape
    d = points.shape[1]
    value, error = np.empty(d), np.empty(d)
    for row in range(rows):
        step = -1 if (first_row + row) % 2 else 1
        for count in range(width):
            column = count if step > 0 else width - 1 - count
            colour = index[row, column]
            limit = limits[colour]
            if limit == 0:
                out[row, column] = labels[colour]
                continue
            for f in range(d):
                value[f] = min(max(points[colour, f] + carry[0, column + 1, f], low[f]), high[f])
            nearest = nearest_entry(value, entries, limit, labels[colour], order, gaps)
            out[row, column] = nearest
            for f in range(d):
                error[f] = (value[f] - entries[nearest, f]) * level
                carry[0, column + 1 + step, f] += error[f] * 0.4375
                carry[1, column + 1 - step, f] += error[f] * 0.1875
                carry[1, column + 1, f] += error[f] * 0.3125
                carry[1, column + 1 + step, f] += error[f] * 0.0625
        carry[0] = carry[1]
        carry[1] = 0.0


def diffuse(index, points, limits, labels, entries, low, high, level, first_row, carry, out):
    """Order the entries about each other and diffuse."""
    k = len(entries)
    order, gaps = np.empty((0, 0), np.int32), np.empty((0, 0))
    if k <= MOST_ORDERED:
        distance = np.stack([((entries - entry) ** 2).sum(axis=1) for entry in entries])
        distance[np.arange(k), np.arange(k)] = -1.0  # each one first among those near it
        order = np.argsort(distance, axis=1, kind="stable").astype(np.int32)
        gaps = np.take_along_axis(distance, order, axis=1)
    diffuse_rows(index, points, limits, labels, entries, low, high, level, first_row, carry, out, order, gaps)
