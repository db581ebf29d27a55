"""Filesystems and disks."""

from __future__ import annotations

import pytest

from tests.engine.rules.scene import Scene, values
from tests.fakes.source import FakeRun


def room(s: Scene, avail: float, total: float = 100e9, mount: str = "/data") -> Scene:
    return s.set(
        {f"fs.used_bytes{{mount={mount}}}": total - avail, f"fs.avail_bytes{{mount={mount}}}": avail}
    )


def test_levels_of_a_filling_disk() -> None:
    s = Scene()
    room(s, 11e9).go(2)
    s.quiet("disk-fill")
    room(s, 9e9).go(2)
    a = s.alert("disk-fill")
    assert (a.severity, a.entity) == ("warning", "/data")
    room(s, 1e9).go(2)
    assert s.alert("disk-fill").severity == "critical"
    room(s, 11e9).go(60)
    assert s.alert("disk-fill").state == "firing"
    room(s, 50e9).go(60)
    assert s.alert("disk-fill").state == "closed"


def test_two_checkpoints_must_fit() -> None:
    s = Scene()
    run = FakeRun_in_data(s)
    run.event("checkpoint", "saved", 100, ok=True, bytes=20 * 10**9)
    room(s, 30e9).go(2)
    a = s.alert("disk-fill")
    assert a.severity == "critical"
    assert values(a)["Checkpoints that still fit"] == 1


def FakeRun_in_data(s: Scene) -> FakeRun:  # noqa: N802
    from dataclasses import replace

    run = s.run()
    run.now = replace(run.now, directory="/data/runs/run-1")
    run.publish()
    return run


def test_time_to_full_fires_before_the_level() -> None:
    s = Scene(10.0)
    for i in range(300):  # 50 minutes, 10 GB/h
        room(s, 60e9 - i * 10e9 / 360)
        s.go(10)
    a = s.alert("disk-fill")
    assert a.severity == "warning"
    eta = values(a)["Time to full"]
    assert isinstance(eta, float)
    assert 0.8 * 5.1 * 3600 < eta < 1.2 * 5.2 * 3600


def test_a_file_written_and_deleted_is_no_trend() -> None:
    s = Scene(10.0)
    for i in range(300):
        room(s, 60e9 - (20e9 if 100 < i < 130 else 0) - (i % 5) * 1e7)
        s.go(10)
    s.quiet("disk-fill")


@pytest.mark.parametrize(
    ("change", "mount"),
    [
        ({"fs.type{mount=/data}": "squashfs"}, "/data"),
        ({"fs.readonly{mount=/data}": 1}, "/data"),
        ({}, "/dev/shm"),
    ],
)
def test_what_is_full_by_design_is_not_told(change: dict[str, object], mount: str) -> None:
    s = Scene()
    s.set({f"fs.readonly{{mount={mount}}}": 0, **change})  # type: ignore[dict-item]
    room(s, 0, mount=mount).go(5)
    s.quiet("disk-fill")


def test_a_tmpfs_is_judged_by_level_only() -> None:
    s = Scene(10.0)
    s.set({"fs.type{mount=/data}": "tmpfs"})
    for i in range(300):
        room(s, 60e9 - i * 10e9 / 360)
        s.go(10)
    s.quiet("disk-fill")
    room(s, 1e9).go(10)
    assert s.alert("disk-fill").severity == "critical"


def test_a_mount_that_is_gone_clears() -> None:
    s = Scene()
    room(s, 1e9, mount="/usb")
    s.set({"fs.readonly{mount=/usb}": 0}).go(2)
    assert s.alert("disk-fill").entity == "/usb"
    for key in [k for k in s.source.raw if "/usb" in k]:
        del s.source.raw[key]
    s.go(60)
    assert s.alert("disk-fill").state == "closed"


def test_values_that_cannot_be_read_do_not_clear() -> None:
    s = Scene()
    room(s, 1e9).go(2)
    s.set({"fs.avail_bytes{mount=/data}": None}).go(100)
    assert s.alert("disk-fill").state == "firing"


def test_inodes() -> None:
    s = Scene()
    s.set({"fs.inodes_free{mount=/data}": 5e4}).go(2)
    assert s.alert("inode-fill").severity == "warning"
    s = Scene()
    s.set({"fs.inodes{mount=/data}": None, "fs.inodes_free{mount=/data}": None}).go(2)
    s.quiet("inode-fill")


def test_read_only_is_told_when_it_turns_and_once() -> None:
    s = Scene()
    s.set(
        {"fs.readonly{mount=/cd}": 1, "fs.used_bytes{mount=/cd}": 1.0, "fs.avail_bytes{mount=/cd}": 1.0}
    ).go(5)
    s.quiet("fs-readonly")
    s.set({"fs.readonly{mount=/data}": 1}).go()
    s.kernel("fs-readonly", "EXT4-fs (sda1): Remounting filesystem read-only", device="sda1")
    a = s.alert("fs-readonly")
    assert (a.entity, a.count, a.severity) == ("/data", 1, "critical")
    s.go(5)
    assert s.alert("fs-readonly").open


def test_a_hung_mount() -> None:
    s = Scene()
    s.set({"fs.hung{mount=/nfs}": 1, "fs.device{mount=/nfs}": "server:/x"}).go(8)
    s.quiet("fs-hung")
    s.go(5)
    a = s.alert("fs-hung")
    assert (a.severity, a.entity) == ("critical", "/nfs")
    s.set({"fs.hung{mount=/nfs}": 0}).go(60)
    assert s.alert("fs-hung").state == "closed"


def slow(s: Scene, disk: str, iops: float, ms: float) -> Scene:
    for name in ("reads", "writes", "read_ms", "write_ms", "busy_ms"):
        s.source.raw.setdefault(f"disk.{name}{{disk={disk}}}", 0)
    s.source.raw.setdefault(f"disk.in_flight{{disk={disk}}}", 0)
    return s.rate({f"disk.reads{{disk={disk}}}": iops, f"disk.read_ms{{disk={disk}}}": iops * ms})


def test_latency_over_two_minutes() -> None:
    s = Scene()
    slow(s, "sda", 50, 200).go(110)
    s.quiet("disk-latency")
    s.go(20)
    assert values(s.alert("disk-latency"))["Mean time"] == pytest.approx(200)


@pytest.mark.parametrize(("disk", "iops", "ms"), [("sda", 2, 500), ("sda", 50, 60), ("nvme0n1", 50, 15)])
def test_idle_or_usual_disks_are_not_slow(disk: str, iops: float, ms: float) -> None:
    s = Scene()
    slow(s, disk, iops, ms).go(200)
    s.quiet("disk-latency")


def test_nvme_is_slow_earlier() -> None:
    s = Scene()
    slow(s, "nvme0n1", 50, 30).go(150)
    assert s.alert("disk-latency").entity == "nvme0n1"


def test_a_busy_disk_is_a_note_and_nvme_none() -> None:
    s = Scene(5.0)
    slow(s, "nvme0n1", 100, 1)
    s.rate({"disk.busy_ms{disk=sda}": 1000, "disk.busy_ms{disk=nvme0n1}": 1000}).go(700)
    a = s.alert("disk-util")
    assert (a.severity, a.entity) == ("info", "sda")


def test_io_pressure() -> None:
    s = Scene()
    s.set({"pressure.io.some_avg60_pct": 50.0}).go(10)
    assert s.alert("psi-io").severity == "warning"


@pytest.mark.parametrize(("psi", "fires"), [(None, True), (30.0, True), (2.0, False)])
def test_iowait_is_believed_with_pressure_or_without_psi(psi: float | None, fires: bool) -> None:
    s = Scene(5.0)
    s.set({"pressure.io.some_avg60_pct": psi})
    s.rate({"cpu.iowait_ticks": 500, "cpu.idle_ticks": 280}).go(700)
    assert bool(s.found("iowait")) == fires
