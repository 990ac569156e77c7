"""Starting code books of `gpukm.vq`: SciPy's methods, with SciPy's draws from the same generator.

They draw rows by their position, unlike `gpukm.seeding`. Observations are looked at a block at a time.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._arrays import to_numpy
from gpukm.array_source import ArraySource

Rng = Any  # numpy.random.Generator or RandomState


def points(source: ArraySource, k: int, rng: Rng) -> NDArray:
    """`k` different rows, all equally likely (Forgy 1965)."""
    if k > source.n_samples:
        raise ValueError(
            f"Cannot take a larger sample than population: {k} different observations were asked for, there are "
            f"{source.n_samples}."
        )
    return source.rows(rng.choice(source.n_samples, size=k, replace=False))


def plusplus(source: ArraySource, k: int, rng: Rng) -> NDArray:
    """k-means++ (Arthur & Vassilvitskii 2007): each row drawn by its squared distance to those chosen before."""
    n = source.n_samples
    least, first = np.full(n, np.inf), np.zeros(n, np.int32)
    code_book = np.empty((k, source.n_features), source.dtype)
    code_book[0] = source.rows(np.array([rng.integers(n) if isinstance(rng, np.random.Generator) else rng.randint(n)]))
    for index in range(1, k):
        np.minimum(least, to_numpy(source.own_distances(code_book[index - 1 : index], first)), out=least)
        summed = np.cumsum(least)  # one after another: the same everywhere, which a sum in pairs need not be
        drawn = min(int(np.searchsorted(summed, rng.uniform() * summed[-1])), n - 1)
        code_book[index] = source.rows(np.array([drawn]))
    return code_book


def gaussian(source: ArraySource, k: int, rng: Rng) -> NDArray:
    """Draws from the normal distribution with the mean and the covariance of the observations."""
    n, d = source.n_samples, source.n_features
    if n < 2:
        raise ValueError("minit='random' needs at least 2 observations for their covariance; use minit='points'.")
    mean = source.stats().mean
    if d > n:  # the covariance has no Cholesky factor; the factors of the observations serve
        _, s, vh = np.linalg.svd(source.host_block(0, n) - mean, full_matrices=False)
        return (rng.standard_normal(size=(k, n)) @ (s[:, None] * vh / np.sqrt(n - 1)) + mean).astype(source.dtype)
    scatter = np.zeros((d, d))
    rows = max((1 << 18) // d, 1)
    for start in range(0, n, rows):
        X = source.host_block(start, min(start + rows, n)) - mean
        scatter += X.T @ X
    try:
        factor = np.linalg.cholesky(scatter / (n - 1))
    except np.linalg.LinAlgError as error:
        raise np.linalg.LinAlgError(
            f"{error}: the covariance of the observations, from which minit='random' draws. Some feature is constant "
            f"or depends linearly on others; leave it out, or use minit='++' or 'points'."
        ) from None
    return (rng.standard_normal(size=(k, d)) @ factor.T + mean).astype(source.dtype)


STARTS: dict[str, Callable[[ArraySource, int, Rng], NDArray]] = {"random": gaussian, "points": points, "++": plusplus}
