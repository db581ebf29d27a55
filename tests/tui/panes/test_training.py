from __future__ import annotations

import math
from array import array
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.config import Energy
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S
from dctop.tui.intents import (
    CheckpointRun,
    CompareRun,
    CopyText,
    InferRun,
    Notice,
    RemoveRun,
    ResumeRun,
    ShowRun,
    StopRun,
)
from dctop.tui.panes import run_plot
from dctop.tui.panes.run_facts import layer_items
from dctop.tui.panes.run_view import RunPane
from dctop.tui.panes.training import TrainingPane
from tests.fakes.screen import T0, FakeSource, Node, as_lines, check, make_alert, make_run, view_of


def source(*runs: object, alerts: object = ()) -> FakeSource:
    node = Node()
    return FakeSource(node.run(3), node.history, list(runs), alerts)  # type: ignore[arg-type]


def text_of(pane: TrainingPane, src: FakeSource, w: int = 78, h: int = 10) -> str:
    return "\n".join(as_lines(pane.body(view_of(src), w, h)))


def test_golden_one_row() -> None:
    assert (
        text_of(TrainingPane(), source(make_run()), 78, 1)
        == "step 400/18 750  loss 0.2996↘  acc 0.900  ETA 12m14s  lr 0.0010               "
    )


def test_golden_at_80x24() -> None:
    assert as_lines(TrainingPane().body(view_of(source(make_run()), Look(unicode=False)), 60, 8)) == [
        "o mnist-cnn  step 400/18 750  #............   2%  ETA 12m14s",
        "loss 0.2996\\  acc 0.900  lr 0.0010    812 samples/s         ",
        "dddddddddffffffffffffffffllbbbbbbbbbbbbbbbbbbbbbbbbuuuuuu...",
        "d data 6.0ms  h h2d 0ms  f fwd 11ms  l loss 1.0ms           ",
        "  2.325||||.                                                ",
        "       |   '|-|..                        |                  ",
        "       |       ''||-||....               |                  ",
        " 0.2667|               '''''||||#------||||||||||||||||||||.",
    ]


def test_a_failed_run_says_why_and_what_to_do_in_one_line() -> None:
    run = make_run(status="failed", reason="RuntimeError: shapes do not match", exit_code=1)
    lines = as_lines(TrainingPane().body(view_of(source(run)), 118, 8))
    assert lines[1].startswith("■ RuntimeError: shapes do not match  → read /home/mara/")
    assert "stdout.log" in lines[1]


def test_the_rule_engine_s_word_comes_before_the_run_s_own() -> None:
    run = make_run(status="killed", exit_code=-9, reason="signal 9")
    alert = make_alert(entity=run.id, severity="critical", title="Killed by the kernel: memory limit 700 MiB")
    text = text_of(TrainingPane(), source(run, alerts=[alert]), 118)
    assert "Killed by the kernel: memory limit 700 MiB  → Keep only the last checkpoints" in text
    assert "A shows whether the kernel needed its memory" in text_of(TrainingPane(), source(run), 118)


def test_made_up_data_is_called_synthetic() -> None:
    src = source(make_run(synthetic=True, data_source="synthetic digits (generated)"))
    assert "▲synthetic" in "".join(t for t, _ in TrainingPane().title(view_of(src), 80)[0])
    assert "▲synthetic data" in text_of(TrainingPane(), src, 118)


def test_a_loss_that_is_not_a_number_is_critical() -> None:
    run = make_run()
    run.last = {**run.last, "loss": math.nan}
    pane, src = TrainingPane(), source(run)
    assert "loss   NaN■" in text_of(pane, src)
    assert ("  loss NaN", S.CRIT) in pane.title(view_of(src), 80)[1]


def test_no_run_says_how_to_start_one() -> None:
    assert "press t to start" in text_of(TrainingPane(), source(), 78, 1)
    assert "dctop train mnist-cnn" in text_of(TrainingPane(), source(), 78, 6)


@pytest.mark.parametrize(("values", "arrow"), [((2.0, 1.0), "↘"), ((1.0, 2.0), "↗"), ((1.0, 1.0), "→")])
def test_the_direction_of_the_loss(values: tuple[float, float], arrow: str) -> None:
    run = make_run()
    for i in range(50):
        run.columns["loss"][-50 + i] = values[i // 25]
    assert arrow in text_of(TrainingPane(), source(run), 78, 1)


def test_a_spike_of_one_step_stays_visible_in_a_long_run() -> None:
    run = make_run(6000)
    plain = as_lines(TrainingPane().body(view_of(source(run)), 60, 12))
    run.columns["loss"][3000] = 9.0
    run.seq += 1
    spiked = as_lines(TrainingPane().body(view_of(source(run)), 60, 12))
    assert "9.000" in "".join(spiked) and "9.000" not in "".join(plain)


def test_the_curve_is_made_again_only_when_the_run_changed() -> None:
    pane, run = TrainingPane(), make_run()
    src = source(run)
    first = pane.body(view_of(src), 78, 12)
    kept = pane._curve._rows
    assert pane.body(view_of(src), 78, 12) == first
    assert pane._curve._rows is kept
    for column in run.columns.values():
        column.append(column[-1])
    run.seq += 1
    pane.body(view_of(src), 78, 12)
    assert pane._curve._rows is not kept


def test_several_runs_are_listed_and_chosen() -> None:
    pane, src = TrainingPane(), source(make_run(), make_run(30, id="old", status="finished"))
    view = view_of(src, focused=True)
    assert "✓ finished" in "\n".join(as_lines(pane.body(view, 78, 14)))
    pane.act("training.down", view)
    assert pane.selected == "old"
    assert pane.act("training.show", view) == ShowRun("old")
    assert isinstance(pane.act("training.stop", view), Notice)
    pane.act("training.up", view)
    assert pane.selected is None
    assert pane.act("training.stop", view) == StopRun(make_run().id)
    assert isinstance(pane.act("training.stop", view_of(src, readonly=True)), Notice)


def run_text(pane: RunPane, src: FakeSource, w: int = 118, h: int = 36, look: Look | None = None) -> str:
    rows = pane.body(view_of(src, look), w, h)
    check(rows, w, h, look)
    return "\n".join(as_lines(rows))


def test_the_run_view_adds_curves_evaluations_and_events() -> None:
    src = source(make_run())
    pane = RunPane()
    text = run_text(pane, src)
    for part in (
        "learning rate", "gradient norm", "step time", "update ratio", "1 preprocess", "7 repeat",
        "recall by class", "epoch 1 done", "optimizer adam", "◆", "ETA 12m14s",
    ):  # fmt: skip
        assert part in text, part
    for name in ("events", "log", "evaluations", "runs 1 of 1", "recall by class"):
        pane.act("run.panel", view_of(src))
        assert name in run_text(pane, src)
    assert RunPane().act("run.copy", view_of(src)) == CopyText(make_run().directory)


@pytest.mark.parametrize("look", [Look(), Look("block"), Look("ascii", False)])
@pytest.mark.parametrize(("w", "h"), [(78, 20), (118, 36), (198, 56), (60, 14), (30, 9), (198, 22)])
def test_every_metric_and_axis_fits_every_size(w: int, h: int, look: Look) -> None:
    other = make_run(300, id="old", status="finished", config={"config": {"lr": 0.1}})
    src = source(make_run(), other)
    pane = RunPane()
    pane.compared = ("old",)
    for _ in range(9):
        pane.act("run.metric", view_of(src))
        for switch in ("run.axis", "run.smooth", "training.log", "run.panel", "run.left", "run.nearer"):
            pane.act(switch, view_of(src))
            run_text(pane, src, w, h, look)


def test_compared_runs_are_named_with_the_options_in_which_they_differ() -> None:
    mine = make_run(config={"config": {"lr": 0.001, "seed": 0}})
    other = make_run(300, id="old", status="finished", config={"config": {"lr": 0.1, "seed": 0}})
    src = source(mine, other)
    pane = RunPane()
    assert pane.act("run.compare", view_of(src)) == CompareRun(mine.id, ())
    pane.compared = ("old", "one that is gone")
    text = run_text(pane, src)
    assert (
        "options that differ  lr 0.001 / 0.1" in text and "seed" not in text.split("differ")[1].split("\n")[0]
    )
    assert f"━━ {mine.id}" in text and "━━ old" in text


def test_what_is_wrong_with_a_run_that_goes_on_stands_at_the_top() -> None:
    src = source(make_run(trouble="stopped by a signal since 12:00:00: kill -CONT 7 continues it"))
    assert "▲ stopped by a signal since 12:00:00" in run_text(RunPane(), src)
    assert "▲ stopped by a signal" in text_of(TrainingPane(), src, 118)
    assert "▲ stopped by a signal" in text_of(TrainingPane(), src, 118, 1)


def test_a_class_that_fell_below_its_own_best_is_marked() -> None:
    evals = [
        {"step": 100, "epoch": 1, "accuracy": 0.8, "recall": [0.9, 0.8, None], "wall_ns": 1},
        {"step": 200, "epoch": 2, "accuracy": 0.7, "recall": [0.9, 0.4, None], "wall_ns": 2},
    ]
    src = source(make_run(evals=evals, config={"data": {"classes": ["cat", "dog", "owl"]}}))
    line = next(x for x in run_text(RunPane(), src).splitlines() if "dog" in x)
    assert "0.400 ↓40" in line


def test_the_log_is_what_the_worker_printed_last() -> None:
    src = source(make_run(log_tail=("epoch 1 \x1b[31m", "ünïcode")))
    pane = RunPane()
    pane.panel = 2
    assert "epoch 1 ?[31m" in run_text(pane, src) and "ünïcode" in run_text(pane, src)


def test_layers_are_shown_where_they_are_measured_and_coloured_where_they_are_ill() -> None:
    run = make_run()
    src = source(run)
    assert "dead ReLUs" not in run_text(RunPane(), src, 198, 56)
    n = len(run.columns["step"])
    nan = float("nan")

    def at(value: float, back: int) -> array[float]:
        return array("d", [value if i == n - back else nan for i in range(n)])

    back = min(n, 300)
    known = {"grad_first": at(2e-5, 3), "grad_last": at(0.5, 3), "dead_share": at(0.97, back),
             "amp_scale": at(1024.0, 1)}  # fmt: skip
    src = source(replace(run, columns={**run.columns, **known}, last={**run.last, "amp_scale": 1024.0}))
    text = run_text(RunPane(), src, 198, 56)
    for part in ("grad first/last 4.0e-05", "dead ReLUs 97%", "grad scale 1024.0"):
        assert part in text, (part, text.splitlines()[:4])
    styles = dict(span for item_ in layer_items(src.runs()[0]) for span in item_)
    assert S.CRIT in styles.values() and S.WARN in styles.values()


def test_energy_is_shown_and_an_estimate_called_one() -> None:
    pane = RunPane()
    pane.energy = Energy(price_per_kwh=0.3, currency="EUR")
    text = run_text(pane, source(make_run(started_wall_ns=T0 - 3600 * 10**9)))
    # No power counters on this node: one thread at 12 W for an hour.
    assert "energy ~0.012 kWh ~0.00 EUR" in text and "J/sample ~" in text and "(estimate: no power" in text


def test_keys_of_the_run_view_ask_for_what_they_say() -> None:
    run = make_run()
    view = view_of(source(run))
    for action, intent in (
        ("run.checkpoint", CheckpointRun(run.id)), ("run.resume", ResumeRun(run.id)),
        ("run.measure", InferRun(run.id)), ("run.remove", RemoveRun(run.id)),
    ):  # fmt: skip
        assert RunPane().act(action, view) == intent


def test_a_click_in_the_list_chooses_the_run() -> None:
    src = source(make_run(), make_run(30, id="old", status="finished"))
    pane = RunPane()
    lines = run_text(pane, src).splitlines()
    y = next(i for i, x in enumerate(lines) if "finished" in x)
    pane.click(5, y, view_of(src))
    assert pane.selected == "old"


def test_logarithmic_scale() -> None:
    pane, src = TrainingPane(), source(make_run())
    before = pane.body(view_of(src), 78, 12)
    pane.act("training.log", view_of(src))
    assert pane.body(view_of(src), 78, 12) != before


def test_the_cursor_reads_every_run_where_it_stands() -> None:
    mine, other = make_run(), make_run(300, id="old", status="finished")
    src = source(mine, other)
    pane = RunPane()
    pane.compared = ("old",)
    run_text(pane, src)
    pane.act("run.left", view_of(src))
    # It appears at the newest step; the other run had ended before that.
    assert "step 400: 0.2996  -" in run_text(pane, src)
    for _ in range(30):
        pane.act("run.left10", view_of(src))
    assert "step 1: 2.300  2.300" in run_text(pane, src)
    pane.act("run.right", view_of(src))
    at = pane.cursor.at
    assert at is not None and at > 1
    loss = mine.columns["loss"][int(at) - 1]
    assert f"step {at:.0f}: {loss:.3f}  {loss:.3f}" in run_text(pane, src)
    for _ in range(60):
        pane.act("run.right10", view_of(src))
    assert pane.cursor.at is None and "step 400:" not in run_text(pane, src)


def test_what_is_not_measured_in_each_step_is_read_from_the_last_that_has_it() -> None:
    run = make_run()
    for i in range(400):
        run.columns["grad_norm"][i] = float(i + 1) if (i + 1) % 20 == 0 else math.nan
    metric = run_plot.BY_ID["grad_norm"]
    assert run_plot.reading(run, metric, "step", 139.0) == (120, 120.0)
    assert run_plot.reading(run, metric, "step", 10.0) is None
    assert run_plot.reading(run, run_plot.BY_ID["throughput"], "time", 1.0) == (101, 800.0)
    assert run_plot.reading(make_run(0), metric, "step", 10.0) is None


def test_zoom_halves_what_is_shown_around_the_cursor_and_comes_back() -> None:
    run = make_run()
    src = source(run)
    pane = RunPane()
    whole = run_text(pane, src)
    pane.act("run.nearer", view_of(src))
    assert pane.cursor.window([run], "step") == (200.5, 400.0) and "1/2 of the range" in run_text(pane, src)
    for _ in range(20):
        pane.act("run.nearer", view_of(src))
    first, last = pane.cursor.window([run], "step") or (0.0, 0.0)
    assert last == 400.0 and 10 <= last - first < 20
    pane.cursor.at = 250.0
    first, last = pane.cursor.window([run], "step") or (0.0, 0.0)
    assert first < 250 < last
    # The spike of step 251 fills the scale now that it is in sight.
    assert "1.849┤" in run_text(pane, src)
    for _ in range(6):
        pane.act("run.wider", view_of(src))
    pane.cursor.clear()
    assert run_text(pane, src) == whole


@pytest.mark.parametrize("axis", ["step", "time"])
def test_a_click_in_the_plot_puts_the_cursor_there(axis: run_plot.Axis) -> None:
    src = source(make_run())
    for w, h in ((78, 20), (118, 36), (198, 56)):
        pane = RunPane()
        if axis == "time":
            pane.act("run.axis", view_of(src))
        run_text(pane, src, w, h)
        top, left, width, _ = pane._plot_at
        pane.click(left + width // 2, top + 2, view_of(src))
        lines = run_text(pane, src, w, h).splitlines()
        assert pane.cursor.at == pytest.approx(200 if axis == "step" else 2.0, rel=0.02)
        assert f"{axis} {'20' if axis == 'step' else '2s'}" in lines[top - 1]
        assert any(
            "│" in line[left + width // 2 - 1 : left + width // 2 + 2] for line in lines[top : top + 6]
        )


@given(
    st.integers(0, 300), st.sampled_from(["step", "time"]),
    st.lists(st.sampled_from(["left", "right", "left10", "right10", "nearer", "wider", "axis"]), max_size=30),
)  # fmt: skip
def test_no_key_takes_the_cursor_out_of_what_is_shown(steps: int, axis: str, keys: list[str]) -> None:
    run = make_run(steps)
    view = view_of(source(run))
    pane = RunPane()
    pane.axis = "time" if axis == "time" else "step"
    for key in keys:
        pane.act(f"run.{key}", view)
        window = pane.cursor.window([run], pane.axis) or run_plot.span_of([run], pane.axis)
        if pane.cursor.at is not None:
            assert window is not None and window[0] <= pane.cursor.at <= window[1]
    check(pane.body(view, 78, 20), 78, 20)
