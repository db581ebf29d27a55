"""An alert's numbers as they are shown: values in their unit, series as lanes over one time axis. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dctop.engine.metrics.derived import CATALOGUE
from dctop.engine.metrics.source import Source
from dctop.engine.rules.alert import Alert, Evidence
from dctop.engine.rules.base import num
from dctop.tui.draw import units
from dctop.tui.draw.graph import top_of

SHORT_S, LONG_S = 60.0, 900.0
"""A lane shows at least the last minute, and at most as much as the history keeps."""


def value(e: Evidence) -> str:
    v = e.value
    if v is None:
        return "-"
    if isinstance(v, str):
        text = v
    elif e.unit in ("bytes", "bytes/s", "bytes/h"):
        return units.iec(v) + e.unit.removeprefix("bytes")
    elif e.unit == "s":
        return units.duration(v, 0)
    else:
        text = units.significant(v, 0) if not float(v).is_integer() or abs(v) >= 1e6 else f"{v:.0f}"
    return f"{text} {e.unit}".rstrip()


def of_series(key: str, v: float) -> str:
    """A value of a series in its own unit."""
    metric = CATALOGUE.get(key.partition("{")[0])
    return value(Evidence("", v if v == v else None, "" if metric is None else metric.unit))


def leading(a: Alert) -> Evidence | None:
    """The number that stands for the alert in the list: the first with a threshold, else with a series."""
    for wanted in ("threshold", "series"):
        found = next((e for e in a.evidence if getattr(e, wanted)), None)
        if found is not None:
            return found
    return a.evidence[0] if a.evidence else None


def scale(key: str, values: Sequence[float]) -> tuple[float, float]:
    """0-100 for shares; else between the values' own extremes, so that a small change still shows."""
    metric = CATALOGUE.get(key.partition("{")[0])
    if metric is not None and metric.unit == "%":
        return 0.0, 100.0
    known = [v for v in values if v == v]
    if not known:
        return 0.0, 1.0
    lo, hi = min(known), max(known)
    return (lo, hi) if hi - lo > 0.05 * abs(hi) else (min(0.0, lo), top_of([hi]))


def span_s(age_s: float, interval_s: float, cells: int) -> float:
    """How far back the lanes go: a third of it lies before the alert began, where that is possible."""
    least = max(SHORT_S, cells * interval_s)
    return min(max(least, 1.5 * age_s), max(least, LONG_S * interval_s))


def lane(source: Source, key: str, seconds: float, cells: int) -> list[float]:
    """The series' last `seconds` as means of `cells` equal parts, NaN where nothing was read."""
    n = max(cells, round(seconds / source.interval_s))
    values = source.window(key, n)
    out: list[float] = []
    for i in range(cells):
        part = [v for v in values[i * n // cells : (i + 1) * n // cells] if v == v]
        out.append(sum(part) / len(part) if part else float("nan"))
    return out


def onset_cell(age_s: float, seconds: float, cells: int) -> int | None:
    """Where in a lane the alert began; None: before it."""
    at = int(cells * (1.0 - age_s / seconds)) if seconds > 0 else -1
    return min(cells - 1, at) if at >= 0 else None


def around(
    source: Source, keys: Sequence[str], ago: int, before: int, rows: int
) -> list[tuple[int, tuple[float, ...]]]:
    """(ticks after the onset, values) of the samples around it, oldest first; `ago`: ticks since the onset.
    Empty where the onset lies beyond what the history keeps."""
    n = ago + before + 1
    columns = [source.window(key, n) for key in keys]
    out = [(i - before, tuple(float(c[i]) for c in columns)) for i in range(min(rows, n)) if columns]
    return out if any(v == v for _, values in out for v in values) else []


def power_w(source: Source, seconds: float) -> float | None:
    """Mean power of GPUs and CPU packages over the last `seconds`; None where no meter is read."""
    snap = source.snapshot()
    if snap is None:
        return None
    n = max(1, round(min(seconds, LONG_S) / source.interval_s))
    total, known = 0.0, False
    for metric, label in (("gpu.power_w", "gpu"), ("cpu.power_w", "package")):
        for name in snap.labels.get(metric, ()):
            values = [v for v in source.window(f"{metric}{{{label}={name}}}", n) if v == v]
            if values:
                total += sum(values) / len(values)
                known = True
    return total if known else None


def energy(source: Source, seconds: float, price: float | None, currency: str) -> str | None:
    """What GPUs and CPUs used while the alert was open; None where no meter is read."""
    power = power_w(source, seconds)
    if power is None:
        return None
    kwh = power * seconds / 3.6e6
    text = f"{num(power)} W meanwhile: {num(kwh)} kWh"
    return text if price is None else f"{text}, {kwh * price:.2f} {currency}"
