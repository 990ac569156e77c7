"""Which engine serves an array namespace."""

from typing import Any

from gpukm._arrays import is_numpy, namespace_name


def engine_name(xp: Any) -> str:
    """ "numpy", or "array-api:<namespace>" for arrays that are not NumPy's."""
    return "numpy" if is_numpy(xp) else f"array-api:{namespace_name(xp)}"
