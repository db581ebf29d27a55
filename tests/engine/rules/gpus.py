"""GPUs for tests of rules: healthy ones, series by series as the NVML reader gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dctop.engine.metrics.model import Frame
from dctop.engine.training.ranks import RankState
from dctop.probes.base import GpuProcess, Value, series
from tests.engine.rules.scene import GIB, Scene
from tests.fakes.source import FakeRun

A, B = "GPU-aaaa", "GPU-bbbb"
WELL: dict[str, Value] = {
    "state": "ok", "problem": None, "lost_since_s": None, "vendor": "nvidia", "parent": None,
    "name": "NVIDIA H100",
    "util_pct": 95, "temp_c": 60, "temp_slowdown_c": 90, "power_w": 600.0, "power_limit_w": 700.0,
    "power_max_w": 700.0,
    "sm_clock_mhz": 1980, "sm_clock_max_mhz": 1980, "sm_clock_app_mhz": 1980, "throttle_mask": 0,
    "mem_used_bytes": 60 * GIB, "mem_total_bytes": 80 * GIB, "ecc_corrected": 0, "ecc_uncorrected": 0,
    "recovery_action": "none", "ecc_corrected_total": 7, "ecc_uncorrected_total": 2,
    "remap_corrected": 1, "remap_uncorrected": 0, "remap_pending": 0, "remap_failed": 0,
    "remap_banks_none": 0,
    "pcie_gen": 5, "pcie_gen_max": 5, "pcie_width": 16, "pcie_width_max": 16, "pcie_replays": 0, "nvlinks": 2,
    "nvlinks_up": 2, "xid_watch": 1,
}  # fmt: skip
PCI = {A: "0000:3b:00.0", B: "0000:5e:00.0"}


class GpuScene(Scene):
    """A node with two GPUs; `gpu(uuid, temp_c=95)` changes what they say from the next tick on."""

    def __init__(self, *gpus: str) -> None:
        super().__init__()
        self.rows: list[GpuProcess] | None = []
        gpus = gpus or (A, B)
        self.set({"gpu.status": "ok", "gpu.count": len(gpus), "gpu.pid_space": "own"})
        for i, uuid in enumerate(gpus):
            self.gpu(uuid, **WELL, index=i, pci=PCI.get(uuid, f"0000:{i:02x}:00.0"))
            for link in range(2):
                for name, value in (
                    ("up", 1),
                    ("crc_errors", 0),
                    ("replay_errors", 0),
                    ("recovery_errors", 0),
                ):
                    self.link(uuid, link, **{name: value})
        self._tick = self.source.tick
        self.source.tick = self._with_processes  # type: ignore[method-assign]

    def _with_processes(self, *args: Any, **more: Any) -> Any:
        snap = self._tick(*args, **more)
        sample = snap.frame.samples.get("gpu")
        if sample is not None:
            sample.gpu_processes = self.rows
        assert isinstance(snap.frame, Frame)
        return snap

    def gpu(self, uuid: str, **values: Value) -> GpuScene:
        self.set({series(f"gpu.{k}", gpu=uuid): v for k, v in values.items()})
        return self

    def link(self, uuid: str, link: int, **values: Value) -> GpuScene:
        self.set({series(f"gpu.nvlink.{k}", gpu=uuid, link=str(link)): v for k, v in values.items()})
        return self

    def without(self, *metrics: str) -> GpuScene:
        """The devices do not have these series at all."""
        gone = [k for k in self.source.raw if any(k.startswith(f"gpu.{m}{{") for m in metrics)]
        for key in gone:
            del self.source.raw[key]
        return self

    def grow(self, uuid: str, rates: Mapping[str, float]) -> GpuScene:
        self.rate({series(f"gpu.{k}", gpu=uuid): v for k, v in rates.items()})
        return self


def held(pid: int, gib: float, gpu: str = A) -> GpuProcess:
    return GpuProcess(pid, gpu, "C", int(gib * GIB))


ON_GPU: dict[str, Any] = {
    "gpu_ahead": 0.0, "gpu_s": 0.02, "h2d_gpu_s": 0.0005, "h2d_s": 0.0003, "sync_s": 0.0, "cpu_s": 0.012,
    "mem_allocated_bytes": 10 * GIB, "mem_reserved_bytes": 30 * GIB, "mem_peak_bytes": 28 * GIB,
    "mem_retries": 0.0, "mem_inactive_bytes": 0.0,
}  # fmt: skip
"""Fields of the steps of a healthy run on a GPU."""


def gpu_run(s: GpuScene, ranks: int = 1, **facts: Any) -> FakeRun:
    """A run past warm-up on the first `ranks` GPUs of the node."""
    run = s.run()
    config = {**run.now.config, "ranks": ranks, "device": {"asked": "cuda", "chosen": "cuda:0"}, **facts}
    run.publish(device="cuda:0", config=config)
    return run


def rank(number: int, step_s: float, backward_s: float, **more: Any) -> RankState:
    """Of a run with 50 judged steps; the rest of its step is computing unless said otherwise."""
    given = {
        "judged": 50,
        "samples": 32.0,
        "data_s": 0.001,
        "h2d_s": 0.0,
        "other_s": 0.0,
        "wait_s": 0.0,
        **more,
    }
    given.setdefault("compute_s", step_s - backward_s - given["data_s"] - given["h2d_s"] - given["other_s"])
    return RankState(number, 400, step_s, None, backward_s, **given)
