"""How a gradient turns: compared on a part of its values, now and then."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.fakes.worker import module

wturns = module("wturns")


def with_gradients(*values: torch.Tensor) -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.zeros_like(v)) for v in values]


def turn(turns: Any, parameters: list[torch.nn.Parameter], number: int, *values: torch.Tensor) -> Any:
    for p, v in zip(parameters, values, strict=True):
        p.grad = v.clone()
    return turns.look(number)


def test_cosine_and_growth_are_those_of_the_whole_gradient() -> None:
    torch.manual_seed(0)
    a, b = [torch.randn(40, 30), torch.randn(30)], [torch.randn(40, 30), torch.randn(30)]
    parameters = with_gradients(*a)
    turns = wturns.Turns(parameters)
    assert turns.due == wturns.REST[0]
    assert turn(turns, parameters, 9, *a) is None and turns.due == 10
    cos, growth = turn(turns, parameters, 10, *b)
    flat_a, flat_b = (torch.cat([v.flatten() for v in x]) for x in (a, b))
    expected = torch.nn.functional.cosine_similarity(flat_a, flat_b, dim=0)
    assert cos.item() == pytest.approx(expected.item(), abs=1e-5)
    assert growth.item() == pytest.approx((flat_b.norm() / flat_a.norm()).item(), rel=1e-5)


def test_the_same_gradient_the_other_way_round_is_minus_one() -> None:
    parameters = with_gradients(torch.zeros(7))
    turns = wturns.Turns(parameters)
    turn(turns, parameters, 9, torch.ones(7))
    cos, growth = turn(turns, parameters, 10, torch.full((7,), -8.0))
    assert (cos.item(), growth.item()) == (pytest.approx(-1.0), pytest.approx(8.0))


def test_of_large_parameters_a_part_stands_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wturns, "VALUES", 2000)
    torch.manual_seed(0)
    # Two that differ in size: their shares of the whole must stay what they are.
    a = [torch.randn(100, 300).contiguous(), torch.randn(64, 16, 3, 3).to(memory_format=torch.channels_last)]
    b = [0.5 * x + torch.randn_like(x) for x in a]
    parameters = with_gradients(*a)
    turns = wturns.Turns(parameters)
    turn(turns, parameters, 9, *a)
    cos, growth = turn(turns, parameters, 10, *b)
    flat_a, flat_b = (torch.cat([v.flatten() for v in x]) for x in (a, b))
    expected = torch.nn.functional.cosine_similarity(flat_a, flat_b, dim=0).item()
    assert cos.item() == pytest.approx(expected, abs=0.05)
    assert growth.item() == pytest.approx((flat_b.norm() / flat_a.norm()).item(), rel=0.05)


def test_parameters_without_gradients_are_left_out_and_a_change_begins_anew() -> None:
    parameters = with_gradients(torch.zeros(3), torch.zeros(2))
    turns = wturns.Turns(parameters)
    parameters[0].grad = torch.ones(3)
    assert turns.look(9) is None
    parameters[1].grad = torch.ones(2)
    assert turns.look(10) is None and turns.due == 11  # another set of them: nothing to compare
    assert turns.look(11) is not None and turns.due >= 11 + wturns.REST[0]


def test_nothing_to_train_is_never_due() -> None:
    assert wturns.Turns([]).due == float("inf")
