"""What is asked of a training run from the screen: stop, save, resume, measure, compare, remove."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dctop.tui import intents as i

if TYPE_CHECKING:
    from dctop.engine.training.launcher import LaunchCheck, LaunchResult
    from dctop.engine.training.runstate import RunState
    from dctop.tui.application import DctopApp
    from dctop.tui.dialogs.forms import Value
    from dctop.tui.requests import Requests

ACTIVE = ("starting", "running", "stopping")


class RunRequests:
    """Bound to one app. Everything that touches a process or a file runs beside the screen."""

    def __init__(self, app: DctopApp, requests: Requests) -> None:
        self.app = app
        self.requests = requests

    def handle(self, intent: i.Intent) -> None:
        match intent:
            case i.CompareRun(run_id, compared):
                self.compare(run_id, compared)
            case i.StopRun(run_id):
                self.with_run(run_id, "stopping a run", self.stop)
            case i.CheckpointRun(run_id):
                self.with_run(run_id, "a checkpoint", self.checkpoint)
            case i.ResumeRun(run_id):
                self.with_run(run_id, "resuming", self.resume)
            case i.InferRun(run_id):
                self.with_run(run_id, "measuring", self.measure)
            case i.RemoveRun(run_id):
                self.with_run(run_id, "removing a run", self.remove)

    def with_run(self, run_id: str, what: str, act: Callable[[RunState], None]) -> None:
        """Do it with the run as it is now, unless that is refused or the run is gone."""
        if self.requests.refused(what):
            return
        run = next((r for r in self.app.source.runs() if r.id == run_id), None)
        if run is None:
            self.app.say(f"run {run_id} is gone", "warning")
        else:
            act(run)

    def control(self, work: Callable[[], None], done: str, what: str) -> None:
        """Run an action of `engine.training.control` and tell how it went."""

        def body() -> str | None:
            from dctop.engine.training.control import ControlError

            try:
                work()
            except ControlError as e:
                return str(e)
            return None

        def said(error: str | None) -> None:
            self.app.say(error or done, "error" if error else "information")

        self.app.in_thread(body, said, what)

    # -- act on it ----------------------------------------------------------------------------------

    def stop(self, run: RunState) -> None:
        from dctop.engine.training import control
        from dctop.tui.dialogs.forms import ConfirmDialog

        lines = [f"Stop run {run.id} ({run.workload})?", "It finishes the step and saves a checkpoint."]
        if run.trouble:
            lines.append(f"Now: {run.trouble}")

        def yes() -> None:
            self.control(
                lambda: control.stop(run),
                "asked to stop: it finishes its step and saves a checkpoint",
                "stop run",
            )

        self.app.node.open(ConfirmDialog("stop training", lines, yes))

    def checkpoint(self, run: RunState) -> None:
        from dctop.engine.training import control

        self.control(
            lambda: control.checkpoint(run), f"{run.id}: writes a checkpoint after this step", "checkpoint"
        )

    def remove(self, run: RunState) -> None:
        from dctop.engine.training import control
        from dctop.tui.dialogs.forms import ConfirmDialog

        if run.status in ACTIVE:
            self.app.say(f"{run.id} is {run.status}: stop it first (F9)", "warning")
            return
        lines = [
            f"Delete run {run.id} with its log and checkpoints?",
            run.directory,
            "This cannot be undone.",
        ]

        def yes() -> None:
            self.control(lambda: control.remove(run), f"{run.id}: removed", "remove run")

        self.app.node.open(ConfirmDialog("remove run", lines, yes))

    # -- start, and go on from it -------------------------------------------------------------------

    def launch(self) -> None:
        """The launch dialog at once; what the interpreter says is added when it has answered."""
        if self.requests.refused("training"):
            return
        from dctop.engine.training import launcher
        from dctop.tui.dialogs.launch import LaunchDialog

        def start(values: dict[str, Value]) -> str | None:
            self.app.in_thread(lambda: launcher.launch(values), self.launched, "training")
            self.app.say("starting ...")
            return None

        dialog = LaunchDialog(launcher.options, launcher.last_workload(), start)

        def checked(result: LaunchCheck) -> None:
            dialog.checked(result)
            if dialog in self.app.node.dialog.stack:
                self.app.node.redraw_dialog()

        self.app.node.open(dialog)
        self.app.in_thread(launcher.check, checked, "training check")

    def resume(self, run: RunState) -> None:
        """Choose a checkpoint; the options are the run's own."""
        from dctop.engine.training import launcher

        if run.status in ACTIVE:
            self.app.say(f"{run.id} is {run.status}: it needs no resuming", "warning")
            return
        found = self._checkpoints(run)
        if not found:
            self.app.say(f"{run.id} has no checkpoint to go on from", "warning")
            return

        def choose(which: str) -> None:
            self.app.in_thread(lambda: launcher.launch({"workload": run.workload}, None, run.id, which),
                               self.launched, "resume")  # fmt: skip

        from dctop.tui.dialogs.lists import ListDialog

        self.app.node.open(ListDialog(f"resume {run.id} from", _items(found), choose, str(found[-1].step)))

    def measure(self, run: RunState) -> None:
        """Ask with what options; measure the run that was trained."""
        from dctop.engine.training import infer
        from dctop.engine.training.folder import INFER
        from dctop.tui.dialogs.launch import field_of
        from dctop.tui.dialogs.options import OptionsDialog

        of: Any = (run.config.get("measures") or {}).get("run") if run.workload == INFER else run.id
        trained = next((r for r in self.app.source.runs() if r.id == of), None)
        if trained is None:
            self.app.say("the run that was measured is not here any more", "warning")
            return
        found = self._checkpoints(trained)
        if not found:
            self.app.say(f"{of} has no checkpoint yet (w writes one)", "warning")
            return
        steps = ("best", "last", *(str(c.step) for c in reversed(found)))

        def start(values: dict[str, Value]) -> str | None:
            self.app.say("measuring ...")
            self.app.in_thread(lambda: infer.launch(str(of), values), self.launched, "inference")
            return None

        fields = [field_of(o) for o in infer.OPTIONS]
        fields[0].kind, fields[0].choices, fields[0].value, fields[0].edit = "choice", steps, "best", None
        self.app.node.open(OptionsDialog(f"measure {of}", fields, start, f"dctop infer {of}"))

    def _checkpoints(self, run: RunState) -> list[Any]:
        from pathlib import Path

        from dctop.engine.training import checkpoints

        config = run.config.get("config")
        return checkpoints.listed(
            checkpoints.folder_of(Path(run.directory), config if isinstance(config, dict) else {})
        )

    def launched(self, result: LaunchResult) -> None:
        if result.error:
            self.app.say(f"training: {result.error}", "error")
            return
        self.app.say(f"run {result.run_id} started")
        self.requests.select("run", str(result.run_id))

    # -- look at it ---------------------------------------------------------------------------------

    def compare(self, run_id: str, compared: Sequence[str]) -> None:
        from dctop.tui.dialogs.lists import Item, ListDialog
        from dctop.tui.panes.run_view import MOST_COMPARED, RunPane

        pane = self.app.node.panes.get("run")
        model = None if pane is None else pane.model
        others = [r for r in self.app.source.runs() if r.id != run_id and r.workload != "infer"]
        if not isinstance(model, RunPane) or not others:
            self.app.say("there is no other run to compare with", "warning")
            return

        def choose(other: str) -> None:
            if not other:
                model.compared = ()
            elif other in model.compared:
                model.compared = tuple(r for r in model.compared if r != other)
            else:
                model.compared = (*model.compared[-(MOST_COMPARED - 1) :], other)
            self.app.node.redraw_pane("run")

        items = [
            Item(r.id, ("* " if r.id in compared else "  ") + r.id, f"{r.status}, step {r.step or 0:,}")
            for r in others
        ]
        if compared:
            items.insert(0, Item("", "  none", "this run alone"))
        self.app.node.open(ListDialog("compare with", items, choose))


def _items(found: Sequence[Any]) -> list[Any]:
    """Checkpoints for a list, the newest first."""
    from dctop.tui.dialogs.lists import Item
    from dctop.tui.draw import units

    return [
        Item(str(c.step), f"step {c.step:,}", f"{units.clock(c.wall_ns)}  {units.iec(c.bytes)}"
             + ("  best" if c.best else ""))
        for c in reversed(found)
    ]  # fmt: skip
