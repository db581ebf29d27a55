"""After a remedy: predicted beside observed, told by the run that follows; nothing where nothing changed."""

from __future__ import annotations

from dctop.tui.commands.check import Verdict, as_json, report
from dctop.tui.panes.alert_detail import AlertDetailPane, as_text
from tests.engine.rules.scene import Scene
from tests.fakes.screen import FakeSource as Drawn
from tests.fakes.screen import Node, as_lines, view_of
from tests.fakes.source import FakeRun


def starved(s: Scene) -> None:
    """A run without loaders that waits 20 of 30 ms: the rule predicts 10 ms with four."""
    run = s.run(workers=0)
    s.train(run, 1200, step_s=0.03, data_s=0.02)
    assert s.alert("input-bound").remedies[0].effect == "step 30 -> 10 ms"
    run.end()
    s.go(40)


def follow(s: Scene, step_s: float, **config: object) -> FakeRun:
    run = FakeRun(s.source, "run-2", **config)
    s.train(run, 200, step_s=step_s, data_s=0.0003)
    return run


def test_a_prediction_that_came_true_is_told_with_both_numbers() -> None:
    s = Scene()
    starved(s)
    follow(s, 0.0108, workers=4)
    a = s.alert("input-bound")
    assert a.verdict == (
        "Applied (workers 0 -> 4): step predicted 10 ms, observed 10.8 ms (+8 %) in run-2: met."
    )
    chinese = next(x for x in s.chinese.alerts() if x.rule == "input-bound")
    assert chinese.verdict is not None and "实测 10.8 ms" in chinese.verdict


def test_a_prediction_that_did_not_is_told_as_well() -> None:
    s = Scene()
    starved(s)
    follow(s, 0.025, workers=4)
    assert str(s.alert("input-bound").verdict).endswith("(+150 %) in run-2: not met.")


def test_the_same_configuration_again_is_no_remedy() -> None:
    s = Scene()
    starved(s)
    follow(s, 0.01, workers=0)
    assert s.alert("input-bound").verdict is None


def test_it_waits_for_enough_steps() -> None:
    s = Scene()
    starved(s)
    run = FakeRun(s.source, "run-2", workers=4)
    s.train(run, 20, step_s=0.01)
    assert s.alert("input-bound").verdict is None
    s.train(run, 100, step_s=0.01)
    assert s.alert("input-bound").verdict is not None


def fallen(s: Scene) -> None:
    run = s.run(lr=0.1)
    s.train(run, 200)
    run.event("nonfinite", "loss is NaN", 200, loss="nan", lr=0.1, last_finite_loss=0.4, last_finite_step=199)
    s.go()
    run.end("failed", 1, "loss is not finite")
    s.go(3)


def test_a_successor_that_gets_past_the_fall_is_a_verdict() -> None:
    s = Scene()
    fallen(s)
    run = FakeRun(s.source, "run-2", lr=0.01)
    s.train(run, 150)
    assert s.alert("loss-nonfinite").verdict is None
    s.train(run, 150)
    said = str(s.alert("loss-nonfinite").verdict)
    assert said.startswith("Applied (lr 0.1 -> 0.01): run-2 is past step")
    assert said.endswith("the one before fell at step 200.")


def test_a_successor_that_falls_as_well_is_one_too() -> None:
    s = Scene()
    fallen(s)
    run = FakeRun(s.source, "run-2", lr=0.01)
    s.train(run, 100)
    run.end("failed", 1, "loss is not finite")
    s.go(3)
    assert (
        str(s.alert("loss-nonfinite").verdict) == "Applied (lr 0.1 -> 0.01): run-2 ended at step 120 as well."
    )


def test_it_is_shown_printed_and_written() -> None:
    s = Scene()
    starved(s)
    follow(s, 0.0108, workers=4)
    a = s.alert("input-bound")
    node = Node()
    lines = as_lines(AlertDetailPane().body(view_of(Drawn(node.run(9), node.history, (), [a])), 90, 40))
    assert any(line.startswith("VERDICT    Applied (workers 0 -> 4)") for line in lines)
    assert "verdict: Applied" in as_text(a)
    v = Verdict("x", 0, 1, [a], ())
    assert "verdict: Applied" in report(v, "en")
    findings = as_json(v)["findings"]
    assert isinstance(findings, list) and findings[0]["verdict"] == a.verdict
