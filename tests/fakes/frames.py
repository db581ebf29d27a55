"""Streams of frames, alerts and runs as a live engine hands them to the recorder, deterministic by seed,
with everything that happens on nodes: slow probes, values that go missing, disks that appear, probes that
fail, processes that come, go and reuse a pid, kernel events, a clock that is set."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from dctop.engine.metrics.model import Frame, ProbeStatus
from dctop.engine.rules.alert import Alert, Evidence, Remedy
from dctop.engine.training.runstate import STEP_FIELDS, RunEvent, RunState
from dctop.probes.base import KernelEvent, Process, Sample, Value

S = 1_000_000_000
START_WALL = 1_790_000_000 * S


def process(pid: int, **changes: object) -> Process:
    base = Process(
        pid, pid * 11, 1, 1000, "user", f"proc{pid}", f"/usr/bin/proc{pid} -s", "S", 10, 8 << 20, 2, 0, 3,
        4096, 8192, "/user.slice", None, None, None, None,
    )  # fmt: skip
    return base._replace(**changes)


@dataclass
class Stream:
    """`next(stream)` gives the next frame."""

    seed: int = 1
    processes: int = 30
    clock_step_at: int | None = None
    seq: int = 0
    mono: int = 77 * S
    wall: int = START_WALL
    _ticks: list[int] = field(default_factory=lambda: [0] * 6)
    _samples: dict[str, Sample] = field(default_factory=dict)
    _table: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.r = random.Random(self.seed)
        self._table = [process(100 + i) for i in range(self.processes)]

    def __iter__(self) -> Iterator[Frame]:
        return self

    def take(self, n: int) -> list[Frame]:
        return [next(self) for _ in range(n)]

    def __next__(self) -> Frame:
        r = self.r
        self.seq += 1
        self.mono += S + r.randrange(-90_000, 90_000)
        self.wall += S + r.randrange(-90_000, 90_000)
        if self.seq == self.clock_step_at:
            self.wall -= 3600 * S
        samples = dict(self._samples)
        samples["cpu"] = self._sample("cpu", self._cpu())
        if self.seq % 3 == 1:
            problems = ("statvfs(/mnt): no answer",) if r.random() < 0.3 else ()
            samples["filesystem"] = self._sample("filesystem", self._fs(), problems=problems)
        samples["process"] = self._sample("process", {"process.count": len(self._table)}, self._processes())
        if self.seq % 40 == 20:
            samples["disk"] = self._sample(
                "disk", {"disk.reads{disk=sdb}": self.seq, "disk.writes{disk=sdb}": None}
            )
        elif self.seq % 40 == 39:
            samples.pop("disk", None)
        events: tuple[KernelEvent, ...] = ()
        if self.seq % 25 == 5:
            events = (
                KernelEvent(self.seq, self.wall - 9, "oom-kill", "Killed process 7 (python3)", {"pid": "7"}),
            )
            samples["kernel"] = self._sample("kernel", {"kernel.records": self.seq}, events=events)
        self._samples = samples
        return Frame(self.seq, self.mono, self.wall, samples, events, self._status(samples))

    def _sample(
        self,
        probe: str,
        values: dict[str, Value],
        processes: tuple[Process, ...] | None = None,
        problems: tuple[str, ...] = (),
        events: tuple[KernelEvent, ...] = (),
    ) -> Sample:
        lag = self.r.randrange(10_000, 60_000_000)
        wall = self.wall - lag + self.r.randrange(500)
        return Sample(probe, self.mono - lag, wall, values, processes, events, problems)

    def _cpu(self) -> dict[str, Value]:
        r = self.r
        self._ticks = [t + r.randrange(0, 40) for t in self._ticks]
        names = ("user", "system", "idle", "iowait", "irq", "steal")
        values: dict[str, Value] = {f"cpu.{n}_ticks": t for n, t in zip(names, self._ticks)}
        values["cpu.load1"] = r.randrange(0, 900) / 100
        values["cpu.load5"] = r.random() * 10
        values["cpu.model"] = "Some CPU" if self.seq < 200 else "Some CPU, replaced"
        values["cpu.context_switches"] = (1 << 63) + self.seq * 1000
        values["cpu.interrupts"] = 5 if self.seq % 97 == 0 else self.seq * 7  # resets now and then
        values["cpu.temp_c{sensor=a}"] = None if r.random() < 0.1 else 50 + r.randrange(0, 5)
        if self.seq % 31 > 9:
            values["cpu.freq_mhz{core=0}"] = 1000.0 if self.seq % 2 else 2100
        return values

    def _fs(self) -> dict[str, Value]:
        used = (1 << 34) + self.seq * 4096
        return {
            "fs.used_bytes{mount=/}": used,
            "fs.avail_bytes{mount=/}": 1 << 34,
            "fs.type{mount=/}": "ext4",
        }

    def _processes(self) -> tuple[Process, ...]:
        r = self.r
        for i in r.sample(range(len(self._table)), 8):
            p = self._table[i]
            self._table[i] = p._replace(
                cpu_ticks=p.cpu_ticks + r.randrange(1, 90), state=r.choice("RSD"),
                read_bytes=None if r.random() < 0.1 else (p.read_bytes or 0) + 4096,
            )  # fmt: skip
        if self.seq % 17 == 0:
            old = self._table[r.randrange(len(self._table))]
            fresh = process(old.pid, start_ticks=old.start_ticks + self.seq, name="reused", cpu_ticks=0)
            self._table = [fresh if p is old else p for p in self._table]
        if self.seq % 19 == 0:
            self._table[-1] = process(1000 + self.seq)
        return tuple(sorted(self._table))

    def _status(self, samples: dict[str, Sample]) -> dict[str, ProbeStatus]:
        out = {}
        for name, sample in samples.items():
            age = (self.mono - sample.mono_ns) / 1e9
            error = "has not answered for 9 s" if name == "filesystem" and self.seq % 50 > 45 else None
            out[name] = ProbeStatus(name, age, error is not None, error, sample.problems, self.seq % 7 / 8)
        out["gpu"] = ProbeStatus("gpu", None, True, "no driver", (), None)
        return out


def an_alert(alert_id: int, opened: int, **changes: object) -> Alert:
    alert = Alert(
        rule="disk-fill", entity="/data", problem="storage", severity="warning", state="firing",
        opened_wall_ns=opened, closed_wall_ns=None, first_step=None, title="/data is 91 % full",
        why="it fills", evidence=(Evidence("used", 91.0, "%", "> 90 %", "fs.used_pct{mount=/data}"),),
        ruled_out=("a hung mount",), cost=None, remedies=(Remedy("remove old checkpoints", "40 GiB"),),
        kind="state", id=alert_id, updated_wall_ns=opened,
    )  # fmt: skip
    return replace(alert, **changes)  # type: ignore[arg-type]


def a_run(run_id: str = "r1", **changes: object) -> RunState:
    run = RunState(
        id=run_id, directory=f"/runs/{run_id}", workload="mnist-cnn", status="running",
        config={"lr": 0.001, "argv": ["train.py", "--epochs", "3"]}, host="node", pid=4242,
        started_wall_ns=START_WALL, ended_wall_ns=None, mode="train", step=None, total_steps=1000, epoch=0,
        total_epochs=3, last={}, columns={name: array("d") for name in STEP_FIELDS}, evals=[], events=[],
        exit_code=None, reason=None, samples_per_s=None, eta_s=None, data_source="synthetic digits",
        synthetic=True, device="cpu",
    )  # fmt: skip
    return replace(run, **changes)  # type: ignore[arg-type]


def add_steps(run: RunState, n: int, wall_ns: int, r: random.Random) -> None:
    """As the run log's reader does: appended in place, `seq` grows."""
    columns = run.columns
    for _ in range(n):
        step = len(columns["step"]) + 1 if not len(columns["step"]) else columns["step"][-1] + 1
        row = dict.fromkeys(STEP_FIELDS, float("nan"))
        row |= {
            "step": step, "epoch": step // 100, "wall_ns": float(wall_ns), "samples": 32,
            "step_s": round(0.1 + r.random() / 9, 6),
            "loss": 2.3 / step + r.random(), "lr": 0.001, "accuracy": round(r.random(), 4),
        }  # fmt: skip
        for name in STEP_FIELDS:
            columns[name].append(row[name])
        run.last = {name: None if v != v else v for name, v in row.items()}
        run.step, run.epoch = int(step), int(step // 100)
    run.samples_per_s, run.eta_s = 32 / 0.12, 1000 / n if n else None
    run.seq += 1


def event(wall_ns: int, kind: str, text: str, step: int | None = None) -> RunEvent:
    return RunEvent(wall_ns, step, kind, text, {"n": 1})
