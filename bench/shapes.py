"""Named workloads: what people cluster, at the sizes they cluster it, made on demand from a seed.

Nothing is downloaded: photographs and digits are the ones bundled with scikit-learn, the rest is drawn. A workload is
the same rows on every run and machine (up to the JPEG decoder's rounding), and so are its start centroids.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Workload:
    """A data set and what is to be done with it."""

    name: str
    n: int  # rows
    d: int  # features
    k: int  # clusters
    iterations: int  # few enough that no contestant converges and stops before them
    kind: str  # how the rows are made: a key of MAKERS
    seed: int
    spread: float = 1.0  # blobs: standard deviation of the true centres; the noise around each is 1
    rtol: float = 1e-4  # contestants' inertias must agree within this, relative


# Pixels are whole numbers: exact ties abound in the first iteration, every library breaks them by its own rounding, and
# scikit-learn adds 2e5 float32 terms a cluster, which moves its centroids by up to 0.14 grey levels. Seen at full size
# after the last iteration: inertias differ by up to 2e-4; leaving out one update would change them by 3e-3 or more.
PIXELS = 1e-3

WORKLOADS = {
    w.name: w
    for w in (
        # A 16-colour palette of a photo album or of a short clip: the pixel count of two 1-megapixel photos.
        Workload("colours-3-16", 2_000_000, 3, 16, 10, "photo", 1, rtol=PIXELS),
        # The full palette of a GIF or an indexed PNG of one photo.
        Workload("colours-3-256", 1_000_000, 3, 256, 10, "photo", 2, rtol=PIXELS),
        # Positions: taxi pick-ups, mobile-phone fixes, shop locations; a handful of districts.
        Workload("geo-2-8", 1_000_000, 2, 8, 20, "blobs", 3, 1.5),
        # Machine telemetry: eight channels a reading, operating states as clusters.
        Workload("sensors-8-64", 1_000_000, 8, 64, 10, "blobs", 4, 1.0),
        # Customer or product tables after scaling: the typical tabular job, segments as clusters.
        Workload("features-16-64", 500_000, 16, 64, 10, "blobs", 5, 0.7),
        # Event logs, transactions: more rows than one wants to visit often, what mini-batches are for.
        Workload("rows-16-100", 2_000_000, 16, 100, 10, "blobs", 11, 0.7),
        # A visual vocabulary, or a product quantizer's sub-space: 8 x 8 image patches.
        Workload("patches-64-256", 300_000, 64, 256, 10, "patches", 6, rtol=PIXELS),
        # An inverted-file index over SIFT-sized or reduced embeddings.
        Workload("embeddings-128-1024", 200_000, 128, 1024, 5, "blobs", 7, 0.25),
        # Topics among sentence embeddings of BERT's width.
        Workload("embeddings-768-256", 100_000, 768, 256, 5, "blobs", 8, 0.1),
        # MNIST and what is shaped like it: many features, few clusters.
        Workload("digits-784-10", 70_000, 784, 10, 20, "digits", 9),
        # No structure at all: the worst case for bounds and for the share of undecided rows.
        Workload("uniform-16-64", 500_000, 16, 64, 10, "uniform", 10),
    )
}


def select(names, scale=1.0, smoke=False) -> list[Workload]:
    """The workloads called ``names`` (None: all), with ``n`` times ``scale``; ``smoke`` makes each tiny."""
    unknown = sorted(set(names or ()) - set(WORKLOADS))
    if unknown:
        raise SystemExit(f"unknown workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    if not scale > 0:
        raise SystemExit(f"--scale {scale:g} is not allowed: it divides n, so it is above 0 (1 is the published size)")
    chosen = []
    for w in WORKLOADS.values():
        if names is None or w.name in names:
            # A small set converges in a few iterations and contestants would stop at different ones, hence only two;
            # and on a few rows a cluster, one tie counts for much.
            w = replace(w, n=500, iterations=2, rtol=1e-2) if smoke else replace(w, n=round(w.n * scale))
            chosen.append(replace(w, n=max(w.n, 8 * w.k)))
    return chosen


def make(workload: Workload) -> np.ndarray:
    """The rows: (n, d) float32, C order."""
    X = MAKERS[workload.kind](workload, np.random.default_rng(workload.seed))
    assert X.shape == (workload.n, workload.d) and X.dtype == np.float32 and X.flags.c_contiguous
    return X


def start(workload: Workload, X: np.ndarray) -> np.ndarray:
    """``k`` rows of ``X`` that differ from each other in value: the start centroids of every contestant."""
    seen: dict[bytes, int] = {}
    for i in np.random.default_rng([workload.seed, workload.k]).permutation(len(X)):
        seen.setdefault(X[i].tobytes(), i)
        if len(seen) == workload.k:
            return X[list(seen.values())]
    raise SystemExit(f"{workload.name}: only {len(seen)} distinct rows for k = {workload.k}; raise --scale")


def _photos() -> np.ndarray:
    from sklearn.datasets import load_sample_images

    return np.stack(load_sample_images().images)  # (2, 427, 640, 3) uint8


def _photo(w, rng):
    """Pixels in raster order, drawn evenly from both photos, with +-2 grey levels so that repeats are not copies."""
    pixels = _photos().reshape(-1, 3)
    repeats = -(-w.n // len(pixels))
    rows = np.linspace(0, repeats * len(pixels), w.n, endpoint=False).astype(np.int64) % len(pixels)
    noise = rng.integers(-2, 3, (w.n, 3), dtype=np.int16)
    return np.clip(pixels[rows] + noise, 0, 255).astype(np.float32)


def _blobs(w, rng):
    centres = rng.standard_normal((w.k, w.d), dtype=np.float32) * np.float32(w.spread)
    X = rng.standard_normal((w.n, w.d), dtype=np.float32)
    X += centres[rng.integers(0, w.k, w.n)]
    return X


def _patches(w, rng):
    """Grey 8 x 8 patches at random places, as a dictionary learner draws them."""
    grey = _photos().mean(axis=3, dtype=np.float32)
    views = np.lib.stride_tricks.sliding_window_view(grey, (8, 8), axis=(1, 2))
    photo, row, column = (rng.integers(0, m, w.n) for m in views.shape[:3])
    return np.ascontiguousarray(views[photo, row, column].reshape(w.n, 64))


def _digits(w, rng):
    """scikit-learn's 8 x 8 digits enlarged to 24 x 24, shifted inside 28 x 28, with their own contrast and grain."""
    from sklearn.datasets import load_digits

    at = np.linspace(0, 7, 24)
    enlarge = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(8))).astype(np.float32)  # linear interpolation
    large = enlarge @ load_digits().images.astype(np.float32) @ enlarge.T * np.float32(255 / 16)
    which = rng.integers(0, len(large), w.n)
    shift = rng.integers(0, 25, w.n)
    X = np.zeros((w.n, 28, 28), np.float32)
    for s in range(25):
        rows = np.flatnonzero(shift == s)
        X[rows, s // 5 : s // 5 + 24, s % 5 : s % 5 + 24] = large[which[rows]]
    X *= rng.uniform(0.7, 1.2, (w.n, 1, 1)).astype(np.float32)
    X += rng.integers(0, 8, X.shape, dtype=np.uint8)
    return np.rint(np.minimum(X, 255, out=X), out=X).reshape(w.n, 784)


def _uniform(w, rng):
    return rng.random((w.n, w.d), dtype=np.float32)


MAKERS = {"photo": _photo, "blobs": _blobs, "patches": _patches, "digits": _digits, "uniform": _uniform}
