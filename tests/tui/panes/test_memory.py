from __future__ import annotations

from dctop.tui.draw.look import Look
from dctop.tui.panes.memory import MemoryPane
from tests.fakes.screen import GI, FakeSource, Node, as_lines, view_of


def source(ticks: int = 90, **changes: object) -> tuple[FakeSource, Node]:
    node = Node()
    node.changes = changes  # type: ignore[assignment]
    return FakeSource(node.run(ticks), node.history), node


def test_golden_at_80x24() -> None:
    src, _ = source()
    assert as_lines(MemoryPane().body(view_of(src), 38, 4)) == [
        "ram   █▊·······  20%  198G of 1007 GiB",
        "cache █████▋···  63%  630G reclaimable",
        "swap  ·········    -     0 none       ",
        "shm   ▎········   2% 12.0G of 504 GiB ",
    ]


def test_a_container_limit_comes_first_and_names_the_host() -> None:
    src, _ = source(**{
        "container.memory_limit_bytes": 64 * GI, "container.memory_bytes": 62 * GI,
        "container.inactive_file_bytes": 1 * GI,
    })  # fmt: skip
    pane = MemoryPane()
    lines = as_lines(pane.body(view_of(src), 78, 6))
    assert lines[0].startswith("limit ") and "■ 95%" in lines[0]
    assert "limit 64 GiB (host 1007 GiB)" in lines[5]
    left, right = pane.title(view_of(src), 60)
    assert "61.0G/64.0G" in "".join(t for t, _ in left)
    assert right[0][0] == "■ 95%"


def test_oom_kills_are_those_since_the_start() -> None:
    src, node = source()
    pane = MemoryPane()
    assert "oom kills 0" in "".join(as_lines(pane.body(view_of(src), 118, 9)))
    node.counters["memory.oom_kills"] = 2
    src.snap = node.step()
    assert "oom kills ■2" in "".join(as_lines(pane.body(view_of(src), 118, 9)))


def test_numa_nodes_have_a_bar_each() -> None:
    nodes = {}
    for n, free in (("0", 100), ("1", 400)):
        nodes[f"memory.node.total_bytes{{node={n}}}"] = 503 * GI
        nodes[f"memory.node.free_bytes{{node={n}}}"] = free * GI
        nodes[f"memory.node.file_bytes{{node={n}}}"] = 10 * GI
    src, _ = source(**nodes)
    lines = as_lines(MemoryPane().body(view_of(src), 130, 14))
    assert any(line.startswith("node0") and " 78%" in line for line in lines)
    assert any(line.startswith("node1") and " 18%" in line for line in lines)


def test_ascii() -> None:
    src, _ = source()
    lines = as_lines(MemoryPane().body(view_of(src, Look(unicode=False)), 60, 6))
    assert all(line.isascii() for line in lines)
    assert lines[0].startswith("ram   #")
