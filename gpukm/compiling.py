"""Compile the Numba engine before it is wanted: when a container is built, or a package installed.

Numba compiles a function when it is first called, for the types of that call; so everything is called once, on few
rows. What is compiled is kept on disk, and later processes load it.
"""

import os
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpukm._extras import missing_extra
from gpukm._sklearn import ConvergenceWarning, exception_class
from gpukm.estimators import KMeans
from gpukm.kernels import KINDS, compilations, compiled_folder, compiling, numba_works
from gpukm.minibatch_kmeans import MiniBatchKMeans

# Rows, features, clusters: as they are and sorted in boxes; without bounds, with them, and kept in 8 bits.
SHAPES = {"narrow": [(3000, 3, 8), (1 << 17, 3, 40)], "wide": [(3000, 16, 8), (3000, 16, 64), (1 << 14, 96, 8)]}


def compile_engine(
    say: Callable[[str], Any] = lambda line: None, kinds: Sequence[str] = KINDS
) -> tuple[int, float, str | None]:
    """Compile what fits, predictions and mini-batches call.

    Parameters
    ----------
    say : is told each step
    kinds : of rows, for example "float32-narrow": all by default

    Returns
    -------
    n_functions, seconds, folder : int, float, str or None
        How many were compiled now, the others being there already; where they are kept, None if nowhere can be
        written to: then only this process has them.

    Raises
    ------
    ImportError
        Numba is not installed.
    """
    if not numba_works():
        raise missing_extra("Numba", "cpu", "compiling the engine")
    before = os.environ.get("GPUKM_ENGINE")
    began = time.perf_counter()
    os.environ["GPUKM_ENGINE"] = "numba"
    try:
        with compilations() as compiled, warnings.catch_warnings():
            warnings.simplefilter("ignore", exception_class(ConvergenceWarning))
            for kind in kinds:
                dtype, width = kind.split("-")
                with compiling(kind):
                    for n, d, k in SHAPES[width]:
                        say(f"{dtype}, {n} x {d}, {k} clusters")
                        rows = np.random.default_rng(0).random((n, d))
                        _call_everything((np.rint(255 * rows) if d > 16 else rows).astype(dtype), k)
    finally:
        del os.environ["GPUKM_ENGINE"]
        if before is not None:
            os.environ["GPUKM_ENGINE"] = before
    return len(compiled), time.perf_counter() - began, compiled_folder()


def _call_everything(X: np.ndarray, k: int) -> None:
    for weights in (None, np.ones(len(X))):
        model = KMeans(k, random_state=0, max_iter=9, tol=0).fit(X, sample_weight=weights)
        KMeans(k, random_state=0, max_iter=9, tol=0, callback=lambda step: False).fit(X, sample_weight=weights)
        model.predict(X)
        model.score(X[:2000], sample_weight=None if weights is None else weights[:2000])
    KMeans(k, random_state=0, max_iter=2).fit(np.asfortranarray(X))  # whose rows have to be copied
    model.transform(X[:2000])
    KMeans(min(k, 9), algorithm="hartigan-wong", init="random", random_state=0, n_init=1).fit(X[:2000])
    MiniBatchKMeans(k, random_state=0, max_iter=1).fit(X)
