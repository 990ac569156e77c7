"""Rows brought into an order for the Numba engine, and boxes around them: faster, and nothing else."""

import faults
import numpy as np
import oracle
import pytest

from gpukm import KMeans, kernels
from gpukm.array_source import ArraySource

pytest.importorskip("numba")


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_arranged_rows_change_no_result(monkeypatch, weighted, dtype, ahead):
    """A source that sorts its rows gives the labels, centroids, inertia and starts of one that does not."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (5000, 3)).astype(dtype)
    weights = rng.random(5000) if weighted else None
    plain = KMeans(70, random_state=0, max_iter=5).fit(X, sample_weight=weights)
    asked = []
    monkeypatch.setattr(kernels, "short_steps", lambda *args: (ahead, True))
    monkeypatch.setattr(kernels, "worth_arranging", lambda engine, *args: asked.append(engine) or engine == "numba")
    sorted_ = KMeans(70, random_state=0, max_iter=5).fit(X, sample_weight=weights)
    assert asked and np.array_equal(plain.labels_, sorted_.labels_)
    assert np.array_equal(plain.cluster_centers_, sorted_.cluster_centers_)
    assert plain.inertia_ == sorted_.inertia_
    assert [step.changed for step in plain.history_] == [step.changed for step in sorted_.history_]


def test_when_rows_are_arranged():
    """Only where it pays, and where the copy fits the memory allowed."""
    X, memory = np.zeros((1 << 18, 3), np.float32), 64 << 20
    assert kernels.worth_arranging("numba", X, X.dtype, 256, memory)
    assert kernels.worth_arranging("numba", X, X.dtype, 16, memory, 50)  # in the long run
    assert not kernels.worth_arranging("numba", X, X.dtype, 16, memory, 10)
    for engine, rows, clusters, allowed in (
        ("numpy", X, 256, memory),
        ("numba", X[:1000], 256, memory),
        ("numba", X, 16, memory),
        ("numba", X, 256, 1 << 20),
        ("numba", np.zeros((1 << 18, 5), np.float32), 256, memory),
    ):
        assert not kernels.worth_arranging(engine, rows, X.dtype, clusters, allowed)


def arranged(X, dtype, **options):
    """A source whose rows are in order, however few they are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPUKM_ENGINE", "numba")
        patch.setattr(kernels, "worth_arranging", lambda *args: True)
        patch.setattr(kernels, "short_steps", lambda *args: (False, False))
        source = ArraySource(X, dtype=dtype, **options)
        source.arrange(64)
    return source


@pytest.mark.parametrize("d", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["uniform", "far row", "equal", "tiny", "converted"])
def test_each_row_comes_once(d, dtype, kind):
    """Rows in order are the rows, and cells follow each other; whatever the ranges of features."""
    rng = np.random.default_rng(d)
    X = rng.random((70_000 if kind == "far row" else 3000, d)).astype(dtype)
    if kind == "far row":
        X[0] = -1000  # the others are in one part of the space
    if kind == "equal":
        X[:] = 7
    if kind == "tiny":
        X[:, 0] *= dtype(1e-312 if dtype == np.float64 and d > 1 else 1e-38)  # 4096 / its range overflows
    source = arranged(np.asfortranarray(X) if kind == "converted" else X, dtype, n_threads=2, block_rows=1000)
    order = source._order
    assert np.array_equal(np.sort(order), np.arange(len(X)))
    assert np.array_equal(source._X, X[order])
    assert np.array_equal(source.as_given(order.astype(np.int32)), np.arange(len(X)))
    if d == 1:  # along a line, cells are in order
        low, high = source.bounds()
        cells = ((source._X[:, 0] - low) * (4096 / max(high - low, 1e-300))).astype(int)
        assert np.all(np.diff(np.minimum(cells, 4095)) >= 0)


@pytest.mark.parametrize("d", [1, 2, 3, 4])
def test_parts_follow_each_other_without_leaps(d):
    """Each is beside the one before, and a part of many rows has many cells, which come before those of the next."""
    from gpukm.kernels import arrange_numba as fast

    order, levels = fast._hilbert(d), range(fast.DIGIT // d)
    assert np.array_equal(np.sort(order), np.arange(fast.PARTS))
    at = np.array([sum((order >> (b * d + f) & 1) << b for b in levels) for f in range(d)])
    assert np.all(np.abs(np.diff(at, axis=1)).sum(axis=0) == 1)
    rng = np.random.default_rng(d)
    X = np.concatenate([rng.random((500, d)), np.full((500, d), 0.3) + rng.random((500, d)) / 1000])
    along = fast.curve(np.zeros(d), np.ones(d))
    first, shift, n_cells = fast.cells(X, along)
    sizes = np.diff(np.append(first[order], n_cells - 1).astype(int))
    assert np.all(sizes >= 0) and n_cells < 2 * fast.CELLS and shift.min() < fast.DIGIT - 6


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
def test_boxes_passed_over_change_no_step(dtype, threads):
    """Blobs far apart, whose boxes keep their label from step to step, and some rows between them, which do not."""
    rng = np.random.default_rng(2)
    centres = rng.integers(20, 230, (40, 3))
    X = np.clip(np.repeat(centres, 500, axis=0) + rng.integers(-3, 4, (20_000, 3)), 0, 255)
    X = np.concatenate([X, rng.integers(0, 256, (3000, 3))])[rng.permutation(23_000)].astype(dtype)
    compute = np.float64 if dtype == "float64" else np.float32
    plain = ArraySource(X, dtype=compute)
    boxed = arranged(X, compute, n_threads=threads, block_rows=4000)
    whole = []
    for count in (64, 64, 64, 64, 5, 5, 64, 64):  # with few centroids boxes are not asked
        C = (centres[rng.integers(0, 40, count)] + rng.normal(size=(count, 3))).astype(compute)
        for move in (0, 0, 0.25):
            expected, found = plain.step(C + compute(move)), boxed.step(C + compute(move))
            assert np.array_equal(boxed.as_given(boxed.labels), plain.labels)
            assert np.array_equal(found.sums.means(), expected.sums.means())
            assert found.changed == expected.changed
            assert np.array_equal(boxed.sizes(boxed.labels, count), plain.sizes(plain.labels, count))
        whole.append(np.count_nonzero(boxed._same >= 0))
    assert min(whole[:4]) > 20 and whole[4] == 0 and whole[-1] > 20


def test_boxes_after_a_step_that_was_broken_off():
    """What boxes are said to hold is forgotten with the labels."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.random((50, 2)), 400, axis=0).astype(np.float32)
    source = arranged(X, np.float32, n_threads=1, block_rows=400)
    source.step(X[:20_000:400])
    C = X[:20_000:400] + rng.random((50, 2)).astype(np.float32)
    faults.break_off(source, C, 10)
    fresh = ArraySource(X, dtype=X.dtype)
    assert np.array_equal(source.step(C).sums.means(), fresh.step(C).sums.means())
    assert np.array_equal(source.as_given(source.labels), fresh.labels)


@pytest.mark.parametrize("broken_off", [False, True])
def test_rows_arranged_between_steps(monkeypatch, broken_off):
    """Labels of the old order count for nothing then: neither those of a step nor those of half of one."""
    monkeypatch.setenv("GPUKM_ENGINE", "numba")
    X = np.random.default_rng(0).random((20_000, 2)).astype(np.float32)
    source = ArraySource(X, dtype=X.dtype, n_threads=1, block_rows=400)
    if broken_off:
        source.bounds()  # asks for blocks, too
        faults.break_off(source, X[:50], 10)
        assert np.any(source.labels >= 0)
    else:
        source.step(X[:50])
    source._arrange()
    fresh = ArraySource(X, dtype=X.dtype)
    for C in (X[50:100], X[50:100] + np.float32(1e-3)):
        assert np.array_equal(source.step(C).sums.means(), fresh.step(C).sums.means())
        assert np.array_equal(source.as_given(source.labels), fresh.labels)


@pytest.mark.parametrize("d", [1, 2, 3, 4])
@pytest.mark.parametrize("spread", [1e-4, 1.0, 20.0])
def test_no_box_drops_a_centroid_that_is_nearest(d, spread):
    """Neither a box nor the one around several; with rows far off, where float32 sides are coarse, and with ties."""
    from gpukm.kernels import boxes_numba as boxes

    rng = np.random.default_rng(d)
    X = rng.choice(rng.standard_normal((10, d)) * 100, 20_000) + rng.standard_normal((20_000, d)) * spread
    C = np.unique(np.concatenate([X[::200], X[::200] + spread / 4]).astype(np.float32), axis=0)
    source = ArraySource(X.astype(np.float32), dtype=np.dtype(np.float32), block_rows=boxes.BLOCK * 5)
    source._arrange()
    X, sides = source.block(0, len(X)), source._boxes
    columns, low, high, share = boxes.Boxes.of(kernels.Scorer.of(source.frame, C, "numba")).arguments
    union, at, limits, *near, numbers = boxes.survivors_for(len(C))
    nearest = oracle.distances(X, C)
    nearest = nearest == nearest.min(axis=1, keepdims=True)
    index, kept = np.empty(len(C) + boxes.LANES, np.int32), 0
    for first in range(0, len(sides), 7):
        last = min(first + 7, len(sides))
        boxes.unite(sides, first, last, union)
        count = boxes.survivors(union, 0, columns, low, high, share, len(low), at, limits, numbers)
        several = numbers[:count].copy()
        padded = boxes.gather(columns, low, high, numbers, count, *near)
        assert set(np.flatnonzero(nearest[first * boxes.BLOCK : last * boxes.BLOCK].any(axis=0))) <= set(several)
        for box in range(first, last):
            own = several[index[: boxes.survivors(sides, box, *near, share, padded, at, limits, index)]]
            assert set(np.flatnonzero(nearest[box * boxes.BLOCK : (box + 1) * boxes.BLOCK].any(axis=0))) <= set(own)
            assert (np.diff(own) > 0).all()
            kept += len(own)
    assert kept < 0.6 * len(sides) * len(C)  # it is not that all are kept
