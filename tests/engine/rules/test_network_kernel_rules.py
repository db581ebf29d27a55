"""Links, and what the kernel says."""

from __future__ import annotations

import pytest

from dctop.engine.rules.xids import XIDS
from tests.engine.rules.scene import Scene, values

ETH = "{nic=eth0}"


def test_a_few_errors_in_ten_minutes() -> None:
    s = Scene(5.0)
    s.rate({f"net.rx_packets{ETH}": 1000}).go(100)
    s.quiet("nic-errors")
    s.set({f"net.rx_errors{ETH}": 6}).go(20)
    assert s.alert("nic-errors").entity == "eth0"
    s.go(800)
    assert s.alert("nic-errors").state == "closed"


def test_multicast_drops_are_none() -> None:
    s = Scene(5.0)
    s.rate({f"net.rx_packets{ETH}": 1000, f"net.rx_drops{ETH}": 5}).go(700)
    s.quiet("nic-errors")
    s.rate({f"net.rx_drops{ETH}": 50}).go(600)
    assert "ring" in s.alert("nic-errors").remedies[0].text


def test_drops_of_little_traffic_are_none() -> None:
    s = Scene(5.0)
    s.rate({f"net.rx_packets{ETH}": 5, f"net.rx_drops{ETH}": 2}).go(700)
    s.quiet("nic-errors")


@pytest.mark.parametrize(
    ("again", "out", "severity"),
    [(3, 100, "warning"), (10, 100, "critical"), (5, 10, None), (0.5, 100, None)],
)
def test_retransmissions(again: float, out: float, severity: str | None) -> None:
    s = Scene()
    s.rate({"tcp.retrans_segs": again, "tcp.out_segs": out}).go(120)
    assert [a.severity for a in s.found("tcp-retrans")] == ([severity] if severity else [])


def test_a_full_link() -> None:
    s = Scene()
    s.rate({f"net.rx_bytes{ETH}": 1.2e9}).go(70)
    assert s.alert("nic-saturated").entity == "eth0"


def test_virtual_links_are_neither_full_nor_down() -> None:
    s = Scene()
    s.set({f"net.virtual{ETH}": 1})
    s.rate({f"net.rx_bytes{ETH}": 5e9}).go(100)
    s.set({f"net.up{ETH}": 0}).go(5)
    s.quiet("nic-saturated")
    s.quiet("link-down-slow")


def test_a_link_that_falls_and_comes_back_slower() -> None:
    s = Scene()
    s.go(3)
    s.set({f"net.up{ETH}": 0, f"net.speed_mbps{ETH}": None}).go(3)
    a = s.alert("link-down-slow")
    assert (a.severity, a.title) == ("critical", "eth0: up -> down")
    s.set({f"net.up{ETH}": 1, f"net.speed_mbps{ETH}": 1000}).go(3)
    a = s.alert("link-down-slow")
    assert (a.count, a.title) == (2, "eth0: 10000 Mbit/s -> 1000 Mbit/s")


def test_a_link_that_was_never_up_is_not_told() -> None:
    s = Scene()
    s.set({f"net.up{ETH}": 0}).go(5)
    s.quiet("link-down-slow")


def test_infiniband_ports_count() -> None:
    s = Scene()
    s.set({"ib.up{port=mlx5_0/1}": 1, "ib.rate_gbps{port=mlx5_0/1}": 400}).go(2)
    s.set({"ib.up{port=mlx5_0/1}": 0}).go(2)
    assert s.alert("link-down-slow").entity == "mlx5_0/1"


@pytest.mark.parametrize(
    ("code", "severity"),
    [("79", "critical"), ("48", "critical"), ("31", "warning"), ("63", "info"), ("999", "warning")],
)
def test_xid_severities(code: str, severity: str) -> None:
    s = Scene()
    s.go()
    s.kernel("xid", f"NVRM: Xid (PCI:0000:3b:00): {code}, pid=77", code=code, pci="0000:3b:00", pid="77")
    a = s.alert("xid")
    assert (a.severity, a.entity) == (severity, "0000:3b:00")
    assert code in a.title


def test_a_fatal_xid_explains_the_stall_and_a_note_does_not() -> None:
    for code, root in (("79", "xid"), ("63", None)):
        s = Scene()
        run = s.run()
        s.train(run, 100)
        s.kernel("xid", "NVRM: Xid", code=code, pci="0000:3b:00")
        s.go(40)
        assert s.alert("training-stalled").suppressed_by == root


def test_every_action_has_a_remedy() -> None:
    for code in XIDS:
        s = Scene()
        s.kernel("xid", "NVRM: Xid", code=str(code), pci="p")
        assert s.alert("xid").remedies


def test_a_gpu_off_the_bus_and_a_switch_error() -> None:
    s = Scene()
    s.kernel("other", "NVRM: GPU has fallen off the bus", about="gpu-lost", pci="0000:3b:00")
    assert values(s.alert("xid"))["Action"] == "reboot"
    s = Scene()
    s.kernel("other", "SXid", about="sxid", code="20034", pci="0000:c1:00", severity="Fatal")
    assert s.alert("xid").severity == "critical"


@pytest.mark.parametrize(
    ("kind", "fields", "severity", "entity"),
    [
        ("hung-task", {"task": "kworker", "pid": "5", "seconds": "120"}, "critical", "node"),
        ("soft-lockup", {"cpu": "3"}, "critical", "node"),
        ("mce", {"severity": "corrected"}, "info", "node"),
        ("mce", {"cpu": "1"}, "critical", "node"),
        ("io-error", {"device": "sda"}, "critical", "sda"),
        ("io-error", {"server": "nas"}, "critical", "nas"),
        ("other", {"about": "kernel-fault"}, "critical", "node"),
    ],
)
def test_kernel_trouble(kind: str, fields: dict[str, str], severity: str, entity: str) -> None:
    s = Scene()
    s.kernel(kind, "the line", **fields)
    a = s.alert("kernel-hung")
    assert (a.severity, a.entity) == (severity, entity)


def test_without_the_kernel_log_these_rules_are_unknown() -> None:
    s = Scene()
    s.set({"kernel.records": None}).go(2)
    assert s.unknown("xid") == "the metric kernel.records"
    assert s.unknown("kernel-hung") == "the metric kernel.records"


def test_a_clock_that_never_was_synchronised_is_a_virtual_machine() -> None:
    s = Scene(10.0)
    s.set({"clock.synced": 0, "clock.max_error_us": 16_000_000}).go(1000)
    s.quiet("clock-skew")


def test_a_clock_that_lost_its_source_is_a_note() -> None:
    s = Scene(10.0)
    s.go(20)
    s.set({"clock.synced": 0, "clock.max_error_us": 16_000_000}).go(200)
    a = s.alert("clock-skew")
    assert (a.severity, a.title) == ("info", "The clock is no longer synchronised")


def test_a_growing_offset_is_a_warning() -> None:
    s = Scene(10.0)
    for i in range(100):
        s.set({"clock.offset_us": 40_000.0 + i * 1000}).go(10)
    assert s.alert("clock-skew").severity == "warning"
