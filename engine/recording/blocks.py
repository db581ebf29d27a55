"""Chunks and tail rows decoded into blocks of frames, and blocks into frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dctop.engine.metrics.model import Frame
from dctop.engine.recording.codec import ABSENT, Cell, decode_table
from dctop.engine.recording.flatten import CONTROL, restore_frame, restore_sample
from dctop.engine.recording.proctable import Table, decode_tables
from dctop.engine.recording.schema import Damaged, SqlValue, intact, unseal
from dctop.engine.recording.tailrow import TailDecoder
from dctop.probes.base import Sample

Layout = Sequence[tuple[str, Sequence[str]]]
"""A series set: (stream, names) in order."""


@dataclass(frozen=True, slots=True)
class ChunkInfo:
    """A row of `chunk` without its blobs."""

    seq0: int
    seq1: int
    t0: int
    t1: int
    m0: int
    m1: int
    n: int
    set_id: int
    roll_set: int | None

    @property
    def keys(self) -> tuple[object, ...]:
        return (
            self.seq0, self.seq1, self.t0, self.t1, self.m0, self.m1, self.n, self.set_id, self.roll_set
        )  # fmt: skip

    @staticmethod
    def of(row: tuple[SqlValue, ...]) -> ChunkInfo | None:
        """None where the row cannot be one."""
        if not all(isinstance(v, int) for v in row[:8]) or not (row[8] is None or isinstance(row[8], int)):
            return None
        info = ChunkInfo(*row)  # type: ignore[arg-type]
        fits = info.seq0 <= info.seq1 and 0 < info.n <= info.seq1 - info.seq0 + 1 and info.m0 <= info.m1
        return info if fits else None


@dataclass(slots=True)
class Block:
    """Decoded frames in order: control cells, and the samples each holds."""

    controls: list[Mapping[str, Cell]]
    samples: list[Mapping[str, Sample]]
    with_procs: bool

    @property
    def seqs(self) -> list[int]:
        return [c["@seq"] for c in self.controls]  # type: ignore[misc]

    def walls(self) -> list[int]:
        return [c["@mono"] + c["@wall"] for c in self.controls]  # type: ignore[operator, misc]


def is_intact(info: ChunkInfo, blob: object) -> bool:
    """Whether the checksum of one of its blobs fits; nothing is unpacked."""
    return intact(blob, info.keys)


def decode_chunk(
    info: ChunkInfo, layout: Layout, num: object, proc: object, with_procs: bool
) -> tuple[Block, str | None]:
    """The block, and what was wrong with its process tables (then it is without). Raises Damaged."""
    columns = decode_table(unseal(num, info.keys))
    if len(columns) != sum(len(names) for _, names in layout):
        raise Damaged("columns do not fit the series set")
    tables: list[Table] = []
    problem: str | None = None
    if with_procs and proc is not None:
        try:
            tables = decode_tables(unseal(proc, info.keys))
        except Damaged as e:
            problem = str(e)
    controls: list[Mapping[str, Cell]] = []
    streams: dict[str, list[Sample]] = {}
    at = 0
    for stream, names in layout:
        part = columns[at : at + len(names)]
        at += len(names)
        if stream == CONTROL:
            controls = _dicts(names, part)
        else:
            streams[stream] = _samples(stream, names, part, tables)
    if len(controls) != info.n or controls[0].get("@seq") != info.seq0:
        raise Damaged("frames do not fit the chunk")
    return Block(controls, _spread(controls, streams), with_procs), problem


def _dicts(names: Sequence[str], columns: Sequence[Sequence[Cell]]) -> list[Any]:
    """Rows of the columns as dicts, ABSENT cells left out."""
    holes = any(column and (column[0] is ABSENT or ABSENT in column) for column in columns)
    rows = [dict(zip(names, row)) for row in zip(*columns)]
    if holes:
        rows = [{k: v for k, v in row.items() if v is not ABSENT} for row in rows]
    return rows


def _samples(
    probe: str, names: Sequence[str], columns: Sequence[Sequence[Cell]], tables: Sequence[Table]
) -> list[Sample]:
    own = [i for i, name in enumerate(names) if name[:1] == "@"]
    rest = [i for i, name in enumerate(names) if name[:1] != "@"]
    own_rows = _dicts([names[i] for i in own], [columns[i] for i in own])
    rows = _dicts([names[i] for i in rest], [columns[i] for i in rest]) if rest else [{} for _ in own_rows]
    take = iter(tables)
    out = []
    for cells, values in zip(own_rows, rows, strict=True):
        procs = next(take, None) if probe == "process" and cells.get("@procs") == 1 else None
        out.append(restore_sample(probe, values, cells, procs))
    return out


_NEW = "@new{probe="


def _spread(
    controls: Sequence[Mapping[str, Cell]], streams: Mapping[str, Sequence[Sample]]
) -> list[Mapping[str, Sample]]:
    """Which sample each frame holds: the next of its stream where `@new` is 1."""
    at = dict.fromkeys(streams, -1)
    for key, new in controls[0].items():
        if key.startswith(_NEW) and new == 0:
            at[key[len(_NEW) : -1]] = 0  # carried over from before the chunk
    out: list[Mapping[str, Sample]] = []
    try:
        for control in controls:
            held: dict[str, Sample] = {}
            for key, new in control.items():
                if key.startswith(_NEW):
                    probe = key[len(_NEW) : -1]
                    if new == 1:
                        at[probe] += 1
                    held[probe] = streams[probe][at[probe]]
            out.append(held)
    except (KeyError, IndexError) as e:
        raise Damaged("a frame without its sample") from e
    return out


def frames_of(
    block: Block, first: int, last: int, before: Mapping[str, Sample] | None
) -> Iterator[tuple[int, Frame]]:
    """(seq, frame) for `first` <= seq <= `last`. A sample that `before` (the frame before) already holds
    comes back as that very object, also across blocks."""
    for control, samples in zip(block.controls, block.samples):
        seq = control["@seq"]
        if not isinstance(seq, int) or seq < first:
            continue
        if seq > last:
            return
        if before is not None:
            samples = _same_objects(samples, before)
        frame = restore_frame(control, samples)
        before = samples
        yield seq, frame


def _same_objects(samples: Mapping[str, Sample], before: Mapping[str, Sample]) -> Mapping[str, Sample]:
    swap: dict[str, Sample] | None = None
    for probe, sample in samples.items():
        old = before.get(probe)
        if old is not None and old is not sample and old.mono_ns == sample.mono_ns:
            if sample.processes is not None and old.processes is None:
                continue
            swap = swap or dict(samples)
            swap[probe] = old
    return swap or samples


class TailReader:
    """Decodes tail rows as they come, keeping those of the open chunk."""

    def __init__(self) -> None:
        self.block = Block([], [], True)
        self._decoder = TailDecoder()
        self._last: tuple[list[Cell], Table | None] | None = None
        self._last_seq: int | None = None
        self._held: dict[str, Sample] = {}
        self.bad: list[tuple[int, int]] = []
        """(seq, wall_ns) of rows that did not decode."""

    def feed(self, row: tuple[SqlValue, ...], layout: Layout | None) -> None:
        """`row`: seq, wall_ns, mono_ns, set_id, base, data."""
        seq, wall, _, _, base, data = row
        try:
            if layout is None:
                raise Damaged("its series set is missing")
            if base is not None and base != self._last_seq:
                raise Damaged("the frame before is missing")
            cells, table = self._decoder.feed(unseal(data, row[:5]))
            self._append(cells, table, layout, row)
            self._last_seq = seq if isinstance(seq, int) else None
        except Damaged:
            self._last_seq = None
            if isinstance(seq, int):
                self.bad.append((seq, wall if isinstance(wall, int) else 0))

    def _append(
        self, cells: Sequence[Cell], table: Table | None, layout: Layout, row: tuple[SqlValue, ...]
    ) -> None:
        if len(cells) != sum(len(names) for _, names in layout):
            raise Damaged("cells do not fit the series set")
        at = 0
        control: dict[str, Cell] = {}
        held: dict[str, Sample] = {}
        for stream, names in layout:
            found = dict(zip(names, cells[at : at + len(names)]))
            at += len(names)
            if stream == CONTROL:
                control = found
                continue
            old = self._held.get(stream)
            if (
                old is not None
                and control.get(f"{_NEW}{stream}}}") == 0
                and old.mono_ns == found.get("@mono")
            ):
                held[stream] = old
                continue
            own = {k: found.pop(k) for k in names if k[:1] == "@"}
            held[stream] = restore_sample(stream, found, own, table)  # type: ignore[arg-type]
        mono, offset = control.get("@mono"), control.get("@wall")
        if control.get("@seq") != row[0] or not isinstance(mono, int) or not isinstance(offset, int):
            raise Damaged("a frame without its time")
        self._held = held
        self.block.controls.append(control)
        self.block.samples.append(held)

    def drop_through(self, seq1: int) -> None:
        """Frames up to `seq1` are in a chunk now."""
        keep = sum(1 for s in self.block.seqs if s <= seq1)
        if keep:
            del self.block.controls[:keep], self.block.samples[:keep]
        self.bad = [b for b in self.bad if b[0] > seq1]
