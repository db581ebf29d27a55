"""Anything a driver may answer, tick after tick: values, codes, lost and unplugged devices, other orders.

A short run is part of the suite; DCTOP_FUZZ_TICKS=3600 is an hour of simulated ticks (DCTOP_FUZZ_SEED another
one). What is checked: no exception, only declared series and believable values, a device is called healthy
only if it was read and nothing said otherwise.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable

from dctop.probes.gpu_words import STATES, last_values
from tests.fakes.gpunode import GpuNode, gpu_node
from tests.fakes.standin import SOURCE, Gpu, uuid

__all__ = ["gpu_node"]
TICKS = int(os.environ.get("DCTOP_FUZZ_TICKS", "80"))
SEED = int(os.environ.get("DCTOP_FUZZ_SEED", "1"))
CODES = (1, 2, 3, 4, 6, 7, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 25, 99, 999, 2_000_000_000, -3)
NUMBERS = (
    0, 1, 2, 7, 42, 99, 100, 101, 255, 1000, 65535, 100_000, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32,
    1 << 62, 1 << 63, (1 << 64) - 1, -1, -5, "3.75", "!4", "!15", "!999", "", "nan",
)  # fmt: skip
FUNCTIONS = sorted(
    set(re.findall(r"\b(nvml[A-Z]\w+)\(", "".join(p.read_text() for p in sorted(SOURCE.glob("*.c")))))
    - {"nvmlErrorString", "nvmlDeviceGetPcieThroughput"}
)
LIMITS = {
    "util_pct": 100, "mem_util_pct": 100, "temp_c": 250, "mem_temp_c": 250, "power_w": 20_000, "fan_pct": 200,
    "sm_clock_mhz": 20_000, "pstate": 15, "sm_active_pct": 100, "tensor_active_pct": 100,
    "encoder_util_pct": 100, "decoder_util_pct": 100,
}  # fmt: skip


def disturb(node: GpuNode, r: random.Random) -> None:
    state = node.state
    what = r.random()
    if what < 0.45 and state.gpus:
        gpu = r.choice(state.gpus)
        for key in r.sample(sorted(gpu.values), r.randint(1, 6)):
            if key != "uuid" or r.random() < 0.02:
                gpu.values[key] = r.choice(NUMBERS)
    elif what < 0.75:
        faults = []
        for _ in range(r.randint(0, 4)):
            gpu_index = r.choice(["0", "1", "2", "*"])
            function = r.choice(["*", *FUNCTIONS]) if r.random() < 0.9 else "nvmlInit"
            faults.append(f"{function} {gpu_index} error {r.choice(CODES)}")
        state.faults = faults
    elif what < 0.8 and state.gpus:
        state.gpus.pop(r.randrange(len(state.gpus)))
    elif what < 0.85:
        r.shuffle(state.gpus)
    elif what < 0.9 and state.gpus:
        gpu = r.choice(state.gpus)
        pid, memory, sm, age = (r.choice(NUMBERS) for _ in range(4))
        gpu.lines.append(f"process {r.choice('CGMBX')} {pid} memory={memory} sm={sm}")
        gpu.lines.append(f"sample {pid} sm={sm} age_ms={age}")
        if r.random() < 0.3:
            gpu.values["mig_mode"] = 1
            gpu.mig(
                uuid=f"MIG-{r.randint(0, 3)}",
                name="MIG",
                gi=r.choice(NUMBERS),
                ci=0,
                mem_total="10G",
                mem_used=r.choice(NUMBERS),
            )
    elif what < 0.95:
        state.node["count"] = r.choice([*NUMBERS, len(state.gpus)])
        state.node["driver"] = r.choice(["550.54", "", "!999", "x\x1b[31m\x07", "ü" * 70])
    else:
        state.gpus, state.faults = [Gpu(i).process(1000 + i, sm=50) for i in range(3)], []
        state.node = {"driver": "550.54.15", "cuda": 12040}
    state.write()


def check(node: GpuNode, v: dict[str, object]) -> None:
    for key, value in v.items():
        name = key.partition("{")[0]
        if name in LIMITS and value is not None:
            assert 0 <= float(str(value)) <= LIMITS[name], (key, value)
        if name == "state":
            assert value in STATES
            suffix = key.removeprefix("state")
            if value != "ok":
                live = [n for n in (*LIMITS, "mem_used_bytes") if v.get(n + suffix) is not None]
                assert not live, "what is not ok shows nothing as live"
                assert v["problem" + suffix] and v["lost_since_s" + suffix] is not None
                last_values(None if v["last" + suffix] is None else str(v["last" + suffix]))
            else:
                assert v["lost_since_s" + suffix] is None
                healthy(node, suffix, v)
        if name == "mem_used_bytes" and value is not None:
            total = v["mem_total_bytes" + key.removeprefix(name)]
            assert isinstance(total, int) and isinstance(value, int) and value <= total
    for p in node.processes:
        assert 0 < p.pid <= 1 << 22 and (p.sm_pct is None or 0 <= p.sm_pct <= 100)


def healthy(node: GpuNode, suffix: str, v: dict[str, object]) -> None:
    """A device whose every call fails, or that says it is lost, is never `ok`."""
    label = suffix.removeprefix("{gpu=").removesuffix("}")
    state = node.state
    at = next((i for i, g in enumerate(state.gpus) if g.values.get("uuid") == label), None)
    if at is None:
        return
    for fault in state.faults:
        function, index, _, code = fault.split()
        if function == "*" and index in ("*", str(at)) and code in ("1", "9", "15", "16", "999", "4"):
            raise AssertionError((fault, label, v["problem" + suffix]))


def test_an_hour_of_anything(gpu_node: Callable[..., GpuNode]) -> None:
    r = random.Random(SEED)
    node = gpu_node(3)
    node.bus(3, "550.54")
    for tick in range(TICKS):
        if r.random() < 0.6:
            disturb(node, r)
        v = node.read(r.choice([0.5, 1, 1, 1, 3]))
        check(node, v)
        if tick % 5 == 0:
            node.health()
        if tick % 50 == 0 and node.log.exists():
            text = node.log.read_text()
            assert "STALE-HANDLE" not in text and "BAD-HANDLE" not in text
            node.forget_calls()
    node.state.gpus, node.state.faults = [Gpu(i) for i in range(3)], []
    node.state.node = {"driver": "550.54.15", "cuda": 12040}
    node.state.write()
    v = node.until(lambda v: all(v.get(f"util_pct{{gpu={uuid(i)}}}") == 87 for i in range(3)), 30)
    assert v["status"] == "ok" and v["count"] == 3, "whatever was, a driver that is well again is read well"
