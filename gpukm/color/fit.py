"""A palette for a histogram: exact weighted k-means on its different colours, rounded to 8 bits.

Start (Wu or k-means++), search by merging and splitting (`gpukm.color.refine`), k-means to convergence, k-means among
8-bit colours, and at last exactly as many different entries as were asked for.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm import kernels
from gpukm._validation import check_device, check_parameters, check_random_state, check_samples
from gpukm.array_source import ArraySource
from gpukm.color.embedding import Embedding, squared
from gpukm.color.errors import measure
from gpukm.color.histogram import Histogram
from gpukm.color.keys import pack, round_to_8_bits, unpack, widen
from gpukm.color.palette import Palette, parse_hex
from gpukm.color.polish import polish
from gpukm.color.refine import refine, settle
from gpukm.color.wu import wu
from gpukm.placing import source_of
from gpukm.seeding import seed

MOST_COLORS = 1 << 16
INITS = ("wu", "k-means++")
MOST_EFFORT = 4
COARSE_FROM = 1 << 17  # colours from which on the search runs on the means of cells of 4 x 4 x 4 levels

MEMORY = 64 << 20  # bytes for temporaries, as in gpukm.KMeans

_ROUNDS = 20  # of k-means among 8-bit colours, and of replacing entries that no colour needs


def fit(
    histogram: Histogram,
    colors: int = 256,
    *,
    space: str = "oklab",
    chroma: float | None = None,
    keep: Any = (),
    init: str = "wu",
    effort: int = 1,
    random_state: Any = 0,
    device: str = "auto",
) -> Palette:
    """The palette of `colors` colours with the least squared error in `space` that is found.

    It has exactly that many different colours, each nearest to some colour of the image but for those to keep, whenever
    the image has as many; an image with fewer keeps all of its own.

    Parameters
    ----------
    histogram : Histogram
    colors : int, default=256
        From 1 to 65536; image files hold 256 at most.
    space : {"oklab", "srgb", "din99", "lab", "linear"}, default="oklab"
        Where distances are taken: "srgb" for the least mean squared error; "din99" (DIN99b) for the least mean
        CIEDE2000, which the last steps then minimise itself; "oklab" for nearly as little of that, in less time.
    chroma : float, optional
        Factor for the two colour axes of oklab, lab and din99; 2 for oklab and 1 for the others unless given.
    keep : "#rrggbb", rows of 8-bit numbers, or a list of such, default=()
        Colours that are in the palette exactly, whether an image needs them or not.
    init : {"wu", "k-means++"}, default="wu"
        The start: Wu's boxes, or greedy k-means++. With alpha it is always k-means++.
    effort : int, default=1
        0 is k-means from one start; 1 to 4 search for better palettes at ever more places. How much longer each step
        takes depends on the image and on `colors`: up to 22 of them 1 tries all places, and more changes nothing.
    random_state : int, Generator or None, default=0
        For k-means++; the rest draws nothing.
    device : str, default="auto"
        As in `gpukm.KMeans`.

    Returns
    -------
    Palette
        The most used colour first; its weights are shares of the pixels, its errors those of undithered mapping.

    Raises
    ------
    ValueError
        For an empty histogram, more colours to keep than `colors`, or settings that are not as above.
    """
    embedding, fixed, rng = _check(histogram, colors, space, chroma, keep, init, effort, random_state, device)
    alpha = embedding.alpha
    every = widen(histogram.colors, histogram.depth, alpha)
    counts, weights = histogram.counts, histogram.weights
    if alpha and (every[:, 3] == 0).any():
        fixed = _distinct(np.concatenate([fixed, np.zeros((1, 4), np.uint8)]))
    _check_room(every, fixed, colors, alpha)
    rounded = round_to_8_bits(every)
    entries = _distinct(np.concatenate([fixed, rounded])) if len(every) <= 2 * colors or histogram.depth == 16 else None
    if entries is None or len(entries) > colors:
        used = weights > 0
        found = _cluster(
            every[used], weights[used].astype(np.float64), colors, embedding, fixed, init, effort, rng, device
        )
        entries = _fill(found, len(fixed), colors, every, counts, weights, embedding)
        if embedding.perceptual and effort:
            polished = polish(entries, len(fixed), every[used], weights[used].astype(np.float64), embedding)
            entries = _fill(polished, len(fixed), colors, every, counts, weights, embedding)
    labels = embedding.nearest(every, entries)
    pixels = np.bincount(labels, weights=counts, minlength=len(entries)).astype(np.int64)  # exact below 2^53
    order = np.lexsort((pack(entries), -pixels))
    errors = measure(every, entries, labels, counts).as_dict()
    metadata = {"space": space, "effort": int(effort)} | ({} if chroma is None else {"chroma": float(chroma)})
    return Palette(entries[order], pixels[order] / pixels.sum(), errors, metadata=metadata)


def _check(
    histogram: Histogram,
    colors: Any,
    space: str,
    chroma: float | None,
    keep: Any,
    init: str,
    effort: Any,
    random_state: Any,
    device: str,
) -> tuple[Embedding, NDArray[np.uint8], np.random.Generator]:
    """The embedding, the colours to keep and the generator; raises unless all is as `fit` says."""
    if isinstance(colors, bool) or not isinstance(colors, int | np.integer) or not 1 <= colors <= MOST_COLORS:
        raise ValueError(f"colors is {colors!r}; it must be an integer from 1 to {MOST_COLORS}")
    if isinstance(effort, bool) or not isinstance(effort, int | np.integer) or not 0 <= effort <= MOST_EFFORT:
        raise ValueError(f"effort is {effort!r}; it must be an integer from 0 (quick) to {MOST_EFFORT} (best)")
    if init not in INITS:
        raise ValueError(f"init is {init!r}; it may be {', '.join(map(repr, INITS))}")
    check_parameters("fit", {"random_state": random_state, "device": device})
    fixed = parse_colors(keep)
    if len(fixed) > colors:
        raise ValueError(f"{len(fixed)} colours are to be kept, but the palette has {colors}; allow more colours")
    if histogram.n_pixels == 0:
        raise ValueError("the histogram is empty; add an image first")
    if not histogram.weights.any():
        raise ValueError("the importance is 0 everywhere; give some pixels more")
    alpha = histogram.has_alpha or bool((fixed[:, 3] < 255).any())
    return Embedding(space, chroma, alpha), fixed if alpha else fixed[:, :3], check_random_state(random_state)


def parse_colors(colors: Any) -> NDArray[np.uint8]:
    """(n, 4) different colours, ascending, of "#rrggbb", "#rrggbbaa", rows of 3 or 4 numbers, or a list of such."""
    if isinstance(colors, str):
        colors = [colors]
    rows = []
    for color in colors if isinstance(colors, Iterable) else [colors]:
        row = parse_hex(color) if isinstance(color, str) else tuple(np.asarray(color).ravel().tolist())
        if len(row) not in (3, 4) or not all(isinstance(value, int) and 0 <= value <= 255 for value in row):
            raise ValueError(f"{color!r} is not a colour; write '#rrggbb', or 3 or 4 integers from 0 to 255")
        rows.append((*row, 255)[:4])
    return _distinct(np.array(rows, np.uint8).reshape(-1, 4))


def _distinct(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return unpack(np.unique(pack(colors)), colors.shape[1]) if len(colors) else colors


def _check_room(every: NDArray[Any], fixed: NDArray[np.uint8], colors: int, alpha: bool) -> None:
    """Raise where there is no place for an opaque colour beside what is kept."""
    if alpha and len(fixed) >= colors and (every[:, 3] == np.iinfo(every.dtype).max).any():
        if not (fixed[:, 3] == 255).any():
            raise ValueError(
                f"colors={colors} leaves no place for an opaque colour beside the transparent one (and those kept); "
                "allow more colours, or use alpha='flatten'"
            )
    if len(fixed) > colors:
        raise ValueError(f"the {len(fixed) - 1} colours to keep and a transparent one do not fit into {colors} colours")


def _cluster(
    rows: NDArray[Any],
    weights: NDArray[np.float64],
    k: int,
    embedding: Embedding,
    fixed: NDArray[np.uint8],
    init: str,
    effort: int,
    rng: np.random.Generator,
    device: str,
) -> NDArray[np.uint8]:
    """Up to `k` 8-bit colours by k-means, the fixed ones first; some may be equal or needed by no colour."""
    X = embedding.points(rows)
    check_device(device, X)
    source: ArraySource = _SearchedSource(X, weights, effort)
    held = len(fixed)
    few, few_weights, search = X, weights, source  # the search is the host's work, of many short runs
    if device.startswith("cuda"):
        source = source_of(check_samples(X), weights, device=device, max_memory=MEMORY)
    if len(X) >= COARSE_FROM:
        few, few_weights = _cells(rows, X, weights)
        search = _SearchedSource(few, few_weights, effort)
    start = _start(search, few, few_weights, min(k, len(few)), init, rng)
    centroids = np.concatenate([embedding.points(fixed), _without_nearest(start, embedding.points(fixed))])
    if len(centroids) > held:
        centroids = refine(search, few, few_weights, centroids, held, int(effort))
        source.arrange(len(centroids))
        centroids = settle(source, centroids, held, 300 if few is X else 30).centroids

        def in_8_bits(points: NDArray[Any]) -> NDArray[np.float32]:
            return embedding.points(embedding.colors(points))

        centroids[held:] = in_8_bits(centroids[held:])
        centroids = settle(source, centroids, held, _ROUNDS, in_8_bits).centroids
    return np.concatenate([fixed, embedding.colors(centroids[held:])])


class _SearchedSource(ArraySource):
    """Points for the many passes of a search, which takes longer on the reference than to compile the engine first."""

    def __init__(self, X: NDArray[np.float32], weights: NDArray[np.float64], effort: int) -> None:
        self._passes = 1 + 8 * effort
        super().__init__(X, weights, dtype=np.float32)

    def _best_engine(self) -> str:
        compared = max(kernels.MANY * self._passes, self._compared)
        return kernels.engine_name(np, self.n_samples * self.n_features, compared)


def _cells(
    rows: NDArray[Any], X: NDArray[np.float32], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Means and weights of the points in cells of 4 levels a channel: at most 2^18 of opaque colours."""
    keys = pack(rows >> np.array(8 * rows.dtype.itemsize - 6, rows.dtype))
    if rows.shape[1] == 4:  # opaque colours have cells of their own
        keys = keys << keys.dtype.type(1) | (rows[:, 3] == np.iinfo(rows.dtype).max)
    unique, cell = np.unique(keys, return_inverse=True)
    totals: NDArray[np.float64] = np.bincount(cell, weights=weights, minlength=len(unique)).astype(np.float64)
    means = [
        np.bincount(cell, weights=weights * X[:, axis], minlength=len(unique)) / totals for axis in range(X.shape[1])
    ]
    return np.stack(means, axis=1).astype(np.float32), totals


def _start(
    source: ArraySource,
    X: NDArray[np.float32],
    weights: NDArray[np.float64],
    k: int,
    init: str,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """(k, d) starting centroids."""
    if init != "wu" or X.shape[1] != 3:
        return seed(source, k, "k-means++", rng)[0]
    centroids = wu(X, weights, k).astype(np.float32)
    while len(centroids) < k:  # no cell was left to cut: the points with most error
        error = weights * squared(X, centroids[source.assign(centroids)])
        worst = np.argsort(-error, kind="stable")[: k - len(centroids)]
        if not error[worst[0]] > 0:
            break
        centroids = np.concatenate([centroids, X[worst[error[worst] > 0]]])
    return centroids


def _without_nearest(start: NDArray[np.float32], fixed: NDArray[np.float32]) -> NDArray[np.float32]:
    """The starting centroids less one for each fixed one, the nearest that is left."""
    for point in fixed[: len(start)]:
        start = np.delete(start, squared(start, point).argmin(), axis=0)
    return start


def _fill(
    entries: NDArray[np.uint8],
    held: int,
    k: int,
    every: NDArray[Any],
    counts: NDArray[np.int64],
    weights: NDArray[np.int64],
    embedding: Embedding,
) -> NDArray[np.uint8]:
    """`k` different entries, the first `held` kept, each of the others nearest to a colour of the image.

    Entries that are equal or that no colour needs make place for the colours with the largest error. It ends, since
    such a colour needs its entry; but for 16-bit colours, of which another entry can be nearer, where it ends after
    some rounds.
    """
    for round in range(_ROUNDS):
        fixed, free = entries[:held], _distinct(entries[held:])
        entries = np.concatenate([fixed, free[~np.isin(pack(free), pack(fixed))]])
        labels = embedding.nearest(every, entries)
        needed = np.bincount(labels, minlength=len(entries)) > 0
        needed[:held] = True
        if len(entries) == k and (needed.all() or round == _ROUNDS - 1):
            break
        if round < _ROUNDS // 2 or every.dtype == np.uint8:
            entries = entries[needed]
        points, keys = embedding.points(every), pack(round_to_8_bits(every))
        distance = squared(points, embedding.points(entries)[embedding.nearest(every, entries)])
        distance[np.isin(keys, pack(entries))] = 0.0
        while len(entries) < k:
            error = distance * (weights if (distance * weights).any() else counts)
            worst = int(error.argmax())
            if not error[worst] > 0:
                break
            new = round_to_8_bits(every[worst : worst + 1])
            entries = np.concatenate([entries, new])
            distance = np.minimum(distance, squared(points, embedding.points(new)[0]))
            distance[keys == pack(new)[0]] = 0.0
    return entries
