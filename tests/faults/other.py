"""The second fault set: magnitudes between and beyond those of the corpus, and faults it does not contain.

What is right was decided, and this file committed, before any of it was run; neither the rules nor their
thresholds had been tried on any of it. What was mended after seeing its results is said beside them. Seeds
are others than the corpus's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.faults.corpus import (
    ANSWERS,
    BY_NAME,
    NOTES,
    SERVED,
    STUCK,
    UPSET,
    Case,
    Size,
)

OTHER_SEED = 3100
"""Seeds begin here."""
_EVALS: dict[str, Any] = {"eval_every": 60, "test_samples": 1000}
_SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05}

_SIZES: dict[str, Mapping[Size, float]] = {
    "lr": {"mild": 8, "clear": 60, "severe": 4000},
    "lr-at-start": {"clear": 0.07, "severe": 4.0},
    "lr-low": {"mild": 4e-6, "clear": 5e-7, "severe": 2e-8},
    "few-samples": {"mild": 700, "clear": 120, "severe": 20},
    "labels-random": {"mild": 0.75, "clear": 0.95},
    "input-scale": {"mild": 12, "clear": 60, "severe": 50_000},
    "input-raw": {"clear": 80, "severe": 2000},
    "init": {"mild": 4, "clear": 25, "severe": 400},
    "bias": {"clear": 12, "severe": 80},
    "deep-sigmoid": {"clear": 9, "severe": 24},
    "frozen": {"clear": 2}, "detached": {"clear": 2},
    "target": {"mild": 0.86, "clear": 0.97},
    "target-loss": {"mild": 2.1, "clear": 1.7, "severe": 1.0},
    "imbalance": {"mild": 6, "clear": 0.2},
    "oom-kill": {"clear": 12}, "allocation": {"clear": 20},
    "slow-data": {"mild": 8, "clear": 90}, "neighbours": {"mild": 3, "clear": 8},
    "cpu-quota": {"mild": 45, "clear": 15}, "leak": {"clear": 0.7},
    "straggler": {"clear": 120}, "straggler-compute": {"mild": 12, "clear": 150},
    "infer-slow-preprocess": {"mild": 0.5, "clear": 4, "severe": 120},
}  # fmt: skip
"""Of the corpus's faults, magnitudes it does not have."""
BETWEEN: tuple[Case, ...] = tuple(
    replace(BY_NAME[name], name=f"{name}-between", sizes=sizes, repeat=min(2, BY_NAME[name].repeat))
    for name, sizes in _SIZES.items()
)

BESIDE: tuple[Case, ...] = (
    Case("lr-restart", "B", "the schedule begins anew every so many steps", (*UPSET, "loss-oscillation"),
         (*STUCK, "dead-relu"), {**_EVALS, **_SGD, "lr": 0.3}, fault="lr-restart:{size}", steps=900,
         sizes={"mild": 150}),
    Case("grad-scale", "B", "gradients so many times too large (accumulation forgets to divide)",
         (*UPSET, "loss-nonfinite", "dead-relu"), (*STUCK, "worker-crashed"), _SGD,
         fault="grad-scale:{size}", sizes={"mild": 4, "clear": 16, "severe": 100}),
    Case("same-batch", "B", "every step reads the same samples", ("overfitting",),
         ("eval-accuracy-drop", "class-recall-collapse", "confidence-shift", "plateau", "train-infer-gap"),
         _EVALS, fault="same-batch", steps=700),
    Case("by-class", "B", "samples come in the order of their classes, so many steps each", UPSET,
         (*STUCK, "dead-relu", "class-recall-collapse", "eval-accuracy-drop", "loss-oscillation",
          "overfitting", "confidence-shift"), _EVALS,
         fault="by-class:{size}", steps=600, sizes={"mild": 4, "clear": 60}),
    Case("labels-confused", "B", "that share of class 3 is labelled 4",
         ("class-recall-collapse", "class-imbalance"), ("plateau", "underfitting", "overfitting"),
         {"eval_every": 150, "test_samples": 3000}, fault="labels-confused:{size}", onset=(1, 1), steps=1200,
         sizes={"mild": 0.5, "clear": 1.0}),
    Case("eval-shuffled", "B", "evaluates with labels that belong to other samples",
         ("eval-accuracy-drop", "class-recall-collapse", "confidence-shift"),
         ("overfitting", "plateau", "train-infer-gap"), _EVALS, fault="eval-shuffled"),
    Case("nan-once", "B", "a NaN in one sample of one batch", ("loss-nonfinite",), ("worker-crashed",),
         fault="nan", lasts=1, steps=320, onset=(120, 220)),
    Case("lr-dies", "B", "learning rate divided by MAGNITUDE before it has learned",
         ("lr-too-low", "plateau"), ("lr-could-rise", "underfitting"), fault="lr-low:{size}", steps=500,
         onset=(25, 45),
         sizes={"mild": 50, "clear": 3000, "severe": 1_000_000}),
    Case("clip-tiny", "B", "gradients are clipped to next to nothing", ("lr-too-low", "lr-could-rise"),
         (*STUCK,), {"optimizer": "sgd", "lr": 0.01}, option="clip", sizes={"clear": 1e-3, "severe": 1e-5}),
    Case("warmup-endless", "B", "a warm-up of more steps than the run has", ("lr-too-low", "lr-could-rise"),
         STUCK, option="warmup_steps", sizes={"mild": 20_000, "clear": 2_000_000}),
    Case("decay-huge", "B", "weight decay that size", ("underfitting", "plateau", "chance-level"),
         ("class-recall-collapse", "dead-relu", "lr-too-low", "param-not-updating"), _EVALS,
         option="weight_decay", sizes={"mild": 0.1, "clear": 1, "severe": 30}, steps=600),
    Case("loader-exit", "A", "a loader process leaves without a word", ("loader-worker-died",),
         ("worker-crashed",), {"workers": 2}, fault="loader-exit", steps=1000, onset=(60, 150)),
    Case("bad-sample", "A", "reading a sample raises", ("bad-sample",), ("worker-crashed",),
         fault="bad-sample", steps=400, onset=(60, 150)),
    Case("infer-inverted", "B", "serves black for white", ("preprocess-mismatch",), (*NOTES, *ANSWERS),
         SERVED, infer="inverted", onset=(1, 1)),
    Case("infer-transposed", "B", "serves rows for columns", ANSWERS, NOTES, SERVED, infer="transposed",
         onset=(1, 1)),
    Case("loader-hang", "A", "a loader process waits for ever", ("loader-hang", "training-stalled"),
         ("worker-sigkilled",), {"workers": 2}, fault="loader-hang", frames=True, steps=10**6,
         onset=(300, 400), seconds=50, repeat=1),
    Case("loader-leak", "A", "a loader process keeps so many MiB of each batch, in a memory cgroup",
         ("host-mem-leak", "oom-predicted-host"),
         ("container-mem-near-limit", "psi-memory", "oom-killed", "loader-worker-died", "worker-crashed"),
         {"workers": 2}, fault="loader-leak:{size}", room="memory:6000", frames=True, steps=10**6,
         onset=(100, 150), sizes={"mild": 0.3, "clear": 0.8}, seconds=90, repeat=1),
    Case("nice", "A", "the training has nice 19 beside so many busy loops", ("cpu-contended",),
         ("throughput-regression", "cpu-saturated", "input-bound"), action="nice", frames=True, steps=10**6,
         onset=(300, 400), sizes={"mild": 1, "clear": 2}, seconds=60, after=40, repeat=1, alone=True),
    Case("threads-many", "A", "more threads of an operation than there are cores", ("cpu-contended",),
         ("throughput-regression", "cpu-saturated", "step-jitter"), option="threads", frames=True,
         steps=10**6, onset=(100, 100), sizes={"mild": 8, "clear": 32}, seconds=60, repeat=1, alone=True),
    Case("trickle", "A", "the checkpoints' tmpfs of 64 MB fills by so many MB a second", ("disk-fill",),
         ("checkpoint-failed",), {"checkpoint_every": 500, "checkpoint_dir": "{room}"}, room="tmpfs:64",
         action="trickle", frames=True, steps=10**6, onset=(300, 400), sizes={"mild": 0.5, "clear": 1.5},
         seconds=60, repeat=1),
    Case("slow-disk", "A", "every batch reads so many MiB past the page cache", ("input-bound", "disk-bound"),
         ("throughput-regression", "psi-io", "disk-util", "disk-latency", "iowait", "cpu-contended"),
         fault="slow-disk:{size}", frames=True, steps=10**6, onset=(300, 400),
         sizes={"mild": 4, "clear": 32}, seconds=60, repeat=1, alone=True),
    Case("slow-transform", "A", "every batch computes so many ms longer on one core", ("input-bound",),
         ("throughput-regression", "cpu-contended", "cpu-saturated"), fault="slow-transform:{size}",
         frames=True, steps=10**6, onset=(300, 400), sizes={"mild": 3, "clear": 30}, seconds=40, repeat=1,
         alone=True),
    Case("mem-pressure", "A", "a memory cgroup with so many MiB of room, and reads files through it",
         ("psi-memory", "container-mem-near-limit"),
         ("throughput-regression", "psi-io", "disk-util", "disk-latency", "iowait", "input-bound",
          "host-mem-leak", "oom-predicted-host"),
         fault="mem-pressure:{size}", frames=True, steps=10**6, onset=(100, 150), sizes={"clear": 16},
         seconds=60, repeat=1, alone=True),
)  # fmt: skip
"""Faults the corpus does not contain."""

HARMLESS: tuple[Case, ...] = (
    Case("harmless-clock-back", "A", "the worker's wall clock steps back an hour: nothing is to be said", (),
         config={"eval_every": 400, "test_samples": 500}, action="clock:-3600", frames=True, steps=10**6,
         onset=(300, 400), seconds=40, repeat=1),
    Case("harmless-clock-forth", "A", "the worker's wall clock steps on an hour: nothing is to be said", (),
         config={"eval_every": 400, "test_samples": 500}, action="clock:3600", frames=True, steps=10**6,
         onset=(300, 400), seconds=40, repeat=1),
    Case("harmless-grad-scale-adam", "B", "gradients 16 times too large, which Adam divides out", (),
         ("grad-exploding",), fault="grad-scale:16"),
    Case("harmless-restart", "B", "a schedule with restarts that is meant", (),
         config={"optimizer": "sgd", "lr": 0.05, "max_steps": 900}, fault="lr-restart:300", onset=(1, 1),
         steps=900),
)  # fmt: skip
"""What looks like a fault and is none, or is one of which nothing is to be said."""
OTHER: tuple[Case, ...] = (*BESIDE, *BETWEEN, *HARMLESS)
