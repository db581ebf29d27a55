"""The page of an inference measurement."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dctop.engine.training.runstate import RunEvent, RunState
from dctop.tui.draw.look import Look
from dctop.tui.panes.run_view import RunPane
from tests.fakes.screen import T0, FakeSource, Node, as_lines, check, make_run, view_of

NAMES = ["cat", "dog", "owl"]


def figures(p50: float) -> dict[str, float]:
    return {"p50_s": p50, "p95_s": p50 * 2, "p99_s": p50 * 4, "share": p50 / 0.01}


def parts(mismatch: bool = False) -> dict[str, dict[str, Any]]:
    return {
        "coldstart": {"first_s": 0.2, "steady_s": 0.01, "ratio": 20.0, "calls": 3},
        "inputs": {
            "now": {"mean": 72.9, "std": 90.0, "min": 0.0, "max": 255.0},
            "trained": {"mean": 0.286, "std": 0.353},
            "mismatch": mismatch, "factor": 255.0 if mismatch else None,
        },
        "determinism": {"max_diff": 0.0, "ok": True},
        "latency": {
            "window": None, "requests": 1000, "latency": figures(0.01), "tail": 4.0,
            "stages": {
                "pre": figures(0.001), "h2d": figures(0.0), "forward": figures(0.008), "post": figures(0.001),
            },
        },
        "throughput": {
            "points": [
                {"batch": 2**i, "latency_s": 0.01 * 1.5**i, "samples_per_s": 100 * 1.3**i} for i in range(5)
            ],
            "knee": 8, "batch1_ratio": 3.4, "best_samples_per_s": 285.6,
        },
        "eval": {
            "accuracy": 0.8, "samples": 300, "nll": 0.5, "ece": 0.04, "confidence": 0.84, "gap_pp": 6.0,
            "recall": [0.9, 0.5, None], "support": [150, 150, 0], "classes": NAMES,
            "confusion": [[135, 10, 5], [70, 75, 5], [0, 0, 0]],
            "trained": {"accuracy": 0.82, "loss": 0.45, "recall": [0.9, 0.9, None], "z": 0.6, "drop_pp": 2.0},
        },
        "baseline": {"new": False, "run": "earlier", "p50_ratio": 2.0, "p99_ratio": 1.1, "z": 0.2,
                     "throughput_ratio": 0.9, "findings": ["latency p50 is 2.00 times the baseline's"]},
    }  # fmt: skip


def measurement(data: dict[str, dict[str, Any]], **changes: Any) -> RunState:
    window = RunEvent(T0, 200, "latency", "window 1", {"window": 1, "latency": figures(9.0)})
    events = [window, *(RunEvent(T0, 1, kind, kind, values) for kind, values in data.items())]
    return make_run(100, id="m", workload="infer", status="finished", events=events, **changes)


def text(run: RunState, w: int = 118, h: int = 50, look: Look | None = None) -> str:
    node = Node()
    source = FakeSource(node.run(3), node.history, [run])
    rows = RunPane().body(view_of(source, look), w, h)
    check(rows, w, h, look)
    return "\n".join(as_lines(rows))


def test_everything_that_was_measured_is_on_the_page() -> None:
    shown = text(measurement(parts()))
    for part in (
        "1 000 requests", "preprocess", "p99/p50 4.0", "knee 8", "latency of 8 / of 1 3.4", "accuracy 0.8000",
        "at training 0.8200", "ECE 0.040", "train - test 6.0 pp", "first request 200ms", "same answer twice",
        "baseline earlier  p50 ×2.00", "▲ latency p50 is 2.00 times", "latency of each request",
    ):  # fmt: skip
        assert part in shown, part
    assert "9.00s" not in shown, "single windows are not the result"
    dog = next(line for line in shown.splitlines() if line.startswith("dog"))
    assert dog.split() == ["dog", "47", "50", "3", "0.500", "0.900"]


def test_what_is_wrong_stands_first() -> None:
    shown = text(measurement(parts(mismatch=True)))
    assert "▲ the inputs are not what the model was trained on: divide by 255" in shown


def test_a_measurement_that_was_stopped_shows_what_it_has() -> None:
    shown = text(measurement({"coldstart": parts()["coldstart"]}))
    assert "first request 200ms" in shown and "latency  " not in shown
    assert "nothing measured yet" in text(measurement({}))


@pytest.mark.parametrize("look", [Look(), Look("block"), Look("ascii", False)])
@pytest.mark.parametrize(("w", "h"), [(78, 20), (118, 36), (198, 56), (40, 10), (30, 9)])
def test_it_fits_every_size_and_scrolls(w: int, h: int, look: Look) -> None:
    run = measurement(parts())
    text(run, w, h, look)
    node = Node()
    source = FakeSource(node.run(3), node.history, [run])
    pane = RunPane()
    seen = set()
    for _ in range(12):
        seen.add("\n".join(as_lines(pane.body(view_of(source, look), w, h))))
        pane.act("run.page_down", view_of(source))
    assert len(seen) > 1 or h > 30


def test_missing_and_strange_figures_are_dashes() -> None:
    data = parts()
    data["latency"]["latency"] = {"p50_s": math.nan}
    data["throughput"]["points"] = [{"batch": 1}, "?"]
    data["eval"].update(
        recall=[None], confusion=[["x"]], support=[], classes=None, trained=None, accuracy=None
    )
    data["inputs"] = {"now": {}, "trained": None}
    data["baseline"] = {"findings": None}
    for w, h in ((78, 20), (118, 40), (198, 56)):
        text(measurement(data), w, h)
