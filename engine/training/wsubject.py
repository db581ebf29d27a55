"""What is measured: a checkpoint's model with its data, requests served one by one, predictions tallied.

Worker side; imported by winfer.py after torch.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from dctop.engine.training import wckpt, wconfig, wdevice, wfaults, wmeasure, wtasks
else:
    import wckpt
    import wconfig
    import wdevice
    import wfaults
    import wmeasure
    import wtasks

TRAIN_SAMPLES, TRAIN_UNITS = 10_000, 1 << 18
KEPT_VALUES = 200_000
"""Log-probabilities a temperature is searched on: 20,000 predictions among ten classes."""
CONTEXT_GUESS = 1024
"""Bytes of text a sample of gpt is taken for, where only so many are asked for."""
_OLD: dict[str, Any] = {
    "seed": 0, "epochs": 1, "batch_size": 32, "max_steps": 0, "checkpoint_every": 0, "eval_every": 0,
    "lr": 1e-3, "l1": 0.0, "weight_decay": 0.0, "optimizer": "adam", "on_nan": "stop",
    "loss": "cross-entropy",
}  # fmt: skip
"""What a checkpoint without its options is taken to have been trained with."""


class Spec:
    """What run.json asks for, typed; a missing option has its default."""

    def __init__(self, run: Mapping[str, Any]) -> None:
        asked = run.get("config")
        values: Mapping[str, Any] = asked if isinstance(asked, dict) else {}
        self.checkpoint = str(values.get("checkpoint") or "")
        self.batch = max(1, int(values.get("batch_size") or 1))
        self.max_batch = max(1, int(values.get("max_batch") or 1))
        self.requests = max(1, int(values.get("requests") or 1))
        self.seconds = float(values.get("seconds") or 0.0)
        self.samples = int(values.get("samples") or 0)
        self.dtype = str(values.get("precision") or "fp32")
        self.device = str(values.get("device") or "auto")
        self.threads = int(values.get("threads") or 0)
        self.rate = float(values.get("rate") or 0.0)
        self.slo_s = float(values.get("slo_ms") or 0.0) / 1000
        self.baseline = str(values.get("baseline") or "keep")
        self.baselines = str(run.get("baselines_dir") or "")
        self.data_dir = run.get("data_dir")
        self.data = values.get("data")
        self.seed = int(values.get("seed") or 0)
        self.fault = dict(wfaults.parse_infer(str(spec)) for spec in values.get("fault") or [])


class Request:
    """Seconds of one request by stage; `queue`: between its intended arrival and its start. `cpu` of the
    thread, `pre_cpu` of it in preprocessing; `collected`: the garbage collector ran meanwhile."""

    __slots__ = ("collected", "cpu", "forward", "h2d", "post", "pre", "pre_cpu", "queue", "total")

    def __init__(self) -> None:
        self.pre = self.h2d = self.forward = self.post = self.total = self.queue = 0.0
        self.cpu: float | None = None
        self.pre_cpu: float | None = None
        self.collected = False

    @property
    def cpu_share(self) -> float | None:
        """Thread CPU / wall after preprocessing: below 1 the thread waited for a core. None on CUDA, where it
        waits for the device by design."""
        wall = self.total - self.queue - self.pre
        if self.cpu is None or self.pre_cpu is None or wall <= 0:
            return None
        return min(1.0, (self.cpu - self.pre_cpu) / wall)


class Subject:
    """The model under measurement and its data, on its device."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        if spec.threads:
            torch.set_num_threads(spec.threads)
        self.device, self.why = wdevice.choose_device(spec.device)
        self.device_name = wdevice.device_name(self.device)
        self.cuda = wdevice.accelerator(self.device)
        self.state = wckpt.load(spec.checkpoint)
        self.workload = str(self.state.get("workload") or "mnist-cnn")
        if self.workload == "linear":
            raise wconfig.Refused("linear has three samples and nothing to serve; mnist-cnn and gpt have")
        self.dtype = self._dtype()
        self.config = wconfig.Config({"workload": self.workload, "config": self._options()})
        folder = spec.data_dir if isinstance(spec.data_dir, str) else None
        self.task = wtasks.load(self.config, folder)
        self.classes = list(self.task.classes)
        self.model = self._model()
        self.hash = weights_hash(self.state["model"])  # type: ignore[arg-type]
        pairs = list(self.task.test_batches())
        self.test_x, self.test_y = (torch.cat([pair[i] for pair in pairs]) for i in (0, 1))
        """As stored: bytes."""
        some = min(TRAIN_SAMPLES, self.task.train_count, max(1, TRAIN_UNITS // self.task.units))
        self.train_x, self.train_y = self.task.fetch(torch.arange(some))
        self.factor = 255.0 if "raw-inputs" in spec.fault else 1.0
        if self.workload == "mnist-cnn":
            self._spoil_inputs()
        self.delay_s = spec.fault.get("slow-preprocess", 0.0) / 1000
        self._marks = [self.cuda.event() for _ in range(4)] if self.cuda is not None else []
        """On the device: before the copy, after it, after the forward pass, the answer is on the host."""

    def _spoil_inputs(self) -> None:
        """The drills that serve images as they were not trained on."""
        for name in self.spec.fault:
            if name == "inverted":
                self.test_x = 255 - self.test_x
            elif name == "transposed":
                self.test_x = self.test_x.transpose(-1, -2).contiguous()

    def _options(self) -> dict[str, Any]:
        """What the checkpoint was trained with, but the data that are asked for here."""
        stored = self.state.get("config")
        options: dict[str, Any] = {**_OLD, **(stored if isinstance(stored, dict) else {})}
        if isinstance(self.state.get("activation"), str):
            options["activation"] = self.state["activation"]
        samples = self.spec.samples
        options["test_samples"] = samples * CONTEXT_GUESS if samples and self.workload == "gpt" else samples
        if self.spec.data:
            options["data"] = self.spec.data
        # Generated images: only as many to train on as are looked at here.
        if self.spec.data_dir is None and self.workload == "mnist-cnn":
            options["train_samples"] = TRAIN_SAMPLES
        return options

    def _dtype(self) -> Any:
        found = {
            "fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16
        }.get(self.spec.dtype)  # fmt: skip
        if found is None:
            raise wconfig.Refused(f"precision {self.spec.dtype}: choose fp32, tf32, bf16 or fp16")
        if not self.cuda and self.spec.dtype in ("tf32", "fp16"):
            raise wconfig.Refused(
                f"precision {self.spec.dtype} needs a CUDA device; on the CPU use fp32 or bf16"
            )
        if self.cuda:
            torch.backends.cuda.matmul.allow_tf32 = self.spec.dtype == "tf32"
            torch.backends.cudnn.allow_tf32 = self.spec.dtype == "tf32"
        return found

    def _model(self) -> torch.nn.Module:
        model = self.task.build()
        weights: Any = self.state["model"]
        wanted = model.state_dict()
        missing = sorted(set(wanted) - set(weights))
        unexpected = sorted(set(weights) - set(wanted))
        shapes = [k for k in wanted if k in weights and weights[k].shape != wanted[k].shape]
        if missing or unexpected or shapes:
            error = wckpt.CheckpointError(
                f"{self.spec.checkpoint}: does not fit {self.workload}: {len(missing)} missing, "
                f"{len(unexpected)} unexpected, {len(shapes)} of another shape"
            )
            error.keys = {"missing": missing, "unexpected": unexpected, "shapes": shapes}  # type: ignore[attr-defined]
            raise error
        model.load_state_dict(weights)
        model = model.to(self.device, self.dtype)
        return model.train("train-mode" in self.spec.fault)

    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def noisy_layers(self) -> int:
        """Layers that compute otherwise in training mode: dropout, batch normalisation."""
        from torch.nn.modules.batchnorm import _BatchNorm
        from torch.nn.modules.dropout import _DropoutNd

        active = (m for m in self.model.modules() if not isinstance(m, _DropoutNd) or m.p > 0)
        return sum(isinstance(m, (_DropoutNd, _BatchNorm)) for m in active)

    def guard(self) -> Any:
        """No gradients, unless the drill wants them."""
        return torch.enable_grad() if "grad-on" in self.spec.fault else torch.inference_mode()

    def preprocess(self, x: torch.Tensor) -> torch.Tensor:
        """Bytes -> the model's input: what the serving side must do exactly as the training did."""
        if self.delay_s:
            time.sleep(self.delay_s)
        ready = self.task.prepare(x, x)[0]
        return ready * self.factor if self.factor != 1.0 and ready.is_floating_point() else ready

    def to_device(self, x: torch.Tensor) -> torch.Tensor:
        """Numbers become the precision asked for, bytes stay whole."""
        if self.cuda is not None:
            x = self.cuda.put(self.cuda.pin(x))
        return x.to(self.device, self.dtype if x.is_floating_point() else None)

    def serve(self, stored: torch.Tensor) -> tuple[Request, list[Any]]:
        """One request, from what is stored to the prediction on the host."""
        if self.cuda is not None:
            return self._serve_on(self.cuda, stored)
        clock, used, request = time.perf_counter, time.thread_time, Request()
        cpu, begun = used(), clock()
        x = self.preprocess(stored)
        ready = clock()
        pre_cpu = used() - cpu
        x = self.to_device(x)
        moved = clock()
        logits = self.model(x)
        computed = clock()
        answer = self._answer(logits).tolist()
        done = clock()
        request.cpu, request.pre_cpu = used() - cpu, pre_cpu
        request.pre, request.h2d, request.total = ready - begun, moved - ready, done - begun
        request.forward, request.post = computed - moved, done - computed
        return request, answer

    def _answer(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.softmax(logits.float(), -1).argmax(-1)

    def _serve_on(self, cuda: wdevice.Cuda, stored: torch.Tensor) -> tuple[Request, list[Any]]:
        """The same where the host only issues the work. It waits once, for the answer: by then the events
        before it have passed and are read without waiting. What the copy and the forward pass took on the
        device is theirs; the rest of the host's wait belongs to post."""
        clock, request, marks = time.perf_counter, Request(), self._marks
        begun = clock()
        x = self.preprocess(stored)
        ready = clock()
        x = cuda.pin(x)
        pinned = clock()
        cuda.record(marks[0])
        x = cuda.put(x)
        x = x.to(self.dtype) if x.is_floating_point() else x
        cuda.record(marks[1])
        logits = self.model(x)
        cuda.record(marks[2])
        answer = self._answer(logits)
        host = cuda.pinned(answer.numel())
        cuda.fetch(host, answer.flatten())  # float32 holds every class exactly
        cuda.record(marks[3])
        marks[3].synchronize()
        done = clock()
        copied, computed = (marks[i].elapsed_time(marks[i + 1]) / 1000 for i in (0, 1))
        request.pre, request.total, waited = ready - begun, done - begun, done - pinned
        copied = min(copied, waited)
        request.h2d = pinned - ready + copied
        request.forward = min(computed, waited - copied)
        request.post = waited - copied - request.forward
        return request, host.to(torch.int64).view(answer.shape).tolist()

    def batch(self, number: int, size: int) -> torch.Tensor:
        """The `number`-th batch of test samples, around and around."""
        n = len(self.test_x)
        start = number * size % n
        if start + size <= n:
            return self.test_x[start : start + size]
        return self.test_x[torch.arange(start, start + size) % n]


def weights_hash(weights: Mapping[str, torch.Tensor]) -> str:
    """Of names, shapes and bytes of all tensors: sixteen hex digits that name a model."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        # Without numpy there is no other way to all bytes at once.
        digest.update(ctypes.string_at(tensor.data_ptr(), tensor.numel() * tensor.element_size()))
    return digest.hexdigest()[:16]


class Tally:
    """Adds up log-probabilities and answers of predictions among `k` classes."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._confusion = torch.zeros(k * k, dtype=torch.int64)
        self._confidences: list[float] = []
        self._correct: list[bool] = []
        self._nll = 0.0
        self._kept: list[tuple[torch.Tensor, torch.Tensor]] = []
        """The first predictions whole, for the temperature."""
        self._room = KEPT_VALUES // k

    def add(self, logp: torch.Tensor, y: torch.Tensor) -> None:
        self._nll -= logp.gather(1, y.view(-1, 1)).sum().item()
        top, said = logp.exp().max(1)
        if self._room > 0:
            self._kept.append((logp[: self._room], y[: self._room]))
            self._room -= len(y)
        self._confidences += top.tolist()
        self._correct += (said == y).tolist()
        self._confusion += torch.bincount(y * self._k + said, minlength=self._k * self._k)

    def _temperature(self) -> dict[str, float]:
        """`t` by which the logits are divided for the least NLL, and that NLL `nll` (Guo et al. 2017), on at
        most KEPT_VALUES numbers. NLL is convex in 1 / t: a search by thirds of log t finds it."""
        logp, y = (torch.cat([pair[i] for pair in self._kept]) for i in (0, 1))

        def nll(log_t: float) -> float:
            scaled = torch.log_softmax(logp / math.exp(log_t), -1)
            return -scaled.gather(1, y.view(-1, 1)).mean().item()

        low, high = math.log(0.05), math.log(1000.0)
        for _ in range(25):
            a, b = low + (high - low) / 3, high - (high - low) / 3
            low, high = (low, b) if nll(a) < nll(b) else (a, high)
        middle = (low + high) / 2
        return {"t": math.exp(middle), "nll": nll(middle), "before": nll(0.0)}

    def result(self, classes: list[str]) -> dict[str, Any]:
        """`recall`, `support`, `confusion` where the classes have names."""
        table = self._confusion.view(self._k, self._k)
        totals, predicted = table.sum(1).tolist(), table.sum(0).tolist()
        hits, n = table.diagonal().tolist(), len(self._correct)
        found: dict[str, Any] = {
            "accuracy": sum(hits) / n, "samples": n, "nll": self._nll / n,
            "ece": wmeasure.calibration(self._confidences, self._correct),
            "confidence": sum(self._confidences) / n, "predicted": [p / n for p in predicted],
            "interval": wmeasure.wilson(sum(hits), n), "classes": classes or None,
            "recall": None, "support": None, "confusion": None, "temperature": self._temperature(),
        }  # fmt: skip
        if classes:
            found["recall"] = [h / t if t else None for h, t in zip(hits, totals)]
            found["support"], found["confusion"] = totals, table.tolist()
        return found
