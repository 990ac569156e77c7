"""gpukm/color/mapping.py and dither.py: the nearest entry by its definition; patterns that keep the tone."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from PIL import Image

from gpukm.color import Palette, apply, pixels
from gpukm.color.dither import mask
from gpukm.color.embedding import Embedding
from gpukm.color.spaces import ciede2000, lab_of, linear_light

ROOT = Path(__file__).parents[1]
PHOTO = np.asarray(Image.open(ROOT / "examples" / "chelsea.png").convert("RGB"))[80:180:2, 100:230:2]
CORNERS = ["#000000", "#ff0000", "#00ff00", "#0000ff", "#ffff00", "#ff00ff", "#00ffff", "#ffffff"]
GREYS = ["#000000", "#555555", "#aaaaaa", "#ffffff"]
COLORS = ["#2b1d13", "#8a6a50", "#d8c0b0", "#50381f", "#b08e70", "#102010"]
ALPHA = np.dstack([PHOTO, np.add.outer(np.arange(50) * 6, np.arange(65) * 3).clip(0, 255).astype(np.uint8)])
DITHERS = ["fs", "bayer", "blue"]


# -- the nearest -----------------------------------------------------------------------------------------


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3)), elements=st.integers(0, 9)),
    arrays(np.uint8, st.tuples(st.integers(1, 9), st.just(3)), elements=st.integers(0, 9)),
)
@settings(max_examples=50)
def test_each_pixel_gets_the_nearest_entry(image, colors):
    """In sRGB by integers; of equally near ones the lowest by red, green, blue, the first of equal entries."""
    found = apply(image, colors, space="srgb")
    distance = ((image[:, :, None].astype(int) - colors.astype(int)) ** 2).sum(axis=-1)
    order = np.lexsort(colors.T[::-1])
    assert_array_equal(found.indices, order[distance[:, :, order].argmin(axis=-1)])
    assert_array_equal(found.counts, np.bincount(found.indices.ravel(), minlength=len(colors)))
    assert found.error.mse == pytest.approx(((found.to_array().astype(float) - image) ** 2).mean())


@pytest.mark.parametrize("space", ["oklab", "lab", "linear"])
def test_nearest_is_by_the_points_of_the_space(space):
    """Brute force over the coordinates."""
    palette = Palette.from_hex(COLORS)
    points, entries = (Embedding(space).points(a).astype(float) for a in (PHOTO.reshape(-1, 3), palette.colors))
    expected = ((points[:, None] - entries) ** 2).sum(axis=-1).argmin(axis=1)
    assert_array_equal(apply(PHOTO, palette, space=space).indices.ravel(), expected)


def test_din99_maps_by_ciede2000():
    """The least CIEDE2000 over all entries, or nearly so: only a few near ones are compared."""
    rng = np.random.default_rng(0)
    palette = PHOTO.reshape(-1, 3)[rng.choice(PHOTO.shape[0] * PHOTO.shape[1], 40, replace=False)]
    lab, entries = lab_of(PHOTO.reshape(-1, 3)), lab_of(palette)
    all_of_them = np.stack([ciede2000(lab, np.broadcast_to(entry, lab.shape)) for entry in entries], axis=1)
    found = apply(PHOTO, palette, space="din99")
    reached = all_of_them[np.arange(len(lab)), found.indices.ravel()]
    assert (reached == all_of_them.min(axis=1)).mean() > 0.97
    assert found.error.de_mean == pytest.approx(all_of_them.min(axis=1).mean(), rel=1e-2)


def test_the_order_of_the_palette_does_not_matter():
    """The same colours come out for a shuffled palette, dithered or not, and the palette is returned as given."""
    palette = Palette.from_hex(COLORS)
    turned = Palette(palette.colors[::-1])
    for dither in ["none", *DITHERS]:
        first, second = apply(PHOTO, palette, dither=dither), apply(PHOTO, turned, dither=dither)
        assert_array_equal(first.to_array(), second.to_array())
        assert second.palette is turned


def test_deep_and_wide_images_are_mapped_too():
    """16 bits and floats as 8 bits; more than 256 colours give 16-bit indices."""
    expected = apply(PHOTO, COLORS).indices
    assert_array_equal(apply(PHOTO.astype(np.uint16) * 257, COLORS).indices, expected)
    assert_array_equal(apply(PHOTO / 255, COLORS).indices, expected)
    many = np.unique(PHOTO.reshape(-1, 3), axis=0)[:300]
    found = apply(PHOTO, many)
    assert found.indices.dtype == np.uint16 and len(found.counts) == 300
    with pytest.raises(ValueError, match="300 colours"):
        found.save("never.png")
    with pytest.raises(ValueError, match="300 colours"):
        found.to_pil()


def test_a_palette_with_alpha_serves_any_image():
    """An opaque image goes to opaque entries; an image with alpha and an opaque palette loses its alpha."""
    clear = np.array([[0, 0, 0, 0], [138, 106, 80, 128], [138, 106, 80, 255], [40, 30, 20, 255]], np.uint8)
    assert set(apply(PHOTO, clear).indices.ravel().tolist()) <= {2, 3}
    found = apply(ALPHA, clear).to_array()
    assert (found[ALPHA[..., 3] == 0] == 0).all() and (found[ALPHA[..., 3] == 255][:, 3] == 255).all()
    assert apply(ALPHA, COLORS).to_array().shape == (50, 65, 3)


# -- dithering -------------------------------------------------------------------------------------------


def blurred(image: np.ndarray) -> np.ndarray:
    """Means of 10 x 10 pixels in linear light: the image from afar."""
    light = linear_light(image[:50, :60].astype(float) / 255)
    return light.reshape(5, 10, 6, 10, 3).mean(axis=(1, 3))


@pytest.mark.parametrize("dither", DITHERS)
@pytest.mark.parametrize("colors, space", [(GREYS, "oklab"), (CORNERS, "linear")])
def test_dithering_keeps_the_tone(dither, colors, space):
    """From afar the image is nearer to the original than without; from near it is farther."""
    photo = PHOTO if colors is CORNERS else PHOTO[:, :, :1].repeat(3, axis=2)
    plain, found = (apply(photo, colors, space=space, dither=name, dither_level=1.0) for name in ("none", dither))
    gap = [np.abs(blurred(one.to_array()) - blurred(photo)).mean() for one in (found, plain)]
    assert gap[0] < 0.75 * gap[1]
    assert found.error.de_mean > plain.error.de_mean or colors is CORNERS
    assert found.error.mse == pytest.approx(((found.to_array().astype(float) - photo) ** 2).mean())
    assert_array_equal(found.counts, np.bincount(found.indices.ravel(), minlength=len(colors)))


@pytest.mark.parametrize("dither", DITHERS)
def test_colours_of_the_palette_stay_as_they_are(dither):
    """An image of the palette's own colours is not changed, and level 0 is no dithering."""
    image = Palette.from_hex(COLORS).colors[np.random.default_rng(0).integers(0, 6, (20, 30))]
    assert_array_equal(apply(image, COLORS, dither=dither, dither_level=1.0).to_array(), image)
    assert_array_equal(apply(PHOTO, COLORS, dither=dither, dither_level=0).indices, apply(PHOTO, COLORS).indices)


@pytest.mark.parametrize("dither", DITHERS)
@pytest.mark.parametrize("image", [PHOTO, ALPHA, PHOTO.astype(np.uint16) * 255 + 7], ids=["plain", "alpha", "deep"])
def test_strips_do_not_show(monkeypatch, dither, image):
    """Row by row or at once: the same pixels."""
    palette = np.array([[40, 30, 20, 255], [220, 190, 170, 255], [0, 0, 0, 0], [130, 100, 80, 200]], np.uint8)
    whole = apply(image, palette, dither=dither).indices
    monkeypatch.setattr(pixels, "STRIP_PIXELS", 1)
    assert_array_equal(apply(image, palette, dither=dither).indices, whole)


@pytest.mark.parametrize("image", [PHOTO[::2, ::2], ALPHA[::2, ::2]], ids=["plain", "alpha"])
@pytest.mark.parametrize("k", [1, 2, 7, 60])
def test_error_diffusion_is_the_same_on_every_engine(monkeypatch, image, k):
    """The compiled search, which passes entries by, and the reference, which compares all: to the byte."""
    pytest.importorskip("numba")
    palette = np.random.default_rng(k).integers(0, 256, (k, image.shape[-1])).astype(np.uint8)
    palette[k // 2 :, 3:] = 255
    found = []
    for engine in ("numpy", "numba"):
        monkeypatch.setenv("GPUKM_ENGINE", engine)
        found.append(apply(image, palette, dither="fs", dither_level=1.0).indices)
    assert_array_equal(found[0], found[1])


def test_error_diffusion_by_hand():
    """A row of mid-grey on black and white in linear light: what is left goes right, then down, and back."""
    grey = np.full((2, 3, 3), 188, np.uint8)  # 0.503 of white
    found = apply(grey, ["#000000", "#ffffff"], space="linear", dither="fs", dither_level=1.0).indices
    value, carry, rows = 0.5029, np.zeros((2, 5)), []
    for row in range(2):
        step, line = (-1, [0] * 3) if row else (1, [0] * 3)
        for column in range(3)[::step]:
            now = min(max(value + carry[0, column + 1], 0), 1)
            line[column] = int(now > 0.5)
            error = now - line[column]
            carry[0, column + 1 + step] += error * 7 / 16
            carry[1, column + 1 + np.array([-step, 0, step])] += error * np.array([3, 5, 1]) / 16
        carry[0], carry[1] = carry[1], 0
        rows.append(line)
    assert_array_equal(found, rows)


@pytest.mark.parametrize("dither", DITHERS)
def test_dithering_leaves_invisible_and_opaque_pixels_so(dither):
    """Also where colours of both kinds are near."""
    palette = np.array([[40, 30, 20, 255], [220, 190, 170, 255], [0, 0, 0, 0], [130, 100, 80, 128]], np.uint8)
    found = apply(ALPHA, palette, dither=dither).to_array()
    assert (found[ALPHA[..., 3] == 0] == 0).all()
    assert (found[ALPHA[..., 3] == 255][:, 3] == 255).all()


def test_a_mask_has_every_threshold_once():
    """Bayer's 8 x 8 is the known one; thresholds are even."""
    assert_array_equal((mask("bayer") * 64)[0], [0.5, 32.5, 8.5, 40.5, 2.5, 34.5, 10.5, 42.5])
    for name, size in (("bayer", 8), ("blue", 64)):
        assert_array_equal(np.sort(mask(name).ravel()), (np.arange(size**2) + 0.5) / size**2)


def test_the_blue_noise_is_what_its_script_makes():
    """tools/blue_noise.py makes the committed file again; low frequencies are a tenth of white noise's."""
    script = runpy.run_path(str(ROOT / "tools" / "blue_noise.py"))
    ranks = script["void_and_cluster"](script["SIZE"], script["SIGMA"], script["SEED"])
    assert_array_equal((ranks + 0.5) / 4096, mask("blue"))
    power = np.abs(np.fft.fft2(mask("blue") - 0.5)) ** 2 / (4096 / 12)
    away = np.minimum(np.arange(64), 64 - np.arange(64))
    radius = np.hypot(away[:, None], away[None, :])
    assert power[(radius > 0) & (radius < 12)].mean() < 0.1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dither": "riemersma"}, "dither is 'riemersma'; it may be 'none', 'fs', 'bayer', 'blue'"),
        ({"dither_level": 1.5}, "dither_level is 1.5"),
        ({"dither_level": float("nan")}, "dither_level is nan"),
        ({"alpha": "drop"}, "alpha is 'drop'"),
        ({"background": "white"}, "'white' is not a colour"),
        ({"background": "#ffffff80"}, "which has alpha"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, message):
    """The message has what was given and what may be."""
    with pytest.raises(ValueError, match=message):
        apply(PHOTO, COLORS, **options)
