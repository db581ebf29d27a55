"""The golden file of a format: a small session with something of everything, and what it holds.

    python -m tests.fakes.golden FOLDER

writes `format-X.Y.dctop.gz` of the format that this version writes, and `format-X.Y.json`. Made once, with
the version that brings a format; the files in tests/engine/recording/golden are never made anew.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from operator import attrgetter
from pathlib import Path

from dctop.engine.metrics.lookback import LookBack
from dctop.engine.metrics.model import Frame
from dctop.engine.recording.begun import body_of
from dctop.engine.recording.flatten import Flattener
from dctop.engine.recording.plain import kernel_text
from dctop.engine.recording.proctable import ProcessPicker
from dctop.engine.recording.reader import Recording, open_recording
from dctop.engine.recording.runtake import Taker
from dctop.engine.recording.schema import MAJOR, MINOR
from dctop.engine.recording.store import Item, Mark, Store
from dctop.probes.base import Process
from tests.engine.rules.gpus import A, GpuScene, gpu_run, held, rank

BEGIN, LAST = 40, 170
"""Recording begins in mid-session, with the ten frames before it as context."""
LOST = range(100, 104)


class _Session:
    """Two GPUs and a run on both: memory is short for a while, a disk fills, a GPU
    reports an Xid, the loss is no number and the run dies."""

    def __init__(self) -> None:
        self.scene = GpuScene()
        self.scene.rows = [held(4242, 30.0), held(7, 2.0)]
        self.run = gpu_run(self.scene, 2)

    def tick(self, n: int) -> None:
        s, run = self.scene, self.run
        if n == 60:
            s.set({"fs.avail_bytes{mount=/data}": 1e9})
        s.set({"pressure.memory.some_avg10_pct": 30.0 if 50 <= n < 80 else 0.0})
        s.gpu(A, util_pct=90 + n % 7, power_w=600.0 + n % 5 / 4)
        s.source.processes = [p._replace(cpu_ticks=p.cpu_ticks + n % 3) for p in s.source.processes]
        run.publish(log_tail=(f"epoch {n // 50}", f"step {20 * n} done"))
        if n == 80:
            s.kernel("xid", "NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus", code="79",
                     pci="0000:3b:00")  # fmt: skip
        elif n == 150:
            run.event("nonfinite", "loss is NaN", loss="nan", lr=0.01, last_finite_loss=0.5)
            run.end("failed", 1, "ValueError: bad", type="ValueError")
            s.go()
        else:
            s.go()
        if n < 150:
            run.steps(5, 1.0)
            if n % 25 == 0:
                run.event("eval", "eval", accuracy=0.6 + n / 1000, loss=0.9, split="test")
            ranks = (rank(0, 0.1, 0.02 + n % 4 / 1000), rank(1, 0.1, 0.02))
            run.publish(ranks=ranks)


def make(path: Path) -> None:
    session, before = _Session(), LookBack(10)
    source, rules = session.scene.source, session.scene.engine
    flattener, picker, taker = Flattener(), ProcessPicker(), Taker()
    meta = {"host": "node", "kernel": "6.1", "boot_id": "0f0e0d0c-1111-2222-3333-444455556666"}
    store = Store(path, interval_s=1.0, meta={**meta, "tick_hz": "100"}, durability="relaxed")

    def write(frame: Frame, changes: object, marks: list[Mark]) -> None:
        flat = flattener.flatten(frame, picker.pick(frame.processes), changes.hot)  # type: ignore[attr-defined]
        snap = source.current
        values = snap.values if snap is not None and snap.frame is frame else None
        store.write([Item(frame.wall_ns, frame.seq, flat, values, changes, frame.events, marks)])  # type: ignore[arg-type]

    for n in range(LAST):
        body = None
        if n == BEGIN:
            body = body_of(rules, before[-1].seq)
            for old in before:
                changes = taker.take([a for a in rules.alerts() if a.open], (), old.wall_ns)
                changes.begun = body if old is before[-1] else None
                write(old, changes, [])
        session.tick(n)
        assert source.current is not None
        frame = source.current.frame
        before.append(frame)
        if n < BEGIN or n in LOST:
            continue
        marks = [Mark("marker", frame.wall_ns, None, "look here")] if n == 90 else []
        if n == 91:
            marks.append(Mark("note", frame.wall_ns, None, "the fan is loud"))
        elif n == LOST[-1] + 1:
            t0 = frame.wall_ns - len(LOST) * 10**9
            marks.append(
                Mark("gap", t0, frame.wall_ns - 10**9, "4 frames lost: the recorder could not keep up")
            )
        write(frame, taker.take(rules.alerts(), source.runs(), frame.wall_ns), marks)
    store.close("done")


def facts(recording: Recording, fields: Sequence[str] = Process._fields) -> dict[str, object]:
    """What must come out of a file, whichever version reads it: nothing that is derived. `fields`: what its
    version knew of a process."""
    digest, frames, seqs = hashlib.sha256(), 0, []
    columns, devices = attrgetter(*fields), attrgetter("pid", "gpu", "kind", "mem_bytes", "sm_pct")
    for frame in recording.frames(0, 1 << 62):
        frames += 1
        seqs.append(frame.seq)
        raw = {
            name: [s.mono_ns, s.wall_ns, dict(s.values), list(map(columns, s.processes or ())),
                   list(map(devices, s.gpu_processes or ())), list(s.problems)]
            for name, s in frame.samples.items()
        }  # fmt: skip
        told = [frame.seq, frame.mono_ns, frame.wall_ns, raw, kernel_text(frame.events)]
        digest.update(json.dumps(told, sort_keys=True).encode())
    steps = hashlib.sha256()
    runs = []
    for run in recording.every_run():
        for name in sorted(run.columns):
            if all(v != v for v in run.columns[name]):  # later versions know more fields
                continue
            steps.update(name.encode() + b",".join(str(v).encode() for v in run.columns[name]))
        runs.append([run.id, run.status, run.step, len(run.columns["step"]), len(run.events), len(run.evals),
                     list(run.log_tail)])  # fmt: skip
    middle = seqs[len(seqs) // 3]
    return {
        "format": recording.info.format,
        "process": list(fields),
        "frames": frames,
        "first": seqs[0],
        "last": seqs[-1],
        "raw": digest.hexdigest(),
        "alerts": json.loads(json.dumps([asdict(a) for a in recording.every_alert()])),
        "runs": runs,
        "steps": steps.hexdigest(),
        "midway": [
            [[r.id, r.status, r.step, len(r.ranks), list(r.log_tail)] for r in recording.runs_at_seq(middle)],
            [[a.rule, a.entity, a.state, a.count] for a in recording.alerts_at_seq(middle)],
        ],
        "events": [[e.t0, e.t1, e.seq, e.kind, e.rule, e.entity, e.title] for e in recording.events()],
        "gaps": [[g.t0, g.t1, g.reason] for g in recording.gaps],
        "begun": recording.begun() is not None,
        "close_reason": recording.info.close_reason,
    }


def main() -> int:
    folder = Path(sys.argv[1])
    name = f"format-{MAJOR}.{MINOR}"
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "a.dctop"
        make(path)
        packed = folder / f"{name}.dctop.gz"
        if packed.exists():
            print(f"{packed} exists: a golden file is never made anew", file=sys.stderr)
            return 1
        packed.write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
        with open_recording(path) as recording:
            text = json.dumps(facts(recording), indent=1)
        (folder / f"{name}.json").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
