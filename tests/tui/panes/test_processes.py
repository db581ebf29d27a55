from __future__ import annotations

from dctop.engine.metrics.model import Snapshot
from dctop.tui.draw.rows import S
from dctop.tui.intents import (
    ChooseSort,
    EditFilter,
    Notice,
    ReniceProcess,
    ShowProcess,
    SignalProcess,
)
from dctop.tui.panes.base import View
from dctop.tui.panes.processes import ProcessPane
from tests.fakes.screen import MI, FakeSource, Node, as_lines, check, make_process, view_of


def node_with(*processes: object) -> Node:
    node = Node(processes=0)
    node.table = list(processes)  # type: ignore[arg-type]
    return node


def setup(processes: int = 60) -> tuple[ProcessPane, FakeSource, Node, View]:
    node = Node(processes=processes)
    source = FakeSource(node.run(3), node.history)
    return ProcessPane(), source, node, view_of(source, focused=True)


def shown(pane: ProcessPane, view: View, w: int = 78, h: int = 11) -> list[int]:
    return [int(line[:7]) for line in as_lines(pane.body(view, w, h))[1:] if line[:7].strip()]


def snap_of(view: View) -> Snapshot:
    assert view.snap is not None
    return view.snap


def test_golden_at_80x24() -> None:
    node = node_with(
        make_process(1, name="init", cmdline="/sbin/init splash", rss_bytes=12 * MI, threads=1),
        make_process(2, user="mara", cmdline="/usr/bin/python3 train.py", rss_bytes=4096 * MI, state="R"),
        make_process(7, cmdline=None, name="kworker/0:1", rss_bytes=None, state="D", read_bytes=None),
    )
    node.table[1:] = [node.table[1]._replace(threads=31), node.table[2]._replace(write_bytes=None)]
    node.step()
    node.table[1] = node.table[1]._replace(cpu_ticks=node.table[1].cpu_ticks + 187, read_bytes=None)
    view = view_of(FakeSource(node.step(), node.history))
    rows = ProcessPane().body(view, 78, 5)
    check(rows, 78, 5)
    assert as_lines(rows) == [
        "    PID USER      CPU%▾ MEM%   RSS  THR S  RD/s  WR/s COMMAND                 ",
        "      2 mara        187  0.4 4.00G   31 R     -     - python3 train.py        ",
        "      1 root        0.0  0.0 12.0M    1 S     0     0 init splash             ",
        "      7 root        0.0    -     -    8 D     -     - [kworker/0:1]           ",
        " " * 78,
    ]
    assert rows[3][0][1] is S.WARN
    assert rows[2][0][1] is S.TEXT


def test_cpu_comes_first_and_idle_processes_by_memory() -> None:
    pane, _, _, view = setup()
    order = shown(pane, view, h=40)
    cpu = snap_of(view).process_cpu_pct
    busy = [pid for pid in order if pid in cpu]
    assert order[: len(busy)] == busy
    assert [cpu[p] for p in busy] == sorted((cpu[p] for p in busy), reverse=True)
    idle = [
        p.rss_bytes or 0 for pid in order[len(busy) :] for p in snap_of(view).frame.processes if p.pid == pid
    ]
    assert idle == sorted(idle, reverse=True)


def test_sorting_by_each_key_and_back() -> None:
    pane, _, _, view = setup()
    pane.set_sort("pid")
    assert shown(pane, view)[:3] == [1, 2, 3]
    pane.set_sort("pid")
    assert shown(pane, view)[:3] == [60, 59, 58]
    pane.act("process.sort_mem", view)
    assert shown(pane, view)[0] == 60
    pane.act("process.reverse", view)
    assert shown(pane, view)[0] == 7  # nothing readable comes first from below
    for sort in ("io", "gpu", "time", "threads", "user", "name", "cpu"):
        pane.set_sort(sort)
        assert pane.sort == sort and len(shown(pane, view)) == 10


def test_a_large_table_gives_the_same_order_as_a_complete_sort() -> None:
    pane, _, _, view = setup(3000)
    pane.set_sort("mem")
    table = sorted(snap_of(view).frame.processes, key=lambda p: p.rss_bytes or 0, reverse=True)
    assert shown(pane, view, h=41) == [p.pid for p in table[:40]]


def test_the_order_is_not_made_again_while_nothing_changed() -> None:
    pane, _, _, view = setup()
    pane.body(view, 78, 11)
    before = pane._order
    pane.body(view, 78, 11)
    assert pane._order is before


def test_cursor_keys_move_and_scroll() -> None:
    pane, _, _, view = setup()
    first = shown(pane, view)
    pane.act("process.down", view)
    assert pane.selected == (first[0], 1000 + first[0])
    for _ in range(12):
        pane.act("process.down", view)
    assert pane.selected is not None
    assert pane.selected[0] in shown(pane, view)
    pane.act("process.end", view)
    assert shown(pane, view)[-1] == pane.selected[0]
    pane.act("process.page_up", view)
    pane.act("process.home", view)
    assert shown(pane, view) == first
    assert pane.selected[0] == first[0]
    pane.act("process.up", view)
    assert pane.selected[0] == first[0]


def test_selection_stays_on_its_process_when_the_order_changes() -> None:
    pane, _, _, view = setup()
    pane.act("process.down", view)
    pane.act("process.down", view)
    chosen = pane.selected
    pane.set_sort("name")
    rows = pane.body(view, 78, 62)
    picked = [line for line, row in zip(as_lines(rows), rows) if row[0][1] is S.SELECT]
    assert pane.selected == chosen
    assert chosen is not None and [int(line[:7]) for line in picked] == [chosen[0]]


def test_an_ended_process_hands_the_selection_to_its_place() -> None:
    pane, source, node, view = setup()
    pane.set_sort("pid")
    for _ in range(5):
        pane.act("process.down", view)
    assert pane.selected == (5, 1005)
    node.table = [p for p in node.table if p.pid != 5]
    source.snap = node.step()
    view = view_of(source, focused=True)
    pane.body(view, 78, 11)
    assert pane.selected == (6, 1006)
    pane.act("process.down", view)
    assert pane.selected == (7, 1007)


def test_follow_keeps_the_process_in_view() -> None:
    pane, _, _, view = setup()
    pane.act("process.down", view)
    assert pane.selected is not None
    pid = pane.selected[0]
    pane.act("process.follow", view)
    pane.set_sort("cpu")
    assert pane.reverse
    assert pid in shown(pane, view)
    assert "follow" in "".join(t for t, _ in pane.title(view, 80)[0])


def test_filters_narrow_and_clear() -> None:
    pane, _, _, view = setup()
    pane.set_filter("pid<4")
    assert sorted(shown(pane, view)) == [1, 2, 3]
    assert "3/60" in "".join(t for t, _ in pane.title(view, 80)[1])
    pane.set_filter("nothing-like-this")
    assert "Nothing matches" in "".join(as_lines(pane.body(view, 78, 11)))
    pane.act("process.clear", view)
    assert len(shown(pane, view)) == 10
    pane.set_sort("pid")
    pane.act("process.down", view)
    pane.act("process.user", view)
    assert pane.user == "root"
    assert all(pid % 3 for pid in shown(pane, view))
    pane.act("process.user", view)
    assert pane.user is None


def test_tree_folds() -> None:
    pane, _, _, view = setup()
    pane.set_sort("pid")
    pane.act("process.tree", view)
    lines = as_lines(pane.body(view, 110, 11))
    assert "├─ work2 " in lines[2]
    pane.act("process.down", view)
    pane.act("process.collapse", view)
    lines = as_lines(pane.body(view, 110, 11))
    assert "▸ work1 " in lines[1] and "(+59)" in lines[1]
    assert lines[2].strip() == ""


def test_intents() -> None:
    pane, _, _, view = setup()
    assert isinstance(pane.act("process.kill", view), Notice)
    pane.set_sort("pid")
    pane.act("process.down", view)
    assert pane.act("process.kill", view) == SignalProcess(1, 1001, "work1")
    assert pane.act("process.nice_up", view) == ReniceProcess(1, 1001, "work1", 1)
    assert pane.act("process.nice_down", view) == ReniceProcess(1, 1001, "work1", -1)
    assert pane.act("process.detail", view) == ShowProcess(1, 1001)
    assert pane.act("process.filter", view) == EditFilter("")
    sort = pane.act("process.sort", view)
    assert isinstance(sort, ChooseSort) and sort.current == "pid"


def test_readonly_and_replay_touch_nothing() -> None:
    pane, source, _, view = setup()
    pane.act("process.down", view)
    locked = view_of(source, readonly=True)
    assert isinstance(pane.act("process.kill", locked), Notice)
    assert isinstance(pane.act("process.nice_up", locked), Notice)
    source.mode = "replay"
    assert isinstance(pane.act("process.kill", view_of(source)), Notice)


def test_clicks_select_and_sort() -> None:
    pane, _, _, view = setup()
    order = shown(pane, view)
    pane.click(3, 2, view)
    assert pane.selected == (order[1], 1000 + order[1])
    assert pane.click(3, 2, view, double=True) == ShowProcess(order[1], 1000 + order[1])
    pane.click(2, 0, view)
    assert pane.sort == "pid" and not pane.reverse
    pane.click(2, 0, view)
    assert pane.reverse


def test_scrolling_ends_following_and_stops_at_the_ends() -> None:
    pane, _, _, view = setup()
    pane.body(view, 78, 11)
    assert not pane.scroll(-3)
    assert pane.scroll(3)
    assert pane.scroll(1000)
    assert not pane.scroll(1)


def test_gpu_and_job_columns_appear_when_needed_and_stay() -> None:
    node = Node(processes=0, gpus=1)
    node.table = [make_process(9, gpu_mem_bytes=72 * 1024 * MI, job="slurm:77")]
    source = FakeSource(node.run(2), node.history)
    pane = ProcessPane()
    head, line = as_lines(pane.body(view_of(source), 118, 4))[:2]
    assert "GMEM" in head and "SM%" in head and "CONTAINER/JOB" in head
    assert "72.0G" in line and "slurm:77" in line
    node.table = [make_process(10)]
    source.snap = node.step()
    assert "CONTAINER/JOB" in as_lines(pane.body(view_of(source), 118, 4))[0]


def test_columns_give_way_down_to_the_command() -> None:
    pane, _, _, view = setup()
    heads = {w: as_lines(pane.body(view, w, 5))[0].split() for w in (28, 38, 52, 78, 118)}
    assert heads[28] == ["PID", "CPU%▾", "COMMAND"]
    assert heads[38] == ["PID", "CPU%▾", "RSS", "S", "COMMAND"]
    assert "USER" in heads[52] and "RD/s" not in heads[52]
    assert "RD/s" in heads[78] and "TIME" in heads[118]
