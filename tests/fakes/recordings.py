"""Recordings for tests: a session with a story, straight into a store."""

from __future__ import annotations

import os
import sqlite3
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.model import Frame
from dctop.engine.recording.flatten import Flattener
from dctop.engine.recording.proctable import ProcessPicker
from dctop.engine.recording.runtake import Taker
from dctop.engine.recording.store import Item, Mark, Store
from dctop.engine.rules.alert import Alert
from dctop.engine.training.runstate import RunState
from tests.fakes.frames import Stream, a_run, add_steps, an_alert, event, process


@dataclass
class Session:
    """A node called `gpu-node-17` on which `annlee` trains: an alert opens at frame 40 and closes at 90, the
    run fails at frame 100, there are a marker, a note and kernel records; frames 120 to 129 were lost."""

    path: Path
    seed: int = 3
    frames: list[Frame] = field(default_factory=list)

    def __post_init__(self) -> None:
        meta = {"host": "gpu-node-17", "boot_id": "0f0e0d0c-1111-2222-3333-444455556666", "tick_hz": "100"}
        self.store = Store(self.path, interval_s=1.0, meta=meta, durability="relaxed")
        self.stream = Stream(seed=self.seed)
        self.stream._table[3] = process(
            103, user="annlee", name="trainllm", container="8f3b6c1d2e4a",
            cmdline="/home/annlee/llm/train.py --project moonshot --ip 10.20.30.40", job="slurm:991234",
            cgroup="/slurm/uid_1234/job_991234/step_0",
        )  # fmt: skip
        self.alert: Alert | None = None
        self.run: RunState | None = a_run(
            "run-7", directory="/home/annlee/runs/run-7", host="gpu-node-17",
            config={"lr": 0.001, "argv": ["train.py", "--project", "moonshot", "--epochs", "3"]},
        )  # fmt: skip
        self._parts = Flattener(), ProcessPicker(), Taker(), SnapshotBuilder(100)

    def write(self, n: int) -> Session:
        for frame in self.stream.take(n):
            self._write(frame)
        return self

    def _write(self, frame: Frame) -> None:
        seq, marks = frame.seq, []
        assert self.run is not None
        if 120 <= seq < 130:
            return
        if seq == 40:
            self.alert = an_alert(
                1, frame.wall_ns, title="/data of gpu-node-17 is 91 % full", why="annlee fills 10.20.30.40"
            )
        elif seq == 90 and self.alert is not None:
            self.alert = replace(self.alert, state="closed", closed_wall_ns=frame.wall_ns)
        if seq == 60:
            marks.append(Mark("marker", frame.wall_ns, None, "annlee restarted the loader"))
            marks.append(Mark("note", frame.wall_ns, None, "see /home/annlee/notes.txt"))
        if seq <= 100:
            add_steps(self.run, 4, frame.wall_ns, self.stream.r)
            if seq == 100:
                self.run.status, self.run.reason = "failed", "FileNotFoundError: /home/annlee/llm/x.bin"
                self.run.ended_wall_ns = frame.wall_ns
                self.run.log_tail = ("step 400 done", "FileNotFoundError: /home/annlee/llm/x.bin")
                self.run.events = [event(frame.wall_ns, "exception", "no /home/annlee/llm/x.bin", 400)]
                self.run.seq += 1
        flattener, picker, taker, builder = self._parts
        changes = taker.take([self.alert] if self.alert else [], (self.run,), frame.wall_ns)
        flat = flattener.flatten(frame, picker.pick(frame.processes), changes.hot)
        values = builder.push(frame).values
        self.store.write([Item(frame.wall_ns, seq, flat, values, changes, frame.events, marks)])
        self.frames.append(frame)

    def close(self) -> Path:
        self.store.close("done")
        return self.path


def session(path: Path, n: int = 200) -> Path:
    return Session(path).write(n).close()


def damage(path: Path, table: str, column: str, row: int = 1) -> None:
    """Flip a bit in the middle of a blob, as a bad disk does."""
    db = sqlite3.connect(path)
    key = "seq0" if table == "chunk" else "rowid"
    rows = db.execute(f"SELECT {key},{column} FROM {table} ORDER BY {key}").fetchall()
    at, blob = rows[row]
    middle = len(blob) // 2
    broken = blob[:middle] + bytes([blob[middle] ^ 0x10]) + blob[middle + 1 :]
    db.execute(f"UPDATE {table} SET {column}=? WHERE {key}=?", (broken, at))
    db.commit()
    db.close()
    os.sync()


def everything(path: Path) -> str:
    """All that a curious reader can get out of the file, compressed parts too."""
    out = [path.read_bytes().decode("latin-1")]
    db = sqlite3.connect(path)
    for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall():
        for row in db.execute(f"SELECT * FROM {table}"):
            for cell in row:
                if isinstance(cell, bytes) and cell[:1] == b"\x01":
                    out.append(zlib.decompress(cell[5:]).decode("latin-1"))
                else:
                    out.append(str(cell))
    return "\n".join(out)
