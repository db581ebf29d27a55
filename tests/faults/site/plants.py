"""Plants of the third fault set: in the worker's own modules, once they are imported. They are no part of the
worker's catalogue, which the first two sets have been through.

`DCTOP_DRILL_PLANT` is `NAME:SIZE:STEP`; those that begin after the first step write when, as the worker's own
planter does.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any


class Plant:
    """One fault. What it replaces calls what was there."""

    def __init__(self, spec: str) -> None:
        name, size, first = spec.split(":")
        self.name, self.size, self.first = name, float(size), int(first)
        self.kept: list[Any] = []
        self.step = 0
        """The one that is made."""

    @property
    def active(self) -> bool:
        return self.step >= self.first

    def into_training(self, module: Any) -> None:
        trainer = module.Trainer
        for name in ("_plan", "initialise", "one_step", "preprocess", "update"):
            setattr(trainer, name, self._around(getattr(trainer, name), getattr(self, name.strip("_"))))
        evaluate = module.wpause.evaluate
        module.wpause.evaluate = lambda t: (evaluate(t), self.evaluated())[0]

    def into_batches(self, module: Any) -> None:
        read = module.Fetch.__getitem__

        def late(fetch: Any, item: Any) -> Any:
            if self.name == "loader-naps" and item[0] >= self.first and item[0] % 25 == 0:
                time.sleep(self.size / 1000)
            return read(fetch, item)

        module.Fetch.__getitem__ = late

    @staticmethod
    def _around(inner: Any, outer: Any) -> Any:
        return lambda trainer, *args: outer(trainer, lambda: inner(trainer, *args), *args)

    # -- around the trainer's methods -----------------------------------------------------------------

    def plan(self, trainer: Any, inner: Any) -> None:
        if self.name == "labels-shifted":
            task = trainer.task
            task.fetch.labels.add_(1).remainder_(len(task.classes))
        inner()

    def initialise(self, trainer: Any, inner: Any) -> None:
        inner()
        if self.name == "dropout-high":
            from torch.nn import functional as f

            last = list(trainer.model.children())[-1]
            last.register_forward_pre_hook(
                lambda m, fed: (f.dropout(fed[0], self.size, training=m.training),)
            )
        for group in trainer.optimizer.param_groups:
            if self.name == "momentum-high":
                group["momentum"] = self.size
            elif self.name == "betas-swapped":
                group["betas"] = tuple(reversed(group["betas"]))

    def one_step(self, trainer: Any, inner: Any, _batches: Any) -> None:
        self.step = trainer.step + 1
        if self.step == self.first > 1:
            truth = {"id": self.name, "t0": time.time_ns(), "t1": None, "step0": self.step, "step1": None}
            with Path(trainer.directory, "truth.jsonl").open("a") as out:
                out.write(json.dumps(truth) + "\n")
        inner()

    def preprocess(self, _trainer: Any, inner: Any, *_of: Any) -> Any:
        x, y = inner()
        if self.active and self.name == "half-zeros":
            x[: len(x) // 2] = 0
        elif self.active and self.name == "labels-stuck":
            y = y * 0
        return x, y

    def update(self, trainer: Any, inner: Any) -> Any:
        if self.active and self.name == "grad-noise":
            import torch

            for p in trainer.parameters:
                if p.grad is not None:
                    p.grad += self.size * p.grad.norm() / p.grad.numel() ** 0.5 * torch.randn_like(p.grad)
        return inner()

    def evaluated(self) -> None:
        if self.active and self.name == "eval-leak":
            import torch

            self.kept.append(torch.ones(int(self.size * (1 << 20)), dtype=torch.uint8))


NAMES = ("labels-shifted", "dropout-high", "momentum-high", "betas-swapped", "half-zeros", "labels-stuck",
         "grad-noise", "eval-leak", "loader-naps")  # fmt: skip


class _After(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Lets a module be imported as ever, then changes it."""

    def __init__(self, changes: dict[str, Any]) -> None:
        self._changes = changes
        self._loaders: dict[str, Any] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in self._changes or name in self._loaders:
            return None
        self._loaders[name] = None  # asked below by ourselves
        spec = importlib.util.find_spec(name)
        if spec is not None:
            self._loaders[name], spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: Any) -> Any:
        return self._loaders[spec.name].create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._loaders[module.__name__].exec_module(module)
        self._changes[module.__name__](module)


def install(spec: str) -> None:
    plant = Plant(spec)
    if plant.name not in NAMES:
        raise ValueError(f"plant '{plant.name}': there are {', '.join(NAMES)}")
    sys.meta_path.insert(0, _After({"wtrain": plant.into_training, "wbatches": plant.into_batches}))
