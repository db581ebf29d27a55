"""An alert as a document: what `dctop check --json` prints and hooks are handed. Missing is null."""

from __future__ import annotations

import math
from datetime import datetime

from dctop.engine.rules.alert import Alert

Json = dict[str, object]


def iso(ns: int | None) -> str | None:
    """Local time with its offset, to the millisecond."""
    return (
        None if ns is None else datetime.fromtimestamp(ns / 1e9).astimezone().isoformat("T", "milliseconds")
    )


def document(a: Alert) -> Json:
    """Names are stable: scripts rely on them."""

    def clean(value: float | str | None) -> float | str | None:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {
        "id": a.id, "rule": a.rule, "entity": a.entity, "problem": a.problem, "severity": a.severity,
        "kind": a.kind, "state": a.state, "count": a.count, "opened": iso(a.opened_wall_ns),
        "opened_ns": a.opened_wall_ns, "closed": iso(a.closed_wall_ns), "closed_ns": a.closed_wall_ns,
        "step": a.first_step, "title": a.title, "why": a.why, "cost": a.cost,
        "evidence": [
            {"label": e.label, "value": clean(e.value), "unit": e.unit, "threshold": e.threshold,
             "series": e.series}
            for e in a.evidence
        ],
        "ruled_out": list(a.ruled_out),
        "remedies": [
            {"text": r.text, "quantity": r.quantity, "effect": r.effect, "command": r.command}
            for r in a.remedies
        ],
        "suppressed_by": a.suppressed_by, "verdict": a.verdict,
    }  # fmt: skip
