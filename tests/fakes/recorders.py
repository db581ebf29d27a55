"""A recorder and what tests ask of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from dctop.engine.metrics.model import Frame
from dctop.engine.recording.reader import Recording
from dctop.engine.recording.recorder import QUEUE, Recorder

META = {"host": "node", "kernel": "6.1"}


def wait_for(condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """Poll what the recorder's thread reports."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"timed out: {what}"
        time.sleep(0.005)


def recorder(path: Path, **options: object) -> Recorder:
    made = Recorder(path, interval_s=1.0, meta=META, min_free_bytes=0, **options)  # type: ignore[arg-type]
    made.start()
    return made


def feed(rec: Recorder, frames: list[Frame]) -> None:
    """As fast as it goes without overflowing the queue."""
    for frame in frames:
        rec.put(frame, (), ())
        wait_for(lambda: rec._framed < QUEUE // 2 or rec.status.state != "recording", "queue drained")


def check_frames(recording: Recording, frames: list[Frame]) -> None:
    """Everything but the process selection must be equal."""
    got = list(recording.frames(0, 1 << 60))
    assert [f.seq for f in got] == [f.seq for f in frames]
    for a, b in zip(frames, got):
        assert (a.mono_ns, a.wall_ns, list(a.events)) == (b.mono_ns, b.wall_ns, list(b.events))
        assert dict(b.status) == a.status
        assert a.samples.keys() == b.samples.keys()
        for probe, sample in a.samples.items():
            other = b.samples[probe]
            assert (sample.mono_ns, sample.wall_ns, sample.values) == (
                other.mono_ns,
                other.wall_ns,
                other.values,
            )
            assert [type(v) for v in sample.values.values()] == [type(other.values[k]) for k in sample.values]
            assert (list(sample.events), sample.problems) == (list(other.events), other.problems)
            assert (sample.processes is None) == (other.processes is None)
            assert set(other.processes or ()) <= set(sample.processes or ())
