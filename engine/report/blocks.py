"""What a report is made of, before it is Markdown or HTML. Texts may hold `code` between backticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    """2: a section, 3: within one."""
    text: str


@dataclass(frozen=True, slots=True)
class Para:
    text: str
    kind: Literal["plain", "warning", "human"] = "plain"
    """human: a prompt that a person replaces."""


@dataclass(frozen=True, slots=True)
class Bullets:
    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()
    """Columns that are set to the right."""
    marks: Sequence[str] = ()
    """A severity a row, or ""; empty: none."""


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines to be copied into a shell."""

    lines: Sequence[str]


class Point(NamedTuple):
    """One column of a curve: time and the smallest, mean and largest value there; None: not known."""

    t_ns: int
    low: float | None
    mean: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Curve:
    name: str
    points: Sequence[Point]


class Band(NamedTuple):
    """A stretch of time behind the curves."""

    t0_ns: int
    t1_ns: int
    kind: str
    """critical | warning | info | gap"""
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    title: str
    unit: str
    t0_ns: int
    t1_ns: int
    curves: Sequence[Curve]
    bands: Sequence[Band] = ()
    marks: Sequence[tuple[int, str]] = ()
    """Moments: (wall ns, what)."""
    limit: float | None = None
    """A threshold to draw."""
    top: float | None = None
    """The axis reaches at least so far (100 for shares)."""
    focus: int | None = None
    """The moment it is about (wall ns)."""


@dataclass(frozen=True, slots=True)
class Output:
    """Lines as a program printed them."""

    lines: Sequence[str]


Block = Heading | Para | Bullets | Table | Commands | Output | Chart


@dataclass(frozen=True, slots=True)
class Document:
    title: str
    subtitle: str
    blocks: Sequence[Block] = field(default_factory=tuple)
    lang: str = "en"
