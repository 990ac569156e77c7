"""The steps of Lloyd's algorithm on blocks of rows; outside this folder nobody knows which engine runs."""

from gpukm.kernels.accumulate import accumulate, accumulate_scalars
from gpukm.kernels.assign import Frame, Scorer, assign, block_rows, scores
from gpukm.kernels.engine import engine_name
from gpukm.kernels.lloyd_step import lloyd_step
from gpukm.kernels.potential import Potential, hash_rows, mix

__all__ = [
    "Frame",
    "Potential",
    "Scorer",
    "accumulate",
    "accumulate_scalars",
    "assign",
    "block_rows",
    "engine_name",
    "hash_rows",
    "lloyd_step",
    "mix",
    "scores",
]
