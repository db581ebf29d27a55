"""The engine's contract: latching, counting, abstaining, explaining, acknowledging, determinism."""

from __future__ import annotations

from dataclasses import asdict
from typing import ClassVar, Literal

import pytest

from dctop.engine.rules.alert import Alert
from dctop.engine.rules.base import (
    CRITICAL,
    WARNING,
    Details,
    Ev,
    NodeRule,
    Occurrence,
    Outcome,
    Reading,
)
from dctop.engine.rules.engine import RuleEngine
from dctop.engine.rules.window import Window
from tests.fakes.source import FakeRun, FakeSource

GIB = 1 << 30


def node(**values: object) -> FakeSource:
    """A healthy node: memory, pressure, one filesystem, a readable kernel log."""
    s = FakeSource()
    s.set({
        "memory.total_bytes": 100 * GIB, "memory.available_bytes": 60 * GIB, "memory.oom_kills": 0,
        "kernel.records": 0, "pressure.memory.some_avg10_pct": 0.0, "pressure.memory.full_avg10_pct": 0.0,
        "fs.used_bytes{mount=/data}": 50e9, "fs.avail_bytes{mount=/data}": 50e9,
        "fs.readonly{mount=/data}": 0, "host.name": "node",
    })  # fmt: skip
    return s


def run_for(e: RuleEngine, s: FakeSource, seconds: int, step_s: float = 1.0) -> None:
    for _ in range(int(seconds / step_s)):
        s.tick(step_s)
        e.tick(s)


def pressed(s: FakeSource, pct: float) -> None:
    s.set({"pressure.memory.some_avg10_pct": pct})


def only(e: RuleEngine, rule: str) -> Alert:
    found = [a for a in e.alerts() if a.rule == rule]
    assert len(found) == 1, [a.rule for a in e.alerts()]
    return found[0]


def test_a_healthy_node_has_no_alerts() -> None:
    s, e = node(), RuleEngine()
    run_for(e, s, 30)
    assert e.alerts() == ()
    assert e.counts == (0, 0, 0)
    assert e.problem_status()["storage"] == "well"


def test_a_state_goes_through_its_life() -> None:
    s, e = node(), RuleEngine()
    run_for(e, s, 2)
    pressed(s, 30)
    run_for(e, s, 4)
    assert e.alerts() == ()
    assert e.problem_status()["oom"] == "suspect"
    run_for(e, s, 3)
    a = only(e, "psi-memory")
    assert (a.state, a.severity, a.kind, a.count) == ("firing", "warning", "state", 1)
    assert e.problem_status()["oom"] == "firing"
    assert e.counts == (0, 1, 0)
    pressed(s, 10)  # between the thresholds
    run_for(e, s, 60)
    assert only(e, "psi-memory").state == "firing"
    pressed(s, 1)
    run_for(e, s, 2)
    assert only(e, "psi-memory").state == "clearing"
    run_for(e, s, 31)
    a = only(e, "psi-memory")
    assert a.state == "closed"
    assert a.closed_wall_ns is not None
    assert e.counts == (0, 0, 0)
    assert e.problem_status()["oom"] == "well"


def test_firing_again_within_ten_minutes_is_the_same_incident() -> None:
    s, e = node(), RuleEngine()
    pressed(s, 30)
    run_for(e, s, 10)
    pressed(s, 0)
    run_for(e, s, 60)
    first = only(e, "psi-memory")
    pressed(s, 30)
    run_for(e, s, 10)
    again = only(e, "psi-memory")
    assert (again.id, again.count, again.state) == (first.id, 2, "firing")
    assert again.opened_wall_ns == first.opened_wall_ns
    pressed(s, 0)
    run_for(e, s, 720, 2.0)
    pressed(s, 30)
    run_for(e, s, 10)
    assert [a.count for a in e.alerts() if a.rule == "psi-memory" and a.open] == [1]
    assert max(a.id for a in e.alerts()) > first.id


def test_closed_alerts_leave_the_list_after_an_hour() -> None:
    s, e = node(), RuleEngine()
    pressed(s, 30)
    run_for(e, s, 10)
    pressed(s, 0)
    run_for(e, s, 60)
    assert len(e.alerts()) == 1
    run_for(e, s, 3700, 10.0)
    assert e.alerts() == ()


def test_stale_probes_make_rules_unknown_and_alerts_stay() -> None:
    s, e = node(), RuleEngine()
    pressed(s, 30)
    run_for(e, s, 10)
    s.stale.add("pressure")
    pressed(s, 0)
    run_for(e, s, 100)
    assert only(e, "psi-memory").state == "firing"
    assert dict(e.not_checked())["psi-memory"] == "fresh readings of the pressure probe"


def test_a_missing_value_makes_the_rule_unknown_not_well() -> None:
    s, e = node(), RuleEngine()
    s.set({"pressure.memory.some_avg10_pct": None})
    run_for(e, s, 3)
    assert "psi-memory" in dict(e.not_checked())
    assert "host-mem-low" not in dict(e.not_checked())


def test_without_a_run_the_run_rules_are_not_checked() -> None:
    s, e = node(), RuleEngine()
    run_for(e, s, 2)
    assert dict(e.not_checked())["loss-spike"] == "a training run"
    assert e.problem_status()["convergence"] == "unknown"
    assert e.problem_status()["inference"] == "unknown"


def test_not_checked_speaks_the_chosen_language() -> None:
    s, e = node(), RuleEngine(lang="zh")
    run_for(e, s, 2)
    assert dict(e.not_checked())["loss-spike"] == "一个训练运行"


def test_an_event_latches_until_acknowledged() -> None:
    s, e = node(), RuleEngine()
    run_for(e, s, 2)
    s.tick(1, [s.event("hung-task", "INFO: task x:1 blocked for more than 120 seconds", pid="1", task="x")])
    e.tick(s)
    run_for(e, s, 4000, 20.0)
    a = only(e, "kernel-hung")
    assert (a.state, a.severity, a.kind) == ("firing", "critical", "event")
    assert e.ack(a.id)
    a = only(e, "kernel-hung")
    assert (a.state, a.acked) == ("closed", True)
    assert not e.ack(a.id)
    assert not e.ack(9999)


def test_an_event_that_repeats_is_counted() -> None:
    s, e = node(), RuleEngine()
    for _ in range(3):
        s.tick(1, [s.event("hung-task", "blocked")])
        e.tick(s)
    assert only(e, "kernel-hung").count == 3


def test_kernel_records_from_before_the_start_are_history() -> None:
    s, e = node(), RuleEngine()
    s.tick(1, [s.event("oom-kill", "Killed process", pid="77", task="old", old="1") for _ in range(3)])
    e.tick(s)
    a = only(e, "oom-killed")
    assert (a.severity, a.state, a.count) == ("info", "closed", 3)
    assert e.counts == (0, 0, 0)
    s.tick(1, [s.event("oom-kill", "Killed process", pid="78", task="new")])
    e.tick(s)
    a = only(e, "oom-killed")
    assert (a.severity, a.state, a.count) == ("critical", "firing", 1)


def test_acknowledging_a_state_marks_it_and_it_ends_by_itself() -> None:
    s, e = node(), RuleEngine()
    pressed(s, 30)
    run_for(e, s, 10)
    e.ack(only(e, "psi-memory").id)
    a = only(e, "psi-memory")
    assert (a.state, a.acked) == ("firing", True)
    pressed(s, 0)
    run_for(e, s, 60)
    assert only(e, "psi-memory").state == "closed"


def test_muted_alerts_are_not_counted_until_then() -> None:
    s, e = node(), RuleEngine()
    pressed(s, 30)
    run_for(e, s, 10)
    e.mute(only(e, "psi-memory").id, s.wall_ns + 20 * 10**9)
    assert e.counts == (0, 0, 0)
    assert only(e, "psi-memory").open
    run_for(e, s, 15)
    assert e.counts == (0, 0, 0)
    run_for(e, s, 10)
    assert e.counts == (0, 1, 0)


def test_symptoms_are_shown_under_their_root_and_not_counted() -> None:
    s, e = node(), RuleEngine()
    run_for(e, s, 2)
    run = FakeRun(s)
    run_for(e, s, 1)
    run.end("killed", -9, "killed by the kernel", oom_kill_delta=1, oom="cgroup")
    run_for(e, s, 1)
    assert only(e, "worker-crashed").suppressed_by == "oom-killed"
    assert only(e, "oom-killed").suppressed_by is None
    assert e.counts == (1, 0, 0)
    e.ack(only(e, "oom-killed").id)
    run_for(e, s, 1)
    # Whoever has seen the cause need not say so of its consequence.
    assert (only(e, "worker-crashed").state, only(e, "worker-crashed").acked) == ("closed", True)
    assert e.counts == (0, 0, 0)


def test_one_runs_trouble_does_not_explain_anothers() -> None:
    s, e = node(), RuleEngine()
    run_for(e, s, 2)
    a, b = FakeRun(s, "a"), FakeRun(s, "b")
    run_for(e, s, 1)
    a.end("killed", -9, "killed by the kernel", oom_kill_delta=1, oom="cgroup")
    b.event("exception", "ValueError: x", traceback='File "/w/t.py", line 7', **{"class": "ValueError"})
    b.end("failed", 1, "ValueError: x")
    run_for(e, s, 1)
    crashed = {x.entity: x.suppressed_by for x in e.alerts() if x.rule == "worker-crashed"}
    assert crashed == {"a": "oom-killed", "b": None}


def test_a_new_start_of_the_worker_ends_its_events() -> None:
    s, e = node(), RuleEngine()
    run_for(e, s, 2)
    a = FakeRun(s, "a")
    run_for(e, s, 1)
    a.end("failed", 1, "ValueError: x")
    run_for(e, s, 5)
    assert only(e, "worker-crashed").open
    FakeRun(s, "b")
    run_for(e, s, 1)
    assert only(e, "worker-crashed").state == "closed"


def test_runs_that_ended_long_before_the_start_say_nothing() -> None:
    s = node()
    s.tick()
    old, yesterday = FakeRun(s, "old"), FakeRun(s, "yesterday")
    old.end("failed", 1, "x")
    s.tick(23 * 3600)
    yesterday.end("failed", 1, "x")
    s.tick(2 * 3600)
    e = RuleEngine()
    run_for(e, s, 2)
    a = only(e, "worker-crashed")
    assert (a.entity, a.severity, a.state) == ("yesterday", "info", "closed")


def test_a_run_that_failed_minutes_before_the_start_is_told() -> None:
    s = node()
    s.tick()
    run = FakeRun(s)
    run.end("failed", 1, "x")
    s.tick(600)
    e = RuleEngine()
    run_for(e, s, 2)
    a = only(e, "worker-crashed")
    assert (a.severity, a.state) == ("critical", "firing")


def test_thresholds_can_be_set_and_unknown_names_are_told() -> None:
    s = node()
    e = RuleEngine(thresholds={"psi-memory": {"some_pct": 50.0, "nonsense": 1.0}, "no-rule": {"x": 1.0}})
    pressed(s, 30)
    run_for(e, s, 20)
    assert e.alerts() == ()
    assert set(e.unknown_thresholds) == {"psi-memory.nonsense", "no-rule.x"}


def test_a_moment_before_the_last_starts_anew() -> None:
    s, e = node(), RuleEngine()
    pressed(s, 30)
    run_for(e, s, 10)
    s.mono_ns -= 3600 * 10**9
    s.wall_ns -= 3600 * 10**9
    pressed(s, 0)
    run_for(e, s, 2)
    assert e.alerts() == ()


def test_the_same_moment_is_judged_once() -> None:
    s, e = node(), RuleEngine()
    s.tick(1, [s.event("hung-task", "blocked")])
    e.tick(s)
    e.tick(s)
    assert only(e, "kernel-hung").count == 1


def test_alerts_are_never_changed_in_place() -> None:
    s, e = node(), RuleEngine()
    pressed(s, 30)
    run_for(e, s, 10)
    held = e.alerts()
    before = [asdict(a) for a in held]
    pressed(s, 90)
    run_for(e, s, 20)
    pressed(s, 0)
    run_for(e, s, 60)
    assert [asdict(a) for a in held] == before
    assert e.alerts() is not held


def story(lang: str = "en") -> list[dict[str, object]]:
    """A bad half hour, and every list of alerts it gave."""
    s, e = node(), RuleEngine(lang=lang)
    said: list[dict[str, object]] = []
    run = FakeRun(s)
    for i in range(200):
        s.set({
            "pressure.memory.some_avg10_pct": 30.0 if 20 < i < 60 else 0.0,
            "fs.avail_bytes{mount=/data}": 50e9 - i * 4e8 if i < 120 else 40e9,
            "memory.available_bytes": (60 if i < 100 else 5) * GIB,
        })  # fmt: skip
        s.tick(5.0, [s.event("io-error", "I/O error, dev sda", device="sda")] if i % 40 == 7 else ())
        if i < 80:
            run.steps(50, 5.0, loss=lambda n: 2.3 * 0.99**n + (9.0 if 2500 < n < 2600 else 0.1))
        elif i == 80:
            run.event("nonfinite", "loss is NaN", loss="nan", lr=1e-3, last_finite_loss=0.1)
            run.end("failed", 1, "NotFinite")
        e.tick(s)
        said += [asdict(a) for a in e.alerts()]
    assert said
    return said


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_same_input_gives_the_same_alerts(lang: str) -> None:
    assert story(lang) == story(lang)


class Broken(NodeRule):
    """Fails as programs do."""

    id: ClassVar[str] = "disk-util"
    problem: ClassVar[str] = "storage"
    kind: ClassVar[Literal["event", "state"]] = "state"

    def judge(self, w: Window) -> Outcome:
        raise ZeroDivisionError("oops")


class Sound(NodeRule):
    """Always alarmed."""

    id: ClassVar[str] = "cpu-steal"
    problem: ClassVar[str] = "compute"
    kind: ClassVar[Literal["event", "state"]] = "state"
    always: ClassVar[bool] = True

    def judge(self, w: Window) -> Outcome:
        details = Details([Ev("steal", 1.0)], {"steal": "1", "gain": "1"}, ["move"])
        return (Reading("node", WARNING, False, lambda: details),)


class Mute(Sound):
    """Its details lack the fields of its texts."""

    def judge(self, w: Window) -> Outcome:
        return (Occurrence("node", CRITICAL, 1, w.wall_ns, Details([], {}, ["move"])),)


def test_a_rule_that_fails_is_unknown_and_stops_no_other() -> None:
    s, e = node(), RuleEngine(rules=[Broken(), Sound()])
    run_for(e, s, 2)
    assert [a.rule for a in e.alerts()] == ["cpu-steal"]
    assert dict(e.not_checked())["disk-util"] == "a mended rule: ZeroDivisionError: oops"


def test_texts_that_do_not_fit_are_told_as_a_fault_of_the_rule() -> None:
    s, e = node(), RuleEngine(rules=[Mute()])
    run_for(e, s, 2)
    assert e.alerts() == () or all(a.title == "" for a in e.alerts())
    assert "mended rule" in dict(e.not_checked())["cpu-steal"]
