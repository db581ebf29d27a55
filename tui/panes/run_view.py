"""One run over the whole screen: its loss large, its other figures small, evaluations and events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from dctop.engine.metrics.model import Snapshot
from dctop.engine.training.runstate import RunState
from dctop.tui.draw import units
from dctop.tui.draw.buckets import Buckets
from dctop.tui.draw.rows import Row, S, Span, fit_row
from dctop.tui.intents import CopyText, Intent
from dctop.tui.keys import Action
from dctop.tui.panes.base import View
from dctop.tui.panes.curve import small
from dctop.tui.panes.parts import beside, fill, item, items_row, outside
from dctop.tui.panes.run_facts import data_item, ending_row, figures, phase_rows, status_row
from dctop.tui.panes.training import TrainingPane

_SMALL: tuple[tuple[str, str, S], ...] = (
    ("lr", "learning rate", S.GRAPH_3),
    ("grad_norm", "gradient norm", S.GRAPH_4),
    ("step_s", "step time", S.GRAPH_2),
    ("accuracy", "accuracy", S.GRAPH),
    ("mem_allocated_bytes", "GPU memory", S.GRAPH_3),
    ("rss_anon_bytes", "memory (anonymous)", S.GRAPH_3),
)


class RunPane(TrainingPane):
    """`selected` is the id of the run to show (None: the newest)."""

    key = "run"
    name = "RUN"
    actions: ClassVar[tuple[Action, ...]] = (
        *(a for a in TrainingPane.actions if a.id != "training.show"),
        Action("run.copy", ("c",), "copy path", "Copy the run's directory."),
        Action("run.page_down", ("pagedown",), "events", "Scroll the events down.", footer=False),
        Action("run.page_up", ("pageup",), "events", "Scroll the events up.", footer=False),
    )
    about = (
        TrainingPane.about
        + " Here the other columns have their own curves: a gradient norm that grows while the loss stalls, "
        "a step time that steps up, memory that creeps. Below are the evaluations and the run's events, the "
        "newest first."
    )

    def __init__(self) -> None:
        super().__init__()
        self._small: dict[str, Buckets] = {}
        self._scroll = 0

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        run = self.chosen(view)
        if run is None or h < 8:
            return super().draw(view, snap, w, h)
        look = view.look
        rows = [status_row(run, w, look)]
        ended = ending_row(run, view.source.alerts(), w, look)
        if ended is not None:
            rows.append(ended)
        rows.append(items_row(figures(run, look), w))
        rows.append(items_row(self._facts(view, run), w))
        rows += phase_rows(run, w, 2, look)
        room = h - len(rows)
        lower = room // 3 if room >= 15 else 0
        tiles = max(4, room // 4) if room >= 12 else 0
        rows += self._curve.rows(run, "loss", w, room - lower - tiles, look, self.log)
        if tiles:
            rows += self._tiles(view, run, w, tiles)
        if lower:
            rows += self._lists(view, run, w, lower)
        return rows

    def _facts(self, view: View, run: RunState) -> list[tuple[Span, ...]]:
        look = view.look
        out: list[tuple[Span, ...]] = [item("run", outside(run.id, look))]
        extra = data_item(run, look)
        if extra is not None:
            out.append(extra)
        out.append(item("device", outside(run.device, look)))
        out.append(item("started", units.clock(run.started_wall_ns)))
        for key in ("batch", "optimizer", "precision", "workers"):
            value = run.config.get(key)
            if isinstance(value, (str, int, float)):
                out.append(item(key, outside(str(value), look)))
        return out

    def _tiles(self, view: View, run: RunState, w: int, h: int) -> list[Row]:
        """Small curves side by side, those with data only."""
        have = [s for s in _SMALL if any(v == v for v in run.columns.get(s[0], ())[-50:])]
        n = max(1, min(len(have), w // 24, 6))
        have = have[:n]
        if not have:
            return fill([], w, h)
        block: list[Row] = []
        width = 0
        for i, (column, name, style) in enumerate(have):
            last = i == len(have) - 1
            size = w - width - (1 if width else 0) if last else (w - n + 1) // n
            buckets = self._small.setdefault(column, Buckets())
            value = self._value(column, run.last.get(column))
            rows = [fit_row(((name + " ", S.DIM), (value, S.VALUE)), size)]
            rows += small(run, column, buckets, size, h - 1, view.look, style)
            block = beside(block, rows, width, size) if block else rows
            width += size + (1 if width else 0)
        return block

    def _value(self, column: str, v: float | None) -> str:
        if column.endswith("_bytes"):
            return units.size(v, 0)
        if column == "step_s":
            return units.ms(v, 0)
        return units.significant(v, 0)

    def _lists(self, view: View, run: RunState, w: int, h: int) -> list[Row]:
        lw = min(48, w // 2)
        rw = w - lw - 1
        left: list[Row] = [fit_row((("evaluations", S.HEADER),), lw)]
        evals = list(run.evals)[::-1][: h - 1]
        left += [self._evaluation(ev, lw) for ev in evals]
        if not evals:
            left.append(fit_row((("none yet", S.DIM),), lw))
        right: list[Row] = [fit_row((("events", S.HEADER),), rw)]
        events = run.events
        self._scroll = max(0, min(self._scroll, len(events) - (h - 1)))
        stop = len(events) - self._scroll
        for e in reversed(events[max(0, stop - (h - 1)) : stop]):
            style = S.CRIT if e.kind in ("exception", "nonfinite") else S.TEXT
            head = f"{units.clock(e.wall_ns)} {outside(e.kind, view.look):<10} "
            right.append(fit_row(((head, S.DIM), (outside(e.text, view.look, ""), style)), rw))
        return fill(beside(left, right, lw, rw), w, h)

    def _evaluation(self, ev: Mapping[str, Any], w: int) -> Row:
        def n(key: str) -> float | None:
            v = ev.get(key)
            return float(v) if isinstance(v, (int, float)) else None

        return items_row(
            (
                item("epoch", units.count(n("epoch"), 3)),
                item("step", units.count(n("step"))),
                item("loss", units.significant(n("loss"), 6)),
                item("acc", units.fixed(n("accuracy"), 4, 6)),
            ),
            w,
        )

    def act(self, action_id: str, view: View) -> Intent | None:
        if action_id == "run.copy":
            run = self.chosen(view)
            return CopyText(run.directory) if run is not None else None
        if action_id in ("run.page_down", "run.page_up"):
            self.scroll(5 if action_id == "run.page_down" else -5)
            return None
        return super().act(action_id, view)

    def scroll(self, rows: int) -> bool:
        before = self._scroll
        self._scroll = max(0, self._scroll + rows)
        return self._scroll != before

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        left, right = super().title(view, w)
        scale: list[Span] = [("  log", S.ACCENT)] if self.log else []
        return [*left, *scale], right
