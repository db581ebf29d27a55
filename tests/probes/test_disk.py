"""Block device counters in all the formats kernels have had."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.probes.disk import DiskProbe, parse_disk
from tests.fakes.nodes import check_declared, write_tree

LINE = "{0:4d} {1:7d} {2} 100 1 2048 30 200 2 4096 60 3 70 90{3}\n"
NEW, NEWER = " 10 0 80 5", " 10 0 80 5 6 7"


def node(root: Path, *names: str, whole: tuple[str, ...] | None = None, tail: str = NEWER) -> DiskProbe:
    text = "".join(LINE.format(8, i, name, tail) for i, name in enumerate(names))
    write_tree(root, {"proc/diskstats": text})
    for name in whole or ():
        (root / "sys/block" / name.replace("/", "!")).mkdir(parents=True, exist_ok=True)
    return DiskProbe(root / "proc", root / "sys")


def disks(probe: DiskProbe) -> set[str]:
    return {k.partition("{disk=")[2][:-1] for k in probe.read().values}


@pytest.mark.parametrize("tail", ["", NEW, NEWER, NEWER + " 8 9"])
def test_the_formats_of_14_18_20_and_later_fields(tmp_path: Path, tail: str) -> None:
    probe = node(tmp_path, "sda", whole=("sda",), tail=tail)
    sample = probe.read()
    assert sample.values == {
        "disk.reads{disk=sda}": 100,
        "disk.read_bytes{disk=sda}": 2048 * 512,
        "disk.read_ms{disk=sda}": 30,
        "disk.writes{disk=sda}": 200,
        "disk.write_bytes{disk=sda}": 4096 * 512,
        "disk.write_ms{disk=sda}": 60,
        "disk.in_flight{disk=sda}": 3,
        "disk.busy_ms{disk=sda}": 70,
    }
    check_declared(sample, full=True)
    assert not sample.problems
    probe.close()


def test_whole_devices_only(tmp_path: Path) -> None:
    whole = ("sda", "nvme0n1", "nvme0c0n1", "md0", "dm-0", "loop0", "ram0", "sr0", "vda", "cciss/c0d0")
    parts = ("sda1", "nvme0n1p1", "md0p1", "vda2", "cciss/c0d0p1")
    probe = node(tmp_path, *whole, *parts, whole=whole)
    assert disks(probe) == {"sda", "nvme0n1", "md0", "dm-0", "vda", "cciss/c0d0"}


def test_without_sysfs_partitions_are_known_by_their_names(tmp_path: Path) -> None:
    probe = node(
        tmp_path, "sda", "sda1", "nvme0n1", "nvme0n1p2", "mmcblk0", "mmcblk0p1", "dm-1", "xvda1", "md127"
    )
    assert disks(probe) == {"sda", "nvme0n1", "mmcblk0", "dm-1", "md127"}


def test_a_disk_that_is_plugged_in_and_one_that_is_pulled(tmp_path: Path) -> None:
    probe = node(tmp_path, "sda", whole=("sda",))
    assert disks(probe) == {"sda"}
    node(tmp_path, "sda", "sdb", whole=("sdb",))
    assert disks(probe) == {"sda", "sdb"}
    node(tmp_path, "sdb")
    assert disks(probe) == {"sdb"}


def test_zram_is_shown_once_it_is_used(tmp_path: Path) -> None:
    probe = node(tmp_path, "zram0", whole=("zram0",))
    assert disks(probe) == {"zram0"}
    text = (tmp_path / "proc/diskstats").read_text().replace("zram0 100", "zram0 0").replace(" 200 ", " 0 ")
    write_tree(tmp_path, {"proc/diskstats": text})
    assert disks(probe) == set()


def test_a_line_that_is_not_understood_is_missing_and_said(tmp_path: Path) -> None:
    probe = node(tmp_path, "sda", "sdb", whole=("sda", "sdb"))
    text = (tmp_path / "proc/diskstats").read_text().splitlines()
    for bad in (text[1].replace(" 200 ", " x "), text[1][:30], text[1].replace("4096", "-4096")):
        write_tree(tmp_path, {"proc/diskstats": f"{text[0]}\n{bad}\n"})
        sample = probe.read()
        assert sample.values["disk.reads{disk=sda}"] == 100
        assert {v for k, v in sample.values.items() if "sdb" in k} == {None}
        assert len(sample.problems) == 1 and "sdb" in sample.problems[0]


@pytest.mark.parametrize("strange", ["-1", "4294967295"])
def test_requests_in_flight_below_zero_are_unknown(strange: str) -> None:
    fields = f"8 0 sda 100 1 2048 30 200 2 4096 60 {strange} 70 90".encode().split()
    numbers = parse_disk(fields)
    assert numbers is not None and numbers[6] is None and numbers[7] == 70


def test_a_missing_file_is_a_problem_not_an_end(tmp_path: Path) -> None:
    sample = DiskProbe(tmp_path, tmp_path).read()
    assert not sample.values and "diskstats" in sample.problems[0]


@given(
    st.binary(max_size=300)
    | st.lists(st.text("0123456789 -sdaxp1\n", max_size=90)).map(lambda t: "".join(t).encode())
)
def test_any_content_is_numbers_or_none(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    root = tmp_path_factory.mktemp("d")
    (root / "diskstats").write_bytes(b"   8       0 sda " + data)
    sample = DiskProbe(root, root).read()
    check_declared(sample)
    assert all(v is None or (type(v) is int and v >= 0) for v in sample.values.values())


def test_this_nodes_disks_read_as_psutil_says() -> None:
    probe = DiskProbe()
    before = psutil.disk_io_counters(perdisk=True, nowrap=False)
    values = probe.read().values
    after = psutil.disk_io_counters(perdisk=True, nowrap=False)
    names = {k.partition("{disk=")[2][:-1] for k in values}
    assert names, "this node has no disk"
    for name in names:
        low, high = before[name], after[name]
        assert low.read_bytes <= int(values[f"disk.read_bytes{{disk={name}}}"] or 0) <= high.read_bytes
        assert low.write_count <= int(values[f"disk.writes{{disk={name}}}"] or 0) <= high.write_count
        assert low.busy_time <= int(values[f"disk.busy_ms{{disk={name}}}"] or 0) <= high.busy_time
    probe.close()
