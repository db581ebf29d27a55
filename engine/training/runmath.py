"""What follows from a run's columns: time to finish, where its time went, MFU, differences. Pure.

From columns and events only, so it is the same live, looked back and in a replay.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from dctop.engine.training.peaks import peak_flops
from dctop.engine.training.runlog import DENSE_STEPS
from dctop.engine.training.runstate import PHASES, RunState

RECENT = 50
BLOCK, BLOCKS = 10, 50
"""The range of the time to finish comes from means of 10 steps each, of the last 500."""
SEVEN_STEPS = ("preprocess", "initialise", "forward", "loss", "backward", "update", "repeat")
"""The handbook's training steps, in its order; `repeat` is all that is between the steps: measuring,
evaluation, checkpoints."""
_OF_STEP = {
    "preprocess": ("data_s", "h2d_s"), "forward": ("forward_s",), "loss": ("loss_s",),
    "backward": ("backward_s",), "update": ("update_s",),
}  # fmt: skip
_Column = Sequence[float]


class Range(NamedTuple):
    """Seconds until the last step."""

    low: float
    high: float


def recent(run: RunState, column: str, n: int = RECENT) -> list[float]:
    """The known ones of the last `n` values."""
    values = run.columns.get(column)
    return [] if values is None else [v for v in values[-n:] if math.isfinite(v)]


def throughput(run: RunState, n: int = RECENT) -> float | None:
    """Samples a second of one rank over the last `n` steps, by their own wall time."""
    samples, seconds = recent(run, "samples", n), recent(run, "step_s", n)
    total = sum(seconds)
    return sum(samples) / total if samples and len(samples) == len(seconds) and total > 0 else None


def pace(run: RunState) -> float | None:
    """Samples a second of all ranks together."""
    own, ranks = throughput(run), run.config.get("ranks")
    return own if own is None or not isinstance(ranks, int) or ranks < 2 else own * ranks


def time_left(run: RunState) -> Range | None:
    """The steps left at the pace of fast and of slow stretches (10th and 90th percentile of 10-step means
    over the last 500 steps), and the pauses to come at what they took so far. None: not known yet."""
    if run.total_steps is None or run.step is None:
        return None
    left = max(0, run.total_steps - run.step)
    times = recent(run, "step_s", BLOCK * BLOCKS)
    if len(times) < BLOCK:
        return None
    means = sorted(sum(times[i : i + BLOCK]) / BLOCK for i in range(len(times) % BLOCK, len(times), BLOCK))
    done = max(1, run.step - first_step(run) + 1)
    pauses = left * pause_s(run) / done
    low, high = means[len(means) // 10], means[min(len(means) - 1, len(means) * 9 // 10)]
    found = Range(left * low + pauses, left * high + pauses)
    return found if math.isfinite(found.low) and math.isfinite(found.high) else None


def first_step(run: RunState) -> int:
    """The number of the first step this run did itself (a resumed one does not begin at 1)."""
    value = run.config.get("first_step")
    if isinstance(value, int):
        return value
    steps = run.columns.get("step")
    return int(steps[0]) if steps is not None and len(steps) and math.isfinite(steps[0]) else 1


def pause_s(run: RunState) -> float:
    """Seconds of evaluations and checkpoints so far."""
    took = [e.get("seconds") for e in run.evals]
    took += [e.data.get("seconds") for e in run.events if e.kind == "checkpoint"]
    return sum(s for s in took if isinstance(s, (int, float)) and math.isfinite(s))


def total(run: RunState, column: str) -> float | None:
    """Sum of a column over all steps of the run. Of a long run only every n-th old step is kept: those
    stand for the others."""
    values = run.columns.get(column)
    if values is None or not len(values):
        return None
    n, done = len(values), run.step
    old = n - DENSE_STEPS
    if old <= 0 or done is None:
        return known_sum(values)
    ahead = done - first_step(run) + 1 - DENSE_STEPS
    head, tail = known_sum(values[:old]), known_sum(values[old:])
    if head is None or tail is None:
        return tail if head is None else head
    return head * max(1.0, ahead / old) + tail


def known_sum(values: _Column) -> float | None:
    """Without what is missing; None if all is."""
    whole = sum(values)
    if math.isfinite(whole):
        return float(whole)
    known = [v for v in values if math.isfinite(v)]
    return sum(known) if known else None


def seven_steps(run: RunState) -> list[tuple[str, float]] | None:
    """Seconds of the whole run by the handbook's training steps; None before there is a first step."""
    whole = total(run, "step_s")
    if whole is None or not math.isfinite(whole):
        return None
    sums = {name: [total(run, c) for c in columns] for name, columns in _OF_STEP.items()}
    seconds = {name: sum(v for v in values if v is not None) for name, values in sums.items()}
    seconds["initialise"] = init_s(run) or 0.0
    measured = sum(seconds[name] for name in _OF_STEP)
    seconds["repeat"] = max(0.0, whole - measured) + pause_s(run)
    return [(name, seconds[name]) for name in SEVEN_STEPS]


def init_s(run: RunState) -> float | None:
    """From the start until the first step began: imports, data, model."""
    walls, times = run.columns.get("wall_ns"), run.columns.get("step_s")
    if walls is None or times is None or not len(walls) or not len(times):
        return None
    seconds = (walls[0] - run.started_wall_ns) / 1e9 - (times[0] if math.isfinite(times[0]) else 0.0)
    return seconds if math.isfinite(seconds) and 0 <= seconds < 86_400 else None


def mean_phases(run: RunState, n: int = RECENT) -> list[tuple[str, float]] | None:
    """Mean seconds of each phase over the last `n` steps, `other` at the end; None: nothing was timed."""
    found = []
    for name in PHASES:
        values = recent(run, f"{name}_s", n)
        if values:
            found.append((name, sum(values) / len(values)))
    whole = recent(run, "step_s", n)
    if not found or not whole:
        return found or None
    rest = sum(whole) / len(whole) - sum(v for _, v in found)
    return [*found, ("other", max(0.0, rest))]


class Mfu(NamedTuple):
    """`share` of 1 of the device's peak; None: `why`."""

    share: float | None
    why: str


def mfu(run: RunState) -> Mfu:
    """Model FLOPs utilisation: arithmetic the model needs (without recomputation) at the present pace over
    what the device could do at this precision (PaLM, appendix B). `samples` are those of one rank, so it
    is of one device."""
    flops = run.config.get("flops_per_sample")
    macs = run.config.get("macs_per_sample")
    if not isinstance(flops, (int, float)) and isinstance(macs, (int, float)):
        flops = 6 * macs
    if not isinstance(flops, (int, float)):
        return Mfu(None, "the run does not say its FLOPs")
    device = run.config.get("device")
    name = device.get("name") if isinstance(device, dict) else None
    options = run.config.get("config")
    asked = options.get("precision") if isinstance(options, dict) else None
    precision = str(run.config.get("precision") or asked or "fp32")
    peak = peak_flops(name if isinstance(name, str) else None, precision)
    if peak is None:
        return Mfu(None, f"peak of {name or 'the device'} at {precision} is not known")
    own = throughput(run)
    if own is None:
        return Mfu(None, "no steps yet")
    return Mfu(flops * own / peak[0], f"of {peak[0] / 1e12:.0f} TFLOP/s ({peak[1]})")


def differences(a: RunState, b: RunState) -> list[tuple[str, Any, Any]]:
    """Options in which two runs differ, with both values; then device, host and versions."""
    out: list[tuple[str, Any, Any]] = []
    if a.workload != b.workload:
        out.append(("workload", a.workload, b.workload))
    mine, other = _options(a), _options(b)
    for name in dict.fromkeys((*mine, *other)):
        if mine.get(name) != other.get(name):
            out.append((name, mine.get(name), other.get(name)))
    for name in ("device", "host", "data_source"):
        if getattr(a, name) != getattr(b, name):
            out.append((name, getattr(a, name), getattr(b, name)))
    return out


def _options(run: RunState) -> Mapping[str, Any]:
    config = run.config.get("config")
    return config if isinstance(config, dict) else {}


def elapsed(run: RunState) -> array[float] | None:
    """Seconds from the start of the run to the end of each kept step."""
    walls = run.columns.get("wall_ns")
    if walls is None:
        return None
    begun = run.started_wall_ns
    return array("d", [(w - begun) / 1e9 for w in walls])
