from __future__ import annotations

from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S
from dctop.tui.panes.cpu import CpuPane
from tests.fakes.screen import FakeSource, Node, as_lines, view_of

ASCII = Look(unicode=False)


def source(cores: int = 4, ticks: int = 90, **changes: object) -> FakeSource:
    node = Node(cores)
    node.changes = changes  # type: ignore[assignment]
    return FakeSource(node.run(ticks), node.history)


def test_golden_at_80x24() -> None:
    assert as_lines(CpuPane().body(view_of(source(), ASCII), 38, 5)) == [
        "......                                ",
        "############:::::.....                ",
        "###########################:::::::....",
        "usr  4%  sys  2%  io  2%  st  1%      ",
        "0000                                  ",
    ]


def test_golden_at_120x40() -> None:
    assert as_lines(CpuPane().body(view_of(source(), ASCII), 60, 8)) == [
        "                          0 #........   6% 2 #........   9% ",
        "                          1 #........   8% 3 #........   5% ",
        "                          usr  4%  sys  2%  io  2%  st  1%  ",
        "..                        load 41.2 38.0 30.1  run   9      ",
        "####:..                   psi cpu  1.2  0.8%  ctx/s 23.4k   ",
        "#########::..                                               ",
        "###############::...                                        ",
        "#######################::                                   ",
    ]


def test_wide_panes_show_each_core_and_many_cores_share_a_strip() -> None:
    few = as_lines(CpuPane().body(view_of(source(4)), 130, 14))
    assert any(" 3 " in line and "%" in line for line in few)
    many = CpuPane().body(view_of(source(256)), 130, 14)
    assert sum(t.count(c) for row in many for t, _ in row for c in "▁▂▃▄▅▆▇█") >= 256


def test_title_has_cores_load_and_current_value() -> None:
    left, right = CpuPane().title(view_of(source()), 60)
    assert "".join(t for t, _ in left) == "CPU 4 cores  load 41.2"
    assert right[0][0].strip().endswith("%")


def test_a_quota_names_the_host_and_throttling() -> None:
    src = source(128, **{"container.cpu_quota_cores": 4.0})
    assert src.snap is not None
    src.snap.values["container.cpu_throttled_pct"] = 31.0
    text = "\n".join(as_lines(CpuPane().body(view_of(src), 78, 12)))
    assert "limit 4 cores (host 128)" in text
    assert "throttled ■31%" in text
    assert "4 of 128 cores" in "".join(t for t, _ in CpuPane().title(view_of(src), 60)[0])


def test_sensors_show_when_there_are_any() -> None:
    src = source(2, **{"cpu.temp_c{sensor=Package 0}": 96.0, "cpu.freq_mhz{core=0}": 2450.0})
    text = "\n".join(as_lines(CpuPane().body(view_of(src), 78, 14)))
    assert "clock 2.45 GHz" in text and "temp ■96°" in text


def test_busy_rows_are_coloured() -> None:
    node = Node(1)
    node.counts = lambda i, load: {  # type: ignore[method-assign]
        "cpu.user_ticks": i * 100, "cpu.system_ticks": 0, "cpu.idle_ticks": 0, "cpu.iowait_ticks": 0,
        "cpu.irq_ticks": 0, "cpu.steal_ticks": 0,
    }  # fmt: skip
    rows = CpuPane().body(view_of(FakeSource(node.run(200), node.history)), 30, 20)
    assert rows[0][0][1] is S.GRAPH_CRIT
    assert CpuPane().title(view_of(FakeSource(node.step(), node.history)), 40)[1][0] == ("■100%", S.CRIT)
