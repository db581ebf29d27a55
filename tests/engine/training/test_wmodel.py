"""The network, losses, optimizers and norms of the workloads."""

from __future__ import annotations

import math

import pytest
import torch

from dctop.engine.training import wmodel


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_the_network_has_the_handbooks_parameters(activation: str) -> None:
    model = wmodel.mnist_cnn(activation)
    sizes = [sum(p.numel() for p in layer.parameters()) for layer in model.children()]
    assert [n for n in sizes if n] == [320, 18_496, 102_464, 650]
    assert sum(sizes) == 121_930
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_the_handbooks_function_with_the_activation_before_the_pool(
    activation: str, layout: torch.memory_format
) -> None:
    torch.manual_seed(1)
    model = wmodel.mnist_cnn(activation)
    first, pool, act, second, _, _, flat, dense, _, out = model.children()
    handbook = torch.nn.Sequential(first, act, pool, second, act, pool, flat, dense, act, out)
    x, y = torch.rand(8, 1, 28, 28), torch.arange(8)
    gradients = []
    for network in (handbook, model.to(memory_format=layout)):
        model.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b)


def test_macs_are_those_of_the_layers() -> None:
    conv = 26 * 26 * 32 * 9 + 11 * 11 * 64 * 32 * 9
    assert conv + 1600 * 64 + 64 * 10 == wmodel.MACS_PER_SAMPLE["mnist-cnn"]


def test_cross_entropy_of_equal_logits_is_ln_10() -> None:
    loss = wmodel.loss_function("cross-entropy")(torch.zeros(4, 10), torch.tensor([0, 1, 2, 3]))
    assert math.isclose(loss.item(), math.log(10), rel_tol=1e-6)


def test_mse_is_between_probabilities_and_one_hot() -> None:
    loss = wmodel.loss_function("mse")(torch.zeros(2, 10), torch.tensor([0, 1]))
    assert math.isclose(loss.item(), (0.9**2 + 9 * 0.1**2) / 10, rel_tol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("sgd", torch.optim.SGD),
        ("batch-gd", torch.optim.SGD),
    ],
)
def test_every_optimizer_is_the_named_one(name: str, kind: type) -> None:
    made = wmodel.optimizer(name, wmodel.mnist_cnn("relu"), 0.25, 0.5)
    assert type(made) is kind
    assert made.param_groups[0]["lr"] == 0.25 and made.param_groups[0]["weight_decay"] == 0.5


def test_the_fused_update_is_the_plain_one() -> None:
    torch.manual_seed(0)
    a, b = wmodel.mnist_cnn("relu"), wmodel.mnist_cnn("relu")
    b.load_state_dict(a.state_dict())
    plain = torch.optim.Adam(b.parameters(), 1e-3)
    fused = wmodel.optimizer("adam", a, 1e-3, 0.0)
    x, y = torch.rand(8, 1, 28, 28), torch.arange(8)
    for model, optimizer in ((a, fused), (b, plain)):
        for _ in range(3):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    for p, q in zip(a.parameters(), b.parameters()):
        assert torch.allclose(p, q, atol=1e-6)


def test_norms_and_update_ratio_are_those_of_the_definition() -> None:
    tensors = [torch.full((2, 3), 2.0), torch.full((4, 4), -1.0)]
    together = torch.cat([t.flatten() for t in tensors]).norm().item()
    assert math.isclose(math.hypot(*(n.item() for n in wmodel.norms(tensors))), together, rel_tol=1e-6)
    ratio = wmodel.UpdateRatio(tensors)
    ratio.before()
    tensors[0].mul_(1.01)
    tensors[1].mul_(0.9)
    assert math.isclose(ratio.after().item(), 0.1, rel_tol=1e-5)
    ratio.before()
    assert ratio.after().item() == 0.0


def test_l1_counts_weights_and_no_biases() -> None:
    model = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(model.weight, -3.0)
    torch.nn.init.constant_(model.bias, 100.0)
    assert wmodel.l1_norm(model).item() == 12.0


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_step_without_its_record_is_the_same_step(name: str) -> None:
    models = [torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)]
    models[1].load_state_dict(models[0].state_dict())
    makers = [wmodel.optimizer(name, m, 0.1, 0.01) for m in models]
    for model, step in zip(models, (makers[0].step, wmodel.step_of(makers[1]))):
        for i in range(3):
            model(torch.full((4, 3), float(i))).square().sum().backward()
            step()
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters()))


def test_an_optimizer_that_is_not_torchs_is_stepped_as_it_is() -> None:
    class Own:
        def step(self) -> str:
            return "own"

    assert wmodel.step_of(Own())() == "own"
