"""dctop beside btop, htop, nvitop and glances, in equal pseudo-terminals, in one run.

    python tests/benchmarks/bench_peers.py [--seconds 60] [--only dctop,btop] [--install]
        [--sleepers 500]

All programs run at the same time, each in a pty of its own (160x50, xterm-256color, truecolor) that is
read as fast as it is written, at one refresh a second. See README.md beside this file for what is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS_VENV = ROOT / ".venv-bench"
COLUMNS, ROWS = 160, 50
WARM_UP_S = 5.0
FIRST_PAINT_S = 15.0
PAINT_RUNS = 5


@dataclass(frozen=True)
class Tool:
    """A program to measure. `real`: what its screen shows once it has real numbers."""

    name: str
    command: Callable[[Path], list[str]]
    real: str
    package: str | None = None
    """How to get it: `apt:btop` or `pip:nvitop`."""
    env: Mapping[str, str] = field(default_factory=dict)


def _dctop(*options: str) -> list[str]:
    script = Path(sys.executable).with_name("dctop")
    start = [str(script)] if script.exists() else [sys.executable, "-m", "dctop.tui.cli"]
    return [*start, "--interval", "1", *options]


def _btop(scratch: Path) -> list[str]:
    config = scratch / "btop/btop.conf"
    config.parent.mkdir(exist_ok=True)
    config.write_text("update_ms=1000\n")
    return [_which("btop"), "--utf-force"]


NUMBER = r"\d+(?:\.\d+)?"
TOOLS = (
    Tool("dctop +rec", lambda d: _dctop("--record", str(d / "bench.dctop")), rf"{NUMBER}\s?%"),
    Tool("dctop", lambda d: _dctop(), rf"{NUMBER}\s?%"),
    Tool("btop", _btop, rf"{NUMBER}\s?%", "apt:btop"),
    Tool("htop", lambda d: [_which("htop"), "-d", "10"], rf"{NUMBER}%", "apt:htop"),
    Tool("nvitop", lambda d: [_which("nvitop"), "--interval", "1"], rf"{NUMBER}\s?%", "pip:nvitop"),
    Tool("glances", lambda d: [_which("glances"), "-t", "1"], rf"{NUMBER}\s?%", "pip:glances"),
)


SIMULATED: dict[str, str] = {}
"""Environment that lets every program find the stand-in NVIDIA driver (`--gpus`); empty: the node's own."""


class Missing(Exception):
    """The program is not there."""


def _which(name: str) -> str:
    found = PEERS_VENV / "bin" / name
    if found.exists():
        return str(found)
    path = shutil.which(name)
    if path is None:
        raise Missing(name)
    return path


class Session:
    """A program in a pty of its own; what it writes is kept with its time."""

    def __init__(self, tool: Tool, scratch: Path) -> None:
        self.tool = tool
        self.written = 0
        self.chunks: list[tuple[float, bytes]] | None = []
        """While the first paint is looked for; None later: no memory is spent in the steady state."""
        command = tool.command(scratch)
        self.master, slave = pty.openpty()
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        env = {
            **os.environ,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "LANG": "C.UTF-8",
            "XDG_CONFIG_HOME": str(scratch),
            "XDG_STATE_HOME": str(scratch / "state"),
            "HTOPRC": str(scratch / "htoprc"),
            **SIMULATED,
            **tool.env,
        }
        # As installed, where what was compiled is kept: compiled at each start, a checkout takes 2 MB more.
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=env, cwd=scratch,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(slave)
        self.cpu: dict[tuple[int, int], int] = {}
        self.cpu_before: dict[tuple[int, int], int] = {}
        self.pss: int | None = None

    def take(self) -> bool:
        """Read what is there; False once the program closed its end."""
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:
            return False
        self.written += len(data)
        if self.chunks is not None:
            self.chunks.append((time.monotonic() - self.began, data))
        # Terminals answer; a program that waits for the answer must not be punished.
        if b"\x1b[6n" in data:
            os.write(self.master, b"\x1b[1;1R")
        if b"\x1b[c" in data or b"\x1b[0c" in data:
            os.write(self.master, b"\x1b[?62;22c")
        return bool(data)

    def pids(self) -> list[int]:
        """The program and all its descendants."""
        parent: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    parent[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        out = [self.process.pid]
        for pid in out:
            out += [child for child, of in parent.items() if of == pid]
        return out

    def sample_cpu(self) -> None:
        """CPU time of every thread of the tree, in ns. A thread's last value counts on after it ended."""
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError, ValueError):
                    self.cpu[pid, int(task.parent.name)] = int(task.read_text().split()[0])

    def cpu_ns(self) -> int:
        return sum(now - self.cpu_before.get(key, 0) for key, now in self.cpu.items())

    def sample_pss(self) -> None:
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
                total += int(found[1]) * 1024 if found else 0
        self.pss = total or None

    def screen_text(self) -> str:
        """What its terminal shows now, for the message of a program that ended."""
        return re.sub(
            rb"\x1b\[[0-9;?]*[a-zA-Z]|\x1b.", b"", b"".join(d for _, d in self.chunks or ())
        ).decode(errors="replace")

    def first_paint_ms(self) -> float | None:
        """When the screen first showed a real number: computed afterwards, so that it costs nothing then."""
        import pyte

        screen = pyte.Screen(COLUMNS, ROWS)
        stream = pyte.ByteStream(screen)
        wanted = re.compile(self.tool.real)
        for when, data in self.chunks or ():
            stream.feed(data)
            if any(wanted.search(line) for line in screen.display):
                return when * 1000
        return None

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGTERM)
        deadline = time.monotonic() + 3
        while self.process.poll() is None and time.monotonic() < deadline:
            pump([self], 0.05)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        os.close(self.master)


def pump(sessions: Sequence[Session], seconds: float) -> None:
    """Read all ptys for a while."""
    by_fd = {s.master: s for s in sessions}
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if not by_fd:
            time.sleep(left)
            return
        for fd in select.select(list(by_fd), [], [], left)[0]:
            if not by_fd[fd].take():
                del by_fd[fd]


@dataclass
class Row:
    """One line of the result; None: could not be measured."""

    name: str
    cpu_ms_per_s: float | None = None
    bytes_per_refresh: float | None = None
    paint_ms: float | None = None
    pss: int | None = None
    remark: str = ""


def measure_paint(tool: Tool, scratch: Path, runs: int) -> float | None:
    """Median of `runs` starts, alone, each until a real number is on the screen."""
    times: list[float] = []
    for _ in range(runs):
        session = Session(tool, scratch)
        try:
            shown = None
            while shown is None and time.monotonic() - session.began < FIRST_PAINT_S:
                pump([session], 0.4)
                shown = session.first_paint_ms()
                if session.process.poll() is not None:
                    break
        finally:
            session.end()
        if shown is None:
            return None
        times.append(shown)
    return statistics.median(times)


def measure_steady(tools: Sequence[Tool], scratch: Path, seconds: float, rows: Mapping[str, Row]) -> None:
    sessions = [Session(tool, folder(scratch, tool)) for tool in tools]
    try:
        pump(sessions, WARM_UP_S)
        for s in list(sessions):
            if s.process.poll() is not None:
                text = " ".join(s.screen_text().split())
                rows[s.tool.name].remark = f"ended with status {s.process.returncode}: {text[:90]}"
                sessions.remove(s)
                os.close(s.master)
        for s in sessions:
            s.sample_cpu()
            s.cpu_before, s.written, s.chunks = dict(s.cpu), 0, None
        began = time.monotonic()
        while (left := seconds - (time.monotonic() - began)) > 0:
            pump(sessions, min(left, 1.0))
            for s in sessions:
                s.sample_cpu()
        took = time.monotonic() - began
        for s in sessions:
            s.sample_pss()
            row = rows[s.tool.name]
            row.cpu_ms_per_s = s.cpu_ns() / 1e6 / took
            row.bytes_per_refresh = s.written / took
            row.pss = s.pss
    finally:
        for s in sessions:
            s.end()


def folder(scratch: Path, tool: Tool) -> Path:
    path = scratch / tool.name.replace(" ", "")
    path.mkdir(exist_ok=True)
    return path


def install(tools: Sequence[Tool]) -> None:
    """Fetch missing peers: system packages as root, Python ones into .venv-bench. Failure is no error."""
    apt: list[str] = []
    pip: list[str] = []
    for tool in tools:
        try:
            tool.command(Path(tempfile.mkdtemp()))
        except Missing as e:
            (apt if (tool.package or "").startswith("apt:") else pip).append(str(e))
    if apt and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {' '.join(apt)}", file=sys.stderr)
        subprocess.run(
            ["apt-get", "install", "-qqy", "--no-install-recommends", *apt], stdout=subprocess.DEVNULL
        )
    if pip:
        print(f"installing {' '.join(pip)} into {PEERS_VENV.name}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", PEERS_VENV], check=True)
        for name in pip:
            subprocess.run([PEERS_VENV / "bin/python", "-m", "pip", "install", "-q", name])


def _ratio(value: float | None, base: float | None, text: str) -> str:
    if value is None:
        return "-"
    return f"{text} ({value / base:4.2f})" if base else text


def table(rows: Sequence[Row]) -> str:
    """Ratios in parentheses are to btop in this run."""
    base = next((r for r in rows if r.name == "btop"), Row("btop"))
    out = [
        f"{'':<12}{'CPU ms per s':>18}{'bytes a refresh':>18}{'first paint ms':>18}{'memory (PSS) MB':>18}"
    ]
    for r in rows:
        cells = (
            _ratio(r.cpu_ms_per_s, base.cpu_ms_per_s, f"{r.cpu_ms_per_s or 0:.2f}"),
            _ratio(r.bytes_per_refresh, base.bytes_per_refresh, f"{r.bytes_per_refresh or 0:,.0f}"),
            _ratio(r.paint_ms, base.paint_ms, f"{r.paint_ms or 0:.0f}"),
            _ratio(r.pss, base.pss, f"{(r.pss or 0) / 1e6:.1f}"),
        )
        out.append(
            f"{r.name:<12}" + "".join(f"{c:>18}" for c in cells) + (f"  {r.remark}" if r.remark else "")
        )
    return "\n".join(out)


def _mega(value: int | None) -> float | None:
    return None if value is None else value / 1e6


def verdicts(rows: Sequence[Row]) -> list[str]:
    """The budgets of the design, as this run saw them."""
    by = {r.name: r for r in rows}
    ours = by.get("dctop +rec") or by.get("dctop")
    if ours is None:
        return []
    peer = {name: by.get(name, Row(name)) for name in ("btop", "nvitop", "glances")}
    budgets = (
        ("CPU in ms per s, at most btop's", ours.cpu_ms_per_s, peer["btop"].cpu_ms_per_s),
        ("bytes a refresh, at most 15,000", ours.bytes_per_refresh, 15_000),
        ("first paint in ms, at most nvitop's", ours.paint_ms, peer["nvitop"].paint_ms),
        ("memory in MB, at most glances'", _mega(ours.pss), _mega(peer["glances"].pss)),
    )
    out = []
    for what, value, limit in budgets:
        if value is None or limit is None:
            out.append(f"  ?    {what}: not measured here")
        else:
            out.append(f"  {'yes' if value <= limit else 'NO':<4} {what}: {value:,.1f} of {limit:,.1f}")
    return out


@contextlib.contextmanager
def sleepers(n: int) -> Iterator[None]:
    """So many idle processes. A node of a hundred cores has a thousand threads of its kernel alone."""
    started = [subprocess.Popen(["sleep", "infinity"]) for _ in range(n)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--seconds", type=float, default=60, help="length of the steady measurement (60)")
    p.add_argument("--only", help="comma-separated names: dctop, dctop +rec, btop, htop, nvitop, glances")
    p.add_argument("--install", action="store_true", help="fetch missing peers first")
    p.add_argument("--gpus", type=int, metavar="N", help="simulate N GPUs: nvitop does not start without")
    p.add_argument("--sleepers", type=int, default=0, metavar="N", help="add N idle processes, as nodes have")
    args = p.parse_args()
    only = None if args.only is None else [n.strip() for n in args.only.split(",")]
    tools = [t for t in TOOLS if only is None or t.name in only]
    if not tools:
        p.error(f"--only {args.only}: names are {', '.join(t.name for t in TOOLS)}")
    if args.install:
        install(tools)
    rows = {t.name: Row(t.name) for t in tools}
    with tempfile.TemporaryDirectory(prefix="dctop-bench-") as name, sleepers(args.sleepers):
        scratch = Path(name)
        if args.gpus:
            sys.path.insert(0, str(ROOT))
            from tests.fakes.standin import State

            state = State(scratch / "gpus", args.gpus)
            SIMULATED.update(state.env(), NVML_STANDIN_LOOK_MS="500")
            print(f"{args.gpus} simulated GPUs; ", end="")
        present: list[Tool] = []
        for tool in tools:
            try:
                rows[tool.name].paint_ms = measure_paint(tool, folder(scratch, tool), PAINT_RUNS)
                present.append(tool)
            except (Missing, FileNotFoundError):
                hint = (
                    (tool.package or "").replace("apt:", "apt-get install ").replace("pip:", "pip install ")
                )
                rows[tool.name].remark = f"not installed ({hint or 'make run'})"
        load = Path("/proc/loadavg").read_text().split()
        tasks = load[3].partition("/")[2]
        print(f"{os.cpu_count()} CPUs, {tasks} tasks, load {load[0]}; {COLUMNS}x{ROWS} at 1 Hz, ", end="")
        print(f"{args.seconds:g} s after {WARM_UP_S:g} s warm-up; in parentheses: against btop")
        measure_steady(present, scratch, args.seconds, rows)
    result = list(rows.values())
    print(table(result))
    print("\n".join(["", "budgets (dctop recording, rules on):", *verdicts(result)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
