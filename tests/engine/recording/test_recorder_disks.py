"""The recorder on disks that are full, read-only, slow to come back or gone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dctop.engine.recording import recorder as module
from dctop.engine.recording.reader import open_recording
from tests.fakes.frames import Stream, an_alert
from tests.fakes.recorders import check_frames, feed, recorder, wait_for


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 3 MB."""
    where = tmp_path / "disk"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(where)], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_full_disk_pauses_recording_and_loses_nothing_acknowledged(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    monkeypatch.setattr(module, "COMMIT_S", 0.0)
    path = small_disk / "a.dctop"
    rec = recorder(path)
    stream = Stream(seed=9, processes=200)
    frames = stream.take(30)
    feed(rec, frames)
    wait_for(lambda: rec.saved_seq == 30, "first frames saved")
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as f:
        try:
            while f.write(b"x" * 65536):
                pass
        except OSError:
            pass
    while rec.status.state == "recording" and len(frames) < 2000:
        more = stream.take(1)
        frames += more
        rec.put(more[0], (an_alert(7, more[0].wall_ns),), ())
        wait_for(lambda: not rec._framed, "taken")
    assert rec.status.state == "disk-full"
    assert "no space" in (rec.status.error or "")
    acked = rec.saved_seq
    with open_recording(path) as recording:  # readable while full
        check_frames(recording, frames[:acked])
    more = stream.take(50)
    frames += more
    for frame in more:
        rec.put(frame, (), ())
    assert rec.status.state == "disk-full" and rec.status.lost_frames == 0
    ballast.unlink()
    # What is saved is told a moment before that recording goes on.
    wait_for(lambda: rec.saved_seq == len(frames) and rec.status.state == "recording", "resumed")
    assert rec.status.error is None
    rec.stop()
    with open_recording(path) as recording:
        check_frames(recording, frames)
        assert recording.info.closed and recording.events("gap") == []
        assert [e.rule for e in recording.events("alert")] == ["disk-fill"]


def test_what_a_long_full_disk_loses_is_a_gap(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    monkeypatch.setattr(module, "COMMIT_S", 0.0)
    monkeypatch.setattr(module, "RING", 40)
    path = small_disk / "a.dctop"
    rec = recorder(path)
    stream = Stream(seed=9)
    feed(rec, stream.take(5))
    wait_for(lambda: rec.saved_seq == 5, "saved")
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as f:
        try:
            while f.write(b"x" * 4096):
                pass
        except OSError:
            pass
    last = 5
    while rec.status.lost_frames < 25 and last < 3000:
        frame = next(stream)
        last = frame.seq
        rec.put(frame, (an_alert(3, frame.wall_ns),) if last == 30 else (), ())
        wait_for(lambda: not rec._framed, "taken")
    ballast.unlink()
    wait_for(lambda: rec.saved_seq == last, "resumed")
    lost = rec.status.lost_frames
    rec.mark("after")
    rec.stop()
    with open_recording(path) as recording:
        assert recording.info.frames == last - lost
        (gap,) = recording.events("gap")
        assert gap.title == f"{lost} frames lost: no space on the disk"
        assert [e.title for e in recording.events("marker")] == ["after"]
        assert any(g.t0 <= gap.t0 <= g.t1 for g in recording.gaps)
        seqs = [f.seq for f in recording.frames(0, 9999)]
        assert seqs[-40:] == list(range(last - 39, last + 1))


def test_a_read_only_file_system_fails_with_one_line(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    rec = recorder(small_disk / "a.dctop")
    assert not rec.wait_opened(10)
    rec.stop()
    assert rec.status.state == "failed" and "is read-only" in (rec.status.error or "")


def test_a_disk_that_is_full_from_the_beginning_is_one_line(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(b"x" * ((3 << 20) - 8192))
    rec = recorder(small_disk / "a.dctop")
    assert not rec.wait_opened(10)
    rec.stop()
    assert rec.status.state == "failed" and "no space" in (rec.status.error or "")
    assert [f.name for f in small_disk.iterdir()] == ["ballast"]


@pytest.mark.parametrize("how", ["file", "directory", "moved"])
def test_a_file_that_vanishes_fails_with_one_line(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMIT_S", 0.0)
    folder = tmp_path / "d"
    folder.mkdir()
    path = folder / "a.dctop"
    rec = recorder(path)
    stream = Stream()
    rec.put(next(stream), (), ())
    wait_for(lambda: rec.saved_seq == 1, "saved")
    if how == "moved":
        path.rename(tmp_path / "elsewhere")
    else:
        for file in list(folder.iterdir()):
            file.unlink()
        if how == "directory":
            folder.rmdir()
    rec.put(next(stream), (), ())
    wait_for(lambda: rec.status.state == "failed", "noticed")
    rec.put(next(stream), (), ())
    rec.stop()
    error = rec.status.error or ""
    assert ("does not exist" if how == "directory" else "was removed") in error and "\n" not in error
    assert rec.status.state == "failed" and rec.status.lost_frames >= 1


def test_trouble_is_told_when_it_comes_and_only_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMMIT_S", 0.0)
    told: list[str] = []
    rec = recorder(tmp_path / "a.dctop", on_news=lambda: told.append(rec.status.state))
    stream = Stream()
    feed(rec, stream.take(3))
    wait_for(lambda: rec.saved_seq == 3, "saved")
    assert told == []
    for file in tmp_path.iterdir():
        file.unlink()
    rec.put(next(stream), (), ())
    wait_for(lambda: told != [], "told")
    rec.stop()
    assert told == ["failed"]
