"""Exact k-means: the same answer, to the bit, on any array, any device and any number of threads.

The public names are imported when first used, so that ``import gpukm`` is quick and needs nothing but NumPy.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpukm.bisecting import BisectingKMeans
    from gpukm.color import quantize
    from gpukm.estimators import KMeans
    from gpukm.functions import k_means, kmeans_plusplus, random_swap
    from gpukm.minibatch_kmeans import MiniBatchKMeans
    from gpukm.model_io import load
    from gpukm.readers import open_rows
    from gpukm.spherical import SphericalKMeans

__version__ = "0.1.0"

__all__ = [
    "BisectingKMeans",
    "KMeans",
    "MiniBatchKMeans",
    "SphericalKMeans",
    "__version__",
    "k_means",
    "kmeans_plusplus",
    "load",
    "open_rows",
    "quantize",
    "random_swap",
]

_HOMES = {
    "BisectingKMeans": "gpukm.bisecting",
    "KMeans": "gpukm.estimators",
    "MiniBatchKMeans": "gpukm.minibatch_kmeans",
    "SphericalKMeans": "gpukm.spherical",
    "k_means": "gpukm.functions",
    "kmeans_plusplus": "gpukm.functions",
    "load": "gpukm.model_io",
    "open_rows": "gpukm.readers",
    "random_swap": "gpukm.functions",
    "quantize": "gpukm.color",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gpukm' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
