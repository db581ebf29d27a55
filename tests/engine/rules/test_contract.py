"""The rest of the contract of RULES 1.0: what happens to an incident whose circumstances change."""

from __future__ import annotations

from dataclasses import replace

from dctop.engine.rules.alert import Alert
from dctop.engine.rules.base import CRITICAL, INFO, WARNING, Details, NodeRule, Outcome, Reading
from dctop.engine.rules.engine import RuleEngine
from dctop.engine.rules.registry import make_rules
from dctop.engine.rules.suppress import CONVERGENCE, ROOTS, explains, roots_of
from dctop.engine.rules.window import Window
from tests.engine.rules.test_engine import node, only, pressed, run_for


class Scripted(NodeRule):
    """Says what the test sets, with the texts of a shipped rule."""

    kind = "state"
    source = "test"
    always = True
    level = 0
    clear = True

    def judge(self, w: Window) -> Outcome:
        facts = {"value": "50", "disk": "vda", "who": "x", "available": "1 GiB"}
        return (Reading("node", self.level, self.clear, lambda: Details([], facts)),)


class Cause(Scripted):
    """Stands for the cause."""

    id = "psi-io"
    problem = "storage"


class Effect(Scripted):
    """Stands for the symptom."""

    id = "iowait"
    problem = "compute"


def scripted() -> tuple[RuleEngine, Cause, Effect]:
    cause, effect = Cause(), Effect()
    return RuleEngine(rules=[cause, effect]), cause, effect


def test_an_alert_that_becomes_graver_asks_again() -> None:
    s, e = node(), RuleEngine()
    pressed(s, 30)
    run_for(e, s, 10)
    assert e.ack(only(e, "psi-memory").id)
    s.set({"pressure.memory.full_avg10_pct": 30.0})
    run_for(e, s, 10)
    a = only(e, "psi-memory")
    assert (a.severity, a.acked) == ("critical", False)


def test_an_alert_that_eases_stays_acknowledged() -> None:
    e, cause, _ = scripted()
    s = node()
    cause.level, cause.clear = CRITICAL, False
    run_for(e, s, 3)
    e.ack(only(e, "psi-io").id)
    cause.level = WARNING
    run_for(e, s, 40)
    assert (only(e, "psi-io").severity, only(e, "psi-io").acked) == ("warning", True)


def test_muting_holds_for_the_next_incident_at_the_same_place() -> None:
    s, e = node(), RuleEngine()
    pressed(s, 30)
    run_for(e, s, 10)
    e.mute(only(e, "psi-memory").id, s.wall_ns + 3600 * 10**9)
    pressed(s, 0)
    run_for(e, s, 720, 2.0)
    pressed(s, 30)
    run_for(e, s, 10)
    assert any(a.open for a in e.alerts())
    assert e.counts == (0, 0, 0)


def test_a_symptom_that_outlives_its_root_is_not_shouted_while_it_clears() -> None:
    e, cause, effect = scripted()
    s = node()
    cause.level = effect.level = WARNING
    cause.clear = effect.clear = False
    run_for(e, s, 40)
    assert only(e, "iowait").suppressed_by == "psi-io"
    assert e.counts == (0, 1, 0)
    cause.level, cause.clear = 0, True
    run_for(e, s, 35)
    assert only(e, "psi-io").state == "closed"
    assert only(e, "iowait").suppressed_by == "psi-io"
    assert e.counts == (0, 0, 0)
    run_for(e, s, 60)
    assert only(e, "iowait").suppressed_by is None, "it goes on without its root: an alert of its own"
    assert e.counts == (0, 1, 0)


def test_a_note_hides_no_alarm() -> None:
    e, cause, effect = scripted()
    s = node()
    cause.level, effect.level = INFO, WARNING
    cause.clear = effect.clear = False
    run_for(e, s, 3)
    assert only(e, "iowait").suppressed_by is None
    assert e.counts == (0, 1, 1)


def test_an_alert_is_open_for_at_least_half_a_minute() -> None:
    e, cause, _ = scripted()
    s = node()
    cause.level, cause.clear = WARNING, False
    run_for(e, s, 1)
    cause.level, cause.clear = 0, True
    opened = s.wall_ns
    while only(e, "psi-io").open:
        run_for(e, s, 1)
    assert s.wall_ns - opened >= 29 * 10**9


def test_between_its_thresholds_an_alert_neither_fires_nor_clears() -> None:
    e, cause, _ = scripted()
    s = node()
    cause.level, cause.clear = 0, False
    run_for(e, s, 60)
    assert e.alerts() == ()
    cause.level = WARNING
    run_for(e, s, 2)
    cause.level = 0
    run_for(e, s, 120)
    assert only(e, "psi-io").state == "firing"


def test_every_convergence_rule_is_a_symptom_of_a_loss_that_is_not_finite() -> None:
    own = {r.id for r in make_rules() if r.problem == "convergence"} - {"loss-nonfinite"}
    assert own <= set(CONVERGENCE)


def test_causes_form_no_circle() -> None:
    def causes(rule: str, seen: frozenset[str]) -> None:
        assert rule not in seen, seen
        for root in roots_of(rule):
            if not root.endswith("*") and root != rule:
                causes(root, seen | {rule})

    for _, symptoms in ROOTS:
        for s in symptoms:
            if not s.endswith("*"):
                causes(s, frozenset())


def test_an_alarm_is_explained_by_an_alarm() -> None:
    a = Alert(
        "psi-io", "node", "storage", "warning", "firing", 0, None, None, "", "", (), (), None, (), "state"
    )
    b = replace(a, rule="iowait", id=2)
    assert explains(a, b, ())
    assert not explains(replace(a, severity="info"), b, ())
    assert explains(replace(a, severity="info"), replace(b, severity="info"), ())
