"""Link facts: speed, carrier, hardware or not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.probes.links import SPEED_EVERY, LinksProbe, parse_speed
from dctop.probes.nics import MAX_NICS
from tests.fakes.nodes import check_declared, write_tree


def nic(root: Path, name: str, hardware: bool = True, **files: str) -> None:
    folder = f"class/net/{name}"
    content = {"ifindex": "3\n", "operstate": "up\n", "speed": "25000\n", **files}
    write_tree(root, {f"{folder}/{k}": v for k, v in content.items()})
    if hardware:
        (root / folder / "device").mkdir(exist_ok=True)


def facts(probe: LinksProbe, name: str) -> tuple[object, ...]:
    values = probe.read().values
    return tuple(values[f"net.{m}{{nic={name}}}"] for m in ("speed_mbps", "up", "virtual"))


def test_a_link_with_hardware(tmp_path: Path) -> None:
    nic(tmp_path, "eth0")
    assert facts(LinksProbe("/proc", tmp_path), "eth0") == (25000, 1, 0)


@pytest.mark.parametrize("speed", ["-1\n", "0\n", "4294967295\n", "", "x"])
def test_a_speed_the_driver_does_not_know_is_missing(tmp_path: Path, speed: str) -> None:
    nic(tmp_path, "eth0", speed=speed)
    assert facts(LinksProbe("/proc", tmp_path), "eth0") == (None, 1, 0)


@pytest.mark.parametrize(
    ("operstate", "carrier", "up"),
    [
        ("up", "1", 1), ("down", "0", 0), ("lowerlayerdown", "0", 0), ("dormant", "1", 0),
        ("notpresent", "0", 0), ("unknown", "1", 1), ("unknown", "0", 0),
        ("unknown", "", None), ("", "", None),
    ],
)  # fmt: skip
def test_the_state_of_a_link(tmp_path: Path, operstate: str, carrier: str, up: int | None) -> None:
    nic(tmp_path, "eth0", operstate=operstate, carrier=carrier)
    assert facts(LinksProbe("/proc", tmp_path), "eth0")[1] == up


def test_made_up_speeds_of_virtual_interfaces_are_not_believed_but_a_bonds_is(tmp_path: Path) -> None:
    nic(tmp_path, "veth1", hardware=False, speed="10000\n")
    nic(tmp_path, "bond0", hardware=False, speed="50000\n")
    (tmp_path / "class/net/bond0/bonding").mkdir()
    (tmp_path / "class/net/bonding_masters").write_text("bond0\n")
    probe = LinksProbe("/proc", tmp_path)
    assert facts(probe, "veth1") == (None, 1, 1)
    assert facts(probe, "bond0") == (50000, 1, 1)
    assert not any("bonding_masters" in key for key in probe.read().values)


def test_speed_is_asked_for_now_and_then_and_at_once_when_the_link_changes(tmp_path: Path) -> None:
    nic(tmp_path, "eth0")
    probe = LinksProbe("/proc", tmp_path)
    probe.read()
    nic(tmp_path, "eth0", speed="10000\n")
    assert facts(probe, "eth0")[0] == 25000
    nic(tmp_path, "eth0", speed="10000\n", operstate="down\n")
    assert facts(probe, "eth0")[:2] == (10000, 0)
    nic(tmp_path, "eth0", speed="1000\n", operstate="down\n")
    assert [facts(probe, "eth0")[0] for _ in range(SPEED_EVERY)][-1] == 1000


def test_an_interface_made_anew_under_the_same_name_is_looked_at_again(tmp_path: Path) -> None:
    nic(tmp_path, "x0", hardware=False)
    probe = LinksProbe("/proc", tmp_path)
    assert facts(probe, "x0") == (None, 1, 1)
    nic(tmp_path, "x0", hardware=True, ifindex="9\n")
    assert facts(probe, "x0") == (25000, 1, 0)


def test_of_a_crowd_the_same_interfaces_are_followed_as_for_traffic(tmp_path: Path) -> None:
    for i in range(MAX_NICS):
        nic(tmp_path, f"veth{i}", hardware=False)
    nic(tmp_path, "eth0")
    values = LinksProbe("/proc", tmp_path).read().values
    assert {k for k in values if k.startswith("net.up")} == {"net.up{nic=eth0}"}


def test_a_node_without_sysfs_says_so(tmp_path: Path) -> None:
    sample = LinksProbe("/proc", tmp_path / "none").read()
    assert not sample.values and "class/net" in sample.problems[0]


def test_every_declared_series_with_infiniband_and_without(tmp_path: Path) -> None:
    nic(tmp_path, "eth0")
    port = "class/infiniband/mlx5_0/ports/1"
    write_tree(
        tmp_path,
        {
            f"{port}/state": "4: ACTIVE\n",
            f"{port}/rate": "400 Gb/sec (4X NDR)\n",
            f"{port}/counters/port_rcv_data": "1000\n",
            f"{port}/counters/port_xmit_data": "2000\n",
            f"{port}/counters/symbol_error": "1\n",
            f"{port}/counters/port_rcv_errors": "2\n",
            f"{port}/counters/link_downed": "3\n",
        },
    )
    sample = LinksProbe("/proc", tmp_path).read()
    check_declared(sample, full=True)
    assert sample.values["ib.rx_bytes{port=mlx5_0/1}"] == 4000


@given(st.binary(max_size=30))
def test_any_speed_is_a_number_or_none(data: bytes) -> None:
    speed = parse_speed(data)
    assert speed is None or (type(speed) is int and speed > 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to make network interfaces")
def test_a_real_virtual_link_goes_up_and_down() -> None:
    a, b = f"dct{os.getpid()}", f"dcu{os.getpid()}"
    made = subprocess.run(["ip", "link", "add", a, "type", "veth", "peer", "name", b])
    if made.returncode:
        pytest.skip("needs a kernel with veth interfaces")
    try:
        probe = LinksProbe()
        assert facts(probe, a) == (None, 0, 1)
        for name in (a, b):
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        carrier = Path(f"/sys/class/net/{a}/carrier")
        assert carrier.read_text() == "1\n"
        assert facts(probe, a)[2] == 1
    finally:
        subprocess.run(["ip", "link", "del", a], check=True)
    assert not any(a in key for key in probe.read().values)
