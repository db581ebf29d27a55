"""`dctop snapshot`: every metric once, as a table for eyes or one JSON document for programs."""

from __future__ import annotations

import json
import math
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from dctop.tui.commands import TABLE, CommandError

if TYPE_CHECKING:
    from dctop.engine.metrics.model import Snapshot
    from dctop.probes.base import Process, Value

NAME = "snapshot"
HELP = TABLE[NAME]
SCHEMA = 1
PROCESSES = 40
SLACK_S = 10.0
"""How much longer than two intervals the engine may take before this command gives up."""
LATE_S = 3.0
"""How long a probe that has not answered at all is waited for after that."""
Json = dict[str, object]


def configure(parser: ArgumentParser) -> None:
    from dctop.tui.arguments import interval

    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument(
        "--metric",
        nargs="+",
        action="extend",
        metavar="ID",
        help="only these metrics (cpu, cpu.util_pct ...)",
    )
    parser.add_argument(
        "--interval", type=interval, default=1.0, metavar="S", help="seconds between the readings (1)"
    )
    parser.add_argument(
        "--top", type=int, default=PROCESSES, metavar="N", help=f"processes to list ({PROCESSES})"
    )


def run(args: Namespace) -> int:
    wanted: list[str] | None = args.metric
    if wanted:
        _check(wanted)
    document = collect(args.interval, args.top if not wanted else 0, wanted)
    if args.json:
        json.dump(document, sys.stdout, ensure_ascii=False, allow_nan=False, indent=1)
        print()
    else:
        print(table(document))
    return 0


def _check(wanted: Sequence[str]) -> None:
    """Refuse a filter that can match nothing."""
    from dctop.engine.config import suggest
    from dctop.engine.metrics.derived import CATALOGUE

    for want in wanted:
        if not any(_matches(want, known) for known in CATALOGUE):
            near = suggest(want, list(CATALOGUE)).partition(": remove")[0]
            raise CommandError(f"no metric {want}{near or ': docs/METRICS.md lists them'}")


def _matches(want: str, metric: str) -> bool:
    """`cpu` takes all of `cpu.`."""
    return metric == want or metric.startswith(want.rstrip(".*") + ".")


def collect(interval_s: float, top: int, wanted: Sequence[str] | None = None) -> Json:
    """Two readings `interval_s` apart (so that rates exist) as the document `--json` prints."""
    from dctop.engine.live import LiveEngine

    engine = LiveEngine(interval_s=interval_s, rules=False, runs_dir=False)
    engine.start()
    try:
        # The first tick may find slow probes still reading, the third has two readings of each.
        if not engine.wait_ticks(3, timeout=3 * interval_s + SLACK_S):
            raise CommandError("the node did not answer: see `dctop doctor`", 1)
        snap = engine.snapshot()
        end = time.monotonic() + LATE_S
        while snap is not None and time.monotonic() < end and _awaits_an_answer(snap):
            engine.wait_ticks(1, timeout=interval_s + SLACK_S)
            snap = engine.snapshot()
    finally:
        engine.stop()
    if snap is None:
        raise CommandError("nothing could be read: see `dctop doctor`", 1)
    return document_of(snap, top, wanted)


def _awaits_an_answer(snap: Snapshot) -> bool:
    """A probe reads for the first time still: its driver or file system takes its time."""
    return any(s.age_s is None and s.error is None for s in snap.frame.status.values())


def document_of(snap: Snapshot, top: int, wanted: Sequence[str] | None = None) -> Json:
    """The JSON document of a snapshot: ids of the catalogue, missing is null, no NaN or Infinity.

    Counters appear raw, beside the rates derived from them.
    """
    from dctop.engine.metrics.derived import CATALOGUE
    from dctop.probes.base import split_series

    values: dict[str, Value] = {}
    for sample in snap.frame.samples.values():
        values.update(sample.values)
    values.update(snap.values)
    metrics: list[Json] = []
    seen: set[str] = set()
    for key, value in values.items():
        name, labels = split_series(key)
        seen.add(name)
        if wanted is None or any(_matches(w, name) for w in wanted):
            unit = CATALOGUE[name].unit if name in CATALOGUE else ""
            metrics.append({"id": name, "labels": labels, "value": clean(value), "unit": unit})
    # A declared metric nobody could read is there too, as null: absence would look like another version.
    for name, metric in CATALOGUE.items():
        if (
            name not in seen
            and not metric.labels
            and (wanted is None or any(_matches(w, name) for w in wanted))
        ):
            metrics.append({"id": name, "labels": {}, "value": None, "unit": metric.unit})
    order = {name: i for i, name in enumerate(CATALOGUE)}
    metrics.sort(key=lambda m: order.get(str(m["id"]), len(order)))
    at = snap.frame.wall_ns / 1e9
    return {
        "schema": SCHEMA,
        "time": datetime.fromtimestamp(at).astimezone().isoformat(timespec="milliseconds"),
        "time_ns": snap.frame.wall_ns,
        "host": snap.text("host.name"),
        "metrics": metrics,
        "processes": _processes(snap, top),
        "gpus": _gpus(snap),
        "problems": _problems(snap),
    }


def clean(value: Value) -> Value:
    """A value JSON has a form for: no NaN, no Infinity, no undecodable text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def _processes(snap: Snapshot, top: int) -> list[Json]:
    """The `top` busiest, by CPU, then by memory; and all that are on a GPU."""

    def cost(p: Process) -> tuple[float, int]:
        return snap.process_cpu_pct.get(p.pid, 0.0), p.rss_bytes or 0

    from dctop.engine.recording.masking import mask_cmdline

    ranked = sorted(snap.frame.processes, key=cost, reverse=True)
    on_gpu = _pids_on_gpus(snap)
    chosen = [p for i, p in enumerate(ranked) if i < top or p.pid in on_gpu]
    return [
        {
            "pid": p.pid,
            "ppid": p.ppid,
            "user": p.user,
            "name": p.name,
            "cmdline": None if p.cmdline is None else clean(mask_cmdline(p.cmdline)),
            "state": p.state,
            "cpu_pct": clean(snap.process_cpu_pct.get(p.pid, 0.0)),
            "rss_bytes": p.rss_bytes,
            "read_bytes_per_s": clean(snap.process_read_bytes_per_s.get(p.pid)),
            "write_bytes_per_s": clean(snap.process_write_bytes_per_s.get(p.pid)),
            "threads": p.threads,
            "nice": p.nice,
            "container": p.container,
            "job": p.job,
            "gpu_mem_bytes": p.gpu_mem_bytes,
            "gpu_sm_pct": clean(p.gpu_sm_pct),
        }
        for p in chosen
    ]


def _pids_on_gpus(snap: Snapshot) -> frozenset[int]:
    """Of this node's processes; where the driver gives the host's pids, none."""
    if snap.text("gpu.pid_space") == "host":
        return frozenset()
    return frozenset(p.pid for p in snap.frame.gpu_processes)


def _gpus(snap: Snapshot) -> Json:
    """`{"status", "detail", "devices": [{"uuid", metric: value ..., "nvlink": [{metric: value ...}],
    "processes": [{"pid", ...}]}]}`. Counters are given as they are, beside their rates."""
    from dctop.probes.base import split_series

    gpus = snap.frame.samples.get("gpu")
    order = () if gpus is None else gpus.values
    devices: dict[str, Json] = {split_series(k)[1]["gpu"]: {} for k in order if k.startswith("gpu.name{")}
    links: dict[str, dict[str, Json]] = {}
    counters = {
        key: value
        for probe in ("gpu", "gpuhealth")
        if (sample := snap.frame.samples.get(probe)) is not None
        for key, value in sample.values.items()
        if key not in snap.values
    }
    for key, value in {**snap.values, **counters}.items():
        name, labels = split_series(key)
        if "gpu" not in labels or not name.startswith("gpu."):
            continue
        device = devices.setdefault(labels["gpu"], {})
        if "link" in labels:
            link = links.setdefault(labels["gpu"], {}).setdefault(labels["link"], {"link": labels["link"]})
            link[name.removeprefix("gpu.nvlink.")] = clean(value)
        else:
            device[name.removeprefix("gpu.")] = clean(value)
    processes: dict[str, list[Json]] = {}
    for p in snap.frame.gpu_processes:
        row: Json = {k: v for k, v in p._asdict().items() if k != "gpu"}
        processes.setdefault(p.gpu, []).append(row)
    listed = [
        {
            "uuid": uuid,
            **values,
            "nvlink": list(links.get(uuid, {}).values()),
            "processes": processes.get(uuid, []),
        }
        for uuid, values in devices.items()
    ]
    return {"status": snap.text("gpu.status"), "detail": snap.text("gpu.detail"), "devices": listed}


def _problems(snap: Snapshot) -> list[Json]:
    out: list[Json] = []
    for name, status in snap.frame.status.items():
        if status.error is not None:
            out.append({"probe": name, "problem": status.error})
        out += [{"probe": name, "problem": text} for text in status.problems]
        if status.age_s is None and status.error is None:
            out.append({"probe": name, "problem": "has not answered yet"})
    return out


def table(document: Json) -> str:
    """The document as aligned text."""
    rows: list[tuple[str, str]] = []
    metrics = document["metrics"]
    assert isinstance(metrics, list)
    for m in metrics:
        labels = ",".join(f"{k}={v}" for k, v in m["labels"].items())
        rows.append((f"{m['id']}{{{labels}}}" if labels else m["id"], shown(m["value"], m["unit"])))
    width = max((len(name) for name, _ in rows), default=0)
    out = [f"{document['host'] or 'unknown host'}  {document['time']}", ""]
    out += [f"{name:<{width}}  {value}" for name, value in rows]
    processes = document["processes"]
    assert isinstance(processes, list)
    if processes:
        out += ["", f"{'PID':>8} {'USER':<12} S {'CPU%':>6} {'RSS':>10}  COMMAND"]
        out += [_process_line(p) for p in processes]
    problems = document["problems"]
    assert isinstance(problems, list)
    if problems:
        out += ["", "not readable here:", *(f"  {p['probe']}: {p['problem']}" for p in problems)]
    return "\n".join(out)


def _process_line(p: Mapping[str, object]) -> str:
    command = str(p["cmdline"] or f"[{p['name']}]")
    user, rss = str(p["user"] or "?")[:12], shown(p["rss_bytes"], "bytes")
    return f"{p['pid']:>8} {user:<12} {p['state']} {p['cpu_pct']:>6.1f} {rss:>10}  {command[:100]}"


def shown(value: object, unit: str) -> str:
    """`12.3 %`, `64 GiB`, `-` for missing."""
    from dctop.tui.draw.units import iec

    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if unit in ("bytes", "bytes/s"):
        assert isinstance(value, (int, float))
        return iec(value) + unit.removeprefix("bytes")
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f"{text} {unit}".rstrip()
