"""How a worker died, and whom the kernel killed: problem 1 and run health. EVENT rules.

A SIGKILL has two authors. The kernel's own is proved by the cgroup's oom_kill count, by a record of the
kernel log with the worker's pid, or (where neither can be read) by the node's count; all else is a person's.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from dctop.engine.rules.base import (
    CRITICAL,
    NODE,
    Details,
    Ev,
    Item,
    NodeRule,
    Occurrence,
    Outcome,
    Prediction,
    Rule,
    num,
    size,
)
from dctop.engine.rules.window import ACTIVE, NS, RECENT_NS, Window
from dctop.probes.base import KernelEvent

if TYPE_CHECKING:
    from dctop.engine.training.runstate import RunEvent, RunState


HISTORY_NS = 24 * 3600 * NS
WAIT_NS = 3 * NS
"""The kernel's record may come later than the worker's death."""
NEAR_NS = 60 * NS
Age = Literal["fresh", "old", "gone"]


def age(w: Window, ended_wall_ns: int) -> Age:
    """Whether what ended then is news, history, or not worth a word."""
    before = w.first_wall_ns - ended_wall_ns
    return "fresh" if before <= RECENT_NS else "old" if before <= HISTORY_NS else "gone"


def end_of(run: RunState) -> RunEvent | None:
    return next((e for e in reversed(run.events) if e.kind == "end"), None)


def exit_code(run: RunState, end: RunEvent | None) -> int | None:
    code = run.exit_code if end is None else end.data.get("exit_code", end.data.get("returncode"))
    return code if isinstance(code, int) else run.exit_code


def whole(data: Mapping[str, Any], name: str) -> int | None:
    value = data.get(name)
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


class Kills:
    """Kernel records of the last minutes about processes killed for memory."""

    def __init__(self) -> None:
        self.recent: deque[KernelEvent] = deque(maxlen=200)

    def take(self, w: Window) -> list[KernelEvent]:
        """Those new at this tick, old ones (from before the start) included."""
        new = [e for e in w.events if e.kind == "oom-kill"]
        self.recent.extend(e for e in new if not e.fields.get("old"))
        return new

    def of(self, run: RunState, about_ns: int) -> KernelEvent | None:
        """The record of this run's process, within a minute of `about_ns`."""
        if run.pid is None:
            return None
        pid = str(run.pid)
        near = (e for e in self.recent if abs(e.wall_ns - about_ns) <= NEAR_NS)
        return next((e for e in near if e.fields.get("pid") == pid), None)


Verdict = Literal["oom", "killed", "wait", "other"]


def verdict(run: RunState, w: Window, kills: Kills) -> Verdict:
    """Who ended a run whose log has ended."""
    end = end_of(run)
    at = end.wall_ns if end is not None else run.ended_wall_ns or w.wall_ns
    code = exit_code(run, end)
    record = kills.of(run, at)
    if code not in (-9, 137):
        # Without a word of the supervisor: the kernel may have taken both.
        return "oom" if record is not None and end is None else "other"
    data = end.data if end is not None else {}
    inside, node = whole(data, "oom_kill_delta"), whole(data, "node_oom_kill_delta")
    if record is not None or inside or data.get("oom") in ("cgroup", "node"):
        return "oom"
    told = w.raw("kernel.records") is not None
    if (inside is None and node is None) or node:
        if told and 0 <= w.wall_ns - at < WAIT_NS:
            return "wait"
        # Without the kernel's log the node's count is the best proof there is.
        return "oom" if node and not told else "killed"
    return "killed"


class _DeathRule(NodeRule):
    """Looks at each run that has ended, once."""

    kind = "event"
    always = True
    severities = "c"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._kills = Kills()
        self._judged: set[str] = set()
        self._waiting = False
        """Of some run it is not known yet who ended it."""

    def stirred(self, w: Window) -> bool:
        return w.stir or self._waiting

    def _ended(self, w: Window) -> Iterator[tuple[RunState, Verdict, Age]]:
        self._waiting = False
        for run in w.runs:
            if run.status in ACTIVE or run.id in self._judged:
                continue
            found = verdict(run, w, self._kills)
            if found == "wait":
                self._waiting = True
                continue
            self._judged.add(run.id)
            old = age(w, run.ended_wall_ns or w.wall_ns)
            if old != "gone":
                yield run, found, old


class OomKilled(_DeathRule):
    """Return code -9 or 137 with the cgroup's oom_kill risen, or the kernel's own record
    (`oom-kill:constraint=...,task=...,pid=`): node_exporter HostOomKillDetected; verified with a real kill
    (rc 137, oom_kill 1, failcnt 67). For a process that is no run's: the kernel's record, or
    where it cannot be read the rise of /proc/vmstat oom_kill. Limit to set: 1.2 x what was used."""

    id = "oom-killed"
    problem = "oom"
    thresholds: ClassVar[Mapping[str, float]] = {"headroom": 1.2}
    source = "kernel mm/oom_kill.c, cgroup v1/v2 memory controller; node_exporter HostOomKillDetected"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._counter: float | None = None
        self._unexplained: deque[tuple[int, float]] = deque(maxlen=50)
        """(mono_ns, kills) the node's counter told of, while the kernel's log cannot be read."""

    def stirred(self, w: Window) -> bool:
        counted = bool(self._unexplained) or w.raw("memory.oom_kills") != self._counter
        return counted or super().stirred(w)

    def judge(self, w: Window) -> Outcome:
        out: list[Item] = []
        new = self._kills.take(w)
        pids = {str(r.pid): r for r in w.runs if r.pid is not None}
        for e in new:
            run = pids.get(e.fields.get("pid", ""))
            old = bool(e.fields.get("old"))
            if run is not None and not old and _still_its_pid(run, e):
                out.append(self._of_run(run, w, e, False))
            else:
                out.append(self._of_node(e, w, old))
        killed = 0
        for run, found, old_run in self._ended(w):
            if found == "oom":
                killed += 1
                end = end_of(run)
                record = self._kills.of(run, end.wall_ns if end else w.wall_ns)
                out.append(self._of_run(run, w, record, old_run == "old"))
        out += self._counted(w, killed)
        return out

    def _of_run(self, run: RunState, w: Window, record: KernelEvent | None, old: bool) -> Occurrence:
        end = end_of(run)
        data: Mapping[str, Any] = end.data if end is not None else {}
        limit, peak = whole(data, "cgroup_limit_bytes"), whole(data, "cgroup_peak_bytes")
        rss = run.last.get("rss_anon_bytes")
        constraint = "" if record is None else record.fields.get("constraint", "")
        memcg = limit is not None or "MEMCG" in constraint
        at = end.wall_ns if end is not None else record.wall_ns if record is not None else w.wall_ns
        evidence = [
            Ev("code", exit_code(run, end), "", "= -9"),
            Ev("kills", whole(data, "oom_kill_delta"), "", "> 0"),
            Ev("limit", limit, "bytes"),
            Ev("peak", peak, "bytes", None if limit is None else f"limit {size(limit)}"),
            Ev("failcnt", whole(data, "cgroup_failcnt")),
            Ev("rss", rss, "bytes"),
            Ev("constraint", constraint or None),
            Ev("step", run.step),
        ]
        remedies: list[str | tuple[str, Mapping[str, object]]] = []
        if memcg:
            used = max(x for x in (peak, limit, 0) if x is not None)
            wanted = self.t["headroom"] * used if used else None
            remedies.append(("limit", {"wanted": size(wanted), "limit": size(limit)}))
        else:
            remedies.append(("other", {"others": _names(w)}))
        remedies += ["batch", "workers"]
        facts = {"run": run.id, "limit": size(limit), "peak": size(peak), "step": num(run.step, 9),
                 "where": "memory cgroup" if memcg else "node"}  # fmt: skip
        ruled = ("person",) if whole(data, "oom_kill_delta") or record is not None else ()
        variant = None if limit is not None and peak is not None else "unlimited"
        survives = Prediction("survives", run.step or 0)
        details = Details(evidence, facts, remedies, ruled, "lost", variant, survives)
        return Occurrence(run.id, CRITICAL, ("run", run.id), at, details, run.step, old)

    def _of_node(self, e: KernelEvent, w: Window, old: bool) -> Occurrence:
        f = e.fields
        anon = _kilobytes(f.get("anon_rss"))
        evidence = [
            Ev("victim", f"{f.get('task', '?')} ({f.get('pid', '?')})"),
            Ev("constraint", f.get("constraint") or f.get("scope")),
            Ev("memcg", f.get("oom_memcg") or f.get("memcg")),
            Ev("rss", anon, "bytes"),
            Ev("available", w.num("memory.available_bytes"), "bytes", None, "memory.available_bytes"),
        ]
        limited = "MEMCG" in f.get("constraint", "") or "cgroup" in f.get("scope", "")
        remedies: list[str | tuple[str, Mapping[str, object]]] = (
            [("unknown-limit", {"wanted": size(self.t["headroom"] * anon)})]
            if limited and anon
            else [("other", {"others": _names(w)})]
        )
        where = "memory cgroup" if limited else "node"
        facts = {"run": f"{f.get('task', '?')} ({f.get('pid', '?')})", "limit": "?", "peak": size(anon),
                 "step": "?", "where": where}  # fmt: skip
        details = Details(evidence, facts, remedies, variant="victim")
        return Occurrence(NODE, CRITICAL, ("kmsg", e.seq, e.wall_ns), e.wall_ns, details, None, old)

    def _counted(self, w: Window, explained: int) -> Iterator[Occurrence]:
        """Kills only the node's counter tells of. They wait five seconds: a run's own word comes first."""
        count = w.raw("memory.oom_kills")
        before, self._counter = self._counter, count
        if w.raw("kernel.records") is not None or count is None:
            self._unexplained.clear()
            return
        if before is not None and count > before:
            self._unexplained.append((w.mono_ns, count - before))
        for _ in range(explained):
            if self._unexplained:
                at, n = self._unexplained.popleft()
                if n > 1:
                    self._unexplained.appendleft((at, n - 1))
        while self._unexplained and w.mono_ns - self._unexplained[0][0] >= 5 * NS:
            at, n = self._unexplained.popleft()
            facts = {"run": "?", "limit": "?", "peak": "?", "step": "?", "where": "node"}
            evidence = [
                Ev("kills", n, "", "> 0"),
                Ev("available", w.num("memory.available_bytes"), "bytes", None, "memory.available_bytes"),
            ]
            wall = w.wall_ns - (w.mono_ns - at)
            details = Details(evidence, facts, [("other", {"others": _names(w)})], variant="counter")
            yield Occurrence(NODE, CRITICAL, ("counter", at), wall, details)


class WorkerSigkilled(_DeathRule):
    """Return code -9 or 137 and no oom_kill anywhere: somebody (a person, a job scheduler, a container
    runtime) sent SIGKILL. Verified: `kill -9` leaves the cgroup's oom_kill as it was."""

    id = "worker-sigkilled"
    problem = "framework"
    source = "signal(7); cgroup oom_kill unchanged"

    def judge(self, w: Window) -> Outcome:
        self._kills.take(w)
        return [self._say(run, age) for run, found, age in self._ended(w) if found == "killed"]

    def _say(self, run: RunState, old: Age) -> Occurrence:
        end = end_of(run)
        data: Mapping[str, Any] = end.data if end is not None else {}
        inside, node = whole(data, "oom_kill_delta"), whole(data, "node_oom_kill_delta")
        evidence = [
            Ev("code", exit_code(run, end), "", "= -9"),
            Ev("kills", inside, "", "= 0"),
            Ev("node_kills", node),
            Ev("step", run.step),
        ]
        ruled = ("oom",) if inside == 0 else ()
        details = Details(
            evidence,
            {"run": run.id, "step": num(run.step, 9), "workload": run.workload},
            ["who", "resume"],
            ruled,
            "lost",
        )
        at = end.wall_ns if end is not None else run.ended_wall_ns or 0
        return Occurrence(run.id, CRITICAL, ("run", run.id), at, details, run.step, old == "old")


_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_STOPS = (-2, -15, -1)
"""SIGINT, SIGTERM, SIGHUP: somebody asked it to end."""


class WorkerCrashed(_DeathRule):
    """The worker ended by an exception, by a signal other than KILL, or without a word. -11 is a fault in
    native code, -7 (SIGBUS) mostly a full /dev/shm. A stop asked for is none (TraceML --capture-stderr)."""

    id = "worker-crashed"
    problem = "framework"
    source = "exit status, last 64 KiB of standard error; TraceML --capture-stderr"

    def judge(self, w: Window) -> Outcome:
        self._kills.take(w)
        out = []
        for run, found, old in self._ended(w):
            crashed = run.status in ("failed", "lost") or (
                run.status == "killed" and exit_code(run, end_of(run)) not in (*_STOPS, -9, 137)
            )
            if crashed or found == "oom":
                out.append(self._say(run, old))
        return out

    def _say(self, run: RunState, old: Age) -> Occurrence:
        end = end_of(run)
        data: Mapping[str, Any] = end.data if end is not None else {}
        error = next((e for e in reversed(run.events) if e.kind == "exception"), None)
        trace = "" if error is None else str(error.data.get("traceback") or "")
        at = where(trace)
        code = exit_code(run, end)
        said = error.text if error is not None else run.reason or str(data.get("stderr") or "")
        evidence = [
            Ev("code", code, "", "!= 0"),
            Ev("signal", data.get("signal") if isinstance(data.get("signal"), str) else None),
            Ev("said", said[:300] or None),
            Ev("where", at),
            Ev("stderr", str(data["stderr"])[:300] if data.get("stderr") else None),
            Ev("loss", run.last.get("loss")),
            Ev("step", run.step),
        ]
        if run.status == "lost":
            remedies: list[str | tuple[str, Mapping[str, object]]] = ["lost", "resume"]
        elif code in (-9, 137):
            remedies = ["resume"]
        elif code == -7:
            remedies = ["bus", "resume"]
        elif code is not None and code < 0:
            remedies = ["native", "resume"]
        else:
            remedies = [("read", {"where": at or "stdout.log"}), "resume"]
        facts = {
            "run": run.id,
            "said": said[:200] or "?",
            "step": num(run.step, 9),
            "code": "?" if code is None else code,
            "directory": run.directory,
            "workload": run.workload,
        }
        details = Details(evidence, facts, remedies, (), "lost")
        ended = end.wall_ns if end is not None else run.ended_wall_ns or 0
        return Occurrence(run.id, CRITICAL, ("run", run.id), ended, details, run.step, old == "old")


def where(trace: str) -> str | None:
    """`file:line` of the innermost frame of a traceback."""
    frames = _FRAME.findall(trace)
    return f"{frames[-1][0]}:{frames[-1][1]}" if frames else None


def _still_its_pid(run: RunState, e: KernelEvent) -> bool:
    """The pid was the run's at that time: since then it may be anybody's."""
    return run.ended_wall_ns is None or abs(run.ended_wall_ns - e.wall_ns) <= NEAR_NS


def _names(w: Window) -> str:
    return ", ".join(f"{p.name} {size(p.rss_bytes)}" for p in w.largest(3)) or "?"


def _kilobytes(text: str | None) -> int | None:
    digits = (text or "").removesuffix("kB").strip()
    return int(digits) * 1024 if digits.isdecimal() else None


RULES: tuple[type[Rule], ...] = (OomKilled, WorkerSigkilled, WorkerCrashed)
