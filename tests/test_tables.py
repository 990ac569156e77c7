"""gpukm/tables.py: what a data file holds comes back to the bit, or the error says where it does not."""

import gzip
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from gpukm.tables import read_table

EXAMPLES = Path(__file__).parents[1] / "examples"
X = np.arange(12.0).reshape(4, 3)


def write(folder: Path, text: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def npy_with_header(header: str, data: bytes = b"") -> bytes:
    """A .npy file whose header says whatever a test wants."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


# -- .npy and .npz ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f8", "uint8", "int64", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_comes_back_as_a_read_only_map_in_its_own_dtype(tmp_path, dtype, order):
    """An array is not copied, converted or reordered: the file itself is mapped."""
    values = np.array(X % 2 if dtype == "bool" else X, dtype=dtype, order=order)
    np.save(tmp_path / "x.npy", values)
    table = read_table(tmp_path / "x.npy")
    assert isinstance(table.values, np.memmap) and not table.values.flags.writeable
    assert table.values.dtype == values.dtype and table.names is None and table.kept is None
    assert_array_equal(table.values, values)


def test_neighbouring_columns_of_a_map_stay_a_map(tmp_path):
    """A range of columns is a view of the file; other choices are copied in the order asked for."""
    np.save(tmp_path / "x.npy", X)
    near = read_table(tmp_path / "x.npy", columns="2-3").values
    assert isinstance(near.base, np.memmap | type(near.base)) and np.shares_memory(near, near.base)
    assert_array_equal(near, X[:, 1:])
    assert_array_equal(read_table(tmp_path / "x.npy", columns=[3, 1]).values, X[:, [2, 0]])


def test_missing_rows_of_an_array_are_dropped_only_when_asked(tmp_path):
    """NaN stay for the estimator to refuse, unless drop_missing leaves their rows out and says which."""
    values = X.copy()
    values[1, 2] = np.nan
    np.save(tmp_path / "x.npy", values)
    assert_array_equal(read_table(tmp_path / "x.npy").values, values)
    table = read_table(tmp_path / "x.npy", drop_missing=True)
    assert_array_equal(table.values, X[[0, 2, 3]])
    assert_array_equal(table.kept, [True, False, True, True])
    assert read_table(tmp_path / "x.npy", columns="1-2", drop_missing=True).kept is None
    with pytest.raises(ValueError, match=r"x\.npy: every row has a missing value"):
        np.save(tmp_path / "x.npy", np.full((2, 2), np.nan))
        read_table(tmp_path / "x.npy", drop_missing=True)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(3), r"shape \(3,\) has 1 dimension\(s\).*reshape\(-1, 1\)"),
        (np.zeros((2, 2, 2)), r"shape \(2, 2, 2\) has 3 dimension"),
        (np.zeros((2, 2), dtype=complex), "complex128 is not one of numbers"),
        (np.array([["a", "b"]]), "<U1 is not one of numbers"),
        (np.zeros((0, 3)), r"holds no numbers \(shape \(0, 3\)\)"),
        (np.zeros(2, dtype=[("a", float)]), "is not one of numbers"),
    ],
)
def test_arrays_that_are_no_samples_are_refused(tmp_path, array, message):
    """Each error names the file and what it holds."""
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=message) as error:
        read_table(tmp_path / "x.npy")
    assert str(error.value).startswith(str(tmp_path / "x.npy"))


def test_pickled_objects_are_never_loaded(tmp_path):
    """dtype object is refused from its header, before anything is unpickled."""
    np.save(tmp_path / "x.npy", np.array([[object()]]), allow_pickle=True)
    with pytest.raises(ValueError, match="holds Python objects"):
        read_table(tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(ValueError, match="holds Python objects"):
        read_table(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello, this is text", "not a .npy file"),
        (b"\x93NUMPY", "not a .npy file"),
        (
            npy_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000, 1000)}"),
            "promises 80000000000000 bytes",
        ),
        (
            npy_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (4, 3)}", b"\0" * 95),
            "promises 96 bytes .* 95 are there",
        ),
        (
            npy_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-4, -3)}", b"\0" * 96),
            r"impossible shape \(-4, -3\)",
        ),
        (npy_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (2,"), "not a .npy file, or a damaged one"),
        (npy_with_header("{'descr': '<f8'}"), "not a .npy file, or a damaged one"),
        (b"\x93NUMPY\x03\x00\x00\x00\x00\x00", "format version 3.0"),
    ],
)
def test_a_lying_or_damaged_header_is_refused_before_anything_is_allocated(tmp_path, content, message):
    """The promised bytes are compared with those of the file."""
    path = write(tmp_path, content, "x.npy")
    with pytest.raises(ValueError, match=message) as error:
        read_table(path)
    assert str(error.value).startswith(str(path))


def test_an_array_of_an_npz_is_chosen_by_name(tmp_path):
    """One array needs no name; of several the error lists them."""
    path = tmp_path / "x.npz"
    np.savez(path, X)
    assert_array_equal(read_table(path).values, X)
    np.savez_compressed(path, train=X, test=X + 1)
    assert_array_equal(read_table(path, array="test").values, X + 1)
    with pytest.raises(ValueError, match=r"holds several arrays: train, test; choose one with array= \(--array NAME\)"):
        read_table(path)
    with pytest.raises(ValueError, match="has no array 'valid'; it holds train, test"):
        read_table(path, array="valid")


def test_damaged_archives_are_refused(tmp_path):
    """Cut short, overwritten in the middle, empty, not an archive: each a ValueError that names the file."""
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=np.arange(3000.0).reshape(-1, 3))
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[200:260] = bytes(60)
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    for content, message in (
        (whole[: len(whole) // 2], "not an .npz file, or cut short"),
        (bytes(broken), "damaged"),
        (whole[:1000] + bytes(40) + whole[1040:], "damaged"),
        (b"PK\x05\x06" + bytes(18), "holds no arrays"),
        (b"some text", "not an .npz file"),
        (other.getvalue(), "holds no arrays"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as error:
            read_table(path)
        assert str(error.value).startswith(str(path))


def test_archives_that_lie_about_sizes_are_refused(tmp_path):
    """An entry cannot claim more than its compressed bytes can hold, nor its .npy header more than the entry."""
    path = tmp_path / "x.npz"
    header = npy_with_header("{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000, 1000)}")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", header)
    with pytest.raises(ValueError, match=r"x\.npz, array 'a': its header promises"):
        read_table(path)
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\x01\x02")
    content[central + 24 : central + 28] = (2**31).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="claims 2147483648 bytes, more than the file can hold"):
        read_table(path)


def test_odd_archives_are_refused(tmp_path):
    """Two entries of one name, a password, data behind an array, a model instead of data."""
    path = tmp_path / "x.npz"
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"1")
        archive.writestr("a.npy", b"2")
    with pytest.raises(ValueError, match="two of its entries have the same name"):
        read_table(path)
    array = io.BytesIO()
    np.save(array, X)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", array.getvalue() + b"more")
    with pytest.raises(ValueError, match="there is data behind the array"):
        read_table(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="'a.npy' is encrypted"):
        read_table(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", "{}")
    with pytest.raises(ValueError, match="is a model saved by gpukm, not data"):
        read_table(path)


# -- text ------------------------------------------------------------------------------------------------


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(1, 8), st.integers(1, 5)),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_text_comes_back_to_the_bit(tmp_path_factory, values):
    """What Python's repr or NumPy's savetxt writes in full is read as the same float64."""
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    path.write_text("".join(",".join(map(repr, row)) + "\n" for row in values.tolist()))
    table = read_table(path)
    assert table.names is None and table.values.dtype == np.float64
    assert_array_equal(table.values.view(np.int64), values.view(np.int64))


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("1,2\n3,4\n", None, 2),
        ("a,b\n1,2\n3,4\n", ["a", "b"], 2),
        (" a , b \r\n1, 2\r\n\r\n3,4", ["a", "b"], 2),
        (",b\n0,2\n1,4\n", ["column 1", "b"], 2),
        ("id,2019\n1,2\n3,4\n", ["id", "2019"], 2),
        ('"a,1","b""2"\n1,2\n', ["a,1", 'b"2'], 1),
        ("\ufeffa,b\n1,2\n", ["a", "b"], 1),
        ("größe,重量\n1,2\n", ["größe", "重量"], 1),
        ("1e-5,-.5\n+3,4E2\n", None, 2),
        ("a,b\nNA,2\n3,4\n", ["a", "b"], 1),
    ],
)
def test_a_header_is_seen_where_there_is_one(tmp_path, text, names, rows):
    """Text above numbers, or nothing but text, is a header; numbers are not. Blank lines and spaces do not matter."""
    table = read_table(write(tmp_path, text), drop_missing=True)
    assert table.names == names and table.values.shape == (rows, 2)


def test_the_header_can_be_said(tmp_path):
    """header= goes before the guess."""
    assert read_table(write(tmp_path, "1,2\n3,4\n"), header=True).names == ["1", "2"]
    with pytest.raises(ValueError, match="line 1, column 1: 'a' is not a number"):
        read_table(write(tmp_path, "a,b\n1,2\n"), header=False)


def test_tsv_and_other_delimiters(tmp_path):
    """A .tsv file has tabs; any one character can be given."""
    assert_array_equal(read_table(write(tmp_path, "1\t2\n3\t4\n", "x.tsv")).values, [[1, 2], [3, 4]])
    assert_array_equal(read_table(write(tmp_path, "1;2\n3;4\n"), delimiter=";").values, [[1, 2], [3, 4]])
    with pytest.raises(ValueError, match=r"separated by ';': give delimiter= \(--delimiter\)"):
        read_table(write(tmp_path, "1;2\n3;4\n"), header=False)
    for delimiter in ("", ";;", "\n", '"'):
        with pytest.raises(ValueError, match="it must be one character"):
            read_table(write(tmp_path, "1,2\n3\n"), delimiter=delimiter)


@pytest.mark.parametrize("missing", ["", "NA", "nan", "NaN", "null", "None", " n/a ", "?"])
def test_missing_values_are_errors_that_name_their_line_or_rows_left_out(tmp_path, missing):
    """Never a silent NaN: the line and column are named, and --drop-missing is the way out."""
    path = write(tmp_path, f"a,b\n1,2\n3,{missing}\n5,6\n")
    with pytest.raises(ValueError, match=r"line 3, column 'b': missing value .*drop_missing=True \(--drop-missing\)"):
        read_table(path)
    table = read_table(path, drop_missing=True)
    assert_array_equal(table.values, [[1, 2], [5, 6]])
    assert_array_equal(table.kept, [True, False, True])
    assert read_table(path, columns="a").kept is None


def test_only_the_first_bad_cell_is_named(tmp_path):
    """The message has the line as an editor counts it, the column, the text, and the columns that are numeric."""
    path = write(tmp_path, 'name,height,width\n"two\nlines",1,2\nx,3,four\ny,five,6\n')
    with pytest.raises(
        ValueError, match=r"line 3, column 'name': 'two\\nlines' is not a number; .*\(--columns\): height,width"
    ):
        read_table(path)
    with pytest.raises(ValueError, match=r"line 4, column 'width': 'four' is not a number; .*: height$"):
        read_table(path, columns="height,width")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2\n3,1_000\n", "line 2, column 2: '1_000' is not a number"),
        ("1,2\n3,inf\n", "line 2, column 2: 'inf' is not finite"),
        ("1,2\n3,1e999\n", "'1e999' is not finite"),
        ("1,2\n3,0x10\n", "'0x10' is not a number"),
        (f"1,2\n3,{'z' * 100}\n", "'z{40}…' is not a number"),
        ("1,2\n3,4,5\n", r"line 2 has 3 field\(s\) where line 1 has 2"),
        ("1,2\n3\n", r"line 2 has 1 field\(s\) where line 1 has 2"),
        ("a,b\n", "has a header and no rows"),
        ("\n\n\n", "holds only blank lines"),
        ("a,b\nNA,1\n", "every row has a missing value"),
        ('1,2\n3,"4\n', "line 2: unexpected end of data"),
        ('1,2\n3,"4"5\n', "line 2: "),
        (b"1,2\n3,\xff\n", "not UTF-8 text .byte 0xff."),
        (b"\xff\xfe1\x00,\x002\x00", "not UTF-8 text"),
        ("a\tb\n1\t2\n", r"separated by '\\t'"),
        ("x,y\na,b\n", r"line 2, column 'x': 'a' is not a number; no field of this line is"),
    ],
)
def test_bad_text_is_refused_with_its_line(tmp_path, text, message):
    """Each error starts with the file's name."""
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as error:
        read_table(path, drop_missing=True)
    assert str(error.value).startswith(str(path))


def test_huge_finite_cells_are_fine(tmp_path):
    """A line whose sum overflows still has finite numbers."""
    assert_array_equal(read_table(write(tmp_path, "1e308,1e308\n")).values, [[1e308, 1e308]])


def test_columns_are_chosen_by_name_position_or_range(tmp_path):
    """In the order asked for; a name goes before a position."""
    path = write(tmp_path, 'a,b,3,"x,y"\n1,2,30,4\n5,6,70,8\n')
    for columns, first in (
        ("b,a", [2, 1]),
        ("1,4", [1, 4]),
        (["x,y", 1], [4, 1]),
        ('"x,y", b', [4, 2]),
        ("2-4", [2, 30, 4]),
        ("3", [30]),
        ([2], [2]),
    ):
        assert_array_equal(read_table(path, columns=columns).values[0], first)
    assert read_table(path, columns="2,1").names == ["b", "a"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("c", "no column 'c'; its columns are a, b"),
        ("0", "no column '0'; positions are counted from 1 to 2"),
        ("3", "no column '3'; positions"),
        ("2-1", "no column '2-1'; positions"),
        ("a,1", "a column is chosen twice in a,1"),
        ("", "columns is ''; give names or positions"),
        ("a,,b", "columns is 'a,,b'; give names or positions"),
        ([], r"columns is \[\]; give names or positions"),
    ],
)
def test_columns_that_are_not_there_are_refused(tmp_path, columns, message):
    """The error lists what there is."""
    with pytest.raises(ValueError, match=message):
        read_table(write(tmp_path, "a,b\n1,2\n"), columns=columns)


def test_ambiguous_or_nameless_columns_are_refused(tmp_path):
    """Two columns of one name, or none at all, need positions."""
    with pytest.raises(ValueError, match="2 columns are called 'a'; choose by position"):
        read_table(write(tmp_path, "a,a\n1,2\n"), columns="a")
    with pytest.raises(ValueError, match="no column 'a'; its columns have no names; give positions from 1 to 2"):
        read_table(write(tmp_path, "1,2\n"), columns="a")


def test_the_penguins_are_read_as_published(tmp_path):
    """344 rows, of which two have no measurements: as examples/README.md says."""
    table = read_table(EXAMPLES / "penguins.csv", columns="3-6", drop_missing=True)
    assert table.names == ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
    assert table.values.shape == (342, 4) and len(table.kept) == 344
    assert_array_equal(table.values[0], [39.1, 18.7, 181, 3750])
    with pytest.raises(ValueError, match="line 2, column 'species': 'Adelie'"):
        read_table(EXAMPLES / "penguins.csv")
    lines = (EXAMPLES / "penguins.csv").read_text().splitlines()[1:]
    assert len(lines) == 344 and sum("NA" in line.split(",") for line in lines) == 11


# -- Parquet ---------------------------------------------------------------------------------------------


def parquet(folder: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), folder / "x.parquet")
    return folder / "x.parquet"


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64"])
def test_parquet_columns_of_one_dtype_keep_it(tmp_path, dtype):
    """Nothing is widened without need."""
    values = X.astype(dtype)
    table = read_table(parquet(tmp_path, a=values[:, 0], b=values[:, 1], c=values[:, 2]))
    assert table.values.dtype == dtype and table.names == ["a", "b", "c"]
    assert_array_equal(table.values, values)


def test_parquet_columns_of_several_dtypes_become_float64(tmp_path):
    """Integers, floats and booleans stand side by side exactly; columns are chosen by name or position."""
    path = parquet(tmp_path, a=np.array([1, 2**53], dtype=np.int64), b=np.array([0.1, 2], np.float32), c=[True, False])
    assert_array_equal(read_table(path).values, [[1, np.float32(0.1), 1], [2**53, 2, 0]])
    assert read_table(path, columns="c,1").names == ["c", "a"]
    path = parquet(tmp_path, a=np.array([1, 2**53 + 1], dtype=np.int64), b=[0.5, 1])
    with pytest.raises(ValueError, match="column 'a' cannot be read as double"):
        read_table(path)


def test_parquet_missing_values_are_errors_or_rows_left_out(tmp_path):
    """Nulls and NaN alike."""
    path = parquet(tmp_path, a=[1, None, 3, 4], b=[1.0, 2, float("nan"), 4])
    with pytest.raises(ValueError, match="row 2, column 'a': missing value"):
        read_table(path)
    table = read_table(path, drop_missing=True)
    assert_array_equal(table.values, [[1, 1], [4, 4]])
    assert_array_equal(table.kept, [True, False, False, True])


def test_parquet_that_is_no_table_of_numbers_is_refused(tmp_path):
    """Text columns name the numeric ones; damaged files are named."""
    path = parquet(tmp_path, name=["x"], height=[1.0])
    with pytest.raises(ValueError, match=r"column 'name' holds string, not numbers; .*: height"):
        read_table(path)
    assert_array_equal(read_table(path, columns="height").values, [[1]])
    with pytest.raises(ValueError, match="no column 'width'; its columns are name, height"):
        read_table(path, columns="width")
    content = path.read_bytes()
    for damaged in (content[:-4], content[: len(content) // 2], b"PAR1"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a Parquet file, or a damaged one") as error:
            read_table(path)
        assert str(error.value).startswith(str(path))
    with pytest.raises(ValueError, match="has no rows"):
        read_table(parquet(tmp_path, a=pa.array([], pa.float64())))


def test_without_pyarrow_the_error_names_the_command(tmp_path, monkeypatch):
    """The extra is named as pip takes it."""
    path = parquet(tmp_path, a=[1.0])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"needs pyarrow, which is not installed: pip install 'gpukm\[parquet\]'"):
        read_table(path)


# -- any file --------------------------------------------------------------------------------------------


def test_files_that_are_no_data_are_named(tmp_path):
    """Absent, a folder, empty, compressed, of an unknown kind."""
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_table(tmp_path)
    for suffix in ("npy", "npz", "csv", "tsv", "parquet"):
        with pytest.raises(ValueError, match=r"is empty \(0 bytes\)"):
            read_table(write(tmp_path, "", f"empty.{suffix}"))
    for name in ("x.csv.gz", "x.csv"):
        with pytest.raises(ValueError, match="is compressed with gzip; decompress it first"):
            read_table(write(tmp_path, gzip.compress(b"1,2\n"), name))
    with pytest.raises(ValueError, match=r"unknown kind of file '.xlsx'; gpukm reads .npy, .npz, .csv, .tsv, .parquet"):
        read_table(write(tmp_path, "1,2", "x.xlsx"))


def test_parameters_without_meaning_are_refused(tmp_path):
    """Nothing is accepted and ignored."""
    csv, npy = write(tmp_path, "1,2\n"), tmp_path / "x.npy"
    np.save(npy, X)
    for path, options in (
        (csv, {"array": "a"}),
        (npy, {"array": "a"}),
        (npy, {"delimiter": ";"}),
        (npy, {"header": False}),
    ):
        with pytest.raises(ValueError, match=f"{next(iter(options))} has no meaning for a {path.suffix} file"):
            read_table(path, **options)
