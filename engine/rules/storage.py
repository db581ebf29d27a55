"""The resource storage: filesystems that fill, turn read-only or hang; devices that are slow or saturated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from dctop.engine.rules.base import (
    CRITICAL,
    INFO,
    NODE,
    NOT_APPLICABLE,
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
    size,
    span,
)
from dctop.engine.rules.deaths import whole
from dctop.engine.rules.window import ACTIVE, Trail, Trend, Window, disk_key, mount_key
from dctop.probes.base import Sample

Remedies = list[str | tuple[str, Mapping[str, object]]]
FULL_BY_DESIGN = frozenset(("squashfs", "iso9660", "udf", "erofs", "cramfs", "romfs", "fuse.snapfuse"))
HOUR = 3600.0


@dataclass(slots=True)
class _Fill:
    """How a mount fills."""

    trail: Trail
    trend: Trend | None = None


class DiskFill(NodeRule):
    """Room for ordinary users (f_bavail): below 10 % warning, below 2 % or less than two checkpoints of a
    run there critical. And time to full at the slope of 40 minutes (Theil-Sen, tau > 0.5): below 8 h
    warning, below 2 h critical; clear above 12 % and 48 h (Netdata disk_space_usage and
    out_of_disk_space_time; Prometheus 24 h). tmpfs fills memory: its level is judged, its slope is not.
    /dev/shm is shm-exhausted."""

    id = "disk-fill"
    problem = "storage"
    kind = "state"
    severities = "wc"
    probes = ("filesystem",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn_pct": 10.0, "crit_pct": 2.0, "clear_pct": 12.0, "warn_h": 8.0, "crit_h": 2.0, "clear_h": 48.0,
        "tau": 0.5, "window_s": 2400.0, "checkpoints": 2.0, "hold_s": 0.0,
    }  # fmt: skip
    source = "Netdata disk_space_usage, out_of_disk_space_time; Prometheus HostDiskWillFillIn24Hours"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._fills: dict[str, _Fill] = {}
        self._sizes: dict[str, tuple[object, int | None]] = {}

    def judge(self, w: Window) -> Outcome:
        mounts = w.labels("fs.used_bytes")
        if not mounts:
            return Needs("series", "fs.used_bytes")
        needed = self._checkpoints(w)
        out: list[Item] = []
        for mount in mounts:
            reading = self._mount(w, mount, needed.get(mount))
            if reading is not None:
                out.append(reading)
        for gone in [m for m in self._fills if m not in mounts]:
            del self._fills[gone]
        return out

    def _checkpoints(self, w: Window) -> dict[str, int]:
        """Mount -> size of the largest checkpoint that an active run last wrote there."""
        out: dict[str, int] = {}
        for run in w.runs:
            if run.status not in ACTIVE:
                continue
            known = self._sizes.get(run.id)
            if known is None or known[0] != len(run.events):
                found = (whole(e.data, "bytes") for e in reversed(run.events) if e.kind == "checkpoint")
                self._sizes[run.id] = known = (len(run.events), next((b for b in found if b), None))
            mount = w.mount_of(run.directory) if known[1] else None
            if mount is not None and known[1]:
                out[mount] = max(out.get(mount, 0), known[1])
        return out

    def _mount(self, w: Window, mount: str, checkpoint: int | None) -> Reading | None:
        if mount == "/dev/shm":
            return None
        kind = w.text(mount_key("fs.type", mount))
        used, avail = w.num(mount_key("fs.used_bytes", mount)), w.num(mount_key("fs.avail_bytes", mount))
        if used is None or avail is None:
            return Reading(mount, -1, False)
        if used + avail <= 0 or kind in FULL_BY_DESIGN or w.num(mount_key("fs.readonly", mount)) == 1:
            return None
        left = 100.0 * avail / (used + avail)
        eta = None if kind in ("tmpfs", "ramfs") else self._eta(w, mount, used, avail)
        level = self._level(left, avail, eta, checkpoint)
        if not level and left > self.t["clear_pct"] and (eta is None or eta > self.t["clear_h"] * HOUR):
            return None
        return Reading(mount, level, False, lambda: self._details(w, mount, left, avail, eta, checkpoint))

    def _level(self, left: float, avail: float, eta: float | None, checkpoint: int | None) -> int:
        t = self.t
        tight = checkpoint is not None and avail < t["checkpoints"] * checkpoint
        if left < t["crit_pct"] or tight or (eta is not None and eta < t["crit_h"] * HOUR):
            return CRITICAL
        return WARNING if left < t["warn_pct"] or (eta is not None and eta < t["warn_h"] * HOUR) else 0

    def _eta(self, w: Window, mount: str, used: float, avail: float) -> float | None:
        fill = self._fills.get(mount)
        if fill is None:
            fill = self._fills[mount] = _Fill(Trail(self.t["window_s"], self.t["window_s"] / 60))
        fill.trail.push(w.mono_ns, used)
        if fill.trail.fresh and len(fill.trail) >= 10:
            values = fill.trail.values()
            # Most mounts do not grow at all: no need for a thousand slopes to know it.
            fill.trend = fill.trail.trend(most=30) if values[-1] > values[0] else None
        trend = fill.trend
        if trend is None or trend.slope <= 0 or trend.tau < self.t["tau"]:
            return None
        return avail / trend.slope

    def _details(
        self, w: Window, mount: str, left: float, avail: float, eta: float | None, checkpoint: int | None
    ) -> Details:
        fill = self._fills.get(mount)
        slope = fill.trend.slope if fill is not None and fill.trend is not None and eta is not None else None
        limit = f"< {self.t['warn_pct']:g} % / {self.t['crit_pct']:g} %"
        evidence = [
            Ev("left", round(left, 2), "%", limit, mount_key("fs.used_pct", mount)),
            Ev("avail", avail, "bytes", None, mount_key("fs.avail_bytes", mount)),
            Ev("rate", None if slope is None else slope * HOUR, "bytes/h"),
            Ev("eta", eta, "s", f"< {self.t['warn_h']:g} h / {self.t['crit_h']:g} h"),
            Ev("checkpoint", checkpoint, "bytes", f"{self.t['checkpoints']:g} x must fit"),
            Ev("fit", None if not checkpoint else int(avail // checkpoint)),
            Ev("type", w.text(mount_key("fs.type", mount))),
        ]
        keep = max(1, int(avail // checkpoint) - 1) if checkpoint else None
        remedies: Remedies = ["delete"] if keep is None else [("keep", {"keep": keep}), "delete"]
        facts = {"mount": mount, "left": num(left), "avail": size(avail), "when": span(eta),
                 "rate": "?" if slope is None else f"{size(slope * HOUR)}/h"}  # fmt: skip
        cost, variant = (None, "level") if slope is None else ("when", None)
        return Details(evidence, facts, remedies, (), cost, variant)


class InodeFill(NodeRule):
    """Inodes free for ordinary users below 10 % warning, below 2 % critical; clear above 12 % (Prometheus
    HostOutOfInodes). Filesystems without a fixed number (btrfs, many network ones) are not judged."""

    id = "inode-fill"
    problem = "storage"
    kind = "state"
    severities = "wc"
    probes = ("filesystem",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn_pct": 10.0,
        "crit_pct": 2.0,
        "clear_pct": 12.0,
        "hold_s": 0.0,
    }
    source = "Prometheus HostOutOfInodes"

    def judge(self, w: Window) -> Outcome:
        mounts = w.labels("fs.inodes")
        if not mounts and not w.labels("fs.used_bytes"):
            return Needs("series", "fs.inodes")
        out: list[Item] = []
        for mount in mounts:
            used = w.num(mount_key("fs.inodes_used_pct", mount))
            total = w.num(mount_key("fs.inodes", mount))
            if used is None or not total or w.num(mount_key("fs.readonly", mount)) == 1:
                continue
            left = 100.0 - used
            if left > self.t["clear_pct"] or w.text(mount_key("fs.type", mount)) in FULL_BY_DESIGN:
                continue
            level = CRITICAL if left < self.t["crit_pct"] else WARNING if left < self.t["warn_pct"] else 0
            out.append(Reading(mount, level, False, lambda m=mount, x=left: self._details(w, m, x)))  # type: ignore[misc]
        return out

    def _details(self, w: Window, mount: str, left: float) -> Details:
        free, total = w.num(mount_key("fs.inodes_free", mount)), w.num(mount_key("fs.inodes", mount))
        evidence = [
            Ev(
                "left",
                round(left, 2),
                "%",
                f"< {self.t['warn_pct']:g} %",
                mount_key("fs.inodes_used_pct", mount),
            ),
            Ev("free", free, "inodes"),
            Ev("total", total, "inodes"),
        ]
        facts = {"mount": mount, "left": num(left), "free": num(free, 9)}
        return Details(evidence, facts, ["tar", "find"])


class FsReadonly(NodeRule):
    """A filesystem that was writable is mounted read-only, or the kernel said it remounted it so. Read-only
    from the start is by design (Prometheus HostFilesystemReadonly)."""

    id = "fs-readonly"
    problem = "storage"
    kind = "event"
    severities = "c"
    always = True
    source = "Prometheus node_filesystem_readonly; kernel log"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._before: dict[str, float] = {}
        self._turns: dict[str, int] = {}
        self._sample: Sample | None = None

    def stirred(self, w: Window) -> bool:
        return bool(w.events) or w.frame.samples.get("filesystem") is not self._sample

    def judge(self, w: Window) -> Outcome:
        out: list[Item] = []
        for e in w.events:
            if e.kind == "fs-readonly":
                mount = self._mount_of(w, e.fields.get("device", ""))
                key = ("turn", self._turns.get(mount, 0))
                details = self._details(w, mount, e.text)
                out.append(
                    Occurrence(mount, CRITICAL, key, e.wall_ns, details, None, bool(e.fields.get("old")))
                )
        self._sample = w.frame.samples.get("filesystem")
        for mount in w.labels("fs.readonly"):
            now = w.num(mount_key("fs.readonly", mount))
            before = self._before.get(mount)
            if now is None:
                continue
            self._before[mount] = now
            if before == 0 and now == 1:
                key = ("turn", self._turns.get(mount, 0))
                out.append(Occurrence(mount, CRITICAL, key, w.wall_ns, self._details(w, mount, None)))
            elif before == 1 and now == 0:
                self._turns[mount] = self._turns.get(mount, 0) + 1
        if not out and not w.has("filesystem") and not w.has("kernel"):
            return Needs("probe", "filesystem")
        return out

    def _mount_of(self, w: Window, device: str) -> str:
        name = device.removeprefix("/dev/")
        for mount in w.labels("fs.device"):
            found = w.text(mount_key("fs.device", mount)) or ""
            if name and found.removeprefix("/dev/") == name:
                return mount
        return name or NODE

    def _details(self, w: Window, mount: str, line: str | None) -> Details:
        evidence = [
            Ev("mount", mount, "", "read-only"),
            Ev("device", w.text(mount_key("fs.device", mount))),
            Ev("type", w.text(mount_key("fs.type", mount))),
            Ev("line", line),
        ]
        device = w.text(mount_key("fs.device", mount)) or "?"
        facts = {"mount": mount, "device": device}
        return Details(evidence, facts, ["look", "fsck"])


class FsHung(NodeRule):
    """A statvfs call that has not come back within its deadline, for 10 s: a dead network mount or a dead
    device. Whoever touches it waits in state D."""

    id = "fs-hung"
    problem = "storage"
    kind = "state"
    severities = "c"
    probes = ("filesystem",)
    thresholds: ClassVar[Mapping[str, float]] = {"hold_s": 10.0}
    source = "statvfs(2) with a deadline"

    def judge(self, w: Window) -> Outcome:
        if not w.labels("fs.hung") and not w.labels("fs.used_bytes"):
            return Needs("series", "fs.hung")
        return [
            Reading(m, CRITICAL, False, lambda m=m: self._details(w, m))  # type: ignore[misc]
            for m in w.labels("fs.hung")
            if w.num(mount_key("fs.hung", m)) == 1
        ]

    def _details(self, w: Window, mount: str) -> Details:
        blocked = [p for p in w.frame.processes if p.state == "D"]
        evidence = [
            Ev("mount", mount),
            Ev("device", w.text(mount_key("fs.device", mount))),
            Ev("type", w.text(mount_key("fs.type", mount))),
            Ev("blocked", len(blocked), "processes"),
            Ev("who", ", ".join(f"{p.name} ({p.pid})" for p in blocked[:3]) or None),
        ]
        device = w.text(mount_key("fs.device", mount)) or "?"
        return Details(evidence, {"mount": mount, "device": device}, ["server", "lazy"])


class _DiskTrails(NodeRule):
    """Raw counters of each device, thinned."""

    kind = "state"
    problem = "storage"
    probes = ("disk",)
    names: tuple[str, ...] = ()

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._trails: dict[str, Trail] = {}

    def past(self, w: Window, disk: str) -> tuple[float, tuple[float | None, ...]] | None:
        """(seconds, difference of each counter) over the window; None while it is not covered."""
        trail = self._trails.get(disk)
        if trail is None:
            trail = self._trails[disk] = Trail(self.t["window_s"], self.t["window_s"] / 12)
        now = [w.raw(disk_key(n, disk)) for n in self.names]
        found = trail.delta(w.mono_ns, *now)
        trail.push(w.mono_ns, *now)
        return None if found is None or found[0] < 0.9 * self.t["window_s"] else found


class DiskLatency(_DiskTrails):
    """Mean time of a request over a minute above 100 ms (NVMe: 20 ms) for another minute, at 10 requests/s or
    more: one slow request of an idle disk is nothing (Prometheus HostUnusualDiskReadLatency 0.1 s). Clear
    below half of it."""

    id = "disk-latency"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "ms": 100.0,
        "nvme_ms": 20.0,
        "clear_share": 0.5,
        "least_iops": 10.0,
        "window_s": 60.0,
        "every_s": 5.0,
        "hold_s": 60.0,
    }
    source = "Prometheus HostUnusualDiskReadLatency, HostUnusualDiskWriteLatency"
    names = ("disk.reads", "disk.writes", "disk.read_ms", "disk.write_ms")

    def judge(self, w: Window) -> Outcome:
        disks = w.labels("disk.iops") or w.labels("disk.in_flight")
        if not disks:
            return Needs("series", "disk.reads")
        out: list[Item] = []
        covered = False
        for disk in disks:
            past = self.past(w, disk)
            if past is None:
                continue
            covered = True
            seconds, (reads, writes, read_ms, write_ms) = past
            if reads is None or writes is None or read_ms is None or write_ms is None:
                continue
            n = reads + writes
            limit = self.t["nvme_ms" if disk.startswith("nvme") else "ms"]
            if n / seconds < self.t["least_iops"]:
                continue
            await_ms = (read_ms + write_ms) / n
            if await_ms < self.t["clear_share"] * limit:
                continue
            level = WARNING if await_ms > limit else 0
            parts = (
                await_ms,
                limit,
                n / seconds,
                read_ms / reads if reads else None,
                write_ms / writes if writes else None,
            )
            out.append(Reading(disk, level, False, lambda d=disk, p=parts: self._details(w, d, *p)))  # type: ignore[misc]
        return out if covered else Needs("history", f"{self.t['window_s']:g} s")

    def _details(
        self,
        w: Window,
        disk: str,
        mean: float,
        limit: float,
        iops: float,
        read: float | None,
        write: float | None,
    ) -> Details:
        evidence = [
            Ev("await", mean, "ms", f"> {limit:g} ms", disk_key("disk.await_ms", disk)),
            Ev("read", read, "ms", None, disk_key("disk.read_await_ms", disk)),
            Ev("write", write, "ms", None, disk_key("disk.write_await_ms", disk)),
            Ev("iops", iops, "/s", f">= {self.t['least_iops']:g} /s", disk_key("disk.iops", disk)),
            Ev("util", w.num(disk_key("disk.util_pct", disk)), "%", None, disk_key("disk.util_pct", disk)),
        ]
        facts = {"disk": disk, "await": num(mean), "limit": num(limit), "iops": num(iops)}
        return Details(evidence, facts, ["who", "health", "cache"])


class DiskUtil(_DiskTrails):
    """A device busy for more than 98 % of 10 minutes, clear below 70 % (Netdata 10min_disk_utilization). A
    note: NVMe serves many requests at once and is not judged by it."""

    id = "disk-util"
    severities = "i"
    thresholds: ClassVar[Mapping[str, float]] = {
        "busy_pct": 98.0,
        "clear_pct": 70.0,
        "window_s": 600.0,
        "every_s": 5.0,
        "hold_s": 0.0,
    }
    source = "Netdata 10min_disk_utilization"
    names = ("disk.busy_ms",)

    def judge(self, w: Window) -> Outcome:
        disks = w.labels("disk.iops") or w.labels("disk.in_flight")
        if not disks:
            return Needs("series", "disk.busy_ms")
        disks = [d for d in disks if not d.startswith("nvme")]
        if not disks:
            return NOT_APPLICABLE
        out: list[Item] = []
        covered = False
        for disk in disks:
            past = self.past(w, disk)
            if past is None:
                continue
            covered = True
            busy_ms = past[1][0]
            busy = None if busy_ms is None else min(100.0, busy_ms / past[0] / 10.0)
            if busy is None or busy < self.t["clear_pct"]:
                continue
            level = INFO if busy > self.t["busy_pct"] else 0
            out.append(Reading(disk, level, False, lambda d=disk, b=busy: self._details(w, d, b)))  # type: ignore[misc]
        return out if covered else Needs("history", f"{self.t['window_s'] / 60:g} min")

    def _details(self, w: Window, disk: str, busy: float) -> Details:
        evidence = [
            Ev("busy", round(busy, 2), "%", f"> {self.t['busy_pct']:g} %", disk_key("disk.util_pct", disk)),
            Ev("read", w.num(disk_key("disk.read_bytes_per_s", disk)), "bytes/s"),
            Ev("write", w.num(disk_key("disk.write_bytes_per_s", disk)), "bytes/s"),
            Ev("await", w.num(disk_key("disk.await_ms", disk)), "ms"),
        ]
        return Details(evidence, {"disk": disk, "busy": num(busy)}, ["who", "cache"])


class PsiIo(NodeRule):
    """Tasks waited for I/O in more than 40 % of the last minute (PSI io some avg60); clear below 20 %
    (kernel psi.rst; Netdata some_io_pressure)."""

    id = "psi-io"
    problem = "storage"
    kind = "state"
    severities = "w"
    probes = ("pressure",)
    thresholds: ClassVar[Mapping[str, float]] = {"some_pct": 40.0, "clear_pct": 20.0, "hold_s": 5.0}
    source = "kernel Documentation/accounting/psi.rst; Netdata"

    def judge(self, w: Window) -> Outcome:
        some = w.num("pressure.io.some_avg60_pct")
        if some is None:
            return Needs("series", "pressure.io.some_avg60_pct")
        if some < self.t["clear_pct"]:
            return ()
        level = WARNING if some > self.t["some_pct"] else 0
        return (
            Reading(NODE, level, False, lambda: io_details(w, some, f"> {self.t['some_pct']:g} %", "psi")),
        )


class Iowait(NodeRule):
    """iowait above 40 % for 10 minutes, clear below 20 % (Netdata 10min_cpu_iowait). It is idle time a core
    and misleading on many cores: where pressure is known, it must say above 10 % too."""

    id = "iowait"
    problem = "storage"
    kind = "state"
    severities = "w"
    probes = ("cpu",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn_pct": 40.0,
        "clear_pct": 20.0,
        "psi_pct": 10.0,
        "window_s": 600.0,
        "every_s": 5.0,
        "hold_s": 0.0,
    }
    source = "Netdata 10min_cpu_iowait"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._trail = Trail(self.t["window_s"], self.t["window_s"] / 40)

    def judge(self, w: Window) -> Outcome:
        names = ("user", "system", "idle", "iowait", "irq", "steal")
        now = [w.raw(f"cpu.{n}_ticks") for n in names]
        past = self._trail.delta(w.mono_ns, *now)
        self._trail.push(w.mono_ns, *now)
        if past is None or past[0] < 0.95 * self.t["window_s"]:
            return Needs("history", f"{self.t['window_s'] / 60:g} min")
        parts = past[1]
        total = sum(p or 0.0 for p in parts)
        if parts[3] is None or total <= 0:
            return Needs("series", "cpu.iowait_ticks")
        share = 100.0 * parts[3] / total
        psi = w.num("pressure.io.some_avg60_pct")
        if share < self.t["clear_pct"] or (psi is not None and psi < self.t["psi_pct"]):
            return ()
        level = WARNING if share > self.t["warn_pct"] else 0
        limit = f"> {self.t['warn_pct']:g} %"
        return (Reading(NODE, level, False, lambda: io_details(w, share, limit, "iowait")),)


def io_details(w: Window, value: float, limit: str, what: str) -> Details:
    """Evidence that psi-io and iowait share: who reads, which device is busy."""
    disks = [(w.num(disk_key("disk.util_pct", d)), d) for d in w.labels("disk.util_pct")]
    busiest = max(((u, d) for u, d in disks if u is not None), default=None)
    reads, writes = w.snap.process_read_bytes_per_s, w.snap.process_write_bytes_per_s
    rates = {pid: reads.get(pid, 0.0) + writes.get(pid, 0.0) for pid in {*reads, *writes}}
    top = max(rates, key=lambda pid: (rates[pid], -pid), default=None)
    process = w.process(top)
    who = None if process is None or top is None else f"{process.name} ({top}) {size(rates[top])}/s"
    psi = value if what == "psi" else w.num("pressure.io.some_avg60_pct")
    evidence = [
        Ev(
            "value",
            round(value, 2),
            "%",
            limit,
            "pressure.io.some_avg60_pct" if what == "psi" else "cpu.iowait_pct",
        ),
        Ev("psi", None if what == "psi" else psi, "%", None, "pressure.io.some_avg60_pct"),
        Ev("disk", None if busiest is None else f"{busiest[1]} {busiest[0]:.0f} %"),
        Ev("blocked", w.num("process.blocked"), "processes", None, "process.blocked"),
        Ev("who", who),
    ]
    facts = {"value": num(value), "disk": "?" if busiest is None else busiest[1], "who": who or "?",
             "available": size(w.num("memory.available_bytes"))}  # fmt: skip
    return Details(evidence, facts, ["who", "cache"])


RULES: tuple[type[Rule], ...] = (
    DiskFill, InodeFill, FsReadonly, FsHung, DiskLatency, DiskUtil, PsiIo, Iowait,
)  # fmt: skip
