"""Sums of rows by vectors, Numba engine: those of the reference, whatever the vectors' width."""

import numpy as np
import pytest

from gpukm import kernels
from gpukm.exact import Grid, sums_like

pytest.importorskip("numba")


def wide(rng, m, d, dtype):
    """Values over many decades, so that some rows need limbs that vectors do not fill; and repeated ones."""
    X = rng.standard_normal((m, d)) * 10.0 ** rng.integers(-25, 9, (m, 1))
    X[rng.random(m) < 0.5] = 0.75
    return X.astype(dtype)


def distances_added(engine, X, C, labels):
    """What `add_inertia` makes of one block, by one engine."""
    sums = sums_like(Grid.of([1e20 * X.shape[1]], 3 * len(X)), len(C))
    kernels.add_inertia(X, C, labels, None, sums, {}, engine)
    return sums


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 8, 19])
@pytest.mark.parametrize("k", [1, 2, 7])
def test_distances_to_one_and_to_several_centroids(k, d, dtype):
    """As many rows as vectors take, one more and one less, to the bit; the last row ends where the memory does."""
    rng = np.random.default_rng(10 * k + d)
    for m in (7, 15, 16, 17, 31, 32, 100, 333):
        X, labels = wide(rng, m, d, dtype), rng.integers(0, k, m).astype(np.int32)
        C = X[rng.integers(0, m, k)] + rng.standard_normal((k, d))
        for centroids in (C, C.astype(dtype), np.asfortranarray(C), np.repeat(C, 2, axis=1)[:, ::2]):
            expected, found = (distances_added(engine, X, centroids, labels) for engine in ("numpy", "numba"))
            assert np.array_equal(found.totals(), expected.totals())
        for other in (labels.astype(np.int64), np.repeat(labels, 2)[::2]):
            assert np.array_equal(
                distances_added("numba", X, C, other).totals(), distances_added("numpy", X, C, labels).totals()
            )
    assert found.used > 3  # else nothing was left for the lower limbs


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5])
def test_many_rows_moved_at_once(d, dtype):
    """Rows of few clusters, of which every second one has sums of its own; some come anew, some leave a cluster."""
    rng = np.random.default_rng(d)
    for m, k in ((1, 1), (31, 2), (32, 2), (33, 2), (500, 3), (501, 40)):
        X = wide(rng, m, d, dtype)
        old, new = rng.integers(-1, k, m).astype(np.int32), rng.integers(0, k, m).astype(np.int32)
        held, outcome = old >= 0, []
        for engine in ("numpy", "numba"):
            sums = sums_like(Grid.of([1e20] * d + [1], 3 * m), k)
            if held.any():
                kernels.accumulate(X[held], np, old[held], sums, engine=engine)
            kernels.accumulate(X[held], np, new[held], sums, old_labels=old[held], engine=engine)
            kernels.accumulate(X[~held], np, new[~held], sums, engine=engine)
            outcome.append(sums)
        assert np.array_equal(outcome[0].totals(), outcome[1].totals())
        assert np.array_equal(outcome[1].weights(), np.bincount(new, minlength=k))
    assert outcome[1].used > 1
