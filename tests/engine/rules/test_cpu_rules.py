"""Problem 2 and the resource compute."""

from __future__ import annotations

from tests.engine.rules.gpus import rank
from tests.engine.rules.scene import Scene, noisy, values
from tests.fakes.source import process


def test_input_bound_computes_the_loader_processes() -> None:
    s = Scene()
    run = s.run(workers=2)
    s.train(run, 1000, step_s=0.050, data_s=0.030, cpu_s=0.02)
    a = s.alert("input-bound")
    assert a.severity == "critical"
    # P = 2 x 50 ms, t_compute = 20 ms: W* = ceil(1.2 x 100 / 20) = 6, step = max(20, 100 / 6)
    assert a.remedies[0].quantity == "workers 2 -> 6 (at most 7 here)"
    assert a.remedies[0].effect == "step 50 -> 20 ms"
    s.train(run, 3000)
    assert s.alert("input-bound").state == "closed"


def test_tiny_steps_are_not_called_input_bound() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 1000, step_s=0.002, data_s=0.0006)
    s.quiet("input-bound")


def test_the_first_step_of_an_epoch_does_not_count() -> None:
    s = Scene()
    run = s.run()
    run.now.config["steps_per_epoch"] = 10  # type: ignore[index]
    s.train(
        run,
        1000,
        data_s=lambda n: 5.0 if n % 10 == 1 else 0.0004,
        step_s=lambda n: 5.0 if n % 10 == 1 else 0.02,
    )
    s.quiet("input-bound")
    s.quiet("throughput-regression")


def test_a_slower_run_names_the_phase() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 1000, step_s=noisy(0.02))
    s.quiet("throughput-regression")
    s.train(run, 2000, 25, step_s=0.035, forward_s=0.021)
    a = s.alert("throughput-regression")
    assert a.severity == "warning"
    assert "`forward`" in a.remedies[0].text
    s.train(run, 2000, 25, step_s=0.060, forward_s=0.046)
    assert s.alert("throughput-regression").severity == "critical"
    s.train(run, 3000)
    assert s.alert("throughput-regression").state == "closed"


def test_another_batch_size_is_no_regression() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 1000, samples=256, step_s=0.08)
    s.train(run, 4000, samples=32, step_s=0.02)
    s.quiet("throughput-regression")


def test_waiting_for_another_rank_is_no_contention() -> None:
    s = Scene()
    s.set({"pressure.cpu.some_avg10_pct": 60.0})
    run = s.run()
    config = {**run.now.config, "ranks": 2}
    run.publish(config=config, ranks=(rank(0, 0.1, 0.08), rank(1, 0.1, 0.01, data_s=0.07)))
    s.train(run, 2500, step_s=0.1, cpu_s=0.028)
    s.quiet("cpu-contended")
    run.publish(ranks=(rank(0, 0.1, 0.08), rank(1, 0.1, 0.08)))
    s.train(run, 2500, step_s=0.1, cpu_s=0.028)
    assert s.alert("cpu-contended")


def test_contention_needs_a_starved_thread_and_pressure() -> None:
    s = Scene()
    run = s.run()
    hog = process(77, "hog", cpu_ticks=0)
    s.source.processes.append(hog)
    s.train(run, 1500, step_s=0.03, cpu_s=0.015)
    s.quiet("cpu-contended")  # waiting for something, but not for the CPU
    s.set({"pressure.cpu.some_avg10_pct": 60.0})
    for i in range(1, 41):
        s.source.processes[-1] = hog._replace(cpu_ticks=i * 100)
        s.train(run, 50, step_s=0.03, cpu_s=0.015)
    a = s.alert("cpu-contended")
    assert "hog" in a.remedies[0].text
    assert values(a)["Thread CPU / wall"] == 0.507


def test_pressure_alone_is_no_contention() -> None:
    s = Scene()
    run = s.run()
    s.set({"pressure.cpu.some_avg10_pct": 60.0})
    s.train(run, 2500)
    s.quiet("cpu-contended")


def test_contention_is_unknown_without_psi() -> None:
    s = Scene()
    run = s.run()
    s.set({"pressure.cpu.some_avg10_pct": None})
    s.train(run, 200)
    assert "pressure.cpu.some_avg10_pct" in s.unknown("cpu-contended")


def test_throttling_asks_for_the_quota_that_is_needed() -> None:
    s = Scene()
    s.set({"container.cpu_quota_cores": 2.0})
    s.rate({"container.cpu_periods": 10, "container.cpu_throttled_periods": 6,
            "container.cpu_throttled_us": 1_000_000, "container.cpu_usage_us": 2_000_000}).go(70)  # fmt: skip
    a = s.alert("cpu-throttled-cgroup")
    assert a.remedies[0].quantity == "2 -> 3.6 cores"


def test_short_throttling_hurts_nobody() -> None:
    s = Scene()
    s.set({"container.cpu_quota_cores": 2.0})
    s.rate({"container.cpu_periods": 10, "container.cpu_throttled_periods": 6,
            "container.cpu_throttled_us": 10_000, "container.cpu_usage_us": 2_000_000}).go(120)  # fmt: skip
    s.quiet("cpu-throttled-cgroup")


def test_a_saturated_cpu_is_a_note_while_a_run_owns_it() -> None:
    s = Scene(5.0)
    s.rate({"cpu.user_ticks": 790, "cpu.idle_ticks": 10})
    s.go(500)
    assert "10 min" in s.unknown("cpu-saturated")
    s.go(200)
    assert s.alert("cpu-saturated").severity == "critical"

    s = Scene(5.0)
    s.run()
    s.rate({"cpu.user_ticks": 790, "cpu.idle_ticks": 10})
    for i in range(140):
        s.source.processes[0] = s.source.processes[0]._replace(cpu_ticks=i * 2000)
        s.go(5)
    assert s.alert("cpu-saturated").severity == "info"
    assert s.engine.problem_status()["compute"] == "suspect"


def test_a_short_peak_is_no_saturation() -> None:
    s = Scene(5.0)
    s.go(700)
    s.rate({"cpu.user_ticks": 790, "cpu.idle_ticks": 10}).go(300)
    s.quiet("cpu-saturated")


def test_steal() -> None:
    s = Scene(10.0)
    s.rate({"cpu.steal_ticks": 120}).go(1300)
    assert s.alert("cpu-steal").severity == "warning"
