"""What the network's links are: speed, carrier, hardware or not; InfiniBand ports.

Apart from the traffic counters because reading an interface's speed or carrier takes the network stack's
global lock, which a driver in trouble may hold for seconds.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from dctop.probes.base import Sample, Value, series
from dctop.probes.files import number, read_some, reason
from dctop.probes.infiniband import InfiniBand
from dctop.probes.nics import followed

SPEED_EVERY = 5
"""Speed is asked for once in so many readings, and at once when a link comes or goes."""
_UP, _DOWN = b"up", (b"down", b"lowerlayerdown", b"notpresent", b"dormant")


class LinksProbe:
    """Link facts of the interfaces below /sys/class/net (those of the own network namespace)."""

    name = "links"
    lane = "links"

    def __init__(self, proc: str | Path = "/proc", sys: str | Path = "/sys") -> None:
        # InfiniBand's counters are traffic, to be seen as it flows; link states change rarely.
        self.period_s = 2.0 if (Path(sys) / "class" / "infiniband").is_dir() else 5.0
        self._root = Path(sys) / "class" / "net"
        self._links: dict[str, _Link] = {}
        self._infiniband = InfiniBand(sys)

    def read(self) -> Sample:
        mono, wall = time.monotonic_ns(), time.time_ns()
        values: dict[str, Value] = {}
        problems: tuple[str, ...] = ()
        try:
            names = followed(sorted(os.listdir(self._root)))  # noqa: PTH208
        except OSError as e:
            names, problems = [], (reason(self._root, e),)
        links = self._links
        self._links = {n: links.get(n) or _Link(self._root / n, n) for n in names if n != "bonding_masters"}
        for link in self._links.values():
            link.read(values)
        self._infiniband.read(values)
        return Sample("links", mono, wall, values, problems=problems)

    def close(self) -> None:
        self._infiniband.close()


class _Link:
    """One interface. Whether there is hardware behind it does not change while it exists: an interface
    that is made anew under the same name has another index, and is looked at again."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._keys = tuple(series(f"net.{m}", nic=name) for m in ("speed_mbps", "up", "virtual"))
        self._index: int | None = None
        self._virtual: int | None = None
        self._has_speed = False
        self._speed: int | None = None
        self._up: int | None = None
        self._wait = 0

    def read(self, values: dict[str, Value]) -> None:
        index = number(read_some(self._path / "ifindex", 64))
        if index != self._index or self._virtual is None:
            self._index, self._wait = index, 0
            hardware = (self._path / "device").exists()
            self._virtual = None if index is None else int(not hardware)
            # veth and tun report a made-up 10 Gbit/s; a bond reports the sum of its members.
            self._has_speed = hardware or (self._path / "bonding").is_dir()
        up = self._carrier()
        if up != self._up:
            self._up, self._wait = up, 0
        if self._wait <= 0:
            self._wait = SPEED_EVERY
            self._speed = parse_speed(read_some(self._path / "speed", 64)) if self._has_speed else None
        self._wait -= 1
        values.update(zip(self._keys, (self._speed, up, self._virtual)))

    def _carrier(self) -> int | None:
        """operstate needs no lock; where it does not know (loopback, tun), the carrier does."""
        state = (read_some(self._path / "operstate", 64) or b"").strip()
        if state == _UP:
            return 1
        if state in _DOWN:
            return 0
        carrier = number(read_some(self._path / "carrier", 64))
        return None if carrier is None else int(carrier != 0)


def parse_speed(text: bytes | None) -> int | None:
    """Mbit/s; None for -1, 0 and 4294967295, by which drivers say that they do not know."""
    n = number(text)
    return n if n is not None and 0 < n < (1 << 32) - 1 else None
