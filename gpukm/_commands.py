"""What the subcommands of ``gpukm`` do with their parsed options; see gpukm/cli.py."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm._files import atomic_write
from gpukm._usage import UsageError, check_outputs, say
from gpukm.estimators import KMeans
from gpukm.info import describe, report
from gpukm.model_io import load
from gpukm.sources import Iteration
from gpukm.tables import Table, read_table

_LINES = 1 << 16  # labels turned into text at a time


def fit(options: argparse.Namespace) -> None:
    """Cluster DATA; write the model and the labels; print the summary."""
    _check_ending(options.output, (".npz",), "-o")
    _check_ending(options.labels, (".npy", ".csv"), "--labels")
    check_outputs([options.output, options.labels], [options.data], options.force)
    table = _read(options, options.columns)
    values = table.values if options.dtype is None else table.values.astype(options.dtype, copy=False)
    model = KMeans(
        options.clusters,
        init=options.init,
        n_init=options.n_init,
        max_iter=options.max_iter,
        tol=options.tol,
        random_state=options.seed,
        device=options.device,
    )
    with _progress(options) as callback:
        model.set_params(callback=callback).fit(values)
    model.set_params(callback=None)
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
    labels = _in_file_order(model.predict(table.values), table)
    if options.output:
        _write_labels(options.output, labels, options.force)
        say(options, f"wrote {options.output}: {len(labels)} labels")
        return
    for start in range(0, len(labels), _LINES):
        print("\n".join(map(str, labels[start : start + _LINES].tolist())))


def info(options: argparse.Namespace) -> None:
    """Print what is here and what would run."""
    print(json.dumps(describe(), indent=2) if options.json else report())


def _read(options: argparse.Namespace, columns: Any) -> Table:
    delimiter = {"\\t": "\t", "tab": "\t"}.get(options.delimiter, options.delimiter)
    table = read_table(
        options.data,
        columns=columns,
        array=options.array,
        delimiter=delimiter,
        header=options.header,
        drop_missing=options.drop_missing,
    )
    if table.kept is not None:
        left_out = int(np.count_nonzero(~table.kept))
        say(options, f"left out {left_out} of {len(table.kept)} rows, which have missing values")
    return table


def _has_names(options: argparse.Namespace) -> bool:
    return os.path.splitext(options.data)[1].lower() in (".csv", ".tsv", ".parquet") and options.header is not False


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
        "n_samples": len(table.values),
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


@contextmanager
def _progress(options: argparse.Namespace) -> Iterator[Callable[[Iteration], None] | None]:
    """A callback that shows iterations on stderr: all of them as lines, or the last one on a terminal, or none."""
    if options.verbose:
        yield lambda step: print(
            f"Iteration {step.iteration}, inertia {step.inertia:.6g}, {step.changed} rows changed", file=sys.stderr
        )
        return
    if options.quiet or not sys.stderr.isatty():
        yield None
        return
    try:
        from rich.console import Console
    except ImportError:
        yield None
        return
    with Console(stderr=True).status("reading the data, finding starting centroids") as status:
        yield lambda step: status.update(f"iteration {step.iteration}, inertia {step.inertia:.6g}")
