"""Columns by name or by position, as people write them."""

import csv
from collections.abc import Sequence

from gpukm._files import PathLike


def split_columns(columns: str | Sequence[str | int] | None) -> list[str | int] | None:
    """The columns asked for, as a list; in a string commas separate them (a name with a comma in double quotes)."""
    if columns is None:
        return None
    wanted = [name.strip() for name in next(csv.reader([columns]), [])] if isinstance(columns, str) else list(columns)
    if not wanted or "" in wanted:
        raise ValueError(f"columns is {columns!r}; give names or positions from 1, such as 'height,weight' or '1,3-5'")
    return wanted  # type: ignore[return-value]


def find_columns(path: PathLike, wanted: list[str | int], names: list[str] | None, count: int) -> list[int]:
    """Positions, from 0, of the columns asked for by name or by position from 1. A name goes before a position."""
    chosen: list[int] = []
    for column in wanted:
        if names is not None and column in names:
            if names.count(str(column)) > 1:
                same = names.count(str(column))
                raise ValueError(f"{path}: {same} columns are called {column!r}; choose by position, from 1 to {count}")
            chosen.append(names.index(str(column)))
            continue
        first, dash, last = str(column).partition("-")
        last = last if dash else first
        if not (first.isdecimal() and last.isdecimal()):
            known = f"are {shortened(names)}" if names else f"have no names; give positions from 1 to {count}"
            raise ValueError(f"{path}: no column {column!r}; its columns {known}")
        if not 1 <= int(first) <= int(last) <= count:
            raise ValueError(f"{path}: no column {column!r}; positions are counted from 1 to {count}")
        chosen.extend(range(int(first) - 1, int(last)))
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{path}: a column is chosen twice in {','.join(map(str, wanted))}")
    return chosen


def shortened(names: Sequence[str], limit: int = 20) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
