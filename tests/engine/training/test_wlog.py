"""The run log's writer: every line whole, nothing lost on a full disk, a removed directory noticed."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.training import wlog
from dctop.engine.training.runlog import RunReader
from tests.fakes.runs import step, tmpfs

VALUES = st.one_of(
    st.integers(-(2**62), 2**62), st.floats(allow_nan=True, allow_infinity=True), st.text(), st.none()
)


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "steps.jsonl").read_text().splitlines()]


@given(st.dictionaries(st.text("abc_", min_size=1), VALUES, max_size=6))
def test_a_step_is_one_json_line_of_its_known_values(fields: dict[str, Any]) -> None:
    line = wlog.encode_step(fields)
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and line.startswith(b'{"kind":"step"')
    read = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert list(read) == ["kind", *(k for k, v in fields.items() if v is not None)]
    for key, value in fields.items():
        if isinstance(value, float) and not math.isfinite(value):
            assert read[key] == ("nan" if math.isnan(value) else "inf" if value > 0 else "-inf")
        elif isinstance(value, float):
            assert math.isclose(read[key], value, rel_tol=1e-5)
        elif value is not None:
            assert read[key] == value


@given(st.text(), st.dictionaries(st.text(), VALUES))
def test_an_event_is_one_json_line(text: str, data: dict[str, Any]) -> None:
    line = wlog.encode_event("note", text, 3, data)
    assert line.count(b"\n") == 1
    record = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (
        next(iter(record)) == "kind"
        and record["text"] == text
        and record.get("data", {}).keys() == data.keys()
    )


def test_steps_wait_for_the_flush_and_events_do_not(tmp_path: Path) -> None:
    log = wlog.RunLog(str(tmp_path))
    log.step({"step": 1})
    log.event("note", "now", 1)
    assert [r["kind"] for r in lines(tmp_path)] == ["step", "note"]
    log.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["steps.jsonl"]


class FullDisk:
    """os.write that takes so many bytes and then says the disk is full."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.real = os.write

    def __call__(self, fd: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "full")
        taken = self.real(fd, bytes(data[: self.room]))
        self.room -= taken
        return taken


@given(st.integers(0, 900))
def test_a_line_cut_anywhere_by_a_full_disk_is_completed_later(room: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        log = wlog.RunLog(name)
        disk = FullDisk(room)
        patch.setattr(os, "write", disk)
        for i in range(1, 21):
            log.step({k: v for k, v in step(i).items() if k != "kind"})
        log.flush()
        disk.room = 10**9
        log._last_flush = 0.0
        log.flush()
        log.close()
        records = lines(Path(name))
        assert [r["step"] for r in records if r["kind"] == "step"] == list(range(1, 21))


def test_a_full_disk_is_told_and_nothing_logged_is_lost(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "256k") as disk:
        log = wlog.RunLog(str(disk))
        log.step({"step": 1})
        log.flush()
        with pytest.raises(OSError, match="No space"), (disk / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(b"x" * 4096)
        for i in range(2, 400):
            log.step({"step": i, "filler": "x" * 50})
            log.flush()
        told = lines(disk)
        assert told[-1]["kind"] == "note" and told[-1]["data"] == {
            "error": "disk-full",
            "errno": errno.ENOSPC,
        }
        log.event("exception", "it can still be said", 399)
        (disk / "ballast").unlink()
        log.flush()
        log.close()
        records = lines(disk)
    assert [r["step"] for r in records if r["kind"] == "step"] == list(range(1, 400))
    assert [r["text"] for r in records if r["kind"] == "exception"] == ["it can still be said"]
    assert any(r.get("text", "").startswith("run log: space again") for r in records)


def test_what_a_full_disk_took_from_the_end_of_a_run_is_counted(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "256k") as disk:
        log = wlog.RunLog(str(disk))
        log.step({"step": 1})
        log.flush()
        with pytest.raises(OSError, match="No space"), (disk / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(b"x" * 4096)
        for i in range(2, 2000):
            log.step({"step": i, "filler": "x" * 100})
            log.flush()
        log.event("exception", "why it ended", 1999)
        log.close()
        records = lines(disk)
        # Some fit into the reserve; the last record of a run, by its supervisor, has one of its own.
        kept = [r["step"] for r in records if r["kind"] == "step"]
        assert kept == list(range(1, len(kept) + 1)) and 100 < len(kept) < 1999
        assert [r["text"] for r in records if r["kind"] == "exception"] == ["why it ended"]
        (note,) = [r for r in records if r["kind"] == "note" and "stayed full" in r["text"]]
        assert note["data"]["lost"] == 1999 - len(kept) == log.steps_lost


def test_memory_for_waiting_steps_is_bounded_and_the_loss_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wlog, "MAX_WAITING", 20_000)
    log = wlog.RunLog(str(tmp_path))
    disk = FullDisk(0)
    monkeypatch.setattr(os, "write", disk)
    for i in range(1000):
        log.step({"step": i})
        log.flush()
    assert 0 < log.steps_lost < 1000
    disk.room = 10**9
    log.flush()
    log.close()
    records = lines(tmp_path)
    kept = [r["step"] for r in records if r["kind"] == "step"]
    assert len(kept) == 1000 - log.steps_lost and kept[-1] == 999 and kept == sorted(kept)
    assert next(r for r in records if "space again" in r.get("text", ""))["data"]["lost"] == log.steps_lost


def test_a_removed_directory_ends_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    log = wlog.RunLog(str(folder))
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    log._last_look = -10.0
    with pytest.raises(wlog.RunDirectoryGone, match="was removed"):
        log.tick()


def test_run_json_stays_whole_when_it_cannot_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    wlog.write_json(str(path), {"a": float("nan"), "b": [1.5]})
    assert json.loads(path.read_text()) == {"a": "nan", "b": [1.5]}
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _fd: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        assert not wlog.update_run(str(tmp_path), c=1)
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]
    assert wlog.update_run(str(tmp_path), c=1)
    assert wlog.read_json(str(path))["c"] == 1


def test_the_reader_takes_what_the_writer_wrote(tmp_path: Path) -> None:
    log = wlog.RunLog(str(tmp_path))
    log.step({"step": 1, "loss": math.nan, "mode": "train"})
    log.step({"step": 2, "loss": math.inf})
    log.close()
    reader = RunReader(tmp_path)
    reader.poll()
    loss = reader.columns["loss"]
    assert math.isnan(loss[0]) and loss[1] == math.inf
    assert list(reader.columns["step"]) == [1, 2] and reader.bad_lines == 0
    reader.close()
