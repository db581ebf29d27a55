"""When rules are asked: once a turn, counted by what is inside snapshots and logs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import pytest

from dctop.engine.rules.base import (
    WARNING,
    Details,
    Ev,
    Needs,
    NodeRule,
    Outcome,
    Reading,
    Rule,
    RunRule,
)
from dctop.engine.rules.engine import RuleEngine
from dctop.engine.rules.gpu_devices import SiftingRule
from dctop.engine.rules.registry import make_rules
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import Window
from tests.fakes.source import FakeRun, FakeSource, S


class Often(NodeRule):
    """Notes when it was asked."""

    id: ClassVar[str] = "cpu-steal"
    problem: ClassVar[str] = "compute"
    kind: ClassVar[Literal["event", "state"]] = "state"
    always: ClassVar[bool] = True
    thresholds: ClassVar[Mapping[str, float]] = {"hold_s": 7.0}

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self.asked: list[int] = []
        self.says: Outcome = ()

    def judge(self, w: Window) -> Outcome:
        self.asked.append(w.mono_ns // S)
        return self.says


class Paced(Often):
    always: ClassVar[bool] = False
    thresholds: ClassVar[Mapping[str, float]] = {"every_s": 5.0, "hold_s": 7.0}


class Sifting(SiftingRule):
    """Notes when it was asked."""

    id: ClassVar[str] = "gpu-hot"
    problem: ClassVar[str] = "compute"
    kind: ClassVar[Literal["event", "state"]] = "state"
    reads: ClassVar[tuple[str, ...]] = ("gpu.state",)

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def judge(self, w: Window) -> Outcome:
        self.asked.append(w.mono_ns // S)
        return ()


class OfRun(RunRule):
    """Notes at which steps it was asked."""

    id: ClassVar[str] = "step-jitter"
    problem: ClassVar[str] = "framework"
    kind: ClassVar[Literal["event", "state"]] = "state"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self.asked: list[int] = []
        self.says: Outcome = ()

    def judge(self, run: RunWindow) -> Outcome:
        self.asked.append(run.step or 0)
        return self.says


class BySeconds(OfRun):
    in_training: ClassVar[bool] = True
    thresholds: ClassVar[Mapping[str, float]] = {"every_s": 5.0}


class BySteps(OfRun):
    in_training: ClassVar[bool] = True
    thresholds: ClassVar[Mapping[str, float]] = {"every_steps": 20.0}


class ByEvents(OfRun):
    of_events: ClassVar[bool] = True


class NeedsGpu(BySeconds):
    probes: ClassVar[tuple[str, ...]] = ("gpu",)


def alarm() -> Outcome:
    return (Reading("node", WARNING, False, lambda: Details([Ev("steal", 1.0)], {"steal": 1, "gain": 1})),)


def node() -> FakeSource:
    s = FakeSource()
    s.set({"cpu.count": 8, "host.name": "node"})
    return s


def go(e: RuleEngine, s: FakeSource, seconds: int, run: FakeRun | None = None, steps: int = 3) -> None:
    for _ in range(seconds):
        s.tick(1.0)
        if run is not None and steps:
            run.steps(steps, 1.0)
        e.tick(s)


def begun(rule: Rule) -> tuple[RuleEngine, FakeSource, FakeRun]:
    s = node()
    s.tick(1.0)
    run = FakeRun(s)
    s.tick(1.0)
    return RuleEngine(rules=[rule]), s, run


def test_a_paced_node_rule_is_asked_once_a_turn_of_the_snapshots_clock() -> None:
    rule, s = Paced(), node()
    go(RuleEngine(rules=[rule]), s, 23)
    assert rule.asked == [1001, 1005, 1010, 1015, 1020]
    late, s = Paced(), node()
    s.tick(3.0)
    go(RuleEngine(rules=[late]), s, 10)
    assert late.asked == [1004, 1005, 1010], "at the same moments, whenever somebody begins"


def test_an_incident_goes_on_by_the_answer_that_stands() -> None:
    rule, s = Paced(), node()
    e = RuleEngine(rules=[rule])
    rule.says = alarm()
    go(e, s, 7)
    assert e.alerts() == (), "it has to hold for 7 s"
    go(e, s, 1)
    assert [a.rule for a in e.alerts()] == ["cpu-steal"] and rule.asked == [1001, 1005]


def test_whatever_a_rule_answers_its_seconds_are_kept() -> None:
    rule, s = Paced(), node()
    rule.says = Needs("series", "x")
    e = RuleEngine(rules=[rule])
    go(e, s, 12)
    assert rule.asked == [1001, 1005, 1010]
    assert "cpu-steal" in dict(e.not_checked())


def test_the_user_may_ask_more_often() -> None:
    rule, s = Paced({"every_s": 0.0}), node()
    s.rate({"cpu.user_ticks": 10})
    rule_always = Often()
    go(RuleEngine(rules=[rule]), s, 3)
    assert rule.asked == [1001], "nothing it reads has changed, and it reads nothing"
    go(RuleEngine(rules=[rule_always]), s, 3)
    assert len(rule_always.asked) == 3


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -5.0])
def test_a_pace_that_is_none_paces_nothing(wrong: float) -> None:
    rule, s = Often({"every_s": wrong}), node()
    paced, run_rule = Paced({"every_s": wrong}), BySteps({"every_steps": wrong})
    go(RuleEngine(rules=[rule]), s, 3)
    go(RuleEngine(rules=[paced]), s, 3)
    assert len(rule.asked) == 3 and len(paced.asked) == 1
    e, s, run = begun(run_rule)
    go(e, s, 3, run)
    assert len(run_rule.asked) == 3


def test_a_rule_about_runs_is_asked_once_in_so_many_seconds() -> None:
    rule = BySeconds()
    e, s, run = begun(rule)
    go(e, s, 12, run)
    assert rule.asked == [23, 29, 44], "at 1003, 1005 and 1010 s"
    go(e, s, 3, run, steps=0)
    assert len(rule.asked) == 3, "nothing has changed"


def test_leaving_training_ends_a_turn() -> None:
    rule = BySeconds()
    e, s, run = begun(rule)
    go(e, s, 2, run)
    asked = len(rule.asked)
    run.mode("eval")
    go(e, s, 1)
    assert len(rule.asked) == asked, "in an evaluation there is nothing to ask it"
    assert dict(e.not_checked()) == {}
    run.mode("train")
    go(e, s, 1)
    assert len(rule.asked) == asked + 1, "at once, not in its next turn"


def test_a_rule_that_sifts_is_asked_when_what_it_reads_is_another_and_each_ten_seconds() -> None:
    rule, s = Sifting(), node()
    e = RuleEngine(rules=[rule])
    for second in range(26):
        state = "lost" if 4 <= second < 17 else "ok"
        s.set({"gpu.name{gpu=a}": "one", "gpu.state{gpu=a}": state, "gpu.temp_c{gpu=a}": second})
        go(e, s, 1)
    assert rule.asked == [1001, 1002, 1005, 1010, 1018, 1020]


def test_a_missing_probe_ends_a_turn() -> None:
    rule = NeedsGpu()
    e, s, run = begun(rule)
    go(e, s, 2, run)
    assert rule.asked == [] and "step-jitter" in dict(e.not_checked())
    s.set({"gpu.count": 1})
    go(e, s, 1, run)
    assert len(rule.asked) == 1
    s.stale.add("gpu")
    go(e, s, 1, run)
    s.stale.discard("gpu")
    go(e, s, 1, run)
    assert len(rule.asked) == 2


def test_a_rule_may_be_asked_once_in_so_many_steps() -> None:
    rule = BySteps()
    e, s, run = begun(rule)
    go(e, s, 14, run)
    assert rule.asked == [23, 41, 62]
    rule.says = Needs("steps", "300")
    go(e, s, 7, run)
    assert rule.asked == [23, 41, 62, 80, 83], "while it abstains, it is asked whenever there are steps"


def test_steps_alone_are_no_reason_to_ask_a_rule_of_events() -> None:
    rule = ByEvents()
    e, s, run = begun(rule)
    go(e, s, 5, run)
    assert len(rule.asked) == 1
    run.event("checkpoint")
    go(e, s, 2, run)
    assert len(rule.asked) == 2
    run.publish(config={**run.now.config, "layers": {}})
    go(e, s, 2, run)
    assert len(rule.asked) == 3
    run.publish(status="stopping")
    go(e, s, 2, run)
    assert len(rule.asked) == 4


def test_two_runs_have_turns_of_their_own() -> None:
    rule = BySteps()
    e, s, run = begun(rule)
    other = FakeRun(s, "run-2")
    for _ in range(8):
        s.tick(1.0)
        run.steps(20, 1.0)
        other.steps(1, 1.0)
        e.tick(s)
    assert rule.asked == [40, 21, 60, 80, 100, 120, 140, 160, 180]


def test_paces_are_thresholds_like_others() -> None:
    paced = [r for r in make_rules() if r.every_s or r.every_steps]
    assert {"energy-budget", "gpu-underutilised", "disk-latency", "step-jitter"} <= {r.id for r in paced}
    for r in paced:
        assert ("every_s" in r.thresholds) != ("every_steps" in r.thresholds), r.id
        assert "every_steps" not in r.thresholds or r.scope == "run", r.id


def a_spike_in_each_of(n: int, told: bool = False) -> list[int]:
    """Of `n` runs with a huge gradient in the same second, how many are told at once and a second later."""
    s, e = FakeSource(), RuleEngine()
    runs = [FakeRun(s, f"run-{i}") for i in range(n)]
    for _ in range(20):
        for run in runs:
            run.steps(10)
        s.tick(1.0)
        e.tick(s)
    found = []
    for run in runs:
        run.steps(1, grad_norm=1e4)
        if told:
            run.event("marker", "seen")
    for _ in range(2):
        s.tick(1.0)
        e.tick(s)
        found.append(len({a.entity for a in e.alerts() if a.rule == "grad-exploding"}))
    return found


def test_of_many_runs_every_other_is_judged_each_second() -> None:
    assert a_spike_in_each_of(4) == [4, 4]
    assert a_spike_in_each_of(6) == [3, 6]


def test_a_run_whose_log_says_more_than_steps_is_judged_at_once() -> None:
    assert a_spike_in_each_of(6, told=True) == [6, 6]
