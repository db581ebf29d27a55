"""Energy of the GPUs over this session: joules, kilowatt hours, and with the site's factors cost and CO2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dctop.engine.metrics.gpulog import Energy
from dctop.engine.metrics.model import Snapshot
from dctop.tui.draw import units
from dctop.tui.draw.rows import Row, S, Span, fit, fit_row
from dctop.tui.panes.base import View
from dctop.tui.panes.gpu_data import GpuBook
from dctop.tui.panes.parts import DataPane, message, text_rows
from dctop.tui.sources import gpu_energy

J_PER_KWH = 3.6e6
HOW = "cost and CO2: set energy.price_per_kwh, energy.co2_g_per_kwh in dctop.toml"


@dataclass(frozen=True, slots=True)
class Factors:
    """`energy.*` of dctop.toml. None: not configured, and then nothing is computed from it."""

    price_per_kwh: float | None = None
    co2_g_per_kwh: float | None = None
    pue: float = 1.0
    currency: str = "EUR"

    def cost(self, joules: float) -> float | None:
        """Price of it, what cooling and supply take (PUE) included."""
        return None if self.price_per_kwh is None else joules / J_PER_KWH * self.pue * self.price_per_kwh

    def co2_g(self, joules: float) -> float | None:
        return None if self.co2_g_per_kwh is None else joules / J_PER_KWH * self.pue * self.co2_g_per_kwh


def joules_text(j: float) -> str:
    """`812 J`, `4.1 kJ`, `2.31 MJ`."""
    for unit, size in (("GJ", 1e9), ("MJ", 1e6), ("kJ", 1e3)):
        if j >= size:
            return f"{units.significant(j / size, 0)} {unit}"
    return f"{units.fixed(j, 0, 0)} J"


def kwh_text(j: float) -> str:
    kwh = j / J_PER_KWH
    return f"{units.fixed(kwh, 4 if kwh < 1 else 2, 0)} kWh"


def grams_text(g: float) -> str:
    return f"{units.fixed(g / 1000, 2, 0)} kg CO2" if g >= 1000 else f"{units.fixed(g, 1, 0)} g CO2"


def money_text(x: float, currency: str) -> str:
    return f"{units.fixed(x, 4 if x < 1 else 2, 0)} {currency}"


def energy_text(energy: Energy | None, f: Factors, now_ns: int) -> str:
    """One line about one GPU."""
    if energy is None:
        return "not known: neither an energy counter nor the power can be read"
    parts = [joules_text(energy.joules), kwh_text(energy.joules)]
    cost, co2 = f.cost(energy.joules), f.co2_g(energy.joules)
    if cost is not None:
        parts.append(money_text(cost, f.currency))
    if co2 is not None:
        parts.append(grams_text(co2))
    span = units.duration(max(0, now_ns - energy.since_wall_ns) / 1e9, 0)
    guess = ", estimated as power x time" if energy.estimated else ""
    return f"{', '.join(parts)} in {span}{guess}"


class GpuEnergyPane(DataPane):
    key = "gpu-energy"
    name = "ENERGY"
    probes = ("gpu",)
    metrics = ("gpu.energy_mj", "gpu.energy_w", "gpu.power_w")
    about = (
        "What the GPUs used since this session began (in a recording: since its beginning), from their own "
        "energy counters; a figure with ~ is an estimate, power times time, where a device has no counter. "
        "Cost and CO2 are kWh x energy.pue x energy.price_per_kwh and x energy.co2_g_per_kwh of dctop.toml; "
        "without those they are not shown. The hourly figures follow from the power drawn now."
    )

    def __init__(self, book: GpuBook | None = None) -> None:
        self.book = book or GpuBook()
        self.factors = Factors()

    def _all(self, view: View) -> tuple[list[tuple[str, Energy | None, float | None]], float]:
        found = [(g.label, gpu_energy(view.source, g.uuid), g.num("power_w")) for g in self.book.whole(view)]
        return found, sum(e.joules for _, e, _ in found if e is not None)

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        left: list[Span] = [(self.name, S.TITLE)]
        if view.snap is None:
            return left, ()
        found, total = self._all(view)
        if not any(e is not None for _, e, _ in found):
            return left, self.right(view, "-", S.DIM)
        guess = "~" if any(e is not None and e.estimated for _, e, _ in found) else ""
        return left, self.right(view, guess + kwh_text(total))

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        found, total = self._all(view)
        if not found:
            return message(("No GPU, no energy to count.",), w, h)
        known = [e for _, e, _ in found if e is not None]
        if not known:
            return message(("These devices say neither energy nor power.",), w, h)
        f = self.factors
        drawn = [p for _, _, p in found if p is not None]
        power = sum(drawn)
        since = min(e.since_wall_ns for e in known)
        span = units.duration(max(0, snap.frame.wall_ns - since) / 1e9, 0)
        first = f"{joules_text(total)} = {kwh_text(total)} in {span}"
        cost, co2 = f.cost(total), f.co2_g(total)
        if cost is not None:
            first += f", {money_text(cost, f.currency)}"
        if co2 is not None:
            first += f", {grams_text(co2)}"
        rows = text_rows(first, w, S.VALUE)
        hour = power * 3600.0
        text = f"now {units.watts(power, 0)}: {kwh_text(hour)} an hour"
        if (money := f.cost(hour)) is not None:
            text += f", {money_text(money, f.currency)}"
        if (grams := f.co2_g(hour)) is not None:
            text += f", {grams_text(grams)}"
        if not drawn:
            text = "the power drawn now cannot be read"
        elif len(drawn) < len(found):
            text += f" (of {len(drawn)} of {len(found)} GPUs)"
        rows += text_rows(text, w, S.TEXT)
        if cost is None and co2 is None:
            rows += text_rows(HOW, w, S.DIM)
        elif f.pue != 1.0:
            rows += text_rows(f"with a PUE of {f.pue:g}", w, S.DIM)
        return (rows + self._each(found, w))[:h]

    def _each(self, found: Sequence[tuple[str, Energy | None, float | None]], w: int) -> list[Row]:
        """A cell a GPU, as many beside each other as fit."""
        cell = 22
        across = max(1, w // cell)
        rows: list[Row] = []
        for i in range(0, len(found), across):
            spans: list[Span] = []
            for label, e, _ in found[i : i + across]:
                text = "?" if e is None else ("~" if e.estimated else "") + kwh_text(e.joules)
                spans += [(fit(f"{label:>3} ", 4), S.DIM), (fit(text, cell - 4), S.TEXT)]
            rows.append(fit_row(spans, w))
        return rows
