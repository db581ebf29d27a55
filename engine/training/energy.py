"""What a run costs in energy: joules, kWh, money, CO2, joules a sample.

A run that has ended says itself what the node's counters counted from its beginning to its end (wpower.py).
Before that, power comes from the node's series: GPU power by NVML, CPU package power by RAPL. What was not
seen (dctop came later, or the ring no longer holds it) is filled with the mean of what was; where the node
has no counters, threads at 12 W each are assumed. Either makes the figure an estimate, and it says so.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from dctop.engine.config import Energy
from dctop.engine.metrics.source import Source
from dctop.engine.training.runstate import RunState
from dctop.probes.base import series

WATTS_PER_THREAD = 12.0
"""Of a busy core with its share of the rest where nothing is measured: the default of Lannelongue et al.,
Green Algorithms (2021), for an unknown CPU."""
MOST_TICKS = 3600
_ALMOST = 0.98
"""Seen for so much of the time, a figure counts as measured."""


@dataclass(frozen=True, slots=True)
class RunEnergy:
    """Of a run so far (or in all, if it has ended)."""

    joules: float
    """At the wall socket of the node's devices, without PUE."""
    seconds: float
    gpu_joules: float | None
    cpu_joules: float | None
    seen: float
    """Share of the run's time for which power was measured."""
    estimate: bool
    basis: str
    """One line: what the figure rests on."""
    samples: float | None
    settings: Energy

    @property
    def joules_per_sample(self) -> float | None:
        return self.joules / self.samples if self.samples else None

    @property
    def kwh(self) -> float:
        """With the site's PUE: what the meter of the data centre sees."""
        return self.joules / 3.6e6 * self.settings.pue

    @property
    def cost(self) -> float | None:
        """In `settings.currency`; None: no price is configured."""
        price = self.settings.price_per_kwh
        return None if price is None else self.kwh * price

    @property
    def co2_g(self) -> float | None:
        carbon = self.settings.co2_g_per_kwh
        return None if carbon is None else self.kwh * carbon


def run_energy(source: Source | None, run: RunState, settings: Energy) -> RunEnergy | None:
    """`source` None: nobody watches the node. Gives None where the run has not begun, or there is no sample
    of the node yet."""
    if not run.started_wall_ns:
        return None
    counted = _counted(run, settings)
    if source is None or (counted is not None and not counted.estimate):
        end = run.ended_wall_ns or time.time_ns()
        return counted or _assumed(run, (end - run.started_wall_ns) * 1e-9, settings)
    watched = _watched(source, run, settings)
    return watched if counted is None or (watched is not None and watched.seen) else counted


def _counted(run: RunState, settings: Energy) -> RunEnergy | None:
    """By the counters, as the run's last word has it. None: it has none, or nothing was counted."""
    last = run.events[-1] if run.events else None
    if last is None or last.kind != "end" or run.ended_wall_ns is None:
        return None
    gpu, cpu = (_joules(last.data.get(name)) for name in ("gpu_j", "cpu_j"))
    if gpu is None and cpu is None:
        return None
    lacks = _lacks(run, gpu)
    text = _sources(gpu, cpu, _ranks(run))
    return RunEnergy(
        joules=(gpu or 0.0) + (cpu or 0.0),
        seconds=(run.ended_wall_ns - run.started_wall_ns) * 1e-9,
        gpu_joules=gpu,
        cpu_joules=cpu,
        seen=1.0,
        estimate=lacks,
        basis=f"estimate: {text}; the energy of its GPU is not known" if lacks else text,
        samples=_samples(run),
        settings=settings,
    )


def _joules(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _ranks(run: RunState) -> int:
    ranks = run.config.get("ranks")
    return ranks if isinstance(ranks, int) else 1


def _assumed(run: RunState, seconds: float, settings: Energy) -> RunEnergy | None:
    """Where nothing counts: so many threads at so many watts. None: the run took no time."""
    if seconds <= 0:
        return None
    threads = run.config.get("threads")
    count = (threads if isinstance(threads, int) else 1) * _ranks(run)
    basis = f"estimate: no power counters; {count} thread{'s' * (count != 1)} at {WATTS_PER_THREAD:g} W"
    if _lacks(run, None):
        basis += ", without its GPU"
    joules = count * WATTS_PER_THREAD * seconds
    return RunEnergy(joules, seconds, None, None, 0.0, True, basis, _samples(run), settings)


def _watched(source: Source, run: RunState, settings: Energy) -> RunEnergy | None:
    """By the node's own series."""
    snapshot = source.snapshot()
    if snapshot is None:
        return None
    now = snapshot.frame.wall_ns
    end = min(now, run.ended_wall_ns or now)
    seconds = (end - run.started_wall_ns) * 1e-9
    if seconds <= 0:
        return None
    gpus = _gpus(source, run)
    packages = [series("cpu.power_w", package=p) for p in snapshot.labels.get("cpu.power_w", ())]
    ticks = min(MOST_TICKS, math.ceil((now - run.started_wall_ns) * 1e-9 / source.interval_s) + 1)
    inside = slice(None, ticks - int((now - end) * 1e-9 / source.interval_s))
    gpu, gpu_seen = _mean_power([source.window(key, ticks)[inside] for key in gpus])
    cpu, cpu_seen = _mean_power([source.window(key, ticks)[inside] for key in packages])
    if gpu is None and cpu is None:
        return _assumed(run, seconds, settings)
    measured = [(power, seen) for power, seen in ((gpu, gpu_seen), (cpu, cpu_seen)) if power is not None]
    share = min(1.0, min(seen for _, seen in measured) * source.interval_s / seconds)
    return RunEnergy(
        joules=sum(power for power, _ in measured) * seconds,
        seconds=seconds,
        gpu_joules=None if gpu is None else gpu * seconds,
        cpu_joules=None if cpu is None else cpu * seconds,
        seen=share,
        estimate=share < _ALMOST or _lacks(run, gpu),
        basis=_basis(gpu, cpu, len(gpus), share, run),
        samples=_samples(run),
        settings=settings,
    )


def _gpus(source: Source, run: RunState) -> list[str]:
    """Power series of the GPUs a run computes on: by their index; of a run elsewhere none."""
    device = run.device or ""
    snapshot = source.snapshot()
    if not device.startswith("cuda") or snapshot is None:
        return []
    first = int(device.partition(":")[2] or 0)
    wanted = range(first, first + _ranks(run))
    return [
        series("gpu.power_w", gpu=uuid)
        for uuid in snapshot.labels.get("gpu.power_w", ())
        if snapshot.num(series("gpu.index", gpu=uuid)) in wanted
    ]


def _mean_power(windows: Sequence[Sequence[float]]) -> tuple[float | None, int]:
    """(W of all together, ticks at which all were read)."""
    if not windows:
        return None, 0
    sums = [math.fsum(row) for row in zip(*windows, strict=True) if all(map(math.isfinite, row))]
    return (math.fsum(sums) / len(sums), len(sums)) if sums else (None, 0)


def _lacks(run: RunState, gpu: float | None) -> bool:
    """A run on a GPU whose power cannot be read: most of it is missing."""
    return gpu is None and (run.device or "").startswith("cuda")


def _sources(gpu: float | None, cpu: float | None, gpus: int) -> str:
    parts = []
    if gpu is not None:
        parts.append(f"{gpus} GPU{'s' * (gpus != 1)} by NVML")
    if cpu is not None:
        parts.append("CPU packages (all that ran on them) by RAPL")
    return " and ".join(parts)


def _basis(gpu: float | None, cpu: float | None, gpus: int, share: float, run: RunState) -> str:
    text = _sources(gpu, cpu, gpus)
    if _lacks(run, gpu):
        return f"estimate: {text}; the power of its GPU is not known"
    return text if share >= _ALMOST else f"estimate: {text}, seen for {share:.0%} of its time"


def _samples(run: RunState) -> float | None:
    """Trained on so far, by all ranks."""
    size, step = run.last.get("samples"), run.step
    known = [x for x in run.columns["samples"] if math.isfinite(x)] if "samples" in run.columns else []
    if step is None or (size is None and not known):
        return None
    first = run.config.get("first_step")
    steps = step - (first if isinstance(first, int) else 1) + 1
    mean = math.fsum(known) / len(known) if known else float(size or 0)
    return mean * max(0, steps) * _ranks(run)


def in_words(used: RunEnergy) -> str:
    """`12,000 J = 0.00333 kWh, 0.0200 J a sample, 0.00100 EUR, 1.33 g CO2 (2 GPUs by NVML)`; `~` before each
    number of an estimate."""
    about = "~" if used.estimate else ""
    parts = [f"{about}{_short(used.joules)} J = {about}{_short(used.kwh)} kWh"]
    if used.joules_per_sample is not None:
        parts.append(f"{about}{_short(used.joules_per_sample)} J a sample")
    if used.cost is not None:
        parts.append(f"{about}{_short(used.cost)} {used.settings.currency}")
    if used.co2_g is not None:
        parts.append(f"{about}{_short(used.co2_g)} g CO2")
    return f"{', '.join(parts)} ({used.basis})"


def _short(value: float) -> str:
    """Three digits that mean something, without an exponent: 12345.6 -> `12,346`, 0.000123 -> `0.000123`."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def as_json(used: RunEnergy) -> dict[str, object]:
    return {
        "joules": used.joules, "kwh": used.kwh, "joules_per_sample": used.joules_per_sample,
        "cost": used.cost, "currency": None if used.cost is None else used.settings.currency,
        "co2_g": used.co2_g, "gpu_joules": used.gpu_joules, "cpu_joules": used.cpu_joules,
        "seconds": used.seconds, "estimate": used.estimate, "basis": used.basis,
    }  # fmt: skip
