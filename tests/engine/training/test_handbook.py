"""The handbook's mathematics, by the workloads' own building blocks, with the values that are right.

docs/HANDBOOK.md derives each and says where the handbook's text has another number.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from dctop.engine.training import wmodel
from tests.fakes.runs import start, wait_end
from tests.fakes.worker import module

wtasks, wconfig = module("wtasks"), module("wconfig")
POINTS = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])


def activation(name: str) -> torch.Tensor:
    """Of the layer that the network of the workload has."""
    layer = list(wmodel.mnist_cnn(name).children())[2]
    return torch.as_tensor(layer(POINTS))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("sigmoid", [0.1192, 0.2689, 0.5, 0.7311, 0.8808]),
        ("tanh", [-0.9640, -0.7616, 0.0, 0.7616, 0.9640]),
        ("relu", [0.0, 0.0, 0.0, 1.0, 2.0]),
    ],
)
def test_activations_at_minus_two_to_two(name: str, values: list[float]) -> None:
    assert activation(name).tolist() == pytest.approx(values, abs=5e-5)


def test_sigmoid_is_symmetric_about_a_half_and_tanh_is_odd() -> None:
    sigmoid, tanh = activation("sigmoid"), activation("tanh")
    assert torch.allclose(sigmoid + sigmoid.flip(0), torch.ones(5))
    assert torch.allclose(tanh, -tanh.flip(0))


def test_cross_entropy_of_the_example_is_0_3618_nats() -> None:
    truth, said = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.8, 0.2]])
    loss = wmodel.loss_function("cross-entropy")(said.log(), truth).item()
    assert loss == pytest.approx(0.3618, abs=5e-5) and loss / math.log(2) == pytest.approx(0.5219, abs=5e-5)
    entropy = -(truth * truth.log()).sum().item()
    assert entropy == pytest.approx(0.3251, abs=5e-5)
    # Gibbs: never below the entropy of the truth, as the handbook's 0.278 would be.
    assert loss >= entropy > 0.278
    assert wmodel.loss_function("cross-entropy")(truth.log(), truth).item() == pytest.approx(entropy)


def descend(lr: float, steps: int) -> tuple[list[list[float]], list[float]]:
    """theta and J before each step, by the workload's model, loss and optimizer."""
    model = wmodel.line()
    optimizer = wmodel.optimizer("batch-gd", model, lr, 0.0)
    thetas, losses = [], []
    for _ in range(steps):
        loss = wmodel.half_squares(model(wtasks.LINE_X), wtasks.LINE_Y)
        thetas.append(next(model.parameters()).flatten().tolist())
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return thetas, losses


def test_the_gradient_at_zero_has_two_parts_and_they_are_minus_44_and_minus_56() -> None:
    model = wmodel.line()
    wmodel.half_squares(model(wtasks.LINE_X), wtasks.LINE_Y).backward()
    assert next(model.parameters()).grad.flatten().tolist() == [-44.0, -56.0]  # type: ignore[union-attr]
    assert (-wtasks.LINE_X.T @ wtasks.LINE_Y).tolist() == [-44.0, -56.0]


def test_batch_gradient_descent_diverges_at_the_handbooks_rate() -> None:
    thetas, losses = descend(0.1, 4)
    assert losses == pytest.approx([28.0, 1821.84, 118_748.45, 7.74e6], rel=1e-3)
    assert thetas[1] == pytest.approx([4.4, 5.6]) and thetas[2] == pytest.approx([-31.24, -39.52])
    assert thetas[3] == pytest.approx([256.4, 324.8], rel=1e-3)


def test_batch_gradient_descent_converges_at_a_hundredth() -> None:
    _, losses = descend(0.01, 4)
    assert losses[1:] == pytest.approx([0.290, 0.0523, 0.0500], abs=5e-4)
    thetas, losses = descend(0.02, 3000)
    assert thetas[-1] == pytest.approx([0.0, 1.0], abs=1e-3) and losses[-1] < 1e-6


def test_the_limit_of_the_rate_is_two_over_the_largest_eigenvalue() -> None:
    largest = torch.linalg.eigvalsh(wtasks.LINE_X.T @ wtasks.LINE_X)[-1].item()
    assert largest == pytest.approx(90.735, abs=1e-3) and 2 / largest == pytest.approx(0.02204, abs=1e-5)
    assert descend(0.0220, 400)[1][-1] < 28 < descend(0.0221, 400)[1][-1]


def test_descent_sample_by_sample_reaches_the_same_optimum() -> None:
    torch.manual_seed(0)
    model = wmodel.line()
    optimizer = wmodel.optimizer("sgd", model, 0.01, 0.0)
    source = wtasks._Points()
    for _ in range(3000):
        x, y = source(torch.randint(3, (1,)))
        optimizer.zero_grad()
        wmodel.half_squares(model(x), y).backward()
        optimizer.step()
    assert next(model.parameters()).flatten().tolist() == pytest.approx([0.0, 1.0], abs=0.05)


def test_scaling_before_the_batch_would_take_eight_times_the_memory() -> None:
    images = torch.zeros(100, 1, 28, 28, dtype=torch.uint8)
    assert (images.double() / 255.0).nbytes == 8 * images.nbytes
    assert 60_000 * 784 * 8 == 376_320_000


def test_the_run_diverges_at_its_default_and_converges_at_a_hundredth() -> None:
    bad, good = start_linear(), start_linear(lr=0.01, epochs=200)
    state = wait_end(bad)
    assert state.status == "failed" and "loss is not finite" in str(state.reason)
    losses = list(state.columns["loss"])
    assert losses[:3] == pytest.approx([28.0, 1821.84, 118_748.45], rel=1e-3)
    state = wait_end(good)
    assert state.status == "finished" and state.evals[-1]["loss"] < 0.02
    assert state.evals[-1].get("accuracy") is None


def start_linear(**config: object) -> Path:
    return start(workload="linear", **config)
