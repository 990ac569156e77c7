"""gpukm/quantize.py: exactly k colours, each used, the same bytes every time, in the smallest PNG a palette allows."""

import io
import os
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from PIL import Image

import gpukm
from gpukm import KMeans, quantize

quantize_module = sys.modules["gpukm.quantize"]
CHELSEA = Path(__file__).parents[1] / "examples" / "chelsea.png"
PHOTO = np.asarray(Image.open(CHELSEA).convert("RGB"))[80:180:2, 100:230:2]  # 50 x 65 pixels around an eye


def unique_colors(image: np.ndarray) -> np.ndarray:
    return np.unique(image.reshape(-1, 3), axis=0)


def mse_of(image: np.ndarray, result) -> Fraction:
    """The error by its definition, over all pixels, exactly."""
    difference = image.astype(object) - result.to_array().astype(object)
    return Fraction(int((difference**2).sum()), image.size)


def png_facts(path: Path) -> tuple[int, int, int]:
    """Bit depth, colour type and palette entries, as written in the file."""
    content = path.read_bytes()
    depth, kind = struct.unpack(">BB", content[24:26])
    palette = content.index(b"PLTE")
    return depth, kind, struct.unpack(">I", content[palette - 4 : palette])[0] // 3


# -- the palette -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_colors", [1, 2, 3, 16, 64, 255, 256])
def test_an_image_gets_exactly_as_many_colours_as_asked_for(n_colors):
    """All different, all used, the most used first; counts and errors are those of the pixels."""
    result = quantize(PHOTO, n_colors)
    assert result.palette.shape == (n_colors, 3) and result.palette.dtype == np.uint8
    assert len(unique_colors(result.palette)) == n_colors
    assert result.indices.shape == PHOTO.shape[:2] and result.indices.dtype == np.uint8
    assert_array_equal(np.bincount(result.indices.ravel(), minlength=n_colors), result.counts)
    assert (np.diff(result.counts) <= 0).all() and result.counts.min() > 0
    assert result.unique_colors == len(unique_colors(PHOTO))
    assert result.mse == pytest.approx(float(mse_of(PHOTO, result)), rel=1e-15)
    assert result.proportions.sum() == pytest.approx(1)


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3)), elements=st.integers(0, 5)),
    st.integers(1, 40),
)
def test_small_images_keep_the_promise_too(image, n_colors):
    """k colours whenever there are k, else all of them; each pixel gets its nearest, the lowest among equals."""
    result = quantize(image, n_colors)
    colors = unique_colors(image)
    assert len(result.palette) == len(unique_colors(result.palette)) == min(n_colors, len(colors))
    assert (result.counts > 0).all() and result.counts.sum() == image.shape[0] * image.shape[1]
    if n_colors >= len(colors):
        assert result.mse == 0 and result.psnr == np.inf and result.n_iter == 0
        assert_array_equal(result.to_array(), image)
    distances = ((image[:, :, None].astype(int) - result.palette.astype(int)) ** 2).sum(axis=-1)
    order = np.lexsort(result.palette.T[::-1])  # by red, then green, then blue
    assert_array_equal(result.indices, order[distances[:, :, order].argmin(axis=-1)])


def test_centroids_that_round_to_one_colour_are_replaced(monkeypatch):
    """Where rounding makes two entries equal, or leaves one without pixels, colours of the image take the places."""
    image = np.array([[[0, 0, 0], [1, 0, 0], [0, 1, 0], [9, 9, 9], [9, 9, 8], [200, 0, 0]]], dtype=np.uint8)

    def fit(self, X, sample_weight):
        self.n_iter_ = 1
        self.cluster_centers_ = np.array([[0.4, 0, 0], [0.3, 0, 0], [250, 250, 250], [9, 9, 9]])
        return self

    monkeypatch.setattr(KMeans, "fit", fit)
    result = quantize(image, 4)
    # (0, 0, 0) came twice, (250, 250, 250) is unused: first red, then the lowest of three colours that are 1 off
    assert sorted(result.hex) == ["#000000", "#000100", "#090909", "#c80000"]
    assert len(unique_colors(result.palette)) == 4 and (result.counts > 0).all()


def test_weighted_unique_colours_give_the_clustering_of_all_pixels():
    """A count is a repetition, to the bit: the palette is that of k-means on the pixels."""
    result = quantize(PHOTO, 8)
    model = KMeans(8, random_state=0).fit(PHOTO.reshape(-1, 3))
    assert result.n_iter == model.n_iter_
    assert_array_equal(unique_colors(result.palette), unique_colors(np.rint(model.cluster_centers_).astype(np.uint8)))


def test_more_colours_never_hurt():
    """The error falls as the palette grows, and the peak signal-to-noise ratio rises."""
    results = [quantize(PHOTO, k) for k in (1, 2, 4, 8, 16, 32, 64, 128, 256)]
    errors = [result.mse for result in results]
    assert errors == sorted(errors, reverse=True)
    assert [result.psnr for result in results] == sorted(result.psnr for result in results)
    assert results[0].psnr == pytest.approx(10 * np.log10(255**2 / results[0].mse))


def test_the_order_of_pixels_does_not_matter():
    """Flipping the image flips the indices and changes nothing else."""
    straight, flipped = quantize(PHOTO, 16), quantize(PHOTO[::-1, ::-1], 16)
    assert_array_equal(straight.palette, flipped.palette)
    assert_array_equal(straight.indices[::-1, ::-1], flipped.indices)


def test_any_strip_size_gives_the_same(monkeypatch):
    """Counting and mapping strip by strip is exact, also with one row a strip."""
    whole = quantize(PHOTO, 16)
    monkeypatch.setattr(quantize_module, "_STRIP_PIXELS", 1)
    strips = quantize(PHOTO, 16)
    assert_array_equal(whole.palette, strips.palette)
    assert_array_equal(whole.indices, strips.indices)
    assert_array_equal(whole.counts, strips.counts)


def test_the_seed_decides_and_the_input_is_left_alone():
    """The same seed gives the same bytes; a read-only image is fine."""
    image = PHOTO.copy()
    image.flags.writeable = False
    first, second = quantize(image, 5, random_state=3), quantize(image, 5, random_state=3)
    assert_array_equal(first.palette, second.palette)
    assert_array_equal(first.indices, second.indices)


# -- what an image may be --------------------------------------------------------------------------------


def test_grey_images_get_grey_palettes():
    """(height, width) is grey: red, green and blue are equal."""
    result = quantize(PHOTO[:, :, 0], 7)
    assert (result.palette == result.palette[:, :1]).all() and len(result.palette) == 7
    assert_array_equal(quantize(Image.fromarray(PHOTO[:, :, 0]), 7).palette, result.palette)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp"])
def test_a_file_a_pil_image_and_an_array_give_the_same(tmp_path, suffix):
    """However the pixels come, they are the same pixels."""
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(PHOTO).save(path, **({"lossless": True} if suffix == "webp" else {}))
    results = [quantize(image, 6) for image in (PHOTO, Image.fromarray(PHOTO), path, str(path))]
    for result in results[1:]:
        assert_array_equal(result.palette, results[0].palette)
        assert_array_equal(result.indices, results[0].indices)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_other_modes_are_converted_to_rgb(mode):
    """What Pillow's own conversion to RGB gives is quantized."""
    image = Image.fromarray(PHOTO).convert(mode)
    result = quantize(image, 256)
    assert result.mse <= quantize(np.asarray(image.convert("RGB")), 256).mse


def test_exif_rotation_is_applied(tmp_path):
    """A photo taken with the camera on its side comes out upright."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(PHOTO).save(tmp_path / "side.png", exif=exif)
    result = quantize(tmp_path / "side.png", 4)
    assert result.indices.shape == (65, 50)
    assert_array_equal(result.indices, quantize(np.rot90(PHOTO, -1), 4).indices)


def test_colour_profiles_are_kept(tmp_path):
    """The numbers mean the same colours in the file written."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(PHOTO).save(tmp_path / "in.png", icc_profile=profile)
    quantize(tmp_path / "in.png", 4).save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["icc_profile"] == profile


def test_transparency_is_an_error_unless_a_background_is_given(tmp_path):
    """An opaque alpha channel is dropped; a transparent one needs a colour to lie on."""
    alpha = np.full(PHOTO.shape[:2], 255, dtype=np.uint8)
    opaque = np.dstack([PHOTO, alpha])
    assert_array_equal(quantize(opaque, 4).palette, quantize(PHOTO, 4).palette)
    alpha[0, 0] = 254
    Image.fromarray(np.dstack([PHOTO, alpha])).save(tmp_path / "a.png")
    for image in (np.dstack([PHOTO, alpha]), tmp_path / "a.png", Image.fromarray(np.dstack([PHOTO, alpha]))):
        with pytest.raises(ValueError, match=r"transparent pixels.*background='#ffffff' \(--background '#ffffff'\)"):
            quantize(image, 4)
    glass = np.zeros((1, 256, 4), dtype=np.uint8)
    glass[0, :, 3] = np.arange(256)
    glass[0, :, 0] = 255
    flat = quantize(glass, 256, background="#0000FF").to_array()
    assert_array_equal(flat[0, :, 0], np.arange(256))
    assert_array_equal(flat[0, :, 2], 255 - np.arange(256))
    palette = Image.fromarray(PHOTO).convert("P")
    palette.info["transparency"] = 0
    with pytest.raises(ValueError, match="transparent pixels"):
        quantize(palette, 4)


@pytest.mark.parametrize("background", ["white", "#fff", "#12345g", "", "##123456"])
def test_a_background_is_a_hexadecimal_colour(background):
    """Other words are refused, with an example."""
    with pytest.raises(ValueError, match="must be a colour such as '#ffffff'"):
        quantize(PHOTO, 4, background=background)


@pytest.mark.parametrize("n_colors", [0, 257, -1, 2.0, True, "16", None])
def test_the_number_of_colours_is_an_integer_from_1_to_256(n_colors):
    """What an indexed PNG holds."""
    with pytest.raises(ValueError, match="it must be an integer from 1 to 256"):
        quantize(PHOTO, n_colors)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((4, 4, 3), np.uint16),
        [[1, 2]],
        None,
    ],
)
def test_arrays_that_are_no_images_are_refused(image):
    """The message says which shapes and dtype are."""
    with pytest.raises(ValueError, match=r"it must be a file name, a PIL image, or a uint8 array"):
        quantize(image)


def test_an_image_without_pixels_is_refused():
    """Zero height or width."""
    with pytest.raises(ValueError, match="no pixels"):
        quantize(np.zeros((0, 4, 3), np.uint8))


def test_files_that_are_no_images_are_refused(tmp_path):
    """Absent, a folder, text, cut short, of a format not on the list: the error names the file."""
    with pytest.raises(FileNotFoundError, match="no such file"):
        quantize(tmp_path / "none.png")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        quantize(tmp_path)
    path = tmp_path / "x.png"
    content = CHELSEA.read_bytes()
    icon = io.BytesIO()
    Image.fromarray(PHOTO[:16, :16]).save(icon, format="ICO")
    for data, message in (
        (b"hello", "not an image, or not one of PNG, JPEG"),
        (b"", "not an image"),
        (icon.getvalue(), "not an image, or not one of"),
        (content[:2000], "cannot be read .* cut short"),
        (content[:40], "cut short|not an image"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=message) as error:
            quantize(path)
        assert str(error.value).startswith(str(path))


def test_images_of_another_kind_are_refused(tmp_path):
    """Several frames, 16 bits a channel, floats: nothing is dropped silently."""
    frames = [Image.fromarray(PHOTO), Image.fromarray(PHOTO[::-1])]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"a\.gif: has 2 frames"):
        quantize(tmp_path / "a.gif")
    Image.fromarray(PHOTO[:, :, 0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png: mode I;16 cannot be quantized; convert it to 8-bit RGB"):
        quantize(tmp_path / "deep.png")
    with pytest.raises(ValueError, match="mode F cannot be quantized"):
        quantize(Image.fromarray(PHOTO[:, :, 0].astype(np.float32)))


def test_16_bits_a_channel_are_not_cut_to_8_silently(tmp_path):
    """Pillow opens a 16-bit RGB PNG as 8-bit RGB; here it is an error."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + bytes(range(12)))
    (tmp_path / "deep.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )
    with pytest.raises(ValueError, match="16 bits a channel"):
        quantize(tmp_path / "deep.png")


def test_decompression_bombs_are_errors(tmp_path, monkeypatch):
    """What Pillow only warns of is refused."""
    Image.fromarray(PHOTO).save(tmp_path / "x.png")
    for limit in (PHOTO.size // 3 - 1, PHOTO.size // 3 // 4):  # a warning, and Pillow's own error
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(ValueError, match="has more than .* pixels, the most Pillow decodes safely"):
            quantize(tmp_path / "x.png")


# -- the file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_colors", "bits"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 4), (16, 4), (17, 8), (256, 8)])
def test_the_png_has_a_palette_and_as_few_bits_as_it_allows(tmp_path, n_colors, bits):
    """1, 2, 4 or 8 bits a pixel, and no more palette entries than colours; it reads back as the same pixels."""
    result = quantize(PHOTO, n_colors)
    result.save(tmp_path / "out.png")
    assert png_facts(tmp_path / "out.png") == (bits, 3, n_colors)
    with Image.open(tmp_path / "out.png") as image:
        assert image.mode == "P"
        assert_array_equal(np.asarray(image.convert("RGB")), result.to_array())


def test_the_same_image_gives_the_same_file(tmp_path):
    """Byte for byte: no dates in it."""
    for name in ("a.png", "b.png"):
        quantize(PHOTO, 9).save(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_saving_never_destroys_what_is_there(tmp_path, monkeypatch):
    """No overwriting without force, no other format, nothing half-written."""
    path = tmp_path / "out.png"
    path.write_bytes(b"old")
    result = quantize(PHOTO, 2)
    with pytest.raises(FileExistsError, match="exists; choose another name, or force=True"):
        result.save(path)
    with pytest.raises(ValueError, match=r"out\.gif: the name must end in .png"):
        result.save(tmp_path / "out.gif")

    def fail(self, file, **options):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", fail)
        with pytest.raises(OSError, match="No space left"):
            result.save(path, force=True)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["out.png"]
    result.save(path, force=True)
    assert png_facts(path) == (1, 3, 2)


def test_hex_names_the_palette():
    """#rrggbb, in the palette's order."""
    image = np.array([[[255, 0, 16], [255, 0, 16], [0, 1, 2]]], dtype=np.uint8)
    assert quantize(image, 2).hex == ["#ff0010", "#000102"]


def test_without_pillow_arrays_work_and_files_name_the_extra(tmp_path, monkeypatch):
    """Pillow is needed for files only."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    result = quantize(PHOTO, 3)
    assert len(result.palette) == 3
    for use in (lambda: quantize(CHELSEA), lambda: result.save(tmp_path / "x.png")):
        with pytest.raises(ImportError, match=r"needs Pillow, which is not installed: pip install 'gpukm\[image\]'"):
            use()


def test_the_function_keeps_its_name_when_the_module_is_imported():
    """gpukm.quantize is the function, in whatever order the submodule of that name is imported."""
    code = "import gpukm.quantize, gpukm; from gpukm.quantize import Quantized; assert callable(gpukm.quantize)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert gpukm.quantize is quantize_module.quantize


def test_the_example_photo_is_as_its_notes_say():
    """examples/README.md: 451 x 300 pixels, 32,584 colours."""
    result = quantize(CHELSEA, 16, max_iter=2)
    assert result.indices.shape == (300, 451) and result.unique_colors == 32584
    assert result.icc_profile  # sRGB, as the file says
