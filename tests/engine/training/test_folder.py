"""The folder of runs before there is one, and the first one."""

from __future__ import annotations

import os
from pathlib import Path

from dctop.engine.live import LiveEngine
from dctop.engine.training.folder import RunsFolder
from tests.fakes.runs import make_run

LATER = 10**18


def test_it_is_read_once_and_then_when_something_comes_or_goes(tmp_path: Path) -> None:
    folder = RunsFolder(tmp_path, lambda: LATER)
    os.utime(tmp_path, ns=(1, 1))
    assert folder.news() == []
    assert folder.news() is None
    make_run(tmp_path, "b")
    make_run(tmp_path, "a")
    (tmp_path / ".hidden").mkdir()
    os.utime(tmp_path, ns=(2, 2))
    assert folder.news() == ["b", "a"]
    assert folder.news() is None


def test_a_folder_changed_just_now_is_read_again(tmp_path: Path) -> None:
    """Another change within the same tick of the file system's clock would look like none."""
    folder = RunsFolder(tmp_path, lambda: LATER + 10**9)
    os.utime(tmp_path, ns=(LATER, LATER))
    assert folder.news() == [] == folder.news()


def test_a_folder_that_is_made_later_is_found(tmp_path: Path) -> None:
    folder = RunsFolder(tmp_path / "runs")
    assert folder.news() == []
    assert folder.news() is None
    make_run(tmp_path / "runs", "r")
    assert folder.news() == ["r"]


def test_the_first_run_that_appears_is_known_to_the_engine(tmp_path: Path) -> None:
    engine = LiveEngine(interval_s=0.02, probes=[], rules=False, runs_dir=tmp_path / "runs")
    engine.start()
    assert engine.wait_ticks(3, 10)
    assert engine._watcher is None and not engine.runs()
    make_run(tmp_path / "runs", "r")
    assert engine.wait_ticks(3, 10)
    assert [run.id for run in engine.runs()] == ["r"]
    engine.stop()
