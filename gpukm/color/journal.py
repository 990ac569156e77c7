"""What a long run has done so far, so that it can go on after it was killed.

The journal is a text file to which one line of JSON is added at a time: a line cut short by a kill is passed over. The
counts of colours are in .npz files beside it, written whole before the line that names them.
"""

import glob
import json
import os
from collections.abc import Sequence
from typing import Any

from gpukm.color.batch import InputFile

_FORMAT = "gpukm colour batch"


class Journal:
    """The journal of one run, opened or begun.

    Parameters
    ----------
    path : str
    settings : dict
        All that the results depend on; the journal of another run is refused.
    found : sequence of InputFile
        The images, whose names, sizes and times must be those of the run that is continued.

    Attributes
    ----------
    counted : int
        How many of the images, from the first, are in the histogram.
    histogram : str or None
        The file of their counts.
    unreadable : list of (str, str)
        Images among them that could not be read, and why.
    done : dict of int to dict
        The figures of the images that are written, by number.
    left : list of int or None
        Images that were left out from the beginning; None until that is known.

    Raises
    ------
    ValueError
        If the file is no journal, or that of another run.
    """

    def __init__(self, path: str, settings: dict[str, Any], found: Sequence[InputFile]) -> None:
        self.path = path
        self.counted = 0
        self.histogram: str | None = None
        self.unreadable: list[tuple[str, str]] = []
        self.done: dict[int, dict[str, Any]] = {}
        self.left: list[int] | None = None
        head = {"format": _FORMAT, "version": 1, "settings": settings, "images": [_identity(image) for image in found]}
        head = json.loads(json.dumps(head))  # as it is read back: tuples are lists
        if os.path.exists(path) and os.path.getsize(path):
            self._read(head)
        else:
            self._append(head)

    def count(self, number: int, histogram: str, unreadable: Sequence[tuple[str, str]]) -> None:
        """The first `number` images are in the file `histogram`; the one before it is removed."""
        entry = {"counted": number, "histogram": os.path.basename(histogram), "unreadable": list(unreadable)}
        self._append(entry)
        if self.histogram is not None and self.histogram != histogram:
            os.unlink(self.histogram)
        self.counted, self.histogram = number, histogram

    def leave(self, numbers: Sequence[int]) -> None:
        """These images are not to be done, however often the run is continued."""
        self.left = list(numbers)
        self._append({"left": self.left})

    def finish(self, number: int, figures: dict[str, Any]) -> None:
        """Image `number` is written."""
        self._append({"done": number, "figures": figures})

    def remove(self) -> None:
        """All is done: the journal goes, and all counts, those that a kill left without a line here among them."""
        for path in glob.glob(glob.escape(self.path) + ".[0-9]*.npz"):
            os.unlink(path)
        os.unlink(self.path)

    def _append(self, entry: dict[str, Any]) -> None:
        # a line feed at both ends: what a kill left of a line before does not spoil this one
        with open(self.path, "ab") as file:
            file.write(b"\n" + json.dumps(entry, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def _read(self, head: dict[str, Any]) -> None:
        with open(self.path, "rb") as file:
            lines = [line for line in file.read().split(b"\n") if line]
        entries: list[Any] = []
        for line in lines:
            try:
                entries.append(json.loads(line))
            except (ValueError, RecursionError):
                continue
        if not entries or not isinstance(entries[0], dict) or entries[0].get("format") != _FORMAT:
            raise ValueError(f"{self.path}: is not the journal of a batch; give the name of a new file to --resume")
        for part in ("version", "settings", "images"):
            if entries[0].get(part) != head[part]:
                what = {"images": "other images, or they have changed", "settings": "other options"}.get(part, part)
                raise ValueError(f"{self.path}: belongs to a run with {what}; remove it, or give --resume another name")
        for entry in entries[1:]:
            if "counted" in entry:
                self.counted = int(entry["counted"])
                self.histogram = os.path.join(os.path.dirname(self.path), os.path.basename(entry["histogram"]))
                self.unreadable = [(path, message) for path, message in entry["unreadable"]]
            elif "done" in entry:
                self.done[int(entry["done"])] = entry["figures"]
            elif "left" in entry:
                self.left = [int(number) for number in entry["left"]]


def _identity(image: InputFile) -> list[Any]:
    facts = os.stat(image.path)
    return [image.path, facts.st_size, facts.st_mtime_ns]
