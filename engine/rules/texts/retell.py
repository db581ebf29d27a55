"""An alert in another language than it was written in.

Recorded are its words, not what they were made of. But both catalogues have the same texts with the same
fields, so a recorded text is taken apart along the text it was made from and put together anew along its
counterpart. What does not fit any text (another version's, a user's message), or fits in two ways that say
different things, stays as it was recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from string import Formatter
from typing import NamedTuple

from dctop.engine.rules.alert import Alert, Evidence, Remedy
from dctop.engine.rules.base import num, size, span
from dctop.engine.rules.texts import LANGUAGES, RemedyText, RuleText, catalogue
from dctop.engine.rules.texts.own import WORDS as OWN

Fields = Mapping[str, str]
LONGEST = 4000
"""Characters: a longer text was not made by a rule."""
SURE = 12
"""Characters of a text that fit no other language by chance; its catalogue need not be looked at."""
_FORMATTER = Formatter()


class Pair(NamedTuple):
    """A text in the language it may be recorded in, and in the one asked for."""

    of: str
    to: str


# -- one text -------------------------------------------------------------------------------------------------


@lru_cache(4096)
def _parts(template: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """n + 1 pieces that are always said, and the n fields between them."""
    pieces, names = [""], []
    for literal, name, _, _ in _FORMATTER.parse(template):
        pieces[-1] += literal
        if name is not None:
            names.append(name)
            pieces.append("")
    return tuple(pieces), tuple(names)


def weight(template: str) -> int:
    """How much of it is always said."""
    return sum(map(len, _parts(template)[0]))


def take_apart(template: str, text: str) -> list[Fields]:
    """The fields of which `text` was made; none: it was not made from this template; two: it is not clear
    where a field ends, and these are the shortest and the longest beginnings."""
    pieces, names = _parts(template)
    first, last = pieces[0], pieces[-1]
    if not names:
        return [{}] if text == first else []
    if len(text) > LONGEST or not text.startswith(first) or not text.endswith(last):
        return []
    begin, end = len(first), len(text) - len(last)
    left, right = _leftmost(pieces, text, begin, end), _rightmost(pieces, text, begin, end)
    if left is None or right is None:
        return []
    found = [f for f in (_fields(names, left), _fields(names, right)) if f is not None]
    return found[:1] if len(found) == 2 and found[0] == found[1] else found


def _leftmost(pieces: Sequence[str], text: str, at: int, end: int) -> list[str] | None:
    values: list[str] = []
    for piece in pieces[1:-1]:
        found = text.find(piece, at, end)
        if found < 0:
            return None
        values.append(text[at:found])
        at = found + len(piece)
    return [*values, text[at:end]] if at <= end else None


def _rightmost(pieces: Sequence[str], text: str, begin: int, at: int) -> list[str] | None:
    values: list[str] = []
    for piece in reversed(pieces[1:-1]):
        found = text.rfind(piece, begin, at)
        if found < 0:
            return None
        values.append(text[found + len(piece) : at])
        at = found
    return [*values, text[begin:at]][::-1] if begin <= at else None


def _fields(names: Sequence[str], values: Sequence[str]) -> Fields | None:
    """None where a field that is said twice is not the same."""
    fields: dict[str, str] = {}
    for name, value in zip(names, values, strict=True):
        if fields.setdefault(name, value) != value:
            return None
    return fields


def _said(pair: Pair, text: str, known: Fields, facts: Collection[str]) -> tuple[str, Fields] | None:
    """`text` anew, and its fields where they are certain. Where one may end here or there, the other texts of
    the alert tell it (`known`), or what else was recorded of it (`facts`: numbers, names)."""
    found = take_apart(pair.of, text)
    if len(found) > 1:
        found = [f for f in found if all(known.get(k, v) == v for k, v in f.items())] or found
    if len(found) > 1:
        most = [sum(v in facts for v in f.values()) for f in found]
        found = [f for f, n in zip(found, most, strict=True) if n == max(most)]
    said = {pair.to.format_map(f) for f in found}
    if len(said) != 1:
        return None
    return said.pop(), found[0] if len(found) == 1 else {}


def _best(
    pairs: Iterable[Pair], text: str, known: Fields, facts: Collection[str]
) -> tuple[str, Fields] | None:
    """By the text that has most in common with it."""
    for pair in sorted(pairs, key=lambda p: -weight(p.of)):
        said = _said(pair, text, known, facts)
        if said is not None:
            return said
    return None


# -- an alert -------------------------------------------------------------------------------------------------


def _texts(lang: str, rule: str) -> RuleText:
    """A rule that is not in the catalogue is a user's own: his words stay, those around them do not."""
    known = catalogue(lang).rules.get(rule)
    if known is not None:
        return known
    w = OWN[lang]
    return RuleText("{title}", w["why"], {}, {}, "", "", variants={"why.held": w["why.held"]})


def _ways(text: RuleText) -> dict[str, tuple[str, str]]:
    """Variant -> (title, why)."""
    names = ["", *(key.partition(".")[2] for key in text.variants)]
    get = text.variants.get
    return {n: (get(f"title.{n}", text.title), get(f"why.{n}", text.why)) for n in names}


def _pairs(of: Mapping[str, str], to: Mapping[str, str]) -> list[Pair]:
    return [Pair(text, to[key]) for key, text in of.items() if key in to]


def _how_told(text: RuleText, alert: Alert) -> int:
    """How much of an alert's title and reason is what this language always says; -1: not told by it."""
    return max(
        (
            weight(title) + weight(why)
            for title, why in _ways(text).values()
            if take_apart(title, alert.title) and take_apart(why, alert.why)
        ),
        default=-1,
    )


def _from(alert: Alert, lang: str) -> str | None:
    """The language it is told in, if that is another one than `lang`."""
    own = _how_told(_texts(lang, alert.rule), alert)
    if own > SURE:
        return None
    others = [(_how_told(_texts(other, alert.rule), alert), other) for other in LANGUAGES if other != lang]
    most, other = max(others)
    return other if most > own else None


def _facts(alert: Alert) -> frozenset[str]:
    """What is recorded of it beside its words, as a text may say it."""
    facts = {alert.entity, str(alert.first_step)}
    for e in alert.evidence:
        facts.add(str(e.value))
        if isinstance(e.value, (int, float)) and abs(e.value) < 1e18:  # NaN is none
            facts |= {num(e.value), num(e.value, 9), size(e.value), span(e.value)}
    return frozenset(facts)


def retold(alert: Alert, lang: str) -> Alert:
    """The alert in `lang` (`en`, `zh`, a locale); itself where it is told in that already, or cannot be told
    anew."""
    lang = "zh" if lang.lower().startswith("zh") else "en"
    source = _from(alert, lang)
    if source is None:
        return alert
    of, to = _texts(source, alert.rule), _texts(lang, alert.rule)
    facts = _facts(alert)
    head = _head(of, to, alert, facts)
    if head is None:
        return alert
    title, why, known = head

    def anew(pairs: Iterable[Pair], text: str) -> str:
        said = _best(pairs, text, known, facts)
        return text if said is None else said[0]

    labels, excluded, costs = (
        _pairs(getattr(of, group), getattr(to, group)) for group in ("evidence", "ruled_out", "cost")
    )
    return replace(
        alert,
        title=title,
        why=why,
        evidence=tuple(
            Evidence(anew(labels, e.label), e.value, e.unit, e.threshold, e.series) for e in alert.evidence
        ),
        ruled_out=tuple(anew(excluded, text) for text in alert.ruled_out),
        cost=None if alert.cost is None else anew(costs, alert.cost),
        remedies=tuple(_remedy(r, of, to, known, facts) for r in alert.remedies),
        verdict=None if alert.verdict is None else _verdict(alert.verdict, source, lang),
    )


def _head(of: RuleText, to: RuleText, alert: Alert, facts: Collection[str]) -> tuple[str, str, Fields] | None:
    """Title and reason anew, said in the same way, and the fields they are certain of."""
    ways, anew = _ways(of), _ways(to)
    for name, (t, w) in sorted(ways.items(), key=lambda way: -sum(map(weight, way[1]))):
        a, b = _certain(t, alert.title), _certain(w, alert.why)
        if name in anew and all(a.get(k, v) == v for k, v in b.items()):
            first = _said(Pair(t, anew[name][0]), alert.title, b, facts)
            second = _said(Pair(w, anew[name][1]), alert.why, a, facts)
            if first is not None and second is not None:
                return first[0], second[0], {**first[1], **second[1]}
    return None


def _certain(template: str, text: str) -> Fields:
    found = take_apart(template, text)
    return found[0] if len(found) == 1 else {}


def _remedy(r: Remedy, of: RuleText, to: RuleText, known: Fields, facts: Collection[str]) -> Remedy:
    keys = sorted(of.remedies, key=lambda k: -weight(of.remedies[k].text))
    if r.key is not None and r.key in of.remedies:
        keys = [r.key]
    for key in keys:
        if key in to.remedies and (made := _parts_of(r, of.remedies[key], to.remedies[key], known, facts)):
            return made
    return r


def _parts_of(
    r: Remedy, of: RemedyText, to: RemedyText, known: Fields, facts: Collection[str]
) -> Remedy | None:
    """All four parts anew, or none of them."""
    said: dict[str, str | None] = {}
    for name in ("text", "quantity", "effect", "command"):
        recorded, before, after = getattr(r, name), getattr(of, name), getattr(to, name)
        if (recorded is None) != (before is None):
            return None
        if recorded is None:
            said[name] = None
            continue
        anew = _said(Pair(before, after), recorded, known, facts)
        if anew is None:
            return None
        said[name], known = anew[0], {**anew[1], **known}
    return Remedy(said["text"] or "", said["quantity"], said["effect"], said["command"], r.key)


def _verdict(text: str, source: str, lang: str) -> str:
    of, to = catalogue(source).words, catalogue(lang).words
    named = {of[key]: to[key] for key in of if key.startswith("field.")}
    for key in sorted((k for k in of if k.startswith("verdict.")), key=lambda k: -weight(of[k])):
        found = take_apart(of[key], text)
        if len(found) == 1:
            fields = dict(found[0])
            if "what" in fields:
                fields["what"] = named.get(fields["what"], fields["what"])
            return to[key].format_map(fields)
    return text


class Teller:
    """Retells alerts that are looked at again and again."""

    MOST = 2048

    def __init__(self, lang: str) -> None:
        self.lang = lang
        self._told: dict[int, tuple[Alert, Alert]] = {}

    def alert(self, alert: Alert) -> Alert:
        """The same object for the same object."""
        known = self._told.get(id(alert))
        if known is None or known[0] is not alert:
            if len(self._told) >= self.MOST:
                self._told.clear()
            known = self._told[id(alert)] = (alert, retold(alert, self.lang))
        return known[1]
