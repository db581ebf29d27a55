"""CPU: how busy the cores are, with what, and who is kept waiting."""

from __future__ import annotations

from collections.abc import Sequence

from dctop.engine.metrics.model import Snapshot
from dctop.tui.draw import units
from dctop.tui.draw.bars import bar_spans
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.graph import area_rows, samples
from dctop.tui.draw.heat import grid
from dctop.tui.draw.levels import mark, state_style
from dctop.tui.draw.rows import Row, S, Span, fit
from dctop.tui.panes.base import View
from dctop.tui.panes.parts import (
    DataPane,
    Item,
    beside,
    fill,
    flow,
    instances,
    item,
    items_row,
    keys_of,
    num,
    outside,
    pressure_item,
)

SIDE = 34
"""Width of the panel beside the graph."""
_BAR_CELL = 16


class CpuPane(DataPane):
    key = "cpu"
    name = "CPU"
    probes = ("cpu", "pressure", "container")
    metrics = (
        "cpu.util_pct", "cpu.core.util_pct", "cpu.user_pct", "cpu.system_pct", "cpu.iowait_pct",
        "cpu.irq_pct", "cpu.steal_pct", "cpu.load1", "cpu.running", "cpu.blocked",
        "cpu.context_switches_per_s", "cpu.freq_mhz", "cpu.temp_c", "cpu.power_w",
        "pressure.cpu.some_avg10_pct", "container.cpu_quota_cores", "container.cpu_throttled_pct",
    )  # fmt: skip
    about = (
        "The graph is the utilisation of all cores together, newest at the right; its upper rows change "
        "colour at 70 and 90 %. The strip has one cell a core (or one for several on big nodes, then the "
        "busiest of them): a single busy core among idle ones is what a training loop limited by Python or "
        "by one DataLoader worker looks like. iowait is not a load: prefer PSI io in the disk pane. steal is "
        "time the hypervisor gave to other guests. PSI cpu is the share of time in which at least one task "
        "was ready but had no core. In a container the quota is shown: throttled is the share of its periods "
        "in which it ran out, whatever the host still has idle."
    )

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        snap = view.snap
        left: list[Span] = [(self.name, S.TITLE)]
        if snap is None:
            return left, ()
        cores, load = num(snap, "cpu.count"), num(snap, "cpu.load1")
        quota = num(snap, "container.cpu_quota_cores")
        if cores is not None:
            of = f"{units.fixed(quota, 1, 0).removesuffix('.0')} of " if quota is not None else ""
            left.append((f" {of}{cores:.0f} cores", S.DIM))
        if load is not None and w >= 36:
            left.append((f"  load {load:.1f}", S.DIM))
        util = num(snap, "cpu.util_pct")
        sign = mark(util, view.look)
        return left, self.right(view, f"{sign}{units.pct(util)}".strip(), state_style(util))

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        if w >= SIDE + 24 and h >= 5:
            left = self._graph(view, w - SIDE - 1, h)
            return beside(left, self._side(view, snap, SIDE, h), w - SIDE - 1, SIDE)
        below: list[Row] = []
        room = h - max(2, (h + 1) // 2)
        if room > 0:
            cores = self._cores(snap)
            strip = grid(cores, w, max(1, room // 3), view.look) if len(cores) > 1 else []
            items = [i for line in self._lines(view, snap) for i in line]
            below = [*flow(items[:4], w, 1), *strip, *flow(items[4:], w, room)][:room]
        return self._graph(view, w, h - len(below)) + below

    def _graph(self, view: View, w: int, h: int) -> list[Row]:
        values = view.source.window("cpu.util_pct", samples(view.look, w))
        return area_rows(values, w, h, view.look, limit=True)

    def _cores(self, snap: Snapshot) -> list[float | None]:
        names = instances(snap, "cpu.core.util_pct")
        return [num(snap, key) for key in keys_of("cpu.core.util_pct", "core", names)]

    def _side(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        lines = self._lines(view, snap)
        names = instances(snap, "cpu.core.util_pct")
        cores = self._cores(snap)
        columns = max(1, w // _BAR_CELL)
        need = -(-len(cores) // columns)
        if need and need + len(lines) <= h:
            rows = self._bars(view, names, cores, w, columns)
        else:
            rows = grid(cores, w, max(1, h - len(lines)), view.look) if len(cores) > 1 else []
        rows += [items_row(line, w) for line in lines[: h - len(rows)]]
        return fill(rows, w, h)

    def _bars(
        self, view: View, names: Sequence[str], cores: Sequence[float | None], w: int, columns: int
    ) -> list[Row]:
        """Cores numbered downwards, as htop does it."""
        high = -(-len(cores) // columns)
        cell = w // columns
        digits = min(4, max((len(n) for n in names), default=1))
        rows: list[Row] = []
        for r in range(high):
            spans: list[Span] = []
            used = 0
            for c in range(r, len(cores), high):
                pct = cores[c]
                spans.append((fit(outside(names[c], view.look), digits, ">", "") + " ", S.DIM))
                size = max(1, cell - digits - 7)
                spans.extend(bar_spans(pct, size, view.look))
                spans.append((units.pct(pct, 5) + " ", S.TEXT))
                used += digits + size + 7
            if used < w:
                spans.append((" " * (w - used), S.TEXT))
            rows.append(tuple(spans))
        return rows

    def _lines(self, view: View, snap: Snapshot) -> list[list[Item]]:
        """Facts by row, the most telling first."""

        def share(name: str, short: str, warn: float, crit: float) -> Item:
            v = num(snap, f"cpu.{name}_pct")
            style = S.TEXT if v is None or v < warn else S.CRIT if v >= crit else S.WARN
            return item(short, units.pct(v, 3), style)

        split = [
            share("user", "usr", 1000, 1000),
            share("system", "sys", 30, 60),
            share("iowait", "io", 20, 40),
            share("steal", "st", 5, 20),
        ]
        load = [
            item(
                "load",
                " ".join(units.fixed(num(snap, f"cpu.load{n}"), 1, 4) for n in (1, 5, 15)),
            ),
            item("run", units.count(num(snap, "cpu.running"), 3)),
            item("blk", units.count(num(snap, "cpu.blocked"), 2)),
        ]
        lines = [split, load]
        wait = pressure_item(view, snap, "cpu")
        switches = item("ctx/s", units.count(num(snap, "cpu.context_switches_per_s")))
        lines.append([wait, switches] if wait else [switches])
        lines[1:1] = [[fact] for fact in self._quota(view, snap)]
        physical = self._physical(view, snap)
        if physical:
            lines.append(physical)
        return lines

    def _quota(self, view: View, snap: Snapshot) -> list[Item]:
        quota = num(snap, "container.cpu_quota_cores")
        if quota is None:
            return []
        cores = num(snap, "cpu.count")
        host = f" (host {cores:.0f})" if cores is not None else ""
        text = f"{quota:.0f}" if quota == int(quota) else f"{quota:.1f}"
        out = [item("limit", f"{text} cores{host}")]
        held = num(snap, "container.cpu_throttled_pct")
        if held is not None:
            style = S.TEXT if held < 5 else S.CRIT if held >= 25 else S.WARN
            out.append(item("throttled", mark(held, view.look, 5, 25).strip() + units.pct(held, 3), style))
        return out

    def _physical(self, view: View, snap: Snapshot) -> list[Item]:
        out: list[Item] = []
        names = instances(snap, "cpu.freq_mhz")
        clocks = [v for k in keys_of("cpu.freq_mhz", "core", names) if (v := num(snap, k)) is not None]
        if clocks:
            out.append(item("clock", f"{sum(clocks) / len(clocks) / 1000:.2f} GHz"))
        sensors = instances(snap, "cpu.temp_c")
        temps = [v for k in keys_of("cpu.temp_c", "sensor", sensors) if (v := num(snap, k)) is not None]
        if temps:
            hot = max(temps)
            style = S.TEXT if hot < 85 else S.CRIT if hot >= 95 else S.WARN
            sign = mark(hot, view.look, 85, 95).strip()
            out.append(item("temp", f"{sign}{hot:.0f}{glyphs(view.look).degree}", style))
        packages = instances(snap, "cpu.power_w")
        power = [v for k in keys_of("cpu.power_w", "package", packages) if (v := num(snap, k)) is not None]
        if power:
            out.append(item("power", units.watts(sum(power))))
        return out
