"""Which series the statistical layer watches, and the least deviation of each that anybody cares about.

One series a fact: what moves together by definition (util and its shares, bytes and packets) is watched
once, so that one cause is not three votes. Shares of memory are of the node's total.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dctop.engine.metrics.model import Snapshot
from dctop.engine.rules.detector import Detector
from dctop.probes.base import series
from dctop.probes.catalogue import BY_ID, PROBE_OF

FAMILIES = ("cpu", "gpu", "memory", "disk", "network", "training")


class Floor(NamedTuple):
    """Least deviation: absolute in the series' unit, share of its level, share of the node's memory."""

    family: str
    absolute: float = 0.0
    relative: float = 0.0
    of_memory: float = 0.0


_MB = 1e6
WATCHED: Mapping[str, Floor] = {
    "cpu.util_pct": Floor("cpu", 5.0),
    "cpu.steal_pct": Floor("cpu", 5.0),
    "cpu.load1": Floor("cpu", 4.0, 0.25),
    "cpu.blocked": Floor("cpu", 4.0),
    "cpu.context_switches_per_s": Floor("cpu", 5000.0, 0.25),
    "cpu.forks_per_s": Floor("cpu", 50.0, 0.25),
    "cpu.temp_c": Floor("cpu", 3.0),
    "cpu.power_w": Floor("cpu", 5.0, 0.05),
    "pressure.cpu.some_pct": Floor("cpu", 10.0),
    "process.count": Floor("cpu", 20.0, 0.1),
    "process.threads": Floor("cpu", 100.0, 0.1),
    "container.cpu_throttled_pct": Floor("cpu", 10.0),
    "memory.used_bytes": Floor("memory", of_memory=0.01),
    "memory.cached_bytes": Floor("memory", of_memory=0.02),
    "memory.dirty_bytes": Floor("memory", of_memory=0.01),
    "memory.shm_used_bytes": Floor("memory", of_memory=0.01),
    "memory.swap_used_bytes": Floor("memory", of_memory=0.01),
    "memory.major_faults_per_s": Floor("memory", 200.0),
    "pressure.memory.some_pct": Floor("memory", 5.0),
    "disk.read_bytes_per_s": Floor("disk", 10 * _MB),
    "disk.write_bytes_per_s": Floor("disk", 10 * _MB),
    "disk.await_ms": Floor("disk", 10.0),
    "pressure.io.some_pct": Floor("disk", 10.0),
    "fs.used_bytes": Floor("disk", 1e9, 0.02),
    "net.rx_bytes_per_s": Floor("network", 10 * _MB),
    "net.tx_bytes_per_s": Floor("network", 10 * _MB),
    "net.rx_drops_per_s": Floor("network", 20.0),
    "tcp.retrans_segs_per_s": Floor("network", 20.0),
    "tcp.established": Floor("network", 50.0, 0.2),
    "ib.rx_bytes_per_s": Floor("network", 10 * _MB),
    "ib.tx_bytes_per_s": Floor("network", 10 * _MB),
    "gpu.util_pct": Floor("gpu", 5.0),
    "gpu.mem_used_bytes": Floor("gpu", 256 * _MB, 0.01),
    "gpu.power_w": Floor("gpu", 5.0, 0.05),
    "gpu.temp_c": Floor("gpu", 3.0),
    "gpu.sm_clock_mhz": Floor("gpu", 60.0, 0.03),
}
TRAINING: Mapping[str, Floor] = {
    "loss": Floor("training", 0.03),
    "grad_norm": Floor("training", 0.0, 0.25),
    "step_s": Floor("training", 0.001, 0.10),
}
"""Fields of a run's steps; the logarithm of the loss is watched, of which 0.03 is 3 %."""
MOST = 400
"""Series at most: beyond (a node of a hundred disks) the first ones in this order."""
_QUIET_NICS = ("lo",)


class Watch:
    """One series, its detector and what it voted last."""

    __slots__ = ("detector", "family", "hit", "hit_at", "key", "loud_since", "metric", "peers")

    def __init__(self, key: str, metric: str, family: str, detector: Detector) -> None:
        self.key, self.metric, self.family = key, metric, family
        self.detector = detector
        self.hit: Hit | None = None
        self.hit_at = -(10**9)
        """Tick of its latest vote."""
        self.loud_since: int | None = None
        """Since when (monotonic ns) its deviation has been twice its threshold."""
        self.peers: tuple[str, ...] = ()
        """The same metric of the other GPUs: then the deviation from their median is watched."""


class Hit(NamedTuple):
    """What a series showed when it voted."""

    kind: str
    ratio: float
    value: float
    level: float
    swing: float
    z: float
    threshold: float
    before: float
    before_ago: int
    samples: int


def watches(snap: Snapshot, known: Mapping[str, Watch]) -> dict[str, list[Watch]]:
    """Probe -> what is watched of it, for the series there are now. Known ones go on."""
    memory = snap.num("memory.total_bytes") or 0.0
    out: dict[str, list[Watch]] = {}
    count = 0
    for metric, floor in WATCHED.items():
        for key, label in _keys(metric, snap):
            if count >= MOST:
                return out
            if label in _QUIET_NICS:
                continue
            w = known.get(key)
            if w is None:
                least = max(floor.absolute, floor.of_memory * memory)
                w = Watch(key, metric, floor.family, Detector(least, floor.relative))
            out.setdefault(probe_of(metric), []).append(w)
            count += 1
    _peers(out.get("gpu", ()))
    return out


def _keys(metric: str, snap: Snapshot) -> list[tuple[str, str]]:
    declared = _metric_labels(metric)
    if not declared:
        return [(metric, "")] if metric in snap.values else []
    if len(declared) > 1:
        return []
    return [(series(metric, **{declared[0]: v}), v) for v in snap.labels.get(metric, ())]


def _metric_labels(metric: str) -> tuple[str, ...]:
    from dctop.engine.metrics.derived import CATALOGUE

    found = CATALOGUE.get(metric)
    return ("",) * 2 if found is None else found.labels


def probe_of(metric: str) -> str:
    """The probe a raw or derived metric comes from."""
    found = PROBE_OF.get(metric)
    if found is None:
        found = _DERIVED_FROM.get(metric) or PROBE_OF.get(_RATE_OF.get(metric, ""), "")
    return found or metric.partition(".")[0]


_RATE_OF = {m.rate: m.id for m in BY_ID.values() if m.rate}
_DERIVED_FROM = {"fs.used_pct": "filesystem", "net.util_pct": "network"}
PEERS = 4
"""From so many GPUs on each is compared with the others: of one job they do the same."""


def _peers(gpus: list[Watch] | tuple[Watch, ...]) -> None:
    by_metric: dict[str, list[Watch]] = {}
    for w in gpus:
        by_metric.setdefault(w.metric, []).append(w)
    for group in by_metric.values():
        keys = tuple(w.key for w in group)
        for w in group:
            w.peers = tuple(k for k in keys if k != w.key) if len(group) >= PEERS else ()
