"""The array namespaces the suite runs on, and hypothesis' profile."""

import importlib
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

os.environ["GPUKM_COMPILE"] = "now"  # here and in the processes that tests begin: which engine runs goes by the rows

settings.register_profile(
    "gpukm",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("gpukm")

BACKENDS = ("numpy", "numpy-readonly", "array_api_strict", "torch", "cupy")


class Backend:
    """Turns NumPy arrays into those of a namespace; `exact` says that results must carry the reference's bits."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.xp = np if name.startswith("numpy") else importlib.import_module(name)

    def array(self, a: np.ndarray):
        if self.name == "numpy":
            return a
        if self.name == "numpy-readonly":
            a = a.copy()
            a.flags.writeable = False
            return a
        return self.xp.asarray(np.ascontiguousarray(a))


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Every array namespace that is installed (and has a device to run on)."""
    name = request.param
    if not name.startswith("numpy"):
        module = pytest.importorskip(name)
        if name == "cupy" and not module.cuda.is_available():
            pytest.skip("no CUDA device")
    return Backend(name)


@pytest.fixture(params=["numpy", "numba"])
def engine(request, monkeypatch):
    """Run on each engine for NumPy arrays, however few they are."""
    if request.param == "numba":
        pytest.importorskip("numba")
    monkeypatch.setenv("GPUKM_ENGINE", request.param)
    return request.param


@pytest.fixture(params=["emulator", "cuda"])
def make_gpu(request):
    """Makes what launches kernels from a folder: the emulator, and a GPU where there is one."""
    if request.param == "emulator":
        import emulator

        emulator.build.require()
        return emulator.EmulatedGpu
    if not pytest.importorskip("cupy").cuda.is_available():
        pytest.skip("no CUDA device")
    from gpukm.kernels._cuda import Gpu

    return Gpu


@pytest.fixture
def gpu(make_gpu):
    """The emulator, and a GPU where there is one, with gpukm's kernels."""
    return make_gpu()
