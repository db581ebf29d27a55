"""Kernel records that matter, from /dev/kmsg: OOM kills, GPU Xids, hung tasks, lock-ups, MCEs, I/O errors.

Only records of the kernel facility count: what a program writes to /dev/kmsg gets the user facility from
the kernel, so it cannot raise an alert. What the lines mean is in `kmsg.py`.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from pathlib import Path

from dctop.probes.base import KernelEvent, Sample
from dctop.probes.kmsg import Collector, Record, parse_record

_RECORD_MAX = 16384
_BATCH = 4000
"""Records taken in one read: a full buffer of 100,000 old ones must not stop the other threads."""
_RETRY_READS = 60


class KernelProbe:
    """Follows the log from now on; what was in it before is handed out once, marked `old` = "1".

    Two descriptors: one stands at the end when the probe starts and sees what is new, the other reads
    what was there before. So old and new are told apart exactly, whatever the records' clocks say.
    """

    name = "kernel"
    lane = "proc"  # the log is read without blocking

    def __init__(
        self, proc: str | Path = "/proc", sys: str | Path = "/sys", kmsg: str | Path = "/dev/kmsg"
    ) -> None:
        self.period_s = 1.0
        self._kmsg = os.fspath(kmsg)
        self._restrict = Path(proc) / "sys/kernel/dmesg_restrict"
        self._live = -1
        self._past = -1
        self._first_live: int | None = None
        self._collector = Collector()
        self._past_collector = Collector(old=True)
        self._count = 0
        self._lost = 0
        self._wait = 0
        self._problem: str | None = None
        self._read_wall = 0

    def read(self) -> Sample:
        mono, wall = time.monotonic_ns(), time.time_ns()
        events: list[KernelEvent] = []
        if self._live < 0 and self._wait > 0:
            self._wait -= 1
        elif self._live < 0:
            self._open()
        if self._live >= 0:
            # Old ones first: a record written between the two reads is then in both, and the live one counts.
            past = self._read_past(wall - mono)
            new = self._read_live(wall - mono)
            first = self._first_live
            events = [e for e in past if first is None or e.seq < first]
            events += new
            self._count += len(new)
        problems = [] if self._problem is None else [self._problem]
        if self._lost:
            problems.append(f"{self._kmsg}: overwritten {self._lost} times before it could be read")
        count = self._count if self._live >= 0 else None
        return Sample(
            "kernel", mono, wall, {"kernel.records": count}, events=events, problems=tuple(problems)
        )

    def close(self) -> None:
        for fd in (self._live, self._past):
            if fd >= 0:
                os.close(fd)
        self._live = self._past = -1

    def _open(self) -> None:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self._live = os.open(self._kmsg, flags)
            os.lseek(self._live, 0, os.SEEK_END)
            self._past = os.open(self._kmsg, flags)
            os.lseek(self._past, 0, os.SEEK_SET)
        except OSError as e:
            self.close()
            self._problem, self._wait = self._refused(e), _RETRY_READS
            return
        self._problem = None
        self._read_wall = time.time_ns()

    def _refused(self, e: OSError) -> str:
        if e.errno in (errno.EPERM, errno.EACCES):
            hint = "run as root, or with the capability CAP_SYSLOG"
            try:
                if self._restrict.read_bytes().strip() == b"1":
                    hint += ", or set kernel.dmesg_restrict=0"
            except OSError:
                pass
            return f"{self._kmsg}: not permitted ({hint}); kernel events are not seen"
        if e.errno == errno.ENOENT:
            return f"{self._kmsg}: not available (container?); kernel events are not seen"
        return f"{self._kmsg}: {e.strerror}; kernel events are not seen"

    def _read_live(self, wall_less_mono: int) -> Sequence[KernelEvent]:
        records, more = self._take(self._live)
        now = time.time_ns()
        # The printk clock drifts against the monotonic one by seconds a month, but a new record was
        # written between the previous reading and this one. Where there is more than one batch the
        # writing may lie further back: then only the upper bound holds.
        earliest = self._read_wall
        if records and self._first_live is None:
            self._first_live = records[0].seq
        for record in records:
            wall = record.usec * 1000 + wall_less_mono
            self._collector.feed(record, min(max(wall, earliest), now))
        if not more:
            self._read_wall = now
        return self._collector.drain(ended=not more)

    def _read_past(self, wall_less_mono: int) -> Sequence[KernelEvent]:
        if self._past < 0:
            return ()
        records, more = self._take(self._past)
        now = time.time_ns()
        first = self._first_live
        for record in records:
            if first is not None and record.seq >= first:
                more = False
                break
            self._past_collector.feed(record, min(record.usec * 1000 + wall_less_mono, now))
        if not more:
            fd, self._past = self._past, -1
            os.close(fd)
        return self._past_collector.drain(ended=not more)

    def _take(self, fd: int) -> tuple[list[Record], bool]:
        """Kernel records waiting on `fd`, at most a batch, and whether there may be more."""
        records: list[Record] = []
        for _ in range(_BATCH):
            try:
                data = os.read(fd, _RECORD_MAX)
            except BlockingIOError:
                return records, False
            except OSError as e:
                if e.errno == errno.EPIPE:  # the buffer went round; reading goes on with the oldest left
                    self._lost += 1
                    continue
                if e.errno == errno.EINVAL:  # a record longer than any the kernel writes: it is passed over
                    continue
                self._problem = f"{self._kmsg}: {e.strerror}"
                return records, False
            if not data:
                return records, False
            record = parse_record(data)
            if record is not None:
                records.append(record)
        return records, True
