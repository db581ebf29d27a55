"""The statistical layer on a node: votes, families, folding, silence under what the rules already say."""

from __future__ import annotations

import random

from dctop.engine.rules.anomaly import BATCH_NS, Anomaly, explained, grouped
from dctop.engine.rules.engine import RuleEngine
from dctop.engine.rules.watched import MOST, WATCHED, watches
from tests.engine.rules.test_engine import only, pressed
from tests.fakes.source import FakeRun, FakeSource

GIB = 1 << 30


class Node(FakeSource):
    """Noise on every watched resource; `push` adds to it."""

    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.extra: dict[str, float] = {}
        self.still: set[str] = set()
        self.set({
            "memory.total_bytes": 64 * GIB, "memory.available_bytes": 40 * GIB, "memory.oom_kills": 0,
            "kernel.records": 0, "pressure.memory.some_avg10_pct": 0.0, "host.name": "node",
            "pressure.memory.full_avg10_pct": 0.0, "memory.cached_bytes": 9 * GIB,
            "disk.reads{disk=vda}": 0, "disk.writes{disk=vda}": 0, "disk.read_ms{disk=vda}": 0,
            "disk.write_ms{disk=vda}": 0,
        })  # fmt: skip

    def usual(self, key: str, mean: float, sd: float) -> float:
        return max(0.0, self.random.gauss(mean, sd) + self.extra.get(key, 0.0))

    def second(self, engine: RuleEngine) -> None:
        busy = self.usual("cpu", 30, 2)
        self.rate({
            "cpu.user_ticks": busy, "cpu.idle_ticks": 100 - busy, "cpu.system_ticks": 0,
            "cpu.iowait_ticks": 0, "cpu.irq_ticks": 0, "cpu.steal_ticks": 0,
            "disk.write_bytes{disk=vda}": self.usual("disk", 30e6, 2e6),
            "net.rx_bytes{nic=eth0}": self.usual("net", 20e6, 1e6),
            "net.rx_bytes{nic=lo}": self.usual("lo", 1e6, 1e5),
        })  # fmt: skip
        self.set({"memory.available_bytes": 40 * GIB - self.usual("memory", 1e8, 1e7)})
        self.tick()
        engine.tick(self)

    def run(self, engine: RuleEngine, seconds: int) -> None:
        for _ in range(seconds):
            self.second(engine)


def anomalies(e: RuleEngine) -> list[str]:
    return [a.title for a in e.alerts() if a.rule == "anomaly"]


def started(seed: int = 1) -> tuple[Node, RuleEngine]:
    s, e = Node(seed), RuleEngine()
    s.run(e, 400)
    assert anomalies(e) == []
    return s, e


TURN = BATCH_NS // 1_000_000_000
"""Seconds in which what was read is gone through at least once."""


def test_it_says_that_it_is_learning_first() -> None:
    s, e = Node(), RuleEngine()
    s.run(e, 30)
    assert dict(e.not_checked())["anomaly"].startswith("a minute of readings")
    s.run(e, 60)
    assert "anomaly" not in dict(e.not_checked())


def test_one_series_alone_is_a_mark_and_no_alert() -> None:
    s, e = started()
    s.extra = {"disk": 400e6}
    s.run(e, 2)
    s.extra = {}
    s.run(e, TURN - 2)
    rule = next(r for r in e.rules if isinstance(r, Anomaly))
    assert rule.marks() == {"disk.write_bytes_per_s{disk=vda}": "spike"}
    s.run(e, 30)
    assert anomalies(e) == []


def test_three_series_of_two_families_are_a_note_that_says_the_numbers() -> None:
    s, e = started()
    s.extra = {"disk": 400e6, "cpu": 50, "net": 300e6}
    s.run(e, TURN)
    a = only(e, "anomaly")
    assert (a.severity, a.state, a.entity) == ("info", "firing", "node")
    assert len(a.evidence) >= 3
    assert {x.label for x in a.evidence} >= {"disk.write_bytes_per_s{disk=vda}", "cpu.util_pct"}
    assert "x its usual swing" in a.why
    assert all(x.series and x.threshold for x in a.evidence)
    assert e.counts[:2] == (0, 0)


def test_what_follows_within_ten_minutes_is_folded_into_the_same_note() -> None:
    s, e = started()
    for k in range(3):
        s.extra = {"disk": 400e6 * (k + 1), "cpu": 20.0 * (k + 1), "net": 300e6 * (k + 1)}
        s.run(e, 3)
        s.extra = {}
        s.run(e, 150)
    a = only(e, "anomaly")
    assert a.count >= 2
    assert a.state == "closed"


def test_what_an_open_alert_explains_has_no_vote() -> None:
    s, e = started()
    pressed(s, 30)
    s.run(e, 10)
    assert only(e, "psi-memory").open
    assert "memory" in explained(e.alerts())
    s.extra = {"memory": 8e9, "disk": 400e6}
    s.run(e, 4)
    assert anomalies(e) == []


def test_one_series_far_off_for_half_a_minute_is_a_note() -> None:
    s, e = started()
    for k in range(140):
        s.extra = {"disk": 900e6 + 40e6 * k}
        s.second(e)
    assert len(anomalies(e)) == 1


def test_a_probe_that_reads_nothing_new_is_no_stall() -> None:
    s, e = started()
    s.frozen = {"disk", "cpu", "network", "memory"}
    s.run(e, 300)
    assert anomalies(e) == []


def test_a_run_votes_by_the_logarithm_of_its_loss() -> None:
    s, e = started()
    r = random.Random(4)
    run = FakeRun(s)
    for _ in range(120):
        run.steps(
            20, loss=lambda step: 0.8 * 1.001 ** r.gauss(0, 20), grad_norm=lambda step: r.gauss(3.0, 0.1)
        )
        s.second(e)
    s.extra = {"cpu": 60}
    run.steps(20, loss=lambda step: 1.1, grad_norm=lambda step: 5.5)
    s.run(e, TURN)
    a = only(e, "anomaly")
    assert any("train.loss" in x.label for x in a.evidence)


def test_saved_states_spare_a_second_life() -> None:
    s, e = started()
    rule = next(r for r in e.rules if isinstance(r, Anomaly))
    saved = rule.state()
    assert len(saved) >= 4
    again = Anomaly()
    again.restore(saved)
    e2 = RuleEngine(rules=[again])
    s.run(e2, 3)
    assert "anomaly" not in dict(e2.not_checked())


def test_the_number_of_series_is_bounded_and_the_loopback_is_left_out() -> None:
    s = FakeSource()
    s.set({f"fs.used_bytes{{mount=/m{i}}}": 1.0 for i in range(900)})
    s.rate({"net.rx_bytes{nic=lo}": 5.0})
    s.tick()
    s.tick()
    assert s.current is not None
    found = [w.key for group in watches(s.current, {}).values() for w in group]
    assert len(found) == MOST
    assert not any("nic=lo" in key for key in found)


def test_of_four_gpus_each_is_compared_with_the_others() -> None:
    s = FakeSource()
    s.set({f"gpu.util_pct{{gpu=G{i}}}": 90.0 for i in range(4)})
    s.tick()
    assert s.current is not None
    assert [len(w.peers) for w in watches(s.current, {})["gpu"]] == [3, 3, 3, 3]


def test_watched_metrics_exist() -> None:
    from dctop.engine.metrics.derived import CATALOGUE

    assert set(WATCHED) <= set(CATALOGUE)


def test_bursts_of_steps_are_taken_by_medians() -> None:
    assert grouped([1.0, float("nan"), 2.0]) == [1.0, 2.0]
    assert len(grouped([float(i) for i in range(1000)])) == 32
