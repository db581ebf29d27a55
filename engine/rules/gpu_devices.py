"""How GPU rules look at devices: names, what they support, which can be judged at all."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from dctop.engine.rules.base import NOT_APPLICABLE, Needs, NodeRule, Outcome, size
from dctop.engine.rules.window import Keys, Window
from dctop.probes.catalogue import PROBE_OF

if TYPE_CHECKING:
    from dctop.engine.training.runstate import RunState

gpu_key = Keys("gpu")
LONG_S = 900.0
"""How far back the last value of a lost device is looked for."""
ALIVE = "ok"


def devices(w: Window) -> tuple[str, ...]:
    """UUIDs of the GPUs and MIG devices there are."""
    return tuple(w.labels("gpu.name"))


def whole(w: Window) -> tuple[str, ...]:
    """GPUs without their MIG devices."""
    return w.once("whole", lambda: _without_parts(w))


def _without_parts(w: Window) -> tuple[str, ...]:
    found = devices(w)
    return tuple([g for g, parent in zip(found, texts(w, found, "gpu.parent")) if not parent])


def alive(w: Window) -> tuple[str, ...]:
    """Whole GPUs whose readings are of now."""
    return w.once("alive", lambda: tuple([g for g, s in zip(whole(w), states(w)) if s == ALIVE]))


@lru_cache(256)
def _column(metric: str, gpus: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(gpu_key(metric, g) for g in gpus)


def nums(w: Window, gpus: tuple[str, ...], metric: str) -> list[float | None]:
    """`num` of each: rules that are asked every tick look at all devices at once."""
    found = map(w.snap.values.get, _column(metric, gpus))
    return [v if isinstance(v, (int, float)) else None for v in found]


def raws(w: Window, gpus: tuple[str, ...], metric: str) -> list[float | None]:
    """`w.raw` of each."""
    sample = w.frame.samples.get(PROBE_OF.get(metric, ""))
    if sample is None:
        return [None] * len(gpus)
    found = map(sample.values.get, _column(metric, gpus))
    return [v if isinstance(v, (int, float)) else None for v in found]


def texts(w: Window, gpus: tuple[str, ...], metric: str) -> list[str | None]:
    """`w.text` of each."""
    found = map(w.snap.values.get, _column(metric, gpus))
    return [v if isinstance(v, str) else None for v in found]


class SiftingRule(NodeRule):
    """Asked only when one of `reads` is another than before, on any device: of a GPU nearly everything else
    moves every second."""

    sifts = True
    probes = ("gpu",)
    reads: ClassVar[tuple[str, ...]] = ()
    """Metrics of the GPU probe."""

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        self._sifted: list[object] = []

    def stirred(self, w: Window) -> bool:
        sample, gpus = w.frame.samples.get("gpu"), devices(w)
        now: list[object] = [gpus]
        if sample is not None:
            get = sample.values.get
            now.append(get("gpu.status"))
            for metric in self.reads:
                now += map(get, _column(metric, gpus))
        before, self._sifted = self._sifted, now
        return now != before


def states(w: Window) -> list[str]:
    """How each whole GPU is: alive, or what the driver says."""
    return w.once("states", lambda: [s or ALIVE for s in texts(w, whole(w), "gpu.state")])


def of_run(w: Window, run: RunState) -> tuple[str, ...]:
    """Whole GPUs a run computes on: by its processes where the driver tells of them, else by index. CUDA may
    number devices otherwise than NVML (CUDA_VISIBLE_DEVICES), hence the processes first."""
    found = w.once("undivided", lambda: [g for g in whole(w) if num(w, g, "gpu.mig_mode") != 1])
    users = w.once("users", lambda: _users(w))
    if users and run.pid is not None and w.text("gpu.pid_space") != "host":
        used = {gpu for pid in w.tree([run.pid]) for gpu in users.get(pid, ())}
        if used:
            return tuple(g for g in found if g in used)
    _, _, first = (run.device or "").partition(":")
    ranks = run.config.get("ranks")
    begin = int(first) if first.isdigit() else 0
    wanted = range(begin, begin + (ranks if isinstance(ranks, int) else 1))
    return tuple(g for g in found if num(w, g, "gpu.index") in wanted)


def _users(w: Window) -> dict[int, list[str]]:
    """Process -> the GPUs it is on."""
    found: dict[int, list[str]] = {}
    for r in w.frame.gpu_processes:
        found.setdefault(r.pid, []).append(r.gpu)
    return found


def has(w: Window, gpu: str, metric: str) -> bool:
    """The device has such a series, read or not."""
    key = gpu_key(metric, gpu)
    samples = (w.frame.samples.get(probe) for probe in ("gpu", "gpuhealth"))
    return key in w.snap.values or any(s is not None and key in s.values for s in samples)


def num(w: Window, gpu: str, metric: str) -> float | None:
    return w.num(gpu_key(metric, gpu))


def before(w: Window, gpu: str, metric: str) -> float | None:
    """The last value that was read."""
    values = w.last(gpu_key(metric, gpu), LONG_S)
    return next((v for v in reversed(values) if v == v), None)


def number(w: Window, gpu: str) -> str:
    """The index people know it by; a part of its UUID where it has none."""
    index = num(w, gpu, "gpu.index")
    vendor = w.text(gpu_key("gpu.vendor", gpu))
    text = gpu[:12] if index is None else f"{index:.0f}"
    return text if vendor in (None, "nvidia") else f"{text} ({vendor})"


def facts(w: Window, gpu: str) -> dict[str, object]:
    """Fields every GPU text may use."""
    return {
        "gpu": number(w, gpu),
        "name": w.text(gpu_key("gpu.name", gpu)) or "?",
        "uuid": gpu,
        "pci": w.text(gpu_key("gpu.pci", gpu)) or "?",
    }


def missing(w: Window, *metrics: str) -> Outcome | None:
    """Why a rule that reads `metrics` cannot judge here: no GPU (nothing to judge), or none of them has the
    series (unknown). None: it can."""
    found = devices(w)
    if not found:
        status = w.text("gpu.status")
        # A driver that does not answer is no proof that there is no GPU.
        unknown = status in ("no driver", "version mismatch", "no permission", "hung", "error")
        return Needs("series", metrics[0] if metrics else "gpu.state") if unknown else NOT_APPLICABLE
    for metric in metrics:
        if not any(has(w, g, metric) for g in found):
            return Needs("series", metric)
    return None


def users(w: Window, gpu: str) -> str | None:
    """`python (4242) 61.2 GiB, ...`: the processes on a device, most memory first."""
    rows = [r for r in w.frame.gpu_processes if r.gpu == gpu]
    rows.sort(key=lambda r: -(r.mem_bytes or 0))
    own = w.text("gpu.pid_space") != "host"
    parts = []
    for r in rows[:4]:
        p = w.process(r.pid) if own else None
        name = f"{p.name} ({r.pid})" if p is not None else f"pid {r.pid}"
        parts.append(name + ("" if r.mem_bytes is None else f" {size(r.mem_bytes)}"))
    return ", ".join(parts) + (f" +{len(rows) - 4}" if len(rows) > 4 else "") or None
