"""Phases of a step: one chain of boundaries, so that they add up."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import torch

from dctop.engine.training import wtiming


class Clock:
    """perf_counter_ns and thread_time_ns that go on by what they are told."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.wall = self.cpu = 1_000_000
        patch.setattr(time, "perf_counter_ns", lambda: self.wall)
        patch.setattr(time, "thread_time_ns", lambda: self.cpu)

    def work(self, wall: int, cpu: int) -> None:
        self.wall += wall
        self.cpu += cpu


def record_of(times: wtiming.Times, number: int = 1) -> dict[str, Any]:
    return wtiming.Step(number, 1, 10**18, 8, 0.1, "train", (True, True, True), None, times).record()


def test_phases_and_the_rest_add_up_to_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    timer = wtiming.StepTimer()
    clock.work(50_000_000, 2_000_000)
    timer.lap(wtiming.DATA)
    for phase, ms in zip(range(wtiming.H2D, wtiming.OTHER), (1, 7, 2, 11, 3)):
        clock.work(ms * 1_000_000, ms * 900_000)
        timer.lap(phase)
    clock.work(4_000_000, 4_000_000)
    times, marks = timer.finish()
    record = record_of(times)
    assert math.isclose(record["step_s"], 0.078) and marks is None
    assert math.isclose(record["data_s"], 0.050) and math.isclose(record["data_cpu_s"], 0.002)
    assert math.isclose(sum(record[f] for f in wtiming.FIELDS), 0.074)
    assert math.isclose(record["cpu_s"], 0.0276) and math.isclose(record["forward_cpu_s"], 0.0063)
    clock.work(5_000_000, 0)
    timer.lap(wtiming.FORWARD)
    following = record_of(timer.finish()[0])
    assert math.isclose(following["step_s"], 0.005) and following["data_s"] == 0.0


def test_laps_of_one_phase_add_up_and_restart_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    timer = wtiming.StepTimer()
    clock.work(9_000_000, 0)
    timer.restart()
    for _ in range(3):
        clock.work(1_000_000, 500_000)
        timer.lap(wtiming.DATA)
        clock.work(2_000_000, 0)
        timer.lap(wtiming.FORWARD)
    record = record_of(timer.finish()[0])
    assert math.isclose(record["data_s"], 0.003) and math.isclose(record["forward_s"], 0.006)
    assert math.isclose(record["step_s"], 0.009)


def test_scalars_of_the_cpu_are_there_at_once_and_in_order() -> None:
    readback = wtiming.Readback(None, None)
    times = wtiming.Times(5, 4, [1] * 7, [0] * 7)
    for i in (1, 2):
        step = wtiming.Step(i, 1, 10**18, 8, 0.1, "train", (True, True, True), {"wait_s": 2.0}, times)
        readback.push(step, [torch.tensor(float(i)), torch.tensor(i)])
    taken = readback.pop()
    assert [(record["step"], scalars) for _, record, scalars in taken] == [(1, [1.0, 1]), (2, [2.0, 2])]
    assert taken[0][1]["wait_s"] == 2.0
    assert readback.pop(wait=True) == []
