"""The launch form without a screen: groups, workloads, drills, the command line, what is impossible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dctop.engine.training import launcher, options
from dctop.engine.training.launcher import LaunchCheck
from dctop.tui.dialogs.launch import LaunchDialog, faults_of
from dctop.tui.draw.look import Look
from tests.fakes.screen import as_lines, check

NO_GPU = LaunchCheck("/python", "2.5", None, "/data/mnist", False, False, (), "torch sees no CUDA device")
LOOK = Look()


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "dctop").mkdir()


def dialog(started: list[dict[str, Any]] | None = None, workload: str = "mnist-cnn") -> LaunchDialog:
    def start(values: dict[str, Any]) -> str | None:
        if started is not None:
            started.append(values)
        return None

    return LaunchDialog(launcher.options, workload, start)


def go_to(d: LaunchDialog, name: str) -> None:
    for _ in range(len(d.fields)):
        if d.fields[d.at].name == name:
            return
        d.key("down", None)
    raise AssertionError(name)


def set_to(d: LaunchDialog, name: str, value: str) -> None:
    go_to(d, name)
    f = d.fields[d.at]
    if f.edit is not None:
        d.key("end", None)
        d.key("ctrl+u", None)
        for c in value:
            d.key(c, c)
        return
    for _ in range(len(f.choices) + 2):
        if str(d.fields[d.at].value) == value:
            return
        d.key("right", None)
    raise AssertionError((name, value, f.choices))


def text(d: LaunchDialog, w: int = 76, h: int = 22) -> str:
    rows = d.body(w, h, LOOK)
    check(rows, w, h)
    return "\n".join(as_lines(rows))


@pytest.mark.parametrize("workload", options.WORKLOADS)
def test_every_option_of_a_workload_is_reached_at_80x24(workload: str) -> None:
    d = dialog(workload=workload)
    seen = ""
    for _ in d.fields:
        seen += text(d)
        assert f" {d.fields[d.at].label} " in text(d)
        d.key("down", None)
    for option in options.for_workload(workload):
        if option.name != "fault":
            assert f" {option.name.replace('_', ' ')} " in seen, option.name
    for group in ("optimisation", "drill"):
        assert f" {group} ──" in seen
    for w, h in ((1, 1), (20, 3), (40, 8), (120, 60)):
        text(d, w, h)


def test_another_workload_brings_its_own_options_and_defaults() -> None:
    d = dialog()
    set_to(d, "workload", "gpt")
    assert d.fields[d.at].name == "workload"
    names = {f.name: f for f in d.fields}
    assert "context" in names and "synthetic" not in names
    assert names["optimizer"].value == "adamw" and names["lr"].edit is not None
    assert d.command_line() == "dctop train gpt"


def test_the_command_line_says_what_differs_from_the_defaults() -> None:
    d = dialog()
    set_to(d, "lr", "0.01")
    set_to(d, "optimizer", "sgd")
    set_to(d, "synthetic", "True")
    set_to(d, "checkpoint_dir", "/my disk")
    said = "dctop train mnist-cnn --lr 0.01 --optimizer sgd --synthetic --checkpoint-dir '/my disk'"
    assert d.command_line() == said
    assert "$ dctop train mnist-cnn" in text(d)


def test_a_drill_is_three_fields_and_one_word_on_the_command_line() -> None:
    started: list[dict[str, Any]] = []
    d = dialog(started)
    set_to(d, "drill", "lr")
    assert "learning rate" in text(d)
    set_to(d, "drill_size", "50")
    set_to(d, "drill_steps", "30-60")
    assert d.command_line().endswith("--fault lr:50@30-60")
    assert d.key("enter", None)
    assert started[0]["fault"] == "lr:50@30-60" and "drill" not in started[0]
    assert options.resolve({"fault": started[0]["fault"]})["fault"] == ["lr:50@30-60"]


def test_several_drills_are_planted_at_once() -> None:
    started: list[dict[str, Any]] = []
    d = dialog(started)
    set_to(d, "drill_more", "lr:50@30-60, nan@200")
    assert faults_of(d.values()) == "lr:50@30-60,nan@200"
    set_to(d, "drill", "slow-data")
    assert d.command_line().endswith("--fault slow-data,lr:50@30-60,nan@200")
    assert d.key("enter", None)
    specs = options.resolve({"fault": started[0]["fault"]})["fault"]
    assert specs == ["slow-data", "lr:50@30-60", "nan@200"] and "drill_more" not in started[0]
    assert options.resolve({"fault": [started[0]["fault"]]})["fault"] == specs  # as the command line gives it
    wrong = dialog()
    set_to(wrong, "drill_more", "no-such-fault")
    assert "no-such-fault" in text(wrong) and not wrong.key("enter", None)


def test_what_is_wrong_with_a_drill_is_said_while_it_is_typed() -> None:
    started: list[dict[str, Any]] = []
    d = dialog(started)
    set_to(d, "drill", "nan")
    set_to(d, "drill_steps", "60-30")
    assert "the window must begin at step 1 or later" in text(d)
    assert not d.key("enter", None) and not started
    assert faults_of({"drill": "none", "drill_size": 3.0}) is None


def test_what_is_impossible_here_is_taken_away_and_says_why() -> None:
    d = dialog()
    set_to(d, "lr", "0.5")
    d.checked(NO_GPU)
    device = next(f for f in d.fields if f.name == "device")
    assert device.choices == ("auto", "cpu") and device.enabled
    go_to(d, "device")
    assert "cuda: torch sees no CUDA device" in text(d)
    assert "torch 2.5 in /python; data: /data/mnist" in text(d)
    assert next(f for f in d.fields if f.name == "lr").parsed()[0] == 0.5, "what was typed stays"
    d.checked(replace(NO_GPU, reason="/python has no usable torch"))
    assert "▲ /python has no usable torch" in text(d)


def test_an_impossible_combination_is_not_started() -> None:
    started: list[dict[str, Any]] = []
    d = dialog(started)
    d.checked(NO_GPU)
    set_to(d, "optimizer", "batch-gd")
    set_to(d, "accumulate", "4")
    assert "batch-gd takes the whole set in one step anyway" in text(d)
    assert not d.key("enter", None) and not started


def test_values_used_last_come_back_but_no_drill() -> None:
    launcher.remember("gpt", {"lr": 0.25, "fault": ["nan"]})
    assert launcher.last_workload() == "gpt"
    d = dialog(workload=launcher.last_workload())
    values = d.values()
    assert values["lr"] == 0.25 and values["drill"] == "none"
    assert d.command_line() == "dctop train gpt --lr 0.25"


def test_the_mouse_chooses_turns_and_starts() -> None:
    started: list[dict[str, Any]] = []
    d = dialog(started)
    lines = text(d).splitlines()
    y = next(i for i, x in enumerate(lines) if x.startswith(" device"))
    assert not d.click(3, y) and d.fields[d.at].name == "device"
    text(d)
    d.click(30, y)
    assert d.fields[d.at].value == "cpu"
    bottom = text(d).splitlines()[-1]
    assert d.click(bottom.index("[ start ]") + 2, 21) and started[0]["device"] == "cpu"
    assert d.click(bottom.index("[ cancel ]") + 2, 21) and len(started) == 1
