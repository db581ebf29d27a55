"""Rules of the user's: judged, held, cleared and explained as shipped ones are."""

from __future__ import annotations

import pytest

from dctop.engine.rules.engine import RuleEngine
from dctop.engine.rules.own import OwnError, OwnRule, build, make_own
from dctop.engine.rules.registry import make_rules
from dctop.engine.rules.texts import LANGUAGES, text_of
from dctop.tui.commands.rules import as_json, explained, listed
from tests.engine.rules.test_engine import node, only, run_for
from tests.fakes.source import FakeRun, FakeSource

IDLE = {
    "when": 'gpu.util_pct < 30 for 10s while train.mode == "train"',
    "clear": "gpu.util_pct > 40",
    "severity": "critical",
    "message": "GPU {gpu} does {value} while {train} trains",
    "remedy": "look at the loader of {entity}",
}


def gpus(**util: float) -> dict[str, float]:
    return {f"gpu.util_pct{{gpu={name}}}": v for name, v in util.items()}


def judged(table: dict[str, str], **more: object) -> tuple[FakeSource, RuleEngine]:
    s = node()
    return s, RuleEngine(own={"mine": table})


def test_a_rule_of_ones_own_holds_fires_and_clears_for_each_gpu() -> None:
    s, e = judged(IDLE)
    s.set(gpus(A=20, B=90))
    run = FakeRun(s)
    run_for(e, s, 5)
    assert not [a for a in e.alerts() if a.rule == "mine"]
    assert e.problem_status()["utilisation"] in ("suspect", "firing")
    run_for(e, s, 10)
    a = only(e, "mine")
    assert (a.entity, a.severity, a.problem, a.kind) == ("A", "critical", "utilisation", "state")
    assert a.title == "GPU A does 20 % while {train} trains"
    assert a.evidence[0].threshold == "< 30 %"
    assert a.evidence[0].series == "gpu.util_pct{gpu=A}"
    assert a.remedies[0].text == "look at the loader of A"
    assert "your rule says" in a.why
    s.set(gpus(A=35))
    run_for(e, s, 60)
    assert only(e, "mine").state == "firing", "between when and clear"
    s.set(gpus(A=50))
    run_for(e, s, 35)
    assert only(e, "mine").state == "closed"
    run.end()


def test_outside_while_it_is_well() -> None:
    s, e = judged(IDLE)
    s.set(gpus(A=20))
    run = FakeRun(s)
    run_for(e, s, 15)
    run.mode("eval")
    run_for(e, s, 40)
    assert only(e, "mine").state == "closed"


def test_what_is_missing_makes_it_unknown_and_is_named() -> None:
    s, e = judged(IDLE)
    run_for(e, s, 3)
    assert dict(e.not_checked())["mine"] == "the metric gpu.util_pct"
    s.set(gpus(A=20))
    run_for(e, s, 3)
    assert dict(e.not_checked())["mine"] == "the metric train.mode"
    FakeRun(s)
    run_for(e, s, 3)
    assert "mine" not in dict(e.not_checked())


def test_a_stale_probe_makes_it_unknown_and_its_alert_stays() -> None:
    s, e = judged({"when": "memory.available_bytes < 70GB"})
    s.set({"memory.available_bytes": 10**9})
    run_for(e, s, 3)
    s.stale.add("memory")
    run_for(e, s, 60)
    assert only(e, "mine").state == "firing"
    assert "mine" in dict(e.not_checked())


def test_rates_any_and_arithmetic() -> None:
    s, e = judged({"when": "rate(disk.write_bytes) > 100MB and any fs.used_bytes > 1GB"})
    s.rate({"disk.write_bytes{disk=sda}": 2e8, "disk.write_bytes{disk=sdb}": 1e6})
    run_for(e, s, 3)
    a = only(e, "mine")
    assert a.entity == "sda"
    assert a.evidence[0].threshold == "> 100MB"
    assert str(a.evidence[1].value).endswith("(1)")


def test_a_rule_about_the_run_belongs_to_the_run() -> None:
    s, e = judged({"when": "train.loss > 0.1", "message": "{entity}: loss {value}"})
    run = FakeRun(s)
    run.steps(3, loss=2.5)
    run_for(e, s, 2)
    assert (only(e, "mine").entity, only(e, "mine").problem) == (run.id, "framework")
    assert only(e, "mine").title == f"{run.id}: loss 2.5"


def test_messages_are_no_programs() -> None:
    s, e = judged({"when": "cpu.count > 0", "message": "{value.__class__} {0[1]} {nothing} {{}}"})
    s.set({"cpu.count": 4})
    run_for(e, s, 2)
    assert only(e, "mine").title == "{value.__class__} {0[1]} {nothing} {}"


@pytest.mark.parametrize(
    ("name", "table", "key", "message"),
    [
        ("mine", {"when": "cpu.utl_pct > 3"}, "when",
         "column 1: no metric cpu.utl_pct: did you mean cpu.util_pct?"),
        ("mine", {"when": "cpu.count > 3", "severity": "warn"}, "severity",
         '"warn" is no severity: did you mean warning?'),
        ("mine", {"when": "cpu.count > 3", "problem": "ooom"}, "problem",
         '"ooom" is no problem: did you mean oom?'),
        ("mine", {"when": "cpu.count > 3", "clear": "cpu.count < 3 for 3s"}, "clear",
         "clear is a condition alone, without for and while"),
        ("mine", {"when": "cpu.count > 3", "clear": "gpu.util_pct < 3"}, "clear",
         "clear asks of every gpu, when does not"),
        ("mine", {"when": "cpu.count > 3", "message": "{"}, "message",
         "Single '{' encountered in format string: write {{ for a brace"),
        ("mine", {"when": 3}, "when", 'when is a text: write when = "..."'),
        ("Mine!", {"when": "cpu.count > 3"}, "",
         '"Mine!" is no rule name: use small letters, digits and - (gpu-idle)'),
    ],
)  # fmt: skip
def test_mistakes_tell_key_and_remedy(name: str, table: dict[str, object], key: str, message: str) -> None:
    with pytest.raises(OwnError) as e:
        build(name, table)
    assert (e.value.key, str(e.value)) == (key, message)
    assert make_own({name: table}) == []


@pytest.mark.parametrize("lang", LANGUAGES)
def test_own_rules_are_listed_and_explained(lang: str) -> None:
    rules = make_rules({}, {"mine": IDLE})
    mine = rules[-1]
    assert isinstance(mine, OwnRule)
    assert "mine" in listed(rules, lang)
    out = explained(mine, lang)
    assert IDLE["when"] in out and IDLE["clear"] in out and "dctop.toml" in out
    assert as_json(mine, lang)["severities"] == ["critical"]
    assert "{" not in text_of(lang, mine).condition


def test_a_shipped_rules_name_cannot_be_taken() -> None:
    ids = [r.id for r in make_rules({}, {"disk-fill": {"when": "cpu.count > 0"}})]
    assert ids.count("disk-fill") == 1
