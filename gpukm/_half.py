"""float16 to float32 by the bits: NumPy converts halves one after the other, two to three times as slowly."""

import numpy as np
from numpy.typing import NDArray

SIGN_AND_REST = np.uint32(0x8FFFE000).view(np.int32)  # where these bits of a half land, 13 places up
REBIAS = np.float32(2.0**112)  # exponents count from 15 in a half, from 127 in a float
SUBNORMAL, INFINITE = 0x0400, 0x7C00  # the least magnitudes, as bits, that are above the one and are the other
AT_ONCE = 1 << 16  # values whose temporaries stay in the second-level cache


def widened(X: NDArray[np.float16]) -> NDArray[np.float32]:
    """The same values in float32, C-contiguous: of finite numbers the same bits as ``X.astype(np.float32)``."""
    out = np.empty(X.shape, np.float32)
    halves, floats = np.ascontiguousarray(X, np.float16).ravel(), out.ravel()
    for start in range(0, len(halves), AT_ONCE):
        _widen(halves[start : start + AT_ONCE], floats[start : start + AT_ONCE])
    return out


def _widen(halves: NDArray[np.float16], floats: NDArray[np.float32]) -> None:
    bits = halves.view(np.int16)
    magnitude = bits & 0x7FFF
    if magnitude.max() >= INFINITE:
        floats[...] = halves
        return
    wide = floats.view(np.int32)
    wide[...] = bits  # the sign spreads to the left
    wide <<= 13
    wide &= SIGN_AND_REST
    floats *= REBIAS
    # Subnormal halves have come by way of subnormal floats, which a library may have set this thread to flush to zero.
    magnitude -= 1
    few = np.flatnonzero(magnitude.view(np.uint16) < SUBNORMAL - 1)
    floats[few] = halves[few]
