"""After a remedy: what was predicted beside what came of it, told by the successor of the run.

A run is the successor of another as the engine sees it (its parent, resumed from it, the same workload
started later). Only where its configuration differs was anything applied. Step times are judged past warm-up
over 50 steps, survival by getting 50 steps past where the other one fell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dctop.engine.rules.base import Prediction, num
from dctop.engine.rules.texts import catalogue

if TYPE_CHECKING:
    from dctop.engine.rules.runwindow import RunWindow


STEPS = 50
MET = 0.20
"""A prediction is met within so much (RULES 6.4)."""


def applied(old: RunWindow, new: RunWindow) -> str | None:
    """What is different in the successor, as `workers 0 -> 4`; None: nothing."""
    before, after = old.config("config"), new.config("config")
    if not isinstance(before, dict) or not isinstance(after, dict):
        return None
    changed = [
        f"{key} {_shown(before.get(key))} -> {_shown(after.get(key))}"
        for key in dict.fromkeys((*before, *after))
        if before.get(key) != after.get(key)
    ]
    return ", ".join(changed[:4]) or None


def _shown(value: object) -> str:
    return num(value) if isinstance(value, float) else "-" if value is None else str(value)


def verdict(lang: str, p: Prediction, old: RunWindow, new: RunWindow) -> str | None:
    """One sentence; None while it cannot be told yet, or nothing was changed."""
    change = applied(old, new)
    if change is None:
        return None
    words = catalogue(lang).words
    facts: dict[str, object] = {"run": new.id, "change": change}
    if p.field == "survives":
        if (new.step or 0) < max(p.value, 1.0) + STEPS:
            return None if new.active else words["verdict.fell"].format(step=num(new.step, 9), **facts)
        return words["verdict.survived"].format(step=num(new.step, 9), before=num(p.value, 9), **facts)
    seen = new.median(p.field, STEPS)
    if seen is None or p.value <= 0:
        return None
    off = 100.0 * (seen / p.value - 1.0)
    key = "verdict.met" if abs(off) <= 100.0 * MET else "verdict.missed"
    scale = 1000.0 if p.field.endswith("_s") else 1.0
    unit = " ms" if p.field.endswith("_s") else ""
    return words[key].format(
        what=words.get(f"field.{p.field}", p.field), predicted=num(p.value * scale) + unit,
        observed=num(seen * scale) + unit, off=f"{off:+.0f}", **facts,
    )  # fmt: skip
