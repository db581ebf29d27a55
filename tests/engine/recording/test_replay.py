"""A replay shows, at every moment, exactly what was shown live."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.history import History
from dctop.engine.metrics.model import Frame, Snapshot
from dctop.engine.recording.flatten import Flattener
from dctop.engine.recording.reader import open_recording
from dctop.engine.recording.replay import BAND, ReplaySource
from dctop.engine.recording.runtake import Taker
from dctop.engine.recording.store import Item, Mark, Store
from dctop.probes.base import Process
from tests.fakes.frames import Stream, a_run, add_steps, an_alert

N = 420
KEYS = (
    "cpu.util_pct", "cpu.load1", "cpu.load5", "cpu.context_switches_per_s", "cpu.interrupts_per_s",
    "cpu.temp_c{sensor=a}", "cpu.freq_mhz{core=0}", "fs.used_pct{mount=/}", "disk.reads_per_s{disk=sdb}",
    "process.count", "no.such",
)  # fmt: skip


class Live:
    """A recording, and everything the live engine computed while it was made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frames = Stream(seed=21, processes=25).take(N)
        self.snaps: list[Snapshot] = []
        self.history = History(5000)
        self.alerts: list[tuple[int, ...]] = []
        builder, flattener, taker = SnapshotBuilder(), Flattener(), Taker()
        run, r = a_run(), random.Random(1)
        with_alerts = {n: [an_alert(1, self.frames[n - 1].wall_ns - 5)] for n in range(100, 140)}
        with_alerts |= {n: [an_alert(2, self.frames[299].wall_ns)] for n in range(300, 320)}
        store = Store(path, interval_s=1.0, meta={}, durability="relaxed")
        for frame in self.frames:
            snap = builder.push(frame)
            self.snaps.append(snap)
            self.history.push(snap.values)
            if frame.seq % 2:
                add_steps(run, 1, frame.wall_ns, r)
            alerts = with_alerts.get(frame.seq, [])
            self.alerts.append(tuple(a.id for a in alerts))
            changes = taker.take(alerts, (run,), frame.wall_ns)
            table = tuple(frame.processes) or None  # all of them: the choice is tested elsewhere
            marks = [Mark("marker", frame.wall_ns + 9, None, "here")] if frame.seq == 200 else []
            flat = flattener.flatten(frame, table, changes.hot)
            store.write([Item(frame.wall_ns, frame.seq, flat, snap.values, changes, frame.events, marks)])
        store.close("done")

    def window(self, key: str, n: int, seq: int) -> bytes:
        return self.history.window(key, n, N - seq).tobytes()


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Live:
    return Live(tmp_path_factory.mktemp("replay") / "a.dctop")


@pytest.fixture
def source(live: Live) -> Iterator[ReplaySource]:
    made = ReplaySource(live.path)
    yield made
    made.close()


def frame_facts(frame: Frame) -> tuple[object, ...]:
    return (
        frame.seq,
        frame.mono_ns,
        frame.wall_ns,
        dict(frame.samples),
        list(frame.events),
        dict(frame.status),
    )


def check(source: ReplaySource, live: Live, seq: int, n: int = 200) -> None:
    assert source.seq == seq
    snap, true = source.snapshot(), live.snaps[seq - 1]
    assert snap is not None
    assert frame_facts(snap.frame) == frame_facts(true.frame)
    assert snap.values == true.values and dict(snap.labels) == dict(true.labels)
    assert snap.process_cpu_pct == true.process_cpu_pct
    assert snap.process_read_bytes_per_s == true.process_read_bytes_per_s
    assert (snap.previous is None) == (true.previous is None)
    if snap.previous is not None and true.previous is not None:
        assert frame_facts(snap.previous) == frame_facts(true.previous)
    for key in KEYS:
        assert source.window(key, n).tobytes() == live.window(key, n, seq), key
    assert tuple(a.id for a in source.alerts()) == live.alerts[seq - 1]
    (run,) = source.runs()
    assert len(run.columns["step"]) == (seq + 1) // 2


def test_every_tick_equals_the_live_one(source: ReplaySource, live: Live) -> None:
    assert source.mode == "replay" and source.interval_s == 1.0
    for seq in range(1, N + 1):
        check(source, live, seq, n=300 if seq % 10 == 0 else 40)
        assert source.at_end == (seq == N)
        assert source.step(1) == (seq < N)


def test_every_tick_equals_the_live_one_also_backwards(source: ReplaySource, live: Live) -> None:
    source.seek_seq(N)
    for seq in range(N, 0, -1):
        check(source, live, seq, n=150)
        assert source.at_start == (seq == 1)
        assert source.step(-1) == (seq > 1)


def test_seeking_anywhere_equals_the_live_tick(source: ReplaySource, live: Live) -> None:
    r = random.Random(7)
    for _ in range(60):
        seq = r.randrange(1, N + 1)
        if r.random() < 0.5:
            assert source.seek_seq(seq)
        else:
            assert source.seek(live.frames[seq - 1].wall_ns + 500)
        check(source, live, seq, n=r.choice((10, 120, 300)))


def test_a_wider_window_than_ever_is_loaded_when_asked_for(source: ReplaySource, live: Live) -> None:
    source.seek_seq(N)
    for n in (5, 350, 400, 419, 420, 600, 100_000):
        for key in ("cpu.util_pct", "fs.used_pct{mount=/}"):
            if n <= 600:
                assert source.window(key, n).tobytes() == live.window(key, n, N)
            assert len(source.window(key, n)) == n
    source.step(-(BAND + 5))
    assert source.window("cpu.load1", 350).tobytes() == live.window("cpu.load1", 350, N - BAND - 5)
    assert source.window("cpu.load1", 0) == array("d")


def test_long_steps_and_the_ends(source: ReplaySource, live: Live) -> None:
    assert source.seek_seq(200) and source.step(77) and source.seq == 277
    assert source.step(-150) and source.seq == 127
    assert source.step(10_000) and source.seq == N and not source.step(5)
    assert source.step(-10_000) and source.seq == 1 and not source.step(-1) and not source.step(0)
    assert source.seek(0) and source.seq == 1
    assert source.seek(1 << 62) and source.seq == N and source.position_ns == source.t1_ns
    assert source.t0_ns == live.frames[0].wall_ns


def test_playing_goes_on_at_the_pace_of_the_recording(source: ReplaySource) -> None:
    source.seek_seq(10)
    moved = sum(source.advance(0.25) for _ in range(40))
    assert moved in (9, 10, 11) and source.seq in (19, 20, 21)
    source.advance(30.0)
    assert source.seq in range(48, 53)
    source.advance(300.0)
    assert source.seq in range(345, 356)
    source.advance(1e6)
    assert source.at_end and not source.advance(5.0)


def test_events_are_visited_in_turn_however_one_goes_there(source: ReplaySource, live: Live) -> None:
    for by_time in (False, True):
        source.seek_seq(1)
        seen = []
        while (event := source.next_event(1, ("alert", "marker"))) is not None and len(seen) < 9:
            seen.append((event.kind, event.seq))
            assert source.seek(event.wall_ns) if by_time else source.seek_seq(event.seq)
        assert seen == [("alert", 100), ("marker", 199), ("alert", 300)]
        back = []
        while (event := source.next_event(-1, ("alert", "marker"))) is not None and len(back) < 9:
            back.append(event.seq)
            assert source.seek(event.wall_ns) if by_time else source.seek_seq(event.seq)
        assert back == [199, 100]
    assert {e.kind for e in source.events()} >= {"alert", "kernel", "marker", "run"}


def test_the_overview_has_the_lanes_that_were_recorded(source: ReplaySource) -> None:
    lanes = source.overview(50)
    assert set(lanes) == {"cpu"} and len(lanes["cpu"]) == 50
    assert all(0 <= v <= 100 for v in lanes["cpu"])


def test_gaps_are_holes_in_windows_and_take_no_time_to_play(tmp_path: Path) -> None:
    frames = [f for f in Stream(seed=3).take(200) if not 80 <= f.seq < 120]
    store, flattener = Store(tmp_path / "a.dctop", interval_s=1.0, meta={}, durability="relaxed"), Flattener()
    for frame in frames:
        flat = flattener.flatten(frame, None, {})
        store.write([Item(frame.wall_ns, frame.seq, flat, {}, Taker().take((), (), 0))])
    store.close("done")
    with open_recording(tmp_path / "a.dctop") as recording:
        source = ReplaySource(recording)
        assert source.gaps() == [(frames[78].wall_ns, frames[79].wall_ns)]
        source.seek_seq(125)
        holes = [v != v for v in source.window("cpu.load1", 60)]
        assert holes == [False] * 14 + [True] * 40 + [False] * 6
        source.seek_seq(79)
        assert source.advance(1.5) and source.seq == 120
        assert source.seek_seq(100) and source.seq == 120  # a lost frame: the next there is
        assert source.seek(frames[78].wall_ns + 9_000_000_000) and source.seq == 79


def test_a_damaged_middle_is_stepped_over(tmp_path: Path) -> None:
    live = Live(tmp_path / "a.dctop")
    import sqlite3

    db = sqlite3.connect(tmp_path / "a.dctop")
    db.execute("UPDATE chunk SET num = zeroblob(90) WHERE seq0 = 121")
    db.commit()
    db.close()
    source = ReplaySource(tmp_path / "a.dctop")
    source.seek_seq(119)
    for _ in range(3):
        source.step(1)
    assert source.seq == 182
    source.step(-2)
    assert source.seq == 120
    assert source.seek_seq(150) and source.seq == 181
    assert source.seek(live.frames[149].wall_ns) and source.seq == 120
    snap = source.snapshot()
    assert snap is not None and snap.values == live.snaps[119].values
    source.close()


def test_a_growing_file_is_followed(tmp_path: Path) -> None:
    store, flattener = Store(tmp_path / "a.dctop", interval_s=1.0, meta={}, durability="relaxed"), Flattener()
    builder = SnapshotBuilder()

    def write(n: int) -> Snapshot:
        for frame in stream.take(n):
            flat = flattener.flatten(frame, tuple(frame.processes) or None, {})
            store.write([Item(frame.wall_ns, frame.seq, flat, None, Taker().take((), (), 0))])
            snap = builder.push(frame)
        return snap

    stream = Stream(seed=5)
    write(50)
    source = ReplaySource(tmp_path / "a.dctop")
    source.seek_seq(50)
    assert source.at_end and not source.refresh()
    for n in (1, 9, 1, 1, 30, 100):
        true = write(n)
        assert source.refresh() and not source.at_end
        assert source.step(n) and source.at_end
        snap = source.snapshot()
        assert snap is not None and snap.frame.seq == true.frame.seq
        assert snap.values == true.values and snap.process_cpu_pct == true.process_cpu_pct
    source.close()
    store.release()


def test_an_empty_recording_shows_nothing(tmp_path: Path) -> None:
    Store(tmp_path / "a.dctop", interval_s=1.0, meta={}).close("done")
    source = ReplaySource(tmp_path / "a.dctop")
    assert source.snapshot() is None and source.alerts() == () and source.runs() == () and source.at_end
    assert len(source.window("cpu.util_pct", 7)) == 7 and not source.step(1) and not source.seek(5)
    assert not source.advance(3.0) and source.next_event(1) is None and source.overview() == {}
    source.close()


def test_rates_of_processes_need_the_other_machines_ticks(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.dctop", interval_s=1.0, meta={"tick_hz": "1000"}, durability="relaxed")
    flattener, stream = Flattener(), Stream(processes=8)
    for frame in stream.take(3):
        table: tuple[Process, ...] = tuple(frame.processes)
        flat = flattener.flatten(frame, table, {})
        store.write([Item(frame.wall_ns, frame.seq, flat, None, Taker().take((), (), 0))])
    store.close("done")
    builder = SnapshotBuilder(1000)
    want = [builder.push(f).process_cpu_pct for f in Stream(processes=8).take(3)][-1]
    source = ReplaySource(tmp_path / "a.dctop")
    source.seek_seq(3)
    snap = source.snapshot()
    assert snap is not None and want and snap.process_cpu_pct == want
    source.close()


@pytest.mark.parametrize("k", [2, 7, 20])
def test_a_wide_window_is_the_mean_of_the_live_ticks(source: ReplaySource, live: Live, k: int) -> None:
    source.seek_seq(401)
    n = min(20, 240 // k)
    out = source.wide("cpu.load1", n, k)
    assert len(out) == n
    ticks = live.history.window("cpu.load1", 401, N - 401)
    for i, value in enumerate(reversed(out)):
        b = 401 // k - i
        found = [ticks[t - 1] for t in range(max(1, b * k), min(401, b * k + k - 1) + 1)]
        known = [v for v in found if v == v]
        if known:
            assert value == pytest.approx(sum(known) / len(known)), (k, i)
        else:
            assert value != value


def test_beyond_single_ticks_the_means_of_minutes_go_on(
    source: ReplaySource, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.seek_seq(N)
    coarse = source.wide("process.count", 7, 60)
    monkeypatch.setattr("dctop.engine.recording.replay.MIN_WINDOW", 1000)
    exact = source.wide("process.count", 7, 60)
    assert [v == v for v in coarse] == [v == v for v in exact]
    assert [v for v in coarse if v == v] == pytest.approx([v for v in exact if v == v], rel=0.05)


def test_snapshots_of_another_moment_leave_the_cursor(source: ReplaySource, live: Live) -> None:
    source.seek_seq(100)
    found = source.snapshots_at(live.frames[299].wall_ns, 10)
    assert [s.frame.seq for s in found] == list(range(291, 301))
    assert found[-1].values == live.snaps[299].values
    assert source.seq == 100


@pytest.mark.parametrize("at", [50, 61, 130])
def test_a_clock_set_back_confuses_nothing(tmp_path: Path, at: int) -> None:
    frames = Stream(seed=3, clock_step_at=at).take(150)
    flattener, taker, builder = Flattener(), Taker(), SnapshotBuilder()
    store = Store(tmp_path / "a.dctop", interval_s=1.0, meta={}, durability="relaxed")
    for frame in frames:
        changes = taker.take([an_alert(1, frames[9].wall_ns)] if frame.seq > 10 else (), (), frame.wall_ns)
        flat = flattener.flatten(frame, tuple(frame.processes), changes.hot)
        values = builder.push(frame).values
        store.write([Item(frame.wall_ns, frame.seq, flat, values, changes, frame.events)])
    store.close("done")
    replay = ReplaySource(tmp_path / "a.dctop")
    seen = [replay.seq]
    while replay.step(1):
        seen.append(replay.seq)
    assert seen == [f.seq for f in frames]  # in the order in which it happened, whatever the clock said
    assert [e.kind for e in replay.events() if e.kind == "clock"] == ["clock"]
    assert not replay.gaps()
    r = random.Random(at)
    for _ in range(40):
        assert replay.seek(r.randrange(frames[0].wall_ns - 10**12, frames[0].wall_ns + 10**13))
        assert replay.frame is not None and len(replay.wide("cpu.load1", 10, 7)) == 10
    assert all(len(lane) == 30 for lane in replay.overview(30).values())
    replay.seek_seq(1)
    found = replay.next_event(1, ("alert",))
    assert found is not None and found.seq == 11
    replay.advance(500.0)
    assert replay.at_end
    replay.close()
