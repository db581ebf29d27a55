"""The statistical layer on healthy sessions of this machine: false alarms, planted changes, cost.

    python tests/benchmarks/bench_anomaly.py --record DIR [--seconds 330]   record four sessions, then judge
    python tests/benchmarks/bench_anomaly.py DIR                            judge the sessions in DIR
    python tests/benchmarks/bench_anomaly.py --nab DIR [--csv FILE ...] [--synthetic] [--each]
                                            labelled series, beside other detectors (bench_labelled.py)

Sessions: idle, compiling (byte code of everything installed), training (mnist-cnn), copying (400 MB files).
Judged: marks of one series alone for 86,400 samples and notes an hour, both with every rule in force; then a
spike, a change of level, a drift and a stall planted into each series, and three series of two families at
once into each session; CPU time of the layer a tick, and of a detector a sample beside a plain EWMA z.
"""

from __future__ import annotations

import argparse
import math
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dctop.engine.recording.reader import open_recording
from dctop.engine.recording.replay import ReplaySource
from dctop.engine.rules.anomaly import Anomaly
from dctop.engine.rules.detector import Detector
from dctop.engine.rules.engine import RuleEngine
from dctop.engine.rules.watched import Watch
from tests.benchmarks.bench_labelled import compare

DCTOP = [sys.executable, "-m", "dctop.tui.cli"]


# -- recording ---------------------------------------------------------------------------------------------


def load(what: str, folder: Path, stop: threading.Event) -> None:
    """Keep the machine busy until `stop`, in a child at low priority."""
    while not stop.is_set():
        if what == "compiling":
            where = [str(p) for p in sys.path if "site-packages" in p][:1]
            argv = ["nice", sys.executable, "-m", "compileall", "-qf", *where]
            env = {"PYTHONPYCACHEPREFIX": str(folder)}
            child = subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL)
        elif what == "training":
            child = subprocess.Popen(["nice", *DCTOP, "train", "mnist-cnn", "--headless", "--epochs", "1"],
                                     stdout=subprocess.DEVNULL)  # fmt: skip
        elif what == "copying":
            child = subprocess.Popen(
                ["nice", "sh", "-c", f"dd if=/dev/zero of={folder}/a bs=1M count=400 conv=fsync 2>/dev/null; "
                 f"cp {folder}/a {folder}/b; sync; sleep 8; rm -f {folder}/b; sleep 4"]
            )  # fmt: skip
        else:
            stop.wait()
            return
        while child.poll() is None and not stop.wait(0.2):
            pass
        child.terminate()
        child.wait()


def record(out: Path, seconds: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for what in ("idle", "compiling", "training", "copying"):
        folder = Path(tempfile.mkdtemp(prefix="dctop-bench-"))
        stop = threading.Event()
        worker = threading.Thread(target=load, args=(what, folder, stop))
        worker.start()
        try:
            file = str(out / f"{what}.dctop")
            argv = [*DCTOP, "record", "-o", file, "--duration", str(seconds), "--quiet"]
            subprocess.run(argv, check=True)
        finally:
            stop.set()
            worker.join()
            shutil.rmtree(folder)


# -- judging -----------------------------------------------------------------------------------------------

Plant = Callable[[float, int, float], float]
"""(value, samples since it began, unit) -> value"""
PLANTS: dict[str, Plant] = {
    "spike": lambda x, i, u: x + 20 * u * (i < 2),
    "shift": lambda x, i, u: x + 12 * u,
    "drift": lambda x, i, u: x + 30 * u * min(1.0, i / 1500),
    "stall": lambda x, i, u: x,
}


class Session:
    """What a recording says tick by tick."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.marks = self.samples = self.ticks = 0
        self.notes: list[str] = []
        self.alerts: set[str] = set()
        self.ms: list[float] = []
        self.series: dict[str, list[float]] = {}
        self.floors: dict[str, Watch] = {}

    def judge(self, plant_at: int | None = None) -> tuple[bool, int]:
        """Step through it with every rule; with `plant_at`, CPU, disk and network jump there together.
        (whether a note came within 30 ticks after, all notes)."""
        source = ReplaySource(open_recording(self.path))
        rule = Anomaly()
        alone, every = RuleEngine(rules=[rule]), RuleEngine()
        judged = next(r for r in every.rules if isinstance(r, Anomaly))
        before: set[str] = set()
        tick, found = 0, False
        notes: dict[int, str] = {}
        more = source.snapshot() is not None
        while more:
            snap = source.snapshot()
            assert snap is not None
            if plant_at is not None and plant_at <= tick < plant_at + 4:
                self._plant(snap.values)
            began = time.thread_time_ns()
            alone.tick(source)
            self.ms.append((time.thread_time_ns() - began) / 1e6)
            every.tick(source)
            marks = set(judged.marks())
            if plant_at is None:
                self.marks += len(marks - before)
                self.samples += sum(len(g) for g in judged.watched().values())
                for group in judged.watched().values():
                    for w in group:
                        x = snap.num(w.key)
                        if x is not None:
                            self.series.setdefault(w.key, []).append(x)
                            self.floors[w.key] = w
            before = marks
            for a in every.alerts():
                if a.rule == "anomaly":
                    notes[a.id * 1000 + a.count] = a.title
                    found |= plant_at is not None and a.open and plant_at <= tick < plant_at + 30
                else:
                    self.alerts.add(a.rule)
            tick += 1
            more = source.step(1)
        source.close()
        if plant_at is None:
            self.ticks, self.notes = tick, list(notes.values())
        return found, len(notes)

    @staticmethod
    def _plant(values: dict[str, object]) -> None:
        for key, x in values.items():
            if isinstance(x, (int, float)):
                if key == "cpu.util_pct":
                    values[key] = 100.0 if x < 50 else 0.0
                elif key.startswith(("disk.write_bytes_per_s", "net.rx_bytes_per_s")):
                    values[key] = 4 * x + 2e9


def planted(sessions: list[Session]) -> dict[str, list[int | None]]:
    """Kind -> delay in samples (None: missed), over every series that moves."""
    out: dict[str, list[int | None]] = {kind: [] for kind in PLANTS}
    for s in sessions:
        for key, values in s.series.items():
            if len(values) < 250 or len(set(values)) < 20:
                continue
            floor = s.floors[key].detector.floor
            r = random.Random(key)
            for kind, plant in PLANTS.items():
                d = Detector(floor, s.floors[key].detector.relative)
                # The session again and again, so that what it does is known: a life of some 3,000 samples.
                life = values * (3000 // len(values) + 1)
                for x in life:
                    d.update(x)
                unit = max(d._s0.scale, floor / 8, d._s0.p1 / 8)
                tail = (values * 8)[: 1700 if kind == "drift" else 200]
                level = r.choice(values)
                hit = None
                for i, x in enumerate(tail):
                    if d.update(level if kind == "stall" else plant(x, i, unit)) >= 0.5:
                        hit = i
                        break
                if kind != "stall" or d._changes >= 200:
                    out[kind].append(hit)
    return out


def cost() -> tuple[float, float]:
    """Microseconds a sample: the detector, a plain EWMA z."""
    values = [random.Random(1).gauss(50, 3) for _ in range(100_000)]
    d = Detector(1.0)
    began = time.thread_time_ns()
    for x in values:
        d.update(x)
    ours = time.thread_time_ns() - began
    mean, var, score = 0.0, 1.0, 0.0

    def ewma(x: float) -> float:
        nonlocal mean, var
        e = x - mean
        mean += 0.02 * e
        var += 0.02 * (e * e - var)
        return abs(e) / (math.sqrt(var) + 1e-9)

    began = time.thread_time_ns()
    for x in values:
        score = ewma(x)
    assert score >= 0
    return ours / 1e8, (time.thread_time_ns() - began) / 1e8


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dir", type=Path, nargs="?")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--seconds", type=int, default=330)
    parser.add_argument("--nab", type=Path, help="a clone of NAB")
    parser.add_argument("--csv", type=Path, action="append", default=[], help="a table of a series")
    parser.add_argument("--synthetic", action="store_true", help="made series with made events, too")
    parser.add_argument("--each", action="store_true", help="say what was told in each series")
    args = parser.parse_args()
    if args.nab or args.csv or args.synthetic:
        compare(args.nab, args.csv, args.synthetic, args.each)
        return
    if args.record:
        record(args.record, args.seconds)
    folder = args.record or args.dir
    if folder is None:
        parser.error("name a directory of sessions, or --record DIR")
    sessions = [Session(p) for p in sorted(folder.glob("*.dctop"))]
    print(
        f"{'session':<12}{'ticks':>7}{'series':>8}{'marks':>7}{'/86,400':>9}{'notes':>7}  told by other rules"
    )
    for s in sessions:
        s.judge()
        rate = s.marks / s.samples * 86_400 if s.samples else 0.0
        width = round(s.samples / max(1, s.ticks))
        print(f"{s.path.stem:<12}{s.ticks:>7}{width:>8}{s.marks:>7}{rate:>9.1f}{len(s.notes):>7}  "
              + ", ".join(sorted(s.alerts)))  # fmt: skip
        for note in s.notes:
            print(f"    note: {note}")
    ticks, samples = sum(s.ticks for s in sessions), sum(s.samples for s in sessions)
    notes, marks = sum(len(s.notes) for s in sessions), sum(s.marks for s in sessions)
    print(f"all: {ticks / 3600:.2f} h, {marks / samples * 86_400:.1f} marks for 86,400 samples, "
          f"{notes / ticks * 3600:.1f} notes an hour")  # fmt: skip
    found = [s.judge(plant_at=int(s.ticks * 0.8))[0] for s in sessions]
    print(f"planted, three series of three families at once: {sum(found)} of {len(found)} sessions")
    for kind, delays in planted(sessions).items():
        known = sorted(d for d in delays if d is not None)
        median = known[len(known) // 2] if known else -1
        print(f"planted {kind:<6} {len(known):>4} of {len(delays):>4} series, median delay {median} samples")
    ms = [x for s in sessions for x in s.ms]
    ours, plain = cost()
    print(f"cost: {statistics.fmean(ms):.3f} ms a tick (worst {max(ms):.2f}); {ours:.2f} us a sample, "
          f"{ours / plain:.1f} x a plain EWMA z")  # fmt: skip


if __name__ == "__main__":
    main()
