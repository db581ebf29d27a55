"""What the kernel says: GPU Xids, hung tasks, lock-ups, machine checks, I/O errors; and the node's clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple

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
from dctop.probes.base import KernelEvent


class Xid(NamedTuple):
    """What NVIDIA's catalogue says of a code. `action`: reset | reboot | restart | note | unknown."""

    name: str
    action: str


XIDS: dict[int, Xid] = {
    13: Xid("Graphics engine exception", "restart"),
    31: Xid("GPU memory page fault", "restart"),
    32: Xid("Invalid or corrupted push buffer stream", "restart"),
    39: Xid("Copy engine exception (CE0)", "restart"),
    40: Xid("Copy engine exception (CE1)", "restart"),
    41: Xid("Copy engine exception (CE2)", "restart"),
    43: Xid("GPU stopped processing (channel reset)", "note"),
    45: Xid("Preemptive clean-up, due to previous errors", "note"),
    46: Xid("GPU stopped processing", "reset"),
    48: Xid("Double-bit ECC error", "reset"),
    62: Xid("Internal micro-controller halt", "reset"),
    63: Xid("Row remapping or page retirement recorded", "note"),
    64: Xid("Row remapping or page retirement failed", "reset"),
    69: Xid("Graphics engine class error", "restart"),
    74: Xid("NVLink error", "reset"),
    79: Xid("GPU has fallen off the bus", "reboot"),
    92: Xid("High rate of single-bit ECC errors", "note"),
    94: Xid("Contained memory error", "restart"),
    95: Xid("Uncontained memory error", "reset"),
    109: Xid("Context switch timeout", "reset"),
    110: Xid("Security fault", "reset"),
    119: Xid("GSP RPC timeout", "reset"),
    120: Xid("GSP error", "reset"),
    136: Xid("Link training failed", "reset"),
    140: Xid("Unrecovered ECC error", "reset"),
    143: Xid("GPU initialisation failed", "reset"),
    154: Xid("GPU recovery action changed", "note"),
    155: Xid("NVLink: software-defined error", "reset"),
    156: Xid("Resource retirement event", "reset"),
    158: Xid("GPU fatal timeout", "reset"),
}
"""Codes that matter (RULES.md 1.7: NVIDIA's catalogue as generated into GPUd)."""
_LEVEL = {"reset": CRITICAL, "reboot": CRITICAL, "restart": WARNING, "note": INFO, "unknown": WARNING}


class XidRule(NodeRule):
    """`NVRM: Xid (PCI:...): N` of the kernel facility (a program's own line to /dev/kmsg has another and does
    not count). What to do is NVIDIA's per code: reset the GPU, reboot, restart the application, nothing. 13
    and 31 are mostly the program's fault; 45 follows another Xid; 63 alone is benign."""

    id = "xid"
    problem = "compute"
    kind = "event"
    severities = "iwc"
    probes = ("kernel",)
    always = True
    source = "NVIDIA Xid catalogue (as generated into GPUd); kernel facility only"

    def judge(self, w: Window) -> Outcome:
        if w.raw("kernel.records") is None:
            return Needs("series", "kernel.records")
        out: list[Item] = []
        for e in w.events:
            if e.kind == "xid" or (e.kind == "other" and e.fields.get("about") in ("gpu-lost", "sxid")):
                out.append(self._say(e))
        return out

    def _say(self, e: KernelEvent) -> Occurrence:
        f = e.fields
        about = f.get("about")
        try:
            code = 79 if about == "gpu-lost" else int(f.get("code", ""))
        except ValueError:
            code = 0
        if about == "sxid":
            found = Xid("NVSwitch error (SXid)", "reset" if f.get("severity") == "Fatal" else "unknown")
        else:
            found = XIDS.get(code, Xid("Not in the catalogue", "unknown"))
        pci = f.get("pci", "?")
        evidence = [
            Ev("code", f"{code} {found.name}"),
            Ev("pci", pci),
            Ev("process", f"{f.get('task', '?')} ({f['pid']})" if "pid" in f else None),
            Ev("action", found.action),
            Ev("line", e.text[:300]),
        ]
        facts = {
            "code": code,
            "name": found.name,
            "pci": pci,
            "process": f.get("task") or f.get("pid") or "?",
        }
        details = Details(evidence, facts, [found.action, "diag"] if found.action != "note" else ["note"])
        old = bool(f.get("old"))
        return Occurrence(pci, _LEVEL[found.action], (e.seq, e.wall_ns), e.wall_ns, details, None, old)


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


RULES: tuple[type[Rule], ...] = (XidRule, KernelHung, ClockSkew)
