"""Values that take more than one probe: link utilisation from traffic (network) and speed (links)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.derived import across, derive_across
from dctop.engine.metrics.model import Frame, Snapshot
from dctop.probes.base import Process, Sample, Value
from dctop.probes.catalogue import PROBE_OF

SECOND = 1_000_000_000


def traffic(t: float, rx: int, tx: int, nic: str = "eth0") -> Sample:
    values: dict[str, Value] = {f"net.rx_bytes{{nic={nic}}}": rx, f"net.tx_bytes{{nic={nic}}}": tx}
    return Sample("network", int(t * SECOND), 0, values)


def link(speed: int | None, virtual: int | None = 0, nic: str = "eth0") -> Sample:
    values: dict[str, Value] = {
        f"net.speed_mbps{{nic={nic}}}": speed,
        f"net.up{{nic={nic}}}": 1,
        f"net.virtual{{nic={nic}}}": virtual,
    }
    return Sample("links", 0, 0, values)


def push(builder: SnapshotBuilder, *samples: Sample) -> Snapshot:
    return builder.push(Frame(1, 0, 0, {s.probe: s for s in samples}))


def test_the_inputs_come_from_two_probes() -> None:
    assert PROBE_OF["net.rx_bytes"] == "network"
    assert PROBE_OF["net.speed_mbps"] == PROBE_OF["net.virtual"] == "links"


def test_utilisation_is_the_busier_direction_against_the_speed() -> None:
    b, speed = SnapshotBuilder(), link(1000)
    push(b, traffic(0, 0, 0), speed)
    snap = push(b, traffic(2, 25_000_000, 200_000_000), speed)
    assert snap.num("net.util_pct{nic=eth0}") == pytest.approx(80.0)
    assert snap.labels["net.util_pct"] == ("eth0",)


def test_it_is_known_as_soon_as_a_slower_links_probe_has_answered() -> None:
    b = SnapshotBuilder()
    push(b, traffic(0, 0, 0))
    second = traffic(1, 12_500_000, 0)
    assert "net.util_pct" not in push(b, second).labels
    snap = push(b, second, link(1000))
    assert snap.num("net.util_pct{nic=eth0}") == pytest.approx(10.0)
    assert snap.labels["net.util_pct"] == ("eth0",)


def test_an_unknown_speed_gives_no_value_and_a_virtual_interface_no_series() -> None:
    b = SnapshotBuilder()
    push(b, traffic(0, 0, 0), link(None))
    snap = push(b, traffic(1, 5, 5), link(None))
    assert snap.values["net.util_pct{nic=eth0}"] is None
    for virtual in (1, None):
        snap = push(b, traffic(2, 50, 50), link(10_000, virtual))
        assert "net.util_pct{nic=eth0}" not in snap.values
        assert "net.util_pct" not in snap.labels


def test_a_links_probe_that_vanishes_takes_the_utilisation_with_it() -> None:
    b = SnapshotBuilder()
    push(b, traffic(0, 0, 0), link(1000))
    push(b, traffic(1, 5, 5), link(1000))
    snap = push(b, traffic(2, 10, 10))
    assert "net.util_pct" not in snap.labels
    assert "net.util_pct{nic=eth0}" not in snap.values


scalars = st.none() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=3)
names = st.sampled_from(
    ["net.speed_mbps{nic=a}", "net.virtual{nic=a}", "net.rx_bytes_per_s{nic=a}", "net.tx_bytes_per_s{nic=a}"]
)


@given(st.dictionaries(names, scalars))
def test_strange_values_do_not_raise(values: dict[str, Value]) -> None:
    derive_across(values, across(tuple(values)))
    derive_across(values, ("{nic=a}", "{nic=b}"))


def row(ticks: int, span: float | None) -> Process:
    return Process(
        7, 1, 1, 0, "u", "x", "x", "R", ticks, 1, 1, 0, 0, None, None, None, None, None, None, None, span
    )


def test_a_process_read_in_turns_has_its_cpu_time_spread_over_the_time_it_took() -> None:
    b = SnapshotBuilder(tick_hz=100)
    b.push(Frame(1, 0, 0, {"process": Sample("process", 0, 0, {}, [row(0, None)])}))
    snap = b.push(Frame(2, 0, 0, {"process": Sample("process", SECOND, 0, {}, [row(400, 4.0)])}))
    assert snap.process_cpu_pct == {7: pytest.approx(100.0)}
