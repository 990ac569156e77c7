"""Memory that one fit leaves to the next: used again when nothing looks at it any more, and not too much of it."""

import gc

import numpy as np
import pytest

from gpukm import KMeans
from gpukm.kernels import spare

FLOAT, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    """Each test begins with none."""
    monkeypatch.setattr(spare, "_kept", [])


def test_memory_is_used_again():
    """Also for another shape and dtype; and not while a view is left, even one of a view."""
    first = spare.empty((1000, 3), FLOAT)
    assert first.shape == (1000, 3) and first.dtype == FLOAT and first.flags.c_contiguous and first.flags.writeable
    place, column = first.ctypes.data, first[5:].T[1]
    del first
    gc.collect()
    other = spare.empty((1000, 3), FLOAT)
    assert not np.shares_memory(other, column) and other.ctypes.data != place
    del other, column  # the one that goes last is kept
    gc.collect()
    again = spare.empty((10, 2), DOUBLE)
    assert again.ctypes.data == place and again.shape == (10, 2)
    assert spare._kept == []  # one array at a time


def test_too_little_and_too_much(monkeypatch):
    """A larger array gets memory of its own; what is above the limit goes back to the system."""
    monkeypatch.setattr(spare, "MOST", 4000)
    small = spare.empty((10, 4), FLOAT)
    del small
    large = spare.empty((1001,), FLOAT)
    large[:] = 1
    assert spare._kept == []
    del large
    gc.collect()
    assert spare._kept == []
    exact = spare.empty((1000,), FLOAT)
    del exact
    gc.collect()
    assert [memory.nbytes for memory in spare._kept] == [4000]


def test_fits_one_after_the_other():
    """What an earlier fit left changes no later one, be it smaller or larger."""
    pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (200_000, 3)).astype(np.float32)

    def fit(rows):
        return KMeans(64, init=X[:64], max_iter=3, tol=0).fit(rows)

    expected = [(fit(rows), spare._kept.clear())[0] for rows in (X, X[:150_000])]
    for rows, before in [(X, expected[0]), (X[:150_000], expected[1]), (X, expected[0])]:
        after = fit(rows)
        assert np.array_equal(after.labels_, before.labels_)
        assert np.array_equal(after.cluster_centers_, before.cluster_centers_) and after.inertia_ == before.inertia_
        gc.collect()
        assert len(spare._kept) == 1
