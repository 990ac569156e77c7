"""Blocks of rows on several threads: NumPy releases the GIL in products, comparisons and reductions.

BLAS is held to one thread while these threads run (two layers of threads are slower than one); that needs
threadpoolctl. Without it the blocks run one after the other and BLAS uses its own threads: the same bits, more slowly.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from typing import Any

_lock = threading.Lock()
_before: list[tuple[Any, int]] = []  # BLAS libraries and their threads, while any fit of this process limits them
_users = 0
_pools: dict[int, ThreadPoolExecutor] = {}


@cache
def _controller() -> Any:
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return None
    return ThreadpoolController().select(user_api="blas")


def available_threads() -> int:
    """Processors of this process; fewer if OMP_NUM_THREADS, NUMBA_NUM_THREADS or a limit by threadpoolctl says so."""
    if _controller() is None:
        return 1
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for wanted in (os.environ.get("OMP_NUM_THREADS", ""), os.environ.get("NUMBA_NUM_THREADS", "")):
        if wanted.isdigit() and int(wanted) > 0:
            count = min(count, int(wanted))
    if not _users:  # while a fit runs, the limit seen would be its own
        count = min([count, *(library.num_threads for library in _controller().lib_controllers)])
    return count


@contextmanager
def single_threaded_blas():  # type: ignore[no-untyped-def]
    """BLAS at one thread, where threadpoolctl can see to it: its own threads would go on spinning beside ours.

    Counted, so that fits in several Python threads restore the limit once, at the end.
    """
    global _users
    if _controller() is None:
        yield
        return
    with _lock:
        if _users == 0:
            _before[:] = [(library, library.num_threads) for library in _controller().lib_controllers]
            for library, _ in _before:
                library.set_num_threads(1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                for library, count in _before:
                    library.set_num_threads(count)


def _pool(n_threads: int) -> ThreadPoolExecutor:
    """Threads that stay: starting some for each visit to the rows would cost 0.3 ms."""
    with _lock:
        if n_threads not in _pools:
            _pools[n_threads] = ThreadPoolExecutor(n_threads, "gpukm")
        return _pools[n_threads]


def _forget() -> None:
    """In a forked process the threads are gone."""
    global _lock, _users
    _lock, _users = threading.Lock(), 0
    _pools.clear()
    _before.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def run_team(task: Callable[[int], Any], n_threads: int, end: Callable[[], Any]) -> Any:
    """task(0) on this thread, beside task(1), …, task(n_threads - 1) on others, which end soon after `end` was called.

    That is when task(0) is over, or Ctrl-C came. Its result is returned, or raised; what the others raise is raised.
    One that another fit's rows kept from starting is left out.
    """
    helpers = []
    try:
        for me in range(1, n_threads):
            helpers.append(_pool(n_threads - 1).submit(task, me))
        result = task(0)
    finally:
        end()
        for helper in helpers:
            if not helper.cancel():
                wait([helper])
    for helper in helpers:
        if not helper.cancelled():
            helper.result()
    return result


def run_blocks(task: Callable[[int], Any], count: int, n_threads: int) -> list[Any]:
    """[task(0), …, task(count - 1)], on `n_threads` threads; the first exception stops the others and is raised."""
    n_threads = min(n_threads, count)
    if n_threads <= 1:
        return [task(index) for index in range(count)]
    results: list[Any] = [None] * count
    indices = iter(range(count))
    stop = threading.Event()

    def work(me: int) -> None:
        try:
            while not stop.is_set():
                with lock_of_indices:
                    index = next(indices, None)
                if index is None:
                    return
                results[index] = task(index)
        except BaseException:  # Ctrl-C, too: do not wait for the rest of the rows
            stop.set()
            raise

    lock_of_indices = threading.Lock()
    with single_threaded_blas():
        run_team(work, n_threads, stop.set)
    return results
