"""The networks, losses and optimizers of the workloads, as the handbook writes them.

Worker side. `mnist-cnn`: conv 32 3x3, pool, conv 64 3x3, pool, dense 64, dense 10 without padding:
320 + 18,496 + 102,464 + 650 = 121,930 parameters; 2,528,000 multiply-adds an image.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

MACS_PER_SAMPLE = {"mnist-cnn": 2_528_000}
"""Multiply-adds of one forward pass. Training costs about three forward passes, two FLOP each."""


def mnist_cnn(activation: str, classes: int = 10) -> torch.nn.Module:
    """(N, 1, 28, 28) float in [0, 1] -> (N, classes) logits, with PyTorch's default initialisation.

    The handbook puts the activation before the pool. All three rise everywhere, so the largest of four is the
    same before as after: behind the pool there is a quarter of them to compute."""
    from torch import nn

    kinds = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
    act = kinds[activation]
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.MaxPool2d(2),
        act(),
        nn.Conv2d(32, 64, 3),
        nn.MaxPool2d(2),
        act(),
        nn.Flatten(),
        nn.Linear(1600, 64),
        act(),
        nn.Linear(64, classes),
    )


def line() -> torch.nn.Module:
    """(N, 2) -> (N): theta . x, theta = 0 as the handbook begins."""
    import torch

    class Line(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.theta = torch.nn.Parameter(torch.zeros(1, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(x, self.theta).squeeze(1)

    return Line()


def half_squares(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """J(theta) = 1/2 sum (y - theta . x)^2; its gradient is -X^T (y - X theta)."""
    return 0.5 * (y - out).square().sum()


def loss_function(name: str, classes: int = 10) -> LossFunction:
    """`cross-entropy` of the logits (nats, mean over the batch) or `mse`: the mean squared difference
    between softmax probabilities and the one-hot label."""
    from torch.nn import functional as f

    if name == "cross-entropy":
        return f.cross_entropy

    def mse(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        target = f.one_hot(labels, classes).to(logits.dtype)
        return f.mse_loss(f.softmax(logits.float(), dim=1), target.float())

    return mse


def optimizer(name: str, model: torch.nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """adam and sgd add `weight_decay` to the gradient (L2), adamw decays the weights themselves.
    `batch-gd` is gradient descent on the whole training set: plain SGD; the loop makes the batch whole."""
    from torch import optim

    parameters = list(model.parameters())
    if name not in ("adam", "adamw"):
        return optim.SGD(parameters, lr=lr, weight_decay=weight_decay)
    kind = optim.Adam if name == "adam" else optim.AdamW
    try:
        # One pass over the weights: a quarter of the usual update's time (5 % of the step on a CPU).
        return kind(parameters, lr=lr, weight_decay=weight_decay, fused=True)
    except RuntimeError:
        return kind(parameters, lr=lr, weight_decay=weight_decay)  # this torch has it not for this device


def step_of(optimizer: torch.optim.Optimizer) -> Callable[[], object]:
    """`optimizer.step` without its hooks, of which nobody here sets any, and without its record for a
    profiler: between two short steps that is 2 % of a step on a CPU."""
    hooked = type(optimizer).step
    step = getattr(hooked, "__wrapped__", None)
    if step is None or not getattr(hooked, "hooked", False):
        return optimizer.step  # another torch than those this was written for
    return functools.partial(step, optimizer)


def weights(model: torch.nn.Module) -> list[torch.Tensor]:
    """Weight tensors without biases: what L1 acts on and the update ratio is taken over."""
    return [p for p in model.parameters() if p.ndim > 1]


def l1_norm(model: torch.nn.Module) -> torch.Tensor:
    """Sum of absolute weights."""
    total = None
    for weight in weights(model):
        part = weight.abs().sum()
        total = part if total is None else total + part
    assert total is not None
    return total


def norms(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """L2 norm of each, in one fused pass. `math.hypot` of them is the norm over all together."""
    import torch

    return list(torch._foreach_norm(tensors))


class UpdateRatio:
    """max over the weight tensors of |change| / |value before| (L2): about 1e-3 in a healthy run.

    Copies into memory it keeps: fresh pages would cost more than the arithmetic.
    """

    def __init__(self, tensors: list[torch.Tensor]) -> None:
        import torch

        self._tensors = [t.detach() for t in tensors]
        self._before = [torch.empty_like(t) for t in self._tensors]

    def before(self) -> None:
        for kept, now in zip(self._before, self._tensors):
            kept.copy_(now)

    def after(self) -> torch.Tensor:
        import torch

        size = torch.stack(norms(self._before))
        torch._foreach_sub_(self._before, self._tensors)
        ratio: torch.Tensor = (torch.stack(norms(self._before)) / size.clamp_min(1e-12)).max()
        return ratio
