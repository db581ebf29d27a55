"""What gradients that turn say of the step's length."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from dctop.engine.rules.turning import turning
from dctop.engine.training.runstate import RunState
from tests.fakes.frames import a_run


def run(
    *pairs: tuple[float, float], optimizer: str = "sgd", lr: float | None = 0.1, every: int = 5
) -> RunState:
    nan = float("nan")
    rows: list[tuple[float, float]] = []
    for pair in pairs:
        rows += [(nan, nan)] * (every - 1) + [pair]
    return a_run(
        config={"config": {"optimizer": optimizer}}, last={"lr": lr},
        columns={
            "step": array("d", range(1, len(rows) + 1)), "grad_cos": array("d", [c for c, _ in rows]),
            "grad_growth": array("d", [g for _, g in rows]),
        },
    )  # fmt: skip


def test_steps_that_jump_across_tell_the_curvature() -> None:
    # The handbook's samples: largest eigenvalue 90.735, and the gradient grows by 1 - 0.1 x 90.735 = -8.07.
    found = turning(run(*[(-1.0, 8.0735)] * 3))
    assert found is not None and found.stable == pytest.approx(1 / 90.735)


def test_the_newest_ten_count() -> None:
    found = turning(run(*[(1.0, 1.0)] * 20, *[(-0.5, 1.2)] * 10))
    assert found is not None and (found.cos, found.growth) == (-0.5, 1.2)


@pytest.mark.parametrize(
    ("pairs", "more"),
    [
        ([(0.0, 1.0)] * 5, {}),  # noise: it would give the rate itself
        ([(-0.9, 1.0)] * 5, {"optimizer": "adam"}),
        ([(-0.9, 1.0)] * 5, {"lr": None}),
    ],
)
def test_no_curvature_is_told_of_noise_nor_of_steps_that_are_no_plain_gradients(
    pairs: list[tuple[float, float]], more: dict[str, Any]
) -> None:
    found = turning(run(*pairs, **more))
    assert found is not None and found.stable is None


def test_few_comparisons_say_nothing() -> None:
    assert turning(run((-1.0, 8.0), (-1.0, 8.0))) is None
    assert turning(run()) is None
