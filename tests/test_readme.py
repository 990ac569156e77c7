"""The README's commands and code do what it says, from the repository's root."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gpukm.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)


def commands():
    """Every `gpukm …` command line of the README, without the path to the environment."""
    lines = [part for kind, text in BLOCKS if kind == "bash" for part in re.split(r"&&|\n", text)]
    return [shlex.split(line.replace(".venv/bin/", "")) for line in lines if re.match(r"\s*(\.venv/bin/)?gpukm ", line)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the examples and the files that the README's commands name."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "examples" / "chelsea.png", tmp_path / "photo.jpg")  # the content decides, not the name
    (tmp_path / "photos" / "holiday").mkdir(parents=True)
    with Image.open(ROOT / "examples" / "chelsea.png") as image:
        image.resize((60, 40)).save(tmp_path / "photos" / "a.png")
        image.rotate(90).resize((40, 60)).save(tmp_path / "photos" / "holiday" / "b.webp")
    rng = np.random.default_rng(0)
    np.save(tmp_path / "data.npy", rng.random((200, 2)))
    np.save(tmp_path / "new.npy", rng.random((20, 2)))
    np.save(tmp_path / "big.npy", rng.random((400, 4)))
    for part in range(2):
        np.save(tmp_path / f"part-{part}.npy", rng.random((300, 4)))
    (tmp_path / "table.csv").write_text("name,height,weight\n" + "".join(f"r{i},{i % 7},{i % 11}\n" for i in range(50)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_runs(folder, capsys):
    """Each command line, in the order of the README, exits with 0 and writes the files it names."""
    lines = commands()
    assert len(lines) >= 6
    for line in lines:
        assert main(line[1:]) == 0, (line, capsys.readouterr().err)
    for name in (
        "chelsea-16.png",
        "model.npz",
        "labels.npy",
        "big-labels.npy",
        "new-labels.npy",
        "photo-16.png",
        "photo.gpl",
        "same/a.png",
    ):
        assert (folder / name).exists()


def test_the_python_code_runs(folder, capsys):
    """Each Python block runs as it stands."""
    blocks = [text for kind, text in BLOCKS if kind == "python"]
    assert blocks
    for text in blocks:
        exec(compile(text, "README.md", "exec"), {})
    assert "between_SS / total_SS" in capsys.readouterr().out
    assert (folder / "model.npz").exists()
