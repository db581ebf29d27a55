"""The inference worker: `python winfer.py --run-dir DIR [--supervise]` measures a checkpoint.

Worker side, like worker.py: any Python >= 3.9 with torch, dctop not installed. `DIR/run.json` has workload
`infer` and says what to measure; the results are events of `DIR/steps.jsonl` (docs/RUNLOG.md), one request a
step. The measurement is a run: it is stopped, killed, watched, recorded and judged as any other.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [HERE, *(p for p in sys.path if os.path.abspath(p or ".") != HERE)]

if TYPE_CHECKING:
    import torch

    from dctop.engine.training import wckpt, wlog, wmeasure, worker, wsubject, wsuper
else:
    import wckpt
    import wlog
    import wmeasure
    import worker
    import wsuper

FORMAT = 1
WINDOW = 200
"""Requests a `latency` event of one window is made of."""
INPUT_SAMPLES = 1024
CHUNK = 256
"""Batch of the accuracy pass."""
POINT_S, POINT_REPEATS = 0.3, 5
"""A point of the throughput curve takes at least so long and so many requests."""
STEADY = 1.2
PROBES = 40
"""Requests with and without gradients, each."""
TAIL, WAITED = 3.0, 0.8
"""A request is slow beyond TAIL medians; it waited for a core below so much CPU a second of wall time."""
DIFFERS = 1e-3


class Collections:
    """Counts runs of the garbage collector while it listens."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, phase: str, _: Mapping[str, int]) -> None:
        self.seen += phase == "start"


class Measurement:
    """All parts of a measurement, in order; `summary` is what a later one is compared with."""

    def __init__(
        self, directory: str, run: Mapping[str, Any], log: wlog.RunLog, wishes: worker.Wishes
    ) -> None:
        self.directory, self.run, self.log, self.wishes = directory, run, log, wishes
        self.step = 0
        self.planter = None
        self.mode = ""
        self.summary: dict[str, Any] = {}
        self.set_mode("init")
        if not TYPE_CHECKING:
            import wsubject
        self.spec = wsubject.Spec(run)
        try:
            self.subject = wsubject.Subject(self.spec)
        except wckpt.CheckpointError as error:
            keys = getattr(error, "keys", {})
            log.event("checkpoint", str(error), None, ok=False, error=str(error), **keys)
            raise
        self._announce()

    def set_mode(self, mode: str) -> None:
        if mode != self.mode:
            self.mode = mode
            self.log.event("mode", mode, self.step, mode=mode)

    def say(self, kind: str, text: str, **data: object) -> None:
        self.log.event(kind, text, self.step, **data)
        print(text, flush=True)

    def _announce(self) -> None:
        import torch

        s, spec = self.subject, self.spec
        facts: dict[str, object] = {
            "versions": {
                "python": ".".join(map(str, sys.version_info[:3])), "torch": torch.__version__,
                "cuda": torch.version.cuda,
            },
            "device": {"asked": spec.device, "chosen": str(s.device), "why": s.why, "name": s.device_name},
            "data": {
                "source": s.task.source, "synthetic": s.task.synthetic, "classes": s.classes,
                "train_samples": len(s.train_x), "test_samples": len(s.test_x),
            },
            "parameters": s.parameters(),
            "macs_per_sample": s.task.macs,
            "unit": s.task.unit,
            "units_per_sample": s.task.units,
            "threads": torch.get_num_threads(),
            "total_steps": spec.requests,
            "model": {
                "hash": s.hash, "workload": s.workload, "checkpoint": spec.checkpoint,
                "step": s.state["step"], "of": (self.run.get("measures") or {}).get("run"),
            },
            "flags": {
                "training": s.model.training, "noisy_layers": s.noisy_layers(), "grad": self._grad(),
                "batch_size": spec.batch, "dtype": spec.dtype, "rate": spec.rate or None,
                "slo_s": spec.slo_s or None,
            },
        }  # fmt: skip
        wlog.update_run(self.directory, **facts)
        text = (
            f"{os.path.basename(spec.checkpoint)} ({s.hash}) on {s.device}, batch {spec.batch}, {spec.dtype}"
        )
        self.say("start", text, pid=os.getpid(), **facts)
        for name, size in spec.fault.items():
            self.log.event("fault", f"drill: {name}", 1, id=name, spec=f"{name}:{size:g}")
            self._truth(name, size, None)

    def _grad(self) -> bool:
        """Whether autograd records what requests compute."""
        import torch

        with self.subject.guard():
            return torch.is_grad_enabled()

    def _truth(self, name: str, size: float, t1: int | None) -> None:
        begun = int(self.run.get("created_wall_ns") or 0)
        line = {
            "id": name, "entity": f"run:{self.run.get('id')}", "t0": begun, "t1": t1, "step0": 1,
            "step1": self.step if t1 else None, "magnitude": size, "spec": f"{name}:{size:g}",
        }  # fmt: skip
        with open(os.path.join(self.directory, "truth.jsonl"), "a", encoding="utf-8") as out:
            out.write(json.dumps(line, separators=(",", ":")) + "\n")

    # -- the parts ----------------------------------------------------------------------------------

    def measure(self) -> tuple[str, str, int]:
        """(status, reason, requests). Parts that a stop left out are missing in the log."""
        parts: tuple[Callable[[], None], ...] = (
            self.inputs, self.determinism, self.autograd, self.latency, self.throughput, self.quality
        )  # fmt: skip
        with self.subject.guard():
            self.coldstart()
            self.set_mode("infer")
            for part in parts:
                if self.wishes.stop is not None:
                    break
                part()
        for name, size in self.spec.fault.items():
            self._truth(name, size, time.time_ns())
        if self.wishes.stop is not None:
            self.log.event("stop", f"stopping: {self.wishes.stop}", self.step)
            return "stopped", f"stopped by {self.wishes.stop} after request {self.step:,}", self.step
        self.baseline()
        return "finished", f"measured {self.step:,} requests", self.step

    def coldstart(self) -> None:
        """The first requests, which are no part of any percentile."""
        self.set_mode("warmup")
        begun = time.monotonic()
        times: list[float] = []
        least = 20
        while len(times) < least or (len(times) < 100 and time.monotonic() - begun < 1.0):
            request, _ = self.subject.serve(self.subject.batch(len(times), self.spec.batch))
            times.append(request.total)
        steady = wmeasure.quantile(sorted(times[len(times) // 2 :]), 0.5) or 0.0
        dummy = next((i for i, t in enumerate(times) if t <= STEADY * steady), len(times))
        ratio = times[0] / steady if steady else None
        self.summary["coldstart"] = {"first_s": times[0], "steady_s": steady, "ratio": ratio, "calls": dummy}
        shown = f"{ratio:.1f} times" if ratio else "-"
        self.say(
            "coldstart",
            f"first request {times[0] * 1e3:.1f} ms, {shown} a steady one",
            **self.summary["coldstart"],
        )

    def inputs(self) -> None:
        """What the model is fed here, beside what it was trained on."""
        s = self.subject
        x = s.preprocess(s.test_x[:INPUT_SAMPLES])
        f = x.float()
        now = {
            "min": f.min().item(), "max": f.max().item(), "mean": f.mean().item(), "std": f.std().item(),
            "dtype": str(x.dtype).replace("torch.", ""), "shape": list(x.shape[1:]), "samples": len(x),
        }  # fmt: skip
        stored = s.state.get("input")
        trained = {k: v for k, v in stored.items() if isinstance(k, str)} if isinstance(stored, dict) else {}
        found = wmeasure.compare_inputs(now, trained)
        found["psi"] = self._histogram_drift(f, trained)
        words = f"inputs mean {now['mean']:.3g} std {now['std']:.3g}"
        if trained:
            words += f", at training {trained.get('mean', 0):.3g} and {trained.get('std', 0):.3g}"
        if found["mismatch"]:
            words += ": preprocessing differs from the training's"
        self.summary["inputs"] = {"now": now, "trained": trained or None, **found}
        self.say("inputs", words, **self.summary["inputs"])

    def _histogram_drift(self, x: torch.Tensor, trained: Mapping[str, Any]) -> float | None:
        """PSI of the values against the training's histogram; what is outside counts at its ends."""
        shares, low, high = trained.get("histogram"), trained.get("min"), trained.get("max")
        if not isinstance(low, float) or not isinstance(high, float) or low >= high:
            return None
        if not isinstance(shares, list) or len(shares) < 2:
            return None
        import torch

        counts = torch.histc(x.clamp(low, high), len(shares), low, high)
        return wmeasure.stability_index((counts / counts.sum()).tolist(), shares)

    def determinism(self) -> None:
        """The same batch twice must give the same answer."""
        s = self.subject
        x = s.to_device(s.preprocess(s.batch(0, max(self.spec.batch, 32))))
        first = s.model(x).float()
        diff = (first - s.model(x).float()).abs().max().item()
        self.summary["determinism"] = {"max_diff": diff, "limit": DIFFERS, "ok": diff <= DIFFERS}
        words = (
            "twice the same answer" if diff == 0 else f"two runs of one batch differ by {diff:.2g} at most"
        )
        self.say("determinism", words, **self.summary["determinism"])

    def autograd(self) -> None:
        """Where gradients are tracked: what that costs a request, measured alternately."""
        import torch

        if not torch.is_grad_enabled():
            return
        s = self.subject
        times: dict[bool, list[float]] = {True: [], False: []}
        for i in range(2 * PROBES):
            with torch.set_grad_enabled(i % 2 == 0):
                request, _ = s.serve(s.batch(i // 2, self.spec.batch))
            times[i % 2 == 0].append(request.total - request.pre)
        with_s, without_s = (wmeasure.quantile(sorted(times[on]), 0.5) or 0.0 for on in (True, False))
        text = f"gradients are tracked: {_ms(with_s)} a request, {_ms(without_s)} without"
        self.say("autograd", text, with_s=with_s, without_s=without_s, cost_s=with_s - without_s)

    def reference(self) -> Mapping[str, Any] | None:
        """The baseline's latencies, logged before the first request so that each window can be held against
        them."""
        then = self.stored()
        if then is None:
            return None
        summary = then["summary"]
        whole, stages = summary.get("latency") or {}, summary.get("stages") or {}
        self.log.event(
            "reference", f"baseline {then.get('run')}: p50 {_ms(whole.get('p50_s'))}", self.step,
            run=then.get("run"), latency=whole, cpu_share=summary.get("cpu_share"),
            stages={k: v.get("p50_s") for k, v in stages.items()},
        )  # fmt: skip
        return then

    def latency(self) -> None:
        """Requests one after the other (or at --rate): percentiles of the whole and of each stage."""
        spec, s = self.spec, self.subject
        all_requests: list[wsubject.Request] = []
        collections = Collections()
        gc.callbacks.append(collections)
        self.reference()
        begun = time.monotonic()
        arrivals = random.Random(spec.seed)
        due = time.perf_counter()
        while self.wishes.stop is None:
            if len(all_requests) >= spec.requests and time.monotonic() - begun >= spec.seconds:
                break
            queued = 0.0
            if spec.rate:
                # Open loop: the time a request waits for its turn counts from when it should have come.
                due += arrivals.expovariate(spec.rate)
                early = due - time.perf_counter()
                queued = max(0.0, -early)
                if early > 0:
                    # The server rests. That the timer wakes it late (0.1 ms) is ours, and no queue.
                    time.sleep(early)
            before = collections.seen
            request, _ = s.serve(s.batch(self.step, spec.batch))
            request.collected = collections.seen > before
            request.queue = queued
            request.total += queued
            all_requests.append(request)
            self._record(request)
            if len(all_requests) % WINDOW == 0:
                self._window(all_requests[-WINDOW:], len(all_requests) // WINDOW)
        self.log.flush()
        gc.callbacks.remove(collections)
        self._latency_done(all_requests, time.monotonic() - begun)

    def _record(self, request: wsubject.Request) -> None:
        self.step += 1
        self.log.step({
            "step": self.step, "wall_ns": time.time_ns(), "step_s": request.total, "samples": self.spec.batch,
            "queue_s": request.queue if self.spec.rate else None, "data_s": request.pre,
            "h2d_s": request.h2d, "forward_s": request.forward, "post_s": request.post,
            "cpu_s": request.cpu, "data_cpu_s": request.pre_cpu, "mode": "infer",
        })  # fmt: skip

    def _window(self, requests: list[wsubject.Request], number: int) -> None:
        data = figures(requests)
        text = f"window {number}: p50 {_ms(data['latency']['p50_s'])}, p99 {_ms(data['latency']['p99_s'])}"
        self.log.event("latency", text, self.step, window=number, requests=len(requests), **data)

    def _latency_done(self, requests: list[wsubject.Request], seconds: float) -> None:
        if not requests:
            return
        data = figures(requests)
        spec = self.spec
        if spec.slo_s:
            late = sum(r.total > spec.slo_s for r in requests)
            data["slo"] = {"limit_s": spec.slo_s, "missed": late, "share": late / len(requests)}
        if spec.rate:
            service = sum(r.total - r.queue for r in requests) / len(requests)
            data["load"] = {"rate": spec.rate, "service_s": service, "utilisation": spec.rate * service}
        self.summary.update(data)
        whole = data["latency"]
        text = (
            f"{len(requests):,} requests of {spec.batch}: p50 {_ms(whole['p50_s'])}, "
            f"p95 {_ms(whole['p95_s'])}, p99 {_ms(whole['p99_s'])}"
        )
        self.say("latency", text, window=None, requests=len(requests), seconds=seconds, **data)

    def throughput(self) -> None:
        """Samples/s against batch size, doubling until --max-batch: where is the knee?"""
        s, points, size = self.subject, [], 1
        while size <= self.spec.max_batch and self.wishes.stop is None:
            times: list[float] = []
            begun = time.monotonic()
            try:
                while len(times) < POINT_REPEATS or time.monotonic() - begun < POINT_S:
                    request, _ = s.serve(s.batch(len(times), size))
                    times.append(request.total)
            except (RuntimeError, MemoryError) as error:
                kind = worker.classify(error).get("kind")
                if kind not in ("oom-host", "oom-cuda"):
                    raise
                self.log.event(
                    "note", f"batch {size} does not fit the memory: the curve ends before it", self.step
                )
                break
            usual = wmeasure.quantile(sorted(times), 0.5) or 0.0
            points.append(
                {"batch": size, "latency_s": usual, "samples_per_s": size / usual if usual else 0.0}
            )
            self.log.tick()
            size *= 2
        if not points:
            return
        found = {
            "points": points, "knee": wmeasure.knee(points), "batch1_ratio": wmeasure.batch1_bound(points),
            "best_samples_per_s": max(p["samples_per_s"] for p in points),
        }  # fmt: skip
        self.summary["throughput"] = found
        knee = (
            f"knee at batch {found['knee']}"
            if found["knee"]
            else f"no knee up to batch {points[-1]['batch']}"
        )
        self.say("throughput", f"at most {found['best_samples_per_s']:,.0f} samples/s, {knee}", **found)

    # -- quality ------------------------------------------------------------------------------------

    def quality(self) -> None:
        """Accuracy, recall a class, confusion, NLL and calibration on the test set; accuracy on training
        samples in the same mode, for the gap."""
        self.set_mode("eval")
        s, begun = self.subject, time.monotonic()
        found = self._score(s.test_x, s.test_y)
        if found is None:
            return
        rest = self._score(s.train_x, s.train_y)
        if rest is None:
            return
        found["train_accuracy"], found["train_samples"] = rest["accuracy"], rest["samples"]
        found["gap_pp"] = 100 * (rest["accuracy"] - found["accuracy"])
        found["trained"] = self._reference(found)
        self.summary["quality"] = found
        text = (
            f"test accuracy {found['accuracy']:.4f}, NLL {found['nll']:.4f}, ECE {found['ece']:.3f} "
            f"on {found['samples']:,} {s.task.unit}s"
        )
        seconds = time.monotonic() - begun
        self.say("eval", text, epoch=None, loss=found["nll"], seconds=seconds, **found)
        self.set_mode("infer")

    def _score(self, stored: torch.Tensor, answers: torch.Tensor) -> dict[str, Any] | None:
        """Over all predictions (images, or bytes of text). None: a stop was asked for meanwhile."""
        import torch

        if not TYPE_CHECKING:
            import wsubject
        s = self.subject
        k = len(s.classes) or 256
        tally = wsubject.Tally(k)
        step = max(1, CHUNK // max(1, s.task.units // 64))
        for start in range(0, len(stored), step):
            if self.wishes.stop is not None:
                return None
            x, y = s.task.prepare(stored[start : start + step], answers[start : start + step])
            if s.factor != 1.0 and x.is_floating_point():
                x = x * s.factor
            logits = s.model(s.to_device(x)).float()
            tally.add(torch.log_softmax(logits, -1).cpu().reshape(-1, k), y.reshape(-1))
            self.log.tick()
        return tally.result(s.classes)

    def _reference(self, now: Mapping[str, Any]) -> dict[str, Any] | None:
        """The evaluation the training itself made at this checkpoint's step, and the z of the difference."""
        then = (self.run.get("measures") or {}).get("eval")
        if not isinstance(then, dict) or not isinstance(then.get("accuracy"), float):
            return None
        n = int(then.get("samples") or 0) * self.subject.task.units or now["samples"]
        z = wmeasure.two_proportion_z(
            now["accuracy"] * now["samples"], now["samples"], then["accuracy"] * n, n
        )
        recall, loss = then.get("recall"), then.get("loss")
        if self.subject.config.values.get("loss") not in (None, "cross-entropy"):
            loss = None  # another quantity
        return {
            "accuracy": then["accuracy"], "samples": n, "loss": loss, "step": then.get("step"),
            "recall": recall if isinstance(recall, list) else None, "z": z,
            "drop_pp": 100 * (then["accuracy"] - now["accuracy"]),
            "nll_ratio": now["nll"] / loss if isinstance(loss, float) and loss else None,
        }  # fmt: skip

    # -- baseline -----------------------------------------------------------------------------------

    def key(self) -> dict[str, object]:
        import torch

        return {
            "model": self.subject.hash, "batch_size": self.spec.batch, "precision": self.spec.dtype,
            "device": self.subject.device_name, "threads": torch.get_num_threads(),
            "rate": self.spec.rate,
        }  # fmt: skip

    def _path(self) -> str:
        name = hashlib.sha256(json.dumps(self.key(), sort_keys=True).encode()).hexdigest()[:24]
        return os.path.join(self.spec.baselines, f"{name}.json")

    def stored(self) -> dict[str, Any] | None:
        """The baseline this measurement is to be compared with."""
        if not self.spec.baselines or self.spec.baseline == "set":
            return None
        try:
            then = wlog.read_json(self._path())
        except (OSError, ValueError):
            return None
        return then if isinstance(then.get("summary"), dict) else None

    def baseline(self) -> None:
        """Compare with the baseline of the same model, batch, precision and device; without one (or asked
        to) this measurement becomes it. A drill never does."""
        folder = self.spec.baselines
        if not folder:
            return
        key, path, then = self.key(), self._path(), self.stored()
        if then is not None:
            found = wmeasure.compare(self.summary, then["summary"])
            findings: Any = found["findings"]
            words = "; ".join(findings) if findings else "as the baseline"
            self.say("baseline", f"{words} ({then.get('run')})", key=key, run=then.get("run"), path=path,
                     created_wall_ns=then.get("created_wall_ns"), new=False, **found)  # fmt: skip
            return
        if self.spec.fault:
            self.say(
                "baseline", "no baseline yet; a drill does not become one", key=key, new=False, findings=[]
            )
            return
        value = {
            "key": key,
            "run": self.run.get("id"),
            "created_wall_ns": time.time_ns(),
            "summary": self.summary,
        }
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            wlog.write_json(path, value)
        except OSError as error:
            self.say("note", f"baseline not kept: {path}: {error.strerror}")
            return
        self.say("baseline", "this measurement is the baseline from now on", key=key, run=self.run.get("id"),
                 path=path, new=True, findings=[])  # fmt: skip


def figures(requests: list[wsubject.Request]) -> dict[str, Any]:
    """`latency`: of the whole; `stages`: of each, with its share of the median."""
    whole = wmeasure.spread([r.total for r in requests])
    stages: dict[str, dict[str, float | None]] = {}
    names = (*wmeasure.STAGES, "queue") if any(r.queue for r in requests) else wmeasure.STAGES
    for name in names:
        stage = wmeasure.spread([getattr(r, name) for r in requests])
        p50, base = stage["p50_s"], whole["p50_s"]
        stage["share"] = p50 / base if p50 is not None and base else None
        stages[name] = stage
    p50, p99 = whole["p50_s"], whole["p99_s"]
    return {
        "latency": whole, "stages": stages, "tail": p99 / p50 if p99 is not None and p50 else None,
        "cpu_share": wmeasure.quantile(sorted(s for r in requests if (s := r.cpu_share) is not None), 0.5),
        "slow": slow(requests, p50),
    }  # fmt: skip


def slow(requests: list[wsubject.Request], p50: float | None) -> dict[str, float] | None:
    """The requests beyond TAIL times the median, and what they coincided with."""
    if not p50:
        return None
    late = [r for r in requests if r.total > TAIL * p50]
    return {
        "requests": len(late), "collected": sum(r.collected for r in late),
        "waited": sum((share := r.cpu_share) is not None and share < WAITED for r in late),
        "queued": sum(r.queue > r.total / 2 for r in late),
    }  # fmt: skip


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.3g} ms"


def measure(directory: str) -> worker.Ending:
    """The whole measurement in this process. Never raises."""
    wishes = worker.Wishes()
    wishes.listen()
    os.umask(0o077)
    try:
        log = wlog.RunLog(directory)
    except OSError as error:
        return worker.Ending("failed", f"{directory}: {error.strerror}", 0)
    measurement: Measurement | None = None
    try:
        worker.import_torch()
        run = wlog.read_json(os.path.join(directory, "run.json"))
        measurement = Measurement(directory, run, log, wishes)
        ending = worker.Ending(*measurement.measure())
    except BaseException as error:  # whatever it is, the log must say it
        ending = worker.failed(error, log, measurement)  # type: ignore[arg-type]
    try:
        log.close()
    except OSError as error:
        print(f"run log: {error}", file=sys.stderr, flush=True)
    return ending


def measure_supervised(directory: str, report: int) -> int:
    ending = measure(directory)
    ending.send(report)
    sys.stdout.flush()
    return ending.code


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="winfer.py", description="Measures as DIR/run.json says.")
    parser.add_argument("--run-dir", required=True, metavar="DIR", help="the run's directory, with run.json")
    parser.add_argument("--supervise", action="store_true", required=True, help="go to the background")
    asked = parser.parse_args(arguments)
    directory = os.path.abspath(asked.run_dir)
    if not os.path.isfile(os.path.join(directory, "run.json")):
        print(f"{directory}: no run.json in it", file=sys.stderr)
        return 2
    return wsuper.supervise(directory, lambda report: measure_supervised(directory, report))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
