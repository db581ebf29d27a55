"""How well a run uses its GPUs, as rules read it: shares of its steps, and what the devices say."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

from dctop.engine.rules import gpu_devices as d
from dctop.engine.rules.base import NOT_APPLICABLE, Needs, Outcome, Reading, RunRule
from dctop.engine.rules.gpu_devices import gpu_key
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import median

Remedies = list[str | tuple[str, Mapping[str, object]]]
UNKNOWN = -1
N = 50
SYNCS = 5
"""Timed steps the time of blocking calls is a median of: one in twenty is timed."""
LEAST_S = 20.0
"""A mean over less than this since training began (or went on after an evaluation) is not judged."""


class GpuRunRule(RunRule):
    """Looks at a run in training on a GPU. With `gpu` among its probes it reads the devices, and abstains
    where they cannot be told."""

    problem = "utilisation"
    kind = "state"
    in_training = True

    def judge(self, run: RunWindow) -> Outcome:
        if run.on_cpu:
            return NOT_APPLICABLE
        if self.probes and not run.gpus():
            missing = d.missing(run.node, "gpu.util_pct")
            return Needs("series", "gpu.util_pct") if missing in (None, NOT_APPLICABLE) else missing
        return self.look(run)

    @abstractmethod
    def look(self, run: RunWindow) -> Outcome:
        """Judge a run whose GPUs are known."""


def not_told(run: RunWindow) -> Outcome:
    """The devices did not say enough: what holds neither goes on nor ends."""
    return (Reading(run.id, UNKNOWN, False),)


def ahead(run: RunWindow) -> float | None:
    """Share of the last 50 steps at whose end the device waited for the host, 0-1."""
    values = run.train("gpu_ahead", N)
    return sum(values) / len(values) if len(values) >= N else None


def blocked(run: RunWindow) -> float | None:
    """Share of a step in which the host is blocked in a call that waits for the device."""
    values, step = run.train("sync_s", SYNCS), run.median("step_s", N)
    return None if len(values) < SYNCS or not step else (median(values) or 0.0) / step


def copying(run: RunWindow) -> float | None:
    """Share of a step that the device copies and prepares inputs, by its own clock: what an asynchronous copy
    takes of the host says nothing."""
    return run.share("h2d_gpu_s", "gpu_s", N)


def busy(run: RunWindow, gpu: str, seconds: float = 60.0) -> float | None:
    """Mean share of busy SMs; where the device does not tell that, of the time in which any kernel ran."""
    active = run.node.mean(gpu_key("gpu.sm_active_pct", gpu), seconds)
    return run.node.mean(gpu_key("gpu.util_pct", gpu), seconds) if active is None else active


def busy_of(run: RunWindow) -> float | None:
    """The mean over its GPUs, %; None while it has not trained for long enough, or a GPU cannot be read."""
    seconds = min(60.0, run.mode_s())
    if seconds < LEAST_S:
        return None
    values = [busy(run, g, seconds) for g in run.gpus()]
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def bigger(batch: int | None, used_pct: float | None) -> int | None:
    """The batch, in doublings, at which the device would be busy for most of a step of today's length."""
    if not batch or used_pct is None:
        return None
    n = batch
    while used_pct * 2 * n / batch <= 100.0 and n < 16 * batch:
        n *= 2
    return n if n > batch else None
