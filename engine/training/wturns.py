"""How a gradient turns from one step to the next: now and then, on a fixed part of its values.

Worker side; imported after torch. The gradient of a step is kept until the next one, and the two are
compared: the cosine of the angle between them and the growth of their length. Where steps are too long for
the curvature they jump across the valley and back, and the cosine is near -1; noise of batches makes it 0.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
else:
    import torch

VALUES = 65_536
"""Of a gradient that are compared, about: evenly spread over each parameter, each with the weight of those
it stands for."""
LEAST_VALUES = 64
"""Of one parameter."""
REST = (9, 500)
"""Steps from the end of one comparison to the next, at least and at most."""
BUDGET = 0.0005
"""Share of the run's time for it."""


class Turns:
    """`look` at the gradients of step `due` and of the next."""

    names = ("grad_cos", "grad_growth")

    def __init__(self, parameters: list[torch.nn.Parameter]) -> None:
        each = max(LEAST_VALUES, VALUES // max(1, len(parameters)))
        self._parameters = parameters
        self._every = [max(1, -(-p.numel() // each)) for p in parameters]
        self.due: float = REST[0] if parameters else math.inf
        self._before: list[torch.Tensor] | None = None
        self._begun = (0, 0)
        """Of the last comparison: step, perf_counter_ns."""
        self._spent_ns = 0

    def look(self, number: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """(cosine, growth) at the second of two steps. After the backward pass, before any clipping."""
        since = time.perf_counter_ns()
        now = self._sampled()
        before, self._before = self._before, None
        if before is None or len(before) != len(now):
            self._before, self.due = now, number + 1
            self._spent_ns += time.perf_counter_ns() - since
            return None
        found = _compared(before, now)
        self.due = number + self._rest(number, since)
        return found

    def _sampled(self) -> list[torch.Tensor]:
        """Copies: the gradients are gone when the next ones come. In the order of memory; each by the square
        root of how many a value stands for."""
        out = []
        for p, every in zip(self._parameters, self._every):
            if p.grad is None:
                continue
            grad = p.grad.detach()
            if every == 1:
                out.append(grad.clone())
            else:
                out.append(_spread(grad, every).mul(math.sqrt(every)))
        return out

    def _rest(self, number: int, since: int) -> int:
        """Steps until the next comparison, so that it takes its budget at most."""
        now = time.perf_counter_ns()
        spent, self._spent_ns = self._spent_ns + now - since, 0
        step0, at0 = self._begun
        self._begun = (number, now)
        if not at0:
            return REST[0]
        step_ns = (now - at0) / max(1, number - step0)
        return max(REST[0], min(REST[1], math.ceil(spent / (BUDGET * max(step_ns, 1.0)))))


def _spread(values: torch.Tensor, every: int) -> torch.Tensor:
    """A view of each `every`-th value, in the order of memory where they fill it."""
    extent = 1 + sum((n - 1) * stride for n, stride in zip(values.shape, values.stride()))
    if extent != values.numel():
        return values.reshape(-1)[::every]
    return values.as_strided((-(-extent // every),), (every,), values.storage_offset())


def _compared(before: list[torch.Tensor], now: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(cosine, growth) as scalars of the device."""
    both = torch.stack([n.float() for n in torch._foreach_norm([*before, *now])])
    a, b = torch.linalg.vector_norm(both[: len(before)]), torch.linalg.vector_norm(both[len(before) :])
    torch._foreach_mul_(before, now)
    dot = torch.stack([x.sum().float() for x in before]).sum()
    return dot / (a * b), b / a
