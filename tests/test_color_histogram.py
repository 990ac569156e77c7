"""gpukm/color/histogram.py: exact counts, whatever the strips, their order, the process; files that are checked."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from PIL import Image

from gpukm.color import Histogram, counts, histogram, pixels
from gpukm.color.keys import pack, unpack, widen

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (90, 70, 3)).astype(np.uint8) // 16 * 16


def assert_counts(found: Histogram, image: np.ndarray) -> None:
    """The histogram is that of the image by definition."""
    colors, times = np.unique(image.reshape(-1, image.shape[-1]), axis=0, return_counts=True)
    assert_array_equal(found.colors, colors)
    assert_array_equal(found.counts, times)
    assert found.n_pixels == image.shape[0] * image.shape[1] and found.n_colors == len(colors)


def same(a: Histogram, b: Histogram) -> bool:
    parts = ("keys", "counts", "weights")
    return (a.depth, a.has_alpha) == (b.depth, b.has_alpha) and all(
        np.array_equal(getattr(a, part), getattr(b, part)) for part in parts
    )


@given(
    st.sampled_from([np.uint8, np.uint16]).flatmap(
        lambda kind: arrays(kind, st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([3, 4])))
    )
)
def test_counts_are_those_of_the_definition(image):
    """8 or 16 bits, with and without alpha; invisible colours are one, an opaque alpha is none."""
    expected = image.copy()
    top = np.iinfo(image.dtype).max
    if image.shape[-1] == 4:
        expected[..., :3][image[..., 3] == 0] = 0
        expected = expected[..., :3] if (image[..., 3] == top).all() else expected
    found = Histogram().add(image)
    assert_counts(found, expected)
    assert found.depth == 8 * image.dtype.itemsize and found.has_alpha == (expected.shape[-1] == 4)


@pytest.mark.parametrize("table_from", [1, 100, 1 << 18])
@pytest.mark.parametrize("strip", [1, 1000, 1 << 20])
def test_any_strip_and_either_way_of_counting_give_the_same(monkeypatch, table_from, strip):
    """By the table or by keys, in one piece or row by row, added in any order."""
    monkeypatch.setattr(pixels, "STRIP_PIXELS", strip)
    monkeypatch.setattr(counts, "TABLE_FROM", table_from)
    monkeypatch.setattr(histogram, "TABLE_FROM", table_from)
    assert_counts(Histogram().add(NOISE), NOISE)
    parts = [Histogram().add(NOISE[start : start + 30]) for start in (60, 0, 30)]
    assert_counts(sum(parts), NOISE)
    grown = Histogram()
    for start in (30, 60, 0):
        grown.add(NOISE[start : start + 30])
    assert_counts(grown, NOISE)


def test_a_full_table_goes_on_as_keys(monkeypatch):
    """Its 32-bit counts are moved away before they could overflow."""
    monkeypatch.setattr(counts, "_TABLE_FULL", 7000)
    monkeypatch.setattr(counts, "TABLE_FROM", 1)
    monkeypatch.setattr(histogram, "TABLE_FROM", 1)
    found = Histogram().add(NOISE).add(NOISE).add(NOISE)
    assert_counts(found, np.concatenate([NOISE] * 3))


def test_mixed_images_take_the_deepest_form():
    """8-bit, 16-bit and transparent pixels add up in any order, to the same histogram."""
    deep = NOISE[:20].astype(np.uint16) * 250 + 3
    clear = np.concatenate([NOISE[:20], RNG.integers(0, 256, (20, 70, 1)).astype(np.uint8)], axis=-1)
    images = [NOISE, deep, clear]
    first = sum(Histogram().add(image) for image in images)
    second = sum(Histogram().add(image) for image in reversed(images))
    assert same(first, second) and first.depth == 16 and first.has_alpha
    assert first.n_pixels == sum(image.shape[0] * image.shape[1] for image in images)
    wide = widen(NOISE.reshape(-1, 3), 16, True)
    assert np.isin(pack(wide), first.keys).all()


def test_adding_leaves_the_parts_alone():
    """h1 + h2 is a new histogram; a strip that is read-only, turned or not contiguous is fine and stays."""
    image = NOISE.copy()
    image.flags.writeable = False
    first, second = Histogram().add(image[::-2, ::3]), Histogram().add(np.asfortranarray(image))
    total = first + second
    assert total.n_pixels == first.n_pixels + second.n_pixels
    assert_counts(second, NOISE)
    assert_array_equal(image, NOISE)
    assert (
        same(total, second + first)
        and same(first + Histogram(), first)
        and same(pickle.loads(pickle.dumps(total)), total)
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["plain", "deep", "clear"])
def test_a_file_brings_the_same_histogram_back(tmp_path, kind, weighted):
    """Saved and loaded without pickle; not overwritten unless asked."""
    image = {"plain": NOISE, "deep": NOISE.astype(np.uint16) * 3, "clear": NOISE.repeat(2, axis=2)[..., :4]}[kind]
    saved = Histogram().add(image, np.full(image.shape[:2], 0.5) if weighted else None)
    saved.save(tmp_path / "h.npz")
    assert same(Histogram.load(tmp_path / "h.npz"), saved)
    with pytest.raises(FileExistsError, match="exists"):
        saved.save(tmp_path / "h.npz")
    saved.save(tmp_path / "h.npz", force=True)


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    """Whatever is inside, the error names the file."""
    path = tmp_path / "h.npz"
    Histogram().add(NOISE).save(path)
    with np.load(path) as archive:
        good = dict(archive)
    changes = [
        {"counts": good["counts"][:-1]},
        {"counts": -good["counts"]},
        {"counts": good["counts"].astype(float)},
        {"keys": good["keys"][::-1]},
        {"keys": good["keys"] + np.uint32(1 << 24)},
        {"weights": good["counts"]},
        {"header": np.frombuffer(b'{"format": "gpukm-histogram-1", "depth": 9, "alpha": false}', np.uint8)},
    ]
    for change in changes:
        np.savez(path, **(good | change))
        with pytest.raises(ValueError, match=r"h\.npz: its colours and counts do not belong together"):
            Histogram.load(path)
    for foreign in ({"a": np.zeros(3)}, good | {"header": np.zeros(3, np.uint8)}):
        np.savez(path, **foreign)
        with pytest.raises(ValueError, match=r"h\.npz: holds no histogram"):
            Histogram.load(path)
    path.write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(ValueError, match=r"h\.npz"):
        Histogram.load(path)


def test_too_many_colours_are_refused_and_nothing_is_added(monkeypatch):
    """The cap holds for alpha and 16 bits; the message says what to do."""
    monkeypatch.setattr(counts, "MAX_COLORS", 1000)
    found = Histogram().add(NOISE[:2])
    before = found.copy()
    with pytest.raises(ValueError, match=r"at most 1000 .*Reduce the image to 8 bits"):
        found.add(RNG.integers(0, 65536, (60, 60, 3)).astype(np.uint16))
    assert same(found, before)


def test_a_bad_image_adds_nothing():
    """Floats beyond 1 in the last row are found before anything is counted."""
    found = Histogram().add(NOISE)
    before = found.copy()
    image = np.zeros((5, 5, 3))
    image[-1, -1] = np.nan
    with pytest.raises(ValueError, match="floats that are not from 0 to 1"):
        found.add(image)
    assert same(found, before)


@pytest.mark.parametrize(
    "image", [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3), int)]
)
def test_arrays_that_are_no_images_are_refused(image):
    """The message has the shape and the dtype, and what may be."""
    with pytest.raises(ValueError, match="image has shape"):
        Histogram().add(image)


def test_floats_are_sixteen_bits_and_grey_is_three_channels():
    """x / 255 as a float is the 8-bit colour; (height, width) is grey."""
    found = Histogram().add(NOISE / 255)
    assert found.depth == 16
    assert_counts(found, NOISE.astype(np.uint16) * 257)
    assert_counts(Histogram().add(NOISE[:, :, 0]), NOISE[:, :, :1].repeat(3, axis=2))
    swapped = NOISE.astype(np.uint16).astype(">u2")
    assert same(Histogram().add(swapped), Histogram().add(NOISE.astype(np.uint16)))


def test_importance_weighs_and_does_not_count():
    """Weights are 255 x importance; counts stay pixels; plain images mix as importance 1."""
    importance = RNG.random(NOISE.shape[:2])
    found = Histogram().add(NOISE, importance)
    assert_counts(found, NOISE)
    keys = pack(NOISE.reshape(-1, 3))
    by_hand = [np.rint(importance.ravel()[keys == key] * 255).sum() for key in found.keys]
    assert_array_equal(found.weights, by_hand)
    mixed = found + Histogram().add(NOISE)
    assert_array_equal(mixed.weights, found.weights + 255 * found.counts)
    assert_array_equal(Histogram().add(NOISE, np.ones(NOISE.shape[:2], bool)).weights, 255 * found.counts)
    for wrong in (
        np.ones((3, 3)),
        -importance,
        importance * 2,
        np.full(importance.shape, np.nan),
        importance.astype(int),
    ):
        with pytest.raises(ValueError, match="importance has"):
            Histogram().add(NOISE, wrong)


def test_balanced_images_weigh_alike():
    """A balanced histogram has a total of 2^40, to rounding; the counts stay."""
    small, large = Histogram().add(NOISE[:3]), Histogram().add(NOISE)
    for one in (small, large):
        total = one.balanced().weights.sum()
        assert abs(total / 2**40 - 1) < 1e-6
        assert_array_equal(one.balanced().counts, one.counts)
    with pytest.raises(ValueError, match="no weight"):
        Histogram().balanced()


@given(arrays(np.uint16, (5, 4)))
def test_keys_sort_as_colours_and_come_back(colors):
    """Packed and unpacked, 8 and 16 bits."""
    for some in (colors, colors[:, :3], colors.astype(np.uint8), colors[:, :3].astype(np.uint8)):
        keys = pack(some)
        assert_array_equal(unpack(keys, some.shape[1]), some)
        assert_array_equal(np.argsort(keys, kind="stable"), np.lexsort(some.T[::-1]))


# -- animations ------------------------------------------------------------------------------------------


def test_all_frames_of_an_animation_are_counted(tmp_path):
    """Of a file and of a PIL image, whichever frame it is at; the importance holds for each frame."""
    frames = [Image.new("RGB", (4, 3), color) for color in ((0, 0, 9), (0, 9, 0), (9, 0, 0))]
    frames[2].putpixel((0, 0), (200, 0, 0))
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    found = Histogram().add(tmp_path / "a.png")
    assert found.n_pixels == 36 and found.colors.tolist() == [[0, 0, 9], [0, 9, 0], [9, 0, 0], [200, 0, 0]]
    assert found.counts.tolist() == [12, 12, 11, 1]
    with Image.open(tmp_path / "a.png") as image:
        image.seek(2)
        assert same(Histogram().add(image), found) and image.tell() == 2
        assert Histogram().add(image.copy()).counts.tolist() == [11, 1]
    importance = np.zeros((3, 4), np.uint8)
    importance[0, 0] = 3
    assert Histogram().add(tmp_path / "a.png", importance).weights.tolist() == [3, 3, 0, 3]
