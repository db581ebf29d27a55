"""A scripted `Source` with a clock of its own: raw values in, real snapshots, history and runs out."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.history import History
from dctop.engine.metrics.model import Frame, ProbeStatus, Snapshot
from dctop.engine.rules.alert import Alert
from dctop.engine.training.runstate import STEP_FIELDS, RunEvent, RunState
from dctop.probes.base import KernelEvent, Process, Sample, Value
from dctop.probes.catalogue import PROBE_OF

S = 1_000_000_000
START_WALL = 1_700_000_000 * S
START_MONO = 1_000 * S


def probe_of(key: str) -> str:
    return PROBE_OF[key.partition("{")[0]]


class FakeSource:
    """`set` values, `rate` counters, `tick`. Values stay until set anew; None is missing."""

    mode: Literal["live", "replay"] = "live"

    def __init__(self, interval_s: float = 1.0, **values: Value) -> None:
        self.interval_s = interval_s
        self.mono_ns, self.wall_ns, self.seq = START_MONO, START_WALL, 0
        self.raw: dict[str, Value] = {}
        self.rates: dict[str, float] = {}
        self.known_runs: list[RunState] = []
        self.processes: list[Process] = []
        self.stale: set[str] = set()
        self.frozen: set[str] = set()
        """Probes that read nothing new at a tick."""
        self.history = History(3600)
        self._builder = SnapshotBuilder(tick_hz=100)
        self._samples: dict[str, Sample] = {}
        self.current: Snapshot | None = None

    # -- script -------------------------------------------------------------------------------------

    def set(self, values: Mapping[str, Value]) -> FakeSource:
        self.raw.update(values)
        return self

    def rate(self, rates: Mapping[str, float]) -> FakeSource:
        """Counters that grow by so much a second, from where they are."""
        for key in rates:
            self.raw.setdefault(key, 0)
        self.rates.update(rates)
        return self

    def tick(self, seconds: float = 1.0, events: Sequence[KernelEvent] = ()) -> Snapshot:
        """The next moment, `seconds` later."""
        self.mono_ns += int(seconds * S)
        self.wall_ns += int(seconds * S)
        self.seq += 1
        for key, per_s in self.rates.items():
            now = self.raw.get(key)
            if isinstance(now, (int, float)):
                self.raw[key] = now + per_s * seconds
        groups: dict[str, dict[str, Value]] = {}
        for key, value in self.raw.items():
            groups.setdefault(probe_of(key), {})[key] = value
        if self.processes:
            groups.setdefault("process", {})
        for probe, values in groups.items():
            if probe in self.frozen and probe in self._samples:
                continue
            procs = tuple(self.processes) if probe == "process" else None
            self._samples[probe] = Sample(probe, self.mono_ns, self.wall_ns, values, processes=procs)
        for gone in [p for p in self._samples if p not in groups]:
            del self._samples[gone]
        status = {
            p: ProbeStatus(p, 9.0 if p in self.stale else 0.0, p in self.stale, None, (), 0.1)
            for p in self._samples
        }
        frame = Frame(self.seq, self.mono_ns, self.wall_ns, dict(self._samples), tuple(events), status)
        self.current = self._builder.push(frame)
        self.history.push(self.current.values)
        return self.current

    def event(self, kind: str, text: str = "", **fields: str) -> KernelEvent:
        """A kernel record of now."""
        self._kmsg = getattr(self, "_kmsg", 0) + 1
        return KernelEvent(self._kmsg, self.wall_ns, kind, text or kind, fields)

    # -- Source -------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot | None:
        return self.current

    def window(self, key: str, n: int) -> array[float]:
        return self.history.window(key, n)

    def alerts(self) -> Sequence[Alert]:
        return ()

    def runs(self) -> Sequence[RunState]:
        return tuple(self.known_runs)


def process(pid: int, name: str = "p", **more: Any) -> Process:
    fields: dict[str, Any] = {
        "pid": pid, "start_ticks": pid, "ppid": 1, "uid": 0, "user": "root", "name": name, "cmdline": name,
        "state": "S", "cpu_ticks": 0, "rss_bytes": 1 << 20, "threads": 1, "nice": 0, "majflt": 0,
        "read_bytes": None, "write_bytes": None, "cgroup": None, "container": None, "job": None,
        "gpu_mem_bytes": None, "gpu_sm_pct": None, **more,
    }  # fmt: skip
    return Process(**fields)


Field = float | Callable[[int], float]
USUAL: dict[str, Field] = {
    "step_s": 0.02, "samples": 32, "data_s": 0.0004, "h2d_s": 0.0, "forward_s": 0.006, "loss_s": 0.001,
    "backward_s": 0.008, "update_s": 0.003, "cpu_s": 0.0195, "loss": lambda s: 2.3 * 0.997**s + 0.4,
    "accuracy": lambda s: min(0.85, 0.1 + s * 0.002), "lr": 1e-3, "grad_norm": 3.5, "update_ratio": 3e-3,
    "rss_anon_bytes": 400 << 20,
}  # fmt: skip


class FakeRun:
    """A run that grows: `steps(n)`, `event(...)`; `state()` is what a watcher would hand out."""

    def __init__(self, source: FakeSource, id: str = "run-1", warm: bool = True, **config: Any) -> None:  # noqa: A002
        self.source = source
        self.columns: dict[str, array[float]] = {name: array("d") for name in STEP_FIELDS}
        self.events: list[RunEvent] = []
        self.evals: list[dict[str, Any]] = []
        self.seq = 0
        self.now = RunState(
            id=id, directory=f"/runs/{id}", workload="mnist-cnn", status="running",
            config={
                "config": {"loss": "cross-entropy", "workers": 0, "batch_size": 32, **config},
                "data": {"classes": list("0123456789")}, "device": {"chosen": "cpu"},
            },
            host="node", pid=4242, started_wall_ns=source.wall_ns, ended_wall_ns=None, mode=None, step=None,
            total_steps=10_000, epoch=1, total_epochs=10, last={}, columns=self.columns, evals=self.evals,
            events=self.events, exit_code=None, reason=None, samples_per_s=None, eta_s=None,
            data_source="Fashion-MNIST", synthetic=False, device="cpu",
        )  # fmt: skip
        self.event("start", "start")
        self.mode("warmup")
        if warm:
            self.steps(20)
            self.mode("train")
        source.known_runs.append(self.now)
        self.publish()

    @property
    def id(self) -> str:
        return self.now.id

    def publish(self, **changes: Any) -> RunState:
        """Hand out a new state, as the watcher does after reading the log."""
        self.seq += 1
        known = self.source.known_runs
        at = next((i for i, r in enumerate(known) if r.id == self.now.id), None)
        n = len(self.columns["step"])
        last = {k: (None if not c or c[-1] != c[-1] else c[-1]) for k, c in self.columns.items()}
        self.now = replace(
            self.now, columns={k: c[:] for k, c in self.columns.items()}, events=list(self.events),
            evals=list(self.evals), last=last, step=int(self.columns["step"][-1]) if n else None,
            seq=self.seq, **changes,
        )  # fmt: skip
        if at is not None:
            known[at] = self.now
        return self.now

    def steps(self, n: int, spread_s: float = 1.0, **fields: Field) -> None:
        """`n` more steps in the `spread_s` before now. A field is a number or a function of the step."""
        values = {**USUAL, **fields}
        first = int(self.columns["step"][-1]) + 1 if self.columns["step"] else 1
        for i in range(n):
            step = first + i
            wall = self.source.wall_ns - int(spread_s * S * (n - 1 - i) / max(1, n))
            for name, column in self.columns.items():
                if name == "step":
                    column.append(step)
                elif name == "epoch":
                    column.append(self.now.epoch or 1)
                elif name == "wall_ns":
                    column.append(wall)
                else:
                    v = values.get(name, float("nan"))
                    column.append(v(step) if callable(v) else float(v))
        if any(r.id == self.now.id for r in self.source.known_runs):
            self.publish()

    def event(self, kind: str, text: str = "", step: int | None = None, /, **data: Any) -> RunEvent:
        n = len(self.columns["step"])
        at = step if step is not None else (int(self.columns["step"][-1]) if n else 0)
        e = RunEvent(self.source.wall_ns, at, kind, text or kind, data)
        self.events.append(e)
        if kind == "eval":
            self.evals.append({**data, "step": at, "wall_ns": e.wall_ns})
        if any(r.id == self.now.id for r in self.source.known_runs):
            self.publish()
        return e

    def mode(self, name: str) -> None:
        self.event("mode", name, mode=name)
        self.now = replace(self.now, mode=name)
        if any(r.id == self.now.id for r in self.source.known_runs):
            self.publish(mode=name)

    def end(self, status: str = "finished", code: int = 0, reason: str = "", **data: Any) -> None:
        self.event("end", reason, exit_code=code, status=status, **data)
        self.publish(status=status, ended_wall_ns=self.source.wall_ns, exit_code=code, reason=reason)
