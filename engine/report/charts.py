"""The curves of a report: of the node from rollups or frames, of training from its steps."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence

from dctop.engine.export.tables import Scope, snapshots
from dctop.engine.recording.facts import Bucket, series_keys
from dctop.engine.recording.overview import spread
from dctop.engine.recording.reader import Recording
from dctop.engine.report.blocks import Band, Chart, Curve, Point
from dctop.engine.report.factors import unit_of
from dctop.engine.report.facts import Facts, Incident, S
from dctop.engine.report.units import span
from dctop.engine.training.runstate import RunState
from dctop.probes.base import split_series

COLUMNS = 240
"""Points of a curve: three pixels each."""
DECODED = 3600
"""Frames that are decoded for a window; a longer one is drawn from rollups (60 frames each)."""
CURVES = 5
_PERCENT = re.compile(r"[<>]=?\s*([\d.]+)\s*%")
_NODE: tuple[tuple[str, str, float | None, tuple[str, ...]], ...] = (
    ("gpu", "%", 100.0, ("gpu.util_pct",)),
    ("gpu_memory", "%", 100.0, ("gpu.mem_used_pct",)),
    ("cpu", "%", 100.0, ("cpu.util_pct", "cpu.iowait_pct", "cpu.steal_pct")),
    ("memory", "%", 100.0, ("memory.used_pct", "container.memory_used_pct", "memory.swap_used_pct")),
    ("pressure", "%", None, ("pressure.cpu.some_pct", "pressure.memory.some_pct", "pressure.io.some_pct")),
    ("disk", "bytes/s", None, ("disk.read_bytes_per_s", "disk.write_bytes_per_s")),
    ("network", "bytes/s", None, ("net.rx_bytes_per_s", "net.tx_bytes_per_s")),
)  # fmt: skip
"""Its title among the texts, unit, least top of the axis, metrics. Of labelled ones the largest CURVES are
drawn."""
_TRAIN = (("loss", ""), ("step_s", "s"), ("grad_norm", ""))


def node_charts(facts: Facts, t0: int, t1: int, extra: Sequence[str] = ()) -> list[Chart]:
    """The node from `t0` to `t1`; `extra`: further series, one chart each."""
    keys = series_keys(facts.recording)
    plan = [
        (facts.say(f"chart.{title}"), unit, top, _series_of(keys, metrics))
        for title, unit, top, metrics in _NODE
    ]
    drawn = {k for *_, found in plan for k in found}
    plan += [(k, unit_of(k), None, [k]) for k in extra if k not in drawn and k in keys]
    curves = curves_of(facts.recording, [k for *_, found in plan for k in found], t0, t1)
    out = []
    for title, unit, top, found in plan:
        have = {k: curves[k] for k in found if any(p.mean is not None for p in curves[k])}
        chosen = _largest(have)
        if any(p.high for k in chosen for p in have[k]):
            lines = [Curve(_short(k, found), have[k]) for k in chosen]
            out.append(Chart(title, unit, t0, t1, lines, bands(facts), marks(facts), None, top))
    return out


def _series_of(keys: Collection[str], metrics: Sequence[str]) -> list[str]:
    """In the order of the metrics."""
    return [
        m for metric in metrics for m in sorted(keys) if m.partition("{")[0] == metric and not _virtual(m)
    ]


def _virtual(key: str) -> bool:
    """The loopback interface and loop devices are not what a chart of the node is for."""
    return bool(re.search(r"\{(?:nic=lo|disk=(?:loop|ram)\d*)", key))


def _short(key: str, among: Sequence[str]) -> str:
    """`read sda`, `util_pct`: what tells it from its neighbours."""
    name, labels = split_series(key)
    word = name.rpartition(".")[2] if len({k.partition("{")[0] for k in among}) > 1 else ""
    if name.startswith(("pressure.", "container.", "memory.")):
        word = " ".join(name.split(".")[-2:])
    for ending in ("_bytes_per_s", "_pct", "some"):
        word = word.removesuffix(ending).strip()
    label = " ".join(v if len(v) < 20 else f"{v[:8]}…{v[-4:]}" for v in labels.values())
    return " ".join(x for x in (word.replace("_", " "), label) if x) or name


def _largest(curves: Mapping[str, Sequence[Point]]) -> list[str]:
    def mean(key: str) -> float:
        known = [p.mean for p in curves[key] if p.mean is not None]
        return sum(known) / len(known)

    moving = [k for k in curves if any(p.high for p in curves[k])]
    chosen = sorted(moving or curves, key=lambda k: (-mean(k), k))[:CURVES]
    order = list(curves)
    return sorted(chosen, key=order.index)


def curves_of(recording: Recording, keys: Sequence[str], t0: int, t1: int) -> dict[str, list[Point]]:
    """COLUMNS points a series from `t0` to `t1`."""
    whole = recording.wall_range or (t0, t1)
    interval = max(1, int(recording.interval_s * S))
    if (t1 - t0) // interval <= DECODED:
        parts = _decoded(recording, keys, t0, t1)
    else:
        n = max(COLUMNS, -(-(whole[1] - whole[0]) // (60 * interval)))
        parts = {
            k: [b for b in bs if b.t1 >= t0 and b.t0 <= t1] for k, bs in recording.overviews(keys, n).items()
        }
    out = {}
    for key in keys:
        n = min(COLUMNS, max(1, (t1 - t0) // interval))
        buckets = spread(parts.get(key, ()), n, t0, max(t1, t0 + 1), interval)
        out[key] = [Point((b.t0 + b.t1) // 2, b.min, b.mean, b.max) for b in buckets]
    return out


def _decoded(recording: Recording, keys: Sequence[str], t0: int, t1: int) -> dict[str, list[Bucket]]:
    parts: dict[str, list[Bucket]] = {k: [] for k in keys}
    for snap in snapshots(recording, Scope(t0, t1)):
        wall = snap.frame.wall_ns
        for key, found in parts.items():
            v = snap.num(key)
            if v is not None and v == v:
                found.append(Bucket(wall, wall, v, v, v))
    return parts


def run_charts(facts: Facts, runs: Sequence[RunState], t0: int, t1: int) -> list[Chart]:
    out = []
    for name, unit in _TRAIN:
        lines = []
        for run in runs:
            points = step_points(run, name, t0, t1)
            if points:
                lines.append(Curve(run.id, points))
        if lines:
            chosen = lines[-CURVES:]
            out.append(Chart(facts.say(f"chart.{name}"), unit, t0, t1, chosen, bands(facts), marks(facts)))
    return out


def step_points(run: RunState, name: str, t0: int, t1: int) -> list[Point]:
    walls, column = run.columns.get("wall_ns"), run.columns.get(name)
    if not walls or column is None:
        return []
    a, z = bisect_left(walls, t0), bisect_right(walls, t1)
    width = max(1, (t1 - t0) // COLUMNS)
    cells: dict[int, list[float]] = {}
    for wall, v in zip(walls[a:z], column[a:z], strict=True):
        if v == v and abs(v) != float("inf"):
            cells.setdefault(int(wall - t0) // width, []).append(v)
    out: list[Point] = []
    usual = (z - a) and (t1 - t0) // (z - a)
    for i, vs in sorted(cells.items()):
        at = t0 + i * width + width // 2
        if out and at - out[-1].t_ns > max(3 * width, 5 * usual):  # an evaluation, or the run stood still
            out.append(Point((at + out[-1].t_ns) // 2, None, None, None))
        out.append(Point(at, min(vs), sum(vs) / len(vs), max(vs)))
    return out


def limits(incident: Incident) -> dict[str, float]:
    """Thresholds in percent of the series an incident's alerts judge."""
    out = {}
    for a in incident.alerts:
        for e in a.evidence:
            hit = _PERCENT.search(e.threshold or "")
            if hit is not None and e.series is not None and unit_of(e.series) == "%":
                out[e.series] = float(hit[1])
    return out


def bands(facts: Facts) -> list[Band]:
    """When alerts were open, gravest last, and what was not recorded."""
    out: list[Band] = []
    for severity in ("info", "warning", "critical"):
        alerts = sorted(
            (a for a in facts.alerts if a.suppressed_by is None and a.severity == severity),
            key=lambda a: a.opened_wall_ns,
        )
        for a in alerts:
            text = f"{a.rule}: {a.title}"
            last = out[-1] if out else None
            if last is not None and last.kind == severity and a.opened_wall_ns <= last.t1_ns:
                end = max(last.t1_ns, facts.end_of(a))
                out[-1] = Band(last.t0_ns, end, severity, f"{last.text}; {text}")
            else:
                out.append(Band(a.opened_wall_ns, facts.end_of(a), severity, text))
    return out + [
        Band(g.t0, g.t1, "gap", facts.say("chart.gap", span=span((g.t1 - g.t0) / S), reason=g.reason))
        for g in facts.gaps
    ]


def marks(facts: Facts) -> list[tuple[int, str]]:
    """Beginnings and ends of runs, markers, notes."""
    return [(e.t0, e.title) for e in facts.events if e.kind in ("run", "marker", "note")]
