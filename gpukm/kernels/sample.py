"""sample: rows drawn from a potential by weight without replacement."""

import numpy as np
from numpy.typing import NDArray

from gpukm.kernels.potential import BITS, Potential


def sample(potential: Potential, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows drawn by weight without replacement, all of different content as long as there are enough.

    Drawing `missing` quantiles at once and discarding repeats is drawing one after the other. The potential is that of
    a seeding which has no centre yet, and is so afterwards.
    """
    chosen: list[int] = []
    weights, n = potential._weights, potential._n
    potential._D = np.ones(n) if weights is None else (weights > 0).astype(np.float64)
    while len(chosen) < count and potential._bucket_sums().any():
        potential._parts = None
        for row in potential.draw(rng.random(count - len(chosen))):
            if potential._terms(np.array([row]))[0]:
                chosen.append(int(row))
                potential._exclude(_equal_rows(potential, int(row)))
    potential._D = potential._parts = None
    return np.concatenate([np.array(chosen, np.int64), potential.draw(rng.random(count - len(chosen)))])


def _equal_rows(potential: Potential, row: int) -> NDArray[np.signedinteger]:
    """All rows with the content of this one."""
    own = potential._hashes_of(np.array([row]))[0]
    same = potential._members(int(own >> np.uint64(64 - BITS)))
    same = same[potential._hashes_of(same) == own]
    return same[(potential._source.rows(same) == potential._source.rows(np.array([row]))).all(axis=1)]
