"""Traffic counters: names, formats, crowds of interfaces."""

from __future__ import annotations

import socket
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.probes.network import NetworkProbe, find_pair, parse_dev, split_dev
from dctop.probes.nics import MAX_NICS, followed
from tests.fakes.nodes import check_declared, write_tree

HEAD = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls"
    " carrier compressed\n"
)
SNMP = (
    "Ip: Forwarding DefaultTTL\nIp: 2 64\n"
    "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens CurrEstab InSegs OutSegs RetransSegs InErrs\n"
    "Tcp: 1 200 120000 -1 24 3 3103 1915 17 0\nUdp: InDatagrams\nUdp: 5\n"
)
NETSTAT = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 6 7\nIpExt: InNoRoutes\nIpExt: 0\n"


def line(name: str, start: int = 1, gap: str = " ") -> str:
    return f"{name:>6}:{gap}" + " ".join(str(start + i) for i in range(16)) + "\n"


def node(root: Path, *lines: str, snmp: str = SNMP, netstat: str = NETSTAT) -> NetworkProbe:
    write_tree(root, {"net/dev": HEAD + "".join(lines), "net/snmp": snmp, "net/netstat": netstat})
    return NetworkProbe(root)


def test_every_declared_series(tmp_path: Path) -> None:
    sample = node(tmp_path, line("eth0")).read()
    assert sample.values == {
        "net.rx_bytes{nic=eth0}": 1,
        "net.rx_packets{nic=eth0}": 2,
        "net.rx_errors{nic=eth0}": 3,
        "net.rx_drops{nic=eth0}": 4,
        "net.tx_bytes{nic=eth0}": 9,
        "net.tx_packets{nic=eth0}": 10,
        "net.tx_errors{nic=eth0}": 11,
        "net.tx_drops{nic=eth0}": 12,
        "tcp.retrans_segs": 17,
        "tcp.out_segs": 1915,
        "tcp.in_segs": 3103,
        "tcp.established": 3,
        "tcp.listen_overflows": 6,
    }
    check_declared(sample, full=True)


@pytest.mark.parametrize(
    "name", ["eth0", "eth0.100", "bond0.4094", "br-1a2b3c", "wg+x", "enp65s0f0np0", "a:b"]
)
def test_names_and_counters_glued_to_the_colon(tmp_path: Path, name: str) -> None:
    values = node(tmp_path, line(name, 4294967296, gap="")).read().values
    assert values[f"net.rx_bytes{{nic={name}}}"] == 4294967296


def test_an_interface_that_comes_and_one_that_goes(tmp_path: Path) -> None:
    probe = node(tmp_path, line("lo"), line("eth0"))
    assert "net.rx_bytes{nic=eth0}" in probe.read().values
    node(tmp_path, line("lo"), line("eth1"))
    values = probe.read().values
    assert "net.rx_bytes{nic=eth1}" in values and "net.rx_bytes{nic=eth0}" not in values


def test_of_thousands_of_guest_interfaces_the_hosts_own_are_followed(tmp_path: Path) -> None:
    veths = [line(f"veth{i:07x}") for i in range(3000)]
    sample = node(tmp_path, line("lo"), *veths, line("eth0"), line("ib0")).read()
    nics = {k.partition("{nic=")[2][:-1] for k in sample.values if "{nic=" in k}
    assert nics == {"lo", "eth0", "ib0"}
    assert sample.problems == (f"3000 interfaces are not followed (at most {MAX_NICS} are)",)


def test_a_crowd_of_other_interfaces_is_cut_off() -> None:
    names = [f"eth{i}" for i in range(200)]
    assert followed(names) == names[:MAX_NICS]
    assert followed(["veth1", "lo"]) == ["veth1", "lo"], "no crowd, no choice"


def test_fields_are_found_by_name_when_a_kernel_adds_one(tmp_path: Path) -> None:
    probe = node(tmp_path, line("lo"))
    probe.read()
    snmp = SNMP.replace("MaxConn ", "MaxConn New ").replace(" -1 ", " -1 555 ")
    node(tmp_path, line("lo"), snmp=snmp)
    assert probe.read().values["tcp.retrans_segs"] == 17


@pytest.mark.parametrize(
    "snmp", ["", "Tcp: OutSegs\n", "Tcp: OutSegs\nTcp:\n", "Tcp: InSegs OutSegs\nTcp: x\n", "garbage"]
)
def test_truncated_tables_are_missing(tmp_path: Path, snmp: str) -> None:
    sample = node(tmp_path, line("lo"), snmp=snmp).read()
    assert {v for k, v in sample.values.items() if k.startswith("tcp.") and "listen" not in k} == {None}
    assert sample.values["tcp.listen_overflows"] == 6


def test_missing_files_are_problems(tmp_path: Path) -> None:
    sample = NetworkProbe(tmp_path).read()
    assert len(sample.problems) == 3
    assert set(sample.values.values()) == {None}
    check_declared(sample)


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_content_is_numbers_or_none(
    tmp_path_factory: pytest.TempPathFactory, dev: bytes, table: bytes
) -> None:
    root = tmp_path_factory.mktemp("n")
    (root / "net").mkdir()
    (root / "net/dev").write_bytes(HEAD.encode() + dev + b"\neth0:" + dev)
    (root / "net/snmp").write_bytes(table + b"\nTcp: OutSegs " + table + b"\nTcp: " + table)
    (root / "net/netstat").write_bytes(b"TcpExt: ListenOverflows\nTcpExt: " + table)
    sample = NetworkProbe(root).read()
    check_declared(sample)
    assert all(v is None or (type(v) is int and v >= 0) for v in sample.values.values())


@given(st.binary(max_size=100), st.binary(min_size=1, max_size=8))
def test_the_parsers_take_any_bytes(data: bytes, tag: bytes) -> None:
    split_dev(data)
    parse_dev(data)
    find_pair(data, tag)


def test_this_nodes_interfaces_read_as_psutil_says() -> None:
    probe = NetworkProbe()
    before = psutil.net_io_counters(pernic=True, nowrap=False)
    values = probe.read().values
    after = psutil.net_io_counters(pernic=True, nowrap=False)
    for name in followed(before):
        assert (
            before[name].bytes_recv
            <= int(values[f"net.rx_bytes{{nic={name}}}"] or 0)
            <= after[name].bytes_recv
        )
        assert before[name].dropout <= int(values[f"net.tx_drops{{nic={name}}}"] or 0) <= after[name].dropout
    probe.close()


def test_a_real_connection_counts() -> None:
    probe = NetworkProbe()
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as peer,
    ):
        before = probe.read().values
        client.sendall(b"x" * 100_000)
        left = 100_000
        while left:
            left -= len(peer.recv(left))
        after = probe.read().values
    assert int(before["tcp.established"] or 0) >= 2
    assert int(after["tcp.out_segs"] or 0) > int(before["tcp.out_segs"] or 0)
    assert int(after["net.rx_bytes{nic=lo}"] or 0) - int(before["net.rx_bytes{nic=lo}"] or 0) >= 100_000
    probe.close()
