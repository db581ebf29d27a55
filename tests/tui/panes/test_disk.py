from __future__ import annotations

from dctop.probes.base import series
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S
from dctop.tui.panes.disk import DiskPane
from tests.fakes.screen import FakeSource, Node, as_lines, view_of


def source(ticks: int = 120, disks: int = 2, **changes: object) -> FakeSource:
    node = Node(disks=disks)
    node.changes = changes  # type: ignore[assignment]
    return FakeSource(node.run(ticks), node.history)


def test_golden_at_80x24() -> None:
    assert as_lines(DiskPane().body(view_of(source(), Look(unicode=False)), 38, 4)) == [
        "nvme0n1   r 1.05G/s w  174M/s  33%    ",
        "nvme1n1   r  536M/s w 86.8M/s  16%    ",
        "/         #####......  41% 58.9G free ",
        "/data     ##########.* 91%  354G free ",
    ]


def test_a_growing_filesystem_says_when_it_is_full() -> None:
    lines = as_lines(DiskPane().body(view_of(source()), 78, 4))
    data = next(line for line in lines if line.startswith("/data"))
    assert "+51.2M/s" in data and "■full in 1h58m" in data


def test_a_still_filesystem_says_nothing() -> None:
    still = {series("fs.used_bytes", mount=m): 10**11 for m in ("/", "/data")}
    text = " ".join(as_lines(DiskPane().body(view_of(source(**still)), 78, 4)))
    assert "full in" not in text


def test_hung_and_readonly_mounts_are_marked() -> None:
    src = source(**{series("fs.hung", mount="/data"): 1, series("fs.readonly", mount="/"): 1})
    rows = DiskPane().body(view_of(src), 78, 4)
    text = as_lines(rows)
    assert any("■hung" in line for line in text) and any(" ro" in line for line in text)
    assert any(style is S.CRIT for row in rows for _, style in row)


def test_the_fullest_filesystems_stay_when_there_is_no_room_for_all() -> None:
    many = {}
    for i in range(30):
        for key, value in (("used_bytes", i * 10**9), ("avail_bytes", (30 - i) * 10**9), ("hung", 0)):
            many[series(f"fs.{key}", mount=f"/m{i:02}")] = value
    lines = as_lines(DiskPane().body(view_of(source(**many)), 78, 6))
    assert any(line.startswith("/m29") for line in lines)
    assert not any(line.startswith("/m01") for line in lines)


def test_stacked_devices_are_not_counted_twice() -> None:
    extra = {series(f"disk.{k}", disk="dm-0"): 0 for k in ("read_bytes", "write_bytes", "in_flight")}
    src = source(**extra)
    assert "dm-0" not in " ".join(as_lines(DiskPane().body(view_of(src), 78, 6)))


def test_nodes_without_disks_say_so() -> None:
    node = Node(disks=0)
    snap = node.run(3)
    snap.labels = {}
    text = " ".join(as_lines(DiskPane().body(view_of(FakeSource(snap)), 78, 6)))
    assert "No block devices" in text
