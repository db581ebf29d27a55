"""Remedies that act: what the successor of a run is to be given, computed from the alert and the run's own
log.

Pure: nothing is stopped or started here (`engine/training/successor.py` does). What no option of a run can do
(free a disk, ask who sent a signal) stays a sentence and a command to copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dctop.engine.rules.alert import Alert, Remedy
from dctop.engine.rules.base import size
from dctop.engine.rules.projection import steps_needed
from dctop.engine.rules.turning import turning
from dctop.engine.rules.window import ACTIVE, finite, median, quantile
from dctop.engine.training.runstate import RunState

FILL = 0.80
"""Share of a host's limit the worker's anonymous memory may fill. RULES finding 11 has 0.90; measured in a
cgroup of 700 MiB, 0.90 (872 of a batch of 2,048) was killed at step 15: the allocator's peak grows for some
hundred batches (598 MiB after 12, 673 after 30), and supervisor and page cache are charged to the same
limit."""
RESERVE = 1.2
"""Loader processes beyond the least that keep up (Lightning's worker formula)."""
MET = 0.20
"""A prediction is met within this share."""
Metric = Literal["step_s", "memory", "loss", "finite", "steps"]
Options = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is to be seen in the successor, and when."""

    metric: Metric
    value: float | None
    """step_s: seconds; memory: bytes of RssAnon; loss: the most it may be; finite, steps: none."""
    before: float | None
    after_steps: int
    """So many steps of the successor are needed to tell."""


@dataclass(frozen=True, slots=True)
class Change:
    """The successor of a run."""

    rule: str
    remedy: str
    options: Mapping[str, Any]
    """What is changed, by option name."""
    before: Mapping[str, Any]
    start: str | None
    """Checkpoint to go on from: `last`, or the number of a step; None: from the beginning."""
    prediction: Prediction
    force: bool = False
    """The run answers no request to stop: it is killed."""

    def record(self, run_id: str) -> dict[str, Any]:
        """For the successor's run.json."""
        return {
            "run": run_id, "rule": self.rule, "remedy": self.remedy, "options": dict(self.options),
            "before": dict(self.before), "start": self.start, "prediction": asdict(self.prediction),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measure:
    """The quantity is not known from the log: memory at these batch sizes is to be measured first."""

    batches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known besides the run's own log."""

    cores: int = 1
    memory: Sequence[tuple[int, float]] = ()
    """(batch size, peak RssAnon in bytes) of short runs that were alike otherwise."""
    most: int | None = None
    """The largest batch that is known to run."""


Planned = Change | Measure | str
"""A string: why it cannot be done, in one line."""


@dataclass(slots=True)
class _Case:
    """What a planner looks at."""

    alert: Alert
    key: str
    run: RunState
    known: Known
    config: Mapping[str, Any] = field(default_factory=dict)

    def tail(self, name: str, n: int) -> list[float]:
        """The newest `n` known values of a field."""
        return finite(self.run.columns.get(name, ()))[-n:]

    def number(self, name: str, default: float) -> float:
        value = self.config.get(name)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else default

    def before(self, step: int | None) -> str | None:
        """The newest good checkpoint from before `step`."""
        for e in reversed(self.run.events):
            good = e.kind == "checkpoint" and e.data.get("ok", True) and e.step is not None
            if good and (step is None or (e.step or 0) < step):
                return str(e.step)
        return None

    def last(self) -> str | None:
        """The newest one: of a run that goes on, the one it will write when it is asked to stop."""
        return "last" if self.run.status in ACTIVE or self.before(None) is not None else None

    def change(
        self, options: Options, start: str | None, prediction: Prediction, force: bool = False
    ) -> Change:
        before = {name: self.config.get(name) for name in options}
        return Change(self.alert.rule, self.key, options, before, start, prediction, force)


def plan(alert: Alert, remedy: Remedy, run: RunState, known: Known | None = None) -> Planned:
    """The successor that carries out `remedy`; a `Measure` where a number must be measured first."""
    planner = _PLANNERS.get((alert.rule, remedy.key or ""))
    if planner is None:
        return f"{alert.rule}: no option of a run does this: {remedy.text}"
    asked = run.config.get("config")
    if not isinstance(asked, Mapping):
        return f"{run.id}: its options are not known: it was not started by dctop"
    return planner(_Case(alert, remedy.key or "", run, known or Known(), asked))


def acts(alert: Alert, remedy: Remedy) -> bool:
    """Whether there is something to apply."""
    return (alert.rule, remedy.key or "") in _PLANNERS


# -- memory --------------------------------------------------------------------------------------------------


def fit_batch(points: Sequence[tuple[int, float]], limit: float) -> tuple[int, float, float] | None:
    """(B_fit, M0, s): the largest batch that fills `FILL` of `limit`, where memory is M0 + s B (least
    squares).

    None where the points tell no slope. Slopes flatten with B, so going beyond them errs on the safe side.
    """
    if len({b for b, _ in points}) < 2:
        return None
    n = len(points)
    mb, mm = sum(b for b, _ in points) / n, sum(m for _, m in points) / n
    slope = sum((b - mb) * (m - mm) for b, m in points) / sum((b - mb) ** 2 for b, _ in points)
    if slope <= 0:
        return None
    base = mm - slope * mb
    return math.floor((FILL * limit - base) / slope), base, slope


def _smaller_batch(c: _Case) -> Planned:
    batch = int(c.number("batch_size", 0))
    if batch < 2:
        return f"{c.run.id}: its batch is {batch}: it cannot be made smaller"
    limit = _limit(c.run)
    if limit is None:
        return _halved(c, batch)
    points = list(c.known.memory)
    if len({b for b, _ in points}) < 2:
        tries = sorted({max(1, batch // 16), max(2, batch // 8), max(3, batch // 4)} - {batch})
        return Measure(tuple(tries)) if len(tries) > 1 else _halved(c, batch)
    fitted = fit_batch(points, limit)
    if fitted is None:
        return _halved(c, batch)
    fit, base, slope = fitted
    if fit < 1:
        return f"no batch fits: {size(base)} are needed without any, the limit is {size(limit)}"
    fit = min(fit, batch - 1, c.known.most or batch)
    return _with_batch(c, batch, fit, base + slope * fit)


def _halved(c: _Case, batch: int) -> Change:
    return _with_batch(c, batch, batch // 2, None)


def _with_batch(c: _Case, batch: int, fit: int, memory: float | None) -> Change:
    """The effective batch stays what it was."""
    accumulate = max(1, int(c.number("accumulate", 1))) * math.ceil(batch / fit)
    peak = max(c.tail("rss_anon_bytes", 50), default=None)
    prediction = Prediction("memory" if memory is not None else "steps", memory, peak, 30)
    return c.change({"batch_size": fit, "accumulate": accumulate}, c.last(), prediction)


def _limit(run: RunState) -> float | None:
    """The memory limit it died at."""
    for e in reversed(run.events):
        value = e.data.get("cgroup_limit_bytes")
        if e.kind == "end" and isinstance(value, (int, float)):
            return float(value)
    return None


def _fewer_workers(c: _Case) -> Planned:
    workers = int(c.number("workers", 0))
    if workers < 1:
        return f"{c.run.id} has no loader processes to take away"
    return c.change({"workers": workers - 1}, c.last(), Prediction("steps", None, None, 30))


# -- speed ---------------------------------------------------------------------------------------------------


def _more_workers(c: _Case) -> Planned:
    """W* = ceil(1.2 P / t_compute), at most cores - 1; P = what one process needs for a batch."""
    step, data = median(c.tail("step_s", 50)), median(c.tail("data_s", 50))
    if step is None or data is None:
        return f"{c.run.id}: not enough steps to compute from"
    workers = int(c.number("workers", 0))
    compute = max(step - data, 1e-9)
    need = workers * step if workers else data
    wanted = min(math.ceil(RESERVE * need / compute), max(1, c.known.cores - 1))
    if wanted <= workers:
        return f"{workers} loader processes are as many as this node's {c.known.cores} cores allow"
    after = max(compute, need / wanted)
    return c.change({"workers": wanted}, c.last(), Prediction("step_s", after, step, 70))


def _fewer_threads(c: _Case) -> Planned:
    step, cpu = median(c.tail("step_s", 50)), median(c.tail("cpu_s", 50))
    now = int(c.number("threads", 0)) or c.known.cores
    if now < 2 or step is None:
        return f"{c.run.id} already runs on one thread an operation"
    return c.change({"threads": now - 1}, c.last(), Prediction("step_s", cpu, step, 70))


# -- convergence ---------------------------------------------------------------------------------------------


def _good_loss(c: _Case, before: int | None) -> float | None:
    """Median of the 50 losses before the trouble."""
    steps, losses = c.run.columns.get("step", ()), c.run.columns.get("loss", ())
    good = finite(v for s, v in zip(steps, losses) if before is None or s < before)
    return median(good[-50:])


def _calm(c: _Case, value: float | None) -> Prediction:
    return Prediction("loss", value, median(c.tail("loss", 20)), 200)


def _lower_rate(c: _Case) -> Planned:
    """A tenth of the rate, from before the trouble; less where the curvature is known to ask for less."""
    lr = c.number("lr", 0.0)
    if lr <= 0:
        return f"{c.run.id}: its learning rate is not known"
    turned = turning(c.run) if c.alert.rule == "loss-diverging" else None
    new = min(lr / 10, (turned.stable if turned is not None else None) or lr)
    good = _good_loss(c, c.alert.first_step)
    value = None if good is None else 1.2 * good
    return c.change({"lr": new}, c.before(c.alert.first_step), _calm(c, value))


def _restart_lower(c: _Case) -> Planned:
    lr, first = c.number("lr", 0.0), next(iter(finite(c.run.columns.get("loss", ()))), None)
    if lr <= 0:
        return f"{c.run.id}: its learning rate is not known"
    return c.change({"lr": lr / 10}, None, _calm(c, first))


def _raise_rate(c: _Case) -> Planned:
    """lr x min(10, 3e-3 / u), u = what an update changes of the weights."""
    lr, ratio = c.number("lr", 0.0), median(c.tail("update_ratio", 5))
    if lr <= 0 or not ratio:
        return f"{c.run.id}: learning rate or update ratio is not known"
    times = min(10.0, 3e-3 / ratio)
    if times <= 1:
        return f"{c.run.id}: its updates are not small (ratio {ratio:.2g})"
    now = median(c.tail("loss", 50))
    return c.change({"lr": lr * times}, c.last(), _calm(c, None if now is None else 0.98 * now))


def _warm_up(c: _Case) -> Planned:
    first = next(iter(finite(c.run.columns.get("loss", ()))), None)
    return c.change({"warmup_steps": 200}, None, _calm(c, first))


def _clip(c: _Case) -> Planned:
    """At the 90th percentile of what was healthy."""
    steps, norms = c.run.columns.get("step", ()), c.run.columns.get("grad_norm", ())
    before = c.alert.first_step
    healthy = finite(v for s, v in zip(steps, norms) if before is None or s < before)[-200:]
    limit = quantile([g for g in healthy if g < 1e30], 0.9) or 1.0
    good = _good_loss(c, before)
    return c.change(
        {"clip": float(f"{limit:.3g}")}, c.before(before), _calm(c, None if good is None else 1.2 * good)
    )


def _reload(c: _Case) -> Planned:
    start = c.before(c.alert.first_step)
    if start is None:
        return f"{c.run.id} has no checkpoint from before step {c.alert.first_step}"
    return c.change({}, start, Prediction("finite", None, None, 50))


def _other_order(c: _Case) -> Planned:
    """Past the batches that did it: another order of the same data, from 100 steps before."""
    first = c.alert.first_step or 0
    good = _good_loss(c, first)
    start = c.before(max(1, first - 100)) or c.before(first)
    return c.change(
        {"seed": int(c.number("seed", 0)) + 1}, start, _calm(c, None if good is None else 1.2 * good)
    )


def _regularise(c: _Case) -> Planned:
    """From the best evaluation on, with weight decay."""
    losses = [e["loss"] for e in c.run.evals if isinstance(e.get("loss"), (int, float))]
    best = min((e for e in c.run.evals if e.get("loss") in losses), key=lambda e: e["loss"], default=None)
    start = None if best is None else c.before(int(best.get("step") or 0) + 1)
    decay = max(1e-3, 10 * c.number("weight_decay", 0.0))
    return c.change({"weight_decay": decay}, start, Prediction("finite", None, None, 50))


def _relu(c: _Case) -> Planned:
    first = next(iter(finite(c.run.columns.get("loss", ()))), None)
    return c.change({"activation": "relu"}, None, _calm(c, None if first is None else 0.9 * first))


def _longer(c: _Case) -> Planned:
    """As many steps as its curve needs to its target."""
    steps, total = steps_needed(c.run), c.run.config.get("total_steps")
    if steps is None or not isinstance(total, int) or steps <= total:
        return f"{c.run.id}: how many steps it needs cannot be told"
    per_epoch = c.run.config.get("steps_per_epoch")
    options: Options = {"epochs": math.ceil(steps / per_epoch)} if isinstance(per_epoch, int) else {}
    if c.number("max_steps", 0) or not options:
        options["max_steps"] = steps
    return c.change(options, c.last(), Prediction("steps", None, None, steps))


def _resume(c: _Case) -> Planned:
    if c.last() is None:
        return f"{c.run.id} has no checkpoint to go on from"
    return c.change({}, c.last(), Prediction("steps", None, None, 20))


def _restart_stalled(c: _Case) -> Planned:
    return c.change({}, c.last(), Prediction("steps", None, None, 20), force=True)


def _precision(name: str) -> Callable[[_Case], Planned]:
    return lambda c: c.change({"precision": name}, c.last(), Prediction("steps", None, None, 30))


_PLANNERS: dict[tuple[str, str], Callable[[_Case], Planned]] = {
    ("oom-killed", "batch"): _smaller_batch,
    ("oom-killed", "workers"): _fewer_workers,
    ("oom-cuda", "fit"): _smaller_batch,
    ("oom-cuda", "half"): _smaller_batch,
    ("oom-cuda", "bf16"): _precision("bf16"),
    ("oom-predicted-gpu", "half"): _smaller_batch,
    ("oom-predicted-gpu", "bf16"): _precision("bf16"),
    ("oom-predicted-host", "half"): _smaller_batch,
    ("oom-predicted-host", "workers"): _fewer_workers,
    ("gpu-mem-creep", "save"): _resume,
    ("tensor-core-off", "bf16"): _precision("bf16"),
    ("tensor-core-off", "tf32"): _precision("tf32"),
    ("oom-host-exception", "half"): _smaller_batch,
    ("loader-worker-died", "fewer"): _fewer_workers,
    ("loader-worker-died", "inline"): lambda c: c.change(
        {"workers": 0}, c.last(), Prediction("steps", None, None, 20)
    ),
    ("input-bound", "workers"): _more_workers,
    ("cpu-contended", "threads"): _fewer_threads,
    ("loss-nonfinite", "reload"): _reload,
    ("loss-nonfinite", "lr"): _lower_rate,
    ("loss-nonfinite", "clip"): _clip,
    ("loss-nonfinite", "clip1"): _clip,
    ("early-divergence", "lr"): _restart_lower,
    ("early-divergence", "warmup"): _warm_up,
    ("loss-diverging", "reload"): _reload,
    ("loss-diverging", "lr"): _lower_rate,
    ("loss-spike", "skip"): _other_order,
    ("loss-spike", "clip"): _clip,
    ("grad-exploding", "clip"): _clip,
    ("grad-exploding", "lr"): _lower_rate,
    ("grad-exploding", "warmup"): _warm_up,
    ("chance-level", "rate"): _raise_rate,
    ("lr-too-low", "raise"): _raise_rate,
    ("lr-could-rise", "raise"): _raise_rate,
    ("plateau", "raise"): _raise_rate,
    ("plateau", "lower"): _lower_rate,
    ("overfitting", "regularise"): _regularise,
    ("dead-relu", "lr"): _restart_lower,
    ("grad-vanishing", "relu"): _relu,
    ("amp-scale-collapse", "bf16"): lambda c: c.change(
        {"precision": "bf16"}, c.last(), Prediction("finite", None, None, 50)
    ),
    ("amp-scale-collapse", "lr"): _lower_rate,
    ("slow-convergence", "raise"): _raise_rate,
    ("slow-convergence", "longer"): _longer,
    ("rank-missing", "resume"): _resume,
    ("worker-crashed", "resume"): _resume,
    ("worker-sigkilled", "resume"): _resume,
    ("training-stalled", "restart"): _restart_stalled,
}  # fmt: skip
"""(rule, key of its remedy) -> how its successor is computed."""


# -- afterwards ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """Predicted against observed."""

    met: bool
    metric: Metric
    predicted: float | None
    observed: float | None
    before: float | None
    steps: int


def verdict(run: RunState) -> Verdict | None:
    """What the successor `run` shows of its remedy; None: none was applied, or it is too early to tell."""
    told = run.config.get("remedy")
    if not isinstance(told, Mapping) or not isinstance(told.get("prediction"), Mapping):
        return None
    p = told["prediction"]
    try:
        wanted = Prediction(p["metric"], p["value"], p["before"], int(p["after_steps"]))
    except (KeyError, TypeError, ValueError):
        return None
    done = len(finite(run.columns.get("step", ())))
    died = run.status in ("failed", "killed", "lost")
    observed = _observed(run, wanted.metric)
    met: bool | None = None
    if died:
        met = False
    elif wanted.metric == "loss":
        if wanted.value is not None and observed is not None and done >= 20 and observed <= wanted.value:
            met = True
        elif done >= wanted.after_steps:
            met = wanted.value is None and observed is not None
    elif done >= wanted.after_steps:
        met = _is_met(wanted, observed)
    if met is None and run.ended_wall_ns is not None:
        met = _is_met(wanted, observed) if done >= 20 else None
    if met is None:
        return None
    return Verdict(met, wanted.metric, wanted.value, observed, wanted.before, done)


def _is_met(p: Prediction, observed: float | None) -> bool:
    if p.metric in ("steps", "finite"):
        return p.metric == "steps" or observed is not None
    if observed is None or p.value is None:
        return False
    if p.metric == "loss":
        return observed <= p.value
    return (
        abs(observed - p.value) <= MET * p.value if p.metric == "step_s" else observed <= (1 + MET) * p.value
    )


def _observed(run: RunState, metric: Metric) -> float | None:
    if metric == "step_s":
        return median(finite(run.columns.get("step_s", ()))[20:][-50:])
    if metric == "memory":
        return max(finite(run.columns.get("rss_anon_bytes", ())), default=None)
    if metric == "steps":
        return float(len(run.columns.get("step", ())))
    recent = list(run.columns.get("loss", ()))[-20:]
    return median(recent) if recent and len(finite(recent)) == len(recent) else None
