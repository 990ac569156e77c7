"""Colour quantization: the best palette for an image, for many images, for a quality that is asked for.

An image is counted once, exactly (`Histogram`); a palette is fitted to its different colours by exact weighted k-means
in a colour space of your choice (`Histogram.fit`), and pixels are mapped by a table (`apply`). `quantize` does all of
it.

    import gpukm.color as gc
    q = gc.quantize("photo.png", colors=64)
    q.palette, q.indices, q.error.de_p95, q.save("small.png")
    h = gc.Histogram().add(frame1) + gc.Histogram().add(frame2)
    palette = h.fit(256, keep=["#ff0000"])
    gc.apply("photo.png", palette, dither="fs")
    gc.quantize("photo.png", target_de=1.5)  # the smallest palette that meets it

The names are imported when first used. Arrays need NumPy only; files and PIL images need the extra `image`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpukm.color.errors import Errors
    from gpukm.color.histogram import Histogram
    from gpukm.color.palette import Palette
    from gpukm.color.quantizer import Quantized, apply, quantize
    from gpukm.color.targets import QualityError
    from gpukm.color.transformer import ColorQuantizer

__all__ = ["ColorQuantizer", "Errors", "Histogram", "Palette", "QualityError", "Quantized", "apply", "quantize"]

_HOMES = {
    "ColorQuantizer": "transformer",
    "Errors": "errors",
    "Histogram": "histogram",
    "Palette": "palette",
    "QualityError": "targets",
    "Quantized": "quantizer",
    "apply": "quantizer",
    "quantize": "quantizer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gpukm.color' has no attribute {name!r}")
    value = getattr(import_module(f"gpukm.color.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
