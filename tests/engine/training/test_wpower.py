"""Counters of energy from a run's beginning to its end; the GPUs are simulated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dctop.engine.training import launcher, wpower
from tests.fakes import standin


def package(powercap: Path, n: int, energy: int, name: str = "package-0", most: int = 1_000_000) -> Path:
    folder = powercap / f"intel-rapl:{n}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(name + "\n")
    (folder / "max_energy_range_uj").write_text(f"{most}\n")
    (folder / "energy_uj").write_text(f"{energy}\n")
    return folder / "energy_uj"


def test_packages_count_together_and_round_their_end(tmp_path: Path) -> None:
    first = package(tmp_path, 0, 900_000)
    second = package(tmp_path, 1, 100_000, "package-1")
    package(tmp_path, 2, 5, "psys")  # the whole board: the packages are in it
    meter = wpower.Packages(str(tmp_path))
    first.write_text("100000")  # it went round
    second.write_text("400000")
    meter.look()
    second.write_text("500000")
    assert meter.joules() == pytest.approx(0.2 + 0.4)


def test_no_counter_is_none_and_not_nothing(tmp_path: Path) -> None:
    assert wpower.Packages(str(tmp_path)).joules() is None
    counter = package(tmp_path, 0, 0)
    counter.unlink()
    counter.mkdir()  # cannot be read, whoever asks
    assert wpower.Packages(str(tmp_path)).joules() is None


@pytest.mark.parametrize(
    ("device", "ranks", "named", "expected"),
    [
        ("cpu", 1, None, []),
        (None, 1, None, []),
        ("cuda:1", 1, None, ["1"]),
        ("cuda:0", 2, "3,1,0", ["3", "1"]),
        ("cuda:1", 1, "GPU-a, GPU-b", ["GPU-b"]),
        ("cuda", 1, "", []),
    ],
)
def test_the_gpus_of_a_run_are_those_cuda_shows_it(
    device: str | None, ranks: int, named: str | None, expected: list[str]
) -> None:
    environment = {} if named is None else {"CUDA_VISIBLE_DEVICES": named}
    assert wpower.visible_gpus(device, ranks, environment) == expected


METER = """
import json, sys, wpower
meter = wpower.Meter(sys.argv[1])
print("made", flush=True)
for line in sys.stdin:
    print(json.dumps(meter.taken(json.loads(line))), flush=True)
"""


def metered(tmp_path: Path, state: standin.State, said: list[tuple[int, str, object]]) -> list[object]:
    """Answers of a meter in a process that finds the stand-in driver; before each question every GPU's
    counter is set to the number at its front, times one, two ..."""
    child = subprocess.Popen(
        [sys.executable, "-c", METER, str(tmp_path / "none")], cwd=launcher.WORKER.parent, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **state.env()},
    )  # fmt: skip
    assert child.stdin and child.stdout
    assert child.stdout.readline() == "made\n"
    answers = []
    for energy, device, ranks in said:
        # The first look at the counters is taken by the time the first answer is given.
        for i, gpu in enumerate(state.gpus):
            gpu.values["energy"] = energy * (i + 1)
        state.write()
        run = {"device": {"chosen": device}, "ranks": ranks}
        child.stdin.write(json.dumps(run) + "\n")
        child.stdin.flush()
        answers.append(json.loads(child.stdout.readline()))
    child.stdin.close()
    child.wait()
    return answers


def test_gpus_of_the_run_count_from_its_beginning(tmp_path: Path) -> None:
    state = standin.State(tmp_path / "state", 2)
    for i, gpu in enumerate(state.gpus):
        gpu.values["energy"] = 1000 * (i + 1)
    state.write()
    answers = metered(
        tmp_path, state, [(1000, "cuda:0", 1), (5000, "cuda:0", 1), (5000, "cuda:0", 2), (5000, "cuda:7", 1)]
    )
    assert [a["gpu_j"] for a in answers[1:3]] == [4.0, 12.0]  # type: ignore[index]
    assert answers[3] == {"cpu_j": None, "gpu_j": None}


def test_a_gpu_that_does_not_count_or_a_driver_that_hangs_is_none(tmp_path: Path) -> None:
    nothing = [{"cpu_j": None, "gpu_j": None}]
    state = standin.State(tmp_path / "state", 1)
    assert metered(tmp_path, state, [(5, "cpu", 1)]) == nothing
    for fault in ("error 3", "sleep forever"):
        state.fault(f"nvmlDeviceGetTotalEnergyConsumption * {fault}")
        assert metered(tmp_path, state, [(5, "cuda:0", 1)]) == nothing
