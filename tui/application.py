"""The Textual application: screen, timer, threads, signals. Imported only when a dashboard starts."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from textual import events
from textual.app import App
from textual.geometry import Size
from textual.screen import Screen

from dctop.engine.metrics.source import Source
from dctop.tui.bindings import KeyMap, of_mode
from dctop.tui.draw.look import Graph, Look
from dctop.tui.driver import SleepingDriver
from dctop.tui.fast import fast_allowed
from dctop.tui.frame import clean
from dctop.tui.intents import Intent
from dctop.tui.operations import Operations, stop_group
from dctop.tui.panes.base import LaterPane, PaneModel
from dctop.tui.requests import Requests
from dctop.tui.screen import NodeScreen
from dctop.tui.sources import is_live
from dctop.tui.state import UiState
from dctop.tui.theme import Colors, paint
from dctop.tui.ticker import Ticker

if TYPE_CHECKING:
    from dctop.tui.dialogs.forms import Value

log = logging.getLogger(__name__)
T = TypeVar("T")

MAX_BACKLOG = 2
"""Frames waiting for the terminal beyond which none is drawn."""
SETTLED_TICKS = 5
"""After so many all that a quiet dashboard needs is loaded."""


class DctopApp(App[int]):
    """One screen over one source. Keys, actions and dialogs: `NodeScreen`, `Operations`, `Requests`."""

    CSS_PATH = "dctop.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = []  # noqa: RUF012  (keys are dispatched from tui.bindings)

    def __init__(
        self,
        source: Source,
        models: Sequence[PaneModel | LaterPane],
        *,
        look: Look,
        theme: str,
        colors: Colors,
        state: UiState | None = None,
        remap: Mapping[str, str | Sequence[str]] | None = None,
        paint_mode: str = "auto",
        readonly: bool = False,
        record: Path | None = None,
        focus_run: str | None = None,
        save: Callable[[dict[str, Value]], str | None] | None = None,
    ) -> None:
        super().__init__(driver_class=SleepingDriver)
        self.animation_level = "none"
        self._disable_tooltips = True
        self._disable_notifications = True  # what there is to say stands in the footer
        self.source = source
        self.state = state or UiState()
        self.state.theme = theme
        self.depth: Colors = colors
        self.readonly = readonly
        self.record_path = record
        self.last_jump = "1m"
        self.failure: str | None = None
        """One line, if the app ended because of a fault."""
        self.terminal_before: list[Any] | None = None
        """Attributes of the terminal before anything was changed; what leaving and suspending restore."""
        self._focus_run = focus_run
        self._save = save
        self._known_faults: set[str] = set()
        keymap = KeyMap(remap)
        self.node = NodeScreen(
            source, models, self.state, keymap, look, paint(theme, colors), fast_allowed(paint_mode), readonly
        )
        self.operations = Operations(self)
        self.requests = Requests(self)
        self.ticker = Ticker(source, self.state, self.tick, self._terminal_busy)
        self._ticks = 0
        known = [a.id for a in of_mode("live")] + [a.id for a in of_mode("replay")]
        own = (a.id for pane in self.node.panes.values() for a in pane.model.actions) if remap else ()
        unknown = keymap.unknown([*known, *own])
        if unknown:
            self.state.say(f"keys: no such action: {', '.join(unknown)}", "warning")

    # -- life ---------------------------------------------------------------------------------------

    def get_default_screen(self) -> Screen[Any]:
        return self.node

    def on_mount(self) -> None:
        if not self.is_headless:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGHUP):
                loop.add_signal_handler(number, self.terminal_gone)
        self.app_resume_signal.subscribe(self, lambda _: self.node.refresh())
        if self._focus_run is not None:
            self.requests.select("run", self._focus_run)
            self.operations.view("runs")
        self.ticker.start()

    def on_unmount(self) -> None:
        self.ticker.stop()

    def terminal_gone(self) -> None:
        """SIGTERM, SIGHUP, or the terminal was closed: end cleanly."""
        self.ticker.stop()
        self.exit(0)

    def _terminal_busy(self) -> bool:
        driver = self._driver
        return isinstance(driver, SleepingDriver) and driver.backlog > MAX_BACKLOG

    def suspend_to_shell(self) -> None:
        self._suspend_signal()
        stop_group()

    def _handle_exception(self, error: Exception) -> None:
        """A fault of the screen itself: end with one line, the rest is in the log."""
        if self.is_headless:
            super()._handle_exception(error)
            return
        log.critical("the screen failed", exc_info=error)
        if self.failure is None:
            self.failure = f"{type(error).__name__}: {clean(str(error))}"
        self._return_code = 1
        self._close_messages_no_wait()

    def panic(self, *renderables: Any) -> None:
        if self.is_headless:
            super().panic(*renderables)
            return
        self.failure = self.failure or "the terminal's input failed"
        self._return_code = 1
        self._close_messages_no_wait()

    def _update_mouse_over(self, screen: Screen[Any]) -> None:
        """Nothing here depends on where the mouse hovers."""

    # -- ticks --------------------------------------------------------------------------------------

    def tick(self, late_s: float) -> None:
        """New data, or (late_s > 0) the lack of it."""
        self.fit_terminal()
        node, s = self.node, self.state
        node.stalled_s = late_s
        live = is_live(self.source)
        if live and s.paused_at is not None:
            self.hold_pause()
        still = live and (s.paused_at is not None or cast(Any, self.source).back > 0)
        try:
            node.update(panes=not still and late_s == 0.0)
        except Exception as e:
            self.fault("screen", e)
        self._ticks += 1
        if self._ticks == SETTLED_TICKS and not self.is_headless:
            # What stays for ever need not be gone through each time garbage is looked for: it took 0.2 to
            # 0.5 ms/s.
            gc.collect()
            gc.freeze()

    def fit_terminal(self) -> None:
        """Where the layout is not the terminal's size, ask for another: in a storm of resizes the last one
        can be lost on its way (seen in tests under load), and the screen stayed at the one before."""
        driver = self._driver
        if isinstance(driver, SleepingDriver):
            size = driver._get_terminal_size()
            if size != self.node.laid_out:
                self.post_message(events.Resize(Size(*size), Size(*size)))

    def hold_pause(self) -> None:
        """While paused the source is held at the tick of the pause, so that what is redrawn (a cursor
        moves, a pane is zoomed) shows that moment."""
        source, at = self.source, self.state.paused_at
        if at is not None and is_live(source) and not source.back and source.tick_seq > at:
            source.look_back(source.tick_seq - at)

    # -- what happens -------------------------------------------------------------------------------

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key) and not event.is_forwarded and self.screen is self.node:
            event.stop()
            try:
                self.node.take_key(event.key, event.character if event.is_printable else None)
            except Exception as e:
                self.fault(f"key {event.key}", e)
        elif isinstance(event, events.Paste) and not event.is_forwarded and self.screen is self.node:
            self.node.pasted(event.text)
        else:
            await super().on_event(event)

    def run_action_id(self, action_id: str) -> bool:
        return self.operations.run(action_id)

    def intend(self, pane: str, intent: Intent) -> None:
        try:
            self.requests.handle(pane, intent)
        except Exception as e:
            self.fault(type(intent).__name__, e)

    def say(self, text: str, severity: str = "information") -> None:
        """One line to the user, in place of the footer for some seconds."""
        self.state.say(text, severity)
        if self.node.is_attached:
            self.node.update(panes=False)

    def fault(self, where: str, error: BaseException) -> None:
        """Something of ours failed: say so in one line, keep the rest for the log, go on."""
        text = f"{where}: {type(error).__name__}: {error}"
        if text not in self._known_faults:
            self._known_faults.add(text)
            log.error("%s", text, exc_info=error)
        if self.is_headless and not isinstance(error, (OSError, ImportError)):
            raise error
        self.state.say(clean(text), "error")

    def in_thread(self, work: Callable[[], T], done: Callable[[T], None], what: str) -> None:
        """Run what may block beside the screen, then `done` with its result on the screen's thread."""
        loop = asyncio.get_running_loop()

        def finish(result: T | None, error: BaseException | None) -> None:
            if not self.is_running:
                return
            if error is not None:
                self.fault(what, error)
            else:
                done(cast(T, result))
            self.node.update(panes=False)

        def body() -> None:
            result: T | None = None
            error: BaseException | None = None
            try:
                result = work()
            except Exception as e:
                error = e
            try:
                loop.call_soon_threadsafe(finish, result, error)
            except RuntimeError:  # the app has ended meanwhile
                pass

        threading.Thread(target=body, name=f"dctop-{what}", daemon=True).start()

    # -- settings -----------------------------------------------------------------------------------

    def set_theme(self, name: str) -> None:
        self.state.theme = name
        self.node.restyle(paint(name, self.depth), self.node.look)

    def set_graph(self, graph: str) -> None:
        look = self.node.look
        if graph != "ascii" and not look.unicode:
            self.say(f"{graph} graphs need a UTF-8 locale and terminal", "warning")
            return
        self.node.restyle(self.node.paint, Look(cast(Graph, graph), look.unicode))

    def open_setup(self) -> None:
        from dctop.tui.dialogs.setup import setup_dialog
        from dctop.tui.views.dashboard import PANE_KEYS

        s = self.state
        shown = [k for k in PANE_KEYS if k not in s.hidden]
        interval = self.source.interval_s if is_live(self.source) else None

        def changed(name: str, value: Value) -> None:
            if name == "theme":
                self.set_theme(str(value))
            elif name == "graph":
                self.set_graph(str(value))
            elif name.startswith("pane."):
                (s.hidden.discard if value else s.hidden.add)(name.removeprefix("pane."))
                self.node.relayout()

        self.node.open(
            setup_dialog(s.theme, self.node.look.graph, interval, shown, changed, self._save_setup)
        )

    def _save_setup(self, values: dict[str, Value]) -> str | None:
        if self._save is None:
            self.say("applied; not saved")
            return None
        error = self._save(values)
        if error is None:
            self.say("saved")
        return error

    def open_palette(self) -> None:
        from dctop.tui.palette import palette_dialog

        node = self.node
        panes = [(k, node.panes[k].model.name, node.panes[k].model.actions) for k in node.visible_panes]
        process = node.panes.get("processes")
        sorts = getattr(process.model, "sorts", ()) if process is not None else ()
        alerts = [(a.id, a.title) for a in self.source.alerts()[:50]]
        node.open(
            palette_dialog(
                self.source.mode, node.keymap, node.look.unicode, panes, sorts, alerts, self._picked
            )
        )

    def _picked(self, item: str) -> None:
        """Run what was chosen in the palette, once it has closed."""
        kind, _, rest = item.partition(":")

        def go() -> None:
            if not rest:
                self.run_action_id(item)
            elif kind == "theme":
                self.set_theme(rest)
            elif kind == "focus":
                self.node.focus_pane(rest)
            elif kind == "sort":
                self.node.panes["processes"].model.set_sort(rest)
                self.node.redraw_pane("processes")
            elif kind == "alert":
                self.requests.show_alert(int(rest))
            elif kind == "pane":
                pane, _, action = rest.partition(":")
                self.node.focus_pane(pane)
                self.node.act(pane, action)
            self.node.update(panes=False)

        self.call_later(go)

    # -- recording and training ---------------------------------------------------------------------

    def toggle_recording(self) -> None:
        source = self.source
        if not is_live(source):
            self.say("recording: this is one already", "warning")
        elif source.recorder is not None:
            self.in_thread(
                source.stop_recording, lambda _: self.say("recording stopped and closed"), "recording"
            )
        else:
            path, self.record_path = self.record_path, None

            def start() -> Path | str:
                try:
                    return source.start_recording(path)
                except OSError as e:
                    return f"{e.filename or 'the directory'} cannot be made ({e.strerror}): set recording.dir"

            def say(made: Path | str) -> None:
                failed = isinstance(made, str)
                self.say(
                    f"recording: {made}" if failed else f"recording to {made}",
                    "error" if failed else "information",
                )

            self.in_thread(start, say, "recording")

    def open_launch(self) -> None:
        self.requests.runs.launch()
