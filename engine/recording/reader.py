"""Reading a recording: frames, events, alerts and runs by frame or time, also while it is being written.

What is damaged is left out and said so (`problems`, `gaps`); nothing that fails its checksum is shown.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.history import History
from dctop.engine.metrics.model import Frame, Snapshot
from dctop.engine.recording.begun import unpack
from dctop.engine.recording.blocks import (
    Block,
    ChunkInfo,
    Layout,
    TailReader,
    decode_chunk,
    frames_of,
    is_intact,
)
from dctop.engine.recording.codec import Cell
from dctop.engine.recording.facts import Bucket, Gap, RecEvent, RecordingInfo, content_bytes
from dctop.engine.recording.moments import Moments
from dctop.engine.recording.opening import Opened, open_database, scan
from dctop.engine.recording.overview import Rollups, spread
from dctop.engine.recording.plain import load
from dctop.engine.recording.schema import Damaged, RecordingError, checked, unseal
from dctop.engine.recording.wide import Part
from dctop.engine.rules.alert import Alert
from dctop.engine.training.runstate import RunState
from dctop.probes.base import Sample

__all__ = ["Bucket", "Gap", "RecEvent", "Recording", "RecordingError", "RecordingInfo", "open_recording"]

GAP_INTERVALS = 2.5
"""Frames further apart than this many intervals have a gap between them."""
SHORT_FRAMES = 600
_CACHED_BLOCKS = 12


def open_recording(path: Path | str) -> Recording:
    """Raises RecordingError: one line, what is wrong and what to do."""
    opened = open_database(Path(path).expanduser())
    try:
        return Recording(opened)
    except sqlite3.Error as e:
        opened.close()
        raise RecordingError(
            f"{path} is damaged ({' '.join(str(e).split())}): take an earlier copy of it"
        ) from None
    except BaseException:
        opened.close()
        raise


class _Span(NamedTuple):
    """Good frames without a gap: first and last number, monotonic and wall time."""

    seq0: int
    seq1: int
    m0: int
    m1: int
    t0: int
    t1: int


def _single_spans(block: Block) -> Iterator[_Span]:
    for seq, control, wall in zip(block.seqs, block.controls, block.walls()):
        mono: int = control["@mono"]  # type: ignore[assignment]
        yield _Span(seq, seq, mono, mono, wall, wall)


class Recording:
    """An open recording. Not thread-safe; `close` it or use it in `with`."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._db = opened.db
        self.path = opened.path
        self.meta: dict[str, str] = {}
        self.problems: list[str] = list(opened.notes)
        self._series: dict[int, str] = {}
        self._layouts: dict[int, Layout | None] = {}
        self._chunks: list[ChunkInfo] = []
        self._starts: list[int] = []
        self._tail = TailReader()
        self._blocks: OrderedDict[int, Block | None] = OrderedDict()
        self._bad: dict[int, str] = {}
        self._good_ends: tuple[tuple[ChunkInfo, ChunkInfo] | None] | None = None
        self._fine: tuple[list[int], History] | None = None
        self._events: list[RecEvent] | None = None
        self._moments = Moments(self._db)
        self._version: int | None = None
        self._tail_values: tuple[int, list[Snapshot]] = (-1, [])
        self._rollups = Rollups(self._db, self._layout, self._problem)
        self.refresh()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._opened.close()

    # -- what there is ------------------------------------------------------------------------------

    def refresh(self) -> bool:
        """Take in what was written since; True if there was something. Cheap if not."""
        (version,) = self._db.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return False
        self._db.execute("BEGIN")
        try:
            self._load_meta()
            self._load_series()
            self._load_chunks()
            self._load_tail()
            self._moments.refresh()
        finally:
            if self._db.in_transaction:
                self._db.execute("COMMIT")
        self._events = self._good_ends = self._fine = None
        self._version = version
        return True

    def _load_meta(self) -> None:
        rows, damaged = scan(self._db, "meta", "k,v,crc", "k")
        for row in rows:
            try:
                k, v = checked(row)
            except Damaged:
                damaged = True
                continue
            self.meta[str(k)] = str(v)
        if damaged:
            self._problem("meta: damaged rows left out")

    def _load_series(self) -> None:
        last = max(self._series, default=0)
        rows, damaged = scan(self._db, "series", "id,stream,name,metric,crc", "id", f"id>{last}")
        for row in rows:
            try:
                sid, _, name, _ = checked(row)
            except Damaged:
                damaged = True
                continue
            if isinstance(sid, int) and isinstance(name, str):
                self._series[sid] = name
        if damaged:
            self._problem("series: damaged rows, what they name is left out")

    def _load_chunks(self) -> None:
        last = self._chunks[-1].seq0 if self._chunks else -1
        first = self._db.execute("SELECT min(seq0) FROM chunk").fetchone()[0]
        if isinstance(first, int):
            self._chunks = [c for c in self._chunks if c.seq0 >= first]  # older ones were evicted
        columns = "seq0,seq1,t0,t1,m0,m1,n,set_id,roll_set"
        rows, damaged = scan(self._db, "chunk", columns, "seq0", f"seq0>{last}")
        for row in rows:
            info = ChunkInfo.of(row)
            before = self._chunks[-1] if self._chunks else None
            if info is None or (before is not None and info.seq0 <= before.seq1):
                damaged = True
                if isinstance(row[0], int):
                    self._bad[row[0]] = "its index entry is damaged"
                continue
            self._chunks.append(info)
        if damaged:
            self._problem("chunk: damaged entries left out")
        self._starts = [c.seq0 for c in self._chunks]

    def _load_tail(self) -> None:
        end = self._chunks[-1].seq1 if self._chunks else -1
        self._tail.drop_through(end)
        known = self._tail.block.seqs
        last = max(known[-1] if known else end, self._tail.bad[-1][0] if self._tail.bad else end)
        rows, damaged = scan(self._db, "tail", "seq,wall_ns,mono_ns,set_id,base,data", "seq", f"seq>{last}")
        for row in rows:
            self._tail.feed(row, self._layout(row[3]))
        if damaged:
            self._problem("tail: damaged rows left out")

    def _problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)

    def _layout(self, set_id: object) -> Layout | None:
        """A series set; None where it or one of its series is damaged."""
        if not isinstance(set_id, int):
            return None
        if set_id not in self._layouts:
            try:
                (blob,) = self._db.execute("SELECT ids FROM series_set WHERE id=?", (set_id,)).fetchone()
                body = load(unseal(blob, (set_id,)).decode())
                self._layouts[set_id] = [(s, [self._series[i] for i in ids]) for s, ids in body]
            except (TypeError, ValueError, KeyError, Damaged, sqlite3.DatabaseError):
                self._problem(f"series_set: set {set_id} is damaged, frames that use it are left out")
                return None  # not cached: while following, its series may not have been read yet
        return self._layouts[set_id]

    @property
    def live(self) -> bool:
        """It was being written when it was opened, and was not closed since."""
        return self._opened.live and "closed_at" not in self.meta

    @property
    def interval_s(self) -> float:
        try:
            value = float(self.meta["interval_s"])
            return value if 0 < value < 86400 else 1.0
        except (KeyError, ValueError):
            return 1.0

    @property
    def tick_hz(self) -> int:
        try:
            return int(self.meta["tick_hz"])
        except (KeyError, ValueError):
            return 100

    def _ends(self) -> tuple[ChunkInfo, ChunkInfo] | None:
        """First and last chunk that can be read: what its index row says of time is believed only then."""
        if self._good_ends is None:
            good = (i for i in range(len(self._chunks)) if self._block(i, False) is not None)
            first = next(good, None)
            back = (i for i in reversed(range(len(self._chunks))) if self._block(i, False) is not None)
            last = next(back, None)
            found = None if first is None or last is None else (self._chunks[first], self._chunks[last])
            self._good_ends = (found,)
        return self._good_ends[0]

    @property
    def seq_range(self) -> tuple[int, int] | None:
        """First and last good frame; None while there is none."""
        tail, ends = self._tail.block.seqs, self._ends()
        if ends is None:
            return (tail[0], tail[-1]) if tail else None
        return ends[0].seq0, tail[-1] if tail else ends[1].seq1

    @property
    def time_range(self) -> tuple[int, int] | None:
        """Wall time of first and last good frame."""
        walls, ends = self._tail.block.walls(), self._ends()
        if ends is None:
            return (walls[0], walls[-1]) if walls else None
        return ends[0].t0, walls[-1] if walls else ends[1].t1

    @property
    def info(self) -> RecordingInfo:
        """Everything about the file. Chunks not looked at yet count as good: `check` looks at all."""
        t0, t1 = self.time_range or (self._start_wall(), self._start_wall())
        closed = "closed_at" in self.meta
        return RecordingInfo(
            path=self.path,
            meta=dict(self.meta),
            host=self.meta.get("host", "?"),
            app=self.meta.get("app", "?"),
            format=self.meta.get("format", "?"),
            start_wall_ns=t0,
            end_wall_ns=t1,
            frames=sum(c.n for c in self._chunks if c.seq0 not in self._bad) + len(self._tail.block.controls),
            interval_s=self.interval_s,
            live=self.live,
            closed=closed,
            close_reason=self.meta.get("close_reason"),
            recovered=None if closed or self.live else self._recovered(t1),
            bad_chunks=len(self._bad),
            gaps=tuple(self.gaps),
            problems=(*self.problems, *sorted(self._moments.problems), *self._bad_lines()),
            size_bytes=self._size(),
            table_bytes=content_bytes(self._db),
        )

    def _bad_lines(self) -> list[str]:
        lines = [f"frames from {seq} on (a chunk): {why}" for seq, why in sorted(self._bad.items())]
        return lines + [f"frame {seq}: does not decode" for seq, _ in self._tail.bad]

    def _start_wall(self) -> int:
        try:
            return int(self.meta["start_wall_ns"])
        except (KeyError, ValueError):
            return 0

    def _recovered(self, end_wall_ns: int) -> str:
        import time

        clock = time.strftime("%H:%M:%S", time.localtime(end_wall_ns / 1e9))
        return f"recovered: ends {clock}, not closed, {len(self._bad)} bad chunks"

    def _size(self) -> int:
        total = 0
        for suffix in ("", "-wal"):
            try:
                total += Path(f"{self.path}{suffix}").stat().st_size
            except OSError:
                pass
        return total

    def check(self) -> None:
        """Decode everything; what is wrong shows in `info` from then on."""
        for i in range(len(self._chunks)):
            self._block(i, True, keep=False)
        span = self.seq_range
        if span is not None:
            self.events()
            self.alerts_at_seq(span[1])
            self.runs_at_seq(span[1])

    def verify(self) -> None:
        """As `check`, but only the checksums: a tenth of its cost."""
        for info in self._chunks:
            if info.seq0 in self._bad:
                continue
            sql = "SELECT num,proc,roll FROM chunk WHERE seq0=?"
            try:
                num, proc, roll = self._db.execute(sql, (info.seq0,)).fetchone()
            except (TypeError, sqlite3.DatabaseError) as e:
                self._bad[info.seq0] = " ".join(str(e).split())
                continue
            if not is_intact(info, num):
                self._bad[info.seq0] = "checksum does not fit"
                self._blocks.pop(info.seq0, None)
            for name, blob in (("processes", proc), ("rollup", roll)):
                if blob is not None and not is_intact(info, blob):
                    self._problem(f"{name} of frames {info.seq0}-{info.seq1}: checksum does not fit")

    @property
    def gaps(self) -> list[Gap]:
        """Where nothing is known: recorded gaps, frames too far apart, damaged chunks; oldest first."""
        out = [Gap(e.t0, e.t1 or e.t0, e.title) for e in self.events("gap")]
        limit = GAP_INTERVALS * self.interval_s * 1e9
        before: _Span | None = None
        for span in self._spans(limit):
            if before is not None:
                bad = self._bad_between(before.seq1, span.seq0)
                if bad is not None:
                    out.append(Gap(before.t1, span.t0, f"damaged: {bad}"))
                elif span.m0 - before.m1 > limit:
                    out.append(Gap(before.t1, span.t0, "nothing was recorded"))
            before = span
        return sorted(out, key=lambda g: g.t0)

    def _spans(self, limit: float) -> Iterator[_Span]:
        """Stretches of good frames: chunks, those with a gap inside and the tail frame by frame."""
        for i, c in enumerate(self._chunks):
            if c.seq0 in self._bad:
                continue
            if c.m1 - c.m0 <= (c.n - 1) * self.interval_s * 1e9 + limit:
                yield _Span(c.seq0, c.seq1, c.m0, c.m1, c.t0, c.t1)
            else:
                block = self._block(i, False)
                if block is not None:
                    yield from _single_spans(block)
        yield from _single_spans(self._tail.block)

    def _bad_between(self, seq0: int, seq1: int) -> str | None:
        """Why something between these frames cannot be read; None if all can."""
        for seq, why in self._bad.items():
            if seq0 < seq < seq1:
                return why
        return next(("a frame does not decode" for seq, _ in self._tail.bad if seq0 < seq < seq1), None)

    # -- frames -------------------------------------------------------------------------------------

    def _block(self, i: int, procs: bool, keep: bool = True) -> Block | None:
        """Chunk number `i` decoded; None where it is damaged."""
        info = self._chunks[i]
        if info.seq0 in self._bad:
            return None
        cached = self._blocks.get(info.seq0)
        if cached is not None and (cached.with_procs or not procs):
            self._blocks.move_to_end(info.seq0)
            return cached
        try:
            layout = self._layout(info.set_id)
            if layout is None:
                raise Damaged("its series set is damaged")
            what = "num,proc" if procs else "num,NULL"
            row = self._db.execute(f"SELECT {what} FROM chunk WHERE seq0=?", (info.seq0,)).fetchone()
            if row is None:
                raise Damaged("it was evicted meanwhile" if self.live else "it is missing")
            block, problem = decode_chunk(info, layout, row[0], row[1], procs)
        except (Damaged, sqlite3.DatabaseError) as e:
            self._bad[info.seq0] = " ".join(str(e).split())
            return None
        if problem is not None:
            self._problem(f"processes of frames {info.seq0}-{info.seq1}: {problem}")
        if keep:
            self._blocks[info.seq0] = block
            if len(self._blocks) > _CACHED_BLOCKS:
                self._blocks.popitem(last=False)
        return block

    def frames(
        self,
        seq0: int,
        seq1: int,
        *,
        procs_from: int | None = None,
        after: Mapping[str, Sample] | None = None,
    ) -> Iterator[Frame]:
        """Frames `seq0` <= seq <= `seq1`, oldest first; damaged ones are left out.

        Samples that were not read anew are the same objects from frame to frame; `after`: the samples of
        the frame before, to go on with. `procs_from`: process tables are needed from this frame on only.
        """
        held = after
        i = max(0, bisect_right(self._starts, seq0) - 1)
        while i < len(self._chunks) and self._chunks[i].seq0 <= seq1:
            info = self._chunks[i]
            if info.seq1 >= seq0:
                block = self._block(i, procs_from is None or info.seq1 >= procs_from)
                if block is not None:
                    for _, frame in frames_of(block, seq0, seq1, held):
                        held = frame.samples
                        yield frame
            i += 1
        for _, frame in frames_of(self._tail.block, seq0, seq1, held):
            yield frame

    def frame(self, seq: int) -> Frame | None:
        return next(self.frames(seq, seq), None)

    def frame_at(self, wall_ns: int) -> Frame | None:
        """The newest frame at or before that time; the first one if there is none before."""
        seq = self.seq_at(wall_ns)
        return None if seq is None else self.frame(seq)

    def seq_at(self, wall_ns: int) -> int | None:
        """Number of the newest good frame at or before that time; the first one if none is before."""
        if self.seq_range is None:
            return None
        walls = self._tail.block.walls()
        if walls and wall_ns >= walls[0]:
            return self._tail.block.seqs[max(0, bisect_right(walls, wall_ns) - 1)]
        starts, top = [], 0
        for c in self._chunks:  # the clock may have been set back: never go back with it
            top = max(top, c.t0)
            starts.append(top)
        i = bisect_right(starts, wall_ns) - 1
        while i >= 0:
            block = self._block(i, True)  # its processes will be wanted next
            if block is not None:
                found = bisect_right(block.walls(), wall_ns)
                return block.seqs[max(0, found - 1)]
            i -= 1
        return self._first_good()

    def _first_good(self) -> int | None:
        for i in range(len(self._chunks)):
            block = self._block(i, False)
            if block is not None:
                return block.seqs[0]
        seqs = self._tail.block.seqs
        return seqs[0] if seqs else None

    def neighbour(self, seq: int, n: int) -> int | None:
        """The good frame `n` frames after (before, if negative) `seq`, or the last one on that way."""
        found: int | None = None
        left = abs(n)
        for block in self._blocks_from(seq, n > 0):
            seqs = block.seqs
            if n > 0:
                rest = seqs[bisect_right(seqs, seq) :]
            else:
                rest = seqs[: bisect_left(seqs, seq)][::-1]
            if len(rest) >= left:
                return rest[left - 1]
            left -= len(rest)
            found = rest[-1] if rest else found
        return found

    def _blocks_from(self, seq: int, forward: bool) -> Iterator[Block]:
        at = max(0, bisect_right(self._starts, seq) - 1)
        if not forward:
            yield self._tail.block
        for i in range(at, len(self._chunks)) if forward else range(min(at, len(self._chunks) - 1), -1, -1):
            block = self._block(i, False)
            if block is not None:
                yield block
        if forward:
            yield self._tail.block

    @property
    def wall_range(self) -> tuple[int, int] | None:
        """Earliest and latest wall time of a frame: where the clock was set not those of first and last."""
        walls = [w for c in self._chunks if c.seq0 not in self._bad for w in (c.t0, c.t1)]
        walls += self._tail.block.walls()
        return (min(walls), max(walls)) if walls and self.seq_range is not None else None

    def seqs_between(self, t0_ns: int, t1_ns: int) -> tuple[int, int]:
        """First and last frame within a range of wall time (where the clock was set back, frames between them
        may lie outside of it). Raises RecordingError where there is none."""
        near = [
            i for i, c in enumerate(self._chunks)
            if max(c.t0, c.t1) >= t0_ns and min(c.t0, c.t1) <= t1_ns
        ]  # fmt: skip

        def within(block: Block | None) -> list[int]:
            if block is None:
                return []
            return [s for s, wall in zip(block.seqs, block.walls()) if t0_ns <= wall <= t1_ns]

        newest = within(self._tail.block)
        first = next((hits[0] for i in near if (hits := within(self._block(i, False)))), None)
        last = next((hits[-1] for i in reversed(near) if (hits := within(self._block(i, False)))), None)
        if newest:
            first, last = newest[0] if first is None else first, newest[-1]
        if first is None or last is None:
            raise RecordingError(f"{self.path}: no frame in that range: see `dctop rec info`")
        return first, last

    @property
    def database(self) -> sqlite3.Connection:
        """For what goes through whole tables: rewriting and export. Read-only."""
        return self._db

    def control(self, seq: int) -> Mapping[str, Cell]:
        block = self._tail.block
        i = bisect_right(self._starts, seq) - 1
        if i >= 0 and self._chunks[i].seq1 >= seq:
            found = self._block(i, False)
            if found is None:
                return {}
            block = found
        seqs = block.seqs
        at = bisect_left(seqs, seq)
        return block.controls[at] if at < len(seqs) and seqs[at] == seq else {}

    # -- beside the frames --------------------------------------------------------------------------

    def events(self, kind: str | None = None) -> list[RecEvent]:
        """All events, or those of one kind, by time."""
        if self._events is None:
            columns = "id,t0,t1,seq,kind,sev,rule,entity,series,title,body,crc"
            rows, damaged = scan(self._db, "event", columns, "id")
            found = []
            for row in rows:
                try:
                    found.append(RecEvent(*checked(row)))  # type: ignore[arg-type]
                except Damaged:
                    damaged = True
            if damaged:
                self._problem("event: damaged rows left out")
            self._events = sorted(found, key=lambda e: (e.t0, e.id))
        return [e for e in self._events if kind is None or e.kind == kind]

    def begun(self) -> dict[str, Any] | None:
        """What the rules knew when it began (`rules.carried`); None: not recorded, or its frames are gone."""
        found, span = self._moments.begun(), self.seq_range
        if found is None or span is None or found[0] < span[0]:
            return None
        try:
            return unpack(found[1])
        except Damaged:
            self._problem("listing: what the rules knew at the beginning is damaged")
            return None

    def alerts_at_seq(self, seq: int) -> list[Alert]:
        return self._moments.alerts(seq)

    def alerts_at(self, wall_ns: int) -> list[Alert]:
        """Alerts as they were shown at that time."""
        seq = self.seq_at(wall_ns)
        return [] if seq is None else self._moments.alerts(seq)

    def runs_at_seq(self, seq: int) -> list[RunState]:
        return self._moments.runs(seq, self.control(seq))

    def runs_at(self, wall_ns: int) -> list[RunState]:
        """Training runs as they were known at that time."""
        seq = self.seq_at(wall_ns)
        return [] if seq is None else self.runs_at_seq(seq)

    def every_run(self) -> list[RunState]:
        """All runs that were ever shown, each as it was last known, oldest first."""
        span = self.seq_range
        return [] if span is None else self._moments.every_run(span[1], self.control)

    def every_alert(self) -> list[Alert]:
        """All alerts, each as it was last known, in order of opening."""
        return self._moments.every_alert()

    # -- overview -----------------------------------------------------------------------------------

    def overview(self, series_key: str, n: int) -> list[Bucket]:
        """`n` buckets of equal time over the whole recording: smallest, largest and mean value of a numeric
        series, raw gauges and derived ones alike, from the rollups. Where a bucket is shorter than a rollup
        (60 frames) neighbours share it; short recordings are looked at frame by frame."""
        return self.overviews((series_key,), n).get(series_key, [])

    def overviews(self, keys: Sequence[str], n: int) -> dict[str, list[Bucket]]:
        """The same of several series, hardly dearer than of one."""
        span = self.time_range
        if span is None or n <= 0:
            return {}
        t0, t1 = span[0], max(span[1], span[0] + 1)
        if not self.live and sum(c.n for c in self._chunks) <= SHORT_FRAMES:
            parts = {key: self._each_frame(key) for key in keys}
        else:
            parts = self._rollups.parts(self._chunks, self._bad, keys)
            for key in keys:
                last = self._tail_bucket(key)
                parts[key] += [] if last is None else [last]
        reach = int(self.interval_s * 1e9)
        return {key: spread(parts[key], n, t0, t1, reach) for key in keys}

    def means(self, key: str) -> list[Part]:
        """The mean of a numeric series over each chunk (60 frames), oldest first."""
        return self._rollups.means(self._chunks, self._bad, key)

    def _each_frame(self, key: str) -> list[Bucket]:
        if self._fine is None:
            builder, frames = SnapshotBuilder(self.tick_hz), self.frames(0, 1 << 62, procs_from=1 << 62)
            snaps = [builder.push(f) for f in frames]
            history = History(2 * SHORT_FRAMES)
            history.extend([snap.values for snap in snaps])
            self._fine = [snap.frame.wall_ns for snap in snaps], history
        walls, history = self._fine
        column = history.window(key, len(walls))
        return [Bucket(wall, wall, v, v, v) for wall, v in zip(walls, column) if v == v]

    def _tail_bucket(self, key: str) -> Bucket | None:
        """The newest frames have no rollup yet: derived here."""
        seqs, walls = self._tail.block.seqs, self._tail.block.walls()
        if not seqs:
            return None
        if self._tail_values[0] != seqs[-1]:
            builder = SnapshotBuilder(self.tick_hz)
            frames = self.frames(seqs[0], seqs[-1], procs_from=seqs[-1] + 1)
            self._tail_values = (seqs[-1], [builder.push(f) for f in frames])
        known = [v for snap in self._tail_values[1] if (v := snap.num(key)) is not None]
        if not known:
            return None
        return Bucket(walls[0], walls[-1], min(known), max(known), sum(known) / len(known))
