"""Reading ahead: an iterator run by a thread of its own, a little ahead of who uses its items."""

import threading
from collections.abc import Generator, Iterator
from queue import Empty, Full, Queue
from typing import TypeVar

T = TypeVar("T")


def ahead(items: Iterator[T], depth: int = 1) -> Generator[T, None, None]:
    """The items of an iterator, in order, made by a thread: `depth` wait, one more is being made, one is in use.

    An exception in the iterator is raised here, after the items before it. Close this generator when leaving it early
    (contextlib.closing does): the thread stops before its next item, closes the iterator, and is joined. A thread that
    is inside the iterator then is waited for.
    """
    queue: Queue[tuple[bool, T | BaseException | None]] = Queue(depth)
    stop = threading.Event()

    def hand_over(entry: tuple[bool, T | BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                queue.put(entry, timeout=0.1)
                return True
            except Full:
                continue
        return False

    def work() -> None:
        try:
            try:
                for item in items:
                    if not hand_over((True, item)):
                        return
                    del item  # else it would be kept alive while the next one is made
            finally:
                close = getattr(items, "close", None)
                if close is not None:
                    close()
        except BaseException as error:
            hand_over((False, error))
        else:
            hand_over((False, None))

    thread = threading.Thread(target=work, name="gpukm-ahead", daemon=True)
    thread.start()
    try:
        while True:
            good, entry = queue.get()
            if good:
                yield entry  # type: ignore[misc]
                del entry
            elif isinstance(entry, BaseException):
                raise entry
            else:
                return
    finally:
        stop.set()
        try:
            queue.get_nowait()  # so that the thread need not wait for room
        except Empty:
            pass
        thread.join()
