"""kmeans and kmeans2."""

import warnings
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm import _validation as validation
from gpukm._arrays import from_numpy, to_numpy
from gpukm._containers import as_array
from gpukm.array_source import ArraySource
from gpukm.vq.iterations import run, update
from gpukm.vq.observations import source_of
from gpukm.vq.starts import STARTS

Array = Any  # an array of any array-API namespace
EMPTY = "One of the clusters is empty. Re-run kmeans with a different initialization."


class ClusterError(Exception):
    """A cluster lost all its observations: what kmeans2 raises with ``missing="raise"``."""


def kmeans(
    obs: Any,
    k_or_guess: Any,
    iter: int = 20,
    thresh: float = 1e-5,
    check_finite: bool = True,
    *,
    rng: Any = None,
    seed: Any = None,
) -> tuple[Array, float]:
    """Cluster observations by Lloyd's algorithm (1982), from several random starts; keep the least distortion.

    Parameters
    ----------
    obs : array-like of shape (n_samples, n_features) or (n_samples,)
        Observations.
    k_or_guess : int or array-like of shape (k, n_features) or (k,)
        Number of codes, which start from as many different rows of `obs`; or the codes to start from. An array of a
        single number is a number of codes, as in SciPy.
    iter : int, default=20
        Runs, not iterations; one run is made from a guess, whatever it says.
    thresh : float, default=1e-5
        A run ends when the distortion changes by no more than this, absolute, from one iteration to the next.
    check_finite : bool, default=True
        For SciPy's sake: NaN and infinity are refused either way.
    rng : None, int, numpy.random.Generator or what else numpy.random.default_rng takes, default=None
        Source of the random draws, which are SciPy's; None takes fresh entropy, and never NumPy's global state.
    seed : None, int, numpy.random.Generator or RandomState
        SciPy's older name: an int seeds a RandomState.

    Returns
    -------
    code_book : array of shape (k, n_features) or (k,)
        The codes, float32 or float64. **There may be fewer than asked for**: a code that no observation is nearest to
        is dropped.
    distortion : float
        Mean distance, **not squared**, of the observations to their nearest codes, those returned. (SciPy up to 1.17
        gives that of the codes one update before.)

    Raises
    ------
    ValueError
        For no clusters, more clusters than rows, NaN, infinity, or shapes that do not fit together.

    See Also
    --------
    kmeans2 : a fixed number of iterations; returns the labels.

    Examples
    --------
    >>> from gpukm.vq import kmeans
    >>> codes, distortion = kmeans([[1.0], [3.0], [10.0], [14.0]], [[0.0], [11.0]])
    >>> codes.tolist(), distortion
    ([[2.0], [12.0]], 1.5)
    """
    source, given, one_dimensional = source_of(obs, "obs")
    if iter < 1:
        raise ValueError(f"iter must be at least 1, got {iter}")
    if not thresh >= 0:
        raise ValueError(f"thresh must be at least 0, got {thresh}: with less, a run would never end.")
    guess: Any = k_or_guess if isinstance(k_or_guess, Number) else to_numpy(as_array(k_or_guess, "k_or_guess"))
    if np.size(guess) < 1:
        raise ValueError(f"Asked for 0 clusters. Initial book was {guess}")
    if np.size(guess) > 1:
        code_book, distortion = run(source, _guess(guess, source, given, "k_or_guess"), thresh)
    else:
        k = int(np.reshape(guess, ())[()])
        if k != guess:
            raise ValueError("If k_or_guess is a scalar, it must be an integer.")
        if k < 1:
            raise ValueError(f"Asked for {k} clusters.")
        generator = _generator(rng, seed)
        starts = [STARTS["points"](source, k, generator) for _ in range(iter)]
        source.arrange(k)  # after the draws, which go by the rows' positions
        runs = [run(source, start, thresh) for start in starts]
        code_book, distortion = min(runs, key=lambda run: run[1])
    return from_numpy(code_book[:, 0] if one_dimensional else code_book, given), distortion


def kmeans2(
    data: Any,
    k: Any,
    iter: int = 10,
    thresh: float = 1e-5,
    minit: str = "random",
    missing: str = "warn",
    check_finite: bool = True,
    *,
    rng: Any = None,
    seed: Any = None,
) -> tuple[Array, Array]:
    """Cluster observations by a fixed number of iterations of Lloyd's algorithm (1982).

    Parameters
    ----------
    data : array-like of shape (n_samples, n_features) or (n_samples,)
        Observations.
    k : int or array-like of shape (k, n_features) or (k,)
        Number of clusters; or the centroids to start from, whatever `minit` says. An array of a single number is a
        number of clusters, unless `minit` is "matrix".
    iter : int, default=10
        Iterations, all of which are made (the centroids may settle before; then they stay).
    thresh : float
        Not used, as in SciPy.
    minit : {"random", "points", "++", "matrix"}, default="random"
        Starting centroids:

        * "random": drawn from a normal distribution with the mean and covariance of the data. They lie where there may
          be no data, and clusters often start empty. It needs more than one observation, and features that do not
          depend on each other linearly. Its start comes from LAPACK and may differ in the last digits between machines.
        * "points": different rows of the data
        * "++": k-means++ (Arthur & Vassilvitskii 2007), one draw a centroid, not greedy
        * "matrix": `k` is an array
    missing : {"warn", "raise"}, default="warn"
        What to do when a cluster is empty after an iteration: warn, and leave its centroid where it was; or raise
        ClusterError.
    check_finite : bool, default=True
        For SciPy's sake: NaN and infinity are refused either way.
    rng, seed
        As for `kmeans`.

    Returns
    -------
    centroid : array of shape (k, n_features) or (k,)
        float32 or float64.
    label : int32 array of shape (n_samples,)
        Cluster of each observation. **Its centroids are the means of these clusters**, so a label is the nearest of the
        centroids *before* the last update, as in SciPy; unless they have settled, some observations may be nearer to
        another by now: ``vq(data, centroid)[0]`` tells.

    Raises
    ------
    ClusterError
        With ``missing="raise"``.
    ValueError
        For parameters or data that are not allowed.
    numpy.linalg.LinAlgError
        With ``minit="random"``, where the covariance of the data is not positive definite.

    Warns
    -----
    UserWarning
        For each iteration that leaves a cluster empty, and for a `k` that is not an integer.

    Examples
    --------
    >>> from gpukm.vq import kmeans2
    >>> centroid, label = kmeans2([1.0, 3.0, 10.0, 14.0], [0.0, 11.0])
    >>> centroid.tolist(), label.tolist()
    ([2.0, 12.0], [0, 0, 1, 1])
    """
    if int(iter) != iter or iter < 1:
        raise ValueError(f"Invalid iter ({iter}), must be a positive integer.")
    if missing not in ("warn", "raise"):
        raise ValueError(f"Unknown missing method {missing!r}; there are 'warn' and 'raise'.")
    given = as_array(data, "data")
    book: Any = k if isinstance(k, Number) else to_numpy(as_array(k, "k"))
    if 0 in given.shape or np.size(book) < 1:
        raise ValueError("Empty input is not supported.")
    source, given, one_dimensional = source_of(given, "data")
    if minit == "matrix" or np.size(book) > 1:
        centroids = _guess(book, source, given, "k")
        source.arrange(len(centroids))
    else:
        number = np.reshape(book, ())[()]
        n_clusters = int(number)
        if n_clusters < 1:
            raise ValueError(f"Cannot ask kmeans2 for {n_clusters} clusters (k was {number})")
        if n_clusters != number:
            warnings.warn("k was not an integer, was converted.", stacklevel=2)
        if minit not in STARTS:
            raise ValueError(f"Unknown init method {minit!r}; there are {sorted([*STARTS, 'matrix'])}.")
        centroids = STARTS[minit](source, n_clusters, _generator(rng, seed))
        source.arrange(n_clusters)
    for _ in range(int(iter)):
        centroids, empty, _ = update(source, centroids)
        if empty.any():
            if missing == "raise":
                raise ClusterError(EMPTY)
            warnings.warn(EMPTY, stacklevel=2)
    label = source.as_given(source.labels)
    return from_numpy(centroids[:, 0] if one_dimensional else centroids, given), from_numpy(label, given)


def _guess(guess: Any, source: ArraySource, given: Array, name: str) -> NDArray:
    """Codes to start from as (k, d) in the dtype of the source; raises where they do not fit the observations."""
    guess = np.asarray(guess)
    if guess.ndim != given.ndim:
        raise ValueError(
            f"{name} array doesn't match data rank: {name} has shape {guess.shape}, the observations "
            f"{tuple(given.shape)}."
        )
    guess = guess.reshape(len(guess), -1)
    if guess.shape[1] != source.n_features:
        raise ValueError(
            f"{name} array doesn't match data dimension: {name} has {guess.shape[1]} features, the observations have "
            f"{source.n_features}."
        )
    return validation.check_centroids(guess, len(guess), source.n_features, source.dtype, name=name)


def _generator(rng: Any, seed: Any) -> Any:
    if seed is not None:
        if rng is not None:
            raise TypeError("got both rng and seed, two names of one parameter. Specify one of `rng` or `seed`.")
        known = isinstance(seed, np.random.Generator | np.random.RandomState)
        return seed if known else np.random.RandomState(seed)
    return np.random.default_rng(rng)
