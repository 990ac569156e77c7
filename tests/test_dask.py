"""Dask arrays: the bits of memory from a fit, lazy answers, and what is refused."""

import pickle
from functools import reduce
from operator import add

import numpy as np
import pytest

from gpukm import BisectingKMeans, KMeans, MiniBatchKMeans, SphericalKMeans
from gpukm.color import Histogram

da = pytest.importorskip("dask.array")

X = np.random.default_rng(0).random((5000, 7)).astype(np.float32)


def lazily(rows=700, columns=3, dtype=np.float32):
    return da.from_array(X.astype(dtype), chunks=(rows, columns))


@pytest.mark.parametrize("max_memory", [64 << 20, 40_000])  # all at once, and chunk by chunk
@pytest.mark.parametrize("rows", [700, 1, 5000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fit_has_the_bits_of_memory(max_memory, rows, dtype):
    """Chunks longer and shorter than those that memory allows."""
    given = lazily(max(rows, 50), 3, dtype)
    weights = np.arange(5000) % 4
    plain = KMeans(4, random_state=0).fit(X.astype(dtype), sample_weight=weights)
    model = KMeans(4, random_state=0, max_memory=max_memory).fit(given, sample_weight=weights)
    np.testing.assert_array_equal(model.cluster_centers_, plain.cluster_centers_)
    np.testing.assert_array_equal(model.labels_, plain.labels_)
    assert (model.inertia_, model.n_iter_) == (plain.inertia_, plain.n_iter_)
    assert model.score(given) == plain.score(X.astype(dtype))


@pytest.mark.parametrize("class_", [KMeans, MiniBatchKMeans])
def test_answers_are_lazy(class_):
    """Nothing is computed by predict and transform; then it is what memory gives, chunk by chunk."""
    plain = class_(4, random_state=0).fit(X)
    counted = []

    def count(block):
        counted.append(len(block))
        return block

    given = lazily().map_blocks(count, dtype=np.float32, meta=np.empty((0, 0), np.float32))
    labels, distances = plain.predict(given), plain.transform(given)
    assert not counted
    assert labels.chunks == (given.chunks[0],) and distances.chunks == (given.chunks[0], (4,))
    assert (labels.dtype, distances.dtype) == (np.int32, np.float32)
    np.testing.assert_array_equal(labels.compute(), plain.predict(X))
    np.testing.assert_array_equal(distances.compute(), plain.transform(X))
    assert plain.labels_.shape == (5000,)
    assert plain.transform(lazily(dtype=np.float64)).dtype == np.float64


def test_what_is_sent_to_workers_is_small():
    """The labels of the fit stay behind."""
    cloudpickle = pytest.importorskip("cloudpickle")
    model = KMeans(2, random_state=0).fit(np.repeat(X, 40, axis=0))
    assert len(pickle.dumps(model)) > 500_000 > len(cloudpickle.dumps(model.predict(lazily(5000)[:10].map_blocks(len))))


def test_histograms_of_workers_add_up():
    """Colours of many images, counted where they are."""
    dask = pytest.importorskip("dask")
    images = [np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8) for seed in range(5)]
    parts = [dask.delayed(lambda image: Histogram().add(image))(image) for image in images]
    total = dask.delayed(lambda found: reduce(add, found))(parts).compute(scheduler="threads")
    whole = Histogram().add(np.concatenate(images))
    np.testing.assert_array_equal(total.fit(8).colors, whole.fit(8).colors)
    assert total.n_colors == whole.n_colors


def test_labels_go_to_a_file(tmp_path):
    """``out=`` computes at once."""
    model = KMeans(4, random_state=0).fit(X)
    written = model.predict(lazily(), out=tmp_path / "labels.npy")
    assert isinstance(written, np.memmap)
    np.testing.assert_array_equal(written, model.labels_)


def test_what_is_no_table_of_numbers_is_refused():
    """Each error says what to do."""
    given, model = lazily(), KMeans(2, random_state=0).fit(X)
    for bad, way in (
        (given[:, 0], "reshape"),
        (given.astype(complex), "astype"),
        (given[given[:, 0] > 0.5], "compute_chunk_sizes"),
        (da.concatenate([given, da.full((1, 7), np.nan, dtype=np.float32)]), r"row 5000"),
    ):
        with pytest.raises(ValueError, match=way):
            KMeans(2).fit(bad)
    with pytest.raises(ValueError, match="3 features"):
        model.predict(given[:, :3])
    with pytest.raises(TypeError, match="compute"):
        BisectingKMeans(2).fit(given)
    with pytest.raises(ValueError, match="needs the rows in memory"):
        SphericalKMeans(2, max_memory=10_000).fit(given)
