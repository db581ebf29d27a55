"""The process table."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from dctop.engine.metrics.builder import TICK_HZ
from dctop.engine.metrics.model import Snapshot
from dctop.probes.base import Process
from dctop.tui.draw import units
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.rows import Row, S, Span
from dctop.tui.draw.table import Column, Layout, header, layout
from dctop.tui.draw.text import clean
from dctop.tui.intents import (
    ChooseSort,
    EditFilter,
    Intent,
    Notice,
    ReniceProcess,
    ShowProcess,
    SignalProcess,
)
from dctop.tui.keys import Action
from dctop.tui.panes.base import View
from dctop.tui.panes.parts import DataPane, message, num
from dctop.tui.panes.process_filter import Filter, Query, parse, rates_of
from dctop.tui.panes.process_tree import Forest

SORTS: tuple[tuple[str, str], ...] = (
    ("cpu", "CPU %"),
    ("mem", "memory (resident)"),
    ("io", "storage read + written"),
    ("gpu", "GPU memory"),
    ("time", "CPU time"),
    ("threads", "threads"),
    ("pid", "pid"),
    ("user", "user"),
    ("name", "command"),
)
_ASCENDING = frozenset(("pid", "user", "name"))
"""Sorted from the smallest by default."""

_COLUMNS: dict[str, Column] = {
    c.id: c
    for c in (
        Column("pid", "PID", 7),
        Column("user", "USER", 9, "<", 5),
        Column("gpu", "GMEM", 5, ">", 3),
        Column("sm", "SM%", 4, ">", 4),
        Column("cpu", "CPU%", 5),
        Column("mem", "MEM%", 4, ">", 7),
        Column("rss", "RSS", 5, ">", 1),
        Column("threads", "THR", 4, ">", 9),
        Column("state", "S", 1, "<", 2),
        Column("read", "RD/s", 5, ">", 8),
        Column("write", "WR/s", 5, ">", 8),
        Column("time", "TIME", 6, ">", 11),
        Column("place", "CONTAINER/JOB", 15, "<", 6),
        Column("name", "COMMAND", 14, "<", 0, flex=True),
    )
}
_SORT_OF_COLUMN = {
    "sm": "gpu",
    "mem": "mem",
    "rss": "mem",
    "read": "io",
    "write": "io",
    "place": "name",
    "state": "cpu",
}
_MARKED = {"mem": "rss", "io": "read"}
"""Which column carries the sort mark where the key has another name."""
_STATE_STYLE = {"D": S.WARN, "Z": S.CRIT, "X": S.CRIT, "T": S.INFO, "t": S.INFO}
_FULL_SORT_BELOW = 400
"""With fewer processes a complete sort is as cheap as picking the visible ones."""

Key = tuple[int, int]


def _a(id: str, keys: str, label: str, help: str, footer: bool = True) -> Action:  # noqa: A002
    return Action("process." + id, tuple(keys.split()), label, help, footer)


class ProcessPane(DataPane):
    key = "processes"
    name = "PROC"
    probes = ("process",)
    metrics = (
        "process.count", "process.running", "process.blocked", "process.zombies", "process.stopped",
        "process.threads",
    )  # fmt: skip
    actions = (
        _a("filter", "slash f3 f4", "filter", "Words, or cpu>50 user=root mem>1g state=D cmd~x !regex."),
        _a("tree", "f5", "tree", "Parents above their children, or a flat list."),
        _a("sort", "f6", "sort", "Choose what to sort by."),
        _a("reverse", "I", "reverse", "Turn the order round.", False),
        _a("nice_down", "f7", "nice -", "Raise the priority of the selected process (nice - 1).", False),
        _a("nice_up", "f8", "nice +", "Lower the priority of the selected process (nice + 1).", False),
        _a("kill", "f9", "signal", "Send a signal to the selected process, after a confirmation."),
        _a("detail", "enter", "detail", "Show the selected process in detail."),
        _a("follow", "F", "follow", "Keep the selected process in view as the order changes."),
        _a("user", "u", "user", "Only processes of the selected one's user; again: of all."),
        _a("collapse", "c", "fold", "In the tree: fold what is below the selected process.", False),
        _a("sort_cpu", "P", "by CPU", "Sort by CPU.", False),
        _a("sort_mem", "M", "by memory", "Sort by memory.", False),
        _a("sort_next", "greater_than_sign", "next sort", "Sort by the next column.", False),
        _a("sort_previous", "less_than_sign", "prev sort", "Sort by the previous column.", False),
        _a("clear", "backspace delete", "clear", "Remove the filters, the selection and follow mode.", False),
        _a("up", "up", "up", "Select the process above.", False),
        _a("down", "down", "down", "Select the process below.", False),
        _a("page_up", "pageup", "page up", "Move a page up.", False),
        _a("page_down", "pagedown", "page down", "Move a page down.", False),
        _a("home", "home", "first", "Go to the first process.", False),
        _a("end", "end", "last", "Go to the last process.", False),
    )  # fmt: skip
    about = (
        "CPU% is of one core: 400 is four cores' worth. RSS is resident memory, shared pages counted in "
        "every process that has them, so the sum can exceed what is used; MEM% is its share of the node. "
        "RD/s and WR/s are bytes that reached storage (another user's need root). S is the state: R running, "
        "S sleeping, D waiting for I/O and not to be killed, Z ended but not collected by its parent, T "
        "stopped; D, Z and T are coloured. GMEM and SM% are device memory and SM time on all GPUs together. "
        "The selection stays on its process when the order changes. "
        "Columns give way when the pane is narrow: zoom with e to see all."
    )

    def __init__(self) -> None:
        self.sort = "cpu"
        self.reverse = False
        self.query: Query = parse("")
        self.tree = False
        self.follow = False
        self.user: str | None = None
        self.selected: Key | None = None
        self._collapsed: set[Key] = set()
        self._top = 0
        self._index = 0
        self._page = 1
        self._total = 0
        self._filter = Filter()
        self._gpu = self._place = False
        # What the order below was made from: if all of it is the same object, so is the order.
        self._made: tuple[object, ...] = ()
        self._order: list[Process] = []
        self._complete = False
        self._forest: Forest | None = None
        self._lines: dict[int, tuple[Process, object, str, S]] = {}
        self._lines_for: object = None
        self._layout: Layout | None = None

    # -- title ----------------------------------------------------------------------------------------

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        g = glyphs(view.look)
        left: list[Span] = [(self.name, S.TITLE)]
        down = (self.sort in _ASCENDING) == self.reverse
        left.append((f" {self.sort}{g.descending if down else g.ascending}", S.DIM))
        if self.tree:
            left.append((" tree", S.DIM))
        if self.follow:
            left.append((" follow", S.ACCENT))
        if self.user is not None:
            left.append((f" user={clean(self.user, view.look.unicode)}", S.INPUT))
        if self.query.text:
            left.append((f" /{clean(self.query.text, view.look.unicode)}", S.INPUT))
        if self.query.error:
            left.append((f" {g.warning}{clean(self.query.error, view.look.unicode)}", S.WARN))
        snap = view.snap
        if snap is None:
            return left, ()
        total = len(snap.frame.processes)
        shown = f"{self._total}/{total}" if (self.query or self.user) and self._made else f"{total}"
        running, blocked = num(snap, "process.running"), num(snap, "process.blocked")
        text = shown if running is None else f"{shown}  {running:.0f} run"
        right = self.right(view, text)
        if blocked:
            right += ((f"  {g.warning}{blocked:.0f} D", S.WARN),)
        return left, right

    # -- body -----------------------------------------------------------------------------------------

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        if not snap.frame.processes:
            status = snap.frame.status.get("process")
            why = status.error if status is not None and status.error else "No process has been read yet."
            return message((clean(why, view.look.unicode),), w, h)
        room = h - 1 if h >= 3 else h
        self._page = max(1, room)
        self._arrange(view, snap, room)
        visible = self._order[self._top : self._top + room]
        self._columns_seen(snap, visible)
        table = self._table(w)
        rows: list[Row] = []
        if h >= 3:
            mark = _MARKED.get(self.sort, self.sort)
            up = (self.sort in _ASCENDING) != self.reverse
            rows.append(((header(table, mark, up, view.look), S.HEADER),))
        if not self._order:
            rows += message(("Nothing matches the filter.",), w, max(1, room))
            return rows
        chosen = S.SELECT if view.focused else S.SELECT_DIM
        total = num(snap, "memory.total_bytes")
        g = glyphs(view.look)
        woods = self._forest if self.tree else None
        for i, p in enumerate(visible, self._top):
            branch = (woods.prefix(i, g), woods.hidden.get(p.pid, 0)) if woods is not None else None
            text, style = self._line(view, snap, p, table, total, branch)
            picked = self.selected is not None and self.selected == (p.pid, p.start_ticks)
            rows.append(((text, chosen if picked else style),))
        return rows

    def _table(self, w: int) -> Layout:
        skip = {"gpu", "sm"} if not self._gpu else set()
        if not self._place:
            skip.add("place")
        if w < 100 and self.sort != "time":
            skip.add("time")
        self._layout = layout(tuple(c for c in _COLUMNS.values() if c.id not in skip), w)
        return self._layout

    def _line(
        self,
        view: View,
        snap: Snapshot,
        p: Process,
        table: Layout,
        total: float | None,
        branch: tuple[str, int] | None,
    ) -> tuple[str, S]:
        """The row of a process, kept while nothing in it changes (most processes sleep)."""
        pid = p.pid
        cpu = snap.process_cpu_pct.get(pid, 0.0)
        read, write = snap.process_read_bytes_per_s.get(pid), snap.process_write_bytes_per_s.get(pid)
        if self._lines_for != (table, view.look, view.zoomed, total):
            self._lines_for, self._lines = (table, view.look, view.zoomed, total), {}
        known = self._lines.get(pid)
        inputs = (cpu, read, write, branch)
        if known is not None and known[0] is p and known[1] == inputs:
            return known[2], known[3]
        unicode = view.look.unicode
        cells: list[str] = []
        for c in table.ids:
            if c == "pid":
                cells.append(f"{pid:7d}")
            elif c == "cpu":
                cells.append(units.pct1(cpu))
            elif c == "rss":
                cells.append(units.size(p.rss_bytes))
            elif c == "mem":
                share = None if p.rss_bytes is None or not total else 100.0 * p.rss_bytes / total
                cells.append(units.fixed(share, 1, 4))
            elif c == "user":
                cells.append(clean(p.user or ("?" if p.uid is None else str(p.uid)), unicode))
            elif c == "threads":
                cells.append(units.count(p.threads, 4) if p.threads > 9999 else f"{p.threads:4d}")
            elif c == "state":
                cells.append(clean(p.state or "?", unicode))
            elif c == "read":
                cells.append(_flow(p.read_bytes, read))
            elif c == "write":
                cells.append(_flow(p.write_bytes, write))
            elif c == "gpu":
                cells.append(units.size(p.gpu_mem_bytes) if p.gpu_mem_bytes else "     ")
            elif c == "sm":
                on = p.gpu_mem_bytes is not None or p.gpu_sm_pct is not None
                cells.append(units.fixed(p.gpu_sm_pct, 0, 4) if on else "    ")
            elif c == "time":
                cells.append(units.duration(p.cpu_ticks / TICK_HZ))
            elif c == "place":
                cells.append(clean(p.container or p.job or "", unicode))
            else:
                cells.append(clean(self._command(p, branch, view.zoomed), unicode))
        text = table.line(cells, view.look.ellipsis)
        style = _STATE_STYLE.get(p.state, S.TEXT)
        if len(self._lines) > 4 * self._page + 200:
            self._lines.clear()
        self._lines[pid] = (p, inputs, text, style)
        return text, style

    def _command(self, p: Process, branch: tuple[str, int] | None, full: bool) -> str:
        text = p.cmdline or f"[{p.name}]"
        if not full and text.startswith("/"):
            # The folder of a program is the part one can do without.
            program, space, rest = text.partition(" ")
            text = program.rpartition("/")[2] + space + rest
        if branch is None:
            return text
        prefix, hidden = branch
        return f"{prefix}{text} (+{hidden})" if hidden else prefix + text

    # -- order ----------------------------------------------------------------------------------------

    def _arrange(self, view: View, snap: Snapshot, room: int) -> None:
        """Fill `_order` at least as far as it is seen, and settle `_top` and the selection."""
        self._sort_upto(view, snap, self._top + room)
        total = self._total
        self._top = max(0, min(self._top, total - room))
        if self.selected is None:
            return
        at = self._find(view, snap)
        if at is None:
            # It ended, or the filter excludes it: the one now in its place takes over.
            self.follow = False
            if not total:
                self.selected = None
                return
            at = min(self._index, total - 1)
            self._sort_upto(view, snap, at + 1)
            p = self._order[at]
            self.selected = (p.pid, p.start_ticks)
        self._index = at
        if self.follow:
            self._show(at, room)
            self._sort_upto(view, snap, self._top + room)

    def _find(self, view: View, snap: Snapshot) -> int | None:
        for _ in range(2):
            for i, p in enumerate(self._order):
                if p.pid == self.selected[0] and p.start_ticks == self.selected[1]:  # type: ignore[index]
                    return i
            if self._complete:
                return None
            self._sort_upto(view, snap, self._total)
        return None

    def _show(self, at: int, room: int) -> None:
        if at < self._top:
            self._top = at
        elif at >= self._top + room:
            self._top = at - room + 1

    def _sort_upto(self, view: View, snap: Snapshot, need: int) -> None:
        """Have the first `need` rows (or all there are) in `_order`."""
        processes = snap.frame.processes
        made = (
            processes, snap.process_cpu_pct, self.sort, self.reverse, self.query, self.user, self.tree,
            frozenset(self._collapsed) if self.tree else None, view.look.unicode,
        )  # fmt: skip
        same = len(made) == len(self._made) and all(
            a is b or (i > 1 and a == b) for i, (a, b) in enumerate(zip(made, self._made))
        )
        if same and (self._complete or len(self._order) >= need):
            return
        candidates = processes
        if self.user is not None:
            candidates = [p for p in candidates if p.user == self.user]
        if self.query:
            candidates = self._filter.select(candidates, self.query, rates_of(snap))
        self._made = made
        if self.tree:
            ordered = self._sorted(candidates, snap, len(candidates))
            self._forest = Forest(ordered, self._collapsed)
            self._order = self._forest.order
            self._total, self._complete = len(self._order), True
            return
        n = len(candidates)
        # Some more than needed, so that scrolling by a few rows does not sort again.
        want = n if n <= _FULL_SORT_BELOW or need > n // 4 else need + 20
        self._order = self._sorted(candidates, snap, want)
        self._total, self._complete = n, want >= n

    def _columns_seen(self, snap: Snapshot, visible: list[Process]) -> None:
        """Columns that only some nodes need appear once needed, and stay: columns must not come and go."""
        if not self._gpu:
            self._gpu = bool(num(snap, "gpu.count")) and (
                bool(snap.frame.gpu_processes) or any(p.gpu_mem_bytes is not None for p in visible)
            )
        if not self._place:
            self._place = any(p.container is not None or p.job is not None for p in visible)

    def _sorted(self, processes: Sequence[Process], snap: Snapshot, n: int) -> list[Process]:
        """The first `n` processes by the chosen key."""
        down = (self.sort in _ASCENDING) == self.reverse
        if self.sort == "cpu" and down:
            return self._busiest(processes, snap.process_cpu_pct, n)
        return _first(processes, self._sort_key(snap), n, down)

    def _busiest(self, processes: Sequence[Process], cpu: dict[int, float], n: int) -> list[Process]:
        """Most processes used no CPU at all: only the others need comparing; the rest come by memory."""
        busy = [p for p in processes if p.pid in cpu]
        busy.sort(key=lambda p: cpu[p.pid], reverse=True)
        if len(busy) >= n:
            return busy[:n]
        idle = [p for p in processes if p.pid not in cpu]
        return busy + _first(idle, _rss, n - len(busy), True)

    def _sort_key(self, snap: Snapshot) -> Callable[[Process], object]:
        cpu, read, write = (
            snap.process_cpu_pct,
            snap.process_read_bytes_per_s,
            snap.process_write_bytes_per_s,
        )
        keys: dict[str, Callable[[Process], object]] = {
            "cpu": lambda p: cpu.get(p.pid, 0.0),
            "mem": _rss,
            "io": lambda p: read.get(p.pid, 0.0) + write.get(p.pid, 0.0),
            "gpu": lambda p: p.gpu_mem_bytes or -1,
            "time": lambda p: p.cpu_ticks,
            "threads": lambda p: p.threads,
            "pid": lambda p: p.pid,
            "user": lambda p: (p.user or "", p.pid),
            "name": lambda p: (p.name.lower(), p.pid),
        }
        return keys[self.sort]

    # -- keys -----------------------------------------------------------------------------------------

    def act(self, action_id: str, view: View) -> Intent | None:
        what = action_id.removeprefix("process.")
        if what in ("up", "down", "page_up", "page_down", "home", "end"):
            self._move(what, view)
            return None
        if what in ("kill", "nice_up", "nice_down", "detail", "user", "collapse"):
            return self._on_selected(what, view)
        names = [s for s, _ in SORTS]
        if what == "sort":
            return ChooseSort(SORTS, self.sort)
        if what == "filter":
            return EditFilter(self.query.text)
        if what == "tree":
            self.tree = not self.tree
        elif what == "reverse":
            self.reverse = not self.reverse
        elif what == "follow":
            self.follow = not self.follow
            if self.follow and self.selected is None:
                self._move("down", view)
        elif what == "sort_cpu":
            self.set_sort("cpu")
        elif what == "sort_mem":
            self.set_sort("mem")
        elif what == "sort_next":
            self.set_sort(names[(names.index(self.sort) + 1) % len(names)])
        elif what == "sort_previous":
            self.set_sort(names[names.index(self.sort) - 1])
        elif what == "clear":
            self.query, self.user, self.selected, self.follow = parse(""), None, None, False
        return None

    def _on_selected(self, what: str, view: View) -> Intent | None:
        p = self.current(view)
        if what == "user":
            self.user = None if self.user is not None or p is None else p.user
            return None
        if p is None:
            return Notice("Select a process first, with the arrow keys or the mouse.", "warning")
        if what == "detail":
            return ShowProcess(p.pid, p.start_ticks)
        if what == "collapse":
            self._collapsed ^= {(p.pid, p.start_ticks)}
            return None
        if view.source.mode == "replay":
            return Notice("This is a recording: its processes are not here to be changed.", "warning")
        if view.readonly:
            return Notice("dctop runs with --readonly: processes are not touched.", "warning")
        name = clean(p.name)
        if what == "kill":
            return SignalProcess(p.pid, p.start_ticks, name)
        nice = max(-20, min(19, p.nice + (1 if what == "nice_up" else -1)))
        return ReniceProcess(p.pid, p.start_ticks, name, nice)

    def current(self, view: View) -> Process | None:
        """The selected process as it is now; None without a selection or when it has ended."""
        if self.selected is None or view.snap is None:
            return None
        for p in view.snap.frame.processes:
            if (p.pid, p.start_ticks) == self.selected:
                return p
        return None

    def _move(self, what: str, view: View) -> None:
        snap = view.snap
        if snap is None or not snap.frame.processes:
            return
        self._arrange(view, snap, self._page)
        last = self._total - 1
        if last < 0:
            return
        if self.selected is None and what in ("up", "down"):
            at = self._top
        else:
            step = {"up": -1, "down": 1, "page_up": -self._page, "page_down": self._page}.get(what)
            at = self._index + step if step is not None else 0 if what == "home" else last
        at = max(0, min(at, last))
        self._show(at, self._page)
        self._sort_upto(view, snap, max(at + 1, self._top + self._page))
        p = self._order[at]
        self.selected, self._index = (p.pid, p.start_ticks), at

    def set_filter(self, text: str) -> None:
        self.query = parse(text)
        self._top = 0

    def set_sort(self, column: str) -> None:
        """The same column again turns the order round."""
        if column not in dict(SORTS):
            return
        self.reverse = not self.reverse if column == self.sort else False
        self.sort = column
        self._top = 0

    def scroll(self, rows: int) -> bool:
        top = max(0, min(self._top + rows, self._total - self._page))
        moved, self._top = top != self._top, top
        if moved:
            self.follow = False
        return moved

    def click(self, x: int, y: int, view: View, double: bool = False) -> Intent | None:
        if y == 0 and self._page > 1 and self._layout is not None:
            column = self._layout.column_at(x)
            if column is not None:
                self.set_sort(_SORT_OF_COLUMN.get(column, column))
            return None
        at = self._top + y - (1 if self._page > 1 else 0)
        if 0 <= at < len(self._order):
            p = self._order[at]
            self.selected, self._index = (p.pid, p.start_ticks), at
            if double:
                return ShowProcess(p.pid, p.start_ticks)
        return None


def _rss(p: Process) -> int:
    return p.rss_bytes or 0


def _flow(total: int | None, rate: float | None) -> str:
    """A rate; 0 where the counter is known and did not move, `-` where it may not be read."""
    return units.size(rate) if rate is not None else "    0" if total is not None else "    -"


def _first(
    processes: Sequence[Process], key: Callable[[Process], object], n: int, down: bool
) -> list[Process]:
    if n * 8 < len(processes):
        pick = heapq.nlargest if down else heapq.nsmallest
        return pick(n, processes, key=key)  # type: ignore[arg-type]
    return sorted(processes, key=key, reverse=down)[:n]  # type: ignore[arg-type]
