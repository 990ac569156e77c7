"""The optional packages: which extra of gpukm installs them and what for. Nothing is imported here."""

from importlib.metadata import PackageNotFoundError, version

# extra -> (what it adds, the distributions it installs)
EXTRAS = {
    "cpu": ("NumPy arrays by compiled code (Numba), on several threads (threadpoolctl)", ("threadpoolctl", "numba")),
    "cuda12": ("arrays on a GPU, with CUDA 12", ("cupy-cuda12x",)),
    "cuda13": ("arrays on a GPU, with CUDA 13", ("cupy-cuda13x",)),
    "image": ("image files: gpukm colors, palette, apply", ("Pillow",)),
    "parquet": ("Parquet and Arrow files as data", ("pyarrow",)),
    "hdf5": ("HDF5 files as data", ("h5py",)),
    "zarr": ("Zarr arrays as data", ("zarr",)),
    "dask": ("dask arrays as data", ("dask",)),
    "cli": ("progress on the terminal", ("rich",)),
}


def installed(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def missing_extra(package: str, extra: str, purpose: str) -> ImportError:
    """The error for a package that is not installed, with the command that installs it."""
    return ImportError(f"{purpose} needs {package}, which is not installed: pip install 'gpukm[{extra}]'")
