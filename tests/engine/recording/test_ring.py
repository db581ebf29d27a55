"""The flight recorder: a bounded ring, copies of it when something happens."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from dctop.engine.recording import ring as ring_module
from dctop.engine.recording.reader import open_recording
from dctop.engine.recording.ring import FlightRecorder
from tests.fakes.frames import Stream, an_alert
from tests.fakes.recorders import feed, recorder, wait_for


def saved(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("*.dctop") if p.name != "ring.dctop")


def test_a_copy_is_a_closed_private_recording_and_the_ring_goes_on(tmp_path: Path) -> None:
    rec = recorder(tmp_path / "ring.dctop", durability="relaxed", max_age_s=120)
    stream, said = Stream(), []
    flight = FlightRecorder(rec, lambda text, bad: said.append((text, bad)))
    feed(rec, stream.take(200))
    wait_for(lambda: rec.saved_seq == 200, "saved")
    flight.save("a reason/with \N{BULLET} signs")
    wait_for(lambda: bool(said), "copied")
    feed(rec, stream.take(70))
    wait_for(lambda: rec.saved_seq == 270, "saved on")
    rec.stop()
    (copy,) = saved(tmp_path)
    assert not said[0][1] and str(copy) in said[0][0]
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not Path(f"{copy}-wal").exists()
    with open_recording(copy) as found:
        assert found.info.closed and found.info.close_reason == "a reason/with \N{BULLET} signs"
        assert found.seq_range is not None and found.seq_range[1] == 200
        found.check()
        assert not found.info.problems and not found.gaps
    with open_recording(tmp_path / "ring.dctop") as found:
        assert found.seq_range is not None and found.seq_range[0] > 60 and found.seq_range[1] == 270


def test_an_alert_saves_one_copy_with_what_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(ring_module.time, "monotonic", lambda: clock[0])
    asked: list[str] = []
    flight = FlightRecorder(recorder(tmp_path / "ring.dctop"), lambda *_: None)
    monkeypatch.setattr(flight, "save", lambda reason: (asked.append(reason), setattr(flight, "_due", None)))
    one, two = an_alert(1, 5), an_alert(2, 6)
    flight.watch([one])
    clock[0] += ring_module.AFTER_S - 1
    flight.watch([one, two])
    assert not asked
    clock[0] += 2
    flight.watch([one, two])
    flight.watch([one, two])
    assert asked == [f"alert {one.rule}"]


def test_notes_and_closed_alerts_save_nothing_and_the_end_saves_what_is_due(tmp_path: Path) -> None:
    said: list[str] = []
    rec = recorder(tmp_path / "ring.dctop")
    feed(rec, Stream().take(5))
    flight = FlightRecorder(rec, lambda text, bad: said.append(text))
    flight.watch([an_alert(1, 5, severity="info"), an_alert(2, 5, state="closed", closed_wall_ns=9)])
    flight.finish()
    flight.watch([an_alert(3, 5)])
    flight.finish()
    rec.stop()
    assert len(saved(tmp_path)) == len(said) == 1


def test_where_no_copy_can_be_written_one_line_says_so(tmp_path: Path) -> None:
    rec = recorder(tmp_path / "ring.dctop")
    feed(rec, Stream().take(5))
    wait_for(lambda: rec.saved_seq == 5, "saved")
    said: list[str | None] = []
    rec.save_copy(tmp_path / "no" / "folder" / "x.dctop", "why", said.append)
    wait_for(lambda: bool(said), "answered")
    assert said[0] is not None and "does not exist" in said[0] and "\n" not in said[0]
    rec.stop()
    rec.save_copy(tmp_path / "late.dctop", "why", said.append)
    assert len(said) == 2 and said[1]
