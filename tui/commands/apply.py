"""`dctop runs apply RUN [REMEDY]`: what can be done about a run's alerts, and doing it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dctop.tui.commands import CommandError

if TYPE_CHECKING:
    from dctop.engine.rules.alert import Alert, Remedy
    from dctop.engine.training.runstate import RunState

LOOKS = 1000
"""A long log is looked at so often."""


def apply(names: Sequence[str], as_json: bool) -> int:
    """Without a remedy: list them. A remedy is its number in that list, or `RULE:KEY`. Raises
    CommandError."""
    from dctop.engine.rules.logsource import judge_run
    from dctop.engine.training import control, successor

    if len(names) > 2:
        raise CommandError("apply takes one run and one remedy")
    try:
        run = control.find(names[0])
    except control.ControlError as error:
        raise CommandError(str(error), 1) from None
    alerts = judge_run(run, every_steps=max(5, (run.step or 0) // LOOKS))
    found = successor.actionable([a for a in alerts if a.open], run.id)
    if len(names) < 2:
        return _list(run, found, as_json)
    alert, remedy = _chosen(found, names[1], run)
    try:
        change = successor.planned(run, alert, remedy, _tell)
        new = successor.apply(run, change, _tell)
    except successor.CannotApply as error:
        raise CommandError(str(error), 1) from None
    from dctop.engine.training.remedywords import change_words, promise_words

    if as_json:
        print(json.dumps({"run": new, **change.record(run.id)}, indent=1, allow_nan=False))
    else:
        print(f"{new}: in place of {run.id}: {change_words(change)}")
        print(f"predicted: {promise_words(change.prediction)}; dctop runs show {new} tells what came of it")
    return 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _name(alert: Alert, remedy: Remedy) -> str:
    return f"{alert.rule}:{remedy.key}"


def _chosen(found: Sequence[tuple[Alert, Remedy]], which: str, run: RunState) -> tuple[Alert, Remedy]:
    if which.isdigit() and 1 <= int(which) <= len(found):
        return found[int(which) - 1]
    for pair in found:
        if _name(*pair) == which:
            return pair
    names = ", ".join(_name(*pair) for pair in found) or "none"
    raise CommandError(f"{run.id} has no remedy '{which}'; there are: {names}", 1 if not found else 2)


def _list(run: RunState, found: Sequence[tuple[Alert, Remedy]], as_json: bool) -> int:
    if as_json:
        rows = [
            {"number": n, "remedy": _name(a, r), "alert": a.title, "text": r.text, "quantity": r.quantity,
             "effect": r.effect}
            for n, (a, r) in enumerate(found, 1)
        ]  # fmt: skip
        print(json.dumps(rows, indent=1))
        return 0
    if not found:
        print(f"{run.id}: no open alert of it has a remedy that dctop can apply", file=sys.stderr)
    last = None
    for n, (a, r) in enumerate(found, 1):
        if a is not last:
            print(f"{a.severity}  {a.title}")
            last = a
        more = "; ".join(x for x in (r.quantity, r.effect) if x)
        print(f"  {n}. {r.text}{f' ({more})' if more else ''}   {_name(a, r)}")
    return 0


def outcome(run: RunState, remedy: Mapping[str, Any]) -> str:
    """What a successor mends and what came of it, for `dctop runs show`."""
    from dctop.engine.rules.remedies import verdict
    from dctop.engine.training.remedywords import verdict_words

    found = verdict(run)
    told = "too early to tell" if found is None else verdict_words(found)
    options = remedy.get("options")
    changed = ", ".join(f"{k}={v}" for k, v in options.items()) if isinstance(options, Mapping) else ""
    what = f"{remedy.get('rule')}:{remedy.get('remedy')} of {remedy.get('run')}"
    return f"{what} ({changed or 'as it was'}): {told}"
