"""How a GPU is doing: hot, held back, on a slow link, with errors that come too often, held but idle."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from dctop.engine.rules import gpu_devices as d
from dctop.engine.rules.base import (
    CRITICAL,
    INFO,
    WARNING,
    Details,
    Ev,
    Item,
    NodeRule,
    Outcome,
    Reading,
    Rule,
    num,
    size,
    span,
)
from dctop.engine.rules.gpu_devices import gpu_key
from dctop.engine.rules.window import NS, Trail, Window, finite, median

POWER_CAP, HW_SLOWDOWN, SW_THERMAL, HW_THERMAL, HW_BRAKE = 0x4, 0x8, 0x20, 0x40, 0x80
LANE_GB_S = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938, 6: 7.563}
"""GB/s of one lane a direction, line coding taken off (PCI Express base specification)."""
LANE_GT_S = {1: 2.5, 2: 5.0, 3: 8.0, 4: 16.0, 5: 32.0, 6: 64.0}
UNKNOWN = -1


def unknown(gpu: str) -> Reading:
    """It cannot be judged now: an alert neither comes nor goes."""
    return Reading(gpu, UNKNOWN, False)


class EccCorrectableRate(NodeRule):
    """More than 10 corrected ECC errors within an hour (DCGM's placeholder). A few are normal: a note, so
    that the device is tested before they become uncorrectable."""

    id = "ecc-correctable-rate"
    problem = "compute"
    kind = "state"
    severities = "i"
    probes = ("gpu",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "per_hour": 10.0,
        "clear_per_hour": 5.0,
        "every_s": 5.0,
        "hold_s": 0.0,
    }
    source = "DCGM health watch (SBE 10)"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._trails: dict[str, Trail] = {}

    def judge(self, w: Window) -> Outcome:
        missing = d.missing(w, "gpu.ecc_corrected")
        if missing is not None:
            return missing
        return [r for gpu in d.alive(w) if (r := self._one(w, gpu)) is not None]

    def _one(self, w: Window, gpu: str) -> Item | None:
        now = w.raw(gpu_key("gpu.ecc_corrected", gpu))
        if now is None:
            return unknown(gpu)
        trail = self._trails.setdefault(gpu, Trail(3600.0, 60.0))
        past = trail.delta(w.mono_ns, now)
        if past is not None and past[1][0] is None:  # counted anew since a driver reload
            trail = self._trails[gpu] = Trail(3600.0, 60.0)
            past = None
        trail.push(w.mono_ns, now)
        new = 0.0 if past is None else past[1][0] or 0.0
        if new < self.t["clear_per_hour"]:
            return None
        level = INFO if new > self.t["per_hour"] else 0
        seconds = 0.0 if past is None else past[0]
        return Reading(gpu, level, False, lambda: self._details(w, gpu, new, seconds, now))

    def _details(self, w: Window, gpu: str, new: float, seconds: float, now: float) -> Details:
        evidence = [
            Ev("new", int(new), "", f"> {self.t['per_hour']:g}"),
            Ev("within", span(seconds)),
            Ev("total", int(now)),
            Ev("ever", d.num(w, gpu, "gpu.ecc_corrected_total")),
        ]
        facts = {**d.facts(w, gpu), "new": int(new), "within": span(seconds)}
        return Details(evidence, facts, ["diag"])


class PcieDegraded(NodeRule):
    """Under load (utilisation > 20 %) for 30 s the link has fewer lanes than device and slot can (critical)
    or a lower generation (warning). An idle GPU drops to generation 1 to save power: not judged then."""

    id = "pcie-degraded"
    problem = "compute"
    kind = "state"
    severities = "wc"
    probes = ("gpu", "gpuhealth")
    thresholds: ClassVar[Mapping[str, float]] = {"util_pct": 20.0, "every_s": 5.0, "hold_s": 30.0}
    source = "NVML; Minder and OPT-175B list PCIe downgrades among the causes of slow nodes"

    def judge(self, w: Window) -> Outcome:
        missing = d.missing(w, "gpu.pcie_width", "gpu.pcie_width_max")
        if missing is not None:
            return missing
        return [r for gpu in d.alive(w) if (r := self._one(w, gpu)) is not None]

    def _one(self, w: Window, gpu: str) -> Item | None:
        names = ("pcie_width", "pcie_width_max", "pcie_gen", "pcie_gen_max", "util_pct")
        width, most, gen, top, util = (d.num(w, gpu, f"gpu.{n}") for n in names)
        if width is None or most is None or util is None or util <= self.t["util_pct"]:
            return unknown(gpu)
        level = 0
        if gen is not None and top is not None and gen < top:
            level = WARNING
        if width < most:
            level = CRITICAL
        if not level:
            return None
        return Reading(gpu, level, False, lambda: self._details(w, gpu, width, most, gen, top, util))

    def _details(
        self,
        w: Window,
        gpu: str,
        width: float,
        most: float,
        gen: float | None,
        top: float | None,
        util: float,
    ) -> Details:
        now, best = bandwidth(gen, width), bandwidth(top, most)
        evidence = [
            Ev("width", f"x{width:.0f}", "", f"x{most:.0f}"),
            Ev("gen", None if gen is None else f"{gen:.0f}", "", None if top is None else f"{top:.0f}"),
            Ev("now", now, "GB/s", None if best is None else f"{best:.3g} GB/s"),
            Ev("util", util, "%", f"> {self.t['util_pct']:g} %", gpu_key("gpu.util_pct", gpu)),
        ]
        share = None if now is None or not best else 100.0 * now / best
        facts = {
            **d.facts(w, gpu),
            "link": f"gen {'?' if gen is None else f'{gen:.0f}'} x{width:.0f}",
            "best": f"gen {'?' if top is None else f'{top:.0f}'} x{most:.0f}",
            "now": num(now),
            "most": num(best),
            "share": num(share),
        }
        return Details(evidence, facts, ["reseat", "bios"])


def bandwidth(gen: float | None, lanes: float | None) -> float | None:
    """GB/s of a PCIe link, one direction."""
    lane = LANE_GB_S.get(int(gen)) if gen is not None and gen == gen and 0 < gen < 99 else None
    return None if lane is None or lanes is None else lane * lanes


class PcieReplay(NodeRule):
    """More replays a minute than the bit error rate PCIe allows: 1e-12 x bits a second x 60 x lanes, i.e. 8 a
    minute for gen 3 x16, 16 for gen 4, 31 for gen 5 (DCGM health watch). A counter that falls has wrapped or
    was reset: counted from there."""

    id = "pcie-replay"
    problem = "compute"
    kind = "state"
    severities = "w"
    probes = ("gpuhealth",)
    thresholds: ClassVar[Mapping[str, float]] = {"error_rate": 1e-12, "window_s": 60.0, "hold_s": 0.0}
    source = "DCGM health watch; PCI Express base specification (bit error rate 1e-12)"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._trails: dict[str, Trail] = {}

    def judge(self, w: Window) -> Outcome:
        missing = d.missing(w, "gpu.pcie_replays")
        if missing is not None:
            return missing
        return [r for gpu in d.alive(w) if (r := self._one(w, gpu)) is not None]

    def _one(self, w: Window, gpu: str) -> Item | None:
        now = w.raw(gpu_key("gpu.pcie_replays", gpu))
        if now is None:
            return unknown(gpu)
        window = self.t["window_s"]
        trail = self._trails.get(gpu)
        if trail is None:
            trail = self._trails[gpu] = Trail(window, window / 12)
        past = trail.delta(w.mono_ns, now)
        if past is not None and past[1][0] is None:
            trail = self._trails[gpu] = Trail(window, window / 12)
            past = None
        trail.push(w.mono_ns, now)
        if past is None or past[0] < 0.9 * window:
            return unknown(gpu)
        per_min = 60.0 * (past[1][0] or 0.0) / past[0]
        limit = self.limit(w, gpu)
        if per_min < limit / 2:
            return None
        level = WARNING if per_min > limit else 0
        return Reading(gpu, level, False, lambda: self._details(w, gpu, per_min, limit))

    def limit(self, w: Window, gpu: str) -> float:
        """Replays a minute at the best link there can be; that of gen 3 x16 where it is not known."""
        gen = d.num(w, gpu, "gpu.pcie_gen_max") or 3
        lanes = d.num(w, gpu, "gpu.pcie_width_max") or 16
        return self.t["error_rate"] * LANE_GT_S.get(int(min(gen, 99)), 8.0) * 1e9 * 60.0 * lanes

    def _details(self, w: Window, gpu: str, per_min: float, limit: float) -> Details:
        evidence = [
            Ev("rate", round(per_min, 1), "/min", f"> {limit:.0f} /min"),
            Ev("total", w.raw(gpu_key("gpu.pcie_replays", gpu))),
        ]
        facts = {**d.facts(w, gpu), "rate": num(per_min), "limit": f"{limit:.0f}"}
        return Details(evidence, facts, ["reseat"])


class GpuHot(d.SiftingRule):
    """Within 5 °C of the device's own slowdown threshold (85 °C where it has none) for 60 s; clear 10 °C
    below that. The hotspot sensor is another one and reads higher."""

    id = "gpu-hot"
    problem = "compute"
    kind = "state"
    severities = "w"
    reads = ("gpu.state", "gpu.temp_c")
    thresholds: ClassVar[Mapping[str, float]] = {
        "margin_c": 5.0, "temp_c": 85.0, "clear_c": 10.0, "hold_s": 60.0,
    }  # fmt: skip
    source = "NVML slowdown threshold; TraceML (85 °C)"

    def judge(self, w: Window) -> Outcome:
        missing = d.missing(w, "gpu.temp_c")
        if missing is not None:
            return missing
        out: list[Item] = []
        gpus = d.alive(w)
        temps, slows = d.nums(w, gpus, "gpu.temp_c"), d.nums(w, gpus, "gpu.temp_slowdown_c")
        for gpu, temp, slow in zip(gpus, temps, slows):
            if temp is None:
                out.append(unknown(gpu))
                continue
            limit = self.t["temp_c"] if slow is None else slow - self.t["margin_c"]
            if temp >= limit - self.t["clear_c"]:
                level = WARNING if temp >= limit else 0
                out.append(Reading(gpu, level, False, self._say(w, gpu, temp, limit, slow)))
        return out

    def _say(
        self, w: Window, gpu: str, temp: float, limit: float, slow: float | None
    ) -> Callable[[], Details]:
        def details() -> Details:
            evidence = [
                Ev("temp", temp, "°C", f">= {limit:.0f} °C", gpu_key("gpu.temp_c", gpu)),
                Ev("slowdown", slow, "°C"),
                Ev("memory", d.num(w, gpu, "gpu.mem_temp_c"), "°C", None, gpu_key("gpu.mem_temp_c", gpu)),
                Ev("fan", d.num(w, gpu, "gpu.fan_pct"), "%"),
                Ev("power", d.num(w, gpu, "gpu.power_w"), "W", None, gpu_key("gpu.power_w", gpu)),
                Ev("others", others(w, gpu, "gpu.temp_c"), "°C"),
            ]
            facts = {**d.facts(w, gpu), "temp": f"{temp:.0f}", "limit": f"{limit:.0f}"}
            return Details(evidence, facts, ["air", "cap"])

        return details


def others(w: Window, gpu: str, metric: str) -> float | None:
    """Median of the other GPUs: alone hot is the slot, all hot is the room."""
    values = [v for g in d.alive(w) if g != gpu and (v := d.num(w, g, metric)) is not None]
    return median(values)


def held(w: Window, gpu: str, bits: int, seconds: float = 60.0) -> float | None:
    """Share (0-1) of the last `seconds` in which any of `bits` was set; None if less than half was read."""
    masks = w.once(("masks", gpu, seconds), lambda: w.last(gpu_key("gpu.throttle_mask", gpu), seconds))
    if not any(masks):
        return 0.0  # all were read (NaN is true), and none set a bit
    known = finite(masks)
    if not known or 2 * len(known) < len(masks):
        return None
    return sum(bool(int(m) & bits) for m in known) / len(known)


def counted(w: Window, gpu: str, metrics: Sequence[str], seconds: float = 60.0) -> float | None:
    """The same from the driver's own times of throttling, the largest of `metrics` (percent series)."""
    shares = [m / 100.0 for x in metrics if (m := w.mean(gpu_key(x, gpu), seconds)) is not None]
    return max(shares, default=None)


def largest(*shares: float | None) -> float | None:
    return max((s for s in shares if s is not None), default=None)


class GpuThrottlePower(NodeRule):
    """The power limit held the clocks back for at least half of the last 60 s, and the SM clock was below
    90 % of what is asked of it under load: a note, because that is how a busy GPU at its limit works; a
    warning when a training on this node became 10 % slower as well. Clear below a quarter of the time."""

    id = "gpu-throttle-power"
    problem = "utilisation"
    kind = "state"
    severities = "iw"
    probes = ("gpu",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "share_pct": 50.0, "clear_pct": 25.0, "clock_pct": 90.0, "slower_pct": 10.0,
        "every_s": 5.0, "hold_s": 0.0,
    }  # fmt: skip
    source = "NVML clocks event reasons (SwPowerCap)"

    def judge(self, w: Window) -> Outcome:
        missing = d.missing(w, "gpu.throttle_mask")
        if missing is not None:
            return missing
        out: list[Item] = []
        for gpu in d.alive(w):
            share = largest(held(w, gpu, POWER_CAP), counted(w, gpu, ("gpu.throttle_power_pct",)))
            if share is None:
                out.append(unknown(gpu))
            elif 100 * share >= self.t["clear_pct"]:
                out.append(self._one(w, gpu, share))
        return out

    def _one(self, w: Window, gpu: str, share: float) -> Reading:
        clock = w.mean(gpu_key("gpu.sm_clock_mhz", gpu), 60)
        asked = d.num(w, gpu, "gpu.sm_clock_app_mhz") or d.num(w, gpu, "gpu.sm_clock_max_mhz")
        part = None if clock is None or not asked else 100.0 * clock / asked
        level, slower = 0, 0.0
        if 100 * share >= self.t["share_pct"] and part is not None and part < self.t["clock_pct"]:
            slower = slower_pct(w)
            level = WARNING if slower >= self.t["slower_pct"] else INFO
        return Reading(gpu, level, False, lambda: self._details(w, gpu, share, clock, asked, slower))

    def _details(
        self, w: Window, gpu: str, share: float, clock: float | None, asked: float | None, slower: float
    ) -> Details:
        limit, top = d.num(w, gpu, "gpu.power_limit_w"), d.num(w, gpu, "gpu.power_max_w")
        below = None if asked is None else f"< {asked * self.t['clock_pct'] / 100:.0f} MHz"
        evidence = [
            Ev("share", round(100 * share), "%", f">= {self.t['share_pct']:g} %"),
            Ev("clock", clock, "MHz", below, gpu_key("gpu.sm_clock_mhz", gpu)),
            Ev("power", d.num(w, gpu, "gpu.power_w"), "W", None, gpu_key("gpu.power_w", gpu)),
            Ev("limit", limit, "W"),
            Ev("slower", round(slower, 1) if slower else None, "%", f">= {self.t['slower_pct']:g} %"),
        ]  # fmt: skip
        loss = None if clock is None or not asked else 100.0 * (1 - clock / asked)
        facts = {**d.facts(w, gpu), "limit": num(limit, 4), "top": num(top, 4), "loss": num(loss),
                 "share": f"{100 * share:.0f}"}  # fmt: skip
        raise_it = limit is not None and top is not None and top > limit
        return Details(evidence, facts, ["raise", "accept"] if raise_it else ["accept"])


def slower_pct(w: Window) -> float:
    """How much slower the steps of a running GPU training became: median of the last 50 against that of 200
    before the last 100; 0 where none runs or it is too young."""
    if not w.runs:
        return 0.0
    from dctop.engine.training.runlog import kept, part

    worst = 0.0
    for run in w.runs:
        if run.status != "running" or (run.device or "").startswith("cpu") or kept(run.columns) < 200:
            continue
        steps = part(run.columns, "step_s", max(0, kept(run.columns) - 300))
        now, then = median(finite(steps[-50:])), median(finite(steps[-300:-100]))
        if now and then:
            worst = max(worst, 100.0 * (now / then - 1.0))
    return worst


class GpuThrottleThermal(NodeRule):
    """Heat held the clocks back for 10 s or more of the last 60: warning; the hardware did it (not the
    driver): critical. Clear after 60 s without."""

    id = "gpu-throttle-thermal"
    problem = "utilisation"
    kind = "state"
    severities = "wc"
    probes = ("gpu",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "seconds": 10.0,
        "window_s": 60.0,
        "every_s": 5.0,
        "hold_s": 0.0,
    }
    source = "NVML clocks event reasons (SwThermalSlowdown, HwThermalSlowdown)"

    def judge(self, w: Window) -> Outcome:
        missing = d.missing(w, "gpu.throttle_mask")
        if missing is not None:
            return missing
        out: list[Item] = []
        window = self.t["window_s"]
        for gpu in d.alive(w):
            hard = largest(
                held(w, gpu, HW_THERMAL, window), counted(w, gpu, ("gpu.throttle_hw_thermal_pct",), window)
            )
            both = largest(held(w, gpu, SW_THERMAL | HW_THERMAL, window), hard,
                           counted(w, gpu, ("gpu.throttle_thermal_pct",), window))  # fmt: skip
            if both is None:
                out.append(unknown(gpu))
            elif both > 0:
                level = WARNING if both * window >= self.t["seconds"] else 0
                if hard is not None and hard * window >= self.t["seconds"]:
                    level = CRITICAL
                out.append(self._reading(w, gpu, level, both * window, (hard or 0.0) * window))
        return out

    def _reading(self, w: Window, gpu: str, level: int, seconds: float, hard: float) -> Reading:
        return Reading(gpu, level, False, lambda: self._details(w, gpu, seconds, hard))

    def _details(self, w: Window, gpu: str, seconds: float, hard: float) -> Details:
        clock, top = d.num(w, gpu, "gpu.sm_clock_mhz"), d.num(w, gpu, "gpu.sm_clock_max_mhz")
        loss = None if clock is None or not top else 100.0 * (1 - clock / top)
        evidence = [
            Ev("seconds", round(seconds), "s", f">= {self.t['seconds']:g} s of {self.t['window_s']:g}"),
            Ev("hard", round(hard) if hard else None, "s"),
            Ev("temp", d.num(w, gpu, "gpu.temp_c"), "°C", None, gpu_key("gpu.temp_c", gpu)),
            Ev("memory", d.num(w, gpu, "gpu.mem_temp_c"), "°C", None, gpu_key("gpu.mem_temp_c", gpu)),
            Ev("slowdown", d.num(w, gpu, "gpu.temp_slowdown_c"), "°C"),
            Ev("margin", d.num(w, gpu, "gpu.temp_margin_c"), "°C"),
            Ev("clock", clock, "MHz", None, gpu_key("gpu.sm_clock_mhz", gpu)),
            Ev("others", others(w, gpu, "gpu.temp_c"), "°C"),
        ]
        temp = d.num(w, gpu, "gpu.temp_c")
        facts = {**d.facts(w, gpu), "temp": num(temp), "loss": num(loss), "seconds": f"{seconds:.0f}"}
        return Details(evidence, facts, ["air", "cap"])


class GpuHwSlowdown(d.SiftingRule):
    """The hardware's own slowdown or the power brake (the supply asked for it) in 6 or more of the last 10
    minutes. Where heat is the reason its own rule tells; single blips when a job starts are none."""

    id = "gpu-hw-slowdown"
    problem = "compute"
    kind = "state"
    severities = "c"
    reads = ("gpu.state", "gpu.throttle_mask")
    thresholds: ClassVar[Mapping[str, float]] = {"minutes": 6.0, "of": 10.0, "hold_s": 0.0}
    source = "GPUd: hardware slowdown in 0.6 of the minutes over 10 minutes"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._minutes: dict[str, deque[tuple[int, int]]] = {}
        """GPU -> (minute, bits seen in it)."""

    def stirred(self, w: Window) -> bool:
        return super().stirred(w) or any(self._minutes.values())  # minutes pass by themselves

    def judge(self, w: Window) -> Outcome:
        missing = d.missing(w, "gpu.throttle_mask")
        if missing is not None:
            return missing
        out: list[Item] = []
        minute = w.mono_ns // (60 * NS)
        gpus = d.alive(w)
        for gpu, mask in zip(gpus, d.nums(w, gpus, "gpu.throttle_mask")):
            seen = self._minutes.setdefault(gpu, deque())
            while seen and seen[0][0] <= minute - self.t["of"]:
                seen.popleft()
            if mask is None:
                out.append(unknown(gpu))
                continue
            bits = int(mask) & (HW_BRAKE | (0 if int(mask) & HW_THERMAL else HW_SLOWDOWN))
            if bits:
                if seen and seen[-1][0] == minute:
                    seen[-1] = (minute, seen[-1][1] | bits)
                else:
                    seen.append((minute, bits))
            if seen:
                n = len(seen)
                level = CRITICAL if n >= self.t["minutes"] else 0
                both = 0
                for _, b in seen:
                    both |= b
                out.append(self._reading(w, gpu, level, n, both))
        return out

    def _reading(self, w: Window, gpu: str, level: int, minutes: int, bits: int) -> Reading:
        return Reading(gpu, level, False, lambda: self._details(w, gpu, minutes, bits))

    def _details(self, w: Window, gpu: str, minutes: int, bits: int) -> Details:
        names = [n for b, n in ((HW_SLOWDOWN, "HwSlowdown"), (HW_BRAKE, "HwPowerBrake")) if bits & b]
        evidence = [
            Ev("minutes", minutes, "min", f">= {self.t['minutes']:g} of {self.t['of']:g}"),
            Ev("bits", ", ".join(names)),
            Ev("clock", d.num(w, gpu, "gpu.sm_clock_mhz"), "MHz", None, gpu_key("gpu.sm_clock_mhz", gpu)),
            Ev("power", d.num(w, gpu, "gpu.power_w"), "W", None, gpu_key("gpu.power_w", gpu)),
            Ev("temp", d.num(w, gpu, "gpu.temp_c"), "°C", None, gpu_key("gpu.temp_c", gpu)),
        ]
        facts = {**d.facts(w, gpu), "minutes": minutes, "bits": ", ".join(names)}
        return Details(evidence, facts, ["supply", "drain"])


class GpuIdleHeld(NodeRule):
    """A process holds more than 1 GiB of a GPU whose utilisation stays below 5 % for 15 minutes. A note: it
    may be a notebook whose user thinks, or an evaluation on the CPU."""

    id = "gpu-idle-held"
    problem = "utilisation"
    kind = "state"
    severities = "i"
    probes = ("gpu",)
    thresholds: ClassVar[Mapping[str, float]] = {"gib": 1.0, "util_pct": 5.0, "every_s": 5.0, "hold_s": 900.0}
    source = "allocated but idle GPUs are the most wasteful pattern on shared clusters (slurm-job-exporter)"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._since: dict[str, int] = {}

    def judge(self, w: Window) -> Outcome:
        missing = d.missing(w, "gpu.util_pct")
        if missing is not None:
            return missing
        sample = w.frame.samples.get("gpu")
        if sample is None or sample.gpu_processes is None:
            return [unknown(g) for g in d.alive(w)]
        out: list[Item] = []
        for gpu in d.alive(w):
            util = w.mean(gpu_key("gpu.util_pct", gpu), 60.0)
            if util is None:
                out.append(unknown(gpu))
                continue
            rows = [
                r for r in sample.gpu_processes if r.gpu == gpu and (r.mem_bytes or 0) > self.t["gib"] * 2**30
            ]
            if not rows or util >= self.t["util_pct"]:
                self._since.pop(gpu, None)
                continue
            since = self._since.setdefault(gpu, w.mono_ns)
            held_bytes = sum(r.mem_bytes or 0 for r in rows)
            top = max(rows, key=lambda r: r.mem_bytes or 0)
            out.append(self._reading(w, gpu, util, held_bytes, top.pid, (w.mono_ns - since) / NS))
        return out

    def _reading(
        self, w: Window, gpu: str, util: float, held_bytes: int, pid: int, seconds: float
    ) -> Reading:
        def details() -> Details:
            own = w.text("gpu.pid_space") != "host"
            p = w.process(pid) if own else None
            waste = held_bytes / 2**30 * seconds / 3600
            evidence = [
                Ev("util", round(util, 1), "%", f"< {self.t['util_pct']:g} %", gpu_key("gpu.util_pct", gpu)),
                Ev("held", size(held_bytes), "", f"> {self.t['gib']:g} GiB"),
                Ev("for", span(seconds)),
                Ev("users", d.users(w, gpu)),
                Ev("waste", round(waste, 1), "GiB h"),
            ]
            name = p.name if p is not None else "pid"
            facts = {
                **d.facts(w, gpu),
                "held": size(held_bytes),
                "for": span(seconds),
                "who": f"{name} ({pid})",
                "pid": pid,
                "waste": num(waste),
            }
            return Details(evidence, facts, ["end"])

        return Reading(gpu, INFO, False, details)


RULES: tuple[type[Rule], ...] = (
    EccCorrectableRate, PcieDegraded, PcieReplay, GpuHot, GpuThrottlePower, GpuThrottleThermal, GpuHwSlowdown,
    GpuIdleHeld,
)  # fmt: skip
