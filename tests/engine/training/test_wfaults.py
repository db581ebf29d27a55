"""Drill specifications, and that the planter writes the truth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.training import wfaults


def test_specifications_are_read() -> None:
    assert wfaults.parse("nan@7")[:4] == ("nan", 0.0, 7, None)
    assert wfaults.parse("slow-data:20.5@3-9")[:4] == ("slow-data", 20.5, 3, 9)
    assert wfaults.parse("lr")[:4] == ("lr", 100.0, wfaults.DEFAULT_STEP, None)
    fault = wfaults.parse("leak:4@3-5")
    assert [fault.active(n) for n in range(2, 7)] == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("", "expected NAME"), ("fire", "NAME one of nan, lr"), ("nan:3", "has no magnitude"),
        ("lr:1.2.3", "not a number"), ("lr@0", "window"), ("lr@9-3", "window"), ("lr@3-", "expected NAME"),
    ],
)  # fmt: skip
def test_wrong_specifications_are_refused_in_one_line(spec: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        wfaults.parse(spec)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert wfaults.parse(text).name in wfaults.KINDS
    except ValueError as error:
        assert str(error).startswith("fault ")


def truths(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]


def test_the_truth_has_beginning_and_end_and_lr_comes_back(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    planter = wfaults.Planter([wfaults.parse("lr:10@2-3")], str(tmp_path), "run:x")
    rates = []
    for number in range(1, 6):
        planter.begin(number, optimizer)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.5, 5.0, 5.0, 0.5, 0.5])
    begun, ended = truths(tmp_path)
    assert (begun["id"], begun["entity"], begun["step0"], begun["t1"]) == ("lr", "run:x", 2, None)
    assert ended["t0"] == begun["t0"] and ended["step1"] == 4 and isinstance(ended["t1"], int)


def test_a_window_still_open_is_closed_with_the_run(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    planter = wfaults.Planter([wfaults.parse("nan@1")], str(tmp_path), "run:x")
    planter.begin(1, optimizer)
    planter.close(8)
    assert truths(tmp_path)[-1]["step1"] == 8


def test_ballast_is_written_and_taken_away_again(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    planter = wfaults.Planter([wfaults.parse("fill:2@1-1")], str(tmp_path), "run:x")
    planter.begin(1, optimizer)
    assert (tmp_path / "ballast").stat().st_size == 2_000_000
    planter.begin(2, optimizer)
    assert not (tmp_path / "ballast").exists()


def test_a_nan_pixel_is_in_the_batch_only_while_planted(tmp_path: Path) -> None:
    planter = wfaults.Planter([wfaults.parse("nan@2-2")], str(tmp_path), "run:x")
    for number, bad in ((1, 0), (2, 1), (3, 0)):
        batch = torch.zeros(2, 1, 28, 28)
        planter.batch(number, batch)
        assert int(batch.isnan().sum()) == bad


def test_crash_raises(tmp_path: Path) -> None:
    planter = wfaults.Planter([wfaults.parse("crash@1")], str(tmp_path), "run:x")
    with pytest.raises(wfaults.PlantedCrash):
        planter.begin(1, torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5))
