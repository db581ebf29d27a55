"""Power cuts, simulated below SQLite: what the recorder did to its files is logged write by write, and states
are rebuilt in which a cut may have left them, torn at any sector that was not yet synced. More of it:
`make trials`."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from dctop.engine.recording.reader import open_recording
from dctop.engine.recording.schema import RecordingError
from tests.fakes.frames import Stream
from tests.fakes.powercut import Op, build, read_log, state_after
from tests.fakes.recorders import check_frames

N = 150
CHILD = """
import os, random, sys, time
from dctop.engine.recording.recorder import Recorder
import dctop.engine.recording.recorder as module
from tests.fakes.frames import Stream, a_run, add_steps, an_alert
folder, n = sys.argv[1], int(sys.argv[2])
module.COMMIT_S = 0.0
acks = os.open(folder + "/acks", os.O_CREAT | os.O_WRONLY)
rec = Recorder(folder + "/a.dctop", interval_s=1.0, meta={}, min_free_bytes=0,
               on_saved=lambda seq: os.write(acks, b"%d\\n" % seq))
rec.start()
run, r = a_run(), random.Random(1)
for frame in Stream(seed=7).take(n):
    add_steps(run, 3, frame.wall_ns, r)
    rec.put(frame, (an_alert(1, frame.wall_ns, count=frame.seq // 9),), (run,))
    while rec._framed > 4: time.sleep(0.001)
rec.stop("done")
"""


def record(folder: Path, n: int = N) -> list[Op]:
    """Record `n` frames under the shim; what was done."""
    (folder / "files").mkdir()
    env = {
        **os.environ, "LD_PRELOAD": str(build(folder)), "POWERCUT_DIR": str(folder / "files"),
        "POWERCUT_LOG": str(folder / "log"),
    }  # fmt: skip
    subprocess.run([sys.executable, "-c", CHILD, str(folder / "files"), str(n)], env=env, check=True)
    return read_log(folder / "log")


def acked(ops: list[Op]) -> int:
    """The newest frame that had been acknowledged."""
    return max((int(op.data) for op in ops if op.name == "acks" and op.kind == "w"), default=0)


def lost(ops: list[Op], cut: int, seed: int, folder: Path) -> int:
    """Acknowledged frames that are not read after a cut behind `cut` operations (0, if all is well). All that
    is read must be what was recorded."""
    had = acked(ops[:cut])
    folder.mkdir()
    for name, data in state_after(ops[:cut], random.Random(seed)).items():
        if name != "acks":
            (folder / name).write_bytes(data)
    try:
        recording = open_recording(folder / "a.dctop")
    except RecordingError as e:
        assert "\n" not in str(e)
        return had
    with recording:
        recording.check()
        span = recording.seq_range
        last = 0 if span is None else span[1]
        assert span is None or span[0] == 1
        check_frames(recording, Stream(seed=7).take(max(1, last))[:last])
        assert recording.info.bad_chunks == 0 and recording.info.problems == ()
        for run in recording.runs_at_seq(last) if last else ():
            assert len(run.columns["step"]) == 3 * last
        return max(0, had - last)


@pytest.fixture(scope="module")
def ops(tmp_path_factory: pytest.TempPathFactory) -> list[Op]:
    return record(tmp_path_factory.mktemp("cut"))


def test_the_log_rebuilds_the_files(ops: list[Op], tmp_path: Path) -> None:
    data = state_after(ops, None)
    (tmp_path / "a.dctop").write_bytes(data["a.dctop"])
    assert data["a.dctop"][:6] == b"SQLite" and "a.dctop-wal" not in data
    with open_recording(tmp_path / "a.dctop") as recording:
        assert recording.info.closed and recording.seq_range == (1, N)
    assert acked(ops) == N


def test_nothing_acknowledged_is_lost_to_a_power_cut(ops: list[Op], tmp_path: Path) -> None:
    r = random.Random(3)
    cuts = [r.randrange(len(ops)) for _ in range(14)]
    cuts += [len(ops) - i for i in range(0, 24, 4)]  # while it is closed
    syncs = [i for i, op in enumerate(ops) if op.kind == "s"]
    cuts += [i + d for i in r.sample(syncs, 5) for d in (0, 1)]  # just before a sync is done, and after
    for trial, cut in enumerate(cuts):
        assert lost(ops, cut, trial, tmp_path / str(trial)) == 0, (trial, cut)
