"""The numbers are those that df, ss, free, ps and htop show at the same moment.

What changes by itself is read from the other tool before and after, and dctop's number must lie between.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.terminal import Terminal

DCTOP = [sys.executable, "-m", "dctop.tui.cli"]
MIB = 1 << 20
# Holds 200 MiB at nice 7, sleeping; its name is nobody else's.
HOLDER = """
import os, time
os.nice(7)
open("/proc/self/comm", "w").write("{name}")
kept = bytearray(b"x") * (200 << 20)
print("ready", flush=True)
time.sleep(600)
"""


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


class Snapshot:
    """`dctop snapshot --json` as a user reads it."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = json.loads(run(*DCTOP, "snapshot", "--json", "--top", "100000"))
        self.values = {(m["id"], *m.get("labels", {}).values()): m["value"] for m in self.document["metrics"]}

    def __getitem__(self, key: str | tuple[str, ...]) -> Any:
        return self.values[(key,) if isinstance(key, str) else key]


def between(value: float, *seen: float, slack: float) -> bool:
    return min(seen) - slack <= value <= max(seen) + slack


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[str]]:
    script = HOLDER.format(name=f"held{os.getpid() % 10000}")
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child
        child.kill()


def df() -> dict[str, tuple[int, int, int, int, int]]:
    """mount -> size, used, available bytes; inodes, free inodes."""
    lines = run("df", "-a", "-B1", "--output=size,used,avail,itotal,iavail,target").splitlines()[1:]
    out = {}
    for line in lines:
        *numbers, target = line.split(None, 5)
        with contextlib.suppress(ValueError):
            size, used, avail, inodes, free = map(int, numbers)
            out[target] = (size, used, avail, inodes, free)
    return out


def test_filesystems_agree_with_df() -> None:
    before = df()
    snap = Snapshot()
    after = df()
    mounts = [key[1] for key in snap.values if key[0] == "fs.size_bytes"]
    assert "/" in mounts
    for mount in mounts:
        size, used, avail, inodes, free = zip(before[mount], after[mount], strict=True)
        assert snap["fs.size_bytes", mount] in size
        assert between(snap["fs.used_bytes", mount], *used, slack=256 * MIB)
        assert between(snap["fs.avail_bytes", mount], *avail, slack=256 * MIB)
        assert (snap["fs.inodes", mount] or 0) in inodes
        assert between(snap["fs.inodes_free", mount] or 0, *free, slack=20_000)


def test_memory_agrees_with_free() -> None:
    def free() -> list[int]:
        return [int(n) for n in run("free", "-b").splitlines()[1].split()[1:]]

    before, snap, after = free(), Snapshot(), free()
    assert snap["memory.total_bytes"] == before[0]
    for at, name in ((2, "memory.free_bytes"), (3, "memory.shmem_bytes"), (5, "memory.available_bytes")):
        assert between(snap[name], before[at], after[at], slack=0.05 * before[0])
    swap = [int(n) for n in run("free", "-b").splitlines()[2].split()[1:]]
    assert snap["memory.swap_total_bytes"] == swap[0]


def test_connections_agree_with_ss() -> None:
    def established() -> int:
        # The kernel's CurrEstab counts both states.
        return len(run("ss", "-tanH", "state", "established", "state", "close-wait").splitlines())

    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for _ in range(20):
            stack.enter_context(socket.create_connection(server.getsockname()))
            stack.enter_context(server.accept()[0])
        before, snap, after = established(), Snapshot(), established()
        assert before >= 40
        assert between(snap["tcp.established"], before, after, slack=3)


def test_processes_agree_with_ps(holder: subprocess.Popen[str]) -> None:
    def count() -> int:
        return len(run("ps", "-e", "-o", "pid=").splitlines()) - 1  # ps itself

    before, snap, after = count(), Snapshot(), count()
    assert between(snap["process.count"], before, after, slack=5)
    row = next(p for p in snap.document["processes"] if p["pid"] == holder.pid)
    name, user, nice, threads, rss = run(
        "ps", "-o", "comm=,user=,ni=,nlwp=,rss=", "-p", str(holder.pid)
    ).split()  # fmt: skip
    assert (row["name"], row["user"], row["nice"], row["threads"]) == (name, user, int(nice), int(threads))
    assert row["rss_bytes"] == pytest.approx(int(rss) * 1024, abs=MIB)


def test_the_screen_agrees_with_htop(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    name = open(f"/proc/{holder.pid}/comm").read().strip()  # noqa: SIM115
    env = {"HTOPRC": str(tmp_path / "htoprc")}  # a file of its own: it replaces what is there when it ends
    with Terminal(["htop", "-p", str(holder.pid)], 150, 40, env) as htop, Terminal(DCTOP, 150, 40) as dctop:
        dctop.wait("PROC", "F10 quit")
        dctop.send("P", "/", name, "enter")
        pid = re.compile(rf"^\W*{holder.pid} .*$", re.MULTILINE)
        theirs = ours = None
        end = time.monotonic() + 30
        while theirs is None or ours is None:
            assert time.monotonic() < end, f"{htop.text}\n{dctop.text}"
            htop.pump(0.2)
            dctop.pump(0.2)
            theirs, ours = pid.search(htop.text), pid.search(dctop.text)
        total = re.search(r"load +([0-9.]+)", dctop.text), re.search(r"Load average: ([0-9.]+)", htop.text)
        dctop.send("q")
        htop.send("q")
    # htop: PID USER PRI NI VIRT RES SHR S CPU% MEM% TIME+ Command
    _, user, _, nice, _, res, _, state, *_ = theirs[0].split()
    mine = ours[0].strip("┃│ ").split()
    assert mine[1] == user and nice == "7"
    assert state in mine[2:9] and state == "S"
    sizes = [int(float(w[:-1])) for w in mine if re.fullmatch(r"[0-9.]+M", w)]
    assert res.endswith("M")
    assert any(abs(size - int(res[:-1])) <= 1 for size in sizes), (theirs[0], ours[0])
    assert total[1] is not None


def test_a_killed_process_is_gone_from_both(holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert all(p["pid"] != holder.pid for p in Snapshot().document["processes"])
