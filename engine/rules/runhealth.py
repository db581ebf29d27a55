"""Run health: a run that stands still, a checkpoint that was not written, a loader that died."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from typing import ClassVar

from dctop.engine.rules.base import (
    CRITICAL,
    NOT_APPLICABLE,
    WARNING,
    Details,
    Ev,
    Item,
    Needs,
    Occurrence,
    Outcome,
    Reading,
    Rule,
    RunRule,
    num,
    size,
    span,
)
from dctop.engine.rules.deaths import age, whole
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import NS, quantile
from dctop.engine.training.runstate import RunEvent

Remedies = list[str | tuple[str, Mapping[str, object]]]
_STATES = {"R": "running", "S": "sleeping", "D": "disk", "T": "stopped", "t": "traced", "Z": "zombie"}


class TrainingStalled(RunRule):
    """No step for max(10 x p99 of the step time, 30 s), warning; 5 minutes, critical; in mode train, with the
    worker alive. Evaluation, checkpoint and a debugger (state t) are no stall; a worker stopped by a signal
    (state T) is one, and says so (SageMaker StalledTraining 1800 s; gcm D state 300 s). Where the worker's
    clock is more than 5 s behind or ahead of when its steps were seen to come, ours counts."""

    id = "training-stalled"
    problem = "framework"
    kind = "state"
    severities = "wc"
    every_tick = True
    thresholds: ClassVar[Mapping[str, float]] = {
        "times": 10.0,
        "least_s": 30.0,
        "crit_s": 300.0,
        "clock_s": 5.0,
        "hold_s": 0.0,
    }
    source = "SageMaker StalledTrainingRule; gcm process state checks"

    def judge(self, run: RunWindow) -> Outcome:
        state = run.run
        if state.status not in ("running", "stopping") or state.mode not in ("train", "warmup", None):
            return NOT_APPLICABLE
        if not run.count:
            return Needs("steps", "1")
        w = run.node
        last = max(int(run.last_wall_ns), max((e.wall_ns for e in state.events[-4:]), default=0))
        silence = (w.wall_ns - last) / NS
        if w.stepped_mono_ns is not None:
            # The wall clock was set: what is sure is how long nothing came since.
            silence = min(silence, (w.mono_ns - max(w.stepped_mono_ns, run.changed_mono_ns)) / NS)
        if run.moved_mono_ns is not None:
            since = (w.mono_ns - run.moved_mono_ns) / NS
            if silence < 0 or silence - since > self.t["clock_s"]:
                silence = since  # the worker's clock is another one, or was set: ours saw them come
        if silence < self.t["least_s"]:
            return ()
        process = w.process(state.pid)
        if process is not None and process.state in ("t", "Z"):
            return NOT_APPLICABLE
        if (
            process is None
            and state.pid is not None
            and w.has("process")
            and state.host == w.text("host.name")
        ):
            return NOT_APPLICABLE  # gone: its end is told by others
        p99 = quantile(run.train("step_s", 500), 0.99)
        limit = max(self.t["least_s"], self.t["times"] * (p99 or 0.0))
        if silence < limit:
            return ()
        level = CRITICAL if silence > max(self.t["crit_s"], limit) else WARNING
        letter = None if process is None else process.state
        return (
            Reading(
                run.id, level, False, lambda: self._details(run, silence, limit, p99, letter), step=run.step
            ),
        )

    def _details(
        self, run: RunWindow, silence: float, limit: float, p99: float | None, letter: str | None
    ) -> Details:
        w, pid = run.node, run.run.pid
        used = w.snap.process_cpu_pct.get(pid, 0.0) if pid is not None and letter is not None else None
        evidence = [
            Ev("silence", round(silence, 1), "s", f"> {limit:.3g} s"),
            Ev("p99", None if p99 is None else p99 * 1000, "ms"),
            Ev("state", letter),
            Ev("cpu", used, "%"),
            Ev("step", run.step),
            Ev("io", w.num("pressure.io.some_avg10_pct"), "%", None, "pressure.io.some_avg10_pct"),
        ]
        facts = {"run": run.id, "silence": span(silence), "step": num(run.step, 9), "pid": num(pid, 12),
                 "normal": span(p99)}  # fmt: skip
        if letter == "T":
            remedies: Remedies = ["continue"]
        elif letter == "D":
            remedies = ["storage", "stack"]
        elif used is not None and used > 50:
            remedies = ["spinning", "restart"]
        else:
            remedies = ["stack", "restart"]
        return Details(evidence, facts, remedies, (), "idle")


_PATH = re.compile(r"^(/[^:]+)")


class CheckpointFailed(RunRule):
    """A checkpoint could not be written (the event says why); or the last one is older than twice the
    interval. Free at least twice its size: it is written beside the old one, fsynced and renamed (OPT:
    partial uploads). A checkpoint refused because the loss is not finite is none."""

    id = "checkpoint-failed"
    problem = "storage"
    kind = "event"
    severities = "c"
    after_end = True
    thresholds: ClassVar[Mapping[str, float]] = {"intervals": 2.0}
    source = "OPT-175B chronicles; write to a temporary name, fsync, rename"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._late: dict[str, int] = {}

    def forget(self, run_id: str) -> None:
        self._late.pop(run_id, None)

    def judge(self, run: RunWindow) -> Outcome:
        out: list[Item] = []
        for e in run.new_events:
            if (
                e.kind == "checkpoint"
                and e.data.get("ok") is False
                and "not finite" not in str(e.data.get("error"))
            ):
                old = age(run.node, e.wall_ns) if not run.active else "fresh"
                if old != "gone":
                    details = self._details(run, e)
                    out.append(
                        Occurrence(
                            run.id, CRITICAL, (e.wall_ns, e.step), e.wall_ns, details, e.step, old == "old"
                        )
                    )
        late = self._too_old(run)
        if late is not None:
            out.append(late)
        return out

    def _too_old(self, run: RunWindow) -> Occurrence | None:
        every = run.config("checkpoint_every") or run.config("config", "checkpoint_every")
        if not isinstance(every, int) or every <= 0 or run.step is None or not run.active:
            return None
        tried = (e for e in reversed(run.run.events) if e.kind == "checkpoint" and e.step is not None)
        last = next(tried, None)
        if last is None or last.step is None:
            return None
        if run.step - last.step <= self.t["intervals"] * every or self._late.get(run.id) == last.step:
            return None
        self._late[run.id] = last.step
        return Occurrence(
            run.id, CRITICAL, ("late", last.step), run.node.wall_ns, self._details(run, last, every), run.step
        )

    def _details(self, run: RunWindow, e: RunEvent, every: int | None = None) -> Details:
        w = run.node
        error = str(e.data.get("error") or e.text)
        path = e.data.get("directory") or e.data.get("path")
        found = _PATH.match(error)
        place = path if isinstance(path, str) else found[1] if found else run.run.directory
        mount = w.mount_of(place)
        free = None if mount is None else w.num(f"fs.avail_bytes{{mount={mount}}}")
        saved = [x for x in run.events("checkpoint") if x.data.get("ok") and whole(x.data, "bytes")]
        need = whole(saved[-1].data, "bytes") if saved else None
        code = whole(e.data, "errno")
        evidence = [
            Ev("error", error[:300] if every is None else None),
            Ev("errno", errno.errorcode.get(code, str(code)) if code is not None else None),
            Ev("age", None if every is None or run.step is None else run.step - (e.step or 0), "steps",
               None if every is None else f"> {self.t['intervals'] * every:g}"),
            Ev("path", place),
            Ev("free", free, "bytes", None if need is None else f">= {size(2 * need)}"),
            Ev("size", need, "bytes"),
            Ev("last_good", saved[-1].step if saved else None),
        ]  # fmt: skip
        facts: dict[str, object] = {
            "run": run.id,
            "step": num(e.step, 9),
            "path": place,
            "need": size(None if need is None else 2 * need),
            "free": size(free),
            "error": error[:160],
            "last": num(saved[-1].step if saved else None, 9),
            "pid": num(run.run.pid, 12),
        }
        if mount is not None and code in (errno.ENOSPC, errno.EDQUOT):
            facts["mount"] = mount
        remedies: Remedies = ["space"] if code in (errno.ENOSPC, errno.EDQUOT) or every else ["place"]
        if code == errno.EROFS:
            remedies = ["readonly"]
        variant = None if every is None else "late"
        cost = "behind" if saved else None
        return Details(evidence, facts, [*remedies, "now"], (), cost, variant)


class LoaderWorkerDied(RunRule):
    """`DataLoader worker (pid(s) ...) exited unexpectedly` or `killed by signal` in the worker's exception.
    Verified: SIGKILL and _exit both say `exited unexpectedly` within 0.3 s."""

    id = "loader-worker-died"
    problem = "framework"
    kind = "event"
    severities = "c"
    after_end = True
    of_events = True
    source = "torch/utils/data/_utils/signal_handling.py; verified"

    def judge(self, run: RunWindow) -> Outcome:
        out: list[Item] = []
        for e in run.new_events:
            died = "DataLoader worker" in e.text and (
                "exited unexpectedly" in e.text or "killed by signal" in e.text
            )
            if e.kind == "exception" and (died or e.data.get("kind") == "loader-died"):
                old = age(run.node, e.wall_ns) if not run.active else "fresh"
                if old != "gone":
                    details = self._details(run, e)
                    out.append(
                        Occurrence(run.id, CRITICAL, e.wall_ns, e.wall_ns, details, e.step, old == "old")
                    )
        return out

    def _details(self, run: RunWindow, e: RunEvent) -> Details:
        bus = "Bus error" in e.text
        workers = run.workers
        evidence = [
            Ev("said", e.text[:300]),
            Ev("workers", workers),
            Ev("shm", run.node.num("memory.shm_used_pct"), "%", None, "memory.shm_used_pct"),
            Ev("kills", run.node.raw("container.oom_kills")),
            Ev("step", e.step),
        ]
        facts = {"run": run.id, "step": num(e.step, 9), "workers": num(workers, 9),
                 "fewer": max(0, (workers or 1) - 1)}  # fmt: skip
        remedies: Remedies = ["shm", "inline"] if bus else ["fewer", "inline"]
        return Details(evidence, facts, remedies)


class RunLogBlocked(RunRule):
    """The worker could not append to its run log (a full disk): steps wait in its memory, the training goes
    on. Clears when it says `space again`."""

    id = "run-log-blocked"
    subject = "any"
    problem = "storage"
    kind = "state"
    severities = "c"
    of_events = True
    thresholds: ClassVar[Mapping[str, float]] = {"hold_s": 0.0}
    source = "docs/RUNLOG.md"

    def judge(self, run: RunWindow) -> Outcome:
        for e in reversed(run.run.events):
            if e.kind != "note" or not e.text.startswith("run log:"):
                continue
            if e.data.get("error"):
                return (Reading(run.id, CRITICAL, False, lambda e=e: self._details(run, e), step=run.step),)  # type: ignore[misc]
            return ()
        return ()

    def _details(self, run: RunWindow, e: RunEvent) -> Details:
        w = run.node
        mount = w.mount_of(run.run.directory)
        free = None if mount is None else w.num(f"fs.avail_bytes{{mount={mount}}}")
        evidence = [
            Ev("said", e.text[:200]),
            Ev("free", free, "bytes", None, None if mount is None else f"fs.avail_bytes{{mount={mount}}}"),
            Ev("directory", run.run.directory),
        ]
        facts: dict[str, object] = {"run": run.id, "directory": run.run.directory, "free": size(free)}
        if mount is not None and e.data.get("error") == "disk-full":
            facts["mount"] = mount
        return Details(evidence, facts, ["space"])


RULES: tuple[type[Rule], ...] = (TrainingStalled, CheckpointFailed, LoaderWorkerDied, RunLogBlocked)
