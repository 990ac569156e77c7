"""Files that memory cannot hold, read past the system's cache: the same rows and the same errors."""

import errno
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpukm import KMeans, _past_cache, open_rows, readers
from gpukm._past_cache import PAGE, past_cache
from gpukm._rows import Buffers

DIRECT = getattr(os, "O_DIRECT", None)


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Every file is larger than memory, and blocks of any size are read past the cache: the flags of what is opened."""
    monkeypatch.setattr(_past_cache, "_available", lambda: 0)
    monkeypatch.setattr(readers, "LEAST", 0)
    (tmp_path / "probe").write_bytes(bytes(PAGE))
    if DIRECT is None or (probe := past_cache(tmp_path / "probe", PAGE)) is None:
        pytest.skip("neither this system nor this file system reads past its cache")
    probe.close()
    flags: list[int] = []
    plain = os.open

    def watched(path, flag, *rest, **named):
        flags.append(flag)
        return plain(path, flag, *rest, **named)

    monkeypatch.setattr(os, "open", watched)
    return flags


def rows_of(n, d, dtype=np.float32):
    return np.random.default_rng(n + d).normal(0, 100, (n, d)).astype(dtype)


def all_rows(path, rows, start=0):
    buffers, found = Buffers(), []
    for block in open_rows(path).blocks(rows, start, buffers):
        found.append(block.copy())
        buffers.give_back(block)
    return np.concatenate(found)


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rows_in_any_blocks(data, opened, tmp_path):
    """Blocks and starts that no page boundary knows of; the file ends anywhere, too."""
    n, d = data.draw(st.integers(1, 3000)), data.draw(st.sampled_from([1, 3, 16, 61]))
    dtype = data.draw(st.sampled_from([np.uint8, np.float16, np.float32, np.float64, ">f4"]))
    rows, start = data.draw(st.integers(1, n + 5)), data.draw(st.integers(0, n - 1))
    X = rows_of(n, d, dtype)
    np.save(tmp_path / "X.npy", X)
    opened.clear()
    np.testing.assert_array_equal(all_rows(tmp_path / "X.npy", rows, start), X[start:])
    assert [flag & DIRECT for flag in opened] == [DIRECT]


def with_header(path, X, length):
    """A .npy file whose data begin at byte `length`."""
    text = repr({"descr": X.dtype.str, "fortran_order": False, "shape": X.shape}).ljust(length - 11) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + (length - 10).to_bytes(2, "little") + text.encode() + X.tobytes())


@pytest.mark.parametrize("length", [96, 100, 128, PAGE, PAGE + 64, 111])
def test_headers_of_any_length(length, opened, tmp_path):
    """Where rows would not begin where their dtype may, the cache is asked as ever."""
    X = rows_of(5000, 3)
    with_header(tmp_path / "X.npy", X, length)
    np.testing.assert_array_equal(all_rows(tmp_path / "X.npy", 1001), X)
    assert bool(opened) == (length % 4 == 0)


def test_a_fit_is_the_same(opened, tmp_path):
    """To the bit, k-means++ and its single rows included."""
    X = rows_of(20_000, 5)
    np.save(tmp_path / "X.npy", X)
    model = KMeans(4, random_state=0, max_memory=1 << 16).fit(tmp_path / "X.npy")
    assert opened
    expected = KMeans(4, random_state=0).fit(X)
    np.testing.assert_array_equal(model.cluster_centers_, expected.cluster_centers_)
    np.testing.assert_array_equal(model.labels_, expected.labels_)
    assert model.inertia_ == expected.inertia_


@pytest.mark.parametrize("left", [128, PAGE, 3 * PAGE, 3 * PAGE + 512, 3 * PAGE + 700, 150_000])
def test_a_file_cut_short_while_it_is_read(left, opened, tmp_path):
    """An error that says which row is missing, whether the file then ends with a page or within one."""
    path = tmp_path / "X.npy"
    np.save(path, rows_of(4000, 16))
    blocks = open_rows(path).blocks(10, 0, Buffers())
    next(blocks)
    os.truncate(path, left)
    with pytest.raises(ValueError, match=f"X.npy: ends at row {max((left - 128) // 64, 10)} of 4000; it was cut short"):
        list(blocks)
    assert opened


def test_what_memory_can_hold_is_read_through_the_cache(tmp_path, monkeypatch):
    """So that it is there in the next pass; so are few rows, and whatever the system does not answer for."""
    path = tmp_path / "X.npy"
    np.save(path, rows_of(100, 4))
    monkeypatch.setattr(_past_cache, "_available", lambda: path.stat().st_size)
    assert past_cache(path, path.stat().st_size) is None
    monkeypatch.setattr(_past_cache, "_available", lambda: 0)
    monkeypatch.setattr(readers, "past_cache", lambda *_: pytest.fail("few rows"))
    assert len(all_rows(path, 100)) == 100
    monkeypatch.undo()
    monkeypatch.setattr(_past_cache, "Path", lambda name: tmp_path / "none such")
    assert past_cache(path, 1 << 62) is None


def test_memory_is_what_linux_says():
    """Bytes, less than all that there are."""
    if not os.path.exists("/proc/meminfo"):
        pytest.skip("asks Linux")
    assert 0 < _past_cache._available() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_file_systems_that_cannot(opened, tmp_path, monkeypatch):
    """They refuse when the file is opened, or read: it is read as ever."""
    plain = os.open

    def refuse(path, flag, *rest, **named):
        if flag & DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument", path)
        return plain(path, flag, *rest, **named)

    X = rows_of(3000, 7)
    np.save(tmp_path / "X.npy", X)
    with monkeypatch.context() as odd:  # what is no page cannot be read
        odd.setattr(_past_cache, "PAGE", 100)
        assert past_cache(tmp_path / "X.npy", 1 << 62) is None
        np.testing.assert_array_equal(all_rows(tmp_path / "X.npy", 700), X)
    monkeypatch.setattr(os, "open", refuse)
    np.testing.assert_array_equal(all_rows(tmp_path / "X.npy", 700), X)
    monkeypatch.delattr(os, "O_DIRECT")
    np.testing.assert_array_equal(all_rows(tmp_path / "X.npy", 700), X)
