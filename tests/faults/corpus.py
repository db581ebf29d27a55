"""The fault corpus: what is planted, how large, and which diagnosis is right. Fixed before anything is
judged.

`roots`: diagnoses that are right. `follows`: what truly follows from the fault and is neither right nor a
false alarm (a network that a hundredfold learning rate has killed does stand at chance level). Everything
else that opens is a false alarm. Tier A: the real fault of a real resource; B: the real pathology inside a
training.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Size = Literal["mild", "clear", "severe"]
FRESH_SEED = 2100
"""Seeds of the published table begin here; thresholds were set on seeds 0-2 and mended on 1101-1103."""
QUIET: dict[str, Any] = {"eval_every": 10**6, "checkpoint_every": 10**6, "epochs": 10**5}


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of fault; `plan` gives the runs to make of it."""

    name: str
    tier: Literal["A", "B"]
    help: str
    roots: tuple[str, ...]
    follows: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""
    """`NAME:{size}@{t0}-{t1}` for the worker."""
    option: str = ""
    """An option of the run that takes the size: the fault lasts from the first step on."""
    infer: str | None = None
    """Of a measurement of the trained run, after a healthy one: `NAME:{size}`, empty for a healthy one. It is
    what is judged."""
    action: str = ""
    """What the driver does once step t0 is reached."""
    plant: str = ""
    """What is changed in the worker's modules (site/plants.py), by its name."""
    room: str = ""
    """What the driver prepares: `memory:MiB`, `cpu:percent`, `address:MiB`, `tmpfs:MiB`, `shm:MiB`,
    `inodes:number`."""
    sizes: Mapping[Size, float] = field(default_factory=lambda: {"clear": 0.0})
    frames: bool = False
    """The node is recorded as well: the fault is of the node, or the rule needs its probes."""
    steps: int = 450
    onset: tuple[int, int] = (170, 260)
    lasts: int = 0
    """Steps until the fault ends (0: with the run)."""
    seconds: float = 0.0
    """How long the driver lets it last (frames only), then takes it away where it can."""
    after: float = 0.0
    """And how long it looks on, for clearing."""
    repeat: int = 2
    """Runs a size."""
    alone: bool = False
    """It is about the machine's speed: nothing else of the corpus runs meanwhile."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run to make."""

    case: Case
    size_name: Size
    size: float
    seed: int
    t0: int
    t1: int | None

    @property
    def id(self) -> str:
        return f"{self.case.name}-{self.size_name}-{self.seed}"

    @property
    def config(self) -> dict[str, Any]:
        c = self.case
        made = {**QUIET, "threads": 1, "seed": self.seed, "max_steps": c.steps, **c.config}
        if c.option:
            made[c.option] = int(self.size) if float(self.size).is_integer() and self.size >= 1 else self.size
        if c.fault:
            window = f"@{self.t0}" + (f"-{self.t1}" if self.t1 is not None else "")
            made["fault"] = [c.fault.format(size=f"{self.size:.12g}") + window]
        return made


UPSET = ("loss-spike", "loss-diverging", "grad-exploding")
STUCK = ("chance-level", "plateau", "underfitting")
SPEED = ("throughput-regression", "cpu-contended", "cpu-saturated", "input-bound", "step-jitter", "cpu-steal",
         "infer-latency-regression", "infer-tail")  # fmt: skip
"""About the machine's speed: in the cases of learning, which run two at a time beside whatever else the
machine does, these are told apart as `environment` and counted neither way."""

LEARNING: tuple[Case, ...] = (
    Case("nan", "B", "a NaN pixel in every batch", ("loss-nonfinite",), ("worker-crashed",), fault="nan",
         steps=320, onset=(120, 220)),
    Case("lr", "B", "learning rate times MAGNITUDE", (*UPSET, "loss-nonfinite", "dead-relu"),
         (*STUCK, "worker-crashed"), fault="lr:{size}", sizes={"mild": 20, "clear": 150, "severe": 800},
         repeat=3),
    Case("lr-at-start", "B", "first learning rate (Adam)", ("early-divergence",),
         (*UPSET, *STUCK, "dead-relu", "loss-nonfinite", "worker-crashed"), option="lr", steps=260,
         sizes={"mild": 0.03, "clear": 0.15, "severe": 0.9}),
    Case("lr-low", "B", "first learning rate (Adam)", ("lr-too-low", "lr-could-rise"), STUCK, option="lr",
         sizes={"mild": 1e-5, "clear": 1.5e-6, "severe": 1e-7}),
    Case("few-samples", "B", "trains on so few images", ("overfitting",), ("plateau",),
         {"eval_every": 100, "test_samples": 1000}, option="train_samples", steps=1300,
         sizes={"mild": 1200, "clear": 250, "severe": 60}),
    Case("labels-permuted", "B", "labels change places for so many steps", UPSET, (), fault="labels-permuted",
         lasts=10, repeat=3, steps=360),
    Case("labels-random", "B", "that share of the labels is drawn by lot", ("chance-level",), ("plateau",),
         fault="labels-random:{size}", onset=(1, 1), sizes={"mild": 0.5, "clear": 1.0}),
    Case("input-scale", "B", "inputs times MAGNITUDE", (*UPSET, "preprocess-mismatch"),
         (*STUCK, "dead-relu", "loss-nonfinite"), fault="input-scale:{size}",
         sizes={"mild": 5, "clear": 255, "severe": 2000}),
    Case("input-raw", "B", "raw pixels from the first step on", ("init-loss-mismatch", "preprocess-mismatch"),
         (*UPSET, "early-divergence", *STUCK), fault="input-scale:{size}", onset=(1, 1), steps=200,
         sizes={"clear": 255}),
    Case("init", "B", "first weights times MAGNITUDE", ("init-loss-mismatch",),
         (*UPSET, "early-divergence", "dead-relu", *STUCK), fault="init:{size}", onset=(1, 1), steps=200,
         sizes={"mild": 2, "clear": 12, "severe": 80}),
    Case("bias", "B", "hidden biases begin at minus MAGNITUDE", ("dead-relu", "chance-level"), ("plateau",),
         fault="bias:{size}", onset=(1, 1), sizes={"clear": 5}),
    Case("deep-sigmoid", "B", "so many sigmoid layers", ("grad-vanishing",), STUCK,
         fault="deep-sigmoid:{size}",
         onset=(1, 1), sizes={"clear": 12}),
    Case("frozen", "B", "the first so many layers have requires_grad off", ("param-not-updating",), (),
         fault="frozen:{size}", onset=(1, 1), steps=300, sizes={"mild": 1, "clear": 3}),
    Case("detached", "B", "what the first so many layers give is detached", ("param-not-updating",), (),
         fault="detached:{size}", onset=(1, 1), steps=300, sizes={"mild": 1, "clear": 3}),
    Case("target", "B", "an accuracy that the planned steps do not reach", ("slow-convergence",),
         ("overfitting", "plateau"), {"eval_every": 100, "test_samples": 1000}, option="target", steps=1200,
         sizes={"mild": 0.9, "clear": 0.95}),
    Case("target-loss", "B", "a loss that the planned steps do not reach", ("slow-convergence",), (),
         {"workload": "gpt", "size": "nano", "schedule": "constant"}, option="target", steps=500,
         sizes={"mild": 2.0, "clear": 1.5}),
    Case("imbalance", "B", "keeps so much of a class, in per cent",
         ("class-imbalance", "class-recall-collapse"), (), {"eval_every": 200, "test_samples": 2000},
         fault="imbalance:{size}", onset=(1, 1), sizes={"clear": 1}),
    Case("eval-raw", "B", "evaluates without `/ 255`", ("preprocess-mismatch", "confidence-shift"),
         ("eval-accuracy-drop", "overfitting", "plateau", "class-recall-collapse"),
         {"eval_every": 60, "test_samples": 1000},
         fault="eval-raw"),
    Case("crash", "A", "the step raises", ("worker-crashed",), fault="crash", steps=300, onset=(60, 150)),
    Case("kill", "A", "somebody sends SIGKILL", ("worker-sigkilled",), action="kill", steps=10**6,
         onset=(60, 150)),
    Case("allocation", "A", "RLIMIT_AS, then allocates", ("oom-host-exception",), ("worker-crashed",),
         fault="oom:{size}", room="address:2600", sizes={"clear": 96}, steps=300, onset=(30, 80)),
    Case("oom-kill", "A", "memory cgroup, then allocates", ("oom-killed",),
         ("worker-crashed", "container-mem-near-limit", "psi-memory"), fault="oom:{size}", room="memory:900",
         sizes={"clear": 48}, steps=300, onset=(30, 80), frames=True, after=8),
    Case("loader-kill", "A", "a loader process gets SIGKILL", ("loader-worker-died",), ("worker-crashed",),
         {"workers": 2}, action="kill-loader", steps=10**6, onset=(60, 150)),
    Case("checkpoint", "A", "the folder of checkpoints is on a full tmpfs",
         ("checkpoint-failed", "disk-fill"),
         (), {"checkpoint_every": 40, "checkpoint_dir": "{room}"}, room="tmpfs:2", steps=120, onset=(80, 80)),
)  # fmt: skip

NODE: tuple[Case, ...] = (
    Case("slow-data", "A", "every batch comes so many ms later", ("input-bound",),
         ("throughput-regression", "cpu-contended", "cpu-saturated"), fault="slow-data:{size}", frames=True,
         steps=10**6, onset=(300, 400), sizes={"mild": 5, "clear": 40, "severe": 200}, seconds=30,
         repeat=1, alone=True),
    Case("neighbours", "A", "so many busy loops on the same cores", ("cpu-contended",),
         ("throughput-regression", "cpu-saturated", "input-bound"), action="busy", frames=True, steps=10**6,
         onset=(300, 400), sizes={"clear": 6, "severe": 12}, seconds=60, after=40, repeat=1, alone=True),
    Case("cpu-quota", "A", "CPU cgroup with so many per cent", ("cpu-throttled-cgroup",),
         ("throughput-regression", "cpu-contended", "input-bound"), action="quota", room="cpu:400",
         frames=True, steps=10**6, onset=(300, 400), sizes={"clear": 25, "severe": 8}, seconds=80,
         repeat=1, alone=True),
    Case("leak", "A", "keeps so many MiB a step, in a memory cgroup", ("host-mem-leak", "oom-predicted-host"),
         ("container-mem-near-limit", "psi-memory", "oom-killed"), fault="leak:{size}", room="memory:6000",
         frames=True, steps=10**6, onset=(100, 150), sizes={"mild": 0.4, "clear": 1.2}, seconds=90, repeat=1),
    Case("straggler", "A", "the last of two ranks gets its batches so many ms later", ("straggler-wait",),
         ("throughput-regression", "cpu-contended", "cpu-saturated"), {"nproc": 2}, fault="straggler:{size}",
         frames=True, steps=10**6, onset=(250, 320), sizes={"mild": 20, "clear": 60, "severe": 300},
         seconds=60, repeat=1, alone=True),
    Case("straggler-compute", "A", "the last of two ranks computes so many ms more", ("straggler-wait",),
         ("throughput-regression", "cpu-contended", "cpu-saturated"), {"nproc": 2},
         fault="straggler-compute:{size}", frames=True, steps=10**6, onset=(250, 320),
         sizes={"mild": 20, "clear": 60, "severe": 300}, seconds=60, repeat=1, alone=True),
    Case("cgroup-leak", "A", "keeps so many MiB a step, up to its memory cgroup's limit", ("oom-killed",),
         ("oom-predicted-host", "host-mem-leak", "worker-crashed", "container-mem-near-limit", "psi-memory"),
         fault="leak:{size}", room="memory:1200", frames=True, steps=10**6, onset=(100, 150),
         sizes={"clear": 1.5}, after=8, repeat=1),
    Case("hang", "A", "the step waits for ever", ("training-stalled",), ("worker-sigkilled",),
         fault="hang", frames=True, steps=10**6, onset=(300, 400), seconds=45, repeat=1),
    Case("sigstop", "A", "somebody sends SIGSTOP", ("training-stalled",), (), action="stop", frames=True,
         steps=10**6, onset=(300, 400), seconds=45, after=45, repeat=1),
    Case("disk-fill", "A", "a tmpfs fills", ("disk-fill",), (), room="tmpfs:64", action="fill", frames=True,
         steps=0, seconds=20, repeat=2),
    Case("shm", "A", "/dev/shm fills (its own mount)", ("shm-exhausted", "disk-fill"), (), room="shm:16",
         action="fill", frames=True, steps=0, seconds=20, repeat=2),
)  # fmt: skip

SERVED: dict[str, Any] = {"test_samples": 2000, "max_steps": 300}
NOTES = ("infer-cold-start", "infer-batch1-bound", "infer-model-heavy")
"""Remarks a measurement may make of any model."""
ANSWERS = (
    "eval-accuracy-drop", "confidence-shift", "train-infer-gap", "class-recall-collapse", "prediction-drift",
)  # fmt: skip
INFERENCE: tuple[Case, ...] = (
    Case("infer-raw", "B", "serves pixels without `/ 255`", ("preprocess-mismatch",), (*NOTES, *ANSWERS),
         SERVED, infer="raw-inputs", onset=(1, 1)),
    Case("infer-slow-preprocess", "A", "preprocessing takes so many ms longer", ("infer-preproc-heavy",),
         (*NOTES, "infer-latency-regression"), SERVED, infer="slow-preprocess:{size}", onset=(1, 1),
         sizes={"mild": 1, "clear": 10, "severe": 40}),
    Case("infer-train-mode", "B", "serves in training mode", ("infer-train-mode",), NOTES, SERVED,
         infer="train-mode", onset=(1, 1)),
    Case("infer-grad-on", "B", "serves with gradients tracked", ("infer-grad-on",),
         (*NOTES, "infer-latency-regression"), SERVED, infer="grad-on", onset=(1, 1)),
)  # fmt: skip

_HEALTHY: dict[str, dict[str, Any]] = {
    "adam": {}, "batch-8": {"batch_size": 8, "max_steps": 900},
    "batch-128": {"batch_size": 128, "max_steps": 200},
    "sgd-0.1": {"optimizer": "sgd", "lr": 0.1}, "sgd-0.01": {"optimizer": "sgd", "lr": 0.01},
    "adam-1e-4": {"lr": 1e-4}, "adam-1e-2": {"lr": 1e-2},
    "warmup-cosine": {"schedule": "cosine", "warmup_steps": 100}, "step-decay": {"schedule": "step"},
    "mse": {"loss": "mse"}, "sigmoid": {"activation": "sigmoid"}, "tanh": {"activation": "tanh"},
    "adamw-clip": {"optimizer": "adamw", "weight_decay": 0.01, "clip": 1.0},
    "pauses": {"eval_every": 60, "checkpoint_every": 60, "test_samples": 2000},
    "target": {"target": 0.8, "eval_every": 100, "test_samples": 1000, "max_steps": 900},
    "batch-256": {"batch_size": 256, "max_steps": 160},
    "epochs": {"train_samples": 6400, "eval_every": 0, "test_samples": 1000, "max_steps": 600},
    "workers": {"workers": 1, "max_steps": 1500}, "bf16": {"precision": "bf16", "max_steps": 200},
    "digits": {"synthetic": True}, "accumulate": {"batch_size": 16, "accumulate": 2, "max_steps": 250},
    "gpt": {"workload": "gpt", "size": "nano", "max_steps": 200},
    "linear": {"workload": "linear", "lr": 0.01, "max_steps": 3000},
}  # fmt: skip
CONTROLS: tuple[Case, ...] = (
    *(
        Case(f"healthy-{name}", "B", "healthy", (), config=config, onset=(0, 0), repeat=1)
        for name, config in _HEALTHY.items()
    ),
    Case("healthy-infer", "B", "healthy", (), NOTES, SERVED, infer="", onset=(0, 0)),
)
RANKED = Case("healthy-ranks", "A", "healthy, two ranks", (), config={"nproc": 2, "max_steps": 1500},
              frames=True, onset=(0, 0), repeat=1, alone=True)  # fmt: skip
"""Its node is recorded as well: ranks are known from there."""
CASES: tuple[Case, ...] = (*LEARNING, *NODE, *INFERENCE, *CONTROLS, RANKED)
BY_NAME = {c.name: c for c in CASES}

NOT_HERE: dict[str, str] = {
    "NIC saturation, drops, link down": "rules of the network are tested on counters (tests/engine/rules)",
    "memory pressure, swap": "needs a swap device or a node of its own; tested on counters",
    "the gradient scale of mixed precision": "needs a GPU: tested with a stand-in, simulated",
    "NVLink, Xid, ECC, throttling, use and memory of a GPU": "need GPUs: tested with a stand-in, simulated",
    "memory errors of the host": "need a failing module: tested on a tree of files, simulated",
    "energy, exposure": "no faults to plant: tested on real runs and counters (tests/engine)",
    "clock": "the machine's clock is shared: tested on a fake adjtimex, simulated",
}
"""Faults of the plan that this corpus does not plant, and why."""


def plans(cases: tuple[Case, ...] = CASES, seed: int = FRESH_SEED, repeat: int | None = None) -> list[Plan]:
    """Every run of the corpus. The onset is drawn by the seed, which also is the run's own."""
    made = []
    for case in cases:
        for size_name, size in case.sizes.items():
            for i in range(repeat or case.repeat):
                own = seed + 1 + i
                t0 = random.Random(f"{case.name}{own}").randint(*case.onset)
                made.append(Plan(case, size_name, size, own, t0, t0 + case.lasts - 1 if case.lasts else None))
    return made
