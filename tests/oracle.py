"""k-means as a newcomer would write it: float64 and fractions, one loop a line. Slow, obvious, never imported by
gpukm.
"""

from fractions import Fraction

import numpy as np


def distance(x, c):
    """D: float64, features from left to right, every operation rounded."""
    total = 0.0
    for a, b in zip(x, c, strict=True):
        difference = float(a) - float(b)
        total = total + difference * difference
    return total


def distances(X, C):
    """(n, k) of D."""
    X, C = np.asarray(X, np.float64), np.asarray(C, np.float64)
    total = np.zeros((len(X), len(C)))
    for j in range(X.shape[1]):
        difference = X[:, None, j] - C[None, :, j]
        total = total + difference * difference
    return total


def labels(X, C):
    """Least D, ties to the lowest k."""
    return distances(X, C).argmin(axis=1)


def exact_sum(values, weights=None):
    """The sum of w v as a fraction."""
    weights = [1] * len(values) if weights is None else weights
    return sum((Fraction(float(w)) * Fraction(float(v)) for v, w in zip(values, weights, strict=True)), Fraction(0))


def means(X, labels, k, weights=None):
    """Exact weighted means, rounded once to float64; 0 for clusters without weight."""
    weights = np.ones(len(X)) if weights is None else weights
    out = np.zeros((k, X.shape[1]))
    for cluster in range(k):
        own = labels == cluster
        weight = exact_sum(np.ones(own.sum()), weights[own])
        if weight:
            for j in range(X.shape[1]):
                out[cluster, j] = float(exact_sum(X[own, j], weights[own]) / weight)
    return out


def inertia(X, C, weights=None):
    """The exact sum of w D, rounded once."""
    return float(exact_sum(distances(X, C).min(axis=1), weights))
