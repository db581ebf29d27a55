"""What the actions of `bindings` do. One method an action; `RUN` is the table."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from dctop.tui.dialogs.times import HINT, moment_ns, span_s
from dctop.tui.panes.gpu_processes import GpuProcessesPane
from dctop.tui.sources import is_live, is_replay
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
        self.table: dict[str, Callable[[], None]] = {
            "app.help": self.help, "app.setup": self.setup, "app.palette": self.palette,
            "app.quit": self.quit, "app.escape": self.escape, "app.zoom": self.zoom, "app.enter": self.zoom,
            "focus.next": lambda: app.node.focus_step(1), "focus.previous": lambda: app.node.focus_step(-1),
            "view.dashboard": lambda: self.view("dashboard"), "view.alerts": lambda: self.view("alerts"),
            "view.gpu": lambda: self.view("gpu"),
            "view.runs": lambda: self.view("runs"), "view.processes": lambda: self.view("processes"),
            "app.goto": self.goto, "mark.now": lambda: self.mark(""), "mark.note": self.mark_note,
            "app.redraw": self.redraw, "app.suspend": self.suspend, "theme.next": self.next_theme,
            "graph.next": self.next_graph, "app.notices": self.notices, "app.pause": self.pause,
            "train.launch": self.launch, "record.toggle": self.record,
            "look.live": lambda: self.look_to(0), "alert.next": lambda: self.alert(1),
            "alert.previous": lambda: self.alert(-1), "replay.play": self.play,
            "replay.faster": lambda: self.speed(1), "replay.slower": lambda: self.speed(-1),
            "replay.start": lambda: self.seek_end(0), "replay.end": lambda: self.seek_end(1),
            "replay.jump": lambda: self.jump(1), "replay.jump_back": lambda: self.jump(-1),
        }  # fmt: skip
        for suffix, seconds in (("", 0.0), ("10", 10.0), ("60", 60.0)):
            for name, sign in (("back", -1), ("forward", 1)):
                self.table[f"look.{name}{suffix}"] = lambda s=seconds, d=sign: self.look(d, s)  # type: ignore[misc]
                self.table[f"replay.{name}{suffix}"] = lambda s=seconds, d=sign: self.step(d, s)  # type: ignore[misc]
        for key in PANE_KEYS:
            self.table[f"pane.{key}"] = lambda k=key: self.toggle(k)  # type: ignore[misc]

    def run(self, action_id: str) -> bool:
        call = self.table.get(action_id)
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
        if processes is not None and isinstance(processes.model, GpuProcessesPane):
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
            self.look_to(0)
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

    # -- time ---------------------------------------------------------------------------------------

    def pause(self) -> None:
        source, s = self.app.source, self.app.state
        if not is_live(source):
            return
        if s.paused_at is None and not source.back:
            s.paused_at = source.tick_seq
        else:
            self.look_to(0)
        self.app.node.update()

    def look(self, direction: int, seconds: float) -> None:
        """Live: `direction` < 0 back. 0 seconds: one tick."""
        source = self.app.source
        if is_live(source):
            self.app.hold_pause()
            ticks = max(1, round(seconds / source.interval_s)) if seconds else 1
            self.look_to(source.back - direction * ticks)

    def look_to(self, ticks: int) -> None:
        source, s = self.app.source, self.app.state
        if not is_live(source):
            return
        got = source.look_back(max(0, ticks))
        if ticks > 0 and got < ticks:
            self.app.say(f"the screen keeps {got * source.interval_s:.0f} s; `r` records more", "warning")
        s.paused_at = None
        self.app.node.update()

    def step(self, direction: int, seconds: float) -> None:
        source = self.app.source
        if is_replay(source):
            self.app.state.playing = False
            if seconds:
                source.seek(source.position_ns + int(direction * seconds * 1e9))
            else:
                source.step(direction)
            self.app.node.update()

    def seek_end(self, end: int) -> None:
        source = self.app.source
        if is_replay(source):
            source.seek(source.t1_ns if end else source.t0_ns)
            self.app.node.update()

    def play(self) -> None:
        source, s = self.app.source, self.app.state
        if is_replay(source):
            s.playing = not s.playing
            if s.playing and source.at_end:
                source.seek(source.t0_ns)
            self.app.ticker.poke()

    def speed(self, by: int) -> None:
        self.app.state.faster(by)
        if self.app.state.playing:
            self.app.ticker.poke()
        self.app.node.update(panes=False)

    def goto(self) -> None:
        from dctop.tui.dialogs.forms import InputDialog

        self.app.node.open(InputDialog("go to", "moment", "", self._goto, note=HINT))

    def _goto(self, text: str) -> str | None:
        source = self.app.source
        if is_replay(source):
            at = moment_ns(text, source.position_ns, source.t0_ns, source.t1_ns)
            if at is None:
                return f"not a moment: {text or 'nothing'} ({HINT})"
            source.seek(max(source.t0_ns, min(source.t1_ns, at)))
            self.app.node.update()
            return None
        snap = source.snapshot()
        now = time.time_ns()
        at = moment_ns(text, now if snap is None else snap.frame.wall_ns, last_ns=now)
        if at is None:
            return f"not a moment: {text or 'nothing'} (14:02, 3m ago, -5m, now)"
        if is_live(source):
            self.app.hold_pause()
            self.look_to(max(0, round((now - at) / 1e9 / source.interval_s)))
        return None

    def jump(self, direction: int) -> None:
        from dctop.tui.dialogs.forms import InputDialog

        def ok(text: str) -> str | None:
            seconds = span_s(text)
            if seconds is None:
                return f"not a span: {text or 'nothing'} (90, 90s, 5m, 1h30m)"
            self.app.last_jump = text
            self.step(direction, seconds)
            return None

        title = "jump forward" if direction > 0 else "jump back"
        self.app.node.open(InputDialog(title, "by", self.app.last_jump, ok, note="90s, 5m, 1h30m"))

    def alert(self, direction: int) -> None:
        """Go to the beginning of the next or previous alert."""
        source = self.app.source
        if is_replay(source):
            found = source.next_event(direction, ("alert",))
            if found is None:
                self.app.say("no further alert" if direction > 0 else "no earlier alert")
            else:
                self.app.state.playing = False
                source.seek_seq(found.seq)
                self.app.node.update()
        elif is_live(source):
            snap = source.snapshot()
            self.app.hold_pause()
            here = 0 if snap is None else snap.frame.wall_ns
            times = sorted(a.opened_wall_ns for a in source.alerts())
            pick = [t for t in times if t > here] if direction > 0 else [t for t in times if t < here][::-1]
            if not pick:
                self.app.say("no other alert within what the screen keeps")
            else:
                self.look_to(max(0, round((time.time_ns() - pick[0]) / 1e9 / source.interval_s)))

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
