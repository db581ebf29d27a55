"""The GPU probe over a stand-in for pynvml: a simulated library, no GPU was measured here."""

from __future__ import annotations

import sys as python
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.probes import gpu as gpu_module
from dctop.probes.gpu import GpuProbe
from tests.fakes.nodes import check_declared, write_tree


class FakeError(Exception):
    """As pynvml.NVMLError: the code is in `value`."""

    def __init__(self, value: int, text: str = "simulated") -> None:
        super().__init__(text)
        self.value = value


class FakeNvml:
    """Simulated pynvml. `fail[name]` raises instead of answering; `answers[name]` replaces the answer."""

    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    nvmlMemory_v2 = 0x2000028  # noqa: N815

    def __init__(self, gpus: int = 2) -> None:
        self.gpus = gpus
        self.fail: dict[str, Exception] = {}
        self.fail_on: dict[str, str] = {}
        self.answers: dict[str, object] = {}
        self.calls: list[str] = []

    def _answer(self, name: str, value: object) -> object:
        self.calls.append(name)
        if name in self.fail:
            raise self.fail[name]
        return self.answers.get(name, value)

    def nvmlInit(self) -> None:  # noqa: N802
        self._answer("nvmlInit", None)

    def nvmlShutdown(self) -> None:  # noqa: N802
        self._answer("nvmlShutdown", None)

    def nvmlDeviceGetCount(self) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetCount", self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetHandleByIndex", f"GPU-{index}")

    def nvmlDeviceGetUUID(self, handle: object) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetUUID", handle)

    def nvmlDeviceGetName(self, handle: object) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetName", "NVIDIA H100 80GB HBM3")

    def nvmlDeviceGetUtilizationRates(self, handle: object) -> object:  # noqa: N802
        if self.fail_on.get("nvmlDeviceGetUtilizationRates") == handle:
            raise FakeError(15, "GPU is lost")
        return self._answer("nvmlDeviceGetUtilizationRates", SimpleNamespace(gpu=87, memory=40))

    def nvmlDeviceGetMemoryInfo(self, handle: object, version: int | None = None) -> object:  # noqa: N802
        name = "nvmlDeviceGetMemoryInfo" + ("_v2" if version else "")
        return self._answer(name, SimpleNamespace(used=60 if version else 61, total=80, free=19))

    def nvmlDeviceGetPowerUsage(self, handle: object) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetPowerUsage", 612_345)

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: object) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetEnforcedPowerLimit", 700_000)

    def nvmlDeviceGetTemperature(self, handle: object, sensor: int) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetTemperature", 64)

    def nvmlDeviceGetClockInfo(self, handle: object, kind: int) -> object:  # noqa: N802
        return self._answer("nvmlDeviceGetClockInfo", 1980)


READINGS = {
    "nvmlDeviceGetUtilizationRates": ["util_pct"],
    "nvmlDeviceGetPowerUsage": ["power_w"],
    "nvmlDeviceGetEnforcedPowerLimit": ["power_limit_w"],
    "nvmlDeviceGetTemperature": ["temp_c"],
    "nvmlDeviceGetClockInfo": ["sm_clock_mhz"],
    "nvmlDeviceGetName": ["name"],
}


class Node:
    """A probe over a simulated library, an empty /proc and /sys, and a clock the test turns."""

    def __init__(self, tmp_path: Path, nvml: FakeNvml | None, on_bus: int = 0, driver: str = "") -> None:
        files = {}
        for i in range(on_bus):
            files[f"sys/bus/pci/devices/0000:{i:02x}:00.0/vendor"] = "0x10de\n"
            files[f"sys/bus/pci/devices/0000:{i:02x}:00.0/class"] = "0x030200\n"
        files["sys/bus/pci/devices/0000:ff:00.0/vendor"] = "0x10de\n"
        files["sys/bus/pci/devices/0000:ff:00.0/class"] = "0x040300\n"  # its sound function
        if driver:
            files["proc/driver/nvidia/version"] = (
                f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {driver}  Sat Aug 26 01:15:15 UTC 2023\n"
                "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
            )
        write_tree(tmp_path, files)
        self.time = 0.0
        self.nvml = nvml
        self.probe = GpuProbe(tmp_path / "proc", tmp_path / "sys", nvml=nvml, now=lambda: self.time)

    def values(self) -> dict[str, object]:
        sample = self.probe.read()
        check_declared(sample)
        self.problems = sample.problems
        return {k.removeprefix("gpu."): v for k, v in sample.values.items()}


def test_devices_give_every_declared_id_keyed_by_uuid(tmp_path: Path) -> None:
    node = Node(tmp_path, FakeNvml(), on_bus=2, driver="535.104.05")
    check_declared(node.probe.read())
    v = node.values()
    assert (v["status"], v["detail"], v["count"]) == ("ok", "driver 535.104.05", 2)
    assert node.problems == ()
    one = {k.partition("{")[0]: x for k, x in v.items() if k.endswith("{gpu=GPU-1}")}
    assert one == {
        "name": "NVIDIA H100 80GB HBM3",
        "index": 1,
        "util_pct": 87,
        "mem_used_bytes": 60,
        "mem_total_bytes": 80,
        "power_w": 612.345,
        "power_limit_w": 700.0,
        "temp_c": 64,
        "sm_clock_mhz": 1980,
    }


@pytest.mark.parametrize(
    ("code", "on_bus", "driver", "status", "words"),
    [
        (12, 2, "", "no library", ["2 NVIDIA devices on the PCI bus", "install"]),
        (12, 0, "", "no library", ["this node has no NVIDIA GPU"]),
        (9, 2, "", "no driver", ["2 NVIDIA devices on the PCI bus but no driver loaded", "modprobe nvidia"]),
        (9, 1, "", "no driver", ["1 NVIDIA device on the PCI bus"]),
        (9, 0, "", "no driver", ["no NVIDIA device on the PCI bus"]),
        (18, 1, "535.104.05", "version mismatch", ["kernel module 535.104.05", "reboot"]),
        (4, 1, "535.104.05", "no permission", ["/dev/nvidia*"]),
        (999, 1, "535.104.05", "error", ["simulated"]),
    ],
)
def test_why_there_is_no_gpu(
    tmp_path: Path, code: int, on_bus: int, driver: str, status: str, words: list[str]
) -> None:
    nvml = FakeNvml()
    nvml.fail["nvmlInit"] = FakeError(code)
    v = Node(tmp_path, nvml, on_bus, driver).values()
    assert set(v) == {"status", "detail", "count"}
    assert (v["status"], v["count"]) == (status, None)
    for word in words:
        assert word in str(v["detail"])


def test_a_driver_without_devices_is_no_device(tmp_path: Path) -> None:
    v = Node(tmp_path, FakeNvml(gpus=0), on_bus=1, driver="550.1").values()
    assert (v["status"], v["count"]) == ("no device", 0)
    assert "1 NVIDIA device on the PCI bus" in str(v["detail"])


def test_without_the_library_pynvml_is_not_even_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_module, "LIBRARY", "libnvidia-ml-that-is-not-there.so.1")
    monkeypatch.delitem(python.modules, "pynvml", raising=False)
    v = Node(tmp_path, None, on_bus=3).values()
    assert v["status"] == "no library"
    assert str(v["detail"]).startswith("3 NVIDIA devices on the PCI bus, but libnvidia-ml-that")
    assert "pynvml" not in python.modules


def test_after_a_failure_it_is_tried_again_every_ten_seconds(tmp_path: Path) -> None:
    nvml = FakeNvml()
    nvml.fail["nvmlInit"] = FakeError(9)
    node = Node(tmp_path, nvml)
    for node.time in (0.0, 1.0, 9.0):
        assert node.values()["status"] == "no driver"
    assert nvml.calls.count("nvmlInit") == 1
    nvml.fail.clear()
    node.time = 10.0
    assert node.values()["status"] == "ok"


@pytest.mark.parametrize("name", READINGS)
@pytest.mark.parametrize("code", [3, 13, 999])
def test_each_reading_fails_alone(tmp_path: Path, name: str, code: int) -> None:
    nvml = FakeNvml(gpus=1)
    nvml.fail[name] = FakeError(code)
    node = Node(tmp_path, nvml)
    v = node.values()
    missing = [k.partition("{")[0] for k, x in v.items() if x is None]
    assert missing == READINGS[name] and v["status"] == "ok"
    if name != "nvmlDeviceGetName":
        node.values()
        asked = 1 if code in (3, 13) else 2
        assert nvml.calls.count(name) == asked, "what is not supported is not asked for again"


@pytest.mark.parametrize(
    ("name", "answer", "key"),
    [
        ("nvmlDeviceGetUtilizationRates", SimpleNamespace(gpu=255), "util_pct"),
        ("nvmlDeviceGetUtilizationRates", None, "util_pct"),
        ("nvmlDeviceGetMemoryInfo_v2", SimpleNamespace(used=81, total=80), "mem_used_bytes"),
        ("nvmlDeviceGetMemoryInfo_v2", SimpleNamespace(used=5, total=0), "mem_used_bytes"),
        ("nvmlDeviceGetPowerUsage", 4294967295, "power_w"),
        ("nvmlDeviceGetTemperature", -5, "temp_c"),
        ("nvmlDeviceGetTemperature", 65535, "temp_c"),
        ("nvmlDeviceGetClockInfo", "fast", "sm_clock_mhz"),
        ("nvmlDeviceGetName", 7, "name"),
    ],
)
def test_nonsense_is_none(tmp_path: Path, name: str, answer: object, key: str) -> None:
    nvml = FakeNvml(gpus=1)
    nvml.answers[name] = answer
    assert Node(tmp_path, nvml).values()[f"{key}{{gpu=GPU-0}}"] is None


def test_a_driver_that_knows_only_the_old_memory_call(tmp_path: Path) -> None:
    nvml = FakeNvml(gpus=1)
    nvml.fail["nvmlDeviceGetMemoryInfo_v2"] = FakeError(13, "Function Not Found")
    node = Node(tmp_path, nvml)
    assert node.values()["mem_used_bytes{gpu=GPU-0}"] == 61
    assert node.values()["mem_total_bytes{gpu=GPU-0}"] == 80
    assert nvml.calls.count("nvmlDeviceGetMemoryInfo_v2") == 1


def test_a_lost_gpu_keeps_its_row_is_not_called_again_and_comes_back(tmp_path: Path) -> None:
    nvml = FakeNvml()
    node = Node(tmp_path, nvml, on_bus=2)
    node.values()
    nvml.fail_on["nvmlDeviceGetUtilizationRates"] = "GPU-1"
    node.time = 1.0
    v = node.values()
    assert v["util_pct{gpu=GPU-0}"] == 87 and v["util_pct{gpu=GPU-1}"] is None
    assert v["name{gpu=GPU-1}"] == "NVIDIA H100 80GB HBM3"
    assert node.problems == ("GPU GPU-1: GPU is lost",)
    nvml.calls.clear()
    node.time = 2.0
    node.values()
    assert nvml.calls.count("nvmlDeviceGetPowerUsage") == 1, "the lost one is left alone"
    nvml.fail_on.clear()
    node.time = 12.0
    v = node.values()
    assert v["util_pct{gpu=GPU-1}"] == 87 and node.problems == ()
    assert nvml.calls.count("nvmlInit") == 1


def test_a_gpu_that_the_driver_no_longer_reports_is_named(tmp_path: Path) -> None:
    nvml = FakeNvml()
    node = Node(tmp_path, nvml, on_bus=2)
    node.values()
    nvml.gpus = 1
    node.time = 10.0
    v = node.values()
    assert v["count"] == 1 and v["power_w{gpu=GPU-1}"] is None
    assert any("GPU-1" in p for p in node.problems)
    assert any("1 of 2 NVIDIA devices on the PCI bus" in p for p in node.problems)


def test_closing_shuts_the_library_down_once(tmp_path: Path) -> None:
    nvml = FakeNvml()
    node = Node(tmp_path, nvml)
    node.values()
    nvml.fail["nvmlShutdown"] = FakeError(1)
    node.probe.close()
    node.probe.close()
    assert nvml.calls.count("nvmlShutdown") == 1


def test_this_node_says_what_it_has() -> None:
    sample = GpuProbe().read()
    check_declared(sample)
    assert sample.values["gpu.status"] in (
        *("ok", "no library", "no driver", "version mismatch", "no device", "no permission", "error"),
    )
    assert sample.values["gpu.detail"]


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=20)
)


@given(name=st.sampled_from([*READINGS, "nvmlDeviceGetUUID", "nvmlDeviceGetCount"]), answer=ANYTHING)
def test_no_answer_whatever_raises(
    tmp_path_factory: pytest.TempPathFactory, name: str, answer: object
) -> None:
    nvml = FakeNvml()
    nvml.answers[name] = 3 if name.endswith("Count") and isinstance(answer, int) else answer
    probe = GpuProbe("/nonexistent", "/nonexistent", nvml=nvml)
    check_declared(probe.read())
    check_declared(probe.read())
