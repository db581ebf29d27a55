"""CPU time of the node and of each core, load, context switches: /proc/stat, /proc/loadavg, /proc/cpuinfo.

What sits behind drivers (clock, temperature, power) is read by `sensors.py` in a lane of its own.
"""

from __future__ import annotations

import json
import time
from operator import add
from pathlib import Path

from dctop.probes.base import KeptFile, Sample, Value, series
from dctop.probes.files import decimal, number, printable, read_some, reason, strange

_GROUPS = ("user", "system", "idle", "iowait", "irq", "steal")
_COLUMN = (1, 3, 4, 5, 6, 8)
"""Where each group stands in a line; the column behind user (nice) and irq (softirq) is added to it."""
_STAT_LINES = {
    b"ctxt": "cpu.context_switches",
    b"processes": "cpu.forks",
    b"procs_running": "cpu.running",
    b"procs_blocked": "cpu.blocked",
}
_LOADS = ("cpu.load1", "cpu.load5", "cpu.load15")
_TOTALS = (*(f"cpu.{g}_ticks" for g in _GROUPS), "cpu.nice_ticks", "cpu.count")
_MODEL_KEYS = (b"model name", b"Processor", b"cpu model", b"cpu", b"Hardware")
_COMMAS = bytes.maketrans(b" \n", b",,")
_NUMBER_CHARACTERS = b"0123456789,"
_scan = json.JSONDecoder().decode
_LIMIT = 1 << 64
"""All ticks together stay far below it (100 per core and second)."""

Ticks = tuple[Value, Value, Value, Value, Value, Value, Value]
"""user (nice included), system, idle, iowait, irq (hard + soft), steal, nice."""


class CpuProbe:
    """`/proc/stat` by columns: one split and one int() pass a column, however many cores there are.

    `user` holds guest time already (the kernel counts it in both), so guest columns are not added.
    An offline core has no line and no series.
    """

    name = "cpu"
    lane = "proc"

    def __init__(self, proc: str | Path = "/proc", sys: str | Path = "/sys") -> None:
        self.period_s = 1.0
        root = Path(proc)
        self._stat_path, self._load_path = root / "stat", root / "loadavg"
        self._info_path = root / "cpuinfo"
        self._stat = KeptFile(self._stat_path, 8192)
        self._load = KeptFile(self._load_path, 256)
        self._model: str | None = None
        self._model_asked = False
        self._cores: list[int] = []
        self._plan: list[tuple[str, int, tuple[str, ...]]] = []
        self._empty: dict[str, Value] = dict.fromkeys(
            (*_TOTALS, "cpu.model", *_LOADS, "cpu.interrupts", *_STAT_LINES.values())
        )

    def read(self) -> Sample:
        values = dict(self._empty)
        problems: list[str] = []
        mono, wall = time.monotonic_ns(), time.time_ns()
        try:
            data = self._stat.read()
        except OSError as e:
            problems.append(reason(self._stat_path, e))
        else:
            self._parse_stat(data, values)
            if values["cpu.idle_ticks"] is None:
                problems.append(strange(self._stat_path))
        self._read_load(values, problems)
        if self._model is None and not self._model_asked:
            self._model, self._model_asked = read_model(self._info_path), True
        values["cpu.model"] = self._model
        return Sample("cpu", mono, wall, values, problems=tuple(problems))

    def close(self) -> None:
        self._stat.close()
        self._load.close()

    def _read_load(self, values: dict[str, Value], problems: list[str]) -> None:
        try:
            fields = self._load.read().split()
        except OSError as e:
            problems.append(reason(self._load_path, e))
            return
        for key, text in zip(_LOADS, fields):
            values[key] = decimal(text)
        if values["cpu.load15"] is None or values["cpu.load1"] is None:
            problems.append(strange(self._load_path))

    def _parse_stat(self, data: bytes, values: dict[str, Value]) -> None:
        cut = data.find(b"\nintr ")
        head = data if cut < 0 else data[:cut]
        tail = data.find(b"\nctxt ", max(0, cut))  # behind the interrupts: 30 kB on a big node
        if cut >= 0:
            values["cpu.interrupts"] = number(data[cut + 6 : cut + 30].split(b" ", 1)[0])
        words = data[tail:].split() if tail >= 0 else []
        for name, text in zip(words[0:10:2], words[1:10:2]):
            key = _STAT_LINES.get(name)
            if key is not None:
                values[key] = number(text)
        if not self._columns(head, values):
            self._lines(head, values)

    def _columns(self, head: bytes, values: dict[str, Value]) -> bool:
        """The regular case: every line has the same number of fields. False: nothing was written.

        The JSON reader turns the 3,000 numbers of 256 cores into integers in two thirds of the time of
        split and int(), so the lines become one list of integers: names too (`cpu12` -> 112), separators
        commas. The total's line has two spaces behind its name, hence as many as the others have fields.
        """
        width = head.count(b" ", 0, head.find(b"\n"))
        if width < 9 or not head.startswith(b"cpu  "):
            return False
        text = b"1," + head[5:].rstrip(b"\n").replace(b"cpu", b"1").translate(_COMMAS)
        if text.translate(None, _NUMBER_CHARACTERS):
            return False
        try:
            n: list[int] = _scan("[" + text.decode("ascii") + "]")
        except ValueError:
            return False
        cores = n[width::width]
        if len(n) != width * (head.count(b"\ncpu") + 1):
            return False
        if sum(n) >= _LIMIT or (cores != self._cores and not self._rename(cores)):
            return False
        nice = n[2]
        n[1::width] = map(add, n[1::width], n[2::width])
        n[6::width] = map(add, n[6::width], n[7::width])
        for total, i, keys in self._plan:
            values[total] = n[i]
            values.update(zip(keys, n[width + i :: width]))
        values["cpu.nice_ticks"] = nice
        values["cpu.count"] = len(cores)
        return True

    def _rename(self, cores: list[int]) -> bool:
        """Take the cores there are now (each with a 1 before it); False if one is there twice or nameless."""
        if len(set(cores)) != len(cores) or 1 in cores:
            return False
        names = [str(core)[1:] for core in cores]
        self._cores = cores
        self._plan = [
            (total, i, tuple(series(f"cpu.core.{group}_ticks", core=core) for core in names))
            for total, group, i in zip(_TOTALS, _GROUPS, _COLUMN)
        ]
        return True

    def _lines(self, head: bytes, values: dict[str, Value]) -> None:
        """The irregular case (cut off, other kernels): line by line, whatever can be understood."""
        count = 0
        for line in head.split(b"\n"):
            fields = line.split()
            if not fields or not fields[0].startswith(b"cpu"):
                continue
            core = fields[0][3:]
            ticks = _ticks(fields[1:])
            if not core:
                values.update(zip(_TOTALS, ticks[:6]))
                values["cpu.nice_ticks"] = ticks[6]
            elif core.isdigit() and len(core) < 7:
                count += 1
                label = core.decode()
                for group, value in zip(_GROUPS, ticks):
                    values[series(f"cpu.core.{group}_ticks", core=label)] = value
        values["cpu.count"] = count or None


def _ticks(fields: list[bytes]) -> Ticks:
    """One line's numbers; a field that is missing or none leaves what it belongs to None."""
    n = [number(f) for f in fields[:8]]
    n += [None] * (8 - len(n))
    user, nice, system, idle, iowait, irq, softirq, steal = n
    both = None if user is None or nice is None else user + nice
    served = None if irq is None or softirq is None else irq + softirq
    return (both, system, idle, iowait, served, steal, nice)


def read_model(path: Path) -> str | None:
    """The processor's name from the start of /proc/cpuinfo; None where the architecture gives none."""
    found: dict[bytes, bytes] = {}
    for line in (read_some(path, 8192) or b"").split(b"\n"):
        key, colon, text = line.partition(b":")
        if colon and text.strip():
            found.setdefault(key.strip(), text.strip())
    for wanted in _MODEL_KEYS:
        if wanted in found:
            return " ".join(printable(found[wanted], 200).split())
    return None
