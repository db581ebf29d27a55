"""The one screen: header, ribbon, panes, footer, dialogs, where they are and who gets a key or a click."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import Layout, WidgetPlacement
from textual.widget import Widget

from dctop.tui import bars
from dctop.tui.bindings import FIRST, PROCESS_KEYS, KeyMap, of_mode
from dctop.tui.dialogs.base import Dialog
from dctop.tui.draw.graph import samples
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row
from dctop.tui.fast import FastScreen, RowsWidget
from dctop.tui.frame import notice_rows, safe_row
from dctop.tui.headline import head_of, wall_clock
from dctop.tui.overlay import DialogWidget
from dctop.tui.pane import PaneWidget
from dctop.tui.panes.alerts import AlertsPane, Watch
from dctop.tui.panes.base import LaterPane, PaneModel, View
from dctop.tui.sources import gpu_count, gpu_devices, is_live, is_replay
from dctop.tui.state import Filtering, UiState
from dctop.tui.theme import Paint
from dctop.tui.timescale import scaled
from dctop.tui.views import alerts as alerts_view
from dctop.tui.views import dashboard, replaybar, runs
from dctop.tui.views import gpu as gpu_view
from dctop.tui.views.place import RIBBON_H, TOO_SMALL_H, TOO_SMALL_W, Box, size_class
from dctop.tui.views.replaypart import ReplayPart

if TYPE_CHECKING:
    from textual import events

    from dctop.engine.metrics.source import Source
    from dctop.tui.application import DctopApp
    from dctop.tui.intents import Intent
    from dctop.tui.keys import Action
    from dctop.tui.panes.timeline import TimelinePane

TIMELINE_H = 8
WATCH_TICKS = 60
"""How often the empty alert list asks which rules cannot be checked."""


class ComputedLayout(Layout):
    """Asks the screen where its children go."""

    name = "computed"

    def arrange(
        self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True
    ) -> list[WidgetPlacement]:
        assert isinstance(parent, NodeScreen)
        boxes = parent.place(size.width, size.height)
        return [
            WidgetPlacement(Region(*boxes[c]), NULL_OFFSET, NULL_SPACING, c)
            for c in children
            if isinstance(c, RowsWidget) and c in boxes
        ]


class LineWidget(RowsWidget):
    """A bar of one or two lines. Clicks go to the screen by the widget's id."""

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.screen.clicked_bar(self.id, int(event.x))  # type: ignore[attr-defined]


class NodeScreen(FastScreen):
    """Owns what is where and who gets a key. What actions do is `Operations`' business."""

    AUTO_FOCUS = ""
    ALLOW_SELECT = False

    def __init__(
        self,
        source: Source,
        models: Sequence[PaneModel | LaterPane],
        state: UiState,
        keymap: KeyMap,
        look: Look,
        paint: Paint,
        fast: bool,
        readonly: bool,
    ) -> None:
        super().__init__(paint, fast)
        self.source = source
        self.state = state
        self.keymap = keymap
        self.look = look
        self.readonly = readonly
        self.panes = {m.key: PaneWidget(m, paint) for m in models}
        self.header = LineWidget(paint, "header")
        self.ribbon = LineWidget(paint, "ribbon")
        self.replay = LineWidget(paint, "replay")
        self.footer = LineWidget(paint, "footer")
        self.small = RowsWidget(paint, "small")
        self.dialog = DialogWidget(paint, "dialog")
        self.bars = (self.header, self.ribbon, self.replay, self.footer, self.small)
        self.visible_panes: dict[str, Box] = {}
        self.stalled_s = 0.0
        self._clock: str | None = None
        """The time of day in the header, of the latest tick: a line laid out anew in between shows what was
        painted."""
        self._ribbon_row: Row | None = None
        self._footer_places: list[tuple[int, int, str]] = []
        self._footer_made: tuple[object, Row, list[tuple[int, int, str]]] | None = None
        self._gpus = -1
        self._views: dict[tuple[bool, bool], View] = {}
        self._computed = ComputedLayout()
        self.replaying = ReplayPart()
        self.laid_out = (80, 24)
        """Columns and rows of the latest layout."""
        self._watch_due = 3  # the engine's thread imports the rules with its second tick: not this one

    def compose(self) -> ComposeResult:
        yield from self.bars
        yield from self.panes.values()
        yield self.dialog

    @property
    def layout(self) -> Layout:
        return self._computed

    @property
    def commander(self) -> DctopApp:
        return self.app  # type: ignore[return-value]

    # -- where things are ---------------------------------------------------------------------------

    def place(self, w: int, h: int) -> dict[RowsWidget, Box]:
        """Boxes of all widgets on a screen of `w` x `h`; draws what has a new size, so that the first
        paint after a layout is already right."""
        self._views.clear()
        self.laid_out = (w, h)
        if w < TOO_SMALL_W or h < TOO_SMALL_H:
            self.visible_panes = {}
            self.small.put(notice_rows("dctop: enlarge", w, h), quiet=True)
            return {self.small: Box(0, 0, w, h)} if w > 0 and h > 0 else {}
        out: dict[RowsWidget, Box] = {self.header: Box(0, 0, w, 1), self.footer: Box(0, h - 1, w, 1)}
        top, bottom = 1, h - 1
        self._ribbon_row = self._ribbon(w)
        if self._ribbon_row is not None and h >= RIBBON_H:
            out[self.ribbon] = Box(0, top, w, 1)
            top += 1
        timeline = None
        if self.source.mode == "replay" and h >= 14:
            timeline = self.panes.get("timeline") if h >= 32 else None
            bottom -= replaybar.HEIGHT if timeline is None else min(TIMELINE_H, h // 5)
            if timeline is None:
                out[self.replay] = Box(0, bottom, w, replaybar.HEIGHT)
        self.visible_panes = self._pane_boxes(Box(0, top, w, bottom - top))
        if timeline is not None:
            self.visible_panes["timeline"] = Box(0, bottom, w, h - 1 - bottom)
            self._tell_timeline()
        if self.state.focus not in self.visible_panes and self.visible_panes:
            self.state.focus = next(iter(self.visible_panes))
            self._views.clear()
        if "alert-detail" in self.visible_panes and not self.panes["alert-detail"].made:
            self._tell_detail()
        for key, box in self.visible_panes.items():
            pane = self.panes[key]
            out[pane] = box
            if pane.drawing.drawn_as != (box.w, box.h, key == self.state.focus and not self.dialog.stack):
                pane.draw(self.view_of(key), box.w, box.h, quiet=True)
        over = self.dialog.box(w, h)
        if over is not None:
            out[self.dialog] = over
            self.dialog.draw(over.w, over.h, self.look, quiet=True)
        self._draw_bars(w, quiet=True)
        return out

    def _pane_boxes(self, body: Box) -> dict[str, Box]:
        s = self.state
        if body.h <= 0:
            return {}
        if s.view == "processes" and "processes" in self.panes:
            return {"processes": body}
        if s.zoomed and s.focus in self.panes:
            return {s.focus: body}
        if s.view == "alerts" and "alerts" in self.panes:
            boxes = alerts_view.layout(body)
            return (
                {k: b for k, b in boxes.items() if k in self.panes}
                if set(boxes) <= self.panes.keys()
                else {"alerts": body}
            )
        if s.view == "gpu" and "gpu" in self.panes:
            self._gpus = gpu_devices(self.source)
            make = gpu_view.detail if s.gpu_detail else gpu_view.overview
            return {k: b for k, b in make(body, self._gpus).items() if k in self.panes}
        if s.view == "runs":
            return runs.layout(body, self.run_keys())
        shown = [k for k in dashboard.PANE_KEYS if k in self.panes and k not in s.hidden]
        self._gpus = gpu_count(self.source)
        return dashboard.layout(body, shown, self._gpus, s.wanted)

    def run_keys(self) -> list[str]:
        """Panes of the training view: the run panes, or the dashboard's training pane without any."""
        extra = [k for k in self.panes if k.startswith("run")]
        return extra or [k for k in ("training",) if k in self.panes]

    def relayout(self) -> None:
        """Places have changed (view, zoom, hidden pane, ribbon, dialog)."""
        self._arrangement_cache.clear()
        self.refresh(layout=True)

    # -- what is drawn ------------------------------------------------------------------------------

    def view_of(self, key: str) -> View:
        flags = (key == self.state.focus and not self.dialog.stack, self.state.zoomed)
        view = self._views.get(flags)
        if view is None:
            size = size_class(*self.laid_out)
            source = scaled(self.source, self.state.scale)
            view = self._views[flags] = View(
                source, self.source.snapshot(), self.look, size, flags[0], flags[1], self.readonly,
                self.state.paused_at is not None,
            )  # fmt: skip
        return view

    def update(self, panes: bool = True) -> None:
        """A tick, or something the user did: redraw what is visible; only what changed is painted."""
        if not self.is_attached or self.size.width <= 0:
            return
        self._views.clear()
        self._clock = wall_clock()
        w = self.size.width
        ribbon = self._ribbon(w)
        count = {"dashboard": gpu_count, "gpu": gpu_devices}.get(self.state.view)
        moved = count is not None and not self.state.zoomed and count(self.source) != self._gpus
        if (ribbon is None) != (self._ribbon_row is None) or moved:
            self.relayout()
        self._ribbon_row = ribbon
        if panes:
            self._tell_timeline()
            self._link_alerts()
            for key, box in self.visible_panes.items():
                self.panes[key].draw(self.view_of(key), box.w, box.h)
        self._draw_bars(w)
        top = self.dialog.top
        if top is not None and top.redraw_each_tick:
            self.redraw_dialog()
        self.paint_now()

    def _link_alerts(self) -> None:
        lists = self._model("alerts")
        if not isinstance(lists, AlertsPane):
            return
        lists.whole = self.state.view == "alerts"
        if "alert-detail" in self.panes and (lists.whole or self.panes["alert-detail"].made):
            self._tell_detail()
        source = self.source
        if is_live(source) and not source.alerts() and source.tick_seq >= self._watch_due:
            from dctop.engine.rules.registry import rule_count

            self._watch_due = source.tick_seq + WATCH_TICKS
            lists.watch = Watch(rule_count(), source.not_checked())

    def _tell_detail(self) -> None:
        """The diagnosis shows what is selected in the list."""
        from dctop.tui.panes.alert_detail import AlertDetailPane

        lists, detail = self._model("alerts"), self._model("alert-detail")
        if isinstance(lists, AlertsPane) and isinstance(detail, AlertDetailPane):
            detail.show(lists.selected)

    def _tell_timeline(self) -> None:
        source = self.source
        if not is_replay(source):
            return
        from dctop.tui.panes.timeline import TimelinePane

        model = self._model("timeline")
        if not isinstance(model, TimelinePane):
            return
        box = self.visible_panes.get("cpu") or self.visible_panes.get("memory")
        values = samples(self.look, box.w - 2 if box is not None else 75)
        self.replaying.tell(model, source, self.state, values)

    def _model(self, key: str) -> PaneModel | None:
        pane = self.panes.get(key)
        return None if pane is None else pane.model

    def redraw_pane(self, key: str) -> None:
        box = self.visible_panes.get(key)
        if box is not None:
            self._views.clear()
            self.panes[key].draw(self.view_of(key), box.w, box.h)

    def redraw_dialog(self) -> None:
        box = self.dialog.box(self.size.width, self.size.height)
        if (
            box is None
            or (box.w, box.h) != tuple(self.dialog.size)
            or self.dialog.region.offset != (box.x, box.y)
        ):
            self.relayout()
        else:
            self.dialog.draw(box.w, box.h, self.look)

    def _draw_bars(self, w: int, quiet: bool = False) -> None:
        self.header.put(
            [
                self._line(
                    bars.header(
                        head_of(self.source, self.state, self.stalled_s, self.readonly, self._clock),
                        w,
                        self.look,
                    ),
                    w,
                )
            ],
            quiet,
        )
        if self._ribbon_row is not None:
            self.ribbon.put([self._line(self._ribbon_row, w)], quiet)
        self.footer.put([self._line(self._footer(w), w)], quiet)
        if is_replay(self.source):
            rows = self.replaying.rows(self.source, w, self.look)
            self.replay.put([self._line(r, w) for r in rows], quiet)

    def _line(self, row: Row, w: int) -> Row:
        return safe_row(row, w, self.look.unicode)

    def _ribbon(self, w: int) -> Row | None:
        snap = self.source.snapshot()
        now = time.time_ns() if snap is None else snap.frame.wall_ns
        return bars.ribbon(bars.open_alerts(self.source.alerts(), now), w, self.look, "A")

    def _footer(self, w: int) -> Row:
        notice = self.state.current_notice()
        if notice is not None:
            self._footer_places = []
            return bars.notice_line(*notice, w, self.look)
        filtering = self.state.filtering
        if filtering is not None:
            self._footer_places = []
            name = self.panes[filtering.pane].model.name
            return bars.filter_line(name, filtering.edit.spans(max(1, w - len(name) - 10)), w)
        key = (w, self.state.focus, self.look)
        if self._footer_made is None or self._footer_made[0] != key:
            row, self._footer_places = bars.footer(self._hints(), w, ("app.help", "app.quit"))
            self._footer_made = (key, row, self._footer_places)
        _, row, self._footer_places = self._footer_made
        return row

    def _hints(self) -> list[bars.Hint]:
        hints: list[bars.Hint] = []
        pane = self.panes.get(self.state.focus)
        own = pane.model.actions if pane is not None else ()
        taken: set[str] = set()
        of_app = of_mode(self.source.mode)
        for action in (*of_app, *own) if self.source.mode == "replay" else (*own, *of_app):
            key = self.keymap.hint(action, self.look.unicode)
            if action.footer and key and key not in taken:
                taken.add(key)
                hints.append(bars.Hint(key, action.label, action.id))
        return hints

    def restyle(self, paint: Paint, look: Look) -> None:
        """Another theme or way to draw: everything again."""
        self.paint, self.look = paint, look
        for widget in (*self.bars, *self.panes.values(), self.dialog):
            widget.repaint_with(paint)
        self.update()
        if self.dialog.top is not None:
            self.redraw_dialog()
        self.refresh()

    # -- focus --------------------------------------------------------------------------------------

    def focus_pane(self, key: str) -> None:
        old = self.state.focus
        if key == old or key not in self.panes:
            return
        self.state.focus = key
        if self.state.zoomed:
            self.relayout()
        for k in (old, key):
            self.redraw_pane(k)
        self._draw_bars(self.size.width)

    def focus_step(self, by: int) -> None:
        keys = list(self.visible_panes)
        if self.state.zoomed:
            shown: tuple[str, ...] = dashboard.PANE_KEYS
            if self.state.view == "gpu":
                shown = gpu_view.DETAIL_ORDER if self.state.gpu_detail else gpu_view.OVERVIEW_ORDER
            keys = [k for k in shown if k in self.panes and k not in self.state.hidden]
        if keys:
            at = keys.index(self.state.focus) if self.state.focus in keys else -1
            self.focus_pane(keys[(at + by) % len(keys)])

    # -- dialogs ------------------------------------------------------------------------------------

    def open(self, dialog: Dialog) -> None:
        self.state.notice = None
        self.dialog.stack.append(dialog)
        self.redraw_pane(self.state.focus)
        self.relayout()

    def close(self, dialog: Dialog | None = None) -> None:
        stack = self.dialog.stack
        if dialog is None:
            stack.clear()
        elif dialog in stack:
            stack.remove(dialog)
        self.redraw_pane(self.state.focus)
        self.relayout()

    # -- keys ---------------------------------------------------------------------------------------

    def take_key(self, key: str, char: str | None) -> bool:
        """Give a key to whoever it concerns; True if it meant something. Repaints."""
        taken = self._route(key, char)
        if taken:
            self._draw_bars(self.size.width)
            self.paint_now()
        return taken

    def _route(self, key: str, char: str | None) -> bool:
        if self.state.notice is not None:
            self.state.notice = None
        dialog = self.dialog.top
        if dialog is not None:
            if key == "ctrl+c" or dialog.key(key, char):
                self.close(dialog)
            else:
                self.redraw_dialog()
            return True
        if self.state.filtering is not None:
            self._filter_key(self.state.filtering, key, char)
            return True
        app_actions = of_mode(self.source.mode)
        action = self.keymap.find(app_actions, key)
        first = action is not None and (
            key in FIRST
            or action.id.startswith(("replay.", "alert."))
            or (action.id == "view.processes" and self.state.view != "processes")
        )
        if action is not None and first:
            return self.commander.run_action_id(action.id)
        pane = self.panes.get(self.state.focus)
        if pane is not None:
            own = self.keymap.find(pane.model.actions, key)
            if own is not None:
                self.act(pane.model.key, own)
                return True
            page = {"pageup": -1, "pagedown": 1}.get(key)
            if page is not None and pane.model.scroll(page * max(1, pane.size.height - 4)):
                self.redraw_pane(pane.model.key)
                return True
        if key in PROCESS_KEYS and self._to_processes(key):
            return True
        return action is not None and self.commander.run_action_id(action.id)

    def _to_processes(self, key: str) -> bool:
        pane = self.panes.get("processes")
        action = None if pane is None else self.keymap.find(pane.model.actions, key)
        if action is None or "processes" not in self.visible_panes:
            return False
        self.focus_pane("processes")
        self.act("processes", action)
        return True

    def act(self, key: str, action: Action | str) -> None:
        """Let a pane answer one of its actions, then redraw it and do what it asks for."""
        pane = self.panes[key]
        name = action if isinstance(action, str) else action.id
        self._ask(key, lambda: pane.model.act(name, self.view_of(key)))

    def _ask(self, key: str, call: object) -> None:
        intent: Intent | None = None
        try:
            intent = call()  # type: ignore[operator]
        except Exception as e:
            self.commander.fault(f"pane {key}", e)
        self.redraw_pane(key)
        if key == "alerts" and "alert-detail" in self.visible_panes:
            self._link_alerts()
            self.redraw_pane("alert-detail")
        if key.startswith("gpu"):  # they show the same selection
            for other in [k for k in self.visible_panes if k.startswith("gpu") and k != key]:
                self.redraw_pane(other)
        if intent is not None:
            self.commander.intend(key, intent)

    def _filter_key(self, f: Filtering, key: str, char: str | None) -> None:
        model = self.panes[f.pane].model
        if key in ("enter", "tab", "down"):
            self.state.filtering = None
        elif key in ("escape", "ctrl+c"):
            self.state.filtering = None
            model.set_filter("")
        elif f.edit.key(key, char):
            model.set_filter(f.edit.text)
        self.redraw_pane(f.pane)

    def pasted(self, text: str) -> None:
        dialog, filtering = self.dialog.top, self.state.filtering
        if dialog is not None:
            if dialog.paste(text):
                self.close(dialog)
            else:
                self.redraw_dialog()
        elif filtering is not None:
            filtering.edit.insert(text)
            self.panes[filtering.pane].model.set_filter(filtering.edit.text)
            self.redraw_pane(filtering.pane)
        self._draw_bars(self.size.width)
        self.paint_now()

    # -- mouse --------------------------------------------------------------------------------------

    def clicked_pane(self, key: str, x: int, y: int, double: bool) -> None:
        if self.dialog.top is not None:
            return
        self.focus_pane(key)
        pane = self.panes[key]
        w, h = pane.size
        source = self.source
        if key == "timeline" and is_replay(source):
            moment = cast("TimelinePane", pane.model).time_at(x - 1)
            if moment is not None:
                source.seek(moment)
                self.update()
        elif 0 < x < w - 1 and 0 < y < h - 1:
            self._ask(key, lambda: pane.model.click(x - 1, y - 1, self.view_of(key), double))
        elif y == 0 and double:
            self.commander.run_action_id("app.zoom")
        self.paint_now()

    def scrolled_pane(self, key: str, rows: int) -> None:
        if self.dialog.top is None and self.panes[key].model.scroll(rows):
            self.redraw_pane(key)
            self.paint_now()

    def clicked_bar(self, bar: str | None, x: int) -> None:
        source = self.source
        if bar == "footer" and self.dialog.top is None:
            hit = next((a for x0, x1, a in self._footer_places if x0 <= x < x1), None)
            pane = self.panes.get(self.state.focus)
            if hit is not None and pane is not None and any(a.id == hit for a in pane.model.actions):
                self.act(self.state.focus, hit)
            elif hit is not None:
                self.commander.run_action_id(hit)
        elif bar == "ribbon":
            self.commander.run_action_id("view.alerts")
        elif bar == "replay" and is_replay(source) and self.size.width > 0:
            part = x / max(1, self.size.width - 1)
            source.seek(int(source.t0_ns + part * (source.t1_ns - source.t0_ns)))
            self.update()
        self.paint_now()

    def clicked_dialog(self, x: int, y: int) -> None:
        dialog = self.dialog.top
        if dialog is not None and x >= 0 and y >= 0:
            if dialog.click(x, y):
                self.close(dialog)
            else:
                self.redraw_dialog()
            self.paint_now()

    def scrolled_dialog(self, rows: int) -> None:
        if self.dialog.top is not None:
            self.dialog.top.scroll(rows)
            self.redraw_dialog()
            self.paint_now()
