"""What the kernel says: hung tasks, lock-ups, machine checks, I/O errors; and the node's clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dctop.engine.rules.base import (
    CRITICAL,
    INFO,
    NODE,
    WARNING,
    Details,
    Ev,
    Item,
    Needs,
    NodeRule,
    Occurrence,
    Outcome,
    Reading,
    Rule,
    num,
    span,
)
from dctop.engine.rules.window import Trail, Window
from dctop.probes.base import KernelEvent, Value, series, split_series

_KINDS = {"hung-task": "hung", "soft-lockup": "lockup", "mce": "mce", "io-error": "io"}


class KernelHung(NodeRule):
    """The kernel says a task was blocked for too long, a CPU is locked up, a machine check or an I/O error
    came (GPUd kmsg matchers). Corrected machine checks are notes."""

    id = "kernel-hung"
    problem = "compute"
    kind = "event"
    severities = "ic"
    probes = ("kernel",)
    always = True
    source = "GPUd kmsg matchers; kernel facility only"

    def stirred(self, w: Window) -> bool:
        return bool(w.events) or w.raw("kernel.records") is None

    def judge(self, w: Window) -> Outcome:
        if w.raw("kernel.records") is None:
            return Needs("series", "kernel.records")
        out: list[Item] = []
        for e in w.events:
            kind = _KINDS.get(e.kind)
            if kind is None and e.kind == "other" and e.fields.get("about") == "kernel-fault":
                kind = "fault"
            if kind is not None:
                out.append(self._say(e, kind))
        return out

    def _say(self, e: KernelEvent, kind: str) -> Occurrence:
        f = e.fields
        level = INFO if kind == "mce" and f.get("severity") == "corrected" else CRITICAL
        entity = f.get("device") or f.get("server") or NODE if kind == "io" else NODE
        task = f"{f['task']} ({f.get('pid', '?')})" if "task" in f else None
        evidence = [
            Ev("kind", e.kind),
            Ev("task", task),
            Ev("seconds", f.get("seconds"), "s"),
            Ev("cpu", f.get("cpu")),
            Ev("device", f.get("device") or f.get("server") or f.get("controller")),
            Ev("line", e.text[:300]),
        ]
        facts = {"kind": e.kind, "line": e.text[:160], "device": f.get("device") or f.get("server") or "?",
                 "task": task or "?"}  # fmt: skip
        key = (e.seq, e.wall_ns)
        return Occurrence(
            entity, level, key, e.wall_ns, Details(evidence, facts, [kind]), None, bool(f.get("old"))
        )


class HostEdac(NodeRule):
    """The host's memory controllers counted errors since the reading before: uncorrected ones critical,
    corrected ones a note. Most virtual machines have no such controller: not known then (Prometheus
    HostEdacUncorrectableErrorsDetected). A counter that falls was reset with its driver."""

    id = "host-edac"
    problem = "compute"
    kind = "event"
    severities = "ic"
    probes = ("edac",)
    source = "Linux EDAC (Documentation/driver-api/edac.rst); Prometheus HostEdac*"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._before: dict[str, float] = {}

    def judge(self, w: Window) -> Outcome:
        sample = w.frame.samples["edac"]
        if not sample.values:
            return Needs("series", "edac.uncorrected")
        out: list[Item] = []
        grown: dict[str, float] = {}
        for key, value in sample.values.items():
            if not isinstance(value, (int, float)):
                continue
            before = self._before.get(key)
            self._before[key] = value
            if before is not None and value > before:
                grown[key] = value - before
        for controller in _labels(sample.values, "edac.uncorrected"):
            bad, fixed = (grown.get(series(f"edac.{k}", mc=controller)) for k in ("uncorrected", "corrected"))
            if bad or fixed:
                out.append(self._say(w, controller, bad or 0.0, fixed or 0.0, grown))
        return out

    def _say(
        self, w: Window, controller: str, bad: float, fixed: float, grown: Mapping[str, float]
    ) -> Occurrence:
        modules = [
            label
            for label in _labels(w.frame.samples["edac"].values, "edac.dimm_corrected")
            if any(series(f"edac.dimm_{k}", dimm=label) in grown for k in ("corrected", "uncorrected"))
        ]
        total = w.raw(series("edac.uncorrected", mc=controller))
        evidence = [
            Ev("bad", int(bad), "", "> 0"),
            Ev("fixed", int(fixed)),
            Ev("controller", controller),
            Ev("module", ", ".join(modules) or None),
            Ev("total", None if total is None else int(total)),
        ]
        facts = {"mc": controller, "module": ", ".join(modules) or "?", "bad": int(bad), "fixed": int(fixed)}
        level = CRITICAL if bad else INFO
        key = (controller, w.frame.samples["edac"].mono_ns)
        variant = None if bad else "fixed"
        details = Details(evidence, facts, ["replace"] if bad else ["watch"], variant=variant)
        return Occurrence(controller, level, key, w.wall_ns, details)


def _labels(values: Mapping[str, Value], metric: str) -> list[str]:
    """Instances of a raw counter."""
    found = (split_series(key) for key in values)
    return [next(iter(labels.values())) for name, labels in found if name == metric and labels]


class ClockSkew(NodeRule):
    """The offset the kernel is correcting above 50 ms and grown over 10 minutes: warning. The clock was
    synchronised and is no more, with a maximum error of 16 s, for 2 minutes: a note on a single node. Virtual
    machines whose host keeps the clock always report `unsynchronised`: that alone is nothing (verified)."""

    id = "clock-skew"
    problem = "network"
    kind = "state"
    severities = "iw"
    probes = ("clock",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "offset_ms": 50.0,
        "clear_ms": 25.0,
        "max_error_s": 16.0,
        "window_s": 600.0,
        "every_s": 5.0,
        "hold_s": 120.0,
    }
    source = "Prometheus HostClockSkew, HostClockNotSynchronising; verified on a virtual machine"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._was_synced = False
        self._trail = Trail(self.t["window_s"], self.t["window_s"] / 20)

    def judge(self, w: Window) -> Outcome:
        offset, synced, error = (w.num(f"clock.{n}") for n in ("offset_us", "synced", "max_error_us"))
        if offset is None or synced is None:
            return Needs("series", "clock.offset_us")
        self._was_synced = self._was_synced or synced == 1
        ms = abs(offset) / 1000
        self._trail.push(w.mono_ns, ms)
        level = 0
        if ms > self.t["offset_ms"] and self._trail.covered_s() > 0.9 * self.t["window_s"]:
            first = self._trail.values()[0]
            level = WARNING if ms > first else 0
        lost = self._was_synced and synced == 0 and (error or 0.0) / 1e6 >= self.t["max_error_s"]
        if lost:
            level = max(level, INFO)
        if not level and ms < self.t["clear_ms"]:
            return ()
        return (Reading(NODE, level, False, lambda: self._details(w, ms, synced, error)),)

    def _details(self, w: Window, ms: float, synced: float, error: float | None) -> Details:
        evidence = [
            Ev("offset", ms, "ms", f"> {self.t['offset_ms']:g} ms", "clock.offset_us"),
            Ev("synced", "yes" if synced else "no"),
            Ev("error", None if error is None else error / 1e6, "s", f">= {self.t['max_error_s']:g} s"),
            Ev("freq", w.num("clock.freq_ppm"), "ppm"),
        ]
        facts = {"offset": num(ms), "error": span(None if error is None else error / 1e6)}
        variant = None if ms > self.t["offset_ms"] else "lost"
        return Details(evidence, facts, ["chrony"], variant=variant)


RULES: tuple[type[Rule], ...] = (KernelHung, HostEdac, ClockSkew)
