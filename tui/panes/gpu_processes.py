"""Processes by GPU: what they hold and do there, joined with what they use of the host."""

from __future__ import annotations

from collections.abc import Sequence

from dctop.engine.metrics.model import Snapshot
from dctop.probes.base import GpuProcess, Process
from dctop.tui.draw import units
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.rows import Row, S, Span, fit_row
from dctop.tui.draw.table import Column, header, layout
from dctop.tui.draw.text import clean
from dctop.tui.intents import Intent, Notice, ShowProcess
from dctop.tui.keys import Action
from dctop.tui.panes.base import View
from dctop.tui.panes.gpu_data import GpuBook
from dctop.tui.panes.parts import DataPane, message

KINDS = {"C": "compute", "G": "graphics", "CG": "both", "M": "MPS"}
COLUMNS = (
    Column("gpu", "GPU", 4),
    Column("pid", "PID", 8),
    Column("kind", "TYPE", 8, "<", 7),
    Column("mem", "GMEM", 5),
    Column("sm", "SM%", 4),
    Column("bw", "MEM%", 4, ">", 8),
    Column("cpu", "CPU%", 5, ">", 3),
    Column("rss", "RSS", 5, ">", 4),
    Column("user", "USER", 9, "<", 2),
    Column("place", "CONTAINER/JOB", 15, "<", 5),
    Column("name", "COMMAND", 12, "<", 0, flex=True),
)
WITHOUT_PLACE = tuple(c for c in COLUMNS if c.id != "place")
FOREIGN = "These pids are the host's, not this container's: they cannot be joined with processes here."


class GpuProcessesPane(DataPane):
    key = "gpu-processes"
    name = "GPU PROC"
    probes = ("gpu",)
    metrics = ("gpu.processes", "gpu.pid_space")
    actions = (
        Action("gpu-processes.show", ("enter",), "detail", "Show the selected process in detail."),
        Action("gpu-processes.all", ("a",), "all GPUs", "Processes of all GPUs, or of the selected one."),
        Action("gpu-processes.down", ("down",), "down", "Select the next process.", footer=False),
        Action("gpu-processes.up", ("up",), "up", "Select the process before.", footer=False),
        Action("gpu-processes.page_down", ("pagedown",), "page down", "A page down.", footer=False),
        Action("gpu-processes.page_up", ("pageup",), "page up", "A page up.", footer=False),
        Action("gpu-processes.home", ("home",), "first", "The first process.", footer=False),
        Action("gpu-processes.end", ("end",), "last", "The last process.", footer=False),
    )
    about = (
        "Processes by GPU, those with most memory first. A process on several GPUs has a row for each. "
        "GMEM is device memory, SM% the share of time its kernels ran there over the latest second, MEM% the "
        "time it read or wrote device memory; CPU% and RSS are what it uses of the host. Inside a container "
        "the driver gives the host's pids; then nothing can be joined, and that is said. A dash: the driver "
        "does not tell."
    )

    def __init__(self, book: GpuBook | None = None) -> None:
        self.book = book or GpuBook()
        self.all = True
        """Of all GPUs; else of the selected one."""
        self.selected: tuple[int, str] | None = None
        self._top = 0
        self._page = 1
        self._head = 1
        self._shown: list[GpuProcess] = []
        self._place = False
        self._made: tuple[object, ...] = ()
        self._sorted: list[GpuProcess] = []

    def _rows_of(self, view: View, snap: Snapshot) -> list[GpuProcess]:
        """Sorted once a tick: title, body and keys need the same."""
        made = (snap, self.all, self.book.chosen, self.book.by_trouble)
        if len(self._made) != len(made) or any(a is not b for a, b in zip(made, self._made)):
            self._made, self._sorted = made, self._fresh(view, snap)
        return self._sorted

    def _fresh(self, view: View, snap: Snapshot) -> list[GpuProcess]:
        rows = snap.frame.gpu_processes
        order = {g.uuid: i for i, g in enumerate(self.book.gpus(view))}
        if not self.all:
            current = self.book.current(view)
            parts = {g.uuid for g in self.book.gpus(view) if current and g.parent == current.uuid}
            rows = [r for r in rows if current and (r.gpu == current.uuid or r.gpu in parts)]
        return sorted(rows, key=lambda r: (order.get(r.gpu, 999), -(r.mem_bytes or 0), r.pid))

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        left: list[Span] = [(self.name, S.TITLE)]
        snap = view.snap
        if snap is None:
            return left, ()
        if not self.all:
            current = self.book.current(view)
            left.append((f" GPU {current.label}" if current else "", S.VALUE))
        n = len(self._rows_of(view, snap))
        left_note = snap.text("gpu.pid_space") == "host"
        if left_note:
            left.append((f" {glyphs(view.look).warning} host pids", S.WARN))
        return left, self.right(view, f"{n}")

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        found = self._rows_of(view, snap)
        self._shown = found
        out: list[Row] = []
        foreign = snap.text("gpu.pid_space") == "host"
        if foreign and h >= 4:
            out.append(fit_row(((FOREIGN, S.WARN),), w))
        if not found:
            where = "these GPUs" if self.all else "this GPU"
            said = snap.frame.samples.get("gpu")
            if said is not None and said.gpu_processes is None:
                return out + message(
                    ("The driver did not say which processes use the GPUs.",), w, h - len(out)
                )
            return out + message((f"No process uses {where}.",), w, h - len(out))
        by_pid = {} if foreign else {p.pid: p for p in snap.frame.processes}
        if not self._place:  # columns that only some nodes need stay once they are needed
            mine = (by_pid.get(r.pid) for r in found)
            self._place = any(p is not None and (p.container or p.job) for p in mine)
        table = layout(COLUMNS if self._place else WITHOUT_PLACE, w)
        if h >= 3:
            out.append(((header(table, None, False, view.look), S.HEADER),))
        self._head = len(out)
        self._page = max(1, h - self._head)
        at = next((i for i, r in enumerate(found) if (r.pid, r.gpu) == self.selected), None)
        if at is not None:
            self._top = at if at < self._top else max(self._top, at - self._page + 1)
        self._top = max(0, min(self._top, len(found) - self._page))
        labels = {g.uuid: g.label for g in self.book.gpus(view)}
        chosen = S.SELECT if view.focused else S.SELECT_DIM
        for r in found[self._top : self._top + self._page]:
            p = by_pid.get(r.pid)
            text = table.line(
                [self._cell(c, r, p, labels, snap, view) for c in table.ids], view.look.ellipsis
            )
            picked = (r.pid, r.gpu) == self.selected
            out.append(((text, chosen if picked else S.TEXT if p is not None or foreign else S.DIM),))
        return out

    def _cell(
        self, c: str, r: GpuProcess, p: Process | None, labels: dict[str, str], snap: Snapshot, view: View
    ) -> str:
        unicode = view.look.unicode
        if c == "gpu":
            return labels.get(r.gpu, "?")
        if c == "pid":
            return str(r.pid)
        if c == "kind":
            return clean(KINDS.get(r.kind, r.kind), unicode)
        if c == "mem":
            return units.size(r.mem_bytes)
        if c == "sm":
            return units.fixed(r.sm_pct, 0, 4)
        if c == "bw":
            return units.fixed(r.mem_util_pct, 0, 4)
        if p is None:
            return "(not in /proc here)" if c == "name" else "-"
        if c == "cpu":
            return units.pct1(snap.process_cpu_pct.get(p.pid, 0.0))
        if c == "rss":
            return units.size(p.rss_bytes)
        if c == "user":
            return clean(p.user or ("?" if p.uid is None else str(p.uid)), unicode)
        if c == "place":
            return clean(" ".join(x for x in (p.container, p.job) if x), unicode)
        return clean(p.cmdline or f"[{p.name}]", unicode)

    # -- keys -----------------------------------------------------------------------------------------

    def act(self, action_id: str, view: View) -> Intent | None:
        what = action_id.rpartition(".")[2]
        if what == "all":
            self.all = not self.all
            return None
        snap = view.snap
        found = self._rows_of(view, snap) if snap is not None else []
        if not found or snap is None:
            return None
        at = next((i for i, r in enumerate(found) if (r.pid, r.gpu) == self.selected), None)
        if what == "show":
            row = found[at or 0]
            if snap.text("gpu.pid_space") == "host":
                return Notice(FOREIGN, "warning")
            p = next((p for p in snap.frame.processes if p.pid == row.pid), None)
            return (
                Notice(f"process {row.pid} is not in /proc here")
                if p is None
                else ShowProcess(p.pid, p.start_ticks)
            )
        steps = {"down": 1, "up": -1, "page_down": self._page, "page_up": -self._page}
        if what in steps:
            at = 0 if at is None else at + steps[what]
        else:
            at = 0 if what == "home" else len(found) - 1
        row = found[max(0, min(len(found) - 1, at))]
        self.selected = (row.pid, row.gpu)
        return None

    def scroll(self, rows: int) -> bool:
        top = max(0, min(self._top + rows, len(self._shown) - self._page))
        moved, self._top = top != self._top, top
        if moved:
            self.selected = None
        return moved

    def click(self, x: int, y: int, view: View, double: bool = False) -> Intent | None:
        at = self._top + y - self._head
        if y >= self._head and 0 <= at < len(self._shown):
            self.selected = (self._shown[at].pid, self._shown[at].gpu)
            if double:
                return self.act("gpu-processes.show", view)
        return None
