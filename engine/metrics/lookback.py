"""The frames kept in memory for looking back while live, packed: a third of the memory of plain ones.

A sample's values are a dictionary of its own each tick, though its keys are always the same and most values
are those of the tick before. Packed, a sample is a tuple of values, and equal ones are one object.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from dctop.engine.metrics.model import Frame
from dctop.probes.base import Sample, Value

BATCH = 30
"""Frames packed at a time: one after the other costs half as much as one now and then (caches)."""
_NO_VALUES: dict[str, Value] = {}


class _PackedSample(NamedTuple):
    rest: Sample
    """The sample without its values."""
    keys: tuple[str, ...]
    values: tuple[Value, ...]


class _Packed(NamedTuple):
    rest: Frame
    """The frame without its samples."""
    samples: dict[str, _PackedSample]


class LookBack:
    """The last `most` frames, oldest first, as they were: `len`, index and iteration as of a sequence.

    One thread appends, others read: what a reader gets is what was there at one moment.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._state: tuple[tuple[_Packed, ...], tuple[Frame, ...]] = ((), ())
        """(packed, fresh), replaced whole."""
        self._known: dict[int, tuple[Sample, _PackedSample]] = {}
        """Packed samples of the newest packed frame by the identity of what they were made from: a probe
        slower than the tick has one sample in many frames, and must have one again."""
        self._last: dict[str, _PackedSample] = {}

    def append(self, frame: Frame) -> None:
        packed, fresh = self._state
        fresh = (*fresh, frame)
        if len(fresh) > BATCH + 1:
            packed = (*packed, *(self._pack(old) for old in fresh[:BATCH]))[-self._most :]
            fresh = fresh[BATCH:]
        self._state = (packed, fresh)

    def __len__(self) -> int:
        packed, fresh = self._state
        return min(self._most, len(packed) + len(fresh))

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.last(self._most))

    def __getitem__(self, i: int) -> Frame:
        """Raises IndexError beyond either end."""
        packed, fresh = self._state
        n = len(packed) + len(fresh)
        at = i + n if i < 0 else i + max(0, n - self._most)
        if not max(0, n - self._most) <= at < n:
            raise IndexError(i)
        return fresh[at - len(packed)] if at >= len(packed) else _unpack(packed[at], {})

    def last(self, n: int) -> list[Frame]:
        """The newest `n` frames or fewer, oldest first. Samples that were one object are one again."""
        known = self._known
        packed, fresh = self._state
        n = min(n, self._most)
        if n <= len(fresh):
            return list(fresh[-n:]) if n > 0 else []
        # A sample of the newest packed frame may be in later ones, which hold the object itself.
        made: dict[int, Sample] = {id(p): sample for sample, p in known.values()}
        return [*(_unpack(p, made) for p in packed[-(n - len(fresh)) :]), *fresh]

    def _pack(self, frame: Frame) -> _Packed:
        known: dict[int, tuple[Sample, _PackedSample]] = {}
        samples: dict[str, _PackedSample] = {}
        for name, sample in frame.samples.items():
            before = self._known.get(id(sample))
            packed = self._sample(name, sample) if before is None else before[1]
            # The sample itself is kept with it, so that no other can get its identity meanwhile.
            known[id(sample)] = (sample, packed)
            samples[name] = packed
        self._known = known
        return _Packed(replace(frame, samples={}), samples)

    def _sample(self, name: str, sample: Sample) -> _PackedSample:
        last = self._last.get(name)
        keys, values = tuple(sample.values), tuple(sample.values.values())
        if last is not None and last.keys == keys:
            keys = last.keys
            pairs = zip(values, last.values, strict=True)
            values = tuple([b if a == b and a.__class__ is b.__class__ else a for a, b in pairs])
        # What `replace` does, in a third of its time.
        rest = Sample(
            sample.probe, sample.mono_ns, sample.wall_ns, _NO_VALUES, sample.processes, sample.events,
            sample.problems, sample.gpu_processes,
        )  # fmt: skip
        packed = self._last[name] = _PackedSample(rest, keys, values)
        return packed


def _unpack(packed: _Packed, made: dict[int, Sample]) -> Frame:
    """`made`: samples already made in this call, by the identity of what they were packed into."""
    samples = {}
    for name, p in packed.samples.items():
        sample = made.get(id(p))
        if sample is None:
            values = dict(zip(p.keys, p.values, strict=True))
            sample = made[id(p)] = replace(p.rest, values=values)
        samples[name] = sample
    return replace(packed.rest, samples=samples)
