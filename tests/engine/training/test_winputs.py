"""What a training is fed against what its data set holds."""

from __future__ import annotations

from typing import Any

import pytest

from dctop.engine.training.runstate import RunState
from tests.fakes.runs import find, start, wait_end, write_idx
from tests.fakes.worker import module

torch = pytest.importorskip("torch")
winputs = module("winputs")


class Log:
    """Takes events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int, dict[str, Any]]] = []

    def event(self, kind: str, text: str, step: int, **data: Any) -> None:
        self.events.append((kind, step, data))


class Task:
    """Four images, or four pieces of text."""

    classes = ("a", "b", "c")
    train_count = 4

    def __init__(self, scaled: bool = True) -> None:
        self.scaled = scaled
        self.labels = torch.tensor([0, 0, 1, 0])

    def input_statistics(self) -> dict[str, object]:
        return {"min": 0.0, "max": 1.0, "mean": 0.3, "std": 0.3, "samples": 4, "histogram": [1.0]}

    def fetch(self, indices: Any) -> tuple[Any, Any]:
        return torch.zeros(len(indices), 2), self.labels[indices]

    def prepare(self, x: Any, y: Any) -> tuple[Any, Any]:
        return (x if self.scaled else x.long()), y


def seen(high: float, mean: float, std: float, samples: int = 32) -> list[float]:
    """Figures of so many samples (of two values each)."""
    return [0.0, high, mean, ((std * std + mean * mean) * 2 * samples) ** 0.5]


def test_the_deviation_comes_from_the_norm() -> None:
    for x in (torch.rand(64, 1, 28, 28), torch.randn(70, 5) * 3 + 100, torch.zeros(4, 2)):
        told = winputs.told(x)
        x = x[: winputs.MOST]
        assert told["std"] == pytest.approx(x.std(correction=0).item(), rel=1e-3, abs=1e-3)
        assert told["mean"] == pytest.approx(x.mean().item(), abs=1e-5) and told["samples"] == len(x)
        assert (told["min"], told["max"]) == (x.min().item(), x.max().item())


def test_inputs_that_begin_and_end_to_differ_are_logged_once_each() -> None:
    inputs, log = winputs.Inputs(Task()), Log()
    good, bad = seen(1.0, 0.3, 0.3), seen(255.0, 76.0, 76.0)
    for step, figures in ((1, good), (21, bad), (41, bad), (61, good)):
        inputs.judge(log, step, 32, figures)
    assert [(kind, step, data["mismatch"]) for kind, step, data in log.events] == [
        ("inputs", 21, True),
        ("inputs", 61, False),
    ]
    assert log.events[0][2]["now"]["std"] == pytest.approx(76.0)
    assert log.events[0][2]["factor"] == 255 and "histogram" not in log.events[0][2]["trained"]


def test_small_batches_are_looked_at_together() -> None:
    inputs, log = winputs.Inputs(Task()), Log()
    for i in range(3):
        inputs.judge(log, 1 + 20 * i, 8, seen(255.0, 76.0, 76.0, 8))
    assert not log.events, "24 samples prove nothing"
    inputs.judge(log, 61, 8, seen(255.0, 76.0, 76.0, 8))
    assert log.events[0][2]["now"]["samples"] == 32


def test_what_is_not_finite_is_no_mismatch() -> None:
    inputs, log = winputs.Inputs(Task()), Log()
    inputs.judge(log, 1, 32, [float("nan")] * 4)
    assert not log.events


def test_tokens_are_not_looked_at() -> None:
    inputs = winputs.Inputs(Task(scaled=False))
    assert not inputs.due(1) and inputs.facts() is None
    assert winputs.told(torch.zeros(3, dtype=torch.long)) is None
    assert winputs.Inputs(Task()).due(21) and not winputs.Inputs(Task()).due(20)


def test_labels_are_counted_over_what_is_trained_on() -> None:
    task = Task()
    # The fetch of images holds their labels.
    task.fetch = type("Fetch", (), {"labels": task.labels})()  # type: ignore[method-assign]
    assert winputs.label_counts(task) == [3, 1, 0]
    task.train_count = 2
    assert winputs.label_counts(task) == [2, 0, 0]
    assert winputs.label_counts(Task()) is None


@pytest.fixture(scope="module")
def drilled(tmp_path_factory: pytest.TempPathFactory) -> RunState:
    """A real run that is fed raw pixels from step 30 to 60 and evaluated on them once."""
    folder = tmp_path_factory.mktemp("inputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        data = str(write_idx(folder / "idx", train=4096))
        return wait_end(
            start(data=data, max_steps=100, eval_every=50, fault=["input-scale:255@30-60", "eval-raw@90"])
        )


def test_a_real_run_tells_its_labels_its_inputs_and_when_they_change(drilled: RunState) -> None:
    data = find(drilled, "start").data["data"]
    assert sum(data["labels"]) == 4096 and len(data["labels"]) == 10
    assert data["inputs"]["max"] == pytest.approx(200 / 255) and data["inputs"]["samples"] == 4096
    changes = [(e.step, e.data["mismatch"]) for e in drilled.events if e.kind == "inputs"]
    assert changes == [(41, True), (61, False)]
    evals = [e.data["inputs"]["max"] for e in drilled.events if e.kind == "eval"]
    assert evals == pytest.approx([200 / 255, 200.0])


def test_the_rule_finds_both(drilled: RunState) -> None:
    from dctop.engine.rules.logsource import judge_run

    found = [a for a in judge_run(drilled) if a.rule == "preprocess-mismatch"]
    assert len(found) == 1 and (found[0].first_step, found[0].count) == (41, 2)
