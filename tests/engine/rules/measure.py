"""A measurement of inference that grows part by part, as `dctop infer` writes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.engine.rules.scene import Scene
from tests.fakes.source import FakeRun

STAGES = {"pre": 0.0005, "h2d": 0.0, "forward": 0.004, "post": 0.0005}
CLASSES = [str(i) for i in range(10)]
TRAINED: dict[str, Any] = {"min": 0.0, "max": 1.0, "mean": 0.286, "std": 0.353, "samples": 10_000}


def figures(
    p50: float,
    p99: float,
    stages: Mapping[str, float],
    cpu: float = 1.0,
    slow: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    return {
        "latency": {"p50_s": p50, "p95_s": p99, "p99_s": p99, "mean_s": p50, "max_s": p99},
        "stages": {k: {"p50_s": v, "share": v / p50} for k, v in stages.items()},
        "tail": p99 / p50, "cpu_share": cpu,
        "slow": {"requests": 0, "collected": 0, "waited": 0, "queued": 0, **(slow or {})},
    }  # fmt: skip


class Measurement:
    """`scene.go()` after what was told: then the engine sees it."""

    def __init__(
        self, scene: Scene, name: str = "m-1", of: str = "run-0", started: bool = True, measures: Any = None,
        device: Mapping[str, str] | None = None, **flags: Any,
    ) -> None:  # fmt: skip
        if scene.source.current is None:
            scene.go()
        self.scene = scene
        self.run = FakeRun(scene.source, id=name, warm=False)
        self.run.events.clear()
        known = {
            "run": of, "checkpoint": "/r/step-00000700.pt", "step": 700, "device": "cpu",
            "data_source": "Fashion-MNIST", "precision": "fp32", "evals": [], **(measures or {}),
        }  # fmt: skip
        facts = {
            "device": {"asked": "auto", "chosen": "cpu", "why": "torch sees no CUDA device",
                       **(device or {})},
            "data": {"source": "Fashion-MNIST", "classes": CLASSES}, "parameters": 121_930,
            "macs_per_sample": 2_528_000,
            "model": {"hash": "abc", "step": 700, "checkpoint": "/r/step-00000700.pt", "of": of},
            "flags": {"training": False, "noisy_layers": 0, "grad": False, "batch_size": 1, "dtype": "fp32",
                      "rate": None, "slo_s": None, **flags},
        }  # fmt: skip
        config = {"config": {"batch_size": 1}, "measures": known, **facts}
        self.run.now = replace(self.run.now, workload="infer", config=config)
        self.run.mode("init")
        if started:
            self.tell("start", **facts)

    def tell(self, kind: str, **data: Any) -> None:
        self.run.event(kind, kind, **data)

    def serving(self) -> Measurement:
        self.run.mode("infer")
        return self

    def reference(self, p50: float = 0.005, p99: float = 0.006, **stages: float) -> Measurement:
        self.tell("reference", run="m-0", latency={"p50_s": p50, "p99_s": p99}, cpu_share=1.0,
                  stages={**STAGES, **stages})  # fmt: skip
        return self

    def windows(
        self, n: int, p50: float = 0.005, p99: float = 0.006, seconds: float = 1.0, cpu: float = 1.0,
        slow: Mapping[str, int] | None = None, **stages: float,
    ) -> Measurement:  # fmt: skip
        """So many windows of 200 requests, each in `seconds`; a hundredth of the requests takes p99."""
        base = {**STAGES, **stages}
        for _ in range(n):
            first = int(self.run.columns["step"][-1]) if self.run.columns["step"] else 0
            self.scene.source.tick(seconds)
            self.run.steps(
                200, seconds, step_s=lambda s: p99 if s % 50 == 0 else p50, data_s=base["pre"],
                queue_s=base.get("queue", float("nan")), forward_s=base["forward"],
                cpu_s=lambda s: (p99 if s % 50 == 0 else p50) * cpu, data_cpu_s=base["pre"] * cpu,
            )  # fmt: skip
            self.tell("latency", window=1 + first // 200, requests=200, **figures(p50, p99, base, cpu, slow))
            self.scene.judge()
        return self

    def done(self, p50: float = 0.005, p99: float = 0.006, requests: int = 1000, **more: Any) -> Measurement:
        stages = {**STAGES, **more.pop("stages", {})}
        self.tell("latency", window=None, requests=requests, **{**figures(p50, p99, stages), **more})
        return self

    def inputs(self, mismatch: bool = False, **now: Any) -> Measurement:
        seen = {**TRAINED, "samples": 1024, "dtype": "float32", "shape": [1, 28, 28], **now}
        self.tell("inputs", now=seen, trained=TRAINED, range_ratio=1.0, mean_shift=0.0, mismatch=mismatch)
        return self

    def curve(self, *points: tuple[int, float]) -> Measurement:
        rows = [{"batch": b, "latency_s": t, "samples_per_s": b / t} for b, t in points]
        self.tell("throughput", points=rows, knee=None, batch1_ratio=None, best_samples_per_s=0.0)
        return self

    def quality(self, accuracy: float = 0.9, trained: Any = None, **more: Any) -> Measurement:
        data = {
            "accuracy": accuracy, "samples": 10_000, "nll": 0.3, "ece": 0.02, "confidence": 0.9,
            "interval": [accuracy - 0.006, accuracy + 0.006], "classes": CLASSES, "recall": [accuracy] * 10,
            "support": [1000] * 10,
            "confusion": [[11 if i != j else 900 for j in range(10)] for i in range(10)],
            "temperature": {"t": 1.1, "nll": 0.29}, "train_accuracy": accuracy, "train_samples": 10_000,
            "gap_pp": 0.0, "trained": trained, **more,
        }  # fmt: skip
        self.tell("eval", loss=data["nll"], **data)
        return self

    def baseline(self, **found: Any) -> Measurement:
        self.tell(
            "baseline", new=False, run="m-0", **{"psi": 0.0, "support_psi": 0.0, "findings": [], **found}
        )
        return self

    def end(self) -> Measurement:
        self.run.end()
        return self


def trained(z: float, drop: float, nll_ratio: float = 1.0, recall: Sequence[float] | None = None) -> Any:
    return {"accuracy": 0.9, "samples": 10_000, "loss": 0.3, "step": 700, "z": z, "drop_pp": drop,
            "nll_ratio": nll_ratio, "recall": list(recall) if recall else None}  # fmt: skip
