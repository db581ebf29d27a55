"""Problem 1 on the node and in runs: each rule fires, and does not in its traps."""

from __future__ import annotations

import pytest

from tests.engine.rules.scene import GIB, Scene, values
from tests.fakes.source import FakeRun, process


def test_cuda_out_of_memory_computes_the_batch_that_fits() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 30, mem_allocated_bytes=4 * GIB, mem_peak_bytes=20 * GIB, mem_reserved_bytes=22 * GIB)
    text = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 16.00 GiB"
    run.event("exception", text, kind="oom-cuda")
    s.go()
    a = s.alert("oom-cuda")
    assert a.severity == "critical"
    # B_fit = (0.9 x 16 - 4) / ((20 - 4) / 32) = 20.8
    assert a.remedies[0].quantity == "batch 32 -> 20, accumulate 2"


def test_host_exception_is_its_own_rule() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 30)
    run.event("exception", "RuntimeError: can't allocate", kind="oom-host", asked_bytes=1 << 30)
    run.end("failed", 1, "RuntimeError")
    s.go(2)
    assert values(s.alert("oom-host-exception"))["Asked for"] == 1 << 30
    s.quiet("oom-killed")
    assert s.alert("worker-crashed").suppressed_by == "oom-host-exception"


def test_memory_low_holds_two_minutes_and_names_the_largest() -> None:
    s = Scene()
    s.set({"memory.available_bytes": 5 * GIB}).go(110)
    s.quiet("host-mem-low")
    s.go(15)
    a = s.alert("host-mem-low")
    assert "python3" in a.remedies[0].quantity  # type: ignore[operator]
    s.set({"memory.available_bytes": 12 * GIB}).go(100)
    assert s.alert("host-mem-low").state == "firing"
    s.set({"memory.available_bytes": 40 * GIB}).go(60)
    assert s.alert("host-mem-low").state == "closed"


def test_page_cache_is_no_use_of_the_container() -> None:
    s = Scene()
    s.set({"container.memory_limit_bytes": 2 * GIB, "container.memory_bytes": int(1.95 * GIB),
           "container.inactive_file_bytes": GIB}).go(30)  # fmt: skip
    s.quiet("container-mem-near-limit")
    s.set({"container.inactive_file_bytes": 0}).go(15)
    a = s.alert("container-mem-near-limit")
    assert a.severity == "warning"
    assert a.remedies[0].quantity == "2 GiB -> 2.34 GiB"
    s.set({"container.memory_bytes": int(1.99 * GIB)}).go(15)
    assert s.alert("container-mem-near-limit").severity == "critical"


def test_no_limit_is_no_unknown() -> None:
    s = Scene()
    s.go(3)
    s.quiet("container-mem-near-limit")
    s.quiet("cpu-throttled-cgroup")


def test_shared_memory_fills() -> None:
    s = Scene()
    s.set({"memory.shm_used_bytes": 62 << 20}).go(10)
    assert s.alert("shm-exhausted").severity == "warning"
    s.set({"memory.shm_used_bytes": 50 << 20}).go(60)
    assert s.alert("shm-exhausted").state == "firing"
    s.set({"memory.shm_used_bytes": 1 << 20}).go(60)
    assert s.alert("shm-exhausted").state == "closed"


def test_swap_thrash_needs_traffic_and_waiting() -> None:
    s = Scene()
    s.rate({"memory.swap_in_pages": 3000}).go(60)
    s.quiet("swap-thrash")  # nobody waits
    s.set({"pressure.memory.full_avg10_pct": 3.0}).go(40)
    assert s.alert("swap-thrash").severity == "critical"


def test_swap_in_use_without_traffic_is_harmless() -> None:
    s = Scene()
    s.set({"memory.swap_free_bytes": 0, "pressure.memory.full_avg10_pct": 3.0}).go(60)
    s.quiet("swap-thrash")


def test_leak_is_told_with_time_to_the_limit() -> None:
    s = Scene()
    run = s.run()
    s.set({"memory.available_bytes": 20 * GIB})
    base = 1 * GIB
    for i in range(100):
        s.source.set({"memory.available_bytes": 20 * GIB - i * (150 << 20)})
        s.train(run, 10, 10, rss_anon_bytes=base + i * (150 << 20))
    a = s.alert("host-mem-leak")
    assert a.entity == "run-1"
    growth = values(a)["Growth"]
    assert isinstance(growth, float)
    assert 0.8 * 9000 < growth < 1.2 * 9000  # MiB a minute


def loading(s: Scene, ticks: int, a_tick: int, fell: float, **config: object) -> FakeRun:
    """A worker with two loader processes that take `a_tick` bytes together each second."""
    run = s.run(workers=2)
    run.publish(config={**run.now.config, **config})
    for i in range(ticks):
        rss = GIB + i * a_tick // 2
        s.source.processes = [process(4242), *(process(p, ppid=4242, rss_bytes=rss) for p in (4243, 4244))]
        s.source.set({"memory.available_bytes": int(20 * GIB - i * fell * a_tick)})
        s.train(run, 10, 10, rss_anon_bytes=GIB)
    return run


def test_a_leak_of_loader_processes_is_told_as_theirs() -> None:
    s = Scene()
    loading(s, 80, 100 << 20, 1.0)
    a = s.alert("host-mem-leak")
    assert "2 loader processes" in a.why and a.remedies[0].key == "loader"
    assert "Memory of its loader processes" in values(a)


def test_the_limit_of_the_runs_own_group_says_what_is_left() -> None:
    s = Scene()
    loading(s, 80, 10 << 20, 1.0, memory_limit_bytes=6 * GIB)
    left = values(s.alert("host-mem-leak"))["Memory left"]
    assert isinstance(left, float) and left < 3 * GIB
    other = Scene()
    loading(other, 80, 10 << 20, 1.0)
    other.quiet("host-mem-leak")  # half an hour to the node's end


@pytest.mark.parametrize(("a_tick", "fell"), [(100 << 20, 0.1), (0, 0.0)])
def test_loaders_that_map_files_or_stay_as_they_are_leak_nothing(a_tick: int, fell: float) -> None:
    s = Scene()
    loading(s, 80, a_tick, fell)
    s.quiet("host-mem-leak")


def test_a_run_that_allocates_once_leaks_nothing() -> None:
    s = Scene()
    run = s.run()
    for i in range(150):
        s.train(run, 10, 10, rss_anon_bytes=GIB + (2 * GIB if i > 40 else 0) + (i % 3) * (1 << 20))
    s.quiet("host-mem-leak")
