"""Joules of a run: measured where the node counts them, and an estimate that says so where it does not."""

from __future__ import annotations

from array import array
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dctop.engine.config import Energy
from dctop.engine.metrics.source import Source
from dctop.engine.training.energy import RunEnergy, as_json, in_words, run_energy
from dctop.engine.training.runstate import RunEvent, RunState

NOW = 2_000_000 * 10**9
SETTINGS = Energy(price_per_kwh=0.3, co2_g_per_kwh=400.0, pue=1.5)


def run(seconds: float, device: str = "cpu", ended_ago: float | None = None, **facts: Any) -> RunState:
    end = None if ended_ago is None else NOW - int(ended_ago * 1e9)
    return cast(
        RunState,
        SimpleNamespace(
            config={"first_step": 1, **facts}, device=device, step=100, last={"samples": 32.0}, columns={},
            events=[],
            started_wall_ns=(end or NOW) - int(seconds * 1e9), ended_wall_ns=end,
        ),
    )  # fmt: skip


def node(power: dict[str, list[float]], indices: dict[str, float] | None = None) -> Source:
    """A source whose windows end now."""
    labels: dict[str, list[str]] = {"cpu.power_w": [], "gpu.power_w": []}
    for key in power:
        labels[key.partition("{")[0]].append(key.partition("=")[2].rstrip("}"))
    numbers = {f"gpu.index{{gpu={uuid}}}": index for uuid, index in (indices or {}).items()}
    snapshot = SimpleNamespace(frame=SimpleNamespace(wall_ns=NOW), labels=labels, num=numbers.get)

    def window(key: str, n: int) -> array[float]:
        values = power.get(key, [])[-n:]
        return array("d", [float("nan")] * (n - len(values)) + values)

    return cast(Source, SimpleNamespace(interval_s=1.0, snapshot=lambda: snapshot, window=window))


def energy(source: Source, state: RunState) -> RunEnergy:
    found = run_energy(source, state, SETTINGS)
    assert found is not None
    return found


def test_power_times_time_is_energy_with_money_carbon_and_joules_a_sample() -> None:
    found = energy(
        node({"cpu.power_w{package=0}": [100.0] * 101, "cpu.power_w{package=1}": [50.0] * 101}), run(100)
    )
    assert found.joules == pytest.approx(15_000) and found.cpu_joules == found.joules
    assert found.gpu_joules is None and not found.estimate and found.seen == 1.0
    assert found.kwh == pytest.approx(15_000 / 3.6e6 * 1.5)
    assert found.cost == pytest.approx(found.kwh * 0.3) and found.co2_g == pytest.approx(found.kwh * 400)
    assert found.joules_per_sample == pytest.approx(15_000 / 3200)
    assert found.basis == "CPU packages (all that ran on them) by RAPL"


def test_only_the_gpus_of_the_run_count() -> None:
    power = {
        f"gpu.power_w{{gpu=GPU-{c}}}": [watts] * 60 for c, watts in (("a", 300.0), ("b", 500.0), ("c", 700.0))
    }
    source = node(power, {"GPU-a": 0, "GPU-b": 1, "GPU-c": 2})
    assert energy(source, run(50, "cuda:1")).gpu_joules == pytest.approx(25_000)
    both = energy(source, run(50, "cuda:0", ranks=2))
    assert (
        both.gpu_joules == pytest.approx(40_000) and both.basis == "2 GPUs by NVML" and both.samples == 6400
    )


def test_what_was_not_seen_is_filled_up_and_called_an_estimate() -> None:
    found = energy(node({"cpu.power_w{package=0}": [80.0] * 25}), run(100))
    assert found.joules == pytest.approx(8000) and found.estimate
    assert found.basis == "estimate: CPU packages (all that ran on them) by RAPL, seen for 25% of its time"


def test_power_after_the_end_is_not_the_runs() -> None:
    found = energy(node({"cpu.power_w{package=0}": [100.0] * 60 + [9000.0] * 40}), run(50, ended_ago=40))
    assert found.joules == pytest.approx(5000) and found.seconds == pytest.approx(50)


def test_without_counters_threads_are_assumed_and_it_is_said() -> None:
    found = energy(node({}), run(10, threads=4, ranks=2))
    assert found.joules == pytest.approx(8 * 12 * 10) and found.estimate and found.cpu_joules is None
    assert found.basis == "estimate: no power counters; 8 threads at 12 W"


def test_a_gpu_whose_power_is_not_known_is_not_taken_for_nothing() -> None:
    found = energy(node({"cpu.power_w{package=0}": [80.0] * 101}), run(100, "cuda:0"))
    assert found.estimate and found.basis.endswith("the power of its GPU is not known")


def test_no_price_is_no_cost_and_no_sample_is_no_energy() -> None:
    state, source = run(10), node({"cpu.power_w{package=0}": [1.0] * 11})
    plain = run_energy(source, state, Energy())
    assert plain is not None and plain.cost is None and plain.co2_g is None
    bare = replace(plain, samples=None)
    assert bare.joules_per_sample is None
    assert run_energy(cast(Source, SimpleNamespace(snapshot=lambda: None)), state, SETTINGS) is None


def ended(device: str = "cpu", **counted: float | None) -> RunState:
    state = run(100, device, ended_ago=10_000, threads=2)
    state.events = [RunEvent(NOW, 100, "end", "reached its last step, 100", counted)]
    return state


def test_a_run_that_has_ended_says_itself_what_was_counted() -> None:
    state = ended("cuda:0", cpu_j=1000.0, gpu_j=4000.0)
    for source in (None, node({"cpu.power_w{package=0}": [9000.0] * 60})):
        found = run_energy(source, state, SETTINGS)
        assert found is not None and found.joules == 5000 and found.gpu_joules == 4000 and not found.estimate
        assert found.basis == "1 GPU by NVML and CPU packages (all that ran on them) by RAPL"


def test_a_count_without_the_gpu_of_the_run_is_an_estimate() -> None:
    found = run_energy(None, ended("cuda:0", cpu_j=1000.0, gpu_j=None), SETTINGS)
    assert found is not None and found.estimate and "its GPU is not known" in found.basis


def test_where_nothing_counted_and_nobody_watched_threads_are_assumed() -> None:
    found = run_energy(None, ended(cpu_j=None, gpu_j=None), SETTINGS)
    assert found is not None and found.estimate and found.joules == pytest.approx(2 * 12 * 100)


def test_energy_in_one_line_and_as_json() -> None:
    found = run_energy(None, ended(cpu_j=7200.0, gpu_j=None), SETTINGS)
    assert found is not None
    assert in_words(found) == (
        "7,200 J = 0.00300 kWh, 2.25 J a sample, 0.000900 EUR, 1.20 g CO2 "
        "(CPU packages (all that ran on them) by RAPL)"
    )
    told = as_json(found)
    assert told["joules"] == 7200 and told["estimate"] is False and told["gpu_joules"] is None
    bare = run_energy(None, ended(), Energy())
    assert bare is not None and in_words(bare).startswith(
        "~2,400 J = ~0.000667 kWh, ~0.750 J a sample (estimate: "
    )
    assert as_json(bare)["cost"] is None and as_json(bare)["currency"] is None
