from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.metrics.model import Frame
from dctop.engine.recording.gputable import RecordedGpus, gpus_text
from dctop.engine.recording.reader import open_recording
from dctop.engine.recording.recorder import Recorder
from dctop.probes.base import GpuProcess, Sample
from tests.fakes.frames import Stream
from tests.fakes.recorders import feed

PERCENT = st.none() | st.integers(0, 100)
ROWS = st.lists(
    st.builds(
        GpuProcess, st.integers(1, 1 << 22), st.sampled_from(["A", "MIG-b", "amd-0000:03:00.0"]),
        st.sampled_from(["C", "G", "CG", "M"]), st.none() | st.integers(0, 1 << 40), PERCENT, PERCENT,
        PERCENT,
        PERCENT,
    ),
    max_size=30,
)  # fmt: skip


@given(ROWS)
def test_rows_come_back_as_they_were(rows: list[GpuProcess]) -> None:
    recorded = RecordedGpus(gpus_text(rows))
    assert list(recorded) == rows and len(recorded) == len(rows) and recorded == rows
    assert gpus_text(recorded) == gpus_text(rows)


@given(
    st.text(max_size=60) | ROWS.map(gpus_text).flatmap(lambda t: st.integers(0, len(t)).map(lambda n: t[:n]))
)
def test_what_is_no_table_is_an_empty_one(text: str) -> None:
    assert all(isinstance(p, GpuProcess) for p in RecordedGpus(text))


def test_rows_of_a_newer_version_keep_what_is_known() -> None:
    assert list(RecordedGpus('[["A",[[7,"C",5,1,2,3,4,"new"],[8,"?",5],[9,"G"],"x"]],5]')) == [
        GpuProcess(7, "A", "C", 5, 1, 2, 3, 4), GpuProcess(9, "A", "G", None),
    ]  # fmt: skip


def test_a_recording_holds_the_gpu_processes_of_every_sample(tmp_path: Path) -> None:
    """Closed chunks and the tail; None (nothing could be asked) is not an empty table."""
    frames: list[Frame] = []
    for i, frame in enumerate(Stream(3).take(150)):
        rows = [GpuProcess(100 + k, f"GPU-{k % 2}", "C", 1 << 30, (i + k) % 100) for k in range(i % 5)]
        gpu = Sample(
            "gpu", frame.mono_ns, frame.wall_ns, {"gpu.count": 2}, gpu_processes=rows if i % 7 else None
        )
        frames.append(replace(frame, samples={**frame.samples, "gpu": gpu}))
    path = tmp_path / "x.dctop"
    made = Recorder(path, interval_s=1.0, meta={"host": "n"}, min_free_bytes=0)
    made.start()
    feed(made, frames)
    made.stop()
    with open_recording(path) as recording:
        for a, b in zip(frames, recording.frames(0, 1 << 60), strict=True):
            was = a.samples["gpu"].gpu_processes
            got = b.samples["gpu"].gpu_processes
            assert (was is None) == (got is None)
            assert list(b.gpu_processes) == list(was or ())
