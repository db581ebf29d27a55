"""Lanes: one probe's trouble is nobody else's."""

import threading
import time
from itertools import pairwise

import pytest

from dctop.engine.live import LiveEngine
from dctop.engine.metrics.hub import LEAD_S, Hub, usual
from dctop.probes.base import KernelEvent, Sample


class Stand:
    """A probe whose reading is a function."""

    def __init__(self, name, read, lane=None, period_s=0.02):
        self.name, self.lane, self.period_s = name, lane or name, period_s
        self._read = read
        self.closed = threading.Event()

    def read(self):
        return self._read()

    def close(self):
        self.closed.set()


def sample(name, values=None, events=()):
    return Sample(name, time.monotonic_ns(), time.time_ns(), values or {}, events=events)


def until(what, seconds=10.0):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.005)


def test_a_hanging_probe_is_named_and_stops_no_other():
    never = threading.Event()
    good = Stand("good", lambda: sample("good"))
    hub = Hub([Stand("hung", lambda: (never.wait(), sample("hung"))[1]), good])
    hub.start()
    until(lambda: "good" in hub.latest)
    until(lambda: hub.status(0)["hung"].error is not None)
    assert "has not answered" in hub.status(0)["hung"].error
    first = hub.latest["good"]
    until(lambda: hub.latest["good"] is not first)
    hub.stop()
    until(good.closed.is_set)
    never.set()


def test_a_failing_probe_backs_off_shows_why_and_recovers():
    fail = [True]
    calls = []

    def read():
        calls.append(time.monotonic())
        if fail[0]:
            raise OSError(5, "Input/output error")
        return sample("x")

    hub = Hub([Stand("x", read)])
    hub.start()
    until(lambda: len(calls) >= 4)
    assert hub.status(0)["x"].error == "OSError: [Errno 5] Input/output error"
    assert hub.status(0)["x"].stale
    gaps = [b - a for a, b in pairwise(calls)]
    assert gaps[-1] > gaps[0]
    fail[0] = False
    until(lambda: "x" in hub.latest)
    until(lambda: hub.status(0)["x"].error is None)
    hub.stop()


def test_a_failure_leaves_the_last_sample_to_go_stale():
    n = []

    def read():
        n.append(1)
        if len(n) > 1:
            raise ValueError("strange\ncontent")
        return sample("x", {"a": 1})

    hub = Hub([Stand("x", read)])
    hub.start()
    until(lambda: hub.status(0)["x"].stale)
    assert hub.latest["x"].values == {"a": 1}
    assert hub.status(0)["x"].error == "ValueError: strange content"
    hub.stop()


def test_events_are_handed_out_once():
    event = KernelEvent(1, 0, "xid", "text")
    sent = []

    def read():
        events = () if sent else (event,)
        sent.append(1)
        return sample("kernel", events=events)

    hub = Hub([Stand("kernel", read)])
    hub.start()
    until(lambda: len(sent) > 2)
    hub.stop()
    assert hub.drain_events() == (event,)
    assert hub.drain_events() == ()


def engine(probes, **options):
    return LiveEngine(interval_s=0.02, probes=probes, rules=False, runs_dir=False, **options)


def test_the_engine_ticks_while_a_probe_hangs_and_ends_at_once():
    never = threading.Event()
    e = engine(
        [
            Stand("hung", lambda: (never.wait(), sample("hung"))[1]),
            Stand("cpu", lambda: sample("cpu", {"cpu.load1": 1.5})),
        ]
    )
    e.start()
    assert e.wait_ticks(5, 10)
    assert e.snapshot().num("cpu.load1") == 1.5
    e.stop()
    never.set()


def test_a_listener_that_raises_does_not_stop_the_engine():
    e = engine([Stand("cpu", lambda: sample("cpu"))])
    e.on_tick.append(lambda _: 1 / 0)
    e.start()
    assert e.wait_ticks(3, 10)
    assert e.problem and "ZeroDivisionError" in e.problem
    e.stop()


def test_looking_back_stays_at_its_moment_while_time_goes_on():
    n = [0]

    def read():
        n[0] += 1
        return sample("cpu", {"cpu.load1": float(n[0])})

    e = engine([Stand("cpu", read)])
    e.start()
    assert e.wait_ticks(20, 10)
    assert e.look_back(5) == 5
    seen = e.snapshot().num("cpu.load1")
    window = e.window("cpu.load1", 4)
    assert e.wait_ticks(5, 10)
    assert e.back >= 10
    assert e.snapshot().num("cpu.load1") == seen
    assert e.window("cpu.load1", 4) == window and window[-1] == seen
    e.look_back(0)
    assert e.back == 0 and e.snapshot().num("cpu.load1") > seen
    e.stop()


def test_the_engine_knows_its_own_cost():
    e = engine([Stand("cpu", lambda: sample("cpu"))])
    e.start()
    assert e.wait_ticks(3, 10)
    snap = e.snapshot()
    assert snap.num("dctop.rss_bytes") > 1e6
    assert snap.num("dctop.cpu_pct") is not None
    assert snap.num("dctop.probe_ms{probe=cpu}") is not None
    e.stop()


def test_a_second_read_follows_soon_where_asked_and_the_period_after_that():
    fast, slow = Stand("fast", lambda: sample("fast")), Stand("slow", lambda: sample("slow"))
    fast.period_s, slow.period_s = 1.0, 10.0
    fast.lane, slow.lane = "a", "b"
    hub = Hub([fast, slow])
    base = time.monotonic()
    hub.start(base, soon_s=0.05)
    first = hub.slots["fast"]
    until(lambda: "fast" in hub.latest and "slow" in hub.latest)
    until(lambda: first.due >= base + 1.05)
    beats = first.due - base - 0.05
    assert beats == pytest.approx(round(beats), abs=0.02)
    assert hub.slots["slow"].due - base == pytest.approx(10.05, abs=0.02)
    hub.stop()


def test_lanes_begin_where_the_one_before_usually_ends_and_a_frame_waits_for_all_that_are_due():
    probes = [Stand(n, lambda: sample("x")) for n in ("seldom", "a", "b")]
    for p, period in zip(probes, (5.0, 1.0, 1.0), strict=True):
        p.lane, p.period_s = p.name, period
    hub = Hub(probes)
    due = time.monotonic() + 1000.0
    hub.start(due)
    lanes = {lane.name: lane for lane in hub._lanes}
    assert list(lanes) == ["a", "b", "seldom"]
    for lane, took in zip(lanes.values(), (0.001, 0.2, 0.003), strict=True):
        lane.took_s = took
    assert hub.pace(due) == pytest.approx(LEAD_S)  # b takes longer than any frame waits
    assert [x.offset_s for x in lanes.values()] == pytest.approx([0.0, 0.0015, 0.0075])
    lanes["b"].took_s = 0.002
    assert hub.pace(due) == pytest.approx(0.0075)
    for name in ("a", "b", "seldom"):
        assert hub.behind(due)
        hub.slots[name].due += 1.0 if name != "seldom" else 5.0
    assert not hub.behind(due)
    assert hub.pace(due + 1.0) == pytest.approx(0.004)  # without the one that is not due
    hub.stop()


def test_what_is_usual_is_up_at_once_and_down_by_and_by():
    assert usual(0.001, 0.008) == 0.008
    assert 0.001 < usual(0.008, 0.001) < 0.008


def test_a_frame_holds_what_was_due_with_it_though_it_took_longer_than_usual():
    slow, n = threading.Event(), [0]

    def read():
        n[0] += 1
        slow.wait(0.03)
        return sample("cpu", {"cpu.load1": float(n[0])})

    e = LiveEngine(interval_s=0.2, probes=[Stand("cpu", read, None, 0.2)], rules=False, runs_dir=False)
    slow.set()
    e.start()
    assert e.wait_ticks(5, 10)
    slow.clear()
    for _ in range(4):
        assert e.wait_ticks(1, 10)
        assert e.snapshot().num("cpu.load1") >= e.tick_seq
    e.stop()
