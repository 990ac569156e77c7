"""Lloyd's algorithm as anyone would write it for speed in NumPy, with nothing proved: the yardstick of exactness.

Scores in float32 from one matrix product, [X, 1] . [-C, |C|^2 / 2]^T, in blocks that fit the cache; labels by argmin,
near ties decided by rounding; sums in floating point, so in an order that depends on the blocks. gpukm's time over this
one's is what the certificate, the settling of undecided rows and the order-free integer sums cost, all together.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np


def fit(X: np.ndarray, centroids: np.ndarray, iterations: int, threads: int) -> np.ndarray:
    """``iterations`` updates and a last assignment. An empty cluster stays where it is."""
    from threadpoolctl import threadpool_limits

    n, d = X.shape
    k = len(centroids)
    centroids = centroids.copy()
    mean = X.mean(axis=0, dtype=np.float64).astype(X.dtype)  # without it, scores of data far from 0 lose their digits
    X1 = np.empty((n, d + 1), X.dtype)
    np.subtract(X, mean, out=X1[:, :d])
    X1[:, d] = 1
    rows = min(4096, max(256, 2**19 // k))  # the score block stays within 2 MB, a core's level-2 cache
    blocks = [slice(i, min(i + rows, n)) for i in range(0, n, rows)]
    labels = np.empty(n, np.int32)
    # One BLAS thread each: Python threads over blocks beat BLAS threads inside one, for argmin and sums run there too.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        for i in range(iterations + 1):
            C = centroids - mean
            C1 = np.hstack([-C, (C * C).sum(axis=1, keepdims=True) / 2]).T.copy()
            update = i < iterations

            def work(share, C1=C1, update=update):
                sums, sizes = np.zeros((k, d)), np.zeros(k)
                for block in share:
                    found = np.argmin(X1[block] @ C1, axis=1)
                    labels[block] = found
                    if update:
                        sizes += np.bincount(found, minlength=k)
                        sums += _sums(X1[block, :d], found, k)
                return sums, sizes

            parts = list(pool.map(work, [blocks[t::threads] for t in range(threads)]))
            if update:
                sums, sizes = sum(p[0] for p in parts), sum(p[1] for p in parts)
                full = sizes > 0
                centroids[full] = sums[full] / sizes[full, None] + mean
    return centroids


def _sums(X, labels, k):
    if X.shape[1] < 8:
        return np.stack([np.bincount(labels, weights=x, minlength=k) for x in X.T], axis=1)
    # SciPy's sparse one-hot product wins from 8 features on; a slower yardstick would flatter gpukm.
    from scipy.sparse import csr_array

    one_hot = csr_array((np.ones(len(X), X.dtype), labels, np.arange(len(X) + 1)), shape=(len(X), k))
    return one_hot.T @ X
