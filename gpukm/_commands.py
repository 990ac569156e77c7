"""What the subcommands of ``gpukm`` do with their parsed options; see gpukm/cli.py."""

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm import compiling
from gpukm._files import atomic_write
from gpukm._nonfinite import NonFiniteError
from gpukm._progress import progress
from gpukm._rows import CastRows, RowReader, WithoutMissing
from gpukm._usage import UsageError, check_outputs, say
from gpukm.estimators import KMeans
from gpukm.info import describe, report
from gpukm.model_io import load
from gpukm.readers import SUFFIXES as ROW_SUFFIXES
from gpukm.readers import open_rows
from gpukm.tables import SUFFIXES, Table, check_file, read_table

_LINES = 1 << 16  # labels turned into text at a time


def fit(options: argparse.Namespace) -> None:
    """Cluster DATA; write the model and the labels; print the summary."""
    _check_ending(options.output, (".npz",), "-o")
    _check_ending(options.labels, (".npy", ".csv"), "--labels")
    _check_ending(options.checkpoint, (".npz",), "--checkpoint")
    inputs = [options.data, *([options.checkpoint] if options.checkpoint else [])]
    check_outputs([options.output, options.labels], inputs, options.force)
    table = _read(options, options.columns)
    values = table.values
    if options.dtype is not None:
        large = isinstance(values, RowReader)
        values = CastRows(values, options.dtype) if large else values.astype(options.dtype, copy=False)
    model = KMeans(
        options.clusters,
        init=options.init,
        n_init=options.n_init,
        max_iter=options.max_iter,
        tol=options.tol,
        random_state=options.seed,
        device=options.device,
        max_memory=options.max_memory,
        checkpoint=options.checkpoint,
        checkpoint_every=options.checkpoint_every,
    )
    if options.checkpoint and os.path.exists(options.checkpoint):
        say(options, f"going on from {options.checkpoint}")
    rows, most = values.shape[0], options.max_iter
    with progress(verbose=options.verbose, quiet=options.quiet, n_samples=rows, max_iter=most) as callback:
        with _in_file(options, table):
            model.set_params(callback=callback).fit(values)
    table = _after_reading(options, table)
    model.set_params(callback=None, checkpoint=None)
    if table.names is not None:
        model.feature_names_in_ = np.array(table.names, dtype=object)
    labels = _in_file_order(model.labels_, table)
    # Written one after the other: when the second fails, the first is whole and stays.
    if options.output:
        model.save(options.output, labels=False, force=options.force)
        say(options, f"wrote {options.output}: {options.clusters} clusters, {values.shape[1]} features")
    if options.labels:
        _write_labels(options.labels, labels, options.force)
        say(options, f"wrote {options.labels}: {len(labels)} labels")
    print(json.dumps(_fit_facts(options, model, table), indent=2, allow_nan=False) if options.json else model.summary())


def predict(options: argparse.Namespace) -> None:
    """Label the rows of DATA by MODEL."""
    _check_ending(options.output, (".npy", ".csv"), "-o")
    check_outputs([options.output], [options.model, options.data], options.force)
    model = load(options.model)
    columns = options.columns
    names = getattr(model, "feature_names_in_", None)
    if columns is None and names is not None and _has_names(options):
        columns = list(names)
    table = _read(options, columns)
    if names is not None:
        del model.feature_names_in_  # the columns have been chosen by these names; plain arrays have none to compare
    model.set_params(max_memory=options.max_memory)
    if isinstance(table.values, RowReader):
        table.values.column_names = None
        if options.output and options.output.lower().endswith(".npy") and not options.drop_missing:
            with _in_file(options, table):
                labels = model.predict(table.values, out=options.output, force=options.force)
            say(options, f"wrote {options.output}: {len(labels)} labels")
            return
    with _in_file(options, table):
        labels = model.predict(table.values)
    labels = _in_file_order(labels, _after_reading(options, table))
    if options.output:
        _write_labels(options.output, labels, options.force)
        say(options, f"wrote {options.output}: {len(labels)} labels")
        return
    for start in range(0, len(labels), _LINES):
        print("\n".join(map(str, labels[start : start + _LINES].tolist())))


def compile_engine(options: argparse.Namespace) -> None:
    """Compile what fits will want, and say where it is kept."""
    count, seconds, folder = compiling.compile_engine(lambda line: say(options, f"compiling for {line}"))
    if folder is None:
        raise OSError(
            "compiled code cannot be kept: neither the package's folder nor the user's cache can be written to. Set "
            "NUMBA_CACHE_DIR to a folder that can, here and where gpukm runs."
        )
    print(f"compiled {count} functions in {seconds:.0f} s, kept in {folder}")


def info(options: argparse.Namespace) -> None:
    """Print what is here and what would run."""
    print(json.dumps(describe(), indent=2) if options.json else report())


def _read(options: argparse.Namespace, columns: Any) -> Table:
    """The rows of DATA, which stay in their file where they would take up more than --max-memory."""
    suffix = os.path.splitext(options.data)[1].lower()
    whole = suffix in SUFFIXES or suffix not in ROW_SUFFIXES
    if whole:
        check_file(options.data, ROW_SUFFIXES)
    elif options.delimiter is not None or options.header is not None:
        raise UsageError(f"{options.data}: --delimiter and --header have no meaning for {suffix} files")
    if suffix in ROW_SUFFIXES and options.delimiter is options.header is None:
        rows = open_rows(options.data, columns=columns, array=options.array)
        if not whole or (rows.nbytes or 0) > options.max_memory:
            return Table(WithoutMissing(rows) if options.drop_missing else rows, rows.column_names, None)
    delimiter = {"\\t": "\t", "tab": "\t"}.get(options.delimiter, options.delimiter)
    table = read_table(
        options.data,
        columns=columns,
        array=options.array,
        delimiter=delimiter,
        header=options.header,
        drop_missing=options.drop_missing,
    )
    _say_left_out(options, table)
    return table


def _after_reading(options: argparse.Namespace, table: Table) -> Table:
    """The table with what is known of the rows of a large file only when they have been read."""
    if not isinstance(table.values, WithoutMissing):
        return table
    kept = table.values.kept
    table = table._replace(kept=None if kept.all() else kept)
    _say_left_out(options, table)
    return table


def _say_left_out(options: argparse.Namespace, table: Table) -> None:
    if table.kept is not None:
        left_out = int(np.count_nonzero(~table.kept))
        say(options, f"left out {left_out} of {len(table.kept)} rows, which have missing values")


@contextmanager
def _in_file(options: argparse.Namespace, table: Table) -> Iterator[None]:
    """Where a value is not finite, say so in terms of the file and of the command's options."""
    try:
        yield
    except NonFiniteError as error:
        assert error.column is not None
        row, column = str(error.row + 1), f"column {error.column + 1}"
        if table.names is not None:
            column = f"column {table.names[error.column]!r}"
        elif options.columns is not None:
            column += " of --columns"
        if table.kept is not None:
            row = str(int(np.flatnonzero(table.kept)[error.row]) + 1)
        elif isinstance(table.values, WithoutMissing):
            row += " of those without missing values"
        if error.value != error.value:
            what = "missing value (nan); --drop-missing leaves such rows out"
        else:
            what = f"{error.value} is not finite; remove the row or choose other columns (--columns)"
        raise ValueError(f"{options.data}: row {row}, {column}: {what}") from error


def _has_names(options: argparse.Namespace) -> bool:
    return (
        os.path.splitext(options.data)[1].lower() in (".csv", ".tsv", ".parquet", ".arrow", ".feather")
        and options.header is not False
    )


def _in_file_order(labels: NDArray[np.int32], table: Table) -> NDArray[np.int32]:
    """A label for each row of the file, -1 for those left out, so that labels and file can be laid side by side."""
    if table.kept is None:
        return labels
    out = np.full(len(table.kept), -1, dtype=np.int32)
    out[table.kept] = labels
    return out


def _fit_facts(options: argparse.Namespace, model: KMeans, table: Table) -> dict[str, Any]:
    summary = model.summary()
    return {
        "data": options.data,
        "n_samples": len(model.labels_),
        "rows_left_out": 0 if table.kept is None else int(np.count_nonzero(~table.kept)),
        "n_features": int(model.n_features_in_),
        "feature_names": table.names,
        "n_clusters": options.clusters,
        "seed": options.seed,
        "dtype": str(model.cluster_centers_.dtype),
        "engine": model.engine_,
        "n_iter": summary.iter,
        "converged": summary.converged,
        "inertia": summary.tot_withinss,
        "totss": summary.totss,
        "betweenss": summary.betweenss,
        "size": summary.size.tolist(),
        "withinss": summary.withinss.tolist(),
        "cluster_centers": summary.centers.tolist(),
        "model": options.output,
        "labels": options.labels,
    }


def _write_labels(path: str, labels: NDArray[np.int32], force: bool) -> None:
    with atomic_write(path, force=force) as file:
        if path.lower().endswith(".npy"):
            np.lib.format.write_array(file, labels, allow_pickle=False)
            return
        file.write(b"label\n")
        for start in range(0, len(labels), _LINES):
            file.write(("\n".join(map(str, labels[start : start + _LINES].tolist())) + "\n").encode())


def _check_ending(path: str | None, endings: tuple[str, ...], option: str) -> None:
    if path is not None and not path.lower().endswith(endings):
        raise UsageError(f"{option} {path}: the name must end in {' or '.join(endings)}")
