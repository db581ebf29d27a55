"""What all panes promise, with ordinary and with hostile data."""

from __future__ import annotations

import math
import random
from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.engine.metrics.derived import CATALOGUE, TRAIN_SERIES, labels_of
from dctop.engine.metrics.model import Frame, ProbeStatus, Snapshot
from dctop.engine.rules.alert import Evidence, Remedy
from dctop.engine.training.runstate import STEP_FIELDS, RunEvent
from dctop.probes.base import Process, Sample, series
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S, row_width
from dctop.tui.panes import PANES
from dctop.tui.panes.alert_detail import AlertDetailPane
from dctop.tui.panes.base import PaneModel
from dctop.tui.panes.gpu_view import GPU_PANES
from dctop.tui.panes.processes import ProcessPane
from dctop.tui.panes.run_view import RunPane
from dctop.tui.panes.timeline import TimelinePane, TimelineState
from tests.fakes.screen import T0, FakeSource, Node, check, make_alert, make_process, make_run, view_of

ALL: tuple[type[PaneModel], ...] = (*PANES, AlertDetailPane, RunPane, TimelinePane, *GPU_PANES)
LOOKS = (
    Look(),
    Look(graph="block"),
    Look(graph="ascii"),
    Look(unicode=False),
    Look(graph="ascii", unicode=False),
)
SIZES = [(w, h) for w in (0, 1, 2, 3, 7, 20, 38, 52, 78, 118, 198) for h in (0, 1, 2, 3, 5, 8, 14, 21, 58)]
HOSTILE = st.text(st.characters(), max_size=30)


def ordinary(cores: int = 8, gpus: int = 2) -> FakeSource:
    node = Node(cores, gpus)
    snap = node.run(90)
    runs = [make_run(), make_run(30, id="old", status="failed", reason="ValueError: shapes")]
    return FakeSource(snap, node.history, runs, [make_alert(), make_alert(2, severity="critical")])


def every(pane: type[PaneModel]) -> PaneModel:
    model = pane()
    if isinstance(model, TimelinePane):
        hour = 3600 * 10**9
        model.state = TimelineState(
            T0, T0 + 3 * hour, T0 + hour, 8.0, True, [(T0 + hour // 2, "", "critical"), (T0, "训", "mark")],
            [(T0 + hour, T0 + 2 * hour)], {"cpu": [i % 100 for i in range(300)], "损失": [math.nan, 2.0]},
        )  # fmt: skip
    return model


@pytest.mark.parametrize("pane", ALL)
def test_pane_explains_itself(pane: type[PaneModel]) -> None:
    assert pane.key and pane.name
    assert len(pane.about) > 100
    for metric in pane.metrics:
        assert metric in CATALOGUE or metric in TRAIN_SERIES, metric
    for action in pane.actions:
        assert action.keys and action.label and action.help.endswith(".")
    used = [key for action in pane.actions for key in action.keys]
    assert len(used) == len(set(used))


def test_panes_stand_in_the_order_of_their_digits() -> None:
    keys = [p.key for p in PANES]
    assert keys == ["cpu", "gpu", "memory", "disk", "network", "processes", "training", "alerts"]


@pytest.mark.parametrize("look", LOOKS, ids=lambda v: f"{v.graph}-{'u' if v.unicode else 'a'}")
@pytest.mark.parametrize("pane", ALL)
def test_every_size_is_exact(pane: type[PaneModel], look: Look) -> None:
    source = ordinary()
    model = every(pane)
    for w, h in SIZES:
        check(model.body(view_of(source, look, focused=w % 2 == 0), w, h), w, h, look)
        for spans in model.title(view_of(source, look), w):
            assert row_width(tuple(spans)) >= 0


@pytest.mark.parametrize("pane", ALL)
def test_before_the_first_sample(pane: type[PaneModel]) -> None:
    view = view_of(FakeSource())
    for w, h in SIZES:
        check(every(pane).body(view, w, h), w, h)
    every(pane).title(view, 40)


@pytest.mark.parametrize("pane", ALL)
def test_without_a_single_value(pane: type[PaneModel]) -> None:
    source = FakeSource(Snapshot(Frame(0, 0, T0, {}), None, {}, {}, {}, {}, {}))
    for w, h in SIZES:
        check(every(pane).body(view_of(source), w, h), w, h)
    every(pane).title(view_of(source), 40)


@pytest.mark.parametrize("pane", ALL)
def test_all_values_missing(pane: type[PaneModel]) -> None:
    source = ordinary()
    assert source.snap is not None
    source.snap.values = dict.fromkeys(source.snap.values)
    source.history = type(source.history)()
    for w, h in SIZES:
        model = every(pane)
        check(model.body(view_of(source), w, h), w, h)
        model.title(view_of(source), w)


@pytest.mark.parametrize("pane", [p for p in ALL if p.probes])
def test_stale_panes_are_dim_and_marked(pane: type[PaneModel]) -> None:
    source = ordinary()
    assert source.snap is not None
    status = ProbeStatus(pane.probes[0], 12.0, True, None, (), None)
    frame = source.snap.frame
    source.snap.frame = Frame(
        frame.seq, frame.mono_ns, frame.wall_ns, frame.samples, (), {status.name: status}
    )
    model = every(pane)
    view = view_of(source)
    assert {style for row in model.body(view, 78, 8) for _, style in row} <= {S.FAINT, S.TEXT}
    text = "".join(t for t, _ in model.title(view, 78)[1])
    assert text.startswith("~") and "12s old" in text


@pytest.mark.parametrize("pane", ALL)
def test_every_action_and_click_is_survived(pane: type[PaneModel]) -> None:
    for source in (ordinary(), FakeSource(), FakeSource(ordinary().snap)):
        model = every(pane)
        view = view_of(source, focused=True)
        model.body(view, 78, 12)
        for action in pane.actions:
            model.act(action.id, view)
            check(model.body(view, 78, 12), 78, 12)
        for y in range(-1, 14):
            model.click(y, y, view)
            model.click(y, y, view, double=True)
        model.scroll(3)
        model.scroll(-100)
        model.set_filter("x")
        model.set_sort("mem")
        check(model.body(view, 78, 12), 78, 12)


NASTY_TEXT = (
    "", " ", "训练" * 9, "a\nb\tc", "\x1b[2J\x1b[31m", "\u202eexe", "e\u0301\u200d\ufe0f", "\udc80", "\0",
    "x" * 300, "{=,}", "🇩🇪👩‍👩‍👧", "ﷺ", "\ud7b0", "%s %d {0}", "[b]markup[/b]",
)  # fmt: skip
NASTY_NUMBERS: tuple[Any, ...] = (
    None, "text", math.nan, math.inf, -math.inf, 0, -1, 1, 0.5, 99.999, 100, 101.0, 1e-320, 1e300, -1e300,
    2**63, 10**20, True,
)  # fmt: skip


def hostile_source(seed: int, texts: list[str], numbers: list[float]) -> FakeSource:
    """Any value in any series, any label, any process, run and alert text."""
    rnd = random.Random(seed)
    words, figures = (*NASTY_TEXT, *texts), (*NASTY_NUMBERS, *numbers)
    real = [float(v) for v in figures if isinstance(v, (int, float))]

    def text() -> str:
        return rnd.choice(words)

    def number() -> Any:
        return rnd.choice(figures)

    def maybe(v: Any) -> Any:
        return rnd.choice((None, v))

    names = [text() or "x" for _ in range(rnd.randint(1, 5))]
    values: dict[str, Any] = {}
    for metric in CATALOGUE.values():
        if metric.kind != "counter" and rnd.random() < 0.7:
            keys = (
                [series(metric.id, **{metric.labels[0]: n}) for n in names] if metric.labels else [metric.id]
            )
            values.update({key: number() for key in keys})
    table = [
        make_process(
            rnd.randint(0, 9), ppid=rnd.randint(0, 9), user=maybe(text()), name=text(), cmdline=maybe(text()),
            state=rnd.choice(("R", "D", "Z", "", "训")), container=maybe(text()), job=maybe(text()),
            rss_bytes=maybe(rnd.randint(0, 10**18)), gpu_mem_bytes=maybe(rnd.randint(0, 10**15)),
            threads=rnd.randint(0, 10**7), cpu_ticks=rnd.randint(0, 10**14),
        )
        for _ in range(rnd.randint(0, 12))
    ]  # fmt: skip
    cpu = {p.pid: rnd.choice(real) for p in table}
    status = {"gpu": ProbeStatus("gpu", maybe(1.0), False, maybe(text()), (), None)}
    sample = Sample("process", 0, T0, {}, processes=table)
    frame = Frame(1, 0, T0, {"process": sample} if table else {}, (), status)
    snap = Snapshot(frame, None, values, cpu, dict(cpu), {}, labels_of(frozenset(values)))
    source = FakeSource(snap)
    for _ in range(rnd.randint(1, 40)):
        source.history.push({k: rnd.choice(real) for k, v in values.items() if v is not None})
    column = [rnd.choice(real) for _ in range(rnd.randint(0, 300))]
    run = make_run(
        0, id=text(), workload=text(), reason=maybe(text()), device=maybe(text()), data_source=maybe(text()),
        columns={n: array("d", column) for n in STEP_FIELDS if rnd.random() < 0.9}, mode=maybe(text()),
        status=rnd.choice(("running", "failed", "killed", "lost", "starting", "finished", "strange")),
        step=maybe(rnd.randint(-5, 10**12)), total_steps=maybe(rnd.randint(-5, 10**12)), epoch=maybe(3),
        last={n: maybe(rnd.choice(real)) for n in STEP_FIELDS}, eta_s=maybe(rnd.choice(real)),
        samples_per_s=maybe(rnd.choice(real)), synthetic=rnd.random() < 0.5, exit_code=maybe(-9),
        evals=[{"step": number(), "loss": number(), "accuracy": number()} for _ in range(5)],
        events=[RunEvent(rnd.choice((T0, 10**30)), None, text(), text()) for _ in range(5)],
        config={"batch": number(), "optimizer": text()},
    )  # fmt: skip
    source.run_list = [run, make_run(3, id="other", workload=text())][: rnd.randint(0, 2)]
    alert = make_alert(
        title=text(), why=text(), entity=text(), count=rnd.randint(1, 10**9), cost=maybe(text()),
        evidence=(Evidence(text(), number(), text(), text(), "cpu.util_pct"), Evidence(text(), 1.0, "bytes")),
        ruled_out=(text(),), remedies=(Remedy(text(), maybe(text()), text(), text()),),
        acked=rnd.random() < 0.5, opened_wall_ns=rnd.randint(0, 10**19), muted_until_ns=maybe(10**30),
        state=rnd.choice(("closed", "firing")),
    )  # fmt: skip
    source.alert_list = [alert, make_alert(2, suppressed_by="disk-fill", title=text())][: rnd.randint(0, 2)]
    return source


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(HOSTILE, max_size=3),
    st.lists(st.floats(), max_size=3),
    st.integers(0, 210),
    st.integers(0, 40),
    st.sampled_from(LOOKS),
    st.booleans(),
)
def test_hostile_data_never_breaks_a_row(
    seed: int, texts: list[str], numbers: list[float], w: int, h: int, look: Look, odd: bool
) -> None:
    source = hostile_source(seed, texts, numbers)
    view = view_of(source, look, focused=odd, zoomed=odd)
    for pane in ALL:
        model = every(pane)
        if isinstance(model, ProcessPane):
            model.tree = odd
        check(model.body(view, w, h), w, h, look)
        for spans in model.title(view, w):
            for text, _ in spans:
                assert text.isprintable()
                assert look.unicode or text.isascii()


def test_five_thousand_processes() -> None:
    node = Node(processes=5000)
    snap = node.run(3)
    view = view_of(FakeSource(snap, node.history), focused=True)
    model = every(PANES[5])
    for w, h in ((78, 8), (118, 30), (198, 58)):
        check(model.body(view, w, h), w, h)
    table: list[Process] = list(snap.frame.processes)
    assert len(table) == 5000
