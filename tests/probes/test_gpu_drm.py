"""AMD and Intel GPUs from file trees as their drivers lay them out: whole, missing, unreadable, garbage."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.probes.base import GpuProcess, MakerSample, Sample, split_series
from dctop.probes.drm import CLIENTS_S, ENUMERATE_S, DrmMaker, parse_fdinfo
from dctop.probes.gpu import GpuHealthProbe, GpuProbe
from dctop.probes.gpu_amd import AmdMaker, highest_mhz
from dctop.probes.gpu_intel import IntelMaker
from tests.fakes import drm
from tests.fakes.nodes import check_declared


class Node:
    def __init__(self, root: Path, maker: type[DrmMaker] = AmdMaker) -> None:
        self.sys, self.proc = root / "sys", root / "proc"
        self.proc.mkdir(parents=True, exist_ok=True)
        self.time = 100.0
        self.maker = maker(self.proc, self.sys, lambda: self.time)

    def read(self, after: float = 1.0) -> dict[str, Any]:
        """Values of the only card by id without `gpu.`, or of all by full key if there are more."""
        self.time += after
        return short(self.maker.read())

    def health(self) -> dict[str, Any]:
        return short(self.maker.read_health())


def short(sample: MakerSample) -> dict[str, Any]:
    return {split_series(k)[0].removeprefix("gpu."): v for k, v in sample.values.items()}


def test_an_amd_gpu_is_read_whole(tmp_path: Path) -> None:
    node = Node(tmp_path)
    drm.amd(node.sys)
    v = node.read()
    assert {k: v[k] for k in ("name", "vendor", "index", "pci", "state")} == {
        "name": "AMD Instinct MI210", "vendor": "amd", "index": 0, "pci": "0000:03:00.0", "state": "ok",
    }  # fmt: skip
    assert (v["util_pct"], v["mem_util_pct"]) == (97, 41)
    assert (v["mem_used_bytes"], v["mem_total_bytes"]) == (40 << 30, 64 << 30)
    assert (v["power_w"], v["power_limit_w"]) == (pytest.approx(283), pytest.approx(300))
    assert (v["temp_c"], v["mem_temp_c"], v["fan_pct"]) == (55, 70, 50)
    assert (v["sm_clock_mhz"], v["mem_clock_mhz"]) == (1700, 1600)
    assert (v["ecc_corrected"], v["ecc_uncorrected"]) == (15, 1)
    h = node.health()
    assert (h["pcie_gen"], h["pcie_gen_max"], h["pcie_width"], h["pcie_width_max"]) == (4, 4, 16, 16)
    assert (h["sm_clock_max_mhz"], h["mem_clock_max_mhz"], h["pcie_replays"], h["numa_node"]) == (
        1700,
        1600,
        3,
        1,
    )
    assert (h["temp_slowdown_c"], h["temp_shutdown_c"], h["mem_temp_max_c"]) == (100, 105, 94)


def test_what_is_read_is_declared(tmp_path: Path) -> None:
    node = Node(tmp_path)
    drm.amd(node.sys, 0)
    drm.xe(node.sys, 1)
    drm.i915(node.sys, 2)
    for maker in (AmdMaker(node.proc, node.sys), IntelMaker(node.proc, node.sys)):
        one, other = maker.read(), maker.read_health()
        check_declared(Sample("gpu", 0, 0, one.values))
        check_declared(Sample("gpuhealth", 0, 0, other.values))
        assert one.status == "ok"


def test_both_probes_show_all_makers_in_one_list(tmp_path: Path) -> None:
    node = Node(tmp_path)
    drm.amd(node.sys, 0)
    drm.xe(node.sys, 1)
    probe = GpuProbe(node.proc, node.sys, lambda p, s: [AmdMaker(p, s), IntelMaker(p, s)])
    sample = probe.read()
    assert (sample.values["gpu.status"], sample.values["gpu.count"]) == ("ok", 2)
    assert sample.values["gpu.vendor{gpu=intel-0000:4d:00.0}"] == "intel"
    assert sample.problems == ()
    assert GpuHealthProbe(probe).read().values["gpu.pcie_gen{gpu=amd-0000:03:00.0}"] == 4
    probe.close()


def test_beside_gpus_of_one_make_the_others_are_looked_for_every_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, now = Node(tmp_path), [0]
    clock = SimpleNamespace(monotonic_ns=lambda: now[0], time_ns=lambda: now[0])
    monkeypatch.setattr("dctop.probes.gpu.time", clock)
    probe = GpuProbe(node.proc, node.sys, lambda p, s: [AmdMaker(p, s), IntelMaker(p, s)])
    looked: list[int] = []
    intel = probe.makers[1]
    read = intel.read
    monkeypatch.setattr(intel, "read", lambda: (looked.append(now[0] // 10**9), read())[1])
    drm.amd(node.sys, 0)
    for second in range(25):
        now[0] = second * 10**9
        assert probe.read().values["gpu.count"] == 1
    assert looked == [0, 10, 20]


def test_where_there_is_no_gpu_every_make_is_looked_for_each_time(tmp_path: Path) -> None:
    node = Node(tmp_path)
    probe = GpuProbe(node.proc, node.sys, lambda p, s: [AmdMaker(p, s), IntelMaker(p, s)])
    assert probe.read().values["gpu.count"] == 0
    drm.xe(node.sys, 1)
    probe.makers = [AmdMaker(node.proc, node.sys), IntelMaker(node.proc, node.sys)]
    assert probe.read().values["gpu.count"] == 1


def test_what_a_card_does_not_have_is_left_out_and_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    node = Node(tmp_path)
    drm.amd(
        node.sys, device__mem_busy_percent=None, device__gpu_busy_percent="busy",
        device__hwmon__hwmon4__power1_average=b"", device__hwmon__hwmon4__temp1_input="-274000",
        device__mem_info_vram_used=65 << 30,
    )  # fmt: skip
    v = node.read()
    assert "mem_util_pct" not in v
    for name in ("util_pct", "power_w", "temp_c", "mem_used_bytes"):
        assert v[name] is None, name


def test_a_file_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    node = Node(tmp_path)
    folder = drm.amd(node.sys, device__gpu_busy_percent=None)
    (folder / "device/gpu_busy_percent").mkdir()  # there, and reading it fails for everybody
    v = node.read()
    assert v["util_pct"] is None
    assert v["mem_util_pct"] == 41


@pytest.mark.parametrize("nonsense", [255, 101, -1, "0x10", "9" * 30, "\0\0", "1 2"])
def test_nonsense_is_no_utilisation(tmp_path: Path, nonsense: object) -> None:
    node = Node(tmp_path)
    drm.amd(node.sys, device__gpu_busy_percent=nonsense)
    assert node.read()["util_pct"] is None


def test_an_accelerator_without_an_edge_sensor_is_as_hot_as_its_junction(tmp_path: Path) -> None:
    node = Node(tmp_path)
    drm.amd(
        node.sys, device__hwmon__hwmon4__temp1_input=None, device__hwmon__hwmon4__temp1_label=None,
    )  # fmt: skip
    assert node.read()["temp_c"] == 62


def test_a_sleeping_card_is_not_woken(tmp_path: Path) -> None:
    node = Node(tmp_path)
    drm.amd(node.sys, device__power__runtime_status="suspended")
    v = node.read()
    assert v["state"] == "ok"
    assert v["util_pct"] is None and v["power_w"] is None


def test_a_card_that_goes_keeps_its_row_and_comes_back(tmp_path: Path) -> None:
    node = Node(tmp_path)
    folder = drm.amd(node.sys)
    assert node.read()["state"] == "ok"
    shutil.rmtree(folder)
    v = node.read(ENUMERATE_S)
    assert (v["state"], v["name"]) == ("lost", "AMD Instinct MI210")
    assert isinstance(v["lost_since_s"], float) and v["problem"]
    assert "util_pct" not in v
    drm.amd(node.sys)
    assert node.read(ENUMERATE_S)["state"] == "ok"


def test_other_makers_cards_connectors_and_virtual_cards_are_none(tmp_path: Path) -> None:
    node = Node(tmp_path)
    drm.card(node.sys, 0, "0x10de", "nvidia", "0000:01:00.0", "10DE:2330")
    drm.card(node.sys, 1, "0x1002", "radeon", "0000:02:00.0", "1002:6798")
    drm.write(node.sys, {"class/drm/card2/device/vendor": "0x1002", "class/drm/version": "drm 1.1.0"})
    sample = node.maker.read()
    assert (sample.status, sample.count, sample.values) == ("no device", 0, {})


def test_no_drm_at_all(tmp_path: Path) -> None:
    assert Node(tmp_path).maker.read().status == "no device"


def test_the_name_comes_from_the_pci_list_where_the_driver_has_none(tmp_path: Path) -> None:
    node = Node(tmp_path)
    drm.amd(node.sys, device__product_name=None)
    drm.write(
        tmp_path,
        {
            "usr/share/misc/pci.ids": "1001  Other\n\t740f  Wrong\n1002  AMD\n"
            "\t740f  Aldebaran [Instinct MI210]"
        },
    )
    assert node.read()["name"] == "Instinct MI210"
    drm.write(tmp_path, {"usr/share/misc/pci.ids": None})
    other = Node(tmp_path)
    assert other.read()["name"] == "AMD GPU 740f"


def test_clock_levels() -> None:
    assert highest_mhz("0: 500Mhz�1: 2100Mhz *") == 2100
    assert highest_mhz("S: 19Mhz *�0: 500Mhz�1: 1700Mhz") == 1700
    assert highest_mhz("") is None and highest_mhz("nonsense 1 2 3 Mhz") is None


# -- Intel ------------------------------------------------------------------------------------------------


def test_i915_utilisation_is_the_time_it_did_not_sleep(tmp_path: Path) -> None:
    node = Node(tmp_path, IntelMaker)
    folder = drm.i915(node.sys)
    v = node.read()
    assert v["util_pct"] is None  # one reading says nothing
    drm.write(folder, {"gt/gt0/rc6_residency_ms": 10_250})
    v = node.read(1.0)
    assert v["util_pct"] == 75
    assert (v["sm_clock_mhz"], v["power_limit_w"], v["energy_mj"]) == (1950, pytest.approx(150), 5000)
    assert v["throttle_mask"] == 0
    assert node.health()["sm_clock_max_mhz"] == 2050
    drm.write(folder, {"gt/gt0/rc6_residency_ms": 5})  # counted anew
    assert node.read()["util_pct"] is None


def test_xe_takes_its_busiest_part_and_a_limit_of_0_is_none(tmp_path: Path) -> None:
    node = Node(tmp_path, IntelMaker)
    folder = drm.xe(node.sys)
    node.read()
    drm.write(
        folder,
        {
            "device/tile0/gt0/gtidle/idle_residency_ms": 3_100,
            "device/tile0/gt1/gtidle/idle_residency_ms": 10_000,
        },
    )
    v = node.read(1.0)
    assert v["util_pct"] == 90
    assert v["power_limit_w"] is None
    assert (v["temp_c"], v["mem_temp_c"], v["sm_clock_mhz"]) == (48, 60, 2400)


def test_intel_s_reasons_become_throttle_bits(tmp_path: Path) -> None:
    node = Node(tmp_path, IntelMaker)
    drm.i915(node.sys, gt__gt0__throttle_reason_pl1=1, gt__gt0__throttle_reason_thermal=1)
    assert node.read()["throttle_mask"] == 0x24
    other = Node(tmp_path / "b", IntelMaker)
    drm.xe(other.sys, device__tile0__gt0__freq0__throttle__reason_pl1=1)
    assert other.read()["throttle_mask"] == 0x4


# -- who uses them ----------------------------------------------------------------------------------------


def test_processes_by_gpu_with_memory_and_share(tmp_path: Path) -> None:
    node = Node(tmp_path)
    drm.amd(node.sys)
    pdev = "0000:03:00.0"
    drm.client(node.proc, 42, 5, drm.amd_fdinfo(pdev, 7, 1024, compute_ns=1_000_000_000))
    drm.client(node.proc, 42, 6, drm.amd_fdinfo(pdev, 7, 1024, compute_ns=1_000_000_000))  # the same client
    drm.client(node.proc, 42, 8, drm.amd_fdinfo(pdev, 8, 512))
    drm.client(node.proc, 43, 5, drm.amd_fdinfo("0000:99:00.0", 9, 512))  # of no card here
    drm.client(node.proc, 44, 0, "", target="/dev/null")
    node.time += 1
    sample = node.maker.read()
    gpu = "amd-0000:03:00.0"
    assert list(sample.processes) == [GpuProcess(42, gpu, "C", 1536 << 10)]
    assert sample.values[f"gpu.processes{{gpu={gpu}}}"] == 1
    drm.client(node.proc, 42, 5, drm.amd_fdinfo(pdev, 7, 1024, compute_ns=1_600_000_000))
    node.time += 1
    assert node.maker.read().processes[0].sm_pct == 60


def test_xe_shares_come_from_cycles(tmp_path: Path) -> None:
    node = Node(tmp_path, IntelMaker)
    drm.xe(node.sys)
    pdev = "0000:4d:00.0"
    drm.client(node.proc, 9, 3, drm.xe_fdinfo(pdev, 1, 2048, 1000, 10_000))
    node.time += 1
    assert node.maker.read().processes[0].mem_bytes == 2 << 20
    drm.client(node.proc, 9, 3, drm.xe_fdinfo(pdev, 1, 2048, 1500, 12_000))
    node.time += 1
    p = node.maker.read().processes[0]
    assert (p.sm_pct, p.kind) == (25, "C")


def test_a_process_that_ended_goes_at_once_and_a_new_one_is_found(tmp_path: Path) -> None:
    node = Node(tmp_path)
    drm.amd(node.sys)
    drm.client(node.proc, 42, 5, drm.amd_fdinfo("0000:03:00.0", 7, 1024))
    node.time += 1
    assert [p.pid for p in node.maker.read().processes] == [42]
    shutil.rmtree(node.proc / "42")
    drm.client(node.proc, 50, 5, drm.amd_fdinfo("0000:03:00.0", 8, 1024))
    node.time += 1
    assert node.maker.read().processes == []
    node.time += CLIENTS_S
    assert [p.pid for p in node.maker.read().processes] == [50]


def test_i915_names_its_memory_local() -> None:
    text = "drm-driver: i915\ndrm-pdev: 0000:00:02.0\ndrm-client-id: 4\n"
    text += "drm-resident-local0: 3 MiB\ndrm-resident-system0: 9 MiB\n"
    found = parse_fdinfo(text + "drm-engine-render: 5 ns\ndrm-engine-capacity-video: 2\n")
    assert found is not None
    assert (found.mem_bytes, found.engines) == (3 << 20, {"render": 5})


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_no_fdinfo_breaks_the_parser(text: str) -> None:
    parse_fdinfo(text)
    parse_fdinfo("drm-driver:\tamdgpu\n" + text)
    parse_fdinfo("\n".join(f"drm-{line}" for line in ("driver: xe", *text.split())))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_garbage_in_any_file_gives_no_nonsense(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("node")
    drm.amd(root / "sys", 0)
    drm.xe(root / "sys", 1)
    files = sorted(p for p in (root / "sys").rglob("*") if p.is_file() and p.name not in ("vendor", "uevent"))
    for path in data.draw(st.lists(st.sampled_from(files), max_size=12)):
        path.write_bytes(data.draw(st.binary(max_size=24)))
    for maker in (AmdMaker(root / "proc", root / "sys"), IntelMaker(root / "proc", root / "sys")):
        for sample in (maker.read(), maker.read()):
            check_declared(Sample("gpu", 0, 0, sample.values))
            util = [v for k, v in sample.values.items() if k.startswith("gpu.util_pct")]
            assert all(v is None or 0 <= v <= 100 for v in util)  # type: ignore[operator]
        check_declared(Sample("gpuhealth", 0, 0, maker.read_health().values))
