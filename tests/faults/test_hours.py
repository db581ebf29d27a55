"""Healthy controls: what is added up, which alerts count as true, what is run next."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import pytest

from dctop.engine.training.options import resolve
from tests.faults.healthy import Journal, pieces
from tests.faults.hours import add_up, page, read
from tests.faults.scenarios import SCENARIOS, nth, seed_of
from tests.faults.sections import carried, find, put
from tests.faults.surroundings import Look, around, space
from tests.faults.truth import classify, spans, with_roots

S = 10**9


def alert(rule: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "alert", "session": 1, "id": 1, "rule": rule, "entity": "r1", "severity": "warning",
        "opened_ns": 100 * S, "closed_ns": None, "count": 1, "symptom_of": None, "said": "it is slow",
        "step": 7, "around": {}, "cores": 2, **more,
    }  # fmt: skip


def journal(*alerts: dict[str, Any], **run: Any) -> list[dict[str, Any]]:
    return [
        {"kind": "session", "session": 1},
        {"kind": "launch", "run": "r1", "config": "cnn", "seed": 1},
        {"kind": "span", "session": 1, "seconds": 3600.0, "runs": {"r1": 1800.0}},
        *alerts,
        {"kind": "run", "run": "r1", "status": "finished", "steps": 50, "evals": [], "losses": [], **run},
    ]


def test_spans_of_all_sessions_add_up_and_the_last_word_on_an_alert_counts() -> None:
    lines = journal(alert("loss-spike"), alert("loss-spike", severity="critical", count=2))
    hours = add_up([*lines, {"kind": "session", "session": 2}, {**lines[2], "session": 2}])
    assert (hours.node_s, hours.run_s, hours.sessions) == (7200.0, 3600.0, 2)
    assert hours.count("false") == hours.count("false", "critical") == 1
    assert hours.configs["cnn"].steps == 50


def test_alerts_with_one_number_in_two_sessions_are_two() -> None:
    assert add_up(journal(alert("a"), alert("a", session=2))).count("false") == 2


def test_what_nothing_confirms_is_false_with_an_exact_bound() -> None:
    text = page(add_up(journal(alert("loss-spike"))))
    assert "| warning, an hour watched | 1 | 1.000 | 4.744 |" in text
    assert "| critical, an hour watched | 0 | 0.000 | 2.996 |" in text
    assert "- false: loss-spike (warning) at" in text and "cnn, step 7" in text and "it is slow" in text


def test_alerts_of_no_run_are_the_nodes() -> None:
    hours = add_up(journal(alert("disk-fill", entity="/data")))
    assert not hours.configs["cnn"].told and hours.node.count("false") == 1


def test_runs_that_did_not_start_or_end_well_are_named() -> None:
    lines = journal(status="failed", reason="no space")
    text = page(add_up([*lines, {"kind": "not-started", "config": "gpt", "error": "no torch"}]))
    assert "- cnn: no space" in text and "- gpt: no torch" in text


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    own = Journal(tmp_path / "journal.jsonl")
    own.put("session", session=1)
    with own.path.open("a") as out:
        out.write('{"kind": "alert", "sess')
    assert [x["kind"] for x in read(own.path)] == ["session"]
    assert read(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("now", "before", "kind"),
    [
        ({"waited": 0.3}, {}, "machine"),
        ({"steal": 0.2}, {}, "machine"),
        ({"others": 1.2}, {"others": 0.1}, "machine"),
        ({"others": 1.2}, {"others": 1.1}, "false"),
        ({"others": 1.2}, {}, "false"),
        ({"waited": 0.02, "busy": 2.0}, {"others": 0.0}, "false"),
        ({"busy": 1.95, "others": 0.8}, {"others": 0.85}, "machine"),
        ({"busy": 1.95, "others": 0.1}, {"others": 0.1}, "false"),
    ],
)
def test_a_slow_run_is_true_only_if_somebody_took_processors_away(
    now: dict[str, float], before: dict[str, float], kind: str
) -> None:
    seen = {"now": now, **({"before": before} if before else {})}
    assert classify(alert("throughput-regression", around=seen), None)[0] == kind
    assert classify(alert("loss-spike", around=seen), None)[0] == "false"


def test_a_full_file_system_is_true_if_it_is_full() -> None:
    assert classify(alert("disk-fill", entity="/x", space={"free": 0.03}), None)[0] == "machine"
    assert classify(alert("disk-fill", entity="/x", space={"free": 0.5}), None)[0] == "false"
    assert classify(alert("inode-fill", entity="/x", space={"free": 0.03, "inodes": 0.9}), None)[0] == "false"


def test_a_file_system_is_read_only_if_it_says_so(tmp_path: Path) -> None:
    assert space(str(tmp_path))["readonly"] == 0.0
    assert classify(alert("fs-readonly", entity="/x", space={"readonly": 1.0}), None)[0] == "machine"
    assert classify(alert("fs-readonly", entity="/x", space={"readonly": 0.0}), None)[0] == "false"


def test_where_a_drill_plants_faults_meanwhile_alerts_are_true() -> None:
    lines = journal(alert("fs-readonly", entity="/d/x/room"), alert("fs-readonly", id=2, entity="/e"))
    hours = add_up([*lines, {"kind": "planted", "folder": "/d"}])
    assert (hours.count("machine"), hours.count("false")) == (1, 1)


def test_of_paths_the_page_has_the_end() -> None:
    text = page(
        add_up(journal(alert("fs-readonly", entity="/a/b/c/case-1/room"), alert("x", id=2, entity="/")))
    )
    assert "…/case-1/room" in text and "/a/b" not in text and "/, step" in text


def test_what_was_measured_around_a_later_alert_tells_of_the_one_before() -> None:
    kill = alert("oom-killed", entity="node", around={"now": {"seconds": 60.0, "oom_kills": 0.0}})
    later = {"now": {"seconds": 60.0}, "before": {"seconds": 600.0, "oom_kills": 1.0, "busy": 1.9}}
    after = alert("x", opened_ns=300 * S, around=later)
    assert classify(kill, None, spans([kill, after]))[0] == "machine"
    assert classify({**kill, "opened_ns": 290 * S}, None, spans([kill, after]))[0] == "false"
    full = alert("cpu-saturated", entity="node", opened_ns=10 * S)
    assert classify(full, None, spans([full, after]))[0] == "machine"
    assert classify(full, None, spans([full]))[0] == "false"


def test_a_run_whose_own_record_says_it_failed_did() -> None:
    failed = {"status": "failed", "reason": "nothing is left to do"}
    assert classify(alert("worker-crashed"), failed)[0] == "true"
    assert classify(alert("worker-crashed"), {"status": "finished"})[0] == "false"


@pytest.mark.parametrize(
    ("later", "kind"), [([0.36, 0.37], "true"), ([0.36, 0.28], "false"), ([0.305, 0.306], "false")]
)
def test_overfitting_is_true_if_no_later_evaluation_was_better(later: list[float], kind: str) -> None:
    losses = [0.5, 0.3, 0.34, *later]
    run = {"evals": [[(80 + 10 * i) * S, x] for i, x in enumerate(losses)]}
    assert classify(alert("overfitting"), run)[0] == kind


def test_a_plateau_is_true_if_the_rest_of_the_run_brought_nothing() -> None:
    flat = [[i * S, 1.0] for i in range(90, 130)]
    falls = [[i * S, 1.0 if i <= 100 else 1.0 - 0.02 * (i - 100)] for i in range(90, 130)]
    assert classify(alert("plateau"), {"losses": flat})[0] == "true"
    assert classify(alert("plateau"), {"losses": falls})[0] == "false"
    assert classify(alert("plateau"), {"losses": flat[:12]})[0] == "false"


def test_a_plateau_of_evaluations_is_true_if_they_were_no_better_in_the_end() -> None:
    def run(*losses: float) -> dict[str, Any]:
        return {"evals": [[(80 + 10 * i) * S, x, 0.9] for i, x in enumerate(losses)], "losses": []}

    assert classify(alert("plateau"), run(0.3, 0.31, 0.3, 0.31, 0.3, 0.3))[0] == "true"
    assert classify(alert("plateau"), run(0.3, 0.31, 0.3, 0.29, 0.26, 0.25))[0] == "false"
    assert classify(alert("plateau"), run(0.3, 0.31, 0.3, 0.31))[0] == "false"


def test_ten_busy_minutes_are_true_if_they_were_busy() -> None:
    now, before = {"seconds": 60.0, "busy": 1.0}, {"seconds": 540.0, "busy": 1.8}
    assert classify(alert("cpu-saturated", around={"now": now, "before": before}), None)[0] == "machine"
    calm = {"seconds": 540.0, "busy": 1.2}
    assert classify(alert("cpu-saturated", around={"now": now, "before": calm}), None)[0] == "false"


def test_an_unusual_moment_is_true_if_the_load_was_another_if_only_for_seconds() -> None:
    seen = {"now": {"others": 0.2}, "peak": {"others": 0.9}, "before": {"others": 0.1}}
    assert classify(alert("anomaly", around=seen), None)[0] == "machine"
    disk = {"now": {}, "peak": {"disk": 0.4}, "before": {"disk": 0.0}}
    assert classify(alert("anomaly", around=disk), None)[0] == "machine"
    assert classify(alert("anomaly", around={"now": {}, "peak": {}, "before": {}}), None)[0] == "false"


def test_short_of_a_target_is_true_only_of_a_run_that_ended_short_of_it() -> None:
    assert classify(alert("slow-convergence"), {"reached": False})[0] == "true"
    assert classify(alert("slow-convergence"), {"reached": True})[0] == "false"
    assert classify(alert("slow-convergence"), {"reached": None})[0] == "false"


def test_a_symptom_shares_its_roots_class_unless_it_is_false() -> None:
    root, symptom = alert("cpu-contended"), alert("loss-spike", symptom_of="cpu-contended")
    assert with_roots([root, symptom], [("machine", "x"), ("false", "y")])[1][0] == "machine"
    assert with_roots([root, symptom], [("false", "x"), ("false", "y")])[1][0] == "false"


def test_surroundings_tell_the_last_minute_from_the_time_before() -> None:
    def look(t: float) -> Look:
        late = max(0.0, t - 100)  # from 100 s on a neighbour takes a whole processor
        waited = {5: 0.5 * late, 6: 0.1 * late, 7: 0.9 * late}
        return Look(t, t + late, 0.0, 0.0, {5: 0.9 * t}, 0.05 * t, waited, {5: "r1", 6: "r1", 7: "r2"})

    seen = around(deque(look(float(t)) for t in range(0, 161, 2)), "r1")
    assert seen["peak"]["others"] == pytest.approx(1.05)
    assert seen["now"]["others"] == pytest.approx(1.05) and seen["now"]["waited"] == pytest.approx(0.5)
    assert seen["before"]["others"] == pytest.approx(0.05) and seen["before"]["ours"] == pytest.approx(0.9)
    assert around(deque([look(1.0)]), "r1") == {}


def test_every_scenario_comes_once_a_round_and_its_options_are_valid() -> None:
    n = len(SCENARIOS)
    for turn in (0, 1):
        assert sorted(nth(turn * n + i).name for i in range(n)) == sorted(s.name for s in SCENARIOS)
    assert [nth(i).name for i in range(n)] != [nth(n + i).name for i in range(n)]
    for s in SCENARIOS:
        for part in s.parts:
            if part.measure is None and not part.resume:
                config = dict(part.config)
                resolve(config, config.pop("workload", "mnist-cnn"))
        assert not (s.parts[0].measure or s.parts[0].resume)
    assert len({seed_of(i, k) for i in range(50) for k in range(3)}) == 150


def test_a_runs_losses_are_kept_as_medians_of_pieces() -> None:
    walls, losses = [float(i) for i in range(1000)], [float(i) for i in range(1000)]
    kept = pieces(walls, losses, 10)
    assert len(kept) == 10 and kept[0] == [99, 50.0]
    assert pieces([1.0], [float("nan")]) == []


def test_a_section_is_put_in_its_place_and_the_others_stay() -> None:
    page_ = put("# Page\n\n## A\n\nold\n\n## B\n\nb\n", "## A\n\nnew\n")
    assert page_ == "# Page\n\n## A\n\nnew\n\n## B\n\nb\n"
    assert put("# Page\n", "## C\n\nc\n") == "# Page\n\n## C\n\nc\n"
    assert find(page_, "B") == "## B\n\nb\n" and find(page_, "Z") is None
    assert carried("# Page\n\n## B\n\nmade\n", page_, ("A", "B")) == "# Page\n\n## B\n\nmade\n\n## A\n\nnew\n"
