"""What is too small to speak of."""

from __future__ import annotations

import math
import random

import pytest

from dctop.engine.rules.floors import negligible, noise, untrained
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import Window
from tests.engine.rules.scene import Scene


def window(s: Scene, run: object) -> RunWindow:
    made = RunWindow(Window())
    made.run = run.now  # type: ignore[attr-defined]
    return made


def test_knowing_nothing_costs_ln_c_or_what_the_first_losses_were() -> None:
    s = Scene()
    assert untrained(window(s, s.run())) == pytest.approx(math.log(10))
    other = s.run(loss="mse")
    s.train(other, 10, loss=0.5)
    w = window(s, other)
    first = sorted(x for x in w.column("loss")[:20] if x == x)
    assert untrained(w) == pytest.approx(first[len(first) // 2], rel=0.05)
    assert negligible(w, 1e-6, 0.02) and not negligible(w, 1.0, 0.02)


def test_noise_is_that_about_the_trend() -> None:
    r = random.Random(4)
    values = [1.0 - 0.01 * i + r.gauss(0, 0.02) for i in range(400)]
    assert noise(values) == pytest.approx(0.02, rel=0.15)
    assert noise([1.0, 0.9, 0.8, 0.7]) == pytest.approx(0.0, abs=1e-9) and noise([1.0, 2.0, 3.0]) is None
