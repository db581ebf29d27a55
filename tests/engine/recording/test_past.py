"""Looking back while live, beyond what is in memory: into the recording that is being made."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dctop.engine import live
from dctop.engine.live import LiveEngine
from dctop.engine.recording.begun import take_up
from dctop.engine.recording.reader import open_recording
from dctop.engine.recording.replay import ReplaySource
from dctop.engine.rules.anomaly import Anomaly
from dctop.engine.rules.detector import Detector
from dctop.engine.rules.engine import RuleEngine
from dctop.probes.base import Probe, Sample

TICKS = 150


class Counting(Probe):
    """Reads the number of its reads."""

    name = "memory"
    period_s = 0.02
    lane = "main"

    def __init__(self) -> None:
        self.n = 0

    def read(self) -> Sample:
        self.n += 1
        return Sample("memory", time.monotonic_ns(), time.time_ns(), {"memory.free_bytes": self.n})


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveEngine]:
    monkeypatch.setattr(live, "LOOK_BACK_TICKS", 30)
    monkeypatch.setattr(live, "HISTORY_TICKS", 40)
    made = LiveEngine(0.02, rules=False, runs_dir=False, probes=[Counting()])
    yield made
    made.stop()


def test_older_moments_come_from_the_recording_and_equal_what_was_live(
    engine: LiveEngine, tmp_path: Path
) -> None:
    seen: dict[int, object] = {}
    engine.on_tick.append(
        lambda e: seen.setdefault(e.tick_seq, e.now.current.values if e.now.current else None)
    )
    engine.start_recording(tmp_path / "a.dctop")
    recorder = engine.recorder
    assert recorder is not None and recorder.wait_opened(20)
    engine.start()
    assert engine.wait_ticks(TICKS, 60)
    assert engine.mark("") and engine.mark("what was seen")
    deadline = time.monotonic() + 30
    while (recorder.saved_seq < TICKS or len(engine.events()) < 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    for seq in (10, 60, 100):
        engine.look_back(engine.tick_seq - seq)
        snap = engine.snapshot()
        assert snap is not None and seq <= snap.frame.seq <= seq + 20  # it ticks on meanwhile
        assert snap.values == seen[snap.frame.seq]
        assert engine.window("memory.free_bytes", 5)[-1] == snap.values["memory.free_bytes"]
        wide = engine.wide("memory.free_bytes", 8, 4)
        known = [v for v in wide if v == v]
        assert known == sorted(known) and known
    assert [(e.kind, e.title) for e in engine.events()] == [("marker", ""), ("note", "what was seen")]
    # Wider than memory, live: what it lacks is taken from the recording.
    assert engine.look_back(0) == 0
    wide = engine.wide("memory.free_bytes", 12, 10)
    assert sum(v == v for v in wide) >= 10
    # No further back than the recording goes.
    back = engine.look_back(1 << 40)
    assert engine.tick_seq - back <= 2 and back > 100
    assert engine.look_back(0) == 0


def test_without_a_recording_memory_is_the_limit(engine: LiveEngine) -> None:
    engine.start()
    assert engine.wait_ticks(50, 60)
    assert engine.look_back(1000) <= 28
    assert len([v for v in engine.wide("memory.free_bytes", 50, 2) if v == v]) <= 21
    assert not engine.events()


def test_a_recording_begun_in_mid_session_holds_what_was_in_memory_and_what_the_rules_knew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_BACK_TICKS", 30)
    engine = LiveEngine(0.02, runs_dir=False, probes=[Counting()])
    engine.start()
    try:
        assert engine.wait_ticks(50, 60)
        engine.start_recording(tmp_path / "a.dctop")
        assert engine.wait_ticks(20, 60)
    finally:
        engine.stop()
    with open_recording(tmp_path / "a.dctop") as r:
        span, told = r.seq_range, r.begun()
        assert span is not None and told is not None
        upto = told["upto"]
        assert upto == told["seq"] and upto - span[0] == 28
        frames = list(r.frames(*span))
        assert [f.seq for f in frames] == list(range(span[0], span[1] + 1))
        assert not r.gaps or all(g.reason == "nothing was recorded" for g in r.gaps)
        counts = [f.value("memory.free_bytes") for f in frames]
        assert counts == sorted(counts, key=float) and r.info.problems == ()  # type: ignore[arg-type]
        assert r.meta["close_reason"] == "quit"


def test_a_recording_of_a_session_from_its_first_tick_has_nothing_before_it(tmp_path: Path) -> None:
    engine = LiveEngine(0.02, runs_dir=False, probes=[Counting()])
    engine.start_recording(tmp_path / "a.dctop")
    engine.start()
    assert engine.wait_ticks(5, 60)
    engine.stop()
    with open_recording(tmp_path / "a.dctop") as r:
        told = r.begun()
        assert r.seq_range is not None and r.seq_range[0] == 1
        assert told is not None and told["upto"] is None and told["seq"] is None


def test_rules_that_are_loaded_late_bring_what_they_know_into_the_recording(tmp_path: Path) -> None:
    usual, learned = tmp_path / "usual.json", Detector(5.0, 0.0)
    for n in range(700):
        learned.update(2.5 + 0.01 * (n % 3))
    data = {"version": 1, "host": os.uname().nodename, "at": time.time(), "series": {"x.y": learned.state()}}
    usual.write_text(json.dumps(data))
    engine = LiveEngine(0.6, runs_dir=False, probes=[Counting()], soon=True)
    engine.keep_usual(usual)
    engine.start_recording(tmp_path / "a.dctop")
    engine.start()
    assert engine.wait_ticks(3, 60)
    engine.stop()
    with open_recording(tmp_path / "a.dctop") as r:
        told = r.begun()
        assert told is not None and told["upto"] == 1 and r.seq_range == (1, engine.tick_seq)
    replay, rules = ReplaySource(tmp_path / "a.dctop"), RuleEngine()
    assert take_up(rules, replay)
    known = next(rule for rule in rules.rules if isinstance(rule, Anomaly))
    assert known._saved == {"x.y": learned.state()}
    replay.close()


@pytest.mark.parametrize("how", ["quit", "recording off, then quit", "recording off, then live again"])
def test_who_looked_back_leaves_one_file(engine: LiveEngine, tmp_path: Path, how: str) -> None:
    engine.start_recording(tmp_path / "a.dctop")
    recorder = engine.recorder
    assert recorder is not None and recorder.wait_opened(20)
    engine.start()
    assert engine.wait_ticks(5, 60) and engine.mark("")
    while not engine.events():
        assert engine.wait_ticks(1, 60)
    if how != "quit":
        engine.stop_recording()
        assert len(list(tmp_path.iterdir())) == 3  # it is being read
    if how.endswith("live again"):
        engine.look_back(0)
    else:
        engine.stop()
    assert [p.name for p in tmp_path.iterdir()] == ["a.dctop"]
    with open_recording(tmp_path / "a.dctop") as recording:
        recording.check()
        assert recording.info.closed and recording.info.problems == ()
