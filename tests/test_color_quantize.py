"""gpukm.color.quantize, quality targets and ColorQuantizer: what a user calls."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

import gpukm
from gpukm import color
from gpukm.color import ColorQuantizer, Histogram, QualityError, Quantized, apply, quantize

CHELSEA = Path(__file__).parents[1] / "examples" / "chelsea.png"
PHOTO = np.asarray(Image.open(CHELSEA).convert("RGB"))[80:180:3, 100:230:3]
ALPHA = np.dstack([PHOTO, np.add.outer(np.arange(34) * 9, np.arange(44) * 5).clip(0, 255).astype(np.uint8)])


def test_the_public_names_are_these():
    """__all__ is exact, every name is there and documented, and gpukm.quantize is the same function."""
    assert set(color.__all__) <= set(dir(color))
    for name in color.__all__:
        assert getattr(color, name).__doc__
    assert gpukm.quantize is quantize
    with pytest.raises(AttributeError, match="no attribute 'Histo'"):
        _ = color.Histo


def test_everything_about_the_result_agrees():
    """Indices, counts, shares, errors and the image, of the pixels."""
    found = quantize(PHOTO, 12, effort=1)
    assert isinstance(found, Quantized) and found.indices.dtype == np.uint8
    assert_array_equal(found.counts, np.bincount(found.indices.ravel(), minlength=12))
    np.testing.assert_allclose(found.palette.weights, found.counts / found.counts.sum(), rtol=1e-15)
    assert found.palette.errors == found.error.as_dict()
    assert found.unique_colors == len(np.unique(PHOTO.reshape(-1, 3), axis=0))
    assert_array_equal(found.to_array(), found.palette.colors[found.indices])
    assert_array_equal(apply(PHOTO, found.palette).indices, found.indices)


def test_a_file_a_pil_image_and_an_array_give_the_same(tmp_path):
    """All ways in, the image left open and unchanged; what is saved comes back."""
    path = tmp_path / "in.png"
    Image.fromarray(PHOTO).save(path)
    image = Image.fromarray(PHOTO)
    found = [quantize(one, 9, effort=1) for one in (path, str(path), image, PHOTO, np.asfortranarray(PHOTO))]
    for other in found[1:]:
        assert_array_equal(other.palette.colors, found[0].palette.colors)
        assert_array_equal(other.indices, found[0].indices)
    assert_array_equal(np.asarray(image), PHOTO)
    found[0].save(tmp_path / "out.png")
    assert_array_equal(np.asarray(Image.open(tmp_path / "out.png").convert("RGB")), found[0].to_array())
    with pytest.raises(FileExistsError, match="exists"):
        found[0].save(tmp_path / "out.png")
    assert_array_equal(np.asarray(found[0].to_pil().convert("RGB")), found[0].to_array())


def test_arrays_of_other_libraries_are_images(backend):
    """Any namespace; what comes back is NumPy."""
    expected = quantize(PHOTO, 5, effort=0)
    assert_array_equal(quantize(backend.array(PHOTO), 5, effort=0).indices, expected.indices)


def test_alpha_may_be_kept_flattened_or_cut():
    """Kept in the palette and the file; laid on a background; opaque or invisible."""
    kept = quantize(ALPHA, 10, effort=1)
    assert kept.palette.colors.shape == (10, 4)
    assert_array_equal(np.asarray(kept.to_pil().convert("RGBA")), kept.to_array())
    flat = quantize(ALPHA, 10, alpha="flatten", background="#0000ff", effort=1)
    weight = ALPHA[..., 3:] / 255
    laid = np.rint(ALPHA[..., :3] * weight + np.array([0, 0, 255]) * (1 - weight)).astype(np.uint8)
    assert flat.palette.is_opaque
    assert_array_equal(flat.indices, quantize(laid, 10, effort=1).indices)
    cut = quantize(ALPHA, 10, alpha="threshold", effort=1)
    assert_array_equal(cut.to_array()[..., 3], np.where(ALPHA[..., 3] > 127, 255, 0))
    assert quantize(np.dstack([PHOTO, np.full(PHOTO.shape[:2], 255, np.uint8)]), 4, effort=0).to_array().shape[2] == 3


def test_the_seed_matters_to_k_means_plus_plus_only():
    """The same seed gives the same palette; Wu's start draws nothing."""
    assert_array_equal(quantize(PHOTO, 7, random_state=1).indices, quantize(PHOTO, 7, random_state=2).indices)
    drawn = [quantize(PHOTO, 7, init="k-means++", effort=0, random_state=seed).palette.colors for seed in (3, 3, 4)]
    assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()


# -- targets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target, reached",
    [
        ({"target_de": 3.0}, lambda errors: errors["de_mean"] <= 3.0),
        ({"target_de_p95": 6.0}, lambda errors: errors["de_p95"] <= 6.0),
        ({"min_psnr": 33.0}, lambda errors: errors["psnr"] >= 33.0),
        ({"target_de": 3.0, "min_psnr": 33.0}, lambda errors: errors["de_mean"] <= 3.0 and errors["psnr"] >= 33.0),
    ],
)
def test_the_smallest_palette_meets_the_target_and_one_less_does_not(target, reached):
    """By the same fit at each size."""
    palette = quantize(PHOTO, 128, effort=0, **target).palette
    assert reached(palette.errors)
    assert not reached(Histogram().add(PHOTO).fit(len(palette) - 1, effort=0).errors)


def test_a_target_out_of_reach_is_an_error_with_what_was_reached():
    """It has the best palette, and the figures."""
    with pytest.raises(QualityError, match=r"4 colours reach mean CIEDE2000 .*allow more colours") as caught:
        quantize(PHOTO, 4, target_de=0.5, effort=0)
    assert len(caught.value.palette) == 4
    with pytest.raises(ValueError, match="target_de is -1"):
        quantize(PHOTO, 4, target_de=-1)
    with pytest.raises(ValueError, match="no target is given"):
        Histogram().add(PHOTO).smallest(4)


def test_an_image_with_few_colours_meets_every_target():
    """Without error, in as many colours as it has; with colours to keep and alpha, too."""
    image = np.zeros((4, 4, 3), np.uint8)
    image[0], image[1] = 255, (9, 99, 200)
    assert len(quantize(image, target_de=0.001).palette) == 3
    assert quantize(image, 8).error.psnr == np.inf
    kept = quantize(image, min_psnr=20.0, keep=["#010203", "#040506"]).palette
    assert {(1, 2, 3), (4, 5, 6)} <= set(map(tuple, kept.colors.tolist()))
    assert len(quantize(ALPHA, target_de=8.0, effort=0).palette) < 64


def test_the_curve_has_the_errors_of_the_fits():
    """[(size, errors)], as if each palette was made by itself."""
    histogram = Histogram().add(PHOTO)
    points = histogram.curve([2, 8], effort=0, space="srgb")
    assert [size for size, _ in points] == [2, 8]
    assert points[1][1].as_dict() == histogram.fit(8, effort=0, space="srgb").errors
    assert points[0][1].mse > points[1][1].mse


# -- animations ------------------------------------------------------------------------------------------


def test_one_frame_of_an_animation_is_said_to_be_one(tmp_path):
    """quantize and apply return one image: of a file the first frame, of a PIL image the one it is at."""
    frames = [Image.new("RGB", (4, 3), color) for color in ((0, 0, 9), (0, 9, 0), (9, 0, 0))]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match=r"a\.png: is an animation of 3 frames.*`gpukm colors` converts all") as caught:
        found = quantize(tmp_path / "a.png", 2)
    assert found.palette.hex == ["#000009"] and caught[0].filename == __file__
    with pytest.warns(UserWarning, match=r"a\.png: is an animation of 3 frames.*`gpukm apply` converts all"):
        assert apply(tmp_path / "a.png", ["#ff0000", "#0000ff"]).indices.tolist() == [[1] * 4] * 3
    with Image.open(tmp_path / "a.png") as image:
        image.seek(2)
        with pytest.warns(UserWarning, match="image: is an animation of 3 frames"):
            assert quantize(image, 2).palette.hex == ["#090000"]
        assert quantize(image.copy(), 2).palette.hex == ["#090000"]  # no warning: they are errors in the tests


# -- the transformer -------------------------------------------------------------------------------------


def test_a_transformer_learns_from_one_image_and_shows_another():
    """fit, transform, predict; images, files and rows of colours."""
    model = ColorQuantizer(6, effort=1).fit(PHOTO[:20])
    other = model.transform(PHOTO[20:])
    assert other.shape == PHOTO[20:].shape and len(np.unique(other.reshape(-1, 3), axis=0)) <= 6
    assert_array_equal(other, model.palette_.colors[model.predict(PHOTO[20:])])
    assert_array_equal(model.transform(PHOTO[20:].reshape(-1, 3)), other.reshape(-1, 3))
    assert model.transform(Image.fromarray(PHOTO)).shape == PHOTO.shape
    assert model.n_features_in_ == 3
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(again.transform(PHOTO), model.transform(PHOTO))


def test_learning_in_parts_is_learning_the_whole():
    """partial_fit adds to what was seen; fit starts anew."""
    parts = ColorQuantizer(6, effort=1).partial_fit(PHOTO[:10]).partial_fit(PHOTO[10:])
    whole = ColorQuantizer(6, effort=1).fit(PHOTO)
    assert_array_equal(parts.palette_.colors, whole.palette_.colors)
    assert_array_equal(parts.fit(PHOTO[:10]).histogram_.counts, Histogram().add(PHOTO[:10]).counts)


def test_the_transformer_learns_from_several_images(tmp_path):
    """A list of images, files and rows is their sum; alpha and background are those of quantize."""
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    several = [PHOTO[:10], tmp_path / "a.png", str(tmp_path / "a.png"), PHOTO[0]]
    model = ColorQuantizer(6, effort=0).fit(several)
    assert_array_equal(
        model.histogram_.counts, sum(Histogram().add(one) for one in (PHOTO[:10], PHOTO, PHOTO, PHOTO[:1])).counts
    )
    with pytest.raises(FileNotFoundError, match="no-such"):
        model.partial_fit([PHOTO, tmp_path / "no-such.png"])
    assert model.histogram_.n_pixels == PHOTO[0].shape[0] * (2 * len(PHOTO) + 11)
    assert [one.shape for one in model.transform(several)] == [several[0].shape, *[PHOTO.shape] * 2, PHOTO[0].shape]
    assert_array_equal(model.predict(several)[2], model.predict(PHOTO))
    with pytest.raises(ValueError, match="histogram"):
        ColorQuantizer(6).fit([])
    clear = np.array([[[10, 20, 30, 0], [90, 0, 0, 255]]], dtype=np.uint8)
    flat = ColorQuantizer(2, alpha="flatten", background="#0000ff", device="cpu")
    assert flat.fit_transform(clear).tolist() == [[[0, 0, 255], [90, 0, 0]]]
    with pytest.raises(ValueError, match="device"):
        ColorQuantizer(2, device="moon").fit(PHOTO)


def test_the_transformer_is_an_estimator():
    """Parameters, repr, clone, a clear error before fit."""
    model = ColorQuantizer(4, space="srgb", keep=["#ff0000"])
    assert repr(model) == "ColorQuantizer(colors=4, space='srgb', keep=['#ff0000'])"
    assert ColorQuantizer(**model.get_params()).get_params() == model.get_params()
    with pytest.raises(ValueError, match="not fitted yet"):
        model.transform(PHOTO)
    clone = pytest.importorskip("sklearn.base").clone
    assert clone(model).get_params() == model.get_params()
