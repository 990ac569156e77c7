"""SciPy's vector quantization, ``scipy.cluster.vq``: whiten, vq, kmeans and kmeans2, on gpukm's kernels.

Parameters, return values, warnings and random draws are SciPy's, so that from the same generator the same observations
are drawn; what its interface has of surprises is kept, and named in the docstrings. Arrays may be of any kind that
`gpukm.KMeans` takes, with results of the same kind on the same device. Distances and means are exact, as everywhere in
gpukm: results agree with SciPy's up to its rounding.
"""

from gpukm.vq.clustering import ClusterError, kmeans, kmeans2
from gpukm.vq.observations import vq, whiten

__all__ = ["ClusterError", "kmeans", "kmeans2", "vq", "whiten"]
