"""Memory: what is used, by what kind, how close the limit is, and whether anybody waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dctop.engine.metrics.model import Snapshot
from dctop.tui.draw import units
from dctop.tui.draw.bars import bar_spans
from dctop.tui.draw.graph import area_rows, samples
from dctop.tui.draw.levels import MEMORY_PCT, mark, state_style
from dctop.tui.draw.rows import Row, S, Span, fit, fit_row
from dctop.tui.panes.base import View
from dctop.tui.panes.parts import (
    DataPane,
    Item,
    beside,
    fill,
    flow,
    instances,
    item,
    keys_of,
    num,
    outside,
    pressure_item,
)


class MemoryPane(DataPane):
    key = "memory"
    name = "MEM"
    probes = ("memory", "pressure", "container")
    metrics = (
        "memory.used_bytes", "memory.used_pct", "memory.available_bytes", "memory.cached_bytes",
        "memory.swap_used_pct", "memory.shm_used_pct", "container.working_set_bytes",
        "container.memory_limit_bytes", "container.memory_used_pct", "memory.node.used_pct",
        "memory.dirty_bytes", "memory.writeback_bytes", "memory.hugepages_total",
        "memory.major_faults_per_s", "memory.swap_in_pages_per_s", "memory.oom_kills",
        "pressure.memory.some_avg10_pct", "pressure.memory.full_avg10_pct",
    )  # fmt: skip
    about = (
        "ram is what a new program could not have (total less available): page cache counts as free, because "
        "the kernel gives it back. In a container the limit decides, not the host: its working set is memory "
        "that cannot be given back, and when it reaches the limit the kernel kills a process. shm is "
        "/dev/shm, through which DataLoader workers pass batches; full, it kills them with a bus error. "
        "Major faults and swap traffic mean that memory is being read back from storage; PSI memory is the "
        "share of time somebody waited for that. OOM kills are counted since dctop started."
    )

    def __init__(self) -> None:
        self._kills: dict[str, float] = {}
        """Counter -> its lowest value seen: kills before the start are not news."""

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        snap = view.snap
        left: list[Span] = [(self.name, S.TITLE)]
        if snap is None:
            return left, ()
        used, total, pct = self._level(snap)
        if total is not None:
            left.append((f" {units.size(used, 0)}/{units.size(total, 0)}", S.DIM))
        text = f"{mark(pct, view.look, *MEMORY_PCT)}{units.pct(pct)}".strip()
        return left, self.right(view, text, state_style(pct, *MEMORY_PCT))

    def _level(self, snap: Snapshot) -> tuple[float | None, float | None, float | None]:
        """(used, limit, %) of what is tighter: the container's limit or the node."""
        limit, total = num(snap, "container.memory_limit_bytes"), num(snap, "memory.total_bytes")
        if limit is not None and (total is None or limit < total):
            return num(snap, "container.working_set_bytes"), limit, num(snap, "container.memory_used_pct")
        return num(snap, "memory.used_bytes"), total, num(snap, "memory.used_pct")

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        if w >= 74 and h >= 5:
            lw = min(60, w // 2)
            rows = self._facts(view, snap, lw, h)
            return beside(rows, self._graph(view, w - lw - 1, h), lw, w - lw - 1)
        want = h - 3 if h >= 8 else h
        rows = self._facts(view, snap, w, want)
        return rows + self._graph(view, w, h - len(rows)) if h - len(rows) >= 2 else fill(rows, w, h)

    def _graph(self, view: View, w: int, h: int) -> list[Row]:
        snap = view.snap
        key = "memory.used_pct"
        if snap is not None and num(snap, "container.memory_used_pct") is not None:
            key = "container.memory_used_pct"
        return area_rows(view.source.window(key, samples(view.look, w)), w, h, view.look, limit=True)

    def _facts(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        bars = self._bars(view, snap, w)
        items = self._items(view, snap)
        nodes = self._nodes(view, snap, w)
        rows = bars[:h]
        facts = flow(items, w, max(0, h - len(rows)))
        rows += facts
        return rows + nodes[: max(0, h - len(rows))]

    def _bars(self, view: View, snap: Snapshot, w: int) -> list[Row]:
        used, total = num(snap, "memory.used_bytes"), num(snap, "memory.total_bytes")
        rows: list[_Bar] = []
        limit = num(snap, "container.memory_limit_bytes")
        if limit is not None and (total is None or limit < total):
            share, amount = num(snap, "container.memory_used_pct"), num(snap, "container.working_set_bytes")
            rows.append(_Bar("limit", share, amount, f"of {units.iec(limit)}"))
        rows.append(_Bar("ram", num(snap, "memory.used_pct"), used, f"of {units.iec(total)}"))
        parts = [num(snap, f"memory.{k}_bytes") for k in ("cached", "buffers", "slab_reclaimable")]
        cache = sum(p for p in parts if p is not None) if any(p is not None for p in parts) else None
        share = None if cache is None or not total else 100.0 * cache / total
        rows.append(_Bar("cache", share, cache, "reclaimable", S.GRAPH_3))
        space, used = num(snap, "memory.swap_total_bytes"), num(snap, "memory.swap_used_bytes")
        note = "none" if space == 0 else f"of {units.iec(space)}"
        rows.append(_Bar("swap", num(snap, "memory.swap_used_pct"), used, note))
        shm = num(snap, "memory.shm_total_bytes")
        if shm is not None:
            share, amount = num(snap, "memory.shm_used_pct"), num(snap, "memory.shm_used_bytes")
            rows.append(_Bar("shm", share, amount, f"of {units.iec(shm)}"))
        return _drawn(view, rows, w)

    def _items(self, view: View, snap: Snapshot) -> list[Item]:
        out: list[Item] = []
        limit, total = num(snap, "container.memory_limit_bytes"), num(snap, "memory.total_bytes")
        if limit is not None and (total is None or limit < total):
            out.append(item("limit", f"{units.iec(limit)} (host {units.iec(total)})"))
        killed = self._killed(snap)
        if killed:
            out.append(item("oom kills", f"{mark(100, view.look)}{killed:.0f}", S.CRIT))
        for kind in ("some", "full"):
            wait = pressure_item(view, snap, "memory", kind)
            if wait:
                out.append(wait)
        faults = num(snap, "memory.major_faults_per_s")
        out.append(item("majflt/s", units.count(faults), S.WARN if (faults or 0) >= 100 else S.TEXT))
        moved = [num(snap, f"memory.swap_{d}_pages_per_s") for d in ("in", "out")]
        if any(moved):
            out.append(
                item("swap pages/s", f"in {units.count(moved[0])} out {units.count(moved[1])}", S.WARN)
            )
        out.append(item("dirty", units.size(num(snap, "memory.dirty_bytes"))))
        out.append(item("writeback", units.size(num(snap, "memory.writeback_bytes"))))
        huge = num(snap, "memory.hugepages_total")
        if huge:
            free = num(snap, "memory.hugepages_free")
            page = units.iec(num(snap, "memory.hugepage_bytes"))
            taken = "-" if free is None else f"{huge - free:.0f}"
            out.append(item("huge", f"{taken}/{huge:.0f} x {page}"))
        out.append(item("anon", units.size(num(snap, "memory.anon_bytes"))))
        out.append(item("committed", units.size(num(snap, "memory.committed_bytes"))))
        if not killed and killed is not None:
            out.append(item("oom kills", "0"))
        return out

    def _killed(self, snap: Snapshot) -> float | None:
        """OOM kills since the first frame seen: the greater of node and container. None: not counted here."""
        found: list[float] = []
        for key in ("memory.oom_kills", "container.oom_kills"):
            v = snap.frame.value(key)
            if v.__class__ is int or v.__class__ is float:
                first = min(self._kills.get(key, v), v)
                self._kills[key] = first
                found.append(v - first)
        return max(found, default=None)

    def _nodes(self, view: View, snap: Snapshot, w: int) -> list[Row]:
        names = instances(snap, "memory.node.used_pct")
        if len(names) < 2:
            return []
        totals = keys_of("memory.node.total_bytes", "node", names)
        shares = keys_of("memory.node.used_pct", "node", names)
        bars = [
            _Bar(f"node{n}", num(snap, share), _part(num(snap, total), num(snap, share)))
            for n, total, share in zip(names, totals, shares)
        ]
        return _drawn(view, bars, w)


class _Bar(NamedTuple):
    """`ram   ███████▍·········  41%  412G of 1007 GiB`"""

    name: str
    pct: float | None
    amount: float | None
    note: str = ""
    style: S | None = None
    """None: by state."""


def _drawn(view: View, bars: Sequence[_Bar], w: int) -> list[Row]:
    """Bars of one length, so that they can be compared; the notes go first when it is narrow."""
    room = w - 6 - 5 - 6
    note_w = max(len(b.note) for b in bars) + 1
    if room - note_w < 6 or note_w == 1:
        note_w = 0
    size = max(0, min(room - note_w, 40 if note_w else w))
    rows: list[Row] = []
    for b in bars:
        sign = mark(b.pct, view.look, *MEMORY_PCT) if b.style is None else " "
        style = S.TEXT if b.style is not None else state_style(b.pct, *MEMORY_PCT)
        rows.append(
            fit_row(
                (
                    (fit(outside(b.name, view.look), 5, "<", "") + " ", S.DIM),
                    *bar_spans(b.pct, size, view.look, b.style, *MEMORY_PCT),
                    (sign + units.pct(b.pct), style),
                    (units.size(b.amount, 6), S.TEXT),
                    (" " + b.note if note_w else "", S.DIM),
                ),
                w,
            )
        )
    return rows


def _part(total: float | None, pct: float | None) -> float | None:
    return None if total is None or pct is None else total * pct / 100.0
