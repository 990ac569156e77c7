"""Whether arrays that belong together lie together: in one namespace, on one device."""

from typing import Any

from gpukm import _arrays

Array = Any  # an array of any array-API namespace


def device_name(X: Array) -> str:
    """The device of an array, as its library writes it."""
    return str(getattr(X, "device", "cpu"))


def check_same_place(X: Array, centroids: Array, caller: str) -> None:
    """Raise where X is in another namespace, or on another device, than the arrays of the fit."""
    xp, fitted = _arrays.array_namespace(X), _arrays.array_namespace(centroids)
    if xp is not fitted:
        given, wanted = _arrays.namespace_name(xp), _arrays.namespace_name(fitted)
        way = f"Convert X, for example with {wanted}.asarray(...)"
    else:
        given, wanted = f"device {device_name(X)}", f"device {device_name(centroids)}"
        way = f"Move X to {wanted}"
    if not _arrays.is_numpy(fitted):
        way += "; or pickle and unpickle the model, which then takes NumPy arrays"
    if given != wanted:
        raise ValueError(
            f"Inputs passed to {caller}() must use the same namespace and the same device as those passed to fit(): "
            f"X is of {given}, the model was fitted on {wanted}. {way}."
        )


def check_beside(given: Any, X: Any, name: str) -> None:
    """Raise where an argument of the namespace of X lies on another device; what other libraries make is copied."""
    if not (_arrays.is_array(given) and _arrays.is_array(X)):
        return
    if _arrays.array_namespace(given) is _arrays.array_namespace(X) and device_name(given) != device_name(X):
        raise ValueError(
            f"{name} lies on device {device_name(given)}, X on device {device_name(X)}. Move {name} to that of X, "
            f"or pass it as a NumPy array."
        )
