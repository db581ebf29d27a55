"""The catalogue of faults and how one is written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.rules.registry import make_rules
from dctop.engine.training import wfaults


def test_specifications_are_read() -> None:
    assert wfaults.parse("nan@7")[:4] == ("nan", 0.0, 7, None)
    assert wfaults.parse("slow-data:20.5@3-9")[:4] == ("slow-data", 20.5, 3, 9)
    assert wfaults.parse("lr")[:4] == ("lr", 100.0, wfaults.DEFAULT_STEP, None)
    fault = wfaults.parse("leak:4@3-5")
    assert [fault.active(n) for n in range(2, 7)] == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("", "expected NAME"), ("fire", "NAME one of leak, oom"), ("nan:3", "has no magnitude"),
        ("lr:1.2.3", "not a number"), ("lr@0", "window"), ("lr@9-3", "window"), ("lr@3-", "expected NAME"),
    ],
)  # fmt: skip
def test_wrong_specifications_are_refused_in_one_line(spec: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        wfaults.parse(spec)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        assert wfaults.parse(text).name in wfaults.KINDS
    except ValueError as error:
        assert str(error).startswith("fault ")


def test_a_fault_of_the_beginning_has_no_window() -> None:
    assert wfaults.parse("init:3")[:4] == ("init", 3.0, 1, None)
    with pytest.raises(ValueError, match="from the first step to the last: leave out the window"):
        wfaults.parse("few-samples@10")


@pytest.mark.parametrize("name", wfaults.KINDS)
def test_every_fault_says_what_it_does_and_what_should_notice(name: str) -> None:
    kind = wfaults.KINDS[name]
    assert kind.help and kind.tier in ("A", "B")
    assert {r.id for r in make_rules()} & set(kind.expects), "no rule there is would notice it"
    assert (kind.magnitude is None) == (not kind.unit and not kind.sizes)
    if kind.sizes:
        assert len(kind.sizes) == 3 and kind.magnitude is not None
    assert wfaults.parse(name).name == name
    assert any(wfaults.fits(kind, workload) for workload in ("mnist-cnn", "gpt", "linear"))


@pytest.mark.parametrize("name", wfaults.INFER_KINDS)
def test_every_drill_of_a_measurement_names_rules_there_are(name: str) -> None:
    from dctop.engine.rules.registry import rule_classes

    kind = wfaults.INFER_KINDS[name]
    assert kind.help and kind.expects and set(kind.expects) <= {r.id for r in rule_classes()}
    assert wfaults.parse_infer(name) == (name, kind.magnitude or 0.0)


def test_drills_of_a_measurement_are_read_or_refused() -> None:
    assert wfaults.parse_infer("slow-preprocess:5.5") == ("slow-preprocess", 5.5)
    for wrong in ("", "nan", "train-mode:3", "slow-preprocess:x", "slow-preprocess:1.2.3"):
        with pytest.raises(ValueError, match="there are raw-inputs, slow-preprocess"):
            wfaults.parse_infer(wrong)
