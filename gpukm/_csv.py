"""Text tables: every cell a number, or the line, the column and the text of the first that is not."""

import csv
import math
from array import array
from typing import Any

import numpy as np

from gpukm._columns import find_columns
from gpukm._files import PathLike

# What R, pandas, spreadsheets and databases write for a value that is not there; compared in lower case.
MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "?"})


def read_csv(
    path: PathLike, columns: list[str | int] | None, delimiter: str, header: bool | None, drop_missing: bool
) -> tuple[np.ndarray, list[str] | None, np.ndarray | None]:
    """values (float64), names and kept of `gpukm.tables.Table`; see `gpukm.tables.read_table` for the parameters."""
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"delimiter is {delimiter!r}; it must be one character, and no quote or line end")
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            return _Reader(path, reader, columns, header, drop_missing).read()
        except csv.Error as error:
            raise ValueError(f"{path}: line {reader.line_num}: {error}") from None
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise ValueError(f"{path}: not UTF-8 text (byte {byte:#04x}); save it as UTF-8") from None


class _Reader:
    def __init__(
        self, path: PathLike, reader: Any, columns: list[str | int] | None, header: bool | None, drop_missing: bool
    ):
        self.path = path
        self.lines = ((int(reader.line_num), row) for row in reader if row)  # blank lines are skipped
        self.columns = columns
        self.header = header
        self.drop_missing = drop_missing
        self.names: list[str] | None = None
        self.chosen: list[int] = []

    def read(self) -> tuple[np.ndarray, list[str] | None, np.ndarray | None]:
        first = next(self.lines, None)
        if first is None:
            raise ValueError(f"{self.path}: holds only blank lines")
        second = next(self.lines, None)
        width = len(first[1])
        ahead = [line for line in (first, second) if line is not None]
        if _is_header(first[1], second[1] if second else None) if self.header is None else self.header:
            self.names = [name.strip() or f"column {position}" for position, name in enumerate(first[1], start=1)]
            del ahead[0]
            if not ahead:
                raise ValueError(f"{self.path}: has a header and no rows")
        self.chosen = list(range(width))
        if self.columns is not None:
            self.chosen = find_columns(self.path, self.columns, self.names, width)

        numbers, kept = array("d"), bytearray()
        for lines in (ahead, self.lines):
            for line, row in lines:
                if len(row) != width:
                    raise ValueError(
                        f"{self.path}: line {line} has {len(row)} field(s) where line {first[0]} has {width}"
                        + _other_delimiter(first[1], row)
                    )
                cells = row if self.columns is None else [row[position] for position in self.chosen]
                try:
                    values = [float(cell) for cell in cells]
                    fine = math.isfinite(sum(values)) and "_" not in "".join(cells)  # float() would read 1_000
                except ValueError:
                    fine = False
                kept.append(fine or self._check(line, row))
                if kept[-1]:
                    numbers.extend(values)
        if not numbers:
            raise ValueError(f"{self.path}: every row has a missing value in one of its columns; choose others")
        names = None if self.names is None else [self.names[position] for position in self.chosen]
        mask = None if all(kept) else np.frombuffer(kept, dtype=bool)
        return np.frombuffer(numbers).reshape(-1, len(self.chosen)), names, mask

    def _check(self, line: int, row: list[str]) -> bool:
        """Look at a line cell by cell: whether to keep it; raises ValueError for what is not a finite number."""
        missing = None
        for position in self.chosen:
            cell = row[position].strip()
            if cell.lower() in MISSING:
                missing = position if missing is None else missing
            elif not _is_number(cell):
                where, advice = self._where(line, position), self._advice(row, cell)
                raise ValueError(f"{where}: {_quoted(cell)} is not a number; {advice}")
            elif not math.isfinite(float(cell)):
                where = self._where(line, position)
                raise ValueError(f"{where}: {_quoted(cell)} is not finite; remove the line or choose other columns")
        if missing is not None and not self.drop_missing:
            raise ValueError(
                f"{self._where(line, missing)}: missing value ({_quoted(row[missing])}); "
                "drop_missing=True (--drop-missing) leaves such rows out"
            )
        return missing is None  # finite cells whose sum overflows are fine

    def _where(self, line: int, position: int) -> str:
        name = f"{position + 1}" if self.names is None else f"{self.names[position]!r}"
        return f"{self.path}: line {line}, column {name}"

    def _advice(self, row: list[str], cell: str) -> str:
        """The way out: the columns that have a number in this line, or another delimiter."""
        if len(row) == 1 and (other := _other_delimiter(row)):
            return other.removeprefix("; ")
        usable = [position for position, text in enumerate(row) if _is_number(text.strip())]
        if not usable:
            return "no field of this line is"
        shown = [str(position + 1) if self.names is None else self.names[position] for position in usable[:12]]
        more = ",..." if len(usable) > 12 else ""
        return f"choose numeric columns with columns= (--columns): {','.join(shown)}{more}"


def _other_delimiter(*lines: list[str]) -> str:
    """What to say where all these lines have a character that may stand between their fields, or ""."""
    marks = ";\t|" + "," * (len(lines[0]) == 1)  # commas in several fields are rather those of decimal numbers
    for mark in marks:
        if all(any(mark in cell for cell in line) for line in lines):
            return f"; the fields seem to be separated by {mark!r}: give delimiter= (--delimiter)"
    return ""


def _is_number(cell: str) -> bool:
    try:
        return "_" not in cell and not math.isnan(float(cell))
    except ValueError:
        return False


def _is_header(first: list[str], second: list[str] | None) -> bool:
    """Whether the first line has names: nothing but text, or text above a number or a missing value."""
    text = [not _is_number(cell.strip()) and cell.strip().lower() not in MISSING for cell in first]
    if all(text):
        return True
    below = [not _is_number(cell.strip()) and cell.strip().lower() not in MISSING for cell in second or []]
    return any(a and not b for a, b in zip(text, below))


def _quoted(cell: str) -> str:
    return repr(cell if len(cell) <= 40 else cell[:40] + "…")
