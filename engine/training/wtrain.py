"""The training loop: the handbook's seven steps, timed and logged.

Worker side; imported by worker.py after torch. One `Trainer` is one run of one process. The seven steps, each
a method here: `preprocess` (1), `initialise` (2), `forward` (3), `compute_loss` (4), `backward` (5),
`update` (6), and `run`, which repeats them until the stop condition (7).
"""

from __future__ import annotations

import contextlib
import gc
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from dctop.engine.training import (
        wbatches,
        wdevice,
        wdist,
        winputs,
        wlayers,
        wlog,
        wmem,
        wmodel,
        wpause,
        wplanter,
        wsample,
        wsync,
        wtiming,
        wverify,
    )  # fmt: skip
    from dctop.engine.training.wconfig import Config
    from dctop.engine.training.worker import Wishes
else:
    import wbatches
    import wdevice
    import wdist
    import winputs
    import wlayers
    import wlog
    import wmem
    import wmodel
    import wpause
    import wplanter
    import wsample
    import wsync
    import wtiming
    import wverify
    from wconfig import Config

WARMUP_STEPS, WARMUP_S = 20, 10.0
MEMORY_EVERY = 10
"""Memory is read every so many steps."""
TAKE_NS = 80_000_000
"""Time from one making and writing of log lines to the next."""
NAN_PATIENCE = 20
SHARED_BYTES = 1 << 30
"""So much of a GPU taken by others when we begin is more than the contexts of idle programs."""


class Outcome(NamedTuple):
    status: str
    reason: str
    step: int


class NotFinite(Exception):
    """The loss stayed non-finite."""


class Trainer:
    """Built: everything is loaded and the `start` event is written. `run` trains to an Outcome."""

    def __init__(self, directory: str, run: Mapping[str, object], log: wlog.RunLog, wishes: Wishes) -> None:
        self.directory, self.log, self.wishes = directory, log, wishes
        self.config = config = Config(run)
        self.mode = ""
        self.step = self.epoch = 0
        self.planter: wplanter.Planter | None = None
        self.ranks = wdist.Ranks()
        self.set_mode("init")
        if config.integer("threads"):
            torch.set_num_threads(config.integer("threads"))
        self.device, self.why = wdevice.choose_device(
            config.text("device"), int(os.environ.get("LOCAL_RANK", 0))
        )
        self.cuda = wdevice.accelerator(self.device)
        self.precision = wdevice.Precision(config.text("precision"), self.device, self.cuda)
        self.ranks.join(self.device.type == "cuda")
        folder = run.get("data_dir")
        self.task = wpause.load_task(self, folder if isinstance(folder, str) else None)
        if config.faults:
            entity = f"run:{run.get('id')}"
            self.planter = wplanter.Planter(
                config.faults, directory, entity, self.ranks.rank, self.ranks.world
            )
        self.memory = wdevice.Memory(self.cuda)
        self.inputs = winputs.Inputs(self.task)
        self.fed: list[torch.Tensor] = []
        """Figures of the inputs of the step that is made, where they are looked at."""
        self._plan()
        self.checkpoints = config.optional("checkpoint_dir") or os.path.join(directory, "checkpoints")
        self.best: float | None = None
        """Best accuracy, or least loss, of an evaluation that was saved."""
        self.score: float | None = None
        """Of the last evaluation: what `best` compares."""
        self.accuracy: float | None = None
        self.not_finite_since: int | None = None
        self.last_finite: tuple[int, float] | None = None
        self.lost = False
        """The loss of this step is not finite: known at once on the CPU only."""
        self.origin: dict[str, object] = {}
        """Where that comes from."""
        self.sums = [0.0, 0.0, 0.0, 0.0]
        """Of the epoch: loss x samples, samples, right, units judged."""
        self._taken_ns = 0
        self.timer = wtiming.StepTimer(self.cuda)
        self.readback = wtiming.Readback(self.cuda, self.timer.events)
        self.syncs = None if self.cuda is None else wsync.SyncWatch(log, self.cuda.holds)
        self.initialise()
        resume = run.get("resume_from")
        if isinstance(resume, str):
            wpause.resume(self, resume)
        self._announce()

    def initialise(self) -> None:
        """Step 2: the network with its random weights, the loss, the optimizer."""
        config = self.config
        torch.manual_seed(config.seed)
        self.model = self.task.build()
        if self.planter is not None:
            self.model = self.planter.built(self.model)
        # Tensor cores want the channel innermost, and a CPU pools a third faster over it.
        self.channels_last = self.task.name == "mnist-cnn" and (self.cuda is None or self.cuda.channels_last)
        layout = {"memory_format": torch.channels_last} if self.channels_last else {}
        self.model = self.model.to(self.device, **layout)  # type: ignore[call-overload]
        self.loss = self.task.loss()
        self.optimizer = wmodel.optimizer(config.optimizer, self.model, config.lr, config.weight_decay)
        self.descend = wmodel.step_of(self.optimizer)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.update_ratio = wmodel.UpdateRatio(wmodel.weights(self.model))
        self.layers = wlayers.Layers(self.model, self.cuda, config.compile, self.log.event)
        self.network: Callable[..., torch.Tensor] = self.ranks.wrap(self.model, self.cuda)
        if config.compile:
            self.network = torch.compile(self.network)
        torch.manual_seed(config.seed * 1000 + self.ranks.rank + 1)  # dropout differs between ranks

    def _plan(self) -> None:
        config, ranks = self.config, self.ranks
        # Random faults choose their samples here: the planter must see the set before the first batch.
        if self.planter is not None:
            self.planter.seen(self.task)
        order = wbatches.Order(
            self.task.train_count, config.batch_size, config.seed, config.accumulate, ranks.rank, ranks.world
        )
        if config.optimizer == "batch-gd":
            order.micro = order.batches
        self.order = order
        self.steps_per_epoch = -(-order.batches // order.micro)
        planned = config.epochs * self.steps_per_epoch
        self.total_steps = min(planned, config.max_steps) if config.max_steps else planned
        self.eval_every = config.eval_every or self.steps_per_epoch
        self.checkpoint_every = config.checkpoint_every or self.steps_per_epoch
        fetch = wbatches.Fetch(self.task.fetch, self.planter)
        self.batches = wbatches.Batches(fetch, order, config.workers, self.cuda)
        self.lr_varies = config.warmup_steps > 0 or config.schedule != "constant" or self.planter is not None
        self.sampling = wsample.Sampling(config.clip > 0)

    def facts(self) -> dict[str, object]:
        task = self.task
        return {
            "data": {
                "source": task.source, "synthetic": task.synthetic, "classes": list(task.classes),
                "train_samples": task.train_count, "test_samples": task.test_count,
                "majority": task.majority(),
                "inputs": self.inputs.facts(), "labels": winputs.label_counts(task),
            },
            "device": {
                "asked": self.config.text("device"), "chosen": str(self.device), "why": self.why,
                "name": wdevice.device_name(self.device),
            },
            "versions": {
                "python": platform.python_version(), "torch": str(torch.__version__),
                "cuda": torch.version.cuda,
            },
            "parameters": sum(p.numel() for p in self.parameters),
            "macs_per_sample": task.macs, "flops_per_sample": 6 * task.macs,
            "unit": task.unit, "units_per_sample": task.units,
            "precision": self.precision.name, "compiled": self.config.compile,
            "channels_last": self.channels_last, "fused": bool(self.optimizer.defaults.get("fused")),
            "threads": torch.get_num_threads(), "ranks": self.ranks.world,
            "target_of": "accuracy" if task.higher_is_better else "loss",
            "layers": self.layers.facts._asdict(),
            "memory_limit_bytes": wmem.memory_counts(wmem.memory_cgroup()).limit_bytes,
            "total_steps": self.total_steps,
            "total_epochs": -(-self.total_steps // self.steps_per_epoch),
            "steps_per_epoch": self.steps_per_epoch,
            "eval_every": self.eval_every,
            "checkpoint_every": self.checkpoint_every,
            "first_step": self.step + 1,
        }  # fmt: skip

    def _announce(self) -> None:
        facts = self.facts()
        text = f"{self.task.source} on {self.device}: {self.total_steps:,} steps"
        if self.config.text("device") == "auto":
            text += f" ({self.device}: {self.why})"
        if self.ranks.first:
            wlog.update_run(self.directory, **facts)
            print(text, flush=True)
        self.log.event("start", text, self.step, pid=os.getpid(), rank=self.ranks.rank, **facts)
        if self.cuda is not None:
            taken, total = self.cuda.taken()
            if taken > SHARED_BYTES:
                said = f"{taken / 2**30:.1f} of {total / 2**30:.1f} GiB of {self.device} are taken by others"
                self.log.event("note", said, self.step, shared_gpu=str(self.device), taken_bytes=taken)

    # -- the loop ---------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Train until the last step, the target, a wish to stop, or an exception."""
        if self.config.values.get("verify_timing") is True and self.ranks.world == 1:
            wverify.verify(self)
        # What was imported stays: the collector need not walk a million objects of torch's each time.
        gc.freeze()
        begun, first = time.monotonic(), self.step
        self.set_mode("warmup")
        batches = self._next_epoch()
        reached = False
        while self.step < self.total_steps and not reached:
            stop = self._agreed()
            if stop:
                break
            warm = self.step - first >= WARMUP_STEPS and time.monotonic() - begun >= WARMUP_S
            if warm and self.mode == "warmup":
                self.set_mode("train")
            self.one_step(batches)
            at_end = self.step % self.steps_per_epoch == 0
            last = self.step == self.total_steps
            if at_end:
                wpause.end_epoch(self)
            if last or self.step % self.eval_every == 0:
                self._pause("eval", wpause.evaluate)
                reached = self._reached()
            if last or reached or self.step % self.checkpoint_every == 0:
                self._pause("checkpoint", wpause.checkpoint)
            if at_end and not last and not reached:
                batches = self._next_epoch()
        self.take(wait=True)
        return self._finish(reached)

    def _agreed(self) -> bool:
        """Act on what was wished (on several ranks: one step ago, by any). True: stop now."""
        wishes = self.wishes
        since, alone = self.not_finite_since, self.ranks.world == 1
        if alone and since is None and wishes.stop is None and not wishes.checkpoint:
            return False
        lost = since is not None and self.step - since >= NAN_PATIENCE
        stop, save, bad = self.ranks.agree(
            wishes.stop is not None, wishes.checkpoint, lost and self.config.on_nan == "stop"
        )
        if bad:
            since = self.not_finite_since or self.step
            raise NotFinite(f"loss is not finite since step {since:,} ({NAN_PATIENCE} steps)")
        if save:
            wishes.checkpoint = False
            if self.step:
                self._pause("checkpoint", wpause.checkpoint)
        if stop and wishes.stop is None:
            wishes.stop = "another rank"
        if self.ranks.world > 1:
            self.timer.lap(wtiming.OTHER)  # waiting for the others is not waiting for data
        return stop

    def _reached(self) -> bool:
        target, score = self.config.target, self.score
        if not target or score is None:
            return False
        if not (score >= target if self.task.higher_is_better else score <= target):
            return False
        text = f"step {self.step:,}: reached its target of {target:g}: {score:.4f}"
        self.log.event("reached", text, self.step, target=target, value=score)
        return True

    def _finish(self, reached: bool) -> Outcome:
        self.batches.close()
        if self.planter is not None:
            self.planter.close(self.step)
        if self.readback.dropped:
            text = f"the device was far behind: {self.readback.dropped:,} steps could not be read back"
            self.log.event("note", text, self.step, timing_dropped=self.readback.dropped)
        if self.wishes.stop is not None and self.step < self.total_steps and not reached:
            self.log.event("stop", f"stopping after step {self.step:,}: {self.wishes.stop}", self.step)
            if self.step:
                self._pause("checkpoint", wpause.checkpoint)
            self.ranks.part()
            return Outcome("stopped", f"stopped by {self.wishes.stop} after step {self.step:,}", self.step)
        self.ranks.part()
        if self.accuracy is not None and self.ranks.first:
            print(f"Test accuracy: {self.accuracy:.2f}", flush=True)
        if reached:
            return Outcome("finished", f"reached its target of {self.config.target:g}", self.step)
        return Outcome("finished", f"reached its last step, {self.step:,}", self.step)

    def abandon(self) -> None:
        """An exception ends the run: log what is known of the steps before it."""
        if self.syncs is not None:
            self.syncs.close()
        try:
            # A device in trouble may never answer, and raise again when it is asked.
            self.take(wait=self.cuda is None)
        except Exception as error:
            self.log.event("note", f"last steps not read back: {type(error).__name__}", self.step)
        if self.planter is not None:
            self.planter.close(self.step)

    # -- one step ---------------------------------------------------------------------------------

    def one_step(self, batches: Iterator[wbatches.Batch]) -> None:
        """Data to device, forward, loss, backward, update: one record."""
        number = self.step + 1
        planter, sampling = self.planter, self.sampling
        if planter is not None:
            self._plant(planter, number)
        sampling.begin(number)
        if number >= self.layers.due:
            self.layers.begin(number)
        if self.syncs is not None:
            self.syncs.begin(number)
        if self.lr_varies:
            self._set_lr(number)
        index = (number - 1) % self.steps_per_epoch
        samples = self.order.samples_of_step(index)
        self.timer.lap(wtiming.OTHER)  # the books of the step before are no waiting for data
        if self.order.micro == 1:
            loss, hits = self._piece(next(batches), number, samples)
        else:
            pieces = min(self.order.micro, self.order.batches - index * self.order.micro)
            loss, hits = self._pieces(batches, number, samples, pieces)
        scalars = [loss]
        if hits is not None:
            scalars.append(hits)
        scalars += self.update()
        found = self.layers.names
        if found:
            scalars += self.layers.taken()
        scalars += self.fed
        self.step = number
        self._record(samples, scalars, found)

    def _pieces(
        self, batches: Iterator[wbatches.Batch], number: int, samples: int, pieces: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Several batches whose gradients add up; only the last is exchanged between ranks."""
        loss: torch.Tensor | None = None
        hits: torch.Tensor | None = None
        for i in range(pieces):
            with self.ranks.alone(self.network) if i < pieces - 1 else contextlib.nullcontext():
                part, right = self._piece(next(batches), number, samples)
            loss = part if loss is None else loss + part
            if right is not None:
                hits = right if hits is None else hits + right
        assert loss is not None
        return loss, hits

    def _piece(
        self, batch: wbatches.Batch, number: int, samples: int
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Steps 1 and 3 to 5 on one batch: (its part of the step's loss, how many are right)."""
        timer = self.timer
        x, y = self.preprocess(batch, number)
        # Of several batches the last one counts.
        self.fed = []
        if self.inputs.due(number):
            self.fed = winputs.figures(x)
            timer.lap(wtiming.OTHER)
        with self.precision.autocast():
            out = self.forward(x)
            timer.lap(wtiming.FORWARD)
            reported, loss = self.compute_loss(out, y, len(x) / samples)
            if self.cuda is None and not math.isfinite(reported.item()):
                self._lose(x)
        hits = None
        if self.sampling.accuracy and self.task.classifies:
            since = time.perf_counter_ns()
            hits = self.task.hits(out, y).sum()
            self.sampling.cost(wsample.ACCURACY, since)
        timer.lap(wtiming.LOSS)
        self.backward(loss)
        timer.lap(wtiming.BACKWARD)
        return reported, hits

    def _lose(self, x: torch.Tensor) -> None:
        """Look for the origin before the update spreads it over all weights."""
        self.lost = True
        if self.not_finite_since is None:
            self.origin = wlayers.origin(self.model, x)

    def preprocess(self, batch: wbatches.Batch, number: int) -> wbatches.Batch:
        """Step 1: bytes to the numbers a model takes, on the device."""
        x, y = batch
        if self.cuda is None:
            x, y = self.task.prepare(x, y)
            if self.planter is not None:
                x = self.planter.batch(number, x)
            self.timer.lap(wtiming.DATA)
            return x, y
        self.timer.lap(wtiming.DATA)
        x, y = self.task.prepare(self.cuda.put(x), self.cuda.put(y))
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        if self.planter is not None:
            x = self.planter.batch(number, x)
        self.timer.lap(wtiming.H2D)
        return x, y

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Step 3."""
        return self.network(x)

    def compute_loss(
        self, out: torch.Tensor, y: torch.Tensor, share: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Step 4: (the loss to report, what is descended: with regularisation). `share` of the step's
        samples: its loss is the mean over all of them, however many batches they came in."""
        loss = self.loss(out, y)
        if share != 1.0 and not self.task.summed:
            loss = loss * share
        reported = loss.detach()
        if self.config.l1:
            loss = loss + self.config.l1 * min(1.0, share) * wmodel.l1_norm(self.model)
        return reported, loss

    def backward(self, loss: torch.Tensor) -> None:
        """Step 5."""
        scaler = self.precision.scaler
        (loss if scaler is None else scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]

    def update(self) -> list[torch.Tensor]:
        """Step 6; the gradient norm and the update ratio of it, where this step is looked at."""
        scaler, sampling, looked = self.precision.scaler, self.sampling, []
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        if self.layers.busy:
            self.layers.look(self.optimizer)
        if self.config.clip:
            looked.append(self.layers.clip(self.config.clip))
        elif sampling.norm:
            since = time.perf_counter_ns()
            looked.append(self.layers.norm())
            sampling.cost(wsample.NORM, since)
        since = time.perf_counter_ns()  # of both halves of the update ratio together
        if sampling.ratio:
            self.update_ratio.before()
            self.timer.lap(wtiming.OTHER)
            since -= time.perf_counter_ns()
        if scaler is not None:
            scaler.step(self.optimizer)
            scaler.update()
            self.layers.scaled(scaler)
        else:
            self.descend()
        # What zero_grad does, without its record for a profiler: a third of a per cent of a short step.
        for parameter in self.parameters:
            parameter.grad = None
        self.timer.lap(wtiming.UPDATE)
        if sampling.ratio:
            since += time.perf_counter_ns()
            looked.append(self.update_ratio.after())
            sampling.cost(wsample.RATIO, since)
        return looked

    def _set_lr(self, number: int) -> None:
        lr = self.config.lr * self.config.lr_factor(number, self.total_steps)
        if self.planter is not None:
            lr *= self.planter.lr_factor
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def _plant(self, planter: wplanter.Planter, number: int) -> None:
        due = planter.due(number)
        if due:
            self.take()  # nothing comes after some of them
        for fault in due:
            self.log.event("fault", f"drill: {fault.spec}", number, spec=fault.spec, id=fault.name)
        planter.begin(number, self.model)

    # -- records ----------------------------------------------------------------------------------

    def _record(self, samples: int, scalars: Sequence[torch.Tensor], found: tuple[str, ...]) -> None:
        """Keep what the step's line needs. The line is made with others, a dozen times a second: between two
        steps the caches hold the network, not this code, and it would take several times as long."""
        ahead = self.timer.ahead()
        times, marks = self.timer.finish()
        more: dict[str, object] | None = None
        if self.syncs is not None and (blocked := self.syncs.end(self.step, times.wall * 1e-9)) is not None:
            more = {"sync_s": blocked}
        if self.step % MEMORY_EVERY == 0:
            more = {**(more or {}), **self.memory.read()}
        if ahead is not None or self.ranks.waited_s is not None:
            more = more or {}
            more["gpu_ahead"] = None if ahead is None else int(ahead)
            more["wait_s"] = self.ranks.waited_s
        # The first batch of an epoch waits for the loader to come up: not a measure of anything.
        mode = "warmup" if self.step % self.steps_per_epoch == 1 else self.mode
        now = time.time_ns()
        step = wtiming.Step(
            self.step, self.epoch, now, samples, self.optimizer.param_groups[0]["lr"], mode,
            self.sampling.taken(), more, times, found, bool(self.fed),
        )  # fmt: skip
        self.readback.push(step, scalars, marks)
        lost, self.lost = self.lost, False
        if now - self._taken_ns >= TAKE_NS or lost or self.not_finite_since is not None:
            self.take()

    def take(self, wait: bool = False) -> None:
        """Log the steps whose scalars have arrived, and judge their loss."""
        self._taken_ns = time.time_ns()
        for step, record, scalars in self.readback.pop(wait):
            self.sampling.end(step.times.wall * 1e-9)
            if scalars is None:
                self.log.step(record)
                continue
            accuracy, norm, ratio = step.looked
            samples = step.samples
            values = iter(scalars)
            loss = record["loss"] = next(values)
            self.layers.heard(step.number, loss)
            self.sums[0] += loss * (1 if self.task.summed else samples)
            self.sums[1] += samples
            if accuracy and self.task.classifies:
                right, judged = next(values), samples * self.task.units
                record["accuracy"] = right / judged
                self.sums[2] += right
                self.sums[3] += judged
            grad_norm = None
            if norm:
                grad_norm = record["grad_norm"] = next(values)
            if ratio:
                record["update_ratio"] = next(values)
            record.update(zip(step.extra, values))
            self.log.step(record)
            self._judge(record, loss, grad_norm)
            if step.fed:
                self.inputs.judge(self.log, step.number, samples, list(values))
        self.log.flush()

    def _judge(self, record: Mapping[str, object], loss: float, grad_norm: float | None) -> None:
        number = record["step"]
        assert isinstance(number, int)
        if math.isfinite(loss):
            self.last_finite = (number, loss)
            if self.not_finite_since is not None:
                self.not_finite_since = None
                self.log.event("note", "loss is finite again", number)
            return
        if self.not_finite_since is None:
            self.not_finite_since = number
            since, last = self.last_finite or (None, None)
            text = f"loss is {'NaN' if math.isnan(loss) else 'infinite'} at step {number:,}"
            self.log.event(
                "nonfinite", text, number, loss=loss, lr=record["lr"], grad_norm=grad_norm,
                last_finite_loss=last, last_finite_step=since, amp_scale=record.get("amp_scale"),
                **(self.origin if self.cuda is None else wlayers.origin(self.model, None)),
            )  # fmt: skip
            print(text, flush=True)

    # -- between steps ----------------------------------------------------------------------------

    def set_mode(self, mode: str) -> None:
        if mode != self.mode:
            self.mode = mode
            self.log.event("mode", mode, self.step, mode=mode)

    def _pause(self, mode: str, work: Callable[[Trainer], None]) -> None:
        """Something that is not a step, in its own mode; rank 0 does it, the others wait for it."""
        self.take(wait=True)
        before = self.mode
        self.set_mode(mode)
        if self.ranks.first:
            work(self)
        self.ranks.meet()
        self.set_mode(before)
        self.timer.restart()

    def _next_epoch(self) -> Iterator[wbatches.Batch]:
        done = self.step // self.steps_per_epoch
        skip = self.step % self.steps_per_epoch
        self.epoch = done + 1
        self.sums = [0.0, 0.0, 0.0, 0.0]
        self.epoch_begun = time.monotonic()
        self.timer.restart()
        return self.batches.epoch(self.epoch, skip, self.step + 1)
