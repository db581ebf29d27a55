"""Recorded alerts in another language: said exactly as they would have been said in it, or left alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from string import Formatter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.engine.rules.alert import Alert, Evidence, Remedy
from dctop.engine.rules.base import Details, Ev
from dctop.engine.rules.own import build
from dctop.engine.rules.registry import make_rules
from dctop.engine.rules.texts import LANGUAGES, catalogue, templates, words
from dctop.engine.rules.texts.retell import Teller, retold, take_apart

RULES = {r.id: r for r in make_rules()}
BOTH = [("en", "zh"), ("zh", "en")]


def alert(rule: object, lang: str, d: Details, **changes: object) -> Alert:
    w = words(lang, rule, d)  # type: ignore[arg-type]
    made = Alert(
        rule=rule.id, entity="run-1", problem="storage", severity="warning", state="firing",  # type: ignore[attr-defined]
        opened_wall_ns=0, closed_wall_ns=None, first_step=None, title=w.title, why=w.why,
        evidence=w.evidence, ruled_out=w.ruled_out, cost=w.cost, remedies=w.remedies, kind="state",
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def every_word(rule: str) -> list[Details]:
    """All that a rule may say: each variant with each cost, everything else at once."""
    text = catalogue("en").rules[rule]
    names = {
        name for _, template in templates(text) for _, name, _, _ in Formatter().parse(template or "") if name
    }
    facts = {name: f"{n}.5 GiB" if n % 2 else f"/x-{n}" for n, name in enumerate(sorted(names))}
    variants: list[str | None] = [None, *sorted({key.partition(".")[2] for key in text.variants})]
    costs: list[str | None] = [None, *text.cost]
    return [
        Details([Ev(key, 1.5) for key in text.evidence], facts, list(text.remedies), tuple(text.ruled_out),
                cost, variant)
        for variant in variants for cost in costs
    ]  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("recorded", "asked"), BOTH)
def test_whatever_a_rule_says_it_says_in_the_other_language(rule: str, recorded: str, asked: str) -> None:
    for d in every_word(rule):
        there, here = alert(RULES[rule], recorded, d), alert(RULES[rule], asked, d)
        assert retold(there, asked) == here
        assert retold(there, recorded) is there
    # Files of format 1.0 do not say which remedy it was.
    unnamed = replace(there, remedies=tuple(replace(r, key=None) for r in there.remedies))
    assert [r.text for r in retold(unnamed, asked).remedies] == [r.text for r in here.remedies]


def disk_fill(lang: str, **facts: object) -> Alert:
    evidence = [Ev("left", 1.5, "%", "< 2 %", "fs.used_pct{mount=/data}"), Ev("type", "ext4")]
    known: dict[str, object] = {"mount": "/data", "left": "1.5", "avail": "954 MiB", "rate": "2 GiB/h",
                                "when": "30 min"}  # fmt: skip
    d = Details(evidence, known | facts, [("keep", {"keep": 3}), "delete"], (), "when")
    return alert(RULES["disk-fill"], lang, d)


def test_numbers_and_series_stay_and_a_locale_is_a_language() -> None:
    told = retold(disk_fill("en"), "zh_CN.UTF-8")
    assert told == disk_fill("zh")
    assert told.evidence[0] == Evidence("剩余", 1.5, "%", "< 2 %", "fs.used_pct{mount=/data}")


def test_words_of_a_text_within_a_field_are_no_obstacle() -> None:
    name = "/data is filling: x % left (y)"
    assert retold(disk_fill("en", mount=name), "zh") == disk_fill("zh", mount=name)


def test_where_a_field_ends_the_numbers_tell() -> None:
    facts = {"run": "run-1", "step": "50", "code": "1", "said": "ValueError: bad: worse"}
    names = {n for _, t in templates(catalogue("en").rules["worker-crashed"]) if t
             for _, n, _, _ in Formatter().parse(t) if n}  # fmt: skip
    d = Details([Ev("said", facts["said"])], {**dict.fromkeys(names, "?"), **facts})
    there = alert(RULES["worker-crashed"], "en", d)
    assert len(take_apart(catalogue("en").rules["worker-crashed"].title, there.title)) == 2
    assert retold(there, "zh") == alert(RULES["worker-crashed"], "zh", d)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1, 0.0, 1e300, 10**400, None, ""])
def test_any_number_may_stand_in_the_evidence(value: float | str | None) -> None:
    def told(lang: str) -> Alert:
        return replace(disk_fill(lang), evidence=(Evidence({"en": "Left", "zh": "剩余"}[lang], value),))

    assert repr(retold(told("en"), "zh")) == repr(told("zh"))


@pytest.mark.parametrize(
    "changes",
    [
        {"rule": "rule-of-tomorrow"},
        {"title": "/data: something an older version said"},
        {"why": "x" * 5000},
        {"title": ""},
    ],
)
def test_what_is_not_known_stays_as_it_was_recorded(changes: Mapping[str, str]) -> None:
    there = replace(disk_fill("en"), **changes)  # type: ignore[arg-type]
    assert retold(there, "zh") is there


def test_a_single_text_that_does_not_fit_stays_alone() -> None:
    there = disk_fill("en")
    odd = Remedy("Ask the one who knows", None, None, None, "keep")
    told = retold(replace(there, cost="Dear.", remedies=(odd, there.remedies[1])), "zh")
    here = disk_fill("zh")
    assert (told.title, told.why) == (here.title, here.why)
    assert told.cost == "Dear." and told.remedies == (odd, here.remedies[1])


@pytest.mark.parametrize(("recorded", "asked"), BOTH)
def test_of_a_user_s_own_rule_his_words_stay_and_those_around_them_do_not(recorded: str, asked: str) -> None:
    rule = build("mine", {"when": "cpu.util_pct > 5 for 60s", "message": "busy: {value}", "remedy": "wait"})
    facts = {"metric": "cpu.util_pct", "value": "7 %", "when": "cpu.util_pct > 5 for 60s", "for": "60 s",
             "message": "busy: 7 %", "remedy": "wait", "m1": "cpu.util_pct", "id": "mine"}  # fmt: skip
    d = Details([Ev("m1", 7.0, "%")], facts, ["own"], (), None, "own.held")
    there, here = alert(rule, recorded, d), alert(rule, asked, d)
    assert there.why != here.why and retold(there, asked) == here


@pytest.mark.parametrize(("recorded", "asked"), BOTH)
def test_what_came_of_a_remedy_is_told_too(recorded: str, asked: str) -> None:
    def verdict(lang: str, key: str) -> str:
        w = catalogue(lang).words
        return w[key].format(what=w["field.step_s"], predicted="41 ms", observed="43 ms", off="+5", run="r2",
                             change="workers 0 -> 4", step="120", before="70")  # fmt: skip

    there, here = disk_fill(recorded), disk_fill(asked)
    for key in ("verdict.met", "verdict.missed", "verdict.survived", "verdict.fell"):
        told = retold(replace(there, verdict=verdict(recorded, key)), asked)
        assert told == replace(here, verdict=verdict(asked, key))
    assert retold(replace(there, verdict="It helped."), asked).verdict == "It helped."


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text("ab :", max_size=3), min_size=2, max_size=4),
    st.lists(st.text("ab :", max_size=4), min_size=3, max_size=3),
)
def test_fields_are_taken_from_where_they_were_put(pieces: list[str], values: list[str]) -> None:
    template = pieces[0] + "".join(f"{{f{n}}}{piece}" for n, piece in enumerate(pieces[1:]))
    fields = {f"f{n}": value for n, value in enumerate(values)}
    text = template.format_map(fields)
    found = take_apart(template, text)
    assert found and all(template.format_map(f) == text for f in found)
    if len(found) == 1:
        assert found[0].items() <= fields.items()


def test_a_field_that_is_said_twice_is_the_same_twice() -> None:
    assert take_apart("{a} and {a}", "x and x") == [{"a": "x"}]
    assert take_apart("{a} and {a}", "x and y") == []
    assert take_apart("plain", "plain") == [{}] and take_apart("plain", "other") == []


@pytest.mark.parametrize("lang", LANGUAGES)
def test_an_alert_looked_at_again_is_the_same_object(lang: str) -> None:
    teller, there = Teller(lang), disk_fill("en")
    assert teller.alert(there) is teller.alert(there)
    other = disk_fill("en", mount="/home")
    assert teller.alert(other) == disk_fill(lang, mount="/home")
