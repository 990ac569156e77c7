"""A launch that does not fit its kernel or its device is refused, by name, before anything runs."""

from contextlib import nullcontext
from types import SimpleNamespace

import emulator
import numpy as np
import pytest
from emulator import TRIALS, EmulatedGpu

from gpukm.kernels import _cuda
from gpukm.kernels._cuda import Facts, Gpu, Kernel, check_launch, check_shared
from gpukm.kernels._nvrtc import Parameter, signatures

FACTS = Facts(80, 1, 48 << 10, 100 << 10, 1 << 20, "a GPU")
KERNEL = Kernel("file", "scale")
PARAMETERS = (
    Parameter("x", "float32", True, True),
    Parameter("n", "int32", False, False),
    Parameter("y", "float64", True, False),
)
X, N, Y = np.zeros(3, "f4"), np.int32(3), np.zeros(3, "f8")


def check(grid=(1,), block=(32,), args=(X, N, Y)):
    """As `Gpu.launch` and the emulator check."""
    check_launch(FACTS, KERNEL, PARAMETERS, grid, block, args, 0, np.ndarray)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((X, N), r"scale takes 3 arguments \(x, n, y\), not 2"),
        ((X.astype("f8"), N, Y), "x has dtype float64; it must be float32"),
        ((X, 3, Y), "n is int; it must be np.int32"),
        ((X, np.int64(3), Y), "n has dtype int64; it must be int32"),
        ((X, np.array(3, "i4"), Y), "n is ndarray; it must be np.int32"),
        (([1.0], N, Y), "x is list; it must be numpy.ndarray or None"),
        ((X, N, Y.astype("i8")), "y has dtype int64; it must be float64"),
    ],
)
def test_arguments_of_another_type_are_refused_by_name(args, message):
    """Nothing is converted: the kernel would read other bytes than were meant."""
    with pytest.raises(TypeError, match=message):
        check(args=args)


def test_an_array_that_does_not_lie_in_one_piece_is_refused():
    """A kernel sees an address and no strides; None is a null pointer, and empty arrays are arrays."""
    with pytest.raises(ValueError, match="scale: x is not C-contiguous"):
        check(args=(np.zeros((4, 6), "f4").T, N, Y))
    check(args=(None, N, np.zeros((0, 2))))


@pytest.mark.parametrize(
    ("grid", "block", "message"),
    [
        ((0,), (32,), r"grid \(0,\); one to three extents from 1 to 2147483647 x 65535 x 65535"),
        ((1, 65536), (32,), r"grid \(1, 65536\)"),
        ((2**31,), (32,), r"grid \(2147483648,\)"),
        ((1, 1, 1, 1), (32,), "one to three extents"),
        ((1,), (2048,), r"block \(2048,\); one to three extents from 1 to 1024 x 1024 x 64"),
        ((1,), (1, 1, 65), "block"),
        ((1,), (64, 32), r"block \(64, 32\) has 2048 threads; at most 1024"),
    ],
)
def test_extents_that_no_device_takes_are_refused(grid, block, message):
    """The limits of every architecture since 3.0."""
    with pytest.raises(ValueError, match=message):
        check(grid, block)
    check((2**31 - 1, 65535, 65535), (16, 64))


def test_more_shared_memory_than_a_block_can_have_is_refused():
    """Static and dynamic together, against what the device has with opt-in."""
    check_shared(FACTS, KERNEL, 1024, 99 << 10)
    with pytest.raises(ValueError, match=r"1025 \+ 101376 bytes of static and dynamic shared memory.*a GPU has 102400"):
        check_shared(FACTS, KERNEL, 1025, 99 << 10)
    with pytest.raises(ValueError, match="shared memory"):
        check_shared(FACTS, KERNEL, 0, -1)


def test_signatures_are_read_from_the_text():
    """Comments, launch bounds before or after the type, __restrict__, pointers to const, types of the file's own."""
    found = signatures(
        """
        // extern "C" __global__ void commented_out(int* x) {}
        extern "C" __global__ void __launch_bounds__(F(2) * 32, 2)
        a(const float* __restrict__ x, /* length, */ unsigned long long n, unsigned char const *y, Row *z) {}
        extern "C" __global__ __launch_bounds__(64) void b() {}
        __device__ void no_kernel(int* x) {}
        """
    )
    assert found == {
        "a": (
            Parameter("x", "float32", True, True),
            Parameter("n", "uint64", False, False),
            Parameter("y", "uint8", True, True),
            Parameter("z", None, True, False),
        ),
        "b": (),
    }
    with pytest.raises(ValueError, match=r"f: 'float\*\* x' is no parameter"):
        signatures('extern "C" __global__ void f(float** x) {}')


def test_the_emulator_checks_the_same():
    """Its launches are refused as a GPU's would be."""
    emulator.build.require()
    gpu = EmulatedGpu(folder=TRIALS, facts=FACTS)
    with pytest.raises(TypeError, match="row_sums: n is int"):
        gpu.launch(Kernel("memory", "row_sums"), (1,), (128,), [X, 3, X])
    with pytest.raises(ValueError, match="a GPU has 102400"):
        gpu.launch(Kernel("memory", "row_sums"), (1,), (128,), [X, N, X], shared=101 << 10)
    assert gpu.launched == []


# -- Gpu itself, with a driver that only takes notes -------------------------------------------------------


class DeviceArray(np.ndarray):
    """An array that says where it is."""

    number = 0

    @property
    def data(self):
        return SimpleNamespace(device_id=self.number)


class Function:
    """What CuPy gives for a kernel."""

    max_threads_per_block, shared_size_bytes, max_dynamic_shared_size_bytes = 256, 1024, 47 << 10

    def __init__(self):
        self.calls = []

    def __call__(self, grid, block, args, shared_mem):
        self.calls.append((grid, block, args, shared_mem, self.max_dynamic_shared_size_bytes))


@pytest.fixture
def device(monkeypatch):
    """(a Gpu, what its driver was asked): one device, number 0."""
    function = Function()
    gpu = object.__new__(Gpu)
    gpu.xp = SimpleNamespace(
        ndarray=DeviceArray, RawModule=lambda path: SimpleNamespace(get_function=lambda _: function)
    )
    gpu.device = nullcontext()
    gpu.device.id = 0
    gpu.facts, gpu.folder, gpu._loaded = FACTS, TRIALS, {}
    monkeypatch.setattr(_cuda, "compiled_file", lambda *_: "somewhere.cubin")
    return gpu, function


def test_a_gpu_is_asked_for_more_shared_memory_once(device):
    """Up to what the kernel may have as it is, nothing is asked; beyond, the limit is raised, and stays."""
    gpu, function = device
    x = np.zeros(4, "f4").view(DeviceArray)
    args = [x, np.int32(1), None]
    for shared in (1000, 47 << 10, 60 << 10, 50 << 10):
        gpu.launch(Kernel("memory", "row_sums"), [2], (128, 2), args, shared)
    assert [call[3:] for call in function.calls] == [
        (1000, 47 << 10),
        (47 << 10, 47 << 10),
        (60 << 10, 60 << 10),
        (50 << 10, 60 << 10),
    ]
    grid, block, given = function.calls[0][:3]
    assert (grid, block) == ((2,), (128, 2)) and given[0] is x and given[1] == 1
    assert given[2] == 0 and given[2].itemsize == 8  # a null pointer


def test_a_gpu_refuses_what_is_elsewhere_or_too_large(device):
    """Arrays of another device, more threads than registers allow, static shared memory that tips the balance."""
    gpu, function = device
    x = np.zeros(4, "f4").view(DeviceArray)
    other = np.zeros(4, "f4").view(DeviceArray)
    other.number = 1
    kernel = Kernel("memory", "row_sums")
    with pytest.raises(ValueError, match="row_sums: out is on device 1, this is 0"):
        gpu.launch(kernel, (1,), (128,), [x, N, other])
    with pytest.raises(ValueError, match="a block of 512 threads; as it is compiled it can have 256"):
        gpu.launch(kernel, (1,), (512,), [x, N, x])
    with pytest.raises(ValueError, match=r"1024 \+ 102400 bytes"):
        gpu.launch(kernel, (1,), (128,), [x, N, x], shared=100 << 10)
    with pytest.raises(TypeError, match="must be"):
        gpu.launch(kernel, (1,), (128,), [X, N, x])
    assert function.calls == []
