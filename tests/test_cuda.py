"""The CUDA engine against the reference, to the bit: on the emulator always, on a GPU where there is one."""

import itertools
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from emulator import FACTS, EmulatedGpu, vast
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukm import BisectingKMeans, KMeans, SphericalKMeans, kernels, kmeans_plusplus, placing
from gpukm.array_source import ArraySource
from gpukm.device_source import DeviceSource
from gpukm.exact import Grid, sums_like
from gpukm.kernels import arrange_cuda, assign_cuda
from gpukm.kernels.accumulate_cuda import DeviceSums
from gpukm.kernels.engine import cuda_works
from gpukm.kernels.operands_cuda import HALF, TF32, format_for
from gpukm.kernels.segments_cuda import add_rows
from gpukm.lloyd import lloyd
from gpukm.minibatch_kmeans import MiniBatchKMeans
from gpukm.seeding import seed


@pytest.fixture(params=["emulator", "emulator without tensor cores", "gpu"])
def gpu(request):
    """A device to launch kernels on."""
    if request.param == "emulator":
        return EmulatedGpu()
    if request.param != "gpu":
        return EmulatedGpu(facts=replace(FACTS, arch=75))
    if not cuda_works():
        pytest.skip("no CUDA device")
    from gpukm.kernels._cuda import Gpu

    return Gpu()


@pytest.fixture
def as_cuda(gpu, monkeypatch):
    """Makes device="cuda" mean that device."""
    monkeypatch.setattr(placing, "gpu", lambda number=None: gpu)


def pair(gpu, X, weights=None, **options):
    """The reference's source and the device's."""
    dtype = np.float64 if X.dtype == np.float64 else np.float32
    return ArraySource(X, weights, dtype=dtype), DeviceSource(gpu, X, weights, dtype=dtype, **options)


def assert_same_run(reference, device, start, max_iter=6, tol=0.0, **options):
    """Both sources go through the same iterations, to the same bits."""
    expected = lloyd(reference, start, max_iter=max_iter, tol=tol, **options)
    found = lloyd(device, start, max_iter=max_iter, tol=tol, **options)
    np.testing.assert_array_equal(device.gpu.to_host(found.labels), expected.labels)
    for name in ("centroids", "withinss", "sizes"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    assert (found.inertia, found.n_iter, found.converged) == (expected.inertia, expected.n_iter, expected.converged)
    for one, other in zip(found.history, expected.history, strict=True):
        assert (one.iteration, one.changed, one.relocated) == (other.iteration, other.changed, other.relocated)
        assert one.shift == pytest.approx(other.shift, rel=1e-9)
        assert one.inertia == pytest.approx(other.inertia, rel=1e-9, abs=1e-15 * reference.stats().totss)
    return found


SHAPES = [  # n, d, k, dtype, weighted: one kernel or three, rows and tiles more or less by one, primes
    (1, 1, 1, np.float32, False),
    (513, 3, 5, np.float32, False),
    (777, 2, 40, np.float32, True),
    (511, 16, 33, np.float32, False),
    (129, 17, 65, np.float32, True),
    (257, 33, 9, np.uint8, True),
    (1030, 3, 16, np.uint8, False),
    (1300, 3, 100, np.float32, False),
    (700, 2, 64, np.float64, True),
    (900, 4, 129, np.uint8, False),
    (300, 5, 7, np.float64, True),
    (127, 300, 3, np.float64, False),
    (64, 257, 64, np.float32, False),
]


def rows(n, d, dtype, seed=0):
    """Rows about 100, or bytes."""
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 20, (n, d)) if dtype == np.uint8 else rng.normal(100, 3, (n, d))
    return X.astype(dtype)


@pytest.mark.parametrize(("n", "d", "k", "dtype", "weighted"), SHAPES)
def test_a_fit_on_the_device_has_the_bits_of_the_reference(gpu, n, d, k, dtype, weighted):
    """Statistics, seeds, labels, centroids, inertia, distances and predictions are the same."""
    X = rows(n, d, dtype)
    weights = np.random.default_rng(1).random(n) * 3 if weighted else None
    reference, device = pair(gpu, X, weights)
    expected, found = reference.stats(), device.stats()
    for name in ("minimum", "maximum", "mean", "total_weight", "totss"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)
    start = seed(reference, k, "k-means++", np.random.default_rng(2))[0]
    result = assert_same_run(reference, device, start)
    C = result.centroids
    np.testing.assert_array_equal(gpu.to_host(device.distances(C)), reference.distances(C))
    np.testing.assert_array_equal(gpu.to_host(device.assign(C)), reference.assign(C))


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random", "maximin", "random-partition"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_device_draws_the_reference_s_seeds(gpu, init, weighted):
    """Rows with many copies of each, so that ties and zero potentials are met."""
    X = np.repeat(rows(60, 3, np.float32), 5, axis=0)[np.random.default_rng(3).permutation(300)]
    weights = np.random.default_rng(4).integers(0, 3, 300).astype(float) if weighted else None
    reference, device = pair(gpu, X, weights)
    for k in (1, 7, 40):
        expected, rows_expected = seed(reference, k, init, np.random.default_rng(k))
        found, rows_found = seed(device, k, init, np.random.default_rng(k))
        np.testing.assert_array_equal(found, expected)
        if rows_expected is not None:
            np.testing.assert_array_equal(rows_found, rows_expected)


@given(
    n=st.integers(1, 300),
    d=st.integers(1, 20),
    k=st.integers(1, 40),
    levels=st.integers(1, 5),
    offset=st.sampled_from([0.0, 1e6, -3e7]),
    double=st.booleans(),
    number=st.integers(0, 2**32),
)
@settings(max_examples=15)
def test_ties_duplicates_and_empty_clusters(n, d, k, levels, offset, double, number):
    """Rows on a small grid, far from the origin, with centroids that tie or get no row."""
    rng = np.random.default_rng(number)
    X = (rng.integers(0, levels, (n, d)) + offset).astype(np.float64 if double else np.float32)
    start = X[rng.integers(0, n, k)] + rng.integers(0, 2, (k, d)).astype(X.dtype)
    assert_same_run(*pair(EmulatedGpu(seed=number % 1000), X), start, max_iter=4)


@pytest.mark.parametrize(("d", "k"), [(3, 70), (16, 70), (31, 65), (50, 7)])
@pytest.mark.parametrize("gap", [1e-7, 1e-4, 1e-2])
def test_centroids_nearer_to_each_other_than_the_filter_sees(gpu, d, k, gap):
    """Most rows are left open by fp16, many by float32; the labels are those of D all the same."""
    rng = np.random.default_rng(int(d + 1e7 * gap))
    X = rng.normal(size=(300, d)).astype(np.float32)
    start = (X[rng.integers(0, 5, k)] + gap * rng.normal(size=(k, d))).astype(np.float32)
    run = assert_same_run(*pair(gpu, X), start, max_iter=2)
    assert sum(one.undecided for one in run.history) > 0 or gap > 1e-6


@pytest.mark.parametrize("spread", [1e-3, 0.1, 10.0])
def test_boxes_drop_no_centroid_that_is_nearest(gpu, spread):
    """Rows in runs that lie together, so that few centroids survive, or apart, so that all do."""
    rng = np.random.default_rng(12)
    X = np.concatenate([rng.normal(at, spread, (130, 3)) for at in rng.normal(0, 5, (9, 3))]).astype(np.float32)
    assert_same_run(*pair(gpu, X), X[rng.choice(len(X), 90, replace=False)], max_iter=4)


@pytest.mark.parametrize("d", [2, 40])
def test_centroids_beyond_what_float32_scores_can_tell(gpu, d):
    """Scores overflow or say nothing; D alone settles."""
    X = rows(200, d, np.float64, seed=5)
    start = X[:6].copy()
    start[1] = 1e30
    start[2] *= 1e25
    assert_same_run(*pair(gpu, X), start, max_iter=3)


@pytest.mark.parametrize("d", [3, 30])
def test_subnormal_and_tiny_values_count(gpu, d):
    """Differences below float32's normal range decide labels and sums."""
    X = np.random.default_rng(6).integers(0, 9, (150, d)).astype(np.float32) * np.float32(2.0**-149)
    assert X.any()
    reference, device = pair(gpu, X)
    np.testing.assert_array_equal(device.stats().mean, reference.stats().mean)
    assert_same_run(reference, device, X[:4].copy())


@pytest.mark.parametrize(("d", "k"), [(2, 3), (20, 3)])
def test_any_part_size_and_any_tolerance_agree(gpu, d, k, monkeypatch):
    """Rows in several launches, a run that ends within tol, iterations one at a time under a callback."""
    monkeypatch.setattr(assign_cuda, "LIST_BYTES", 1 << 40)
    X = rows(400, d, np.float32, seed=7)
    for options in ({"tol": 1e-2}, {"callback": lambda step: step.iteration == 2}, {"max_iter": 0}, {"max_iter": 40}):
        assert_same_run(*pair(gpu, X), X[:k].copy(), **options)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_value_that_is_not_finite_is_named(gpu, value, dtype):
    """The first in order of rows, as the reference names it."""
    X = rows(500, 3, dtype)
    X[[77, 400], [2, 0]] = value
    with pytest.raises(ValueError, match="row 77, column 2"):
        pair(gpu, X)[1].stats()


def test_device_cuda_takes_host_arrays_and_gives_them_back(gpu, as_cuda):
    """The estimator's results are NumPy's, equal to the CPU's, and say which engine ran."""
    X = rows(600, 3, np.float32, seed=8)
    weight = np.random.default_rng(9).integers(0, 3, 600)
    options = {"n_clusters": 6, "n_init": 2, "random_state": 0}
    cpu = KMeans(**options).fit(X, sample_weight=weight)
    cuda = KMeans(**options, device="cuda").fit(X, sample_weight=weight)
    assert cuda.engine_ == "cuda"
    for name in ("labels_", "cluster_centers_", "withinss_", "size_"):
        assert type(getattr(cuda, name)) is np.ndarray
        np.testing.assert_array_equal(getattr(cuda, name), getattr(cpu, name), name)
    assert (cuda.inertia_, cuda.n_iter_, cuda.totss_) == (cpu.inertia_, cpu.n_iter_, cpu.totss_)
    np.testing.assert_array_equal(cuda.predict(X[::2]), cpu.predict(X[::2]))
    np.testing.assert_array_equal(cuda.transform(X[:9]), cpu.transform(X[:9]))
    assert cuda.score(X) == cpu.score(X)


def test_mini_batches_and_many_candidates_of_rows_on_a_device(gpu, as_cuda):
    """MiniBatchKMeans and k-means|| with device="cuda" return the CPU's bits, weights and refinement included."""
    X = rows(600, 3, np.float32, seed=8)
    weight = np.random.default_rng(9).integers(0, 3, 600)
    options = {"n_clusters": 6, "init": "k-means||", "batch_size": 100, "refine": 2, "random_state": 0}
    cpu, cuda = (MiniBatchKMeans(**options, device=d).fit(X, sample_weight=weight) for d in ("auto", "cuda"))
    assert cuda.engine_ == "cuda"
    for again in (False, True):
        if again:
            cpu.partial_fit(X[:90])
            cuda.partial_fit(X[:90])
        for name in ("labels_", "cluster_centers_", "withinss_", "size_", "counts_"):
            assert type(getattr(cuda, name)) is np.ndarray
            np.testing.assert_array_equal(getattr(cuda, name), getattr(cpu, name), name)
        assert (cuda.inertia_, cuda.n_iter_, cuda.n_steps_) == (cpu.inertia_, cpu.n_iter_, cpu.n_steps_)


def test_its_kin_run_on_the_device(gpu, as_cuda):
    """Random swap, bisecting and spherical k-means: equal to the CPU's; sparse matrices are refused there."""
    X = rows(400, 3, np.float32, seed=12)
    weight = np.random.default_rng(13).integers(0, 3, 400)
    models = (KMeans(6, refine="random-swap", random_state=0), BisectingKMeans(5, random_state=0))
    for model in (*models, SphericalKMeans(4, random_state=0)):
        cpu = deepcopy(model).fit(X, sample_weight=weight)
        cuda = model.set_params(device="cuda").fit(X, sample_weight=weight)
        assert cuda.engine_ == "cuda"
        for name in ("labels_", "cluster_centers_", "withinss_", "size_", "inertia_"):
            np.testing.assert_array_equal(getattr(cuda, name), getattr(cpu, name), name)
        np.testing.assert_array_equal(cuda.predict(X[::2]), cpu.predict(X[::2]))
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ValueError, match="device='cuda', but X is a sparse matrix, which runs on the CPU"):
        KMeans(2, device="cuda").fit(sparse.csr_array(X))


def test_other_dtypes_are_converted_on_the_device(gpu, as_cuda):
    """float16 and integers are computed as on the CPU; uint8 without a copy in float32."""
    for dtype in (np.float16, np.int16, np.int32, np.uint8, np.bool_):
        X = np.random.default_rng(10).integers(0, 2 if dtype == np.bool_ else 50, (300, 4)).astype(dtype)
        options = {"n_clusters": 3, "random_state": 1}
        np.testing.assert_array_equal(
            KMeans(**options, device="cuda").fit(X).cluster_centers_, KMeans(**options).fit(X).cluster_centers_
        )
    assert DeviceSource(gpu, gpu.adopt(X.astype(np.uint8)), dtype=np.float32).device_rows.dtype == np.uint8


def test_a_missing_gpu_is_said(monkeypatch):
    """No silent fallback to the CPU."""
    if cuda_works():
        pytest.skip("there is a CUDA device")
    with pytest.raises((ValueError, ImportError), match=r"no CUDA device|gpukm\[cuda13\]"):
        KMeans(2, device="cuda").fit(rows(10, 2, np.float32))
    assert len(kmeans_plusplus(rows(10, 2, np.float32), 2)[0]) == 2


@pytest.mark.parametrize(
    ("n", "d", "k", "dtype", "weighted"),
    [
        (1, 17, 1, np.float32, False),
        (255, 17, 257, np.float32, True),
        (256, 127, 3, np.uint8, False),
        (257, 255, 2, np.float64, True),
        (1543, 128, 30, np.float32, False),
        (611, 256, 513, np.float32, False),
        (900, 300, 1, np.float64, False),
    ],
)
def test_sums_of_a_first_step_are_the_reference_s(gpu, n, d, k, dtype, weighted):
    """Segments of one cluster, of many, and of rows beside the ones that are asked for; values of any size."""
    rng = np.random.default_rng(n)
    X = rows(n + 5, d, dtype)
    if dtype != np.uint8:
        X *= np.exp2(rng.integers(-60, 3, X.shape)).astype(dtype)
    labels = np.sort(rng.integers(0, k, n + 5)).astype(np.int32) if d % 2 else rng.integers(0, k, n + 5, np.int32)
    weights = rng.random(n + 5) if weighted else None
    grid = Grid.of(np.append(np.abs(X.astype(np.float64)).max(axis=0), 1.0), n + 5)
    expected, found = sums_like(grid, k), DeviceSums.zeros(gpu, grid, k)
    own = slice(3, 3 + n)
    kernels.accumulate(X[own], np, labels[own], expected, weights=None if weights is None else weights[own])
    on_device = [None if a is None else gpu.to_device(a) for a in (weights, labels, np.zeros(n, np.int32))]
    add_rows(gpu, gpu.to_device(X), 3, n, *on_device, found)
    np.testing.assert_array_equal(found.to_host(gpu).totals(), expected.totals())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("d", "dtype"), [(1, np.float64), (2, np.float32), (3, np.uint8), (4, np.float32)])
def test_rows_in_order_of_space_change_no_result(gpu, monkeypatch, d, dtype, weighted):
    """Seeds, labels in the order given, centroids and inertia are those of rows that stay as they are."""
    monkeypatch.setattr(arrange_cuda, "LEAST_ROWS", 0)
    X = rows(3000, d, dtype)
    if d == 4:
        X[5], X[:, 1] = 1e6, 7  # nearly all rows in one cell, and a column that says nothing
    weights = np.random.default_rng(1).random(len(X)) if weighted else None
    reference, device = pair(gpu, X, weights)
    device.arrange(70)
    order = gpu.to_host(device._order)
    assert np.array_equal(np.sort(order), np.arange(len(X))) and not np.array_equal(order, np.arange(len(X)))
    np.testing.assert_array_equal(gpu.to_host(device.device_rows), X[order])
    start = seed(reference, 70, "k-means++", np.random.default_rng(2))[0]
    np.testing.assert_array_equal(seed(device, 70, "k-means++", np.random.default_rng(2))[0], start)
    expected, found = (lloyd(source, start, max_iter=4, tol=0.0) for source in (reference, device))
    np.testing.assert_array_equal(gpu.to_host(device.as_given(found.labels)), expected.labels)
    np.testing.assert_array_equal(found.centroids, expected.centroids)
    assert found.inertia == expected.inertia and np.array_equal(found.withinss, expected.withinss)


def test_when_rows_are_put_in_order():
    """Where boxes are used, and a copy and the order fit the memory allowed."""
    X = np.zeros((1 << 18, 3), np.float32)
    assert arrange_cuda.worth_arranging(X, 256, 20 << 18)
    assert not arrange_cuda.worth_arranging(X, 256, (20 << 18) - 1)
    assert not arrange_cuda.worth_arranging(X, 63, 64 << 20)
    assert not arrange_cuda.worth_arranging(X[: 1 << 16], 256, 64 << 20)
    assert not arrange_cuda.worth_arranging(np.zeros((1 << 18, 5), np.float32), 256, 64 << 20)


@pytest.mark.parametrize(("d", "arch"), [(3, 90), (17, 90), (17, 75)])
def test_the_last_rows_of_more_than_two_to_the_31_values(d, arch):
    """Labels and sums of a step of the last blocks of each launch, then of a first step; the other rows are zeros."""
    few, k = 300, 4
    n = few + (2**31 // d if d == 3 else 2**27)  # so that the last part of the rows is these few
    # A block for all rows of lloyd_step.cu, so that none takes two turns; else so few that they take up whole lists.
    facts = replace(FACTS, arch=arch, multiprocessors=1 << 24 if d == 3 else 1)
    gpu = EmulatedGpu(facts=facts, last_blocks=8)
    X, labels = vast((n, d), np.uint8), vast((n,), np.int32)
    X[-few:] = last = np.random.default_rng(d).integers(0, 256, (few, d)).astype(np.uint8)
    centroids = np.concatenate([np.zeros((1, d)), last[: k - 1]]).astype(np.float32)  # the zeros have label 0 already
    expected, scratch = np.empty(few, np.int32), {}
    frame = kernels.Frame.of(np.zeros(d), np.full(d, 255.0), np.full(d, 128, np.float32), 5000.0)
    kernels.assign(last.astype(np.float32), np, kernels.Scorer.of(frame, centroids), None, expected, scratch, rows=few)
    grid = Grid.of(np.append(np.full(d, 255.0), 1.0), n)
    reference = sums_like(grid, k)
    kernels.accumulate(last.astype(np.float32), np, expected, reference)
    sums = DeviceSums.zeros(gpu, grid, k)
    changed, _ = assign_cuda.lloyd_step(gpu, X, frame, centroids, labels, None, sums, 1 << 40, fresh=False)
    np.testing.assert_array_equal(labels[-few:], expected)
    assert changed == np.count_nonzero(expected) > 0 and not labels[:-few][-5000:].any()
    np.testing.assert_array_equal(sums.to_host(gpu).totals()[1:], reference.totals()[1:])
    sums = DeviceSums.zeros(gpu, grid, k)
    add_rows(gpu, X, n - few, few, None, labels, np.zeros(few, np.int32), sums)
    np.testing.assert_array_equal(sums.to_host(gpu).totals(), reference.totals())


class Elsewhere:
    """A device that is not the current one, and a library whose functions know that."""

    def __init__(self):
        self.depth, self.called = 0, 0

    def __enter__(self):
        self.depth += 1

    def __exit__(self, *error):
        self.depth -= 1

    def __getattr__(self, name):
        function = getattr(np, name)
        if isinstance(function, type):
            return function

        def checked(*args, **options):
            assert self.depth, f"{name} runs on another device"
            self.called += 1
            return function(*args, **options)

        return checked


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "maximin"])
def test_a_device_need_not_be_the_current_one(monkeypatch, init):
    """Whatever is done with its arrays, by kernels or not, is done while it is: cuda:1 beside cuda:0."""
    monkeypatch.setattr(arrange_cuda, "LEAST_ROWS", 0)
    gpu = EmulatedGpu()
    gpu.device = gpu.xp = Elsewhere()
    launch = EmulatedGpu.launch

    def checked(*args, **options):
        assert gpu.device.depth
        launch(*args, **options)

    monkeypatch.setattr(EmulatedGpu, "launch", checked)
    reference, device = pair(gpu, rows(500, 2, np.float32), np.random.default_rng(0).random(500))
    device.arrange(64)
    start = seed(reference, 64, init, np.random.default_rng(2))[0]
    np.testing.assert_array_equal(seed(device, 64, init, np.random.default_rng(2))[0], start)
    start[-2:] = 1e4  # two that get no row
    found, expected = (lloyd(source, start, max_iter=4, tol=0.0) for source in (device, reference))
    np.testing.assert_array_equal(device.as_given(found.labels), expected.labels)
    np.testing.assert_array_equal(device.distances(start), reference.distances(start)[device._order])
    assert gpu.device.called > 0 and gpu.device.depth == 0


def test_one_far_row_does_not_cost_tensor_cores_the_others(gpu, monkeypatch):
    """fp16 scaled to it would leave nearly all rows to float32; TF32, which is chosen then, leaves few."""
    if gpu.facts.arch < 80:
        pytest.skip("no tensor cores")
    X = rows(300, 19, np.float32)
    far = X.copy()
    far[-1] = -1e7
    totals, left = assign_cuda.Workspace.totals, []

    def counted(space, gpu):
        left.append(int(gpu.to_host(space.lengths)[0, :, 0].sum()))
        return totals(space, gpu)

    monkeypatch.setattr(assign_cuda.Workspace, "totals", counted)
    for data, formats in ((X, [HALF]), (far, [TF32, HALF])):
        reference, device = pair(gpu, data)
        start = seed(reference, 20, "random", np.random.default_rng(0))[0]
        assert format_for(device._frame_about(start)) is formats[0]
        for own in formats:
            monkeypatch.setattr(assign_cuda, "format_for", lambda frame, own=own: own)
            np.testing.assert_array_equal(gpu.to_host(device.assign(start)), reference.assign(start))
    assert max(left[:2]) < 60 and left[2] > 270, left


def test_a_plan_fits_the_device():
    """Shared memory within the device's, every row in some launch, for any n, k, d."""
    kinds = set()
    small = replace(FACTS, arch=75, shared_optin=64 << 10)
    sizes = itertools.product((1, 1000, 10**7, 5 * 10**9), (1, 16, 33, 1000, 10**6), (1, 3, 16, 17, 4096), (1, 4, 8))
    for (n, k, d, value), facts, tensor in itertools.product(sizes, (FACTS, small), (HALF, TF32)):
        plan = assign_cuda.plan(n, k, d, value, facts, 64 << 20, tensor=tensor)
        kinds.add((plan.kernel.file, facts.arch))
        assert 1 <= plan.part <= n
        assert plan.shared <= facts.shared_optin and -(-plan.part // plan.rows) < 2**31
        assert plan.fused or plan.part * assign_cuda.LIST_BYTES <= 64 << 20
    assert kinds == {("lloyd_step", 90), ("assign_mma", 90), ("assign", 90), ("lloyd_step", 75), ("assign", 75)}
