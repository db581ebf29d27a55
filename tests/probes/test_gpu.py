"""The NVIDIA reader over the stand-in driver: everything here is simulated, no GPU was measured."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dctop.probes.catalogue import BY_PROBE
from dctop.probes.gpu import GpuProbe
from dctop.probes.gpu_words import last_values
from dctop.probes.nvidia import NvidiaMaker
from dctop.probes.nvidia_node import NvidiaNode
from dctop.probes.nvml_health import BUILT_IN_EVERY
from tests.fakes.gpunode import GpuNode, gpu_node
from tests.fakes.standin import Gpu, uuid

__all__ = ["gpu_node"]
Make = Callable[..., GpuNode]
ZERO, ONE = uuid(0), uuid(1)
MISSING = {"fan_pct"}
"""A data-centre GPU has no fan of its own."""


def of(name: str, gpu: str = ZERO) -> str:
    return f"{name}{{gpu={gpu}}}"


def gpu_ids(probe: str) -> set[str]:
    return {m.id.removeprefix("gpu.") for m in BY_PROBE[probe]}


def ids(values: dict[str, object]) -> set[str]:
    return {key.partition("{")[0] for key in values}


def test_a_device_gives_every_declared_series_keyed_by_uuid(gpu_node: Make) -> None:
    node = gpu_node([Gpu(0, fan=30, retired_sbe=0, retired_dbe=0, retired_pending=0), Gpu(1)])
    node.bus(2)
    node.state.gpus[1].values["mig_mode"] = 1
    node.state.gpus[1].mig(uuid="MIG-a", name="MIG 1g.10gb", gi=7, ci=0, mem_total="10G", mem_used="3G")
    node.state.write()
    node.read()
    assert ids(node.read(1)) == gpu_ids("gpu")
    assert ids(node.health()) == gpu_ids("gpuhealth")


def test_values_are_those_of_the_driver_in_the_units_of_the_catalogue(gpu_node: Make) -> None:
    node = gpu_node()
    node.bus(2)
    node.read()
    v = node.read(1)
    assert v["status"] == "ok" and v["detail"] == "driver 550.54.15" and v["count"] == 2
    assert v["cuda_version"] == "12.4" and v["driver"] == "550.54.15"
    wanted = {
        "name": "NVIDIA H100 80GB HBM3", "vendor": "nvidia", "index": 1, "pci": "0000:11:00.0", "state": "ok",
        "problem": None, "util_pct": 87, "mem_util_pct": 41, "mem_used_bytes": 60000 << 20,
        "mem_total_bytes": 81559 << 20, "mem_reserved_bytes": 500 << 20, "power_w": 612.345,
        "power_limit_w": 700.0, "temp_c": 64, "mem_temp_c": 71, "sm_clock_mhz": 1980, "mem_clock_mhz": 2619,
        "pstate": 0, "throttle_mask": 0, "decoder_util_pct": 3, "sm_active_pct": 71.5,
        "sm_occupancy_pct": 38.25, "tensor_active_pct": 44.0, "dram_active_pct": 52.5,
        "nvlink_tx_bytes": 1000 * 1024, "ecc_corrected": 2, "ecc_uncorrected": 0, "recovery_action": "none",
        "processes": 0,
    }  # fmt: skip
    assert {name: v[of(name, ONE)] for name in wanted} == wanted
    assert int(str(v[of("pcie_rx_bytes", ONE)])) >= 7_000_000_000
    assert int(str(v[of("energy_mj", ONE)])) >= 1_000_000
    h = node.health()
    assert (h[of("temp_slowdown_c")], h[of("temp_shutdown_c")], h[of("temp_margin_c")]) == (87, 90, 21)
    assert (h[of("pcie_gen")], h[of("pcie_width_max")], h[of("numa_node", ONE)]) == (5, 16, 1)
    assert (h[of("ecc_corrected_total")], h[of("remap_banks_none")], h[of("fabric_state")]) == (
        7,
        0,
        "completed",
    )
    assert (h[of("nvlinks")], h[of("nvlinks_up")], h[f"nvlink.up{{gpu={ZERO},link=3}}"]) == (4, 4, 1)
    assert (h[of("compute_mode")], h[of("capability")], h[of("gpm")]) == ("default", "9.0", 1)


# -- what a device does not have, or refuses ----------

REFUSED = [
    ("nvmlDeviceGetUtilizationRates", ["util_pct", "mem_util_pct"]), ("nvmlDeviceGetPowerUsage", ["power_w"]),
    ("nvmlDeviceGetEnforcedPowerLimit", ["power_limit_w"]), ("nvmlDeviceGetTemperature", ["temp_c"]),
    ("nvmlDeviceGetClockInfo", ["sm_clock_mhz", "mem_clock_mhz"]),
    ("nvmlDeviceGetPerformanceState", ["pstate"]), ("nvmlDeviceGetEncoderUtilization", ["encoder_util_pct"]),
    ("nvmlDeviceGetCurrentClocksEventReasons", ["throttle_mask"]),
    ("nvmlDeviceGetTotalEccErrors", ["ecc_corrected", "ecc_uncorrected"]),
    ("nvmlDeviceGetComputeRunningProcesses", []), ("nvmlDeviceGetMemoryInfo_v2", ["mem_reserved_bytes"]),
    (
        "nvmlDeviceGetMemoryInfo", ["mem_used_bytes", "mem_total_bytes", "mem_reserved_bytes"],
    ),
    ("nvmlDeviceGetFieldValues", ["mem_temp_c", "pcie_rx_bytes", "throttle_power_ns", "recovery_action"]),
    ("nvmlGpmQueryDeviceSupport", ["sm_active_pct", "tensor_active_pct"]),
]  # fmt: skip


@pytest.mark.parametrize(("function", "lost"), REFUSED)
def test_what_is_not_supported_is_left_out_and_not_asked_for_again(
    gpu_node: Make, function: str, lost: list[str]
) -> None:
    node = gpu_node(1)
    before = set(node.read())
    node.read(1)
    node.state.fault(f"{function} * error 3")
    node.made = None
    node.read(1)
    node.forget_calls()
    v = node.read(1)
    assert v[of("state")] == "ok" and v[of("problem")] is None and node.problems == ()
    assert not {of(name) for name in lost} & set(v) and before - set(v) <= {of(n) for n in gpu_ids("gpu")}
    asked = sum(node.calls(function + v) for v in ("", "_v2", "_v3"))
    assert asked == 0 or function == "nvmlDeviceGetMemoryInfo_v2"
    assert of("energy_mj") in v, "there is an older call for it"


@pytest.mark.parametrize(("function", "lost"), [r for r in REFUSED if r[1] and "Query" not in r[0]])
def test_what_fails_for_now_is_none_is_said_and_is_asked_for_again(
    gpu_node: Make, function: str, lost: list[str]
) -> None:
    node = gpu_node(1)
    node.read()
    node.state.fault(f"{function} 0 error 4")
    v = node.read(1)
    assert all(v[of(name)] is None for name in lost)
    assert v[of("state")] == "ok" and "no permission (4)" in str(v[of("problem")])
    assert node.problems and node.problems[0].startswith(f"GPU 0 {ZERO}: no permission (4)")
    node.state.fault()
    v = node.read(1)
    assert v[of("problem")] is None and all(v[of(name)] is not None for name in lost)


@pytest.mark.parametrize(
    ("key", "said", "name"),
    [
        ("util", 255, "util_pct"), ("util", 101, "util_pct"), ("mem_used", "90000M", "mem_used_bytes"),
        ("mem_total", 0, "mem_total_bytes"), ("power", 0xFFFFFFFF, "power_w"), ("temp", 65535, "temp_c"),
        ("temp", -5, "temp_c"), ("clock_sm", 4000000000, "sm_clock_mhz"), ("pstate", 32, "pstate"),
        ("ecc_uncorrected_volatile", (1 << 64) - 1, "ecc_uncorrected"), ("encoder", 900, "encoder_util_pct"),
        ("gpm.2", 7000, "sm_active_pct"), ("gpm.2", -1, "sm_active_pct"), ("fv.82", 100000, "mem_temp_c"),
        ("fv.197", (1 << 64) - 1, "pcie_tx_bytes"), ("fv.197", "d:-3.5", "pcie_tx_bytes"),
        ("throttle", (1 << 64) - 1, "throttle_mask"),
    ],
)  # fmt: skip
def test_nonsense_is_none_and_is_said(gpu_node: Make, key: str, said: object, name: str) -> None:
    node = gpu_node([Gpu(0, **{key: said})])
    node.read()
    v = node.read(1)
    assert v[of(name)] is None
    assert name in str(v[of("problem")]) and "nonsense" in str(v[of("problem")])
    others = [k for k, x in v.items() if x is None and k != of(name)]
    allowed = {"parent", "lost_since_s", "last", "mem_used_bytes", "mem_reserved_bytes", "pid_space"}
    assert {k.partition("{")[0] for k in others} <= allowed


def test_what_a_device_is_built_for_is_read_once_a_minute_and_after_a_failure(gpu_node: Make) -> None:
    node = gpu_node([Gpu(0)])
    node.read()
    node.state.fault("nvmlDeviceGetMaxClockInfo 0 error 10")
    assert node.health()[of("sm_clock_max_mhz")] is None
    node.state.fault()
    node.forget_calls()
    for _ in range(BUILT_IN_EVERY):
        found = node.health()
        assert found[of("sm_clock_max_mhz")] == 1980
        assert found[of("temp_slowdown_c")] == 87
    assert node.calls("nvmlDeviceGetMaxClockInfo") == 2
    assert node.calls("nvmlDeviceGetEccMode") == BUILT_IN_EVERY, "what may change is read each time"
    node.state.gpus[0].values["clock_max_sm"] = 1755
    node.state.write()
    assert node.health()[of("sm_clock_max_mhz")] == 1755


def test_readings_that_did_not_change_are_told_beside_one_that_did(gpu_node: Make) -> None:
    node = gpu_node([Gpu(0)])
    first = node.read()
    for util in (12, 12, 13):
        node.state.gpus[0].values["util"] = util
        node.state.write()
        v = node.read(1.0)
        assert v[of("util_pct")] == util
        assert [v[of(n)] for n in ("temp_c", "power_w", "ecc_corrected", "decoder_util_pct")] == [
            64, 612.345, 2, 3,
        ]  # fmt: skip
        assert first.keys() <= v.keys()


def test_the_bus_is_read_again_where_a_device_came_or_went(gpu_node: Make) -> None:
    node = gpu_node(0)
    node.bus(2)
    looker = NvidiaNode(node.root / "proc", node.root / "sys")
    assert looker.look()[0] == ("0000:10:00.0", "0000:11:00.0")
    shutil.rmtree(node.root / "sys/bus/pci/devices/0000:10:00.0")
    assert looker.look()[0] == ("0000:11:00.0",)
    node.bus(3)
    assert looker.look()[0] == ("0000:10:00.0", "0000:11:00.0", "0000:12:00.0")


def test_everything_not_supported_is_a_device_without_readings(gpu_node: Make) -> None:
    bare = Gpu(0, links=0)
    for key in list(bare.values):
        if key not in ("uuid", "pci", "name"):
            bare.values[key] = None
    node = gpu_node([bare])
    v = node.read()
    assert (v["status"], v[of("state")], v[of("problem")]) == ("ok", "ok", None)
    assert ids(v) <= {*gpu_ids("gpu")} and of("util_pct") not in v
    assert set(node.health()) == {of("xid_watch"), of("gpm"), of("numa_node")}


def test_an_old_driver_whose_library_lacks_the_newer_functions(gpu_node: Make) -> None:
    lists = [f"nvmlDeviceGet{k}RunningProcesses" for k in ("Compute", "Graphics", "MPSCompute")]
    hidden = (
        "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetFieldValues", "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlGpmQueryDeviceSupport", "nvmlGpmSampleAlloc", "nvmlEventSetWait_v2", "nvmlInit_v2",
        "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetCount_v2", "nvmlDeviceGetPciInfo_v3",
        "nvmlSystemGetCudaDriverVersion_v2", *(f"{name}_v{n}" for name in lists for n in (2, 3)),
    )  # fmt: skip
    node = gpu_node([Gpu(0).process(321, memory="2G", sm=40)], hidden)
    v = node.read()
    assert v["status"] == "ok" and v[of("problem")] is None and v[of("pci")] == "0000:10:00.0"
    assert v[of("mem_used_bytes")] == 60500 << 20, "version 1 counts what the driver keeps as used"
    assert v[of("throttle_mask")] == 0 and int(str(v[of("energy_mj")])) >= 1_000_000
    assert of("mem_temp_c") not in v and of("sm_active_pct") not in v
    assert [(p.pid, p.mem_bytes, p.sm_pct) for p in node.processes] == [(321, 2 << 30, 40)]


# -- no GPU, and why ----------


@pytest.mark.parametrize(
    ("code", "on_bus", "driver", "status", "words"),
    [
        (9, 2, "", "no driver", ["2 NVIDIA devices on the PCI bus but no driver loaded", "modprobe nvidia"]),
        (9, 0, "", "no driver", ["no NVIDIA device on the PCI bus"]),
        (18, 1, "535.104.05", "version mismatch", ["kernel module 535.104.05", "reboot"]),
        (4, 1, "535.104.05", "no permission", ["/dev/nvidia*"]),
        (999, 1, "535.104.05", "error", ["unknown error"]),
    ],
)
def test_why_there_is_no_gpu(
    gpu_node: Make, code: int, on_bus: int, driver: str, status: str, words: list[str]
) -> None:
    node = gpu_node()
    node.bus(on_bus, driver)
    node.state.fault(f"nvmlInit * error {code}")
    v = node.read()
    assert ids(v) <= {"status", "detail", "count", "driver", "cuda_version", "pid_space"}
    assert (v["status"], v["count"]) == (status, None)
    for word in words:
        assert word in str(v["detail"])


def test_a_driver_without_devices_is_no_device(gpu_node: Make) -> None:
    node = gpu_node(0)
    node.bus(1, "550.1")
    v = node.read()
    assert (v["status"], v["count"]) == ("no device", 0)
    assert "1 NVIDIA device on the PCI bus" in str(v["detail"])


def test_without_the_library_the_devices_on_the_bus_are_counted(gpu_node: Make) -> None:
    node = gpu_node()
    node.bus(3)
    node.library = "libnvidia-ml-that-is-not-there.so.1"
    v = node.read()
    assert v["status"] == "no library"
    assert str(v["detail"]).startswith("3 NVIDIA devices on the PCI bus, but libnvidia-ml-that")


def test_after_a_failure_of_the_library_it_is_tried_again(gpu_node: Make) -> None:
    node = gpu_node()
    node.state.fault("nvmlInit * error 9")
    for _ in range(5):
        assert node.read(0.9)["status"] == "no driver"
    assert node.calls("nvmlInit_v2") == 1
    node.state.fault()
    assert node.read(1.5)["status"] == "ok"


def test_a_mismatched_library_is_loaded_anew_once_the_right_one_is_there(
    gpu_node: Make, tmp_path: Path
) -> None:
    node = gpu_node()
    here = tmp_path / "libnvidia-ml.so.1"
    here.write_bytes(Path(node.library).read_bytes())
    node.library = str(here)
    node.state.fault("nvmlInit * error 18")
    assert node.read()["status"] == "version mismatch"
    mapped = Path("/proc/self/maps").read_text()
    assert str(here) not in mapped, "the old library is let go of"
    node.state.fault()
    assert node.read(5)["status"] == "ok"


# -- lost, unplugged, shifted ----------


def test_a_lost_gpu_keeps_its_row_with_its_last_values_and_is_called_no_more(gpu_node: Make) -> None:
    node = gpu_node(2)
    node.bus(2)
    node.read()
    node.state.fault("* 1 error 15")
    v = node.read(1)
    assert v[of("util_pct")] == 87 and v[of("state")] == "ok"
    assert (v[of("state", ONE)], v[of("util_pct", ONE)], v[of("power_w", ONE)]) == ("lost", None, None)
    assert v[of("name", ONE)] == "NVIDIA H100 80GB HBM3" and v[of("index", ONE)] == 1
    assert last_values(str(v[of("last", ONE)]))["power_w"] == pytest.approx(612.345)
    assert "GPU is lost (15)" in str(v[of("problem", ONE)]) and "GPU is lost" in node.problems[0]
    since = v[of("lost_since_s", ONE)]
    node.forget_calls()
    v = node.read(1)
    assert v[of("lost_since_s", ONE)] == since and v[of("state", ONE)] == "lost"
    assert node.calls("nvmlDeviceGetPowerUsage") == 1, "the lost one is left alone"
    for _ in range(12):
        v = node.read(1)
    assert v[of("lost_since_s", ONE)] == since, "a failed try to find it again changes nothing"
    assert not node.calls("nvmlShutdown") > 2, "starting the library anew is tried ever more rarely"
    node.state.fault()
    v = node.until(lambda v: v[of("state", ONE)] == "ok", 5)
    assert (v[of("util_pct", ONE)], v[of("lost_since_s", ONE)], v[of("last", ONE)]) == (87, None, None)
    assert "STALE-HANDLE" not in node.log.read_text() and "BAD-HANDLE" not in node.log.read_text()


def test_a_gpu_that_needs_a_reset_says_so(gpu_node: Make) -> None:
    node = gpu_node(2)
    node.read()
    node.state.fault("* 1 error 16")
    assert node.read(1)[of("state", ONE)] == "reset"


def test_a_gpu_lost_from_the_start_has_a_row_too(gpu_node: Make) -> None:
    node = gpu_node(2)
    node.state.fault("* 1 error 15")
    v = node.read()
    assert v[of("state", "nvidia-1")] == "lost" and v[of("index", "nvidia-1")] == 1
    assert v[of("util_pct")] == 87
    node.state.fault()
    v = node.read(5)
    assert v[of("state", ONE)] == "ok" and of("state", "nvidia-1") not in v


def test_a_gpu_that_only_the_kernel_module_knows_has_a_row_by_its_name(gpu_node: Make) -> None:
    node = gpu_node(1)
    node.bus(2)
    folder = node.root / "proc/driver/nvidia/gpus"
    for i in range(2):
        (folder / f"0000:{0x10 + i:02x}:00.0").mkdir(parents=True)
        (folder / f"0000:{0x10 + i:02x}:00.0/information").write_text(
            f"Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 43\nGPU UUID: \t {uuid(i)}\n"
        )
    v = node.read()
    assert (v[of("state", ONE)], v[of("pci", ONE)]) == ("lost", "0000:11:00.0")
    assert v[of("name", ONE)] == "NVIDIA H100 80GB HBM3" and v[of("state")] == "ok"
    assert any("1 of 2 NVIDIA devices on the PCI bus" in p for p in node.problems)


def test_unplugging_shifts_the_indexes_and_no_row_takes_another_ones_values(gpu_node: Make) -> None:
    node = gpu_node([Gpu(i, util=10 * i) for i in range(3)])
    node.read()
    del node.state.gpus[0]
    node.state.write()
    v = node.read(1)
    assert v[of("state")] == "lost" and v[of("util_pct", ONE)] == 10 and v[of("util_pct", uuid(2))] == 20
    v = node.read(5)
    assert v["count"] == 2 and v[of("state")] == "lost"
    assert (v[of("index", ONE)], v[of("index", uuid(2))]) == (0, 1)
    node.state.gpus.insert(0, Gpu(0, util=3))
    node.state.write()
    v = node.until(lambda v: v[of("state")] == "ok", 5)
    assert (v[of("util_pct")], v[of("index")], v[of("util_pct", ONE)]) == (3, 0, 10)


def test_a_new_gpu_is_found(gpu_node: Make) -> None:
    node = gpu_node(1)
    node.read()
    node.state.gpus.append(Gpu(1))
    node.state.write()
    v = node.read(5)
    assert v["count"] == 2 and v[of("util_pct", ONE)] == 87


def test_a_driver_that_goes_away_loses_all_and_one_that_comes_back_finds_all(gpu_node: Make) -> None:
    node = gpu_node(2)
    node.read()
    node.state.fault("* * error 9", "nvmlInit * error 9")
    v = node.read(1)
    assert v[of("state")] == "error" and v[of("util_pct")] is None
    v = node.read(5)
    assert v["status"] == "no driver" and v["count"] is None and v[of("state")] != "ok"
    node.state.fault()
    v = node.until(lambda v: v[of("state")] == "ok" and v[of("state", ONE)] == "ok", 5)
    assert v["status"] == "ok" and v["count"] == 2
    assert "STALE-HANDLE" not in node.log.read_text()


def test_every_reading_refused_is_an_error_of_the_device(gpu_node: Make) -> None:
    node = gpu_node(2)
    node.read()
    node.state.fault(*(f"{f} 1 error 999" for f in ("nvmlDeviceGet", "nvmlGpm")), "* 1 error 999")
    v = node.read(1)
    assert (v[of("state", ONE)], v[of("util_pct", ONE)]) == ("error", None)
    assert "unknown error (999)" in str(v[of("problem", ONE)])
    assert last_values(str(v[of("last", ONE)]))["temp_c"] == 64
    node.state.fault()
    assert node.read(1)[of("state", ONE)] == "ok"


def test_constants_that_still_answer_do_not_make_a_device_healthy(gpu_node: Make) -> None:
    node = gpu_node(1)
    node.read()
    live = ("UtilizationRates", "MemoryInfo", "Temperature", "PowerUsage")
    node.state.fault(*(f"nvmlDeviceGet{name} 0 error 999" for name in live))
    v = node.read(1)
    assert (v[of("state")], v[of("power_limit_w")]) == ("error", None)


# -- MIG ----------


def test_mig_devices_are_children_with_their_own_memory_activity_and_processes(gpu_node: Make) -> None:
    whole = (
        Gpu(0, mig_mode=1, util=None)
        .process(11, memory="1G", gi=7, ci=0)
        .process(12, memory="2G", gi=9, ci=0)
    )
    whole.mig(
        uuid="MIG-a",
        name="H100 MIG 1g.10gb",
        gi=7,
        ci=0,
        mem_total="10G",
        mem_used="3G",
        gpm=1,
        **{"gpm.2": 33},
    )
    whole.lines.append("process C 11 memory=1G gi=7 ci=0")
    whole.mig(uuid="MIG-b", name="H100 MIG 2g.20gb", gi=3, ci=0, mem_total="20G", mem_used="4G")
    node = gpu_node([whole, Gpu(1)])
    node.read()
    v = node.read(1)
    assert v["count"] == 2
    assert (v[of("parent", "MIG-a")], v[of("parent", "MIG-b")], v[of("parent")]) == (ZERO, ZERO, None)
    assert (v[of("index", "MIG-a")], v[of("index", "MIG-b")]) == (0, 1)
    assert (v[of("mem_used_bytes", "MIG-a")], v[of("mem_total_bytes", "MIG-b")]) == (3 << 30, 20 << 30)
    assert v[of("sm_active_pct", "MIG-a")] == 33 and of("util_pct", "MIG-a") not in v
    assert {(p.pid, p.gpu) for p in node.processes} == {(11, "MIG-a"), (12, ZERO)}
    h = node.health()
    assert (h[of("gpu_instance", "MIG-a")], h[of("mig_mode")], h[of("mig_mode", ONE)]) == (7, 1, 0)
    node.state.fault("* 0 error 15", "* MIG-a error 15", "* MIG-b error 15")
    v = node.read(1)
    assert (v[of("state")], v[of("state", "MIG-a")], v[of("mem_used_bytes", "MIG-b")]) == (
        "lost",
        "lost",
        None,
    )
    assert v[of("util_pct", ONE)] == 87
    node.state.gpus[0] = Gpu(0)
    node.state.fault()
    v = node.until(lambda v: of("state", "MIG-a") not in v, 5)
    assert v[of("util_pct")] == 87, "partitions that were taken apart are no loss"


# -- processes ----------


def test_processes_by_kind_most_memory_first_and_only_believable_samples(gpu_node: Make) -> None:
    gpu = Gpu(0)
    gpu.process(100, "C", "2G", sm=40, mem=5, enc=1, dec=2).process(101, "G", "1G").process(102, "B", "3G")
    gpu.process(103, "M", 1000, sm=255).process(0, "C", "1G").process(5_000_000, "C", "1G")
    gpu.process(104, "C", (1 << 64) - 1, sm=7, age_ms=60_000).process(105, "C", "900G", sm=9, mem=101)
    gpu.lines.append("sample 100 sm=99 age_ms=900")  # older than the other one
    gpu.lines.append("sample 999 sm=50")  # of no process
    node = gpu_node([gpu, Gpu(1).process(100, "C", "4G")])
    v = node.read()
    rows = {(p.pid, p.gpu): p for p in node.processes}
    assert [p.pid for p in node.processes if p.gpu == ZERO] == [102, 100, 101, 103, 104, 105]
    assert rows[100, ZERO][2:] == ("C", 2 << 30, 40, 5, 1, 2) and rows[100, ONE].mem_bytes == 4 << 30
    assert rows[102, ZERO].kind == "CG" and rows[103, ZERO].kind == "M" and rows[101, ZERO].kind == "G"
    assert rows[103, ZERO].sm_pct is None and rows[104, ZERO].sm_pct is None
    assert rows[104, ZERO].mem_bytes is None and rows[105, ZERO].mem_bytes is None
    assert (rows[105, ZERO].sm_pct, rows[105, ZERO].mem_util_pct) == (9, None)
    assert v[of("processes")] == 6


def test_hundreds_of_processes_on_one_gpu(gpu_node: Make) -> None:
    gpu = Gpu(0)
    for pid in range(1000, 1700):
        gpu.process(pid, "C", "10M", sm=1)
    node = gpu_node([gpu])
    assert node.read()[of("processes")] == 700
    assert all(p.sm_pct == 1 for p in node.processes)


def test_lists_that_are_refused_are_unknown_not_empty(gpu_node: Make) -> None:
    node = gpu_node([Gpu(0, processes="!4", graphics_processes="!4", mps_processes="!4")])
    v = node.read()
    assert v[of("processes")] is None and node.processes == []
    assert "no permission" in str(v[of("problem")])


@pytest.mark.parametrize(("inode", "space"), [(4026531836, "own"), (4026532299, "host")])
def test_whose_pids_they_are_is_said_once(gpu_node: Make, inode: int, space: str) -> None:
    node = gpu_node(1)
    (node.root / "proc/self/ns").mkdir(parents=True)
    (node.root / "proc/self/ns/pid").symlink_to(f"pid:[{inode}]")
    assert node.read()["pid_space"] == space


# -- the end ----------


def test_closing_ends_at_once_and_twice_is_no_harm(gpu_node: Make) -> None:
    node = gpu_node(1)
    node.read()
    node.probe.close()
    node.probe.close()


def test_this_node_says_what_it_has() -> None:
    sample = GpuProbe(makers=lambda proc, sys: [NvidiaMaker(proc, sys)]).read()
    assert sample.values["gpu.status"] in (
        *("ok", "no library", "no driver", "version mismatch", "no device", "no permission", "error"),
    )
    assert sample.values["gpu.detail"]
