"""Write a data set of Gaussian blobs to a .npy file: a million rows by default, a block of them in memory at a time.

    python examples/make_blobs.py blobs.npy --rows 1000000 --features 16 --blobs 64 --seed 0

The same options give the same file on every machine: each block of rows has its own generator, seeded by its number.
"""

import argparse
import os
from pathlib import Path

import numpy as np

BLOCK_ROWS = 1 << 16


def make_blobs(path: Path, n_samples: int, n_features: int, n_blobs: int, spread: float, dtype: str, seed: int) -> None:
    """Write `n_samples` rows around `n_blobs` centres, which are drawn uniformly from [-10, 10)^d."""
    centers = np.random.default_rng([seed, 0]).uniform(-10.0, 10.0, size=(n_blobs, n_features))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.gpukm-tmp")
    try:
        rows = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=(n_samples, n_features))
        for number, start in enumerate(range(0, n_samples, BLOCK_ROWS), start=1):
            rng = np.random.default_rng([seed, number])
            stop = min(start + BLOCK_ROWS, n_samples)
            blob = rng.integers(n_blobs, size=stop - start)
            rows[start:stop] = centers[blob] + rng.normal(scale=spread, size=(stop - start, n_features))
        rows.flush()
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value}: at least 1 is needed")
    return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("output", type=Path, metavar="OUT.npy")
    parser.add_argument("--rows", type=positive, default=1_000_000, help="rows (default: %(default)s)")
    parser.add_argument("-d", "--features", type=positive, default=16, help="columns (default: %(default)s)")
    parser.add_argument("-k", "--blobs", type=positive, default=64, help="number of blobs (default: %(default)s)")
    parser.add_argument("--spread", type=float, default=1.0, help="standard deviation of a blob (default: %(default)s)")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="overwrite OUT.npy if it exists")
    options = parser.parse_args()
    if options.output.suffix != ".npy":
        parser.error(f"{options.output}: the name must end in .npy")
    if options.output.exists() and not options.force:
        parser.error(f"{options.output} exists; give another name or --force")
    make_blobs(
        options.output,
        options.rows,
        options.features,
        options.blobs,
        options.spread,
        options.dtype,
        options.seed,
    )


if __name__ == "__main__":
    main()
