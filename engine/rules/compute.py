"""The CPU: contended, throttled, saturated, stolen. Problem 2 and the resource compute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from dctop.engine.rules.base import (
    CRITICAL,
    INFO,
    NODE,
    NOT_APPLICABLE,
    WARNING,
    Details,
    Ev,
    Needs,
    NodeRule,
    Outcome,
    Reading,
    Rule,
    RunRule,
    num,
)
from dctop.engine.rules.window import Trail, Window

if TYPE_CHECKING:
    from dctop.engine.rules.runwindow import RunWindow


_TICKS = ("user", "system", "idle", "iowait", "irq", "steal")
_KEYS = tuple(f"cpu.{n}_ticks" for n in _TICKS)


class CpuContended(RunRule):
    """The training thread got less CPU than it asked for: thread CPU / wall of a step's compute phases < 0.80
    (of requests: after queue and preprocessing) while PSI cpu some avg10 > 20 %, for 30 s; clear above 0.90
    or below 10 %. Waiting for I/O lowers CPU/wall too, hence the pressure; waiting for other ranks is taken
    off. On CUDA the thread waits for the device by design: not judged. Verified: 40 ms CPU in 64 ms wall
    under four busy loops; none of the tools studied has this rule."""

    id = "cpu-contended"
    subject = "any"
    problem = "utilisation"
    kind = "state"
    severities = "w"
    every_tick = True
    probes = ("pressure",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "ratio": 0.80,
        "clear_ratio": 0.90,
        "psi_pct": 20.0,
        "clear_psi_pct": 10.0,
        "steps": 50.0,
        "requests": 1000.0,
        "hold_s": 30.0,
    }
    source = "verified: thread CPU / wall and PSI under busy neighbours"

    def judge(self, run: RunWindow) -> Outcome:
        if not (run.training or run.measuring) or not run.on_cpu:
            return NOT_APPLICABLE
        psi = run.node.num("pressure.cpu.some_avg10_pct")
        if psi is None:
            return Needs("series", "pressure.cpu.some_avg10_pct")
        n = int(self.t["steps"])
        step, cpu, data = (run.median(f, n) for f in ("step_s", "cpu_s", "data_s"))
        if run.measuring:
            # Requests take milliseconds: what matters is the time as a whole, with those that wait.
            step, cpu, data = self._requests(run, int(self.t["requests"]))
        if step is None or cpu is None:
            return Needs("steps", str(n))
        from dctop.engine.rules.ranks import waiting  # a node without runs does without

        compute = step - (data or 0.0) - waiting(run.run.ranks)
        if compute <= 0:
            return Needs("field", "data_s")
        # The thread's CPU time of the data phase is not told apart: it can only raise the ratio.
        ratio = min(1.0, cpu / compute)
        if ratio > self.t["clear_ratio"] or psi < self.t["clear_psi_pct"]:
            return ()
        level = WARNING if ratio < self.t["ratio"] and psi > self.t["psi_pct"] else 0
        return (Reading(run.id, level, False, lambda: self._details(run, ratio, psi, step), step=run.step),)

    def _requests(self, run: RunWindow, n: int) -> tuple[float | None, float | None, float | None]:
        """Means of the newest requests: service time, thread CPU after preprocessing, preprocessing."""
        found = [(r, share) for r in run.measured.requests(n) if (share := r.cpu_share) is not None]
        if len(found) < min(n, 200):
            return None, None, None
        count = len(found)
        step = sum(r.whole - r.queue for r, _ in found) / count
        pre = sum(r.pre for r, _ in found) / count
        return step, sum((r.whole - r.queue - r.pre) * share for r, share in found) / count, pre

    def _details(self, run: RunWindow, ratio: float, psi: float, step: float) -> Details:
        w = run.node
        own = w.tree([run.run.pid]) if run.run.pid is not None else set()
        top = w.busiest(3, own)
        others = sum(pct for _, pct in top)
        evidence = [
            Ev("ratio", round(ratio, 3), "", f"< {self.t['ratio']:g}"),
            Ev("psi", psi, "%", f"> {self.t['psi_pct']:g} %", "pressure.cpu.some_avg10_pct"),
            Ev("step", step * 1000, "ms"),
            Ev("util", w.num("cpu.util_pct"), "%", None, "cpu.util_pct"),
            Ev("others", ", ".join(f"{p.name} ({p.pid}) {pct:.0f} %" for p, pct in top) or None),
        ]
        remedies: list[str | tuple[str, Mapping[str, object]]] = []
        if top and others > 20:
            p, pct = top[0]
            remedies.append(("stop", {"name": p.name, "pid": p.pid, "pct": f"{pct:.0f}"}))
        remedies += ["threads", "pin"]
        facts = {"run": run.id, "ratio": f"{100 * ratio:.0f}", "psi": num(psi), "gain": num(1 / ratio),
                 "cores": num(w.num("cpu.count"), 9)}  # fmt: skip
        return Details(evidence, facts, remedies)


class CpuThrottledCgroup(NodeRule):
    """The CPU quota of the own control group ran out in more than 25 % of its periods over 60 s, and tasks
    were held back for at least 5 % of the time (short bursts hurt nobody); clear below 5 % of periods. Quota
    to ask for: 1.2 x demand, demand = used + held back (cgroup v2 cpu.stat, v1 throttled_time in ns).
    Verified: 31 of 31 periods at a quota of 20 %."""

    id = "cpu-throttled-cgroup"
    problem = "utilisation"
    kind = "state"
    severities = "w"
    probes = ("container",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "periods_pct": 25.0,
        "clear_pct": 5.0,
        "time_pct": 5.0,
        "window_s": 60.0,
        "headroom": 1.2,
        "hold_s": 0.0,
    }
    source = "kernel Documentation/scheduler/sched-bwc.rst; verified at a quota of 20 %"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._trail = Trail(self.t["window_s"], self.t["window_s"] / 12)

    def judge(self, w: Window) -> Outcome:
        if w.num("container.cpu_quota_cores") is None:
            return NOT_APPLICABLE
        names = ("cpu_periods", "cpu_throttled_periods", "cpu_throttled_us", "cpu_usage_us")
        now = [w.raw(f"container.{n}") for n in names]
        if now[0] is None or now[1] is None:
            return Needs("series", "container.cpu_periods")
        past = self._trail.delta(w.mono_ns, *now)
        self._trail.push(w.mono_ns, *now)
        if past is None or past[0] < 0.9 * self.t["window_s"]:
            return Needs("history", f"{self.t['window_s']:g} s")
        seconds, (periods, throttled, held_us, used_us) = past
        if not periods or throttled is None:
            return ()
        share = 100.0 * throttled / periods
        if share < self.t["clear_pct"]:
            return ()
        held = None if held_us is None else held_us / 1e6 / seconds
        hurts = held is None or 100.0 * held >= self.t["time_pct"]
        level = WARNING if share > self.t["periods_pct"] and hurts else 0
        used = None if used_us is None else used_us / 1e6 / seconds
        return (Reading(NODE, level, False, lambda: self._details(w, share, held, used)),)

    def _details(self, w: Window, share: float, held: float | None, used: float | None) -> Details:
        quota = w.num("container.cpu_quota_cores")
        cores = w.num("cpu.count") or 1.0
        demand = None if used is None else used + min(held or 0.0, cores)
        evidence = [
            Ev(
                "share", round(share, 2), "%", f"> {self.t['periods_pct']:g} %", "container.cpu_throttled_pct"
            ),
            Ev("quota", quota, "cores"),
            Ev("used", used, "cores", None, "container.cpu_cores"),
            Ev(
                "held", None if held is None else held * 60, "s/min", f">= {self.t['time_pct'] * 0.6:g} s/min"
            ),
            Ev("demand", demand, "cores"),
        ]
        wanted = None if demand is None else demand * self.t["headroom"]
        facts = {
            "share": num(share),
            "quota": num(quota),
            "wanted": num(wanted),
            "threads": max(1, int(quota or 1)),
            "held": num(None if held is None else held * 60),
        }
        return Details(evidence, facts, ["quota", "threads"])


class _CpuShare(NodeRule):
    """A share of all CPU time over minutes, exactly, from the tick counters."""

    kind = "state"
    problem = "compute"
    probes = ("cpu",)

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._trail = Trail(self.t["window_s"], self.t["window_s"] / 40)

    def share(self, w: Window) -> dict[str, float] | Needs:
        """Percent of all CPU time a kind, over the window."""
        now = [w.raw(k) for k in _KEYS]
        if None in now:
            return Needs("series", "cpu.idle_ticks")
        past = self._trail.delta(w.mono_ns, *now)
        self._trail.push(w.mono_ns, *now)
        if past is None or past[0] < 0.95 * self.t["window_s"]:
            return Needs("history", f"{self.t['window_s'] / 60:g} min")
        # iowait may go backwards on some kernels: that field counts as no time.
        parts = {n: d or 0.0 for n, d in zip(_TICKS, past[1], strict=True)}
        total = sum(parts.values())
        if total <= 0:
            return Needs("history", f"{self.t['window_s'] / 60:g} min")
        return {n: 100.0 * d / total for n, d in parts.items()}


class CpuSaturated(_CpuShare):
    """CPU busy (not idle, not waiting for I/O) over 10 minutes: > 85 % warning (clear 75), > 95 % critical
    (Netdata 10min_cpu_usage). Training on the CPU is meant to use all of it: only a note while a run has
    at least half of what is used."""

    id = "cpu-saturated"
    severities = "iwc"
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn_pct": 85.0,
        "crit_pct": 95.0,
        "clear_pct": 75.0,
        "own_pct": 50.0,
        "window_s": 600.0,
        "every_s": 5.0,
        "hold_s": 0.0,
    }
    source = "Netdata 10min_cpu_usage"

    def judge(self, w: Window) -> Outcome:
        parts = self.share(w)
        if isinstance(parts, Needs):
            return parts
        busy = 100.0 - parts["idle"] - parts["iowait"]
        if busy < self.t["clear_pct"]:
            return ()
        level = CRITICAL if busy > self.t["crit_pct"] else WARNING if busy > self.t["warn_pct"] else 0
        own = self._own(w) if level else 0.0
        if level and own >= self.t["own_pct"]:
            level = INFO
        return (Reading(NODE, level, False, lambda: self._details(w, busy, own)),)

    def _own(self, w: Window) -> float:
        """Percent of the CPU time in use now that belongs to training runs."""
        used = w.snap.process_cpu_pct
        total = sum(used.values())
        pids = w.run_pids()
        return 100.0 * sum(used.get(p, 0.0) for p in pids) / total if total and pids else 0.0

    def _details(self, w: Window, busy: float, own: float) -> Details:
        top = w.busiest(3)
        evidence = [
            Ev("busy", round(busy, 2), "%", f"> {self.t['warn_pct']:g} %", "cpu.util_pct"),
            Ev("own", round(own, 1), "%", f"< {self.t['own_pct']:g} %"),
            Ev("load", w.num("cpu.load5"), "tasks", None, "cpu.load5"),
            Ev("cores", w.num("cpu.count")),
            Ev("top", ", ".join(f"{p.name} ({p.pid}) {pct:.0f} %" for p, pct in top) or None),
        ]
        facts = {"busy": num(busy), "own": f"{own:.0f}", "cores": num(w.num("cpu.count"), 9),
                 "top": f"{top[0][0].name} ({top[0][0].pid})" if top else "?"}  # fmt: skip
        return Details(evidence, facts, ["meant"] if own >= self.t["own_pct"] else ["stop", "workers"])


class CpuSteal(_CpuShare):
    """CPU time the hypervisor gave to other guests over 20 minutes > 10 %, clear below 5 % (Netdata
    20min_steal_cpu, Prometheus HostCpuStealNoisyNeighbor)."""

    id = "cpu-steal"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn_pct": 10.0,
        "clear_pct": 5.0,
        "window_s": 1200.0,
        "every_s": 5.0,
        "hold_s": 0.0,
    }
    source = "Netdata 20min_steal_cpu; Prometheus HostCpuStealNoisyNeighbor"

    def judge(self, w: Window) -> Outcome:
        parts = self.share(w)
        if isinstance(parts, Needs):
            return parts
        steal = parts["steal"]
        if steal < self.t["clear_pct"]:
            return ()
        level = WARNING if steal > self.t["warn_pct"] else 0
        return (Reading(NODE, level, False, lambda: self._details(w, steal)),)

    def _details(self, w: Window, steal: float) -> Details:
        evidence = [
            Ev("steal", round(steal, 2), "%", f"> {self.t['warn_pct']:g} %", "cpu.steal_pct"),
            Ev("util", w.num("cpu.util_pct"), "%", None, "cpu.util_pct"),
        ]
        facts = {"steal": num(steal), "gain": num(100.0 / max(1.0, 100.0 - steal))}
        return Details(evidence, facts, ["move"])


RULES: tuple[type[Rule], ...] = (CpuContended, CpuThrottledCgroup, CpuSaturated, CpuSteal)
