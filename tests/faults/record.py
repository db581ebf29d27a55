"""Makes one run of the corpus: prepares the room, launches, plants, records the node, writes the truth.

    python -m tests.faults.record PLAN-ID FOLDER

runs in a process (and where needed a control group and mount namespace) of its own. What is left in FOLDER:
the run directory, `truth.json`, and `node.dctop` where the node counts.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.fakes.cgroups import group
from tests.faults.corpus import Plan
from tests.faults.sets import find

ROOT = Path(__file__).parents[2]
GIVE_UP_S = 240.0
MIB = 1 << 20
FOR_EVER = ("hang", "loader-hang")
"""Cases whose run will never come to the end of a step."""
MEASURED: dict[str, Any] = {"threads": 1, "requests": 600, "max_batch": 16, "samples": 2000}
"""Options of a measurement: three windows of requests."""


def make(plan: Plan, folder: Path) -> None:
    """In this process: it is changed for good (limits, control groups)."""
    os.environ["XDG_STATE_HOME"] = str(folder)
    if plan.case.action.startswith("clock") or plan.case.plant:
        os.environ["PYTHONPATH"] = str(Path(__file__).with_name("site"))
    if plan.case.action.startswith("clock"):
        os.environ["DCTOP_DRILL_CLOCK"] = str(folder / "clock")
    if plan.case.plant:
        os.environ["DCTOP_DRILL_PLANT"] = f"{plan.case.plant}:{plan.size:g}:{plan.t0}"
    with ExitStack() as stack:
        room = stack.enter_context(_room(plan, folder))
        _Driver(plan, folder, room).drive()


def make_apart(plan: Plan, folder: Path, timeout: float = GIVE_UP_S + 120) -> str | None:
    """In a process of its own; None, or what went wrong in one line."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.faults.record", plan.id, str(folder)]
    if plan.case.room.startswith("shm"):
        command = ["unshare", "-m", "--propagation", "private", *command]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return "it took too long"
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or ["failed"])[-1]


@contextmanager
def _room(plan: Plan, folder: Path) -> Iterator[Path]:
    kind, _, size = plan.case.room.partition(":")
    if kind in ("memory", "cpu"):
        files = (
            {"memory__limit_in_bytes": str(int(size) * MIB)}
            if kind == "memory"
            else {"cpu__cfs_period_us": "100000", "cpu__cfs_quota_us": str(int(size) * 1000)}
        )
        with group(kind, **files) as path:
            (path / "cgroup.procs").write_text(str(os.getpid()))
            try:
                yield path
            finally:
                (path.parent / "cgroup.procs").write_text(str(os.getpid()))
                until = time.monotonic() + 30
                while (path / "cgroup.procs").read_text().strip() and time.monotonic() < until:
                    time.sleep(0.05)
    elif kind in ("tmpfs", "shm", "inodes"):
        point = Path("/dev/shm") if kind == "shm" else folder / "room"
        point.mkdir(exist_ok=True)
        options = f"size=64m,nr_inodes={size}" if kind == "inodes" else f"size={size}m"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(point)], check=True)
        try:
            yield point
        finally:
            subprocess.run(["umount", "-l", str(point)], check=False)
    else:
        if kind == "address":
            resource.setrlimit(resource.RLIMIT_AS, (int(size) * MIB, int(size) * MIB))
        yield folder


class _Driver:
    def __init__(self, plan: Plan, folder: Path, room: Path) -> None:
        self.plan, self.folder, self.room = plan, folder, room
        self.truth: dict[str, Any] = {
            "id": plan.case.name, "size": plan.size, "magnitude": plan.size_name, "seed": plan.seed,
            "step0": None, "step1": None, "t0": None, "t1": None, "place": str(room),
        }  # fmt: skip
        self._undo: list[Callable[[], None]] = []

    def drive(self) -> None:
        from dctop.engine.live import LiveEngine
        from dctop.engine.training import launcher

        case, engine = self.plan.case, None
        if case.frames:
            engine = LiveEngine(1.0, rules=False)
            engine.start()
            engine.start_recording(self.folder / "node.dctop")
        try:
            if case.steps:
                config = {k: self._filled(v) for k, v in self.plan.config.items()}
                result = launcher.launch(config)
                if result.run_id is None:
                    raise SystemExit(result.error or "the run could not be started")
                self._follow(self.folder / "dctop" / "runs" / result.run_id)
                if case.infer is not None:
                    self._measure(result.run_id)
            else:
                time.sleep(8)  # the node as it is
                self._begin(None)
                time.sleep(case.seconds)
                self._end(None)
            if case.after and not (case.steps and case.seconds):
                time.sleep(case.after)
        finally:
            for undo in self._undo:
                undo()
            if engine is not None:
                engine.stop()
        (self.folder / "truth.json").write_text(json.dumps(self.truth) + "\n")

    def _measure(self, trained: str) -> None:
        """A healthy measurement, which becomes the baseline, then the one that is judged."""
        from dctop.engine.training import control, infer
        from dctop.engine.training.watcher import RunFollower

        spec = (self.plan.case.infer or "").format(size=f"{self.plan.size:g}")
        for faults in ([], [spec] if spec else []):
            result = infer.launch(trained, {**MEASURED, "fault": faults})
            if result.run_id is None:
                raise SystemExit(result.error or "the measurement could not be started")
            follower = RunFollower(self.folder / "dctop" / "runs" / result.run_id)
            deadline = time.monotonic() + GIVE_UP_S
            while (state := follower.poll()) is None or state.status in control.ACTIVE:
                if time.monotonic() > deadline:
                    raise SystemExit(f"{result.run_id}: it took too long")
                time.sleep(0.05)
            if state.status != "finished":
                raise SystemExit(f"{result.run_id}: {state.reason}")
            self.truth.update(t0=state.started_wall_ns, t1=None, step0=1, step1=None)

    def _filled(self, value: Any) -> Any:
        return value.format(room=self.room) if isinstance(value, str) else value

    def _follow(self, directory: Path) -> None:
        from dctop.engine.training import control
        from dctop.engine.training.watcher import RunFollower

        case, follower = self.plan.case, RunFollower(directory)
        deadline = time.monotonic() + GIVE_UP_S
        over: float | None = None
        while True:
            state = follower.poll()
            assert state is not None
            if state.status not in control.ACTIVE:
                break
            if time.monotonic() > deadline:
                control.stop(state, force=True)
                raise SystemExit(f"given up at step {state.step}")
            step = state.step or 0
            if over is None and step >= self.plan.t0 - (0 if case.action else 1) and self.plan.t0:
                over = time.monotonic() + case.seconds if case.seconds else float("inf")
                if case.action:
                    self._begin(state)
            if over is not None and time.monotonic() > over:
                over = float("inf")
                self._end(state)
                deadline = time.monotonic() + case.after + 30
                if case.after:
                    time.sleep(case.after)
                control.stop(state, force=case.name in FOR_EVER)
            time.sleep(0.05)
        follower.close()
        self._told(directory, state)

    def _told(self, directory: Path, state: Any) -> None:
        """The truth as the worker's own plant wrote it; of an option, the whole run."""
        own = directory / "truth.jsonl"
        if own.exists():
            lines = [json.loads(line) for line in own.read_text().splitlines()]
            self.truth.update({k: lines[0][k] for k in ("t0", "step0")})
            self.truth.update({k: lines[-1][k] for k in ("t1", "step1")})
        elif self.truth["t0"] is None and self.plan.case.roots:
            fault = next((e for e in state.events if e.kind == "fault"), None)
            at = fault.wall_ns if fault is not None else state.started_wall_ns
            step = fault.step if fault is not None and fault.step is not None else self.plan.t0
            whole = bool(self.plan.case.option) or step <= 1
            self.truth.update(t0=state.started_wall_ns if whole else at, step0=1 if whole else step)
            if self.plan.case.name == "checkpoint":
                bad = next(e for e in state.events if e.kind == "checkpoint" and not e.data.get("ok", True))
                self.truth.update(t0=bad.wall_ns, step0=bad.step)

    def _begin(self, state: Any) -> None:
        self.truth.update(t0=time.time_ns(), step0=None if state is None else state.step)
        size = self.plan.size
        action, _, said = self.plan.case.action.partition(":")
        if action in ("kill", "stop"):
            os.kill(state.pid, signal.SIGKILL if action == "kill" else signal.SIGSTOP)
            if action == "stop":
                self._undo.append(lambda: _quietly(lambda: os.kill(state.pid, signal.SIGCONT)))
        elif action == "signal":
            os.kill(state.pid, signal.Signals[f"SIG{said}"])
        elif action == "read-only":
            _remount(self.room, "ro")
            self._undo.append(lambda: _remount(self.room, "rw"))
        elif action == "kill-loader":
            os.kill(_child_of(state.pid), signal.SIGKILL)
        elif action in ("busy", "nice"):
            if action == "nice":
                _renice(state.pid, 19)
                self._undo.append(lambda: _quietly(lambda: _renice(state.pid, 0)))
            # A session each: where the kernel groups by session, one with all gets no more than the run.
            busy = [sys.executable, "-c", "while True: pass"]
            loops = [subprocess.Popen(busy, start_new_session=True) for _ in range(int(size))]
            self._undo.append(lambda: [p.kill() or p.wait() for p in loops] and None)
        elif action == "clock":
            (self.folder / "clock").write_text(said)
        elif action == "trickle":
            over = threading.Event()
            threading.Thread(target=_trickle, args=(self.room / "ballast", size, over), daemon=True).start()
            self._undo.append(over.set)
        elif action == "quota":
            (self.room / "cpu.cfs_quota_us").write_text(str(int(size * 1000)))
            self._undo.append(lambda: (self.room / "cpu.cfs_quota_us").write_text("400000") and None)
        elif action == "files":
            _touch(self.room)
        elif action == "fill":
            _fill(self.room / "ballast")
            self._undo.append(lambda: (self.room / "ballast").unlink(missing_ok=True))

    def _end(self, state: Any) -> None:
        self.truth.update(t1=time.time_ns(), step1=None if state is None else state.step)
        for undo in self._undo:
            undo()
        self._undo.clear()


def _renice(pid: int, nice: int) -> None:
    """The process, and its session where the kernel shares processors by session."""
    os.setpriority(os.PRIO_PROCESS, pid, nice)
    group = Path("/proc", str(pid), "autogroup")
    if group.exists():
        group.write_text(str(nice))


def _trickle(path: Path, mb_s: float, over: threading.Event) -> None:
    try:
        with path.open("wb", buffering=0) as out:
            while not over.wait(0.25):
                out.write(bytes(int(mb_s * 250_000)))
    except OSError:
        pass  # full


def _quietly(call: Callable[[], None]) -> None:
    try:
        call()
    except ProcessLookupError:
        pass


def _child_of(pid: int) -> int:
    """A loader process of the worker: a child that is neither its resource tracker nor gone."""
    for task in Path("/proc").iterdir():
        if task.name.isdigit():
            try:
                ppid = int((task / "stat").read_text().rpartition(")")[2].split()[1])
                line = (task / "cmdline").read_bytes()
            except (OSError, ValueError, IndexError):
                continue
            if ppid == pid and b"resource_tracker" not in line:
                return int(task.name)
    raise SystemExit("it has no loader process")


def _remount(point: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(point)], check=True)


def _touch(folder: Path) -> None:
    """As many empty files as there is room for."""
    number = 0
    try:
        while True:
            (folder / f"file-{number}").touch()
            number += 1
    except OSError:
        pass  # no inode is left


def _fill(path: Path) -> None:
    try:
        with path.open("wb", buffering=0) as out:
            while True:
                out.write(bytes(MIB))
    except OSError:
        pass  # full: what it is for


if __name__ == "__main__":
    make(find(sys.argv[1]), Path(sys.argv[2]))
