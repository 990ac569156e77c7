"""Colours of pixels on a CUDA device: the counts of the host."""

from dataclasses import replace

import numpy as np
import pytest

from gpukm.color import Histogram, pixels
from gpukm.kernels import colors, colors_cuda


def picture(kind, height, width):
    """Pixels of many colours, of one, or in flat areas; blocks of the launch more or less by one."""
    rng = np.random.default_rng(height)
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    if kind == "flat":
        return np.full((height, width, 3), (255, 0, 1), np.uint8)
    return np.repeat(rng.integers(250, 256, (height, -(-width // 7), 3)).astype(np.uint8), 7, axis=1)[:, :width]


def counted(gpu, image):
    [(keys, counts)] = colors_cuda.count_colors(gpu, gpu.to_device(image).reshape(-1, 3))
    return keys, counts


@pytest.mark.parametrize("kind", ["noise", "flat", "areas"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 255), (19, 27), (64, 129), (3, 4001)])
def test_counts_are_those_of_the_host(gpu, kind, height, width):
    """Keys in order, black, white and the last pixel among them, whatever the number of pixels."""
    image = picture(kind, height, width)
    image[-1, -1], image[0, 0] = 255, 0
    expected = Histogram().add(image)
    keys, counts = counted(gpu, image)
    np.testing.assert_array_equal(keys, expected.keys)
    np.testing.assert_array_equal(counts, expected.counts)
    assert keys.dtype == np.uint32 and counts.dtype == np.int64


def test_counts_of_parts_add_up(gpu, monkeypatch):
    """More pixels than a table's counts can hold are counted in several."""
    image = picture("areas", 40, 50)
    expected = counted(gpu, image)
    monkeypatch.setattr(colors_cuda, "MOST_PIXELS", 999)
    parts = list(colors_cuda.count_colors(gpu, gpu.to_device(image).reshape(-1, 3)))
    assert len(parts) == 3
    for key, count in zip(*expected, strict=True):
        assert sum(int(counts[keys == key].sum()) for keys, counts in parts) == count


@pytest.mark.sanitized
def test_a_small_picture_is_counted():
    """For the sanitizers: a block and a part of one."""
    from emulator import EmulatedGpu, build

    build.require()
    image = picture("areas", 13, 23)
    keys, counts = counted(EmulatedGpu(), image)
    np.testing.assert_array_equal(keys, Histogram().add(image).keys)
    assert counts.sum() == 13 * 23


def test_the_last_pixels_of_more_than_two_to_the_31():
    """Those of the last block, with offsets beyond 32 bits; the others are not in memory."""
    from emulator import FACTS, EmulatedGpu, build, vast

    build.require()
    gpu = EmulatedGpu(facts=replace(FACTS, multiprocessors=1 << 24), last_blocks=1)
    image = vast((2**31 + 100, 3), np.uint8)
    image[2**31 :] = picture("areas", 10, 10).reshape(-1, 3)
    keys, counts = counted(gpu, image)
    expected = Histogram().add(np.ascontiguousarray(image[2**31 :])[None])
    np.testing.assert_array_equal(keys, expected.keys)
    np.testing.assert_array_equal(counts, expected.counts)


@pytest.fixture
def on_device(gpu, monkeypatch):
    """Makes NumPy's arrays lie on a device, which is `gpu`; says which images were counted there."""
    seen = []
    real = colors.gpu

    def chosen(number):
        seen.append(number)
        return gpu

    assert real is not chosen
    monkeypatch.setattr(pixels, "cuda_device", lambda image: 3)
    monkeypatch.setattr(pixels, "cuda_works", lambda: True)
    monkeypatch.setattr(colors, "gpu", chosen)
    return seen


@pytest.mark.parametrize("view", ["whole", "strided", "Fortran"])
def test_a_histogram_takes_pixels_where_they_are(on_device, view):
    """Strips, images of other kinds and files go into one histogram with them, and fits are the same."""
    image = picture("areas", 30, 40)
    image = {"whole": image, "strided": image[::2, ::3], "Fortran": np.asfortranarray(image)}[view]
    histogram = Histogram().add(image[:11]).add(image[11:])
    assert on_device == [3, 3]
    alpha = np.concatenate([image, np.full((*image.shape[:2], 1), 7, np.uint8)], axis=2)
    importance = np.ones(image.shape[:2])
    mixed = Histogram().add(image) + Histogram().add(alpha) + Histogram().add(image, importance)
    assert len(on_device) == 3  # no other kind of image, and none with importance, is counted there
    del on_device[:]
    expected = Histogram().add(np.ascontiguousarray(image).astype(np.uint16) * np.uint16(257))
    assert not on_device
    assert histogram.n_pixels == expected.n_pixels and mixed.n_pixels == 3 * histogram.n_pixels
    np.testing.assert_array_equal(histogram.counts, expected.counts)
    np.testing.assert_array_equal(histogram.colors, expected.colors // 257)
    np.testing.assert_array_equal(mixed.weights.sum(), 255 * 3 * histogram.n_pixels)


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (4, 5, 2), (4, 5, 3, 1)])
def test_what_is_no_image_is_refused_on_a_device_too(on_device, shape):
    """With the message that it gets on the host."""
    with pytest.raises(ValueError, match="image has shape"):
        Histogram().add(np.zeros(shape, np.uint8))
    assert not on_device
