"""InfiniBand ports from a tree of files."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dctop.probes.base import Value
from dctop.probes.infiniband import InfiniBand, parse_rate, parse_state
from tests.fakes.nodes import write_tree


def port(root: Path, device: str, number: int, **files: str) -> None:
    folder = f"class/infiniband/{device}/ports/{number}"
    write_tree(
        root,
        {
            f"{folder}/state": files.get("state", "4: ACTIVE\n"),
            f"{folder}/rate": files.get("rate", "100 Gb/sec (4X EDR)\n"),
            f"{folder}/counters/port_rcv_data": files.get("rcv", "250\n"),
            f"{folder}/counters/port_xmit_data": "500\n",
            f"{folder}/counters/link_downed": "2\n",
        },
    )


def read(ib: InfiniBand) -> dict[str, Value]:
    values: dict[str, Value] = {}
    ib.read(values)
    return values


def test_data_counters_are_words_of_four_bytes_and_what_is_not_there_is_missing(tmp_path: Path) -> None:
    port(tmp_path, "mlx5_0", 1)
    assert read(InfiniBand(tmp_path)) == {
        "ib.rx_bytes{port=mlx5_0/1}": 1000,
        "ib.tx_bytes{port=mlx5_0/1}": 2000,
        "ib.symbol_errors{port=mlx5_0/1}": None,
        "ib.rcv_errors{port=mlx5_0/1}": None,
        "ib.link_downed{port=mlx5_0/1}": 2,
        "ib.rate_gbps{port=mlx5_0/1}": 100.0,
        "ib.up{port=mlx5_0/1}": 1,
    }


def test_counters_are_read_anew_each_time(tmp_path: Path) -> None:
    port(tmp_path, "mlx5_0", 1)
    ib = InfiniBand(tmp_path)
    read(ib)
    port(tmp_path, "mlx5_0", 1, rcv="300\n", state="1: DOWN\n")
    values = read(ib)
    assert values["ib.rx_bytes{port=mlx5_0/1}"] == 1200
    assert values["ib.up{port=mlx5_0/1}"] == 0


def test_every_port_of_every_device_and_one_that_is_added(tmp_path: Path) -> None:
    ib = InfiniBand(tmp_path)
    assert read(ib) == {}
    port(tmp_path, "mlx5_0", 1)
    port(tmp_path, "mlx4_0", 1)
    port(tmp_path, "mlx4_0", 2)
    ports = {k.partition("{port=")[2][:-1] for k in read(ib)}
    assert ports == {"mlx5_0/1", "mlx4_0/1", "mlx4_0/2"}
    ib.close()


def test_forms_of_rate_and_state() -> None:
    assert parse_rate(b"2.5 Gb/sec (1X SDR)\n") == 2.5
    assert parse_rate(b"400 Gb/sec (4X NDR)\n") == 400.0
    assert parse_rate(b"800\n") is None and parse_rate(None) is None
    assert [parse_state(s) for s in (b"4: ACTIVE\n", b"1: DOWN\n", b"2: INIT\n", b"ACTIVE", None)] == [
        1, 0, 0, None, None,
    ]  # fmt: skip


@given(st.binary(max_size=30))
def test_any_rate_and_state(data: bytes) -> None:
    rate = parse_rate(data)
    assert rate is None or rate >= 0
    assert parse_state(data) in (None, 0, 1)
