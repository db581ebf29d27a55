"""What happens to a GPU once: Xids, a lost device, uncorrectable errors, remapped rows, NVLinks that fail."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar

from dctop.engine.rules import gpu_devices as d
from dctop.engine.rules.base import (
    CRITICAL,
    INFO,
    WARNING,
    Details,
    Ev,
    Item,
    Needs,
    NodeRule,
    Occurrence,
    Outcome,
    Rule,
)
from dctop.engine.rules.gpu_devices import gpu_key
from dctop.engine.rules.window import NS, Window
from dctop.engine.rules.xids import CLEAN_UP, code_of, meaning, same_device
from dctop.probes.base import KernelEvent, series

_LEVEL = {"reset": CRITICAL, "reboot": CRITICAL, "restart": WARNING, "note": INFO, "unknown": WARNING}
FOLLOW_NS = 300 * NS
"""A lesser Xid within five minutes of a graver one of the same GPU belongs to it."""


class XidRule(NodeRule):
    """`NVRM: Xid (PCI:...): N` of the kernel facility (a program's own line to /dev/kmsg has another and does
    not count), or the driver's own event. What to do is NVIDIA's per code: reset the GPU, reboot, restart the
    application, nothing. 13 and 31 are mostly the program's fault; 45 and whatever is less grave than an Xid
    of the same GPU within five minutes belongs to that one; 63 alone is benign."""

    id = "xid"
    problem = "compute"
    kind = "event"
    severities = "iwc"
    always = True
    source = "NVIDIA Xid catalogue (as generated into GPUd); kernel facility only"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._last: dict[str, tuple[int, int]] = {}
        """Entity -> (wall time, level) of its gravest recent Xid."""

    def stirred(self, w: Window) -> bool:
        return bool(w.events) or w.raw("kernel.records") is None

    def judge(self, w: Window) -> Outcome:
        out: list[Item] = []
        for e in w.events:
            if e.kind == "xid" or (e.kind == "other" and e.fields.get("about") in ("gpu-lost", "sxid")):
                said = self._say(w, e)
                if said is not None:
                    out.append(said)
        watched = any(d.num(w, g, "gpu.xid_watch") == 1 for g in d.devices(w))
        if not out and not watched and (not w.has("kernel") or w.raw("kernel.records") is None):
            return Needs("series", "kernel.records")
        return out

    def _say(self, w: Window, e: KernelEvent) -> Occurrence | None:
        f = e.fields
        code, found = code_of(f), meaning(f)
        pci = f.get("pci", "?")
        gpu = f.get("gpu") or next(
            (g for g in d.whole(w) if same_device(w.text(gpu_key("gpu.pci", g)) or "", pci)), None
        )
        entity, level = gpu or pci, _LEVEL[found.action]
        at, worst = self._last.get(entity, (0, 0))
        if worst and abs(e.wall_ns - at) <= FOLLOW_NS and (level < worst or code == CLEAN_UP):
            return None
        self._last[entity] = (e.wall_ns, level)
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
            "pci": pci if gpu is None else f"{d.number(w, gpu)} ({pci})",
            "process": f.get("task") or f.get("pid") or "?",
        }
        details = Details(evidence, facts, [found.action, "diag"] if found.action != "note" else ["note"])
        return Occurrence(entity, level, (e.seq, e.wall_ns), e.wall_ns, details, None, bool(f.get("old")))


class GpuLost(d.SiftingRule):
    """The driver says GPU_IS_LOST, does not report a device any more that it reported before, or a call about
    it does not come back. MIG devices come and go with their layout: only whole GPUs are judged. The row
    stays, so that nobody counts seven GPUs and thinks that is all there were."""

    id = "gpu-lost"
    problem = "compute"
    kind = "event"
    severities = "c"
    reads = ("gpu.state", "gpu.name", "gpu.pci")
    source = "NVML return codes; NVIDIA's Xid 79"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._since: dict[str, tuple[str, int]] = {}
        self._known: dict[str, dict[str, object]] = {}
        """Name and address while they answered."""

    def judge(self, w: Window) -> Outcome:
        missing = d.missing(w)
        if missing is not None:
            return missing
        out: list[Item] = []
        gpus = d.whole(w)
        names, places = d.texts(w, gpus, "gpu.name"), d.texts(w, gpus, "gpu.pci")
        for gpu, now, name, pci in zip(gpus, d.states(w), names, places):
            if now not in ("lost", "hung"):
                self._since.pop(gpu, None)
                known = self._known.get(gpu)
                if known is None or known.get("name") != name or known.get("pci") != pci:
                    self._known[gpu] = {n: text for n, text in (("name", name), ("pci", pci)) if text}
                continue
            if self._since.get(gpu, ("",))[0] != now:
                self._since[gpu] = (now, w.wall_ns)
                out.append(self._say(w, gpu, now))
        return out

    def _say(self, w: Window, gpu: str, now: str) -> Occurrence:
        since = d.num(w, gpu, "gpu.lost_since_s")
        wall = w.wall_ns if since is None else min(w.wall_ns, int(since * NS))
        evidence = [
            Ev("state", now),
            Ev("problem", w.text(gpu_key("gpu.problem", gpu))),
            Ev("uuid", gpu),
            Ev("pci", w.text(gpu_key("gpu.pci", gpu))),
            Ev("temp", d.before(w, gpu, "gpu.temp_c"), "°C", None, gpu_key("gpu.temp_c", gpu)),
            Ev("power", d.before(w, gpu, "gpu.power_w"), "W", None, gpu_key("gpu.power_w", gpu)),
            Ev("util", d.before(w, gpu, "gpu.util_pct"), "%", None, gpu_key("gpu.util_pct", gpu)),
            Ev("users", d.users(w, gpu)),
        ]
        remedies = ["kernel", "reboot"] if now == "hung" else ["drain", "reboot", "reseat"]
        facts = {**d.facts(w, gpu), **self._known.get(gpu, {})}
        details = Details(evidence, facts, list(remedies), variant="hung" if now == "hung" else None)
        return Occurrence(gpu, CRITICAL, (now, self._since[gpu][1]), wall, details)


class GpuResetRequired(d.SiftingRule):
    """The driver's recovery action is not `none`, or it says GPU_REQUIRES_RESET: until that was done work on
    this GPU fails or is not to be trusted."""

    id = "gpu-reset-required"
    problem = "compute"
    kind = "event"
    severities = "c"
    reads = ("gpu.state", "gpu.recovery_action")
    source = "NVML_FI_DEV_GET_GPU_RECOVERY_ACTION; NVIDIA GPU memory error management"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._asked: dict[str, str] = {}

    def judge(self, w: Window) -> Outcome:
        missing = d.missing(w)
        if missing is not None:
            return missing
        out: list[Item] = []
        readable = False
        gpus = d.whole(w)
        for gpu, now, action in zip(gpus, d.states(w), d.texts(w, gpus, "gpu.recovery_action")):
            if now == "reset":
                action = "reset"
            readable |= action is not None
            if action in (None, "none"):
                if action == "none":
                    self._asked.pop(gpu, None)
                continue
            if self._asked.get(gpu) != action:
                self._asked[gpu] = str(action)
                out.append(self._say(w, gpu, str(action)))
        return out if readable else Needs("series", "gpu.recovery_action")

    def _say(self, w: Window, gpu: str, action: str) -> Occurrence:
        users = d.users(w, gpu)
        evidence = [
            Ev("action", action, "", "none"),
            Ev("users", users),
            Ev("pci", w.text(gpu_key("gpu.pci", gpu))),
        ]
        facts = {**d.facts(w, gpu), "action": action, "users": users or "nothing"}
        remedy = "reboot" if action == "reboot" else "drain" if action.startswith("drain") else "reset"
        return Occurrence(gpu, CRITICAL, (action, w.wall_ns), w.wall_ns, Details(evidence, facts, [remedy]))


class EccUncorrectable(d.SiftingRule):
    """The volatile count of uncorrectable ECC errors rose. The aggregate count is the device's history, and
    what was counted before dctop started is nothing new; a count that fell was reset with the driver."""

    id = "ecc-uncorrectable"
    problem = "compute"
    kind = "event"
    severities = "c"
    reads = ("gpu.state", "gpu.ecc_uncorrected")
    source = "DCGM health watch (DBE); NVML volatile counters"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._seen: dict[str, float] = {}

    def judge(self, w: Window) -> Outcome:
        missing = d.missing(w, "gpu.ecc_uncorrected")
        if missing is not None:
            return missing
        out: list[Item] = []
        gpus = d.alive(w)
        for gpu, now in zip(gpus, d.raws(w, gpus, "gpu.ecc_uncorrected")):
            if now is None:
                continue
            past = self._seen.get(gpu)
            self._seen[gpu] = now
            if past is not None and now > past:
                out.append(self._say(w, gpu, now - past, now))
        return out

    def _say(self, w: Window, gpu: str, new: float, now: float) -> Occurrence:
        evidence = [
            Ev("new", int(new), "", ">= 1"),
            Ev("total", int(now)),
            Ev("dram", d.num(w, gpu, "gpu.ecc_dram_uncorrected")),
            Ev("sram", d.num(w, gpu, "gpu.ecc_sram_uncorrected")),
            Ev("ever", d.num(w, gpu, "gpu.ecc_uncorrected_total")),
            Ev("users", d.users(w, gpu)),
        ]
        facts = {**d.facts(w, gpu), "new": int(new), "users": d.users(w, gpu) or "nothing"}
        details = Details(evidence, facts, ["checkpoint", "reset", "diag"])
        return Occurrence(gpu, CRITICAL, (int(now), w.wall_ns), w.wall_ns, details)


_REMAP = ("gpu.remap_failed", "gpu.remap_pending", "gpu.remap_uncorrected", "gpu.remap_banks_none")


class RowRemap(NodeRule):
    """Row remapping: it failed (replace), one waits for a reset, 512 rows were remapped for uncorrectable
    errors (DCGM's limit), or a bank has no spare row left. Remapping itself is the repair: rows that were
    remapped are no fault."""

    id = "row-remap"
    problem = "compute"
    kind = "event"
    severities = "wc"
    probes = ("gpuhealth",)
    thresholds: ClassVar[Mapping[str, float]] = {"rows": 512.0}
    source = "NVIDIA GPU memory error management; DCGM (512); GPUd"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._seen: dict[str, tuple[bool, ...]] = {}

    def judge(self, w: Window) -> Outcome:
        missing = d.missing(w, "gpu.remap_pending")
        if missing is not None:
            return missing
        out: list[Item] = []
        for gpu in d.alive(w):
            failed, pending, rows, none = (d.num(w, gpu, m) for m in _REMAP)
            if failed is None and pending is None and rows is None:
                continue
            now = (bool(failed), bool(pending), (rows or 0) >= self.t["rows"], bool(none))
            before = self._seen.get(gpu, (False,) * 4)
            self._seen[gpu] = now
            if any(a and not b for a, b in zip(now, before)):
                out.append(self._say(w, gpu, now))
        return out

    def _say(self, w: Window, gpu: str, now: tuple[bool, ...]) -> Occurrence:
        failed, pending, many, _ = now
        evidence = [
            Ev("corrected", d.num(w, gpu, "gpu.remap_corrected"), "rows"),
            Ev("uncorrected", d.num(w, gpu, "gpu.remap_uncorrected"), "rows", f"< {self.t['rows']:g}"),
            Ev("pending", "yes" if pending else "no", "", "no"),
            Ev("failed", "yes" if failed else "no", "", "no"),
            Ev("banks", d.num(w, gpu, "gpu.remap_banks_none"), "", "0"),
        ]
        variant = "failed" if failed else "many" if many else "pending" if pending else "banks"
        remedies = {"failed": ["replace"], "many": ["replace"], "pending": ["reset"], "banks": ["watch"]}
        details = Details(evidence, d.facts(w, gpu), list(remedies[variant]), variant=variant)
        level = CRITICAL if failed or many else WARNING
        return Occurrence(gpu, level, (now, w.wall_ns), w.wall_ns, details)


@lru_cache(4096)
def _link_keys(gpu: str, link: int) -> tuple[str, str, str]:
    """Series of a link (there may be 144): up, errors it recovered from, CRC errors a second."""
    at = {"gpu": gpu, "link": str(link)}
    return (
        series("gpu.nvlink.up", **at),
        series("gpu.nvlink.recovery_errors", **at),
        series("gpu.nvlink.crc_errors_per_s", **at),
    )


class NvLink(NodeRule):
    """A link that was up is down, one had to be brought up again, or one has 100 CRC errors a second and more
    (below that they do not matter). Links that were never up have no cable or no other side."""

    id = "nvlink"
    problem = "compute"
    kind = "event"
    severities = "wc"
    probes = ("gpuhealth",)
    thresholds: ClassVar[Mapping[str, float]] = {"crc_per_s": 100.0}
    source = "DCGM NVLink limits; NVIDIA: CRC errors only matter at 100 a second and more"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._up: dict[tuple[str, int], bool] = {}
        self._recovered: dict[tuple[str, int], float] = {}
        self._crc: set[tuple[str, int]] = set()

    def judge(self, w: Window) -> Outcome:
        missing = d.missing(w, "gpu.nvlinks")
        if missing is not None:
            return missing
        out: list[Item] = []
        for gpu in d.alive(w):
            for link in range(int(min(d.num(w, gpu, "gpu.nvlinks") or 0, 64))):
                out += self._link(w, gpu, link)
        return out

    def _link(self, w: Window, gpu: str, link: int) -> list[Item]:
        at = (gpu, link)
        keys = _link_keys(gpu, link)
        out: list[Item] = []
        up, recovered, crc = w.num(keys[0]), w.raw(keys[1]), w.num(keys[2])
        if up is not None:
            if self._up.get(at) and not up:
                out.append(self._say(w, gpu, link, "down", CRITICAL, None))
            self._up[at] = bool(up)
        if recovered is not None:
            past = self._recovered.get(at)
            self._recovered[at] = recovered
            if past is not None and recovered > past:
                out.append(self._say(w, gpu, link, "recovered", CRITICAL, recovered - past))
        if crc is not None and crc >= self.t["crc_per_s"]:
            if at not in self._crc:
                self._crc.add(at)
                out.append(self._say(w, gpu, link, "crc", WARNING, crc))
        elif crc is not None:
            self._crc.discard(at)
        return out

    def _say(self, w: Window, gpu: str, link: int, what: str, level: int, value: float | None) -> Occurrence:
        evidence = [
            Ev("link", str(link)),
            Ev("up", d.num(w, gpu, "gpu.nvlinks_up"), "", None, gpu_key("gpu.nvlinks_up", gpu)),
            Ev("links", d.num(w, gpu, "gpu.nvlinks")),
            Ev("recovered", None if what != "recovered" else value, "", "0"),
            Ev("crc", None if what != "crc" else value, "errors/s", f"< {self.t['crc_per_s']:g}"),
        ]
        facts = {**d.facts(w, gpu), "link": link}
        remedies = ["cable"] if what == "crc" else ["reset", "fabric"]
        details = Details(evidence, facts, list(remedies), variant=what)
        return Occurrence(gpu, level, (what, link, w.wall_ns), w.wall_ns, details)


RULES: tuple[type[Rule], ...] = (XidRule, GpuLost, GpuResetRequired, EccUncorrectable, RowRemap, NvLink)
