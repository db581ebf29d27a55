"""Drills: `NAME[:MAGNITUDE][@STEP[-STEP]]` plants a real cause in a run, never a fake measurement.

The catalogue and its notation; wplanter.py carries it out. Worker side, but also what the command line and
the launch dialog offer: nothing beside it is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

DEFAULT_STEP = 100


class Kind(NamedTuple):
    magnitude: float | None
    """Default; None: the fault has none."""
    unit: str
    help: str
    workloads: tuple[str, ...] = ()
    """Which it can be planted in; () = all."""
    needs: Mapping[str, float] = MappingProxyType({})
    """Options and the least value they must have, as `workers`: 1."""
    tier: str = "A"
    """A: a real fault of a real resource. B: a real pathology inside the training."""
    expects: tuple[str, ...] = ()
    """Ids of the rules that should open."""
    from_start: bool = False
    """Planted before the first step, for the whole run."""
    sizes: tuple[float, ...] = ()
    """Mild, clear and severe."""


def fits(kind: Kind, workload: str) -> bool:
    return not kind.workloads or workload in kind.workloads


_IMAGES = ("mnist-cnn",)
_NETS = ("mnist-cnn", "gpt")
_LOADERS = MappingProxyType({"workers": 1.0})
_RANKS = MappingProxyType({"nproc": 2.0})


def _a(size: float | None, unit: str, text: str, *expects: str, **more: object) -> Kind:
    return Kind(size, unit, text, expects=expects, **more)  # type: ignore[arg-type]


def _b(size: float | None, unit: str, text: str, *expects: str, **more: object) -> Kind:
    return Kind(size, unit, text, tier="B", expects=expects, **more)  # type: ignore[arg-type]


KINDS = {
    "leak": _a(16.0, "MiB/step", "keeps memory and never gives it back", "host-mem-leak"),
    "oom": _a(64.0, "MiB/piece", "allocates until the allocator or the kernel says no", "oom-killed"),
    "cgroup-oom": _a(
        64.0, "MiB", "a memory cgroup of its own with that much room, then allocates beyond it", "oom-killed"
    ),
    "alloc-fail": _a(
        64.0,
        "MiB",
        "an address space limit with that much room, then allocates beyond it",
        "oom-host-exception",
    ),
    "mem-pressure": _a(
        32.0, "MiB", "a memory cgroup with that much room, and reads files through it", "psi-memory"
    ),
    "kill": _a(None, "", "the worker kills itself with SIGKILL", "worker-sigkilled"),
    "crash": _a(None, "", "the step raises", "worker-crashed"),
    "hang": _a(0.0, "s", "the step waits (0: for ever)", "training-stalled"),
    "stop": _a(
        0.0, "s", "the worker stops itself by SIGSTOP (0: until somebody continues it)", "training-stalled"
    ),
    "slow-data": _a(50.0, "ms", "every batch comes that much later", "input-bound", sizes=(5, 50, 500)),
    "slow-disk": _a(
        16.0, "MiB", "every batch reads that much past the page cache", "input-bound", sizes=(4, 16, 64)
    ),
    "slow-transform": _a(
        15.0, "ms", "every batch computes that much longer on one core", "input-bound", sizes=(3, 15, 60)
    ),
    "cpu-quota": _a(
        20.0,
        "ms of 100",
        "a CPU cgroup of its own with that quota",
        "cpu-throttled-cgroup",
        sizes=(50, 20, 5),
    ),
    "neighbour": _a(4.0, "processes", "busy loops on the same cores", "cpu-contended", sizes=(1, 4, 16)),
    "fill": _a(64.0, "MB", "writes ballast into the run directory", "disk-fill", "checkpoint-failed"),
    "shm": _a(
        16.0,
        "MB",
        "a /dev/shm of its own of that size, filled at the step",
        "shm-exhausted",
        "training-stalled",
        needs=_LOADERS,
        workloads=_NETS,
    ),
    "loader-kill": _a(
        None, "", "a loader process gets SIGKILL", "loader-worker-died", needs=_LOADERS, workloads=_NETS
    ),
    "loader-exit": _a(
        None,
        "",
        "a loader process leaves without a word",
        "loader-worker-died",
        needs=_LOADERS,
        workloads=_NETS,
    ),
    "loader-hang": _a(
        0.0,
        "s",
        "a loader process waits for a lock (0: for ever)",
        "training-stalled",
        needs=_LOADERS,
        workloads=_NETS,
    ),
    "loader-leak": _a(
        1.0,
        "MiB",
        "a loader process keeps that much of every batch",
        "host-mem-leak",
        "oom-predicted-host",
        needs=_LOADERS,
        workloads=_NETS,
    ),
    "bad-sample": _a(None, "", "reading a sample raises", "bad-sample", "worker-crashed"),
    "straggler": _a(
        50.0,
        "ms",
        "the last rank's batches come that much later",
        "straggler-wait",
        needs=_RANKS,
        workloads=_NETS,
        sizes=(5, 50, 500),
    ),
    "straggler-compute": _a(
        50.0,
        "ms",
        "the last rank computes that much more",
        "straggler-wait",
        needs=_RANKS,
        workloads=_NETS,
        sizes=(5, 50, 500),
    ),
    "nan": _b(None, "", "a NaN pixel in every batch of the window", "loss-nonfinite", workloads=_IMAGES),
    "lr": _b(
        100.0, "x", "learning rate times MAGNITUDE", "loss-spike", "loss-diverging", sizes=(10, 100, 1000)
    ),
    "lr-low": _b(1000.0, "x", "learning rate divided by MAGNITUDE", "lr-too-low", sizes=(30, 1000, 100_000)),
    "labels-permuted": _b(
        None, "", "labels change places within their batch", "loss-spike", "loss-diverging", workloads=_NETS
    ),
    "labels-random": _b(
        1.0,
        "share",
        "that share of all labels is drawn by lot",
        "chance-level",
        workloads=_IMAGES,
        from_start=True,
        sizes=(0.2, 0.5, 1),
    ),
    "input-scale": _b(
        255.0,
        "x",
        "inputs times MAGNITUDE, as without `/ 255`",
        "preprocess-mismatch",
        "loss-spike",
        workloads=_IMAGES,
        sizes=(5, 255, 10_000),
    ),
    "init": _b(
        10.0,
        "x",
        "first weights times MAGNITUDE",
        "init-loss-mismatch",
        from_start=True,
        workloads=_NETS,
        sizes=(3, 10, 100),
    ),
    "bias": _b(
        5.0,
        "",
        "hidden biases begin at minus MAGNITUDE: dead ReLUs",
        "dead-relu",
        workloads=_IMAGES,
        from_start=True,
        sizes=(1, 5, 50),
    ),
    "deep-sigmoid": _b(
        12.0,
        "layers",
        "so many sigmoid layers before the last",
        "grad-vanishing",
        "chance-level",
        workloads=_IMAGES,
        from_start=True,
        sizes=(4, 12, 24),
    ),
    "frozen": _b(
        1.0,
        "layers",
        "the first so many layers have requires_grad off",
        "param-not-updating",
        workloads=_NETS,
        from_start=True,
        sizes=(1, 2, 3),
    ),
    "detached": _b(
        1.0,
        "layers",
        "what the first so many layers give is detached: no gradient comes back to them",
        "param-not-updating",
        workloads=_IMAGES,
        from_start=True,
        sizes=(1, 2, 3),
    ),
    "few-samples": _b(
        200.0,
        "samples",
        "trains on so few",
        "overfitting",
        workloads=_NETS,
        from_start=True,
        sizes=(1000, 200, 50),
    ),
    "imbalance": _b(
        1.0,
        "%",
        "keeps so much of class 0",
        "class-imbalance",
        "class-recall-collapse",
        workloads=_IMAGES,
        from_start=True,
        sizes=(10, 1, 0.1),
    ),
    "lr-restart": _b(
        150.0,
        "steps",
        "the learning rate falls to a tenth, and begins anew every so many steps",
        "loss-spike",
        "loss-oscillation",
        sizes=(600, 150, 40),
    ),
    "grad-scale": _b(
        16.0,
        "x",
        "gradients times MAGNITUDE, as where accumulation forgets to divide",
        "grad-exploding",
        "loss-spike",
        sizes=(4, 16, 100),
    ),
    "same-batch": _b(None, "", "every step reads the same samples", "overfitting", workloads=_IMAGES),
    "by-class": _b(
        50.0,
        "steps",
        "samples come in the order of their classes, so many steps each",
        "loss-spike",
        "loss-diverging",
        workloads=_IMAGES,
        sizes=(5, 50, 200),
    ),
    "labels-confused": _b(
        0.5,
        "share",
        "that share of class 3 is labelled 4",
        "class-recall-collapse",
        workloads=_IMAGES,
        from_start=True,
        sizes=(0.3, 0.6, 1),
    ),
    "eval-shuffled": _b(
        None,
        "",
        "evaluates with labels that belong to other samples",
        "eval-accuracy-drop",
        "class-recall-collapse",
        workloads=_IMAGES,
    ),
    "eval-raw": _b(
        None, "", "evaluates without `/ 255`", "preprocess-mismatch", "confidence-shift", workloads=_IMAGES
    ),
}
INFER_KINDS = {
    "raw-inputs": _b(None, "", "pixels are not divided by 255", "preprocess-mismatch"),
    "slow-preprocess": _a(20.0, "ms", "preprocessing takes so much longer", "infer-preproc-heavy"),
    "train-mode": _b(None, "", "the model stays in training mode", "infer-train-mode"),
    "grad-on": _b(None, "", "gradients are tracked", "infer-grad-on"),
    "inverted": _b(None, "", "white is black and black is white", "preprocess-mismatch"),
    "transposed": _b(
        None,
        "",
        "rows and columns change places",
        "eval-accuracy-drop",
        "confidence-shift",
        "train-infer-gap",
    ),
}
"""Drills of an inference measurement: there for the whole of it."""
_SPEC = re.compile(r"([a-z-]+?)(?::([0-9.]+))?(?:@([0-9]+)(?:-([0-9]+))?)?")


class Fault(NamedTuple):
    name: str
    magnitude: float
    first: int
    last: int | None
    """Last step of the window; None: until the run ends."""
    spec: str

    def active(self, step: int) -> bool:
        return step >= self.first and (self.last is None or step <= self.last)


def parse_infer(spec: str) -> tuple[str, float]:
    """`NAME[:MAGNITUDE]` of a measurement. Raises ValueError with one line that says what is possible."""
    name, _, size = spec.partition(":")
    kind = INFER_KINDS.get(name)
    if kind is None or (size and (kind.magnitude is None or not size.replace(".", "", 1).isdigit())):
        raise ValueError(f"fault '{spec}': there are {', '.join(INFER_KINDS)}")
    return name, float(size) if size else kind.magnitude or 0.0


def parse(spec: str) -> Fault:
    """Raises ValueError with one line that says what is possible."""
    match = _SPEC.fullmatch(spec)
    if match is None or match[1] not in KINDS:
        raise ValueError(
            f"fault '{spec}': expected NAME[:MAGNITUDE][@STEP[-STEP]], NAME one of {', '.join(KINDS)}"
        )
    name, magnitude, first, last = match.groups()
    kind = KINDS[name]
    if magnitude is not None and kind.magnitude is None:
        raise ValueError(f"fault '{spec}': {name} has no magnitude")
    try:
        size = float(magnitude) if magnitude is not None else (kind.magnitude or 0.0)
    except ValueError:
        raise ValueError(f"fault '{spec}': '{magnitude}' is not a number") from None
    start = int(first) if first else (1 if kind.from_start else DEFAULT_STEP)
    end = int(last) if last else None
    if kind.from_start and (start != 1 or end is not None):
        raise ValueError(
            f"fault '{spec}': {name} is there from the first step to the last: leave out the window"
        )
    if start < 1 or (end is not None and end < start):
        raise ValueError(f"fault '{spec}': the window must begin at step 1 or later and end after it begins")
    return Fault(name, size, start, end, spec)
