"""Recordings against every trouble, many times over; the test suite has a few of each.

    python tests/benchmarks/trials_recording.py [--kills 100] [--cuts 1000] [--damage 1000] [--sessions 60]

- kill -9 of the recorder at random moments;
- power cuts, simulated below SQLite: all it did to its files is logged by a preloaded shim, and the states in
  which a cut may leave them are rebuilt, torn at any 512-byte sector not yet synced;
- damage: bytes flipped, sectors and pages zeroed or swapped, the end cut off, in database and WAL;
- a full disk (a real tmpfs), read-only media, files and directories that vanish, a clock set back;
- sessions with planted troubles, judged again from their recording, half of them begun in mid-session.

Prints a line each; status 1 if anything acknowledged was lost, anything wrong was shown, or anything failed.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.engine.recording import test_powercut, test_reader, test_recorder, test_rejudge

ROOT = Path(__file__).resolve().parents[2]
DISKS = (
    "full_disk or long_full_disk or disk_that_is_full or read_only or vanishes or clock or media or gap "
    "or low_space"
)


def trials(name: str, n: int, one: Callable[[int, Path], str | None]) -> bool:
    """Run trial 0 .. n-1, each in a folder of its own; a line of the result."""
    began, bad, notes = time.monotonic(), 0, []
    with tempfile.TemporaryDirectory(prefix="dctop-trials-") as folder:
        for i in range(n):
            where = Path(folder) / str(i)
            where.mkdir()
            try:
                note = one(i, where)
                if note:
                    notes.append(note)
            except Exception as e:
                bad += 1
                print(f"  {name} {i}: {type(e).__name__}: {' '.join(str(e).split())[:300]}", flush=True)
    took = time.monotonic() - began
    counted = ", ".join(f"{notes.count(x)} {x}" for x in sorted(set(notes)))
    print(f"{name}: {n - bad} of {n} well in {took:.0f} s" + (f" ({counted})" if counted else ""), flush=True)
    return bad == 0


def kill(i: int, folder: Path) -> str | None:
    test_recorder.test_nothing_acknowledged_is_lost_to_kill_9(folder, i)
    return None


def cuts(n: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="dctop-cut-") as made:
        ops = test_powercut.record(Path(made))
    r = random.Random(4)
    at = [r.randrange(len(ops) + 1) for _ in range(n)]
    syncs = sum(op.kind == "s" for op in ops)
    print(f"power cut: {len(ops)} operations on files, {syncs} of them syncs", flush=True)

    def one(i: int, folder: Path) -> str | None:
        lost = test_powercut.lost(ops, at[i], i, folder / "x")
        assert lost == 0, f"{lost} acknowledged frames lost after operation {at[i]}"
        return None

    return trials("power cut", n, one)


def damage(n: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="dctop-damage-") as made:
        originals = test_reader.make_originals(Path(made))

    def one(i: int, folder: Path) -> str:
        frames = test_reader.damage_trial(originals, i, folder / "x")
        whole = frames == len(originals[i % 2][2].frames)
        return "whole" if whole else "in part" if frames else "not at all, with one line why"

    return trials("damage", n, one)


def sessions(i: int, folder: Path) -> str:
    # Every other one is recorded from somewhere in the middle.
    begin = 0 if i % 2 == 0 else (i * 37) % (test_rejudge.TICKS - 40) + 20
    kind = test_rejudge.Devices if i % 3 == 2 else test_rejudge.Session
    live, again = test_rejudge.live_and_again(kind(1000 + i), folder / "a.dctop", begin)
    assert live == again, f"differ at tick {next(n for n, (a, b) in enumerate(zip(live, again)) if a != b)}"
    return "with alerts" if any(live) else "without"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, n in (("kills", 100), ("cuts", 1000), ("damage", 1000), ("sessions", 60)):
        parser.add_argument(f"--{name}", type=int, default=n, metavar="N")
    args = parser.parse_args()
    good = trials("kill -9", args.kills, kill)
    good &= cuts(args.cuts)
    good &= damage(args.damage)
    good &= trials("judged again", args.sessions, sessions)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/engine/recording", "-k", DISKS], cwd=ROOT, check=False
    )
    good &= done.returncode == 0
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
