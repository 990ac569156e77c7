"""Many images: which files they are, where each is written, and work on them by several processes.

Names come from folders that others may have filled. Nothing is ever written outside of the output folder: names with
".." and symbolic links on the way are refused.
"""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path, PurePath
from typing import Any, NamedTuple, TypeVar

from gpukm._usage import message_of, printable
from gpukm.color.load import ENDINGS

T = TypeVar("T")


class InputFile(NamedTuple):
    """An image of a batch."""

    path: str
    relative: str  # its name within the output folder, with its own ending


@dataclass(frozen=True)
class Failure:
    """An image that could not be done, and why, in a line that can be printed."""

    path: str
    message: str
    kind: type[BaseException]


def find_inputs(inputs: Sequence[str], *, recursive: bool, skip: str | None = None) -> list[InputFile]:
    """The image files among `inputs`, each once, folders opened, in the order given and within a folder by name.

    Parameters
    ----------
    inputs : sequence of str
        Files are taken whatever they are called; of a folder, what has the ending of an image.
    recursive : bool
        Open the folders within folders, too. Links to folders are not followed.
    skip : str, optional
        A folder that is left out: the one that is written to.

    Raises
    ------
    OSError
        If an input does not exist, a folder cannot be read or holds no image.
    """
    found: dict[str, InputFile] = {}  # by the path that is the same however the file was named
    left_out = None if skip is None else os.path.realpath(skip)

    def take(path: str, relative: str) -> None:
        folder, name = os.path.split(path)
        found.setdefault(os.path.join(os.path.realpath(folder), name), InputFile(path, relative))

    for given in inputs:
        if not os.path.isdir(given):
            if not os.path.exists(given):
                raise FileNotFoundError(f"{given}: no such file or folder")
            take(given, os.path.basename(os.path.abspath(given)))
            continue
        empty = True
        for folder, folders, names in os.walk(given, onerror=_raise):
            folders[:] = sorted(name for name in folders if os.path.realpath(os.path.join(folder, name)) != left_out)
            inside = os.path.relpath(folder, given)
            for name in sorted(names):
                if name.lower().endswith(ENDINGS) and not name.startswith("."):
                    take(os.path.join(folder, name), os.path.normpath(os.path.join(inside, name)))
                    empty = False
            if not recursive:
                break
        if empty:
            hint = "" if recursive else "; --recursive looks into its folders"
            raise FileNotFoundError(f"{given}: holds no image ({', '.join(ENDINGS)}){hint}")
    return list(found.values())


def name_outputs(found: Sequence[InputFile], out_dir: str, ending: str) -> list[str]:
    """The file in `out_dir` that each image is written to: its folders, its name, the new ending; no two the same.

    Images that would get one name keep their own ending before the new one: a.gif and a.jpg become a.gif.png and
    a.jpg.png. Those of one name in different inputs are numbered in the order of the inputs: a.jpg.png, a.jpg.2.png.

    Raises
    ------
    ValueError
        If a name leads out of the folder.
    """
    for image in found:
        if PurePath(image.relative).is_absolute() or ".." in PurePath(image.relative).parts:
            raise ValueError(f"{image.path}: its name would lead out of {out_dir}; give its folder as the input")
    names = [os.path.splitext(image.relative)[0] + ending for image in found]
    wanted = Counter(map(_same, names))
    taken = {name for name, times in wanted.items() if times == 1}
    for number, image in enumerate(found):
        if wanted[_same(names[number])] > 1:
            name, times = image.relative + ending, 1
            while _same(name) in taken:
                times += 1
                name = f"{image.relative}.{times}{ending}"
            taken.add(_same(name))
            names[number] = name
    return [os.path.join(out_dir, name) for name in names]


def _same(name: str) -> str:
    """What two names have in common if they are one file."""
    return os.path.normcase(os.path.normpath(name))


def refuse_links(path: str, out_dir: str | None = None) -> None:
    """Raise OSError if `path` is a symbolic link, or leaves `out_dir` by one on the way."""
    if os.path.islink(path):
        raise OSError(f"{path}: is a symbolic link, which is not written through; remove it or give another name")
    if out_dir is None:
        return
    root = os.path.realpath(out_dir)
    if os.path.commonpath([root, os.path.realpath(path)]) != root:
        raise OSError(f"{path}: leads out of {out_dir} by a symbolic link; remove the link or give another folder")


def make_folder(path: str, out_dir: str) -> None:
    """Create the folder of `path` within `out_dir`; raises OSError rather than follow a link out."""
    os.makedirs(out_dir, exist_ok=True)
    folder = Path(out_dir)
    for part in PurePath(os.path.relpath(os.path.dirname(path) or ".", out_dir)).parts:
        folder = folder / part
        refuse_links(str(folder), out_dir)
        folder.mkdir(exist_ok=True)
    refuse_links(path, out_dir)


def run_all(
    work: Callable[[Any], T], tasks: Sequence[Any], names: Sequence[str], jobs: int
) -> Iterator[tuple[int, T | Failure]]:
    """Do `work` on each task, by `jobs` processes; what fails is a Failure and stops nothing.

    Results come as they are ready, with the number of the task. With one job, or one task, all happens in this process.
    A process that dies (killed, out of memory) fails the tasks it may have been at, and the rest goes on in a new one.

    Parameters
    ----------
    work : callable
        A function of a module: other processes import it.
    tasks : sequence
        What can be pickled.
    names : sequence of str
        What a failure calls each task.
    jobs : int
        At least 1.
    """
    if jobs == 1 or len(tasks) == 1:
        for number, task in enumerate(tasks):
            yield number, _attempt(work, task, names[number])
        return
    waiting = list(range(len(tasks)))[::-1]
    while waiting:
        threads = max(1, (os.cpu_count() or 1) // jobs)
        # spawn: a fork would copy threads' locks in whatever state they are
        with ProcessPoolExecutor(
            jobs, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(threads,)
        ) as pool:
            running: dict[Future[tuple[T | Failure, list[str]]], int] = {}
            broken = False
            while (waiting or running) and not broken:
                while waiting and len(running) < 2 * jobs:  # few ahead: results are taken before more are made
                    number = waiting.pop()
                    running[pool.submit(_remote, work, tasks[number], names[number])] = number
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    number = running.pop(future)
                    try:
                        yield number, _heard(future.result())
                    except BrokenProcessPool:
                        broken = True
                        running[future] = number
                        break
            if broken:
                # Which of them it was is not known; each gets a process of its own, so that only the one fails.
                for future, number in sorted(running.items(), key=lambda item: item[1]):
                    if future.done() and future.exception() is None:
                        yield number, _heard(future.result())
                    else:
                        yield number, _alone(work, tasks[number], names[number], threads)


def _alone(work: Callable[[Any], T], task: Any, name: str, threads: int) -> T | Failure:
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(threads,)
    ) as pool:
        try:
            return _heard(pool.submit(_remote, work, task, name).result())
        except BrokenProcessPool:
            return Failure(
                name, f"{printable(name)}: the process that worked on it died; there may be too little memory", OSError
            )


def _remote(work: Callable[[Any], T], task: Any, name: str) -> tuple[T | Failure, list[str]]:
    """The result, and what was warned of: the command's own process says it, as it says everything."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        result = _attempt(work, task, name)
    return result, [str(warning.message) for warning in caught]


def _heard(answer: tuple[T | Failure, list[str]]) -> T | Failure:
    result, messages = answer
    for message in messages:
        warnings.warn(message, stacklevel=3)
    return result


def _attempt(work: Callable[[Any], T], task: Any, name: str) -> T | Failure:
    try:
        return work(task)
    except MemoryError:
        return Failure(name, f"{printable(name)}: not enough memory", MemoryError)
    except (ValueError, OSError) as error:
        text, shown = message_of(error, name), printable(name)
        return Failure(name, text if shown in text else f"{shown}: {text}", type(error))


def _start_worker(threads: int) -> None:
    """Processes share the processors: each takes its part of the threads."""
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = str(threads)


def _raise(error: OSError) -> None:
    raise error
