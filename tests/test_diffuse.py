"""Floyd-Steinberg: the compiled engine gives the reference's bytes, whatever the palette, the strips and the ties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from gpukm.kernels import diffuse

pytest.importorskip("numba", reason="Numba is not installed")


def diffused(engine, index, points, kinds, limits, labels, entries, level, cut):
    """The entries, given in two strips cut at row `cut`."""
    low = np.minimum(points.min(axis=0), entries.min(axis=0)).astype(float)
    high = np.maximum(points.max(axis=0), entries.max(axis=0)).astype(float)
    carry, out, scratch = np.zeros((2, index.shape[1] + 2, points.shape[1])), np.full(index.shape, -1, np.int32), {}
    for part, first_row in ((slice(0, cut), 0), (slice(cut, None), cut)):
        diffuse(
            index[part],
            points,
            kinds,
            limits,
            labels,
            entries,
            low,
            high,
            level,
            first_row,
            carry,
            out[part],
            scratch,
            engine,
        )
    return out


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([3, 4]),
    st.sampled_from([1, 2, 7, 60]),
    st.sampled_from(["grid", "normal", "flat", "one line"]),
    st.sampled_from([0.5, 0.8, 1.0]),
)
def test_engines_agree(seed, d, k, kind, level):
    """Ties of entries on a grid, equal ones, axes of no extent, colours that stay and colours held to few entries."""
    rng = np.random.default_rng(seed)

    def some(n):
        if kind == "normal":
            return (100 * rng.standard_normal((n, d))).astype(np.float32)
        grid = rng.integers(0, 5, (n, d)).astype(np.float32) * 16
        grid[:, 1:] *= kind != "one line"
        return grid * (kind != "flat")

    colors, entries = some(40), some(k).astype(float)
    kinds = rng.integers(0, 3, 40).astype(np.uint8)
    limits = np.array([0, k, max(1, k // 3)], np.int32)
    labels = rng.integers(0, k, 40).astype(np.int32)
    index = rng.integers(0, 40, (int(rng.integers(1, 9)), int(rng.integers(1, 12)))).astype(np.int32)
    given = index, colors, kinds, limits, labels, entries, level, int(rng.integers(0, len(index) + 1))
    assert_array_equal(diffused("numba", *given), diffused("numpy", *given))
