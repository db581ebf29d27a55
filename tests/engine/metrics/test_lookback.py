"""Frames kept for looking back are, unpacked, what they were."""

from __future__ import annotations

import math
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.engine.metrics.lookback import BATCH, LookBack
from dctop.engine.metrics.model import Frame
from dctop.probes.base import Sample, Value

values = st.none() | st.integers(0, 3) | st.booleans() | st.floats() | st.text(max_size=2)
samples = st.dictionaries(st.sampled_from(["a.x", "a.y", "a.z{i=0}"]), values)


def frame(seq: int, *parts: Sample) -> Frame:
    return Frame(seq, seq, seq, {s.probe: s for s in parts})


def same(a: Value, b: Value) -> bool:
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    return type(a) is type(b) and a == b


def check(got: Frame, put: Frame) -> None:
    assert (got.seq, got.mono_ns, got.wall_ns) == (put.seq, put.mono_ns, put.wall_ns)
    assert list(got.samples) == list(put.samples)
    for name, sample in put.samples.items():
        back = got.samples[name]
        assert list(back.values) == list(sample.values)
        assert all(same(back.values[k], v) for k, v in sample.values.items())
        assert (back.mono_ns, back.processes, back.problems) == (
            sample.mono_ns, sample.processes, sample.problems,
        )  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(samples, samples, st.booleans()), max_size=3 * BATCH), st.integers(1, 50))
def test_frames_come_back_as_they_were(ticks: list[tuple[dict, dict, bool]], most: int) -> None:  # type: ignore[type-arg]
    ring, put = LookBack(most), []
    slow = Sample("slow", 0, 0, {"s": 1})
    for i, (fast, slower, read) in enumerate(ticks):
        if read:
            slow = Sample("slow", i, i, slower, problems=("p",))
        put.append(frame(i, Sample("fast", i, i, fast), slow))
        ring.append(put[-1])
    put = put[-most:]
    got = list(ring)
    assert len(ring) == len(got) == len(put)
    for a, b in zip(got, put, strict=True):
        check(a, b)
    for n in (1, 2, len(put)):
        assert [f.seq for f in ring.last(n)] == [f.seq for f in put[-n:]]
    for i in range(-len(put), len(put)):
        check(ring[i], put[i])
    with pytest.raises(IndexError):
        ring[len(put)]


def test_a_sample_of_many_frames_is_one_object_again() -> None:
    """That is how a snapshot builder knows that nothing new was read."""
    ring = LookBack(300)
    slow = Sample("slow", 0, 0, {"x": 1})
    for i in range(3 * BATCH):
        ring.append(frame(i, slow, Sample("fast", i, i, {"y": i})))
    got = list(ring)
    packed = got[: 2 * BATCH]
    assert len({id(f.samples["slow"]) for f in packed}) == 1
    assert len({id(f.samples["fast"]) for f in packed}) == len(packed)


def test_it_takes_less_than_half_the_memory() -> None:
    def size(keep: object) -> int:
        tracemalloc.start()
        for i in range(300):
            # As of a node: most values stay, a third change.
            readings: dict[str, Value] = {
                f"m{k}": 1000 + k + (i * 1000 if k % 3 == 0 else 0) for k in range(300)
            }
            keep.append(frame(i, Sample("p", i, i, readings)))  # type: ignore[attr-defined]
        used = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return used

    assert size(LookBack(300)) < 0.5 * size([])
