"""Network: what comes and goes on each interface, and what is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from dctop.engine.metrics.model import Snapshot
from dctop.probes.base import series
from dctop.tui.draw import units
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.graph import area_rows, mirror_rows, samples, top_of
from dctop.tui.draw.levels import mark
from dctop.tui.draw.rows import Row, S, Span, fit, fit_row
from dctop.tui.intents import Intent
from dctop.tui.keys import Action
from dctop.tui.panes.base import View
from dctop.tui.panes.parts import DataPane, Item, instances, item, items_row, message, num, outside
from dctop.tui.timescale import by_tick

SWITCH = 2.0
"""The graph follows another interface only when that one carries this many times as much: no flapping."""
AVERAGE_TICKS = 30
Reader = Callable[[str], float | None]
"""Value of one link by the last part of its metric id."""


class Link(NamedTuple):
    """An Ethernet-like interface or an InfiniBand port."""

    kind: str
    """nic | port: the label, and which family of metrics."""
    name: str

    def key(self, what: str) -> str:
        return _key(self.kind, self.name, what)


@lru_cache(8192)
def _key(kind: str, name: str, what: str) -> str:
    return series(f"{'net' if kind == 'nic' else 'ib'}.{what}", **{kind: name})


class NetworkPane(DataPane):
    key = "network"
    name = "NET"
    probes = ("network",)
    metrics = (
        "net.rx_bytes_per_s", "net.tx_bytes_per_s", "net.rx_errors_per_s", "net.tx_errors_per_s",
        "net.rx_drops_per_s", "net.tx_drops_per_s", "net.speed_mbps", "net.util_pct", "net.up",
        "tcp.retrans_pct", "tcp.retrans_segs_per_s", "tcp.established", "tcp.listen_overflows_per_s",
        "ib.rx_bytes_per_s", "ib.tx_bytes_per_s", "ib.rate_gbps", "ib.up", "ib.symbol_errors_per_s",
    )  # fmt: skip
    actions = (
        Action("network.next", ("down",), "next link", "Show the next interface in the graph."),
        Action("network.previous", ("up",), "previous", "Show the previous interface.", footer=False),
        Action(
            "network.auto", ("backspace",), "busiest", "Let the graph follow the busiest interface again."
        ),
    )
    about = (
        "The graph shows one interface, received above and sent below the middle line, each with its own "
        "scale: the busiest one, or the one chosen with the arrow keys (marked in the list). Errors and "
        "drops are per second and should be 0. InfiniBand and RoCE ports are listed too: their traffic "
        "(NCCL's, for one) does not appear in the interface counters. TCP retransmissions above 1 % of the "
        "segments sent mean loss on the way."
    )

    def __init__(self) -> None:
        self._chosen: Link | None = None
        self._current: Link | None = None
        self._links: tuple[Link, ...] = ()
        self._listed_for: Snapshot | None = None
        self._seen: Snapshot | None = None
        """The snapshot for which `_current` was decided: title and body ask both."""

    # -- which link -----------------------------------------------------------------------------------

    def _all(self, snap: Snapshot) -> tuple[Link, ...]:
        """Hardware first, loopback last, each group by name."""
        if self._listed_for is snap:
            return self._links
        self._listed_for = snap
        ports = [Link("port", p) for p in instances(snap, "ib.up", "ib.rate_gbps", "ib.rx_bytes_per_s")]
        nics = [Link("nic", n) for n in instances(snap, "net.rx_bytes_per_s", "net.up", "net.virtual")]
        nics.sort(key=lambda x: (x.name == "lo", num(snap, x.key("virtual")) == 1))
        self._links = (*ports, *nics)
        return self._links

    def _shown(self, view: View, links: tuple[Link, ...]) -> Link | None:
        if self._chosen is not None and self._chosen in links:
            return self._chosen
        if not links:
            return None
        if self._seen is view.snap and self._current in links:
            return self._current
        self._seen = view.snap

        def carried(link: Link) -> float:
            source = by_tick(view.source)
            values = source.window(link.key("rx_bytes_per_s"), AVERAGE_TICKS)
            sent = source.window(link.key("tx_bytes_per_s"), AVERAGE_TICKS)
            total = sum(values) + sum(sent)
            if total == total:
                return total
            return sum([v for v in values if v == v]) + sum([v for v in sent if v == v])

        # Loopback only where there is nothing else: its traffic never left the node.
        pool = [x for x in links if x.name != "lo"] or list(links)
        traffic = {x: carried(x) for x in pool} if len(pool) > 1 else {pool[0]: 0.0}
        best = max(traffic, key=traffic.__getitem__)
        current = self._current
        if current not in traffic or traffic[best] > SWITCH * traffic[current]:
            self._current = best
        return self._current

    def act(self, action_id: str, view: View) -> Intent | None:
        links = self._all(view.snap) if view.snap is not None else self._links
        if action_id == "network.auto":
            self._chosen = None
        elif links:
            shown = self._shown(view, links)
            at = links.index(shown) if shown in links else 0
            self._chosen = links[(at + (1 if action_id == "network.next" else -1)) % len(links)]
        return None

    def click(self, x: int, y: int, view: View, double: bool = False) -> Intent | None:
        at = y - self._first_row
        if 0 <= at < len(self._listed):
            self._chosen = self._listed[at]
        return None

    _first_row = 0
    _listed: tuple[Link, ...] = ()

    # -- drawing --------------------------------------------------------------------------------------

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        left: list[Span] = [(self.name, S.TITLE)]
        snap = view.snap
        if snap is None:
            return left, ()
        link = self._shown(view, self._all(snap))
        if link is None:
            return left, ()
        left.append((" " + outside(link.name, view.look), S.DIM))
        g = glyphs(view.look)
        rx, tx = num(snap, link.key("rx_bytes_per_s")), num(snap, link.key("tx_bytes_per_s"))
        return left, self.right(view, f"{g.down}{units.rate(rx)} {g.up}{units.rate(tx)}")

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        links = self._all(snap)
        link = self._shown(view, links)
        if link is None:
            self._listed = ()
            return message(("No network interfaces are visible here.",), w, h)
        tcp = 1 if h >= 5 else 0
        listed = min(len(links), max(0, (h - tcp) // 2)) if h >= 4 else 0
        graph = h - tcp - listed
        rows = self._graph(view, link, w, graph)
        self._listed = self._pick(snap, links, link, listed)
        self._first_row = len(rows)
        rows += [self._link(view, snap, x, w, x == link) for x in self._listed]
        if tcp:
            rows.append(items_row(self._tcp(view, snap), w))
        return rows

    def _graph(self, view: View, link: Link, w: int, h: int) -> list[Row]:
        n = samples(view.look, w)
        rx = view.source.window(link.key("rx_bytes_per_s"), n)
        if h == 1:
            return area_rows(rx, w, 1, view.look, hi=top_of(rx, 1e4))
        tx = view.source.window(link.key("tx_bytes_per_s"), n)
        top_rx, top_tx = top_of(rx, 1e4), top_of(tx, 1e4)
        rows = mirror_rows(rx, tx, w, h, view.look, top_rx, top_tx)
        if h >= 4 and w >= 24:
            # The scales: a graph without a limit says nothing without its top.
            g = glyphs(view.look)
            rows[0] = _labelled(rows[0], f"{g.down} {units.rate(top_rx, 0)}")
            rows[-1] = _labelled(rows[-1], f"{g.up} {units.rate(top_tx, 0)}")
        return rows

    def _pick(self, snap: Snapshot, links: tuple[Link, ...], shown: Link, n: int) -> tuple[Link, ...]:
        """The `n` that matter most, in their usual order; the one in the graph is always among them."""
        if len(links) <= n:
            return links

        def weight(x: Link) -> tuple[bool, bool, float]:
            moved = (num(snap, x.key("rx_bytes_per_s")) or 0.0) + (num(snap, x.key("tx_bytes_per_s")) or 0.0)
            return x == shown, num(snap, x.key("up")) != 0, moved

        kept = set(sorted(links, key=weight, reverse=True)[:n])
        return tuple(x for x in links if x in kept)

    def _link(self, view: View, snap: Snapshot, x: Link, w: int, shown: bool) -> Row:
        """`▸eth0      ↓ 1.20M/s ↑  340K/s  25 Gb/s  3%  err 0 drop 0`"""
        g, look = glyphs(view.look), view.look

        def n(what: str) -> float | None:
            return num(snap, x.key(what))

        up = n("up")
        label = max(3, min(16, w - 21))
        name = fit(outside(x.name, look), label, "<", look.ellipsis)
        spans: list[Span] = [(g.cursor if shown else " ", S.ACCENT), (name, S.TEXT if up != 0 else S.DIM)]
        if up == 0:
            spans.append((f" {g.warning}down" if x.name != "lo" and n("virtual") != 1 else " down", S.DIM))
            return fit_row(spans, w)
        spans += [
            (f" {g.down}", S.DIM), (units.rate(n("rx_bytes_per_s")), S.VALUE),
            (f" {g.up}", S.DIM), (units.rate(n("tx_bytes_per_s")), S.VALUE),
        ]  # fmt: skip
        # Losses matter more than the link's speed, that more than its use; each needs its own room.
        left = w - 1 - label - 18 - 19
        if left >= 9:
            spans.append((_speed(x, n), S.DIM))
            left -= 9
            util = n("util_pct")
            if left >= 5:
                spans.append((units.pct(util, 5) if util is not None else "     ", S.DIM))
        if w - 1 - label - 18 >= 19:
            spans += self._lost(view, x, n)
        return fit_row(spans, w)

    def _lost(self, view: View, x: Link, n: Reader) -> list[Span]:
        kinds = ("rx_errors_per_s", "tx_errors_per_s") if x.kind == "nic" else ("rcv_errors_per_s",)
        errors = _sum(*(n(k) for k in kinds))
        out = [_loss(view, "err", errors)]
        if x.kind == "nic":
            out.append(_loss(view, "drop", _sum(n("rx_drops_per_s"), n("tx_drops_per_s"))))
        else:
            out.append(_loss(view, "sym", n("symbol_errors_per_s")))
        return [span for it in out for span in it]

    def _tcp(self, view: View, snap: Snapshot) -> list[Item]:
        lost = num(snap, "tcp.retrans_pct")
        style = S.TEXT if lost is None or lost < 1 else S.CRIT if lost >= 5 else S.WARN
        sign = mark(lost, view.look, 1, 5).strip()
        out = [
            item("tcp retrans", f"{sign}{units.fixed(lost, 2)}%" if lost is not None else "    -", style),
            item("segs/s", units.count(num(snap, "tcp.retrans_segs_per_s"))),
            item("established", units.count(num(snap, "tcp.established"))),
        ]
        full = num(snap, "tcp.listen_overflows_per_s")
        if full:
            out.insert(0, item("accept queue full/s", mark(80, view.look) + units.count(full, 0), S.WARN))
        return out


def _labelled(row: Row, label: str) -> Row:
    """The label written over the oldest end of a graph row, if that is a single span."""
    text, style = row[0]
    if len(row) != 1 or len(label) + 2 > len(text):
        return row
    return ((label + " ", S.DIM), (text[len(label) + 1 :], style))


def _speed(x: Link, n: Reader) -> str:
    gbps = n("rate_gbps") if x.kind == "port" else None
    mbps = n("speed_mbps") if x.kind == "nic" else None
    if mbps is not None:
        gbps = mbps / 1000.0
    if gbps is None or gbps <= 0:
        return "         "
    text = f"{gbps:.0f} Gb/s" if gbps >= 1 else f"{gbps * 1000:.0f} Mb/s"
    return fit(text, 9, ">")


def _loss(view: View, name: str, rate: float | None) -> Item:
    bad = rate is not None and rate > 0
    sign = mark(80, view.look) if bad else " "
    return (f" {name}", S.DIM), (sign + units.count(rate, 4), S.WARN if bad else S.TEXT)


def _sum(*values: float | None) -> float | None:
    found = [v for v in values if v is not None]
    return sum(found) if found else None
