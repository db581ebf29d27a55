"""Whether an alert on a healthy run was true: by what the kernel's files said meanwhile, or by how the run
went on. Pure; the criteria were written down before any long control was run.

Whatever no criterion confirms is a false alarm. Nothing here looks at a rule's own evidence or thresholds.
After the first hour had been seen, criteria were added where these could not have told: of a plateau by
evaluations, of all processors taken, of a short change (`peak`), of ten busy minutes; after the second, of
kills and busy minutes by what was measured around other alerts, and of a run whose own record says it failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Class = Literal["false", "machine", "true", "remark"]
"""`machine`: true, of the machine that others use as well (no fault of the run). `true`: true of the run, as
its later course shows. `remark`: a note any measurement of a model may earn."""
ORDER: tuple[Class, ...] = ("false", "machine", "true", "remark")

SPEED = ("throughput-regression", "cpu-contended", "input-bound", "step-jitter", "infer-latency-regression",
         "infer-tail", "infer-queueing", "cpu-single-core", "straggler-wait", "infer-slo")  # fmt: skip
REMARKS = ("infer-cold-start", "infer-batch1-bound", "infer-model-heavy")
WAITED, STEAL, ROSE, FULL = 0.10, 0.05, 0.5, 0.8
"""Share of the time a run's main thread was runnable without a processor; processors stolen; processors more
than before taken by others; share of all processors that were busy, over all that is kept."""
TAKEN, HELD = 0.95, 0.25
"""Share of all processors that were busy in the minute; processors others held of them."""
TEN_MINUTES = 600 * 10**9
PRESSED = 5.0
"""Per cent of the time some task waited (avg10, at its highest within the minute)."""
WORSE, BETTER = 1.03, 0.98
"""Of a later loss against the best before; of the loss later against that when a plateau was told."""

Surroundings = Mapping[str, Mapping[str, float]]


class Span(NamedTuple):
    """What was measured around some alert of the journal, and when (wall ns)."""

    begin: int
    end: int
    seen: Mapping[str, float]


def spans(alerts: Iterable[Mapping[str, Any]]) -> list[Span]:
    """All the journal knows of the machine: what was measured around one alert tells of others, too. A kill
    is counted at the next look only, and ten busy minutes may begin after a quiet hour."""
    out = []
    for a in alerts:
        end, around = int(a["opened_ns"]), a.get("around") or {}
        for name in ("now", "before"):
            seen = around.get(name) or {}
            begin = end - int(1e9 * seen.get("seconds", 0.0))
            if begin < end:
                out.append(Span(begin, end, seen))
            end = begin
    return out


def classify(
    alert: Mapping[str, Any], run: Mapping[str, Any] | None, measured: Sequence[Span] = ()
) -> tuple[Class, str]:
    """(class, why in a few words) of one alert of the journal; `run`: what is known of its run in the end;
    `measured`: `spans` of the whole journal."""
    rule, seen = str(alert["rule"]), alert.get("around") or {}
    if rule in REMARKS and alert["severity"] == "info":
        return "remark", "of any model"
    told = _of_run(rule, alert, run) if run is not None else None
    told = told or _of_machine(rule, alert, seen, cores=float(alert.get("cores") or 1))
    told = told or _measured_later(rule, alert, measured, cores=float(alert.get("cores") or 1))
    return told or ("false", "nothing confirms it")


def _of_machine(
    rule: str, alert: Mapping[str, Any], seen: Surroundings, cores: float
) -> tuple[Class, str] | None:
    now, before = seen.get("now", {}), seen.get("before", {})
    why: str | None = None
    if rule in SPEED:
        why = contention(now, before, cores)
    elif rule == "anomaly":
        why = contention(now, before, cores) or changed(seen.get("peak", now), before)
    elif rule == "cpu-saturated":
        why = _said("share of all processors busy", _overall("busy", now, before) / cores, FULL)
    elif rule == "cpu-steal":
        why = _said("stolen", now.get("steal", 0.0), STEAL)
    elif rule in ("psi-io", "iowait", "disk-util", "disk-latency", "disk-bound"):
        why = _said("pressure of I/O, %", now.get("pressure_io", 0.0), PRESSED) or _said(
            "disk busy", now.get("disk", 0.0), 0.5
        )
    elif rule in ("psi-memory", "host-mem-low"):
        why = _said("pressure of memory, %", now.get("pressure_memory", 0.0), PRESSED) or (
            "little memory available" if now.get("available", 1.0) < 0.15 else None
        )
    elif rule == "oom-killed" and alert["entity"] == "node":
        why = _said("kills counted by the kernel", now.get("oom_kills", 0.0), 1.0)
    elif rule == "fs-readonly":
        why = "mounted read-only" if (alert.get("space") or {}).get("readonly") else None
    elif rule in ("disk-fill", "inode-fill", "shm-exhausted"):
        free = (alert.get("space") or {}).get("inodes" if rule == "inode-fill" else "free", 1.0)
        why = f"{100 * free:.0f} % free" if free < 0.15 else None
    return None if why is None else ("machine", why)


def _measured_later(
    rule: str, alert: Mapping[str, Any], measured: Sequence[Span], cores: float
) -> tuple[Class, str] | None:
    """By what was measured around other alerts, over spans that hold the moment or most of the incident."""
    opened = int(alert["opened_ns"])
    why: str | None = None
    if rule == "oom-killed" and alert["entity"] == "node":
        kills = max(
            (s.seen.get("oom_kills", 0.0) for s in measured if s.begin <= opened <= s.end), default=0.0
        )
        why = _said("kills counted by the kernel", kills, 1.0)
    elif rule == "cpu-saturated":
        begin, end = opened - TEN_MINUTES, alert.get("closed_ns") or opened + TEN_MINUTES
        inside = [s for s in measured if 2 * (min(s.end, end) - max(s.begin, begin)) >= s.end - s.begin]
        busy = max((s.seen.get("busy", 0.0) for s in inside if s.end - s.begin >= TEN_MINUTES), default=0.0)
        why = _said("share of all processors busy", busy / cores, FULL)
    return None if why is None else ("machine", why)


def _overall(what: str, *spans: Mapping[str, float]) -> float:
    """The mean over all spans together."""
    seconds = sum(s.get("seconds", 0.0) for s in spans)
    return sum(s.get(what, 0.0) * s.get("seconds", 0.0) for s in spans) / seconds if seconds else 0.0


def contention(now: Mapping[str, float], before: Mapping[str, float], cores: float) -> str | None:
    """Whether somebody took processors away from the run."""
    more = now.get("others", 0.0) - before.get("others", 0.0) if before else 0.0
    full = now.get("busy", 0.0) >= TAKEN * cores and now.get("others", 0.0) >= HELD
    return (
        _said("share of the time without a processor", now.get("waited", 0.0), WAITED)
        or _said("processors stolen", now.get("steal", 0.0), STEAL)
        or _said("processors more for others", more, ROSE)
        or (f"all processors taken, {now['others']:.2f} by others" if full else None)
    )


def changed(now: Mapping[str, float], before: Mapping[str, float]) -> str | None:
    """Whether the load of the machine really is another one than before."""
    if not before:
        return None
    for name in ("others", "ours", "iowait"):
        by = abs(now.get(name, 0.0) - before.get(name, 0.0))
        if by >= ROSE:
            return f"load of {name} changed by {by:.1f} processors"
    busier = now.get("disk", 0.0) - before.get("disk", 0.0)
    return _said("share of the time more that a disk was busy", busier, 0.1)


def _said(what: str, value: float, least: float) -> str | None:
    return f"{what}: {value:.2f}" if value >= least else None


def _of_run(rule: str, alert: Mapping[str, Any], run: Mapping[str, Any]) -> tuple[Class, str] | None:
    at = int(alert["opened_ns"])
    why: str | None = None
    if rule == "overfitting":
        why = _overfitted(at, run.get("evals") or ())
    elif rule == "plateau":
        why = _no_better(at, run.get("evals") or ()) or _stood_still(at, run.get("losses") or ())
    elif rule == "worker-crashed" and run.get("status") == "failed":
        why = f"its own record says so: {run.get('reason')}"
    elif rule == "slow-convergence":
        why = "it ended short of its target" if run.get("reached") is False else None
    return None if why is None else ("true", why)


def _overfitted(at: int, evals: Sequence[Sequence[float | None]]) -> str | None:
    """`evals`: (wall ns, loss). The best evaluation lies before, and what came from then on was worse."""
    known = [(w, x) for w, x, *_ in evals if w is not None and x is not None]
    before = [x for w, x in known if w <= at]
    if len(before) < 2:
        return None
    best = min(before)
    later = [x for w, x in known if w > at] or before[-1:]
    mean = sum(later) / len(later)
    worse = min(later) >= best and mean >= WORSE * best
    return f"evaluations then {best:.3f} at best, later {mean:.3f}" if worse else None


def _no_better(at: int, evals: Sequence[Sequence[float | None]]) -> str | None:
    """The last three evaluations of the run are in the mean no better than the last three before."""
    known = [(w, x) for w, x, *_ in evals if w is not None and x is not None]
    before, later = [x for w, x in known if w <= at][-3:], [x for w, x in known if w > at][-3:]
    if len(before) < 3 or len(later) < 3:
        return None
    then, end = sum(before) / 3, sum(later) / 3
    return f"evaluations {then:.3g} then, {end:.3g} in the end" if end >= BETTER * then else None


def _stood_still(at: int, losses: Sequence[Sequence[float]]) -> str | None:
    """`losses`: (wall ns, median of a piece of the run). What was left of the run brought next to nothing."""
    before = [x for w, x in losses if w <= at][-5:]
    later = [x for w, x in losses if w > at]
    if len(before) < 5 or len(later) < 10:
        return None
    then, end = sorted(before)[len(before) // 2], sorted(later[-5:])[2]
    return f"loss {then:.3g} then, {end:.3g} in the end" if end >= BETTER * then else None


def with_roots(
    alerts: Sequence[Mapping[str, Any]], told: Sequence[tuple[Class, str]]
) -> list[tuple[Class, str]]:
    """A symptom that nothing else confirms shares the class of the alert it was shown under."""
    out = list(told)
    for i, a in enumerate(alerts):
        root = a.get("symptom_of")
        if root is None or out[i][0] != "false":
            continue
        for j, b in enumerate(alerts):
            near = b["session"] == a["session"] and abs(int(b["opened_ns"]) - int(a["opened_ns"])) < 15 * 60e9
            if b["rule"] == root and near and told[j][0] != "false":
                out[i] = (told[j][0], f"symptom of {root}: {told[j][1]}")
                break
    return out
