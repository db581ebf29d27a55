"""What all GPU panes know: the devices of a snapshot, their trouble, the one that is selected. Pure.

A series that is not there at all is one the device or its driver does not have (drawn `–`); one that is there
without a value could not be read just now (drawn `?`). Of a device that is lost the last values before that
are kept, so that they can be shown dimmed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dctop.engine.metrics.model import Snapshot
from dctop.engine.metrics.source import Source
from dctop.engine.rules.alert import Alert
from dctop.probes.gpu_words import Reason, throttle_reasons
from dctop.tui.draw import units
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S
from dctop.tui.panes.base import View
from dctop.tui.panes.parts import instances, key_of, num, outside

LOST_LOOK_BACK = 900
"""Ticks before now in which the last value of a lost device is looked for."""
LEVELS = {"info": 1, "warning": 2, "critical": 3}
STYLES = (S.TEXT, S.INFO, S.WARN, S.CRIT)
SHORT = {
    "power-cap": "power cap", "hw-slowdown": "hw slow", "sw-thermal": "thermal", "hw-thermal": "hw thermal",
    "hw-power-brake": "brake",
}  # fmt: skip
"""Reasons for lower clocks in one or two words, for a row."""
SEVERE = frozenset(("hw-slowdown", "hw-thermal", "hw-power-brake"))
STATE_WORDS = {"lost": "lost", "hung": "hung", "reset": "reset", "error": "error"}


class GpuKeys(dict[str, str]):
    """Metric, without `gpu.` -> key of its series of one device. A dozen are asked for each tick."""

    def __init__(self, uuid: str) -> None:
        super().__init__()
        self._uuid = uuid

    def __missing__(self, metric: str) -> str:
        key = self[metric] = key_of(f"gpu.{metric}", "gpu", self._uuid)
        return key


@dataclass(slots=True)
class Gpu:
    """One device at one tick. `level`: 0 well, 1 a note, 2 a warning, 3 critical; `mark`: why, in short."""

    uuid: str
    label: str
    name: str
    parent: str | None
    state: str
    snap: Snapshot
    keys: Mapping[str, str]
    level: int = 0
    mark: str = ""
    was: Mapping[str, float] = field(default_factory=dict)
    """Metric -> last value before the device was lost."""

    @property
    def gone(self) -> bool:
        return self.state != "ok"

    def key(self, metric: str) -> str:
        return self.keys[metric]

    def has(self, metric: str) -> bool:
        """The device has such a series, whether or not it could be read. Counters are in the samples only."""
        key = self.key(metric)
        samples = self.snap.frame.samples
        return key in self.snap.values or any(
            name in samples and key in samples[name].values for name in ("gpu", "gpuhealth")
        )

    def num(self, metric: str) -> float | None:
        """Now; None if not read or not supported."""
        return num(self.snap, self.keys[metric])

    def last(self, metric: str) -> float | None:
        """Now, or while the device is lost as it was before."""
        value = num(self.snap, self.keys[metric])
        return self.was.get(metric) if value is None and self.gone else value

    def text(self, metric: str) -> str | None:
        return self.snap.text(self.keys[metric])

    def none(self, metric: str, look: Look) -> str:
        """What stands for a value that is not there."""
        if self.has(metric):
            return "?"
        return "–" if look.unicode else "-"

    def throttle(self) -> tuple[Reason, ...]:
        """Why its clocks are not at their highest now."""
        mask = self.num("throttle_mask")
        return () if not mask or not 0 <= mask < 2**63 else throttle_reasons(mask)

    def slowed(self) -> tuple[Reason, ...]:
        return tuple([r for r in self.throttle() if r.slows])


_LASTING = (
    "util_pct", "sm_active_pct", "tensor_active_pct", "mem_used_bytes", "mem_total_bytes", "mem_used_pct",
    "temp_c", "power_w", "power_limit_w", "sm_clock_mhz",
)  # fmt: skip


class GpuBook:
    """Shared by the GPU panes: which devices there are, their order, which is selected."""

    def __init__(self) -> None:
        self.chosen: str | None = None
        self.by_trouble = False
        self._read: tuple[object, ...] = ()
        self._gpus: list[Gpu] = []
        self._was: dict[tuple[str, float | None], Mapping[str, float]] = {}
        self._keys: dict[str, GpuKeys] = {}

    def gpus(self, view: View) -> list[Gpu]:
        """All devices, MIG devices behind the GPU they are part of, in the order chosen."""
        snap = view.snap
        if snap is None:
            return []
        alerts = view.source.alerts()
        made = (snap, alerts, self.by_trouble, view.look)
        if len(self._read) != len(made) or any(a is not b for a, b in zip(made, self._read)):
            self._read, self._gpus = made, self._fresh(view, snap, alerts)
        return self._gpus

    def whole(self, view: View) -> list[Gpu]:
        """Without the MIG devices."""
        return [g for g in self.gpus(view) if g.parent is None]

    def current(self, view: View) -> Gpu | None:
        """The selected one, else the first."""
        found = self.gpus(view)
        return next((g for g in found if g.uuid == self.chosen), found[0] if found else None)

    def step(self, view: View, by: int) -> None:
        """Select another; `by` may be as large as one likes."""
        found = self.gpus(view)
        if not found:
            return
        at = next((i for i, g in enumerate(found) if g.uuid == self.chosen), None)
        at = (0 if by > 0 else len(found) - 1) if at is None else max(0, min(len(found) - 1, at + by))
        self.chosen = found[at].uuid

    def _fresh(self, view: View, snap: Snapshot, alerts: Sequence[Alert]) -> list[Gpu]:
        worst: dict[str, Alert] = {}
        for a in alerts:
            before = worst.get(a.entity)
            if a.open and (before is None or LEVELS.get(a.severity, 0) > LEVELS.get(before.severity, 0)):
                worst[a.entity] = a
        uuids = instances(snap, "gpu.name", "gpu.util_pct", "gpu.mem_total_bytes")
        found = [self._gpu(view, snap, uuid, i, worst.get(uuid)) for i, uuid in enumerate(uuids)]
        vendors = {g.text("vendor") for g in found}
        if len(vendors) > 1:
            for g in found:
                g.label = (g.text("vendor") or "?")[0].upper() + g.label
        whole = [g for g in found if g.parent is None]
        whole.sort(key=lambda g: (g.text("vendor") != "nvidia", len(g.label), g.label, g.uuid))
        if self.by_trouble:
            whole.sort(key=lambda g: -g.level)
        parts: dict[str, list[Gpu]] = {}
        known = {g.uuid for g in whole}
        for g in found:
            if g.parent is not None:
                parts.setdefault(g.parent, []).append(g)
        out: list[Gpu] = []
        for g in whole:
            out.append(g)
            out += sorted(parts.get(g.uuid, ()), key=lambda p: (len(p.label), p.label, p.uuid))
        return out + [p for parent, rest in parts.items() if parent not in known for p in rest]

    def _gpu(self, view: View, snap: Snapshot, uuid: str, i: int, alert: Alert | None) -> Gpu:
        look = view.look
        keys = self._keys.get(uuid)
        if keys is None:
            keys = self._keys[uuid] = GpuKeys(uuid)
        say = snap.text
        index = num(snap, keys["index"])
        label = f"{index:.0f}" if index is not None and 0 <= index < 1000 else str(i)
        name = outside(say(keys["name"]), look, "GPU").removeprefix("NVIDIA ")
        parent = say(keys["parent"])
        gpu = Gpu(uuid, label, name, parent or None, say(keys["state"]) or "ok", snap, keys)
        if gpu.gone:
            gpu.was = self._last_values(view.source, gpu)
        gpu.level, gpu.mark = trouble(gpu, alert, look)
        return gpu

    def _last_values(self, source: Source, gpu: Gpu) -> Mapping[str, float]:
        since = gpu.num("lost_since_s")
        known = self._was.get((gpu.uuid, since))
        if known is None or source.mode == "replay":
            found: dict[str, float] = {}
            for metric in _LASTING:
                values = source.window(gpu.key(metric), LOST_LOOK_BACK)
                last = next((v for v in reversed(values) if v == v), None)
                if last is not None:
                    found[metric] = last
            if len(self._was) > 64:
                self._was.clear()
            known = self._was[gpu.uuid, since] = found
        return known


def since(gpu: Gpu) -> str:
    """`hh:mm` since when it is lost."""
    at = gpu.num("lost_since_s")
    return units.clock(None if at is None or not 0 <= at < 1e11 else int(at * 1e9), seconds=False)


def trouble(gpu: Gpu, alert: Alert | None, look: Look) -> tuple[int, str]:
    """(level, short mark with its glyph): the state, what the driver asks for, why it is slow, its alerts."""
    if gpu.gone:
        word = STATE_WORDS.get(gpu.state, gpu.state)
        return 3, f"{glyphs(look).critical} {outside(word, look)} since {since(gpu)}"
    action = gpu.text("recovery_action")
    if action not in (None, "none"):
        return 3, f"{glyphs(look).critical} {outside(action, look)}"
    level = LEVELS.get(alert.severity, 0) if alert is not None else 0
    mark = ""
    slow = gpu.slowed()
    if slow:
        hard = next((r for r in slow if r.id in SEVERE), slow[-1])
        mark = SHORT.get(hard.id, hard.words)
        # A power limit that is reached is how a busy GPU works: a note, not a fault.
        level = max(level, 2 if hard.id != "power-cap" else 1)
    elif alert is not None and level:
        mark = alert.rule.removeprefix("gpu-")
    if not mark:
        return level, ""
    g = glyphs(look)
    sign = (g.info, g.info, g.warning, g.critical)[level]
    return level, f"{sign} {outside(mark, look)}"


def remark(gpu: Gpu) -> str:
    """Why a utilisation alone says little, where the device cannot say more."""
    return (
        "100 % may be one busy SM; SM activity is not supported here" if not gpu.has("sm_active_pct") else ""
    )
