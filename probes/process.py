"""Every process of the node, cheaply: kept-open /proc/PID/stat, unchanged bytes are not even parsed.

Four steps, each measured (tests/benchmarks/bench_processes.py):

- A descriptor is kept a process, re-read with pread and compared as bytes: only what differs is parsed, and
  only then a new `Process` is made.
- Of an idle process with one thread /proc/PID/schedstat is read instead, a third of the kernel's work: while
  it is unchanged the process has not run, so its stat is unchanged but for what others do to it (a parent
  that ends, a new nice value, pages taken away). The first is looked for at once, the rest in rotation.
- Idle kernel threads are read in turns, a quarter a tick; above `CROWD` processes all idle ones are, above
  an eighth of it half of them a tick. One that wakes is thus seen up to four (two) ticks late, its CPU time
  spread over the time it took (`Process.span_s`).
- New processes are found by the last pid given (/proc/loadavg); /proc itself is listed once a minute.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import time
from collections.abc import Iterable
from pathlib import Path

from dctop.probes.base import Process, Sample, Value
from dctop.probes.cgroup_names import Placement, parse_cgroup
from dctop.probes.files import printable, read_some
from dctop.probes.pidwatch import PidWatch
from dctop.probes.procentry import CLOSED, NONE, Entry
from dctop.probes.procfds import FdBudget
from dctop.probes.procparse import (
    MAX_CMDLINE,
    PF_FORKNOEXEC,
    PF_KTHREAD,
    Stat,
    is_thread,
    join_args,
    parse_io,
    parse_stat,
)
from dctop.probes.usernames import UserNames

CROWD = 300
"""Above this idle processes are read in `TURNS` turns, above an eighth of it in two, below every tick."""
TURNS = 4
HOT_S = 10.0
"""A process that changed is read every tick for this long."""
IO_ROWS = 40
"""Processes whose /proc/PID/io is read each tick (a second read, and one that takes a lock in the kernel)."""
INFO_BUDGET = 200
"""Command lines and cgroups read a tick, so that a first look at a crowded node is not one long stall."""
INFO_IDLE_TICKS = 4
"""Every so many ticks the command line, owner and cgroup of one idle process are looked at again."""
CHECKED_IN = 60
"""Ticks within which the stat of every idle process is read although the process has not run."""
BIG = 32 << 20
"""... those below this size of memory a quarter as often."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_STAT_SIZE = 1024
_SCHED_SIZE = 64


class ProcessProbe:
    """All processes that may be seen, and summary gauges.

    `watched`: pids whose I/O is read whatever they do (the rows of a training run). `crowd`, `kept_fds`:
    for tests; the latter limits the descriptors kept (None: what RLIMIT_NOFILE allows, less what the rest
    of the program needs). GPU fields of the rows are None here: the GPU probe knows them.
    """

    name = "process"
    lane = "process"
    """A lane of its own: a command line is read from the process's memory, whose lock can be held long."""

    def __init__(
        self,
        proc: str | Path = "/proc",
        sys: str | Path = "/sys",
        *,
        crowd: int = CROWD,
        kept_fds: int | None = None,
        users: UserNames | None = None,
    ) -> None:
        self.period_s = 1.0
        self.watched: Iterable[int] = ()
        self._root = os.fspath(proc)
        self._crowd = crowd
        self._users = UserNames() if users is None else users
        self._fds = FdBudget(kept_fds)
        self._table: dict[str, Entry] = {}
        self._turns: list[dict[str, Entry]] = [{} for _ in range(TURNS)]
        self._hot: dict[str, Entry] = {}
        self._io: dict[str, Entry] = {}
        self._waiting: dict[str, Entry] = {}
        self._nameless: dict[str, Entry] = {}
        self._denied: set[str] = set()
        self._refresh: list[str] = []
        self._refresh_idle: list[str] = []
        self._unchecked: list[str] = []
        self._checks = self._check_count = 0
        self._orphaned: set[int] = set()
        self._sched = sched_works(self._root)
        self._states: dict[str, int] = dict.fromkeys("RSDZTtXxKWPI", 0)
        self._threads = 0
        self._rows: list[Process] = []
        self._regrouped = True
        self._tick = 0
        self._placements: dict[bytes, Placement] = {}
        self._admitted = 0
        self._now = self._before = 0.0
        self._pids = PidWatch(self._root)

    # -- one tick -----------------------------------------------------------------------------------

    def read(self) -> Sample:
        """Raises OSError where /proc cannot be listed."""
        mono, wall = time.monotonic_ns(), time.time_ns()
        now = mono / 1e9
        self._before, self._now = self._now, now
        self._tick += 1
        self._users.renew()
        self._membership(now)
        changed = self._scan(now)
        self._fill_info(changed)
        self._read_io(changed, now)
        rows = self._publish(changed)
        return Sample("process", mono, wall, self._summary(), rows, problems=self._problems())

    def close(self) -> None:
        for e in self._table.values():
            self._close(e)
        self._table.clear()
        self._pids.close()
        self._users.close()

    def _membership(self, now: float) -> None:
        """Take up who is new; drop who is known to be gone (who else went shows when it is read)."""
        table = self._table
        try:
            listed, candidates = self._pids.poll(now)
        except OSError as e:
            self._fds.relieve(e, self._shed)
            listed, candidates = self._pids.poll(now)
        for pid in candidates:
            name = str(pid)
            if name in table or self._admit(name, now, hot=True, maybe_thread=True):
                self._pids.settle(pid)
        if listed is None:
            return
        for gone in table.keys() - listed:
            self._drop(gone)
        self._denied &= listed
        new = [n for n in listed - table.keys() - self._denied if n.isdecimal() and n.isascii()]
        for name in sorted(new, key=int):
            self._admit(name, now, hot=self._tick > 1)

    def _admit(self, name: str, now: float, *, hot: bool, maybe_thread: bool = False) -> bool:
        """Take up a process; False where there is none of that number (any more).

        `maybe_thread`: the number may be a thread's, whose directory is not listed but can be opened.
        """
        e = Entry(int(name), f"{self._root}/{name}", self._admitted % TURNS)
        self._admitted += 1
        try:
            raw = self._read_stat(e)
            owner = os.stat(e.path).st_uid  # noqa: PTH116
        except (ProcessLookupError, FileNotFoundError):
            self._close(e)
            return False
        except OSError:
            self._close(e)
            self._denied.add(name)
            return True
        stat = parse_stat(raw)
        if stat is None or (maybe_thread and is_thread(raw)):
            self._close(e)
            return True
        e.raw, e.read_at = raw, now
        e.kernel = bool(stat.flags & PF_KTHREAD)
        e.uid = owner
        self._name_owner(name, e)
        self._identify(e, stat)
        e.row = self._make(e, stat)
        self._count(e.row, 1)
        self._table[name] = e
        self._turns[e.turn][name] = e
        self._waiting[name] = e
        self._regrouped = True
        if hot:
            e.hot_until = now + HOT_S
            self._hot[name] = e
        return True

    def _drop(self, name: str) -> None:
        e = self._table.pop(name)
        self._orphaned.add(e.pid)
        self._close(e)
        self._count(e.row, -1)
        for group in (self._turns[e.turn], self._hot, self._io, self._waiting, self._nameless):
            group.pop(name, None)
        self._regrouped = True

    # -- reading stat -------------------------------------------------------------------------------

    def _read_stat(self, e: Entry) -> bytes:
        """Through the kept descriptor, or, where there are none to spare, open-read-close."""
        if e.fd >= 0:
            return os.pread(e.fd, _STAT_SIZE, 0)
        return self._first(self._fds.open(f"{e.path}/stat", self._shed), e, "fd", _STAT_SIZE)

    def _first(self, fd: int, e: Entry, slot: str, size: int) -> bytes:
        """The first read of a file just opened; its descriptor is kept in `slot` if it may be."""
        try:
            data = os.pread(fd, size, 0)
        except OSError:
            os.close(fd)
            raise
        if self._fds.keep(fd):
            setattr(e, slot, fd)
        return data

    def _due(self) -> list[Entry]:
        table, turn = self._table, self._tick % TURNS
        if self._tick <= 2:  # the second tick finds out who is active
            return list(table.values())
        if len(table) <= self._crowd:
            hot = self._hot
            every = 0 if len(table) * 8 <= self._crowd else 1  # all of them, or those of every other turn
            return [
                e
                for n, e in table.items()
                if e.turn == turn or (not e.kernel and (e.turn ^ turn) & every == 0) or n in hot
            ]
        due = list(self._turns[turn].values())
        due += [e for e in self._hot.values() if e.turn != turn]
        return due

    def _scan(self, now: float) -> dict[str, Entry]:
        """Read those due; the entries whose row changed, by name."""
        changed: dict[str, Entry] = {}
        lost: list[Entry] = []
        pread = os.pread
        for e in self._due():
            if e.read_at == now:  # admitted just now
                continue
            fd = e.sched_fd
            try:
                if fd != NONE and e.hot_until < now:
                    if fd == CLOSED:
                        self._open_sched(e)
                    elif (sched := pread(fd, _SCHED_SIZE, 0)) == e.sched:
                        e.read_at = now
                        if e.fd >= 0 and e.awake_until < now:  # one descriptor an idle process is enough
                            self._fds.close(e.fd)
                            e.fd = CLOSED
                        continue
                    else:
                        e.sched, e.awake_until = sched, now + HOT_S
                raw = pread(e.fd, _STAT_SIZE, 0) if e.fd >= 0 else self._read_stat(e)
            except OSError:
                lost.append(e)
                continue
            if raw != e.raw and not self._changed(e, raw, now, changed):
                lost.append(e)
            e.read_at = now
        self._lose(lost, now, changed)
        self._lose(self._check(now, changed), now, changed)
        if self._hot:
            for name in [n for n, e in self._hot.items() if e.hot_until < now]:
                del self._hot[name]
        return changed

    def _lose(self, lost: list[Entry], now: float, changed: dict[str, Entry]) -> None:
        """Gone, or their pid is another's by now: then there is a new process of that number to take up."""
        for e in lost:
            name = str(e.pid)
            if self._table.get(name) is e:
                self._drop(name)
                changed.pop(name, None)
                self._admit(name, now, hot=True, maybe_thread=True)

    def _open_sched(self, e: Entry) -> None:
        """From now on ask schedstat first, where that is possible. The stat that goes with what it says now
        is still to be read: after it, so that nothing is missed."""
        e.sched_fd = NONE
        if self._sched and e.row.threads == 1:
            with contextlib.suppress(OSError):
                fd = self._fds.open(f"{e.path}/schedstat", self._shed)
                e.sched = self._first(fd, e, "sched_fd", _SCHED_SIZE)  # still NONE if it may not be kept

    def _check(self, now: float, changed: dict[str, Entry]) -> list[Entry]:
        """Read the stat of children whose parent ended, and of some idle processes in rotation. Those that
        are not the same process any more."""
        lost: list[Entry] = []
        orphaned, self._orphaned = self._orphaned, set()
        todo = [e for e in self._table.values() if e.row.ppid in orphaned] if orphaned else []
        if not self._unchecked:
            self._checks += 1
            least = 0 if self._checks % 4 == 0 else BIG
            self._unchecked = [
                n for n, e in self._table.items() if not e.kernel and (e.row.rss_bytes or 0) >= least
            ]
            self._check_count = len(self._unchecked) // (CHECKED_IN if least else 4 * CHECKED_IN) + 1
        for _ in range(min(len(self._unchecked), self._check_count)):
            e = self._table.get(self._unchecked.pop())
            if e is not None and e.hot_until < now:
                todo.append(e)
        for e in todo:
            raw = read_some(f"{e.path}/stat", _STAT_SIZE)
            if raw is not None and raw != e.raw and not self._changed(e, raw, now, changed):
                lost.append(e)
        return lost

    def _changed(self, e: Entry, raw: bytes, now: float, changed: dict[str, Entry]) -> bool:
        """Take new content in; False where it is not the same process any more."""
        stat = parse_stat(raw)
        if stat is None or stat.start_ticks != e.row.start_ticks:
            return False
        old = e.row
        span = now - e.read_at
        if (stat.comm, stat.flags & PF_FORKNOEXEC, stat.start_stack) != e.exec_key:
            self._identify(e, stat)
            e.asked = False
            self._waiting[str(e.pid)] = e
        row = self._make(e, stat, span if e.read_at < self._before else None)
        e.raw = raw
        used = stat.cpu_ticks - old.cpu_ticks
        e.activity = e.activity * 0.5 + used / max(span, 1e-3)
        if used or stat.state != old.state:
            e.hot_until = now + HOT_S
            self._hot[str(e.pid)] = e
        if stat.threads != old.threads:  # schedstat is the first thread's alone
            self._close_sched(e)
        if row != old:
            self._put(e, row, changed)
        return True

    def _identify(self, e: Entry, stat: Stat) -> None:
        if stat.comm != e.comm or not e.name:
            e.comm, e.name = stat.comm, printable(stat.comm, 64)
        e.exec_key = (stat.comm, stat.flags & PF_FORKNOEXEC, stat.start_stack)

    def _make(self, e: Entry, s: Stat, span_s: float | None = None) -> Process:
        placed = e.placed
        read, written = e.io
        return Process(
            e.pid, s.start_ticks, s.ppid, e.uid, e.user, e.name, e.args, s.state, s.cpu_ticks,
            s.rss_pages * _PAGE, s.threads, s.nice, s.majflt, read, written, placed.cgroup, placed.container,
            placed.job, None, None, span_s,
        )  # fmt: skip

    def _put(self, e: Entry, row: Process, changed: dict[str, Entry]) -> None:
        """Replace the entry's row; the counts follow."""
        old = e.row
        if old.state != row.state or old.threads != row.threads:
            self._count(old, -1)
            self._count(row, 1)
        e.row = row
        changed[str(e.pid)] = e

    def _count(self, row: Process, by: int) -> None:
        self._states[row.state] += by
        self._threads += by * row.threads

    # -- what is read once: owner, command line, cgroup ---------------------------------------------

    def _fill_info(self, changed: dict[str, Entry]) -> None:
        waiting = self._waiting
        if waiting:
            todo = list(waiting.items())
            if len(todo) > INFO_BUDGET:
                # The busy ones first; kernel threads, which have neither, do not count.
                todo.sort(key=lambda item: -item[1].row.cpu_ticks)
            left = INFO_BUDGET
            for name, e in todo:
                if left <= 0:
                    break
                left -= self._read_info(e, changed)
                # Seen in the middle of an exec it has a name already and no arguments yet: ask once more.
                if e.args is not None or e.kernel or e.asked:
                    del waiting[name]
                e.asked = True
        elif self._tick % 2:
            self._look_again(changed)
        if self._nameless:
            for name, e in list(self._nameless.items()):
                if self._name_owner(name, e):
                    self._put(e, e.row._replace(user=e.user), changed)

    def _look_again(self, changed: dict[str, Entry]) -> None:
        """One active process every other tick, in turn: what it is called and owned by can change while it
        runs. Now and then any process, which may have been moved to another cgroup."""
        if not self._refresh:
            self._refresh = list(self._hot)
        idle = self._tick % INFO_IDLE_TICKS == 1
        if idle and not self._refresh_idle:
            self._refresh_idle = [n for n, e in self._table.items() if not e.kernel]
        for group in (self._refresh, self._refresh_idle if idle else ()):
            e = self._table.get(group.pop()) if group else None
            if e is not None:
                self._read_info(e, changed)

    def _read_info(self, e: Entry, changed: dict[str, Entry]) -> int:
        """Read them; the cost in units of `INFO_BUDGET`."""
        if e.kernel:
            return 0
        try:
            uid = os.stat(e.path).st_uid  # noqa: PTH116
        except OSError:
            return 1
        if uid != e.uid:
            e.uid = uid
            self._name_owner(str(e.pid), e)
        if e.row.state != "Z":  # a zombie has no memory to read them from; keep what was known
            args = read_some(f"{e.path}/cmdline", MAX_CMDLINE)
            if args is not None:
                e.args = join_args(args)
            text = read_some(f"{e.path}/cgroup", 16384)
            if text is not None:
                e.placed = self._placement(text)
        placed, row = e.placed, e.row
        row = row._replace(
            uid=e.uid, user=e.user, name=e.name, cmdline=e.args, cgroup=placed.cgroup,
            container=placed.container, job=placed.job,
        )  # fmt: skip
        if row != e.row:
            self._put(e, row, changed)
        return 1

    def _placement(self, text: bytes) -> Placement:
        """Parsed once a text: many processes share few cgroups."""
        found = self._placements.get(text)
        if found is None:
            if len(self._placements) > 2000:
                self._placements.clear()
            found = self._placements[text] = parse_cgroup(text)
        return found

    def _name_owner(self, name: str, e: Entry) -> bool:
        """Set the entry's user; False (and asked again next tick) while the name is being looked up."""
        if e.uid is None:
            return True
        known, e.user = self._users.get(e.uid)
        if known:
            self._nameless.pop(name, None)
        else:
            self._nameless[name] = e
        return known

    # -- I/O ----------------------------------------------------------------------------------------

    def _read_io(self, changed: dict[str, Entry], now: float) -> None:
        wanted = self._io_wanted(now)
        for name in self._io.keys() - wanted.keys():
            e = self._io.pop(name)
            self._close_io(e)
            if e.io != (None, None):
                e.io = (None, None)
                self._put(e, e.row._replace(read_bytes=None, write_bytes=None), changed)
        for name, e in wanted.items():
            self._io[name] = e
            try:
                io = parse_io(self._io_bytes(e))
            except PermissionError:
                e.denied_io = True
                io = (None, None)
            except OSError:
                io = (None, None)
            if io != e.io:
                if e.io != (None, None):
                    e.io_until = now + HOT_S
                e.io = io
                self._put(e, e.row._replace(read_bytes=io[0], write_bytes=io[1]), changed)

    def _io_wanted(self, now: float) -> dict[str, Entry]:
        """The busiest of the active ones, those that did I/O lately, and the watched."""
        hot = {n: e for n, e in self._hot.items() if not e.denied_io}
        if len(hot) > IO_ROWS:
            top = heapq.nlargest(
                IO_ROWS, hot.items(), key=lambda item: (item[1].io_until > now, item[1].activity)
            )
            hot = dict(top)
        for pid in self.watched:
            e = self._table.get(str(pid))
            if e is not None and not e.denied_io:
                hot[str(pid)] = e
        return hot

    def _io_bytes(self, e: Entry) -> bytes:
        if e.io_fd >= 0:
            return os.pread(e.io_fd, 512, 0)
        return self._first(self._fds.open(f"{e.path}/io", self._shed), e, "io_fd", 512)

    # -- what is handed out -------------------------------------------------------------------------

    def _publish(self, changed: dict[str, Entry]) -> list[Process]:
        """The table. The very list handed out before while nothing in it changed; never one that is
        altered later, because earlier samples hold it."""
        if self._regrouped:
            self._regrouped = False
            self._rows = rows = []
            for i, e in enumerate(self._table.values()):
                e.index = i
                rows.append(e.row)
        elif changed:
            self._rows = rows = self._rows.copy()
            for e in changed.values():
                rows[e.index] = e.row
        return self._rows

    def _summary(self) -> dict[str, Value]:
        states = self._states
        return {
            "process.count": len(self._table),
            "process.running": states["R"],
            "process.blocked": states["D"],
            "process.zombies": states["Z"],
            "process.stopped": states["T"] + states["t"],
            "process.threads": self._threads,
        }

    def _problems(self) -> tuple[str, ...]:
        out: list[str] = []
        if self._denied:
            out.append(f"{self._root}: {len(self._denied)} processes may not be read (hidepid)")
        elif self._table and "1" not in self._table:
            out.append(f"{self._root}: only some processes are visible (hidepid)")
        if self._fds.short:
            out.append(f"{self._fds.short}: reading processes costs more")
        return tuple(out)

    # -- descriptors --------------------------------------------------------------------------------

    def _close(self, e: Entry) -> None:
        if e.fd >= 0:
            self._fds.close(e.fd)
            e.fd = CLOSED
        self._close_sched(e)
        self._close_io(e)

    def _close_sched(self, e: Entry) -> None:
        if e.sched_fd >= 0:
            self._fds.close(e.sched_fd)
        e.sched_fd = CLOSED

    def _close_io(self, e: Entry) -> None:
        if e.io_fd >= 0:
            self._fds.close(e.io_fd)
            e.io_fd = CLOSED

    def _shed(self, n: int) -> None:
        """Give back up to `n` descriptors, those of idle processes first."""
        for e in sorted(self._table.values(), key=lambda e: e.hot_until):
            if n <= 0:
                return
            n -= (e.fd >= 0) + (e.sched_fd >= 0) + (e.io_fd >= 0)
            self._close(e)


def sched_works(root: str) -> bool:
    """Whether /proc/PID/schedstat counts (it reads `0 0 0` where the kernel keeps no such statistics)."""
    text = read_some(f"{root}/self/schedstat", _SCHED_SIZE)
    return text is not None and len(text.split()) == 3 and not text.startswith(b"0 0 0")
