"""The scorer itself: matching by event, intervals, baselines."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dctop.engine.rules.registry import make_rules
from tests.faults import baselines, otherpage
from tests.faults.corpus import BY_NAME, CASES, Plan, plans
from tests.faults.judge import Judged, Sighting
from tests.faults.report import OTHERS, text
from tests.faults.score import fault_rows, poisson_upper, rule_rows, score, wilson
from tests.faults.sets import SETS, find

S = 10**9


def seen(rule: str, at: float, step: int = 0, **more: Any) -> Sighting:
    base = Sighting(rule, "run", "warning", int(at * S), step, None, None, 1)
    return replace(base, **more)


def judged(
    *sightings: Sighting, case: str = "lr", t0: float | None = 100.0, t1: float | None = None
) -> Judged:
    plan = Plan(BY_NAME[case], "clear", 150, 2101, 200, None)
    truth = {
        "t0": None if t0 is None else int(t0 * S), "t1": None if t1 is None else int(t1 * S),
        "step0": 200, "step1": None,
    }  # fmt: skip
    return Judged(plan, truth, sightings, 300.0, None)


def test_the_first_right_root_counts_with_its_delay() -> None:
    s = score(judged(seen("loss-diverging", 101, 210), seen("loss-spike", 100.5, 204)))
    assert s.found is not None and s.found.rule == "loss-spike" and not s.false
    assert (s.delay_steps, s.delay_s) == (4, 0.5)


def test_a_symptom_or_consequence_alone_is_detected_and_not_diagnosed() -> None:
    for one in (seen("chance-level", 110), seen("throughput-regression", 110, symptom_of="loss-spike")):
        s = score(judged(one))
        assert s.found is None and s.detected == (one.rule == "chance-level") and not s.false


def test_what_opens_before_the_onset_or_is_another_rules_is_false() -> None:
    s = score(judged(seen("loss-spike", 90), seen("overfitting", 120)))
    assert [x.rule for x in s.false] == ["loss-spike", "overfitting"] and not s.detected


def test_what_opens_long_after_the_end_is_false_and_clearing_is_timed() -> None:
    late = score(judged(seen("loss-spike", 140), t1=110))
    assert [x.rule for x in late.false] == ["loss-spike"]
    cleared = score(judged(seen("loss-spike", 101, closed_ns=150 * S), t1=110))
    assert cleared.clear_s == 40.0


def test_a_healthy_run_has_nothing_right() -> None:
    s = score(judged(seen("loss-spike", 50), case="healthy-adam", t0=None))
    assert [x.rule for x in s.false] == ["loss-spike"]
    assert rule_rows([s])[0].false == 1 and not fault_rows([s])


def test_the_machines_speed_is_told_apart_where_cases_run_side_by_side() -> None:
    s = score(judged(seen("throughput-regression", 50)))
    assert [x.rule for x in s.environment] == ["throughput-regression"] and not s.false
    alone = score(judged(seen("throughput-regression", 50), case="slow-data"))
    assert [x.rule for x in alone.false] == ["throughput-regression"]


def test_intervals() -> None:
    assert poisson_upper(0) == pytest.approx(2.9957, abs=1e-3)
    assert poisson_upper(3) == pytest.approx(7.7537, abs=1e-3)
    low, high = wilson(20, 20)
    assert low == pytest.approx(0.8389, abs=1e-3) and high == 1.0
    assert wilson(0, 0) == (0.0, 1.0)


def test_the_baselines_see_what_they_are_made_for() -> None:
    calm = [1.0 + 0.01 * (i % 7) for i in range(200)]
    jump = [*calm, *[5.0] * 20]
    assert baselines.z_score(jump)[0] == 200 and not baselines.z_score(calm)
    assert baselines.lightning(jump)[0] == 200 and not baselines.lightning(calm)
    assert baselines.llm_foundry(jump)[0] == 204 and not baselines.llm_foundry(calm)
    assert baselines.gradient([*calm, 20.0]) == [200]
    assert baselines.not_finite([1.0, float("nan")]) == [1]
    assert baselines.not_decreasing([1.0] * 21) == [10, 20]
    assert baselines.episodes([1, 2, 3, 40, 41]) == [1, 40]


def test_every_plan_has_a_name_of_its_own_and_is_found_by_it() -> None:
    made = plans()
    assert len({p.id for p in made}) == len(made)
    assert all(find(p.id) == replace(p, case=replace(p.case, repeat=1)) for p in made)
    assert sum(not c.roots for c in CASES) >= 20


def test_the_page_names_misses_false_alarms_and_what_was_not_planted() -> None:
    page = text([score(judged()), score(judged(seen("overfitting", 120)))], {"x-clear-1": "no torch"}, 2100)
    assert (
        "missed: lr-clear-2101" in page
        and "false: overfitting" in page
        and "not made (no torch): x-clear-1" in page
    )
    assert "not planted: " in page


def test_the_second_set_is_a_section_of_its_own_with_its_notes() -> None:
    plan = find("grad-scale-clear-3101")
    missed = score(Judged(plan, {"t0": S, "t1": None, "step0": 200, "step1": None}, (), 60.0, None))
    calm = score(Judged(find("harmless-restart-clear-3101"), {"t0": None, "t1": None}, (), 60.0, None))
    page = otherpage.text("other", [missed, calm], {"nice-clear-1": "no root"}, 3100, "- mended: x\n")
    assert page.startswith(f"## {otherpage.PAGES['other'].title}") and "\n## " not in page
    assert (
        "| faults the corpus does not contain | 0/1" in page and "missed: grad-scale-clear-3101 (16)" in page
    )
    assert "not made (no root): nice-clear-1" in page and "- mended: x" in page


def test_the_third_set_is_another_section_and_the_page_keeps_both() -> None:
    plan = find("momentum-high-clear-4101")
    missed = score(Judged(plan, {"t0": S, "t1": None, "step0": 1, "step1": None}, (), 60.0, None))
    page = otherpage.text("unseen", [missed], {}, 4100)
    assert "| faults neither set contains | 0/1" in page and "no fault" not in page
    assert {p.title for p in otherpage.PAGES.values()} <= set(OTHERS)


def test_every_plant_is_one_there_is() -> None:
    path = Path(__file__).parent / "site" / "plants.py"
    spec = importlib.util.spec_from_file_location("plants", path)
    assert spec is not None and spec.loader is not None
    plants = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plants)
    wanted = {c.plant for cases, _ in SETS.values() for c in cases if c.plant}
    assert wanted == set(plants.NAMES)
    with pytest.raises(ValueError, match="there are labels-shifted"):
        plants.install("x:1:1")


def test_sets_have_names_and_seeds_of_their_own_and_known_rules() -> None:
    known = {r.id for r in make_rules()}
    names = [c.name for cases, _ in SETS.values() for c in cases]
    assert len(set(names)) == len(names)
    for cases, _ in SETS.values():
        for c in cases:
            assert set(c.roots) | set(c.follows) <= known, c.name
    assert len({seed for _, seed in SETS.values()}) == len(SETS)
