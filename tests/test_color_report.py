"""gpukm/color/report.py: a page that is whole by itself, and shows what it says."""

import base64
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image

from gpukm.color.palette import Palette
from gpukm.color.report import MOST_SHOWN, Shown, differences, show, write_report
from gpukm.color.spaces import ciede2000, lab_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RNG = np.random.default_rng(0)


def opened(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGBA"))


def shown(name: str = "a.png", error: float = 1.0, **options) -> Shown:
    pixels = np.full((6, 8, 3), (200, 30, 30), dtype=np.uint8)
    palette = Palette.from_hex(["#1e1ec8"])
    return show(name, [pixels], np.zeros((6, 8), dtype=np.uint8), palette, {"PSNR": "9 dB"}, error, **options)


class Reader(HTMLParser):
    """The page's tags, with whether they are closed in order; its images; what its script and style refer to."""

    VOID = ("meta", "img", "input", "link")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.images, self.text = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attributes)["src"])
        assert (tag not in ("link", "iframe", "object") and "src" not in dict(attributes)) or tag == "img"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


# -- what is shown ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [[], [1], [100, 700, 701, 2000]])
@pytest.mark.parametrize(("height", "width"), [(5, 3), (2900, 3), (3, 4001), (1401, 1400)])
def test_the_same_pixels_are_shown_before_and_after(height, width, cuts):
    """However the image is cut into strips: one pixel of each block, the same one in all three pictures."""
    place = np.arange(height)[:, None] * 31 + np.arange(width)
    image = np.stack([place % 256, place // 256 % 256, place % 7], axis=-1).astype(np.uint8)
    indices = (place % 5).astype(np.uint8)
    palette = Palette(RNG.integers(0, 256, (5, 3)).astype(np.uint8))
    one = show(
        "i", [part for part in np.split(image, [c for c in cuts if c < height]) if len(part)], indices, palette, {}, 0
    )
    step = -(-max(height, width) // 1400)
    assert one.step == step and one.size == (width, height)
    before, after = opened(one.before), opened(one.after)
    assert_array_equal(before[..., :3], image[step // 2 :: step, step // 2 :: step])
    assert_array_equal(after[..., :3], palette.colors[indices[step // 2 :: step, step // 2 :: step]])
    assert before.shape == after.shape == opened(one.heat).shape and max(before.shape) <= 1400


def test_the_map_is_ciede2000_of_each_pixel():
    """By the formula, pixel by pixel; dark is none, bright is 10 and more."""
    before = RNG.integers(0, 256, (7, 9, 4)).astype(np.uint8)
    before[..., 3] = 255
    after = np.clip(before.astype(int) + RNG.integers(-40, 40, before.shape), 0, 255).astype(np.uint8)
    after[..., 3] = 255
    after[0] = before[0]
    wanted = ciede2000(lab_of(before[..., :3].reshape(-1, 3)), lab_of(after[..., :3].reshape(-1, 3))).reshape(7, 9)
    assert_allclose(differences(before, after), wanted, rtol=1e-12, atol=1e-12)
    palette = Palette(np.unique(after[..., :3].reshape(-1, 3), axis=0))
    indices = (after[..., None, :3] == palette.colors).all(-1).argmax(-1).astype(np.uint8)
    heat = opened(show("i", [before], indices, palette, {}, 0).heat)[..., :3].astype(int).sum(axis=-1)
    order = np.argsort(np.minimum(wanted, 10).ravel())
    assert (np.diff(heat.ravel()[order]) >= -3).all() and heat[0].max() == heat.min() and wanted.max() > 10


def test_transparent_pixels_differ_as_far_as_they_are_seen():
    """Two fully transparent colours are the same; half transparent white is half white over black."""
    clear = np.array([[[255, 0, 0, 0], [10, 10, 10, 255]]], dtype=np.uint8)
    other = np.array([[[0, 0, 255, 0], [10, 10, 10, 0]]], dtype=np.uint8)
    found = differences(clear, other)
    black, white, dark = (lab_of(np.array([[level] * 3])) for level in (0.0, 255.0, 10.0))
    assert found[0, 0] == 0
    assert found[0, 1] == pytest.approx(0.5 * (ciede2000(dark, black) + ciede2000(dark, white))[0])


# -- the page --------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_from_anywhere(tmp_path):
    """Pictures are in it, no address is, and browsers are told to load nothing."""
    write_report(tmp_path / "r.html", [shown()], title="One <colour> & more {{note}}")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    page = Reader(text)
    assert len(page.images) == 3 and all(source.startswith("data:image/png;base64,") for source in page.images)
    assert_array_equal(opened(base64.b64decode(page.images[0].partition(",")[2])), opened(shown().before))
    assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r"base64,[\w+/=]+", "", text))
    assert "default-src 'none'" in text
    words = " ".join("".join(page.text).split())
    assert (
        "One <colour> & more {{note}}" in words and "#1e1ec8" in words and "PSNR" in words and "8 × 6 pixels" in words
    )


def test_names_cannot_put_anything_into_the_page(tmp_path):
    """A file may be called <script>; it is text."""
    evil = "<script>alert(1)</script>\"'"
    one = shown(evil)
    write_report(tmp_path / "r.html", [one], title=evil, rows=[{"image": evil, evil: evil}] * 2)
    text = (tmp_path / "r.html").read_text()
    assert "<script>alert" not in text and Reader(text).text.count(evil) >= 4


def test_of_many_images_the_worst_are_shown_and_all_are_listed(tmp_path):
    """In the order of their error."""
    many = [shown(f"i{number}.png", error=float(number)) for number in range(MOST_SHOWN + 3)]
    write_report(tmp_path / "r.html", many, title="t", rows=[{"image": one.name, "ΔE": str(one.error)} for one in many])
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == [f"i{number}.png" for number in range(MOST_SHOWN + 2, 2, -1)]
    assert f"the worst {MOST_SHOWN} of {MOST_SHOWN + 3} images" in text and text.count("<tr><td>i") == MOST_SHOWN + 3
    Reader(text)


@pytest.mark.parametrize("n_rows", [1, 2])
def test_a_page_without_pictures_lists_what_was_done(tmp_path, n_rows):
    """As after a run that went on when all was written; with what failed."""
    rows = [{"image": f"i{number}.png", "bytes": "9"} for number in range(n_rows)]
    write_report(tmp_path / "r.html", [], title="t", rows=rows, failed=["a<b>.png: is\x1b damaged", "c.png: too large"])
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    words = " ".join("".join(Reader(text).text).split())
    assert "Shown below: none; they were done before this run." in words and text.count("<tr><td>i") == n_rows
    assert "Failed, 2 images:a<b>.png: is\\x1b damaged" in words and text.count("<li>") == 2 and "<h1>t</h1>" in text


def test_a_report_is_not_overwritten(tmp_path):
    """Unless force is set."""
    (tmp_path / "r.html").write_text("mine")
    with pytest.raises(FileExistsError):
        write_report(tmp_path / "r.html", [shown()], title="t")
    assert (tmp_path / "r.html").read_text() == "mine"
    write_report(tmp_path / "r.html", [shown()], title="t", force=True)
    assert "<title>t</title>" in (tmp_path / "r.html").read_text()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine to look at the page with")
def test_a_browser_shows_before_at_the_left_and_after_at_the_right(tmp_path):
    """The screenshot of headless Chromium: red at the left of the slider, blue at its right, in equal parts."""
    pixels = np.full((120, 400, 3), (200, 30, 30), dtype=np.uint8)
    palette = Palette.from_hex(["#1e1ec8"])
    one = show("a.png", [pixels], np.zeros((120, 400), dtype=np.uint8), palette, {}, 50)
    write_report(tmp_path / "r.html", [one], title="t")
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--window-size=800,500",
    ]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={tmp_path / 's.png'}"]
    subprocess.run([*command, (tmp_path / "r.html").as_uri()], check=True, capture_output=True, timeout=60)
    with Image.open(tmp_path / "s.png") as image:
        seen = np.asarray(image.convert("RGB"))
    red = (seen == (200, 30, 30)).all(axis=-1)
    blue = (seen == (30, 30, 200)).all(axis=-1)
    rows = np.flatnonzero(red.sum(axis=1) > 150)
    assert len(rows) >= 80, "the picture before is not seen"
    stage = rows[-5]  # below the words in the corners
    assert abs(int(red[stage].sum()) - 200) <= 5 and abs(int(blue[stage].sum()) - 200) <= 5
    assert np.flatnonzero(red[stage]).max() < np.flatnonzero(blue[stage]).min()
