"""Threads that share the blocks of rows of one step after another, Numba engine: without the interpreter in between.

One thread leads: it publishes a step, takes part in it, waits for the blocks that others are at, and goes on. The
others wait for blocks of the next step, by asking: to wake a thread that sleeps takes longer than many steps. Nobody
depends on them: a helper that begins late, or never, finds fewer blocks, or none.

`board` (SIZE,) int64 is what they share. A block is taken by raising NEXT, which is at the number of blocks where there
is nothing to do. What a step needs is written before NEXT becomes 0, and what its blocks gave before DONE is raised.
"""

import os
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.cgutils import get_or_insert_function
from numba.extending import intrinsic

from gpukm.kernels.jit_numba import jit
from gpukm.kernels.vectors_numba import _I32, _I64, _address

NEXT, DONE, STOP, SIZE = 0, 8, 16, 24  # on cache lines of their own
PATIENCE = 1 << 12  # looks at the board before the processor is offered to others: some microseconds


@intrinsic
def load(typing: Any, address: Any) -> Any:
    """The int64 at an address, and all that was written before it was stored."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_address(builder, arguments[0], 0, _I64), "acquire", 8)

    return types.int64(types.int64), emit


@intrinsic
def publish(typing: Any, address: Any, value: Any) -> Any:
    """Store an int64, after all that was written before."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[1], _address(builder, arguments[0], 0, _I64), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def raised(typing: Any, address: Any) -> Any:
    """The int64 at an address, which becomes one more."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one = ir.Constant(_I64, 1)
        return builder.atomic_rmw("add", _address(builder, arguments[0], 0, _I64), one, "acq_rel")

    return types.int64(types.int64), emit


@intrinsic
def offer_processor(typing: Any) -> Any:
    """Let another thread run, where the system has a word for it."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if os.name == "posix":
            kind, name = ir.FunctionType(_I32, []), "sched_yield"
            builder.call(get_or_insert_function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return types.void(), emit


@jit()
def taken(board, blocks):
    """The number of a block that is now the caller's, or -1 where none is left."""
    next_block = board.ctypes.data + 8 * NEXT
    if load(next_block) >= blocks:
        return -1
    block = raised(next_block)
    return block if block < blocks else -1


@jit()
def work_comes(board, blocks):
    """Wait until there are blocks to take; False where the leader has stopped."""
    looks = 0
    while load(board.ctypes.data + 8 * NEXT) >= blocks:
        if load(board.ctypes.data + 8 * STOP):
            return False
        looks += 1
        if looks > PATIENCE:
            offer_processor()
    return True


@jit()
def all_done(board, blocks):
    """Wait until all blocks are done."""
    looks = 0
    while load(board.ctypes.data + 8 * DONE) < blocks:
        looks += 1
        if looks > PATIENCE:
            offer_processor()


def board_for(blocks: int) -> Any:
    """A board with nothing to do."""
    board = np.zeros(SIZE, np.int64)
    board[NEXT] = blocks
    return board
