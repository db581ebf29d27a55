"""The language of own rules: `gpu.util_pct < 30 for 60s while train.mode == "train"`.

    condition [for DURATION] [while condition]
    condition:   comparison, joined by and, or, not, ( )
    comparison:  [any | all] value (< <= > >= == !=) value
    value:       metric, metric{label=pattern}, rate(counter), number with unit, "text", + - * / ( )

Metrics are the catalogue's ids and `train.` fields of the newest active run. A labelled metric (a GPU, a
disk) is asked of each instance on its own; `any` and `all` ask it of all of them at once. What is missing
makes the answer unknown, as in SQL: unknown and false is false, unknown or true is true.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Protocol

from dctop.engine.metrics.derived import CATALOGUE, COUNTERS
from dctop.engine.training.runstate import STEP_FIELDS
from dctop.probes.base import Value

Labels = Mapping[str, str]
_TEXT_FIELDS = ("mode", "status", "workload", "device")
TRAIN = tuple(
    f"train.{name}" for name in dict.fromkeys((*_TEXT_FIELDS, "samples_per_s", "eta_s", *STEP_FIELDS))
)
"""What can be asked of a run."""
LONGEST = 2000
"""Characters of an expression."""
DEEPEST = 40
MAX_FOR_S = 86_400.0


class ExpressionError(Exception):
    """One line: what is wrong and what to do. `column` counts from 1."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"column {column}: {message}")
        self.column = column


class Env(Protocol):
    """What an expression is asked of."""

    def value(self, metric: str, labels: Labels) -> Value:
        """The series now; None if missing."""

    def instances(self, metric: str) -> Sequence[Labels]:
        """Labels of the metric's series now."""


# -- what an expression is made of -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    value: float
    kind: str = ""
    """`%`, `bytes`, `s` or nothing: of its suffix."""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    value: str


@dataclass(frozen=True, slots=True)
class Metric:
    id: str
    chosen: tuple[tuple[str, str], ...] = ()
    """(label, pattern)"""
    column: int = 1

    @property
    def label_names(self) -> tuple[str, ...]:
        found = CATALOGUE.get(self.id)
        return () if found is None else found.labels

    @property
    def is_text(self) -> bool:
        found = CATALOGUE.get(self.id)
        return self.id.removeprefix("train.") in _TEXT_FIELDS if found is None else found.kind == "info"

    def __str__(self) -> str:
        inner = ",".join(f"{k}={v}" for k, v in self.chosen)
        return f"{self.id}{{{inner}}}" if inner else self.id


@dataclass(frozen=True, slots=True)
class Arithmetic:
    sign: str
    left: Term
    right: Term


Term = Number | Text | Metric | Arithmetic


@dataclass(frozen=True, slots=True)
class Comparison:
    left: Term
    sign: str
    right: Term
    over: str = ""
    """`any` or `all`: of all instances at once."""


@dataclass(frozen=True, slots=True)
class Logic:
    sign: str
    """and | or | not"""
    parts: tuple[Condition, ...]


Condition = Comparison | Logic


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed rule. `by`: the label whose instances are asked one by one; None: the node (or the run)."""

    text: str
    condition: Condition
    hold_s: float = 0.0
    only_while: Condition | None = None
    by: str | None = None
    metrics: tuple[Metric, ...] = field(default_factory=tuple)

    @property
    def of_run(self) -> bool:
        return any(m.id.startswith("train.") for m in self.metrics)


# -- words ------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""\s*(?:(?P<number>\d+(?:_\d+)*(?:\.\d+)?(?:[eE][+-]?\d+)?)(?P<unit>\s*%|[A-Za-zµ]+)?
    |(?P<text>"[^"]*"|'[^']*')
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)
    |(?P<sign><=|>=|==|!=|[<>+\-*/(){},=]))""",
    re.VERBOSE,
)
_UNITS: Mapping[str, tuple[float, str]] = {
    "%": (1.0, "%"), "us": (1e-6, "s"), "µs": (1e-6, "s"), "ms": (1e-3, "s"), "s": (1.0, "s"),
    "min": (60.0, "s"), "m": (60.0, "s"), "h": (3600.0, "s"), "d": (86_400.0, "s"),
    "B": (1.0, "bytes"), "kB": (1e3, "bytes"), "KB": (1e3, "bytes"), "MB": (1e6, "bytes"),
    "GB": (1e9, "bytes"), "TB": (1e12, "bytes"), "KiB": (2.0**10, "bytes"), "MiB": (2.0**20, "bytes"),
    "GiB": (2.0**30, "bytes"), "TiB": (2.0**40, "bytes"), "W": (1.0, "W"), "C": (1.0, "°C"),
}  # fmt: skip
_KEYWORDS = ("and", "or", "not", "any", "all", "for", "while", "rate")
_KIND_OF = {"%": "%", "bytes": "bytes", "bytes/s": "bytes", "s": "s", "W": "W", "°C": "°C"}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    """number | text | name | sign | end"""
    text: str
    column: int
    unit: str = ""


def _tokens(text: str) -> list[_Token]:
    out: list[_Token] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            column = at + len(text[at:]) - len(text[at:].lstrip()) + 1
            raise ExpressionError(f"{text[column - 1]!r} does not belong here", column)
        kind = found.lastgroup or ""
        kind = "number" if kind == "unit" else kind
        column = found.start(kind) + 1
        out.append(_Token(kind, found[kind], column, (found["unit"] or "").strip()))
        at = found.end()
    out.append(_Token("end", "", end + 1))
    return out


def near(word: str, known: Sequence[str] | Mapping[str, object]) -> str:
    """`: did you mean X?`, or nothing where nothing is near."""
    import difflib

    found = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f": did you mean {found[0]}?" if found else ""


# -- parser -----------------------------------------------------------------------------------------------


class _Parser:
    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise ExpressionError(f"longer than {LONGEST} characters", LONGEST)
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0

    @property
    def now(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.now
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def given(self, *words: str) -> _Token | None:
        """The next token, taken, if it is one of these."""
        return self.take() if self.now.kind in ("sign", "name") and self.now.text in words else None

    def need(self, word: str, what: str) -> _Token:
        token = self.given(word)
        if token is None:
            raise self.wrong(what)
        return token

    def wrong(self, wanted: str) -> ExpressionError:
        here = self.now
        if here.kind == "end":
            return ExpressionError(f"{wanted} is missing at the end", here.column)
        return ExpressionError(f"{wanted} expected, not {here.text!r}", here.column)

    def whole(self) -> tuple[Condition, float, Condition | None]:
        condition = self.either()
        hold, only_while = 0.0, None
        while self.now.kind != "end":
            if self.given("for"):
                hold = self.duration()
            elif self.given("while"):
                only_while = self.either()
            else:
                raise self.wrong('"and", "or", "for" or "while"')
        return condition, hold, only_while

    def duration(self) -> float:
        token = self.take()
        scale, kind = _UNITS.get(token.unit or "s", (0.0, ""))
        if token.kind != "number" or kind != "s":
            raise ExpressionError('a duration is missing after "for": write 60s or 5min', token.column)
        seconds = float(token.text.replace("_", "")) * scale
        if not 0.0 <= seconds <= MAX_FOR_S:
            raise ExpressionError("a duration is at most a day", token.column)
        return seconds

    def either(self) -> Condition:
        parts = [self.both()]
        while self.given("or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Logic("or", tuple(parts))

    def both(self) -> Condition:
        parts = [self.single()]
        while self.given("and"):
            parts.append(self.single())
        return parts[0] if len(parts) == 1 else Logic("and", tuple(parts))

    def single(self) -> Condition:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ExpressionError("nested too deeply", self.now.column)
        try:
            if self.given("not"):
                return Logic("not", (self.single(),))
            if self.now.text == "(" and self._is_condition():
                self.take()
                inner = self.either()
                self.need(")", '")"')
                return inner
            return self.comparison()
        finally:
            self.depth -= 1

    def _is_condition(self) -> bool:
        """Whether the parenthesis here holds a condition (and not a value)."""
        depth = 0
        for token in self.tokens[self.at :]:
            if token.kind == "sign" and token.text in "()":
                depth += 1 if token.text == "(" else -1
                if depth == 0:
                    return False
            elif token.text in ("<", "<=", ">", ">=", "==", "!=", "and", "or", "not"):
                return True
        return True

    def comparison(self) -> Comparison:
        over = self.given("any", "all")
        column = self.now.column
        left = self.sum()
        sign = self.given("<", "<=", ">", ">=", "==", "!=")
        if sign is None:
            if self.now.text == "=":
                raise ExpressionError('compare with "=="', self.now.column)
            raise self.wrong("a comparison (< <= > >= == !=)")
        right = self.sum()
        out = Comparison(left, sign.text, right, "" if over is None else over.text)
        check(out, column)
        return out

    def sum(self) -> Term:
        left = self.product()
        while sign := self.given("+", "-"):
            left = Arithmetic(sign.text, left, self.product())
        return left

    def product(self) -> Term:
        left = self.atom()
        while sign := self.given("*", "/"):
            left = Arithmetic(sign.text, left, self.atom())
        return left

    def atom(self) -> Term:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ExpressionError("nested too deeply", self.now.column)
        try:
            return self._atom()
        finally:
            self.depth -= 1

    def _atom(self) -> Term:
        token = self.now
        if token.kind == "number":
            return self.number(self.take())
        if token.kind == "text":
            return Text(self.take().text[1:-1])
        if self.given("("):
            inner = self.sum()
            self.need(")", '")"')
            return inner
        if self.given("-"):
            return Arithmetic("-", Number(0.0), self.atom())
        if token.text == "rate":
            return self.rate()
        if token.kind == "name" and token.text not in _KEYWORDS:
            return self.metric()
        raise self.wrong("a metric or a number")

    def number(self, token: _Token) -> Number:
        value = float(token.text.replace("_", ""))
        if not token.unit:
            return Number(value, "", token.text)
        unit = _UNITS.get(token.unit)
        if unit is None:
            hint = near(token.unit, _UNITS) or ": use %, ms, s, min, h, MB, GB, MiB, GiB, W or C"
            raise ExpressionError(f"{token.unit} is no unit{hint}", token.column + len(token.text))
        return Number(value * unit[0], unit[1], token.text + token.unit)

    def rate(self) -> Metric:
        column = self.take().column
        self.need("(", '"(" after rate')
        inner = self.metric(counters=True)
        self.need(")", '")"')
        found = CATALOGUE.get(inner.id)
        if found is None or inner.id not in COUNTERS:
            raise ExpressionError(f"{inner.id} is no counter: compare it as it is", column)
        if not found.rate:
            raise ExpressionError(f"{inner.id} has no rate", column)
        if found.scale != 1.0:
            raise ExpressionError(
                f"its rate is {found.rate} in {CATALOGUE[found.rate].unit}: write that", column
            )
        return Metric(found.rate, inner.chosen, inner.column)

    def metric(self, counters: bool = False) -> Metric:
        token = self.take()
        name = token.text
        if token.kind != "name":
            raise ExpressionError("a metric expected", token.column)
        if name not in CATALOGUE and name not in TRAIN:
            hint = near(name, (*CATALOGUE, *TRAIN)) or ": docs/METRICS.md lists them"
            raise ExpressionError(f"no metric {name}{hint}", token.column)
        if name in COUNTERS and not counters:
            rate = CATALOGUE[name].rate
            hint = f": compare {rate}" if rate else ""
            raise ExpressionError(f"{name} is a counter that only grows{hint}", token.column)
        return Metric(name, self.labels(name) if self.now.text == "{" else (), token.column)

    def labels(self, name: str) -> tuple[tuple[str, str], ...]:
        self.take()
        known = CATALOGUE[name].labels if name in CATALOGUE else ()
        out: list[tuple[str, str]] = []
        while not self.given("}"):
            token = self.take()
            if token.text not in known:
                have = f"it has {', '.join(known)}" if known else "it has none"
                raise ExpressionError(f"{name} has no label {token.text or '}'}: {have}", token.column)
            self.need("=", f'"=" after {token.text}')
            out.append((token.text, self.pattern()))
            if not self.given(","):
                self.need("}", '"}"')
                break
        return tuple(out)

    def pattern(self) -> str:
        token = self.take()
        if token.kind not in ("text", "name", "number"):
            raise ExpressionError('a label\'s value expected: write it in quotes ("nvme*")', token.column)
        return token.text[1:-1] if token.kind == "text" else token.text + token.unit


def check(c: Comparison, column: int) -> None:
    """Texts are compared with texts, numbers with numbers of the same kind. Raises ExpressionError."""
    left, right = _is_text(c.left), _is_text(c.right)
    if left != right:
        raise ExpressionError("a text and a number cannot be compared", column)
    if left and c.sign not in ("==", "!="):
        raise ExpressionError('texts are compared with "==" or "!="', column)
    for a, b in ((c.left, c.right), (c.right, c.left)):
        if isinstance(a, Metric) and isinstance(b, Number) and b.kind:
            found = CATALOGUE.get(a.id)
            unit = found.unit if found is not None else "s" if a.id.endswith("_s") else ""
            want = _KIND_OF.get(unit, "")
            if want != b.kind and not (want == "" and b.kind == "%"):
                raise ExpressionError(f"{a.id} is in {unit or 'no unit'}, not in {b.kind} ({b.text})", column)


def _is_text(t: Term) -> bool:
    if isinstance(t, Arithmetic):
        if _is_text(t.left) or _is_text(t.right):
            raise ExpressionError("texts cannot be calculated with", 1)
        return False
    return isinstance(t, Text) or (isinstance(t, Metric) and t.is_text)


def parse(text: str) -> Expression:
    """Raises ExpressionError."""
    parser = _Parser(text)
    condition, hold_s, only_while = parser.whole()
    parts = [condition] + ([] if only_while is None else [only_while])
    metrics = tuple(m for part in parts for m in metrics_of(part))
    if not metrics:
        raise ExpressionError("names no metric", 1)
    return Expression(text.strip(), condition, hold_s, only_while, _by(parts), metrics)


def _by(parts: Sequence[Condition]) -> str | None:
    """The label whose instances are asked one by one. Raises ExpressionError where there are two."""
    by: str | None = None
    for part in parts:
        for c in _comparisons(part):
            labels = {m.label_names for t in (c.left, c.right) for m in _terms(t) if m.label_names}
            first = next((m for t in (c.left, c.right) for m in _terms(t) if m.label_names), None)
            if first is None:
                if c.over:
                    raise ExpressionError(f'"{c.over}" needs a metric with labels', 1)
                continue
            if len(labels) > 1:
                raise ExpressionError("one comparison takes metrics of the same labels only", first.column)
            label = first.label_names[0]
            if c.over:
                continue
            if by not in (None, label):
                raise ExpressionError(
                    f"asks of every {by} and of every {label} at once: write any or all before one of them",
                    first.column,
                )
            by = label
    return by


def _comparisons(c: Condition) -> Iterator[Comparison]:
    if isinstance(c, Comparison):
        yield c
    else:
        for part in c.parts:
            yield from _comparisons(part)


def _terms(t: Term) -> Iterator[Metric]:
    if isinstance(t, Metric):
        yield t
    elif isinstance(t, Arithmetic):
        yield from _terms(t.left)
        yield from _terms(t.right)


def metrics_of(c: Condition) -> Iterator[Metric]:
    """All metrics a condition names, in order."""
    for one in _comparisons(c):
        yield from _terms(one.left)
        yield from _terms(one.right)


def comparisons(e: Expression) -> list[Comparison]:
    """All comparisons of an expression, in order."""
    parts = [e.condition] + ([] if e.only_while is None else [e.only_while])
    return [c for part in parts for c in _comparisons(part)]


# -- asking -----------------------------------------------------------------------------------------------

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
    "!=": operator.ne,
}  # fmt: skip
_CALCULATE: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
}  # fmt: skip


def holds(c: Condition, env: Env, labels: Labels) -> bool | None:
    """Whether the condition holds for the instance; None: unknown."""
    if isinstance(c, Comparison):
        return _all(c, env) if c.over else _compare(c, env, labels)
    answers = [holds(part, env, labels) for part in c.parts]
    if c.sign == "not":
        return None if answers[0] is None else not answers[0]
    decides = c.sign == "or"
    if decides in answers:
        return decides
    return None if None in answers else not decides


def _all(c: Comparison, env: Env) -> bool | None:
    """`any`/`all` over the instances of the comparison's metrics; unknown where there is none."""
    metric = next(m for t in (c.left, c.right) for m in _terms(t) if m.label_names)
    answers = [_compare(c, env, labels) for labels in env.instances(metric.id) if matches(metric, labels)]
    if not answers:
        return None
    decides = c.over == "any"
    if decides in answers:
        return decides
    return None if None in answers else not decides


def _compare(c: Comparison, env: Env, labels: Labels) -> bool | None:
    a, b = value_of(c.left, env, labels), value_of(c.right, env, labels)
    if a is None or b is None:
        return None
    if isinstance(a, str) or isinstance(b, str):
        return (a == b) if c.sign == "==" else (a != b)
    return _COMPARE[c.sign](a, b)


def value_of(t: Term, env: Env, labels: Labels) -> Value:
    """A term's value for the instance; None: missing, or not a number."""
    if isinstance(t, (Number, Text)):
        return t.value
    if isinstance(t, Metric):
        if not matches(t, labels):
            return None
        own = {k: v for k, v in labels.items() if k in t.label_names}
        return env.value(t.id, own)
    a, b = value_of(t.left, env, labels), value_of(t.right, env, labels)
    if not isinstance(a, (int, float)) or not isinstance(b, (int, float)):
        return None
    try:
        result = _CALCULATE[t.sign](a, b)
    except (ZeroDivisionError, OverflowError):
        return None
    return result if result - result == 0 else None


def matches(m: Metric, labels: Labels) -> bool:
    """Whether the instance is one of those the metric's `{label=pattern}` chooses."""
    return all(fnmatchcase(labels.get(k, ""), pattern) for k, pattern in m.chosen)


def instances(e: Expression, env: Env) -> list[Labels]:
    """The instances the expression is asked of now: one without labels where it is the node's."""
    if e.by is None:
        return [{}]
    for c in (c for c in comparisons(e) if not c.over):
        for m in (m for t in (c.left, c.right) for m in _terms(t) if e.by in m.label_names):
            return [labels for labels in env.instances(m.id) if matches(m, labels)]
    return []
