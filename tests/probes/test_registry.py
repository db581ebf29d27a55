from __future__ import annotations

from pathlib import Path

import pytest

from dctop.probes.catalogue import BY_PROBE
from dctop.probes.registry import TICKED, all_probes
from tests.fakes.nodes import check_declared

QUICK = {"proc": {"cpu", "pressure", "memory", "container", "clock"}}


def test_every_probe_of_the_catalogue_is_there_once() -> None:
    names = [probe.name for probe in all_probes()]
    assert sorted(names) == sorted(set(BY_PROBE) - {"self"}), "`self` is the engine's own"


def test_what_can_hang_has_a_lane_of_its_own() -> None:
    lanes: dict[str, set[str]] = {}
    for probe in all_probes():
        lanes.setdefault(probe.lane, set()).add(probe.name)
    assert QUICK["proc"] <= lanes["proc"]
    for names in ({"host"}, {"gpu", "gpuhealth"}, {"sensors"}, {"filesystem"}, {"links"}, {"process"}):
        assert names in lanes.values(), f"{names} share a lane"


@pytest.mark.parametrize("interval", [0.2, 1.0, 30.0])
def test_ticked_probes_follow_the_interval_and_slow_ones_are_never_hurried(interval: float) -> None:
    usual = {probe.name: probe.period_s for probe in all_probes()}
    for probe in all_probes(interval_s=interval):
        wanted = interval if probe.name in TICKED else max(usual[probe.name], interval)
        assert probe.period_s == wanted


def test_every_probe_reads_this_node_and_emits_only_what_is_declared() -> None:
    for probe in all_probes():
        sample = probe.read()
        assert sample.probe == probe.name
        check_declared(sample)
        probe.close()


def test_every_probe_survives_a_node_without_anything(tmp_path: Path) -> None:
    for probe in all_probes(tmp_path, tmp_path):
        if probe.name in ("disk", "network", "process", "filesystem"):
            continue  # may raise OSError, which the hub reports: their own tests say
        sample = probe.read()
        check_declared(sample)
        probe.close()
