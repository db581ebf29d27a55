"""Memory that will not last, on the GPU and in the run's own limit (simulated: numbers of no real GPU)."""

from __future__ import annotations

from collections.abc import Callable

from tests.engine.rules.gpus import ON_GPU, A, GpuScene, gpu_run
from tests.engine.rules.scene import GIB, Scene, values

MIB = 1 << 20


def every_tenth(value: Callable[[int], float]) -> Callable[[int], float]:
    """As the worker logs memory."""
    return lambda step: value(step) if step % 10 == 0 else float("nan")


def memory(
    peak: float = 28.0, allocated: float = 10.0, reserved: float = 30.0, **more: object
) -> dict[str, object]:
    """GiB, every tenth step."""
    named = {"mem_peak_bytes": peak, "mem_allocated_bytes": allocated, "mem_reserved_bytes": reserved}
    return {**ON_GPU, **{k: every_tenth(lambda _, v=v: v * GIB) for k, v in named.items()}, **more}


def test_a_peak_near_the_device_s_memory_is_told_with_the_batch_that_fits() -> None:
    s = GpuScene(A)
    s.gpu(A, mem_used_bytes=78 * GIB)
    run = gpu_run(s)
    s.train(run, 200, **memory(peak=70.0, reserved=76.0))
    s.quiet("oom-predicted-gpu")
    s.train(run, 200, **memory(peak=75.0, reserved=76.0))
    a = s.alert("oom-predicted-gpu")
    assert a.severity == "warning" and "94 %" in a.title
    # (0.9 x 80 - 10 - 2 of others) / ((75 - 10) / 32) = 29.5
    assert a.remedies[0].quantity == "batch 32 -> 29, accumulate 2"
    s.train(run, 200, **memory(peak=78.0, reserved=78.0))
    assert s.alert("oom-predicted-gpu").severity == "critical"
    s.train(run, 2500, **memory(peak=69.0, reserved=78.0))
    assert s.alert("oom-predicted-gpu").state == "closed"


def test_a_rise_that_reaches_the_capacity_soon_is_told_before_the_peak_is_high() -> None:
    s = GpuScene(A)
    s.gpu(A, mem_used_bytes=60 * GIB)
    run = gpu_run(s)
    rising = {
        **ON_GPU, "mem_reserved_bytes": every_tenth(lambda _: 60 * GIB),
        "mem_allocated_bytes": every_tenth(lambda n: 10 * GIB + n * 100 * MIB),
        "mem_peak_bytes": every_tenth(lambda n: 30 * GIB + n * 100 * MIB),
    }  # fmt: skip
    s.train(run, 100, 20, **rising)
    a = s.alert("oom-predicted-gpu")
    assert "steps" in a.title and values(a)["Rises by"] == 100.0
    steps = values(a)["Steps until full"]
    assert isinstance(steps, int) and 350 < steps < 500
    s.train(run, 120, 20, **rising)
    assert s.alert("gpu-mem-creep").severity == "warning"
    assert s.alert("oom-predicted-gpu").suppressed_by == "gpu-mem-creep"


def test_the_allocator_s_cache_growing_is_no_trend() -> None:
    s = GpuScene(A)
    s.gpu(A, mem_used_bytes=60 * GIB)
    run = gpu_run(s)
    s.train(run, 400, **memory() | {"mem_reserved_bytes": every_tenth(lambda n: 30 * GIB + n * 50 * MIB)})
    s.quiet("oom-predicted-gpu")
    s.quiet("gpu-mem-creep")


def test_batches_of_different_lengths_are_judged_by_the_highest_peak() -> None:
    s = GpuScene(A)
    run = gpu_run(s)
    peaks = every_tenth(lambda n: (76 if n % 40 == 0 else 40) * GIB)
    s.train(run, 400, **memory(reserved=77.0) | {"mem_peak_bytes": peaks})
    assert s.alert("oom-predicted-gpu").severity == "warning"


def test_creep_is_a_slope_and_the_buffers_of_a_first_evaluation_are_not() -> None:
    s = GpuScene(A)
    run = gpu_run(s)
    step = every_tenth(lambda n: (10 if n < 200 else 13) * GIB + (n % 7) * MIB)
    s.train(run, 480, 20, **memory() | {"mem_allocated_bytes": step})
    s.quiet("gpu-mem-creep")
    t = GpuScene(A)
    run = gpu_run(t)
    t.train(run, 480, 20, **memory() | {"mem_allocated_bytes": every_tenth(lambda n: 10 * GIB + n * 5 * MIB)})
    a = t.alert("gpu-mem-creep")
    assert values(a)["Rises by"] == 5.0 and values(a)["Confirmed"] == "yes"
    assert "step" in (a.remedies[0].effect or "")


def test_fragmentation_needs_a_tight_device_or_repeated_allocation() -> None:
    s = GpuScene(A)
    s.gpu(A, mem_used_bytes=70 * GIB)
    run = gpu_run(s)
    s.train(run, 200, **memory(peak=40.0, reserved=68.0))  # after a large evaluation: room left
    s.quiet("gpu-mem-fragmentation")
    s.gpu(A, mem_used_bytes=79 * GIB)
    s.train(run, 200, **memory(peak=40.0, reserved=78.0))
    a = s.alert("gpu-mem-fragmentation")
    assert "38 GiB" in a.title and a.remedies[0].command
    t = GpuScene(A)
    run = gpu_run(t)
    t.train(run, 200, **memory() | {"mem_retries": every_tenth(lambda n: n // 60)})
    assert values(t.alert("gpu-mem-fragmentation"))["Asked again"] >= 1


def test_without_the_device_s_capacity_nothing_is_said() -> None:
    s = GpuScene(A).without("mem_total_bytes")
    run = gpu_run(s)
    s.train(run, 100, **memory(peak=79.0))
    assert "gpu.mem_total_bytes" in s.unknown("oom-predicted-gpu")
    t = GpuScene(A)
    t.train(gpu_run(t), 100)  # a log without memory
    assert "mem_peak_bytes" in t.unknown("gpu-mem-creep")


def test_a_run_on_the_cpu_has_no_gpu_memory() -> None:
    s = GpuScene(A)
    s.train(s.run(), 300)
    for rule in ("oom-predicted-gpu", "gpu-mem-creep", "gpu-mem-fragmentation"):
        s.quiet(rule)


def test_own_memory_near_the_run_s_own_limit() -> None:
    s = Scene()
    run = s.run()
    run.publish(config={**run.now.config, "memory_limit_bytes": GIB})
    s.train(run, 100, rss_anon_bytes=0.9 * GIB)
    s.quiet("oom-predicted-host")
    s.train(run, 100, rss_anon_bytes=0.93 * GIB)
    a = s.alert("oom-predicted-host")
    assert a.severity == "warning" and a.remedies[0].quantity == "1 GiB -> 1.12 GiB"
    s.train(run, 100, rss_anon_bytes=0.98 * GIB)
    assert s.alert("oom-predicted-host").severity == "critical"


def test_no_limit_of_its_own_is_nothing_to_predict() -> None:
    s = Scene()
    s.train(s.run(), 100, rss_anon_bytes=50 * GIB)
    s.quiet("oom-predicted-host")
