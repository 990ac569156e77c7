"""Would the tests of the kernels notice a mistake? Every one planted here is, by the tests or by a sanitizer."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from emulator import TRIALS, build, mutants

from gpukm.kernels._nvrtc import KERNELS

build.require()
HERE = Path(__file__).parent
ROOT = HERE.parent
MUTANTS = mutants.MUTANTS


def _run(mode, numbers):
    """What becomes of these mutants in a mode: a row for each, after rows for the kernels as they are."""
    if not numbers:
        return []
    words = ["-m", "emulator.mutants", mode, *map(str, numbers)]
    done = build.run_python(words, "" if mode == "plain" else mode, ROOT)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _outcomes(jobs):
    """Mutant numbers by outcome of so many runs, two at a time: (caught, the rest)."""
    with ThreadPoolExecutor(2) as pool:
        rows = [row for rows in pool.map(lambda job: _run(*job), jobs) for row in rows]
    invalid = [row for row in rows if ("number" not in row) != (row["rc"] == 0 and "number" not in row)]
    invalid += [row for row in rows if "g++ refuses" in row["why"] or row["rc"] in (2, 3, 4, 5)]
    assert not invalid, "\n".join(map(str, invalid))
    # 1: a test fails; 66: ThreadSanitizer; a crash may be chance, so somebody else has to see it too
    caught = {row["number"]: row for row in rows if "number" in row and row["rc"] in (1, 66, "time")}
    return caught, sorted({row["number"] for row in rows if "number" in row} - set(caught))


def test_every_planted_mistake_is_found():
    """By the tests as they run every day; what those miss, under AddressSanitizer or ThreadSanitizer."""
    everyone = range(len(MUTANTS))
    caught, missed = _outcomes([("plain", everyone[::2]), ("plain", everyone[1::2])])
    assert len(caught) > len(MUTANTS) / 2
    later, still = _outcomes([("address", missed), ("thread", missed)])
    never = [MUTANTS[number].what for number in still if number not in later]
    assert not never, f"nobody noticed: {never}"


def test_there_are_enough_of_them_and_each_can_be_planted():
    """At least 24, all different, each of which changes the text of its file."""
    assert len(MUTANTS) >= 24 and len({m.what for m in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        texts = [path for path in (folder / f"{mutant.file}.cu" for folder in (TRIALS, KERNELS)) if path.is_file()]
        assert len(texts) == 1, f"{mutant.file}.cu is in {len(texts)} folders"
        assert texts[0].read_text(encoding="utf-8").count(mutant.old) >= mutant.occurrence, mutant.what
        assert mutant.old != mutant.new
        assert (HERE / mutant.tests.partition("::")[0]).is_file()


@pytest.mark.parametrize("mode", ["address", "thread"])
def test_nothing_is_found_in_the_kernels_as_they_are(mode):
    """The tests marked `sanitized` pass under ASan and UBSan, and under TSan."""
    # only the files that have any: not every library that other tests import starts under a sanitizer
    files = [str(path) for path in sorted(HERE.glob("test_*.py")) if "mark.sanitized" in path.read_text("utf-8")]
    words = ["-m", "pytest", "-x", "-q", "-s", "-p", "no:cacheprovider", "-m", "sanitized", "-k", "not cuda", *files]
    done = build.run_python(words, mode, ROOT)
    assert done.returncode == 0, (
        f"{mutants.reason(done.stdout + done.stderr)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    )
    assert " passed" in done.stdout
