"""Things that go wrong on purpose."""

import pytest


def break_off(source, centroids, call):
    """A step for `centroids` that Ctrl-C ends when it asks for its block number `call`."""
    block, calls = source.block, []

    def failing(start, stop):
        calls.append(start)
        if len(calls) == call:
            raise KeyboardInterrupt
        return block(start, stop)

    source.block = failing
    with pytest.raises(KeyboardInterrupt):
        source.step(centroids)
    source.block = block
