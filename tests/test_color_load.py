"""gpukm/color/load.py: every kind of image becomes 8-bit sRGB, in any strips; hostile files get a clear error."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image, ImageCms, ImageOps

from gpukm.color import load
from gpukm.color.load import FORMATS, ImageError, load_colors, open_picture

CHELSEA = Path(__file__).parents[1] / "examples" / "chelsea.png"


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    with Image.open(CHELSEA) as image:
        small = image.convert("RGB").resize((23, 17))
    small.info.clear()  # its colour profile would be written by save
    return small


def with_alpha(photo: Image.Image) -> Image.Image:
    image = photo.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(photo.size))
    return image


def icc(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", between: bytes = b"XYZ ") -> bytes:
    """A profile, version 2, with these tags; a display's unless told."""
    table, data, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += b"\0" * (-len(content) % 4)
        table += struct.pack(">4sII", name, at + len(data), len(content))
        data += content
    header = struct.pack(">I4sI4s4s4s12x4s", at + len(data), b"lcms", 0x02100000, kind, space, between, b"acsp")
    header = header.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)  # D50
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


def grey_inks() -> bytes:
    """A printer's profile in which all inks are grey: black takes all light, each of the others a third."""
    straight = bytes(range(256))
    nodes = b""
    for node in range(16):
        cyan, magenta, yellow, black = (node >> bit & 1 for bit in (3, 2, 1, 0))
        nodes += bytes([round(255 * (1 - black) * (1 - (cyan + magenta + yellow) / 3)), 128, 128])
    matrix = struct.pack(">9i", *(65536 * (place % 4 == 0) for place in range(9)))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + 4 * straight + nodes + 3 * straight
    return icc(b"CMYK", {**WHITE, b"A2B0": table}, kind=b"prtr", between=b"Lab ")


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, kind: int, rows: bytes, piece: int = 1 << 20) -> bytes:
    """A PNG file of filtered rows, its pixels in chunks of at most `piece` bytes."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    data = zlib.compress(rows)
    pieces = b"".join(chunk(b"IDAT", data[at : at + piece]) for at in range(0, len(data), piece))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pieces + chunk(b"IEND", b"")


WHITE = {b"wtpt": xyz(0.9642, 1, 0.8249)}
SWAPPED = icc(  # the primaries of sRGB, green and red exchanged, with sRGB's tone near gamma 2.2
    b"RGB ",
    {
        **WHITE,
        b"rXYZ": xyz(0.3851, 0.7169, 0.0971),
        b"gXYZ": xyz(0.4361, 0.2225, 0.0139),
        b"bXYZ": xyz(0.1431, 0.0606, 0.7141),
        **dict.fromkeys([b"rTRC", b"gTRC", b"bTRC"], gamma(2.2)),
    },
)
LINEAR_GREY = icc(b"GRAY", {**WHITE, b"kTRC": gamma(1.0)})


def read(path) -> np.ndarray:
    with open_picture(path) as picture:
        pixels = picture.array()
        assert pixels.shape == (picture.height, picture.width, picture.channels) and pixels.dtype == np.uint8
        return pixels


# -- kinds of images -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LA", "RGBA", "PA"])
@pytest.mark.parametrize("rows", [1, 5, 17, 1000])
def test_every_mode_becomes_rgb_in_any_strips(tmp_path, photo, mode, rows):
    """What Pillow converts as a whole is what the strips give; alpha stays a channel."""
    alpha = mode in ("LA", "RGBA", "PA")
    image = (with_alpha(photo) if alpha else photo).convert(mode)
    name = {"CMYK": "i.jpg", "YCbCr": "i.jpg", "PA": None}.get(mode, "i.png")
    if name is None:
        source = image
    else:
        image.save(tmp_path / name)
        source = tmp_path / name
    with open_picture(source) as picture:
        strips = list(picture.strips(rows))
        assert (picture.height, picture.width, picture.channels) == (17, 23, 4 if alpha else 3)
    assert {len(strip) for strip in strips[:-1]} <= {rows}
    if name == "i.jpg":
        with Image.open(source) as again:
            wanted = again.convert("RGB")
    else:
        wanted = image.convert("RGBA" if alpha else "RGB")
    assert_array_equal(np.concatenate(strips), np.asarray(wanted))


def test_palettes_keep_their_transparency(tmp_path, photo):
    """tRNS of a palette, one transparent colour of a GIF, and one of an RGB picture."""
    image = photo.quantize(8)
    image.save(tmp_path / "a.png", transparency=bytes([0, 128, 255]))
    image.save(tmp_path / "b.gif", transparency=3)
    for name in ("a.png", "b.gif"):
        with Image.open(tmp_path / name) as again:
            wanted = np.asarray(again.convert("RGBA"))
        pixels = read(tmp_path / name)
        assert_array_equal(pixels, wanted)
        assert pixels[..., 3].min() == 0
    color = photo.getpixel((3, 3))
    photo.save(tmp_path / "c.png", transparency=color)
    pixels = read(tmp_path / "c.png")
    assert_array_equal(pixels[..., 3] == 0, (np.asarray(photo) == color).all(axis=-1))


def test_sixteen_bits_are_reduced_with_a_warning(tmp_path):
    """Grey to the nearest of 8 bits; colours by Pillow, within a level."""
    deep = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    Image.fromarray(deep).save(tmp_path / "g.png")
    with pytest.warns(UserWarning, match="16 bits a channel; they are reduced to 8"):
        pixels = read(tmp_path / "g.png")
    assert_array_equal(pixels, np.repeat(np.rint(deep / 257).astype(np.uint8)[:, :, None], 3, axis=2))
    colors = np.stack([deep, deep[::-1], deep.T.reshape(20, 30)], axis=-1)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colors)
    (tmp_path / "c.png").write_bytes(png(30, 20, 16, 2, rows))
    with pytest.warns(UserWarning, match="16 bits"):
        pixels = read(tmp_path / "c.png")
    assert np.abs(pixels - colors / 257).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
def test_the_rotation_of_a_photo_is_applied(tmp_path, photo, orientation, ending):
    """To the strips as to the whole; the EXIF data that may be kept no longer ask for it."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "a cat"
    path = tmp_path / f"i.{ending}"
    photo.save(path, exif=exif)
    with Image.open(path) as image:
        wanted = np.asarray(ImageOps.exif_transpose(image))
    with open_picture(path) as picture:
        assert (picture.height, picture.width, 3) == wanted.shape
        assert_array_equal(picture.array(), wanted)
        assert_array_equal(np.concatenate(list(picture.strips(4))), wanted)
        kept = Image.Exif()
        kept.load(picture.metadata.exif)
    assert kept.get(0x0112) is None and kept.get(0x010E) == "a cat"


def test_metadata_are_those_of_the_file(tmp_path, photo):
    """EXIF, XMP and dpi; nothing where the file has nothing."""
    photo.save(tmp_path / "a.jpg", dpi=(300, 300), xmp=b"<x/>")
    with open_picture(tmp_path / "a.jpg") as picture:
        assert picture.metadata.dpi == (300.0, 300.0) and picture.metadata.xmp == b"<x/>"
    photo.save(tmp_path / "b.png")
    with open_picture(tmp_path / "b.png") as picture:
        assert (picture.metadata.exif, picture.metadata.xmp, picture.metadata.dpi) == (b"", b"", None)


# -- colour profiles -------------------------------------------------------------------------------------


def test_a_colour_profile_is_converted_to_srgb(tmp_path, photo):
    """With red and green exchanged in the profile, they are exchanged in the pixels; alpha is untouched."""
    photo.save(tmp_path / "a.png", icc_profile=SWAPPED)
    wanted = np.asarray(photo)[..., [1, 0, 2]].astype(int)
    assert np.abs(read(tmp_path / "a.png") - wanted).max() <= 12  # gamma 2.2 is not sRGB's curve, most so in the dark
    assert np.abs(read(tmp_path / "a.png") - wanted).mean() < 2
    image = with_alpha(photo)
    image.save(tmp_path / "b.png", icc_profile=SWAPPED)
    pixels = read(tmp_path / "b.png")
    assert_array_equal(pixels[..., 3], np.asarray(image)[..., 3])
    assert np.abs(pixels[..., :3] - wanted).mean() < 2
    palette = photo.quantize(16)
    palette.save(tmp_path / "c.png", icc_profile=SWAPPED)
    assert np.abs(read(tmp_path / "c.png") - np.asarray(palette.convert("RGB"))[..., [1, 0, 2]].astype(int)).mean() < 2
    photo.convert("L").save(
        tmp_path / "d.png", icc_profile=SWAPPED
    )  # grey with a profile for colours: seen in the wild
    assert np.abs(read(tmp_path / "d.png") - np.asarray(photo.convert("L"))[:, :, None].astype(int)).mean() < 2


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_grey_profile_is_converted_too(tmp_path, photo, mode):
    """Linear grey gets lighter: 50 % of the light is the sRGB level 188."""
    image = Image.new(mode, (4, 4), 128 if mode == "L" else (128, 77))
    image.save(tmp_path / "a.png", icc_profile=LINEAR_GREY)
    pixels = read(tmp_path / "a.png")
    assert np.abs(pixels[..., :3].astype(int) - 188).max() <= 1
    assert mode == "L" or (pixels[..., 3] == 77).all()


def test_a_printers_profile_is_converted_too(tmp_path):
    """With its profile, cyan ink of another kind is grey; without, it is cyan; one for RGB is said to be of no use."""
    image = Image.new("CMYK", (4, 4), (255, 0, 0, 0))
    image.putpixel((0, 0), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    image.save(tmp_path / "a.tif", icc_profile=grey_inks())
    pixels = read(tmp_path / "a.tif").astype(int)
    assert (pixels[0, 0] >= 254).all() and (pixels[0, 1] <= 1).all()
    assert np.ptp(pixels[3, 3]) <= 1 and abs(pixels[3, 3, 0] - 162) <= 2  # L* = 66.7
    image.save(tmp_path / "b.tif")
    assert read(tmp_path / "b.tif")[3, 3].tolist() == [0, 255, 255]
    image.save(tmp_path / "c.tif", icc_profile=SWAPPED)
    with pytest.warns(UserWarning, match="its colour profile is for RGB, its pixels are CMYK"):
        assert read(tmp_path / "c.tif")[3, 3].tolist() == [0, 255, 255]


def test_a_picture_tagged_as_srgb_has_the_bytes_of_one_without_a_tag(tmp_path, photo):
    """LittleCMS would change some colours by one level."""
    photo.save(tmp_path / "a.png", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    assert_array_equal(read(tmp_path / "a.png"), np.asarray(photo))


@pytest.mark.parametrize("profile", [b"nonsense", LINEAR_GREY, SWAPPED[:200]])
def test_a_profile_that_cannot_be_used_is_said_once(tmp_path, photo, profile):
    """Damaged, or for another kind of image: the pixels stay as they are, with one warning however many strips."""
    photo.save(tmp_path / "a.png", icc_profile=profile)
    with open_picture(tmp_path / "a.png") as picture, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert_array_equal(np.concatenate(list(picture.strips(3))), np.asarray(photo))
    assert ["its colours are taken as sRGB" in str(warning.message) for warning in caught] == [True]


# -- large images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "mode"),
    [
        (ending, mode)
        for ending in ("png", "jpg", "webp", "tif")
        for mode in ("RGB", "RGBA", "L")
        if ending + mode != "jpgRGBA"
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_large_images_are_the_same_with_little_memory(tmp_path, photo, monkeypatch, ending, mode, orientation):
    """By rows or from a temporary file, in any strips, several times; a rotation and a profile are applied, too."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = with_alpha(photo) if mode == "RGBA" else photo.convert(mode)
    profile = {} if mode == "L" else {"icc_profile": SWAPPED}
    image.save(tmp_path / f"a.{ending}", **({} if orientation == 1 else {"exif": exif}), **profile)
    wanted = read(tmp_path / f"a.{ending}")
    monkeypatch.setattr(load, "_LARGE", 1)
    with open_picture(tmp_path / f"a.{ending}") as picture:
        assert (picture._png is not None) == (ending == "png" and mode != "L" and orientation == 1)
        assert (picture._spool is not None) == (picture._png is None and (mode != "L" or ending == "webp"))
        for rows in (1, 4, 1000, None):
            assert_array_equal(np.concatenate(list(picture.strips(rows))), wanted)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "transparency"])
def test_every_filter_of_png_is_undone_by_rows(tmp_path, photo, monkeypatch, mode):
    """Five kinds of filters, in pieces of IDAT as small as three bytes."""
    image = with_alpha(photo) if mode == "RGBA" else photo
    size = 4 if mode == "RGBA" else 3
    values = np.asarray(image).astype(int)
    above = np.vstack([np.zeros_like(values[:1]), values[:-1]])
    left, corner = (np.concatenate([np.zeros_like(part[:, :1]), part[:, :-1]], axis=1) for part in (values, above))
    guess = left + above - corner
    nearest = np.abs(np.stack([guess - left, guess - above, guess - corner])).argmin(axis=0)
    kinds = [0 * left, left, above, (left + above) // 2, np.choose(nearest, [left, above, corner])]
    rows = b"".join(bytes([y % 5]) + ((values - kinds[y % 5])[y] % 256).astype(np.uint8).tobytes() for y in range(17))
    content = png(23, 17, 8, 6 if size == 4 else 2, rows, piece=3)
    if mode == "transparency":
        color = b"".join(struct.pack(">H", channel) for channel in photo.getpixel((3, 3)))
        at = content.index(b"IDAT") - 4
        content = content[:at] + chunk(b"tRNS", color) + content[at:]
    (tmp_path / "a.png").write_bytes(content)
    wanted = read(tmp_path / "a.png")
    assert_array_equal(wanted[..., :size], values)
    assert wanted.shape[2] == (3 if mode == "RGB" else 4)
    monkeypatch.setattr(load, "_LARGE", 1)
    with open_picture(tmp_path / "a.png") as picture:
        assert picture._png is not None
        for count in (1, 2, 5, 17):
            assert_array_equal(np.concatenate(list(picture.strips(count))), wanted)


@pytest.mark.parametrize("damage", ["cut", "checksum", "zlib", "early"])
def test_damage_is_found_by_rows_too(tmp_path, photo, monkeypatch, damage):
    """Missing rows, wrong checksums and broken compression."""
    rows = b"".join(b"\0" + row.tobytes() for row in np.asarray(photo))
    content = bytearray(png(23, 17, 8, 2, rows[: -23 * 3] if damage == "early" else rows))
    if damage == "cut":
        del content[-100:]
    elif damage == "checksum":
        content[content.index(b"IEND") - 5] ^= 1
    elif damage == "zlib":
        at = content.index(b"IDAT") + 20
        content[at : at + 9] = b"\xff" * 9
    (tmp_path / "a.png").write_bytes(content)
    monkeypatch.setattr(load, "_LARGE", 1)
    refused(tmp_path / "a.png", "cannot be read|damaged")


# -- animations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_animations_give_their_frames(tmp_path, ending):
    """Each frame as it is seen, with its duration."""
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    frames = [Image.new("RGB", (6, 4), color) for color in colors]
    path = tmp_path / f"a.{ending}"
    options = {"lossless": True} if ending == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[100, 200, 300], loop=0, **options)
    with open_picture(path) as picture:
        assert picture.n_frames == 3
        seen = [(tuple(pixels[2, 2].tolist()), duration) for pixels, duration in picture.frames()]
    assert seen == [((*color, 255), duration) for color, duration in zip(colors, (100, 200, 300))]


def test_a_pil_image_gives_its_frames_and_stays_where_it_is(tmp_path):
    """Its frames, from the first, wherever it stands; afterwards it stands there again, and its pixels are the same."""
    colors = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    frames = [Image.new("RGB", (6, 4), color) for color in colors]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as image:
        image.seek(1)
        with open_picture(image) as picture:
            assert picture.n_frames == 3 and picture.array()[0, 0, :3].tolist() == [0, 250, 0]
            assert [tuple(pixels[2, 2, :3].tolist()) for pixels, _ in picture.frames()] == colors
            assert picture.array()[0, 0, :3].tolist() == [0, 250, 0]
        assert image.tell() == 1 and image.convert("RGB").getpixel((0, 0)) == (0, 250, 0)
        with open_picture(image.copy()) as picture:
            assert picture.n_frames == 1
    assert sorted(load_colors(tmp_path / "a.gif")[:, :3].tolist()) == sorted(map(list, colors))


# -- hostile input ---------------------------------------------------------------------------------------


def refused(path, match: str, **options) -> None:
    with pytest.raises(ValueError, match=match) as caught:
        with open_picture(path, **options) as picture:
            picture.array()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_decompression_bombs_are_refused_before_they_are_decoded(tmp_path, photo):
    """A file of 70 bytes that claims 4 gigapixels; and Pillow's own limit is left as it was."""
    (tmp_path / "bomb.png").write_bytes(png(65000, 65000, 8, 2, b"\0"))
    before = Image.MAX_IMAGE_PIXELS
    refused(tmp_path / "bomb.png", r"65000 x 65000 = 4225 megapixels, more than the 268.435456 allowed \(--max-meg")
    photo.save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "23 x 17 = 0.000391 megapixels, more than the 0.0001 allowed", max_pixels=100)
    assert Image.MAX_IMAGE_PIXELS == before
    frames = [photo.rotate(number) for number in range(9)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    refused(tmp_path / "a.gif", "has [0-9] frames of 23 x 17, more than 4 times", max_pixels=23 * 17)


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "gif", "bmp", "tif", "ppm"])
def test_truncated_files_are_refused(tmp_path, photo, ending):
    """Half a file is an error, never half a picture."""
    photo.save(tmp_path / f"a.{ending}")
    content = (tmp_path / f"a.{ending}").read_bytes()
    (tmp_path / f"a.{ending}").write_bytes(content[: len(content) // 2])
    refused(tmp_path / f"a.{ending}", "damaged")


def test_the_content_decides_and_not_the_name(tmp_path, photo):
    """A JPEG called .png is read; a text called .png is not, nor is a format that is not on the list."""
    photo.save(tmp_path / "a.png", format="JPEG")
    assert read(tmp_path / "a.png").shape == (17, 23, 3)
    (tmp_path / "b.png").write_text("not an image")
    refused(tmp_path / "b.png", "not an image, damaged, or not one of PNG, JPEG")
    photo.save(tmp_path / "c.png", format="ICO")
    refused(tmp_path / "c.png", "not an image, damaged, or not one of")
    (tmp_path / "d.png").write_bytes(b"")
    refused(tmp_path / "d.png", "not an image")
    assert "EPS" not in FORMATS


def test_images_without_pixels_are_refused(tmp_path):
    """0 x n in the file, and as a PIL image."""
    for width, height in ((0, 5), (5, 0)):
        (tmp_path / "a.png").write_bytes(png(width, height, 8, 2, b""))
        refused(tmp_path / "a.png", "no pixels|damaged")
        with pytest.raises(ImageError, match=f"is {width} x {height}, so it has no pixels"):
            open_picture(Image.new("RGB", (width, height)))


def test_kinds_without_8_bit_colours_are_refused(tmp_path):
    """Floating point and 32-bit integers have no range that is known; pages of a TIFF are pictures of their own."""
    for mode in ("F", "I"):
        Image.new(mode, (3, 3)).save(tmp_path / "a.tif")
        refused(tmp_path / "a.tif", f"mode {mode}, not 8 or 16 bits")
    pages = [Image.new("RGB", (3, 3)), Image.new("RGB", (4, 4))]
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:])
    refused(tmp_path / "b.tif", "has 2 pages")


def test_what_is_no_file_is_an_os_error(tmp_path):
    """Folders, missing names, pipes."""
    with pytest.raises(IsADirectoryError, match="is a folder"):
        open_picture(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_picture(tmp_path / "x.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(OSError, match="not a regular file"):
            open_picture(tmp_path / "pipe.png")


@pytest.mark.parametrize("ending", ["png", "png8", "jpg", "webp", "gif", "bmp", "tif", "ppm"])
def test_mangled_files_give_a_picture_or_an_error(tmp_path, photo, ending):
    """Flipped, dropped, doubled and overwritten bytes: nothing but ValueError and OSError comes out, or pixels do."""
    image = photo.quantize(7) if ending in ("png8", "gif") else photo
    path = tmp_path / f"a.{ending.rstrip('8')}"
    exif = Image.Exif()
    exif[0x0112] = 6
    options = {"exif": exif} if ending in ("png", "jpg", "webp", "tif") else {}
    image.save(path, **options)
    content = path.read_bytes()
    rng = np.random.default_rng(len(content))
    outcomes = {"read": 0, "refused": 0}
    for _ in range(120):
        data = bytearray(content)
        for _ in range(int(rng.integers(1, 5))):
            # headers decide what a decoder does: half of the damage is done there
            at = int(rng.integers(min(64, len(data)) if rng.random() < 0.5 else len(data)))
            kind = int(rng.integers(5))
            if kind == 0:
                data[at] ^= 1 << int(rng.integers(8))
            elif kind == 1:
                del data[at : at + int(rng.integers(1, 9))]
            elif kind == 2:
                data[at:at] = data[at : at + int(rng.integers(1, 9))]
            elif kind == 3:
                data[at : at + 4] = bytes(rng.integers(0, 256, 4).tolist())
            else:
                data[at : at + 4] = b"\xff" * 4
            data = data or bytearray(b"\0")
        path.write_bytes(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a mangled profile or depth
            try:
                with open_picture(path, max_pixels=1 << 16) as picture:
                    for pixels, _ in picture.frames() if picture.n_frames > 1 else [(picture.array(), 0)]:
                        assert pixels.shape == (picture.height, picture.width, picture.channels)
                outcomes["read"] += 1
            except (ValueError, OSError) as error:
                assert str(path) in str(error) or getattr(error, "filename", None) == str(path)
                outcomes["refused"] += 1
    assert outcomes["refused"] > 0


def test_a_pil_image_is_not_closed_nor_changed(photo):
    """The caller's image is as it was."""
    stream = io.BytesIO()
    photo.save(stream, "PNG")
    with Image.open(stream) as image:
        with open_picture(image) as picture:
            assert_array_equal(picture.array(), np.asarray(photo))
        assert image.format == "PNG" and image.getpixel((0, 0)) == photo.getpixel((0, 0))
