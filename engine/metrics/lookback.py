"""The frames kept in memory for looking back while live, all but the newest packed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dctop.engine.metrics.framepack import Block, Packer, older_tables, table_of, unpack
from dctop.engine.metrics.model import Frame
from dctop.probes.base import Sample

BATCH = 20
"""Frames packed at a time, in about 2 ms: 10 at a time cost a fifth more CPU and take as much memory."""


class _State(NamedTuple):
    blocks: tuple[Block, ...]
    """Of BATCH frames each, oldest first."""
    fresh: tuple[Frame, ...]
    """The frames after them, as they are."""
    shared: dict[int, Sample]
    """Samples of the newest block that the first of `fresh` has too, by number."""


class LookBack:
    """The last `most` frames, oldest first, as they were: `len`, index and iteration as of a sequence.

    One thread appends, others read: what a reader gets is what was there at one moment.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._packer = Packer()
        self._state = _State((), (), {})
        """Replaced whole."""
        self._seen: tuple[Block, list[Frame]] | None = None
        """The block unpacked last, for who goes through it frame by frame."""

    def append(self, frame: Frame) -> None:
        blocks, fresh, shared = self._state
        fresh = (*fresh, frame)
        if len(fresh) > BATCH + 1:
            block, shared = self._packer.pack(fresh[:BATCH], fresh[BATCH])
            fresh = fresh[BATCH:]
            left = -(-(self._most - len(fresh)) // BATCH)  # what it takes for `most` frames
            blocks = (*blocks, block)[-left:] if left > 0 else ()
            self._seen = None
        self._state = _State(blocks, fresh, shared)

    def __len__(self) -> int:
        return min(self._most, _frames_in(self._state))

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.last(self._most))

    def __getitem__(self, i: int) -> Frame:
        """Raises IndexError beyond either end."""
        state = self._state
        n = _frames_in(state)
        at = i + n if i < 0 else i + max(0, n - self._most)
        if not max(0, n - self._most) <= at < n:
            raise IndexError(i)
        b, k = divmod(at, BATCH)
        return (
            state.fresh[at - BATCH * len(state.blocks)] if b >= len(state.blocks) else self._one(state, b)[k]
        )

    def last(self, n: int) -> list[Frame]:
        """The newest `n` frames or fewer, oldest first. Samples that were one object are one again."""
        state = self._state
        total = _frames_in(state)
        return _part(state, total - max(0, min(n, self._most, total)), total)

    def up_to(self, seq: int, n: int) -> list[Frame]:
        """The `n` frames or fewer that end with number `seq`, or with the nearest one that has one before it.
        As `last`, without unpacking the others. Frames are numbered without a hole."""
        state = self._state
        if not state.fresh:
            return []
        total = _frames_in(state)
        oldest = max(0, total - self._most)
        at = min(max(total - 1 - (state.fresh[-1].seq - seq), oldest + 1), total - 1)
        return _part(state, max(oldest, at - n + 1), at + 1)

    def _one(self, state: _State, b: int) -> list[Frame]:
        """The frames of one block."""
        seen, block = self._seen, state.blocks[b]
        if seen is not None and seen[0] is block:
            return seen[1]
        newer, rows = b + 1, list(table_of(state.fresh[0]))
        if seen is not None and newer < len(state.blocks) and seen[0] is state.blocks[newer]:
            rows = list(table_of(seen[1][0]))
        else:
            for other in reversed(state.blocks[newer:]):
                older_tables(other, rows, want=False)
        frames = unpack(block, older_tables(block, rows, want=True), {})
        self._seen = (block, frames)
        return frames


def _frames_in(state: _State) -> int:
    return BATCH * len(state.blocks) + len(state.fresh)


def _part(state: _State, start: int, stop: int) -> list[Frame]:
    """Frames by place, the oldest that is there being 0."""
    packed = BATCH * len(state.blocks)
    if start >= packed:
        return list(state.fresh[start - packed : stop - packed])
    first, made = start // BATCH, dict(state.shared)
    rows = list(table_of(state.fresh[0]))
    parts: list[list[Frame]] = [list(state.fresh[: max(0, stop - packed)])]
    for b in range(len(state.blocks) - 1, first - 1, -1):
        block, want = state.blocks[b], b * BATCH < stop
        tables = older_tables(block, rows, want)
        if want:
            parts.append(unpack(block, tables, made))
    frames = [f for part in reversed(parts) for f in part]
    return frames[start - first * BATCH :][: stop - start]
