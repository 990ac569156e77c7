"""The checks at the public edge: what is taken as it is, and what each message says."""

import pickle
import re
import sys
import warnings
from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace

import array_api_strict
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from gpukm import BisectingKMeans, KMeans, MiniBatchKMeans, SphericalKMeans, _places, kmeans_plusplus, seeding
from gpukm import _validation as validation
from gpukm._containers import feature_names
from gpukm.trimmed import TrimmedKMeans

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


# what is taken


@pytest.mark.parametrize("dtype", ["float32", "float16", "bool", "int8", "uint8", "int16", "uint16"])
def test_dtypes_that_float32_holds_compute_in_float32(dtype):
    """Each value of these dtypes is a float32 number, so float32 computes on them without rounding."""
    assert validation.check_samples(np.ones((2, 2), dtype)).dtype == FLOAT32
    if dtype not in ("bool", "float16", "float32"):
        info = np.iinfo(dtype)
        assert np.float32(info.max) == info.max and np.float32(info.min) == info.min


@pytest.mark.parametrize("dtype", ["float64", "int32", "uint32", "int64", "uint64", ">f8", ">i4"])
def test_dtypes_that_need_float64_compute_in_float64(dtype):
    """No value is rounded on the way in."""
    assert validation.check_samples(np.ones((2, 2), dtype)).dtype == FLOAT64


def layouts(tmp_path):
    base = np.arange(24, dtype=np.uint8).reshape(6, 4)
    big = np.zeros((12, 8), np.uint8)
    big[::2, ::2] = base
    frozen = base.copy()
    frozen.flags.writeable = False
    mapped = np.memmap(tmp_path / "x.bin", np.uint8, "w+", shape=(6, 4))
    mapped[:] = base
    return [base, np.asfortranarray(base), big[::2, ::2], base[::-1], frozen, mapped, base.astype(">i2")]


def test_arrays_are_neither_copied_nor_cast(tmp_path):
    """A uint8 data set stays uint8, whatever its strides, byte order or class."""
    for X in layouts(tmp_path):
        samples = validation.check_samples(X)
        assert np.shares_memory(samples.array, X)
        assert samples.array.dtype == X.dtype and samples.array.strides == X.strides
        assert type(samples.array) is np.ndarray


def test_arrays_of_another_namespace_stay_what_they_are():
    """The check hands back the very object."""
    X = array_api_strict.ones((3, 2), dtype=array_api_strict.uint8)
    samples = validation.check_samples(X)
    assert samples.array is X and samples.dtype == FLOAT32


@pytest.mark.parametrize(
    "make",
    [
        lambda rows: rows,
        lambda rows: [np.array(row) for row in rows],
        lambda rows: pd.DataFrame(rows),
        lambda rows: pd.DataFrame(rows).astype("Int64"),
        lambda rows: pd.DataFrame(rows).astype(object),
        lambda rows: pd.DataFrame(rows).astype("category"),
        lambda rows: pl.DataFrame({"a": [r[0] for r in rows], "b": [r[1] for r in rows]}),
        lambda rows: pa.table({"a": [r[0] for r in rows], "b": [r[1] for r in rows]}),
        lambda rows: np.array(rows, dtype=object),
        lambda rows: [[Decimal(v) for v in row] for row in rows],
        lambda rows: [[Fraction(v) for v in row] for row in rows],
    ],
    ids="list arrays pandas Int64 object-frame category polars pyarrow object Decimal Fraction".split(),
)
def test_containers_of_numbers_are_read(make):
    """Lists, frames and objects that are numbers mean the same as the array of them."""
    rows = [[1, 2], [3, 4], [5, 2**53]]
    samples = validation.check_samples(make(rows))
    assert samples.dtype == FLOAT64
    np.testing.assert_array_equal(np.asarray(samples.array, np.float64), np.array(rows, np.float64))


def test_bool_among_floats_is_a_number():
    """pandas hands such a frame over as objects; they are numbers nevertheless."""
    X = pd.DataFrame({"a": [True, False], "b": [1.5, 2.5]})
    np.testing.assert_array_equal(validation.check_samples(X).array, [[1, 1.5], [0, 2.5]])


BIG = 2**53 + 1


@pytest.mark.parametrize(
    "X",
    [
        np.array([[BIG]], np.int64),
        np.array([[-BIG]], ">i8"),
        np.array([[2**64 - 1]], np.uint64),
        np.array([[BIG]], object),
        [[BIG, 0]],
        [[BIG, 0.5]],
        [[2**80, 0]],
        [[2**63, -1]],
        pd.DataFrame({"a": [BIG, 0]}),
        pd.DataFrame({"a": [BIG, 0], "b": [0.5, 1.5]}),
        pd.DataFrame({"a": pd.array([BIG, None], dtype="Int64"), "b": [0.5, 1.5]}),
        pl.DataFrame({"a": [BIG, 0], "b": [0.5, 1.5]}),
        pa.table({"a": [BIG, 0], "b": [0.5, 1.5]}),
        array_api_strict.asarray([[BIG]], dtype=array_api_strict.int64),
    ],
    ids=lambda X: type(X).__name__,
)
def test_integers_that_float64_skips_are_refused(X):
    """No silent down-cast: not in an array, nor where pandas or a list would have rounded them already."""
    with pytest.raises(ValueError, match=r"beyond 2\*\*53 .* Subtract an offset"):
        validation.check_samples(X)


def test_missing_values_of_frames_are_nan():
    """pandas' NA, polars' null and None come as NaN, for the message that says so."""
    for X in (
        pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [0.5, 1.5]}),
        pd.DataFrame({"a": [1.0, None], "b": [0.5, 1.5]}),
        pl.DataFrame({"a": [1, None], "b": [0.5, 1.5]}),
        pa.table({"a": [1, None], "b": [0.5, 1.5]}),
        [[1.0, 0.5], [None, 1.5]],
    ):
        np.testing.assert_array_equal(validation.check_samples(X).array, [[1, 0.5], [np.nan, 1.5]], err_msg=str(X))


def test_large_floats_are_no_integers():
    """Only integers are checked: a float64 beyond 2**53 is itself."""
    for X in ([[1e300, 0.0]], pd.DataFrame({"a": [1e300, 2.0], "b": [1, 2]}), np.array([[1e20]]), [[np.inf, np.nan]]):
        validation.check_samples(X)


# what is refused, and how


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones((2, 2), complex), "Complex data not supported"),
        (np.array([[1 + 2j]], object), "Complex data not supported"),
        (np.array([["a", "b"]]), "has dtype str;.*Encode strings"),
        (np.array([[b"a", b"b" * 99]]), "has dtype bytes;.*Encode strings"),
        ([["a", 1.5]], "Encode strings"),
        (pd.DataFrame({"a": ["x", "y"]}), r"could not convert string to float: 'x': X\[0, 0\] is 'x'"),
        (np.array([[{"foo": "bar"}]], object), r"argument must be .* string.* number.*X\[0, 0\]"),
        (np.ones((2, 2), "M8[s]"), "datetime64.*Convert dates to numbers"),
        (pd.DataFrame({"a": pd.to_datetime(["2020-01-01"])}), "Convert dates to numbers"),
        (np.ones((2, 2), [("a", "f4")]), "structured_to_unstructured"),
        (np.ones(3), "Expected 2D array, got 1D array instead.*shape \\(3,\\).*Reshape your data.*reshape\\(-1, 1\\)"),
        (np.float64(3), "Expected 2D array, got scalar array"),
        (pd.Series([1.0, 2.0]), "Expected 2D array, got 1D array"),
        (np.ones((2, 3, 4)), r"dim 3, while dim <= 2.*reshape\(2, -1\)"),
        (np.ones((0, 3)), re.escape("Found array with 0 sample(s) (shape=(0, 3)) while a minimum of 1 is required.")),
        (np.ones((3, 0)), re.escape("0 feature(s) (shape=(3, 0)) while a minimum of 1 is required.")),
        (np.ma.masked_array(np.ones((2, 2)), mask=np.eye(2)), "masked array.*filled.*compress_rows"),
        (scipy.sparse.csr_array(np.eye(3)), r"Sparse data was passed for X.*X\.toarray\(\)"),
        (pl.DataFrame({"a": [1.0]}).lazy(), r"polars LazyFrame.*X\.collect\(\)"),
        ([[1.0, 2.0], [3.0]], "rows of X differ in length"),
        ("data.npy", "X is a str, which holds no rows of numbers.*numpy.load"),
        (b"data", "X is a bytes"),
        ({"a": [1.0]}, "X is a dict"),
        (None, "X is a NoneType"),
    ],
)
def test_what_cannot_be_clustered_is_refused_with_a_way_out(X, message):
    """Each message names what was given and what to do."""
    with pytest.raises((ValueError, TypeError), match="(?s)" + message):
        validation.check_samples(X)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long double is float64 here")
def test_long_double_is_refused():
    """It would have to be rounded."""
    with pytest.raises(TypeError, match=r"longdouble|float128.*astype\('float64'\)"):
        validation.check_samples(np.ones((2, 2), np.longdouble))


def frame_of(module, **more):
    """A data frame of two rows of some library."""
    members = {"__module__": module, "columns": ["a"], "to_numpy": lambda self: np.full((2, 1), -1.0), **more}
    return type("Frame", (), members)()


def test_collections_of_other_packages_are_named():
    """Dask's collections are not read through NumPy behind the user's back."""
    with pytest.raises(TypeError, match=re.escape("compute()")):
        validation.check_samples(frame_of("dask.dataframe.core"))


def test_what_lies_on_a_gpu_stays_there(monkeypatch):
    """Numba's arrays by the CUDA array interface, cuDF's frames by their own way, neither through the host."""
    on_device = np.ones((2, 1), np.float32)  # as if: array and cupy are stand-ins
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(asarray=lambda X: X.lies_at, ndarray=type(None)))
    numba = type(
        "DeviceNDArray", (), {"__module__": "numba.cuda", "__cuda_array_interface__": {}, "lies_at": on_device}
    )
    numba.__array__ = None  # not to be asked
    assert validation.check_samples(numba()).array is on_device
    cudf = frame_of("cudf.core.dataframe", to_cupy=lambda self: on_device)
    assert validation.check_samples(cudf).array is on_device
    assert feature_names(cudf).tolist() == ["a"]
    monkeypatch.setitem(sys.modules, "cupy", None)  # not installed
    with pytest.raises(ImportError, match=r"X, a numba array on a GPU, needs CuPy.*gpukm\[cuda13\]"):
        validation.check_samples(numba())


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 7),
    data=st.data(),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
    dtype=st.sampled_from(["f2", "f4", "f8", ">f8"]),
)
def test_the_first_non_finite_value_is_named(rows, columns, data, value, dtype):
    """Row and column are those of the first one, in reading order."""
    place = data.draw(st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1)))
    X = np.zeros((rows, columns), dtype)
    X[place] = value
    X[-1, -1] = value
    what = "Input X contains NaN." if np.isnan(value) else f"Input X contains infinity ({value})."
    for array in (X, array_api_strict.asarray(X.astype("f8"))):
        with pytest.raises(ValueError, match=re.escape(what)) as error:
            validation.check_finite(validation.check_samples(array))
        assert f"row {place[0]}, column {place[1]}" in str(error.value)
        copy = pickle.loads(pickle.dumps(error.value))
        assert (copy.row, copy.column, str(copy)) == (*place, str(error.value))
    validation.check_finite(validation.check_samples(np.zeros((rows, columns), np.int8)))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, 2.0], r"sample_weight.shape == \(2,\), expected \(3,\)"),
        (np.ones((3, 1)), r"sample_weight.shape == \(3, 1\)"),
        ([1.0, -2.0, 1.0], "negative weight: -2.0 at position 1"),
        (-1.0, "negative weight: -1.0 at position 0"),
        ([1.0, 2.0, np.nan], "contains NaN: nan at position 2"),
        ([np.inf, 2.0, 1.0], "contains infinity: inf at position 0"),
        ([0.0, 0.0, 0.0], "each of the weights is zero"),
        ([1e308, 1e308, 1e308], "Divide the weights by a power of two"),
        ([1e-40, 1.0, 1.0], "set the least ones to 0"),
        ([1j, 1.0, 1.0], "Complex data not supported"),
        (["a", "b", "c"], "sample_weight has dtype str"),
        ("balanced", "sample_weight is a str, 'balanced': weights are numbers, one for each row"),
        ([2**60, 1, 1], r"sample_weight holds the integer 1152921504606846976, beyond 2\*\*53"),
        (pd.DataFrame({"w": [1.0, 1.0, 1.0]}), r"shape == \(3, 1\)"),
    ],
)
def test_unusable_weights_are_refused(weight, message):
    """Weights are one for each row, finite, not negative, not all zero."""
    with pytest.raises((ValueError, TypeError), match=message):
        validation.check_sample_weight(weight, 3)


def test_weights_come_as_float64_on_the_host():
    """Lists, frames' columns, integers, bools, other namespaces and numbers are taken; None stays None."""
    kinds = [
        [1, 0, 1],
        np.array([1, 0, 1], np.int8),
        np.array([True, False, True]),
        pd.Series([1.0, 0.0, 1.0]),
        pl.Series([1, 0, 1]),
        pa.array([1, 0, 1]),
        array_api_strict.asarray([1.0, 0.0, 1.0]),
        np.array([1, 0, 1], object),
    ]
    for weight in kinds:
        found = validation.check_sample_weight(weight, 3)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, [1, 0, 1])
    np.testing.assert_array_equal(validation.check_sample_weight(2, 3), [2, 2, 2])
    assert validation.check_sample_weight(None, 3) is None


def test_fewer_rows_than_clusters_is_refused():
    """Rows without weight are no rows."""
    with pytest.raises(ValueError, match=r"n_samples=3 should be >= n_clusters=5\. .* at most 3"):
        validation.check_enough_samples(3, 5, None)
    with pytest.raises(ValueError, match=r"n_samples=2 should be >= n_clusters=3\. Of 9 rows"):
        validation.check_enough_samples(9, 3, np.array([1.0, 2.0] + 7 * [0.0]))
    validation.check_enough_samples(3, 3, None)


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (np.ones((2, 4)), r"initial centers \(2, 4\) does not match the number of clusters 3.*n_clusters=2"),
        (np.ones((3, 5)), r"initial centers \(3, 5\) does not match the number of features of the data 4"),
        (np.ones(4), "Expected 2D array.*init"),
        (np.full((3, 4), np.nan), "Input init contains NaN"),
        (np.full((3, 4), 1e300), "beyond the range of float32"),
        (np.full((3, 4), 1j), "Complex data not supported: init"),
        ([["a"] * 4] * 3, "init has dtype str"),
    ],
)
def test_unusable_starting_centroids_are_refused(init, message):
    """Shape, kind and range are checked before anything runs."""
    with pytest.raises((ValueError, TypeError), match="(?s)" + message):
        validation.check_centroids(init, 3, 4, FLOAT32)


def test_starting_centroids_are_a_copy():
    """The user's array is never handed to the loop."""
    init = np.ones((3, 4), np.float32)
    found = validation.check_centroids(init, 3, 4, FLOAT32)
    assert found.dtype == FLOAT32 and found.flags.c_contiguous and not np.shares_memory(found, init)


# parameters


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("n_clusters", [0, -1, 2.0, "3", True, None, np.nan], [1, np.int64(3)]),
        ("init", ["kmeans++", None, 3, 2.5], [*validation.INITS, [[1]], np.ones((1, 1)), pd.DataFrame([[1]]), len]),
        ("n_init", [0, "all", 1.5, None, True], ["auto", 1, np.int32(4)]),
        ("max_iter", [-1, 1.5, None, "10"], [0, 300]),
        ("tol", [-1e-9, np.nan, np.inf, "0", None, True], [0, 0.0, 1e-4, np.float32(0.1)]),
        ("verbose", [-1, None, "yes"], [True, False, 0, 2, np.True_]),
        ("random_state", [-1, 1.5, "0", True, [1]], [None, 0, 2**40, np.random.default_rng(), np.random.RandomState()]),
        ("copy_x", [None, 1, "no"], [True, False]),
        ("algorithm", ["auto", "full", None, 1], ["lloyd", "elkan"]),
        ("device", ["gpu", "cuda:", "cuda:x", "cuda:-1", 0, None], ["auto", "cpu", "cuda", "cuda:1"]),
        ("max_memory", [0, -5, None, "64MB", np.inf], [1, 64 << 20, 1e9]),
        ("callback", [3, "print"], [None, print]),
        ("n_local_trials", [0, 1.5, "auto"], [None, 1, 9]),
    ],
)
def test_parameters_are_checked_by_name_and_value(name, bad, good):
    """A wrong value is a ValueError and a TypeError, as in scikit-learn; it says what is allowed and what was given."""
    for value in good:
        validation.check_parameters("KMeans", {name: value})
    for value in bad:
        message = rf"^The '{name}' parameter of KMeans must be .*\. Got .* instead\."
        with pytest.raises(ValueError, match=message) as error:
            validation.check_parameters("KMeans", {name: value})
        assert isinstance(error.value, TypeError)


def test_a_near_miss_is_pointed_out():
    """A misspelt choice is answered with the one meant."""
    with pytest.raises(ValueError, match="Did you mean 'k-means\\+\\+'?"):
        validation.check_parameters("KMeans", {"init": "kmeans++"})


def test_a_long_value_is_cut_short():
    """The message stays readable whatever was given."""
    with pytest.raises(ValueError) as error:
        validation.check_parameters("KMeans", {"tol": list(range(10000))})
    assert len(str(error.value)) < 300


def test_the_inits_allowed_are_those_that_exist():
    """The list of names is in step with the seeding."""
    assert set(validation.INITS) == set(seeding.INITS)


def test_random_states_make_generators():
    """A Generator is used itself; seeds repeat; a RandomState is drawn from, so that it advances as in scikit-learn."""
    rng = np.random.default_rng(0)
    assert validation.check_random_state(rng) is rng
    for kind in (int, np.random.SeedSequence, np.random.PCG64, np.random.RandomState):
        first, second = (validation.check_random_state(kind(7)).random() for _ in range(2))
        assert first == second
    state = np.random.RandomState(7)
    assert validation.check_random_state(state).random() != validation.check_random_state(state).random()
    assert validation.check_random_state(None).random() != validation.check_random_state(None).random()


# device and place


def test_the_cpu_takes_what_lies_on_the_host():
    """Any namespace."""
    validation.check_device("auto", np.ones((2, 2)))
    validation.check_device("cpu", np.ones((2, 2)))
    validation.check_device("cpu", array_api_strict.ones((2, 2)))


def test_an_array_elsewhere_is_not_fetched_for_the_cpu():
    """device='cpu' does not copy from a device behind the user's back."""
    there = array_api_strict.ones((2, 2), device=array_api_strict.Device("device1"))
    with pytest.raises(ValueError, match="device='cpu', but X lies on .*device1"):
        validation.check_device("cpu", there)


def test_namespaces_and_devices_are_not_mixed():
    """The message says where X is, where the model is, and how to bring them together."""
    here = array_api_strict.ones((2, 2))
    there = array_api_strict.ones((2, 2), device=array_api_strict.Device("device1"))
    message = r"KMeans.predict\(\) must use the same namespace.*X is of numpy.*array_api_strict.asarray"
    with pytest.raises(ValueError, match=message):
        _places.check_same_place(np.ones((2, 2)), here, "KMeans.predict")
    with pytest.raises(ValueError, match="X is of device .*device1.*fitted on device .*CPU_DEVICE.*Move X"):
        _places.check_same_place(there, here, "KMeans.predict")
    _places.check_same_place(here, here, "KMeans.predict")


# feature names


def test_feature_names_are_strings_or_none():
    """Frames name their features; integers are no names, and a mixture is refused, as in scikit-learn."""
    for make in (pd.DataFrame, pl.DataFrame, pa.table):
        names = feature_names(make({"a": [1], "b": [2]}))
        assert names.dtype == object and list(names) == ["a", "b"]
    for unnamed in (np.ones((2, 2)), [[1]], pd.DataFrame([[1, 2]]), array_api_strict.ones((2, 2)), "text", None):
        assert feature_names(unnamed) is None
    with pytest.raises(TypeError, match="only supported if all input features have string names"):
        feature_names(pd.DataFrame([[1, 2]], columns=["a", 0]))


def test_arguments_lie_beside_X():
    """Weights and starts on another device of the same library are refused by every fit; NumPy's are copied there."""
    there = array_api_strict.Device("device1")
    X = np.arange(12.0).reshape(6, 2)
    here, other = array_api_strict.asarray(X), array_api_strict.asarray(X, device=there)
    weight, far_weight = array_api_strict.ones(6), array_api_strict.ones(6, device=there)
    for estimator in (KMeans, MiniBatchKMeans, BisectingKMeans, SphericalKMeans):
        model = estimator(2, random_state=0).fit(here, sample_weight=weight)
        calls = [model.fit, model.score] + ([model.partial_fit] if estimator is MiniBatchKMeans else [])
        for call in calls:
            with pytest.raises(ValueError, match="sample_weight lies on device .*device1.*Move sample_weight"):
                call(here, sample_weight=far_weight)
        estimator(2, random_state=0).fit(other, sample_weight=np.ones(6))
    with pytest.raises(ValueError, match="sample_weight lies on device"):
        kmeans_plusplus(other, 2, sample_weight=weight)
    for estimator in (KMeans, MiniBatchKMeans, SphericalKMeans, TrimmedKMeans):
        with pytest.raises(ValueError, match="init lies on device .*CPU_DEVICE.*, X on device .*device1"):
            estimator(2, init=here[:2, :]).fit(other)
        estimator(2, init=X[:2]).fit(other)
    with pytest.raises(ValueError, match=r"init\(\.\.\.\) lies on device"):
        KMeans(2, init=lambda X, n_clusters, random_state: here[:2, :]).fit(other)


def test_advice_is_in_the_words_of_the_library():
    """What is told can be done: the methods named exist, and give what is taken."""
    torch = pytest.importorskip("torch")
    X = torch.ones((3, 2), dtype=torch.bfloat16)
    with pytest.raises(TypeError, match=r"bfloat16.*: X\.double\(\)\."):
        validation.check_samples(X)
    validation.check_samples(X.double())
    for large in (torch.full((2, 2), 2**60), array_api_strict.full((2, 2), 2**60)):
        with pytest.raises(ValueError, match="beyond") as error:
            validation.check_samples(large)
        way = re.search("or pass (.*)\\.$", str(error.value)).group(1)
        validation.check_samples(eval(way, {"X": large, "array_api_strict": array_api_strict}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, that this is beta
        kinds = torch.eye(3).to_sparse(), torch.eye(3).to_sparse_csr(), torch.eye(3).to_sparse_csc()
    for stored in kinds:
        with pytest.raises(TypeError, match=r"Sparse data was passed for X.*X\.to_dense\(\)"):
            validation.check_samples(stored)
        validation.check_samples(stored.to_dense())
