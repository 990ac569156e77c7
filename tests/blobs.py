"""Rows and centroids for the tests of the filters in integers, as they are drawn and in their frame."""

import numpy as np

from gpukm.kernels import Frame


def draw(rng, n, d, k, spread, far):
    """Rows and centroids; some centroids may be far, some rows, too."""
    C = (rng.standard_normal((k, d)) * spread).astype(np.float32)
    X = (C[rng.integers(0, k, n)] + rng.standard_normal((n, d))).astype(np.float32)
    if far:
        C[rng.integers(0, k, 2)] *= 50
        X[rng.integers(0, n, 2)] *= 1000
    return X, C


def in_frame(X, C):
    """(the frame; rows and centroids in it, float64)."""
    centre = X.mean(axis=0, dtype=np.float64).astype(X.dtype)
    scatter = float(((X - centre.astype(np.float64)) ** 2).sum(axis=1).mean())
    frame = Frame.of(X.min(axis=0).astype(float), X.max(axis=0).astype(float), centre, scatter, len(C))
    return frame, *((A.astype(np.float64) - frame.shift) * frame.scale for A in (X, C))
