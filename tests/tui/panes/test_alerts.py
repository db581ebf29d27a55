from __future__ import annotations

from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S
from dctop.tui.intents import AckAlert, CopyText, MuteAlert, Notice, ShowAlert
from dctop.tui.panes.alert_detail import AlertDetailPane
from dctop.tui.panes.alerts import AlertsPane, Watch, gravest
from tests.fakes.screen import T0, FakeSource, Node, as_lines, make_alert, view_of

S_NS = 10**9


def source(*alerts: object, ticks: int = 90) -> FakeSource:
    node = Node()
    return FakeSource(node.run(ticks), node.history, (), list(alerts))  # type: ignore[arg-type]


def three() -> FakeSource:
    return source(
        make_alert(
            1, rule="oom-killed", severity="critical", title="Killed for memory", entity="a1", count=3
        ),
        make_alert(2, title="/data will be full in 2 h", opened_wall_ns=T0 + 60 * S_NS, acked=True),
        make_alert(3, rule="worker-crashed", title="Worker ended", suppressed_by="oom-killed"),
        make_alert(4, title="Loss spike", state="closed", closed_wall_ns=T0 + 80 * S_NS),
    )


def test_golden_at_80x24() -> None:
    assert as_lines(AlertsPane().body(view_of(three()), 60, 5)) == [
        "■  1m29s  Killed for memory           a1              ×3    ",
        "▲  1m29s   └─ Worker ended            /data                 ",
        "▲    29s  /data will be full in 2 h   /data           acked ",
        "✓     9s  Loss spike                  /data           closed",
        "                                                            ",
    ]


def test_symptoms_are_not_counted() -> None:
    left, right = AlertsPane().title(view_of(three()), 60)
    assert "".join(t for t, _ in left) == "ALERTS 2 open, 2 more"
    assert right == [("■1", S.CRIT), (" ▲1", S.WARN)]


def test_a_quiet_node_says_what_is_watched_and_what_cannot_be() -> None:
    pane = AlertsPane()
    pane.watch = Watch(31, [("gpu-lost", "needs a GPU"), ("psi-memory", "needs /proc/pressure/memory")])
    text = "\n".join(as_lines(pane.body(view_of(source()), 60, 8)))
    assert "✓ No alert is open." in text
    assert "31 rules watch" in text and "▲ 2 cannot be checked" in text and "gpu-lost: needs a GPU" in text
    assert pane.title(view_of(source()), 60)[1][0][0] == "✓ none open"


def test_keys_select_and_ask() -> None:
    pane, src = AlertsPane(), three()
    view = view_of(src, focused=True)
    assert pane.act("alerts.show", view) == ShowAlert(1)
    pane.act("alerts.down", view)
    assert pane.selected == 3  # the symptom, under its root
    pane.act("alerts.end", view)
    assert pane.act("alerts.ack", view) == AckAlert(4)
    pane.act("alerts.home", view)
    assert pane.act("alerts.mute", view) == MuteAlert(1)
    assert any(row[0][1] is S.SELECT for row in pane.body(view, 60, 6))
    assert isinstance(AlertsPane().act("alerts.show", view_of(source())), Notice)
    src.mode = "replay"
    assert isinstance(pane.act("alerts.ack", view_of(src)), Notice)


def test_a_click_selects_and_a_double_click_shows() -> None:
    pane, view = AlertsPane(), view_of(three())
    pane.body(view, 60, 6)
    assert pane.click(5, 2, view) is None
    assert pane.selected == 2
    assert pane.click(5, 2, view, double=True) == ShowAlert(2)


def test_the_day_strip_stands_at_the_bottom_of_a_tall_pane() -> None:
    lines = as_lines(AlertsPane().body(view_of(three()), 60, 14))
    assert lines[-2].rstrip().endswith("█") and lines[-1].startswith("-24h")


def test_many_alerts_scroll() -> None:
    src = source(*(make_alert(i, title=f"alert {i}") for i in range(50)))
    pane, view = AlertsPane(), view_of(src)
    pane.body(view, 60, 6)
    assert pane.scroll(10)
    assert "alert 10" in as_lines(pane.body(view, 60, 6))[0]
    pane.act("alerts.end", view)
    assert "alert 49" in as_lines(pane.body(view, 60, 6))[-1]


def test_gravest() -> None:
    found = gravest(three().alerts())
    assert found is not None and found.id == 1
    assert gravest([]) is None


def test_golden_diagnosis() -> None:
    src = source(make_alert())
    assert as_lines(AlertDetailPane().body(view_of(src, Look(unicode=False)), 70, 20)) == [
        "* /data will be full in 2 h                                           ",
        "WHY        Checkpoints of run a1 grow it by 180 GiB an hour and none  ",
        "           is ever deleted.                                           ",
        "EVIDENCE (last 2m13s)                                                 ",
        "  available    360 GiB  < 400 GiB             ************************",
        "  growth     180 GiB/h                        ########################",
        "  cpu          61.50 %  > 90 %                 __..-::=++****++=::-.._",
        "                                              | began 22:13:20        ",
        "RULED OUT  inodes 3 % . logs 0.1 GiB/h                                ",
        "COST       the run stops when a checkpoint fails                      ",
        "DO                                                                    ",
        "  1 Keep only the last checkpoints (3 fit)                            ",
        "    > frees 1.2 TiB                                                   ",
        "    $ dctop runs prune --keep 3                                       ",
        "  2 Write checkpoints less often                                      ",
        "                                                                      ",
        "  since 22:13:20, rule disk-fill                                      ",
        "                                                                      ",
        "                                                                      ",
        "                                                                      ",
    ]


def test_the_root_lists_what_it_explains() -> None:
    pane = AlertDetailPane()
    pane.show(1)
    text = "\n".join(as_lines(pane.body(view_of(three()), 78, 40)))
    assert "EXPLAINS" in text and "└─ Worker ended" in text
    pane.show(99)
    assert "no longer kept" in "\n".join(as_lines(pane.body(view_of(three()), 78, 10)))


def test_a_long_diagnosis_scrolls() -> None:
    pane, view = AlertDetailPane(), view_of(three())
    assert "more lines" in as_lines(pane.body(view, 60, 6))[-1]
    for _ in range(20):
        pane.act("diagnosis.down", view)
    assert "more lines" not in as_lines(pane.body(view, 60, 6))[-1]
    assert not pane.scroll(5)


def test_copying() -> None:
    pane, view = AlertDetailPane(), view_of(source(make_alert()))
    assert pane.act("diagnosis.command", view) == CopyText("dctop runs prune --keep 3")
    copied = pane.act("diagnosis.copy", view)
    assert isinstance(copied, CopyText)
    assert "evidence: available 360 GiB  threshold < 400 GiB" in copied.text
    assert pane.act("diagnosis.ack", view) == AckAlert(1)
