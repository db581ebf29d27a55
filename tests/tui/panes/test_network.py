from __future__ import annotations

from dctop.probes.base import series
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S
from dctop.tui.panes.network import NetworkPane
from tests.fakes.screen import FakeSource, Node, as_lines, view_of


def made(ticks: int = 120, **changes: object) -> FakeSource:
    node = Node()
    node.changes = changes  # type: ignore[assignment]
    return FakeSource(node.run(ticks), node.history)


def shown(pane: NetworkPane, src: FakeSource) -> str:
    return "".join(t for t, _ in pane.title(view_of(src), 60)[0]).split()[-1]


def test_golden_at_120x40() -> None:
    assert as_lines(NetworkPane().body(view_of(made(), Look(unicode=False)), 60, 8)) == [
        "v 1.86G/s                                                   ",
        "###############:::::::::::::..............:::::::::::::#####",
        "##############################:::::::::#####################",
        "^ 954M/s ::::'''''''                              ''''''::::",
        " eth0             v 862K/s ^ 783K/s err    0 drop    0      ",
        ">ib0              v 786M/s ^ 714M/s err    0 drop    0      ",
        " lo               v  74B/s ^  67B/s err    0 drop    0      ",
        "tcp retrans  0.08%  segs/s     4  established   211         ",
    ]


def test_the_graph_follows_the_busiest_link_but_never_loopback() -> None:
    assert shown(NetworkPane(), made()) == "ib0"


def test_the_arrow_keys_choose_and_backspace_returns() -> None:
    pane, src = NetworkPane(), made()
    view = view_of(src)
    pane.act("network.next", view)
    assert shown(pane, src) == "lo"
    pane.act("network.next", view)
    assert shown(pane, src) == "eth0"
    pane.act("network.previous", view)
    assert shown(pane, src) == "lo"
    pane.act("network.auto", view)
    assert shown(pane, src) == "ib0"


def test_a_click_on_a_row_chooses_it() -> None:
    pane, src = NetworkPane(), made()
    lines = as_lines(pane.body(view_of(src), 78, 8))
    at = next(i for i, line in enumerate(lines) if line.startswith(" eth0"))
    pane.click(3, at, view_of(src))
    assert shown(pane, src) == "eth0"


def test_losses_and_dead_links_are_marked() -> None:
    node = Node()
    src = FakeSource(node.run(60), node.history)
    node.counters[series("net.rx_drops", nic="eth0")] = 900
    node.changes = {series("net.up", nic="ib0"): 0}
    src.snap = node.step()
    rows = NetworkPane().body(view_of(src), 78, 10)
    text = as_lines(rows)
    assert any("drop▲ 900" in line for line in text)
    assert any(line[1:].startswith("ib0") and "▲down" in line for line in text)
    assert any(style is S.WARN for row in rows for _, style in row)


def test_infiniband_ports_are_links_too() -> None:
    node = Node()
    node.changes = {series("ib.up", port="mlx5_0:1"): 1, series("ib.rate_gbps", port="mlx5_0:1"): 400}
    for _ in range(40):
        node.count(series("ib.rx_bytes", port="mlx5_0:1"), 40e9)
        node.count(series("ib.tx_bytes", port="mlx5_0:1"), 40e9)
        snap = node.step()
    src = FakeSource(snap, node.history)
    assert shown(NetworkPane(), src) == "mlx5_0:1"
    line = next(x for x in as_lines(NetworkPane().body(view_of(src), 78, 12)) if "mlx5_0:1" in x)
    assert "400 Gb/s" in line and "37.3G/s" in line


def test_retransmissions_turn_to_warnings() -> None:
    node = Node()
    src = FakeSource(node.run(30), node.history)
    node.counters["tcp.retrans_segs"] += 200
    src.snap = node.step()
    assert "tcp retrans ▲" in as_lines(NetworkPane().body(view_of(src), 78, 10))[-1]
