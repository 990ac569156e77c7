"""gpukm/color/outputs.py: what is written is what is seen, in as few bits as the palette needs, whole or not at all."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image

from gpukm.color.load import open_picture
from gpukm.color.metadata import Metadata
from gpukm.color.outputs import ENDINGS, Frame, to_pillow, write_image

RNG = np.random.default_rng(0)


def frame(n_colors: int, channels: int = 3, shape: tuple[int, int] = (11, 13), duration: float = 0) -> Frame:
    """Random pixels of `n_colors` different colours; with alpha, some are transparent and some are not."""
    colors = np.unique(RNG.integers(0, 256, (4 * n_colors, channels)), axis=0).astype(np.uint8)
    colors = RNG.permutation(colors)[:n_colors]
    if channels == 4:
        colors[:, 3] = RNG.choice([0, 255], n_colors)
    return Frame(RNG.integers(0, n_colors, shape).astype(np.uint8), colors, duration)


def seen(image: np.ndarray) -> np.ndarray:
    """RGBA in which transparent pixels are all alike, as one sees them."""
    return np.where(image[..., 3:] == 0, 0, image)


def rgba(one: Frame) -> np.ndarray:
    colors = one.colors
    if colors.shape[1] == 3:
        colors = np.column_stack([colors, np.full(len(colors), 255, dtype=np.uint8)])
    return colors[one.indices]


def chunks(path: Path) -> dict[bytes, bytes]:
    content, at, found = path.read_bytes(), 8, {}
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        found[content[at + 4 : at + 8]] = content[at + 8 : at + 8 + length]
        at += 12 + length
    return found


# -- single images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("channels", [3, 4])
@given(n_colors=st.integers(1, 256), width=st.integers(1, 20), height=st.integers(1, 20))
def test_what_is_written_is_what_is_seen(tmp_path_factory, ending, channels, n_colors, width, height):
    """Every pixel, to the bit, in every format."""
    path = tmp_path_factory.mktemp("out") / f"i{ending}"
    one = frame(n_colors, channels, (height, width))
    size = write_image(path, [one])
    assert size == path.stat().st_size
    with Image.open(path) as image:
        assert ending == ".webp" or image.mode in ("P", "L", "1")
        assert_array_equal(seen(np.asarray(image.convert("RGBA"))), seen(rgba(one)))


@pytest.mark.parametrize(("n_colors", "depth"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 4), (16, 4), (17, 8), (256, 8)])
def test_a_png_has_the_smallest_depth(tmp_path, n_colors, depth):
    """1, 2, 4 or 8 bits a pixel, a palette of just its colours."""
    write_image(tmp_path / "i.png", [frame(n_colors)])
    parts = chunks(tmp_path / "i.png")
    assert parts[b"IHDR"][8:10] == bytes([depth, 3]) and len(parts[b"PLTE"]) == 3 * n_colors and b"tRNS" not in parts


def test_a_png_has_alphas_up_to_the_last_that_counts(tmp_path):
    """tRNS ends with the last colour that is not opaque; partly transparent colours keep all four numbers."""
    colors = np.array([[1, 2, 3, 0], [4, 5, 6, 100], [7, 8, 9, 255]], dtype=np.uint8)
    one = Frame(np.array([[0, 1, 2]], dtype=np.uint8), colors)
    write_image(tmp_path / "i.png", [one])
    assert chunks(tmp_path / "i.png")[b"tRNS"] == bytes([0, 100])
    with Image.open(tmp_path / "i.png") as image:
        assert_array_equal(np.asarray(image.convert("RGBA")), colors[None])
    write_image(tmp_path / "i.webp", [one])
    with Image.open(tmp_path / "i.webp") as image:
        assert_array_equal(np.asarray(image.convert("RGBA")), colors[None])
    assert_array_equal(np.asarray(to_pillow(one).convert("RGBA")), colors[None])


def test_gif_would_lose_partial_transparency_and_says_so(tmp_path):
    """Nothing is written; several fully transparent entries are all transparent."""
    colors = np.array([[1, 2, 3, 100]], dtype=np.uint8)
    with pytest.raises(ValueError, match="no partly transparent colours; use --alpha threshold"):
        write_image(tmp_path / "i.gif", [Frame(np.zeros((2, 2), dtype=np.uint8), colors)])
    assert list(tmp_path.iterdir()) == []
    colors = np.array([[9, 9, 9, 255], [1, 2, 3, 0], [4, 5, 6, 0]], dtype=np.uint8)
    write_image(tmp_path / "i.gif", [Frame(np.array([[0, 1, 2]], dtype=np.uint8), colors)])
    with Image.open(tmp_path / "i.gif") as image:
        assert np.asarray(image.convert("RGBA"))[0, :, 3].tolist() == [255, 0, 0]


def test_indices_in_any_layout_are_written(tmp_path):
    """Strided, Fortran order, read-only."""
    one = frame(9)
    turned = Frame(np.asfortranarray(one.indices)[::-1, ::2], one.colors)
    turned.indices.flags.writeable = False
    write_image(tmp_path / "i.png", [turned])
    with Image.open(tmp_path / "i.png") as image:
        assert_array_equal(np.asarray(image.convert("RGBA")), rgba(turned))


def test_metadata_are_kept_where_the_format_has_places(tmp_path):
    """EXIF, XMP and dpi in PNG; EXIF and XMP in WebP; nothing without them."""
    exif = Image.Exif()
    exif[0x010E] = "a cat"
    metadata = Metadata(exif.tobytes(), b"<x/>", (300.0, 300.0))
    for ending in (".png", ".webp"):
        write_image(tmp_path / f"i{ending}", [frame(4)], metadata=metadata)
        with open_picture(tmp_path / f"i{ending}") as picture:
            kept = Image.Exif()
            kept.load(picture.metadata.exif)
            assert kept.get(0x010E) == "a cat" and picture.metadata.xmp == b"<x/>"
            assert ending == ".webp" or picture.metadata.dpi == pytest.approx((300, 300), rel=1e-3)
    write_image(tmp_path / "i.gif", [frame(4)], metadata=metadata)
    write_image(tmp_path / "plain.png", [frame(4)])
    assert set(chunks(tmp_path / "plain.png")) == {b"IHDR", b"PLTE", b"IDAT", b"IEND"}


# -- animations ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 1], [1, 2, 0]])
def test_opaque_frames_do_not_show_through_later_ones(tmp_path, ending, order):
    """Frames without a hole, between others that have one, leave nothing behind."""
    colors = np.array([[9, 9, 9, 255], [90, 9, 9, 255], [9, 90, 9, 255]], dtype=np.uint8)
    holes = [colors.copy(), colors.copy()]
    holes[0][1, 3] = holes[1][2, 3] = 0
    choices = [Frame(RNG.integers(0, 3, (7, 8)).astype(np.uint8), one, 100) for one in (colors, *holes)]
    frames = [choices[number] for number in order]
    path = tmp_path / f"a{ending}"
    write_image(path, frames)
    with open_picture(path) as picture:
        for (pixels, _), wanted in zip(picture.frames(), frames):
            assert_array_equal(seen(pixels), seen(rgba(wanted)))


def test_a_gif_without_room_for_transparency_is_refused(tmp_path):
    """256 opaque colours in one frame, a hole in another."""
    full = np.column_stack([np.arange(256)] * 3 + [np.full(256, 255)]).astype(np.uint8)
    indices = np.zeros((2, 2), dtype=np.uint8)
    frames = [Frame(indices, full), Frame(indices, full[:1] * np.array([1, 1, 1, 0], dtype=np.uint8))]
    with pytest.raises(ValueError, match="256 opaque colours has no room .* use 255 colours, or write a .png"):
        write_image(tmp_path / "a.gif", frames)
    assert list(tmp_path.iterdir()) == []
    write_image(tmp_path / "a.png", frames)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("loop", [0, 1, 3])
def test_animations_are_written_frame_by_frame(tmp_path, ending, channels, shared, loop):
    """Each frame is seen as it was, with a shared palette or its own; durations and loops are kept."""
    frames = [frame(5, channels, duration=100 * number) for number in (1, 2, 3)]
    if shared:
        frames = [Frame(one.indices, frames[0].colors, one.duration) for one in frames]
    path = tmp_path / f"a{ending}"
    write_image(path, frames, loop=loop)
    with open_picture(path) as picture:
        assert picture.n_frames == 3 and picture.loop == loop
        found = list(picture.frames())
    for (pixels, duration), wanted in zip(found, frames):
        assert duration == wanted.duration
        assert_array_equal(seen(pixels), seen(rgba(wanted)))


def test_an_animated_png_with_one_palette_is_indexed(tmp_path):
    """4 bits a pixel with a shared palette; full colour with several, since PNG has one."""
    frames = [frame(9, duration=50), frame(9, duration=50)]
    write_image(tmp_path / "a.png", [frames[0], Frame(frames[1].indices, frames[0].colors, 50)])
    write_image(tmp_path / "b.png", frames)
    assert chunks(tmp_path / "a.png")[b"IHDR"][8:10] == bytes([4, 3])
    assert chunks(tmp_path / "b.png")[b"IHDR"][8:10] == bytes([8, 2])


# -- errors ----------------------------------------------------------------------------------------------


def test_nothing_is_overwritten_or_half_written(tmp_path):
    """An existing file stays; one whose size is not accepted never appears."""
    path = tmp_path / "i.png"
    write_image(path, [frame(3)])
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="--force"):
        write_image(path, [frame(3)])

    def never(size: int) -> None:
        assert size > 8
        raise ValueError("too large")

    with pytest.raises(ValueError, match="too large"):
        write_image(path, [frame(4)], force=True, accept=never)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["i.png"]
    write_image(path, [frame(4)], force=True)
    assert path.read_bytes() != before


@pytest.mark.parametrize(
    ("name", "frames", "message"),
    [
        ("i.jpg", [frame(2)], "must end in .png, .apng, .gif, .webp"),
        ("i.png", [], "no frames"),
        ("i.png", [frame(2), frame(2, shape=(3, 3))], "differ in size"),
        ("i.png", [Frame(np.zeros((2, 0), dtype=np.uint8), np.zeros((1, 3), dtype=np.uint8))], r"shape \(2, 0\)"),
        ("i.png", [Frame(np.zeros((2, 2), dtype=np.uint16), np.zeros((300, 3), dtype=np.uint8))], "300 colours"),
        ("i.gif", [Frame(np.zeros((65536, 1), dtype=np.uint8), np.zeros((1, 3), dtype=np.uint8))], "at most 65535"),
        ("i.webp", [Frame(np.zeros((1, 16384), dtype=np.uint8), np.zeros((1, 3), dtype=np.uint8))], "at most 16383"),
    ],
)
def test_what_cannot_be_written_is_said_before(tmp_path, name, frames, message):
    """And leaves nothing behind."""
    with pytest.raises(ValueError, match=message):
        write_image(tmp_path / name, frames)
    assert list(tmp_path.iterdir()) == []
