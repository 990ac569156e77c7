"""The emulator itself: it runs kernels as a GPU would, and reports what a GPU would not forgive."""

import emulator
import numpy as np
import pytest
from emulator import TRIALS, EmulatedGpu, EmulationError

from gpukm.kernels._cuda import Kernel

emulator.build.require()
SHAPES = [(1, 1, 1), (17, 3, 7), (16, 16, 8), (33, 18, 9), (50, 40, 20)]
SEEDS = [0, 1, 2]


@pytest.fixture
def rng():
    """The same numbers for a test whatever ran before it."""
    return np.random.default_rng(1)


def nearest(gpu, x, c):
    """(labels, scores) by the trial kernel."""
    n, d = x.shape
    norms = (c * c).sum(1)
    labels, scores = gpu.empty(n, "i4"), gpu.empty(n, "f4")
    args = [x, c, norms, np.int32(n), np.int32(len(c)), np.int32(d), labels, scores]
    gpu.launch(Kernel("nearest", "nearest"), (-(-n // 16),), (64,), args)
    return labels, scores


# -- kernels that are right --------------------------------------------------------------------------------


@pytest.mark.sanitized
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tiles_and_shuffles_give_the_nearest_centroid(shape, seed, rng):
    """Whole numbers, so no rounding; duplicates of centroid 0 at the end, so that a tie goes to the lower label."""
    n, k, d = shape
    x, c = rng.integers(-3, 4, (n, d)).astype("f4"), rng.integers(-3, 4, (k, d)).astype("f4")
    if k > 2:
        c[-1] = c[0]
        x[0] = c[0]
    labels, scores = nearest(EmulatedGpu(folder=TRIALS, seed=seed), x, c)
    wanted = (c * c).sum(1) - 2 * x @ c.T
    np.testing.assert_array_equal(labels, wanted.argmin(1))
    np.testing.assert_array_equal(scores, wanted.min(1))


@pytest.mark.sanitized
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (257, 5, 7), (90, 17, 3)], ids=str)
def test_sums_by_label_are_those_of_numpy(shape, seed, rng):
    """Atomics in shared memory, then in global memory, by three blocks; negative sums wrap around and back."""
    n, k, d = shape
    x, label = rng.integers(-(2**20), 2**20, (n, d)).astype("i4"), rng.integers(0, k, n).astype("i4")
    sums, counts = np.zeros((k, d), "u8"), np.zeros(k, "i4")
    args = [x, label, np.int32(n), np.int32(k), np.int32(d), sums, counts]
    gpu = EmulatedGpu(folder=TRIALS, seed=seed)
    gpu.launch(Kernel("nearest", "label_sums"), (3,), (64,), args, 4 * (k * d + k))
    wanted = np.zeros((k, d), "i8")
    np.add.at(wanted, label, x)
    np.testing.assert_array_equal(sums.view("i8"), wanted)
    np.testing.assert_array_equal(counts, np.bincount(label, minlength=k))


def test_the_last_block_of_more_than_two_to_the_31_elements():
    """2.56e9 elements, of which two pages are ever touched: offsets are computed in 64 bits."""
    n, d = 40_000_000, 64
    x = emulator.vast((n, d), "f4")
    x[-1] = 5
    c = np.array([np.zeros(d), np.full(d, 5), np.full(d, 9)], "f4")
    label, score = emulator.vast((n,), "i4"), emulator.vast((n,), "f4")
    gpu = EmulatedGpu(folder=TRIALS, last_blocks=1)
    args = [x, c, (c * c).sum(1), np.int32(n), np.int32(3), np.int32(d), label, score]
    gpu.launch(Kernel("nearest", "nearest"), (n // 16,), (64,), args)
    np.testing.assert_array_equal(label[-16:], [0] * 15 + [1])
    assert score[-1] == -25 * d


def test_threads_run_in_another_order_with_another_seed(rng):
    """A queue filled by atomics: each order is possible, and a seed brings back its own."""
    x = np.arange(96, dtype="i4")

    def queue(seed):
        places = np.zeros(100, "u4")
        starts = [np.zeros(4, "i4"), places, np.zeros(3, "u8"), np.zeros(1, "f4"), np.zeros(1, "f8")]
        gpu = EmulatedGpu(folder=TRIALS, seed=seed)
        gpu.launch(Kernel("memory", "atomics"), (3,), (32,), [x, np.int32(96), *starts])
        return places[4:].tolist()

    assert sorted(queue(0)) == x.tolist() != queue(0)
    assert queue(0) == queue(0) != queue(1)


def test_defines_are_compiled_in(tmp_path):
    """A kernel is one with its constants, and with the architecture."""
    (tmp_path / "constant.cu").write_text(
        'extern "C" __global__ void f(int* x) { x[threadIdx.x] = ANSWER + __CUDA_ARCH__; }', encoding="utf-8"
    )
    gpu = EmulatedGpu(folder=tmp_path)
    for answer in (1, 42):
        x = gpu.empty(3, "i4")
        gpu.launch(Kernel("constant", "f", (("ANSWER", answer),)), (1,), (3,), [x])
        np.testing.assert_array_equal(x, answer + 900)
    assert [kernel.defines for kernel in gpu.launched] == [(("ANSWER", 1),), (("ANSWER", 42),)]


def test_empty_arrays_hold_nothing_that_a_kernel_could_go_on_with():
    """NaN, or the largest number of an unsigned type, or -1."""
    gpu = EmulatedGpu()
    assert np.isnan(gpu.empty((2, 3), "f8")).all() and (gpu.empty(4, "i4") == -1).all()
    assert gpu.empty((0, 3), "f4").shape == (0, 3)
    assert not gpu.zeros(3, "f4").any()


# -- kernels that are wrong --------------------------------------------------------------------------------

I4, F4 = "i4", "f4"
FAULTS = [
    ("index_outside", 9, [(16, I4)], "an index outside its array, faults.cu line 6"),
    ("far_outside", 1, [(1, I4)], "memory that is not there"),
    ("null_pointer", 1, [None, (1, I4)], "memory that is not there is read or written"),
    ("overflowing", 1, [np.full(2, 2**30, I4), (1, I4)], "an addition of signed integers overflows, faults.cu line 11"),
    ("shifting", 1, [np.full(1, 40, I4), (1, I4)], "a shift by too many bits"),
    ("misaligned_vector", 1, [(8, F4), (1, F4)], "not aligned to its type, faults.cu line 13"),
    ("misaligned_copy", 1, [(8, F4)], "copy_async needs aligned addresses"),
    ("misaligned_matrix", 32, [np.zeros(8, F4)], "load_matrices needs addresses aligned to 16 bytes"),
    ("missing_threads", 64, [(1, I4)], r"(?s)deadlock.*thread 0: at __syncthreads, line 22.*thread 40: at a warp"),
    ("two_barriers", 64, [(1, I4)], r"(?s)different __syncthreads.*line 29.*thread 32: at __syncthreads, line 31"),
    ("outside_its_mask", 5, [(1, I4)], r"outside its own mask; block \(0, 0, 0\), thread \(4, 0, 0\)"),
    ("part_of_a_warp", 31, [(1, F4)], "tensor cores need whole warps"),
]


@pytest.mark.parametrize(("name", "threads", "args", "message"), FAULTS, ids=[fault[0] for fault in FAULTS])
def test_a_mistake_is_reported_with_its_place(name, threads, args, message):
    """The launch fails, the process does not, and the next launch works."""
    gpu = EmulatedGpu(folder=TRIALS)
    given = [gpu.zeros(*a) if isinstance(a, tuple) else a for a in args]
    with pytest.raises(EmulationError, match=f"{name}: .*{message}" if "(?s)" not in message else message):
        gpu.launch(Kernel("faults", name), (1,), (threads,), given, shared=128)
    x = np.zeros((3, 2), "f4")
    np.testing.assert_array_equal(nearest(gpu, x, x[:1])[0], 0)


def test_what_a_finished_lane_would_say_is_no_number():
    """Reading from a lane that has returned gives neither an index nor a value to go on with."""
    x = np.zeros(32, "i4")
    EmulatedGpu(folder=TRIALS).launch(Kernel("faults", "from_a_finished_lane"), (1,), (32,), [x])
    np.testing.assert_array_equal(x[:30], np.arange(1, 31))
    assert x[30] < -1


def test_a_copy_that_was_not_waited_for_may_be_missing():
    """With some seed, in some thread: what is read then is what the memory held before."""
    seen = []
    for seed in range(5):
        x = np.ones(32, "f4")
        EmulatedGpu(folder=TRIALS, seed=seed).launch(Kernel("faults", "late"), (1,), (32,), [x], shared=128)
        seen.append(np.isnan(x).any())
    assert any(seen)


def test_what_the_compiler_says_of_a_kernel_is_passed_on(tmp_path):
    """A kernel that g++ refuses is told as such, with file and line; a name that is not there lists those that are."""
    (tmp_path / "broken.cu").write_text('extern "C" __global__ void f(int* x)\n{ x = 1; }', encoding="utf-8")
    gpu = EmulatedGpu(folder=tmp_path)
    with pytest.raises(RuntimeError, match=r"broken\.cu:2"):
        gpu.launch(Kernel("broken", "f"), (1,), (1,), [np.zeros(1, "i4")])
    with pytest.raises(ValueError, match=r'broken\.cu has no kernel extern "C" __global__ void g\(\.\.\.\); it has: f'):
        gpu.launch(Kernel("broken", "g"), (1,), (1,), [np.zeros(1, "i4")])
    with pytest.raises(FileNotFoundError, match=r"absent\.cu.*there are: broken\.cu"):
        gpu.launch(Kernel("absent", "f"), (1,), (1,), [])


def test_types_that_a_file_names_itself_are_checked_too(tmp_path):
    """The text says Row; the compiler knows that it is a float. What is only read may be read-only."""
    (tmp_path / "named.cu").write_text(
        'using Row = float;\nextern "C" __global__ void f(const Row* x, Row* y) { y[0] = x[0]; }', encoding="utf-8"
    )
    gpu, kernel = EmulatedGpu(folder=tmp_path), Kernel("named", "f")
    x, y = np.ones(1, "f4"), np.zeros(1, "f4")
    x.flags.writeable = False
    gpu.launch(kernel, (1,), (1,), [x, y])
    assert y[0] == 1
    with pytest.raises(TypeError, match="y has dtype float64, the kernel takes f4"):
        gpu.launch(kernel, (1,), (1,), [x, np.zeros(1, "f8")])
    with pytest.raises(ValueError, match="y is read-only"):
        gpu.launch(kernel, (1,), (1,), [x, x])
