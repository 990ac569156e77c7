"""lloyd_step, Numba engine: label the rows of a block, then move those whose label changed."""

import numpy as np
from numpy.typing import NDArray

from gpukm.exact import Sums
from gpukm.kernels.accumulate_numba import accumulate
from gpukm.kernels.assign_numba import Packed, assign


def lloyd_step(
    X: NDArray,
    packed: Packed,
    labels: NDArray[np.int32],
    new_labels: NDArray[np.int32],
    sums: Sums,
    weights: NDArray[np.float64] | None,
    slack: NDArray[np.float32],
) -> tuple[int, int]:
    """See `gpukm.kernels.lloyd_step`; the interpreter's lock is released."""
    undecided = assign(X, packed, slack, new_labels)
    return accumulate(X, new_labels, labels, weights, sums), undecided
