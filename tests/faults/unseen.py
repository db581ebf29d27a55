"""The third fault set: faults neither the corpus nor the second set contains, at a clear magnitude.

The second set had been looked at, and rules were mended after it: it measures them no longer as it did. What
is right here was decided, and this file committed, before any of it was run; nothing was mended by it
afterwards. Seeds are others than those of the sets before. (Later came `labels-disagree`, for what
`labels-shifted` is: since then the set measures that case no longer.)
"""

from __future__ import annotations

from typing import Any

from tests.faults.corpus import STUCK, UPSET, Case

UNSEEN_SEED = 4100
"""Seeds begin here."""
_EVALS: dict[str, Any] = {"eval_every": 60, "test_samples": 1000}
_SGD: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05}
_GPT: dict[str, Any] = {"workload": "gpt", "size": "nano"}

UNSEEN: tuple[Case, ...] = (
    Case("labels-shifted", "B", "trains with each label one class up; those of the evaluations are right",
         ("eval-accuracy-drop", "class-recall-collapse", "confidence-shift", "train-infer-gap",
          "labels-disagree"),
         ("overfitting", "plateau", "underfitting"), _EVALS, plant="labels-shifted", onset=(1, 1), steps=600),
    Case("momentum-high", "B", "plain SGD gets a momentum of that size",
         (*UPSET, "early-divergence", "loss-oscillation", "loss-nonfinite", "dead-relu"),
         (*STUCK, "worker-crashed", "class-recall-collapse"), {**_EVALS, **_SGD}, plant="momentum-high",
         onset=(1, 1), sizes={"clear": 0.999}),
    Case("betas-swapped", "B", "Adam's two betas change places (0.999, 0.9)",
         (*UPSET, "early-divergence", "loss-oscillation", "loss-nonfinite", "dead-relu"),
         (*STUCK, "worker-crashed", "class-recall-collapse"), _EVALS, plant="betas-swapped", onset=(1, 1)),
    Case("dropout-high", "B", "that share of what the last layer gets is dropped", STUCK,
         ("slow-convergence", "class-recall-collapse", "loss-oscillation"), _EVALS, plant="dropout-high",
         onset=(1, 1), steps=700, sizes={"clear": 0.98}),
    Case("half-zeros", "B", "half of each batch is zeros, its labels stay", (*UPSET, "preprocess-mismatch"),
         (*STUCK, "class-recall-collapse", "confidence-shift", "eval-accuracy-drop"), _EVALS,
         plant="half-zeros"),
    Case("labels-stuck", "B", "every label becomes that of class 0",
         (*UPSET, "confidence-shift", "eval-accuracy-drop", "class-recall-collapse"),
         ("overfitting", "plateau", "underfitting", "train-infer-gap", "loss-oscillation", "dead-relu"),
         _EVALS, plant="labels-stuck", steps=600),
    Case("grad-noise", "B", "noise of that many times its norm is added to each gradient",
         (*UPSET, "loss-oscillation", "loss-nonfinite"),
         (*STUCK, "dead-relu", "worker-crashed", "class-recall-collapse", "eval-accuracy-drop"),
         {**_EVALS, **_SGD}, plant="grad-noise", sizes={"clear": 30}),
    Case("gpt-lr", "B", "the other workload: learning rate times MAGNITUDE", (*UPSET, "loss-nonfinite"),
         (*STUCK, "worker-crashed"), _GPT, fault="lr:{size}", sizes={"clear": 200}, steps=400),
    Case("gpt-few-samples", "B", "the other workload: trains on so few", ("overfitting",),
         ("plateau", "confidence-shift"), {**_GPT, "eval_every": 60}, fault="few-samples:{size}",
         onset=(1, 1), sizes={"clear": 32}, steps=600),
    Case("segv", "A", "somebody sends SIGSEGV", ("worker-crashed",), action="signal:SEGV", steps=10**6,
         onset=(60, 150)),
    Case("eval-leak", "A", "each evaluation keeps so many MiB, up to its memory cgroup's limit",
         ("oom-killed", "host-mem-leak", "oom-predicted-host"),
         ("worker-crashed", "container-mem-near-limit", "psi-memory"),
         {"eval_every": 100, "test_samples": 500}, plant="eval-leak", room="memory:1500", frames=True,
         steps=10**6, onset=(100, 150), sizes={"clear": 40}, after=8),
    Case("loader-naps", "A", "every 25th batch comes so many ms later", ("input-bound", "step-jitter"),
         ("throughput-regression", "cpu-contended", "cpu-saturated"), plant="loader-naps", frames=True,
         steps=10**6, onset=(300, 400), sizes={"clear": 600}, seconds=50, alone=True),
    Case("read-only", "A", "the checkpoints' file system is mounted read-only meanwhile",
         ("fs-readonly", "checkpoint-failed"), (),
         {"checkpoint_every": 300, "checkpoint_dir": "{room}"}, room="tmpfs:64", action="read-only",
         frames=True, steps=10**6, onset=(400, 500), seconds=25),
    Case("inodes", "A", "a tmpfs of so many inodes fills with empty files", ("inode-fill",), ("disk-fill",),
         room="inodes:4000", action="files", frames=True, steps=0, seconds=20),
)  # fmt: skip
