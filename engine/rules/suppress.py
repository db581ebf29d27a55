"""Which alert is the cause and which the symptom. A symptom stays visible under its root, uncounted.

The table is RULES.md 1.0; a `*` at the end of an id stands for any ending. A root explains a symptom at the
same entity, and one at the node (a disk, the memory, the CPU) explains symptoms of every run. Between two
runs nothing is explained.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache

from dctop.engine.rules.alert import Alert
from dctop.engine.rules.base import NODE

CONVERGENCE = (
    "loss-diverging", "loss-spike", "grad-exploding", "grad-vanishing", "early-divergence",
    "init-loss-mismatch", "chance-level", "plateau", "overfitting", "underfitting", "lr-too-low",
    "lr-could-rise", "slow-convergence", "loss-oscillation", "dead-relu", "param-not-updating",
    "amp-scale-collapse", "confidence-shift", "class-recall-collapse",
)  # fmt: skip
SLOWER = ("infer-latency-regression", "infer-tail")
"""What a machine that has less time for them does to requests."""
WORSE = (
    "eval-accuracy-drop", "train-infer-gap", "prediction-drift", "confidence-shift", "class-recall-collapse",
    "labels-disagree",
)  # fmt: skip
"""What wrong inputs, or a wrong mode, do to answers."""
_DEATHS = ("worker-crashed", "worker-sigkilled", "loader-worker-died", "rank-missing")
_MEMORY = ("psi-memory", "swap-thrash", "host-mem-low", "container-mem-near-limit")
ROOTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("xid", ("training-stalled", "worker-crashed", "worker-sigkilled", "oom-cuda", "rank-missing",
             "nccl-timeout")),
    ("gpu-lost", ("gpu-*", "xid", "ecc-*", "row-remap", "pcie-*", "nvlink", "training-stalled",
                  "worker-crashed", "worker-sigkilled", "rank-missing", "nccl-timeout")),
    ("ecc-uncorrectable", ("xid", "gpu-reset-required", "row-remap", "worker-crashed")),
    ("xid", ("gpu-reset-required",)),
    ("gpu-throttle-thermal", ("gpu-hot",)),
    ("gpu-hw-slowdown", ("gpu-throttle-power", "throughput-regression", "gpu-underutilised")),
    ("pcie-replay", ("pcie-degraded",)),
    ("pcie-degraded", ("h2d-bound", "throughput-regression", "gpu-underutilised")),
    ("nvlink", ("training-stalled", "throughput-regression", "gpu-underutilised")),
    ("oom-killed", (*_DEATHS, *_MEMORY, "oom-predicted-host")),
    ("oom-host-exception", (*_DEATHS, *_MEMORY, "oom-predicted-host")),
    ("oom-cuda", (*_DEATHS, "oom-predicted-gpu", "gpu-mem-fragmentation")),
    ("gpu-mem-creep", ("oom-predicted-gpu", "gpu-mem-fragmentation")),
    ("worker-sigkilled", ("rank-missing", "nccl-timeout")),
    ("nccl-timeout", ("rank-missing", "worker-crashed", "training-stalled")),
    ("rank-missing", ("worker-crashed", "training-stalled")),
    ("loader-worker-died", ("worker-crashed",)),
    ("loader-hang", ("worker-crashed", "training-stalled")),
    ("bad-sample", ("worker-crashed",)),
    ("shm-exhausted", ("worker-crashed", "loader-worker-died")),
    ("gpu-throttle-*", ("throughput-regression", "gpu-underutilised", "gpu-imbalance", "straggler-wait",
                        "energy-regression", *SLOWER)),
    ("cpu-throttled-cgroup", ("input-bound", "throughput-regression", "cpu-contended", "step-jitter",
                              *SLOWER)),
    ("cpu-steal", ("cpu-contended", "throughput-regression", "step-jitter", *SLOWER)),
    ("cpu-contended", ("input-bound", "throughput-regression", "step-jitter", *SLOWER)),
    ("cpu-fallback", ("gpu-underutilised", "gpu-idle-held")),
    ("gpu-imbalance", ("straggler-wait",)),
    ("straggler-wait", ("gpu-underutilised", "throughput-regression")),
    ("h2d-bound", ("gpu-underutilised",)),
    ("launch-bound", ("cpu-single-core", "gpu-underutilised")),
    ("cpu-single-core", ("gpu-underutilised",)),
    ("disk-fill", ("checkpoint-failed", "run-log-blocked")),
    ("inode-fill", ("checkpoint-failed", "run-log-blocked")),
    ("fs-readonly", ("checkpoint-failed", "run-log-blocked")),
    ("fs-hung", ("training-stalled", "iowait", "psi-io")),
    ("disk-latency", ("input-bound", "psi-io", "iowait")),
    ("disk-util", ("psi-io", "iowait", "input-bound")),
    ("disk-bound", ("input-bound",)),
    ("psi-io", ("iowait", "input-bound")),
    ("host-mem-leak", ("host-mem-low", "container-mem-near-limit", "oom-predicted-host", "psi-memory",
                       "swap-thrash")),
    ("energy-budget", ("co2-budget",)),
    ("swap-thrash", ("psi-memory", "throughput-regression", "cpu-contended", *SLOWER)),
    ("kernel-hung", ("fs-hung", "training-stalled")),
    ("link-down-slow", ("nic-errors", "nic-saturated", "tcp-retrans")),
    ("nic-errors", ("tcp-retrans",)),
    ("input-bound", ("gpu-underutilised", "throughput-regression")),
    ("loss-nonfinite", (*CONVERGENCE, "worker-crashed")),
    ("preprocess-mismatch", (*WORSE, "overfitting", "init-loss-mismatch", "early-divergence",
                             "loss-diverging", "loss-spike", "grad-exploding")),
    ("init-loss-mismatch", ("early-divergence", "loss-diverging")),
    ("early-divergence", ("loss-diverging", "loss-spike", "grad-exploding", "grad-vanishing")),
    ("dead-relu", ("grad-vanishing", "param-not-updating", "lr-too-low", "chance-level", "plateau",
                   "underfitting", "slow-convergence")),
    ("grad-vanishing", ("param-not-updating", "lr-too-low", "chance-level", "plateau", "underfitting",
                        "slow-convergence")),
    ("param-not-updating", ("chance-level", "plateau", "underfitting", "slow-convergence")),
    ("amp-scale-collapse", ("lr-too-low", "chance-level", "plateau", "slow-convergence")),
    ("lr-too-low", ("param-not-updating", "chance-level", "plateau", "underfitting", "slow-convergence")),
    ("chance-level", ("plateau", "slow-convergence")),
    ("loss-diverging", ("loss-spike", "grad-exploding", "grad-vanishing", "plateau")),
    ("checkpoint-mismatch", ("worker-crashed",)),
    ("infer-train-mode", ("eval-nondeterministic", *WORSE)),
    ("eval-nondeterministic", ("eval-accuracy-drop",)),
    ("labels-disagree", ("overfitting", "confidence-shift", "class-recall-collapse", "eval-accuracy-drop",
                         "train-infer-gap", "prediction-drift")),
    ("class-imbalance", ("class-recall-collapse",)),
    ("infer-cpu-fallback", ("infer-latency-regression", "infer-queueing", "infer-model-heavy")),
    ("infer-grad-on", ("infer-latency-regression",)),
    ("infer-preproc-heavy", ("infer-latency-regression", "infer-queueing", "infer-batch1-bound")),
    ("infer-queueing", ("infer-latency-regression", "infer-tail")),
    ("confidence-shift", ("overfitting", "class-recall-collapse")),
    ("training-stalled", ("throughput-regression", "idle-burn")),
    ("throughput-regression", ("energy-regression",)),
    ("gpu-underutilised", ("energy-regression",)),
)  # fmt: skip
"""(root, its symptoms), gravest root first: the first that is open names the symptom's cause."""


@cache
def roots_of(symptom: str) -> tuple[str, ...]:
    """Patterns of the rules that may be this one's cause."""
    return tuple(root for root, symptoms in ROOTS if any(fnmatchcase(symptom, s) for s in symptoms))


@cache
def symptoms_of(root: str) -> tuple[str, ...]:
    """Patterns of the rules this one may be the cause of."""
    found = [s for pattern, symptoms in ROOTS if fnmatchcase(root, pattern) for s in symptoms if s != root]
    return tuple(dict.fromkeys(found))


NEAR_NS = 300 * 10**9
"""An event elsewhere on the node explains only what began within five minutes of it."""


def explains(
    root: Alert, symptom: Alert, run_ids: Collection[str], places: Mapping[int, str] | None = None
) -> bool:
    """Whether `root` may stand for `symptom`.

    `places`: alert id -> mount it is about, where one is known: a full disk explains only what lies on it.
    An Xid that merely notes something explains no death, and a kill for memory elsewhere on the node none of
    a run's worker: if the kernel killed the worker itself, the alert is the run's own.
    """
    if root is symptom or (root.rule == "xid" and root.severity != "critical"):
        return False
    if root.severity == "info" and symptom.severity != "info":  # a note must not hide an alarm
        return False
    if root.entity == symptom.entity:
        return True
    a, b = root.entity in run_ids, symptom.entity in run_ids
    if a and b:
        return False
    if b and root.rule == "oom-killed" and symptom.rule != "loader-worker-died":
        return False
    if not a and not b and NODE not in (root.entity, symptom.entity):
        return False
    place = None if places is None else places.get(symptom.id)
    if place is not None and root.entity.startswith("/") and place != root.entity:
        return False
    if root.kind == "event":
        return abs(symptom.opened_wall_ns - root.updated_wall_ns) <= NEAR_NS
    return True


def find_root(
    symptom: Alert,
    open_alerts: Sequence[Alert],
    run_ids: Collection[str],
    places: Mapping[int, str] | None = None,
) -> str | None:
    """Rule id of the open alert that explains `symptom`, else None."""
    for pattern in roots_of(symptom.rule):
        for root in open_alerts:
            if fnmatchcase(root.rule, pattern) and explains(root, symptom, run_ids, places):
                return root.rule
    return None
