"""The process filter: plain words, and a small query language.

    python              text in command, name, user or pid (case does not matter)
    !^python3? .*train  a regular expression over the command
    cpu>50  mem>1g  mem>=10%  gpu>0  io>10m  threads>100  time>3600  nice<0  pid=42
    user=root  user!=root  state=D  cmd~resnet  job=slurm  container!=

All terms must hold. Sizes take k, m, g, t (powers of 1024). A term that does not parse (yet: it is read
while it is being typed) is left out and named in `error`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from dctop.engine.metrics.builder import TICK_HZ
from dctop.engine.metrics.model import Snapshot
from dctop.probes.base import Process

Static = Callable[[Process], bool]
Moving = Callable[[Process, "Rates"], bool]


@dataclass(frozen=True, slots=True)
class Rates:
    """What a term may ask beyond the process itself."""

    cpu: Mapping[int, float]
    read: Mapping[int, float]
    write: Mapping[int, float]
    total_bytes: float | None


def rates_of(snap: Snapshot) -> Rates:
    return Rates(
        snap.process_cpu_pct,
        snap.process_read_bytes_per_s,
        snap.process_write_bytes_per_s,
        snap.num("memory.total_bytes"),
    )


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed filter. `static` terms depend on the process alone, so their answer can be kept while the
    same object is handed out; `moving` ones must be asked every tick."""

    text: str
    static: tuple[Static, ...] = ()
    moving: tuple[Moving, ...] = ()
    error: str | None = None
    textual: bool = False
    """The static terms look at name, command, user and pid only."""

    def __bool__(self) -> bool:
        return bool(self.static or self.moving)


_NUMBERS = (
    "cpu",
    "mem",
    "rss",
    "gpu",
    "io",
    "read",
    "write",
    "threads",
    "thr",
    "time",
    "nice",
    "pid",
    "ppid",
)
_TEXTS = ("user", "name", "cmd", "command", "state", "s", "job", "container")
_FIXED = ("user", "name", "cmd", "command", "pid")
_TERM = re.compile(r"([a-z]+)(>=|<=|!=|!~|=|~|>|<)(.*)", re.DOTALL)
_AMOUNT = re.compile(r"(-?\d+(?:\.\d*)?)\s*([kmgt]?)(?:i?b)?(%?)", re.IGNORECASE)
_SCALE = {"": 1.0, "k": 2.0**10, "m": 2.0**20, "g": 2.0**30, "t": 2.0**40}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


@lru_cache(64)
def parse(text: str) -> Query:
    """Never raises."""
    static: list[Static] = []
    moving: list[Moving] = []
    error: str | None = None
    words = text.split()
    for i, word in enumerate(words):
        if word.startswith("!") and i == 0:
            # As in btop: an exclamation mark makes all that follows one regular expression.
            word = text.strip()
        try:
            _term(word, static, moving)
        except ValueError as e:
            error = str(e)
        if word.startswith("!") and i == 0:
            break
    textual = not any(m is not None and m[1] not in _FIXED for m in map(_TERM.fullmatch, words))
    return Query(text, tuple(static), tuple(moving), error, textual)


def _term(word: str, static: list[Static], moving: list[Moving]) -> None:
    if word.startswith("!"):
        if len(word) > 1:
            pattern = _regex(word[1:])
            static.append(lambda p: pattern.search(p.cmdline or p.name) is not None)
        return
    match = _TERM.fullmatch(word)
    if match is not None:
        field, op, value = match.groups()
        if field in _TEXTS:
            static.append(_text_term(field, op, value))
            return
        if field in _NUMBERS:
            _number_term(field, op, value, static, moving)
            return
    low = word.lower()
    static.append(
        lambda p: (
            low in (p.cmdline or "").lower()
            or low in p.name.lower()
            or low in (p.user or "").lower()
            or low in str(p.pid)
        )
    )


def _regex(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as e:
        raise ValueError(f"bad expression: {e}") from None


def _text_of(field: str) -> Callable[[Process], str]:
    if field == "user":
        return lambda p: p.user if p.user is not None else "" if p.uid is None else str(p.uid)
    if field == "name":
        return lambda p: p.name
    if field in ("state", "s"):
        return lambda p: p.state
    if field == "job":
        return lambda p: p.job or ""
    if field == "container":
        return lambda p: p.container or ""
    return lambda p: p.cmdline or p.name


def _text_term(field: str, op: str, value: str) -> Static:
    get = _text_of(field)
    if op in ("~", "!~"):
        pattern = _regex(value)
        found = op == "~"
        return lambda p: (pattern.search(get(p)) is not None) is found
    if op not in ("=", "!="):
        raise ValueError(f"{field} takes = != ~ !~")
    low = value.lower()
    same = op == "="
    if field in ("job", "container", "cmd", "command") and low:
        # `job=slurm` must find slurm:123456, a container is known by the beginning of its id.
        return lambda p: (low in get(p).lower()) is same
    return lambda p: (get(p).lower() == low) is same


def _number_term(field: str, op: str, value: str, static: list[Static], moving: list[Moving]) -> None:
    if op not in _COMPARE:
        raise ValueError(f"{field} takes > < >= <= = !=")
    match = _AMOUNT.fullmatch(value)
    if match is None:
        raise ValueError(f"{field}{op}: a number is missing")
    number, unit, share = match.groups()
    bound = float(number) * _SCALE[unit.lower()]
    compare = _COMPARE[op]
    if field == "mem" and share:
        moving.append(
            lambda p, r: (
                p.rss_bytes is not None
                and bool(r.total_bytes)
                and compare(100.0 * p.rss_bytes / (r.total_bytes or 1.0), bound)
            )
        )
        return
    rate = _RATES.get(field)
    if rate is not None:
        moving.append(lambda p, r: compare(rate(p.pid, r), bound))
        return
    get = _VALUES[field]

    def holds(p: Process) -> bool:
        v = get(p)
        return v is not None and compare(v, bound)

    static.append(holds)


_RATES: dict[str, Callable[[int, Rates], float]] = {
    "cpu": lambda pid, r: r.cpu.get(pid, 0.0),
    "read": lambda pid, r: r.read.get(pid, 0.0),
    "write": lambda pid, r: r.write.get(pid, 0.0),
    "io": lambda pid, r: r.read.get(pid, 0.0) + r.write.get(pid, 0.0),
}
_VALUES: dict[str, Callable[[Process], float | None]] = {
    "mem": lambda p: p.rss_bytes,
    "rss": lambda p: p.rss_bytes,
    "gpu": lambda p: p.gpu_mem_bytes or 0,
    "threads": lambda p: p.threads,
    "thr": lambda p: p.threads,
    "time": lambda p: p.cpu_ticks / TICK_HZ,
    "nice": lambda p: p.nice,
    "pid": lambda p: p.pid,
    "ppid": lambda p: p.ppid,
}


class Filter:
    """Applies a query to a process table, remembering answers for rows that did not change."""

    def __init__(self) -> None:
        self._query: Query | None = None
        self._known: dict[int, tuple[Process, bool]] = {}

    def select(self, processes: Sequence[Process], query: Query, rates: Rates) -> Sequence[Process]:
        if not query:
            return processes
        if query is not self._query:
            self._query, self._known = query, {}
        kept = self._static(processes, query) if query.static else processes
        for term in query.moving:
            kept = [p for p in kept if term(p, rates)]
        return kept

    def _static(self, processes: Sequence[Process], query: Query) -> list[Process]:
        terms, textual = query.static, query.textual
        old = self._known
        new: dict[int, tuple[Process, bool]] = {}
        out: list[Process] = []
        for p in processes:
            hit = old.get(p.pid)
            if hit is None:
                hit = (p, all(term(p) for term in terms))
            elif hit[0] is not p:
                q = hit[0]
                # Its figures changed. Its name and command rarely do: the probe hands out the same strings.
                if textual and p.cmdline is q.cmdline and p.name is q.name and p.user is q.user:
                    hit = (p, hit[1])
                else:
                    hit = (p, all(term(p) for term in terms))
            new[p.pid] = hit
            if hit[1]:
                out.append(p)
        self._known = new
        return out
