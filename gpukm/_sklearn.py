"""A scikit-learn citizen that does not need scikit-learn: its protocols, its classes imported only when it is in use.

`import gpukm` must not import scikit-learn (it takes longer than most fits), so nothing here inherits from its bases.
What scikit-learn asks of an estimator is duck-typed: parameters, tags, feature names, output containers, requests.
"""

import copy
import difflib
import inspect
import sys
import warnings
from functools import cache
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from gpukm._arrays import is_array, to_numpy
from gpukm._containers import feature_names

E = TypeVar("E", bound=Exception)
_UNCHANGED = "$UNCHANGED$"  # scikit-learn's mark for "leave this request as it is"


class NotFittedError(ValueError, AttributeError):
    """An estimator was used before fit; scikit-learn's class of that name is raised instead where it is loaded."""


class ConvergenceWarning(UserWarning):
    """A fit ended with fewer clusters than asked for; scikit-learn's class of that name is used where it is loaded."""


def exception_class(own: type[E]) -> type[E]:
    """Return `own`, or scikit-learn's class of that name if it is loaded, so that its users catch what they know."""
    loaded = sys.modules.get("sklearn.exceptions")
    found: type[E] = getattr(loaded, own.__name__, own)
    return found


class SklearnProtocols:
    """Parameters, repr, copies and pickles, feature names, and scikit-learn's protocols, for an estimator to inherit.

    Subclasses list their parameters in `__init__`, which only stores them, and set `_n_features_out` in fit.
    """

    # scikit-learn reads this to know which outputs `set_output` may wrap
    _sklearn_auto_wrap_output_keys = frozenset({"transform"})
    # whether fit and predict take SciPy's sparse matrices
    _takes_sparse = False
    # names of methods that take sample_weight, for metadata routing
    _weighted_methods: tuple[str, ...] = ("fit", "score")

    # parameters

    @classmethod
    @cache
    def _parameters(cls) -> dict[str, Any]:
        """Return the constructor's parameters and their defaults, in its order."""
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters given to the constructor, by name.

        Parameters
        ----------
        deep : bool, default=True
            For scikit-learn's sake; there are no nested estimators.
        """
        return {name: getattr(self, name) for name in sorted(self._parameters())}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name and return self; they are checked by the next fit.

        Raises
        ------
        ValueError
            For a name that is not a parameter; nothing is set then.
        """
        known = self._parameters()
        for name in params:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                meant = f" Did you mean {close[0]!r}?" if close else ""
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {type(self).__name__}.{meant} "
                    f"Valid parameters are: {sorted(known)!r}."
                )
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        changed = [
            f"{name}={_short(getattr(self, name, None))}"
            for name, default in self._parameters().items()
            if not _same(getattr(self, name, None), default)
        ]
        return f"{type(self).__name__}({', '.join(changed)})"

    def _repr_html_(self) -> str | None:
        """Scikit-learn's diagram in a notebook, where scikit-learn is loaded and set to show diagrams."""
        sklearn = sys.modules.get("sklearn")
        if sklearn is None or sklearn.get_config().get("display") != "diagram":
            return None
        from sklearn.utils import estimator_html_repr

        return str(estimator_html_repr(self))

    # copies and pickles: a pickle holds NumPy arrays, so that it opens where there is no such device

    def __getstate__(self) -> dict[str, Any]:
        def host(value: Any) -> Any:
            return to_numpy(value) if is_array(value) and not isinstance(value, np.ndarray | np.generic) else value

        return {name: host(value) for name, value in vars(self).items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def __copy__(self) -> Self:
        new = type(self).__new__(type(self))
        vars(new).update(vars(self))
        return new

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        vars(new).update(copy.deepcopy(vars(self), memo))
        return new

    # fitted or not, and with which features

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "cluster_centers_")

    def _check_is_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise exception_class(NotFittedError)(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with appropriate arguments before "
                f"using this estimator."
            )

    def _check_feature_names(self, X: Any) -> None:
        """Raise or warn, in scikit-learn's words, where X has other column names than the data of the fit."""
        fitted: NDArray[Any] | None = getattr(self, "feature_names_in_", None)
        given = feature_names(X)
        name = type(self).__name__
        if fitted is None or given is None:
            if given is not None:
                warnings.warn(f"X has feature names, but {name} was fitted without feature names", stacklevel=4)
            elif fitted is not None:
                warnings.warn(
                    f"X does not have valid feature names, but {name} was fitted with feature names", stacklevel=4
                )
            return
        if np.array_equal(fitted, given):
            return
        message = "The feature names should match those that were passed during fit.\n"
        unseen, missing = sorted(set(given) - set(fitted)), sorted(set(fitted) - set(given))
        for title, names in (
            ("Feature names unseen at fit time:\n", unseen),
            ("Feature names seen at fit time, yet now missing:\n", missing),
        ):
            if names:
                message += title + "".join(f"- {each}\n" for each in names[:5]) + ("- ...\n" if len(names) > 5 else "")
        if not unseen and not missing:
            message += "Feature names must be in the same order as they were in fit.\n"
        raise ValueError(message)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Return the names of transform's columns: "kmeans0", "kmeans1" and so on.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Only compared with the features of the fit.

        Returns
        -------
        ndarray of str objects, of shape (n_clusters,)

        Raises
        ------
        ValueError
            If `input_features` are not those of the fit.
        """
        self._check_is_fitted()
        if input_features is not None:
            given = np.asarray(input_features, dtype=object)
            fitted, expected = getattr(self, "feature_names_in_", None), int(self.n_features_in_)  # type: ignore[attr-defined]
            if fitted is not None and not np.array_equal(fitted, given):
                raise ValueError("input_features is not equal to feature_names_in_")
            if len(given) != expected:
                raise ValueError(
                    f"input_features should have length equal to number of features ({expected}), got {len(given)}"
                )
        prefix = type(self).__name__.lower()
        return np.asarray([f"{prefix}{i}" for i in range(self._n_features_out)], dtype=object)

    @property
    def _n_features_out(self) -> int:
        return int(self.cluster_centers_.shape[0])  # type: ignore[attr-defined]

    # the container of transform's output

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose the container of transform's output, as in scikit-learn, which this needs installed.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            "default" is an array like X; None leaves the choice as it is.
        """
        if transform is None:
            return self
        try:
            from sklearn.utils._set_output import ADAPTERS_MANAGER
        except ImportError:
            if transform != "default":
                raise ImportError(
                    f"set_output(transform={transform!r}) needs scikit-learn >= 1.4: pip install -U scikit-learn. "
                    f"Without it, transform returns an array like X."
                ) from None
        else:
            allowed = sorted(ADAPTERS_MANAGER.supported_outputs)
            if transform not in allowed:
                raise ValueError(f"set_output's transform must be one of {allowed} or None, got {transform!r}.")
        self._sklearn_output_config = {**getattr(self, "_sklearn_output_config", {}), "transform": transform}
        return self

    def _wrap_output(self, output: Any, X: Any) -> Any:
        """`output` in the container set by set_output, or by scikit-learn's configuration, if that is in use."""
        if sys.modules.get("sklearn") is None:
            return output
        from sklearn.utils._set_output import _wrap_data_with_container

        return _wrap_data_with_container("transform", output, X, self)

    # tags and metadata routing

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type="clusterer",
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=["float64", "float32"]),
            input_tags=InputTags(sparse=self._takes_sparse),
            array_api_support=True,
        )

    def get_metadata_routing(self) -> Any:
        """Return scikit-learn's MetadataRequest: which metadata fit and score ask for."""
        from sklearn.utils.metadata_routing import MetadataRequest

        if hasattr(self, "_metadata_request"):
            return copy.deepcopy(self._metadata_request)
        request = MetadataRequest(owner=type(self).__name__)
        for method in self._weighted_methods:
            getattr(request, method).add_request(param="sample_weight", alias=None)
        return request

    def _set_request(self, method: str, sample_weight: bool | str | None) -> Self:
        try:
            import sklearn
        except ImportError:
            raise ImportError(
                f"set_{method}_request is for scikit-learn's meta-estimators, and scikit-learn is not installed: "
                f"pip install scikit-learn"
            ) from None
        if not sklearn.get_config()["enable_metadata_routing"]:
            raise RuntimeError(
                "This method is only available when metadata routing is enabled. You can enable it using "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        request = self.get_metadata_routing()
        if sample_weight != _UNCHANGED:
            getattr(request, method).add_request(param="sample_weight", alias=sample_weight)
        self._metadata_request = request
        return self

    def set_fit_request(self, *, sample_weight: bool | str | None = _UNCHANGED) -> Self:
        """Say whether a scikit-learn meta-estimator passes sample_weight to fit (True, False, or a name for it)."""
        return self._set_request("fit", sample_weight)

    def set_score_request(self, *, sample_weight: bool | str | None = _UNCHANGED) -> Self:
        """Say whether a scikit-learn meta-estimator passes sample_weight to score (True, False, or a name for it)."""
        return self._set_request("score", sample_weight)


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and np.ndim(value) == 0 and bool(value == default))


def _short(value: Any) -> str:
    """Return repr(value) on one line, an array by its shape and dtype only."""
    if getattr(value, "ndim", 0) and hasattr(value, "shape"):
        return f"<array of shape {tuple(value.shape)}, {str(value.dtype).rsplit('.', 1)[-1]}>"
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
