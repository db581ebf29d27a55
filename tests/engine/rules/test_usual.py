"""What was learned survives a restart, and nothing else does: other hosts, old or broken files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dctop.engine.live import LiveEngine
from dctop.engine.rules.engine import RuleEngine
from dctop.engine.rules.usual import restore, save
from tests.engine.rules.test_anomaly import Node, anomalies, started


def saved(tmp_path: Path) -> tuple[Node, Path]:
    s, e = started()
    path = tmp_path / "state" / "usual.json"
    assert save(e, path, 1000.0)
    return s, path


def test_a_restart_is_not_a_new_life(tmp_path: Path) -> None:
    s, path = saved(tmp_path)
    e = RuleEngine()
    assert restore(e, path, 2000.0)
    s.run(e, 10)
    assert "anomaly" not in dict(e.not_checked())
    assert anomalies(e) == []
    s.extra = {"disk": 400e6, "cpu": 50, "net": 300e6}
    s.run(e, 2)
    assert len(anomalies(e)) == 1, "it knows what is usual after ten seconds"


def test_another_level_after_a_restart_is_no_anomaly(tmp_path: Path) -> None:
    s, path = saved(tmp_path)
    e = RuleEngine()
    restore(e, path, 2000.0)
    s.extra = {"disk": 300e6, "cpu": 40, "net": 300e6, "memory": 9e9}
    s.run(e, 60)
    assert anomalies(e) == []


@pytest.mark.parametrize(
    "change", [{"host": "other"}, {"version": 0}, {"at": 1000.0 - 8 * 86_400}, {"at": 9e9}]
)
def test_what_does_not_fit_is_not_taken(tmp_path: Path, change: dict[str, object]) -> None:
    _, path = saved(tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert not restore(RuleEngine(), path, 2000.0)


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"version": 1}', "[" * 100_000, '{"version":1,"host":3,"at":"x","series":4}']
)
def test_a_broken_file_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "usual.json"
    path.write_text(text)
    assert not restore(RuleEngine(), path, 2000.0)
    assert not restore(RuleEngine(), tmp_path / "none.json", 2000.0)


def test_numbers_that_are_no_state_spoil_nothing(tmp_path: Path) -> None:
    s, path = saved(tmp_path)
    data = json.loads(path.read_text())
    data["series"] = {k: [1.0] for k in data["series"]}
    path.write_text(json.dumps(data))
    e = RuleEngine()
    assert restore(e, path, 2000.0)
    s.run(e, 3)
    assert "anomaly" in dict(e.not_checked())


def test_a_directory_that_cannot_be_written_is_no_failure(tmp_path: Path) -> None:
    _, e = started()
    (tmp_path / "file").write_text("")
    assert not save(e, tmp_path / "file" / "usual.json", 1.0)
    assert not save(RuleEngine(), tmp_path / "usual.json", 1.0), "nothing learned, nothing written"
    assert not (tmp_path / "usual.json").exists()


def test_the_live_engine_writes_nothing_before_it_has_learned(tmp_path: Path) -> None:
    engine = LiveEngine(0.1, runs_dir=False)
    engine.keep_usual(tmp_path / "usual.json")
    engine.start()
    assert engine.wait_ticks(3, 10)
    engine.stop()
    assert not (tmp_path / "usual.json").exists()
