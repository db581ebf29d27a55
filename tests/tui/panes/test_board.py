"""The status board and the list under it, at every size; live and of a recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from dctop.engine.recording.reader import open_recording
from dctop.engine.recording.replay import ReplaySource
from dctop.engine.rules.board import Standing, board
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S
from dctop.tui.panes import board as drawn
from dctop.tui.panes.alert_detail import AlertDetailPane
from dctop.tui.panes.alerts import AlertsPane, symptoms_under, under_roots
from dctop.tui.panes.base import View
from dctop.tui.panes.evidence import energy, lane, leading, onset_cell, span_s
from dctop.tui.theme import THEMES
from tests.fakes.screen import FakeSource, Node, as_lines, make_alert, view_of
from tests.tui.commands.test_check_and_rules import record

S_NS = 10**9
RULES = [("disk-fill", "storage"), ("disk-latency", "storage"), ("loss-spike", "convergence"),
         ("oom-cuda", "oom"), ("host-mem-low", "oom"), ("nic-errors", "network")]  # fmt: skip
LACKING = {"loss-spike": "a training run", "oom-cuda": "a training run", "nic-errors": "fresh readings"}


class Live(FakeSource):
    """With a rule engine behind it."""

    lang = "en"

    def board(self) -> tuple[Standing, ...]:
        return board(RULES, LACKING, self.alerts(), {"host-mem-low"})

    def not_checked(self) -> list[tuple[str, str]]:
        return list(LACKING.items())


def live(*alerts: object) -> Live:
    node = Node()
    return Live(node.run(90), node.history, (), list(alerts))  # type: ignore[arg-type]


def some() -> Live:
    return live(
        make_alert(1, rule="disk-fill", severity="critical", title="/data is full"),
        make_alert(2, rule="disk-latency", title="vda is slow", suppressed_by="disk-fill"),
        make_alert(3, rule="disk-util", title="vda is busy", suppressed_by="disk-latency"),
    )


def test_each_problem_says_how_it_stands_and_what_is_missing() -> None:
    found = {s.problem: s for s in some().board()}
    assert len(found) == 9
    assert (found["storage"].status, found["storage"].severity) == ("firing", "critical")
    assert found["storage"].open == ("disk-fill", "disk-latency", "disk-util")
    assert (found["oom"].status, found["oom"].pending) == ("suspect", ("host-mem-low",))
    assert (found["convergence"].status, found["convergence"].needs) == ("unknown", (("a training run", 1),))
    assert (found["inference"].status, found["inference"].rules) == ("unknown", 0)
    assert {s.status for s in board(RULES, {}, ())} == {"well", "unknown"}
    note = make_alert(1, rule="disk-util", severity="info")
    assert {s.problem: s.status for s in board(RULES, {}, [note])}["storage"] == "suspect"


def test_a_line_each_where_there_is_room() -> None:
    pane = AlertsPane()
    pane.whole = True
    lines = as_lines(pane.body(view_of(some()), 60, 36))
    assert lines[0].startswith("1 out of memory         · suspect  host-mem-low pending")
    assert lines[2].startswith("3 slow inference        ? unknown  no rule about it yet")
    assert lines[3].startswith("4 slow convergence      ? unknown  needs a training run")
    assert lines[6].startswith("storage                 ■ firing   disk-fill, disk-latency")
    assert lines[9].strip() == ""
    assert "/data is full" in lines[10]
    text = "\n".join(lines)
    assert "NOT CHECKED 3 rules" in text and "needs a training run: loss-spike, oom-cuda" in text


def test_the_board_speaks_the_language_of_the_alerts() -> None:
    src = some()
    src.lang = "zh"
    src.marks = lambda: {"cpu.util_pct": "spike"}  # type: ignore[attr-defined]
    pane = AlertsPane()
    pane.whole = True
    text = "\n".join(as_lines(pane.body(view_of(src), 60, 36)))
    assert all(
        word in text
        for word in ("1 内存不足", "可疑", "host-mem-low 待定", "尚无相关规则", "未检查 3 条规则")
    )
    assert not any(
        word in text for word in ("suspect", "unknown", "firing", "NOT CHECKED", "needs", "storage")
    )
    assert {len(line) for line in as_lines(pane.body(view_of(some()), 60, 36))} == {60}
    short = "\n".join(as_lines(pane.body(view_of(src), 60, 12)))
    assert "1 内存" in short and "1 memory" not in short


def test_what_is_unusual_alone_is_a_mark_and_no_alert() -> None:
    src = some()
    src.marks = lambda: {"disk.write_bytes_per_s{disk=vda}": "spike"}  # type: ignore[attr-defined]
    pane = AlertsPane()
    pane.whole = True
    lines = as_lines(pane.body(view_of(src), 60, 36))
    at = next(i for i, line in enumerate(lines) if line.startswith("UNUSUAL NOW"))
    assert lines[at + 1].startswith("  spike of disk.write_bytes_per_s{disk=vda}")
    assert any(line.startswith("NOT CHECKED") for line in lines[at:])


def test_two_lines_on_a_small_screen() -> None:
    pane = AlertsPane()
    pane.whole = True
    lines = as_lines(pane.body(view_of(some()), 78, 7))
    assert lines[0].startswith("· 1 memory  ? 2 util  ? 3 inference  ? 4 convergence  ? 5 accuracy")
    assert lines[1].startswith("? compute  ■ storage  ? network  ? framework")
    assert "/data is full" in lines[2]


def test_no_board_in_a_corner_of_the_dashboard() -> None:
    assert "/data is full" in as_lines(AlertsPane().body(view_of(some()), 60, 30))[0]


def test_a_click_below_the_board_selects_the_alert() -> None:
    pane, view = AlertsPane(), view_of(some())
    pane.whole = True
    pane.body(view, 60, 36)
    pane.click(5, 10, view)
    assert pane.selected == 1
    pane.selected = None
    pane.click(5, 3, view)
    assert pane.selected is None


def test_symptoms_of_symptoms_stand_under_the_root() -> None:
    alerts = some().alerts()
    assert [(a.id, s) for a, s in under_roots(alerts)] == [(1, False), (2, True), (3, True)]
    assert [a.id for a in symptoms_under(alerts, alerts[0])] == [2, 3]
    text = "\n".join(as_lines(AlertDetailPane().body(view_of(some()), 78, 40)))
    assert "vda is slow (disk-latency)" in text and "vda is busy (disk-util)" in text


def test_a_wide_list_shows_the_leading_number_its_threshold_and_series() -> None:
    line = as_lines(AlertsPane().body(view_of(live(make_alert())), 90, 3))[0]
    e = leading(make_alert())
    assert e is not None and e.threshold is not None
    assert "360 GiB" in line and e.threshold in line


@pytest.mark.parametrize("size", [(20, 5), (40, 12), (78, 7), (48, 36), (80, 56), (200, 60), (1, 1), (0, 0)])
@pytest.mark.parametrize(
    "look", [Look(), Look(unicode=False), Look(unicode=False, color=0) if hasattr(Look, "color") else Look()]
)
def test_rows_are_whole_at_every_size(size: tuple[int, int], look: Look) -> None:
    w, h = size
    for src in (some(), live()):
        pane = AlertsPane()
        pane.whole = True
        for rows in (pane.body(view_of(src, look), w, h), AlertDetailPane().body(view_of(src, look), w, h)):
            assert len(rows) == h
            if w:
                assert {len("".join(t for t, _ in row)) for row in rows} <= {w}


def test_marks_carry_a_glyph_and_a_style_of_every_theme() -> None:
    from dctop.tui.draw.glyphs import ASCII, UNICODE

    for g in (UNICODE, ASCII):
        seen = [drawn.mark(s, g) for s in some().board()]
        assert all(len(sign) == 1 for sign, _ in seen)
    styles = {style for _, style in seen}
    assert styles <= {S.GOOD, S.INFO, S.WARN, S.CRIT, S.DIM}
    assert THEMES


def test_lanes_share_an_axis_and_show_where_it_began() -> None:
    assert span_s(10, 1.0, 40) == 60.0
    assert span_s(200, 1.0, 40) == 300.0
    assert span_s(10_000, 1.0, 40) == 900.0
    assert onset_cell(100, 300, 60) == 40
    assert onset_cell(400, 300, 60) is None
    assert len(lane(live(), "cpu.util_pct", 60, 7)) == 7


def test_samples_around_the_onset_fill_spare_room() -> None:
    src = live(make_alert(opened_wall_ns=live().snapshot().frame.wall_ns - 20 * S_NS))  # type: ignore[union-attr]
    lines = as_lines(AlertDetailPane().body(view_of(src), 100, 50))
    at = next(i for i, line in enumerate(lines) if line.startswith("AROUND"))
    assert "cpu.util_pct" in lines[at]
    assert all(":" in line for line in lines[at + 1 : at + 10])
    assert not any(
        line.startswith("AROUND") for line in as_lines(AlertDetailPane().body(view_of(src), 100, 20))
    )


def test_energy_is_told_only_where_a_meter_is_read() -> None:
    src = live()
    assert energy(src, 3600, 0.3, "EUR") is None
    snap = src.snapshot()
    assert snap is not None
    snap.labels = {"gpu.power_w": ["A", "B"]}
    src.window = lambda key, n: [500.0] * n  # type: ignore[assignment, method-assign, return-value]
    assert energy(src, 3600, None, "") == "1,000 W meanwhile: 1 kWh"
    assert energy(src, 3600, 0.3, "EUR") == "1,000 W meanwhile: 1 kWh, 0.30 EUR"


def test_a_recording_is_led_by_the_board_of_the_moment_at_the_cursor(tmp_path: Path) -> None:
    """The alerts are those recorded; what could be judged is told by rules that see the moment."""
    record(tmp_path / "bad.dctop", True)
    source = ReplaySource(open_recording(tmp_path / "bad.dctop"))
    source.seek(source.t1_ns)
    pane = AlertsPane()
    pane.whole = True
    lines = as_lines(pane.body(View(source, source.snapshot(), Look()), 100, 50))
    source.close()
    assert lines[0].startswith("1 out of memory         ■ firing   oom-killed")
    assert lines[7].startswith("network                 ")
    assert any(line.startswith("NOT CHECKED") for line in lines)
