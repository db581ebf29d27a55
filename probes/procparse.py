"""Parsers for the files of one process under /proc. Pure, never raise on content."""

from __future__ import annotations

from typing import NamedTuple

from dctop.probes.files import U64_MAX, number, printable

PF_KTHREAD = 0x00200000
PF_FORKNOEXEC = 0x00000040
MAX_CMDLINE = 4096
"""Bytes of a command line that are kept: more than any screen shows."""
_STATES = frozenset("RSDZTtXxKWPI")
_PID_MAX = 1 << 31


class Stat(NamedTuple):
    """What is used of /proc/PID/stat (proc_pid_stat(5))."""

    pid: int
    comm: bytes
    """As the kernel gives it: any bytes but NUL, parentheses and newlines included."""
    state: str
    ppid: int
    flags: int
    majflt: int
    cpu_ticks: int
    """utime + stime, all threads."""
    nice: int
    threads: int
    start_ticks: int
    rss_pages: int
    start_stack: int
    """Address of the stack's bottom: another value means another exec. 0 where it may not be read."""


def parse_stat(data: bytes) -> Stat | None:
    """None where the content is not a stat line (truncated, strange, a number out of range).

    The name ends at the *last* `)`: it may hold parentheses, spaces and newlines itself.
    """
    opened, closed = data.find(b" ("), data.rfind(b") ")
    if opened < 1 or closed < opened + 2:
        return None
    f = data[closed + 2 :].split(b" ", 26)
    if len(f) < 22:
        return None
    try:
        pid, ppid, flags, majflt = int(data[:opened]), int(f[1]), int(f[6]), int(f[9])
        cpu = int(f[11]) + int(f[12])
        nice, threads, start, rss = int(f[16]), int(f[17]), int(f[19]), int(f[21])
        stack = int(f[25]) if len(f) > 26 else 0
    except ValueError:
        return None
    state = f[0].decode("latin-1")
    if state not in _STATES or not 0 < pid < _PID_MAX or not 0 <= ppid < _PID_MAX:
        return None
    if not (0 <= cpu <= U64_MAX and 0 <= start <= U64_MAX and 0 <= majflt <= U64_MAX):
        return None
    if not (-20 <= nice <= 19 and 0 <= threads < _PID_MAX and rss <= U64_MAX >> 12):
        return None
    # The kernel prints the sum of per-CPU counters as a signed number: slightly negative means none.
    return Stat(
        pid,
        data[opened + 2 : closed],
        state,
        ppid,
        flags,
        majflt,
        cpu,
        nice,
        threads,
        start,
        max(0, rss),
        stack,
    )


def is_thread(data: bytes) -> bool:
    """Whether a stat line is that of a thread which is not its process's first: those send no signal when
    they end (field exit_signal is -1)."""
    f = data[data.rfind(b")") + 2 :].split(b" ", 36)
    return len(f) > 35 and f[35] == b"-1"


_BLANKS = bytes.maketrans(b"\0\n\t", b"   ")


def join_args(data: bytes, limit: int = MAX_CMDLINE) -> str | None:
    """/proc/PID/cmdline -> arguments joined by spaces, printable; None where there are none.

    A program that wrote its own title leaves spaces instead of NULs, or a tail of NULs: both read well.
    """
    text = data[:limit].rstrip(b"\0 \n\t").translate(_BLANKS)
    return printable(text, limit) if text else None


def parse_io(data: bytes) -> tuple[int | None, int | None]:
    """/proc/PID/io -> (read_bytes, write_bytes): bytes fetched from and sent to storage."""
    return _io_field(data, b"\nread_bytes: "), _io_field(data, b"\nwrite_bytes: ")


def _io_field(data: bytes, mark: bytes) -> int | None:
    at = data.find(mark)
    if at < 0:
        return None
    at += len(mark)
    end = data.find(b"\n", at)
    return number(data[at:end]) if end > at else None


def parse_fields(data: bytes) -> dict[str, str]:
    """`Name:<white space>value` lines (/proc/PID/status, smaps_rollup, io) -> text by name, printable."""
    out: dict[str, str] = {}
    for line in data.split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon and name and b" " not in name:
            out[printable(name, 64)] = printable(value.strip(), 1024)
    return out


def kib(fields: dict[str, str], name: str) -> int | None:
    """The bytes of a `VmRSS:   123 kB` line; None where missing or no number."""
    value = fields.get(name)
    if value is None or not value.endswith(" kB"):
        return None
    n = number(value[:-3].encode())
    return None if n is None or n > U64_MAX >> 10 else n * 1024


def whole(fields: dict[str, str], name: str) -> int | None:
    """An unsigned integer of `parse_fields`."""
    value = fields.get(name)
    return None if value is None else number(value.encode())


def parse_nofile(data: bytes) -> tuple[int | None, int | None]:
    """/proc/PID/limits -> (soft, hard) limit of open files; None = unlimited or not read."""
    at = data.find(b"Max open files")
    if at < 0:
        return None, None
    end = data.find(b"\n", at)
    parts = data[at : end if end >= 0 else len(data)].split()
    return (number(parts[3]), number(parts[4])) if len(parts) >= 5 else (None, None)
