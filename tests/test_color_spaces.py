"""gpukm/color/spaces.py: there and back, greys without colour, CIEDE2000 as published."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from gpukm.color.spaces import QUANTUM, SPACES, ciede2000, embed, forward, inverse, lab_of, levels, unembed

CUBE = np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.uint8)

# Pairs from the table of Sharma, Wu & Dalal 2005, chosen to meet every branch of the hue arithmetic.
PUBLISHED = [
    ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
    ((50, -1.3802, -84.2814), (50, 0, -82.7485), 1.0000),
    ((50, 0, 0), (50, -1, 2), 2.3669),
    ((50, 2.49, -0.001), (50, -2.49, 0.0009), 7.1792),
    ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
    ((50, -0.001, 2.49), (50, 0.0009, -2.49), 4.8045),
    ((50, -0.001, 2.49), (50, 0.0011, -2.49), 4.7461),
    ((50, 2.5, 0), (50, 0, -2.5), 4.3065),
    ((50, 2.5, 0), (73, 25, -18), 27.1492),
    ((50, 2.5, 0), (58, 24, 15), 19.4535),
    ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
    ((22.7233, 20.0904, -46.6940), (23.0331, 14.9730, -42.5619), 2.0373),
    ((90.9257, -0.5406, -0.9208), (88.6381, -0.8985, -0.7239), 1.5381),
    ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
]


@pytest.mark.parametrize("space", SPACES)
def test_a_colour_comes_back_from_every_space(space):
    """The inverse undoes the forward step; rounding to the quantum costs less than a hundredth of a level."""
    assert_allclose(inverse(forward(levels(CUBE), space), space), CUBE, atol=1e-6)
    assert_allclose(unembed(embed(CUBE, space), space), CUBE, atol=0.01)
    assert_array_equal(np.rint(unembed(embed(CUBE, space, 3.0), space, 3.0)), CUBE)


@pytest.mark.parametrize("space", SPACES)
def test_coordinates_are_multiples_of_the_quantum(space):
    """Nothing is lost in float32, and black lies at the origin."""
    points = embed(CUBE, space)
    assert points.dtype == np.float32
    assert_array_equal(points.astype(np.float64) / QUANTUM, np.rint(points.astype(np.float64) / QUANTUM))
    assert_array_equal(embed(np.zeros((1, 3), np.uint8), space), np.zeros((1, 3)))


@pytest.mark.parametrize("space", ["oklab", "lab", "din99"])
def test_greys_have_no_colour(space):
    """Red = green = blue lies on the axis of lightness, which grows with it."""
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    points = embed(greys, space)
    assert np.abs(points[:, 1:]).max() <= 8 * QUANTUM
    assert (np.diff(points[:, 0]) > 0).all() and points[-1, 0] == pytest.approx(100, abs=0.01)


def test_chroma_scales_the_colour_axes_only():
    """Oklab is doubled by default; lightness stays."""
    plain, doubled = embed(CUBE, "oklab", 1.0), embed(CUBE, "oklab")
    assert_array_equal(plain[:, 0], doubled[:, 0])
    assert_allclose(doubled[:, 1:], 2 * plain[:, 1:], atol=QUANTUM)
    assert_array_equal(embed(CUBE, "srgb", 5.0), CUBE)


def test_sixteen_bits_are_the_same_colours():
    """257 times an 8-bit value is the same colour."""
    for space in SPACES:
        assert_array_equal(embed(CUBE.astype(np.uint16) * 257, space), embed(CUBE, space))


@pytest.mark.parametrize("first, second, published", PUBLISHED)
def test_ciede2000_is_as_published(first, second, published):
    """Within the four digits of the paper's table, both ways round."""
    a, b = np.array([first], float), np.array([second], float)
    assert_allclose([ciede2000(a, b)[0], ciede2000(b, a)[0]], published, atol=6e-5)


@given(arrays(np.uint8, (7, 3)))
def test_ciede2000_is_a_difference(colors):
    """It is 0 for equal colours, else positive, and symmetric."""
    lab = lab_of(colors)
    assert_array_equal(ciede2000(lab, lab), 0)
    turned = lab[::-1]
    assert_allclose(ciede2000(lab, turned), ciede2000(turned, lab), rtol=1e-9, atol=1e-12)
    different = (colors != colors[::-1]).any(axis=1)
    assert (ciede2000(lab, turned)[different] > 0).all()


@given(st.integers(0, 255))
def test_lab_of_a_grey_has_its_lightness(grey):
    """L* of sRGB greys: 0 at black, 100 at white, 53.585 at 128."""
    lightness = lab_of(np.array([[grey] * 3], np.uint8))[0, 0]
    assert 0 <= lightness <= 100 + 1e-9
    if grey in (0, 128, 255):
        assert lightness == pytest.approx({0: 0, 128: 53.585, 255: 100}[grey], abs=1e-3)
