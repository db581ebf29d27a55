"""The selected GPU in words: what it is, what holds it back, clocks, limits, its parts, its energy."""

from __future__ import annotations

from collections.abc import Callable

from dctop.engine.metrics.model import Snapshot
from dctop.tui.draw import units
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.rows import Row, S, Span, fit, fit_row
from dctop.tui.panes.base import View
from dctop.tui.panes.gpu_data import Gpu, GpuBook, remark, since
from dctop.tui.panes.gpu_energy import Factors, energy_text
from dctop.tui.panes.gpu_sub import GpuSubPane, actions_of
from dctop.tui.panes.parts import outside, text_rows
from dctop.tui.sources import gpu_energy

Add = Callable[..., None]
"""(label, text, style): adds a line of facts."""
LABEL_W = 10
HELD_S = 60


class GpuFactsPane(GpuSubPane):
    key = "gpu-facts"
    name = "FACTS"
    metrics = (
        "gpu.state", "gpu.throttle_mask", "gpu.throttle_power_pct", "gpu.throttle_thermal_pct",
        "gpu.throttle_hw_thermal_pct", "gpu.throttle_hw_power_pct", "gpu.sm_clock_mhz",
        "gpu.sm_clock_max_mhz",
        "gpu.sm_clock_app_mhz", "gpu.mem_clock_mhz", "gpu.pstate", "gpu.temp_slowdown_c",
        "gpu.temp_shutdown_c", "gpu.temp_margin_c", "gpu.mem_temp_c", "gpu.power_limit_w",
        "gpu.power_default_w", "gpu.power_min_w", "gpu.power_max_w", "gpu.mem_reserved_bytes",
        "gpu.bar1_used_bytes", "gpu.persistence", "gpu.compute_mode", "gpu.mig_mode", "gpu.numa_node",
        "gpu.capability", "gpu.energy_mj",
    )  # fmt: skip
    actions = actions_of("gpu-facts")
    about = (
        "The selected GPU in words. `held back` names every reason why its clocks are below their highest, "
        "and for how much of the last minute each held: a power limit that is reached is how a busy GPU "
        "works, heat and the hardware's own slowdown are not. `activity` is what stands behind the "
        "utilisation. MIG devices are listed with their share. Energy counts from the start of this session "
        "(in a recording: from its beginning); cost and CO2 need the factors energy.price_per_kwh and "
        "energy.co2_g_per_kwh in dctop.toml. A dash: not supported by this device; a question mark: not read."
    )

    def __init__(self, book: GpuBook | None = None) -> None:
        super().__init__(book)
        self.factors = Factors()

    def rows(self, view: View, snap: Snapshot, gpu: Gpu, w: int, h: int) -> list[Row]:
        out: list[Row] = []

        def add(label: str, text: str, style: S = S.TEXT) -> None:
            head: Span = (fit(label, LABEL_W), S.DIM)
            out.extend(text_rows(text, w, style, LABEL_W, head))

        if gpu.gone:
            sign = glyphs(view.look).critical
            problem = outside(gpu.text("problem"), view.look, "")
            add("state", f"{sign} {gpu.state} since {since(gpu)}{': ' + problem if problem else ''}", S.CRIT)
        self._load(view, gpu, add)
        self._clocks(view, gpu, add)
        self._limits(view, gpu, add)
        self._identity(view, snap, gpu, add)
        energy = gpu_energy(view.source, gpu.uuid)
        add("energy", energy_text(energy, self.factors, snap.frame.wall_ns))
        return out + self._parts(view, gpu, w)

    def _load(self, view: View, gpu: Gpu, add: Add) -> None:
        say = _Say(gpu, view)
        util = say("util_pct", lambda v: units.pct(v, 0))
        active = ", ".join(
            f"{name} {say(metric, lambda v: units.pct(v, 0))}"
            for name, metric in (
                ("SM active", "sm_active_pct"), ("tensor", "tensor_active_pct"),
                ("occupancy", "sm_occupancy_pct"), ("DRAM", "dram_active_pct"),
            )
            if gpu.has(metric)
        )  # fmt: skip
        add("activity", f"{util} utilised; {active or remark(gpu)}", S.FAINT if gpu.gone else S.TEXT)
        reasons = [r for r in gpu.throttle() if r.id != "idle"]
        g = glyphs(view.look)
        if not gpu.has("throttle_mask"):
            add("held back", "this device does not say")
        elif gpu.num("throttle_mask") is None:
            add("held back", "?")
        elif reasons:
            slow = any(r.slows and r.id != "power-cap" for r in reasons)
            text = ", ".join(r.words for r in reasons)
            add("held back", f"{g.warning if slow else g.info} {text}", S.WARN if slow else S.TEXT)
        else:
            add("held back", f"{g.closed} by nothing", S.GOOD)
        shares = self._held(view, gpu)
        if shares:
            add("", f"of the last minute: {shares}", S.DIM)

    def _held(self, view: View, gpu: Gpu) -> str:
        n = max(1, round(HELD_S / view.source.interval_s))
        out: list[str] = []
        for name, metric in (
            ("power limit", "throttle_power_pct"), ("heat (driver)", "throttle_thermal_pct"),
            ("heat (hardware)", "throttle_hw_thermal_pct"), ("power brake", "throttle_hw_power_pct"),
        ):  # fmt: skip
            known = [v for v in view.source.window(gpu.key(metric), n) if v == v]
            if known and sum(known) / len(known) >= 0.05:
                out.append(f"{name} {units.fixed(min(100.0, sum(known) / len(known)), 1, 0)} %")
        return ", ".join(out)

    def _clocks(self, view: View, gpu: Gpu, add: Add) -> None:
        say = _Say(gpu, view)

        def mhz(v: float) -> str:
            return units.fixed(v, 0, 0)

        text = f"SM {say('sm_clock_mhz', mhz)} of {say('sm_clock_max_mhz', mhz)} MHz"
        app = gpu.num("sm_clock_app_mhz")
        if app is not None:
            text += f" (asked for under load {mhz(app)})"
        text += f", memory {say('mem_clock_mhz', mhz)} of {say('mem_clock_max_mhz', mhz)} MHz"
        if gpu.has("pstate"):
            text += f", P{say('pstate', mhz)}"
        add("clocks", text)

    def _limits(self, view: View, gpu: Gpu, add: Add) -> None:
        say = _Say(gpu, view)
        deg = glyphs(view.look).degree

        def c(v: float) -> str:
            return f"{units.fixed(v, 0, 0)}{deg}"

        def watt(v: float) -> str:
            return units.watts(v, 0)

        text = f"{say('temp_c', c)}, slows down at {say('temp_slowdown_c', c)}"
        text += f", off at {say('temp_shutdown_c', c)}"
        if gpu.num("temp_margin_c") is not None:
            text += f", {say('temp_margin_c', c)} left"
        if gpu.has("mem_temp_c"):
            text += f"; memory {say('mem_temp_c', c)} of {say('mem_temp_max_c', c)}"
        if gpu.num("fan_pct") is not None:
            text += f"; fan {say('fan_pct', lambda v: units.pct(v, 0))}"
        add("heat", text)
        text = f"{say('power_w', watt)} of {say('power_limit_w', watt)}"
        if gpu.num("power_default_w") is not None:
            text += f" (as delivered {say('power_default_w', watt)}, "
            text += f"can be set {say('power_min_w', watt)} to {say('power_max_w', watt)})"
        add("power", text)
        size = units.iec
        text = f"{say('mem_used_bytes', size)} of {say('mem_total_bytes', size)}"
        if gpu.num("mem_reserved_bytes"):
            text += f", {say('mem_reserved_bytes', size)} kept by the driver"
        if gpu.num("bar1_total_bytes"):
            text += f"; BAR1 {say('bar1_used_bytes', size)} of {say('bar1_total_bytes', size)}"
        add("memory", text)

    def _identity(self, view: View, snap: Snapshot, gpu: Gpu, add: Add) -> None:
        look = view.look
        parts = [outside(gpu.text("pci"), look, ""), gpu.uuid]
        numa = gpu.num("numa_node")
        if numa is not None and numa >= 0:
            parts.append(f"NUMA node {numa:.0f}")
        if gpu.text("capability"):
            parts.append(f"compute {outside(gpu.text('capability'), look)}")
        add("device", outside(", ".join(p for p in parts if p), look))
        driver, cuda = snap.text("gpu.driver"), snap.text("gpu.cuda_version")
        modes: list[str] = []
        if driver and gpu.text("vendor") in (None, "nvidia"):
            modes.append(
                f"driver {outside(driver, look)}" + (f", CUDA {outside(cuda, look)}" if cuda else "")
            )
        if gpu.text("compute_mode"):
            modes.append(f"compute mode {outside(gpu.text('compute_mode'), look)}")
        if gpu.num("persistence") is not None:
            modes.append(
                "persistence on" if gpu.num("persistence") else "persistence off (first use is slow)"
            )
        mig, pending = gpu.num("mig_mode"), gpu.num("mig_pending")
        if mig is not None:
            text = "MIG on" if mig else "MIG off"
            modes.append(
                text + (", changes at the next reset" if pending is not None and pending != mig else "")
            )
        if modes:
            add("driver", "; ".join(modes))

    def _parts(self, view: View, gpu: Gpu, w: int) -> list[Row]:
        """MIG devices of it."""
        parts = [g for g in self.book.gpus(view) if g.parent == gpu.uuid]
        if not parts:
            return []
        rows = [fit_row(((f"{len(parts)} MIG devices", S.HEADER),), w)]
        for p in parts:
            say = _Say(p, view)
            instance = "/".join(
                f"{v:.0f}" for m in ("gpu_instance", "compute_instance") if (v := p.num(m)) is not None
            )
            name = f"{p.label} {p.name}" + (f" ({instance})" if instance else "")
            used = f"{say('mem_used_bytes', units.iec)} of {say('mem_total_bytes', units.iec)}"
            text = f"{used}  sm {say('sm_active_pct', lambda v: units.pct(v, 0))}"
            rows.append(fit_row(((fit(name, max(12, w - 40)) + " ", S.TEXT), (text, S.VALUE)), w))
        return rows


class _Say:
    """A value as text, or what stands for it."""

    def __init__(self, gpu: Gpu, view: View) -> None:
        self.gpu, self.look = gpu, view.look

    def __call__(self, metric: str, form: Callable[[float], str]) -> str:
        value = self.gpu.last(metric)
        return self.gpu.none(metric, self.look) if value is None else form(value)
