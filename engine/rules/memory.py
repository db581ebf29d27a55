"""Problem 1, out of memory: allocations that failed, memory that runs out, and the pressure before it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from dctop.engine.rules.base import (
    CRITICAL,
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
    Prediction,
    Reading,
    Rule,
    RunRule,
    num,
    size,
    span,
)
from dctop.engine.rules.deaths import age, end_of, exit_code, whole
from dctop.engine.rules.window import Trail, Window

if TYPE_CHECKING:
    from dctop.engine.rules.runwindow import RunWindow
    from dctop.engine.training.runstate import RunEvent


MIB = 1 << 20
Remedies = list[str | tuple[str, Mapping[str, object]]]


class _OomException(RunRule):
    """An exception of the worker whose `kind` is `exception_kind`."""

    kind = "event"
    problem = "oom"
    severities = "c"
    after_end = True
    of_events = True
    exception_kind = ""
    subject = "any"

    def judge(self, run: RunWindow) -> Outcome:
        out: list[Item] = []
        for e in run.new_events:
            if e.kind == "exception" and e.data.get("kind") == self.exception_kind:
                old = age(run.node, e.wall_ns) if not run.active else "fresh"
                if old != "gone":
                    key = (run.id, e.wall_ns)
                    out.append(
                        Occurrence(
                            run.id, CRITICAL, key, e.wall_ns, self.details(run, e), e.step, old == "old"
                        )
                    )
        return out

    def details(self, run: RunWindow, e: RunEvent) -> Details:
        raise NotImplementedError


_CAPACITY = re.compile(r"total capacity of ([\d.]+) (\w+)")
_TRIED = re.compile(r"allocate ([\d.]+) (\w+)")
_UNITS = {"B": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def _bytes(pattern: re.Pattern[str], text: str) -> int | None:
    m = pattern.search(text)
    return int(float(m[1]) * _UNITS[m[2]]) if m and m[2] in _UNITS else None


class OomCuda(_OomException):
    """torch.OutOfMemoryError of the worker. B_fit = floor((0.90 cap - M0) / s) with s = (peak - M0) / B, M0
    what is allocated after the optimiser's step; accumulate ceil(B / B_fit) batches to keep the effective
    one. Fragmentation is named where reserved - allocated > 20 % of the capacity (Composer oom_observer,
    torch cuda/memory.py)."""

    id = "oom-cuda"
    exception_kind = "oom-cuda"
    thresholds: ClassVar[Mapping[str, float]] = {"fill": 0.90, "fragmented": 0.20}
    source = "Composer oom_observer.py; torch cuda/memory.py"

    def details(self, run: RunWindow, e: RunEvent) -> Details:
        column = {n: run.train(n, 1) for n in ("mem_allocated_bytes", "mem_reserved_bytes", "mem_peak_bytes")}
        allocated, reserved, peak = (v[-1] if v else None for v in column.values())
        cap, asked, batch = _bytes(_CAPACITY, e.text), _bytes(_TRIED, e.text), run.batch
        evidence = [
            Ev("asked", asked, "bytes"),
            Ev("allocated", allocated, "bytes"),
            Ev("reserved", reserved, "bytes"),
            Ev("peak", peak, "bytes"),
            Ev("cap", cap, "bytes"),
            Ev("batch", batch, "samples"),
            Ev("step", e.step),
        ]
        fit = batch_that_fits(cap, allocated, peak, batch, self.t["fill"])
        remedies: Remedies = [fit, "bf16", "checkpointing"]
        if cap and reserved and allocated and reserved - allocated > self.t["fragmented"] * cap:
            remedies.insert(1, ("fragmented", {"free": size(reserved - allocated)}))
        facts = {"run": run.id, "asked": size(asked), "batch": num(batch, 9), "step": num(e.step, 9)}
        return Details(evidence, facts, remedies, predicts=Prediction("survives", e.step or 0))


def batch_that_fits(
    cap: float | None,
    m0: float | None,
    peak: float | None,
    batch: int | None,
    fill: float,
    taken: float = 0.0,
) -> str | tuple[str, Mapping[str, object]]:
    """The remedy: B_fit = floor((fill x cap - M0 - taken) / s), s = (peak - M0) / B, M0 what is allocated
    between two steps, `taken` what others hold of the device. Without the numbers half the batch; where the
    model alone is too large, shards."""
    if not batch or batch < 2:
        return "shard"
    if cap is None or m0 is None or peak is None or peak <= m0:
        return "half", {"batch": batch, "half": batch // 2}
    if m0 + taken > fill * cap:
        return "shard"
    fit = int((fill * cap - m0 - taken) / ((peak - m0) / batch))
    fit = max(1, min(fit, batch - 1))
    return "fit", {
        "fit": fit,
        "batch": batch,
        "accum": -(-batch // fit),
        "peak": size(m0 + (peak - m0) / batch * fit),
    }


class OomHostException(_OomException):
    """MemoryError, numpy's _ArrayMemoryError, or a RuntimeError saying `DefaultCPUAllocator: can't allocate
    memory`: on the CPU torch raises no OutOfMemoryError (verified, torch 2.14.1). To be fitted on RssAnon,
    not on RSS, whose file pages can be reclaimed."""

    id = "oom-host-exception"
    exception_kind = "oom-host"
    source = "verified: torch 2.14.1 on the CPU, RLIMIT_AS"

    def details(self, run: RunWindow, e: RunEvent) -> Details:
        w, batch = run.node, run.batch
        rss = run.train("rss_anon_bytes", 1)
        asked = whole(e.data, "asked_bytes")
        limit = w.num("container.memory_limit_bytes")
        evidence = [
            Ev("asked", asked, "bytes"),
            Ev("rss", rss[-1] if rss else None, "bytes"),
            Ev("available", w.num("memory.available_bytes"), "bytes", None, "memory.available_bytes"),
            Ev("limit", limit, "bytes"),
            Ev("batch", batch, "samples"),
            Ev("step", e.step),
        ]
        remedies: Remedies = ["uint8", "ulimit"]
        if batch and batch > 1:
            remedies.insert(0, ("half", {"half": batch // 2}))
        facts = {"run": run.id, "asked": size(asked), "batch": num(batch, 9), "step": num(e.step, 9)}
        return Details(evidence, facts, remedies, predicts=Prediction("survives", e.step or 0))


class HostMemLeak(RunRule):
    """RssAnon of the worker rising for 10 minutes (Theil-Sen, Kendall's tau > 0.7) and full within the hour;
    clear above 2 h. A fast leak (tau > 0.9, full within 10 min) is told after one minute already. What is
    left is the smallest of the node's MemAvailable, limit - working set of our own control group, so that
    page cache is not taken for use (Netdata cgroup_ram), and the limit of the run's less what its processes
    hold. Its loader processes are judged alike, all together by RSS; that holds pages of files, too, so what
    is left of memory must have fallen by at least half as much."""

    id = "host-mem-leak"
    subject = "any"
    problem = "oom"
    kind = "state"
    severities = "w"
    every_tick = True
    probes = ("memory",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "window_s": 600.0, "tau": 0.7, "left_s": 3600.0, "clear_s": 7200.0,
        "fast_window_s": 60.0, "fast_tau": 0.9, "fast_left_s": 600.0, "least_mib": 64.0, "fell": 0.5,
        "hold_s": 0.0,
    }  # fmt: skip
    source = "Netdata cgroup_ram; Theil-Sen, Kendall tau"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._trails: dict[str, tuple[Trail, Trail]] = {}
        self._loaders: dict[str, tuple[Trail, Trail]] = {}
        """Of what a run's other processes hold, and what is left of memory."""
        self._last: dict[str, tuple[Reading, ...]] = {}

    def forget(self, run_id: str) -> None:
        self._trails.pop(run_id, None)
        self._loaders.pop(run_id, None)
        self._last.pop(run_id, None)

    def judge(self, run: RunWindow) -> Outcome:
        now = _newest(run)
        if now is None:
            return Needs("field", "rss_anon_bytes")
        mono = run.node.mono_ns
        if not self._push(self._trails, run.id, mono, now):
            return self._last.get(run.id, ())
        others = _others(run)
        left = self._left(run, now + (others or 0.0))
        if left is None:
            return Needs("series", "memory.available_bytes")
        readings = self._judge(run, self._trails[run.id], left)
        if others is not None:
            self._push(self._loaders, run.id, mono, others, run.node.num("memory.available_bytes"))
            readings = readings or self._judge(run, self._loaders[run.id], left, loaders=True)
        self._last[run.id] = readings
        return readings

    def _push(
        self, of: dict[str, tuple[Trail, Trail]], run_id: str, mono_ns: int, *values: float | None
    ) -> bool:
        """Whether one of the two kept it."""
        trails = of.get(run_id)
        if trails is None:
            trails = of[run_id] = Trail(self.t["window_s"], 10.0), Trail(self.t["fast_window_s"], 2.0)
        for trail in trails:
            trail.push(mono_ns, *values)
        return any(trail.fresh for trail in trails)

    def _left(self, run: RunWindow, held: float) -> float | None:
        w, own = run.node, run.memory_limit
        limit, used = w.num("container.memory_limit_bytes"), w.num("container.working_set_bytes")
        rooms = [
            w.num("memory.available_bytes"),
            None if limit is None or used is None else limit - used,
            None if own is None else max(0.0, own - held),
        ]
        return min((x for x in rooms if x is not None), default=None)

    def _judge(
        self, run: RunWindow, trails: tuple[Trail, Trail], left: float, loaders: bool = False
    ) -> tuple[Reading, ...]:
        slow, fast = trails
        t = self.t
        for trail, window, tau, most in (
            (slow, t["window_s"], t["tau"], t["left_s"]),
            (fast, t["fast_window_s"], t["fast_tau"], t["fast_left_s"]),
        ):
            if trail.covered_s() < 0.9 * window:
                continue
            if trail.growth() < t["least_mib"] * MIB * min(1.0, window / 600):
                continue
            if loaders and not -trail.growth(1) >= t["fell"] * trail.growth():
                continue  # pages of files, which can be dropped
            values, trend = trail.values(), trail.trend()
            if trend is None or trend.tau <= tau or trend.slope <= 0:
                continue
            seconds = left / trend.slope
            if seconds < t["clear_s"]:
                level = WARNING if seconds < most else 0
                told = (trend.slope, trend.tau, seconds, left, values, loaders)
                return (
                    Reading(
                        run.id, level, False,
                        lambda told=told: self._details(run, *told),  # type: ignore[misc]
                        step=run.step,
                    ),
                )  # fmt: skip
        return ()

    def _details(
        self, run: RunWindow, slope: float, tau: float, seconds: float, left: float, values: list[float],
        loaders: bool,
    ) -> Details:  # fmt: skip
        evidence = [
            Ev("slope", slope * 60 / MIB, "MiB/min", "> 0"),
            Ev("tau", round(tau, 3), "", f"> {self.t['tau']:g}"),
            Ev("left_s", seconds, "s", f"< {span(self.t['left_s'])}"),
            Ev("left", left, "bytes"),
            Ev("others" if loaders else "rss", values[-1], "bytes"),
            Ev("growth", values[-1] - values[0], "bytes"),
        ]
        facts = {"run": run.id, "rate": f"{size(slope * 60)}/min", "left": size(left), "when": span(seconds),
                 "workers": num(run.workers, 9), "pid": num(run.run.pid, 12)}  # fmt: skip
        if loaders:
            return Details(evidence, facts, ["loader", "checkpoint"], variant="loaders")
        remedies: Remedies = ["keep", "loader"] if run.workers else ["keep"]
        return Details(evidence, facts, [*remedies, "checkpoint"])


def _others(run: RunWindow) -> float | None:
    """RSS of all processes the worker has started; None: there are none, or they are not read."""
    pid = run.run.pid
    if pid is None or not run.workers:
        return None
    tree = run.node.tree([pid]) - {pid}
    held = [p.rss_bytes for p in run.node.frame.processes if p.pid in tree and p.rss_bytes is not None]
    return float(sum(held)) if held else None


def _newest(run: RunWindow) -> float | None:
    """The latest RssAnon: it is recorded only every tenth step."""
    known = run.known("rss_anon_bytes")
    return known.values[-1] if known.values and known.steps[-1] >= run.back(59) else None


class HostMemLow(NodeRule):
    """MemAvailable (not free) below 10 % for 2 minutes; clear above 15 % (Prometheus HostOutOfMemory,
    Netdata ram_available 10/15)."""

    id = "host-mem-low"
    problem = "oom"
    kind = "state"
    severities = "w"
    probes = ("memory",)
    thresholds: ClassVar[Mapping[str, float]] = {"warn_pct": 10.0, "clear_pct": 15.0, "hold_s": 120.0}
    source = "Prometheus HostOutOfMemory; Netdata ram_available"

    def judge(self, w: Window) -> Outcome:
        used = w.num("memory.used_pct")
        if used is None:
            return Needs("series", "memory.available_bytes")
        left = 100.0 - used
        if left > self.t["clear_pct"]:
            return ()
        level = WARNING if left < self.t["warn_pct"] else 0
        return (Reading(NODE, level, False, lambda: self._details(w, left)),)

    def _details(self, w: Window, left: float) -> Details:
        available = w.num("memory.available_bytes")
        top = w.largest(3)
        evidence = [
            Ev("left", round(left, 2), "%", f"< {self.t['warn_pct']:g} %"),
            Ev("available", available, "bytes", None, "memory.available_bytes"),
            Ev("swap", w.num("memory.swap_used_bytes"), "bytes"),
            Ev("top", ", ".join(f"{p.name} ({p.pid}) {size(p.rss_bytes)}" for p in top) or None),
        ]
        facts = {"left": num(left), "available": size(available),
                 "top": f"{top[0].name} ({top[0].pid})" if top else "?",
                 "rss": size(top[0].rss_bytes) if top else "?"}  # fmt: skip
        return Details(evidence, facts, ["largest", "batch"])


class ContainerMemNearLimit(NodeRule):
    """Working set (usage - inactive_file) of the own control group against its limit: 90 % warning, 98 %
    critical, clear below 85 % (Netdata cgroup_ram_in_use 90/98). Page cache that can be dropped is no use."""

    id = "container-mem-near-limit"
    problem = "oom"
    kind = "state"
    severities = "wc"
    probes = ("container",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn_pct": 90.0,
        "crit_pct": 98.0,
        "clear_pct": 85.0,
        "headroom": 1.2,
        "hold_s": 10.0,
    }
    source = "Netdata cgroup_ram_in_use"

    def judge(self, w: Window) -> Outcome:
        if w.num("container.memory_bytes") is None:
            return Needs("series", "container.memory_bytes")
        used = w.num("container.memory_used_pct")
        if used is None:
            if w.num("container.memory_limit_bytes") is None:
                return NOT_APPLICABLE
            return Needs("series", "container.inactive_file_bytes")
        if used < self.t["clear_pct"]:
            return ()
        level = CRITICAL if used >= self.t["crit_pct"] else WARNING if used >= self.t["warn_pct"] else 0
        return (Reading(NODE, level, False, lambda: self._details(w, used)),)

    def _details(self, w: Window, used: float) -> Details:
        limit, ws = w.num("container.memory_limit_bytes"), w.num("container.working_set_bytes")
        evidence = [
            Ev("used", round(used, 2), "%", f">= {self.t['warn_pct']:g} %", "container.memory_used_pct"),
            Ev("ws", ws, "bytes", None, "container.working_set_bytes"),
            Ev("limit", limit, "bytes"),
            Ev("failcnt", w.raw("container.memory_failcnt")),
            Ev("kills", w.raw("container.oom_kills")),
        ]
        wanted = None if ws is None else ws * self.t["headroom"]
        facts = {"used": num(used), "limit": size(limit), "wanted": size(wanted)}
        return Details(evidence, facts, ["raise", "batch"])


class ShmExhausted(NodeRule):
    """/dev/shm 90 % full, clear below 75 %; or a worker that died of SIGBUS or said `insufficient shared
    memory`. Loader processes hand batches through it; a container has 64 MB by default."""

    id = "shm-exhausted"
    problem = "oom"
    kind = "state"
    severities = "wc"
    probes = ("memory",)
    always = True
    thresholds: ClassVar[Mapping[str, float]] = {"warn_pct": 90.0, "clear_pct": 75.0, "hold_s": 5.0}
    source = "PyTorch DataLoader notes; container default 64 MB"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._judged: set[str] = set()

    def judge(self, w: Window) -> Outcome:
        out: list[Item] = []
        for run in w.runs:
            if run.ended_wall_ns is not None and run.id not in self._judged:
                self._judged.add(run.id)
                end = end_of(run)
                text = f"{run.reason or ''} {'' if end is None else end.data.get('stderr') or ''}"
                said = "insufficient shared memory" in text or "Bus error" in text
                old = age(w, run.ended_wall_ns)
                if (said or exit_code(run, end) == -7) and old != "gone":
                    details = self._details(w, w.num("memory.shm_used_pct"), text.strip()[:200] or "SIGBUS")
                    out.append(
                        Occurrence(
                            run.id, CRITICAL, run.id, run.ended_wall_ns, details, run.step, old == "old"
                        )
                    )
        used = w.num("memory.shm_used_pct")
        if used is None:
            return out or Needs("series", "memory.shm_used_bytes")
        if used >= self.t["clear_pct"]:
            level = WARNING if used >= self.t["warn_pct"] else 0
            out.append(Reading(NODE, level, False, lambda: self._details(w, used, None)))
        return out

    def _details(self, w: Window, used: float | None, text: str | None) -> Details:
        total, taken = w.num("memory.shm_total_bytes"), w.num("memory.shm_used_bytes")
        evidence = [
            Ev("used", None if used is None else round(used, 2), "%", f">= {self.t['warn_pct']:g} %",
               "memory.shm_used_pct"),
            Ev("taken", taken, "bytes", None, "memory.shm_used_bytes"),
            Ev("size", total, "bytes"),
            Ev("said", text),
        ]  # fmt: skip
        wanted = None if taken is None else 1.5 * taken
        facts = {"used": num(used), "size": size(total), "wanted": size(wanted), "said": text or "SIGBUS"}
        variant = None if text is None else "bus"
        return Details(evidence, facts, ["enlarge", "workers", "files"], variant=variant)


class PsiMemory(NodeRule):
    """Memory pressure: some avg10 > 20 % warning, full avg10 > 10 % critical; clear below 5 % (kernel
    Documentation/accounting/psi.rst)."""

    id = "psi-memory"
    problem = "oom"
    kind = "state"
    severities = "wc"
    probes = ("pressure",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "some_pct": 20.0,
        "full_pct": 10.0,
        "clear_pct": 5.0,
        "hold_s": 5.0,
    }
    source = "kernel Documentation/accounting/psi.rst"

    def judge(self, w: Window) -> Outcome:
        some, full = w.num("pressure.memory.some_avg10_pct"), w.num("pressure.memory.full_avg10_pct")
        if some is None:
            return Needs("series", "pressure.memory.some_avg10_pct")
        stuck = full or 0.0
        if some < self.t["clear_pct"]:
            return ()
        level = CRITICAL if stuck > self.t["full_pct"] else WARNING if some > self.t["some_pct"] else 0
        return (Reading(NODE, level, False, lambda: self._details(w, some, full)),)

    def _details(self, w: Window, some: float, full: float | None) -> Details:
        evidence = [
            Ev("some", some, "%", f"> {self.t['some_pct']:g} %", "pressure.memory.some_avg10_pct"),
            Ev("full", full, "%", f"> {self.t['full_pct']:g} %", "pressure.memory.full_avg10_pct"),
            Ev("available", w.num("memory.available_bytes"), "bytes", None, "memory.available_bytes"),
            Ev("faults", w.num("memory.major_faults_per_s"), "/s", None, "memory.major_faults_per_s"),
        ]
        facts = {"some": num(some), "full": num(full), "available": size(w.num("memory.available_bytes"))}
        return Details(evidence, facts, ["shrink", "largest"])


class SwapThrash(NodeRule):
    """More than 1,000 pages/s through swap for 30 s while tasks wait for memory (PSI full > 0; without PSI:
    more than 1,000 major faults/s). Used swap alone is harmless (Netdata swap, Prometheus major faults)."""

    id = "swap-thrash"
    problem = "oom"
    kind = "state"
    severities = "c"
    probes = ("memory",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "pages_per_s": 1000.0,
        "clear_per_s": 100.0,
        "faults_per_s": 1000.0,
        "hold_s": 30.0,
    }
    source = "Netdata 30min_ram_swapped_out; Prometheus HostMemoryUnderMemoryPressure"

    def judge(self, w: Window) -> Outcome:
        a, b = w.num("memory.swap_in_pages_per_s"), w.num("memory.swap_out_pages_per_s")
        if a is None or b is None:
            return Needs("series", "memory.swap_in_pages_per_s")
        pages = a + b
        if pages < self.t["clear_per_s"]:
            return ()
        full = w.num("pressure.memory.full_avg10_pct")
        faults = w.num("memory.major_faults_per_s") or 0.0
        waiting = faults > self.t["faults_per_s"] if full is None else full > 0
        level = CRITICAL if pages > self.t["pages_per_s"] and waiting else 0
        return (Reading(NODE, level, False, lambda: self._details(w, pages, full, faults)),)

    def _details(self, w: Window, pages: float, full: float | None, faults: float) -> Details:
        rate = pages * 4096
        evidence = [
            Ev("pages", pages, "pages/s", f"> {self.t['pages_per_s']:g}"),
            Ev("full", full, "%", "> 0 %", "pressure.memory.full_avg10_pct"),
            Ev("faults", faults, "/s", None, "memory.major_faults_per_s"),
            Ev("swap", w.num("memory.swap_used_bytes"), "bytes", None, "memory.swap_used_bytes"),
        ]
        top = w.largest(1)
        facts = {"rate": f"{size(rate)}/s", "swap": size(w.num("memory.swap_used_bytes")),
                 "top": f"{top[0].name} ({top[0].pid})" if top else "?"}  # fmt: skip
        return Details(evidence, facts, ["fit", "stop"])


RULES: tuple[type[Rule], ...] = (
    OomCuda, OomHostException, HostMemLeak, HostMemLow, ContainerMemNearLimit, ShmExhausted, PsiMemory,
    SwapThrash,
)  # fmt: skip
