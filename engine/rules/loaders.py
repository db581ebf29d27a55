"""Run health and problem 2: loaders that hang or meet a bad sample, steps that jitter, storage that
starves."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_right
from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from dctop.engine.rules.base import (
    CRITICAL,
    INFO,
    WARNING,
    Details,
    Ev,
    Item,
    Needs,
    Occurrence,
    Outcome,
    Prediction,
    Reading,
    Rule,
    RunRule,
    num,
    size,
)
from dctop.engine.rules.deaths import age, where
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import disk_key, mad, median, quantile
from dctop.engine.training.runstate import RunEvent

_TIMED_OUT = re.compile(r"DataLoader timed out after ([0-9.]+) seconds")
_CAUGHT = re.compile(r"Caught (\w+) in DataLoader worker process (\d+)")
_READING = re.compile(r'File "[^"\n]*(?:/utils/data/_utils/fetch\.py", line \d+, in fetch'
                      r'|/engine/training/wbatches\.py", line \d+, in __getitem__)\n')  # fmt: skip
"""Frames of the reading of samples in the training process: of PyTorch's loader, and of our own worker."""


class _Said(RunRule):
    """Looks for a text in what a worker's exception says."""

    problem = "framework"
    kind = "event"
    severities = "c"
    after_end = True
    of_events = True
    pattern: ClassVar[re.Pattern[str]]

    def judge(self, run: RunWindow) -> Outcome:
        out: list[Item] = []
        for e in run.new_events:
            details = self.said(run, e) if e.kind == "exception" else None
            if details is None:
                continue
            old = age(run.node, e.wall_ns) if not run.active else "fresh"
            if old != "gone":
                out.append(Occurrence(run.id, CRITICAL, e.wall_ns, e.wall_ns, details, e.step, old == "old"))
        return out

    def said(self, run: RunWindow, e: RunEvent) -> Details | None:
        """What an exception says of this; None: nothing."""
        found = self.pattern.search(e.text)
        return None if found is None else self.details(run, e, found)

    def details(self, run: RunWindow, e: RunEvent, found: re.Match[str]) -> Details:
        raise NotImplementedError


class LoaderHang(_Said):
    """`DataLoader timed out after N seconds` in the worker's exception. A loader without a time-out that
    hangs is told by training-stalled, whose last phase is then `data`."""

    id = "loader-hang"
    pattern = _TIMED_OUT
    source = "torch/utils/data/dataloader.py; verified"

    def details(self, run: RunWindow, e: RunEvent, found: re.Match[str]) -> Details:
        usual = run.median("data_s", 50, 1)
        evidence = [
            Ev("waited", float(found[1]), "s"),
            Ev("usual", None if usual is None else usual * 1000, "ms"),
            Ev("workers", run.workers),
            Ev("step", e.step),
        ]
        facts = {"run": run.id, "waited": found[1], "workers": num(run.workers, 9), "step": num(e.step, 9)}
        return Details(evidence, facts, ["inline", "locks", "timeout"])


class BadSample(_Said):
    """`Caught X in DataLoader worker process k`: a sample could not be read or transformed. Verified. Without
    loader processes nothing is wrapped: there the traceback tells it, which goes through the reading of the
    batch (`fetch` of PyTorch's loader, `__getitem__` of our own). Not where what was raised has a kind of its
    own (memory, a dead loader)."""

    id = "bad-sample"
    pattern = _CAUGHT
    source = "torch/_utils.py ExceptionWrapper, torch/utils/data/_utils/fetch.py; verified"

    def said(self, run: RunWindow, e: RunEvent) -> Details | None:
        details = super().said(run, e)
        trace = e.data.get("traceback")
        if details is not None or e.data.get("kind") or not isinstance(trace, str):
            return details
        return self._inline(run, e, trace) if _READING.search(trace) else None

    def _inline(self, run: RunWindow, e: RunEvent, trace: str) -> Details:
        """Raised in the training process."""
        last = _last_line(e)
        name = e.data.get("class")
        error = name if isinstance(name, str) and name else last.partition(":")[0]
        last, at = last.removeprefix(f"{error}: "), where(trace)
        evidence = [Ev("error", error), Ev("said", last), Ev("where", at), Ev("step", e.step),
                    Ev("workers", run.workers)]  # fmt: skip
        facts = {"run": run.id, "error": error, "said": last, "process": "?", "step": num(e.step, 9),
                 "where": at or "stdout.log"}  # fmt: skip
        return Details(evidence, facts, ["read", "skip", "validate"], variant="inline")

    def details(self, run: RunWindow, e: RunEvent, found: re.Match[str]) -> Details:
        last = _last_line(e)
        evidence = [
            Ev("error", found[1]),
            Ev("said", last),
            Ev("process", int(found[2])),
            Ev("step", e.step),
            Ev("workers", run.workers),
        ]
        facts = {"run": run.id, "error": found[1], "said": last, "process": found[2], "step": num(e.step, 9)}
        return Details(evidence, facts, ["inline", "skip", "validate"])


def _last_line(e: RunEvent) -> str:
    """What was raised, without the traceback of a loader process above it."""
    text = e.text.strip()
    return text.splitlines()[-1][:200] if text else "?"


class StepJitter(RunRule):
    """p99 / p50 of the step time over 300 steps above 3, or more than 5 % of the steps beyond the median +
    6 MAD and 5 ms above it. A note: most is periodic (checkpoint, logging, garbage collection); the period
    is told."""

    id = "step-jitter"
    problem = "framework"
    kind = "state"
    severities = "i"
    in_training = True
    thresholds: ClassVar[Mapping[str, float]] = {
        "ratio": 3.0, "share": 0.05, "mads": 6.0, "least_s": 0.005, "steps": 300.0,
        "every_steps": 20.0, "hold_s": 30.0,
    }  # fmt: skip
    source = "SageMaker StepOutlier; median and MAD for its mean and sigma"

    def judge(self, run: RunWindow) -> Outcome:
        n = int(self.t["steps"])
        times = run.train("step_s", n)
        if len(times) < n:
            return Needs("steps", str(n))
        least, worst = min(times), max(times)
        if worst < 0.8 * self.t["ratio"] * least and worst - least <= self.t["least_s"]:
            return ()  # steady
        ordered = sorted(times)
        middle, high = median(ordered) or 0.0, quantile(ordered, 0.99) or 0.0
        ratio = high / middle if middle > 0 else 0.0
        most = n - bisect_right(ordered, middle + self.t["least_s"])  # those by MAD are no more
        if ratio < 0.8 * self.t["ratio"] and most / n < 0.5 * self.t["share"]:
            return ()
        limit = middle + max(self.t["least_s"], self.t["mads"] * (mad(times, middle) or 0.0))
        slow = [i for i, t in enumerate(times) if t > limit]
        share = len(slow) / n
        if ratio < 0.8 * self.t["ratio"] and share < 0.5 * self.t["share"]:
            return ()
        wide = ratio > self.t["ratio"] and high - middle > self.t["least_s"]
        level = INFO if wide or share > self.t["share"] else 0
        details = partial(self._details, run, times, slow, middle, high)
        return (Reading(run.id, level, False, details, step=run.step),)

    def _details(
        self, run: RunWindow, times: list[float], slow: list[int], middle: float, high: float
    ) -> Details:
        gaps = [b - a for a, b in itertools.pairwise(slow)]
        period = median(gaps) if len(gaps) >= 3 else None
        regular = period is not None and (mad(gaps, period) or 0.0) <= 0.2 * period
        lost = sum(times[i] - middle for i in slow)
        evidence = [
            Ev("p50", middle * 1000, "ms"),
            Ev("p99", high * 1000, "ms", f"> {self.t['ratio']:g} x p50"),
            Ev("slow", round(100 * len(slow) / len(times), 1), "%", f"> {100 * self.t['share']:g} %"),
            Ev("worst", max(times) * 1000, "ms"),
            Ev("period", None if not regular or period is None else round(period), "steps"),
        ]
        facts = {"run": run.id, "ratio": num(high / middle, 2), "n": len(slow), "of": len(times),
                 "period": num(period, 9), "lost": num(100 * lost / sum(times), 2)}  # fmt: skip
        variant = "periodic" if regular else None
        return Details(evidence, facts, ["periodic" if regular else "look"], (), "lost", variant)


class DiskBound(RunRule):
    """A run waits for data at least 10 % of its steps while tasks wait for I/O more than 20 % of the time,
    or a disk is busy more than 80 %: the storage is why. Remedy: N bytes in memory if they fit."""

    id = "disk-bound"
    problem = "utilisation"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "share": 0.10, "clear_share": 0.07, "psi_pct": 20.0, "util_pct": 80.0, "least_s": 0.001,
        "steps": 50.0, "hold_s": 60.0,
    }  # fmt: skip
    every_tick = True
    in_training = True
    source = "kernel psi.rst; Prometheus disk utilisation 0.8; SageMaker IOBottleneck"

    def judge(self, run: RunWindow) -> Outcome:
        n = int(self.t["steps"])
        step, data = run.median("step_s", n), run.median("data_s", n)
        if step is None or data is None or step <= 0:
            return Needs("steps", str(n))
        w = run.node
        psi, disks = w.num("pressure.io.some_avg10_pct"), w.labels("disk.util_pct")
        if psi is None and not disks:
            return Needs("series", "pressure.io.some_avg10_pct")
        if data / step < self.t["clear_share"] or data < 0.7 * self.t["least_s"]:
            return ()
        busy = [(w.num(disk_key("disk.util_pct", d)) or 0.0, d) for d in disks]
        util: float | None
        util, disk = max(busy) if busy else (None, "?")
        waits = (psi or 0.0) > self.t["psi_pct"] or (util or 0.0) > self.t["util_pct"]
        starved = data / step >= self.t["share"] and data > self.t["least_s"]
        level = WARNING if waits and starved else 0
        quiet = (psi or 0.0) < 0.5 * self.t["psi_pct"] and (util or 0.0) < 0.9 * self.t["util_pct"]
        details = partial(self._details, run, step, data, psi, util, disk)
        return (Reading(run.id, level, quiet, details, step=run.step),)

    def _details(
        self, run: RunWindow, step: float, data: float, psi: float | None, util: float | None, disk: str
    ) -> Details:
        w = run.node
        key = disk_key("disk.util_pct", disk)
        read = disk_key("disk.read_bytes_per_s", disk)
        await_ms = disk_key("disk.await_ms", disk)
        evidence = [
            Ev("share", round(100 * data / step, 2), "%", f">= {100 * self.t['share']:g} %"),
            Ev("psi", psi, "%", f"> {self.t['psi_pct']:g} %", "pressure.io.some_avg10_pct"),
            Ev("util", util, "%", f"> {self.t['util_pct']:g} %", key),
            Ev("read", w.num(read), "bytes/s", None, read),
            Ev("await", w.num(await_ms), "ms", None, await_ms),
        ]
        facts = {"run": run.id, "share": num(100 * data / step), "disk": disk, "psi": num(psi),
                 "available": size(w.num("memory.available_bytes")), "read": size(w.num(read)),
                 "before": num(step * 1000), "after": num((step - data) * 1000)}  # fmt: skip
        predicts = Prediction("step_s", step - data)
        return Details(evidence, facts, ["cache", "local", "shard"], predicts=predicts)


RULES: tuple[type[Rule], ...] = (LoaderHang, BadSample, StepJitter, DiskBound)
