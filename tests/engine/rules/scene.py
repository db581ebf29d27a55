"""A node, its runs and two engines (both languages), for tests of single rules."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dctop.engine.rules.alert import Alert
from dctop.engine.rules.engine import RuleEngine
from dctop.probes.base import Value
from tests.fakes.source import FakeRun, FakeSource, process

GIB = 1 << 30
HEALTHY: dict[str, Value] = {
    "memory.total_bytes": 100 * GIB, "memory.available_bytes": 60 * GIB, "memory.oom_kills": 0,
    "memory.swap_total_bytes": 8 * GIB, "memory.swap_free_bytes": 8 * GIB, "memory.shm_total_bytes": 1 << 26,
    "memory.shm_used_bytes": 0, "memory.swap_in_pages": 0, "memory.swap_out_pages": 0,
    "memory.major_faults": 0,
    "pressure.memory.some_avg10_pct": 0.0, "pressure.memory.full_avg10_pct": 0.0,
    "pressure.cpu.some_avg10_pct": 0.0, "pressure.io.some_avg10_pct": 0.0, "pressure.io.some_avg60_pct": 0.0,
    "kernel.records": 0, "cpu.count": 8, "host.name": "node",
    "cpu.user_ticks": 0, "cpu.system_ticks": 0, "cpu.idle_ticks": 0, "cpu.iowait_ticks": 0,
    "cpu.irq_ticks": 0, "cpu.steal_ticks": 0,
    "fs.used_bytes{mount=/data}": 50e9, "fs.avail_bytes{mount=/data}": 50e9, "fs.readonly{mount=/data}": 0,
    "fs.hung{mount=/data}": 0, "fs.type{mount=/data}": "ext4", "fs.device{mount=/data}": "/dev/sda1",
    "fs.inodes{mount=/data}": 1e6, "fs.inodes_free{mount=/data}": 9e5,
    "disk.reads{disk=sda}": 0, "disk.writes{disk=sda}": 0, "disk.read_ms{disk=sda}": 0,
    "disk.write_ms{disk=sda}": 0, "disk.busy_ms{disk=sda}": 0, "disk.in_flight{disk=sda}": 0,
    "net.virtual{nic=eth0}": 0, "net.up{nic=eth0}": 1, "net.speed_mbps{nic=eth0}": 10_000,
    "net.rx_bytes{nic=eth0}": 0, "net.tx_bytes{nic=eth0}": 0, "net.rx_packets{nic=eth0}": 0,
    "net.tx_packets{nic=eth0}": 0, "net.rx_errors{nic=eth0}": 0, "net.tx_errors{nic=eth0}": 0,
    "net.rx_drops{nic=eth0}": 0, "net.tx_drops{nic=eth0}": 0, "tcp.retrans_segs": 0, "tcp.out_segs": 0,
    "container.memory_bytes": GIB, "container.inactive_file_bytes": 0, "container.memory_limit_bytes": None,
    "container.cpu_quota_cores": None, "container.oom_kills": 0,
    "clock.offset_us": 0.0, "clock.max_error_us": 1000, "clock.synced": 1, "clock.step_ns": 0,
}  # fmt: skip


class Scene:
    """`go` lets time pass; `alert(rule)` is the one alert of a rule, `quiet(rule)` says there is none."""

    def __init__(self, interval_s: float = 1.0) -> None:
        self.source = FakeSource(interval_s)
        self.source.set(HEALTHY)
        self.source.rate({"cpu.idle_ticks": 780, "cpu.user_ticks": 20})
        self.source.processes = [process(4242, "python3", rss_bytes=3 * GIB), process(7, "other")]
        self.engine = RuleEngine()
        self.chinese = RuleEngine(lang="zh", runs_later=True)
        self.interval_s = interval_s

    def set(self, values: Mapping[str, Value]) -> Scene:
        self.source.set(values)
        return self

    def rate(self, rates: Mapping[str, float]) -> Scene:
        self.source.rate(rates)
        return self

    def go(self, seconds: float = 1.0) -> Scene:
        for _ in range(max(1, round(seconds / self.interval_s))):
            self.source.tick(self.interval_s)
            self.judge()
        return self

    def kernel(self, kind: str, text: str = "", **fields: str) -> Scene:
        self.source.tick(1.0, [self.source.event(kind, text, **fields)])
        self.judge()
        return self

    def judge(self) -> None:
        self.engine.tick(self.source)
        self.chinese.tick(self.source)
        faults = [x for x in self.engine.not_checked() if "mended rule" in x[1]]
        assert not faults
        missing = [[rule for rule, _ in e.not_checked()] for e in (self.engine, self.chinese)]
        assert missing[0] == missing[1]
        pairs = list(zip(self.engine.alerts(), self.chinese.alerts(), strict=True))
        assert all(a.rule == b.rule and len(a.evidence) == len(b.evidence) for a, b in pairs)

    def run(self, warm: bool = True, **config: object) -> FakeRun:
        if self.source.current is None:
            self.go()
        return FakeRun(self.source, warm=warm, **config)

    def train(self, run: FakeRun, steps: int, a_tick: int = 50, **fields: object) -> Scene:
        """So many steps, `a_tick` of them a second."""
        while steps > 0:
            self.source.tick(1.0)
            run.steps(min(a_tick, steps), 1.0, **fields)  # type: ignore[arg-type]
            self.judge()
            steps -= a_tick
        return self

    def found(self, rule: str) -> list[Alert]:
        return [a for a in self.engine.alerts() if a.rule == rule]

    def alert(self, rule: str) -> Alert:
        found = self.found(rule)
        assert len(found) == 1, f"{rule}: {[(a.rule, a.entity) for a in self.engine.alerts()]}"
        return found[0]

    def quiet(self, rule: str, but_checked: bool = True) -> None:
        assert not self.found(rule), self.found(rule)
        if but_checked:
            assert rule not in dict(self.engine.not_checked()), dict(self.engine.not_checked())[rule]

    def unknown(self, rule: str) -> str:
        return dict(self.engine.not_checked())[rule]


def values(a: Alert) -> dict[str, float | str | None]:
    """Evidence by English label."""
    return {e.label: e.value for e in a.evidence}


def noisy(level: float, size: float = 0.05) -> object:
    """A field that wobbles the same way every time."""
    return lambda step: level * (1 + size * math.sin(step * 12.9898))
