"""transfer, Numba engine: the loops of the reference, compiled."""

from gpukm.kernels import transfer
from gpukm.kernels.jit_numba import jit

two_nearest = jit()(transfer.two_nearest)
optimal_transfer = jit()(transfer.optimal_transfer)
quick_transfer = jit()(transfer.quick_transfer)
nearest_transfer = jit()(transfer.nearest_transfer)
