"""diffuse, Numba engine: see `gpukm.kernels.diffuse`.

The space is cut into cells. The entries that can be nearest to some point of a cell, two or three as a rule, are
listed when the first pixel comes into it. Errors for the next pixel and the row below stay in registers until they
are complete; a place of `carry` is read before what goes to the row below is written there, so its first row suffices.
"""

import numpy as np

from gpukm.kernels.jit_numba import jit

SIDE = {3: 32, 4: 12}  # cells an axis; of 24, 32, 48 and 64 the best for 256 entries, at 48 ns a pixel
LONGEST = 16  # entries in a list; where there would be more, all are compared
SLACK = 1e-12  # of the squared diagonal: a thousand times what roundings of a squared distance come to


@jit()
def list_entries(place, entries, limit, low, width, side, slack, found):
    """Write to `found` which of the first `limit` entries may be nearest in a cell; how many, or 0 for too many.

    Left out are those farther from all corners than the one nearest to the middle: the difference is linear.
    """
    lower, upper, middle = np.empty(4), np.empty(4), np.empty(4)
    for f in range(3, -1, -1):
        at = place % side if width[f] > 0 else 0
        place = place // side if width[f] > 0 else place
        lower[f] = low[f] + (at - 1e-6) * width[f]  # the place was rounded
        upper[f] = low[f] + (at + 1 + 1e-6) * width[f]
        middle[f] = low[f] + (at + 0.5) * width[f]
    least, best = np.inf, 0
    for j in range(limit):
        distance = 0.0
        for f in range(4):
            distance += (middle[f] - entries[j, f]) ** 2
        if distance < least:
            least, best = distance, j
    count = 0
    for j in range(limit):
        worst = 0.0
        for f in range(4):
            at_lower = (lower[f] - entries[best, f]) ** 2 - (lower[f] - entries[j, f]) ** 2
            at_upper = (upper[f] - entries[best, f]) ** 2 - (upper[f] - entries[j, f]) ** 2
            worst += max(at_lower, at_upper)
        if worst >= -slack:
            if count == len(found):
                return 0
            found[count] = j
            count += 1
    return count


@jit()
def diffuse_rows(
    index, points, kinds, limits, labels, entries, low, high, level, first_row, carry, out, side, slack, sizes, lists
):
    """`diffuse` with entries (k, 4), low and high (4,); sizes (kinds, cells) and lists (kinds, cells, LONGEST)."""
    rows, columns = index.shape
    deep = points.shape[1] > 3
    width, scale = np.zeros(4), np.zeros(4)
    for f in range(4):
        if high[f] > low[f]:
            width[f] = (high[f] - low[f]) / side
            scale[f] = 1.0 / width[f]
    strides, stride = np.zeros(4, np.int64), 1
    for f in range(3, -1, -1):
        if width[f] > 0:
            strides[f] = stride
            stride *= side
    top = side - 1
    for row in range(rows):
        step = -1 if (first_row + row) % 2 else 1
        column = 0 if step > 0 else columns - 1
        n0 = n1 = n2 = n3 = 0.0  # for the next pixel
        p0 = p1 = p2 = p3 = 0.0  # for the pixel below the last one, lacking this one's share
        q0 = q1 = q2 = q3 = 0.0  # for the pixel below this one
        for _ in range(columns):
            colour = index[row, column]
            kind = kinds[colour]
            e0 = e1 = e2 = e3 = 0.0
            if kind == 0:
                out[row, column] = labels[colour]
            else:
                v0 = min(max(points[colour, 0] + (carry[0, column + 1, 0] + n0), low[0]), high[0])
                v1 = min(max(points[colour, 1] + (carry[0, column + 1, 1] + n1), low[1]), high[1])
                v2 = min(max(points[colour, 2] + (carry[0, column + 1, 2] + n2), low[2]), high[2])
                v3 = 0.0
                if deep:
                    v3 = min(max(points[colour, 3] + (carry[0, column + 1, 3] + n3), low[3]), high[3])
                place = strides[0] * min(int((v0 - low[0]) * scale[0]), top)
                place += strides[1] * min(int((v1 - low[1]) * scale[1]), top)
                place += strides[2] * min(int((v2 - low[2]) * scale[2]), top)
                if deep:
                    place += strides[3] * min(int((v3 - low[3]) * scale[3]), top)
                limit = limits[kind]
                size = sizes[kind, place]
                if size < 0:
                    size = list_entries(place, entries, limit, low, width, side, slack, lists[kind, place])
                    sizes[kind, place] = size
                best, nearest = np.inf, 0
                for at in range(size if size > 0 else limit):
                    j = lists[kind, place, at] if size > 0 else at
                    d0, d1, d2, d3 = v0 - entries[j, 0], v1 - entries[j, 1], v2 - entries[j, 2], v3 - entries[j, 3]
                    distance = d0 * d0 + d1 * d1 + d2 * d2 + d3 * d3
                    if distance < best:
                        best, nearest = distance, j
                out[row, column] = nearest
                e0, e1 = (v0 - entries[nearest, 0]) * level, (v1 - entries[nearest, 1]) * level
                e2, e3 = (v2 - entries[nearest, 2]) * level, (v3 - entries[nearest, 3]) * level
            n0, n1, n2, n3 = e0 * 0.4375, e1 * 0.4375, e2 * 0.4375, e3 * 0.4375
            before = column + 1 - step
            carry[0, before, 0], carry[0, before, 1] = p0 + e0 * 0.1875, p1 + e1 * 0.1875
            carry[0, before, 2] = p2 + e2 * 0.1875
            if deep:
                carry[0, before, 3] = p3 + e3 * 0.1875
            p0, p1, p2, p3 = q0 + e0 * 0.3125, q1 + e1 * 0.3125, q2 + e2 * 0.3125, q3 + e3 * 0.3125
            q0, q1, q2, q3 = e0 * 0.0625, e1 * 0.0625, e2 * 0.0625, e3 * 0.0625
            column += step
        last = column + 1 - step
        carry[0, last, 0], carry[0, last, 1], carry[0, last, 2] = p0, p1, p2
        if deep:
            carry[0, last, 3] = p3


def diffuse(index, points, kinds, limits, labels, entries, low, high, level, first_row, carry, out, scratch):
    """Diffuse, with lists of entries that are kept in `scratch`."""
    if not scratch:
        d = points.shape[1]
        side = SIDE[d]
        scratch["side"], scratch["slack"] = side, SLACK * float(((high - low) ** 2).sum())
        for name, rows in (("entries", entries), ("low", low), ("high", high)):
            scratch[name] = np.zeros((*rows.shape[:-1], 4))
            scratch[name][..., :d] = rows
        scratch["sizes"] = np.full((len(limits), side**d), -1, np.int8)
        scratch["lists"] = np.empty((len(limits), side**d, LONGEST), np.int32)
    own = (scratch[name] for name in ("entries", "low", "high"))
    lists = (scratch[name] for name in ("side", "slack", "sizes", "lists"))
    diffuse_rows(index, points, kinds, limits, labels, *own, level, first_row, carry, out, *lists)
