"""The language of own rules: what it takes, what it refuses and how it says so, how it answers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dctop.engine.metrics.derived import CATALOGUE
from dctop.engine.rules.expression import (
    ExpressionError,
    Labels,
    holds,
    instances,
    parse,
)
from dctop.probes.base import Value


class Node:
    """Values by series key."""

    def __init__(self, values: dict[str, Value]) -> None:
        self.values = values

    def value(self, metric: str, labels: Labels) -> Value:
        inner = ",".join(f"{k}={v}" for k, v in labels.items())
        return self.values.get(f"{metric}{{{inner}}}" if inner else metric)

    def instances(self, metric: str) -> Sequence[Labels]:
        found = [k.partition("{")[2].rstrip("}") for k in self.values if k.startswith(metric + "{")]
        return [dict([part.split("=")]) for part in found]


def ask(text: str, **values: Value) -> bool | None:
    named = {k.replace("__", "."): v for k, v in values.items()}
    e = parse(text)
    return holds(e.condition, Node(named), {})


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("cpu.util_pct > 30", True),
        ("cpu.util_pct > 30 %", True),
        ("cpu.util_pct >= 40 and memory.free_bytes < 2GB", True),
        ("cpu.util_pct > 50 or memory.free_bytes == 1_000_000_000", True),
        ("not cpu.util_pct > 50", True),
        ("not (cpu.util_pct > 50 or cpu.util_pct < 1)", True),
        ("memory.free_bytes / memory.total_bytes < 0.5", True),
        ("(cpu.util_pct + 10) * 2 == 100", True),
        ("cpu.util_pct - -10 > 49", True),
        ("30 < cpu.util_pct", True),
        ("memory.total_bytes < 3GiB", False),
        ('host.name == "node"', True),
        ('train.mode != "train"', None),
        ("cpu.load1 > 1", None),
        ("cpu.load1 > 1 or cpu.util_pct > 1", True),
        ("cpu.load1 > 1 and cpu.util_pct > 50", False),
        ("cpu.load1 > 1 and cpu.util_pct > 1", None),
        ("cpu.util_pct / (cpu.util_pct - 40) > 1", None),
    ],
)
def test_conditions_answer_true_false_or_unknown(text: str, answer: bool | None) -> None:
    got = ask(
        text, cpu__util_pct=40.0, memory__free_bytes=10**9, memory__total_bytes=4 * 10**9, host__name="node"
    )
    assert got is answer


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpu.utl_pct < 3", "column 1: no metric gpu.utl_pct: did you mean gpu.util_pct?"),
        ("cpu.util_pct < ", "column 15: a metric or a number is missing at the end"),
        ("cpu.util_pct", "column 13: a comparison (< <= > >= == !=) is missing at the end"),
        ("cpu.util_pct = 3", 'column 14: compare with "=="'),
        ("cpu.util_pct < 3 fr 60s", 'column 18: "and", "or", "for" or "while" expected, not \'fr\''),
        ("cpu.util_pct < 3 for ever", 'column 22: a duration is missing after "for": write 60s or 5min'),
        ("cpu.util_pct < 3 for 3GB", 'column 22: a duration is missing after "for": write 60s or 5min'),
        ("cpu.util_pct < 3x", "column 17: x is no unit: use %, ms, s, min, h, MB, GB, MiB, GiB, W or C"),
        ("disk.read_bytes > 3",
         "column 1: disk.read_bytes is a counter that only grows: compare disk.read_bytes_per_s"),
        ("rate(cpu.util_pct) > 3", "column 1: cpu.util_pct is no counter: compare it as it is"),
        ("rate(pressure.io.some_us) > 3", "column 1: its rate is pressure.io.some_pct in %: write that"),
        ("disk.write_bytes_per_s > 5%", "column 1: disk.write_bytes_per_s is in bytes/s, not in % (5%)"),
        ("cpu.util_pct{core=1} > 3", "column 14: cpu.util_pct has no label core: it has none"),
        ("gpu.util_pct < 30 and disk.util_pct > 4",
         "column 23: asks of every gpu and of every disk at once: write any or all before one of them"),
        ("any cpu.util_pct > 3", 'column 1: "any" needs a metric with labels'),
        ('train.mode > "a"', 'column 1: texts are compared with "==" or "!="'),
        ("train.mode == 3", "column 1: a text and a number cannot be compared"),
        ("1 < 2", "column 1: names no metric"),
        ("cpu.util_pct < 3 & cpu.load1 > 2", "column 18: '&' does not belong here"),
        ("(cpu.util_pct < 3", 'column 18: ")" is missing at the end'),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_with_column_and_suggestion(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as e:
        parse(text)
    assert str(e.value) == message


def test_the_parts_of_a_rule() -> None:
    e = parse('gpu.util_pct < 30 for 5min while train.mode == "train"')
    assert (e.hold_s, e.by, e.of_run) == (300.0, "gpu", True)
    assert [m.id for m in e.metrics] == ["gpu.util_pct", "train.mode"]
    assert parse("cpu.util_pct < 3 while cpu.load1 > 2 for 3s").hold_s == 3.0


GPUS = Node({f"gpu.util_pct{{gpu=G{i}}}": 10.0 * i for i in range(4)} | {"gpu.temp_c{gpu=G0}": 60.0})


def test_labels_are_asked_one_by_one_and_chosen_by_pattern() -> None:
    e = parse("gpu.util_pct < 15")
    assert [labels["gpu"] for labels in instances(e, GPUS) if holds(e.condition, GPUS, labels)] == [
        "G0",
        "G1",
    ]
    e = parse('gpu.util_pct{gpu="G[23]"} >= 0')
    assert [labels["gpu"] for labels in instances(e, GPUS)] == ["G2", "G3"]
    e = parse("gpu.util_pct < 15 and gpu.temp_c > 50")
    assert [holds(e.condition, GPUS, labels) for labels in instances(e, GPUS)] == [True, None, False, False]


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("any gpu.util_pct > 25", True),
        ("all gpu.util_pct > 25", False),
        ("all gpu.util_pct < 31", True),
        ("any gpu.util_pct > 31", False),
        ("all gpu.util_pct{gpu=G3} > 25", True),
        ("any gpu.temp_c{gpu=G9} > 1", None),
        ("any gpu.power_w > 1", None),
    ],
)
def test_any_and_all_ask_all_instances_at_once(text: str, answer: bool | None) -> None:
    e = parse(text)
    assert instances(e, GPUS) == [{}]
    assert holds(e.condition, GPUS, {}) is answer


names = st.sampled_from([m for m, d in CATALOGUE.items() if d.kind == "gauge" and not d.labels])
signs = st.sampled_from(["<", "<=", ">", ">=", "==", "!="])
numbers = st.floats(0, 1e12).map(lambda v: f"{v:.3f}")
comparisons = st.builds("{} {} {}".format, names, signs, numbers)
conditions = st.recursive(
    comparisons,
    lambda c: st.one_of(
        st.builds("({} and {})".format, c, c),
        st.builds("({} or {})".format, c, c),
        st.builds("not {}".format, c),
    ),
    max_leaves=8,
)


@given(conditions, st.integers(0, 86_400), st.one_of(st.none(), comparisons))
def test_every_rule_of_the_grammar_is_taken(condition: str, seconds: int, only: str | None) -> None:
    text = f"{condition} for {seconds}s" + (f" while {only}" if only else "")
    e = parse(text)
    assert e.hold_s == seconds
    assert holds(e.condition, Node({}), {}) is None
    assert holds(e.condition, Node({m.id: 1.0 for m in e.metrics}), {}) is not None


words = st.sampled_from(
    ["cpu.util_pct", "gpu.util_pct", "train.mode", "and", "or", "not", "any", "all", "for", "while", "rate",
     "(", ")", "{", "}", ",", "=", "<", "==", "+", "-", "*", "/", "3", "60s", "5GB", '"x"', "nonsense", "é"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=60), st.lists(words, max_size=14).map(" ".join)))
@example("(" * 500 + "cpu.util_pct < 3")
@example("not " * 400 + "cpu.util_pct < 3")
@example("cpu.util_pct < " + "-" * 900 + "3")
@example("1" * 1500)
def test_whatever_is_written_is_taken_or_refused_in_one_line(text: str) -> None:
    try:
        e = parse(text)
    except ExpressionError as error:
        assert "\n" not in str(error)
        assert error.column >= 1
    else:
        for labels in instances(e, GPUS):
            assert holds(e.condition, GPUS, labels) in (True, False, None)
