"""What the actions of `bindings` do. One method an action; `RUN` is the table."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from dctop.tui.sources import is_live
from dctop.tui.state import ViewName
from dctop.tui.theme import THEMES
from dctop.tui.views.dashboard import PANE_KEYS

if TYPE_CHECKING:
    from dctop.tui.application import DctopApp

GRAPHS = ("braille", "block", "ascii")


class Operations:
    """Bound to one app; `run(id)` is False for an id it does not know."""

    def __init__(self, app: DctopApp) -> None:
        self.app = app
        self._here: dict[str, Callable[[], None]] = {
            "app.help": self.help, "app.setup": self.setup, "app.palette": self.palette,
            "app.quit": self.quit, "app.escape": self.escape, "app.zoom": self.zoom, "app.enter": self.zoom,
            "focus.next": lambda: app.node.focus_step(1), "focus.previous": lambda: app.node.focus_step(-1),
            "view.dashboard": lambda: self.view("dashboard"), "view.alerts": lambda: self.view("alerts"),
            "view.gpu": lambda: self.view("gpu"),
            "view.runs": lambda: self.view("runs"), "view.processes": lambda: self.view("processes"),
            "mark.now": lambda: self.mark(""), "mark.note": self.mark_note,
            "app.redraw": self.redraw, "app.suspend": self.suspend, "theme.next": self.next_theme,
            "graph.next": self.next_graph, "app.notices": self.notices,
            "train.launch": self.launch, "record.toggle": self.record,
        }  # fmt: skip
        for key in PANE_KEYS:
            self._here[f"pane.{key}"] = lambda k=key: self.toggle(k)  # type: ignore[misc]

    @cached_property
    def table(self) -> dict[str, Callable[[], None]]:
        """All of them; those that move through time are loaded with it."""
        from dctop.tui.timetravel import TimeTravel

        return {**self._here, **TimeTravel(self.app).table()}

    def run(self, action_id: str) -> bool:
        call = self._here.get(action_id) or self.table.get(action_id)
        if call is not None:
            call()
        return call is not None

    # -- views --------------------------------------------------------------------------------------

    def view(self, name: ViewName) -> None:
        """Switch; the key of the present view leads back to the dashboard."""
        node, s = self.app.node, self.app.state
        s.view = "dashboard" if s.view == name else name
        s.zoomed = False
        self.gpu_detail(False)
        wanted = {"alerts": "alerts", "processes": "processes", "gpu": "gpu"}.get(s.view)
        if s.view == "runs":
            wanted = next(iter(node.run_keys()), None)
        if wanted in node.panes:
            node.focus_pane(wanted)
        node.relayout()

    def gpu_detail(self, on: bool) -> None:
        """Whether the GPU view shows one GPU; its processes are then that one's."""
        self.app.state.gpu_detail = on
        processes = self.app.node.panes.get("gpu-processes")
        if processes is not None and (processes.made or on):
            from dctop.tui.panes.gpu_processes import GpuProcessesPane

            if isinstance(processes.model, GpuProcessesPane):
                processes.model.all = not on

    def zoom(self) -> None:
        self.app.state.zoomed = not self.app.state.zoomed
        self.app.node.relayout()

    def toggle(self, key: str) -> None:
        node, s = self.app.node, self.app.state
        if s.view != "dashboard":
            s.view = "dashboard"
            node.relayout()
            return
        s.zoomed = False
        if key in node.visible_panes and len(node.visible_panes) == 1:
            self.app.say("the last pane stays")
        elif key in node.visible_panes:
            s.hidden.add(key)
            s.wanted = [k for k in s.wanted if k != key]
        else:
            s.hidden.discard(key)
            s.wanted = [k for k in s.wanted if k != key] + [key]
        node.relayout()

    def escape(self) -> None:
        """Outwards one step: notice, zoom, look-back, view."""
        s, source = self.app.state, self.app.source
        if s.zoomed:
            self.zoom()
        elif is_live(source) and (source.back or s.paused_at is not None):
            self.run("look.live")
        elif s.view == "gpu" and s.gpu_detail:
            self.gpu_detail(False)
            self.app.node.focus_pane("gpu")
            self.app.node.relayout()
        elif s.view != "dashboard":
            self.view("dashboard")
        else:
            # A filter that was kept is the last thing escape can undo.
            self.app.node.panes[s.focus].model.set_filter("")
            self.app.node.redraw_pane(s.focus)

    def redraw(self) -> None:
        self.app.fit_terminal()
        self.app.node.refresh()

    def suspend(self) -> None:
        if self.app.is_headless:
            return
        if os.getsid(0) == os.getpid():
            self.app.say("there is no shell to go back to", "warning")
            return
        self.app.suspend_to_shell()

    def quit(self) -> None:
        self.app.exit(0)

    # -- look ---------------------------------------------------------------------------------------

    def next_theme(self) -> None:
        names = list(THEMES)
        at = names.index(self.app.state.theme) if self.app.state.theme in names else -1
        self.app.set_theme(names[(at + 1) % len(names)])
        self.app.say(f"theme {self.app.state.theme}")

    def next_graph(self) -> None:
        at = GRAPHS.index(self.app.node.look.graph)
        self.app.set_graph(GRAPHS[(at + 1) % len(GRAPHS)])
        self.app.say(f"graphs: {self.app.node.look.graph}")

    def help(self) -> None:
        from dctop.tui.help import help_dialog

        node = self.app.node
        pane = node.panes.get(self.app.state.focus)
        model = None if pane is None else pane.model
        node.open(help_dialog(model, node.keymap, self.app.source.mode, node.look.unicode))

    def palette(self) -> None:
        self.app.open_palette()

    def setup(self) -> None:
        self.app.open_setup()

    def notices(self) -> None:
        from dctop.tui.dialogs.base import TextDialog, wrap

        lines = list(self.app.state.notices) or ["nothing yet"]
        self.app.node.open(TextDialog("notices", lambda w: [r for t in lines for r in wrap(t, w)]))

    # -- markers, recording, training ---------------------------------------------------------------

    def mark(self, text: str) -> None:
        put = getattr(self.app.source, "mark", None)
        if put is None:
            self.app.say("a recording that is replayed takes no markers", "warning")
        elif put(text) is False:
            self.app.say("not recording: `r` starts, then markers are kept", "warning")
        else:
            self.app.say(f"marked{': ' + text if text else ''}")

    def mark_note(self) -> None:
        from dctop.tui.dialogs.forms import InputDialog

        if getattr(self.app.source, "mark", None) is None:
            self.mark("")
            return

        def ok(text: str) -> str | None:
            self.mark(text)
            return None

        self.app.node.open(
            InputDialog("marker", "note", "", ok, note="Kept in the recording at this moment.")
        )

    def record(self) -> None:
        self.app.toggle_recording()

    def launch(self) -> None:
        self.app.open_launch()


def stop_group() -> None:
    """What the terminal does on ctrl+z: stop the whole job, so that a `make run` stops with it."""
    os.killpg(os.getpgrp(), signal.SIGTSTP)
