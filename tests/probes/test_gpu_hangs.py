"""Calls into the driver that never come back, and Xids that come by a thread: over the stand-in driver."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import pytest

from dctop.probes import workers as module
from dctop.probes.workers import Step, Workers
from tests.fakes.gpunode import GpuNode, gpu_node
from tests.fakes.standin import Gpu, uuid

__all__ = ["gpu_node"]
Make = Callable[..., GpuNode]
ZERO, ONE = uuid(0), uuid(1)
CALL_S = 0.4
"""Deadline of a call in these tests: long for a stand-in that answers in microseconds."""


def of(name: str, gpu: str = ZERO) -> str:
    return f"{name}{{gpu={gpu}}}"


def hanging(gpu_node: Make, gpus: int | list[Gpu] = 3) -> GpuNode:
    node = gpu_node(gpus)
    node.call_s = CALL_S
    return node


@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetFieldValues",
        "nvmlDeviceGetEncoderUtilization", "nvmlGpmSampleGet", "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetProcessUtilization",
    ],
)  # fmt: skip
def test_a_gpu_that_hangs_takes_no_other_one_with_it(gpu_node: Make, function: str) -> None:
    node = hanging(gpu_node, [Gpu(i).process(50 + i) for i in range(3)])
    node.read()
    node.read(1)
    node.state.fault(f"{function} 1 sleep forever")
    v = node.read(1)
    assert v[of("state", ONE)] == "hung" and v[of("util_pct", ONE)] is None
    assert f"{function.partition('_v')[0]}" in str(v[of("problem", ONE)]), "it says what hangs"
    assert all(
        v[of(n, g)] is not None for g in (ZERO, uuid(2)) for n in ("util_pct", "mem_used_bytes", "temp_c")
    )
    assert {p.gpu for p in node.processes} == {ZERO, uuid(2)}
    node.forget_calls()
    for _ in range(8):
        v = node.read(1)
    assert v[of("state", ONE)] == "hung" and v[of("util_pct")] == 87
    assert ONE not in node.log.read_text(), "while it hangs it is not called"
    node.state.fault()
    v = node.until(lambda v: v[of("state", ONE)] == "ok")
    assert v[of("util_pct", ONE)] == 87 and v[of("lost_since_s", ONE)] is None
    assert "STALE-HANDLE" not in node.log.read_text()


def test_a_slow_reading_of_its_health_is_a_gpu_that_hangs(gpu_node: Make) -> None:
    node = hanging(gpu_node)
    node.read()
    node.state.fault("nvmlDeviceGetRemappedRows 2 sleep forever")
    h = node.health()
    assert h[of("pcie_gen")] == 5 and of("pcie_gen", uuid(2)) not in h
    v = node.read(1)
    assert v[of("state", uuid(2))] == "hung" and "RemappedRows" in str(v[of("problem", uuid(2))])
    assert v[of("util_pct")] == 87


def test_all_of_sixteen_hanging_are_told_within_few_readings(gpu_node: Make) -> None:
    node = hanging(gpu_node, 16)
    node.read()
    node.state.fault("nvmlDeviceGetPowerUsage * sleep forever")
    began = time.monotonic()
    v = node.until(lambda v: all(v[of("state", uuid(i))] == "hung" for i in range(16)))
    assert v["status"] == "ok" and time.monotonic() - began < 16 * CALL_S


@pytest.mark.parametrize("function", ["nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUUID"])
def test_a_gpu_that_cannot_be_opened_without_hanging_is_left_alone(gpu_node: Make, function: str) -> None:
    node = hanging(gpu_node)
    node.state.fault(f"{function} 1 sleep forever")
    v = node.read()
    assert v[of("util_pct")] == 87 and v[of("util_pct", uuid(2))] == 87
    assert v[of("state", "nvidia-1")] == "hung", "it has a row though nobody knows who it is"
    assert f"{function} has not come back" in str(v[of("problem", "nvidia-1")])
    v = node.read(6)
    assert v[of("util_pct", uuid(2))] == 87
    node.state.fault()
    v = node.until(lambda v: v.get(of("util_pct", ONE)) == 87)
    assert v["count"] == 3 and of("state", "nvidia-1") not in v


def test_initialisation_that_hangs_is_said_and_ends_when_it_comes_back(gpu_node: Make) -> None:
    node = hanging(gpu_node)
    node.state.fault("nvmlInit * sleep forever")
    v = node.read()
    assert (v["status"], v["count"]) == ("hung", None)
    assert "nvmlInit" in str(v["detail"])
    began = time.monotonic()
    node.probe.close()
    assert time.monotonic() - began < 0.2, "the end waits for nobody"
    node.state.fault()
    v = node.until(lambda v: v["status"] == "ok")
    assert v[of("util_pct")] == 87


def test_counting_that_hangs_stops_no_reading(gpu_node: Make) -> None:
    node = hanging(gpu_node)
    node.read()
    node.state.fault("nvmlDeviceGetCount * sleep forever")
    v = node.read(6)
    assert v[of("util_pct")] == 87 and v[of("state")] == "ok"
    assert v[of("util_pct")] == 87 and node.read(6)[of("state", ONE)] == "ok"


def test_a_name_that_does_not_come_is_a_gpu_that_hangs(gpu_node: Make) -> None:
    node = hanging(gpu_node)
    node.state.fault("nvmlDeviceGetName 1 sleep forever")
    v = node.read()
    assert v[of("state", ONE)] == "hung" and "nvmlDeviceGetName" in str(v[of("problem", ONE)])
    assert v[of("util_pct", uuid(2))] == 87


def test_registering_for_xids_that_hangs_keeps_one_thread_and_nothing_else(gpu_node: Make) -> None:
    node = hanging(gpu_node)
    node.state.fault("nvmlDeviceRegisterEvents * sleep forever")
    for _ in range(4):
        v = node.read(6)
    assert all(v[of("util_pct", uuid(i))] == 87 for i in range(3))
    assert node.calls("nvmlDeviceRegisterEvents") == 1
    assert node.health()[of("xid_watch")] == 0


def test_a_slow_driver_is_read_to_the_end(gpu_node: Make) -> None:
    node = hanging(gpu_node)
    node.state.fault("nvmlDeviceGetUtilizationRates * sleep 60")
    v = node.read()
    assert all(v[of("util_pct", uuid(i))] == 87 for i in range(3))


# -- Xids ------------------------------------------------------------------------------------------------


def test_xids_come_with_gpu_code_and_address(gpu_node: Make) -> None:
    node = gpu_node(2)
    node.state.xid(1, 13)  # before anybody watched
    v = node.read()
    assert node.health()[of("xid_watch")] == 1 and node.events == []
    node.state.xid(1, 79)
    node.state.xid(0, 31)
    seen = []
    node.until(lambda v: bool(seen.extend(node.events)) or len(seen) == 2, 0.1)
    fields = [dict(e.fields) for e in seen]
    assert fields == [
        {"code": "79", "source": "nvml", "pci": "0000:11:00", "gpu": ONE},
        {"code": "31", "source": "nvml", "pci": "0000:10:00", "gpu": ZERO},
    ]
    assert all(e.kind == "xid" and e.wall_ns > 0 for e in seen) and len({e.seq for e in seen}) == 2
    assert v["status"] == "ok"


def test_a_driver_that_reports_no_xids_is_no_problem(gpu_node: Make) -> None:
    node = gpu_node([Gpu(0, events=None)])
    node.read()
    assert node.problems == () and node.health()[of("xid_watch")] == 0


def test_refused_waiting_is_said_and_tried_again(gpu_node: Make) -> None:
    node = gpu_node(1)
    node.state.fault("nvmlEventSetWait * error 999")
    node.until(lambda v: any("Xids are not watched" in p for p in node.problems), 0.0)
    assert node.health()[of("xid_watch")] == 0
    node.state.fault()
    node.until(lambda v: node.health()[of("xid_watch")] == 1, 5)
    assert node.problems == ()


def test_a_lost_gpu_is_taken_out_of_the_watch_and_the_others_are_still_watched(gpu_node: Make) -> None:
    node = gpu_node(2)
    node.read()
    node.state.fault("* 1 error 15")
    node.read(1)
    node.read(6)
    assert (node.health()[of("xid_watch")], node.health()[of("xid_watch", ONE)]) == (1, 0)
    node.state.xid(0, 48)
    seen = []
    node.until(lambda v: bool(seen.extend(node.events)) or bool(seen), 0.1)
    assert seen[0].fields["code"] == "48"


# -- the worker ---------------------------------------------------------------------------------------------


def test_steps_run_in_order_and_further_ones_come_next() -> None:
    done: list[str] = []
    workers = Workers("test", 5, 10)

    def step(name: str) -> Step:
        return Step(name, lambda: done.append(name))

    def more() -> list[Step]:
        done.append("more")
        return [step("b"), step("c")]

    assert workers.run(lambda: [step("a"), Step("more", more), step("d")])
    assert done == ["a", "more", "b", "c", "d"]
    workers.close()


def test_what_a_step_raises_is_raised_after_the_others_ran() -> None:
    done: list[str] = []
    workers = Workers("test", 5, 10)
    with pytest.raises(ZeroDivisionError):
        workers.run(
            lambda: [Step("x", lambda: [Step("y", lambda: 1 // 0)]), Step("z", lambda: done.append("z"))]
        )
    assert done == ["z"] and workers.run(list)


def test_a_thread_that_waits_for_a_processor_is_not_called_hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STARVED", 1000)
    workers = Workers("test", 0.05, 60)
    work = Step(
        "work", lambda: hashlib.pbkdf2_hmac("sha256", b"x", b"y", 500_000) and None
    )  # without the GIL
    assert workers.run(lambda: [work])
    assert workers.stuck() == []
    workers.close()
