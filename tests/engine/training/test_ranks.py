"""The processes of a distributed run, from their logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dctop.engine.training.watcher import load_run
from dctop.tui.draw.look import Look
from dctop.tui.panes.run_lists import rank_rows
from tests.fakes.runs import event, make_run, step
from tests.fakes.screen import as_lines, check


def test_each_rank_is_told_by_the_end_of_its_own_log(tmp_path: Path) -> None:
    parts = {"data_s": 0.002, "forward_s": 0.003, "backward_s": 0.004, "wait_s": 0.001}
    steps = [step(i, **parts) for i in range(1, 80)]
    directory = make_run(
        tmp_path, "20200101-000000-x", event("start", "s", 0, ranks=3), *steps,
        event("end", "done", status="finished"), ranks=3,
    )  # fmt: skip
    slow = [json.dumps(step(i, **{**parts, "forward_s": 0.013})) for i in range(1, 70)]
    (directory / "steps.1.jsonl").write_text("\n".join([*slow, '{"kind":"step","st']))
    state = load_run(directory)
    assert state is not None
    # Rank 2 has no log yet.
    assert [(r.rank, r.step) for r in state.ranks] == [(0, 79), (1, 69)]
    assert state.ranks[0].work_s == pytest.approx(0.005) and state.ranks[1].work_s == pytest.approx(0.015)
    assert state.ranks[0].wait_s == pytest.approx(0.001)
    for look in (Look(), Look("ascii", False)):
        rows = rank_rows(state, 90, 5, look)
        check(rows, 90, len(rows), look)
        lines = as_lines(rows)
        assert "slowest" in lines[0] and ("▲" if look.unicode else "*") in lines[2]


def test_a_run_of_one_process_has_no_ranks(tmp_path: Path) -> None:
    directory = make_run(
        tmp_path, "20200101-000000-x", step(1), event("end", "done", status="finished"), ranks=1
    )
    state = load_run(directory)
    assert state is not None and state.ranks == ()
