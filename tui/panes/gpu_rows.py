"""How one GPU is drawn: a row of figures, or a block with a graph while there are few. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dctop.tui.draw import units
from dctop.tui.draw.bars import bar_spans
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.graph import area_rows, samples, spark
from dctop.tui.draw.levels import state_style
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, fit, fit_row
from dctop.tui.panes.base import View
from dctop.tui.panes.gpu_data import STYLES, Gpu
from dctop.tui.panes.parts import Item, items_row

HISTORY = 120
"""Cells of a row's history, a tick each."""
SPARE = 4
"""A row may have so many cells more for it than its columns leave."""
MARK_W, MARK_WIDE = 13, 19
"""Cells for the mark at the end of a row; the second where there is plenty of room."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What a row of a given width has room for. Widths in cells; 0 or False: not shown."""

    label: int
    bar: int
    tensor: bool
    total: bool
    clock: bool
    history: int
    mark: int


def columns(w: int, label: int, marked: bool) -> Columns:
    """Bars shrink first, then the history goes; the mark of a GPU in trouble stays."""
    mark = 0 if not marked else MARK_WIDE if w >= 110 else MARK_W if w >= 46 else 2
    rest = w - (label + 1) - 5 - 5 - 7 - 5 - 6 - mark
    tensor, total, clock = rest >= 40, rest >= 54, rest >= 66
    rest -= 5 * tensor + 5 * total + 5 * clock
    size = 12 if rest >= 60 else 8 if rest >= 30 else max(0, min(8, (rest - 6) // 2 - 1))
    return Columns(label, size, tensor, total, clock, rest - 2 * (size + 1), mark)


def heading(c: Columns, w: int, look: Look) -> Row:
    """Titles above the rows."""
    gap = c.bar + 1
    text = " " * (c.label + 1) + fit("UTIL", gap + 4, ">") + fit("SM", 5, ">")
    text += (fit("TENS", 5, ">") if c.tensor else "") + " " + " " * gap + fit("MEM", 5, ">")
    text += (fit("OF", 5, ">") if c.total else "") + fit(glyphs(look).degree.replace("°", "°C"), 6, ">")
    text += fit("W", 6, ">") + (fit("MHz", 5, ">") if c.clock else "")
    return ((fit(text, w), S.HEADER),)


FIGURES = (
    "util_pct", "sm_active_pct", "tensor_active_pct", "mem_used_pct", "mem_used_bytes", "mem_total_bytes",
    "temp_c", "power_w", "sm_clock_mhz",
)  # fmt: skip
"""What a row is drawn from."""


def kept_row(kept: dict[str, tuple[tuple[object, ...], Row]], view: View, g: Gpu, c: Columns, w: int) -> Row:
    """`row`; one that shows the same as the last one is that one, out of `kept` (by UUID)."""
    past = view.source.window(g.keys["util_pct"], min(max(0, c.history) + SPARE, HISTORY))
    seen = (
        [v if (v := g.last(m)) is not None else g.none(m, view.look) for m in FIGURES],
        g.num("temp_slowdown_c"), bytes(past), g.label, g.parent, g.gone, g.level, g.mark, c, w, view.look,
    )  # fmt: skip
    before = kept.get(g.uuid)
    if before is not None and before[0] == seen:
        return before[1]
    made = row(g, c, w, view.look, past)
    kept[g.uuid] = seen, made
    return made


def row(g: Gpu, c: Columns, w: int, look: Look, past: Sequence[float]) -> Row:
    """`0 ███████▌  94%  61s ███████▏ 72.0G  67°  648W ▇█▇██▇▆ ▲ thermal`; `past`: of the utilisation."""
    style, graph, dim = (S.FAINT, S.FAINT, S.FAINT) if g.gone else (S.VALUE, S.GRAPH, S.DIM)
    share = g.last("mem_used_pct")
    mem = S.FAINT if g.gone else state_style(share, 92, 97)
    head = STYLES[g.level] if g.level >= 2 else S.DIM
    label = g.label if g.parent is None else glyphs(look).tree_last[0] + g.label
    util = g.last("util_pct")
    spans: list[Span] = [(fit(label, c.label) + " ", head)]
    spans += bar_spans(util, c.bar, look, graph)
    spans.append((_or(g, "util_pct", units.pct(util, 5), util, look), style))
    spans.append((activity(g, "sm_active_pct", look, 5), dim))
    if c.tensor:
        spans.append((activity(g, "tensor_active_pct", look, 5), dim))
    spans.append((" ", S.TEXT))
    spans += bar_spans(share, c.bar, look, S.FAINT if g.gone else S.GRAPH_3)
    used = g.last("mem_used_bytes")
    spans.append((_or(g, "mem_used_bytes", units.size(used, 6), used, look) + ("" if c.total else " "), mem))
    if c.total:
        spans.append(("/" + units.size(g.last("mem_total_bytes"), 4).strip().ljust(4) + " ", dim))
    spans.append(temperature(g, look))
    power = g.last("power_w")
    spans.append((_or(g, "power_w", units.watts(power, 6), power, look) + " ", dim if g.gone else S.TEXT))
    if c.clock:
        clock = g.last("sm_clock_mhz")
        spans.append((_or(g, "sm_clock_mhz", units.fixed(clock, 0, 4), clock, look) + " ", dim))
    room = w - c.mark - sum([len(t) for t, _ in spans])
    if room >= 4:
        spans.append((spark(past, min(room, HISTORY), look).ljust(room), graph))
    elif room > 0:
        spans.append((" " * room, S.TEXT))
    if c.mark:
        text = g.mark if len(g.mark) < c.mark else g.mark.replace(" since ", " ")
        spans.append((" " + fit(text, c.mark - 1, "<", look.ellipsis), STYLES[g.level]))
    return fit_row(spans, w)


def _or(g: Gpu, metric: str, text: str, value: float | None, look: Look) -> str:
    """The figure, or what stands for it where there is none."""
    return text if value is not None else g.none(metric, look).rjust(len(text))


def activity(g: Gpu, metric: str, look: Look, cells: int) -> str:
    """`  61%` of SM or tensor activity, `–` where the device cannot say: never left out beside 100 %."""
    value = g.last(metric)
    return units.pct(value, cells) if value is not None else g.none(metric, look).rjust(cells)


def temperature(g: Gpu, look: Look) -> Span:
    """Coloured against the device's own slowdown threshold, 90 °C where it is not known."""
    t = g.last("temp_c")
    if t is None:
        return g.none("temp_c", look).rjust(4), S.DIM
    text = f"{min(max(t, -99), 999):.0f}{glyphs(look).degree}".rjust(4)
    limit = g.num("temp_slowdown_c") or 90.0
    return text, S.FAINT if g.gone else S.CRIT if t >= limit else S.WARN if t >= limit - 5 else S.TEXT


def block(view: View, g: Gpu, w: int, h: int) -> list[Row]:
    """A line or two of facts above a graph of the utilisation; SM activity below it where there is room."""
    look = view.look
    rows = [_facts(view, g, w)]
    if h >= 4:
        rows.append(_more(g, w, look))
    left = h - len(rows)
    dim = S.FAINT if g.gone else S.GRAPH
    n = samples(look, w)
    if left >= 6 and g.has("sm_active_pct"):
        low = left // 2
        rows += area_rows(view.source.window(g.key("util_pct"), n), w, left - low, look, style=dim)
        second = S.FAINT if g.gone else S.GRAPH_2
        rows += area_rows(view.source.window(g.key("sm_active_pct"), n), w, low, look, style=second)
    elif left > 0:
        rows += area_rows(view.source.window(g.key("util_pct"), n), w, left, look, style=dim)
    return rows


def _facts(view: View, g: Gpu, w: int) -> Row:
    look = view.look
    plain = S.FAINT if g.gone else S.VALUE
    sm = activity(g, "sm_active_pct", look, 4).strip()
    util = g.last("util_pct")
    shown = units.pct(util, 4) if util is not None else g.none("util_pct", look)
    room = w - len(g.label) - len(g.mark) - 64
    name = fit(g.name, min(room, 22), "<", look.ellipsis) + " " if room >= 6 else ""
    used = g.last("mem_used_bytes")
    mem = units.size(used) if used is not None else g.none("mem_used_bytes", look)
    power = g.last("power_w")
    watts = units.watts(power) if power is not None else g.none("power_w", look)
    limit = g.last("power_limit_w")
    facts: list[Item] = [((g.label + " ", STYLES[g.level] if g.level >= 2 else S.VALUE), (name, S.DIM))]
    if g.mark:
        facts.append(((g.mark, STYLES[g.level]),))
    facts += [
        ((shown, plain), (f" sm {sm}", S.DIM)),
        (
            ("mem ", S.DIM),
            (mem, S.FAINT if g.gone else state_style(g.last("mem_used_pct"), 92, 97)),
            ("/" + units.size(g.last("mem_total_bytes"), 0), S.DIM),
            (units.pct(g.last("mem_used_pct"), 5), S.DIM),
        ),
        (temperature(g, look),),
        (
            (watts, S.FAINT if g.gone else S.TEXT),
            ("" if limit is None else f"/{units.watts(limit, 0)}", S.DIM),
        ),
        ((f"{units.fixed(g.last('sm_clock_mhz'), 0, 4)} MHz", S.DIM),),
    ]
    return items_row(facts, w)


def _more(g: Gpu, w: int, look: Look) -> Row:
    """The second line of a block: what the GPU is really doing, and its traffic."""
    down, up = glyphs(look).down, glyphs(look).up
    items: list[Item] = []
    for name, metric in (
        ("tensor", "tensor_active_pct"),
        ("dram", "dram_active_pct"),
        ("occ", "sm_occupancy_pct"),
    ):
        if g.has(metric):
            items.append(((f"{name} ", S.DIM), (activity(g, metric, look, 4), S.TEXT)))
    if not items and not g.gone:
        items.append((("SM activity not supported: 100% may be one busy SM", S.DIM),))
    for name, rx, tx in (
        ("pcie", "pcie_rx_bytes_per_s", "pcie_tx_bytes_per_s"),
        ("nvlink", "nvlink_rx_bytes_per_s", "nvlink_tx_bytes_per_s"),
    ):
        if g.has(rx):
            text = f"{down}{units.rate(g.num(rx))} {up}{units.rate(g.num(tx))}"
            items.append(((f"{name} ", S.DIM), (text, S.TEXT)))
    return items_row(items, w)


def picked(rows: Sequence[Row], style: S) -> list[Row]:
    """Rows of the selected device: one colour, so that it shows in every theme."""
    return [(("".join([t for t, _ in r]), style),) for r in rows]
