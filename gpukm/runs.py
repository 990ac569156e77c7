"""Several runs of Lloyd's algorithm, the best of them, and how they go on from a checkpoint."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpukm.checkpoint import Checkpoint, State
from gpukm.lloyd import LloydResult, lloyd
from gpukm.sources import Iteration


def best_run(
    source: Any,
    start: Callable[[Any], NDArray],
    n_runs: int,
    rng: np.random.Generator,
    *,
    max_iter: int,
    tol: Callable[[Any], float],
    callback: Callable[[Iteration], Any] | None,
    verbose: bool,
    search: Callable[..., LloydResult] = lloyd,
    refine: Callable[..., LloydResult] | None = None,
    checkpoint: Checkpoint | None = None,
) -> LloydResult:
    """Run Lloyd's algorithm `n_runs` times and return the result of least inertia, the first of equal ones.

    Parameters
    ----------
    source : SampleSource
    start : makes the starting centroids of a run, drawing from `rng`
    max_iter, callback, verbose : as `lloyd` takes them
    tol : that of `lloyd`, from the source
    search : `lloyd`, or another search with its first parameters; only Lloyd's can be kept in a checkpoint
    refine : goes on from the best result, see `gpukm.refine`
    checkpoint : where to begin, and where to keep the state

    Returns
    -------
    LloydResult
        `interrupted` is set after Ctrl-C; the result is then the best state so far.

    Raises
    ------
    KeyboardInterrupt
        Before there is any state.
    """
    state = State() if checkpoint is None else checkpoint.state
    if state.generator is not None:
        rng.bit_generator.state = state.generator
    best, first = state.best, state.run
    options: dict[str, Any] = {"max_iter": max_iter, "callback": callback, "verbose": verbose}
    interrupted = False
    try:
        for run in range(first, n_runs):
            if run > first:
                source.reset()  # so that a run's history does not depend on the run before
            if state.centroids is not None:
                if state.before is not None:
                    source.step(state.before)  # for the labels that the next iteration changes
            else:
                state = State(run, None, best, start(source))
            if verbose:
                print("Initialization complete")

            begun = state.centroids
            assert begun is not None
            state = replace(state, generator=dict(rng.bit_generator.state))
            keep = None if checkpoint is None else partial(_keep, checkpoint, state)
            if checkpoint is not None and not state.history:
                checkpoint.write(state)
            kept = {} if checkpoint is None else {"done": state.history, "keep": keep}
            result = search(source, begun, tol=tol, **options, **kept)
            if best is None or result.inertia < best.inertia:
                best = result
            if result.interrupted:
                raise KeyboardInterrupt
            state = State(run + 1, dict(rng.bit_generator.state), best)
            if checkpoint is not None:
                checkpoint.write(state)
        if refine is not None and best is not None:
            best = refine(source, best, rng, tol=tol(source), **options)
            interrupted = best.interrupted
    except KeyboardInterrupt:
        if best is None:
            raise
        interrupted = True
    finally:
        if checkpoint is not None:
            checkpoint.flush()
    assert best is not None
    if len(best.labels) == 0:  # from the checkpoint, which holds no labels: they follow from the centroids
        source.reset()
        labelled = lloyd(source, best.centroids, max_iter=0, tol=0.0)
        best = replace(best, labels=labelled.labels, withinss=labelled.withinss, sizes=labelled.sizes)
    return replace(best, interrupted=interrupted)


def _keep(checkpoint: Checkpoint, run: State, before: NDArray, centroids: NDArray, history: list[Iteration]) -> None:
    checkpoint.keep(replace(run, centroids=centroids, before=before, history=list(history)))
