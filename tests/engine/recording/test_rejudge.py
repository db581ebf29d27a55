"""A session judged again from its recording gives the alerts it gave live, at the same moments: sessions
with planted troubles, compared tick by tick. More of them: `make trials`."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from dctop.engine.metrics.lookback import LookBack
from dctop.engine.recording.begun import body_of, take_up
from dctop.engine.recording.flatten import Flattener
from dctop.engine.recording.proctable import ProcessPicker
from dctop.engine.recording.reader import open_recording
from dctop.engine.recording.redaction import Redactor
from dctop.engine.recording.replay import ReplaySource
from dctop.engine.recording.rewrite import rewrite
from dctop.engine.recording.runtake import Taker
from dctop.engine.recording.store import Item, Store
from dctop.engine.rules import carried
from dctop.engine.rules.alert import Alert
from dctop.engine.rules.anomaly import Anomaly
from dctop.engine.rules.detector import Detector
from dctop.engine.rules.engine import RuleEngine
from dctop.probes.base import series
from tests.engine.rules.gpus import ON_GPU, WELL, rank
from tests.engine.rules.scene import GIB, HEALTHY
from tests.fakes.source import FakeRun, FakeSource, process

TICKS = 320
S = 10**9
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
            for name in self.r.sample(names, min(4, len(names)))
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


class Ranked(Session):
    """The run has two processes, of which one is slow for a while, and a checkpoint that others can read."""

    def tick(self, n: int) -> None:
        super().tick(n)
        slow = 0.04 if 60 <= n < 200 else 0.0
        if n % 3 == 0:
            noise = round(self.r.random() / 1000, 5)
            ranks = (rank(0, 0.1, 0.02 + slow + noise), rank(1, 0.1, 0.02, data_s=0.001 + slow))
            saved = ("checkpoint", "/data/step-1.pt", "0644")
            config = {**self.run.now.config, "ranks": 2}
            self.run.publish(ranks=ranks, config=config, exposed=(saved,) if n > 150 else ())


class Busy(Session):
    """A processor that is a little busier for a minute and a half."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.plan = {"busy": (100, 190)}

    def _troubles(self) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
        s = self.source
        busy, idle = (
            {"cpu.idle_ticks": 500, "cpu.user_ticks": 300},
            {"cpu.idle_ticks": 780, "cpu.user_ticks": 20},
        )
        return {"busy": (lambda: s.rate(busy), lambda: s.rate(idle))}


def usual() -> dict[str, list[float]]:
    """As if an earlier life had learned that the processor's use hardly ever moves."""
    d = Detector(5.0, 0.0)
    for n in range(700):
        d.update(2.5 + 0.01 * (n % 3))
    return {"cpu.util_pct": d.state()}


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


class Devices(Session):
    """A training on two GPUs that are idle, unequally busy and full in turn: rules that are asked once in
    some seconds or steps."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        s = self.source
        s.set({"gpu.status": "ok", "gpu.count": 2, "gpu.pid_space": "own"})
        for i in range(2):
            s.set({series(f"gpu.{k}", gpu=f"GPU-{i}"): v for k, v in {**WELL, "index": i}.items()})
        config = {**self.run.now.config, "ranks": 2, "device": {"asked": "cuda", "chosen": "cuda:0"}}
        self.run.publish(device="cuda:0", config=config)
        self.fields = {**ON_GPU}
        first = self.r.randrange(20, 60)
        self.plan = {"idle": (first, first + 80), "one": (170, 290), "full": (150, 200)}

    def _troubles(self) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
        def busy(a: float, b: float) -> Callable[[], object]:
            return lambda: self.source.set({"gpu.util_pct{gpu=GPU-0}": a, "gpu.util_pct{gpu=GPU-1}": b})

        def peak(gib: float) -> Callable[[], object]:
            return lambda: self.fields.update(mem_peak_bytes=gib * GIB)

        return {
            "idle": (busy(20, 20), busy(95, 95)), "one": (busy(95, 30), busy(95, 95)),
            "full": (peak(75), peak(28)),
        }  # fmt: skip

    def tick(self, n: int) -> None:
        super().tick(n)
        if n == 143:
            self.run.mode("eval")
        elif n == 148:
            self.run.mode("train")


def live_and_again(
    session: Session, path: Path, begin: int = 0, learned: bool = False
) -> tuple[list[Facts], list[Facts]]:
    """The alerts of every tick, live and from the recording that began at tick `begin`."""
    source, rules = session.source, RuleEngine()
    before = LookBack(300)
    assert source.current is not None
    before.append(source.current.frame)
    if learned:
        next(r for r in rules.rules if isinstance(r, Anomaly)).restore(usual())
    flattener, picker, taker = Flattener(), ProcessPicker(), Taker()
    store = Store(path, interval_s=1.0, meta={"tick_hz": "100"}, durability="relaxed")
    live: list[Facts] = []
    for n in range(TICKS):
        session.tick(n)
        snap = source.current
        assert snap is not None
        frame = snap.frame
        body = None
        if n == begin:
            body = body_of(rules, before[-1].seq)
            for old in before:
                changes = taker.take([a for a in rules.alerts() if a.open], (), old.wall_ns)
                changes.begun = body if old.seq == before[-1].seq else None
                flat = flattener.flatten(old, picker.pick(old.processes), changes.hot)
                store.write([Item(old.wall_ns, old.seq, flat, None, changes, old.events)])
        before.append(frame)
        rules.tick(source)
        if n < begin:
            continue
        live.append(facts(list(rules.alerts())))
        changes = taker.take(rules.alerts(), source.runs(), frame.wall_ns)
        flat = flattener.flatten(frame, picker.pick(frame.processes), changes.hot)
        store.write([Item(frame.wall_ns, frame.seq, flat, snap.values, changes, frame.events)])
    store.close("done")
    again: list[Facts] = []
    replay, rules = ReplaySource(path), RuleEngine()
    assert take_up(rules, replay)
    more = replay.step(1)
    while more:
        rules.tick(replay)
        again.append(facts(list(rules.alerts())))
        more = replay.step(1)
    replay.close()
    return live, again


@pytest.mark.parametrize("seed", range(6))
def test_a_session_judged_again_gives_the_same_alerts_at_the_same_times(seed: int, tmp_path: Path) -> None:
    live, again = live_and_again(Session(seed), tmp_path / "a.dctop")
    assert len(live) == len(again) == TICKS
    for n, (a, b) in enumerate(zip(live, again)):
        assert a == b, n
    assert any(live)


def test_ranks_and_what_others_can_read_are_judged_alike(tmp_path: Path) -> None:
    live, again = live_and_again(Ranked(7), tmp_path / "a.dctop")
    for n, (a, b) in enumerate(zip(live, again, strict=True)):
        assert a == b, n
    told = {fact[1] for tick in live for fact in tick}
    assert {"straggler-wait", "data-exposure"} <= told


@pytest.mark.parametrize(("seed", "begin"), [(0, 130), (1, 40), (2, 220), (3, 40), (4, 130), (5, 220)])
def test_a_session_recorded_from_its_middle_is_judged_as_it_was_live(
    seed: int, begin: int, tmp_path: Path
) -> None:
    live, again = live_and_again(Session(seed), tmp_path / "a.dctop", begin)
    assert len(live) == len(again) == TICKS - begin
    for n, (a, b) in enumerate(zip(live, again)):
        assert a == b, n


@pytest.mark.parametrize(("seed", "begin"), [(0, 0), (1, 70), (2, 93), (3, 151)])
def test_rules_that_are_asked_now_and_then_are_asked_at_the_same_moments(
    seed: int, begin: int, tmp_path: Path
) -> None:
    live, again = live_and_again(Devices(seed), tmp_path / "a.dctop", begin)
    for n, (a, b) in enumerate(zip(live, again, strict=True)):
        assert a == b, n
    told = {alert[1] for tick in live for alert in tick}
    assert {"gpu-underutilised", "gpu-imbalance", "oom-predicted-gpu"} <= told


@pytest.mark.parametrize("begin", [0, 140])
def test_what_an_earlier_life_had_learned_counts_again(begin: int, tmp_path: Path) -> None:
    live, again = live_and_again(Busy(1), tmp_path / "a.dctop", begin, learned=True)
    assert live == again
    noted = {a[1] for tick in live for a in tick}
    assert "anomaly" in noted
    unlearned, _ = live_and_again(Busy(1), tmp_path / "b.dctop")
    assert "anomaly" not in {a[1] for tick in unlearned for a in tick}, "the session shows the difference"


def test_a_part_cut_out_begins_with_what_was_open(tmp_path: Path) -> None:
    live, _ = live_and_again(Session(3), tmp_path / "a.dctop")
    with open_recording(tmp_path / "a.dctop") as whole:
        t0, _ = whole.time_range or (0, 0)
        n = next(
            n for n in range(60, TICKS) if sum(a[4] == "firing" and a[5] < t0 + (n - 2) * S for a in live[n])
        )
        rewrite(whole, tmp_path / "b.dctop", what="cut", t0_ns=t0 + n * S)
    wanted = {(a[0], a[1], a[5]) for a in live[n] if a[4] == "firing"}
    replay, rules = ReplaySource(tmp_path / "b.dctop"), RuleEngine()
    assert replay.recording.begun() is None and take_up(rules, replay)
    assert {(a.id, a.rule, a.opened_wall_ns) for a in rules.alerts()} == wanted
    rules.tick(replay)
    while replay.step(1):
        rules.tick(replay)
    again = facts([a for a in rules.alerts() if (a.id, a.rule, a.opened_wall_ns) in wanted])
    assert [a[:7] for a in again] == [a[:7] for a in live[-1] if (a[0], a[1], a[5]) in wanted]
    replay.close()


def test_what_the_rules_knew_is_redacted_with_the_rest_and_still_taken(tmp_path: Path) -> None:
    live, _ = live_and_again(Session(3), tmp_path / "a.dctop", 220)
    redactor = Redactor()
    redactor.learn_host("data")  # the mount's name
    with open_recording(tmp_path / "a.dctop") as whole:
        rewrite(whole, tmp_path / "b.dctop", what="redacted", changer=redactor)
    replay, rules = ReplaySource(tmp_path / "b.dctop"), RuleEngine()
    told = replay.recording.begun()
    assert told is not None and "/data" not in json.dumps(told)
    assert take_up(rules, replay)
    assert [a.id for a in rules.alerts()] == [a[0] for a in live[0]]
    replay.close()


def test_nothing_of_another_version_or_shape_is_taken(tmp_path: Path) -> None:
    rules, fresh = RuleEngine(), RuleEngine()
    session = Session(2)
    for n in range(200):
        session.tick(n)
        rules.tick(session.source)
    told = carried.memory(rules)
    bad: list[dict[str, object]] = [
        {**told, "version": 0},
        {},
        {**told, "classes": {**told["classes"], "dctop.engine.rules.window:Trail": ["x"]}},
        {**told, "classes": {**told["classes"], "os:system": []}},
        {**told, "classes": {**told["classes"], "dctop.engine.rules.engine:RuleEngine": []}, "now": []},
        {**told, "ids": None},
        {**told, "slots": {"disk-fill": {**told["slots"]["disk-fill"], "tracks": ["l", 3]}}},
        {**told, "slots": {"disk-fill": {**told["slots"]["disk-fill"], "items": ["r", 10**6]}}},
    ]
    for data in bad:
        with pytest.raises(carried.NotTaken):
            carried.recall(fresh, data, None)
        assert fresh.alerts() == () and fresh.counts == (0, 0, 0)
    whole = json.dumps(told)
    for good, wrong in (('"critical"', '"worse"'), ('"firing"', '"burning"'), ('"state"', "7")):
        assert good in whole
        with pytest.raises(carried.NotTaken):
            carried.recall(fresh, json.loads(whole.replace(good, wrong)), None)
    carried.recall(fresh, told, None)
    assert facts(list(fresh.alerts())) == facts(list(rules.alerts()))


def test_what_layers_show_is_judged_again_alike(tmp_path: Path) -> None:
    live, again = live_and_again(Layers(1), tmp_path / "a.dctop")
    assert live == again
    told = {alert[1] for tick in live for alert in tick}
    assert {
        "dead-relu", "grad-vanishing", "param-not-updating", "amp-scale-collapse", "slow-convergence"
    } <= told  # fmt: skip
