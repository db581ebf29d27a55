"""`--verify-timing`: measures the measuring before the first step, on a copy of nothing: weights and random
state are put back afterwards.

Worker side; imported after torch. Two claims are tested (RULES of step timing): the phases of a step add up
to the step as another clock sees it, and (CUDA) the times between events are those of a synchronised step.
The cost of measuring is published as thread CPU a step with it and without it, in alternating blocks, unless
the node was too busy to tell.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from dctop.engine.training import wtiming
    from dctop.engine.training.wbatches import Batch
    from dctop.engine.training.wtrain import Trainer
else:
    import wtiming

STEPS = 20
WARM = 5
BLOCKS, BLOCK = 5, 10
PHASE_LIMIT, EVENT_LIMIT = 0.02, 0.05
BUSY_PERCENT = 5.0


class Verdict(NamedTuple):
    """Shares: |sum of phases - step| / step, |event - synchronised| / synchronised, cost / step."""

    phase_error: float
    step_error: float | None
    overhead: float | None
    reason: str | None
    """Why the overhead is not told."""

    @property
    def ok(self) -> bool:
        return self.phase_error <= PHASE_LIMIT and (self.step_error is None or self.step_error <= EVENT_LIMIT)


def verify(trainer: Trainer) -> None:
    """Writes a `timing` event. Raises nothing: wrong times are a finding, not the end of a run."""
    before = trainer.mode
    trainer.set_mode("verify")
    model, rng = copy.deepcopy(trainer.model.state_dict()), torch.get_rng_state()
    optimizer = copy.deepcopy(trainer.optimizer.state_dict())
    batch = next(trainer.batches.epoch(0, 0, 1))
    verdict = _measure(trainer, batch)
    trainer.model.load_state_dict(model)
    trainer.optimizer.load_state_dict(optimizer)
    torch.set_rng_state(rng)
    holds = "holds" if verdict.ok else "does not hold"
    text = f"timing {holds}: phases within {verdict.phase_error:.2%} of the step"
    if verdict.step_error is not None:
        text += f", events within {verdict.step_error:.2%} of synchronised steps"
    text += (
        f", measuring costs {verdict.overhead:.2%}" if verdict.overhead is not None else f"; {verdict.reason}"
    )
    trainer.log.event("timing", text, 0, ok=verdict.ok, **verdict._asdict())
    print(text, flush=True)
    trainer.set_mode(before)


def _measure(trainer: Trainer, batch: Batch) -> Verdict:
    for _ in range(WARM):
        _step(trainer, batch)
    free = _run(trainer, batch, synchronise=False)
    bound = _run(trainer, batch, synchronise=True) if trainer.cuda is not None else None
    errors = [abs(sum(times) - step) / step for step, times, _ in free]
    step_error = None
    if bound is not None:
        by_events = statistics.median(gpu for _, _, gpu in free if gpu is not None)
        synced = statistics.median(step for step, _, _ in bound)
        step_error = abs(by_events - synced) / synced
    overhead, reason = _overhead(trainer, batch)
    return Verdict(statistics.median(errors), step_error, overhead, reason)


def _run(trainer: Trainer, batch: Batch, synchronise: bool) -> list[tuple[float, list[float], float | None]]:
    """Of each of 20 steps: seconds by a clock around it, its phases, its time between events."""
    found = []
    for _ in range(STEPS):
        if synchronise and trainer.cuda is not None:
            trainer.cuda.synchronize()
        trainer.timer.restart()
        begun = time.perf_counter()
        times, marks = _step(trainer, batch)
        if synchronise and trainer.cuda is not None:
            trainer.cuda.synchronize()
        step = time.perf_counter() - begun
        found.append((step, [spent * 1e-9 for spent in times.spent], marks))
    if trainer.cuda is not None:
        trainer.cuda.synchronize()
    result = []
    for step, phases, marks in found:
        gpu: dict[str, object] = {}
        wtiming.device_times(gpu, marks or [])
        seconds = gpu.get("gpu_s")
        result.append((step, phases, seconds if isinstance(seconds, float) else None))
    return result


def _step(trainer: Trainer, batch: Batch) -> tuple[wtiming.Times, list[wtiming.Mark] | None]:
    """A step with everything that is measured, but no record."""
    trainer.sampling.begin(1)
    trainer._piece(batch, 0, len(batch[0]))
    trainer.update()
    return trainer.timer.finish()


def _plain(trainer: Trainer, batch: Batch) -> None:
    """The same step as anybody would write it."""
    x, y = batch
    if trainer.cuda is not None:
        x, y = trainer.cuda.put(x), trainer.cuda.put(y)
    x, y = trainer.task.prepare(x, y)
    with trainer.precision.autocast():
        loss = trainer.loss(trainer.network(x), y)
    trainer.backward(loss)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)


def _overhead(trainer: Trainer, batch: Batch) -> tuple[float | None, str | None]:
    def block(step: Callable[[Trainer, Batch], object]) -> float:
        begun = time.thread_time()
        for _ in range(BLOCK):
            step(trainer, batch)
        return time.thread_time() - begun

    pairs = [(block(_step), block(_plain)) for _ in range(BLOCKS)]
    busy = _pressure()
    if busy is not None and busy >= BUSY_PERCENT:
        return None, f"the cost is not told: others wait for the CPU {busy:.0f} % of the time"
    ratios = [measured / plain - 1 for measured, plain in pairs if plain > 0]
    return (statistics.median(ratios), None) if ratios else (None, "the clock is too coarse")


def _pressure() -> float | None:
    """Share (percent) of the last 10 s in which some task waited for a CPU; None: no PSI here."""
    try:
        with open("/proc/pressure/cpu", encoding="ascii") as source:
            first = source.readline()
        return float(first.split("avg10=")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return None
