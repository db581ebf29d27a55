"""The options of run.json, typed. Worker side, no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dctop.engine.training import wfaults
else:
    import wfaults

NEWER: Mapping[str, object] = {
    "target": 0.0, "nproc": 1, "clip": 0.0, "accumulate": 1, "schedule": "constant", "warmup_steps": 0,
    "compile": False, "verify_timing": False, "precision": "fp32", "activation": "relu", "workers": 0,
    "train_samples": 0, "test_samples": 0, "download": "no", "synthetic": False, "size": "nano", "context": 0,
    "dropout": 0.0, "checkpoint_dir": None, "data": None,
}  # fmt: skip
"""What an option is where a run.json has it not: it was written by an older version, or by hand."""


class Refused(Exception):
    """The run as asked is impossible here: one line, what and what to do."""


class Config:
    """Raises Refused naming the option that is missing or strange."""

    def __init__(self, run: Mapping[str, object]) -> None:
        asked = run.get("config")
        self.values: Mapping[str, object] = {**NEWER, **(asked if isinstance(asked, dict) else {})}
        self.workload = str(run.get("workload") or "mnist-cnn")
        self.seed = self.integer("seed")
        self.epochs = self.integer("epochs")
        self.batch_size = self.integer("batch_size")
        self.accumulate = self.integer("accumulate")
        self.max_steps = self.integer("max_steps")
        self.checkpoint_every = self.integer("checkpoint_every")
        self.eval_every = self.integer("eval_every")
        self.workers = self.integer("workers")
        self.warmup_steps = self.integer("warmup_steps")
        self.lr = self.real("lr")
        self.l1 = self.real("l1")
        self.clip = self.real("clip")
        self.target = self.real("target")
        self.weight_decay = self.real("weight_decay")
        self.optimizer = self.text("optimizer")
        self.schedule = self.text("schedule")
        self.on_nan = self.text("on_nan")
        self.compile = self.values.get("compile") is True
        self.faults = self._faults()

    def integer(self, name: str) -> int:
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refused(f"run.json: config.{name} is {value!r}, not a whole number")
        return value

    def real(self, name: str) -> float:
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Refused(f"run.json: config.{name} is {value!r}, not a number")
        return float(value)

    def text(self, name: str) -> str:
        value = self.values.get(name)
        if not isinstance(value, str):
            raise Refused(f"run.json: config.{name} is {value!r}, not a text")
        return value

    def optional(self, name: str) -> str | None:
        return self.text(name) if self.values.get(name) is not None else None

    def _faults(self) -> list[wfaults.Fault]:
        value = self.values.get("fault") or []
        try:
            return [wfaults.parse(str(spec)) for spec in value] if isinstance(value, list) else []
        except ValueError as error:
            raise Refused(str(error)) from None

    def lr_factor(self, step: int, total: int) -> float:
        """What the learning rate of a step (from 1) is multiplied with: a rise over `warmup_steps`, then
        constant, half a cosine down to a tenth, or a tenth after each third of the steps."""
        if step <= self.warmup_steps:
            return step / self.warmup_steps
        share = (step - self.warmup_steps) / max(1, total - self.warmup_steps)
        if self.schedule == "cosine":
            return 0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, share)))
        if self.schedule == "step":
            return float(0.1 ** min(2, int(3 * (step - 1) / max(1, total))))
        return 1.0
