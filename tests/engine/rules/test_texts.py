"""Both languages say the same things about the same rules, with the same fields."""

from __future__ import annotations

import pytest

from dctop.engine.rules.base import num
from dctop.engine.rules.registry import make_rules
from dctop.engine.rules.texts import LANGUAGES, catalogue, fields, templates, with_thresholds

RULES = make_rules()
IDS = [r.id for r in RULES]


def test_ids_are_unique() -> None:
    assert len(set(IDS)) == len(IDS)


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_rule_has_texts_and_no_text_lacks_a_rule(lang: str) -> None:
    assert set(catalogue(lang).rules) == set(IDS)


@pytest.mark.parametrize("rule", IDS)
def test_languages_have_the_same_keys_and_fields(rule: str) -> None:
    en, zh = (dict(templates(catalogue(lang).rules[rule])) for lang in ("en", "zh"))
    assert en.keys() == zh.keys()
    for path, text in en.items():
        assert (text is None) == (zh[path] is None), path
        assert fields(text) == fields(zh[path]), path


@pytest.mark.parametrize("group", ["needs", "words", "report"])
def test_needs_words_and_report_are_the_same_in_both(group: str) -> None:
    en, zh = (getattr(catalogue(lang), group) for lang in ("en", "zh"))
    assert en.keys() == zh.keys()
    for key in en:
        assert fields(en[key]) == fields(zh[key]), key


@pytest.mark.parametrize("lang", LANGUAGES)
@pytest.mark.parametrize("rule", RULES, ids=IDS)
def test_conditions_name_only_thresholds_that_exist(rule: object, lang: str) -> None:
    text = catalogue(lang).rules[rule.id].condition  # type: ignore[attr-defined]
    assert "{" not in with_thresholds(text, rule.t)  # type: ignore[attr-defined]


@pytest.mark.parametrize("rule", RULES, ids=IDS)
def test_every_rule_tells_its_source_and_severity(rule: object) -> None:
    assert rule.source  # type: ignore[attr-defined]
    assert rule.__doc__  # type: ignore[attr-defined]
    assert set(rule.severities) <= set("iwc")  # type: ignore[attr-defined]


def test_locales_choose_the_language() -> None:
    assert (
        catalogue("zh_CN.UTF-8") is catalogue("zh") or catalogue("zh_CN.UTF-8").rules == catalogue("zh").rules
    )
    assert catalogue("de").rules == catalogue("en").rules


def test_a_number_nobody_counts_is_written_with_an_exponent() -> None:
    assert [num(x) for x in (0.0123, 12345.6, 9.9e14, 5.357e37, float("inf"))] == [
        "0.0123", "12,346", "990,000,000,000,000", "5.36e+37", "inf",
    ]  # fmt: skip
