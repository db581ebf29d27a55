"""Opening and reading recordings: closed, live, left by a kill, read-only, of other versions, damaged."""

from __future__ import annotations

import math
import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.model import Frame
from dctop.engine.recording.flatten import Flattener
from dctop.engine.recording.proctable import ProcessPicker
from dctop.engine.recording.reader import Recording, RecordingError, open_recording
from dctop.engine.recording.runtake import Taker
from dctop.engine.recording.schema import APPLICATION_ID
from dctop.engine.recording.store import Item, Store
from dctop.engine.rules.alert import Alert
from dctop.engine.training.runstate import RunState
from tests.fakes.frames import Stream, a_run, add_steps, an_alert


class Writer:
    """Frames straight into a store, one commit each, with a run and alerts beside them."""

    def __init__(self, path: Path, seed: int = 1) -> None:
        self.store = Store(path, interval_s=1.0, meta={"host": "node"}, durability="relaxed")
        self.stream = Stream(seed=seed)
        self.run, self.alerts = a_run(), [an_alert(1, self.stream.wall)]
        self.frames: list[Frame] = []
        self.shown: dict[int, tuple[Alert, ...]] = {}
        self.steps: dict[float, float] = {}
        self._parts = Flattener(), ProcessPicker(), Taker(), SnapshotBuilder()

    def write(self, n: int) -> None:
        flattener, picker, taker, builder = self._parts
        for frame in self.stream.take(n):
            add_steps(self.run, 4, frame.wall_ns, self.stream.r)
            self.steps = dict(zip(self.run.columns["step"], self.run.columns["loss"]))
            self.alerts[0] = an_alert(1, self.alerts[0].opened_wall_ns, count=frame.seq // 10)
            changes = taker.take(self.alerts, (self.run,), frame.wall_ns)
            table = picker.pick(frame.processes)
            flat = flattener.flatten(frame, table, changes.hot)
            values = builder.push(frame).values
            self.store.write([Item(frame.wall_ns, frame.seq, flat, values, changes, frame.events)])
            self.frames.append(frame)
            self.shown[frame.seq] = tuple(self.alerts)


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    made = Writer(tmp_path / "a.dctop")
    yield made
    made.store.release()


def seqs(recording: Recording) -> list[int]:
    return [f.seq for f in recording.frames(0, 1 << 60)]


# -- while it is written ------------------------------------------------------------------------------


def test_it_is_read_while_it_is_written(writer: Writer) -> None:
    writer.write(30)
    with open_recording(writer.store.path) as recording:
        assert recording.info.live and seqs(recording) == list(range(1, 31))
        assert not recording.refresh()
        for n in (35, 65, 190):  # within the tail, over a chunk's end, over several
            writer.write(n - len(writer.frames))
            assert recording.refresh()
            assert recording.seq_range == (1, n)
            got = list(recording.frames(0, 999))
            assert [f.samples["cpu"].values for f in got] == [f.samples["cpu"].values for f in writer.frames]
            (run,) = recording.runs_at_seq(n)
            assert len(run.columns["loss"]) == 4 * n
            assert recording.alerts_at_seq(n)[0].count == writer.shown[n][0].count
        writer.store.close("quit")
        assert recording.refresh() and not recording.live
        assert seqs(recording) == list(range(1, 191))


def test_following_keeps_sample_objects_over_the_end_of_a_chunk(writer: Writer) -> None:
    writer.write(59)
    with open_recording(writer.store.path) as recording:
        held = list(recording.frames(1, 59))[-1].samples
        writer.write(4)
        recording.refresh()
        following = next(recording.frames(60, 60, after=held))
        for probe, sample in writer.frames[59].samples.items():
            same = sample is writer.frames[58].samples.get(probe)
            assert (following.samples[probe] is held.get(probe)) == same


def test_another_process_reads_while_it_is_written(writer: Writer) -> None:
    code = (
        "import sys; from dctop.engine.recording.reader import open_recording\n"
        "r = open_recording(sys.argv[1]); print(r.info.live, r.seq_range, r.info.problems)"
    )
    writer.write(70)
    for _ in range(2):
        out = subprocess.run(
            [sys.executable, "-c", code, str(writer.store.path)], capture_output=True, text=True, check=True
        )
        assert out.stdout == "True (1, 70) ()\n"
    writer.write(60)  # the writer still owns its locks
    assert writer.store.saved_seq == 130


def test_a_reader_in_the_same_process_leaves_the_writers_locks_alone(writer: Writer) -> None:
    writer.write(5)
    for _ in range(3):
        open_recording(writer.store.path).close()
    probe = "import os, sys; from dctop.engine.recording.opening import _locked\n"
    probe += "print(_locked(os.open(sys.argv[1], os.O_RDONLY)))"
    for held in (True, False):
        out = subprocess.run(
            [sys.executable, "-c", probe, str(writer.store.path)], capture_output=True, text=True, check=True
        )
        assert out.stdout == f"{held}\n"
        os.close(os.open(writer.store.path, os.O_RDONLY))  # what any other look would do to them


# -- left behind ---------------------------------------------------------------------------------------


def left_behind(writer: Writer, where: Path) -> Path:
    """As after kill -9: database and WAL as they are, the process gone."""
    where.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{writer.store.path}{suffix}", where / f"a.dctop{suffix}")
    return where / "a.dctop"


def test_what_a_kill_left_is_read_to_the_end(writer: Writer, tmp_path: Path) -> None:
    writer.write(90)
    path = left_behind(writer, tmp_path / "x")
    before = path.read_bytes(), Path(f"{path}-wal").read_bytes()
    with open_recording(path) as recording:
        assert seqs(recording) == list(range(1, 91))
        info = recording.info
        assert not info.live and not info.closed and info.recovered is not None
    assert (path.read_bytes(), Path(f"{path}-wal").read_bytes()) == before  # evidence stays as it was


@pytest.mark.parametrize("closed", [True, False])
def test_it_is_read_from_read_only_media(writer: Writer, tmp_path: Path, closed: bool) -> None:
    writer.write(90)
    if closed:
        writer.store.close("quit")
        (tmp_path / "x").mkdir()
        path = Path(shutil.copy(writer.store.path, tmp_path / "x" / "a.dctop"))
    else:
        path = left_behind(writer, tmp_path / "x")
    subprocess.run(["mount", "--bind", str(path.parent), str(path.parent)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(path.parent)], check=True)
        with open_recording(path) as recording:
            assert seqs(recording) == list(range(1, 91))
            assert recording.info.closed == closed and not recording.info.live
    finally:
        subprocess.run(["umount", str(path.parent)], check=True)


def test_a_wal_file_without_its_wal_is_read_from_read_only_media(writer: Writer, tmp_path: Path) -> None:
    """Somebody copied the main file only: what was checkpointed is there."""
    writer.write(70)
    writer.store.db.execute("PRAGMA wal_checkpoint")
    (tmp_path / "x").mkdir()
    path = Path(shutil.copy(writer.store.path, tmp_path / "x" / "a.dctop"))
    subprocess.run(["mount", "--bind", str(path.parent), str(path.parent)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(path.parent)], check=True)
        with open_recording(path) as recording:
            assert seqs(recording) == list(range(1, 71))
    finally:
        subprocess.run(["umount", str(path.parent)], check=True)


def test_an_interrupted_rollback_journal_is_rolled_back_in_a_copy(tmp_path: Path) -> None:
    store = Store(tmp_path / "a.dctop", interval_s=1.0, meta={}, wal=False)
    flattener, stream, where = Flattener(), Stream(), tmp_path / "x"
    for frame in stream.take(5):
        store.write(
            [
                Item(
                    frame.wall_ns,
                    frame.seq,
                    flattener.flatten(frame, None, {}),
                    None,
                    Taker().take((), (), 0),
                )
            ]
        )
    store.db.execute("PRAGMA cache_size=1")
    store.db.execute("BEGIN IMMEDIATE")
    store.db.execute("DELETE FROM tail")
    for i in range(300):  # spills into the file: the journal is hot
        store.db.execute("INSERT INTO tail VALUES(?,0,0,0,0,?)", (1000 + i, bytes(4000)))
    where.mkdir()
    for suffix in ("", "-journal"):
        shutil.copy(f"{store.path}{suffix}", where / f"a.dctop{suffix}")
    store.release()
    with open_recording(where / "a.dctop") as recording:
        assert seqs(recording) == [1, 2, 3, 4, 5]
    assert sorted(f.name for f in where.iterdir()) == ["a.dctop", "a.dctop-journal"]


# -- what is no recording, or a newer one --------------------------------------------------------------


def refused(path: Path) -> str:
    with pytest.raises(RecordingError) as caught:
        open_recording(path)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text
    return text


def test_what_is_no_recording_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "none")
    assert "is a directory" in refused(tmp_path)
    (tmp_path / "empty").touch()
    assert "is empty" in refused(tmp_path / "empty")
    (tmp_path / "text").write_text("hello " * 1000)
    assert "not a dctop recording" in refused(tmp_path / "text")
    sqlite3.connect(tmp_path / "db").execute("CREATE TABLE t(x)").connection.close()
    assert "not a dctop recording" in refused(tmp_path / "db")
    os.mkfifo(tmp_path / "pipe")
    assert "not" in refused(tmp_path / "pipe")


def test_a_newer_major_version_is_refused_a_newer_minor_one_read(writer: Writer) -> None:
    writer.write(70)
    writer.store.close("quit")
    path = writer.store.path
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=1007")
    db.execute("CREATE TABLE from_the_future(x)")
    db.execute("ALTER TABLE chunk ADD COLUMN extra BLOB")
    db.close()
    with open_recording(path) as recording:
        assert seqs(recording) == list(range(1, 71)) and "newer" in " ".join(recording.problems)
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version=2000")
    db.close()
    assert "use a newer dctop" in refused(path)
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA application_id={APPLICATION_ID + 1}")
    db.close()
    assert "not a dctop recording" in refused(path)


# -- time ----------------------------------------------------------------------------------------------


def test_frames_are_found_by_time(writer: Writer) -> None:
    writer.write(130)
    with open_recording(writer.store.path) as recording:
        for frame in writer.frames:
            for wall, seq in ((frame.wall_ns, frame.seq), (frame.wall_ns + 1000, frame.seq),
                              (frame.wall_ns - 1000, max(1, frame.seq - 1))):  # fmt: skip
                found = recording.frame_at(wall)
                assert found is not None and found.seq == seq
        assert recording.seq_at(0) == 1 and recording.seq_at(1 << 62) == 130


def test_a_clock_set_back_changes_no_order(tmp_path: Path) -> None:
    made = Writer(tmp_path / "a.dctop")
    made.stream.clock_step_at = 100
    made.write(200)
    made.store.close("quit")
    with open_recording(made.store.path) as recording:
        assert seqs(recording) == list(range(1, 201))
        assert [e.title for e in recording.events("clock")] == ["the clock was set by -3600.0 s"]
        assert recording.gaps == []
        assert recording.frame_at(made.frames[50].wall_ns) is not None


def test_neighbours_lead_over_chunks_and_tail(writer: Writer) -> None:
    writer.write(130)
    with open_recording(writer.store.path) as recording:
        for at in (1, 59, 60, 61, 119, 120, 121, 130):
            for n in (-200, -61, -1, 1, 61, 200):
                want = min(130, max(1, at + n))
                assert recording.neighbour(at, n) == (None if want == at else want)


# -- overview ------------------------------------------------------------------------------------------


def test_the_overview_agrees_with_the_frames(writer: Writer) -> None:
    writer.write(190)
    builder = SnapshotBuilder()
    values = [builder.push(f).num("cpu.util_pct") for f in writer.frames]
    known = [v for v in values if v is not None]
    with open_recording(writer.store.path) as recording:
        (one,) = recording.overview("cpu.util_pct", 1)
        assert one.min is not None and one.max is not None and one.mean is not None
        assert math.isclose(one.min, min(known), rel_tol=1e-6) and math.isclose(
            one.max, max(known), rel_tol=1e-6
        )
        assert math.isclose(one.mean, sum(known) / len(known), rel_tol=0.05)
        many = recording.overview("cpu.util_pct", 40)
        assert len(many) == 40 and all(b.mean is not None for b in many)
        assert many[0].t0 == writer.frames[0].wall_ns and abs(many[-1].t1 - writer.frames[-1].wall_ns) < 100
        assert all(b.mean is None for b in recording.overview("no.such_series", 5))
        assert recording.overview("cpu.model", 3)[0].mean is None
        assert recording.overview("cpu.util_pct", 0) == []
        both = recording.overviews(("cpu.util_pct", "cpu.load1"), 40)
        assert both["cpu.util_pct"] == many and both["cpu.load1"] == recording.overview("cpu.load1", 40)


def test_a_long_recording_is_overviewed_from_rollups_also_while_it_grows(writer: Writer) -> None:
    writer.write(630)
    builder, by_minute = SnapshotBuilder(), []
    values = [builder.push(f).num("cpu.load1") or 0.0 for f in writer.frames]
    by_minute = [max(values[i : i + 60]) for i in range(0, 630, 60)]
    with open_recording(writer.store.path) as recording:
        got = [b.max for b in recording.overview("cpu.load1", 630)]
        assert [got[i * 60 + 20] for i in range(11)] == pytest.approx(by_minute, rel=1e-6)
        writer.write(60)
        recording.refresh()
        again = [b.max for b in recording.overview("cpu.load1", 690)]
        assert again[:600] == pytest.approx(got[:600], rel=1e-6) and again[-1] is not None


# -- damage --------------------------------------------------------------------------------------------


class Truth:
    """What a damaged file may say: nothing else."""

    def __init__(self, writer: Writer) -> None:
        self.frames = {f.seq: f for f in writer.frames}
        self.shown, self.steps, self.run = writer.shown, writer.steps, writer.run
        self.alerts = [a for alerts in writer.shown.values() for a in alerts]

    def check(self, path: Path) -> tuple[int, bool]:
        """(frames that could be read, whether something was said to be wrong)."""
        try:
            recording = open_recording(path)
        except RecordingError as e:
            assert "\n" not in str(e)
            return 0, True
        with recording:
            recording.check()
            n = 0
            for frame in recording.frames(0, 1 << 60):
                n += 1
                self._frame(frame, recording)
            self._beside(recording)
            info = recording.info
            assert info.frames >= n
            said = bool(info.problems or info.gaps or info.bad_chunks) or n < len(self.frames)
            return n, said

    def _frame(self, frame: Frame, recording: Recording) -> None:
        true = self.frames[frame.seq]
        assert (frame.mono_ns, frame.wall_ns) == (true.mono_ns, true.wall_ns)
        assert list(frame.events) == list(true.events)
        assert dict(frame.status) == true.status
        for probe, sample in frame.samples.items():
            assert sample.values == true.samples[probe].values
            assert set(sample.processes or ()) <= set(true.samples[probe].processes or ())

    def _beside(self, recording: Recording) -> None:
        span = recording.seq_range
        if span is not None:
            for seq in (span[0], (span[0] + span[1]) // 2, span[1]):
                alerts = recording.alerts_at_seq(seq)
                assert all(a in self.alerts for a in alerts)
                if not recording.info.problems and alerts:
                    assert alerts[0].opened_wall_ns == self.shown[seq][0].opened_wall_ns
                for run in recording.runs_at_seq(seq):
                    self._run(run)
        for e in recording.events():
            assert e.kind in ("alert", "kernel", "run", "gap") and isinstance(e.t0, int)
        for b in recording.overview("cpu.util_pct", 7):
            assert b.mean is None or 0 <= b.mean <= 100

    def _run(self, run: RunState) -> None:
        assert (run.id, run.workload, run.status) == (self.run.id, self.run.workload, self.run.status)
        for step, loss in zip(run.columns["step"], run.columns["loss"]):
            assert self.steps[step] == loss


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, bytes, Truth]]:
    return make_originals(tmp_path_factory.mktemp("originals"))


def make_originals(where: Path) -> list[tuple[bytes, bytes, Truth]]:
    """(database, WAL, truth): closed, and left behind in the middle."""
    out = []
    for closed in (True, False):
        folder = where / str(closed)
        folder.mkdir()
        writer = Writer(folder / "a.dctop", seed=11)
        writer.write(160)
        if closed:
            writer.store.close("quit")
        wal = folder / "a.dctop-wal"
        out.append(
            ((folder / "a.dctop").read_bytes(), wal.read_bytes() if wal.exists() else b"", Truth(writer))
        )
        writer.store.release()
    return out


def harm(data: bytes, r: random.Random) -> bytes:
    """A flipped byte, a few, a zeroed sector, a zeroed page, a cut end, a swapped pair of pages."""
    raw, how = bytearray(data), r.randrange(6)
    if how < 2:
        for _ in range((1, 8)[how]):
            raw[r.randrange(len(raw))] ^= r.randrange(1, 256)
    elif how == 2:
        at = r.randrange(len(raw) // 512) * 512
        raw[at : at + 512] = bytes(512)
    elif how == 3:
        at = r.randrange(len(raw) // 4096) * 4096
        raw[at : at + 4096] = bytes(len(raw[at : at + 4096]))
    elif how == 4:
        del raw[r.randrange(len(raw)) :]
    else:
        a, b = (r.randrange(len(raw) // 4096) * 4096 for _ in range(2))
        raw[a : a + 4096], raw[b : b + 4096] = raw[b : b + 4096], raw[a : a + 4096]
    return bytes(raw)


@pytest.mark.parametrize("part", range(8))
def test_damage_is_skipped_and_told_never_shown(
    originals: list[tuple[bytes, bytes, Truth]], tmp_path: Path, part: int
) -> None:
    seeds = [1000 * part + n for n in range(24)] + [FOUND[part % len(FOUND)]]
    readable = sum(damage_trial(originals, seed, tmp_path / str(seed)) > 0 for seed in seeds)
    assert readable >= 10  # most damage leaves most of a recording


FOUND = (274,)
"""Seeds that once led to a fault, of the trials' many."""


def damage_trial(originals: list[tuple[bytes, bytes, Truth]], seed: int, folder: Path) -> int:
    """Damage a copy at random and hold what is read of it against the truth; the frames that were read."""
    r = random.Random(seed)
    db, wal, truth = originals[seed % 2]
    in_wal = bool(wal) and r.random() < 0.5
    folder.mkdir()
    (folder / "a.dctop").write_bytes(db if in_wal else harm(db, r))
    if wal:
        (folder / "a.dctop-wal").write_bytes(harm(wal, r) if in_wal else wal)
    n, said = truth.check(folder / "a.dctop")
    assert said or n == len(truth.frames)
    shutil.rmtree(folder)
    return n


def test_a_damaged_chunk_costs_that_chunk_and_is_a_gap(writer: Writer) -> None:
    writer.write(200)
    writer.store.close("quit")
    path = writer.store.path
    db = sqlite3.connect(path)
    db.execute("UPDATE chunk SET num = zeroblob(length(num)) WHERE seq0 = 61")
    db.commit()
    db.close()
    with open_recording(path) as recording:
        assert seqs(recording) == [*range(1, 61), *range(121, 201)]
        (gap,) = recording.gaps
        assert gap.reason.startswith("damaged") and (gap.t0, gap.t1) == (
            writer.frames[59].wall_ns, writer.frames[120].wall_ns
        )  # fmt: skip
        info = recording.info
        assert info.bad_chunks == 1 and info.frames == 140
        assert recording.neighbour(60, 1) == 121 and recording.seq_at(writer.frames[90].wall_ns) == 60


def test_a_damaged_tail_row_costs_what_hangs_on_it(writer: Writer, tmp_path: Path) -> None:
    writer.write(55)
    path = left_behind(writer, tmp_path / "x")
    db = sqlite3.connect(path)
    (data,) = db.execute("SELECT data FROM tail WHERE seq=10").fetchone()
    db.execute("UPDATE tail SET data=? WHERE seq=10", (data[:-1] + bytes([data[-1] ^ 1]),))
    db.commit()
    with open_recording(path) as recording:
        got = seqs(recording)
        assert got[:9] == list(range(1, 10)) and got[-1] == 55 and 10 not in got and len(got) >= 30
        assert any(g.reason.startswith("damaged") for g in recording.gaps)


def test_a_damaged_process_table_costs_only_the_processes(writer: Writer) -> None:
    writer.write(60)
    writer.store.close("quit")
    db = sqlite3.connect(writer.store.path)
    db.execute("UPDATE chunk SET proc = zeroblob(50)")
    db.commit()
    db.close()
    with open_recording(writer.store.path) as recording:
        frames = list(recording.frames(1, 60))
        assert [f.samples["cpu"].values for f in frames] == [f.samples["cpu"].values for f in writer.frames]
        assert all(f.samples["process"].processes is None for f in frames)
        assert "processes of frames" in " ".join(recording.info.problems)
