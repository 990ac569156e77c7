"""Mini-batch k-means of rows outside memory: the same bits as of the same rows in memory."""

import subprocess
import sys

import numpy as np
import pytest
from test_stream_source import SMALL, blobs, cut, everywhere

from gpukm import MiniBatchKMeans, load, open_rows

OPTIONS = {"batch_size": 128, "max_iter": 6, "random_state": 3}


def bits(model):
    rows = [getattr(model, name) for name in ("labels_", "withinss_", "size_") if hasattr(model, name)]
    return (
        model.cluster_centers_.tobytes(),
        model.counts_.tobytes(),
        [array.tobytes() for array in rows],
        (model.inertia_, getattr(model, "totss_", None)),
        (model.n_iter_, model.n_steps_, model.converged_),
        [(i.inertia, i.shift, i.changed, i.relocated) for i in model.history_],
    )


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_one_model_from_any_place(engine, dtype, tmp_path):
    """Array, memory map, files of every format and iterators in odd blocks give the same bits."""
    X = blobs(dtype=dtype) if dtype != np.uint8 else np.random.default_rng(1).integers(0, 256, (2000, 5), dtype)
    options = OPTIONS | {"max_iter": 1, "batch_size": 400}
    wanted = bits(MiniBatchKMeans(4, **options).fit(X))
    for name, place in everywhere(X, tmp_path).items():
        model = MiniBatchKMeans(4, max_memory=SMALL if dtype == np.float32 else SMALL // 4, **options).fit(place)
        assert bits(model) == wanted, name


@pytest.mark.parametrize(
    "options",
    [
        {"init": "random"},
        {"init": "k-means||"},
        {"init": "maximin", "init_size": 5000},
        {"init": "random-partition", "n_init": 2},
        {"init": lambda X, k, random_state: X[random_state.choice(len(X), k, replace=False)]},
        {"init": lambda X, k, random_state: X[:k], "init_size": 5000},
        {"tol": 0.01},
        {"refine": 3},
        {"compute_labels": False},
        {"compute_labels": False, "refine": 2},
        {"max_no_improvement": None, "max_iter": 2},
        {"reassignment_ratio": 0.5, "n_clusters": 12},
        {"batch_size": 5000},
    ],
)
def test_every_option_gives_the_bits_of_memory(options):
    """Starts, ends, reassignment, and iterations of Lloyd's algorithm: where the rows are does not show."""
    X, options = blobs(1500), {"n_clusters": 5} | OPTIONS | options
    wanted = MiniBatchKMeans(**options).fit(X)
    model = MiniBatchKMeans(max_memory=SMALL // 2, **options).fit(cut(X, (7, 501, 64)))
    assert bits(model) == bits(wanted)


@pytest.mark.parametrize("whole", [True, False])
def test_weights_give_the_bits_of_memory(whole):
    """Whole weights are repetition, others say how often rows are drawn; rows of weight 0 are never drawn."""
    X, rng = blobs(1500), np.random.default_rng(0)
    weight = rng.integers(0, 4, 1500).astype(float) if whole else rng.random(1500) * (rng.random(1500) < 0.8)
    wanted = bits(MiniBatchKMeans(5, refine=2, **OPTIONS).fit(X, sample_weight=weight))
    streamed = MiniBatchKMeans(5, refine=2, max_memory=SMALL // 2, **OPTIONS)
    assert bits(streamed.fit(cut(X, (7, 501, 64)), sample_weight=weight)) == wanted


def test_memory_blocks_and_the_order_of_the_rows_do_not_matter():
    """Neither max_memory, which says how many batches are fetched at once, nor sorted rows change the centroids."""
    X = blobs(3000)
    wanted = MiniBatchKMeans(4, **OPTIONS).fit(X).cluster_centers_
    for memory in (1 << 10, 1 << 13, 1 << 15):
        rows = X[np.argsort(X[:, 0])]
        model = MiniBatchKMeans(4, max_memory=memory, **OPTIONS).fit(cut(rows, (100,)))
        np.testing.assert_array_equal(model.cluster_centers_, wanted)


def test_batches_are_fetched_together():
    """A pass over the rows brings as many batches as memory holds, not one."""
    X, passes = blobs(4000), 0

    def make():
        nonlocal passes
        passes += 1
        yield from np.array_split(X, 9)

    options = {"max_no_improvement": None, "max_iter": 4, "batch_size": 10, "compute_labels": False, "random_state": 0}
    model = MiniBatchKMeans(4, max_memory=1 << 16, **options).fit(make)
    assert model.n_steps_ == 1600
    at_once = (1 << 16) // 8 // (5 * 4 + 32) // 10
    assert at_once > 10 and passes == 3 + -(-1600 // at_once)  # bounds, hashes, start


def test_few_rows_are_read_one_by_one(tmp_path, monkeypatch):
    """Where a file can be sought in and its rows are long, a batch costs its rows, not a pass."""
    X = np.random.default_rng(0).random((4000, 200), np.float32)
    np.save(tmp_path / "X.npy", X)
    reader, read = open_rows(tmp_path / "X.npy"), [0]
    whole = type(reader).blocks

    def counted(self, rows, start, buffers):
        for block in whole(self, rows, start, buffers):
            read[0] += len(block)
            yield block

    monkeypatch.setattr(type(reader), "blocks", counted)
    options = {
        "batch_size": 10,
        "compute_labels": False,
        "random_state": 0,
        "callback": lambda step: step.iteration == 30,
    }
    model = MiniBatchKMeans(3, max_memory=1 << 20, **options).fit(reader)
    assert model.n_steps_ == 30
    assert read[0] < 2 * 4000 + 1000
    assert bits(model) == bits(MiniBatchKMeans(3, **options).fit(X))


def test_a_fitted_model_is_saved_and_goes_on(tmp_path):
    """From a stream too, save and load keep what partial_fit needs."""
    X = blobs(1500)
    model = MiniBatchKMeans(4, max_memory=SMALL // 2, **OPTIONS).fit(cut(X, (400,)))
    model.save(tmp_path / "m.npz")
    again = load(tmp_path / "m.npz")
    np.testing.assert_array_equal(
        again.partial_fit(X[:100]).cluster_centers_, model.partial_fit(X[:100]).cluster_centers_
    )


def test_fit_predict_reads_the_rows_again():
    """Without compute_labels the labels come from predict, in chunks."""
    X = blobs(1500)
    model = MiniBatchKMeans(4, max_memory=SMALL // 2, compute_labels=False, **OPTIONS)
    labels = model.fit_predict(cut(X, (400,)))
    np.testing.assert_array_equal(labels, MiniBatchKMeans(4, **OPTIONS).fit(X).labels_)
    assert not hasattr(model, "labels_")


def test_faults_leave_an_earlier_fit_alone():
    """NaN, too few rows, an iterator that fails or changes its mind: an error that says so, and the model as it was."""
    X, state = blobs(1500), {"passes": 0, "fail": 0}
    bad = X.copy()
    bad[1234, 2] = np.nan
    model = MiniBatchKMeans(4, max_memory=SMALL // 2, **OPTIONS).fit(X)
    before = bits(model)

    def failing():
        state["passes"] += 1
        yield X[:700]
        if state["passes"] >= state["fail"]:
            raise OSError("the cable came off")
        yield X[700:]

    with pytest.raises(ValueError, match="row 1234.*column 2|NaN"):
        model.fit(cut(bad, (100,)))
    with pytest.raises(ValueError, match="n_samples=3"):
        model.fit(cut(np.tile(X[:3], (1, 2000)), (1,)))
    for state["fail"] in (1, 2, 3, 4):
        state["passes"] = 0
        with pytest.raises(OSError, match="cable"):
            model.fit(failing)
    assert bits(model) == before


def test_an_iterator_is_refused():
    """It can be read once only."""
    with pytest.raises(TypeError, match="read once only"):
        MiniBatchKMeans(4).fit(block for block in [blobs(1500)])


MEASURED = """
import sys
import numpy as np
from pathlib import Path
from gpukm import MiniBatchKMeans

def status(field):
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))

path, memory = sys.argv[1], int(sys.argv[2])
options = {"max_memory": memory, "random_state": 0, "refine": 1, "max_iter": 2}
MiniBatchKMeans(8, **options).fit(np.random.default_rng(0).random((4000, 64), np.float32))
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
MiniBatchKMeans(8, **options).fit(path)
print(status("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_memory_stays_below_the_cap(tmp_path):
    """The peak of a fit is less than max_memory beyond what is kept for each row; the file is five times as large."""
    n, memory = 320_000, 16 << 20
    rows = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, (n, 64))
    rng = np.random.default_rng(0)
    for start in range(0, n, 20_000):
        rows[start : start + 20_000] = rng.random((20_000, 64), np.float32)
    del rows
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / "X.npy"), str(memory)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < memory + 34 * n
