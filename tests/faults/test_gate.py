"""The part of the drill that gates: real runs with real faults, judged by the shipped rules.

The whole corpus is `make drill`. Seeds here are not those of its table.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.judge import judge
from tests.faults.record import make_apart
from tests.faults.score import Scored, score
from tests.faults.sets import find

FAULTS = (
    "nan-clear-31", "lr-clear-31", "lr-at-start-clear-31", "lr-low-clear-31", "labels-permuted-clear-31",
    "labels-random-clear-31", "input-raw-clear-31", "kill-clear-31", "crash-clear-31", "oom-kill-clear-31",
    "bias-clear-31", "deep-sigmoid-clear-31", "frozen-mild-31", "detached-clear-31", "target-loss-clear-31",
    "infer-raw-clear-31",
)  # fmt: skip
HEALTHY = (
    "healthy-adam-clear-31", "healthy-sgd-0.1-clear-31", "healthy-sigmoid-clear-31", "healthy-infer-clear-31",
)  # fmt: skip
EVENTS = ("nan", "kill", "crash", "lr-at-start", "input-raw")
SLOW = ("lr-low", "labels-random", "bias", "deep-sigmoid", "frozen", "detached")
SLOWEST = ("target-loss",)
LANES = 2
pytestmark = pytest.mark.timeout(900)
"""On a busy machine the import of torch alone takes half a minute, twelve times."""


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Scored]:
    folder = tmp_path_factory.mktemp("drill")

    def one(plan_id: str) -> Scored:
        plan, own = find(plan_id), Path(folder / plan_id)
        error = make_apart(plan, own)
        assert error is None, f"{plan_id}: {error}"
        return score(judge(plan, own))

    with ThreadPoolExecutor(LANES) as lanes:
        return dict(zip((*FAULTS, *HEALTHY), lanes.map(one, (*FAULTS, *HEALTHY))))


@pytest.mark.parametrize("plan_id", FAULTS)
def test_a_planted_fault_is_diagnosed(scored: dict[str, Scored], plan_id: str) -> None:
    s = scored[plan_id]
    name = s.judged.plan.case.name
    assert s.found is not None, [x.rule for x in s.judged.sightings]
    if s.delay_steps is not None:
        # Logs are looked at every five steps, beside every event.
        limit = 5 if name in EVENTS else 220 if name in SLOW else 450 if name in SLOWEST else 25
        assert s.delay_steps <= limit


@pytest.mark.parametrize("plan_id", (*FAULTS, *HEALTHY))
def test_nothing_false_is_said(scored: dict[str, Scored], plan_id: str) -> None:
    assert not scored[plan_id].false
