"""What panes ask for (`intents`): processes, runs, alerts, filter, sort order, clipboard."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from dctop.tui import intents as i
from dctop.tui.dialogs.base import LineEdit
from dctop.tui.panes.alerts import AlertsPane
from dctop.tui.panes.gpu import GpuPane
from dctop.tui.panes.training import TrainingPane
from dctop.tui.sources import is_live
from dctop.tui.state import Filtering

if TYPE_CHECKING:
    from dctop.tui.application import DctopApp
    from dctop.tui.runrequests import RunRequests

MUTE_MINUTES = 60.0


class Requests:
    """Bound to one app. Whatever reaches outside dctop is confirmed first and refused when read-only."""

    def __init__(self, app: DctopApp) -> None:
        self.app = app

    @cached_property
    def runs(self) -> RunRequests:
        """What concerns runs: loaded when it is asked for."""
        from dctop.tui.runrequests import RunRequests

        return RunRequests(self.app, self)

    def handle(self, pane: str, intent: i.Intent) -> None:
        match intent:
            case i.Notice(text, severity):
                self.app.say(text, severity)
            case i.EditFilter(text):
                self.app.state.filtering = Filtering(pane, LineEdit(text), text)
            case i.ChooseSort(options, current):
                self.sort(pane, options, current)
            case i.SignalProcess(pid, start, name):
                self.signal(pid, start, name)
            case i.ReniceProcess(pid, start, name, nice):
                self.renice(pid, start, name, nice)
            case i.ShowProcess(pid, start):
                self.detail(pid, start)
            case i.AckAlert(alert_id):
                self.on_alert("ack", alert_id)
            case i.MuteAlert(alert_id):
                self.on_alert("mute", alert_id)
            case i.ApplyRemedy(alert_id):
                self.apply_remedy(alert_id)
            case i.ShowAlert(alert_id):
                self.show_alert(alert_id)
            case i.ShowRun(run_id):
                self.show_run(run_id)
            case i.ShowGpu(uuid):
                self.show_gpu(uuid)
            case (
                i.StopRun()
                | i.CheckpointRun()
                | i.ResumeRun()
                | i.InferRun()
                | i.RemoveRun()
                | i.CompareRun()
            ):
                self.runs.handle(intent)
            case i.CopyText(text):
                self.app.copy_to_clipboard(text)
                self.app.say("copied (where the terminal allows it)")
            case _:
                self.app.say(f"nothing answers {type(intent).__name__}", "warning")

    def refused(self, what: str) -> bool:
        if self.app.source.mode == "replay":
            self.app.say(f"{what}: this is a recording", "warning")
            return True
        if self.app.readonly:
            self.app.say(f"{what}: refused, dctop runs with --readonly", "warning")
            return True
        return False

    # -- panes --------------------------------------------------------------------------------------

    def sort(self, pane: str, options: tuple[tuple[str, str], ...], current: str) -> None:
        from dctop.tui.dialogs.lists import Item, ListDialog

        def choose(column: str) -> None:
            self.app.node.panes[pane].model.set_sort(column)
            self.app.node.redraw_pane(pane)

        items = [Item(column, label) for column, label in options]
        self.app.node.open(ListDialog("sort by", items, choose, current))

    def show_gpu(self, uuid: str) -> None:
        """One GPU in detail; escape leads back to all of them."""
        node, s = self.app.node, self.app.state
        model = node.panes["gpu"].model
        if isinstance(model, GpuPane):
            model.book.chosen = uuid
        s.view, s.zoomed = "gpu", False
        self.app.operations.gpu_detail(True)
        node.focus_pane("gpu-facts")
        node.relayout()

    # -- processes ----------------------------------------------------------------------------------

    def signal(self, pid: int, start: int, name: str) -> None:
        if self.refused("signals"):
            return
        from dctop.engine.actions import SIGNALS, signal_process
        from dctop.tui.dialogs.process import signal_dialog

        def send(number: int) -> None:
            error = signal_process(pid, start, number)
            self.app.say(
                error or f"sent signal {number} to {pid} {name}", "error" if error else "information"
            )

        self.app.node.open(signal_dialog(pid, name, SIGNALS, send))

    def renice(self, pid: int, start: int, name: str, nice: int) -> None:
        if self.refused("renice"):
            return
        from dctop.engine.actions import renice_process
        from dctop.tui.dialogs.process import renice_dialog

        def apply(value: int) -> str | None:
            error = renice_process(pid, start, value)
            if error is None:
                self.app.say(f"{pid} {name} is now at nice {value}")
            return error

        self.app.node.open(renice_dialog(pid, name, nice, apply))

    def detail(self, pid: int, start: int) -> None:
        if self.app.source.mode == "replay":
            self.app.say("process details: this is a recording", "warning")
            return

        from dctop.probes.process_detail import ProcessDetail, read_detail

        def show(found: ProcessDetail | None) -> None:
            from dctop.tui.dialogs.process import detail_dialog

            self.app.node.open(detail_dialog(pid, found))

        self.app.in_thread(lambda: read_detail(pid, start), show, f"process {pid}")

    # -- alerts and runs ----------------------------------------------------------------------------

    def on_alert(self, what: str, alert_id: int) -> None:
        source = self.app.source
        if not is_live(source):
            self.app.say(f"{what}: this is a recording", "warning")
        elif what == "ack":
            source.ack(alert_id)
            self.app.say("acknowledged")
        else:
            source.mute(alert_id, MUTE_MINUTES)
            self.app.say(f"muted for {MUTE_MINUTES:.0f} min")
        self.app.node.update()

    def apply_remedy(self, alert_id: int) -> None:
        from dctop.tui.remedyrequests import offer

        if not self.refused("applying a remedy"):
            offer(self.app, alert_id)

    def show_alert(self, alert_id: int) -> None:
        node, s = self.app.node, self.app.state
        self.select("alert", alert_id)
        if s.view != "alerts":
            self.app.operations.view("alerts")
        if "alert-detail" in node.panes:
            node.redraw_pane("alert-detail")

    def show_run(self, run_id: str) -> None:
        self.select("run", run_id)
        if self.app.state.view != "runs":
            self.app.operations.view("runs")
        self.app.node.update()

    def select(self, kind: str, value: int | str) -> None:
        """Tell the panes that show one alert or run which one."""
        from dctop.tui.panes.alert_detail import AlertDetailPane

        for pane in self.app.node.panes.values():
            model = pane.model
            if kind == "run" and isinstance(model, TrainingPane):
                model.selected = str(value)
            elif kind == "alert" and isinstance(model, AlertsPane):
                model.selected = int(value)
            elif kind == "alert" and isinstance(model, AlertDetailPane):
                model.show(int(value))
