"""Programs no one here wrote, on the stand-in driver at the same moment as dctop: the same numbers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.standin import Gpu, State, uuid

MI = 1 << 20


@pytest.fixture
def node(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Environment of a node with four simulated GPUs; this process and a sleeping one are on the first."""
    gpus = [
        Gpu(i, util=20 * i + 7, temp=40 + i, power=300_000 + 1000 * i, mem_used=f"{10_000 + i}M")
        for i in range(4)
    ]
    with subprocess.Popen(["sleep", "1000"]) as sleeper:
        gpus[0].process(os.getpid(), "C", "8G", sm=55, mem=3).process(sleeper.pid, "C", "2G", sm=11, mem=1)
        found = State(tmp_path / "state", gpus).env()
        yield {**os.environ, **found, "COLUMNS": "160", "TERM": "xterm-256color"}
        sleeper.kill()


def run(env: dict[str, str], *argv: str) -> str:
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def dctop(env: dict[str, str]) -> dict[str, Any]:
    code = "from dctop.tui.cli import main; main(['snapshot', '--json', '--interval', '0.5'])"
    found: dict[str, Any] = json.loads(run(env, sys.executable, "-c", code))
    return found


def script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def test_pynvml_reads_what_dctop_reads(node: dict[str, str]) -> None:
    code = """
import json, pynvml as n
n.nvmlInit()
out = []
for i in range(n.nvmlDeviceGetCount()):
    d = n.nvmlDeviceGetHandleByIndex(i)
    u, m = n.nvmlDeviceGetUtilizationRates(d), n.nvmlDeviceGetMemoryInfo(d, n.nvmlMemory_v2)
    fields = n.nvmlDeviceGetFieldValues(d, [82, 230])
    samples = [n.nvmlGpmSampleAlloc() for _ in range(2)]
    get = n.c_nvmlGpmMetricsGet_t()
    get.version, get.numMetrics, get.sample1, get.sample2 = 1, 1, *samples
    get.metrics[0].metricId = 2
    for s in samples:
        n.nvmlGpmSampleGet(d, s)
    n.nvmlGpmMetricsGet(get)
    out.append({
        "uuid": n.nvmlDeviceGetUUID(d), "gpu.util_pct": u.gpu, "gpu.mem_util_pct": u.memory,
        "gpu.mem_used_bytes": m.used, "gpu.mem_reserved_bytes": m.reserved,
        "gpu.power_w": n.nvmlDeviceGetPowerUsage(d) / 1000, "gpu.temp_c": n.nvmlDeviceGetTemperature(d, 0),
        "gpu.sm_clock_mhz": n.nvmlDeviceGetClockInfo(d, 1), "gpu.mem_temp_c": fields[0].value.uiVal,
        "gpu.sm_active_pct": get.metrics[0].value,
        "gpu.temp_slowdown_c": n.nvmlDeviceGetTemperatureThreshold(d, 1),
        "gpu.remap_pending": n.nvmlDeviceGetRemappedRows(d)[2],
        "gpu.pcie_gen": n.nvmlDeviceGetCurrPcieLinkGeneration(d),
        "gpu.throttle_mask": n.nvmlDeviceGetCurrentClocksEventReasons(d),
        "gpu.ecc_corrected_total": n.nvmlDeviceGetTotalEccErrors(d, 0, 1),
    })
print(json.dumps(out))
"""
    theirs = json.loads(run(node, sys.executable, "-c", code))
    ours = dctop(node)["metrics"]
    assert len(theirs) == 4
    for gpu in theirs:
        name = gpu.pop("uuid")
        assert {metric: value_of(ours, metric, name) for metric in gpu} == gpu


def value_of(metrics: Any, metric: str, gpu: str) -> Any:
    (found,) = [m["value"] for m in metrics if m["id"] == metric and m["labels"] == {"gpu": gpu}]
    return found


def test_gpustat_shows_what_dctop_shows(node: dict[str, str]) -> None:
    theirs = json.loads(run(node, script("gpustat"), "--json"))
    ours = dctop(node)["metrics"]
    assert [g["uuid"] for g in theirs["gpus"]] == [uuid(i) for i in range(4)]
    for g in theirs["gpus"]:
        name = g["uuid"]
        assert g["utilization.gpu"] == value_of(ours, "gpu.util_pct", name)
        assert g["temperature.gpu"] == value_of(ours, "gpu.temp_c", name)
        assert g["memory.used"] == value_of(ours, "gpu.mem_used_bytes", name) / MI
        assert g["power.draw"] == pytest.approx(value_of(ours, "gpu.power_w", name), abs=1)
    pids = {p["pid"]: p["gpu_memory_usage"] for p in theirs["gpus"][0]["processes"]}
    assert pids[os.getpid()] == 8192 and len(pids) == 2


def test_nvitop_shows_what_dctop_shows(node: dict[str, str]) -> None:
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\([A-Z]", "", run(node, script("nvitop"), "-1"))
    ours = dctop(node)
    for i in range(4):
        util = value_of(ours["metrics"], "gpu.util_pct", uuid(i))
        temp = value_of(ours["metrics"], "gpu.temp_c", uuid(i))
        power = value_of(ours["metrics"], "gpu.power_w", uuid(i))
        assert re.search(rf"\b{temp}C\b.*\b{power:.0f}W\b.*\b{util}%", text), (i, text)
    mine = next(p for p in ours["processes"] if p["pid"] == os.getpid())
    assert (mine["gpu_mem_bytes"], mine["gpu_sm_pct"]) == (8 << 30, 55)
    assert re.search(rf"\b{os.getpid()} C .*8192MiB +55 +3 ", text) or "8.00GiB" in text, text
