"""InfiniBand and RoCE ports: /sys/class/infiniband. A counter may be a question to the adapter's firmware
that takes milliseconds, so this is read by the links probe, never in the lane of the plain files."""

from __future__ import annotations

import os
from pathlib import Path

from dctop.probes.base import KeptFile, Value, series
from dctop.probes.files import U64_MAX, decimal, number

MAX_PORTS = 64
WORD = 4
"""The data counters count words of four bytes (InfiniBand specification, PortRcvData)."""
_COUNTERS = (
    ("ib.rx_bytes", "counters/port_rcv_data", WORD),
    ("ib.tx_bytes", "counters/port_xmit_data", WORD),
    ("ib.symbol_errors", "counters/symbol_error", 1),
    ("ib.rcv_errors", "counters/port_rcv_errors", 1),
    ("ib.link_downed", "counters/link_downed", 1),
)


class InfiniBand:
    """All ports below `sys`/class/infiniband; labelled `mlx5_0/1` (device, port)."""

    def __init__(self, sys: str | Path = "/sys") -> None:
        self._root = Path(sys) / "class" / "infiniband"
        self._devices: list[str] | None = None
        self._ports: list[_Port] = []

    def read(self, values: dict[str, Value]) -> None:
        """Add the series of every port. Nothing where there is no such hardware."""
        devices = sorted(_list(self._root))
        if devices != self._devices:
            self.close()
            self._devices = devices
            self._ports = [
                _Port(self._root / device / "ports" / port, f"{device}/{port}")
                for device in devices
                for port in sorted(_list(self._root / device / "ports"))
            ][:MAX_PORTS]
        for port in self._ports:
            port.read(values)

    def close(self) -> None:
        for port in self._ports:
            port.close()
        self._ports, self._devices = [], None


class _Port:
    def __init__(self, path: Path, label: str) -> None:
        self._counters = [
            (series(metric, port=label), KeptFile(path / file, 64), scale)
            for metric, file, scale in _COUNTERS
        ]
        self._rate = (series("ib.rate_gbps", port=label), KeptFile(path / "rate", 128))
        self._state = (series("ib.up", port=label), KeptFile(path / "state", 64))

    def read(self, values: dict[str, Value]) -> None:
        for key, file, scale in self._counters:
            n = number(_content(file))
            values[key] = n * scale if n is not None and n <= U64_MAX // WORD else None
        key, file = self._rate
        values[key] = parse_rate(_content(file))
        key, file = self._state
        values[key] = parse_state(_content(file))

    def close(self) -> None:
        for _, file, _ in self._counters:
            file.close()
        self._rate[1].close()
        self._state[1].close()


def parse_rate(text: bytes | None) -> float | None:
    """`400 Gb/sec (4X NDR)` -> 400.0."""
    fields = (text or b"").split()
    return decimal(fields[0]) if len(fields) >= 2 and fields[1].startswith(b"Gb") else None


def parse_state(text: bytes | None) -> int | None:
    """`4: ACTIVE` -> 1; any other state 0."""
    head, colon, _ = (text or b"").partition(b":")
    n = number(head)
    return None if n is None or not colon else int(n == 4)


def _content(file: KeptFile) -> bytes | None:
    try:
        return file.read()
    except OSError:
        return None


def _list(path: Path) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208
    except OSError:
        return []
