"""Training: the run that is going on (or went last), and how to start one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from dctop.engine.metrics.model import Snapshot
from dctop.tui.draw import units
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.rows import Row, S, Span
from dctop.tui.intents import Intent, Notice, ShowRun, StopRun
from dctop.tui.keys import Action
from dctop.tui.panes.base import View
from dctop.tui.panes.curve import Curve
from dctop.tui.panes.parts import DataPane, items_row, message, outside
from dctop.tui.panes.run_facts import (
    brief_row,
    data_item,
    ending_row,
    eta_text,
    figures,
    progress,
    status_mark,
    status_row,
)

if TYPE_CHECKING:
    from dctop.engine.training.runstate import RunState


ACTIVE = ("starting", "running", "stopping")


class TrainingPane(DataPane):
    key = "training"
    name = "TRAIN"
    probes = ()
    metrics = ("train.loss", "train.accuracy", "train.samples_per_s", "train.step_s")
    actions: ClassVar[tuple[Action, ...]] = (
        Action("training.show", ("enter",), "run view", "Show the run with all its curves."),
        Action("training.down", ("down",), "next run", "Select the next run.", footer=False),
        Action("training.up", ("up",), "previous run", "Select the previous run.", footer=False),
        Action("training.log", ("y",), "log scale", "Loss on a logarithmic scale, or back."),
        Action("training.stop", ("f9",), "stop run", "Finish the step, save a checkpoint and end."),
    )
    about = (
        "The run that goes on, or the last one: steps done, loss with its direction over the last 50 steps, "
        "accuracy, learning rate, samples per second and the expected end. The bar shows where a step's time "
        "goes: data (waiting for the loader), h2d (copy to the device), forward, loss, backward, opt (the "
        "optimizer), the rest. Much data means that the model waits for its input. The curve is the loss of "
        "the whole run, minimum to maximum of the steps that share a column, with the evaluations as marks. "
        "When a run failed, the line below says why and what to do. A run goes on when dctop ends, and the "
        "next dctop finds it again."
    )

    def __init__(self) -> None:
        self.log = False
        self.selected: str | None = None
        """Run id chosen by hand; None follows the newest."""
        self._curve = Curve()
        self._list_at = 0
        self._listed: tuple[str, ...] = ()

    def chosen(self, view: View) -> RunState | None:
        runs = view.source.runs()
        for run in runs:
            if run.id == self.selected:
                return run
        return runs[0] if runs else None

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        left: list[Span] = [(self.name, S.TITLE)]
        run = self.chosen(view)
        if run is None:
            return left, ()
        left.append((" " + outside(run.workload, view.look), S.DIM))
        if run.pid is not None and run.status in ACTIVE and w >= 40:
            left.append((f" pid {run.pid}", S.DIM))
        if run.synthetic:
            left.append((f" {glyphs(view.look).warning}synthetic", S.WARN))
        sign, style = status_mark(run.status, glyphs(view.look))
        loss = run.last.get("loss")
        right: list[Span] = [(f"{sign} {run.status}", style)]
        if loss is not None:
            bad = not units.known(loss)
            right.append((f"  loss {units.significant(loss, 0)}", S.CRIT if bad else S.VALUE))
        elif progress(run) is not None:
            right.append((units.pct(progress(run), 5), S.VALUE))
        return left, right

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        runs = view.source.runs()
        run = self.chosen(view)
        if run is None:
            self._listed = ()
            return self._none(view, w, h)
        from dctop.tui.panes.run_time import phase_rows

        look = view.look
        ended = ending_row(run, view.source.alerts(), w, look)
        if h == 1:
            return (
                [ended or items_row([*figures(run, look)], w)]
                if run.status not in ACTIVE or run.trouble
                else [self._single(view, run, w)]
            )
        rows = [status_row(run, w, look)]
        if ended is not None:
            rows.append(ended)
        numbers = figures(run, look)
        extra = data_item(run, look)
        if extra is not None:
            numbers.append(extra)
        rows.append(items_row(numbers, w))
        rows += phase_rows(run, w, 2 if h >= 8 else 1 if h >= 4 else 0, look)
        others = [r for r in runs if r is not run]
        n_list = min(len(others) + 1, 5, (h - len(rows) - 4) // 2) if others and h >= 12 else 0
        n_curve = h - len(rows) - max(0, n_list)
        if n_curve >= 2:
            rows += self._curve.rows(run, "loss", w, n_curve, look, self.log)
        self._list_at, self._listed = len(rows), ()
        if n_list > 0:
            shown = self._around(runs, run, n_list)
            self._listed = tuple(r.id for r in shown)
            chosen = S.SELECT if view.focused else S.SELECT_DIM
            rows += [brief_row(r, w, look, chosen if r is run else None) for r in shown]
        return rows

    def _single(self, view: View, run: RunState, w: int) -> Row:
        """Everything that matters on one line: `step 12 840/50 000  loss 2.134↘  lr ...`"""
        step: tuple[Span, ...] = (("step ", S.DIM), (units.grouped(run.step), S.VALUE))
        if run.total_steps is not None:
            step = (*step, (f"/{units.grouped(run.total_steps)}", S.DIM))
        numbers = figures(run, view.look)
        eta: tuple[Span, ...] = (("ETA ", S.DIM), (eta_text(run).strip(), S.TEXT))
        return items_row([step, *numbers[:2], eta, *numbers[2:]], w)

    def _around(self, runs: Sequence[RunState], run: RunState, n: int) -> Sequence[RunState]:
        at = next((i for i, r in enumerate(runs) if r is run), 0)
        top = max(0, min(at - n // 2, len(runs) - n))
        return runs[top : top + n]

    def _none(self, view: View, w: int, h: int) -> list[Row]:
        if view.source.mode == "replay":
            return message(("No training run was known at this moment.",), w, h)
        if h == 1:
            return message(("No training run: press t to start one.",), w, h)
        return message(
            (
                "No training run yet. Press t to start one.",
                "Or in any shell: dctop train mnist-cnn. It appears here by itself, keeps going when dctop "
                "ends, and is found again.",
            ),
            w,
            h,
            head=S.TEXT,
        )

    # -- keys -----------------------------------------------------------------------------------------

    def act(self, action_id: str, view: View) -> Intent | None:
        run = self.chosen(view)
        if action_id == "training.log":
            self.log = not self.log
        elif run is None:
            return Notice("There is no run yet: press t to start one.")
        elif action_id == "training.show":
            return ShowRun(run.id)
        elif action_id == "training.stop":
            if view.source.mode == "replay":
                return Notice("This is a recording: its run is not here to be stopped.", "warning")
            if run.status not in ACTIVE:
                return Notice(f"The run has ended already ({run.status}).")
            if view.readonly:
                return Notice("dctop runs with --readonly: runs are not stopped.", "warning")
            return StopRun(run.id)
        elif action_id in ("training.down", "training.up"):
            runs = view.source.runs()
            at = next((i for i, r in enumerate(runs) if r.id == run.id), 0)
            at = max(0, min(len(runs) - 1, at + (1 if action_id == "training.down" else -1)))
            # At the top it follows the newest again.
            self.selected = runs[at].id if at else None
        return None

    def click(self, x: int, y: int, view: View, double: bool = False) -> Intent | None:
        at = y - self._list_at
        if 0 <= at < len(self._listed):
            self.selected = self._listed[at]
        run = self.chosen(view)
        return ShowRun(run.id) if double and run is not None else None
