"""KeptFile: whole files, however the kernel hands them out."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

from dctop.probes.base import KeptFile


def test_reads_a_record_file_longer_than_a_page_to_its_end() -> None:
    # /proc/self/maps is made of records: one pread gives a page of it at most, whatever size is asked for.
    maps = [mmap.mmap(-1, 4096, prot=1 + i % 2 * 2) for i in range(200)]
    text = KeptFile("/proc/self/maps", 1 << 20).read()
    first = os.open("/proc/self/maps", os.O_RDONLY)
    try:
        assert len(os.pread(first, 1 << 20, 0)) < len(text), "the premise: one pread is not the whole file"
    finally:
        os.close(first)
    assert text.rstrip().endswith(b"[vsyscall]") or text.count(b"\n") >= len(maps)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 2047, 2048, 4096, 5000, 100_000])
def test_gives_the_whole_of_a_file_of_any_size_again_and_again(tmp_path: Path, size: int) -> None:
    path = tmp_path / "f"
    path.write_bytes(os.urandom(size))
    kept = KeptFile(path, 64)
    assert [len(kept.read()) for _ in range(3)] == [size] * 3
    assert kept.read() == path.read_bytes()


def test_shows_changed_content_without_opening_again(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    kept = KeptFile(path)
    assert kept.read() == b"one"
    path.write_bytes(b"second")
    assert kept.read() == b"second"


def test_opens_again_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "f"
    kept = KeptFile(path)
    with pytest.raises(FileNotFoundError):
        kept.read()
    path.write_bytes(b"here now")
    assert kept.read() == b"here now"
    kept.close()
    assert kept.read() == b"here now"
