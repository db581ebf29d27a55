"""Watches the runs folder: every run's state, at the price of a stat where nothing goes on."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from dctop.engine.training.exposure import ExposureWatch
from dctop.engine.training.folder import RunsFolder
from dctop.engine.training.runlog import RunReader
from dctop.engine.training.runstate import RunEvent, RunState, Status
from dctop.engine.training.trouble import TroubleWatch

MAX_RUNS = 20
FRESH_NS = 60 * 10**9
"""A run of another host is believed to live as long as its log is not older."""
_ENDED: frozenset[str] = frozenset(("finished", "stopped", "failed", "killed", "lost"))
_STATUSES: dict[str, Status] = {
    "finished": "finished", "stopped": "stopped", "failed": "failed", "killed": "killed", "lost": "lost",
}  # fmt: skip

Life = Literal["alive", "dead", "elsewhere", "unknown"]


def start_ticks(pid: int, proc: Path = Path("/proc")) -> int | None:
    """Start time of a living process (clock ticks after boot); None: none such, or a zombie."""
    try:
        fields = (proc / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def same_process(pid: object, ticks: object) -> bool:
    """Whether the process that had this pid and start time lives."""
    return isinstance(pid, int) and isinstance(ticks, int) and start_ticks(pid) == ticks


class Here:
    """What a run.json must match for its process numbers to mean anything here."""

    def __init__(self) -> None:
        self.host = socket.gethostname()
        self.boot_id = _text("/proc/sys/kernel/random/boot_id")
        try:
            self.pid_namespace: str | None = str(Path("/proc/self/ns/pid").readlink())
        except OSError:
            self.pid_namespace = None

    def life(self, config: dict[str, Any]) -> Life:
        """Whether the run's processes live; `elsewhere`: they cannot be seen from here."""
        host, boot = config.get("host"), config.get("boot_id")
        if host is not None and host != self.host:
            return "elsewhere"
        if boot and self.boot_id and boot != self.boot_id:
            return "dead"  # this host was started anew since
        namespace = config.get("pid_namespace")
        if namespace and self.pid_namespace and namespace != self.pid_namespace:
            return "elsewhere"
        known = False
        for name in ("", "supervisor_", "launcher_"):
            pid, ticks = config.get(name + "pid"), config.get(name + "start_ticks")
            if name == "launcher_" and known:
                break  # the launcher counts only until the run has processes of its own
            if same_process(pid, ticks):
                return "alive"
            known = known or pid is not None
        return "dead" if known or config.get("launcher_pid") is not None else "unknown"


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


class _Run:
    """A run being watched."""

    def __init__(self, directory: Path) -> None:
        self.reader = RunReader(directory)
        self.trouble = TroubleWatch()
        self.exposure = ExposureWatch()
        self.state: RunState | None = None
        self.done = False
        """Its state is final."""


class RunJudge:
    """Makes a RunState of what a run's log says and whether its processes live."""

    def __init__(self, wall: Callable[[], int]) -> None:
        self._wall = wall
        self._here = Here()
        self._seq = 0

    def poll(self, run: _Run) -> bool:
        """Read on and judge. True: the state is another one now."""
        reader = run.reader
        first = run.state is None
        changed = False if reader.end is not None else reader.poll()
        if not reader.directory.is_dir() and not reader.config:
            return False
        status, reason = self._judge(reader)
        if reader.end is None and status in _ENDED and reader.poll():
            status, reason = self._judge(reader)  # its last words came between reading and looking
        here = self._here.life(reader.config) == "alive"
        trouble = run.trouble.look(reader, self._wall(), status not in _ENDED, here)
        exposed = run.exposure.look(reader, self._wall()) if status not in _ENDED else run.exposure.found
        known = run.state
        if not first and not changed and known is not None and (status, trouble, exposed) == (
            known.status, known.trouble, known.exposed
        ):  # fmt: skip
            return False
        run.state = replace(self._state(reader, status, reason, trouble), exposed=exposed)
        if status in _ENDED:
            run.done = True
            reader.close()
        return True

    def _judge(self, reader: RunReader) -> tuple[Status, str | None]:
        end = reader.end
        if end is not None:
            return _ended_status(end), end.text or None
        life = self._here.life(reader.config)
        failure = next((e for e in reversed(reader.events) if e.kind == "exception"), None)
        heard = reader.last_wall_ns or _whole(reader.config.get("created_wall_ns")) or 0
        old = self._wall() - heard > FRESH_NS
        if life == "dead" and failure is not None:
            return "failed", failure.text
        if life == "dead":
            return "lost", "its process is gone and left no word (killed with its supervisor, or a reboot)"
        if old and life == "elsewhere":
            host = reader.config.get("host")
            return "lost", f"nothing heard for a minute from {host}, where it ran"
        if old and life == "unknown":
            return "lost", "it was never started"
        if any(e.kind == "stop" for e in reader.events[-10:]):
            return "stopping", None
        started = reader.store.total > 0 or reader.mode not in (None, "init")
        return ("running" if started else "starting"), None

    def _state(self, reader: RunReader, status: Status, reason: str | None, trouble: str | None) -> RunState:
        self._seq += 1
        config, last, end = reader.config, reader.store.last, reader.end
        over = status in _ENDED
        data, device = reader.fact("data"), reader.fact("device")
        data = data if isinstance(data, dict) else {}
        ended = end.wall_ns if end is not None else (reader.last_wall_ns if over else None)
        first = reader.events[0].wall_ns if reader.events else 0
        asked = config.get("config")
        epochs = asked.get("epochs") if isinstance(asked, dict) else None
        return RunState(
            id=reader.directory.name,
            directory=str(reader.directory),
            workload=str(config.get("workload") or "?"),
            status=status,
            config=config,
            host=_string(config.get("host")),
            pid=_whole(reader.fact("pid")),
            started_wall_ns=_whole(config.get("created_wall_ns")) or first,
            ended_wall_ns=ended,
            mode=None if over else reader.mode,
            step=_step(last["step"], end),
            total_steps=_whole(reader.fact("total_steps")),
            epoch=_whole(last["epoch"]),
            total_epochs=_whole(reader.fact("total_epochs")) or _whole(epochs),
            last=last,
            columns=reader.columns,
            evals=tuple(reader.evals),
            events=tuple(reader.events),
            exit_code=_whole(end.data.get("exit_code")) if end is not None else None,
            reason=reason,
            samples_per_s=reader.samples_per_s(),
            eta_s=None if over else reader.eta_s(),
            data_source=_string(data.get("source")),
            synthetic=bool(data.get("synthetic")),
            device=_string(device.get("chosen")) if isinstance(device, dict) else _string(device),
            seq=self._seq,
            trouble=trouble,
            log_tail=reader.tail.lines,
            ranks=reader.ranks(),
        )


class RunWatcher:
    """`poll` once a tick, then read `states`. One thread polls; the states may be read by any.

    The newest 20 runs are loaded. Ended ones are read once, one a poll, so that a long history does not
    delay the first screen; their steps only when somebody asks for the columns.
    """

    def __init__(self, runs_dir: Path, wall: Callable[[], int] = time.time_ns) -> None:
        self.runs_dir = runs_dir
        self._wall = wall
        self._judge = RunJudge(wall)
        self._runs: dict[str, _Run] = {}
        self._waiting: list[str] = []
        """Ids not loaded yet, newest first."""
        self._removed: dict[str, RunState] = {}
        """Runs whose directory went while they were going on: nobody else can tell of them any more."""
        self._folder = RunsFolder(runs_dir, wall)
        self._states: tuple[RunState, ...] = ()

    def poll(self) -> bool:
        """Take in what happened. True: some state changed, came or went."""
        changed = self._scan()
        self._load_waiting()
        for run in list(self._runs.values()):
            if not run.done:
                changed = self._judge.poll(run) or changed
        if changed:
            self._publish()
        return changed

    def states(self) -> Sequence[RunState]:
        """Active runs first, each group newest first."""
        return self._states

    def close(self) -> None:
        for run in self._runs.values():
            run.reader.close()

    # -- folder -----------------------------------------------------------------------------------

    def _scan(self) -> bool:
        """What came and went in the folder."""
        found = self._folder.news()
        if found is None:
            return False
        names = found[:MAX_RUNS]
        gone = [name for name in self._runs if name not in names]
        for name in gone:
            self._drop(name)
        fresh = [name for name in names if name not in self._runs]
        self._waiting = fresh
        return bool(gone)

    def _drop(self, name: str) -> None:
        """A directory that is no longer there (or no longer among the newest)."""
        run = self._runs.pop(name)
        run.reader.close()
        state = run.state
        if state is None or state.status in _ENDED or run.reader.directory.is_dir():
            return
        reason = "its directory was removed while it went on: the run ends, nothing more of it can be kept"
        self._removed[name] = replace(
            state, status="lost", reason=reason, mode=None, eta_s=None, trouble=None, seq=state.seq + 1,
            ended_wall_ns=self._wall(),
        )  # fmt: skip

    def _load_waiting(self) -> None:
        """Every active run at once, of the ended ones one a poll."""
        left: list[str] = []
        loaded_ended = False
        for name in self._waiting:
            directory = self.runs_dir / name
            ended = has_ended(directory)
            if ended and loaded_ended:
                left.append(name)
                continue
            run = self._runs[name] = _Run(directory)
            if ended:
                loaded_ended = True
                run.reader.load_ended()
        self._waiting = left

    def _publish(self) -> None:
        states = [run.state for run in self._runs.values() if run.state is not None]
        states += [state for name, state in self._removed.items() if name not in self._runs]
        states.sort(key=lambda s: s.id, reverse=True)
        states.sort(key=lambda s: s.status in _ENDED)
        self._states = tuple(states)


def has_ended(directory: Path) -> bool:
    """Whether the log's last line is an `end` record: a look at its last 64 KiB."""
    try:
        with (directory / "steps.jsonl").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - (64 << 10)))
            last = log.read().rstrip(b"\n").rpartition(b"\n")[2]
    except OSError:
        return False
    return last.startswith((b'{"kind":"end"', b'{"kind": "end"'))


class RunFollower:
    """One run, whatever its age: what `dctop train --headless` and `dctop runs` read."""

    def __init__(self, directory: Path, wall: Callable[[], int] = time.time_ns) -> None:
        self._judge = RunJudge(wall)
        self._run = _Run(directory)
        if has_ended(directory):
            self._run.reader.load_ended()

    def poll(self) -> RunState | None:
        """The state as of now; None: there is no such run (any more)."""
        if not self._run.done:
            self._judge.poll(self._run)
        return self._run.state if self._run.reader.directory.is_dir() else None

    def close(self) -> None:
        self._run.reader.close()


def load_run(directory: Path, wall: Callable[[], int] = time.time_ns) -> RunState | None:
    """The state of one run; None: no such run."""
    if not directory.is_dir():
        return None
    follower = RunFollower(directory, wall)
    try:
        return follower.poll()
    finally:
        follower.close()


def _ended_status(end: RunEvent) -> Status:
    status = _STATUSES.get(str(end.data.get("status")))
    if status is not None:
        return status
    code = end.data.get("exit_code")
    if isinstance(code, int) and code:
        return "killed" if code < 0 else "failed"
    return "finished"


def _whole(value: object) -> int | None:
    return int(value) if isinstance(value, (int, float)) and value == value else None


def _step(last: float | None, end: RunEvent | None) -> int | None:
    """Of the last record; the end knows of steps whose records found no space."""
    known = _whole(last)
    if end is None or not end.step:  # 0: it ended before its first step
        return known
    return max(end.step, known or 0)


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None
