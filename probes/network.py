"""Traffic of the interfaces and of TCP: /proc/net/dev, /proc/net/snmp, /proc/net/netstat.

Link speed and state sit behind locks of the network stack and are read by `links.py` in its own lane.
"""

from __future__ import annotations

import time
from pathlib import Path

from dctop.probes.base import KeptFile, Sample, Value, series
from dctop.probes.files import number, printable, reason, strange
from dctop.probes.nics import MAX_NICS, followed

_IDS = (
    "rx_bytes", "rx_packets", "rx_errors", "rx_drops", "tx_bytes", "tx_packets", "tx_errors", "tx_drops",
)  # fmt: skip
_COLUMNS = (0, 1, 2, 3, 8, 9, 10, 11)
_TCP = (
    (b"RetransSegs", "tcp.retrans_segs"),
    (b"OutSegs", "tcp.out_segs"),
    (b"InSegs", "tcp.in_segs"),
    (b"CurrEstab", "tcp.established"),
)
_TCP_EXT = ((b"ListenOverflows", "tcp.listen_overflows"),)
_Fields = tuple[tuple[bytes, str], ...]


class NetworkProbe:
    """Counters of the own network namespace. The loopback is among the interfaces (`net.virtual` = 1).

    `rx_drops` holds what the kernel sums there: packets of unknown protocols and VLANs as well as those
    missed for want of buffers.
    """

    name = "network"
    lane = "proc"

    def __init__(self, proc: str | Path = "/proc", sys: str | Path = "/sys") -> None:
        self.period_s = 1.0
        root = Path(proc) / "net"
        self._dev_path = root / "dev"
        self._dev = KeptFile(self._dev_path, 8192)
        self._tables = (
            _Table(root / "snmp", b"Tcp:", _TCP),
            _Table(root / "netstat", b"TcpExt:", _TCP_EXT),
        )
        self._names: list[bytes] = []
        self._keys: dict[bytes, tuple[str, ...]] = {}
        self._left_out = 0

    def read(self) -> Sample:
        mono, wall = time.monotonic_ns(), time.time_ns()
        values: dict[str, Value] = {}
        problems: list[str] = []
        try:
            data = self._dev.read()
        except OSError as e:
            problems.append(reason(self._dev_path, e))
        else:
            self._interfaces(data, values, problems)
        for table in self._tables:
            table.read(values, problems)
        return Sample("network", mono, wall, values, problems=tuple(problems))

    def close(self) -> None:
        self._dev.close()
        for table in self._tables:
            table.close()

    def _interfaces(self, data: bytes, values: dict[str, Value], problems: list[str]) -> None:
        rows = split_dev(data)
        names = [name for name, _ in rows]
        if names != self._names:
            self._rename(names)
        keys = self._keys
        for name, rest in rows:
            mine = keys.get(name)
            if mine is None:
                continue
            numbers = parse_dev(rest)
            if numbers is None:
                problems.append(f"{strange(self._dev_path)} ({printable(name, 64)})")
                values.update(dict.fromkeys(mine))
            else:
                values.update(zip(mine, numbers))
        if not rows:
            problems.append(strange(self._dev_path))
        elif self._left_out:
            problems.append(f"{self._left_out} interfaces are not followed (at most {MAX_NICS} are)")

    def _rename(self, names: list[bytes]) -> None:
        self._names = names
        texts = {printable(n, 64): n for n in names}
        self._keys = {
            texts[text]: tuple(series(f"net.{i}", nic=text) for i in _IDS) for text in followed(texts)
        }
        self._left_out = len(names) - len(self._keys)


def split_dev(data: bytes) -> list[tuple[bytes, bytes]]:
    """/proc/net/dev -> (interface, its numbers). A counter may follow the colon without a space."""
    out = []
    for line in data.splitlines():
        name, colon, rest = line.rpartition(b":")
        name = name.strip()
        if colon and name and b"|" not in name:
            out.append((name, rest))
    return out


def parse_dev(rest: bytes) -> tuple[int, ...] | None:
    """The numbers of one interface in the order of `_IDS`; None where they are not understood."""
    fields = rest.split()
    if len(fields) < 12:
        return None
    out = []
    for column in _COLUMNS:
        n = number(fields[column])
        if n is None:
            return None
        out.append(n)
    return tuple(out)


class _Table:
    """snmp or netstat: pairs of lines `Tcp: names...`, `Tcp: numbers...`. Fields are found by name; where
    they stand is remembered for as long as the line of names is the same."""

    def __init__(self, path: Path, tag: bytes, wanted: _Fields) -> None:
        self._path, self._tag, self._wanted = path, tag, wanted
        self._file = KeptFile(path, 8192)
        self._heads: bytes = b""
        self._places: tuple[tuple[int, str], ...] = ()

    def read(self, values: dict[str, Value], problems: list[str]) -> None:
        values.update(dict.fromkeys(key for _, key in self._wanted))
        try:
            data = self._file.read()
        except OSError as e:
            problems.append(reason(self._path, e))
            return
        pair = find_pair(data, self._tag)
        if pair is None:
            problems.append(strange(self._path))
            return
        heads, numbers = pair
        if heads != self._heads:
            names = heads.split()
            self._heads = heads
            self._places = tuple((names.index(n), key) for n, key in self._wanted if n in names)
        fields = numbers.split()
        for place, key in self._places:
            values[key] = number(fields[place]) if place < len(fields) else None

    def close(self) -> None:
        self._file.close()


def find_pair(data: bytes, tag: bytes) -> tuple[bytes, bytes] | None:
    """The line of names and the line of numbers of `tag`; None where either is missing."""
    mark = b"\n" + tag + b" "
    text = b"\n" + data
    first = text.find(mark)
    second = text.find(mark, first + 1) if first >= 0 else -1
    if second < 0:
        return None
    end = text.find(b"\n", first + 1)
    stop = text.find(b"\n", second + 1)
    return text[first + 1 : end], text[second + 1 : stop if stop >= 0 else len(text)]
