"""Frames kept for looking back are, unpacked, what they were."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Sequence
from dataclasses import fields
from enum import IntEnum
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.engine.metrics.lookback import BATCH, LookBack
from dctop.engine.metrics.model import Frame, ProbeStatus
from dctop.probes.base import GpuProcess, KernelEvent, Process, Sample, Value

texts = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=2)
values = st.none() | st.integers(0, 3) | st.integers() | st.booleans() | st.floats() | texts


def row(pid: int, cpu: object = 0, **more: object) -> Process:
    rest: dict[str, object] = {
        "start_ticks": 7, "ppid": 1, "uid": 0, "user": "root", "name": "w", "cmdline": "w -x", "state": "S",
        "cpu_ticks": cpu, "rss_bytes": 4096, "threads": 1, "nice": 0, "majflt": 0, "read_bytes": None,
        "write_bytes": None, "cgroup": "/", "container": None, "job": None, "gpu_mem_bytes": None,
        "gpu_sm_pct": None,
    }  # fmt: skip
    return Process(pid, **{**rest, **more})  # type: ignore[arg-type]


def stream(pool: Sequence[Value], words: Sequence[str], rng: random.Random) -> list[Frame]:
    """Frames as an engine makes them, and stranger: samples in many, tables whose rows stay, change,
    come and go, lists and tuples, probes that come late, everything that is rare. Values are from `pool`."""

    def some() -> Value:
        return rng.choice(pool)

    def readings() -> dict[str, Value]:
        return {k: some() for k in rng.sample(["a.x", "a.y", "a.z{i=0}"], rng.randrange(4))}

    def problems() -> tuple[str, ...]:
        return tuple(rng.choices(words, k=rng.choice([0, 0, 1, 2])))

    def events() -> Sequence[KernelEvent]:
        happened = [
            KernelEvent(i, 5, "xid", rng.choice(words), {"code": "79"}) for i in range(rng.randrange(2))
        ]
        return rng.choice([(), tuple(happened), happened])

    def devices() -> Sequence[GpuProcess] | None:
        found = [GpuProcess(i, "0", "C", some(), some()) for i in range(rng.randrange(3))]  # type: ignore[arg-type]
        return rng.choice([None, found, tuple(found)])

    out: list[Frame] = []
    slow = Sample("slow", 0, 0, {"s": 1})
    table: list[Process] = []
    for i in range(rng.randrange(4 * BATCH)):
        if rng.random() < 0.4:
            slow = Sample("slow", i, i, readings(), None, events(), problems())
        if rng.random() < 0.7:
            table = [p for p in table if rng.random() < 0.9]
            table += [row(rng.randrange(6), some(), uid=some()) for _ in range(rng.randrange(3))]
            table = [p._replace(cpu_ticks=some(), span_s=some()) if rng.random() < 0.4 else p for p in table]  # type: ignore[arg-type]
            if rng.random() < 0.6:
                table.sort(key=lambda p: p.pid)
        processes = rng.choice([None, list(table), tuple(table), list(table)])
        parts = [Sample("fast", i, -i, readings(), processes, (), problems(), devices()), slow]
        if rng.random() < 0.2:
            parts.reverse()
        parts = parts[rng.choice([0, 0, 0, 1, 2]) :]
        status = {
            s.probe: ProbeStatus(s.probe, some(), rng.random() < 0.5, None, problems(), some())  # type: ignore[arg-type]
            for s in parts
        }
        out.append(Frame(i, i << 40, -i, {s.probe: s for s in parts}, events(), status))
    return out


def frame(seq: int, *parts: Sample) -> Frame:
    return Frame(seq, seq, seq, {s.probe: s for s in parts})


def exact(x: object) -> object:
    """What is the same for the same objects only: with types, the order of keys, the bits of floats."""
    if isinstance(x, float):
        return type(x), struct.pack("<d", x)
    if isinstance(x, dict):
        return dict, [(exact(k), exact(v)) for k, v in x.items()]
    if isinstance(x, (list, tuple)):
        return type(x), [exact(v) for v in x]
    if isinstance(x, (Frame, Sample, KernelEvent)):
        return type(x), [exact(getattr(x, f.name)) for f in fields(x)]
    return type(x), x


def same_objects(frames: Sequence[Frame]) -> list[list[bool]]:
    """Of each two frames one after the other: which samples are one object."""
    return [[a.samples.get(k) is s for k, s in b.samples.items()] for a, b in pairwise(frames)]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(values, min_size=1, max_size=8),
    st.lists(texts, min_size=1, max_size=3),
    st.integers(0, 1 << 32),
    st.integers(1, 50),
)
def test_frames_come_back_as_they_were(pool: list[Value], words: list[str], seed: int, most: int) -> None:
    put = stream(pool, words, random.Random(seed))
    ring = LookBack(most)
    for f in put:
        ring.append(f)
    put = put[-most:]
    got = list(ring)
    assert len(ring) == len(got) == len(put)
    assert exact(got) == exact(put)
    assert same_objects(got) == same_objects(put)
    for n in (0, 1, 2, len(put)):
        assert [f.seq for f in ring.last(n)] == [f.seq for f in put[len(put) - min(n, len(put)) :]]
    for i in [*range(-len(put), len(put)), *range(len(put) - 1, -1, -1)]:
        assert exact(ring[i]) == exact(put[i])
    with pytest.raises(IndexError):
        ring[len(put)]


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 4 * BATCH), st.integers(1, 50), st.integers(-3, 4 * BATCH + 3), st.integers(1, 13))
def test_frames_up_to_a_number_end_with_it_or_the_nearest_one(n: int, most: int, seq: int, want: int) -> None:
    ring = LookBack(most)
    for i in range(n):
        ring.append(frame(i, Sample("p", i, i, {"x": i})))
    kept = list(range(n))[-most:]
    last = min(max(seq, kept[min(1, len(kept) - 1)]), n - 1)
    assert [f.seq for f in ring.up_to(seq, want)] == [k for k in kept if last - want < k <= last]


def test_up_to_a_number_there_is_nothing_where_nothing_was_put() -> None:
    assert LookBack(5).up_to(0, 3) == []


class Level(IntEnum):
    HIGH = 3


@pytest.mark.parametrize("strange", [np.float64(1.5), np.int64(3), Level.HIGH, np.str_("x"), (1,)])
def test_what_cannot_be_written_is_kept_as_it_is(strange: object) -> None:
    """numpy's numbers would come back as bytes."""
    ring, put = LookBack(100), []
    for i in range(5 * BATCH):
        odd = strange if i == 2 * BATCH else 1
        table = [row(1, i), row(2, odd if i % 2 else 0)]
        put.append(frame(i, Sample("p", i, i, {"x": odd}, table)))  # type: ignore[dict-item]
        ring.append(put[-1])
    assert exact(list(ring)) == exact(put)
    assert exact([ring[i] for i in range(len(put))]) == exact(put)


def test_a_row_that_did_not_change_is_one_object_in_all_frames() -> None:
    ring, stays = LookBack(300), row(1)
    for i in range(3 * BATCH):
        ring.append(frame(i, Sample("process", i, i, {}, [stays, row(2, i)])))
    assert {id(f.processes[0]) for f in ring} == {id(stays)}


def test_going_back_frame_by_frame_unpacks_a_block_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from dctop.engine.metrics import lookback

    calls = []

    def unpack(*args: object) -> list[Frame]:
        calls.append(args)
        return real(*args)  # type: ignore[arg-type]

    real = lookback.unpack
    monkeypatch.setattr(lookback, "unpack", unpack)
    ring = LookBack(300)
    for i in range(4 * BATCH + 2):
        ring.append(frame(i, Sample("process", i, i, {"x": i}, [row(1, i)])))
    for i in range(4 * BATCH + 1, -1, -1):
        assert ring[i].processes[0].cpu_ticks == i
    assert len(calls) == 4


def test_thousands_of_processes_cost_what_changes_of_them() -> None:
    rng, ring = random.Random(3), LookBack(300)
    table = [row(pid) for pid in range(5000)]
    put = []
    for i in range(5 * BATCH):
        for at in rng.sample(range(len(table)), 10):
            table[at] = table[at]._replace(cpu_ticks=i)
        del table[rng.randrange(len(table))]
        table.append(row(5000 + i))
        put.append(frame(i, Sample("p", i, i, {}, list(table))))
        ring.append(put[-1])
    packed = sum(len(b.frames) + len(b.tables) for b in ring._state.blocks)
    assert packed < 500 * BATCH * len(ring._state.blocks)
    assert list(ring) == put


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


def test_it_takes_an_eighth_of_the_memory() -> None:
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

    assert size(LookBack(300)) < size([]) / 8
