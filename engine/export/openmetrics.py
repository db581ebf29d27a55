"""OpenMetrics text with a timestamp on each sample, for `promtool tsdb create-blocks-from openmetrics` and
whatever else reads that format (https://prometheus.io/docs/specs/om/open_metrics_spec/).

The format wants all samples of a metric together, a recording holds them by time: samples are spooled by
series into a temporary file. A sample whose time is not after that of the one before it in its series (the
clock was set back) is left out.
"""

from __future__ import annotations

import math
import tempfile
from typing import TextIO

from dctop.engine.export.tables import Scope, all_values, event_rows, snapshots, step_rows
from dctop.engine.metrics.derived import CATALOGUE
from dctop.engine.recording.reader import Recording
from dctop.engine.training.runstate import STEP_FIELDS
from dctop.probes.base import Value, split_series

_FLUSH_CHARS = 1 << 16
_STEP_SKIP = frozenset(("step", "epoch", "wall_ns", "samples"))


class _Spool:
    """Lines by series, in memory until there are many, then in a temporary file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - see close
        self._open: dict[str, list[str]] = {}
        self._chars: dict[str, int] = {}
        self._blocks: dict[str, list[tuple[int, int]]] = {}
        self._last: dict[str, int] = {}
        self.skipped = 0

    def add(self, series: str, wall_ns: int, line: str) -> None:
        last = self._last.get(series, -1)
        if wall_ns <= last:
            self.skipped += wall_ns < last
            return
        self._last[series] = wall_ns
        self._open.setdefault(series, []).append(line)
        self._chars[series] = self._chars.get(series, 0) + len(line)
        if self._chars[series] > _FLUSH_CHARS:
            text = "".join(self._open.pop(series))
            at = self._file.seek(0, 2)
            self._file.write(text)
            self._blocks.setdefault(series, []).append((at, len(text)))
            self._chars[series] = 0

    def write(self, series: str, out: TextIO) -> None:
        for at, size in self._blocks.get(series, ()):
            self._file.seek(at)
            out.write(self._file.read(size))
        out.writelines(self._open.get(series, ()))

    def close(self) -> None:
        self._file.close()


def name_of(metric: str) -> str:
    """`disk.read_bytes` -> `dctop_disk_read_bytes`"""
    return "dctop_" + "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in metric)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _labels(labels: dict[str, str]) -> str:
    inner = ",".join(f'{k}="{_escaped(v)}"' for k, v in labels.items())
    return f"{{{inner}}}" if inner else ""


def _time(wall_ns: int) -> str:
    return f"{wall_ns // 1_000_000_000}.{wall_ns // 1000 % 1_000_000:06d}"


class _Families:
    def __init__(self, host: str) -> None:
        self.spool = _Spool()
        self.host = {"host": host}
        self.heads: dict[str, tuple[str, str]] = {}
        """Family -> type, help."""
        self.series: dict[str, dict[str, None]] = {}
        self._prefixes: dict[str, tuple[str, str, str]] = {}

    def sample(self, key: str, value: Value, wall_ns: int) -> None:
        known = self._prefixes.get(key)
        if known is None:
            known = self._prefixes[key] = self._begin(key)
        prefix, kind, series = known
        if kind == "info":
            if isinstance(value, str):
                metric, labels = split_series(key)
                text = f"{name_of(metric)}_info{_labels(self.host | labels | {'value': value})}"
                self._add_series(name_of(metric), text)
                if text not in self._prefixes:  # once: it holds until another one comes
                    self._prefixes[text] = (text, kind, text)
                    self.spool.add(text, wall_ns, f"{text} 1 {_time(wall_ns)}\n")
        elif isinstance(value, (int, float)) and math.isfinite(value) and (kind != "counter" or value >= 0):
            self.spool.add(series, wall_ns, f"{prefix} {value} {_time(wall_ns)}\n")

    def _begin(self, key: str) -> tuple[str, str, str]:
        metric, labels = split_series(key)
        entry = CATALOGUE.get(metric)
        kind = "gauge" if entry is None else entry.kind
        family = name_of(metric)
        text = "" if entry is None else f"{entry.help} ({entry.unit})" if entry.unit else entry.help
        self.family(family, kind, text)
        prefix = f"{family}{'_total' if kind == 'counter' else ''}{_labels(self.host | labels)}"
        if kind != "info":
            self._add_series(family, prefix)
        return prefix, kind, prefix

    def family(self, family: str, kind: str, text: str) -> None:
        self.heads.setdefault(family, (kind, text))

    def _add_series(self, family: str, series: str) -> None:
        self.series.setdefault(family, {})[series] = None

    def plain(self, family: str, labels: dict[str, str], value: float, wall_ns: int) -> None:
        series = f"{family}{_labels(self.host | labels)}"
        self._add_series(family, series)
        self.spool.add(series, wall_ns, f"{series} {value} {_time(wall_ns)}\n")

    def write(self, out: TextIO) -> None:
        for family, (kind, text) in self.heads.items():
            if not self.series.get(family):
                continue
            out.write(f"# TYPE {family} {kind}\n")
            if text:
                out.write(f"# HELP {family} {_escaped(text)}\n")
            for series in self.series[family]:
                self.spool.write(series, out)
        out.write("# EOF\n")


def write_openmetrics(recording: Recording, scope: Scope, out: TextIO) -> int:
    """Metrics, training steps (`dctop_train_*{run}`) and alerts (`dctop_alert` 1 from opening, 0 at closing).
    Returns how many samples the clock made impossible and were left out."""
    families = _Families(recording.meta.get("host", "?"))
    try:
        for snap in snapshots(recording, scope):
            for key, value in all_values(snap).items():
                if scope.takes(key):
                    families.sample(key, value, snap.frame.wall_ns)
        if not scope.metrics:
            _steps(recording, scope, families)
            _alerts(recording, scope, families)
        families.write(out)
        return families.spool.skipped
    finally:
        families.spool.close()


def _steps(recording: Recording, scope: Scope, families: _Families) -> None:
    fields = [name for name in STEP_FIELDS if name != "wall_ns"]
    for name in fields:
        if name not in _STEP_SKIP:
            families.family(f"dctop_train_{name}", "gauge", f"Training: {name} of the step that ended then")
    families.family("dctop_train_step", "gauge", "Training: number of the step that ended then")
    for run, _, at, *values in step_rows(recording, scope):
        if not isinstance(at, int):
            continue
        for name, value in zip(fields, values, strict=True):
            if isinstance(value, (int, float)) and (name not in _STEP_SKIP or name == "step"):
                families.plain(f"dctop_train_{name}", {"run": str(run)}, value, at)


def _alerts(recording: Recording, scope: Scope, families: _Families) -> None:
    families.family("dctop_alert", "gauge", "1 while the alert was open, 0 when it closed")
    for t0, t1, number, _, kind, severity, rule, entity, *_ in event_rows(recording, scope):
        if kind != "alert" or not isinstance(t0, int):
            continue
        labels = {"rule": rule, "entity": entity, "severity": severity, "alert": number}
        shown = {k: str(v) for k, v in labels.items() if v is not None}
        families.plain("dctop_alert", shown, 1, t0)
        if isinstance(t1, int):
            families.plain("dctop_alert", shown, 0, t1)
