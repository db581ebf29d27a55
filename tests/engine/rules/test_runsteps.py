"""Windows over the steps of a run: what is cut out of them does not depend on when somebody looked."""

from __future__ import annotations

import math
import random
from array import array
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.engine.rules.runsteps import KEPT, TAIL, WARMUP_STEPS
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import Window, median
from dctop.engine.training.runlog import MAX_STEPS, StepStore
from dctop.engine.training.runstate import RunState
from tests.fakes.source import FakeRun, FakeSource

NAN, INF = math.nan, math.inf
FIELDS = ("loss", "grad_norm", "accuracy", "step_s", "data_s", "amp_scale")


class Log:
    """A run whose log grows, read as the reader does; `window()` is a new look at all of it."""

    def __init__(self, seed: int, per_epoch: int | None = None, begin: int | None = 15) -> None:
        self.r, self.store, self.n = random.Random(seed), StepStore(), 0
        source = FakeSource()
        source.tick()
        run = FakeRun(source, warm=False)
        if begin is not None:
            run.event("mode", "train", begin, mode="train")
        config = {**run.now.config} | ({} if per_epoch is None else {"steps_per_epoch": per_epoch})
        self.state = run.publish(config=config)
        self.node = Window()
        self.per_epoch = per_epoch

    def grow(self, n: int) -> RunState:
        r, records = self.r, []
        for _ in range(n):
            self.n += 1
            record: dict[str, Any] = {
                "step": self.n, "wall_ns": 1e9 * self.n, "epoch": 1 + (self.n - 1) // (self.per_epoch or 97),
                "loss": r.choice((r.random(), r.random(), r.random(), NAN, INF)), "step_s": r.random(),
            }  # fmt: skip
            record |= {"grad_norm": r.random()} if self.n % 7 == 0 else {}
            record |= {"accuracy": r.random()} if r.random() < 0.1 else {}
            record |= {"data_s": r.random()} if r.random() < 0.9 else {}
            records.append(record)
        self.store.add(records)
        self.state = replace(self.state, columns=self.store.view(), step=self.n, seq=self.n)
        return self.state

    def window(self) -> RunWindow:
        w = RunWindow(self.node)
        w.bind(self.state)
        return w


def judged(run: RunState, name: str, begin: int | None, within: int = TAIL) -> list[float]:
    """What `train` is about, found by going through everything."""
    steps, values, epochs = (run.columns[k] for k in ("step", name, "epoch"))
    per_epoch, out = run.config.get("steps_per_epoch"), []
    for i in range(max(0, len(steps) - within), len(steps)):
        if name.endswith("_s"):
            first = i > 0 and epochs[i] > epochs[i - 1]
            if per_epoch is not None:
                first = per_epoch > 1 and (steps[i] - 1) % per_epoch == 0
            if begin is None or steps[i] < begin or first:
                continue
        elif steps[i] < steps[0] + WARMUP_STEPS:
            continue
        if math.isfinite(values[i]):
            out.append(values[i])
    return out


def agree(a: RunWindow, b: RunWindow) -> None:
    for name in FIELDS:
        assert a.known(name).steps == b.known(name).steps, name
        assert a.known(name).values == b.known(name).values, name


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([None, 1, 9, 60, 700]),
    st.lists(st.sampled_from([0, 1, 3, 20, 50, 400, 1500]), min_size=1, max_size=12),
)
def test_windows_are_what_going_through_all_steps_finds(
    seed: int, per_epoch: int | None, chunks: list[int]
) -> None:
    log = Log(seed, per_epoch)
    live = log.window()
    for n in chunks:
        live.bind(log.grow(n))
        begin = live.train_begin()
        for name in FIELDS:
            all_of_it = judged(log.state, name, begin)
            assert live.train(name) == all_of_it, name
            assert live.train(name, 20) == all_of_it[-20:], name
            assert live.train(name, within=100) == judged(log.state, name, begin, 100), name
            assert live.median(name, 30) == (median(all_of_it[-30:]) if len(all_of_it) >= 30 else None)
            assert live.knows(name, 30) == (len(all_of_it) >= 30)
        agree(live, log.window())


def test_a_field_that_was_not_asked_about_for_a_while_is_as_if_it_had_been() -> None:
    log = Log(1)
    seldom, often = log.window(), log.window()
    for i in range(60):
        state = log.grow(50)
        seldom.bind(state)
        often.bind(state)
        agree(often, often)
        if i % 13 == 5:
            agree(seldom, often)


def test_thinning_of_old_steps_takes_nothing_from_what_is_known() -> None:
    log = Log(2)
    live = log.window()
    for _ in range(MAX_STEPS // 1000 + 3):
        live.bind(log.grow(1000))
        for name in FIELDS:
            assert live.train(name) == judged(log.state, name, live.train_begin()), name
        measured = range(7, log.n + 1, 7)
        assert list(live.known("grad_norm").steps) == list(measured)[-KEPT:], "also of steps kept no more"
    assert len(log.store) < MAX_STEPS and log.store.total > MAX_STEPS


def test_a_log_that_took_the_place_of_another_is_read_anew() -> None:
    old, new = Log(3), Log(4)
    live = old.window()
    live.bind(old.grow(600))
    agree(live, old.window())
    shorter = new.grow(300)
    live.bind(shorter)
    agree(live, new.window())
    third = Log(5)
    third.grow(50)
    longer = third.grow(600)
    columns = {k: array("d", c) for k, c in longer.columns.items()}
    columns["wall_ns"] = array("d", [w + 5e11 for w in columns["wall_ns"]])
    live.bind(replace(longer, columns=columns))
    fresh = RunWindow(old.node)
    fresh.bind(replace(longer, columns=columns))
    agree(live, fresh)


def test_a_run_that_warms_up_has_no_judged_times_yet() -> None:
    log = Log(6, begin=None)
    live = log.window()
    live.bind(log.grow(100))
    assert live.train_begin() is None, "its log has modes, and none is train"
    assert live.train("step_s") == [] and len(live.train("loss")) > 40


@pytest.mark.parametrize("n", [0, 1, TAIL, TAIL + 1])
def test_the_ends_of_short_and_long_logs(n: int) -> None:
    log = Log(7)
    live = log.window()
    live.bind(log.grow(n))
    assert live.count == n
    assert live.train("loss") == judged(log.state, "loss", None)
    assert live.first("step") == (1.0 if n else None)
    assert not n or (live.back(1) == n and live.index(n) == n - 1)
    assert math.isnan(live.last_wall_ns) == (n == 0)
