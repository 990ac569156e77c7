"""Mini-batch k-means (Sculley 2010): a few rows at a time move the centroids. No device, no kernels, no data.

A step labels a batch by the nearest centroid. With N_k what centroid c_k has averaged so far, W_k the weight of the
batch's rows nearest to it and m_k their mean, both exact and rounded once (`gpukm.exact`),

    c_k  <-  c_k + (m_k - c_k) W_k / (N_k + W_k)        N_k  <-  N_k + W_k

evaluated in float64 as written, from the quotient on, and rounded to the data's dtype; m_k itself where N_k is 0. So
every engine takes the same steps, to the bit. Stopping, and the centroids that are given up, are as in scikit-learn.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from math import fsum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gpukm.sources import BatchSource, Iteration

log = logging.getLogger("gpukm")

REASSIGN = 10  # rows a cluster between two looks for centroids to give up
SMOOTHEST = 1 / 4096  # weight of a batch in the mean, at least: beyond 4096 batches a longer memory only costs time


class State(NamedTuple):
    """What one step leaves to the next.

    Attributes
    ----------
    centroids : (k, d) in the data's dtype
    counts : (k,) float64, the weight each has averaged
    since : rows since the last look for centroids to give up
    """

    centroids: NDArray
    counts: NDArray[np.float64]
    since: int

    @classmethod
    def of(cls, centroids: NDArray) -> "State":
        """A start that has averaged nothing."""
        return cls(centroids, np.zeros(len(centroids)), 0)


class Update(NamedTuple):
    """What one step found: the inertia is that of the batch under the centroids before, `weight` its total weight."""

    state: State
    inertia: float
    weight: float
    undecided: int
    reassigned: int


@dataclass
class MiniBatchResult:
    """Where the steps ended; `inertia` is the smoothed mean of a unit of weight, None if there was no step."""

    state: State
    n_steps: int
    inertia: float | None
    converged: bool
    history: list[Iteration] = field(default_factory=list)
    interrupted: bool = False


def update(batch: BatchSource, state: State, *, reassignment_ratio: float, rng: np.random.Generator) -> Update:
    """Take one step: see the top of the file. The state given is left as it is.

    After every 10 k rows, and while a centroid has averaged nothing, those that have averaged less than
    `reassignment_ratio` of what the heaviest has are put on rows of the batch, drawn by weight; half a batch at most.
    """
    centroids, counts, since = state
    since += batch.n_samples
    looking = since >= REASSIGN * len(centroids) or not counts.all()
    step = batch.step(centroids)
    inertia = batch.total_inertia(centroids, batch.labels)
    means = step.sums.means()
    if batch.sample_weight is None:  # the same numbers, found faster
        weights = batch.sizes(batch.labels, len(centroids)).astype(np.float64)
    else:
        weights = step.sums.weights()
    before, counts = counts, counts + weights
    rate = weights / np.where(counts > 0, counts, 1.0)
    moved = centroids + (means - centroids) * rate[:, None]
    moved = np.where(((before == 0) & (weights > 0))[:, None], means, moved).astype(centroids.dtype)
    given_up = 0
    if looking:
        since = 0
        light = _light(counts, reassignment_ratio, batch)
        given_up = int(np.count_nonzero(light))
        if given_up:
            moved[light] = batch.rows(_choice(batch, given_up, rng))
            counts[light] = counts[~light].min()  # not less, or they would be given up again at once
    return Update(State(moved, counts, since), inertia, fsum(weights.tolist()), step.undecided, given_up)


def _light(counts: NDArray[np.float64], ratio: float, batch: BatchSource) -> NDArray[np.bool_]:
    """(k,) which centroids to give up; never the heaviest."""
    light = counts < ratio * counts.max()
    light[np.argmax(counts)] = False
    usable = batch.n_samples if batch.sample_weight is None else int(np.count_nonzero(batch.sample_weight))
    light[np.argsort(counts, kind="stable")[usable // 2 :]] = False
    return light


def _choice(batch: BatchSource, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    weight = batch.sample_weight
    share = None if weight is None else weight / np.cumsum(weight)[-1]  # one after the other: the same everywhere
    return rng.choice(batch.n_samples, count, replace=False, p=share)


def minibatch(
    batches: Iterable[BatchSource],
    state: State,
    *,
    rng: np.random.Generator,
    n_samples: int,
    total_weight: float,
    max_steps: int,
    tol: float,
    max_no_improvement: int | None,
    reassignment_ratio: float,
    callback: Callable[[Iteration], Any] | None = None,
    verbose: bool = False,
) -> MiniBatchResult:
    """Take steps until the smoothed inertia of the batches improves no more.

    Parameters
    ----------
    batches : taken one by one, when their step comes
    state : the start
    rng : of which rows replace centroids that are given up
    n_samples : rows of the whole data: the more, the longer the memory of the smoothed inertia
    total_weight : of the whole data, to which the inertia in the history is scaled
    max_steps : steps at most
    tol : absolute; a step that moves the centroids by a sum of squares of at most this ends it; 0 never does
    max_no_improvement : steps on end without a new low of the smoothed inertia that end it; None never does
    reassignment_ratio : see `update`
    callback : called with an `Iteration` for each step; something true ends it
    verbose : print a line for each step

    Returns
    -------
    MiniBatchResult
        After Ctrl-C, `interrupted` is set and the state is that of the last finished step.
    """
    history: list[Iteration] = []
    smoothed = lowest = None
    idle, converged, interrupted = 0, False, False
    try:
        began = time.perf_counter()
        for batch in islice(batches, max_steps):
            found = update(batch, state, reassignment_ratio=reassignment_ratio, rng=rng)
            shift = fsum(((found.state.centroids.astype(np.float64) - state.centroids) ** 2).ravel().tolist())
            state, mean = found.state, found.inertia / found.weight
            if len(history) <= 1:  # the first tells more of the start than of the steps, and is not remembered
                smoothed = mean
            else:
                share = min(max(2.0 * batch.n_samples / (n_samples + 1), SMOOTHEST), 1.0)
                smoothed = smoothed * (1 - share) + mean * share  # type: ignore[operator]
            now = time.perf_counter()
            history.append(
                Iteration(
                    iteration=len(history) + 1,
                    inertia=smoothed * total_weight,
                    shift=shift,
                    seconds=now - began,
                    changed=batch.n_samples,
                    undecided=found.undecided,
                    relocated=found.reassigned,
                )
            )
            began = now
            if verbose:
                _print(history[-1], max_steps, mean, smoothed)
            log.debug("%s", history[-1])
            if len(history) > 1:
                if lowest is None or smoothed < lowest:
                    lowest, idle = smoothed, 0
                else:
                    idle += 1
                small = 0 < tol and shift <= tol
                converged = small or (max_no_improvement is not None and idle >= max_no_improvement)
                if converged and verbose:
                    why = "small centers change" if small else "lack of improvement in inertia"
                    print(f"Converged ({why}) at step {len(history)}/{max_steps}")
            if (callback is not None and callback(history[-1])) or converged:
                break
    except KeyboardInterrupt:
        interrupted = True
    return MiniBatchResult(state, len(history), smoothed, converged, history, interrupted)


def kept(n_steps: int, since: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return what a model file keeps for the next step; random numbers only of NumPy's default generator."""
    state = rng.bit_generator.state
    return {"n_steps": n_steps, "since": since, "rng": state if state["bit_generator"] == "PCG64" else None}


def taken_up(progress: dict[str, Any]) -> tuple[int, int, np.random.Generator]:
    """Return what was given to `kept`; raises KeyError, TypeError, ValueError or OverflowError for anything else."""
    n_steps, since, rng = progress["n_steps"], progress["since"], np.random.default_rng()
    if not all(isinstance(count, int) and count >= 0 for count in (n_steps, since)):
        raise ValueError(f"n_steps={n_steps!r}, since={since!r}")
    if progress["rng"] is not None:
        rng.bit_generator.state = progress["rng"]
    return n_steps, since, rng


def _print(step: Iteration, max_steps: int, mean: float, smoothed: float) -> None:
    ewa = f", ewa inertia: {smoothed}" if step.iteration > 1 else ""
    print(f"Minibatch step {step.iteration}/{max_steps}: mean batch inertia: {mean}{ewa}")
    if step.relocated:
        print(f"Reassigned {step.relocated} cluster centers")
