"""The steps on a CUDA device, as `gpukm.device_source` calls them."""

from gpukm.kernels._cuda import on_its_device
from gpukm.kernels.accumulate_cuda import DeviceSums
from gpukm.kernels.arrange_cuda import arranged, worth_arranging
from gpukm.kernels.assign_cuda import lloyd_step
from gpukm.kernels.columns_cuda import column_sums, extremes
from gpukm.kernels.inertia_cuda import add_inertia, distances, own_distances
from gpukm.kernels.potential_cuda import DevicePotential
from gpukm.kernels.update_cuda import run_ahead

__all__ = [
    "DevicePotential",
    "DeviceSums",
    "add_inertia",
    "arranged",
    "column_sums",
    "distances",
    "extremes",
    "lloyd_step",
    "on_its_device",
    "own_distances",
    "run_ahead",
    "worth_arranging",
]
