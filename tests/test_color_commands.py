"""gpukm colors, palette and apply: what they print, what they write, how they fail."""

import inspect
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

import gpukm
from gpukm.cli import main
from gpukm.color import shared, work
from gpukm.color.load import open_picture
from gpukm.color.palette import Palette
from gpukm.color.quantizer import quantize

CHELSEA = Path(__file__).parents[1] / "examples" / "chelsea.png"


@pytest.fixture(scope="module")
def cat() -> Image.Image:
    with Image.open(CHELSEA) as image:
        small = image.convert("RGB").resize((60, 40))
    small.info.clear()
    return small


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, cat) -> Path:
    """Each test runs in a folder of its own with a photo and a tree of three, and one that is damaged."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(gpukm.__file__).parents[1]))
    cat.save("photo.png")
    Path("in/x").mkdir(parents=True)
    cat.save("in/a.png")
    cat.rotate(90, expand=True).save("in/b.jpg", quality=95)
    cat.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((30, 30)).save("in/x/c.webp", lossless=True)
    return tmp_path


def ok(capsys, command: str, code: int = 0) -> tuple[str, str]:
    """Run a command that must end with this code; return what it printed."""
    assert main(shlex.split(command)) == code, capsys.readouterr().err
    return capsys.readouterr()


def fails(capsys, command: str, code: int) -> str:
    """Run a command that must fail with one line on stderr and nothing on stdout; return that line."""
    out, err = ok(capsys, command, code)
    assert out == "" and err.count("\n") == 1 and err.startswith("gpukm"), err
    return err


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def n_colors(path: str) -> int:
    return len(np.unique(pixels(path).reshape(-1, 3), axis=0))


def files(folder: str = ".") -> list[str]:
    found = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]
    return sorted(os.path.relpath(path, folder) for path in found)


# -- one image -------------------------------------------------------------------------------------------


def test_an_image_gets_the_colours_asked_for(capsys):
    """The file has them, each of them; stdout has the palette with shares, and the errors."""
    out, err = ok(capsys, "colors photo.png -k 6 -o out.png")
    assert n_colors("out.png") == 6
    lines = re.findall(r"^  (#[0-9a-f]{6}) +([0-9.]+) %$", out, re.M)
    assert len(lines) == 6 and sum(float(share) for _, share in lines) == pytest.approx(100, abs=0.05)
    assert {tuple(bytes.fromhex(text[1:])) for text, _ in lines} == set(
        map(tuple, pixels("out.png").reshape(-1, 3).tolist())
    )
    assert "photo.png: 60 x 40 pixels" in out and "CIEDE2000" in out and "PSNR" in out and "\x1b" not in out
    assert re.fullmatch(r"gpukm: wrote out.png: 6 colours, \d+ bytes\n", err)
    assert "out.png" in files()


def test_the_figures_are_those_of_the_file(capsys):
    """MSE and PSNR of --json are those of the pixels that were written; the palette holds shares that fit."""
    out, _ = ok(capsys, "colors photo.png -k 9 -o out.png --json --quiet")
    facts = json.loads(out)
    (image,) = facts["images"]
    before, after = pixels("photo.png").astype(float), pixels("out.png").astype(float)
    mse = ((before - after) ** 2).mean()
    assert image["mse"] == pytest.approx(mse, rel=1e-12)
    assert image["psnr"] == pytest.approx(10 * np.log10(255**2 / mse), rel=1e-12)
    assert (image["width"], image["height"], image["frames"], image["colors"]) == (60, 40, 1, 9)
    assert image["unique_colors"] == n_colors("photo.png") and image["output"] == "out.png"
    assert image["bytes"] == os.path.getsize("out.png") and image["bytes_before"] == os.path.getsize("photo.png")
    assert 0 < image["de_mean"] < image["de_p95"] < image["de_max"]
    assert facts["failed"] == []
    for entry in image["palette"]["colors"]:
        assert entry["proportion"] == pytest.approx((after == entry["rgb"]).all(axis=-1).mean(), rel=1e-12)


def test_without_an_output_nothing_is_written(capsys):
    """The palette is printed, and a line says how to get a file."""
    before = files()
    _, err = ok(capsys, "colors photo.png -k 4")
    assert "no image is written; give -o FILE or --out-dir FOLDER" in err and files() == before


@pytest.mark.parametrize("ending", ["png", "gif", "webp"])
def test_every_format_has_the_same_pixels(capsys, ending):
    """Nothing is lost between the palette and the file."""
    ok(capsys, "colors photo.png -k 5 -o first.png --quiet")
    ok(capsys, f"colors photo.png -k 5 -o out.{ending} --quiet")
    assert_array_equal(pixels(f"out.{ending}"), pixels("first.png"))


def test_metadata_are_kept_unless_stripped(capsys, cat):
    """EXIF stays, less the rotation, which is applied; --strip takes it out."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a cat"
    cat.save("turned.jpg", exif=exif)
    ok(capsys, "colors turned.jpg -k 4 -o kept.png")
    ok(capsys, "colors turned.jpg -k 4 -o stripped.png --strip")
    assert_array_equal(pixels("kept.png"), pixels("stripped.png"))
    with open_picture("kept.png") as kept, open_picture("stripped.png") as stripped:
        assert (kept.width, kept.height) == (40, 60)
        again = Image.Exif()
        again.load(kept.metadata.exif)
        assert again.get(0x010E) == "a cat" and 0x0112 not in again and stripped.metadata.exif == b""


def test_options_reach_the_library(capsys, monkeypatch):
    """No option is accepted and ignored, and the defaults are those of the functions."""
    seen = []

    def recorded(function):
        return lambda *arguments, **options: (seen.append(options), function(*arguments, **options))[1]

    for name in ("quantize", "apply", "fit_palette"):
        monkeypatch.setattr(work, name, recorded(getattr(work, name)))
    search = {"space": "lab", "chroma": 1.5, "keep": ("#ff0000", "#00ff00"), "effort": 0, "init": "k-means++"}
    search |= {"random_state": 3, "device": "cpu"}
    where = {"space": "lab", "chroma": 1.5}
    mapping = {"dither": "bayer", "dither_level": 0.5, "alpha": "flatten", "background": "#000000"} | where
    search_words = (
        "--keep '#ff0000, #00ff00' --effort 0 --init k-means++ --seed 3 --device cpu --space lab --chroma 1.5"
    )
    words = "--dither bayer --dither-level 0.5 --alpha flatten --background '#000000'"
    ok(capsys, f"colors photo.png -k 7 {search_words} {words}")
    assert seen.pop() == search | mapping | dict.fromkeys(["target_de", "target_de_p95", "min_psnr", "importance"])
    ok(capsys, f"colors photo.png in/a.png -k 7 --shared {search_words} {words}")
    assert seen == [search, mapping, mapping]
    ok(capsys, "palette photo.png -k 2 --effort 0 -o p.json")
    ok(capsys, f"apply photo.png --palette p.json --space lab --chroma 1.5 {words}")
    assert seen[-1] == mapping
    ok(capsys, "colors photo.png -k 20 --effort 0 --target-de 9 --target-de-p95 20 --min-psnr 9")
    given = next(options for options in seen if options.get("target_de"))
    assert (given["target_de"], given["target_de_p95"], given["min_psnr"]) == (9.0, 20.0, 9.0)
    seen.clear()
    Image.new("RGB", (2, 2)).save("tiny.png")
    ok(capsys, "colors tiny.png")
    defaults = {name: part.default for name, part in inspect.signature(quantize).parameters.items()}
    assert seen[0] == {name: defaults[name] for name in seen[0]} and len(seen[0]) == len(defaults) - 2


def test_a_report_shows_the_image(capsys):
    """With its figures; the name must be one of a page."""
    ok(capsys, "colors photo.png -k 5 -o out.png --report r.html")
    text = Path("r.html").read_text(encoding="utf-8")
    assert "<h2>photo.png</h2>" in text and "mean CIEDE2000" in text and text.count("data:image/png") == 3
    assert "r.pdf: the name must end in .html" in fails(capsys, "colors photo.png --report r.pdf", 2)
    assert "exists" in fails(capsys, "colors photo.png --report r.html", 15)


def test_importance_says_which_pixels_count(capsys):
    """A mask that is black but for one colour makes that colour's errors small."""
    flat = np.zeros((10, 10, 3), dtype=np.uint8)
    flat[:, :5], flat[:5, 5:], flat[5:, 5:] = (200, 0, 0), (0, 0, 200), (0, 180, 180)
    Image.fromarray(flat).save("flat.png")
    mask = np.zeros((10, 10), dtype=np.uint8)
    mask[5:, 5:] = 255
    Image.fromarray(mask).save("mask.png")
    out, _ = ok(capsys, "palette flat.png -k 1 --importance mask.png --json")
    assert json.loads(out)["palette"]["colors"][0]["hex"] == "#00b4b4"
    assert "is 10 x 10, the image 60 x 40" in fails(capsys, "colors photo.png --importance mask.png", 1)
    out, err = ok(capsys, "colors photo.png flat.png -k 1 --importance mask.png --out-dir out", 2)
    assert "gpukm: error: mask.png: is 10 x 10, the image 60 x 40" in err.replace("photo.png: ", "")
    assert pixels("out/flat.png")[0, 0].tolist() == [0, 180, 180] and files("out") == ["flat.png"]
    Image.fromarray(flat[::-1].copy()).save("turned.png")
    out, _ = ok(capsys, "colors flat.png turned.png -k 2 --shared --importance mask.png --json")
    assert {one["hex"] for one in json.loads(out)["palette"]["colors"]} == {"#00b4b4", "#0000c8"}
    ok(capsys, "colors flat.png -k 1 --shared --importance mask.png -o alone.png")
    assert pixels("alone.png")[0, 0].tolist() == [0, 180, 180]
    Image.fromarray(flat).save("moving.png", save_all=True, append_images=[Image.fromarray(flat[::-1].copy())])
    ok(capsys, "colors moving.png -k 1 --frames own --importance mask.png -o own.webp")
    with open_picture("own.webp") as picture:
        assert [frame[0, 0, :3].tolist() for frame, _ in picture.frames()] == [[0, 180, 180], [0, 0, 200]]


def test_importance_is_one_grey_image(capsys):
    """Neither colours, nor transparent, nor an animation: all of it would not be used."""
    Image.new("RGB", (60, 40), (9, 90, 9)).save("green.png")
    Image.new("LA", (60, 40), (9, 90)).save("clear.png")
    Image.new("L", (60, 40), 9).save("moving.png", save_all=True, append_images=[Image.new("L", (60, 40), 90)])
    for name, wrong in (("green", "has colours or"), ("clear", "transparent pixels"), ("moving", "has 2 frames")):
        err = fails(capsys, f"colors photo.png -k 2 --importance {name}.png", 1)
        assert f"{name}.png: " in err and wrong in err
    assert "--importance none.png: no such file" in fails(capsys, "colors in --out-dir out --importance none.png", 1)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("colors photo.png --balance images", "--balance is for one palette of all images; give --shared"),
        ("colors in --balance pixels", "--balance is for one palette of all images; give --shared"),
        ("colors photo.png --dither-level 0.5", "--dither-level needs --dither fs, bayer or blue"),
        ("apply photo.png --palette p.json --dither-level 0.8", "--dither-level needs --dither"),
        ("colors photo.png --background '#000'", "--background needs --alpha flatten"),
        ("palette photo.png --alpha threshold --background '#000'", "--background needs --alpha flatten"),
        ("palette photo.png --space srgb --chroma 2", "--chroma needs --space oklab, lab or din99"),
        ("colors photo.png --importance in/a.png -o in/a.png --force", "is the same file as the input in/a.png"),
        ("colors photo.png --format gif -o a.png", "--format is for --out-dir"),
        ("colors photo.png --frames own --shared", "give one of them"),
    ],
)
def test_options_that_would_do_nothing_are_refused(capsys, command, message):
    """Exit code 2, with what is needed."""
    before = files()
    assert message in fails(capsys, command, 2) and files() == before


# -- quality and size ------------------------------------------------------------------------------------


def test_a_quality_that_is_not_reached_writes_nothing(capsys):
    """Exit code 99; reached, it is written."""
    before = files()
    err = fails(capsys, "colors photo.png -k 2 -o out.png --require-de 0.5", 99)
    assert "is above --require-de 0.5 with 2 colours; nothing is written" in err and files() == before
    ok(capsys, "colors photo.png -k 256 --effort 0 -o out.png --require-de 5")
    assert n_colors("out.png") == 256
    Palette([[0, 0, 0]]).save("black.json")
    assert "above --require-de 1" in fails(capsys, "apply photo.png --palette black.json -o b.png --require-de 1", 99)
    assert "b.png" not in files()


def test_a_target_gives_the_smallest_palette(capsys):
    """It meets the target, one colour fewer does not; one that cannot be met is exit code 99."""
    out, _ = ok(capsys, "colors photo.png -k 90 --target-de 2.5 --effort 0 -o out.png --json")
    image = json.loads(out)["images"][0]
    assert image["de_mean"] <= 2.5 and 2 < image["colors"] < 90
    fewer, _ = ok(capsys, f"colors photo.png -k {image['colors'] - 1} --effort 0 --json")
    assert json.loads(fewer)["images"][0]["de_mean"] > 2.5
    before = files()
    assert "photo.png" in fails(capsys, "colors photo.png -k 2 --target-de 0.1 -o other.png", 99)
    assert "PSNR" in fails(capsys, "palette photo.png -k 2 --min-psnr 90 -o other.json", 99)
    assert files() == before
    out, _ = ok(capsys, "palette photo.png --target-de 2.5 --effort 0 --json")  # as many as needed, without -k
    assert len(json.loads(out)["palette"]["colors"]) == image["colors"] > 8
    assert len(json.loads(ok(capsys, "palette photo.png --effort 0 --json")[0])["palette"]["colors"]) == 8


def test_a_larger_file_is_not_written(capsys):
    """Exit code 98."""
    Image.new("RGB", (3, 3), (1, 2, 3)).save("small.png", optimize=True)
    err = fails(capsys, "colors small.png -o out.png --skip-if-larger", 98)
    assert "not fewer than" in err and "out.png" not in files()


# -- palettes --------------------------------------------------------------------------------------------


def test_a_palette_is_printed_and_written_in_several_formats(capsys):
    """All hold the same colours; the JSON has shares, errors and what it was made from."""
    out, err = ok(capsys, "palette photo.png -k 4 -o p.json -o p.gpl -o p.ase")
    printed = re.findall(r"#[0-9a-f]{6}", out)
    assert len(printed) == 4
    for name in ("p.json", "p.gpl", "p.ase"):
        assert Palette.load(name).hex == printed and f"wrote {name}: 4 colours" in err
    palette = Palette.load("p.json")
    assert palette.weights.sum() == pytest.approx(1) and palette.errors["de_mean"] > 0
    assert palette.metadata["space"] == "oklab"


def test_kept_colours_are_in_the_palette(capsys):
    """As they are."""
    out, _ = ok(capsys, "palette photo.png -k 5 --keep '#ff0000,#0f0'")
    assert "#ff0000" in out and "#00ff00" in out and len(re.findall(r"#[0-9a-f]{6}", out)) == 5
    assert "more than -k 1" in fails(capsys, "palette photo.png -k 1 --keep '#ff0000,#0f0'", 2)


def test_apply_uses_a_palette_and_no_other_colour(capsys):
    """From any format; the JSON printed by another command, too."""
    Palette.from_hex(["#000000", "#ff8800", "#ffffff"]).save("p.gpl")
    ok(capsys, "apply --palette p.gpl photo.png -o out.png")
    seen = {tuple(color) for color in np.unique(pixels("out.png").reshape(-1, 3), axis=0).tolist()}
    assert seen <= {(0, 0, 0), (255, 136, 0), (255, 255, 255)}
    out, _ = ok(capsys, "palette photo.png -k 3 --json")
    Path("printed.json").write_text(out)
    ok(capsys, "apply --palette printed.json photo.png -o again.png")
    ok(capsys, "colors photo.png -k 3 -o direct.png")
    assert_array_equal(pixels("again.png"), pixels("direct.png"))
    Palette(np.arange(257 * 3).reshape(-1, 3) % 251 % 256).save("many.json")
    assert "at most 256" in fails(capsys, "apply --palette many.json photo.png", 2)
    assert "p.xyz: cannot tell its format" in fails(capsys, "apply --palette p.xyz photo.png", 1)


# -- many images -----------------------------------------------------------------------------------------


def test_a_folder_is_converted_with_its_tree(capsys):
    """Each image to its own palette; progress on stderr, the worst on stdout."""
    out, err = ok(capsys, "colors in --recursive --out-dir out -k 5")
    assert files("out") == ["a.png", "b.png", "x/c.png"]
    assert all(n_colors(f"out/{name}") == 5 for name in files("out"))
    assert "3 images; the worst, by mean CIEDE2000:" in out and out.count("5 colours") == 3
    assert "gpukm: image 3 of 3: " in err
    ok(capsys, "colors in/a.png -k 5 -o alone.png")
    assert Path("alone.png").read_bytes() == Path("out/a.png").read_bytes()


def test_several_processes_write_the_same_bytes(capsys):
    """And results are listed in the order of the images."""
    first, _ = ok(capsys, "colors in --recursive --out-dir one -k 5 --json --quiet --jobs 1")
    second, _ = ok(capsys, "colors in --recursive --out-dir two -k 5 --json --quiet --jobs 2")
    assert json.loads(first) == json.loads(second.replace('"two/', '"one/'))
    for name in files("one"):
        assert (Path("one") / name).read_bytes() == (Path("two") / name).read_bytes()


def test_a_shared_palette_is_that_of_all_pixels(capsys):
    """`colors --shared` uses what `palette` finds; it is the palette of the images laid side by side."""
    out, _ = ok(capsys, "colors in --recursive --out-dir out -k 6 --shared --effort 0 --json")
    facts = json.loads(out)
    used = np.unique(np.concatenate([pixels(f"out/{name}").reshape(-1, 3) for name in files("out")]), axis=0)
    shared_colors = [entry["hex"] for entry in facts["palette"]["colors"]]
    assert len(shared_colors) == 6 and {f"#{bytes(color).hex()}" for color in used.astype(np.uint8)} <= set(
        shared_colors
    )
    ok(capsys, "palette in --recursive -k 6 --effort 0 -o p.json")
    assert Palette.load("p.json").hex == shared_colors
    strip = np.concatenate([pixels(f"in/{name}").reshape(1, -1, 3) for name in files("in")], axis=1)
    Image.fromarray(strip).save("strip.png")
    ok(capsys, "palette strip.png -k 6 --effort 0 -o strip.json")
    assert Palette.load("strip.json").hex == shared_colors


def test_balance_by_images_makes_a_small_image_count(capsys):
    """A large image does not drown a small one."""
    Image.new("RGB", (100, 100), (10, 10, 10)).save("large.png")
    Image.new("RGB", (2, 2), (210, 210, 210)).save("small.png")
    out, _ = ok(capsys, "palette large.png small.png -k 1 --space srgb --balance images --json")
    assert json.loads(out)["palette"]["colors"][0]["rgb"] == [110, 110, 110]
    out, _ = ok(capsys, "palette large.png small.png -k 1 --space srgb --json")
    assert json.loads(out)["palette"]["colors"][0]["rgb"] == [10, 10, 10]


@pytest.mark.parametrize("options", ["", "--shared", "--jobs 2", "--shared --json"])
def test_a_bad_file_does_not_stop_the_batch(capsys, options):
    """It is named at the end; the exit code is 2; the others are done."""
    Path("in/bad.png").write_bytes(b"nonsense")
    out, err = ok(capsys, f"colors in --recursive --out-dir out -k 4 {options}", 2)
    assert files("out") == ["a.png", "b.png", "x/c.png"]
    *_, error, count = err.splitlines()
    assert (
        error.startswith("gpukm: error: in/bad.png: not an image, damaged") and count == "gpukm: 1 of 4 images failed"
    )
    if "--json" in options:
        assert [one["input"] for one in json.loads(out)["failed"]] == ["in/bad.png"]


def test_if_all_are_bad_the_exit_code_is_one(capsys):
    """As if one alone was given; with --json there is still an object."""
    Path("bad.png").write_text("x")
    Path("worse.png").write_text("y")
    assert "bad.png: not an image" in fails(capsys, "colors bad.png -o out.png", 1)
    out, err = ok(capsys, "colors bad.png worse.png --shared --json --out-dir out", 1)
    assert len(json.loads(out)["failed"]) == 2 and err.endswith("gpukm: 2 of 2 images failed\n")
    assert "bad.png" in fails(capsys, "palette bad.png", 1)


def test_the_worst_images_are_listed_first(capsys):
    """Of a shared palette: one colourful image among grey ones."""
    for number in range(12):
        Image.new("RGB", (9, 9), (number * 20,) * 3).save(f"in/g{number:02d}.png")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)).save("in/zz.png")
    out, _ = ok(capsys, "colors in --out-dir out --shared -k 4 --jobs 1 --quiet --report r.html")
    listed = re.findall(r"^ +([0-9.]+) +4 colours  (\S+)$", out, re.M)
    assert len(listed) == 10 and listed[0][1] == "in/zz.png"
    errors = [float(error) for error, _ in listed]
    assert errors == sorted(errors, reverse=True)
    text = Path("r.html").read_text(encoding="utf-8")
    assert "the worst 12 of 15 images" in text and re.findall(r"<h2>(.*?)</h2>", text)[0] == "in/zz.png"


def test_images_of_one_name_are_all_written(capsys, cat):
    """With their endings; a run with --resume goes on, one with --skip-existing leaves them."""
    cat.save("in/a.gif")
    _, err = ok(capsys, "colors in in/a.png --out-dir out -k 4")
    assert files("out") == ["a.gif.png", "a.png.png", "b.png"]
    assert "2 images have the name of another" in err and "such as out/a.gif.png" in err and "of 3: out/b.png" in err
    ok(capsys, "colors in --out-dir again -k 4 --resume j")
    assert files("again") == files("out") and not Path("j").exists()
    _, err = ok(capsys, "colors in --out-dir out -k 4 --skip-existing")
    assert "left 3 of 3 images" in err


def test_the_report_of_a_batch_names_what_failed(capsys):
    """With the reason, as text; one image has its name once as a heading."""
    Path("in/b<i>d.png").write_bytes(b"nonsense")
    ok(capsys, "colors in --out-dir out -k 4 --report r.html", 2)
    text = Path("r.html").read_text(encoding="utf-8")
    assert "Failed, 1 image:" in text and "<li>in/b&lt;i&gt;d.png: not an image" in text and "<h1>2 images</h1>" in text
    ok(capsys, "colors photo.png -k 4 --report one.html")
    text = Path("one.html").read_text(encoding="utf-8")
    assert "<h1>" not in text and text.count("<h2>photo.png</h2>") == 1 and "Failed" not in text


# -- animations ------------------------------------------------------------------------------------------


def animation(name: str) -> None:
    colors = [(250, 10, 10), (10, 250, 10), (10, 10, 250)]
    ramps = [np.linspace(0, 1, 40)[None, :, None] * np.array(color) * np.ones((8, 1, 1)) for color in colors]
    frames = [Image.fromarray(ramp.astype(np.uint8)) for ramp in ramps]
    options = {"lossless": True} if name.endswith("webp") else {}
    frames[0].save(name, save_all=True, append_images=frames[1:], duration=[50, 100, 150], loop=0, **options)


@pytest.mark.parametrize("ending", ["gif", "png", "webp"])
def test_an_animation_stays_one(capsys, ending):
    """One palette for its frames, or one for each, which is better; durations are kept."""
    animation("a.webp")
    shared_facts = json.loads(ok(capsys, f"colors a.webp -k 6 -o shared.{ending} --json")[0])["images"][0]
    own_facts = json.loads(ok(capsys, f"colors a.webp -k 6 -o own.{ending} --frames own --json")[0])["images"][0]
    assert own_facts["mse"] < shared_facts["mse"] and shared_facts["frames"] == own_facts["frames"] == 3
    for name, most in (("shared", 6), ("own", 18)):
        with open_picture(f"{name}.{ending}") as picture:
            frames = list(picture.frames())
        assert [duration for _, duration in frames] == [50, 100, 150]
        colors = np.unique(np.concatenate([frame[..., :3].reshape(-1, 3) for frame, _ in frames]), axis=0)
        assert len(colors) == most


# -- a run that was killed -------------------------------------------------------------------------------


def test_a_shared_run_goes_on_where_it_was_stopped(capsys, monkeypatch):
    """The same bytes as in one go; images are neither counted nor written twice; the journal is gone at the end."""
    ok(capsys, "colors in --recursive --out-dir whole -k 6 --shared")
    command = "colors in --recursive --out-dir out -k 6 --shared --resume j --jobs 1"
    monkeypatch.setattr(shared, "_SECONDS", -1.0)  # counts are saved after each image
    counted, written = [], []
    count, convert = work.count, work.convert

    def stop_at(names: list[str], limit: int, function, task):
        if len(names) == limit:
            raise KeyboardInterrupt
        names.append(task.path)
        return function(task)

    from gpukm.color import commands

    for limits in ((2, 9), (9, 1), (9, 9)):
        monkeypatch.setattr(shared, "count", lambda task, limits=limits: stop_at(counted, limits[0], count, task))
        monkeypatch.setattr(commands, "convert", lambda task, limits=limits: stop_at(written, limits[1], convert, task))
        code = main(shlex.split(command))
        assert code == (0 if limits == (9, 9) else 130)
        assert os.path.exists("j") == (code != 0)
    err = capsys.readouterr().err
    assert counted == ["in/a.png", "in/b.jpg", "in/x/c.webp"] and written == ["in/a.png", "in/b.jpg", "in/x/c.webp"]
    assert "gpukm: interrupted; the files that are there are whole" in err
    assert "going on with j: 2 images counted, 0 written" in err
    assert files("out") == files("whole") and not list(Path().glob("j*"))
    for name in files("out"):
        assert (Path("out") / name).read_bytes() == (Path("whole") / name).read_bytes()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no processes that can be killed")
def test_a_run_that_was_killed_goes_on(capsys, cat):
    """By SIGKILL, while it writes: what is there is whole, and the rest follows."""
    for number in range(40):
        cat.resize((60 + number, 40)).save(f"in/n{number:02d}.png")
    command = "colors in --recursive --out-dir out -k 6 --shared --effort 0 --resume j --jobs 1"
    process = subprocess.Popen([sys.executable, "-m", "gpukm", *shlex.split(command)], stderr=subprocess.PIPE)
    for line in process.stderr:
        if line.startswith(b"gpukm: image 5 of"):
            break
    process.kill()
    process.wait()
    process.stderr.close()
    before = files("out")
    whole = [name for name in before if not name.startswith(".")]
    assert 5 <= len(whole) < 43
    for name in whole:
        pixels(f"out/{name}")
    out, err = ok(capsys, command)
    assert "going on with j: 43 images counted" in err and "43 images; the worst" in out
    assert len([name for name in files("out") if not name.startswith(".")]) == 43 and not list(Path().glob("j*"))


def test_a_palette_goes_on_where_it_was_stopped(capsys, monkeypatch):
    """What could not be read is still named, and still exit code 2."""
    Path("in/bad.png").write_bytes(b"nonsense")
    ok(capsys, "palette in --recursive -k 6 -o whole.json", 2)
    monkeypatch.setattr(shared, "_SECONDS", -1.0)
    count, counted = shared.count, []

    def stop_at_the_last(task):
        if task.path == "in/x/c.webp":
            raise KeyboardInterrupt
        counted.append(task.path)
        return count(task)

    monkeypatch.setattr(shared, "count", stop_at_the_last)
    command = "palette in --recursive -k 6 -o p.json --resume j --jobs 1"
    assert main(shlex.split(command)) == 130 and counted == ["in/a.png", "in/b.jpg", "in/bad.png"]
    monkeypatch.setattr(shared, "count", count)
    capsys.readouterr()
    _, err = ok(capsys, command, 2)
    assert "going on with j: 3 images counted" in err and "gpukm: error: in/bad.png: not an image" in err
    assert Path("p.json").read_bytes() == Path("whole.json").read_bytes() and not list(Path().glob("j*"))


def test_another_runs_journal_is_refused(capsys):
    """Rather than mix the results of two runs; nothing is done."""
    Path("j").write_text("mine")
    before = files()
    assert "j: is not the journal of a batch" in fails(capsys, "colors in --out-dir out -k 6 --resume j", 1)
    assert "j: is not the journal of a batch" in fails(capsys, "palette in -k 6 --resume j", 1)
    assert files() == before


def test_existing_outputs_are_left_or_replaced_as_told(capsys):
    """Exit code 15 before any work; --skip-existing does the rest; --force does all."""
    ok(capsys, "colors in/a.png --out-dir out -k 4")
    first = Path("out/a.png").read_bytes()
    err = fails(capsys, "colors in --recursive --out-dir out -k 5", 15)
    assert "1 of 3 outputs exist, such as out/a.png; --force replaces, --skip-existing leaves" in err
    assert files("out") == ["a.png"]
    _, err = ok(capsys, "colors in --recursive --out-dir out -k 5 --skip-existing")
    assert "left 1 of 3 images, whose outputs exist" in err
    assert files("out") == ["a.png", "b.png", "x/c.png"] and Path("out/a.png").read_bytes() == first
    ok(capsys, "colors in --recursive --out-dir out -k 5 --force")
    assert n_colors("out/a.png") == 5
    assert "photo.png: is the same file as the input" in fails(capsys, "colors photo.png -o photo.png --force", 2)


# -- hostile names ---------------------------------------------------------------------------------------


def test_nothing_is_written_through_links(capsys):
    """A link as output, or as a folder in the output folder, is refused; what it points to is untouched."""
    Path("secret").write_text("mine")
    Path("elsewhere").mkdir()
    os.symlink("secret", "link.png")
    assert "is a symbolic link" in fails(capsys, "colors photo.png -k 4 -o link.png --force", 1)
    os.symlink("secret", "link.html")
    assert "is a symbolic link" in fails(capsys, "colors photo.png -k 4 --report link.html --force", 1)
    Path("out").mkdir()
    os.symlink(os.path.abspath("elsewhere"), "out/x")
    _, err = ok(capsys, "colors in --recursive --out-dir out -k 4", 2)
    assert "symbolic link" in err and files("elsewhere") == [] and Path("secret").read_text() == "mine"
    assert files("out") == ["a.png", "b.png"]
    assert "is a symbolic link" in fails(capsys, "palette photo.png -o link.png --force", 1)


@pytest.mark.parametrize("name", ["e\x1b[31mvil.png", "b\rack.png", "\u202egnp.png", os.fsdecode(b"\xff.png")])
def test_names_cannot_steer_the_terminal(capsys, cat, name):
    """Whatever they hold is shown as a code: in results, progress, warnings, errors, and in the report."""
    shown = name.encode("unicode_escape").decode()
    try:
        cat.save(f"in/{name}")
    except (OSError, UnicodeError):
        pytest.skip("no such names on this file system")
    shutil.copy(f"in/{name}", f"in/x/{name}")
    Path(f"in/x/{name}").write_bytes(b"nonsense")
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(f"in/x/deep{name}")
    out, err = ok(capsys, "colors in --recursive --out-dir out -k 4 --report r.html", 2)
    assert f"in/{shown}" in out and f"out/{shown}" in err and f"warning: in/x/deep{shown}: has 16 bits" in err
    assert f"gpukm: error: in/x/{shown}: not an image" in err
    text = Path("r.html").read_text(encoding="utf-8")
    assert f"in/{shown}" in text and f"<li>in/x/{shown}: not an image" in text
    printed = out + err + text
    for command, code in (
        (["colors", f"in/{name}", "-k", "4", "-o", f"out/{name}", "--force"], 0),
        (["colors", f"in/{name}", "-k", "4", "-o", f"out/{name}"], 15),
        (["colors", f"in/{name}", "-k", "4", "-o", f"in/{name}"], 2),
        (["colors", f"none/{name}", "-k", "4"], 1),
        (["palette", f"in/x/{name}"], 1),
        (["palette", f"in/{name}", "-k", "2", "-o", f"{name}.gpl"], 0),
    ):
        assert main(command) == code
        both = "".join(capsys.readouterr())
        assert shown in both
        printed += both
    assert all(one.isprintable() or one in "\n" for one in printed)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("colors", "the following arguments are required: INPUT"),
        ("colors photo.png -k 0", "'0' is not an integer from 1 to 256"),
        ("colors photo.png -k 257", "'257' is not an integer from 1 to 256"),
        ("colors photo.png --space hsv", "invalid choice: 'hsv'"),
        ("colors photo.png --target-de nan", "'nan' is not a number of at least 0"),
        ("colors photo.png --dither-level 2", "'2' is not a number from 0 to 1"),
        ("colors photo.png --keep red", "'red' is not a colour; write it as '#rrggbb'"),
        ("colors photo.png --alpha flatten --background white", "'white' is not a colour"),
        ("colors photo.png -o out.jpg", "must end in .png, .apng, .gif, .webp"),
        ("colors photo.png in -o out.png", "is one file for 3 images; give --out-dir"),
        ("colors photo.png -o out.png --out-dir out", "give one of them"),
        ("colors photo.png --out-dir photo.png", "is not a folder"),
        ("colors photo.png photo.png in/a.png in/a.png --out-dir out --resum j", "unrecognized arguments"),
        ("palette photo.png -o p.txt", "a palette's name must end in .json"),
        ("palette photo.png -k 65537", "from 1 to 65536"),
        ("apply photo.png", "the following arguments are required: --palette"),
    ],
)
def test_wrong_usage_is_said(capsys, command, message):
    """Exit code 2, before anything is done."""
    before = files()
    out, err = ok(capsys, command, 2)
    assert message in err and out == "" and files() == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_lost_on_reading_is_said(capsys, jobs):
    """Sixteen bits, whichever process reads them; not with --quiet."""
    deep = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    for name in ("d.png", "e.png"):
        Image.fromarray(deep).save(name)
    _, err = ok(capsys, f"colors d.png e.png --out-dir out -k 4 --jobs {jobs}")
    assert err.count("gpukm: warning: d.png: has 16 bits a channel; they are reduced to 8\n") == 1
    _, err = ok(capsys, f"colors d.png e.png --out-dir out -k 4 --jobs {jobs} --quiet --force")
    assert err == ""


def test_what_cannot_be_read_is_said(capsys):
    """Missing files, empty folders, bombs."""
    assert "none.png: no such file or folder" in fails(capsys, "colors none.png -o out.png", 1)
    Path("empty").mkdir()
    assert "empty: holds no image" in fails(capsys, "colors empty --out-dir out", 1)
    err = fails(capsys, "colors photo.png -o out.png --max-megapixels 0.001", 1)
    assert "60 x 40 = 0.0024 megapixels, more than the 0.001 allowed (--max-megapixels)" in err and files("empty") == []


def test_colours_are_shown_on_a_terminal_unless_refused(capsys, monkeypatch):
    """FORCE_COLOR stands for a terminal here; NO_COLOR wins."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    out, _ = ok(capsys, "palette photo.png -k 3")
    assert out.count("\x1b[48;2;") == 3 and out.count("#") == 3
    out, _ = ok(capsys, "palette photo.png -k 40 --effort 0")
    assert out.count("\x1b[48;2;") == 40 and "#" not in out  # a grid
    monkeypatch.setenv("NO_COLOR", "1")
    out, _ = ok(capsys, "palette photo.png -k 3")
    assert "\x1b" not in out


@pytest.mark.parametrize("command", ["colors", "palette", "apply"])
def test_help_has_an_example_for_each_command(capsys, command):
    """And the exit codes."""
    out, _ = ok(capsys, f"{command} --help")
    assert f"gpukm {command}" in out and "--recursive" in out and "--json" in out
    assert "99 a quality is not reached" in out
