"""What the command gpukm says of files it cannot use: in terms of the file and of its own options."""

from pathlib import Path

import numpy as np
import pytest

from gpukm.cli import main


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Each test runs in an empty folder of its own."""
    monkeypatch.chdir(tmp_path)


def fails(capsys, *argv, code=1):
    """Run a command that must fail with one line on stderr and nothing on stdout; return that line."""
    assert main(list(argv)) == code
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1, err
    return err


@pytest.mark.parametrize("memory", ["64M", "100"])
def test_missing_values_in_arrays_are_named_by_file_and_row(capsys, memory):
    """As in text files: which file, which row and column, and --drop-missing, which then works; read in chunks, too."""
    X = np.random.default_rng(0).normal(size=(40, 3))
    np.save("whole.npy", X)
    X[[7, 9], 1] = np.nan
    np.save("x.npy", X)
    np.savez("x.npz", a=X, b=X)
    options = ["--max-memory", memory]
    assert main(["fit", "whole.npy", "-k", "2", "-o", "m.npz", "--quiet"]) == 0
    capsys.readouterr()
    for argv in (
        ["fit", "x.npy", "-k", "2"],
        ["predict", "m.npz", "x.npy"],
        ["predict", "m.npz", "x.npy", "-o", "l.npy"],
    ):
        err = fails(capsys, *argv, *options)
        assert "x.npy: row 8, column 2: missing value (nan); --drop-missing leaves such rows out" in err
        assert "numpy" not in err and not Path("l.npy").exists()
        assert main([*argv, *options, "--drop-missing"]) == 0
        assert "left out 2 of 40 rows" in capsys.readouterr().err
        Path("l.npy").unlink(missing_ok=True)
    err = fails(capsys, "fit", "x.npz", "--array", "b", "--columns", "3,2", "-k", "2", *options)
    assert "x.npz: row 8, column 2 of --columns: missing value" in err


def test_infinite_values_are_no_missing_ones(capsys):
    """They are not left out silently; the row is that of the file, or it is said of which rows it is one."""
    X = np.arange(60.0).reshape(20, 3)
    X[3, 0], X[5, 2] = np.nan, np.inf
    np.save("x.npy", X)
    err = fails(capsys, "fit", "x.npy", "-k", "2", "--drop-missing", "--quiet")
    assert "x.npy: row 6, column 3: inf is not finite; remove the row or choose other columns (--columns)" in err
    err = fails(capsys, "fit", "x.npy", "-k", "2", "--drop-missing", "--quiet", "--max-memory", "50")
    assert "x.npy: row 5 of those without missing values, column 3: inf is not finite" in err


def test_columns_are_named_where_the_file_names_them(capsys):
    """Infinity in a Parquet file."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"a": [1.0, 2.0, 3.0], "b": [1.0, -np.inf, 3.0]}), "x.parquet")
    assert "x.parquet: row 2, column 'b': -inf is not finite" in fails(capsys, "fit", "x.parquet", "-k", "2")


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("a;b\n1,5;2\n2,5;3\n", ";"),
        ("a;b;c\n1;2,5;3,5\n", ";"),
        ("a\tb\n1,5\t2\n", "\t"),
        ("1;2\n3;4\n", ";"),
    ],
)
def test_another_delimiter_is_guessed(capsys, text, mark):
    """Semicolons, as spreadsheets write them where the comma is for decimals."""
    Path("x.csv").write_text(text)
    hint = f"the fields seem to be separated by {mark!r}: give delimiter= (--delimiter)"
    assert hint in fails(capsys, "fit", "x.csv", "-k", "1")


def test_lines_that_are_short_are_not_taken_for_another_delimiter(capsys):
    """Nor commas for one, where the fields are separated by semicolons."""
    Path("x.csv").write_text("1,2\n3\n")
    assert fails(capsys, "fit", "x.csv", "-k", "1").endswith("line 2 has 1 field(s) where line 1 has 2\n")
    Path("x.csv").write_text("1,5;2,5\n3,5\n")
    assert "seem" not in fails(capsys, "fit", "x.csv", "-k", "1", "--delimiter", ";")


def test_all_formats_are_listed(capsys):
    """Those read in blocks among them, and what to do with a spreadsheet."""
    Path("x.xlsx").write_text("PK")
    err = fails(capsys, "fit", "x.xlsx", "-k", "2")
    for suffix in (".npy", ".npz", ".csv", ".tsv", ".parquet", ".arrow", ".h5", ".zarr"):
        assert f"{suffix}," in err or f"{suffix}." in err
    assert "Save the sheet as .csv" in err
    Path("folder").mkdir()
    assert ".zarr" in fails(capsys, "fit", "folder", "-k", "2")


def test_the_old_name_of_colors_is_known(capsys):
    """`gpukm quantize` says what to call instead."""
    assert main(["quantize", "x.png", "-k", "8"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "quantize is called colors now, see gpukm colors --help" in err


@pytest.mark.parametrize("name", ["e\x1b[31mvil.npy", "b\rack.npy"])
def test_names_cannot_move_the_cursor(tmp_path, capsys, name):
    """What does not print is escaped, in every command's messages."""
    path = tmp_path / name
    assert main(["fit", str(path), "-k", "2"]) == 1
    np.save(path, np.full((3, 2), np.nan))
    assert main(["fit", str(path), "-k", "2"]) == 1
    err = capsys.readouterr().err
    assert err.count(name.encode("unicode_escape").decode()) == 2
    assert all(one.isprintable() or one == "\n" for one in err)
