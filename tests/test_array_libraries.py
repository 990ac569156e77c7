"""Arrays of every library: the same bits, the same kind and device back, and no copy. docs/arrays.md is made from it.

python tests/test_array_libraries.py        writes the rows of docs/arrays.md whose libraries are installed here
"""

import importlib
import re
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from gpukm import BisectingKMeans, KMeans, SphericalKMeans, k_means, kmeans_plusplus, random_swap
from gpukm._arrays import to_numpy
from gpukm._validation import check_samples
from gpukm.placing import source_of

PAGE = Path(__file__).parents[1] / "docs" / "arrays.md"


def rows(n=60, d=3, dtype=np.float32):
    return (np.random.default_rng(0).random((n, d)) * 50).astype(dtype)


def columns(X):
    return {f"x{j}": X[:, j] for j in range(X.shape[1])}


def frozen(X):
    X = X.copy()
    X.flags.writeable = False
    return X


# name -> (library, how it is made of a NumPy array)
KINDS = {
    "NumPy": ("numpy", lambda xp, X: X),
    "NumPy, Fortran order": ("numpy", lambda xp, X: np.asfortranarray(X)),
    "NumPy, strided": ("numpy", lambda xp, X: np.repeat(X, 2, axis=0)[::2]),
    "NumPy, read-only": ("numpy", lambda xp, X: frozen(X)),
    "list of lists": ("numpy", lambda xp, X: X.astype(float).tolist()),
    "pandas DataFrame": ("pandas", lambda xp, X: xp.DataFrame(columns(X))),
    "polars DataFrame": ("polars", lambda xp, X: xp.DataFrame(columns(X))),
    "pyarrow Table": ("pyarrow", lambda xp, X: xp.table(columns(X))),
    "SciPy sparse matrix": ("scipy.sparse", lambda xp, X: xp.csr_array(X)),
    "torch tensor, CPU": ("torch", lambda xp, X: xp.asarray(X)),
    "torch tensor that requires grad": ("torch", lambda xp, X: xp.tensor(X, requires_grad=True)),
    "jax array, CPU": ("jax.numpy", lambda xp, X: xp.asarray(X)),
    "array-api-strict, CPU": ("array_api_strict", lambda xp, X: xp.asarray(X)),
    "array-api-strict, another device": (
        "array_api_strict",
        lambda xp, X: xp.asarray(X, device=xp.Device("device1")),
    ),
    "dask array": ("dask.array", lambda xp, X: xp.from_array(X)),
}
READ_BY_VALUE = ("list of lists", "pandas DataFrame", "polars DataFrame", "pyarrow Table")
LAZY = "dask array"


def given_as(kind, X):
    library, make = KINDS[kind]
    return make(pytest.importorskip(library), X)


def address(a):
    """Where the first value of an array lies."""
    if hasattr(a, "data_ptr"):
        return a.data_ptr()
    if hasattr(a, "unsafe_buffer_pointer"):
        return a.unsafe_buffer_pointer()
    return to_numpy(a).__array_interface__["data"][0]


def in_place(given):
    """Whether the values that the fit reads are those of `given`, not a copy."""
    source = source_of(check_samples(given, sparse=True), max_memory=1 << 20)
    if hasattr(given, "indptr"):
        return np.shares_memory(source._csr.values, given.data)
    return address(source._X) == address(given)


def describe(kind):
    """What the table says of a kind, found by fitting it."""
    X = rows()
    given = given_as(kind, X)
    model = KMeans(3, random_state=0).fit(given)
    back = type(model.labels_)
    result = (
        "NumPy"
        if back is np.ndarray
        else f"`{back.__module__.partition('.')[0].replace('jaxlib', 'jax')}`, same device"
    )
    if kind == LAZY:
        assert type(model.predict(given)) is type(given)
        return f"{result}; `dask`, lazily, by `predict` and `transform`", f"`{model.engine_}`", "a chunk at a time"
    copied = "as its library converts it" if kind in READ_BY_VALUE else "no" if in_place(given) else "yes"
    return result, f"`{model.engine_}`", copied


def line(kind):
    return f"| {' | '.join((kind, *describe(kind)))} |"


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_is_up_to_date(kind):
    """Each row of docs/arrays.md is what happens; run this file to write it anew."""
    if KINDS[kind][0] != "numpy":
        pytest.importorskip(KINDS[kind][0])
    assert line(kind) in PAGE.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != LAZY])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_every_library_gets_the_same_bits(kind, dtype):
    """Fits of all estimators, and the functions; the values handed in stay as they are."""
    X = rows(dtype=dtype)
    if kind == "list of lists" and dtype != np.float64:
        pytest.skip("the numbers of lists are float64")
    if kind == "jax array, CPU" and dtype == np.float64:
        pytest.skip("jax has no float64 unless jax_enable_x64 is set")
    if "grad" in kind and dtype == np.uint8:
        pytest.skip("integers have no gradient")
    given, before = given_as(kind, X), X.copy()
    for class_ in (KMeans, BisectingKMeans, SphericalKMeans):
        plain, model = (class_(4, random_state=1).fit(each) for each in (X, given))
        for name in ("cluster_centers_", "labels_"):
            np.testing.assert_array_equal(to_numpy(getattr(model, name)), getattr(plain, name))
        assert model.inertia_ == plain.inertia_
        np.testing.assert_array_equal(to_numpy(model.predict(given)), plain.predict(X))
        np.testing.assert_array_equal(to_numpy(model.transform(given)), plain.transform(X))
    for function, options in ((k_means, {}), (random_swap, {"n_swaps": 3}), (kmeans_plusplus, {})):
        expected, found = (function(each, 3, random_state=2, **options) for each in (X, given))
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_array_equal(a, b if isinstance(b, float) else to_numpy(b))
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("kind", ["NumPy", "NumPy, strided", "torch tensor, CPU", "jax array, CPU"])
def test_no_copy_is_made(kind):
    """A fit of 40 MB takes little more memory than its labels and a few blocks, and reads the array in place."""
    X = rows(500_000, 20)
    given = given_as(kind, X)
    assert in_place(given)
    model = KMeans(2, init=X[:2], max_iter=1, max_memory=4 << 20).fit(given)  # loads what is loaded once
    tracemalloc.start()
    try:
        model.fit(given)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20e6 < X.nbytes


def write():
    """Replace the rows of docs/arrays.md whose libraries are installed; leave the others."""
    text = PAGE.read_text(encoding="utf-8")
    for kind, (library, _) in KINDS.items():
        try:
            importlib.import_module(library)
        except ImportError:
            continue
        pattern = re.compile(rf"^\| {re.escape(kind)} \|.*$", re.MULTILINE)
        assert pattern.search(text), f"{PAGE.name} has no row for {kind}: add '| {kind} |' where it belongs"
        text = pattern.sub(line(kind).replace("\\", r"\\"), text)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(write())
