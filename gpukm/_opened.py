"""What is passed as X, opened: an array in memory, or chunks of rows that are read when they are needed."""

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpukm import _validation as validation
from gpukm._arrays import array_namespace, to_numpy
from gpukm._containers import feature_names
from gpukm._files import PathLike, atomic_npy
from gpukm._rows import SlicedRows
from gpukm.array_source import ArraySource
from gpukm.chunks import Chunks
from gpukm.placing import device_of, source_of
from gpukm.readers import as_reader
from gpukm.stream_source import READING, StreamSource

Array = Any


class Opened(NamedTuple):
    """Samples ready for a fit: the source, X or a stand-in of its shape, the columns' names, X for a callable init."""

    source: ArraySource
    samples: validation.Samples
    names: NDArray[Any] | None
    given: Any


def open_rows_of(
    X: Any, max_memory: int, n_features: int | None = None, device: str = "auto"
) -> tuple[Any, NDArray[Any] | None]:
    """(X or its rows in memory, or `Chunks` where these take up more than `max_memory` bytes; columns' names).

    A memory map goes to a CUDA device as a whole where that has room for it.
    """
    reader = as_reader(X)
    if reader is None:
        return X, feature_names(X)
    names = feature_names(reader)
    size = reader.nbytes
    small = size is not None and size <= max_memory
    if isinstance(reader, SlicedRows) and isinstance(reader.array, np.memmap):
        if small or (device.startswith("cuda") and reader.array.nbytes <= device_of(device).free_bytes // 2):
            return reader.array, names
    chunks = Chunks(reader, int(max_memory * READING), n_features)
    return (np.concatenate([chunk.copy() for _, chunk in chunks]) if small else chunks), names


def open_samples(model: Any, X: Any, sample_weight: Any) -> Opened:
    """Check X and the weights for the fit of an estimator, and make the source that suits them."""
    max_memory, device = int(model.max_memory), model.device
    rows, names = open_rows_of(X, max_memory, device=device)

    def weigh(n_samples: int, samples: validation.Samples | None = None) -> NDArray[np.float64] | None:
        if samples is None:
            weight = validation.check_sample_weight(sample_weight, n_samples)
        else:
            weight = model._weight(sample_weight, samples)
        validation.check_enough_samples(n_samples, model.n_clusters, weight)
        return weight

    if isinstance(rows, Chunks):
        if not model._takes_chunks:
            raise ValueError(
                f"{rows.name} takes up more than max_memory={max_memory} bytes, and {type(model).__name__} needs the "
                f"rows in memory. Read them first, as with numpy.load, or use a larger max_memory."
            )
        stream = stream_of(rows, weigh, device=device, max_memory=max_memory)
        return Opened(stream, validation.Samples(stream.stand_in, np, stream.dtype), names, X)
    samples = model._samples_of(rows)
    validation.check_device(device, samples.array)
    weight = weigh(int(samples.array.shape[0]), samples)
    source = source_of(samples, weight, device=device, max_memory=max_memory)
    return Opened(source, samples, names, samples.array)


def stream_of(rows: Chunks, weigh: Any, *, device: str, max_memory: int, least: Any = np.float32) -> StreamSource:
    """The source of rows in chunks, on the CUDA device that `device` asks for."""
    if not device.startswith("cuda"):
        return StreamSource(rows, weigh, least=least, max_memory=max_memory)
    from gpukm.device_stream import DeviceStreamSource

    return DeviceStreamSource(device_of(device), rows, weigh, least=least, max_memory=max_memory)


def answer_in_chunks(
    rows: Chunks | validation.Samples,
    centroids: NDArray,
    answer: Callable[[ArraySource, NDArray], NDArray],
    *,
    row_bytes: int,
    device: str,
    max_memory: int,
    out: PathLike | None,
    force: bool,
) -> NDArray:
    """What `answer` gives for the rows, a part at a time, in memory or, if `out` names it, in a .npy file.

    `row_bytes` are those of the answer to a row. The file is written whole or not at all, and returned memory-mapped.
    """
    kinds: list[np.dtype] = []

    def answers() -> Generator[NDArray, None, None]:
        with closing(_parts(rows, max_memory)) as parts:
            for first, part in parts:
                step = max(max_memory // 4 // row_bytes, 1)
                for start in range(0, part.shape[0], step):
                    few = part[start : start + step, :]
                    samples = validation.Samples(few, array_namespace(few), validation.compute_dtype(few))
                    dtype = np.result_type(samples.dtype, centroids.dtype)
                    source = source_of(samples, dtype=dtype, device=device, max_memory=max(max_memory // 4, 1))
                    try:
                        source.bounds()
                    except ValueError:
                        validation.check_finite(samples, first_row=first + start)
                        raise
                    found = to_numpy(answer(source, np.ascontiguousarray(centroids, dtype)))
                    if kinds and found.dtype not in kinds:
                        raise ValueError(
                            f"X has blocks of several dtypes: the first rows have answers of {kinds[0]}, those from "
                            f"about row {first + start} on of {found.dtype}. Give all blocks one dtype."
                        )
                    kinds[:] = [found.dtype]
                    yield found

    if out is None:
        return np.concatenate(list(answers()))
    with atomic_npy(out, force=force) as append, closing(answers()) as blocks:
        for block in blocks:
            append(block)
    written: NDArray = np.load(out, mmap_mode="r", allow_pickle=False)
    return written


def _parts(rows: Chunks | validation.Samples, max_memory: int) -> Generator[tuple[int, Array], None, None]:
    if isinstance(rows, Chunks):
        yield from rows
    else:
        yield 0, rows.array
