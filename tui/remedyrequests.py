"""Applying a remedy from the screen: choose, see what would change, confirm, and it is done beside the
screen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dctop.engine.rules.alert import Alert, Remedy
    from dctop.engine.rules.remedies import Planned
    from dctop.engine.training.runstate import RunState
    from dctop.tui.application import DctopApp


def offer(app: DctopApp, alert_id: int) -> None:
    """The remedies of an alert that a successor can carry out; those that cannot are said to be for
    copying."""
    from dctop.engine.rules.remedies import acts

    alert = next((a for a in app.source.alerts() if a.id == alert_id), None)
    if alert is None:
        app.say("the alert is gone", "warning")
        return
    run = next((r for r in app.source.runs() if r.id == alert.entity), None)
    if run is None or not run.config.get("config"):
        app.say("not a run of dctop: copy the command instead (y)", "warning")
        return
    choices = [r for r in alert.remedies if acts(alert, r)]
    if not choices:
        app.say("no remedy of this alert can be applied by dctop: copy the command (y)", "warning")
    elif len(choices) == 1:
        confirm(app, run, alert, choices[0])
    else:
        _choose(app, run, alert, choices)


def _choose(app: DctopApp, run: RunState, alert: Alert, choices: Sequence[Remedy]) -> None:
    from dctop.tui.dialogs.lists import Item, ListDialog

    by_key = {str(r.key): r for r in choices}
    items = [Item(key, r.text + (f" ({r.quantity})" if r.quantity else "")) for key, r in by_key.items()]
    app.node.open(ListDialog("apply", items, lambda key: confirm(app, run, alert, by_key[key]), items[0].id))


def confirm(app: DctopApp, run: RunState, alert: Alert, remedy: Remedy) -> None:
    """Say what will be done, then ask."""
    from dctop.engine.rules.remedies import Known, plan
    from dctop.tui.dialogs.forms import ConfirmDialog

    found = plan(alert, remedy, run, Known(os.cpu_count() or 1))
    if isinstance(found, str):
        app.say(found, "warning")
        return
    app.node.open(
        ConfirmDialog("apply remedy", lines(run, remedy, found), lambda: carry_out(app, run, alert, remedy))
    )


def lines(run: RunState, remedy: Remedy, found: Planned) -> list[str]:
    """What the confirmation says."""
    from dctop.engine.rules.remedies import Measure
    from dctop.engine.training.control import ACTIVE
    from dctop.engine.training.remedywords import change_words, promise_words

    said = [remedy.text + "?"]
    if run.status in ACTIVE:
        said.append(f"{run.id} finishes its step, saves a checkpoint and ends.")
    if isinstance(found, Measure):
        said.append("Memory is measured first, by short runs with small batches; then the successor starts.")
    elif not isinstance(found, str):
        said += [f"Its successor: {change_words(found)}.", f"Predicted: {promise_words(found.prediction)}."]
    return said


def carry_out(app: DctopApp, run: RunState, alert: Alert, remedy: Remedy) -> None:
    """Beside the screen: it takes seconds."""
    from dctop.engine.training import successor

    def work() -> tuple[str | None, str | None]:
        try:
            return successor.apply(run, successor.planned(run, alert, remedy)), None
        except successor.CannotApply as error:
            return None, str(error)

    def done(result: tuple[str | None, str | None]) -> None:
        new, error = result
        if new is None:
            app.say(error or "it could not be applied", "error")
        else:
            app.say(f"started {new} in place of {run.id}")
            app.requests.show_run(new)

    app.say("applying ...")
    app.in_thread(work, done, "apply remedy")
