"""The texts' form and how an alert gets its words. One catalogue a language: en.py, zh.py; one file
a rule family in each (en_memory.py ...).

A text is a format string; its fields are `Details.facts` and, for remedies, what the rule computed. Both
catalogues must have the same rules, the same keys and the same fields (a test holds them to it).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from string import Formatter

from dctop.engine.rules.alert import Evidence, Remedy
from dctop.engine.rules.base import Details, Needs, Rule

LANGUAGES = ("en", "zh")


@dataclass(frozen=True, slots=True)
class RemedyText:
    """What to do, the computed quantity, the predicted effect, a command to copy."""

    text: str
    quantity: str | None = None
    effect: str | None = None
    command: str | None = None


@dataclass(frozen=True, slots=True)
class RuleText:
    """Everything a rule says in one language. `condition` and `traps` explain it in `dctop rules`."""

    title: str
    why: str
    evidence: Mapping[str, str]
    remedies: Mapping[str, RemedyText]
    condition: str
    traps: str
    ruled_out: Mapping[str, str] = field(default_factory=dict)
    cost: Mapping[str, str] = field(default_factory=dict)
    variants: Mapping[str, str] = field(default_factory=dict)
    """Other titles and reasons: `title.NAME`, `why.NAME`."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One language."""

    lang: str
    rules: Mapping[str, RuleText]
    needs: Mapping[str, str]
    words: Mapping[str, str]
    """Words the commands print around the texts."""

    @property
    def report(self) -> Mapping[str, str]:
        """What a report says of its own (`engine.report`); nobody else reads it."""
        found: Mapping[str, str] = import_module(f"{__name__}.{self.lang}_report").REPORT
        return found


@dataclass(frozen=True, slots=True)
class Words:
    """An alert's texts."""

    title: str
    why: str
    evidence: tuple[Evidence, ...]
    remedies: tuple[Remedy, ...]
    ruled_out: tuple[str, ...]
    cost: str | None


FAMILIES = (
    "memory", "gpu_memory", "utilisation", "gpu_use", "ranks", "compute", "gpu", "convergence", "health", "layers",
    "learning", "evals", "inference", "serving", "storage", "network", "energy", "anomaly",
)  # fmt: skip
"""A file each, in every language, in the order of the handbook."""
OF_THE_NODE = ("storage", "memory", "network", "anomaly", "compute", "health", "utilisation", "gpu")
"""Families that have rules about the node: a rule's texts are looked for in them first."""
_SEARCHED = tuple(dict.fromkeys(OF_THE_NODE + FAMILIES))


class Texts(Mapping[str, RuleText]):
    """The texts of a language. A family is imported when a rule is asked for that no family before it has: where
    nothing happens, none is (0.3 MB)."""

    def __init__(self, lang: str) -> None:
        self._lang = lang

    def _family(self, name: str) -> Mapping[str, RuleText]:
        found: Mapping[str, RuleText] = import_module(f"{__name__}.{self._lang}_{name}").RULES
        return found

    def __getitem__(self, rule: str) -> RuleText:
        for name in _SEARCHED:
            family = self._family(name)
            if rule in family:
                return family[rule]
        raise KeyError(rule)

    def __iter__(self) -> Iterator[str]:
        for name in FAMILIES:
            yield from self._family(name)

    def __len__(self) -> int:
        return sum(len(self._family(name)) for name in FAMILIES)


@cache
def catalogue(lang: str) -> Catalogue:
    """`en` or `zh` (also `zh_CN.UTF-8` and the like); anything else: English."""
    if lang.lower().startswith("zh"):
        from dctop.engine.rules.texts.zh import CATALOGUE
    else:
        from dctop.engine.rules.texts.en import CATALOGUE
    return CATALOGUE


def text_of(lang: str, rule: Rule) -> RuleText:
    """A rule's texts: the catalogue's, or what the rule itself brings (a user's own)."""
    return rule.text(lang) or catalogue(lang).rules[rule.id]


def words(lang: str, rule: Rule, d: Details) -> Words:
    """Raises KeyError where the rule's details lack a field or key of its texts: a fault of the rule."""
    text = text_of(lang, rule)
    facts = d.facts
    remedies = []
    for item in d.remedies:
        key, more = (item, facts) if isinstance(item, str) else (item[0], {**facts, **item[1]})
        remedies.append(_remedy(key, text.remedies[key], more))
    return Words(
        title=text.variants.get(f"title.{d.variant}", text.title).format_map(facts),
        why=text.variants.get(f"why.{d.variant}", text.why).format_map(facts),
        evidence=tuple(
            Evidence(text.evidence[e.label].format_map(facts), e.value, e.unit, e.threshold, e.series)
            for e in d.evidence
            if e.value is not None
        ),
        remedies=tuple(remedies),
        ruled_out=tuple(text.ruled_out[key].format_map(facts) for key in d.ruled_out),
        cost=None if d.cost is None else text.cost[d.cost].format_map(facts),
    )


def _remedy(key: str, text: RemedyText, fields: Mapping[str, object]) -> Remedy:
    def fill(template: str | None) -> str | None:
        return None if template is None else template.format_map(fields)

    said = text.text.format_map(fields)
    return Remedy(said, fill(text.quantity), fill(text.effect), fill(text.command), key)


def needs(lang: str, n: Needs) -> str:
    return catalogue(lang).needs[n.key].format(arg=n.arg)


_FORMATTER = Formatter()


def fields(template: str | None) -> frozenset[str]:
    """Names of the fields in a format string."""
    if template is None:
        return frozenset()
    return frozenset(name for _, name, _, _ in _FORMATTER.parse(template) if name)


def templates(text: RuleText) -> Iterator[tuple[str, str | None]]:
    """(path, format string) of everything in a rule's texts that has fields."""
    yield "title", text.title
    yield "why", text.why
    for group in ("evidence", "ruled_out", "cost", "variants"):
        for key, template in getattr(text, group).items():
            yield f"{group}.{key}", template
    for key, r in text.remedies.items():
        for part in ("text", "quantity", "effect", "command"):
            yield f"remedies.{key}.{part}", getattr(r, part)


_THRESHOLD = re.compile(r"\{(\w+)\}")


def with_thresholds(template: str, thresholds: Mapping[str, float]) -> str:
    """`condition` texts carry `{warn_pct}`: filled with the thresholds in force."""
    return _THRESHOLD.sub(lambda m: f"{thresholds[m[1]]:g}" if m[1] in thresholds else m[0], template)
