"""GPUs of the kernel's own drivers under /sys/class/drm: the cards, their files, and who uses them.

Shared by the readers of AMD and Intel. Formats: Documentation/gpu/drm-usage-stats.rst (fdinfo),
Documentation/hwmon/sysfs-interface.rst (units: milli-degrees, microwatts, microjoules, hertz),
Documentation/ABI/testing/sysfs-bus-pci (current_link_speed).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from dctop.probes.base import GpuProcess, MakerSample, Value, series
from dctop.probes.drm_cards import cards_of
from dctop.probes.files import number, printable, read_some

ENUMERATE_S = 5.0
"""How often cards are looked for."""
CLIENTS_S = 10.0
"""How often every process's descriptors are looked through for those of a GPU."""
PCIE_GEN = {"2.5": 1, "5.0": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}
"""GT/s -> generation."""


class Card:
    """One card of one driver; `path` is its device folder."""

    def __init__(self, card: Path, uevent: Mapping[str, str]) -> None:
        self.card, self.path = card, card / "device"
        self.uevent = uevent
        self.pci = uevent.get("PCI_SLOT_NAME", "").lower()
        self.driver = uevent.get("DRIVER", "")
        self.hwmon = next(iter(sorted((self.path / "hwmon").glob("hwmon[0-9]*"))), None)
        self.parts: list[Path] | None = None
        """Folders of its engines' parts, where the driver has such."""
        self._there: dict[Path, bool] = {}
        self._sensors: dict[str, dict[str, int]] = {}

    def has(self, path: Path) -> bool:
        """The file exists (asked once: what a driver has it has from the start)."""
        there = self._there.get(path)
        if there is None:
            there = self._there[path] = path.exists()
        return there

    def words(self, path: Path) -> str | None:
        data = read_some(path)
        text = None if data is None else printable(data.strip(), 400).strip()
        return text or None

    def number(self, path: Path, largest: int = 1 << 62) -> int | None:
        """A whole number 0..largest; anything else is nonsense and None."""
        n = number(read_some(path))
        return n if n is not None and n <= largest else None

    def labelled(self, kind: str) -> dict[str, int]:
        """Sensors of a kind (temp, freq) by label: {"edge": 1, "mem": 3}; those without one by `#1`."""
        if self.hwmon is None:
            return {}
        known = self._sensors.get(kind)
        if known is not None:
            return known
        found = self._sensors[kind] = {}
        for path in sorted(self.hwmon.glob(f"{kind}[0-9]*_input")):
            digits = path.name.removeprefix(kind).removesuffix("_input")
            if digits.isdecimal():
                label = self.words(self.hwmon / f"{kind}{digits}_label")
                found.setdefault(label or f"#{int(digits)}", int(digits))
        return found

    @property
    def asleep(self) -> bool:
        """Suspended: asking its sensors would fail, or wake it up."""
        return self.words(self.path / "power/runtime_status") == "suspended"


def cards(sys: Path, vendor: str, drivers: tuple[str, ...]) -> Iterator[Card]:
    """Cards of a PCI vendor (`0x1002`) with one of `drivers`, by number."""
    for path in cards_of(sys, vendor):
        text = printable((read_some(path / "device/uevent") or b"").replace(b"\n", b" "), 4000)
        uevent = dict(pair.split("=", 1) for pair in text.split() if "=" in pair)
        if uevent.get("DRIVER") in drivers and uevent.get("PCI_SLOT_NAME"):
            yield Card(path, uevent)


def pcie(card: Card) -> dict[str, Value]:
    """gpu.pcie_*: generation and width now and at most."""
    out: dict[str, Value] = {}
    for when, name in (("current", ""), ("max", "_max")):
        speed, width = card.path / f"{when}_link_speed", card.path / f"{when}_link_width"
        if card.has(speed):
            out[f"pcie_gen{name}"] = PCIE_GEN.get((card.words(speed) or "").partition(" ")[0])
        if card.has(width):
            out[f"pcie_width{name}"] = card.number(width, 64) or None
    return out


def product(sys_root: Path, card: Card, fallback: str) -> str:
    """The device's name out of the PCI id list where one is installed, else `fallback` and its PCI id."""
    vendor, _, device = card.uevent.get("PCI_ID", ":").lower().partition(":")
    for path in ("usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids"):
        name = _pci_name(sys_root.parent / path, vendor, device)
        if name:
            return name
    return f"{fallback} {device}" if device else fallback


def _pci_name(path: Path, vendor: str, device: str) -> str | None:
    if not vendor or not device:
        return None
    try:
        with path.open("rb") as lines:
            inside = False
            for line in lines:
                if line[:1] not in b"\t#\n":
                    inside = line[:4] == vendor.encode()
                elif inside and line[:1] == b"\t" and line[1:5] == device.encode():
                    name = printable(line[5:].strip(), 100)
                    # `Navi 31 [Radeon RX 7900 XT]`: the part in brackets is what it is sold as.
                    return name.rpartition("[")[2].rstrip("]") if name.endswith("]") else name
    except OSError:
        pass
    return None


# -- who uses them ----------------------------------------------------------------------------------------


class Client(NamedTuple):
    """What one descriptor of a GPU says of its user (times in ns, memory in bytes)."""

    driver: str
    pci: str
    id: str
    mem_bytes: int | None
    engines: Mapping[str, int]
    """Engine -> busy time since it was opened."""
    cycles: Mapping[str, tuple[int, int]]
    """Engine -> (busy cycles, all cycles), where the driver counts those (xe)."""


_MEMORY = ("drm-resident-vram", "drm-memory-vram", "drm-total-vram", "drm-resident-local", "drm-total-local")
"""What device memory is called, the best first; xe and i915 add the number of a tile."""
_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def parse_fdinfo(text: str) -> Client | None:
    """One file of /proc/PID/fdinfo; None where it is none of a GPU. Never raises."""
    if "drm-driver:" not in text:
        return None
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon and key.startswith("drm-"):
            fields.setdefault(key.strip(), value.strip())
    engines: dict[str, int] = {}
    cycles: dict[str, tuple[int, int]] = {}
    memory: dict[str, int] = {}
    for key, value in fields.items():
        n = _amount(value)
        if n is None:
            continue
        if key.startswith("drm-engine-") and not key.startswith("drm-engine-capacity-"):
            engines[key[11:]] = n
        elif key.startswith("drm-cycles-"):
            total = _amount(fields.get(f"drm-total-cycles-{key[11:]}", ""))
            if total is not None:
                cycles[key[11:]] = (n, total)
        else:
            base = key.rstrip("0123456789")
            if base in _MEMORY:
                memory[base] = memory.get(base, 0) + n
    held = next((memory[name] for name in _MEMORY if name in memory), None)
    return Client(
        fields.get("drm-driver", ""),
        fields.get("drm-pdev", "").lower(),
        fields.get("drm-client-id", ""),
        held,
        engines,
        cycles,
    )


def _amount(text: str) -> int | None:
    """`1024 KiB`, `123 ns`, `7`."""
    digits, _, unit = text.partition(" ")
    if not digits.isdecimal() or len(digits) > 20:
        return None
    return int(digits) * _UNITS.get(unit.strip().lower(), 1)


@dataclass(slots=True)
class _Use:
    """Of one process on one GPU: its clients' sums."""

    mem_bytes: int | None = None
    busy: dict[str, int] = field(default_factory=dict)
    cycles: dict[str, tuple[int, int]] = field(default_factory=dict)


COMPUTE = frozenset(("compute", "ccs"))
GRAPHICS = frozenset(("gfx", "render", "rcs"))
DECODE = frozenset(("dec", "video", "vcs", "jpeg"))
ENCODE = frozenset(("enc", "enc_1", "video-enhance", "vecs"))


class Clients:
    """Processes with a GPU of `drivers` open, out of /proc/PID/fdinfo.

    Looking through all descriptors of all processes is dear, so that is done every `CLIENTS_S`; in between
    only those found are read. Another user's need root: they are not seen without.
    """

    def __init__(
        self, proc: Path, drivers: tuple[str, ...], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._proc, self._drivers, self._now = proc, drivers, now
        self._known: dict[tuple[int, str], Path] = {}
        self._due = float("-inf")
        self._before: dict[tuple[int, str], _Use] = {}
        self._read_at = 0.0

    def read(self, gpus: Mapping[str, str]) -> list[GpuProcess]:
        """`gpus`: PCI address -> the `gpu=` label."""
        now = self._now()
        if now >= self._due:
            self._due = now + CLIENTS_S
            self._known = dict(self._find())
        uses: dict[tuple[int, str], _Use] = {}
        seen: set[tuple[str, str, str]] = set()
        for (pid, fd), path in list(self._known.items()):
            data = read_some(path, 8192)
            client = None if data is None else parse_fdinfo(data.decode("utf-8", "replace"))
            if client is None or client.driver not in self._drivers:
                del self._known[pid, fd]
                continue
            gpu = gpus.get(client.pci)
            # One client may be open several times, in several processes even (a descriptor passed on).
            mark = (client.driver, client.pci, client.id)
            if gpu is None or (client.id and mark in seen):
                continue
            seen.add(mark)
            _add(uses.setdefault((pid, gpu), _Use()), client)
        seconds = now - self._read_at
        rows = [
            self._row(pid, gpu, use, self._before.get((pid, gpu)), seconds)
            for (pid, gpu), use in uses.items()
        ]
        self._before, self._read_at = uses, now
        rows.sort(key=lambda r: (r.gpu, -(r.mem_bytes or 0), r.pid))
        return rows

    def _find(self) -> Iterator[tuple[tuple[int, str], Path]]:
        try:
            pids = [e.name for e in os.scandir(self._proc) if e.name.isdecimal()]
        except OSError:
            return
        for pid in pids:
            try:
                for entry in os.scandir(self._proc / pid / "fd"):
                    if str(Path(entry.path).readlink()).startswith("/dev/dri/"):
                        yield (int(pid), entry.name), self._proc / pid / "fdinfo" / entry.name
            except OSError:  # it ended, or is another user's
                continue

    def _row(self, pid: int, gpu: str, use: _Use, before: _Use | None, seconds: float) -> GpuProcess:
        shares = {} if before is None else _shares(use, before, seconds)

        def most(names: frozenset[str]) -> int | None:
            known = [v for k, v in shares.items() if k.rstrip("0123456789") in names or k in names]
            return max(known, default=None)

        names = {k for k, v in use.busy.items() if v} | {k for k, (v, _) in use.cycles.items() if v}
        kind = "C" * bool(names & COMPUTE) + "G" * bool(names & GRAPHICS)
        sm = most(COMPUTE | GRAPHICS)
        return GpuProcess(pid, gpu, kind or "G", use.mem_bytes, sm, None, most(ENCODE), most(DECODE))


def _add(use: _Use, c: Client) -> None:
    if c.mem_bytes is not None:
        use.mem_bytes = c.mem_bytes + (use.mem_bytes or 0)
    for name, ns in c.engines.items():
        use.busy[name] = use.busy.get(name, 0) + ns
    for name, (busy, total) in c.cycles.items():
        use.cycles[name] = (
            use.cycles.get(name, (0, 0))[0] + busy,
            max(total, use.cycles.get(name, (0, 0))[1]),
        )


def _shares(now: _Use, before: _Use, seconds: float) -> dict[str, int]:
    """Engine -> % of the time since the reading before in which it worked for this process."""
    out: dict[str, int] = {}
    for name, ns in now.busy.items():
        past = before.busy.get(name)
        if past is not None and ns >= past and seconds > 0:
            out[name] = min(100, round((ns - past) / (seconds * 1e7)))
    for name, (busy, total) in now.cycles.items():
        was, all_before = before.cycles.get(name, (busy, total))
        if busy >= was and total > all_before:
            out[name] = min(100, round(100 * (busy - was) / (total - all_before)))
    return out


# -- a maker ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Known:
    """A card that was seen; `lost_since_s`: Unix time since when it is gone."""

    card: Card
    label: str
    index: int
    name: str
    lost_since_s: float | None = None


class DrmMaker:
    """Base of the readers: enumeration, lost cards, who uses them. Subclasses read the values of a card."""

    vendor = ""
    pci_vendor = ""
    drivers: tuple[str, ...] = ()
    fallback = ""

    def __init__(
        self,
        proc: str | Path = "/proc",
        sys: str | Path = "/sys",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._proc, self._sys, self._now = Path(proc), Path(sys), now
        self._known: dict[str, Known] = {}
        self._due = float("-inf")
        self._clients = Clients(self._proc, self.drivers, now)

    def values(self, card: Card) -> dict[str, Value]:
        """Ids without `gpu.`: what changes from tick to tick. What a card does not have is left out."""
        raise NotImplementedError

    def health(self, card: Card) -> dict[str, Value]:
        raise NotImplementedError

    def name_of(self, card: Card) -> str:
        return product(self._sys, card, self.fallback)

    def _enumerate(self) -> None:
        now = self._now()
        if now < self._due:
            return
        self._due = now + ENUMERATE_S
        seen: set[str] = set()
        for index, card in enumerate(cards(self._sys, self.pci_vendor, self.drivers)):
            label = f"{self.vendor}-{card.pci}"
            seen.add(label)
            known = self._known.get(label)
            if known is None or known.lost_since_s is not None:
                self._known[label] = Known(card, label, index, self.name_of(card))
            else:
                known.index = index
        for label, known in self._known.items():
            if label not in seen and known.lost_since_s is None:
                known.lost_since_s = time.time()

    def _sample(self, values: dict[str, Value]) -> MakerSample:
        alive = sum(k.lost_since_s is None for k in self._known.values())
        if self._known:
            driver = next(iter(self._known.values())).card.driver
            return MakerSample("ok", f"driver {driver}", alive, values)
        return MakerSample("no device", f"no {self.fallback} under /sys/class/drm", 0, values)

    def read(self) -> MakerSample:
        self._enumerate()
        out: dict[str, Value] = {}
        alive: dict[str, str] = {}
        for k in self._known.values():
            lost = k.lost_since_s
            fixed: dict[str, Value] = {
                "name": k.name, "vendor": self.vendor, "index": k.index, "pci": k.card.pci, "parent": None,
                "state": "ok" if lost is None else "lost", "lost_since_s": lost,
                "problem": None if lost is None else "it is not under /sys/class/drm any more",
            }  # fmt: skip
            if lost is None:
                alive[k.card.pci] = k.label
                fixed |= self.values(k.card)
            out.update({series(f"gpu.{name}", gpu=k.label): v for name, v in fixed.items()})
        sample = self._sample(out)
        if alive:
            sample.processes = self._clients.read(alive)
            for label in alive.values():
                n = len({r.pid for r in sample.processes if r.gpu == label})
                out[series("gpu.processes", gpu=label)] = n
        return sample

    def read_health(self) -> MakerSample:
        out: dict[str, Value] = {}
        for k in self._known.values():
            if k.lost_since_s is None:
                found = {**pcie(k.card), **self.health(k.card)}
                node = k.card.path / "numa_node"
                if k.card.has(node):
                    found["numa_node"] = k.card.number(node, 4096)
                out.update({series(f"gpu.{name}", gpu=k.label): v for name, v in found.items()})
        return self._sample(out)

    def close(self) -> None:
        """Nothing is kept open."""
