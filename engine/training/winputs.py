"""Whether a training is fed what it should be: its inputs against those of the data set, and its labels.

Worker side; imported after torch. The reference is what the checkpoints store of the inputs, made by the same
preprocessing from the data set itself; the stream is looked at every EVERY steps (20 us a look of 64 images
on a CPU, read back with the step's other scalars).
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dctop.engine.training import wlog, wmeasure, wtasks
else:
    import wmeasure

EVERY, MOST = 20, 64
FIGURES = ("min", "max", "mean", "std")


def figures(x: torch.Tensor) -> list[torch.Tensor]:
    """Least, greatest, mean and L2 norm of a batch (of its first MOST samples), left on its device. The norm:
    ten times as fast on the CPU as torch.std."""
    x = x.detach()[:MOST].float()
    low, high = torch.aminmax(x)
    return [low, high, x.mean(), torch.linalg.vector_norm(x)]


def spread(norm: float, mean: float, values: int) -> float:
    """Standard deviation of so many values, from their L2 norm and mean."""
    square = norm * norm / values - mean * mean
    return 0.0 if square < 0 else math.sqrt(square)


def told(x: torch.Tensor) -> dict[str, object] | None:
    """The same as numbers, with `samples`; None for whole numbers (tokens have no scale)."""
    if not x.is_floating_point():
        return None
    seen = [v.item() for v in figures(x)]
    std = spread(seen[3], seen[2], x[:MOST].numel())
    return {**dict(zip(FIGURES, (*seen[:3], std))), "samples": min(MOST, len(x))}


def label_counts(task: wtasks.Task) -> list[int] | None:
    """Samples of each class in the whole training set, as it is trained on. None: no classes."""
    labels = getattr(task.fetch, "labels", None)
    if labels is None or not task.classes:
        return None
    counts: list[int] = torch.bincount(labels[: task.train_count], minlength=len(task.classes)).tolist()
    return counts


class Inputs:
    """Holds the stream against the reference and logs an `inputs` event where that begins or ends to
    differ."""

    def __init__(self, task: wtasks.Task) -> None:
        self.reference = task.input_statistics()
        x, _ = task.prepare(*task.fetch(torch.arange(1)))
        self.scaled = x.is_floating_point()
        """Else they are tokens."""
        self._values = x.numel()
        """Of one sample."""
        self._looks: deque[tuple[int, Sequence[float]]] = deque()
        """(samples, FIGURES) of the newest looks, so many that they are enough to judge."""
        self._wrong = False

    def due(self, step: int) -> bool:
        return self.scaled and step % EVERY == 1

    def facts(self) -> dict[str, object] | None:
        """For the log: the reference without its histogram."""
        return {k: v for k, v in self.reference.items() if k != "histogram"} if self.scaled else None

    def judge(self, log: wlog.RunLog, step: int, samples: int, seen: Sequence[float]) -> None:
        """Take the `figures` of a batch."""
        looks, looked = self._looks, min(MOST, samples)
        low, high, mean, norm = seen
        looks.append((looked, (low, high, mean, spread(norm, mean, looked * self._values))))
        while sum(n for n, _ in looks) - looks[0][0] >= wmeasure.LEAST_SAMPLES:
            looks.popleft()
        total = sum(n for n, _ in looks)
        now = {
            "min": min(v[0] for _, v in looks), "max": max(v[1] for _, v in looks),
            "mean": sum(n * v[2] for n, v in looks) / total,
            "std": sum(n * v[3] for n, v in looks) / total, "samples": total,
        }  # fmt: skip
        found = wmeasure.compare_inputs(now, self.reference)
        wrong = found["mismatch"]
        if not isinstance(wrong, bool) or wrong == self._wrong:
            return
        self._wrong = wrong
        text = "inputs are as the data set's again"
        if wrong:
            text = f"inputs mean {now['mean']:.3g}, of the data set {self.reference['mean']:.3g}"
        log.event("inputs", text, step, now=now, trained=self.facts(), **found)
