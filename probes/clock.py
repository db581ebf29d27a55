"""The node's clock: what the kernel's time discipline says (adjtimex), and whether somebody set the clock.

adjtimex with modes = 0 only reads and needs no privilege, but seccomp profiles of containers refuse it
(EPERM): then only `clock.step_ns` has a value. struct timex as in linux/timex.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from dctop.probes.base import Sample, Value

STA_UNSYNC = 0x0040
STA_NANO = 0x2000
STEP_NOISE_NS = 100_000
"""Both clocks are slewed together, so only setting moves them apart; what is left is the reading itself."""
_TRIES = 3
_DISCIPLINE_READS = 5
"""What the time discipline says is read every fifth time: it moves over minutes. A step is looked for each
time."""

_DISCIPLINE = ("clock.offset_us", "clock.max_error_us", "clock.freq_ppm", "clock.synced")
_long = ctypes.c_long


class Timex(ctypes.Structure):
    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", _long),
        ("freq", _long),
        ("maxerror", _long),
        ("esterror", _long),
        ("status", ctypes.c_int),
        ("constant", _long),
        ("precision", _long),
        ("tolerance", _long),
        ("time_sec", _long),
        ("time_usec", _long),
        ("tick", _long),
        ("ppsfreq", _long),
        ("jitter", _long),
        ("shift", ctypes.c_int),
        ("stabil", _long),
        ("jitcnt", _long),
        ("calcnt", _long),
        ("errcnt", _long),
        ("stbcnt", _long),
        ("tai", ctypes.c_int),
        ("reserved", ctypes.c_int * 11),
    )


class Adjtimex:
    """Reads the kernel's time discipline into one buffer; raises OSError."""

    def __init__(self) -> None:
        self._call = ctypes.CDLL(None, use_errno=True).adjtimex
        self._buffer = Timex()
        self._pointer = ctypes.byref(self._buffer)

    def __call__(self) -> Timex:
        self._buffer.modes = 0
        if self._call(self._pointer) < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return self._buffer


def boottime_ns() -> int:
    """Monotonic time that goes on while the machine is suspended, so that a suspend is no clock step."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class ClockProbe:
    """`adjtimex`, `wall`, `steady`: the clocks to read; tests bring their own."""

    name = "clock"
    lane = "proc"

    def __init__(
        self,
        proc: str | Path = "/proc",
        sys: str | Path = "/sys",
        adjtimex: Callable[[], Timex] | None = None,
        wall: Callable[[], int] = time.time_ns,
        steady: Callable[[], int] = boottime_ns,
    ) -> None:
        self.period_s = 1.0
        self._adjtimex = adjtimex
        self._wall, self._steady = wall, steady
        self._before: int | None = None
        self._count = 0
        self._said: dict[str, Value] = {}
        self._problems: tuple[str, ...] = ()

    def read(self) -> Sample:
        mono, wall = time.monotonic_ns(), time.time_ns()
        step = self._step()
        if self._count % _DISCIPLINE_READS == 0:
            self._discipline()
        self._count += 1
        return Sample("clock", mono, wall, {**self._said, "clock.step_ns": step}, problems=self._problems)

    def close(self) -> None:
        return

    def _discipline(self) -> None:
        self._said = dict.fromkeys(_DISCIPLINE)
        self._problems = ()
        try:
            if self._adjtimex is None:
                self._adjtimex = Adjtimex()
            t = self._adjtimex()
        except (OSError, AttributeError) as e:
            self._problems = (_refused(e),)
            return
        said = (
            t.offset / 1000 if t.status & STA_NANO else float(t.offset),
            t.maxerror,
            t.freq / 65536,
            0 if t.status & STA_UNSYNC else 1,
        )
        self._said = dict(zip(_DISCIPLINE, said, strict=True))

    def _step(self) -> int | None:
        """How far the wall clock moved against the steady one since the last call; None the first time."""
        best: tuple[int, int] | None = None
        for _ in range(_TRIES):
            a, wall, b = self._steady(), self._wall(), self._steady()
            if best is None or b - a < best[0]:
                best = (b - a, wall - (a + b) // 2)
            if b - a <= STEP_NOISE_NS // 2:
                break
        assert best is not None
        window, apart = best
        before, self._before = self._before, apart
        if before is None:
            return None
        step = apart - before
        return step if abs(step) > max(STEP_NOISE_NS, 2 * window) else 0


def _refused(e: OSError | AttributeError) -> str:
    if isinstance(e, OSError) and e.errno in (errno.EPERM, errno.ENOSYS):
        return "adjtimex: not permitted here (container): whether the clock is synchronised is unknown"
    return f"adjtimex: {e}"
