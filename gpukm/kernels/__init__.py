"""The steps of Lloyd's algorithm on blocks of rows; outside this folder nobody knows which engine runs."""

from gpukm.kernels.accumulate import accumulate, accumulate_scalars
from gpukm.kernels.ahead import row_products, runner, short_steps
from gpukm.kernels.arrange import arranged, box_rows, compared, put_back, worth_arranging
from gpukm.kernels.assign import Frame, Scorer, assign, block_rows, scores
from gpukm.kernels.background import KINDS, compiling, missing
from gpukm.kernels.bounds import Bounds
from gpukm.kernels.candidates import Candidates
from gpukm.kernels.colors import count_colors_on_device
from gpukm.kernels.columns import extremes
from gpukm.kernels.csr import CSR
from gpukm.kernels.csr import Scorer as ScorerCSR
from gpukm.kernels.csr import accumulate as accumulate_csr
from gpukm.kernels.csr import assign as assign_csr
from gpukm.kernels.csr import own_distances as own_distances_csr
from gpukm.kernels.csr import squared_distances as squared_distances_csr
from gpukm.kernels.diffuse import diffuse
from gpukm.kernels.engine import FEW, MANY, compilations, compiled_folder, cuda_works, engine_name, gpu, numba_works
from gpukm.kernels.hashing import hash_rows, mix
from gpukm.kernels.inertia import add_inertia, all_distances, own_distances
from gpukm.kernels.kept import keep_rows, strip_rows, worth_keeping
from gpukm.kernels.lloyd_step import lloyd_step, move_held
from gpukm.kernels.potential import Potential
from gpukm.kernels.potential_csr import PotentialCSR
from gpukm.kernels.sample import sample
from gpukm.kernels.transfer import transfer_loop

__all__ = [
    "CSR",
    "FEW",
    "KINDS",
    "MANY",
    "Bounds",
    "Candidates",
    "Frame",
    "Potential",
    "PotentialCSR",
    "Scorer",
    "ScorerCSR",
    "accumulate",
    "accumulate_csr",
    "accumulate_scalars",
    "add_inertia",
    "all_distances",
    "arranged",
    "assign",
    "assign_csr",
    "block_rows",
    "box_rows",
    "compared",
    "compilations",
    "compiled_folder",
    "compiling",
    "count_colors_on_device",
    "cuda_works",
    "diffuse",
    "engine_name",
    "extremes",
    "gpu",
    "hash_rows",
    "keep_rows",
    "lloyd_step",
    "missing",
    "mix",
    "move_held",
    "numba_works",
    "own_distances",
    "own_distances_csr",
    "put_back",
    "row_products",
    "runner",
    "sample",
    "scores",
    "short_steps",
    "squared_distances_csr",
    "strip_rows",
    "transfer_loop",
    "worth_arranging",
    "worth_keeping",
]
