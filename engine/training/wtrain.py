"""The training loop: the handbook's seven steps, timed and logged.

Worker side; imported by worker.py after torch. One `Trainer` is one run of one process.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from dctop.engine.training import wbatches, wckpt, wdata, wfaults, wlog, wmodel, wtiming
    from dctop.engine.training.worker import Wishes
else:
    import wbatches
    import wckpt
    import wdata
    import wfaults
    import wlog
    import wmodel
    import wtiming

WARMUP_STEPS, WARMUP_S = 20, 10.0
EVERY = 10
"""Update ratio and memory are read every so many steps."""
NAN_PATIENCE = 20
EVAL_BATCH = 500


class Outcome(NamedTuple):
    status: str
    reason: str
    step: int


class Refused(Exception):
    """The run as asked is impossible here: one line, what and what to do."""


class NotFinite(Exception):
    """The loss stayed non-finite."""


def choose_device(asked: str) -> tuple[torch.device, str]:
    """(device, why). Raises Refused: `cuda` was asked for and cannot be had."""
    if asked == "cpu":
        return torch.device("cpu"), "asked for"
    built = torch.version.cuda or getattr(torch.version, "hip", None)
    if torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
        return device, "asked for" if asked == "cuda" else "available"
    why = "torch sees no CUDA device" if built else f"torch {torch.__version__} is built without CUDA"
    if asked == "cuda":
        raise Refused(f"device cuda: {why}; use --device cpu or another --python")
    return torch.device("cpu"), why


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as source:
        for line in source:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine() or "cpu"


class Precision:
    """Autocast, TF32 switches and gradient scaling of one `--precision`. Raises Refused."""

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        self._device = device
        self._dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(name)
        cuda = device.type == "cuda"
        if name in ("tf32", "fp16") and not cuda:
            raise Refused(f"precision {name} needs a CUDA device; on the CPU use fp32 or bf16")
        if cuda:
            torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
            torch.backends.cudnn.allow_tf32 = name == "tf32"
        self.scaler = torch.cuda.amp.GradScaler() if name == "fp16" else None

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype)


class Memory:
    """Bytes the process holds: RssAnon (what a memory limit bites on: file pages can be dropped) and,
    on CUDA, what the allocator says."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._fd = os.open("/proc/self/status", os.O_RDONLY)

    def read(self) -> dict[str, int | None]:
        values: dict[str, int | None] = {"rss_anon_bytes": self._rss_anon()}
        if self._cuda:
            values["mem_allocated_bytes"] = torch.cuda.memory_allocated()
            values["mem_reserved_bytes"] = torch.cuda.memory_reserved()
            values["mem_peak_bytes"] = torch.cuda.max_memory_allocated()
        return values

    def _rss_anon(self) -> int | None:
        text = os.pread(self._fd, 4096, 0)
        at = text.find(b"RssAnon:")
        return int(text[at + 8 : text.index(b"kB", at)]) * 1024 if at >= 0 else None


class Config:
    """The options of run.json, typed. Raises Refused naming the one that is missing or strange."""

    def __init__(self, run: Mapping[str, object]) -> None:
        asked = run.get("config")
        self._values: Mapping[str, object] = asked if isinstance(asked, dict) else {}
        self.seed = self.integer("seed")
        self.epochs = self.integer("epochs")
        self.batch_size = self.integer("batch_size")
        self.max_steps = self.integer("max_steps")
        self.checkpoint_every = self.integer("checkpoint_every")
        self.eval_every = self.integer("eval_every")
        self.workers = self.integer("workers")
        self.lr = self.real("lr")
        self.l1 = self.real("l1")
        self.weight_decay = self.real("weight_decay")
        self.optimizer = self.text("optimizer")
        self.on_nan = self.text("on_nan")

    def integer(self, name: str) -> int:
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refused(f"run.json: config.{name} is {value!r}, not a whole number")
        return value

    def real(self, name: str) -> float:
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Refused(f"run.json: config.{name} is {value!r}, not a number")
        return float(value)

    def text(self, name: str) -> str:
        value = self._values.get(name)
        if not isinstance(value, str):
            raise Refused(f"run.json: config.{name} is {value!r}, not a text")
        return value

    def optional(self, name: str) -> str | None:
        return self.text(name) if self._values.get(name) is not None else None

    def faults(self) -> list[wfaults.Fault]:
        value = self._values.get("fault") or []
        try:
            return [wfaults.parse(str(spec)) for spec in value] if isinstance(value, list) else []
        except ValueError as error:
            raise Refused(str(error)) from None


class Trainer:
    """Built: everything is loaded and the `start` event is written. `run` trains to an Outcome."""

    def __init__(self, directory: str, run: Mapping[str, object], log: wlog.RunLog, wishes: Wishes) -> None:
        self.directory, self.log, self.wishes = directory, log, wishes
        self.config = config = Config(run)
        self.mode = ""
        self.step = self.epoch = 0
        self.set_mode("init")
        if config.integer("threads"):
            torch.set_num_threads(config.integer("threads"))
        self.device, why = choose_device(config.text("device"))
        self.precision = Precision(config.text("precision"), self.device)
        folder = run.get("data_dir")
        self.data = wdata.load(
            folder if isinstance(folder, str) else None,
            config.seed, config.integer("train_samples"), config.integer("test_samples"),
        )  # fmt: skip
        torch.manual_seed(config.seed)
        self.model = wmodel.mnist_cnn(config.text("activation")).to(self.device)
        self.loss = wmodel.loss_function(config.text("loss"))
        self.optimizer = wmodel.optimizer(config.optimizer, self.model, config.lr, config.weight_decay)
        faults = config.faults()
        self.planter = wfaults.Planter(faults, directory, f"run:{run.get('id')}") if faults else None
        self.memory = Memory(self.device)
        self._plan()
        self.checkpoints = config.optional("checkpoint_dir") or os.path.join(directory, "checkpoints")
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.update_ratio = wmodel.UpdateRatio(wmodel.weights(self.model))
        self.best_accuracy = -1.0
        self.accuracy: float | None = None
        self.not_finite_since: int | None = None
        self.last_finite: tuple[int, float] | None = None
        self._sums = [0.0, 0.0, 0.0]
        """Of the epoch: loss x samples, correct, samples."""
        self.timer = wtiming.StepTimer()
        self.readback = wtiming.Readback(self.device)
        resume = run.get("resume_from")
        if isinstance(resume, str):
            self._resume(resume)
        self._announce(why)

    def _plan(self) -> None:
        config = self.config
        samples = len(self.data.train_labels)
        batches = -(-samples // config.batch_size)
        self.micro = batches if config.optimizer == "batch-gd" else 1
        self.steps_per_epoch = batches // self.micro
        planned = config.epochs * self.steps_per_epoch
        self.total_steps = min(planned, config.max_steps) if config.max_steps else planned
        self.eval_every = config.eval_every or self.steps_per_epoch
        self.checkpoint_every = config.checkpoint_every or self.steps_per_epoch
        order = wbatches.Order(samples, config.batch_size, config.seed, self.micro)
        fetch = wbatches.Fetch(self.data.train_images, self.data.train_labels, self.planter)
        self.batches = wbatches.Batches(fetch, order, config.workers, self.device.type == "cuda")

    def _announce(self, why: str) -> None:
        facts: dict[str, object] = {
            "data": {
                "source": self.data.source, "synthetic": self.data.synthetic,
                "classes": list(self.data.classes),
                "train_samples": len(self.data.train_labels), "test_samples": len(self.data.test_labels),
            },
            "device": {
                "asked": self.config.text("device"), "chosen": str(self.device), "why": why,
                "name": device_name(self.device),
            },
            "versions": {
                "python": platform.python_version(), "torch": str(torch.__version__),
                "cuda": torch.version.cuda,
            },
            "parameters": sum(p.numel() for p in self.parameters),
            "macs_per_sample": wmodel.MACS_PER_SAMPLE["mnist-cnn"],
            "threads": torch.get_num_threads(),
            "total_steps": self.total_steps,
            "total_epochs": -(-self.total_steps // self.steps_per_epoch),
            "steps_per_epoch": self.steps_per_epoch,
            "eval_every": self.eval_every,
            "checkpoint_every": self.checkpoint_every,
            "first_step": self.step + 1,
        }  # fmt: skip
        wlog.update_run(self.directory, **facts)
        text = f"{self.data.source} on {self.device}: {self.total_steps:,} steps"
        self.log.event("start", text, self.step, pid=os.getpid(), **facts)
        print(text, flush=True)

    # -- the loop ---------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Train until the last step, a wish to stop, or an exception."""
        begun, first = time.monotonic(), self.step
        self.set_mode("warmup")
        batches = self._next_epoch()
        while self.step < self.total_steps and self.wishes.stop is None:
            warm = self.step - first >= WARMUP_STEPS and time.monotonic() - begun >= WARMUP_S
            if warm and self.mode == "warmup":
                self.set_mode("train")
            self.one_step(batches)
            at_end = self.step % self.steps_per_epoch == 0
            last = self.step == self.total_steps
            if at_end:
                self._end_epoch()
            if last or self.step % self.eval_every == 0:
                self._pause("eval", self.evaluate)
            if self.wishes.checkpoint or last or self.step % self.checkpoint_every == 0:
                self.wishes.checkpoint = False
                self._pause("checkpoint", self.checkpoint)
            if at_end and not last:
                batches = self._next_epoch()
        self._take(wait=True)
        return self._finish()

    def _finish(self) -> Outcome:
        self.batches.close()
        if self.planter is not None:
            self.planter.close(self.step)
        if self.wishes.stop is not None and self.step < self.total_steps:
            self.log.event("stop", f"stopping after step {self.step:,}: {self.wishes.stop}", self.step)
            if self.step:
                self._pause("checkpoint", self.checkpoint)
            return Outcome("stopped", f"stopped by {self.wishes.stop} after step {self.step:,}", self.step)
        if self.accuracy is not None:
            print(f"Test accuracy: {self.accuracy:.2f}", flush=True)
        return Outcome("finished", f"reached its last step, {self.step:,}", self.step)

    def one_step(self, batches: Iterator[wbatches.Batch]) -> None:
        """Data to device, forward, loss, backward, update: one record."""
        number = self.step + 1
        timer, planter, scaler = self.timer, self.planter, self.precision.scaler
        if planter is not None:
            for fault in planter.due(number):
                self.log.event("fault", f"drill: {fault.spec}", number, spec=fault.spec, id=fault.name)
            planter.begin(number, self.optimizer)
            timer.lap(wtiming.OTHER)
        loss_sum = correct = None
        samples = 0
        for _ in range(self.micro):
            loss, hits, n = self._forward_backward(next(batches), number)
            loss_sum = loss if loss_sum is None else loss_sum + loss
            correct = hits if correct is None else correct + hits
            samples += n
        assert loss_sum is not None and correct is not None
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        grads = [p.grad for p in self.parameters if p.grad is not None]
        scalars = [loss_sum, correct, *wmodel.norms(grads)]
        look = number % EVERY == 0
        if look:
            self.update_ratio.before()
        timer.lap(wtiming.OTHER)
        if scaler is not None:
            scaler.step(self.optimizer)
            scaler.update()
        else:
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        timer.lap(wtiming.UPDATE)
        if look:
            scalars.append(self.update_ratio.after())
        self.step = number
        self._record(samples, scalars, look)

    def _forward_backward(self, batch: wbatches.Batch, number: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        timer, config = self.timer, self.config
        images, labels = batch
        n = len(labels)
        if self.device.type == "cpu":
            x, y = images.float().div_(255.0), labels
            if self.planter is not None:
                self.planter.batch(number, x)
            timer.data_lap()
        else:
            timer.data_lap()
            x = images.to(self.device, non_blocking=True).float().div_(255.0)
            y = labels.to(self.device, non_blocking=True)
            if self.planter is not None:
                self.planter.batch(number, x)
        timer.lap(wtiming.H2D)
        with self.precision.autocast():
            logits = self.model(x)
            timer.lap(wtiming.FORWARD)
            loss = self.loss(logits, y)
        # The step's loss is the mean over its samples, however many batches it came in.
        if self.micro > 1:
            loss = loss * (n / len(self.data.train_labels))
        reported = loss.detach()
        if config.l1:
            loss = loss + config.l1 / self.micro * wmodel.l1_norm(self.model)
        timer.lap(wtiming.LOSS)
        scaler = self.precision.scaler
        (loss if scaler is None else scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
        timer.lap(wtiming.BACKWARD)
        hits = (logits.argmax(1) == y).sum()
        timer.lap(wtiming.OTHER)
        return reported, hits, n

    def _record(self, samples: int, scalars: Sequence[torch.Tensor], look: bool) -> None:
        times = self.timer.finish()
        record: dict[str, object] = {
            "step": self.step, "epoch": self.epoch, "wall_ns": time.time_ns(),
            "step_s": times.pop("step_s"), "samples": samples, **times,
            "lr": self.optimizer.param_groups[0]["lr"],
            # The first batch of an epoch waits for the loader to come up: not a measure of anything.
            "mode": "warmup" if self.step % self.steps_per_epoch == 1 and self.micro == 1 else self.mode,
        }  # fmt: skip
        if look:
            record.update(self.memory.read())
        self.readback.push(record, scalars)
        self._take()

    def _take(self, wait: bool = False) -> None:
        """Log the steps whose scalars have arrived, and judge their loss."""
        for record, scalars in self.readback.pop(wait):
            if scalars is None:
                self.log.step(record)
                continue
            samples = record["samples"]
            assert isinstance(samples, int)
            loss, correct = scalars[0], scalars[1]
            looked = "rss_anon_bytes" in record
            grad_norm = math.hypot(*(scalars[2:-1] if looked else scalars[2:]))
            record["loss"] = loss
            record["accuracy"] = correct / samples
            record["grad_norm"] = grad_norm
            record["update_ratio"] = scalars[-1] if looked else None
            sums = self._sums
            sums[0] += loss * samples
            sums[1] += correct
            sums[2] += samples
            self.log.step(record)
            self._judge(record, loss, grad_norm)

    def _judge(self, record: Mapping[str, object], loss: float, grad_norm: float) -> None:
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
                last_finite_loss=last, last_finite_step=since,
            )  # fmt: skip
            print(text, flush=True)
        if self.config.on_nan == "stop" and number - self.not_finite_since >= NAN_PATIENCE:
            raise NotFinite(f"loss is not finite since step {self.not_finite_since:,} ({NAN_PATIENCE} steps)")

    # -- between steps ----------------------------------------------------------------------------

    def set_mode(self, mode: str) -> None:
        if mode != self.mode:
            self.mode = mode
            self.log.event("mode", mode, self.step, mode=mode)

    def _pause(self, mode: str, work: object) -> None:
        """Something that is not a step, in its own mode."""
        assert callable(work)
        self._take(wait=True)
        before = self.mode
        self.set_mode(mode)
        work()
        self.set_mode(before)
        self.timer.restart()

    def _next_epoch(self) -> Iterator[wbatches.Batch]:
        done = self.step // self.steps_per_epoch
        skip = self.step % self.steps_per_epoch
        self.epoch = done + 1
        self._sums = [0.0, 0.0, 0.0]
        self._epoch_begun = time.monotonic()
        self.timer.restart()
        return self.batches.epoch(self.epoch, skip, self.step + 1)

    def _end_epoch(self) -> None:
        self._take(wait=True)
        loss_sum, correct, samples = self._sums
        if not samples:
            return
        loss, accuracy = loss_sum / samples, correct / samples
        text = f"epoch {self.epoch}: loss {loss:.4f}, accuracy {accuracy:.4f}"
        seconds = time.monotonic() - self._epoch_begun
        self.log.event(
            "epoch", text, self.step, epoch=self.epoch, loss=loss, accuracy=accuracy, seconds=seconds
        )
        print(text, flush=True)

    @torch.no_grad()
    def evaluate(self) -> None:
        """Loss (mean of the loss used) and accuracy on the test set, recall a class. A wish to stop
        ends it without a result."""
        begun = time.monotonic()
        classes = len(self.data.classes)
        counts = torch.zeros(2, classes, dtype=torch.int64)
        """Row 0: correct, row 1: all, a class."""
        loss_sum, n = 0.0, len(self.data.test_labels)
        self.model.eval()
        for start in range(0, n, EVAL_BATCH):
            if self.wishes.stop is not None:
                self.model.train()
                return
            x = self.data.test_images[start : start + EVAL_BATCH].to(self.device).float().div_(255.0)
            y = self.data.test_labels[start : start + EVAL_BATCH].to(self.device)
            with self.precision.autocast():
                logits = self.model(x)
                loss = self.loss(logits, y)
            loss_sum += loss.item() * len(y)
            hit = logits.argmax(1) == y
            counts[0] += torch.bincount(y[hit], minlength=classes).cpu()
            counts[1] += torch.bincount(y, minlength=classes).cpu()
            self.log.tick()
        self.model.train()
        self._evaluated(loss_sum / n, counts, n, time.monotonic() - begun)

    def _evaluated(self, loss: float, counts: torch.Tensor, n: int, seconds: float) -> None:
        hits, totals = counts.tolist()
        self.accuracy = accuracy = sum(hits) / n
        recall = [h / t if t else None for h, t in zip(hits, totals)]
        text = f"step {self.step:,}: test loss {loss:.4f}, test accuracy {accuracy:.4f}"
        self.log.event(
            "eval", text, self.step, epoch=self.epoch, loss=loss, accuracy=accuracy, recall=recall, samples=n,
            seconds=seconds,
        )  # fmt: skip
        print(text, flush=True)

    def checkpoint(self) -> None:
        """Save; a failure is an event, never the end of the training."""
        if self.not_finite_since is not None:
            text = "no checkpoint: the loss is not finite; the last good one stays"
            self.log.event("checkpoint", text, self.step, ok=False, error=text)
            return
        best = self.accuracy is not None and self.accuracy > self.best_accuracy
        try:
            saved = wckpt.save(self.checkpoints, self.step, self._state(), best)
        except wckpt.CheckpointError as error:
            text = f"checkpoint failed: {error}"
            self.log.event(
                "checkpoint", text, self.step, ok=False, error=str(error), errno=error.code,
                directory=self.checkpoints,
            )  # fmt: skip
            print(text, flush=True)
            return
        if best and self.accuracy is not None:
            self.best_accuracy = self.accuracy
        text = f"saved {os.path.basename(saved.path)}" + (", the best so far" if best else "")
        self.log.event(
            "checkpoint", text, self.step, ok=True, path=saved.path, bytes=saved.bytes,
            seconds=saved.seconds, best=best,
        )  # fmt: skip

    def _state(self) -> dict[str, object]:
        scaler = self.precision.scaler
        sample = self.data.train_images[:10_000].float().div_(255.0)
        return {
            "format": wckpt.FORMAT, "workload": "mnist-cnn", "step": self.step,
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else None,
            "rng": torch.get_rng_state(), "best_accuracy": self.best_accuracy,
            "activation": self.config.text("activation"), "classes": list(self.data.classes),
            "input": {"mean": sample.mean().item(), "std": sample.std().item(), "samples": len(sample)},
        }  # fmt: skip

    def _resume(self, path: str) -> None:
        state = wckpt.load(path)
        try:
            self.model.load_state_dict(state["model"])  # type: ignore[arg-type]
            self.optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]
            if self.precision.scaler is not None and state.get("scaler"):
                self.precision.scaler.load_state_dict(state["scaler"])  # type: ignore[arg-type]
            torch.set_rng_state(state["rng"])  # type: ignore[arg-type]
            self.step = int(state["step"])  # type: ignore[call-overload]
            self.best_accuracy = float(state["best_accuracy"])  # type: ignore[arg-type]
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            line = str(error).strip().split("\n")[0][:200]
            raise Refused(f"{path}: does not fit this run ({type(error).__name__}: {line})") from None
        self.log.event("note", f"resumed after step {self.step:,} from {path}", self.step, path=path)
        if self.step >= self.total_steps:
            done = f"{path} is at step {self.step:,} of {self.total_steps:,}"
            raise Refused(f"{done}: nothing is left to do; raise --epochs")
