"""Problem 2 by choice of device and arithmetic: a run on the CPU beside a GPU, and idle tensor cores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from dctop.engine.rules import gpu_devices as d
from dctop.engine.rules.base import (
    CRITICAL,
    INFO,
    NOT_APPLICABLE,
    Details,
    Ev,
    Needs,
    Occurrence,
    Outcome,
    Reading,
    Rule,
    RunRule,
    num,
    span,
)
from dctop.engine.rules.gpu_devices import gpu_key
from dctop.engine.rules.gpu_running import GpuRunRule, N
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.training.peaks import peak_flops


class CpuFallback(RunRule):
    """The run was to use a GPU if there is one (`cuda` or `auto` asked for), computes on the CPU, and the
    node has a GPU that works. A run for which the CPU was asked is none; nor is a program that only holds its
    memory through the multi-process service, for it is the run's own word that counts."""

    id = "cpu-fallback"
    problem = "utilisation"
    kind = "event"
    severities = "c"
    probes = ("gpu",)
    source = "device asked for and chosen in the run log; NVML, amdgpu"

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._judged: set[str] = set()

    def forget(self, run_id: str) -> None:
        self._judged.discard(run_id)

    def judge(self, run: RunWindow) -> Outcome:
        if run.id in self._judged:
            return ()
        asked, chosen = run.config("device", "asked"), run.config("device", "chosen")
        asked = asked or run.config("config", "device")
        if not isinstance(chosen, str) or not isinstance(asked, str):
            return ()
        self._judged.add(run.id)
        w = run.node
        found = [g for g in d.alive(w) if w.text(gpu_key("gpu.vendor", g)) in (None, "nvidia", "amd")]
        if not chosen.startswith("cpu") or asked == "cpu" or not found:
            return NOT_APPLICABLE
        began = next((e for e in run.run.events if e.kind == "start"), None)
        at = run.run.started_wall_ns if began is None else began.wall_ns
        return (Occurrence(run.id, CRITICAL, run.id, at, self._details(run, asked, found), run.step),)

    def _details(self, run: RunWindow, asked: str, found: list[str]) -> Details:
        w, why = run.node, run.config("device", "why")
        torch, cuda = run.config("versions", "torch"), run.config("versions", "cuda")
        evidence = [
            Ev("asked", asked),
            Ev("chosen", str(run.config("device", "chosen"))),
            Ev("why", why if isinstance(why, str) else None),
            Ev(
                "gpus",
                ", ".join(f"{d.number(w, g)} {w.text(gpu_key('gpu.name', g)) or '?'}" for g in found[:8]),
            ),
            Ev("torch", torch if isinstance(torch, str) else None),
            Ev("cuda", cuda if isinstance(cuda, str) else None),
            Ev("driver", w.text("gpu.driver")),
        ]
        built = isinstance(cuda, str) or "sees no" in str(why)
        facts = {
            "run": run.id,
            "gpus": len(found),
            "why": why or "?",
            "torch": torch or "?",
            "driver": w.text("gpu.driver") or "?",
            "name": w.text(gpu_key("gpu.name", found[0])) or "?",
        }
        return Details(evidence, facts, ["visible" if built else "wheel", "probe"])


class TensorCoreOff(GpuRunRule):
    """Tensor cores work less than 1 % of the time while more than half of the SMs are busy, in fp32, on a
    device that has them (compute capability 7.0), for 5 minutes. Models of less than 1 GFLOP a step gain
    nothing: not judged (TensorBoard plugin: kernels that could use tensor cores)."""

    id = "tensor-core-off"
    severities = "i"
    probes = ("gpu",)
    thresholds: ClassVar[Mapping[str, float]] = {
        "tensor_pct": 1.0, "active_pct": 50.0, "capability": 7.0, "least_gflop": 1.0,
        "every_s": 5.0, "hold_s": 300.0,
    }  # fmt: skip
    source = "GPM tensor activity; TensorBoard plugin (tensor cores eligible)"

    def look(self, run: RunWindow) -> Outcome:
        w, gpu = run.node, run.gpus()[0]
        precision = run.config("precision") or run.config("config", "precision")
        if precision not in (None, "fp32") or not self._has(w.text(gpu_key("gpu.capability", gpu))):
            return NOT_APPLICABLE
        flops, batch = run.config("flops_per_sample"), run.batch
        if isinstance(flops, (int, float)) and batch and flops * batch < self.t["least_gflop"] * 1e9:
            return NOT_APPLICABLE
        seconds = min(60.0, run.mode_s())
        tensor = w.mean(gpu_key("gpu.tensor_active_pct", gpu), seconds)
        active = w.mean(gpu_key("gpu.sm_active_pct", gpu), seconds)
        if tensor is None or active is None:
            return Needs("series", "gpu.tensor_active_pct")
        if tensor >= 2 * self.t["tensor_pct"] or active < self.t["active_pct"] - 10:
            return ()
        level = INFO if tensor < self.t["tensor_pct"] and active > self.t["active_pct"] else 0
        return (
            Reading(run.id, level, False, lambda: self._details(run, gpu, tensor, active), step=run.step),
        )

    def _has(self, capability: str | None) -> bool:
        try:
            return capability is None or float(capability) >= self.t["capability"]
        except ValueError:
            return True

    def _details(self, run: RunWindow, gpu: str, tensor: float, active: float) -> Details:
        w = run.node
        name, flops = w.text(gpu_key("gpu.name", gpu)), run.config("flops_per_sample")
        step, batch = run.median("step_s", N), run.batch
        now = flops * batch / step / 1e12 if isinstance(flops, (int, float)) and batch and step else None
        plain, half, tf32 = (peak_flops(name, p) for p in ("fp32", "bf16", "tf32"))
        most = half[0] / plain[0] if half and plain else None
        evidence = [
            Ev("tensor", round(tensor, 2), "%", f"< {self.t['tensor_pct']:g} %"),
            Ev("active", round(active, 1), "%", f"> {self.t['active_pct']:g} %"),
            Ev("precision", "fp32"),
            Ev("now", None if now is None else round(now, 2), "TFLOP/s"),
            Ev("peak", None if plain is None else plain[0] / 1e12, "TFLOP/s"),
            Ev("half", None if half is None else half[0] / 1e12, "TFLOP/s"),
        ]
        facts = {"run": run.id, "name": name or "?", "tensor": num(tensor), "active": num(active),
                 "most": num(most), "tf32": num(tf32[0] / plain[0] if tf32 and plain else None),
                 "for": span(self.t["hold_s"]), "now": num(now)}  # fmt: skip
        return Details(evidence, facts, ["bf16", "tf32"])


RULES: tuple[type[Rule], ...] = (CpuFallback, TensorCoreOff)
