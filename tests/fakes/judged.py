"""A session that was judged while it was recorded."""

from __future__ import annotations

from pathlib import Path

from dctop.engine.recording.recorder import Recorder
from dctop.engine.rules.engine import RuleEngine
from tests.engine.rules.scene import HEALTHY
from tests.fakes.source import FakeRun, FakeSource


def record(path: Path, bad: bool, lang: str = "en") -> RuleEngine:
    """Two minutes of a node with a run, recorded tick by tick; the rules that judged them live."""
    s = FakeSource()
    s.set(HEALTHY)
    s.rate({"cpu.idle_ticks": 780, "cpu.user_ticks": 20})
    live = RuleEngine(lang=lang)
    recorder = Recorder(path, interval_s=1.0, meta={"tick_hz": "100"}, durability="relaxed")
    recorder.start()
    assert recorder.wait_opened(10.0)
    s.tick()
    run = FakeRun(s)
    for i in range(110):
        if bad:
            s.set({"pressure.memory.some_avg10_pct": 30.0 if 20 < i < 50 else 0.0})
            s.set({"fs.avail_bytes{mount=/data}": 50e9 if i < 70 else 1e9})
        events = [s.event("hung-task", "blocked", task="x", pid="1")] if bad and i == 60 else []
        s.tick(1.0, events)
        if i < 80:
            run.steps(20, 1.0, loss=lambda n: 0.5 + 0.01 * (n % 7))
        elif i == 80 and bad:
            run.event("nonfinite", "loss is NaN", loss="nan", lr=0.01, last_finite_loss=0.5)
            run.end("killed", -9, "killed by the kernel", oom_kill_delta=1, oom="cgroup",
                    cgroup_limit_bytes=1 << 30, cgroup_peak_bytes=1 << 30)  # fmt: skip
        elif i == 80:
            run.end("finished", 0, "done")
        live.tick(s)
        assert s.current is not None
        recorder.put(s.current.frame, live.alerts(), s.runs())
    recorder.stop("test done")
    return live
