"""gpukm/color/palette.py, palette_files.py: what is written is read back, in order; damaged files say what is wrong."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal
from PIL import Image

from gpukm.color.palette import Palette, parse_hex, to_hex
from gpukm.color.palette_files import read_palette

OPAQUE = (".json", ".hex", ".gpl", ".ase", ".aco", ".css", ".png")
WITH_ALPHA = (".json", ".hex", ".css", ".png")
WARM = Palette.from_hex(["#ff8800", "#102030", "#000000"], name="warm")


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


# -- the class -------------------------------------------------------------------------------------------


def test_a_palette_cannot_be_changed_from_outside():
    """Arrays are copied and read-only; the mappings are copies, too."""
    colors, weights, errors = np.zeros((2, 3), dtype=np.uint8), np.array([0.25, 0.75]), {"mse": 1.0}
    palette = Palette(colors, weights, errors)
    colors[:] = 9
    weights[:] = 9
    errors["mse"] = 9
    assert palette.colors.max() == 0 and palette.weights.max() == 0.75 and palette.errors == {"mse": 1.0}
    with pytest.raises(ValueError, match="read-only"):
        palette.colors[0, 0] = 1
    with pytest.raises(AttributeError):
        palette.name = "x"


def test_hex_has_alpha_only_where_it_says_something():
    """An opaque colour is #rrggbb; short forms and upper case are read."""
    palette = Palette([[255, 0, 16, 255], [1, 2, 3, 0]])
    assert palette.hex == ["#ff0010", "#01020300"] and not palette.is_opaque and len(palette) == 2
    assert_array_equal(
        Palette.from_hex(["#F00", "abcd", " 010203 "]).colors[:2], [[255, 0, 0, 255], [170, 187, 204, 221]]
    )
    assert_array_equal(WARM.rgba[:, 3], 255)
    assert WARM.is_opaque and to_hex((1, 2, 3)) == "#010203" and parse_hex("#0102030f") == (1, 2, 3, 15)


@pytest.mark.parametrize("color", ["", "#", "#12345", "#gggggg", "red", "#ff00000000", None, 3, "#ff 00 0"])
def test_what_is_no_colour_is_refused(color):
    """The message shows it, and how it should look."""
    with pytest.raises(ValueError, match="is not a colour; write it as '#rrggbb'"):
        parse_hex(color)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((0, 3), dtype=np.uint8),), r"shape \(0, 3\)"),
        ((np.zeros((3, 2), dtype=np.uint8),), r"shape \(3, 2\)"),
        ((np.zeros(3, dtype=np.uint8),), r"shape \(3,\)"),
        (([[0, 0, 256]],), "from 0 to 255"),
        (([[0, 0, -1]],), "from 0 to 255"),
        (([[0, 0, 0.5]],), "dtype float64"),
        (([[1, 2, 3]], [0.5, 0.5]), r"shape \(2,\)"),
        (([[1, 2, 3]], [np.nan]), "NaN"),
        (([[1, 2, 3]], [1.5]), "above 1"),
    ],
)
def test_wrong_palettes_are_refused(arguments, message):
    """Shapes, ranges and shares are checked once, here."""
    with pytest.raises(ValueError, match=message):
        Palette(*arguments)


# -- round trips -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", OPAQUE)
@given(colors=arrays(np.uint8, st.tuples(st.integers(1, 40), st.just(3))))
def test_reading_back_gives_the_same_colours(tmp_path_factory, ending, colors):
    """All formats keep every colour to the bit, and their order."""
    colors = colors[np.sort(np.unique(colors, axis=0, return_index=True)[1])]  # as palettes of this package: different
    path = tmp_path_factory.mktemp("palette") / f"p{ending}"
    Palette(colors).save(path)
    assert_array_equal(Palette.load(path).colors, colors)


@pytest.mark.parametrize("ending", WITH_ALPHA)
@given(colors=arrays(np.uint8, st.tuples(st.integers(1, 40), st.just(4))))
def test_alpha_is_read_back_where_the_format_has_it(tmp_path_factory, ending, colors):
    """Transparent colours keep their red, green and blue, too."""
    path = tmp_path_factory.mktemp("palette") / f"p{ending}"
    Palette(colors).save(path)
    assert_array_equal(Palette.load(path).rgba, colors)


@pytest.mark.parametrize("ending", sorted(set(OPAQUE) - set(WITH_ALPHA)))
def test_alpha_is_never_dropped(tmp_path, ending):
    """Formats without alpha refuse transparent colours and take a 4-column palette that is opaque."""
    path = tmp_path / f"p{ending}"
    with pytest.raises(ValueError, match="hold no transparency"):
        Palette([[1, 2, 3, 254]]).save(path)
    assert not path.exists()
    Palette([[1, 2, 3, 255]]).save(path)
    assert Palette.load(path).hex == ["#010203"]


def test_json_holds_everything(tmp_path):
    """Shares, errors (infinity among them), name and metadata come back; every number in full."""
    errors = {"mse": 0.1 + 0.2, "psnr": float("inf")}
    palette = Palette([[1, 2, 3, 255], [4, 5, 6, 255]], [0.1, 0.9], errors, "Blüten", {"space": "oklab"})
    palette.save(tmp_path / "p.json")
    again = Palette.load(tmp_path / "p.json")
    assert_array_equal(again.colors, palette.colors)
    assert_array_equal(again.weights, palette.weights)
    assert (again.errors, again.name, again.metadata) == (palette.errors, palette.name, palette.metadata)
    Palette([[1, 2, 3]]).save(tmp_path / "q.json")
    assert Palette.load(tmp_path / "q.json").weights is None
    (tmp_path / "r.json").write_text('["#010203", "#fff"]')
    assert Palette.load(tmp_path / "r.json").hex == ["#010203", "#ffffff"]


def test_a_swatch_picture_shows_one_square_a_colour(tmp_path):
    """16 squares a row, in the palette's order; the last fills its row."""
    colors = np.random.default_rng(0).integers(0, 256, (20, 3)).astype(np.uint8)
    Palette(colors).save(tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as image:
        assert image.size == (16 * 32, 2 * 32) and image.mode == "P"
        tiles = np.asarray(image.convert("RGB"))[16::32, 16::32].reshape(-1, 3)
    assert_array_equal(tiles[:20], colors)
    assert (tiles[20:] == colors[19]).all()
    with pytest.raises(ValueError, match="at most 256"):
        Palette(np.zeros((257, 3), dtype=np.uint8)).save(tmp_path / "q.png")


def test_any_picture_of_few_colours_is_a_palette(tmp_path):
    """Full colour: as they first occur; more than 256 are refused."""
    pixels = np.array([[[9, 9, 9], [1, 1, 1]], [[9, 9, 9], [5, 5, 5]]], dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    assert Palette.load(tmp_path / "p.png").hex == ["#090909", "#010101", "#050505"]
    Image.fromarray(np.arange(3 * 300, dtype=np.uint16).astype(np.uint8).reshape(1, 300, 3)).save(tmp_path / "q.png")
    assert len(Palette.load(tmp_path / "q.png")) == 256
    many = np.zeros((1, 300, 3), dtype=np.uint8)
    many[0, :, 0], many[0, :, 1] = np.arange(300) % 256, np.arange(300) // 256
    Image.fromarray(many).save(tmp_path / "r.png")
    with pytest.raises(ValueError, match="more than 256 colours"):
        Palette.load(tmp_path / "r.png")


# -- files of other programs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "colors"),
    [
        ("p.gpl", "GIMP Palette\r\n#\r\n255 0 0 Red\r\n  1   2 3\r\n", ["#ff0000", "#010203"]),
        ("p.gpl", "GIMP Palette\nName: x y\nColumns: 4\n# 1 2 3\n\n0 0 0\tUntitled", ["#000000"]),
        ("p.hex", "\ufeffFF8800\n\n; note\n#102030\n", ["#ff8800", "#102030"]),
        ("p.css", ":root{--a:#ff8800;/* --b:#000000; */--c : #ABC}", ["#ff8800", "#aabbcc"]),
        ("p.aco", struct.pack(">2H10H", 1, 2, 0, 0xFF00, 0x8000, 0, 0, 8, 5000, 0, 0, 0), ["#ff8000", "#808080"]),
        (
            "p.ase",
            b"ASEF\0\1\0\0\0\0\0\3"
            + struct.pack(">HIH2s", 0xC001, 4, 1, b"\0\0")
            + struct.pack(">HIH2s4sfH", 1, 14, 1, b"\0\0", b"Gray", 0.5, 0)
            + struct.pack(">HI", 0xC002, 0),
            ["#808080"],
        ),
    ],
)
def test_files_of_other_programs_are_read(tmp_path, name, content, colors):
    """Comments, groups, names, short forms, Windows line ends, grey, and 8 bits stored times 256."""
    path = written(tmp_path, name, content if isinstance(content, bytes) else content.encode())
    assert Palette.load(path).hex == colors


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.json", b"", "not a palette in .json form"),
        ("p.json", b"{}", 'an object with "format"'),
        ("p.json", b"[]", "a list of"),
        ("p.json", b"[" * 100_000, "not a palette in .json form"),
        ("p.json", b'{"format": "gpukm palette", "version": 2, "colors": []}', "version is 2"),
        ("p.json", b'{"format": "gpukm palette", "version": 1, "colors": [{}]}', 'object with "hex"'),
        ("p.json", b'{"format": "gpukm palette", "version": 1, "colors": []}', r"shape \(0, 3\)"),
        (
            "p.json",
            b'{"format": "gpukm palette", "version": 1, "colors": [{"hex": "#000000", "proportion": NaN}]}',
            "NaN",
        ),
        (
            "p.json",
            b'{"format": "gpukm palette", "version": 1, "colors": [{"hex": "#000000", "proportion": "x"}]}',
            "proportion",
        ),
        ("p.hex", b"ff0000\nred\n", "line 2: 'red' is not a colour"),
        ("p.hex", b"", r"shape \(0, 3\)"),
        ("p.hex", b"\xff\xfe\0", "decode"),
        ("p.gpl", b"1 2 3\n", "first line is not 'GIMP Palette'"),
        ("p.gpl", b"GIMP Palette\n1 2\n", "line 2: '1 2' is not three numbers"),
        ("p.gpl", b"GIMP Palette\n1 2 256\n", "line 2: '1 2 256' is not three numbers from 0 to 255"),
        ("p.css", b"body { color: red }", "no custom property"),
        ("p.css", b":root { --a: #12345; }", "'#12345' is not a colour"),
        ("p.ase", b"ASEF", "may be cut short"),
        ("p.ase", b"RIFFxxxx", "does not begin with ASEF"),
        ("p.ase", b"ASEF\0\1\0\0\xff\xff\xff\xff", "may be cut short"),
        (
            "p.ase",
            b"ASEF\0\1\0\0\0\0\0\1" + struct.pack(">HIH4s4s4fH", 1, 28, 2, b"\0c\0\0", b"CMYK", 0, 0, 0, 0, 0),
            "'c' is CMYK, not RGB",
        ),
        (
            "p.ase",
            b"ASEF\0\1\0\0\0\0\0\1" + struct.pack(">HIH2s4s3fH", 1, 22, 1, b"\0\0", b"RGB ", 0, 7, 0, 0),
            "not from 0 to 1",
        ),
        ("p.aco", b"\0\1\0\2" + b"\0" * 10, "may be cut short"),
        ("p.aco", struct.pack(">7H", 1, 1, 7, 0, 0, 0, 0), "colour 1 is Lab, not RGB"),
        ("p.aco", struct.pack(">2H", 9, 1), "version 9"),
        ("p.png", b"\x89PNG\r\n\x1a\n", "not an image, damaged"),
        ("p.txt", b"", "cannot tell its format"),
    ],
)
def test_damaged_files_say_what_is_wrong(tmp_path, name, content, message):
    """The file is named, and where in it the trouble is."""
    path = written(tmp_path, name, content)
    with pytest.raises(ValueError, match=message) as caught:
        Palette.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("ending", OPAQUE)
def test_every_cut_is_noticed_or_leaves_whole_colours(tmp_path, ending):
    """A file that ends early gives an error, or (text, which has no length) the first of its colours."""
    WARM.save(tmp_path / f"p{ending}")
    content = (tmp_path / f"p{ending}").read_bytes()
    binary = ending in (".ase", ".png", ".json")
    for length in range(len(content) - 1 if binary else len(content)):
        path = written(tmp_path, f"q{ending}", content[:length])
        try:
            colors = Palette.load(path).hex
        except ValueError:
            continue
        if ending == ".aco":  # the old part of the file is all that is read
            assert length >= 4 + 3 * 10 and colors == WARM.hex
        elif ending == ".png":  # what is missing are checksums: all pixels are there
            assert length >= content.index(b"IEND") - 16 and colors == WARM.hex
        else:
            assert not binary and len(colors) <= 3


@given(st.sampled_from(OPAQUE), st.binary(max_size=200))
def test_any_bytes_give_a_palette_or_a_value_error(tmp_path_factory, ending, content):
    """No other exception gets out of the readers."""
    path = written(tmp_path_factory.mktemp("palette"), f"p{ending}", content)
    try:
        assert len(read_palette(path)) >= 1
    except ValueError as error:
        assert str(path) in str(error)


# -- files -----------------------------------------------------------------------------------------------


def test_nothing_is_overwritten_or_half_written(tmp_path):
    """An existing file stays unless force is set; wrong endings and folders are refused."""
    path = tmp_path / "p.json"
    WARM.save(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="--force"):
        Palette([[0, 0, 0]]).save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    Palette([[0, 0, 0]]).save(path, force=True)
    assert json.loads(path.read_text())["colors"] == [{"hex": "#000000", "rgb": [0, 0, 0]}]
    with pytest.raises(ValueError, match="must end in .json"):
        WARM.save(tmp_path / "p.xyz")
    with pytest.raises(FileNotFoundError, match="no such file"):
        Palette.load(tmp_path / "missing.json")
    (tmp_path / "d.json").mkdir()
    with pytest.raises(IsADirectoryError):
        Palette.load(tmp_path / "d.json")
