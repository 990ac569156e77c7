"""gpukm/color/fit.py: exactly k colours, those to keep, the same bytes everywhere, and better than k-means alone."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from PIL import Image

from gpukm import KMeans
from gpukm.array_source import ArraySource
from gpukm.color import Histogram, fit
from gpukm.color.embedding import APART, Embedding
from gpukm.color.errors import measure
from gpukm.color.refine import merge, refine, settle, split
from gpukm.color.spaces import SPACES, ciede2000, lab_of
from gpukm.color.wu import wu

CHELSEA = np.asarray(Image.open(Path(__file__).parents[1] / "examples" / "chelsea.png").convert("RGB"))
PHOTO = CHELSEA[80:180:3, 100:230:3]  # 34 x 44 pixels around an eye
HISTOGRAM = Histogram().add(PHOTO)
ALPHA = np.dstack([PHOTO, np.add.outer(np.arange(34) * 9, np.arange(44) * 5).clip(0, 255).astype(np.uint8)])


def rows(colors: np.ndarray) -> set[tuple[int, ...]]:
    return set(map(tuple, colors.tolist()))


# -- the palette -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "space, k", [("srgb", 255), ("oklab", 1), ("oklab", 16), ("lab", 2), ("din99", 16), ("linear", 16)]
)
def test_a_palette_has_exactly_as_many_colours_as_asked_for(space, k):
    """All different, all used, the most used first; shares and errors are those of the pixels."""
    palette = HISTOGRAM.fit(k, space=space, effort=1)
    assert palette.colors.shape == (k, 3) and len(rows(palette.colors)) == k
    assert (np.diff(palette.weights) <= 0).all() and palette.weights.min() > 0
    assert palette.weights.sum() == pytest.approx(1)
    assert palette.errors == HISTOGRAM.error(palette, space=space).as_dict()


@given(
    arrays(
        np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([3, 4])), elements=st.integers(0, 5)
    ),
    st.integers(2, 40),
    st.sampled_from(["srgb", "oklab", "din99"]),
    st.integers(0, 2),
)
@settings(max_examples=60)
def test_small_images_keep_the_promise_too(image, k, space, effort):
    """k colours whenever there are k, else all of them and no error; with and without alpha."""
    histogram = Histogram().add(image)
    palette = histogram.fit(k, space=space, effort=effort)
    must = 1 if histogram.has_alpha and (histogram.colors[:, 3] == 0).any() else 0
    assert len(palette) == len(rows(palette.colors)) == min(k, histogram.n_colors)
    assert np.count_nonzero(palette.weights) >= len(palette) - must
    if k >= histogram.n_colors:
        assert rows(palette.colors) == rows(histogram.colors) and palette.errors["mse"] == 0


def test_many_duplicates_and_few_colours():
    """A flat image with two specks, and steps of grey, at every size there is."""
    flat = np.full((20, 20, 3), 7, np.uint8)
    flat[0, 0], flat[5, 5] = (255, 0, 0), (254, 0, 0)
    for k in (1, 2, 3):
        assert len(Histogram().add(flat).fit(k)) == k
    assert len(Histogram().add(flat).fit(9)) == 3
    greys = Histogram().add(np.arange(256, dtype=np.uint8).reshape(16, 16))
    for k in (1, 3, 100, 256):
        colors = greys.fit(k, space="srgb").colors
        assert len(colors) == k and (colors == colors[:, :1]).all()


def test_colours_to_keep_are_kept_exactly():
    """As text or numbers, used or not; the others still fit the image."""
    palette = HISTOGRAM.fit(8, keep=["#ff0000", (0, 255, 1)], effort=1)
    assert {(255, 0, 0), (0, 255, 1)} <= rows(palette.colors) and len(palette) == 8
    assert np.count_nonzero(palette.weights) >= 6
    six = HISTOGRAM.fit(6, effort=1)
    assert palette.errors["de_mean"] < 1.05 * six.errors["de_mean"]
    assert rows(HISTOGRAM.fit(2, keep=["#ff0000", "#00ff00"]).colors) == {(255, 0, 0), (0, 255, 0)}
    with pytest.raises(ValueError, match="3 colours are to be kept, but the palette has 2"):
        HISTOGRAM.fit(2, keep=["#111111", "#222222", "#333333"])
    with pytest.raises(ValueError, match="is not a colour"):
        HISTOGRAM.fit(4, keep=[(300, 0, 0)])


def test_a_kept_colour_of_the_image_takes_its_pixels():
    """It counts among the k, and is not doubled."""
    color = PHOTO[20, 30].tolist()
    palette = HISTOGRAM.fit(5, keep=[color], effort=1)
    assert tuple(color) in rows(palette.colors) and len(palette) == len(rows(palette.colors)) == 5


def test_importance_draws_colours():
    """The half that matters is fitted better than without, the other worse."""
    importance = np.zeros(PHOTO.shape[:2])
    importance[:17] = 1.0
    left = Histogram().add(PHOTO[:17])
    weighted = Histogram().add(PHOTO, importance).fit(8, space="srgb")
    assert left.error(weighted, space="srgb").mse < left.error(HISTOGRAM.fit(8, space="srgb"), space="srgb").mse
    assert weighted.weights.sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="importance is 0 everywhere"):
        Histogram().add(PHOTO, importance * 0).fit(8)


def test_balance_by_images_lets_a_small_image_count():
    """Added as they are, a speck of blue drowns; balanced, it gets its colours."""
    blue = Histogram().add(np.array([[[0, 0, 255], [0, 0, 200]]], np.uint8))
    plain = (HISTOGRAM + blue).fit(4, space="srgb")
    balanced = (HISTOGRAM.balanced() + blue.balanced()).fit(4, space="srgb")
    assert blue.error(balanced, space="srgb").mse < 0.1 * blue.error(plain, space="srgb").mse


# -- quality ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [4, 40])
def test_a_fit_is_better_than_k_means(k):
    """In squared error, 8-bit palette against unrounded centroids of scikit-learn's kind of run."""
    palette = HISTOGRAM.fit(k, space="srgb")
    model = KMeans(k, random_state=0).fit(HISTOGRAM.colors, sample_weight=HISTOGRAM.counts.astype(float))
    rounding = 3 / 12 * 1.5
    assert palette.errors["mse"] * 3 < model.inertia_ / HISTOGRAM.n_pixels + rounding


def test_the_goal_is_reached_on_chelsea():
    """Mean squared error and mean CIEDE2000 at 16 colours: better than any other tool (see bench/colour.py)."""
    whole = Histogram().add(CHELSEA)
    assert round(whole.fit(16, space="srgb").errors["mse"], 2) <= 51.40
    assert round(whole.fit(16, space="din99").errors["de_mean"], 2) <= 3.40


def test_each_space_wins_by_its_own_measure():
    """srgb has the least squared error, din99 the least CIEDE2000, oklab comes second there."""
    palettes = {space: HISTOGRAM.fit(16, space=space) for space in ("srgb", "oklab", "din99")}
    assert min(palettes, key=lambda space: palettes[space].errors["mse"]) == "srgb"
    assert sorted(palettes, key=lambda space: palettes[space].errors["de_mean"]) == ["din99", "oklab", "srgb"]


def test_more_effort_and_more_colours_are_no_worse():
    """Effort 2 against none, and the error along the sizes."""
    for k in (6, 20):
        least = [HISTOGRAM.fit(k, space="srgb", effort=effort).errors["mse"] for effort in (0, 2)]
        assert least[1] <= least[0] + 0.05  # by rounding
    errors = [HISTOGRAM.fit(k, space="srgb", effort=0).errors["mse"] for k in (1, 2, 4, 8, 16, 32)]
    assert errors == sorted(errors, reverse=True)


def test_with_few_colours_the_first_effort_tries_everything():
    """As the docstrings say: 22 colours are the most for which more effort changes nothing."""
    small = Histogram().add(PHOTO[:12, :12])
    for k in (2, 22):
        assert small.fit(k, space="srgb", effort=1).hex == small.fit(k, space="srgb", effort=4).hex


def test_refining_never_raises_the_squared_error():
    """And held centroids are held; k centroids come back, however few points there are."""
    rng = np.random.default_rng(1)
    for n, k, fixed in [(400, 7, 0), (400, 7, 3), (30, 12, 2), (9, 8, 1), (50, 2, 1), (50, 1, 0)]:
        X = rng.integers(0, 200, (n, 3)).astype(np.float32)
        weights = rng.integers(1, 9, n).astype(float)
        start = X[:k].copy()
        source = ArraySource(X, weights, dtype=np.float32)
        before = settle(source, start, fixed, 100)
        after = refine(source, X, weights, start, fixed, 2)
        assert after.shape == (k, 3)
        assert_array_equal(after[:fixed], start[:fixed])
        assert settle(source, after, fixed, 100).inertia <= before.inertia


def test_split_and_merge_undo_each_other():
    """Two blobs in one cluster are split between them; the cheapest merge puts the halves together again."""
    X = np.array([[0, 0, 0], [0, 1, 0], [20, 0, 0], [20, 1, 0], [0, 90, 0], [1, 90, 0]], np.float32)
    weights = np.ones(6)
    source = ArraySource(X, weights, dtype=np.float32)
    state = settle(source, np.array([[10, 0.5, 0], [0.5, 90, 0]], np.float32), 0, 10)
    cut = settle(source, split(X, weights, state, 0, 1, 0), 0, 10)
    assert rows(np.sort(cut.centroids, axis=0)) and {(0.0, 0.5, 0.0), (20.0, 0.5, 0.0)} <= rows(cut.centroids)
    again = merge(cut, weights, 0, 2)
    assert_array_equal(np.sort(again[:, 0]), [0.5, 10])
    held = merge(cut, weights, 3, 3)
    assert_array_equal(held, cut.centroids)


def test_wus_boxes_have_the_means_of_their_colours():
    """All colours in one box at k = 1; separated groups are found; no more boxes than cells with colours."""
    X = np.array([[0, 0, 0], [2, 0, 0], [100, 100, 0], [102, 100, 0], [0, 0, 250]], np.float32)
    weights = np.array([1.0, 3, 2, 2, 5])
    assert_array_equal(wu(X, weights, 1), [(X * weights[:, None]).sum(axis=0) / 13])
    assert rows(wu(X, weights, 3)) == {(1.5, 0.0, 0.0), (101.0, 100.0, 0.0), (0.0, 0.0, 250.0)}
    assert len(wu(np.repeat(X, 2, axis=0), np.ones(10), 50)) == 3  # the others share cells
    assert_array_equal(wu(X[:1], weights[:1], 4), X[:1])


# -- the same bytes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"space": "din99"}, {"init": "k-means++"}, {"keep": "#ff0000"}])
def test_every_engine_gives_the_same_bytes(monkeypatch, options):
    """NumPy and Numba, to the byte, with alpha too."""
    pytest.importorskip("numba")
    for histogram in (HISTOGRAM, Histogram().add(ALPHA)):
        palettes = []
        for engine in ("numpy", "numba"):
            monkeypatch.setenv("GPUKM_ENGINE", engine)
            palettes.append(histogram.fit(12, effort=1, **options))
        assert_array_equal(palettes[0].colors, palettes[1].colors)
        assert_array_equal(palettes[0].weights, palettes[1].weights)
        assert palettes[0].errors == palettes[1].errors


def test_the_order_and_the_number_of_the_pixels_do_not_matter():
    """Mirrored, or every pixel twice: the same palette."""
    expected = HISTOGRAM.fit(16, effort=1)
    for image in (PHOTO[::-1, ::-1], np.concatenate([PHOTO, PHOTO])):
        assert_array_equal(Histogram().add(image).fit(16, effort=1).colors, expected.colors)


def test_a_search_on_cells_ends_near_the_one_on_colours(monkeypatch):
    """Many colours are searched by the means of their cells; the last k-means is on all of them."""
    whole = HISTOGRAM.fit(16, space="srgb").errors["mse"]
    monkeypatch.setattr(fit, "COARSE_FROM", 100)
    assert HISTOGRAM.fit(16, space="srgb").errors["mse"] < 1.02 * whole
    assert Histogram().add(ALPHA).fit(16, space="srgb").colors.shape == (16, 4)


# -- alpha -----------------------------------------------------------------------------------------------


def test_distances_with_alpha_are_means_over_black_and_white():
    """The four coordinates, in the space of the fit; the fifth tells opaque colours only."""
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 256, (2, 50, 4)).astype(np.uint8)
    a[:5, 3] = 255
    points = [Embedding("srgb", alpha=True).points(some).astype(float) for some in (a, b)]
    over = []
    for behind in (0, 255):
        laid = [some[:, :3] * (some[:, 3:] / 255) + behind * (1 - some[:, 3:] / 255) for some in (a, b)]
        over.append(((laid[0] - laid[1]) ** 2).sum(axis=1))
    np.testing.assert_allclose(((points[0] - points[1])[:, :4] ** 2).sum(axis=1), np.mean(over, axis=0), rtol=1e-4)
    assert_array_equal(points[0][:, 4] == APART, a[:, 3] == 255)


@pytest.mark.parametrize("space", SPACES)
def test_colours_come_back_from_points(space):
    """`colors` undoes `points` for every 8-bit colour, opaque, clear or between."""
    rng = np.random.default_rng(3)
    solid = rng.integers(0, 256, (300, 3)).astype(np.uint8)
    assert_array_equal(Embedding(space).colors(Embedding(space).points(solid)), solid)
    clear = np.concatenate([solid, rng.integers(60, 256, (300, 1)).astype(np.uint8)], axis=1)
    clear[:20], clear[20:40, 3] = 0, 255
    embedding = Embedding(space, alpha=True)
    assert_array_equal(embedding.colors(embedding.points(clear)), clear)


@pytest.mark.parametrize("space, k", [("srgb", 3), ("oklab", 16), ("din99", 8), ("srgb", 64)])
def test_invisible_stays_invisible_and_opaque_opaque(space, k):
    """One exact transparent entry; opaque pixels go to opaque entries; exactly k of them."""
    histogram = Histogram().add(ALPHA)
    palette = histogram.fit(k, space=space, effort=1)
    assert len(rows(palette.colors)) == k and (0, 0, 0, 0) in rows(palette.colors)
    labels = Embedding(space, alpha=True).nearest(histogram.colors, palette.colors)
    alpha, found = histogram.colors[:, 3], palette.colors[labels, 3]
    assert (found[alpha == 0] == 0).all() and (found[alpha == 255] == 255).all()


def test_one_colour_cannot_be_clear_and_opaque():
    """The message says what to do; with only one of the two it works."""
    with pytest.raises(ValueError, match="no place for an opaque colour"):
        Histogram().add(ALPHA).fit(1)
    assert rows(Histogram().add(ALPHA[:1, :1] * 0).fit(1).colors) == {(0, 0, 0, 0)}
    assert Histogram().add(np.dstack([PHOTO, np.full(PHOTO.shape[:2], 9, np.uint8)])).fit(1).colors.shape == (1, 4)


# -- errors, settings ------------------------------------------------------------------------------------


def test_errors_are_those_of_the_definition():
    """Over all pixels, one by one."""
    palette = HISTOGRAM.fit(9, effort=0)
    labels = Embedding("oklab").nearest(PHOTO.reshape(-1, 3), palette.colors)
    replaced = palette.colors[labels]
    difference = np.sort(ciede2000(lab_of(PHOTO.reshape(-1, 3)), lab_of(replaced)))
    expected = {
        "mse": ((PHOTO.reshape(-1, 3).astype(float) - replaced) ** 2).mean(),
        "de_mean": difference.mean(),
        "de_max": difference[-1],
        "de_p95": difference[int(np.ceil(0.95 * len(difference))) - 1],
    }
    for name, value in expected.items():
        assert palette.errors[name] == pytest.approx(value, rel=1e-12, abs=2**-12 if name.startswith("de_") else 0)
    assert palette.errors["psnr"] == pytest.approx(10 * np.log10(255**2 / expected["mse"]))
    half = np.array([[0, 0, 0, 0]], np.uint8), np.array([[255, 255, 255, 255]], np.uint8)
    assert measure(*half, np.array([0]), np.array([7])).mse == 255**2 / 2


@pytest.mark.parametrize(
    "options, message",
    [
        ({"colors": 0}, "colors is 0; it must be an integer from 1 to 65536"),
        ({"colors": 2.5}, "colors is 2.5"),
        ({"colors": True}, "colors is True"),
        ({"space": "hsv"}, "space is 'hsv'; it may be 'oklab'"),
        ({"chroma": -1.0}, "chroma is -1.0"),
        ({"effort": 9}, "effort is 9"),
        ({"init": "random"}, "init is 'random'; it may be 'wu'"),
        ({"random_state": "x"}, "random_state"),
        ({"device": "gpu"}, "device"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    """The message has what was given and what may be."""
    with pytest.raises(ValueError, match=message):
        HISTOGRAM.fit(**options)


def test_an_empty_histogram_has_no_palette():
    """It says so."""
    for method in (Histogram().fit, lambda: Histogram().error(["#000000"])):
        with pytest.raises(ValueError, match="the histogram is empty"):
            method()
