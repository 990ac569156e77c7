"""float16 data: the same values in float32, and no float copy of what is given in fewer bytes."""

import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from gpukm import KMeans
from gpukm._half import widened

EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
FINITE = EVERY[np.isfinite(EVERY)]


@pytest.mark.parametrize(
    "halves",
    [EVERY, FINITE, EVERY.reshape(-1, 1).T, FINITE[::2].reshape(-1, 2), FINITE.astype(">f2"), FINITE[:0], FINITE[:1]],
    ids=["every", "finite", "one row", "two columns", "big-endian", "none", "one"],
)
def test_a_half_keeps_its_bits(halves):
    """All 65,536 of them: zeros of both signs, subnormal numbers; infinity and NaN stay what they are."""
    wide = widened(halves)
    assert wide.dtype == np.float32 and wide.shape == halves.shape and wide.flags.c_contiguous
    wanted = halves.astype(np.float32)
    assert_array_equal(np.isnan(wide), np.isnan(wanted))
    known = ~np.isnan(wanted)
    assert_array_equal(wide[known].view(np.uint32), wanted[known].view(np.uint32))


def test_halves_of_any_layout_are_left_alone():
    """Strided, transposed and read-only rows; the input is not written to."""
    X = FINITE[: 60 * 1000].reshape(1000, 60).copy()
    before = X.copy()
    X.flags.writeable = False
    for view in (X.T, X[::3], X[:, ::7], X[::-1]):
        assert_array_equal(widened(view), view.astype(np.float32))
    assert_array_equal(X, before)


def test_halves_are_widened_piece_by_piece(monkeypatch):
    """Where one piece ends and the next begins does not show; one with infinity does not spoil its neighbours."""
    monkeypatch.setattr("gpukm._half.AT_ONCE", 1000)
    wide = widened(EVERY[:-1500])
    assert_array_equal(wide, EVERY[:-1500].astype(np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16])
def test_data_in_few_bytes_are_never_copied_to_float(dtype, engine):
    """A whole fit, predict and transform take less than a quarter of what a float32 copy of X would."""
    X = np.random.default_rng(0).integers(0, 200, (60_000, 100)).astype(dtype)
    init = X[:4].astype(np.float32)
    fit = KMeans(4, init=init, max_iter=2, tol=0, max_memory=1 << 18).fit  # of 23 MiB that X would be in float32
    few = fit(X[:2000])
    few.predict(X[:2000]), few.transform(X[:2000])  # what they need is loaded and compiled now
    tracemalloc.start()
    try:
        model = fit(X)
        model.predict(X)
        model.transform(X)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < X.size * 4 / 4
    same = fit(X.astype(np.float32))
    assert_array_equal(model.cluster_centers_, same.cluster_centers_)
    assert_array_equal(model.labels_, same.labels_)


def test_not_a_number_among_halves_is_found(engine):
    """Blocks with NaN or infinity keep them, so that the message names the place."""
    X = np.ones((300, 3), np.float16)
    for value in (np.nan, np.inf, -np.inf):
        X[211, 2] = value
        with pytest.raises(ValueError, match=r"211.*2"):
            KMeans(2).fit(X)
