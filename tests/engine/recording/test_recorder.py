"""The recorder against real trouble: kills, full and vanished file systems, a slow disk, other users."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dctop.engine.netfs import network_fs
from dctop.engine.recording import recorder as module
from dctop.engine.recording.reader import Recording, RecordingError, open_recording
from dctop.engine.recording.recorder import QUEUE, Recorder
from dctop.engine.recording.store import Store
from tests.fakes.frames import Stream, a_run, add_steps, an_alert, event
from tests.fakes.recorders import META, check_frames, feed, recorder, wait_for


@pytest.mark.parametrize("n", [1, 59, 60, 61, 200])
def test_frames_come_back_equal(tmp_path: Path, n: int) -> None:
    frames = Stream(seed=n).take(n)
    rec = recorder(tmp_path / "a.dctop", durability="relaxed")
    feed(rec, frames)
    rec.stop("done")
    assert rec.status.state == "stopped" and rec.status.lost_frames == 0
    with open_recording(tmp_path / "a.dctop") as recording:
        check_frames(recording, frames)
        info = recording.info
        assert info.closed and info.close_reason == "done" and info.problems == () and info.gaps == ()
        assert info.frames == n and info.host == "node" and info.recovered is None


def test_a_sample_that_was_not_read_anew_comes_back_as_the_same_object(tmp_path: Path) -> None:
    frames = Stream(seed=5).take(150)
    rec = recorder(tmp_path / "a.dctop", durability="relaxed")
    feed(rec, frames)
    rec.stop()
    with open_recording(tmp_path / "a.dctop") as recording:
        got = list(recording.frames(0, 999))
    for i in range(1, 150):
        for probe, sample in frames[i].samples.items():
            same = frames[i - 1].samples.get(probe) is sample
            assert (got[i - 1].samples.get(probe) is got[i].samples[probe]) == same


def test_after_a_clean_stop_it_is_one_private_file(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        rec = recorder(tmp_path / "a.dctop")
        rec.put(next(Stream()), (), ())
        wait_for(lambda: rec.saved_seq == 1, "saved")
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert sorted(f.name for f in tmp_path.iterdir()) == ["a.dctop", "a.dctop-shm", "a.dctop-wal"]
    finally:
        os.umask(before)
    rec.stop()
    assert [f.name for f in tmp_path.iterdir()] == ["a.dctop"]
    assert (tmp_path / "a.dctop").read_bytes()[18:20] == b"\x01\x01"  # no longer in WAL mode


def test_the_file_is_private_and_writable_also_under_a_strange_umask(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        rec = recorder(tmp_path / "a.dctop")
        rec.put(next(Stream()), (), ())
        rec.stop()
    finally:
        os.umask(before)
    assert rec.status.error is None
    assert stat.S_IMODE((tmp_path / "a.dctop").stat().st_mode) == 0o600


def test_an_existing_file_is_never_touched(tmp_path: Path) -> None:
    path = tmp_path / "a.dctop"
    path.write_bytes(b"precious")
    rec = recorder(path)
    assert not rec.wait_opened(10)
    rec.put(next(Stream()), (), ())
    rec.stop()
    assert rec.status.state == "failed" and "exists" in (rec.status.error or "")
    assert path.read_bytes() == b"precious"


def test_a_missing_directory_is_a_line_not_an_exception(tmp_path: Path) -> None:
    rec = recorder(tmp_path / "no" / "a.dctop")
    assert not rec.wait_opened(10)
    status = rec.status
    rec.stop()
    assert status.state == "failed" and "does not exist" in (status.error or "")
    assert "\n" not in (status.error or "")


def test_stop_without_start_and_twice_is_harmless(tmp_path: Path) -> None:
    rec = Recorder(tmp_path / "a.dctop", interval_s=1.0, meta=META)
    rec.stop()
    rec = recorder(tmp_path / "b.dctop")
    rec.stop()
    rec.stop()
    assert rec.status.state == "stopped"
    with open_recording(tmp_path / "b.dctop") as recording:
        assert recording.info.frames == 0 and recording.seq_range is None


# -- kills ------------------------------------------------------------------------------------------

CHILD = """
import random, sys, time
from pathlib import Path
from dctop.engine.recording.recorder import Recorder
from tests.fakes.frames import Stream, a_run, add_steps, an_alert
path, seed, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
def saved(seq):
    sys.stdout.write(f"{seq}\\n"); sys.stdout.flush()
import dctop.engine.recording.recorder as module
module.COMMIT_S = 0.0
rec = Recorder(path, interval_s=1.0, meta={}, on_saved=saved, min_free_bytes=0)
rec.start()
run, stream, r = a_run(), Stream(seed=seed), random.Random(1)
for frame in stream:
    add_steps(run, 3, frame.wall_ns, r)
    rec.put(frame, (an_alert(1, frame.wall_ns, count=frame.seq // 9),), (run,))
    while rec._framed > 20: time.sleep(0.001)
    time.sleep(pause)
"""


@pytest.mark.parametrize("seed", range(20))
def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "a.dctop"
    goal = random.Random(seed).randrange(1, 160)
    pause = 0.0 if seed % 2 else 0.002
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(seed), str(pause)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        acked = -1
        while acked < goal:
            line = child.stdout.readline()
            assert line, "the child died"
            acked = int(line)
    finally:
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate(timeout=30)
    acked = max([acked, *map(int, rest.split("\n")[:-1])])
    frames = Stream(seed=seed).take(acked + 200)
    with open_recording(path) as recording:
        span = recording.seq_range
        assert span is not None and span[0] == 1 and span[1] >= acked
        check_frames(recording, frames[: span[1]])
        recording.check()
        info = recording.info
        assert not info.closed and not info.live and info.bad_chunks == 0 and info.problems == ()
        assert info.recovered is not None and "not closed, 0 bad chunks" in info.recovered
        (run,) = recording.runs_at_seq(span[1])
        assert len(run.columns["step"]) == 3 * span[1]
        (alert,) = recording.alerts_at_seq(span[1])
        assert alert.count == span[1] // 9


def test_the_engine_never_waits_and_overflow_is_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMIT_S", 0.0)
    stuck, go_on, real = threading.Event(), threading.Event(), Store.write

    def slow(self: Store, items: list[object]) -> None:
        stuck.set()
        assert go_on.wait(60)
        real(self, items)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "write", slow)
    rec = recorder(tmp_path / "a.dctop")
    stream = Stream(seed=4)
    rec.put(next(stream), (), ())
    assert stuck.wait(30)
    for frame in stream.take(QUEUE + 30):
        rec.put(frame, (an_alert(1, frame.wall_ns),) if frame.seq == 5 else (), ())
    assert rec.status.lost_frames == 30
    go_on.set()
    rec.stop()
    with open_recording(tmp_path / "a.dctop") as recording:
        (gap,) = recording.events("gap")
        assert gap.title == "30 frames lost: the recorder could not keep up"
        assert [f.seq for f in recording.frames(0, 999)] == [1, *range(32, QUEUE + 32)]
        assert len(recording.events("alert")) == 1  # of a lost frame, kept


def test_frames_after_a_gap_are_exact(tmp_path: Path) -> None:
    """A sample that was new in a lost frame is new in the next one that is written."""
    frames = Stream(seed=8).take(160)
    kept = [f for f in frames if not (20 <= f.seq < 25 or 70 <= f.seq < 101)]
    rec = recorder(tmp_path / "a.dctop", durability="relaxed")
    feed(rec, kept)
    rec.stop()
    with open_recording(tmp_path / "a.dctop") as recording:
        check_frames(recording, kept)
        assert [round((g.t1 - g.t0) / 1e9) for g in recording.gaps] == [6, 32]


# -- other files ------------------------------------------------------------------------------------


def test_a_network_file_system_is_recorded_to_without_a_wal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "network_fs", lambda path: "nfs4")
    rec = recorder(tmp_path / "a.dctop")
    frames = Stream().take(70)
    feed(rec, frames)
    wait_for(lambda: rec.saved_seq == 70, "saved")
    assert "nfs4" in (rec.status.error or "") and rec.status.state == "recording"
    assert not (tmp_path / "a.dctop-wal").exists()
    with open_recording(tmp_path / "a.dctop") as recording:
        check_frames(recording, frames)
    rec.stop()
    with open_recording(tmp_path / "a.dctop") as recording:
        check_frames(recording, frames)


def test_the_file_system_is_told_by_the_longest_mount(tmp_path: Path) -> None:
    info = tmp_path / "mountinfo"
    info.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "2 1 0:4 / /home rw shared:1 - nfs4 srv:/home rw\n"
        "3 2 0:5 / /home/local rw - xfs /dev/sdb rw\n"
        "4 1 0:6 / /with\\040space rw - cifs //srv/x rw\n"
    )
    found = {p: network_fs(p, str(info)) for p in ("/x", "/home", "/home/a", "/homes", "/home/local/b")}
    assert found == {"/x": None, "/home": "nfs4", "/home/a": "nfs4", "/homes": None, "/home/local/b": None}
    assert network_fs("/with space/a", str(info)) == "cifs"
    assert network_fs("/x", str(tmp_path / "missing")) is None


# -- caps -------------------------------------------------------------------------------------------


def test_the_size_cap_holds_and_the_oldest_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GUARD_S", 0.0)
    monkeypatch.setattr(module, "COMMIT_S", 0.0)
    cap = 250_000
    rec = recorder(tmp_path / "a.dctop", durability="relaxed", max_bytes=cap)
    rec.mark("the very beginning")
    frames = Stream(seed=2, processes=60).take(1500)
    feed(rec, frames)
    rec.stop()
    size = (tmp_path / "a.dctop").stat().st_size
    assert size <= cap
    with open_recording(tmp_path / "a.dctop") as recording:
        span = recording.seq_range
        assert span is not None and span[0] > 60 and span[1] == 1500
        check_frames(recording, frames[span[0] - 1 :])
        assert [e.title for e in recording.events("marker")] == ["the very beginning"]
        assert recording.info.problems == ()
    assert sqlite3.connect(tmp_path / "a.dctop").execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_age_cap_makes_a_flight_recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GUARD_S", 0.0)
    monkeypatch.setattr(module, "COMMIT_S", 0.0)
    stream = Stream(seed=2)
    rec = recorder(tmp_path / "a.dctop", durability="relaxed", max_age_s=300.0)
    for _ in range(10):
        frames = stream.take(60)
        feed(rec, frames)
        wait_for(lambda: rec.saved_seq == stream.seq, "saved")
    rec.stop()
    with open_recording(tmp_path / "a.dctop") as recording:
        span = recording.seq_range
        assert span is not None and 200 < span[0] <= 301 and span[1] == 600


def test_on_low_space_process_tables_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GUARD_S", 0.0)
    monkeypatch.setattr(module, "COMMIT_S", 0.0)
    low = False
    monkeypatch.setattr(module, "low_space", lambda path, caps: low)
    rec = recorder(tmp_path / "a.dctop", durability="relaxed")
    stream = Stream()
    for low in (False, True, True, False):  # noqa: B007
        for frame in stream.take(5):
            rec.put(frame, (), ())
            wait_for(lambda f=frame: rec.saved_seq == f.seq, "saved")  # type: ignore[misc]
    notice = rec.status
    rec.stop()
    assert notice.state == "recording"
    with open_recording(tmp_path / "a.dctop") as recording:
        with_table = [f.samples["process"].processes is not None for f in recording.frames(0, 99)]
        assert (
            with_table[:5] == [True] * 5 and with_table[7:14] == [False] * 7 and with_table[-3:] == [True] * 3
        )
        assert [e.title[:21] for e in recording.events("config")] == [
            "disk space is low: pr",
            "process tables again",
        ]


# -- beside the frames ------------------------------------------------------------------------------


def test_runs_alerts_and_markers_are_known_at_every_moment(tmp_path: Path) -> None:
    rec = recorder(tmp_path / "a.dctop", durability="relaxed")
    stream = Stream(seed=6, clock_step_at=100)
    run = a_run(pid=101)
    add_steps(run, 700, stream.wall, stream.r)  # a history from before the recording
    live: list[tuple[int, str | None, int, list[float], int, tuple[int, ...]]] = []
    alerts = []
    for frame in stream.take(150):
        seq = frame.seq
        if seq % 3 == 0 and run.status == "running":
            add_steps(run, 5, frame.wall_ns, stream.r)
        if seq == 40:
            run.evals.append({"step": 7, "accuracy": 0.5, "recall": [0.1, 0.2], "wall_ns": frame.wall_ns})  # type: ignore[attr-defined]
            run.events.append(event(frame.wall_ns, "checkpoint", "saved", 7))  # type: ignore[attr-defined]
            run.seq += 1
        if seq == 50:
            alerts = [an_alert(1, frame.wall_ns), an_alert(2, frame.wall_ns, severity="critical")]
        if seq == 80:
            alerts = [an_alert(2, frame.wall_ns, state="closed", closed_wall_ns=frame.wall_ns)]
        if seq == 120:
            run.status, run.exit_code, run.reason = "killed", -9, "killed by SIGKILL"
            run.ended_wall_ns, run.mode = frame.wall_ns, None
            run.seq += 1
        rec.put(frame, alerts, (run,))
        live.append((seq, run.mode, len(run.events), list(run.columns["loss"]), run.step or 0,
                     tuple(a.id for a in alerts)))  # fmt: skip
        wait_for(lambda: rec._framed < 60, "queue")
    rec.mark("look here", kind="note")
    rec.stop()
    with open_recording(tmp_path / "a.dctop") as recording:
        for seq, mode, n_events, loss, step, ids in reversed(live):
            (got,) = recording.runs_at_seq(seq)
            assert (got.mode, len(got.events), got.step) == (mode, n_events, step)
            assert list(got.columns["loss"]) == loss
            assert tuple(a.id for a in recording.alerts_at_seq(seq)) == ids
        (end,) = recording.runs_at_seq(150)
        assert {k: c.tobytes() for k, c in end.columns.items()} == {
            k: c.tobytes() for k, c in run.columns.items()
        }
        assert end.evals == run.evals and end.events == run.events
        assert end.last == run.last and end.config == run.config and end.exit_code == -9
        assert (end.status, end.reason, end.samples_per_s) == (run.status, run.reason, run.samples_per_s)
        assert recording.alerts_at_seq(60) == [
            an_alert(1, live_wall(recording, 50)), an_alert(2, live_wall(recording, 50), severity="critical")
        ]  # fmt: skip
        kinds = [e.kind for e in recording.events()]
        assert kinds.count("run") == 2 and kinds.count("alert") == 2 and kinds.count("note") == 1
        assert kinds.count("clock") == 1 and kinds.count("kernel") == 6
        closed = [e for e in recording.events("alert") if e.t1 is not None]
        assert [e.seq for e in closed] == [50]
        assert recording.info.problems == ()


def live_wall(recording: Recording, seq: int) -> int:
    frame = recording.frame(seq)
    assert frame is not None
    return frame.wall_ns


def test_a_long_run_is_thinned_towards_its_past(tmp_path: Path) -> None:
    rec = recorder(tmp_path / "a.dctop", durability="relaxed")
    stream, run = Stream(), a_run()
    for frame in stream.take(60):
        add_steps(run, 500, frame.wall_ns, stream.r)
        rec.put(frame, (), (run,))
        wait_for(lambda: not rec._framed, "taken")
    rec.stop()
    with open_recording(tmp_path / "a.dctop") as recording:
        (got,) = recording.runs_at_seq(60)
        steps = list(got.columns["step"])
        assert len(steps) <= 20_000 and steps[-1] == 30_000 and steps[-8000:] == list(range(22_001, 30_001))
        assert steps == sorted(set(steps)) and steps[0] < 100
        (early,) = recording.runs_at_seq(10)
        assert list(early.columns["step"]) == list(range(1, 5001))


def test_secrets_reach_no_byte_of_the_file(tmp_path: Path) -> None:
    secret = "corr" + "ecthorse9"
    rec = Recorder(tmp_path / "a.dctop", interval_s=1.0, meta={"argv": f"dctop record --token {secret}"})
    rec.start()
    stream = Stream()
    stream._table[0] = stream._table[0]._replace(cmdline=f"app --password={secret}", rss_bytes=1 << 40)
    run = a_run(config={"env": {"API_KEY": secret}, "argv": ["--api-key", secret]})
    rec.put(next(stream), (), (run,))
    rec.mark(f"password={secret}")
    wait_for(lambda: rec.saved_seq == 1, "saved")
    raw = b"".join(f.read_bytes() for f in tmp_path.iterdir() if f.suffix != ".dctop-shm")
    rec.stop()
    assert secret.encode() not in raw
    with open_recording(tmp_path / "a.dctop") as recording:
        frame = recording.frame(1)
        assert frame is not None
        assert any(p.cmdline == "app --password=***" for p in frame.processes)
        assert secret not in repr(recording.runs_at_seq(1)) + repr(recording.meta) + repr(recording.events())


def test_the_rate_and_size_are_told(tmp_path: Path) -> None:
    rec = recorder(tmp_path / "a.dctop", durability="relaxed")
    feed(rec, Stream().take(200))
    wait_for(lambda: rec.saved_seq == 200, "saved")
    status = rec.status
    rec.stop()
    assert status.size_bytes > 10_000 and status.bytes_per_hour is not None
    assert 10_000 < status.bytes_per_hour < 10_000_000


def test_foreign_numbers_are_recorded_as_plain_ones(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    stream = Stream()
    frame = next(stream)
    frame.samples["cpu"].values |= {
        "cpu.load15": numpy.float64(1.5),
        "cpu.running": True,
        "cpu.blocked": numpy.int64(3),
    }
    rec = recorder(tmp_path / "a.dctop")
    rec.put(frame, (), ())
    rec.stop()
    with open_recording(tmp_path / "a.dctop") as recording:
        got = recording.frame(1)
        assert got is not None
        values = got.samples["cpu"].values
        assert (values["cpu.load15"], values["cpu.running"], values["cpu.blocked"]) == (1.5, 1, 3)
        assert [type(values[k]) for k in ("cpu.load15", "cpu.running")] == [float, int]


def test_an_open_recording_is_no_obstacle_to_closing(tmp_path: Path) -> None:
    rec = recorder(tmp_path / "a.dctop")
    frames = Stream().take(10)
    feed(rec, frames)
    wait_for(lambda: rec.saved_seq == 10, "saved")
    with open_recording(tmp_path / "a.dctop") as recording:
        assert recording.info.live
        rec.stop("done")
        recording.refresh()
        assert not recording.live and recording.info.close_reason == "done"
        check_frames(recording, frames)
    with open_recording(tmp_path / "a.dctop") as recording:
        check_frames(recording, frames)


def test_errors_are_recording_errors(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="exists"):
        (tmp_path / "x").touch()
        Store(tmp_path / "x", interval_s=1.0, meta={})
