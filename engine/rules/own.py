"""Rules that users write in dctop.toml:

    [rules.gpu-idle-in-training]
    when = 'gpu.util_pct < 30 for 60s while train.mode == "train"'
    clear = 'gpu.util_pct > 40'        # default: `when` no longer holds
    severity = "warning"               # info | warning | critical
    message = "GPU {gpu} does {value} while training"
    remedy = "look at the loader: see input-bound"

They are STATE rules as any other: held, cleared, counted, explained, recorded, replayed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from string import Formatter

from dctop.engine.metrics.derived import CATALOGUE
from dctop.engine.rules import expression as x
from dctop.engine.rules.base import (
    NODE,
    PROBLEMS,
    RESOURCES,
    Details,
    Ev,
    Needs,
    NodeRule,
    Outcome,
    Reading,
    num,
    size,
    span,
)
from dctop.engine.rules.expression import Expression, ExpressionError, Labels, Metric, Number
from dctop.engine.rules.texts import RemedyText, RuleText
from dctop.engine.rules.texts.own import WORDS
from dctop.engine.rules.window import ACTIVE, Window
from dctop.engine.training.runstate import RunState
from dctop.probes.base import Value, series, split_series

KEYS = ("when", "clear", "severity", "message", "remedy", "problem")
LEVELS = {"info": 1, "warning": 2, "critical": 3}
_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_PROBLEM_OF = {
    "cpu": "compute", "gpu": "utilisation", "pressure": "compute", "process": "compute", "host": "compute",
    "memory": "oom", "container": "oom", "disk": "storage", "fs": "storage", "net": "network",
    "tcp": "network", "ib": "network", "clock": "network", "train": "framework",
}  # fmt: skip
MOST = 64
"""Instances of a rule at once: beyond (a glob over all cores) the first ones."""


class OwnError(Exception):
    """One mistake in a rule's table: `key` it stands at, and one line what and what to do."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class OwnRule(NodeRule):
    """A rule of the user's, from his dctop.toml."""

    kind = "state"
    source = "dctop.toml"
    always = True

    def __init__(self, table: Mapping[str, object]) -> None:
        super().__init__()
        self.when: Expression
        self.clear: Expression | None
        self.message: str | None
        self.remedy: str | None
        self.level: int
        self.when, self.clear, self.level, self.message, self.remedy = _read(table)
        self.hold_s = self.when.hold_s
        self._env = _Asked()

    def judge(self, w: Window) -> Outcome:
        env = self._env.bind(w)
        out: list[Reading] = []
        unknown: Metric | None = None
        for labels in x.instances(self.when, env)[:MOST]:
            met = self._met(labels)
            if met is None:
                unknown = unknown or self._missing(labels)
                out.append(Reading(self._entity(labels), -1, False))
                continue
            clear = not met
            if self.clear is not None and not met:
                over = x.holds(self.clear.condition, env, labels)
                clear = over is True or not self._applies(labels)
            level = self.level if met else 0
            out.append(Reading(self._entity(labels), level, clear, partial(self._details, labels)))
        if (out and all(r.level < 0 for r in out)) or (not out and self.when.by is not None):
            return Needs("series", str(unknown or self._lacking()))
        return out

    def _applies(self, labels: Labels) -> bool | None:
        only = self.when.only_while
        return True if only is None else x.holds(only, self._env, labels)

    def _met(self, labels: Labels) -> bool | None:
        """Whether it holds; where `while` does not, it does not, whatever else is unknown."""
        applies = self._applies(labels)
        if applies is False:
            return False
        met = x.holds(self.when.condition, self._env, labels)
        return False if met is False else None if applies is None else met

    def _missing(self, labels: Labels) -> Metric | None:
        """The first metric without a value, one of the node or the run before one of the instance."""
        lacking = [m for m in self.when.metrics if x.value_of(m, self._env, labels) is None]
        return next((m for m in lacking if not m.label_names), lacking[0] if lacking else None)

    def _lacking(self) -> Metric:
        return next(m for m in self.when.metrics if self.when.by in m.label_names)

    def _entity(self, labels: Labels) -> str:
        if labels:
            return "/".join(labels.values()) if len(labels) > 1 else next(iter(labels.values()))
        run = self._env.run
        return run.id if run is not None and self.when.of_run else NODE

    # -- words ----------------------------------------------------------------------------------------

    def _details(self, labels: Labels) -> Details:
        facts: dict[str, object] = {f"m{i}": "" for i in range(1, len(self.when.metrics) + 1)}
        evidence: list[Ev] = []
        limits = _limits(self.when)
        for i, m in enumerate(dict.fromkeys(self.when.metrics), 1):
            value = x.value_of(m, self._env, labels)
            key = series(m.id, **{k: v for k, v in labels.items() if k in m.label_names})
            at_once = bool(m.label_names) and not labels.keys() >= set(m.label_names)
            facts[f"m{i}"] = str(m) if at_once else key
            if at_once:
                evidence.append(Ev(f"m{i}", self._summary(m), "", limits.get(m)))
            else:
                drawn = key if not m.is_text and m.id in CATALOGUE else None
                evidence.append(Ev(f"m{i}", value, unit_of(m), limits.get(m), drawn))
        first = self.when.metrics[0]
        facts |= {
            "id": self.id, "when": self.when.text, "for": span(self.when.hold_s),
            "value": shown(x.value_of(first, self._env, labels), first), "metric": first.id,
            "threshold": limits.get(first, ""), "entity": self._entity(labels), **labels,
        }  # fmt: skip
        if self.message is not None:
            facts["message"] = _Lenient().vformat(self.message, (), facts)
        if self.remedy is not None:
            facts["remedy"] = _Lenient().vformat(self.remedy, (), facts)
        held = ".held" if self.when.hold_s else ""
        return Details(evidence, facts, ["own"] if self.remedy else [], (), None, f"own{held}")

    def _summary(self, m: Metric) -> str:
        """Of `any` and `all`: the range over the instances."""
        values = [
            v for labels in self._env.instances(m.id)
            if x.matches(m, labels) and isinstance(v := self._env.value(m.id, labels), (int, float))
        ]  # fmt: skip
        return f"{shown(min(values), m)} .. {shown(max(values), m)} ({len(values)})" if values else "-"

    def text(self, lang: str) -> RuleText:
        w = WORDS["zh" if lang.lower().startswith("zh") else "en"]
        n = len(self.when.metrics)
        title = "{message}" if self.message is not None else "{id}: {metric} {value} ({threshold})"
        return RuleText(
            title=title,
            why=w["why"],
            evidence={f"m{i}": f"{{m{i}}}" for i in range(1, n + 1)},
            remedies={"own": RemedyText("{remedy}")} if self.remedy else {},
            condition=w["condition"]
            .format(
                when=self.when.text,
                clear=self.clear.text if self.clear is not None else w["not"],
            )
            .replace("{", "(")
            .replace("}", ")"),
            traps=w["traps"],
            variants={"why.own.held": w["why.held"]},
        )


class _Lenient(Formatter):
    """Names the rule does not know stay as they are written."""

    def get_value(self, key: object, args: object, kwargs: Mapping[str, object]) -> object:
        return kwargs.get(str(key), f"{{{key}}}")

    def get_field(self, field_name: str, args: object, kwargs: Mapping[str, object]) -> tuple[object, str]:
        """Plain names only: a message is no program."""
        return self.get_value(field_name, args, kwargs), field_name


class _Asked:
    """What expressions are asked of at one tick."""

    def __init__(self) -> None:
        self.run: RunState | None = None
        self._w: Window
        self._labels: object = None
        self._instances: dict[str, list[Labels]] = {}

    def bind(self, w: Window) -> _Asked:
        self._w = w
        self.run = next((r for r in w.runs if r.status in ACTIVE), None)
        if w.snap.labels is not self._labels:
            self._labels = w.snap.labels
            self._instances.clear()
        return self

    def value(self, metric: str, labels: Labels) -> Value:
        if metric.startswith("train."):
            return self._train(metric.removeprefix("train."))
        probe = _probe(metric)
        if not self._w.has(probe):
            return None
        return self._w.snap.values.get(series(metric, **labels) if labels else metric)

    def _train(self, name: str) -> Value:
        run = self.run
        if run is None:
            return None
        if name in ("mode", "status", "workload", "device", "samples_per_s", "eta_s", "step", "epoch"):
            found: Value = getattr(run, name)
            return found
        return run.last.get(name)

    def instances(self, metric: str) -> Sequence[Labels]:
        found = self._instances.get(metric)
        if found is None:
            start = metric + "{"
            found = [split_series(k)[1] for k in self._w.snap.values if k.startswith(start)]
            self._instances[metric] = found
        return found


def _probe(metric: str) -> str:
    from dctop.engine.rules.watched import probe_of

    return probe_of(metric)


def _limits(e: Expression) -> dict[Metric, str]:
    """Metric -> `< 30 %`, where it is compared with a plain number or text."""
    out: dict[Metric, str] = {}
    for c in x.comparisons(e):
        if isinstance(c.left, Metric) and isinstance(c.right, (Number, x.Text)):
            right = c.right.text or num(c.right.value) if isinstance(c.right, Number) else c.right.value
            if isinstance(c.right, Number) and not c.right.kind:
                right = shown(c.right.value, c.left)
            out[c.left] = f"{c.sign} {right}"
    return out


def unit_of(m: Metric) -> str:
    found = CATALOGUE.get(m.id)
    return found.unit if found is not None else "s" if m.id.endswith("_s") and "per" not in m.id else ""


def shown(value: Value, m: Metric) -> str:
    if value is None or isinstance(value, str):
        return value or "?"
    unit = unit_of(m)
    if unit in ("bytes", "bytes/s"):
        return size(value) + unit.removeprefix("bytes")
    return span(value) if unit == "s" else f"{num(value)} {unit}".rstrip()


# -- from the file --------------------------------------------------------------------------------------


def is_own(table: object) -> bool:
    """A table of `[rules]` that is a rule, not thresholds."""
    return isinstance(table, Mapping) and "when" in table


def make_own(tables: Mapping[str, Mapping[str, object]]) -> list[OwnRule]:
    """The rules of checked tables; what is wrong in others is left out (reading the file has told)."""
    out: list[OwnRule] = []
    for name, table in tables.items():
        try:
            out.append(build(name, table))
        except OwnError:
            continue
    return out


def build(name: str, table: Mapping[str, object]) -> OwnRule:
    """A rule from its table. Raises OwnError."""
    if not _ID.fullmatch(name):
        raise OwnError("", f'"{name}" is no rule name: use small letters, digits and - (gpu-idle)')
    for key in table:
        if key not in KEYS:
            hint = x.near(key, KEYS) or f": {', '.join(KEYS)}"
            raise OwnError(key, f'unknown key "{key}" of a rule{hint}')
        if not isinstance(table[key], str) or not str(table[key]).strip():
            raise OwnError(key, f'{key} is a text: write {key} = "..."')
    when = _read(table)[0]
    problem = str(table.get("problem") or _PROBLEM_OF.get(when.metrics[0].id.partition(".")[0], "compute"))
    if problem not in (*PROBLEMS, *RESOURCES):
        hint = x.near(problem, (*PROBLEMS, *RESOURCES)) or f": one of {', '.join((*PROBLEMS, *RESOURCES))}"
        raise OwnError("problem", f'"{problem}" is no problem{hint}')
    severity = str(table.get("severity", "warning"))
    own = {"id": name, "problem": problem, "severities": severity[0], "__doc__": OwnRule.__doc__}
    kind = type("OwnRule", (OwnRule,), own)
    rule: OwnRule = kind(table)
    return rule


def _read(table: Mapping[str, object]) -> tuple[Expression, Expression | None, int, str | None, str | None]:
    """Raises OwnError."""
    when = _parsed(table, "when")
    assert when is not None
    clear = _parsed(table, "clear")
    if clear is not None and (clear.hold_s or clear.only_while is not None):
        raise OwnError("clear", "clear is a condition alone, without for and while")
    if clear is not None and clear.by not in (None, when.by):
        raise OwnError("clear", f"clear asks of every {clear.by}, when does not")
    severity = str(table.get("severity", "warning"))
    if severity not in LEVELS:
        hint = x.near(severity, LEVELS) or ": info, warning or critical"
        raise OwnError("severity", f'"{severity}" is no severity{hint}')
    for key in ("message", "remedy"):
        if key in table:
            try:
                list(Formatter().parse(str(table[key])))
            except ValueError as e:
                raise OwnError(key, f"{e}: write {{{{ for a brace") from None
    text = [None if table.get(k) is None else str(table[k]) for k in ("message", "remedy")]
    return when, clear, LEVELS[severity], text[0], text[1]


def _parsed(table: Mapping[str, object], key: str) -> Expression | None:
    if table.get(key) is None:
        return None
    try:
        return x.parse(str(table[key]))
    except ExpressionError as e:
        raise OwnError(key, str(e)) from None
