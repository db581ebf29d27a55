"""Adds up the journal of healthy controls: hours watched, alerts, what they were, how many an hour. Pure."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.score import poisson_upper
from tests.faults.truth import Class, classify, spans, with_roots

SEVERITIES = ("critical", "warning", "info")
NODE = "node"
Line = Mapping[str, Any]
_PATH = re.compile(r"(?<![\w./])/(?:[\w.+-]+/)+([\w.+-]+/[\w.+-]+)")
"""A path of three parts or more: its last two say what it is, the others where somebody keeps it."""


@dataclass(slots=True)
class Told:
    """One alert with what it was."""

    alert: Line
    config: str
    kind: Class
    why: str

    @property
    def severity(self) -> str:
        return str(self.alert["severity"])


@dataclass(slots=True)
class Config:
    """All runs of one configuration."""

    name: str
    runs: int = 0
    seconds: float = 0.0
    steps: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)

    def count(self, kind: Class, severity: str | None = None) -> int:
        return sum(t.kind == kind and severity in (None, t.severity) for t in self.told)


@dataclass(slots=True)
class Hours:
    """Of all sessions together."""

    node_s: float = 0.0
    sessions: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    """(configuration, why) of runs that could not be started or failed."""
    configs: dict[str, Config] = field(default_factory=dict)
    node: Config = field(default_factory=lambda: Config(NODE))
    not_checked: list[str] = field(default_factory=list)

    @property
    def run_s(self) -> float:
        return sum(c.seconds for c in self.configs.values())

    @property
    def told(self) -> list[Told]:
        return [t for c in (*self.configs.values(), self.node) for t in c.told]

    def count(self, kind: Class, severity: str | None = None) -> int:
        return sum(c.count(kind, severity) for c in (*self.configs.values(), self.node))


def read(journal: Path) -> list[dict[str, Any]]:
    """Lines of the journal; a torn last line (the power went) is left out."""
    out = []
    try:
        text = journal.read_text()
    except OSError:
        return []
    for line in text.splitlines():
        try:
            out.append(json.loads(line))
        except ValueError:
            continue
    return out


def add_up(lines: Iterable[Line]) -> Hours:
    hours, config_of = Hours(), {}
    runs: dict[str, Line] = {}
    alerts: dict[tuple[str, int], Line] = {}
    planted: set[str] = set()
    """Folders in which a drill planted faults meanwhile."""

    def config(name: str) -> Config:
        return hours.configs.setdefault(name, Config(name))

    for line in lines:
        kind = line["kind"]
        if kind == "session":
            hours.sessions += 1
            hours.not_checked = line.get("not_checked", hours.not_checked)
        elif kind == "launch":
            config_of[line["run"]] = line["config"]
            config(line["config"]).runs += 1
        elif kind == "span":
            hours.node_s += line["seconds"]
            for run, seconds in line["runs"].items():
                config(config_of.get(run, "?")).seconds += seconds
        elif kind == "run":
            runs[line["run"]] = line
            of = config(config_of.get(line["run"], "?"))
            of.steps += line.get("steps") or 0
            of.ends[line["status"]] = of.ends.get(line["status"], 0) + 1
            if line["status"] in ("failed", "killed", "lost"):
                hours.failed.append((of.name, line.get("reason") or line["status"]))
        elif kind == "not-started":
            hours.failed.append((line["config"], line["error"]))
        elif kind == "planted":
            planted.add(line["folder"].rstrip("/") + "/")
        elif kind == "alert":
            alerts[(line["session"], line["id"])] = line  # the last word counts
    _tell(hours, config_of, runs, list(alerts.values()), tuple(planted))
    return hours


def _tell(
    hours: Hours,
    config_of: Mapping[str, str],
    runs: Mapping[str, Line],
    alerts: Sequence[Line],
    planted: tuple[str, ...],
) -> None:
    measured = spans(alerts)
    told = with_roots(alerts, [classify(a, runs.get(str(a["entity"])), measured) for a in alerts])
    for alert, (kind, why) in zip(alerts, told, strict=True):
        if planted and str(alert["entity"]).startswith(planted):
            kind, why = "machine", "planted there by a drill"
        name = config_of.get(str(alert["entity"]))
        of = hours.node if name is None else hours.configs.setdefault(name, Config(name))
        of.told.append(Told(alert, of.name, kind, why))


def page(hours: Hours) -> str:
    """A section for docs/DIAGNOSIS.md."""
    h, node_h = hours.run_s / 3600, hours.node_s / 3600
    runs = sum(c.runs for c in hours.configs.values())
    steps = sum(c.steps for c in hours.configs.values())
    parts = [
        "## Healthy runs by the hour\n\n"
        f"Made by `make healthy`: {runs} runs of {len(hours.configs)} configurations back to back, fresh "
        "seeds, watched live by the engine of the dashboard at 1 Hz with all rules of the node and of runs. "
        f"Watched: {h:.2f} h of runs ({steps:,} steps), {node_h:.2f} h of the node, {hours.sessions} "
        "sessions. Everything that opened counts, symptoms too, each incident once.",
        _rates(hours, h, node_h),
        _kinds(hours),
        _per_config(hours),
        _each(hours),
    ]
    if hours.failed:
        failed = "\n".join(f"- {name}: {why}" for name, why in hours.failed)
        parts.append(f"Runs that were not started or did not end well:\n\n{failed}")
    if hours.not_checked:
        parts.append(
            "Not checked on this machine, for want of a signal: " + ", ".join(hours.not_checked) + "."
        )
    return _PATH.sub(r"…/\1", "\n\n".join(p for p in parts if p)) + "\n"


def _table(head: str, rows: Sequence[Sequence[str]]) -> str:
    rule = "|" + "---|" * len(head.split(" | "))
    return "\n".join([f"| {head} |", rule, *("| " + " | ".join(r) + " |" for r in rows)])


def _rates(hours: Hours, h: float, node_h: float) -> str:
    def row(name: str, k: int, over: float) -> list[str]:
        if not over:
            return [name, str(k), "-", "-"]
        return [name, str(k), f"{k / over:.3f}", f"{poisson_upper(k) / over:.3f}"]

    of_node = [t for t in hours.node.told if t.kind == "false"]
    of_runs = hours.count("false") - len(of_node)
    rows = [
        *(row(f"{s}, an hour watched", hours.count("false", s), node_h) for s in SEVERITIES),
        row("all, an hour watched", hours.count("false"), node_h),
        row("warning and critical, an hour watched",
            hours.count("false", "warning") + hours.count("false", "critical"), node_h),
        row("about runs, an hour of runs", of_runs, h),
        row("about the node, an hour watched", len(of_node), node_h),
    ]  # fmt: skip
    return _table("false alarms | number | an hour | upper bound (95 %, exact Poisson)", rows)


def _kinds(hours: Hours) -> str:
    what = {
        "false": "false", "machine": "true, of a machine that others use as well",
        "true": "true of the run, as its later course shows", "remark": "remarks any measurement earns",
    }  # fmt: skip
    rows = [
        [text, *(str(hours.count(k, s)) for s in SEVERITIES)]  # type: ignore[arg-type]
        for k, text in what.items()
    ]
    return (
        "An alert is true only where a written criterion says so (`tests/faults/truth.py`): the kernel's own "
        "files, read by other code than the rules', or how the run went on. All else counts as false.\n\n"
        + _table("what they were | " + " | ".join(SEVERITIES), rows)
    )


def _per_config(hours: Hours) -> str:
    rows = []
    for c in (*sorted(hours.configs.values(), key=lambda c: c.name), hours.node):
        seconds = hours.node_s if c is hours.node else c.seconds
        k, h = c.count("false"), seconds / 3600
        rows.append([
            c.name, str(c.runs) if c.runs else "-", f"{h:.2f}", f"{c.steps:,}" if c.steps else "-", str(k),
            f"{poisson_upper(k) / h:.1f}" if h else "-",
            str(c.count("machine")), str(c.count("true")), str(c.count("remark")),
        ])  # fmt: skip
    return _table(
        "configuration | runs | hours | steps | false | at most an hour (95 %) | machine | true | remarks",
        rows,
    )


def _each(hours: Hours) -> str:
    lines = []
    for kind in ("false", "true", "machine"):
        told = [t for t in hours.told if t.kind == kind]
        for t in sorted(told, key=lambda t: int(t.alert["opened_ns"])):
            lines.append(f"- {kind}: {_line(t)}")
    return "Each of them, remarks left out:\n\n" + "\n".join(lines) if lines else "Nothing opened."


def _line(t: Told) -> str:
    a = t.alert
    at = time.strftime("%m-%d %H:%M:%S", time.gmtime(int(a["opened_ns"]) / 1e9))
    step = f", step {a['step']}" if a.get("step") is not None else ""
    again = f", {a['count']} times" if a.get("count", 1) > 1 else ""
    under = f", under {a['symptom_of']}" if a.get("symptom_of") else ""
    where = t.config if t.config != NODE else str(a["entity"])
    said = f"; {a['said']}" if t.kind == "false" and a.get("said") else ""
    return f"{a['rule']} ({t.severity}{under}) at {at} UTC, {where}{step}{again}: {t.why}{said}"
