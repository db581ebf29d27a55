"""What a line of the kernel log means: pure functions and one small machine that joins lines.

A record as /dev/kmsg hands it out (Documentation/ABI/testing/dev-kmsg):

    6,339,5140900,-;text of the line\\n SUBSYSTEM=pci\\n DEVICE=+pci:0000:3b:00.0\\n

priority (facility x 8 + level), sequence number, microseconds since boot, flags, then the text with
unprintable bytes as \\x0a, then lines that begin with a space. Further comma fields may come.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from dctop.probes.base import KernelEvent
from dctop.probes.files import U64_MAX

OOM, XID, HUNG, LOCKUP = "oom-kill", "xid", "hung-task", "soft-lockup"
MCE, IO, READONLY, OTHER = "mce", "io-error", "fs-readonly", "other"

_TEXT_MAX = 2000
_WORDS = (
    b"oom-kill:",
    b"illed process ",  # Killed process: with or without words before it
    b"NVRM: ",
    b"SXid ",
    b"blocked ",
    b"LOCKUP",
    b"lockup",
    b"rcu",
    b"ardware ",  # [Hardware Error], Hardware error from APEI
    b"EDAC ",
    b"Machine ",
    b" error",
    b"I/O ",
    b"read-only",
    b"readonly",
    b"Shutting down",
    b"BUG: ",
    b"Oops",
    b"panic",
)
"""A record without any of these is none of ours: a dozen substring searches cost less than one pattern."""


class Record(NamedTuple):
    """One kernel record that passed the filter. `usec` since boot on the kernel's log clock."""

    seq: int
    usec: int
    text: str
    device: str | None


def parse_record(data: bytes) -> Record | None:
    """A kernel-facility record that may matter; None for all others, whatever the bytes. Never raises."""
    head, semicolon, body = data.partition(b";")
    fields = head.split(b",")
    if not semicolon or len(fields) < 3 or not any(word in body for word in _WORDS):
        return None
    try:
        priority, seq, usec = int(fields[0]), int(fields[1]), int(fields[2])
    except ValueError:
        return None
    if not (0 <= priority <= 7 and 0 <= seq <= U64_MAX and 0 <= usec <= U64_MAX // 1000):
        return None  # facility 0 is the kernel's; everything a program writes has another
    line, *more = body.split(b"\n")
    device = None
    for extra in more:
        if extra.startswith(b" DEVICE="):
            device = _text(extra[8:])
    return Record(seq, usec, _text(line), device)


def _text(raw: bytes) -> str:
    text = raw[:_TEXT_MAX].decode("utf-8", "replace")
    text = _ESCAPE.sub(_unescape, text)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return text.strip()


_ESCAPE = re.compile(r"\\x([0-9a-fA-F]{2})")


def _unescape(m: re.Match[str]) -> str:
    code = int(m[1], 16)
    return chr(code) if 32 <= code < 127 else " "


# -- the lines ----------------------------------------------------------------------------------------------

Found = tuple[str, dict[str, str]]
"""(kind, fields)"""
_Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], Found | None]]


def _named(kind: str, **constant: str) -> Callable[[re.Match[str]], Found]:
    """An event whose fields are the pattern's named groups that matched."""

    def make(m: re.Match[str]) -> Found:
        return kind, {k: v.strip() for k, v in m.groupdict().items() if v} | constant

    return make


_PID = re.compile(r"pid=(\d+)")
_NAME = re.compile(r"name=([^,<]+)")
_XID_MORE = re.compile(r"^(?:,? ?pid=[^,]*)?(?:, name=[^,]*)?(?:, )?")


def _xid(m: re.Match[str]) -> Found:
    rest = m["rest"] or ""
    fields = {"code": m["code"], "pci": m["pci"].lower()}
    if (pid := _PID.search(rest)) is not None:
        fields["pid"] = pid[1]
    if (name := _NAME.search(rest)) is not None:
        fields["task"] = name[1].strip()
    detail = _XID_MORE.sub("", rest, count=1).strip(" ,")
    if detail:
        fields["detail"] = detail
    return XID, fields


def _edac(m: re.Match[str]) -> Found:
    kind = {"CE": "corrected", "UE": "uncorrected"}[m["what"]]
    return MCE, {"controller": m["mc"], "count": m["n"], "severity": kind}


def _p(pattern: str, make: Callable[[re.Match[str]], Found | None]) -> _Rule:
    return re.compile(pattern), make


_DEV = r"(?P<device>[\w.!+-]+)"
_RULES: tuple[_Rule, ...] = (
    _p(
        r"^oom-kill:constraint=(?P<constraint>\w+),(?:.*?oom_memcg=(?P<oom_memcg>.*?),)?"
        r".*?task_memcg=(?P<memcg>.*?),task=(?P<task>.*),pid=(?P<pid>\d+),uid=(?P<uid>\d+)$",
        _named(OOM),
    ),
    _p(
        r"^(?:(?P<scope>Memory cgroup out of memory|Out of memory)(?: \(\w+\))?: )?"
        r"Killed process (?P<pid>\d+),? \((?P<task>.*)\),? (?:UID \d+, )?total-vm:(?P<total_vm>\d+ ?kB)"
        r"(?:, anon-rss:(?P<anon_rss>\d+ ?kB))?(?:, file-rss:(?P<file_rss>\d+ ?kB))?"
        r"(?:, shmem-rss:(?P<shmem_rss>\d+ ?kB))?(?:,? UID:(?P<uid>\d+))?",
        _named(OOM),
    ),
    _p(r"^NVRM: Xid \((?:PCI:)?(?P<pci>[0-9a-fA-F:.]+)\): (?P<code>\d+)(?P<rest>,.*|\b.*)?$", _xid),
    _p(
        r"^NVRM: .*?(?P<pci>[0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.\d)?).*fallen off the bus",
        _named(OTHER, about="gpu-lost"),
    ),
    _p(
        r"^nvidia-nvswitch(?P<switch>\d+): SXid \((?:PCI:)?(?P<pci>[0-9a-fA-F:.]+)\): (?P<code>\d+)"
        r"(?:, (?P<severity>Fatal|Non-fatal))?",
        _named(OTHER, about="sxid"),
    ),
    _p(
        r"^INFO: task (?P<task>.*):(?P<pid>\d+) (?:is )?blocked (?:in I/O wait )?"
        r"for more than (?P<seconds>\d+) sec",
        _named(HUNG),
    ),
    _p(
        r"BUG: soft lockup - CPU#(?P<cpu>\d+) stuck for (?P<seconds>\d+)s!"
        r"(?: \[(?P<task>.*):(?P<pid>\d+)\])?",
        _named(LOCKUP),
    ),
    _p(r"[Ww]atchdog(?:: CPU\d+:)?:? .*hard LOCKUP(?: on cpu (?P<cpu>\d+))?", _named(LOCKUP, variant="hard")),
    _p(
        r"^(?:rcu: )?INFO: rcu\w* (?:self-)?detected (?:expedited )?stalls?(?: on (?:CPU|CPUs))?",
        _named(LOCKUP, variant="rcu-stall"),
    ),
    _p(
        r"^(?:mce: )?(?:\{\d+\})?\[Hardware Error\]: .*?CPU:? ?(?P<cpu>\d+).*Machine Check"
        r"(?: Exception| Event)?: ?(?P<status>\w+)(?: Bank (?P<bank>\d+))?",
        _named(MCE),
    ),
    _p(r"^(?:mce: )?\[Hardware Error\]: Machine check events logged", _named(MCE, severity="corrected")),
    _p(r"^(?:\{\d+\})?\[Hardware Error\]: Hardware error from APEI", _named(MCE)),
    _p(r"^EDAC (?P<mc>MC\d+): (?P<n>\d+) (?P<what>CE|UE) ", _edac),
    _p(
        r"^(?:(?:print|blk_update)_request: )?(?P<what>I/O|critical (?:medium|target|nexus|space allocation)"
        rf"|protection|timeout|device resource|(?:un)?recoverable transport) error, dev {_DEV}, "
        r"sector (?P<sector>\d+)(?: op (?P<op>\S+))?",
        _named(IO),
    ),
    _p(rf"^Buffer I/O error on dev(?:ice)? {_DEV}, logical block (?P<block>\d+)", _named(IO)),
    _p(r"^nvme (?P<device>nvme\d+): I/O (?:tag )?\d+.* timeout, (?P<what>.*)$", _named(IO)),
    _p(rf"^(?P<fs>EXT[234]-fs|F2FS-fs) \({_DEV}\): Remounting filesystem read-only", _named(READONLY)),
    _p(rf"^(?P<fs>BTRFS) \w+ \(device {_DEV}.*?\): forced readonly", _named(READONLY)),
    _p(rf"^(?P<fs>XFS) \({_DEV}\): .*(?:Shutting down filesystem|has been shut down)", _named(READONLY)),
    _p(rf"^(?P<fs>EXT[234]-fs) error \(device {_DEV}\)", _named(IO)),
    _p(rf"^(?P<fs>XFS) \({_DEV}\): (?:metadata I/O error|log I/O error)", _named(IO)),
    _p(rf"^(?P<fs>BTRFS) (?:error|critical) \(device {_DEV}", _named(IO)),
    _p(r"^(?:nfs: server|NFS: server) (?P<server>\S+) (?:error|not responding)", _named(IO)),
    _p(
        r"^(?:Kernel panic|BUG: (?:unable to handle|kernel NULL)|Oops: |general protection fault)",
        _named(OTHER, about="kernel-fault"),
    ),
)


def classify(text: str) -> Found | None:
    """(kind, fields) of a kernel line, or None where it is none of those that matter. Never raises."""
    for pattern, make in _RULES:
        m = pattern.search(text)
        if m is not None:
            return make(m)
    return None


class Collector:
    """Turns records into events; joins the two lines of one OOM kill into one event.

    The kernel writes `oom-kill:constraint=...,pid=N` and then, a few lines later, `Killed process N (...)`.
    The first is held until the second comes, or until a drain finds it a round old.
    """

    def __init__(self, old: bool = False) -> None:
        self._old = {"old": "1"} if old else {}
        self._events: list[KernelEvent] = []
        self._held: KernelEvent | None = None
        self._held_rounds = 0

    def feed(self, record: Record, wall_ns: int) -> None:
        found = classify(record.text)
        if found is None:
            return
        kind, fields = found
        if record.device is not None:
            fields.setdefault("device", record.device)
        event = KernelEvent(record.seq, wall_ns, kind, record.text, fields | self._old)
        if kind == OOM and "constraint" in fields:
            self._release()
            self._held, self._held_rounds = event, 0
            return
        if kind == OOM and self._held is not None and self._held.fields.get("pid") == fields.get("pid"):
            event = KernelEvent(record.seq, wall_ns, kind, record.text, {**self._held.fields, **event.fields})
            self._held = None
        self._events.append(event)

    def drain(self, ended: bool = True) -> list[KernelEvent]:
        """The finished events. `ended`: nothing more is waiting, so a held line has waited one round."""
        if self._held is not None and ended:
            if self._held_rounds or self._old:
                self._release()
            self._held_rounds += 1
        events, self._events = self._events, []
        return events

    def _release(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._events.append(held)
