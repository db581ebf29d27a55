"""The training view: one run over the whole screen, beside others where they are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from dctop.engine.config import Energy
from dctop.engine.metrics.model import Snapshot
from dctop.engine.training import inferlog, runmath
from dctop.engine.training.energy import RunEnergy, run_energy
from dctop.engine.training.folder import INFER
from dctop.engine.training.runstate import RunState
from dctop.tui import intents as i
from dctop.tui.draw import units
from dctop.tui.draw.buckets import Buckets
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, blank, fit_row
from dctop.tui.keys import Action
from dctop.tui.panes import run_infer, run_lists, run_plot
from dctop.tui.panes.base import View
from dctop.tui.panes.curve import small
from dctop.tui.panes.parts import Item, beside, fill, flow, instances, item, items_row, key_of, num, outside
from dctop.tui.panes.run_cursor import PlotCursor
from dctop.tui.panes.run_facts import (
    ENDED_BADLY,
    data_item,
    ending_row,
    figures,
    latest,
    layer_items,
    status_row,
)
from dctop.tui.panes.run_time import heat_rows, phase_rows, seven_rows, seven_table
from dctop.tui.panes.training import ACTIVE, TrainingPane

TILES: tuple[tuple[str, str, S], ...] = (
    ("lr", "learning rate", S.GRAPH_3),
    ("grad_norm", "gradient norm", S.GRAPH_4),
    ("update_ratio", "update ratio", S.GRAPH),
    ("step_s", "step time", S.GRAPH_2),
    ("accuracy", "accuracy", S.GRAPH),
    ("mem_allocated_bytes", "GPU memory", S.GRAPH_3),
    ("rss_anon_bytes", "memory", S.GRAPH_3),
)
PANELS = ("runs", "classes", "events", "log", "evaluations", "time")
MOST_COMPARED = len(run_plot.STYLES) - 1
_SHOWN_OPTIONS = ("size", "optimizer", "batch_size", "lr", "precision", "workers", "nproc", "seed", "fault")


class RunPane(TrainingPane):
    """`selected` is the id of the run to show (None: the newest)."""

    key = "run"
    name = "RUN"
    actions: ClassVar[tuple[Action, ...]] = (
        *(a for a in TrainingPane.actions if a.id not in ("training.show", "training.log")),
        Action("run.compare", ("c",), "compare", "Draw other runs into the same plot; choose them."),
        Action("run.metric", ("v",), "metric", "The next metric in the large plot: loss, accuracy, lr ..."),
        Action("run.axis", ("x",), "steps/time", "The plot over steps, or over time since the start."),
        Action("training.log", ("y",), "log scale", "The plot on a logarithmic scale, or back."),
        Action("run.smooth", ("s",), "smooth", "The plot smoothed (the raw range behind it), or back."),
        Action("run.left", ("comma",), "cursor", "A cursor in the plot that reads its values; to the left."),
        Action("run.right", ("full_stop",), "cursor", "The cursor to the right, and away at the end.", False),
        Action("run.left10", ("less_than_sign",), "cursor", "The cursor ten columns to the left.", False),
        Action(
            "run.right10", ("greater_than_sign",), "cursor", "The cursor ten columns to the right.", False
        ),
        Action(
            "run.nearer",
            ("left_square_bracket",),
            "zoom",
            "Half as many steps (or as much time) in the plot.",
        ),
        Action(
            "run.wider", ("right_square_bracket",), "zoom out", "Twice as many, up to all of them.", False
        ),
        Action("run.panel", ("l",), "list", "What stands below the curves: runs, classes, events, log."),
        Action("run.infer", ("i",), "inference", "Measurements of this run's inference, and back."),
        Action("run.measure", ("I",), "measure", "Measure inference with a checkpoint of this run."),
        Action("run.checkpoint", ("w",), "save", "Write a checkpoint after this step.", footer=False),
        Action("run.resume", ("u",), "resume", "Go on from a checkpoint of this run, as a new run."),
        Action("run.remove", ("delete",), "remove", "Delete this (ended) run with its checkpoints.", False),
        Action("run.copy", ("C",), "copy path", "Copy the run's directory.", footer=False),
        Action("run.page_down", ("pagedown",), "scroll", "Scroll events, log or measurement down.", False),
        Action("run.page_up", ("pageup",), "scroll", "Scroll events, log or measurement up.", False),
    )
    about = (
        TrainingPane.about
        + " The second bar divides the whole run by the handbook's seven steps: preprocess (load and copy), "
        "initialise (until the first step began), forward, loss, backward, update, repeat (measuring, "
        "evaluation, checkpoints). The time to finish is a range from fast and slow stretches of the last "
        "500 steps. MFU is the arithmetic the model needs over what the device could do; without a known "
        "peak there is none. In the plot diamonds are evaluations; the lane below it shows checkpoints, "
        "faults and failures. A click or the cursor reads the values there, of each run in its colour; a "
        "narrower range stays around the cursor, without one at the newest end. A recall that fell far below "
        "its own best is red. Compared runs are drawn in their own colours with the options in which they "
        "differ."
    )

    def __init__(self) -> None:
        super().__init__()
        self.metric = "loss"
        self.axis: run_plot.Axis = "step"
        self.smooth = False
        self.panel = 0
        self.cursor = PlotCursor()
        self._plot_at = (0, 0, 0, 0)
        """Row, column, width and height of the large plot without its scale, for clicks."""
        self.compared: tuple[str, ...] = ()
        """Ids of the runs drawn with the chosen one."""
        self._small: dict[str, Buckets] = {}
        self._scroll = 0
        self._rows_at: list[tuple[int, int, str]] = []
        """(row, first column, run id) of the list, for clicks."""
        self._plotted: tuple[object, list[Row]] = (None, [])
        self.energy = Energy()
        """The site's price, carbon intensity and PUE."""
        self._used: tuple[object, RunEnergy | None] = (None, None)

    # -- drawing ------------------------------------------------------------------------------------

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        run = self.chosen(view)
        self._rows_at = []
        if run is None or h < 8:
            return super().draw(view, snap, w, h)
        rows = self._head(view, snap, run, w, h)
        room = h - len(rows)
        if run.workload == INFER:
            return [*rows, *self._measurement(view, run, w, room, len(rows))]
        if room < 14:
            return [*rows, *self._plot(view, run, w, room, len(rows))]
        if w >= 150 and room >= 34:
            return [*rows, *self._large(view, snap, run, w, room, len(rows))]
        return [*rows, *self._stacked(view, snap, run, w, room, len(rows))]

    def _head(self, view: View, snap: Snapshot, run: RunState, w: int, h: int) -> list[Row]:
        look = view.look
        rows = [status_row(run, w, look)]
        ended = ending_row(run, view.source.alerts(), w, look)
        if ended is not None:
            rows.append(ended)
        if run.trouble is not None and run.status in ENDED_BADLY:
            rows.append(fit_row(((f"{glyphs(look).warning} {outside(run.trouble, look)}", S.WARN),), w))
        if run.workload == INFER:
            rows += flow([*run_infer.summary_items(run, look), *self._facts(view, run)], w, 2)
            return rows
        rows.append(items_row([*figures(run, look), *self._efficiency(view, snap, run)], w))
        rows += flow(self._facts(view, run), w, 2 if h >= 30 else 1)
        if h >= 30:
            rows += flow(energy_items(self._energy(view, run), look), w, 1)
        compared = self._others(view, run)
        if compared:
            rows += run_lists.compare_rows(run, compared, w, max(3, h // 4), look)
        return rows

    def _energy(self, view: View, run: RunState) -> RunEnergy | None:
        """Looked up every ten ticks: it goes over the whole history of the power."""
        snap = view.snap
        made = (run.id, run.status, 0 if snap is None else snap.frame.seq // 10)
        if self._used[0] != made:
            self._used = (made, run_energy(view.source, run, self.energy))
        return self._used[1]

    def _efficiency(self, view: View, snap: Snapshot, run: RunState) -> list[Item]:
        """MFU, memory against its limit, update ratio, layers: what is known of them."""
        out: list[Item] = []
        used = runmath.mfu(run)
        if used.share is not None:
            out.append(item("MFU", units.fixed(100 * used.share, 1, 0) + "%", S.VALUE))
        limit = memory_limit(run, snap)
        memory = latest(run, "mem_peak_bytes") or latest(run, "rss_anon_bytes")
        if limit and memory and run.status in ACTIVE:
            share = 100 * memory / limit
            style = S.CRIT if share >= 97 else S.WARN if share >= 92 else S.TEXT
            out.append(((f"of the limit {units.size(limit, 0)} ", S.DIM), (units.pct(share, 0), style)))
        ratio = latest(run, "update_ratio")
        if ratio is not None:
            out.append(item("upd", units.significant(ratio, 0)))
        return out + layer_items(run)

    def _facts(self, view: View, run: RunState) -> list[Item]:
        look = view.look
        out: list[Item] = [item("run", outside(run.id, look))]
        extra = data_item(run, look)
        if extra is not None:
            out.append(extra)
        device = run.config.get("device")
        name = device.get("name") if isinstance(device, dict) else None
        shown = f"{run.device} ({name})" if name and run.device else run.device
        out.append(item("device", outside(shown, look)))
        out.append(item("started", units.clock(run.started_wall_ns)))
        options = run.config.get("config")
        source = options if isinstance(options, dict) else run.config
        for key in _SHOWN_OPTIONS:
            value = source.get(key)
            if isinstance(value, list):
                value = " ".join(map(str, value))
            if value not in (None, "", 0, False) and isinstance(value, (str, int, float)):
                out.append(item(key.replace("_size", ""), outside(str(value), look)))
        parent = run.config.get("parent")
        if isinstance(parent, dict):
            out.append(item("resumed from", outside(str(parent.get("run")), look)))
        return out

    def _stacked(self, view: View, snap: Snapshot, run: RunState, w: int, h: int, top: int) -> list[Row]:
        """80x24 and 120x40: bars, plot, small curves, lists below each other."""
        look = view.look
        bars = phase_rows(run, w, 2, look)
        if h >= 16:
            bars += seven_rows(run, w, 2, look)
        room = h - len(bars)
        lower = room // 3 if room >= 24 else 0
        tiles = max(4, min(6, room // 5)) if room >= 16 or self.panel == 0 else 0
        small_lower = not lower and self.panel > 0
        if small_lower:
            tiles, lower = 0, max(6, room * 2 // 5)
        if room - tiles < 6:
            tiles = 0
        rows = [*bars, *self._plot(view, run, w, room - lower - tiles, top + len(bars))]
        if tiles:
            rows += self._tiles(view, snap, run, w, tiles)
        if lower:
            rows += self._lists(view, run, w, lower, max(1, w // 58), top + len(rows))
        return rows

    def _large(self, view: View, snap: Snapshot, run: RunState, w: int, h: int, top: int) -> list[Row]:
        """200x60: the plot with the small curves at its right; below it where the time goes and lists."""
        look = view.look
        bars = phase_rows(run, w, 2, look)
        rest = h - len(bars)
        lower = max(14, rest // 3)
        upper = rest - lower
        right = max(46, w // 4)
        left = w - right - 1
        n = max(1, min(len(self._measured(run)), upper // 5))
        tiles: list[Row] = []
        for k, tile in enumerate(self._measured(run)[:n]):
            tiles += self._tile(view, snap, run, tile, right, upper // n + (k < upper % n))
        rows = [*bars, *beside(self._plot(view, run, left, upper, top + len(bars)), tiles, left, right)]
        time_w = min(56, w // 4)
        table = [run_lists.heading("where the time goes", time_w), *seven_table(run, time_w, 7, look)]
        heat = heat_rows(run, time_w, lower - len(table) - 2, look)
        if heat:
            table += [blank(time_w), run_lists.heading("share of a step, over the run", time_w), *heat]
        x = time_w + 1
        lists = self._lists(view, run, w - x, lower, 3, top + len(rows), x)
        return [*rows, *beside(fill(table, time_w, lower), lists, time_w, w - x)]

    def _plot(
        self, view: View, run: RunState, w: int, h: int, top: int, only: str | None = None
    ) -> list[Row]:
        """The large plot under its title; made again only when something it shows has changed."""
        if h < 2:
            return fill([], w, h)
        metric = run_plot.BY_ID[only or self.metric]
        runs = [run, *self._others(view, run)]
        scale = run_plot.scale_width(w, h - 1)
        self._plot_at = (top + 1, scale, w - scale, h - 1)
        self.cursor.columns = max(1, w - scale)
        window = self.cursor.window(runs, self.axis)
        plot = run_plot.Plot(metric, self.axis, self.log, self.smooth, window, self.cursor.at)
        made = (tuple((r.id, r.seq, len(r.columns.get("step", ()))) for r in runs), plot, w, h, view.look)
        if self._plotted[0] != made:
            notes = [self.axis] + ["log"] * self.log + ["smooth"] * self.smooth
            notes += [f"1/{2**self.cursor.zoom} of the range"] if window is not None else []
            evaluated = metric.evaluation is not None and bool(run.evals)
            mark = f"  {glyphs(view.look).evaluation} evaluation" if evaluated else ""
            name = "latency of each request" if only else metric.name
            read = self._reading(runs, plot)
            title = fit_row(((name, S.HEADER), *read, (mark, S.GRAPH_2), ("  " + " ".join(notes), S.DIM)), w)
            self._plotted = (made, [title, *run_plot.rows(runs, plot, w, h - 1, view.look)])
        return list(self._plotted[1])

    def _reading(self, runs: Sequence[RunState], plot: run_plot.Plot) -> list[Span]:
        """What stands under the cursor: the value of each run in its colour."""
        if plot.cursor is None:
            return []
        out: list[Span] = [(f"  {plot.axis} {run_plot.place_text(plot.axis, plot.cursor)}: ", S.DIM)]
        for k, (run, style) in enumerate(zip(runs, run_plot.STYLES, strict=False)):
            found = run_plot.reading(run, plot.metric, plot.axis, plot.cursor)
            text = run_plot.text_of(plot.metric, None if found is None else found[1])
            out.append((("  " if k else "") + text, style))
        return out

    def _measured(self, run: RunState) -> list[tuple[str, str, S]]:
        return [t for t in TILES if any(v == v for v in run.columns.get(t[0], ())[-200:])]

    def _tiles(self, view: View, snap: Snapshot, run: RunState, w: int, h: int) -> list[Row]:
        """Small curves side by side, those with data only."""
        have = self._measured(run)
        n = max(1, min(len(have), w // 24, 6))
        have = have[:n]
        if not have:
            return fill([], w, h)
        block: list[Row] = []
        used = 0
        for k, tile in enumerate(have):
            size = w - used - (1 if used else 0) if k == n - 1 else (w - n + 1) // n
            rows = self._tile(view, snap, run, tile, size, h)
            block = beside(block, rows, used, size) if block else rows
            used += size + (1 if used else 0)
        return block

    def _tile(
        self, view: View, snap: Snapshot, run: RunState, tile: tuple[str, str, S], w: int, h: int
    ) -> list[Row]:
        column, name, style = tile
        buckets = self._small.setdefault(column, Buckets())
        newest = latest(run, column, 200)
        value = self._value(column, newest)
        if column.endswith("_bytes") and run.status in ACTIVE:
            limit = memory_limit(run, snap)
            value += f" of {units.size(limit, 0)}" if limit else ""
        rows = [fit_row(((name + " ", S.DIM), (value, S.VALUE)), w)]
        return rows + small(run, column, buckets, w, h - 1, view.look, style)

    def _value(self, column: str, v: float | None) -> str:
        if column.endswith("_bytes"):
            return units.size(v, 0)
        if column == "step_s":
            return units.ms(v, 0)
        return units.significant(v, 0)

    def _lists(
        self, view: View, run: RunState, w: int, h: int, columns: int, top: int, left: int = 0
    ) -> list[Row]:
        """So many lists side by side, the one chosen with `l` first."""
        order = self._order(view)[: max(1, columns)]
        cw = (w - (len(order) - 1)) // len(order)
        block: list[Row] = []
        used = 0
        for k, name in enumerate(order):
            size = w - used - (1 if used else 0) if k == len(order) - 1 else cw
            x = left + used + (1 if used else 0)
            rows = fill([fit_row(r, size) for r in self._panel(view, run, name, size, h, top, x)], size, h)
            block = beside(block, rows, used, size) if block else rows
            used += size + (1 if used else 0)
        return block

    def _order(self, view: View) -> list[str]:
        """The lists, the chosen one first; a list of one run comes last."""
        names = list(PANELS) if len(view.source.runs()) > 1 else [*PANELS[1:], PANELS[0]]
        run = self.chosen(view)
        if run is not None and run.ranks:
            names.insert(1, "ranks")
        at = self.panel % len(names)
        return [*names[at:], *names[:at]]

    def _panel(self, view: View, run: RunState, name: str, w: int, h: int, top: int, left: int) -> list[Row]:
        look = view.look
        if name == "runs":
            rows, ids = run_lists.runs_rows(
                view.source.runs(), run, self._others(view, run), w, h, look, view.focused
            )
            self._rows_at += [(top + y, left, id_) for y, id_ in enumerate(ids) if id_ is not None]
            return rows
        if name == "ranks":
            return run_lists.rank_rows(run, w, h, look)
        if name == "classes":
            return run_lists.class_rows(run, w, h, look)
        if name == "evaluations":
            return run_lists.evaluation_rows(run, w, h, look)
        if name == "time":
            return [run_lists.heading("where the time goes", w), *seven_table(run, w, h - 1, look)]
        if name == "events":
            rows, at = run_lists.event_rows(run, w, h, look, self._scroll)
        else:
            rows, at = run_lists.log_rows(run, w, h, look, self._scroll, view.source.mode == "replay")
        if name == self._order(view)[0]:
            self._scroll = at
        return rows

    def _measurement(self, view: View, run: RunState, w: int, h: int, top: int) -> list[Row]:
        page = run_infer.page(run, w, view.look)
        room = h - len(page) - 1
        if room < 8:
            rows, self._scroll = run_infer.draw(run, w, h, view.look, self._scroll)
            return rows
        # What is left shows each request, for outliers and drift within the measurement.
        return [*page, blank(w), *self._plot(view, run, w, room, top + h - room, "step_s")]

    # -- keys ---------------------------------------------------------------------------------------

    def _others(self, view: View, run: RunState) -> list[RunState]:
        """The compared runs that are (still) there."""
        known = {r.id: r for r in view.source.runs()}
        return [known[id_] for id_ in self.compared if id_ in known and id_ != run.id][:MOST_COMPARED]

    def act(self, action_id: str, view: View) -> i.Intent | None:
        switch = self._switches(view).get(action_id)
        if switch is not None:
            switch()
            return None
        run = self.chosen(view)
        ask = _ASK.get(action_id)
        if run is not None and ask is not None:
            return ask(run)
        if run is not None and action_id == "run.compare":
            return i.CompareRun(run.id, self.compared)
        if run is not None and action_id == "run.infer":
            return self._to_inference(view, run)
        if action_id in ("training.up", "training.down"):
            self._scroll = 0
        return super().act(action_id, view)

    def _switches(self, view: View) -> dict[str, Callable[[], object]]:
        return {
            "run.metric": self._next_metric,
            "run.axis": self._other_axis,
            **self._cursor_switches(view),
            "run.smooth": lambda: setattr(self, "smooth", not self.smooth),
            "run.panel": lambda: self._next_panel(view),
            "run.page_down": lambda: self.scroll(5),
            "run.page_up": lambda: self.scroll(-5),
        }

    def _cursor_switches(self, view: View) -> dict[str, Callable[[], object]]:
        run = self.chosen(view)
        runs = [] if run is None else [run, *self._others(view, run)]
        steps = {"run.left": -1, "run.right": 1, "run.left10": -10, "run.right10": 10}
        moves = {name: partial(self.cursor.move, runs, self.axis, n) for name, n in steps.items()}
        nearer = partial(self.cursor.nearer, runs, self.axis)
        return {**moves, "run.nearer": nearer, "run.wider": self.cursor.wider}

    def _other_axis(self) -> None:
        self.axis = "time" if self.axis == "step" else "step"
        self.cursor.clear()

    def _next_metric(self) -> None:
        ids = [m.id for m in run_plot.METRICS]
        self.metric = ids[(ids.index(self.metric) + 1) % len(ids)]

    def _next_panel(self, view: View) -> None:
        self.panel, self._scroll = (self.panel + 1) % len(self._order(view)), 0

    def _to_inference(self, view: View, run: RunState) -> i.Intent:
        """From a run to its newest measurement, from a measurement to the run."""
        runs = view.source.runs()
        self._scroll = 0
        if run.workload == INFER:
            of = (run.config.get("measures") or {}).get("run")
            if any(r.id == of for r in runs):
                self.selected = of
                return i.Notice(f"{of}, which was measured")
            return i.Notice("the run that was measured is not here any more", "warning")
        found = inferlog.measurements_of(runs, run.id)
        if found:
            self.selected = found[0].id
            return i.Notice(f"newest of {len(found)} measurements" if len(found) > 1 else "its measurement")
        return i.Notice("its inference was not measured yet: I measures it")

    def click(self, x: int, y: int, view: View, double: bool = False) -> i.Intent | None:
        hits = [id_ for row, left, id_ in self._rows_at if row == y and x >= left]
        run = self.chosen(view)
        if hits:
            self.selected = hits[-1]
        elif run is not None:
            top, left, w, h = self._plot_at
            if top <= y < top + h and left <= x < left + w:
                runs = [run, *self._others(view, run)]
                self.cursor.point(runs, self.axis, (x - left + 0.5) / w)
        return None

    def scroll(self, rows: int) -> bool:
        before = self._scroll
        self._scroll = max(0, self._scroll + rows)
        return self._scroll != before

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        left, right = super().title(view, w)
        n = len(view.source.runs())
        count: list[Span] = [(f"  {n} runs", S.DIM)] if n > 1 else []
        return [*left, *count], right


_ASK: dict[str, Callable[[RunState], i.Intent]] = {
    "run.copy": lambda run: i.CopyText(run.directory),
    "run.checkpoint": lambda run: i.CheckpointRun(run.id),
    "run.resume": lambda run: i.ResumeRun(run.id),
    "run.measure": lambda run: i.InferRun(run.id),
    "run.remove": lambda run: i.RemoveRun(run.id),
}


def memory_limit(run: RunState, snap: Snapshot) -> float | None:
    """What the run's memory may not exceed: as the run says, else the container's limit or the node's
    memory (for a run on the CPU of this node)."""
    said = run.config.get("memory_limit_bytes")
    if isinstance(said, (int, float)) and not isinstance(said, bool) and said > 0:
        return float(said)
    if run.device is not None and run.device.startswith("cuda"):
        index = int(run.device.partition(":")[2] or 0)
        for uuid in instances(snap, "gpu.index"):
            if num(snap, key_of("gpu.index", "gpu", uuid)) == index:
                return num(snap, key_of("gpu.mem_total_bytes", "gpu", uuid))
        return None
    known = [v for v in (num(snap, "container.memory_limit_bytes"), num(snap, "memory.total_bytes")) if v]
    return min(known, default=None)


def energy_items(used: RunEnergy | None, look: Look) -> list[Item]:
    """Energy, cost and CO2 where they are configured, joules a sample; an estimate is called one."""
    if used is None:
        return []
    about = "~" if used.estimate else ""
    text = f"{about}{used.kwh:.3g} kWh"
    if used.cost is not None:
        text += f" {about}{used.cost:.2f} {used.settings.currency}"
    if used.co2_g is not None:
        text += f" {about}{used.co2_g:.3g} g CO2"
    out = [item("energy", outside(text, look))]
    if used.joules_per_sample is not None:
        out.append(item("J/sample", about + units.significant(used.joules_per_sample, 0)))
    if used.estimate:
        out.append(((f"({outside(used.basis, look)})", S.DIM),))
    return out
