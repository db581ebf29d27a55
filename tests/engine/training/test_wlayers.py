"""What single layers show: norms, dead units, parameters that stand still, where a loss went wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from tests.fakes.cuda import Cuda
from tests.fakes.worker import module

wlayers = module("wlayers")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other would take most of the time here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 8), nn.ReLU(), nn.Linear(8, 3)
    )


class Loop:
    """Steps as the trainer takes them, with what the layers tell."""

    def __init__(
        self, model: nn.Module, lr: float = 0.1, cuda: Cuda | None = None, compiled: bool = False
    ) -> None:
        self.model = model
        self.optimizer = torch.optim.SGD(model.parameters(), lr)
        self.told: list[dict[str, Any]] = []
        self.layers = wlayers.Layers(model, cuda, compiled, self._tell)
        self.number = 0
        self.fields: dict[int, dict[str, float]] = {}

    def _tell(self, kind: str, text: str, step: int, **data: Any) -> None:
        self.told.append({"kind": kind, "text": text, "step": step, **data})

    def go(self, steps: int, clip: float = 0.0) -> Loop:
        for _ in range(steps):
            self.number += 1
            if self.number >= self.layers.due:
                self.layers.begin(self.number)
            x, y = torch.rand(8, 1, 8, 8), torch.randint(0, 3, (8,))
            nn.functional.cross_entropy(self.model(x), y).backward()  # type: ignore[no-untyped-call]
            if self.layers.busy:
                self.layers.look(self.optimizer)
            self.norm = self.layers.clip(clip) if clip else self.layers.norm()
            self.grads = [None if p.grad is None else p.grad.clone() for p in self.model.parameters()]
            self.optimizer.step()
            self.optimizer.zero_grad()
            names = self.layers.names
            values = [s.item() for s in self.layers.taken()]
            self.fields[self.number] = dict(zip(names, values, strict=True))
        return self

    def found(self, field: str) -> dict[int, float]:
        return {n: f[field] for n, f in self.fields.items() if field in f}


def test_facts_name_what_the_numbers_mean() -> None:
    facts = wlayers.Layers(net(), None, False, print).facts
    assert facts.names[0] == "Conv2d 0.weight" and facts.names[facts.last] == "Linear 5.weight"
    assert (facts.first, facts.last, facts.weights, facts.relus) == (0, 4, 3, ["ReLU 1", "ReLU 4"])


def test_norms_are_those_of_the_first_and_last_weights_and_of_the_whole() -> None:
    loop = Loop(net()).go(1)
    sizes = [g.norm().item() for g in loop.grads if g is not None]
    found = loop.fields[1]
    assert found["grad_first"] == pytest.approx(sizes[0]) and found["grad_last"] == pytest.approx(sizes[4])
    assert found["grad_top"] == max(range(6), key=sizes.__getitem__)
    assert loop.norm.item() == pytest.approx(math.hypot(*sizes), rel=1e-5)


def test_a_layer_without_a_gradient_is_passed_over() -> None:
    model = net()
    model[0].requires_grad_(False)
    loop = Loop(model).go(1)
    sizes = {i: g.norm().item() for i, g in enumerate(loop.grads) if g is not None}
    assert loop.fields[1]["grad_first"] == pytest.approx(sizes[2])
    assert loop.fields[1]["grad_top"] == max(sizes, key=sizes.__getitem__)


def test_a_gradient_that_is_not_a_number_is_the_largest() -> None:
    loop = Loop(net())
    nn.functional.cross_entropy(loop.model(torch.rand(4, 1, 8, 8)), torch.zeros(4).long()).backward()  # type: ignore[no-untyped-call]
    loop.model[3].weight.grad[0, 0] = math.nan
    loop.layers.norm()
    names = loop.layers.names
    assert loop.layers.taken()[names.index("grad_top")].item() == 2


@pytest.mark.parametrize("limit", [0.05, 100.0])
def test_clipping_is_that_of_torch_and_tells_of_layers_now_and_then(limit: float) -> None:
    a, b = Loop(net()), net()
    torch.manual_seed(7)
    a.go(1, limit)
    torch.manual_seed(7)
    x, y = torch.rand(8, 1, 8, 8), torch.randint(0, 3, (8,))
    nn.functional.cross_entropy(b(x), y).backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(b.parameters(), limit)
    assert torch.allclose(norm, a.norm)
    assert all(torch.allclose(p.grad, g) for p, g in zip(b.parameters(), a.grads, strict=True))  # type: ignore[arg-type]
    a.go(20, limit)
    assert list(a.found("grad_first")) == [10, 20]


def test_living_units_are_not_dead_and_dead_ones_are_told_with_their_layer() -> None:
    loop = Loop(net()).go(60)
    assert list(loop.found("dead_share")) == [50] and loop.found("dead_share")[50] < 0.9
    model = net()
    with torch.no_grad():
        model[3].bias.fill_(-50.0)
        model[3].bias[0] = 5.0
    loop = Loop(model).go(50)
    assert loop.fields[50]["dead_share"] == pytest.approx(7 / 8) and loop.fields[50]["dead_layer"] == 1


def test_a_unit_that_lives_in_one_look_of_five_is_not_dead() -> None:
    model = net()
    with torch.no_grad():
        model[0].bias.fill_(-50.0)
    loop = Loop(model, lr=0.0).go(45)
    with torch.no_grad():
        model[0].bias[:2] = 5.0
    loop.go(5)
    assert loop.fields[50]["dead_share"] == 0.5 and loop.fields[50]["dead_layer"] == 0


def test_hooks_are_there_in_looks_only() -> None:
    loop = Loop(net())
    for _ in range(60):
        loop.go(1)
        assert not loop.model[1]._forward_hooks
    assert not Loop(net(), compiled=True).go(60).found("dead_share")
    assert not Loop(nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.Sigmoid())).go(60).found("dead_share")


def test_rounds_of_looks_are_as_rare_as_their_cost_demands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wlayers, "BUDGET", 1e-12)
    rare = Loop(net()).go(500)
    monkeypatch.setattr(wlayers, "BUDGET", 1e12)
    often = Loop(net()).go(500)
    assert list(rare.found("dead_share")) == [50]
    # 50 steps of rest, then five looks, 10 apart.
    assert list(often.found("dead_share")) == [50, 140, 230, 320, 410, 500]


def test_a_loss_that_jumps_brings_the_next_round_on_and_noise_does_not() -> None:
    loop = Loop(net()).go(60)
    for number in range(100):
        loop.layers.heard(60, 0.3 if number % 2 else 0.6)
        loop.layers.heard(60, math.nan)
    assert list(loop.go(50).found("dead_share")) == [50]
    for _ in range(10):
        loop.layers.heard(110, 2.3)
    assert list(loop.go(60).found("dead_share")) == [50, 151]


def still(loop: Loop) -> list[tuple[int, int, dict[str, int]]]:
    return [(t["step"], t["count"], t["why"]) for t in loop.told]


def test_a_healthy_network_moves_in_every_parameter() -> None:
    assert Loop(net()).go(310).told == []


def test_frozen_layers_are_told_once_with_their_names() -> None:
    model = net()
    model[0].requires_grad_(False)
    loop = Loop(model).go(400)
    assert still(loop) == [(101, 2, {"requires_grad": 2})]
    assert loop.told[0]["parameters"] == ["Conv2d 0.weight", "Conv2d 0.bias"]
    assert loop.told[0]["text"].startswith(
        "2 of 6 parameters have not changed for 100 steps: Conv2d 0.weight"
    )


def test_every_reason_has_its_name() -> None:
    model = net()
    model[0].register_forward_hook(lambda _module, _inputs, out: out.detach())
    loop = Loop(model)
    loop.optimizer.param_groups[0]["params"] = list(model.parameters())[:4]
    loop.go(101)
    assert still(loop) == [(101, 4, {"no-gradient": 2, "optimizer": 2})]
    model = net()
    with torch.no_grad():
        model[3].bias.fill_(-50.0)
    assert still(Loop(model).go(101)) == [(101, 5, {"gradient": 5})]


def test_a_parameter_that_begins_to_move_is_forgotten_and_told_again() -> None:
    model = net()
    model[0].requires_grad_(False)
    loop = Loop(model).go(110)
    model[0].requires_grad_(True)
    loop.go(100)
    assert len(loop.told) == 1
    model[0].requires_grad_(False)
    loop.go(300)
    assert [t["step"] for t in loop.told] == [101, 401]


def test_a_norm_that_stays_while_values_change_is_no_standstill() -> None:
    model = net()
    model[0].requires_grad_(False)
    loop = Loop(model)
    for _ in range(300):
        loop.go(1)
        with torch.no_grad():
            model[0].weight.copy_(model[0].weight.flatten().roll(1).view_as(model[0].weight))
    assert still(loop) == [(101, 1, {"requires_grad": 1})]  # the bias alone


def test_of_large_parameters_values_all_over_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wlayers, "SAMPLE", 10)
    large = torch.arange(95.0).view(5, 19)
    assert wlayers._spread(large).tolist() == [float(i) for i in range(0, 95, 10)]
    last = torch.rand(4, 6, 3, 3).contiguous(memory_format=torch.channels_last)
    assert wlayers._spread(last).numel() == 10 and wlayers._spread(last).data_ptr() == last.data_ptr()
    assert wlayers._spread(large[:, ::2]).shape == (5, 10)  # has holes: as it is
    model = net()
    model[0].requires_grad_(False)
    assert still(Loop(model).go(101)) == [(101, 2, {"requires_grad": 2})]


def test_a_learning_rate_of_nothing_moves_nothing_and_is_not_told() -> None:
    loop = Loop(net(), lr=0.0).go(300)
    assert loop.told == []
    loop.optimizer.param_groups[0]["lr"] = 0.1
    assert loop.go(300).told == []


def test_on_a_device_standstill_is_read_later_and_without_waiting() -> None:
    """Simulated: a stand-in for CUDA."""
    model, cuda = net(), Cuda(lag=0)
    model[0].requires_grad_(False)
    loop = Loop(model, cuda=cuda)
    for _ in range(400):
        loop.go(1)
        cuda.record(cuda.event())  # the stream goes on
    assert "event.synchronize" not in cuda.calls and "synchronize" not in cuda.calls
    assert still(loop) == [(201, 2, {"requires_grad": 2})]
    behind = Loop(net(), cuda=Cuda(lag=10**9)).go(300)
    assert behind.told == []


def test_the_scale_is_a_scalar_of_the_step() -> None:
    loop = Loop(net())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)  # type: ignore[attr-defined]
    loop.layers.scaled(scaler)
    assert loop.layers.names == ()  # it has none before the first loss
    scaler.scale(torch.ones(1))
    loop.layers.scaled(scaler)
    assert loop.layers.names == ("amp_scale",) and loop.layers.taken()[0].item() == 1024.0


def test_the_origin_of_a_loss_that_is_not_finite() -> None:
    x = torch.rand(4, 1, 8, 8)
    assert wlayers.origin(net(), x) == {"origin": "loss"}
    bad = x.clone()
    bad[0, 0, 0, 0] = math.inf
    assert wlayers.origin(net(), bad) == {"origin": "input"}
    model = net()
    with torch.no_grad():
        model[3].weight[0, 0] = math.nan
    assert wlayers.origin(model, x) == {"origin": "parameter", "layer": "3.weight", "layers": 1}
    assert wlayers.origin(model, None)["origin"] == "parameter" and wlayers.origin(net(), None) == {}
    model = net()
    with torch.no_grad():
        model[0].weight.fill_(3e38)
    state = torch.get_rng_state()
    assert wlayers.origin(model.train(), x) == {"origin": "activation", "layer": "Conv2d 0"}
    assert model.training and torch.equal(state, torch.get_rng_state())
    assert not any(m._forward_hooks for m in model.modules())


def test_how_the_gradient_turns_is_told_now_and_then() -> None:
    loop = Loop(net()).go(60)
    cosines, growths = loop.found("grad_cos"), loop.found("grad_growth")
    assert min(cosines) == 10 and cosines.keys() == growths.keys()
    assert all(-1.0 <= c <= 1.0 for c in cosines.values()) and all(g > 0 for g in growths.values())
