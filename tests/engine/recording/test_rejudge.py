"""A session judged again from its recording gives the alerts it gave live, at the same moments: sessions
with planted troubles, compared tick by tick. More of them: `make trials`."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from dctop.engine.recording.flatten import Flattener
from dctop.engine.recording.proctable import ProcessPicker
from dctop.engine.recording.replay import ReplaySource
from dctop.engine.recording.runtake import Taker
from dctop.engine.recording.store import Item, Store
from dctop.engine.rules.alert import Alert
from dctop.engine.rules.engine import RuleEngine
from tests.engine.rules.scene import GIB, HEALTHY
from tests.fakes.source import FakeRun, FakeSource, process

TICKS = 320
Facts = list[tuple[object, ...]]


def facts(alerts: list[Alert]) -> Facts:
    return [
        (a.id, a.rule, a.entity, a.severity, a.state, a.opened_wall_ns, a.closed_wall_ns, a.count, a.title,
         a.suppressed_by, [(e.label, e.value) for e in a.evidence])
        for a in alerts
    ]  # fmt: skip


class Session:
    """Troubles begin at random moments of a healthy node with a training on it; each may end again."""

    def __init__(self, seed: int) -> None:
        self.r = random.Random(seed)
        self.source = FakeSource()
        self.source.set(HEALTHY).rate({"cpu.idle_ticks": 780, "cpu.user_ticks": 20})
        self.source.processes = [process(4242, "python3", rss_bytes=3 * GIB), process(7, "other")]
        self.source.tick()
        self.run = FakeRun(self.source)
        self.fields: dict[str, float] = {}
        self.events: list[tuple[str, str]] = []
        names = sorted(self._troubles())
        self.plan = {
            name: (begin := self.r.randrange(10, TICKS - 60), begin + self.r.randrange(20, 150))
            for name in self.r.sample(names, 4)
        }

    def _troubles(self) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
        s = self.source
        gone, kept = {"memory.available_bytes": 0.4 * GIB}, {"memory.available_bytes": 60.0 * GIB}
        full, free = {"fs.avail_bytes{mount=/data}": 1e8}, {"fs.avail_bytes{mount=/data}": 50e9}
        return {
            "memory": (lambda: s.set(gone), lambda: s.set(kept)),
            "disk full": (lambda: s.set(full), lambda: s.set(free)),
            "read-only": (
                lambda: s.set({"fs.readonly{mount=/data}": 1}), lambda: s.set({"fs.readonly{mount=/data}": 0})
            ),
            "pressure": (
                lambda: s.set({"pressure.io.some_avg10_pct": 60.0, "pressure.memory.full_avg10_pct": 30.0}),
                lambda: s.set({"pressure.io.some_avg10_pct": 0.0, "pressure.memory.full_avg10_pct": 0.0}),
            ),
            "oom": (
                lambda: self.events.append(("oom-kill", "Killed process 7 (other)")), lambda: None
            ),
            "io error": (lambda: self.events.append(("io-error", "I/O error, dev sda")), lambda: None),
            "net": (
                lambda: s.rate({"net.rx_errors{nic=eth0}": 50}),
                lambda: s.rate({"net.rx_errors{nic=eth0}": 0}),
            ),
            "nan": (
                lambda: self.fields.update(loss=float("nan")), lambda: self.fields.pop("loss", None)
            ),
            "data": (
                lambda: self.fields.update(step_s=0.2, data_s=0.17),
                lambda: [self.fields.pop(k, None) for k in ("step_s", "data_s")],
            ),
            "probe late": (lambda: s.stale.add("memory"), lambda: s.stale.discard("memory")),
        }  # fmt: skip

    def tick(self, n: int) -> None:
        troubles = self._troubles()
        for name, (begin, end) in self.plan.items():
            if n in (begin, end):
                troubles[name][n == end]()
        events = [self.source.event(kind, text) for kind, text in self.events]
        self.events.clear()
        if events:
            before = self.source.raw["kernel.records"]
            assert isinstance(before, int)
            self.source.set({"kernel.records": before + len(events)})
        self.source.tick(1.0, events)
        self.run.steps(self.r.randrange(0, 20), 1.0, **self.fields)


class Layers(Session):
    """A training whose single layers fall ill, one after the other."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        config = self.run.now.config
        names = {"names": ["a", "b"], "first": 0, "last": 1, "weights": 2, "relus": ["ReLU 1"]}
        options = {**config["config"], "target": 0.95, "schedule": "constant"}
        self.run.publish(
            config={
                **config,
                "config": options,
                "layers": names,
                "target_of": "accuracy",
                "total_steps": 2000,
            }
        )
        self.plan = {"dead": (20, 60), "vanished": (100, 140), "frozen": (160, 320), "scale": (200, 240)}

    def _troubles(self) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
        def begins(**fields: float) -> Callable[[], object]:
            return lambda: self.fields.update(fields)

        def ends(**fields: float) -> Callable[[], object]:
            return lambda: [self.fields.pop(name) for name in fields] and self.fields.update(loss=0.5)

        ill: dict[str, dict[str, float]] = {
            "dead": {"dead_share": 1.0, "dead_layer": 0, "loss": 2.303},
            "vanished": {"grad_first": 1e-9, "grad_last": 0.5, "loss": 2.303},
            "scale": {"amp_scale": 0.25},
        }
        found = {name: (begins(**fields), ends(**fields)) for name, fields in ill.items()}
        told = {"parameters": ["a"], "count": 1, "of": 2, "why": {"optimizer": 1}, "steps": 100, "lr": 1e-3}
        found["frozen"] = (lambda: self.run.event("frozen", "frozen", None, **told), lambda: None)
        return {**super()._troubles(), **found}


def live_and_again(seed: int, path: Path, kind: type[Session] = Session) -> tuple[list[Facts], list[Facts]]:
    """The alerts of every tick, live and from the recording."""
    session = kind(seed)
    source, rules = session.source, RuleEngine()
    flattener, picker, taker = Flattener(), ProcessPicker(), Taker()
    store = Store(path, interval_s=1.0, meta={"tick_hz": "100"}, durability="relaxed")
    live: list[Facts] = []
    for n in range(TICKS):
        session.tick(n)
        rules.tick(source)
        live.append(facts(list(rules.alerts())))
        snap = source.current
        assert snap is not None
        frame = snap.frame
        changes = taker.take(rules.alerts(), source.runs(), frame.wall_ns)
        flat = flattener.flatten(frame, picker.pick(frame.processes), changes.hot)
        store.write([Item(frame.wall_ns, frame.seq, flat, snap.values, changes, frame.events)])
    store.close("done")
    again: list[Facts] = []
    replay, rules = ReplaySource(path), RuleEngine()
    more = True
    while more:
        rules.tick(replay)
        again.append(facts(list(rules.alerts())))
        more = replay.step(1)
    replay.close()
    return live, again


@pytest.mark.parametrize("seed", range(6))
def test_a_session_judged_again_gives_the_same_alerts_at_the_same_times(seed: int, tmp_path: Path) -> None:
    live, again = live_and_again(seed, tmp_path / "a.dctop")
    assert len(live) == len(again) == TICKS
    for n, (a, b) in enumerate(zip(live, again)):
        assert a == b, n
    assert any(live)


def test_what_layers_show_is_judged_again_alike(tmp_path: Path) -> None:
    live, again = live_and_again(1, tmp_path / "a.dctop", Layers)
    assert live == again
    told = {alert[1] for tick in live for alert in tick}
    assert {
        "dead-relu", "grad-vanishing", "param-not-updating", "amp-scale-collapse", "slow-convergence"
    } <= told  # fmt: skip
