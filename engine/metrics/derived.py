"""What is computed from raw metrics, declared once, computed in one place.

Live, replay and export all call `derive`, so a mended formula mends old recordings too. Rules of
arithmetic: a missing operand gives no value; a negative difference of a counter is a reset, not a rate;
a share of nothing (no time passed, no requests) is no value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import sub

from dctop.probes.base import Process, Value, split_series
from dctop.probes.catalogue import BY_ID, RAW, Metric

_RUNS = re.compile(r"[0-9]+|[^0-9]+")

# fmt: off
_CPU_SHARES = ("user", "system", "iowait", "irq", "steal")
_HELP = {
    "user": "Share of CPU time in user code",
    "system": "Share of CPU time in the kernel",
    "iowait": "Share of CPU time idle with an I/O outstanding (misleading on many cores: prefer pressure.io)",
    "irq": "Share of CPU time serving interrupts",
    "steal": "Share of CPU time taken by the hypervisor",
}
DERIVED: tuple[Metric, ...] = (
    Metric("cpu.util_pct", "gauge", "%", (), "CPU utilisation of all cores together (0-100)", "1 - (idle + iowait) / all ticks"),
    *(Metric(f"cpu.{n}_pct", "gauge", "%", (), _HELP[n], f"{n} / all ticks") for n in _CPU_SHARES),
    Metric("cpu.core.util_pct", "gauge", "%", ("core",), "Utilisation of one core", "1 - (idle + iowait) / all ticks"),
    *(
        Metric(f"cpu.core.{n}_pct", "gauge", "%", ("core",), _HELP[n] + " of one core", f"{n} / all ticks")
        for n in _CPU_SHARES
    ),
    Metric("memory.used_bytes", "gauge", "bytes", (), "Memory not available to new programs", "total - available"),
    Metric("memory.used_pct", "gauge", "%", (), "Share of memory not available to new programs", "used / total"),
    Metric("memory.swap_used_bytes", "gauge", "bytes", (), "Swap in use", "swap_total - swap_free"),
    Metric("memory.swap_used_pct", "gauge", "%", (), "Share of swap in use", "swap_used / swap_total"),
    Metric("memory.node.used_pct", "gauge", "%", ("node",), "Used share of a NUMA node (page cache counted as free)", "1 - (free + file) / total"),
    Metric("memory.shm_used_pct", "gauge", "%", (), "Used share of /dev/shm", "used / total"),
    Metric("container.working_set_bytes", "gauge", "bytes", (), "Memory the cgroup cannot give back", "usage - inactive_file"),
    Metric("container.memory_used_pct", "gauge", "%", (), "Working set of the cgroup against its limit", "working_set / limit"),
    Metric("container.cpu_throttled_pct", "gauge", "%", (), "Share of enforcement periods in which the CPU quota ran out", "d nr_throttled / d nr_periods"),
    Metric("disk.read_await_ms", "gauge", "ms", ("disk",), "Mean time of a read, queueing included", "d read_ms / d reads"),
    Metric("disk.write_await_ms", "gauge", "ms", ("disk",), "Mean time of a write, queueing included", "d write_ms / d writes"),
    Metric("disk.await_ms", "gauge", "ms", ("disk",), "Mean time of a request, queueing included", "d (read_ms + write_ms) / d (reads + writes)"),
    Metric("disk.iops", "gauge", "I/Os per s", ("disk",), "Requests completed per second", "reads_per_s + writes_per_s"),
    Metric("fs.used_pct", "gauge", "%", ("mount",), "Used share as df shows it", "used / (used + avail)"),
    Metric("fs.inodes_used_pct", "gauge", "%", ("mount",), "Used share of inodes", "1 - free / inodes"),
    Metric("tcp.retrans_pct", "gauge", "%", (), "TCP segments sent again, of all sent", "d retrans_segs / d out_segs"),
    Metric("gpu.mem_used_pct", "gauge", "%", ("gpu",), "Used share of GPU memory", "used / total"),
    Metric("net.util_pct", "gauge", "%", ("nic",), "Busier direction against link speed (hardware interfaces only)", "8 x max(rx, tx) / speed"),
)
# fmt: on

_SCALED_UNIT = {"µs": "%", "µJ": "W", "ms": "%", "mJ": "W", "ns": "%"}


def _rate_metric(m: Metric) -> Metric:
    assert m.rate is not None
    unit = f"{m.unit}/s" if m.scale == 1.0 else _SCALED_UNIT[m.unit]
    if m.rate.endswith("_s_per_s"):
        unit = "s/s"
    elif m.rate.endswith("_cores"):
        unit = "cores"
    return Metric(m.rate, "gauge", unit, m.labels, f"{m.help}, per second", f"rate of {m.id}")


RATES: tuple[Metric, ...] = tuple(_rate_metric(m) for m in RAW if m.rate)
CATALOGUE: dict[str, Metric] = {m.id: m for m in (*RAW, *RATES, *DERIVED)}
"""Every metric id there is: raw, rates, derived. Training series are not metrics (runstate.STEP_FIELDS)."""

COUNTERS = frozenset(m.id for m in RAW if m.kind == "counter")
TRAIN_SERIES = ("train.loss", "train.accuracy", "train.samples_per_s", "train.step_s")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to compute for one set of series keys. Rebuilt only when that set changes (hot-plug)."""

    passed: tuple[str, ...]
    rates: tuple[tuple[str, str, float], ...]
    cpus: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    """(result keys: util and each share), (tick keys: each share, idle) for all cores and for each."""
    disks: tuple[str, ...]
    mounts: tuple[str, ...]
    nodes: tuple[str, ...]
    gpus: tuple[str, ...]


def _suffix(key: str) -> str:
    at = key.find("{")
    return key[at:] if at >= 0 else ""


def make_plan(keys: frozenset[str]) -> _Plan:
    passed: list[str] = []
    rates: list[tuple[str, str, float]] = []
    found: dict[str, list[str]] = {}
    for key in sorted(keys):
        name, _, _ = key.partition("{")
        metric = BY_ID.get(name)
        if metric is None or metric.kind != "counter":
            passed.append(key)
        elif metric.rate is not None:
            rates.append((key, metric.rate + _suffix(key), metric.scale))
        found.setdefault(name, []).append(_suffix(key))
    cpus = [("cpu.", s) for s in found.get("cpu.idle_ticks", ())]
    cpus += [("cpu.core.", s) for s in found.get("cpu.core.idle_ticks", ())]
    names = (*_CPU_SHARES, "idle")
    return _Plan(
        passed=tuple(passed),
        rates=tuple(rates),
        cpus=tuple(
            (
                tuple(f"{p}{n}_pct{s}" for n in ("util", *_CPU_SHARES)),
                tuple(f"{p}{n}_ticks{s}" for n in names),
            )
            for p, s in cpus
        ),
        disks=tuple(found.get("disk.reads", ())),
        mounts=tuple(found.get("fs.used_bytes", ())),
        nodes=tuple(found.get("memory.node.total_bytes", ())),
        gpus=tuple(found.get("gpu.mem_total_bytes", ())),
    )


_plans: dict[frozenset[str], _Plan] = {}


def plan_for(keys: frozenset[str]) -> _Plan:
    plan = _plans.get(keys)
    if plan is None:
        if len(_plans) > 16:
            _plans.clear()
        plan = _plans[keys] = make_plan(keys)
    return plan


def difference(new: Value, old: Value) -> float | None:
    """new - old of a counter; None if either is missing or the counter went back (reset, wrap)."""
    if isinstance(new, str) or isinstance(old, str) or new is None or old is None or new < old:
        return None
    return new - old


def _ratio(a: float | None, b: float | None, scale: float = 100.0) -> float | None:
    return None if a is None or not b or b < 0 else scale * a / b


def _number(v: Value) -> float | None:
    return v if isinstance(v, (int, float)) else None


def derive(
    new: Mapping[str, Value], old: Mapping[str, Value] | None, dt_s: float, plan: _Plan
) -> dict[str, Value]:
    """Gauges and info of `new` as they are, and every derived series that `old` and `dt_s` allow.

    A rate whose two readings are one and the same sample (its probe is slower than the tick) must not be
    asked for: the caller passes the previous *differing* sample's values (Sampler does).
    """
    out: dict[str, Value] = {}
    for key in plan.passed:
        out[key] = new[key]
    _levels(new, out, plan)
    if old is None or dt_s <= 0:
        return out
    get = old.get
    for key, rate, scale in plan.rates:
        a, b = new[key], get(key)
        if a is None or b is None or isinstance(a, str) or isinstance(b, str) or a < b:
            out[rate] = None
        else:
            out[rate] = (a - b) * scale / dt_s
    for results, keys in plan.cpus:
        _cpu(results, keys, new, old, out)
    for s in plan.disks:
        _disk(s, new, old, out)
    _counts(new, old, out)
    return out


def _levels(new: Mapping[str, Value], out: dict[str, Value], plan: _Plan) -> None:
    def n(key: str) -> float | None:
        return _number(new.get(key))

    if "memory.total_bytes" in new:
        total, avail = n("memory.total_bytes"), n("memory.available_bytes")
        used = None if total is None or avail is None else max(0, total - avail)
        out["memory.used_bytes"], out["memory.used_pct"] = used, _ratio(used, total)
        st, sf = n("memory.swap_total_bytes"), n("memory.swap_free_bytes")
        swap = None if st is None or sf is None else max(0, st - sf)
        out["memory.swap_used_bytes"], out["memory.swap_used_pct"] = swap, _ratio(swap, st)
        out["memory.shm_used_pct"] = _ratio(n("memory.shm_used_bytes"), n("memory.shm_total_bytes"))
    if "container.memory_bytes" in new:
        use, cache = n("container.memory_bytes"), n("container.inactive_file_bytes")
        ws = None if use is None or cache is None else max(0, use - cache)
        out["container.working_set_bytes"] = ws
        out["container.memory_used_pct"] = _ratio(ws, n("container.memory_limit_bytes"))
    for s in plan.mounts:
        used, avail = n("fs.used_bytes" + s), n("fs.avail_bytes" + s)
        out["fs.used_pct" + s] = None if used is None or avail is None else _ratio(used, used + avail)
        free, inodes = n("fs.inodes_free" + s), n("fs.inodes" + s)
        taken = None if free is None or inodes is None else inodes - free
        out["fs.inodes_used_pct" + s] = _ratio(taken, inodes)
    for s in plan.nodes:
        total, free, file = (n(f"memory.node.{k}_bytes{s}") for k in ("total", "free", "file"))
        used = None if total is None or free is None or file is None else max(0, total - free - file)
        out["memory.node.used_pct" + s] = _ratio(used, total)
    for s in plan.gpus:
        out["gpu.mem_used_pct" + s] = _ratio(n("gpu.mem_used_bytes" + s), n("gpu.mem_total_bytes" + s))


def _cpu(
    results: tuple[str, ...],
    keys: tuple[str, ...],
    new: Mapping[str, Value],
    old: Mapping[str, Value],
    out: dict[str, Value],
) -> None:
    parts: list[float]
    try:
        parts = list(map(sub, map(new.__getitem__, keys), map(old.__getitem__, keys)))
    except (KeyError, TypeError):  # one of them is missing
        return
    if min(parts) < 0:
        # iowait may go backwards on some kernels; a core may be offlined: the field counts as no time.
        parts = [max(part, 0.0) for part in parts]
    total = sum(parts)
    if total <= 0:
        return
    scale = 100.0 / total
    user, system, iowait, irq, steal, idle = parts
    util, *shares = results
    out[util] = 100.0 - (idle + iowait) * scale
    for key, part in zip(shares, (user, system, iowait, irq, steal)):
        out[key] = part * scale


def _disk(s: str, new: Mapping[str, Value], old: Mapping[str, Value], out: dict[str, Value]) -> None:
    inputs, (read_await, write_await, all_await, iops, reads_rate, writes_rate, busy) = _disk_keys(s)
    reads, writes, rms, wms = [difference(new.get(key), old.get(key)) for key in inputs]
    out[read_await] = _ratio(rms, reads, 1.0)
    out[write_await] = _ratio(wms, writes, 1.0)
    if reads is None or writes is None or rms is None or wms is None:
        out[all_await] = None
    else:
        out[all_await] = _ratio(rms + wms, reads + writes, 1.0)
    r, w = _number(out.get(reads_rate)), _number(out.get(writes_rate))
    out[iops] = None if r is None or w is None else r + w
    util = _number(out.get(busy))
    if util is not None and util > 100.0:
        out[busy] = 100.0


@lru_cache(256)
def _disk_keys(s: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(raw keys, derived keys) of one disk: joining strings would be half the cost of a tick."""
    raw = ("reads", "writes", "read_ms", "write_ms")
    made = ("read_await_ms", "write_await_ms", "await_ms", "iops", "reads_per_s", "writes_per_s", "util_pct")
    return tuple(f"disk.{name}{s}" for name in raw), tuple(f"disk.{name}{s}" for name in made)


def across(keys: Iterable[str]) -> tuple[str, ...]:
    """What `derive_across` needs of a snapshot's keys: the interfaces, as suffixes of a series."""
    return tuple(_suffix(key) for key in keys if key.startswith("net.speed_mbps{"))


def derive_across(values: dict[str, Value], nics: Sequence[str]) -> int:
    """Add to `values` (all probes' together) what takes more than one probe; the number of series added.

    `net.util_pct`: the rates are the network probe's, speed and kind the links probe's. Hardware
    interfaces only; None while the speed or a rate is unknown.
    """
    added = 0
    for s in nics:
        if values.get("net.virtual" + s) != 0:
            continue
        rx, tx = _number(values.get("net.rx_bytes_per_s" + s)), _number(values.get("net.tx_bytes_per_s" + s))
        speed = _number(values.get("net.speed_mbps" + s))
        if rx is None or tx is None or not speed:
            values["net.util_pct" + s] = None
        else:
            values["net.util_pct" + s] = 8e-4 * max(rx, tx) / speed
        added += 1
    return added


def _counts(new: Mapping[str, Value], old: Mapping[str, Value], out: dict[str, Value]) -> None:
    def d(name: str) -> float | None:
        return difference(new.get(name), old.get(name))

    if "tcp.out_segs" in new:
        out["tcp.retrans_pct"] = _ratio(d("tcp.retrans_segs"), d("tcp.out_segs"))
    if "container.cpu_periods" in new:
        out["container.cpu_throttled_pct"] = _ratio(
            d("container.cpu_throttled_periods"), d("container.cpu_periods")
        )


def derive_processes(
    new: Sequence[Process], old: dict[int, Process], dt_s: float, tick_hz: int
) -> tuple[dict[int, float], dict[int, float], dict[int, float]]:
    """(CPU % of one core, bytes read per s, bytes written per s), each by pid, only where known and not 0.

    `old` is the previous table by pid. A row that is the very same object as before used nothing.
    """
    cpu: dict[int, float] = {}
    read: dict[int, float] = {}
    write: dict[int, float] = {}
    if dt_s <= 0:
        return cpu, read, write
    scale = 100.0 / (tick_hz * dt_s)
    for p in new:
        q = old.get(p.pid)
        if q is None or q is p or q.start_ticks != p.start_ticks:
            continue
        if p.cpu_ticks > q.cpu_ticks:
            cpu[p.pid] = (p.cpu_ticks - q.cpu_ticks) * scale
            if p.span_s is not None and p.span_s > dt_s:
                cpu[p.pid] *= dt_s / p.span_s
        if p.read_bytes is not None and q.read_bytes is not None and p.read_bytes > q.read_bytes:
            read[p.pid] = (p.read_bytes - q.read_bytes) / dt_s
        if p.write_bytes is not None and q.write_bytes is not None and p.write_bytes > q.write_bytes:
            write[p.pid] = (p.write_bytes - q.write_bytes) / dt_s
    return cpu, read, write


def labels_of(keys: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Metric id -> its label values, naturally sorted (core 2 before core 10)."""
    found: dict[str, list[str]] = {}
    for key in keys:
        name, labels = split_series(key)
        if len(labels) == 1:
            found.setdefault(name, []).append(next(iter(labels.values())))
    return {name: tuple(sorted(values, key=natural)) for name, values in found.items()}


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key under which `nvme2` comes before `nvme10`."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in _RUNS.findall(text))
