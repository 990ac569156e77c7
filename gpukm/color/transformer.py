"""ColorQuantizer: palettes as a transformer, for pipelines."""

from typing import Any, Self

from gpukm._sklearn import SklearnProtocols
from gpukm.color.dither import LEVEL
from gpukm.color.histogram import Histogram
from gpukm.color.palette import Palette
from gpukm.color.pixels import ArrayPixels
from gpukm.color.quantizer import Quantized, apply


class ColorQuantizer(SklearnProtocols):
    """Learn a palette from images, then show other images in its colours.

    Parameters
    ----------
    colors : int, default=256
        Size of the palette.
    space, chroma, keep, init, effort, alpha, background, random_state, device
        As in `gpukm.color.quantize`.
    dither, dither_level
        How `transform` maps images; rows of colours are never dithered.

    Attributes
    ----------
    palette_ : Palette
        Learned by `fit`.
    histogram_ : Histogram
        Of all that `fit` and `partial_fit` have seen.
    n_features_in_ : int
        Channels: 3, or 4 with alpha.

    Notes
    -----
    X is an image, as in `gpukm.color.quantize` (grey arrays of two axes excepted), or rows of colours, an array of
    shape (n, 3) or (n, 4). A list of such is learned as one, each pixel counting alike, and gives a list.

    Examples
    --------
    >>> import numpy as np
    >>> from gpukm.color import ColorQuantizer
    >>> X = np.array([[0, 0, 0], [2, 2, 2], [250, 0, 0]], dtype=np.uint8)
    >>> ColorQuantizer(2, space="srgb").fit_transform(X).tolist()
    [[1, 1, 1], [1, 1, 1], [250, 0, 0]]
    """

    palette_: Palette
    histogram_: Histogram
    n_features_in_: int

    def __init__(
        self,
        colors: int = 256,
        *,
        space: str = "oklab",
        chroma: float | None = None,
        keep: Any = (),
        init: str = "wu",
        effort: int = 1,
        dither: str = "none",
        dither_level: float = LEVEL,
        alpha: str = "keep",
        background: str = "#ffffff",
        random_state: Any = 0,
        device: str = "auto",
    ) -> None:
        self.colors = colors
        self.space = space
        self.chroma = chroma
        self.keep = keep
        self.init = init
        self.effort = effort
        self.dither = dither
        self.dither_level = dither_level
        self.alpha = alpha
        self.background = background
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the palette of X, or of a list of such; see the notes of the class."""
        return self._learn(Histogram(), X)

    def partial_fit(self, X: Any, y: Any = None) -> Self:
        """Add X, or a list of such, to what was seen before and learn the palette of all of it."""
        return self._learn(self.histogram_.copy() if self.__sklearn_is_fitted__() else Histogram(), X)

    def _learn(self, histogram: Histogram, X: Any) -> Self:
        for image in X if _are_several(X) else [X]:
            histogram.add(_image(image), alpha=self.alpha, background=self.background)
        palette = histogram.fit(
            self.colors,
            space=self.space,
            chroma=self.chroma,
            keep=self.keep,
            init=self.init,
            effort=self.effort,
            random_state=self.random_state,
            device=self.device,
        )
        self.histogram_, self.palette_ = histogram, palette
        self.n_features_in_ = 4 if histogram.has_alpha else 3
        return self

    def transform(self, X: Any) -> Any:
        """X in the colours of the palette, of the same shape; (height, width, 3 or 4) for files and PIL images."""
        if _are_several(X):
            return [self.transform(one) for one in X]
        colors = self._apply(X).to_array()
        return colors[0] if _is_rows(X) else colors

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Learn the palette of X and return X in its colours."""
        return self.fit(X).transform(X)

    def predict(self, X: Any) -> Any:
        """The position in the palette of each pixel or row."""
        if _are_several(X):
            return [self.predict(one) for one in X]
        indices = self._apply(X).indices
        return indices[0] if _is_rows(X) else indices

    def _apply(self, X: Any) -> Quantized:
        self._check_is_fitted()
        dither = "none" if _is_rows(X) else self.dither
        return apply(
            _image(X),
            self.palette_,
            space=self.space,
            chroma=self.chroma,
            dither=dither,
            dither_level=self.dither_level,
            alpha=self.alpha,
            background=self.background,
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "palette_")

    @property
    def _n_features_out(self) -> int:
        return self.palette_.colors.shape[1]


def _are_several(X: Any) -> bool:
    """Whether X is a list of images, files or rows, and not an image in nested lists."""
    return isinstance(X, list | tuple) and not any(isinstance(one, list | tuple) for one in X)


def _is_rows(X: Any) -> bool:
    return getattr(X, "ndim", 0) == 2 and X.shape[1] in (3, 4)


def _image(X: Any) -> Any:
    """Rows of colours as an image of one row."""
    return ArrayPixels(X[None]) if _is_rows(X) else X
