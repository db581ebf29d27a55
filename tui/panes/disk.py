"""Disks: what the devices do, and when the filesystems will be full."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from dctop.engine.metrics.model import Snapshot
from dctop.engine.metrics.trend import fill_time
from dctop.tui.draw import units
from dctop.tui.draw.bars import bar_spans
from dctop.tui.draw.graph import area_rows, mirror_rows, samples, spark, top_of
from dctop.tui.draw.levels import mark, state_style
from dctop.tui.draw.rows import Row, S, Span, fit, fit_row, width
from dctop.tui.draw.text import middle
from dctop.tui.panes.base import View
from dctop.tui.panes.parts import (
    DataPane,
    instances,
    items_row,
    key_of,
    keys_of,
    message,
    num,
    outside,
    pressure_item,
)
from dctop.tui.timescale import by_tick

SLOPE_S = 2400.0
"""Growth is taken over 40 min, as the rule `disk-fill` does."""
SLOPE_EVERY_S = 30.0
SOON_S, NEAR_S = 2 * 3600.0, 8 * 3600.0
"""Full within: critical, warning."""


class DiskPane(DataPane):
    key = "disk"
    name = "DISK"
    probes = ("disk", "filesystem", "pressure")
    metrics = (
        "disk.read_bytes_per_s", "disk.write_bytes_per_s", "disk.util_pct", "disk.await_ms", "disk.iops",
        "fs.used_bytes", "fs.used_pct", "fs.avail_bytes", "fs.inodes_used_pct", "fs.hung", "fs.readonly",
        "pressure.io.some_avg10_pct", "pressure.io.full_avg10_pct",
    )  # fmt: skip
    about = (
        "Devices first: bytes read and written per second, utilisation (share of time with a request in "
        "flight: an SSD at 100 % may still have room), the mean time a request takes and requests per "
        "second. A rising await at the same load is a device that cannot follow. Then the filesystems: used "
        "share as df shows it, what an ordinary user can still write, the trend of the last 40 minutes and, "
        "where it clearly grows, when it will be full: checkpoints are what fills a training node. `hung` is "
        "a filesystem that does not answer, mostly a dead network mount; `ro` one mounted read-only. PSI io "
        "is the share of time somebody waited for storage."
    )

    def __init__(self) -> None:
        self._fill: dict[str, tuple[int, tuple[float, float] | None]] = {}
        """Mount -> (tick it was computed at, (seconds until full, bytes/s))."""

    # -- title ----------------------------------------------------------------------------------------

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        left: list[Span] = [(self.name, S.TITLE)]
        snap = view.snap
        if snap is None:
            return left, ()
        disks = self._disks(snap)
        read = _total(snap, keys_of("disk.read_bytes_per_s", "disk", disks))
        write = _total(snap, keys_of("disk.write_bytes_per_s", "disk", disks))
        if w >= 44:
            wait = pressure_item(view, snap, "io")
            left += [("  ", S.TEXT), *wait] if wait else []
        return left, self.right(view, f"r {units.rate(read)} w {units.rate(write)}")

    def _disks(self, snap: Snapshot) -> tuple[str, ...]:
        """Whole devices: stacked ones (dm, md, loop) would count the same bytes twice, unless there is
        nothing else."""
        return _whole(instances(snap, "disk.read_bytes_per_s", "disk.in_flight"))

    # -- body -----------------------------------------------------------------------------------------

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        disks = self._disks(snap)
        mounts = instances(snap, "fs.used_bytes", "fs.hung", "fs.size_bytes")
        if not disks and not mounts:
            return message(("No block devices or filesystems are visible here.",), w, h)
        if h == 1:
            return self._one(view, snap, w, disks, mounts)
        n_fs = min(len(mounts), max(1, h // 2))
        n_disk = min(len(disks), h - n_fs)
        n_fs = min(len(mounts), h - n_disk)
        rows: list[Row] = []
        spare = h - n_disk - n_fs
        graph = spare if spare >= 4 and disks else 0
        if graph:
            rows += self._graph(view, snap, w, graph, disks)
        rows += [self._device(view, snap, name, w) for name in self._busiest(snap, disks, n_disk)]
        for mount in self._fullest(snap, mounts, n_fs):
            rows.append(self._filesystem(view, snap, mount, w))
        if spare and not graph:
            items = [i for k in ("some", "full") if (i := pressure_item(view, snap, "io", k))]
            rows += [items_row(items, w)] if items else []
        return rows

    def _one(
        self, view: View, snap: Snapshot, w: int, disks: tuple[str, ...], mounts: tuple[str, ...]
    ) -> list[Row]:
        """A single row: the history of the busiest device, or the fullest filesystem."""
        if not disks:
            return [self._filesystem(view, snap, m, w) for m in self._fullest(snap, mounts, 1)]
        return self._graph(view, snap, w, 1, disks)

    def _graph(self, view: View, snap: Snapshot, w: int, h: int, disks: tuple[str, ...]) -> list[Row]:
        disk = self._busiest(snap, disks, 1)[0]
        n = samples(view.look, w)
        read = view.source.window(key_of("disk.read_bytes_per_s", "disk", disk), n)
        write = view.source.window(key_of("disk.write_bytes_per_s", "disk", disk), n)
        if h == 1:
            both = [a + b for a, b in zip(read, write)]
            return area_rows(both, w, 1, view.look, hi=top_of(both, 1e5))
        return mirror_rows(read, write, w, h, view.look, top_of(read, 1e5), top_of(write, 1e5))

    def _busiest(self, snap: Snapshot, disks: tuple[str, ...], n: int) -> tuple[str, ...]:
        """The `n` with most traffic, in the order of their names (rows must not swap places)."""
        if len(disks) <= n:
            return disks

        def traffic(name: str) -> float:
            r = num(snap, key_of("disk.read_bytes_per_s", "disk", name)) or 0.0
            return r + (num(snap, key_of("disk.write_bytes_per_s", "disk", name)) or 0.0)

        kept = set(sorted(disks, key=traffic, reverse=True)[:n])
        return tuple(d for d in disks if d in kept)

    def _fullest(self, snap: Snapshot, mounts: tuple[str, ...], n: int) -> tuple[str, ...]:
        if len(mounts) <= n:
            return mounts

        def need(mount: str) -> float:
            if num(snap, key_of("fs.hung", "mount", mount)):
                return 1000.0
            return num(snap, key_of("fs.used_pct", "mount", mount)) or 0.0

        kept = set(sorted(mounts, key=need, reverse=True)[:n])
        return tuple(m for m in mounts if m in kept)

    def _device(self, view: View, snap: Snapshot, name: str, w: int) -> Row:
        """`nvme0n1  r 2.10G/s ▂▃▅ w  340M/s ▁▁▂  45%  0.5ms 12.3k/s`"""

        def n(metric: str) -> float | None:
            return num(snap, key_of(metric, "disk", name))

        util, wait, iops = n("disk.util_pct"), n("disk.await_ms"), n("disk.iops")
        look = view.look
        label = 9 if w >= 44 else max(4, min(9, w - 22))
        spans: list[Span] = [(fit(outside(name, look), label, "<", look.ellipsis), S.TEXT)]
        extra: list[Span] = []
        if w >= label + 20 + 5:
            extra.append((mark(util, look, 90, 101) + units.pct(util), state_style(util, 90, 101)))
        if w >= label + 20 + 5 + 8:
            slow = None if wait is None else wait / 1000.0
            extra.append((units.ms(slow, 8), S.WARN if (wait or 0) >= 50 else S.TEXT))
        if w >= label + 20 + 5 + 8 + 8:
            extra.append((units.count(iops, 6) + "/s", S.DIM))
        room = w - label - 20 - sum(width(t) for t, _ in extra)
        history = min(40, (room - 2) // 2) if room >= 18 else 0
        for letter, key, style in (("r", "read", S.GRAPH), ("w", "write", S.GRAPH_2)):
            metric = f"disk.{key}_bytes_per_s"
            spans += [(f" {letter} ", S.DIM), (units.rate(n(metric)), S.VALUE)]
            if history:
                values = view.source.window(key_of(metric, "disk", name), history)
                spans += [(" ", S.TEXT), (spark(values, history, look, 0, top_of(values, 1e5)), style)]
        return fit_row(spans + extra, w)

    def _filesystem(self, view: View, snap: Snapshot, mount: str, w: int) -> Row:
        """`/data     ███████▍··  91%  412G free  +1.2M/s full in 2h05m ro`"""

        def n(metric: str) -> float | None:
            return num(snap, key_of(metric, "mount", mount))

        look = view.look
        tail = self._flags(view, snap, mount, w)
        pct = n("fs.used_pct")
        sign = mark(pct, look, 90, 98)
        style = state_style(pct, 90, 98)
        label = max(4, min(24, w // 4))
        end = sum(width(t) for t, _ in tail)
        room = w - label - 1 - 5 - end
        free = room >= 16
        size = max(0, min(room - (12 if free else 1), 40))
        name = fit(middle(outside(mount, look), label, look.ellipsis), label)
        spans: list[Span] = [(name + " ", S.TEXT), *bar_spans(pct, size, look, None, 90, 98)]
        spans.append((sign + units.pct(pct), style))
        if free:
            spans += [(units.size(n("fs.avail_bytes"), 6), S.TEXT), (" free", S.DIM)]
        return fit_row((*spans, *tail), w)

    def _flags(self, view: View, snap: Snapshot, mount: str, w: int) -> list[Span]:
        """What is wrong with a filesystem, in the order of gravity; then where it is going."""
        look = view.look
        hung = num(snap, key_of("fs.hung", "mount", mount))
        if hung:
            return [(f" {mark(100, look)}hung", S.CRIT)]
        out: list[Span] = []
        if num(snap, key_of("fs.readonly", "mount", mount)):
            out.append((" ro", S.DIM))
        inodes = num(snap, key_of("fs.inodes_used_pct", "mount", mount))
        if inodes is not None and inodes >= 90:
            out.append((f" {mark(inodes, look, 90, 98)}inodes {inodes:.0f}%", state_style(inodes, 90, 98)))
        going = self._going(view, snap, mount)
        if going is not None and w >= 40:
            left, slope = going
            style = S.CRIT if left < SOON_S else S.WARN if left < NEAR_S else S.DIM
            sign = "" if style is S.DIM else mark(100 if style is S.CRIT else 80, look)
            if w >= 60:
                out.append((f" +{units.rate(slope, 0)}", S.DIM))
            out.append((f" {sign}full in {units.duration(left, 0)}", style))
        return out

    def _going(self, view: View, snap: Snapshot, mount: str) -> tuple[float, float] | None:
        """(seconds until full, bytes/s), looked at again every half minute: the dearest number here."""
        seq = snap.frame.seq
        interval = max(view.source.interval_s, 1e-3)
        known = self._fill.get(mount)
        if known is not None and 0 <= (seq - known[0]) * interval < SLOPE_EVERY_S:
            return known[1]
        ticks = max(2, int(SLOPE_S / interval))
        values = by_tick(view.source).window(key_of("fs.used_bytes", "mount", mount), ticks)
        step = max(1, ticks // 240)
        # Newest first and back again: the newest value must survive the thinning.
        thin = values[::-step][::-1]
        seen = [v for v in thin if v == v]
        result = None
        if seen and seen[-1] > seen[0]:
            result = fill_time(thin, num(snap, key_of("fs.avail_bytes", "mount", mount)), interval * step)
        if len(self._fill) > 500:
            self._fill.clear()
        self._fill[mount] = (seq, result)
        return result


@lru_cache(64)
def _whole(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(n for n in names if not n.startswith(("dm-", "md", "loop", "zram"))) or names


def _total(snap: Snapshot, keys: Sequence[str]) -> float | None:
    found = [v for key in keys if (v := num(snap, key)) is not None]
    return sum(found) if found else None
