"""A source of invented, repeatable data for tests of the screen."""

from __future__ import annotations

import math
import time
from array import array
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from dctop.engine.metrics.model import Frame, ProbeStatus, Snapshot
from dctop.engine.rules.alert import Alert

START_NS = 1_700_000_000_000_000_000


def alert(id: int = 1, severity: str = "warning", title: str = "disk /data fills", **more: Any) -> Alert:  # noqa: A002
    fields: dict[str, Any] = {
        "rule": "disk-fill", "entity": "/data", "problem": "storage", "severity": severity,
        "state": "firing", "opened_wall_ns": START_NS, "closed_wall_ns": None, "first_step": None,
        "title": title, "why": "because", "evidence": (), "ruled_out": (), "cost": None, "remedies": (),
        "kind": "state", "id": id, **more,
    }  # fmt: skip
    return Alert(**fields)


class FakeLive:
    """LiveEngine's face; `tick()` makes the next second. Every value follows from the tick's number."""

    mode: Literal["live", "replay"] = "live"

    def __init__(self, gpus: int = 0, interval_s: float = 1.0, own_clock: bool = False) -> None:
        self.interval_s = interval_s
        self.gpus = gpus
        self.tick_seq = 0
        self.next_tick_mono = time.monotonic() + 1e6
        self.recorder: Any = None
        self.calls: list[tuple[Any, ...]] = []
        self.known_alerts: list[Alert] = []
        self.known_runs: list[Any] = []
        self.own_clock = own_clock
        self.stale_probes: set[str] = set()
        self._anchor: int | None = None
        self.tick()

    def tick(self, n: int = 1) -> None:
        self.tick_seq += n

    @property
    def back(self) -> int:
        return 0 if self._anchor is None else self.tick_seq - self._anchor

    @property
    def at(self) -> int:
        return self.tick_seq if self._anchor is None else self._anchor

    def look_back(self, ticks: int) -> int:
        ticks = max(0, min(ticks, self.tick_seq - 1, 300))
        self._anchor = None if ticks == 0 else self.tick_seq - ticks
        return ticks

    def wall_ns(self) -> int:
        return START_NS + self.at * 1_000_000_000

    def snapshot(self) -> Snapshot | None:
        n = self.at
        status = {
            p: ProbeStatus(p, 9.0 if p in self.stale_probes else 0.1, p in self.stale_probes, None, (), 0.1)
            for p in ("cpu", "memory")
        }
        frame = Frame(n, n * 10**9, self.wall_ns(), {}, (), status)
        values: dict[str, Any] = {
            "host.name": "node-07", "dctop.cpu_pct": 0.3, "gpu.count": self.gpus,
            "cpu.util_pct": 50 + 40 * math.sin(n / 3), "tick": n,
        }  # fmt: skip
        return Snapshot(frame, None, values, {}, {}, {}, {})

    def window(self, key: str, n: int) -> array[float]:
        seed = sum(map(ord, key)) % 17
        end = self.at
        return array("d", (50 + 45 * math.sin((end - n + i + seed) / (3 + seed % 5)) for i in range(n)))

    def wide(self, key: str, n: int, k: int) -> array[float]:
        self.calls.append(("wide", key, k))
        return self.window(key, n)

    def snapshots_at(self, wall_ns: int, n: int) -> list[Snapshot]:
        kept, self._anchor = self._anchor, max(0, (wall_ns - START_NS) // 10**9)
        try:
            snap = self.snapshot()
        finally:
            self._anchor = kept
        return [] if snap is None else [snap]

    def events(self) -> list[Any]:
        return []

    def alerts(self) -> list[Alert]:
        return self.known_alerts

    def runs(self) -> list[Any]:
        return self.known_runs

    def start_recording(self, path: Path | None = None) -> Path:
        self.calls.append(("record", path))
        self.recorder = SimpleNamespace(
            status=SimpleNamespace(
                state="ok",
                size_bytes=1_234_567,
                lost_frames=0,
                error=None,
                path=path,
                bytes_per_hour=1_600_000.0,
            )
        )
        return path or Path("somewhere.dctop")

    def stop_recording(self) -> None:
        self.calls.append(("stop_recording",))
        self.recorder = None

    def mark(self, text: str) -> bool:
        self.calls.append(("mark", text))
        return self.recorder is not None

    def ack(self, alert_id: int) -> None:
        self.calls.append(("ack", alert_id))

    def not_checked(self) -> list[tuple[str, str]]:
        return [("gpu-thermal", "a GPU")]

    def mute(self, alert_id: int, minutes: float) -> None:
        self.calls.append(("mute", alert_id, minutes))


class FakeReplay(FakeLive):
    """ReplaySource's face over 1,000 invented seconds."""

    mode: Literal["live", "replay"] = "replay"
    t0_ns = START_NS
    t1_ns = START_NS + 1000 * 10**9

    def __init__(self, gpus: int = 0) -> None:
        self.position_ns = START_NS + 100 * 10**9
        super().__init__(gpus)
        self.marks = [
            SimpleNamespace(
                t0=START_NS + s * 10**9, t1=None, seq=s, kind="alert", sev="warning", rule="disk.full",
                entity=None, title=f"disk filled at {s}",
            )
            for s in (50, 400, 800)
        ]  # fmt: skip

    mark = None  # type: ignore[assignment]
    live = False
    """As of a recording that is being made; then `refresh` makes it ten seconds longer."""

    def refresh(self) -> bool:
        if self.live:
            self.t1_ns += 10 * 10**9
        return self.live

    @property
    def at(self) -> int:
        return (self.position_ns - START_NS) // 10**9 if self._anchor is None else self._anchor

    def wall_ns(self) -> int:
        return START_NS + self.at * 10**9

    def seek(self, wall_ns: int) -> None:
        self.position_ns = max(self.t0_ns, min(self.t1_ns, wall_ns))

    def step(self, n: int) -> None:
        self.seek(self.position_ns + n * 10**9)

    def advance(self, seconds: float) -> None:
        self.seek(self.position_ns + int(seconds * 1e9))

    def events(self) -> list[Any]:
        return self.marks

    def gaps(self) -> list[tuple[int, int]]:
        return [(START_NS + 600 * 10**9, START_NS + 650 * 10**9)]

    def overview(self) -> dict[str, list[float]]:
        return {"cpu": [i % 100 for i in range(200)]}

    def seek_seq(self, seq: int) -> None:
        self.seek(START_NS + seq * 10**9)

    @property
    def at_end(self) -> bool:
        return self.position_ns >= self.t1_ns

    def next_event(self, direction: int, kinds: Any) -> Any:
        times = [m for m in self.marks if (m.t0 - self.position_ns) * direction > 0]
        return (min if direction > 0 else max)(times, key=lambda m: m.t0, default=None)
