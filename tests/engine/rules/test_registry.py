"""Rules that are not imported before there is a run."""

from __future__ import annotations

import subprocess
import sys

from dctop.engine.rules.base import RunRule
from dctop.engine.rules.carried import memory, recall
from dctop.engine.rules.engine import RuleEngine
from dctop.engine.rules.registry import ABOUT_RUNS, MODULES, Unread, make_rules, rule_classes, rule_count
from tests.engine.rules.scene import Scene


def test_the_table_says_what_the_rules_say() -> None:
    for module, told in ABOUT_RUNS.items():
        rules = rule_classes([module])
        assert [tuple(t) for t in told] == [
            (r.id, r.problem, r.subject) for r in rules if issubclass(r, RunRule)
        ]
        assert len(told) == len(rules)
    assert set(ABOUT_RUNS) < set(MODULES)
    assert rule_count() == len(rule_classes()) == len(make_rules())


def test_nothing_of_them_is_imported_by_an_engine_without_runs() -> None:
    code = (
        "import sys\nfrom tests.fakes.source import FakeSource\n"
        "from dctop.engine.rules.engine import RuleEngine\n"
        "from dctop.engine.rules.registry import ABOUT_RUNS\n"
        "source, engine = FakeSource(), RuleEngine(runs_later=True)\n"
        "source.tick()\nengine.tick(source)\nengine.not_checked()\nengine.board()\n"
        "print([m for m in ABOUT_RUNS if f'dctop.engine.rules.{m}' in sys.modules])\n"
        "print([m for m in sys.modules if '.texts.en_' in m])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n[]\n", done.stderr


def test_an_engine_says_the_same_of_the_node_with_and_without_them() -> None:
    scene = Scene().go(3)
    plain, lean = scene.engine, RuleEngine(runs_later=True)
    lean.tick(scene.source)
    assert lean.not_checked() == plain.not_checked()
    assert [s.problem for s in lean.board()] == [s.problem for s in plain.board()]
    assert lean.problem_status() == plain.problem_status()


def test_the_first_run_brings_them_in_their_places() -> None:
    scene = Scene().go(2)
    before = [s.rule.id for s in scene.chinese._slots.values()]
    assert any(isinstance(s.rule, Unread) for s in scene.chinese._per_run)
    scene.train(scene.run(), 100)
    assert not any(isinstance(s.rule, Unread) for s in scene.chinese._slots.values())
    assert [s.rule.id for s in scene.chinese._slots.values()] == before == [r.id for r in scene.engine.rules]
    assert [s.paced for s in scene.chinese._per_run] == [s.paced for s in scene.engine._per_run]
    scene.chinese.reset()
    assert not any(isinstance(r, Unread) for r in scene.chinese.rules)


def test_whoever_asks_for_the_rules_gets_all_of_them() -> None:
    assert {type(r) for r in RuleEngine(runs_later=True).rules} == set(rule_classes())


def test_thresholds_of_the_user_are_known_from_the_start() -> None:
    engine = RuleEngine(thresholds={"loss-spike": {"no_such": 1.0}}, runs_later=True)
    assert engine.unknown_thresholds
    assert not any(isinstance(s.rule, Unread) for s in engine._per_run)


def test_what_an_engine_carries_over_before_a_run_is_taken_by_a_whole_one() -> None:
    scene = Scene().go(3)
    carried = memory(scene.chinese)
    assert not any(carried["slots"][t.id]["memory"] for told in ABOUT_RUNS.values() for t in told)
    other = RuleEngine(lang="zh")
    recall(other, carried, scene.source.snapshot().frame)
    assert other.not_checked() == scene.chinese.not_checked()
