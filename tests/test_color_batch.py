"""gpukm/color/batch.py, journal.py, terminal.py: names stay in their folder, failures stop nothing, a run can go on."""

import io
import json
import os
import signal
import warnings
from pathlib import Path

import numpy as np
import pytest

from gpukm.color.batch import Failure, InputFile, find_inputs, make_folder, name_outputs, refuse_links, run_all
from gpukm.color.journal import Journal
from gpukm.color.palette import Palette
from gpukm.color.terminal import color_depth, palette_lines, progress


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder with empty files; the test runs in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("in/b.png", "in/a.JPG", "in/notes.txt", "in/.hidden.png", "in/x/c.gif", "in/x/y/d.webp", "e.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    return tmp_path


# -- names -----------------------------------------------------------------------------------------------


def test_folders_are_opened_in_a_fixed_order(folder):
    """By name, folders after the files beside them; only images, none that are hidden; the tree only if asked for."""
    assert [image.relative for image in find_inputs(["in"], recursive=False)] == ["a.JPG", "b.png"]
    found = find_inputs(["e.png", "in"], recursive=True)
    assert [image.path for image in found] == ["e.png", "in/a.JPG", "in/b.png", "in/x/c.gif", "in/x/y/d.webp"]
    assert name_outputs(found, "out", ".png") == [
        "out/e.png",
        "out/a.png",
        "out/b.png",
        "out/x/c.png",
        "out/x/y/d.png",
    ]


def test_the_output_folder_is_not_an_input(folder):
    """A second run does not take up what the first has written."""
    Path("in/out").mkdir()
    Path("in/out/z.png").touch()
    found = find_inputs(["in"], recursive=True, skip="in/out")
    assert "out/z.png" not in [image.relative for image in found] and len(found) == 4


def test_what_is_not_there_is_said(folder):
    """A missing name; a folder without images, with a hint where it has folders."""
    with pytest.raises(FileNotFoundError, match="none: no such file or folder"):
        find_inputs(["none"], recursive=False)
    Path("empty/sub").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="holds no image .*--recursive"):
        find_inputs(["empty"], recursive=False)
    with pytest.raises(FileNotFoundError, match="holds no image"):
        find_inputs(["empty"], recursive=True)


def test_two_images_never_get_one_name(folder):
    """They keep their endings; those that are the same even so are numbered; names of others are not taken."""
    Path("in/b.gif").touch()
    assert name_outputs(find_inputs(["in"], recursive=False), "out", ".png") == [
        "out/a.png",
        "out/b.gif.png",
        "out/b.png.png",
    ]
    given = [InputFile(f"{place}/{name}", name) for place in "ab" for name in ("i.png", "j.gif")]
    assert name_outputs(given, "out", ".png") == [
        "out/i.png.png",
        "out/j.gif.png",
        "out/i.png.2.png",
        "out/j.gif.2.png",
    ]
    given = [InputFile(name, name) for name in ("i.png", "i.gif.webp", "i.gif", "x/i.gif")]
    assert name_outputs(given, "out", ".png") == [
        "out/i.png.png",
        "out/i.gif.png",
        "out/i.gif.2.png",
        "out/x/i.png",
    ]


@pytest.mark.parametrize("relative", ["../i.png", "x/../../i.png", "/i.png"])
def test_names_that_lead_out_of_the_folder_are_refused(relative):
    """Whatever made them."""
    with pytest.raises(ValueError, match="would lead out of out"):
        name_outputs([InputFile("i.png", relative)], "out", ".png")


def test_files_given_by_odd_paths_keep_their_last_name(folder):
    """.. in an input's path does not reach the output."""
    Path("deep").mkdir()
    found = find_inputs(["deep/../e.png"], recursive=False)
    assert name_outputs(found, "out", ".png") == ["out/e.png"]


def test_a_file_that_is_given_twice_is_taken_once(folder):
    """However it is named, by the first of its names; a folder all of whose images were given is not empty."""
    given = ["e.png", "./e.png", "in/../e.png", str(folder / "e.png"), "in/x", "in", "in/", "in/x"]
    found = find_inputs(given, recursive=True)
    assert [image.path for image in found] == ["e.png", "in/x/c.gif", "in/x/y/d.webp", "in/a.JPG", "in/b.png"]
    os.symlink("e.png", "f.png")  # another name is another image
    assert len(find_inputs(["e.png", "f.png"], recursive=False)) == 2


def test_links_are_not_written_through(folder):
    """A link as the output, as a folder on the way, and one that is broken."""
    Path("elsewhere").mkdir()
    Path("out").mkdir()
    os.symlink(folder / "elsewhere", "out/x")
    os.symlink(folder / "nowhere", "out/broken.png")
    os.symlink(folder / "e.png", "link.png")
    for name in ("link.png", "out/broken.png"):
        with pytest.raises(OSError, match="is a symbolic link"):
            refuse_links(name)
    with pytest.raises(OSError, match="symbolic link"):
        make_folder("out/x/c.png", "out")
    with pytest.raises(OSError, match="symbolic link"):
        make_folder("out/x/y/c.png", "out")
    with pytest.raises(OSError, match="leads out of out"):
        refuse_links("out/x/c.png", "out")
    assert list(Path("elsewhere").iterdir()) == []
    make_folder("out/p/q/c.png", "out")
    assert Path("out/p/q").is_dir()


def test_the_output_folder_may_itself_be_a_link(folder):
    """The user named it."""
    Path("elsewhere").mkdir()
    os.symlink(folder / "elsewhere", "out")
    make_folder("out/p/c.png", "out")
    assert Path("elsewhere/p").is_dir()


def test_links_among_the_inputs_do_not_lead_in_circles(folder):
    """Links to folders are not followed."""
    os.symlink(folder / "in", "in/x/again")
    assert len(find_inputs(["in"], recursive=True)) == 4


# -- work ------------------------------------------------------------------------------------------------


def half(number: int) -> int:
    if number == 3:
        raise ValueError("3 is odd\nand so on")
    if number == 5:
        raise FileNotFoundError(2, "No such file or directory", "five")
    if number == 7:
        raise MemoryError
    if number == 11:
        warnings.warn("eleven is odd", stacklevel=1)
    if number == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    return number // 2


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_fails_stops_nothing(jobs):
    """Each task has its result or its failure; the message names it and is one line."""
    tasks = [2, 3, 4, 5, 6, 7, 8]
    results = dict(run_all(half, tasks, [f"task{number}" for number in tasks], jobs))
    assert {place: results[place] for place in (0, 2, 4, 6)} == {0: 1, 2: 2, 4: 3, 6: 4}
    assert results[1] == Failure("task3", "task3: 3 is odd and so on", ValueError)
    assert results[3] == Failure("task5", "task5: five: No such file or directory", FileNotFoundError)
    assert results[5] == Failure("task7", "task7: not enough memory", MemoryError)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no processes that can be killed")
def test_a_process_that_dies_takes_only_its_own_task_with_it():
    """The others are done, in new processes."""
    tasks = [2, 9, 4, 6]
    results = dict(run_all(half, tasks, [str(number) for number in tasks], 2))
    assert {place: results[place] for place in (0, 2, 3)} == {0: 1, 2: 2, 3: 3}
    assert "the process that worked on it died" in results[1].message


@pytest.mark.parametrize("jobs", [1, 2])
def test_warnings_are_heard_whichever_process_they_come_from(jobs):
    """As warnings of this process."""
    with pytest.warns(UserWarning, match="eleven is odd"):
        assert dict(run_all(half, [2, 11], ["2", "11"], jobs)) == {0: 1, 1: 5}


def test_other_errors_are_not_hidden():
    """A mistake in the program, or Ctrl-C, ends the batch."""
    for error in (ZeroDivisionError, KeyboardInterrupt):

        def work(task, error=error):
            raise error

        with pytest.raises(error):
            list(run_all(work, [1], ["one"], 1))


# -- the journal -----------------------------------------------------------------------------------------


def begun(path: Path, folder: Path, **settings) -> Journal:
    return Journal(str(path), {"colors": 8, "keep": ("#ff0000",), **settings}, find_inputs(["in"], recursive=True))


def test_a_journal_remembers_what_is_done(folder):
    """Whatever was noted is there again, also when the last line was cut short."""
    path = folder / "j"
    journal = begun(path, folder)
    for number in (1, 3):
        (folder / f"j.{number}.npz").touch()
        journal.count(number, f"{path}.{number}.npz", [("in/a.JPG", "damaged")])
    assert not (folder / "j.1.npz").exists()
    journal.leave([0])
    journal.finish(2, {"colors": 8})
    with open(path, "ab") as file:
        file.write(b'\n{"done": 3, "fig')
    again = begun(path, folder)
    assert (again.counted, again.histogram, again.done) == (3, f"{path}.3.npz", {2: {"colors": 8}})
    assert again.unreadable == [("in/a.JPG", "damaged")] and again.left == [0]
    again.finish(3, {"colors": 7})
    assert set(begun(path, folder).done) == {2, 3}
    (folder / "j.2.npz").touch()  # left by a kill
    (folder / "j.notes.npz").touch()
    again.remove()
    assert not list(folder.glob("j")) and [found.name for found in folder.glob("j.*")] == ["j.notes.npz"]


def test_the_journal_of_another_run_is_refused(folder):
    """Other options, other or changed images, another file: the message says what to do, and nothing is changed."""
    path = folder / "j"
    begun(path, folder)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="belongs to a run with other options; remove it"):
        begun(path, folder, seed=1)
    Path("in/b.png").write_text("changed")
    with pytest.raises(ValueError, match="other images, or they have changed"):
        begun(path, folder)
    assert path.read_bytes() == before
    for content in ("text", "[1]", json.dumps({"format": "x"})):
        path.write_text(content)
        with pytest.raises(ValueError, match="is not the journal of a batch"):
            begun(path, folder)
        assert path.read_text() == content


# -- the terminal ----------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "depth"),
    [
        (Terminal(), {"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "truecolor"),
        (Terminal(), {"TERM": "xterm-256color", "COLORTERM": "24bit"}, "truecolor"),
        (Terminal(), {"TERM": "xterm-direct"}, "truecolor"),
        (Terminal(), {"TERM": "xterm-256color"}, "256"),
        (Terminal(), {"TERM": "vt100"}, "none"),
        (Terminal(), {"TERM": "dumb", "COLORTERM": "truecolor"}, "none"),
        (Terminal(), {}, "none"),
        (Terminal(), {"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": "1"}, "none"),
        (Terminal(), {"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": ""}, "truecolor"),
        (io.StringIO(), {"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "none"),
        (io.StringIO(), {"FORCE_COLOR": "1"}, "256"),
        (io.StringIO(), {"FORCE_COLOR": "1", "COLORTERM": "truecolor"}, "truecolor"),
        (io.StringIO(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, "none"),
        (io.StringIO(), {"FORCE_COLOR": "0", "COLORTERM": "truecolor"}, "none"),
    ],
)
def test_colours_are_shown_where_they_can_be(stream, environment, depth):
    """By what terminals say of themselves; NO_COLOR has the last word."""
    assert color_depth(stream, environment) == depth


def test_each_colour_has_a_line():
    """Its swatch, its name and its share; no escape sequences where there are no colours."""
    palette = Palette([[255, 0, 0, 255], [8, 8, 8, 255], [0, 0, 0, 0]], [0.5, 0.25, 0.25])
    plain = list(palette_lines(palette, "none"))
    assert plain == ["  #ff0000     50.00 %", "  #080808     25.00 %", "  #00000000   25.00 %"]
    full = list(palette_lines(palette, "truecolor"))
    assert full[0] == "  \x1b[48;2;255;0;0m      \x1b[0m #ff0000     50.00 %" and full[2].startswith("  ...... #000")
    few = list(palette_lines(palette, "256"))
    assert "\x1b[48;5;196m" in few[0] and "\x1b[48;5;232m" in few[1]
    assert list(palette_lines(Palette([[1, 2, 3]]), "none")) == ["  #010203"]


def test_the_nearest_of_256_colours_is_found():
    """Against all 240 of them."""
    levels = [0, 95, 135, 175, 215, 255]
    table = np.array(
        [[r, g, b] for r in levels for g in levels for b in levels] + [[8 + 10 * i] * 3 for i in range(24)]
    )
    for color in np.random.default_rng(0).integers(0, 256, (200, 3)):
        line = next(palette_lines(Palette([color.tolist()]), "256"))
        shown = int(line.split("5;")[1].split("m")[0]) - 16
        distances = ((table - color) ** 2).sum(axis=1)
        assert distances[shown] == distances.min()


def test_progress_is_lines_where_there_is_no_terminal():
    """One for each step; none when quiet, or for a single image."""
    for total, quiet, wanted in ((2, False, 2), (2, True, 0), (1, False, 0)):
        stream = io.StringIO()
        with progress("image", total, stream, quiet=quiet) as bar:
            for number in range(total):
                bar.step(f"i{number}")
        assert stream.getvalue().count("\n") == wanted
    assert wanted == 0 and "image" not in stream.getvalue()


def test_progress_is_a_bar_on_a_terminal():
    """By rich, which leaves nothing behind on stdout."""
    pytest.importorskip("rich", reason="the bar is drawn by rich (extra cli)")
    stream = Terminal()
    with progress("image", 2, stream, quiet=False) as bar:
        bar.step("one")
        bar.step("two")
    assert "image" in stream.getvalue() and "gpukm: image 1 of 2" not in stream.getvalue()
